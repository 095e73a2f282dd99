"""Which level a viewer gets: scenarios over a modelled line, in virtual time."""
import pytest

from appliance.fanout.adaptation import (FAILED_WITHIN_S, LATENCY_EXCESS_S, PATIENCE_MAX_S, PATIENCE_S, SETTLE_S, SKIPS_MAX, Adaptation)
from appliance.fanout.viewer_report import SeenLatency, ViewerReport
from appliance.frame import Level
from tests.unit.fanout.line import NEEDS_BPS, Line

FULL, HALF, SMALL = Level
HOUR_S = 3600.0


def levels(moves):
    return [level for _, level, _ in moves]


@pytest.mark.parametrize("line", [
    dict(), dict(line_bps=20e6), dict(line_bps=7e6), dict(lost=0.01), dict(lost=0.05), dict(base_trip_s=0.3), dict(fill=0.05), dict(fill=1.1),
    dict(estimates=False), dict(estimates=False, lost=0.05), dict(misled=0.3), dict(misled=0.3, lost=0.05)], ids=str)
def test_a_network_that_carries_the_best_level_is_left_on_it(line):
    assert Line(**line).live(HOUR_S / 4) == []


@pytest.mark.parametrize("estimates", [True, False])
@pytest.mark.parametrize("line_bps, level", [(4e6, HALF), (3e6, HALF), (1.5e6, SMALL), (0.9e6, SMALL)])
def test_a_new_viewer_behind_a_narrow_line_gets_what_it_carries_within_seconds(line_bps, level, estimates):
    line = Line(line_bps, estimates=estimates)
    line.live(PATIENCE_S)
    assert line.level is level
    assert line.moves[0][0] < 4 and len(line.moves) <= 2


@pytest.mark.parametrize("estimates", [True, False])
def test_a_line_that_becomes_narrow_takes_the_viewer_down_within_three_seconds_and_straight_to_what_fits(estimates):
    line = Line(estimates=estimates)
    line.live(60)
    line.line_bps = 1.5e6
    line.live(3)
    assert levels(line.moves) == [SMALL]


def test_a_viewer_is_never_moved_below_the_humblest_level():
    line = Line(line_bps=100e3)
    line.live(HOUR_S / 4)
    assert line.level is SMALL and set(levels(line.moves)) <= {HALF, SMALL}
    assert levels(line.moves)[-1] is SMALL and len(line.moves) <= 2


@pytest.mark.parametrize("estimates", [True, False])
def test_attempts_that_fail_become_rare(estimates):
    line = Line(line_bps=1.5e6, estimates=estimates)
    line.live(HOUR_S)
    attempts = [at_s for at_s, _, reason in line.moves if reason in ("attempt", "headroom")]
    assert 4 <= len(attempts) <= 14
    assert attempts[-1] - attempts[-2] > PATIENCE_MAX_S / 2
    assert line.level is SMALL


def test_a_failed_attempt_is_over_within_two_seconds():
    line = Line(line_bps=1.5e6)
    line.live(HOUR_S / 4)
    rises = [(at_s, following[0] - at_s) for (at_s, level, _), following in zip(line.moves, line.moves[1:]) if level is HALF and following[1] is SMALL]
    assert rises and max(lasted_s for _, lasted_s in rises) <= 2


@pytest.mark.parametrize("estimates", [True, False])
def test_a_failed_attempt_leads_back_to_where_the_viewer_came_from(estimates):
    line = Line(3e6, estimates=estimates)
    line.live(120)
    assert levels(line.moves) == [HALF, FULL, HALF, FULL, HALF]


@pytest.mark.parametrize("estimates", [True, False])
def test_when_the_line_is_wide_again_the_viewer_climbs_step_by_step(estimates):
    line = Line(line_bps=1.5e6, estimates=estimates)
    line.live(20)
    line.line_bps = None
    line.moves.clear()
    line.live(120)
    assert levels(line.moves) == [HALF, FULL]


def test_an_estimate_that_jitter_holds_down_does_not_keep_a_viewer_from_climbing():
    line = Line(line_bps=1.5e6)
    line.live(15)
    line.line_bps, line.misled = None, 0.8
    line.moves.clear()
    line.live(60)
    assert levels(line.moves) == [HALF, FULL]


def test_jitter_that_holds_the_estimate_down_does_not_hide_a_narrow_line():
    line = Line(misled=0.3)
    line.live(60)
    line.line_bps = 1.5e6
    line.live(3)
    assert levels(line.moves) == [SMALL]


def test_after_a_time_on_a_level_its_failures_are_forgotten():
    line = Line(line_bps=1.5e6)
    line.live(HOUR_S / 4)
    line.line_bps = None
    line.live(HOUR_S / 2)
    assert line.level is FULL
    line.line_bps = 1.5e6
    line.live(5)
    line.line_bps = None
    line.moves.clear()
    line.live(3 * PATIENCE_S)
    assert levels(line.moves) == [HALF, FULL]


def test_viewers_behind_one_access_point_try_at_different_times():
    class Spread(Line):
        def __init__(self, spread):
            super().__init__(1.5e6)
            self.adaptation = Adaptation(NEEDS_BPS, self.now_s, spread)

    first, second = Spread(0.0), Spread(1.0)
    for line in (first, second):
        line.live(60)
    at_s = [next(at for at, _, reason in line.moves if reason == "attempt") for line in (first, second)]
    assert at_s[1] - at_s[0] >= PATIENCE_S / 4


def test_a_long_queue_without_loss_is_delay_and_takes_the_viewer_down():
    line = Line(estimates=False)
    line.live(60)
    line.line_bps, line.queue_s = 4.5e6, 30.0
    line.live(15)
    assert line.moves[0][1:] == (HALF, "delay")


def test_a_viewer_whose_socket_is_full_again_and_again_goes_one_level_down():
    line = Line()
    line.live(30)
    for _ in range(SKIPS_MAX):
        line.skip()
        line.live(2)
    assert [move[1:] for move in line.moves] == [(HALF, "skips")]


def test_a_box_that_stood_still_and_sends_all_at_once_is_no_bottleneck():
    line = Line()
    for _ in range(10):
        line.live(20)
        line.fill = 0.05
        line.live(1)
        line.fill = 2.5
        line.live(1)
        line.fill = 0.8
    assert line.moves == []


def test_skips_now_and_then_are_no_reason():
    line = Line()
    for _ in range(20):
        line.skip()
        line.live(30)
    assert line.moves == []


def seen(p50_s, hidden=False):
    return ViewerReport(number=1, seconds=5.0, visible_s=1.0 if hidden else 5.0, codec="h264", width=1280, height=720, frames=250, freezes=0, frozen_s=0.0,
                        packets_received=2000, packets_lost=0, nacks=0, buffer_s=None, decode_s=None, sound_buffer_s=None,
                        latency=None if p50_s is None else SeenLatency(p50_s, p50_s, p50_s, p50_s, (1,)), joined=0, late=0, missing=0)


def watch(line, *latencies_s, hidden=False):
    moves = []
    for latency_s in latencies_s:
        line.adaptation.watched(seen(latency_s, hidden), line.now_s)
        moves += line.live(5)
    return [(level, reason) for _, level, reason in moves]


LATE_S = 0.04 + LATENCY_EXCESS_S + 0.05


def test_latency_that_creeps_is_cured_by_a_skip_and_then_by_a_lower_level():
    line = Line()
    assert watch(line, *[0.04] * 6) == []
    assert watch(line, LATE_S, LATE_S) == [(FULL, "latency")]
    assert watch(line, LATE_S, LATE_S) == [(HALF, "latency")]


def test_a_skip_that_cured_is_not_held_against_the_viewer():
    line = Line()
    watch(line, *[0.04] * 6)
    for _ in range(5):
        assert watch(line, LATE_S, LATE_S, 0.04) == [(FULL, "latency")]
    assert line.level is FULL


@pytest.mark.parametrize("latencies_s, hidden", [([LATE_S, 0.04] * 5, False), ([LATE_S, None] * 5, False), ([LATE_S] * 10, True), ([4.0] * 10, False)], ids=str)
def test_one_late_report_a_hidden_page_and_a_clock_that_is_off_are_no_reason(latencies_s, hidden):
    line = Line()
    if hidden:
        watch(line, 0.04)
    assert watch(line, *latencies_s, hidden=hidden) == []


def test_an_outage_says_nothing_of_what_the_network_carries():
    line = Line()
    line.live(30)
    line.now_s += 3.0  # neither pictures nor reports get through
    line._highest += 1400
    line._lost_total += 1400
    assert line.live(30) == []


def test_no_decision_is_taken_while_a_move_is_under_way_or_has_just_come_true():
    adaptation = Adaptation(NEEDS_BPS, 0.0)

    def congested(now_s):
        adaptation.reported(round(now_s * 500), round(now_s * 250), 0.02, now_s)
        return adaptation.decide(now_s)

    first = next(now_s / 10 for now_s in range(100) if congested(now_s / 10))
    assert first < 2 and adaptation.level is not FULL
    assert [congested(first + step / 10) for step in range(1, 20)] == [None] * 19
    adaptation.arrived(first + 2)
    assert not any(congested(first + 2 + step / 10) for step in range(1, int(SETTLE_S * 10)))


def test_a_viewer_with_one_level_stays_on_it():
    adaptation = Adaptation({FULL: 6_000_000}, 0.0)
    for step in range(1, 1000):
        adaptation.reported(step * 100, step * 50, 1.0, step / 5)
        adaptation.estimated(100_000, step / 5)
        adaptation.sent(step * 100_000, step * 3, step / 5)
        assert adaptation.decide(step / 5) is None


def test_headroom_shown_by_the_estimate_shortens_the_wait():
    line = Line(line_bps=1.5e6)
    line.live(8)
    line.line_bps, line._estimate_bps, line.fill = None, 4e6, 0.8
    begun_s = line.now_s
    line.moves.clear()
    line.live(FAILED_WITHIN_S)
    assert line.moves[0][1:] == (HALF, "headroom") and line.moves[0][0] + line.begun_s - begun_s <= PATIENCE_S
