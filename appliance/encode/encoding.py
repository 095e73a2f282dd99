"""One coding of a stream: leases the newest planar frame, encodes it, writes the access unit into every fan-out worker's ring.

Made by encode.stage, run in a thread of its own. Invariant: while nobody watches what it serves, nothing is leased and nothing encoded.
"""
import logging
import os
import threading
from typing import NamedTuple

import av
import numpy as np

from appliance import clock
from appliance.encode.choice import ENCODERS, Encoders
from appliance.encode.encoder import Encoder, EncoderFault, EncoderSettings
from appliance.encode.keyframes import KeyframeSchedule
from appliance.encode.signalling import colour_of
from appliance.frame import KEYFRAME, Level, PlanarFormat, Rendition
from appliance.runtime.demand import REST_S, Demand
from appliance.runtime.ring import RingReader, RingWriter, Slot
from appliance.runtime.stage import Stage
from cext.scale import Scaler

WAIT_S = 5.0  # for a frame, before looking whether the encoder may go
HUMBLE_REST_S = 0.1  # as REST_S for a humbler rendition: whoever moves there sees the better one until then
ENCODER_KEPT_NS = 60_000_000_000  # how long a humbler rendition's encoder outlives its last viewer
FAULTS_MAX = 3  # in a row; an encoder that fails again and again will not recover by itself
_SECOND_NS = 1_000_000_000


class _Frame(NamedTuple):
    """What a planar frame's header says, kept when its slot is let go."""

    rtp_timestamp: int
    capture_tai_ns: int
    first_packet_tai_ns: int
    rows_missing: int
    flags: int

    @classmethod
    def of(cls, slot: Slot) -> "_Frame":
        """The header of a leased slot."""
        return cls(slot.rtp_timestamp, slot.capture_tai_ns, slot.first_packet_tai_ns, slot.rows_missing, slot.flags)


class _Scaled:
    """A frame of half the width and height in memory of the thread's own."""

    def __init__(self, source: PlanarFormat, target: PlanarFormat) -> None:
        self._scaler = Scaler(source, target)
        self._octets = np.zeros(target.frame_bytes, np.uint8)

    def take(self, slot: Slot) -> int:
        """Scales the frame in the slot; the address of the result, which is valid until the next one is taken."""
        self._scaler.scale(slot, self._octets)
        return self._octets.ctypes.data


class Encoding:
    """A coding's state: one reader, one encoder, a writer for each fan-out worker. `rendition` is the one that gives it its name."""

    def __init__(self, stage: Stage, rendition: Rendition, reader: RingReader, encoders: Encoders) -> None:
        stream = stage.name.split(".")[1]
        video = stage.flows[stream].video.format
        self.rendition, self.reader = rendition, reader
        self.settings = settings_of(stage, rendition)
        self._encoders, self._log = encoders, stage.log
        self._writers = [writer for name, writer in stage.writers.items() if name.rpartition(".")[0] == f"units.{stream}.{rendition.name}"]
        self._unit_bytes_max = min(writer.slot_bytes for writer in self._writers)
        self._demand = Demand(stage.counters, stream, rendition.name)
        self._keyframes = KeyframeSchedule(stage.config.encoder.keyframe_interval_s * _SECOND_NS)
        self._frame_step = rendition.level.frame_step(video.picture_rate)
        planar = stage.config.encoder.planar_of(video)
        self._scaled = _Scaled(planar, self.settings.planar) if self.settings.planar != planar else None
        self._number = self._faults = 0
        self.watched = False
        self._watched_ns = self._busy_since_ns = 0
        self._skipped_before = self._frame_before = 0
        self._stopped = threading.Event()
        self._rest_s = REST_S if rendition.level is Level.FULL else HUMBLE_REST_S
        self._counted = Counted(stage, rendition)
        # The best rendition's encoder is there from the start. The others' would hold memory, and sessions of the hardware, for nobody.
        self._encoder = self._choose() if rendition.level is Level.FULL else None

    def run(self) -> None:
        """Encodes on the doorbell until stop(). Whatever is raised ends the thread."""
        while not self._stopped.is_set():
            rung = self.reader.wait(WAIT_S)
            self._busy_since_ns = clock.monotonic_ns()
            if rung and not self._stopped.is_set():
                self.step()
            if not self.watched:
                self._let_go()
            self._busy_since_ns = 0
            if rung and not self.watched:
                self._stopped.wait(self._rest_s)

    def stop(self) -> None:
        """Ends run() as soon as the frame in work is done."""
        self._stopped.set()
        os.eventfd_write(self.reader.fileno(), 1)

    def busy_ns(self, now_ns: int) -> int:
        """For how long it has worked on one frame; 0 while it waits."""
        since_ns = self._busy_since_ns
        return now_ns - since_ns if since_ns else 0

    def step(self) -> bool:
        """Encodes the newest planar frame; False if nobody watches, nothing is new, or the frame is not one of this level's."""
        if not self._demand.watchers():
            self.watched = False
            return False
        self._encoder = self._encoder or self._choose()
        slot = self.reader.lease_latest()
        if slot is None:
            return False
        if slot.number % self._frame_step:
            slot.release()
            return False
        self._follow_demand(slot.number)
        self._encode(slot)
        return True

    def _choose(self) -> Encoder:
        settings = self.settings
        choice = self._encoders.choose(self.rendition.codec, settings)
        # Where a person named an encoder, another one is worth a warning; in automatic choice it is the usual case.
        level = logging.WARNING if self._encoders.configured in choice.refusals else logging.INFO
        self._log.log(level, "encoding %s: %dx%d at %g frames/s, %d kbit/s by %s", self.rendition.name, settings.coded_width,
                      settings.coded_height, float(settings.rate), settings.bitrate_bps // 1000, choice)
        self._counted.chosen(choice.encoder.name)
        return choice.encoder

    def _let_go(self) -> None:
        """Closes the encoder that nobody has needed for long, but for the best rendition's."""
        unwatched_ns = clock.monotonic_ns() - self._watched_ns
        if self._encoder and self.rendition.level is not Level.FULL and unwatched_ns > ENCODER_KEPT_NS:
            self._encoder = None
            self._counted.chosen(None)
            self._log.info("%s: nobody watches, the encoder is closed", self.rendition.name)

    def _follow_demand(self, frame: int) -> None:
        skipped, self._watched_ns = self.reader.skipped, clock.monotonic_ns()
        if self.watched:
            # At half rate every second frame that it jumped over was not wanted. Frame numbers begin anew with the ingest stage.
            wanted = (frame - self._frame_before) // self._frame_step - 1
            self._counted.skipped.add(max(0, min(skipped - self._skipped_before, wanted)))
        else:
            # Frames that passed while nobody watched are no loss; but the encoder's references are old now.
            self._keyframes.force()
        self.watched, self._skipped_before, self._frame_before = True, skipped, frame

    def _encode(self, slot: Slot) -> None:
        frame = _Frame.of(slot)
        began_ns = clock.monotonic_ns()
        keyframe = self._keyframes.due(began_ns, self._demand.keyframes_requested())
        try:
            unit = self._code(self._encoder, slot, keyframe)
        except EncoderFault as fault:
            self._reopen(self._encoder.name, fault)
            return
        self._counted.work.observe_ns(clock.monotonic_ns() - began_ns)
        self._counted.frames.add()
        self._number += 1
        if unit.is_keyframe:
            self._keyframes.made(began_ns)
            self._counted.keyframes.add()
        self._faults = 0
        if unit.size <= self._unit_bytes_max:
            self._publish(unit, frame)
        else:
            self._counted.too_large.add()
            self._keyframes.force()

    def _code(self, encoder: Encoder, slot: Slot, keyframe: bool) -> av.Packet:
        """The frame's access unit; the slot is let go as soon as its samples are not needed."""
        try:
            if self._scaled is None:
                return encoder.encode(slot.address, keyframe)
            address = self._scaled.take(slot)
        finally:
            slot.release()
        return encoder.encode(address, keyframe)

    def _publish(self, unit: av.Packet, frame: _Frame) -> None:
        published_ns = clock.tai_ns()
        for writer in self._writers:
            self._write(writer, unit, frame, published_ns)
        self._counted.octets.add(unit.size)
        self._counted.latency.observe_ns(published_ns - frame.capture_tai_ns)

    def _write(self, writer: RingWriter, unit: av.Packet, frame: _Frame, published_ns: int) -> None:
        slot = writer.claim()
        if slot is None:
            self._counted.no_slot.add()  # that worker sees the gap in `number` and asks for a keyframe itself
            return
        with memoryview(slot) as octets:
            octets[: unit.size] = memoryview(unit)
        slot.number = self._number
        slot.rtp_timestamp = frame.rtp_timestamp
        slot.capture_tai_ns = frame.capture_tai_ns
        slot.first_packet_tai_ns = frame.first_packet_tai_ns
        slot.rows_missing = frame.rows_missing
        slot.flags = frame.flags | (KEYFRAME if unit.is_keyframe else 0)
        slot.payload_bytes = unit.size
        slot.publish_tai_ns = published_ns
        slot.publish()

    def _reopen(self, name: str, fault: EncoderFault) -> None:
        """A new encoder of the same kind. If that does not help, EncoderFault ends the stage, and its successor chooses again."""
        self._log.warning("%s: %s failed (%s); opening it anew", self.rendition.name, name, fault)
        self._counted.failed.add()
        self._faults += 1
        if self._faults > FAULTS_MAX:
            raise fault
        self._keyframes.force()
        self._encoder = Encoder(name, self.settings)


class Counted:
    """What is counted for a rendition, looked up once."""

    def __init__(self, stage: Stage, rendition: Rendition) -> None:
        counters, own = stage.counters, {"rendition": rendition.name}
        dropped = "appliance_frames_dropped_total"
        self.frames = counters.counter("appliance_encode_frames_total", **own)
        self.skipped = counters.counter("appliance_encode_frames_skipped_total", **own)
        self.keyframes = counters.counter("appliance_encode_keyframes_total", **own)
        self.octets = counters.counter("appliance_encode_bytes_total", **own)
        self.work = counters.histogram("appliance_encode_work_seconds", **own)
        self.latency = counters.histogram("appliance_stage_latency_seconds", **own)
        self.no_slot = counters.counter(dropped, **own, reason="no_slot")
        self.too_large = counters.counter(dropped, **own, reason="too_large")
        self.failed = counters.counter(dropped, **own, reason="encoder_error")
        self._encoders = {name: counters.gauge("appliance_encode_encoder_info", **own, encoder=name) for name in ENCODERS}

    def chosen(self, encoder: str | None) -> None:
        """Names the encoder in use, None when there is none."""
        for name, cell in self._encoders.items():
            cell.set(int(name == encoder))


def settings_of(stage: Stage, rendition: Rendition) -> EncoderSettings:
    """What the configuration and the SDP ask of a rendition's encoder."""
    video = stage.flows[stage.name.split(".")[1]].video.format
    wanted, level = stage.config.encoder, rendition.level
    full = wanted.planar_of(video)
    return EncoderSettings(
        planar=PlanarFormat(*level.raster_of(full.width, full.height)), rate=video.picture_rate / level.frame_step(video.picture_rate),
        bitrate_bps=wanted.bitrate_kbps_of(level) * 1000, profile=wanted.h264_profile, preset=wanted.preset, threads=wanted.threads,
        colour=colour_of(video))
