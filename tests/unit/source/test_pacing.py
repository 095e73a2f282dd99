"""Video packets as a receiver gets them: read back with the readable twin, whole frames, right numbers."""
import socket
from dataclasses import replace

import numpy as np
import pytest

from appliance.frame import VideoFormat
from appliance.protocol import rfc4175, rtp
from appliance.source.scene import Scene
from cext import source as native

FORMATS = [VideoFormat(320, 180), VideoFormat(320, 180, depth=8), VideoFormat(1280, 64), VideoFormat(1922, 64), VideoFormat(64, 66), VideoFormat(66, 64, depth=8)]
OTHERS = [VideoFormat(320, 180, "YCbCr-4:4:4"), VideoFormat(320, 180, "RGB", 12), VideoFormat(320, 180, "YCbCr-4:2:0", 8), VideoFormat(322, 181, depth=16),
          VideoFormat(320, 181, interlaced=True), VideoFormat(320, 181, "RGB", 8, interlaced=True, segmented=True),
          VideoFormat(320, 180, packing="2110BPM"), VideoFormat(320, 181, "YCbCr-4:4:4", interlaced=True, packing="2110BPM")]
SSRC, PAYLOAD_TYPE, TIMESTAMP = 0xCAFE_F00D, 96, 0x8000_1234


@pytest.fixture
def pair():
    """A socket that receives, and one connected to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sender.connect(receiver.getsockname())
        yield receiver, sender


def sent(pair, format, sequence=0, segmented=True, seconds=0.0, second_part=False, maxudp=1460):
    """The packets of one frame, field or segment, and its rows."""
    receiver, sender = pair
    scene = Scene(format)
    pacing = native.Pacing(scene.native, format, sender.fileno(), 1_000_000, PAYLOAD_TYPE, SSRC, sequence, segmented, second_part, maxudp)
    scene.begin(seconds, 1, second_part)
    pacing.send(0, TIMESTAMP)
    packets = []
    while True:
        try:
            packets.append(receiver.recv(9000))
        except BlockingIOError:
            break
    assert pacing.packets_sent == pacing.packet_count and pacing.packets_refused == 0
    return packets, scene.native.frame


@pytest.mark.parametrize("segmented", [True, False], ids=["runs", "single"])
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_a_frame_comes_back_whole(pair, format, segmented):
    packets, frame = sent(pair, format, segmented=segmented)
    received = bytearray(format.frame_bytes)
    covered = 0
    for packet in packets:
        _, segments, samples = rfc4175.parse_payload(rtp.parse(packet, PAYLOAD_TYPE).payload, format)
        assert len(segments) <= 3
        rfc4175.place(received, segments, samples, format)
        covered += len(samples)
    assert covered == format.frame_bytes
    assert np.array_equal(np.frombuffer(received, np.uint8), frame)


@pytest.mark.parametrize("maxudp", [1460, 8960])
@pytest.mark.parametrize("format", OTHERS, ids=lambda format: f"{format} {format.packing}")
def test_every_format_comes_back_whole(pair, format, maxudp):
    if format.packing == "2110BPM":
        maxudp = 1460
    raster = bytearray(format.frame_bytes)
    for second in rfc4175.parts(format):
        packets, rows = sent(pair, format, second_part=second, maxudp=maxudp)
        field = bytearray(format.frame_bytes)
        read = [rfc4175.parse_payload(rtp.parse(packet, PAYLOAD_TYPE).payload, format) for packet in packets]
        for _, segments, samples in read:
            assert len(segments) <= 3 and {segment.field for segment in segments} == {second}
            rfc4175.place(field if format.by_fields else raster, segments, samples, format)
        sent_bytes = format.wire_rows(second) // format.pgroup.rows * format.raw_row_bytes
        assert sum(len(samples) for _, _, samples in read) == sent_bytes
        if format.packing == "2110BPM":
            assert {len(samples) for _, _, samples in read[:-1]} == {1260}
        assert max(map(len, packets)) <= maxudp - 8 and (maxudp == 1460 or max(map(len, packets)) > 1452 or sent_bytes < 8960)
        woven = np.frombuffer(raster, np.uint8).reshape(-1, format.raw_row_bytes)[second::2].ravel() if format.segmented else np.frombuffer(field if format.by_fields else raster, np.uint8)
        assert np.array_equal(woven[:sent_bytes], rows[:sent_bytes])


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_packets_are_few_and_never_too_large(pair, format):
    packets, _ = sent(pair, format)
    assert max(map(len, packets)) <= 1452
    per_row = -(-format.raw_row_bytes // 1430)
    assert len(packets) <= per_row * format.height


def test_packets_are_numbered_with_32_bits_and_marked_once(pair):
    format, first = VideoFormat(1280, 64), 0x0003_FFF0
    packets = [rtp.parse(packet, PAYLOAD_TYPE) for packet in sent(pair, format, first)[0]]
    numbers = [rfc4175.parse_payload(packet.payload, format)[0] << 16 | packet.header.sequence for packet in packets]
    assert numbers == list(range(first, first + len(packets)))
    assert [packet.header.marker for packet in packets] == [False] * (len(packets) - 1) + [True]
    assert {(packet.header.timestamp, packet.header.ssrc) for packet in packets} == {(TIMESTAMP, SSRC)}


def test_the_32_bit_number_wraps(pair):
    format = VideoFormat(320, 180)
    packets = [rtp.parse(packet, PAYLOAD_TYPE) for packet in sent(pair, format, 0xFFFF_FFFE)[0]]
    numbers = [rfc4175.parse_payload(packet.payload, format)[0] << 16 | packet.header.sequence for packet in packets]
    assert numbers[:4] == [0xFFFF_FFFE, 0xFFFF_FFFF, 0, 1]


def test_rows_and_offsets_only_rise(pair):
    format = VideoFormat(1922, 64)
    places = []
    for packet in sent(pair, format)[0]:
        _, segments, _ = rfc4175.parse_payload(rtp.parse(packet, PAYLOAD_TYPE).payload, format)
        places += [(segment.row, segment.offset) for segment in segments]
        assert not any(segment.field for segment in segments)
    assert places == sorted(places) and len(set(places)) == len(places)


@pytest.mark.parametrize("segmented", [True, False], ids=["runs", "single"])
def test_a_receiver_that_is_not_there_is_counted_and_survived(segmented):
    format = VideoFormat(320, 180)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        closed.bind(("127.0.0.1", 0))
        sender.connect(closed.getsockname())
        closed.close()
        scene = Scene(format)
        pacing = native.Pacing(scene.native, format, sender.fileno(), 1_000_000, PAYLOAD_TYPE, SSRC, 0, segmented)
        for number in range(3):
            scene.begin(0.0, number)
            pacing.send(0, number)
        assert pacing.packets_refused > 0
        assert pacing.packets_sent + pacing.packets_refused == 3 * pacing.packet_count
        assert pacing.segmented is segmented


def test_a_socket_that_is_closed_is_an_error():
    format = replace(FORMATS[0], height=64)
    scene = Scene(format)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    pacing = native.Pacing(scene.native, format, sender.fileno(), 1_000_000, PAYLOAD_TYPE, SSRC, 0)
    sender.close()
    scene.begin(0.0, 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pacing.send(0, 0)
