"""What is believed of viewers' reports, on real counters: their sums, and how little one viewer that lies can do to them."""
import json

import pytest

from appliance.fanout.seen import CREDIT_SECONDS_MAX, FRAMES_PER_SECOND_MAX, REPORTS_AT_ONCE_MAX, Seen, Witness, reply
from appliance.fanout.viewer_report import COUNT_MAX, SECONDS_MAX, parse
from appliance.frame import Audience
from tests.unit.fanout.test_viewer_report import COUNTS, GOOD, changed
from tests.workbench import Workbench

SECOND_NS = 1_000_000_000


class Clock:
    """Seconds that pass when the test says so."""

    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def bench(tmp_path):
    bench = Workbench(tmp_path, "fanout.0")
    yield bench
    bench.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def witness(bench, clock):
    return Witness(Seen(bench.stage.counters, "scope", Audience.CLASS), clock)


@pytest.fixture
def seen(bench):
    """The value of a counter of the class by the end of its name."""
    return lambda name, **labels: bench.value(f"appliance_viewer_{name}", stream="scope", audience="class", **labels)


def observed(bench, name):
    counts, total_ns = bench.stage.counters.histogram(f"appliance_viewer_{name}", stream="scope", audience="class").snapshot()
    return sum(counts), total_ns / SECOND_NS


def test_a_report_moves_every_counter_of_its_audience(bench, clock, witness, seen):
    clock.now_s += 5
    assert witness.hear(json.dumps(GOOD)) == parse(json.dumps(GOOD))
    assert seen("visible_seconds_total") == 5 * SECOND_NS and seen("frozen_seconds_total") == 0.2 * SECOND_NS
    assert [seen(name) for name in ("reports_total", "frames_total", "freezes_total")] == [1, 250, 1]
    assert [seen(name) for name in ("packets_received_total", "packets_lost_total")] == [2260, 3]
    assert [seen(f"metadata_{name}_total") for name in ("joined", "late", "missing")] == [248, 1, 1]
    assert observed(bench, "latency_seconds") == (250, pytest.approx(250 * 0.037))
    assert observed(bench, "frames_per_second") == (1, 50.0)
    assert observed(bench, "buffer_seconds") == (1, 0.004) and observed(bench, "decode_seconds") == (1, 0.002) and observed(bench, "sound_buffer_seconds") == (1, 0.06)
    assert bench.stage.counters.histogram("appliance_viewer_latency_seconds", stream="scope", audience="class").snapshot()[0] == COUNTS
    assert bench.value("appliance_viewer_reports_total", stream="scope", audience="expert") == 0


def test_a_page_out_of_sight_is_no_slow_viewer(bench, clock, witness, seen):
    clock.now_s += 5
    witness.hear(changed(visible_seconds=0, frozen_seconds=0, freezes=0, frames=0, latency=None, joined=0, late=0, missing=0))
    assert seen("reports_total") == 1 and seen("visible_seconds_total") == seen("frozen_seconds_total") == 0
    assert observed(bench, "frames_per_second")[0] == observed(bench, "latency_seconds")[0] == 0


def test_a_liar_gains_no_more_than_real_time(bench, clock, witness, seen):
    boast = changed(seconds=SECONDS_MAX, visible_seconds=SECONDS_MAX, frozen_seconds=SECONDS_MAX, freezes=COUNT_MAX, frames=COUNT_MAX, joined=COUNT_MAX,
                    late=COUNT_MAX, missing=COUNT_MAX, packets_lost=COUNT_MAX, packets_received=COUNT_MAX)
    boast = json.dumps(json.loads(boast) | {"latency": GOOD["latency"] | {"counts": [COUNT_MAX] * 16}})
    for _ in range(60):
        clock.now_s += 1
        witness.hear(boast)
    assert seen("frozen_seconds_total") <= 60 * SECOND_NS and seen("visible_seconds_total") <= 60 * SECOND_NS
    assert 0 < seen("frames_total") <= 60 * FRAMES_PER_SECOND_MAX + seen("reports_total")
    assert sum(seen(f"metadata_{name}_total") for name in ("joined", "late", "missing")) <= seen("frames_total")
    assert seen("freezes_total") < 60 * 10 and seen("packets_lost_total") < 60 * 50_000
    assert observed(bench, "latency_seconds")[0] == 0
    assert observed(bench, "frames_per_second")[1] <= 60 * FRAMES_PER_SECOND_MAX


def test_reports_that_come_too_often_are_counted_and_not_read(clock, witness, seen):
    for _ in range(50):
        clock.now_s += 0.01
        witness.hear("not even JSON")
    assert seen("reports_malformed_total", reason="not_json") == REPORTS_AT_ONCE_MAX
    assert seen("reports_malformed_total", reason="too_often") == 50 - REPORTS_AT_ONCE_MAX
    clock.now_s += 10
    assert witness.hear(json.dumps(GOOD)) is not None and seen("reports_total") == 1


def test_one_every_two_seconds_is_taken_for_ever(clock, witness, seen):
    for _ in range(30):
        clock.now_s += 2
        assert witness.hear(changed(seconds=2.0, visible_seconds=2.0, frames=100, joined=100, late=0, missing=0)) is not None
    assert seen("frames_total") == 3000 and seen("visible_seconds_total") == 60 * SECOND_NS


def test_a_report_that_was_delayed_counts_in_full_and_a_long_silence_does_not_add_up(clock, witness, seen):
    clock.now_s += 9.5
    witness.hear(json.dumps(GOOD))
    clock.now_s += 0.5
    witness.hear(json.dumps(GOOD))
    assert seen("frames_total") == 500
    clock.now_s += 3600
    witness.hear(changed(seconds=SECONDS_MAX, visible_seconds=SECONDS_MAX, frozen_seconds=SECONDS_MAX))
    assert seen("visible_seconds_total") == (10 + CREDIT_SECONDS_MAX) * SECOND_NS


def test_two_viewers_do_not_share_their_time(bench, clock, witness, seen):
    other = Witness(Seen(bench.stage.counters, "scope", Audience.CLASS), clock)
    clock.now_s += 5
    for one in (witness, other):
        one.hear(json.dumps(GOOD))
    assert seen("frames_total") == 500


def test_the_reply_names_the_picture_and_the_time():
    said = json.loads(reply(7, "small", 1_795_000_000_123_456_789))
    assert said == {"version": 1, "number": 7, "level": "small", "unix_ms": pytest.approx(1_795_000_000_123.4568, abs=1e-3)}


