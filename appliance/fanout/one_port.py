"""One UDP port for all viewers of all workers. Made by fanout.worker where the configuration names one; used by hooks.one_port_ice.

Every worker binds the port (SO_REUSEPORT); a viewer whose check was right gets a connected socket on it, which the kernel prefers. What
reaches the wrong worker before that is handed on over a Unix socket: by the username fragment, which begins with its worker's number.
"""
import asyncio
import errno
import secrets
import socket
import string
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from appliance.fanout.ports import MediaAddresses, bound
from appliance.protocol.stun import called_fragment
from appliance.runtime.counters import Cell

DATAGRAM_BYTES_MAX = 2048
# Addresses whose checks were handed on, so that what they send next can follow. Strangers can fill it; then the oldest are forgotten.
ROUTES_MAX = 4096
# A flood of strangers gets this much of the event loop and no more: the socket's own buffer overflows meanwhile, and the kernel counts.
DATAGRAMS_PER_TURN = 32
FLOOD_PAUSE_S = 0.005
_RECEIVE_QUEUE_BYTES = 1 << 18
_SO_MEMINFO, _MEMINFO_DROPS, _MEMINFO_FIELDS = 55, 8, 9  # Source: include/uapi/linux/sock_diag.h

_DIGITS = string.digits + string.ascii_lowercase
_NUMBER_CHARACTERS, _RANDOM_CHARACTERS = 2, 8
_HANDED_ON, _CLAIMED = 1, 2
_HANDOVER = struct.Struct("!BBBH")  # kind, lengths of our address and the viewer's, the viewer's port; then both, then the datagram

Address = tuple[str, int]
Take = Callable[["ConnectedSocket | None", str, bytes, Address], None]
"""Called with the connected socket that a datagram came by (None: the shared one), our address, the datagram and its source."""


@dataclass(frozen=True)
class PortCounts:
    """What is counted of the port."""

    strangers: Cell
    handed_on: Cell
    handovers_lost: Cell  # the other worker's queue was full
    overflows: Cell       # the kernel found the shared socket full
    sends_lost: Cell      # a viewer's socket was full of media when something else was to be sent


class OnePort:
    """A worker's share of the port: its socket on each address, the viewers it owns, and the way to the other workers."""

    def __init__(self, number: int, port: int, addresses: MediaAddresses, handover: socket.socket, peers: Mapping[int, str], counts: PortCounts) -> None:
        self._number, self._port, self.addresses, self._handover, self._counts = number, port, addresses, handover, counts
        self._peers = {other: path for other, path in peers.items() if other != number}
        self._loop = asyncio.get_running_loop()
        self._shared: dict[str, socket.socket] = {}
        self._overflows: dict[str, int] = {}
        self._owners: dict[str, Take] = {}
        self._connected: dict[tuple[str, Address], ConnectedSocket] = {}
        self._routes: OrderedDict[tuple[str, Address], int] = OrderedDict()
        handover.setblocking(False)
        self._loop.add_reader(handover.fileno(), self._read_handover)
        self.places()

    @property
    def shortage(self) -> str:
        """What to tell a viewer for whom nothing could be opened."""
        return f"the media port {self._port} cannot be opened on any address"

    def places(self) -> list[Address]:
        """Where viewers may call: opens the port on addresses that came up since, leaves out those where that fails."""
        for host in self.addresses.now():
            if host not in self._shared:
                try:
                    opened = bound(host, self._port, shared=True)
                except OSError:
                    continue  # an address that is gone for the moment; the others serve
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_QUEUE_BYTES)
                self._shared[host], self._overflows[host] = opened, 0
                self._loop.add_reader(opened.fileno(), self._read_shared, host)
        return [(host, self._port) for host in self.addresses.now() if host in self._shared]

    def admit(self, take: Take) -> str:
        """A new viewer: its username fragment, by which datagrams find `take` from now on."""
        number = _DIGITS[self._number // len(_DIGITS)] + _DIGITS[self._number % len(_DIGITS)]
        fragment = number + secrets.token_hex(_RANDOM_CHARACTERS // 2)
        self._owners[fragment] = take
        return fragment

    def dismiss(self, fragment: str) -> None:
        """Forgets a viewer."""
        self._owners.pop(fragment, None)

    def owner(self, fragment: str) -> Take | None:
        """Who of this worker's viewers a fragment calls."""
        return self._owners.get(fragment)

    def connect(self, host: str, remote: Address, fragment: str, lost: Callable[["ConnectedSocket"], None]) -> "ConnectedSocket":
        """A socket of the viewer's own on the shared port; call it when a check from `remote` was right, for the newest owner of an address wins.

        `lost` is called if another viewer turns up at that address. OSError if the kernel refuses.
        """
        opened = bound(host, self._port, shared=True)
        try:
            opened.connect(remote)
        except OSError:
            opened.close()
            raise
        self._release(host, remote)
        connected = ConnectedSocket(self, opened, host, remote, self._owners[fragment], lost)
        self._connected[host, remote] = connected
        for other in self._peers:
            self._tell(other, _CLAIMED, host, remote)
        return connected

    def forget(self, connected: "ConnectedSocket") -> None:
        """A connected socket was closed."""
        if self._connected.get((connected.host, connected.remote)) is connected:
            del self._connected[connected.host, connected.remote]

    def send(self, host: str, data: bytes, remote: Address) -> None:
        """Sends from the shared socket: the answer to a first check."""
        try:
            self._shared[host].sendto(data, remote)
        except OSError:
            self._counts.sends_lost.add()

    def send_lost(self) -> None:
        """Counts a datagram for which a connected socket had no room."""
        self._counts.sends_lost.add()

    def route(self, host: str, data: bytes, remote: Address) -> bool:
        """Brings a datagram that came by no connected socket of its own to whom it is for; False, and counted, if that is nobody."""
        fragment = called_fragment(data)
        owner = self._worker_of(fragment) if fragment else self._routes.get((host, remote), self._number)
        if owner == self._number:
            return self._deliver(host, data, remote, fragment)
        if owner not in self._peers:
            self._counts.strangers.add()
            return False
        if fragment:
            self._routes[host, remote] = owner
            self._routes.move_to_end((host, remote))
            if len(self._routes) > ROUTES_MAX:
                self._routes.popitem(last=False)
        self._tell(owner, _HANDED_ON, host, remote, data)
        return True

    def count(self) -> None:
        """Brings the counter of overflows up to the kernel's."""
        for host, opened in self._shared.items():
            fields = struct.unpack(f"{_MEMINFO_FIELDS}I", opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_FIELDS))
            self._counts.overflows.add(fields[_MEMINFO_DROPS] - self._overflows[host] & 0xFFFF_FFFF)
            self._overflows[host] = fields[_MEMINFO_DROPS]

    def close(self) -> None:
        """Lets go of the port."""
        for connected in list(self._connected.values()):
            connected.close()
        for opened in (*self._shared.values(), self._handover):
            self._loop.remove_reader(opened.fileno())
            opened.close()
        self._shared.clear()

    def _deliver(self, host: str, data: bytes, remote: Address, fragment: str) -> bool:
        if fragment in self._owners:
            self._owners[fragment](None, host, data, remote)
            return True
        connected = self._connected.get((host, remote))
        if connected is None or fragment:
            self._counts.strangers.add()
            return False
        connected.take(data)
        return True

    def _worker_of(self, fragment: str) -> int:
        """The worker that a fragment names; -1 if none could have made it."""
        digits = [_DIGITS.find(character) for character in fragment[:_NUMBER_CHARACTERS]]
        if len(fragment) != _NUMBER_CHARACTERS + _RANDOM_CHARACTERS or min(digits) < 0:
            return -1
        return digits[0] * len(_DIGITS) + digits[1]

    def _tell(self, other: int, kind: int, host: str, remote: Address, data: bytes = b"") -> None:
        ours, theirs = host.encode(), remote[0].encode()
        try:
            self._handover.sendto(_HANDOVER.pack(kind, len(ours), len(theirs), remote[1]) + ours + theirs + data, self._peers[other])
            self._counts.handed_on.add(kind == _HANDED_ON)
        except OSError:  # its queue is full, or it has gone: the viewer sends its check again
            self._counts.handovers_lost.add()

    def _release(self, host: str, remote: Address) -> None:
        connected = self._connected.pop((host, remote), None)
        if connected is not None:
            connected.lost(connected)

    def _read_shared(self, host: str) -> None:
        opened, known = self._shared[host], False
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                data, address = opened.recvfrom(DATAGRAM_BYTES_MAX)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR):
                    return
                continue  # an ICMP error of an earlier answer
            known |= self.route(host, data, address[:2])
        if not known:
            self._loop.remove_reader(opened.fileno())
            self._loop.call_later(FLOOD_PAUSE_S, self._resume, host, opened)

    def _resume(self, host: str, opened: socket.socket) -> None:
        if self._shared.get(host) is opened:
            self._loop.add_reader(opened.fileno(), self._read_shared, host)

    def _read_handover(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                message = self._handover.recv(DATAGRAM_BYTES_MAX + 256)
            except OSError:
                return
            kind, ours, theirs, port = _HANDOVER.unpack_from(message)
            at = _HANDOVER.size + ours
            host, remote = message[_HANDOVER.size:at].decode(), (message[at:at + theirs].decode(), port)
            if kind == _CLAIMED:
                self._release(host, remote)
            else:
                self._deliver(host, message[at + theirs:], remote, called_fragment(message[at + theirs:]))


class ConnectedSocket:
    """A viewer's socket on the shared port, connected to one of its addresses. Receives on the event loop; media leaves by its descriptor."""

    def __init__(self, port: OnePort, opened: socket.socket, host: str, remote: Address, take: Take, lost: Callable[["ConnectedSocket"], None]) -> None:
        self.host, self.remote, self.lost = host, remote, lost
        self._port, self._socket, self._take = port, opened, take
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(opened.fileno(), self._read)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Sends one datagram; counted if there is no room. That nobody listens at the other end is for ICE to notice."""
        try:
            self._socket.send(data)
        except ConnectionError:
            return
        except OSError:
            self._port.send_lost()

    def take(self, data: bytes) -> None:
        """A datagram of this viewer that came another way."""
        self._take(self, self.host, data, self.remote)

    def close(self) -> None:
        """Closes the socket; what the fan-out duplicated of it is closed there."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._port.forget(self)

    def _read(self) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                data, address = self._socket.recvfrom(DATAGRAM_BYTES_MAX)
            except ConnectionError:
                continue  # nobody listens there at the moment; reading it takes the error off the socket
            except OSError:
                return
            fragment = called_fragment(data)
            # Between bind() and connect() the socket took what was meant for the shared one; and this address may be another viewer's by now.
            if address[:2] != self.remote or fragment and not self._calls_us(fragment):
                self._port.route(self.host, data, address[:2])
            else:
                self.take(data)
            if self._socket.fileno() < 0:
                return

    def _calls_us(self, fragment: str) -> bool:
        return self._port.owner(fragment) is self._take
