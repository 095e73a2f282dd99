/* The short way for what cameras send most: 4:2:2 pgroups of 8 and 10 bits straight to planes of octets, in one pass over two rows.
 * Called by convert.c. Invariant: the same octets as by samples.h and planes.h; reads and writes exactly the pgroups' octets; wants rows of
 * PGROUPS_BLOCK pgroups or more. There is no scalar form: that is what planes.h is.
 */
#ifndef PGROUPS_H
#define PGROUPS_H

#include "planes.h"

enum { PGROUPS_BLOCK = 16 };

/* Converts the rows of `pair`, of `pgroups` pgroups each, and fetches those of `next` into the cache meanwhile. `scratch`: pgroups_scratch_bytes(). */
typedef void pgroups_pair(const struct planes_colour *colour, const struct row_pair *pair, const struct row_pair *next, size_t pgroups, void *scratch);

/* Octets of the memory that a pair of rows needs. */
size_t pgroups_scratch_bytes(size_t pgroups);

#if defined(__x86_64__)
/* The second form is for a source that is narrow and BT.601 itself: `colour` is not looked at. */
pgroups_pair pgroups8_avx2, pgroups8_same_avx2, pgroups10_avx2, pgroups10_same_avx2;
#endif

#endif
