#include "pcm.h"

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

enum pcm_refusal pcm_read(const uint8_t *packet, size_t length, const struct pcm_format *format, struct pcm_packet *result)
{
    size_t start, end, tick_bytes = (size_t)format->channels * format->sample_bytes;
    enum pcm_refusal refusal = (enum pcm_refusal)rtp_payload(packet, length, format->payload_type, &start, &end);
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
