#include "ip_datagram.h"

#include <stdbool.h>
#include <string.h>

#define IPV4_HEADER_BYTES 20u
#define IPV6_HEADER_BYTES 40u
#define UDP_HEADER_BYTES 8u
#define PROTOCOL_UDP 17u
#define PROTOCOL_IPV6_FRAGMENT 44u
/* More fragments follow, or this is not the first. */
#define FRAGMENT_BITS 0x3fffu

const char *const refusal_reasons[REFUSALS] = {
    [REFUSED_NOT] = "",
    [REFUSED_IP_HEADER] = "ip_header",
    [REFUSED_IP_CHECKSUM] = "ip_checksum",
    [REFUSED_FRAGMENT] = "fragment",
    [REFUSED_UDP_LENGTH] = "udp_length",
    [REFUSED_UDP_CHECKSUM] = "udp_checksum",
    [REFUSED_SOURCE] = "source",
};

static inline uint32_t read_u16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

/* Adds octets up in words of the machine's order; the folded sum of RFC 1071 does not depend on it but for a swap of its two octets. */
static uint64_t add_up(const uint8_t *octets, size_t length)
{
    uint64_t sum = 0;
    size_t at = 0;
    for (; at + 4 <= length; at += 4) {
        uint32_t word;
        memcpy(&word, octets + at, sizeof word);
        sum += word;
    }
    uint8_t rest[4] = {0};
    for (size_t i = 0; at + i < length && i < sizeof rest; i++)
        rest[i] = octets[at + i];
    uint32_t word;
    memcpy(&word, rest, sizeof word);
    return sum + word;
}

/* True if the ones' complement sum of everything, the checksum field included, is all ones. */
static bool sums_to_ones(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum >> 16) + (sum & 0xffff);
    return sum == 0xffff;
}

/* Source: RFC 768, RFC 8200 8.1: a pseudo header of the addresses, the protocol and UDP's length comes before UDP's own octets. */
static bool udp_checksum_right(const uint8_t *addresses, size_t addresses_bytes, const uint8_t *udp, size_t udp_bytes)
{
    const uint8_t tail[4] = {0, PROTOCOL_UDP, (uint8_t)(udp_bytes >> 8), (uint8_t)udp_bytes};
    return sums_to_ones(add_up(addresses, addresses_bytes) + add_up(tail, sizeof tail) + add_up(udp, udp_bytes));
}

/* Bounds of what is in an IP packet: `*start`..`*end`. */
static enum refusal read_ipv4(const uint8_t *packet, size_t length, size_t *start, size_t *end)
{
    if (length < IPV4_HEADER_BYTES)
        return REFUSED_IP_HEADER;
    *start = (packet[0] & 0x0fu) * 4u;
    *end = read_u16(packet + 2);
    if (*start < IPV4_HEADER_BYTES || *start > *end || *end > length || packet[9] != PROTOCOL_UDP)
        return REFUSED_IP_HEADER;
    if (!sums_to_ones(add_up(packet, *start)))
        return REFUSED_IP_CHECKSUM;
    return read_u16(packet + 6) & FRAGMENT_BITS ? REFUSED_FRAGMENT : REFUSED_NOT;
}

static enum refusal read_ipv6(const uint8_t *packet, size_t length, size_t *start, size_t *end)
{
    if (length < IPV6_HEADER_BYTES)
        return REFUSED_IP_HEADER;
    *start = IPV6_HEADER_BYTES;
    *end = IPV6_HEADER_BYTES + read_u16(packet + 4);
    if (packet[6] == PROTOCOL_IPV6_FRAGMENT)
        return REFUSED_FRAGMENT;
    return *end > length || packet[6] != PROTOCOL_UDP ? REFUSED_IP_HEADER : REFUSED_NOT;
}

enum refusal ip_datagram_read(const uint8_t *packet, size_t length, enum checksum checksum, struct ip_datagram *result)
{
    if (length == 0)
        return REFUSED_IP_HEADER;
    const unsigned version = packet[0] >> 4;
    size_t start, end;
    if (version != 4 && version != 6)
        return REFUSED_IP_HEADER;
    enum refusal reason = version == 4 ? read_ipv4(packet, length, &start, &end) : read_ipv6(packet, length, &start, &end);
    if (reason != REFUSED_NOT)
        return reason;
    /* Safety: start <= end <= length from here on. */
    if (end - start < UDP_HEADER_BYTES)
        return REFUSED_UDP_LENGTH;
    const uint8_t *udp = packet + start;
    size_t udp_bytes = read_u16(udp + 4);
    if (udp_bytes < UDP_HEADER_BYTES || udp_bytes > end - start)
        return REFUSED_UDP_LENGTH;
    if (checksum == CHECKSUM_UNKNOWN) {
        bool none = read_u16(udp + 6) == 0;
        const uint8_t *addresses = version == 4 ? packet + 12 : packet + 8;
        if (none ? version == 6 : !udp_checksum_right(addresses, version == 4 ? 8 : 32, udp, udp_bytes))
            return REFUSED_UDP_CHECKSUM;
    }
    *result = (struct ip_datagram){.payload = udp + UDP_HEADER_BYTES, .length = udp_bytes - UDP_HEADER_BYTES};
    return REFUSED_NOT;
}
