#include "resample.h"

#include <math.h>
#include <string.h>

#define TAPS 32u
#define BETA 8.0       /* Kaiser window: images and aliases 80 dB down */
#define PASS_SHARE 0.92 /* of the lower rate's half: the filter's slope begins below it, where voices have little */
static const double PI = 3.14159265358979323846;

/* Modified Bessel function of the first kind, order 0. */
static double bessel(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; k < 32; k++) {
        term *= x / (2 * k) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

static double tap(double distance, double half, double cutoff)
{
    double along = distance / half;
    if (along <= -1 || along >= 1)
        return 0;
    double angle = PI * distance * cutoff;
    return (angle == 0 ? 1 : sin(angle) / angle) * bessel(BETA * sqrt(1 - along * along)) / bessel(BETA);
}

void resampler_open(struct resampler *resampler, uint64_t step)
{
    double ratio = step > RESAMPLE_ONE ? (double)step / (double)RESAMPLE_ONE : 1;
    /* Safety: twice the taps at most, RESAMPLE_TAPS_MAX. */
    resampler->taps = ratio > 1.5 ? 2 * TAPS : TAPS;
    double half = resampler->taps / 2.0, cutoff = PASS_SHARE / ratio;
    memset(resampler->filter, 0, sizeof resampler->filter);
    for (uint32_t phase = 0; phase <= RESAMPLE_PHASES; phase++) {
        double taps[RESAMPLE_TAPS_MAX], sum = 0;
        for (uint32_t i = 0; i < resampler->taps; i++) {
            taps[i] = tap((double)i - (half - 1) - (double)phase / RESAMPLE_PHASES, half, cutoff);
            sum += taps[i];
        }
        for (uint32_t i = 0; i < resampler->taps; i++)
            resampler->filter[phase][i] = (float)(taps[i] / sum);
    }
}

void resample(const struct resampler *resampler, const float (*source)[PCM_SIDES], uint64_t mask, int64_t first, uint32_t fraction,
              uint64_t step, uint32_t count, float (*target)[PCM_SIDES])
{
    const int copied = fraction == 0 && step == RESAMPLE_ONE;
    uint64_t position = fraction;
    for (uint32_t i = 0; i < count; i++, position += step) {
        int64_t at = first + (int64_t)(position >> 32);
        if (copied) {
            memcpy(target[i], source[(uint64_t)at & mask], sizeof target[i]);
            continue;
        }
        uint32_t between = (uint32_t)position, phase = between >> 24; /* RESAMPLE_PHASES is 2^8 */
        float part = (float)(between & 0xffffff) * (1.0f / 16777216), left = 0, right = 0;
        const float *before = resampler->filter[phase], *after = resampler->filter[phase + 1];
        at -= (int64_t)resampler->taps / 2 - 1;
        for (uint32_t k = 0; k < resampler->taps; k++) {
            const float *sample = source[(uint64_t)(at + k) & mask];
            float weight = before[k] + (after[k] - before[k]) * part;
            left += weight * sample[0];
            right += weight * sample[1];
        }
        target[i][0] = left;
        target[i][1] = right;
    }
}
