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
#define HISTORY_PACKETS_SOUND 64u /* nobody asks for a packet of sound again; a power of two */
#define KEYFRAME_REPEAT_UNITS 50u /* while a viewer waits, a keyframe is asked for again after so many units */
#define BUCKETS_MAX 32u
/* A unit of more packets leaves in passes over all viewers, so that a keyframe does not overrun a Wi-Fi viewer. At 6 Mbit/s a delta
 * unit of 20 ms has 13 packets. */
#define PACE_PACKETS 24u
#define PACE_INTERVAL_NS 3000000ull /* 24 packets in 3 ms are 77 Mbit/s */
/* The kernel's pacing of a viewer's own socket: a pass in PACE_INTERVAL_NS; at higher bit rates a unit of usual size in an eighth of
 * its frame interval. */
#define PACING_MARGIN 8u
#define PACING_OCTETS_PER_S_MIN (PACE_PACKETS * PACKET_BYTES_MAX * 1000000000ull / PACE_INTERVAL_NS)
/* Its last pass begins within this part of the frame interval, whatever its size. */
#define PACE_INTERVALS_SHARE 2u
#define INTERVAL_TICKS_DEFAULT 1800u /* of a frame, until two units have told it; in 90 kHz */
#define INTERVAL_TICKS_MAX 9000u     /* a longer one is a break */
#define FLAG_KEYFRAME 1u /* appliance.frame.Flag.KEYFRAME */

enum rendition_counter {
    UNITS, GAPS, UNITS_REFUSED, PACKETS_MADE, PACKETS, OCTETS, SEND_CALLS, SEND_ERRORS, EAGAINS, GSO_FALLBACKS, SKIPS, RESENDS,
    RESENDS_REFUSED, KEYFRAMES_WANTED, PACKETISE_NS, ENCRYPT_NS, SEND_NS, SKEW_SUM_NS, SKEW_MAX_NS, LATENCY_SUM_NS, VIEWERS,
    RENDITION_COUNTERS,
};

/* How long something took: bounds rise, the last bucket is for what is above all of them. */
struct bounds {
    uint32_t count;
    uint64_t ns[BUCKETS_MAX];
};

struct rendition {
    struct ring *ring; /* NULL: none at the moment, and the doorbell is -1 */
    uint32_t reader;
    int doorbell;
    uint32_t ssrc;
    struct packetiser packetiser;
    struct history history;
    pthread_mutex_t history_lock;
    uint64_t next_index;    /* shared packet index of the next packet */
    uint64_t next_number;   /* of the next access unit; 0 = none seen yet */
    uint32_t units_waited;  /* since a keyframe was asked for */
    uint32_t interval_ticks;
    int pending;            /* its ring may not be empty; while a unit is under way: its doorbell rang */
    struct unit unit;       /* the newest; under way while `passed` is below its packets */
    uint32_t passed;        /* packets of it that were sent to all viewers */
    uint32_t first_place;   /* where its passes begin */
    uint64_t pass_due_ns, pass_interval_ns; /* CLOCK_MONOTONIC */
    _Atomic uint64_t keyframes_wanted; /* not yet taken */
    /* ORDER: all relaxed: each is a total on its own, nothing else is read on the strength of it. */
    _Atomic uint64_t counters[RENDITION_COUNTERS];
    _Atomic uint64_t latency_buckets[BUCKETS_MAX + 1];
    _Atomic uint64_t skew_buckets[BUCKETS_MAX + 1];
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
static inline int rendition_is_open(const struct rendition *rendition) { return rendition->history.packets != NULL; }
/* Another ring, or NULL and doorbell -1 for none; what the last one had not given is gone. */
void rendition_set_ring(struct rendition *rendition, struct ring *ring, uint32_t reader, int doorbell);
/* Leases the next access unit, packetises it into the history and releases it: 1, or 0 if the ring is empty. Without viewers only the
 * unit's number is noted. unit.packets = 0: viewers must wait for a keyframe. */
int rendition_take_unit(struct rendition *rendition);
/* Whether packets of the newest unit are still to be sent. */
static inline int rendition_under_way(const struct rendition *rendition) { return rendition->passed < rendition->unit.packets; }
/* The next pass of the newest unit; at the first one it is decided how far apart they are. */
struct pass rendition_next_pass(struct rendition *rendition, uint64_t now_monotonic_ns);
/* Counts what a pass cost. */
void rendition_count_pass(struct rendition *rendition, const struct send_tally *tally);
/* Counts a unit that has left: from capture until now, and from the first viewer to the last. */
void rendition_count_unit(struct rendition *rendition, const struct bounds *latency, const struct bounds *skew, uint64_t skew_ns);
/* Copies the packet with this shared index; 0 if it is no longer (or not yet) there. Any thread. */
int rendition_copy_packet(struct rendition *rendition, uint64_t index, struct packet *copy);

#endif
