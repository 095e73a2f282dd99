"""THE table: which stages run, which rings join them, what each counts. It reads like the drawing in ARCHITECTURE.md.

Called by the supervisor with a configuration and the flows of its streams, at start and whenever they change. Pure; nothing is created here.
"""
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from appliance.config import Config, EncoderConfig, StreamConfig
from appliance.frame import CODINGS, RENDITIONS, VBV_FRAMES, Audience, Level, Rendition, VideoFormat
from appliance.protocol.sdp import PATHS, Flow
from appliance.runtime import metrics
from appliance.runtime.counters import Series, series_of
from appliance.runtime.ring import EVERY, LATEST
from appliance.runtime.stage import Flows

# Two open frames, the newest, one leased by convert, and one to spare for a reader that is late.
RAW_SLOTS = 6
RING_SLOTS_MAX = 256  # cext/kernels/ring.h
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
# What the hospital's stage looks back at when it is asked: a second of records at 60 frames a second, and the raw frames of [pacs] history_ms.
HISTORY_RECORD_SLOTS = 64
HISTORY_BYTES_MAX = 512 << 20
HOSPITAL = "hospital"
# Shared stages that look at no other stage's counters.
_READS_OWN = ("appliance.fanout", "appliance.hospital")
# 160 ms of Opus; the largest frame has 1275 octets (RFC 6716 section 3.4).
OPUS_SLOTS, OPUS_BYTES_MAX = 16, 1536


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
class SegmentSpec:
    """Counters that lie together in memory: those of one stage, or those that a shared stage has for one stream."""

    name: str
    stage: str
    stream: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class StageSpec:
    """A process to be run. `module` has run(stage)."""

    name: str
    module: str
    series: tuple[Series, ...]
    sockets: tuple[str, ...] = ()
    stream: str = ""  # the stream that the stage serves alone; a shared stage has none
    inputs: Hashable = ()  # a stream's stage is started anew when this is another
    reads_all: bool = False  # whether it looks at every stage's counters; a shared stage else has its own, a stream's those of the stream
    apart: bool = False  # nothing of the picture needs it: whatever becomes of it, the appliance goes on


@dataclass(frozen=True)
class Topology:
    """Everything the supervisor makes and starts, in the order of starting. Streams without flows have no part in it."""

    stages: tuple[StageSpec, ...]
    rings: tuple[RingSpec, ...]
    flows: dict[str, Flows] = field(default_factory=dict)
    segments: tuple[SegmentSpec, ...] = ()

    @property
    def series(self) -> tuple[Series, ...]:
        """Of every segment."""
        return tuple(series for segment in self.segments for series in segment.series)


def lay_out(config: Config, flows: Mapping[str, Flows]) -> Topology:
    """The topology of a configuration, for those of its streams whose flows are known."""
    streams = config.streams
    known = {stream.name: flows[stream.name] for stream in streams if stream.name in flows}
    config = replace(config, streams=tuple(stream for stream in streams if stream.name in known))
    workers = [f"fanout.{number}" for number in range(config.server.fanout_workers)]
    rings = tuple(ring for stream in config.streams for ring in _rings(stream, known[stream.name], workers, config))
    stages, segments = [], list(_supervisor_segments(streams))
    for name, module, declared, sockets, stream in _stages(config, workers, known):
        own = [_segment(name, stream, declared, supervised=True)] if stream else list(_shared_segments(name, config, declared))
        segments += own
        inputs = _inputs(module, config.stream(stream), known[stream], config.encoder) if stream else ()
        series = tuple(series for segment in own for series in segment.series if series.stage == name)
        stages.append(StageSpec(name, module, series, sockets, stream, inputs, reads_all=not stream and module not in _READS_OWN, apart=name == HOSPITAL))
    return Topology(tuple(stages), rings, known, tuple(segments))


def changed_stages(old: Topology, new: Topology) -> set[str]:
    """Those of the old stages that must not run on as they are under the new topology: what they are made of is another, or a ring of theirs, or nothing."""
    specs, rings = {spec.name: spec for spec in new.stages}, {ring.name: ring for ring in new.rings}
    changed = {spec.name for spec in old.stages if specs.get(spec.name) != spec}
    shared = {spec.name for spec in new.stages if not spec.stream}  # these follow
    for ring in (*old.rings, *new.rings):
        if ring not in old.rings or rings.get(ring.name) != ring:
            changed |= {ring.writer, *ring.readers}
    return changed & {spec.name for spec in old.stages} - shared


def _segment(stage: str, stream: str, declared: tuple, supervised: bool = False) -> SegmentSpec:
    """The cells of a stage one after another, and the cell in which the supervisor counts its restarts."""
    series: list[Series] = []
    groups = [("supervisor", {}, metrics.SUPERVISOR)] * supervised + [(stage, scope, group) for scope, group in declared]
    for counting, scope, group in groups:
        series += series_of(counting, group, {"stage": stage} | scope, series[-1].first + series[-1].cells if series else 0)
    return SegmentSpec(f"counters {stage}" + (f" {stream}" if stream and not supervised else ""), stage, stream, tuple(series))


def _supervisor_segments(streams: tuple[StreamConfig, ...]) -> Iterator[SegmentSpec]:
    yield SegmentSpec("counters supervisor", "supervisor", "", tuple(series_of("supervisor", metrics.SUPERVISOR_SELF, {})))
    for stream in streams:  # those that wait included
        own = series_of("supervisor", metrics.SUPERVISOR_STREAM, {"stream": stream.name})
        yield SegmentSpec(f"counters supervisor {stream.name}", "supervisor", stream.name, tuple(own))


def _shared_segments(name: str, config: Config, declared: tuple) -> Iterator[SegmentSpec]:
    """A shared stage's own cells, and those that come and go with each stream."""
    yield _segment(name, "", tuple(group for group in declared if "stream" not in group[0]), supervised=True)
    for stream in config.streams:
        groups = tuple(group for group in declared if group[0].get("stream") == stream.name)
        if groups:
            yield _segment(name, stream.name, groups)


def _inputs(module: str, stream: StreamConfig, flows: Flows, encoder: EncoderConfig) -> Hashable:
    """What a stage of a stream is made of, besides its rings. Not the stream's title: a new one takes no restart."""
    video, metadata, audio = _received(flows.video), tuple(_received(flow) for flow in flows.metadata), _received(flows.audio)
    return {
        "appliance.ingest": (video, stream.interfaces, stream.receive, stream.path_skew_ms),
        "appliance.convert": video.format,
        "appliance.encode": (video.format, encoder),
        "appliance.metadata": (metadata, stream.interfaces, stream.metadata_authority),
        "appliance.sound": (audio, stream.interfaces, stream.audio_channels),
    }[module]


def _received(flow: Flow | None) -> Flow | None:
    """A flow without the words that are for people."""
    return flow and replace(flow, notes=(), title="")


def _stages(config: Config, workers: list[str], flows: Mapping[str, Flows]) -> Iterator[tuple]:
    """(name, module, ((scope labels, metrics), ...), sockets, stream). Downstream first, so that nobody publishes into the void."""
    judged = tuple(({"stream": stream.name}, metrics.EXPORTER_STREAM) for stream in config.streams)
    yield "exporter", "appliance.exporter", (({}, metrics.EXPORTER), *judged), ("metrics",), ""
    for worker in workers:
        declared = [({}, metrics.FANOUT)]
        for stream in config.streams:
            declared += [({"stream": stream.name}, metrics.FANOUT_STREAM)]
            declared += [({"stream": stream.name}, metrics.FANOUT_SOUND)]  # with sound or without: cells that are in use do not move
            declared += [({"stream": stream.name, "audience": audience.value}, metrics.FANOUT_AUDIENCE) for audience in Audience]
            declared += [({"stream": stream.name, "audience": rendition.audience.value, "rendition": rendition.name, "coding": rendition.coding.name},
                          metrics.FANOUT_RENDITION) for rendition in RENDITIONS]
        one_port = config.server.media_ports is not None and config.server.media_ports.count == 1
        yield worker, "appliance.fanout", tuple(declared), ("control", "handover") if one_port else ("control",), ""
    if config.hospital:
        scopes = tuple(({"stream": stream.name}, metrics.HOSPITAL_STREAM) for stream in config.streams)
        yield HOSPITAL, "appliance.hospital", (({}, metrics.HOSPITAL), *scopes), ("control",), ""
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
        if stream.audio:
            yield f"sound.{stream.name}", "appliance.sound", ((scope, metrics.SOUND),), (), stream.name
        paths = zip(PATHS, flows[stream.name].video.legs)
        by_path = tuple((scope | {"path": path}, metrics.INGEST_PATH) for path, _ in paths)
        yield f"ingest.{stream.name}", "appliance.ingest", ((scope, metrics.INGEST), *by_path), (), stream.name


def _encoder_of(stream: str, coding: Rendition) -> str:
    """Name of the stage that makes a coding: one for all levels."""
    return f"encode.{stream}.{coding.levels[0].name}"


def _units(level: Level, encoder: EncoderConfig, video: VideoFormat) -> tuple[int, int]:
    """(slots, octets of a slot) of a units ring: the same time for every level, and room for its keyframes."""
    step = level.frame_step(video.picture_rate)
    planar = encoder.planar_of(video)
    width, height = level.raster_of(planar.width, planar.height)
    vbv_bytes = VBV_FRAMES * encoder.bitrate_kbps_of(level) * 125 * step / video.picture_rate
    return UNIT_SLOTS // step, min(UNIT_BYTES_MAX, max(UNIT_BYTES_MIN, width * height // UNIT_PIXELS_PER_BYTE, int(2 * vbv_bytes)))


def _history_slots(video: VideoFormat, config: Config) -> int:
    """Slots that a raw ring has more for a snapshot of a frame that has passed: old frames stay where they lie until their slot is needed."""
    if config.pacs is None:
        return 0
    frames = int(config.pacs.history_ms * video.picture_rate / 1000)
    # One for the lease while a frame is copied.
    return 1 + min(frames, HISTORY_BYTES_MAX // video.frame_bytes, RING_SLOTS_MAX - RAW_SLOTS - 1)


def _rings(stream: StreamConfig, flows: Flows, workers: list[str], config: Config) -> Iterator[RingSpec]:
    name, video, encoder = stream.name, flows.video.format, config.encoder
    planar = encoder.planar_of(video)
    encoders = tuple(_encoder_of(name, coding) for coding in CODINGS)
    readers = (f"convert.{name}", HOSPITAL) if config.pacs else (f"convert.{name}",)
    waiting = flows.video.frames_open(stream.path_skew_ms * 1_000_000) - flows.video.frames_open(0)
    yield RingSpec(f"raw.{name}", RAW_SLOTS + waiting + _history_slots(video, config), video.frame_bytes, LATEST, video.to_bytes(), f"ingest.{name}", readers)
    yield RingSpec(f"planar.{name}", PLANAR_SLOTS, planar.frame_bytes, LATEST, planar.to_bytes(), f"convert.{name}", encoders)
    for worker in workers:
        number = worker.split(".")[1]
        for coding in CODINGS:
            slots, slot_bytes = _units(coding.level, encoder, video)
            yield RingSpec(f"units.{name}.{coding.name}.{number}", slots, slot_bytes, EVERY, coding.codec.value.encode(),
                           _encoder_of(name, coding), (worker,) * len(coding.serves))
        if stream.audio:
            yield RingSpec(f"opus.{name}.{number}", OPUS_SLOTS, OPUS_BYTES_MAX, EVERY, b"opus", f"sound.{name}", (worker,))
        if stream.metadata:
            for audience in Audience:
                yield RingSpec(f"records.{name}.{audience.value}.{number}", RECORD_SLOTS, RECORD_BYTES_MAX, EVERY, b"record",
                               f"metadata.{name}", (worker,))
    if stream.metadata and config.hospital:
        yield RingSpec(f"records.{name}.{Audience.EXPERT.value}.{HOSPITAL}", HISTORY_RECORD_SLOTS, RECORD_BYTES_MAX, LATEST, b"record",
                       f"metadata.{name}", (HOSPITAL,))
