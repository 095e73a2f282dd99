"""Flows from SDP files and SDP text from flows (ST 2110-10, -20, -30; PS3.22 for metadata).

The topology reads, the synthetic source writes. Refuses only what makes reception impossible, and then names the line; what it
put up with is in a flow's notes. Opens no file and no socket.
"""
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from urllib.parse import urlsplit

from appliance.errors import SdpError
from appliance.frame import VideoFormat
from appliance.protocol import channel_order
from appliance.protocol.session import Line, Media, Session, connection, parse_session, second_source, source_filter
from appliance.protocol.timing import SENDER_TYPES

__all__ = ["AudioFlow", "MetadataFlow", "VideoFlow", "audio_flow", "emit_audio", "emit_metadata", "emit_video", "metadata_flow", "parse_session", "read_video",
           "video_flow", "websocket_metadata_flow"]

# What is received, by attribute of VideoFormat; video_flow() refuses every other value by its name. Constant luminance, ICtCp and XYZ would need a
# colour conversion of their own to be shown as they are meant, a key (alpha) is no picture, and RFC 4175's other samplings are not ST 2110's.
SUPPORTED: Mapping[str, tuple] = {
    "sampling": ("YCbCr-4:2:2", "YCbCr-4:4:4", "YCbCr-4:2:0", "RGB"),
    "depth": (8, 10, 12, 16),
    "packing": ("2110GPM", "2110BPM"),
}
WIDTH_MAX, HEIGHT_MAX = 4096, 2160
PIXEL_ASPECT_MAX = Fraction(2)  # wider pixels, or as much higher ones, are not made square
RATE_MAX = 240

# Flows that appear beside ST 2110-20 in theatres and broadcast plants, by rtpmap name in lower case.
FOREIGN_ENCODINGS = {
    "jxsv": "JPEG XS video (ST 2110-22)",
    "smpte2022-6": "SDI over IP (ST 2022-6)",
    "smpte291": "ancillary data (ST 2110-40)",
    "am824": "AES3 audio (ST 2110-31)",
    "raw": "uncompressed video (ST 2110-20)",
    "l16": "PCM audio (ST 2110-30)",
    "l24": "PCM audio (ST 2110-30)",
    "dicom": "DICOM-RTV metadata (PS3.22)",
    "h264": "H.264 video",
    "h265": "H.265 video",
    "h263-1998": "H.263 video",
    "mp2t": "an MPEG transport stream",
    "jpeg": "JPEG video",
    "vc2": "VC-2 video",
}
PATHS = ("a", "b")
"""Names of a flow's paths, in the order of its legs."""
GRAIN_FLAGS_URI = "urn:x-nmos:rtp-hdrext:grain-flags"
_SAMPLINGS = {name.lower(): name for name in (
    "YCbCr-4:2:2", "YCbCr-4:4:4", "YCbCr-4:2:0", "YCbCr-4:1:1", "CLYCbCr-4:2:2", "CLYCbCr-4:4:4", "CLYCbCr-4:2:0",
    "ICtCp-4:2:2", "ICtCp-4:4:4", "ICtCp-4:2:0", "RGB", "RGBA", "BGR", "BGRA", "XYZ", "KEY")}
_DEPTHS = {"8": 8, "10": 10, "12": 12, "16": 16, "16f": 16}
_UDP_OCTETS_STANDARD, _UDP_OCTETS_MAX = 1460, 8960
AUDIO_RATES_HZ = (44_100, 48_000, 96_000)
PACKET_TICKS_MAX = 1920  # 20 ms at 96 kHz
_CHANNEL_ORDER = re.compile(r"channel-order\s*=\s*\"?([^;\"()]*\([^)]*\))")


@dataclass(frozen=True, kw_only=True)
class Leg:
    """The second path of a flow (ST 2022-7): where its packets go, and in what they may differ from the first one's."""

    group: str
    port: int
    source_address: str | None = None
    payload_type: int
    ssrc_difference: int = 0
    """Bits in which its SSRC may differ: RFC 7104 lets legs have their own; those of ST 2022-7 are alike."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What every flow has. Addresses are text; `group` may also be a unicast address of this machine."""

    group: str
    port: int
    source_address: str | None = None
    """The only sender to accept (source-specific multicast), None for any."""
    payload_type: int
    rate_hz: int = 90_000
    """RTP clock in ticks a second."""
    ptp: str | None = None
    """Reference clock as in ts-refclk: `IEEE1588-2008:<GMID>:<domain>`; None where the sender names no PTP clock."""
    mediaclk_offset: int = 0
    """RTP timestamp at the PTP epoch, in ticks: 0 for ST 2110, other values from older senders."""
    extension_ids: Mapping[str, int] = field(default_factory=dict, hash=False)
    """RTP header extension URI -> its id in this flow (a=extmap)."""
    second: Leg | None = None
    """Where the same packets come a second time; the fields above are the first path's."""
    title: str = ""
    notes: tuple[str, ...] = ()
    """What a person should know: legs not used, assumptions, deviations put up with."""

    @property
    def legs(self) -> tuple["Flow", ...]:
        """The flow by each of its paths alone, the first one first."""
        first, leg = replace(self, second=None), self.second
        if leg is None:
            return (first,)
        return first, replace(first, group=leg.group, port=leg.port, source_address=leg.source_address, payload_type=leg.payload_type)


@dataclass(frozen=True, kw_only=True)
class VideoFlow(Flow):
    """An ST 2110-20 flow."""

    format: VideoFormat
    ssrc: int | None = None
    """Announced SSRC; a hint only, senders change it at a restart."""
    maxudp: int = _UDP_OCTETS_STANDARD
    """Largest UDP datagram in octets, its header included (ST 2110-10 MAXUDP)."""
    sender_type: str | None = None
    """How the sender spaces its packets: 2110TPN, 2110TPNL or 2110TPW (ST 2110-21 TP); None where it does not say."""
    c_most: int | None = None
    """How many packets it bunches at most, where that is less than its type may (ST 2110-21 CMAX); None where it does not say."""
    offset_us: int | None = None
    """When it begins a frame, microseconds after the frame's time (ST 2110-21 TROFF); None for the standard's."""

    def frames_open(self, skew_ns: int) -> int:
        """Raw frames that may be unfinished at once: packets overtake each other across a boundary, and one path may be so far ahead of the other."""
        return 2 + (-(-skew_ns * self.format.picture_rate // 1_000_000_000) if self.second else 0)


@dataclass(frozen=True, kw_only=True)
class MetadataFlow(Flow):
    """A DICOM-RTV metadata flow (PS3.22 section 6.2)."""

    payload_type: int | None
    """None: any, for a WebSocket has no SDP."""
    url: str | None = None
    """ws:// or wss:// address of the server that offers the flow's packets, one a binary message; None where it is multicast."""

    @property
    def place(self) -> str:
        """Where it comes from, for people."""
        return self.url or f"{self.group}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class AudioFlow(Flow):
    """An ST 2110-30 flow."""

    channels: int
    depth: int
    """Bits a sample: 16 or 24."""
    packet_us: int
    """Time of the samples in one packet, microseconds."""
    groups: tuple[str, ...] = ()
    """What the channels are, as channel-order says it (ST 2110-30 section 6.2.2); made up for a sender that does not say."""

    @property
    def packet_ticks(self) -> int:
        """Samples of each channel in one packet; AES67 writes 0.12, 0.33 and 1.09 ms for 6, 16 and 48 of them."""
        return round(self.rate_hz * self.packet_us / 1_000_000)

    def __str__(self) -> str:
        return f"{self.channels} channel(s) ({', '.join(self.groups)}) of {self.depth} bit at {self.rate_hz / 1000:g} kHz"


def video_flow(text: str, source: str) -> VideoFlow:
    """The one video flow of an SDP file that this version can receive. Raises SdpError naming the line and the reason.

    The legs of a DUP group (ST 2022-7) are one flow with a second path. Several different video flows are refused: it would be chance which one a
    person sees.
    """
    return _choose(parse_session(text, source), "uncompressed video (ST 2110-20)", ("raw",), _supported_video)


def metadata_flow(text: str, source: str) -> MetadataFlow:
    """The one DICOM-RTV metadata flow of an SDP file. Raises SdpError naming the line and the reason."""
    return _choose(parse_session(text, source), "DICOM-RTV metadata (PS3.22)", ("dicom",), _read_metadata)


def websocket_metadata_flow(url: str) -> MetadataFlow:
    """The metadata flow that a WebSocket carries: its packets tell their payload type, and grains are told apart by marker and timestamp."""
    parts = urlsplit(url)
    return MetadataFlow(group=parts.hostname or "", port=parts.port or {"ws": 80, "wss": 443}[parts.scheme], payload_type=None, url=url)


def audio_flow(text: str, source: str) -> AudioFlow:
    """The one PCM audio flow of an SDP file. Raises SdpError naming the line and the reason."""
    return _choose(parse_session(text, source), "PCM audio (ST 2110-30)", ("l16", "l24"), _read_audio)


def _choose(session: Session, wanted: str, encodings: tuple[str, ...], read: Callable) -> Flow:
    """The flow of the only media section, or DUP group of sections, that `read` accepts."""
    flows, refusals = [], []
    for media in session.media:
        wanted_coding = False
        try:
            name, _, _, line = media.encoding()
            wanted_coding = name.lower() in encodings
            if not wanted_coding:
                described = FOREIGN_ENCODINGS.get(name.lower(), "of a coding that the appliance does not know")
                raise line.refuse(" or ".join(encodings), f"{name}: this flow is {described}", f"The appliance receives {wanted} here.")
            flows.append((media, read(session, media)))
        except SdpError as error:
            refusals.append((wanted_coding, error))
    if not flows:
        # A flow of the wanted coding that cannot be received tells a person more than one of another coding.
        raise max(refusals, key=lambda refusal: refusal[0])[1]
    first, flow = flows[0]
    legs = next((group for group in session.duplicates() if first.mid and first.mid in group), [])
    rivals = [media for media, _ in flows[1:] if media.mid not in legs]
    if rivals:
        places = ", ".join(f"line {media.line.number} (m={media.line.value})" for media in [first, *rivals])
        raise rivals[0].line.refuse("one flow to receive in the file", f"{1 + len(rivals)} that could be received: {places}",
                                    "Keep the m= section of the wanted flow and delete the others from a copy of the file.")
    others = [(media, leg) for media, leg in flows[1:] if media.mid in legs]
    notes = list(flow.notes)
    second = _second_leg(first, flow, others, notes) if others else _second_source(session, first, flow, notes)
    notes += [f"not received: {error}" for _, error in refusals]
    return replace(flow, second=second, notes=tuple(notes))


def _second_leg(first: Media, flow: Flow, others: list[tuple[Media, Flow]], notes: list[str]) -> Leg | None:
    """The second path from another section of the DUP group (RFC 7104 section 3.1), if it carries the same."""
    (media, other), *more = others
    notes += [f"leg {unused.mid} (line {unused.line.number}) is not received: two paths are, {first.mid} and {media.mid}" for unused, _ in more]
    same = ("rate_hz", "mediaclk_offset", "format", "channels", "depth", "packet_us")
    differing = [name for name in same if getattr(flow, name, None) != getattr(other, name, None)]
    if differing:
        told = ", ".join(f"{name} {getattr(flow, name)} and {getattr(other, name)}" for name in differing)
        notes.append(f"leg {media.mid} (line {media.line.number}) is not received: ST 2022-7 wants the same packets on both, and the legs differ in {told}")
        return None
    announced = (getattr(flow, "ssrc", None), getattr(other, "ssrc", None))
    difference = announced[0] ^ announced[1] if None not in announced else 0
    return Leg(group=other.group, port=other.port, source_address=other.source_address, payload_type=other.payload_type, ssrc_difference=difference)


def _second_source(session: Session, media: Media, flow: Flow, notes: list[str]) -> Leg | None:
    """The second path from a second sender to the same group: a=ssrc-group:DUP and a source filter with two senders (RFC 7104 section 3.2)."""
    groups = [value.split()[1:] for value, _ in media.attributes("ssrc-group") if value.upper().startswith("DUP ")]
    if not groups:
        return None
    source = second_source(session, media, flow.group)
    if source is None:
        notes.append("a=ssrc-group:DUP without a source filter that names two senders: only what has the first one's SSRC is received")
        return None
    notes[:] = [note for note in notes if f"the filter also names {source}" not in note]
    numbers = [int(word) for word in groups[0][:2] if re.fullmatch(r"[0-9]{1,10}", word)]
    difference = (numbers[0] ^ numbers[1]) & 0xFFFF_FFFF if len(numbers) == 2 else 0
    return Leg(group=flow.group, port=flow.port, source_address=source, payload_type=flow.payload_type, ssrc_difference=difference)


def _flow_fields(session: Session, media: Media, notes: list[str]) -> dict:
    """The fields of Flow; problems that do not stop reception go into `notes`."""
    if media.protocol not in ("RTP/AVP", "RTP/AVPF"):
        raise media.line.refuse("plain RTP (RTP/AVP, ST 2110-10 section 6.2)", media.protocol)
    if media.port == 0:
        raise media.line.refuse("a UDP port of 1 to 65535", "0, which says that the flow is off")
    payload_type = media.payload_type
    group = connection(session, media)
    _, rate_hz, _, map_line = media.encoding()
    if rate_hz == 0:
        raise map_line.refuse("a clock rate, as in raw/90000", "none")
    if not map_line.attribute[1].startswith(f"{payload_type} "):
        notes.append(f"line {map_line.number}: the rtpmap is for another payload type than the m= line's {payload_type}, which is used")
    ptp, offset = _clock(session, media, notes)
    extensions = {}
    for value, _ in [*media.attributes("extmap"), *session.attributes("extmap")]:
        words = value.split()
        number = words[0].split("/")[0] if words else ""
        if len(words) > 1 and number.isascii() and number.isdigit() and 1 <= int(number[:4]) <= 14:
            extensions.setdefault(words[1], int(number))
    title = next((line.value for line in media.all("i")), "") or session.title
    return {"group": group, "port": media.port, "source_address": source_filter(session, media, group, notes), "payload_type": payload_type,
            "rate_hz": rate_hz, "ptp": ptp, "mediaclk_offset": offset, "extension_ids": extensions, "title": title}


def _clock(session: Session, media: Media, notes: list[str]) -> tuple[str | None, int]:
    """Reference clock and media clock offset (RFC 7273); a section's own lines win over the session's."""
    references = [*media.attributes("ts-refclk", "tsrefclk"), *session.attributes("ts-refclk", "tsrefclk")]
    ptp = next((value[4:] for value, _ in references if value.lower().startswith("ptp=")), None)
    if not references:
        notes.append("no a=ts-refclk: the sender's clock is taken to be PTP time")
    offset = 0
    for value, line in [*media.attributes("mediaclk"), *session.attributes("mediaclk")]:
        match = re.match(r"direct\s*=\s*([0-9]{1,10})\b", value)
        if match is None and not value.startswith("sender"):
            notes.append(f"line {line.number}: media clock not understood, offset 0 is used ({value})")
        offset = int(match[1]) & 0xFFFF_FFFF if match else 0
        break
    return ptp and ptp.upper().replace("TRACEABLE", "traceable"), offset


def _supported_video(session: Session, media: Media) -> VideoFlow:
    flow, line = read_video(session, media), media.parameters()[1]
    if flow.rate_hz != 90_000:  # RFC 4175 section 6.1: the clock of every uncompressed video flow
        raise media.encoding()[3].refuse("the clock rate of video, raw/90000", str(flow.rate_hz))
    format, remedy = flow.format, "Set the sender to another format, or convert in front of the appliance."
    for name, allowed in SUPPORTED.items():
        if getattr(format, name) not in allowed:
            raise line.refuse(f"{name} {' or '.join(map(str, allowed))}", f"{name} {getattr(format, name)}, which is not supported", remedy)
    if media.parameters()[0]["depth"].lower() == "16f":
        raise line.refuse("depth 8, 10, 12 or 16", "depth 16f, floating point, which is not supported", remedy)
    if format.interlaced and (format.pgroup.rows > 1 or format.height < 2):
        raise line.refuse("progressive 4:2:0, the only kind that ST 2110-20 has, or fields of a row at least", f"{format}, which is not supported", remedy)
    columns, rows = format.pgroup.columns, format.pgroup.rows
    if format.width % columns or format.height % rows or format.width > WIDTH_MAX or format.height > HEIGHT_MAX:
        raise line.refuse(f"a width of at most {WIDTH_MAX} and a height of at most {HEIGHT_MAX} in whole pgroups, which here have {columns} columns and {rows} "
                          f"row{'s' * (rows > 1)}", f"{format.width}x{format.height}, which is not supported", remedy)
    return flow


def read_video(session: Session, media: Media) -> VideoFlow:
    """Any ST 2110-20 flow, supported by this version or not (section 7.2). Raises SdpError."""
    notes: list[str] = []
    fields = _flow_fields(session, media, notes)
    parameters, line = media.parameters()
    missing = [name for name in ("sampling", "width", "height", "depth") if not parameters.get(name)]
    if missing:
        raise line.refuse(f"an a=fmtp:{media.payload_type} line with sampling, width, height and depth", f"no {', '.join(missing)}",
                          "Export the SDP from the sender again; without the raster its packets cannot be read.")
    sampling = _SAMPLINGS.get(parameters["sampling"].lower())
    if sampling is None:
        raise line.refuse("a sampling of ST 2110-20 section 7.4, such as YCbCr-4:2:2", parameters["sampling"])
    depth = _DEPTHS.get(parameters["depth"].lower())
    if depth is None:
        raise line.refuse("a depth of 8, 10, 12, 16 or 16f", parameters["depth"])
    announced = {value.split(" ")[0] for value, _ in media.attributes("ssrc")}
    ssrc = announced.pop() if len(announced) == 1 else ""
    video_format = VideoFormat(
        width=_number(line, "width", parameters["width"], 32_767), height=_number(line, "height", parameters["height"], 32_767),
        sampling=sampling, depth=depth, rate=_frame_rate(media, parameters, line, notes),
        interlaced=_flag(parameters, "interlace") or _flag(parameters, "segmented"), segmented=_flag(parameters, "segmented"),
        colorimetry=_colorimetry(parameters, notes), transfer=(parameters.get("tcs") or "SDR").upper(),
        range=_range(parameters, notes), pixel_aspect=_pixel_aspect(parameters, notes), packing=(parameters.get("pm") or "2110GPM").upper())
    return VideoFlow(format=video_format, ssrc=int(ssrc) if re.fullmatch(r"[0-9]{1,10}", ssrc) else None,
                     maxudp=_number(line, "MAXUDP", parameters.get("maxudp") or str(_UDP_OCTETS_STANDARD), _UDP_OCTETS_MAX),
                     sender_type=_sender_type(parameters, notes), offset_us=_whole("TROFF", "microseconds: the standard's offset is taken", parameters, notes),
                     c_most=_whole("CMAX", "packets: the limit of its type is taken", parameters, notes), notes=tuple(notes), **fields)


def _read_metadata(session: Session, media: Media) -> MetadataFlow:
    notes: list[str] = []
    fields = _flow_fields(session, media, notes)
    if GRAIN_FLAGS_URI not in fields["extension_ids"]:
        notes.append("no a=extmap for grain flags: grains are told apart by marker and timestamp")
    return MetadataFlow(notes=tuple(notes), **fields)


def _read_audio(session: Session, media: Media) -> AudioFlow:
    notes: list[str] = []
    fields = _flow_fields(session, media, notes)
    name, rate_hz, words, line = media.encoding()
    if rate_hz not in AUDIO_RATES_HZ:
        raise line.refuse("a sample rate of 44100, 48000 or 96000 Hz", str(rate_hz), "Set the sender to one of these.")
    channels = _number(line, "channels", words or "1", channel_order.CHANNELS_MAX)
    packet_time = next((value for value, _ in media.attributes("ptime")), "1")
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", packet_time) or Fraction(packet_time) == 0:
        raise media.line.refuse("a packet time in milliseconds, such as a=ptime:1", f"a=ptime:{packet_time}")
    packet_us = round(Fraction(packet_time) * 1000)
    if not 1 <= rate_hz * packet_us // 1_000_000 <= PACKET_TICKS_MAX:
        raise media.line.refuse("a packet time of up to 20 ms", f"a=ptime:{packet_time}")
    return AudioFlow(channels=channels, depth=int(name[1:]), packet_us=packet_us, groups=_groups(media, channels, notes), notes=tuple(notes), **fields)


def _groups(media: Media, channels: int, notes: list[str]) -> tuple[str, ...]:
    """What the channels are; a sender that does not say, or says something that cannot be, gets the usual."""
    said = next((match for value, _ in media.attributes("fmtp") if (match := _CHANNEL_ORDER.search(value))), None)
    groups = channel_order.parse(said[1]) if said else None
    if groups is not None and channel_order.channels_of(groups) == channels:
        return groups
    usual = channel_order.default(channels)
    if said:
        notes.append(f"{said[0]} is not understood for {channels} channel(s): {', '.join(usual)} is assumed")
    elif channels > 2:
        notes.append(f"no channel-order: each of the {channels} channels is taken for a microphone")
    return usual


def _number(line: Line, name: str, text: str, largest: int) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= largest:
        raise line.refuse(f"{name} to be a number of 1 to {largest}", text)
    return int(text)


def _flag(parameters: Mapping[str, str], name: str) -> bool:
    """A flag stands alone in ST 2110-20; some senders write `interlace=1`, hence `=0` means that it is not set."""
    return parameters.get(name, "0") != "0"


def _sender_type(parameters: Mapping[str, str], notes: list[str]) -> str | None:
    text = parameters.get("tp", "").upper()
    if text and text not in SENDER_TYPES:
        notes.append(f"TP={text} is no sender type of ST 2110-21: the strictest that holds is shown")
    return text if text in SENDER_TYPES else None


def _whole(name: str, of_what: str, parameters: Mapping[str, str], notes: list[str]) -> int | None:
    text = parameters.get(name.lower(), "")
    if text and not re.fullmatch(r"[0-9]{1,6}", text):
        notes.append(f"{name}={text} is no whole number of {of_what}")
        return None
    return int(text) if text else None


def _colorimetry(parameters: Mapping[str, str], notes: list[str]) -> str:
    text = parameters.get("colorimetry", "").upper()
    if not text:
        notes.append("no colorimetry: BT709 is assumed")
        return "BT709"
    # RFC 4175 senders write the revision of the recommendation: BT709-2, BT601-5.
    return re.sub(r"^(BT\d+)-\d+$", r"\1", text)


def _range(parameters: Mapping[str, str], notes: list[str]) -> str:
    text = (parameters.get("range") or "NARROW").upper()
    if text in ("NARROW", "FULL", "FULLPROTECT"):
        return text
    notes.append(f"RANGE={text} is not one of NARROW, FULL and FULLPROTECT: NARROW is assumed")
    return "NARROW"


def _pixel_aspect(parameters: Mapping[str, str], notes: list[str]) -> Fraction:
    """PAR, width:height (ST 2110-20 section 7.3)."""
    text = parameters.get("par") or "1:1"
    match = re.fullmatch(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})", text)
    shape = Fraction(int(match[1]), int(match[2])) if match else Fraction(0)
    if 1 / PIXEL_ASPECT_MAX <= shape <= PIXEL_ASPECT_MAX:
        return shape
    notes.append(f"PAR={text} is no shape of a pixel such as 16:11: square ones are assumed")
    return Fraction(1)


def _frame_rate(media: Media, parameters: Mapping[str, str], line: Line, notes: list[str]) -> Fraction:
    """Frames a second, also of interlaced video (ST 2110-20 section 7.2)."""
    text = parameters.get("exactframerate", "")
    if not text:
        text, line = next(media.attributes("framerate"), ("", line))
        notes.append(f"no exactframerate: {f'a=framerate:{text}' if text else '25 frames a second'} is assumed")
        text = text or "25"
    match = re.fullmatch(r"([0-9]{1,9})(?:/([0-9]{1,9})|\.([0-9]{1,6}))?", text)
    if match is None or (match[2] and int(match[2]) == 0):
        raise line.refuse("a frame rate such as 50 or 60000/1001", text)
    rate = Fraction(text)
    if not 1 <= rate <= RATE_MAX:
        raise line.refuse(f"a frame rate of 1 to {RATE_MAX} frames a second", text)
    if match[3]:
        # A decimal such as 29.97 or 23.976 stands for n x 1000/1001.
        exact = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
        rate = exact if rate.denominator != 1 and abs(exact - rate) < Fraction(1, 100) else rate
    return rate


def emit_video(flow: VideoFlow, session_id: int = 1) -> str:
    """SDP text (CRLF lines) of a video flow that video_flow() reads back; `session_id` rises when the flow changes."""
    shown = flow.format
    rate = str(shown.rate.numerator) if shown.rate.denominator == 1 else f"{shown.rate.numerator}/{shown.rate.denominator}"
    parameters = [f"sampling={shown.sampling}", f"width={shown.width}", f"height={shown.height}", f"exactframerate={rate}", f"depth={shown.depth}"]
    parameters += ["interlace"] * shown.interlaced + ["segmented"] * shown.segmented
    parameters += [f"TCS={shown.transfer}", f"colorimetry={shown.colorimetry}", f"RANGE={shown.range}", f"PM={shown.packing}",
                   "SSN=ST2110-20:2017"]
    parameters += [f"PAR={shown.pixel_aspect.numerator}:{shown.pixel_aspect.denominator}"] * (shown.pixel_aspect != 1)
    parameters += [f"TP={flow.sender_type}"] * (flow.sender_type is not None)
    parameters += [f"TROFF={flow.offset_us}"] * (flow.offset_us is not None)
    parameters += [f"CMAX={flow.c_most}"] * (flow.c_most is not None)
    parameters += [f"MAXUDP={flow.maxudp}"] * (flow.maxudp != _UDP_OCTETS_STANDARD)
    lines = [f"a=fmtp:{flow.payload_type} {''.join(f'{parameter}; ' for parameter in parameters)}"]  # a semicolon and a blank after the last one, too (ST 2110-20 section 7.1)
    lines += [f"a=ssrc:{flow.ssrc} cname:appliance"] * (flow.ssrc is not None)
    return _emit(flow, "video", "raw", lines, session_id)


def emit_metadata(flow: MetadataFlow, session_id: int = 1) -> str:
    """SDP text (CRLF lines) of a metadata flow that metadata_flow() reads back (PS3.22 section 6.2.1)."""
    return _emit(flow, "application", "dicom", [], session_id)


def emit_audio(flow: AudioFlow, session_id: int = 1) -> str:
    """SDP text (CRLF lines) of a sound flow that audio_flow() reads back (ST 2110-30 section 6)."""
    lines = [f"a=ptime:{flow.packet_us / 1000:g}"]
    lines += [f"a=fmtp:{flow.payload_type} channel-order=SMPTE2110.({','.join(flow.groups)})"] * bool(flow.groups)
    return _emit(flow, "audio", f"L{flow.depth}", lines, session_id, f"/{flow.channels}")


def _emit(flow: Flow, kind: str, encoding: str, own_lines: list[str], session_id: int, channels: str = "") -> str:
    """A section for each path, grouped where there are two (RFC 7104)."""
    family = "IP6" if ":" in flow.group else "IP4"
    origin = flow.source_address or ("::1" if family == "IP6" else "127.0.0.1")
    lines = ["v=0", f"o=- {session_id} {session_id} IN {family} {origin}", f"s={flow.title or '-'}", "t=0 0"]
    lines += [f"a=group:DUP {' '.join(PATHS)}"] * (flow.second is not None)
    for path, leg in zip(PATHS, flow.legs):
        family = "IP6" if ":" in leg.group else "IP4"
        ttl = "/32" if family == "IP4" and ipaddress.ip_address(leg.group).is_multicast else ""
        lines += [f"m={kind} {leg.port} RTP/AVP {leg.payload_type}", f"c=IN {family} {leg.group}{ttl}"]
        if leg.source_address:
            lines.append(f"a=source-filter: incl IN {family} {leg.group} {leg.source_address}")
        lines += [f"a=rtpmap:{leg.payload_type} {encoding}/{leg.rate_hz}{channels}"]
        lines += [line.replace(f"a=fmtp:{flow.payload_type} ", f"a=fmtp:{leg.payload_type} ", 1) for line in own_lines]
        lines += [f"a=extmap:{number} {uri}" for uri, number in sorted(leg.extension_ids.items(), key=lambda item: item[1])]
        lines += [f"a=ts-refclk:ptp={leg.ptp or 'IEEE1588-2008:traceable'}", f"a=mediaclk:direct={leg.mediaclk_offset}"]
        lines += [f"a=mid:{path}"] * (flow.second is not None)
    return "".join(f"{line}\r\n" for line in lines)
