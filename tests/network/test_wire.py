"""What may come on a cable, and what both ways to receive make of it: tags, options, padding, fragments, wrong checksums, interfaces that go and return."""
import socket
import struct
import zlib
from contextlib import contextmanager

import pytest

from appliance.runtime import multicast
from appliance.runtime.metrics import INGEST_REFUSALS, PACKET_RING, SOCKET
from tests.camera import Camera
from tests.network.theatre_network import SLOW, free_flow, running_ingest
from tests.network.wire import (
    CAMERA,
    CAMERA_ADDRESS,
    THEATRE,
    THEATRE_ADDRESS,
    THEATRE_ADDRESS_6,
    Wire,
    datagram,
    ip,
    ipv4,
    plug_in,
    udp,
    vlan_tag,
)

ROUTER_ALERT = b"\x94\x04\x00\x00"
MORE_FRAGMENTS = 0x2000


@pytest.fixture
def receiving(network, receive, tmp_path):
    """Runs the ingest stage of a flow at the theatre's end of the cable."""
    @contextmanager
    def run(flow):
        with running_ingest(tmp_path, flow, receive, THEATRE) as ingest:
            wire = Wire()
            yield ingest, wire
            wire.close()
            assert ingest.value("appliance_ingest_backend_info", backend=receive) == 1
    return run


def fragments(flow, payload: bytes) -> list[bytes]:
    """The datagram in three IP packets, the last one first."""
    content, number = udp(flow, payload, CAMERA_ADDRESS), zlib.crc32(payload) & 0xFFFF
    return [ipv4(flow, content[start:end], fragment=more | start // 8, number=number)
            for start, end, more in ((48, None, 0), (24, 48, MORE_FRAGMENTS), (0, 24, MORE_FRAGMENTS))]


# Every way in which a packet may be dressed without being another one.
DRESSES = {
    "plain": lambda wire, flow, payload: wire.send(datagram(flow, payload)),
    "options": lambda wire, flow, payload: wire.send(ipv4(flow, udp(flow, payload, CAMERA_ADDRESS), options=ROUTER_ALERT)),
    "padding": lambda wire, flow, payload: wire.send(datagram(flow, payload), padding=bytes(46)),
    "no checksum": lambda wire, flow, payload: wire.send(ipv4(flow, struct.pack("!HHHH", 5000, flow.port, 8 + len(payload), 0) + payload)),
    "priority": lambda wire, flow, payload: wire.send(datagram(flow, payload), tag=vlan_tag(0)),
    "fragments": lambda wire, flow, payload: [wire.send(packet) for packet in fragments(flow, payload)],
}


@pytest.mark.parametrize("group", [None, THEATRE_ADDRESS], ids=["multicast", "unicast"])
@pytest.mark.parametrize("dress", DRESSES)
def test_a_packet_is_received_however_it_is_dressed(receiving, group, dress):
    flow, camera = free_flow(SLOW, group), Camera()
    with receiving(flow) as (ingest, wire):
        for number in range(1, 4):
            for packet in camera.frame():
                DRESSES[dress](wire, flow, packet)
            assert ingest.next_frame()[:3] == (camera.sent[-1], number, 0)
        ingest.until("appliance_ingest_packets_total", 480)
        assert ingest.value("appliance_ingest_packets_duplicate_total") == 0


@pytest.mark.parametrize("group", ["ff15::77", THEATRE_ADDRESS_6], ids=["multicast", "unicast"])
def test_ipv6_is_received(receiving, group):
    flow, camera = free_flow(SLOW, group), Camera()
    with receiving(flow) as (ingest, wire):
        for packet in camera.frame():
            wire.send(datagram(flow, packet))
        assert ingest.next_frame()[:3] == (camera.sent[0], 1, 0)


def strangers(flow, payload: bytes):
    """Packets that the flow's receiver must not get, by what is wrong with them, and their tag."""
    good, content = datagram(flow, payload), udp(flow, payload, CAMERA_ADDRESS)
    other = type(flow)(**{**vars(flow), "group": flow.group[:-1] + ("1" if flow.group[-1] != "1" else "2")})
    yield "another VLAN", good, vlan_tag(100)
    yield "another port", ipv4(flow, udp(flow, payload, CAMERA_ADDRESS, port=flow.port + 1)), b""
    yield "another group", ipv4(other, udp(other, payload, CAMERA_ADDRESS)), b""
    yield "another protocol", good[:9] + b"\x06" + good[10:], b""
    yield "wrong UDP checksum", ipv4(flow, udp(flow, payload, CAMERA_ADDRESS, right=False)), b""
    yield "wrong IP checksum", ipv4(flow, content, right=False), b""
    yield "UDP longer than IP", ipv4(flow, content[:4] + struct.pack("!H", len(content) + 1) + b"\0\0" + content[8:]), b""
    yield "UDP shorter than itself", ipv4(flow, content[:4] + struct.pack("!H", 7) + b"\0\0" + content[8:]), b""
    yield "IP longer than the frame", good[:-1], b""


def test_what_is_not_the_flows_or_broken_never_reaches_the_assembly(receiving, receive):
    """The packets are right in all but one thing: one that got through would be a packet of the next frame."""
    flow, camera = free_flow(SLOW), Camera()
    with receiving(flow) as (ingest, wire):
        first, second = camera.frame(), camera.frame()
        for packet in first:
            wire.send(datagram(flow, packet))
        for _, packet, tag in strangers(flow, second[0]):
            wire.send(packet, tag)
        for packet in second:
            wire.send(datagram(flow, packet))
        ingest.until("appliance_ingest_packets_total", 320)
        assert ingest.value("appliance_ingest_packets_duplicate_total") == ingest.value("appliance_ingest_packets_lost_total") == 0
        refused = {reason: ingest.value("appliance_ingest_packets_refused_total", reason=reason) for reason in INGEST_REFUSALS}
        expected = dict(ip_header=1, ip_checksum=1, fragment=0, udp_length=2, udp_checksum=1, source=0) if receive == PACKET_RING else dict.fromkeys(INGEST_REFUSALS, 0)
        assert refused == expected


def test_only_the_source_that_the_sdp_names_is_heard_and_a_ring_counts_the_others(receiving, receive):
    flow, camera, stranger = free_flow(SLOW, source_address=CAMERA_ADDRESS), Camera(), Camera(seed=5)
    with receiving(flow) as (ingest, wire):
        for packet, other in zip(camera.frame(), stranger.frame()):
            wire.send(ipv4(flow, udp(flow, other, "10.77.0.8"), "10.77.0.8"))
            wire.send(datagram(flow, packet))
        assert ingest.next_frame()[:3] == (camera.sent[0], 1, 0)
        assert ingest.value("appliance_ingest_packets_duplicate_total") == 0
        if receive == PACKET_RING:  # a socket's kernel throws them away before anybody could count them
            ingest.until("appliance_ingest_packets_refused_total", 160, reason="source")
        assert ingest.value("appliance_ingest_packets_refused_total", reason="source") == (160 if receive == PACKET_RING else 0)


def test_the_sender_of_a_unicast_flow_is_not_told_that_nobody_listens(receiving):
    flow, camera = free_flow(SLOW, THEATRE_ADDRESS), Camera()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as back, receiving(flow) as (ingest, wire):
        back.bind((CAMERA, 0x0800))
        for packet in camera.frame():
            wire.send(datagram(flow, packet))
        assert ingest.next_frame()[0] == camera.sent[0]
        with pytest.raises(BlockingIOError):
            back.recv(2000, socket.MSG_DONTWAIT)


def test_a_link_that_goes_down_and_up_brings_the_picture_back(receiving):
    flow, camera = free_flow(SLOW), Camera()
    with receiving(flow) as (ingest, wire):
        for number in range(1, 4):
            for packet in camera.frame():
                wire.send(datagram(flow, packet))
            assert ingest.next_frame()[:2] == (camera.sent[-1], number)
            ip("link", "set", THEATRE, "down")
            ip("link", "set", THEATRE, "up")
        ingest.until("appliance_ingest_packets_total", 480)


@pytest.mark.parametrize("group", [None, THEATRE_ADDRESS], ids=["multicast", "unicast"])
def test_an_interface_that_is_made_anew_is_received_by_the_socket(network, receive, tmp_path, monkeypatch, caplog, group):
    """Another packet socket would take the privilege that a working stage has given away."""
    monkeypatch.setattr(multicast, "SILENCE_NS_MAX", 200_000_000)
    flow, camera = free_flow(SLOW, group), Camera()
    with running_ingest(tmp_path, flow, receive, THEATRE) as ingest:
        wire = Wire()
        for packet in camera.frame():
            wire.send(datagram(flow, packet))
        assert ingest.next_frame()[:2] == (camera.sent[0], 1)
        wire.close()
        ip("link", "delete", CAMERA)
        plug_in()
        wire = Wire()
        ingest.until("appliance_ingest_backend_info", 1, backend=SOCKET)
        while (slot := ingest.reader.lease_latest()) is None:
            for packet in camera.frame():
                wire.send(datagram(flow, packet))
            ingest.reader.wait(0.1)
        with memoryview(slot) as octets:
            assert bytes(octets) in camera.sent[1:]
        slot.release()
        wire.close()
        assert ingest.value("appliance_ingest_backend_info", backend=PACKET_RING) == 0
        assert ("made anew" in caplog.text) == (receive == PACKET_RING)


def test_a_sender_on_the_same_machine_is_heard_by_the_socket(network, receive, tmp_path):
    """What a machine sends to a group itself never reaches its packet sockets; the ring is given up for it."""
    flow, camera = free_flow(SLOW), Camera()
    with running_ingest(tmp_path, flow, receive, THEATRE) as ingest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(THEATRE_ADDRESS))
        sender.connect((flow.group, flow.port))
        while (slot := ingest.reader.lease_latest()) is None:
            for packet in camera.frame():
                sender.send(packet)
            ingest.reader.wait(0.1)
        slot.release()
        assert ingest.value("appliance_ingest_backend_info", backend=SOCKET) == 1
        assert ingest.value("appliance_ingest_kernel_drops_total") == 0
