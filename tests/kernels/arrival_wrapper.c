/* arrival_at for ctypes: built by test_arrival.py. */
#include "arrival.h"

void wrapped_arrival_at(int64_t now_tai_ns, int64_t tai_minus_utc_ns, int64_t stamp_ns, int hardware, int merged, int64_t *tai_ns, int *stamp)
{
    struct clock_look look = {.now = {.tai_ns = now_tai_ns, .monotonic_ns = 5, .stamp = STAMP_BATCH}, .tai_minus_utc_ns = tai_minus_utc_ns};
    struct instant instant = arrival_at(&look, stamp_ns, hardware, merged);
    *tai_ns = instant.tai_ns;
    *stamp = (int)instant.stamp;
}
