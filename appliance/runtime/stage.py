"""The contract between the supervisor and a stage's process: what it inherits, its heartbeat, its orderly end.

The supervisor describes a stage in a StagePlan, passed through a memfd; Stage opens what the plan names.
"""
import ctypes
import logging
import os
import pickle
import resource
import signal
import socket
import sys
from dataclasses import dataclass, field

from appliance import clock
from appliance.config import Config, StreamConfig
from appliance.protocol.sdp import AudioFlow, MetadataFlow, VideoFlow
from appliance.runtime import capabilities
from appliance.runtime.counters import Counters, Segment, Series
from appliance.runtime.ring import RingReader, RingWriter

PLAN_VARIABLE = "APPLIANCE_STAGE_PLAN_FD"
HEARTBEAT_INTERVAL_S = 0.25
# Privileges while a stage starts: for a receive buffer above net.core.rmem_max, and for a packet ring. No other stage needs one, and none once it works.
_PRIVILEGES = {"ingest": (capabilities.NET_ADMIN, capabilities.NET_RAW), "metadata": (capabilities.NET_ADMIN,), "sound": (capabilities.NET_ADMIN,)}
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Flows:
    """What the SDP files of one stream describe."""

    video: VideoFlow
    metadata: MetadataFlow | None = None
    audio: AudioFlow | None = None


@dataclass(frozen=True)
class RingEnd:
    """One end of a ring in a stage's plan. `doorbells` are all readers' (writer) or its own (reader)."""

    name: str
    fd: int
    format: bytes
    doorbells: tuple[int, ...]
    index: int = -1  # reader's place; -1 for the writer


@dataclass(frozen=True)
class StagePlan:
    """Everything that a stage's process is given."""

    name: str
    config: Config
    flows: dict[str, Flows]
    rings: tuple[RingEnd, ...]
    counters_fd: int
    series: list[Series]
    sockets: dict[str, int] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)
    supervisor_pid: int = 0

    def descriptors(self) -> set[int]:
        """The file descriptors that the process inherits."""
        rings = {fd for ring in self.rings for fd in (ring.fd, *ring.doorbells)}
        return rings | {self.counters_fd, *self.sockets.values()}


class Stage:
    """A stage as its own process sees it."""

    def __init__(self, plan: StagePlan) -> None:
        self.name, self.config, self.flows, self.peers = plan.name, plan.config, plan.flows, plan.peers
        self.log = logging.getLogger(plan.name)
        self.counters = Counters(Segment(plan.counters_fd, plan.series), plan.name)
        self.places: dict[str, list[RingReader]] = {}  # every place that the stage has among a ring's readers
        for ring in plan.rings:
            if ring.index >= 0:
                self.places.setdefault(ring.name, []).append(RingReader(ring.fd, ring.index, ring.doorbells[0], ring.format))
        self.readers = {name: readers[0] for name, readers in self.places.items()}
        self.writers = {ring.name: RingWriter(ring.fd, list(ring.doorbells), ring.format) for ring in plan.rings if ring.index < 0}
        self.sockets = {name: socket.socket(fileno=fd) for name, fd in plan.sockets.items()}
        self._stopping = self._privileged = False
        self._heartbeat = self.counters.gauge("appliance_stage_heartbeat_monotonic_seconds")
        self._ready = self.counters.gauge("appliance_stage_ready")
        self._heartbeat.set(clock.monotonic_ns())
        self.counters.gauge("appliance_stage_pid").set(os.getpid())

    @property
    def stream(self) -> StreamConfig | None:
        """The stream that the second word of the name says, if this stage belongs to one."""
        words = self.name.split(".")
        return next((stream for stream in self.config.streams if len(words) > 1 and stream.name == words[1]), None)

    def running(self) -> bool:
        """Beats the heartbeat; False once the stage was told to stop. Call at least twice a second."""
        self.beat()
        return not self._stopping

    @property
    def stopping(self) -> bool:
        """Whether the stage was told to stop."""
        return self._stopping

    def beat(self) -> None:
        """Shows that the stage is alive. A stage that calls this and not running() has threads, and looks after them first."""
        self._heartbeat.set(clock.monotonic_ns())

    def ready(self) -> None:
        """Tells the supervisor that the stage works, and gives up the privilege that starting took."""
        if self._privileged:
            capabilities.keep_only()
            self._privileged = False
        self._ready.set(1)

    def stop(self, *_: object) -> None:
        """Ends running(); also the signal handler."""
        self._stopping = True

    async def until_stopped(self) -> None:
        """For stages with an event loop: beats the heartbeat until SIGTERM or SIGINT."""
        import asyncio  # 40 ms that a restarted stage without an event loop saves its viewers

        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        while self.running() and not stopped.is_set():
            try:
                await asyncio.wait_for(stopped.wait(), HEARTBEAT_INTERVAL_S)
            except TimeoutError:
                continue
        self.stop()


def _end_with(supervisor_pid: int) -> None:
    """A stage dies with its supervisor, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if supervisor_pid and os.getppid() != supervisor_pid:
        sys.exit(1)  # it died before the line above took effect


def _allow_descriptors() -> None:
    """A viewer is a connection here and sockets there: the usual soft limit of 1024 is met by a few hundred."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def open_stage(name: str) -> Stage:
    """The stage whose plan the supervisor left in the descriptor that the environment names."""
    number = os.environ.get(PLAN_VARIABLE)
    if number is None:
        raise SystemExit(f"stage {name} is started by 'appliance run', not by hand")
    with open(int(number), "rb") as file:
        plan: StagePlan = pickle.load(file)  # written by our own parent into memory that only it and we hold
    _end_with(plan.supervisor_pid)
    _allow_descriptors()
    privileges = _PRIVILEGES.get(name.split(".")[0], ())
    capabilities.keep_only(*privileges)
    if plan.name != name:
        raise SystemExit(f"stage {name} was given the plan of {plan.name}")
    stage = Stage(plan)
    stage._privileged = bool(privileges)
    signal.signal(signal.SIGTERM, stage.stop)
    signal.signal(signal.SIGINT, stage.stop)
    return stage
