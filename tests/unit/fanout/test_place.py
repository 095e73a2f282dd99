"""A viewer's moves between the levels, through a real C fan-out: who counts it, whose keyframe is asked for, what it receives."""
import asyncio
import threading

import numpy as np
import pytest

from appliance.clock import tai_ns
from appliance.fanout.place import CUT_OFF_INTERVAL_S, LOOK_INTERVAL_S, RESENDS_AT_ONCE_MAX, Place
from appliance.fanout.rendition import LOSS_INTERVAL_S, Rendition, new_ssrc
from appliance.frame import KEYFRAME, Level
from appliance.protocol.rtcp import Feedback, ReceiverReport
from cext.fanout import Fanout
from tests.kernels.fanout_theatre import WAIT_S, Viewer, annex_b
from tests.unit.fanout.line import NEEDS_BPS
from tests.unit.fanout.test_adaptation import LATE_S, seen
from tests.unit.fanout.virtual_time import run
from tests.workbench import Workbench, publish

FULL, HALF, SMALL = Level
NAMES = {FULL: "expert", HALF: "expert.half", SMALL: "expert.small"}
KEYFRAME_UNIT = annex_b([b"\x67" + b"\x42" * 20, b"\x68\xce\x38\x80", b"\x65" + b"\x11" * 900])
DELTA_UNIT = annex_b([b"\x41" + b"\x22" * 500])


class Watching:
    """A viewer with a place in a running fan-out."""

    def __init__(self, folder):
        self.bench = Workbench(folder, "fanout.0")
        self.fanout, ssrc = Fanout(), new_ssrc()
        readers, counters = self.bench.stage.readers, self.bench.stage.counters
        self.renditions = {level: Rendition(self.fanout, readers[f"units.scope.{name}.0"], "scope", name, b"h264", counters, ssrc) for level, name in NAMES.items()}
        self.writers = {level: self.bench.writer_into(f"units.scope.{name}.0") for level, name in NAMES.items()}
        self.numbers = dict.fromkeys(NAMES, 1)
        self.place = Place(self.fanout, self.renditions, NEEDS_BPS)
        self.place.admit()
        self.viewer = Viewer(self.fanout, self.renditions[FULL].identifier)
        self.place.take(self.viewer.identifier, 0.0, 0.0)
        self.thread = threading.Thread(target=self.fanout.run)
        self.thread.start()
        self.now_s, self.highest = 0.0, 0

    def show(self, level, keyframe=False):
        """An access unit of that level, with the time that all levels share."""
        self.numbers[level] += 1
        payload = np.frombuffer(KEYFRAME_UNIT if keyframe else DELTA_UNIT, np.uint8)
        publish(self.writers[level], payload, payload_bytes=len(payload), number=self.numbers[level], rtp_timestamp=sum(self.numbers.values()) * 1800,
                capture_tai_ns=tai_ns(), flags=KEYFRAME if keyframe else 0)

    def report(self, share_lost, reports=1):
        """So many reports, each of a look's interval, that so much of everything was lost."""
        for _ in range(reports):
            self.now_s += LOOK_INTERVAL_S
            self.highest += 100
            self.place.heard(Feedback(reports=[ReceiverReport(0, round(self.highest * share_lost), self.highest, 0, 0, 0)]), 0, self.now_s)

    def congest(self):
        """Reports so much lost that the viewer is to be moved."""
        self.report(0.9, 10)

    def counted(self):
        return [self.bench.viewers(name).value for name in NAMES.values()]

    def asked(self):
        return [self.bench.keyframe_requests(name).value for name in NAMES.values()]

    def moved(self, reason):
        return self.bench.value("appliance_fanout_moves_total", stream="scope", audience="expert", reason=reason)

    def close(self):
        self.fanout.stop()
        self.thread.join(WAIT_S)
        self.viewer.close()
        self.bench.close()


@pytest.fixture
def watching(tmp_path):
    watching = Watching(tmp_path)
    yield watching
    watching.close()


def in_time(scenario):
    """Runs a test's body on an event loop: keyframes are asked for by its timers."""
    async def body():
        scenario()

    run(body())


def test_a_viewer_is_counted_on_both_levels_until_the_new_one_s_keyframe_left(watching):
    def scenario():
        watching.show(FULL, keyframe=True)
        watching.viewer.packets()
        assert watching.counted() == [1, 0, 0]
        watching.congest()
        assert watching.counted() == [1, 0, 1] and watching.asked() == [0, 0, 1] and watching.moved("loss") == 1
        watching.show(SMALL, keyframe=True)
        watching.viewer.packets()
        watching.show(SMALL)
        watching.viewer.packets()
        watching.report(0.0)
        assert watching.counted() == [0, 0, 1] and watching.place.present is watching.renditions[SMALL]

    in_time(scenario)


def test_the_viewer_s_numbering_and_source_go_on_over_a_move(watching):
    def scenario():
        watching.show(FULL, keyframe=True)
        packets = watching.viewer.packets()
        watching.congest()
        watching.show(SMALL, keyframe=True)
        packets += watching.viewer.packets()
        assert watching.viewer.gapless() and len({packet[8:12] for packet in packets}) == 1

    in_time(scenario)


def test_what_does_not_get_through_is_not_sent_while_the_viewer_waits(watching):
    def scenario():
        watching.show(FULL, keyframe=True)
        watching.viewer.packets()
        watching.congest()
        sent = watching.viewer.stats().packets
        for _ in range(5):
            watching.show(FULL)
        watching.show(SMALL, keyframe=True)
        received = watching.viewer.packets()
        assert watching.viewer.stats().packets - sent == len(received)

    in_time(scenario)


def test_whoever_was_cut_off_gets_a_keyframe_and_no_resends(watching):
    """It goes on asking until the keyframe is there, which costs nobody a second one; a few lost packets are sent again."""
    def scenario():
        watching.show(FULL, keyframe=True)
        [*_, last] = watching.viewer.packets()
        sequence, sent = int.from_bytes(last[2:4]), watching.viewer.datagrams[-1]
        for now_s in (0.0, CUT_OFF_INTERVAL_S / 2):
            watching.place.lost([sequence - back & 0xFFFF for back in range(RESENDS_AT_ONCE_MAX + 1)], now_s)
        assert watching.asked() == [1, 0, 0] and watching.viewer.stats().waiting_keyframe
        watching.show(FULL)
        watching.show(FULL, keyframe=True)
        assert watching.viewer.packets() and watching.viewer.gapless()
        watching.place.lost([sequence], CUT_OFF_INTERVAL_S)
        assert watching.viewer.resent() == sent and watching.asked() == [1, 0, 0]

    in_time(scenario)


def test_a_lost_picture_costs_a_keyframe_of_the_level_that_the_viewer_gets(watching):
    async def scenario():
        watching.show(FULL, keyframe=True)
        watching.viewer.packets()
        watching.congest()
        watching.show(SMALL, keyframe=True)
        watching.viewer.packets()
        watching.show(SMALL)
        watching.viewer.packets()
        await asyncio.sleep(2 * LOSS_INTERVAL_S)
        before = watching.asked()
        watching.place.request_keyframe()
        assert watching.asked() == [before[0], before[1], before[2] + 1]

    run(scenario())


def test_a_keyframe_that_does_not_come_is_asked_for_again_every_second(watching):
    async def scenario():
        watching.show(FULL, keyframe=True)
        watching.viewer.packets()
        watching.congest()
        for second in range(1, 4):
            await asyncio.sleep(1)
            watching.place.tick(watching.viewer.stats(), watching.now_s + second)
            assert watching.asked() == [0, 0, 1 + second]

    run(scenario())


def test_who_leaves_in_the_middle_of_a_move_is_counted_nowhere(watching):
    def scenario():
        watching.congest()
        assert sum(watching.counted()) == 2
        watching.place.dismiss()
        assert watching.counted() == [0, 0, 0]

    in_time(scenario)


def test_a_move_that_never_came_true_gives_way_to_another(watching):
    def scenario():
        watching.show(FULL, keyframe=True)
        watching.viewer.packets()
        watching.report(0.3, 10)
        assert watching.counted() == [1, 1, 0]
        watching.report(0.9, 40)  # there is no keyframe of the half level in all that time
        assert watching.counted() == [1, 0, 1]
        watching.show(SMALL, keyframe=True)
        watching.viewer.packets()
        watching.report(0.9)
        assert watching.counted() == [0, 0, 1]

    in_time(scenario)


def test_latency_that_creeps_makes_the_viewer_wait_for_a_keyframe_of_its_own_level(watching):
    def scenario():
        watching.show(FULL, keyframe=True)
        watching.viewer.packets()
        for latency_s in (0.04, LATE_S, LATE_S):
            watching.now_s += 5
            watching.place.watched(seen(latency_s), watching.now_s)
            watching.place.tick(watching.viewer.stats(), watching.now_s)
        assert watching.viewer.stats().waiting_keyframe and watching.asked() == [1, 0, 0] and watching.moved("latency") == 1
        assert watching.counted() == [1, 0, 0]

    in_time(scenario)
