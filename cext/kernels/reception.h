/* One flow into an assembly, by one way in or by two, in batches; sleeps between them and never polls busily.
 *
 * A way in is a UDP socket (udp_inlet.h) or a packet ring (packet_ring.h), one for each path of the flow. What waits on both is read in the order in
 * which it arrived, so that a reader that was kept from the processor does not part the paths.
 */
#ifndef APPLIANCE_RECEPTION_H
#define APPLIANCE_RECEPTION_H

#include "assembly.h"

#define INLETS_MAX PATHS_MAX
/* Measured: waking for every packet costs twice the time a packet that a batch does. */
#define BATCH_PAUSE_NS 1000000
/* Silence after which the reader blocks in poll instead of looking again after a pause: longer than a vertical blanking. */
#define BLANKING_NS_MAX 5000000ll
/* Parts read before the reader looks at the clock again: one that falls behind still closes frames. A ring of 64 MiB has as many blocks. */
#define ROUND_PARTS_MAX 512u

struct reception_statistics {
    uint64_t datagrams;    /* UDP payloads, merged ones taken apart */
    uint64_t buffers;      /* as the kernel handed them over */
    uint64_t batches;      /* looks at the socket or the ring that brought something */
    uint64_t kernel_drops; /* buffers, merged or not, for which socket or ring had no room */
    uint64_t stamped[STAMPS];  /* datagrams by what their time rests on */
    uint64_t hardware_merged;  /* of STAMP_MERGED: by the network card, which stamps each packet where none are merged */
};

/* A way in: the beginning of struct udp_inlet and of struct packet_ring. */
struct inlet {
    int fd;
    uint32_t path;             /* of the flow, that its packets come by */
    bool beside;               /* another one is read in turn with it: parts are to be small */
    int64_t last_monotonic_ns; /* of the last look that brought something */
    int64_t newest_tai_ns;     /* arrival of the last packet that was read */
    struct reception_statistics statistics;
    /* Reads a part of what is there: a millisecond of a flow or so. 1 if there may be more, 0 if not, or a negative errno. */
    int (*read)(struct inlet *inlet, struct assembly *assembly, struct clock_look *look);
    /* Takes an error off the descriptor that poll tells of, which would else never sleep again. 0 if it passes, else a negative errno. */
    int (*take_error)(struct inlet *inlet);
    /* Brings the statistics up to date. */
    void (*count)(struct inlet *inlet);
};

/* Counts datagrams of one buffer by what their time rests on. */
static inline void inlet_count(struct inlet *inlet, const struct instant *arrival, bool hardware, uint64_t datagrams)
{
    inlet->newest_tai_ns = arrival->tai_ns;
    inlet->statistics.datagrams += datagrams;
    inlet->statistics.stamped[arrival->stamp] += datagrams;
    inlet->statistics.hardware_merged += arrival->stamp == STAMP_MERGED && hardware ? datagrams : 0;
}

/* Receives by these for about `duration_ns`, less if a signal comes. 0, or a negative errno. */
int reception_run(struct inlet *const *inlets, uint32_t count, struct assembly *assembly, int64_t duration_ns);

#endif
