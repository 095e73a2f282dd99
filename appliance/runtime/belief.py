"""How far a sender's RTP times are believed to be capture times: as far as this machine's own clock is. Used by the stages that receive.

The exporter knows the clock and tells by a cell of each stream; where it has not spoken yet, the clock is not trusted.
"""
from appliance.runtime.counters import Counters

TRUSTED_NS_MAX = 2_000_000_000
"""With clocks on one time on both sides: cameras that process for long, and networks that keep packets for long, included."""
TRUSTED_WINDOW_NS = (TRUSTED_NS_MAX, TRUSTED_NS_MAX)
EARLY_NS_MAX = 1_000_000
"""Without: a time after the arrival is wrong; a millisecond lets stamps and rounding pass. Before the arrival it may lie one picture's time."""


class Belief:
    """Follows the exporter's cell of a stream."""

    def __init__(self, counters: Counters, stream: str, picture_ns: int) -> None:
        self._trusted = counters.segment.find("exporter", "appliance_stream_clock_trusted", stream=stream)
        self._picture_ns = picture_ns
        self.trusted: bool | None = None

    def changed(self) -> bool:
        """Looks at the cell; True at first and whenever it has become another."""
        before, self.trusted = self.trusted, bool(self._trusted.value)
        return before is not self.trusted

    @property
    def window_ns(self) -> tuple[int, int]:
        """How long after, and before, the arrival an RTP time may lie to be a capture time."""
        return TRUSTED_WINDOW_NS if self.trusted else (EARLY_NS_MAX, self._picture_ns)
