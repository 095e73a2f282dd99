"""Viewers' reports: whatever comes on the channel is a report within its limits or a counted refusal, and never more than real time in a counter."""
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.fanout.viewer_report import LATENCY_SECONDS_MAX, REPORT_OCTETS_MAX, SECONDS_MAX, parse
from appliance.runtime.metrics import VIEWER_LATENCY_BUCKETS_S, VIEWER_MALFORMED
from tests.unit.fanout.test_viewer_report import GOOD

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
                    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(max_size=8), inner, max_size=6), max_leaves=40)
NUMBERS = st.integers(-2, 10**12) | st.floats() | st.sampled_from([0, 0.0, 5, 5.0, SECONDS_MAX, LATENCY_SECONDS_MAX])


def judge(text):
    try:
        report = parse(text)
    except ProtocolError as error:
        assert error.reason in VIEWER_MALFORMED and error.reason != "too_often"
        return
    assert len(text) <= REPORT_OCTETS_MAX
    assert 0 <= report.frozen_s <= report.visible_s + 0.1 <= report.seconds + 0.2 <= SECONDS_MAX + 0.2
    assert all(isinstance(value, int) and value >= 0 for value in (report.frames, report.freezes, report.packets_lost, report.joined, report.late, report.missing))
    if report.latency is not None:
        assert 0 <= report.latency.p50_s <= report.latency.p95_s <= report.latency.max_s <= LATENCY_SECONDS_MAX
        assert len(report.latency.counts) == len(VIEWER_LATENCY_BUCKETS_S) + 1 and min(report.latency.counts) >= 0


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(st.text() | st.binary())
@example("[" * REPORT_OCTETS_MAX)
@example('{"a":' * 180)
@example("-" + "9" * 1000)
@example("1e" + "9" * 1000)
@example('"\\ud800"')
@example(b"\x00" * 16)
@example("\ufeff{}".encode("utf-16"))
def test_any_octets_are_read_or_refused(text):
    judge(text)


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(JSON)
def test_any_json_is_read_or_refused(value):
    judge(json.dumps(value))


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON | NUMBERS, min_size=1, max_size=4), st.lists(st.sampled_from(sorted(GOOD)), max_size=2))
def test_any_value_of_any_key_is_read_or_refused(changes, left_out):
    judge(json.dumps({key: value for key, value in (GOOD | changes).items() if key not in left_out}))


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(st.dictionaries(st.sampled_from(sorted(GOOD["latency"])), NUMBERS | st.lists(NUMBERS, min_size=16, max_size=16), min_size=1))
def test_any_latency_is_read_or_refused(changes):
    judge(json.dumps(GOOD | {"latency": GOOD["latency"] | changes}))


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(st.integers(0, 600), st.integers(0, 600), st.binary(max_size=4))
def test_a_damaged_report_is_read_or_refused(begin, end, inserted):
    octets = json.dumps(GOOD).encode()
    judge(octets[:begin] + inserted + octets[end:])
