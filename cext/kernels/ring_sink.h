/* A frame sink whose slots are a ring's: what joins the assembly of an ingest stage to its raw ring. */
#ifndef APPLIANCE_RING_SINK_H
#define APPLIANCE_RING_SINK_H

#include "assembly.h"
#include "ring.h"

/* Latencies kept until Python fetches them; at 20 ms a visit more than this never wait. */
#define LATENCIES_MAX 64u

struct ring_sink {
    struct ring *ring;
    const int *doorbells; /* one a reader; must outlive the sink */
    int doorbell_count;
    uint32_t flags;            /* added to every frame's */
    uint32_t latency_count;
    int64_t latencies_ns[LATENCIES_MAX]; /* from capture to publish, of the frames since the last visit */
};

/* The functions and context for assembly_new. */
struct frame_sink ring_sink_frames(struct ring_sink *sink);
/* Goes on where a writer before us ended: its frame number, and its newest frame for holes if that is whole and young enough. */
void ring_sink_resume(const struct ring_sink *sink, struct assembly *assembly);

#endif
