/* Datagrams of one sound flow from its UDP sockets, in batches, onto its tape. Sleeps until the next frame may be there: it never polls busily.
 *
 * The sockets come ready (bound, joined). Two sockets are the two legs of one flow (ST 2022-7): the tape takes a packet once.
 */
#ifndef APPLIANCE_LISTENING_H
#define APPLIANCE_LISTENING_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "tape.h"

#define LEGS_MAX 2u
#define LISTENING_BATCH 64u
#define LISTENING_DATAGRAM_BYTES 9216u /* an extended UDP datagram of ST 2110-10 */
#define LISTENING_CONTROL_BYTES 128u
/* Between two looks, while packets come. At 125 us a packet the longest is 40 packets. */
#define LISTENING_NAP_NS_MIN 500000ll
#define LISTENING_NAP_NS_MAX 5000000ll

struct listening_statistics {
    uint64_t batches, kernel_drops;
    uint64_t datagrams[LEGS_MAX];
};

struct listening {
    int sockets[LEGS_MAX];
    uint32_t socket_count;
    uint32_t overflow[LEGS_MAX]; /* SO_RXQ_OVFL as last seen */
    int64_t last_monotonic_ns;   /* of the last look that brought something */
    struct listening_statistics statistics;
    struct mmsghdr messages[LISTENING_BATCH];
    struct iovec vectors[LISTENING_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[LISTENING_BATCH][LISTENING_CONTROL_BYTES];
    uint8_t arena[LISTENING_BATCH][LISTENING_DATAGRAM_BYTES];
};

/* NULL without memory. Does not take the descriptors over. */
struct listening *listening_new(const int *sockets, uint32_t count);
void listening_free(struct listening *listening);
/* Receives until the ticks before `*end` are due (NULL: none are waited for), a new epoch begins, a signal comes, or for about `duration_ns`.
 * What tape_due says then, or a negative errno of a socket. */
int listening_run(struct listening *listening, struct tape *tape, const int64_t *end, int64_t duration_ns);

#endif
