"""Every query of the dashboard and every alert rule against a real Prometheus that scrapes the running appliance and two viewers."""
import json
import math
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from appliance.runtime import metrics
from tests.system.theatre import Theatre, free_ports, wait_until

MONITORING = Path(__file__).parents[2] / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "appliance.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [pytest.param(panel, target, id=f"{panel['title']} {target['refId']}") for panel in PANELS for target in panel["targets"]]
# These show only what goes wrong: their queries must be valid, and are empty here.
EMPTY_WHEN_HEALTHY = {"Packets refused", "What is not as it should be", "Metadata refused", "Viewers refused", "Stages that do not work"}
# Panels of the row "Worklist and PACS": this theatre has neither.
WITHOUT_HOSPITAL = {"Pictures on their way to the PACS", "Age of the oldest waiting picture", "Requests to worklist and PACS", "Answer time of worklist and PACS",
                    "Snapshots refused, patients that differ"}
EMPTY_QUERIES = {("Reports of viewers' pages", "B"), ("Skew between the paths", "B")}
UNVERIFIED = ssl._create_unverified_context()  # the appliance made its certificate itself
VARIABLES = {"$__rate_interval": "10s", "$stream": "endoscope", "$instance": ".*"}
SCRAPE = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: appliance
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """A server on loopback with its data in a folder of its own."""

    def __init__(self, folder, target_port):
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        (folder / "prometheus.yml").write_text(SCRAPE.format(rules=MONITORING / "alerts.yml", port=target_port))
        with open(folder / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={self.url[7:]}"],
                stdout=log, stderr=log, process_group=0)

    def get(self, path, **query):
        """The data of an answer; AssertionError with Prometheus' own words if it refuses."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error

    def numbers(self, query, over_time):
        """Every finite number that the query gives now, or over the last ten seconds."""
        if over_time:
            now = time.time()
            found = [value for series in self.get("query_range", query=query, start=now - 10, end=now, step=1)["result"] for _, value in series["values"]]
        else:
            found = [series["value"][1] for series in self.get("query", query=query)["result"]]
        return [float(value) for value in found if math.isfinite(float(value))]

    def has_scraped(self):
        """Whether it serves, and has read the appliance's metrics."""
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=10).close()
        except OSError:
            return False
        return bool(self.numbers("appliance_build_info", over_time=False))


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    """Small pictures: the machine also carries a browser and Prometheus."""
    with Theatre(tmp_path_factory.mktemp("theatre"), ["--size", "640x360", "--rate", "25", "--sound"], stream='audio = "endoscope-sound.sdp"') as theatre:
        yield theatre


@pytest.fixture(scope="module")
def prometheus(theatre, browser, tmp_path_factory):
    """Scrapes the appliance from before an expert and a student come."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), theatre.metrics_port)
    try:
        wait_until(server.has_scraped, 30, "the first scrape")
        for role in ("expert", "student"):
            browser.open(theatre.link(role)).wait("window.applianceViewer && applianceViewer.frames > 10", 30)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(10)


def substitute(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    unknown = set(re.findall(r"\$\w*", expression)) - {"$1"}  # $1 is label_replace's own: what its pattern found
    assert not unknown, f"variables that the test does not know: {unknown}"
    return expression


@pytest.mark.parametrize("panel, target", QUERIES)
def test_a_query_of_the_dashboard_gives_data(theatre, prometheus, panel, target):
    expression = substitute(target["expr"])
    if panel["title"] in EMPTY_WHEN_HEALTHY | WITHOUT_HOSPITAL or (panel["title"], target["refId"]) in EMPTY_QUERIES:
        prometheus.numbers(expression, over_time=False)
        return

    def numbers():
        if panel["title"] == "HTTPS":  # pages that play ask for nothing more, so somebody else must
            urllib.request.urlopen(theatre.url, timeout=10, context=UNVERIFIED).close()
        return prometheus.numbers(expression, over_time=panel["type"] == "timeseries")

    wait_until(numbers, 30, f"data from {expression}")


@pytest.mark.parametrize("audience", ["expert", "class"])
def test_prometheus_keeps_what_viewers_see(prometheus, audience):
    def total(name):
        return sum(prometheus.numbers(f'appliance_viewer_{name}{{audience="{audience}"}}', over_time=False))

    wait_until(lambda: total("reports_total") >= 3 and total("latency_seconds_count"), 60, "three reports, with latencies")
    assert 0 < total("frozen_seconds_total") + total("visible_seconds_total") and total("frozen_seconds_total") <= total("visible_seconds_total")
    assert 0 < total("metadata_joined_total") <= total("frames_total") and total("packets_received_total") > total("frames_total")
    assert 0 < total("latency_seconds_sum") / total("latency_seconds_count") < 5
    assert 0 < total("frames_per_second_sum") / total("frames_per_second_count") < 26
    assert sum(prometheus.numbers("appliance_viewer_reports_malformed_total", over_time=False)) == 0


def test_the_variables_offer_what_runs(prometheus):
    offered = {}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            offered[variable["name"]] = prometheus.get(f"label/{label}/values", **{"match[]": substitute(selector)})
    assert len(offered["instance"]) == 1 and offered["stream"] == ["endoscope"]


def test_alerts_can_be_evaluated_and_know_the_metrics(prometheus):
    rules = wait_until(lambda: all(rule["health"] == "ok" for rule in all_rules(prometheus)) and all_rules(prometheus), 10, "all rules evaluated")
    known = set(prometheus.get("label/__name__/values")) | {metric.name for metric in metrics.HOSPITAL + metrics.HOSPITAL_STREAM}  # this theatre has neither system
    for rule in rules:
        names = set(re.findall(r"\bappliance_\w+", rule["query"]))
        assert names <= known, f"{rule['name']} asks for {names - known}"


def all_rules(prometheus):
    return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]


def test_the_appliance_is_healthy_by_its_own_alerts(prometheus):
    """Nothing critical; a busy test machine may well be told that it is slow."""
    critical = [alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]
                if alert["state"] == "firing" and alert["labels"]["severity"] == "critical"]
    assert critical == []


@pytest.mark.parametrize("command", [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]], ids=" ".join)
def test_promtool_accepts(command):
    result = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_tested_to_fire():
    rules = re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text())
    fired = set(re.findall(r'alertname="(\w+)"', (MONITORING / "alerts_test.yml").read_text()))
    assert len(rules) == len(set(rules)) and fired == set(rules)


def test_every_panel_says_what_it_shows():
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    assert EMPTY_WHEN_HEALTHY | WITHOUT_HOSPITAL <= {panel["title"] for panel in PANELS}
    assert EMPTY_QUERIES <= {(panel["title"], target["refId"]) for panel in PANELS for target in panel["targets"]}
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(identifiers) == len(set(identifiers))
