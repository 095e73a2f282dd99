/* The fan-out between threads, for the sanitizers: units of two renditions stream while viewers come, move, skip, complain and leave.
 *
 * Exit status 0: everybody who stayed was sent packets, and places and counters are as they were. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fanout.h"

enum { STREAMED = 600, RENDITIONS = 2, STAYING = 4, VISITORS = 3, SLOTS = 4, SLOT_BYTES = 100000, DELTA_BYTES = 6000, VIEWERS_MAX = 16 };

static struct fanout *fanout;
static struct ring *rings[RENDITIONS];
static int doorbells[RENDITIONS], sink, source;
static uint16_t port;
static int64_t staying[STAYING];
static _Atomic int finished;

static struct ring *open_ring(void)
{
    uint8_t format[RING_FORMAT_BYTES] = {0};
    size_t size = ring_mapping_bytes(SLOTS, SLOT_BYTES);
    struct ring *ring = aligned_alloc(64, (size + 63) / 64 * 64);
    memset(ring, 0, size);
    ring_initialise(ring, SLOTS, SLOT_BYTES, RING_EVERY, format, 1);
    ring_attach(ring, 0);
    return ring;
}

static int64_t join(int rendition, enum srtp_profile profile)
{
    static const uint8_t key[SRTP_KEY_BYTES] = {1}, salt[SRTP_SALT_BYTES_MAX] = {2};
    struct viewer_settings settings = {.profile = profile, .key = key, .salt = salt, .payload_type = 102, .abs_send_time_id = 3};
    if (destination_open(&settings.destination, source, "127.0.0.1", port, SEND_SEGMENTED))
        return 0;
    int64_t id = fanout_add_viewer(fanout, rendition, &settings);
    if (id <= 0)
        destination_close(&settings.destination);
    return id;
}

static void *publish(void *place)
{
    int rendition = (int)(intptr_t)place;
    for (uint64_t number = 1; number <= STREAMED;) {
        int slot = ring_claim(rings[rendition]);
        if (slot < 0) {
            usleep(100);
            continue;
        }
        int keyframe = number % 10 == 1;
        uint8_t *unit = ring_payload(rings[rendition], (uint32_t)slot);
        struct slot_header *header = &rings[rendition]->slots[slot].header;
        header->payload_bytes = keyframe ? SLOT_BYTES : DELTA_BYTES;
        memset(unit, 0xaa, header->payload_bytes);
        memcpy(unit, "\0\0\1\x65", 4);
        header->number = number;
        header->rtp_timestamp = (uint32_t)(1800 * number++);
        header->flags = keyframe ? FLAG_KEYFRAME : 0;
        ring_publish(rings[rendition], slot);
        ring_ring_doorbells(&doorbells[rendition], 1);
    }
    finished++;
    return NULL;
}

static void *visit(void *place)
{
    unsigned random = (unsigned)(uintptr_t)place;
    uint16_t sequences[64];
    while (finished < RENDITIONS) {
        int64_t other = staying[rand_r(&random) % STAYING];
        int64_t own = join(rand_r(&random) % RENDITIONS, rand_r(&random) % 2 ? SRTP_AEAD_AES_128_GCM : SRTP_AES128_CM_SHA1_80);
        struct viewer_stats stats;
        fanout_move_viewer(fanout, own, rand_r(&random) % RENDITIONS, rand_r(&random) % 2);
        fanout_move_viewer(fanout, other, rand_r(&random) % RENDITIONS, rand_r(&random) % 8 == 0);
        if (rand_r(&random) % 8 == 0)
            fanout_skip_viewer(fanout, other);
        if (!fanout_viewer_stats(fanout, other, &stats))
            for (uint32_t i = 0; i < 64; i++)
                sequences[i] = (uint16_t)(stats.last_sequence - 5 * i);
        fanout_nack(fanout, other, sequences, 64);
        for (int i = 0; i < RENDITIONS; i++)
            fanout_take_keyframes_wanted(fanout, fanout_rendition(fanout, i));
        fanout_remove_viewer(fanout, own);
    }
    return NULL;
}

static void *run(void *unused) { return (void)unused, (void *)(intptr_t)fanout_run(fanout); }

static void open_sockets(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    sink = socket(AF_INET, SOCK_DGRAM, 0);
    source = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(sink, (struct sockaddr *)&address, sizeof address) || getsockname(sink, (struct sockaddr *)&address, &bytes))
        abort();
    port = ntohs(address.sin_port);
}

static int check(void)
{
    uint64_t viewers = 0;
    int failed = 0;
    for (int i = 0; i < STAYING; i++) {
        struct viewer_stats stats;
        failed |= fanout_viewer_stats(fanout, staying[i], &stats) || stats.packets == 0;
        fanout_remove_viewer(fanout, staying[i]);
    }
    for (int i = 0; i < RENDITIONS; i++)
        viewers += counted(fanout_rendition(fanout, i), VIEWERS);
    printf("%llu viewers left, failed %d\n", (unsigned long long)viewers, failed);
    return failed || viewers;
}

int main(void)
{
    struct bounds bounds = {.count = 2, .ns = {1000, 1000000}};
    pthread_t server, publishers[RENDITIONS], visitors[VISITORS];
    open_sockets();
    fanout = fanout_create(RENDITIONS, VIEWERS_MAX, &bounds, &bounds);
    for (int i = 0; i < RENDITIONS; i++) {
        rings[i] = open_ring();
        doorbells[i] = eventfd(0, EFD_NONBLOCK);
        fanout_add_rendition(fanout, rings[i], 0, doorbells[i], CODEC_H264, 7);
    }
    for (int i = 0; i < STAYING; i++)
        staying[i] = join(i % RENDITIONS, SRTP_AEAD_AES_128_GCM);
    pthread_create(&server, NULL, run, NULL);
    for (intptr_t i = 0; i < RENDITIONS; i++)
        pthread_create(&publishers[i], NULL, publish, (void *)i);
    for (intptr_t i = 0; i < VISITORS; i++)
        pthread_create(&visitors[i], NULL, visit, (void *)(i + 1));
    for (int i = 0; i < RENDITIONS; i++)
        pthread_join(publishers[i], NULL);
    for (int i = 0; i < VISITORS; i++)
        pthread_join(visitors[i], NULL);
    fanout_stop(fanout);
    pthread_join(server, NULL);
    int failed = check();
    fanout_destroy(fanout);
    for (int i = 0; i < RENDITIONS; i++) {
        close(doorbells[i]);
        free(rings[i]);
    }
    return failed;
}
