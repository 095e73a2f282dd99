"""Uncompressed video payloads (RFC 4175 as ST 2110-20 section 6 profiles it): the readable truth beside cext/kernels/rfc4175.c.

Used by sources, tests and tools. Pure; `parse_payload` and the C routine refuse the same packets for the same reasons.
"""
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle

from appliance.errors import ProtocolError
from appliance.frame import VideoFormat

SEGMENTS_MAX = 16
"""Sample row data segments read from one packet: RFC 4175 has no limit, and FFmpeg and GStreamer fill a packet with narrow rows."""
SEGMENTS_SENT_MAX = 3
"""Sample row data segments put into one packet (ST 2110-20 section 6.1.4)."""
REASONS = ("truncated", "version", "payload_type", "extension", "padding", "srd_length", "srd_field", "srd_row", "srd_offset",
           "srd_continuation", "length_mismatch", "ssrc", "sequence", "timestamp")
"""Why a video packet is not used; the last three: it is sound, but not of the sender that is followed."""
SRD_HEADER_BYTES = 6
BLOCK_BYTES = 1260
"""Sample octets of every packet in block packing mode but a frame's last: 7 blocks of 180 (ST 2110-20 section 6.3.3)."""
_UDP_AND_RTP_BYTES = 8 + 12
_EXTENDED_SEQUENCE_BYTES = 2


@dataclass(frozen=True)
class Srd:
    """One sample row data header: where `length` octets of the packet's samples belong. `offset` in pixels of the row."""

    row: int
    field: bool
    offset: int
    length: int
    continuation: bool


def parse_payload(payload: bytes, format: VideoFormat) -> tuple[int, list[Srd], bytes]:
    """The RTP payload as (high half of the sequence number, segments, their samples one after the other).

    ProtocolError with the reason truncated, srd_length, srd_field, srd_row, srd_offset, srd_continuation or length_mismatch.
    """
    if len(payload) < _EXTENDED_SEQUENCE_BYTES:
        raise ProtocolError("truncated", "the payload ends before the extended sequence number")
    (extended_high,) = struct.unpack_from("!H", payload)
    at = _EXTENDED_SEQUENCE_BYTES
    segments: list[Srd] = []
    while not segments or segments[-1].continuation:
        if len(segments) == SEGMENTS_MAX:
            raise ProtocolError("srd_continuation", f"a packet has at most {SEGMENTS_MAX} segments")
        if at + SRD_HEADER_BYTES > len(payload):
            raise ProtocolError("truncated", "the payload ends inside its segment headers")
        segment = _read_header(payload, at)
        _check(segment, format)
        segments.append(segment)
        if segment.length == 0 and (segment.continuation or len(segments) > 1):
            raise ProtocolError("srd_length", "a segment without samples stands alone in its packet")
        at += SRD_HEADER_BYTES
    samples = payload[at:]
    if sum(segment.length for segment in segments) != len(samples):
        raise ProtocolError("length_mismatch", f"segments of {[segment.length for segment in segments]} octets, but {len(samples)} came")
    return extended_high, segments, samples


def place(frame: bytearray | memoryview, segments: Iterable[Srd], samples: bytes, format: VideoFormat) -> None:
    """Writes parsed samples to their place in a raw frame (rows of packed pgroups without padding)."""
    at = 0
    for segment in segments:
        start = segment.row * format.raw_row_bytes + segment.offset // format.pgroup.columns * format.pgroup.octets
        frame[start:start + segment.length] = samples[at:at + segment.length]
        at += segment.length


def neutral_pgroup(format: VideoFormat) -> bytes:
    """A grey pgroup: every sample at half of its range."""
    samples, bits = 4, 0
    for _ in range(samples):
        bits = bits << format.depth | 1 << (format.depth - 1)
    return bits.to_bytes(samples * format.depth // 8, "big")


def row_split(format: VideoFormat, maxudp: int = 1460) -> list[int]:
    """Pgroups of each packet of one row in general packing: as few packets as fit `maxudp`, as equal as can be."""
    room = (maxudp - _UDP_AND_RTP_BYTES - _EXTENDED_SEQUENCE_BYTES - SRD_HEADER_BYTES) // format.pgroup.octets
    row_pgroups = format.raw_row_bytes // format.pgroup.octets
    count = -(-row_pgroups // room)
    return [row_pgroups // count + (number < row_pgroups % count) for number in range(count)]


def block_split(format: VideoFormat) -> list[int]:
    """Pgroups of each packet in block packing; rows are straddled."""
    return [BLOCK_BYTES // format.pgroup.octets]


def packetise(frame: bytes | memoryview, format: VideoFormat, split: Iterable[int], first_sequence: int = 0) -> Iterator[bytes]:
    """The RTP payloads of a raw frame; the packet around payload n has the low half of first_sequence + n.

    `split` is how many pgroups each packet carries, begun again when it ends. A packet that would touch more than three rows is cut there.
    """
    row_pgroups = format.raw_row_bytes // format.pgroup.octets
    total, first, sequence = row_pgroups * format.height, 0, first_sequence
    for wanted in cycle(split):
        if first == total:
            return
        limit = (first // row_pgroups + SEGMENTS_SENT_MAX) * row_pgroups
        end = min(first + max(wanted, 1), limit, total)
        yield struct.pack("!H", sequence >> 16 & 0xFFFF) + _headers(first, end, row_pgroups, format) + bytes(
            frame[first * format.pgroup.octets:end * format.pgroup.octets])
        first, sequence = end, sequence + 1


def _headers(first: int, end: int, row_pgroups: int, format: VideoFormat) -> bytes:
    """Segment headers for pgroups first..end, one a row touched."""
    headers = b""
    while first < end:
        row, offset = divmod(first, row_pgroups)
        stop = min(end, (row + 1) * row_pgroups)
        continuation = stop < end
        headers += struct.pack("!HHH", (stop - first) * format.pgroup.octets, row, continuation << 15 | offset * format.pgroup.columns)
        first = stop
    return headers


def _read_header(payload: bytes, at: int) -> Srd:
    length, row, offset = struct.unpack_from("!HHH", payload, at)
    return Srd(row & 0x7FFF, bool(row & 0x8000), offset & 0x7FFF, length, bool(offset & 0x8000))


def _check(segment: Srd, format: VideoFormat) -> None:
    if segment.length % format.pgroup.octets:
        raise ProtocolError("srd_length", f"{segment.length} octets are not whole pgroups of {format.pgroup.octets}")
    if segment.field:
        raise ProtocolError("srd_field", "a second field in a progressive raster")
    if segment.row >= format.height:
        raise ProtocolError("srd_row", f"row {segment.row} of a raster of {format.height}")
    end = segment.offset + segment.length // format.pgroup.octets * format.pgroup.columns
    if segment.offset % format.pgroup.columns or end > format.width:
        raise ProtocolError("srd_offset", f"pixels {segment.offset} to {end} of a row of {format.width}")
