/* Frames from packets of one path or two: sequence accounting, a few open frames, coverage, concealment, following a sender that restarts.
 *
 * Called by a reception (socket today) with one packet at a time; writes into slots that a frame sink hands out. Allocates only in
 * assembly_new, makes no system call, knows no socket and no ring.
 */
#ifndef APPLIANCE_ASSEMBLY_H
#define APPLIANCE_ASSEMBLY_H

#include "arrival.h"
#include "paths.h"
#include "rfc4175.h"
#include "ring.h"
#include "sequence.h"
#include "survey.h"
#include "timing.h"

/* Two, so that packets reordered across a frame boundary find their frame. */
#define FRAMES_OPEN_MIN 2u
/* With two paths there are those of the skew besides: one path may be so far ahead of the other. 50 ms at 240 frames a second are 12. */
#define FRAMES_OPEN_MAX 16u
/* Samples of one redundant packet in so many are compared with those that the other path brought. */
#define COMPARED_PACKETS 16u
/* An open frame to which nothing came for this long, while a newer one did get packets, is closed: the reorder window of flows with few
 * packets a frame, where REORDER_PACKETS_MAX is long. */
#define REORDER_NS_MAX 5000000ll
/* A frame that gets no end is closed this long after its first packet, or one and a half frame intervals where those are longer: senders spread
 * a frame over its interval. A newer frame closes it sooner. */
#define FRAME_OPEN_NS 100000000ll
/* Another SSRC, sequence or time is followed once it has sent so many packets in order and the old has been silent so long, or has not brought a
 * whole frame by then, which may have been a stray packet that came first. */
#define PROOF_PACKETS 8u
#define PROOF_SILENCE_NS 100000000ll
/* While the followed sender was heard less long ago, a packet of another SSRC that does not fit the raster is that sender's fault and says nothing of
 * this one's. Short enough for another sender that took its place, of another raster, to be found out within a second. */
#define HEARD_NS 400000000ll
/* A frame's time that was apart from our clock's course for so long is its sender's new course. */
#define STEADY_NS_MAX 10000000000ll
/* A step of the RTP time beyond this, or back by a quarter of it, is a jump and not the next frame. */
#define TIMESTAMP_STEP_S_MAX 1u
/* More packets than one each so many nanoseconds cannot have been lost in a silence: 2160p60 is half of that. */
#define PACKET_NS_MIN 500ll
/* The RTP time is taken for capture time only this near the arrival: further away the sender's clock is not PTP. Narrower where our own clock is not. */
#define CAPTURE_DISTANCE_NS_MAX 2000000000ll
/* Older samples than this never fill a hole: the scene, or the patient, may be another. */
#define LAST_FRAME_NS_MAX 1000000000ll
/* A frame of which less than one part in so many arrived is dropped: publishing it would only repeat the last one. */
#define SPARSE_DIVISOR 16u

/* Flags of a slot header: appliance.frame.Flag. */
#define FLAG_INCOMPLETE 2u
#define FLAG_DISCONTINUITY 8u
#define FLAG_SECOND_FIELD 32u

/* Where frames go. `context` belongs to the sink; claim returns the payload or NULL when nothing is free. The sink leaves the newest
 * published payload as it is until the next publish: holes are filled from it. */
struct frame_sink {
    void *context;
    uint8_t *(*claim)(void *context, int *slot);
    void (*publish)(void *context, int slot, struct slot_header *header);
    void (*abandon)(void *context, int slot);
};

struct assembly_statistics {
    uint64_t packets;      /* accepted: sound, new and in time; by path in struct path_statistics, as is what is amiss with one */
    uint64_t octets;       /* of accepted packets, RTP header included */
    uint64_t redundant;    /* the other path had brought them before */
    uint64_t differing;    /* of those of them that were compared: with other samples than the other path's */
    uint64_t surplus;      /* what a sender adds to a frame that is whole, or had sent before it was followed: of no use, and no fault */
    uint64_t frames;       /* published */
    uint64_t incomplete;   /* published with holes */
    uint64_t second_fields; /* published */
    uint64_t no_slot;      /* dropped: the sink had no slot */
    uint64_t sparse;       /* dropped: next to nothing of them arrived */
    uint64_t rows_missing; /* of published frames */
    uint64_t restarts;     /* another sender, or a jump, followed */
    uint64_t outages;      /* the same sender went on after a gap, its own or ours */
    uint64_t markers_early; /* packets of a frame came after its marker */
    uint64_t high_half_wrong; /* senders whose extended sequence number does not count */
    uint64_t arrival_timed; /* frames whose RTP time was not near the arrival: the capture time is the arrival */
};

struct open_frame {
    uint8_t *payload; /* NULL: the sink had no slot, and the frame is only counted */
    int slot;
    uint32_t timestamp, first_sequence, last_sequence, marker_sequence;
    bool marker, second_field;
    uint32_t packets;
    uint32_t pgroups; /* that it has: the second field of an odd height has a row less */
    uint32_t covered; /* pgroups that arrived */
    struct instant first;
    int64_t last_monotonic_ns; /* arrival of its last packet so far */
    uint64_t *coverage; /* a bit a pgroup */
};

/* The sender that is followed. */
struct sender {
    bool locked, high_half_broken, marker_trusted;
    bool whole; /* it has brought a whole frame */
    uint32_t ssrc, newest_timestamp;
    int64_t locked_monotonic_ns, accepted_monotonic_ns;
    struct { uint32_t timestamp; int64_t monotonic_ns; } steady; /* the newest frame whose time had gone on as our clock did */
};

struct assembly {
    struct raster raster;
    struct frame_sink sink;
    uint32_t rate_hz, mediaclk_offset;
    int64_t frame_interval_ns; /* from one raw frame to the next; 0: short */
    int64_t capture_early_ns_max, capture_late_ns_max; /* how long after, and before, the arrival an RTP time may lie to be believed */
    int64_t transit_ns; /* from the last frame's RTP time to its arrival, believed or not */
    struct timing timing[PATHS_MAX]; /* of every sound packet of the followed sender, by path */
    uint8_t neutral[16]; /* a grey pgroup */

    struct sender sender;
    struct open_frame open[FRAMES_OPEN_MAX]; /* in the order of their sequence numbers */
    uint32_t open_count, open_max;
    struct { uint32_t timestamp, last_sequence; bool valid, complete, by_marker, second_field; } closed; /* the last one */

    const uint8_t *last_payload; /* newest published frame, for holes */
    int64_t *whole_monotonic_ns; /* by row of the slot: when a published frame's own packets last covered it all; no sample of last_payload is older */
    bool discontinuity; /* the next frame does not continue the last */
    uint64_t number;
    struct assembly_statistics statistics;
    struct survey survey; /* of all packets, while it is wanted */
    struct sequence_window window;
    struct paths paths;
};

/* NULL without memory. `neutral` has pgroup_bytes octets. The other settings may be changed before the first packet. */
struct assembly *assembly_new(const struct raster *raster, const struct frame_sink *sink, uint8_t payload_type, const uint8_t *neutral);
/* Abandons what is open. */
void assembly_free(struct assembly *assembly);
/* Before the first packet: a whole frame that arrived then, which stays as it is until the next publish, fills holes. */
void assembly_adopt(struct assembly *assembly, const uint8_t *payload, int64_t monotonic_ns);
/* Before the first packet, after the frame interval was set: the flow comes by a second path, too, at most `skew_ns` before or after the first.
 * Then `frames_open` frames may wait for it. False without memory. */
bool assembly_protect(struct assembly *assembly, uint8_t payload_type, uint32_t ssrc_difference, int64_t skew_ns, uint32_t frames_open);
/* One UDP payload that came by this path. Keeps no pointer into it. */
void assembly_packet(struct assembly *assembly, uint32_t path, const uint8_t *packet, size_t length, const struct instant *now);
/* Closes frames that waited too long; call at least every few milliseconds. */
void assembly_tick(struct assembly *assembly, int64_t now_monotonic_ns);

#endif
