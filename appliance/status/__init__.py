"""`appliance status`: how the running appliance is doing, from its own /healthz, /status and /metrics. Also asked by `appliance check`.

Two scrapes, SAMPLE_S apart, give the rates; SEEN_SAMPLE_S where somebody watches, so that every viewer's page has reported in between.
"""
import argparse
import http.client
import json
import sys
import time
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from appliance.config import Config, join_address, load
from appliance.errors import ApplianceError
from appliance.status.summary import Samples, summary

__all__ = ["health", "judgement", "run", "scrape", "summary"]

SAMPLE_S = 1.0
SEEN_SAMPLE_S = 6.0  # pages report every five seconds
ANSWER_LIMIT_S = 3.0
ANSWER_BYTES_MAX = 8 << 20


def run(options: argparse.Namespace) -> int:
    """Prints tables, or JSON; exit status 0 healthy, 1 not healthy. ApplianceError if nothing runs."""
    config = load(options.config)
    healthy = health(config)
    if healthy is None:
        raise ApplianceError(f"no appliance answers on {_url(config, '')}; start it with: appliance run --config {config.path}")
    begun, before = time.monotonic(), scrape(config)
    watched = any(name == "appliance_fanout_viewers" and value for (name, _), value in before.items())
    time.sleep(SEEN_SAMPLE_S if watched else SAMPLE_S)
    elapsed_s, after = time.monotonic() - begun, scrape(config)
    found = summary(config, healthy, before, after, elapsed_s, judgement(config))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        from appliance.status.table import show  # half the time of `appliance check`, which needs no tables

        show(found, sys.stdout)
    return 0 if found["healthy"] else 1


def judgement(config: Config) -> dict:
    """What the exporter found out about clock and streams. ApplianceError if it cannot be read."""
    try:
        return json.loads(_get(_url(config, "/status")))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApplianceError(f"{_url(config, '/status')} cannot be read: {error}") from error


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
