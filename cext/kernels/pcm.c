#include "pcm.h"

#define RTP_HEADER_BYTES 12u
#define RTP_VERSION 2u

const char *const pcm_refusals[PCM_REFUSALS] = {
    [PCM_SOUND] = "",
    [PCM_TRUNCATED] = "truncated",
    [PCM_VERSION] = "version",
    [PCM_PAYLOAD_TYPE] = "payload_type",
    [PCM_EXTENSION] = "extension",
    [PCM_PADDING] = "padding",
    [PCM_LENGTH] = "length",
    [PCM_SSRC] = "ssrc",
    [PCM_SEQUENCE] = "sequence",
    [PCM_TIMESTAMP] = "timestamp",
    [PCM_SAMPLES] = "samples",
};

static inline uint32_t read_u16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }
static inline uint32_t read_u32(const uint8_t *at) { return read_u16(at) << 16 | read_u16(at + 2); }

/* Strips contributing sources, the header extension and padding: `*start`..`*end` become the payload's bounds. */
static enum pcm_refusal read_rtp(const uint8_t *packet, size_t length, uint8_t payload_type, size_t *start, size_t *end)
{
    if (length < RTP_HEADER_BYTES)
        return PCM_TRUNCATED;
    if (packet[0] >> 6 != RTP_VERSION)
        return PCM_VERSION;
    if ((packet[1] & 0x7f) != payload_type)
        return PCM_PAYLOAD_TYPE;
    *start = RTP_HEADER_BYTES + 4u * (packet[0] & 0x0f);
    *end = length;
    if (*start > length)
        return PCM_TRUNCATED;
    if (packet[0] & 0x10) {
        if (*start + 4 > length)
            return PCM_EXTENSION;
        *start += 4 + 4u * read_u16(packet + *start + 2);
        if (*start > length)
            return PCM_EXTENSION;
    }
    if (packet[0] & 0x20) {
        /* Source: RFC 3550 5.1, the last octet counts the padding octets, itself included. */
        size_t padding = packet[length - 1];
        if (padding == 0 || padding > length - *start)
            return PCM_PADDING;
        *end = length - padding;
    }
    return PCM_SOUND;
}

enum pcm_refusal pcm_read(const uint8_t *packet, size_t length, const struct pcm_format *format, struct pcm_packet *result)
{
    size_t start, end, tick_bytes = (size_t)format->channels * format->sample_bytes;
    enum pcm_refusal refusal = read_rtp(packet, length, format->payload_type, &start, &end);
    if (refusal != PCM_SOUND)
        return refusal;
    size_t ticks = (end - start) / tick_bytes;
    if (ticks == 0 || ticks > PCM_TICKS_MAX || ticks * tick_bytes != end - start)
        return PCM_LENGTH;
    *result = (struct pcm_packet){.sequence = (uint16_t)read_u16(packet + 2), .timestamp = read_u32(packet + 4), .ssrc = read_u32(packet + 8),
                                  .ticks = (uint32_t)ticks, .samples = packet + start};
    return PCM_SOUND;
}

void pcm_mix(const struct pcm_packet *packet, const struct pcm_format *format, uint32_t first, uint32_t count, float (*sides)[PCM_SIDES])
{
    /* Safety: first + count <= packet->ticks, and pcm_read proved that the packet holds so many samples of every channel. */
    const uint8_t *at = packet->samples + (size_t)first * format->channels * format->sample_bytes;
    const float scale = format->sample_bytes == 2 ? 1.0f / 32768 : 1.0f / 8388608;
    for (uint32_t tick = 0; tick < count; tick++) {
        float left = 0, right = 0;
        for (uint32_t channel = 0; channel < format->channels; channel++, at += format->sample_bytes) {
            int32_t sample = (int32_t)(read_u16(at) << 16 | (format->sample_bytes == 3 ? (uint32_t)at[2] << 8 : 0));
            float value = (float)(sample >> (format->sample_bytes == 2 ? 16 : 8)) * scale;
            left += format->gains[channel][0] * value;
            right += format->gains[channel][1] * value;
        }
        sides[tick][0] = left;
        sides[tick][1] = right;
    }
}
