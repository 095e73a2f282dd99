"""How a sender spaces its packets: the models and limits of ST 2110-21:2022, readable. cext/timing is the fast twin of Meter.

The ingest stage judges with it what the kernel measured. Knows no clock: arrivals come with the packets, in TAI nanoseconds.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from appliance.frame import VideoFormat

NARROW, NARROW_LINEAR, WIDE = SENDER_TYPES = ("2110TPN", "2110TPNL", "2110TPW")
"""TP of an SDP (section 8.1), from the strictest on."""
NOT_COMPLIANT, NOT_MEASURED = "not_compliant", "not_measured"
VERDICTS = ("narrow", "narrow_linear", "wide", NOT_COMPLIANT, NOT_MEASURED)
_WORDS = dict(zip(SENDER_TYPES, VERDICTS))

BETA = Fraction(11, 10)
# Source: section 7.1: MAXUDP counts as 1500 under the standard UDP size limit of 1460 octets (ST 2110-10 section 6.3).
_UDP_OCTETS_STANDARD, _UDP_OCTETS_ASSUMED = 1460, 1500
# Source: section 7.1.4: from here on there is no bound on C of a wide sender.
_WIDE_RATE_MAX = 900_000
# Source: section 6.3.3, table 1: (rows at most, all lines, lines added to half the blanking).
_INTERLACED = ((487, 525, 1), (576, 625, 2), (1080, 1125, 0))
_TALL_ROWS = 1080
FIRST_LOST_MAX, GAP_NS, STEP_PACKETS, PICTURE_PACKETS_MAX = 256, 1_000_000_000, 32_768, 1 << 20  # as cext/kernels/timing.h
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Schedule:
    """When the receiver's virtual buffer is read (sections 6.2 to 6.4). A picture is what has a marker: a frame, a field, a PsF segment."""

    rate: Fraction
    """Pictures a second."""
    active: Fraction
    """RACTIVE: the part of a picture's time in which it is read; 1 for a linear schedule."""
    offset_ns: int
    """TROFFSET: from N x picture time to the first read."""
    rate_hz: int = 90_000
    mediaclk_offset: int = 0
    by_epoch: bool = True
    """Whether reading begins where the epoch says; else with each picture's first packet, for without PTP the phase says nothing."""


@dataclass(frozen=True)
class Limits:
    """What a sender type may reach (section 7.1), in packets; None: no bound."""

    c_most: int | None
    vrx_full: int


def schedule(format: VideoFormat, sender_type: str | None, offset_us: int | None = None, **clock: int) -> Schedule:
    """The read schedule of a format: gapped for narrow senders, else linear. `offset_us`: TROFF of the SDP, else TRODEFAULT (section 6.3)."""
    active, offset = _gapped(format)
    offset_ns = floor(offset / format.rate * _SECOND_NS) if offset_us is None else offset_us * 1000
    return Schedule(format.rate * (2 if format.interlaced else 1), active if sender_type == NARROW else Fraction(1), offset_ns, **clock)


def _gapped(format: VideoFormat) -> tuple[Fraction, Fraction]:
    """RACTIVE, and TRODEFAULT as a part of the frame's time."""
    if not format.interlaced:
        return Fraction(1080, 1125), Fraction(43, 1125) if format.height >= _TALL_ROWS else Fraction(28, 750)
    _, lines, added = next((system for system in _INTERLACED if format.height <= system[0]), _INTERLACED[-1])
    return min(Fraction(format.height, lines), Fraction(1)), Fraction(max(0, lines - format.height) // 2 + added, lines)


def limits(format: VideoFormat, picture_packets: int, sender_type: str, maxudp: int = _UDP_OCTETS_STANDARD, c_promised: int | None = None) -> Limits:
    """CMAX and VRXFULL for so many packets a picture (sections 7.1.2 to 7.1.4). `c_promised`: CMAX of the SDP, which binds where it is less."""
    most = _limits_of_type(format, picture_packets, sender_type, maxudp)
    return most if c_promised is None else Limits(c_promised if most.c_most is None else min(c_promised, most.c_most), most.vrx_full)


def _limits_of_type(format: VideoFormat, picture_packets: int, sender_type: str, maxudp: int) -> Limits:
    octets = _UDP_OCTETS_ASSUMED if maxudp == _UDP_OCTETS_STANDARD else maxudp
    packets_a_second = picture_packets * format.rate * (2 if format.interlaced else 1)
    if sender_type == WIDE:
        c_most = None if packets_a_second >= _WIDE_RATE_MAX else max(16, floor(packets_a_second / 21_600))
        return Limits(c_most, max(_UDP_OCTETS_ASSUMED * 720 // octets, floor(packets_a_second / 300)))
    active = _gapped(format)[0] if sender_type == NARROW else 1
    return Limits(max(4, floor(packets_a_second / (43_200 * active))), max(_UDP_OCTETS_ASSUMED * 8 // octets, floor(packets_a_second / 27_000)))


def verdict(measured: Mapping, declared: str | None, format: VideoFormat, maxudp: int = _UDP_OCTETS_STANDARD, c_promised: int | None = None) -> str:
    """One of VERDICTS for what Meter (or the kernel) took, judged on the declared type's schedule: that type, else wide, else none.

    Who bunches more than the SDP's CMAX (`c_promised`) is not of the declared type. Of an SDP without TP the linear schedule is measured, and the strictest type of it that holds is named.
    """
    if not measured["packets"] or measured["vrx"] is None:
        return NOT_MEASURED
    least, most = measured["vrx"]
    for sender_type in dict.fromkeys((declared or NARROW_LINEAR, WIDE)):
        bound = limits(format, measured["picture_packets"], sender_type, maxudp, c_promised if sender_type == declared else None)
        if least >= 0 and most <= bound.vrx_full and (bound.c_most is None or measured["c_most"] <= bound.c_most):
            return _WORDS[sender_type]
    return NOT_COMPLIANT


class Meter:
    """Measures packets of one path: C and VRX (section 6.6), first-packet time, latency, RTP offset, RTP delta, spacing.

    take() gives ranges as (least, most), None where nothing was measured; `spacing_ns` as (least, mean, 99th percentile, most).
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.picture_packets = self._counted = 0
        self._begun = self._valid = self._second = False
        self._last_ns = self._timestamp = self._first = self._highest = self._datum_ns = 0
        self._drain_origin_ns = self._drained = self._c = 0
        self._clear()

    def _clear(self) -> None:
        self._packets = self._pictures = self._c_most = 0
        self._found: dict[str, list[int]] = {name: [] for name in (
            "vrx", "first_packet_ns", "latency_ns", "rtp_offset_ticks", "rtp_delta_ticks", "counted_packets", "spacing")}

    def take(self) -> dict:
        """What was measured since the last call."""
        found = {name: (min(values), max(values)) if values else None for name, values in self._found.items()}
        spacings = sorted(self._found["spacing"])
        del found["spacing"]
        taken = {"packets": self._packets, "pictures": self._pictures, "picture_packets": self.picture_packets, "c_most": self._c_most, **found,
                 "spacing_ns": (spacings[0], sum(spacings) // len(spacings), spacings[-(-len(spacings) * 99 // 100) - 1], spacings[-1]) if spacings else None}
        self._clear()
        return taken

    def packet(self, sequence: int, timestamp: int, arrival_ns: int, second: bool = False) -> None:
        """Takes one packet in the order of arrival; one that comes behind a later one is left out. `second`: of the second field or segment."""
        spacing_ns, ahead = arrival_ns - self._last_ns, _signed(sequence - self._highest)
        if self._begun and (abs(spacing_ns) > GAP_NS or abs(ahead) > STEP_PACKETS):
            self._begun = self._valid = False
            self.picture_packets = self._counted = 0
        if self._begun and ahead <= 0:
            return
        if self._begun and spacing_ns < 0:
            arrival_ns, spacing_ns = self._last_ns, 0
        same = self._begun and (timestamp, second) == (self._timestamp, self._second)
        if not same:
            self._turn(sequence, timestamp, second, arrival_ns)
        self._begun, self._highest, self._last_ns = True, sequence, arrival_ns
        if not self._valid:
            return
        if same:
            self._found["spacing"].append(spacing_ns)
        if self.picture_packets:
            self._packets += 1
            self._levels(sequence, arrival_ns)

    def _turn(self, sequence: int, timestamp: int, second: bool, arrival_ns: int) -> None:
        first, shared = sequence, self._begun and timestamp == self._timestamp
        if self.picture_packets and self._valid:
            # The first packet may have been lost; the picture before says where it was.
            missed = (sequence - self._first - self.picture_packets) % 2**32
            first = (first - missed) % 2**32 if missed < FIRST_LOST_MAX else first
        if self._valid:
            packets = (first - self._first) % 2**32
            if not shared:
                self._found["rtp_delta_ticks"].append(_signed(timestamp - self._timestamp))
            self._found["counted_packets"].append(packets)
            if packets == self._counted != self.picture_packets and packets <= PICTURE_PACKETS_MAX:
                self.picture_packets, self._drain_origin_ns, self._drained, self._c = packets, self._last_ns, 0, 0
            self._counted = packets
        self._timestamp, self._second, self._first = timestamp, second, first
        self._valid = self._begun
        if self._valid:
            self._note_first(timestamp, shared, arrival_ns)

    def _note_first(self, timestamp: int, shared: bool, arrival_ns: int) -> None:
        plan = self.schedule
        number = floor(Fraction(arrival_ns - plan.offset_ns, _SECOND_NS) * plan.rate + Fraction(1, 2))
        began_ns, ticks = floor(number / plan.rate * _SECOND_NS), timestamp - plan.mediaclk_offset
        self._found["first_packet_ns"].append(arrival_ns - began_ns)
        if not shared:
            self._found["rtp_offset_ticks"].append(_signed(ticks - floor(number / plan.rate * plan.rate_hz)))
            late = _signed(arrival_ns * plan.rate_hz // _SECOND_NS - ticks) * _SECOND_NS
            self._found["latency_ns"].append(abs(late) // plan.rate_hz * (1 if late >= 0 else -1))  # toward zero, as C divides
        self._datum_ns = began_ns + plan.offset_ns if plan.by_epoch else arrival_ns
        self._pictures += 1

    def _levels(self, sequence: int, arrival_ns: int) -> None:
        plan, packets = self.schedule, self.picture_packets
        # Source: section 6.6.1: one packet leaves at every TDRAIN, if there is one; the level is read with the entering packet in it.
        drained = floor((arrival_ns - self._drain_origin_ns) * packets * plan.rate * BETA / _SECOND_NS)
        self._c, self._drained = max(0, self._c - (drained - self._drained)) + 1, drained
        self._c_most = max(self._c_most, self._c)
        # Source: section 6.6.2: packet j leaves at TVD + j x TRS.
        since_ns = arrival_ns - self._datum_ns
        read = min(packets, floor(since_ns * packets * plan.rate / plan.active / _SECOND_NS) + 1) if since_ns >= 0 else 0
        self._found["vrx"].append((sequence - self._first) % 2**32 + 1 - read)


def _signed(value: int) -> int:
    """The difference of two numbers of 32 bits that wrap."""
    return (value + 2**31) % 2**32 - 2**31
