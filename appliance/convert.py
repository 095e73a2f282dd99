"""Stage convert.S: raw frames (pgroups) to planar frames (I420, 8 bit) for every encoder of the stream.

Started by the supervisor. Invariant: always the newest frame, or none; works only while somebody watches. The arithmetic is cext/convert.
"""
import time

from appliance import clock
from appliance.frame import MISMATCH, PlanarFormat
from appliance.runtime.demand import REST_S, Demand
from appliance.runtime.ring import Slot
from appliance.runtime.stage import Stage
from cext.convert import Converter

WAIT_S = 0.25


def run(stage: Stage) -> None:
    """Converts until the stage is told to stop."""
    conversion = Conversion(stage)
    stage.log.info("converting %s to I420 by %s", conversion.format, conversion.converter.path)
    stage.ready()
    while stage.running():
        if conversion.reader.wait(WAIT_S):
            conversion.step()
            if not conversion.watched:
                time.sleep(REST_S)


class Conversion:
    """The stage's state: one reader, one writer, one geometry."""

    def __init__(self, stage: Stage) -> None:
        stream = stage.name.split(".")[1]
        self.format = stage.flows[stream].video.format
        planar = PlanarFormat(self.format.width, self.format.height)
        self.converter = Converter(self.format.sampling, self.format.depth, planar, range=self.format.range,
                                   luma_weights=self.format.luma_weights)
        self.reader, self._writer = stage.readers[f"raw.{stream}"], stage.writers[f"planar.{stream}"]
        self._demand = Demand(stage.counters, stream)
        self.watched = False
        self._skipped_before = 0
        counters = stage.counters
        self._frames = counters.counter("appliance_convert_frames_total")
        self._skipped = counters.counter("appliance_convert_frames_skipped_total")
        self._dropped = counters.counter("appliance_frames_dropped_total", reason="no_slot")
        self._mismatched = counters.counter("appliance_frames_dropped_total", reason="mismatch")
        self._work = counters.histogram("appliance_convert_work_seconds")
        self._latency = counters.histogram("appliance_stage_latency_seconds")

    def step(self) -> bool:
        """Converts the newest raw frame; False if nobody watches, nothing is new or no slot is free."""
        if not self._demand.watchers():
            self.watched = False
            return False
        raw = self.reader.lease_latest()
        if raw is None:
            return False
        self._count_skipped()
        if raw.flags & MISMATCH:
            self._mismatched.add()
            raw.release()
            return False
        planar = self._writer.claim()
        if planar is None:
            self._dropped.add()
            raw.release()
            return False
        self._convert(raw, planar)
        return True

    def _convert(self, raw: Slot, planar: Slot) -> None:
        began_ns = clock.monotonic_ns()
        self.converter.convert(raw, planar)
        self._work.observe_ns(clock.monotonic_ns() - began_ns)
        planar.number = raw.number
        planar.rtp_timestamp = raw.rtp_timestamp
        planar.capture_tai_ns = captured_ns = raw.capture_tai_ns
        planar.first_packet_tai_ns = raw.first_packet_tai_ns
        planar.flags = raw.flags
        planar.rows_missing = raw.rows_missing
        planar.payload_bytes = self.converter.planar_bytes
        planar.publish_tai_ns = published_ns = clock.tai_ns()
        planar.publish()
        raw.release()
        self._frames.add()
        self._latency.observe_ns(published_ns - captured_ns)

    def _count_skipped(self) -> None:
        # Frames that passed while nobody watched were not wanted; they are no loss.
        skipped = self.reader.skipped
        if self.watched:
            self._skipped.add(skipped - self._skipped_before)
        self.watched, self._skipped_before = True, skipped
