"""The fan-out's cost a packet with a class of load viewers, beside Janus and plain aiortc on the same kind of stream in the same run."""
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.latency import made
from tests.bench.peers import janus
from tests.system.theatre import Theatre, free_ports

HERE = Path(__file__).parent
BITRATE_KBPS = 4200
JANUS_VIEWERS = 40  # it loses packets with many more on two cores
AIORTC_VIEWERS = 20


def fanout(table, folder, viewers=300, seconds=15):
    """CPU a packet, control plane included; viewers a core; the skew between first and last."""
    row = f"fan-out, {viewers} viewers"
    peers = _peers(folder, seconds)
    with Theatre(made(folder / "theatre"), server=f"viewers_max = {viewers + 10}", encoder=f"[encoder]\nbitrate_kbps = {BITRATE_KBPS}") as theatre:
        pids = [pid for name, pid in theatre.stages().items() if name.startswith("fanout.")]
        ours = load(f"{theatre.url}/whep/{theatre.stream}", viewers, seconds, pids, "--token", theatre.token("student"))
    beside = ", ".join(f"{name} {found['us_per_packet']:.1f} us (x {found['us_per_packet'] / ours['us_per_packet']:.1f})" for name, found in peers.items())
    table.add(row, "CPU a packet, control plane included", ours["us_per_packet"], "us", "<= 2.0", beside)
    table.add(row, "viewers a core at this bit rate", ours["viewers_per_core"], "viewers", ">= 1,100",
              ", ".join(f"{name} {found['viewers_per_core']}" for name, found in peers.items()))
    table.add(row, "packets a second that reached a viewer", ours["packets_s_a_viewer"], "1/s", "~452",
              ", ".join(f"{name} {found['packets_s_a_viewer']:.0f}" for name, found in peers.items()))
    table.add(row, "connected", f"{ours['alive']}/{viewers}", "")


def load(url, viewers, seconds, pids, *options):
    """What fanload.py measured."""
    command = [sys.executable, HERE / "fanload.py", url, str(viewers), str(seconds), ",".join(map(str, pids)), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        # Its input stays open: closing it would end the measurement.
        connected, found = process.stdout.readline(), process.stdout.readline()
    finally:
        process.kill()
        complaints = process.communicate()[1]
    assert connected and found, complaints[-2000:]
    return json.loads(found)


def _peers(folder, seconds):
    """{peer: what fanload.py measured} of those that are installed."""
    if not shutil.which("ffmpeg"):
        return {}
    clip = folder / "clip.ts"
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=50,noise=alls=12:allf=t", "-t", "20",
                    "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-b:v", "4M", "-maxrate", "4M",
                    "-bufsize", "400k", "-g", "100", "-f", "mpegts", clip], check=True)
    found = {"Janus": _janus(folder, clip, seconds)} if janus.installed() else {}
    return found | {"aiortc": _aiortc(clip, seconds)}


def _janus(folder, clip, seconds):
    server = janus.Janus(made(folder / "janus"), clip)
    try:
        return load(server.url, JANUS_VIEWERS, seconds, [server.pid], "--janus")
    finally:
        server.close()


def _aiortc(clip, seconds):
    [port] = free_ports(1)
    server = subprocess.Popen([sys.executable, HERE / "peers" / "aiortc_server.py", str(port), clip], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)
        return load(f"http://127.0.0.1:{port}/", AIORTC_VIEWERS, seconds, [server.pid])
    finally:
        server.kill()
        server.wait()
