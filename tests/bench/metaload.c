/* The data-channel half of many viewers after their set-up: reads DTLS, counts whole messages and acknowledges as Chromium does (RFC 9260 section 6.2):
 * every second packet, and a single one within 200 ms, for which metaload_late() is called every 50 ms.
 *
 * Built and called by metaload.py on its event loop's thread. Only as much of SCTP as a benchmark on loopback needs.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"

#define VIEWERS_MAX 2048
#define BATCH 64
#define DATAGRAM_BYTES_MAX 2048
#define ACKNOWLEDGE_WITHIN_NS 150000000ull
enum { DATA = 0, FORWARD_TSN = 192, LAST = 1 };

struct library {
    int (*write)(void *, const void *, int);
    int (*read)(void *, void *, int);
    int (*bio_write)(void *, const void *, int);
    int (*bio_read)(void *, void *, int);
};

struct viewer {
    int fd;
    void *ssl, *incoming, *outgoing;
    uint8_t head[8]; /* ports and the other side's tag, network order */
    uint32_t cumulative, waiting;
    uint64_t waiting_since_ns;
    uint32_t begun_at; /* the last number before those that count */
    struct sockaddr_storage from;
    socklen_t from_bytes;
};

static struct viewer viewers[VIEWERS_MAX];
static struct library library;
static uint64_t messages, chunks;
static int viewer_count;
static uint32_t (*checksum)(const uint8_t *, size_t);
extern uint32_t crc32c(const uint8_t *, size_t);

static uint32_t get32(const uint8_t *at) { return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]; }

void metaload_open(void *const *functions)
{
    memcpy(&library, functions, sizeof library);
    checksum = crc32c;
}

uint64_t metaload_messages(void) { return messages; }

/* Counts from here on. */
void metaload_begin(void)
{
    messages = chunks = 0;
    for (int i = 0; i < viewer_count; i++)
        viewers[i].begun_at = viewers[i].cumulative;
}

uint64_t metaload_chunks(void) { return chunks; }

/* Chunks that were sent to all viewers, by their numbers: what is missing of them was lost on the way. */
uint64_t metaload_chunks_sent(void)
{
    uint64_t sent = 0;
    for (int i = 0; i < viewer_count; i++)
        sent += viewers[i].cumulative - viewers[i].begun_at;
    return sent;
}

int metaload_viewers_max(void) { return VIEWERS_MAX; }

int metaload_add(int epoll, int number, int fd, void *ssl, void *incoming, void *outgoing, const uint8_t *head, uint32_t cumulative)
{
    struct viewer *viewer = &viewers[number];
    *viewer = (struct viewer){.fd = fd, .ssl = ssl, .incoming = incoming, .outgoing = outgoing, .cumulative = cumulative};
    memcpy(viewer->head, head, sizeof viewer->head);
    viewer_count = number + 1;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)number});
}

static void acknowledge(struct viewer *viewer)
{
    uint8_t packet[28] = {0}, record[DATAGRAM_BYTES_MAX];
    memcpy(packet, viewer->head, 8);
    packet[12] = 3;
    packet[15] = 16;
    for (int i = 0; i < 4; i++)
        packet[16 + i] = (uint8_t)(viewer->cumulative >> (24 - 8 * i));
    packet[21] = 16; /* a window of 1 MiB */
    uint32_t sum = checksum(packet, sizeof packet);
    for (int i = 0; i < 4; i++)
        packet[8 + i] = (uint8_t)(sum >> 8 * i);
    viewer->waiting = 0;
    if (library.write(viewer->ssl, packet, sizeof packet) <= 0)
        return;
    int bytes = library.bio_read(viewer->outgoing, record, sizeof record);
    if (bytes > 0)
        sendto(viewer->fd, record, (size_t)bytes, MSG_DONTWAIT, (struct sockaddr *)&viewer->from, viewer->from_bytes);
}

static void take_packet(struct viewer *viewer, const uint8_t *packet, int bytes)
{
    if (bytes < 20)
        return;
    uint32_t tsn = get32(packet + 16);
    if (packet[12] == DATA) {
        /* A lost packet is passed over at once: what counts here is the server's cost, and losses show in the count. */
        if ((int32_t)(tsn - viewer->cumulative) > 0)
            viewer->cumulative = tsn;
        messages += packet[13] & LAST;
        chunks++;
        if (++viewer->waiting == 2)
            acknowledge(viewer);
        else
            viewer->waiting_since_ns = clock_ns(CLOCK_MONOTONIC);
    } else if (packet[12] == FORWARD_TSN) {
        viewer->cumulative = tsn;
        acknowledge(viewer);
    }
}

/* Acknowledges what waits for a second packet that does not come: else a server whose congestion window is one packet would wait for ever. */
void metaload_late(void)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < viewer_count; i++)
        if (viewers[i].waiting && now_ns - viewers[i].waiting_since_ns >= ACKNOWLEDGE_WITHIN_NS)
            acknowledge(&viewers[i]);
}

/* Reads what lies at the sockets. What is no DTLS goes to `other`: number of the viewer, octets, their count. */
void metaload_drain(int epoll, void (*other)(int, const uint8_t *, int))
{
    struct epoll_event ready[BATCH];
    uint8_t datagram[DATAGRAM_BYTES_MAX], packet[DATAGRAM_BYTES_MAX];
    int count = epoll_wait(epoll, ready, BATCH, 0);
    for (int i = 0; i < count; i++) {
        struct viewer *viewer = &viewers[ready[i].data.u32];
        for (;;) {
            viewer->from_bytes = sizeof viewer->from;
            ssize_t bytes = recvfrom(viewer->fd, datagram, sizeof datagram, MSG_DONTWAIT, (struct sockaddr *)&viewer->from, &viewer->from_bytes);
            if (bytes <= 0)
                break;
            if (datagram[0] < 20 || datagram[0] > 63) {
                other((int)ready[i].data.u32, datagram, (int)bytes);
                continue;
            }
            library.bio_write(viewer->incoming, datagram, (int)bytes);
            int length = library.read(viewer->ssl, packet, sizeof packet);
            if (length > 0)
                take_packet(viewer, packet, length);
        }
    }
}
