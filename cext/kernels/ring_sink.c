#include "ring_sink.h"

#include "clock.h"

static uint8_t *claim(void *context, int *slot)
{
    struct ring_sink *sink = context;
    *slot = ring_claim(sink->ring);
    return *slot < 0 ? NULL : ring_payload(sink->ring, (uint32_t)*slot);
}

static void publish(void *context, int slot, struct slot_header *header)
{
    struct ring_sink *sink = context;
    int64_t now = (int64_t)clock_tai_ns();
    header->publish_tai_ns = (uint64_t)now;
    header->flags |= sink->flags;
    sink->ring->slots[slot].header = *header;
    ring_publish(sink->ring, slot);
    ring_ring_doorbells(sink->doorbells, sink->doorbell_count);
    if (sink->latency_count < LATENCIES_MAX)
        sink->latencies_ns[sink->latency_count++] = now - (int64_t)header->capture_tai_ns;
}

static void abandon(void *context, int slot)
{
    struct ring_sink *sink = context;
    ring_abandon(sink->ring, slot);
}

struct frame_sink ring_sink_frames(struct ring_sink *sink)
{
    /* The ring's policy LATEST never claims the newest slot, so the newest payload stays as assembly.h asks. */
    return (struct frame_sink){.context = sink, .claim = claim, .publish = publish, .abandon = abandon};
}

void ring_sink_resume(const struct ring_sink *sink, struct assembly *assembly)
{
    uint64_t latest = atomic_load_explicit(&sink->ring->latest, memory_order_acquire);
    if (latest == 0)
        return;
    uint32_t slot = (uint32_t)(latest & 0xff);
    const struct slot_header *header = &sink->ring->slots[slot].header;
    struct instant now = instant_now();
    assembly->number = header->number;
    assembly->discontinuity = true;
    /* The rows of a frame with holes are of unknown age. */
    if (!(header->flags & FLAG_INCOMPLETE))
        assembly_adopt(assembly, ring_payload(sink->ring, slot), now.monotonic_ns - (now.tai_ns - (int64_t)header->first_packet_tai_ns));
}
