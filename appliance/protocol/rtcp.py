"""RTCP between the fan-out and its viewers: feedback in (RFC 3550, 4585, 5104, 3611, REMB), sender reports out.

Called by fanout.session with plain bytes (SRTCP is undone by then). Knows no clock, keeps nothing from packet to packet.
"""
import struct
from dataclasses import dataclass, field
from functools import lru_cache

from appliance.errors import ProtocolError

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK, EXTENDED_REPORT = 200, 201, 202, 205, 206, 207
NACK, PLI, FIR, APPLICATION_FEEDBACK = 1, 1, 4, 15
_CNAME, _RRTR, _DLRR = 1, 4, 5
_VERSION = 2
_REMB, _REMB_SOURCES_AT = b"REMB", 8
_REPORT = struct.Struct("!IIIIII")
_SENDER_REPORT = struct.Struct("!BBHIQIII")
DESCRIPTIONS_KEPT = 64  # a worker has a source for each stream, audience and codec
_UNIX_TO_NTP_S = 2_208_988_800
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class ReceiverReport:
    """What a viewer says of one source. Jitter in RTP ticks; last_report and delay in 1/65536 s (RFC 3550 section 6.4.1)."""

    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_report: int
    delay: int

    def round_trip_ns(self, now_ntp: int) -> int | None:
        """Nanoseconds from our report to theirs and back, or None before they had one of ours."""
        if not self.last_report:
            return None
        trip = ((now_ntp >> 16) - self.last_report - self.delay) & 0xFFFF_FFFF
        # A clock that stepped gives a "negative" trip; there is nothing to learn from it.
        return trip * _SECOND_NS >> 16 if trip < 1 << 31 else None


@dataclass
class Feedback:
    """All that one compound packet says about our source."""

    reports: list[ReceiverReport] = field(default_factory=list)
    sound_reports: list[ReceiverReport] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    keyframe: bool = False
    estimate_bps: int | None = None  # what the viewer believes it can receive at most
    reference_times: list[tuple[int, int]] = field(default_factory=list)  # (viewer's SSRC, middle 32 bits of its NTP time)


def ntp_time(unix_ns: int) -> int:
    """64-bit NTP timestamp (1/2^32 s since 1900) of nanoseconds since 1970."""
    return (unix_ns + _UNIX_TO_NTP_S * _SECOND_NS << 32) // _SECOND_NS & 0xFFFF_FFFF_FFFF_FFFF


def parse(compound: bytes, ssrc: int, sound_ssrc: int = 0) -> Feedback:
    """Feedback of a compound packet about `ssrc`, and reports about `sound_ssrc`; unknown kinds and other sources are passed over.

    ProtocolError("rtcp") if it lies.
    """
    feedback, position = Feedback(), 0
    while position < len(compound):
        if len(compound) - position < 4:
            raise ProtocolError("rtcp", "an RTCP packet ends in its header")
        first, kind, words = struct.unpack_from("!BBH", compound, position)
        end = position + 4 + 4 * words
        if first >> 6 != _VERSION or end > len(compound):
            raise ProtocolError("rtcp", "an RTCP packet has another version or is longer than its datagram")
        body = compound[position + 4:end]
        if first & 0x20 and body:
            body = body[:max(0, len(body) - body[-1])]
        _read(feedback, kind, first & 0x1F, body, ssrc, sound_ssrc)
        position = end
    return feedback


def _read(feedback: Feedback, kind: int, count: int, body: bytes, ssrc: int, sound_ssrc: int) -> None:
    if kind in (RECEIVER_REPORT, SENDER_REPORT):
        _read_reports(feedback, body[4 if kind == RECEIVER_REPORT else 24:], count, ssrc, sound_ssrc)
    elif kind in (TRANSPORT_FEEDBACK, PAYLOAD_FEEDBACK) and len(body) >= 8:
        target, entries = int.from_bytes(body[4:8], "big"), body[8:]
        if kind == TRANSPORT_FEEDBACK and count == NACK and target == ssrc:
            for packet, following in struct.iter_unpack("!HH", entries[:len(entries) // 4 * 4]):
                feedback.lost.append(packet)
                feedback.lost += [packet + 1 + bit & 0xFFFF for bit in range(16) if following >> bit & 1]
        elif kind == PAYLOAD_FEEDBACK and count == PLI and target == ssrc:
            feedback.keyframe = True
        elif kind == PAYLOAD_FEEDBACK and count == FIR:  # RFC 5104 section 4.3.1.1: the target stands in each entry
            targets = (source for source, _ in struct.iter_unpack("!II", entries[:len(entries) // 8 * 8]))
            feedback.keyframe |= ssrc in targets
        elif kind == PAYLOAD_FEEDBACK and count == APPLICATION_FEEDBACK and entries.startswith(_REMB):
            _read_estimate(feedback, entries, ssrc)
    elif kind == EXTENDED_REPORT and len(body) >= 4:
        _read_extended(feedback, body)


def _read_reports(feedback: Feedback, blocks: bytes, count: int, ssrc: int, sound_ssrc: int) -> None:
    if len(blocks) < count * _REPORT.size:
        raise ProtocolError("rtcp", f"{count} report blocks in {len(blocks)} octets")
    for source, loss, highest, jitter, last, delay in _REPORT.iter_unpack(blocks[:count * _REPORT.size]):
        if source == ssrc or source == sound_ssrc != 0:
            lost = loss & 0xFF_FFFF
            reports = feedback.reports if source == ssrc else feedback.sound_reports
            reports.append(ReceiverReport(loss >> 24, lost - (lost >> 23 << 24), highest, jitter, last, delay))


def _read_estimate(feedback: Feedback, entries: bytes, ssrc: int) -> None:
    """draft-alvestrand-rmcat-remb-03 section 2.2: number of sources, 6 bits of exponent, 18 of mantissa, the sources."""
    sources = entries[_REMB_SOURCES_AT:]
    if len(entries) < _REMB_SOURCES_AT or len(sources) < 4 * entries[4]:
        raise ProtocolError("rtcp", f"an estimate of {len(entries)} octets for more sources than they hold")
    if ssrc.to_bytes(4, "big") in (sources[4 * i:4 * i + 4] for i in range(entries[4])):
        feedback.estimate_bps = (int.from_bytes(entries[5:8], "big") & 0x3_FFFF) << (entries[5] >> 2)


def _read_extended(feedback: Feedback, body: bytes) -> None:
    viewer, position = int.from_bytes(body[:4], "big"), 4
    while position + 4 <= len(body):
        kind, words = body[position], int.from_bytes(body[position + 2:position + 4], "big")
        if kind == _RRTR and words == 2 and position + 12 <= len(body):
            feedback.reference_times.append((viewer, int.from_bytes(body[position + 6:position + 10], "big")))
        position += 4 + 4 * words


def sender_report(ssrc: int, ntp: int, rtp_timestamp: int, packets: int, octets: int, cname: bytes) -> bytes:
    """A compound of a sender report (the RTP time of the NTP instant) and the source's CNAME."""
    return _SENDER_REPORT.pack(_VERSION << 6, SENDER_REPORT, 6, ssrc, ntp, rtp_timestamp, packets & 0xFFFF_FFFF,
                               octets & 0xFFFF_FFFF) + _source_description(ssrc, cname)


@lru_cache(DESCRIPTIONS_KEPT)
def _source_description(ssrc: int, cname: bytes) -> bytes:
    """The same in every report of a source."""
    item = struct.pack("!IBB", ssrc, _CNAME, len(cname)) + cname
    item += bytes(4 - len(item) % 4)
    return struct.pack("!BBH", _VERSION << 6 | 1, SOURCE_DESCRIPTION, len(item) // 4) + item


def last_reference_times(ssrc: int, heard: list[tuple[int, int, int]]) -> bytes:
    """An extended report that answers reference times: (viewer's SSRC, its middle 32 bits, delay since then in 1/65536 s)."""
    block = b"".join(struct.pack("!III", *entry) for entry in heard)
    return struct.pack("!BBHIBBH", _VERSION << 6, EXTENDED_REPORT, 2 + len(block) // 4, ssrc, _DLRR, 0, len(block) // 4) + block
