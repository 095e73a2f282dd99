"""The blocks of a pcapng file (IETF draft-ietf-opsawg-pcapng) that are not packets: head, interfaces, statistics. Values in, octets out.

Octets are in this machine's order, as the format wants it; cext/recording writes the packets between them.
"""
import struct
from collections.abc import Iterable

ETHERNET, RAW_IP = 1, 101
"""Link types (LINKTYPE_...)."""
TEXT_OCTETS_MAX = 60_000  # an option's length has 16 bits
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_UNKNOWN_LENGTH = 0xFFFF_FFFF_FFFF_FFFF
_SECTION_HEADER, _INTERFACE_DESCRIPTION, _INTERFACE_STATISTICS = 0x0A0D0D0A, 1, 5
_COMMENT, _HARDWARE_NAME, _DESCRIPTION, _OPERATING_SYSTEM, _APPLICATION, _RESOLUTION = 1, 2, 3, 3, 4, 9
_START_TIME, _END_TIME, _RECEIVED, _DROPPED, _DELIVERED = 2, 3, 4, 7, 8
_NANOSECONDS = 9

Option = tuple[int, bytes]


def section_header(application: str, operating_system: str, comment: str) -> bytes:
    """The file's head (section 4.1)."""
    body = struct.pack("=IHHQ", _BYTE_ORDER_MAGIC, 1, 0, _UNKNOWN_LENGTH)
    return _block(_SECTION_HEADER, body, [_text(_COMMENT, comment), _text(_OPERATING_SYSTEM, operating_system), _text(_APPLICATION, application)])


def interface(link_type: int, name: str, description: str, comment: str) -> bytes:
    """An interface (section 4.2), its packets' times in nanoseconds."""
    options = [_text(_COMMENT, comment), _text(_HARDWARE_NAME, name), _text(_DESCRIPTION, description), (_RESOLUTION, bytes([_NANOSECONDS]))]
    return _block(_INTERFACE_DESCRIPTION, struct.pack("=HHI", link_type, 0, 0), options)


def statistics(number: int, begun_ns: int, ended_ns: int, delivered: int, dropped: int) -> bytes:
    """What was recorded of an interface and what was lost on this machine (section 4.6); times in nanoseconds since 1970 UTC."""
    counts = {_START_TIME: _time(begun_ns), _END_TIME: _time(ended_ns)}
    counts |= {_RECEIVED: struct.pack("=Q", delivered + dropped), _DROPPED: struct.pack("=Q", dropped), _DELIVERED: struct.pack("=Q", delivered)}
    return _block(_INTERFACE_STATISTICS, struct.pack("=I", number) + _time(ended_ns), counts.items())


def _time(ns: int) -> bytes:
    return struct.pack("=II", ns >> 32, ns & 0xFFFF_FFFF)


def _text(code: int, text: str) -> Option:
    return code, text.encode()[:TEXT_OCTETS_MAX]


def _block(kind: int, body: bytes, options: Iterable[Option]) -> bytes:
    for code, value in options:
        body += struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)
    body += bytes(4)  # the end of the options
    length = struct.pack("=I", 12 + len(body))
    return struct.pack("=I", kind) + length + body + length
