"""What the sound stage counts: moves the totals of tape and sockets to its cells, and says what a person should read in the log."""
from collections import Counter
from collections.abc import Hashable

from appliance.protocol import pcm
from appliance.protocol.sdp import AudioFlow
from appliance.runtime.counters import Cell, Counters
from appliance.runtime.log import GoodNews
from appliance.runtime.metrics import SOUND_DRIFTS
from appliance.sound.timeline import Timeline
from cext.sound import Listening, Tape

LOST_AFTER_NS = 1_000_000_000
"""Without a frame for longer, the sound counts as lost."""
SILENT_PEAK = 1e-4
"""Below it nobody hears anything; a quiet room is louder. As the page has it (loudness.ts)."""
_INTERVAL_NS = 1_000_000_000
_GIGA = 1_000_000_000


class Accounts:
    """Moves what is new to the stage's cells, once a second."""

    def __init__(self, flow: AudioFlow, counters: Counters, now_ns: int) -> None:
        self._flow = flow
        names = {"packets": "packets", "octets": "bytes", "lost": "packets_lost", "duplicate": "packets_duplicate", "reordered": "packets_reordered",
                 "late": "packets_late", "early": "packets_early", "kernel_drops": "kernel_drops", "restarts": "sender_restarts", "outages": "sender_outages",
                 "packet_time_wrong": "packets_of_other_length", "clipped": "samples_clipped"}
        self._cells = {name: counters.counter(f"appliance_sound_{metric}_total") for name, metric in names.items()}
        self._malformed = {reason: counters.counter("appliance_sound_packets_malformed_total", reason=reason) for reason in pcm.REASONS}
        self._silence = counters.counter("appliance_sound_missing_seconds_total")
        self._lost, self._by_arrival = counters.gauge("appliance_sound_lost"), counters.gauge("appliance_sound_arrival_timed")
        self._peak, self._delay = counters.gauge("appliance_sound_peak_ratio"), counters.gauge("appliance_sound_delay_seconds")
        self._silent, self._loud_ns = counters.gauge("appliance_sound_silent_seconds"), now_ns
        self._drift = {direction: counters.gauge("appliance_sound_drift_ppm", direction=direction) for direction in SOUND_DRIFTS}
        self._seen: Counter = Counter()
        self._moved_ns = self._heard_ns = now_ns
        self._was_by_arrival = self._was_lost = False

    def heard(self, now_ns: int) -> None:
        """A frame came."""
        self._heard_ns = now_ns

    def move(self, tape: Tape, listening: Listening, timeline: Timeline | None, now_ns: int) -> list[str]:
        """Adds what is new, if a second has passed; returns what a person should read in the log."""
        if now_ns - self._moved_ns < _INTERVAL_NS:
            return []
        self._moved_ns = now_ns
        totals = tape.statistics() | listening.statistics()
        remarks = self._remarks(totals, now_ns)
        for name, cell in self._cells.items():
            self._add(cell, name, totals[name])
        for reason, cell in self._malformed.items():
            self._add(cell, ("malformed", reason), totals["malformed"][reason])
        self._add(self._silence, "silence", totals["ticks_missing"] * _GIGA // self._flow.rate_hz)
        self._lost.set(self._was_lost)
        self._hear(tape.take_peak(), now_ns)
        return remarks + self._show(timeline)

    def _hear(self, peak: float, now_ns: int) -> None:
        """How loud the last second was. Of what is lost nobody knows how loud it would have been."""
        self._peak.set(round(peak * _GIGA))
        if self._was_lost or peak >= SILENT_PEAK:
            self._loud_ns = now_ns
        self._silent.set((now_ns - self._loud_ns) // _GIGA)

    def _show(self, timeline: Timeline | None) -> list[str]:
        """What the time line knows of the sender's clock."""
        drift = (timeline and timeline.drift_ppm) or 0
        self._drift["fast"].set(max(0, drift))
        self._drift["slow"].set(max(0, -drift))
        self._delay.set(max(0, (timeline and timeline.delay_ns) or 0))
        by_arrival = timeline is not None and timeline.by_arrival
        self._by_arrival.set(by_arrival)
        remarks = []
        if by_arrival and not self._was_by_arrival:
            remarks.append("the sound's RTP times are not near this machine's TAI time: one of the two clocks is not on PTP, and the arrival is taken "
                           "for the capture time; sound and picture may be apart by as much as the network delays one more than the other")
        self._was_by_arrival = by_arrival
        return remarks

    def _remarks(self, totals: dict, now_ns: int) -> list[str]:
        flow, seen, remarks = self._flow, self._seen, []
        if totals["restarts"] > seen["restarts"]:
            remarks.append("the sender of the sound restarted (another SSRC, sequence or time); following it")
        if totals["malformed"]["samples"] and not seen["malformed", "samples"]:
            remarks.append(f"the packets do not hold what the SDP describes, {flow.channels} channel(s) of {flow.depth} bit: their timestamps advance by another "
                           "number of samples. It would be noise, so it is not played. Fetch the SDP from the device again and restart the appliance")
        if totals["packet_time_wrong"] and not seen["packet_time_wrong"]:
            remarks.append(f"packets have another length than the {flow.packet_us} us that the SDP says; they are played all the same")
        lost = now_ns - self._heard_ns > LOST_AFTER_NS
        if lost != self._was_lost:
            remarks.append(f"no sound comes from {flow.group}:{flow.port}" if lost else GoodNews("the sound is back"))
        self._was_lost = lost
        return remarks

    def _add(self, cell: Cell, name: Hashable, total: int) -> None:
        fresh = total - self._seen[name]
        if fresh > 0:
            cell.add(fresh)
            self._seen[name] = total
