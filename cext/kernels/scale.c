/* The mean of two samples by two: (a + b + c + d + 2) >> 2. Averaging twice with _mm256_avg_epu8 would round twice and brighten. */
#include "scale.h"

/* `count` samples from a pair of rows. */
typedef void row_pair(const uint8_t *upper, const uint8_t *lower, size_t count, uint8_t *target);

static void pair_scalar(const uint8_t *upper, const uint8_t *lower, size_t count, uint8_t *target)
{
    for (size_t i = 0; i < count; i++)
        target[i] = (uint8_t)((upper[2 * i] + upper[2 * i + 1] + lower[2 * i] + lower[2 * i + 1] + 2) >> 2);
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

enum { AVX2_BLOCK = 32 };

/* Sixteen means as words, from 32 octets of each row. */
AVX2 static inline __m256i means_avx2(const uint8_t *upper, const uint8_t *lower)
{
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i above = _mm256_maddubs_epi16(_mm256_loadu_si256((const __m256i *)upper), ones);
    __m256i below = _mm256_maddubs_epi16(_mm256_loadu_si256((const __m256i *)lower), ones);
    return _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(above, below), _mm256_set1_epi16(2)), 2);
}

/* Safety: no row shorter than a block comes here. The last block is moved back to end with the row; what it shares with the
 * block before is written twice, and nothing outside the row is read or written. */
AVX2 static void pair_avx2(const uint8_t *upper, const uint8_t *lower, size_t count, uint8_t *target)
{
    for (size_t done = 0; done < count; done += AVX2_BLOCK) {
        size_t at = done + AVX2_BLOCK <= count ? done : count - AVX2_BLOCK;
        __m256i packed = _mm256_packus_epi16(means_avx2(upper + 2 * at, lower + 2 * at), means_avx2(upper + 2 * at + 32, lower + 2 * at + 32));
        /* Packing interleaves the two registers by halves. */
        _mm256_storeu_si256((__m256i *)(target + at), _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0)));
    }
}
#endif

struct path {
    size_t block; /* a shorter row goes the scalar way */
    row_pair *pair;
};

static const struct path paths[SCALE_PATHS] = {
    [SCALE_SCALAR] = {1, pair_scalar},
#if defined(__x86_64__)
    [SCALE_AVX2] = {AVX2_BLOCK, pair_avx2},
#endif
};

int scale_supported(enum scale_path path)
{
#if defined(__x86_64__)
    if (path == SCALE_AVX2)
        return __builtin_cpu_supports("avx2");
#endif
    return path == SCALE_SCALAR;
}

void scale_halve(const struct scale_plane *plane, enum scale_path wanted, const uint8_t *source, uint8_t *target)
{
    row_pair *pair = paths[plane->width >= paths[wanted].block ? wanted : SCALE_SCALAR].pair;
    for (size_t row = 0; row < plane->height; row++)
        pair(source + 2 * row * plane->source_stride, source + (2 * row + 1) * plane->source_stride, plane->width, target + row * plane->target_stride);
}
