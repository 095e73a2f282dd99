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

/* Three rows to one, as their parts say. The compiler makes vectors of it. */
static inline __attribute__((always_inline)) void merge(const uint8_t *const rows[3], const uint8_t parts[3], size_t count, uint8_t *restrict target)
{
    const uint8_t *restrict a = rows[0], *restrict b = rows[1], *restrict c = rows[2];
    uint16_t of_a = parts[0], of_b = parts[1], of_c = parts[2];
    for (size_t i = 0; i < count; i++)
        target[i] = (uint8_t)((uint16_t)(a[i] * of_a + b[i] * of_b + c[i] * of_c + 64) >> 7);
}

static void merge_scalar(const uint8_t *const rows[3], const uint8_t parts[3], size_t count, uint8_t *target)
{
    merge(rows, parts, count, target);
}

static void narrow_scalar(const struct scale_area *area, uint8_t *target)
{
    const uint8_t *row = area->row;
    for (size_t i = 0; i < area->plane.width; i++) {
        const struct scale_cover *cover = &area->columns[i];
        const uint8_t *from = row + cover->first;
        target[i] = (uint8_t)((from[0] * cover->parts[0] + from[1] * cover->parts[1] + from[2] * cover->parts[2] + 64) >> 7);
    }
}

enum { AREA_BLOCK = 16, LANE = 8 };

#if defined(__x86_64__)
AVX2 static void merge_avx2(const uint8_t *const rows[3], const uint8_t parts[3], size_t count, uint8_t *target)
{
    merge(rows, parts, count, target);
}

/* Safety: a lane's eight samples begin within 15 octets of its first one's (half a side at most), so that one window of 16 octets holds the
 * first and second sample of each, and one two octets on the third. area->row has room behind its samples for the last windows. */
AVX2 static void narrow_avx2(const struct scale_area *area, uint8_t *target)
{
    for (size_t i = 0; i < (area->plane.width + AREA_BLOCK - 1) / AREA_BLOCK; i++) {
        const struct scale_block *block = &area->blocks[i];
        const uint8_t *low = area->row + block->first[0], *high = area->row + block->first[1];
        __m256i order = _mm256_loadu_si256((const __m256i *)block->order);
        __m256i near = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)), _mm_loadu_si128((const __m128i *)high), 1);
        __m256i far = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(low + 2))), _mm_loadu_si128((const __m128i *)(high + 2)), 1);
        __m256i sum = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_shuffle_epi8(near, order), _mm256_loadu_si256((const __m256i *)block->parts01)),
                                       _mm256_maddubs_epi16(_mm256_shuffle_epi8(far, order), _mm256_loadu_si256((const __m256i *)block->parts2)));
        __m256i means = _mm256_srli_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(64)), 7);
        __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(means, means), _MM_SHUFFLE(3, 1, 2, 0));
        _mm_storeu_si128((__m128i *)(target + block->at), _mm256_castsi256_si128(packed));
    }
}
#endif

struct path {
    size_t block; /* a shorter row goes the scalar way */
    row_pair *pair;
    void (*merge)(const uint8_t *const rows[3], const uint8_t parts[3], size_t count, uint8_t *target);
    void (*narrow)(const struct scale_area *area, uint8_t *target);
};

static const struct path paths[SCALE_PATHS] = {
    [SCALE_SCALAR] = {1, pair_scalar, merge_scalar, narrow_scalar},
#if defined(__x86_64__)
    [SCALE_AVX2] = {AVX2_BLOCK, pair_avx2, merge_avx2, narrow_avx2},
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

size_t scale_row_bytes(size_t source_width)
{
    return source_width + 32;
}

/* Sample i of `count`, more than the source has: between the two whose centres lie around its own. */
static struct scale_cover between(size_t i, size_t count, size_t source)
{
    size_t centre = (2 * i + 1) * source, at = centre > count ? centre - count : 0; /* in halves of a `count`th of a source sample */
    struct scale_cover cover = {.first = (uint32_t)(at / (2 * count))};
    size_t second = (at % (2 * count) * 128 + count) / (2 * count);
    cover.parts[1] = (uint8_t)(second < 1 ? 1 : second > 127 ? 127 : second);
    cover.parts[0] = (uint8_t)(128 - cover.parts[1]);
    return cover;
}

/* Sample i of `count` covers the source from i to i + 1 times source / count. A part is a signed octet: 127 at most. */
static struct scale_cover cover_of(size_t i, size_t count, size_t source)
{
    if (count > source)
        return between(i, count, source);
    size_t begin = i * source, end = begin + source; /* in `count`ths of a source sample */
    struct scale_cover cover = {.first = (uint32_t)(begin / count)};
    size_t parts[3], first_end = (cover.first + 1) * count;
    parts[0] = ((first_end - begin) * 128 + source / 2) / source;
    parts[2] = end > first_end + count ? ((end - first_end - count) * 128 + source / 2) / source : 0;
    if (parts[0] > 127)
        parts[0] = 127;
    parts[1] = 128 - parts[0] - parts[2];
    if (parts[1] > 127)
        parts[1] = 127, parts[0] = 1;
    for (size_t part = 0; part < 3; part++)
        cover.parts[part] = (uint8_t)parts[part];
    return cover;
}

void scale_prepare(const struct scale_area *area)
{
    size_t width = area->plane.width;
    for (size_t i = 0; i < area->plane.height; i++)
        area->rows[i] = cover_of(i, area->plane.height, area->source_height);
    for (size_t i = 0; i < width; i++)
        area->columns[i] = cover_of(i, width, area->source_width);
    for (size_t done = 0; done < width && width >= AREA_BLOCK; done += AREA_BLOCK) {
        struct scale_block *block = &area->blocks[done / AREA_BLOCK];
        block->at = (uint32_t)(done + AREA_BLOCK <= width ? done : width - AREA_BLOCK);
        for (size_t i = 0; i < AREA_BLOCK; i++) {
            const struct scale_cover *cover = &area->columns[block->at + i], *first = &area->columns[block->at + i / LANE * LANE];
            block->first[i / LANE] = first->first;
            block->order[2 * i] = (int8_t)(cover->first - first->first);
            block->order[2 * i + 1] = (int8_t)(cover->first - first->first + 1);
            block->parts01[2 * i] = (int8_t)cover->parts[0];
            block->parts01[2 * i + 1] = (int8_t)cover->parts[1];
            block->parts2[2 * i] = (int8_t)cover->parts[2];
            block->parts2[2 * i + 1] = 0;
        }
    }
}

void scale_by_area(const struct scale_area *area, enum scale_path wanted, const uint8_t *source, uint8_t *target)
{
    const struct scale_plane *plane = &area->plane;
    const struct path *path = &paths[plane->width >= AREA_BLOCK ? wanted : SCALE_SCALAR];
    for (size_t i = 0; i < plane->height; i++) {
        const struct scale_cover *cover = &area->rows[i];
        const uint8_t *rows[3];
        for (size_t part = 0; part < 3; part++) {
            size_t row = cover->first + part < area->source_height ? cover->first + part : area->source_height - 1;
            rows[part] = source + row * plane->source_stride;
        }
        path->merge(rows, cover->parts, area->source_width, area->row);
        area->row[area->source_width] = area->row[area->source_width - 1]; /* a cover of one sample alone takes one part of the next */
        path->narrow(area, target + i * plane->target_stride);
    }
}
