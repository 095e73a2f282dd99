"""The answer to a viewer's offer: which rendition and payload type it gets, and the SDP that says so. Called by fanout.session.

Pure. One transport for everything (max-bundle); what is not served is rejected with port 0 (RFC 9429 section 5.3.1).
"""
import ipaddress
from collections.abc import Container
from dataclasses import dataclass

from appliance.fanout.offer import UNPROCESSABLE, Offer, OfferedCodec, OfferedSection, OfferRefused
from appliance.fanout.sound import Tuning
from appliance.frame import Audience, Codec, Rendition
from appliance.protocol.h264 import DECODES, Profile

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
MID_BYTES_MAX = 16  # of a one-octet header extension element
SCTP_PORT = 5000
MESSAGE_BYTES_MAX = 262_144  # what we tell viewers that we take; they have no reason to send us anything

# Viewers estimate what they can receive themselves (goog-remb, with the help of abs-send-time): transport-cc would need a number of its own
# in each packet of each viewer, for the same decision between three levels. No rtx: a lost packet is sent again as it was.
_FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb", "rrtr")


@dataclass(frozen=True)
class Choice:
    """What a viewer gets. Extension ids are 0 where the viewer did not offer the extension."""

    rendition: str
    coding: OfferedCodec
    mid: str
    mid_id: int
    playout_delay_id: int
    abs_send_time_id: int


@dataclass(frozen=True)
class LocalTransport:
    """Our end as the answer tells it. `candidates` are a=candidate values; `default` is the first one's address."""

    ufrag: str
    password: str
    fingerprint: str
    candidates: tuple[str, ...]
    default: tuple[str, int]


@dataclass(frozen=True)
class LocalVideo:
    """Our source as the answer tells it; `level_idc` is what the raster needs."""

    stream: str
    ssrc: int
    cname: str
    level_idc: int
    session_number: int
    sound_ssrc: int = 0  # 0: this viewer hears nothing


def tuning(offer: Offer) -> Tuning | None:
    """How the viewer wants its sound; None if it cannot receive any."""
    sound = offer.sound
    if sound is None:
        return None
    mid_id = sound.extensions.get(MID, (0, False))[0] if len(sound.mid) <= MID_BYTES_MAX else 0
    return Tuning(sound.payload_type, sound.mid, mid_id)


def choose(offer: Offer, audience: Audience, sent: Profile, available: Container[str]) -> Choice:
    """H.264 in the best profile that decodes what we send, else VP8. Raises OfferRefused if the viewer can receive neither."""
    decoders = DECODES[sent]
    h264 = sorted((coding for coding in offer.codecs if coding.level and coding.level.profile in decoders),
                  key=lambda coding: decoders.index(coding.level.profile))
    vp8 = [coding for coding in offer.codecs if coding.codec is Codec.VP8]
    for coding in (*h264, *vp8):
        name = Rendition(audience, coding.codec).name
        if name in available:
            mid = offer.sections[offer.video].mid
            mid_id = offer.extensions.get(MID, (0, False))[0] if len(mid) <= MID_BYTES_MAX else 0
            playout_delay_id, abs_send_time_id = (offer.extensions.get(uri, (0, False))[0] for uri in (PLAYOUT_DELAY, ABS_SEND_TIME))
            return Choice(name, coding, mid, mid_id, playout_delay_id, abs_send_time_id)
    raise OfferRefused(UNPROCESSABLE, f"the offer can receive neither H.264 ({sent.value}, packetization-mode=1) nor VP8")


def write(offer: Offer, choice: Choice, transport: LocalTransport, video: LocalVideo) -> str:
    """The SDP of the answer."""
    heard = offer.sound.section if offer.sound and video.sound_ssrc else -1
    served = [offer.video] + [section for section in (offer.application, heard) if section >= 0]
    lines = ["v=0", f"o=- {video.session_number} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines += ["a=group:BUNDLE " + " ".join(offer.sections[i].mid for i in sorted(served))] if offer.bundled else []
    lines += [f"a=msid-semantic: WMS {video.stream}"]
    for i, section in enumerate(offer.sections):
        if i == offer.video:
            lines += _opening(section, transport, str(choice.coding.payload_type)) + _video(offer, choice, video)
        elif i == heard:
            lines += _opening(section, transport, str(offer.sound.payload_type)) + _sound(offer, video)
        elif i == offer.application:
            lines += _opening(section, transport, "webrtc-datachannel")
            lines += [f"a=sctp-port:{SCTP_PORT}", f"a=max-message-size:{MESSAGE_BYTES_MAX}"]
        else:
            lines += _rejected(section, transport)
    return "\r\n".join(lines) + "\r\n"


def _opening(section: OfferedSection, transport: LocalTransport, formats: str) -> list[str]:
    host, port = transport.default
    lines = [f"m={section.kind} {port} {section.protocol} {formats}", f"c=IN IP{ipaddress.ip_address(host).version} {host}"]
    lines += [f"a=mid:{section.mid}", *_credentials(transport), "a=ice-options:trickle"]
    return lines + [f"a=candidate:{candidate}" for candidate in transport.candidates] + ["a=end-of-candidates"]


def _credentials(transport: LocalTransport) -> list[str]:
    # Passive, so that browsers are the DTLS client: as such they agree to AES-GCM (webrtc.org issue; RFC 8842 lets the answer choose).
    return [f"a=ice-ufrag:{transport.ufrag}", f"a=ice-pwd:{transport.password}", f"a=fingerprint:{transport.fingerprint}", "a=setup:passive"]


def _video(offer: Offer, choice: Choice, video: LocalVideo) -> list[str]:
    payload_type, track = choice.coding.payload_type, choice.rendition
    lines = [f"a=extmap:{number}{'/sendonly' if limited else ''} {uri}"
             for uri, (number, limited) in offer.extensions.items()
             if (uri, number) in ((MID, choice.mid_id), (PLAYOUT_DELAY, choice.playout_delay_id), (ABS_SEND_TIME, choice.abs_send_time_id))]
    lines += ["a=sendonly", f"a=msid:{video.stream} {track}", "a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp-mux"]
    lines += ["a=rtcp-rsize"] if offer.reduced_size else []
    # Chromium then asks for the round trip (RFC 3611 section 4.4) and, knowing it, tells the page each frame's capture time.
    lines += ["a=rtcp-xr:rcvr-rtt=all"] if offer.receiver_round_trip else []
    if choice.coding.codec is Codec.H264:
        level = choice.coding.level.at_level(video.level_idc)
        lines += [f"a=rtpmap:{payload_type} H264/90000",
                  f"a=fmtp:{payload_type} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={level}"]
    else:
        lines += [f"a=rtpmap:{payload_type} VP8/90000"]
    lines += [f"a=rtcp-fb:{payload_type} {name}" for name in _FEEDBACK if name in choice.coding.feedback]
    return lines + [f"a=ssrc:{video.ssrc} cname:{video.cname}", f"a=ssrc:{video.ssrc} msid:{video.stream} {track}"]


def _sound(offer: Offer, video: LocalVideo) -> list[str]:
    sound, mid_id = offer.sound, tuning(offer).mid_id
    stream, track = f"{video.stream}-sound", "sound"
    lines = [f"a=extmap:{number}{'/sendonly' if limited else ''} {uri}" for uri, (number, limited) in sound.extensions.items() if (uri, number) == (MID, mid_id)]
    # A MediaStream of its own: a browser delays a picture to meet the sound of its own stream, and the picture must not wait.
    lines += ["a=sendonly", f"a=msid:{stream} {track}", "a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp-mux"]
    lines += ["a=rtcp-rsize"] if sound.reduced_size else []
    lines += [f"a=rtpmap:{sound.payload_type} opus/48000/2", f"a=fmtp:{sound.payload_type} minptime=10;sprop-stereo=1;stereo=1;useinbandfec=0", "a=ptime:10"]
    return lines + [f"a=ssrc:{video.sound_ssrc} cname:{video.cname}", f"a=ssrc:{video.sound_ssrc} msid:{stream} {track}"]


def _rejected(section: OfferedSection, transport: LocalTransport) -> list[str]:
    # Credentials are of no use here, but some clients look for them before they look at the port.
    lines = [f"m={section.kind} 0 {section.protocol} {section.formats[0] if section.formats else '0'}", "c=IN IP4 0.0.0.0",
             f"a=mid:{section.mid}", *_credentials(transport)]
    return lines + (["a=inactive", "a=rtcp-mux"] if section.kind in ("audio", "video") else []) + ([f"a=rtpmap:{section.rtpmap}"] if section.rtpmap else [])
