/* The fan-out's loop: each access unit is packetised once, then encrypted and sent to each viewer of its rendition.
 *
 * One thread runs fanout_run(); any other thread adds, removes and answers NACKs meanwhile: it takes one viewer's lock at a time, which
 * the loop holds for one pass. A viewer whose socket is full waits for the next keyframe; nobody waits for a viewer.
 */
#ifndef APPLIANCE_FANOUT_H
#define APPLIANCE_FANOUT_H

#include "rendition.h"

#define FANOUT_RENDITIONS_MAX 208u /* 16 streams of twelve renditions, and their sound */
#define FANOUT_VIEWERS_MAX 32768u /* a viewer that hears has two places */
#define NACKS_PER_CALL_MAX 1024u

struct fanout;

/* errno-like answers, negative. */
enum fanout_refusal { FANOUT_UNKNOWN = -1, FANOUT_FULL = -2, FANOUT_REFUSED = -3, FANOUT_NO_RENDITION = -4, FANOUT_DIFFERENT = -5 };

/* NULL without memory or descriptors. */
struct fanout *fanout_create(uint32_t renditions_max, uint32_t viewers_max, const struct bounds *latency, const struct bounds *skew);
void fanout_destroy(struct fanout *fanout); /* not while fanout_run() runs */
int fanout_keyframe_fd(const struct fanout *fanout);

/* Renditions come, get another ring and go while fanout_run() runs: it makes each change itself between two rounds, and the caller
 * waits for that. From one thread at a time.
 *
 * The rendition's number or a refusal. `ring` stays mapped, and the doorbell open, until the rendition has another or is removed. */
int fanout_add_rendition(struct fanout *fanout, struct ring *ring, uint32_t reader, int doorbell, enum codec codec, uint32_t ssrc);
/* Serves this ring from now on, or none (NULL, doorbell -1): its units were made of another raster. Viewers, numbering and history
 * stay; viewers wait for the new ring's first keyframe. 0 or FANOUT_UNKNOWN. */
int fanout_set_ring(struct fanout *fanout, int rendition, struct ring *ring, uint32_t reader, int doorbell);
/* Frees the place. 0, FANOUT_UNKNOWN, or FANOUT_REFUSED while it has viewers. */
int fanout_remove_rendition(struct fanout *fanout, int rendition);
struct rendition *fanout_rendition(struct fanout *fanout, int rendition); /* NULL if there is none */
uint64_t fanout_take_keyframes_wanted(struct fanout *fanout, struct rendition *rendition);

/* The viewer's id (> 0) or a refusal; the destination's fd belongs to the fan-out only on success. */
int64_t fanout_add_viewer(struct fanout *fanout, int rendition, const struct viewer_settings *settings);
int fanout_remove_viewer(struct fanout *fanout, int64_t id);
/* Sends to another socket and address from now on (ICE chose another pair): same keys, same numbering. */
int fanout_redirect_viewer(struct fanout *fanout, int64_t id, const struct destination *destination);
/* Sends this rendition (same codec and SSRC) from its next keyframe on, which it wants; `pause`: nothing until then. Another move
 * replaces it, one to the present rendition cancels it. RTP timestamps rise: a keyframe as old as what the viewer has seen is lifted by
 * a tick, an older one holds the viewer until the next. 0, FANOUT_UNKNOWN, FANOUT_NO_RENDITION or FANOUT_DIFFERENT. */
int fanout_move_viewer(struct fanout *fanout, int64_t id, int rendition, int pause);
/* Sends nothing until the next keyframe, which it wants. */
int fanout_skip_viewer(struct fanout *fanout, int64_t id);
int fanout_viewer_stats(struct fanout *fanout, int64_t id, struct viewer_stats *stats);
/* Sends these packets again; how many, or FANOUT_UNKNOWN. */
int fanout_nack(struct fanout *fanout, int64_t id, const uint16_t *sequences, uint32_t sequence_count);

/* Serves until fanout_stop(): 0, or -errno. */
int fanout_run(struct fanout *fanout);
void fanout_stop(struct fanout *fanout);

#endif
