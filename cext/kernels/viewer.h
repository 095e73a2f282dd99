/* One viewer of a rendition: its RTP header, numbering, SRTP session and socket.
 *
 * Used by the fan-out under the viewer's lock. Its packet index (ROC << 16 | SEQ) runs without a gap over skips; an index that may
 * have left the box belongs to its octets for ever. Does not choose what to send.
 */
#ifndef APPLIANCE_VIEWER_H
#define APPLIANCE_VIEWER_H

#include <pthread.h>
#include <stdint.h>

#include "datagrams.h"
#include "packetise.h"
#include "srtp.h"

#define SEND_BUFFER_BYTES (DATAGRAMS_PER_SEND_MAX * PACKET_BYTES_MAX)
#define RESENDS_PER_SECOND_MAX 256u /* to one viewer: 15 % loss at 16 Mbit/s; bounds what a forged NACK can amplify */
#define RESENDS_PER_PACKET_MAX 3u
#define RESEND_PLACES 256u /* packets whose resends are remembered; a power of two, >= RESENDS_PER_SECOND_MAX */

struct viewer_settings {
    struct destination destination; /* fd is taken over */
    enum srtp_profile profile;
    const uint8_t *key, *salt; /* DTLS's master key and salt */
    uint8_t payload_type;
    uint8_t playout_delay_id; /* 1..14, 0 = not negotiated */
    uint16_t playout_delay_min, playout_delay_max; /* units of 10 ms, 12 bits */
    uint8_t mid_id;                                /* 1..14, 0 = not negotiated */
    uint8_t mid_bytes;
    uint8_t mid[RTP_MID_BYTES_MAX];
};

struct viewer_stats {
    uint64_t packets, octets; /* RTP packets and their payload octets, resends not counted (RFC 3550 6.4.1) */
    uint64_t last_capture_tai_ns;
    uint64_t first_send_monotonic_ns; /* 0 before the first packet left */
    uint64_t skips;   /* access units after which it had to wait for a keyframe */
    uint64_t resends; /* packets sent again */
    uint64_t resends_refused;
    uint64_t send_errors;
    uint32_t last_rtp_timestamp;
    uint16_t first_sequence, last_sequence;
    uint8_t waiting_keyframe;
    uint8_t send_way;
};

struct resend_place {
    uint32_t index; /* low bits */
    uint32_t count;
};

struct viewer {
    pthread_mutex_t lock;
    uint32_t generation; /* odd while in use */
    int rendition;
    struct destination destination;
    struct srtp_session srtp;
    uint32_t header_bytes;
    uint8_t header[RTP_HEADER_BYTES + RTP_EXTENSION_BYTES_MAX];
    uint64_t next_index;      /* of the next packet */
    uint64_t answerable_from; /* indices from here to next_index have been sent with the present offset */
    uint64_t offset;          /* shared index minus own index, modulo 2^64 */
    uint64_t resend_second, resends_in_second;
    struct resend_place resends[RESEND_PLACES];
    struct viewer_stats stats;
};

/* One access unit as the history holds it. */
struct unit {
    const struct packet_ring *history;
    uint64_t first_index;
    uint32_t packets; /* 0: the unit could not be packetised, or the rendition's references are broken before it */
    uint32_t keyframe;
    uint32_t rtp_timestamp;
    uint64_t capture_tai_ns;
};

/* What one unit cost, summed over viewers. */
struct send_tally {
    uint64_t packets, octets, calls, errors, full, fallbacks, skips;
    uint64_t encrypt_ns, send_ns;
};

enum viewer_outcome { VIEWER_SENT, VIEWER_SKIPPED /* wants a keyframe from now on */, VIEWER_WAITING };

/* Opens the viewer; -1 if OpenSSL or the random source refused (nothing left open, the fd not closed). */
int viewer_open(struct viewer *viewer, int rendition, uint32_t ssrc, const struct viewer_settings *settings);
/* Closes the socket and zeroes the keys. */
void viewer_close(struct viewer *viewer);
/* Sends the unit if the viewer is not waiting for a keyframe; `buffer` has SEND_BUFFER_BYTES. Never blocks. */
enum viewer_outcome viewer_send_unit(struct viewer *viewer, const struct unit *unit, uint8_t *buffer, struct send_tally *tally);
/* The shared index that the viewer was last sent under this sequence number; 0 and counted if it may not be sent again. */
int viewer_allows_resend(struct viewer *viewer, uint16_t sequence, uint64_t now_monotonic_ns, uint64_t *shared_index);
/* Sends a packet again: the same octets under the same index, hence the same ciphertext. 1 if it left. */
int viewer_resend(struct viewer *viewer, const struct packet *packet);

#endif
