/* Random geometries of every format through conversion, fields and scaling, each buffer exactly as long as it must be.
 * Started by test_pixels_fuzz.py with a seed and a count, under gcc's sanitizers; prints how many frames were converted. */
#include <stdio.h>
#include <stdlib.h>

#include "bob.h"
#include "convert.h"
#include "scale.h"

static size_t up_to(size_t most) { return 1 + (size_t)rand() % most; }

static uint8_t *noise(size_t size)
{
    uint8_t *octets = malloc(size);
    for (size_t i = 0; i < size; i++)
        octets[i] = (uint8_t)rand();
    return octets;
}

static long convert_some(void)
{
    static const size_t depths[] = {8, 10, 12, 16};
    enum convert_sampling sampling = (enum convert_sampling)(rand() % 4);
    size_t depth = depths[rand() % 4], columns = sampling == CONVERT_422 ? 2 : depth == 10 ? 4 : depth == 12 || sampling == CONVERT_420 ? 2 : 1;
    size_t width = columns * up_to(80), height = sampling == CONVERT_420 ? 2 * up_to(3) : up_to(5);
    struct convert_geometry geometry = {.width = width, .height = height, .sampling = sampling, .depth = depth, .same_colour = rand() % 2,
                                        .field = sampling != CONVERT_420 && rand() % 2, .luma_stride = width, .chroma_stride = (width + 1) / 2};
    size_t chroma_bytes = (geometry.field ? height : (height + 1) / 2) * geometry.chroma_stride, frames = 0;
    geometry.u_offset = width * height;
    geometry.v_offset = geometry.u_offset + chroma_bytes;
    geometry.colour = planes_colour_of(depth, rand() % 2, 0.2126, 0.0722);
    uint8_t *raw = noise(convert_row_bytes(&geometry) * (sampling == CONVERT_420 ? height / 2 : height));
    uint8_t *planar = malloc(geometry.v_offset + chroma_bytes), *scratch = malloc(convert_scratch_bytes(&geometry));
    for (int path = 0; path < CONVERT_PATHS; path++) {
        if (convert_supported((enum convert_path)path)) {
            convert_frame(&geometry, (enum convert_path)path, raw, planar, scratch);
            frames++;
        }
    }
    free(raw);
    free(planar);
    free(scratch);
    return (long)frames;
}

static void bob_some(void)
{
    size_t width = up_to(100), height = 1 + up_to(9), rows = (height + 1) / 2;
    struct bob_plane plane = {width, height, width, width};
    uint8_t *fields[BOB_FIELDS], *target = malloc(width * height);
    for (size_t i = 0; i < BOB_FIELDS; i++)
        fields[i] = noise(width * rows);
    const uint8_t *shown[BOB_FIELDS] = {fields[0], rand() % 2 ? fields[1] : NULL, fields[2], fields[3]};
    for (int path = 0; path < BOB_PATHS; path++) {
        if (bob_supported((enum bob_path)path)) {
            bob_luma(&plane, (enum bob_path)path, rand() % 2, shown, target);
            bob_chroma(&plane, (enum bob_path)path, rand() % 2, shown, target);
        }
    }
    for (size_t i = 0; i < BOB_FIELDS; i++)
        free(fields[i]);
    free(target);
}

static void scale_some(void)
{
    size_t width = up_to(100), height = up_to(9), source_width = width + up_to(width + 1) - 1, source_height = height + up_to(height + 1) - 1;
    struct scale_area area = {
        .plane = {width, height, source_width, width}, .source_width = source_width, .source_height = source_height,
        .columns = malloc(width * sizeof(struct scale_cover)), .rows = malloc(height * sizeof(struct scale_cover)),
        .blocks = malloc((width + 15) / 16 * sizeof(struct scale_block)), .row = calloc(1, scale_row_bytes(source_width))};
    uint8_t *source = noise(source_width * source_height), *target = malloc(width * height);
    scale_prepare(&area);
    for (int path = 0; path < SCALE_PATHS; path++)
        if (scale_supported((enum scale_path)path))
            scale_by_area(&area, (enum scale_path)path, source, target);
    free(source);
    free(target);
    free(area.columns);
    free(area.rows);
    free(area.blocks);
    free(area.row);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    srand((unsigned)atoi(argv[1]));
    long converted = 0;
    for (long left = atol(argv[2]); left > 0; left--) {
        converted += convert_some();
        bob_some();
        scale_some();
    }
    printf("%ld\n", converted);
    return 0;
}
