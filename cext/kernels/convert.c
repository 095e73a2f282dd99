/* Rows in pairs, so that the chroma of both is read once. 4:2:2 of 8 and 10 bits goes a short way, without a change of colour (pgroups.h) or
 * with one (recolour.h); everything else is unpacked to words (samples.h), which become planes (planes.h). The last row of an odd height is its own partner, as every row of a field is. */
#include "convert.h"

#include "pgroups.h"
#include "recolour.h"

struct path {
    size_t width_min; /* a narrower frame goes the scalar way */
    pgroups_pair *pgroups8, *pgroups10;
    recolour_pair *recolour8, *recolour10; /* none: the long way */
    const struct samples_kernels *samples;
    const struct planes_kernels *planes;
};

static const struct path paths[CONVERT_PATHS] = {
    [CONVERT_SCALAR] = {1, pgroups8_scalar, pgroups10_scalar, 0, 0, &samples_scalar, &planes_scalar},
#if defined(__x86_64__)
    [CONVERT_AVX2] = {2 * PGROUPS_AVX2_BLOCK, pgroups8_avx2, pgroups10_avx2, recolour8_avx2, recolour10_avx2, &samples_avx2, &planes_avx2},
    [CONVERT_AVX512] = {2 * PGROUPS_AVX512_BLOCK, pgroups8_avx512, pgroups10_avx512, recolour8_avx2, recolour10_avx2, &samples_avx2, &planes_avx2},
#endif
};

/* Safety: a frame that is wide enough for a path has rows of a block or more in all of its kernels. */
_Static_assert((int)PGROUPS_AVX2_BLOCK >= (int)SAMPLES_BLOCK && (int)PGROUPS_AVX2_BLOCK >= (int)SAMPLES_GROUPS_BLOCK
               && (int)PGROUPS_AVX2_BLOCK >= (int)SAMPLES_PAIR_GROUPS_BLOCK && (int)PGROUPS_AVX512_BLOCK >= (int)PGROUPS_AVX2_BLOCK, "no block is wider than a narrow frame");

int convert_supported(enum convert_path path)
{
#if defined(__x86_64__)
    if (path == CONVERT_AVX2)
        return __builtin_cpu_supports("avx2");
    if (path == CONVERT_AVX512)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
#endif
    return path == CONVERT_SCALAR;
}

/* Samples of a row of pgroups. */
static size_t row_samples(const struct convert_geometry *geometry)
{
    return geometry->width * (geometry->sampling == CONVERT_422 ? 2 : 3);
}

size_t convert_row_bytes(const struct convert_geometry *geometry)
{
    return row_samples(geometry) * geometry->depth / 8;
}

size_t convert_scratch_bytes(const struct convert_geometry *geometry)
{
    return 2 * row_samples(geometry) * sizeof(uint16_t) + planes_scratch_bytes(geometry->width);
}

/* Where a pair's rows lie. */
struct pair {
    const uint8_t *upper, *lower;
    uint8_t *y0, *y1, *u, *v;
};

static void convert_words(const struct convert_geometry *geometry, const struct path *path, const struct pair *pair, uint16_t *scratch)
{
    const struct samples_kernels *samples = path->samples;
    const struct planes_kernels *planes = path->planes;
    samples_unpack *unpack = geometry->depth == 8 ? samples->unpack8 : geometry->depth == 10 ? samples->unpack10
                             : geometry->depth == 12 ? samples->unpack12 : samples->unpack16;
    planes_pair *make = geometry->sampling == CONVERT_422 ? planes->pair422 : geometry->sampling == CONVERT_444 ? planes->pair444
                        : geometry->sampling == CONVERT_420 ? planes->pair420 : planes->pair_rgb;
    size_t count = row_samples(geometry);
    uint16_t *upper = scratch, *lower = upper;
    unpack(pair->upper, count, upper);
    if (pair->lower != pair->upper) {
        lower = upper + count;
        unpack(pair->lower, count, lower);
    }
    make(&geometry->colour, samples, upper, lower, geometry->width, scratch + 2 * count, pair->y0, pair->y1, pair->u, pair->v);
}

void convert_frame(const struct convert_geometry *geometry, enum convert_path wanted, const uint8_t *raw, uint8_t *planar, void *scratch)
{
    const struct path *path = &paths[geometry->width >= paths[wanted].width_min ? wanted : CONVERT_SCALAR];
    size_t row_bytes = convert_row_bytes(geometry), step = geometry->field ? 1 : 2;
    int two_rows = geometry->sampling == CONVERT_420;
    int is_short = geometry->sampling == CONVERT_422 && geometry->depth <= 10;
    pgroups_pair *convert_pgroups = !is_short || !geometry->same_colour ? 0 : geometry->depth == 8 ? path->pgroups8 : path->pgroups10;
    recolour_pair *recolour = !is_short ? 0 : geometry->depth == 8 ? path->recolour8 : path->recolour10;
    struct pair pair = {.u = planar + geometry->u_offset, .v = planar + geometry->v_offset};

    for (size_t row = 0; row < geometry->height; row += step) {
        size_t partner = !geometry->field && row + 1 < geometry->height ? row + 1 : row;
        pair.upper = raw + (two_rows ? row / 2 : row) * row_bytes;
        pair.lower = two_rows ? pair.upper : raw + partner * row_bytes;
        pair.y0 = planar + row * geometry->luma_stride;
        pair.y1 = planar + partner * geometry->luma_stride;
        if (convert_pgroups)
            convert_pgroups(pair.upper, pair.lower, geometry->width / 2, pair.y0, pair.y1, pair.u, pair.v);
        else if (recolour)
            recolour(&geometry->colour, pair.upper, pair.lower, geometry->width / 2, pair.y0, pair.y1, pair.u, pair.v);
        else
            convert_words(geometry, path, &pair, scratch);
        pair.u += geometry->chroma_stride;
        pair.v += geometry->chroma_stride;
    }
}
