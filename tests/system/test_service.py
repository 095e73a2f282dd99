"""The installed service: its unit, its confinement, `make install` into a folder, and what an update and a removal leave alone."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import config
from appliance.ingest.intake import RECEIVE_BUFFER_BYTES
from appliance.protocol import sdp
from tests.system.sandbox import allowed_calls, settings
from tests.system.theatre import Theatre, free_group, free_ports, wait_until

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNIT = SYSTEMD / "appliance.service"
SANDBOX = Path(__file__).with_name("sandbox.py")
# In tenths, of 100. What remains is what the appliance is for: the network, capabilities for large buffers and packet rings, devices that encode,
# the least real-time priority for the threads that send.
EXPOSURE_MAX = 27
FILE_ACCESS = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root may keep them
AMBIENT = 1 << 12 | 1 << 13  # CAP_NET_ADMIN, CAP_NET_RAW


class ConfinedTheatre(Theatre):
    """Runs the appliance with the unit's system call filter, and as root with the unit's capabilities."""

    def _popen(self, *arguments, log):
        if arguments[0] != "run":
            return super()._popen(*arguments, log=log)
        with open(self.folder / log, "ab") as output:
            return subprocess.Popen([sys.executable, SANDBOX, UNIT, sys.executable, "-m", "appliance", *arguments],
                                    stdout=output, stderr=output, process_group=0)


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    with ConfinedTheatre(tmp_path_factory.mktemp("theatre"), ["--size", "640x360", "--rate", "25"]) as theatre:
        yield theatre


def capabilities(pid):
    """One {name: mask} for each thread of a process."""
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        yield {name: int(mask, 16) for name, mask in re.findall(r"Cap(\w+):\t(\w+)", status.read_text())}


def test_the_picture_reaches_a_viewer_under_the_units_filter(theatre, browser):
    page = browser.open(theatre.link("expert"))
    page.wait("window.applianceViewer && applianceViewer.frames > 25 && applianceViewer.joined > 10", 30)
    page.close()
    assert Path(f"/proc/{theatre.process.pid}/status").read_text().count("Seccomp:\t2") == 1
    assert theatre.metric("appliance_supervisor_restarts_total") == 0


def test_no_stage_that_works_keeps_a_capability(theatre):
    for stage, pid in theatre.stages().items():
        for held in capabilities(pid):
            for name in ("Prm", "Eff", "Inh", "Amb"):
                assert held[name] & ~FILE_ACCESS == 0, f"{stage} keeps {held}"


def test_the_supervisor_can_pass_its_two_capabilities_on(theatre):
    """Where we are root it holds what the unit names, ingest's buffer is as large as it asked for, and it has its packet ring."""
    held = list(capabilities(theatre.process.pid))
    expected = AMBIENT if os.geteuid() == 0 else 0
    assert all(thread["Amb"] == expected for thread in held)
    if expected:
        theatre.kill("ingest.endoscope")  # also of a stage that starts later
        wait_until(lambda: theatre.metric("appliance_supervisor_restarts_total", stage="ingest.endoscope") == 1 and theatre.healthy(), 20, "a new ingest")
        assert theatre.metric("appliance_ingest_receive_buffer_bytes") == RECEIVE_BUFFER_BYTES
        assert theatre.metric("appliance_ingest_backend_info", backend="packet-ring") == 1


def test_the_exporter_sees_every_stages_process(theatre):
    measured = {dict(labels)["stage"] for name, labels in theatre.metrics() if name == "appliance_stage_resident_bytes"}
    assert measured == set(theatre.stages())


def test_the_filter_refuses_what_no_stage_needs():
    assert not {"mount", "ptrace", "bpf", "init_module", "reboot", "setuid", "chown", "keyctl"} & allowed_calls(UNIT)


@pytest.fixture
def unit(tmp_path):
    """The unit with a program that exists here."""
    path = tmp_path / "appliance.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    return path


def test_systemd_finds_nothing_wrong_with_the_unit(unit):
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_unit_leaves_little_exposed(unit):
    result = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_MAX}", unit], capture_output=True, text=True)
    print(result.stdout[-200:])
    assert result.returncode == 0, result.stdout


def test_the_unit_tries_again_until_the_source_is_there():
    """An interface or an SDP that comes later must not need a person."""
    assert settings(UNIT, "Restart") == ["on-failure"] and settings(UNIT, "StartLimitIntervalSec") == ["0"]
    assert not settings(UNIT, "RestartPreventExitStatus") and not settings(UNIT, "ExecStartPre")


def test_sysusers_accepts_the_users(tmp_path):
    (tmp_path / "etc").mkdir()
    result = subprocess.run(["systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "appliance.sysusers"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "appliance:" in (tmp_path / "etc/passwd").read_text()
    groups = {line.split(":")[0] for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert {"appliance", *settings(UNIT, "SupplementaryGroups")[0].split()} <= groups


def test_the_example_is_the_programs_own_with_an_installed_services_places():
    """One text says every key; the file to be edited differs from it in two values alone."""
    installed = (SYSTEMD / "appliance.toml").read_text()
    parsed = config.parse(installed, Path("/etc/appliance/appliance.toml"))
    assert (parsed.server.listen_host, parsed.server.listen_port) == ("0.0.0.0", 8443)
    assert str(parsed.server.state_dir) == "/var/lib/appliance"
    restored = re.sub(r'^listen = "0.0.0.0:8443"  ', 'listen = "127.0.0.1:8443"', installed, flags=re.MULTILINE)
    restored = re.sub(r'^state_dir = "/var/lib/appliance"   ', 'state_dir = "state"                ', restored, flags=re.MULTILINE)
    assert restored == config.example()


def install(folder, *arguments, **places):
    """Runs the installer with everything below the folder."""
    environment = os.environ | {"DESTDIR": str(folder)} | places
    return subprocess.run(["bash", SYSTEMD / "install.sh", *arguments], env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of a fresh installation."""
    folder = tmp_path_factory.mktemp("root")
    install(folder)
    yield folder
    shutil.rmtree(folder)  # a quarter of a gigabyte


def appliance(folder, *arguments):
    """A command of the installed program, which is a place away from where it believes to be."""
    program = [folder / "opt/appliance/.venv/bin/python", "-I", "-m", "appliance"]
    return subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=60, cwd=folder)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def test_an_installation_has_program_unit_users_limits_and_configuration(installed):
    found = files(installed)
    for wanted in ("opt/appliance/.venv/bin/appliance", "opt/appliance/README.md", "opt/appliance/monitoring/alerts.yml", "usr/local/bin/appliance",
                   "etc/systemd/system/appliance.service", "usr/lib/sysusers.d/appliance.conf", "usr/lib/sysctl.d/60-appliance.conf",
                   "etc/appliance/appliance.toml"):
        assert wanted in found, wanted
    assert os.readlink(installed / "usr/local/bin/appliance") == "/opt/appliance/.venv/bin/appliance"
    assert (installed / "opt/appliance/.venv/bin/appliance").read_text().startswith("#!/opt/appliance/.venv/bin/python\n")
    assert (installed / "etc/appliance/appliance.toml").stat().st_mode & 0o777 == 0o640


def test_an_installation_does_not_need_the_tree(installed):
    program = ("import importlib.metadata, sys, appliance.version, cext.ring, cext.fanout, av, aiortc, pydicom; "
               "print(appliance.version.VERSION == importlib.metadata.version('dicom-rtv-appliance'), *sorted(m.__file__ for m in list(sys.modules.values()) "
               "if getattr(m, '__file__', None)), sep='\\n')")
    result = subprocess.run([installed / "opt/appliance/.venv/bin/python", "-I", "-c", program], capture_output=True, text=True, cwd="/")
    version_known, *modules = result.stdout.split()
    assert version_known == "True", result.stderr
    assert [module for module in modules if str(ROOT) in module and str(installed) not in module] == []
    packages = {path.name for path in installed.glob("opt/appliance/.venv/lib/python3*/site-packages/*")}
    assert not {"pytest", "Cython", "hypothesis", "setuptools"} & packages


def test_the_installed_check_says_what_is_missing_and_then_that_all_is_good(installed):
    path = installed / "etc/appliance/appliance.toml"
    example = path.read_text()
    try:
        https, metrics = free_ports(2)
        path.write_text(example.replace(":8443", f":{https}").replace(":9464", f":{metrics}").replace("/var/lib/appliance", "state"))
        result = appliance(installed, "check", "--config", path)
        assert result.returncode == 2 and "endoscope.sdp" in result.stderr and "Traceback" not in result.stderr, result
        group, port = free_group()
        flow = sdp.VideoFlow(format=sdp.VideoFormat(1280, 720), group=group, port=port, payload_type=96)
        (path.parent / "endoscope.sdp").write_text(sdp.emit_video(flow))
        result = appliance(installed, "check", "--config", path)
        assert result.returncode == 0 and group in result.stdout and "1280x720" in result.stdout, result
    finally:
        path.write_text(example)
        (path.parent / "endoscope.sdp").unlink(missing_ok=True)


def test_a_second_installation_keeps_the_edited_configuration_and_drops_old_files(installed):
    path = installed / "etc/appliance/appliance.toml"
    before, example = files(installed), path.read_text()
    stale = next(installed.glob("opt/appliance/.venv/lib/python3*/site-packages/appliance")) / "removed.py"
    stale.touch()
    path.write_text("# mine\n" + example)
    try:
        install(installed)
        assert path.read_text() == "# mine\n" + example
    finally:
        path.write_text(example)
    assert files(installed) == before


def test_other_places_can_be_chosen_and_removal_leaves_configuration_and_state_alone(tmp_path):
    places = dict(PREFIX="/srv/rtv", CONFIG_DIR="/srv/rtv-config", UNIT_DIR="/usr/lib/systemd/system", BIN_DIR="/usr/bin")
    install(tmp_path, **places)
    assert settings(tmp_path / "usr/lib/systemd/system/appliance.service", "ExecStart") == [
        "/srv/rtv/.venv/bin/appliance run --config /srv/rtv-config/appliance.toml"]
    assert (tmp_path / "usr/bin/appliance").is_symlink()
    key = tmp_path / "var/lib/appliance/token.key"
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    install(tmp_path, "--remove", **places)
    assert files(tmp_path) == {"srv/rtv-config/appliance.toml", "var/lib/appliance/token.key"}
