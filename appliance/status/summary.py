"""What a person wants to know of the running appliance, put together from two scrapes and the exporter's judgement. Pure.

Its shape is what `appliance status --json` prints: names are added, never changed.
"""
from collections.abc import Callable, Sequence
from typing import NamedTuple

from appliance.config import StreamConfig

INCOMPLETE_SHARE_MAX = 0.5  # more, and the picture is called bad
AUDIENCES = ("expert", "class")
WAITS = "waits for its SDP, or for memory"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

_PATH_COUNTS = ("packets_total", "packets_lost_total", "packets_recovered_total", "packets_reordered_total", "packets_duplicate_total", "packets_late_total",
                "packets_malformed_total", "packets_refused_total", "kernel_drops_total")


class Running(NamedTuple):
    """A stream as its series name it: without a title."""

    name: str
    title: str
    audio: bool
    metadata: bool


def running(samples: Samples) -> list[Running]:
    """The streams of an appliance whose configuration is not at hand, in the order of their names."""
    having = {metric: {dict(labels)["stream"] for name, labels in samples if name == metric}
              for metric in ("appliance_stream_waiting", "appliance_sound_lost", "appliance_metadata_stale")}
    every, audio, metadata = having.values()
    return [Running(name, "", name in audio, name in metadata) for name in sorted(every)]


class _Scrapes:
    """Two scrapes and the seconds between them."""

    def __init__(self, before: Samples, after: Samples, seconds: float) -> None:
        self.before, self.after, self.seconds = before, after, seconds

    def total(self, name: str, samples: Samples | None = None, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (found, has), value in (self.after if samples is None else samples).items() if found == name and wanted <= has)

    def rate(self, name: str, **labels: str) -> float:
        return max(0.0, self.total(name, **labels) - self.total(name, self.before, **labels)) / self.seconds

    def values(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """A metric's values by one of its labels."""
        wanted = set(labels.items())
        return {dict(has)[label]: value for (found, has), value in self.after.items() if found == name and wanted <= has and label in dict(has)}

    def chosen(self, name: str, label: str, **labels: str) -> str | None:
        """The label value whose series is 1."""
        return next((value for value, on in self.values(name, label, **labels).items() if on), None)


def summary(streams: Sequence[StreamConfig | Running], reasons: list[str], before: Samples, after: Samples, seconds: float, judgement: dict | None = None) -> dict:
    """Health, clock, streams and stages. Rates are per second between the two scrapes; `judgement`: the exporter's /status."""
    scrapes, judgement = _Scrapes(before, after, seconds), judgement or {"clock": None, "streams": {}}
    bounds = {bound for name, labels in after if name == "appliance_viewer_latency_seconds_bucket" and (bound := dict(labels)["le"]) != "+Inf"}

    def seen(stream: str, audience: str) -> dict | None:
        def gain(name: str, **labels: str) -> float:
            return seconds * scrapes.rate(f"appliance_viewer_{name}", stream=stream, audience=audience, **labels)
        return _seen(gain, bounds)

    told = [_stream(stream.name, stream.title, scrapes) | {"seen": {audience: seen(stream.name, audience) for audience in AUDIENCES}}
            | _judged(judgement["streams"].get(stream.name)) | {"paths": _paths(stream.name, scrapes), "sound": _sound(stream.name, scrapes) if stream.audio else None,
             "metadata": _metadata(stream.name, scrapes) if stream.metadata else None}
            for stream in streams]
    reasons = reasons + [f"stream {stream['name']}: {stream['picture']}" for stream in told if stream["picture"] not in ("good", WAITS)]
    stages = sorted({dict(labels)["stage"] for name, labels in after if name == "appliance_stage_ready"})
    return {
        "healthy": not reasons,
        "reasons": reasons,
        "remarks": judgement.get("remarks", []),
        "clock": judgement["clock"],
        "streams": told,
        "stages": [{"name": stage, "ready": bool(scrapes.total("appliance_stage_ready", stage=stage)),
                    "cpu_percent": round(100 * scrapes.rate("appliance_stage_cpu_seconds_total", stage=stage)),
                    "resident_mib": round(scrapes.total("appliance_stage_resident_bytes", stage=stage) / 2**20),
                    "restarts": int(scrapes.total("appliance_supervisor_restarts_total", stage=stage))} for stage in stages],
    }


def _stream(name: str, title: str, scrapes: _Scrapes) -> dict:
    total, rate = scrapes.total, scrapes.rate
    frames, incomplete = rate("appliance_ingest_frames_total", stream=name), rate("appliance_ingest_frames_incomplete_total", stream=name)
    refused = rate("appliance_ingest_packets_malformed_total", stream=name)
    return {"name": name, "title": title,
            "picture": WAITS if total("appliance_stream_waiting", stream=name)
            else _picture(frames, incomplete, refused, bool(total("appliance_ingest_mismatch", stream=name))),
            "frames_per_second": round(frames, 1),
            "frames_incomplete_per_second": round(incomplete, 1),
            "packets_per_second": round(rate("appliance_ingest_packets_total", stream=name)),
            "packets_lost": int(total("appliance_ingest_packets_lost_total", stream=name)),
            "packets_refused_per_second": round(refused),
            "frames_dropped": int(total("appliance_frames_dropped_total", stream=name)),
            "viewers": {audience: int(total("appliance_fanout_viewers", stream=name, audience=audience)) for audience in AUDIENCES}}


def _judged(document: dict | None) -> dict:
    """The exporter's words for a stream; None and none where it has not spoken yet."""
    document = document or {}
    return {"status": document.get("status"), "findings": document.get("findings", []), "transitions": document.get("transitions"),
            "time": document.get("time"), "sender_type_promised": document.get("sender_type_promised"),
            "frames_per_second_promised": document.get("frames_per_second_promised")}


def _paths(stream: str, scrapes: _Scrapes) -> list[dict]:
    """What each path of the video flow brought since the start, and how its sender spaces its packets."""
    paths = sorted(scrapes.values("appliance_ingest_timestamp_info", "path", stream=stream))
    return [{"path": path, **_counted(stream, path, len(paths) > 1, scrapes),
             "timestamps": scrapes.chosen("appliance_ingest_timestamp_info", "kind", stream=stream, path=path),
             "sender_type": scrapes.chosen("appliance_ingest_sender_type_info", "type", stream=stream, path=path),
             "timing": _timing(stream, path, scrapes)} for path in paths]


def _sound(stream: str, scrapes: _Scrapes) -> dict:
    """The sound of a stream: whether it comes, what was lost of it since the start, and who hears it."""
    total = scrapes.total
    return {"comes": not total("appliance_sound_lost", stream=stream),
            "packets_per_second": round(scrapes.rate("appliance_sound_packets_total", stream=stream)),
            "packets_lost": int(total("appliance_sound_packets_lost_total", stream=stream)),
            "packets_refused": int(total("appliance_sound_packets_malformed_total", stream=stream)),
            "silent_seconds": int(total("appliance_sound_silent_seconds", stream=stream)),
            "silence_seconds": round(total("appliance_sound_missing_seconds_total", stream=stream), 1),
            "listeners": int(total("appliance_fanout_sound_listeners", stream=stream))}


def _metadata(stream: str, scrapes: _Scrapes) -> dict:
    """What the metadata flows of a stream say: valid grains by what they describe, and whether they agree about the patient."""
    kinds = scrapes.values("appliance_metadata_grains_understood_total", "kind", stream=stream)
    return {"grains_per_second": {kind: round(scrapes.rate("appliance_metadata_grains_understood_total", stream=stream, kind=kind), 1) for kind in kinds},
            "flows_silent": int(scrapes.total("appliance_metadata_flows_silent", stream=stream)),
            "one_patient": not scrapes.total("appliance_metadata_subject_conflict", stream=stream),
            "type1_missing": int(scrapes.total("appliance_metadata_type1_missing", stream=stream)),
            "grains_refused": int(scrapes.total("appliance_metadata_grains_malformed_total", stream=stream)),
            "grains_withheld_from_class": int(scrapes.total("appliance_metadata_grains_withheld_total", stream=stream))}


def _counted(stream: str, path: str, several: bool, scrapes: _Scrapes) -> dict:
    counted = {}
    for name in _PATH_COUNTS:
        of_path = scrapes.values(f"appliance_ingest_{name}", "path", stream=stream)
        own = scrapes.values(f"appliance_ingest_path_{name}", "path", stream=stream)
        labels = {"path": path} if of_path else {}
        if path in own:
            counted[name.removesuffix("_total")] = int(scrapes.total(f"appliance_ingest_path_{name}", stream=stream, path=path))
        elif of_path or not several:
            counted[name.removesuffix("_total")] = int(scrapes.total(f"appliance_ingest_{name}", stream=stream, **labels))
    return counted


def _timing(stream: str, path: str, scrapes: _Scrapes) -> dict:
    """ST 2110-21 in the last second: packets, seconds as microseconds, ticks."""
    packets = scrapes.values("appliance_ingest_timing_packets", "measure", stream=stream, path=path)
    seconds = scrapes.values("appliance_ingest_timing_seconds", "measure", stream=stream, path=path)
    ticks = scrapes.values("appliance_ingest_timing_ticks", "measure", stream=stream, path=path)
    return {**{f"{name}_packets": int(value) for name, value in packets.items()}, **{f"{name}_us": round(value * 1e6, 1) for name, value in seconds.items()},
            **{f"{name}_ticks": int(value) for name, value in ticks.items()}}


def _seen(gain: Callable, bounds: set[str]) -> dict | None:
    """What an audience saw, from the gains of its counters and its latency's `bounds`; None if no visible page has reported."""
    visible_s = gain("visible_seconds_total")
    if not visible_s:
        return None
    lost, received = gain("packets_lost_total"), gain("packets_received_total")
    joined = gain("metadata_joined_total")
    asked = joined + gain("metadata_late_total") + gain("metadata_missing_total")
    below = sorted((float(bound), gain("latency_seconds_bucket", le=bound)) for bound in bounds)
    frames = gain("latency_seconds_count")
    return {"latency_p50_ms": _quantile_ms(below, frames, 0.5), "latency_p95_ms": _quantile_ms(below, frames, 0.95),
            "frames_per_second": round(gain("frames_total") / visible_s, 1),
            "frozen_seconds_per_minute": round(60 * gain("frozen_seconds_total") / visible_s, 1),
            "packets_lost_percent": round(100 * lost / (lost + received), 2) if lost + received else None,
            "metadata_joined_percent": round(100 * joined / asked, 1) if asked else None}


def _quantile_ms(below: list[tuple[float, float]], count: float, share: float) -> int | None:
    """Milliseconds under which a share of all lies, straight between a histogram's bounds; the last bound for what is above it; None for none."""
    if not count:
        return None
    lower, before = 0.0, 0.0
    for bound, frames in below:
        if frames >= share * count:
            return round(1000 * (lower + (bound - lower) * (share * count - before) / (frames - before)))
        lower, before = bound, frames
    return round(1000 * lower)


def _picture(frames: float, incomplete: float, refused: float, mismatch: bool) -> str:
    """The state of a stream's picture in words."""
    if mismatch:
        return "what comes does not fit the SDP"
    if not frames:
        return "what comes does not fit the SDP" if refused else "no packets come"
    if incomplete > frames * INCOMPLETE_SHARE_MAX:
        return "most frames have holes"
    return "good"
