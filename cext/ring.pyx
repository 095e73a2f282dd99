# distutils: sources = cext/kernels/ring.c
# cython: embedsignature=True
"""Rings in a sealed memfd: created by the supervisor, inherited by the stages as file descriptors.

Used through appliance.runtime.ring and, from C, through ring.pxd. The protocol itself is kernels/ring.c.
"""
import fcntl
import mmap
import os

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint32_t, uint64_t, uintptr_t

LATEST = RING_LATEST
EVERY = RING_EVERY

cdef extern from "sys/mman.h" nogil:
    void *mmap_c "mmap"(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap_c "munmap"(void *address, size_t length)
    enum: PROT_READ, PROT_WRITE, MAP_SHARED, MAP_POPULATE


cdef bytes _padded(bytes format):
    if len(format) > RING_FORMAT_BYTES:
        raise ValueError(f"a ring's format has at most {RING_FORMAT_BYTES} octets, not {len(format)}")
    return format.ljust(RING_FORMAT_BYTES, b"\0")


cdef class Mapping:
    """A ring mapped into this process."""

    def __cinit__(self, int fd):
        self.mapping_bytes = os.fstat(fd).st_size
        cdef void *address = mmap_c(NULL, self.mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0)
        if <uintptr_t>address == <uintptr_t>-1:
            self.mapping_bytes = 0
            raise OSError(f"cannot map a ring of {os.fstat(fd).st_size} octets")
        self.pointer = <ring *>address

    def __dealloc__(self):
        if self.mapping_bytes:
            munmap_c(self.pointer, self.mapping_bytes)

    cdef check(self, bytes format):
        cdef const char *refusal = ring_refusal(self.pointer, self.mapping_bytes, _padded(format))
        if refusal != NULL:
            raise ValueError(f"cannot attach to the ring: {refusal.decode()}")


class Ring:
    """A ring as the supervisor holds it. `fd` is the sealed memfd that the stages inherit."""

    def __init__(self, name, fd, mapping):
        self.name, self.fd, self.mapping = name, fd, mapping

    @staticmethod
    def create(str name, uint32_t slot_count, uint64_t slot_bytes, uint32_t policy, bytes format=b"", uint32_t generation=1):
        """Allocates all memory at once (2..256 slots), so that no stage can meet a SIGBUS later. OSError (ENOSPC, ENOMEM) if there is too little."""
        cdef size_t size = ring_mapping_bytes(slot_count, slot_bytes)
        if not size:
            raise ValueError(f"ring {name}: {slot_count} slots of {slot_bytes} octets are out of range (2 to 256 slots, at most 1 GiB each)")
        fd = os.memfd_create(f"ring {name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        cdef Mapping mapping
        try:
            os.ftruncate(fd, size)
            os.posix_fallocate(fd, 0, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            mapping = Mapping(fd)
        except BaseException:
            os.close(fd)
            raise
        ring_initialise(mapping.pointer, slot_count, slot_bytes, policy, _padded(format), generation)
        return Ring(name, fd, mapping)

    def evict(self, uint32_t reader):
        """Gives back what a reader leased. Only after its process has been reaped."""
        if reader >= RING_READERS_MAX:
            raise IndexError(f"a ring has at most {RING_READERS_MAX} readers")
        ring_evict((<Mapping>self.mapping).pointer, reader)

    def close(self):
        """Closes the descriptor; the memory lives on in whoever has it mapped."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


# Safety: a slot gives itself back to its ring when it is forgotten. Were these three known to the collector, it could unmap the ring
# before. They hold nothing that refers back to them, so they are in no cycle of their own making.
@cython.no_gc
cdef class RingWriter:
    """The one writer. Slots that a dead predecessor had claimed are recovered."""

    def __init__(self, int fd, doorbells=(), bytes format=b""):
        if len(doorbells) > RING_READERS_MAX:
            raise ValueError(f"a ring has at most {RING_READERS_MAX} readers")
        self.mapping = Mapping(fd)
        self.mapping.check(format)
        self.pointer = self.mapping.pointer
        for i, doorbell in enumerate(doorbells):
            self.doorbells[i] = doorbell
        self.doorbell_count = len(doorbells)
        ring_recover(self.pointer)

    def claim(self):
        """A slot to fill, or None when every slot is in use (counted in `dropped`)."""
        cdef int slot = ring_claim(self.pointer)
        return None if slot < 0 else _slot(self.pointer, slot, self, None)

    @property
    def published(self):
        """Slots published since the ring was made."""
        return self.pointer.published

    @property
    def dropped(self):
        """Claims that found no slot since the ring was made."""
        return self.pointer.dropped

    @property
    def slot_bytes(self):
        """Octets of payload that a slot can hold."""
        return self.pointer.slot_bytes


@cython.no_gc
cdef class RingReader:
    """Reader number `index`. It gets what is published from now on."""

    def __init__(self, int fd, uint32_t index, int doorbell, bytes format=b""):
        if index >= RING_READERS_MAX:
            raise ValueError(f"a ring has at most {RING_READERS_MAX} readers")
        self.mapping = Mapping(fd)
        self.mapping.check(format)
        self.pointer = self.mapping.pointer
        self.index, self.doorbell = index, doorbell
        ring_attach(self.pointer, index)

    def lease_latest(self):
        """The newest slot that this reader has not had, or None; what lies between is counted in `skipped`."""
        cdef int slot = ring_lease_latest(self.pointer, self.index)
        return None if slot < 0 else _slot(self.pointer, slot, None, self)

    def lease_next(self):
        """The next slot in order, or None (policy EVERY; release one before leasing the next)."""
        if self.pointer.policy != RING_EVERY:
            raise ValueError("lease_next needs a ring with policy EVERY")
        cdef int slot = ring_lease_next(self.pointer, self.index)
        return None if slot < 0 else _slot(self.pointer, slot, None, self)

    def lease_slot(self, uint32_t index):
        """The frame in slot `index` (0..slots - 1), whichever it is, or None if it holds none or this reader leases it already (policy LATEST).

        For a reader that looks back at what the ring still has; it moves no cursor and counts no skip. Release soon: the writer goes round it.
        """
        if self.pointer.policy != RING_LATEST:
            raise ValueError("lease_slot needs a ring with policy LATEST")
        if index >= self.pointer.slot_count:
            raise IndexError(f"the ring has {self.pointer.slot_count} slots")
        cdef int slot = ring_lease_slot(self.pointer, self.index, index)
        return None if slot < 0 else _slot(self.pointer, slot, None, self)

    def wait(self, double timeout_s):
        """Sleeps on the doorbell without the GIL. True if it rang, False after the time or on a signal."""
        cdef int timeout_ms = <int>(timeout_s * 1000), rung
        with nogil:
            rung = ring_wait(self.doorbell, timeout_ms)
        return bool(rung)

    def clear(self):
        """Consumes the doorbell's rings without sleeping."""
        ring_wait(self.doorbell, 0)

    def fileno(self):
        """The doorbell, for an event loop."""
        return self.doorbell

    def attach(self):
        """Takes part again: begins after the newest slot. A reader that was made takes part already."""
        ring_attach(self.pointer, self.index)

    def detach(self):
        """Leaves the ring; the writer takes no more account of this reader."""
        ring_detach(self.pointer, self.index)

    @property
    def slots(self):
        """How many slots the ring has."""
        return self.pointer.slot_count

    @property
    def skipped(self):
        """Slots that this reader place has jumped over since the ring was made."""
        return self.pointer.readers[self.index].skipped


cdef Slot _slot(ring *pointer, int slot, RingWriter writer, RingReader reader):
    cdef Slot view = Slot.__new__(Slot)
    view.pointer, view.slot, view.writer, view.reader = pointer, slot, writer, reader
    return view


@cython.no_gc
cdef class Slot:
    """A claimed (writable) or leased (read-only) slot: header attributes, and its payload by the buffer protocol.

    Buffers taken from it must be let go before publish, abandon or release: they would show another frame's samples.
    """

    def __cinit__(self):
        self.slot = -1

    cdef slot_header *_header(self) except NULL:
        if self.slot < 0:
            raise ValueError("this slot was already published, abandoned or released")
        return &self.pointer.slots[self.slot].header

    cdef slot_header *_own(self) except NULL:
        if self.writer is None:
            raise AttributeError("a leased slot is read-only")
        return self._header()

    cdef int _end(self) except -1:
        self._header()
        if self.exports:
            raise BufferError("a buffer of this slot is still in use")
        cdef int slot = self.slot
        self.slot = -1
        return slot

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        self._header()
        PyBuffer_FillInfo(buffer, self, ring_payload(self.pointer, self.slot), self.pointer.slot_bytes, self.writer is None, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1

    def __dealloc__(self):
        # A slot dropped by an exception must not stay taken for ever.
        if self.slot < 0:
            return
        if self.writer is not None:
            ring_abandon(self.pointer, self.slot)
        elif self.reader is not None:
            ring_release(self.pointer, self.reader.index, self.slot)

    def publish(self):
        """Shows the slot to the readers and rings their doorbells."""
        self._own()
        ring_publish(self.pointer, self._end())
        ring_ring_doorbells(self.writer.doorbells, self.writer.doorbell_count)

    def abandon(self):
        """Gives a claimed slot back unpublished."""
        self._own()
        ring_abandon(self.pointer, self._end())

    def release(self):
        """Ends a lease."""
        if self.reader is None:
            raise ValueError("only a leased slot can be released")
        ring_release(self.pointer, self.reader.index, self._end())

    @property
    def address(self):
        """Address of the payload in this process."""
        self._header()
        return <uintptr_t>ring_payload(self.pointer, self.slot)

    @property
    def capacity(self):
        """Octets of payload that the slot can hold."""
        return self.pointer.slot_bytes

    @property
    def number(self): return self._header().number
    @number.setter
    def number(self, uint64_t value): self._own().number = value

    @property
    def capture_tai_ns(self): return self._header().capture_tai_ns
    @capture_tai_ns.setter
    def capture_tai_ns(self, uint64_t value): self._own().capture_tai_ns = value

    @property
    def first_packet_tai_ns(self): return self._header().first_packet_tai_ns
    @first_packet_tai_ns.setter
    def first_packet_tai_ns(self, uint64_t value): self._own().first_packet_tai_ns = value

    @property
    def publish_tai_ns(self): return self._header().publish_tai_ns
    @publish_tai_ns.setter
    def publish_tai_ns(self, uint64_t value): self._own().publish_tai_ns = value

    @property
    def rtp_timestamp(self): return self._header().rtp_timestamp
    @rtp_timestamp.setter
    def rtp_timestamp(self, uint32_t value): self._own().rtp_timestamp = value

    @property
    def flags(self): return self._header().flags
    @flags.setter
    def flags(self, uint32_t value): self._own().flags = value

    @property
    def payload_bytes(self): return self._header().payload_bytes
    @payload_bytes.setter
    def payload_bytes(self, uint32_t value): self._own().payload_bytes = value

    @property
    def rows_missing(self): return self._header().rows_missing
    @rows_missing.setter
    def rows_missing(self, uint32_t value): self._own().rows_missing = value
