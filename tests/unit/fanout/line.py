"""A viewer's network and browser as far as adaptation hears of them: a bottleneck with a queue, random loss, and libwebrtc's estimate."""
from appliance.fanout.adaptation import Adaptation
from appliance.frame import Level

NEEDS_BPS = {Level.FULL: 6_000_000, Level.HALF: 2_500_000, Level.SMALL: 700_000}
STEP_S = 0.2
PACKET_BITS = 9600
# libwebrtc's receiver: 0.85 of what arrives when packets queue up, 8 % a second up to 1.5 times of what arrives otherwise.
BACK_OFF, GROWTH_A_SECOND, CAP = 0.85, 1.08, 1.5
FIRST_ESTIMATE_S = 5.0


class Line:
    """Lives in steps of 0.2 s.

    `line_bps` None: no bottleneck. `estimates`: whether the viewer sends REMB; `misled`: jitter holds that down to this much of what arrives.
    `fill`: of each level's rate that is sent.
    """

    def __init__(self, line_bps=None, queue_s=0.2, lost=0.0, estimates=True, misled=None, base_trip_s=0.02, fill=0.8):
        self.line_bps, self.queue_s, self.lost, self.estimates, self.base_trip_s, self.fill = line_bps, queue_s, lost, estimates, base_trip_s, fill
        self.misled = misled
        self.now_s = 1000.0
        self.begun_s = self.now_s
        self.adaptation = Adaptation(NEEDS_BPS, self.now_s)
        self.level = Level.FULL
        self.moves = []
        self._highest, self._lost_total, self._octets, self._skips = 5000, 0.0, 0, 0
        self._queued_bits, self._estimate_bps, self._steps = 0.0, None, 0

    def live(self, seconds):
        """Lets that time pass; returns the moves in it: (seconds since the beginning, level, reason)."""
        before = len(self.moves)
        for _ in range(round(seconds / STEP_S)):
            self._step()
        return self.moves[before:]

    def skip(self):
        """The viewer's socket was full."""
        self._skips += 1

    def _step(self):
        self.now_s += STEP_S
        self._steps += 1
        sent_bits = NEEDS_BPS[self.level] * self.fill * STEP_S
        dropped_bits = self._carry(sent_bits)
        packets = sent_bits / PACKET_BITS
        self._highest += round(packets)
        # What is lost at random is repaired, but for what is lost again.
        self._lost_total += dropped_bits / PACKET_BITS + packets * self.lost ** 2
        self._octets += round(sent_bits / 8)
        if self._steps % 5 == 0:
            self.adaptation.sent(self._octets, self._skips, self.now_s)
        trip_s = self.base_trip_s + (self._queued_bits / self.line_bps if self.line_bps else 0.0)
        self.adaptation.reported(self._highest, round(self._lost_total), trip_s, self.now_s)
        if self._estimate_bps is not None and self.estimates:
            self.adaptation.estimated(round(self._estimate_bps), self.now_s)
        move = self.adaptation.decide(self.now_s)
        if move is not None:
            self.moves.append((round(self.now_s - self.begun_s, 1), move.level, move.reason))
            if move.level is not self.level:
                self.level = move.level
                self.adaptation.arrived(self.now_s)

    def _carry(self, sent_bits):
        """The bits that the queue has no room for; brings the estimate up to date."""
        room = self.line_bps * STEP_S if self.line_bps else float("inf")
        grown = self._queued_bits + sent_bits - room
        queues = self.line_bps is not None and grown > self._queued_bits
        arrived_bps = min(sent_bits, room) / STEP_S
        longest = self.line_bps * self.queue_s if self.line_bps else 0.0
        self._queued_bits = min(max(0.0, grown), longest)
        if self.misled is not None:
            self._estimate_bps = self.misled * arrived_bps
        elif queues:
            self._estimate_bps = min(self._estimate_bps or float("inf"), BACK_OFF * arrived_bps)
        elif self._estimate_bps is None and self.now_s - self.begun_s >= FIRST_ESTIMATE_S:
            self._estimate_bps = arrived_bps
        elif self._estimate_bps is not None:
            self._estimate_bps = max(self._estimate_bps, min(self._estimate_bps * GROWTH_A_SECOND ** STEP_S, CAP * arrived_bps))
        return max(0.0, grown - longest)
