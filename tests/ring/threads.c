/* The ring between threads, for ThreadSanitizer: one writer, readers of both policies, an eviction now and then. Exit status 0: nothing torn. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

enum { FRAMES = 5000, WORDS = 64, READERS = 3 };

static struct ring *ring;
static _Atomic int torn, seen, finished;

static void *write_frames(void *unused)
{
    (void)unused;
    for (uint64_t number = 1; number <= FRAMES;) {
        int slot = ring_claim(ring);
        if (slot < 0)
            continue;
        uint64_t *samples = (uint64_t *)ring_payload(ring, (uint32_t)slot);
        for (int i = 0; i < WORDS; i++)
            samples[i] = number;
        ring->slots[slot].header.number = number++;
        ring_publish(ring, slot);
    }
    finished = 1;
    return NULL;
}

static void *read_frames(void *place)
{
    uint32_t reader = (uint32_t)(uintptr_t)place;
    unsigned random = reader;
    ring_attach(ring, reader);
    for (;;) {
        int done = finished;
        int slot = ring->policy == RING_EVERY ? ring_lease_next(ring, reader) : ring_lease_latest(ring, reader);
        if (slot < 0) {
            if (done)
                break;
            continue;
        }
        const uint64_t *samples = (const uint64_t *)ring_payload(ring, (uint32_t)slot);
        for (int i = 0; i < WORDS; i++)
            torn += samples[i] != ring->slots[slot].header.number;
        seen++;
        ring_release(ring, reader, slot);
        if (rand_r(&random) % 1000 == 0)
            ring_attach(ring, reader); /* a restarted reader takes its place again */
    }
    ring_detach(ring, reader);
    return NULL;
}

int main(void)
{
    for (uint32_t policy = RING_LATEST; policy <= RING_EVERY; policy++) {
        uint8_t format[RING_FORMAT_BYTES] = {0};
        size_t size = ring_mapping_bytes(READERS + 3, WORDS * sizeof(uint64_t));
        ring = aligned_alloc(64, (size + 63) / 64 * 64);
        memset(ring, 0, size);
        ring_initialise(ring, READERS + 3, WORDS * sizeof(uint64_t), policy, format, 1);
        finished = seen = 0;
        pthread_t writer, readers[READERS];
        for (uintptr_t i = 0; i < READERS; i++)
            pthread_create(&readers[i], NULL, read_frames, (void *)i);
        pthread_create(&writer, NULL, write_frames, NULL);
        pthread_join(writer, NULL);
        for (int i = 0; i < READERS; i++)
            pthread_join(readers[i], NULL);
        printf("policy %u: %d leases, %d torn words\n", policy, seen, torn);
        free(ring);
    }
    return torn != 0 || seen == 0;
}
