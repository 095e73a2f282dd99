"""RTP packets (RFC 3550) and their header extensions (RFC 8285) as plain values: the readable form, for metadata, sources and tests.

Nothing per video packet passes here; that is cext/kernels/rfc4175.c. Keeps no state: sequence and loss belong to who receives.
"""
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.errors import ProtocolError

VERSION = 2
HEADER_BYTES = 12
SOURCES_MAX = 15
ONE_BYTE_PROFILE = 0xBEDE
TWO_BYTE_PROFILES = range(0x1000, 0x1010)
_ONE_BYTE_ELEMENT_BYTES = range(1, 17)
_WORD_BYTES = 4


@dataclass(frozen=True)
class RtpHeader:
    """The fixed header and the contributing sources (RFC 3550 section 5.1). `timestamp` in ticks of the flow's clock."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool = False
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class RtpPacket:
    """A packet taken apart, padding stripped. `profile` is the header extension's first 16 bits, None without one."""

    header: RtpHeader
    payload: bytes
    profile: int | None = None
    extension: bytes = b""

    @property
    def elements(self) -> dict[int, bytes]:
        """Header extension elements by id (RFC 8285 section 4), the last where an id comes twice; none for other profiles.

        ProtocolError (extension) where an element does not fit: the packet around it may still be good.
        """
        return {} if self.profile is None else _elements(self.profile, self.extension)


def parse(packet: bytes, payload_type: int | None = None) -> RtpPacket:
    """Reads one UDP payload, of this payload type if one is given.

    ProtocolError with reason truncated, version, payload_type, extension or padding.
    """
    if len(packet) < HEADER_BYTES:
        raise ProtocolError("truncated", f"an RTP header has {HEADER_BYTES} octets, the packet {len(packet)}")
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", packet)
    if first >> 6 != VERSION:
        raise ProtocolError("version", f"RTP version {first >> 6} instead of {VERSION}")
    if payload_type is not None and second & 0x7F != payload_type:
        raise ProtocolError("payload_type", f"payload type {second & 0x7F} instead of {payload_type}")
    source_count = first & 0x0F
    start = HEADER_BYTES + 4 * source_count
    if start > len(packet):
        raise ProtocolError("truncated", f"{source_count} contributing sources do not fit a packet of {len(packet)} octets")
    sources = struct.unpack_from(f"!{source_count}I", packet, HEADER_BYTES)
    header = RtpHeader(second & 0x7F, sequence, timestamp, ssrc, bool(second & 0x80), sources)
    profile, extension = None, b""
    if first & 0x10:
        profile, extension = _extension(packet, start)
        start += _WORD_BYTES + len(extension)
    end = len(packet) - (_padding_bytes(packet, start) if first & 0x20 else 0)
    return RtpPacket(header, packet[start:end], profile, extension)


def build(header: RtpHeader, payload: bytes, elements: Mapping[int, bytes] | None = None, padding_bytes: int = 0) -> bytes:
    """One packet. Elements become a one-byte header extension where they fit, a two-byte one otherwise (RFC 8285 section 4)."""
    if len(header.sources) > SOURCES_MAX or not 0 <= padding_bytes <= 255:
        raise ValueError(f"at most {SOURCES_MAX} contributing sources and 255 octets of padding")
    first = VERSION << 6 | bool(padding_bytes) << 5 | bool(elements) << 4 | len(header.sources)
    fixed = struct.pack("!BBHII", first, header.marker << 7 | header.payload_type, header.sequence & 0xFFFF,
                        header.timestamp & 0xFFFF_FFFF, header.ssrc)
    sources = struct.pack(f"!{len(header.sources)}I", *header.sources)
    padding = bytes(padding_bytes - 1) + bytes([padding_bytes]) if padding_bytes else b""
    return fixed + sources + (_build_extension(elements) if elements else b"") + payload + padding


def _extension(packet: bytes, start: int) -> tuple[int, bytes]:
    """Profile and octets of the header extension (RFC 3550 section 5.3.1)."""
    if start + _WORD_BYTES > len(packet):
        raise ProtocolError("extension", "the packet ends inside the header extension's own header")
    profile, words = struct.unpack_from("!HH", packet, start)
    end = start + _WORD_BYTES * (1 + words)
    if end > len(packet):
        raise ProtocolError("extension", f"a header extension of {words} words does not fit a packet of {len(packet)} octets")
    return profile, packet[start + _WORD_BYTES:end]


def _padding_bytes(packet: bytes, start: int) -> int:
    """The last octet counts the padding, itself included (RFC 3550 section 5.1)."""
    count = packet[-1]
    if not 0 < count <= len(packet) - start:
        raise ProtocolError("padding", f"{count} octets of padding in a payload of {len(packet) - start}")
    return count


def _elements(profile: int, extension: bytes) -> dict[int, bytes]:
    one_byte = profile == ONE_BYTE_PROFILE
    if not one_byte and profile not in TWO_BYTE_PROFILES:
        return {}
    elements, at = {}, 0
    while at < len(extension):
        if extension[at] == 0:  # padding
            at += 1
            continue
        if one_byte:
            identifier, length = extension[at] >> 4, (extension[at] & 0x0F) + 1
            if identifier == 15:  # reserved: stop here (RFC 8285 section 4.2)
                break
            at += 1
        else:
            if at + 1 >= len(extension):
                raise ProtocolError("extension", "the header extension ends inside an element's header")
            identifier, length = extension[at], extension[at + 1]
            at += 2
        if at + length > len(extension):
            raise ProtocolError("extension", f"element {identifier} of {length} octets does not fit the header extension")
        elements[identifier] = extension[at:at + length]
        at += length
    return elements


def _build_extension(elements: Mapping[int, bytes]) -> bytes:
    one_byte = all(0 < identifier < 15 and len(value) in _ONE_BYTE_ELEMENT_BYTES for identifier, value in elements.items())
    body = b""
    for identifier, value in elements.items():
        body += (bytes([identifier << 4 | len(value) - 1]) if one_byte else bytes([identifier, len(value)])) + value
    body += bytes(-len(body) % _WORD_BYTES)
    return struct.pack("!HH", ONE_BYTE_PROFILE if one_byte else TWO_BYTE_PROFILES.start, len(body) // _WORD_BYTES) + body
