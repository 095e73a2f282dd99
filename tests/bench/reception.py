"""CPU a packet of receiving 1280x720p50 4:2:2 10 bit from the synthetic source: our reception, then GStreamer's, in one run."""
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.process import cpu_s
from tests.system.theatre import free_ports

HERE = Path(__file__).parent
WARM_UP_S = 2


def reception(table, folder, seconds=10):
    """Adds CPU a packet, share of a core, losses and the ratio."""
    [port] = free_ports(1)
    source = subprocess.Popen([sys.executable, "-m", "appliance", "source", "--interface", "lo", "--group", "127.0.0.1", "--port", str(port),
                               "--no-metadata", "--sdp-dir", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (folder / "endoscope.sdp").exists():
            assert source.poll() is None, "the source ended"
            time.sleep(0.1)
        ours, packets, seen = _our_cpu(folder / "endoscope.sdp", seconds)
        single, single_packets, _ = _our_cpu(folder / "endoscope.sdp", seconds, "single")
        theirs, their_packets = _gstreamer_cpu(port, seconds)
    finally:
        source.kill()
        source.wait()
    cost = ours / packets * 1e6
    row = "reception, 1280x720p50 10 bit"
    beside = f"GStreamer {theirs / their_packets * 1e6:.2f} us (ratio {cost / (theirs / their_packets * 1e6):.2f})" if theirs else "GStreamer not installed"
    table.add(row, "CPU a packet", cost, "us", "<= 1.6", beside)
    table.add(row, "CPU", ours / seconds * 100, "% of a core", "10-15", f"GStreamer {theirs / seconds * 100:.0f}" if theirs else "")
    table.add(row, "CPU a packet where the kernel merges nothing", single / single_packets * 1e6, "us", "<= 1.6")
    table.add(row, "packets a second", packets / seconds, "1/s")
    table.add(row, "packets that the kernel merged into one buffer", seen["datagrams"] / seen["buffers"], "")
    for name in ("frames", "lost", "kernel_drops", "incomplete"):
        table.add(row, name, seen[name], "", "0" if name != "frames" else f"{seconds * 50}")


def _our_cpu(place, seconds, *options):
    """CPU seconds, packets and statistics of our reception over `seconds`."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.receiver", str(place), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask():
        process.stdin.write("\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        time.sleep(WARM_UP_S)
        before, cpu = ask(), cpu_s(process.pid)
        time.sleep(seconds)
        after, cpu = ask(), cpu_s(process.pid) - cpu
    finally:
        process.kill()
        process.wait()
    grown = {name: after[name] - before[name] for name in after if name != "malformed"}
    return cpu, grown["packets"], grown


def _gstreamer_cpu(port, seconds):
    """CPU seconds of GStreamer over `seconds` of the same flow, and packets; zeros if it is not installed."""
    if not shutil.which("gst-launch-1.0"):
        return 0, 0
    process = subprocess.Popen([HERE / "peers" / "gstreamer_ingest.sh", str(port)], stdout=subprocess.DEVNULL)
    try:
        time.sleep(WARM_UP_S)
        before, packets = cpu_s(process.pid), _datagrams_read()
        time.sleep(seconds)
        return cpu_s(process.pid) - before, _datagrams_read() - packets
    finally:
        process.kill()
        process.wait()


def _datagrams_read():
    """UDP datagrams that programs of this machine have read: GStreamer does not count its own."""
    names, values = [line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    return int(dict(zip(names, values))["InDatagrams"])
