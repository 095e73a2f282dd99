"""A session's limits, in virtual time: a viewer that never connects, one that dies, and what is left of them."""
import asyncio
import time

import pytest

from appliance.clock import AudienceClock
from appliance.fanout import answer, hooks
from appliance.fanout.consent import CONSENT_S, TURNS_MAX
from appliance.fanout.offer import CANDIDATES_MAX, OfferRefused, parse_fragment, parse_offer
from appliance.fanout.rendition import Rendition
from appliance.fanout.rounds import Rounds
from appliance.fanout.session import CONNECT_LIMIT_S, PLAYOUT_DELAY, Session, Surroundings
from appliance.frame import Audience, Level
from appliance.protocol.h264 import Profile
from cext.fanout import Fanout
from tests.unit.fanout.line import NEEDS_BPS
from tests.unit.fanout.offers import CHROMIUM
from tests.unit.fanout.test_hooks import Listener, ports
from tests.unit.fanout.virtual_time import run
from tests.workbench import Workbench



@pytest.fixture
def bench(tmp_path):
    bench = Workbench(tmp_path, "fanout.0")
    yield bench
    bench.close()


def session_of(bench, text=CHROMIUM):
    fanout, offer = Fanout(4, 4), parse_offer(text)
    rendition = Rendition(fanout, bench.stage.readers["units.scope.expert.0"], "scope", "expert", b"h264", bench.stage.counters)
    choice = answer.choose(offer, Audience.EXPERT, Profile.CONSTRAINED_BASELINE, ("expert",))
    certificate = hooks.Certificate.make()
    surroundings = Surroundings(fanout, lambda: certificate, ports(), "worker", NEEDS_BPS, lambda kind: None, Rounds())
    return Session(surroundings, offer, choice, {Level.FULL: rendition}, None, AudienceClock())


def test_experts_see_at_once_and_only_a_class_is_smoothed():
    assert PLAYOUT_DELAY[Audience.EXPERT] == (0, 0)
    least, most = PLAYOUT_DELAY[Audience.CLASS]
    assert 0 < least < most <= 50  # a least delay of 0 would switch smoothing off


def test_a_viewer_that_never_connects_is_given_up_and_leaves_nothing(bench):
    async def scenario():
        session = session_of(bench)
        await session.open(answer.LocalVideo("scope", 1, "worker", 0x20, 1))
        life = asyncio.create_task(session.run())
        await asyncio.sleep(CONNECT_LIMIT_S / 2)
        assert bench.viewers("expert").value == 1
        await asyncio.wait_for(life, CONNECT_LIMIT_S)
        assert len(asyncio.all_tasks()) == 1

    run(scenario())
    assert bench.viewers("expert").value == 0
    assert bench.value("appliance_fanout_joins_failed_total", rendition="expert") == 1


def test_a_session_that_is_ended_while_it_connects_ends_at_once(bench):
    async def scenario():
        session = session_of(bench)
        await session.open(answer.LocalVideo("scope", 1, "worker", 0x20, 1))
        life = asyncio.create_task(session.run())
        await asyncio.sleep(1)
        session.end()
        await asyncio.wait_for(life, 1)

    run(scenario())
    assert bench.viewers("expert").value == 0 and bench.value("appliance_fanout_joins_failed_total", rendition="expert") == 0


def candidates(first, count):
    return parse_fragment("".join(f"a=candidate:1 1 udp 1 192.0.2.9 {port} typ host\r\n" for port in range(first, first + count)))


def test_a_session_takes_so_many_candidates_and_each_once(bench):
    async def scenario():
        session = session_of(bench)
        room = CANDIDATES_MAX - len(parse_offer(CHROMIUM).candidates)
        for first in range(5000, 5000 + room):
            await session.trickle(candidates(first, 1))
        await session.trickle(candidates(5000, room))
        with pytest.raises(OfferRefused) as refusal:
            await session.trickle(candidates(6000, 1))
        return refusal.value.status, len(session._ice.remote_candidates)

    status, kept = run(scenario())
    assert status == 422 and kept < CANDIDATES_MAX


async def turns(agent, seconds):
    """Lets time pass in turns of a second, as a session's rounds do."""
    for _ in range(seconds):
        agent.turn(asyncio.get_running_loop().time())
        await asyncio.sleep(1)


def test_a_viewer_that_dies_without_a_word_loses_its_path_when_its_consent_expires(monkeypatch):
    async def scenario():
        monkeypatch.setattr(time, "monotonic", asyncio.get_running_loop().time)
        listener = Listener()
        ours, viewer = hooks.IceAgent(ports(), listener), hooks.IceAgent(ports(), Listener())
        viewer.ice_controlling = True
        await ours.gather_candidates()
        await viewer.gather_candidates()
        ours.remote_username, ours.remote_password = viewer.local_username, viewer.local_password
        viewer.remote_username, viewer.remote_password = ours.local_username, ours.local_password
        for candidate in ours.local_candidates:
            await viewer.add_remote_candidate(candidate)
        await asyncio.gather(ours.connect(), viewer.connect())
        assert listener.selected == 1 and listener.lost == 0
        await turns(ours, 2 * round(CONSENT_S))
        assert listener.lost == 0, "it answers, so it wants more"
        await viewer.close()
        await turns(ours, round(CONSENT_S) - TURNS_MAX)
        assert listener.lost == 0
        await turns(ours, TURNS_MAX + 1)
        assert listener.lost == 1
        await ours.close()

    run(scenario())
