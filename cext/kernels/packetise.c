#include "packetise.h"

#include <string.h>

#define FU_A 28u
#define FU_HEADER_BYTES 2u
#define STAP_A 24u
#define STAP_LENGTH_BYTES 2u
#define VP8_DESCRIPTOR_BYTES 1u

struct nal {
    const uint8_t *octets;
    size_t bytes;
};

struct output {
    const struct history *history;
    uint64_t first_index;
    uint32_t count;
    uint32_t rtp_timestamp;
    size_t payload_bytes_max;
};

/* The next packet's place, or NULL if the unit has too many. Safety: a unit has at most UNIT_PACKETS_MAX packets and the history at
 * least as many places, so a unit never overwrites its own beginning. */
static struct packet *next_packet(struct output *output, size_t payload_bytes)
{
    if (output->count == UNIT_PACKETS_MAX)
        return NULL;
    uint64_t index = output->first_index + output->count++;
    struct packet *packet = packet_at(output->history, index);
    packet->index = index;
    packet->rtp_timestamp = output->rtp_timestamp;
    packet->payload_bytes = (uint16_t)payload_bytes;
    packet->marker = 0;
    packet->written = 1;
    return packet;
}

/* The first octet of a start code 00 00 01 at or after `from`, or `end`. */
static const uint8_t *find_start_code(const uint8_t *from, const uint8_t *end)
{
    /* Safety: p[2] is looked at only while p + 2 < end. */
    for (const uint8_t *p = from; end - p > 2;) {
        if (p[2] > 1)
            p += 3; /* neither 00 nor 01: no start code can cover this octet */
        else if (p[2] == 1 && p[0] == 0 && p[1] == 0)
            return p;
        else
            p++;
    }
    return end;
}

/* Equal parts of at most `part_bytes_max`; only the last may be shorter. */
static size_t equal_part(size_t bytes, size_t part_bytes_max)
{
    size_t parts = (bytes + part_bytes_max - 1) / part_bytes_max;
    return (bytes + parts - 1) / parts;
}

/* RFC 6184 5.8. */
static int write_fragments(struct output *output, struct nal nal)
{
    const uint8_t *source = nal.octets + 1; /* the NAL unit's own header travels in the indicator and the FU header */
    size_t left = nal.bytes - 1;
    size_t part = equal_part(left, output->payload_bytes_max - FU_HEADER_BYTES);
    uint8_t start = 0x80;
    while (left) {
        size_t bytes = left < part ? left : part;
        struct packet *packet = next_packet(output, FU_HEADER_BYTES + bytes);
        if (!packet)
            return PACKETISE_TOO_LARGE;
        packet->payload[0] = (nal.octets[0] & 0xe0) | FU_A;
        packet->payload[1] = start | (bytes == left ? 0x40 : 0) | (nal.octets[0] & 0x1f);
        /* Safety: bytes <= part <= payload_bytes_max - FU_HEADER_BYTES. */
        memcpy(packet->payload + FU_HEADER_BYTES, source, bytes);
        source += bytes;
        left -= bytes;
        start = 0;
    }
    return 0;
}

/* RFC 6184 5.6 and 5.7.1: one NAL unit as it is, several in a STAP-A. The caller made sure that they fit. */
static int write_aggregate(struct output *output, const struct nal *nals, size_t count, size_t aggregate_bytes)
{
    if (count == 0)
        return 0;
    struct packet *packet = next_packet(output, count == 1 ? nals[0].bytes : aggregate_bytes);
    if (!packet)
        return PACKETISE_TOO_LARGE;
    if (count == 1) {
        memcpy(packet->payload, nals[0].octets, nals[0].bytes);
        return 0;
    }
    uint8_t forbidden = 0, importance = 0;
    uint8_t *target = packet->payload + 1;
    for (size_t i = 0; i < count; i++) {
        forbidden |= nals[i].octets[0] & 0x80;
        if ((nals[i].octets[0] & 0x60) > importance)
            importance = nals[i].octets[0] & 0x60;
        target[0] = (uint8_t)(nals[i].bytes >> 8);
        target[1] = (uint8_t)nals[i].bytes;
        memcpy(target + STAP_LENGTH_BYTES, nals[i].octets, nals[i].bytes);
        target += STAP_LENGTH_BYTES + nals[i].bytes;
    }
    packet->payload[0] = forbidden | importance | STAP_A;
    return 0;
}

/* The NAL unit at `*at` (behind its start code); moves `*at` behind the next start code, or to `end`. */
static struct nal take_nal(const uint8_t **at, const uint8_t *end)
{
    struct nal nal = {.octets = *at};
    const uint8_t *next = find_start_code(*at, end);
    *at = end - next > 3 ? next + 3 : end;
    /* H.264 7.4.1: a NAL unit never ends in 00; such octets are trailing zeros or the long start code's first. */
    while (next > nal.octets && next[-1] == 0)
        next--;
    nal.bytes = (size_t)(next - nal.octets);
    return nal;
}

static int packetise_h264(struct output *output, const uint8_t *unit, size_t unit_bytes)
{
    const uint8_t *end = unit + unit_bytes, *at = find_start_code(unit, end);
    for (const uint8_t *zero = unit; zero < at; zero++)
        if (*zero)
            return at == end ? PACKETISE_EMPTY : PACKETISE_MALFORMED;
    at = end - at > 3 ? at + 3 : end;
    /* Small NAL units wait here for company; pending is a window on this unit only. */
    struct nal pending[UNIT_NALS_MAX];
    size_t pending_count = 0, pending_bytes = 1, nals = 0;
    int refusal = 0;
    while (at < end && !refusal) {
        struct nal nal = take_nal(&at, end);
        if (nal.bytes == 0)
            continue;
        uint8_t type = nal.octets[0] & 0x1f;
        if (type == 0 || type >= STAP_A)
            return PACKETISE_MALFORMED;
        if (++nals > UNIT_NALS_MAX)
            return PACKETISE_TOO_LARGE;
        if (pending_bytes + STAP_LENGTH_BYTES + nal.bytes > output->payload_bytes_max) {
            refusal = write_aggregate(output, pending, pending_count, pending_bytes);
            pending_count = 0;
            pending_bytes = 1;
        }
        if (refusal)
            break;
        if (nal.bytes > output->payload_bytes_max) {
            refusal = write_fragments(output, nal);
            continue;
        }
        pending[pending_count++] = nal;
        pending_bytes += STAP_LENGTH_BYTES + nal.bytes;
    }
    return refusal ? refusal : write_aggregate(output, pending, pending_count, pending_bytes);
}

/* RFC 7741 4.2: the whole frame is one partition; the descriptor is the required octet, with S on the first packet. A picture id
 * would have to be rewritten for each viewer that moves between renditions; sequence number and marker delimit the frame as well. */
static int packetise_vp8(struct output *output, const uint8_t *frame, size_t left)
{
    size_t part = left ? equal_part(left, output->payload_bytes_max - VP8_DESCRIPTOR_BYTES) : 0;
    uint8_t start = 0x10;
    while (left) {
        size_t bytes = left < part ? left : part;
        struct packet *packet = next_packet(output, VP8_DESCRIPTOR_BYTES + bytes);
        if (!packet)
            return PACKETISE_TOO_LARGE;
        packet->payload[0] = start;
        memcpy(packet->payload + VP8_DESCRIPTOR_BYTES, frame, bytes);
        frame += bytes;
        left -= bytes;
        start = 0;
    }
    return 0;
}

static int packetise_opus(struct output *output, const uint8_t *frame, size_t bytes)
{
    if (bytes > output->payload_bytes_max)
        return PACKETISE_TOO_LARGE;
    if (bytes)
        memcpy(next_packet(output, bytes)->payload, frame, bytes);
    return 0;
}

int packetise(const struct packetiser *packetiser, const uint8_t *unit, size_t unit_bytes, uint32_t rtp_timestamp,
              const struct history *history, uint64_t first_index)
{
    struct output output = {.history = history, .first_index = first_index, .rtp_timestamp = rtp_timestamp,
                            .payload_bytes_max = packetiser->payload_bytes_max};
    int refusal = packetiser->codec == CODEC_OPUS  ? packetise_opus(&output, unit, unit_bytes)
                  : packetiser->codec == CODEC_VP8 ? packetise_vp8(&output, unit, unit_bytes)
                                                   : packetise_h264(&output, unit, unit_bytes);
    if (refusal)
        return refusal;
    if (output.count == 0)
        return PACKETISE_EMPTY;
    packet_at(history, first_index + output.count - 1)->marker = packetiser->codec != CODEC_OPUS;
    return (int)output.count;
}
