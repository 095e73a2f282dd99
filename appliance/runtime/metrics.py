"""Every metric of the appliance, one table: what a stage counts, the exporter shows and the dashboards ask for.

Only declarations. Labels `stream`, `audience`, `rendition`, `codec` and `stage` are filled in from the stage's place in the topology.
"""
from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
WORK_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.05, 0.1, 0.5)


@dataclass(frozen=True)
class Metric:
    """One metric. `choices` are its own labels with every value they may take; `scope` names labels given by the topology.

    `scale` is the value of one unit in the shared cell (histograms and times are kept in nanoseconds, shown in seconds).
    """

    name: str
    kind: str
    help: str
    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    scope: tuple[str, ...] = ("stream",)
    buckets_s: tuple[float, ...] = LATENCY_BUCKETS_S
    scale: float = 1.0


def _reasons(*values: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (("reason", values),)


EVERY_STAGE = (
    Metric("appliance_stage_heartbeat_monotonic_seconds", GAUGE, "Monotonic time of the stage's last sign of life", scope=("stage",), scale=1e-9),
    Metric("appliance_stage_pid", GAUGE, "Process id of the stage", scope=("stage",)),
    Metric("appliance_stage_ready", GAUGE, "1 once the stage works", scope=("stage",)),
)
FRAMES_DROPPED = "appliance_frames_dropped_total"
FRAMES_DROPPED_HELP = "Frames or access units lost inside the appliance, by stage and reason"
LATENCY = Metric("appliance_stage_latency_seconds", HISTOGRAM, "From capture time to this stage's publish", scope=("stage", "stream"))

SUPERVISOR = (
    Metric("appliance_supervisor_restarts_total", COUNTER, "Restarts of a stage since the appliance started", scope=("stage",)),
)

INGEST = EVERY_STAGE + (
    LATENCY,
    Metric("appliance_ingest_frames_total", COUNTER, "Frames published, complete or not"),
    Metric("appliance_ingest_packets_total", COUNTER, "RTP packets accepted"),
    Metric("appliance_ingest_packets_lost_total", COUNTER, "Packets that never arrived, by sequence number"),
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot"), scope=("stage", "stream")),
)

CONVERT = EVERY_STAGE + (
    LATENCY,
    Metric("appliance_convert_frames_total", COUNTER, "Frames converted to planar"),
    Metric("appliance_convert_frames_skipped_total", COUNTER, "Raw frames jumped over because a newer one was there"),
    Metric("appliance_convert_work_seconds", HISTOGRAM, "Time to convert one frame", buckets_s=WORK_BUCKETS_S),
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot"), scope=("stage", "stream")),
)

ENCODE = EVERY_STAGE + (
    LATENCY,
    Metric(FRAMES_DROPPED, COUNTER, FRAMES_DROPPED_HELP, _reasons("no_slot", "too_large", "encoder_error"), scope=("stage", "stream")),
)

METADATA = EVERY_STAGE + (
)

FANOUT_RENDITION = (
    Metric("appliance_fanout_viewers", GAUGE, "Viewers connected", scope=("stage", "stream", "audience", "rendition")),
    Metric("appliance_fanout_keyframe_requests_total", COUNTER, "Keyframes asked of the encoder", scope=("stage", "stream", "audience", "rendition")),
)
"""What each fan-out worker counts for each rendition of each stream."""

FANOUT = EVERY_STAGE + (
)

GATEWAY = EVERY_STAGE + (
)

EXPORTER = EVERY_STAGE
