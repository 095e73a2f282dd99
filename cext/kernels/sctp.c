#include "sctp.h"

#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

#define MILLISECOND_NS 1000000ull
/* RFC 9260 section 16 leaves these open to the application. Receivers hold an acknowledgement back for 200 ms at most; and a second after an
 * outage the metadata of now must flow again, so that there is no point in backing off for longer. */
#define TIMEOUT_MIN_NS (400 * MILLISECOND_NS)
#define TIMEOUT_MAX_NS (1000 * MILLISECOND_NS)
#define BURST_PACKETS_MAX 4u         /* RFC 9260 section 16, Max.Burst */
#define MISSES_UNTIL_LOST 3u         /* RFC 9260 section 7.2.4 */
#define CONGESTION_BYTES_FIRST (4 * SCTP_PAYLOAD_BYTES_MAX)
#define THRESHOLD_BYTES_MIN (4 * SCTP_PAYLOAD_BYTES_MAX)

enum { TYPE_DATA = 0, TYPE_SACK = 3, TYPE_FORWARD_TSN = 192 };
enum { FLAG_LAST = 1, FLAG_FIRST = 2, FLAG_UNORDERED = 4 };
enum { COMMON_BYTES = 12, DATA_BYTES = 16, SACK_BYTES = 16, FORWARD_BYTES = 8, GAP_BYTES = 4, FORWARD_STREAM_BYTES = 4 };

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static uint32_t get16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return get16(at) << 16 | get16(at + 2); }

/* Whether transmission sequence number a comes after b (RFC 1982). */
static int after(uint32_t a, uint32_t b) { return (int32_t)(a - b) > 0; }

static struct sctp_chunk *chunk_at(struct sctp_sender *s, uint32_t tsn) { return &s->chunks[tsn % SCTP_CHUNKS_MAX]; }

struct sctp_message *sctp_message_create(const uint8_t *octets, uint32_t bytes)
{
    struct sctp_message *message = malloc(sizeof *message + bytes);
    if (!message)
        return NULL;
    atomic_init(&message->references, 1);
    message->bytes = bytes;
    memcpy(message->octets, octets, bytes);
    return message;
}

void sctp_message_release(struct sctp_message *message)
{
    if (message && atomic_fetch_sub(&message->references, 1) == 1)
        free(message);
}

static int is_held(enum sctp_chunk_state state) { return state == CHUNK_WAITING || state == CHUNK_IN_FLIGHT || state == CHUNK_LOST; }

/* The one place where a chunk changes its state, so that the sums stay right. */
static void change(struct sctp_sender *s, struct sctp_chunk *chunk, enum sctp_chunk_state state)
{
    s->flight_bytes -= chunk->state == CHUNK_IN_FLIGHT ? chunk->bytes : 0;
    s->held_bytes -= is_held(chunk->state) ? chunk->bytes : 0;
    chunk->state = (uint8_t)state;
    s->flight_bytes += state == CHUNK_IN_FLIGHT ? chunk->bytes : 0;
    s->held_bytes += is_held(state) ? chunk->bytes : 0;
    if (state == CHUNK_FREE || state == CHUNK_ABANDONED || (state == CHUNK_IN_FLIGHT && chunk->sends > chunk->resends_max)) {
        sctp_message_release(chunk->message);
        chunk->message = NULL;
    }
}

void sctp_create(struct sctp_sender *s, uint32_t first_tsn, uint32_t held_bytes_max, sctp_output output, void *carrier)
{
    memset(s, 0, sizeof *s);
    s->output = output;
    s->carrier = carrier;
    s->acked = s->forwarded = first_tsn - 1;
    s->unsent = s->next = first_tsn;
    s->held_bytes_max = held_bytes_max;
    s->congestion_bytes = CONGESTION_BYTES_FIRST;
    s->timeout_ns = TIMEOUT_MAX_NS;
}

void sctp_open(struct sctp_sender *s, uint16_t local_port, uint16_t remote_port, uint32_t local_tag, uint32_t remote_tag, uint32_t window_bytes,
               uint32_t message_bytes_max)
{
    s->local_port = local_port;
    s->remote_port = remote_port;
    s->local_tag = local_tag;
    s->remote_tag = remote_tag;
    s->message_bytes_max = message_bytes_max;
    if (!s->open)
        s->window_bytes = s->threshold_bytes = window_bytes;
    s->open = 1;
}

void sctp_close(struct sctp_sender *s)
{
    for (uint32_t tsn = s->acked + 1; tsn != s->next; tsn++)
        change(s, chunk_at(s, tsn), CHUNK_FREE);
    s->acked = s->forwarded = s->next - 1;
    s->unsent = s->next;
    s->open = s->forward_due = 0;
    s->due_ns = 0;
}

void sctp_destroy(struct sctp_sender *s) { sctp_close(s); }

static enum sctp_outcome put_out(struct sctp_sender *s, uint8_t *packet, size_t bytes)
{
    put16(packet, s->local_port);
    put16(packet + 2, s->remote_port);
    put32(packet + 4, s->remote_tag);
    memset(packet + 8, 0, 4);
    uint32_t sum = crc32c(packet, bytes);
    for (int i = 0; i < 4; i++)
        packet[8 + i] = (uint8_t)(sum >> 8 * i); /* least significant octet first: RFC 9260 appendix A */
    enum sctp_outcome outcome = s->broken ? SCTP_BROKEN : s->output(s->carrier, packet, bytes);
    s->broken |= outcome == SCTP_BROKEN;
    return outcome;
}

static enum sctp_outcome transmit(struct sctp_sender *s, uint32_t tsn, uint64_t now_ns)
{
    uint8_t packet[SCTP_PACKET_BYTES_MAX];
    struct sctp_chunk *chunk = chunk_at(s, tsn);
    uint8_t *head = packet + COMMON_BYTES;
    size_t bytes = COMMON_BYTES + DATA_BYTES + (size_t)chunk->bytes;
    head[0] = TYPE_DATA;
    head[1] = chunk->flags;
    put16(head + 2, DATA_BYTES + (uint32_t)chunk->bytes);
    put32(head + 4, tsn);
    put16(head + 8, chunk->stream);
    put16(head + 10, chunk->sequence);
    put32(head + 12, chunk->protocol);
    memcpy(head + DATA_BYTES, chunk->message->octets + chunk->offset, chunk->bytes);
    for (; bytes % 4; bytes++) /* Safety: SCTP_PACKET_BYTES_MAX is a multiple of 4 */
        packet[bytes] = 0;
    chunk->sends++;
    chunk->sent_ns = now_ns;
    chunk->misses = 0;
    change(s, chunk, CHUNK_IN_FLIGHT);
    if (!s->due_ns)
        s->due_ns = now_ns + s->timeout_ns;
    return put_out(s, packet, bytes);
}

/* RFC 3758 section 3.2: the new cumulative number, and the last sequence number passed over on each ordered stream. */
static enum sctp_outcome send_forward_tsn(struct sctp_sender *s, uint64_t now_ns)
{
    uint8_t packet[COMMON_BYTES + FORWARD_BYTES + SCTP_STREAMS_MAX * FORWARD_STREAM_BYTES];
    uint8_t *head = packet + COMMON_BYTES, *streams = head + FORWARD_BYTES;
    uint32_t count = 0;
    for (uint32_t tsn = s->acked + 1; !after(tsn, s->forwarded); tsn++) {
        const struct sctp_chunk *chunk = chunk_at(s, tsn);
        if (chunk->flags & FLAG_UNORDERED)
            continue;
        uint32_t i = 0;
        while (i < count && get16(streams + i * FORWARD_STREAM_BYTES) != chunk->stream)
            i++;
        if (i == SCTP_STREAMS_MAX) /* Safety: sctp_send takes ordered messages of so many streams only, so that this is never reached */
            continue;
        count += i == count;
        put16(streams + i * FORWARD_STREAM_BYTES, chunk->stream);
        put16(streams + i * FORWARD_STREAM_BYTES + 2, chunk->sequence);
    }
    uint32_t bytes = FORWARD_BYTES + count * FORWARD_STREAM_BYTES;
    head[0] = TYPE_FORWARD_TSN;
    head[1] = 0;
    put16(head + 2, bytes);
    put32(head + 4, s->forwarded);
    s->forward_due = 0;
    if (!s->due_ns)
        s->due_ns = now_ns + s->timeout_ns;
    return put_out(s, packet, COMMON_BYTES + bytes);
}

/* Gives a chunk up, and with it all of its message, sent or not (RFC 3758 section 3.5, A3). */
static void abandon(struct sctp_sender *s, uint32_t tsn)
{
    uint32_t first = tsn, last = tsn;
    while (first != s->acked + 1 && !(chunk_at(s, first)->flags & FLAG_FIRST))
        first--;
    while (last + 1 != s->next && !(chunk_at(s, last)->flags & FLAG_LAST))
        last++;
    int arrived = 1;
    for (tsn = first; !after(tsn, last); tsn++) {
        arrived &= chunk_at(s, tsn)->state == CHUNK_ARRIVED;
        change(s, chunk_at(s, tsn), CHUNK_ABANDONED);
    }
    s->messages_lost += !arrived;
}

static void give_up_or_resend(struct sctp_sender *s, uint32_t tsn)
{
    struct sctp_chunk *chunk = chunk_at(s, tsn);
    if (chunk->sends > chunk->resends_max)
        abandon(s, tsn);
    else
        change(s, chunk, CHUNK_LOST);
}

/* Moves over what was abandoned (RFC 3758 section 3.5, C2) and has the receiver told until it knows (C3). */
static void move_forward(struct sctp_sender *s)
{
    if (after(s->acked, s->forwarded))
        s->forwarded = s->acked;
    while (s->forwarded + 1 != s->next && chunk_at(s, s->forwarded + 1)->state == CHUNK_ABANDONED)
        s->forwarded++;
    if (after(s->forwarded + 1, s->unsent))
        s->unsent = s->forwarded + 1;
    s->forward_due = after(s->forwarded, s->acked);
}

static void note(enum sctp_outcome *worst, enum sctp_outcome outcome) { *worst = outcome > *worst ? outcome : *worst; }

/* Sends what the congestion window and the receiver have room for: what must be told, what was lost, what waits. */
static enum sctp_outcome flush(struct sctp_sender *s, uint64_t now_ns)
{
    enum sctp_outcome worst = SCTP_SENT;
    if (!s->open)
        return SCTP_SKIPPED;
    if (s->forward_due)
        note(&worst, send_forward_tsn(s, now_ns));
    uint32_t burst_end = s->flight_bytes + BURST_PACKETS_MAX * SCTP_PAYLOAD_BYTES_MAX;
    uint32_t end = burst_end < s->congestion_bytes ? burst_end : s->congestion_bytes;
    for (uint32_t tsn = s->acked + 1; tsn != s->unsent && s->flight_bytes < end; tsn++)
        if (chunk_at(s, tsn)->state == CHUNK_LOST)
            note(&worst, transmit(s, tsn, now_ns));
    while (s->unsent != s->next && s->flight_bytes < end && worst != SCTP_BROKEN) {
        const struct sctp_chunk *chunk = chunk_at(s, s->unsent);
        /* With nothing in flight one chunk may go to a receiver without room, which shows when there is room again (section 6.1, A). */
        if (chunk->state == CHUNK_WAITING && s->flight_bytes && s->flight_bytes + chunk->bytes > s->window_bytes)
            break;
        s->unsent++;
        if (chunk->state == CHUNK_WAITING)
            note(&worst, transmit(s, s->unsent - 1, now_ns));
    }
    return worst;
}

/* Where the next sequence number of an ordered stream lies, or NULL if there are too many streams. */
static uint16_t *order_of(struct sctp_sender *s, uint16_t stream)
{
    for (uint32_t i = 0; i < SCTP_STREAMS_MAX; i++)
        if (s->orders[i].used && s->orders[i].stream == stream)
            return &s->orders[i].next;
    for (uint32_t i = 0; i < SCTP_STREAMS_MAX; i++)
        if (!s->orders[i].used) {
            s->orders[i].used = 1;
            s->orders[i].stream = stream;
            s->orders[i].next = 0;
            return &s->orders[i].next;
        }
    return NULL;
}

void sctp_reset_stream(struct sctp_sender *s, uint16_t stream)
{
    for (uint32_t i = 0; i < SCTP_STREAMS_MAX; i++)
        if (s->orders[i].used && s->orders[i].stream == stream)
            s->orders[i].used = 0;
}

enum sctp_outcome sctp_send(struct sctp_sender *s, struct sctp_message *message, const struct sctp_manner *manner, uint64_t now_ns)
{
    int control = manner->resends_max == SCTP_RESENDS_UNLIMITED;
    uint32_t pieces = (message->bytes + SCTP_PAYLOAD_BYTES_MAX - 1) / SCTP_PAYLOAD_BYTES_MAX;
    uint32_t room = SCTP_CHUNKS_MAX - (s->next - s->acked - 1) - (control ? 0 : SCTP_CHUNKS_CONTROL);
    if (!s->open || s->broken || !pieces || (s->message_bytes_max && message->bytes > s->message_bytes_max))
        return SCTP_SKIPPED;
    /* The limit is on what is held already and not on the message itself, which may be larger and would otherwise never be sent. */
    if ((!control && s->held_bytes >= s->held_bytes_max) || (int32_t)room < 0 || pieces > room)
        return SCTP_SKIPPED;
    uint16_t *order = manner->ordered ? order_of(s, manner->stream) : NULL;
    if (manner->ordered && !order)
        return SCTP_SKIPPED;
    uint16_t sequence = order ? (*order)++ : 0;
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t offset = i * SCTP_PAYLOAD_BYTES_MAX, left = message->bytes - offset;
        struct sctp_chunk *chunk = chunk_at(s, s->next++);
        *chunk = (struct sctp_chunk){
            .message = message, .offset = offset, .protocol = manner->protocol, .resends_max = manner->resends_max, .stream = manner->stream,
            .bytes = (uint16_t)(left < SCTP_PAYLOAD_BYTES_MAX ? left : SCTP_PAYLOAD_BYTES_MAX), .sequence = sequence,
            .flags = (uint8_t)((i ? 0 : FLAG_FIRST) | (i + 1 == pieces ? FLAG_LAST : 0) | (order ? 0 : FLAG_UNORDERED))};
        change(s, chunk, CHUNK_WAITING);
    }
    atomic_fetch_add(&message->references, pieces);
    return flush(s, now_ns);
}

/* RFC 9260 section 6.3.1. */
static void measure(struct sctp_sender *s, uint64_t round_trip_ns)
{
    if (!s->smooth_ns) {
        s->smooth_ns = round_trip_ns + 1;
        s->variation_ns = round_trip_ns / 2;
    } else {
        uint64_t distance = s->smooth_ns > round_trip_ns ? s->smooth_ns - round_trip_ns : round_trip_ns - s->smooth_ns;
        s->variation_ns = (3 * s->variation_ns + distance) / 4;
        s->smooth_ns = (7 * s->smooth_ns + round_trip_ns) / 8;
    }
    uint64_t timeout = s->smooth_ns + 4 * s->variation_ns;
    s->timeout_ns = timeout < TIMEOUT_MIN_NS ? TIMEOUT_MIN_NS : timeout > TIMEOUT_MAX_NS ? TIMEOUT_MAX_NS : timeout;
}

/* Frees everything up to `cumulative`; returns how many octets are newly known to have arrived. */
static uint32_t take_cumulative(struct sctp_sender *s, uint32_t cumulative, uint64_t now_ns)
{
    uint32_t arrived = 0;
    uint64_t sent_ns = 0;
    while (after(cumulative, s->acked)) {
        struct sctp_chunk *chunk = chunk_at(s, ++s->acked);
        if (chunk->state == CHUNK_IN_FLIGHT || chunk->state == CHUNK_LOST)
            arrived += chunk->bytes;
        if (chunk->state == CHUNK_IN_FLIGHT && chunk->sends == 1) /* Karn: what was sent twice tells nothing */
            sent_ns = chunk->sent_ns;
        change(s, chunk, CHUNK_FREE);
    }
    if (sent_ns && now_ns >= sent_ns)
        measure(s, now_ns - sent_ns);
    return arrived;
}

/* Marks what arrived beyond a gap; returns its octets. `newest`: the last that is newly reported, `seen`: the last reported at all. */
static uint32_t take_gaps(struct sctp_sender *s, const uint8_t *gaps, uint32_t count, uint32_t *newest, uint32_t *seen)
{
    uint32_t arrived = 0, end = 0, sent = s->unsent - 1 - s->acked;
    for (uint32_t i = 0; i < count; i++, gaps += GAP_BYTES) {
        uint32_t from = get16(gaps), to = get16(gaps + 2);
        /* Blocks ascend and lie within what was sent. That also bounds the work: nothing is looked at twice. */
        if (from <= end || to < from || to > sent)
            break;
        end = to;
        *seen = s->acked + to;
        for (uint32_t tsn = s->acked + from; !after(tsn, s->acked + to); tsn++) {
            struct sctp_chunk *chunk = chunk_at(s, tsn);
            if (chunk->state != CHUNK_IN_FLIGHT && chunk->state != CHUNK_LOST)
                continue;
            arrived += chunk->bytes;
            change(s, chunk, CHUNK_ARRIVED);
            *newest = tsn;
        }
    }
    return arrived;
}

/* Counts how often each chunk was reported missing (RFC 9260 section 7.2.4); 1 if one is now believed lost. */
static int strike(struct sctp_sender *s, uint32_t end)
{
    int lost = 0;
    for (uint32_t tsn = s->acked + 1; after(end, tsn); tsn++) {
        struct sctp_chunk *chunk = chunk_at(s, tsn);
        if (chunk->state == CHUNK_IN_FLIGHT && ++chunk->misses >= MISSES_UNTIL_LOST) {
            give_up_or_resend(s, tsn);
            lost = 1;
        }
    }
    return lost;
}

static void shrink(struct sctp_sender *s)
{
    s->threshold_bytes = s->congestion_bytes / 2 > THRESHOLD_BYTES_MIN ? s->congestion_bytes / 2 : THRESHOLD_BYTES_MIN;
    s->partial_bytes = 0;
}

/* RFC 9260 sections 7.2.1 and 7.2.2, after `arrived` octets were acknowledged while the window was full. */
static void grow(struct sctp_sender *s, uint32_t arrived)
{
    if (s->congestion_bytes <= s->threshold_bytes) {
        s->congestion_bytes += arrived < SCTP_PAYLOAD_BYTES_MAX ? arrived : SCTP_PAYLOAD_BYTES_MAX;
        return;
    }
    s->partial_bytes += arrived;
    if (s->partial_bytes >= s->congestion_bytes) {
        s->partial_bytes -= s->congestion_bytes;
        s->congestion_bytes += SCTP_PAYLOAD_BYTES_MAX;
    }
}

enum sctp_outcome sctp_acknowledge(struct sctp_sender *s, uint32_t cumulative, uint32_t window_bytes, const uint8_t *gaps, uint32_t gap_count,
                                   uint64_t now_ns)
{
    if (!s->open || after(s->acked, cumulative))
        return SCTP_SENT; /* one that was overtaken on the way */
    if (!after(s->unsent, cumulative))
        return SCTP_MALFORMED;
    int full = s->flight_bytes >= s->congestion_bytes, moved = cumulative != s->acked;
    uint32_t arrived = take_cumulative(s, cumulative, now_ns), newest = cumulative, seen = cumulative;
    arrived += take_gaps(s, gaps, gap_count, &newest, &seen);
    if (s->recovering && !after(s->recovery_end, s->acked))
        s->recovering = 0;
    if (strike(s, s->recovering && moved ? seen : newest) && !s->recovering) {
        shrink(s);
        s->congestion_bytes = s->threshold_bytes;
        s->recovering = 1;
        s->recovery_end = s->unsent - 1;
    } else if (!s->recovering && moved && full) {
        grow(s, arrived);
    }
    s->window_bytes = window_bytes;
    if (s->acked + 1 == s->unsent)
        s->due_ns = 0;
    else if (moved)
        s->due_ns = now_ns + s->timeout_ns;
    move_forward(s);
    return flush(s, now_ns);
}

enum sctp_outcome sctp_receive(struct sctp_sender *s, const uint8_t *packet, size_t bytes, uint64_t now_ns)
{
    const uint8_t *head = packet + COMMON_BYTES;
    if (!s->open || bytes < COMMON_BYTES + SACK_BYTES || bytes > SCTP_PACKET_BYTES_MAX || head[0] != TYPE_SACK)
        return SCTP_FOREIGN;
    uint32_t size = get16(head + 2), gap_count = get16(head + 12), duplicates = get16(head + 14);
    if (size != bytes - COMMON_BYTES || size != SACK_BYTES + GAP_BYTES * gap_count + 4 * duplicates || get32(packet + 4) != s->local_tag)
        return SCTP_FOREIGN;
    uint8_t copy[SCTP_PACKET_BYTES_MAX];
    memcpy(copy, packet, bytes);
    memset(copy + 8, 0, 4);
    uint32_t sum = (uint32_t)packet[8] | (uint32_t)packet[9] << 8 | (uint32_t)packet[10] << 16 | (uint32_t)packet[11] << 24;
    if (crc32c(copy, bytes) != sum)
        return SCTP_FOREIGN;
    return sctp_acknowledge(s, get32(head + 4), get32(head + 8), head + SACK_BYTES, gap_count, now_ns);
}

enum sctp_outcome sctp_expire(struct sctp_sender *s, uint64_t now_ns)
{
    if (!s->open || !s->due_ns || now_ns < s->due_ns)
        return SCTP_SENT;
    s->due_ns = 0;
    for (uint32_t tsn = s->acked + 1; tsn != s->unsent; tsn++) {
        /* Also what was reported beyond a gap: a receiver may have thrown it away since (section 6.2). */
        enum sctp_chunk_state state = chunk_at(s, tsn)->state;
        if (state == CHUNK_IN_FLIGHT || state == CHUNK_ARRIVED)
            give_up_or_resend(s, tsn);
    }
    shrink(s);
    s->congestion_bytes = SCTP_PAYLOAD_BYTES_MAX;
    s->recovering = 0;
    s->timeout_ns = 2 * s->timeout_ns < TIMEOUT_MAX_NS ? 2 * s->timeout_ns : TIMEOUT_MAX_NS;
    move_forward(s);
    return flush(s, now_ns);
}
