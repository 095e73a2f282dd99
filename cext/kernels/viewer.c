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

/* The header that all of the viewer's packets share (RFC 3550 5.1, RFC 8285 4.2). Safety: abs-send-time and playout-delay take 4 octets
 * each and mid at most 17, padded 28, behind 4 octets of their own: RTP_EXTENSION_BYTES_MAX. */
static void build_header(struct viewer *viewer, uint32_t ssrc, const struct viewer_settings *settings)
{
    uint8_t *header = viewer->header, *elements = header + RTP_HEADER_BYTES + 4;
    size_t bytes = 0;
    memset(header, 0, sizeof viewer->header);
    viewer->send_time_at = settings->abs_send_time_id ? RTP_HEADER_BYTES + 4 + 1 : 0;
    if (settings->abs_send_time_id) {
        elements[0] = (uint8_t)(settings->abs_send_time_id << 4 | 2);
        bytes = 4;
    }
    if (settings->playout_delay_id) {
        elements[bytes] = (uint8_t)(settings->playout_delay_id << 4 | 2);
        elements[bytes + 1] = (uint8_t)(settings->playout_delay_min >> 4);
        elements[bytes + 2] = (uint8_t)(settings->playout_delay_min << 4 | settings->playout_delay_max >> 8);
        elements[bytes + 3] = (uint8_t)settings->playout_delay_max;
        bytes += 4;
    }
    if (settings->mid_id) {
        elements[bytes] = (uint8_t)(settings->mid_id << 4 | (settings->mid_bytes - 1));
        memcpy(elements + bytes + 1, settings->mid, settings->mid_bytes);
        bytes += 1u + settings->mid_bytes;
    }
    header[0] = RTP_VERSION_BITS | (bytes ? RTP_EXTENSION_BIT : 0);
    header[1] = settings->payload_type;
    put_u32(header + 8, ssrc);
    size_t words = (bytes + 3) / 4;
    if (bytes) {
        put_u16(header + RTP_HEADER_BYTES, 0xbede);
        put_u16(header + RTP_HEADER_BYTES + 2, (uint32_t)words);
    }
    viewer->header_bytes = (uint8_t)(RTP_HEADER_BYTES + (bytes ? 4 + 4 * words : 0));
}

int viewer_open(struct viewer *viewer, int rendition, uint32_t ssrc, const struct viewer_settings *settings)
{
    uint16_t start;
    if (getrandom(&start, sizeof start, 0) != sizeof start || srtp_open(&viewer->srtp, settings->profile, settings->key, settings->salt))
        return -1;
    viewer->rendition = (int16_t)rendition;
    viewer->target = NO_RENDITION;
    viewer->held = 0;
    viewer->timestamp_shift = settings->timestamp_shift;
    viewer->lift = viewer->next_lift = 0;
    viewer->destination = settings->destination;
    build_header(viewer, ssrc, settings);
    /* RFC 3711 3.3.1: a start in the lower half keeps a receiver that loses the first packets from guessing a wrong ROC. */
    numbering_open(&viewer->numbering, start & SEQUENCE_START_MASK);
    memset(&viewer->stats, 0, sizeof viewer->stats);
    viewer->stats.rendition = viewer->rendition;
    viewer->stats.first_sequence = (uint16_t)viewer->numbering.next_index;
    viewer->stats.last_sequence = (uint16_t)(viewer->numbering.next_index - 1);
    viewer->stats.waiting_keyframe = 1;
    return 0;
}

void viewer_close(struct viewer *viewer)
{
    destination_close(&viewer->destination);
    srtp_close(&viewer->srtp);
    viewer->rendition = viewer->target = NO_RENDITION;
}

static size_t protect(struct viewer *viewer, const struct packet *packet, uint64_t index, uint32_t lift, uint8_t *target)
{
    memcpy(target, viewer->header, viewer->header_bytes);
    target[1] |= (uint8_t)(packet->marker << 7);
    put_u16(target + 2, (uint32_t)index & 0xffff);
    put_u32(target + 4, packet->rtp_timestamp + lift + viewer->timestamp_shift);
    return srtp_protect_packet(&viewer->srtp, index, target, viewer->header_bytes, packet->payload, packet->payload_bytes);
}

/* abs-send-time: 6.18 seconds of a clock whose zero does not matter. Receivers look at differences, so that a clock which never jumps
 * is better than the wall's. */
static uint32_t send_time(uint64_t monotonic_ns)
{
    return (uint32_t)((monotonic_ns % (64 * SECOND_NS) << 18) / SECOND_NS);
}

static void write_send_time(struct viewer *viewer, uint32_t time)
{
    if (!viewer->send_time_at)
        return;
    viewer->header[viewer->send_time_at] = (uint8_t)(time >> 16);
    put_u16(viewer->header + viewer->send_time_at + 1, time & 0xffff);
}

/* Packets from `first` on that can leave in one send: equal sizes, then at most one shorter, within the limits of a send. */
static uint32_t run_length(struct pass pass, uint32_t first, size_t overhead_bytes)
{
    size_t bytes = packet_at(pass.unit->history, pass.unit->first_index + first)->payload_bytes;
    size_t most = OCTETS_PER_SEND_MAX / (bytes + overhead_bytes);
    if (most > DATAGRAMS_PER_SEND_MAX)
        most = DATAGRAMS_PER_SEND_MAX;
    if (most > pass.end - first)
        most = pass.end - first;
    uint32_t length = 1;
    while (length < most) {
        size_t next = packet_at(pass.unit->history, pass.unit->first_index + first + length)->payload_bytes;
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
    size_t bytes = 0, first_bytes = 0, payload_bytes = 0;
    for (uint32_t i = 0; i < length; i++) {
        const struct packet *packet = packet_at(unit->history, unit->first_index + first + i);
        /* Safety: a packet has at most PACKET_BYTES_MAX octets and a run at most DATAGRAMS_PER_SEND_MAX: SEND_BUFFER_BYTES. */
        size_t packet_bytes = protect(viewer, packet, viewer->numbering.next_index + i, viewer->lift, buffer + bytes);
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
    uint64_t sent_ns = clock_ns(CLOCK_MONOTONIC);
    tally->encrypt_ns += encrypted_ns - tally->now_ns;
    tally->send_ns += sent_ns - encrypted_ns;
    tally->now_ns = sent_ns;
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

void viewer_skip(struct viewer *viewer)
{
    viewer->stats.skips += !viewer->stats.waiting_keyframe;
    viewer->stats.waiting_keyframe = 1;
}

static enum viewer_outcome skip_to_keyframe(struct viewer *viewer, struct send_tally *tally)
{
    viewer_skip(viewer);
    tally->skips++;
    return VIEWER_SKIPPED;
}

static void begin_unit(struct viewer *viewer, const struct unit *unit)
{
    viewer->lift = viewer->next_lift;
    viewer->next_lift = 0;
    viewer->stats.waiting_keyframe = 0;
    viewer->stats.last_rtp_timestamp = unit->rtp_timestamp + viewer->lift;
    viewer->stats.last_capture_tai_ns = unit->capture_tai_ns;
}

/* The pass has a span of its own, because it has a send time of its own. */
static void begin_span(struct viewer *viewer, struct pass pass, uint64_t now_ns)
{
    struct span span = {.offset = pass.unit->first_index + pass.first - viewer->numbering.next_index, .lift = viewer->lift,
                        .send_time = viewer->send_time_at ? send_time(now_ns) : 0, .rendition = viewer->rendition};
    numbering_begin(&viewer->numbering, span);
    write_send_time(viewer, span.send_time);
}

enum viewer_outcome viewer_send(struct viewer *viewer, struct pass pass, uint8_t *buffer, struct send_tally *tally)
{
    const struct unit *unit = pass.unit;
    struct viewer_stats *stats = &viewer->stats;
    if (viewer->held)
        return VIEWER_HELD;
    /* A later pass never has to begin a unit: whoever does not wait was sent the first pass. */
    if (stats->waiting_keyframe && (unit->packets == 0 || !unit->keyframe || pass.first))
        return VIEWER_WAITING;
    if (unit->packets == 0)
        return skip_to_keyframe(viewer, tally);
    if (pass.first == 0)
        begin_unit(viewer, unit);
    begin_span(viewer, pass, tally->now_ns);
    size_t overhead_bytes = viewer->header_bytes + viewer->srtp.tag_bytes;
    for (uint32_t sent = pass.first; sent < pass.end;) {
        uint32_t length = run_length(pass, sent, overhead_bytes);
        int error = 0;
        viewer->numbering.next_index += send_run(viewer, unit, sent, length, buffer, tally, &error);
        stats->last_sequence = (uint16_t)(viewer->numbering.next_index - 1);
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
    stats->send_way = (uint8_t)viewer->destination.way;
    return VIEWER_SENT;
}

int viewer_can_move_to(const struct viewer *viewer, uint32_t rtp_timestamp)
{
    int32_t ahead = (int32_t)(rtp_timestamp - viewer->stats.last_rtp_timestamp);
    return viewer->stats.packets == 0 || ahead >= 0 || ahead < -OLDER_TICKS_MAX;
}

void viewer_move(struct viewer *viewer, const struct unit *keyframe)
{
    /* Two renditions code the same picture: the receiver would take packets of one RTP timestamp for one picture. */
    viewer->next_lift = viewer->stats.packets && keyframe->rtp_timestamp == viewer->stats.last_rtp_timestamp;
    viewer->stats.rendition = viewer->rendition = viewer->target;
    viewer->target = NO_RENDITION;
    viewer->held = 0;
    viewer->stats.waiting_keyframe = 1;
}

int viewer_resend(struct viewer *viewer, const struct packet *packet, uint64_t index, const struct span *span)
{
    uint8_t buffer[PACKET_BYTES_MAX];
    write_send_time(viewer, span->send_time);
    size_t bytes = protect(viewer, packet, index, span->lift, buffer);
    if (bytes == 0 || datagrams_send(&viewer->destination, buffer, bytes, bytes).datagrams != 1)
        return 0;
    viewer->stats.resends++;
    return 1;
}
