"""What should run: followed from files, refused as a whole, shared settings left alone."""
import threading
from dataclasses import replace

import pytest

from appliance import config, descriptions, wanted
from appliance.wanted import Refused, Wanted, Watch, keep_shared
from tests.unit.protocol.test_sdp import METADATA, VIDEO

TEXT = """
[[stream]]
name = "scope"
interface = "lo"
video = "scope.sdp"
"""
PATIENCE_S = 10


class Watched:
    """A running watch over a configuration file, and what it hands over."""

    def __init__(self, folder, text=TEXT):
        self.path = folder / "appliance.toml"
        self.path.write_text(text)
        parsed = config.load(self.path)
        reading = descriptions.read_all(parsed.streams)
        self.rung, self.problems = threading.Semaphore(0), []
        self.watch = Watch(Wanted(parsed, reading.flows, reading.waiting), lambda *_: list(self.problems), self.rung.release)
        self.watch.start()

    def next(self):
        assert self.rung.acquire(timeout=PATIENCE_S), "nothing was handed over"
        [found] = self.watch.take()
        return found


@pytest.fixture
def watched(tmp_path, monkeypatch):
    monkeypatch.setattr(wanted, "FILE_INTERVAL_S", 0.02)
    (tmp_path / "scope.sdp").write_text(VIDEO)
    return Watched(tmp_path)


def test_a_file_that_changes_is_followed_when_it_is_right_and_told_of_when_it_is_not(watched, tmp_path):
    path = tmp_path / "scope.sdp"
    path.write_text(VIDEO.replace("width=1280", "width=640"))
    assert watched.next().flows["scope"].video.format.width == 640
    path.write_text("nonsense")
    found = watched.next()
    assert found.flows["scope"].video.format.width == 640 and "line 1 (nonsense)" in found.remarks[0] and not found.waiting
    path.unlink()
    assert "No such file" in watched.next().remarks[0]
    path.write_text(VIDEO)
    found = watched.next()
    assert found.flows["scope"].video.format.width == 1280 and found.remarks == ()


def test_what_cannot_be_used_on_this_machine_is_tried_again(watched, tmp_path):
    watched.problems.append("no such address")
    (tmp_path / "scope.sdp").write_text(VIDEO.replace("239.10.10.1", "10.0.0.7"))
    found = watched.next()
    assert found.remarks == ("no such address",) and found.flows["scope"].video.group == "239.10.10.1"
    watched.problems.clear()
    found = watched.next()
    assert found.remarks == () and found.flows["scope"].video.group == "10.0.0.7"


def test_a_configuration_is_followed_whole_or_not_at_all(watched, tmp_path):
    (tmp_path / "m.sdp").write_text(METADATA)
    watched.path.write_text(TEXT + 'metadata = "m.sdp"\n')
    watched.watch.reload()
    assert [flow.port for flow in watched.next().flows["scope"].metadata] == [5006]
    watched.path.write_text(TEXT + 'metadata = "m.sdp"\ncolour = 1\ninterfaces = 2\n')
    watched.watch.reload()
    refused = watched.next()
    assert isinstance(refused, Refused) and len(refused.problems) == 2
    watched.path.write_text(TEXT + 'metadata = "missing.sdp"\n')
    watched.watch.reload()
    assert "missing.sdp" in watched.next().problems[0]
    watched.problems.append("eth9 is not there")
    watched.path.write_text(TEXT.replace("lo", "eth9"))
    watched.watch.reload()
    assert watched.next().problems == ("eth9 is not there",)


def test_a_device_that_does_not_answer_just_now_ends_no_stream_that_runs(watched, tmp_path):
    watched.path.write_text(TEXT.replace("scope.sdp", "http://127.0.0.1:9/scope.sdp"))
    watched.watch.reload()
    found = watched.next()
    assert "scope" in found.waiting and not found.flows, "another address may be another camera"
    watched.watch._wanted = replace(found, flows={"scope": "as before"}, waiting={})
    watched.watch.reload()
    found = watched.next()
    assert found.flows == {"scope": "as before"} and not found.waiting


def test_shared_keys_stay_as_they_run_and_are_named(tmp_path):
    running = config.parse(TEXT, tmp_path / "x.toml")
    new = config.parse('[server]\nlisten = "127.0.0.1:9443"\nviewers_max = 7\n[encoder]\npreset = "fast"\n[[ice_server]]\nurl = "stun:a:1"\n' + TEXT + 'title = "T"\n',
                       tmp_path / "x.toml")
    kept, names = keep_shared(new, running)
    assert set(names) == {"[server] listen", "[server] viewers_max", "[encoder] preset", "[[ice_server]]"}
    assert (kept.server, kept.encoder) == (running.server, running.encoder) and kept.stream("scope").title == "T"
    assert keep_shared(running, running) == (running, ())
