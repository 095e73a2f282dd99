#include "viewer.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"

#define RTP_VERSION_BITS 0x80u
#define RTP_EXTENSION_BIT 0x10u
#define SEQUENCE_START_MASK 0x7fffu
#define SECOND_NS 1000000000ull

static void put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put_u32(uint8_t *at, uint32_t value)
{
    put_u16(at, value >> 16);
    put_u16(at + 2, value);
}

/* The header that all of the viewer's packets share (RFC 3550 5.1, RFC 8285 4.2). Safety: playout-delay takes 4 octets and mid at
 * most 17, padded 24, behind 4 octets of their own: RTP_EXTENSION_BYTES_MAX. */
static uint32_t build_header(uint8_t *header, uint32_t ssrc, const struct viewer_settings *settings)
{
    uint8_t *elements = header + RTP_HEADER_BYTES + 4;
    size_t bytes = 0;
    memset(header, 0, RTP_HEADER_BYTES + RTP_EXTENSION_BYTES_MAX);
    if (settings->playout_delay_id) {
        elements[0] = (uint8_t)(settings->playout_delay_id << 4 | 2);
        elements[1] = (uint8_t)(settings->playout_delay_min >> 4);
        elements[2] = (uint8_t)(settings->playout_delay_min << 4 | settings->playout_delay_max >> 8);
        elements[3] = (uint8_t)settings->playout_delay_max;
        bytes = 4;
    }
    if (settings->mid_id) {
        elements[bytes] = (uint8_t)(settings->mid_id << 4 | (settings->mid_bytes - 1));
        memcpy(elements + bytes + 1, settings->mid, settings->mid_bytes);
        bytes += 1u + settings->mid_bytes;
    }
    header[0] = RTP_VERSION_BITS | (bytes ? RTP_EXTENSION_BIT : 0);
    header[1] = settings->payload_type;
    put_u32(header + 8, ssrc);
    if (!bytes)
        return RTP_HEADER_BYTES;
    size_t words = (bytes + 3) / 4;
    put_u16(header + RTP_HEADER_BYTES, 0xbede);
    put_u16(header + RTP_HEADER_BYTES + 2, (uint32_t)words);
    return (uint32_t)(RTP_HEADER_BYTES + 4 + 4 * words);
}

int viewer_open(struct viewer *viewer, int rendition, uint32_t ssrc, const struct viewer_settings *settings)
{
    uint16_t start;
    if (getrandom(&start, sizeof start, 0) != sizeof start || srtp_open(&viewer->srtp, settings->profile, settings->key, settings->salt))
        return -1;
    viewer->rendition = rendition;
    viewer->destination = settings->destination;
    viewer->header_bytes = build_header(viewer->header, ssrc, settings);
    /* RFC 3711 3.3.1: a start in the lower half keeps a receiver that loses the first packets from guessing a wrong ROC. */
    viewer->next_index = start & SEQUENCE_START_MASK;
    viewer->answerable_from = viewer->next_index;
    viewer->offset = 0;
    viewer->resend_second = viewer->resends_in_second = 0;
    memset(viewer->resends, 0, sizeof viewer->resends);
    memset(&viewer->stats, 0, sizeof viewer->stats);
    viewer->stats.first_sequence = (uint16_t)viewer->next_index;
    viewer->stats.last_sequence = (uint16_t)(viewer->next_index - 1);
    viewer->stats.waiting_keyframe = 1;
    return 0;
}

void viewer_close(struct viewer *viewer)
{
    destination_close(&viewer->destination);
    srtp_close(&viewer->srtp);
    viewer->rendition = -1;
}

static size_t protect(struct viewer *viewer, const struct packet *packet, uint64_t index, uint8_t *target)
{
    memcpy(target, viewer->header, viewer->header_bytes);
    target[1] |= (uint8_t)(packet->marker << 7);
    put_u16(target + 2, (uint32_t)index & 0xffff);
    put_u32(target + 4, packet->rtp_timestamp);
    return srtp_protect_packet(&viewer->srtp, index, target, viewer->header_bytes, packet->payload, packet->payload_bytes);
}

/* Packets from `first` on that can leave in one send: equal sizes, then at most one shorter, within the limits of a send. */
static uint32_t run_length(const struct unit *unit, uint32_t first, size_t overhead_bytes)
{
    size_t bytes = packet_at(unit->history, unit->first_index + first)->payload_bytes;
    size_t most = OCTETS_PER_SEND_MAX / (bytes + overhead_bytes);
    if (most > DATAGRAMS_PER_SEND_MAX)
        most = DATAGRAMS_PER_SEND_MAX;
    if (most > unit->packets - first)
        most = unit->packets - first;
    uint32_t length = 1;
    while (length < most) {
        size_t next = packet_at(unit->history, unit->first_index + first + length)->payload_bytes;
        if (next > bytes)
            break;
        length++;
        if (next < bytes)
            break;
    }
    return length;
}

/* Encrypts and sends packets `first` .. `first + length - 1` of the unit. Returns how many indices are used up, and errno. */
static uint32_t send_run(struct viewer *viewer, const struct unit *unit, uint32_t first, uint32_t length, uint8_t *buffer,
                         struct send_tally *tally, int *error)
{
    uint64_t started_ns = clock_ns(CLOCK_MONOTONIC);
    size_t bytes = 0, first_bytes = 0, payload_bytes = 0;
    for (uint32_t i = 0; i < length; i++) {
        const struct packet *packet = packet_at(unit->history, unit->first_index + first + i);
        /* Safety: a packet has at most PACKET_BYTES_MAX octets and a run at most DATAGRAMS_PER_SEND_MAX: SEND_BUFFER_BYTES. */
        size_t packet_bytes = protect(viewer, packet, viewer->next_index + i, buffer + bytes);
        if (packet_bytes == 0) {
            *error = EIO; /* nothing of the run was sent */
            return length;
        }
        first_bytes = i ? first_bytes : packet_bytes;
        bytes += packet_bytes;
        payload_bytes += packet->payload_bytes;
    }
    uint64_t encrypted_ns = clock_ns(CLOCK_MONOTONIC);
    struct send_result result = datagrams_send(&viewer->destination, buffer, bytes, first_bytes);
    tally->encrypt_ns += encrypted_ns - started_ns;
    tally->send_ns += clock_ns(CLOCK_MONOTONIC) - encrypted_ns;
    tally->calls += result.calls;
    tally->fallbacks += result.fallbacks;
    tally->packets += result.datagrams;
    tally->octets += result.datagrams == length ? bytes : result.datagrams * first_bytes;
    if (viewer->stats.packets == 0 && result.datagrams)
        viewer->stats.first_send_monotonic_ns = encrypted_ns;
    viewer->stats.packets += result.datagrams;
    viewer->stats.octets += result.datagrams == length ? payload_bytes
                                                       : result.datagrams * (first_bytes - viewer->header_bytes - viewer->srtp.tag_bytes);
    *error = result.error;
    /* Safety: EAGAIN means that the kernel had no room to make the datagram, so its ciphertext never left this buffer and its index
     * may serve other octets: the viewer's numbering stays gapless. After any other error part of it may be on the wire (ENOBUFS from
     * a queue behind the segmentation), and the index is spent. */
    return result.error == EAGAIN ? result.datagrams : length;
}

static enum viewer_outcome skip_to_keyframe(struct viewer *viewer, struct send_tally *tally)
{
    viewer->stats.waiting_keyframe = 1;
    viewer->stats.skips++;
    tally->skips++;
    return VIEWER_SKIPPED;
}

enum viewer_outcome viewer_send_unit(struct viewer *viewer, const struct unit *unit, uint8_t *buffer, struct send_tally *tally)
{
    struct viewer_stats *stats = &viewer->stats;
    if (stats->waiting_keyframe && (unit->packets == 0 || !unit->keyframe))
        return VIEWER_WAITING;
    if (unit->packets == 0)
        return skip_to_keyframe(viewer, tally);
    if (stats->waiting_keyframe) {
        stats->waiting_keyframe = 0;
        viewer->offset = unit->first_index - viewer->next_index;
        viewer->answerable_from = viewer->next_index;
    }
    size_t overhead_bytes = viewer->header_bytes + viewer->srtp.tag_bytes;
    for (uint32_t sent = 0; sent < unit->packets;) {
        uint32_t length = run_length(unit, sent, overhead_bytes);
        int error = 0;
        viewer->next_index += send_run(viewer, unit, sent, length, buffer, tally, &error);
        stats->last_sequence = (uint16_t)(viewer->next_index - 1);
        sent += length;
        if (error == EAGAIN || error == ENOBUFS) {
            tally->full++;
            return skip_to_keyframe(viewer, tally);
        }
        if (error) { /* nobody listens there, no route: the viewer's ICE will tell; a lost datagram is the receiver's to report */
            tally->errors++;
            stats->send_errors++;
        }
    }
    stats->last_rtp_timestamp = unit->rtp_timestamp;
    stats->last_capture_tai_ns = unit->capture_tai_ns;
    stats->send_way = (uint8_t)viewer->destination.way;
    return VIEWER_SENT;
}

/* One of the viewer's tokens for this second and this packet. */
static int take_resend_token(struct viewer *viewer, uint64_t index, uint64_t now_monotonic_ns)
{
    if (viewer->resend_second != now_monotonic_ns / SECOND_NS) {
        viewer->resend_second = now_monotonic_ns / SECOND_NS;
        viewer->resends_in_second = 0;
    }
    struct resend_place *place = &viewer->resends[index & (RESEND_PLACES - 1)];
    if (place->index != (uint32_t)index) {
        place->index = (uint32_t)index;
        place->count = 0;
    }
    if (viewer->resends_in_second >= RESENDS_PER_SECOND_MAX || place->count >= RESENDS_PER_PACKET_MAX)
        return 0;
    viewer->resends_in_second++;
    place->count++;
    return 1;
}

int viewer_allows_resend(struct viewer *viewer, uint16_t sequence, uint64_t now_monotonic_ns, uint64_t *shared_index)
{
    /* The newest index below next_index with this sequence number. */
    uint16_t behind = (uint16_t)((uint16_t)viewer->next_index - sequence);
    uint64_t distance = behind ? behind : 0x10000u;
    uint64_t index = viewer->next_index - distance;
    if (distance > viewer->next_index - viewer->answerable_from || !take_resend_token(viewer, index, now_monotonic_ns)) {
        viewer->stats.resends_refused++;
        return 0;
    }
    *shared_index = index + viewer->offset;
    return 1;
}

int viewer_resend(struct viewer *viewer, const struct packet *packet)
{
    uint8_t buffer[PACKET_BYTES_MAX];
    size_t bytes = protect(viewer, packet, packet->index - viewer->offset, buffer);
    if (bytes == 0 || datagrams_send(&viewer->destination, buffer, bytes, bytes).datagrams != 1)
        return 0;
    viewer->stats.resends++;
    return 1;
}
