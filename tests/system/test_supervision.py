"""Start, readiness, orderly end, and what a person reads when something cannot work."""
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from tests.system.theatre import Theatre, free_ports, wait_until


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "appliance", *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A theatre that several tests share; each leaves it whole."""
    with Theatre(tmp_path_factory.mktemp("running")) as theatre:
        yield theatre


@pytest.fixture
def idle(tmp_path):
    """A theatre with a source whose appliance the test starts itself."""
    theatre = Theatre(tmp_path)
    theatre.start_source()
    yield theatre
    theatre.stop()
    theatre.stop_source()


def memberships(group):
    """Whether this machine still listens to the multicast group (/proc/net/igmp shows it byte-swapped)."""
    word = "".join(f"{int(part):02X}" for part in reversed(group.split(".")))
    return word in Path("/proc/net/igmp").read_text()


def test_sigterm_ends_everything_within_three_seconds_and_leaves_nothing(idle, tmp_path):
    group = (tmp_path / "endoscope.sdp").read_text().split("c=IN IP4 ")[1].split("/")[0].split()[0]
    private = tmp_path / "tmp"
    private.mkdir()
    before = set(os.listdir("/dev/shm"))
    old = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(private)
    try:
        idle.start()
    finally:
        os.environ.pop("TMPDIR") if old is None else os.environ.update(TMPDIR=old)
    pids = list(idle.stages().values())
    assert len(pids) >= 9 and memberships(group)
    assert os.listdir(private)
    seconds = idle.stop()
    print(f"ended within {seconds:.2f} s")
    assert seconds < 3
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert not memberships(group)
    assert os.listdir(private) == []
    assert set(os.listdir("/dev/shm")) <= before


def test_stages_die_with_a_killed_supervisor(idle):
    idle.start()
    pids = list(idle.stages().values())
    idle.process.kill()
    idle.process.wait()
    idle.process = None
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 5, "the stages' end")


def test_systemd_is_told_that_it_is_ready_and_alive(idle, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        os.environ |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        try:
            idle.start()
        finally:
            del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
        messages = [manager.recv(4096).decode()]
        while not any(message.startswith("READY=1") for message in messages):
            messages.append(manager.recv(4096).decode())
        seen = len([message for message in messages if message.startswith("WATCHDOG=1")])
        while seen < 3:
            seen += manager.recv(4096).startswith(b"WATCHDOG=1")
        idle.process.send_signal(signal.SIGTERM)
        while not manager.recv(4096).startswith(b"STOPPING=1"):
            continue


def test_every_stage_is_named_in_ps(running):
    listing = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    for name in ("ingest.endoscope", "convert.endoscope", "encode.endoscope.expert", "encode.endoscope.expert.vp8", "metadata.endoscope",
                 "fanout.0", "gateway", "exporter"):
        assert any(line.endswith(f"stage {name}") for line in listing.splitlines()), name


def test_a_stage_that_hangs_is_restarted(running):
    victim = running.stages()["convert.endoscope"]
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: running.stages().get("convert.endoscope") not in (victim, None), 15, "a new convert process")


def test_health_says_which_stage_is_missing(running):
    wait_until(running.healthy, 20, "a healthy appliance")
    running.kill("convert.endoscope")
    status, reasons = wait_until(lambda: (result := running.healthz())[0] == 503 and result, 5, "an unhealthy answer")
    assert any("convert.endoscope" in reason for reason in reasons), reasons
    wait_until(running.healthy, 20, "health")


CONFIG = """\
[server]
listen = "127.0.0.1:{https}"
metrics = "127.0.0.1:{metrics}"
[[stream]]
name = "endoscope"
title = "Endoscope"
interface = "{interface}"
video = "{video}"
"""
SDP = """\
v=0
o=- 1 1 IN IP4 127.0.0.1
s=test
t=0 0
m=video 5004 RTP/AVP 96
c=IN IP4 239.100.100.100/8
a=rtpmap:96 raw/90000
a=fmtp:96 {format}
a=ts-refclk:ptp=traceable
a=mediaclk:direct=0
"""
GOOD = "sampling=YCbCr-4:2:2; width=1280; height=720; exactframerate=50; depth=10; colorimetry=BT709; PM=2110GPM; SSN=ST2110-20:2017; TP=2110TPW"


def write(folder, interface="lo", video="video.sdp", sdp=SDP.format(format=GOOD), extra="", ports=None):
    https, metrics = ports or free_ports(2)
    (folder / "video.sdp").write_text(sdp)
    path = folder / "appliance.toml"
    path.write_text(CONFIG.format(https=https, metrics=metrics, interface=interface, video=video) + extra)
    return path


@pytest.mark.parametrize("change, words", [
    (dict(extra='colour = "red"\n'), ["colour", "appliance.toml"]),
    (dict(interface="eth99"), ["eth99", "lo"]),
    (dict(video="missing.sdp"), ["missing.sdp"]),
    (dict(sdp="this is no SDP\n"), ["video.sdp", "line 1"]),
    (dict(sdp=SDP.format(format=GOOD.replace("depth=10", "depth=11"))), ["depth", "11"]),
    (dict(sdp=SDP.format(format=GOOD).replace("raw/90000", "jxsv/90000")), ["JPEG XS"]),
    (dict(sdp=SDP.format(format=GOOD.replace("YCbCr-4:2:2", "ICtCp-4:2:2"))), ["ICtCp"]),
])
def test_what_a_person_wrote_wrong_is_said_and_exits_2(tmp_path, change, words):
    path = write(tmp_path, **change)
    for command in ("run", "check"):
        result = run(command, "--config", path)
        assert result.returncode == 2, (command, result)
        message = result.stderr + result.stdout
        for word in words:
            assert word in message, (command, message)
        assert "Traceback" not in message


def test_a_missing_configuration_is_said(tmp_path):
    result = run("run", "--config", tmp_path / "nowhere.toml")
    assert result.returncode == 2 and "nowhere.toml" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("which", [0, 1])
def test_a_port_in_use_is_named_with_what_to_do(tmp_path, which):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = free_ports(2)
        ports[which] = other.getsockname()[1]
        result = run("run", "--config", write(tmp_path, ports=ports))
        assert result.returncode == 2
        assert str(ports[which]) in result.stderr and "in use" in result.stderr and "Traceback" not in result.stderr


def test_too_little_memory_is_said_before_it_is_taken(tmp_path):
    """A control group or machine without room for the rings."""
    program = ("import sys; from pathlib import Path; import appliance.resources as r; from appliance.config import load; "
               "from appliance.descriptions import read_all; from appliance.topology import lay_out; r.available_bytes = lambda: 50 << 20; "
               "c = load(Path(sys.argv[1])); r.check_memory(lay_out(c, read_all(c.streams).flows))")
    result = subprocess.run([sys.executable, "-c", program, str(write(tmp_path))], capture_output=True, text=True, timeout=60)
    assert "memory" in result.stderr and "50 MiB left" in result.stderr


def keep_killing(process, stage, seconds, enough=threading.Event()):
    """SIGKILL for every process of the stage as soon as it shows, for so long or until it is enough."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not enough.is_set():
        for pid in children.read_text().split():
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(f"stage\0{stage}\0".encode()):
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.02)


def test_a_shared_stage_that_never_works_ends_the_whole_with_a_reason(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "appliance", "run", "--config", str(write(tmp_path))], stderr=output)
    keep_killing(process, "exporter", 60)
    assert process.wait(10) == 1
    assert "exporter ended" in log.read_text()


def test_a_stream_that_never_works_is_parked_and_the_rest_goes_on(running):
    wait_until(running.healthy, 20, "a healthy appliance")
    process, enough = running.process, threading.Event()
    killer = threading.Thread(target=keep_killing, args=(process, "convert.endoscope", 60, enough))
    killer.start()
    try:
        wait_until(lambda: "stands still" in running.log_path.read_text(), 50, "the stage to be parked")
        assert process.poll() is None and running.healthz()[0] == 503
    finally:
        enough.set()
        killer.join()
    wait_until(running.healthy, 20, "the stage to be tried again")


def test_what_a_killed_supervisor_left_is_removed_at_the_next_start(idle, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    idle.start()
    idle.process.kill()
    idle.process.wait()
    left = set(tmp_path.glob("appliance-run-*"))
    assert left
    idle.start()
    assert not left & set(tmp_path.glob("appliance-run-*"))


def test_a_closed_terminal_ends_it_in_order(tmp_path, monkeypatch):
    """SIGHUP means to read the configuration again, but not from a terminal that is gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    terminal, ours = os.openpty()
    process = subprocess.Popen([sys.executable, "-m", "appliance", "run", "--config", str(write(tmp_path))], stdin=ours, stdout=ours, stderr=ours,
                               start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(ours)
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(5) == 0
    assert list(tmp_path.glob("appliance-run-*")) == []
