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
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

from appliance.config import Config, StreamConfig, join_address, load, metrics_address
from appliance.errors import ApplianceError, ConfigurationError
from appliance.status.summary import Running, Samples, running, summary

__all__ = ["health", "judgement", "run", "scrape", "summary", "url_of"]

SAMPLE_S = 1.0
SEEN_SAMPLE_S = 6.0  # pages report every five seconds
ANSWER_LIMIT_S = 3.0
ANSWER_BYTES_MAX = 8 << 20


def run(options: argparse.Namespace) -> int:
    """Prints tables, or JSON; exit status 0 healthy, 1 not healthy. ApplianceError if nothing runs."""
    url, streams = _asked(options)
    healthy = health(url)
    if healthy is None:
        raise ApplianceError(f"no appliance answers on {url}; start it with: appliance run --config {options.config}")
    begun, before = time.monotonic(), scrape(url)
    watched = any(name == "appliance_fanout_viewers" and value for (name, _), value in before.items())
    time.sleep(SEEN_SAMPLE_S if watched else SAMPLE_S)
    elapsed_s, after = time.monotonic() - begun, scrape(url)
    found = summary(running(before) if streams is None else streams, healthy, before, after, elapsed_s, judgement(url))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        from appliance.status.table import show  # half the time of `appliance check`, which needs no tables

        show(found, sys.stdout)
    return 0 if found["healthy"] else 1


def _asked(options: argparse.Namespace) -> tuple[str, Sequence[StreamConfig | Running] | None]:
    """Where to ask, and the streams that the configuration names; None where it is not asked, or cannot be read: what runs may be well all the same."""
    if options.url:
        return options.url.rstrip("/"), None
    try:
        config = load(options.config)
    except ConfigurationError as error:
        url = _url(*metrics_address(options.config))
        for problem in error.problems:
            print(f"appliance: {problem}", file=sys.stderr)
        print(f"appliance: the configuration file cannot be used; asking what runs all the same, at {url} (another address: --url)", file=sys.stderr)
        return url, None
    return url_of(config), config.streams


def judgement(url: str) -> dict:
    """What the exporter found out about clock and streams. ApplianceError if it cannot be read."""
    try:
        return json.loads(_get(f"{url}/status"))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApplianceError(f"{url}/status cannot be read: {error}") from error


def health(url: str) -> list[str] | None:
    """Why the running appliance is not healthy, [] if it is; None if no appliance answers there."""
    try:
        answer = json.loads(_get(f"{url}/healthz"))
        reasons = answer["reasons"]
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return None
    return [str(reason) for reason in reasons] if isinstance(reasons, list) else None


def scrape(url: str) -> Samples:
    """Every sample of /metrics by name and labels. ApplianceError if they cannot be read."""
    try:
        text = _get(f"{url}/metrics").decode()
        return {(sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text) for sample in family.samples}
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApplianceError(f"{url}/metrics cannot be read: {error}") from error


def url_of(config: Config) -> str:
    """Where the appliance of this configuration answers, without a path."""
    return _url(config.server.metrics_host, config.server.metrics_port)


def _url(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{join_address(host, port)}"


def _get(url: str) -> bytes:
    """The body, of an error too: /healthz says 503 with its reasons."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by way of a proxy of the hospital
    try:
        with opener.open(url, timeout=ANSWER_LIMIT_S) as answer:
            return answer.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:
        return error.read(ANSWER_BYTES_MAX)
