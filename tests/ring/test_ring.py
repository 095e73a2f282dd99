"""The ring's face: geometry, formats, buffers, doorbells, sealing."""
import fcntl
import gc
import mmap
import os

import pytest

from appliance.runtime.ring import EVERY, LATEST, Ring, RingReader, RingWriter


@pytest.fixture
def bell():
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


@pytest.fixture
def ring():
    ring = Ring.create("test", 4, 100, LATEST, b"fmt")
    yield ring
    ring.close()


@pytest.mark.parametrize("slots, slot_bytes", [(1, 10), (257, 10), (4, 0), (4, (1 << 30) + 1)])
def test_geometry_out_of_range_is_refused(slots, slot_bytes):
    with pytest.raises(ValueError, match="out of range"):
        Ring.create("bad", slots, slot_bytes, LATEST)


def test_another_format_is_refused(ring, bell):
    with pytest.raises(ValueError, match="another format"):
        RingWriter(ring.fd, [], b"other")
    with pytest.raises(ValueError, match="another format"):
        RingReader(ring.fd, 0, bell, b"other")


def test_what_is_not_a_ring_is_refused():
    fd = os.memfd_create("not a ring")
    os.ftruncate(fd, 1 << 16)
    with pytest.raises(ValueError, match="not a ring"):
        RingWriter(fd, [], b"")
    os.close(fd)


def test_memory_is_allocated_and_sealed(ring):
    assert os.fstat(ring.fd).st_blocks * 512 >= os.fstat(ring.fd).st_size
    seals = fcntl.fcntl(ring.fd, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_GROW and seals & fcntl.F_SEAL_SHRINK and seals & fcntl.F_SEAL_SEAL
    with pytest.raises(OSError):
        os.ftruncate(ring.fd, mmap.PAGESIZE)


def test_header_and_payload_travel(ring, bell):
    writer, reader = RingWriter(ring.fd, [bell], b"fmt"), RingReader(ring.fd, 0, bell, b"fmt")
    slot = writer.claim()
    values = dict(number=7, capture_tai_ns=1 << 60, first_packet_tai_ns=2, publish_tai_ns=3, rtp_timestamp=0xFFFFFFFF, flags=5,
                  payload_bytes=99, rows_missing=4)
    for name, value in values.items():
        setattr(slot, name, value)
    memoryview(slot)[:5] = b"hello"
    slot.publish()
    assert reader.wait(1.0)
    got = reader.lease_latest()
    assert {name: getattr(got, name) for name in values} == values
    assert bytes(memoryview(got)[:5]) == b"hello"
    assert memoryview(got).readonly
    with pytest.raises(AttributeError, match="read-only"):
        got.number = 1


def test_a_slot_is_used_once(ring, bell):
    writer = RingWriter(ring.fd, [bell], b"fmt")
    slot = writer.claim()
    slot.publish()
    for act in (slot.publish, slot.abandon, lambda: memoryview(slot), lambda: slot.number):
        with pytest.raises(ValueError, match="already"):
            act()


def test_a_slot_with_a_living_buffer_cannot_be_given_away(ring):
    slot = RingWriter(ring.fd, [], b"fmt").claim()
    view = memoryview(slot)
    with pytest.raises(BufferError):
        slot.publish()
    view.release()
    slot.publish()


def test_a_forgotten_slot_returns_by_itself(ring, bell):
    writer, reader = RingWriter(ring.fd, [bell], b"fmt"), RingReader(ring.fd, 0, bell, b"fmt")
    for _ in range(20):
        slot = writer.claim()
        assert slot is not None
        del slot  # an exception between claim and publish
    writer.claim().publish()
    lease = reader.lease_latest()
    assert lease is not None
    del lease
    for _ in range(20):
        writer.claim().publish()
    assert writer.dropped == 0


def test_a_forgotten_slot_returns_even_when_the_collector_finds_it_together_with_its_reader(ring, bell):
    writer = RingWriter(ring.fd, [bell], b"fmt")
    for place in range(8):  # twice as many as the ring has slots
        # As when an exception's traceback keeps a stage's frames: the slot and the reader that it needs are in one cycle.
        cycle = [RingReader(ring.fd, place, bell, b"fmt")]
        writer.claim().publish()
        cycle += [cycle[0].lease_latest(), cycle]
        assert cycle[1] is not None
        del cycle
        gc.collect()


def test_slow_reader_jumps_to_the_newest_and_counts(ring, bell):
    writer, reader = RingWriter(ring.fd, [bell], b"fmt"), RingReader(ring.fd, 0, bell, b"fmt")
    for number in range(10):
        slot = writer.claim()
        slot.number = number
        slot.publish()
    assert reader.lease_latest().number == 9
    assert reader.skipped == 9
    assert reader.lease_latest() is None


def test_every_policy_drops_the_new_one_and_loses_nothing_else(bell):
    ring = Ring.create("every", 3, 8, EVERY)
    writer, reader = RingWriter(ring.fd, [bell]), RingReader(ring.fd, 0, bell)
    made = []
    for number in range(5):
        slot = writer.claim()
        if slot is not None:
            slot.number = number
            slot.publish()
            made.append(number)
    assert made == [0, 1, 2] and writer.dropped == 2
    got = []
    while (slot := reader.lease_next()) is not None:
        got.append(slot.number)
        slot.release()
    assert got == made and reader.skipped == 0
    ring.close()


def test_wait_ends_without_a_ring(ring, bell):
    assert RingReader(ring.fd, 0, bell, b"fmt").wait(0.01) is False


def test_lease_next_needs_the_policy(ring, bell):
    with pytest.raises(ValueError, match="EVERY"):
        RingReader(ring.fd, 0, bell, b"fmt").lease_next()
