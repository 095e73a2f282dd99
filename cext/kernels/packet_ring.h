/* Datagrams of one path from a memory-mapped packet ring (AF_PACKET, TPACKET_V3) into an assembly: no copy to the reader, no call a packet.
 *
 * The socket comes ready: ring set up, filter attached, bound. The filter passes the flow's packets whole and nothing else. Every offset that the
 * kernel wrote is checked before it is followed; a packet's own headers are read by ip_datagram. reception_run reads it; an interface that goes
 * down is silence.
 */
#ifndef APPLIANCE_PACKET_RING_H
#define APPLIANCE_PACKET_RING_H

#include "assembly.h"
#include "ip_datagram.h"
#include "reception.h"

/* Room for a merged packet of 64 KiB and its headers, twice; at 1280x720p50 one fills in about a millisecond. */
#define RING_BLOCK_BYTES (128u * 1024u)
/* What the filter lets pass of a packet from another source than the flow's, to be counted: runtime/packet_filter.py FOREIGN_BYTES. */
#define RING_FOREIGN_BYTES 1u
/* How often a network card whose clock was not TAI is asked for its stamps again: somebody may have set it since. */
#define HARDWARE_RETRY_NS 10000000000ll
/* The kernel closes a block that has packets after this long, or twice as long, and wakes whoever polls: the least that it can. */
#define RING_BLOCK_TIMEOUT_MS 1u

struct packet_ring {
    struct inlet inlet;
    uint8_t *memory;
    uint32_t blocks;
    bool hardware;        /* it is asked for the network card's stamps where there are any, in place of the kernel's */
    bool hardware_wrong;  /* such a stamp was no TAI */
    int64_t hardware_monotonic_ns; /* when that was changed */
    bool merged;          /* before each packet lies what the kernel says about merging: PACKET_VNET_HDR */
    uint32_t block;       /* the one that is read */
    uint32_t taken;       /* packets of it that were read */
    uint32_t offset;      /* where its next packet begins; 0: at the first */
    uint64_t refused[REFUSALS];
};

/* Maps the ring of a packet socket, `blocks` of RING_BLOCK_BYTES, whose packets come by that path. NULL with errno. Does not take the descriptor over. */
struct packet_ring *packet_ring_new(int fd, uint32_t blocks, bool merged, uint32_t path);
void packet_ring_free(struct packet_ring *ring);

#endif
