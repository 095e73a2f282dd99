/* Rows of the synthetic picture as pgroups of any format: 14-bit Y'CbCr 4:2:2 samples to the flow's components, depth and codes.
 *
 * Called by scene.c for each row that is sent. 4:2:2 of 8 and 10 bit, narrow, is the usual format and has a way of its own; every other one
 * takes the general way. Which codes they are, Python decides (appliance/source/colour.py).
 */
#ifndef PACKER_H
#define PACKER_H

#include <stdint.h>

enum packer_sampling { PACKER_422, PACKER_444, PACKER_420 };   /* RGB is sampled as 4:4:4 */

struct packer {
    int32_t sampling;
    uint32_t depth;
    int32_t plain;           /* narrow Y'CbCr 4:2:2 of 8 or 10 bit */
    float matrix[3][4];      /* 14-bit (Y, Cb, Cr, 1) to the codes of (Cb, Y, Cr) or (R, G, B) */
    float code_min, code_max;
};

/* Packs columns [begin, end) into a raw row of pgroups. `upper` and `lower` are (Y, Cb, Cr) of one row, or of the two of a 4:2:0 pgroup;
 * chroma has half of the columns. begin and end are multiples of four, or the width. `simd` = 0 forces plain C. */
void packer_pack(const struct packer *packer, int16_t *const upper[3], int16_t *const lower[3], uint32_t begin, uint32_t end, uint8_t *row, int simd);

#endif
