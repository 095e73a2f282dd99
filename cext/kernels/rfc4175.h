/* One RTP packet of uncompressed video, read and bounded: RFC 3550 header, RFC 4175 payload header, ST 2110-20 limits.
 *
 * Pure: no state, no allocation, nothing written but the result. appliance/protocol/rfc4175.py is the readable twin.
 */
#ifndef APPLIANCE_RFC4175_H
#define APPLIANCE_RFC4175_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtp.h"

/* Sample row data segments read from one packet. ST 2110-20 6.1.4 allows three, RFC 4175 any number, and senders of narrow rasters use it:
 * this many rows of 64 pixels fit a packet of 1460 octets. */
#define RFC4175_SEGMENTS_MAX 16

/* Why a packet is not used; the order is that of malformed_reasons. */
enum malformed {
    MALFORMED_NOT = RTP_SOUND,
    MALFORMED_TRUNCATED = RTP_TRUNCATED,
    MALFORMED_VERSION = RTP_VERSION_WRONG,
    MALFORMED_PAYLOAD_TYPE = RTP_PAYLOAD_TYPE,
    MALFORMED_EXTENSION = RTP_EXTENSION,
    MALFORMED_PADDING = RTP_PADDING,
    MALFORMED_SRD_LENGTH,
    MALFORMED_SRD_FIELD,
    MALFORMED_SRD_ROW,
    MALFORMED_SRD_OFFSET,
    MALFORMED_SRD_CONTINUATION,
    MALFORMED_LENGTH_MISMATCH,
    /* The three below are for the assembly: the packet is sound but does not belong to the sender that is followed. */
    MALFORMED_SSRC,
    MALFORMED_SEQUENCE,
    MALFORMED_TIMESTAMP,
    MALFORMED_REASONS,
};
/* Names of the reasons, as the metric's label shows them. */
extern const char *const malformed_reasons[MALFORMED_REASONS];

/* How rows come. INTERLACED: each field is a raw frame of its own. SEGMENTED (PsF): the two segments are woven to one. */
enum scan { SCAN_PROGRESSIVE, SCAN_INTERLACED, SCAN_SEGMENTED };

/* A raw frame as pgroups: row after row without padding, so that a pgroup's number gives its place in the slot. */
struct raster {
    uint32_t width, height;      /* pixels, rows of the frame */
    uint32_t pgroup_bytes, pgroup_columns, pgroup_rows; /* octets; pixels of a row; rows: two of 4:2:0 */
    enum scan scan;
    uint32_t row_pgroups;
    uint32_t rows;               /* of pgroups in a raw frame; interlaced: of the first field */
    uint32_t pgroups;            /* of a raw frame; interlaced: of the first field */
    uint32_t second_pgroups;     /* of the second field, which has a row less where the height is odd; else as `pgroups` */
    uint32_t wire_rows[2];       /* row numbers are below this in packets of the frame, or of the first and the second field or segment */
};

struct rfc4175_segment {
    uint16_t row, offset, length; /* offset in pixels, length in octets */
    bool field, continuation;
    uint32_t first_pgroup, pgroups;
};

struct rfc4175_packet {
    uint32_t sequence; /* extended: the payload's 16 high bits before the RTP header's 16 */
    uint32_t timestamp, ssrc;
    bool marker, second_field; /* its segments are of the second field, or PsF segment */
    uint8_t segment_count;
    struct rfc4175_segment segments[RFC4175_SEGMENTS_MAX];
    const uint8_t *samples; /* of all segments, one after the other */
    uint32_t sample_bytes;
};

/* False if the raster cannot be: no pixels, a width or height that is not whole pgroups, one row by fields, fields of 4:2:0, or more octets
 * than a ring slot may have. */
bool raster_set(struct raster *raster, uint32_t width, uint32_t height, uint32_t pgroup_bytes, uint32_t pgroup_columns, uint32_t pgroup_rows,
                enum scan scan);

/* Reads a packet. MALFORMED_NOT: every segment lies inside the raster and inside the packet. */
enum malformed rfc4175_read(const uint8_t *packet, size_t length, uint8_t payload_type, const struct raster *raster,
                            struct rfc4175_packet *result);

#endif
