"""`appliance replay`: sends a capture again in its own time, for tests and for whom a maker's engineer sent it to.

Goes to loopback, or to the interface that a person named, and by no other way: each socket is bound to it. A flow to one machine's address is
sent only where a person says to.
"""
import argparse
import ipaddress
import mmap
import signal
import socket
import struct
import sys
from contextlib import ExitStack
from pathlib import Path

from appliance.errors import ApplianceError, ConfigurationError
from appliance.runtime.multicast import interface_index
from cext.replaying import Capture, CapturedFlow

LOOPBACK = "lo"
SLICE_NS = 100_000_000
SPEED_MAX = 100.0
TTL = 8
"""Of multicast on a named interface: far enough for a plant's switches, not for its neighbours."""
_SEND_BUFFER_BYTES = 4 << 20
_LATE_NS_TOLD = 5_000_000

Target = tuple[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="pcapng or pcap, of Ethernet, raw IP, loopback or Linux cooked packets")
    parser.add_argument("--to", default=LOOPBACK, metavar="INTERFACE", help="where to send (default: %(default)s, which leaves this machine's network alone)")
    parser.add_argument("--map", action="append", default=[], metavar="ADDRESS:PORT=ADDRESS:PORT", help="send a flow to another group and port")
    parser.add_argument("--speed", type=float, default=1.0, help="2: twice as fast as it was (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="only say what is in the file")


def run(options: argparse.Namespace) -> int:
    """Sends all of it, or until Ctrl-C. Exit status 0; 1 if the machine did not take some of it."""
    if not 0 < options.speed <= SPEED_MAX:
        raise ConfigurationError("replay --speed", f"more than 0, at most {SPEED_MAX:g}", f"{options.speed:g}")
    mapped = dict(map(_mapping, options.map))
    with ExitStack() as stack:
        capture = _open(stack, options.file)
        unknown = mapped.keys() - {(flow.address, flow.port) for flow in capture.flows}
        if unknown:
            raise ConfigurationError("replay --map", f"a flow of the file: {', '.join(_shown((flow.address, flow.port)) for flow in capture.flows)}",
                                     ", ".join(map(_shown, unknown)))
        targets = [_target(flow, mapped, options.to) for flow in capture.flows]
        print(contents(options.file, capture, targets), file=sys.stderr)
        if options.list:
            return 0
        if not any(targets):
            raise ConfigurationError(str(options.file), "a multicast flow, or a --map for one of another kind", "neither", "See --help.")
        return _send(stack, capture, targets, options)


def _send(stack: ExitStack, capture: Capture, targets: list[Target | None], options: argparse.Namespace) -> int:
    index = interface_index(options.to)
    sockets = [target and stack.enter_context(_socket(target, index)) for target in targets]
    ended = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.append(True))
    capture.begin([sender.fileno() if sender else -1 for sender in sockets], options.speed)
    try:
        while not ended and capture.run(SLICE_NS):
            continue
    except OSError as error:
        raise ApplianceError(f"sending on {options.to} ended: {error.strerror}") from error
    late = f"; up to {capture.late_ns_max / 1e6:.1f} ms late: this machine was busy" if capture.late_ns_max > _LATE_NS_TOLD else ""
    refused = f"; {capture.refused:,} were not taken by the machine" if capture.refused else ""
    print(f"sent {capture.sent:,} packets on {options.to}{refused}{late}", file=sys.stderr)
    return 1 if capture.refused else 0


def contents(path: Path, capture: Capture, targets: list[Target | None]) -> str:
    """What is in the file and where it goes."""
    lines = [f"{path}: {capture.seconds:.3f} s, {capture.packets:,} UDP packets"]
    for flow, target in zip(capture.flows, targets):
        own = flow.address, flow.port
        where = ("not sent: it is for one machine; name another with --map" if target is None else "sent as it was" if target == own
                 else f"sent to {_shown(target)}")
        lines.append(f"  {_shown(own)}: {flow.packets:,} packets, {flow.octets / 2**20:.1f} MiB; {where}")
    if capture.left_out:
        lines.append("  left out: " + ", ".join(f"{count:,} {reason}" for reason, count in capture.left_out.items()))
    if capture.broken:
        lines.append("  the file ends within a packet: what is before it is used")
    return "\n".join(lines)


def _open(stack: ExitStack, path: Path) -> Capture:
    try:
        file = stack.enter_context(path.open("rb"))
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise ConfigurationError(str(path), "a capture that can be read", getattr(error, "strerror", None) or str(error)) from error
    try:
        return Capture(memory)
    except ValueError as error:
        raise ConfigurationError(str(path), "a capture (pcapng or pcap)", "something else", "Save it from Wireshark as pcapng.") from error


def _mapping(text: str) -> tuple[Target, Target]:
    old, equals, new = text.partition("=")
    if not equals:
        raise ConfigurationError("replay --map", "ADDRESS:PORT=ADDRESS:PORT", repr(text))
    return _endpoint(old), _endpoint(new)


def _endpoint(text: str) -> Target:
    host, _, port = text.rpartition(":")
    try:
        address = str(ipaddress.ip_address(host.strip("[]")))
        if not 1 <= int(port) <= 65_535:
            raise ValueError(port)
    except ValueError as error:
        raise ConfigurationError("replay --map", "ADDRESS:PORT=ADDRESS:PORT such as 239.1.1.1:5004=239.10.10.1:5004", repr(text)) from error
    return address, int(port)


def _target(flow: CapturedFlow, mapped: dict[Target, Target], interface: str) -> Target | None:
    own = flow.address, flow.port
    target = mapped.get(own, own if ipaddress.ip_address(flow.address).is_multicast else None)
    if target and interface == LOOPBACK and not (ipaddress.ip_address(target[0]).is_multicast or ipaddress.ip_address(target[0]).is_loopback):
        raise ConfigurationError("replay --map", "a multicast group or 127.0.0.1 on loopback", _shown(target), "Name the interface with --to.")
    return target


def _socket(target: Target, index: int) -> socket.socket:
    """A connected socket that sends by this interface alone."""
    version = ipaddress.ip_address(target[0]).version
    sender = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, socket.if_indextoname(index).encode() + b"\0")
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if version == 4:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), index))
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, TTL)
        sender.connect(target)
    except OSError as error:
        sender.close()
        raise ConfigurationError(f"sending to {_shown(target)}", f"a way by {socket.if_indextoname(index)}", error.strerror or str(error),
                                 "'ip address' shows which addresses the interface has.") from error
    return sender


def _shown(target: Target) -> str:
    return f"[{target[0]}]:{target[1]}" if ":" in target[0] else f"{target[0]}:{target[1]}"
