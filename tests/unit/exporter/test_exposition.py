"""The exporter over a real counter segment, scraped by HTTP on a free port of loopback."""
import asyncio
import os
import re
import subprocess

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from appliance import clock, exporter
from appliance.runtime import metrics
from appliance.runtime.counters import Segment, series_of

BASE_UNITS = ("_seconds", "_bytes", "_info", "_ratio", "_per_second")


@pytest.fixture
def segment(tmp_path):
    """One stage of every kind and what the supervisor counts."""
    groups = [("exporter", metrics.EXPORTER, {}), ("exporter", metrics.EXPORTER_STREAM, {}), ("fanout.0", metrics.FANOUT, {}), ("fanout.0", metrics.FANOUT_STREAM, {}),
              ("fanout.0", metrics.FANOUT_RENDITION, {}), ("fanout.0", metrics.FANOUT_AUDIENCE, {}), ("gateway", metrics.GATEWAY, {}), ("encode.scope.expert", metrics.ENCODE, {}),
              ("encode.scope.expert", metrics.ENCODE_RENDITION, {}), ("encode.scope.expert", metrics.ENCODE_RENDITION, {"rendition": "expert.half"}),
              ("convert.scope", metrics.CONVERT, {}), ("metadata.scope", metrics.METADATA, {}), ("ingest.scope", metrics.INGEST, {}), ("ingest.scope", metrics.INGEST_PATH, {"path": "a"}),
              ("sound.scope", metrics.SOUND, {}), ("fanout.0", metrics.FANOUT_SOUND, {}),
              ("hospital", metrics.HOSPITAL, {}), ("hospital", metrics.HOSPITAL_STREAM, {}),
              ("supervisor", metrics.SUPERVISOR, {"stage": "ingest.scope"}), ("supervisor", metrics.SUPERVISOR_SELF, {}),
              ("supervisor", metrics.SUPERVISOR_STREAM, {})]
    series = []
    for stage, declared, scope in groups:
        first = series[-1].first + series[-1].cells if series else 0
        series += series_of(stage, declared, {"stage": stage, "stream": "scope", "audience": "expert", "rendition": "expert", "coding": "expert"} | scope, first)
    segment = Segment.create(series)
    yield segment
    os.close(segment.fd)


def answer_of(segment, path, **options):
    """Status, headers and text of one GET."""
    async def serve_and_get():
        runner = web.AppRunner(exporter.application(segment, **options), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, answer.headers, await answer.text()
        finally:
            await runner.cleanup()

    return asyncio.run(serve_and_get())


fetch = answer_of


def families(segment):
    return {family.name: family for family in text_string_to_metric_families(fetch(segment, "/metrics")[2])}


def declared():
    return {metric.name: metric for name, group in vars(metrics).items() if name.isupper() and isinstance(group, tuple)
            for metric in group if isinstance(metric, metrics.Metric)}


def test_promtool_finds_nothing_to_say(segment):
    status, headers, text = fetch(segment, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain")
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_declared_metric_is_shown_with_its_help(segment):
    shown = families(segment)
    for name, metric in declared().items():
        family = shown[name.removesuffix("_total")]
        assert family.documentation == metric.help and family.type == metric.kind and family.samples, name


@pytest.mark.parametrize("metric", declared().values(), ids=lambda metric: metric.name)
def test_names_follow_the_conventions_of_prometheus(metric):
    assert re.fullmatch(r"appliance_[a-z0-9_]+", metric.name) and not metric.help[0].islower() and not metric.help.endswith(".")
    assert metric.name.endswith("_total") == (metric.kind == metrics.COUNTER)
    if metric.kind == metrics.HISTOGRAM or metric.scale != 1:
        assert metric.name.removesuffix("_total").endswith(BASE_UNITS)
    assert not re.search(r"_(ms|milliseconds|ns|nanoseconds|kbps|mib|percent)(_|$)", metric.name)


def test_a_counter_is_shown_with_its_labels(segment):
    segment.find("ingest.scope", "appliance_ingest_packets_lost_total").add(7)
    segment.find("metadata.scope", "appliance_metadata_grains_malformed_total", reason="vr").add(2)
    shown = families(segment)
    assert [(sample.labels, sample.value) for sample in shown["appliance_ingest_packets_lost"].samples] == [({"stream": "scope"}, 7)]
    assert {sample.labels["reason"]: sample.value for sample in shown["appliance_metadata_grains_malformed"].samples}["vr"] == 2


def test_a_histogram_is_shown_cumulative_and_in_seconds(segment):
    latency = segment.histogram("convert.scope", "appliance_stage_latency_seconds")
    for milliseconds in (0.5, 12, 12, 5000):
        latency.observe_ns(round(milliseconds * 1e6))
    samples = [sample for sample in families(segment)["appliance_stage_latency_seconds"].samples if sample.labels["stage"] == "convert.scope"]
    buckets = {sample.labels["le"]: sample.value for sample in samples if "le" in sample.labels}
    assert (buckets["0.001"], buckets["0.01"], buckets["0.015"], buckets["1.0"], buckets["+Inf"]) == (1, 1, 3, 3, 4)
    totals = {sample.name.rsplit("_", 1)[1]: sample.value for sample in samples if "le" not in sample.labels}
    assert totals["count"] == 4 and totals["sum"] == pytest.approx(5.0245)


def test_memory_and_cpu_are_those_of_the_stages_process(segment):
    segment.find("gateway", "appliance_stage_pid").set(os.getpid())
    shown = families(segment)
    (memory,), (cpu,) = shown["appliance_stage_resident_bytes"].samples, shown["appliance_stage_cpu_seconds"].samples
    assert memory.labels == cpu.labels == {"stage": "gateway"}
    assert memory.value > 10 << 20 and cpu.value > 0


def test_a_process_that_is_gone_is_left_out(segment):
    segment.find("gateway", "appliance_stage_pid").set(2**22 + 1)  # above the largest pid that Linux gives
    assert families(segment)["appliance_stage_resident_bytes"].samples == []


def bring_to_life(segment, beat_ns):
    for series in segment.series:
        if series.metric.name == "appliance_stage_ready":
            segment.cells[series.first] = 1
        elif series.metric.name == "appliance_stage_heartbeat_monotonic_seconds":
            segment.cells[series.first] = beat_ns


def test_health_is_200_when_every_stage_runs(segment):
    bring_to_life(segment, clock.monotonic_ns() + 10**11)  # however slow the test is
    status, _, text = fetch(segment, "/healthz")
    assert status == 200 and '"healthy"' in text


def test_health_is_503_and_names_the_stage_that_is_not_ready(segment):
    bring_to_life(segment, clock.monotonic_ns() + 10**11)
    segment.find("convert.scope", "appliance_stage_ready").set(0)
    status, _, text = fetch(segment, "/healthz")
    assert status == 503 and "stage convert.scope is not running yet" in text and "ingest" not in text


def test_health_is_503_when_a_stage_has_gone_silent(segment):
    bring_to_life(segment, clock.monotonic_ns() + 10**11)
    segment.find("ingest.scope", "appliance_stage_heartbeat_monotonic_seconds").set(clock.monotonic_ns() - 10**10)
    status, _, text = fetch(segment, "/healthz")
    assert status == 503 and "stage ingest.scope has been silent for" in text


def test_a_scrape_changes_nothing(segment):
    segment.find("ingest.scope", "appliance_ingest_frames_total").add(5)
    before = bytes(segment.cells)
    fetch(segment, "/metrics")
    assert bytes(segment.cells) == before
