#include "paths.h"

#include <string.h>

void paths_begin(struct paths *paths, uint32_t first)
{
    for (uint32_t i = 0; i < paths->count; i++) {
        struct path *path = &paths->each[i];
        path->begun = false;
        path->candidate.count = 0;
        memset(path->stamps, 0, sizeof path->stamps);
        arrivals_begin(&path->arrived, first);
    }
    paths->together = false;
    paths->settled = first;
    paths->checkpoint.sequence = first - 1;
    paths->checkpoint.monotonic_ns = 0;
}

/* Measures how far the paths are apart at this number, once both have brought it. */
static void measure_skew(struct paths *paths, struct path *path, uint32_t sequence, int64_t tai_ns)
{
    const uint32_t place = sequence / SKEW_PACKETS % SKEW_STAMPS;
    path->stamps[place].number = sequence;
    path->stamps[place].tai_ns = tai_ns;
    const struct path *first = &paths->each[0], *second = &paths->each[1];
    bool both = first->stamps[place].tai_ns && second->stamps[place].tai_ns && first->stamps[place].number == second->stamps[place].number;
    if (both && paths->skew_count < SKEWS_MAX)
        paths->skews_ns[paths->skew_count++] = second->stamps[place].tai_ns - first->stamps[place].tai_ns;
}

bool paths_note(struct paths *paths, struct path *path, uint32_t sequence, const struct instant *now, const struct arrivals *flow)
{
    /* Nothing unaccounted may leave a window. */
    if (!sequence_before(sequence, paths->settled + SEQUENCE_REACH))
        paths_settle(paths, flow, sequence - SEQUENCE_REACH);
    if (sequence_before(path->arrived.highest, sequence))
        arrivals_reach(&path->arrived, sequence);
    if (arrivals_note(&path->arrived, sequence))
        return true;
    path->statistics.packets++;
    path->last_tai_ns = now->tai_ns;
    if (!path->begun || sequence_before(path->newest, sequence))
        path->newest = sequence;
    path->begun = true;
    if (sequence % SKEW_PACKETS == 0)
        measure_skew(paths, path, sequence, now->tai_ns);
    return false;
}

uint32_t paths_edge(struct paths *paths, const struct path *path, const struct instant *now)
{
    uint32_t edge = path->newest;
    paths->together = false;
    for (uint32_t i = 0; i < paths->count; i++) {
        const struct path *other = &paths->each[i];
        /* By the packets' own times: a reader that was kept waiting finds no path silent. */
        if (other == path || !other->begun || now->tai_ns - other->last_tai_ns > paths->silence_ns)
            continue;
        paths->together = true;
        if (sequence_before(other->newest, edge))
            edge = other->newest;
    }
    return edge;
}

void paths_settle(struct paths *paths, const struct arrivals *flow, uint32_t last)
{
    uint32_t end = last + 1;
    if (!sequence_before(paths->settled, end))
        return;
    for (uint32_t i = 0; i < paths->count; i++) {
        struct path *path = &paths->each[i];
        if (sequence_before(path->arrived.highest, last))
            arrivals_reach(&path->arrived, last);
        path->statistics.lost += arrivals_missing(&path->arrived, paths->settled, end);
        path->statistics.recovered += arrivals_missing_beside(&path->arrived, flow, paths->settled, end);
    }
    paths->settled = end;
}

void paths_tick(struct paths *paths, const struct arrivals *flow, int64_t now_monotonic_ns)
{
    if (now_monotonic_ns - paths->checkpoint.monotonic_ns < paths->skew_ns + PATH_SETTLE_NS)
        return;
    paths_settle(paths, flow, paths->checkpoint.sequence);
    paths->checkpoint.sequence = flow->highest;
    paths->checkpoint.monotonic_ns = now_monotonic_ns;
}
