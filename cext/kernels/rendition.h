/* One rendition in a fan-out worker: its ring of access units, the shared plaintext history and what is counted of it.
 *
 * The history has one writer, the fan-out's thread; a thread that answers a NACK copies from it under the lock. Knows no viewers.
 */
#ifndef APPLIANCE_RENDITION_H
#define APPLIANCE_RENDITION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "packetise.h"
#include "ring.h"
#include "viewer.h"

#define HISTORY_PACKETS 2048u /* 2.4 MB: 2.3 s at 8 Mbit/s, and twice the largest access unit; a power of two */
#define KEYFRAME_REPEAT_UNITS 50u /* while a viewer waits, a keyframe is asked for again after so many units */
#define LATENCY_BUCKETS_MAX 32u
#define FLAG_KEYFRAME 1u /* appliance.frame.Flag.KEYFRAME */

enum rendition_counter {
    UNITS, GAPS, UNITS_REFUSED, PACKETS_MADE, PACKETS, OCTETS, SEND_CALLS, SEND_ERRORS, EAGAINS, GSO_FALLBACKS, SKIPS, RESENDS,
    RESENDS_REFUSED, KEYFRAMES_WANTED, PACKETISE_NS, ENCRYPT_NS, SEND_NS, SKEW_SUM_NS, SKEW_MAX_NS, LATENCY_SUM_NS, VIEWERS,
    RENDITION_COUNTERS,
};

struct rendition {
    struct ring *ring;
    uint32_t reader;
    int doorbell;
    uint32_t ssrc;
    struct packetiser packetiser;
    struct packet_ring history;
    pthread_mutex_t history_lock;
    uint64_t next_index;    /* shared packet index of the next packet */
    uint64_t next_number;   /* of the next access unit; 0 = none seen yet */
    uint32_t units_waited;  /* since a keyframe was asked for */
    int pending;            /* its doorbell rang and its ring may not be empty */
    _Atomic uint64_t keyframes_wanted; /* not yet taken */
    /* ORDER: all relaxed: each is a total on its own, nothing else is read on the strength of it. */
    _Atomic uint64_t counters[RENDITION_COUNTERS];
    _Atomic uint64_t latency_buckets[LATENCY_BUCKETS_MAX + 1];
};

static inline void count(struct rendition *rendition, enum rendition_counter counter, uint64_t n)
{
    if (n)
        atomic_fetch_add_explicit(&rendition->counters[counter], n, memory_order_relaxed);
}

static inline uint64_t counted(struct rendition *rendition, enum rendition_counter counter)
{
    return atomic_load_explicit(&rendition->counters[counter], memory_order_relaxed);
}

/* -1 if there is no memory for the history. */
int rendition_open(struct rendition *rendition, struct ring *ring, uint32_t reader, int doorbell, enum codec codec, uint32_t ssrc);
void rendition_close(struct rendition *rendition);
/* Leases the next access unit, packetises it into the history and releases it: 1, or 0 if the ring is empty. Without viewers only the
 * unit's number is noted. unit->packets = 0: viewers must wait for a keyframe. */
int rendition_take_unit(struct rendition *rendition, struct unit *unit);
/* Copies the packet with this shared index; 0 if it is no longer (or not yet) there. Any thread. */
int rendition_copy_packet(struct rendition *rendition, uint64_t index, struct packet *copy);

#endif
