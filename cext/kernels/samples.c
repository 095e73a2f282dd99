/* Source: ST 2110-20 section 6.2: a pgroup is its samples one after another, most significant bit first, so that a row of
 * pgroups is one stream of bits whatever the sampling is. Only the split knows of groups. */
#include "samples.h"

#include <string.h>

static void unpack8_scalar(const uint8_t *packed, size_t count, uint16_t *words)
{
    for (size_t i = 0; i < count; i++)
        words[i] = (uint16_t)(packed[i] << 8);
}

static void unpack10_scalar(const uint8_t *packed, size_t count, uint16_t *words)
{
    for (; count; count -= 4, packed += 5, words += 4) {
        words[0] = (uint16_t)(packed[0] << 8 | (packed[1] & 0xC0));
        words[1] = (uint16_t)(packed[1] << 10 | (packed[2] & 0xF0) << 2);
        words[2] = (uint16_t)(packed[2] << 12 | (packed[3] & 0xFC) << 4);
        words[3] = (uint16_t)(packed[3] << 14 | packed[4] << 6);
    }
}

static void unpack12_scalar(const uint8_t *packed, size_t count, uint16_t *words)
{
    for (; count; count -= 2, packed += 3, words += 2) {
        words[0] = (uint16_t)(packed[0] << 8 | (packed[1] & 0xF0));
        words[1] = (uint16_t)(packed[1] << 12 | packed[2] << 4);
    }
}

static void unpack16_scalar(const uint8_t *packed, size_t count, uint16_t *words)
{
    for (size_t i = 0; i < count; i++)
        words[i] = (uint16_t)(packed[2 * i] << 8 | packed[2 * i + 1]);
}

static void split_scalar(const uint16_t *groups, size_t count, uint16_t *first, uint16_t *second, uint16_t *third)
{
    for (size_t i = 0; i < count; i++) {
        first[i] = groups[3 * i];
        second[i] = groups[3 * i + 1];
        third[i] = groups[3 * i + 2];
    }
}

static void split_pairs_scalar(const uint16_t *groups, size_t count, uint16_t *first, uint16_t *second, uint16_t *third)
{
    for (size_t i = 0; i < count; i++) {
        memcpy(first + 2 * i, groups + 6 * i, 4);
        memcpy(second + 2 * i, groups + 6 * i + 2, 4);
        memcpy(third + 2 * i, groups + 6 * i + 4, 4);
    }
}

const struct samples_kernels samples_scalar = {unpack8_scalar, unpack10_scalar, unpack12_scalar, unpack16_scalar, split_scalar, split_pairs_scalar};

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* Safety: every routine reads and writes exactly its block, and no row shorter than a block comes here. The last block of a row is
 * moved back to end with the row: a block's size and every row's are whole octets' worth, so it begins at an octet. */
static inline size_t block_start(size_t done, size_t count, size_t block)
{
    return done + block <= count ? done : count - block;
}

/* Eight samples a lane; the upper lane's window begins early to end with the block, which its half of the order makes up for. */
AVX2 static inline __m256i windows(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)), _mm_loadu_si128((const __m128i *)high), 1);
}

AVX2 static void unpack8_avx2(const uint8_t *packed, size_t count, uint16_t *words)
{
    for (size_t done = 0; done < count; done += SAMPLES_BLOCK) {
        size_t at = block_start(done, count, SAMPLES_BLOCK);
        __m256i octets = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(packed + at)));
        _mm256_storeu_si256((__m256i *)(words + at), _mm256_slli_epi16(octets, 8));
    }
}

/* The two octets that hold the beginning of each sample, swapped: multiplying moves the sample up to bit 15, what follows it is cut off. */
#define TEN(at) (at) + 1, (at) + 0, (at) + 2, (at) + 1, (at) + 3, (at) + 2, (at) + 4, (at) + 3
#define TWELVE(at) (at) + 1, (at) + 0, (at) + 2, (at) + 1

AVX2 static void unpack10_avx2(const uint8_t *packed, size_t count, uint16_t *words)
{
    const __m256i order = _mm256_setr_epi8(TEN(0), TEN(5), TEN(6), TEN(11));
    const __m256i align = _mm256_setr_epi16(1, 4, 16, 64, 1, 4, 16, 64, 1, 4, 16, 64, 1, 4, 16, 64);
    for (size_t done = 0; done < count; done += SAMPLES_BLOCK) {
        size_t at = block_start(done, count, SAMPLES_BLOCK);
        const uint8_t *block = packed + at / 4 * 5;
        __m256i aligned = _mm256_mullo_epi16(_mm256_shuffle_epi8(windows(block, block + 4), order), align);
        _mm256_storeu_si256((__m256i *)(words + at), _mm256_and_si256(aligned, _mm256_set1_epi16((short)0xFFC0)));
    }
}

AVX2 static void unpack12_avx2(const uint8_t *packed, size_t count, uint16_t *words)
{
    const __m256i order = _mm256_setr_epi8(TWELVE(0), TWELVE(3), TWELVE(6), TWELVE(9), TWELVE(4), TWELVE(7), TWELVE(10), TWELVE(13));
    const __m256i align = _mm256_setr_epi16(1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16);
    for (size_t done = 0; done < count; done += SAMPLES_BLOCK) {
        size_t at = block_start(done, count, SAMPLES_BLOCK);
        const uint8_t *block = packed + at / 2 * 3;
        __m256i aligned = _mm256_mullo_epi16(_mm256_shuffle_epi8(windows(block, block + 8), order), align);
        _mm256_storeu_si256((__m256i *)(words + at), _mm256_and_si256(aligned, _mm256_set1_epi16((short)0xFFF0)));
    }
}

AVX2 static void unpack16_avx2(const uint8_t *packed, size_t count, uint16_t *words)
{
    const __m256i order = _mm256_setr_epi8(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    for (size_t done = 0; done < count; done += SAMPLES_BLOCK) {
        size_t at = block_start(done, count, SAMPLES_BLOCK);
        __m256i octets = _mm256_loadu_si256((const __m256i *)(packed + 2 * at));
        _mm256_storeu_si256((__m256i *)(words + at), _mm256_shuffle_epi8(octets, order));
    }
}

/* Three registers hold 48 octets a lane: groups of three elements of `size` octets. Where octet j of component c lies among them,
 * as the order that takes it out of register r, or leaves zero there. */
#define ORIGIN(c, size, j) ((3 * ((j) / (size)) + (c)) * (size) + (j) % (size))
#define TAKEN(c, size, r, j) (char)(ORIGIN(c, size, j) / 16 == (r) ? ORIGIN(c, size, j) % 16 : 0x80)
#define LANE(c, size, r) \
    TAKEN(c, size, r, 0), TAKEN(c, size, r, 1), TAKEN(c, size, r, 2), TAKEN(c, size, r, 3), TAKEN(c, size, r, 4), TAKEN(c, size, r, 5), \
    TAKEN(c, size, r, 6), TAKEN(c, size, r, 7), TAKEN(c, size, r, 8), TAKEN(c, size, r, 9), TAKEN(c, size, r, 10), TAKEN(c, size, r, 11), \
    TAKEN(c, size, r, 12), TAKEN(c, size, r, 13), TAKEN(c, size, r, 14), TAKEN(c, size, r, 15)
#define ORDER_OF(c, size, r) _mm256_setr_epi8(LANE(c, size, r), LANE(c, size, r))
#define COMPONENT(c, size, x, y, z) _mm256_or_si256(_mm256_or_si256(_mm256_shuffle_epi8(x, ORDER_OF(c, size, 0)), \
    _mm256_shuffle_epi8(y, ORDER_OF(c, size, 1))), _mm256_shuffle_epi8(z, ORDER_OF(c, size, 2)))

/* 32 octets of each component from 96 octets of groups. */
#define SPLIT_BLOCK(size, groups, first, second, third) do { \
    const uint8_t *block = (const uint8_t *)(groups); \
    __m256i x = windows(block, block + 48), y = windows(block + 16, block + 64), z = windows(block + 32, block + 80); \
    _mm256_storeu_si256((__m256i *)(first), COMPONENT(0, size, x, y, z)); \
    _mm256_storeu_si256((__m256i *)(second), COMPONENT(1, size, x, y, z)); \
    _mm256_storeu_si256((__m256i *)(third), COMPONENT(2, size, x, y, z)); \
} while (0)

AVX2 static void split_avx2(const uint16_t *groups, size_t count, uint16_t *first, uint16_t *second, uint16_t *third)
{
    for (size_t done = 0; done < count; done += SAMPLES_GROUPS_BLOCK) {
        size_t at = block_start(done, count, SAMPLES_GROUPS_BLOCK);
        SPLIT_BLOCK(2, groups + 3 * at, first + at, second + at, third + at);
    }
}

AVX2 static void split_pairs_avx2(const uint16_t *groups, size_t count, uint16_t *first, uint16_t *second, uint16_t *third)
{
    for (size_t done = 0; done < count; done += SAMPLES_PAIR_GROUPS_BLOCK) {
        size_t at = block_start(done, count, SAMPLES_PAIR_GROUPS_BLOCK);
        SPLIT_BLOCK(4, groups + 6 * at, first + 2 * at, second + 2 * at, third + 2 * at);
    }
}

const struct samples_kernels samples_avx2 = {unpack8_avx2, unpack10_avx2, unpack12_avx2, unpack16_avx2, split_avx2, split_pairs_avx2};
#endif
