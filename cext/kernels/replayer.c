#include "replayer.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"

#define SECOND_NS 1000000000ll

static int64_t due_ns(const struct replay *replay, uint64_t number)
{
    /* Signed: captures of several interfaces are not always in order. */
    int64_t after_ns = (int64_t)(replay->capture->packets[number].time_ns - replay->capture->packets[0].time_ns);
    return replay->begun_ns + (int64_t)((double)after_ns / replay->speed);
}

/* Sends what is due until `limit_ns`, of one flow and at most a batch; whether the socket failed for good. */
static int send_batch(struct replay *replay, int64_t limit_ns)
{
    struct mmsghdr messages[REPLAY_BATCH];
    struct iovec pieces[REPLAY_BATCH];
    const struct captured *packets = replay->capture->packets;
    const int fd = replay->fds[packets[replay->next].flow];
    unsigned count = 0;
    while (count < REPLAY_BATCH && replay->next + count < replay->capture->count) {
        const struct captured *packet = &packets[replay->next + count];
        if (replay->fds[packet->flow] != fd || due_ns(replay, replay->next + count) > limit_ns)
            break;
        pieces[count] = (struct iovec){(void *)(replay->memory + packet->at), packet->length};
        messages[count] = (struct mmsghdr){.msg_hdr = {.msg_iov = &pieces[count], .msg_iovlen = 1}};
        count++;
    }
    replay->next += count;
    for (unsigned done = 0; fd >= 0 && done < count;) {
        int sent = sendmmsg(fd, messages + done, count - done, 0);
        if (sent > 0) {
            replay->sent += (unsigned)sent;
            done += (unsigned)sent;
        } else if (errno == EINTR) {
            continue;
        } else if (errno == ENOBUFS || errno == ECONNREFUSED || errno == EMSGSIZE) {
            replay->refused++; /* this one; the next may pass */
            done++;
        } else {
            return -errno;
        }
    }
    return 0;
}

int replay_run(struct replay *replay, int64_t duration_ns)
{
    int64_t now_ns = (int64_t)clock_ns(CLOCK_MONOTONIC);
    const int64_t until_ns = now_ns + duration_ns;
    if (!replay->begun_ns)
        replay->begun_ns = now_ns;
    while (replay->next < replay->capture->count) {
        const int64_t next_ns = due_ns(replay, replay->next);
        if (next_ns > until_ns && now_ns >= until_ns)
            return 1;
        if (next_ns > now_ns) {
            const int64_t wake_ns = next_ns < until_ns ? next_ns : until_ns;
            struct timespec wake = {.tv_sec = wake_ns / SECOND_NS, .tv_nsec = wake_ns % SECOND_NS};
            if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL))
                return 1; /* the caller looks at its signals */
            now_ns = (int64_t)clock_ns(CLOCK_MONOTONIC);
            if (now_ns < next_ns)
                return 1;
        }
        if (now_ns - next_ns > replay->late_ns_max && next_ns >= replay->begun_ns)
            replay->late_ns_max = now_ns - next_ns;
        int failed = send_batch(replay, now_ns + REPLAY_BURST_NS);
        if (failed)
            return failed;
        now_ns = (int64_t)clock_ns(CLOCK_MONOTONIC);
        if (now_ns >= until_ns)
            return replay->next < replay->capture->count;
    }
    return 0;
}
