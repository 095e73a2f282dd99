"""Reports of viewers' pages: what is read of them, what is refused and why, and that page and box mean the same buckets."""
import json
import re
from pathlib import Path

import pytest

from appliance.errors import ProtocolError
from appliance.fanout.viewer_report import REPORT_OCTETS_MAX, SeenLatency, parse
from appliance.runtime.metrics import VIEWER_LATENCY_BUCKETS_S, VIEWER_MALFORMED

PAGE = Path(__file__).parents[3] / "appliance" / "viewer" / "src" / "report.ts"
COUNTS = [0, 0, 0, 200, 49, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
GOOD = {"version": 1, "number": 7, "seconds": 5.0, "visible_seconds": 5.0, "codec": "h264", "width": 1280, "height": 720, "frames": 250, "freezes": 1,
        "frozen_seconds": 0.2, "packets_received": 2260, "packets_lost": 3, "nacks": 5, "buffer_seconds": 0.004, "decode_seconds": 0.002, "sound_buffer_seconds": 0.06,
        "latency": {"p50": 0.036, "p95": 0.044, "max": 0.099, "mean": 0.037, "counts": COUNTS}, "joined": 248, "late": 1, "missing": 1}


def changed(**fields):
    return json.dumps(GOOD | fields)


def latency(**fields):
    return changed(latency=GOOD["latency"] | fields)


def without(name):
    return json.dumps({key: value for key, value in GOOD.items() if key != name})


def test_a_report_is_read_whole():
    report = parse(json.dumps(GOOD))
    assert (report.seconds, report.visible_s, report.frozen_s, report.freezes) == (5.0, 5.0, 0.2, 1)
    assert (report.codec, report.width, report.height, report.frames, report.frames_per_second) == ("h264", 1280, 720, 250, 50.0)
    assert (report.packets_received, report.packets_lost, report.nacks) == (2260, 3, 5)
    assert (report.buffer_s, report.decode_s, report.sound_buffer_s) == (0.004, 0.002, 0.06) and not report.hidden
    assert report.latency == SeenLatency(0.036, 0.044, 0.099, 0.037, tuple(COUNTS))
    assert (report.joined, report.late, report.missing) == (248, 1, 1)
    assert parse(json.dumps(GOOD).encode()) == report


def test_what_the_page_does_not_know_is_none():
    report = parse(changed(latency=None, buffer_seconds=None, decode_seconds=None, sound_buffer_seconds=None))
    assert report.latency is report.buffer_s is report.decode_s is report.sound_buffer_s is None


def test_a_page_out_of_sight_says_so_and_has_no_frame_rate():
    report = parse(changed(visible_seconds=0.4, frozen_seconds=0, frames=3))
    assert report.hidden and report.frames_per_second is None
    assert not parse(changed(visible_seconds=4.99)).hidden


def test_keys_that_are_not_known_are_passed_over():
    assert parse(changed(hue="violet", nested={"deep": [1]})) == parse(json.dumps(GOOD))


@pytest.mark.parametrize("text, reason", [
    (" " * (REPORT_OCTETS_MAX + 1), "too_large"), ("\u2028" * (REPORT_OCTETS_MAX // 2), "too_large"), (b"{" * 5000, "too_large"),
    ("", "not_json"), ("{", "not_json"), ("[" * REPORT_OCTETS_MAX, "not_json"), ('{"a":' * 200, "not_json"), (b"\xff\xfe\x00", "not_json"),
    ("\ud800", "not_json"), (changed(seconds=float("nan")), "not_json"), (changed(frames=float("inf")), "not_json"), ("9" * 1000, "field"),
    ("[]", "field"), ("null", "field"), ('"text"', "field"), ("[" * 300 + "]" * 300, "field"),
    (changed(version=2), "version"), (changed(version="1"), "field"), (without("version"), "field"),
    (without("frames"), "field"), (without("codec"), "field"), (changed(frames=True), "field"), (changed(frames=2.5), "field"),
    (changed(frames="250"), "field"), (changed(frames=None), "field"), (changed(codec="<script>"), "field"), (changed(codec=["h264"]), "field"),
    (changed(seconds=[5]), "field"), (changed(latency=[]), "field"), (changed(latency=1), "field"), (latency(counts=[1, 2]), "field"),
    (latency(counts=None), "field"), (latency(counts=COUNTS[:-1] + [1.5]), "field"), (latency(p50="fast"), "field"),
    (changed(frames=-1), "range"), (changed(frames=10**300), "range"), (changed(seconds=1e9), "range"), (changed(width=10**6), "range"),
    (json.dumps(GOOD).replace('"seconds": 5.0', '"seconds": 1e999'), "range"), (changed(visible_seconds=6.0), "range"),
    (changed(frozen_seconds=5.2), "range"), (latency(p50=0.05), "range"), (latency(p95=0.2), "range"), (latency(mean=0.5), "range"),
    (latency(max=5.5), "range"), (latency(counts=[0] * 16), "range"), (latency(counts=[-1, 2] + [0] * 14), "range")],
    ids=lambda value: str(value)[:40])
def test_what_is_malformed_is_refused_with_its_reason(text, reason):
    with pytest.raises(ProtocolError) as error:
        parse(text)
    assert error.value.reason == reason and reason in VIEWER_MALFORMED


def test_the_page_sorts_latencies_into_the_same_buckets():
    bounds = re.search(r"LATENCY_BOUNDS_S = \[([^\]]*)\]", PAGE.read_text())[1]
    assert tuple(float(bound) for bound in bounds.split(",")) == VIEWER_LATENCY_BUCKETS_S
    assert f"REPORT_OCTETS_MAX = {REPORT_OCTETS_MAX}" in PAGE.read_text().replace("_024", "024")
