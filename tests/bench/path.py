"""The whole path beside its peers: latency in a real Chromium, CPU by stage, joins, several viewers, fan-out load, ten minutes without loss."""
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.process import cpu_s, percentile, resident_bytes
from tests.system.browser import Browser
from tests.system.theatre import Theatre, free_ports

HERE = Path(__file__).parent
SCRIPT = (HERE / "latency.js").read_text()
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's GStreamer bindings live there
WARM_UP_S = 4
BARS = {50: "<= 45 ms", 95: "", 99: "<= 80 ms"}


def latency(table, folder, seconds=30):
    """First packet sent to painted: the appliance, then the paper's pipeline, each alone with the same browser and script."""
    with Browser(_made(folder / "chromium")) as browser:
        with Theatre(_made(folder / "theatre"), ["--timestamp-bars"]) as theatre:
            ours = _measure(browser, theatre.url, f"{theatre.url}/whep/{theatre.stream}", theatre.token("expert"), seconds)
        theirs = _gstreamer_latency(browser, folder, seconds)
    for share in (50, 95, 99):
        own = percentile(ours, share / 100)
        beside = f"GStreamer {percentile(theirs, share / 100):.1f} ms (ratio {own / percentile(theirs, share / 100):.2f})" if theirs else ""
        table.add("latency to painted", f"p{share}, first packet sent to painted in Chromium", own, "ms", BARS[share], beside)
    table.add("latency to painted", "frames measured", len(ours), "frames", "", f"GStreamer {len(theirs)}" if theirs else "GStreamer not installed")


def _measure(browser, page_url, whep_url, token, seconds):
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
                               "--no-metadata", "--timestamp-bars", "--sdp-dir", str(_made(folder / "peer"))], stdout=subprocess.DEVNULL)
    gateway = subprocess.Popen([SYSTEM_PYTHON, HERE / "peers" / "gstreamer_gateway.py", "h264", str(http_port), str(udp_port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        url = f"http://127.0.0.1:{http_port}/"
        return _measure(browser, url, url, "", seconds)
    finally:
        for process in (gateway, source):
            process.kill()
            process.wait()


def stages(table, folder, seconds=20):
    """CPU of each stage: idle, with one real viewer, and what each further viewer costs; joins; frame rates."""
    with Theatre(_made(folder / "theatre"), ["--timestamp-bars"]) as theatre, Browser(_made(folder / "chromium")) as browser:
        time.sleep(2)
        idle = _stage_cpu(theatre, seconds / 2)
        table.add("CPU, nobody watches", "ingest", idle.pop("ingest.endoscope") * 100, "% of a core")
        table.add("CPU, nobody watches", "all other stages together", sum(idle.values()) * 100, "% of a core")
        table.add("source", "appliance source, 720p50 and metadata", _busy(theatre.source.pid, seconds / 2) * 100, "% of a core", "<= 33")
        _joins(table, theatre, browser)
        pages = [_viewer(theatre, browser)]
        one = _stage_cpu(theatre, seconds)
        path = {name: one[name] for name in ("ingest.endoscope", "convert.endoscope", "encode.endoscope.expert")}
        for name, busy in path.items():
            table.add("CPU, one viewer", name, busy * 100, "% of a core")
        table.add("CPU, one viewer", "ingest + convert + encode", sum(path.values()) * 100, "% of a core", "<= 60")
        pages += [_viewer(theatre, browser) for _ in range(3)]
        before = [page.evaluate("applianceViewer.frames") for page in pages]
        begun = time.monotonic()
        four = _stage_cpu(theatre, seconds)
        elapsed = time.monotonic() - begun
        rates = [(page.evaluate("applianceViewer.frames") - count) / elapsed for page, count in zip(pages, before)]
        # Four browsers take more than two cores have; what a viewer costs is what the workers that serve it need more.
        serving = [sum(busy for name, busy in stages.items() if name.startswith("fanout.")) for stages in (one, four)]
        table.add("four viewers", "fan-out workers' CPU a further viewer", (serving[1] - serving[0]) / 3 * 100, "% of a core", "< 2")
        table.add("four viewers", "all stages' CPU a further viewer", (sum(four.values()) - sum(one.values())) / 3 * 100, "% of a core")
        table.add("four viewers", "frames a second, slowest and fastest page", f"{min(rates):.1f}-{max(rates):.1f}", "1/s")
        for page in pages:
            page.close()


def _viewer(theatre, browser, **query):
    page = browser.open(theatre.link("expert", **query))
    page.wait("window.applianceViewer && applianceViewer.frames > 50", 30)
    return page


def _joins(table, theatre, browser, count=20):
    url, token, times = f"{theatre.url}/whep/{theatre.stream}", theatre.token("expert"), []
    page = browser.open(theatre.url)
    time.sleep(0.5)
    page.evaluate(SCRIPT + "; 0")
    for _ in range(count):
        page.evaluate(f"startMeasuring({json.dumps(url)}, {json.dumps(token)}, 'video/H264').then(() => 0)")
        page.wait("measured.firstFrameAt > 0", 20)
        times.append(page.evaluate("measured.firstFrameAt - measured.postedAt"))
        page.evaluate(f"stopMeasuring({json.dumps(token)}).then(() => 0)")
        time.sleep(0.3)
    page.close()
    table.add("join", f"POST to first painted frame, p50 of {count}", percentile(times, 0.5), "ms", "<= 300")
    table.add("join", f"POST to first painted frame, p95 of {count}", percentile(times, 0.95), "ms")


def _stage_cpu(theatre, seconds):
    pids = theatre.stages()
    before, begun = {name: cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begun
    return {name: (cpu_s(pid) - before[name]) / elapsed for name, pid in pids.items()}


def _busy(pid, seconds):
    before = cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - before) / seconds


def fanout(table, folder, viewers=100, seconds=15):
    """CPU a packet with many viewers whose sockets drop RTP, beside plain aiortc on the same load."""
    with Theatre(_made(folder / "theatre"), server=f"viewers_max = {viewers + 10}", encoder="[encoder]\nbitrate_kbps = 4200") as theatre:
        pids = ",".join(str(pid) for name, pid in theatre.stages().items() if name.startswith("fanout."))
        ours = _load(f"{theatre.url}/whep/{theatre.stream}", viewers, seconds, pids, theatre.token("student"))
    theirs = _aiortc_load(folder, min(viewers, 20), seconds)
    beside = f"aiortc {theirs['us_per_packet']} us (ratio {theirs['us_per_packet'] / ours['us_per_packet']:.1f})" if theirs else ""
    table.add(f"fan-out, {viewers} viewers", "CPU a packet, control plane included", ours["us_per_packet"], "us", "<= 4", beside)
    table.add(f"fan-out, {viewers} viewers", "viewers a core at this bit rate", ours["viewers_per_core"], "viewers", "",
              f"aiortc {theirs['viewers_per_core']}" if theirs else "")
    table.add(f"fan-out, {viewers} viewers", "connected", f"{ours['alive']}/{viewers}", "")


def _load(url, viewers, seconds, pids, token=""):
    output = subprocess.run([sys.executable, HERE / "fanload.py", url, str(viewers), str(seconds), pids, "--token", token],
                            capture_output=True, text=True, timeout=seconds + 180)
    assert output.returncode == 0, output.stderr[-2000:]
    return json.loads(output.stdout.splitlines()[-1])


def _aiortc_load(folder, viewers, seconds):
    if not shutil.which("ffmpeg"):
        return None
    clip = folder / "clip.ts"
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=50,noise=alls=12:allf=t", "-t", "20",
                    "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-b:v", "4M", "-maxrate", "4M",
                    "-bufsize", "400k", "-g", "100", "-f", "mpegts", clip], check=True)
    [port] = free_ports(1)
    server = subprocess.Popen([sys.executable, HERE / "peers" / "aiortc_server.py", str(port), clip], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        return _load(f"http://127.0.0.1:{port}/", viewers, seconds, str(server.pid))
    finally:
        server.kill()
        server.wait()


def soak(table, folder, minutes=10):
    """No frame lost by us, no packet dropped, memory flat, with one real viewer."""
    with Theatre(_made(folder / "theatre"), ["--timestamp-bars"]) as theatre, Browser(_made(folder / "chromium")) as browser:
        page = _viewer(theatre, browser, measure=1)
        time.sleep(20)
        pids = theatre.stages()
        memory = {name: resident_bytes(pid) for name, pid in pids.items()}
        names = ("appliance_ingest_frames_total", "appliance_ingest_packets_total", "appliance_ingest_packets_lost_total", "appliance_frames_dropped_total",
                 "appliance_convert_frames_total")
        before = {name: theatre.metric(name) for name in names}
        begun = time.monotonic()
        while time.monotonic() - begun < minutes * 60:
            time.sleep(1)
            assert theatre.source.poll() is None and theatre.process.poll() is None
        elapsed = time.monotonic() - begun
        grown = {name: theatre.metric(name) - before[name] for name in names}
        row = f"{minutes:g} minutes"
        for name in names:
            table.add(row, name, int(grown[name]), "", "0" if "lost" in name or "dropped" in name else f"{elapsed * 50:.0f} frames" if "frames" in name else "")
        assert theatre.stages() == pids, "a stage was restarted"
        for name, pid in pids.items():
            change = (resident_bytes(pid) - memory[name]) / 2**20
            if abs(change) >= 1:
                table.add(row, f"memory of {name} changed by", change, "MiB", "flat")
        table.add(row, "memory of all stages together", sum(resident_bytes(pid) for pid in pids.values()) / 2**20, "MiB",
                  f"{sum(memory.values()) / 2**20:.0f} before")
        latencies = page.evaluate("applianceViewer.glassLatencies")
        for share in (50, 99):
            table.add(row, f"p{share} latency of the last {len(latencies)} frames", percentile(latencies, share / 100), "ms", BARS[share])
        page.close()


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder

__all__ = ["fanout", "latency", "soak", "stages", "descendants", "wait_until"]
