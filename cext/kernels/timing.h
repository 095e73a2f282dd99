/* How a sender spaces its packets, by the models of ST 2110-21:2022 section 6.6: C, VRX, and what engineers ask for beside them.
 *
 * Called with every packet of one path; the report is taken once a second and begins anew. Reads no clock and allocates nothing: arrivals come with
 * the packets. It measures and does not judge: appliance.protocol.timing does.
 */
#ifndef APPLIANCE_TIMING_H
#define APPLIANCE_TIMING_H

#include <stdbool.h>
#include <stdint.h>

/* Spacings are sorted into buckets of an eighth of an octave, so that a percentile is known to 12 %. */
#define SPACING_BUCKETS 256u
/* A packet count of a picture is believed once two neighbours agree on it. */
#define PICTURE_PACKETS_MAX (1u << 20)
/* The first packet of a picture may be lost: its place is known from the picture before, if that is not further off than so many packets. */
#define FIRST_LOST_MAX 256u
/* Longer silences than this, and longer steps of the sequence, begin a new measurement. */
#define TIMING_GAP_NS 1000000000ll
#define TIMING_STEP_PACKETS 32768

/* What the packet read schedule is made of (sections 6.2 to 6.4). Set before the first packet; `by_epoch` may change at any time. */
struct timing_schedule {
    uint32_t rate_numerator, rate_denominator; /* pictures a second: fields or segments, if the flow has them */
    uint32_t active_numerator, active_denominator; /* RACTIVE of a gapped schedule; 1/1 for a linear one */
    int64_t offset_ns;       /* TROFFSET */
    uint32_t rate_hz, mediaclk_offset; /* of the RTP clock */
    bool by_epoch;           /* the read schedule begins where the epoch says, else with each picture's first packet: without PTP the phase says nothing */
};

struct timing_range { int64_t least, most, sum; };

struct timing_report {
    uint64_t packets, pictures;  /* measured */
    int64_t c_most;              /* CINST, packets; read with the packet that enters */
    struct timing_range vrx;     /* packets; `sum` is not kept */
    struct timing_range first_packet; /* of a picture after the epoch's N x TFRAME, ns */
    struct timing_range latency; /* of the first packet after its RTP time, ns */
    struct timing_range rtp_offset; /* RTP time after N x TFRAME, ticks */
    struct timing_range rtp_delta;  /* from picture to picture, ticks */
    struct timing_range picture_packets;
    struct timing_range spacing; /* within a picture, ns */
    uint64_t spacings;
    uint32_t spacing_counts[SPACING_BUCKETS];
};

struct timing {
    struct timing_schedule schedule;
    struct timing_report report;
    uint32_t picture_packets;   /* N of the schedule; 0: not known yet */
    uint32_t counted_packets;   /* of the last picture whose neighbours are known */
    uint64_t drain_inverse, read_inverse; /* 2^64 / TDRAIN and 2^64 / TRS in ns */
    /* The bucket C: its grid begins with the first packet, for stamps are seldom so good that the epoch's would say more. */
    int64_t drain_origin_ns;
    uint64_t drained;
    int64_t c;
    bool begun, picture_valid;
    int64_t last_ns;
    bool second;
    uint32_t timestamp, first_sequence, highest_sequence;
    int64_t datum_ns; /* TVD of the picture */
};

void timing_begin(struct timing *timing, const struct timing_schedule *schedule);
/* One packet in the order of arrival. `sequence` has 32 bits; those that arrive behind a later one are left out: the order is the network's doing.
 * `second`: of the second field or segment; the segments of a PsF frame share a timestamp, and each is a picture here. */
void timing_packet(struct timing *timing, uint32_t sequence, uint32_t timestamp, bool second, int64_t arrival_tai_ns);
/* Copies what was measured since the last time, and begins anew. */
void timing_take(struct timing *timing, struct timing_report *report);
/* Lower bound of a spacing bucket, ns. */
int64_t timing_bucket_ns(uint32_t bucket);

#endif
