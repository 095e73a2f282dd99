"""The packet ring by itself: when it is full, when packets become visible, what it takes beside the flow, when there can be none."""
import mmap
import os
import struct
import time
from dataclasses import replace
from fractions import Fraction

import pytest

from appliance.errors import ConfigurationError
from appliance.frame import VideoFormat
from appliance.ingest.intake import Intake
from appliance.runtime import packet_socket
from appliance.runtime.metrics import INGEST_REFUSALS, SOCKET
from appliance.runtime.packet_socket import RING_BYTES_MAX, RING_BYTES_MIN, RingUnavailable, kernel_says_segments, open_packet_socket, ring_blocks
from cext.reception import BLOCK_BYTES, PacketRing
from tests.camera import SMALL, Assembled, Camera
from tests.network.theatre_network import LOOPBACK, Sender, free_flow

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="packet rings need CAP_NET_RAW: run the tests as root")


@pytest.fixture
def bench():
    bench = Assembled()
    yield bench
    bench.close()


def test_a_full_ring_counts_what_it_drops_and_then_receives_again(bench):
    """More than once round: a ring that was full has other places in use than one that never was."""
    camera, flow = Camera(), free_flow(SMALL)
    sender, opened = Sender(flow), open_packet_socket(flow, LOOPBACK, 4)
    ring = PacketRing(opened.socket.fileno(), opened.blocks, opened.merged, bench.assembly)
    sent = arrived = 0
    for _ in range(5):
        for _ in range(30):
            packets = camera.frame()
            sender.send(packets)
            sent += len(packets)
        ring.run(20_000_000)
        statistics = ring.statistics()
        assert statistics["datagrams"] + statistics["kernel_drops"] == sent
        assert arrived < statistics["datagrams"] < sent
        arrived = statistics["datagrams"]
    sender.send(camera.frame())
    ring.run(20_000_000)
    bench.collect()
    assert bench.frames[-1].samples == camera.sent[-1]
    sender.close()
    opened.socket.close()


def test_packets_are_read_out_of_a_block_that_is_not_full_and_only_once(bench, monkeypatch):
    """With a timeout that never comes: a frame's end does not wait for its block to be closed."""
    monkeypatch.setattr(packet_socket, "BLOCK_TIMEOUT_MS", 60_000)
    camera, flow = Camera(), free_flow(SMALL)
    sender, opened = Sender(flow), open_packet_socket(flow, LOOPBACK, 4)
    ring = PacketRing(opened.socket.fileno(), opened.blocks, opened.merged, bench.assembly)
    for number in range(1, 40):
        packets = camera.frame()
        for part in (packets[:50], packets[50:51], packets[51:]):
            sender.send(part)
            ring.run(1_000_000)
        bench.collect()
        assert bench.frames[-1].samples == camera.sent[-1] and ring.statistics()["datagrams"] == 160 * number
    assert bench.count("duplicate") == bench.count("lost") == 0
    sender.close()
    opened.socket.close()


HEADER_FIELDS = {"tp_sec": (4, "I"), "tp_nsec": (8, "I"), "tp_snaplen": (12, "I"), "tp_len": (16, "I"), "tp_status": (20, "I"), "tp_mac": (24, "H"), "tp_net": (26, "H")}
"""Where they lie in a packet's header, and their types (struct tpacket3_hdr)."""


@pytest.mark.parametrize("field", HEADER_FIELDS)
def test_a_packet_waits_until_its_whole_header_is_written(bench, field):
    """The kernel sets its status first: whoever goes by that alone finds a packet without length or place now and then, and loses it.
    A block that it wrote is shown again as one that it still writes, with one field to come."""
    offset, type = HEADER_FIELDS[field]
    flow, shown = free_flow(SMALL), os.memfd_create("block")
    sender, opened = Sender(flow), open_packet_socket(flow, LOOPBACK, 1)
    os.ftruncate(shown, BLOCK_BYTES)
    with mmap.mmap(opened.socket.fileno(), BLOCK_BYTES) as written, mmap.mmap(shown, BLOCK_BYTES) as block:
        sender.send(Camera().frame()[:1])
        _, _, _, packets, first, _ = struct.unpack_from("6I", written)
        assert packets == 1
        block[:] = written[:]
        struct.pack_into("I", block, 8, 0)  # the block's status: the kernel's
        [value] = struct.unpack_from(type, block, first + offset)
        struct.pack_into(type, block, first + offset, 0)
        ring = PacketRing(shown, 1, opened.merged, bench.assembly)
        ring.run(1_000_000)
        assert value and ring.statistics()["buffers"] == 0
        struct.pack_into(type, block, first + offset, value)
        ring.run(1_000_000)
        assert ring.statistics()["datagrams"] == 1 and sum(ring.statistics()["refused"].values()) == 0
    sender.close()
    opened.socket.close()
    os.close(shown)


def test_what_came_before_the_flow_was_asked_for_is_not_in_the_ring(bench):
    """The filter is there before the socket hears anything."""
    camera, flow, other = Camera(), free_flow(SMALL), free_flow(SMALL)
    sender, neighbour = Sender(flow), Sender(other)
    neighbour.send(camera.frame())
    opened = open_packet_socket(flow, LOOPBACK, 4)
    ring = PacketRing(opened.socket.fileno(), opened.blocks, opened.merged, bench.assembly)
    neighbour.send(camera.frame())
    sender.send(camera.frame())
    ring.run(20_000_000)
    assert ring.statistics()["buffers"] == 160 and sum(ring.statistics()["refused"].values()) == 0
    for held in (sender, neighbour, opened.socket):
        held.close()


def test_the_filter_of_a_ring_cannot_be_taken_off(bench):
    opened = open_packet_socket(free_flow(SMALL), LOOPBACK, 4)
    with pytest.raises(PermissionError):
        packet_socket.attach_filter(opened.socket, bytes(8))
    opened.socket.close()


def test_the_reasons_are_those_of_the_metric(bench):
    opened = open_packet_socket(free_flow(SMALL), LOOPBACK, 4)
    ring = PacketRing(opened.socket.fileno(), opened.blocks, opened.merged, bench.assembly)
    assert tuple(ring.statistics()["refused"]) == INGEST_REFUSALS
    opened.socket.close()


def test_a_ring_lies_idle_without_work(bench):
    """Nothing comes: the reader sleeps in the kernel, also while the link is down."""
    opened = open_packet_socket(free_flow(SMALL), LOOPBACK, 4)
    ring = PacketRing(opened.socket.fileno(), opened.blocks, opened.merged, bench.assembly)
    before = time.thread_time_ns()
    for _ in range(10):
        ring.run(20_000_000)
    assert ring.statistics()["batches"] == 0 and time.thread_time_ns() - before < 100_000_000
    opened.socket.close()


def test_an_old_kernel_leaves_loopback_to_the_socket(bench, monkeypatch):
    """Before Linux 6.2 packets that a sender handed over merged would be dropped, or could not be taken apart."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "box", "6.1.0-28-amd64", "", "x86_64")))
    flow = free_flow(SMALL)
    assert not kernel_says_segments()
    with pytest.raises(RingUnavailable, match="merged"):
        open_packet_socket(flow, LOOPBACK, 4)
    with Intake(flow, "lo", bench.assembly) as intake:
        assert intake.backends == {SOCKET} and "merged" in intake.choice
    with pytest.raises(ConfigurationError, match='receive = "auto"'):
        Intake(flow, "lo", bench.assembly, "packet-ring")


@pytest.mark.parametrize("format, low, high", [
    (SMALL, RING_BYTES_MIN, RING_BYTES_MIN), (VideoFormat(1280, 720, rate=Fraction(50)), RING_BYTES_MIN, RING_BYTES_MIN),
    (VideoFormat(1920, 1080, rate=Fraction(60000, 1001)), 160 << 20, 180 << 20), (VideoFormat(3840, 2160, rate=Fraction(50)), RING_BYTES_MAX, RING_BYTES_MAX),
], ids=str)
def test_a_larger_raster_gets_a_larger_ring_within_limits(format, low, high):
    assert low <= ring_blocks(replace(format)) * BLOCK_BYTES <= high
