"""The demo: a synthetic theatre and the appliance on loopback, and links to click. Called by `make demo`.

Everything it writes lies in one folder; it ends both programs when it ends.
"""
import argparse
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

from appliance import status
from appliance.config import Config, load
from appliance.errors import ApplianceError
from appliance.tokens import link

STREAM = "endoscope"
START_LIMIT_S = 60.0
_CONFIG = """\
# The demo's configuration; systemd/appliance.toml shows every key.
[server]
listen = "127.0.0.1:{https}"
metrics = "127.0.0.1:{metrics}"
state_dir = "state"

[[stream]]
name = "{stream}"
title = "Endoscope, theatre 3 (synthetic)"
interface = "lo"
video = "{stream}.sdp"
metadata = ["{stream}-metadata.sdp", "{stream}-sound-metadata.sdp", "{stream}-rendition.sdp"]
audio = "{stream}-sound.sdp"
"""


def run(options: argparse.Namespace) -> int:
    """Runs until Ctrl-C. Exit status 0."""
    folder = options.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    config_path = folder / "appliance.toml"
    config_path.write_text(_CONFIG.format(https=free_port(options.port), metrics=free_port(9464), stream=STREAM))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT too: a shell's `&` leaves it ignored
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as children:
        try:
            source = start_source(children, folder)
            appliance = _start(children, ["run", "--config", str(config_path)])
            config = load(config_path)
            wait_healthy(config, appliance, source)
            _print_links(config)
            while appliance.poll() is None and source.poll() is None:
                time.sleep(0.2)
            raise ApplianceError("the appliance or the source ended by itself; the lines above say why")
        except KeyboardInterrupt:
            print("\nStopping ...", file=sys.stderr)
    return 0


def free_port(preferred: int) -> int:
    """The preferred TCP port of loopback if it is free, else one that is."""
    for port in (preferred, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise ApplianceError("no free TCP port on 127.0.0.1")


def start_source(children: ExitStack, folder: Path) -> subprocess.Popen:
    """Starts the synthetic sender on loopback multicast and waits until its SDP files are there."""
    group = f"239.{random.randint(64, 127)}.{random.randint(1, 254)}.{random.randint(1, 253)}"
    sdp = [folder / f"{STREAM}{suffix}.sdp" for suffix in ("", "-metadata", "-sound", "-sound-metadata", "-rendition")]
    for path in sdp:
        path.unlink(missing_ok=True)
    source = _start(children, ["source", "--interface", "lo", "--group", group, "--sdp-dir", str(folder), "--name", STREAM, "--sound"])
    deadline = time.monotonic() + START_LIMIT_S
    while not all(path.exists() for path in sdp):
        if source.poll() is not None or time.monotonic() > deadline:
            raise ApplianceError("the synthetic source did not start; the lines above say why")
        time.sleep(0.05)
    return source


def _start(children: ExitStack, arguments: list[str]) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-m", "appliance", *arguments], process_group=0)
    children.callback(_end, process)
    return process


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_healthy(config: Config, *processes: subprocess.Popen, limit_s: float = START_LIMIT_S) -> None:
    """Waits until the appliance is healthy; ApplianceError if it takes too long or one of the processes ends."""
    deadline, reasons = time.monotonic() + limit_s, None
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in processes):
            raise ApplianceError("the appliance did not start; the lines above say why")
        reasons = status.health(status.url_of(config))
        if reasons == []:
            return
        time.sleep(0.1)
    raise ApplianceError(f"the appliance is not ready after {limit_s:g} s: {'; '.join(reasons or ['no answer'])}")


def _print_links(config: Config) -> None:
    print(f"""
The appliance runs. Open one of these in a browser on this machine
(its certificate is self-signed: the browser asks once whether to go on):

  Expert (sees the patient):   {link(config, "expert", STREAM)}
  Student (sees no patient):   {link(config, "student", STREAM)}

  Metrics:  http://{config.server.metrics_host}:{config.server.metrics_port}/metrics

Ctrl-C ends the demo.
""", flush=True)
