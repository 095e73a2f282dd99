#include "detour.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { FLUSH_PACKETS_MAX = 64 };

static uint32_t next_random(struct detour *detour) /* xorshift64* */
{
    detour->state ^= detour->state >> 12;
    detour->state ^= detour->state << 25;
    detour->state ^= detour->state >> 27;
    return (uint32_t)(detour->state * 0x2545f4914f6cdd1dull >> 32);
}

int detour_open(struct detour *detour, int fd, double loss, int64_t late_ns, uint64_t seed, uint32_t capacity, uint32_t slot_bytes)
{
    *detour = (struct detour){ .fd = fd, .loss = (uint32_t)(loss * 4294967295.0), .late_ns = late_ns, .state = seed * 0x9e3779b97f4a7c15ull + 1,
                               .capacity = capacity, .slot_bytes = slot_bytes };
    detour->octets = malloc((size_t)capacity * slot_bytes);
    detour->packets = calloc(capacity, sizeof *detour->packets);
    return detour->octets && detour->packets ? 0 : -1;
}

void detour_close(struct detour *detour)
{
    free(detour->octets);
    free(detour->packets);
    detour->octets = NULL;
    detour->packets = NULL;
}

/* Sends the oldest packets, `count` of them and not more than FLUSH_PACKETS_MAX. */
static void send_oldest(struct detour *detour, uint32_t count)
{
    struct mmsghdr messages[FLUSH_PACKETS_MAX];
    struct iovec pieces[FLUSH_PACKETS_MAX];
    memset(messages, 0, count * sizeof *messages);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = (detour->first + i) % detour->capacity;
        pieces[i] = (struct iovec){ detour->octets + (size_t)place * detour->slot_bytes, detour->packets[place].length };
        messages[i].msg_hdr = (struct msghdr){ .msg_iov = &pieces[i], .msg_iovlen = 1 };
    }
    int sent = sendmmsg(detour->fd, messages, count, 0);
    detour->packets_sent += sent > 0 ? (uint64_t)sent : 0;
    /* A cable that is pulled, a full queue: the first that is refused is left behind, and the others follow with the next call. */
    uint32_t done = sent > 0 ? (uint32_t)sent : 1;
    detour->packets_refused += sent > 0 ? 0 : 1;
    detour->first = (detour->first + done) % detour->capacity;
    detour->count -= done;
}

void detour_take(struct detour *detour, const struct iovec *pieces, int64_t now_ns)
{
    if (detour->loss && next_random(detour) < detour->loss) {
        detour->packets_lost++;
        return;
    }
    if (detour->count == detour->capacity)
        send_oldest(detour, 1);
    uint32_t place = (detour->first + detour->count) % detour->capacity;
    uint8_t *slot = detour->octets + (size_t)place * detour->slot_bytes;
    /* Safety: a packet has at most slot_bytes octets: pacing's payload_max. */
    memcpy(slot, pieces[0].iov_base, pieces[0].iov_len);
    memcpy(slot + pieces[0].iov_len, pieces[1].iov_base, pieces[1].iov_len);
    detour->packets[place].length = (uint32_t)(pieces[0].iov_len + pieces[1].iov_len);
    detour->packets[place].due_ns = now_ns + detour->late_ns;
    detour->count++;
}

void detour_flush(struct detour *detour, int64_t now_ns)
{
    while (detour->count) {
        uint32_t due = 0;
        while (due < detour->count && due < FLUSH_PACKETS_MAX && detour->packets[(detour->first + due) % detour->capacity].due_ns <= now_ns)
            due++;
        if (!due)
            return;
        send_oldest(detour, due);
    }
}
