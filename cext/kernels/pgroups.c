/* Two rows in one pass, so that the chroma of both is read once: 4:2:0 sited "left" (H.264 type 0) is the mean of
 * the two rows, horizontally untouched. A sample is carried left-aligned in 16 bits on every path:
 *
 *   luma    Y8 = min(255, (Y10 + 2) >> 2)
 *   chroma  C8 = min(255, (C10 of the upper row + C10 of the lower row + 4) >> 3)    rounded once, not twice
 *   8 bit   Y8 = Y,  C8 = (upper + lower + 1) >> 1
 */
#include "pgroups.h"

static inline uint8_t round_luma(unsigned sample)
{
    unsigned rounded = (sample + 2) >> 2;
    return rounded > 255 ? 255 : (uint8_t)rounded;
}

static inline uint8_t round_chroma(unsigned upper, unsigned lower)
{
    unsigned rounded = (upper + lower + 4) >> 3;
    return rounded > 255 ? 255 : (uint8_t)rounded;
}

/* Source: ST 2110-20 section 6.2.5: Cb Y0 Cr Y1, ten bits each, most significant bit first. */
static inline unsigned cb10(const uint8_t *pgroup) { return (unsigned)pgroup[0] << 2 | pgroup[1] >> 6; }
static inline unsigned luma10_left(const uint8_t *pgroup) { return (pgroup[1] & 63u) << 4 | pgroup[2] >> 4; }
static inline unsigned cr10(const uint8_t *pgroup) { return (pgroup[2] & 15u) << 6 | pgroup[3] >> 2; }
static inline unsigned luma10_right(const uint8_t *pgroup) { return (pgroup[3] & 3u) << 8 | pgroup[4]; }

void pgroups10_scalar(const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    for (size_t i = 0; i < pgroups; i++, upper += 5, lower += 5) {
        y0[2 * i] = round_luma(luma10_left(upper));
        y0[2 * i + 1] = round_luma(luma10_right(upper));
        y1[2 * i] = round_luma(luma10_left(lower));
        y1[2 * i + 1] = round_luma(luma10_right(lower));
        u[i] = round_chroma(cb10(upper), cb10(lower));
        v[i] = round_chroma(cr10(upper), cr10(lower));
    }
}

void pgroups8_scalar(const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    for (size_t i = 0; i < pgroups; i++, upper += 4, lower += 4) {
        y0[2 * i] = upper[1];
        y0[2 * i + 1] = upper[3];
        y1[2 * i] = lower[1];
        y1[2 * i + 1] = lower[3];
        u[i] = (uint8_t)((upper[0] + lower[0] + 1) >> 1);
        v[i] = (uint8_t)((upper[2] + lower[2] + 1) >> 1);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))

/* Safety: every vector routine reads and writes exactly its block of pgroups, and no row shorter than a block comes
 * here. The last block of a row is moved back to end with the row; what it shares with the block before is written twice. */
static inline size_t block_start(size_t done, size_t pgroups, size_t block)
{
    return done + block <= pgroups ? done : pgroups - block;
}

/* Octets of two pgroups to eight big-endian words: Y Y Y Y Cb Cb Cr Cr. */
#define WORDS_OF_TWO_PGROUPS(at) \
    (at) + 2, (at) + 1, (at) + 4, (at) + 3, (at) + 7, (at) + 6, (at) + 9, (at) + 8, \
    (at) + 1, (at) + 0, (at) + 6, (at) + 5, (at) + 3, (at) + 2, (at) + 8, (at) + 7

/* Multiplying by these moves each word's sample up to bit 15; what follows the sample stays below as stray bits. */
#define ALIGN_SAMPLES 4, 64, 4, 64, 1, 1, 16, 16

enum { STRAY_FREE = 0xFFC0, HALF = 0x80 };

/* ---- AVX2: 16 pgroups of each row at a time ---- */

enum { AVX2_BLOCK = PGROUPS_AVX2_BLOCK };

/* One register: two pgroups of a row from `low`, two from `high`; 16 octets are read at each, 10 are used. */
AVX2 static inline __m256i samples_avx2(const uint8_t *low, const uint8_t *high, __m256i order)
{
    const __m256i align = _mm256_setr_epi16(ALIGN_SAMPLES, ALIGN_SAMPLES);
    __m256i octets = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)), _mm_loadu_si128((const __m128i *)high), 1);
    return _mm256_mullo_epi16(_mm256_shuffle_epi8(octets, order), align);
}

/* 16 pgroups of one row. Block i of luma and chroma holds pgroups 4i to 4i+3 in lane order 0, 2 and 1, 3, so that
 * packing the two puts every octet in its place. The last window begins 6 octets early to end with the block. */
AVX2 static inline void row_avx2(const uint8_t *row, __m256i luma[2], __m256i chroma[2])
{
    const __m256i order = _mm256_setr_epi8(WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(0));
    const __m256i order_of_last = _mm256_setr_epi8(WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(6));
    __m256i a = samples_avx2(row, row + 40, order);
    __m256i b = samples_avx2(row + 10, row + 50, order);
    __m256i c = samples_avx2(row + 20, row + 60, order);
    __m256i d = samples_avx2(row + 30, row + 64, order_of_last);
    luma[0] = _mm256_unpacklo_epi64(a, b);
    luma[1] = _mm256_unpacklo_epi64(c, d);
    chroma[0] = _mm256_and_si256(_mm256_unpackhi_epi64(a, b), _mm256_set1_epi16((short)STRAY_FREE));
    chroma[1] = _mm256_and_si256(_mm256_unpackhi_epi64(c, d), _mm256_set1_epi16((short)STRAY_FREE));
}

/* Left-aligned samples to octets: round to nearest, saturating, then keep the upper octet. */
AVX2 static inline __m256i octets_avx2(__m256i first, __m256i second)
{
    const __m256i half = _mm256_set1_epi16(HALF);
    return _mm256_packus_epi16(_mm256_srli_epi16(_mm256_adds_epu16(first, half), 8), _mm256_srli_epi16(_mm256_adds_epu16(second, half), 8));
}

AVX2 void pgroups10_avx2(const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    const __m256i part = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    for (size_t done = 0; done < pgroups; done += AVX2_BLOCK) {
        size_t at = block_start(done, pgroups, AVX2_BLOCK);
        __m256i luma[2], chroma0[2], chroma1[2];
        row_avx2(upper + 5 * at, luma, chroma0);
        _mm256_storeu_si256((__m256i *)(y0 + 2 * at), octets_avx2(luma[0], luma[1]));
        row_avx2(lower + 5 * at, luma, chroma1);
        _mm256_storeu_si256((__m256i *)(y1 + 2 * at), octets_avx2(luma[0], luma[1]));
        /* The mean of two left-aligned samples without stray bits is exact in 16 bits: nothing is rounded here. */
        __m256i mixed = octets_avx2(_mm256_avg_epu16(chroma0[0], chroma1[0]), _mm256_avg_epu16(chroma0[1], chroma1[1]));
        __m256i planes = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(mixed, part), 0xD8);
        _mm_storeu_si128((__m128i *)(u + at), _mm256_castsi256_si128(planes));
        _mm_storeu_si128((__m128i *)(v + at), _mm256_extracti128_si256(planes, 1));
    }
}

AVX2 void pgroups8_avx2(const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    const __m256i even = _mm256_set1_epi16(0x00FF);
    const __m256i part = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    for (size_t done = 0; done < pgroups; done += AVX2_BLOCK) {
        size_t at = block_start(done, pgroups, AVX2_BLOCK);
        __m256i upper_a = _mm256_loadu_si256((const __m256i *)(upper + 4 * at)), upper_b = _mm256_loadu_si256((const __m256i *)(upper + 4 * at + 32));
        __m256i lower_a = _mm256_loadu_si256((const __m256i *)(lower + 4 * at)), lower_b = _mm256_loadu_si256((const __m256i *)(lower + 4 * at + 32));
        __m256i luma0 = _mm256_packus_epi16(_mm256_srli_epi16(upper_a, 8), _mm256_srli_epi16(upper_b, 8));
        __m256i luma1 = _mm256_packus_epi16(_mm256_srli_epi16(lower_a, 8), _mm256_srli_epi16(lower_b, 8));
        _mm256_storeu_si256((__m256i *)(y0 + 2 * at), _mm256_permute4x64_epi64(luma0, 0xD8));
        _mm256_storeu_si256((__m256i *)(y1 + 2 * at), _mm256_permute4x64_epi64(luma1, 0xD8));
        __m256i mixed = _mm256_packus_epi16(_mm256_and_si256(_mm256_avg_epu8(upper_a, lower_a), even), _mm256_and_si256(_mm256_avg_epu8(upper_b, lower_b), even));
        /* Packing works within lanes: put the quarters in order, split Cb from Cr in each half, then gather the halves. */
        __m256i planes = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_permute4x64_epi64(mixed, 0xD8), part), 0xD8);
        _mm_storeu_si128((__m128i *)(u + at), _mm256_castsi256_si128(planes));
        _mm_storeu_si128((__m128i *)(v + at), _mm256_extracti128_si256(planes, 1));
    }
}

/* ---- AVX-512 (F, BW): 32 pgroups of each row at a time ---- */

enum { AVX512_BLOCK = PGROUPS_AVX512_BLOCK };

/* Eight pgroups of a row, two a lane; reads 40 octets and no more. Windows begin at whole double words, so every
 * second one is 2 octets early, the last 6, which the shuffle makes up for. */
AVX512 static inline __m512i samples_avx512(const uint8_t *row)
{
    const __m512i windows = _mm512_setr_epi32(0, 1, 2, 3, 2, 3, 4, 5, 5, 6, 7, 8, 6, 7, 8, 9);
    const __m512i align = _mm512_broadcast_i32x4(_mm_setr_epi16(ALIGN_SAMPLES));
    static const int8_t words[64] = {WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(2), WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(6)};
    __m512i octets = _mm512_permutexvar_epi32(windows, _mm512_maskz_loadu_epi32(0x3FF, row));
    return _mm512_mullo_epi16(_mm512_shuffle_epi8(octets, _mm512_loadu_si512(words)), align);
}

/* 32 pgroups of one row: luma and chroma, pgroups interleaved over the lanes. */
AVX512 static inline void row_avx512(const uint8_t *row, __m512i luma[2], __m512i chroma[2])
{
    __m512i a = samples_avx512(row), b = samples_avx512(row + 40), c = samples_avx512(row + 80), d = samples_avx512(row + 120);
    luma[0] = _mm512_unpacklo_epi64(a, b);
    luma[1] = _mm512_unpacklo_epi64(c, d);
    chroma[0] = _mm512_and_si512(_mm512_unpackhi_epi64(a, b), _mm512_set1_epi16((short)STRAY_FREE));
    chroma[1] = _mm512_and_si512(_mm512_unpackhi_epi64(c, d), _mm512_set1_epi16((short)STRAY_FREE));
}

AVX512 static inline __m512i octets_avx512(__m512i first, __m512i second)
{
    const __m512i half = _mm512_set1_epi16(HALF);
    return _mm512_packus_epi16(_mm512_srli_epi16(_mm512_adds_epu16(first, half), 8), _mm512_srli_epi16(_mm512_adds_epu16(second, half), 8));
}

AVX512 void pgroups10_avx512(const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    /* After packing, lane i holds four pixels of each of the four registers: their order is a 4 x 4 transposition. */
    const __m512i transpose = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    static const int16_t planes_of_words[32] = {0, 8, 16, 24, 2, 10, 18, 26, 4, 12, 20, 28, 6, 14, 22, 30,
                                                1, 9, 17, 25, 3, 11, 19, 27, 5, 13, 21, 29, 7, 15, 23, 31};
    const __m512i part = _mm512_loadu_si512(planes_of_words);
    for (size_t done = 0; done < pgroups; done += AVX512_BLOCK) {
        size_t at = block_start(done, pgroups, AVX512_BLOCK);
        __m512i luma[2], chroma0[2], chroma1[2];
        row_avx512(upper + 5 * at, luma, chroma0);
        _mm512_storeu_si512(y0 + 2 * at, _mm512_permutexvar_epi32(transpose, octets_avx512(luma[0], luma[1])));
        row_avx512(lower + 5 * at, luma, chroma1);
        _mm512_storeu_si512(y1 + 2 * at, _mm512_permutexvar_epi32(transpose, octets_avx512(luma[0], luma[1])));
        __m512i mixed = octets_avx512(_mm512_avg_epu16(chroma0[0], chroma1[0]), _mm512_avg_epu16(chroma0[1], chroma1[1]));
        __m512i planes = _mm512_permutexvar_epi16(part, mixed);
        _mm256_storeu_si256((__m256i *)(u + at), _mm512_castsi512_si256(planes));
        _mm256_storeu_si256((__m256i *)(v + at), _mm512_extracti64x4_epi64(planes, 1));
    }
}

AVX512 void pgroups8_avx512(const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    for (size_t done = 0; done < pgroups; done += AVX512_BLOCK) {
        size_t at = block_start(done, pgroups, AVX512_BLOCK);
        __m512i upper_a = _mm512_loadu_si512(upper + 4 * at), upper_b = _mm512_loadu_si512(upper + 4 * at + 64);
        __m512i lower_a = _mm512_loadu_si512(lower + 4 * at), lower_b = _mm512_loadu_si512(lower + 4 * at + 64);
        _mm256_storeu_si256((__m256i *)(y0 + 2 * at), _mm512_cvtepi16_epi8(_mm512_srli_epi16(upper_a, 8)));
        _mm256_storeu_si256((__m256i *)(y0 + 2 * at + 32), _mm512_cvtepi16_epi8(_mm512_srli_epi16(upper_b, 8)));
        _mm256_storeu_si256((__m256i *)(y1 + 2 * at), _mm512_cvtepi16_epi8(_mm512_srli_epi16(lower_a, 8)));
        _mm256_storeu_si256((__m256i *)(y1 + 2 * at + 32), _mm512_cvtepi16_epi8(_mm512_srli_epi16(lower_b, 8)));
        __m512i mean_a = _mm512_avg_epu8(upper_a, lower_a), mean_b = _mm512_avg_epu8(upper_b, lower_b);
        _mm_storeu_si128((__m128i *)(u + at), _mm512_cvtepi32_epi8(mean_a));
        _mm_storeu_si128((__m128i *)(u + at + 16), _mm512_cvtepi32_epi8(mean_b));
        _mm_storeu_si128((__m128i *)(v + at), _mm512_cvtepi32_epi8(_mm512_srli_epi32(mean_a, 16)));
        _mm_storeu_si128((__m128i *)(v + at + 16), _mm512_cvtepi32_epi8(_mm512_srli_epi32(mean_b, 16)));
    }
}
#endif
