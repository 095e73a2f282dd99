#include "reception.h"

#include <poll.h>
#include <time.h>

/* Reads all that is there, in parts: next always of the one that is read up to the oldest time. 0, or a negative errno. */
static int read_all(struct inlet *const *inlets, uint32_t count, struct assembly *assembly, struct clock_look *look)
{
    bool more[INLETS_MAX] = {true, true};
    for (uint32_t parts = 0; parts < ROUND_PARTS_MAX; parts++) {
        uint32_t oldest = INLETS_MAX;
        for (uint32_t i = 0; i < count; i++)
            if (more[i] && (oldest == INLETS_MAX || inlets[i]->newest_tai_ns < inlets[oldest]->newest_tai_ns))
                oldest = i;
        if (oldest == INLETS_MAX)
            return 0;
        int result = inlets[oldest]->read(inlets[oldest], assembly, look);
        if (result < 0)
            return result;
        more[oldest] = result > 0;
    }
    return 0;
}

/* Sleeps until there may be something to read: a pause while packets flow, else until a descriptor is readable, at most until
 * `until_monotonic_ns`. 0, a negative errno, or 1 if a signal came. */
static int rest(struct inlet *const *inlets, uint32_t count, int64_t now_monotonic_ns, int64_t until_monotonic_ns)
{
    struct pollfd entries[INLETS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        if (now_monotonic_ns - inlets[i]->last_monotonic_ns < BLANKING_NS_MAX) {
            const struct timespec pause = {.tv_nsec = BATCH_PAUSE_NS};
            return clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL) == 0 ? 0 : 1;
        }
        entries[i] = (struct pollfd){.fd = inlets[i]->fd, .events = POLLIN};
    }
    int64_t left_ns = until_monotonic_ns - now_monotonic_ns;
    const struct timespec timeout = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    if (ppoll(entries, count, &timeout, NULL) < 0)
        return 1;
    int result = 0;
    for (uint32_t i = 0; i < count; i++)
        if (entries[i].revents & POLLERR && result == 0)
            result = inlets[i]->take_error(inlets[i]);
    return result;
}

int reception_run(struct inlet *const *inlets, uint32_t count, struct assembly *assembly, int64_t duration_ns)
{
    struct clock_look look = clock_look();
    const int64_t until = look.now.monotonic_ns + duration_ns;
    int result = 0;
    for (uint32_t i = 0; i < count; i++)
        inlets[i]->beside = count > 1;
    while (look.now.monotonic_ns < until && result == 0) {
        result = read_all(inlets, count, assembly, &look);
        assembly_tick(assembly, look.now.monotonic_ns);
        if (result == 0)
            result = rest(inlets, count, look.now.monotonic_ns, until);
        look = clock_look();
    }
    for (uint32_t i = 0; i < count; i++)
        inlets[i]->count(inlets[i]);
    return result < 0 ? result : 0;
}
