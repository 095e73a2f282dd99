"""What the stages share, made and owned by the supervisor: rings, doorbells, counters and listening sockets.

Everything is a file descriptor that plans carry (no names in /dev/shm); only the fan-out workers' Unix sockets have a path, in a private
folder. follow() brings it to another topology: what both have stays as it is, with all that it holds.
"""
import errno
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.config import Config
from appliance.errors import ConfigurationError
from appliance.runtime.counters import Segment, Segments
from appliance.runtime.plan import RingEnd, SegmentEnd, StagePlan
from appliance.runtime.ring import Ring
from appliance.topology import RingSpec, SegmentSpec, StageSpec, Topology

MEMORY_RESERVE_BYTES = 64 << 20
HTTPS_BACKLOG = 256
SECRET_BYTES = 32
_FOLDER_PREFIX = "appliance-run-"


@dataclass(frozen=True)
class _OwnedRing:
    spec: RingSpec
    ring: Ring
    doorbells: tuple[int, ...]
    generation: int

    def close(self) -> set[int]:
        """Lets go of it; returns the descriptors that were closed. The memory lives on in whoever has it mapped."""
        closed = {self.ring.fd, *self.doorbells}
        self.ring.close()
        for doorbell in self.doorbells:
            os.close(doorbell)
        return closed


@dataclass(frozen=True)
class _OwnedSegment:
    spec: SegmentSpec
    segment: Segment
    generation: int

    def close(self) -> set[int]:
        """As of a ring."""
        os.close(self.segment.fd)
        return {self.segment.fd}


class Resources:
    """All shared things of the present topology."""

    def __init__(self, config: Config, topology: Topology) -> None:
        self._rings: dict[str, _OwnedRing] = {}
        self._segments: dict[str, _OwnedSegment] = {}
        self._generations: dict[str, int] = {}  # of every ring and segment that there ever was
        self._sockets: dict[str, dict[str, socket.socket]] = {}
        self._peers: dict[str, str] = {}
        self._secret = secrets.token_bytes(SECRET_BYTES)
        _remove_stale_folders()
        self._folder, self._lock = _make_folder()
        self.counters = Segments()
        try:
            for stage in topology.stages:
                self._sockets[stage.name] = {kind: self._listen(stage.name, kind, config) for kind in stage.sockets}
            check_memory(topology)
            self.follow(topology)
        except BaseException:
            self.close()
            raise

    def follow(self, topology: Topology) -> set[int]:
        """Makes what the topology has more, drops what it has no more; returns the descriptors that were closed.

        No stage may run that topology.changed_stages() names. ConfigurationError without memory: then what is there fits neither topology.
        """
        wanted = {ring.name: ring for ring in topology.rings}
        closed: set[int] = set()
        for name, owned in list(self._rings.items()):
            if wanted.get(name) != owned.spec:
                closed |= self._rings.pop(name).close()
        for spec in topology.rings:
            if spec.name not in self._rings:
                generation = self._next_generation(spec.name)
                doorbells = tuple(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in spec.readers)
                self._rings[spec.name] = _OwnedRing(spec, _make_ring(spec, generation), doorbells, generation)
        return closed | self._follow_counters(topology.segments)

    def _follow_counters(self, wanted: Iterable[SegmentSpec]) -> set[int]:
        specs = {spec.name: spec for spec in wanted}
        closed: set[int] = set()
        for name in self._segments.keys() - specs:
            closed |= self._segments.pop(name).close()
            self.counters.drop(name)
        for spec in specs.values():
            old = self._segments.get(spec.name)
            if old is not None and old.spec == spec:
                continue
            segment = Segment.create(spec.series)
            if old is not None:
                segment.carry_over(old.segment)
                closed |= old.close()
            self._segments[spec.name] = _OwnedSegment(spec, segment, self._next_generation(spec.name))
            self.counters.put(spec.name, segment)
        return closed

    def _next_generation(self, name: str) -> int:
        self._generations[name] = self._generations.get(name, 0) + 1
        return self._generations[name]

    def _listen(self, stage: str, kind: str, config: Config) -> socket.socket:
        if kind == "control":
            path = os.path.join(self._folder, f"{stage}.sock")
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen()
            self._peers[stage] = path
            return listener
        if kind == "handover":  # for what a worker finds on the shared media port and is another's
            path = os.path.join(self._folder, f"{stage}.media.sock")
            inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            inbox.bind(path)
            os.chmod(path, 0o600)
            self._peers[f"handover.{stage.removeprefix('fanout.')}"] = path
            return inbox
        server = config.server
        host, port, key = ((server.listen_host, server.listen_port, "listen") if kind == "https"
                           else (server.metrics_host, server.metrics_port, "metrics"))
        return listen_tcp(host, port, f"[server] {key}")

    def plan_of(self, spec: StageSpec, config: Config, topology: Topology, waiting: dict[str, str] | None = None,
                remarks: tuple[str, ...] = ()) -> StagePlan:
        """What one stage's process is given now."""
        ends = []
        for owned in self._rings.values():
            ring = owned.spec
            if ring.writer == spec.name:
                ends.append(RingEnd(ring.name, owned.ring.fd, ring.format, owned.doorbells, generation=owned.generation))
            ends += [RingEnd(ring.name, owned.ring.fd, ring.format, (owned.doorbells[place],), place, owned.generation)
                     for place in places_of(spec.name, ring)]
        segments = tuple(SegmentEnd(owned.spec.name, owned.segment.fd, owned.spec.series, owned.generation)
                         for owned in self._segments.values() if _reads(spec, owned.spec))
        return StagePlan(
            name=spec.name, config=config, flows=topology.flows, rings=tuple(ends), segments=segments,
            sockets={kind: listener.fileno() for kind, listener in self._sockets.get(spec.name, {}).items()},
            peers=self._peers, supervisor_pid=os.getpid(), secret=self._secret, waiting=waiting or {}, remarks=remarks)

    def evict(self, stage: str) -> None:
        """Gives back every lease of a stage whose process has been reaped."""
        for owned in self._rings.values():
            for place in places_of(stage, owned.spec):
                owned.ring.evict(place)

    def check_room(self, topology: Topology) -> None:
        """ConfigurationError if what follow() would make does not fit into the memory that is left, and what it gives back."""
        wanted = {ring.name: ring for ring in topology.rings}
        kept = {name for name, owned in self._rings.items() if wanted.get(name) == owned.spec}
        freed = sum(owned.spec.total_bytes for name, owned in self._rings.items() if name not in kept)
        check_memory(topology, kept, freed)

    def close(self) -> None:
        """Lets go of everything; memory returns when the last stage has ended."""
        for owned in (*self._rings.values(), *self._segments.values()):
            owned.close()
        for listeners in self._sockets.values():
            for listener in listeners.values():
                listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


def _reads(spec: StageSpec, segment: SegmentSpec) -> bool:
    return spec.reads_all or segment.stage == spec.name or bool(spec.stream) and segment.stream == spec.stream


def _make_folder() -> tuple[str, int]:
    """A private folder, and the descriptor whose lock tells that its owner lives."""
    while True:
        folder = tempfile.mkdtemp(prefix=_FOLDER_PREFIX)
        with suppress(FileNotFoundError):  # another supervisor that starts just now took it for a dead one's
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.isdir(folder):
                return folder, lock
            os.close(lock)


def _remove_stale_folders() -> None:
    """Removes what a supervisor left that was killed: folders of this user that nobody holds the lock of."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # its own supervisor removed it just now, or it is somebody else's
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def places_of(stage: str, ring: RingSpec) -> list[int]:
    """The places that a stage has among a ring's readers."""
    return [place for place, reader in enumerate(ring.readers) if reader == stage]


def listen_tcp(host: str, port: int, where: str) -> socket.socket:
    """A listening TCP socket. ConfigurationError if the address is not ours or the port is in use."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(where, "an address of this machine", f"{host} ({error})", "Name an address that 'ip address' shows.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(HTTPS_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            remedy = f"Stop the other program ('ss -ltnp sport = :{port}' names it) or choose another port."
            raise ConfigurationError(where, "a free port", f"{host}:{port}, which is in use", remedy) from error
        raise ConfigurationError(where, "an address and port that this user may open", f"{host}:{port} ({error.strerror})",
                                 "Name an address that 'ip address' shows, and a port above 1023.") from error
    return listener


def check_memory(topology: Topology, kept: Iterable[str] = (), freed_bytes: int = 0) -> None:
    """ConfigurationError if the rings, but those that are `kept`, do not fit into the memory that is left, before a byte of it is taken."""
    needed = sum(ring.total_bytes for ring in topology.rings if ring.name not in kept)
    left = available_bytes() + freed_bytes
    if needed + MEMORY_RESERVE_BYTES > left:
        raise ConfigurationError(
            "memory", f"{(needed + MEMORY_RESERVE_BYTES) >> 20} MiB for the rings of {len(topology.flows)} stream(s)", f"{left >> 20} MiB left",
            "Give the service more memory (MemoryMax= in the unit), fewer streams, or fewer [server] fanout_workers.")


def available_bytes() -> int:
    """Memory that this process may still take: the machine's, or what its control groups leave."""
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":") for line in file)
    left = [int(fields["MemAvailable"].split()[0]) << 10]
    with open("/proc/self/cgroup") as file:
        paths = [line.strip().split(":", 2)[2] for line in file if line.startswith("0::")]
    path = "/sys/fs/cgroup" + (paths[0] if paths else "")
    while path.startswith("/sys/fs/cgroup"):
        try:
            with open(f"{path}/memory.max") as limit, open(f"{path}/memory.current") as used:
                maximum = limit.read().strip()
                if maximum != "max":
                    left.append(int(maximum) - int(used.read()))
        except OSError:
            pass  # the root group has no such files, and without cgroup v2 there are none at all
        path = os.path.dirname(path)
    return max(0, min(left))


def _make_ring(spec: RingSpec, generation: int) -> Ring:
    try:
        return Ring.create(spec.name, spec.slots, spec.slot_bytes, spec.policy, spec.format, generation)
    except OSError as error:
        raise ConfigurationError(f"ring {spec.name}", f"{spec.total_bytes >> 20} MiB of shared memory", error.strerror or str(error),
                                 "Give the service more memory, or remove limits on shared memory (RLIMIT, MemoryMax=).") from error
