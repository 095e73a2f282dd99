"""The fan-out when viewers move between renditions, skip to a keyframe, or are told when each packet was sent."""
import pytest

from appliance.clock import monotonic_ns
from tests.kernels.fanout_theatre import COUNTER_MODE, GCM, KEYFRAME_NALS, delta

FULL, HALF = 0, 1
SMALL_KEYFRAME = [b"\x67" + b"\x17" * 20, b"\x68\xce\x38\x80", b"\x65" + b"\x22" * 5000]
TICKS = 1800
START = 0xFFFF_FF00  # the RTP timestamp wraps on the way


@pytest.fixture
def levels(open_theatre):
    """Two renditions of one stream with one SSRC."""
    return open_theatre((b"h264", b"h264"), one_ssrc=True)


def at(number):
    return START + TICKS * number & 0xFFFF_FFFF


def watching(levels, **options):
    """A viewer that has seen the first keyframe of FULL, at(0); nobody's wish is left."""
    viewer = levels.viewer(**options)
    levels.publish(KEYFRAME_NALS, keyframe=True, timestamp=at(0))
    assert viewer.nals() == KEYFRAME_NALS
    levels.fanout.take_keyframe_wanted(FULL)
    return viewer


def rises(timestamps):
    return all(0 < (after - before) % 2**32 < 2**31 for before, after in zip(timestamps, timestamps[1:]))


def test_a_viewer_moves_at_the_target_s_keyframe_and_numbering_goes_on(levels):
    viewer = watching(levels)
    levels.fanout.move_viewer(viewer.identifier, HALF)
    assert levels.fanout.take_keyframe_wanted(HALF) == 1 and levels.fanout.take_keyframe_wanted(FULL) == 0
    levels.publish(delta(1), timestamp=at(1))
    assert viewer.nals() == delta(1) and viewer.stats().rendition == FULL
    levels.publish(delta(7), HALF, timestamp=at(1))
    levels.publish(delta(2), timestamp=at(2))
    assert viewer.nals() == delta(2)
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(3))
    assert viewer.nals() == SMALL_KEYFRAME and viewer.stats().rendition == HALF
    levels.publish(delta(4), timestamp=at(4))
    levels.publish(delta(5), HALF, timestamp=at(5))
    assert viewer.nals() == delta(5)
    assert viewer.gapless() and viewer.timestamps == [at(number) for number in (0, 1, 2, 3, 5)]
    assert (levels.stats(FULL).viewers, levels.stats(HALF).viewers, viewer.stats().skips) == (0, 1, 0)


def test_a_keyframe_of_the_time_that_was_sent_last_is_lifted_by_a_tick(levels):
    viewer = watching(levels)
    levels.publish(delta(1), timestamp=at(1))
    viewer.nals()
    levels.fanout.move_viewer(viewer.identifier, HALF)
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(1))
    levels.publish(delta(2), HALF, timestamp=at(2))
    assert [viewer.nals(), viewer.nals()] == [SMALL_KEYFRAME, delta(2)]
    assert viewer.timestamps == [at(0), at(1), at(1) + 1, at(2)] and viewer.gapless()


@pytest.mark.parametrize("shift", [1, 0x8000_0001, 0xFFFF_FFFF])
def test_every_timestamp_of_a_viewer_is_shifted_lifted_and_resent_ones_too(levels, shift):
    viewer, other = watching(levels, timestamp_shift=shift), levels.viewer()
    levels.publish(KEYFRAME_NALS, keyframe=True, timestamp=at(1))
    levels.fanout.move_viewer(viewer.identifier, HALF)
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(1))
    assert [viewer.nals(), viewer.nals(), other.nals()] == [KEYFRAME_NALS, SMALL_KEYFRAME, KEYFRAME_NALS]
    assert viewer.timestamps == [(timestamp + shift) % 2**32 for timestamp in (at(0), at(1), at(1) + 1)] and other.timestamps == [at(1)]
    assert viewer.stats().last_rtp_timestamp == at(1) + 1, "the appliance's own time is not shifted"
    assert levels.fanout.nack(viewer.identifier, viewer.sequences[-2:]) == 2
    assert [viewer.resent(), viewer.resent()] == viewer.datagrams[-2:]


def test_an_older_keyframe_is_passed_over_and_the_next_succeeds(levels):
    viewer = watching(levels)
    for number in (1, 2):
        levels.publish(delta(number), timestamp=at(number))
        viewer.nals()
    levels.fanout.move_viewer(viewer.identifier, HALF)
    levels.fanout.take_keyframe_wanted(HALF)
    other = levels.viewer(rendition=HALF)
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(1))
    assert other.nals() == SMALL_KEYFRAME
    levels.publish(delta(9), HALF, timestamp=at(2))
    other.nals()
    assert levels.fanout.take_keyframe_wanted(HALF) == 2 and viewer.stats().waiting_keyframe  # the other's wish, and this viewer's
    levels.publish(KEYFRAME_NALS, keyframe=True, timestamp=at(3))  # the present rendition pauses, so that HALF catches up
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(3))
    assert viewer.nals() == SMALL_KEYFRAME
    assert viewer.timestamps == [at(number) for number in (0, 1, 2, 3)] and viewer.gapless()


def test_a_source_that_begins_anew_on_another_time_line_holds_nobody(levels):
    viewer = watching(levels)
    levels.fanout.move_viewer(viewer.identifier, HALF)
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(-3600 * 50))
    assert viewer.nals() == SMALL_KEYFRAME


def test_a_pausing_move_sends_nothing_until_the_target_s_keyframe(levels):
    viewer, other = watching(levels), levels.viewer()
    levels.fanout.move_viewer(viewer.identifier, HALF, pause=True)
    levels.publish(delta(1), timestamp=at(1))
    levels.publish(KEYFRAME_NALS, keyframe=True, timestamp=at(2))
    assert other.nals() == KEYFRAME_NALS
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(3))
    assert viewer.nals() == SMALL_KEYFRAME
    assert viewer.gapless() and viewer.timestamps == [at(0), at(3)]


def test_another_move_replaces_the_first_and_the_present_rendition_cancels_it(open_theatre):
    levels = open_theatre((b"h264",) * 3, one_ssrc=True)
    viewer = watching(levels)
    levels.fanout.move_viewer(viewer.identifier, 1)
    levels.fanout.move_viewer(viewer.identifier, 2)
    assert [levels.stats(number).viewers for number in range(3)] == [1, 0, 1]
    levels.publish(SMALL_KEYFRAME, 1, keyframe=True, timestamp=at(1))
    levels.fanout.move_viewer(viewer.identifier, 0)
    assert [levels.stats(number).viewers for number in range(3)] == [1, 0, 0]
    levels.publish(SMALL_KEYFRAME, 2, keyframe=True, timestamp=at(1))
    levels.publish(delta(1), timestamp=at(2))
    assert viewer.nals() == delta(1) and viewer.stats().rendition == 0
    assert levels.fanout.take_keyframe_wanted(0) == 0


def test_a_cancelled_pause_waits_for_a_keyframe_of_the_present_rendition(levels):
    viewer, other = watching(levels), levels.viewer()
    levels.fanout.take_keyframe_wanted(FULL)
    levels.fanout.move_viewer(viewer.identifier, HALF, pause=True)
    levels.publish(delta(1), timestamp=at(1))
    levels.fanout.move_viewer(viewer.identifier, FULL)
    assert levels.fanout.take_keyframe_wanted(FULL) == 1
    levels.publish(delta(2), timestamp=at(2))
    levels.publish(KEYFRAME_NALS, keyframe=True, timestamp=at(3))
    assert [viewer.nals(), other.nals()] == [KEYFRAME_NALS] * 2 and viewer.gapless()


def test_moves_within_one_codec_and_ssrc_only(open_theatre):
    theatre = open_theatre((b"h264", b"vp8", b"h264"))
    viewer = theatre.viewer()
    for rendition in (1, 2):
        with pytest.raises(ValueError, match="another codec or SSRC"):
            theatre.fanout.move_viewer(viewer.identifier, rendition)
    for call in (lambda: theatre.fanout.move_viewer(viewer.identifier, 3), lambda: theatre.fanout.move_viewer(viewer.identifier, -1),
                 lambda: theatre.fanout.move_viewer(viewer.identifier + 1, 0), lambda: theatre.fanout.skip_viewer(0)):
        with pytest.raises(KeyError):
            call()
    assert [theatre.stats(number).viewers for number in range(3)] == [1, 0, 0]


def test_who_leaves_in_the_middle_of_a_move_is_counted_nowhere(levels):
    viewer = watching(levels)
    levels.fanout.move_viewer(viewer.identifier, HALF)
    levels.fanout.remove_viewer(viewer.identifier)
    assert [levels.stats(number).viewers for number in (FULL, HALF)] == [0, 0]
    assert levels.viewer().identifier & 0xFFFF == viewer.identifier & 0xFFFF


def test_the_target_s_keyframe_is_asked_for_again_while_somebody_moves(levels):
    viewer = watching(levels)
    levels.fanout.move_viewer(viewer.identifier, HALF)
    levels.fanout.take_keyframe_wanted(HALF)
    last = levels.viewer(rendition=HALF)
    levels.fanout.take_keyframe_wanted(HALF)
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(-1))  # older: only the other viewer takes it
    last.nals()
    for number in range(51):
        levels.publish(delta(number, 100), HALF, timestamp=at(number))
        last.nals()
    assert levels.fanout.take_keyframe_wanted(HALF) == 2


def test_skipping_sends_nothing_until_the_next_keyframe(levels):
    viewer = watching(levels)
    levels.fanout.skip_viewer(viewer.identifier)
    levels.fanout.skip_viewer(viewer.identifier)
    assert levels.fanout.take_keyframe_wanted(FULL) == 2
    levels.publish(delta(1), timestamp=at(1))
    levels.publish(KEYFRAME_NALS, keyframe=True, timestamp=at(2))
    assert viewer.nals() == KEYFRAME_NALS and viewer.gapless()
    assert viewer.stats().skips == levels.stats().skips == 1


@pytest.mark.parametrize("profile", [GCM, COUNTER_MODE])
def test_what_was_sent_before_and_after_a_move_is_resent_octet_for_octet(levels, profile):
    viewer = watching(levels, profile=profile, abs_send_time_id=2, playout_delay_id=5, mid_id=1, mid=b"0")
    levels.publish(delta(1), timestamp=at(1))
    viewer.nals()
    levels.fanout.move_viewer(viewer.identifier, HALF)
    levels.publish(SMALL_KEYFRAME, HALF, keyframe=True, timestamp=at(1))  # lifted
    levels.publish(delta(2), HALF, timestamp=at(2))
    assert [viewer.nals(), viewer.nals()] == [SMALL_KEYFRAME, delta(2)]
    sent = list(zip(viewer.sequences, viewer.datagrams))[::3]
    assert levels.fanout.nack(viewer.identifier, [sequence for sequence, _ in sent]) == len(sent)
    assert [viewer.resent() for _ in sent] == [datagram for _, datagram in sent]
    levels.publish(delta(3), HALF, timestamp=at(3))
    assert viewer.nals() == delta(3) and viewer.gapless()  # what follows a resend carries its own send time again


def send_time(packet):
    """abs-send-time of a packet that has it as its first extension."""
    return int.from_bytes(packet[17:20], "big")


def test_each_packet_says_when_it_was_sent(theatre):
    stamped, plain = theatre.viewer(abs_send_time_id=14, mid_id=3, mid=b"0"), theatre.viewer(mid_id=3, mid=b"0")
    before = monotonic_ns()
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    first = stamped.packets()
    theatre.publish(delta(1))
    second = stamped.packets()
    after = monotonic_ns()
    assert {packet[12:17] for packet in first} == {bytes.fromhex("bede0002" "e2")}
    assert {packet[20:22] for packet in first} == {b"\x30" b"0"}
    elapsed = [(send_time(packet) - (before % (64 * 10**9) << 18) // 10**9) % 2**24 for packet in first + second]
    assert elapsed == sorted(elapsed) and elapsed[-1] <= (after - before << 18) // 10**9 + 1
    assert {packet[12:16] for packet in plain.packets()} == {bytes.fromhex("bede0001")}


def test_all_packets_of_a_small_unit_carry_one_send_time(theatre):
    viewer = theatre.viewer(abs_send_time_id=1)
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    assert len({send_time(packet) for packet in viewer.packets()}) == 1


def test_only_what_is_remembered_is_resent(theatre):
    viewer = theatre.viewer(abs_send_time_id=1)
    theatre.publish(KEYFRAME_NALS, keyframe=True)
    viewer.nals()
    for number in range(300):  # more spans than are remembered, fewer packets than the history holds
        theatre.publish(delta(number, 50))
        viewer.nals()
    assert theatre.fanout.nack(viewer.identifier, viewer.sequences[:1]) == 0
    assert theatre.fanout.nack(viewer.identifier, viewer.sequences[-250:-249]) == 1
    assert viewer.resent() == viewer.datagrams[-250]
