"""UDP payloads of a classic pcap file with Ethernet or raw IPv4 frames; enough for the captures in this folder."""
import struct
from pathlib import Path

_ETHERNET, _RAW_IP = 1, 101


def udp_payloads(path: Path) -> list[bytes]:
    """The payload of every UDP datagram over IPv4, in the file's order."""
    content = path.read_bytes()
    order = {0xA1B2C3D4: "<", 0xD4C3B2A1: ">", 0xA1B23C4D: "<"}[struct.unpack_from("<I", content)[0]]
    link = struct.unpack_from(order + "I", content, 20)[0]
    at, payloads = 24, []
    while at < len(content):
        captured = struct.unpack_from(order + "I", content, at + 8)[0]
        frame = content[at + 16:at + 16 + captured]
        at += 16 + captured
        if link == _ETHERNET:
            kind, start = struct.unpack_from("!H", frame, 12)[0], 14
            if kind == 0x8100:
                start = 18
            frame = frame[start:]
        header_bytes = (frame[0] & 0x0F) * 4
        udp_bytes = struct.unpack_from("!H", frame, header_bytes + 4)[0]
        payloads.append(frame[header_bytes + 8:header_bytes + udp_bytes])
    return payloads
