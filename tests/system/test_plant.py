"""The plant changes while people watch: streams come, change and go on SIGHUP, an SDP changes, a device answers late. Nobody else notices."""
import contextlib
import http.server
import json
import signal
import threading
import time

import pytest

from tests.system.theatre import Theatre, free_group, free_ports, wait_until

ROOM = """
[[stream]]
name = "room"
title = "{title}"
interface = "lo"
video = "{video}"
"""
SMALL = ("--size", "320x180")
# What a viewer may wait for the picture, on a machine whose two cores encode, serve and watch.
PICTURE_LIMIT_S = 2.5
PATIENCE_S = 60  # processes start while others encode


class Device:
    """A camera of the room: a sender that says at a web address what it sends, once it is on."""

    def __init__(self, theatre):
        self.theatre, self.flow = theatre, free_group()
        [self.port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/sdp"
        self.source = self._server = None

    def switch_on(self, *options):
        group, port = self.flow
        self.source = self.theatre._popen("source", "--interface", "lo", "--group", group, "--port", str(port), "--name", "room",
                                          "--sdp-dir", str(self.theatre.folder), *options, log="room.log")
        path = self.theatre.folder / "room.sdp"
        wait_until(lambda: path.exists() and self.source.poll() is None, PATIENCE_S, "the room's SDP")
        if self._server is None:
            self._serve(path)

    def _serve(self, path):
        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                text = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "application/sdp")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Page)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def switch_off(self):
        if self.source:
            self.source.terminate()
            self.source.wait(20)
            self.source = None

    def close(self):
        self.switch_off()
        if self._server:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """Two streams in the configuration: the endoscope runs, the room's camera does not answer yet."""
    theatre = Theatre(tmp_path_factory.mktemp("plant"), SMALL)
    theatre.device = Device(theatre)
    theatre.alone = theatre.config_path.read_text()
    theatre.config_path.write_text(theatre.alone + ROOM.format(title="Room", video=theatre.device.url))
    with contextlib.ExitStack() as stack:
        stack.callback(theatre.device.close)
        theatre.start_source()
        stack.callback(theatre.__exit__)
        theatre.process = theatre._popen("run", "--config", str(theatre.config_path), log="appliance.log")
        wait_until(lambda: theatre.process.poll() is not None or theatre.healthz()[0], 90, "an answer")
        wait_until(lambda: all("waits" in reason for reason in theatre.healthz()[1]), 60, "the stages")
        yield theatre


@pytest.fixture(scope="module")
def page(plant, browser):
    page = browser.open(plant.link("expert"))
    page.wait("window.applianceViewer && applianceViewer.frames > 25", PATIENCE_S)
    page.evaluate("""(() => { const v = applianceViewer; window.pause = {last: performance.now(), longest: 0, frames: v.frames};
        setInterval(() => { const now = performance.now();
            if (v.frames !== window.pause.frames) { window.pause.frames = v.frames; window.pause.last = now; }
            window.pause.longest = Math.max(window.pause.longest, now - window.pause.last); }, 5); })()""")
    yield page
    page.close()


@contextlib.contextmanager
def undisturbed(plant, page):
    """Nothing of the endoscope's stages, counters, viewers or of what is shared changes within the block, and the picture does not stand still."""
    def state():
        stages = {name: pid for name, pid in plant.stages().items() if "room" not in name}
        return stages, page.evaluate("applianceViewer.sessions")

    counters = ("appliance_ingest_packets_total", "appliance_ingest_frames_total", "appliance_fanout_packets_total", "appliance_fanout_joins_total")
    def counted():
        found = plant.metrics(*counters)
        return [sum(value for (name, labels), value in found.items() if name == counter and ("stream", "endoscope") in labels) for counter in counters]

    before, totals, shown = state(), counted(), page.evaluate("(() => { window.pause.longest = 0; return applianceViewer.frames; })()")
    yield
    after = counted()
    assert state() == before
    assert all(now >= then for now, then in zip(after, totals)) and after[0] > totals[0]
    assert page.evaluate("applianceViewer.frames") > shown
    pause = page.evaluate("window.pause.longest") / 1000
    print(f"longest pause {pause:.2f} s")
    assert pause < PICTURE_LIMIT_S


def hang_up(plant, text=None):
    """Writes the configuration and tells the appliance to read it."""
    if text is not None:
        plant.config_path.write_text(text)
    plant.process.send_signal(signal.SIGHUP)


def room_runs(plant):
    return plant.metric("appliance_ingest_frames_total", stream="room") > 10 and plant.healthy()


def test_a_device_that_does_not_answer_keeps_no_other_theatre_dark(plant, page):
    status, reasons = plant.healthz()
    assert status == 503 and len(reasons) == 1
    assert reasons[0].startswith("stream room waits: video: expected an SDP at ") and plant.device.url in reasons[0]
    assert plant.metric("appliance_stream_waiting", stream="room") == 1 and plant.metric("appliance_stream_waiting", stream="endoscope") == 0
    with undisturbed(plant, page):
        plant.device.switch_on(*SMALL)
        wait_until(lambda: room_runs(plant), PATIENCE_S, "the room's picture")
    assert plant.metric("appliance_stream_waiting", stream="room") == 0


def test_a_wrong_configuration_changes_nothing_and_everything_wrong_is_said(plant, page):
    good, stages = plant.config_path.read_text(), plant.stages()
    with undisturbed(plant, page):
        hang_up(plant, good.replace("127.0.0.1:", "127.0.0.1:x", 1) + ROOM.format(title="Room", video="nowhere.sdp").replace("lo", "eth99"))
        wait_until(lambda: plant.metric("appliance_supervisor_configuration_refused") == 1, PATIENCE_S, "the refusal")
    assert plant.stages() == stages and plant.healthy()
    import urllib.request
    with urllib.request.urlopen(plant.metrics_url.replace("/metrics", "/healthz"), timeout=5) as answer:
        said = " ".join(json.load(answer)["remarks"])
    assert "[server] listen" in said and "which another stream has" in said
    log = plant.log_path.read_text()
    assert "[server] listen" in log and "everything goes on as it was" in log
    hang_up(plant, good)
    wait_until(lambda: plant.metric("appliance_supervisor_configuration_refused") == 0, PATIENCE_S, "the configuration to be followed")
    assert plant.stages() == stages


def test_another_title_restarts_nothing_and_what_streams_share_takes_a_restart_and_is_named(plant, page):
    good, stages = plant.config_path.read_text(), plant.stages()
    with undisturbed(plant, page):
        hang_up(plant, good.replace('title = "Room"', 'title = "Room camera"').replace("[[stream]]", "[encoder]\nbitrate_kbps = 5000\n[[stream]]", 1))
        wait_until(lambda: "takes a restart of the appliance: [encoder] bitrate_kbps" in plant.log_path.read_text(), PATIENCE_S, "the key that is not followed")
        wait_until(lambda: "Room camera" in page.evaluate(f"""fetch('/api/streams', {{headers: {{Authorization: 'Bearer {plant.token("expert", "*")}'}}}})
            .then((answer) => answer.text())"""), PATIENCE_S, "the new title")
    assert plant.stages() == stages
    plant.config_path.write_text(good)


def test_a_device_that_changes_its_raster_is_followed(plant, page):
    with undisturbed(plant, page):
        before = {name: pid for name, pid in plant.stages().items() if "room" in name}
        plant.device.switch_off()
        plant.device.switch_on("--size", "640x360")
        hang_up(plant)  # a reading at once; by itself it comes within ten seconds
        wait_until(lambda: plant.metric("appliance_stream_changes_total", stream="room") == 1, PATIENCE_S, "the change")
        counted = plant.metric("appliance_ingest_frames_total", stream="room")
        wait_until(lambda: plant.metric("appliance_ingest_frames_total", stream="room") > counted + 10, PATIENCE_S, "the room's picture")
        after = {name: pid for name, pid in plant.stages().items() if "room" in name}
    assert before.keys() == after.keys() and not set(before.values()) & set(after.values())


def test_viewers_see_another_raster_without_a_new_session(plant, page):
    """The endoscope itself now: the file beside the configuration changes, and nobody says so."""
    before, session = plant.stages(), page.evaluate("applianceViewer.sessions")
    video = (plant.folder / "endoscope.sdp").read_text()
    group, port = video.split("c=IN IP4 ")[1].split("/")[0].split()[0], video.split("m=video ")[1].split()[0]
    assert page.evaluate("[applianceViewer.video.videoWidth, applianceViewer.video.videoHeight]") == [320, 180]
    plant.stop_source()
    plant.source = plant._popen("source", "--interface", "lo", "--group", group, "--port", port, "--name", "endoscope", "--sdp-dir", str(plant.folder),
                                "--size", "480x272", log="source.log")
    begun = time.monotonic()
    page.wait("applianceViewer.video.videoWidth === 480 && applianceViewer.video.videoHeight === 272", PATIENCE_S)
    print(f"another raster after {time.monotonic() - begun:.1f} s")
    shown = page.evaluate("applianceViewer.frames")
    wait_until(lambda: page.evaluate("applianceViewer.frames") > shown + 25, PATIENCE_S, "moving pictures")
    assert page.evaluate("applianceViewer.sessions") == session, "the viewer had to connect again"
    joined = page.evaluate("applianceViewer.joined")
    wait_until(lambda: page.evaluate("applianceViewer.joined") > joined + 25, PATIENCE_S, "frames with their metadata")
    after = plant.stages()
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"ingest.endoscope", "convert.endoscope", "encode.endoscope.expert", "encode.endoscope.expert.vp8"}


def test_a_removed_stream_ends_and_may_come_back(plant, page):
    with undisturbed(plant, page):
        with_room = plant.config_path.read_text()
        hang_up(plant, plant.alone)
        wait_until(lambda: not any("room" in name for name in plant.stages()) and plant.healthy(), PATIENCE_S, "the end of the room's stages")
        assert not any("room" in dict(labels).get("stream", "") for _, labels in plant.metrics())
        hang_up(plant, with_room)
        wait_until(lambda: room_runs(plant), PATIENCE_S, "the room's picture")
