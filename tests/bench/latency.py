"""From a frame's first packet to its paint in a real Chromium: the appliance beside the paper's pipeline, alone and with a class on the same box."""
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.process import percentile
from tests.system.browser import Browser
from tests.system.theatre import Theatre, free_ports

HERE = Path(__file__).parent
SCRIPT = (HERE / "latency.js").read_text()
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's GStreamer bindings live there
WARM_UP_S = 4
BARS = {50: "<= 45 ms", 95: "", 99: "<= 80 ms"}
CROWD_BARS = {50: "<= 45 ms", 95: "", 99: "<= 90 ms"}


def latency(table, folder, seconds=30):
    """First packet sent to painted: the appliance, then the paper's pipeline, each alone with the same browser and script."""
    with Browser(made(folder / "chromium")) as browser:
        with Theatre(made(folder / "theatre"), ["--timestamp-bars"]) as theatre:
            ours = measure(browser, theatre.url, f"{theatre.url}/whep/{theatre.stream}", theatre.token("expert"), seconds)
        theirs = _gstreamer_latency(browser, folder, seconds)
    for share in (50, 95, 99):
        own = percentile(ours, share / 100)
        beside = f"GStreamer {percentile(theirs, share / 100):.1f} ms (ratio {own / percentile(theirs, share / 100):.2f})" if theirs else ""
        table.add("latency to painted", f"p{share}, first packet sent to painted in Chromium", own, "ms", BARS[share], beside)
    table.add("latency to painted", "frames measured", len(ours), "frames", "", f"GStreamer {len(theirs)}" if theirs else "GStreamer not installed")


def crowd(table, folder, viewers=200, seconds=30):
    """The same with a class of load viewers on the box: the expert's picture must not suffer."""
    settings = dict(server=f"viewers_max = {viewers + 10}", encoder="[encoder]\nbitrate_kbps = 4200")
    with Browser(made(folder / "chromium")) as browser, Theatre(made(folder / "theatre"), ["--timestamp-bars"], **settings) as theatre:
        url = f"{theatre.url}/whep/{theatre.stream}"
        load = subprocess.Popen([sys.executable, HERE / "fanload.py", url, str(viewers), "600", str(theatre.process.pid), "--token", theatre.token("student")],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert load.stdout.readline() == "connected\n", "the load viewers did not connect"
            found = measure(browser, theatre.url, url, theatre.token("expert"), seconds)
        finally:
            load.kill()
            load.wait()
    for share in (50, 95, 99):
        table.add(f"latency, {viewers} others", f"p{share}, first packet sent to painted in Chromium", percentile(found, share / 100), "ms", CROWD_BARS[share])


def measure(browser, page_url, whep_url, token, seconds):
    """Latencies in ms of every frame painted within `seconds`."""
    page = browser.open(page_url)
    time.sleep(0.5)
    page.evaluate(SCRIPT + "; 0")
    page.evaluate(f"startMeasuring({json.dumps(whep_url)}, {json.dumps(token)}, 'video/H264').then(() => 0)")
    page.wait("measured.frames > 10", 20)
    time.sleep(WARM_UP_S)
    page.evaluate("measured.latencies.length = 0, 0")
    time.sleep(seconds)
    found = page.evaluate("measured.latencies")
    page.evaluate(f"stopMeasuring({json.dumps(token)}).then(() => 0)")
    page.close()
    return found


def _gstreamer_latency(browser, folder, seconds):
    if not shutil.which("gst-launch-1.0"):
        return []
    http_port, udp_port = free_ports(2)
    source = subprocess.Popen([sys.executable, "-m", "appliance", "source", "--interface", "lo", "--group", "127.0.0.1", "--port", str(udp_port),
                               "--no-metadata", "--timestamp-bars", "--sdp-dir", str(made(folder / "peer"))], stdout=subprocess.DEVNULL)
    gateway = subprocess.Popen([SYSTEM_PYTHON, HERE / "peers" / "gstreamer_gateway.py", "h264", str(http_port), str(udp_port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        url = f"http://127.0.0.1:{http_port}/"
        return measure(browser, url, url, "", seconds)
    finally:
        for process in (gateway, source):
            process.kill()
            process.wait()


def made(folder):
    """The folder, which there is from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
