"""C declarations of the timing kernel, for timing.pyx and reception.pyx."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "timing.h" nogil:
    ctypedef bint timing_bool "bool"
    enum: SPACING_BUCKETS
    struct timing_schedule:
        uint32_t rate_numerator, rate_denominator, active_numerator, active_denominator
        int64_t offset_ns
        uint32_t rate_hz, mediaclk_offset
        timing_bool by_epoch
    struct timing_range:
        int64_t least, most, sum
    struct timing_report:
        uint64_t packets, pictures, spacings
        int64_t c_most
        timing_range vrx, first_packet, latency, rtp_offset, rtp_delta, picture_packets, spacing
        uint32_t spacing_counts[256]
    struct timing:
        timing_schedule schedule
        uint32_t picture_packets
    void timing_begin(timing *t, const timing_schedule *schedule)
    void timing_packet(timing *t, uint32_t sequence, uint32_t timestamp, timing_bool second, int64_t arrival_tai_ns)
    void timing_take(timing *t, timing_report *report)
    int64_t timing_bucket_ns(uint32_t bucket)


cdef inline object _range(const timing_range *r):
    """(least, most), or None where nothing was measured."""
    return (r.least, r.most) if r.least <= r.most else None


cdef inline object timing_dict(timing *t):
    """What was measured since the last call, by name; ranges are (least, most) or None, spacing percentiles are upper bounds of their buckets."""
    cdef timing_report report
    timing_take(t, &report)
    cdef uint64_t below = 0, wanted = (report.spacings * 99 + 99) // 100
    cdef uint32_t bucket = 0
    spacing = None
    if report.spacings:
        while bucket < SPACING_BUCKETS - 1 and below + report.spacing_counts[bucket] < wanted:
            below += report.spacing_counts[bucket]
            bucket += 1
        spacing = (report.spacing.least, report.spacing.sum // <int64_t>report.spacings,
                   min(timing_bucket_ns(bucket + 1), report.spacing.most), report.spacing.most)
    return {"packets": report.packets, "pictures": report.pictures, "picture_packets": t.picture_packets, "c_most": report.c_most,
            "vrx": _range(&report.vrx), "first_packet_ns": _range(&report.first_packet), "latency_ns": _range(&report.latency),
            "rtp_offset_ticks": _range(&report.rtp_offset), "rtp_delta_ticks": _range(&report.rtp_delta),
            "counted_packets": _range(&report.picture_packets), "spacing_ns": spacing}


cdef inline timing_schedule timing_schedule_of(object schedule):
    """From any object with the attributes of appliance.protocol.timing.Schedule."""
    cdef timing_schedule made
    made.rate_numerator, made.rate_denominator = schedule.rate.numerator, schedule.rate.denominator
    made.active_numerator, made.active_denominator = schedule.active.numerator, schedule.active.denominator
    made.offset_ns, made.rate_hz, made.mediaclk_offset = schedule.offset_ns, schedule.rate_hz, schedule.mediaclk_offset
    made.by_epoch = schedule.by_epoch
    return made
