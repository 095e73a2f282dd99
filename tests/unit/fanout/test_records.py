"""Records reach every viewer as they are, in order; what is not de-identified never reaches a class; one viewer's end is nobody else's."""
import asyncio

import pytest

from appliance.fanout.records import RecordFeed
from appliance.frame import DEIDENTIFIED, STATIC, Audience
from appliance.runtime.ring import EVERY, Ring, RingReader, RingWriter
from cext.messages import Recipient, Sender

HEADER = bytes([1, 2]) + bytes(14)
IDENTIFYING_HEADER = bytes([1, 1]) + bytes(14)
PACKET_HEADERS_BYTES = 28
BINARY = 53


class Viewer:
    """A viewer whose association is open and acknowledges nothing; `heard` is what was in its packets."""

    def __init__(self, identifying_allowed=True, held_bytes_max=1000):
        self.heard, self.attended, self.ended = [], 0, False
        sender = Sender(1, held_bytes_max, self.take)
        sender.open(5000, 5000, 1, 2, 1 << 20, 0)
        self.recipient = Recipient(sender, 0, BINARY, False, 0, identifying_allowed, self)

    def take(self, packet):
        self.heard.append(packet[PACKET_HEADERS_BYTES:PACKET_HEADERS_BYTES + int.from_bytes(packet[14:16], "big") - 16])

    def attend(self):
        self.attended += 1
        self.recipient.sender.watched = True

    def end(self):
        self.ended = True


@pytest.fixture
def ends():
    import os
    doorbell = os.eventfd(0, os.EFD_NONBLOCK)
    ring = Ring.create("records", 4, 256, EVERY, b"record")
    yield RingWriter(ring.fd, [doorbell], b"record"), RingReader(ring.fd, 0, doorbell, b"record")
    os.close(doorbell)
    ring.close()


def publish(writer, message, flags=0):
    slot = writer.claim()
    with memoryview(slot) as payload:
        payload[:len(message)] = message
    slot.payload_bytes, slot.flags = len(message), flags
    slot.publish()


def feed(ends, messages, viewers, audience=Audience.EXPERT):
    """What each viewer counts as (sent, skipped, refused) of (message, flags) pairs; and what the loop complained of."""
    async def scenario():
        writer, reader = ends
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["exception"]))
        records = RecordFeed(reader, audience, len(viewers))
        for viewer in viewers:
            records.add(viewer.recipient)
        counts = {viewer: (0, 0, 0) for viewer in viewers}
        for message, flags in messages:
            publish(writer, message, flags)
            await asyncio.sleep(0)
        while max(map(sum, counts.values())) < len(messages):
            await asyncio.sleep(0)
            for viewer in viewers:
                counts[viewer] = tuple(map(sum, zip(counts[viewer], viewer.recipient.take_counts())))
        for viewer in viewers:
            records.discard(viewer.recipient)
        return [counts[viewer] for viewer in viewers], complaints

    return asyncio.run(asyncio.wait_for(scenario(), 10))


def test_every_viewer_hears_every_record_in_order(ends):
    records, viewers = [HEADER + bytes([i]) for i in range(4)], [Viewer() for _ in range(3)]
    counts, _ = feed(ends, [(record, 0) for record in records], viewers)
    assert [viewer.heard for viewer in viewers] == 3 * [records] and counts == 3 * [(4, 0, 0)]


IDENTIFYING = [(HEADER + b"x", STATIC), (IDENTIFYING_HEADER + b"x", DEIDENTIFIED), (IDENTIFYING_HEADER + b"x", STATIC), (b"short", DEIDENTIFIED)]


@pytest.mark.parametrize("message, flags", IDENTIFYING)
@pytest.mark.parametrize("audience, identifying_allowed", [(Audience.CLASS, False), (Audience.CLASS, True), (Audience.EXPERT, False)])
def test_a_record_needs_both_signs_of_being_deidentified_and_either_place_keeps_it(ends, message, flags, audience, identifying_allowed):
    viewer = Viewer(identifying_allowed)
    counts, _ = feed(ends, [(HEADER, DEIDENTIFIED), (message, flags), (HEADER, DEIDENTIFIED)], [viewer], audience)
    assert viewer.heard == [HEADER, HEADER] and counts == [(2, 0, 1)]


@pytest.mark.parametrize("message, flags", IDENTIFYING)
def test_experts_hear_what_identifies(ends, message, flags):
    viewer = Viewer()
    feed(ends, [(message, flags)], [viewer])
    assert viewer.heard == [message]


class Broken(Viewer):
    def take(self, packet):
        super().take(packet)
        raise ConnectionError

    def attend(self):
        raise RuntimeError("broken")


def test_a_viewer_that_breaks_costs_the_others_nothing_and_is_ended(ends):
    broken, others = Broken(), [Viewer() for _ in range(8)]
    _, complaints = feed(ends, [(HEADER, 0)] * 2, [broken, *others])
    assert broken.ended and len(broken.heard) == len(complaints) == 1 and [len(other.heard) for other in others] == 8 * [2]


def test_a_viewer_that_reads_nothing_misses_records_and_each_is_counted(ends):
    silent, other = Viewer(held_bytes_max=100), Viewer()
    counts, _ = feed(ends, [(HEADER + bytes(100), 0)] * 4, [silent, other])
    assert counts == [(1, 3, 0), (4, 0, 0)] and silent.attended == 1


def test_slots_are_given_back(ends):
    for _ in range(2):
        viewer = Viewer()
        feed(ends, [(HEADER, 0)] * 4, [viewer])
        assert len(viewer.heard) == 4


def test_a_feed_takes_so_many_and_each_once_and_lets_them_go(ends):
    async def scenario():
        writer, reader = ends
        viewers = [Viewer() for _ in range(3)]
        records = RecordFeed(reader, Audience.EXPERT, 2)
        for viewer in viewers[:2]:
            records.add(viewer.recipient)
        with pytest.raises(ValueError):
            records.add(viewers[0].recipient)
        with pytest.raises(OverflowError):
            records.add(viewers[2].recipient)
        for viewer in (viewers[0], viewers[0]):
            records.discard(viewer.recipient)
        records.add(viewers[2].recipient)
        publish(writer, HEADER)
        while not viewers[2].heard:
            await asyncio.sleep(0)
        assert [len(viewer.heard) for viewer in viewers] == [0, 1, 1]

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_without_viewers_the_writer_is_not_held_up_and_the_first_viewer_hears_only_what_is_new(ends):
    async def scenario():
        writer, reader = ends
        records, viewer = RecordFeed(reader, Audience.EXPERT, 2), Viewer()
        for joined in (1, 2):
            for _ in range(9):  # more than the ring holds
                publish(writer, HEADER + b"old")
            records.add(viewer.recipient)
            publish(writer, HEADER + b"new")
            while len(viewer.heard) < joined:
                await asyncio.sleep(0)
            records.discard(viewer.recipient)
        assert viewer.heard == 2 * [HEADER + b"new"]

    asyncio.run(asyncio.wait_for(scenario(), 10))
