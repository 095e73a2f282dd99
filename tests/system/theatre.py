"""A rehearsal theatre for the system tests: a synthetic source and the appliance, real processes on loopback, in a folder of their own."""
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from appliance.config import load
from appliance.tokens import issue_for, link

# Orderly ends take a fraction of it, but the machine may do much else.
END_LIMIT_S = 20
CONFIG = """\
[server]
listen = "127.0.0.1:{https}"
metrics = "127.0.0.1:{metrics}"
state_dir = "state"
{server}
{encoder}
[[stream]]
name = "endoscope"
title = "Endoscope, theatre 3"
interface = "lo"
video = "endoscope.sdp"
metadata = {metadata}
{stream}
{tables}
"""


def free_ports(count):
    """TCP ports of loopback that nobody uses now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def free_group():
    """A multicast group and an even port that other tests will hardly choose."""
    return f"239.{random.randint(64, 127)}.{random.randint(1, 254)}.{random.randint(1, 253)}", random.randrange(20000, 60000, 2)


def wait_until(condition, seconds, what):
    """The condition's first true value. AssertionError that says what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def _end(process):
    """Ends it in order; TimeoutExpired if that took too long, when it has been killed so that it burdens no later test."""
    process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Theatre:
    """Source and appliance. Use as a context manager; on leaving, both have ended and left nothing."""

    stream = "endoscope"

    def __init__(self, folder: Path, source_options=(), server="", encoder="", stream="", tables="", metadata=("endoscope-metadata.sdp",)):
        self.folder, self.source_options, self.metadata = folder, list(source_options), metadata
        self.https_port, self.metrics_port = free_ports(2)
        self.url = f"https://127.0.0.1:{self.https_port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        self.config_path = folder / "appliance.toml"
        self.config_path.write_text(CONFIG.format(https=self.https_port, metrics=self.metrics_port, server=server, encoder=encoder, stream=stream, tables=tables,
                                                   metadata=json.dumps(list(metadata))))
        self.log_path = folder / "appliance.log"
        self.source = self.process = None

    def __enter__(self):
        try:
            self.start_source()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            self.stop_source()

    def start_source(self, *options):
        group, port = free_group()
        self.source = self._popen("source", "--interface", "lo", "--group", group, "--port", str(port), "--sdp-dir", str(self.folder),
                                  "--name", self.stream, *(options or self.source_options), log="source.log")
        wait_until(lambda: all((self.folder / name).exists() for name in self.metadata) or self.source.poll() is not None, 20, "the source's SDP files")
        assert self.source.poll() is None, (self.folder / "source.log").read_text()

    def stop_source(self):
        if self.source:
            source, self.source = self.source, None
            _end(source)

    def start(self, seconds=90):
        self.process = self._popen("run", "--config", str(self.config_path), log="appliance.log")
        try:
            wait_until(lambda: self.process.poll() is not None or self.healthy(), seconds, "a healthy appliance")
        except AssertionError as error:
            raise AssertionError(self.log_path.read_text()) from error
        assert self.process.poll() is None, self.log_path.read_text()
        wait_until(lambda: self.metric("appliance_ingest_frames_total") > 0, 10, "frames")

    def stop(self):
        """Ends the appliance in order; returns the seconds that took."""
        if not self.process:
            return 0.0
        begun, process = time.monotonic(), self.process
        self.process = None
        _end(process)
        return time.monotonic() - begun

    def _popen(self, *arguments, log):
        with open(self.folder / log, "ab") as output:
            return subprocess.Popen([sys.executable, "-m", "appliance", *arguments], stdout=output, stderr=output, process_group=0)

    def healthy(self):
        return self.healthz()[0] == 200

    def healthz(self):
        """Status and reasons."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/healthz", timeout=2) as answer:
                return answer.status, json.load(answer)["reasons"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["reasons"]
        except OSError as error:
            return 0, [str(error)]

    def metrics(self, *names):
        """Every sample of /metrics, or those of these names: {(name, frozenset of labels): value}."""
        from prometheus_client.parser import text_string_to_metric_families

        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
            text = answer.read().decode()
        if names:  # there are thousands of lines, and to read them all takes longer than what most tests wait for
            begins = tuple(name + after for name in names for after in "{ ")
            text = "".join(line for line in text.splitlines(keepends=True) if line.startswith(begins))
        return {(sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text) for sample in family.samples}

    def metric(self, name, **labels):
        """Sum of a metric over all series that have these labels."""
        wanted = set(labels.items())
        return sum(value for (_, found), value in self.metrics(name).items() if wanted <= found)

    def stages(self):
        """{stage name: process id} of the running stages, as `ps` shows them."""
        found = {}
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"stage" in words:
                found[words[words.index(b"stage") + 1].decode()] = int(pid)
        return found

    def kill(self, stage):
        """SIGKILL, as a crash would."""
        os.kill(self.stages()[stage], signal.SIGKILL)

    def token(self, role, stream=None):
        """A bearer token."""
        return issue_for(load(self.config_path), role, stream or self.stream)

    def link(self, role, **query):
        """The link that opens the viewer."""
        address = link(load(self.config_path), role, self.stream)
        if query:
            page, fragment = address.split("#")
            address = page + "".join(f"&{name}={value}" for name, value in query.items()) + "#" + fragment
        return address
