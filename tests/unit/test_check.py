"""`appliance check`: every problem at once, each with its place and what to do, and nothing changed by looking."""
import argparse
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import check, config
from appliance.errors import ConfigurationError
from appliance.frame import VideoFormat
from appliance.gateway import pages
from appliance.protocol import sdp
from tests.system.theatre import free_ports


NOBODY = 65534


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a configuration that could run, whose built viewer is a file of the test's."""
    https, metrics = free_ports(2)
    flow = sdp.VideoFlow(format=VideoFormat(64, 36), group="239.1.2.3", port=5004, payload_type=96)
    (tmp_path / "scope.sdp").write_text(sdp.emit_video(flow))
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_text("")
    (tmp_path / "appliance.toml").write_text(
        f'[server]\nlisten = "127.0.0.1:{https}"\nmetrics = "127.0.0.1:{metrics}"\nfanout_workers = 1\n'
        '[[stream]]\nname = "scope"\ninterface = "lo"\nvideo = "scope.sdp"\n')
    monkeypatch.setattr(pages, "DIST", tmp_path / "dist")
    return tmp_path


def rewrite(folder, old: str, new: str) -> None:
    path = folder / "appliance.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def problems(folder) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        check.run(argparse.Namespace(config=folder / "appliance.toml"))
    return caught.value.problems


def test_a_good_configuration_is_told_in_a_few_lines(folder, capsys):
    assert check.run(argparse.Namespace(config=folder / "appliance.toml")) == 0
    told = capsys.readouterr().out
    assert "good" in told and "scope: 64x36p50" in told and "239.1.2.3:5004" in told
    assert sorted(path.name for path in folder.iterdir()) == ["appliance.toml", "dist", "scope.sdp"]


def test_everything_wrong_is_told_at_once(folder):
    rewrite(folder, '"lo"', '"no-such-net"')
    rewrite(folder, 'fanout_workers = 1', 'media_addresses = ["192.0.2.1"]\nstate_dir = "scope.sdp"\ncertificate = "a.pem"\ncertificate_key = "a.key"')
    (folder / "scope.sdp").write_text("nonsense")
    (folder / "dist" / "index.html").unlink()
    found = problems(folder)
    for part in ("scope.sdp", "interface: expected one of", "media_addresses", "state_dir", "certificate", "viewer: expected"):
        assert any(part in problem for problem in found), (part, found)
    assert len(found) == 6


def test_a_port_in_use_is_named(folder):
    server = config.load(folder / "appliance.toml").server
    with socket.create_server(("127.0.0.1", server.listen_port)):
        [problem] = problems(folder)
    assert "[server] listen" in problem and f"127.0.0.1:{server.listen_port}, which is in use" in problem


def test_a_media_port_in_use_is_named_and_the_number_of_https_may_serve_for_both(folder):
    server = config.load(folder / "appliance.toml").server
    rewrite(folder, "fanout_workers = 1", f'media_ports = "{server.listen_port}"')
    check.check(config.load(folder / "appliance.toml"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", server.listen_port))
        [problem] = problems(folder)
    assert "media_ports: expected 1 free UDP port(s) on 127.0.0.1, got 0" in problem


def test_a_range_with_too_few_free_ports_is_told(folder):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = min(taken.getsockname()[1], 65_534)
        rewrite(folder, "fanout_workers = 1", f'media_ports = "{port}-{port + 1}"\nviewers_max = 2')
        [problem] = problems(folder)
    assert f"of {port}-{port + 1}" in problem


def test_a_unicast_flow_to_another_machine_is_told(folder):
    flow = sdp.VideoFlow(format=VideoFormat(64, 36), group="192.0.2.7", port=5004, payload_type=96)
    (folder / "scope.sdp").write_text(sdp.emit_video(flow))
    [problem] = problems(folder)
    assert "c= line" in problem and "192.0.2.7" in problem
    (folder / "scope.sdp").write_text(sdp.emit_video(replace(flow, group="127.0.0.1")))
    check.check(config.load(folder / "appliance.toml"))


def test_a_fifo_in_place_of_an_sdp_is_told_at_once(folder):
    (folder / "scope.sdp").unlink()
    os.mkfifo(folder / "scope.sdp")
    [problem] = problems(folder)
    assert "not a regular file" in problem


def test_an_interface_may_be_named_by_its_address(folder):
    rewrite(folder, '"lo"', '"127.0.0.1"')
    check.check(config.load(folder / "appliance.toml"))
    rewrite(folder, 'interface = "127.0.0.1"', 'interface = "192.0.2.1"')
    assert "an address of this machine" in problems(folder)[0]


def test_a_state_dir_of_another_user_is_a_problem_with_a_remedy(folder, monkeypatch):
    monkeypatch.setattr(pages, "DIST", Path("/"))  # the test's own is as closed to that user
    configuration = config.load(folder / "appliance.toml")
    state = folder / "state"
    state.mkdir(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)  # nothing is hidden from root
    try:
        with pytest.raises(ConfigurationError) as caught:
            check.check(configuration)
    finally:
        os.seteuid(user)
        state.chmod(0o700)
    assert [problem for problem in caught.value.problems if "state_dir" in problem and "as the user that the appliance runs as" in problem]


def test_a_key_that_others_can_read_is_a_problem(folder):
    (folder / "state").mkdir()
    key = folder / "state" / "token.key"
    key.write_text("ab" * 32)
    key.chmod(0o644)
    assert problems(folder) == [f"{key}: expected a key that only its owner can read, got one that others can read too. Run: chmod 600 {key}"]
    key.chmod(0o600)
    check.check(config.load(folder / "appliance.toml"))


def test_a_state_dir_that_others_may_write_to_is_a_problem_and_one_that_they_may_read_a_note(folder, capsys):
    state = folder / "state"
    state.mkdir()
    state.chmod(0o777)
    [problem] = problems(folder)
    assert "its owner alone may write to, got mode 777" in problem and problem.endswith(f"Run: chmod 700 {state}")
    for mode, noted in ((0o755, True), (0o700, False)):
        state.chmod(mode)
        assert check.run(argparse.Namespace(config=folder / "appliance.toml")) == 0
        assert ("may look into" in capsys.readouterr().out) == noted


def test_a_certificate_that_will_be_replaced_is_noted(folder, capsys):
    (folder / "state").mkdir(mode=0o700)
    (folder / "state" / "certificate.key").write_text("no key")
    assert check.run(argparse.Namespace(config=folder / "appliance.toml")) == 0
    assert "note: the self-signed certificate" in capsys.readouterr().out


def test_levels_whose_bit_rates_do_not_descend_are_spoken_of():
    assert check.encoder_notes(config.EncoderConfig()) == []
    notes = check.encoder_notes(config.EncoderConfig(bitrate_kbps=2000, bitrate_half_kbps=2500, bitrate_small_kbps=2500))
    assert [note.split(":")[0] for note in notes] == ["[encoder] bitrate_half_kbps = 2500 is not below bitrate_kbps = 2000",
                                                      "[encoder] bitrate_small_kbps = 2500 is not below bitrate_half_kbps = 2500"]
