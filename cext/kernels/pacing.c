#include "pacing.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { RTP_BYTES = 12, EXTENDED_SEQUENCE_BYTES = 2, SRD_BYTES = 6 };
enum { RUN_PACKETS_MAX = 64, RUN_BYTES_MAX = 65000 };   /* below UDP_MAX_SEGMENTS and an IP packet's 64 KiB */
static const int64_t SECOND_NS = 1000000000;

/* What one packet carries: octets of a row, then of the rows after it. */
struct share { uint32_t segments, octets[PACING_SEGMENTS_MAX], total; };

/* Room for samples beside so many segment headers, in whole pgroups. */
static uint32_t room_for(const struct pacing *pacing, uint32_t segments)
{
    uint32_t room = pacing->payload_max - RTP_BYTES - EXTENDED_SEQUENCE_BYTES - segments * SRD_BYTES;
    return room - room % pacing->layout.pgroup_bytes;
}

/* General packing: as much of a row as fits; a further segment only where the row ends here with room to spare.
 * A packet over two rows is never longer than the full ones before it, so that it can end their run. */
static struct share general_share(const struct pacing *pacing, uint32_t offset, uint32_t part_bytes)
{
    const uint32_t row_bytes = pacing->layout.row_bytes;
    uint32_t left_in_row = row_bytes - offset % row_bytes, one = room_for(pacing, 1);
    struct share share = { 1, { left_in_row < one ? left_in_row : one }, left_in_row < one ? left_in_row : one };
    while (share.segments < PACING_SEGMENTS_MAX && (offset + share.total) % row_bytes == 0 && offset + share.total < part_bytes) {
        uint32_t room = room_for(pacing, share.segments + 1);
        if (share.total >= room)
            break;
        uint32_t more = room - share.total < row_bytes ? room - share.total : row_bytes;
        share.octets[share.segments++] = more;
        share.total += more;
    }
    return share;
}

/* Block packing: 1260 octets in every packet but the last, over as many rows as it takes, three at most (ST 2110-20 6.3.3, 6.1.4). */
static struct share block_share(const struct pacing *pacing, uint32_t offset, uint32_t part_bytes)
{
    const uint32_t row_bytes = pacing->layout.row_bytes;
    struct share share = { 0 };
    uint32_t left = part_bytes - offset < PACING_BLOCKS_BYTES ? part_bytes - offset : PACING_BLOCKS_BYTES;
    while (left && share.segments < PACING_SEGMENTS_MAX) {
        uint32_t left_in_row = row_bytes - (offset + share.total) % row_bytes, take = left < left_in_row ? left : left_in_row;
        share.octets[share.segments++] = take;
        share.total += take;
        left -= take;
    }
    return share;
}

static struct share share_of(const struct pacing *pacing, uint32_t offset, uint32_t part_bytes)
{
    return (pacing->layout.blocks ? block_share : general_share)(pacing, offset, part_bytes);
}

static uint32_t count_packets(const struct pacing *pacing, uint32_t part_bytes)
{
    uint32_t count = 0;
    for (uint32_t offset = 0; offset < part_bytes; count++)
        offset += share_of(pacing, offset, part_bytes).total;
    return count;
}

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

/* Writes a packet's sample row data headers: length, F and row, C and offset in pixels. Returns the row after the last one that it touches. */
static uint32_t put_segments(const struct pacing_layout *layout, uint8_t *at, const struct share *share, uint32_t offset)
{
    for (uint32_t i = 0; i < share->segments; i++, at += SRD_BYTES) {
        uint32_t row = offset / layout->row_bytes, pixel = offset % layout->row_bytes / layout->pgroup_bytes * layout->pgroup_columns;
        put16(at, share->octets[i]);
        put16(at + 2, row * layout->pgroup_rows | (layout->second_part ? 0x8000 : 0));
        put16(at + 4, pixel | (i + 1 < share->segments ? 0x8000 : 0));
        offset += share->octets[i];
    }
    return (offset - 1) / layout->row_bytes + 1;
}

union pacing_control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(uint16_t))];
};

static uint32_t packet_bytes(const struct pacing *pacing, uint32_t packet)
{
    return (uint32_t)(pacing->pieces[2 * packet].iov_len + pacing->pieces[2 * packet + 1].iov_len);
}

/* Joins neighbours of equal size, and one shorter packet after them, into runs; a run stays inside one burst. */
static void lay_runs(struct pacing *pacing)
{
    pacing->run_count = 0;
    for (uint32_t i = 0; i < pacing->packet_count; i++) {
        uint32_t size = packet_bytes(pacing, i);
        struct pacing_run *run = pacing->run_count ? &pacing->runs[pacing->run_count - 1] : NULL;
        if (run && pacing->segmented && size <= run->size && packet_bytes(pacing, i - 1) == run->size && i % pacing->burst_packets
            && run->count < RUN_PACKETS_MAX && (run->count + 1) * run->size <= RUN_BYTES_MAX)
            run->count++;
        else
            pacing->runs[pacing->run_count++] = (struct pacing_run){ .first = i, .count = 1, .size = size };
    }
    for (uint32_t i = 0; i < pacing->run_count; i++) {
        const struct pacing_run *run = &pacing->runs[i];
        struct msghdr *message = &pacing->messages[i].msg_hdr;
        *message = (struct msghdr){ .msg_iov = pacing->pieces + 2 * run->first, .msg_iovlen = 2 * run->count };
        if (run->count == 1)
            continue;
        union pacing_control *control = &pacing->controls[i];
        message->msg_control = control;
        message->msg_controllen = sizeof *control;
        control->header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(uint16_t)), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT };
        *(uint16_t *)CMSG_DATA(&control->header) = (uint16_t)run->size;
    }
}

int pacing_open(struct pacing *pacing, uint8_t *part)
{
    uint32_t part_bytes = pacing->layout.row_bytes * pacing->layout.rows, count = count_packets(pacing, part_bytes), offset = 0;
    pacing->packet_count = count;
    pacing->runs = calloc(count, sizeof *pacing->runs);
    pacing->messages = calloc(count, sizeof *pacing->messages);
    pacing->controls = calloc(count, sizeof *pacing->controls);
    pacing->pieces = calloc(2 * (size_t)count, sizeof *pacing->pieces);
    pacing->headers = calloc(count, sizeof *pacing->headers);
    pacing->rows_needed = calloc(count, sizeof *pacing->rows_needed);
    if (!pacing->runs || !pacing->messages || !pacing->controls || !pacing->pieces || !pacing->headers || !pacing->rows_needed)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        struct share share = share_of(pacing, offset, part_bytes);
        pacing->rows_needed[i] = put_segments(&pacing->layout, pacing->headers[i] + RTP_BYTES + EXTENDED_SEQUENCE_BYTES, &share, offset);
        struct iovec *piece = pacing->pieces + 2 * i;
        piece[0] = (struct iovec){ pacing->headers[i], RTP_BYTES + EXTENDED_SEQUENCE_BYTES + SRD_BYTES * share.segments };
        piece[1] = (struct iovec){ part + offset, share.total };   /* rows touch, so several segments are one piece */
        offset += share.total;
    }
    int64_t bursts = (pacing->span_ns + PACING_BURST_NS - 1) / PACING_BURST_NS;
    pacing->burst_packets = (uint32_t)((count + bursts - 1) / bursts);
    lay_runs(pacing);
    return 0;
}

void pacing_close(struct pacing *pacing)
{
    free(pacing->runs);
    free(pacing->messages);
    free(pacing->controls);
    free(pacing->pieces);
    free(pacing->headers);
    free(pacing->rows_needed);
    *pacing = (struct pacing){ .fd = -1 };
}

int pacing_wait(int64_t clock_ns)
{
    struct timespec until = { .tv_sec = clock_ns / SECOND_NS, .tv_nsec = clock_ns % SECOND_NS };
    return clock_nanosleep(CLOCK_TAI, TIMER_ABSTIME, &until, NULL) == EINTR ? -1 : 0;
}

static void note_lateness(struct pacing *pacing, int64_t clock_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_TAI, &now);
    int64_t late_ns = (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec - clock_ns;
    if (late_ns > pacing->late_ns_max)
        pacing->late_ns_max = late_ns;
}

static void number_packets(struct pacing *pacing, uint32_t rtp_timestamp)
{
    for (uint32_t i = 0; i < pacing->packet_count; i++, pacing->sequence++) {
        uint8_t *header = pacing->headers[i];
        header[0] = 0x80;
        header[1] = (uint8_t)(pacing->payload_type | (i + 1 == pacing->packet_count ? 0x80 : 0));
        put16(header + 2, pacing->sequence);
        put32(header + 4, rtp_timestamp);
        put32(header + 8, pacing->ssrc);
        put16(header + RTP_BYTES, pacing->sequence >> 16);
    }
}

/* Errors that pass: nobody listens at a unicast address, a full queue, a cable pulled, a firewall. */
static int passes(int error)
{
    return error == ECONNREFUSED || error == ENOBUFS || error == EAGAIN || error == EPERM || error == ENETUNREACH
        || error == EHOSTUNREACH || error == ENETDOWN;
}

/* Sends the packets [first, end); what the kernel refuses is counted and left behind, or the rest of the frame would be late. */
static int send_burst(struct pacing *pacing, uint32_t first, uint32_t end, uint32_t *next_run)
{
    while (first < end) {
        uint32_t stop = *next_run;
        while (stop < pacing->run_count && pacing->runs[stop].first < end)
            stop++;
        int sent = sendmmsg(pacing->fd, pacing->messages + *next_run, stop - *next_run, 0);
        pacing->send_calls++;
        int error = sent < 0 ? errno : 0;
        if (error && pacing->segmented && !passes(error) && error != EINTR) {
            /* No checksum offload, or a route too narrow for a run: packet by packet works everywhere. A run is then one packet. */
            pacing->segmented = 0;
            lay_runs(pacing);
            *next_run = first;
            continue;
        }
        if (error && !passes(error) && error != EINTR)
            return error;
        for (int i = 0; i < sent; i++, (*next_run)++) {
            pacing->packets_sent += pacing->runs[*next_run].count;
            first += pacing->runs[*next_run].count;
        }
        if (error && error != EINTR) {
            pacing->packets_refused += pacing->runs[*next_run].count;
            first += pacing->runs[(*next_run)++].count;
        }
    }
    return 0;
}

int pacing_send(struct pacing *pacing, int64_t clock_ns, uint32_t rtp_timestamp, pacing_prepare *prepare, void *context)
{
    uint32_t next_run = 0;
    number_packets(pacing, rtp_timestamp);
    for (uint32_t first = 0; first < pacing->packet_count; first += pacing->burst_packets) {
        uint32_t end = first + pacing->burst_packets < pacing->packet_count ? first + pacing->burst_packets : pacing->packet_count;
        int64_t due_ns = clock_ns + pacing->span_ns * first / pacing->packet_count;
        while (pacing_wait(due_ns) < 0)
            continue;
        note_lateness(pacing, due_ns);
        prepare(context, pacing->rows_needed[end - 1]);
        int error = pacing->fd < 0 ? 0 : send_burst(pacing, first, end, &next_run);
        if (error)
            return error;
        for (uint32_t way = 0; way < PACING_DETOURS_MAX && pacing->detours[way]; way++) {
            for (uint32_t i = first; i < end; i++)
                detour_take(pacing->detours[way], pacing->pieces + 2 * i, due_ns);
            detour_flush(pacing->detours[way], due_ns);
        }
    }
    return 0;
}
