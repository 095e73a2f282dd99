"""The ring between real processes: under stress nothing tears, and a SIGKILL anywhere leaves a ring that works."""
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from appliance.runtime.ring import EVERY, LATEST, Ring, RingReader, RingWriter

SLOT_BYTES = 64 * 1024

WRITER = """
import sys, numpy
from appliance.runtime.ring import RingWriter
fd, bell, first, count = map(int, sys.argv[1:5])
writer = RingWriter(fd, [bell], b"stress")
number = first
while number < first + count:
    slot = writer.claim()
    if slot is None:
        continue
    samples = numpy.frombuffer(slot, numpy.uint64)
    samples[:] = number
    del samples
    slot.number = number
    slot.publish()
    number += 1
"""

READER = """
import sys
from appliance.runtime.ring import RingReader
fd, bell = map(int, sys.argv[1:3])
reader = RingReader(fd, 0, bell, b"stress")
print("attached", flush=True)
while True:
    reader.wait(0.2)
    while (slot := reader.lease_next() if sys.argv[3] == "every" else reader.lease_latest()) is not None:
        slot.release()
"""


def start(program, *arguments, fds, **options):
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], pass_fds=fds, **options)


@pytest.fixture(params=[LATEST, EVERY], ids=["latest", "every"])
def parts(request):
    ring = Ring.create("stress", 4, SLOT_BYTES, request.param, b"stress")
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    yield ring, bell, request.param
    os.close(bell)
    ring.close()


def check_untorn(slot):
    """Every word of the payload is the frame's own number: nothing of another frame is in it."""
    view = memoryview(slot).cast("Q")
    number = slot.number
    torn = [word for word in view if word != number]
    view.release()
    assert torn == []
    return number


def test_two_processes_never_see_a_torn_frame(parts):
    ring, bell, policy = parts
    reader = RingReader(ring.fd, 0, bell, b"stress")
    count = 1500
    writer = start(WRITER, ring.fd, bell, 1, count, fds=[ring.fd, bell])
    last, seen = 0, 0
    deadline = time.monotonic() + 60
    while last < count:
        assert time.monotonic() < deadline, f"stuck at {last}"
        reader.wait(0.2)
        while (slot := reader.lease_next() if policy == EVERY else reader.lease_latest()) is not None:
            number = check_untorn(slot)
            assert number == last + 1 if policy == EVERY else number > last
            last, seen = number, seen + 1
            slot.release()
    assert writer.wait(10) == 0
    assert seen + reader.skipped == count


def test_a_killed_writer_is_replaced_and_the_reader_goes_on(parts):
    ring, bell, policy = parts
    reader = RingReader(ring.fd, 0, bell, b"stress")
    moments = random.Random(1)
    last = 0
    for generation in range(12):
        writer = start(WRITER, ring.fd, bell, generation * 1_000_000 + 1, 1_000_000, fds=[ring.fd, bell])
        deadline, got, until = time.monotonic() + 30, 0, None
        while until is None or time.monotonic() < until:
            assert time.monotonic() < deadline, f"generation {generation}: no frame"
            reader.wait(0.1)
            while (slot := reader.lease_next() if policy == EVERY else reader.lease_latest()) is not None:
                number = check_untorn(slot)
                slot.release()
                assert number > last
                last = number
                if number > generation * 1_000_000:
                    got += 1
                    until = until or time.monotonic() + moments.random() * 0.02
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert got > 0
    successor = RingWriter(ring.fd, [bell], b"stress")
    while (slot := reader.lease_next() if policy == EVERY else reader.lease_latest()) is not None:
        slot.release()
    for _ in range(20):
        slot = successor.claim()
        assert slot is not None, "the dead writers left slots claimed"
        slot.publish()
        lease = reader.lease_next() if policy == EVERY else reader.lease_latest()
        lease.release()


def test_a_killed_reader_is_evicted_and_the_writer_goes_on(parts):
    ring, bell, policy = parts
    writer = RingWriter(ring.fd, [bell], b"stress")
    moments = random.Random(2)
    for _ in range(8):
        victim = start(READER, ring.fd, bell, "every" if policy == EVERY else "latest", fds=[ring.fd, bell], stdout=subprocess.PIPE)
        assert victim.stdout.readline() == b"attached\n"
        until = time.monotonic() + 0.02 + moments.random() * 0.03
        while time.monotonic() < until:
            slot = writer.claim()
            if slot is not None:
                slot.publish()
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        victim.stdout.close()
        ring.evict(0)
        before = writer.dropped
        for _ in range(20):
            writer.claim().publish()
        assert writer.dropped == before, "a dead reader still holds a slot"


def test_a_stuck_reader_costs_one_slot_and_never_the_stream():
    ring = Ring.create("stuck", 4, 64, LATEST)
    bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    writer = RingWriter(ring.fd, bells)
    stuck, alive = (RingReader(ring.fd, place, bell) for place, bell in enumerate(bells))
    writer.claim().publish()
    held = stuck.lease_latest()
    for number in range(100):
        slot = writer.claim()
        slot.number = number
        slot.publish()
        assert alive.lease_latest().number == number
    assert writer.dropped == 0
    held.release()
    for bell in bells:
        os.close(bell)
    ring.close()
