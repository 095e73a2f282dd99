#include "metronome.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SECOND_NS 1000000000ll

static int64_t tai_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_TAI, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Errors that pass: nobody listens at a unicast address, a full queue, a cable pulled, a firewall. */
static int passes(int error)
{
    return error == ECONNREFUSED || error == ENOBUFS || error == EAGAIN || error == EPERM || error == ENETUNREACH || error == EHOSTUNREACH ||
           error == ENETDOWN || error == EINTR;
}

/* Sends packets `first` .. `first + count - 1`; how many the network took, or -errno. */
static int send_batch(int fd, const uint8_t *packets, uint32_t packet_bytes, uint32_t first, uint32_t count)
{
    struct iovec vectors[METRONOME_BATCH];
    struct mmsghdr messages[METRONOME_BATCH];
    memset(messages, 0, sizeof messages);
    for (uint32_t i = 0; i < count; i++) {
        vectors[i] = (struct iovec){(void *)(uintptr_t)(packets + (size_t)(first + i) * packet_bytes), packet_bytes};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int sent = sendmmsg(fd, messages, count, 0);
    return sent >= 0 ? sent : passes(errno) ? 0 : -errno;
}

int64_t metronome_send(int fd, const uint8_t *packets, uint32_t packet_bytes, uint32_t count, int64_t first_ns, int64_t interval_ns,
                       int64_t interval_parts)
{
    int64_t taken = 0;
    for (uint32_t next = 0; next < count;) {
        int64_t due_ns = first_ns + next * interval_ns / interval_parts;
        const struct timespec until = {.tv_sec = due_ns / SECOND_NS, .tv_nsec = due_ns % SECOND_NS};
        while (clock_nanosleep(CLOCK_TAI, TIMER_ABSTIME, &until, NULL) == EINTR)
            continue;
        int64_t now_ns = tai_ns();
        uint32_t end = next + 1;
        while (end < count && end - next < METRONOME_BATCH && first_ns + end * interval_ns / interval_parts <= now_ns + METRONOME_BURST_NS)
            end++;
        int sent = send_batch(fd, packets, packet_bytes, next, end - next);
        if (sent < 0)
            return sent;
        taken += sent;
        next = end;
    }
    return taken;
}
