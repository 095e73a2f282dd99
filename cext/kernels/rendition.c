#include "rendition.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define TICK_NS_BY_9 100000ull /* a tick of 90 kHz is 11111 1/9 ns */

_Static_assert(HISTORY_PACKETS >= 2 * UNIT_PACKETS_MAX, "a NACK for the last access unit must be answerable while the next is written");

int rendition_open(struct rendition *rendition, struct ring *ring, uint32_t reader, int doorbell, enum codec codec, uint32_t ssrc)
{
    memset(rendition, 0, sizeof *rendition);
    uint64_t packets = codec == CODEC_OPUS ? HISTORY_PACKETS_SOUND : HISTORY_PACKETS;
    rendition->history.packets = calloc(packets, sizeof(struct packet));
    if (!rendition->history.packets)
        return -1;
    rendition->history.mask = packets - 1;
    pthread_mutex_init(&rendition->history_lock, NULL);
    rendition->ring = ring;
    rendition->reader = reader;
    rendition->doorbell = doorbell;
    rendition->ssrc = ssrc;
    rendition->packetiser = (struct packetiser){.codec = codec, .payload_bytes_max = PAYLOAD_BYTES_MAX};
    rendition->interval_ticks = INTERVAL_TICKS_DEFAULT;
    rendition->pending = 1; /* units may have been published before anybody listened */
    return 0;
}

void rendition_close(struct rendition *rendition)
{
    if (!rendition->history.packets)
        return;
    free(rendition->history.packets);
    rendition->history.packets = NULL;
    pthread_mutex_destroy(&rendition->history_lock);
    rendition_set_ring(rendition, NULL, 0, -1);
    rendition->unit.packets = rendition->passed = 0;
    atomic_store_explicit(&rendition->keyframes_wanted, 0, memory_order_relaxed);
}

void rendition_set_ring(struct rendition *rendition, struct ring *ring, uint32_t reader, int doorbell)
{
    rendition->ring = ring;
    rendition->reader = reader;
    rendition->doorbell = doorbell;
    rendition->pending = ring != NULL; /* as in rendition_open */
}

static void packetise_slot(struct rendition *rendition, int slot)
{
    const struct slot_header *header = &rendition->ring->slots[slot].header;
    /* Safety: the header is another process's word; a length beyond the slot would read past the mapping. */
    if (header->payload_bytes > rendition->ring->slot_bytes) {
        count(rendition, UNITS_REFUSED, 1);
        return;
    }
    uint64_t started_ns = clock_ns(CLOCK_MONOTONIC);
    pthread_mutex_lock(&rendition->history_lock);
    int packets = packetise(&rendition->packetiser, ring_payload(rendition->ring, (uint32_t)slot), header->payload_bytes,
                            header->rtp_timestamp, &rendition->history, rendition->next_index);
    pthread_mutex_unlock(&rendition->history_lock);
    count(rendition, PACKETISE_NS, clock_ns(CLOCK_MONOTONIC) - started_ns);
    if (packets < 0) {
        count(rendition, UNITS_REFUSED, 1);
        return;
    }
    rendition->unit.packets = (uint32_t)packets;
    rendition->next_index += (uint64_t)packets;
    count(rendition, PACKETS_MADE, (uint64_t)packets);
}

int rendition_take_unit(struct rendition *rendition)
{
    int slot = rendition->ring ? ring_lease_next(rendition->ring, rendition->reader) : -1;
    if (slot < 0)
        return 0;
    const struct slot_header *header = &rendition->ring->slots[slot].header;
    uint32_t ticks = header->rtp_timestamp - rendition->unit.rtp_timestamp;
    if (ticks && ticks <= INTERVAL_TICKS_MAX)
        rendition->interval_ticks = ticks;
    rendition->unit = (struct unit){.history = &rendition->history, .first_index = rendition->next_index,
                                    .rtp_timestamp = header->rtp_timestamp, .capture_tai_ns = header->capture_tai_ns,
                                    .keyframe = header->flags & FLAG_KEYFRAME};
    rendition->passed = 0;
    int gap = rendition->next_number && header->number != rendition->next_number;
    rendition->next_number = header->number + 1;
    count(rendition, UNITS, 1);
    count(rendition, GAPS, (uint64_t)gap);
    /* A unit that refers to one nobody got is not worth sending; a keyframe refers to none. */
    if (counted(rendition, VIEWERS) && (!gap || rendition->unit.keyframe))
        packetise_slot(rendition, slot);
    ring_release(rendition->ring, rendition->reader, slot);
    return 1;
}

static uint64_t pass_interval_ns(const struct rendition *rendition)
{
    uint64_t passes = (rendition->unit.packets + PACE_PACKETS - 1) / PACE_PACKETS;
    uint64_t share_ns = rendition->interval_ticks * TICK_NS_BY_9 / 9 / PACE_INTERVALS_SHARE;
    if (passes < 2)
        return 0;
    return share_ns / (passes - 1) < PACE_INTERVAL_NS ? share_ns / (passes - 1) : PACE_INTERVAL_NS;
}

struct pass rendition_next_pass(struct rendition *rendition, uint64_t now_monotonic_ns)
{
    struct pass pass = {.unit = &rendition->unit, .first = rendition->passed, .end = rendition->passed + PACE_PACKETS};
    if (pass.end > rendition->unit.packets)
        pass.end = rendition->unit.packets;
    if (pass.first == 0)
        rendition->pass_interval_ns = pass_interval_ns(rendition);
    rendition->passed = pass.end;
    rendition->pass_due_ns = now_monotonic_ns + rendition->pass_interval_ns;
    return pass;
}

void rendition_count_pass(struct rendition *rendition, const struct send_tally *tally)
{
    count(rendition, PACKETS, tally->packets);
    count(rendition, OCTETS, tally->octets);
    count(rendition, SEND_CALLS, tally->calls);
    count(rendition, SEND_ERRORS, tally->errors);
    count(rendition, EAGAINS, tally->full);
    count(rendition, GSO_FALLBACKS, tally->fallbacks);
    count(rendition, SKIPS, tally->skips);
    count(rendition, ENCRYPT_NS, tally->encrypt_ns);
    count(rendition, SEND_NS, tally->send_ns);
}

static void observe(_Atomic uint64_t *buckets, const struct bounds *bounds, uint64_t ns)
{
    uint32_t bucket = 0;
    while (bucket < bounds->count && ns > bounds->ns[bucket])
        bucket++;
    atomic_fetch_add_explicit(&buckets[bucket], 1, memory_order_relaxed);
}

void rendition_count_unit(struct rendition *rendition, const struct bounds *latency, const struct bounds *skew, uint64_t skew_ns)
{
    uint64_t now_tai_ns = clock_tai_ns(), capture_tai_ns = rendition->unit.capture_tai_ns;
    uint64_t latency_ns = now_tai_ns > capture_tai_ns ? now_tai_ns - capture_tai_ns : 0;
    observe(rendition->latency_buckets, latency, latency_ns);
    count(rendition, LATENCY_SUM_NS, latency_ns);
    observe(rendition->skew_buckets, skew, skew_ns);
    count(rendition, SKEW_SUM_NS, skew_ns);
    if (skew_ns > counted(rendition, SKEW_MAX_NS)) /* only this thread writes it */
        atomic_store_explicit(&rendition->counters[SKEW_MAX_NS], skew_ns, memory_order_relaxed);
}

int rendition_copy_packet(struct rendition *rendition, uint64_t index, struct packet *copy)
{
    pthread_mutex_lock(&rendition->history_lock);
    const struct packet *packet = packet_at(&rendition->history, index);
    int found = packet->written && packet->index == index;
    if (found)
        *copy = *packet;
    pthread_mutex_unlock(&rendition->history_lock);
    return found;
}
