"""Counters: one table, one memory, cells that outlive their process."""
import os
import subprocess
import sys

import pytest

from appliance.runtime.counters import Counters, Segment, Segments, series_of
from appliance.runtime.demand import Demand
from appliance.runtime.metrics import COUNTER, GAUGE, HISTOGRAM, Metric

METRICS = (
    Metric("packets_total", COUNTER, "Packets"),
    Metric("lost_total", COUNTER, "Lost", (("reason", ("network", "kernel")),)),
    Metric("viewers", GAUGE, "Viewers"),
    Metric("latency_seconds", HISTOGRAM, "Latency", buckets_s=(0.001, 0.01, 0.1)),
)


@pytest.fixture
def segment():
    first = series_of("ingest.a", METRICS, {"stream": "a"})
    second = series_of("ingest.b", METRICS, {"stream": "b"}, first[-1].first + first[-1].cells)
    segment = Segment.create(first + second)
    yield segment
    os.close(segment.fd)


def test_every_series_has_its_own_cells(segment):
    taken = [cell for series in segment.series for cell in range(series.first, series.first + series.cells)]
    assert taken == list(range(len(taken)))
    assert len(taken) == 2 * (1 + 2 + 1 + 5)


def test_cells_count_and_do_not_touch_their_neighbours(segment):
    counters = Counters(segment, "ingest.a")
    counters.counter("packets_total").add(5)
    counters.counter("lost_total", reason="kernel").add()
    values = {(series.stage, series.metric.name, dict(series.labels).get("reason")): value for series, value in segment.read()
              if series.metric.kind != HISTOGRAM}
    assert {key: value for key, value in values.items() if value} == {("ingest.a", "packets_total", None): 5, ("ingest.a", "lost_total", "kernel"): 1}


def test_counters_wrap_at_64_bits(segment):
    cell = Counters(segment, "ingest.a").counter("packets_total")
    cell.add(2**64 - 1)
    cell.add(3)
    assert cell.value == 2


@pytest.mark.parametrize("name, labels", [("no_such_total", {}), ("lost_total", {}), ("lost_total", {"reason": "weather"}), ("viewers", {})])
def test_what_the_table_does_not_declare_is_refused(segment, name, labels):
    with pytest.raises(KeyError):
        Counters(segment, "ingest.a").counter(name, **labels)


def test_histogram_sorts_into_buckets(segment):
    histogram = Counters(segment, "ingest.b").histogram("latency_seconds")
    for value_ns in (-5, 0, 1_000_000, 1_000_001, 10_000_000, 99_000_000, 100_000_001, 10**12):
        histogram.observe_ns(value_ns)
    assert histogram.snapshot() == ([3, 2, 1, 2], 1_000_000 + 1_000_001 + 10_000_000 + 99_000_000 + 100_000_001 + 10**12)


def test_a_dead_stage_loses_its_gauges_and_keeps_its_counters(segment):
    counters = Counters(segment, "ingest.a")
    counters.counter("packets_total").add(7)
    counters.gauge("viewers").set(3)
    Counters(segment, "ingest.b").gauge("viewers").set(2)
    segment.clear_gauges("ingest.a")
    assert counters.counter("packets_total").value == 7
    assert [cell.value for cell in segment.find_all("viewers")] == [0, 2]


def test_cells_are_seen_by_another_process(segment):
    program = ("import sys, mmap; cells = memoryview(mmap.mmap(int(sys.argv[1]), 0)).cast('Q'); cells[int(sys.argv[2])] += 41")
    first = segment._lookup("ingest.b", "packets_total", {})[0].first
    Counters(segment, "ingest.b").counter("packets_total").add()
    subprocess.run([sys.executable, "-c", program, str(segment.fd), str(first)], pass_fds=[segment.fd], check=True)
    assert Counters(segment, "ingest.b").counter("packets_total").value == 42


def test_demand_sums_over_workers_and_what_a_coding_serves():
    scope = ("stage", "stream", "rendition", "coding")
    declared = (Metric("appliance_fanout_viewers", GAUGE, "", scope=scope), Metric("appliance_fanout_keyframe_requests_total", COUNTER, "", scope=scope))
    series = []
    for worker in ("fanout.0", "fanout.1"):
        for rendition, coding in (("expert", "expert"), ("class", "expert"), ("class.vp8", "expert.vp8")):
            first = series[-1].first + series[-1].cells if series else 0
            series += series_of(worker, declared, {"stage": worker, "stream": "a", "rendition": rendition, "coding": coding}, first)
    segment = Segment.create(series)
    workers = [Counters(segment, worker) for worker in ("fanout.0", "fanout.1")]
    h264, everyone = Demand(workers[0], "a", "expert"), Demand(workers[0], "a")
    assert (h264.watchers(), everyone.watchers(), everyone.keyframes_requested()) == (0, 0, 0)
    workers[0].gauge("appliance_fanout_viewers", stream="a", rendition="expert").set(2)
    workers[1].gauge("appliance_fanout_viewers", stream="a", rendition="class").set(3)
    workers[1].gauge("appliance_fanout_viewers", stream="a", rendition="class.vp8").set(4)
    workers[0].counter("appliance_fanout_keyframe_requests_total", stream="a", rendition="class.vp8").add()
    assert (h264.watchers(), everyone.watchers()) == (5, 9)
    assert (h264.keyframes_requested(), everyone.keyframes_requested()) == (0, 1)
    os.close(segment.fd)


def test_segments_are_asked_as_one_and_a_successor_goes_on_counting():
    declared = [Metric("packets_total", COUNTER, "x", scope=("stream",)), Metric("latency_seconds", HISTOGRAM, "x", scope=("stream",))]
    both = Segments()
    parts = {name: Segment.create(series_of(f"ingest.{name}", declared, {"stream": name})) for name in ("a", "b")}
    for name, part in parts.items():
        both.put(name, part)
    Counters(both, "ingest.a").counter("packets_total").add(3)
    Counters(both, "ingest.a").histogram("latency_seconds").observe_ns(5_000_000)
    assert [cell.value for cell in both.find_all("packets_total")] == [3, 0]
    more = [Metric("late_total", COUNTER, "x", scope=("stream",)), *declared]
    successor = Segment.create(series_of("ingest.a", more, {"stream": "a"}))
    successor.carry_over(parts["a"])
    both.put("a", successor)
    assert both.find("ingest.a", "packets_total").value == 3 and both.find("ingest.a", "late_total").value == 0
    assert both.histogram("ingest.a", "latency_seconds").snapshot() == parts["a"].histogram("ingest.a", "latency_seconds").snapshot()
    both.drop("b")
    with pytest.raises(KeyError):
        both.find("ingest.b", "packets_total")
    for part in (*parts.values(), successor):
        os.close(part.fd)
