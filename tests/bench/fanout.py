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
CLIP_S = 20
JANUS_VIEWERS = 40  # it loses packets with many more on two cores
AIORTC_VIEWERS = 20


def fanout(table, folder, viewers=300, seconds=15):
    """CPU a packet on one worker, control plane included; viewers a core; the skew between first and last."""
    row = f"fan-out, {viewers} viewers"
    peers = _peers(folder, seconds)
    server = f"viewers_max = {viewers + 10}\nfanout_workers = 1"
    with Theatre(made(folder / "theatre"), server=server, encoder=f"[encoder]\nbitrate_kbps = {BITRATE_KBPS}") as theatre:
        pids = [pid for name, pid in theatre.stages().items() if name.startswith("fanout.")]
        joined = {}
        ours = load(f"{theatre.url}/whep/{theatre.stream}", viewers, seconds, pids, "--token", theatre.token("student"),
                    when_connected=lambda: joined.update(theatre.metrics()))
        watched = {sample: value - joined.get(sample, 0) for sample, value in theatre.metrics().items()}
    skew_ms, joining_ms = (_quantile(counted, "appliance_fanout_skew_seconds", 0.99) * 1e3 for counted in (watched, joined))
    beside = ", ".join(f"{name} {found['us_per_packet']:.1f} us (x {found['us_per_packet'] / ours['us_per_packet']:.1f})" for name, found in peers.items())
    table.add(row, "CPU a packet, control plane included", ours["us_per_packet"], "us", "<= 2.0", beside)
    table.add(row, "viewers a core at this bit rate", ours["viewers_per_core"], "viewers", ">= 1,100",
              ", ".join(f"{name} {found['viewers_per_core']}" for name, found in peers.items()))
    table.add(row, "packets a second that reached a viewer", ours["packets_s_a_viewer"], "1/s", "~452",
              ", ".join(f"{name} {found['packets_s_a_viewer']:.0f}" for name, found in peers.items()))
    table.add(row, "p99 skew, first to last viewer of a unit", f"<= {skew_ms:g}", "ms", "<= 8", f"while they joined <= {joining_ms:g}")
    table.add(row, "connected", f"{ours['alive']}/{viewers}", "")


def _quantile(metrics, name, share):
    """Upper bound of the bucket that this share of a histogram's observations lies within, all series together."""
    buckets = {}
    for (sample, labels), value in metrics.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            buckets[bound] = buckets.get(bound, 0) + value
    return next(bound for bound, count in sorted(buckets.items()) if count >= share * buckets[float("inf")])


def load(url, viewers, seconds, pids, *options, when_connected=lambda: None):
    """What fanload.py measured; `when_connected` is called in between."""
    command = [sys.executable, HERE / "fanload.py", url, str(viewers), str(seconds), ",".join(map(str, pids)), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        # Its input stays open: closing it would end the measurement.
        connected = process.stdout.readline()
        when_connected()
        found = process.stdout.readline()
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
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=50,noise=alls=12:allf=t", "-t", str(min(CLIP_S, 5 * seconds)),
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
