#include "packet_ring.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* since Linux 6.2 */
#endif

/* Where stores become visible in their order, packets are read out of the block that the kernel still fills: it writes a packet's header after
 * its octets. Elsewhere only closed blocks are read: a frame's last packet waits until the next frame fills the block or the timeout closes
 * it, and kernels before 6.18 round that timeout up to jiffies. */
#if defined(__x86_64__) || defined(__i386__)
#define READ_OPEN_BLOCKS true
#else
#define READ_OPEN_BLOCKS false
#endif

/* Asks for the network card's stamps, or the kernel's alone. An old kernel that knows no such choice gives its own. */
static void choose_stamps(struct packet_ring *ring, bool hardware, int64_t now_monotonic_ns)
{
    int flags = hardware ? SOF_TIMESTAMPING_RAW_HARDWARE : 0;
    (void)!setsockopt(ring->inlet.fd, SOL_PACKET, PACKET_TIMESTAMP, &flags, sizeof flags);
    ring->hardware = hardware;
    ring->hardware_wrong = false;
    ring->hardware_monotonic_ns = now_monotonic_ns;
}

static struct tpacket_block_desc *block_at(const struct packet_ring *ring, uint32_t number)
{
    return (struct tpacket_block_desc *)(ring->memory + (size_t)number * RING_BLOCK_BYTES);
}

/* How many octets each datagram of a merged packet has; 0: it is one datagram. */
static size_t segment_bytes_of(const struct packet_ring *ring, const uint8_t *mac)
{
    struct virtio_net_hdr merged;
    if (!ring->merged)
        return 0;
    memcpy(&merged, mac - sizeof merged, sizeof merged);
    return merged.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? merged.gso_size : 0;
}

/* Gives the datagrams of one packet to the assembly. `header` and `room` octets behind it are inside a block. */
static void deliver(struct packet_ring *ring, struct assembly *assembly, const struct tpacket3_hdr *header, size_t room, const struct clock_look *look)
{
    struct ip_datagram datagram;
    enum refusal reason = REFUSED_IP_HEADER;
    const uint8_t *bytes = (const uint8_t *)header;
    const size_t mac = header->tp_mac, net = header->tp_net, captured = header->tp_snaplen;
    size_t segment_bytes = 0;
    if (captured == RING_FOREIGN_BYTES) {
        ring->refused[REFUSED_SOURCE]++;
        return;
    }
    ring->inlet.statistics.buffers++;
    /* Safety: the kernel's own offsets; one that leads out of the block is refused like a header that does. */
    if (mac >= sizeof *header + sizeof(struct virtio_net_hdr) && mac <= net && net <= mac + captured && mac + captured <= room) {
        segment_bytes = segment_bytes_of(ring, bytes + mac);
        /* The kernel merges only what it found right, or made itself. */
        bool settled = segment_bytes || header->tp_status & (TP_STATUS_CSUM_VALID | TP_STATUS_CSUMNOTREADY);
        reason = ip_datagram_read(bytes + net, mac + captured - net, settled ? CHECKSUM_SETTLED : CHECKSUM_UNKNOWN, &datagram);
    }
    if (reason != REFUSED_NOT) {
        ring->refused[reason]++;
        return;
    }
    size_t left = datagram.length;
    if (segment_bytes == 0)
        segment_bytes = left;
    /* The kernel's stamp has no bit of its own where the ring took it. */
    const bool hardware = header->tp_status & TP_STATUS_TS_RAW_HARDWARE;
    const struct instant arrival = arrival_at(look, header->tp_sec * 1000000000ll + header->tp_nsec, hardware, left > segment_bytes);
    ring->hardware_wrong |= hardware && arrival.stamp == STAMP_BATCH;
    uint64_t datagrams = 0;
    /* An empty datagram is a packet, too: a truncated one. */
    do {
        size_t length = left < segment_bytes ? left : segment_bytes;
        assembly_packet(assembly, ring->inlet.path, datagram.payload, length, &arrival);
        datagrams++;
        datagram.payload += length;
        left -= length;
    } while (left);
    inlet_count(&ring->inlet, &arrival, hardware, datagrams);
}

/* Whether the kernel has written a packet of an open block, which was blank: no field of a header is zero then, but the nanoseconds once in a
 * billion, and that packet waits for its block to be closed. The status alone does not tell: the kernel sets it before the rest of the header. */
static bool finished(const struct tpacket3_hdr *header)
{
    const volatile struct tpacket3_hdr *written = header;
    return __atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER && written->tp_len && written->tp_snaplen && written->tp_mac
           && written->tp_net && written->tp_sec && written->tp_nsec;
}

/* Reads packets of the current block from where the last look ended: all of a closed one, of an open one those that are finished. */
static bool read_block(struct packet_ring *ring, struct assembly *assembly, bool closed, const struct clock_look *look)
{
    const struct tpacket_block_desc *block = block_at(ring, ring->block);
    const struct tpacket_hdr_v1 *about = &block->hdr.bh1;
    const uint32_t count = __atomic_load_n(&about->num_pkts, __ATOMIC_ACQUIRE), before = ring->taken;
    if (ring->offset == 0 && count)
        ring->offset = about->offset_to_first_pkt;
    while (ring->taken < count && ring->offset <= RING_BLOCK_BYTES - sizeof(struct tpacket3_hdr)) {
        const struct tpacket3_hdr *header = (const struct tpacket3_hdr *)((const uint8_t *)block + ring->offset);
        if (!closed && !finished(header))
            break;
        deliver(ring, assembly, header, RING_BLOCK_BYTES - ring->offset, look);
        ring->taken++;
        ring->offset += header->tp_next_offset;
        if (header->tp_next_offset == 0)
            break; /* the last one of a closed block */
    }
    return ring->taken != before;
}

/* Gives a closed block back. It goes back blank: no status of an earlier packet must look like that of one that is being written. */
static void release_block(struct packet_ring *ring)
{
    struct tpacket_block_desc *block = block_at(ring, ring->block);
    size_t used = block->hdr.bh1.blk_len;
    if (READ_OPEN_BLOCKS && used > sizeof *block && used <= RING_BLOCK_BYTES)
        memset(block + 1, 0, used - sizeof *block);
    block->hdr.bh1.num_pkts = 0;
    __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE); /* ORDER: after all reads, pairs with the kernel's look */
    ring->block = (ring->block + 1) % ring->blocks;
    ring->taken = ring->offset = 0;
}

/* Reads a block, or of an open one what is finished. */
static int read_part(struct inlet *inlet, struct assembly *assembly, struct clock_look *look)
{
    struct packet_ring *ring = (struct packet_ring *)inlet;
    bool closed = __atomic_load_n(&block_at(ring, ring->block)->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER;
    if ((closed || READ_OPEN_BLOCKS) && read_block(ring, assembly, closed, look)) {
        inlet->last_monotonic_ns = look->now.monotonic_ns;
        inlet->statistics.batches++;
    }
    if (closed) {
        release_block(ring);
        *look = clock_look();
    }
    if (ring->hardware_wrong || (!ring->hardware && look->now.monotonic_ns - ring->hardware_monotonic_ns > HARDWARE_RETRY_NS))
        choose_stamps(ring, !ring->hardware_wrong, look->now.monotonic_ns);
    return closed;
}

/* Moves what the kernel counted since the last visit; a failure would only hide drops, and the next visit asks again. */
static void count_drops(struct inlet *inlet)
{
    struct tpacket_stats_v3 fresh;
    socklen_t length = sizeof fresh;
    if (getsockopt(inlet->fd, SOL_PACKET, PACKET_STATISTICS, &fresh, &length) == 0)
        inlet->statistics.kernel_drops += fresh.tp_drops;
}

static int take_error(struct inlet *inlet)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(inlet->fd, SOL_SOCKET, SO_ERROR, &error, &length))
        error = errno;
    return error == ENETDOWN ? 0 : -error;
}

struct packet_ring *packet_ring_new(int fd, uint32_t blocks, bool merged, uint32_t path)
{
    struct packet_ring *ring = calloc(1, sizeof *ring);
    if (!ring)
        return NULL;
    ring->inlet = (struct inlet){.fd = fd, .path = path, .read = read_part, .take_error = take_error, .count = count_drops};
    ring->blocks = blocks;
    ring->merged = merged;
    ring->memory = mmap(NULL, (size_t)blocks * RING_BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ring->memory == MAP_FAILED) {
        free(ring);
        return NULL;
    }
    choose_stamps(ring, true, 0);
    return ring;
}

void packet_ring_free(struct packet_ring *ring)
{
    munmap(ring->memory, (size_t)ring->blocks * RING_BLOCK_BYTES);
    free(ring);
}
