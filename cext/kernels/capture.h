/* Reads a capture (pcap, pcapng) that lies in memory: where each UDP datagram's payload is, when it was captured, and to whom it went.
 *
 * Pure: reads nothing outside the memory, whatever is in it. Called by cext/replaying.pyx. What is no whole UDP datagram is counted.
 */
#ifndef APPLIANCE_CAPTURE_H
#define APPLIANCE_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#define CAPTURE_FLOWS_MAX 64u
#define CAPTURE_INTERFACES_MAX 256u

struct captured {
    uint64_t time_ns; /* since 1970 */
    uint64_t at;      /* of the payload in the memory */
    uint32_t length;
    uint32_t flow;
};

struct captured_flow {
    uint8_t address[16]; /* the first 4 for IPv4 */
    uint8_t version;     /* of IP */
    uint16_t port;
    uint64_t packets, octets;
};

enum capture_left_out { LEFT_OUT_NOT_UDP, LEFT_OUT_FRAGMENT, LEFT_OUT_CUT, LEFT_OUT_LINK, LEFT_OUT_FLOWS, LEFT_OUT_KINDS };

struct capture {
    struct captured *packets;
    uint64_t count, room;
    struct captured_flow flows[CAPTURE_FLOWS_MAX];
    uint32_t flow_count;
    uint64_t left_out[LEFT_OUT_KINDS];
    int broken; /* it ends within a packet or block, or goes on as something else */
};

enum capture_refusal { CAPTURE_UNKNOWN = -1, CAPTURE_MEMORY = -2 };

/* 0 or a refusal. capture_free() in either case. */
int capture_read(struct capture *capture, const uint8_t *memory, size_t length);
void capture_free(struct capture *capture);

#endif
