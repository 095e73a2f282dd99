#include "pacing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RTP_BYTES = 12, EXTENDED_SEQUENCE_BYTES = 2, SRD_BYTES = 6 };
static const int64_t SECOND_NS = 1000000000;

/* What one packet carries: `first` octets to the end of a row or short of it, then `second` octets of the next row. */
struct share { uint32_t first, second; };

static struct share share_of(uint32_t offset, uint32_t row_bytes, uint32_t frame_bytes, uint32_t pgroup_bytes)
{
    uint32_t one = PACING_PAYLOAD_MAX - RTP_BYTES - EXTENDED_SEQUENCE_BYTES - SRD_BYTES, two = one - SRD_BYTES;
    one -= one % pgroup_bytes;
    two -= two % pgroup_bytes;
    uint32_t left_in_row = row_bytes - offset % row_bytes, left_in_frame = frame_bytes - offset;
    struct share share = { left_in_row < one ? left_in_row : one, 0 };
    /* A second header only pays when the row ends here with room to spare. */
    if (share.first == left_in_row && left_in_row < two && left_in_frame > left_in_row) {
        share.second = two - left_in_row;
        if (share.second > row_bytes)
            share.second = row_bytes;
    }
    return share;
}

uint32_t pacing_packets(uint32_t row_bytes, uint32_t height, uint32_t pgroup_bytes)
{
    uint32_t count = 0, frame_bytes = row_bytes * height;
    for (uint32_t offset = 0; offset < frame_bytes; count++) {
        struct share share = share_of(offset, row_bytes, frame_bytes, pgroup_bytes);
        offset += share.first + share.second;
    }
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

/* A sample row data header: length, F and row, C and offset in pixels; F stays 0 in progressive video. */
static void put_srd(uint8_t *at, uint32_t length, uint32_t row, uint32_t pixel, int continued)
{
    put16(at, length);
    put16(at + 2, row);
    put16(at + 4, pixel | (continued ? 0x8000 : 0));
}

int pacing_open(struct pacing *pacing, uint8_t *frame, uint32_t row_bytes, uint32_t height, uint32_t pgroup_bytes)
{
    uint32_t count = pacing_packets(row_bytes, height, pgroup_bytes), frame_bytes = row_bytes * height, offset = 0;
    pacing->packet_count = count;
    pacing->messages = calloc(count, sizeof *pacing->messages);
    pacing->pieces = calloc(2 * (size_t)count, sizeof *pacing->pieces);
    pacing->headers = calloc(count, sizeof *pacing->headers);
    pacing->rows_needed = calloc(count, sizeof *pacing->rows_needed);
    if (!pacing->messages || !pacing->pieces || !pacing->headers || !pacing->rows_needed)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        struct share share = share_of(offset, row_bytes, frame_bytes, pgroup_bytes);
        uint32_t row = offset / row_bytes, pixel = offset % row_bytes / pgroup_bytes * 2;
        uint8_t *srd = pacing->headers[i] + RTP_BYTES + EXTENDED_SEQUENCE_BYTES;
        put_srd(srd, share.first, row, pixel, share.second != 0);
        if (share.second)
            put_srd(srd + SRD_BYTES, share.second, row + 1, 0, 0);
        struct iovec *piece = pacing->pieces + 2 * i;
        piece[0] = (struct iovec){ pacing->headers[i], RTP_BYTES + EXTENDED_SEQUENCE_BYTES + SRD_BYTES * (share.second ? 2 : 1) };
        piece[1] = (struct iovec){ frame + offset, share.first + share.second };   /* rows touch, so two shares are one piece */
        pacing->messages[i].msg_hdr.msg_iov = piece;
        pacing->messages[i].msg_hdr.msg_iovlen = 2;
        pacing->rows_needed[i] = row + (share.second ? 2 : 1);
        offset += share.first + share.second;
    }
    int64_t bursts = (pacing->span_ns + PACING_BURST_NS - 1) / PACING_BURST_NS;
    pacing->burst_packets = (uint32_t)((count + bursts - 1) / bursts);
    return 0;
}

void pacing_close(struct pacing *pacing)
{
    free(pacing->messages);
    free(pacing->pieces);
    free(pacing->headers);
    free(pacing->rows_needed);
    pacing->messages = NULL;
    pacing->pieces = NULL;
    pacing->headers = NULL;
    pacing->rows_needed = NULL;
    pacing->packet_count = 0;
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

/* Packets the kernel refuses are counted and left behind: a sender that waited would be late for the rest of the frame. */
static int send_burst(struct pacing *pacing, uint32_t first, uint32_t end)
{
    while (first < end) {
        int sent = sendmmsg(pacing->fd, pacing->messages + first, end - first, 0);
        pacing->send_calls++;
        if (sent > 0) {
            pacing->packets_sent += (uint32_t)sent;
            first += (uint32_t)sent;
        } else if (errno == ECONNREFUSED || errno == ENOBUFS || errno == EAGAIN || errno == EPERM
                   || errno == ENETUNREACH || errno == EHOSTUNREACH || errno == ENETDOWN) {
            pacing->packets_refused++;   /* nobody listens at a unicast address, a full queue, a cable pulled: all of them pass */
            first++;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int pacing_send(struct pacing *pacing, int64_t clock_ns, uint32_t rtp_timestamp, pacing_prepare *prepare, void *context)
{
    number_packets(pacing, rtp_timestamp);
    for (uint32_t first = 0; first < pacing->packet_count; first += pacing->burst_packets) {
        uint32_t end = first + pacing->burst_packets < pacing->packet_count ? first + pacing->burst_packets : pacing->packet_count;
        int64_t due_ns = clock_ns + pacing->span_ns * first / pacing->packet_count;
        while (pacing_wait(due_ns) < 0)
            continue;
        note_lateness(pacing, due_ns);
        prepare(context, pacing->rows_needed[end - 1]);
        int error = send_burst(pacing, first, end);
        if (error)
            return error;
    }
    return 0;
}
