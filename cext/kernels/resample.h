/* Sound at another rate: each output sample is read between the input's samples by a windowed sinc, at any step.
 *
 * One mechanism for 44.1 and 96 kHz and for a sender's clock that drifts against ours. The filter is symmetric: it delays nothing.
 */
#ifndef APPLIANCE_RESAMPLE_H
#define APPLIANCE_RESAMPLE_H

#include <stdint.h>

#include "pcm.h"

#define RESAMPLE_PHASES 256u
#define RESAMPLE_TAPS_MAX 64u
#define RESAMPLE_ONE (1ull << 32) /* a step of one input sample: positions have 32 bits behind the point */

struct resampler {
    uint32_t taps; /* even; half of them lie before the position */
    float filter[RESAMPLE_PHASES + 1][RESAMPLE_TAPS_MAX];
};

/* Prepares for steps of about `step`: above one it also takes away what the output's rate cannot carry. */
void resampler_open(struct resampler *resampler, uint64_t step);
/* Writes `count` samples to `target`. Sample i lies at first + (fraction + i * step) / 2^32 in the circular `source`, whose indices are
 * taken modulo `mask` + 1. At whole positions and steps of exactly one the samples are copied. */
void resample(const struct resampler *resampler, const float (*source)[PCM_SIDES], uint64_t mask, int64_t first, uint32_t fraction,
              uint64_t step, uint32_t count, float (*target)[PCM_SIDES]);

#endif
