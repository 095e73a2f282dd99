"""The packetiser against slow, obvious readers: ours (appliance.protocol) and aiortc's."""
import pytest
from aiortc.codecs.h264 import H264PayloadDescriptor
from aiortc.codecs.vpx import VpxPayloadDescriptor
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.protocol import h264, vp8
from cext.packetise import PACKETS_MAX, PAYLOAD_MAX, packetise

BEGINNINGS = (b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\1")
# aiortc refuses a NAL unit of one octet; test_any_octets has those.
sizes = st.one_of(st.integers(2, 40), st.integers(PAYLOAD_MAX - 4, PAYLOAD_MAX + 4), st.integers(2, 100_000))


@st.composite
def nal_units(draw) -> bytes:
    """A NAL unit: any type from 1 to 23, octets that never imitate a start code (emulation prevention), not ending in 00."""
    size = draw(sizes)
    pattern = draw(st.sampled_from([b"\0\0\3\0\0\3\1", b"\0\0\3\3", b"\1\2\3\4\5", b"\xff", b"\0\2\0\1\0\0\3"]))
    octets = bytearray((bytes([draw(st.integers(0, 7)) << 5 | draw(st.integers(1, 23))]) + pattern * (size // len(pattern) + 1))[:size])
    if octets[-1] == 0:
        octets[-1] = 0x80
    return bytes(octets)


def annex_b(nals: list[bytes], beginnings: list[bytes]) -> bytes:
    return b"".join(beginning + nal for beginning, nal in zip(beginnings, nals, strict=True))


def runs(payloads: list[bytes]) -> list[list[int]]:
    """Sizes grouped as UDP_SEGMENT can send them: equal ones, then at most one shorter."""
    found = []
    for size in map(len, payloads):
        if found and found[-1][0] == found[-1][-1] >= size:
            found[-1].append(size)
        else:
            found.append([size])
    return found


@settings(max_examples=150, deadline=None)
@given(units=st.lists(st.tuples(nal_units(), st.sampled_from(BEGINNINGS)), min_size=1, max_size=8), trailing=st.integers(0, 3))
@example(units=[(b"\x65" + b"\1" * (PAYLOAD_MAX - 1), BEGINNINGS[0])] * 3, trailing=0)
@example(units=[(b"\x67\x01", BEGINNINGS[1]), (b"\x68\x01", BEGINNINGS[0]), (b"\x65" * 50_000, BEGINNINGS[0])], trailing=2)
def test_h264_comes_out_as_it_went_in(units, trailing):
    nals = [nal for nal, _ in units]
    unit = annex_b(nals, [beginning for _, beginning in units]) + bytes(trailing)
    payloads, markers = packetise(b"h264", unit)
    assert h264.depacketise(payloads) == nals
    assert b"".join(H264PayloadDescriptor.parse(payload)[1] for payload in payloads) == annex_b(nals, [b"\0\0\0\1"] * len(nals))
    assert max(map(len, payloads)) <= PAYLOAD_MAX
    assert markers == [False] * (len(payloads) - 1) + [True]


@settings(max_examples=100, deadline=None)
@given(size=st.integers(PAYLOAD_MAX + 1, 300_000))
@example(size=PAYLOAD_MAX + 1)
@example(size=1 + (PAYLOAD_MAX - 2) * 54)
@example(size=2 + (PAYLOAD_MAX - 2) * 54)
def test_a_large_nal_unit_is_one_run_of_equal_packets(size):
    payloads, _ = packetise(b"h264", b"\0\0\0\1\x41" + b"\xaa" * (size - 1))
    assert len(runs(payloads)) == 1
    assert len(payloads) == -(-(size - 1) // (PAYLOAD_MAX - 2))


def test_parameter_sets_travel_together_before_the_keyframe():
    nals = [b"\x67" + b"\1" * 20, b"\x68\1\2\3", b"\x06" + b"\5" * 600, b"\x65" + b"\x77" * 30_000]
    payloads, _ = packetise(b"h264", annex_b(nals, [BEGINNINGS[1]] * 4))
    assert payloads[0][0] == 0x60 | h264.NAL_STAP_A
    assert h264.depacketise(payloads[:1]) == nals[:3]
    assert len(runs(payloads)) == 2


@settings(max_examples=100, deadline=None)
@given(size=st.one_of(st.integers(1, 5000), st.integers(1, 300_000)), limit=st.sampled_from([PAYLOAD_MAX, 600]))
def test_vp8_comes_out_as_it_went_in(size, limit):
    frame = (bytes(range(251)) * (size // 251 + 1))[:size]
    payloads, markers = packetise(b"vp8", frame, limit)
    assert vp8.depacketise(payloads) == frame
    read = [VpxPayloadDescriptor.parse(payload) for payload in payloads]
    assert b"".join(rest for _, rest in read) == frame
    assert {descriptor.picture_id for descriptor, _ in read} == {None}
    assert [descriptor.partition_start for descriptor, _ in read] == [1] + [0] * (len(read) - 1)
    assert len(runs(payloads)) == 1 and max(map(len, payloads)) <= limit
    assert markers == [False] * (len(payloads) - 1) + [True]


@settings(max_examples=300, deadline=None)
@given(unit=st.binary(max_size=300) | st.lists(st.sampled_from([b"\0", b"\1", b"\0\0\1", b"\x65", b"\x1c"]), max_size=60).map(b"".join))
def test_any_octets_are_packetised_or_refused(unit):
    try:
        payloads, markers = packetise(b"h264", unit, 16)
    except ValueError as refusal:
        assert str(refusal) in ("empty", "malformed")
    else:
        assert h264.depacketise(payloads) == h264.nal_units(unit)
        assert markers[-1]


@pytest.mark.parametrize("unit, reason", [
    (b"", "empty"), (b"\0\0\1", "empty"), (b"\0\0\0\0", "empty"), (b"\x65picture", "empty"), (b"x\0\0\1\x65", "malformed"),
    (b"\0\0\1\x1cfragment", "malformed"), (b"\0\0\1\x60", "malformed"),
    (b"\0\0\1\x65" + b"\1" * (PAYLOAD_MAX * PACKETS_MAX), "too_large"), (b"\0\0\1\x06" * 5000, "too_large"),
], ids=["nothing", "start code alone", "zeros", "no start code", "octets before", "aggregate type", "type 0", "too many packets", "too many units"])
def test_what_is_no_access_unit_is_refused_with_its_reason(unit, reason):
    with pytest.raises(ValueError, match=reason):
        packetise(b"h264", unit)


def test_vp8_refuses_an_empty_and_an_endless_frame():
    with pytest.raises(ValueError, match="empty"):
        packetise(b"vp8", b"")
    with pytest.raises(ValueError, match="too_large"):
        packetise(b"vp8", bytes(PAYLOAD_MAX * PACKETS_MAX))
