"""Classic BPF programs (Linux Documentation/networking/filter.rst) that tell one flow's packets from all others. Called by runtime/packet_socket.py.

Bytes out, nothing else: each program is an array of struct sock_filter. The two of a flow divide its packets: what the ring's takes, the socket's refuses.
"""
import ipaddress
import struct

from appliance.protocol.sdp import Flow

# Source: include/uapi/linux/bpf_common.h, filter.h
_LOAD_WORD, _LOAD_HALF, _LOAD_OCTET = 0x20, 0x28, 0x30  # at a fixed place
_LOAD_HALF_BEHIND_X, _X_FROM_HEADER_LENGTH = 0x48, 0xB1
_IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x15, 0x35, 0x45, 0x06
_PACKET_TYPE, _INTERFACE = 0xFFFF_F004, 0xFFFF_F008  # SKF_AD_OFF + SKF_AD_PKTTYPE, + SKF_AD_IFINDEX
_NETWORK = 0xFFF0_0000  # SKF_NET_OFF: the place counts from the network header
_OTHERHOST, _LOOPBACK = 3, 5  # include/uapi/linux/if_packet.h; others' unicast, foreign VLANs and outgoing packets are 3 and above
_ETHERNET_BYTES, _IPV6_BYTES, _UDP = 14, 40, 17
_FRAGMENT_BITS = 0x3FFF
WHOLE_BYTES = 1 << 18
"""How much of a packet that passes is taken: more than any has, merged ones included."""
FOREIGN_BYTES = 1
"""How much is taken of one from another source than the SDP's: it is counted (cext/kernels/packet_ring.h) and takes no room."""
_NOTHING = -1  # as the block to go on with: the packet is refused


def ring_filter(flow: Flow, index: int, beside: str | None = None) -> bytes:
    """Passes whole UDP packets of `flow` that came in by the interface with this number, from the SDP's source where it names one.

    Of another source an octet passes; none of `beside`, the one that sends the flow's other path to the same group. For a packet socket: places count from the Ethernet header. The number is asked for because the packets of a VLAN reach the sockets of the interface
    below, too, stripped of their tag.
    """
    group = ipaddress.ip_address(flow.group)
    checks = [(_LOAD_WORD, _INTERFACE, _IF_EQUAL, index), (_LOAD_WORD, _PACKET_TYPE, _IF_AT_LEAST, _OTHERHOST)]
    ip = _ETHERNET_BYTES
    if group.version == 4:
        checks += [(_LOAD_OCTET, ip + 9, _IF_EQUAL, _UDP), (_LOAD_HALF, ip + 6, _IF_BITS, _FRAGMENT_BITS)]
        source, destination = ip + 12, ip + 16
    else:
        checks += [(_LOAD_OCTET, ip + 6, _IF_EQUAL, _UDP)]
        source, destination = ip + 8, ip + 24
    checks += _address(destination, flow.group)
    if group.version == 4:
        checks += [(_X_FROM_HEADER_LENGTH, ip, None, 0), (_LOAD_HALF_BEHIND_X, ip + 2, _IF_EQUAL, flow.port)]
    else:
        checks += [(_LOAD_HALF, ip + _IPV6_BYTES + 2, _IF_EQUAL, flow.port)]
    if not flow.source_address or not group.is_multicast:
        return _program([(checks, _NOTHING, WHOLE_BYTES)])
    blocks = [(checks, _NOTHING, None), (_address(source, flow.source_address), 2, WHOLE_BYTES)]
    if beside:
        blocks.append((_address(source, beside), 3, 0))
    return _program([*blocks, ([], _NOTHING, FOREIGN_BYTES)])


def socket_filter(flow: Flow, index: int) -> bytes:
    """For the flow's UDP socket beside a ring: passes what never reaches the ring, so that it is noticed, and refuses all else.

    That is what this machine sends itself, what came by another interface, and IPv6 packets with more headers than one, which the ring does not read.
    """
    seen = [(_LOAD_WORD, _INTERFACE, _IF_EQUAL, index), (_LOAD_WORD, _PACKET_TYPE, _IF_AT_LEAST, _LOOPBACK)]
    if ipaddress.ip_address(flow.group).version == 6:
        seen.append((_LOAD_OCTET, _NETWORK + 6, _IF_EQUAL, _UDP))
    return _program([(seen, 1, 0), ([], _NOTHING, WHOLE_BYTES)])


def _address(place: int, address: str) -> list[tuple]:
    words = struct.iter_unpack("!I", ipaddress.ip_address(address).packed)
    return [(_LOAD_WORD, place + 4 * number, _IF_EQUAL, word) for number, (word,) in enumerate(words)]


def _program(blocks: list[tuple[list[tuple], int, int | None]]) -> bytes:
    """Blocks of checks, each (load, place, comparison, value): equality must hold, the other comparisons must not; no comparison loads only.

    A block is (checks, number of the block to go on with where one fails, what is taken of the packet where all hold; None: the next block says).
    """
    steps, begins, failing = [], [], []
    for checks, otherwise, taken in blocks:
        begins.append(len(steps))
        for load, place, comparison, value in checks:
            steps.append([load, 0, 0, place])
            if comparison is not None:
                failing.append((len(steps), otherwise))
                steps.append([comparison, 0, 0, value])
        if taken is not None:
            steps.append([_RETURN, 0, 0, taken])
    begins.append(len(steps))  # _NOTHING
    steps.append([_RETURN, 0, 0, 0])
    for number, otherwise in failing:
        steps[number][2 if steps[number][0] == _IF_EQUAL else 1] = begins[otherwise] - number - 1
    return b"".join(struct.pack("@HBBI", *step) for step in steps)
