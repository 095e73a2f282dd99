"""`appliance source` as a process of its own, heard on loopback multicast by plain sockets and by GStreamer."""
import itertools
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from appliance import clock
from appliance.frame import VideoFormat
from appliance.protocol import dicom_rtv, rfc4175, rtp, sdp
from appliance.protocol.grain import GrainAssembler
from appliance.source import metadata
from appliance.source.scene import Scene
from appliance.source.sender import frame_instant_ns
from cext import source as native
from tests.unit.source.pictures import centroid, greenness, planes, stamped_microseconds

PATIENCE_S = 20
SO_TIMESTAMPNS = 35
SMALL = VideoFormat(320, 180)


@dataclass(frozen=True)
class Heard:
    """A datagram and when the kernel got it, CLOCK_REALTIME nanoseconds."""

    packet: rtp.RtpPacket
    octets: bytes
    received_ns: int


class Listener:
    """A member of a group on loopback."""

    def __init__(self, group: str, port: int):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind((group, port))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton("127.0.0.1")))
        self.socket.settimeout(PATIENCE_S)

    def hear(self, count: int) -> list[Heard]:
        heard = []
        for _ in range(count):
            octets, ancillary, _, _ = self.socket.recvmsg(2048, 64)
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            heard.append(Heard(rtp.parse(octets), octets, seconds * 10**9 + nanoseconds))
        return heard


def free_group() -> tuple[str, int]:
    group = f"239.{random.randrange(130, 190)}.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return group, min(probe.getsockname()[1], 65_000)


@pytest.fixture
def start():
    """Starts sources; ends those that still run."""
    running = []

    def start_source(*arguments: str) -> subprocess.Popen:
        running.append(subprocess.Popen([sys.executable, "-m", "appliance", "source", "--interface", "lo", *arguments],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield start_source
    for process in running:
        process.kill()
        process.communicate()


def heard_from(start, *arguments: str, video: int, grains: int = 0):
    """The source's first packets, its process and its flows as the SDP files give them."""
    group, port = free_group()
    following = f"{group.rsplit('.', 1)[0]}.{int(group.rsplit('.', 1)[1]) + 1}"
    listener, metadata_listener = Listener(group, port), Listener(following, port + 2)
    process = start("--group", group, "--port", str(port), *arguments)
    packets, grain_packets = listener.hear(video), metadata_listener.hear(grains)
    return process, packets, grain_packets


def frames_of(packets: list[Heard]) -> list[list[Heard]]:
    """Whole frames: packets of one timestamp up to the marker."""
    groups = [list(group) for _, group in itertools.groupby(packets, key=lambda heard: heard.packet.header.timestamp)]
    return [group for group in groups if group[-1].packet.header.marker]


def assembled(frame: list[Heard], format: VideoFormat) -> np.ndarray:
    raster = bytearray(format.frame_bytes)
    for heard in frame:
        _, segments, samples = rfc4175.parse_payload(heard.packet.payload, format)
        rfc4175.place(raster, segments, samples, format)
    return np.frombuffer(raster, np.uint8)


def test_video_and_metadata_tell_of_the_same_frames(start):
    _, packets, grain_packets = heard_from(start, "--size", "320x180", video=2500, grains=30)
    frames = {frame[0].packet.header.timestamp: frame for frame in frames_of(packets)}
    assembler, joined = GrainAssembler(metadata.PAYLOAD_TYPE, metadata.FLAGS), 0
    for heard in grain_packets:
        for grain in assembler.receive(heard.octets, 0):
            frame = frames.get(grain.rtp_timestamp)
            if frame is None:
                continue
            joined += 1
            assert heard.received_ns <= frame[0].received_ns, "metadata is sent before its frame"
            item = dicom_rtv.parse_grain(grain.payload).dynamic
            tip_x, tip_y = item.private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)[0x01].value[0].private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)[0x03].value
            luma, cb, cr = planes(assembled(frame, SMALL), SMALL)
            x, y = centroid(greenness(luma, np.repeat(cb, 2, axis=1), np.repeat(cr, 2, axis=1), 1024))
            assert np.hypot(x - tip_x, y - tip_y) < 1
    assert joined >= 15
    assert not assembler.dropped and not assembler.malformed


def test_rtp_time_is_tai_and_frames_follow_at_the_frame_rate(start, record_property):
    _, packets, _ = heard_from(start, "--size", "320x180", "--rate", "59.94", video=2500)
    frames = frames_of(packets)
    stamps = [frame[0].packet.header.timestamp for frame in frames]
    steps = [later - earlier & 0xFFFF_FFFF for earlier, later in zip(stamps, stamps[1:])]
    # 1501.5 ticks a frame, rounded down at each instant; a busy machine leaves frames out, never moves them.
    assert all(step // 1501 >= 1 and abs(step - round(step / 1501.5) * 1501.5) <= 0.5 for step in steps)
    assert {1501, 1502} & set(steps)
    now_ns = clock.tai_ns()
    captured_ns = clock.unwrap_rtp_timestamp(stamps[-1], now_ns)
    assert abs(now_ns - captured_ns) < 60 * 10**9
    rate = Fraction(60000, 1001)
    assert stamps[-1] == clock.rtp_timestamp(frame_instant_ns(round(captured_ns * rate / 10**9), rate)), "frames lie on multiples of the frame time"
    spans = [(frame[-1].received_ns - frame[0].received_ns) / 1e6 for frame in frames]
    record_property("frame_span_ms_median", round(float(np.median(spans)), 2))
    record_property("first_packet_after_frame_instant_us", round(float(np.median(
        [(frame[0].received_ns + 37 * 10**9 - clock.unwrap_rtp_timestamp(frame[0].packet.header.timestamp, now_ns)) / 1e3 for frame in frames])), 1))


def test_the_stamp_is_the_time_of_the_first_packet(start):
    format = VideoFormat(1024, 64)
    _, packets, _ = heard_from(start, "--size", "1024x64", "--timestamp-bars", video=1500)
    for frame in frames_of(packets)[:5]:
        luma, _, _ = planes(assembled(frame, format), format)
        first_us = frame[0].received_ns // 1000
        before_us = (first_us - stamped_microseconds(luma, 940, 64)) % 2**48  # the stamp has the clock's lower 48 bits
        assert before_us < 1_000_000, "stamped with the wall clock, and not later than the first packet came"


def test_two_sources_side_by_side_do_not_meet(start):
    heard = [heard_from(start, "--size", "320x180", "--name", name, "--no-metadata", video=300)[1] for name in ("one", "two")]
    ssrcs = [{packet.packet.header.ssrc for packet in packets} for packets in heard]
    assert all(len(ssrc) == 1 for ssrc in ssrcs) and ssrcs[0] != ssrcs[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start, tmp_path, number):
    process, _, _ = heard_from(start, "--size", "320x180", "--sdp-dir", str(tmp_path), video=50)
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert output.startswith("endoscope: 320x180p50") and output.count("\n") == 1
    assert sdp.video_flow((tmp_path / "endoscope.sdp").read_text(), "endoscope.sdp").format == SMALL


def test_it_ends_by_itself(start):
    process = start("--size", "320x180", "--seconds", "0.2", "--group", "127.0.0.1", "--port", str(free_group()[1]))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors


def test_what_cannot_be_sent_is_told_with_exit_status_2(start):
    process = start("--size", "1281x720")
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2 and "even width" in errors and output == ""


@pytest.mark.parametrize("format", [SMALL, VideoFormat(320, 180, depth=8)], ids=str)
def test_gstreamer_reads_the_same_samples(format, tmp_path):
    """An independent receiver of RFC 4175: its frames are octet for octet what was sent."""
    assert shutil.which("gst-launch-1.0"), "install gstreamer1.0-tools and gstreamer1.0-plugins-good"
    port, received = free_group()[1], tmp_path / "frames"
    caps = (f"application/x-rtp,media=video,clock-rate=90000,encoding-name=RAW,sampling=YCbCr-4:2:2,depth=(string){format.depth},"
            f"width=(string){format.width},height=(string){format.height},colorimetry=BT709-2,payload=96")
    peer = subprocess.Popen(["gst-launch-1.0", "-q", "udpsrc", "address=127.0.0.1", f"port={port}", "buffer-size=4194304", f"caps={caps}", "!", "rtpvrawdepay",
                             "!", "filesink", f"location={received}", "buffer-mode=unbuffered"])
    scene = Scene(format)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", port))
            pacing = native.Pacing(scene.native, format, sender.fileno(), 2_000_000, 96, 1, 0)
            deadline = time.monotonic() + PATIENCE_S
            for number in itertools.count():
                scene.begin(3.0, 1)
                pacing.send(clock.tai_ns() - clock.tai_correction_ns(), number * 1800)
                if received.exists() and received.stat().st_size >= 10 * format.frame_bytes:
                    break
                assert time.monotonic() < deadline and peer.poll() is None
    finally:
        peer.terminate()
        peer.wait()
    octets = np.frombuffer(received.read_bytes(), np.uint8)
    frames = octets[:octets.size // format.frame_bytes * format.frame_bytes].reshape(-1, format.frame_bytes)
    # On a busy machine the peer loses packets of a frame now and then, and shows what was there before.
    assert any(np.array_equal(frame, scene.native.frame) for frame in frames)
