/* One viewer: its RTP header, numbering, SRTP session and socket, and the rendition that it is sent.
 *
 * Used by the fan-out under the viewer's lock. An index that may have left the box belongs to its octets for ever. Does not choose
 * what to send.
 */
#ifndef APPLIANCE_VIEWER_H
#define APPLIANCE_VIEWER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "datagrams.h"
#include "numbering.h"
#include "packetise.h"
#include "srtp.h"

#define SEND_BUFFER_BYTES (DATAGRAMS_PER_SEND_MAX * PACKET_BYTES_MAX)
#define CACHE_LINE_BYTES 64u
#define NO_RENDITION (-1)
/* A keyframe that is older by more belongs to another time line (the source began anew) and is not waited for: 10 s. */
#define OLDER_TICKS_MAX 900000

struct viewer_settings {
    struct destination destination; /* fd is taken over */
    uint64_t bits_per_s; /* of the rendition, if the socket is the viewer's own; 0 otherwise */
    enum srtp_profile profile;
    const uint8_t *key, *salt; /* DTLS's master key and salt */
    uint32_t timestamp_shift; /* added to every RTP timestamp that leaves: the viewer's audience has a clock of its own */
    uint8_t payload_type;
    uint8_t playout_delay_id; /* 1..14, 0 = not negotiated; so with the other extensions */
    uint16_t playout_delay_min, playout_delay_max; /* units of 10 ms, 12 bits */
    uint8_t abs_send_time_id;
    uint8_t mid_id;
    uint8_t mid_bytes;
    uint8_t mid[RTP_MID_BYTES_MAX];
};

struct viewer_stats {
    uint64_t packets, octets; /* RTP packets and their payload octets, resends not counted (RFC 3550 6.4.1) */
    uint64_t last_capture_tai_ns;
    uint64_t first_send_monotonic_ns; /* 0 before the first packet left */
    uint64_t skips;   /* times that it had to wait for a keyframe */
    uint64_t resends; /* packets sent again */
    uint64_t resends_refused;
    uint64_t send_errors;
    uint32_t last_rtp_timestamp; /* lifted, not shifted: on the source's clock */
    uint16_t first_sequence, last_sequence;
    int16_t rendition; /* that is sent now */
    uint8_t waiting_keyframe;
    uint8_t send_way;
};

/* What each access unit touches stands in front, what only resends need at the end (in the numbering). */
struct viewer {
    pthread_mutex_t lock;
    uint32_t generation; /* odd while in use */
    int16_t rendition;
    int16_t target;        /* the rendition to send from its next keyframe on, or NO_RENDITION */
    uint8_t held;          /* nothing is sent until the target's keyframe */
    uint8_t header_bytes;
    uint8_t send_time_at;  /* where in the header the send time stands, 0 = nowhere */
    uint32_t timestamp_shift;
    uint32_t lift, next_lift; /* ticks that the RTP timestamp of the present and of the next access unit is raised by */
    struct srtp_session srtp;
    uint8_t header[RTP_HEADER_BYTES + RTP_EXTENSION_BYTES_MAX];
    struct viewer_stats stats;
    struct destination destination;
    struct numbering numbering;
};

/* One access unit as the history holds it. */
struct unit {
    const struct history *history;
    uint64_t first_index;
    uint32_t packets; /* 0: the unit could not be packetised, or the rendition's references are broken before it */
    uint32_t keyframe;
    uint32_t rtp_timestamp;
    uint64_t capture_tai_ns;
};

/* Packets `first` .. `end - 1` of a unit: what every viewer gets before anybody gets more. */
struct pass {
    const struct unit *unit;
    uint32_t first, end;
};

/* What a pass cost, summed over viewers. */
struct send_tally {
    uint64_t packets, octets, calls, errors, full, fallbacks, skips;
    uint64_t encrypt_ns, send_ns;
    uint64_t now_ns; /* CLOCK_MONOTONIC, at the end of the last send */
};

enum viewer_outcome {
    VIEWER_SENT,
    VIEWER_SKIPPED, /* wants a keyframe from now on */
    VIEWER_WAITING,
    VIEWER_HELD, /* until another rendition's keyframe */
    VIEWER_OUTCOMES,
};

/* Opens the viewer; -1 if OpenSSL or the random source refused (nothing left open, the fd not closed). */
int viewer_open(struct viewer *viewer, int rendition, uint32_t ssrc, const struct viewer_settings *settings);
/* Closes the socket and zeroes the keys. */
void viewer_close(struct viewer *viewer);
/* Lets what a send reads of the viewer come into the cache while another one's is under way: else it waits for thirty lines, one by one. */
static inline void viewer_prefetch(const struct viewer *viewer)
{
    for (size_t at = 0; at <= offsetof(struct viewer, numbering); at += CACHE_LINE_BYTES)
        __builtin_prefetch((const uint8_t *)viewer + at);
}
/* Sends a pass of its rendition if the viewer is not waiting for a keyframe; `buffer` has SEND_BUFFER_BYTES. Never blocks. */
enum viewer_outcome viewer_send(struct viewer *viewer, struct pass pass, uint8_t *buffer, struct send_tally *tally);
/* The viewer waits for a keyframe from now on: of its target if it is held, else of its rendition. */
void viewer_skip(struct viewer *viewer);
/* Whether RTP timestamps would still rise with this one: 1 as it is or lifted by a tick; 0 if the viewer has seen newer pictures. */
int viewer_can_move_to(const struct viewer *viewer, uint32_t rtp_timestamp);
/* The viewer is sent its target from this keyframe on. */
void viewer_move(struct viewer *viewer, const struct unit *keyframe);
/* Sends a packet again as the span says: the same octets under the same index, hence the same ciphertext. 1 if it left. */
int viewer_resend(struct viewer *viewer, const struct packet *packet, uint64_t index, const struct span *span);

#endif
