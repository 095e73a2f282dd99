"""A network of the test's own: a namespace with two ends of a cable, one of which the test writes Ethernet frames to, octet by octet."""
import ctypes
import ipaddress
import os
import socket
import struct
import subprocess
from contextlib import contextmanager

CAMERA, THEATRE = "camera", "theatre"
"""The ends of the cable: where the sender is, and the interface that the appliance receives on."""
SECOND_CAMERA, SECOND_THEATRE = "camera2", "theatre2"
"""Those of a second cable, for tests that plug one in."""
SECOND_ADDRESS, SECOND_ADDRESS_6 = "10.78.0.2", "fd78::2"
CAMERA_ADDRESS, THEATRE_ADDRESS = "10.77.0.9", "10.77.0.2"
CAMERA_ADDRESS_6, THEATRE_ADDRESS_6 = "fd77::9", "fd77::2"
_CLONE_NEWNET = 0x40000000
_UDP = 17


def _switch_network(call: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments):
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}; run the tests as root")


def ip(*arguments: str) -> None:
    """Runs ip(8) in this thread's network."""
    subprocess.run(["ip", *arguments], check=True)


def plug_in(camera: str = CAMERA, theatre: str = THEATRE, address: str = THEATRE_ADDRESS, address_6: str = THEATRE_ADDRESS_6) -> None:
    """Makes a cable and gives its ends addresses."""
    ip("link", "add", camera, "type", "veth", "peer", "name", theatre)
    for end in (camera, theatre):
        ip("link", "set", end, "up")
    ip("address", "add", f"{address}/24", "dev", theatre)
    ip("address", "add", f"{address_6}/64", "dev", theatre, "nodad")


@contextmanager
def own_network():
    """This thread, and those that it starts, are in a network namespace of their own until the block ends; nothing leaves it."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _switch_network("unshare", _CLONE_NEWNET)
    try:
        ip("link", "set", "lo", "up")
        plug_in()
        yield
    finally:
        _switch_network("setns", before, _CLONE_NEWNET)
        os.close(before)


class Wire:
    """Writes frames into the camera's end of a cable."""

    def __init__(self, camera: str = CAMERA, theatre: str = THEATRE):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((camera, 0))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as probe:
            probe.bind((theatre, 0))
            self._theatre = probe.getsockname()[4]

    def send(self, packet: bytes, tag: bytes = b"", padding: bytes = b"") -> None:
        """One frame with this IP packet; `tag` goes between the addresses and the type, as 802.1Q says."""
        version = packet[0] >> 4
        self.socket.send(self._destination(packet, version) + bytes(6) + tag + (b"\x08\x00" if version == 4 else b"\x86\xdd") + packet + padding)

    def _destination(self, packet: bytes, version: int) -> bytes:
        address = ipaddress.ip_address(packet[16:20] if version == 4 else packet[24:40])
        if not address.is_multicast:
            return self._theatre
        # Source: RFC 1112 6.4, RFC 2464 7
        return b"\x01\x00\x5e" + bytes([packet[17] & 0x7F]) + packet[18:20] if version == 4 else b"\x33\x33" + packet[36:40]

    def close(self) -> None:
        """Closes the socket."""
        self.socket.close()


def vlan_tag(number: int) -> bytes:
    """An 802.1Q tag; number 0 gives a priority alone."""
    return struct.pack("!HH", 0x8100, 5 << 13 | number)


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(octets) + 1) // 2}H", octets + b"\0" * (len(octets) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def udp(flow, payload: bytes, source: str, right: bool = True, port: int | None = None) -> bytes:
    """UDP header and payload, with a checksum that is right or wrong."""
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(flow.group).packed
    header = struct.pack("!HHHH", 5000, port or flow.port, 8 + len(payload), 0)
    value = checksum(addresses + struct.pack("!HH", _UDP, len(header) + len(payload)) + header + payload) or 0xFFFF
    return header[:6] + struct.pack("!H", value if right else value ^ 0x0100) + payload


def ipv4(flow, content: bytes, source: str = CAMERA_ADDRESS, options: bytes = b"", fragment: int = 0, number: int = 77,
         right: bool = True) -> bytes:
    """An IPv4 packet; `fragment` is the 16-bit word of flags and offset, `number` the datagram's identification."""
    words = 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + len(content), number, fragment, 16, _UDP, 0,
                         ipaddress.ip_address(source).packed, ipaddress.ip_address(flow.group).packed) + options
    return header[:10] + struct.pack("!H", checksum(header) ^ (0 if right else 0x0100)) + header[12:] + content


def ipv6(flow, content: bytes, source: str = CAMERA_ADDRESS_6) -> bytes:
    """An IPv6 packet without extension headers."""
    return struct.pack("!IHBB16s16s", 6 << 28, len(content), _UDP, 16, ipaddress.ip_address(source).packed, ipaddress.ip_address(flow.group).packed) + content


def datagram(flow, payload: bytes) -> bytes:
    """The IP packet that carries this payload from the camera, as any sender makes it."""
    if ":" in flow.group:
        return ipv6(flow, udp(flow, payload, CAMERA_ADDRESS_6))
    return ipv4(flow, udp(flow, payload, CAMERA_ADDRESS))
