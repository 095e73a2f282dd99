/* When a packet arrived, as TAI, and what that time rests on: the network card, the kernel, or only the moment of reading.
 *
 * Receptions look at the clocks once a batch and read each packet's stamp against that look. The assembly takes the result.
 */
#ifndef APPLIANCE_ARRIVAL_H
#define APPLIANCE_ARRIVAL_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* A stamp further than this from the moment of reading is of another clock: a network card's that nobody sets to TAI, or one that was stepped.
 * More than socket or ring hold. */
#define STAMP_DISTANCE_NS_MAX 1000000000ll

/* What a packet's time rests on, from the best to the humblest; the order is that of stamp_kinds. */
enum stamp {
    STAMP_HARDWARE, /* by the network card, this packet's own */
    STAMP_KERNEL,   /* by the kernel as it took the packet over, this packet's own */
    STAMP_MERGED,   /* by either, one stamp for all packets that were merged */
    STAMP_BATCH,    /* none: the moment at which the batch was read */
    STAMPS,
};
/* Names of the kinds, as the metric's label shows them. */
extern const char *const stamp_kinds[STAMPS];

struct instant {
    int64_t tai_ns;       /* of arrival, as the stamp says */
    int64_t monotonic_ns; /* of reading; for intervals: TAI may be stepped, and a reader that was kept waiting must not find everything overdue */
    enum stamp stamp;
};

/* The clocks as a batch is read. */
struct clock_look {
    struct instant now; /* STAMP_BATCH */
    int64_t tai_minus_utc_ns;
};

struct clock_look clock_look(void);
/* Now, in TAI and on CLOCK_MONOTONIC. */
struct instant instant_now(void);

/* The instant of a packet whose stamp says `stamp_ns`: TAI by the network card (`hardware`), else UTC by the kernel; `merged`: it shares it with
 * others. STAMP_BATCH where the stamp cannot be right. */
static inline struct instant arrival_at(const struct clock_look *look, int64_t stamp_ns, bool hardware, bool merged)
{
    struct instant instant = look->now;
    int64_t tai_ns = hardware ? stamp_ns : stamp_ns + look->tai_minus_utc_ns, age_ns = look->now.tai_ns - tai_ns;
    if (age_ns < -STAMP_DISTANCE_NS_MAX || age_ns > STAMP_DISTANCE_NS_MAX)
        return instant;
    instant.tai_ns = tai_ns;
    instant.stamp = merged ? STAMP_MERGED : hardware ? STAMP_HARDWARE : STAMP_KERNEL;
    return instant;
}

#endif
