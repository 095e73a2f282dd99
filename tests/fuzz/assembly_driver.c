/* Feeds an assembly with packets that are nearly right, for as many rounds as asked, under AddressSanitizer and UBSan.
 *
 * Built and run by test_assembly_fuzz.py. Slots are exactly a frame long, so that a write beyond one is seen.   assembly_driver SEED ROUNDS
 */
#include "assembly.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 12
#define PACKET_BYTES_MAX 9000

static uint64_t state;

static uint32_t next_random(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32);
}
static uint32_t below(uint32_t limit) { return next_random() % limit; }

static struct { uint8_t *payload[SLOTS]; bool claimed[SLOTS]; int newest; uint64_t published; } slots;

/* Gives a slot that is not the newest; now and then none at all. What it held before becomes something recognisable. */
static uint8_t *claim(void *context, int *slot)
{
    (void)context;
    if (below(50) == 0)
        return NULL;
    for (int i = 0; i < SLOTS; i++)
        if (!slots.claimed[i] && i != slots.newest) {
            slots.claimed[*slot = i] = true;
            return slots.payload[i];
        }
    return NULL;
}
static void publish(void *context, int slot, struct slot_header *header)
{
    const struct raster *raster = context;
    if (!slots.claimed[slot] || !(header->flags & FLAG_INCOMPLETE) != !header->rows_missing || header->rows_missing > raster->height ||
        header->payload_bytes != raster->pgroups * raster->pgroup_bytes || (header->flags & FLAG_SECOND_FIELD && raster->scan != SCAN_INTERLACED))
        abort();
    slots.claimed[slot] = false;
    slots.newest = slot;
    slots.published++;
}
static void abandon(void *context, int slot)
{
    (void)context;
    if (!slots.claimed[slot])
        abort();
    slots.claimed[slot] = false;
}

static void put16(uint8_t *at, uint32_t value) { at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value; }
static void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16), put16(at + 2, value & 0xffff); }

/* Where a sender is: next numbers, the next pgroup of the field or segment, and which of the two it is. */
struct camera { uint32_t sequence, timestamp, pgroup; bool second; };

/* A packet of a plausible sender: a segment or several of the raster's next rows. Returns its length. */
static size_t make(uint8_t *packet, const struct raster *raster, struct camera *camera)
{
    const uint32_t end = raster->wire_rows[camera->second] / raster->pgroup_rows * raster->row_pgroups;
    const uint32_t large = (PACKET_BYTES_MAX - 100) / raster->pgroup_bytes;
    size_t at = 12, samples = 0;
    memset(packet, 0, PACKET_BYTES_MAX);
    packet[0] = 0x80;
    packet[1] = 96;
    put16(packet + 2, camera->sequence);
    put32(packet + 4, camera->timestamp);
    put32(packet + 8, 7);
    put16(packet + at, camera->sequence >> 16);
    at += 2;
    uint32_t left = 1 + below(below(10) ? 200 : large), count = 0;
    for (;;) {
        uint32_t row = camera->pgroup / raster->row_pgroups, offset = camera->pgroup % raster->row_pgroups, room = raster->row_pgroups - offset;
        uint32_t take = left < room ? left : room;
        camera->pgroup += take, left -= take, samples += take * raster->pgroup_bytes;
        bool more = left && camera->pgroup < end && ++count < 4;
        put16(packet + at, take * raster->pgroup_bytes);
        put16(packet + at + 2, (uint32_t)camera->second << 15 | row * raster->pgroup_rows);
        put16(packet + at + 4, (uint32_t)more << 15 | offset * raster->pgroup_columns);
        at += 6;
        if (!more)
            break;
    }
    camera->sequence++;
    if (camera->pgroup == end) {
        packet[1] |= 0x80;
        camera->pgroup = 0;
        camera->second = raster->scan != SCAN_PROGRESSIVE && !camera->second;
        camera->timestamp += raster->scan == SCAN_SEGMENTED && camera->second ? 0 : 1800;
    }
    return at + samples;
}

/* Any raster that the appliance may be told of, small: every pgroup, every way of rows, even and odd heights. */
static struct raster any_raster(void)
{
    static const struct { uint32_t bytes, columns, rows; } pgroups[] = {
        {4, 2, 1}, {5, 2, 1}, {6, 2, 1}, {8, 2, 1}, {3, 1, 1}, {15, 4, 1}, {9, 2, 1}, {6, 1, 1}, {6, 2, 2}, {15, 4, 2}, {9, 2, 2}, {12, 2, 2}};
    uint32_t kind = below(sizeof pgroups / sizeof *pgroups), rows = pgroups[kind].rows;
    struct raster raster;
    enum scan scan = rows == 1 ? (enum scan)below(3) : SCAN_PROGRESSIVE;
    if (!raster_set(&raster, pgroups[kind].columns * (1 + below(120)), rows * (2 + below(60)), pgroups[kind].bytes, pgroups[kind].columns, rows, scan))
        abort();
    return raster;
}

/* Breaks a packet somewhere, mostly in its headers. */
static size_t damage(uint8_t *packet, size_t length)
{
    static const uint32_t words[] = {0, 1, 0x7fff, 0x8000, 0xffff, 0x7ffe, 5, 4};
    for (uint32_t times = 1 + below(3); times; times--) {
        size_t at = below(8) ? below(40) : below((uint32_t)length);
        if (at + 2 > length)
            continue;
        if (below(2))
            packet[at] = (uint8_t)next_random();
        else
            put16(packet + at, words[below(8)]);
    }
    return below(4) ? length : below((uint32_t)length + 1);
}

/* Every packet is in exactly one counter of its path, and every sound one in exactly one of the flow. */
static void check_accounts(const struct assembly *assembly, const uint64_t *given)
{
    const struct assembly_statistics *statistics = &assembly->statistics;
    uint64_t sound = statistics->packets + statistics->redundant + statistics->surplus, first = 0;
    for (uint32_t i = 0; i < assembly->paths.count; i++) {
        const struct path_statistics *path = &assembly->paths.each[i].statistics;
        uint64_t total = path->packets + path->duplicate;
        for (uint32_t reason = 0; reason < MALFORMED_REASONS; reason++)
            total += path->malformed[reason];
        if (total != given[i] || path->recovered > path->lost)
            abort();
        sound += path->late - path->packets;
        first += path->first;
    }
    if (sound != 0 || first != statistics->packets)
        abort();
}

static uint64_t damaged;

/* Gives a packet to a path. Safety, the other way round: in a block of its own length a read beyond the packet is seen. */
static void give(struct assembly *assembly, uint32_t path, const uint8_t *octets, size_t length, const struct instant *now, uint64_t *given)
{
    uint8_t *packet = malloc(length ? length : 1);
    memcpy(packet, octets, length);
    assembly_packet(assembly, path, packet, length, now);
    free(packet);
    given[path]++;
}

/* What is under way on the second path, which lags behind. */
#define LAG_MAX 400u
static struct { size_t length; bool used; uint8_t octets[PACKET_BYTES_MAX]; } lagging[LAG_MAX];

static void run(uint32_t rounds)
{
    const uint8_t neutral[16] = {0x80, 0x20, 0x08, 0x02};
    struct raster raster = any_raster();
    for (int i = 0; i < SLOTS; i++)
        slots.payload[i] = malloc((size_t)raster.pgroups * raster.pgroup_bytes), slots.claimed[i] = false;
    slots.newest = -1;
    struct frame_sink sink = {.context = &raster, .claim = claim, .publish = publish, .abandon = abandon};
    struct assembly *assembly = assembly_new(&raster, &sink, 96, neutral);
    const uint32_t paths = 1 + below(2), lag = 1 + below(LAG_MAX);
    memset(lagging, 0, sizeof lagging);
    assembly->frame_interval_ns = 1 + below(40000000);
    if (paths == 2 && !assembly_protect(assembly, 96, below(2) ? 0 : next_random(), below(50000000), 2 + below(8)))
        abort();
    struct instant now = {.tai_ns = 1700000000000000000, .monotonic_ns = 5000000000};
    if (below(2))
        survey_begin(&assembly->survey);
    struct camera camera = {.sequence = next_random(), .timestamp = next_random()};
    uint64_t given[PATHS_MAX] = {0};
    uint8_t whole[PACKET_BYTES_MAX], held[PACKET_BYTES_MAX];
    size_t held_bytes = 0;
    for (; rounds; rounds--) {
        size_t length = make(whole, &raster, &camera);
        uint32_t fate = below(100);
        if (fate < 3)
            continue; /* lost */
        if (fate < 8 && !held_bytes) {
            memcpy(held, whole, held_bytes = length); /* comes later */
            continue;
        }
        if (fate == 8)
            camera.sequence += below(4) ? below(70000) : next_random();
        if (fate == 9 && below(10) == 0)
            camera.timestamp += next_random();
        if (fate < 36)
            length = damage(whole, length), damaged++;
        for (uint32_t copies = (paths == 1 || below(10)) + (below(20) == 0); copies; copies--)
            give(assembly, 0, whole, length, &now, given);
        if (paths == 2) {
            uint32_t place = rounds % lag;
            if (lagging[place].used && below(10))
                give(assembly, 1, lagging[place].octets, lagging[place].length, &now, given);
            memcpy(lagging[place].octets, whole, lagging[place].length = length);
            lagging[place].used = true;
        }
        if (held_bytes && below(10) == 0) {
            give(assembly, below(paths), held, held_bytes, &now, given);
            held_bytes = 0;
        }
        int64_t step = below(200) ? below(20000) : below(300000000);
        now.tai_ns += step, now.monotonic_ns += step;
        if (below(20) == 0)
            assembly_tick(assembly, now.monotonic_ns);
    }
    check_accounts(assembly, given);
    assembly_free(assembly);
    for (int i = 0; i < SLOTS; i++) {
        if (slots.claimed[i])
            abort(); /* a slot was lost */
        free(slots.payload[i]);
    }
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    state = strtoull(arguments[1], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    for (uint32_t left = (uint32_t)strtoul(arguments[2], NULL, 10); left; left--)
        run(1000);
    printf("%llu %llu\n", (unsigned long long)slots.published, (unsigned long long)damaged);
    return 0;
}
