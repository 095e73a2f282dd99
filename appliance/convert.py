"""Stage convert.S: raw frames (pgroups) to planar frames (I420, 8 bit) for every encoder of the stream.

Started by the supervisor. Invariant: always the newest frame, or none; works only while somebody watches. The arithmetic is cext/convert.
"""
import time

import numpy as np

from appliance import clock
from appliance.frame import MISMATCH, SECOND_FIELD, FieldFormat, PlanarFormat, VideoFormat
from appliance.runtime.demand import REST_S, Demand
from appliance.runtime.ring import Slot
from appliance.runtime.stage import Stage
from cext.convert import Converter
from cext.fields import Bob
from cext.scale import Scaler

WAIT_S = 0.25


def run(stage: Stage) -> None:
    """Converts until the stage is told to stop."""
    conversion = Conversion(stage)
    stage.log.info("converting %s to I420 by %s", conversion.format, conversion.pictures.converter.path)
    stage.ready()
    while stage.running():
        if conversion.reader.wait(WAIT_S):
            conversion.step()
            if not conversion.watched:
                time.sleep(REST_S)


class _Frames:
    """Progressive frames: each is a picture."""

    def __init__(self, video: VideoFormat, planar: PlanarFormat) -> None:
        self.converter = Converter(video.sampling, video.depth, planar, range=video.range, luma_weights=video.luma_weights)

    def make(self, raw: Slot, picture: Slot | np.ndarray) -> None:
        """Writes the picture of a raw frame."""
        self.converter.convert(raw, picture)


class _Fields:
    """Fields: each becomes a picture of full height."""

    def __init__(self, video: VideoFormat, planar: PlanarFormat) -> None:
        field = FieldFormat(video.width, video.raw_rows)
        self.converter = Converter(video.sampling, video.depth, field, range=video.range, luma_weights=video.luma_weights)
        self._bob = Bob(field, planar)
        self._number, self._second = -1, True

    def make(self, raw: Slot, picture: Slot | np.ndarray) -> None:
        """Writes the picture of a raw field. Where one is missing before it, nothing older is looked at."""
        second = bool(raw.flags & SECOND_FIELD)
        follows = raw.number == self._number + 1 and second != self._second
        self.converter.convert(raw, self._bob.field)
        self._bob.show(second, follows, picture)
        self._number, self._second = raw.number, second


class _Scaled:
    """Either of them, made smaller or its pixels square afterwards. Each pass is cheap; the picture between them is as large as the source's."""

    def __init__(self, whole: _Frames | _Fields, source: PlanarFormat, target: PlanarFormat) -> None:
        self.converter = whole.converter
        self._whole, self._scaler = whole, Scaler(source, target)
        self._octets = np.zeros(source.frame_bytes, np.uint8)

    def make(self, raw: Slot, picture: Slot | np.ndarray) -> None:
        """Writes the picture of a raw frame or field."""
        self._whole.make(raw, self._octets)
        self._scaler.scale(self._octets, picture)


def pictures_of(video: VideoFormat, planar: PlanarFormat) -> _Frames | _Fields | _Scaled:
    """What makes the pictures of a stream, each as `planar` says."""
    whole = PlanarFormat(video.width, video.height)
    made = _Fields(video, whole) if video.by_fields else _Frames(video, whole)
    return made if whole == planar else _Scaled(made, whole, planar)


class Conversion:
    """The stage's state: one reader, one writer, one geometry."""

    def __init__(self, stage: Stage) -> None:
        stream = stage.name.split(".")[1]
        self.format = stage.flows[stream].video.format
        self.planar = stage.config.encoder.planar_of(self.format)
        self.pictures = pictures_of(self.format, self.planar)
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
        self.pictures.make(raw, planar)
        self._work.observe_ns(clock.monotonic_ns() - began_ns)
        planar.number = raw.number
        planar.rtp_timestamp = raw.rtp_timestamp
        planar.capture_tai_ns = captured_ns = raw.capture_tai_ns
        planar.first_packet_tai_ns = raw.first_packet_tai_ns
        planar.flags = raw.flags
        planar.rows_missing = raw.rows_missing
        planar.payload_bytes = self.planar.frame_bytes
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
