"""Who watches and who lost the picture, read by convert and encode from the fan-out workers' own cells.

No message is ever sent: the state is shared, and frames are the only doorbell.
"""
from appliance.runtime.counters import Counters

REST_S = 0.04
"""For how long a stage that nobody needs sleeps through its doorbell before it looks again. A viewer takes longer than that to connect."""


class Demand:
    """Demand of all fan-out workers for what one coding of a stream serves, or for all its renditions when no coding is named."""

    def __init__(self, counters: Counters, stream: str, coding: str | None = None) -> None:
        labels = {"stream": stream} | ({"coding": coding} if coding else {})
        self._watchers = counters.segment.find_all("appliance_fanout_viewers", **labels)
        self._keyframes = counters.segment.find_all("appliance_fanout_keyframe_requests_total", **labels)

    def watchers(self) -> int:
        """Viewers connected, on every worker together."""
        return sum(cell.value for cell in self._watchers)

    def keyframes_requested(self) -> int:
        """Keyframes asked for so far; only ever grows."""
        return sum(cell.value for cell in self._keyframes)
