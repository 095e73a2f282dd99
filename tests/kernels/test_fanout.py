"""The fan-out over loopback sockets: what every viewer of a rendition gets, resends, failures and counters. Moves: test_fanout_moves.py."""
import ctypes
import os
import platform
import socket
import struct
import threading

import pytest

from appliance.clock import monotonic_ns, tai_ns
from appliance.protocol import vp8
from cext.fanout import BATCHED, SEGMENTED, SINGLY, Fanout
from cext.packetise import PAYLOAD_MAX
from cext.ring import EVERY, Ring, RingReader
from tests.kernels.fanout_theatre import COUNTER_MODE, GCM, KEYFRAME_NALS, SSRC, WAIT_S, Viewer, delta


def test_every_viewer_gets_the_identical_access_units(theatre):
    viewers = [theatre.viewer(profile=profile) for profile in (GCM, COUNTER_MODE, GCM, COUNTER_MODE, GCM)]
    units = [KEYFRAME_NALS] + [delta(number, size) for number, size in enumerate((1, 1100, 1145, 9000, 70_000))]
    for unit in units:
        theatre.publish(unit, keyframe=unit is KEYFRAME_NALS)
        assert [viewer.nals() for viewer in viewers] == [unit] * len(viewers)
    assert all(viewer.gapless() for viewer in viewers)


def test_packets_carry_the_slot_s_timestamp_the_rendition_s_ssrc_and_the_viewer_s_payload_type(theatre):
    viewer, other = theatre.viewer(payload_type=96), theatre.viewer(payload_type=127)
    for keyframe in (True, False):
        timestamp = theatre.publish(KEYFRAME_NALS, keyframe=keyframe)
        for receiver, payload_type in ((viewer, 96), (other, 127)):
            headers = {(packet[1] & 0x7F, *struct.unpack("!II", packet[4:12])) for packet in receiver.packets()}
            assert headers == {(payload_type, timestamp, SSRC)}


def test_the_header_extension_carries_playout_delay_and_mid(theatre):
    both = theatre.viewer(playout_delay_id=5, playout_delay=(3, 4095), mid_id=9, mid=b"video")
    alone = theatre.viewer(mid_id=14, mid=b"0")
    none = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert {packet[12:28] for packet in both.packets()} == {bytes.fromhex("bede0003" "52003fff" "94") + b"video\0\0"[:7]}
    assert {packet[12:20] for packet in alone.packets()} == {bytes.fromhex("bede0001" "e0") + b"0\0\0"}
    assert not any(packet[0] & 0x10 for packet in none.packets())


@pytest.mark.parametrize("profile, longest", [(GCM, 1200), (COUNTER_MODE, 1194)])
def test_the_longest_datagram_has_1200_octets(theatre, profile, longest):
    viewer = theatre.viewer(profile=profile, abs_send_time_id=3, playout_delay_id=1, mid_id=2, mid=b"sixteen octets..")
    full_fragments = [b"\x65" + b"\x11" * (PAYLOAD_MAX - 2) * 10]
    theatre.publish(full_fragments, keyframe=True)
    assert viewer.nals() == full_fragments
    assert {len(datagram) for datagram in viewer.datagrams} == {longest}


def test_an_access_unit_is_one_send_and_parameter_sets_cost_one_more(theatre):
    viewer = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    viewer.nals()
    for number in range(11):
        theatre.publish(delta(number, 24_000))
        viewer.nals()
    assert theatre.stats().send_calls in (12, 13)  # the last unit may be received before it is counted


def test_a_keyframe_above_one_send_s_limit_takes_several(theatre):
    viewer = theatre.viewer()
    large = KEYFRAME_NALS[:2] + [b"\x65" + b"\x11" * 1_000_000]
    theatre.publish(large, keyframe=True)
    assert viewer.nals() == large
    assert viewer.gapless() and len(viewer.sequences) > 800


def test_who_joins_in_mid_stream_begins_at_a_keyframe_and_asks_for_one(theatre):
    first = theatre.viewer()
    assert theatre.fanout.take_keyframe_wanted(0) == 1
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    first.nals()
    late = theatre.viewer()
    assert os.eventfd_read(theatre.fanout.keyframe_fd) == 1
    assert theatre.fanout.take_keyframe_wanted(0) == 1
    assert theatre.fanout.take_keyframe_wanted(0) == 0
    for number in range(3):
        theatre.publish(delta(number))
        first.nals()
    assert late.stats().waiting_keyframe
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert late.nals() == KEYFRAME_NALS
    assert late.sequences[0] == late.stats().first_sequence < 0x8000


def test_a_keyframe_is_asked_for_again_while_somebody_waits(theatre):
    first = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    first.nals()
    theatre.viewer()
    theatre.fanout.take_keyframe_wanted(0)
    for number in range(52):
        theatre.publish(delta(number, 100))
        first.nals()
    assert theatre.fanout.take_keyframe_wanted(0) == 1


def test_a_lost_access_unit_makes_all_viewers_wait_and_asks_once(theatre):
    viewers = [theatre.viewer() for _ in range(3)]
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    for viewer in viewers:
        viewer.nals()
    theatre.fanout.take_keyframe_wanted(0)
    theatre.publish(delta(1), lost_before=1)
    theatre.publish(delta(2))
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert [viewer.nals() for viewer in viewers] == [KEYFRAME_NALS] * 3
    assert all(viewer.gapless() for viewer in viewers)
    assert theatre.fanout.take_keyframe_wanted(0) == 1
    assert theatre.stats().gaps == 1 and [viewer.stats().skips for viewer in viewers] == [1] * 3


def test_a_gap_before_a_keyframe_costs_nobody_anything(theatre):
    viewer = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    theatre.publish(KEYFRAME_NALS, keyframe=True, lost_before=5)
    assert [viewer.nals(), viewer.nals()] == [KEYFRAME_NALS] * 2
    assert viewer.stats().skips == 0


@pytest.mark.parametrize("unit, payload_bytes", [(b"no start code", None), (b"", None), (b"\0\0\1\x65", 0xFFFF_FFFF)],
                         ids=["no NAL unit", "empty", "length beyond the slot"])
def test_an_access_unit_that_is_none_is_counted_and_breaks_the_references(theatre, unit, payload_bytes):
    viewer = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    theatre.publish(unit, payload_bytes=payload_bytes)
    theatre.publish(delta(1))
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert [viewer.nals(), viewer.nals()] == [KEYFRAME_NALS] * 2
    assert viewer.gapless()
    assert theatre.stats().units_refused == 1 and viewer.stats().skips == 1


BLOCKED_FD = 900  # the fan-out's duplicate of a descriptor never has a lower number than the original


def answer_eagain_above_blocked_fd():
    """A system call filter for this thread: sendmsg on descriptors from BLOCKED_FD on finds the socket's buffer full."""
    sendmsg = {"x86_64": 46, "aarch64": 211}[platform.machine()]
    load, equal, at_least, give, eagain = 0x20, 0x15, 0x35, 0x06, 11
    code = [(load, 0, 0, 0), (equal, 0, 3, sendmsg), (load, 0, 0, 16), (at_least, 0, 1, BLOCKED_FD), (give, 0, 0, 0x0005_0000 | eagain),
            (give, 0, 0, 0x7FFF_0000)]
    octets = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(octets)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, filter_mode, program, 0, 0) == 0


def test_a_full_socket_skips_to_the_next_keyframe_while_the_others_go_on(open_theatre):
    theatre = open_theatre(before_run=answer_eagain_above_blocked_fd)
    steady, slow = theatre.viewer(), theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    theatre.publish(delta(1))
    assert [slow.nals(), slow.nals()] == [KEYFRAME_NALS, delta(1)]
    theatre.fanout.take_keyframe_wanted(0)

    os.dup2(slow.sender.fileno(), BLOCKED_FD)
    theatre.descriptors.append(BLOCKED_FD)
    theatre.fanout.redirect_viewer(slow.identifier, BLOCKED_FD, slow.remote)
    for number in (2, 3):
        theatre.publish(delta(number))
    for _ in range(4):
        steady.nals()
    theatre.fanout.redirect_viewer(slow.identifier, slow.sender.fileno(), slow.remote)
    theatre.publish(delta(4))
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    theatre.publish(delta(5))
    assert [slow.nals(), slow.nals()] == [KEYFRAME_NALS, delta(5)]
    assert [steady.nals(), steady.nals(), steady.nals()] == [delta(4), KEYFRAME_NALS, delta(5)]
    assert slow.gapless() and steady.gapless()
    assert slow.stats().skips == 1 and steady.stats().skips == 0
    assert theatre.stats().eagains == 1
    assert theatre.fanout.take_keyframe_wanted(0) == 1

    before_the_skip = slow.sequences[0]
    assert theatre.fanout.nack(slow.identifier, [before_the_skip]) == 1
    assert slow.resent() == slow.datagrams[0]


@pytest.mark.parametrize("profile", [GCM, COUNTER_MODE])
def test_a_nack_is_answered_with_the_same_datagrams_octet_for_octet(theatre, profile):
    viewer, other = theatre.viewer(profile=profile, playout_delay_id=5, mid_id=1, mid=b"0"), theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    theatre.publish(delta(1))
    viewer.nals(), viewer.nals()
    lost = viewer.sequences[0:30:3]
    assert theatre.fanout.nack(viewer.identifier, lost) == len(lost)
    assert [viewer.receiver.recv(2048) for _ in lost] == viewer.datagrams[0:30:3]
    stats = viewer.stats()
    assert (stats.resends, stats.packets) == (len(lost), len(viewer.sequences))
    assert [other.nals(), other.nals()] == [KEYFRAME_NALS, delta(1)]


def test_a_nack_for_what_was_not_sent_is_ignored(theatre):
    viewer = theatre.viewer()
    assert theatre.fanout.nack(viewer.identifier, range(0, 65536, 64)) == 0
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    viewer.nals()
    following, before = (viewer.sequences[-1] + 1) & 0xFFFF, (viewer.sequences[0] - 1) & 0xFFFF
    assert theatre.fanout.nack(viewer.identifier, [following, before]) == 0
    assert viewer.stats().resends_refused == 1024 + 2


def test_resends_are_limited_per_packet_and_per_second(theatre):
    viewer = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    theatre.publish(delta(1, 900_000))
    viewer.nals(), viewer.nals()
    assert theatre.fanout.nack(viewer.identifier, [viewer.sequences[3]] * 10) == 3
    # The calls may fall into one second, two or three.
    assert 256 - 3 <= theatre.fanout.nack(viewer.identifier, viewer.sequences[100:700]) <= 256
    assert theatre.fanout.nack(viewer.identifier, viewer.sequences[100:700]) <= 256
    assert theatre.stats().resends == viewer.stats().resends <= 3 + 512


def test_packets_older_than_the_history_are_not_resent(theatre):
    viewer = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    viewer.nals()
    for number in range(3):
        theatre.publish(delta(number, 1_000_000))
        viewer.nals()
    assert theatre.fanout.nack(viewer.identifier, viewer.sequences[:5]) == 0
    assert theatre.fanout.nack(viewer.identifier, viewer.sequences[-5:]) == 5


def test_a_connected_socket_needs_no_address(open_theatre):
    for send_way in (SEGMENTED, BATCHED, SINGLY):
        theatre = open_theatre(send_way=send_way)
        viewer = theatre.viewer(connected=True)
        theatre.publish(KEYFRAME_NALS, keyframe=True)
        assert viewer.nals() == KEYFRAME_NALS
        theatre.fanout.redirect_viewer(viewer.identifier, viewer.sender.fileno(), None)
        theatre.publish(delta(1))
        assert viewer.nals() == delta(1)


@pytest.mark.parametrize("send_way", [SEGMENTED, BATCHED, SINGLY], ids=["sendmsg", "sendmmsg", "sendto"])
def test_each_way_of_sending_delivers_the_same(open_theatre, send_way):
    theatre = open_theatre(send_way=send_way)
    viewer = theatre.viewer()
    large = KEYFRAME_NALS[:2] + [b"\x65" + b"\x11" * 150_000]
    theatre.publish(large, keyframe=True)
    theatre.publish(delta(1))
    assert [viewer.nals(), viewer.nals()] == [large, delta(1)]
    assert viewer.gapless() and viewer.stats().send_way == send_way


def test_a_socket_that_cannot_segment_falls_back_alone(theatre):
    humble, able = theatre.viewer(no_checksum=True), theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    for viewer in (humble, able):
        assert viewer.nals() == KEYFRAME_NALS
    theatre.publish(delta(1))
    for viewer in (humble, able):
        assert viewer.nals() == delta(1) and viewer.gapless()
    theatre.publish(delta(2))
    able.nals(), humble.nals()
    assert (humble.stats().send_way, able.stats().send_way) == (BATCHED, SEGMENTED)
    assert theatre.stats().gso_fallbacks == 1


def test_a_viewer_who_has_gone_is_counted_and_harms_nobody(theatre):
    gone, steady = theatre.viewer(), theatre.viewer()
    gone.sender.connect(gone.remote)  # a connected socket is told of the port that nobody listens on
    gone.receiver.close()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    for number in range(6):
        theatre.publish(delta(number))
    assert [steady.nals() for _ in range(7)] == [KEYFRAME_NALS] + [delta(number) for number in range(6)]
    assert gone.stats().send_errors > 0
    assert theatre.stats().send_errors > 0 and steady.stats().send_errors == 0


def test_ipv6_and_mapped_ipv4_addresses_are_served(theatre):
    viewer = theatre.viewer(family=socket.AF_INET6)
    mapped = theatre.viewer()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        theatre.fanout.redirect_viewer(mapped.identifier, sender.fileno(), mapped.remote)
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert [viewer.nals(), mapped.nals()] == [KEYFRAME_NALS] * 2


def test_renditions_keep_apart(open_theatre):
    theatre = open_theatre((b"h264", b"vp8"))
    expert, student = theatre.viewer(), theatre.viewer(rendition=1)
    frame = bytes(range(250)) * 40
    for _ in range(3):
        theatre.publish(KEYFRAME_NALS, keyframe=True)
        theatre.publish(frame, rendition=1, keyframe=True)
    assert [expert.nals() for _ in range(3)] == [KEYFRAME_NALS] * 3
    pictures = [student.payloads() for _ in range(3)]
    assert [vp8.depacketise(payloads) for payloads in pictures] == [frame] * 3
    assert {vp8.parse_descriptor(payload).picture_id for payloads in pictures for payload in payloads} == {None}
    theatre.publish(frame, rendition=1, keyframe=True)
    assert {int.from_bytes(packet[8:12], "big") for packet in student.packets()} == {SSRC + 1}


def test_sequence_numbers_roll_over_and_libsrtp_follows(theatre):
    viewer = theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    viewer.nals()
    for number in range(70):
        theatre.publish(delta(number, 1_100_000))
        assert viewer.nals() == delta(number, 1_100_000)
    assert viewer.gapless() and len(viewer.sequences) > 0x1_0000
    assert theatre.fanout.nack(viewer.identifier, viewer.sequences[-3:]) == 3
    assert [viewer.receiver.recv(2048) for _ in range(3)] == viewer.datagrams[-3:]


def test_a_removed_viewer_gets_nothing_more_and_its_id_is_dead(theatre):
    leaving, staying = theatre.viewer(), theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    leaving.nals()
    theatre.fanout.remove_viewer(leaving.identifier)
    following = theatre.viewer()
    assert following.identifier != leaving.identifier
    for call in (theatre.fanout.remove_viewer, theatre.fanout.viewer_stats, lambda viewer: theatre.fanout.nack(viewer, [1]),
                 lambda viewer: theatre.fanout.redirect_viewer(viewer, staying.sender.fileno(), staying.remote)):
        for unknown in (leaving.identifier, 0, -1, 1 << 40):
            with pytest.raises(KeyError):
                call(unknown)
    theatre.publish(delta(1))
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert [staying.nals() for _ in range(3)] == [KEYFRAME_NALS, delta(1), KEYFRAME_NALS]
    assert following.nals() == KEYFRAME_NALS
    leaving.receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        leaving.receiver.recv(2048)


def test_viewers_come_go_and_complain_while_the_stream_runs(theatre):
    steady = theatre.viewer()
    stop, failures = threading.Event(), []

    def come_and_go():
        try:
            while not stop.is_set():
                viewer = Viewer(theatre.fanout)
                theatre.fanout.nack(steady.identifier, range(0, 65536, 257))
                viewer.stats(), theatre.stats()
                theatre.fanout.remove_viewer(viewer.identifier)
                viewer.close()
        except Exception as failure:  # a thread's failure is the test's
            failures.append(failure)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(150):
        keyframe = number % 5 == 0
        theatre.publish(KEYFRAME_NALS if keyframe else delta(number), keyframe=keyframe)
        # A resent packet is a duplicate to libsrtp; what is new still comes in order.
        collect_unit(steady)
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert failures == [] and theatre.stats().viewers == 1
    assert steady.gapless() and steady.stats().skips == 0


def collect_unit(viewer):
    """Reads to the next new packet with the marker; packets that were resent count once."""
    while True:
        datagram = viewer.receiver.recv(2048)
        sequence = int.from_bytes(datagram[2:4], "big")
        if viewer.sequences and (sequence - viewer.sequences[-1] - 1) & 0xFFFF >= 0x8000:
            continue
        viewer.sequences.append(sequence)
        if viewer.session.unprotect(datagram)[1] & 0x80:
            return


def test_stats_tell_what_was_sent(theatre):
    viewer = theatre.viewer()
    assert viewer.stats()[:5] == (0, 0, 0, 0, viewer.stats().first_sequence) and viewer.stats().first_send_monotonic_ns == 0
    joined_ns = monotonic_ns()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    timestamp = theatre.publish(delta(1))
    payloads = viewer.payloads() + viewer.payloads()
    theatre.publish(delta(2, 10))
    viewer.payloads()
    stats, totals = viewer.stats(), theatre.stats()
    assert joined_ns < stats.first_send_monotonic_ns < monotonic_ns()
    assert stats.first_sequence == viewer.sequences[0]
    assert stats.last_sequence in viewer.sequences[-2:]
    assert stats.packets in (len(payloads), len(payloads) + 1)
    assert stats.octets - sum(map(len, payloads)) in (0, 10)
    assert (stats.last_rtp_timestamp - timestamp) & 0xFFFF_FFFF in (0, 1800)
    assert 0 <= tai_ns() - stats.last_capture_tai_ns < WAIT_S * 1e9
    assert totals.units >= 2 and totals.packets_made >= len(payloads) and totals.viewers == 1
    assert 2 <= sum(totals.latency_buckets) <= 3 and totals.latency_sum_ns > 0
    assert min(totals.packetise_ns, totals.encrypt_ns, totals.send_ns) > 0


@pytest.mark.parametrize("change, failure", [
    ({"profile": 0x0008}, ValueError), ({"key": b"short"}, ValueError), ({"salt": bytes(14)}, ValueError), ({"payload_type": 128}, ValueError),
    ({"playout_delay_id": 15}, ValueError), ({"playout_delay": (0, 4096)}, ValueError), ({"mid_id": 3}, ValueError),
    ({"mid_id": 3, "mid": b"x" * 17}, ValueError), ({"remote": ("127.0.0.1", 0)}, ValueError), ({"remote": ("host.local", 9)}, OSError),
    ({"remote": ("::1", 9)}, OSError), ({"remote": None}, OSError), ({"abs_send_time_id": 15}, ValueError), ({"fd": 10_000}, OSError), ({"rendition": 7}, KeyError)], ids=lambda value: str(value)[:40])
def test_wrong_viewers_are_refused(theatre, change, failure):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        good = {"rendition": 0, "fd": sender.fileno(), "remote": ("127.0.0.1", 9), "profile": GCM, "key": bytes(16), "salt": bytes(12),
                "payload_type": 102}
        descriptors = os.listdir("/proc/self/fd")
        with pytest.raises(failure):
            theatre.fanout.add_viewer(**{**good, **change})
        assert os.listdir("/proc/self/fd") == descriptors


def test_places_have_a_limit(open_theatre):
    theatre = open_theatre(viewers_max=2, renditions_max=1)
    theatre.viewer(), theatre.viewer()
    with pytest.raises(OverflowError):
        theatre.viewer()
    ring, doorbell = Ring.create("units", 2, 4096, EVERY), os.eventfd(0)
    theatre.descriptors += [ring.fd, doorbell]
    with pytest.raises(OverflowError):
        theatre.fanout.add_rendition(RingReader(ring.fd, 0, doorbell), b"vp8", 1)
    with pytest.raises(ValueError):
        theatre.fanout.add_rendition(RingReader(ring.fd, 0, doorbell), b"av1", 1)


def test_run_says_when_a_doorbell_is_no_descriptor():
    ring, doorbell = Ring.create("units", 2, 4096, EVERY), os.eventfd(0)
    fanout = Fanout()
    fanout.add_rendition(RingReader(ring.fd, 0, doorbell), b"h264", 1)
    os.close(doorbell)
    with pytest.raises(OSError, match="Bad file descriptor"):
        fanout.run()
    ring.close()
