"""Which fan-out worker takes the next viewer: by the cells that the workers write themselves."""
import asyncio
import logging

import pytest
from aiohttp import web

from appliance import clock
from appliance.frame import Audience
from appliance.gateway.problem import Problem, retry_after
from appliance.gateway.workers import BUSY_RETRY_S, SILENCE_LIMIT_NS, Life, Workers
from tests.workbench import Workbench

LATER_NS = 3600 * 10**9  # however slow the test is


@pytest.fixture
def bench(tmp_path):
    bench = Workbench(tmp_path, "gateway", workers=3)
    yield bench
    for inherited in bench.stage.sockets.values():
        inherited.detach()
    bench.close()


def life(bench, number):
    find = bench.resources.counters.find
    return Life(find(f"fanout.{number}", "appliance_stage_ready"), find(f"fanout.{number}", "appliance_stage_heartbeat_monotonic_seconds"))


def revive(bench, number, viewers):
    """As a worker that works and has so many viewers."""
    cells = life(bench, number)
    cells.ready.set(1)
    cells.heartbeat.set(clock.monotonic_ns() + LATER_NS)
    bench.viewers("class", worker=number).set(viewers)


def order(bench):
    async def asked():
        workers = Workers({number: "nowhere" for number in range(3)}, {number: [bench.viewers("class", worker=number)] for number in range(3)},
                          {number: life(bench, number) for number in range(3)}, 100, logging.getLogger())
        try:
            return workers.in_order()
        finally:
            await workers.close()

    return asyncio.run(asked())


def test_the_least_loaded_comes_first(bench):
    for number, viewers in enumerate((5, 3, 3)):
        revive(bench, number, viewers)
    assert order(bench) == [1, 2, 0]


def test_a_worker_that_died_is_asked_last_although_its_viewers_are_gone(bench):
    revive(bench, 1, 7)
    revive(bench, 2, 9)
    assert order(bench) == [1, 2, 0]


def test_a_worker_that_hangs_is_asked_last(bench):
    for number, viewers in enumerate((0, 2, 4)):
        revive(bench, number, viewers)
    life(bench, 0).heartbeat.set(clock.monotonic_ns() - SILENCE_LIMIT_NS)
    assert order(bench) == [1, 2, 0]


def test_a_viewer_whom_every_worker_refuses_for_now_is_told_so_and_when_to_return(bench, tmp_path):
    async def refuse(request):
        return web.json_response({"status": 503, "error": "many are joining just now"}, status=503)

    async def asked():
        path = str(tmp_path / "worker.sock")
        app = web.Application()
        app.router.add_post("/sessions", refuse)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, path).start()
        workers = Workers({0: path, 1: path}, {number: [bench.viewers("class", worker=number)] for number in (0, 1)},
                          {number: life(bench, number) for number in (0, 1)}, 100, logging.getLogger())
        try:
            with pytest.raises(Problem) as refusal:
                await workers.join("scope", Audience.CLASS, 0, "v=0", str)
            return refusal.value, [workers.load(number) for number in (0, 1)]
        finally:
            await workers.close()
            await runner.cleanup()

    problem, loads = asyncio.run(asked())
    assert (problem.status, problem.reason, loads) == (503, "busy", [0, 0]) and "many are joining" in problem.sentence
    least, spread = BUSY_RETRY_S
    assert least <= int(problem.headers["Retry-After"]) <= least + spread


def test_those_who_are_refused_together_do_not_return_together():
    assert {int(retry_after(1, 3)["Retry-After"]) for _ in range(200)} == {1, 2, 3, 4}
