"""UDP sockets that receive one flow: bound to its group, joined on one interface, from one sender where the SDP says so.

Used by every receiving stage. A socket receives its own group and nothing else (IP_MULTICAST_ALL=0); closing it leaves the group. An interface
that is made anew takes the membership with it and tells nobody: Membership joins again.
"""
import ctypes
import errno
import ipaddress
import logging
import socket
import struct

import ifaddr

from appliance.errors import ConfigurationError
from appliance.protocol.sdp import Flow

# Linux values (include/uapi/linux/in.h, in6.h, asm-generic/socket.h); Python's socket module lacks them.
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29
_MCAST_JOIN_GROUP, _MCAST_LEAVE_GROUP, _MCAST_JOIN_SOURCE_GROUP = 42, 45, 46
_SO_RCVBUFFORCE, _SO_RXQ_OVFL, _SO_ATTACH_FILTER, _SO_DETACH_FILTER = 33, 40, 26, 27
_INSTRUCTION_BYTES = 8  # of struct sock_filter
_SOCKADDR_STORAGE_BYTES = 128
SILENCE_NS_MAX = 5_000_000_000
"""After so long without a datagram the membership is renewed, and again every time as long passes."""

_log = logging.getLogger("multicast")


def open_receiver(flow: Flow, interface: str, receive_buffer_bytes: int, socket_filter: bytes | None = None) -> socket.socket:
    """A blocking UDP socket that receives `flow` on `interface` (a name, or an address of it), with SO_RXQ_OVFL set.

    A `socket_filter` (classic BPF) is there before the first datagram is.
    Raises ConfigurationError: no such interface, no such local address, port in use, or too many groups joined. A kernel that grants a
    smaller receive buffer than asked is a warning in the log, with the line that mends it.
    """
    group = ipaddress.ip_address(flow.group)
    family = socket.AF_INET if group.version == 4 else socket.AF_INET6
    index = interface_index(interface)
    receiver = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        _size_buffer(receiver, receive_buffer_bytes)
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        if socket_filter is not None:
            attach_filter(receiver, socket_filter)
        if group.is_multicast:
            # Several receivers of one group on one machine are normal; two of one unicast port would steal from each other.
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET:
                receiver.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            else:
                receiver.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        _bind(receiver, flow, index)
        if group.is_multicast:
            _join(receiver, flow, interface, index)
    except BaseException:
        receiver.close()
        raise
    return receiver


class Membership:
    """Keeps a receiver of open_receiver in its group, whatever becomes of the interface.

    It joins again on the same socket: a new one would not get its receive buffer, for which a stage that is ready has no privilege any more.
    A group of link-local scope is bound to the link itself, and such a stage has to be started again. `index` is the interface's number when it was
    last looked for.
    """

    def __init__(self, receiver: socket.socket, flow: Flow, interface: str) -> None:
        self.interface, self.index = interface, interface_index(interface)
        self._receiver, self._flow = receiver, flow
        self._datagrams, self._since_ns, self._lost = 0, None, False

    def keep(self, datagrams: int, now_monotonic_ns: int) -> None:
        """Call several times a second with how many datagrams came in all. Never raises for an interface that is missing: it is logged once."""
        if datagrams != self._datagrams or self._since_ns is None:
            self._datagrams, self._since_ns = datagrams, now_monotonic_ns
        elif now_monotonic_ns - self._since_ns > SILENCE_NS_MAX:
            self._since_ns = now_monotonic_ns
            self._renew()

    def _renew(self) -> None:
        try:
            index = interface_index(self.interface)
            if ipaddress.ip_address(self._flow.group).is_multicast:
                # Left even where nothing changed: whether the kernel still holds the membership cannot be asked.
                _leave(self._receiver, self._flow, self.index)
                _join(self._receiver, self._flow, self.interface, index)
        except (ConfigurationError, OSError) as error:
            if not self._lost:
                _log.warning("%s cannot be received, trying again every %d s: %s", self._flow.group, SILENCE_NS_MAX // 1_000_000_000, error)
            self._lost = True
            return
        if self._lost or index != self.index:
            _log.info("%s can be received again: %s is back", self._flow.group, self.interface)
        self.index, self._lost = index, False


def interface_index(interface: str) -> int:
    """The kernel's number of an interface given by name or by one of its addresses. Raises ConfigurationError naming those that exist."""
    adapters = list(ifaddr.get_adapters(include_unconfigured=True))
    for adapter in adapters:
        if interface == adapter.name or any(interface == _text(address) for address in adapter.ips):
            return socket.if_nametoindex(adapter.name)
    known = ", ".join(f"{adapter.name} ({', '.join(_text(address) for address in adapter.ips) or 'no address'})" for adapter in adapters)
    raise ConfigurationError("interface", f"one of this machine's interfaces: {known}", f'"{interface}"',
                             'Set interface = "<name>" of the stream to the one that the video network is on.')


def attach_filter(receiver: socket.socket, program: bytes) -> None:
    """Attaches a classic BPF program; a socket that is not bound yet then never holds a packet that it refuses. OSError if the kernel refuses it."""
    instructions = ctypes.create_string_buffer(program, len(program))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // _INSTRUCTION_BYTES, ctypes.addressof(instructions)))


def detach_filter(receiver: socket.socket) -> None:
    """Lets the socket receive everything that is addressed to it again."""
    receiver.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _text(address: ifaddr.IP) -> str:
    return address.ip if isinstance(address.ip, str) else address.ip[0]


def _size_buffer(receiver: socket.socket, wanted_bytes: int) -> None:
    # The kernel doubles what is asked, for its own bookkeeping, and reports the double.
    try:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted_bytes)
    except PermissionError:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted_bytes)
    granted_bytes = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if granted_bytes < wanted_bytes:
        _log.warning("the kernel grants a receive buffer of %d octets instead of %d, packets may be lost under load; as root: "
                     "sysctl -w net.core.rmem_max=%d, or give the process CAP_NET_ADMIN", granted_bytes, wanted_bytes, wanted_bytes)


def _bind(receiver: socket.socket, flow: Flow, index: int) -> None:
    group = ipaddress.ip_address(flow.group)
    # Addresses that mean something on one link only (RFC 4291 section 2.7: scopes 1 and 2) are bound together with the link.
    scoped = group.is_link_local or (group.is_multicast and group.packed[1] & 0x0F in (1, 2))
    address = (flow.group, flow.port) if group.version == 4 else (flow.group, flow.port, 0, index if scoped else 0)
    where = f"flow to {flow.group}, port {flow.port}"
    try:
        receiver.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(where, "a free UDP port", "one that another program has bound",
                                     f"Find it with: ss -ulpn sport = :{flow.port}") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigurationError(where, "a multicast group or an address of this machine", flow.group, "Check the c= line of the SDP.") from error
        raise ConfigurationError(where, "a UDP address that can be bound", str(error)) from error


def _join(receiver: socket.socket, flow: Flow, interface: str, index: int) -> None:
    """Joins by interface number (RFC 3678), the same for IPv4 and IPv6."""
    request = struct.pack("@I4x", index) + _sockaddr_storage(flow.group)
    option = _MCAST_JOIN_GROUP
    if flow.source_address:
        request += _sockaddr_storage(flow.source_address)
        option = _MCAST_JOIN_SOURCE_GROUP
    try:
        receiver.setsockopt(_level(receiver), option, request)
    except OSError as error:
        where = f"joining {flow.group} on {interface}"
        if error.errno == errno.ENOBUFS:
            raise ConfigurationError(where, "fewer groups than the kernel's limit", "the limit is reached",
                                     "As root: sysctl -w net.ipv4.igmp_max_memberships=512 net.ipv4.igmp_max_msf=64") from error
        raise ConfigurationError(where, "an interface that is up and takes part in multicast", str(error),
                                 f"Look at: ip link show {interface}") from error


def _leave(receiver: socket.socket, flow: Flow, index: int) -> None:
    """Forgets the group, and the sender with it, on an interface that may be gone."""
    try:
        receiver.setsockopt(_level(receiver), _MCAST_LEAVE_GROUP, struct.pack("@I4x", index) + _sockaddr_storage(flow.group))
    except OSError as error:
        _log.debug("leaving %s on interface number %d: %s", flow.group, index, error)  # it was not a member: the last join failed


def _level(receiver: socket.socket) -> int:
    return socket.IPPROTO_IP if receiver.family == socket.AF_INET else socket.IPPROTO_IPV6


def _sockaddr_storage(address: str) -> bytes:
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        packed = struct.pack("@H2x4s", socket.AF_INET, parsed.packed)
    else:
        packed = struct.pack("@H2x4x16s", socket.AF_INET6, parsed.packed)
    return packed.ljust(_SOCKADDR_STORAGE_BYTES, b"\0")
