"""What a viewer's feedback says of its network: its estimate, what resends do not repair, and how long packets queue. For fanout.adaptation.

Sans-IO; a handful of numbers a viewer, whatever comes. Draws no conclusions.
"""
from collections import deque

# Chromium repeats its estimate five times a second, and with each NACK.
ESTIMATE_AGE_MAX_S = 3.0
ESTIMATE_SPACING_S, ESTIMATES_KEPT = 0.1, 12
# An estimate that nothing holds back grows by 8 % a second.
ESTIMATE_RISES_BY = 0.02  # a second
ESTIMATE_COMPARED_S = 0.3

LOSS_WINDOW_S = 0.5
LOSS_AGE_MAX_S = 3.0
PACKETS_MIN = 20  # in a window, for a fraction of them to mean something
# Nothing arrived for so long: an outage. What was sent in it is lost, and says nothing of what the network carries afterwards.
OUTAGE_S = 1.0

ROUND_TRIPS_SMOOTHED = 4
ROUND_TRIP_BEST_RISES = 0.002  # seconds a second: a viewer that changes its network may be farther away for good


class Lasting:
    """For how long something has been true."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def lasts_s(self, is_true: bool, now_s: float) -> float:
        """Notes whether it is true now; seconds that it has been, -1 if it is not."""
        if not is_true:
            self._since_s = None
            return -1.0
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s

    def clear(self) -> None:
        """Begins anew."""
        self._since_s = None


class Estimate:
    """The receiver's own estimate (REMB), and whether it rises."""

    def __init__(self) -> None:
        self._heard: deque[tuple[float, int]] = deque(maxlen=ESTIMATES_KEPT)
        self._latest: tuple[float, int] | None = None

    def heard(self, bits_per_second: int, now_s: float) -> None:
        """An estimate came."""
        self._latest = now_s, bits_per_second
        if not self._heard or now_s - self._heard[-1][0] >= ESTIMATE_SPACING_S:
            self._heard.append(self._latest)

    def bps(self, now_s: float) -> int | None:
        """The latest, None if there is none or it is old."""
        return self._latest[1] if self._latest is not None and now_s - self._latest[0] <= ESTIMATE_AGE_MAX_S else None

    def rises(self, now_s: float) -> bool:
        """Whether it grew over about the last second; true while that cannot be said."""
        if self._latest is None or now_s - self._heard[0][0] < ESTIMATE_COMPARED_S:
            return True
        then_s, then_bps = self._heard[0]
        return self._latest[1] > then_bps * (1 + ESTIMATE_RISES_BY * (now_s - then_s))


class Loss:
    """What receivers count as lost after all resends, over windows of reports."""

    def __init__(self) -> None:
        self._anchor: tuple[float, int, int] | None = None
        self._highest, self._advanced_s = 0, 0.0
        self._fraction, self._known_s = 0.0, float("-inf")

    def reported(self, highest_sequence: int, packets_lost: int, now_s: float) -> None:
        """A report's totals: the extended highest sequence number and the cumulative number of packets lost."""
        if highest_sequence != self._highest:
            stalled_s = now_s - self._advanced_s
            self._highest, self._advanced_s = highest_sequence, now_s
            if self._anchor is None or stalled_s > OUTAGE_S:
                self._anchor = now_s, highest_sequence, packets_lost
        if self._anchor is None or now_s - self._anchor[0] < LOSS_WINDOW_S:
            return
        expected, lost = highest_sequence - self._anchor[1], packets_lost - self._anchor[2]
        if expected >= PACKETS_MIN:
            # A resend that came after the last window makes this one's loss negative.
            self._fraction, self._known_s = min(1.0, max(0.0, lost / expected)), now_s
            self._anchor = now_s, highest_sequence, packets_lost
        elif expected < 0:
            self._anchor = None

    def fraction(self, now_s: float) -> float:
        """Of the packets of the last window; 0 when none is known that is not too old."""
        return self._fraction if now_s - self._known_s <= LOSS_AGE_MAX_S else 0.0

    def clear(self) -> None:
        """Begins anew with the next report."""
        self._anchor, self._known_s = None, float("-inf")


class Delay:
    """Round trips above the best that there was."""

    def __init__(self) -> None:
        self._best_s, self._smoothed_s, self._measured_s = float("inf"), 0.0, 0.0

    def measured(self, round_trip_s: float, now_s: float) -> None:
        """A round trip, measured by a report."""
        if self._best_s == float("inf"):
            self._best_s = self._smoothed_s = round_trip_s
        else:
            self._smoothed_s += (round_trip_s - self._smoothed_s) / ROUND_TRIPS_SMOOTHED
            self._best_s = min(self._best_s + (now_s - self._measured_s) * ROUND_TRIP_BEST_RISES, round_trip_s)
        self._measured_s = now_s

    @property
    def excess_s(self) -> float:
        """Seconds that the smoothed round trip lies above the best."""
        return 0.0 if self._best_s == float("inf") else self._smoothed_s - self._best_s
