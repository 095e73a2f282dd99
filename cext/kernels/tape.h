/* The last moments of one sound flow, two sides, by the sender's RTP time: packets are written where their timestamp says, and read in order.
 *
 * Follows a sender that restarts, counts what is lost, late or malformed, and puts silence with soft edges where nothing came. Allocates only
 * in tape_new, makes no system call, knows no socket.
 */
#ifndef APPLIANCE_TAPE_H
#define APPLIANCE_TAPE_H

#include "pcm.h"
#include "resample.h"
#include "sequence.h"

#define TAPE_TICKS 32768u   /* 341 ms at 96 kHz; a power of two */
#define TAPE_HISTORY 128u   /* ticks behind the last final one that a resampler may still read */
/* A hole is given up when packets from so much later have come, or so long after its packet was due. */
#define TAPE_REORDER_NS 5000000ll
/* Nothing for so long: the sound has ended, and what comes next begins anew. */
#define TAPE_OUTAGE_NS 100000000ll
/* Another SSRC, sequence or time is followed once it has sent so many packets in order and the old has been silent so long. */
#define TAPE_PROOF_PACKETS 8u
/* A packet this many numbers behind the newest is counted as lost. */
#define TAPE_LOST_PACKETS 64u
/* Numbers and times further from the newest are somewhere else. */
#define TAPE_SEQUENCE_STEP_MAX 4096
#define TAPE_STEPS_A_SECOND 4 /* a quarter of a second */

/* When a packet came. */
struct tape_instant {
    int64_t tai_ns;       /* for the time line */
    int64_t monotonic_ns; /* for intervals: TAI may be stepped */
};

struct tape_statistics {
    uint64_t packets; /* accepted: sound and new */
    uint64_t octets;
    uint64_t duplicate;
    uint64_t reordered;
    uint64_t late;      /* their time had been read already */
    uint64_t early;     /* no room so far ahead: the reader does not keep up */
    uint64_t malformed[PCM_REFUSALS];
    uint64_t restarts;  /* another sender, or a jump, followed */
    uint64_t outages;   /* it came back after a silence */
    uint64_t packet_time_wrong; /* packets of another duration than the SDP says; used all the same */
    uint64_t ticks_missing;     /* silence in their place */
    uint64_t clipped;           /* samples above full scale after mixing */
};

enum tape_due { TAPE_NOT_YET, TAPE_WHOLE, TAPE_HOLES, TAPE_ENDED };

struct tape {
    struct pcm_format format;
    uint32_t rate_hz, packet_ticks;
    /* The sender that is followed. */
    bool locked, fits;
    bool fresh;           /* no packet but the one that it was followed by */
    uint32_t ssrc, newest_timestamp, newest_ticks;
    int64_t newest;       /* tick of the packet with the highest number */
    int64_t accepted_monotonic_ns;
    struct { uint32_t ssrc, count; uint16_t next; } candidate;
    struct sequence_window window;
    /* What is written. Ticks are the sender's, unwrapped. */
    uint64_t epoch;       /* grows each time that the sound begins anew */
    int64_t epoch_first, epoch_end; /* ticks of its first packet */
    struct tape_instant epoch_came;
    int64_t settled;      /* all before it is final */
    int64_t newest_end;
    int64_t written_monotonic_ns;
    int64_t lag_ns;       /* the least since it was taken: how much later than its samples' time a packet came, against the epoch's first */
    bool lag_known;
    /* The edge of a hole. */
    float gain, tail[PCM_SIDES];
    float peak;           /* since it was taken */
    struct tape_statistics statistics;
    struct resampler resampler;
    uint64_t written[TAPE_TICKS / 64];
    float samples[TAPE_TICKS][PCM_SIDES];
};

/* NULL without memory. `output_hz` is the rate that is read. */
struct tape *tape_new(const struct pcm_format *format, uint32_t rate_hz, uint32_t packet_ticks, uint32_t output_hz);
void tape_free(struct tape *tape);
/* One UDP payload. Keeps no pointer into it. */
void tape_packet(struct tape *tape, const uint8_t *packet, size_t length, const struct tape_instant *came);
/* Lets the next packet begin an epoch. */
void tape_begin_anew(struct tape *tape);
/* Whether the ticks before `end` can be read: whole, with holes that will not be filled any more, or never, because the sound has ended. */
enum tape_due tape_due(const struct tape *tape, int64_t end, int64_t now_monotonic_ns);
/* When the ticks before `end` should have come, if the sender goes on as it did. */
int64_t tape_expected_ns(const struct tape *tape, int64_t end);
/* The tick behind the last one that reading `count` samples from this position takes. */
int64_t tape_needed(const struct tape *tape, int64_t first, uint32_t fraction, uint64_t step, uint32_t count);
/* Reads `count` samples (see resample()); what is not there is silence from now on. Returns how many ticks became silence. */
uint32_t tape_take(struct tape *tape, int64_t first, uint32_t fraction, uint64_t step, uint32_t count, float (*target)[PCM_SIDES]);

#endif
