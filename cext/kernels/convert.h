/* Packed 4:2:2 pgroups (ST 2110-20 section 6.2, RFC 4175 section 4.3) to planar I420, 8 bit.
 * Called by cext/convert.pyx. Invariant: reads exactly the rows' octets and writes exactly the
 * samples, never a stride's padding. Knows nothing of rings or of time.
 */
#ifndef CONVERT_H
#define CONVERT_H

#include <stddef.h>
#include <stdint.h>

enum convert_path { CONVERT_SCALAR, CONVERT_AVX2, CONVERT_AVX512, CONVERT_PATHS };

struct convert_geometry {
    size_t width;         /* pixels, even */
    size_t height;        /* rows, odd allowed */
    size_t depth;         /* 8 or 10 bits a sample in the source */
    size_t luma_stride;   /* octets between rows of Y */
    size_t chroma_stride; /* octets between rows of U and of V */
    size_t u_offset;      /* where U and V begin after Y's first sample */
    size_t v_offset;
};

/* Whether this processor and operating system can run the path. */
int convert_supported(enum convert_path path);

/* Converts one frame. `raw` holds height rows of width / 2 pgroups without padding (4 octets each at 8 bit,
 * 5 at 10 bit); `planar` receives Y, U and V. `raw` and `planar` must not overlap. */
void convert_frame(const struct convert_geometry *geometry, enum convert_path path, const uint8_t *raw, uint8_t *planar);

#endif
