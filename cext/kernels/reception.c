#include "reception.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Buffers that the socket has refused so far, by its filter or for want of room; 0 where the kernel does not say. */
static uint32_t refused_before(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof memory;
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) ? 0 : memory[SK_MEMINFO_DROPS];
}

struct reception *reception_new(int fd)
{
    struct reception *reception = calloc(1, sizeof *reception);
    if (!reception)
        return NULL;
    reception->arena = malloc((size_t)BATCH_BUFFERS * (BUFFER_BYTES + BUFFER_STAGGER_BYTES));
    if (!reception->arena) {
        free(reception);
        return NULL;
    }
    reception->fd = fd;
    reception->overflow = refused_before(fd);
    for (uint32_t i = 0; i < BATCH_BUFFERS; i++) {
        reception->vectors[i].iov_base = reception->arena + (size_t)i * (BUFFER_BYTES + BUFFER_STAGGER_BYTES);
        reception->vectors[i].iov_len = BUFFER_BYTES;
        reception->messages[i].msg_hdr.msg_iov = &reception->vectors[i];
        reception->messages[i].msg_hdr.msg_iovlen = 1;
        reception->messages[i].msg_hdr.msg_control = reception->control[i];
        reception->messages[i].msg_hdr.msg_controllen = CONTROL_BYTES;
    }
    return reception;
}

void reception_free(struct reception *reception)
{
    free(reception->arena);
    free(reception);
}

/* What the kernel says beside a buffer. */
struct told {
    size_t segment_bytes;                /* of the datagrams that were merged; 0: it is one */
    int64_t kernel_utc_ns, hardware_ns;  /* when it arrived; 0: not said */
};

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * 1000000000ll + time->tv_nsec; }

static struct told read_control(struct reception *reception, struct msghdr *message)
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
            reception->statistics.kernel_drops += overflow - reception->overflow; /* it wraps at 32 bits */
            reception->overflow = overflow;
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

static void deliver(struct reception *reception, struct assembly *assembly, uint32_t index, const struct clock_look *look)
{
    struct mmsghdr *message = &reception->messages[index];
    const uint8_t *buffer = reception->vectors[index].iov_base;
    const struct told told = read_control(reception, &message->msg_hdr);
    size_t left = message->msg_len, segment_bytes = told.segment_bytes ? told.segment_bytes : left;
    const struct instant arrival = arrival_of(&told, look, left > segment_bytes);
    uint64_t datagrams = 0;
    reception->statistics.buffers++;
    /* An empty datagram is a packet, too: a truncated one. */
    do {
        /* Safety: the kernel wrote msg_len <= BUFFER_BYTES octets; each part ends at most there. */
        size_t length = left < segment_bytes ? left : segment_bytes;
        assembly_packet(assembly, buffer, length, &arrival);
        datagrams++;
        buffer += length;
        left -= length;
    } while (left);
    reception_count(&reception->statistics, arrival.stamp, told.hardware_ns != 0, datagrams);
    message->msg_hdr.msg_controllen = CONTROL_BYTES; /* the kernel wrote what it used */
    message->msg_hdr.msg_flags = 0;
}

int reception_rest(int fd, int64_t last_monotonic_ns, int64_t now_monotonic_ns, int64_t until_monotonic_ns)
{
    if (now_monotonic_ns - last_monotonic_ns < BLANKING_NS_MAX) {
        const struct timespec pause = {.tv_nsec = BATCH_PAUSE_NS};
        return clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL) == 0 ? 0 : -1;
    }
    int64_t left_ns = until_monotonic_ns - now_monotonic_ns;
    const struct timespec timeout = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return ppoll(&entry, 1, &timeout, NULL) < 0 ? -1 : entry.revents;
}

int reception_run(struct reception *reception, struct assembly *assembly, int64_t duration_ns)
{
    struct clock_look look = clock_look();
    const int64_t until = look.now.monotonic_ns + duration_ns;
    while (look.now.monotonic_ns < until) {
        int count = recvmmsg(reception->fd, reception->messages, BATCH_BUFFERS, MSG_DONTWAIT, NULL);
        if (count < 0 && errno == EINTR)
            return 0;
        if (count < 0 && errno != EAGAIN)
            return -errno;
        if (count > 0) {
            look = clock_look();
            reception->last_monotonic_ns = look.now.monotonic_ns;
            reception->statistics.batches++;
            for (uint32_t i = 0; i < (uint32_t)count; i++)
                deliver(reception, assembly, i, &look);
        }
        assembly_tick(assembly, look.now.monotonic_ns);
        /* A full batch: more is waiting. */
        if (count < (int)BATCH_BUFFERS && reception_rest(reception->fd, reception->last_monotonic_ns, look.now.monotonic_ns, until) < 0)
            return 0;
        look = clock_look();
    }
    return 0;
}
