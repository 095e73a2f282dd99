/* A viewer's own packet numbering: which shared packet left under which index, and how, so that it can be sent again octet for octet.
 *
 * Used by the viewer under its lock. An index (ROC << 16 | SEQ) runs without a gap over skips and moves between renditions. Packets are
 * remembered by spans, newest SPANS; sends nothing.
 */
#ifndef APPLIANCE_NUMBERING_H
#define APPLIANCE_NUMBERING_H

#include <stdint.h>

#define SPANS 256u /* a power of two: five seconds of 50 access units a second, twice what a history of 2048 packets usually holds */
#define RESENDS_PER_SECOND_MAX 256u /* to one viewer: 15 % loss at 16 Mbit/s; bounds what a forged NACK can amplify */
#define RESENDS_PER_PACKET_MAX 3u
#define RESEND_PLACES 256u /* packets whose resends are remembered; a power of two, >= RESENDS_PER_SECOND_MAX */

/* Packets in a row that were made in one way. */
struct span {
    uint64_t first_index; /* own index of its first packet; it ends where the next span begins */
    uint64_t offset;      /* shared index minus own index, modulo 2^64 */
    uint32_t lift;        /* ticks added to the shared RTP timestamp */
    uint32_t send_time;   /* abs-send-time: 24 bits, 6.18 seconds */
    int32_t rendition;
};

struct resend_place {
    uint32_t index; /* low bits */
    uint32_t count;
};

struct numbering {
    uint64_t next_index; /* of the next packet */
    uint64_t begun;      /* spans so far; the newest is spans[(begun - 1) % SPANS] */
    struct span spans[SPANS];
    uint64_t resend_second, resends_in_second;
    struct resend_place resends[RESEND_PLACES];
};

/* Forgets everything; the first packet gets this index. */
void numbering_open(struct numbering *numbering, uint16_t first_index);
/* What is numbered from now on was made like this; `span->first_index` is filled in. */
void numbering_begin(struct numbering *numbering, struct span span);
/* The newest packet with this sequence number: its own index and span. 0 if it is forgotten, never was, or was asked for too often. */
int numbering_allows_resend(struct numbering *numbering, uint16_t sequence, uint64_t now_monotonic_ns, uint64_t *index, struct span *span);

#endif
