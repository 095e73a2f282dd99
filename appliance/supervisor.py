"""Starts the stages, watches and restarts them, brings them to a changed configuration, and speaks to systemd. Called by `appliance run`.

Invariant: a ring's dead reader is evicted, and a ring replaced, only after the processes that had it have been reaped. It touches no frame itself.
"""
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from appliance import clock
from appliance.errors import ApplianceError, ConfigurationError
from appliance.resources import Resources
from appliance.runtime.counters import Cell
from appliance.runtime.notify import Notifier
from appliance.runtime.plan import PlanSender, StagePlan
from appliance.runtime.stage import PLAN_VARIABLE, allow_descriptors
from appliance.topology import StageSpec, Topology, changed_stages, lay_out
from appliance.wanted import Refused, Verify, Wanted, Watch

TICK_S = 0.1
START_LIMIT_S = 60.0       # from exec to the first sign of readiness; on a machine loaded ten times over, importing alone took more than 20 s
HEARTBEAT_LIMIT_S = 5.0    # a stage that is silent for longer hangs
STOP_LIMIT_S = 2.0         # from SIGTERM to SIGKILL; the whole ends within 3 s
RESTARTS_MAX = 10          # of one stage within RESTART_WINDOW_S; more, and it is parked, or the supervisor gives up
RESTART_WINDOW_S = 60.0
NICENESS = -5              # Nice= in systemd/appliance.service
PARKED_S = 10.0            # between tries of a parked stage
RESTART_DELAYS_S = (0.0, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0)

log = logging.getLogger("supervisor")


@dataclass
class Child:
    """A stage, its process and its cells."""

    spec: StageSpec
    heartbeat: Cell
    ready: Cell
    restarts: Cell
    process: subprocess.Popen | None = None
    plans: PlanSender | None = None
    pidfd: int = -1
    killed: bool = False     # for its silence; its end is yet to come
    ending_by_s: float = 0.0  # told to end, by then; 0 if it was not
    started_s: float = 0.0
    start_at_s: float = 0.0  # when to start it, if it has no process
    ended_s: deque = field(default_factory=lambda: deque(maxlen=RESTARTS_MAX + 1))


class GaveUp(ApplianceError):
    """A stage failed too often; systemd may restart the whole."""


def _go_first() -> None:
    """Puts the appliance before other programs, as its unit does, where this user may; the stages inherit it."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, min(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    except PermissionError:
        return  # a user's trial run goes without


class Supervisor:
    """Runs what is wanted until SIGTERM or SIGINT."""

    def __init__(self, wanted: Wanted, topology: Topology, resources: Resources, verify: Verify) -> None:
        self.wanted, self.topology, self.resources = wanted, topology, resources
        self.children = {spec.name: self._child(spec) for spec in topology.stages}
        self._notifier = Notifier()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch = Watch(wanted, verify, self._wake)
        self._next: tuple[Wanted, Topology] | None = None  # to be brought about as soon as the stages that it changes have ended
        self._refused: tuple[str, ...] = ()  # why the last configuration was not followed
        self._no_room: dict[str, str] = {}  # streams for which there is no memory
        self._on_terminal = sys.stderr.isatty()
        self._stopping = self._announced = self._reload_asked = False
        self._watchdog_at_s = 0.0
        self._count_change(topology)

    def run(self) -> None:
        """Blocks until told to stop. GaveUp if a stage cannot be kept alive."""
        _go_first()
        allow_descriptors()
        signal.set_wakeup_fd(self._wake_write)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hangup)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._watch.start()
        try:
            while not self._stopping:
                self._start_due()
                for key, _ in self._selector.select(TICK_S):
                    if key.data is None:
                        os.read(self._wake_read, 512)
                    else:
                        self._on_exit(key.data)
                self._hear_of_changes()
                self._change()
                self._check_life()
                self._tell_systemd()
        finally:
            self._notifier.send(STOPPING=1)
            self._stop_all()

    def _wake(self) -> None:
        """Ends the sleep of run(). Any thread."""
        try:
            os.write(self._wake_write, b"w")
        except BlockingIOError:
            return  # it is awake

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _on_hangup(self, *_: object) -> None:
        """SIGHUP: read the configuration again; or, where it ran on a terminal that is gone, end."""
        if self._on_terminal and not sys.stderr.isatty():
            self._stopping = True
        self._reload_asked = True

    def _child(self, spec: StageSpec) -> Child:
        find = self.resources.counters.find
        return Child(spec, find(spec.name, "appliance_stage_heartbeat_monotonic_seconds"), find(spec.name, "appliance_stage_ready"),
                     find("supervisor", "appliance_supervisor_restarts_total", stage=spec.name))

    # Changes.

    def _hear_of_changes(self) -> None:
        if self._reload_asked:
            self._reload_asked = False
            self._notifier.send(RELOADING=1, MONOTONIC_USEC=clock.monotonic_ns() // 1000)
            self._watch.reload()
        for found in self._watch.take():
            if isinstance(found, Refused):
                self._refused = found.problems
                self.resources.counters.find("supervisor", "appliance_supervisor_configuration_refused").set(1)
                log.error("the configuration is not followed, everything goes on as it was; %d to mend:", len(found.problems))
                for problem in found.problems:
                    log.error("  %s", problem)
                self._tell_stages()
            else:
                self._aim(found)
            self._announced = False  # READY=1 once more: the reload is over

    def _aim(self, wanted: Wanted) -> None:
        """Makes this the next topology. Streams for which there is no memory wait; the others do not."""
        self._no_room = {}
        flows = dict(wanted.flows)
        topology = lay_out(wanted.config, flows)
        for stream in reversed(wanted.config.streams):
            try:
                self.resources.check_room(topology)
                break
            except ConfigurationError as error:
                if flows.get(stream.name) != self.topology.flows.get(stream.name):
                    self._no_room[stream.name] = str(error)
                    del flows[stream.name]
                    topology = lay_out(wanted.config, flows)
        self._refused = ()
        self._next = wanted, topology

    def _change(self) -> None:
        """Ends the stages that the next topology changes; when the last of them is gone, everything else follows at once."""
        if self._next is None:
            return
        wanted, topology = self._next
        changed = changed_stages(self.topology, topology)
        for child in (self.children[name] for name in changed if not self.children[name].ending_by_s):
            child.ending_by_s = time.monotonic() + STOP_LIMIT_S
            if child.process:
                child.process.terminate()
        ending = [child for child in self.children.values() if child.ending_by_s and child.process]
        if ending:
            return
        self._next = None
        closed = self._follow(wanted, topology)
        if closed is None:
            return
        before, self.wanted, self.topology = self.topology, wanted, topology
        kept = {name: child for name, child in self.children.items() if name not in changed}
        # In the order of the table: downstream first, so that nobody publishes into the void.
        self.children = {spec.name: kept.get(spec.name) or self._child(spec) for spec in topology.stages}
        for spec in topology.stages:
            child = self.children[spec.name]
            child.spec, child.ending_by_s = spec, 0.0
            if child.plans is not None:
                child.plans.forget(closed)
        self._count_change(before)
        self._tell_stages()
        self._log_change(before, changed)

    def _follow(self, wanted: Wanted, topology: Topology) -> set[int] | None:
        """The descriptors that were closed; None if there was no memory after all: then the streams that changed wait, and this is tried without them."""
        try:
            return self.resources.follow(topology)
        except ConfigurationError as error:
            flows = {name: flows for name, flows in topology.flows.items() if flows == self.topology.flows.get(name)}
            if len(flows) == len(topology.flows):
                raise
            self._no_room |= {name: str(error) for name in topology.flows.keys() - flows}
            self._next = wanted, lay_out(wanted.config, flows)
            return None

    def _count_change(self, before: Topology) -> None:
        find, waiting = self.resources.counters.find, self.wanted.waiting | self._no_room
        find("supervisor", "appliance_supervisor_configuration_refused").set(0)
        for stream in self.wanted.config.streams:
            find("supervisor", "appliance_stream_waiting", stream=stream.name).set(int(stream.name in waiting))
            if stream.name in before.flows and before.flows[stream.name] != self.topology.flows.get(stream.name):
                find("supervisor", "appliance_stream_changes_total", stream=stream.name).add()

    def _log_change(self, before: Topology, ended: set[str]) -> None:
        flows = self.topology.flows
        for name in before.flows.keys() - flows:
            log.info("stream %s ended", name)
        for name, found in flows.items():
            if name not in before.flows:
                log.info("stream %s begins: %s from %s:%d", name, found.video.format, found.video.group, found.video.port)
        restarted = sorted(ended & self.children.keys())
        if restarted:
            log.info("changed, and started anew: %s", ", ".join(restarted))
        for name, reason in self._no_room.items():
            log.error("stream %s waits: %s", name, reason)

    def _tell_stages(self) -> None:
        """Gives every shared stage the present state."""
        for child in self.children.values():
            if child.process and not child.spec.stream:
                self._send_plan(child)

    def _send_plan(self, child: Child) -> None:
        try:
            child.plans.send(self._plan_of(child.spec))
        except OSError as error:
            log.error("stage %s does not take its plan (%s): killed, its successor begins with it", child.spec.name, error)
            child.process.kill()

    def _plan_of(self, spec: StageSpec) -> StagePlan:
        refused = (f"the configuration file is not followed: {problem}" for problem in self._refused)
        return self.resources.plan_of(spec, self.wanted.config, self.topology, self.wanted.waiting | self._no_room, (*refused, *self.wanted.remarks))

    # Processes.

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            # One that is to change anyway waits for that.
            if child.process is None and child.start_at_s <= now and not child.ending_by_s:
                self._start(child)

    def _start(self, child: Child) -> None:
        child.plans = PlanSender()
        child.process = subprocess.Popen(
            [sys.executable, "-m", "appliance", "stage", child.spec.name],
            # No stage multiplies matrices: NumPy's threads would only idle, holding memory and what the stage gives up for itself.
            env=os.environ | {PLAN_VARIABLE: str(child.plans.theirs), "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[child.plans.theirs],
            stdin=subprocess.DEVNULL,
            # A Ctrl-C at the terminal reaches the supervisor alone, which then ends the stages in order.
            process_group=0,
        )
        child.plans.close_theirs()
        child.started_s, child.killed = time.monotonic(), False
        child.pidfd = os.pidfd_open(child.process.pid)
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)
        self._send_plan(child)

    def _on_exit(self, child: Child) -> None:
        status = self._reap(child)
        if child.ending_by_s:
            return  # as it was told
        now = time.monotonic()
        child.ended_s.append(now)
        recent = sum(now - ended < RESTART_WINDOW_S for ended in child.ended_s)
        child.restarts.add()
        if recent <= RESTARTS_MAX:
            child.start_at_s = now + RESTART_DELAYS_S[min(recent, len(RESTART_DELAYS_S)) - 1]
            log.warning("stage %s ended (%s) and is started again (restart %d of at most %d in %.0f s)", child.spec.name, status, recent, RESTARTS_MAX, RESTART_WINDOW_S)
            return
        reason = f"stage {child.spec.name} ended {recent} times within {RESTART_WINDOW_S:.0f} s (last: {status}); its log lines above say why"
        if not child.spec.stream and not child.spec.apart:
            raise GaveUp(reason)
        # The other theatres go on; /healthz and the alerts name this one.
        child.start_at_s = now + PARKED_S
        lost = f"stream {child.spec.stream} stands still" if child.spec.stream else "the picture goes on without it"
        log.error("%s; %s, next try in %.0f s", reason, lost, PARKED_S)

    def _reap(self, child: Child) -> str:
        """Collects the ended process and gives back what it held."""
        code = child.process.wait()
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        child.plans.close()
        child.process, child.pidfd, child.plans = None, -1, None
        self.resources.evict(child.spec.name)
        self.resources.counters.clear_gauges(child.spec.name)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _check_life(self) -> None:
        now, now_ns = time.monotonic(), clock.monotonic_ns()
        for child in self.children.values():
            if child.process is None:
                continue
            name = child.spec.name
            if child.ending_by_s and now > child.ending_by_s and not child.killed:
                log.error("stage %s did not end within %.0f s: killed", name, STOP_LIMIT_S)
                child.process.kill()
                child.killed = True
            silent_s = (now_ns - child.heartbeat.value) / 1e9 if child.heartbeat.value else now - child.started_s
            limit_s = HEARTBEAT_LIMIT_S if child.ready.value else START_LIMIT_S
            if silent_s > limit_s and not child.killed:
                log.error("stage %s gave no sign of life for %.1f s: killed", name, silent_s)
                child.process.kill()
                child.killed = True

    def _tell_systemd(self) -> None:
        now = time.monotonic()
        waiting = [name for name, child in self.children.items() if not child.ready.value and not child.spec.apart]
        if not waiting and not self._announced and self._next is None:
            self._announced = True
            self._notifier.send(READY=1, STATUS=f"{len(self.children)} stages run")
            log.info("ready: %d stages run", len(self.children))
        if self._notifier.watchdog_s and now >= self._watchdog_at_s:
            self._watchdog_at_s = now + self._notifier.watchdog_s / 3
            self._notifier.send(WATCHDOG=1, STATUS="waiting for " + ", ".join(waiting) if waiting else f"{len(self.children)} stages run")

    def _stop_all(self) -> None:
        """SIGTERM to every stage, SIGKILL to those that take too long, and nothing is left behind."""
        signal.set_wakeup_fd(-1)
        for child in self.children.values():
            if child.process:
                child.process.terminate()
        deadline = time.monotonic() + STOP_LIMIT_S
        for child in self.children.values():
            if not child.process:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("stage %s did not end within %.0f s: killed", child.spec.name, STOP_LIMIT_S)
                child.process.kill()
            self._reap(child)
        self.resources.close()
        log.info("stopped")
