/* Shared-memory ring of frames between one writer process and up to RING_READERS_MAX reader processes.
 *
 * Nobody overwrites a leased slot and nobody waits for a reader. All state lives in the mapping; a process that dies leaves nothing
 * that the next writer (ring_recover) or the supervisor (ring_evict, after the process was reaped) cannot put right.
 */
#ifndef APPLIANCE_RING_H
#define APPLIANCE_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define RING_MAGIC 0x474e495241505041ull /* "APPARING", little endian */
#define RING_LAYOUT 1u
#define RING_READERS_MAX 16u
#define RING_SLOTS_MAX 256u
#define RING_FORMAT_BYTES 32u

enum ring_policy {
    RING_LATEST = 0, /* the writer reuses the oldest slot that nobody leases, never the newest: readers may jump ahead */
    RING_EVERY = 1,  /* the writer never reuses what an attached reader has not released: readers get every slot in order */
};

/* State of a slot, in bits 16..23 of its control word. Allowed: FREE -> CLAIMED -> PUBLISHED -> CLAIMED, CLAIMED -> FREE (abandon).
 * Prohibited: PUBLISHED with a lease -> CLAIMED (a reader would see its samples change). */
enum ring_state { RING_FREE = 0, RING_CLAIMED = 1, RING_PUBLISHED = 2 };

/* What travels with every slot; one cache line. */
struct slot_header {
    uint64_t number;              /* the writer's own count, +1 for each frame it made; a gap = one that found no slot */
    uint64_t capture_tai_ns;      /* capture instant */
    uint64_t first_packet_tai_ns; /* arrival of the frame's first packet */
    uint64_t publish_tai_ns;      /* stamped by the writer just before publish */
    uint32_t rtp_timestamp;
    uint32_t flags;         /* appliance.frame.Flag */
    uint32_t payload_bytes; /* octets valid in the slot */
    uint32_t rows_missing;
};

struct ring_slot {
    /* control = sequence (40 bits) | state (8 bits) | leases (16 bits, one a reader) */
    _Alignas(64) _Atomic uint64_t control;
    _Alignas(64) struct slot_header header;
};

struct ring_reader {
    _Alignas(64) _Atomic uint64_t cursor; /* sequence of the last slot that this reader had */
    _Atomic uint64_t skipped;             /* slots that it jumped over */
    _Atomic uint32_t attached;
};

struct ring {
    uint64_t magic;
    uint32_t layout, policy, slot_count, generation;
    uint64_t slot_bytes, slot_stride, payload_offset, mapping_bytes;
    uint8_t format[RING_FORMAT_BYTES];
    _Alignas(64) _Atomic uint64_t latest;    /* sequence << 8 | slot; 0 = nothing published yet */
    _Atomic uint64_t published;              /* sequence of the newest slot */
    _Atomic uint64_t dropped;                /* claims that found no slot */
    struct ring_reader readers[RING_READERS_MAX];
    struct ring_slot slots[];
};

/* Octets of the mapping that holds such a ring; 0 if an argument is out of range. */
size_t ring_mapping_bytes(uint32_t slot_count, uint64_t slot_bytes);
/* Lays out an empty ring in zeroed memory of ring_mapping_bytes(). */
void ring_initialise(struct ring *ring, uint32_t slot_count, uint64_t slot_bytes, uint32_t policy, const uint8_t *format,
                     uint32_t generation);
/* NULL if the mapping is such a ring with this format, otherwise what differs, in words. */
const char *ring_refusal(const struct ring *ring, size_t mapping_bytes, const uint8_t *format);

static inline uint8_t *ring_payload(struct ring *ring, uint32_t slot)
{
    return (uint8_t *)ring + ring->payload_offset + (uint64_t)slot * ring->slot_stride;
}

/* Writer. One process at a time. ring_claim returns a slot's number or -1 (no slot: counted as dropped). */
void ring_recover(struct ring *ring);
int ring_claim(struct ring *ring);
void ring_publish(struct ring *ring, int slot);
void ring_abandon(struct ring *ring, int slot);

/* Reader `reader`. A lease returns a slot's number or -1 (nothing new). */
void ring_attach(struct ring *ring, uint32_t reader);
void ring_detach(struct ring *ring, uint32_t reader);
int ring_lease_latest(struct ring *ring, uint32_t reader);
int ring_lease_next(struct ring *ring, uint32_t reader);
/* The frame in this slot, old or new, if it holds one that this reader does not lease yet (policy LATEST): for who looks back. Moves no cursor. */
int ring_lease_slot(struct ring *ring, uint32_t reader, uint32_t slot);
void ring_release(struct ring *ring, uint32_t reader, int slot);

/* Supervisor, after it has reaped the reader's process: gives back what the dead reader leased. */
void ring_evict(struct ring *ring, uint32_t reader);

/* Doorbells are eventfds: one a reader. */
void ring_ring_doorbells(const int *doorbells, int count);
/* Sleeps until the doorbell rings: 1, the time is over or a signal came: 0. Consumes the ring. */
int ring_wait(int doorbell, int timeout_ms);

#endif
