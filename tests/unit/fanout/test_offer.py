"""Offers: what is taken from them, and which are refused how."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.fanout.offer import CANDIDATES_MAX, OfferRefused, RemoteCandidate, parse_fragment, parse_offer
from appliance.frame import Codec
from tests.unit.fanout import offers
from tests.unit.fanout.offers import AUDIO, CHROMIUM, DATA, h264, offer, video, vp8


def status_of(text):
    with pytest.raises(OfferRefused) as refusal:
        parse_offer(text)
    return refusal.value.status


def test_an_offer_of_chromium_is_understood():
    parsed = parse_offer(CHROMIUM)
    assert (parsed.video, parsed.application, parsed.bundled) == (0, 1, True)
    assert [(coding.payload_type, coding.codec, str(coding.level)) for coding in parsed.codecs] == [
        (96, Codec.VP8, "None"), (102, Codec.H264, "42001f"), (108, Codec.H264, "42e01f")]
    assert parsed.codecs[1].feedback == frozenset(offers.FEEDBACK)
    assert (parsed.ufrag, parsed.password) == ("GNzz", "zVE0MaDOUKiu0M9EmyIJPLV6")
    assert parsed.fingerprints == (("sha-256", ":".join(["A0"] * 32)),)
    assert parsed.max_message_bytes == 262144 and parsed.sctp_port == 5000 and parsed.reduced_size and parsed.receiver_round_trip


def test_names_other_components_tcp_and_nonsense_are_no_candidates():
    assert parse_offer(CHROMIUM).candidates == (
        RemoteCandidate("2", 2113942271, "192.0.2.7", 50918, "host"), RemoteCandidate("4", 1677729535, "2001:db8::7", 40000, "srflx"))


def test_candidates_are_taken_up_to_a_limit_and_once_each():
    many = [f"a=candidate:1 1 udp 1 192.0.2.{i % 100 + 1} 5000 typ host" for i in range(150)]
    found = parse_offer(offer(video(vp8(), extra=many), bundle="")).candidates
    assert len(found) == CANDIDATES_MAX == len(set(found))


def test_transport_attributes_may_stand_at_session_level():
    section = [line for line in video(vp8()) if line not in offers.TRANSPORT]
    text = "\r\n".join(offers.SESSION + offers.TRANSPORT + section)
    assert parse_offer(text).ufrag == "GNzz"


def test_an_extension_is_kept_with_its_direction_unless_its_id_needs_the_long_form():
    extra = ["a=extmap:6/recvonly urn:a", "a=extmap:7/sendonly urn:b", "a=extmap:15 urn:c", "a=extmap:14 urn:d"]
    extensions = parse_offer(offer(video(vp8(), extra=extra), bundle="")).extensions
    assert extensions["urn:a"] == (6, True) and extensions["urn:d"] == (14, False)
    assert not {"urn:b", "urn:c"} & set(extensions)


def test_h264_of_another_packetization_mode_is_passed_over():
    assert parse_offer(offer(video(h264(102, mode=0)), bundle="")).codecs == ()


def test_a_data_channel_outside_the_bundle_is_not_served():
    assert parse_offer(offer(video(vp8()), DATA, bundle="0")).application == -1


def test_the_first_video_that_wants_to_receive_is_served():
    parsed = parse_offer(offer(video(vp8(), mid="5", direction="sendonly"), AUDIO, video(vp8(), mid="0"), bundle="5 2 0"))
    assert parsed.video == 2 and len(parsed.sections) == 3


@pytest.mark.parametrize("text", ["", "hello", "v=0\r\n", "v=0\r\nm=video\r\n", "v=1\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "\0" * 50])
def test_what_is_no_sdp_is_malformed(text):
    assert status_of(text) == 400


def test_a_refusal_gives_no_advice_that_is_for_files():
    with pytest.raises(OfferRefused, match=r"expected an m= line .* got nothing more\.$"):
        parse_offer("v=0\r\n")


@pytest.mark.parametrize("line, instead", [
    ("a=ice-ufrag:GNzz", "a=ice-ufrag:G"), ("a=ice-ufrag:GNzz", "a=x"), ("a=ice-pwd:zVE0MaDOUKiu0M9EmyIJPLV6", "a=ice-pwd:short"),
    (f"a=fingerprint:{offers.FINGERPRINT}", "a=fingerprint:sha-1 AA:BB"), (f"a=fingerprint:{offers.FINGERPRINT}", "a=x"),
    ("a=mid:0", "a=mid:"), ("a=mid:0", "a=mid:a b"), ("a=mid:0", "a=mid:1"), ("a=mid:0", "a=mid:" + 65 * "x"),
    ("a=sctp-port:5000", "a=sctp-port:many"), ("a=max-message-size:262144", "a=max-message-size:-1"), ("a=extmap:5 ", "a=extmap:five "),
    ("profile-level-id=42e01f", "profile-level-id=none")])
def test_an_offer_with_a_broken_line_is_malformed(line, instead):
    assert line in CHROMIUM
    assert status_of(CHROMIUM.replace(line, instead)) == 400


@pytest.mark.parametrize("line, instead", [
    ("a=recvonly", "a=sendonly"), ("a=recvonly", "a=inactive"), ("a=rtcp-mux", "a=x"), ("m=video 9 UDP/TLS/RTP/SAVPF", "m=video 9 RTP/AVP"),
    ("m=video 9", "m=video 0"), ("m=video", "m=audio"), ("a=setup:actpass", "a=setup:passive")])
def test_an_offer_that_cannot_be_served_is_unprocessable(line, instead):
    assert status_of(CHROMIUM.replace(line, instead)) == 422


@given(st.lists(st.one_of(st.sampled_from(CHROMIUM.splitlines()), st.text(max_size=40)), max_size=60))
def test_any_lines_give_an_offer_or_a_refusal_with_a_status(lines):
    try:
        assert parse_offer("\r\n".join(lines)).sections
    except OfferRefused as refusal:
        assert refusal.status in (400, 422) and str(refusal)


def test_a_fragment_brings_candidates_and_its_username():
    fragment = parse_fragment("a=ice-ufrag:GNzz\r\na=ice-pwd:zVE0MaDOUKiu0M9EmyIJPLV6\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
                              "a=candidate:2 1 udp 2113942271 192.0.2.7 50918 typ host\r\na=end-of-candidates\r\n")
    assert fragment.ufrag == "GNzz" and [candidate.port for candidate in fragment.candidates] == [50918]


def test_a_fragment_may_be_all_but_empty():
    assert parse_fragment("a=end-of-candidates\r\n").candidates == ()


def test_a_fragment_that_is_no_sdp_is_malformed():
    with pytest.raises(OfferRefused) as refusal:
        parse_fragment("candidates, please")
    assert refusal.value.status == 400
