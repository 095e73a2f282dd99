"""Uncompressed video payloads: any split of a frame comes back as it was, and what breaks the format says why."""
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.frame import VideoFormat
from appliance.protocol import rfc4175
from appliance.protocol.rfc4175 import Srd, packetise, parse_payload, place

EIGHT = VideoFormat(16, 6, depth=8)
TEN = VideoFormat(16, 6, depth=10)
FIELDS = VideoFormat(16, 7, interlaced=True)
PAIRS = VideoFormat(16, 6, "YCbCr-4:2:0", 8)
formats = st.one_of(
    st.builds(VideoFormat, st.integers(1, 20).map(lambda fours: 4 * fours), st.integers(2, 12), st.sampled_from(("YCbCr-4:2:2", "YCbCr-4:4:4", "RGB")),
              st.sampled_from((8, 10, 12, 16)), interlaced=st.booleans()).map(lambda format: replace(format, segmented=format.interlaced and format.height > 6)),
    st.builds(VideoFormat, st.integers(1, 20).map(lambda fours: 4 * fours), st.integers(1, 6).map(lambda pairs: 2 * pairs), st.just("YCbCr-4:2:0"),
              st.sampled_from((8, 10, 12, 16))))


def header(length, row, offset, continuation=False, field=False):
    return struct.pack("!HHH", length, field << 15 | row, continuation << 15 | offset)


@given(formats, st.lists(st.integers(1, 100), min_size=1, max_size=5), st.integers(0, 0xFFFF_FFFF), st.randoms(use_true_random=False))
def test_any_split_of_a_frame_comes_back(format, split, first_sequence, random):
    frame, received = random.randbytes(format.frame_bytes), bytearray(format.frame_bytes)
    total = 0
    for second in rfc4175.parts(format) if format.segmented else (False,):
        for number, payload in enumerate(packetise(frame, format, split, first_sequence, second)):
            high, segments, samples = parse_payload(payload, format)
            assert high == first_sequence + number >> 16 & 0xFFFF
            place(received, segments, samples, format)
            total += len(samples)
    assert received == frame and total == format.frame_bytes


@given(formats, st.binary(max_size=80))
def test_any_octets_parse_inside_the_raster_or_are_refused_with_a_reason(format, octets):
    try:
        _, segments, samples = parse_payload(octets, format)
    except ProtocolError as error:
        assert error.reason in rfc4175.REASONS
        return
    frame = bytearray(format.frame_bytes)
    place(frame, segments, samples, format)
    assert len(frame) == format.frame_bytes


@pytest.mark.parametrize("payload, reason", [
    (b"", "truncated"),
    (b"\x00", "truncated"),
    (b"\0\0" + header(5, 0, 0)[:5], "truncated"),
    (b"\0\0" + header(5, 0, 0, continuation=True) + bytes(5), "truncated"),
    (b"\0\0" + header(4, 0, 0) + bytes(4), "srd_length"),
    (b"\0\0" + header(0, 0, 0, continuation=True) + header(5, 0, 2) + bytes(5), "srd_length"),
    (b"\0\0" + header(5, 0, 0, continuation=True) + header(0, 0, 2) + bytes(5), "srd_length"),
    (b"\0\0" + header(5, 0, 0, field=True) + bytes(5), "srd_field"),
    (b"\0\0" + header(5, 6, 0) + bytes(5), "srd_row"),
    (b"\0\0" + header(5, 0x7FFF, 0) + bytes(5), "srd_row"),
    (b"\0\0" + header(5, 0, 1) + bytes(5), "srd_offset"),
    (b"\0\0" + header(5, 0, 16) + bytes(5), "srd_offset"),
    (b"\0\0" + header(10, 0, 14) + bytes(10), "srd_offset"),
    (b"\0\0" + header(5, 0, 0x7FFE) + bytes(5), "srd_offset"),
    (b"\0\0" + header(5, 0, 0, True) * 16 + header(5, 3, 0) + bytes(17 * 5), "srd_continuation"),
    (b"\0\0" + header(5, 0, 0) + bytes(6), "length_mismatch"),
    (b"\0\0" + header(10, 0, 0) + bytes(9), "length_mismatch"),
])
def test_a_broken_payload_is_refused_with_its_reason(payload, reason):
    with pytest.raises(ProtocolError) as caught:
        parse_payload(payload, TEN)
    assert caught.value.reason == reason


def test_three_segments_in_one_packet():
    payload = b"\x00\x07" + header(4, 0, 14, True) + header(8, 1, 0, True) + header(4, 5, 2) + bytes(range(16))
    high, segments, samples = parse_payload(payload, EIGHT)
    assert high == 7 and samples == bytes(range(16))
    assert segments == [Srd(0, False, 14, 4, True), Srd(1, False, 0, 8, True), Srd(5, False, 2, 4, False)]


def test_as_many_narrow_rows_as_other_senders_put_into_a_packet():
    format = VideoFormat(2, 16)
    payload = b"\0\0" + b"".join(header(5, row, 0, row < 15) for row in range(16)) + bytes(range(80))
    assert [segment.row for segment in parse_payload(payload, format)[1]] == list(range(16))


def test_a_packet_without_samples_is_legal_where_it_stands_alone():
    assert parse_payload(b"\0\0" + header(0, 3, 4), TEN) == (0, [Srd(3, False, 4, 0, False)], b"")


def test_rows_of_the_usual_format_split_as_its_cameras_do():
    format = VideoFormat(1280, 720)
    assert rfc4175.row_split(format) == [214, 213, 213]
    assert rfc4175.row_split(VideoFormat(1920, 1080)) == [240] * 4
    assert rfc4175.row_split(format, maxudp=8960) == [640]
    frame = bytes(format.frame_bytes)
    assert sum(1 for _ in packetise(frame, format, rfc4175.row_split(format))) == 2160
    # ST 2110-20 section 6.3.3: 1260 octets of samples in every packet but the last.
    blocks = [len(parse_payload(payload, format)[2]) for payload in packetise(frame, format, rfc4175.block_split(format))]
    assert set(blocks[:-1]) == {1260} and len(blocks) == 1829


@pytest.mark.parametrize("format, payload, reason", [
    (FIELDS, header(5, 3, 0, field=True), "srd_row"),  # rows 0 to 3 and 0 to 2
    (FIELDS, header(5, 4, 0), "srd_row"),
    (FIELDS, header(5, 0, 0, continuation=True) + header(5, 0, 0, field=True), "srd_field"),
    (replace(FIELDS, segmented=True), header(5, 3, 0, field=True), "srd_row"),
    (PAIRS, header(6, 1, 0), "srd_row"),
    (PAIRS, header(6, 6, 0), "srd_row"),
    (PAIRS, header(6, 0, 1), "srd_offset"),
    (PAIRS, header(5, 0, 0), "srd_length"),
    (VideoFormat(16, 6, "YCbCr-4:4:4"), header(15, 0, 2), "srd_offset"),
    (VideoFormat(16, 6, "RGB", 8), header(9, 0, 14), "srd_offset"),
])
def test_what_other_formats_refuse(format, payload, reason):
    with pytest.raises(ProtocolError) as caught:
        parse_payload(b"\0\0" + payload + bytes(5), format)
    assert caught.value.reason == reason


@pytest.mark.parametrize("format, segment, pgroup", [
    (FIELDS, Srd(2, True, 4, 5, False), 2 * 8 + 2), (replace(FIELDS, segmented=True), Srd(2, True, 4, 5, False), 5 * 8 + 2),
    (replace(FIELDS, segmented=True), Srd(3, False, 0, 5, False), 6 * 8), (PAIRS, Srd(4, False, 6, 6, False), 2 * 8 + 3)])
def test_a_segments_place_in_the_raw_frame(format, segment, pgroup):
    assert rfc4175.first_pgroup(segment, format) == pgroup


@pytest.mark.parametrize("format, grey", [
    (EIGHT, "80808080"), (TEN, "8020080200"), (PAIRS, "80" * 6), (VideoFormat(16, 6, "RGB"), "80200802008020080200802008" + "0200"),
    (VideoFormat(16, 6, "YCbCr-4:4:4", 12), "800" * 6), (VideoFormat(16, 6, depth=16), "8000" * 4)])
def test_grey_is_half_of_each_samples_range(format, grey):
    assert rfc4175.neutral_pgroup(format).hex() == grey
