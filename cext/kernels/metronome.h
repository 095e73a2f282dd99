/* Sends packets of one size at even times: a sender of sound as ST 2110-30 wants it, for the synthetic source.
 *
 * Called by cext/sound_source.pyx without the GIL. Sleeps until each packet is due, or until several are where they are closer than a burst.
 */
#ifndef APPLIANCE_METRONOME_H
#define APPLIANCE_METRONOME_H

#include <stddef.h>
#include <stdint.h>

#define METRONOME_BURST_NS 500000ll /* packets that are due within so long leave in one call */
#define METRONOME_BATCH 32u

/* Sends `count` packets of `packet_bytes` octets that lie one after another; packet i is due at first_ns + i * interval_ns / interval_parts of
 * CLOCK_TAI. Returns how many the network took; the others are left behind, a sound is never late. -errno where it is gone for good. */
int64_t metronome_send(int fd, const uint8_t *packets, uint32_t packet_bytes, uint32_t count, int64_t first_ns, int64_t interval_ns,
                       int64_t interval_parts);

#endif
