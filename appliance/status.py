"""`appliance status`: how the running appliance is doing, from its own /healthz and /metrics. Also asked by `appliance check`.

Two scrapes, SAMPLE_S apart, give the rates.
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
ANSWER_LIMIT_S = 3.0
INCOMPLETE_SHARE_MAX = 0.5  # more, and the picture is called bad
ANSWER_BYTES_MAX = 8 << 20

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def run(options: argparse.Namespace) -> int:
    """Prints a table, or JSON; exit status 0 healthy, 1 not healthy. ApplianceError if nothing runs."""
    config = load(options.config)
    healthy = health(config)
    if healthy is None:
        raise ApplianceError(f"no appliance answers on {_url(config, '')}; start it with: appliance run --config {config.path}")
    begun, before = time.monotonic(), scrape(config)
    time.sleep(SAMPLE_S)
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

    streams = [_stream(stream.name, stream.title, total, rate) for stream in config.streams]
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
            "viewers": {audience: int(total("appliance_fanout_viewers", stream=name, audience=audience)) for audience in ("expert", "class")}}


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
    lines += [""] + _columns(("stage", "ready", "CPU %", "MiB", "restarts"), [
        (stage["name"], "yes" if stage["ready"] else "NO", stage["cpu_percent"], stage["resident_mib"], stage["restarts"]) for stage in found["stages"]])
    return "\n".join(lines)


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
