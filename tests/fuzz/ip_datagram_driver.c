/* Feeds the reader of IP and UDP headers with packets that are nearly right, under AddressSanitizer and UBSan.
 *
 * Built and run by test_ip_datagram_fuzz.py. Each packet lies in a block of its own length, so that a read beyond it is seen.
 * ip_datagram_driver SEED ROUNDS: prints how many were taken and how many refused.
 */
#include "ip_datagram.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_BYTES_MAX 200

static uint64_t state;

static uint32_t below(uint32_t limit) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32) % limit;
}

static void put16(uint8_t *at, uint32_t value) { at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value; }

/* RFC 1071 octet by octet: the slow, obvious sum. */
static uint32_t sum_of(const uint8_t *octets, size_t length, uint32_t sum)
{
    for (size_t i = 0; i < length; i++)
        sum += i % 2 ? octets[i] : (uint32_t)octets[i] << 8;
    while (sum >> 16)
        sum = (sum >> 16) + (sum & 0xffff);
    return sum;
}

/* A right packet of either version. Returns its length. */
static size_t make(uint8_t *packet, size_t *payload_at, size_t *payload_bytes)
{
    bool six = below(2);
    size_t start = six ? 40 : 20 + 4 * below(11), bytes = below(80);
    for (size_t i = 0; i < PACKET_BYTES_MAX; i++)
        packet[i] = (uint8_t)below(256);
    size_t addresses_at = six ? 8 : 12, addresses_bytes = six ? 32 : 8, length = start + 8 + bytes;
    put16(packet + start + 4, (uint32_t)(8 + bytes));
    put16(packet + start + 6, 0);
    if (six) {
        packet[0] = 0x60;
        put16(packet + 4, (uint32_t)(8 + bytes));
        packet[6] = 17;
    } else {
        packet[0] = (uint8_t)(0x40 | start / 4);
        put16(packet + 2, (uint32_t)length);
        put16(packet + 6, below(2) << 14); /* may be fragmented or not: "don't" is no fragment */
        packet[9] = 17;
        put16(packet + 10, 0);
        put16(packet + 10, 0xffff ^ sum_of(packet, start, 0));
    }
    uint32_t sum = sum_of(packet + start, 8 + bytes, sum_of(packet + addresses_at, addresses_bytes, 17 + 8 + (uint32_t)bytes));
    put16(packet + start + 6, sum == 0xffff ? 0xffff : 0xffff ^ sum);
    *payload_at = start + 8, *payload_bytes = bytes;
    return length;
}

int main(int count, char **arguments)
{
    unsigned long taken = 0, refused = 0;
    if (count != 3)
        return 2;
    state = strtoull(arguments[1], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    for (unsigned long left = strtoul(arguments[2], NULL, 10); left; left--) {
        uint8_t whole[PACKET_BYTES_MAX];
        size_t payload_at, payload_bytes, length = make(whole, &payload_at, &payload_bytes);
        bool damaged = below(3);
        if (damaged)
            for (uint32_t times = 1 + below(3); times; times--)
                whole[below(4) ? below(60) : below((uint32_t)length)] = (uint8_t)(below(2) ? below(256) : 0xff * below(2));
        size_t given = !damaged || below(3) ? length + below(20) * (length + 20 <= PACKET_BYTES_MAX) : below((uint32_t)length + 1);
        uint8_t *packet = malloc(given ? given : 1);
        memcpy(packet, whole, given);
        struct ip_datagram datagram = {0};
        enum refusal reason = ip_datagram_read(packet, given, damaged && below(2) ? CHECKSUM_SETTLED : CHECKSUM_UNKNOWN, &datagram);
        if (reason == REFUSED_NOT) {
            uint32_t sum = 0;
            for (size_t i = 0; i < datagram.length; i++)
                sum += datagram.payload[i]; /* inside the block, or the sanitizer speaks */
            taken += 1 + 0 * sum;
        } else {
            refused++;
        }
        if (!damaged && (reason != REFUSED_NOT || datagram.payload != packet + payload_at || datagram.length != payload_bytes))
            abort();
        free(packet);
    }
    printf("%lu %lu\n", taken, refused);
    return 0;
}
