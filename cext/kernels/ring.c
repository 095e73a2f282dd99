#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define PAGE_BYTES 4096ull
#define SLOT_BYTES_MAX (1ull << 30)
#define LEASES_MASK 0xffffull

static inline uint64_t control_word(uint64_t sequence, enum ring_state state, uint64_t leases)
{
    return sequence << 24 | (uint64_t)state << 16 | leases;
}
static inline uint64_t control_sequence(uint64_t control) { return control >> 24; }
static inline enum ring_state control_state(uint64_t control) { return (enum ring_state)(control >> 16 & 0xff); }
static inline uint64_t control_leases(uint64_t control) { return control & LEASES_MASK; }
static inline uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

static uint64_t payload_offset(uint32_t slot_count)
{
    return round_up(sizeof(struct ring) + slot_count * sizeof(struct ring_slot), PAGE_BYTES);
}

size_t ring_mapping_bytes(uint32_t slot_count, uint64_t slot_bytes)
{
    if (slot_count < 2 || slot_count > RING_SLOTS_MAX || slot_bytes == 0 || slot_bytes > SLOT_BYTES_MAX)
        return 0;
    return payload_offset(slot_count) + slot_count * round_up(slot_bytes, PAGE_BYTES);
}

void ring_initialise(struct ring *ring, uint32_t slot_count, uint64_t slot_bytes, uint32_t policy, const uint8_t *format,
                     uint32_t generation)
{
    ring->layout = RING_LAYOUT;
    ring->policy = policy;
    ring->slot_count = slot_count;
    ring->generation = generation;
    ring->slot_bytes = slot_bytes;
    ring->slot_stride = round_up(slot_bytes, PAGE_BYTES);
    ring->payload_offset = payload_offset(slot_count);
    ring->mapping_bytes = ring_mapping_bytes(slot_count, slot_bytes);
    memcpy(ring->format, format, RING_FORMAT_BYTES);
    ring->magic = RING_MAGIC;
}

const char *ring_refusal(const struct ring *ring, size_t mapping_bytes, const uint8_t *format)
{
    if (mapping_bytes < sizeof(struct ring) || ring->magic != RING_MAGIC)
        return "it is not a ring";
    if (ring->layout != RING_LAYOUT)
        return "it has another layout version: the processes come from different releases";
    if (ring->mapping_bytes != mapping_bytes || ring_mapping_bytes(ring->slot_count, ring->slot_bytes) != mapping_bytes)
        return "its size does not fit its geometry";
    if (memcmp(ring->format, format, RING_FORMAT_BYTES) != 0)
        return "it carries another format";
    return NULL;
}

void ring_recover(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->slot_count; i++) {
        uint64_t control = atomic_load_explicit(&ring->slots[i].control, memory_order_relaxed);
        if (control_state(control) == RING_CLAIMED)
            atomic_store_explicit(&ring->slots[i].control, 0, memory_order_relaxed);
    }
    /* A writer killed inside ring_publish may have published the slot but not yet said so in `latest` and `published`. */
    uint64_t newest = 0, slot = 0;
    for (uint32_t i = 0; i < ring->slot_count; i++) {
        uint64_t control = atomic_load_explicit(&ring->slots[i].control, memory_order_acquire);
        if (control_state(control) == RING_PUBLISHED && control_sequence(control) > newest) {
            newest = control_sequence(control);
            slot = i;
        }
    }
    if (newest > atomic_load_explicit(&ring->published, memory_order_relaxed)) {
        atomic_store_explicit(&ring->latest, newest << 8 | slot, memory_order_release);
        atomic_store_explicit(&ring->published, newest, memory_order_release);
    }
}

static int claim_oldest(struct ring *ring)
{
    uint64_t newest = atomic_load_explicit(&ring->published, memory_order_relaxed);
    /* A reader may lease between our look and our exchange; each failure takes one slot out of the running, so this ends. */
    for (uint32_t attempt = 0; attempt < ring->slot_count; attempt++) {
        int oldest = -1;
        uint64_t oldest_control = UINT64_MAX;
        for (uint32_t i = 0; i < ring->slot_count; i++) {
            uint64_t control = atomic_load_explicit(&ring->slots[i].control, memory_order_relaxed);
            if (control_state(control) == RING_CLAIMED || control_leases(control) != 0)
                continue;
            if (control_state(control) == RING_PUBLISHED && control_sequence(control) == newest)
                continue; /* the newest stays for a reader that comes late */
            if (control < oldest_control) {
                oldest_control = control;
                oldest = (int)i;
            }
        }
        if (oldest < 0)
            return -1;
        /* ORDER: claim, pairs with release: what a reader read of the slot happened before we write to it. */
        if (atomic_compare_exchange_strong_explicit(&ring->slots[oldest].control, &oldest_control,
                                                    control_word(control_sequence(oldest_control), RING_CLAIMED, 0),
                                                    memory_order_acquire, memory_order_relaxed))
            return oldest;
    }
    return -1;
}

static int claim_in_turn(struct ring *ring)
{
    uint64_t next = atomic_load_explicit(&ring->published, memory_order_relaxed) + 1;
    for (uint32_t i = 0; i < RING_READERS_MAX; i++) {
        if (!atomic_load_explicit(&ring->readers[i].attached, memory_order_acquire))
            continue;
        /* ORDER: claim, pairs with release (cursor): the reader has done with the slot that we are about to reuse. */
        if (next - atomic_load_explicit(&ring->readers[i].cursor, memory_order_acquire) > ring->slot_count)
            return -1;
    }
    int slot = (int)(next % ring->slot_count);
    /* Cursors tell who has read; leases tell who is still reading (a reader that attached a moment ago, too). */
    uint64_t control = atomic_load_explicit(&ring->slots[slot].control, memory_order_relaxed);
    if (control_state(control) == RING_CLAIMED || control_leases(control) != 0)
        return -1;
    if (!atomic_compare_exchange_strong_explicit(&ring->slots[slot].control, &control,
                                                 control_word(control_sequence(control), RING_CLAIMED, 0),
                                                 memory_order_acquire, memory_order_relaxed))
        return -1;
    return slot;
}

int ring_claim(struct ring *ring)
{
    int slot = ring->policy == RING_EVERY ? claim_in_turn(ring) : claim_oldest(ring);
    if (slot < 0)
        atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
    else
        memset(&ring->slots[slot].header, 0, sizeof(struct slot_header));
    return slot;
}

void ring_publish(struct ring *ring, int slot)
{
    uint64_t sequence = atomic_load_explicit(&ring->published, memory_order_relaxed) + 1;
    /* ORDER: publish, pairs with lease: header and payload are complete before a reader can see the slot. */
    atomic_store_explicit(&ring->slots[slot].control, control_word(sequence, RING_PUBLISHED, 0), memory_order_release);
    atomic_store_explicit(&ring->latest, sequence << 8 | (uint64_t)slot, memory_order_release);
    atomic_store_explicit(&ring->published, sequence, memory_order_release);
}

void ring_abandon(struct ring *ring, int slot)
{
    atomic_store_explicit(&ring->slots[slot].control, 0, memory_order_release);
}

void ring_attach(struct ring *ring, uint32_t reader)
{
    ring_evict(ring, reader); /* whoever had this place before is gone: the supervisor gives a place to one process at a time */
    atomic_store_explicit(&ring->readers[reader].cursor, atomic_load_explicit(&ring->published, memory_order_acquire),
                          memory_order_relaxed);
    /* ORDER: attach, pairs with claim: the cursor is set before the writer takes it into account. */
    atomic_store_explicit(&ring->readers[reader].attached, 1, memory_order_release);
}

void ring_detach(struct ring *ring, uint32_t reader) { ring_evict(ring, reader); }

void ring_evict(struct ring *ring, uint32_t reader)
{
    atomic_store_explicit(&ring->readers[reader].attached, 0, memory_order_release);
    for (uint32_t i = 0; i < ring->slot_count; i++)
        atomic_fetch_and_explicit(&ring->slots[i].control, ~(1ull << reader), memory_order_release);
}

/* Takes a lease if the slot still holds this sequence. */
static int lease(struct ring *ring, uint32_t reader, uint32_t slot, uint64_t sequence)
{
    uint64_t control = atomic_load_explicit(&ring->slots[slot].control, memory_order_relaxed);
    while (control_state(control) == RING_PUBLISHED && control_sequence(control) == sequence) {
        /* ORDER: lease, pairs with publish: we see the whole header and payload. */
        if (atomic_compare_exchange_weak_explicit(&ring->slots[slot].control, &control, control | 1ull << reader,
                                                  memory_order_acquire, memory_order_relaxed))
            return 1;
    }
    return 0;
}

int ring_lease_latest(struct ring *ring, uint32_t reader)
{
    struct ring_reader *me = &ring->readers[reader];
    uint64_t cursor = atomic_load_explicit(&me->cursor, memory_order_relaxed);
    /* The writer never reuses the newest, so a failed lease means that a newer one is there; more than a few in a row means
     * that we were stopped for many frames each time, and the next doorbell will do. */
    for (int attempt = 0; attempt < 8; attempt++) {
        uint64_t latest = atomic_load_explicit(&ring->latest, memory_order_acquire);
        uint64_t sequence = latest >> 8;
        if (sequence <= cursor)
            return -1;
        if (!lease(ring, reader, (uint32_t)(latest & 0xff), sequence))
            continue;
        atomic_fetch_add_explicit(&me->skipped, sequence - cursor - 1, memory_order_relaxed);
        atomic_store_explicit(&me->cursor, sequence, memory_order_release);
        return (int)(latest & 0xff);
    }
    return -1;
}

int ring_lease_next(struct ring *ring, uint32_t reader)
{
    struct ring_reader *me = &ring->readers[reader];
    uint64_t next = atomic_load_explicit(&me->cursor, memory_order_relaxed) + 1;
    uint64_t published = atomic_load_explicit(&ring->published, memory_order_acquire);
    while (next <= published) {
        uint32_t slot = (uint32_t)(next % ring->slot_count);
        if (lease(ring, reader, slot, next)) {
            if (next - atomic_load_explicit(&me->cursor, memory_order_relaxed) > 1)
                atomic_fetch_add_explicit(&me->skipped, next - atomic_load_explicit(&me->cursor, memory_order_relaxed) - 1,
                                          memory_order_relaxed);
            /* The cursor moves on release, not here: until then the writer must leave the slot alone. */
            atomic_store_explicit(&me->cursor, next - 1, memory_order_release);
            return (int)slot;
        }
        next++; /* overwritten between attach and now: only possible before the writer saw us */
    }
    return -1;
}

int ring_lease_slot(struct ring *ring, uint32_t reader, uint32_t slot)
{
    uint64_t control = atomic_load_explicit(&ring->slots[slot].control, memory_order_relaxed);
    while (control_state(control) == RING_PUBLISHED && !(control & 1ull << reader)) {
        /* ORDER: lease, pairs with publish: we see the whole header and payload, whichever frame it is by now. */
        if (atomic_compare_exchange_weak_explicit(&ring->slots[slot].control, &control, control | 1ull << reader,
                                                  memory_order_acquire, memory_order_relaxed))
            return (int)slot;
    }
    return -1;
}

void ring_release(struct ring *ring, uint32_t reader, int slot)
{
    /* ORDER: release, pairs with claim: our reads are over before the writer may write. */
    uint64_t control = atomic_fetch_and_explicit(&ring->slots[slot].control, ~(1ull << reader), memory_order_release);
    if (ring->policy == RING_EVERY)
        atomic_store_explicit(&ring->readers[reader].cursor, control_sequence(control), memory_order_release);
}

void ring_ring_doorbells(const int *doorbells, int count)
{
    const uint64_t one = 1;
    for (int i = 0; i < count; i++) {
        /* EAGAIN would mean 2^64 - 1 unread rings: the reader is awake in any case. */
        ssize_t written = write(doorbells[i], &one, sizeof one);
        (void)written;
    }
}

int ring_wait(int doorbell, int timeout_ms)
{
    struct pollfd poll_entry = {.fd = doorbell, .events = POLLIN};
    if (poll(&poll_entry, 1, timeout_ms) <= 0)
        return 0;
    uint64_t rings;
    return read(doorbell, &rings, sizeof rings) == sizeof rings;
}
