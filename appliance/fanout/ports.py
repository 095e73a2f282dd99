"""A UDP port for each viewer: one that the system chooses, or a free one of the configured range. Made by fanout.worker, used by hooks.ice.

Knows sockets and addresses only; nothing of ICE. The other way, one port for all viewers, is one_port.py.
"""
import errno
import random
import socket
import time

from aioice.ice import get_host_addresses

from appliance.config import MediaPorts

LOOPBACK = "127.0.0.1"  # aioice leaves it out of a machine's addresses
# Looking at every interface costs a millisecond: a class that joins within seconds shares one look.
ADDRESSES_KEPT_S = 2.0


class MediaAddresses:
    """The addresses that viewers get the video from: the configured ones, or all that the machine has just now."""

    def __init__(self, configured: tuple[str, ...]) -> None:
        self._configured, self._found, self._looked_at_s = configured, (), float("-inf")

    def now(self) -> tuple[str, ...]:
        """At the most ADDRESSES_KEPT_S old."""
        if self._configured:
            return self._configured
        if time.monotonic() - self._looked_at_s > ADDRESSES_KEPT_S:
            self._found, self._looked_at_s = (*get_host_addresses(use_ipv4=True, use_ipv6=True), LOOPBACK), time.monotonic()
        return self._found


class OwnPorts:
    """Opens a socket for one viewer on one address."""

    def __init__(self, addresses: MediaAddresses, ports: MediaPorts | None) -> None:
        self.addresses, self._ports = addresses, ports
        # Workers share the range and begin at different places, so that they seldom try what another has taken.
        self._next = random.randrange(ports.count) if ports else 0

    def open(self, address: str) -> socket.socket:
        """A bound socket. OSError (EADDRINUSE) if no port of the range is free, or what else bind() says of the address."""
        if self._ports is None:
            return bound(address, 0)
        for _ in range(self._ports.count):
            port = self._ports.first + self._next
            self._next = (self._next + 1) % self._ports.count
            try:
                return bound(address, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, f"every port of {self._ports} is in use")

    def count(self) -> None:
        """There is nothing to count: a viewer's socket is its own."""

    def close(self) -> None:
        """There is nothing to close: sessions close their sockets."""

    @property
    def shortage(self) -> str:
        """What to tell a viewer for whom nothing could be opened."""
        return f"no port of media_ports {self._ports} is free" if self._ports else "none of the media addresses can be opened"


def bound(address: str, port: int, shared: bool = False) -> socket.socket:
    """A UDP socket on an address and port, never waiting; `shared` with others of this user (SO_REUSEPORT)."""
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((address, port))
    except OSError:
        opened.close()
        raise
    return opened
