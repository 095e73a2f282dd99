/* A raw frame of any sampling and depth (ST 2110-20 section 6.2, RFC 4175 section 4.3) to planes of octets: narrow range, BT.601 matrix.
 * Called by cext/convert.pyx. Invariant: reads exactly the rows' octets and writes exactly the
 * samples, never a stride's padding. Knows nothing of rings or of time.
 */
#ifndef CONVERT_H
#define CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "planes.h"

enum convert_path { CONVERT_SCALAR, CONVERT_AVX2, CONVERT_PATHS };

enum convert_sampling { CONVERT_422, CONVERT_444, CONVERT_420, CONVERT_RGB };

struct convert_geometry {
    size_t width;         /* pixels; even but for 4:4:4 and R'G'B' of 8 or 16 bits */
    size_t height;        /* rows of Y; odd but for 4:2:0 */
    enum convert_sampling sampling;
    size_t depth;         /* 8, 10, 12 or 16 bits a sample in the source */
    int same_colour;      /* the source is narrow and BT.601 itself: nothing but the depth changes */
    int field;            /* each row of Y has a row of U and V of its own (4:2:2), not every two; not for 4:2:0 */
    size_t luma_stride;   /* octets between rows of Y */
    size_t chroma_stride; /* octets between rows of U and of V */
    size_t u_offset;      /* where U and V begin after Y's first sample */
    size_t v_offset;
    struct planes_colour colour;
};

/* Whether this processor and operating system can run the path. */
int convert_supported(enum convert_path path);

/* Octets of a row of pgroups (4:2:0: of two rows). */
size_t convert_row_bytes(const struct convert_geometry *geometry);

/* Octets of memory that convert_frame() needs for itself. */
size_t convert_scratch_bytes(const struct convert_geometry *geometry);

/* Converts one frame. `raw` holds its rows of pgroups without padding; `planar` receives Y, U and V. Nothing may overlap. */
void convert_frame(const struct convert_geometry *geometry, enum convert_path path, const uint8_t *raw, uint8_t *planar, void *scratch);

#endif
