"""The encode stage: leases the newest planar frame, encodes it, writes the access unit into every fan-out worker's ring.

Started by the supervisor, one process a rendition. Invariant: while nobody watches nothing is leased and nothing encoded.
"""
import logging

import av

from appliance import clock
from appliance.encode.choice import ENCODERS, choose
from appliance.encode.encoder import Encoder, EncoderFault, EncoderSettings
from appliance.encode.keyframes import KeyframeSchedule
from appliance.encode.signalling import colour_of
from appliance.frame import KEYFRAME, Codec, PlanarFormat
from appliance.runtime.demand import Demand
from appliance.runtime.ring import RingWriter, Slot
from appliance.runtime.stage import Stage

WAIT_S = 0.25
FAULTS_MAX = 3  # in a row; an encoder that fails again and again will not recover by itself
_SECOND_NS = 1_000_000_000


def run(stage: Stage) -> None:
    """Encodes until the stage is told to stop."""
    encoding = Encoding(stage)
    stage.ready()
    while stage.running():
        if encoding.reader.wait(WAIT_S):
            encoding.step()


class Encoding:
    """The stage's state: one reader, one encoder, a writer for each fan-out worker."""

    def __init__(self, stage: Stage) -> None:
        _, stream, self._rendition = stage.name.split(".", 2)
        self._log = stage.log
        self._settings = settings_of(stage)
        self.reader = stage.readers[f"planar.{stream}"]
        self._writers = [writer for name, writer in stage.writers.items() if name.rpartition(".")[0] == f"units.{stream}.{self._rendition}"]
        self._unit_bytes_max = min(writer.slot_bytes for writer in self._writers)
        self._demand = Demand(stage.counters, stream, self._rendition)
        self._keyframes = KeyframeSchedule(stage.config.encoder.keyframe_interval_s * _SECOND_NS)
        self._number = self._faults = 0
        self._watched = False
        self._skipped_before = 0
        self._counted = Counted(stage, self._rendition)
        self._encoder = self._choose(stage)

    def _choose(self, stage: Stage) -> Encoder:
        codec = Codec.VP8 if self._rendition.endswith(Codec.VP8.value) else Codec.H264
        choice = choose(codec, stage.config.encoder.h264, self._settings)
        # Where a person named an encoder, another one is worth a warning; in automatic choice it is the usual case.
        level = logging.WARNING if stage.config.encoder.h264 in choice.refusals else logging.INFO
        stage.log.log(level, "encoding %dx%d at %g frames/s, %d kbit/s by %s", self._settings.planar.width, self._settings.coded_height,
                      float(self._settings.rate), self._settings.bitrate_bps // 1000, choice)
        self._counted.chosen(choice.encoder.name)
        return choice.encoder

    def step(self) -> bool:
        """Encodes the newest planar frame; False if nobody watches or nothing is new."""
        if not self._demand.watchers():
            self._watched = False
            return False
        slot = self.reader.lease_latest()
        if slot is None:
            return False
        self._follow_demand()
        self._encode(slot)
        return True

    def _follow_demand(self) -> None:
        skipped = self.reader.skipped
        if self._watched:
            self._counted.skipped.add(skipped - self._skipped_before)
        else:
            # Frames that passed while nobody watched are no loss; but the encoder's references are old now.
            self._keyframes.force()
        self._watched, self._skipped_before = True, skipped

    def _encode(self, slot: Slot) -> None:
        began_ns = clock.monotonic_ns()
        keyframe = self._keyframes.due(began_ns, self._demand.keyframes_requested())
        try:
            unit = self._encoder.encode(slot.address, keyframe)
        except EncoderFault as fault:
            slot.release()
            self._reopen(fault)
            return
        self._counted.work.observe_ns(clock.monotonic_ns() - began_ns)
        self._counted.frames.add()
        self._number += 1
        if unit.is_keyframe:
            self._keyframes.made(began_ns)
            self._counted.keyframes.add()
        self._faults = 0
        if unit.size <= self._unit_bytes_max:
            self._publish(unit, slot)
        else:
            self._counted.too_large.add()
            self._keyframes.force()
        slot.release()

    def _publish(self, unit: av.Packet, planar: Slot) -> None:
        published_ns = clock.tai_ns()
        for writer in self._writers:
            self._write(writer, unit, planar, published_ns)
        self._counted.octets.add(unit.size)
        self._counted.latency.observe_ns(published_ns - planar.capture_tai_ns)

    def _write(self, writer: RingWriter, unit: av.Packet, planar: Slot, published_ns: int) -> None:
        slot = writer.claim()
        if slot is None:
            self._counted.no_slot.add()  # that worker sees the gap in `number` and asks for a keyframe itself
            return
        with memoryview(slot) as octets:
            octets[: unit.size] = memoryview(unit)
        slot.number = self._number
        slot.rtp_timestamp = planar.rtp_timestamp
        slot.capture_tai_ns = planar.capture_tai_ns
        slot.first_packet_tai_ns = planar.first_packet_tai_ns
        slot.rows_missing = planar.rows_missing
        slot.flags = planar.flags | (KEYFRAME if unit.is_keyframe else 0)
        slot.payload_bytes = unit.size
        slot.publish_tai_ns = published_ns
        slot.publish()

    def _reopen(self, fault: EncoderFault) -> None:
        """A new encoder of the same kind. If that does not help, EncoderFault ends the stage, and its successor chooses again."""
        self._log.warning("%s failed (%s); opening it anew", self._encoder.name, fault)
        self._counted.failed.add()
        self._faults += 1
        if self._faults > FAULTS_MAX:
            raise fault
        self._keyframes.force()
        self._encoder = Encoder(self._encoder.name, self._settings)


class Counted:
    """The stage's counters, looked up once."""

    def __init__(self, stage: Stage, rendition: str) -> None:
        counters, own = stage.counters, {"rendition": rendition}
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

    def chosen(self, encoder: str) -> None:
        """Names the encoder in use."""
        for name, cell in self._encoders.items():
            cell.set(int(name == encoder))


def settings_of(stage: Stage) -> EncoderSettings:
    """What the configuration and the SDP ask of the stage's encoder."""
    video = stage.flows[stage.name.split(".")[1]].video.format
    wanted = stage.config.encoder
    return EncoderSettings(
        planar=PlanarFormat(video.width, video.height), rate=video.rate, bitrate_bps=wanted.bitrate_kbps * 1000, profile=wanted.h264_profile,
        preset=wanted.preset, threads=wanted.threads, colour=colour_of(video))
