"""Keyframe requests of many viewers become few, and a rendition's counters follow the C fan-out."""
import asyncio

import pytest

from appliance.fanout.rendition import JOIN_INTERVAL_S, LOSS_INTERVAL_S, Rendition
from cext.fanout import Fanout
from tests.unit.fanout.virtual_time import run
from tests.workbench import Workbench


@pytest.fixture
def bench(tmp_path):
    bench = Workbench(tmp_path, "fanout.0")
    yield bench
    bench.close()


@pytest.fixture
def rendition(bench):
    return Rendition(Fanout(4, 4), bench.stage.readers["units.scope.expert.0"], "scope", "expert", b"h264", bench.stage.counters)


def test_the_first_request_is_passed_on_at_once(bench, rendition):
    async def scenario():
        rendition.request_keyframe()
        assert bench.keyframe_requests("expert").value == 1

    run(scenario())


def test_requests_of_many_viewers_in_an_interval_become_one_more_at_its_end(bench, rendition):
    async def scenario():
        for _ in range(50):
            rendition.request_keyframe()
            await asyncio.sleep(LOSS_INTERVAL_S / 100)
        assert bench.keyframe_requests("expert").value == 1
        await asyncio.sleep(LOSS_INTERVAL_S)
        assert bench.keyframe_requests("expert").value == 2
        await asyncio.sleep(10 * LOSS_INTERVAL_S)
        assert bench.keyframe_requests("expert").value == 2

    run(scenario())


def test_a_viewer_that_joins_waits_less_than_one_that_lost_the_picture(bench, rendition):
    async def scenario():
        loop = asyncio.get_running_loop()
        rendition.request_keyframe()
        rendition.request_keyframe(LOSS_INTERVAL_S)
        rendition.request_keyframe(JOIN_INTERVAL_S)
        await asyncio.sleep(JOIN_INTERVAL_S + loop.time() + 0.001)
        assert bench.keyframe_requests("expert").value == 2
        await asyncio.sleep(LOSS_INTERVAL_S)
        assert bench.keyframe_requests("expert").value == 2

    run(scenario())


def test_after_a_quiet_time_a_request_is_passed_on_at_once_again(bench, rendition):
    async def scenario():
        rendition.request_keyframe()
        await asyncio.sleep(2 * LOSS_INTERVAL_S)
        rendition.request_keyframe()
        assert bench.keyframe_requests("expert").value == 2

    run(scenario())


def test_a_cancelled_request_never_comes(bench, rendition):
    async def scenario():
        rendition.request_keyframe()
        rendition.request_keyframe()
        rendition.cancel()
        await asyncio.sleep(10)
        assert bench.keyframe_requests("expert").value == 1

    run(scenario())


def test_viewers_count_from_their_offer_to_their_end(bench, rendition):
    rendition.admit()
    rendition.admit()
    assert bench.viewers("expert").value == 2
    rendition.dismiss()
    rendition.dismiss()
    assert bench.viewers("expert").value == 0
