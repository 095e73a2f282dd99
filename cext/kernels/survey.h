/* What a flow's packets say of its raster, read without believing any SDP: extremes of their segment headers over a while.
 *
 * Called by the assembly while `wanted`, which is only while what arrives does not fit, for every packet but a stranger's: it costs nothing else.
 * What the numbers mean, appliance/protocol/raster_guess.py says.
 */
#ifndef APPLIANCE_SURVEY_H
#define APPLIANCE_SURVEY_H

#include "rfc4175.h"

struct survey {
    bool wanted;
    uint32_t packets;
    uint32_t timestamps;      /* that came, and the RTP time from the first to the newest */
    uint32_t span;
    uint32_t shared;          /* timestamps under which both fields came */
    uint32_t rows_end[2];     /* one more than the greatest row number, of first and second field */
    bool odd_rows;            /* some row number was odd */
    uint32_t step_pixels, step_octets; /* of two segments of a row, one after the other: how many pixels so many octets are */
    uint32_t far_offset, far_length;   /* of the segment that begins furthest to the right: pixels, octets */
    struct { bool known; uint32_t sequence, timestamp, row, offset, length; } last; /* segment; row with the F bit */
    uint32_t fields;          /* that came under the newest timestamp, a bit each */
};

/* Forgets all and wants packets. */
void survey_begin(struct survey *survey);
/* Takes a packet into account; one that is no RTP packet of this payload type is left out. */
void survey_note(struct survey *survey, const uint8_t *packet, size_t length, uint8_t payload_type);

#endif
