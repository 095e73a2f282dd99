"""What this machine's clock follows: PTP as ptp4l tells over its Unix socket, and what the kernel knows of its own synchronisation.

The exporter looks once a second, in a thread: an answer may take a moment. It only asks; it never sets a clock.
"""
import ctypes
import errno
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from appliance import clock
from appliance.protocol import ptp

SOCKETS = (Path("/run/ptp4lro"), Path("/run/ptp4l"))
"""Where ptp4l listens: for everybody (linuxptp 4 and later), for root and its group."""
ANSWER_LIMIT_S = 0.25
ANSWER_BYTES_MAX = 1500
ANSWERS_MAX = 64
USUAL_DOMAINS = (127, 0)   # SMPTE ST 2059-2, IEEE 1588
SWEEP_DOMAINS = 8          # others asked a look, until one answers
MISSES_MAX = 2             # looks without an answer through which the last one holds
OFFSET_LOCKED_NS_MAX = 1_000_000
"""A twentieth of a frame. What is measured decides, not the name of a port's state: ptp4l that only listens (free_running) never calls itself a slave."""
_DATA_SETS = (ptp.TIME_STATUS_NP, ptp.DEFAULT_DATA_SET, ptp.TIME_PROPERTIES_DATA_SET, ptp.PORT_PROPERTIES_NP)
_STA_UNSYNC = 0x40  # include/uapi/linux/timex.h


@dataclass(frozen=True)
class PtpState:
    """What ptp4l says. `problem`: why it could not be asked, "" if it answered."""

    problem: str = ""
    domain: int | None = None
    clock: int = 0
    """This clock's own identity."""
    grandmaster: int | None = None
    """None while none is heard."""
    offset_ns: int = 0
    utc_offset_s: int | None = None
    ports: tuple[ptp.Port, ...] = ()

    @property
    def locked(self) -> bool:
        """Whether a grandmaster is followed closely, or this clock is the one that the network follows."""
        return self.grandmaster is not None and abs(self.offset_ns) <= OFFSET_LOCKED_NS_MAX

    @property
    def hardware(self) -> bool:
        """Whether it is the network card's clock that follows, and not yet the machine's."""
        return any(port.hardware for port in self.ports)


@dataclass(frozen=True)
class ClockState:
    """PTP (None: no ptp4l runs here), and the kernel's own word."""

    ptp: PtpState | None = None
    synchronised: bool | None = None
    """Whether something tells the kernel that its time is right; None where it may not be asked."""
    tai_offset_s: int = 0
    """TAI minus UTC that the kernel was told, 0 if nobody did."""

    @property
    def source(self) -> str:
        """One of metrics.CLOCK_SOURCES."""
        if self.follows_ptp:
            return "ptp"
        return "kernel" if self.synchronised else "none"

    @property
    def follows_ptp(self) -> bool:
        """Whether this machine's clock is the grandmaster's: ptp4l sets it itself, or the kernel knows that something (phc2sys) does."""
        return self.ptp is not None and self.ptp.locked and (not self.ptp.hardware or bool(self.synchronised))


@dataclass
class PtpQuestion:
    """Asks the ptp4l of this machine. It answers only who names its domain, so likely ones are asked first and the others in turn."""

    paths: tuple[Path, ...] = SOCKETS
    likely: tuple[int, ...] = USUAL_DOMAINS
    _found: int | None = None
    _last: PtpState | None = None
    _misses: int = 0
    _swept: int = 0
    _sequence: int = 0
    _socket: socket.socket | None = field(default=None, repr=False)

    def ask(self) -> PtpState | None:
        """Its state; None if no ptp4l runs here. Takes ANSWER_LIMIT_S at most."""
        path = next((path for path in self.paths if path.exists()), None)
        if path is None:
            return None
        known = self._found is not None
        try:
            answers = self._exchange(path)
            if answers and not known:
                answers = self._exchange(path)  # the rest of what the one domain has to say
        except OSError as error:
            self.close()
            self._found = self._last = None
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                return None  # its socket outlived it
            return PtpState(f"{path}: {error.strerror}" + (
                "; let the appliance's group write to it, or use linuxptp 4, which has a socket for everybody" if error.errno == errno.EACCES else ""))
        if answers:
            self._last, self._misses = _state(answers), 0
            return self._last
        self._misses += 1
        if self._last is not None and self._misses <= MISSES_MAX:
            return self._last  # it is busy, as we may be
        self._found = self._last = None
        return PtpState(f"{path}: no answer in PTP domain {', '.join(map(str, self.likely))}")

    def close(self) -> None:
        """Closes the socket; the next question opens another."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def _exchange(self, path: Path) -> list[ptp.Answer]:
        domains = self._domains()
        self._sequence = (self._sequence + 1) % 2**16
        self._send(path, domains)
        answers = self._receive(domains)
        self._found = answers[0].domain if answers else self._found
        return answers

    def _domains(self) -> tuple[int, ...]:
        if self._found is not None:
            return (self._found,)
        others = [domain for domain in range(ptp.DOMAIN_MAX + 1) if domain not in self.likely]
        sweep = [others[(self._swept + number) % len(others)] for number in range(SWEEP_DOMAINS)]
        self._swept = (self._swept + SWEEP_DOMAINS) % len(others)
        return (*self.likely, *sweep)

    def _send(self, path: Path, domains: Iterable[int]) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.bind("")  # an abstract name, which ptp4l finds whatever files this process sees (PrivateTmp=)
        self._socket.settimeout(ANSWER_LIMIT_S)
        for domain in domains:
            for data_set in _DATA_SETS if domain == self._found else _DATA_SETS[:1]:
                self._socket.sendto(ptp.get(data_set, domain, self._sequence, os.getpid()), str(path))

    def _receive(self, domains: Iterable[int]) -> list[ptp.Answer]:
        answers, until = [], time.monotonic() + ANSWER_LIMIT_S
        wanted = len(_DATA_SETS) if self._found is not None else 1
        for _ in range(ANSWERS_MAX):
            left = until - time.monotonic()
            if left <= 0 or len({answer.data_set for answer in answers}) >= wanted:
                break
            self._socket.settimeout(left)
            try:
                answer = ptp.read(self._socket.recv(ANSWER_BYTES_MAX))
            except TimeoutError:
                break
            if answer and answer.sequence == self._sequence and answer.domain in domains:
                answers.append(answer)
        return answers


def _state(answers: list[ptp.Answer]) -> PtpState:
    octets = {answer.data_set: answer.octets for answer in answers}
    status = ptp.time_status(octets.get(ptp.TIME_STATUS_NP, b""))
    own = ptp.identity(octets.get(ptp.DEFAULT_DATA_SET, b"")) or 0
    ports = tuple(port for answer in answers if answer.data_set == ptp.PORT_PROPERTIES_NP and (port := ptp.port(answer.octets)))
    # ptp4l with slaveOnly goes on naming a grandmaster that it lost (3.1.1); the state of its ports tells.
    follows = any(port.state in (ptp.SLAVE, ptp.UNCALIBRATED) for port in ports)
    leads = any(port.state in (ptp.MASTER, ptp.GRAND_MASTER) for port in ports)
    heard = status is not None and (status.present and follows or leads)
    return PtpState(domain=answers[0].domain, clock=own, grandmaster=status.grandmaster if heard else None, offset_ns=status.offset_ns if heard else 0,
                    utc_offset_s=ptp.utc_offset_s(octets.get(ptp.TIME_PROPERTIES_DATA_SET, b"")), ports=ports)


class _Timex(ctypes.Structure):
    """struct timex (adjtimex(2)); with modes 0 it only asks."""

    _fields_ = [("modes", ctypes.c_uint), *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")), ("status", ctypes.c_int),
                ("rest", ctypes.c_long * 16), ("tail", ctypes.c_int * 16)]


def kernel_synchronised() -> bool | None:
    """Whether something has told the kernel that its clock is right; None where it may not be asked."""
    asked = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked)) < 0:
        return None
    return not asked.status & _STA_UNSYNC


def look(question: PtpQuestion) -> ClockState:
    """The present state. Takes ANSWER_LIMIT_S at most."""
    told_s = round((time.clock_gettime_ns(time.CLOCK_TAI) - time.clock_gettime_ns(time.CLOCK_REALTIME)) / 1e9)
    return ClockState(question.ask(), kernel_synchronised(), told_s)


def tai_offset_used_s(state: ClockState) -> int:
    """TAI minus UTC that the appliance reckons with."""
    return state.tai_offset_s or clock.TAI_MINUS_UTC_S
