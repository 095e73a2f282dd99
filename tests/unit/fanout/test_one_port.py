"""One UDP port for all: two workers share it, and each datagram finds the viewer it is for, whichever worker the kernel gave it to."""
import asyncio
import select
import socket
from contextlib import contextmanager

import pytest
from aioice import stun

from appliance.fanout.hooks.one_port_ice import OnePortAgent
from appliance.fanout.one_port import DATAGRAMS_PER_TURN, ROUTES_MAX, ConnectedSocket, OnePort, PortCounts
from appliance.fanout.ports import MediaAddresses, bound
from tests.unit.fanout.test_hooks import Listener

LOOPBACK = "127.0.0.1"
DTLS = b"\x16" + bytes(30)


class Tally:
    """A counter."""

    def __init__(self):
        self.value = 0

    def add(self, count=1):
        self.value += count


class Hall:
    """Workers 0 and 1 on one port, and the sockets of people who call it."""

    def __init__(self, folder, addresses=(LOOPBACK,)):
        with bound(addresses[0], 0) as probe:
            self.port = probe.getsockname()[1]
        paths = {number: str(folder / f"{number}.sock") for number in (0, 1)}
        self.counts = [PortCounts(Tally(), Tally(), Tally(), Tally(), Tally()) for _ in paths]
        self.workers = []
        for number, path in paths.items():
            inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            inbox.bind(path)
            self.workers.append(OnePort(number, self.port, MediaAddresses(addresses), inbox, paths, self.counts[number]))
        self.address = (addresses[0], self.port)

    def total(self, name):
        return sum(getattr(counts, name).value for counts in self.counts)

    async def agent(self, worker):
        agent = OnePortAgent(self.workers[worker], Listener())
        await agent.gather_candidates()
        agent.remote_username, agent.remote_password = "viewer", "p" * 22
        agent.connecting = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(0)
        agent.taken = []
        agent.on_datagram = agent.taken.append
        return agent

    def close(self):
        for worker in self.workers:
            worker.close()


def check(agent, password=None, **attributes):
    """A connectivity check of a viewer of this agent."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes.update({"USERNAME": f"{agent.local_username}:viewer", "PRIORITY": 1, "ICE-CONTROLLING": 1} | attributes)
    message.add_message_integrity((password or agent.local_password).encode())
    return bytes(message)


@contextmanager
def caller(host=LOOPBACK, port=0):
    """A viewer's socket."""
    with bound(host, port) as opened:
        yield opened


async def until(happened):
    for _ in range(3000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def call(hall, viewer, datagram):
    """Sends and waits for the answer; answers a triggered check if one came before it."""
    viewer.sendto(datagram, hall.address)
    return await asyncio.get_running_loop().sock_recv(viewer, 2048)


def in_hall(tmp_path, scenario, **options):
    async def run():
        hall = Hall(tmp_path, **options)
        try:
            await asyncio.wait_for(scenario(hall), 90)
        finally:
            hall.close()

    asyncio.run(run())


async def end(*agents):
    for agent in agents:
        agent.connecting.cancel()
        await agent.close()


def test_a_check_finds_its_worker_whichever_got_it_and_all_else_follows_directly(tmp_path):
    async def scenario(hall):
        agents = [await hall.agent(number) for number in (0, 1)]
        for agent in agents:
            for _ in range(12):  # from so many addresses that the kernel gives both workers some
                with caller() as viewer:
                    await call(hall, viewer, check(agent))
                    handed = hall.total("handed_on")
                    viewer.sendto(DTLS, hall.address)
                    before = len(agent.taken)
                    await until(lambda: len(agent.taken) > before)
                    assert hall.total("handed_on") == handed, "the connected socket did not get it"
        assert hall.total("handed_on") > 0 and hall.total("strangers") == 0
        await end(*agents)

    in_hall(tmp_path, scenario)


def test_a_wrong_password_makes_no_socket(tmp_path):
    async def scenario(hall):
        agent = await hall.agent(0)
        with caller() as viewer:
            answer = stun.parse_message(await call(hall, viewer, check(agent, password="q" * 22)))
            assert answer.message_class is stun.Class.ERROR
            viewer.sendto(DTLS, hall.address)
            await until(lambda: hall.total("strangers") == 1)
        assert agent.taken == [] and agent._connected_faces == {}
        await end(agent)

    in_hall(tmp_path, scenario)


def test_a_viewer_that_moves_gets_a_socket_for_its_new_address(tmp_path):
    async def scenario(hall):
        agent = await hall.agent(1)
        for count in (1, 2):
            with caller() as viewer:
                await call(hall, viewer, check(agent))
                viewer.sendto(DTLS, hall.address)
                await until(lambda: len(agent.taken) == count)
        assert len(agent._connected_faces) == 2
        await end(agent)
        assert hall.workers[1]._connected == {} and hall.workers[1]._owners == {}

    in_hall(tmp_path, scenario)


@pytest.mark.parametrize("worker", [0, 1])
def test_another_viewer_at_an_address_takes_it_over(tmp_path, worker):
    """A page that was loaded anew behind a NAT with few ports: the session before it, on this worker or another, is over."""
    async def scenario(hall):
        before, after = await hall.agent(0), await hall.agent(worker)
        with caller() as viewer:
            await call(hall, viewer, check(before, **{"USE-CANDIDATE": None}))
            triggered = stun.parse_message(await asyncio.get_running_loop().sock_recv(viewer, 2048))
            answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, triggered.transaction_id, {"XOR-MAPPED-ADDRESS": hall.address})
            answer.add_message_integrity(b"p" * 22)
            viewer.sendto(bytes(answer), hall.address)
            await until(lambda: before._peer.selected == 1)
            await call(hall, viewer, check(after))
            await until(lambda: before._peer.lost == 1)
            viewer.sendto(DTLS, hall.address)
            await until(lambda: after.taken == [DTLS])
        assert before.taken == []
        await end(before, after)

    in_hall(tmp_path, scenario)


def test_what_a_new_socket_took_before_it_was_connected_is_not_lost(tmp_path):
    async def scenario(hall):
        other, taken = await hall.agent(1), []
        opened = bound(*hall.address, shared=True)
        for _ in range(100):  # until the kernel has given the unconnected socket one that is not for it
            late = bound(LOOPBACK, 0)
            late.sendto(check(other), hall.address)
            if select.select([opened], [], [], 0)[0]:
                break
            late.close()
        with caller() as viewer, late:
            opened.connect(viewer.getsockname())
            connected = ConnectedSocket(hall.workers[0], opened, LOOPBACK, viewer.getsockname(), lambda *datagram: taken.append(datagram), None)
            await asyncio.get_running_loop().sock_recv(late, 2048)
            connected.close()
        assert hall.counts[0].handed_on.value >= 1 and taken == []
        await end(other)

    in_hall(tmp_path, scenario)


def test_strangers_are_counted_and_cannot_fill_any_table(tmp_path):
    async def scenario(hall):
        agent = await hall.agent(1)
        worker = hall.workers[0]
        for port in range(1, ROUTES_MAX + 100):
            worker.route(LOOPBACK, check(agent), ("192.0.2.9", port))
        assert len(worker._routes) == ROUTES_MAX
        before = hall.counts[0].strangers.value
        for datagram in (b"", b"nonsense", DTLS, check(agent).replace(agent.local_username.encode(), b"zzzzzzzzzz"),
                         check(agent).replace(agent.local_username.encode(), b"00nobody!!")):
            assert worker.route(LOOPBACK, datagram, ("192.0.2.8", 1)) is False
        assert hall.counts[0].strangers.value == before + 5
        assert hall.counts[0].handovers_lost.value > 0, "the other worker's queue has an end"
        await end(agent)

    in_hall(tmp_path, scenario)


def test_a_flood_of_strangers_leaves_the_event_loop_to_others(tmp_path):
    async def scenario(hall):
        with caller() as stranger:
            for _ in range(3 * DATAGRAMS_PER_TURN):
                stranger.sendto(b"flood", hall.address)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert 0 < hall.total("strangers") <= DATAGRAMS_PER_TURN
            await until(lambda: hall.total("strangers") == 3 * DATAGRAMS_PER_TURN)

    in_hall(tmp_path, scenario)


def test_a_worker_that_is_gone_leaves_the_port_to_the_other(tmp_path):
    async def scenario(hall):
        agent = await hall.agent(1)
        hall.workers[0].close()
        for _ in range(8):
            with caller() as viewer:
                await call(hall, viewer, check(agent))
        assert hall.total("handed_on") == 0
        await end(agent)
        hall.workers.pop(0)

    in_hall(tmp_path, scenario)


def test_it_works_over_ipv6(tmp_path):
    async def scenario(hall):
        agent = await hall.agent(1)
        for count in range(1, 9):
            with caller("::1") as viewer:
                await call(hall, viewer, check(agent))
                viewer.sendto(DTLS, hall.address)
                await until(lambda: len(agent.taken) == count)
        await end(agent)

    in_hall(tmp_path, scenario, addresses=("::1",))


def test_an_overflow_of_the_port_is_the_kernels_count(tmp_path):
    async def scenario(hall):
        with caller() as stranger:
            for _ in range(20_000):  # nobody reads meanwhile
                stranger.sendto(bytes(1000), hall.address)
            for worker in hall.workers:
                worker.count()
        assert hall.total("overflows") > 0
        counted = hall.total("overflows")
        for worker in hall.workers:
            worker.count()
        assert hall.total("overflows") == counted

    in_hall(tmp_path, scenario)
