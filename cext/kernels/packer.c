#include "packer.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { FRACTION_BITS = 4 };
/* ST 2110-20 gives 10-bit video the codes 4..1019 (8-bit: 1..254); the others are reserved for timing. */
enum { CODE_MIN = 4, CODE_MAX = 1019, CODE8_MIN = 1, CODE8_MAX = 254 };

/* ---- narrow 4:2:2 of 8 or 10 bit ---- */

static inline uint32_t code(int16_t sample)
{
    int32_t rounded = (sample + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS;
    return (uint32_t)(rounded < CODE_MIN ? CODE_MIN : rounded > CODE_MAX ? CODE_MAX : rounded);
}

static inline uint8_t code8(int16_t sample)
{
    int32_t rounded = (sample + (1 << (FRACTION_BITS + 1))) >> (FRACTION_BITS + 2);
    return (uint8_t)(rounded < CODE8_MIN ? CODE8_MIN : rounded > CODE8_MAX ? CODE8_MAX : rounded);
}

static void pack8(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    for (uint32_t x = begin; x < end; x += 2) {
        row[2 * x] = code8(cb[x / 2]);
        row[2 * x + 1] = code8(luma[x]);
        row[2 * x + 2] = code8(cr[x / 2]);
        row[2 * x + 3] = code8(luma[x + 1]);
    }
}

static void pack10(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    for (uint32_t x = begin; x < end; x += 2) {
        uint64_t pgroup = (uint64_t)code(cb[x / 2]) << 30 | code(luma[x]) << 20 | code(cr[x / 2]) << 10 | code(luma[x + 1]);
        uint8_t *out = row + x / 2 * 5;
        for (int octet = 0; octet < 5; octet++)
            out[octet] = (uint8_t)(pgroup >> (32 - 8 * octet));
    }
}

#if defined(__x86_64__)
/* Two pgroups (eight samples in wire order) into ten octets at the front of the register. */
__attribute__((target("ssse3"))) static inline __m128i pack10_pair(__m128i samples)
{
    const __m128i pair = _mm_set1_epi32(1 << 16 | 1024);   /* even sample x 1024 + odd sample */
    const __m128i octets = _mm_setr_epi8(4, 3, 2, 1, 0, 12, 11, 10, 9, 8, -1, -1, -1, -1, -1, -1);
    samples = _mm_srai_epi16(_mm_add_epi16(samples, _mm_set1_epi16(1 << (FRACTION_BITS - 1))), FRACTION_BITS);
    samples = _mm_min_epi16(_mm_max_epi16(samples, _mm_set1_epi16(CODE_MIN)), _mm_set1_epi16(CODE_MAX));
    __m128i twenty = _mm_madd_epi16(samples, pair);
    __m128i forty = _mm_or_si128(_mm_srli_epi64(_mm_slli_epi64(twenty, 32), 12), _mm_srli_epi64(twenty, 32));
    return _mm_shuffle_epi8(forty, octets);
}

/* Eight pixels from `x` in wire order: two pgroups in each half. */
static inline __m128i wire_low(__m128i luma, __m128i chroma) { return _mm_unpacklo_epi16(chroma, luma); }
static inline __m128i wire_high(__m128i luma, __m128i chroma) { return _mm_unpackhi_epi16(chroma, luma); }

static inline __m128i chroma_pairs(const int16_t *cb, const int16_t *cr, uint32_t x)
{
    return _mm_unpacklo_epi16(_mm_loadl_epi64((const void *)(cb + x / 2)), _mm_loadl_epi64((const void *)(cr + x / 2)));
}

__attribute__((target("ssse3"))) static uint32_t
pack10_ssse3(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    uint32_t x = begin;
    /* Safety: eight pixels are 20 octets and the second store ends at octet 26, so stay four pgroups away from the end. */
    for (; x + 16 <= end; x += 8) {
        __m128i y = _mm_loadu_si128((const void *)(luma + x)), c = chroma_pairs(cb, cr, x);
        uint8_t *out = row + x / 2 * 5;
        _mm_storeu_si128((void *)out, pack10_pair(wire_low(y, c)));
        _mm_storeu_si128((void *)(out + 10), pack10_pair(wire_high(y, c)));
    }
    return x;
}

static inline __m128i rounded8(__m128i samples)
{
    return _mm_srai_epi16(_mm_add_epi16(samples, _mm_set1_epi16(1 << (FRACTION_BITS + 1))), FRACTION_BITS + 2);
}

static uint32_t pack8_sse2(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    uint32_t x = begin;
    for (; x + 8 <= end; x += 8) {
        __m128i y = _mm_loadu_si128((const void *)(luma + x)), c = chroma_pairs(cb, cr, x);
        __m128i octets = _mm_packus_epi16(rounded8(wire_low(y, c)), rounded8(wire_high(y, c)));
        octets = _mm_min_epu8(_mm_max_epu8(octets, _mm_set1_epi8(CODE8_MIN)), _mm_set1_epi8((char)CODE8_MAX));
        _mm_storeu_si128((void *)(row + 2 * x), octets);
    }
    return x;
}
#endif

static void pack_plain(uint32_t depth, const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row, int simd)
{
#if defined(__x86_64__)
    if (simd && depth == 8)
        begin = pack8_sse2(luma, cb, cr, begin, end, row);   /* every x86-64 has SSE2 */
    else if (simd && __builtin_cpu_supports("ssse3"))
        begin = pack10_ssse3(luma, cb, cr, begin, end, row);
#else
    (void)simd;
#endif
    (depth == 8 ? pack8 : pack10)(luma, cb, cr, begin, end, row);
}

/* ---- every other format: codes of a stretch of columns, then their bits one after the other ---- */

enum { STRETCH = 64, SAMPLES_A_COLUMN_MAX = 3 };

static inline __attribute__((always_inline)) uint16_t coded(const struct packer *packer, int component, float luma, float cb, float cr)
{
    const float *row = packer->matrix[component];
    float code = row[0] * luma + row[1] * cb + row[2] * cr + row[3];
    code = code < packer->code_min ? packer->code_min : code > packer->code_max ? packer->code_max : code;
    return (uint16_t)(int32_t)(code + 0.5f);
}

/* Cb Y Cr or R G B of each column; chroma between two samples is their mean. `chroma_left` samples of chroma begin at the stretch. */
static inline __attribute__((always_inline)) void
codes_444(const struct packer *packer, const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t columns, uint32_t chroma_left, uint16_t *codes)
{
    float wide_cb[STRETCH + 2], wide_cr[STRETCH + 2];
    for (uint32_t i = 0; 2 * i < columns; i++) {
        uint32_t next = i + 1 < chroma_left ? i + 1 : i;
        wide_cb[2 * i] = cb[i], wide_cb[2 * i + 1] = 0.5f * (float)(cb[i] + cb[next]);
        wide_cr[2 * i] = cr[i], wide_cr[2 * i + 1] = 0.5f * (float)(cr[i] + cr[next]);
    }
    for (int component = 0; component < 3; component++)
        for (uint32_t i = 0; i < columns; i++)
            codes[3 * i + (uint32_t)component] = coded(packer, component, luma[i], wide_cb[i], wide_cr[i]);
}

/* Cb Y0 Cr Y1 of each two columns. */
static inline __attribute__((always_inline)) void
codes_422(const struct packer *packer, const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t columns, uint16_t *codes)
{
    for (uint32_t i = 0; 2 * i < columns; i++) {
        codes[4 * i] = coded(packer, 0, 0, cb[i], 0);
        codes[4 * i + 1] = coded(packer, 1, luma[2 * i], 0, 0);
        codes[4 * i + 2] = coded(packer, 2, 0, 0, cr[i]);
        codes[4 * i + 3] = coded(packer, 1, luma[2 * i + 1], 0, 0);
    }
}

/* Y00 Y01 Y10 Y11 Cb Cr of each two columns of two rows; chroma is the mean of both. */
static inline __attribute__((always_inline)) void
codes_420(const struct packer *packer, const int16_t *const upper[3], const int16_t *const lower[3], uint32_t columns, uint16_t *codes)
{
    for (uint32_t i = 0; 2 * i < columns; i++) {
        for (uint32_t side = 0; side < 2; side++) {
            codes[6 * i + side] = coded(packer, 1, upper[0][2 * i + side], 0, 0);
            codes[6 * i + 2 + side] = coded(packer, 1, lower[0][2 * i + side], 0, 0);
        }
        codes[6 * i + 4] = coded(packer, 0, 0, 0.5f * (float)(upper[1][i] + lower[1][i]), 0);
        codes[6 * i + 5] = coded(packer, 2, 0, 0, 0.5f * (float)(upper[2][i] + lower[2][i]));
    }
}

/* Codes as octets, most significant bit first: 8 and 16 bit one by one, 12 bit in pairs, 10 bit in fours. */
static void pack_bits(const uint16_t *codes, uint32_t count, uint32_t depth, uint8_t *out)
{
    if (depth == 8) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = (uint8_t)codes[i];
    } else if (depth == 16) {
        for (uint32_t i = 0; i < count; i++)
            out[2 * i] = (uint8_t)(codes[i] >> 8), out[2 * i + 1] = (uint8_t)codes[i];
    } else if (depth == 12) {
        for (uint32_t i = 0; i < count; i += 2, out += 3) {
            out[0] = (uint8_t)(codes[i] >> 4);
            out[1] = (uint8_t)(codes[i] << 4 | codes[i + 1] >> 8);
            out[2] = (uint8_t)codes[i + 1];
        }
    } else {
        for (uint32_t i = 0; i < count; i += 4, out += 5) {
            out[0] = (uint8_t)(codes[i] >> 2);
            out[1] = (uint8_t)(codes[i] << 6 | codes[i + 1] >> 4);
            out[2] = (uint8_t)(codes[i + 1] << 4 | codes[i + 2] >> 6);
            out[3] = (uint8_t)(codes[i + 2] << 2 | codes[i + 3] >> 8);
            out[4] = (uint8_t)codes[i + 3];
        }
    }
}

static inline __attribute__((always_inline)) void
pack_general(const struct packer *packer, int16_t *const upper[3], int16_t *const lower[3], uint32_t begin, uint32_t end, uint8_t *row)
{
    const uint32_t samples_a_column = packer->sampling == PACKER_422 ? 2 : 3;   /* of 4:2:0: of both rows */
    uint16_t codes[STRETCH * SAMPLES_A_COLUMN_MAX + 4];
    for (uint32_t x = begin; x < end; x += STRETCH) {
        uint32_t columns = end - x < STRETCH ? end - x : STRETCH;
        const int16_t *const above[3] = { upper[0] + x, upper[1] + x / 2, upper[2] + x / 2 };
        const int16_t *const below[3] = { lower[0] + x, lower[1] + x / 2, lower[2] + x / 2 };
        if (packer->sampling == PACKER_422)
            codes_422(packer, above[0], above[1], above[2], columns, codes);
        else if (packer->sampling == PACKER_444)
            codes_444(packer, above[0], above[1], above[2], columns, (end - x) / 2, codes);
        else
            codes_420(packer, above, below, columns, codes);
        pack_bits(codes, columns * samples_a_column, packer->depth, row + (uint64_t)x * samples_a_column * packer->depth / 8);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void
pack_general_avx2(const struct packer *packer, int16_t *const upper[3], int16_t *const lower[3], uint32_t begin, uint32_t end, uint8_t *row)
{
    pack_general(packer, upper, lower, begin, end, row);
}
#endif

void packer_pack(const struct packer *packer, int16_t *const upper[3], int16_t *const lower[3], uint32_t begin, uint32_t end, uint8_t *row, int simd)
{
    if (packer->plain) {
        pack_plain(packer->depth, upper[0], upper[1], upper[2], begin, end, row, simd);
        return;
    }
#if defined(__x86_64__)
    if (simd && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        pack_general_avx2(packer, upper, lower, begin, end, row);
        return;
    }
#endif
    pack_general(packer, upper, lower, begin, end, row);
}
