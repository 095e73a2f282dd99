"""What arrives is written to a file that Wireshark reads, beside whoever else receives it, and is sent again from there in its own time."""
import argparse
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import config
from appliance.errors import ConfigurationError
from appliance.frame import VideoFormat
from appliance.packets import pcapng, record
from appliance.packets import replay as replaying
from appliance.protocol import sdp
from cext.replaying import Capture
from tests.network.theatre_network import LOOPBACK, Sender, free_flow

CONFIG = """
[[stream]]
name = "scope"
title = "Endoscope"
interface = "lo"
video = "scope.sdp"
metadata = "scope-metadata.sdp"
"""
PATIENCE_S = 20


class Theatre:
    """A configuration of two flows on loopback, and their senders."""

    def __init__(self, folder):
        self.folder = folder
        self.video = free_flow(VideoFormat(64, 36))
        free = free_flow(VideoFormat(64, 36))
        self.metadata = sdp.MetadataFlow(group=free.group, port=free.port, payload_type=97)
        (folder / "scope.sdp").write_text(sdp.emit_video(self.video))
        (folder / "scope-metadata.sdp").write_text(sdp.emit_metadata(self.metadata))
        (folder / "appliance.toml").write_text(CONFIG)
        self.senders = [Sender(self.video), Sender(self.metadata)]

    def record(self, name, *options, prefix=()):
        """The command's process, once it records."""
        process = subprocess.Popen([*prefix, sys.executable, "-m", "appliance", "record-packets", "scope", str(self.folder / name), "--config",
                                    str(self.folder / "appliance.toml"), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = [process.stderr.readline()]
        while not self.lines[-1].startswith(("recording ", "appliance: ")):
            assert self.lines[-1], self.lines
            self.lines.append(process.stderr.readline())
        return process

    def close(self):
        for sender in self.senders:
            sender.close()


@pytest.fixture
def theatre(tmp_path):
    theatre = Theatre(tmp_path)
    yield theatre
    theatre.close()


def dissected(path, *fields):
    """Wireshark's own view of each packet."""
    arguments = [argument for field in fields for argument in ("-e", field)]
    listing = subprocess.run(["tshark", "-n", "-r", str(path), "-T", "fields", *arguments], capture_output=True, text=True, check=True)
    assert "Running as user" in listing.stderr or not listing.stderr, listing.stderr
    return [line.split("\t") for line in listing.stdout.splitlines()]


WAYS = {"packet socket": (), "UDP socket": ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")}


@pytest.mark.parametrize("way", WAYS)
def test_all_flows_are_written_as_they_came(theatre, tmp_path, way):
    path = tmp_path / "x.pcapng"
    process = theatre.record("x.pcapng", "--seconds", "30", prefix=WAYS[way])
    video, metadata = theatre.senders
    packets = [bytes([number]) * 1000 for number in range(200)]
    begun = time.time()
    video.send(packets[:100])
    video.send_merged(packets[100:110])  # taken apart again: the file holds what a wire would
    video.send(packets[110:])
    metadata.send([b"metadata"])
    time.sleep(0.1)  # the packets' times are the kernel's: nothing that comes later belongs to them
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaints
    assert "201 packets" in said and "none lost on this machine" in said and f"by a {way}" in said and "who the patient is" in said
    seen = dissected(path, "frame.interface_description", "ip.dst", "udp.dstport", "udp.payload", "frame.time_epoch", "ip.checksum.status", "udp.length")
    of_video = [row for row in seen if row[2] == str(theatre.video.port)]
    assert [bytes.fromhex(row[3].replace(":", "")) for row in of_video] == packets
    assert {row[0] for row in of_video} == {f"scope video {theatre.video.group}:{theatre.video.port}"} and {row[1] for row in of_video} == {theatre.video.group}
    [other] = [row for row in seen if row[2] == str(theatre.metadata.port)]
    assert bytes.fromhex(other[3].replace(":", "")) == b"metadata" and other[0].startswith("scope metadata ")
    times = [float(row[4]) for row in of_video]
    assert begun - 0.01 <= times[0] and times == sorted(times) and len({row[4].rstrip("0") for row in of_video}) > 50 and len(of_video[0][4].split(".")[1]) == 9
    about = subprocess.run(["capinfos", str(path)], capture_output=True, text=True, check=True).stdout
    assert "appliance " in about and "exactframerate=50" in about and "Number of interfaces in file: 2" in about and "Number of stat entries = 1" in about
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_file_is_never_overwritten_and_ends_at_its_size_whole(theatre, tmp_path):
    (tmp_path / "there.pcapng").write_text("precious")
    process = theatre.record("there.pcapng")
    assert process.wait(PATIENCE_S) == 2 and "a file that does not exist yet" in theatre.lines[-1]
    assert (tmp_path / "there.pcapng").read_text() == "precious"
    process = theatre.record("x.pcapng", "--seconds", "30", "--mib-max", "1", "--flows", "video")
    assert "the file ends at 1 MiB" in theatre.lines[0]
    packet = bytes(1400)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        theatre.senders[0].send([packet] * 50)
        theatre.senders[1].send([b"not asked for"])
    said, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "reached its 1 MiB" in complaints and "metadata" not in said
    content = (tmp_path / "x.pcapng").read_bytes()
    assert 2**20 <= len(content) < 6 * 2**20
    capture = Capture(content)
    assert not capture.broken and not capture.left_out and [flow.port for flow in capture.flows] == [theatre.video.port]


def test_both_paths_of_a_flow_are_interfaces_of_the_file(theatre, tmp_path):
    second = free_flow(VideoFormat(64, 36))
    both = replace(theatre.video, second=sdp.Leg(group=second.group, port=second.port, payload_type=96))
    (tmp_path / "scope.sdp").write_text(sdp.emit_video(both))
    theatre.senders.append(Sender(second))
    process = theatre.record("x.pcapng", "--seconds", "30", "--flows", "video")
    theatre.senders[0].send([b"both"])
    theatre.senders[2].send([b"both", b"only the second"])
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaints
    assert "video path a" in said and "video path b" in said
    capture = Capture((tmp_path / "x.pcapng").read_bytes())
    assert {(flow.address, flow.port, flow.packets) for flow in capture.flows} == {(theatre.video.group, theatre.video.port, 1), (second.group, second.port, 2)}
    # Told apart by their senders alone: one interface for both.
    sources = {name: replace(theatre.video, source_address=name) for name in ("127.0.0.1", "127.0.0.2")}
    one = replace(sources["127.0.0.1"], second=sdp.Leg(group=theatre.video.group, port=theatre.video.port, payload_type=96, source_address="127.0.0.2"))
    [recorded] = record._paths("video", one, config.load(tmp_path / "appliance.toml").streams[0], "")
    assert recorded.key == "video paths a and b" and [leg.source_address for leg in (recorded.flow, *recorded.others)] == list(sources)


def mistake(command, *arguments):
    """What a person reads who got it wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    command.add_arguments(parser)
    with pytest.raises(ConfigurationError) as caught:
        command.run(parser.parse_args([*map(str, arguments)]))
    return str(caught.value)


def test_mistakes_and_silence_are_said(theatre, tmp_path):
    where = ("--config", tmp_path / "appliance.toml")
    assert "Did you mean 'scope'?" in mistake(record, "scop", tmp_path / "y.pcapng", *where)
    assert "some of video, metadata" in mistake(record, "scope", tmp_path / "y.pcapng", "--flows", "sound", *where)
    assert "a folder that exists" in mistake(record, "scope", tmp_path / "missing" / "y.pcapng", *where)
    assert "more than 0" in mistake(record, "scope", tmp_path / "y.pcapng", "--seconds", "0", *where)
    process = theatre.record("y.pcapng", "--seconds", "0.2")
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and said.count("NOTHING CAME") == 2


def replay(*arguments):
    return subprocess.run([sys.executable, "-m", "appliance", "replay", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S)


def listener(group):
    """A member of the group on loopback, on a port that it chooses."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((group, 0))
    receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("@4s4si", socket.inet_aton(group), bytes(4), LOOPBACK))
    receiver.settimeout(PATIENCE_S)
    return receiver


def datagram(group, port, payload):
    """An IPv4 packet."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 16, 17, 0, socket.inet_aton("10.1.2.3"), socket.inet_aton(group))
    return header + struct.pack("!HHHH", 5000, port, 8 + len(payload), 0) + payload


def old_capture(packets, link=1, nanoseconds=False, order="<"):
    """A pcap file of (seconds, octets)."""
    file = struct.pack(order + "IHHiIII", 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    for seconds, octets in packets:
        units = round(seconds * (1e9 if nanoseconds else 1e6))
        whole, part = divmod(units, 10**9 if nanoseconds else 10**6)
        file += struct.pack(order + "IIII", whole, part, len(octets), len(octets)) + octets
    return file


LINKS = {"Ethernet": (1, bytes(12) + b"\x08\x00"), "VLAN": (1, bytes(12) + b"\x81\x00\x00\x05\x08\x00"), "raw": (101, b""), "null": (0, b"\x02\0\0\0"),
         "cooked": (113, bytes(14) + b"\x08\x00"), "cooked 2": (276, b"\x08\x00" + bytes(18))}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("order", "<>")
def test_every_kind_of_capture_is_read(kind, order):
    link, head = LINKS[kind]
    file = old_capture([(1.5, head + datagram("239.1.2.3", 5004, b"one")), (2.0, head + datagram("239.1.2.4", 5006, b"three"))], link, kind == "raw", order)
    capture = Capture(file)
    assert [tuple(flow) for flow in capture.flows] == [("239.1.2.3", 5004, 1, 3), ("239.1.2.4", 5006, 1, 5)]
    assert capture.seconds == pytest.approx(0.5) and not capture.broken and not capture.left_out


def test_what_cannot_be_sent_is_counted_and_a_file_cut_short_is_used():
    good = bytes(12) + b"\x08\x00" + datagram("239.1.2.3", 5004, b"one")
    fragment = bytearray(good)
    fragment[14 + 6] = 0x20
    file = old_capture([(1, good), (1, bytes(12) + b"\x08\x06" + bytes(28)), (1, bytes(fragment)), (1, good[:30]), (1, good)])
    capture = Capture(file[:-5])
    assert capture.packets == 1 and capture.broken and capture.left_out == {"not UDP": 1, "fragments": 1, "cut short": 1}


def test_a_capture_goes_to_loopback_in_its_own_time_and_nowhere_else(tmp_path):
    with listener("239.81.82.83") as receiver:
        port = receiver.getsockname()[1]
        head = bytes(12) + b"\x08\x00"
        packets = [(10 + 0.05 * number, head + datagram("239.1.2.3", 5004, bytes([number]) * 100)) for number in range(6)]
        packets.append((10.3, head + datagram("10.1.1.1", 5004, b"for one machine")))
        (tmp_path / "x.pcap").write_bytes(old_capture(packets))
        result = replay(tmp_path / "x.pcap", "--map", f"239.1.2.3:5004=239.81.82.83:{port}")
        assert result.returncode == 0, result.stderr
        assert "sent 6 packets on lo" in result.stderr and "10.1.1.1:5004: 1 packets" in result.stderr and "not sent: it is for one machine" in result.stderr
        assert [receiver.recv(2048) for _ in range(6)] == [bytes([number]) * 100 for number in range(6)]
        begun = time.monotonic()
        assert replay(tmp_path / "x.pcap", "--map", f"239.1.2.3:5004=239.81.82.83:{port}", "--speed", "0.5").returncode == 0
        assert time.monotonic() - begun > 0.5


def test_what_was_recorded_is_replayed(theatre, tmp_path):
    recorder = theatre.record("x.pcapng", "--seconds", "30")
    packets = [bytes([number]) * 500 for number in range(50)]
    theatre.senders[0].send(packets)
    time.sleep(0.1)
    recorder.send_signal(signal.SIGTERM)
    assert recorder.wait(PATIENCE_S) == 0
    with listener("239.81.82.84") as receiver:
        result = replay(tmp_path / "x.pcapng", "--map", f"{theatre.video.group}:{theatre.video.port}=239.81.82.84:{receiver.getsockname()[1]}")
        assert result.returncode == 0, result.stderr
        assert [receiver.recv(2048) for _ in packets] == packets


def test_what_a_person_got_wrong_is_said(tmp_path):
    (tmp_path / "text").write_text("no capture at all, but long enough")
    (tmp_path / "x.pcap").write_bytes(old_capture([(1, datagram("10.1.1.1", 5004, b"x"))], 101))
    for arguments, words in (
            ([tmp_path / "missing"], "No such file"), ([tmp_path / "text"], "a capture (pcapng or pcap), got something else"),
            ([tmp_path / "x.pcap"], "a multicast flow, or a --map"), ([tmp_path / "x.pcap", "--map", "10.1.1.1=239.1.1.1:5"], "ADDRESS:PORT=ADDRESS:PORT"),
            ([tmp_path / "x.pcap", "--map", "239.9.9.9:1=239.1.1.1:5"], "a flow of the file: 10.1.1.1:5004"),
            ([tmp_path / "x.pcap", "--map", "10.1.1.1:5004=10.1.1.2:5004"], "a multicast group or 127.0.0.1 on loopback"),
            ([tmp_path / "x.pcap", "--map", "10.1.1.1:5004=239.1.1.1:5004", "--to", "eth99"], "one of this machine's interfaces"),
            ([tmp_path / "x.pcap", "--speed", "0"], "more than 0")):
        assert words in mistake(replaying, *arguments), arguments


def test_text_in_a_file_keeps_to_its_format():
    block = pcapng.interface(pcapng.ETHERNET, "eth1", "x", "ü" * 60_000)
    assert len(block) % 4 == 0 and struct.unpack_from("=I", block, 4)[0] == len(block) == struct.unpack("=I", block[-4:])[0]
