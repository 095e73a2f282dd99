/* The short way for what cameras send most: 4:2:2 pgroups of 8 and 10 bits whose matrix or range changes, straight to planes of octets.
 * Called by convert.c. Invariant: the same octets as by samples.h and planes.h; reads and writes exactly the pgroups' octets; wants rows of
 * PGROUPS_AVX2_BLOCK pgroups or more. There is no scalar form: that is what planes.h is.
 */
#ifndef RECOLOUR_H
#define RECOLOUR_H

#include "planes.h"

/* As pgroups_pair (pgroups.h), with the change of colour. */
typedef void recolour_pair(const struct planes_colour *colour, const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v);

#if defined(__x86_64__)
recolour_pair recolour8_avx2, recolour10_avx2;
#endif

#endif
