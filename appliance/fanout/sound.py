"""A stream's sound as a worker serves it: its place in the C fan-out, its listeners and what is counted of both.

Made by fanout.worker, used by its sessions on the event loop. A listener is a second entry of its viewer in the fan-out: the same keys and
socket, an SSRC of its own. Sound is not sent again when it is lost, and never waits for a keyframe.
"""
from collections.abc import Callable
from dataclasses import dataclass

from appliance.fanout.hooks import MediaKeys
from appliance.protocol import rtcp
from appliance.runtime.counters import Cell, Counters
from appliance.runtime.ring import RingReader
from cext.fanout import Fanout, RenditionStats, ViewerStats

RATE_HZ = 48_000
CHANNELS = 2

_TOTALS: dict[str, Callable[[RenditionStats], int]] = {
    "units_lost": lambda total: total.gaps + total.units_refused,
    "packets": lambda total: total.packets,
    "bytes": lambda total: total.octets,
    "send_errors": lambda total: total.send_errors + total.eagains,
}


@dataclass(frozen=True)
class Tuning:
    """How one viewer wants its sound: what the answer to its offer said."""

    payload_type: int
    mid: str
    mid_id: int


class Sound:
    """One stream's. `ssrc` is no other source's of the worker."""

    def __init__(self, fanout: Fanout, reader: RingReader, stream: str, counters: Counters, ssrc: int) -> None:
        self.ssrc, self._fanout, self._reader = ssrc, fanout, reader
        self._identifier = fanout.add_rendition(reader, b"opus", ssrc)
        self._listeners = counters.gauge("appliance_fanout_sound_listeners", stream=stream)
        self._reported_lost = counters.counter("appliance_fanout_sound_packets_reported_lost_total", stream=stream)
        self._cells: dict[str, Cell] = {name: counters.counter(f"appliance_fanout_sound_{name}_total", stream=stream) for name in _TOTALS}
        self._latency = counters.histogram("appliance_fanout_sound_latency_seconds", stream=stream)
        self._counted = fanout.rendition_stats(self._identifier)

    def read(self, reader: RingReader | None) -> None:
        """Goes on with another ring, or with none: listeners stay."""
        if reader is not self._reader:
            self._reader = reader
            self._fanout.set_ring(self._identifier, reader)

    def close(self) -> None:
        """Gives its place in the fan-out back. No listener may be left."""
        self._fanout.remove_rendition(self._identifier)

    def count(self) -> None:
        """Brings the counters up to the C fan-out's totals."""
        total, before = self._fanout.rendition_stats(self._identifier), self._counted
        for name, cell in self._cells.items():
            cell.add(_TOTALS[name](total) - _TOTALS[name](before))
        self._latency.merge((now - then for now, then in zip(total.latency_buckets, before.latency_buckets)), total.latency_sum_ns - before.latency_sum_ns)
        self._counted = total

    def listener(self, tuning: Tuning) -> "Listener":
        """A place for one viewer, which is sent nothing yet."""
        return Listener(self, tuning)


class Listener:
    """One viewer's ear."""

    def __init__(self, sound: Sound, tuning: Tuning) -> None:
        self._sound, self._tuning = sound, tuning
        self._place: int | None = None
        self._lost = 0

    @property
    def ssrc(self) -> int:
        """The sound's."""
        return self._sound.ssrc

    def begin(self, descriptor: int, remote: tuple | None, keys: MediaKeys, timestamp_shift: int = 0) -> None:
        """Sends it the sound from the next frame on, its times moved by so many ticks. Raises as Fanout.add_viewer() does."""
        tuning = self._tuning
        self._place = self._sound._fanout.add_viewer(self._sound._identifier, descriptor, remote, keys.profile, keys.key, keys.salt, tuning.payload_type,
                                                     mid_id=tuning.mid_id, mid=tuning.mid.encode(), timestamp_shift=timestamp_shift)
        self._sound._listeners.add(1)

    def redirect(self, descriptor: int, remote: tuple | None) -> None:
        """The viewer is reached elsewhere now."""
        if self._place is not None:
            self._sound._fanout.redirect_viewer(self._place, descriptor, remote)

    def end(self) -> None:
        """Sends it nothing more. One that was not begun is fine."""
        if self._place is not None:
            self._sound._fanout.remove_viewer(self._place)
            self._sound._listeners.add(-1)
            self._place = None

    def stats(self) -> ViewerStats | None:
        """What it was sent; None before its first packet."""
        stats = None if self._place is None else self._sound._fanout.viewer_stats(self._place)
        return stats if stats is not None and stats.packets else None

    def heard(self, report: rtcp.ReceiverReport) -> None:
        """What the viewer reports of the sound."""
        self._sound._reported_lost.add(max(0, report.packets_lost - self._lost))
        self._lost = max(report.packets_lost, self._lost)
