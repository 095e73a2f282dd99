#include "scene.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { FRACTION_BITS = 4, BLACK = 64 << FRACTION_BITS, NEUTRAL = 512 << FRACTION_BITS, WHITE = 940 << FRACTION_BITS };
static const uint64_t STAMP_SYNC = 0xA5C3;   /* 1010 0101 1100 0011 */

/* Q15 product, rounded; in this very form GCC turns it into one pmulhrsw for eight or sixteen samples. */
static inline int16_t scaled(int16_t value, int16_t gain)
{
    return (int16_t)((((int32_t)value * gain >> 14) + 1) >> 1);
}

struct offset { int32_t whole; int16_t fraction; };

static struct offset split(float position)
{
    float whole = floorf(position);
    return (struct offset){ (int32_t)whole, (int16_t)((position - whole) * 32767.0f) };
}

/* ---- the tissue: four texels around each moved pixel, weighted ---- */

static inline __attribute__((always_inline)) void
blend_texels(int16_t *restrict out, const int16_t *restrict upper, const int16_t *restrict lower, uint32_t count, int16_t right, int16_t down)
{
    for (uint32_t i = 0; i < count; i++) {
        int16_t top = upper[i] + scaled(upper[i + 1] - upper[i], right);
        int16_t bottom = lower[i] + scaled(lower[i + 1] - lower[i], right);
        out[i] = top + scaled(bottom - top, down);
    }
}

static inline __attribute__((always_inline)) void
light_row(int16_t *restrict row, const uint8_t *restrict light, const int16_t *restrict noise, uint32_t count, int16_t zero)
{
    for (uint32_t i = 0; i < count; i++)
        row[i] = zero + scaled(row[i] - zero, (int16_t)(light[i] << 7)) + noise[i];
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
blend_texels_avx2(int16_t *out, const int16_t *upper, const int16_t *lower, uint32_t count, int16_t right, int16_t down)
{
    blend_texels(out, upper, lower, count, right, down);
}

__attribute__((target("avx2"))) static void
light_row_avx2(int16_t *row, const uint8_t *light, const int16_t *noise, uint32_t count, int16_t zero)
{
    light_row(row, light, noise, count, zero);
}

static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
#define blend_texels_avx2 blend_texels
#define light_row_avx2 light_row
static int has_avx2(void) { return 0; }
#endif

static void draw_tissue(struct scene *scene, uint32_t row, uint32_t begin, uint32_t end)
{
    const float *shift = scene->shift + 2 * row;
    struct offset down = split((float)(row + scene->margin) + shift[1]);
    for (int component = 0; component < 3; component++) {
        int halved = component > 0;
        uint32_t stride = scene->texture_stride >> halved, first = begin >> halved, count = (end - begin) >> halved;
        struct offset right = split(((float)scene->margin + shift[0]) / (halved ? 2.0f : 1.0f));
        const int16_t *upper = scene->texture[component] + (size_t)down.whole * stride + right.whole + first;
        int16_t *out = scene->drawn[component] + first;
        (has_avx2() ? blend_texels_avx2 : blend_texels)(out, upper, upper + stride, count, right.fraction, down.fraction);
    }
}

static uint32_t next_random(struct scene *scene)
{
    uint32_t state = scene->noise_state;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return scene->noise_state = state;
}

static void light(struct scene *scene, uint32_t row, uint32_t begin, uint32_t end)
{
    for (int component = 0; component < 3; component++) {
        int halved = component > 0;
        uint32_t first = begin >> halved, count = (end - begin) >> halved;
        const uint8_t *gains = (halved ? scene->light_chroma : scene->light) + (size_t)row * (scene->width >> halved) + first;
        const int16_t *noise = scene->noise + (next_random(scene) & (SCENE_NOISE_SAMPLES - 1));
        (has_avx2() ? light_row_avx2 : light_row)(scene->drawn[component] + first, gains, noise, count, halved ? NEUTRAL : BLACK);
    }
}

/* ---- the instrument ---- */

static inline float clamp(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

/* Narrows [*low, *high] to the x where  minimum <= slope * x + constant <= maximum. */
static void narrow(float *low, float *high, float slope, float constant, float minimum, float maximum)
{
    if (fabsf(slope) < 1e-6f) {
        if (constant < minimum || constant > maximum)
            *high = *low - 1;
        return;
    }
    float a = (minimum - constant) / slope, b = (maximum - constant) / slope;
    *low = fmaxf(*low, fminf(a, b));
    *high = fminf(*high, fmaxf(a, b));
}

static inline int16_t mixed(int16_t sample, float colour, float cover)
{
    return (int16_t)((float)sample + (colour - (float)sample) * cover + 0.5f);   /* 14-bit samples are never negative here */
}

/* A run of pixels of one row and their place in a strip; a stretch at a time so that each step is a vector loop. */
enum { STRETCH = 256 };

/* Mixes every `apart`-th colour of the stretch into samples that lie one after the other. */
static inline __attribute__((always_inline)) void
mix_stretch(int16_t *restrict samples, const float *restrict colours, const int32_t *restrict step, const float *restrict gain,
            const float *restrict cover, int32_t count, int32_t apart, float zero)
{
    for (int32_t i = 0; i < count; i++)
        samples[i] = mixed(samples[i], zero + (colours[step[i * apart]] - zero) * gain[i * apart], cover[i * apart]);
}

static inline __attribute__((always_inline)) void
draw_stretch(struct scene *scene, const struct scene_strip *strip, float dy, int32_t first, int32_t count)
{
    float cover[STRETCH], gain[STRETCH];
    int32_t step[STRETCH];
    const float (*colours)[SCENE_PROFILE_STEPS] = scene->profiles[strip->profile];
    float per_length = 1.0f / strip->length, per_feather = 1.0f / strip->feather, per_ridge = 1.0f / strip->ridge_period;
    float dx = (float)first - strip->x;
    float along_first = dx * strip->along_x + dy * strip->along_y, across_first = dy * strip->along_x - dx * strip->along_y;
    for (int32_t i = 0; i < count; i++) {
        float along = along_first + (float)i * strip->along_x, across = across_first - (float)i * strip->along_y;
        float part = clamp(along * per_length, 0, 1);
        float half = strip->half_begin + (strip->half_end - strip->half_begin) * part;
        float phase = along * per_ridge;
        cover[i] = strip->opacity * clamp((half - fabsf(across)) * per_feather + 0.5f, 0, 1)
            * clamp(along * per_feather + 0.5f, 0, 1) * clamp((strip->length - along) * per_feather + 0.5f, 0, 1);
        step[i] = (int32_t)clamp((across / half * 0.5f + 0.5f) * SCENE_PROFILE_STEPS, 0, SCENE_PROFILE_STEPS - 1);
        gain[i] = (strip->gain_begin + (strip->gain_end - strip->gain_begin) * part)
            * (1 - strip->ridge_depth * fabsf(2 * (phase - floorf(phase)) - 1));
    }
    /* Chroma is co-sited with the even luma samples; stretches begin at one. */
    mix_stretch(scene->drawn[0] + first, colours[0], step, gain, cover, count, 1, BLACK);
    mix_stretch(scene->drawn[1] + first / 2, colours[1], step, gain, cover, (count + 1) / 2, 2, NEUTRAL);
    mix_stretch(scene->drawn[2] + first / 2, colours[2], step, gain, cover, (count + 1) / 2, 2, NEUTRAL);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void
draw_stretch_avx2(struct scene *scene, const struct scene_strip *strip, float dy, int32_t first, int32_t count)
{
    draw_stretch(scene, strip, dy, first, count);
}
#else
#define draw_stretch_avx2 draw_stretch
#endif

static void draw_strip(struct scene *scene, const struct scene_strip *strip, uint32_t row, uint32_t begin, uint32_t end)
{
    float across_x = -strip->along_y, across_y = strip->along_x, dy = (float)row - strip->y;
    float reach = fmaxf(strip->half_begin, strip->half_end) + strip->feather;
    float low = (float)begin, high = (float)end - 1;
    narrow(&low, &high, across_x, across_y * dy - across_x * strip->x, -reach, reach);
    narrow(&low, &high, strip->along_x, strip->along_y * dy - strip->along_x * strip->x, -strip->feather, strip->length + strip->feather);
    if (low > high)
        return;
    /* Safety: low and high lie inside [begin, end - 1]; rounding low down to an even column stays there because begin is even. */
    for (int32_t first = (int32_t)low & ~1, last = (int32_t)high; first <= last; first += STRETCH) {
        int32_t count = last + 1 - first < STRETCH ? last + 1 - first : STRETCH;
        (has_avx2() ? draw_stretch_avx2 : draw_stretch)(scene, strip, dy, first, count);
    }
}

static void draw_disc(struct scene *scene, const struct scene_disc *disc, uint32_t row, uint32_t begin, uint32_t end)
{
    float dy = (float)row - disc->y, reach = disc->radius + disc->feather;
    if (fabsf(dy) > reach)
        return;
    int32_t low = (int32_t)fmaxf((float)begin, ceilf(disc->x - reach)), high = (int32_t)fminf((float)end - 1, floorf(disc->x + reach));
    for (int32_t x = low; x <= high; x++) {
        float dx = (float)x - disc->x;
        float cover = clamp((disc->radius - sqrtf(dx * dx + dy * dy)) / disc->feather + 0.5f, 0, 1);
        int16_t *luma = scene->drawn[0] + x, *cb = scene->drawn[1] + x / 2, *cr = scene->drawn[2] + x / 2;
        *luma = mixed(*luma, (float)disc->luma, cover);
        if (x % 2 == 0) {
            *cb = mixed(*cb, (float)disc->cb, cover);
            *cr = mixed(*cr, (float)disc->cr, cover);
        }
    }
}

/* ---- onto the wire ---- */

/* Raw row `row` of the part that is drawn: rows of a frame one after the other, every second one of a field or segment, or pairs of 4:2:0. */
static uint8_t *raw_row(const struct scene *scene, uint32_t row) { return scene->frame + (size_t)row * scene->row_bytes; }

static uint32_t raster_row(const struct scene *scene, uint32_t row) { return row * scene->row_step + scene->first_row; }

static void pack_row(const struct scene *scene, uint32_t row, uint32_t begin, uint32_t end)
{
    packer_pack(&scene->packer, scene->rows[0], scene->rows[scene->paired], begin, end, raw_row(scene, row), 1);
}

/* Columns [0, end) of all samples that go into a raw row. */
static void fill_rows(struct scene *scene, uint32_t begin, uint32_t end, int16_t luma)
{
    for (uint32_t upper_lower = 0; upper_lower < 2; upper_lower++)
        for (uint32_t x = begin; x < end; x++) {
            scene->rows[upper_lower][0][x] = luma;
            scene->rows[upper_lower][1][x / 2] = scene->rows[upper_lower][2][x / 2] = NEUTRAL;
        }
}

void scene_black(struct scene *scene)
{
    fill_rows(scene, 0, scene->width, BLACK);
    for (uint32_t row = 0; row < scene->raw_rows; row++)
        pack_row(scene, row, 0, scene->width);
}

void scene_begin(struct scene *scene, uint32_t noise_seed, int second_part)
{
    scene->noise_state = noise_seed * 2654435761u | 1;
    scene->rows_ready = 0;
    scene->first_row = (uint32_t)second_part;
}

/* Draws one row of the raster between its columns `begin` and `end`. */
static void draw_row(struct scene *scene, uint32_t row, uint32_t begin, uint32_t end)
{
    draw_tissue(scene, row, begin, end);
    for (uint32_t i = 0; i < scene->strip_count; i++)
        draw_strip(scene, &scene->strips[i], row, begin, end);
    light(scene, row, begin, end);
    for (uint32_t i = 0; i < scene->disc_count; i++)
        draw_disc(scene, &scene->discs[i], row, begin, end);
}

static void render_row(struct scene *scene, uint32_t raw)
{
    uint32_t row = raster_row(scene, raw), begin = scene->view[2 * row], end = scene->view[2 * row + 1];
    if (scene->paired) {
        /* One pair of columns for both rows; the light is 0 where the view of one ends. */
        const uint32_t *lower = scene->view + 2 * (row + 1);
        begin = begin < lower[0] ? begin : lower[0];
        end = end > lower[1] ? end : lower[1];
    }
    if (begin >= end)
        return;
    for (uint32_t i = 0; i <= scene->paired; i++) {
        memcpy(scene->drawn, scene->rows[i], sizeof scene->drawn);
        draw_row(scene, row + i, begin, end);
    }
    pack_row(scene, raw, begin, end);
}

void scene_prepare(void *context, uint32_t rows)
{
    struct scene *scene = context;
    const uint32_t stamp_rows = SCENE_STAMP_ROWS / scene->row_step;
    int first = scene->rows_ready == 0;
    /* The stamp says when the first packet leaves, so all rows that it covers must be drawn before the clock is read. */
    if (first && scene->stamped && rows < stamp_rows)
        rows = stamp_rows;
    for (; scene->rows_ready < rows && scene->rows_ready < scene->raw_rows && raster_row(scene, scene->rows_ready) < scene->height; scene->rows_ready++)
        render_row(scene, scene->rows_ready);
    if (first && scene->stamped) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        /* A PsF frame has one stamp, its first segment's. */
        if (!scene->first_row || !scene->segmented)
            scene->stamp_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
        scene_stamp(scene, scene->stamp_us);
    }
}

void scene_stamp(struct scene *scene, uint64_t microseconds)
{
    uint64_t bits = microseconds << 16 | STAMP_SYNC;
    for (uint32_t cell = 0; cell < SCENE_STAMP_CELLS; cell++)
        fill_rows(scene, cell * SCENE_STAMP_CELL_PIXELS, (cell + 1) * SCENE_STAMP_CELL_PIXELS, bits >> (SCENE_STAMP_CELLS - 1 - cell) & 1 ? WHITE : BLACK);
    for (uint32_t row = 0; row < SCENE_STAMP_ROWS / scene->row_step; row++)
        pack_row(scene, row, 0, SCENE_STAMP_CELLS * SCENE_STAMP_CELL_PIXELS);
}
