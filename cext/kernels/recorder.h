/* Records what arrives: packet rings (AF_PACKET, TPACKET_V3) or UDP sockets into a pcapng file, each one an interface of the file.
 *
 * Called by cext/recording.pyx without the GIL. It only reads: nothing of it is known to who receives the same flows beside it.
 * A packet that the kernel had merged is taken apart again, so that the file holds what was on the wire.
 */
#ifndef APPLIANCE_RECORDER_H
#define APPLIANCE_RECORDER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "pcapng.h"

#define RECORDER_FLOWS_MAX 16u
#define RECORDER_BLOCK_BYTES (128u * 1024u) /* as the packet ring's: runtime/packet_socket.py sets both up */
#define RECORDER_BATCH 64u
#define RECORDER_DATAGRAM_BYTES_MAX 9216u /* ST 2110-10 6.4: extended size 8960, UDP header included */

struct recorded_flow {
    int fd;
    uint8_t *memory; /* of the ring; NULL for a UDP socket */
    uint32_t blocks, block;
    bool merged;
    struct sockaddr_storage target; /* of a UDP socket: whom its packets are for */
    uint64_t packets, octets, drops, first_ns, last_ns;
};

struct recorder {
    struct pcapng file;
    uint64_t bytes_max;
    uint64_t end_ns; /* CLOCK_REALTIME: what came later is not recorded */
    uint32_t flow_count;
    struct recorded_flow flows[RECORDER_FLOWS_MAX];
    uint8_t (*datagrams)[RECORDER_DATAGRAM_BYTES_MAX]; /* of the UDP sockets */
};

enum recorder_end { RECORDER_GOES_ON = 0, RECORDER_FULL = 1, RECORDER_DRAINED = 2 };

/* NULL without memory. */
struct recorder *recorder_new(int fd, uint64_t bytes_max);
void recorder_free(struct recorder *recorder);
/* The flow's interface number, or -errno. Descriptors stay the caller's. */
int recorder_add_ring(struct recorder *recorder, int fd, uint32_t blocks, bool merged);
int recorder_add_socket(struct recorder *recorder, int fd, const struct sockaddr *target, size_t target_bytes);
/* Records nothing that comes later than now; what has come before, and waits for the disk, is still recorded: recorder_run() says when that is done. */
void recorder_end(struct recorder *recorder);
/* Records for about so long, less if a signal comes. An enum recorder_end, or the -errno of the file or of a socket. */
int recorder_run(struct recorder *recorder, int64_t duration_ns);

#endif
