#include "rfc4175.h"

#define EXTENDED_SEQUENCE_BYTES 2u
#define SRD_HEADER_BYTES 6u
#define FRAME_BYTES_MAX (1ull << 30)

const char *const malformed_reasons[MALFORMED_REASONS] = {
    [MALFORMED_NOT] = "",
    [MALFORMED_TRUNCATED] = "truncated",
    [MALFORMED_VERSION] = "version",
    [MALFORMED_PAYLOAD_TYPE] = "payload_type",
    [MALFORMED_EXTENSION] = "extension",
    [MALFORMED_PADDING] = "padding",
    [MALFORMED_SRD_LENGTH] = "srd_length",
    [MALFORMED_SRD_FIELD] = "srd_field",
    [MALFORMED_SRD_ROW] = "srd_row",
    [MALFORMED_SRD_OFFSET] = "srd_offset",
    [MALFORMED_SRD_CONTINUATION] = "srd_continuation",
    [MALFORMED_LENGTH_MISMATCH] = "length_mismatch",
    [MALFORMED_SSRC] = "ssrc",
    [MALFORMED_SEQUENCE] = "sequence",
    [MALFORMED_TIMESTAMP] = "timestamp",
};

bool raster_set(struct raster *raster, uint32_t width, uint32_t height, uint32_t pgroup_bytes, uint32_t pgroup_columns, uint32_t pgroup_rows,
                enum scan scan)
{
    /* Source: ST 2110-20 7.2, width and height 1..32767 (15 bits in the SRD header). */
    if (width == 0 || width > 32767 || height == 0 || height > 32767)
        return false;
    if (pgroup_bytes == 0 || pgroup_bytes > 16 || pgroup_columns == 0 || pgroup_rows == 0 || width % pgroup_columns || height % pgroup_rows)
        return false;
    /* Source: ST 2110-20 6.2.5, 4:2:0 is progressive only. */
    if (scan != SCAN_PROGRESSIVE && (pgroup_rows != 1 || height < 2))
        return false;
    uint32_t row_pgroups = width / pgroup_columns, second_rows = height / 2, first_rows = height - second_rows;
    uint32_t rows = scan == SCAN_INTERLACED ? first_rows : height / pgroup_rows;
    if ((uint64_t)row_pgroups * rows * pgroup_bytes > FRAME_BYTES_MAX)
        return false;
    *raster = (struct raster){.width = width, .height = height, .pgroup_bytes = pgroup_bytes, .pgroup_columns = pgroup_columns,
                              .pgroup_rows = pgroup_rows, .scan = scan, .row_pgroups = row_pgroups, .rows = rows, .pgroups = row_pgroups * rows,
                              .second_pgroups = row_pgroups * (scan == SCAN_INTERLACED ? second_rows : rows),
                              .wire_rows = {scan == SCAN_PROGRESSIVE ? height : first_rows, scan == SCAN_PROGRESSIVE ? 0 : second_rows}};
    return true;
}

static enum malformed read_segment(const uint8_t *header, const struct raster *raster, struct rfc4175_segment *segment)
{
    segment->length = (uint16_t)read_u16(header);
    segment->field = header[2] >> 7;
    segment->row = (uint16_t)(read_u16(header + 2) & 0x7fff);
    segment->continuation = header[4] >> 7;
    segment->offset = (uint16_t)(read_u16(header + 4) & 0x7fff);
    segment->pgroups = segment->length / raster->pgroup_bytes;
    if (segment->pgroups * raster->pgroup_bytes != segment->length)
        return MALFORMED_SRD_LENGTH;
    if (segment->field && raster->scan == SCAN_PROGRESSIVE)
        return MALFORMED_SRD_FIELD; /* it has one field */
    /* A pgroup of 4:2:0 covers two rows and has the number of the upper one. */
    uint32_t row = segment->row / raster->pgroup_rows;
    if (segment->row >= raster->wire_rows[segment->field] || row * raster->pgroup_rows != segment->row)
        return MALFORMED_SRD_ROW;
    uint32_t first = segment->offset / raster->pgroup_columns;
    if (first * raster->pgroup_columns != segment->offset || first + segment->pgroups > raster->row_pgroups)
        return MALFORMED_SRD_OFFSET;
    if (raster->scan == SCAN_SEGMENTED)
        row = 2 * row + segment->field;
    segment->first_pgroup = row * raster->row_pgroups + first;
    return MALFORMED_NOT;
}

enum malformed rfc4175_read(const uint8_t *packet, size_t length, uint8_t payload_type, const struct raster *raster,
                            struct rfc4175_packet *result)
{
    size_t at, end;
    enum malformed reason = (enum malformed)rtp_payload(packet, length, payload_type, &at, &end);
    if (reason != MALFORMED_NOT)
        return reason;
    if (end - at < EXTENDED_SEQUENCE_BYTES)
        return MALFORMED_TRUNCATED;
    result->marker = packet[1] >> 7;
    result->sequence = read_u16(packet + at) << 16 | read_u16(packet + 2);
    result->timestamp = read_u32(packet + 4);
    result->ssrc = read_u32(packet + 8);
    at += EXTENDED_SEQUENCE_BYTES;

    uint32_t count = 0, sample_bytes = 0;
    bool more = true;
    while (more) {
        if (count == RFC4175_SEGMENTS_MAX)
            return MALFORMED_SRD_CONTINUATION;
        if (end - at < SRD_HEADER_BYTES)
            return MALFORMED_TRUNCATED;
        struct rfc4175_segment *segment = &result->segments[count++];
        reason = read_segment(packet + at, raster, segment);
        if (reason != MALFORMED_NOT)
            return reason;
        /* Source: RFC 4175 4.3, a packet's samples are of one field. */
        if (segment->field != result->segments[0].field)
            return MALFORMED_SRD_FIELD;
        at += SRD_HEADER_BYTES;
        sample_bytes += segment->length;
        more = segment->continuation;
        /* Source: ST 2110-20 6.1.4, a length of zero only where it is the only segment. */
        if (segment->length == 0 && (more || count > 1))
            return MALFORMED_SRD_LENGTH;
    }
    if (sample_bytes != end - at)
        return MALFORMED_LENGTH_MISMATCH;
    result->segment_count = (uint8_t)count;
    result->second_field = result->segments[0].field;
    result->samples = packet + at;
    result->sample_bytes = sample_bytes;
    return MALFORMED_NOT;
}
