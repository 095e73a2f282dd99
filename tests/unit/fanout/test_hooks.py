"""The hooks into aiortc and aioice: the self-check, and what reaches a media port or an association from a hostile network."""
import asyncio
import struct

import pytest
from aioice import stun
from aioice.ice import Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.fanout import hooks
from appliance.fanout.hooks.ice import ADDRESSES_MAX
from appliance.fanout.ports import MediaAddresses, OwnPorts
from tests.unit.fanout.virtual_time import run

STRANGER = ("192.0.2.9", 4000)


def ports(*addresses):
    """A port a viewer, on these addresses."""
    return OwnPorts(MediaAddresses(addresses or ("127.0.0.1",)), None)


class Listener:
    """Hears what transports report."""

    def __init__(self):
        self.counts, self.selected, self.lost, self.closed, self.compounds = {}, 0, 0, 0, []

    def malformed(self, kind):
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def path_selected(self):
        self.selected += 1

    def path_lost(self):
        self.lost += 1

    def closed_by_viewer(self):
        self.closed += 1

    def channel_opened(self, channel):
        pass


async def verify():
    hooks.verify()


def test_the_installed_libraries_pass_the_check():
    asyncio.run(verify())


def test_another_version_is_refused_with_both_versions_named(monkeypatch):
    monkeypatch.setitem(hooks.VERSIONS, "aioice", "0.9.0")
    with pytest.raises(ApplianceError, match="aioice 0.9.0, found 0.13.0"):
        asyncio.run(verify())


def test_a_method_that_moved_is_named(monkeypatch):
    monkeypatch.delattr(Connection, "check_complete")
    with pytest.raises(ApplianceError, match=r"aioice\.ice\.Connection\.check_complete"):
        asyncio.run(verify())


def test_a_method_with_other_arguments_is_named(monkeypatch):
    async def close(self, reason):
        pass

    monkeypatch.setattr(Connection, "close", close)
    with pytest.raises(ApplianceError, match=r"Connection\.close"):
        asyncio.run(verify())


async def _agent(listener):
    agent = hooks.IceAgent(ports(), listener)
    await agent.gather_candidates()
    agent.remote_username, agent.remote_password = "abcd", "p" * 22
    return agent


def _check(agent, **attributes):
    """A connectivity check with the right credentials, as the viewer sends it."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes.update({"USERNAME": f"{agent.local_username}:abcd", "PRIORITY": 1, "ICE-CONTROLLING": 1} | attributes)
    message.add_message_integrity(agent.local_password.encode())
    return bytes(message)


def sorted_by(datagrams):
    """What an agent reports of (datagram, address) pairs; None in place of a datagram is a right check."""
    async def scenario():
        listener = Listener()
        agent = await _agent(listener)
        taken = []
        agent.on_datagram = taken.append
        connecting = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(0)
        for data, address in datagrams:
            agent.sort(agent._protocols[0], _check(agent) if data is None else data, address)
        connecting.cancel()
        await agent.close()
        return listener, taken, agent

    return asyncio.run(scenario())


attributes = st.lists(st.tuples(st.sampled_from((1, 6, 8, 9, 0x20, 0x24, 0x25, 0x8028, 0x8029, 0x802A)), st.binary(max_size=24)), max_size=5)
stun_like = st.builds(
    lambda kind, pairs: (lambda body: struct.pack("!HHI12s", kind, len(body), 0x2112A442, b"t" * 12) + body)(
        b"".join(struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4) for number, value in pairs)),
    st.sampled_from((1, 0x101, 0x111, 3)), attributes)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=100), stun_like), min_size=1, max_size=20))
def test_whatever_a_stranger_sends_is_counted_and_hurts_nobody(datagrams):
    listener, taken, _ = sorted_by([(data, STRANGER) for data in datagrams])
    assert taken == [] and listener.selected == 0 and set(listener.counts) <= {"stun", "stranger"}


def test_dtls_and_srtcp_are_taken_only_from_where_a_right_check_came_from():
    hello, report, other = b"\x16" + bytes(30), b"\x80\xc9" + bytes(30), b"\x40" + bytes(30)
    listener, taken, _ = sorted_by([(hello, STRANGER), (None, STRANGER), (hello, STRANGER), (report, STRANGER), (other, STRANGER), (hello, ("192.0.2.9", 4001))])
    assert taken == [hello, report] and listener.counts == {"stranger": 3}


def test_a_viewer_cannot_make_us_remember_any_number_of_addresses():
    _, _, agent = sorted_by([(None, ("192.0.2.9", port)) for port in range(4000, 4500)])
    assert len(agent.remote_candidates) == ADDRESSES_MAX


def test_a_check_without_its_priority_is_counted():
    async def scenario():
        listener = Listener()
        agent = await _agent(listener)
        connecting = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(0)
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        message.attributes.update({"USERNAME": f"{agent.local_username}:abcd", "ICE-CONTROLLING": 1})
        message.add_message_integrity(agent.local_password.encode())
        agent.sort(agent._protocols[0], bytes(message), STRANGER)
        connecting.cancel()
        await agent.close()
        return listener.counts

    assert asyncio.run(scenario()) == {"stun": 1}


def test_an_address_that_is_not_ours_is_left_out():
    async def scenario():
        agent = hooks.IceAgent(ports("192.0.2.77", "127.0.0.1"), Listener())
        await agent.gather_candidates()
        hosts = [candidate.host for candidate in agent.local_candidates]
        await agent.close()
        return hosts

    assert run(scenario()) == ["127.0.0.1"]


async def _connected(listener):
    """Two agents with a pair selected."""
    ours, viewer = hooks.IceAgent(ports(), listener), hooks.IceAgent(ports(), Listener())
    viewer.ice_controlling = True
    for agent in (ours, viewer):
        await agent.gather_candidates()
    ours.remote_username, ours.remote_password = viewer.local_username, viewer.local_password
    viewer.remote_username, viewer.remote_password = ours.local_username, ours.local_password
    for candidate in ours.local_candidates:
        await viewer.add_remote_candidate(candidate)
    await asyncio.gather(ours.connect(), viewer.connect())
    return ours, viewer


def test_plain_checks_of_a_known_pair_never_reach_the_library_and_all_others_do(monkeypatch):
    async def scenario():
        ours, viewer = await _connected(Listener())
        [socket], address = ours._protocols, ours._selected.remote_addr
        seen, sent = [], []
        monkeypatch.setattr(ours, "request_received", lambda message, addr, protocol: seen.append(addr))
        monkeypatch.setattr(socket, "transmit", lambda data, to: sent.append((stun.parse_message(data), to)))
        username = f"{ours.local_username}:{viewer.local_username}"
        for attributes, where in (({}, address), ({"USE-CANDIDATE": None}, address), ({}, STRANGER), ({"USERNAME": "a:b"}, address), ({"ICE-CONTROLLED": 1}, address)):
            ours.sort(socket, _check(ours, **{"USERNAME": username} | attributes), where)
        for agent in (ours, viewer):
            await agent.close()
        assert seen == [STRANGER, address, address]
        assert [(answer.message_class, answer.attributes["XOR-MAPPED-ADDRESS"], to) for answer, to in sent] == 2 * [(stun.Class.RESPONSE, address, address)]

    asyncio.run(scenario())
