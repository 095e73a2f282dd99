#include "reception.h"

#include "ring_sink.h"

#include <errno.h>
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

/* What the kernel says beside a buffer: the segments' size (0: it is one datagram), drops so far. */
static size_t read_control(struct reception *reception, struct msghdr *message)
{
    size_t segment_bytes = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(control), sizeof size);
            segment_bytes = size > 0 ? (size_t)size : 0;
        } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
            uint32_t overflow;
            memcpy(&overflow, CMSG_DATA(control), sizeof overflow);
            reception->statistics.kernel_drops += overflow - reception->overflow; /* it wraps at 32 bits */
            reception->overflow = overflow;
        }
    }
    return segment_bytes;
}

static void deliver(struct reception *reception, struct assembly *assembly, uint32_t index, const struct instant *now)
{
    struct mmsghdr *message = &reception->messages[index];
    const uint8_t *buffer = reception->vectors[index].iov_base;
    size_t left = message->msg_len, segment_bytes = read_control(reception, &message->msg_hdr);
    if (segment_bytes == 0)
        segment_bytes = left;
    reception->statistics.buffers++;
    /* An empty datagram is a packet, too: a truncated one. */
    do {
        /* Safety: the kernel wrote msg_len <= BUFFER_BYTES octets; each part ends at most there. */
        size_t length = left < segment_bytes ? left : segment_bytes;
        assembly_packet(assembly, buffer, length, now);
        reception->statistics.datagrams++;
        buffer += length;
        left -= length;
    } while (left);
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
    struct instant now = instant_now();
    const int64_t until = now.monotonic_ns + duration_ns;
    while (now.monotonic_ns < until) {
        int count = recvmmsg(reception->fd, reception->messages, BATCH_BUFFERS, MSG_DONTWAIT, NULL);
        if (count < 0 && errno == EINTR)
            return 0;
        if (count < 0 && errno != EAGAIN)
            return -errno;
        if (count > 0) {
            now = instant_now();
            reception->last_monotonic_ns = now.monotonic_ns;
            reception->statistics.batches++;
            for (uint32_t i = 0; i < (uint32_t)count; i++)
                deliver(reception, assembly, i, &now);
        }
        assembly_tick(assembly, now.monotonic_ns);
        /* A full batch: more is waiting. */
        if (count < (int)BATCH_BUFFERS && reception_rest(reception->fd, reception->last_monotonic_ns, now.monotonic_ns, until) < 0)
            return 0;
        now = instant_now();
    }
    return 0;
}
