"""The VP8 payload descriptor and what a frame says of itself."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.protocol import vp8


@pytest.mark.parametrize("payload, expected", [
    (b"\x10a", vp8.Descriptor(True, 0, None, 1)),
    (b"\x90\x80\x11a", vp8.Descriptor(True, 0, 0x11, 3)),
    (b"\x80\x80\x92\x34a", vp8.Descriptor(False, 0, 0x1234, 4)),
    (b"\x90\xe0\x11\x01\x20a", vp8.Descriptor(True, 0, 0x11, 5)),
    (b"\x03a", vp8.Descriptor(False, 3, None, 1))])
def test_every_form_of_descriptor_is_read(payload, expected):
    assert vp8.parse_descriptor(payload) == expected


@pytest.mark.parametrize("payload", [b"", b"\x10", b"\x90", b"\x90\x80", b"\x90\x80\x92", b"\x90\x80\x92\x34", b"\x90\x40\x11", b"\x90\x30\x11"])
def test_a_payload_that_ends_in_its_descriptor_is_refused(payload):
    with pytest.raises(ProtocolError) as refusal:
        vp8.parse_descriptor(payload)
    assert refusal.value.reason == "payload_truncated"


@given(st.binary(min_size=1, max_size=6000), st.integers(16, 1300))
def test_what_is_packetised_comes_back_in_equal_payloads_that_fit(frame, size):
    payloads = vp8.packetise(frame, size)
    assert vp8.depacketise(payloads) == frame
    sizes = {len(payload) for payload in payloads}
    assert max(sizes) <= size and max(sizes) - min(sizes) <= 1
    assert {vp8.parse_descriptor(payload).picture_id for payload in payloads} == {None}


def test_payloads_of_another_frame_or_without_a_start_are_refused():
    first, second = vp8.packetise(bytes(100), 60)
    other = b"\x80\x80\x11" + second[1:]
    for payloads in ([second], [first, other], [first, first]):
        with pytest.raises(ProtocolError) as refusal:
            vp8.depacketise(payloads)
        assert refusal.value.reason == "fragment_order"


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_payloads_give_a_frame_or_a_named_reason(payloads):
    try:
        assert isinstance(vp8.depacketise(payloads), bytes)
    except ProtocolError as refusal:
        assert refusal.reason in {"payload_truncated", "fragment_order"}


def test_a_keyframe_says_its_size():
    keyframe = b"\x10\x02\x00\x9d\x01\x2a" + (1280).to_bytes(2, "little") + (720 | 1 << 14).to_bytes(2, "little")
    assert vp8.is_keyframe(keyframe) and vp8.size(keyframe) == (1280, 720)


@pytest.mark.parametrize("frame", [b"", b"\x11" + bytes(20), b"\x10\x02\x00\x9d\x01\x2a\0\5", b"\x10" + bytes(20)])
def test_what_is_no_whole_keyframe_has_no_size(frame):
    with pytest.raises(ProtocolError):
        vp8.size(frame)
