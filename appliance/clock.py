"""Instants and RTP ticks. Every time in the appliance is TAI nanoseconds since 1970 (ST 2110-10) or monotonic nanoseconds.

Used by every stage; knows nothing of PTP itself.
"""
import hashlib
import time
from dataclasses import dataclass

_SECOND_NS = 1_000_000_000
_YEAR_MS = 31_557_600_000
SHIFT_LEAST_MS, SHIFT_SPAN_MS = _YEAR_MS, 10 * _YEAR_MS
"""An audience's secret clock is behind ours by one to eleven years: never ahead, for a date in the future would look like a mistake."""
# TAI is 37 s ahead of UTC since 2017. A kernel without a PTP or NTP daemon reports CLOCK_TAI == CLOCK_REALTIME.
TAI_MINUS_UTC_S = 37


@dataclass(frozen=True)
class AudienceClock:
    """The clock of every time that leaves for one audience: ours, moved by whole milliseconds, so that it is moved by whole RTP ticks too."""

    shift_ms: int = 0

    @classmethod
    def secret(cls, secret: bytes, stream: str) -> "AudienceClock":
        """The clock of a stream's class; nobody finds the shift without `secret`, of 1 to 64 octets."""
        assert secret, "a shift that anybody could work out hides nothing"
        digest = hashlib.blake2b(stream.encode(), key=secret, person=b"audience clock", digest_size=16).digest()
        return cls(-SHIFT_LEAST_MS - int.from_bytes(digest, "big") % SHIFT_SPAN_MS)

    def at(self, instant_ns: int) -> int:
        """What it shows at an instant, in nanoseconds, of any of our clocks."""
        return instant_ns + self.shift_ms * 1_000_000

    def ticks(self, rate_hz: int = 90_000) -> int:
        """Ticks to add to an RTP timestamp, modulo 2^32; exact for rates of whole kilohertz."""
        return self.shift_ms * rate_hz // 1000 & 0xFFFF_FFFF


def tai_correction_ns() -> int:
    """Nanoseconds to add to CLOCK_TAI now; 0 where the kernel knows the leap seconds. A PTP or NTP daemon may tell it at any time."""
    kernel_offset_ns = time.clock_gettime_ns(time.CLOCK_TAI) - time.clock_gettime_ns(time.CLOCK_REALTIME)
    return 0 if kernel_offset_ns > _SECOND_NS else TAI_MINUS_UTC_S * _SECOND_NS


def tai_ns() -> int:
    """Now in TAI nanoseconds since 1970-01-01 00:00:00 TAI."""
    return time.clock_gettime_ns(time.CLOCK_TAI) + tai_correction_ns()


def monotonic_ns() -> int:
    """Now on the clock that never jumps; for intervals only."""
    return time.monotonic_ns()


def rtp_timestamp(instant_tai_ns: int, rate_hz: int = 90_000) -> int:
    """RTP timestamp of an instant: floor(TAI x rate) mod 2^32 (ST 2110-10, mediaclk direct=0)."""
    return (instant_tai_ns * rate_hz // _SECOND_NS) & 0xFFFF_FFFF


def unwrap_rtp_timestamp(timestamp: int, near_tai_ns: int, rate_hz: int = 90_000) -> int:
    """The TAI instant in nanoseconds, nearest to `near_tai_ns`, that has this RTP timestamp (it wraps every 13.26 h at 90 kHz).

    Rounded up to the first nanosecond inside the tick, so that rtp_timestamp() of the result gives the timestamp back.
    """
    near_ticks = near_tai_ns * rate_hz // _SECOND_NS
    difference = (timestamp - near_ticks + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000
    return -(-(near_ticks + difference) * _SECOND_NS // rate_hz)
