/* Two things against the sending half of an association, under AddressSanitizer and UBSan: acknowledgements that are nearly right, and a receiver
 * that loses most of what comes. After each round the sums must agree with the chunks.   sctp_driver SEED ROUNDS
 */
#include "crc32c.h"
#include "sctp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 2000
#define HELD_BYTES_MAX 32768u
#define LOCAL_TAG 77u

static uint64_t state;
static uint64_t packets;

static uint32_t next_random(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32);
}
static uint32_t below(uint32_t limit) { return next_random() % limit; }

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Takes a packet; copies it to memory of its very size, so that a length that lies is seen. */
static enum sctp_outcome take(void *carrier, const uint8_t *packet, size_t bytes)
{
    (void)carrier;
    uint8_t *copy = malloc(bytes);
    memcpy(copy, packet, bytes);
    if (bytes % 4 || bytes > SCTP_PACKET_BYTES_MAX || (size_t)(copy[14] << 8 | copy[15]) > bytes - 12)
        fail("a packet of a wrong size");
    packets++;
    free(copy);
    return below(50) ? SCTP_SENT : SCTP_SKIPPED;
}

static void check(const struct sctp_sender *s)
{
    uint32_t held = 0, flight = 0;
    for (uint32_t tsn = s->acked + 1; tsn != s->next; tsn++) {
        const struct sctp_chunk *chunk = &s->chunks[tsn % SCTP_CHUNKS_MAX];
        flight += chunk->state == CHUNK_IN_FLIGHT ? chunk->bytes : 0;
        held += chunk->state == CHUNK_IN_FLIGHT || chunk->state == CHUNK_WAITING || chunk->state == CHUNK_LOST ? chunk->bytes : 0;
        if (chunk->state == CHUNK_FREE || ((chunk->state == CHUNK_WAITING || chunk->state == CHUNK_LOST) && !chunk->message))
            fail("a chunk that cannot be sent");
    }
    if (held != s->held_bytes || flight != s->flight_bytes)
        fail("sums that do not agree with the chunks");
    if (s->next - s->acked - 1 > SCTP_CHUNKS_MAX || s->unsent - s->acked - 1 > s->next - s->acked - 1 || s->forwarded - s->acked >= s->unsent - s->acked)
        fail("numbers out of order");
    if ((flight || s->forwarded != s->acked) && !s->due_ns)
        fail("something is on its way and no timer runs");
}

static void send(struct sctp_sender *s, uint64_t now)
{
    static uint8_t octets[70000];
    uint32_t bytes = below(8) ? below(1500) : below(sizeof octets);
    struct sctp_message *message = sctp_message_create(octets, bytes);
    struct sctp_manner manner = {.stream = (uint16_t)below(20), .ordered = below(4) == 0, .protocol = 53,
                                 .resends_max = below(4) ? 0 : below(2) ? 2 : SCTP_RESENDS_UNLIMITED};
    sctp_send(s, message, &manner, now);
    sctp_message_release(message);
}

/* A SACK near the truth: its numbers are right or a little off, its blocks may overlap, go back or reach beyond what was sent. */
static void acknowledge(struct sctp_sender *s, uint64_t now)
{
    uint8_t packet[SCTP_PACKET_BYTES_MAX] = {0};
    uint32_t gaps = below(3) ? below(6) : below(200), duplicates = below(8) ? 0 : below(20), bytes = 28 + 4 * (gaps + duplicates);
    put32(packet + 4, LOCAL_TAG + (below(50) == 0));
    packet[12] = below(50) ? 3 : (uint8_t)next_random();
    packet[14] = (uint8_t)((bytes - 12) >> 8);
    packet[15] = (uint8_t)(bytes - 12);
    put32(packet + 16, s->acked + (below(3) ? below(4) : below(20) ? below(s->unsent - s->acked) : next_random()));
    put32(packet + 20, below(4) ? 1 << 20 : below(5000));
    put32(packet + 24, gaps << 16 | duplicates);
    uint32_t end = 0;
    for (uint32_t i = 0; i < gaps; i++) {
        uint32_t from = below(10) ? end + 1 + below(4) : next_random(), to = below(10) ? from + below(5) : next_random();
        put32(packet + 28 + 4 * i, from << 16 | (to & 0xFFFF));
        end = to & 0xFFFF;
    }
    uint32_t sum = crc32c(packet, bytes);
    for (int i = 0; i < 4; i++)
        packet[8 + i] = (uint8_t)(sum >> 8 * i);
    for (uint32_t spoilt = below(10) ? 0 : below(5); spoilt; spoilt--)
        packet[below(bytes)] ^= (uint8_t)next_random();
    uint8_t *exact = malloc(bytes);
    uint32_t used = below(20) ? bytes : below(bytes);
    memcpy(exact, packet, used);
    exact = realloc(exact, used ? used : 1);
    sctp_receive(s, exact, used, now);
    free(exact);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    state = strtoull(argv[1], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    struct sctp_sender *s = malloc(sizeof *s);
    for (long round = strtol(argv[2], NULL, 10); round; round--) {
        uint64_t now = 1;
        sctp_create(s, below(2) ? 0u - below(300) : next_random(), HELD_BYTES_MAX, take, NULL);
        sctp_open(s, 5000, 5000, LOCAL_TAG, 1, below(4) ? 1 << 20 : below(3000), 0);
        for (int step = 0; step < STEPS; step++) {
            now += below(20) ? below(20000000) : below(3000000000u);
            switch (below(8)) {
            case 0: case 1: case 2: send(s, now); break;
            case 3: sctp_expire(s, now); break;
            case 4: sctp_reset_stream(s, (uint16_t)below(20)); break;
            default: acknowledge(s, now); break;
            }
            check(s);
        }
        sctp_destroy(s);
    }
    free(s);
    printf("%llu\n", (unsigned long long)packets);
    return 0;
}
