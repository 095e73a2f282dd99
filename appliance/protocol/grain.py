"""Grains from RTP packets: start and end flags, sequence numbers and timestamps in, whole payloads out (PS3.22 section 6.2, NMOS grain flags).

The metadata stage feeds it datagrams; it has no socket and no clock. A grain with any packet missing is dropped, never patched.
Does not look into the payload: dicom_rtv.check_grain() judges it.
"""
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.errors import ProtocolError
from appliance.protocol import rtp
from appliance.protocol.dicom_rtv import GRAIN_BYTES_MAX, PREAMBLE_BYTES

START, END = 0x80, 0x40
"""Bits of the grain flags element."""

# RFC 3550 annex A.1: a jump further than this is a sender that began anew, not a loss.
SEQUENCE_DROPOUT_MAX = 3_000
SEQUENCE_MISORDER_MAX = 100
# Senders fill their packets: the largest grain is 46 of 1,460 octets. A sender that does not costs us an object a packet.
GRAIN_PACKETS_MAX = 512
SESSION_PROOF_PACKETS = 8
"""Packets in a row from another SSRC that make it the session: 160 ms at 50 grains a second, and no stray packet can take over."""

PACKET_REASONS = ("truncated", "version", "payload_type", "extension", "padding", "ssrc")
"""Reasons for which a packet is not used; `ssrc`: of another sender than the session's."""
DROP_REASONS = ("gap", "no_start", "unfinished", "oversize", "session")
"""Reasons for which a begun grain is given up."""


@dataclass(frozen=True)
class AssembledGrain:
    """One grain's payload, all packets of it seen."""

    payload: bytes
    rtp_timestamp: int
    first_packet_tai_ns: int
    new_session: bool
    """The first grain of its sender: whatever was known of the patient before is void (one session, one SOP instance: PS3.22 section 7)."""
    elements: Mapping[int, bytes] = field(default_factory=dict)
    """Header extension elements of the first packet, by id."""


@dataclass
class _Open:
    """A grain that is still growing."""

    timestamp: int
    first_packet_tai_ns: int
    elements: Mapping[int, bytes]
    parts: list[bytes] = field(default_factory=list)
    octets: int = 0


class GrainAssembler:
    """Packets of one flow in, grains out. The counts are totals since it was made."""

    def __init__(self, payload_type: int, grain_flags_id: int | None, bytes_max: int = GRAIN_BYTES_MAX) -> None:
        """`grain_flags_id`: the header extension's id from a=extmap; None where the sender has none, then the marker ends a grain."""
        self.payload_type, self.grain_flags_id, self.bytes_max = payload_type, grain_flags_id, bytes_max
        self.packets = self.lost = self.late = self.sessions = 0
        self.malformed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._ssrc: int | None = None
        self._rival, self._rival_packets = -1, 0
        self._expected: int | None = None
        self._open: _Open | None = None
        self._headless = -1
        self._announce_session = False

    def receive(self, datagram: bytes, received_tai_ns: int) -> list[AssembledGrain]:
        """The grains that this packet completes: none, one, or two where the one before had not said its end."""
        try:
            packet = rtp.parse(datagram, self.payload_type)
        except ProtocolError as error:
            self.malformed[error.reason] += 1
            return []
        if not self._of_session(packet.header.ssrc) or not self._in_sequence(packet.header.sequence):
            return []
        self.packets += 1
        return self._grow(packet, self._elements(packet), received_tai_ns)

    def _of_session(self, ssrc: int) -> bool:
        """Whether a packet counts; follows a sender that restarted under another SSRC."""
        if ssrc == self._ssrc:
            self._rival_packets = 0
            return True
        if self._ssrc is not None:
            self._rival_packets = self._rival_packets + 1 if ssrc == self._rival else 1
            self._rival = ssrc
            if self._rival_packets < SESSION_PROOF_PACKETS:
                self.malformed["ssrc"] += 1
                return False
        self._drop("session")
        self._ssrc, self._rival_packets, self._expected = ssrc, 0, None
        self._announce_session = True
        self.sessions += 1
        return True

    def _in_sequence(self, sequence: int) -> bool:
        """Counts losses; False for a packet that comes after its turn."""
        ahead = 0 if self._expected is None else (sequence - self._expected) & 0xFFFF
        if 0x1_0000 - ahead <= SEQUENCE_MISORDER_MAX:
            self.late += 1
            return False
        if ahead:
            self.lost += ahead if ahead <= SEQUENCE_DROPOUT_MAX else 0
            self._drop("gap")
        self._expected = sequence + 1 & 0xFFFF
        return True

    def _elements(self, packet: rtp.RtpPacket) -> Mapping[int, bytes]:
        """The header extension's elements by id; none where they cannot be read, which is counted."""
        try:
            return packet.elements
        except ProtocolError as error:
            self.malformed[error.reason] += 1
            return {}

    def _grow(self, packet: rtp.RtpPacket, elements: Mapping[int, bytes], received_tai_ns: int) -> list[AssembledGrain]:
        timestamp, payload = packet.header.timestamp, packet.payload
        found = elements.get(self.grain_flags_id) if self.grain_flags_id is not None else None
        flags = found[0] if found else None
        continues = self._open is not None and self._open.timestamp == timestamp
        # Where a packet has flags they decide; the marker is not in PS3.22 and some senders set it on every packet.
        starts = bool(flags & START) if flags is not None else not continues and payload[PREAMBLE_BYTES:PREAMBLE_BYTES + 4] == b"DICM"
        ends = bool(flags & END) if flags is not None else packet.header.marker
        done = []
        if self._open is not None and not continues:
            done.append(self._close())  # no end was flagged, but no packet of it is missing either
        elif starts:
            self._drop("unfinished")
        if starts:
            self._open = _Open(timestamp, received_tai_ns, elements)
        if self._open is None:
            if timestamp != self._headless:
                self.dropped["no_start"] += 1
                self._headless = timestamp
            return done
        if payload:  # an empty one may begin or end a grain, but adds nothing to it
            self._open.parts.append(payload)
            self._open.octets += len(payload)
        if self._open.octets > self.bytes_max or len(self._open.parts) > GRAIN_PACKETS_MAX:
            self._drop("oversize")
        elif ends:
            done.append(self._close())
        return done

    def _close(self) -> AssembledGrain:
        grain, self._open = self._open, None
        announced, self._announce_session = self._announce_session, False
        return AssembledGrain(b"".join(grain.parts), grain.timestamp, grain.first_packet_tai_ns, announced, grain.elements)

    def _drop(self, reason: str) -> None:
        """Gives up the open grain, if there is one; what is still to come of it is not counted again."""
        if self._open is not None:
            self.dropped[reason] += 1
            self._headless, self._open = self._open.timestamp, None
