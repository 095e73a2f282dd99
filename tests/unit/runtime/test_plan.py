"""Plans over a socket: whole each time, with descriptors that mean the same things on the other side."""
import os

import pytest

from appliance import config
from appliance.runtime.plan import DESCRIPTORS_PER_MESSAGE_MAX, PlanReceiver, PlanSender, RingEnd, SegmentEnd, StagePlan


def memory(text: str) -> int:
    fd = os.memfd_create(text)
    os.write(fd, text.encode())
    return fd


def text_of(fd: int) -> str:
    return os.pread(fd, 100, 0).decode()


@pytest.fixture
def ends():
    sender = PlanSender()
    receiver = PlanReceiver(os.dup(sender.theirs))
    sender.close_theirs()
    yield sender, receiver
    sender.close()


def plan_of(*rings: RingEnd, **fields) -> StagePlan:
    parsed = config.parse('[[stream]]\nname = "a"\ninterface = "lo"\nvideo = "a"\n', config.Path("/x.toml"))
    return StagePlan("fanout.0", parsed, {}, rings, (), **fields)


def test_a_plan_arrives_with_its_descriptors(ends):
    sender, receiver = ends
    ring, bell, counters = memory("ring"), memory("bell"), memory("counters")
    segments = (SegmentEnd("counters", counters, ()),)
    sender.send(StagePlan("x", plan_of().config, {}, (RingEnd("r", ring, b"", (bell,), 0),), segments, waiting={"a": "why"}))
    got = receiver.receive()
    assert (text_of(got.rings[0].fd), text_of(got.rings[0].doorbells[0]), text_of(got.segments[0].fd)) == ("ring", "bell", "counters")
    assert {ring, bell, counters}.isdisjoint(got.descriptors()) and got.waiting == {"a": "why"}
    assert not any(os.get_inheritable(fd) for fd in got.descriptors())


def test_more_descriptors_than_a_message_holds(ends):
    sender, receiver = ends
    many = [memory(str(number)) for number in range(2 * DESCRIPTORS_PER_MESSAGE_MAX + 7)]
    sender.send(plan_of(*(RingEnd(str(number), fd, b"", ()) for number, fd in enumerate(many))))
    assert all(text_of(ring.fd) == ring.name for ring in receiver.receive().rings)
    for fd in many:
        os.close(fd)


def test_a_later_plan_brings_only_what_is_new_and_old_descriptors_are_closed(ends):
    sender, receiver = ends
    kept, gone = memory("kept"), memory("gone")
    sender.send(plan_of(RingEnd("kept", kept, b"", ()), RingEnd("gone", gone, b"", ())))
    first = receiver.receive()
    os.close(gone)
    fresh = memory("fresh")  # most likely by the number that has just become free
    sender.forget({gone})
    sender.send(plan_of(RingEnd("kept", kept, b"", ()), RingEnd("fresh", fresh, b"", ())))
    second = receiver.receive()
    assert second.rings[0].fd == first.rings[0].fd
    assert [text_of(ring.fd) for ring in second.rings] == ["kept", "fresh"] and text_of(first.rings[1].fd) == "gone"
    receiver.settle()
    with pytest.raises(OSError):
        os.fstat(first.rings[1].fd)
    assert [text_of(ring.fd) for ring in second.rings] == ["kept", "fresh"]


def test_a_stage_that_reads_no_plans_and_a_supervisor_that_is_gone_are_noticed(ends):
    sender, receiver = ends
    with pytest.raises(BlockingIOError):
        for _ in range(10_000):
            sender.send(plan_of())
    sender.close()
    with pytest.raises(EOFError):
        for _ in range(10_000):
            receiver.receive()
