/* A plane of 8-bit samples made smaller, or a side of it up to twice as long. Called by cext/scale.pyx.
 * Halved: each sample is the mean of four, rounded once. By area: each sample is the mean of what it covers, down to half of a side, or
 * lies between two where the side grows.
 * Invariant: reads and writes exactly the samples, never a stride's padding. Knows nothing of planes that belong together.
 */
#ifndef SCALE_H
#define SCALE_H

#include <stddef.h>
#include <stdint.h>

enum scale_path { SCALE_SCALAR, SCALE_AVX2, SCALE_PATHS };

struct scale_plane {
    size_t width;         /* samples in a row of the target */
    size_t height;        /* rows of the target */
    size_t source_stride; /* octets between rows */
    size_t target_stride;
};

/* Whether this processor and operating system can run the path. */
int scale_supported(enum scale_path path);

/* Halves one plane, whose source has twice the width and height, or more. `source` and `target` must not overlap. */
void scale_halve(const struct scale_plane *plane, enum scale_path path, const uint8_t *source, uint8_t *target);

/* What one sample of a target covers: of the first to third source sample so many 128ths; their sum is 128. */
struct scale_cover {
    uint32_t first;
    uint8_t parts[3];
};

/* Sixteen samples of a row, eight a lane, in the form that the vector path reads. */
struct scale_block {
    int8_t order[32], parts01[32], parts2[32];
    uint32_t first[2], at;
};

struct scale_area {
    struct scale_plane plane;
    size_t source_width, source_height; /* from half the target's to twice the target's */
    struct scale_cover *columns, *rows; /* of plane.width and plane.height */
    struct scale_block *blocks;         /* of (plane.width + 15) / 16; none of a row shorter than a block */
    uint8_t *row;                       /* scale_row_bytes() to work in */
};

/* Octets of scale_area.row. */
size_t scale_row_bytes(size_t source_width);

/* Fills columns, rows and blocks from the sizes. */
void scale_prepare(const struct scale_area *area);

/* Scales one plane by area. `source` and `target` must not overlap. */
void scale_by_area(const struct scale_area *area, enum scale_path path, const uint8_t *source, uint8_t *target);

#endif
