"""RTP headers and header extensions, with packets of real senders."""
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.protocol.rtp import RtpHeader, build, parse
from tests.data.pcap import udp_payloads

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
HEADER = RtpHeader(96, 1, 2, 3)

headers = st.builds(RtpHeader, st.integers(0, 127), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF), st.booleans(),
                    st.lists(st.integers(0, 0xFFFF_FFFF), max_size=15).map(tuple))
elements = st.dictionaries(st.integers(1, 255), st.binary(max_size=40), max_size=6)


@given(headers, st.binary(max_size=200), elements, st.integers(0, 255))
def test_what_is_built_is_parsed(header, payload, elements, padding_bytes):
    packet = parse(build(header, payload, elements, padding_bytes))
    assert (packet.header, packet.payload, packet.elements) == (header, payload, elements)


@given(st.binary(max_size=100))
def test_any_octets_parse_or_are_refused_with_a_reason(octets):
    try:
        parse(octets).elements
    except ProtocolError as error:
        assert error.reason in {"truncated", "version", "extension", "padding"}


@given(headers, st.binary(max_size=60), elements, st.integers(0, 20), st.data())
def test_a_packet_cut_short_never_reads_beyond_its_end(header, payload, elements, padding_bytes, data):
    whole = build(header, payload, elements, padding_bytes)
    cut = whole[:data.draw(st.integers(0, len(whole) - 1))]
    try:
        packet = parse(cut)
    except ProtocolError:
        return
    assert cut.find(packet.payload) >= 0 and len(packet.payload) < len(cut)


@pytest.mark.parametrize("packet, reason", [
    (b"", "truncated"),
    (build(HEADER, b"")[:11], "truncated"),
    (build(RtpHeader(96, 1, 2, 3, sources=(1, 2)), b"")[:-1], "truncated"),
    (b"\x40" + build(HEADER, b"x")[1:], "version"),
    (build(HEADER, b"", {1: b"abc"})[:-1], "extension"),
    (build(HEADER, b"", {1: b"abc"})[:14], "extension"),
    (build(HEADER, b"x", padding_bytes=4)[:-1] + b"\x00", "padding"),
    (build(HEADER, b"x", padding_bytes=4)[:-1] + b"\x06", "padding"),
])
def test_a_broken_packet_is_refused_with_its_reason(packet, reason):
    with pytest.raises(ProtocolError) as caught:
        parse(packet)
    assert caught.value.reason == reason


def test_another_payload_type_is_refused_where_one_is_expected():
    assert parse(build(HEADER, b"x"), payload_type=96).payload == b"x"
    with pytest.raises(ProtocolError) as caught:
        parse(build(HEADER, b"x"), payload_type=97)
    assert caught.value.reason == "payload_type"


def test_a_packet_of_padding_alone_has_no_payload():
    assert parse(build(HEADER, b"", padding_bytes=5)).payload == b""


@pytest.mark.parametrize("extension", [b"\xbe\xde\x00\x01\x1f\x01\x02\x03", b"\x10\x00\x00\x01\x01\x09\x00\x00", b"\x10\x00\x00\x01\x00\x00\x00\x07"])
def test_an_element_that_does_not_fit_leaves_the_payload_readable(extension):
    fixed = build(HEADER, b"")
    packet = parse(bytes([fixed[0] | 0x10]) + fixed[1:] + extension + b"payload")
    assert packet.payload == b"payload"
    with pytest.raises(ProtocolError):
        packet.elements


def test_elements_of_an_unknown_profile_are_left_alone():
    fixed = build(HEADER, b"")
    packet = parse(bytes([fixed[0] | 0x10]) + fixed[1:] + b"\x12\x34\x00\x01abcd" + b"payload")
    assert (packet.profile, packet.extension, packet.elements, packet.payload) == (0x1234, b"abcd", {}, b"payload")


def test_one_byte_elements_stop_at_the_reserved_id():
    fixed = build(HEADER, b"")
    packet = parse(bytes([fixed[0] | 0x10]) + fixed[1:] + b"\xbe\xde\x00\x02\x10a\xf0b\x20c\x00\x00")
    assert packet.elements == {1: b"a"}


def test_an_audio_grain_with_one_byte_elements():
    packets = [parse(payload) for payload in udp_payloads(CAPTURES / "amwa" / "rtp-audio-l24-2chan.pcap")]
    assert [packet.header.sequence for packet in packets] == list(range(38484, 38493))
    assert {packet.header.payload_type for packet in packets} == {102}
    assert [len(packet.payload) for packet in packets] == [1368] + [1440] * 7 + [72]
    assert set(packets[0].elements) == {1, 3, 4, 5, 7, 9}
    assert packets[0].elements[5] == b"\x80" and packets[8].elements == {5: b"@"}
    assert all(packet.profile is None for packet in packets[1:8])


def test_an_ancillary_data_packet_with_every_element():
    (packet,) = [parse(payload) for payload in udp_payloads(CAPTURES / "amwa" / "rtp-data-st291-anc.pcap")]
    assert packet.header.marker and set(packet.elements) == {1, 2, 3, 4, 5, 7, 9}
    assert packet.elements[2] == b"\x03\x08\x08\x01\x00\x00\x00\x01"


def test_an_audio_grain_with_two_byte_elements():
    folder = CAPTURES / "sparkpunkd"
    packets = [parse(payload) for payload in udp_payloads(folder / "rtp-audio-l24-2chan.pcap")]
    assert b"".join(packet.payload for packet in packets) == (folder / "rtp-audio-l24-2chan.raw").read_bytes()
    assert packets[0].elements[6].startswith(b"Content-Type: audio/")
    assert packets[8].elements == {1: b"NMOS-GrainFlags: end"}
