"""One flow by two paths (ST 2022-7): what arrives on either is shown, whatever their losses, skew and order; who brought what is counted exactly."""
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.frame import INCOMPLETE
from tests.camera import FRAME_NS, PAYLOAD_TYPE, SMALL, START_TAI_NS, Assembled, Camera, remarked

SKEW_NS = 10_000_000
PACKET_NS = 110_000  # 160 of them within nine tenths of a frame
OTHER_PAYLOAD_TYPE = 103


def protected(**options):
    return Assembled(slots=8, second_payload_type=options.pop("second_payload_type", PAYLOAD_TYPE), skew_ns=SKEW_NS, frames_open=3, **options)


@pytest.fixture
def bench():
    bench = protected()
    yield bench
    bench.close()


@dataclass
class Line:
    """Two paths between a camera and an assembly: what is lost where, and how late each is."""

    bench: Assembled
    camera: Camera = field(default_factory=Camera)
    events: list = field(default_factory=list)  # (arrival, order, path, packet)
    sent: list = field(default_factory=list)  # (frame, the paths that brought it), packet by packet

    def frames(self, count, lost, late_ns=(0, 0), jitter_ns=(0, 0), random=random.Random(0), payload_types=(PAYLOAD_TYPE, PAYLOAD_TYPE)):
        """Sends frames; `lost(path, number)` says which packets a path loses."""
        for _ in range(count):
            begun_ns = self.camera.tai_ns
            for place, packet in enumerate(self.camera.frame()):
                number = len(self.sent)
                came = [path for path in (0, 1) if not lost(path, number)]
                self.sent.append((len(self.camera.sent) - 1, came))
                for path in came:
                    arrival = begun_ns + place * PACKET_NS + late_ns[path] + random.randint(0, jitter_ns[path])
                    wanted = packet if payload_types[path] == PAYLOAD_TYPE else remarked(packet, payload_type=payload_types[path])
                    self.events.append((arrival, len(self.events), path, wanted))

    def deliver(self):
        """Lets everything arrive in its time."""
        for arrival, _, path, packet in sorted(self.events):
            if arrival - self.bench.tai_ns > 1_000_000:  # as the reception naps
                self.bench.wait(arrival - self.bench.tai_ns)
            self.bench.tai_ns = max(self.bench.tai_ns, arrival)
            self.bench.monotonic_ns = self.bench.tai_ns
            self.bench.assembly.packet(packet, arrival, self.bench.monotonic_ns, path=path)
            self.bench.collect()
        for _ in range(30):
            self.bench.wait(10_000_000)
        self.events.clear()

    def check(self):
        """Every frame is the union of what came; every path's account is exact."""
        first = next(number for number, (_, came) in enumerate(self.sent) if came)
        last = max(number for number, (_, came) in enumerate(self.sent) if came)
        statistics, accounted = self.bench.assembly.statistics(), self.sent[first:last + 1]
        for path in (0, 1):
            told = statistics["paths"][path]
            lost = sum(path not in came for _, came in accounted)
            assert told["lost"] == lost
            assert told["recovered"] == sum(came == [1 - path] for _, came in accounted)
            assert told["packets"] == len(accounted) - lost
            assert told["late"] == told["duplicate"] == sum(told["malformed"].values()) == 0
        assert statistics["lost"] == sum(not came for _, came in accounted)
        assert statistics["redundant"] == sum(len(came) == 2 for _, came in accounted)
        assert statistics["packets"] == sum(told["first"] for told in statistics["paths"]) == sum(bool(came) for _, came in accounted)
        assert statistics["differing"] == statistics["restarts"] == statistics["outages"] == 0
        whole = {frame for frame, _ in self.sent} - {frame for frame, came in self.sent if not came}
        shown = {(frame.capture_tai_ns - START_TAI_NS + 1_000_000) // FRAME_NS: frame for frame in self.bench.frames}
        assert len(shown) == len(self.bench.frames) and list(shown) == sorted(shown)
        assert statistics["frames"] - statistics["incomplete"] == len(whole)
        # Of two frames published at once the test's reader sees the second.
        assert len(shown) + self.bench.reader.skipped == statistics["frames"]
        for number, frame in shown.items():
            assert (frame.flags & INCOMPLETE == 0) == (number in whole)
            assert number not in whole or frame.samples == self.camera.sent[number]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), st.tuples(st.integers(0, SKEW_NS), st.integers(0, SKEW_NS)),
       st.tuples(st.integers(0, 3_000_000), st.integers(0, 3_000_000)), st.sampled_from([(8,), (32,), (50, 7), (96,)]))
def test_whatever_two_paths_lose_and_however_they_are_apart_a_frame_is_their_union(seed, loss, late_ns, jitter_ns, split):
    fate = random.Random(seed)
    bench = protected()
    line = Line(bench, Camera(split=split, seed=seed))
    line.frames(1, lambda *_: False, late_ns)
    line.frames(7, lambda path, _: fate.random() < loss[path], late_ns, jitter_ns, fate)
    line.frames(1, lambda *_: False, late_ns)
    line.deliver()
    line.check()
    bench.close()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.tuples(st.integers(0, SKEW_NS), st.integers(0, SKEW_NS)), st.lists(st.tuples(st.integers(0, 1), st.integers(160, 1600),
       st.integers(1, 800)), max_size=4))
def test_either_path_may_die_and_return_at_any_packet(seed, late_ns, outages):
    """Whole frames and more are missing on one path; the other brings them, and they stand before the frames that came earlier."""
    def lost(path, number):
        return any(path == dead and first <= number < first + length for dead, first, length in outages)
    bench = protected()
    line = Line(bench, Camera(seed=seed))
    line.frames(14, lost, late_ns)
    line.deliver()
    # What both lost at once may have been longer than a sender's silence, but not than a second.
    line.check()
    bench.close()


def test_ten_percent_lost_at_random_on_each_path_leaves_one_packet_in_a_hundred_missing(bench):
    fate, line = random.Random(7), Line(bench)
    line.frames(1, lambda *_: False, (0, 4_000_000))
    line.frames(40, lambda *_: fate.random() < 0.1, (0, 4_000_000))
    line.deliver()
    line.check()
    statistics = bench.assembly.statistics()
    assert 30 < statistics["lost"] < 110
    assert all(500 < told["recovered"] < 650 for told in statistics["paths"])


@pytest.mark.parametrize("dead", [0, 1])
def test_a_path_that_is_silent_from_the_start_costs_no_time(bench, dead):
    line = Line(bench)
    line.frames(5, lambda path, _: path == dead)
    line.deliver()
    line.check()
    assert [frame.flags for frame in bench.frames] == [0] * 5


def test_a_frame_that_both_lost_waits_until_both_have_passed_it_and_no_longer(bench):
    """A quarter of the skew behind, both alive: nobody waits for the whole skew."""
    line = Line(bench)
    line.frames(8, lambda _, number: number == 500, (0, 2_500_000))
    line.deliver()
    line.check()
    [torn] = [frame for frame in bench.frames if frame.flags & INCOMPLETE]
    assert torn.rows_missing == 1


def test_the_payload_type_may_differ_by_path():
    bench = protected(second_payload_type=OTHER_PAYLOAD_TYPE)
    line = Line(bench)
    line.frames(4, lambda path, number: number % 2 == path, payload_types=(PAYLOAD_TYPE, OTHER_PAYLOAD_TYPE))
    line.deliver()
    line.check()
    packet = Camera().frame()[0]
    bench.assembly.packet(packet, bench.tai_ns, bench.monotonic_ns, path=1)
    assert bench.assembly.statistics()["paths"][1]["malformed"]["payload_type"] == 1
    bench.close()


def test_legs_with_their_own_ssrc_are_one_flow(bench):
    bench.close()
    bench = protected(second_ssrc_difference=0x1234 ^ 0x9999)
    camera = Camera()
    for number, packet in enumerate(camera.frame()):
        path = number % 2
        bench.assembly.packet(remarked(packet, ssrc=0x9999) if path else packet, bench.tai_ns, bench.monotonic_ns, path=path)
    bench.collect()
    assert bench.frames[0].samples == camera.sent[0]


def test_a_sender_that_restarts_on_both_paths_is_followed_once(bench):
    line = Line(bench)
    line.frames(5, lambda *_: False, (0, 5_000_000))
    line.deliver()
    again = Line(bench, Camera(ssrc=99, sequence=5, seed=1, tai_ns=bench.tai_ns + FRAME_NS))
    again.frames(12, lambda *_: False, (0, 5_000_000))
    again.deliver()
    assert bench.count("restarts") == 1 and bench.frames[-1].samples == again.camera.sent[-1]
    assert bench.count("late") == 0
    assert len(bench.frames) >= 5 + 11


def test_what_one_path_brings_twice_is_a_duplicate_and_what_both_bring_is_not(bench):
    packets = Camera().frame()
    for path, packet in [(0, packets[0]), (0, packets[0]), (1, packets[0]), (1, packets[0]), (1, packets[0])]:
        bench.assembly.packet(packet, bench.tai_ns, bench.monotonic_ns, path=path)
    assert [told["duplicate"] for told in bench.assembly.statistics()["paths"]] == [1, 2]
    assert bench.count("redundant") == 1 and bench.count("packets") == 1


def test_paths_that_carry_different_samples_are_noticed(bench):
    camera = Camera()
    packets = camera.frame()
    for packet in packets[:-1]:
        bench.assembly.packet(packet, bench.tai_ns, bench.monotonic_ns)
        bench.assembly.packet(packet[:-1] + bytes([packet[-1] ^ 1]), bench.tai_ns, bench.monotonic_ns, path=1)
    assert bench.count("differing") == 10, "one in sixteen is compared"
    bench.feed(packets[-1:])
    assert bench.frames[0].samples == camera.sent[0], "the first one stays"


@pytest.mark.parametrize("late_ns", [(0, 6_000_000), (6_000_000, 0)])
def test_the_skew_is_measured_with_its_sign(bench, late_ns):
    line = Line(bench)
    line.frames(15, lambda *_: False, late_ns)
    line.deliver()
    skews = bench.assembly.take_skews_ns()
    assert len(skews) == 2 and set(skews) == {late_ns[1] - late_ns[0]}
    assert bench.assembly.take_skews_ns() == []


def test_a_path_that_does_not_exist_is_refused():
    bench = Assembled()
    with pytest.raises(ValueError, match="path 1 of a flow with 1"):
        bench.assembly.packet(b"", 0, 0, path=1)
    bench.close()
