#include "survey.h"

#define EXTENDED_SEQUENCE_BYTES 2u
#define SRD_HEADER_BYTES 6u

void survey_begin(struct survey *survey) { *survey = (struct survey){.wanted = true}; }

static void note_time(struct survey *survey, uint32_t timestamp)
{
    int32_t step = (int32_t)(timestamp - survey->last.timestamp);
    if (survey->timestamps && step <= 0)
        return; /* of the same picture, or reordered */
    survey->span += survey->timestamps ? (uint32_t)step : 0;
    survey->timestamps++;
    survey->fields = 0;
    survey->last.timestamp = timestamp;
}

static void note_segment(struct survey *survey, uint32_t sequence, const uint8_t *header)
{
    uint32_t length = read_u16(header), row = read_u16(header + 2), offset = read_u16(header + 4) & 0x7fff;
    uint32_t field = row >> 15, number = row & 0x7fff;
    bool follows = survey->last.known && sequence - survey->last.sequence <= 1;
    if (follows && row == survey->last.row && offset > survey->last.offset && survey->last.length) {
        survey->step_pixels = offset - survey->last.offset;
        survey->step_octets = survey->last.length;
    }
    if (number + 1 > survey->rows_end[field])
        survey->rows_end[field] = number + 1;
    survey->odd_rows |= number & 1;
    if (offset > survey->far_offset || (offset == survey->far_offset && length > survey->far_length)) {
        survey->far_offset = offset;
        survey->far_length = length;
    }
    uint32_t fields = survey->fields | 1u << field;
    survey->shared += fields == 3 && survey->fields != 3;
    survey->fields = fields;
    survey->last.known = true;
    survey->last.sequence = sequence, survey->last.row = row, survey->last.offset = offset, survey->last.length = length;
}

void survey_note(struct survey *survey, const uint8_t *packet, size_t length, uint8_t payload_type)
{
    size_t at, end;
    if (rtp_payload(packet, length, payload_type, &at, &end) != RTP_SOUND || end - at < EXTENDED_SEQUENCE_BYTES)
        return;
    at += EXTENDED_SEQUENCE_BYTES;
    survey->packets++;
    note_time(survey, read_u32(packet + 4));
    for (uint32_t count = 0; count < RFC4175_SEGMENTS_MAX && end - at >= SRD_HEADER_BYTES; count++, at += SRD_HEADER_BYTES) {
        note_segment(survey, read_u16(packet + 2), packet + at);
        if (!(packet[at + 4] & 0x80))
            break;
    }
}
