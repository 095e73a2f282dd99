/* Nanoseconds of a clock of the kernel's. */
#ifndef APPLIANCE_CLOCK_H
#define APPLIANCE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

#define TAI_MINUS_UTC_NS 37000000000ull /* since 2017 */

/* TAI nanoseconds since 1970. A kernel that no PTP or NTP daemon told of the leap seconds has CLOCK_TAI at UTC; it may be told at any
 * time, so that this is decided at each reading. */
static inline uint64_t clock_tai_ns(void)
{
    uint64_t utc = clock_ns(CLOCK_REALTIME), tai = clock_ns(CLOCK_TAI);
    return tai > utc + 1000000000ull ? tai : utc + TAI_MINUS_UTC_NS;
}

/* How far TAI is ahead of UTC, in whole seconds as nanoseconds, by the same rule; `utc_ns` was read just before. */
static inline int64_t clock_tai_minus_utc_ns(int64_t utc_ns)
{
    int64_t seconds = ((int64_t)clock_ns(CLOCK_TAI) - utc_ns + 500000000) / 1000000000;
    return seconds > 0 ? seconds * 1000000000 : (int64_t)TAI_MINUS_UTC_NS;
}

#endif
