"""The keyframe schedule on a clock of its own."""
from hypothesis import given
from hypothesis import strategies as st

from appliance.encode.keyframes import KeyframeSchedule

FRAME_NS = 20
MINIMUM_NS, INTERVAL_NS = 200, 10_000


class Driver:
    """Encodes a frame every 20 units and notes which were keyframes."""

    def __init__(self):
        self.schedule = KeyframeSchedule(INTERVAL_NS, MINIMUM_NS)
        self.now_ns, self.keyframes = 0, []

    def frames(self, count, requests):
        for _ in range(count):
            if self.schedule.due(self.now_ns, requests):
                self.schedule.made(self.now_ns)
                self.keyframes.append(self.now_ns)
            self.now_ns += FRAME_NS
        return self.keyframes


def test_the_first_frame_is_a_keyframe_and_the_next_are_not():
    assert Driver().frames(100, requests=0) == [0]


def test_a_request_is_served_by_the_next_frame():
    driver = Driver()
    driver.frames(5, requests=0)
    assert driver.frames(5, requests=1) == [0, 100]


def test_a_viewer_that_joins_just_after_an_unasked_keyframe_need_not_wait():
    driver = Driver()
    driver.frames(1, requests=0)
    assert driver.frames(5, requests=1) == [0, 20]


def test_requests_inside_the_minimum_interval_are_merged_and_served_at_its_end():
    driver = Driver()
    driver.frames(5, requests=0)
    driver.frames(1, requests=1)
    for requests in range(2, 12):
        driver.frames(1, requests)
    assert driver.frames(20, requests=11) == [0, 100, 300]


def test_requests_of_one_moment_are_one_keyframe():
    driver = Driver()
    driver.frames(5, requests=0)
    assert driver.frames(50, requests=500) == [0, 100]


def test_requests_counted_before_the_start_are_served_by_the_first_keyframe():
    assert Driver().frames(100, requests=12) == [0]


def test_without_requests_a_keyframe_comes_after_the_long_interval():
    driver = Driver()
    assert driver.frames(1001, requests=0) == [0, INTERVAL_NS, 2 * INTERVAL_NS]


def test_a_forced_keyframe_does_not_wait():
    driver = Driver()
    driver.frames(5, requests=1)
    driver.frames(1, requests=2)
    driver.schedule.force()
    assert driver.frames(20, requests=2) == [0, 100, 120]


def test_a_keyframe_that_the_codec_did_not_make_stays_due():
    schedule = KeyframeSchedule(INTERVAL_NS, MINIMUM_NS)
    schedule.made(0)
    assert [schedule.due(now_ns, 1) for now_ns in (20, 40, 60)] == [True, True, True]
    schedule.made(60)
    assert not schedule.due(80, 1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=400))
def test_no_request_is_lost_and_answers_keep_their_distance(new_requests):
    driver = Driver()
    driver.frames(1, requests=0)
    total, waiting_since = 0, None
    for new in new_requests:
        total += new
        if new and waiting_since is None:
            waiting_since = driver.now_ns
        before = len(driver.keyframes)
        driver.frames(1, total)
        if len(driver.keyframes) > before:
            waiting_since = None
        if waiting_since is not None:
            assert driver.now_ns - waiting_since < MINIMUM_NS + FRAME_NS
    distances = [later - earlier for earlier, later in zip(driver.keyframes[1:], driver.keyframes[2:])]
    assert all(distance >= MINIMUM_NS for distance in distances)
