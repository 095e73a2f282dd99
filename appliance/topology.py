"""THE table: which stages run, which rings join them, what each counts. It reads like the drawing in ARCHITECTURE.md.

Called by the supervisor with a configuration; pure but for reading the SDP files. Nothing is created here.
"""
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

from appliance.config import Config, EncoderConfig, StreamConfig
from appliance.errors import ConfigurationError
from appliance.frame import CODINGS, RENDITIONS, VBV_FRAMES, Audience, Level, PlanarFormat, Rendition, VideoFormat
from appliance.protocol import sdp
from appliance.runtime import metrics
from appliance.runtime.counters import Series, series_of
from appliance.runtime.ring import EVERY, LATEST
from appliance.runtime.stage import Flows

SDP_TIMEOUT_S = 5.0
SDP_BYTES_MAX = 64 * 1024

# Two open frames, the newest, one leased by convert, and one to spare for a reader that is late.
RAW_SLOTS = 6
# One claimed, the newest, one leased by each of four codings that are made where the frame lies, and one by a small one, which lets go
# of it as soon as it is scaled.
PLANAR_SLOTS = 7
# 160 ms at 50 frames a second: a worker that is further behind than that shows its viewers the next keyframe instead.
UNIT_SLOTS = 8
# A keyframe of noise has at most 0.22 octets a pixel by libvpx, at its coarsest quantiser; libx264 keeps to twice its VBV. (Measured.)
UNIT_BYTES_MIN = 64 * 1024
UNIT_PIXELS_PER_BYTE = 4
# What the fan-out packetises at most (UNIT_PACKETS_MAX in cext/kernels/packetise.h).
UNIT_BYTES_MAX = 1024 * 1024
RECORD_SLOTS = 16
RECORD_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class RingSpec:
    """A ring to be made: one writer, its readers in the order of their places. A stage that reads it for several purposes has a place for each."""

    name: str
    slots: int
    slot_bytes: int
    policy: int
    format: bytes
    writer: str
    readers: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Memory that its slots take."""
        return self.slots * self.slot_bytes


@dataclass(frozen=True)
class StageSpec:
    """A process to be run. `module` has run(stage)."""

    name: str
    module: str
    series: tuple[Series, ...]
    sockets: tuple[str, ...] = ()
    stream: str = ""  # the stream that the stage serves alone; a shared stage has none


@dataclass(frozen=True)
class Topology:
    """Everything the supervisor makes and starts, in the order of starting."""

    stages: tuple[StageSpec, ...]
    rings: tuple[RingSpec, ...]
    flows: dict[str, Flows] = field(default_factory=dict)
    series: tuple[Series, ...] = ()


def lay_out(config: Config) -> Topology:
    """The topology of a configuration. ConfigurationError with every problem that the SDP files have."""
    flows, problems = {}, []
    for stream in config.streams:
        try:
            flows[stream.name] = read_flows(stream)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError.of(problems)
    workers = [f"fanout.{number}" for number in range(config.server.fanout_workers)]
    rings = tuple(ring for stream in config.streams for ring in _rings(stream, flows[stream.name], workers, config.encoder))
    stages, series = [], list(_supervisor_series(config, workers))
    for name, module, declared, sockets, stream in _stages(config, workers):
        own = []
        for scope, group in declared:
            first = series[-1].first + series[-1].cells
            found = series_of(name, group, {"stage": name} | scope, first)
            own += found
            series += found
        stages.append(StageSpec(name, module, tuple(own), sockets, stream))
    return Topology(tuple(stages), rings, flows, tuple(series))


def _stages(config: Config, workers: list[str]) -> Iterator[tuple]:
    """(name, module, ((scope labels, metrics), ...), sockets, stream). Downstream first, so that nobody publishes into the void."""
    yield "exporter", "appliance.exporter", (({}, metrics.EXPORTER),), ("metrics",), ""
    for worker in workers:
        declared = [({}, metrics.FANOUT)]
        for stream in config.streams:
            declared += [({"stream": stream.name}, metrics.FANOUT_STREAM)]
            declared += [({"stream": stream.name, "audience": audience.value}, metrics.FANOUT_AUDIENCE) for audience in Audience]
            declared += [({"stream": stream.name, "audience": rendition.audience.value, "rendition": rendition.name, "coding": rendition.coding.name},
                          metrics.FANOUT_RENDITION) for rendition in RENDITIONS]
        one_port = config.server.media_ports is not None and config.server.media_ports.count == 1
        yield worker, "appliance.fanout", tuple(declared), ("control", "handover") if one_port else ("control",), ""
    yield "gateway", "appliance.gateway", (({}, metrics.GATEWAY),), ("https",), ""
    for stream in config.streams:
        scope = {"stream": stream.name}
        for best in (coding for coding in CODINGS if coding.level is Level.FULL):
            declared = [(scope, metrics.ENCODE)]
            declared += [(scope | {"audience": coding.audience.value, "rendition": coding.name}, metrics.ENCODE_RENDITION) for coding in best.levels]
            yield f"encode.{stream.name}.{best.name}", "appliance.encode", tuple(declared), (), stream.name
        yield f"convert.{stream.name}", "appliance.convert", ((scope, metrics.CONVERT),), (), stream.name
        if stream.metadata:
            yield f"metadata.{stream.name}", "appliance.metadata", ((scope, metrics.METADATA),), (), stream.name
        yield f"ingest.{stream.name}", "appliance.ingest", ((scope, metrics.INGEST),), (), stream.name


def _supervisor_series(config: Config, workers: list[str]) -> Iterator[Series]:
    first = 0
    for name, *_ in _stages(config, workers):
        yield from series_of("supervisor", metrics.SUPERVISOR, {"stage": name}, first)
        first += len(metrics.SUPERVISOR)


def _encoder_of(stream: str, coding: Rendition) -> str:
    """Name of the stage that makes a coding: one for all levels."""
    return f"encode.{stream}.{coding.levels[0].name}"


def _units(level: Level, encoder: EncoderConfig, video: VideoFormat) -> tuple[int, int]:
    """(slots, octets of a slot) of a units ring: the same time for every level, and room for its keyframes."""
    step = level.frame_step(video.picture_rate)
    width, height = level.raster_of(video.width, video.height)
    vbv_bytes = VBV_FRAMES * encoder.bitrate_kbps_of(level) * 125 * step / video.picture_rate
    return UNIT_SLOTS // step, min(UNIT_BYTES_MAX, max(UNIT_BYTES_MIN, width * height // UNIT_PIXELS_PER_BYTE, int(2 * vbv_bytes)))


def _rings(stream: StreamConfig, flows: Flows, workers: list[str], encoder: EncoderConfig) -> Iterator[RingSpec]:
    name, video = stream.name, flows.video.format
    planar = PlanarFormat(video.width, video.height)
    encoders = tuple(_encoder_of(name, coding) for coding in CODINGS)
    yield RingSpec(f"raw.{name}", RAW_SLOTS, video.frame_bytes, LATEST, video.to_bytes(), f"ingest.{name}", (f"convert.{name}",))
    yield RingSpec(f"planar.{name}", PLANAR_SLOTS, planar.frame_bytes, LATEST, planar.to_bytes(), f"convert.{name}", encoders)
    for worker in workers:
        number = worker.split(".")[1]
        for coding in CODINGS:
            slots, slot_bytes = _units(coding.level, encoder, video)
            yield RingSpec(f"units.{name}.{coding.name}.{number}", slots, slot_bytes, EVERY, coding.codec.value.encode(),
                           _encoder_of(name, coding), (worker,) * len(coding.serves))
        if stream.metadata:
            for audience in Audience:
                yield RingSpec(f"records.{name}.{audience.value}.{number}", RECORD_SLOTS, RECORD_BYTES_MAX, EVERY, b"record",
                               f"metadata.{name}", (worker,))


def read_flows(stream: StreamConfig) -> Flows:
    """The flows that a stream's SDP files describe. ConfigurationError if one cannot be read or received."""
    video = sdp.video_flow(_read_sdp(stream, "video", stream.video), stream.video)
    metadata = None
    if stream.metadata:
        metadata = sdp.metadata_flow(_read_sdp(stream, "metadata", stream.metadata), stream.metadata)
    return Flows(video, metadata)


def _open_at_once(path: str, flags: int) -> int:
    """An opener that does not wait at a FIFO for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read_sdp(stream: StreamConfig, key: str, place: str) -> str:
    """Text of an SDP by path or http(s) URL."""
    where = f"stream \"{stream.name}\", {key}"
    try:
        if place.startswith(("http://", "https://")):
            with urllib.request.urlopen(place, timeout=SDP_TIMEOUT_S) as answer:
                content = answer.read(SDP_BYTES_MAX + 1)
        else:
            with open(place, "rb", opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError("it is not a regular file")
                content = file.read(SDP_BYTES_MAX + 1)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise ConfigurationError(where, f"a readable SDP at {place}", str(error), "Check the path or the URL and its rights.") from error
    if len(content) > SDP_BYTES_MAX:
        raise ConfigurationError(where, f"an SDP of at most {SDP_BYTES_MAX} octets at {place}", "a larger file", "Is this the right file?")
    return content.decode("utf-8", "replace")
