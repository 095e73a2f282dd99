"""The data plane's packet reader holds against its readable twin, packet by packet and reason by reason."""
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.frame import VideoFormat
from appliance.protocol import rfc4175, rtp
from cext import rfc4175 as kernel

PAYLOAD_TYPE = 96
formats = st.sampled_from((VideoFormat(16, 6), VideoFormat(16, 6, depth=8), VideoFormat(2, 1), VideoFormat(1280, 720), VideoFormat(32766, 8)))


def by_kernel(packet, format):
    return kernel.read(packet, PAYLOAD_TYPE, format.width, format.height, format.pgroup.octets, format.pgroup.columns)


def by_twin(packet, format):
    try:
        parsed = rtp.parse(packet, PAYLOAD_TYPE)
        high, segments, samples = rfc4175.parse_payload(parsed.payload, format)
    except ProtocolError as error:
        return error.reason
    header = parsed.header
    return (high << 16 | header.sequence, header.timestamp, header.ssrc, header.marker,
            [(segment.row, segment.field, segment.offset, segment.length, segment.continuation) for segment in segments], samples)


@st.composite
def packets(draw):
    """Packets near the valid: a sound one with some of its octets changed, cut, or followed by others."""
    format = draw(formats)
    small = st.integers(0, 40)
    word = st.one_of(small, st.integers(0, 0xFFFF), small.map(lambda value: 0x8000 | value))
    count = draw(st.one_of(st.integers(1, 4), st.integers(15, 18)))
    headers, octets = b"", 0
    for number in range(count):
        length = draw(st.one_of(small.map(lambda pgroups: pgroups % 9 * format.pgroup.octets), word))
        more = (number < count - 1) << 15 if draw(st.integers(0, 9)) else draw(st.sampled_from((0, 0x8000)))
        headers += length.to_bytes(2, "big") + draw(word).to_bytes(2, "big") + (draw(word) & 0x7FFF | more).to_bytes(2, "big")
        octets += min(length, 200)
    header = rtp.RtpHeader(draw(st.sampled_from((PAYLOAD_TYPE, PAYLOAD_TYPE, PAYLOAD_TYPE, 72))), draw(st.integers(0, 0xFFFF)),
                           draw(st.integers(0, 0xFFFF_FFFF)), draw(st.integers(0, 0xFFFF_FFFF)), draw(st.booleans()),
                           tuple(draw(st.lists(st.integers(0, 9), max_size=3))))
    payload = draw(st.binary(min_size=2, max_size=2)) + headers + draw(st.randoms(use_true_random=False)).randbytes(octets)
    packet = bytearray(rtp.build(header, payload, draw(st.dictionaries(st.integers(1, 20), st.binary(max_size=9), max_size=2)), draw(st.integers(0, 6))))
    for _ in range(draw(st.integers(0, 2))):
        packet[draw(st.integers(0, min(len(packet) - 1, 60)))] = draw(st.integers(0, 255))
    return format, bytes(packet[:draw(st.one_of(st.just(len(packet)), st.integers(0, len(packet))))])


@settings(max_examples=400, deadline=None)
@given(packets())
def test_the_kernel_reads_and_refuses_what_its_twin_does(case):
    format, packet = case
    assert by_kernel(packet, format) == by_twin(packet, format)


@settings(max_examples=300, deadline=None)
@given(formats, st.binary(max_size=120))
@example(VideoFormat(16, 6), b"\x80\x60" + bytes(10))
def test_the_kernel_treats_random_octets_as_its_twin_does(format, packet):
    assert by_kernel(packet, format) == by_twin(packet, format)


@pytest.mark.parametrize("split", [[3], [214, 213, 213], [252], [700], [1500]], ids=str)
@pytest.mark.parametrize("depth", [8, 10])
def test_every_packet_of_a_frame_is_read_alike(split, depth):
    format = VideoFormat(1280, 24, depth=depth)
    frame = bytes(range(256)) * (format.frame_bytes // 256)
    for number, payload in enumerate(rfc4175.packetise(frame, format, split)):
        packet = rtp.build(rtp.RtpHeader(PAYLOAD_TYPE, number, 5, 6), payload, {3: b"abc"} if number % 2 else None, padding_bytes=number % 3)
        reading = by_kernel(packet, format)
        assert not isinstance(reading, str) and reading == by_twin(packet, format)


def test_both_have_the_same_reasons():
    assert kernel.REASONS == rfc4175.REASONS


@pytest.mark.parametrize("width, height, pgroup_bytes, pgroup_pixels", [
    (0, 10, 5, 2), (10, 0, 5, 2), (11, 10, 5, 2), (32768, 10, 5, 2), (10, 32768, 5, 2), (10, 10, 0, 2), (10, 10, 17, 2), (10, 10, 5, 0), (32766, 32767, 5, 2),
])
def test_an_impossible_raster_is_refused(width, height, pgroup_bytes, pgroup_pixels):
    with pytest.raises(ValueError, match="no raster"):
        kernel.read(b"", PAYLOAD_TYPE, width, height, pgroup_bytes, pgroup_pixels)
