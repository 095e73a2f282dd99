"""The H.264 vocabulary of WebRTC: profile-level-id, levels, Annex B and the RTP payload format."""
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.protocol import h264
from appliance.protocol.h264 import Profile, ProfileLevel

START = b"\0\0\0\1"
PAYLOAD_REASONS = {"payload_empty", "payload_truncated", "fragment_order", "payload_type"}

# A NAL unit has no start code in it and does not end in zero (ITU-T H.264 section 7.4.1).
nal_units = st.builds(lambda header, body: bytes([header]) + body.replace(b"\0", b"\3") + b"\x80",
                      st.sampled_from((0x67, 0x68, 0x65, 0x41, 0x06)), st.binary(min_size=1, max_size=5000))


@pytest.mark.parametrize("text, profile", [
    ("42e01f", Profile.CONSTRAINED_BASELINE), ("42c01e", Profile.CONSTRAINED_BASELINE), ("4d801f", Profile.CONSTRAINED_BASELINE),
    ("42001f", Profile.BASELINE), ("4d001f", Profile.MAIN), ("640c1f", Profile.CONSTRAINED_HIGH), ("64001F", Profile.HIGH), ("f4001f", None)])
def test_a_profile_level_id_names_its_profile(text, profile):
    assert ProfileLevel.parse(text).profile is profile


@pytest.mark.parametrize("text", ["", "42e0", "42e01f0", "42e01g", "0x42e0", " 42e01f"])
def test_what_is_not_six_hexadecimal_digits_is_no_profile_level_id(text):
    with pytest.raises(ProtocolError) as refusal:
        ProfileLevel.parse(text)
    assert refusal.value.reason == "profile_level_id"


def test_only_the_level_changes_where_levels_may_differ():
    assert str(ProfileLevel.parse("42E01F").at_level(0x20)) == "42e020"


@pytest.mark.parametrize("width, height, rate, level", [
    (1280, 720, 30, 31), (1280, 720, 50, 32), (1920, 1080, 25, 40), (1920, 1080, 50, 42), (3840, 2160, Fraction(30000, 1001), 51),
    (3840, 2160, 50, 52), (7680, 4320, 50, 52), (176, 144, 15, 10)])
def test_the_level_is_the_lowest_that_the_raster_fits(width, height, rate, level):
    assert h264.level_idc(width, height, Fraction(rate)) == level


def test_start_codes_of_three_and_four_octets_and_trailing_zeros_are_no_part_of_a_unit():
    assert h264.nal_units(START + b"\x67abc\0" + b"\0\0\1\x68d\0\0\0" + START + b"\x65e") == [b"\x67abc", b"\x68d", b"\x65e"]


def test_octets_without_a_start_code_are_no_units():
    assert h264.nal_units(b"\x65abc") == []


def test_a_keyframe_is_an_access_unit_with_an_idr_picture():
    assert h264.is_keyframe(START + b"\x67a" + START + b"\x65b")
    assert not h264.is_keyframe(START + b"\x41b")


@given(st.lists(nal_units, min_size=1, max_size=5), st.integers(16, 1300))
def test_what_is_packetised_comes_back_and_every_payload_fits(units, size):
    payloads = h264.packetise(b"".join(START + unit for unit in units), size)
    assert all(len(payload) <= size for payload in payloads)
    assert h264.depacketise(payloads) == units


@given(nal_units, st.integers(16, 200))
def test_the_parts_of_a_unit_are_equal_to_within_one_octet(unit, size):
    sizes = {len(payload) for payload in h264.packetise(START + unit, size)}
    assert max(sizes) - min(sizes) <= 1


def test_aggregated_units_come_apart():
    assert h264.depacketise([b"\x78\0\2\x67a\0\1\x68", b"\x65b"]) == [b"\x67a", b"\x68", b"\x65b"]


@pytest.mark.parametrize("payloads, reason", [
    ([b""], "payload_empty"), ([b"\x78\0\5ab"], "payload_truncated"), ([b"\x78\0\0"], "payload_truncated"), ([b"\x7c\x85"], "payload_truncated"),
    ([b"\x7c\x05a"], "fragment_order"), ([b"\x7c\x85a"], "fragment_order"), ([b"\x7c\x85a", b"\x7c\x85b"], "fragment_order"),
    ([b"\x7c\x85a", b"\x41b"], "fragment_order"), ([b"\x79a"], "payload_type"), ([b"\x00"], "payload_type")])
def test_payloads_that_break_the_format_are_refused_by_reason(payloads, reason):
    with pytest.raises(ProtocolError) as refusal:
        h264.depacketise(payloads)
    assert refusal.value.reason == reason


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_payloads_give_units_or_a_named_reason(payloads):
    try:
        assert all(h264.depacketise(payloads))
    except ProtocolError as refusal:
        assert refusal.reason in PAYLOAD_REASONS
