"""`appliance status`: how the running appliance is doing, from its own /healthz and /metrics. Also asked by `appliance check`.

Two scrapes, SAMPLE_S apart, give the rates; SEEN_SAMPLE_S where somebody watches, so that every viewer's page has reported in between.
"""
import argparse
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from appliance.config import Config, join_address, load
from appliance.errors import ApplianceError

SAMPLE_S = 1.0
SEEN_SAMPLE_S = 6.0  # pages report every five seconds
ANSWER_LIMIT_S = 3.0
INCOMPLETE_SHARE_MAX = 0.5  # more, and the picture is called bad
ANSWER_BYTES_MAX = 8 << 20

AUDIENCES = ("expert", "class")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def run(options: argparse.Namespace) -> int:
    """Prints a table, or JSON; exit status 0 healthy, 1 not healthy. ApplianceError if nothing runs."""
    config = load(options.config)
    healthy = health(config)
    if healthy is None:
        raise ApplianceError(f"no appliance answers on {_url(config, '')}; start it with: appliance run --config {config.path}")
    begun, before = time.monotonic(), scrape(config)
    watched = any(name == "appliance_fanout_viewers" and value for (name, _), value in before.items())
    time.sleep(SEEN_SAMPLE_S if watched else SAMPLE_S)
    elapsed_s, after = time.monotonic() - begun, scrape(config)
    found = summary(config, healthy, before, after, elapsed_s)
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0 if found["healthy"] else 1


def health(config: Config) -> list[str] | None:
    """Why the running appliance is not healthy, [] if it is; None if no appliance answers there."""
    try:
        answer = json.loads(_get(_url(config, "/healthz")))
        reasons = answer["reasons"]
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return None
    return [str(reason) for reason in reasons] if isinstance(reasons, list) else None


def scrape(config: Config) -> Samples:
    """Every sample of /metrics by name and labels. ApplianceError if they cannot be read."""
    try:
        text = _get(_url(config, "/metrics")).decode()
        return {(sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text) for sample in family.samples}
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApplianceError(f"{_url(config, '/metrics')} cannot be read: {error}") from error


def summary(config: Config, reasons: list[str], before: Samples, after: Samples, seconds: float) -> dict:
    """What a person wants to know: health, streams and stages. Rates are per second between the two scrapes."""
    def total(name: str, samples: Samples = after, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (found, has), value in samples.items() if found == name and wanted <= has)

    def rate(name: str, **labels: str) -> float:
        return max(0.0, total(name, **labels) - total(name, before, **labels)) / seconds

    bounds = {bound for name, labels in after if name == "appliance_viewer_latency_seconds_bucket" and (bound := dict(labels)["le"]) != "+Inf"}

    def seen(stream: str, audience: str) -> dict | None:
        def gain(name: str, **labels: str) -> float:
            return seconds * rate(f"appliance_viewer_{name}", stream=stream, audience=audience, **labels)
        return _seen(gain, bounds)

    streams = [_stream(stream.name, stream.title, total, rate) | {"seen": {audience: seen(stream.name, audience) for audience in AUDIENCES}}
               for stream in config.streams]
    reasons = reasons + [f"stream {stream['name']}: {stream['picture']}" for stream in streams if stream["picture"] != "good"]
    stages = sorted({dict(labels)["stage"] for name, labels in after if name == "appliance_stage_ready"})
    return {
        "healthy": not reasons,
        "reasons": reasons,
        "streams": streams,
        "stages": [{"name": stage, "ready": bool(total("appliance_stage_ready", stage=stage)),
                    "cpu_percent": round(100 * rate("appliance_stage_cpu_seconds_total", stage=stage)),
                    "resident_mib": round(total("appliance_stage_resident_bytes", stage=stage) / 2**20),
                    "restarts": int(total("appliance_supervisor_restarts_total", stage=stage))} for stage in stages],
    }


def _stream(name: str, title: str, total: Callable, rate: Callable) -> dict:
    frames, incomplete = rate("appliance_ingest_frames_total", stream=name), rate("appliance_ingest_frames_incomplete_total", stream=name)
    refused = rate("appliance_ingest_packets_malformed_total", stream=name)
    return {"name": name, "title": title,
            "picture": _picture(frames, incomplete, refused, bool(total("appliance_ingest_mismatch", stream=name))),
            "frames_per_second": round(frames, 1),
            "frames_incomplete_per_second": round(incomplete, 1),
            "packets_lost": int(total("appliance_ingest_packets_lost_total", stream=name)),
            "packets_refused_per_second": round(refused),
            "frames_dropped": int(total("appliance_frames_dropped_total", stream=name)),
            "viewers": {audience: int(total("appliance_fanout_viewers", stream=name, audience=audience)) for audience in AUDIENCES}}


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


def table(found: dict) -> str:
    """The summary as text for a terminal."""
    lines = ["healthy" if found["healthy"] else "NOT HEALTHY: " + "; ".join(found["reasons"]), ""]
    lines += _columns(("stream", "picture", "frames/s", "incomplete/s", "refused packets/s", "lost packets", "dropped frames", "experts", "class"), [
        (stream["name"], stream["picture"], stream["frames_per_second"], stream["frames_incomplete_per_second"], stream["packets_refused_per_second"],
         stream["packets_lost"], stream["frames_dropped"], *stream["viewers"].values())
        for stream in found["streams"]])
    lines += [_sight(stream["name"], audience, seen) for stream in found["streams"] for audience, seen in stream["seen"].items() if seen]
    lines += [""] + _columns(("stage", "ready", "CPU %", "MiB", "restarts"), [
        (stage["name"], "yes" if stage["ready"] else "NO", stage["cpu_percent"], stage["resident_mib"], stage["restarts"]) for stage in found["stages"]])
    return "\n".join(lines)


def _sight(stream: str, audience: str, seen: dict) -> str:
    """One line: what an audience of a stream sees, as its pages say."""
    late = "latency unknown" if seen["latency_p50_ms"] is None else f"{seen['latency_p50_ms']} ms late (95 of 100 frames: {seen['latency_p95_ms']} ms)"
    words = [late, f"{seen['frames_per_second']} frames/s", f"frozen {seen['frozen_seconds_per_minute']} s a minute"]
    if seen["packets_lost_percent"] is not None:
        words.append(f"{seen['packets_lost_percent']} % of packets lost")
    if seen["metadata_joined_percent"] is not None:
        words.append(f"{seen['metadata_joined_percent']} % of frames with metadata")
    return f"{stream}: {'experts see' if audience == 'expert' else 'the class sees'} it " + ", ".join(words)


def _columns(heading: tuple, rows: list[tuple]) -> list[str]:
    texts = [[str(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts)]
    return ["  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]) for row in texts]


def _url(config: Config, path: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.server.metrics_host, config.server.metrics_host)
    return f"http://{join_address(host, config.server.metrics_port)}{path}"


def _get(url: str) -> bytes:
    """The body, of an error too: /healthz says 503 with its reasons."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by way of a proxy of the hospital
    try:
        with opener.open(url, timeout=ANSWER_LIMIT_S) as answer:
            return answer.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:
        return error.read(ANSWER_BYTES_MAX)
