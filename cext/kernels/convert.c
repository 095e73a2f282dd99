/* Rows in pairs, so that the chroma of both is read once. 4:2:2 of 8 and 10 bits goes a short way (pgroups.h); everything else is unpacked to words
 * (samples.h), which become planes (planes.h). The last row of an odd height is its own partner, as every row of a field is. */
#include "convert.h"

#include "pgroups.h"

struct path {
    size_t width_min; /* a narrower frame goes the scalar way */
    pgroups_pair *pgroups8, *pgroups8_same, *pgroups10, *pgroups10_same; /* none: the long way */
    const struct samples_kernels *samples;
    const struct planes_kernels *planes;
};

static const struct path paths[CONVERT_PATHS] = {
    [CONVERT_SCALAR] = {1, 0, 0, 0, 0, &samples_scalar, &planes_scalar},
#if defined(__x86_64__)
    [CONVERT_AVX2] = {2 * PGROUPS_BLOCK, pgroups8_avx2, pgroups8_same_avx2, pgroups10_avx2, pgroups10_same_avx2, &samples_avx2, &planes_avx2},
#endif
};

/* Safety: a frame that is wide enough for a path has rows of a block or more in all of its kernels. */
_Static_assert((int)PGROUPS_BLOCK >= (int)SAMPLES_BLOCK && (int)PGROUPS_BLOCK >= (int)SAMPLES_GROUPS_BLOCK
               && (int)PGROUPS_BLOCK >= (int)SAMPLES_PAIR_GROUPS_BLOCK, "no block is wider than a narrow frame");

int convert_supported(enum convert_path path)
{
#if defined(__x86_64__)
    if (path == CONVERT_AVX2)
        return __builtin_cpu_supports("avx2");
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
    size_t long_way = 2 * row_samples(geometry) * sizeof(uint16_t) + planes_scratch_bytes(geometry->width), short_way = pgroups_scratch_bytes(geometry->width / 2);
    return long_way > short_way ? long_way : short_way;
}

/* The pair whose upper row is this one of Y. */
static struct row_pair pair_at(const struct convert_geometry *geometry, const uint8_t *raw, uint8_t *planar, size_t row)
{
    size_t row_bytes = convert_row_bytes(geometry), step = geometry->field ? 1 : 2;
    size_t partner = !geometry->field && row + 1 < geometry->height ? row + 1 : row;
    int two_rows = geometry->sampling == CONVERT_420;
    return (struct row_pair){
        .upper = raw + (two_rows ? row / 2 : row) * row_bytes, .lower = raw + (two_rows ? row / 2 : partner) * row_bytes,
        .y0 = planar + row * geometry->luma_stride, .y1 = planar + partner * geometry->luma_stride,
        .u = planar + geometry->u_offset + row / step * geometry->chroma_stride, .v = planar + geometry->v_offset + row / step * geometry->chroma_stride};
}

static void convert_words(const struct convert_geometry *geometry, const struct path *path, const struct row_pair *pair, uint16_t *scratch)
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
    size_t step = geometry->field ? 1 : 2;
    pgroups_pair *convert_pgroups = geometry->sampling != CONVERT_422 || geometry->depth > 10 ? 0
                                    : geometry->depth == 8 ? geometry->same_colour ? path->pgroups8_same : path->pgroups8
                                    : geometry->same_colour ? path->pgroups10_same : path->pgroups10;
    struct row_pair pair = pair_at(geometry, raw, planar, 0);
    for (size_t row = 0; row < geometry->height; row += step) {
        struct row_pair next = row + step < geometry->height ? pair_at(geometry, raw, planar, row + step) : pair;
        if (convert_pgroups)
            convert_pgroups(&geometry->colour, &pair, &next, geometry->width / 2, scratch);
        else
            convert_words(geometry, path, &pair, scratch);
        pair = next;
    }
}
