/* planes.c's arithmetic in registers: blocks of 16 pgroups of both rows, so that the chroma of both is read once.
 *
 * What a pgroup's chroma adds to its luma goes to its first pixel; its second has the mean with the next pgroup's. So blocks go from right to left:
 * the next one's is there already. Measured: the memory is the limit, and rows that are fetched while those before them are converted
 * cost a fifth less; stores past the cache gain nothing more, and would cost whoever encodes the frame. */
#include "pgroups.h"

enum { BLOCK = PGROUPS_BLOCK };

size_t pgroups_scratch_bytes(size_t pgroups)
{
    return 2 * (pgroups + BLOCK) * sizeof(int16_t);
}

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE AVX2 static inline __attribute__((always_inline))

enum { NEUTRAL = 0x8000, HALF = 0x80, LINE_BYTES = 64 };

/* A block of one row as left-aligned words. A lane of luma[0] and one of luma[1] follow each other; the chroma of both is a lane of cb and of cr. */
struct words {
    __m256i luma[2], cb, cr;
};
typedef struct words read_words(const uint8_t *block);

INLINE __m256i lanes(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)), _mm_loadu_si128((const __m128i *)high), 1);
}

/* Octets of two pgroups to eight big-endian words, which hold the samples among others' bits: Y Y Y Y Cb Cb Cr Cr.
 * Source: ST 2110-20 section 6.2.5: Cb Y0 Cr Y1, ten bits each, most significant bit first. */
#define WORDS_OF_TWO_PGROUPS(at) \
    (at) + 2, (at) + 1, (at) + 4, (at) + 3, (at) + 7, (at) + 6, (at) + 9, (at) + 8, \
    (at) + 1, (at) + 0, (at) + 6, (at) + 5, (at) + 3, (at) + 2, (at) + 8, (at) + 7

/* A lane is two pgroups: 16 octets are read, 10 are used. Safety: the last lane begins 6 octets early to end with the block. */
INLINE struct words read10(const uint8_t *block)
{
    const __m256i order = _mm256_setr_epi8(WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(0));
    const __m256i order_of_last = _mm256_setr_epi8(WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(6));
    const __m256i align = _mm256_set1_epi32(64 << 16 | 4), sample = _mm256_set1_epi16((short)0xFFC0);
    __m256i a = _mm256_shuffle_epi8(lanes(block, block + 40), order), b = _mm256_shuffle_epi8(lanes(block + 10, block + 50), order);
    __m256i c = _mm256_shuffle_epi8(lanes(block + 20, block + 60), order), d = _mm256_shuffle_epi8(lanes(block + 30, block + 64), order_of_last);
    __m256 first = _mm256_castsi256_ps(_mm256_unpackhi_epi64(a, b)), second = _mm256_castsi256_ps(_mm256_unpackhi_epi64(c, d));
    __m256i cb = _mm256_castps_si256(_mm256_shuffle_ps(first, second, _MM_SHUFFLE(2, 0, 2, 0)));
    __m256i cr = _mm256_slli_epi16(_mm256_castps_si256(_mm256_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1))), 4);
    return (struct words){{_mm256_and_si256(_mm256_mullo_epi16(_mm256_unpacklo_epi64(a, b), align), sample),
                           _mm256_and_si256(_mm256_mullo_epi16(_mm256_unpacklo_epi64(c, d), align), sample)},
                          _mm256_and_si256(cb, sample), _mm256_and_si256(cr, sample)};
}

/* A lane is four pgroups. */
INLINE struct words read8(const uint8_t *block)
{
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 0, -1, 4, -1, 8, -1, 12, -1, 2, -1, 6, -1, 10, -1, 14));
    const __m256i luma = _mm256_set1_epi16((short)0xFF00);
    __m256i a = lanes(block, block + 32), b = lanes(block + 16, block + 48);
    __m256i first = _mm256_shuffle_epi8(a, order), second = _mm256_shuffle_epi8(b, order);
    return (struct words){{_mm256_and_si256(a, luma), _mm256_and_si256(b, luma)}, _mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second)};
}

/* Rounds words to codes of 8 bits where nothing else changes. */
INLINE __m256i rounded(__m256i words) { return _mm256_srli_epi16(_mm256_adds_epu16(words, _mm256_set1_epi16(HALF)), 8); }

/* The share of both in a result, and what is the same everywhere. */
INLINE __m256i of_chroma(const struct words *words, int16_t of_cb, int16_t of_cr, int base)
{
    const __m256i neutral = _mm256_set1_epi16((short)NEUTRAL);
    __m256i cb = _mm256_mulhi_epi16(_mm256_xor_si256(words->cb, neutral), _mm256_set1_epi16(of_cb));
    __m256i cr = _mm256_mulhi_epi16(_mm256_xor_si256(words->cr, neutral), _mm256_set1_epi16(of_cr));
    return _mm256_add_epi16(_mm256_add_epi16(cb, cr), _mm256_set1_epi16((short)base));
}

INLINE __m256i luma_of(const struct planes_colour *colour, __m256i words, __m256i added)
{
    return _mm256_srai_epi16(_mm256_add_epi16(_mm256_mulhi_epu16(words, _mm256_set1_epi16((short)colour->luma_of_luma)), added), 6);
}

/* `halves` is the block's place in the row of what chroma adds; behind it lies what the block to the right of it has left. */
INLINE void luma_block(const struct planes_colour *colour, const struct words *words, bool same, bool rightmost, int16_t *halves, uint8_t *y)
{
    __m256i left = rounded(words->luma[0]), right = rounded(words->luma[1]);
    if (!same) {
        __m256i added = of_chroma(words, colour->luma_of_cb, colour->luma_of_cr, colour->luma_base + 32);
        _mm256_storeu_si256((__m256i *)halves, added);
        if (rightmost)
            halves[BLOCK] = halves[BLOCK - 1];
        __m256i next = _mm256_loadu_si256((const __m256i *)(halves + BLOCK)); /* its first word is wanted */
        __m256i following = _mm256_alignr_epi8(_mm256_permute2x128_si256(added, next, 0x21), added, 2);
        __m256i between = _mm256_srai_epi16(_mm256_add_epi16(added, following), 1);
        left = luma_of(colour, words->luma[0], _mm256_unpacklo_epi16(added, between));
        right = luma_of(colour, words->luma[1], _mm256_unpackhi_epi16(added, between));
    }
    _mm256_storeu_si256((__m256i *)y, _mm256_packus_epi16(left, right));
}

INLINE void chroma_block(const struct planes_colour *colour, const struct words *mean, bool same, uint8_t *u, uint8_t *v)
{
    __m256i cb = rounded(mean->cb), cr = rounded(mean->cr);
    if (!same) {
        cb = _mm256_srai_epi16(of_chroma(mean, colour->cb_of_cb, colour->cb_of_cr, NEUTRAL / 4 + 32), 6);
        cr = _mm256_srai_epi16(of_chroma(mean, colour->cr_of_cb, colour->cr_of_cr, NEUTRAL / 4 + 32), 6);
    }
    __m256i planes = _mm256_permute4x64_epi64(_mm256_packus_epi16(cb, cr), _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128((__m128i *)u, _mm256_castsi256_si128(planes));
    _mm_storeu_si128((__m128i *)v, _mm256_extracti128_si256(planes, 1));
}

/* What a block of the next pair is read from and written to. */
INLINE void fetch(const struct row_pair *next, size_t at, size_t pgroup_bytes)
{
    for (size_t line = 0; line < BLOCK * pgroup_bytes; line += LINE_BYTES) {
        __builtin_prefetch(next->upper + pgroup_bytes * at + line);
        __builtin_prefetch(next->lower + pgroup_bytes * at + line);
    }
    __builtin_prefetch(next->y0 + 2 * at, 1);
    __builtin_prefetch(next->y1 + 2 * at, 1);
    __builtin_prefetch(next->u + at, 1);
    __builtin_prefetch(next->v + at, 1);
}

INLINE void convert_pair(read_words *read, size_t pgroup_bytes, bool same, const struct planes_colour *wanted, const struct row_pair *rows,
                         const struct row_pair *next, size_t pgroups, int16_t *scratch)
{
    const struct planes_colour own = *wanted, *colour = &own; /* copies, which no octet written can be part of: they stay in registers */
    const struct row_pair pair = *rows, ahead = *next;
    /* Safety: no row shorter than a block comes here. The leftmost block is moved to begin with the row; what it shares with the block before is
     * written twice. */
    for (size_t left = pgroups; left;) {
        bool rightmost = left == pgroups;
        size_t at = left = left > BLOCK ? left - BLOCK : 0;
        fetch(&ahead, at, pgroup_bytes);
        struct words upper = read(pair.upper + pgroup_bytes * at), mean = upper;
        luma_block(colour, &upper, same, rightmost, scratch + at, pair.y0 + 2 * at);
        if (pair.lower != pair.upper) {
            struct words lower = read(pair.lower + pgroup_bytes * at);
            luma_block(colour, &lower, same, rightmost, scratch + pgroups + BLOCK + at, pair.y1 + 2 * at);
            /* The mean of two left-aligned samples of 10 bits is exact in 16: nothing is rounded here. */
            mean.cb = _mm256_avg_epu16(upper.cb, lower.cb);
            mean.cr = _mm256_avg_epu16(upper.cr, lower.cr);
        }
        chroma_block(colour, &mean, same, pair.u + at, pair.v + at);
    }
}

#define KERNEL(name, read, pgroup_bytes, same) \
    AVX2 void name(const struct planes_colour *colour, const struct row_pair *pair, const struct row_pair *next, size_t pgroups, void *scratch) \
    { \
        convert_pair(read, pgroup_bytes, same, colour, pair, next, pgroups, scratch); \
    }
KERNEL(pgroups8_avx2, read8, 4, false)
KERNEL(pgroups8_same_avx2, read8, 4, true)
KERNEL(pgroups10_avx2, read10, 5, false)
KERNEL(pgroups10_same_avx2, read10, 5, true)
#endif
