"""The fan-out when an access unit is large: it leaves in passes over all viewers, so that no viewer gets it in one burst."""
import os
import socket
from itertools import groupby

import pytest

from tests.kernels.fanout_theatre import GCM, KEYFRAME_NALS, WAIT_S, delta
from tests.kernels.test_fanout import BLOCKED_FD, answer_eagain_above_blocked_fd
from tests.kernels.test_fanout_moves import SMALL_KEYFRAME, at, send_time

PASS_PACKETS = 24
LARGE = KEYFRAME_NALS[:2] + [b"\x65" + b"\x33" * 110_000]
HUGE = KEYFRAME_NALS[:2] + [b"\x65" + b"\x44" * 600_000]
MAX_PACING_RATE = 47  # SO_MAX_PACING_RATE


def test_every_viewer_gets_a_pass_before_anybody_gets_the_next(theatre):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(WAIT_S)
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for sender in senders:
            theatre.fanout.add_viewer(0, sender.fileno(), receiver.getsockname(), GCM, os.urandom(16), os.urandom(12), 102)
        theatre.publish(LARGE, keyframe=True)
        came = [receiver.recvfrom(2048) for _ in range(3 * 98)]
        ports = [port for port, _ in groupby(address[1] for _, address in came)]
        runs = [len(list(run)) for _, run in groupby(address[1] for _, address in came)]
        assert ports == ports[:3] * 5 and len(set(ports)) == 3
        assert runs == 3 * [24] + 3 * [24] + 3 * [24] + 3 * [24] + 3 * [2]
        for sender in senders:
            sender.close()


def test_a_unit_of_one_pass_leaves_at_once(theatre):
    viewer = theatre.viewer(abs_send_time_id=1)
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    viewer.packets()
    theatre.publish(delta(1, PASS_PACKETS * 1100))
    packets = viewer.packets()
    assert len(packets) == PASS_PACKETS and len({send_time(packet) for packet in packets}) == 1


def test_passes_are_an_interval_apart_and_end_within_half_a_frame(theatre):
    viewer = theatre.viewer(abs_send_time_id=1)
    theatre.publish(LARGE, keyframe=True)
    packets = viewer.packets()
    times = [send_time(packets[first]) for first in range(0, len(packets), PASS_PACKETS)]
    ticks_of_2_5_ms = int(0.0025 * 2**18)  # four of them in half a frame of 20 ms; a clock may show one less
    assert all((after - before) % 2**24 >= ticks_of_2_5_ms - 1 for before, after in zip(times, times[1:]))


def test_each_pass_carries_its_own_send_time_and_is_resent_with_it(theatre):
    viewer = theatre.viewer(abs_send_time_id=1)
    theatre.publish(LARGE, keyframe=True)
    packets = viewer.packets()
    times = [send_time(packets[first]) for first in range(0, len(packets), PASS_PACKETS)]
    assert len(set(times)) == 5
    assert all(send_time(packet) == times[number // PASS_PACKETS] for number, packet in enumerate(packets))
    assert theatre.fanout.nack(viewer.identifier, viewer.sequences[::5]) == 20
    assert [viewer.resent() for _ in range(20)] == viewer.datagrams[::5]


def test_the_next_unit_comes_after_the_last_pass(theatre):
    viewers = [theatre.viewer() for _ in range(2)]
    theatre.publish(HUGE, keyframe=True)
    theatre.publish(delta(1))
    theatre.publish(LARGE, keyframe=True)
    for viewer in viewers:
        assert [viewer.nals() for _ in range(3)] == [HUGE, delta(1), LARGE] and viewer.gapless()


def test_another_rendition_is_served_between_the_passes_and_nothing_mixes(open_theatre):
    theatre = open_theatre((b"h264", b"h264"))
    first, second = theatre.viewer(), theatre.viewer(rendition=1)
    for number in range(3):
        theatre.publish(HUGE, keyframe=True)
        theatre.publish(LARGE, 1, keyframe=True)
        assert first.nals() == HUGE and second.nals() == LARGE
    assert first.gapless() and second.gapless()


def test_who_joins_between_two_passes_waits_for_the_next_keyframe(theatre):
    early = theatre.viewer()
    theatre.publish(HUGE, keyframe=True)
    late = theatre.viewer()
    assert early.nals() == HUGE
    theatre.publish(LARGE, keyframe=True)
    pictures = [late.nals()]
    if pictures == [HUGE]:  # it came before the first pass
        pictures.append(late.nals())
    assert pictures[-1] == LARGE and late.gapless()


def test_a_move_lets_the_unit_under_way_end_first(open_theatre):
    levels = open_theatre((b"h264", b"h264"), one_ssrc=True)
    viewer = levels.viewer()
    for number in range(0, 20, 4):
        levels.fanout.move_viewer(viewer.identifier, 0)
        levels.publish(KEYFRAME_NALS, 0, keyframe=True, timestamp=at(number))
        assert viewer.nals() == KEYFRAME_NALS
        levels.fanout.move_viewer(viewer.identifier, 1)
        levels.publish(HUGE, 0, keyframe=True, timestamp=at(number + 1))
        levels.publish(SMALL_KEYFRAME, 1, keyframe=True, timestamp=at(number + 2))
        came = [viewer.nals()]
        if came == [HUGE]:  # else both were there at once and the target's came first
            came.append(viewer.nals())
        assert came[-1] == SMALL_KEYFRAME
    assert viewer.gapless()


def test_a_socket_that_fills_up_between_passes_is_skipped_once(open_theatre):
    theatre = open_theatre(before_run=answer_eagain_above_blocked_fd)
    steady, slow = theatre.viewer(), theatre.viewer()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert slow.nals() == KEYFRAME_NALS
    os.dup2(slow.sender.fileno(), BLOCKED_FD)
    theatre.descriptors.append(BLOCKED_FD)
    theatre.fanout.redirect_viewer(slow.identifier, BLOCKED_FD, slow.remote)
    theatre.publish(LARGE, keyframe=True)
    theatre.publish(delta(1))
    assert [steady.nals(), steady.nals(), steady.nals()] == [KEYFRAME_NALS, LARGE, delta(1)]
    assert theatre.stats().eagains == slow.stats().skips == 1
    theatre.fanout.redirect_viewer(slow.identifier, slow.sender.fileno(), slow.remote)
    theatre.publish(LARGE, keyframe=True)
    assert slow.nals() == LARGE and slow.gapless()


def test_the_first_viewer_is_another_one_for_each_unit(theatre):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(WAIT_S)
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for sender in senders:
            theatre.fanout.add_viewer(0, sender.fileno(), receiver.getsockname(), GCM, os.urandom(16), os.urandom(12), 102)
        firsts = []
        for _ in range(6):
            theatre.publish([b"\x65" + b"\x11" * 500], keyframe=True)
            firsts.append([receiver.recvfrom(2048)[1][1] for _ in senders][0])
        assert len(set(firsts)) == 3 and firsts[:3] == firsts[3:]
        for sender in senders:
            sender.close()


def test_every_unit_s_skew_is_counted(theatre):
    viewers = [theatre.viewer() for _ in range(3)]
    for _ in range(4):
        theatre.publish(LARGE, keyframe=True)
        for viewer in viewers:
            viewer.nals()
    stats = theatre.stats()
    assert 3 <= sum(stats.skew_buckets) <= 4  # the last unit may be received before it is counted
    assert 0 < stats.skew_max_ns <= stats.skew_sum_ns


@pytest.mark.parametrize("bits_per_s, octets_per_s", [(6_000_000, 9_600_000), (20_000_000, 20_000_000), (100_000_000_000, None), (0, None)])
def test_the_kernel_may_pace_a_socket_of_the_viewer_s_own(theatre, bits_per_s, octets_per_s):
    viewer = theatre.viewer(bits_per_s=bits_per_s)
    unset = 0xFFFF_FFFF
    rate = viewer.sender.getsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, 4)
    assert int.from_bytes(rate, "little") == (octets_per_s or unset)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        theatre.fanout.redirect_viewer(viewer.identifier, other.fileno(), viewer.remote)
        assert int.from_bytes(other.getsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, 4), "little") == (octets_per_s or unset)
