/* Which packets of a flow arrived, by 32-bit sequence number: duplicates, gaps, what is late. One flow, one window. */
#ifndef APPLIANCE_SEQUENCE_H
#define APPLIANCE_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

/* Packets whose arrival is remembered. Half of it reaches back and half forward from the newest: 150 ms of 3840x2160p50, which is more than
 * two paths may be apart (ST 2022-7 class B, 50 ms). */
#define SEQUENCE_WINDOW 262144u
#define SEQUENCE_REACH (SEQUENCE_WINDOW / 2)
/* A packet that is this far behind the newest is given up: its frame no longer waits for it. 2.4 ms at 1280x720p50. */
#define REORDER_PACKETS_MAX 256u

/* Numbers that arrived: a bit each, true of those from SEQUENCE_WINDOW before `highest` up to it. */
struct arrivals {
    uint32_t highest;
    uint64_t bits[SEQUENCE_WINDOW / 64];
};

enum arrival {
    ARRIVAL_IN_ORDER,
    ARRIVAL_REORDERED,
    ARRIVAL_DUPLICATE,
    ARRIVAL_LATE,    /* accounted for as lost, or in a frame that had no need of it */
    ARRIVAL_EARLIER, /* from before the first number that was expected */
};

struct sequence_window {
    struct arrivals arrived; /* `highest` is the newest number */
    uint32_t first;          /* where it began */
    bool young;              /* `first` is still near */
    uint32_t next_needed;    /* all before it arrived or were given up */
    uint32_t settled;        /* all before it are accounted for: they arrived or are in `lost` */
    uint64_t lost;
};

/* Sequence numbers wrap; a comes before b if it is less than half the circle behind. */
static inline bool sequence_before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }

/* Forgets all; `first` is the first number that is expected. */
void arrivals_begin(struct arrivals *arrivals, uint32_t first);
/* Moves `highest` to a later number; none of those between has arrived. */
void arrivals_reach(struct arrivals *arrivals, uint32_t highest);
/* Notes a number of the window; true if it had arrived before. */
bool arrivals_note(struct arrivals *arrivals, uint32_t number);
/* How many numbers from `first` to before `end` are missing; and how many of those are there in `other`. */
uint64_t arrivals_missing(const struct arrivals *arrivals, uint32_t first, uint32_t end);
uint64_t arrivals_missing_beside(const struct arrivals *arrivals, const struct arrivals *other, uint32_t first, uint32_t end);

/* Forgets all; `first` is the first number that is expected. `lost` stays. */
void sequence_begin(struct sequence_window *window, uint32_t first);
/* Notes a packet `difference` after the newest, -SEQUENCE_REACH < difference < SEQUENCE_REACH. */
enum arrival sequence_note(struct sequence_window *window, int32_t difference);
/* Gives up what is missing and REORDER_PACKETS_MAX behind `edge`, the newest number that every path waited for has come to. */
void sequence_advance(struct sequence_window *window, uint32_t edge);
/* Accounts for everything up to and with `last`. */
void sequence_settle(struct sequence_window *window, uint32_t last);

#endif
