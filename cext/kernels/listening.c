#include "listening.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"

#define SECOND_NS 1000000000ll

/* What the socket has dropped so far; 0 where the kernel does not say. */
static uint32_t dropped_before(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof memory;
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) ? 0 : memory[SK_MEMINFO_DROPS];
}

struct listening *listening_new(const int *sockets, uint32_t count)
{
    struct listening *listening = calloc(1, sizeof *listening);
    if (!listening)
        return NULL;
    listening->socket_count = count;
    for (uint32_t i = 0; i < count; i++) {
        listening->sockets[i] = sockets[i];
        listening->overflow[i] = dropped_before(sockets[i]);
    }
    for (uint32_t i = 0; i < LISTENING_BATCH; i++) {
        listening->vectors[i] = (struct iovec){listening->arena[i], LISTENING_DATAGRAM_BYTES};
        listening->messages[i].msg_hdr = (struct msghdr){.msg_iov = &listening->vectors[i], .msg_iovlen = 1, .msg_control = listening->control[i],
                                                         .msg_controllen = LISTENING_CONTROL_BYTES};
    }
    return listening;
}

void listening_free(struct listening *listening)
{
    free(listening);
}

struct reading {
    int64_t realtime_ns, tai_ns, monotonic_ns;
};

static struct reading read_clocks(void)
{
    return (struct reading){(int64_t)clock_ns(CLOCK_REALTIME), (int64_t)clock_tai_ns(), (int64_t)clock_ns(CLOCK_MONOTONIC)};
}

/* Reads what the kernel says beside a datagram: drops so far, and when it came (SO_TIMESTAMPNS); without that it came just now. */
static struct tape_instant read_control(struct listening *listening, uint32_t leg, struct msghdr *message, const struct reading *now)
{
    int64_t age_ns = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET)
            continue;
        if (control->cmsg_type == SO_RXQ_OVFL) {
            uint32_t overflow;
            memcpy(&overflow, CMSG_DATA(control), sizeof overflow);
            listening->statistics.kernel_drops += overflow - listening->overflow[leg]; /* it wraps at 32 bits */
            listening->overflow[leg] = overflow;
        } else if (control->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec came;
            memcpy(&came, CMSG_DATA(control), sizeof came);
            age_ns = now->realtime_ns - ((int64_t)came.tv_sec * SECOND_NS + came.tv_nsec);
            /* The clock was set while the datagram waited: its age cannot be known. */
            age_ns = age_ns < 0 || age_ns > SECOND_NS ? 0 : age_ns;
        }
    }
    return (struct tape_instant){now->tai_ns - age_ns, now->monotonic_ns - age_ns};
}

/* One batch from one leg: how many datagrams, or -errno. */
static int receive(struct listening *listening, struct tape *tape, uint32_t leg)
{
    int count = recvmmsg(listening->sockets[leg], listening->messages, LISTENING_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    struct reading now = read_clocks();
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        struct mmsghdr *message = &listening->messages[i];
        struct tape_instant came = read_control(listening, leg, &message->msg_hdr, &now);
        /* Safety: the kernel wrote msg_len <= LISTENING_DATAGRAM_BYTES octets. */
        tape_packet(tape, listening->arena[i], message->msg_len, &came);
        message->msg_hdr.msg_controllen = LISTENING_CONTROL_BYTES; /* the kernel wrote what it used */
        message->msg_hdr.msg_flags = 0;
    }
    listening->statistics.datagrams[leg] += (uint64_t)count;
    listening->statistics.batches += count > 0;
    if (count > 0)
        listening->last_monotonic_ns = now.monotonic_ns;
    return count;
}

/* Sleeps: while packets come until the frame should be whole, else until a packet comes. -1 if a signal came. */
static int rest(const struct listening *listening, const struct tape *tape, const int64_t *end, int64_t now_ns, int64_t until_ns)
{
    if (now_ns - listening->last_monotonic_ns < TAPE_OUTAGE_NS) {
        int64_t nap_ns = end ? tape_expected_ns(tape, *end) - now_ns + LISTENING_NAP_NS_MIN / 2 : LISTENING_NAP_NS_MAX;
        nap_ns = nap_ns < LISTENING_NAP_NS_MIN ? LISTENING_NAP_NS_MIN : nap_ns > LISTENING_NAP_NS_MAX ? LISTENING_NAP_NS_MAX : nap_ns;
        const struct timespec pause = {.tv_nsec = nap_ns};
        return clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL) == 0 ? 0 : -1;
    }
    struct pollfd entries[LEGS_MAX];
    for (uint32_t i = 0; i < listening->socket_count; i++)
        entries[i] = (struct pollfd){.fd = listening->sockets[i], .events = POLLIN};
    int64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    const struct timespec timeout = {.tv_sec = left_ns / SECOND_NS, .tv_nsec = left_ns % SECOND_NS};
    return ppoll(entries, listening->socket_count, &timeout, NULL) < 0 ? -1 : 0;
}

int listening_run(struct listening *listening, struct tape *tape, const int64_t *end, int64_t duration_ns)
{
    int64_t now_ns = (int64_t)clock_ns(CLOCK_MONOTONIC), until_ns = now_ns + duration_ns;
    const uint64_t epoch = tape->epoch;
    for (;;) {
        int full = 0;
        for (uint32_t leg = 0; leg < listening->socket_count; leg++) {
            int count = receive(listening, tape, leg);
            if (count < 0)
                return count;
            full |= count == LISTENING_BATCH;
        }
        now_ns = (int64_t)clock_ns(CLOCK_MONOTONIC);
        if (tape->epoch != epoch)
            return TAPE_NOT_YET;
        int due = end ? tape_due(tape, *end, now_ns) : TAPE_NOT_YET;
        if (due != TAPE_NOT_YET || now_ns >= until_ns)
            return due;
        if (!full && rest(listening, tape, end, now_ns, until_ns) < 0)
            return TAPE_NOT_YET;
    }
}
