"""Answers: the rendition that an offer leads to, and the SDP that says so, read back by aiortc's parser."""
from dataclasses import replace

import pytest
from aiortc.sdp import SessionDescription

from appliance.fanout import answer
from appliance.fanout.offer import OfferRefused, parse_offer
from appliance.frame import Audience
from appliance.protocol.h264 import Profile
from tests.unit.fanout.offers import AUDIO, CHROMIUM, DATA, h264, offer, video, vp8

ALL = ("expert", "class", "expert.vp8", "class.vp8")
TRANSPORT = answer.LocalTransport("abcd", "p" * 22, "sha-256 " + ":".join(["B0"] * 32), ("1 1 udp 2130706431 192.0.2.1 5004 typ host",), ("192.0.2.1", 5004))
VIDEO = answer.LocalVideo("scope", 77, "worker", 0x20, 4711)


def choose(text, audience=Audience.EXPERT, sent=Profile.CONSTRAINED_BASELINE, available=ALL):
    return answer.choose(parse_offer(text), audience, sent, available)


def written(text):
    return answer.write(parse_offer(text), choose(text), TRANSPORT, VIDEO)


def test_h264_in_the_profile_that_is_sent_comes_before_all_else():
    choice = choose(CHROMIUM)
    assert (choice.rendition, choice.coding.payload_type) == ("expert", 108)
    assert (choice.playout_delay_id, choice.mid_id, choice.mid) == (5, 9, "0")


@pytest.mark.parametrize("codecs, sent, payload_type", [
    ([*vp8(96), *h264(102, "64001f"), *h264(108, "42001f")], Profile.CONSTRAINED_BASELINE, 108),
    ([*vp8(96), *h264(102, "64001f")], Profile.CONSTRAINED_BASELINE, 102),
    ([*vp8(96), *h264(102, "640c1f"), *h264(108, "64001f")], Profile.HIGH, 108),
    ([*vp8(96), *h264(108, "42e01f")], Profile.HIGH, 96),
    ([*vp8(96), *h264(108, "f4001f")], Profile.CONSTRAINED_BASELINE, 96),
    (vp8(96), Profile.CONSTRAINED_BASELINE, 96)])
def test_a_profile_that_decodes_what_is_sent_is_chosen_else_vp8(codecs, sent, payload_type):
    assert choose(offer(video(codecs), bundle=""), sent=sent).coding.payload_type == payload_type


def test_the_audience_decides_the_rendition():
    assert choose(CHROMIUM, Audience.CLASS).rendition == "class"
    assert choose(offer(video(vp8()), bundle=""), Audience.CLASS).rendition == "class.vp8"


def test_a_rendition_that_does_not_exist_is_not_chosen():
    assert choose(CHROMIUM, available=("class", "expert.vp8")).rendition == "expert.vp8"


def test_an_offer_without_a_codec_of_ours_is_unprocessable():
    with pytest.raises(OfferRefused) as refusal:
        choose(offer(video(["a=rtpmap:96 VP9/90000"]), bundle=""))
    assert refusal.value.status == 422


def test_a_mid_too_long_for_the_header_is_not_sent_in_it():
    assert choose(offer(video(vp8(), mid="m" * 17), bundle="")).mid_id == 0


def test_the_answer_says_one_codec_one_source_and_one_transport():
    parsed = SessionDescription.parse(written(CHROMIUM))
    media, data = parsed.media
    assert [group.items for group in parsed.group] == [["0", "1"]]
    assert media.fmt == [108] and media.direction == "sendonly" and media.rtcp_mux and media.dtls.role == "server"
    assert media.rtp.codecs[0].parameters == {"level-asymmetry-allowed": "1", "packetization-mode": "1", "profile-level-id": "42e020"}
    assert {f"{item.type} {item.parameter or ''}".strip() for item in media.rtp.codecs[0].rtcpFeedback} == {"nack", "nack pli", "ccm fir", "goog-remb"}
    assert [extension.id for extension in media.rtp.headerExtensions] == [5, 9, 2]
    assert [(source.ssrc, source.cname, source.msid) for source in media.ssrc] == [(77, "worker", "scope expert")]
    assert (media.port, data.port, data.sctp_port) == (5004, 5004, 5000)
    assert media.ice_candidates_complete and media.ice_candidates[0].ip == "192.0.2.1"
    assert media.ice.usernameFragment == data.ice.usernameFragment == "abcd"


@pytest.mark.parametrize("line", ["a=rtcp-rsize", "a=rtcp-xr:rcvr-rtt=all"])
def test_what_the_offer_does_not_have_the_answer_has_not(line):
    assert line in written(CHROMIUM) and line not in written(CHROMIUM.replace(line, "a=x"))


@pytest.mark.parametrize("line", ["a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", "a=rtcp-fb:108 goog-remb"])
def test_a_viewer_that_does_not_estimate_is_answered_as_before(line):
    without = CHROMIUM.replace(line + "\r\n", "")
    assert written(CHROMIUM).replace(line + "\r\n", "") == written(without)
    assert "abs-send-time" in line or choose(without).abs_send_time_id == 2
    assert "goog-remb" in line or choose(without).abs_send_time_id == 0


def test_an_extension_that_the_viewer_only_receives_we_only_send():
    assert "a=extmap:5/sendonly http" in written(CHROMIUM.replace("a=extmap:5 ", "a=extmap:5/recvonly "))


def test_sections_that_are_not_served_are_rejected_in_their_place():
    text = offer(AUDIO, video(vp8()), DATA, video(vp8(), mid="7"), bundle="2 0 1 7")
    parsed = SessionDescription.parse(written(text))
    assert [media.kind for media in parsed.media] == ["audio", "video", "application", "video"]
    assert [bool(media.port) for media in parsed.media] == [False, True, True, False]
    assert [media.rtp.muxId for media in parsed.media] == ["2", "0", "1", "7"]
    assert parsed.group[0].items == ["0", "1"]


def test_an_offer_without_a_bundle_gets_an_answer_without_one():
    assert "a=group" not in written(offer(video(vp8()), bundle=""))


def test_an_ipv6_address_is_named_as_such():
    transport = answer.LocalTransport("abcd", "p" * 22, "sha-256 AA", (), ("2001:db8::1", 5004))
    assert "c=IN IP6 2001:db8::1" in answer.write(parse_offer(CHROMIUM), choose(CHROMIUM), transport, VIDEO)


def test_sound_is_answered_in_a_stream_of_its_own_where_there_is_some():
    text = offer(video(vp8()), AUDIO, bundle="0 2")
    with_sound = answer.write(parse_offer(text), choose(text), TRANSPORT, replace(VIDEO, sound_ssrc=99))
    parsed = SessionDescription.parse(with_sound)
    picture, sound = parsed.media
    assert [group.items for group in parsed.group] == [["0", "2"]] and sound.direction == "sendonly" and sound.fmt == [111]
    assert sound.msid != picture.msid and [(source.ssrc, source.cname) for source in sound.ssrc] == [(99, "worker")]
    assert "nack" not in {item.type for item in sound.rtp.codecs[0].rtcpFeedback}
    assert SessionDescription.parse(written(text)).media[1].port == 0, "a viewer that may not hear, or a stream without sound"


def test_sound_that_is_not_bundled_or_not_opus_is_rejected():
    for text in (offer(video(vp8()), AUDIO, bundle="0"), offer(video(vp8()), [line.replace("opus", "G722") for line in AUDIO], bundle="0 2")):
        assert parse_offer(text).sound is None
