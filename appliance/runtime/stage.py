"""The contract between the supervisor and a stage's process: what it is given, its heartbeat, its orderly end.

The supervisor describes a stage in a StagePlan; Stage opens what the plan names. A stage that is shared by streams gets another plan when
they change, and follows it; a stream's own stages are started anew instead.
"""
import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable

from appliance import clock
from appliance.config import StreamConfig
from appliance.frame import Audience
from appliance.runtime import capabilities
from appliance.runtime.counters import Counters, Segment, Segments
from appliance.runtime.plan import Flows, PlanReceiver, RingEnd, StagePlan
from appliance.runtime.ring import RingReader, RingWriter

__all__ = ["HEARTBEAT_INTERVAL_S", "PLAN_VARIABLE", "Flows", "RingEnd", "Stage", "StagePlan", "allow_descriptors", "open_stage"]

PLAN_VARIABLE = "APPLIANCE_STAGE_PLAN_FD"
HEARTBEAT_INTERVAL_S = 0.25
REALTIME_PRIORITY = 1  # the least there is; LimitRTPRIO= in systemd/appliance.service
# Privileges while a stage starts: for a receive buffer above net.core.rmem_max, for a packet ring, for a thread in real time. No other stage needs one,
# and none once it works.
_PRIVILEGES = {"ingest": (capabilities.NET_ADMIN, capabilities.NET_RAW), "metadata": (capabilities.NET_ADMIN,), "sound": (capabilities.NET_ADMIN,),
               "fanout": (capabilities.SYS_NICE,)}
_PR_SET_PDEATHSIG = 1


class Stage:
    """A stage as its own process sees it."""

    def __init__(self, plan: StagePlan, receiver: PlanReceiver | None = None) -> None:
        self.name, self.peers = plan.name, plan.peers
        self.log = logging.getLogger(plan.name)
        self.counters = Counters(Segments(), plan.name)
        self.flows: dict[str, Flows] = {}  # by stream; follows the plan, as all below does
        self.places: dict[str, list[RingReader]] = {}  # every place that the stage has among a ring's readers
        self.readers: dict[str, RingReader] = {}  # the first of them
        self.writers: dict[str, RingWriter] = {}
        self.sockets = {name: socket.socket(fileno=fd) for name, fd in plan.sockets.items()}
        self._secret = plan.secret
        self._receiver, self._followers = receiver, []
        self._joined: dict[str, int] = {}  # generation of each ring and segment that is open
        self._open(plan)
        self._stopping = self._privileged = False
        self._heartbeat = self.counters.gauge("appliance_stage_heartbeat_monotonic_seconds")
        self._ready = self.counters.gauge("appliance_stage_ready")
        self._heartbeat.set(clock.monotonic_ns())
        self.counters.gauge("appliance_stage_pid").set(os.getpid())

    def _open(self, plan: StagePlan) -> None:
        """Opens what the plan names and is not open yet; lets go of what it names no more."""
        self.config, self.waiting, self.remarks = plan.config, plan.waiting, plan.remarks
        self.flows.clear()
        self.flows.update(plan.flows)
        named = {end.name: end.generation for end in (*plan.rings, *plan.segments)}
        for name in [name for name, generation in self._joined.items() if named.get(name) != generation]:
            if name in self.places or name in self.writers:
                for ends in (self.places, self.readers, self.writers):
                    ends.pop(name, None)
            else:
                self.counters.segment.drop(name)
            del self._joined[name]
        for segment in plan.segments:
            if segment.name not in self._joined:
                self.counters.segment.put(segment.name, Segment(segment.fd, segment.series))
        for ring in (ring for ring in plan.rings if ring.name not in self._joined):
            if ring.index < 0:
                self.writers[ring.name] = RingWriter(ring.fd, list(ring.doorbells), ring.format)
            else:
                self.places.setdefault(ring.name, []).append(RingReader(ring.fd, ring.index, ring.doorbells[0], ring.format))
                self.readers[ring.name] = self.places[ring.name][0]
        self._joined = named

    def on_change(self, follow: Callable[[], None]) -> None:
        """Has `follow` called after each later plan. What it used and the plan names no more, it must have let go of when it returns."""
        self._followers.append(follow)

    def take_plan(self) -> None:
        """Follows the plan that is waiting; stages with an event loop do so by themselves. One that cannot ends: its successor begins with the plan."""
        try:
            self._open(self._receiver.receive())
            for follow in self._followers:
                follow()
            self._receiver.settle()
        except Exception:
            self.log.exception("the streams changed in a way that this stage cannot follow; it is started anew")
            self.stop()

    @property
    def stream(self) -> StreamConfig | None:
        """The stream that the second word of the name says, if this stage belongs to one."""
        words = self.name.split(".")
        return next((stream for stream in self.config.streams if len(words) > 1 and stream.name == words[1]), None)

    def clock_of(self, stream: str, audience: Audience) -> clock.AudienceClock:
        """The clock of every time that leaves for an audience of a stream: ours for experts, a secret one for a class."""
        return clock.AudienceClock() if audience is Audience.EXPERT else clock.AudienceClock.secret(self._secret, stream)

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

    def run_in_real_time(self) -> None:
        """Puts the calling thread, which works for some milliseconds at a time, before all that is not in real time, where this user may; it has no
        privilege afterwards. Call it before ready()."""
        with contextlib.suppress(PermissionError):  # a user's trial run goes without
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
        capabilities.keep_only()

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
        """For stages with an event loop: follows plans and beats the heartbeat until SIGTERM or SIGINT."""
        import asyncio  # 40 ms that a restarted stage without an event loop saves its viewers

        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        if self._receiver is not None:
            loop.add_reader(self._receiver.fileno(), self.take_plan)
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


def allow_descriptors() -> None:
    """A viewer is a connection here and sockets there, a stream dozens of rings: the usual soft limit of 1024 is met by a few hundred."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def open_stage(name: str) -> Stage:
    """The stage whose plans the supervisor sends to the descriptor that the environment names."""
    number = os.environ.get(PLAN_VARIABLE)
    if number is None:
        raise SystemExit(f"stage {name} is started by 'appliance run', not by hand")
    allow_descriptors()
    receiver = PlanReceiver(int(number))
    plan = receiver.receive()
    _end_with(plan.supervisor_pid)
    privileges = _PRIVILEGES.get(name.split(".")[0], ())
    capabilities.keep_only(*privileges)
    if plan.name != name:
        raise SystemExit(f"stage {name} was given the plan of {plan.name}")
    stage = Stage(plan, receiver)
    stage._privileged = bool(privileges)
    signal.signal(signal.SIGTERM, stage.stop)
    signal.signal(signal.SIGINT, stage.stop)
    return stage
