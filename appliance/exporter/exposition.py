"""What the exporter answers: /metrics for Prometheus, /healthz and /status, from the shared counters and the monitor. Plain HTTP on [server] metrics.

It only reads; a scrape costs the data plane nothing.
"""
import os
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric as PrometheusMetric

import appliance.version
from appliance import clock
from appliance.exporter.monitor import Monitor
from appliance.protocol import ptp
from appliance.runtime.counters import Segment, Segments
from appliance.runtime.health import OVERALL
from appliance.runtime.metrics import COUNTER, GAUGE, HISTOGRAM, Metric, signed
from appliance.runtime.stage import Stage

HEARTBEAT_LIMIT_S = 3.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_FAMILIES = {COUNTER: CounterMetricFamily, GAUGE: GaugeMetricFamily, HISTOGRAM: HistogramMetricFamily}


class Collector:
    """Turns the segment's cells into Prometheus families at each scrape."""

    def __init__(self, segment: Segment | Segments, monitor: Monitor | None = None) -> None:
        self._segment, self._monitor = segment, monitor

    def collect(self) -> Iterator:
        """Every family; called by prometheus_client."""
        families: dict[str, PrometheusMetric] = {}
        for series, value in self._segment.read():
            name, labels = series.metric.name, dict(series.labels)
            family = families.setdefault(name, _FAMILIES[series.metric.kind](name, series.metric.help))
            # Samples, not metrics of the family: a metric may have labels in one stage that it has not in another.
            if series.metric.kind == HISTOGRAM:
                counts, total_ns = value
                for bound, count in _cumulative(series.metric, counts):
                    family.add_sample(f"{name}_bucket", labels | {"le": bound}, count)
                family.add_sample(f"{name}_count", labels, sum(counts))
                family.add_sample(f"{name}_sum", labels, total_ns * 1e-9)
            else:
                family.add_sample(name, labels, (signed(value) if series.metric.signed else value) * series.metric.scale)
        yield from families.values()
        yield from _processes(self._segment)
        yield _grandmaster(self._monitor)
        information = GaugeMetricFamily("appliance_build_info", "Version of the appliance", labels=["version"])
        information.add_metric([appliance.version.VERSION], 1)
        yield information


def _cumulative(metric: Metric, counts: list[int]) -> list[tuple[str, int]]:
    total, buckets = 0, []
    for bound, count in zip([*map(str, metric.buckets_s), "+Inf"], counts):
        total += count
        buckets.append((bound, total))
    return buckets


def _processes(segment: Segment | Segments) -> Iterator:
    """CPU and memory of every stage's process, from /proc."""
    cpu = CounterMetricFamily("appliance_stage_cpu_seconds_total", "CPU time of the stage's present process", labels=["stage"])
    memory = GaugeMetricFamily("appliance_stage_resident_bytes", "Resident memory of the stage's process, shared rings included", labels=["stage"])
    for series, pid in segment.read():
        if series.metric.name != "appliance_stage_pid" or not pid:
            continue
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended between the two reads
        cpu.add_metric([series.stage], (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS)
        memory.add_metric([series.stage], int(fields[21]) * _PAGE_BYTES)
    yield cpu
    yield memory


def _grandmaster(monitor: Monitor | None) -> PrometheusMetric:
    """Whom PTP follows; no series while it follows nobody."""
    family = GaugeMetricFamily("appliance_clock_grandmaster_info", "The PTP grandmaster that is followed", labels=["grandmaster", "domain"])
    state = monitor.clock.ptp if monitor else None
    if state and state.grandmaster is not None:
        family.add_metric([ptp.identity_text(state.grandmaster), str(state.domain)], 1)
    return family


def problems(segment: Segment | Segments) -> list[str]:
    """Why the appliance is not healthy, one sentence a stage; empty when every stage runs."""
    found, now_ns = [], clock.monotonic_ns()
    beats = {series.stage: value for series, value in segment.read() if series.metric.name == "appliance_stage_heartbeat_monotonic_seconds"}
    for series, ready in segment.read():
        if series.metric.name != "appliance_stage_ready":
            continue
        silent_s = (now_ns - beats[series.stage]) / 1e9
        if not ready:
            found.append(f"stage {series.stage} is not running yet")
        elif silent_s > HEARTBEAT_LIMIT_S:
            found.append(f"stage {series.stage} has been silent for {silent_s:.1f} s")
    return found


def _waits(name: str, reason: str) -> str:
    """Why a stream cannot begin, without its name in every sentence of the reason."""
    own = f'stream "{name}", '
    return f"stream {name} waits: {reason.replace(own, '')}"


def application(segment: Segment | Segments, stage: Stage | None = None, monitor: Monitor | None = None) -> web.Application:
    """The HTTP application; the stage says which streams wait, and what a person should know, the monitor how streams and clock are."""
    registry = CollectorRegistry()
    registry.register(Collector(segment, monitor))
    document = monitor.document if monitor else lambda: {"clock": None, "streams": {}}

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        waiting, remarks = (stage.waiting, stage.remarks) if stage else ({}, ())
        reasons = problems(segment) + [_waits(name, reason) for name, reason in waiting.items()]
        streams = {name: {"status": stream["status"][OVERALL], "reasons": [finding["sentence"] for finding in stream["findings"]]}
                   for name, stream in document()["streams"].items()}
        # 503 is for what keeps stages from running. What a theatre sends, or does not, is no fault of this machine.
        return web.json_response({"status": "unhealthy" if reasons else "healthy", "reasons": reasons, "remarks": list(remarks), "streams": streams},
                                 status=503 if reasons else 200)

    async def status(_: web.Request) -> web.Response:
        return web.json_response(document() | {"remarks": list(stage.remarks) if stage else []})

    server = web.Application()
    server.router.add_get("/metrics", metrics)
    server.router.add_get("/healthz", healthz)
    server.router.add_get("/status", status)
    return server
