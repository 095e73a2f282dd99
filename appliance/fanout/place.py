"""A viewer's place among the levels of its rendition: the one it is sent, the one it is meant to get, and the moves between them.

Held by fanout.session, on the event loop. Both levels count the viewer until a move has come true: the target's encoder must wake before
its keyframe can come. Decides nothing; fanout.adaptation does.
"""
from collections.abc import Mapping, Sequence

from appliance.fanout.adaptation import Adaptation, Move
from appliance.fanout.rendition import JOIN_INTERVAL_S, Rendition
from appliance.fanout.viewer_report import ViewerReport
from appliance.frame import LEVELS, Level
from appliance.protocol.rtcp import Feedback
from cext.fanout import Fanout, ViewerStats

# Feedback comes many times a second when packets get lost. Looking at it this often is soon enough, and bounds what it costs.
LOOK_INTERVAL_S = 0.2
# Who misses more at once was cut off. A keyframe is smaller than that and comes at once, while resends beyond the fan-out's limit never
# come: a browser asks for each of those again and again, and says only when it has given up that the picture is lost.
RESENDS_AT_ONCE_MAX = 128
# Until the keyframe is there, the viewer goes on asking for what it does not need any more.
CUT_OFF_INTERVAL_S = 0.5
_SECOND_NS = 1_000_000_000


class Place:
    """One viewer's. It begins on the best level that there is."""

    def __init__(self, fanout: Fanout, renditions: Mapping[Level, Rendition], needs_bps: Mapping[Level, int]) -> None:
        """`renditions`: one at least, all with the same SSRC; `needs_bps`: the configured rate of each."""
        self._fanout, self._renditions = fanout, renditions
        self._needs_bps = {level: needs_bps[level] for level in renditions}
        self.present = next(renditions[level] for level in LEVELS if level in renditions)
        self._target: Rendition | None = None
        self._viewer = -1
        self._adaptation: Adaptation | None = None
        self._looked_s = self._cut_off_s = float("-inf")

    def admit(self) -> None:
        """Counts the viewer, from its offer on: encoders wake while it still connects."""
        self.present.admit()

    def dismiss(self) -> None:
        """Counts it no more."""
        self.present.dismiss()
        if self._target is not None:
            self._target.dismiss()
            self._target = None

    def take(self, viewer: int, now_s: float, spread: float) -> None:
        """The viewer is in the fan-out now, on the present level. `spread` (0 to 1) sets its attempts apart from other viewers' in time."""
        self._viewer = viewer
        self._adaptation = Adaptation(self._needs_bps, now_s, spread)

    def heard(self, feedback: Feedback, now_ntp: int, now_s: float) -> None:
        """The viewer's feedback."""
        for report in feedback.reports:
            trip_ns = report.round_trip_ns(now_ntp)
            self._adaptation.reported(report.highest_sequence, report.packets_lost, None if trip_ns is None else trip_ns / _SECOND_NS, now_s)
        if feedback.estimate_bps is not None:
            self._adaptation.estimated(feedback.estimate_bps, now_s)
        if now_s - self._looked_s >= LOOK_INTERVAL_S:
            self._look(now_s)

    def watched(self, report: ViewerReport, now_s: float) -> None:
        """What the viewer's page saw."""
        self._adaptation.watched(report, now_s)

    def tick(self, stats: ViewerStats, now_s: float) -> None:
        """Once a second: what was sent."""
        self._adaptation.sent(stats.octets, stats.skips, now_s)
        self._look(now_s)
        if self._target is not None:
            self._target.request_keyframe()  # the one that was asked for is overdue: perhaps its encoder has just started anew

    def lost(self, sequences: Sequence[int], now_s: float) -> None:
        """The viewer misses these packets: they are sent again or, where they are too many, made needless by a keyframe."""
        if len(sequences) <= RESENDS_AT_ONCE_MAX:
            self._fanout.nack(self._viewer, sequences)
        elif now_s - self._cut_off_s >= CUT_OFF_INTERVAL_S:
            self._cut_off_s = now_s
            self._fanout.skip_viewer(self._viewer)
            self._fanout.take_keyframe_wanted(self.present.identifier)  # this viewer's wish, said in the next line
            self.request_keyframe()

    def request_keyframe(self) -> None:
        """The viewer lost the picture."""
        self._settle()
        self.present.request_keyframe()

    def _look(self, now_s: float) -> None:
        self._looked_s = now_s
        if self._settle():
            self._adaptation.arrived(now_s)
        move = self._adaptation.decide(now_s)
        if move is not None:
            self._move(move)

    def _settle(self) -> bool:
        """Whether the viewer has just arrived where it was meant to get."""
        target = self._target
        if target is None or self._fanout.viewer_stats(self._viewer).rendition != target.identifier:
            return False
        self.present.dismiss()
        self.present, self._target = target, None
        return True

    def _move(self, move: Move) -> None:
        rendition = self._renditions[move.level]
        rendition.moves[move.reason].add()
        if self._target is not None:
            self._target.dismiss()
            self._target = None
            # Only a move that never came true is replaced; back to the present level means to cancel it.
            if rendition is self.present:
                self._fanout.move_viewer(self._viewer, rendition.identifier, move.pause)
        elif rendition is self.present:
            self._fanout.skip_viewer(self._viewer)
        if rendition is not self.present:
            rendition.admit()
            self._target = rendition
            self._fanout.move_viewer(self._viewer, rendition.identifier, move.pause)
        self._fanout.take_keyframe_wanted(rendition.identifier)  # this viewer's wish, said in the next line with its own interval
        rendition.request_keyframe(JOIN_INTERVAL_S)
