"""Our association against aiortc's own over a wire that loses packets: the short ways keep the state that the long ways expect."""
import asyncio
import random

import pytest
from aiortc.rtcdatachannel import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import (
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_UNORDERED,
    USERDATA_MAX_LENGTH,
    DataChunk,
    RTCSctpCapabilities,
    RTCSctpTransport,
    serialize_packet,
)
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.fanout.hooks.sctp import BUFFERED_BYTES_MAX, Association
from appliance.protocol import dicom_rtv
from tests.unit.fanout.test_hooks import Listener

STEPS_MAX = 2000


class Wire:
    """One end of a wire, in the place of a DTLS transport. Delivers in order, after everything that is ready to run."""

    def __init__(self, role):
        self._role, self.state, self.other, self.receiver = role, "connected", None, None
        self.lost = lambda: False
        self.packets = 0

    def transmit(self, packet):
        self.packets += 1
        if not self.lost():
            asyncio.get_running_loop().call_soon(self.other.deliver, packet)

    def deliver(self, packet):
        if isinstance(self.receiver, Association):
            self.receiver.receive(packet)
        elif self.receiver is not None:
            asyncio.ensure_future(self.receiver._handle_data(packet))

    async def _send_data(self, packet):
        self.transmit(packet)

    def _register_data_receiver(self, receiver):
        self.receiver = receiver

    def _unregister_data_receiver(self, receiver):
        self.receiver = None


class Peers:
    """Our association, a viewer's (aiortc), and the channel that the viewer opened."""

    def __init__(self):
        self.here, self.there = Wire("server"), Wire("client")
        self.here.other, self.there.other = self.there, self.here
        self.listener, self.heard = Listener(), []
        self.listener.channel_opened = self._opened
        self.ours, self.viewer = Association(self.here, self.listener), RTCSctpTransport(self.there)
        self.channel = None

    def _opened(self, channel):
        self.channel = channel

    async def connect(self, **reliability):
        own = RTCDataChannel(self.viewer, RTCDataChannelParameters(label="metadata", **reliability))
        own.on("message", self.heard.append)
        await self.viewer.start(RTCSctpCapabilities(maxMessageSize=262144), 5000)
        await self.ours.open(5000, 262144)
        await self.until(lambda: self.channel is not None)

    async def until(self, happened):
        for _ in range(STEPS_MAX):
            if happened():
                return
            await asyncio.sleep(0)
        raise AssertionError("it did not happen")

    async def close(self):
        await self.ours.stop()
        await self.viewer.stop()


def talk(conversation, **reliability):
    async def scenario():
        peers = Peers()
        await peers.connect(**(reliability or {"ordered": False, "maxRetransmits": 0}))
        try:
            return await conversation(peers)
        finally:
            await peers.close()

    return asyncio.run(scenario())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4 * USERDATA_MAX_LENGTH), min_size=1, max_size=20))
def test_messages_of_every_size_arrive_as_they_are_and_nothing_stays_in_flight(sizes):
    messages = [bytes([i]) * size for i, size in enumerate(sizes)]

    async def conversation(peers):
        for i, message in enumerate(messages):
            assert peers.ours.send_message(peers.channel, message)
            await peers.until(lambda: len(peers.heard) == i + 1)
        await peers.until(lambda: not peers.ours._sent_queue)
        assert peers.ours._flight_size == 0 and not peers.ours._outbound_queue
        return peers.heard

    assert talk(conversation) == messages


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.05, 0.9))
def test_after_losses_messages_flow_again_and_nothing_stays_in_flight(seed, rate):
    async def conversation(peers):
        dice = random.Random(seed)
        peers.here.lost = peers.there.lost = lambda: dice.random() < rate
        for i in range(15):
            peers.ours.send_message(peers.channel, b"early %d" % i)
            for _ in range(3):
                await asyncio.sleep(0)
        peers.here.lost = peers.there.lost = lambda: False
        # Three later messages make the receiver's gaps believed (RFC 9260 section 7.2.4); then the lost ones are given up.
        for i in range(6):
            peers.ours.send_message(peers.channel, b"late %d" % i)
            for _ in range(6):
                await asyncio.sleep(0)
        await peers.until(lambda: not peers.ours._sent_queue)
        assert peers.ours._flight_size == 0
        return peers.heard

    heard = talk(conversation)
    assert heard[-1] == b"late 5" and len(heard) == len(set(heard))


def test_a_viewer_that_never_acknowledges_misses_messages_and_costs_no_more_memory():
    async def conversation(peers):
        peers.there.lost = lambda: True
        taken = sum(peers.ours.send_message(peers.channel, bytes(700)) for _ in range(1000))
        held = sum(len(chunk.user_data) for chunk in (*peers.ours._sent_queue, *peers.ours._outbound_queue))
        return taken, held

    taken, held = talk(conversation)
    assert 0 < taken < 1000 and held < BUFFERED_BYTES_MAX + 700


LARGEST = dicom_rtv.message(bytes(dicom_rtv.GRAIN_BYTES_MAX), 0, 0, True)


@pytest.mark.parametrize("before", [0, 1, 10])
def test_the_largest_grain_arrives_even_behind_others_and_small_ones_pass_after_it(before):
    async def conversation(peers):
        for i in range(before):
            assert peers.ours.send_message(peers.channel, b"before %d" % i)
        assert peers.ours.send_message(peers.channel, LARGEST)
        await peers.until(lambda: LARGEST in peers.heard and not peers.ours._sent_queue)
        assert peers.ours.send_message(peers.channel, b"after")
        await peers.until(lambda: b"after" in peers.heard)
        return peers.heard

    assert len(talk(conversation)) == before + 2


def test_behind_the_largest_grain_messages_are_missed_until_the_viewer_has_read():
    async def conversation(peers):
        peers.there.lost = lambda: True
        return [peers.ours.send_message(peers.channel, message) for message in (LARGEST, LARGEST, b"small")]

    assert talk(conversation) == [True, False, False]


@pytest.mark.parametrize("reliability", [{"ordered": True}, {"ordered": False, "maxRetransmits": 3}, {"ordered": True, "maxRetransmits": 0}])
def test_a_channel_of_another_kind_is_served_as_it_was_opened(reliability):
    async def conversation(peers):
        for i in range(5):
            assert peers.ours.send_message(peers.channel, bytes([i]) * 700)
        await peers.until(lambda: len(peers.heard) == 5 and not peers.ours._sent_queue)
        return peers.heard

    assert talk(conversation, **reliability) == [bytes([i]) * 700 for i in range(5)]


def test_a_message_that_fits_a_packet_is_one_packet_sent_at_once():
    async def conversation(peers):
        before = peers.here.packets
        peers.ours.send_message(peers.channel, bytes(USERDATA_MAX_LENGTH))
        return peers.here.packets - before

    assert talk(conversation) == 1


def test_a_closed_channel_takes_nothing():
    async def conversation(peers):
        peers.channel.close()
        return peers.ours.send_message(peers.channel, b"late")

    assert talk(conversation) is False


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=80), st.booleans()), min_size=1, max_size=10))
def test_any_octets_in_place_of_a_packet_leave_the_association_working(packets):
    async def conversation(peers):
        for octets, right_sum in packets:
            packet = bytearray(b"\x13\x88\x13\x88" + peers.ours._local_verification_tag.to_bytes(4, "big") + bytes(4) + octets)
            if right_sum:
                packet[8:12] = crc32c(bytes(packet[:8]) + bytes(4) + bytes(packet[12:])).to_bytes(4, "little")
            peers.ours.receive(bytes(packet))
        return peers.listener.counts

    assert set(talk(conversation)) <= {"sctp"}


def _piece(peers, ahead, size):
    """A packet with the first fragment of a message that never ends."""
    chunk = DataChunk(SCTP_DATA_FIRST_FRAG | SCTP_DATA_UNORDERED)
    chunk.tsn, chunk.stream_id, chunk.protocol = (peers.ours._last_received_tsn + ahead) % 2**32, 1, 53
    chunk.user_data = bytes(size)
    return serialize_packet(5000, 5000, peers.ours._local_verification_tag, chunk)


@pytest.mark.parametrize("ahead, size", [(1, 1000), (1000, 1)])
def test_a_viewer_that_sends_pieces_and_never_a_whole_is_cut_off(ahead, size):
    async def conversation(peers):
        for i in range(100):
            peers.ours.receive(_piece(peers, ahead + (ahead > 1) * 2 * i, size))
        return peers.listener

    listener = talk(conversation)
    assert listener.closed >= 1 and listener.counts["sctp"] >= 1
