/* RTP payloads of one access unit: H.264 (RFC 6184, packetization mode 1), VP8 (RFC 7741), and of one frame of Opus (RFC 7587).
 *
 * Called once per access unit by the fan-out, whatever the number of viewers. All fragments of a NAL unit or frame but the last have
 * one size, so that a unit leaves in one UDP_SEGMENT send. Does not make RTP headers: those differ from viewer to viewer.
 *
 * A keyframe's parameter sets are a short packet in front, which takes a send of its own: RTP padding (RFC 3550 5.1, at most 255
 * octets) cannot fill it up, and sent last in the batch it would look lost. Measured: 2.8 us CPU a viewer and keyframe, where the
 * keyframe's other packets take 50 us and a second of video 420 us (2026-11-22).
 */
#ifndef APPLIANCE_PACKETISE_H
#define APPLIANCE_PACKETISE_H

#include <stddef.h>
#include <stdint.h>

#define RTP_HEADER_BYTES 12u
#define RTP_MID_BYTES_MAX 16u /* RFC 8285 4.2: a one-byte element carries 1 to 16 octets */
/* 0xBEDE and length, abs-send-time (1 + 3), playout-delay (1 + 3), mid (1 + 16), padded to a multiple of four. */
#define RTP_EXTENSION_BYTES_MAX 32u
#define SRTP_TAG_BYTES_MAX 16u
/* An SRTP packet without the UDP header. 1200 passes IPv6's minimum MTU of 1280 with a tunnel's header to spare. */
#define PACKET_BYTES_MAX 1200u
#define PAYLOAD_BYTES_MAX (PACKET_BYTES_MAX - RTP_HEADER_BYTES - RTP_EXTENSION_BYTES_MAX - SRTP_TAG_BYTES_MAX)
#define PAYLOAD_BYTES_MIN 16u        /* of the limit that a caller may ask for */
#define UNIT_PACKETS_MAX 1024u       /* 1.1 MB: four times the largest keyframe that a 20 Mbit/s VBV of half a second allows */
#define UNIT_NALS_MAX 1024u          /* a unit with more is malformed */

enum codec { CODEC_H264 = 1, CODEC_VP8 = 2, CODEC_OPUS = 3 };

/* One packet as all viewers of a rendition share it: everything but header, encryption and tag. */
struct packet {
    uint64_t index; /* shared packet index, from 0 */
    uint32_t rtp_timestamp;
    uint16_t payload_bytes;
    uint8_t marker;
    uint8_t written; /* 0 until the slot was used for the first time */
    uint8_t payload[PAYLOAD_BYTES_MAX];
};

/* Packets by index, newest `mask + 1` of them. */
struct history {
    struct packet *packets;
    uint64_t mask; /* a power of two minus one, >= UNIT_PACKETS_MAX - 1 */
};

static inline struct packet *packet_at(const struct history *history, uint64_t index)
{
    return &history->packets[index & history->mask];
}

struct packetiser {
    enum codec codec;
    size_t payload_bytes_max; /* PAYLOAD_BYTES_MIN .. PAYLOAD_BYTES_MAX */
};

enum packetise_refusal {
    PACKETISE_EMPTY = -1,     /* no NAL unit, no octet */
    PACKETISE_MALFORMED = -2, /* octets before the first start code, or a NAL unit type that is not a NAL unit's */
    PACKETISE_TOO_LARGE = -3, /* more than UNIT_PACKETS_MAX packets or UNIT_NALS_MAX NAL units */
};

/* Writes the packets of one access unit to places first_index, first_index + 1, ...; the last one has the marker, but not of Opus, where it
 * would mean that a silence has ended (RFC 7587 4.1).
 * Returns their number, or a packetise_refusal (places may have been overwritten, nothing counts as sent). */
int packetise(const struct packetiser *packetiser, const uint8_t *unit, size_t unit_bytes, uint32_t rtp_timestamp,
              const struct history *history, uint64_t first_index);

#endif
