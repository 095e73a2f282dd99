/* Sends the datagrams of a capture again, each at its time after the first, through one connected socket a flow.
 *
 * Called by cext/replaying.pyx without the GIL. Those that are due within REPLAY_BURST_NS leave together.
 */
#ifndef APPLIANCE_REPLAYER_H
#define APPLIANCE_REPLAYER_H

#include "capture.h"

#define REPLAY_BURST_NS 100000
#define REPLAY_BATCH 64u

struct replay {
    const struct capture *capture;
    const uint8_t *memory;
    double speed;
    int fds[CAPTURE_FLOWS_MAX]; /* -1: the flow is not sent */
    uint64_t next;              /* datagram */
    int64_t begun_ns;           /* CLOCK_MONOTONIC, 0: not yet */
    uint64_t sent, refused;
    int64_t late_ns_max;
};

/* Sends for about so long, less if a signal comes: 1 while there is more, 0 at the end, or -errno. */
int replay_run(struct replay *replay, int64_t duration_ns);

#endif
