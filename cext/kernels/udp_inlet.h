/* Datagrams of one path from a UDP socket, in batches.
 *
 * The socket comes ready (bound, joined, non-blocking or not); UDP_GRO, SO_RXQ_OVFL, SO_TIMESTAMPNS and SO_TIMESTAMPING are honoured where it has
 * them set. reception_run reads it.
 */
#ifndef APPLIANCE_UDP_INLET_H
#define APPLIANCE_UDP_INLET_H

#include "reception.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Buffers of one call; of one in turn with another path's, where 64 merged ones would be longer than paths may be apart. */
#define BATCH_BUFFERS 64u
#define BATCH_BUFFERS_BESIDE 16u
/* A merged buffer (UDP_GRO) has at most 64 KiB. */
#define BUFFER_BYTES 65536u
/* Each buffer begins this much later in its page than the one before: at equal offsets all 64 would fall on the same few cache sets. */
#define BUFFER_STAGGER_BYTES 1600u
#define CONTROL_BYTES 192u

struct udp_inlet {
    struct inlet inlet;
    uint32_t overflow; /* SO_RXQ_OVFL as last seen */
    struct mmsghdr messages[BATCH_BUFFERS];
    struct iovec vectors[BATCH_BUFFERS];
    _Alignas(struct cmsghdr) uint8_t control[BATCH_BUFFERS][CONTROL_BYTES];
    uint8_t *arena;
};

/* NULL without memory. Does not take the descriptor over. What the socket dropped before is not counted. */
struct udp_inlet *udp_inlet_new(int fd, uint32_t path);
void udp_inlet_free(struct udp_inlet *udp);

#endif
