"""Whose grain it is: of which kind, of which flows, of which patient (PS3.22 sections 6.2 and 7; PS3.3 C.7.6.26).

The metadata stage asks it of every grain that dicom_rtv.check_grain() found whole. A grain that contradicts itself, its packets or its SDP
can be attributed to nobody and is refused; what a sender merely left out is named and put up with. Keeps no state.
"""
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from pydicom.datadict import keyword_for_tag

from appliance.errors import ProtocolError
from appliance.protocol import dicom_rtv
from appliance.protocol.dicom_elements import Element
from appliance.protocol.dicom_rtv import CheckedGrain

_NMOS = "urn:x-nmos:rtp-hdrext:"
SYNC_URI, ORIGIN_URI, FLOW_URI, SOURCE_URI = (_NMOS + name for name in ("sync-timestamp", "origin-timestamp", "flow-id", "source-id"))
_UUID_BYTES, _TIME_BYTES = 16, 10

REASONS = ("sop_class", "flow_mismatch", "rate_mismatch")
"""Every reason for which attribute() refuses a grain."""


class Kind(str, Enum):
    """What a metadata flow describes."""

    VIDEO = "video"
    AUDIO = "audio"
    RENDITION = "rendition"  # which flows belong together


# Source: PS3.6 Annex A.
_KINDS = {dicom_rtv.VIDEO_ENDOSCOPIC: Kind.VIDEO, dicom_rtv.VIDEO_PHOTOGRAPHIC: Kind.VIDEO, dicom_rtv.AUDIO_WAVEFORM: Kind.AUDIO,
          dicom_rtv.RENDITION_SELECTION: Kind.RENDITION}

_FLOWS, _FLOW_ITEMS, _FLOW_UUID, _FLOW_SYNTAX, _FLOW_RATE = 0x0034_000A, 0x0034_0001, 0x0034_0002, 0x0034_0003, 0x0034_0004
_TIME_OF_FRAME, _ORIGIN_TIMESTAMP = 0x0034_000D, 0x0034_0007
_SUBJECT = (0x0010_0010, 0x0010_0020, 0x0020_000D)  # Patient's Name, Patient ID, Study Instance UID

# Type 1 of the modules that an IOD must have (PS3.3 A.32.9, A.32.10, A.34.11, A.35.21), beyond what check_grain() insists on: without these a
# grain still says whose it is. The static part's elements.
_EQUIPMENT = (0x0008_0070, 0x0008_1090, 0x0018_1000, 0x0018_1020)
_SYNCHRONISATION = (0x0018_106A, 0x0018_1800, 0x0020_0200)
_PICTURE = (0x0008_0008, 0x0022_0028, 0x0028_0002, 0x0028_0004, 0x0028_0100, 0x0028_0101, 0x0028_0102, 0x0028_0103)
_ICC_PROFILE = 0x0028_2000
_EVIDENCE = 0x0040_A375
_EXPECTED = {
    dicom_rtv.VIDEO_ENDOSCOPIC: _EQUIPMENT + _SYNCHRONISATION + _PICTURE + (_ICC_PROFILE,),
    dicom_rtv.VIDEO_PHOTOGRAPHIC: _EQUIPMENT + _SYNCHRONISATION + _PICTURE,
    dicom_rtv.AUDIO_WAVEFORM: _EQUIPMENT + _SYNCHRONISATION,
    dicom_rtv.RENDITION_SELECTION: _EQUIPMENT + (_EVIDENCE,),
}


class Announced(NamedTuple):
    """What the first packet's header extension says of the grain; None where it says nothing (PS3.22 section 6.2.1)."""

    source_id: bytes | None = None
    flow_id: bytes | None = None
    sync: bytes | None = None
    origin: bytes | None = None


class Attribution(NamedTuple):
    """What is known of a grain beyond its octets."""

    kind: Kind
    subject: tuple[bytes, ...] | None
    """Values of Patient's Name, Patient ID and Study Instance UID, padding included; None without a static part."""
    missing: tuple[str, ...]
    """Keywords of Type 1 elements that the sender left out, though PS3.3 asks for them."""


def announced(elements: Mapping[int, bytes], extension_ids: Mapping[str, int]) -> Announced:
    """The header extension's elements by what the SDP's a=extmap calls them. One of a wrong length says nothing."""
    def value(uri: str, octets: int) -> bytes | None:
        found = elements.get(extension_ids.get(uri, 0))
        return found if found is not None and len(found) == octets else None

    return Announced(value(SOURCE_URI, _UUID_BYTES), value(FLOW_URI, _UUID_BYTES), value(SYNC_URI, _TIME_BYTES), value(ORIGIN_URI, _TIME_BYTES))


def attribute(grain: CheckedGrain, told: Announced, rate_hz: int) -> Attribution:
    """Whose the grain is. `rate_hz` is the RTP clock of the metadata flow's SDP, which the described flow shares.

    Raises ProtocolError with reason sop_class, flow_mismatch or rate_mismatch. About 10 us, 30 with a static part.
    """
    kind = _KINDS.get(grain.class_uid)
    if kind is None:
        raise ProtocolError("sop_class", f"(0002,0032) names SOP class {grain.class_uid}, none of the real-time communication classes of PS3.22")
    meta = {element.tag: element for element in grain.meta}
    for tag, said in ((dicom_rtv.SOURCE_ID, told.source_id), (dicom_rtv.FLOW_ID, told.flow_id)):
        if said is not None and said != _value(grain, meta[tag]):
            raise ProtocolError("flow_mismatch", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) and the packet's header extension name different flows")
    if grain.dynamic is not None and grain.rate_hz != rate_hz:
        raise ProtocolError("rate_mismatch", f"(0002,0037) says {grain.rate_hz} Hz, the SDP {rate_hz}")
    missing = () if grain.dynamic is None else _missing_of_frame(grain)
    if not grain.static:
        return Attribution(kind, None, missing)
    static = {element.tag: element for element in grain.static}
    if kind is not Kind.RENDITION:
        _check_flows(grain, static[_FLOWS], _value(grain, meta[dicom_rtv.TRANSFER_SYNTAX]))
    missing += tuple(keyword_for_tag(tag) for tag in _EXPECTED[grain.class_uid] if tag not in static or _is_empty(static[tag]))
    return Attribution(kind, tuple(_value(grain, static[tag]) if tag in static else b"" for tag in _SUBJECT), missing)


def _check_flows(grain: CheckedGrain, flows: Element, syntax: bytes) -> None:
    """One of the flows that the static part lists is the one that group 0002 speaks of (C.7.6.26.1.3 and 4)."""
    listed = [{element.tag: element for element in item.elements} for source in flows.items or () for entry in source.elements
              if entry.tag == _FLOW_ITEMS for item in entry.items or ()]
    for flow in listed:
        if any(tag not in flow or _is_empty(flow[tag]) for tag in (_FLOW_UUID, _FLOW_SYNTAX, _FLOW_RATE)):
            raise ProtocolError("flow_mismatch", "a flow in (0034,0001) lacks its identifier, its transfer syntax or its rate")
    rates = [int.from_bytes(_value(grain, flow[_FLOW_RATE]), "little") for flow in listed
             if _value(grain, flow[_FLOW_SYNTAX]).rstrip(b"\0") == syntax.rstrip(b"\0")]
    if not rates:
        raise ProtocolError("flow_mismatch", f"no flow in (0034,000A) has the transfer syntax {syntax.decode('ascii')} of (0002,0010)")
    if grain.dynamic is not None and grain.rate_hz not in rates:
        raise ProtocolError("rate_mismatch", f"(0002,0037) says {grain.rate_hz} Hz, (0034,0004) {', '.join(map(str, rates))}")


def _missing_of_frame(grain: CheckedGrain) -> tuple[str, ...]:
    """The time of the frame's origin is of Type 1 in every dynamic part (C.7.6.27)."""
    for element in grain.dynamic.items[0].elements:
        if element.tag == _TIME_OF_FRAME and element.items:
            if any(inner.tag == _ORIGIN_TIMESTAMP and inner.value_end - inner.value == _TIME_BYTES for inner in element.items[0].elements):
                return ()
    return ("FrameOriginTimestamp",)


def _is_empty(element: Element) -> bool:
    return element.value == element.value_end


def _value(grain: CheckedGrain, element: Element) -> bytes:
    return grain.payload[element.value:element.value_end]
