"""What a viewer offers (WHEP: a JSEP offer, RFC 9429) and trickles (RFC 8840), read into values. Called by fanout.session.

Text in, values out; a refusal says whether the text is malformed (HTTP 400) or asks for what does not exist here (422).
"""
import ipaddress
import re
from dataclasses import dataclass

from appliance.errors import ApplianceError, ProtocolError, SdpError
from appliance.frame import Codec
from appliance.protocol.h264 import ProfileLevel
from appliance.protocol.session import Media, Section, Session, parse_session

CANDIDATES_MAX = 32  # of one session, in the offer and trickled
MALFORMED, UNPROCESSABLE = 400, 422
FINGERPRINT_ALGORITHMS = ("sha-256", "sha-384", "sha-512")
RTP_OVER_DTLS = ("UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF")  # browsers write either and mean ICE (RFC 8834 section 4.1)
SCTP_OVER_DTLS = ("UDP/DTLS/SCTP", "TCP/DTLS/SCTP")
MAX_MESSAGE_BYTES_DEFAULT = 65_536  # RFC 8841 section 6.1
EXTENSION_ID_MAX = 14  # of a one-octet header extension element (RFC 8285 section 4.2)
_H264_LEVEL_DEFAULT = "42000a"  # RFC 6184 section 8.1: baseline at level 1 when the parameter is left out

_TOKEN = re.compile(r"[!#-'*+\-.0-9A-Z^-~]{1,64}")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT = re.compile(r"(?:[0-9A-F]{2}:){31,63}[0-9A-F]{2}")
_DIRECTIONS = ("sendrecv", "recvonly", "sendonly", "inactive")


class OfferRefused(ApplianceError):
    """An offer or a trickled fragment that cannot be taken; `status` is the HTTP status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class RemoteCandidate:
    """A transport address that the viewer may be reached at."""

    foundation: str
    priority: int
    host: str
    port: int
    kind: str


@dataclass(frozen=True)
class OfferedCodec:
    """One coding that the viewer can receive; `level` only for H.264."""

    payload_type: int
    codec: Codec
    level: ProfileLevel | None
    feedback: frozenset[str]


@dataclass(frozen=True)
class OfferedSection:
    """One m= section as far as the answer must mirror it. `formats` is what followed the protocol."""

    kind: str
    mid: str
    protocol: str
    formats: tuple[str, ...]
    rtpmap: str


@dataclass(frozen=True)
class OfferedSound:
    """Where and how the viewer can receive sound; `extensions` as the video's."""

    section: int
    payload_type: int
    mid: str
    extensions: dict[str, tuple[int, bool]]
    reduced_size: bool


@dataclass(frozen=True)
class Offer:
    """A viewer's offer. `video` and `application` are places in `sections`; -1 without a data channel."""

    sections: tuple[OfferedSection, ...]
    video: int
    application: int
    sound: OfferedSound | None  # Opus, bundled with the video; else there is none
    bundled: bool
    codecs: tuple[OfferedCodec, ...]
    extensions: dict[str, tuple[int, bool]]  # URI -> (id, whether the offer limited its direction)
    reduced_size: bool
    receiver_round_trip: bool
    max_message_bytes: int
    sctp_port: int
    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: tuple[RemoteCandidate, ...]


@dataclass(frozen=True)
class Fragment:
    """A trickled sdpfrag."""

    ufrag: str
    candidates: tuple[RemoteCandidate, ...]


def parse_offer(text: str) -> Offer:
    """The offer in an SDP. Raises OfferRefused."""
    session = _session(text, "the offer")
    video = next((i for i, media in enumerate(session.media) if _is_receivable_video(media)), -1)
    if video < 0:
        raise OfferRefused(UNPROCESSABLE, "the offer has no video section that wants to receive (a=recvonly over UDP/TLS/RTP/SAVPF)")
    media = session.media[video]
    if not _has(media, "rtcp-mux"):
        raise OfferRefused(UNPROCESSABLE, "the video section has no a=rtcp-mux; RTP and RTCP share one port here")
    application = next((i for i, section in enumerate(session.media) if _is_data_channel(section)), -1)
    bundle = _bundle(session)
    if application >= 0 and not {media.mid, session.media[application].mid} <= bundle:
        application = -1
    mids = [section.mid for section in session.media]
    if any(not _TOKEN.fullmatch(mid) for mid in mids) or len(set(mids)) < len(mids):
        raise OfferRefused(MALFORMED, "each media section needs an a=mid of its own (RFC 9143)")
    data = session.media[application] if application >= 0 else None
    return Offer(
        sections=tuple(_section(section) for section in session.media), video=video, application=application,
        sound=_sound(session, media.mid, bundle), bundled=media.mid in bundle,
        codecs=tuple(_codecs(media)), extensions=_extensions(media), reduced_size=_has(media, "rtcp-rsize"),
        receiver_round_trip=any("rcvr-rtt" in value for value, _ in media.attributes("rtcp-xr")),
        max_message_bytes=_number(data, "max-message-size", MAX_MESSAGE_BYTES_DEFAULT), sctp_port=_number(data, "sctp-port", 5000),
        ufrag=_credential(session, media, "ice-ufrag", _UFRAG), password=_credential(session, media, "ice-pwd", _PASSWORD),
        fingerprints=_fingerprints(session, media), candidates=_candidates(session),
    )


def parse_fragment(text: str) -> Fragment:
    """Candidates of a trickle-ice-sdpfrag (RFC 8840 section 9); its media sections are all one, for everything is bundled."""
    # A fragment is an SDP without its first lines, and often without an m= line: it is read as the part of an offer that it is.
    session = _session(text + "\r\nm=end 9 UDP/DTLS/SCTP end\r\n", "the fragment")
    sections: list[Section] = [session, *session.media]
    ufrag = next((value for section in sections for value, _ in section.attributes("ice-ufrag")), "")
    return Fragment(ufrag, _candidates(session))


def _session(text: str, source: str) -> Session:
    try:
        return parse_session(text, source)
    except SdpError as error:
        # Without the remedy, which is for whoever names an SDP file.
        raise OfferRefused(MALFORMED, f"{error.where}: expected {error.expected}, got {error.got}.") from error


def _has(section: Section, name: str) -> bool:
    return any(True for _ in section.attributes(name))


def _direction(media: Media) -> str:
    return next((line.attribute[0] for line in media.all("a") if line.attribute[0] in _DIRECTIONS), "sendrecv")


def _is_offered(media: Media) -> bool:
    """Port 0 means rejected, but for a section that is only to be bundled with another (RFC 9143 section 6; GStreamer writes it so)."""
    return media.port > 0 or _has(media, "bundle-only")


def _is_receivable_video(media: Media) -> bool:
    return media.kind == "video" and _is_offered(media) and media.protocol in RTP_OVER_DTLS and _direction(media) in ("recvonly", "sendrecv")


def _sound(session: Session, video_mid: str, bundle: set[str]) -> OfferedSound | None:
    """The first section that can receive Opus over the video's transport."""
    for i, media in enumerate(session.media):
        receives = media.kind == "audio" and _is_offered(media) and media.protocol in RTP_OVER_DTLS and _direction(media) in ("recvonly", "sendrecv")
        if receives and {media.mid, video_mid} <= bundle and _has(media, "rtcp-mux"):
            coding = {value.partition(" ")[0]: value.partition(" ")[2].strip().lower() for value, _ in media.attributes("rtpmap")}
            payload_type = next((number for number in media.payload_types if coding.get(str(number)) == "opus/48000/2"), None)
            if payload_type is not None:
                return OfferedSound(i, payload_type, media.mid, _extensions(media), _has(media, "rtcp-rsize"))
    return None


def _is_data_channel(media: Media) -> bool:
    return media.kind == "application" and _is_offered(media) and media.protocol in SCTP_OVER_DTLS and "webrtc-datachannel" in media.line.value


def _bundle(session: Session) -> set[str]:
    groups = (value.split() for value, _ in session.attributes("group"))
    return {mid for words in groups if words and words[0] == "BUNDLE" for mid in words[1:]}


def _section(media: Media) -> OfferedSection:
    formats = tuple(media.line.value.split()[3:])
    rtpmap = next((value for value, _ in media.attributes("rtpmap") if value.split(" ")[0] == formats[0]), "") if formats else ""
    return OfferedSection(media.kind, media.mid, media.protocol, formats, rtpmap)


def _number(section: Section | None, name: str, default: int) -> int:
    if section is None:
        return default
    value = next((value for value, _ in section.attributes(name)), str(default))
    if not re.fullmatch(r"[0-9]{1,10}", value):
        raise OfferRefused(MALFORMED, f"a={name} is followed by a number, not by {value[:40]!r}")
    return int(value)


def _codecs(media: Media) -> list[OfferedCodec]:
    coding = {value.partition(" ")[0]: value.partition(" ")[2].strip().lower() for value, _ in media.attributes("rtpmap")}
    parameters = {value.partition(" ")[0]: _parameters(value.partition(" ")[2]) for value, _ in media.attributes("fmtp")}
    found = []
    for payload_type in media.payload_types:
        name, own = coding.get(str(payload_type), ""), parameters.get(str(payload_type), {})
        feedback = frozenset(value.partition(" ")[2].strip() for value, _ in media.attributes("rtcp-fb")
                             if value.partition(" ")[0] in ("*", str(payload_type)))
        if name == "vp8/90000":
            found.append(OfferedCodec(payload_type, Codec.VP8, None, feedback))
        elif name == "h264/90000" and own.get("packetization-mode") == "1":
            try:
                found.append(OfferedCodec(payload_type, Codec.H264, ProfileLevel.parse(own.get("profile-level-id", _H264_LEVEL_DEFAULT)), feedback))
            except ProtocolError as error:
                raise OfferRefused(MALFORMED, str(error)) from error
    return found


def _parameters(text: str) -> dict[str, str]:
    words = (word.partition("=") for word in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in words}


def _extensions(media: Media) -> dict[str, tuple[int, bool]]:
    found = {}
    for value, _ in media.attributes("extmap"):
        words = value.split()
        number, _, direction = words[0].partition("/") if words else ("", "", "")
        if len(words) < 2 or not re.fullmatch(r"[0-9]{1,5}", number):
            raise OfferRefused(MALFORMED, f"a=extmap needs an id and a URI, not {value[:40]!r}")
        if 1 <= int(number) <= EXTENSION_ID_MAX and direction in ("", "sendrecv", "recvonly"):
            found[words[1]] = (int(number), direction == "recvonly")
    return found


def _credential(session: Session, media: Media, name: str, pattern: re.Pattern) -> str:
    values = [value for section in (media, session) for value, _ in section.attributes(name)]
    if not values or not pattern.fullmatch(values[0]):
        raise OfferRefused(MALFORMED, f"the video section needs an a={name} as RFC 8839 section 5.4 writes it")
    return values[0]


def _fingerprints(session: Session, media: Media) -> tuple[tuple[str, str], ...]:
    if next((value for section in (media, session) for value, _ in section.attributes("setup")), "actpass") not in ("actpass", "active"):
        raise OfferRefused(UNPROCESSABLE, "the viewer must be the DTLS client: a=setup:actpass or active")
    values = [value for value, _ in media.attributes("fingerprint")] or [value for value, _ in session.attributes("fingerprint")]
    pairs = [(value.partition(" ")[0].lower(), value.partition(" ")[2].strip().upper()) for value in values]
    known = tuple((name, digest) for name, digest in pairs if name in FINGERPRINT_ALGORITHMS and _FINGERPRINT.fullmatch(digest))
    if not known:
        raise OfferRefused(MALFORMED, f"the video section needs an a=fingerprint by {', '.join(FINGERPRINT_ALGORITHMS)}")
    return known


def _candidates(session: Session) -> tuple[RemoteCandidate, ...]:
    """Every usable candidate of every section. Names (mDNS) are passed over: the viewer's own checks show its address sooner."""
    found: dict[tuple[str, int], RemoteCandidate] = {}
    for section in (session, *session.media):
        for value, _ in section.attributes("candidate"):
            candidate = _candidate(value.split())
            if candidate and len(found) < CANDIDATES_MAX:
                found.setdefault((candidate.host, candidate.port), candidate)
    return tuple(found.values())


def _candidate(words: list[str]) -> RemoteCandidate | None:
    """From the fields of RFC 8839 section 5.1, or None for TCP, RTCP's own, names and what is not a candidate at all."""
    if len(words) < 8 or words[1] != "1" or words[2].lower() != "udp" or words[6] != "typ" or words[7] not in ("host", "srflx", "relay"):
        return None
    try:
        host, priority, port = str(ipaddress.ip_address(words[4])), int(words[3]), int(words[5])
    except ValueError:
        return None
    return RemoteCandidate(words[0], priority, host, port, words[7]) if 0 < port < 65_536 and 0 < priority < 1 << 32 else None
