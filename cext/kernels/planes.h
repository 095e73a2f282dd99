/* Two rows of samples to their rows of Y, U and V: octets, 4:2:0, narrow range, BT.601 matrix, whatever they were. Called by convert.c.
 * Chroma is sited "left" (H.264 type 0): in a line with the even pixels, between the two rows. Invariant: each result is rounded once,
 * and every path gives the same octets. Knows nothing of pgroups' bits (samples.h).
 */
#ifndef PLANES_H
#define PLANES_H

#include <stddef.h>
#include <stdint.h>

#include "samples.h"

/* Factors in units of a 65536th. A word is a left-aligned sample: 256 of its steps are one code of 8 bits; a result of Y'CbCr has 64. */
struct planes_colour {
    uint16_t luma_base;              /* of a result: 0, or black where the source is full */
    uint16_t luma_of_luma;
    int16_t luma_of_cb, luma_of_cr;  /* 0 where the source's matrix is BT.601, as are cb_of_cr and cr_of_cb */
    int16_t cb_of_cb, cb_of_cr, cr_of_cb, cr_of_cr;
    uint16_t rgb_base, luma_of_rgb[3]; /* R'G'B': Y in 256 steps a code */
    uint16_t chroma_own, cb_of_red, cr_of_blue; /* and chroma in 128; green's share is what makes grey neutral */
};

/* `depth` bits a sample; `full`: FULL or FULLPROTECT, else NARROW; red and blue: the source's luma weights (H.273 table 4: K_R, K_B). */
struct planes_colour planes_colour_of(size_t depth, int full, double red, double blue);

/* Octets of the memory that a pair of rows needs beside its words. */
size_t planes_scratch_bytes(size_t width);

/* Where two rows come from and go to. (upper, lower) and (y0, y1) may be the same row; of 4:2:0, `upper` holds both. */
struct row_pair {
    const uint8_t *upper, *lower;
    uint8_t *y0, *y1, *u, *v;
};

/* `upper` and `lower`: words of two rows in the order of their pgroups (4:2:0: `upper` holds both rows). (upper, lower) and (y0, y1) may be
 * the same row. Writes `width` octets of Y to y0 and y1, (width + 1) / 2 to u and v. */
typedef void planes_pair(const struct planes_colour *colour, const struct samples_kernels *samples, const uint16_t *upper, const uint16_t *lower,
                         size_t width, uint16_t *scratch, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v);

struct planes_kernels {
    planes_pair *pair422, *pair444, *pair420, *pair_rgb;
};

extern const struct planes_kernels planes_scalar;
#if defined(__x86_64__)
extern const struct planes_kernels planes_avx2;
#endif

#endif
