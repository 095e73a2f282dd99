"""DICOM-RTV grains (PS3.22): build, check, parse, and frame for the data channel.

The source builds, the metadata stage checks. A grain is preamble, DICM, group 0002, the dynamic part (0006,0001) and now and then the
static part (groups from 0008); what is not wholly understood is refused. Reads no RTP (grain.py), hides nothing (deidentification/).
"""
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from pydicom import dcmread
from pydicom.datadict import add_dict_entry, add_private_dict_entries
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from appliance.errors import ProtocolError
from appliance.protocol.dicom_elements import Element, walk

GRAIN_BYTES_MAX = 65_536 - 16
"""Octets of a grain: with its 16-octet header it fits a data-channel message and a record slot of 64 KiB."""
PREAMBLE_BYTES = 128
_META_START = PREAMBLE_BYTES + 4

# Source: PS3.6 Annex A.
VIDEO_ENDOSCOPIC, VIDEO_PHOTOGRAPHIC, AUDIO_WAVEFORM, RENDITION_SELECTION = (f"1.2.840.10008.10.{n}" for n in (1, 2, 3, 4))
ST2110_20_PROGRESSIVE, ST2110_20_INTERLACED, ST2110_30_PCM = (f"1.2.840.10008.1.2.7.{n}" for n in (1, 2, 3))

GROUP_LENGTH, TRANSFER_SYNTAX, META_VERSION = 0x0002_0000, 0x0002_0010, 0x0002_0031
SOP_CLASS, SOP_INSTANCE, SOURCE_ID, FLOW_ID = 0x0002_0032, 0x0002_0033, 0x0002_0035, 0x0002_0036
SAMPLING_RATE, FRAME_DURATION = 0x0002_0037, 0x0002_0038
CURRENT_FRAME_GROUPS = 0x0006_0001
STATIC_FIRST = 0x0008_0000
_STATIC_SOP_INSTANCE = 0x0008_0018

INSTRUMENT_CREATOR = "APPLIANCE INSTRUMENT 1.0"
INSTRUMENT_GROUP, INSTRUMENT_BLOCK = 0x0099, 0x10

# pydicom's dictionary lacks PS3.6 table 9-1.
add_dict_entry(CURRENT_FRAME_GROUPS, "SQ", "CurrentFrameFunctionalGroupsSequence", "Current Frame Functional Groups Sequence", "1")
add_private_dict_entries(INSTRUMENT_CREATOR, {
    0x0099_1001: ("SQ", "1", "Instrument Sequence"),
    0x0099_1002: ("LO", "1", "Instrument Name"),
    0x0099_1003: ("FD", "2", "Instrument Tip Position"),
    0x0099_1004: ("FD", "1", "Insertion Depth"),
    0x0099_1005: ("FD", "1", "Tip Temperature"),
})

# Source: PS3.22 table 7.1-1, Type 1: VR and exact length in octets (None: any but 0).
_META_REQUIRED = {GROUP_LENGTH: (b"UL", 4), TRANSFER_SYNTAX: (b"UI", None), META_VERSION: (b"OB", 2), SOP_CLASS: (b"UI", None),
                  SOP_INSTANCE: (b"UI", None), SOURCE_ID: (b"OB", 16), FLOW_ID: (b"OB", 16)}
_META_OPTIONAL = {SAMPLING_RATE: (b"UL", 4), FRAME_DURATION: (b"FD", 8)}
_META = {**_META_REQUIRED, **_META_OPTIONAL}
# Type 1 elements of the static part. (5200,9229) is the last of them in the byte order, so a video's part cut between two elements lacks it.
_STATIC_REQUIRED = (0x0008_0016, _STATIC_SOP_INSTANCE, 0x0008_0060, 0x0020_000D, 0x0020_000E)
_STATIC_REQUIRED_OF = {AUDIO_WAVEFORM: (0x0034_000A,), RENDITION_SELECTION: ()}
_STATIC_REQUIRED_OF_VIDEO = (0x0034_000A, 0x5200_9229)

REASONS = ("oversize", "preamble", "truncated", "vr", "length", "order", "item", "depth", "group_length", "missing_type1", "uid",
           "unexpected_element", "dynamic_items", "instance_mismatch")
"""Every reason for which check_grain() refuses a grain."""

_UID = re.compile(rb"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\0?")
_MESSAGE = struct.Struct(">BBHIQ")
MESSAGE_VERSION = 1
MESSAGE_STATIC, MESSAGE_DEIDENTIFIED, MESSAGE_COMPANION = 1, 2, 4
"""Bits of a message's flags. COMPANION: it describes no frame of the picture but its sound, another picture, or what belongs together."""
MESSAGE_HEADER_BYTES = _MESSAGE.size


@dataclass(frozen=True)
class Grain:
    """A parsed grain. `dynamic` is the one item of (0006,0001)."""

    meta: Dataset
    dynamic: Dataset | None
    static: Dataset | None

    @property
    def has_static(self) -> bool:
        """Whether the static part was in this grain."""
        return self.static is not None


class CheckedGrain(NamedTuple):
    """A grain that check_grain() found whole; the elements are offsets into `payload`."""

    payload: bytes
    meta: list[Element]
    dynamic: Element | None
    static: list[Element]
    """Elements of the static part, empty without one."""
    class_uid: str
    instance_uid: str
    rate_hz: int
    """RTP clock of the described flow, 0 without a dynamic part."""

    @property
    def has_static(self) -> bool:
        """Whether the static part is in this grain."""
        return bool(self.static)


# ---- building -------------------------------------------------------------------------------------------------------------------


def build_grain(static: Dataset | None, dynamic: Dataset | None, *, instance_uid: str, source_id: bytes, flow_id: bytes, rate_hz: int = 90_000,
                transfer_syntax_uid: str = ST2110_20_PROGRESSIVE, sop_class_uid: str = VIDEO_ENDOSCOPIC, frame_duration_ms: float | None = None) -> bytes:
    """The octets of one grain. `dynamic` is the one item of (0006,0001), `static` the dataset of groups from 0008.

    `source_id` and `flow_id` are the 16 octets of the metadata flow's UUIDs. Raises ProtocolError if the result is not a valid grain:
    most often a Type 1 element of the static part is missing, and the message says which.
    """
    payload = bytes(PREAMBLE_BYTES) + b"DICM" + _meta(instance_uid, source_id, flow_id, rate_hz, transfer_syntax_uid, sop_class_uid, frame_duration_ms)
    if dynamic is not None:
        item = encode(dynamic)
        payload += struct.pack("<HH2sHIHHI", 0x0006, 0x0001, b"SQ", 0, len(item) + 8, 0xFFFE, 0xE000, len(item)) + item
    if static is not None:
        payload += encode(static)
    check_grain(payload)
    return payload


def _meta(instance_uid: str, source_id: bytes, flow_id: bytes, rate_hz: int, transfer_syntax_uid: str, sop_class_uid: str, duration_ms: float | None) -> bytes:
    """Group 0002 of PS3.22 table 7.1-1. pydicom's Part 10 writer would put elements of PS3.10 into it."""
    def uid(tag: int, text: str) -> bytes:
        value = text.encode("ascii")
        value += b"\0" * (len(value) % 2)
        return _short(tag, b"UI", value)

    body = (uid(TRANSFER_SYNTAX, transfer_syntax_uid) + _octets(META_VERSION, b"\x00\x01") + uid(SOP_CLASS, sop_class_uid) + uid(SOP_INSTANCE, instance_uid)
            + _octets(SOURCE_ID, source_id) + _octets(FLOW_ID, flow_id) + _short(SAMPLING_RATE, b"UL", struct.pack("<I", rate_hz)))
    if duration_ms is not None:
        body += _short(FRAME_DURATION, b"FD", struct.pack("<d", duration_ms))
    return _short(GROUP_LENGTH, b"UL", struct.pack("<I", len(body))) + body


def _short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _octets(tag: int, value: bytes) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"OB", 0, len(value)) + value


def encode(dataset: Dataset) -> bytes:
    """A dataset in Explicit VR Little Endian without any header; cost about 0.3 ms for a dynamic item."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def origin_timestamp(instant_tai_ns: int) -> bytes:
    """Value of (0034,0007) and of the header extension: 48 bit seconds and 32 bit nanoseconds, TAI, big-endian (C.7.6.27, as in IEEE 1588)."""
    seconds, nanoseconds = divmod(instant_tai_ns, 1_000_000_000)
    return seconds.to_bytes(6, "big") + nanoseconds.to_bytes(4, "big")


def tip_item(x: float, y: float, *, name: str = "Grasper", depth_mm: float = 0.0, temperature_c: float = 37.0) -> Dataset:
    """One item of our private Instrument Sequence. (x, y): the tip in pixels of the full raster, (0, 0) the centre of the top-left pixel."""
    item = Dataset()
    block = item.private_block(INSTRUMENT_GROUP, INSTRUMENT_CREATOR, create=True)
    block.add_new(0x02, "LO", name)
    block.add_new(0x03, "FD", [float(x), float(y)])
    block.add_new(0x04, "FD", float(depth_mm))
    block.add_new(0x05, "FD", float(temperature_c))
    return item


def frame_time_item(origin_tai_ns: int) -> Dataset:
    """The item of (0006,0001) with what every dynamic part must say, a sound's too: when it was captured."""
    item, time_of_frame = Dataset(), Dataset()
    time_of_frame.FrameOriginTimestamp = origin_timestamp(origin_tai_ns)
    item.TimeOfFrameGroupSequence = [time_of_frame]
    return item


def frame_item(origin_tai_ns: int, acquisition_number: int, instruments: Sequence[Dataset] = (), includes_subject: bool = True) -> Dataset:
    """The item of (0006,0001) for one frame: origin time, number (mod 65536), usefulness and instruments made by tip_item()."""
    item, content, usefulness = frame_time_item(origin_tai_ns), Dataset(), Dataset()
    content.FrameAcquisitionNumber = acquisition_number & 0xFFFF
    usefulness.IncludesImagingSubject = "YES" if includes_subject else "NO"
    usefulness.IncludesInformation = "YES"
    item.FrameContentSequence = [content]
    item.FrameUsefulnessGroupSequence = [usefulness]
    if instruments:
        item.private_block(INSTRUMENT_GROUP, INSTRUMENT_CREATOR, create=True).add_new(0x01, "SQ", list(instruments))
    return item


# ---- checking and parsing -------------------------------------------------------------------------------------------------------


def check_grain(payload: bytes) -> CheckedGrain:
    """Walk a grain from first to last octet and check what PS3.22 demands. Raises ProtocolError; about 0.1 ms for a dynamic grain.

    A cut exactly between the dynamic and the static part leaves a valid grain: only the RTP layer (grain.py) can see that.
    """
    if len(payload) > GRAIN_BYTES_MAX:
        raise ProtocolError("oversize", f"a grain of {len(payload)} octets, the limit is {GRAIN_BYTES_MAX}")
    if payload[PREAMBLE_BYTES:_META_START] != b"DICM":
        raise ProtocolError("preamble", f"no DICM at octet {PREAMBLE_BYTES} of {len(payload)}")
    elements = walk(payload, _META_START)
    meta = [element for element in elements if element.tag < 0x0003_0000]
    rest = elements[len(meta):]
    by_tag = _check_meta(payload, meta)
    dynamic = rest[0] if rest and rest[0].tag == CURRENT_FRAME_GROUPS else None
    static = rest[dynamic is not None:]
    for element in static[:1]:
        if element.tag < STATIC_FIRST:
            raise ProtocolError("unexpected_element", f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) is no part of a grain")
    if dynamic is not None:
        if dynamic.items is None or len(dynamic.items) != 1:
            raise ProtocolError("dynamic_items", "(0006,0001) is a sequence of exactly one item (C.7.6.27)")
        if SAMPLING_RATE not in by_tag:
            raise ProtocolError("missing_type1", "(0002,0037) is required beside a dynamic part")
    elif not static:
        raise ProtocolError("truncated", "a grain of meta information alone")
    instance_uid = _text(payload, by_tag[SOP_INSTANCE])
    class_uid = _text(payload, by_tag[SOP_CLASS])
    if static:
        _check_static(payload, static, instance_uid, class_uid)
    rate_hz = int.from_bytes(_value(payload, by_tag[SAMPLING_RATE]), "little") if dynamic is not None else 0
    return CheckedGrain(payload, meta, dynamic, static, class_uid, instance_uid, rate_hz)


def _check_meta(payload: bytes, meta: list[Element]) -> dict[int, Element]:
    by_tag = {element.tag: element for element in meta}
    for tag in _META_REQUIRED:
        if tag not in by_tag:
            raise ProtocolError("group_length" if tag == GROUP_LENGTH else "missing_type1", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing")
    for tag, (vr, length) in _META.items():
        element = by_tag.get(tag)
        if element is None:
            continue
        octets = element.value_end - element.value
        if element.vr != vr:
            raise ProtocolError("vr", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has VR {element.vr.decode()}, not {vr.decode()}")
        if octets != length if length is not None else octets == 0:
            raise ProtocolError("missing_type1" if octets == 0 else "length", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has {octets} octets")
        if vr == b"UI" and (octets > 64 or not _UID.fullmatch(_value(payload, element))):
            raise ProtocolError("uid", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is no valid UID")
    claimed = int.from_bytes(_value(payload, by_tag[GROUP_LENGTH]), "little")
    if claimed != meta[-1].end - by_tag[GROUP_LENGTH].end:
        raise ProtocolError("group_length", f"group 0002 claims {claimed} octets and has {meta[-1].end - by_tag[GROUP_LENGTH].end}")
    return by_tag


def _check_static(payload: bytes, static: list[Element], instance_uid: str, class_uid: str) -> None:
    by_tag = {element.tag: element for element in static}
    for tag in _STATIC_REQUIRED + _STATIC_REQUIRED_OF.get(class_uid, _STATIC_REQUIRED_OF_VIDEO):
        if tag not in by_tag or by_tag[tag].value == by_tag[tag].value_end:
            raise ProtocolError("missing_type1", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) of the static part is missing or empty")
    # Metadata that contradicts itself about whose it is cannot be attributed to anybody.
    if _text(payload, by_tag[_STATIC_SOP_INSTANCE]) != instance_uid:
        raise ProtocolError("instance_mismatch", "(0008,0018) and (0002,0033) name different instances")


def _value(payload: bytes, element: Element) -> bytes:
    return payload[element.value:element.value_end]


def _text(payload: bytes, element: Element) -> str:
    return _value(payload, element).rstrip(b"\0 ").decode("latin-1")


def parse_grain(payload: bytes) -> Grain:
    """A checked grain as pydicom datasets; about 0.3 ms, for tests and tools. Raises ProtocolError."""
    checked = check_grain(payload)
    whole = dcmread(BytesIO(payload))
    static = Dataset({tag: element for tag, element in whole.items() if tag >= STATIC_FIRST}) if checked.has_static else None
    dynamic = whole.CurrentFrameFunctionalGroupsSequence[0] if checked.dynamic is not None else None
    return Grain(meta=whole.file_meta, dynamic=dynamic, static=static)


def message(payload: bytes, rtp_timestamp: int, capture_tai_ns: int, has_static: bool, deidentified: bool = False, companion: bool = False) -> bytes:
    """The data-channel message of one grain: version u8, flags u8 (MESSAGE_*), reserved u16, RTP timestamp u32, capture time u64 (TAI ns, on the
    audience's clock), payload."""
    flags = MESSAGE_STATIC * has_static | MESSAGE_DEIDENTIFIED * deidentified | MESSAGE_COMPANION * companion
    return _MESSAGE.pack(MESSAGE_VERSION, flags, 0, rtp_timestamp, capture_tai_ns) + payload
