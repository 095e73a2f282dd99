"""The data plane's packet reader holds against its readable twin, packet by packet and reason by reason."""
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.frame import PGROUPS, VideoFormat
from appliance.protocol import rfc4175, rtp
from cext import rfc4175 as kernel

PAYLOAD_TYPE = 96
SCANS = ({}, {"interlaced": True}, {"interlaced": True, "segmented": True})
EVERY = [VideoFormat(16, height, sampling, depth, **scan) for sampling, pgroups in PGROUPS.items() for depth in pgroups for scan in SCANS for height in (6, 7)
         if not ("4:2:0" in sampling and (scan or height % 2))]
"""Every sampling, depth and scan that there is, with an even and an odd height where it may be odd."""
formats = st.one_of(st.sampled_from(EVERY), st.sampled_from((VideoFormat(2, 1), VideoFormat(1280, 720), VideoFormat(32766, 8))))


def by_kernel(packet, format):
    pgroup = format.pgroup
    return kernel.read(packet, PAYLOAD_TYPE, format.width, format.height, pgroup.octets, pgroup.columns, pgroup.rows, format.scan)


def by_twin(packet, format):
    try:
        parsed = rtp.parse(packet, PAYLOAD_TYPE)
        high, segments, samples = rfc4175.parse_payload(parsed.payload, format)
    except ProtocolError as error:
        return error.reason
    header = parsed.header
    return (high << 16 | header.sequence, header.timestamp, header.ssrc, header.marker,
            [(segment.row, segment.field, segment.offset, segment.length, segment.continuation, rfc4175.first_pgroup(segment, format))
             for segment in segments], samples)


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


@pytest.mark.parametrize("format", [replace(format, width=320) for format in EVERY], ids=str)
def test_every_packet_of_a_frame_is_read_alike_and_they_cover_it(format):
    for split in ([3], [53, 52], [71], [400]):
        covered = []
        for second in rfc4175.parts(format):
            for number, payload in enumerate(rfc4175.packetise(bytes(format.frame_bytes), format, split, second_field=second)):
                packet = rtp.build(rtp.RtpHeader(PAYLOAD_TYPE, number, 5, 6), payload, {3: b"abc"} if number % 2 else None, padding_bytes=number % 3)
                reading = by_kernel(packet, format)
                assert not isinstance(reading, str) and reading == by_twin(packet, format)
                covered += [pgroup for _, field, _, length, _, first in reading[4] for pgroup in range(first, first + length // format.pgroup.octets)]
                assert all(field == second for _, field, *_ in reading[4])
            if format.by_fields:
                assert covered == list(range(format.wire_rows(second) * rfc4175.row_pgroups(format)))
                covered = []
        if not format.by_fields:
            assert sorted(covered) == list(range(format.frame_bytes // format.pgroup.octets))


def test_the_two_segments_of_psf_lie_row_by_row_between_each_other():
    format = VideoFormat(8, 5, interlaced=True, segmented=True)
    frame = b"".join(bytes([row]) * format.raw_row_bytes for row in range(5))
    rows = [[samples[0] for payload in rfc4175.packetise(frame, format, [4], second_field=second)
             for _, _, samples in [rfc4175.parse_payload(payload, format)]] for second in (False, True)]
    assert rows == [[0, 2, 4], [1, 3]]


def test_both_have_the_same_reasons():
    assert kernel.REASONS == rfc4175.REASONS


@pytest.mark.parametrize("width, height, pgroup", [
    (0, 10, (5, 2)), (10, 0, (5, 2)), (11, 10, (5, 2)), (32768, 10, (5, 2)), (10, 32768, (5, 2)), (10, 10, (0, 2)), (10, 10, (17, 2)), (10, 10, (5, 0)),
    (32766, 32767, (5, 2)), (10, 10, (5, 2, 0)), (10, 11, (6, 2, 2)), (10, 10, (6, 2, 2, "i")), (10, 10, (6, 2, 2, "PsF")), (10, 1, (5, 2, 1, "i")),
], ids=str)
def test_an_impossible_raster_is_refused(width, height, pgroup):
    with pytest.raises(ValueError, match="no raster"):
        kernel.read(b"", PAYLOAD_TYPE, width, height, *pgroup)
