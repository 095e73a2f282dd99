"""Row "joins": a class starts. 50 viewers within five seconds beside 150 who watch, and a real Chromium in the middle of it."""
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.process import descendants
from tests.system.browser import Browser
from tests.system.theatre import Theatre

HERE = Path(__file__).parent
SCRIPT = (HERE / "latency.js").read_text()
WATCHING, JOINING, SPREAD_S = 150, 50, 5.0
AT_ONCE = 200
LOAD_LIMIT_S = 240


def joins(table, folder, watching=WATCHING, joining=JOINING, one_port=""):
    """POST to the first packet and to the whole keyframe, the longest gap of somebody who watches, CPU a join."""
    for name in ("theatre", "chromium"):
        (folder / name).mkdir()
    server = f"viewers_max = {watching + joining + 10}" + (f'\nmedia_ports = "{one_port}"' if one_port else "")
    with Theatre(folder / "theatre", ["--timestamp-bars"], server=server, encoder="[encoder]\nbitrate_kbps = 1500") as theatre, \
            Browser(folder / "chromium") as browser:
        page = browser.open(theatre.url)
        page.evaluate(SCRIPT + "; 0")
        found, painted_ms = _storm(theatre, page, watching, joining)
        keyframes = theatre.metric("appliance_encode_keyframes_total")
        seconds = theatre.metric("appliance_ingest_frames_total") / 50
    row = f"{joining} joins in {SPREAD_S:g} s" + (", one port" if one_port else "")
    beside = f"{found['watching']} watching"
    table.add(row, "joined", f"{found['joined']}/{joining}", "", "", f"{found['refused']} came again, {found['failed']} failed")
    for what, key in (("the first packet", "first_packet_ms"), ("the whole keyframe", "keyframe_ms")):
        for share, value in zip((50, 95), found[key]):
            table.add(row, f"p{share}, POST to {what}", value, "ms", "<= 500" if share == 50 else "", beside)
    table.add(row, "POST to first painted frame in Chromium", painted_ms, "ms", "<= 500", "in the middle of it")
    table.add(row, "longest gap for one who watches", found["gap_storm_ms"], "ms", "", f"{found['gap_calm_ms']:.0f} ms in the {SPREAD_S:g} s before")
    table.add(row, "CPU a join, gateway and workers", found["join_cpu_ms"], "ms", "", "media of those who watch taken off")
    table.add(row, f"{AT_ONCE} at once, by that", AT_ONCE * found["join_cpu_ms"] / 1000, "s of a core")
    table.add(row, "keyframes of all renditions until the end", keyframes, "", "", f"in {seconds:.0f} s")


def _storm(theatre, page, watching, joining):
    """(what the load tells, POST to first painted frame of the page that joined in the middle)."""
    pids = ",".join(str(pid) for name, pid in theatre.stages().items() if name.startswith(("fanout.", "gateway")))
    url, token = f"{theatre.url}/whep/{theatre.stream}", theatre.token("expert")
    load = subprocess.Popen([sys.executable, HERE / "joinload.py", url, token, str(watching), str(joining), str(SPREAD_S), pids],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert load.stdout.readline().strip() == "watching", "the load ended before its viewers watched"
        load.stdin.write("now\n")
        load.stdin.flush()
        time.sleep(1.5 * SPREAD_S)  # as long again is calm, then they come
        page.evaluate(f"startMeasuring({json.dumps(url)}, {json.dumps(token)}, 'video/H264').then(() => 0)")
        page.wait("measured.firstFrameAt > 0", 30)
        painted_ms = page.evaluate("measured.firstFrameAt - measured.postedAt")
        page.evaluate(f"stopMeasuring({json.dumps(token)}).then(() => 0)")
        return json.loads(load.stdout.readline()), painted_ms
    finally:
        try:
            load.communicate(timeout=LOAD_LIMIT_S)
        except subprocess.TimeoutExpired:
            for pid in reversed(descendants(load.pid)):
                subprocess.run(["kill", str(pid)], check=False)
            load.wait()
