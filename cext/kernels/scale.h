/* A plane of 8-bit samples to half its width and height: each sample is the mean of four, rounded once.
 * Called by cext/scale.pyx. Invariant: reads and writes exactly the samples, never a stride's padding.
 * Knows nothing of planes that belong together.
 */
#ifndef SCALE_H
#define SCALE_H

#include <stddef.h>
#include <stdint.h>

enum scale_path { SCALE_SCALAR, SCALE_AVX2, SCALE_PATHS };

struct scale_plane {
    size_t width;         /* samples in a row of the target; the source has twice as many, or more */
    size_t height;        /* rows of the target; likewise */
    size_t source_stride; /* octets between rows */
    size_t target_stride;
};

/* Whether this processor and operating system can run the path. */
int scale_supported(enum scale_path path);

/* Halves one plane. `source` and `target` must not overlap. */
void scale_halve(const struct scale_plane *plane, enum scale_path path, const uint8_t *source, uint8_t *target);

#endif
