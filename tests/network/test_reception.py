"""The ingest stage on real sockets: multicast, sources, merged datagrams, foreign packets, counters, an orderly end."""
import os
import random
import socket
import stat
import struct
import time
from contextlib import contextmanager

import pytest

from appliance import clock
from appliance.errors import ConfigurationError
from appliance.frame import INCOMPLETE, VideoFormat
from appliance.ingest import accounts, fit
from appliance.ingest.intake import Intake, merge_datagrams
from appliance.protocol.rtp import RtpHeader, build
from appliance.runtime import multicast
from appliance.runtime.metrics import INGEST, INGEST_BACKENDS
from appliance.runtime.multicast import open_receiver
from cext.reception import Reception
from tests.camera import SMALL, Assembled, Camera, strays
from tests.network.theatre_network import LOOPBACK, PATIENCE_S, Sender, free_flow, running_ingest

MEGABYTE = 1 << 20


@pytest.fixture
def receiving(receive, tmp_path):
    """Runs the ingest stage of a flow, as running_ingest does, and sees to it that it receives in the way that was asked for."""
    @contextmanager
    def run(flow):
        with running_ingest(tmp_path, flow, receive) as ingest:
            yield ingest
            assert [backend for backend in INGEST_BACKENDS if ingest.value("appliance_ingest_backend_info", backend=backend)] == [receive]
    return run


@pytest.mark.parametrize("group", [None, "127.0.0.1"], ids=["multicast", "unicast"])
def test_frames_arrive_as_they_were_sent(receiving, group):
    flow, camera = free_flow(SMALL, group), Camera()
    with receiving(flow) as ingest:
        sender = Sender(flow)
        for number in range(1, 11):
            sender.send(camera.frame())
            assert ingest.next_frame()[:3] == (camera.sent[-1], number, 0)
        ingest.until("appliance_ingest_packets_total", 1600)
        assert ingest.value("appliance_ingest_frames_total") == 10
        assert ingest.value("appliance_ingest_packets_lost_total") == 0
        assert ingest.bench.observed("appliance_stage_latency_seconds") == 10
        sender.close()


@pytest.mark.parametrize("group", [None, "127.0.0.1"], ids=["multicast", "unicast"])
def test_merged_datagrams_are_taken_apart(receive, group):
    """UDP_GRO needs a socket of its own for the flow, which the bind to the group gives."""
    bench, camera, flow = Assembled(), Camera(), free_flow(SMALL, group)
    sender = Sender(flow)
    with Intake(flow, "lo", bench.assembly, receive) as intake:
        for _ in range(5):
            packets = camera.frame()
            for start in range(0, len(packets), 50):
                sender.send_merged(packets[start:start + 50])
            while bench.assembly.statistics()["packets"] < 160 * len(camera.sent):
                intake.run(10_000_000)
            bench.collect()
        assert [frame.samples for frame in bench.frames] == camera.sent
        statistics = intake.statistics()
        assert statistics["datagrams"] == 800 and statistics["buffers"] == 20
    sender.close()
    bench.close()


def test_packets_are_stamped_as_they_arrive_and_not_as_they_are_read(receive):
    bench, camera, flow = Assembled(), Camera(), free_flow(SMALL)
    sender = Sender(flow)
    with Intake(flow, "lo", bench.assembly, receive) as intake:
        intake.run(1_000_000)
        for merged in (False, True):
            packets, before = camera.frame(), clock.tai_ns()
            (sender.send_merged if merged else sender.send)(packets[:20])
            after = clock.tai_ns()
            sender.send(packets[20:])
            time.sleep(0.05)
            intake.run(20_000_000)
            bench.collect()
            assert before <= bench.frames[-1].first_packet_tai_ns <= after
        stamped = intake.statistics()["stamped"]
        assert stamped == {"hardware": 0, "kernel": 300, "merged": 20, "batch": 0}
    sender.close()
    bench.close()


def test_what_the_stamps_rest_on_is_shown(receiving, monkeypatch):
    monkeypatch.setattr(accounts, "STAMP_INTERVAL_NS", 50_000_000)
    flow, camera = free_flow(SMALL), Camera()
    with receiving(flow) as ingest:
        sender = Sender(flow)
        sender.send(camera.frame())
        ingest.until("appliance_ingest_timestamp_info", 1, path="a", kind="kernel")
        sender.send_merged(camera.frame()[:20])
        ingest.until("appliance_ingest_timestamp_info", 1, path="a", kind="merged")
        assert ingest.value("appliance_ingest_timestamp_info", path="a", kind="kernel") == 0
        sender.close()


def test_a_merged_buffer_ends_with_a_shorter_packet(receive):
    format = VideoFormat(64, 40)
    bench, camera, flow = Assembled(format), Camera(format, split=(9, 9, 9, 5)), free_flow(format)
    sender = Sender(flow)
    with Intake(flow, "lo", bench.assembly, receive) as intake:
        packets = camera.frame()
        for start in range(0, len(packets), 4):
            sender.send_merged(packets[start:start + 4])
        while bench.assembly.statistics()["packets"] < len(packets):
            intake.run(10_000_000)
        bench.collect()
    assert [frame.samples for frame in bench.frames] == camera.sent
    sender.close()
    bench.close()


def test_a_source_named_by_the_sdp_is_the_only_one_heard(receiving):
    flow = free_flow(SMALL, source_address="127.0.0.2")
    camera, stranger = Camera(), Camera(seed=5)
    with receiving(flow) as ingest:
        right, wrong = Sender(flow, "127.0.0.2"), Sender(flow, "127.0.0.3")
        for _ in range(3):
            wrong.send(stranger.frame())
            right.send(camera.frame())
            assert ingest.next_frame()[0] == camera.sent[-1]
        ingest.until("appliance_ingest_packets_total", 480)
        assert ingest.value("appliance_ingest_packets_duplicate_total") == 0
        right.close()
        wrong.close()


def test_another_group_on_the_same_port_is_not_heard(receiving):
    flow, other = free_flow(SMALL), free_flow(SMALL)
    camera, stranger = Camera(), Camera(seed=5)
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # somebody on this machine has joined the other group
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(other.group) + bytes(4) + struct.pack("@i", LOOPBACK))
    with receiving(flow) as ingest:
        sender, neighbour = Sender(flow), Sender(type(flow)(**{**vars(other), "port": flow.port}))
        neighbour.send(stranger.frame())
        sender.send(camera.frame())
        assert ingest.next_frame()[0] == camera.sent[0]
        ingest.until("appliance_ingest_packets_total", 160)
        assert ingest.value("appliance_ingest_packets_duplicate_total") == 0
        for held in (sender, neighbour, listener):
            held.close()


def test_malformed_packets_are_counted_by_reason_and_the_next_frame_is_shown(receiving):
    flow, camera = free_flow(SMALL), Camera()
    with receiving(flow) as ingest:
        sender = Sender(flow)
        sender.send(camera.frame())
        assert ingest.next_frame()[0] == camera.sent[0]
        good = camera.frame()
        header = RtpHeader(96, 9, camera.timestamp, camera.ssrc)
        bad = {
            "truncated": b"", "version": b"\x00" * 40, "payload_type": build(RtpHeader(97, 1, 2, 3), bytes(20)),
            "extension": b"\x90" + build(header, b"")[1:] + b"\xbe\xde\xff\xff", "padding": build(header, b"", padding_bytes=9)[:-1] + b"\xff",
            "srd_length": build(header, b"\0\0" + struct.pack("!HHH", 4, 0, 0) + bytes(4)),
            "srd_field": build(header, b"\0\0" + struct.pack("!HHH", 5, 0x8000, 0) + bytes(5)),
            "srd_row": build(header, b"\0\0" + struct.pack("!HHH", 5, 40, 0) + bytes(5)),
            "srd_offset": build(header, b"\0\0" + struct.pack("!HHH", 10, 39, 62) + bytes(10)),
            "srd_continuation": build(header, b"\0\0" + struct.pack("!HHH", 5, 0, 0x8000) * 17 + bytes(85)),
            "length_mismatch": build(header, b"\0\0" + struct.pack("!HHH", 5, 0, 0) + bytes(600)),
            "ssrc": build(RtpHeader(96, 9, camera.timestamp, 1), b"\0\0" + struct.pack("!HHH", 5, 0, 0) + bytes(5)),
            "timestamp": build(RtpHeader(96, 9, camera.timestamp + 10**9, camera.ssrc), b"\0\0" + struct.pack("!HHH", 5, 0, 0) + bytes(5)),
            "sequence": build(RtpHeader(96, 9, camera.timestamp, camera.ssrc), b"\x77\x77" + struct.pack("!HHH", 5, 0, 0) + bytes(5)),
        }
        sender.send(good[:80])
        sender.send(bad.values())
        sender.send(good[80:])
        assert ingest.next_frame()[:3] == (camera.sent[1], 2, 0)
        for reason in bad:
            ingest.until("appliance_ingest_packets_malformed_total", 1, reason=reason)
            assert ingest.value("appliance_ingest_packets_malformed_total", reason=reason) == 1
        sender.close()


def test_stray_packets_of_another_sender_hide_no_picture(receiving, monkeypatch):
    monkeypatch.setattr(fit, "FIT_INTERVAL_NS", 50_000_000)
    flow, camera, dice = free_flow(SMALL), Camera(), random.Random(3)
    with receiving(flow) as ingest:
        sender, stranger = Sender(flow), Sender(flow, "127.0.0.3")
        for number in range(1, 16):
            packets = camera.frame()
            sender.send(packets[:80])
            stranger.send(strays(dice, 16))
            sender.send(packets[80:])
            assert ingest.next_frame()[:3] == (camera.sent[-1], number, 0)
            ingest.reader.wait(0.02)
        ingest.until("appliance_ingest_packets_malformed_total", 240, reason="ssrc")
        assert ingest.value("appliance_ingest_mismatch") == 0
        sender.close()
        stranger.close()


def test_a_loss_is_seen_in_frame_and_counters(receiving):
    flow, camera = free_flow(SMALL), Camera()
    with receiving(flow) as ingest:
        sender = Sender(flow)
        sender.send(camera.frame())
        ingest.next_frame()
        packets = camera.frame()
        sender.send(packets[:10] + packets[14:])
        samples, number, flags, _, rows_missing = ingest.next_frame()
        assert (number, flags, rows_missing) == (2, INCOMPLETE, 2)
        assert samples[400:560] == camera.sent[0][400:560] and samples[560:] == camera.sent[1][560:]
        ingest.until("appliance_ingest_frames_incomplete_total", 1)
        assert ingest.value("appliance_ingest_packets_lost_total") == 4
        assert ingest.value("appliance_ingest_rows_missing_total") == 2
        sender.close()


def test_a_sender_that_restarts_is_followed(receiving):
    flow, camera = free_flow(SMALL), Camera()
    with receiving(flow) as ingest:
        sender = Sender(flow)
        sender.send(camera.frame())
        ingest.next_frame()
        again = Camera(ssrc=7, sequence=1, seed=3)
        while ingest.value("appliance_ingest_sender_restarts_total") == 0:
            sender.send(again.frame())
            ingest.reader.wait(0.02)
        sender.send(again.frame())
        while ingest.next_frame()[0] != again.sent[-1]:
            pass
        assert ingest.value("appliance_ingest_sender_restarts_total") == 1
        assert len(again.sent) < 50
        sender.close()


def test_what_the_kernel_dropped_is_counted():
    bench, camera, flow = Assembled(), Camera(), free_flow(SMALL)
    sender = Sender(flow)
    with open_receiver(flow, "lo", 65536) as receiver:
        reception = Reception(receiver.fileno(), bench.assembly)
        for _ in range(10):
            sender.send(camera.frame())
        reception.run(20_000_000)
        sender.send(camera.frame()[:1])
        reception.run(20_000_000)
        arrived = reception.statistics()["datagrams"]
        assert arrived < 1601 and reception.statistics()["kernel_drops"] == 1601 - arrived
    sender.close()
    bench.close()


def test_merged_packets_that_the_kernel_dropped_count_once():
    """As the metric's help says: with UDP_GRO the counter is of buffers, and packets are lost by the dozen."""
    bench, camera, flow = Assembled(), Camera(), free_flow(SMALL)
    sender = Sender(flow)
    with open_receiver(flow, "lo", 65536) as receiver:
        merge_datagrams(receiver)
        reception = Reception(receiver.fileno(), bench.assembly)
        for _ in range(30):
            packets = camera.frame()
            for start in range(0, len(packets), 40):
                sender.send_merged(packets[start:start + 40])
        reception.run(20_000_000)
        sender.send(camera.frame()[:1])
        reception.run(20_000_000)
        statistics = reception.statistics()
        assert statistics["kernel_drops"] == 121 - statistics["buffers"] > 0
        assert 30 * 160 + 1 - statistics["datagrams"] == 40 * statistics["kernel_drops"]
    assert next(metric.help for metric in INGEST if metric.name == "appliance_ingest_kernel_drops_total").startswith("Receive buffers")
    sender.close()
    bench.close()


def test_a_receive_buffer_that_is_not_granted_is_said_with_its_remedy(caplog):
    """Without CAP_NET_ADMIN the kernel's limit holds; asking for more than any limit shows the same."""
    with open_receiver(free_flow(SMALL), "lo", (1 << 30) + (1 << 29)) as receiver:
        assert receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2 < (1 << 30) + (1 << 29)
    assert f"sysctl -w net.core.rmem_max={(1 << 30) + (1 << 29)}" in caplog.text


def test_a_missing_interface_is_named_with_those_that_exist():
    flow = free_flow(SMALL)
    with pytest.raises(ConfigurationError, match=r'lo \(127\.0\.0\.1.*"theatre0"'):
        open_receiver(flow, "theatre0", MEGABYTE)


def test_a_unicast_port_in_use_is_named(receive):
    flow, bench = free_flow(SMALL, "127.0.0.1"), Assembled()
    with open_receiver(flow, "lo", MEGABYTE), pytest.raises(ConfigurationError, match=f"port {flow.port}"):
        Intake(flow, "lo", bench.assembly, receive)
    bench.close()


def memberships(group: str) -> bool:
    """Whether any socket of this machine has joined the group."""
    with open("/proc/net/igmp") as table:
        return socket.inet_aton(group)[::-1].hex().upper() in table.read()


def test_the_stage_leaves_its_group_when_it_ends(receiving):
    flow = free_flow(SMALL)
    with receiving(flow):
        assert memberships(flow.group)
    assert not memberships(flow.group)


def lose_membership(flow) -> int:
    """Takes the stage's socket out of its group as the kernel does when the interface is deleted: nobody tells the stage. How many there were."""
    lost = 0
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
        except OSError:
            continue  # the folder's own descriptor
        with socket.socket(fileno=os.dup(number)) as other:
            if other.family == socket.AF_INET and other.getsockname() == (flow.group, flow.port):
                other.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, socket.inet_aton(flow.group) + bytes(4) + struct.pack("@i", LOOPBACK))
                lost += 1
    return lost


def test_a_membership_that_was_lost_with_its_interface_comes_back(receiving, monkeypatch):
    monkeypatch.setattr(multicast, "SILENCE_NS_MAX", 200_000_000)
    flow, camera = free_flow(SMALL), Camera()
    with receiving(flow) as ingest:
        sender = Sender(flow)
        sender.send(camera.frame())
        assert ingest.next_frame()[0] == camera.sent[0]
        assert lose_membership(flow) == 1
        deadline = time.monotonic() + PATIENCE_S
        while not memberships(flow.group):
            assert time.monotonic() < deadline, "the group was not joined again"
            ingest.reader.wait(0.02)
        sender.send(camera.frame())
        assert ingest.next_frame()[:2] == (camera.sent[1], 2)
        assert ingest.value("appliance_ingest_sender_restarts_total") == 0
        sender.close()
