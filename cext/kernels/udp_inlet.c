#include "udp_inlet.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

/* Buffers that the socket has refused so far, by its filter or for want of room; 0 where the kernel does not say. */
static uint32_t refused_before(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof memory;
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) ? 0 : memory[SK_MEMINFO_DROPS];
}

/* What the kernel says beside a buffer. */
struct told {
    size_t segment_bytes;                /* of the datagrams that were merged; 0: it is one */
    int64_t kernel_utc_ns, hardware_ns;  /* when it arrived; 0: not said */
};

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * 1000000000ll + time->tv_nsec; }

static struct told read_control(struct udp_inlet *udp, struct msghdr *message)
{
    struct told told = {0};
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(control), sizeof size);
            told.segment_bytes = size > 0 ? (size_t)size : 0;
        } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
            uint32_t overflow;
            memcpy(&overflow, CMSG_DATA(control), sizeof overflow);
            udp->inlet.statistics.kernel_drops += overflow - udp->overflow; /* it wraps at 32 bits */
            udp->overflow = overflow;
        } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(control), sizeof stamp);
            told.kernel_utc_ns = nanoseconds(&stamp);
        } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPING) {
            /* Source: Linux Documentation/networking/timestamping.rst, 2.1: the first is the kernel's, the third the network card's. */
            struct timespec stamps[3];
            memcpy(stamps, CMSG_DATA(control), sizeof stamps);
            told.kernel_utc_ns = nanoseconds(&stamps[0]);
            told.hardware_ns = nanoseconds(&stamps[2]);
        }
    }
    return told;
}

/* The best of a buffer's stamps that can be right. */
static struct instant arrival_of(const struct told *told, const struct clock_look *look, bool merged)
{
    struct instant arrival = look->now;
    if (told->hardware_ns)
        arrival = arrival_at(look, told->hardware_ns, true, merged);
    if (arrival.stamp == STAMP_BATCH && told->kernel_utc_ns)
        arrival = arrival_at(look, told->kernel_utc_ns, false, merged);
    return arrival;
}

static void deliver(struct udp_inlet *udp, struct assembly *assembly, uint32_t index, const struct clock_look *look)
{
    struct mmsghdr *message = &udp->messages[index];
    const uint8_t *buffer = udp->vectors[index].iov_base;
    const struct told told = read_control(udp, &message->msg_hdr);
    size_t left = message->msg_len, segment_bytes = told.segment_bytes ? told.segment_bytes : left;
    const struct instant arrival = arrival_of(&told, look, left > segment_bytes);
    uint64_t datagrams = 0;
    udp->inlet.statistics.buffers++;
    /* An empty datagram is a packet, too: a truncated one. */
    do {
        /* Safety: the kernel wrote msg_len <= BUFFER_BYTES octets; each part ends at most there. */
        size_t length = left < segment_bytes ? left : segment_bytes;
        assembly_packet(assembly, udp->inlet.path, buffer, length, &arrival);
        datagrams++;
        buffer += length;
        left -= length;
    } while (left);
    inlet_count(&udp->inlet, &arrival, told.hardware_ns != 0, datagrams);
    message->msg_hdr.msg_controllen = CONTROL_BYTES; /* the kernel wrote what it used */
    message->msg_hdr.msg_flags = 0;
}

static int read_batch(struct inlet *inlet, struct assembly *assembly, struct clock_look *look)
{
    struct udp_inlet *udp = (struct udp_inlet *)inlet;
    const unsigned wanted = inlet->beside ? BATCH_BUFFERS_BESIDE : BATCH_BUFFERS;
    int count = recvmmsg(inlet->fd, udp->messages, wanted, MSG_DONTWAIT, NULL);
    if (count <= 0)
        return count == 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
    *look = clock_look();
    inlet->last_monotonic_ns = look->now.monotonic_ns;
    inlet->statistics.batches++;
    for (uint32_t i = 0; i < (uint32_t)count; i++)
        deliver(udp, assembly, i, look);
    return count == (int)wanted;
}

/* recvmmsg tells of it. */
static int take_error(struct inlet *inlet)
{
    (void)inlet;
    return 0;
}

/* Drops come with the buffers. */
static void count(struct inlet *inlet) { (void)inlet; }

struct udp_inlet *udp_inlet_new(int fd, uint32_t path)
{
    struct udp_inlet *udp = calloc(1, sizeof *udp);
    if (!udp)
        return NULL;
    udp->arena = malloc((size_t)BATCH_BUFFERS * (BUFFER_BYTES + BUFFER_STAGGER_BYTES));
    if (!udp->arena) {
        free(udp);
        return NULL;
    }
    udp->inlet = (struct inlet){.fd = fd, .path = path, .read = read_batch, .take_error = take_error, .count = count};
    udp->overflow = refused_before(fd);
    for (uint32_t i = 0; i < BATCH_BUFFERS; i++) {
        udp->vectors[i].iov_base = udp->arena + (size_t)i * (BUFFER_BYTES + BUFFER_STAGGER_BYTES);
        udp->vectors[i].iov_len = BUFFER_BYTES;
        udp->messages[i].msg_hdr.msg_iov = &udp->vectors[i];
        udp->messages[i].msg_hdr.msg_iovlen = 1;
        udp->messages[i].msg_hdr.msg_control = udp->control[i];
        udp->messages[i].msg_hdr.msg_controllen = CONTROL_BYTES;
    }
    return udp;
}

void udp_inlet_free(struct udp_inlet *udp)
{
    free(udp->arena);
    free(udp);
}
