"""The ring against a model that is slow and obvious: every order of claims, publications, leases and deaths."""
import os
from contextlib import ExitStack

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis import strategies as st

from appliance.runtime.ring import EVERY, LATEST, Ring, RingReader, RingWriter

READERS = 3
SLOT_BYTES = 64


class RingModel(RuleBasedStateMachine):
    """One writer, up to three readers that attach, lease, release, die and are evicted."""

    def __init__(self):
        super().__init__()
        self.undo = ExitStack()

    @initialize(policy=st.sampled_from([LATEST, EVERY]), slots=st.integers(2, 6))
    def make(self, policy, slots):
        self.policy, self.slots = policy, slots
        self.ring = Ring.create("model", slots, SLOT_BYTES, policy, b"model")
        self.undo.callback(self.ring.close)
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(READERS)]
        for bell in self.bells:
            self.undo.callback(os.close, bell)
        self.writer = RingWriter(self.ring.fd, self.bells, b"model")
        self.claimed = []
        self.published = 0
        self.readers = {}
        self.leases = {}
        self.cursor = {}

    def teardown(self):
        self.leases.clear()
        self.claimed.clear()
        self.undo.close()

    @rule()
    def claim(self):
        before = self.writer.dropped
        slot = self.writer.claim()
        if slot is None:
            assert self.writer.dropped == before + 1
            assert self.must_be_full()
            return
        assert self.writer.dropped == before
        if self.policy == EVERY and self.claimed:
            raise AssertionError("EVERY gave out a second claim")
        memoryview(slot)[:8] = (0xEE).to_bytes(8, "little")
        self.claimed.append(slot)

    def must_be_full(self):
        """No free slot by the model: every slot is claimed, leased, the newest (LATEST), or unread (EVERY)."""
        if self.policy == EVERY:
            slowest = min((self.cursor[r] for r in self.readers), default=self.published)
            return bool(self.claimed) or self.published + 1 - slowest > self.slots
        held = {number for _, number in self.leases.values()} | ({self.published} if self.published else set())
        return len(self.claimed) + len(held) >= self.slots

    @precondition(lambda self: self.claimed)
    @rule(which=st.integers(0, 10))
    def publish(self, which):
        slot = self.claimed.pop(which % len(self.claimed))
        self.published += 1
        slot.number = self.published
        view = memoryview(slot)
        view[:8] = self.published.to_bytes(8, "little")
        view.release()
        slot.publish()
        assert self.writer.published == self.published

    @precondition(lambda self: self.claimed)
    @rule()
    def abandon(self):
        self.claimed.pop().abandon()

    @rule(reader=st.integers(0, READERS - 1))
    def attach(self, reader):
        if reader not in self.readers:
            self.readers[reader] = RingReader(self.ring.fd, reader, self.bells[reader], b"model")
            self.cursor[reader] = self.published

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 10))
    def lease_or_release(self, which):
        reader = sorted(self.readers)[which % len(self.readers)]
        if reader in self.leases:
            slot, number = self.leases.pop(reader)
            assert int.from_bytes(memoryview(slot)[:8], "little") == number, "a leased slot was overwritten"
            slot.release()
            if self.policy == EVERY:
                self.cursor[reader] = number
            return
        take = self.readers[reader].lease_next if self.policy == EVERY else self.readers[reader].lease_latest
        slot = take()
        if self.cursor[reader] == self.published:
            assert slot is None
            return
        assert slot is not None
        expected = self.cursor[reader] + 1 if self.policy == EVERY else self.published
        assert slot.number == expected
        self.leases[reader] = (slot, expected)
        if self.policy == LATEST:
            self.cursor[reader] = expected

    @precondition(lambda self: self.policy == LATEST and self.readers.keys() - self.leases.keys())
    @rule(which=st.integers(0, 10), index=st.integers(0, 5))
    def look_back(self, which, index):
        """Any frame that the ring still has can be leased by its slot; no cursor moves by it."""
        free = sorted(self.readers.keys() - self.leases.keys())
        reader, skipped = free[which % len(free)], self.readers[free[which % len(free)]].skipped
        slot = self.readers[reader].lease_slot(index % self.slots)
        if slot is not None:
            assert 1 <= slot.number <= self.published
            self.leases[reader] = (slot, slot.number)
            assert self.readers[reader].lease_slot(index % self.slots) is None, "one lease of a reader at a slot"
        assert self.readers[reader].skipped == skipped

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 10))
    def reader_dies(self, which):
        """The process is gone with its lease; the supervisor evicts it."""
        reader = sorted(self.readers)[which % len(self.readers)]
        del self.readers[reader]
        dead = self.leases.pop(reader, None)
        self.ring.evict(reader)
        del self.cursor[reader]
        if dead:  # our own object must not release what the "dead process" held
            dead[0].release()

    @rule()
    def writer_is_replaced(self):
        """A new writer attaches: what the dead one had claimed is free again, what it published stays."""
        self.claimed.clear()
        self.writer = RingWriter(self.ring.fd, self.bells, b"model")
        assert self.writer.published == self.published

    @invariant()
    def leased_slots_keep_their_samples(self):
        for slot, number in getattr(self, "leases", {}).values():
            assert int.from_bytes(memoryview(slot)[:8], "little") == number


TestRingModel = RingModel.TestCase
TestRingModel.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
