"""C face of the ring, for the other extensions: from cext.ring cimport RingReader, RingWriter, ring_claim, ..."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "ring.h" nogil:
    enum: RING_READERS_MAX
    enum: RING_FORMAT_BYTES
    enum ring_policy:
        RING_LATEST
        RING_EVERY
    struct slot_header:
        uint64_t number, capture_tai_ns, first_packet_tai_ns, publish_tai_ns
        uint32_t rtp_timestamp, flags, payload_bytes, rows_missing
    struct ring_slot:
        slot_header header
    struct ring_reader:
        uint64_t skipped
    struct ring:
        uint32_t policy, slot_count, generation
        uint64_t slot_bytes, mapping_bytes
        uint64_t published, dropped
        ring_reader readers[16]
        ring_slot slots[1]
    size_t ring_mapping_bytes(uint32_t slot_count, uint64_t slot_bytes)
    void ring_initialise(ring *r, uint32_t slot_count, uint64_t slot_bytes, uint32_t policy, const uint8_t *format, uint32_t generation)
    const char *ring_refusal(const ring *r, size_t mapping_bytes, const uint8_t *format)
    uint8_t *ring_payload(ring *r, uint32_t slot)
    void ring_recover(ring *r)
    int ring_claim(ring *r)
    void ring_publish(ring *r, int slot)
    void ring_abandon(ring *r, int slot)
    void ring_attach(ring *r, uint32_t reader)
    void ring_detach(ring *r, uint32_t reader)
    int ring_lease_latest(ring *r, uint32_t reader)
    int ring_lease_next(ring *r, uint32_t reader)
    int ring_lease_slot(ring *r, uint32_t reader, uint32_t slot)
    void ring_release(ring *r, uint32_t reader, int slot)
    void ring_evict(ring *r, uint32_t reader)
    void ring_ring_doorbells(const int *doorbells, int count)
    int ring_wait(int doorbell, int timeout_ms)

cdef class Mapping:  # a ring mapped into this process; `pointer` stays valid as long as the object lives
    cdef ring *pointer
    cdef size_t mapping_bytes
    cdef check(self, bytes format)

cdef class RingWriter:
    cdef readonly Mapping mapping
    cdef ring *pointer
    cdef int doorbells[16]
    cdef int doorbell_count

cdef class RingReader:
    cdef readonly Mapping mapping
    cdef ring *pointer
    cdef readonly uint32_t index
    cdef int doorbell

cdef class Slot:
    cdef ring *pointer
    cdef int slot
    cdef RingWriter writer
    cdef RingReader reader
    cdef int exports
    cdef slot_header *_header(self) except NULL
    cdef slot_header *_own(self) except NULL
    cdef int _end(self) except -1
