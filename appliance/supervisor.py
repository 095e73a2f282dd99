"""Makes the rings, starts the stages, watches and restarts them, and speaks to systemd. Called by `appliance run`.

Invariant: a ring's dead reader is evicted only after its process has been reaped. It touches no frame itself.
"""
import logging
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from appliance import clock
from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.resources import Resources
from appliance.runtime.notify import Notifier
from appliance.runtime.stage import PLAN_VARIABLE
from appliance.topology import StageSpec, Topology

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
    """A stage and its process."""

    spec: StageSpec
    process: subprocess.Popen | None = None
    pidfd: int = -1
    killed: bool = False     # for its silence; its end is yet to come
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
    """Runs a topology until SIGTERM or SIGINT."""

    def __init__(self, config: Config, topology: Topology, resources: Resources) -> None:
        self.config, self.topology, self.resources = config, topology, resources
        self.children = {spec.name: Child(spec) for spec in topology.stages}
        self._notifier = Notifier()
        self._selector = selectors.DefaultSelector()
        self._stopping = self._announced = False
        self._watchdog_at_s = 0.0
        counters = resources.counters
        self._heartbeats = {name: counters.find(name, "appliance_stage_heartbeat_monotonic_seconds") for name in self.children}
        self._ready = {name: counters.find(name, "appliance_stage_ready") for name in self.children}
        self._restarts = {name: counters.find("supervisor", "appliance_supervisor_restarts_total", stage=name) for name in self.children}

    def run(self) -> None:
        """Blocks until told to stop. GaveUp if a stage cannot be kept alive."""
        _go_first()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        self._selector.register(wake_read, selectors.EVENT_READ)
        try:
            while not self._stopping:
                self._start_due()
                for key, _ in self._selector.select(TICK_S):
                    if key.data is None:
                        os.read(wake_read, 512)
                    else:
                        self._on_exit(key.data)
                self._check_life()
                self._tell_systemd()
        finally:
            self._notifier.send(STOPPING=1)
            self._stop_all()

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.process is None and child.start_at_s <= now:
                self._start(child)

    def _start(self, child: Child) -> None:
        plan = self.resources.plan_of(child.spec, self.config, self.topology)
        plan_fd = os.memfd_create("plan", os.MFD_CLOEXEC)
        with os.fdopen(plan_fd, "wb") as file:
            file.write(pickle.dumps(plan))
            file.seek(0)
            child.process = subprocess.Popen(
                [sys.executable, "-m", "appliance", "stage", child.spec.name],
                # No stage multiplies matrices: NumPy's threads would only idle, holding memory and what the stage gives up for itself.
                env=os.environ | {PLAN_VARIABLE: str(plan_fd), "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=sorted(plan.descriptors() | {plan_fd}),
                stdin=subprocess.DEVNULL,
                # A Ctrl-C at the terminal reaches the supervisor alone, which then ends the stages in order.
                process_group=0,
            )
        child.started_s, child.killed = time.monotonic(), False
        child.pidfd = os.pidfd_open(child.process.pid)
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _on_exit(self, child: Child) -> None:
        status = self._reap(child)
        now = time.monotonic()
        child.ended_s.append(now)
        recent = sum(now - ended < RESTART_WINDOW_S for ended in child.ended_s)
        self._restarts[child.spec.name].add()
        if recent <= RESTARTS_MAX:
            child.start_at_s = now + RESTART_DELAYS_S[min(recent, len(RESTART_DELAYS_S)) - 1]
            log.warning("stage %s ended (%s); restart %d within %.0f s", child.spec.name, status, recent, RESTART_WINDOW_S)
            return
        reason = f"stage {child.spec.name} ended {recent} times within {RESTART_WINDOW_S:.0f} s (last: {status}); its log lines above say why"
        if not child.spec.stream:
            raise GaveUp(reason)
        # The other theatres go on; /healthz and the alerts name this one.
        child.start_at_s = now + PARKED_S
        log.error("%s; stream %s stands still, next try in %.0f s", reason, child.spec.stream, PARKED_S)

    def _reap(self, child: Child) -> str:
        """Collects the ended process and gives back what it held."""
        code = child.process.wait()
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        child.process, child.pidfd = None, -1
        self.resources.evict(child.spec.name)
        self.resources.counters.clear_gauges(child.spec.name)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _check_life(self) -> None:
        now, now_ns = time.monotonic(), clock.monotonic_ns()
        for child in self.children.values():
            if child.process is None:
                continue
            name = child.spec.name
            silent_s = (now_ns - self._heartbeats[name].value) / 1e9 if self._heartbeats[name].value else now - child.started_s
            limit_s = HEARTBEAT_LIMIT_S if self._ready[name].value else START_LIMIT_S
            if silent_s > limit_s and not child.killed:
                log.error("stage %s gave no sign of life for %.1f s: killed", name, silent_s)
                child.process.kill()
                child.killed = True

    def _tell_systemd(self) -> None:
        now = time.monotonic()
        waiting = [name for name, cell in self._ready.items() if not cell.value]
        if not waiting and not self._announced:
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
