/* The RTP header (RFC 3550 section 5.1) that video and sound have in common: what is sound about it, and where the payload lies.
 *
 * Pure, and short enough to be part of whoever reads a packet: rfc4175, survey, pcm. What the payload says is theirs.
 */
#ifndef APPLIANCE_RTP_H
#define APPLIANCE_RTP_H

#include <stddef.h>
#include <stdint.h>

#define RTP_HEADER_BYTES 12u
#define RTP_VERSION 2u

/* Why a packet is not used. Each payload's own reasons begin with these. */
enum rtp_refusal { RTP_SOUND = 0, RTP_TRUNCATED, RTP_VERSION_WRONG, RTP_PAYLOAD_TYPE, RTP_EXTENSION, RTP_PADDING, RTP_REFUSALS };

static inline uint32_t read_u16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }
static inline uint32_t read_u32(const uint8_t *at) { return read_u16(at) << 16 | read_u16(at + 2); }

/* Strips contributing sources, the header extension and padding: `*start`..`*end` become the payload's bounds, inside the packet. */
static inline enum rtp_refusal rtp_payload(const uint8_t *packet, size_t length, uint8_t payload_type, size_t *start, size_t *end)
{
    if (length < RTP_HEADER_BYTES)
        return RTP_TRUNCATED;
    if (packet[0] >> 6 != RTP_VERSION)
        return RTP_VERSION_WRONG;
    if ((packet[1] & 0x7f) != payload_type)
        return RTP_PAYLOAD_TYPE;
    *start = RTP_HEADER_BYTES + 4u * (packet[0] & 0x0f);
    *end = length;
    if (*start > length)
        return RTP_TRUNCATED;
    if (packet[0] & 0x10) {
        if (*start + 4 > length)
            return RTP_EXTENSION;
        *start += 4 + 4u * read_u16(packet + *start + 2);
        if (*start > length)
            return RTP_EXTENSION;
    }
    if (packet[0] & 0x20) {
        /* Source: RFC 3550 5.1, the last octet counts the padding octets, itself included. */
        size_t padding = packet[length - 1];
        if (padding == 0 || padding > length - *start)
            return RTP_PADDING;
        *end = length - padding;
    }
    return RTP_SOUND;
}

#endif
