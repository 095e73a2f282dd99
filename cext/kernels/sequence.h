/* Which packets of a flow arrived, by 32-bit sequence number: duplicates, gaps, what is late. One flow, one window. */
#ifndef APPLIANCE_SEQUENCE_H
#define APPLIANCE_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

/* Packets whose arrival is remembered. Half of it reaches back and half forward from the newest. */
#define SEQUENCE_WINDOW 65536u
#define SEQUENCE_REACH (SEQUENCE_WINDOW / 2)
/* A packet that is this far behind the newest is given up: its frame no longer waits for it. 2.4 ms at 1280x720p50. */
#define REORDER_PACKETS_MAX 256u

enum arrival { ARRIVAL_IN_ORDER, ARRIVAL_REORDERED, ARRIVAL_DUPLICATE, ARRIVAL_LATE };

struct sequence_window {
    uint32_t highest;     /* newest number */
    uint32_t next_needed; /* all before it arrived or were given up */
    uint32_t settled;     /* all before it are accounted for: they arrived or are in `lost` */
    uint64_t lost;
    uint64_t arrived[SEQUENCE_WINDOW / 64]; /* a bit a packet */
};

/* Sequence numbers wrap; a comes before b if it is less than half the circle behind. */
static inline bool sequence_before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }

/* Forgets all; `first` is the first number that is expected. `lost` stays. */
void sequence_begin(struct sequence_window *window, uint32_t first);
/* Notes a packet `difference` after the newest, -SEQUENCE_REACH < difference < SEQUENCE_REACH. */
enum arrival sequence_note(struct sequence_window *window, int32_t difference);
/* Accounts for everything up to and with `last`. */
void sequence_settle(struct sequence_window *window, uint32_t last);

#endif
