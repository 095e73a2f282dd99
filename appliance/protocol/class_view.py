"""What a class may see of a grain: the dynamic part, reduced to a list of elements known to identify nobody (design section 8).

The metadata stage calls it before anything leaves for a class viewer. Nothing passes that is not in the table below, with the VR, length
and values given there; unchanged, but for unknown names and the SOP Instance UID. Full de-identification (PS3.15 annex E) is not done here.
"""
import hashlib
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.errors import ProtocolError
from appliance.protocol import dicom_rtv
from appliance.protocol.dicom_elements import UNDEFINED, Element, Item
from appliance.protocol.dicom_rtv import CheckedGrain, check_grain


@dataclass(frozen=True)
class Keep:
    """An element that passes if its VR fits, its length is one of `lengths` and its value, less padding, one of `values` (where given).

    Where there is a `substitute`, any other value is replaced by it instead of being left out.
    """

    vr: bytes
    lengths: tuple[int, ...] | range = ()
    values: tuple[bytes, ...] = ()
    items: Mapping[int, "Keep"] | None = None
    substitute: bytes = b""


_YES_NO = Keep(b"CS", range(2, 5), (b"YES", b"NO"))
_POINT = Keep(b"FD", (24,))
_NUMBER = Keep(b"FD", (8,))
_CREATOR_TAG = dicom_rtv.INSTRUMENT_GROUP << 16 | dicom_rtv.INSTRUMENT_BLOCK
_BLOCK = dicom_rtv.INSTRUMENT_GROUP << 16 | dicom_rtv.INSTRUMENT_BLOCK << 8
_CREATOR = Keep(b"LO", (24,), (dicom_rtv.INSTRUMENT_CREATOR.encode(),))
# A name is free text, into which anything may have been typed: only what kind of instrument it is may be told.
_INSTRUMENT_NAMES = (b"Clip Applier", b"Coagulator", b"Dissector", b"Endoscope", b"Forceps", b"Grasper", b"Hook", b"Instrument", b"Irrigator",
                     b"Needle Holder", b"Probe", b"Retractor", b"Scalpel", b"Scissors", b"Stapler", b"Suction", b"Trocar")
# Free text and dates are left out on purpose: Frame Comments, Frame Label, Frame Acquisition and Reference DateTime.
_INSTRUMENT = {
    _CREATOR_TAG: _CREATOR,
    _BLOCK | 0x02: Keep(b"LO", range(2, 66, 2), _INSTRUMENT_NAMES, substitute=b"Instrument"),
    _BLOCK | 0x03: Keep(b"FD", (16,)),
    _BLOCK | 0x04: _NUMBER,
    _BLOCK | 0x05: _NUMBER,
}
DYNAMIC_KEPT: Mapping[int, Keep] = {
    0x0020_9111: Keep(b"SQ", items={0x0018_9220: _NUMBER, 0x0020_9156: Keep(b"US", (2,))}),
    0x0034_0009: Keep(b"SQ", items={0x0034_0008: _YES_NO, 0x0034_000C: _YES_NO}),
    0x0034_000B: Keep(b"SQ", items={0x0070_1602: Keep(b"CS", (12,), (b"PERSPECTIVE",)), 0x0070_1603: _POINT, 0x0070_1604: _POINT,
                                    0x0070_1605: _POINT, 0x0070_1606: Keep(b"FD", (48,))}),
    0x0034_000D: Keep(b"SQ", items={0x0034_0007: Keep(b"OB", (10,))}),
    _CREATOR_TAG: _CREATOR,
    _BLOCK | 0x01: Keep(b"SQ", items=_INSTRUMENT),
}
"""Elements of the one item of (0006,0001) that a class viewer gets."""

# Table 7.1-1 without the private information (0002,0100) and (0002,0102); check_grain() has judged VR and length of these.
_META_KEPT = frozenset((dicom_rtv.TRANSFER_SYNTAX, dicom_rtv.META_VERSION, dicom_rtv.SOP_CLASS, dicom_rtv.SOP_INSTANCE, dicom_rtv.SOURCE_ID,
                        dicom_rtv.FLOW_ID, dicom_rtv.SAMPLING_RATE, dicom_rtv.FRAME_DURATION))

# Hospital systems know the instance's UID; a class gets another one, which nobody can trace back and which ends with this process.
_PSEUDONYM_KEY = secrets.token_bytes(32)
_PSEUDONYM_ROOT = "2.25."  # a UUID as a decimal number follows: 128 bits (PS3.5 section B.2)


def dynamic_only(payload: bytes) -> bytes:
    """The grain for a class: zeroed preamble, group 0002 and the reduced dynamic part, nothing else.

    Raises ProtocolError for whatever is no valid grain with a dynamic part: then nothing may be sent on.
    """
    return reduce_grain(check_grain(payload))


def reduce_grain(grain: CheckedGrain) -> bytes:
    """dynamic_only() of a grain that was checked already; about 0.05 ms."""
    if grain.dynamic is None:
        raise ProtocolError("no_dynamic", "a grain without a dynamic part has nothing that a class may see")
    octets = grain.payload
    meta = b"".join(_pseudonym(octets, element) if element.tag == dicom_rtv.SOP_INSTANCE else octets[element.start:element.end]
                    for element in grain.meta if element.tag in _META_KEPT)
    group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(meta))
    head = b"".join((bytes(dicom_rtv.PREAMBLE_BYTES), b"DICM", group_length, meta))
    dynamic = _sequence(octets, grain.dynamic, DYNAMIC_KEPT)
    if len(head) + len(dynamic) > dicom_rtv.GRAIN_BYTES_MAX:
        # A substitute can be longer than what it stands for: at the limit of a grain's size, its item goes empty.
        dynamic = _sequence(octets, grain.dynamic, {})
    return head + dynamic


def _pseudonym(octets: bytes, element: Element) -> bytes:
    """The element with another UID: the same one for the same instance, as long as this process lives."""
    digest = hashlib.blake2b(octets[element.value:element.value_end], digest_size=16, key=_PSEUDONYM_KEY).digest()
    return _with_value(octets, element, f"{_PSEUDONYM_ROOT}{int.from_bytes(digest, 'big')}".encode(), b"\0")


def _with_value(octets: bytes, element: Element, value: bytes, padding: bytes) -> bytes:
    """The element, of a VR with a short length, with another value."""
    value += padding * (len(value) % 2)
    return octets[element.start:element.value - 2] + struct.pack("<H", len(value)) + value


def _sequence(octets: bytes, element: Element, kept: Mapping[int, Keep]) -> bytes:
    """The sequence with its items reduced; lengths stay of their kind, definite or undefined."""
    body = b"".join(_item(octets, item, kept) for item in element.items or ())
    header, delimiter = octets[element.start:element.value - 4], octets[element.value_end:element.end]
    return header + struct.pack("<I", UNDEFINED if delimiter else len(body)) + body + delimiter


def _item(octets: bytes, item: Item, kept: Mapping[int, Keep]) -> bytes:
    has_block = any(element.tag == _CREATOR_TAG and _passes(octets, element, _CREATOR) for element in item.elements)
    parts = []
    for element in item.elements:
        # A private element means what its creator says (PS3.5 section 7.8.1); under another creator it could be anything.
        keep = None if element.tag >> 16 == dicom_rtv.INSTRUMENT_GROUP and not has_block else kept.get(element.tag)
        if keep is None or not _passes(octets, element, keep):
            continue
        if keep.items is not None:
            parts.append(_sequence(octets, element, keep.items))
        elif keep.substitute and not _is_one_of(octets, element, keep.values):
            parts.append(_with_value(octets, element, keep.substitute, b" "))
        else:
            parts.append(octets[element.start:element.end])
    body, delimiter = b"".join(parts), octets[item.value_end:item.end]
    return octets[item.start:item.value - 4] + struct.pack("<I", UNDEFINED if delimiter else len(body)) + body + delimiter


def _passes(octets: bytes, element: Element, keep: Keep) -> bool:
    if element.vr != keep.vr:
        return False
    if keep.items is not None:
        return True
    fits = element.value_end - element.value in keep.lengths
    return fits and (not keep.values or bool(keep.substitute) or _is_one_of(octets, element, keep.values))


def _is_one_of(octets: bytes, element: Element, values: tuple[bytes, ...]) -> bool:
    return octets[element.value:element.value_end].rstrip(b" \0") in values
