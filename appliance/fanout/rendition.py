"""One rendition of a stream as a worker serves it: its place in the C fan-out, its viewers, and the merging of their wishes for a keyframe.

Called by fanout.worker and fanout.session on the event loop. Knows nothing of connections.
"""
import asyncio
import secrets
from collections.abc import Callable

from appliance import frame
from appliance.fanout.seen import Seen
from appliance.runtime.counters import Cell, Counters
from appliance.runtime.metrics import FANOUT_MOVES
from appliance.runtime.ring import RingReader
from cext.fanout import Fanout, RenditionStats

# A lost picture may wait this long for the next keyframe, so that a bad network of one viewer does not cost all the bit rate.
LOSS_INTERVAL_S = 0.25
# Whoever joins waits less: at most this, when many join at once.
JOIN_INTERVAL_S = 0.1

# Which totals of the C fan-out each counter shows.
_TOTALS: dict[str, Callable[[RenditionStats], int]] = {
    "units": lambda total: total.units,
    "units_lost": lambda total: total.gaps + total.units_refused,
    "packets": lambda total: total.packets,
    "bytes": lambda total: total.octets,
    "sends": lambda total: total.send_calls,
    "send_errors": lambda total: total.send_errors,
    "send_fallbacks": lambda total: total.gso_fallbacks,
    "skips": lambda total: total.skips,
    "packets_resent": lambda total: total.resends,
    "work_seconds": lambda total: total.packetise_ns + total.encrypt_ns + total.send_ns,
}


def new_ssrc() -> int:
    """A random SSRC that is not 0."""
    return secrets.randbits(31) + 1


class Rendition:
    """A rendition and the cells that count for it."""

    def __init__(self, fanout: Fanout, reader: RingReader, stream: str, name: str, codec: bytes, counters: Counters,
                 ssrc: int = 0) -> None:
        """`ssrc`: the one that all levels share, so that viewers can move between them; 0 for one of its own."""
        named = frame.Rendition.named(name)
        self.stream, self.name, self.audience, self.level = stream, name, named.audience, named.level
        self.ssrc, self._reader = ssrc or new_ssrc(), reader
        self.identifier = fanout.add_rendition(reader, codec, self.ssrc)
        self._fanout = fanout
        labels = {"stream": stream, "rendition": name}
        self._viewers = counters.gauge("appliance_fanout_viewers", **labels)
        self._requests = counters.counter("appliance_fanout_keyframe_requests_total", **labels)
        self.joins = counters.counter("appliance_fanout_joins_total", **labels)
        self.failures = counters.counter("appliance_fanout_joins_failed_total", **labels)
        self.join_time = counters.histogram("appliance_fanout_join_seconds", **labels)
        self.round_trip = counters.histogram("appliance_fanout_round_trip_seconds", **labels)
        self.jitter = counters.histogram("appliance_fanout_jitter_seconds", **labels)
        self.reported_lost = counters.counter("appliance_fanout_packets_reported_lost_total", **labels)
        self.nacks = counters.counter("appliance_fanout_nacks_total", **labels)
        self.picture_losses = counters.counter("appliance_fanout_picture_losses_total", **labels)
        self.messages = counters.counter("appliance_fanout_metadata_messages_total", **labels)
        self.messages_skipped = counters.counter("appliance_fanout_metadata_messages_skipped_total", **labels)
        self.messages_lost = counters.counter("appliance_fanout_metadata_messages_lost_total", **labels)
        self.messages_refused = counters.counter("appliance_fanout_metadata_messages_refused_total", **labels)
        self.moves = {reason: counters.counter("appliance_fanout_moves_total", reason=reason, stream=stream, audience=self.audience.value)
                      for reason in FANOUT_MOVES}
        self.seen = Seen(counters, stream, self.audience)
        self._totals: dict[str, Cell] = {name: counters.counter(f"appliance_fanout_{name}_total", **labels) for name in _TOTALS}
        self._latency = counters.histogram("appliance_stage_latency_seconds", stream=stream)
        self._skew = counters.histogram("appliance_fanout_skew_seconds", **labels)
        self._counted = fanout.rendition_stats(self.identifier)
        self._timer: asyncio.TimerHandle | None = None
        self._requested_at = float("-inf")

    def read(self, reader: RingReader | None) -> None:
        """Goes on with another ring, whose units may be of another raster, or with none: viewers wait for its first keyframe."""
        if reader is not self._reader:
            self._reader = reader
            self._fanout.set_ring(self.identifier, reader)

    def close(self) -> None:
        """Gives its place in the fan-out back. No viewer may have it any more."""
        self.cancel()
        self._fanout.remove_rendition(self.identifier)

    def admit(self) -> None:
        """Counts a viewer from its offer on: encoders wake while it still connects."""
        self._viewers.add(1)

    def dismiss(self) -> None:
        """Counts a viewer no more."""
        self._viewers.add(-1)

    def request_keyframe(self, interval_s: float = LOSS_INTERVAL_S) -> None:
        """Asks the encoder for a keyframe: at once, or as soon as `interval_s` have passed since the last request."""
        loop = asyncio.get_running_loop()
        due = self._requested_at + interval_s
        if due <= loop.time():
            self._request()
        elif self._timer is None or self._timer.when() > due:
            self.cancel()
            self._timer = loop.call_at(due, self._request)

    def count(self) -> None:
        """Brings the counters up to the C fan-out's totals."""
        total, before = self._fanout.rendition_stats(self.identifier), self._counted
        for name, cell in self._totals.items():
            cell.add(_TOTALS[name](total) - _TOTALS[name](before))
        self._latency.merge((now - then for now, then in zip(total.latency_buckets, before.latency_buckets)), total.latency_sum_ns - before.latency_sum_ns)
        self._skew.merge((now - then for now, then in zip(total.skew_buckets, before.skew_buckets)), total.skew_sum_ns - before.skew_sum_ns)
        self._counted = total

    def cancel(self) -> None:
        """Forgets a request that is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _request(self) -> None:
        self.cancel()
        self._requested_at = asyncio.get_running_loop().time()
        self._requests.add(1)
