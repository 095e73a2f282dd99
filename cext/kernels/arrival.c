#include "arrival.h"

#include "clock.h"

const char *const stamp_kinds[STAMPS] = {
    [STAMP_HARDWARE] = "hardware",
    [STAMP_KERNEL] = "kernel",
    [STAMP_MERGED] = "merged",
    [STAMP_BATCH] = "batch",
};

struct clock_look clock_look(void)
{
    int64_t utc = (int64_t)clock_ns(CLOCK_REALTIME), offset = clock_tai_minus_utc_ns(utc);
    struct instant now = {.tai_ns = utc + offset, .monotonic_ns = (int64_t)clock_ns(CLOCK_MONOTONIC), .stamp = STAMP_BATCH};
    return (struct clock_look){.now = now, .tai_minus_utc_ns = offset};
}

struct instant instant_now(void)
{
    return clock_look().now;
}
