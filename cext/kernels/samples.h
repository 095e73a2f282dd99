/* Packed samples to words, and words to the components of their pgroups. Called by convert.c.
 * A word holds its sample left-aligned: the most significant bit is bit 15, and what is below the sample is zero. So depth ends here.
 * Invariant: reads and writes exactly `count`; the vector routines want a row of a block or more. Knows nothing of colour.
 */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stddef.h>
#include <stdint.h>

enum { SAMPLES_BLOCK = 16, SAMPLES_GROUPS_BLOCK = 16, SAMPLES_PAIR_GROUPS_BLOCK = 8 };

/* `count` samples, most significant bit first, nothing between them (ST 2110-20 section 6.2): whole octets' worth. */
typedef void samples_unpack(const uint8_t *packed, size_t count, uint16_t *words);

/* `count` groups of three to three rows: of three words, or of three pairs of words. */
typedef void samples_split(const uint16_t *groups, size_t count, uint16_t *first, uint16_t *second, uint16_t *third);

struct samples_kernels {
    samples_unpack *unpack8, *unpack10, *unpack12, *unpack16;
    samples_split *split, *split_pairs;
};

extern const struct samples_kernels samples_scalar;
#if defined(__x86_64__)
extern const struct samples_kernels samples_avx2;
#endif

#endif
