"""What viewers see, as they say it: how much of a page's report is believed, and which counters it moves. Held by fanout.session.

Invariant: one viewer, whatever it says, moves a counter by no more than can have happened in the time that it has watched.
"""
import json
from collections.abc import Callable

from appliance.errors import ProtocolError
from appliance.fanout.viewer_report import ViewerReport, parse
from appliance.frame import Audience
from appliance.runtime.counters import Counters
from appliance.runtime.metrics import VIEWER_MALFORMED

# A page reports every five seconds, and once more when it has just connected.
REPORT_INTERVAL_LEAST_S = 2.0
REPORTS_AT_ONCE_MAX = 2
# What can happen in a second at most, by the fastest stream that there is.
FRAMES_PER_SECOND_MAX = 125
PACKETS_PER_SECOND_MAX = 20_000
FREEZES_PER_SECOND_MAX = 6  # the page calls nothing a freeze that lasts under 150 ms
# Time that no report has spoken of yet may still be spoken of, so that one that was lost or delayed by the network does no harm.
CREDIT_SECONDS_MAX = 20.0

_SECOND_NS = 1_000_000_000


class Seen:
    """The cells of one stream and audience."""

    def __init__(self, counters: Counters, stream: str, audience: Audience) -> None:
        labels = {"stream": stream, "audience": audience.value}
        self._latency = counters.histogram("appliance_viewer_latency_seconds", **labels)
        self._rate = counters.histogram("appliance_viewer_frames_per_second", **labels)
        self._buffer = counters.histogram("appliance_viewer_buffer_seconds", **labels)
        self._decode = counters.histogram("appliance_viewer_decode_seconds", **labels)
        self._sound_buffer = counters.histogram("appliance_viewer_sound_buffer_seconds", **labels)
        self._visible = counters.counter("appliance_viewer_visible_seconds_total", **labels)
        self._frozen = counters.counter("appliance_viewer_frozen_seconds_total", **labels)
        self._freezes = counters.counter("appliance_viewer_freezes_total", **labels)
        self._frames = counters.counter("appliance_viewer_frames_total", **labels)
        self._received = counters.counter("appliance_viewer_packets_received_total", **labels)
        self._lost = counters.counter("appliance_viewer_packets_lost_total", **labels)
        self._joined = counters.counter("appliance_viewer_metadata_joined_total", **labels)
        self._late = counters.counter("appliance_viewer_metadata_late_total", **labels)
        self._missing = counters.counter("appliance_viewer_metadata_missing_total", **labels)
        self._reports = counters.counter("appliance_viewer_reports_total", **labels)
        self._malformed = {reason: counters.counter("appliance_viewer_reports_malformed_total", reason=reason, **labels) for reason in VIEWER_MALFORMED}

    def refuse(self, reason: str) -> None:
        """Counts a report that is not used."""
        self._malformed[reason].add()

    def count(self, report: ViewerReport, seconds: float) -> None:
        """Counts a report, no more of it than can have happened within `seconds`."""
        frames_max = round(seconds * FRAMES_PER_SECOND_MAX)
        packets_max = round(seconds * PACKETS_PER_SECOND_MAX)
        frames = left = min(report.frames, frames_max)
        self._reports.add()
        self._visible.add(round(min(report.visible_s, seconds) * _SECOND_NS))
        self._frozen.add(round(min(report.frozen_s, seconds) * _SECOND_NS))
        self._freezes.add(min(report.freezes, round(seconds * FREEZES_PER_SECOND_MAX)))
        self._frames.add(frames)
        self._received.add(min(report.packets_received, packets_max))
        self._lost.add(min(report.packets_lost, packets_max))
        for cell, said in ((self._joined, report.joined), (self._late, report.late), (self._missing, report.missing)):
            cell.add(min(said, left))
            left -= min(said, left)
        self._sort(report, frames_max)

    def _sort(self, report: ViewerReport, frames_max: int) -> None:
        """The histograms. A hidden page's rate is no viewer's; latencies of more frames than there can have been are left out whole."""
        if not report.hidden and report.frames_per_second is not None:
            self._rate.observe_ns(round(min(report.frames_per_second, FRAMES_PER_SECOND_MAX) * _SECOND_NS))
        if report.buffer_s is not None:
            self._buffer.observe_ns(round(report.buffer_s * _SECOND_NS))
        if report.decode_s is not None:
            self._decode.observe_ns(round(report.decode_s * _SECOND_NS))
        if report.sound_buffer_s is not None:
            self._sound_buffer.observe_ns(round(report.sound_buffer_s * _SECOND_NS))
        latency = report.latency
        if latency is not None and sum(latency.counts) <= frames_max:
            self._latency.merge(latency.counts, round(latency.mean_s * sum(latency.counts) * _SECOND_NS))


class Witness:
    """One viewer's reports: which are taken, by a token bucket and their format, and what is counted of them."""

    def __init__(self, seen: Seen, clock_s: Callable[[], float]) -> None:
        """`clock_s`: monotonic seconds; the viewer's time begins now."""
        self._seen, self._clock_s = seen, clock_s
        self._now_s = clock_s()
        self._tokens, self._credit_s = float(REPORTS_AT_ONCE_MAX), 0.0

    def hear(self, text: str | bytes) -> ViewerReport | None:
        """Counts a report and returns it; None, and counted so, for one that is malformed or comes too soon."""
        before_s, self._now_s = self._now_s, self._clock_s()
        elapsed_s = self._now_s - before_s
        self._tokens = min(REPORTS_AT_ONCE_MAX, self._tokens + elapsed_s / REPORT_INTERVAL_LEAST_S)
        self._credit_s = min(CREDIT_SECONDS_MAX, self._credit_s + elapsed_s)
        # What is malformed costs a token too: parsing is the work that the bucket limits.
        if self._tokens < 1:
            self._seen.refuse("too_often")
            return None
        self._tokens -= 1
        try:
            report = parse(text)
        except ProtocolError as error:
            self._seen.refuse(error.reason)
            return None
        seconds = min(report.seconds, self._credit_s)
        self._credit_s -= seconds
        self._seen.count(report, seconds)
        return report


def reply(number: int, level: str, unix_ns: int) -> bytes:
    """The answer to the report of that number: which picture is sent to this viewer now ("full", "half", "small"), and the box's clock (ns since 1970 UTC).

    The page sets its own clock against ours by it, so that its latencies hold on a machine whose clock is off.
    """
    return json.dumps({"version": 1, "number": number, "level": level, "unix_ms": unix_ns / 1e6}).encode()
