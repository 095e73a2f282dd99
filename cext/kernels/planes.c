/* Plain loops that the compiler makes vectors of, once for every path: see EVERY_KERNEL at the end. All divisions by 65536 round down.
 *
 *   Y of Y'CbCr    (32 + base + Y * k / 65536 + Cb * k / 65536 + Cr * k / 65536) >> 6       Cb and Cr about 0; likewise U and V
 *   Y of R'G'B'    (128 + base + 1 + R * k / 65536 + G * k / 65536 + B * k / 65536) >> 8    the 1 makes up for three truncations
 *   U, V of R'G'B' (64 + 16384 + own * k / 65536 - (the others' shares)) >> 7
 *
 * and clipped. Where a narrow BT.601 source is only rounded to 8 bits, the first is (sample + half a code) and nothing else.
 * A change of matrix needs chroma at every pixel of Y: 4:2:2 has it at the even ones, the mean of two serves between them.
 *
 * U and V. 4:2:2 is co-sited already: the mean of the two rows. 4:4:4 and R'G'B' have a chroma sample for each pixel: 1-2-1 across, which
 * leaves it where 4:2:2 has it (a mean of two pixels would move it by half a pixel), and the mean of the rows. The eight parts are summed
 * at 13 bits, so depths up to 12 are exact. */
#include "planes.h"

#include <math.h>

#define LOOP static inline __attribute__((always_inline))

enum { WORD_MAX = 65535, HALF = 128, NEUTRAL = 32768, BLACK = 16 * 256, LUMA_SWING = 219 * 256, CHROMA_SWING = 224 * 256 };

/* Source: ITU-T H.273 table 4, matrix 6 (BT.601): what every browser takes Y'CbCr for if it does not heed what the stream says. */
static const double RED = 0.299, GREEN = 0.587, BLUE = 0.114;

static int16_t factor(double value) { return (int16_t)lround(16384 * value); }

struct planes_colour planes_colour_of(size_t depth, int full, double red, double blue)
{
    double highest = ((1u << depth) - 1) << (16 - depth), green = 1 - red - blue;
    double luma = full ? LUMA_SWING / highest : 1, chroma = full ? CHROMA_SWING / highest : 1;
    /* Our luma from the source's Y', P_B and P_R: what is left of the source's colour differences under our weights. */
    double of_pb = 2 * (1 - blue) * (BLUE - GREEN * blue / green), of_pr = 2 * (1 - red) * (RED - GREEN * red / green);
    double luma_of_chroma = full ? luma : (double)LUMA_SWING / CHROMA_SWING;
    struct planes_colour colour = {
        .luma_base = full ? BLACK / 4 : 0, .luma_of_luma = (uint16_t)factor(luma),
        .luma_of_cb = factor(luma_of_chroma * of_pb), .luma_of_cr = factor(luma_of_chroma * of_pr),
        .cb_of_cb = factor(chroma * (2 * (1 - blue) - of_pb) / (2 * (1 - BLUE))), .cb_of_cr = factor(chroma * -of_pr / (2 * (1 - BLUE))),
        .cr_of_cb = factor(chroma * -of_pb / (2 * (1 - RED))), .cr_of_cr = factor(chroma * (2 * (1 - red) - of_pr) / (2 * (1 - RED))),
    };
    /* Narrow R'G'B' has luma's swing, and chroma a larger one. */
    double rgb_chroma = full ? chroma : (double)CHROMA_SWING / LUMA_SWING;
    colour.rgb_base = full ? BLACK : 0;
    colour.luma_of_rgb[0] = (uint16_t)lround(65536 * luma * RED);
    colour.luma_of_rgb[2] = (uint16_t)lround(65536 * luma * BLUE);
    colour.luma_of_rgb[1] = (uint16_t)(lround(65536 * luma) - colour.luma_of_rgb[0] - colour.luma_of_rgb[2]);
    colour.chroma_own = (uint16_t)factor(rgb_chroma);
    colour.cb_of_red = (uint16_t)factor(rgb_chroma * RED / (1 - BLUE));
    colour.cr_of_blue = (uint16_t)factor(rgb_chroma * BLUE / (1 - RED));
    return colour;
}

LOOP uint16_t share(uint16_t word, uint16_t of) { return (uint16_t)((uint32_t)word * of >> 16); }
LOOP int16_t signed_share(uint16_t word, int16_t of) { return (int16_t)((int32_t)(int16_t)(word - NEUTRAL) * of >> 16); }
LOOP uint8_t octet(uint16_t word) { return (uint8_t)((uint16_t)((word < WORD_MAX - HALF ? word : WORD_MAX - HALF) + HALF) >> 8); }

LOOP uint8_t clipped(int16_t result)
{
    int16_t code = (int16_t)((int16_t)(result + 32) >> 6);
    code = code < 0 ? 0 : code;
    return (uint8_t)(code > 255 ? 255 : code);
}

/* Pairs to two rows. */
LOOP void part(const uint16_t *restrict pairs, size_t count, uint16_t *restrict first, uint16_t *restrict second)
{
    for (size_t i = 0; i < count; i++) {
        first[i] = pairs[2 * i];
        second[i] = pairs[2 * i + 1];
    }
}

/* What each pixel's chroma adds to its luma. */
LOOP void luma_of_chroma(const struct planes_colour *colour, const uint16_t *restrict cb, const uint16_t *restrict cr, size_t count, int16_t *restrict added)
{
    int16_t of_cb = colour->luma_of_cb, of_cr = colour->luma_of_cr;
    for (size_t i = 0; i < count; i++)
        added[i] = (int16_t)(signed_share(cb[i], of_cb) + signed_share(cr[i], of_cr));
}

/* The same at every pixel, from every second one's; the last pixel has its neighbour's. `halves` has one more to write to. */
LOOP void between(int16_t *restrict halves, size_t count, int16_t *restrict added)
{
    halves[count] = halves[count - 1];
    for (size_t i = 0; i < count; i++) {
        added[2 * i] = halves[i];
        added[2 * i + 1] = (int16_t)((halves[i] + halves[i + 1]) >> 1);
    }
}

LOOP void luma_row(const struct planes_colour *colour, const uint16_t *restrict words, const int16_t *restrict added, size_t width, uint8_t *restrict y)
{
    uint16_t of_luma = colour->luma_of_luma;
    int16_t base = (int16_t)colour->luma_base;
    for (size_t i = 0; i < width; i++)
        y[i] = clipped((int16_t)(base + (int16_t)share(words[i], of_luma) + added[i]));
}

LOOP void chroma_row(const uint16_t *restrict own, const uint16_t *restrict other, int16_t of_own, int16_t of_other, size_t count, uint8_t *restrict target)
{
    for (size_t i = 0; i < count; i++)
        target[i] = clipped((int16_t)(NEUTRAL / 4 + signed_share(own[i], of_own) + signed_share(other[i], of_other)));
}

LOOP void chroma_rows(const struct planes_colour *colour, const uint16_t *cb, const uint16_t *cr, size_t count, uint8_t *u, uint8_t *v)
{
    chroma_row(cb, cr, colour->cb_of_cb, colour->cb_of_cr, count, u);
    chroma_row(cr, cb, colour->cr_of_cr, colour->cr_of_cb, count, v);
}

/* One row of 4:2:2 to Y; its chroma is left in `cb` and `cr`. `scratch`: three and a half rows of words and one more word. */
LOOP void luma_row_of_422(const struct planes_colour *colour, const uint16_t *restrict words, size_t width, uint16_t *restrict scratch,
                          uint16_t *cb, uint16_t *cr, uint8_t *y)
{
    uint16_t *restrict luma = scratch, *restrict chroma = scratch + width;
    int16_t *added = (int16_t *)scratch + 2 * width, *halves = added + width;
    for (size_t i = 0; i < width; i++) {
        luma[i] = words[2 * i + 1];
        chroma[i] = words[2 * i];
    }
    part(chroma, width / 2, cb, cr);
    luma_of_chroma(colour, cb, cr, width / 2, halves);
    between(halves, width / 2, added);
    luma_row(colour, luma, added, width, y);
}

LOOP void mean_of(const uint16_t *restrict upper, const uint16_t *restrict lower, size_t count, uint16_t *restrict mean)
{
    for (size_t i = 0; i < count; i++)
        mean[i] = (uint16_t)((upper[i] & lower[i]) + ((upper[i] ^ lower[i]) >> 1));
}

LOOP void pair422(const struct planes_colour *colour, const struct samples_kernels *samples, const uint16_t *upper, const uint16_t *lower,
                  size_t width, uint16_t *scratch, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    size_t half = width / 2;
    uint16_t *cb = scratch, *cr = cb + half, *other_cb = cr + half, *other_cr = other_cb + half, *rest = other_cr + half;
    (void)samples;
    luma_row_of_422(colour, upper, width, rest, cb, cr, y0);
    if (y1 != y0) {
        luma_row_of_422(colour, lower, width, rest, other_cb, other_cr, y1);
        mean_of(cb, other_cb, half, rest);
        mean_of(cr, other_cr, half, rest + half);
        cb = rest, cr = rest + half;
    }
    chroma_rows(colour, cb, cr, half, u, v);
}

LOOP void pair420(const struct planes_colour *colour, const struct samples_kernels *samples, const uint16_t *upper, const uint16_t *lower,
                  size_t width, uint16_t *scratch, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    uint16_t *first = scratch, *second = first + width, *chroma = second + width, *cb = chroma + width, *cr = cb + width / 2;
    int16_t *added = (int16_t *)cb + width, *halves = added + width;
    (void)lower;
    samples->split_pairs(upper, width / 2, first, second, chroma);
    part(chroma, width / 2, cb, cr);
    luma_of_chroma(colour, cb, cr, width / 2, halves);
    between(halves, width / 2, added);
    luma_row(colour, first, added, width, y0);
    luma_row(colour, second, added, width, y1);
    chroma_rows(colour, cb, cr, width / 2, u, v);
}

/* The three components of two rows, in scratch; the lower ones are the upper ones' if the rows are the same. */
struct split {
    uint16_t *upper[3], *lower[3], *sums, *means[3];
};

LOOP struct split split_rows(const struct samples_kernels *samples, const uint16_t *upper, const uint16_t *lower, size_t width, uint16_t *scratch)
{
    struct split rows;
    for (size_t i = 0; i < 3; i++) {
        rows.upper[i] = scratch + i * width;
        rows.lower[i] = upper == lower ? rows.upper[i] : scratch + (3 + i) * width;
        rows.means[i] = scratch + 7 * width + 2 + i * ((width + 1) / 2);
    }
    rows.sums = scratch + 6 * width;
    samples->split(upper, width, rows.upper[0], rows.upper[1], rows.upper[2]);
    if (upper != lower)
        samples->split(lower, width, rows.lower[0], rows.lower[1], rows.lower[2]);
    return rows;
}

/* Component i at the chroma sites, as words. The pixel at an edge is its own neighbour. */
LOOP const uint16_t *sited(struct split *rows, size_t i, size_t width)
{
    const uint16_t *restrict upper = rows->upper[i], *restrict lower = rows->lower[i];
    uint16_t *restrict sums = rows->sums, *restrict means = rows->means[i];
    for (size_t j = 0; j < width; j++)
        sums[j + 1] = (uint16_t)((upper[j] >> 3) + (lower[j] >> 3));
    sums[0] = sums[1];
    sums[width + 1] = sums[width];
    for (size_t j = 0; j < (width + 1) / 2; j++)
        means[j] = (uint16_t)(sums[2 * j] + 2 * sums[2 * j + 1] + sums[2 * j + 2]);
    return means;
}

LOOP void pair444(const struct planes_colour *colour, const struct samples_kernels *samples, const uint16_t *upper, const uint16_t *lower,
                  size_t width, uint16_t *scratch, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    struct split rows = split_rows(samples, upper, lower, width, scratch);
    int16_t *added = (int16_t *)rows.sums;
    luma_of_chroma(colour, rows.upper[0], rows.upper[2], width, added);
    luma_row(colour, rows.upper[1], added, width, y0);
    if (y1 != y0) {
        luma_of_chroma(colour, rows.lower[0], rows.lower[2], width, added);
        luma_row(colour, rows.lower[1], added, width, y1);
    }
    const uint16_t *cb = sited(&rows, 0, width), *cr = sited(&rows, 2, width);
    chroma_rows(colour, cb, cr, (width + 1) / 2, u, v);
}

LOOP void luma_row_of_rgb(const struct planes_colour *colour, uint16_t *const row[3], size_t width, uint8_t *restrict y)
{
    const uint16_t *restrict red = row[0], *restrict green = row[1], *restrict blue = row[2];
    uint16_t of_red = colour->luma_of_rgb[0], of_green = colour->luma_of_rgb[1], of_blue = colour->luma_of_rgb[2];
    uint16_t base = (uint16_t)(colour->rgb_base + 1);
    for (size_t i = 0; i < width; i++)
        y[i] = octet((uint16_t)(base + share(red[i], of_red) + share(green[i], of_green) + share(blue[i], of_blue)));
}

/* Cb of blue, red and green, or Cr of red, blue and green. */
LOOP void chroma_row_of_rgb(uint16_t of_own, uint16_t of_other, const uint16_t *restrict own, const uint16_t *restrict other,
                            const uint16_t *restrict green, size_t count, uint8_t *restrict target)
{
    uint16_t of_green = (uint16_t)(of_own - of_other);
    for (size_t i = 0; i < count; i++) {
        uint16_t more = (uint16_t)(NEUTRAL / 2 + HALF / 2 + share(own[i], of_own));
        uint16_t less = (uint16_t)(share(other[i], of_other) + share(green[i], of_green));
        uint16_t code = (uint16_t)((more > less ? more - less : 0) >> 7);
        target[i] = (uint8_t)(code < 255 ? code : 255);
    }
}

LOOP void pair_rgb(const struct planes_colour *colour, const struct samples_kernels *samples, const uint16_t *upper, const uint16_t *lower,
                   size_t width, uint16_t *scratch, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v)
{
    struct split rows = split_rows(samples, upper, lower, width, scratch);
    luma_row_of_rgb(colour, rows.upper, width, y0);
    if (y1 != y0)
        luma_row_of_rgb(colour, rows.lower, width, y1);
    const uint16_t *red = sited(&rows, 0, width), *green = sited(&rows, 1, width), *blue = sited(&rows, 2, width);
    chroma_row_of_rgb(colour->chroma_own, colour->cb_of_red, blue, red, green, (width + 1) / 2, u);
    chroma_row_of_rgb(colour->chroma_own, colour->cr_of_blue, red, blue, green, (width + 1) / 2, v);
}

size_t planes_scratch_bytes(size_t width)
{
    return (7 * width + 2 + 3 * ((width + 1) / 2)) * sizeof(uint16_t);
}

/* The loops above, compiled for one path. */
#define KERNEL(name, path, target) \
    target static void name##_##path(const struct planes_colour *colour, const struct samples_kernels *samples, const uint16_t *upper, \
                                     const uint16_t *lower, size_t width, uint16_t *scratch, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v) \
    { \
        name(colour, samples, upper, lower, width, scratch, y0, y1, u, v); \
    }
#define EVERY_KERNEL(path, target) \
    KERNEL(pair422, path, target) KERNEL(pair444, path, target) KERNEL(pair420, path, target) KERNEL(pair_rgb, path, target) \
    const struct planes_kernels planes_##path = {pair422_##path, pair444_##path, pair420_##path, pair_rgb_##path};

EVERY_KERNEL(scalar, )
#if defined(__x86_64__)
EVERY_KERNEL(avx2, __attribute__((target("avx2"))))
#endif
