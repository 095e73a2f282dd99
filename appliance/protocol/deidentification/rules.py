"""RULES: what becomes of each attribute of a grain, at whatever depth it stands. Whatever has no rule, or another VR than its rule, is gone.

Made once from the profile and the lists below; engine.py applies it. No rule passes free text: a value that leaves is made here, is one of a
closed list, or is a number within its limits.
"""
import json
import struct
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

from appliance.protocol import dicom_rtv, icc
from appliance.protocol.deidentification import profile
from appliance.protocol.deidentification.pseudonyms import Pseudonyms

Make = Callable[[Pseudonyms, bytes], bytes | None]
"""The value that leaves for one that came, without padding; None: the element does not leave."""


class Rule(NamedTuple):
    """What becomes of one attribute. A sequence has no `make`: `items` says which become of its items."""

    vr: bytes
    make: Make | None = None
    items: str = ""
    partner: int = 0
    """Of a DA: the TM that belongs to it."""


WALKED, CODED, NO_ITEMS = "walked", "coded", "none"
"""A sequence's items: walked by the same rules; a code from REGIONS each; left out, so that the sequence is empty."""

REGIONS = {(scheme.encode(), value.encode()): meaning.encode()
           for scheme, value, meaning in json.loads(files(__package__).joinpath("regions.json").read_text(encoding="utf-8"))["rows"]}
"""{(coding scheme designator, code value): code meaning} of the anatomic regions: the meaning that leaves is the standard's, not the sender's."""

CREATOR_TAG = dicom_rtv.INSTRUMENT_GROUP << 16 | dicom_rtv.INSTRUMENT_BLOCK
CREATOR = dicom_rtv.INSTRUMENT_CREATOR.encode()
WITHHELD = b"WITHHELD"

_BLOCK = dicom_rtv.INSTRUMENT_GROUP << 16 | dicom_rtv.INSTRUMENT_BLOCK << 8
# The standard's own, which say nothing of anybody (PS3.6 table A-2).
_WELL_KNOWN_UIDS = (b"1.2.840.10008.15.1.1",)
_UUIDS = (0x0034_0002, 0x0034_0005)
_FRAME_ORIGIN_TIMESTAMP = 0x0034_0007
_FLOW_IDENTIFIERS = 0x0034_0001
_TIME_OF_DATE = {0x0008_0000 | date: 0x0008_0010 | date for date in range(0x0020, 0x0026)} | {0x0040_0244: 0x0040_0245, 0x0040_0250: 0x0040_0251,
                                                                                           0x0040_0002: 0x0040_0003, 0x0008_0012: 0x0008_0013}
_DUMMIES = {b"DA": b"19000101", b"TM": b"000000", b"DT": b"19000101000000", b"AS": b"000D", b"IS": b"0", b"DS": b"0",
            **dict.fromkeys((b"AE", b"CS", b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT"), WITHHELD)}
_MAGNITUDE_LEAST, _MAGNITUDE_MOST = 1e-6, 1e6
_RATE_MOST = 1000.0
_LENGTH_MOST = 65_534  # of a value in a short element

# A name is free text, into which anything may have been typed: only what kind of instrument it is may be told, and who made the device.
_INSTRUMENTS = (b"Clip Applier", b"Coagulator", b"Dissector", b"Endoscope", b"Forceps", b"Grasper", b"Hook", b"Instrument", b"Irrigator",
                b"Needle Holder", b"Probe", b"Retractor", b"Scalpel", b"Scissors", b"Stapler", b"Suction", b"Trocar")
_MANUFACTURERS = (b"Aesculap", b"Arthrex", b"B. Braun", b"Barco", b"ConMed", b"EIZO", b"FUJIFILM", b"Fujifilm", b"HOYA", b"Intuitive Surgical", b"KARL STORZ",
                  b"Karl Storz", b"Leica Microsystems", b"Medtronic", b"OLYMPUS", b"Olympus", b"Olympus Medical Systems Corp.", b"PENTAX Medical",
                  b"Richard Wolf", b"Richard Wolf GmbH", b"Smith & Nephew", b"Sony", b"Stryker", b"Synthetic Optics", b"Zeiss", b"Carl Zeiss Meditec")
_TRANSFER_SYNTAXES = tuple(uid.encode() for uid in (dicom_rtv.ST2110_20_PROGRESSIVE, dicom_rtv.ST2110_20_INTERLACED, dicom_rtv.ST2110_30_PCM))
_SOP_CLASSES = tuple(uid.encode() for uid in (dicom_rtv.VIDEO_ENDOSCOPIC, dicom_rtv.VIDEO_PHOTOGRAPHIC, dicom_rtv.AUDIO_WAVEFORM))


# ---- what rules make ------------------------------------------------------------------------------------------------------------


def _fixed(value: bytes | None) -> Make:
    return lambda pseudonyms, came: value


def _one_of(values: Iterable[bytes], otherwise: bytes | None = None) -> Make:
    known = frozenset(values)
    return lambda pseudonyms, came: came if came in known else otherwise


def _all_of(values: Iterable[bytes]) -> Make:
    known = frozenset(values)
    return lambda pseudonyms, came: came if known.issuperset(came.split(b"\\")) else None


def _numbers(count: int) -> Make:
    """`count` doubles of usual magnitude, to the precision of a single: a text in their place is none, and would not outlast it."""
    double, single = struct.Struct(f"<{count}d"), struct.Struct(f"<{count}f")

    def make(_: Pseudonyms, came: bytes) -> bytes | None:
        if len(came) != double.size:
            return None
        values = double.unpack(came)
        for value in values:
            if value and not _MAGNITUDE_LEAST <= abs(value) <= _MAGNITUDE_MOST:
                return None
        return double.pack(*single.unpack(single.pack(*values)))
    return make


def _rate(_: Pseudonyms, came: bytes) -> bytes | None:
    value, = struct.unpack("<f", came) if len(came) == 4 else (0.0,)
    return struct.pack("<f", round(value, 2)) if 1.0 <= value <= _RATE_MOST else None


def _octet_pair(_: Pseudonyms, came: bytes) -> bytes | None:
    return came if len(came) == 2 else None


def _uids(pseudonyms: Pseudonyms, came: bytes) -> bytes | None:
    told = b"\\".join(uid if uid in _WELL_KNOWN_UIDS else pseudonyms.uid(uid) for uid in came.split(b"\\")) if came else b""
    return told if len(told) <= _LENGTH_MOST else None


def _uuid(pseudonyms: Pseudonyms, came: bytes) -> bytes:
    return pseudonyms.uuid(came)


def _frame_time(pseudonyms: Pseudonyms, came: bytes) -> bytes:
    return pseudonyms.frame_time(came)


def _frame_number(pseudonyms: Pseudonyms, came: bytes) -> bytes | None:
    return pseudonyms.frame_number(came)


def _modified(vr: bytes, otherwise: bytes | None) -> Make:
    def make(pseudonyms: Pseudonyms, came: bytes) -> bytes | None:
        told = pseudonyms.time(came) if vr == b"TM" else pseudonyms.date_time(came)
        return otherwise if told is None else told
    return make


def _modified_date(otherwise: bytes | None) -> Make:
    """Of a DA; the engine hands it over with a bar and the TM that belongs to it behind, where there is one."""
    def make(pseudonyms: Pseudonyms, came: bytes) -> bytes | None:
        date, _, time = came.partition(b"|")
        told = pseudonyms.date(date, time)
        return otherwise if told is None else told
    return make


# ---- the table ------------------------------------------------------------------------------------------------------------------


def _by_profile() -> dict[int, Rule]:
    """A rule for each attribute that the profile does not remove."""
    rules = {}
    for tag, action in profile.actions().items():
        try:
            vr = dictionary_VR(tag).encode()
        except KeyError:
            continue  # newer than the dictionary: its VR is not known, so it is not kept
        rule = _rule(tag, vr, action)
        if rule is not None:
            rules[tag] = rule
    return rules


def _rule(tag: int, vr: bytes, action: str) -> Rule | None:
    if tag in _UUIDS:
        return Rule(vr, _uuid)
    if tag == _FRAME_ORIGIN_TIMESTAMP:
        return Rule(vr, _frame_time)
    if action == profile.MODIFY:
        basic = profile.basic_action(tag)
        otherwise = {profile.DUMMY: _DUMMIES.get(vr), profile.EMPTY: b""}.get(basic)
        if vr == b"DA":
            return Rule(vr, _modified_date(otherwise), partner=_TIME_OF_DATE.get(tag, 0))
        if vr in (b"TM", b"DT"):
            return Rule(vr, _modified(vr, otherwise))
        action = basic
    if action == profile.UID or action == profile.DUMMY and vr == b"UI":
        return Rule(vr, _uids) if vr == b"UI" else None
    if action == profile.EMPTY:
        return Rule(vr, items=NO_ITEMS) if vr == b"SQ" else Rule(vr, _fixed(b""))
    if action == profile.DUMMY and vr in _DUMMIES:
        return Rule(vr, _fixed(_DUMMIES[vr]))
    # A dummy for a sequence that no Real-Time Communication IOD needs would say no more than its absence.
    return Rule(vr, items=WALKED) if tag == _FLOW_IDENTIFIERS else None


_YES_NO = Rule(b"CS", _one_of((b"YES", b"NO")))
_Y_N = Rule(b"CS", _one_of((b"Y", b"N")))
_SMALL = Rule(b"US", _octet_pair)
_WALKED = Rule(b"SQ", items=WALKED)
_NOT_TOLD = Rule(b"LO", _fixed(WITHHELD))
_POINT = Rule(b"FD", _numbers(3))
_NUMBER = Rule(b"FD", _numbers(1))

# Of what the profile does not speak of: that which the Real-Time Communication IODs need, and what a class can learn from.
_KEPT: dict[int, Rule] = {
    0x0006_0001: _WALKED,                                                       # Current Frame Functional Groups Sequence
    0x0008_0005: Rule(b"CS", _fixed(b"ISO_IR 192")),                            # Specific Character Set: what leaves is ASCII
    0x0008_0008: Rule(b"CS", _all_of((b"ORIGINAL", b"DERIVED", b"PRIMARY", b"SECONDARY", b"STEREO L", b"STEREO R"))),  # Image Type
    0x0008_0016: Rule(b"UI", _one_of(_SOP_CLASSES)),                            # SOP Class UID
    0x0008_0060: Rule(b"CS", _one_of((b"ES", b"XC", b"AU", b"GM", b"OP", b"OT"), b"OT")),  # Modality
    0x0008_0070: Rule(b"LO", _one_of(_MANUFACTURERS, WITHHELD)),                # Manufacturer
    0x0008_1090: _NOT_TOLD,                                                     # Manufacturer's Model Name
    0x0008_2218: Rule(b"SQ", items=CODED),                                      # Anatomic Region Sequence
    0x0008_9459: Rule(b"FL", _rate),                                            # Recommended Display Frame Rate in Float
    0x0018_1020: _NOT_TOLD,                                                     # Software Versions
    0x0018_106A: Rule(b"CS", _one_of((b"SOURCE", b"EXTERNAL", b"PASSTHRU", b"NO TRIGGER"))),  # Synchronization Trigger
    0x0018_1800: _Y_N,                                                          # Acquisition Time Synchronized
    0x0018_1802: Rule(b"CS", _one_of((b"PTP", b"NTP", b"GPS", b"SNTP", b"IRIG"))),  # Time Distribution Protocol
    0x0018_9004: Rule(b"CS", _one_of((b"PRODUCT", b"RESEARCH", b"SERVICE"))),   # Content Qualification
    0x0018_9220: _NUMBER,                                                       # Frame Acquisition Duration
    0x0020_0011: Rule(b"IS", _fixed(b"")),                                      # Series Number, Type 2
    0x0020_0013: Rule(b"IS", _fixed(b"")),                                      # Instance Number, Type 2
    0x0020_0020: Rule(b"CS", _fixed(b"")),                                      # Patient Orientation, Type 2C
    0x0020_0060: Rule(b"CS", _one_of((b"R", b"L"), b"")),                       # Laterality, Type 2C
    0x0020_1040: Rule(b"LO", _fixed(b"")),                                      # Position Reference Indicator, Type 2
    0x0020_9071: _WALKED,                                                       # Frame Anatomy Sequence
    0x0020_9072: Rule(b"CS", _one_of((b"R", b"L", b"U", b"B"))),                # Frame Laterality
    0x0020_9111: _WALKED,                                                       # Frame Content Sequence
    0x0020_9156: Rule(b"US", _frame_number),                                    # Frame Acquisition Number
    0x0022_0028: _YES_NO,                                                       # Stereo Pairs Present
    0x0028_0002: _SMALL,                                                        # Samples per Pixel
    0x0028_0004: Rule(b"CS", _one_of((b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_PARTIAL_420", b"YBR_PARTIAL_422"))),  # Photometric Interpretation
    **dict.fromkeys((0x0028_0006, 0x0028_0100, 0x0028_0101, 0x0028_0102, 0x0028_0103), _SMALL),  # Planar Configuration, bits, Pixel Representation
    0x0028_0301: _YES_NO,                                                       # Burned In Annotation: nothing was done to the pixels
    0x0028_2000: Rule(b"OB", _fixed(icc.profile())),                            # ICC Profile: the camera's may have text and serial numbers
    0x0028_2110: Rule(b"CS", _one_of((b"00", b"01"), b"")),                     # Lossy Image Compression, Type 2
    0x0034_0003: Rule(b"UI", _one_of(_TRANSFER_SYNTAXES)),                      # Flow Transfer Syntax UID
    0x0034_0004: Rule(b"UL", _one_of(rate.to_bytes(4, "little") for rate in (90_000, 44_100, 48_000, 96_000))),  # Flow RTP Sampling Rate
    0x0034_0008: _YES_NO,                                                       # Includes Imaging Subject
    0x0034_0009: _WALKED,                                                       # Frame Usefulness Group Sequence
    0x0034_000A: _WALKED,                                                       # Real-Time Bulk Data Flow Sequence
    0x0034_000B: _WALKED,                                                       # Camera Position Group Sequence
    0x0034_000C: _YES_NO,                                                       # Includes Information
    0x0034_000D: _WALKED,                                                       # Time of Frame Group Sequence
    0x0070_1602: Rule(b"CS", _one_of((b"PERSPECTIVE",))),                       # Render Projection
    **dict.fromkeys((0x0070_1603, 0x0070_1604, 0x0070_1605), _POINT),           # Viewpoint Position, Look-At Point, Up Direction
    0x0070_1606: Rule(b"FD", _numbers(6)),                                      # Render Field of View
    0x5200_9229: _WALKED,                                                       # Shared Functional Groups Sequence
    # Our own private block, known to be safe (section E.3.10).
    CREATOR_TAG: Rule(b"LO", _one_of((CREATOR,))),
    _BLOCK | 0x01: _WALKED,
    _BLOCK | 0x02: Rule(b"LO", _one_of(_INSTRUMENTS, b"Instrument")),
    _BLOCK | 0x03: Rule(b"FD", _numbers(2)),
    _BLOCK | 0x04: _NUMBER,
    _BLOCK | 0x05: _NUMBER,
}

RULES: dict[int, Rule] = _by_profile() | _KEPT

META_RULES: dict[int, Rule] = {
    dicom_rtv.TRANSFER_SYNTAX: Rule(b"UI", _one_of(_TRANSFER_SYNTAXES)),
    dicom_rtv.META_VERSION: Rule(b"OB", _fixed(b"\0\1")),
    dicom_rtv.SOP_CLASS: Rule(b"UI", _one_of(_SOP_CLASSES)),
    dicom_rtv.SOP_INSTANCE: Rule(b"UI", _uids),
    dicom_rtv.SOURCE_ID: Rule(b"OB", _uuid),
    dicom_rtv.FLOW_ID: Rule(b"OB", _uuid),
    dicom_rtv.SAMPLING_RATE: RULES[0x0034_0004],
    dicom_rtv.FRAME_DURATION: _NUMBER,
}
"""Group 0002, which the profile does not speak of: section E.1.1 item 8 has it replaced."""
