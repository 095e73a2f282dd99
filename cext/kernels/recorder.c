#include "recorder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* since Linux 6.2 */
#endif
#define SECOND_NS 1000000000ull
#define POLL_MS 20
#define BLOCK_CLOSED_NS (50 * SECOND_NS / 1000) /* the timeout of an open block, in jiffies of the slowest kernel, twice */
#define DRAIN_NS_MAX (10 * SECOND_NS) /* for the disk to take what waits when the recording ends */
#define IPV4_BYTES 20u
#define IPV6_BYTES 40u
#define UDP_BYTES 8u
#define MADE_TTL 64

struct recorder *recorder_new(int fd, uint64_t bytes_max)
{
    struct recorder *recorder = calloc(1, sizeof *recorder);
    if (!recorder)
        return NULL;
    recorder->bytes_max = bytes_max;
    recorder->end_ns = UINT64_MAX;
    recorder->datagrams = malloc(RECORDER_BATCH * sizeof *recorder->datagrams);
    if (!recorder->datagrams || pcapng_open(&recorder->file, fd)) {
        recorder_free(recorder);
        return NULL;
    }
    return recorder;
}

void recorder_free(struct recorder *recorder)
{
    for (uint32_t i = 0; i < recorder->flow_count; i++)
        if (recorder->flows[i].memory)
            munmap(recorder->flows[i].memory, (size_t)recorder->flows[i].blocks * RECORDER_BLOCK_BYTES);
    pcapng_close(&recorder->file);
    free(recorder->datagrams);
    free(recorder);
}

int recorder_add_ring(struct recorder *recorder, int fd, uint32_t blocks, bool merged)
{
    if (recorder->flow_count == RECORDER_FLOWS_MAX)
        return -ENOSPC;
    struct recorded_flow flow = {.fd = fd, .blocks = blocks, .merged = merged};
    flow.memory = mmap(NULL, (size_t)blocks * RECORDER_BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (flow.memory == MAP_FAILED)
        return -errno;
    recorder->flows[recorder->flow_count] = flow;
    return (int)recorder->flow_count++;
}

int recorder_add_socket(struct recorder *recorder, int fd, const struct sockaddr *target, size_t target_bytes)
{
    if (recorder->flow_count == RECORDER_FLOWS_MAX)
        return -ENOSPC;
    struct recorded_flow flow = {.fd = fd};
    memcpy(&flow.target, target, target_bytes < sizeof flow.target ? target_bytes : sizeof flow.target);
    recorder->flows[recorder->flow_count] = flow;
    return (int)recorder->flow_count++;
}

static void record(struct recorder *recorder, uint32_t number, uint64_t time_ns, const struct iovec *pieces, int piece_count)
{
    struct recorded_flow *flow = &recorder->flows[number];
    if (time_ns > recorder->end_ns)
        return;
    for (int i = 0; i < piece_count; i++)
        flow->octets += pieces[i].iov_len;
    flow->packets++;
    flow->first_ns = flow->first_ns ? flow->first_ns : time_ns;
    flow->last_ns = time_ns;
    pcapng_packet(&recorder->file, number, time_ns, pieces, piece_count);
}

static uint16_t checksum(const uint8_t *octets, size_t length)
{
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)octets[i] << 8 | octets[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void put_u16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* The headers of a datagram of `payload_bytes`, after those of the merged packet that it was in. UDP's checksum is left out (0 means none
 * in IPv4); it was right, or the kernel would not have merged it. */
static void fit_headers(uint8_t *ip, size_t ip_bytes, size_t payload_bytes, uint32_t place)
{
    put_u16(ip + ip_bytes + 4, UDP_BYTES + payload_bytes);
    put_u16(ip + ip_bytes + 6, 0);
    if (ip[0] >> 4 == 4) {
        put_u16(ip + 2, ip_bytes + UDP_BYTES + payload_bytes);
        put_u16(ip + 4, (((size_t)ip[4] << 8 | ip[5]) + (place ? 1 : 0)) & 0xffff);
        put_u16(ip + 10, 0);
        put_u16(ip + 10, checksum(ip, ip_bytes));
    } else {
        put_u16(ip + 4, UDP_BYTES + payload_bytes);
    }
}

/* Takes a merged packet apart: `link` octets, then IP and UDP headers, then datagrams of `segment` octets each but the last. */
static void record_segments(struct recorder *recorder, uint32_t number, uint64_t time_ns, const uint8_t *packet, size_t length, size_t link, size_t segment)
{
    uint8_t headers[128];
    const size_t ip_bytes = link < length && packet[link] >> 4 == 4 ? (size_t)(packet[link] & 15) * 4 : IPV6_BYTES;
    const size_t head = link + ip_bytes + UDP_BYTES;
    if (head > sizeof headers || head > length) {
        record(recorder, number, time_ns, &(struct iovec){(void *)packet, length}, 1);
        return;
    }
    memcpy(headers, packet, head);
    uint32_t place = 0;
    for (size_t at = head; at < length; at += segment, place++) {
        size_t bytes = length - at < segment ? length - at : segment;
        fit_headers(headers + link, ip_bytes, bytes, place);
        record(recorder, number, time_ns, (struct iovec[]){{headers, head}, {(void *)(packet + at), bytes}}, 2);
    }
}

static void record_captured(struct recorder *recorder, uint32_t number, const struct tpacket3_hdr *header, size_t room)
{
    const struct recorded_flow *flow = &recorder->flows[number];
    const uint8_t *packet = (const uint8_t *)header + header->tp_mac;
    const size_t link = (size_t)(header->tp_net - header->tp_mac), length = header->tp_snaplen;
    struct virtio_net_hdr about = {0};
    /* Safety: the kernel's own offsets; one that leads out of the block is left out. */
    if (header->tp_mac < sizeof *header + sizeof about || header->tp_net < header->tp_mac || header->tp_mac + length > room)
        return;
    if (flow->merged)
        memcpy(&about, packet - sizeof about, sizeof about);
    uint64_t time_ns = header->tp_sec * SECOND_NS + header->tp_nsec;
    if (about.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 && about.gso_size)
        record_segments(recorder, number, time_ns, packet, length, link, about.gso_size);
    else
        record(recorder, number, time_ns, &(struct iovec){(void *)packet, length}, 1);
}

/* One block of the ring, if the kernel has closed it. */
static bool take_block(struct recorder *recorder, uint32_t number)
{
    struct recorded_flow *flow = &recorder->flows[number];
    uint8_t *memory = flow->memory + (size_t)flow->block * RECORDER_BLOCK_BYTES;
    struct tpacket_hdr_v1 *about = &((struct tpacket_block_desc *)memory)->hdr.bh1;
    if (!(__atomic_load_n(&about->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
        return false;
    uint32_t offset = about->offset_to_first_pkt;
    for (uint32_t i = 0; i < about->num_pkts && offset <= RECORDER_BLOCK_BYTES - sizeof(struct tpacket3_hdr); i++) {
        const struct tpacket3_hdr *header = (const struct tpacket3_hdr *)(memory + offset);
        record_captured(recorder, number, header, RECORDER_BLOCK_BYTES - offset);
        if (header->tp_next_offset == 0)
            break;
        offset += header->tp_next_offset;
    }
    __atomic_store_n(&about->block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE); /* ORDER: after all reads, pairs with the kernel's look */
    flow->block = (flow->block + 1) % flow->blocks;
    return true;
}

/* IP and UDP headers of a datagram, as far as a UDP socket tells; how many octets. Time to live and identification are not known. */
static size_t make_headers(uint8_t *ip, const struct recorded_flow *flow, const struct sockaddr_storage *from, size_t payload_bytes)
{
    memset(ip, 0, IPV6_BYTES + UDP_BYTES);
    if (flow->target.ss_family == AF_INET) {
        const struct sockaddr_in *source = (const struct sockaddr_in *)from, *target = (const struct sockaddr_in *)&flow->target;
        ip[0] = 4 << 4 | IPV4_BYTES / 4;
        ip[8] = MADE_TTL;
        ip[9] = IPPROTO_UDP;
        memcpy(ip + 12, &source->sin_addr, 4);
        memcpy(ip + 16, &target->sin_addr, 4);
        memcpy(ip + IPV4_BYTES, &source->sin_port, 2);
        memcpy(ip + IPV4_BYTES + 2, &target->sin_port, 2);
        fit_headers(ip, IPV4_BYTES, payload_bytes, 0);
        return IPV4_BYTES + UDP_BYTES;
    }
    const struct sockaddr_in6 *source = (const struct sockaddr_in6 *)from, *target = (const struct sockaddr_in6 *)&flow->target;
    ip[0] = 6 << 4;
    ip[6] = IPPROTO_UDP;
    ip[7] = MADE_TTL;
    memcpy(ip + 8, &source->sin6_addr, 16);
    memcpy(ip + 24, &target->sin6_addr, 16);
    memcpy(ip + IPV6_BYTES, &source->sin6_port, 2);
    memcpy(ip + IPV6_BYTES + 2, &target->sin6_port, 2);
    fit_headers(ip, IPV6_BYTES, payload_bytes, 0);
    return IPV6_BYTES + UDP_BYTES;
}

static uint64_t stamp_of(struct msghdr *message, struct recorded_flow *flow)
{
    struct timespec stamp = {0};
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET)
            continue;
        if (control->cmsg_type == SCM_TIMESTAMPNS)
            memcpy(&stamp, CMSG_DATA(control), sizeof stamp);
        if (control->cmsg_type == SO_RXQ_OVFL) {
            uint32_t drops;
            memcpy(&drops, CMSG_DATA(control), sizeof drops);
            flow->drops += (uint32_t)(drops - (uint32_t)flow->drops);
        }
    }
    return stamp.tv_sec ? (uint64_t)stamp.tv_sec * SECOND_NS + (uint64_t)stamp.tv_nsec : clock_ns(CLOCK_REALTIME);
}

/* A batch of a UDP socket. Whether there was one, or -errno. */
static int take_batch(struct recorder *recorder, uint32_t number)
{
    struct recorded_flow *flow = &recorder->flows[number];
    struct mmsghdr messages[RECORDER_BATCH];
    struct iovec pieces[RECORDER_BATCH];
    struct sockaddr_storage from[RECORDER_BATCH];
    union { struct cmsghdr header; uint8_t octets[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(4)]; } controls[RECORDER_BATCH];
    for (uint32_t i = 0; i < RECORDER_BATCH; i++) {
        pieces[i] = (struct iovec){recorder->datagrams[i], RECORDER_DATAGRAM_BYTES_MAX};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &pieces[i], .msg_iovlen = 1,
                                                   .msg_control = &controls[i], .msg_controllen = sizeof controls[i]}};
    }
    int got = recvmmsg(flow->fd, messages, RECORDER_BATCH, MSG_DONTWAIT, NULL);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (int i = 0; i < got; i++) {
        uint8_t headers[IPV6_BYTES + UDP_BYTES];
        uint64_t time_ns = stamp_of(&messages[i].msg_hdr, flow);
        size_t head = make_headers(headers, flow, &from[i], messages[i].msg_len);
        record(recorder, number, time_ns, (struct iovec[]){{headers, head}, {recorder->datagrams[i], messages[i].msg_len}}, 2);
    }
    return got > 0;
}

/* Something of every flow. Whether there was anything, or -errno. */
static int take_all(struct recorder *recorder)
{
    int some = 0;
    for (uint32_t i = 0; i < recorder->flow_count; i++) {
        int got = recorder->flows[i].memory ? take_block(recorder, i) : take_batch(recorder, i);
        if (got < 0)
            return got;
        some |= got;
    }
    return some;
}

static void count_drops(struct recorder *recorder)
{
    for (uint32_t i = 0; i < recorder->flow_count; i++) {
        struct tpacket_stats_v3 fresh;
        socklen_t length = sizeof fresh;
        if (recorder->flows[i].memory && getsockopt(recorder->flows[i].fd, SOL_PACKET, PACKET_STATISTICS, &fresh, &length) == 0)
            recorder->flows[i].drops += fresh.tp_drops;
    }
}

void recorder_end(struct recorder *recorder)
{
    recorder->end_ns = clock_ns(CLOCK_REALTIME);
    count_drops(recorder);
}

/* Whether nothing that came before the end is left: the blocks that were open then have been closed by their timeout, and nothing waits. */
static int drained(const struct recorder *recorder, int some)
{
    if (recorder->end_ns == UINT64_MAX)
        return 0;
    const uint64_t now_ns = clock_ns(CLOCK_REALTIME);
    return now_ns > recorder->end_ns + (some ? DRAIN_NS_MAX : BLOCK_CLOSED_NS);
}

static int wait_for_packets(const struct recorder *recorder)
{
    struct pollfd polled[RECORDER_FLOWS_MAX];
    for (uint32_t i = 0; i < recorder->flow_count; i++)
        polled[i] = (struct pollfd){.fd = recorder->flows[i].fd, .events = POLLIN};
    if (poll(polled, recorder->flow_count, POLL_MS) < 0)
        return errno == EINTR ? -EINTR : -errno;
    for (uint32_t i = 0; i < recorder->flow_count; i++) {
        int error = 0;
        socklen_t length = sizeof error;
        if (polled[i].revents & POLLERR && getsockopt(polled[i].fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error && error != ENETDOWN)
            return -error; /* an interface that goes down is silence */
    }
    return 0;
}

int recorder_run(struct recorder *recorder, int64_t duration_ns)
{
    const uint64_t until_ns = clock_ns(CLOCK_MONOTONIC) + (uint64_t)duration_ns;
    int result = RECORDER_GOES_ON;
    while (result == RECORDER_GOES_ON && clock_ns(CLOCK_MONOTONIC) < until_ns) {
        int some = take_all(recorder);
        if (some < 0)
            result = some;
        else if (recorder->file.error)
            result = -recorder->file.error;
        else if (recorder->file.written + recorder->file.used >= recorder->bytes_max)
            result = RECORDER_FULL;
        else if (drained(recorder, some))
            result = RECORDER_DRAINED;
        else if (!some && (result = wait_for_packets(recorder)) == -EINTR)
            break; /* the caller looks at its signals */
    }
    if (recorder->end_ns == UINT64_MAX)
        count_drops(recorder);
    return result == -EINTR ? RECORDER_GOES_ON : result;
}
