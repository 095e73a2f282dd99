"""A strict walker over DICOM data elements in Explicit VR Little Endian (PS3.5 section 7.1.2): where each begins and ends.

dicom_rtv.py judges grains with it. pydicom accepts a dataset that was cut short; here every length must fit its container, every octet
must belong to an element, and depth, count and order are bounded. Interprets no value.
"""
import struct
from typing import NamedTuple

from appliance.errors import ProtocolError

DEPTH_MAX = 16
ELEMENTS_MAX = 4_096
"""Elements and items in one dataset, all levels together."""

UNDEFINED = 0xFFFF_FFFF
ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD

_HEADER = struct.Struct("<HH2sH")
_LENGTH = struct.Struct("<I")
_ITEM_HEADER = struct.Struct("<HHI")
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
# Octets of one value; a value field is a whole number of them. Every other VR is padded to an even length (PS3.5 section 7.1.1).
_VALUE_OCTETS = {b"AT": 4, b"FD": 8, b"FL": 4, b"OD": 8, b"OF": 4, b"OL": 4, b"OV": 8, b"SL": 4, b"SS": 2, b"SV": 8, b"UL": 4, b"US": 2, b"UV": 8}
_SHORT_VRS = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST",
                        b"TM", b"UI", b"UL", b"US"))


class Item(NamedTuple):
    """One item of a sequence; offsets into the walked octets."""

    start: int
    value: int
    value_end: int
    end: int
    """After the delimiter, where the length is undefined."""
    elements: list["Element"]


class Element(NamedTuple):
    """One data element: its header begins at `start`, its value is [value, value_end), the next element begins at `end`."""

    tag: int
    vr: bytes
    start: int
    value: int
    value_end: int
    end: int
    items: list[Item] | None
    """The items of an SQ, None for every other VR."""


def walk(octets: bytes, start: int = 0) -> list[Element]:
    """The top-level elements of octets[start:], with the items of their sequences.

    Raises ProtocolError with reason truncated, vr, length, order, item, depth or oversize. About 1.5 us an element.
    """
    elements, _ = _Walk(octets).dataset(start, len(octets), 0, delimited=False)
    return elements


class _Walk:
    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.remaining = ELEMENTS_MAX

    def dataset(self, position: int, end: int, depth: int, delimited: bool) -> tuple[list[Element], int]:
        """Elements from `position` to `end`, or to the item delimiter if `delimited`; and where they ended."""
        if depth > DEPTH_MAX:
            raise ProtocolError("depth", f"sequences nested deeper than {DEPTH_MAX} at octet {position}")
        elements: list[Element] = []
        last_tag = -1
        while position < end:
            if delimited and self.item_header(position, end)[0] == ITEM_DELIMITER:
                return elements, position
            element = self.element(position, end, depth)
            if element.tag <= last_tag:
                raise ProtocolError("order", f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) at octet {position} is repeated or out of order")
            last_tag = element.tag
            elements.append(element)
            position = element.end
        if delimited:
            raise ProtocolError("truncated", f"an item ends at octet {end} without its delimiter")
        return elements, position

    def element(self, start: int, end: int, depth: int) -> Element:
        self.count(start)
        if end - start < 8:
            raise ProtocolError("truncated", f"{end - start} octets at {start} are too few for an element")
        group, number, vr, length = _HEADER.unpack_from(self.octets, start)
        tag, value = group << 16 | number, start + 8
        if vr in _LONG_VRS:
            if length:
                raise ProtocolError("vr", f"the reserved octets after VR {vr!r} at {start} are not zero")
            value = start + 12
            if value > end:
                raise ProtocolError("truncated", f"{end - start} octets at {start} are too few for an element of VR {vr!r}")
            (length,) = _LENGTH.unpack_from(self.octets, start + 8)
        elif vr not in _SHORT_VRS:
            raise ProtocolError("vr", f"({group:04X},{number:04X}) at octet {start} has the unknown VR {vr!r}")
        if vr == b"SQ":
            return self.sequence(tag, start, value, end, length, depth)
        if length > end - value:
            raise ProtocolError("truncated", f"({group:04X},{number:04X}) at octet {start} claims {length} octets, {end - value} are left")
        if length % _VALUE_OCTETS.get(vr, 2):
            raise ProtocolError("length", f"({group:04X},{number:04X}) at octet {start} has {length} octets, impossible for VR {vr.decode()}")
        return Element(tag, vr, start, value, value + length, value + length, None)

    def sequence(self, tag: int, start: int, position: int, end: int, length: int, depth: int) -> Element:
        delimited = length == UNDEFINED
        if not delimited and length > end - position:
            raise ProtocolError("truncated", f"sequence ({tag >> 16:04X},{tag & 0xFFFF:04X}) claims {length} octets, {end - position} are left")
        value, value_end = position, end if delimited else position + length
        items: list[Item] = []
        while delimited or position < value_end:
            kind, item_length = self.item_header(position, value_end)
            if delimited and kind == SEQUENCE_DELIMITER and item_length == 0:
                return Element(tag, b"SQ", start, value, position, position + 8, items)
            if kind != ITEM:
                raise ProtocolError("item", f"({kind >> 16:04X},{kind & 0xFFFF:04X}) at octet {position} where an item should be")
            items.append(self.item(position, value_end, item_length, depth))
            position = items[-1].end
        return Element(tag, b"SQ", start, value, value_end, value_end, items)

    def item(self, start: int, end: int, length: int, depth: int) -> Item:
        self.count(start)
        value = start + 8
        if length == UNDEFINED:
            elements, value_end = self.dataset(value, end, depth + 1, delimited=True)
            if self.item_header(value_end, end)[1] != 0:
                raise ProtocolError("item", f"the item delimiter at octet {value_end} has a length")
            return Item(start, value, value_end, value_end + 8, elements)
        if length > end - value:
            raise ProtocolError("truncated", f"the item at octet {start} claims {length} octets, {end - value} are left")
        elements, value_end = self.dataset(value, value + length, depth + 1, delimited=False)
        return Item(start, value, value_end, value_end, elements)

    def item_header(self, position: int, end: int) -> tuple[int, int]:
        if end - position < 8:
            raise ProtocolError("truncated", f"{end - position} octets at {position} are too few for an item")
        group, number, length = _ITEM_HEADER.unpack_from(self.octets, position)
        return group << 16 | number, length

    def count(self, position: int) -> None:
        self.remaining -= 1
        if self.remaining < 0:
            raise ProtocolError("oversize", f"more than {ELEMENTS_MAX} elements, at octet {position}")
