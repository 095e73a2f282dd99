#include "timing.h"

#include <string.h>

#define SECOND_NS 1000000000ll
/* Source: ST 2110-21:2022 section 7.1: beta is 1.10, so TDRAIN is TFRAME / N / 1.1. */
#define BETA_NUMERATOR 11u
#define BETA_DENOMINATOR 10u

static void range_begin(struct timing_range *range)
{
    *range = (struct timing_range){.least = INT64_MAX, .most = INT64_MIN};
}

static inline void range_add(struct timing_range *range, int64_t value)
{
    if (value < range->least)
        range->least = value;
    if (value > range->most)
        range->most = value;
    range->sum += value;
}

static void report_begin(struct timing_report *report)
{
    memset(report, 0, sizeof *report);
    struct timing_range *ranges[] = {&report->vrx, &report->first_packet, &report->latency, &report->rtp_offset, &report->rtp_delta,
                                     &report->picture_packets, &report->spacing};
    for (unsigned i = 0; i < sizeof ranges / sizeof *ranges; i++)
        range_begin(ranges[i]);
}

void timing_begin(struct timing *timing, const struct timing_schedule *schedule)
{
    memset(timing, 0, sizeof *timing);
    timing->schedule = *schedule;
    report_begin(&timing->report);
}

void timing_take(struct timing *timing, struct timing_report *report)
{
    *report = timing->report;
    report_begin(&timing->report);
}

/* Eight buckets an octave: the exponent, and the three bits below the highest. */
static inline uint32_t bucket_of(uint64_t ns)
{
    if (ns < 8)
        return (uint32_t)ns;
    uint32_t exponent = 63 - (uint32_t)__builtin_clzll(ns);
    uint32_t bucket = (exponent - 2) * 8 + (uint32_t)(ns >> (exponent - 3) & 7);
    return bucket < SPACING_BUCKETS ? bucket : SPACING_BUCKETS - 1;
}

int64_t timing_bucket_ns(uint32_t bucket)
{
    return bucket < 8 ? (int64_t)bucket : (int64_t)(8 + bucket % 8) << (bucket / 8 - 1);
}

/* floor(ns / period) by the period's inverse: one multiplication. Wrong by one at most where ns is a multiple of the period. */
static inline uint64_t periods(int64_t ns, uint64_t inverse)
{
    return (uint64_t)((unsigned __int128)(uint64_t)ns * inverse >> 64);
}

/* 2^64 / (picture time x numerator / denominator / packets), rounded up, so that whole multiples count. */
static uint64_t inverse_of(const struct timing_schedule *schedule, uint32_t packets, uint32_t numerator, uint32_t denominator)
{
    /* Both within 2^20 x 2^32 x 2^11: the quotient below a packet a nanosecond. */
    unsigned __int128 packets_a_second = (unsigned __int128)packets * schedule->rate_numerator * denominator;
    unsigned __int128 divisor = (unsigned __int128)SECOND_NS * schedule->rate_denominator * numerator;
    if (packets_a_second >= divisor)
        return UINT64_MAX;
    /* 2^64 x p / d in two steps, as p x 2^64 does not fit. */
    unsigned __int128 high = (packets_a_second << 32) / divisor, rest = (packets_a_second << 32) % divisor;
    return (uint64_t)((high << 32) + ((rest << 32) + divisor - 1) / divisor);
}

static void set_picture_packets(struct timing *timing, uint32_t packets)
{
    const struct timing_schedule *schedule = &timing->schedule;
    timing->picture_packets = packets;
    timing->drain_inverse = inverse_of(schedule, packets, BETA_DENOMINATOR, BETA_NUMERATOR);
    timing->read_inverse = inverse_of(schedule, packets, schedule->active_numerator, schedule->active_denominator);
    timing->drain_origin_ns = timing->last_ns;
    timing->drained = 0;
    timing->c = 0;
}

/* The number of the picture whose time, `offset_ns` later, is nearest to an instant. */
static int64_t picture_number(const struct timing_schedule *schedule, int64_t instant_ns, int64_t offset_ns)
{
    /* floor((t - offset) / T + 1/2) with T = denominator / numerator seconds. */
    __int128 numerator = (__int128)(instant_ns - offset_ns) * schedule->rate_numerator * 2 + (__int128)SECOND_NS * schedule->rate_denominator;
    __int128 divisor = (__int128)SECOND_NS * schedule->rate_denominator * 2;
    return (int64_t)(numerator >= 0 ? numerator / divisor : -((-numerator + divisor - 1) / divisor));
}

static int64_t picture_ns(const struct timing_schedule *schedule, int64_t number)
{
    return (int64_t)((__int128)number * SECOND_NS * schedule->rate_denominator / schedule->rate_numerator);
}

/* What a picture's first packet tells of its place in time; `shared`: its timestamp is the picture's before it. */
static void note_first(struct timing *timing, uint32_t timestamp, bool shared, int64_t arrival_ns)
{
    const struct timing_schedule *schedule = &timing->schedule;
    struct timing_report *report = &timing->report;
    int64_t number = picture_number(schedule, arrival_ns, schedule->offset_ns), began_ns = picture_ns(schedule, number);
    /* Source: ST 2110-10 section 7.3: floor(TAI x rate), modulo 2^32. */
    uint32_t began_ticks = (uint32_t)((__int128)number * schedule->rate_denominator * schedule->rate_hz / schedule->rate_numerator);
    uint32_t arrival_ticks = (uint32_t)((__int128)arrival_ns * schedule->rate_hz / SECOND_NS), ticks = timestamp - schedule->mediaclk_offset;
    range_add(&report->first_packet, arrival_ns - began_ns);
    if (!shared) {
        range_add(&report->rtp_offset, (int32_t)(ticks - began_ticks));
        range_add(&report->latency, (int64_t)(int32_t)(arrival_ticks - ticks) * SECOND_NS / schedule->rate_hz);
    }
    timing->datum_ns = schedule->by_epoch ? began_ns + schedule->offset_ns : arrival_ns;
    report->pictures++;
}

/* A packet of another picture. */
static void turn(struct timing *timing, uint32_t sequence, uint32_t timestamp, bool second, int64_t arrival_ns)
{
    struct timing_report *report = &timing->report;
    uint32_t first = sequence;
    bool shared = timing->begun && timestamp == timing->timestamp;
    if (timing->picture_packets && timing->picture_valid) {
        uint32_t missed = sequence - (timing->first_sequence + timing->picture_packets);
        first -= missed < FIRST_LOST_MAX ? missed : 0;
    }
    if (timing->picture_valid) {
        uint32_t packets = first - timing->first_sequence;
        if (!shared)
            range_add(&report->rtp_delta, (int32_t)(timestamp - timing->timestamp));
        range_add(&report->picture_packets, packets);
        if (packets == timing->counted_packets && packets != timing->picture_packets && packets <= PICTURE_PACKETS_MAX)
            set_picture_packets(timing, packets);
        timing->counted_packets = packets;
    }
    timing->timestamp = timestamp;
    timing->second = second;
    timing->first_sequence = first;
    /* The first picture may have begun before us. */
    timing->picture_valid = timing->begun;
    if (timing->picture_valid)
        note_first(timing, timestamp, shared, arrival_ns);
}

static void measure_levels(struct timing *timing, uint32_t sequence, int64_t arrival_ns)
{
    struct timing_report *report = &timing->report;
    /* Source: section 6.6.1: one packet leaves at every TDRAIN, if there is one; the level is read with the entering packet in it. */
    uint64_t drained = periods(arrival_ns - timing->drain_origin_ns, timing->drain_inverse);
    int64_t level = timing->c - (int64_t)(drained - timing->drained);
    timing->c = (level > 0 ? level : 0) + 1;
    timing->drained = drained;
    if (timing->c > report->c_most)
        report->c_most = timing->c;
    /* Source: section 6.6.2: packet j leaves at TVD + j x TRS. */
    int64_t since_ns = arrival_ns - timing->datum_ns, read = 0;
    if (since_ns >= 0) {
        uint64_t count = periods(since_ns, timing->read_inverse) + 1;
        read = count < timing->picture_packets ? (int64_t)count : timing->picture_packets;
    }
    range_add(&report->vrx, (int64_t)(uint32_t)(sequence - timing->first_sequence) + 1 - read);
}

void timing_packet(struct timing *timing, uint32_t sequence, uint32_t timestamp, bool second, int64_t arrival_ns)
{
    struct timing_report *report = &timing->report;
    int64_t spacing_ns = arrival_ns - timing->last_ns;
    int32_t ahead = (int32_t)(sequence - timing->highest_sequence);
    if (timing->begun && (spacing_ns > TIMING_GAP_NS || spacing_ns < -TIMING_GAP_NS || ahead > TIMING_STEP_PACKETS || ahead < -TIMING_STEP_PACKETS)) {
        /* Another sender, a silence, or a clock that was set: what was measured until then stays in the report. */
        timing->begun = timing->picture_valid = false;
        timing->picture_packets = timing->counted_packets = 0;
    }
    if (timing->begun && ahead <= 0)
        return;
    /* Stamps of different kinds, or of two queues of a network card, may run backwards a little. */
    if (timing->begun && spacing_ns < 0)
        arrival_ns = timing->last_ns, spacing_ns = 0;
    bool same = timing->begun && timestamp == timing->timestamp && second == timing->second;
    if (!same)
        turn(timing, sequence, timestamp, second, arrival_ns);
    timing->begun = true;
    timing->highest_sequence = sequence;
    timing->last_ns = arrival_ns;
    if (!timing->picture_valid)
        return;
    if (same) {
        range_add(&report->spacing, spacing_ns);
        report->spacings++;
        report->spacing_counts[bucket_of((uint64_t)spacing_ns)]++;
    }
    if (timing->picture_packets) {
        report->packets++;
        measure_levels(timing, sequence, arrival_ns);
    }
}
