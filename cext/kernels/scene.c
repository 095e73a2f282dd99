#include "scene.h"

#include <math.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { FRACTION_BITS = 4, BLACK = 64 << FRACTION_BITS, NEUTRAL = 512 << FRACTION_BITS, WHITE = 940 << FRACTION_BITS };
/* ST 2110-20 gives 10-bit video the codes 4..1019 (8-bit: 1..254); the others are reserved for timing. */
enum { CODE_MIN = 4, CODE_MAX = 1019, CODE8_MIN = 1, CODE8_MAX = 254 };
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
        int16_t *out = scene->rows[component] + first;
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
        (has_avx2() ? light_row_avx2 : light_row)(scene->rows[component] + first, gains, noise, count, halved ? NEUTRAL : BLACK);
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
    mix_stretch(scene->rows[0] + first, colours[0], step, gain, cover, count, 1, BLACK);
    mix_stretch(scene->rows[1] + first / 2, colours[1], step, gain, cover, (count + 1) / 2, 2, NEUTRAL);
    mix_stretch(scene->rows[2] + first / 2, colours[2], step, gain, cover, (count + 1) / 2, 2, NEUTRAL);
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
        int16_t *luma = scene->rows[0] + x, *cb = scene->rows[1] + x / 2, *cr = scene->rows[2] + x / 2;
        *luma = mixed(*luma, (float)disc->luma, cover);
        if (x % 2 == 0) {
            *cb = mixed(*cb, (float)disc->cb, cover);
            *cr = mixed(*cr, (float)disc->cr, cover);
        }
    }
}

/* ---- onto the wire ---- */

static inline uint32_t code(int16_t sample)
{
    int32_t rounded = (sample + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS;
    return (uint32_t)(rounded < CODE_MIN ? CODE_MIN : rounded > CODE_MAX ? CODE_MAX : rounded);
}

static inline uint8_t code8(int16_t sample)
{
    int32_t rounded = (sample + (1 << (FRACTION_BITS + 1))) >> (FRACTION_BITS + 2);
    return (uint8_t)(rounded < CODE8_MIN ? CODE8_MIN : rounded > CODE8_MAX ? CODE8_MAX : rounded);
}

static void pack8(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    for (uint32_t x = begin; x < end; x += 2) {
        row[2 * x] = code8(cb[x / 2]);
        row[2 * x + 1] = code8(luma[x]);
        row[2 * x + 2] = code8(cr[x / 2]);
        row[2 * x + 3] = code8(luma[x + 1]);
    }
}

static void pack10(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    for (uint32_t x = begin; x < end; x += 2) {
        uint64_t pgroup = (uint64_t)code(cb[x / 2]) << 30 | code(luma[x]) << 20 | code(cr[x / 2]) << 10 | code(luma[x + 1]);
        uint8_t *out = row + x / 2 * 5;
        for (int octet = 0; octet < 5; octet++)
            out[octet] = (uint8_t)(pgroup >> (32 - 8 * octet));
    }
}

#if defined(__x86_64__)
/* Two pgroups (eight samples in wire order) into ten octets at the front of the register. */
__attribute__((target("ssse3"))) static inline __m128i pack10_pair(__m128i samples)
{
    const __m128i pair = _mm_set1_epi32(1 << 16 | 1024);   /* even sample x 1024 + odd sample */
    const __m128i octets = _mm_setr_epi8(4, 3, 2, 1, 0, 12, 11, 10, 9, 8, -1, -1, -1, -1, -1, -1);
    samples = _mm_srai_epi16(_mm_add_epi16(samples, _mm_set1_epi16(1 << (FRACTION_BITS - 1))), FRACTION_BITS);
    samples = _mm_min_epi16(_mm_max_epi16(samples, _mm_set1_epi16(CODE_MIN)), _mm_set1_epi16(CODE_MAX));
    __m128i twenty = _mm_madd_epi16(samples, pair);
    __m128i forty = _mm_or_si128(_mm_srli_epi64(_mm_slli_epi64(twenty, 32), 12), _mm_srli_epi64(twenty, 32));
    return _mm_shuffle_epi8(forty, octets);
}

/* Eight pixels from `x` in wire order: two pgroups in each half. */
static inline __m128i wire_low(__m128i luma, __m128i chroma) { return _mm_unpacklo_epi16(chroma, luma); }
static inline __m128i wire_high(__m128i luma, __m128i chroma) { return _mm_unpackhi_epi16(chroma, luma); }

static inline __m128i chroma_pairs(const int16_t *cb, const int16_t *cr, uint32_t x)
{
    return _mm_unpacklo_epi16(_mm_loadl_epi64((const void *)(cb + x / 2)), _mm_loadl_epi64((const void *)(cr + x / 2)));
}

__attribute__((target("ssse3"))) static uint32_t
pack10_ssse3(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    uint32_t x = begin;
    /* Safety: eight pixels are 20 octets and the second store ends at octet 26, so stay four pgroups away from the end. */
    for (; x + 16 <= end; x += 8) {
        __m128i y = _mm_loadu_si128((const void *)(luma + x)), c = chroma_pairs(cb, cr, x);
        uint8_t *out = row + x / 2 * 5;
        _mm_storeu_si128((void *)out, pack10_pair(wire_low(y, c)));
        _mm_storeu_si128((void *)(out + 10), pack10_pair(wire_high(y, c)));
    }
    return x;
}

static inline __m128i rounded8(__m128i samples)
{
    return _mm_srai_epi16(_mm_add_epi16(samples, _mm_set1_epi16(1 << (FRACTION_BITS + 1))), FRACTION_BITS + 2);
}

static uint32_t pack8_sse2(const int16_t *luma, const int16_t *cb, const int16_t *cr, uint32_t begin, uint32_t end, uint8_t *row)
{
    uint32_t x = begin;
    for (; x + 8 <= end; x += 8) {
        __m128i y = _mm_loadu_si128((const void *)(luma + x)), c = chroma_pairs(cb, cr, x);
        __m128i octets = _mm_packus_epi16(rounded8(wire_low(y, c)), rounded8(wire_high(y, c)));
        octets = _mm_min_epu8(_mm_max_epu8(octets, _mm_set1_epi8(CODE8_MIN)), _mm_set1_epi8((char)CODE8_MAX));
        _mm_storeu_si128((void *)(row + 2 * x), octets);
    }
    return x;
}
#endif

void scene_pack(const struct scene *scene, const int16_t *luma, const int16_t *cb, const int16_t *cr,
                uint32_t begin, uint32_t end, uint8_t *row, int simd)
{
#if defined(__x86_64__)
    if (simd && scene->depth == 8)
        begin = pack8_sse2(luma, cb, cr, begin, end, row);   /* every x86-64 has SSE2 */
    else if (simd && __builtin_cpu_supports("ssse3"))
        begin = pack10_ssse3(luma, cb, cr, begin, end, row);
#else
    (void)simd;
#endif
    (scene->depth == 8 ? pack8 : pack10)(luma, cb, cr, begin, end, row);
}

void scene_black(struct scene *scene)
{
    for (uint32_t x = 0; x < scene->width; x++) {
        scene->rows[0][x] = BLACK;
        scene->rows[1][x / 2] = scene->rows[2][x / 2] = NEUTRAL;
    }
    for (uint32_t row = 0; row < scene->height; row++)
        scene_pack(scene, scene->rows[0], scene->rows[1], scene->rows[2], 0, scene->width, scene->frame + (size_t)row * scene->row_bytes, 1);
}

void scene_begin(struct scene *scene, uint32_t noise_seed)
{
    scene->noise_state = noise_seed * 2654435761u | 1;
    scene->rows_ready = 0;
}

static void render_row(struct scene *scene, uint32_t row)
{
    uint32_t begin = scene->view[2 * row], end = scene->view[2 * row + 1];
    if (begin >= end)
        return;
    draw_tissue(scene, row, begin, end);
    for (uint32_t i = 0; i < scene->strip_count; i++)
        draw_strip(scene, &scene->strips[i], row, begin, end);
    light(scene, row, begin, end);
    for (uint32_t i = 0; i < scene->disc_count; i++)
        draw_disc(scene, &scene->discs[i], row, begin, end);
    scene_pack(scene, scene->rows[0], scene->rows[1], scene->rows[2], begin, end, scene->frame + (size_t)row * scene->row_bytes, 1);
}

void scene_prepare(void *context, uint32_t rows)
{
    struct scene *scene = context;
    int first = scene->rows_ready == 0;
    /* The stamp says when the first packet leaves, so all rows that it covers must be drawn before the clock is read. */
    if (first && scene->stamped && rows < SCENE_STAMP_ROWS)
        rows = SCENE_STAMP_ROWS;
    for (; scene->rows_ready < rows && scene->rows_ready < scene->height; scene->rows_ready++)
        render_row(scene, scene->rows_ready);
    if (first && scene->stamped) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        scene_stamp(scene, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    }
}

void scene_stamp(struct scene *scene, uint64_t microseconds)
{
    uint64_t bits = microseconds << 16 | STAMP_SYNC;
    uint32_t pixels = SCENE_STAMP_CELLS * SCENE_STAMP_CELL_PIXELS;
    for (uint32_t x = 0; x < pixels; x++) {
        uint32_t cell = x / SCENE_STAMP_CELL_PIXELS;
        scene->rows[0][x] = bits >> (SCENE_STAMP_CELLS - 1 - cell) & 1 ? WHITE : BLACK;
        scene->rows[1][x / 2] = scene->rows[2][x / 2] = NEUTRAL;
    }
    for (uint32_t row = 0; row < SCENE_STAMP_ROWS; row++)
        scene_pack(scene, scene->rows[0], scene->rows[1], scene->rows[2], 0, pixels, scene->frame + (size_t)row * scene->row_bytes, 1);
}
