"""The de-identifier of one metadata flow: a checked grain in, the grain for a class out. Called by the metadata stage for every grain.

Walks both parts to any depth by rules.RULES and writes what they make. Judges its own work: what it hands out is again a valid grain.
"""
import struct

from appliance.clock import AudienceClock
from appliance.errors import ProtocolError
from appliance.protocol import dicom_rtv
from appliance.protocol.deidentification import profile
from appliance.protocol.deidentification.pseudonyms import Pseudonyms
from appliance.protocol.deidentification.rules import CODED, CREATOR, CREATOR_TAG, META_RULES, NO_ITEMS, REGIONS, RULES, Rule
from appliance.protocol.dicom_elements import Element
from appliance.protocol.dicom_rtv import CheckedGrain
from appliance.version import VERSION

REASONS = ("sop_class", "transfer_syntax", "rate", "oversize", "invalid")
"""Every reason for which a grain is kept from a class: it is of a kind, of a flow or of a clock that no rule knows; it would be too large; what
came of it is no valid grain."""

# Values of these are octets; every other VR's are text, padded by a space, but for UI.
_BINARY = frozenset((b"FD", b"FL", b"OB", b"UL", b"US"))
_LONG = frozenset((b"OB", b"SQ", b"UC", b"UT"))
_META_REASONS = {dicom_rtv.SOP_CLASS: "sop_class", dicom_rtv.TRANSFER_SYNTAX: "transfer_syntax", dicom_rtv.SAMPLING_RATE: "rate"}
_CODE_VALUE, _CODING_SCHEME, _CODE_MEANING = 0x0008_0100, 0x0008_0102, 0x0008_0104
_SHORT_HEADER, _LONG_HEADER, _ITEM_HEADER = struct.Struct("<HH2sH"), struct.Struct("<HH2sHI"), struct.Struct("<HHI")

# Source: PS3.15 section E.1.1 item 8: preamble and meta information give way to a description of the application that de-identified. Table
# 7.1-1 of PS3.22 has no element for it, so the preamble has it.
PREAMBLE = f"De-identified by DICOM-RTV edge appliance {VERSION}; PS3.15 {profile.EDITION} Basic Profile, modified dates".encode().ljust(128, b"\0")[:128]
# Source: PS3.16 CID 7050.
METHODS = ((b"113100", b"Basic Application Confidentiality Profile"),
           (b"113107", b"Retain Longitudinal Temporal Information Modified Dates Option"),
           (b"113111", b"Retain Safe Private Option"))


class Deidentifier:
    """Of one metadata flow. Not for two threads."""

    def __init__(self, clock: AudienceClock) -> None:
        """`clock`: the class's, by which the RTP timestamps and capture times beside the grains are moved."""
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Another session, instance or patient: nothing that leaves from here on can be connected with what left before."""
        self._pseudonyms = Pseudonyms(self._clock)

    def deidentify(self, grain: CheckedGrain) -> bytes:
        """The grain for a class; about 0.2 ms. ProtocolError with one of REASONS: then nothing may be sent on."""
        try:
            octets = self._grain(grain)
        except (ArithmeticError, LookupError, ValueError, struct.error) as error:
            raise ProtocolError("invalid", f"a grain that could not be treated: {type(error).__name__}") from error
        if len(octets) > dicom_rtv.GRAIN_BYTES_MAX:
            raise ProtocolError("oversize", f"de-identified, a grain has {len(octets)} octets; the limit is {dicom_rtv.GRAIN_BYTES_MAX}")
        try:
            dicom_rtv.check_grain(octets)
        except ProtocolError as error:
            raise ProtocolError("invalid", f"de-identified, a grain is none any more: {error.reason}") from error
        return octets

    def _grain(self, grain: CheckedGrain) -> bytes:
        octets = grain.payload
        meta = b"".join(self._meta(octets, element) for element in grain.meta if element.tag != dicom_rtv.GROUP_LENGTH)
        parts = [PREAMBLE, b"DICM", _element(dicom_rtv.GROUP_LENGTH, b"UL", len(meta).to_bytes(4, "little")), meta]
        if grain.dynamic is not None:
            parts += self._elements(octets, [grain.dynamic])
        if grain.static:
            parts += self._static(octets, grain.static)
        return b"".join(parts)

    def _meta(self, octets: bytes, element: Element) -> bytes:
        rule = META_RULES.get(element.tag)
        made = b"" if rule is None else self._value(octets, element, rule, [])
        if not made and element.tag in _META_REASONS:
            raise ProtocolError(_META_REASONS[element.tag], f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) has a value that no rule knows")
        return made

    def _static(self, octets: bytes, elements: list[Element]) -> list[bytes]:
        """The static part, with what says that it was de-identified in its place."""
        parts, added = [], list(_ADDED)
        for element in elements:
            while added and added[0][0] <= element.tag:
                parts.append(added.pop(0)[1])
            parts += self._elements(octets, [element], elements)
        return parts + [octets for _, octets in added]

    def _elements(self, octets: bytes, elements: list[Element], siblings: list[Element] | None = None) -> list[bytes]:
        """What is made of some elements. `siblings`: all of their data set, if these are not."""
        siblings = elements if siblings is None else siblings
        parts = []
        for element in elements:
            rule = RULES.get(element.tag)
            if rule is None or rule.vr != element.vr or element.tag >> 16 == dicom_rtv.INSTRUMENT_GROUP and not _is_ours(octets, siblings):
                continue
            made = self._sequence(octets, element, rule) if element.items is not None else self._value(octets, element, rule, siblings)
            if made:
                parts.append(made)
        return parts

    def _value(self, octets: bytes, element: Element, rule: Rule, siblings: list[Element]) -> bytes:
        """The element with what the rule makes of its value; nothing if the rule makes none, or speaks of another VR."""
        if element.vr != rule.vr:
            return b""
        came = octets[element.value:element.value_end]
        if rule.vr not in _BINARY:
            came = came.strip(b" \0")
        if rule.partner:
            came += b"|" + _text_of(octets, siblings, rule.partner, b"TM")
        made = rule.make(self._pseudonyms, came)
        return b"" if made is None else _element(element.tag, rule.vr, made)

    def _sequence(self, octets: bytes, element: Element, rule: Rule) -> bytes:
        if rule.items == NO_ITEMS:
            return _element(element.tag, b"SQ", b"")
        if rule.items == CODED:
            items = [coded for item in element.items if (coded := _coded(octets, item.elements))]
            return _sequence(element.tag, items) if items else b""
        return _sequence(element.tag, [b"".join(self._elements(octets, item.elements)) for item in element.items])


def _is_ours(octets: bytes, siblings: list[Element]) -> bool:
    """Whether our private block is reserved here. A private element means what its creator says (PS3.5 section 7.8.1)."""
    return _text_of(octets, siblings, CREATOR_TAG, b"LO") == CREATOR


def _text_of(octets: bytes, elements: list[Element], tag: int, vr: bytes) -> bytes:
    """The text of one of the elements, empty without it."""
    for element in elements:
        if element.tag == tag:
            return octets[element.value:element.value_end].strip(b" \0") if element.vr == vr else b""
    return b""


def _coded(octets: bytes, elements: list[Element]) -> bytes:
    """The code of an anatomic region with the standard's own meaning; empty for any other."""
    scheme, value = _text_of(octets, elements, _CODING_SCHEME, b"SH"), _text_of(octets, elements, _CODE_VALUE, b"SH")
    meaning = REGIONS.get((scheme, value))
    return b"" if meaning is None else _code(scheme, value, meaning)


def _code(scheme: bytes, value: bytes, meaning: bytes) -> bytes:
    return _element(_CODE_VALUE, b"SH", value) + _element(_CODING_SCHEME, b"SH", scheme) + _element(_CODE_MEANING, b"LO", meaning)


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == b"UI" or vr in _BINARY else b" "
    if vr in _LONG:
        return _LONG_HEADER.pack(tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return _SHORT_HEADER.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _sequence(tag: int, items: list[bytes]) -> bytes:
    return _element(tag, b"SQ", b"".join(_ITEM_HEADER.pack(0xFFFE, 0xE000, len(item)) + item for item in items))


# Patient Identity Removed, De-identification Method and its codes, Longitudinal Temporal Information Modified (PS3.15 sections E.1.1, E.3.6).
_ADDED = (
    (0x0012_0062, _element(0x0012_0062, b"CS", b"YES")),
    (0x0012_0063, _element(0x0012_0063, b"LO", f"PS3.15 {profile.EDITION} annex E, closed lists of values".encode())),
    (0x0012_0064, _sequence(0x0012_0064, [_code(b"DCM", value, meaning) for value, meaning in METHODS])),
    (0x0028_0303, _element(0x0028_0303, b"CS", b"MODIFIED")),
)
