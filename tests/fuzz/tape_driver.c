/* Plays sound packets that are nearly right onto tapes and reads them back at every rate, under AddressSanitizer and UBSan.
 *
 * Built and run by test_tape_fuzz.py. Each packet lies in memory of exactly its size; each is counted; what is read is a sample.
 * tape_driver SEED TAPES
 */
#include "tape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACKETS 400
#define OUTPUT_HZ 48000u
#define FRAME_SAMPLES 480u
#define PAYLOAD_TYPE 97u
#define SECOND_NS 1000000000ll
#define PACKET_BYTES_MAX 9000u

static uint64_t state;

static uint32_t below(uint32_t limit) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32) % limit;
}

struct sender {
    uint16_t sequence;
    uint32_t timestamp, ssrc, ticks;
};

struct place {
    int64_t tick;
    uint32_t fraction;
};

struct counts {
    uint64_t accepted, refused, silent_ticks;
};

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* The next packet of the sender; returns its length. */
static size_t write_packet(uint8_t *packet, struct sender *sender, const struct pcm_format *format)
{
    size_t length = 12 + (size_t)sender->ticks * format->channels * format->sample_bytes;
    packet[0] = 0x80;
    packet[1] = PAYLOAD_TYPE;
    packet[2] = (uint8_t)(sender->sequence >> 8);
    packet[3] = (uint8_t)sender->sequence;
    put_u32(packet + 4, sender->timestamp);
    put_u32(packet + 8, sender->ssrc);
    for (size_t at = 12; at < length; at++)
        packet[at] = (uint8_t)below(256);
    sender->sequence++;
    sender->timestamp += sender->ticks;
    return length;
}

/* What networks and other senders do to a packet; returns its new length. */
static size_t damage(uint8_t *packet, size_t length)
{
    switch (below(8)) {
    case 0: return below((uint32_t)length + 1);
    case 1: packet[0] = (uint8_t)below(256); return length;
    case 2: packet[1] = (uint8_t)below(256); return length;
    case 3: packet[2 + below(2)] = (uint8_t)below(256); return length;
    case 4: packet[4 + below(4)] = (uint8_t)below(256); return length;
    case 5: packet[8 + below(4)] = (uint8_t)below(256); return length;
    case 6: packet[0] |= 0x20; packet[length - 1] = (uint8_t)below(256); return length;
    default: packet[0] |= 0x10; put_u32(packet + 12, below(2) ? below(16) : below(0xFFFFFFFF)); return length;
    }
}

static void read_frame(struct tape *tape, struct place *place, uint32_t rate_hz, struct counts *counts)
{
    static float sides[FRAME_SAMPLES][PCM_SIDES];
    uint64_t step = RESAMPLE_ONE * rate_hz / OUTPUT_HZ + (below(2) ? 0 : below(2000000)) - (below(2) ? 0 : below(2000000));
    /* As the stage does it: never behind what has been overwritten; sometimes far ahead. */
    int64_t least = tape->settled - (int64_t)(TAPE_HISTORY / 2);
    if (place->tick < least || below(200) == 0)
        place->tick = least + (int64_t)below(8) * (below(50) ? 0 : rate_hz / 8);
    counts->silent_ticks += tape_take(tape, place->tick, place->fraction, step, FRAME_SAMPLES, sides);
    uint64_t moved = place->fraction + step * FRAME_SAMPLES;
    place->tick += (int64_t)(moved >> 32);
    place->fraction = (uint32_t)moved;
    for (uint32_t i = 0; i < FRAME_SAMPLES; i++)
        for (uint32_t side = 0; side < PCM_SIDES; side++)
            if (!(fabsf(sides[i][side]) <= 1))
                abort();
}

static uint64_t counted(const struct tape_statistics *statistics)
{
    uint64_t sum = statistics->packets + statistics->duplicate;
    for (int reason = 0; reason < PCM_REFUSALS; reason++)
        sum += statistics->malformed[reason];
    return sum;
}

static void play(struct counts *counts)
{
    static const uint32_t rates_hz[] = {44100, 48000, 96000};
    struct pcm_format format = {.payload_type = PAYLOAD_TYPE, .sample_bytes = (uint8_t)(2 + below(2)), .channels = (uint16_t)(1 + (below(3) ? below(8) : below(PCM_CHANNELS_MAX)))};
    for (uint32_t channel = 0; channel < format.channels; channel++)
        format.gains[channel][below(2)] = (float)below(1000) / 1000;
    uint32_t rate_hz = rates_hz[below(3)], ticks = 1 + below(rate_hz / 250), fed = 0;
    uint32_t room = (PACKET_BYTES_MAX - 12) / (format.channels * format.sample_bytes);
    struct sender sender = {.sequence = (uint16_t)below(65536), .timestamp = below(0xFFFFFFFF), .ssrc = below(0xFFFFFFFF), .ticks = ticks < room ? ticks : room};
    struct tape_instant now = {.tai_ns = 1700000000 * SECOND_NS, .monotonic_ns = SECOND_NS};
    struct tape *tape = tape_new(&format, rate_hz, sender.ticks, OUTPUT_HZ);
    static uint8_t original[PACKET_BYTES_MAX + 4];
    struct place place = {0};
    for (int number = 0; number < PACKETS; number++) {
        int64_t passed_ns = (int64_t)sender.ticks * SECOND_NS / rate_hz;
        if (below(100) == 0) { /* an outage, a restart or another packet time */
            passed_ns += below(400) * 1000000ll;
            sender.ssrc += below(2);
            sender.timestamp += below(2) ? below(0xFFFFFFFF) : 0;
            sender.ticks = 1 + below(sender.ticks);
        }
        now.tai_ns += passed_ns;
        now.monotonic_ns += passed_ns;
        size_t length = write_packet(original, &sender, &format);
        if (below(12) == 0)
            continue;
        if (below(6) == 0)
            length = damage(original, length);
        uint8_t *packet = malloc(length ? length : 1);
        memcpy(packet, original, length);
        for (uint32_t copies = 1 + (below(20) == 0); copies; copies--, fed++)
            tape_packet(tape, packet, length, &now);
        free(packet);
        if (below(100) == 0)
            tape_begin_anew(tape);
        if (tape->epoch && (below(8) == 0 || tape_due(tape, tape_needed(tape, place.tick, place.fraction, RESAMPLE_ONE, FRAME_SAMPLES), now.monotonic_ns) == TAPE_WHOLE))
            read_frame(tape, &place, rate_hz, counts);
    }
    /* The first packet of each sender that is followed has nothing to fit to and is not counted. */
    uint64_t followed = 1 + tape->statistics.restarts + tape->statistics.outages, sum = counted(&tape->statistics);
    if (sum > fed || fed - sum > followed)
        abort();
    counts->accepted += tape->statistics.packets;
    counts->refused += sum - tape->statistics.packets;
    tape_free(tape);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct counts counts = {0};
    state = strtoull(argv[1], NULL, 10) * 2 + 1;
    for (long tapes = strtol(argv[2], NULL, 10); tapes > 0; tapes--)
        play(&counts);
    printf("%lu %lu %lu\n", (unsigned long)counts.accepted, (unsigned long)counts.refused, (unsigned long)counts.silent_ticks);
    return 0;
}
