#include "sequence.h"

#include <string.h>

static inline uint64_t bit(uint32_t sequence) { return 1ull << (sequence % 64); }
static inline uint64_t *word(struct sequence_window *window, uint32_t sequence)
{
    return &window->arrived[sequence % SEQUENCE_WINDOW / 64];
}

void sequence_begin(struct sequence_window *window, uint32_t first)
{
    memset(window->arrived, 0, sizeof window->arrived);
    window->highest = first - 1;
    window->next_needed = first;
    window->settled = first;
}

/* Moves next_needed past what arrived and what is too old to be waited for. */
static void advance(struct sequence_window *window)
{
    while (!sequence_before(window->highest, window->next_needed)) {
        bool here = *word(window, window->next_needed) & bit(window->next_needed);
        if (!here && window->highest - window->next_needed < REORDER_PACKETS_MAX)
            return;
        window->next_needed++;
    }
}

enum arrival sequence_note(struct sequence_window *window, int32_t difference)
{
    uint32_t sequence = window->highest + (uint32_t)difference;
    if (difference > 0) {
        /* The bits of a gap still tell of numbers one window earlier. */
        for (uint32_t missing = window->highest + 1; missing != sequence; missing++)
            *word(window, missing) &= ~bit(missing);
        /* Nothing unaccounted may leave the window. */
        if (sequence - window->settled >= SEQUENCE_REACH)
            sequence_settle(window, sequence - SEQUENCE_REACH);
        *word(window, sequence) |= bit(sequence);
        window->highest = sequence;
        advance(window);
        return ARRIVAL_IN_ORDER;
    }
    if (*word(window, sequence) & bit(sequence))
        return ARRIVAL_DUPLICATE;
    *word(window, sequence) |= bit(sequence);
    if (sequence_before(sequence, window->settled))
        return ARRIVAL_LATE;
    advance(window);
    return ARRIVAL_REORDERED;
}

void sequence_settle(struct sequence_window *window, uint32_t last)
{
    uint32_t next = window->settled, end = last + 1;
    while (sequence_before(next, end)) {
        /* One word at a time: the part of it from `next` to its end or to `end`. */
        uint32_t count = 64 - next % 64;
        if (end - next < count)
            count = end - next;
        uint64_t wanted = (count == 64 ? ~0ull : (1ull << count) - 1) << (next % 64);
        window->lost += (uint64_t)__builtin_popcountll(wanted & ~*word(window, next));
        next += count;
    }
    if (sequence_before(window->settled, end))
        window->settled = end;
    if (sequence_before(window->next_needed, window->settled))
        window->next_needed = window->settled;
}
