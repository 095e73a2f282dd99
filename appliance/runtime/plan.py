"""What a stage's process is given, and how it learns of changes: plans, each with its new descriptors, over one Unix socket.

The supervisor sends the first before the process reads, and another whenever the appliance changes under a shared stage. Invariant: a plan is
the whole present state, never a difference; only descriptors that the process has already are not sent again.
"""
import array
import os
import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from appliance.config import Config
from appliance.protocol.sdp import AudioFlow, MetadataFlow, VideoFlow
from appliance.runtime.counters import Series

DESCRIPTORS_PER_MESSAGE_MAX = 200  # Source: SCM_MAX_FD in include/net/scm.h is 253
_PLAN = -1  # stands for the plan's own memory among the numbers of a message; it is the last
_NUMBERS = "i"


@dataclass(frozen=True)
class Flows:
    """What the SDP files of one stream describe."""

    video: VideoFlow
    metadata: tuple[MetadataFlow, ...] = ()  # the first describes the picture
    audio: AudioFlow | None = None


@dataclass(frozen=True)
class RingEnd:
    """One end of a ring in a stage's plan. `doorbells` are all readers' (writer) or its own (reader)."""

    name: str
    fd: int
    format: bytes
    doorbells: tuple[int, ...]
    index: int = -1  # reader's place; -1 for the writer
    generation: int = 1


@dataclass(frozen=True)
class SegmentEnd:
    """A segment of counters in a stage's plan."""

    name: str
    fd: int
    series: tuple[Series, ...]
    generation: int = 1


@dataclass(frozen=True)
class StagePlan:
    """Everything that a stage's process is given."""

    name: str
    config: Config
    flows: dict[str, Flows]
    rings: tuple[RingEnd, ...]
    segments: tuple[SegmentEnd, ...]
    sockets: dict[str, int] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)
    supervisor_pid: int = 0
    secret: bytes = b""  # the same for all stages, another at each start of the appliance: what audiences' clocks are moved by depends on it
    waiting: dict[str, str] = field(default_factory=dict)  # streams that cannot begin yet, and why
    remarks: tuple[str, ...] = ()  # what a person should know of the configuration although all that runs is well

    def descriptors(self) -> set[int]:
        """The file descriptors that it names."""
        rings = {fd for ring in self.rings for fd in (ring.fd, *ring.doorbells)}
        return rings | {segment.fd for segment in self.segments} | set(self.sockets.values())

    def with_descriptors(self, known: Mapping[int, int]) -> "StagePlan":
        """The same plan with another process's number for each descriptor."""
        return replace(
            self,
            rings=tuple(replace(ring, fd=known[ring.fd], doorbells=tuple(known[doorbell] for doorbell in ring.doorbells)) for ring in self.rings),
            segments=tuple(replace(segment, fd=known[segment.fd]) for segment in self.segments),
            sockets={kind: known[number] for kind, number in self.sockets.items()})


class PlanSender:
    """The supervisor's end. `theirs` is the descriptor that the process inherits; close_theirs() once it has."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._ours.setblocking(False)
        self.theirs = theirs.detach()
        self._sent: set[int] = set()

    def close_theirs(self) -> None:
        """Leaves the other end to the process."""
        os.close(self.theirs)
        self.theirs = -1

    def send(self, plan: StagePlan) -> None:
        """Sends a plan without waiting. OSError if the process does not read its plans, or is gone: it has to be started anew."""
        fresh = sorted(plan.descriptors() - self._sent)
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            with open(memory, "wb", closefd=False) as file:
                file.write(pickle.dumps(plan))
            pairs = [*((number, number) for number in fresh), (_PLAN, memory)]
            for first in range(0, len(pairs), DESCRIPTORS_PER_MESSAGE_MAX):
                part = pairs[first:first + DESCRIPTORS_PER_MESSAGE_MAX]
                names = array.array(_NUMBERS, [name for name, _ in part])
                socket.send_fds(self._ours, [names.tobytes()], [number for _, number in part])
        finally:
            os.close(memory)
        self._sent.update(fresh)

    def forget(self, closed: set[int]) -> None:
        """These descriptors are closed here: their numbers may come to mean others."""
        self._sent -= closed

    def close(self) -> None:
        """Ends the connection."""
        self._ours.close()
        if self.theirs >= 0:
            self.close_theirs()


class PlanReceiver:
    """The process's end."""

    def __init__(self, fd: int) -> None:
        self._channel = socket.socket(fileno=fd)
        os.set_inheritable(fd, False)
        self._known: dict[int, int] = {}  # the supervisor's number of a descriptor -> ours
        self._old: set[int] = set()

    def fileno(self) -> int:
        """Readable when a plan is there."""
        return self._channel.fileno()

    def receive(self) -> StagePlan:
        """The next plan, with our own descriptors. Waits for it; EOFError if the supervisor is gone."""
        while True:
            octets, ancillary, _, _ = self._channel.recvmsg(
                DESCRIPTORS_PER_MESSAGE_MAX * 4, socket.CMSG_LEN(DESCRIPTORS_PER_MESSAGE_MAX * 4), socket.MSG_CMSG_CLOEXEC)
            if not octets:
                raise EOFError("the supervisor is gone")
            names, numbers = array.array(_NUMBERS, octets), array.array(_NUMBERS)
            for _, _, content in ancillary:
                numbers.frombytes(content)
            # Safety: what follows is written by our own parent over a socket that only it and we hold.
            assert len(names) == len(numbers), "descriptors of a plan were lost: the limit of open files is too low"
            for name, number in zip(names, numbers):
                if name == _PLAN:
                    with os.fdopen(number, "rb") as file:
                        file.seek(0)
                        plan: StagePlan = pickle.load(file)
                    return self._localise(plan)
                if name in self._known:
                    self._old.add(self._known[name])
                self._known[name] = number

    def _localise(self, plan: StagePlan) -> StagePlan:
        named = plan.descriptors()
        for gone in self._known.keys() - named:
            self._old.add(self._known.pop(gone))
        return plan.with_descriptors(self._known)

    def settle(self) -> None:
        """Closes the descriptors that the last plan no longer names. Call when nothing uses them any more."""
        for number in self._old:
            os.close(number)
        self._old.clear()
