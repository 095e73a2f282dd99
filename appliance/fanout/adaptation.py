"""Which level of the picture a viewer's network carries, from what the viewer and its socket tell. Asked by fanout.session.

Sans-IO: seconds of any monotonic clock come in, moves go out. Down fast, because too much freezes the picture; up slowly and ever more
slowly, because each failed attempt costs the viewer a stutter. The same for experts: a frozen picture serves a surgeon worse than a small one.
"""
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.fanout.network import Delay, Estimate, Lasting, Loss
from appliance.fanout.viewer_report import ViewerReport
from appliance.frame import LEVELS, Level
from appliance.runtime.metrics import FANOUT_MOVES

BANDWIDTH, LOSS, DELAY, SKIPS, LATENCY, HEADROOM, ATTEMPT = FANOUT_MOVES

# What the viewer must be able to receive for a level, by that level's configured rate: keyframes, resends and headers come on top.
MARGIN = 1.1
# After a move the old level's packets are still in the queues: what is heard in this time says nothing of the new one.
# What is tried on a level that was fine is clear sooner.
SETTLE_S, SETTLE_CLIMBED_S = 1.5, 0.5
# A move that has not come true by now (its encoder is just starting anew) no longer keeps others from being decided.
MOVE_LIMIT_S = 5.0

# libwebrtc sets its estimate to this much of what arrives whenever packets queue up.
ESTIMATE_OF_ARRIVING = 0.85
# It does so under jitter too, and then grows by a few kbit/s a second; so it counts only beside a queue or a loss of our own knowledge.
# Measured: 20 ms jitter on a busy machine: 1.4 Mbit/s for the 4.3 that arrived (Chromium 156, 2026-11-22).
# It must be lower than that and must not recover; far below what is sent, the queue is filling now.
# Measured: 2 Mbit/s for 4.7: 0.8 of the rate sent after 0.2 s, 0.57 after 0.5 s, 0.26 after a second (Chromium 156, 2026-11-22).
ESTIMATE_LOW, ESTIMATE_LOW_S = 0.8, 3.0
ESTIMATE_FAR_TOO_LOW, ESTIMATE_FAR_TOO_LOW_S = 0.65, 0.4
# It still falls when it is far too low: what it will come to is about this much of it.
ESTIMATE_STILL_FALLS = 0.7

# Loss that remains after resends. Wi-Fi that drops 5 % at random leaves a few tenths of a percent.
LOSS_HIGH, LOSS_HIGH_S = 0.10, 0.5
LOSS_RELEVANT, LOSS_RELEVANT_S = 0.02, 2.0
# The first seconds of a viewer have no estimate and nothing to look back on, and those of an attempt are there to fail: one bad report is enough.
TRIAL_S, LOSS_ON_TRIAL = 4.0, 0.15

# Round trips above their own best. GROWN counts beside loss; HIGH alone: a queue that long is what a viewer sees as latency.
DELAY_GROWN_S = 0.1
DELAY_HIGH_S, DELAY_HIGH_LASTS_S = 0.4, 3.0

SKIPS_MAX, SKIPS_WITHIN_S = 3, 10.0

# The page's latency above its own best, by two reports at least. The best is forgotten slowly, for clocks drift.
LATENCY_EXCESS_S, LATENCY_LASTS_S = 0.25, 4.0
LATENCY_BEST_RISES = 0.002  # seconds a second

# An attempt to go up: after so long without any trouble, the longer the more of them failed; each viewer's times differ, so that those
# behind one access point do not all try at once.
PATIENCE_S, PATIENCE_MAX_S = 10.0, 600.0
PATIENCE_WITH_HEADROOM = 0.5
FAILED_WITHIN_S, PROVEN_AFTER_S = 20.0, 60.0


@dataclass(frozen=True)
class Move:
    """What to do: send `level` from its next keyframe on, or, if that is the present one, nothing until the next keyframe.

    `pause`: what is sent now does not get through, so that nothing more of it is worth sending.
    """

    level: Level
    reason: str
    pause: bool


class Adaptation:
    """One viewer's. It starts on the best level."""

    def __init__(self, needs_bps: Mapping[Level, int], now_s: float, spread: float = 0.0) -> None:
        """`needs_bps`: the configured rate of each level that there is, one at least; `spread` (0 to 1) sets viewers apart in time."""
        self._needs_bps = needs_bps
        self._levels = tuple(level for level in LEVELS if level in needs_bps)
        self.level = self._levels[0]
        self._estimate, self._loss, self._delay = Estimate(), Loss(), Delay()
        self._far_too_low, self._too_low, self._lossy, self._relevant, self._late = (Lasting() for _ in range(5))
        self._suspicious = False
        self._sent_bps = self._rate_bps = 0.0
        self._totals: tuple[float, int, int] | None = None
        self._skips: deque[float] = deque(maxlen=SKIPS_MAX)
        self._best_latency_s, self._latency_at_s = float("inf"), now_s
        self._creeping, self._late_pictures, self._skipped_for_latency = Lasting(), False, False
        self._arrived_s = self._steady_since_s = now_s
        self._on_trial, self._climbed, self._settle_s = True, False, 0.0
        self._moving_since_s: float | None = None
        self._spread = 1.0 + spread / 2
        self._patience_s = dict.fromkeys(self._levels, PATIENCE_S)

    # What is heard.

    def reported(self, highest_sequence: int, packets_lost: int, round_trip_s: float | None, now_s: float) -> None:
        """A receiver report (RFC 3550 section 6.4.1: extended highest sequence number, cumulative loss)."""
        self._loss.reported(highest_sequence, packets_lost, now_s)
        if round_trip_s is not None:
            self._delay.measured(round_trip_s, now_s)

    def estimated(self, bits_per_second: int, now_s: float) -> None:
        """The viewer's own estimate of what it can receive (REMB)."""
        self._estimate.heard(bits_per_second, now_s)

    def sent(self, octets: int, skips: int, now_s: float) -> None:
        """Totals of what was sent, about once a second: payload octets, and times that the viewer had to wait because its socket was full."""
        if self._totals is not None and now_s > self._totals[0]:
            then_s, octets_then, skips_then = self._totals
            rate_bps = (octets - octets_then) * 8 / (now_s - then_s)
            # What piles up while the box stands still leaves at once afterwards: one such second is no rate to hold an estimate against.
            self._sent_bps, self._rate_bps = min(rate_bps, self._rate_bps or rate_bps), rate_bps
            self._skips.extend([now_s] * min(SKIPS_MAX, skips - skips_then))
        self._totals = now_s, octets, skips

    def watched(self, report: ViewerReport, now_s: float) -> None:
        """What the viewer's page saw. A hidden page, or one whose clock is not ours, says nothing of latency."""
        if report.hidden or report.latency is None:
            self._creeping.clear()
            self._late_pictures = False
            return
        latency_s = report.latency.p50_s
        self._best_latency_s = min(latency_s, self._best_latency_s + (now_s - self._latency_at_s) * LATENCY_BEST_RISES)
        self._latency_at_s = now_s
        lasted_s = self._creeping.lasts_s(latency_s > self._best_latency_s + LATENCY_EXCESS_S, now_s)
        self._late_pictures = lasted_s >= LATENCY_LASTS_S
        self._skipped_for_latency &= lasted_s >= 0

    def arrived(self, now_s: float) -> None:
        """The last move has come true: the viewer is sent the level that it was meant to get."""
        self._moving_since_s = None
        self._arrived_s = self._steady_since_s = now_s
        self._forget()

    # What follows from it.

    def decide(self, now_s: float) -> Move | None:
        """The move that is due, if one is. It counts as begun."""
        if self._moving_since_s is not None and now_s - self._moving_since_s < MOVE_LIMIT_S or now_s - self._arrived_s < self._settle_s:
            return None
        reason = self._trouble(now_s)
        if reason is not None:
            self._steady_since_s = now_s
            return self._down(reason, now_s)
        return self._up(now_s)

    def _trouble(self, now_s: float) -> str | None:
        """Why less should be sent."""
        estimate_bps, loss, excess_s = self._estimate.bps(now_s), self._loss.fraction(now_s), self._delay.excess_s
        short = estimate_bps is not None and estimate_bps < self._sent_bps and not self._estimate.rises(now_s)
        grown = excess_s > DELAY_GROWN_S
        if grown or loss >= LOSS_RELEVANT:
            self._steady_since_s = now_s
            reason = self._network_trouble(estimate_bps if short else float("inf"), loss, excess_s, short or grown, now_s)
            if reason is not None:
                return reason
        elif self._suspicious:
            self._forget_suspicions()
        if len(self._skips) == SKIPS_MAX and now_s - self._skips[0] < SKIPS_WITHIN_S:
            return SKIPS
        return LATENCY if self._late_pictures else None

    def _network_trouble(self, estimate_bps: float, loss: float, excess_s: float, queued: bool, now_s: float) -> str | None:
        """What has lasted too long. Every duration is brought up to date, whichever reason comes first."""
        self._suspicious = True
        far_too_low = self._far_too_low.lasts_s(estimate_bps < ESTIMATE_FAR_TOO_LOW * self._sent_bps, now_s)
        too_low = self._too_low.lasts_s(estimate_bps < ESTIMATE_LOW * self._sent_bps, now_s)
        lossy = self._lossy.lasts_s(loss >= LOSS_HIGH, now_s)
        relevant = self._relevant.lasts_s(loss >= LOSS_RELEVANT and queued, now_s)
        late = self._late.lasts_s(excess_s > DELAY_HIGH_S, now_s)
        if far_too_low > ESTIMATE_FAR_TOO_LOW_S or too_low > ESTIMATE_LOW_S:
            return BANDWIDTH
        if lossy > LOSS_HIGH_S or relevant > LOSS_RELEVANT_S or self._on_trial and now_s - self._arrived_s < TRIAL_S and loss >= LOSS_ON_TRIAL:
            return LOSS
        return DELAY if late > DELAY_HIGH_LASTS_S else None

    def _down(self, reason: str, now_s: float) -> Move | None:
        if reason == LATENCY and not self._skipped_for_latency:
            # Perhaps only what lies in the queues is too old. Nothing moves, so the viewer is where it was at once.
            self._skipped_for_latency, self._late_pictures = True, False
            self._creeping.clear()
            return Move(self.level, reason, pause=True)
        if self.level is self._levels[-1]:
            return None
        below = self._levels[self._levels.index(self.level) + 1:]
        on_level_s = now_s - self._arrived_s
        if on_level_s > PROVEN_AFTER_S:
            self._patience_s.update(dict.fromkeys((self.level, *below), PATIENCE_S))
        elif self._on_trial and on_level_s < FAILED_WITHIN_S:
            self._patience_s[self.level] = min(PATIENCE_MAX_S, self._patience_s[self.level] * 2)
            if self._climbed:
                return self._begin(below[0], reason, True, now_s)  # where it came from, and where all was well
        return self._begin(self._affordable(reason, below, now_s), reason, True, now_s)

    def _affordable(self, reason: str, below: tuple[Level, ...], now_s: float) -> Level:
        """The best level of those below that fits what gets through; the next one where that is not what is wrong."""
        if reason not in (BANDWIDTH, LOSS):
            return below[0]
        sent_bps = self._sent_bps or self._needs_bps[self.level]  # within the first second nothing is measured yet
        capacity_bps = sent_bps * (1 - self._loss.fraction(now_s))
        estimate_bps = self._estimate.bps(now_s)
        if estimate_bps is not None and estimate_bps < sent_bps:
            falls = reason == BANDWIDTH and estimate_bps < ESTIMATE_FAR_TOO_LOW * sent_bps
            capacity_bps = min(capacity_bps, estimate_bps * ESTIMATE_STILL_FALLS if falls else estimate_bps / ESTIMATE_OF_ARRIVING)
        # A quiet picture needs less than its level's rate, and does so on every level.
        share = min(1.0, max(0.5, sent_bps / self._needs_bps[self.level]))
        return next((level for level in below if self._needs_bps[level] * share * MARGIN <= capacity_bps), below[-1])

    def _up(self, now_s: float) -> Move | None:
        if self.level is self._levels[0]:
            return None
        target = self._levels[self._levels.index(self.level) - 1]
        patience_s, steady_s = self._patience_s[target] * self._spread, now_s - self._steady_since_s
        estimate_bps = self._estimate.bps(now_s)
        if estimate_bps is not None and estimate_bps >= MARGIN * self._needs_bps[target]:
            return self._begin(target, HEADROOM, False, now_s) if steady_s > patience_s * PATIENCE_WITH_HEADROOM else None
        # A lower one forbids nothing: it cannot exceed 1.5 times of what it gets, and creeps for minutes once it fell.
        return self._begin(target, ATTEMPT, False, now_s) if steady_s > patience_s else None

    def _begin(self, level: Level, reason: str, pause: bool, now_s: float) -> Move:
        self._on_trial = self._climbed = not pause
        self._settle_s = SETTLE_S if pause else SETTLE_CLIMBED_S
        self.level, self._moving_since_s = level, now_s
        self._forget()
        return Move(level, reason, pause)

    def _forget(self) -> None:
        """What was heard of another level says nothing of this one."""
        self._forget_suspicions()
        self._creeping.clear()
        self._loss.clear()
        self._skips.clear()
        self._late_pictures = self._skipped_for_latency = False

    def _forget_suspicions(self) -> None:
        self._suspicious = False
        for lasting in (self._far_too_low, self._too_low, self._lossy, self._relevant, self._late):
            lasting.clear()
