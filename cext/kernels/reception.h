/* Datagrams of one flow from a UDP socket, in batches, into an assembly. Sleeps between batches: it never polls busily.
 *
 * The socket comes ready (bound, joined, non-blocking or not); UDP_GRO, SO_RXQ_OVFL, SO_TIMESTAMPNS and SO_TIMESTAMPING are honoured where it has them set.
 * What it counts, and when it sleeps, the packet ring shares.
 */
#ifndef APPLIANCE_RECEPTION_H
#define APPLIANCE_RECEPTION_H

#include "assembly.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define BATCH_BUFFERS 64u
/* A merged buffer (UDP_GRO) has at most 64 KiB. */
#define BUFFER_BYTES 65536u
/* Each buffer begins this much later in its page than the one before: at equal offsets all 64 would fall on the same few cache sets. */
#define BUFFER_STAGGER_BYTES 1600u
#define CONTROL_BYTES 128u
/* Measured: waking for every packet costs twice the time a packet that a batch does. */
#define BATCH_PAUSE_NS 1000000
/* Silence after which the reader blocks in poll instead of looking again after a pause: longer than a vertical blanking. */
#define BLANKING_NS_MAX 5000000ll

struct reception_statistics {
    uint64_t datagrams;    /* UDP payloads, merged ones taken apart */
    uint64_t buffers;      /* as the kernel handed them over */
    uint64_t batches;      /* looks at the socket or the ring that brought something */
    uint64_t kernel_drops; /* buffers, merged or not, for which socket or ring had no room */
    uint64_t stamped[STAMPS];  /* datagrams by what their time rests on */
    uint64_t hardware_merged;  /* of STAMP_MERGED: by the network card, which stamps each packet where none are merged */
};

/* Counts datagrams of one buffer by what their time rests on. */
static inline void reception_count(struct reception_statistics *statistics, enum stamp stamp, bool hardware, uint64_t datagrams)
{
    statistics->datagrams += datagrams;
    statistics->stamped[stamp] += datagrams;
    statistics->hardware_merged += stamp == STAMP_MERGED && hardware ? datagrams : 0;
}

/* Sleeps until there may be something to read: a pause while packets flow, else until the descriptor is readable, at most until
 * `until_monotonic_ns`. Returns the events that poll told of; -1 if a signal came. */
int reception_rest(int fd, int64_t last_monotonic_ns, int64_t now_monotonic_ns, int64_t until_monotonic_ns);

struct reception {
    int fd;
    int64_t last_monotonic_ns; /* of the last batch that brought something */
    uint32_t overflow; /* SO_RXQ_OVFL as last seen */
    struct reception_statistics statistics;
    struct mmsghdr messages[BATCH_BUFFERS];
    struct iovec vectors[BATCH_BUFFERS];
    _Alignas(struct cmsghdr) uint8_t control[BATCH_BUFFERS][CONTROL_BYTES];
    uint8_t *arena;
};

/* NULL without memory. Does not take the descriptor over. What the socket dropped before is not counted. */
struct reception *reception_new(int fd);
void reception_free(struct reception *reception);
/* Receives for about `duration_ns`, less if a signal comes. 0, or a negative errno of the socket. */
int reception_run(struct reception *reception, struct assembly *assembly, int64_t duration_ns);

#endif
