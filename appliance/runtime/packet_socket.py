"""Packet sockets with a memory-mapped ring (AF_PACKET, TPACKET_V3) that take one flow off an interface. Used by the ingest stage.

No foreign packet ever enters the ring whole: the filter is there before the socket hears anything. A packet socket joins no group; a UDP socket does that.
"""
import ipaddress
import os
import re
import socket
import struct
from dataclasses import dataclass

from appliance.errors import ApplianceError
from appliance.frame import VideoFormat
from appliance.protocol.sdp import Flow
from appliance.runtime import packet_filter
from appliance.runtime.multicast import attach_filter
from cext.reception import BLOCK_BYTES, BLOCK_TIMEOUT_MS

RING_NS = 500_000_000
"""How long a flow's packets fit in its ring: longer than the reader is ever kept from the processor."""
RING_BYTES_MIN, RING_BYTES_MAX = 64 << 20, 256 << 20
"""The least is half a second of 1280x720p50, and of blocks closed by their timeout; the most a quarter of a second of 3840x2160p50, ten bit."""
_HEADERS_SHARE = 1.1  # what headers and the ends of blocks add to the samples

# Linux values (include/uapi/linux/if_packet.h, if_arp.h, asm-generic/socket.h); Python's socket module lacks them.
_SOL_PACKET, _SO_LOCK_FILTER = 263, 44
_PACKET_RX_RING, _PACKET_VERSION, _PACKET_VNET_HDR, _PACKET_FANOUT = 5, 10, 15, 18
_TPACKET_V3 = 2
_FANOUT_CPU, _FANOUT_UNIQUE_ID, _FANOUT_DEFRAG = 2, 0x2000, 0x8000
_FRAME_BYTES = 2048  # TPACKET_V3 packs packets as they come; the kernel only checks that it divides a block
_ETHERNET, _LOOPBACK = 1, 772
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
# From here on the kernel says how a merged UDP packet is taken apart (PACKET_VNET_HDR); an older one drops it instead.
_SAYS_SEGMENTS = (6, 2)


class RingUnavailable(ApplianceError):
    """This flow cannot be received by a packet ring here; the text says why. Nothing is wrong with the flow."""


@dataclass
class PacketSocket:
    """A socket whose ring of `blocks` is filled from now on. `merged`: the kernel says of each packet how it is taken apart."""

    socket: socket.socket
    blocks: int
    merged: bool


def ring_blocks(format: VideoFormat) -> int:
    """Blocks of the ring for a raster and rate: RING_NS of it, within RING_BYTES_MIN and RING_BYTES_MAX."""
    wanted = format.frame_bytes * format.picture_rate * _HEADERS_SHARE * RING_NS / 1_000_000_000
    return -(-int(min(max(wanted, RING_BYTES_MIN), RING_BYTES_MAX)) // BLOCK_BYTES)


def open_packet_socket(flow: Flow, index: int, blocks: int, beside: str | None = None) -> PacketSocket:
    """Opens the ring of `flow` on the interface with this number; `beside` as ring_filter has it. Takes CAP_NET_RAW, which nothing needs afterwards.

    Raises RingUnavailable: no privilege, not an Ethernet or loopback interface, no memory, or a kernel that cannot say how packets were merged.
    """
    try:
        # Protocol 0 hears nothing until the bind.
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    except PermissionError as error:
        raise RingUnavailable("the process has no CAP_NET_RAW") from error
    except OSError as error:
        raise RingUnavailable(f"no packet socket: {error.strerror}") from error
    try:
        merged = kernel_says_segments()
        attach_filter(packets, packet_filter.ring_filter(flow, index, beside))
        packets.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
        packets.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        if merged:
            packets.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        packets.setsockopt(_SOL_PACKET, _PACKET_RX_RING, struct.pack(
            "@7I", BLOCK_BYTES, blocks, _FRAME_BYTES, blocks * (BLOCK_BYTES // _FRAME_BYTES), BLOCK_TIMEOUT_MS, 0, 0))
        _bind(packets, flow, index, merged)
    except OSError as error:
        packets.close()
        raise RingUnavailable(f"the kernel refused the ring: {error.strerror}") from error
    except RingUnavailable:
        packets.close()
        raise
    return PacketSocket(packets, blocks, merged)


def kernel_says_segments() -> bool:
    """Whether this kernel says of a merged UDP packet how long its datagrams are."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return version is not None and (int(version[1]), int(version[2])) >= _SAYS_SEGMENTS


def _bind(packets: socket.socket, flow: Flow, index: int, merged: bool) -> None:
    name, version = socket.if_indextoname(index), ipaddress.ip_address(flow.group).version
    # A protocol of its own, not "all": such a socket never sees what leaves the machine, so that on lo nothing comes twice.
    packets.bind((name, _ETHERTYPES[version]))
    hardware = packets.getsockname()[3]
    if hardware not in (_ETHERNET, _LOOPBACK):
        raise RingUnavailable(f"{name} is no Ethernet interface")
    if not merged and not _has_device(name):
        raise RingUnavailable(f"the kernel does not say how it merged packets (Linux {'.'.join(map(str, _SAYS_SEGMENTS))} does), and on {name} it merges them")
    if version == 4:
        # A group of one, which puts fragments together before the filter sees them. By processor: the cheapest choice among one.
        packets.setsockopt(_SOL_PACKET, _PACKET_FANOUT, struct.pack("@I", (_FANOUT_CPU | _FANOUT_UNIQUE_ID | _FANOUT_DEFRAG) << 16))


def _has_device(name: str) -> bool:
    """Whether packets of the interface, or of the one that a VLAN lies on, come off a wire: nobody's merged sends are handed through."""
    folder = f"/sys/class/net/{name}"
    lower = [entry for entry in os.listdir(folder) if entry.startswith("lower_")] if os.path.isdir(folder) else []
    return any(os.path.exists(f"{folder}/{below}/device") for below in (".", *lower))
