#include "rendition.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"

_Static_assert(HISTORY_PACKETS >= 2 * UNIT_PACKETS_MAX, "a NACK for the last access unit must be answerable while the next is written");

int rendition_open(struct rendition *rendition, struct ring *ring, uint32_t reader, int doorbell, enum codec codec, uint32_t ssrc)
{
    memset(rendition, 0, sizeof *rendition);
    rendition->history.packets = calloc(HISTORY_PACKETS, sizeof(struct packet));
    if (!rendition->history.packets)
        return -1;
    rendition->history.mask = HISTORY_PACKETS - 1;
    pthread_mutex_init(&rendition->history_lock, NULL);
    rendition->ring = ring;
    rendition->reader = reader;
    rendition->doorbell = doorbell;
    rendition->ssrc = ssrc;
    rendition->packetiser = (struct packetiser){.codec = codec, .payload_bytes_max = PAYLOAD_BYTES_MAX};
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
}

static void packetise_slot(struct rendition *rendition, int slot, struct unit *unit)
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
    unit->packets = (uint32_t)packets;
    rendition->next_index += (uint64_t)packets;
    count(rendition, PACKETS_MADE, (uint64_t)packets);
}

int rendition_take_unit(struct rendition *rendition, struct unit *unit)
{
    int slot = ring_lease_next(rendition->ring, rendition->reader);
    if (slot < 0)
        return 0;
    const struct slot_header *header = &rendition->ring->slots[slot].header;
    *unit = (struct unit){.history = &rendition->history, .first_index = rendition->next_index, .rtp_timestamp = header->rtp_timestamp,
                          .capture_tai_ns = header->capture_tai_ns, .keyframe = header->flags & FLAG_KEYFRAME};
    int gap = rendition->next_number && header->number != rendition->next_number;
    rendition->next_number = header->number + 1;
    count(rendition, UNITS, 1);
    count(rendition, GAPS, (uint64_t)gap);
    /* A unit that refers to one nobody got is not worth sending; a keyframe refers to none. */
    if (counted(rendition, VIEWERS) && (!gap || unit->keyframe))
        packetise_slot(rendition, slot, unit);
    ring_release(rendition->ring, rendition->reader, slot);
    return 1;
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
