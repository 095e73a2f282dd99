"""Turns of a second: each member has one, spread over the second, and neither a stall nor another's failure takes them away."""
import asyncio

import pytest

from appliance.fanout.rounds import ROUND_S, SLICES, Rounds
from tests.unit.fanout.virtual_time import run


def turns_of(members, seconds, act=None):
    """When each member had its turns, in seconds."""
    async def scenario():
        loop, rounds, heard = asyncio.get_running_loop(), Rounds(), {member: [] for member in range(members)}
        for member, turns in heard.items():
            rounds.join(member, lambda member=member, turns=turns: (turns.append(loop.time()), act and act(rounds, member)))
        await asyncio.sleep(seconds)
        return heard

    return run(scenario())


@pytest.mark.parametrize("members", [1, SLICES, 3 * SLICES + 1])
def test_everyone_has_a_turn_a_second_and_no_slice_has_many_more_than_another(members):
    heard = turns_of(members, 10 * ROUND_S + 0.01)
    assert {len(turns) for turns in heard.values()} == {10}
    assert all(after - before == pytest.approx(ROUND_S) for turns in heard.values() for before, after in zip(turns, turns[1:]))
    together = [turns[0] for turns in heard.values()]
    assert max(map(together.count, together)) == -(-members // SLICES)


def test_who_leaves_has_no_more_turns_even_if_another_ends_it_in_its_own():
    def leave(rounds, member):
        rounds.leave(0)
        rounds.leave(SLICES)  # of the same slice, later

    heard = turns_of(SLICES + 1, 3 * ROUND_S + 0.01, leave)
    assert [len(heard[member]) for member in (0, 1, SLICES)] == [1, 3, 0]


def test_a_turn_that_fails_is_told_and_is_that_members_last():
    complaints = []

    def fail(rounds, member):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["exception"]))
        if member == 1:
            raise RuntimeError("failed")

    heard = turns_of(SLICES + 2, 3 * ROUND_S + 0.01, fail)
    assert [len(heard[member]) for member in (0, 1, 2, SLICES + 1)] == [3, 1, 3, 3] and len(complaints) == 1


def test_without_members_there_is_no_timer_and_the_next_member_starts_one():
    async def scenario():
        loop, rounds, turns = asyncio.get_running_loop(), Rounds(), []
        for joined in (1, 2):
            rounds.join("one", lambda: turns.append(loop.time()))
            await asyncio.sleep(ROUND_S + 0.01)
            rounds.leave("one")
            await asyncio.sleep(10)
            assert len(turns) == joined and not loop._scheduled

    run(scenario())


def test_after_a_stall_turns_are_not_made_up_for():
    async def scenario():
        loop, rounds, turns = asyncio.get_running_loop(), Rounds(), []
        rounds.join("one", lambda: turns.append(loop.time()))
        await asyncio.sleep(0.5)
        loop._jumping.now_s += 60  # the machine stood still
        await asyncio.sleep(0)
        await asyncio.sleep(ROUND_S)
        return turns

    assert len(run(scenario())) <= 3
