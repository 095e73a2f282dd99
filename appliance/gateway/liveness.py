"""Which streams have pictures right now, from the ingest stages' frame counters. Sampled by the gateway, asked for each request.

A sampled counter is enough: it costs the data plane nothing, and the answer is a matter of seconds.
"""
from collections.abc import Mapping

from appliance.runtime.counters import Cell

SAMPLE_INTERVAL_S = 0.25
SHOWN_LIVE_S = 1.0    # without a frame for longer, the API says that a stream is not live
REFUSED_AFTER_S = 2.0  # without a frame for longer, players are told to come back


class Liveness:
    """When each stream's counter last moved, in seconds of the caller's monotonic clock."""

    def __init__(self, frames: Mapping[str, Cell], now_s: float) -> None:
        self._frames = frames
        self._counted = {stream: cell.value for stream, cell in frames.items()}
        # A gateway that was just restarted believes in streams that have had pictures, until it could see them stop.
        self._moved_s = {stream: now_s if count else float("-inf") for stream, count in self._counted.items()}

    def watch(self, frames: Mapping[str, Cell], now_s: float) -> None:
        """These are the streams now. What was known of those that stay is kept; a new one has to show a picture first."""
        counted = {stream: cell.value for stream, cell in frames.items()}
        self._moved_s = {stream: self._moved_s.get(stream, float("-inf")) for stream in frames}
        self._counted = {stream: self._counted.get(stream, count) for stream, count in counted.items()}
        self._frames = frames
        self.sample(now_s)

    def sample(self, now_s: float) -> None:
        """Looks at the counters; to be called every SAMPLE_INTERVAL_S."""
        for stream, cell in self._frames.items():
            count = cell.value
            if count != self._counted[stream]:
                self._counted[stream], self._moved_s[stream] = count, now_s

    def live(self, stream: str, now_s: float, within_s: float = SHOWN_LIVE_S) -> bool:
        """Whether a frame came within the last `within_s` seconds, give or take a sample."""
        return now_s - self._moved_s.get(stream, float("-inf")) <= within_s + SAMPLE_INTERVAL_S
