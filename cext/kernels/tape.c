#include "tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEVER_NS (INT64_MIN / 2)
#define SECOND_NS 1000000000ll
#define FADE_PER_SECOND 500.0f /* a hole's edges take 2 ms */

_Static_assert(TAPE_HISTORY >= RESAMPLE_TAPS_MAX, "what the filter reads behind the position must still be there");

struct tape *tape_new(const struct pcm_format *format, uint32_t rate_hz, uint32_t packet_ticks, uint32_t output_hz)
{
    struct tape *tape = calloc(1, sizeof *tape);
    if (!tape)
        return NULL;
    tape->format = *format;
    tape->rate_hz = rate_hz;
    tape->packet_ticks = packet_ticks;
    tape->written_monotonic_ns = NEVER_NS;
    resampler_open(&tape->resampler, RESAMPLE_ONE * rate_hz / output_hz);
    return tape;
}

void tape_free(struct tape *tape)
{
    free(tape);
}

static inline bool is_written(const struct tape *tape, int64_t tick)
{
    uint64_t place = (uint64_t)tick % TAPE_TICKS;
    return tape->written[place / 64] >> (place % 64) & 1;
}

/* The first tick from `from` on that is not written, at most `end`. */
static int64_t written_until(const struct tape *tape, int64_t from, int64_t end)
{
    while (from < end) {
        uint64_t place = (uint64_t)from % TAPE_TICKS, missing = ~tape->written[place / 64] >> (place % 64);
        if (missing) {
            from += __builtin_ctzll(missing);
            return from < end ? from : end;
        }
        from += 64 - (int64_t)(place % 64);
    }
    return end;
}

static void begin_epoch(struct tape *tape, int64_t first, int64_t end, const struct tape_instant *came)
{
    tape->epoch++;
    tape->epoch_end = end;
    tape->epoch_first = tape->settled = tape->newest_end = first;
    tape->epoch_came = *came;
    tape->lag_known = false;
    tape->gain = 0;
    memset(tape->tail, 0, sizeof tape->tail);
    memset(tape->written, 0, sizeof tape->written);
    memset(tape->samples, 0, sizeof tape->samples);
}

/* Follows the sender of this packet from here on. */
static void lock_on(struct tape *tape, const struct pcm_packet *packet, const struct tape_instant *came)
{
    if (tape->locked) {
        /* The same sender after a silence: its time went on as ours did, and its numbers with its time or from where they had stopped. */
        int64_t silence_ticks = (came->monotonic_ns - tape->accepted_monotonic_ns) * tape->rate_hz / SECOND_NS;
        int64_t step = (int32_t)(packet->timestamp - tape->newest_timestamp);
        uint16_t gap = (uint16_t)(packet->sequence - tape->window.arrived.highest);
        int16_t beside = (int16_t)(gap - silence_ticks / packet->ticks);
        bool counts = gap < TAPE_SEQUENCE_STEP_MAX || abs(beside) < TAPE_SEQUENCE_STEP_MAX;
        bool went_on = counts && packet->ssrc == tape->ssrc && llabs(step - silence_ticks) < tape->rate_hz / 2;
        tape->statistics.outages += went_on;
        tape->statistics.restarts += !went_on;
    }
    tape->locked = tape->fresh = true;
    tape->fits = false;
    tape->ssrc = packet->ssrc;
    tape->newest = tape->newest_timestamp = packet->timestamp;
    tape->newest_ticks = packet->ticks;
    tape->accepted_monotonic_ns = came->monotonic_ns;
    tape->written_monotonic_ns = NEVER_NS;
    tape->candidate.count = 0;
    sequence_begin(&tape->window, packet->sequence);
}

/* Why a sound packet does not continue what the followed sender sent; PCM_SOUND and its place in the sequence if it does. */
static enum pcm_refusal foreign(const struct tape *tape, const struct pcm_packet *packet, int32_t *difference)
{
    if (packet->ssrc != tape->ssrc)
        return PCM_SSRC;
    *difference = (int16_t)(packet->sequence - (uint16_t)tape->window.arrived.highest);
    if (*difference > TAPE_SEQUENCE_STEP_MAX || *difference < -TAPE_SEQUENCE_STEP_MAX)
        return PCM_SEQUENCE;
    int32_t step = (int32_t)(packet->timestamp - tape->newest_timestamp), step_max = (int32_t)(tape->rate_hz / TAPE_STEPS_A_SECOND);
    return step > step_max || step < -step_max ? PCM_TIMESTAMP : PCM_SOUND;
}

/* True once enough packets in order came from elsewhere while the followed sender was silent. */
static bool proven(struct tape *tape, const struct pcm_packet *packet, const struct tape_instant *came)
{
    bool in_order = tape->candidate.count && tape->candidate.ssrc == packet->ssrc && tape->candidate.next == packet->sequence;
    tape->candidate.count = in_order ? tape->candidate.count + 1 : 1;
    tape->candidate.ssrc = packet->ssrc;
    tape->candidate.next = (uint16_t)(packet->sequence + 1);
    return tape->candidate.count >= TAPE_PROOF_PACKETS && came->monotonic_ns - tape->accepted_monotonic_ns >= TAPE_OUTAGE_NS;
}

/* Decides whether a sound packet is the followed sender's, following another one where that is due. */
static enum pcm_refusal follow(struct tape *tape, const struct pcm_packet *packet, const struct tape_instant *came, int32_t *difference)
{
    *difference = 1;
    if (!tape->locked) {
        lock_on(tape, packet, came);
        return PCM_SOUND;
    }
    enum pcm_refusal refusal = foreign(tape, packet, difference);
    if (refusal == PCM_SOUND) {
        tape->accepted_monotonic_ns = came->monotonic_ns;
        return PCM_SOUND;
    }
    if (!proven(tape, packet, came))
        return refusal;
    lock_on(tape, packet, came);
    *difference = 1;
    return PCM_SOUND;
}

/* Whether the packet's samples are what the SDP says. A packet and its successor tell: so many samples, so much time. What does not fit would
 * be noise. */
static bool fits(struct tape *tape, const struct pcm_packet *packet, int32_t difference)
{
    if (difference > 0) {
        if (difference == 1 && !tape->fresh)
            tape->fits = packet->timestamp == tape->newest_timestamp + tape->newest_ticks;
        tape->newest += (int32_t)(packet->timestamp - tape->newest_timestamp);
        tape->newest_timestamp = packet->timestamp;
        tape->newest_ticks = packet->ticks;
    }
    return tape->fits;
}

static void note_lag(struct tape *tape, int64_t end, const struct tape_instant *came)
{
    int64_t sent_ns = (int64_t)((__int128)(end - tape->epoch_end) * SECOND_NS / tape->rate_hz);
    int64_t lag_ns = came->tai_ns - tape->epoch_came.tai_ns - sent_ns;
    if (!tape->lag_known || lag_ns < tape->lag_ns)
        tape->lag_ns = lag_ns;
    tape->lag_known = true;
}

static void write_samples(struct tape *tape, const struct pcm_packet *packet, int64_t tick, const struct tape_instant *came)
{
    if (came->monotonic_ns - tape->written_monotonic_ns > TAPE_OUTAGE_NS) {
        tape->statistics.outages += tape->epoch && tape->written_monotonic_ns != NEVER_NS;
        begin_epoch(tape, tick, tick + packet->ticks, came);
    }
    int64_t end = tick + packet->ticks, first = tick > tape->settled ? tick : tape->settled;
    if (first >= end) {
        tape->statistics.late++;
        return;
    }
    /* Safety: what is written lies within one length of the tape from the oldest tick that may still be read. */
    if (end > tape->settled + (int64_t)(TAPE_TICKS - TAPE_HISTORY)) {
        tape->statistics.early++;
        return;
    }
    for (int64_t at = first; at < end;) {
        uint64_t place = (uint64_t)at % TAPE_TICKS, room = TAPE_TICKS - place;
        uint32_t count = (uint64_t)(end - at) < room ? (uint32_t)(end - at) : (uint32_t)room;
        pcm_mix(packet, &tape->format, (uint32_t)(at - tick), count, tape->samples + place);
        at += count;
    }
    for (int64_t at = first; at < end; at++)
        tape->written[(uint64_t)at % TAPE_TICKS / 64] |= 1ull << ((uint64_t)at % 64);
    tape->written_monotonic_ns = came->monotonic_ns;
    if (end > tape->newest_end)
        tape->newest_end = end;
    note_lag(tape, end, came);
}

void tape_packet(struct tape *tape, const uint8_t *bytes, size_t length, const struct tape_instant *came)
{
    struct tape_statistics *statistics = &tape->statistics;
    struct pcm_packet packet;
    int32_t difference = 0;
    enum pcm_refusal refusal = pcm_read(bytes, length, &tape->format, &packet);
    if (refusal == PCM_SOUND)
        refusal = follow(tape, &packet, came, &difference);
    if (refusal != PCM_SOUND) {
        statistics->malformed[refusal]++;
        return;
    }
    enum arrival arrival = sequence_note(&tape->window, difference);
    if (arrival == ARRIVAL_DUPLICATE) {
        statistics->duplicate++;
        return;
    }
    sequence_settle(&tape->window, tape->window.arrived.highest - TAPE_LOST_PACKETS);
    int64_t tick = tape->newest + (int32_t)(packet.timestamp - tape->newest_timestamp);
    bool fitting = fits(tape, &packet, difference), fresh = tape->fresh;
    tape->fresh = false;
    if (!fitting) {
        statistics->malformed[PCM_SAMPLES] += !fresh; /* a first one has nothing to fit */
        return;
    }
    statistics->packets++;
    statistics->octets += length;
    statistics->reordered += arrival != ARRIVAL_IN_ORDER;
    statistics->packet_time_wrong += packet.ticks != tape->packet_ticks;
    write_samples(tape, &packet, tick, came);
}

void tape_begin_anew(struct tape *tape)
{
    tape->written_monotonic_ns = NEVER_NS;
}

int64_t tape_expected_ns(const struct tape *tape, int64_t end)
{
    int64_t left = end - tape->newest_end;
    return tape->written_monotonic_ns + (left > 0 ? left * SECOND_NS / tape->rate_hz : 0);
}

enum tape_due tape_due(const struct tape *tape, int64_t end, int64_t now_monotonic_ns)
{
    if (tape->epoch == 0 || tape->written_monotonic_ns == NEVER_NS)
        return TAPE_NOT_YET;
    if (written_until(tape, tape->settled, end) == end)
        return TAPE_WHOLE;
    if (now_monotonic_ns - tape->written_monotonic_ns > TAPE_OUTAGE_NS)
        return TAPE_ENDED;
    if (tape->newest_end - end >= (int64_t)tape->rate_hz * (TAPE_REORDER_NS / 1000) / (SECOND_NS / 1000))
        return TAPE_HOLES;
    return now_monotonic_ns >= tape_expected_ns(tape, end) + TAPE_REORDER_NS ? TAPE_HOLES : TAPE_NOT_YET;
}

int64_t tape_needed(const struct tape *tape, int64_t first, uint32_t fraction, uint64_t step, uint32_t count)
{
    if (fraction == 0 && step == RESAMPLE_ONE)
        return first + count;
    return first + (int64_t)((fraction + step * count) >> 32) + tape->resampler.taps / 2 + 1;
}

/* Makes one tick final: its sample fading in behind a hole, or what fades out of the sample before the hole. Continuous on both edges. */
static inline void settle_tick(struct tape *tape, float *sample, bool here, float fade, float decay)
{
    tape->gain = here ? (tape->gain + fade < 1 ? tape->gain + fade : 1) : 0;
    for (uint32_t side = 0; side < PCM_SIDES; side++) {
        tape->tail[side] *= decay;
        sample[side] = here ? sample[side] * tape->gain + tape->tail[side] : tape->tail[side];
    }
}

/* Makes all before `end` final; returns how many ticks were missing. */
static uint32_t settle(struct tape *tape, int64_t end)
{
    const float fade = FADE_PER_SECOND / (float)tape->rate_hz, decay = 1 - 2 * fade;
    uint32_t missing = 0;
    for (int64_t tick = tape->settled; tick < end; tick++) {
        float *sample = tape->samples[(uint64_t)tick % TAPE_TICKS];
        bool here = is_written(tape, tick);
        if (!here && tape->gain > 0) /* a hole begins: from the last value heard to nothing */
            memcpy(tape->tail, tape->samples[(uint64_t)(tick - 1) % TAPE_TICKS], sizeof tape->tail);
        missing += !here;
        if (!here || tape->gain < 1 || fabsf(tape->tail[0]) + fabsf(tape->tail[1]) > 1e-6f)
            settle_tick(tape, sample, here, fade, decay);
    }
    /* The places serve what comes a tape's length later. */
    for (int64_t tick = tape->settled; tick < end; tick++)
        tape->written[(uint64_t)tick % TAPE_TICKS / 64] &= ~(1ull << ((uint64_t)tick % 64));
    if (end > tape->settled)
        tape->settled = end;
    return missing;
}

uint32_t tape_take(struct tape *tape, int64_t first, uint32_t fraction, uint64_t step, uint32_t count, float (*target)[PCM_SIDES])
{
    int64_t end = tape_needed(tape, first, fraction, step, count);
    /* Safety: a reader that asks for what lies beyond the tape gets silence, and goes no further than the tape's length. */
    if (end > tape->settled + (int64_t)(TAPE_TICKS - TAPE_HISTORY))
        end = tape->settled + (int64_t)(TAPE_TICKS - TAPE_HISTORY);
    uint32_t missing = settle(tape, end);
    tape->statistics.ticks_missing += missing;
    resample(&tape->resampler, (const float(*)[PCM_SIDES])tape->samples, TAPE_TICKS - 1, first, fraction, step, count, target);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t side = 0; side < PCM_SIDES; side++) {
            float *value = &target[i][side], height = fabsf(*value);
            if (height > tape->peak)
                tape->peak = height;
            if (height > 1) {
                *value = *value > 0 ? 1 : -1;
                tape->statistics.clipped++;
            }
        }
    return missing;
}
