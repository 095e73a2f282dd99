"""The time line: frames on the TAI grid, a sender on PTP taken at its word, any other followed by its arrival without a gap."""
import pytest

from appliance.sound.timeline import FRAME_NS, FRAME_SAMPLES, JUMP_NS_MIN, ONE, RATE_HZ, Timeline

SECOND_NS = 1_000_000_000
NOW_NS = 1_800_000_000 * SECOND_NS + 123_456_789


def ptp(rate_hz=48_000, offset=0, sent_ns=NOW_NS, came_ns=None):
    """The time line of a sender on PTP whose first packet left at `sent_ns`."""
    tick = (sent_ns * rate_hz // SECOND_NS + offset) % 2**32
    return tick, Timeline(tick, came_ns or sent_ns + 2_000_000, rate_hz, offset, rate_hz // 1000)


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("offset", [0, 4_000_000_000])
def test_a_frame_of_a_sender_on_ptp_begins_where_its_capture_time_is_on_the_tape(rate_hz, offset):
    tick, timeline = ptp(rate_hz, offset)
    assert not timeline.by_arrival
    began = timeline.number * FRAME_NS
    assert NOW_NS <= began < NOW_NS + FRAME_NS + SECOND_NS // rate_hz
    exact = tick + (began * rate_hz - NOW_NS * rate_hz // SECOND_NS * SECOND_NS) / SECOND_NS
    assert abs(timeline.position / ONE - exact) < 1e-3 and timeline.step == rate_hz * ONE // RATE_HZ


def test_frames_follow_each_other_without_gap_or_overlap():
    _, timeline = ptp(44_100)
    for _ in range(500):
        end = timeline.position + FRAME_SAMPLES * timeline.step
        assert timeline.advance(0)
        assert abs(timeline.position - end) <= FRAME_SAMPLES + 1, "a rounding of the step, in 2^-32 ticks"


@pytest.mark.parametrize("ppm", [-300, -50, 20, 100, 400])
def test_a_sender_without_ptp_is_followed_by_its_arrival_whatever_its_clock_does(ppm):
    timeline = Timeline(77, NOW_NS, 48_000, 0, 48)
    assert timeline.by_arrival
    first = timeline.position
    frames = 60 * 100
    for frame in range(frames):
        end = timeline.position + FRAME_SAMPLES * timeline.step
        assert timeline.advance(-frame * FRAME_NS * ppm // 1_000_000)
        assert abs(timeline.position - end) <= FRAME_SAMPLES + 1
    read = (timeline.position - first) / ONE
    sent = frames * 480 * (1 + ppm / 1_000_000)
    assert abs(read - sent) < 48_000 * 0.005, "within five milliseconds after a minute"
    assert timeline.drift_ppm == pytest.approx(ppm, abs=2)


def test_a_jump_of_the_senders_time_ends_the_time_line():
    timeline = Timeline(77, NOW_NS, 48_000, 0, 48)
    alive = [timeline.advance(0 if frame < 300 else 2 * JUMP_NS_MIN) for frame in range(500)]
    assert not all(alive)


def test_the_delay_of_a_sender_on_ptp_is_that_of_the_network():
    _, timeline = ptp(came_ns=NOW_NS + 1_000_000 + 3_000_000)
    while timeline.delay_ns is None:
        timeline.advance(0)
    assert abs(timeline.delay_ns - 3_000_000) < 50_000
