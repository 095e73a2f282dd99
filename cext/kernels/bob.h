/* One field to a picture of full height: its own rows where they lie, the rows between them made. Called by cext/fields.pyx.
 * Where nothing moved, a row between is the other field's own (so that thin lines stand still); where something moves, the mean of its
 * neighbours, all of one instant (so that no edge has a comb). Invariant: writes the picture's samples, never a stride's padding.
 */
#ifndef BOB_H
#define BOB_H

#include <stddef.h>
#include <stdint.h>

enum bob_path { BOB_SCALAR, BOB_AVX2, BOB_PATHS };

enum { BOB_FIELDS = 4 }; /* this field and the three before it */

struct bob_plane {
    size_t width;        /* samples in a row */
    size_t height;       /* rows of the whole frame, odd allowed; the first field has the even ones */
    size_t field_stride; /* octets between rows */
    size_t target_stride;
};

/* Whether this processor and operating system can run the path. */
int bob_supported(enum bob_path path);

/* Luma: `height` rows. fields[0] is the field to show, `second` whether it is a second one; fields[1] to [3] came just before it, the last
 * one first, or are NULL. */
void bob_luma(const struct bob_plane *plane, enum bob_path path, int second, const uint8_t *const fields[BOB_FIELDS], uint8_t *target);

/* Chroma of 4:2:2 to that of 4:2:0: (height + 1) / 2 rows, each the mean of a row that is there and one that is made. */
void bob_chroma(const struct bob_plane *plane, enum bob_path path, int second, const uint8_t *const fields[BOB_FIELDS], uint8_t *target);

#endif
