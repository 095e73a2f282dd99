/* Sends a part of a frame (all of it, a field or a PsF segment) as ST 2110-20 packets, evenly paced in small bursts, straight out of memory.
 *
 * Called by cext/source.pyx without the GIL. Packing is general (as many whole pgroups as fit) or in blocks, over at most three rows, so a packet
 * has one to three sample row data headers (RFC 4175 section 4.2, ST 2110-20 section 6).
 */
#ifndef PACING_H
#define PACING_H

#include <stdint.h>
#include <sys/socket.h>

#include "detour.h"

enum {
    PACING_SEGMENTS_MAX = 3,         /* ST 2110-20 6.1.4 */
    PACING_HEADER_MAX = 32,          /* RTP 12, extended sequence number 2, three sample row data headers of 6 */
    PACING_BLOCKS_BYTES = 1260,      /* block packing: seven blocks of 180 */
    PACING_BURST_NS = 500000,
    PACING_DETOURS_MAX = 2,          /* paths of ST 2022-7 */
};

/* Makes the first `rows` rows of the part ready to be sent. */
typedef void pacing_prepare(void *context, uint32_t rows);

/* Packets that leave in one message: equal in size but for a shorter last one, as UDP_SEGMENT wants them.
 * Measured: sending a 1280x720 10-bit frame over loopback takes 3.1 ms of CPU in runs, 4.7 ms packet by packet (2026-11-22). */
struct pacing_run {
    uint32_t first, count, size;     /* packets; octets of each UDP payload but the last */
};

/* A part of a frame: `rows` rows of pgroups without padding. */
struct pacing_layout {
    uint32_t row_bytes, rows;
    uint32_t pgroup_bytes, pgroup_columns, pgroup_rows;
    int second_part;                 /* its packets have the F bit */
    int blocks;                      /* block packing */
};

struct pacing {
    struct pacing_layout layout;
    uint32_t payload_max;            /* octets of a UDP payload */
    int fd;                          /* connected UDP socket, blocking; -1: all goes by detours */
    struct detour *detours[PACING_DETOURS_MAX]; /* further ways for every packet; NULL: none */
    int segmented;                   /* the kernel cuts runs into packets; cleared when it, or the network card, will not */
    uint32_t packet_count, run_count, burst_packets;
    int64_t span_ns;                 /* from the first burst to the end of the last one's share */
    uint32_t sequence;               /* 32-bit extended sequence number of the next packet */
    uint8_t payload_type;
    uint32_t ssrc;
    struct pacing_run *runs;
    struct mmsghdr *messages;        /* one a run when segmented, else one a packet */
    union pacing_control *controls;  /* one a run: UDP_SEGMENT */
    struct iovec *pieces;            /* two a packet: header, samples */
    uint8_t (*headers)[PACING_HEADER_MAX];
    uint32_t *rows_needed;           /* rows that must be ready before packet i leaves */
    uint64_t packets_sent, packets_refused, send_calls;
    int64_t late_ns_max;             /* the latest that a burst began, against its time */
};

/* Lays out the packets of `part`; 0, or -1 when memory is short. Layout, payload_max, span_ns and segmented are the caller's, set before; the part
 * stays the caller's, too, and must not move. */
int pacing_open(struct pacing *pacing, uint8_t *part);
void pacing_close(struct pacing *pacing);

/* Sleeps until the kernel's CLOCK_TAI shows `clock_ns`. Returns -1 at once when a signal came, else 0. */
int pacing_wait(int64_t clock_ns);

/* Sends the part, its first burst at `clock_ns` of CLOCK_TAI; prepare() runs before each burst. 0, or an errno that will not pass. */
int pacing_send(struct pacing *pacing, int64_t clock_ns, uint32_t rtp_timestamp, pacing_prepare *prepare, void *context);

#endif
