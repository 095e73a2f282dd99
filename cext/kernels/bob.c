/* A row between two rows a and b of this field is m, unless the past says better. m is the mean of what lies above and below: straight, or up to
 * two samples aslant to either side where that fits better (three samples differ less), so that the edge of a slanting instrument has no
 * steps. p is that row in the field before, a' and b'
 * are a and b two fields ago, p' is p three fields ago: then d = max(|a - a'|, |b - b'|, |p - p'|) is how much moved there within a frame
 * interval, and the row is m, but no further from p than d. Nothing waits for a field to come. There is no threshold: noise
 * moves the row by as much as the noise is. */
#include "bob.h"

#include <string.h>

#define LOOP static inline __attribute__((always_inline))

LOOP uint8_t larger(uint8_t a, uint8_t b) { return a > b ? a : b; }
LOOP uint8_t smaller(uint8_t a, uint8_t b) { return a < b ? a : b; }
LOOP uint8_t apart(uint8_t a, uint8_t b) { return (uint8_t)(larger(a, b) - smaller(a, b)); }
LOOP uint8_t mean(uint8_t a, uint8_t b) { return (uint8_t)((a + b + 1) >> 1); }

/* The rows that a made row depends on; those of the past are NULL where it is not known. */
struct around {
    const uint8_t *above, *below, *above_before, *below_before, *there_before, *there_long_before;
};

enum { REACH = 3 }; /* what is nearer to an end of the row is made straight */

/* How badly the samples around i fit at a slant. */
LOOP uint8_t misfit(const uint8_t *above, const uint8_t *below, size_t i, int slant)
{
    const uint8_t *a = above + (ptrdiff_t)i + slant, *b = below + (ptrdiff_t)i - slant;
    return mean(mean(apart(a[-1], b[-1]), apart(a[1], b[1])), apart(a[0], b[0]));
}

/* Octets all along, and masks instead of branches, so that the compiler takes 32 at a time. */
LOOP uint8_t chosen(uint8_t mask, uint8_t these, uint8_t others) { return (uint8_t)((these & mask) | (others & ~mask)); }

LOOP void row_of_now(const struct around *rows, size_t width, uint8_t *restrict target)
{
    const uint8_t *restrict a = rows->above, *restrict b = rows->below;
    size_t ends = width < 2 * REACH ? width : REACH;
    for (size_t i = 0; i < ends; i++) {
        target[i] = mean(a[i], b[i]);
        target[width - 1 - i] = mean(a[width - 1 - i], b[width - 1 - i]);
    }
    for (size_t i = REACH; i + REACH < width; i++) {
        uint8_t least = misfit(a, b, i, 0), made = mean(a[i], b[i]);
        uint8_t near = misfit(a, b, i, -1), far = misfit(a, b, i, -2), nearer = near < least ? 255 : 0, further = far < near ? nearer : 0;
        made = chosen(further, mean(a[i - 2], b[i + 2]), chosen(nearer, mean(a[i - 1], b[i + 1]), made));
        least = chosen(further, far, chosen(nearer, near, least));
        near = misfit(a, b, i, 1), far = misfit(a, b, i, 2), nearer = near < least ? 255 : 0, further = far < near ? nearer : 0;
        target[i] = chosen(further, mean(a[i + 2], b[i - 2]), chosen(nearer, mean(a[i + 1], b[i - 1]), made));
    }
}

LOOP void row_with_past(const struct around *rows, size_t width, uint8_t *restrict target)
{
    const uint8_t *restrict a = rows->above, *restrict b = rows->below, *restrict a_before = rows->above_before, *restrict b_before = rows->below_before;
    const uint8_t *restrict p = rows->there_before, *restrict p_before = rows->there_long_before;
    row_of_now(rows, width, target);
    for (size_t i = 0; i < width; i++) {
        uint8_t moved = larger(larger(apart(a[i], a_before[i]), apart(b[i], b_before[i])), apart(p[i], p_before[i]));
        uint8_t lowest = (uint8_t)(larger(p[i], moved) - moved), highest = (uint8_t)(smaller(p[i], (uint8_t)(255 - moved)) + moved);
        target[i] = smaller(larger(target[i], lowest), highest);
    }
}

LOOP void mix(const uint8_t *restrict own, size_t width, uint8_t *restrict target)
{
    for (size_t i = 0; i < width; i++)
        target[i] = mean(own[i], target[i]);
}

/* What lies around row `between` of the frame, which the other field has. */
static struct around around(const struct bob_plane *plane, size_t between, int second, const uint8_t *const fields[BOB_FIELDS])
{
    size_t last = (plane->height + !second) / 2 - 1, other = between / 2 * plane->field_stride;
    size_t above = second ? (between ? between / 2 - 1 : 0) : between / 2, below = second ? between / 2 : between / 2 + 1;
    above = (above < last ? above : last) * plane->field_stride;
    below = (below < last ? below : last) * plane->field_stride;
    struct around rows = {.above = fields[0] + above, .below = fields[0] + below};
    if (fields[1] && fields[2] && fields[3]) {
        rows.there_before = fields[1] + other;
        rows.above_before = fields[2] + above;
        rows.below_before = fields[2] + below;
        rows.there_long_before = fields[3] + other;
    }
    return rows;
}

struct kernels {
    void (*of_now)(const struct around *rows, size_t width, uint8_t *target);
    void (*with_past)(const struct around *rows, size_t width, uint8_t *target);
    void (*mix)(const uint8_t *own, size_t width, uint8_t *target);
};

/* The loops above, compiled for one path. */
#define EVERY_KERNEL(path, target) \
    target static void row_of_now_##path(const struct around *rows, size_t width, uint8_t *made) { row_of_now(rows, width, made); } \
    target static void row_with_past_##path(const struct around *rows, size_t width, uint8_t *made) { row_with_past(rows, width, made); } \
    target static void mix_##path(const uint8_t *own, size_t width, uint8_t *made) { mix(own, width, made); }

EVERY_KERNEL(scalar, )
#if defined(__x86_64__)
EVERY_KERNEL(avx2, __attribute__((target("avx2"))))
#endif

static const struct kernels kernels[BOB_PATHS] = {
    [BOB_SCALAR] = {row_of_now_scalar, row_with_past_scalar, mix_scalar},
#if defined(__x86_64__)
    [BOB_AVX2] = {row_of_now_avx2, row_with_past_avx2, mix_avx2},
#endif
};

int bob_supported(enum bob_path path)
{
#if defined(__x86_64__)
    if (path == BOB_AVX2)
        return __builtin_cpu_supports("avx2");
#endif
    return path == BOB_SCALAR;
}

static void make(const struct bob_plane *plane, const struct kernels *use, size_t between, int second, const uint8_t *const fields[BOB_FIELDS], uint8_t *target)
{
    struct around rows = around(plane, between, second, fields);
    (rows.there_before ? use->with_past : use->of_now)(&rows, plane->width, target);
}

void bob_luma(const struct bob_plane *plane, enum bob_path path, int second, const uint8_t *const fields[BOB_FIELDS], uint8_t *target)
{
    for (size_t row = 0; row < plane->height; row++, target += plane->target_stride) {
        if ((int)(row & 1) == second)
            memcpy(target, fields[0] + row / 2 * plane->field_stride, plane->width);
        else
            make(plane, &kernels[path], row, second, fields, target);
    }
}

void bob_chroma(const struct bob_plane *plane, enum bob_path path, int second, const uint8_t *const fields[BOB_FIELDS], uint8_t *target)
{
    for (size_t pair = 0; 2 * pair < plane->height; pair++, target += plane->target_stride) {
        size_t own = 2 * pair + (size_t)second, between = 2 * pair + !second;
        const uint8_t *there = fields[0] + pair * plane->field_stride;
        if (between >= plane->height) { /* the last row of an odd height, which the first field has */
            memcpy(target, there, plane->width);
            continue;
        }
        make(plane, &kernels[path], between, second, fields, target);
        if (own < plane->height)
            kernels[path].mix(there, plane->width, target);
    }
}
