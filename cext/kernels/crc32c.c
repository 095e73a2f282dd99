#include "crc32c.h"

#include <stdatomic.h>
#include <string.h>

#define POLYNOMIAL_REFLECTED 0x82F63B78u

static uint32_t table[256];
static atomic_int table_ready;

static void make_table(void)
{
    for (uint32_t octet = 0; octet < 256; octet++) {
        uint32_t sum = octet;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? POLYNOMIAL_REFLECTED : 0);
        table[octet] = sum;
    }
    /* ORDER: release, pairs with the acquire in crc32c_table. Two threads that make it at once write the same values. */
    atomic_store_explicit(&table_ready, 1, memory_order_release);
}

uint32_t crc32c_table(const uint8_t *octets, size_t bytes)
{
    if (!atomic_load_explicit(&table_ready, memory_order_acquire))
        make_table();
    uint32_t sum = ~0u;
    for (size_t i = 0; i < bytes; i++)
        sum = sum >> 8 ^ table[(sum ^ octets[i]) & 0xff];
    return ~sum;
}

#ifdef __x86_64__
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(const uint8_t *octets, size_t bytes)
{
    uint64_t sum = 0xFFFFFFFFu, eight;
    for (; bytes >= sizeof eight; octets += sizeof eight, bytes -= sizeof eight) {
        memcpy(&eight, octets, sizeof eight);
        sum = _mm_crc32_u64(sum, eight);
    }
    for (; bytes; octets++, bytes--)
        sum = _mm_crc32_u8((uint32_t)sum, *octets);
    return ~(uint32_t)sum;
}

uint32_t crc32c(const uint8_t *octets, size_t bytes)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_instruction(octets, bytes) : crc32c_table(octets, bytes);
}
#else
uint32_t crc32c(const uint8_t *octets, size_t bytes) { return crc32c_table(octets, bytes); }
#endif
