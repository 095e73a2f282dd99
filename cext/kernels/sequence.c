#include "sequence.h"

#include <string.h>

/* The next part of a range of numbers that lies in one word: its bits, and how many they are. */
struct part {
    uint32_t word, count;
    uint64_t bits;
};

static inline struct part part_of(uint32_t first, uint32_t end)
{
    uint32_t count = 64 - first % 64;
    if (end - first < count)
        count = end - first;
    return (struct part){first % SEQUENCE_WINDOW / 64, count, (count == 64 ? ~0ull : (1ull << count) - 1) << (first % 64)};
}

void arrivals_begin(struct arrivals *arrivals, uint32_t first)
{
    memset(arrivals->bits, 0, sizeof arrivals->bits);
    arrivals->highest = first - 1;
}

void arrivals_reach(struct arrivals *arrivals, uint32_t highest)
{
    uint32_t first = arrivals->highest + 1, end = highest + 1;
    if (end - first >= SEQUENCE_WINDOW) {
        arrivals_begin(arrivals, end);
        return;
    }
    /* The bits still tell of numbers one window earlier. */
    while (first != end) {
        struct part part = part_of(first, end);
        arrivals->bits[part.word] &= ~part.bits;
        first += part.count;
    }
    arrivals->highest = highest;
}

bool arrivals_note(struct arrivals *arrivals, uint32_t number)
{
    uint64_t *word = &arrivals->bits[number % SEQUENCE_WINDOW / 64], bit = 1ull << (number % 64);
    bool before = *word & bit;
    *word |= bit;
    return before;
}

uint64_t arrivals_missing(const struct arrivals *arrivals, uint32_t first, uint32_t end)
{
    uint64_t missing = 0;
    while (sequence_before(first, end)) {
        struct part part = part_of(first, end);
        missing += (uint64_t)__builtin_popcountll(part.bits & ~arrivals->bits[part.word]);
        first += part.count;
    }
    return missing;
}

uint64_t arrivals_missing_beside(const struct arrivals *arrivals, const struct arrivals *other, uint32_t first, uint32_t end)
{
    uint64_t missing = 0;
    while (sequence_before(first, end)) {
        struct part part = part_of(first, end);
        missing += (uint64_t)__builtin_popcountll(part.bits & ~arrivals->bits[part.word] & other->bits[part.word]);
        first += part.count;
    }
    return missing;
}

void sequence_begin(struct sequence_window *window, uint32_t first)
{
    arrivals_begin(&window->arrived, first);
    window->first = window->next_needed = window->settled = first;
    window->young = true;
}

void sequence_advance(struct sequence_window *window, uint32_t edge)
{
    while (!sequence_before(window->arrived.highest, window->next_needed)) {
        uint32_t next = window->next_needed;
        bool here = window->arrived.bits[next % SEQUENCE_WINDOW / 64] >> (next % 64) & 1;
        if (!here && (int32_t)(edge - next) < (int32_t)REORDER_PACKETS_MAX)
            return;
        window->next_needed++;
    }
}

enum arrival sequence_note(struct sequence_window *window, int32_t difference)
{
    uint32_t sequence = window->arrived.highest + (uint32_t)difference;
    if (difference > 0) {
        /* Nothing unaccounted may leave the window. */
        if (sequence - window->settled >= SEQUENCE_REACH)
            sequence_settle(window, sequence - SEQUENCE_REACH);
        arrivals_reach(&window->arrived, sequence);
        arrivals_note(&window->arrived, sequence);
        return ARRIVAL_IN_ORDER;
    }
    if (arrivals_note(&window->arrived, sequence))
        return ARRIVAL_DUPLICATE;
    if (sequence_before(sequence, window->settled))
        return window->young && sequence_before(sequence, window->first) ? ARRIVAL_EARLIER : ARRIVAL_LATE;
    return ARRIVAL_REORDERED;
}

void sequence_settle(struct sequence_window *window, uint32_t last)
{
    uint32_t end = last + 1;
    if (!sequence_before(window->settled, end))
        return;
    window->lost += arrivals_missing(&window->arrived, window->settled, end);
    window->settled = end;
    window->young = window->young && end - window->first < SEQUENCE_REACH;
    if (sequence_before(window->next_needed, end))
        window->next_needed = end;
}
