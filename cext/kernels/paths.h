/* The paths by which one flow comes (ST 2022-7): what each brought and lacked, how far they are apart, and up to where both have come.
 *
 * The assembly notes each sound packet with its path; numbers are the flow's. A flow with one path has one here. Knows neither frames nor samples.
 */
#ifndef APPLIANCE_PATHS_H
#define APPLIANCE_PATHS_H

#include "arrival.h"
#include "rfc4175.h"
#include "sequence.h"

#define PATHS_MAX 2u
/* A path that brought nothing for so long, or one and a half frame intervals, while the other did, is not waited for. */
#define PATH_SILENCE_NS 100000000ll
/* What is this much longer ago than paths may be apart is accounted for: lost on a path, or recovered by the other. */
#define PATH_SETTLE_NS 10000000ll
/* How far paths are apart is measured at one number of so many: a hundred times a second at 1280x720p50. */
#define SKEW_PACKETS 1024u
#define SKEW_STAMPS (SEQUENCE_WINDOW / SKEW_PACKETS)
/* Measurements kept until Python fetches them; at 20 ms a visit not more than this wait. */
#define SKEWS_MAX 64u

struct path_statistics {
    uint64_t packets;    /* sound, of the followed sender, each number once */
    uint64_t first;      /* of them, written to their frame: the other path had not brought them before */
    uint64_t duplicate;  /* had come by this path before */
    uint64_t reordered;  /* in time, behind a later one of this path */
    uint64_t late;       /* their frame had been closed without them */
    uint64_t lost;       /* never came by this path */
    uint64_t recovered;  /* of the lost ones: came by the other */
    uint64_t malformed[MALFORMED_REASONS];
};

/* Packets in order from somebody else than the followed sender, or from elsewhere in sequence or time. */
struct candidate {
    uint32_t ssrc, count;
    uint16_t next;
};

struct path {
    uint8_t payload_type;
    bool begun;               /* it has brought something of the followed sender */
    uint32_t newest;          /* its newest number */
    int64_t last_tai_ns;      /* arrival of its last packet */
    struct candidate candidate;
    struct path_statistics statistics;
    struct { uint32_t number; int64_t tai_ns; } stamps[SKEW_STAMPS]; /* arrival of every SKEW_PACKETS-th number; 0: none */
    struct arrivals arrived;
};

struct paths {
    uint32_t count;
    uint32_t ssrc_difference; /* bits in which the SSRCs of the two may differ: RFC 7104 lets legs have their own */
    int64_t skew_ns;    /* how far they may be apart */
    int64_t silence_ns;
    bool together;      /* both brought something lately */
    uint32_t settled;   /* numbers before it are accounted for */
    struct { uint32_t sequence; int64_t monotonic_ns; } checkpoint; /* up to there next, PATH_SETTLE_NS and the skew later */
    uint32_t skew_count;
    int64_t skews_ns[SKEWS_MAX]; /* how much later the second path brought a number */
    struct path each[PATHS_MAX];
};

/* Forgets the sender; `first` is the first number that is expected of the next. */
void paths_begin(struct paths *paths, uint32_t first);
/* Notes a packet of a path. True if that path had brought it before. `flow` are the numbers that came by any path, before this packet. */
bool paths_note(struct paths *paths, struct path *path, uint32_t sequence, const struct instant *now, const struct arrivals *flow);
/* The newest number that every path which is waited for has come to, at a packet of `path`; sets `together`. */
uint32_t paths_edge(struct paths *paths, const struct path *path, const struct instant *now);
/* Accounts for everything up to and with `last`. */
void paths_settle(struct paths *paths, const struct arrivals *flow, uint32_t last);
/* Accounts for what is long enough ago. */
void paths_tick(struct paths *paths, const struct arrivals *flow, int64_t now_monotonic_ns);

#endif
