/* planes.c's arithmetic in registers: words of 16 pgroups a row at a time. What a pgroup's chroma adds to its luma goes to its first pixel; its
 * second has the mean with the next pgroup's, which for the last of a block is read from the row by itself. */
#include "recolour.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "pgroups.h"

#define AVX2 __attribute__((target("avx2")))

enum { BLOCK = PGROUPS_AVX2_BLOCK, NEUTRAL = 0x8000, STRAY_FREE = 0xFFC0 };

/* Safety: as in pgroups.c, the last block of a row is moved back to end with the row. */
static inline size_t block_start(size_t done, size_t pgroups)
{
    return done + BLOCK <= pgroups ? done : pgroups - BLOCK;
}

static inline int added_by(const struct planes_colour *colour, unsigned cb, unsigned cr)
{
    return (((int)cb - NEUTRAL) * colour->luma_of_cb >> 16) + (((int)cr - NEUTRAL) * colour->luma_of_cr >> 16);
}

/* Factors in the order in which a register's words hold Cb and Cr. */
#define FOUR(a, b, c, d) _mm256_setr_epi16(a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d)

struct words {
    __m256i luma[2], chroma[2];
};

/* `added` holds the 16 pgroups' in order, `next` the one's after them: what each of 32 pixels gets, in the halves that `luma` has. */
AVX2 static inline void spread(__m256i added, int next, __m256i *low, __m256i *high)
{
    __m256i following = _mm256_permute2x128_si256(added, _mm256_set1_epi16((short)next), 0x21);
    following = _mm256_alignr_epi8(following, added, 2);
    __m256i between = _mm256_srai_epi16(_mm256_add_epi16(added, following), 1);
    *low = _mm256_unpacklo_epi16(added, between);
    *high = _mm256_unpackhi_epi16(added, between);
}

AVX2 static inline __m256i signed_words(__m256i chroma) { return _mm256_xor_si256(chroma, _mm256_set1_epi16((short)NEUTRAL)); }

AVX2 static inline __m256i rounded(__m256i result) { return _mm256_srai_epi16(_mm256_add_epi16(result, _mm256_set1_epi16(32)), 6); }

AVX2 static inline __m256i luma_of(const struct planes_colour *colour, __m256i words, __m256i added)
{
    __m256i own = _mm256_mulhi_epu16(words, _mm256_set1_epi16((short)colour->luma_of_luma));
    return rounded(_mm256_add_epi16(_mm256_add_epi16(own, _mm256_set1_epi16((short)colour->luma_base)), added));
}

AVX2 static inline __m256i chroma_of(__m256i own, __m256i of_own, __m256i other, __m256i of_other)
{
    __m256i sum = _mm256_add_epi16(_mm256_mulhi_epi16(own, of_own), _mm256_mulhi_epi16(other, of_other));
    return rounded(_mm256_add_epi16(sum, _mm256_set1_epi16(NEUTRAL / 4)));
}

/* ---- 10 bits: as in pgroups.c, two pgroups are eight words Y Y Y Y Cb Cb Cr Cr ---- */

#define WORDS_OF_TWO_PGROUPS(at) \
    (at) + 2, (at) + 1, (at) + 4, (at) + 3, (at) + 7, (at) + 6, (at) + 9, (at) + 8, \
    (at) + 1, (at) + 0, (at) + 6, (at) + 5, (at) + 3, (at) + 2, (at) + 8, (at) + 7

AVX2 static inline __m256i samples(const uint8_t *low, const uint8_t *high, __m256i order)
{
    const __m256i align = _mm256_setr_epi16(4, 64, 4, 64, 1, 1, 16, 16, 4, 64, 4, 64, 1, 1, 16, 16);
    __m256i octets = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)), _mm_loadu_si128((const __m128i *)high), 1);
    return _mm256_and_si256(_mm256_mullo_epi16(_mm256_shuffle_epi8(octets, order), align), _mm256_set1_epi16((short)STRAY_FREE));
}

/* luma[0] holds the pixels of pgroups 0 to 3 and 8 to 11, luma[1] those of 4 to 7 and 12 to 15; chroma likewise, as Cb Cb Cr Cr. */
AVX2 static inline struct words row10(const uint8_t *row)
{
    const __m256i order = _mm256_setr_epi8(WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(0));
    const __m256i order_of_last = _mm256_setr_epi8(WORDS_OF_TWO_PGROUPS(0), WORDS_OF_TWO_PGROUPS(6));
    __m256i a = samples(row, row + 40, order), b = samples(row + 10, row + 50, order);
    __m256i c = samples(row + 20, row + 60, order), d = samples(row + 30, row + 64, order_of_last);
    return (struct words){{_mm256_unpacklo_epi64(a, b), _mm256_unpacklo_epi64(c, d)}, {_mm256_unpackhi_epi64(a, b), _mm256_unpackhi_epi64(c, d)}};
}

AVX2 static inline __m256i added10(const struct planes_colour *colour, __m256i chroma)
{
    __m256i parts = _mm256_mulhi_epi16(signed_words(chroma), FOUR(colour->luma_of_cb, colour->luma_of_cb, colour->luma_of_cr, colour->luma_of_cr));
    return _mm256_shuffle_epi32(_mm256_add_epi16(parts, _mm256_shuffle_epi32(parts, _MM_SHUFFLE(2, 3, 0, 1))), _MM_SHUFFLE(2, 0, 2, 0));
}

AVX2 static inline void luma10(const struct planes_colour *colour, const uint8_t *row, size_t at, size_t pgroups, const struct words *words, uint8_t *y)
{
    const uint8_t *next = row + 5 * (at + BLOCK < pgroups ? at + BLOCK : pgroups - 1);
    unsigned cb = (unsigned)(next[0] << 8 | (next[1] & 0xC0)), cr = ((unsigned)next[2] << 12 | (unsigned)next[3] << 4) & STRAY_FREE;
    __m256i low, high;
    spread(_mm256_unpacklo_epi64(added10(colour, words->chroma[0]), added10(colour, words->chroma[1])), added_by(colour, cb, cr), &low, &high);
    _mm256_storeu_si256((__m256i *)(y + 2 * at), _mm256_packus_epi16(luma_of(colour, words->luma[0], low), luma_of(colour, words->luma[1], high)));
}

AVX2 static inline __m256i chroma10(const struct planes_colour *colour, __m256i upper, __m256i lower)
{
    __m256i own = signed_words(_mm256_avg_epu16(upper, lower)), other = _mm256_shuffle_epi32(own, _MM_SHUFFLE(2, 3, 0, 1));
    return chroma_of(own, FOUR(colour->cb_of_cb, colour->cb_of_cb, colour->cr_of_cr, colour->cr_of_cr),
                     other, FOUR(colour->cb_of_cr, colour->cb_of_cr, colour->cr_of_cb, colour->cr_of_cb));
}

AVX2 void recolour10_avx2(const struct planes_colour *wanted, const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    const __m256i part = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const struct planes_colour own = *wanted, *colour = &own; /* a copy, which no octet written can be part of: its factors stay in registers */
    for (size_t done = 0; done < pgroups; done += BLOCK) {
        size_t at = block_start(done, pgroups);
        struct words first = row10(upper + 5 * at), second = upper == lower ? first : row10(lower + 5 * at);
        luma10(colour, upper, at, pgroups, &first, y0);
        if (y1 != y0)
            luma10(colour, lower, at, pgroups, &second, y1);
        __m256i mixed = _mm256_packus_epi16(chroma10(colour, first.chroma[0], second.chroma[0]), chroma10(colour, first.chroma[1], second.chroma[1]));
        __m256i planes = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(mixed, part), 0xD8);
        _mm_storeu_si128((__m128i *)(u + at), _mm256_castsi256_si128(planes));
        _mm_storeu_si128((__m128i *)(v + at), _mm256_extracti128_si256(planes, 1));
    }
}

/* ---- 8 bits: eight pgroups a register, whose words are luma above and chroma below ---- */

AVX2 static inline struct words row8(const uint8_t *row)
{
    const __m256i upper = _mm256_set1_epi16((short)0xFF00);
    __m256i a = _mm256_loadu_si256((const __m256i *)row), b = _mm256_loadu_si256((const __m256i *)(row + 32));
    return (struct words){{_mm256_and_si256(a, upper), _mm256_and_si256(b, upper)}, {_mm256_slli_epi16(a, 8), _mm256_slli_epi16(b, 8)}};
}

AVX2 static inline void luma8(const struct planes_colour *colour, const uint8_t *row, size_t at, size_t pgroups, const struct words *words, uint8_t *y)
{
    const uint8_t *next = row + 4 * (at + BLOCK < pgroups ? at + BLOCK : pgroups - 1);
    const __m256i of_chroma = FOUR(colour->luma_of_cb, colour->luma_of_cr, colour->luma_of_cb, colour->luma_of_cr);
    __m256i added = _mm256_hadd_epi16(_mm256_mulhi_epi16(signed_words(words->chroma[0]), of_chroma), _mm256_mulhi_epi16(signed_words(words->chroma[1]), of_chroma));
    __m256i low, high;
    spread(_mm256_permute4x64_epi64(added, 0xD8), added_by(colour, (unsigned)next[0] << 8, (unsigned)next[2] << 8), &low, &high);
    __m256i packed = _mm256_packus_epi16(luma_of(colour, words->luma[0], _mm256_permute2x128_si256(low, high, 0x20)),
                                         luma_of(colour, words->luma[1], _mm256_permute2x128_si256(low, high, 0x31)));
    _mm256_storeu_si256((__m256i *)(y + 2 * at), _mm256_permute4x64_epi64(packed, 0xD8));
}

AVX2 static inline __m256i chroma8(const struct planes_colour *colour, __m256i upper, __m256i lower)
{
    __m256i own = signed_words(_mm256_avg_epu16(upper, lower));
    __m256i other = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(own, _MM_SHUFFLE(2, 3, 0, 1)), _MM_SHUFFLE(2, 3, 0, 1));
    return chroma_of(own, FOUR(colour->cb_of_cb, colour->cr_of_cr, colour->cb_of_cb, colour->cr_of_cr),
                     other, FOUR(colour->cb_of_cr, colour->cr_of_cb, colour->cb_of_cr, colour->cr_of_cb));
}

AVX2 void recolour8_avx2(const struct planes_colour *wanted, const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    const __m256i part = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    const struct planes_colour own = *wanted, *colour = &own; /* a copy, which no octet written can be part of: its factors stay in registers */
    for (size_t done = 0; done < pgroups; done += BLOCK) {
        size_t at = block_start(done, pgroups);
        struct words first = row8(upper + 4 * at), second = upper == lower ? first : row8(lower + 4 * at);
        luma8(colour, upper, at, pgroups, &first, y0);
        if (y1 != y0)
            luma8(colour, lower, at, pgroups, &second, y1);
        __m256i mixed = _mm256_packus_epi16(chroma8(colour, first.chroma[0], second.chroma[0]), chroma8(colour, first.chroma[1], second.chroma[1]));
        __m256i planes = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(_mm256_permute4x64_epi64(mixed, 0xD8), part), 0xD8);
        _mm_storeu_si128((__m128i *)(u + at), _mm256_castsi256_si128(planes));
        _mm_storeu_si128((__m128i *)(v + at), _mm256_extracti128_si256(planes, 1));
    }
}
#endif
