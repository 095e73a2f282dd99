/* The synthetic picture: a tissue texture that moves, an instrument over it, seen through a round endoscope.
 *
 * Called by cext/source.pyx row by row, just before a row is sent, so that the samples are still in the cache.
 * Samples between the steps are 14-bit (10-bit narrow range x 16) in int16; only the last step, in packer.c, makes codes of them.
 */
#ifndef SCENE_H
#define SCENE_H

#include "packer.h"

#include <stdint.h>

enum {
    SCENE_STRIPS_MAX = 16,
    SCENE_DISCS_MAX = 8,
    SCENE_PROFILE_STEPS = 64,
    SCENE_NOISE_SAMPLES = 1 << 16,   /* rows begin anywhere in it; it is followed by one row's worth more */
    SCENE_STAMP_ROWS = 16,
    SCENE_STAMP_CELLS = 64,
    SCENE_STAMP_CELL_PIXELS = 16,
};

/* A tapered bar: the shaft, a jaw, or the shadow of one. Lengths in pixels of the raster. */
struct scene_strip {
    float x, y;                       /* where its axis begins */
    float along_x, along_y;           /* unit vector of the axis */
    float length;
    float half_begin, half_end;       /* half of the width at both ends */
    float feather;                    /* width of the soft edge; 1 is plain anti-aliasing */
    float opacity;                    /* 0..1 */
    float gain_begin, gain_end;       /* brightness at both ends */
    float ridge_period, ridge_depth;  /* serration along the axis; depth 0 is smooth */
    int32_t profile;                  /* colours across the bar */
};

struct scene_disc {
    float x, y, radius, feather;
    int32_t luma, cb, cr;             /* 14-bit */
};

struct scene {
    uint32_t width, height;           /* of the frame */
    struct packer packer;
    uint32_t row_bytes, raw_rows;     /* of the raw frame, or of the larger field or segment */
    uint32_t first_row, row_step;     /* rows of the frame in a raw row's place: 0 or 1, and then every one or every second */
    uint32_t paired;                  /* 1: a raw row is two rows of the frame */
    int32_t segmented;                /* both parts are of one picture */
    uint32_t texture_stride;          /* luma samples; chroma rows have half of it */
    uint32_t margin;                  /* texture pixels around the raster on every side; the most that it may move */
    const int16_t *texture[3];        /* Y, Cb, Cr */
    const float *shift;               /* height x (x, y): how far the texture has moved in each row, pixels, |shift| < margin - 1 */
    const uint8_t *light;             /* height x width: what the endoscope's light and its round edge leave, of 256 */
    const uint8_t *light_chroma;      /* height x width / 2 */
    const uint32_t *view;             /* height x (begin, end): columns inside the round view, even */
    const int16_t *noise;
    const float (*profiles)[3][SCENE_PROFILE_STEPS];   /* 14-bit codes */
    int16_t *rows[2][3];              /* one row of each component, 14-bit; a second one for pairs */
    int16_t *drawn[3];                /* of them the one that is drawn */
    uint8_t *frame;                   /* packed pgroups; black outside the view */
    struct scene_strip strips[SCENE_STRIPS_MAX];
    struct scene_disc discs[SCENE_DISCS_MAX];
    uint32_t strip_count, disc_count;
    uint32_t noise_state;             /* xorshift; never 0 */
    uint32_t rows_ready;
    int stamped;                      /* burn the time of sending into the top rows */
    uint64_t stamp_us;
};

/* The whole frame black, chroma neutral. */
void scene_black(struct scene *scene);

/* Begins the next frame, or its second field or segment; the caller has set shift, strips and discs. */
void scene_begin(struct scene *scene, uint32_t noise_seed, int second_part);

/* Renders raw rows until `rows` are ready (a pacing_prepare callback); stamps the time when the first of them are. */
void scene_prepare(void *scene, uint32_t rows);

/* Burns 48 bits of CLOCK_REALTIME microseconds and the sync pattern into the top rows, 64 cells of 16 x 16 pixels. */
void scene_stamp(struct scene *scene, uint64_t microseconds);

#endif
