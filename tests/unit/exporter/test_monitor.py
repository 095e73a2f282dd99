"""The monitor over real counters: what it finds is in its cells, its document, /healthz and /status, and follows streams that come and go."""
import logging
from dataclasses import replace

import pytest

from appliance.exporter.monitor import Monitor
from appliance.exporter.reference_clock import ClockState, PtpState
from appliance.protocol import sdp
from appliance.runtime.health import FINDINGS
from tests.unit.exporter.test_exposition import answer_of
from tests.workbench import Workbench

LOCKED = ClockState(PtpState(domain=127, clock=1, grandmaster=0x39A794FFFE07CBD0, offset_ns=-420), True, 37)


class Watched:
    """A workbench's stream under a monitor, and the test's hand on the counters of its ingest."""

    def __init__(self, folder):
        self.bench = Workbench(folder, "exporter")
        self.counters, self.now_s = self.bench.resources.counters, 100.0
        self.monitor = Monitor(self.bench.stage.counters)
        self.follow()

    def follow(self, flows=None, **changes):
        flows = flows or {}
        stream = replace(self.bench.config.streams[0], **changes)
        self.monitor.follow({"scope": (stream, replace(self.bench.stage.flows["scope"], **flows))}, self.now_s)

    def look(self, clock=LOCKED, seconds=1.0, **counted):
        """`counted`: what ingest counted meanwhile, by metric."""
        for name, count in counted.items():
            self.counters.find("ingest.scope", f"appliance_ingest_{name}_total").add(count)
        self.now_s += seconds
        self.monitor.look(clock, self.now_s)
        return self.monitor.document()["streams"]["scope"]

    def shown(self, name, **labels):
        return self.counters.find("exporter", f"appliance_stream_{name}", stream="scope", **labels).value

    def close(self):
        for inherited in self.bench.stage.sockets.values():
            inherited.detach()
        self.bench.close()


@pytest.fixture
def watched(tmp_path):
    watched = Watched(tmp_path)
    yield watched
    watched.close()


GOOD = {"packets": 9_000, "frames": 50}


def test_what_is_found_is_in_cells_document_and_log(watched, caplog):
    for _ in range(3):
        watched.look(**GOOD)
    assert watched.look(**GOOD)["status"] == {"link": "healthy", "connection": "healthy", "external_synchronisation": "healthy", "stream": "healthy",
                                              "overall": "healthy"}
    assert watched.shown("time_info", basis="ptp") == watched.shown("clock_trusted") == 1
    with caplog.at_level(logging.WARNING):
        told = watched.look(**GOOD, packets_lost=3, frames_incomplete=1)
    assert [finding["name"] for finding in told["findings"]] == ["lost", "some_incomplete"]
    assert told["findings"][0]["sentence"] == FINDINGS["lost"].sentence and told["findings"][0]["particulars"] == "3 lost, 0 late of 18,000 packets in 2 s"
    assert watched.shown("status", domain="connection") == watched.shown("status", domain="overall") == 3 and watched.shown("finding", reason="lost") == 1
    assert watched.shown("status_transitions_total", domain="connection") == 1
    assert "scope: Packets are lost on the network" in caplog.text
    for _ in range(5):
        told = watched.look(**GOOD)
    assert told["status"]["overall"] == "healthy" and watched.shown("finding", reason="lost") == 0 and watched.shown("status", domain="overall") == 1


def test_packets_of_another_source_alone_are_no_silence(watched):
    foreign = watched.counters.find("ingest.scope", "appliance_ingest_packets_refused_total", reason="source")
    watched.look()
    foreign.add(9_000)
    found = {finding["name"]: finding["particulars"] for finding in watched.look(seconds=3)["findings"]}
    assert found["no_pictures"] == "0 packets taken, 9,000 refused in 3 s" and "silent" not in found


def test_no_packets_are_a_fault_once_ingest_had_time_to_join(watched):
    def names(seconds):
        return [finding["name"] for finding in watched.look(seconds=seconds)["findings"]]

    ingest = {name: watched.counters.find("ingest.scope", f"appliance_stage_{name}") for name in ("pid", "ready")}
    assert names(1) == names(2.9) == [] and names(0.2) == ["silent"]
    for _ in range(5):
        watched.look(**GOOD)
    for name, value in (("ready", 0), ("pid", 7), ("ready", 1)):  # it is started anew
        ingest[name].set(value)
        assert names(2.5) == []
    assert names(2.9) == [] and names(0.2) == ["silent"]
    assert "is the source on" in answer_of(watched.counters, "/healthz", monitor=watched.monitor)[2]
    watched.counters.find("ingest.scope", "appliance_stage_heartbeat_monotonic_seconds").set(round(watched.now_s * 1e9))
    assert names(0.9) == ["silent"] and names(5) == [], "it stands still, and says nothing of its source"


def test_without_ptp_times_are_by_arrival_and_everybody_is_told(watched):
    watched.look(ClockState(), **GOOD)
    told = watched.look(ClockState(), **GOOD)
    assert told["time"]["basis"] == "arrival" and told["status"]["external_synchronisation"] == "partially healthy"
    assert watched.shown("time_info", basis="arrival") == 1 and watched.shown("time_info", basis="ptp") == watched.shown("clock_trusted") == 0
    assert watched.monitor.document()["clock"]["ptp"] is None
    status, _, text = answer_of(watched.counters, "/healthz", monitor=watched.monitor)
    assert FINDINGS["no_ptp"].sentence in text  # which is said, and is no reason to be 503
    status, _, text = answer_of(watched.counters, "/status", monitor=watched.monitor)
    assert status == 200 and '"basis": "arrival"' in text


def test_the_grandmaster_is_shown_and_its_changes_are_counted(watched):
    changes = watched.counters.find("exporter", "appliance_clock_grandmaster_changes_total")
    watched.look(**GOOD)
    text = answer_of(watched.counters, "/metrics", monitor=watched.monitor)[2]
    assert 'appliance_clock_grandmaster_info{domain="127",grandmaster="39-A7-94-FF-FE-07-CB-D0"} 1.0' in text
    assert "appliance_clock_ptp_offset_seconds -4.2e-07" in text
    watched.look(replace(LOCKED, ptp=replace(LOCKED.ptp, grandmaster=None)), **GOOD)
    watched.look(**GOOD)
    watched.look(replace(LOCKED, ptp=replace(LOCKED.ptp, grandmaster=7)), **GOOD)
    assert changes.value == 2


@pytest.mark.parametrize("clock, told", [
    (LOCKED, "sound's SDP: 00-00-00-00-00-00-00-07, domain 127; here: 39-A7-94-FF-FE-07-CB-D0, domain 127"),
    (ClockState(), "sound's SDP: 00-00-00-00-00-00-00-07, domain 127; picture's SDP: 39-A7-94-FF-FE-07-CB-D0, domain 127")])
def test_a_sound_on_another_clock_than_the_picture_is_found(watched, clock, told):
    flow = dict(group="239.1.2.5", port=5008, payload_type=97, rate_hz=48_000)
    video = replace(watched.bench.stage.flows["scope"].video, ptp="IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127")
    sound = sdp.AudioFlow(**flow, channels=2, depth=24, packet_us=1000, ptp="IEEE1588-2008:00-00-00-00-00-00-00-07:127")
    metadata = sdp.MetadataFlow(**flow, ptp=video.ptp)
    watched.follow(dict(video=video, audio=sound, metadata=(metadata,)))
    watched.look(clock, **GOOD)
    found = {finding["name"]: finding["particulars"] for finding in watched.look(clock, **GOOD)["findings"]}
    assert found["other_grandmaster"] == told and "grandmaster" not in found
    watched.follow(dict(video=video, audio=replace(sound, ptp="IEEE1588-2008:traceable"), metadata=(metadata,)))
    watched.look(clock, **GOOD)
    assert "other_grandmaster" not in [finding["name"] for finding in watched.look(clock, **GOOD)["findings"]]


def test_an_interface_that_is_not_there_is_a_link_that_is_down(watched):
    watched.follow(interfaces=("nothere0",))
    watched.look(**GOOD)
    assert watched.look(**GOOD)["status"]["link"] == "unhealthy"


def test_a_stream_that_stays_keeps_its_history_and_one_that_goes_is_forgotten(watched):
    watched.look(**GOOD)
    watched.look(**GOOD, packets_lost=1)
    watched.follow()
    assert watched.look(**GOOD)["transitions"]["connection"] == 1
    assert watched.monitor.document()["streams"]["scope"]["frames_per_second_promised"] == 50.0
    assert watched.shown("status_transitions_total", domain="connection") == 1
    watched.monitor.follow({}, watched.now_s)
    watched.monitor.look(LOCKED, watched.now_s)
    assert watched.monitor.document()["streams"] == {}


def test_a_path_that_brings_nothing_is_named(tmp_path):
    bench = Workbench(tmp_path, "exporter")
    counters, monitor = bench.resources.counters, Monitor(bench.stage.counters)
    flows = bench.stage.flows["scope"]
    monitor.follow({"scope": (bench.config.streams[0], replace(flows, video=replace(flows.video, second=flows.video)))}, 100.0)
    for now_s in (101.0, 104.0):
        for name in ("packets", "frames", "path_packets"):
            counters.find("ingest.scope", f"appliance_ingest_{name}_total").add(90)
        monitor.look(LOCKED, now_s)
    told = monitor.document()["streams"]["scope"]
    assert [(finding["name"], finding["particulars"]) for finding in told["findings"] if finding["domain"] == "connection"] == [("path_silent", "path b")]
    for inherited in bench.stage.sockets.values():
        inherited.detach()
    bench.close()
