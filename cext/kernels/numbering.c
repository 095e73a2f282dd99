#include "numbering.h"

#include <string.h>

#define SECOND_NS 1000000000ull

void numbering_open(struct numbering *numbering, uint16_t first_index)
{
    memset(numbering, 0, sizeof *numbering);
    numbering->next_index = first_index;
}

void numbering_begin(struct numbering *numbering, struct span span)
{
    span.first_index = numbering->next_index;
    struct span *newest = &numbering->spans[(numbering->begun - 1) & (SPANS - 1)];
    if (numbering->begun && newest->offset == span.offset && newest->lift == span.lift && newest->send_time == span.send_time &&
        newest->rendition == span.rendition)
        return;
    /* A span of which nothing left (the socket was full) makes room. */
    if (numbering->begun && newest->first_index == span.first_index)
        *newest = span;
    else
        numbering->spans[numbering->begun++ & (SPANS - 1)] = span;
}

/* The span that the index belongs to, or NULL if it is older than all that are remembered. */
static const struct span *find_span(const struct numbering *numbering, uint64_t index)
{
    uint64_t oldest = numbering->begun > SPANS ? numbering->begun - SPANS : 0;
    for (uint64_t number = numbering->begun; number > oldest; number--)
        if (numbering->spans[(number - 1) & (SPANS - 1)].first_index <= index)
            return &numbering->spans[(number - 1) & (SPANS - 1)];
    return NULL;
}

/* One of the viewer's tokens for this second and this packet. */
static int take_resend_token(struct numbering *numbering, uint64_t index, uint64_t now_monotonic_ns)
{
    if (numbering->resend_second != now_monotonic_ns / SECOND_NS) {
        numbering->resend_second = now_monotonic_ns / SECOND_NS;
        numbering->resends_in_second = 0;
    }
    struct resend_place *place = &numbering->resends[index & (RESEND_PLACES - 1)];
    if (place->index != (uint32_t)index) {
        place->index = (uint32_t)index;
        place->count = 0;
    }
    if (numbering->resends_in_second >= RESENDS_PER_SECOND_MAX || place->count >= RESENDS_PER_PACKET_MAX)
        return 0;
    numbering->resends_in_second++;
    place->count++;
    return 1;
}

int numbering_allows_resend(struct numbering *numbering, uint16_t sequence, uint64_t now_monotonic_ns, uint64_t *index, struct span *span)
{
    /* The newest index below next_index with this sequence number. */
    uint16_t behind = (uint16_t)((uint16_t)numbering->next_index - sequence);
    uint64_t distance = behind ? behind : 0x10000u;
    if (distance > numbering->next_index)
        return 0;
    *index = numbering->next_index - distance;
    const struct span *found = find_span(numbering, *index);
    if (!found || !take_resend_token(numbering, *index, now_monotonic_ns))
        return 0;
    *span = *found;
    return 1;
}
