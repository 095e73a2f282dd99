# distutils: sources = cext/kernels/rfc4175.c
# cython: embedsignature=True
"""One RTP packet of uncompressed video read by the data plane's own routine (kernels/rfc4175.c).

For tests and tools, which hold it equal to its readable twin appliance/protocol/rfc4175.py; the stage never passes here.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "rfc4175.h" nogil:
    ctypedef bint c_bool "bool"
    enum: MALFORMED_NOT, MALFORMED_REASONS, RFC4175_SEGMENTS_MAX
    enum scan: SCAN_PROGRESSIVE, SCAN_INTERLACED, SCAN_SEGMENTED
    struct raster:
        pass
    struct rfc4175_segment:
        uint16_t row, offset, length
        c_bool field, continuation
        uint32_t first_pgroup, pgroups
    struct rfc4175_packet:
        uint32_t sequence, timestamp, ssrc
        c_bool marker
        uint8_t segment_count
        rfc4175_segment segments[16]
        const uint8_t *samples
        uint32_t sample_bytes
    const char *malformed_reasons[]
    c_bool raster_set(raster *r, uint32_t width, uint32_t height, uint32_t pgroup_bytes, uint32_t pgroup_columns, uint32_t pgroup_rows, scan s)
    int rfc4175_read(const uint8_t *packet, size_t length, uint8_t payload_type, const raster *r, rfc4175_packet *result)


SCANS = {"p": SCAN_PROGRESSIVE, "i": SCAN_INTERLACED, "PsF": SCAN_SEGMENTED}
REASONS = tuple(malformed_reasons[i].decode() for i in range(1, MALFORMED_REASONS))


def read(const uint8_t[::1] packet not None, uint8_t payload_type, uint32_t width, uint32_t height, uint32_t pgroup_bytes, uint32_t pgroup_columns=2,
         uint32_t pgroup_rows=1, str scan="p"):
    """A packet as (sequence, timestamp, ssrc, marker, [(row, field, offset, length, continuation, first_pgroup), ...], samples), or its reason as str.

    `first_pgroup` is the segment's place in the raw frame; `scan` as VideoFormat.scan. ValueError if the raster is impossible.
    """
    cdef raster geometry
    cdef rfc4175_packet result
    cdef const uint8_t *start = &packet[0] if packet.shape[0] else NULL
    if not raster_set(&geometry, width, height, pgroup_bytes, pgroup_columns, pgroup_rows, SCANS[scan]):
        raise ValueError(f"no raster: {width} x {height} {scan} in pgroups of {pgroup_bytes} octets for {pgroup_columns} x {pgroup_rows} pixels")
    cdef int reason = rfc4175_read(start, packet.shape[0], payload_type, &geometry, &result)
    if reason != MALFORMED_NOT:
        return malformed_reasons[reason].decode()
    segments = [(s.row, bool(s.field), s.offset, s.length, bool(s.continuation), s.first_pgroup) for s in result.segments[:result.segment_count]]
    return result.sequence, result.timestamp, result.ssrc, bool(result.marker), segments, result.samples[:result.sample_bytes]
