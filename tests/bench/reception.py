"""CPU a packet of receiving 1280x720p50 4:2:2 10 bit from the synthetic source: each of our ways, then GStreamer and FFmpeg, in one run."""
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.process import cpu_s
from tests.system.theatre import free_ports

HERE = Path(__file__).parent
WARM_UP_S = 2
WAYS = {"packet-ring": ("packet ring", "<= 0.7, 1/6"), "socket": ("socket", "<= 1.6, 1/2.5"), "socket single": ("socket, nothing merged", "<= 1.6")}
"""Options of tests.bench.receiver; name and bar."""
FFMPEG = ("ffmpeg", "-loglevel", "quiet", "-nostdin", "-protocol_whitelist", "file,udp,rtp", "-buffer_size", "4194304")
PEER_ENDS_S = 5


def reception(table, folder, seconds=10):
    """Adds CPU a packet of each way to receive, share of a core, losses, and the peers' beside them."""
    [port] = free_ports(1)
    source = start_source(folder, "endoscope", "--group", "127.0.0.1", "--port", str(port))
    try:
        place = folder / "endoscope.sdp"
        ours = {way: our_cpu(place, seconds, *way.split()) for way in WAYS}
        peers = _peers(place, port, seconds)
    finally:
        source.kill()
        source.wait()
    row = "reception, 1280x720p50 10 bit"
    for way, (cpu, seen) in ours.items():
        cost = cpu / seen["packets"] * 1e6
        beside = ", ".join(f"{name} {peer.us:.2f} us (1/{peer.us / cost:.1f})" for name, peer in peers.items())
        table.add(row, f"CPU a packet, {WAYS[way][0]}", cost, "us", WAYS[way][1], beside)
    for way, (cpu, seen) in ours.items():
        beside = ", ".join(f"{seen[name]} {name}" for name in ("lost", "kernel_drops", "incomplete"))
        table.add(row, f"CPU, {WAYS[way][0]}", cpu / seconds * 100, "% of a core", "", beside)
    _, seen = ours["packet-ring"]
    for name, peer in peers.items():
        table.add(row, f"CPU, {name}", peer.cpu_s / seconds * 100, "% of a core", "", f"{peer.packets / seconds:.0f} packets/s read {peer.told}")
    table.add(row, "packets a second", seen["packets"] / seconds, "1/s")
    table.add(row, "packets that the kernel merged into one buffer", seen["datagrams"] / seen["buffers"], "")
    table.add(row, "frames", seen["frames"], "", f"{seconds * 50}")


def start_source(folder, name, *options):
    """A process that sends video over loopback, once its SDP file NAME.sdp is in the folder."""
    source = subprocess.Popen([sys.executable, "-m", "appliance", "source", "--interface", "lo", "--no-metadata", "--name", name, "--sdp-dir", str(folder), *options],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / f"{name}.sdp").exists():
        assert source.poll() is None, "the source ended"
        time.sleep(0.1)
    return source


def our_cpu(place, seconds, *options):
    """CPU seconds and statistics of our intake over `seconds`."""
    with Receiver(place, *options) as receiver:
        time.sleep(WARM_UP_S)
        before, cpu = receiver.statistics(), cpu_s(receiver.pid)
        time.sleep(seconds)
        return cpu_s(receiver.pid) - cpu, grown(before, receiver.statistics())


class Receiver:
    """A process with the intake of one flow; options as tests.bench.receiver takes them."""

    def __init__(self, place, *options):
        self._process = subprocess.Popen([sys.executable, "-m", "tests.bench.receiver", str(place), *options],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def statistics(self):
        """What it has counted so far."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def grown(before, after):
    """What was counted in between, by name; counts by reason and by path are left out."""
    return {name: count - before[name] for name, count in after.items() if isinstance(count, int)}


@dataclass(frozen=True)
class Peer:
    """What another program took for how many packets of the same flow, and what it said of it."""

    cpu_s: float
    packets: int
    told: str

    @property
    def us(self):
        """CPU microseconds a packet that it read."""
        return self.cpu_s / self.packets * 1e6


def _peers(place, port, seconds):
    """{name: Peer} of those that are installed."""
    peers = {}
    if shutil.which("gst-launch-1.0"):
        peers["GStreamer"] = _peer([HERE / "peers" / "gstreamer_ingest.sh", str(port)], seconds)
    if shutil.which("ffmpeg"):
        peers["FFmpeg"] = _peer([*FFMPEG, "-i", place, "-c", "copy", "-progress", "pipe:1", "-f", "null", "-"], seconds)
        frames = re.findall(r"^frame=(\d+)", peers["FFmpeg"].told, re.MULTILINE)
        assert frames and int(frames[-1]) > 0, "FFmpeg made no frame of what it received"
        peers["FFmpeg"] = replace(peers["FFmpeg"], told=f"{frames[-1]} frames in all")
    return peers


def _peer(command, seconds):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(WARM_UP_S)
        cpu, packets = cpu_s(process.pid), _datagrams_read()
        time.sleep(seconds)
        cpu, packets = cpu_s(process.pid) - cpu, _datagrams_read() - packets
        process.terminate()
        told, _ = process.communicate(timeout=PEER_ENDS_S)
    finally:
        process.kill()
        process.wait()
    assert packets, f"{command[0]} received nothing"
    return Peer(cpu, packets, told)


def _datagrams_read():
    """UDP datagrams that programs of this machine have read: GStreamer does not count its own."""
    names, values = [line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    return int(dict(zip(names, values))["InDatagrams"])
