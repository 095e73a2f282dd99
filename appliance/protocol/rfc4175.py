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
    """One sample row data header: where `length` octets of the packet's samples belong. `offset` in pixels of the row; `field` is F, the second one."""

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
        if segment.field != segments[0].field:
            raise ProtocolError("srd_field", "segments of both fields in one packet")  # Source: RFC 4175 section 4.3
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
        start = first_pgroup(segment, format) * format.pgroup.octets
        frame[start:start + segment.length] = samples[at:at + segment.length]
        at += segment.length


def first_pgroup(segment: Srd, format: VideoFormat) -> int:
    """The number of a segment's first pgroup in its raw frame. A field is a raw frame of its own, the segments of PsF alternate in one."""
    row = 2 * segment.row + segment.field if format.segmented else segment.row // format.pgroup.rows
    return row * row_pgroups(format) + segment.offset // format.pgroup.columns


def row_pgroups(format: VideoFormat) -> int:
    """Pgroups in a row of a raw frame."""
    return format.width // format.pgroup.columns


def neutral_pgroup(format: VideoFormat) -> bytes:
    """A grey pgroup: every sample at half of its range."""
    bits = 0
    for _ in range(format.pgroup.octets * 8 // format.depth):
        bits = bits << format.depth | 1 << (format.depth - 1)
    return bits.to_bytes(format.pgroup.octets, "big")


def parts(format: VideoFormat) -> tuple[bool, ...]:
    """What a frame is sent in, as packetise's `second_field`: whole, or the first and the second field or PsF segment."""
    return (False, True) if format.interlaced else (False,)


def row_split(format: VideoFormat, maxudp: int = 1460) -> list[int]:
    """Pgroups of each packet of one row in general packing: as few packets as fit `maxudp`, as equal as can be."""
    room = (maxudp - _UDP_AND_RTP_BYTES - _EXTENDED_SEQUENCE_BYTES - SRD_HEADER_BYTES) // format.pgroup.octets
    total = row_pgroups(format)
    count = -(-total // room)
    return [total // count + (number < total % count) for number in range(count)]


def block_split(format: VideoFormat) -> list[int]:
    """Pgroups of each packet in block packing; rows are straddled. Blocks hold whole pgroups but for 16-bit 4:2:2, which block packing leaves out."""
    return [BLOCK_BYTES // format.pgroup.octets]


def packetise(frame: bytes | memoryview, format: VideoFormat, split: Iterable[int], first_sequence: int = 0, second_field: bool = False) -> Iterator[bytes]:
    """The RTP payloads of one of a format's parts(); the packet around payload n has the low half of first_sequence + n.

    `frame` is the raw frame: of an interlaced format the field itself, of PsF the whole frame, from which the segment's rows are taken. `split` is how
    many pgroups each packet carries, begun again when it ends. A packet that would touch more than three rows is cut there.
    """
    per_row, octets = row_pgroups(format), format.pgroup.octets
    if format.segmented:
        rows = [frame[start:start + format.raw_row_bytes] for start in range(0, format.frame_bytes, format.raw_row_bytes)]
        frame = b"".join(bytes(row) for row in rows[second_field::2])
    total, first, sequence = per_row * (format.wire_rows(second_field) // format.pgroup.rows), 0, first_sequence
    for wanted in cycle(split):
        if first == total:
            return
        limit = (first // per_row + SEGMENTS_SENT_MAX) * per_row
        end = min(first + max(wanted, 1), limit, total)
        yield struct.pack("!H", sequence >> 16 & 0xFFFF) + _headers(first, end, format, second_field) + bytes(frame[first * octets:end * octets])
        first, sequence = end, sequence + 1


def _headers(first: int, end: int, format: VideoFormat, second_field: bool) -> bytes:
    """Segment headers for pgroups first..end of a part, one a row touched."""
    headers, per_row = b"", row_pgroups(format)
    while first < end:
        row, offset = divmod(first, per_row)
        stop = min(end, (row + 1) * per_row)
        headers += struct.pack("!HHH", (stop - first) * format.pgroup.octets, second_field << 15 | row * format.pgroup.rows,
                               (stop < end) << 15 | offset * format.pgroup.columns)
        first = stop
    return headers


def _read_header(payload: bytes, at: int) -> Srd:
    length, row, offset = struct.unpack_from("!HHH", payload, at)
    return Srd(row & 0x7FFF, bool(row & 0x8000), offset & 0x7FFF, length, bool(offset & 0x8000))


def _check(segment: Srd, format: VideoFormat) -> None:
    if segment.length % format.pgroup.octets:
        raise ProtocolError("srd_length", f"{segment.length} octets are not whole pgroups of {format.pgroup.octets}")
    if segment.field and not format.interlaced:
        raise ProtocolError("srd_field", "a second field in a progressive raster")
    rows = format.wire_rows(segment.field)
    if segment.row >= rows:
        raise ProtocolError("srd_row", f"row {segment.row} where there are {rows}")
    if segment.row % format.pgroup.rows:
        raise ProtocolError("srd_row", f"row {segment.row}, where pgroups cover two rows and begin at even ones")
    end = segment.offset + segment.length // format.pgroup.octets * format.pgroup.columns
    if segment.offset % format.pgroup.columns or end > format.width:
        raise ProtocolError("srd_offset", f"pixels {segment.offset} to {end} of a row of {format.width}")
