/* One RTP packet of PCM sound, read and bounded (RFC 3550, RFC 3190, ST 2110-30), and its channels mixed down to two.
 *
 * Pure: no state, no allocation, nothing written but the result. appliance/protocol/pcm.py is the readable twin.
 */
#ifndef APPLIANCE_PCM_H
#define APPLIANCE_PCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtp.h"

#define PCM_CHANNELS_MAX 64u /* ST 2110-30 level C */
#define PCM_TICKS_MAX 2048u  /* in one packet: 20 ms at 96 kHz, more than AES67's 4 ms */
#define PCM_SIDES 2u         /* left and right */

/* Why a packet is not used; the order is that of pcm_refusals. */
enum pcm_refusal {
    PCM_SOUND = RTP_SOUND,
    PCM_TRUNCATED = RTP_TRUNCATED,
    PCM_VERSION = RTP_VERSION_WRONG,
    PCM_PAYLOAD_TYPE = RTP_PAYLOAD_TYPE,
    PCM_EXTENSION = RTP_EXTENSION,
    PCM_PADDING = RTP_PADDING,
    PCM_LENGTH, /* no whole number of samples of every channel, none at all, or too many */
    /* The four below are for the tape: the packet is well-formed, but something else than what is followed or described. */
    PCM_SSRC,
    PCM_SEQUENCE,
    PCM_TIMESTAMP,
    PCM_SAMPLES, /* it has another number of samples than its successor's timestamp says: another depth or channel count */
    PCM_REFUSALS,
};
/* Names of the reasons, as the metric's label shows them. */
extern const char *const pcm_refusals[PCM_REFUSALS];

struct pcm_format {
    uint8_t payload_type;
    uint8_t sample_bytes; /* 2 or 3: L16, L24 */
    uint16_t channels;    /* 1 .. PCM_CHANNELS_MAX */
    float gains[PCM_CHANNELS_MAX][PCM_SIDES]; /* how much of each channel goes left and right */
};

struct pcm_packet {
    uint16_t sequence;
    uint32_t timestamp, ssrc;
    uint32_t ticks; /* samples of each channel, 1 .. PCM_TICKS_MAX */
    const uint8_t *samples;
};

/* Reads a packet. PCM_SOUND: `samples` has ticks * channels * sample_bytes octets inside the packet. */
enum pcm_refusal pcm_read(const uint8_t *packet, size_t length, const struct pcm_format *format, struct pcm_packet *result);
/* Mixes ticks `first` .. `first + count - 1` of a packet's samples down to `sides` (1 is full scale). */
void pcm_mix(const struct pcm_packet *packet, const struct pcm_format *format, uint32_t first, uint32_t count, float (*sides)[PCM_SIDES]);

#endif
