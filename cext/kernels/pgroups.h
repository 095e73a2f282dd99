/* The short way for 4:2:2 pgroups of 8 and 10 bits whose colour stays as it is: straight to planes of octets.
 * Called by convert.c. Invariant: reads and writes exactly the pgroups' octets; the vector routines want rows of a block or more.
 * Every other format goes by samples.h and planes.h, and gives the same octets for these two.
 */
#ifndef PGROUPS_H
#define PGROUPS_H

#include <stddef.h>
#include <stdint.h>

enum { PGROUPS_AVX2_BLOCK = 16, PGROUPS_AVX512_BLOCK = 32 };

/* Converts a pair of rows of `pgroups` pgroups each. The pairs (upper, lower) and (y0, y1) may be the same row. */
typedef void pgroups_pair(const uint8_t *upper, const uint8_t *lower, size_t pgroups, uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v);

pgroups_pair pgroups8_scalar, pgroups10_scalar;
#if defined(__x86_64__)
pgroups_pair pgroups8_avx2, pgroups10_avx2, pgroups8_avx512, pgroups10_avx512;
#endif

#endif
