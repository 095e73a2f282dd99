"""When to make a keyframe: on demand, merged over all viewers, and now and then unasked. Used by the encode stage.

Invariant: a request is never lost; one inside the minimum interval is served at its end. Sees no clock: the caller says what time it is.
"""

MINIMUM_INTERVAL_NS = 200_000_000
"""At least this lies between two keyframes made on request, however many viewers lost the picture."""


class KeyframeSchedule:
    """Decides for each frame whether it must be a keyframe. The first one is."""

    def __init__(self, interval_ns: int, minimum_interval_ns: int = MINIMUM_INTERVAL_NS) -> None:
        self._interval_ns, self._minimum_interval_ns = interval_ns, minimum_interval_ns
        self._forced = True
        self._requests_served = 0
        self._requests_seen = 0
        self._made_ns = 0
        self._answered_ns: int | None = None  # when a request was last served

    def force(self) -> None:
        """The next frame must be a keyframe, whatever the intervals: what the viewers hold is no longer a reference."""
        self._forced = True

    def due(self, now_ns: int, requests: int) -> bool:
        """Whether the frame about to be encoded must be a keyframe; `requests` is how many were asked for so far, ever."""
        self._requests_seen = requests
        return self._forced or self._answer_due(now_ns) or now_ns - self._made_ns >= self._interval_ns

    def made(self, now_ns: int) -> None:
        """A keyframe was made after the last due(); it serves every request that due() knew of."""
        # A keyframe that came unasked does not start the minimum interval: a viewer that joins just after it need not wait.
        if self._answer_due(now_ns) and not self._forced:
            self._answered_ns = now_ns
        self._forced = False
        self._requests_served = self._requests_seen
        self._made_ns = now_ns

    def _answer_due(self, now_ns: int) -> bool:
        if self._requests_seen == self._requests_served:
            return False
        return self._answered_ns is None or now_ns - self._answered_ns >= self._minimum_interval_ns
