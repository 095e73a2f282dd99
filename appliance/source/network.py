"""Sockets of the source: which interface sends, from which address, to which group.

Called by sender.py when it starts. Says which interfaces exist when a named one does not; changes nothing on them.
"""
import fcntl
import ipaddress
import socket
import struct

from appliance.errors import ConfigurationError

_SIOCGIFADDR = 0x8915
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO, _IP_MTU = 10, 2, 14  # include/uapi/linux/in.h; Python's socket module lacks them
_IP_HEADER_BYTES = 20
_SEND_BUFFER_BYTES = 4 << 20  # two bursts of a 2160p frame; the kernel may grant less, which only makes send() wait


def interface_address(interface: str) -> str:
    """IPv4 address of an interface, given by name or by one of this machine's addresses. Raises ConfigurationError."""
    try:
        address = ipaddress.IPv4Address(interface)
    except ipaddress.AddressValueError:
        return _address_of(interface)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            raise ConfigurationError("--interface", "the name or an address of one of this machine's interfaces", interface,
                                     f"Its interfaces are: {_interfaces()}.") from None
    return str(address)


def _address_of(name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            known = name in {interface for _, interface in socket.if_nameindex()}
            got = f"{name}, which has no IPv4 address" if known else f"{name!r}, which does not exist"
            raise ConfigurationError("--interface", "an interface that can send", got, f"This machine's interfaces are: {_interfaces()}.") from None
    return socket.inet_ntoa(answer[20:24])


def _interfaces() -> str:
    return ", ".join(name for _, name in socket.if_nameindex())


def connected_socket(interface_address: str, group: str, port: int, ttl: int) -> socket.socket:
    """A UDP socket whose every packet goes to group:port out of that interface; receivers on this machine hear it too."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if ipaddress.IPv4Address(group).is_multicast:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface_address))
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        # From this address always: a rehearsal on loopback must never leave by the default route.
        sender.bind((interface_address, 0))
        # No router cuts a datagram in pieces: ST 2110-10 section 6.3 forbids fragments.
        sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        sender.connect((group, port))
    except OSError as error:
        sender.close()
        raise ConfigurationError("--group, --port", "a destination that this machine can reach", f"{group}:{port} ({error.strerror})",
                                 "Choose the interface that leads there with --interface.") from None
    return sender


def check_size(sender: socket.socket, maxudp: int) -> None:
    """Raises ConfigurationError if datagrams of `maxudp` octets, UDP's header included, do not fit the way to the group in one piece."""
    fits = sender.getsockopt(socket.IPPROTO_IP, _IP_MTU) - _IP_HEADER_BYTES
    if maxudp > fits:
        raise ConfigurationError("--maxudp", f"at most {fits} octets on this interface", str(maxudp), "Raise the interface's MTU, or send smaller packets.")
