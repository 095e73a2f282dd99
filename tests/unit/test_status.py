"""`appliance status` against the real exporter over real counters."""
import argparse
import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from appliance import clock, exporter, status
from appliance.config import metrics_address
from appliance.errors import ApplianceError
from appliance.protocol import sdp
from appliance.status import table
from tests.system.theatre import free_ports
from tests.workbench import Workbench


@contextmanager
def exporting(bench: Workbench):
    """The exporter's application on its socket, in a thread; gives a configuration with the port."""
    listener = bench.stage.sockets["metrics"]
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(exporter.application(bench.stage.counters.segment), access_log=None, shutdown_timeout=0)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.SockSite(runner, listener.dup()).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield replace(bench.config, server=replace(bench.config.server, metrics_port=listener.getsockname()[1]))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


def make_healthy(bench: Workbench) -> None:
    """Every stage is ready, and its heart has just beaten."""
    counters = bench.resources.counters
    for cell in counters.find_all("appliance_stage_ready"):
        cell.set(1)
    for cell in counters.find_all("appliance_stage_heartbeat_monotonic_seconds"):
        cell.set(clock.monotonic_ns() + 10**11)  # however slow the test is


@pytest.fixture
def bench(tmp_path):
    bench = Workbench(tmp_path, "exporter")
    yield bench
    for inherited in bench.stage.sockets.values():
        inherited.detach()
    bench.close()


def test_the_summary_tells_rates_losses_viewers_and_stages(bench):
    counters = bench.resources.counters
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        counters.find("ingest.scope", "appliance_ingest_frames_total").add(100)
        counters.find("ingest.scope", "appliance_ingest_packets_lost_total").add(3)
        bench.viewers("class").set(4)
        bench.viewers("expert.vp8", worker=1).set(2)
        for stage in ("ingest.scope", "gateway"):
            counters.find(stage, "appliance_stage_ready").set(1)
        counters.find("supervisor", "appliance_supervisor_restarts_total", stage="gateway").add(2)
        reasons = status.health(status.url_of(config))
        found = status.summary(config.streams, reasons, before, status.scrape(status.url_of(config)), 2.0)
    assert any("convert.scope" in reason for reason in reasons) and not found["healthy"]
    told = {name: found["streams"][0][name] for name in ("name", "title", "picture", "frames_per_second", "frames_incomplete_per_second", "packets_lost",
                                                         "packets_refused_per_second", "frames_dropped", "viewers", "seen")}
    assert told == {"name": "scope", "title": "Endoscope", "picture": "good", "frames_per_second": 50.0, "frames_incomplete_per_second": 0.0,
                                 "packets_lost": 3, "packets_refused_per_second": 0, "frames_dropped": 0, "viewers": {"expert": 2, "class": 4},
                                 "seen": {"expert": None, "class": None}}
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert stages["gateway"] == {"name": "gateway", "ready": True, "cpu_percent": 0, "resident_mib": 0, "restarts": 2}
    assert not stages["convert.scope"]["ready"]
    text = table.text(found)
    assert text.startswith("NOT HEALTHY: ") and "convert.scope" in text and "50.0" in text


def test_what_viewers_see_is_one_line_an_audience(bench):
    counters = bench.resources.counters
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        for worker, (frames, late_ns) in {"fanout.0": (90, 35_000_000), "fanout.1": (10, 140_000_000)}.items():
            def cell(name, worker=worker):
                return counters.find(worker, f"appliance_viewer_{name}", stream="scope", audience="class")
            for _ in range(frames):
                counters.histogram(worker, "appliance_viewer_latency_seconds", stream="scope", audience="class").observe_ns(late_ns)
            cell("visible_seconds_total").add(2_000_000_000)
            cell("frozen_seconds_total").add(200_000_000)
            cell("frames_total").add(frames)
            cell("packets_received_total").add(990)
            cell("packets_lost_total").add(10)
            cell("metadata_joined_total").add(frames)
            cell("metadata_missing_total").add(frames // 9)
        found = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 6.0)
    assert found["streams"][0]["seen"] == {"expert": None, "class": {
        "latency_p50_ms": 36, "latency_p95_ms": 138, "frames_per_second": 25.0, "frozen_seconds_per_minute": 6.0, "packets_lost_percent": 1.0,
        "metadata_joined_percent": pytest.approx(90.1, abs=0.1)}}
    assert ("the class sees it 36 ms late (95 of 100 frames: 138 ms), 25.0 frames/s, frozen 6.0 s a minute, 1.0 % of packets lost"
            in table.text(found, columns=200))


@pytest.mark.parametrize("frames, incomplete, refused, words", [
    (100, 0, 0, "good"), (100, 40, 0, "good"), (100, 60, 0, "most frames have holes"), (0, 0, 500, "what comes does not fit the SDP"), (0, 0, 0, "no packets come")])
def test_a_picture_that_is_not_good_is_named(bench, frames, incomplete, refused, words):
    make_healthy(bench)
    counters = bench.resources.counters
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        counters.find("ingest.scope", "appliance_ingest_frames_total").add(frames)
        counters.find("ingest.scope", "appliance_ingest_frames_incomplete_total").add(incomplete)
        counters.find("ingest.scope", "appliance_ingest_packets_malformed_total", reason="srd_length").add(refused)
        found = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 2.0)
    assert found["streams"][0]["picture"] == words
    assert found["healthy"] == (words == "good") and (words == "good" or f"stream scope: {words}" in table.text(found))


JUDGEMENT = {
    "clock": {"source": "ptp", "kernel_synchronised": True, "kernel_tai_offset_s": 37, "tai_offset_s": 37,
              "ptp": {"locked": True, "problem": None, "domain": 127, "offset_ns": -420, "grandmaster": "39-A7-94-FF-FE-07-CB-D0", "utc_offset_s": 37, "hardware": True}},
    "streams": {"scope": {
        "status": {"link": "healthy", "connection": "unhealthy", "external_synchronisation": "healthy", "stream": "healthy", "overall": "unhealthy"},
        "transitions": {"connection": 2}, "sender_type_promised": "2110TPN", "frames_per_second_promised": 50.0,
        "findings": [{"name": "lost", "domain": "connection", "status": "unhealthy", "sentence": "Packets are lost on the network.", "particulars": "5 lost in 2 s"}],
        "time": {"basis": "ptp", "sdp_grandmaster": "39-A7-94-FF-FE-07-CB-D0", "sdp_domain": 127}}}}


@pytest.mark.parametrize("columns", [44, 110])
def test_the_judgement_is_read_on_narrow_and_on_wide_terminals(bench, columns):
    counters = bench.resources.counters
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        for name, value in {"timestamp_info": 1, "sender_type_info": 1}.items():
            label = {"kind": "hardware"} if name == "timestamp_info" else {"type": "wide"}
            counters.find("ingest.scope", f"appliance_ingest_{name}", path="a", **label).set(value)
        for measure, value in {"c": 9, "c_max": 4, "vrx_min": 0, "vrx_max": 31, "vrx_full": 8, "picture": 2160}.items():
            counters.find("ingest.scope", "appliance_ingest_timing_packets", path="a", measure=measure).set(value)
        counters.find("ingest.scope", "appliance_ingest_timing_ticks", path="a", measure="rtp_offset_min").set(-1)
        found = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 2.0, JUDGEMENT)
    stream = found["streams"][0]
    assert stream["status"]["overall"] == "unhealthy" and stream["findings"] == JUDGEMENT["streams"]["scope"]["findings"] and found["clock"] == JUDGEMENT["clock"]
    assert stream["frames_per_second_promised"] == 50.0 and "0.0 of 50 frames/s" in table.text(found, 200)
    assert (stream["paths"][0]["sender_type"], stream["paths"][0]["timestamps"]) == ("wide", "hardware") and stream["paths"][0]["timing"]["rtp_offset_min_ticks"] == -1
    lines = table.text(found, columns).splitlines()
    assert max(map(len, lines)) <= columns
    words = " ".join(" ".join(lines).split())
    for said in ("scope Endoscope: unhealthy", "unhealthy: Packets are lost on the network. (5 lost in 2 s)", "wide (SDP: 2110TPN), stamps by the network card", "C 9 of 4",
                 "capture time, by PTP", "PTP domain 127, locked, grandmaster"):
        assert all(word in words for word in said.split()), said
        assert columns < 100 or said in words


def test_a_pipe_gets_plain_words(bench, capsys):
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        table.show(status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 1.0), sys.stdout)
    out = capsys.readouterr().out
    assert "scope" in out and "\x1b" not in out and not any(line.endswith(" ") for line in out.splitlines())


def test_a_healthy_appliance_has_no_reasons(bench):
    make_healthy(bench)
    with exporting(bench) as config:
        assert status.health(status.url_of(config)) == []
        before = status.scrape(status.url_of(config))
        bench.resources.counters.find("ingest.scope", "appliance_ingest_frames_total").add(50)
        found = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 1.0)
    assert table.text(found).startswith("healthy\n")


def test_where_nothing_runs_there_is_no_health(bench):
    config = replace(bench.config, server=replace(bench.config.server, metrics_port=free_ports(1)[0]))
    assert status.health(status.url_of(config)) is None
    with pytest.raises(ApplianceError, match="cannot be read"):
        status.scrape(status.url_of(config))


def test_the_metadata_are_told_of_in_one_line(tmp_path):
    flows = [sdp.MetadataFlow(group="239.1.2.6", port=port, payload_type=104) for port in (5006, 5010)]
    for number, flow in enumerate(flows):
        (tmp_path / f"{number}.sdp").write_text(sdp.emit_metadata(flow))
    bench = Workbench(tmp_path, "exporter", stream='metadata = ["0.sdp", "1.sdp"]')
    counters = bench.resources.counters
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        for kind, grains in (("video", 50), ("audio", 2)):
            counters.find("metadata.scope", "appliance_metadata_grains_understood_total", kind=kind).add(grains)
        found = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 1.0)
        counters.find("metadata.scope", "appliance_metadata_subject_conflict").set(1)
        conflicting = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 1.0)
    assert "50.0 grains/s of the picture, 2.0 grains/s of the sound\n" in table.text(found)
    assert "DIFFERENT PATIENTS" in table.text(conflicting)
    for inherited in bench.stage.sockets.values():
        inherited.detach()
    bench.close()


def test_the_sound_is_told_of_in_one_line(tmp_path):
    flow = sdp.AudioFlow(group="239.1.2.5", port=5008, payload_type=97, rate_hz=48_000, channels=2, depth=24, packet_us=1000)
    (tmp_path / "sound.sdp").write_text(sdp.emit_audio(flow))
    bench = Workbench(tmp_path, "exporter", stream='audio = "sound.sdp"')
    counters = bench.resources.counters
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        counters.find("sound.scope", "appliance_sound_packets_total").add(1000)
        counters.find("sound.scope", "appliance_sound_packets_lost_total").add(3)
        counters.find_all("appliance_fanout_sound_listeners")[0].set(2)
        found = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 1.0)
        counters.find("sound.scope", "appliance_sound_lost").set(1)
        none = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 1.0)
        counters.find("sound.scope", "appliance_sound_lost").set(0)
        counters.find("sound.scope", "appliance_sound_silent_seconds").set(75)
        silent = status.summary(config.streams, [], before, status.scrape(status.url_of(config)), 1.0)
    assert "1,000 packets/s, 3 lost, 2 listen" in table.text(found) and "none comes" in table.text(none)
    assert "silent for 75 s: is the microphone on?" in table.text(silent)
    for inherited in bench.stage.sockets.values():
        inherited.detach()
    bench.close()


def test_a_stream_that_waits_says_so_and_no_more(bench):
    make_healthy(bench)
    with exporting(bench) as config:
        before = status.scrape(status.url_of(config))
        bench.resources.counters.find("supervisor", "appliance_stream_waiting", stream="scope").set(1)
        reason = "stream scope waits: video: expected an SDP at http://camera/, got no answer. Is the device on?"
        found = status.summary(config.streams, [reason], before, status.scrape(status.url_of(config)), 1.0)
    assert found["reasons"] == [reason] and not found["healthy"]
    told = table.text(found, 200)
    assert "scope  Endoscope: waits for its SDP, or for memory\n" in told and "no packets come" not in told and "not judged" not in told


@pytest.mark.parametrize("text, url", [
    ('[server]\nmetrics = "127.0.0.1:PORT"\n[[stream\n', ""),
    ('nonsense = "unknown key"\n[server]\n  metrics=\'127.0.0.1:PORT\'\n', ""), (None, "http://127.0.0.1:PORT/")])
def test_what_runs_is_told_of_while_its_file_is_broken(bench, tmp_path, capsys, monkeypatch, text, url):
    monkeypatch.setattr(status, "SAMPLE_S", 0.0)
    make_healthy(bench)
    with exporting(bench) as config:
        port = str(config.server.metrics_port)
        path = tmp_path / "broken.toml"
        if text is not None:
            path.write_text(text.replace("PORT", port))
        status.run(argparse.Namespace(config=path, url=url.replace("PORT", port), json=True))
    printed = capsys.readouterr()
    [stream] = json.loads(printed.out)["streams"]
    assert (stream["name"], stream["title"], stream["picture"]) == ("scope", "", "no packets come")
    assert ("cannot be used; asking what runs all the same" in printed.err) == (str(path) in printed.err) == (url == "")


def test_where_no_address_can_be_found_the_default_is_asked(tmp_path):
    for content in (b"metrics = nowhere", b"\xff\xfe", b'metrics = "nowhere"'):
        (tmp_path / "broken.toml").write_bytes(content)
        assert metrics_address(tmp_path / "broken.toml") == ("127.0.0.1", 9464)
    assert metrics_address(tmp_path / "missing.toml") == ("127.0.0.1", 9464)


def test_whoever_has_read_enough_is_no_failure(tmp_path):
    """As behind `| head`: no traceback, and the exit status that a shell knows."""
    (tmp_path / "appliance.toml").write_text('[[stream]]\nname = "scope"\ninterface = "lo"\nvideo = "scope.sdp"\n')
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "appliance", "token", "--config", str(tmp_path / "appliance.toml"), "--role", "student", "--stream", "scope"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")
