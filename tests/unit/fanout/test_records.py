"""Records reach every viewer as they are, in order, and with the truth about their static part."""
import asyncio

import pytest

from appliance.fanout.records import RecordFeed
from appliance.frame import STATIC
from appliance.runtime.ring import EVERY, Ring, RingReader, RingWriter

HEADER = bytes([1, 0]) + bytes(14)
STATIC_HEADER = bytes([1, 1]) + bytes(14)


class Viewer:
    def __init__(self):
        self.heard = []

    def send_record(self, message, has_static):
        self.heard.append((message, has_static))


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


def heard(ends, messages, viewers=1):
    """What viewers hear of (message, flags) pairs."""
    async def scenario():
        writer, reader = ends
        feed = RecordFeed(reader)
        listeners = [Viewer() for _ in range(viewers)]
        feed.viewers.update(listeners)
        feed.start()
        for message, flags in messages:
            publish(writer, message, flags)
        while len(listeners[0].heard) < len(messages):
            await asyncio.sleep(0)
        feed.stop()
        return [listener.heard for listener in listeners]

    return asyncio.run(asyncio.wait_for(scenario(), 10))


def test_every_viewer_hears_every_record_in_order(ends):
    records = [HEADER + bytes([i]) for i in range(4)]
    assert heard(ends, [(record, 0) for record in records], viewers=3) == 3 * [[(record, False) for record in records]]


@pytest.mark.parametrize("message, flags", [(HEADER + b"x", STATIC), (STATIC_HEADER + b"x", 0), (STATIC_HEADER + b"x", STATIC), (b"short", 0), (b"", 0)])
def test_either_sign_of_a_static_part_is_enough_and_so_is_no_header(ends, message, flags):
    assert heard(ends, [(message, flags)]) == [[(message, True)]]


class Broken(Viewer):
    ended = False

    def send_record(self, message, has_static):
        super().send_record(message, has_static)
        raise RuntimeError("broken")

    def end(self):
        self.ended = True


def test_a_viewer_that_breaks_costs_the_others_nothing_and_is_ended(ends):
    async def scenario():
        writer, reader = ends
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["exception"]))
        feed, broken, others = RecordFeed(reader), Broken(), [Viewer() for _ in range(8)]
        feed.viewers.update([broken, *others])
        feed.start()
        for _ in range(2):
            publish(writer, HEADER)
        while any(len(other.heard) < 2 for other in others) and not complaints[1:]:
            await asyncio.sleep(0)
        feed.stop()
        assert broken.ended and len(broken.heard) == len(complaints) == 1 and [len(other.heard) for other in others] == 8 * [2]

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_slots_are_given_back(ends):
    assert len(heard(ends, [(HEADER, 0)] * 4)[0]) == 4
    assert len(heard(ends, [(HEADER, 0)] * 4)[0]) == 4
