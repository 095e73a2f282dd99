/* A second way for a source's packets, or an impaired one: copies that leave later, and some that never do. For rehearsing ST 2022-7.
 *
 * Called by pacing with each burst. What is lost follows from a seed. Frames go on being drawn meanwhile, so that octets are copied.
 */
#ifndef DETOUR_H
#define DETOUR_H

#include <stdint.h>
#include <sys/uio.h>

struct detour {
    int fd;                  /* connected UDP socket */
    uint32_t loss;           /* of 2^32 packets */
    int64_t late_ns;
    uint64_t state;          /* of the random numbers */
    uint32_t capacity, first, count, slot_bytes;
    uint8_t *octets;         /* capacity slots */
    struct detour_packet { int64_t due_ns; uint32_t length; } *packets;
    uint64_t packets_sent, packets_lost, packets_refused;
};

/* 0, or -1 when memory is short. Holds `capacity` packets of at most `slot_bytes`; a further one makes the oldest leave at once. */
int detour_open(struct detour *detour, int fd, double loss, int64_t late_ns, uint64_t seed, uint32_t capacity, uint32_t slot_bytes);
void detour_close(struct detour *detour);
/* Takes a packet of two pieces, due now. */
void detour_take(struct detour *detour, const struct iovec *pieces, int64_t now_ns);
/* Sends what is due. What the kernel refuses is counted and left behind. */
void detour_flush(struct detour *detour, int64_t now_ns);

#endif
