/* The UDP payload of a packet that the kernel handed over from its network header on: what IP and UDP check before a socket gets it.
 *
 * Pure: no state, nothing written but the result. Called by the packet ring; the kernel itself does this for a UDP socket.
 * Not here: whether address and port are the flow's, which the ring's filter decided.
 */
#ifndef APPLIANCE_IP_DATAGRAM_H
#define APPLIANCE_IP_DATAGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Why a packet is not used; the order is that of refusal_reasons. */
enum refusal {
    REFUSED_NOT = 0,
    REFUSED_IP_HEADER,    /* version, header length, total length, protocol */
    REFUSED_IP_CHECKSUM,
    REFUSED_FRAGMENT,     /* part of a datagram: it came before the kernel was asked to put them together */
    REFUSED_UDP_LENGTH,
    REFUSED_UDP_CHECKSUM,
    REFUSED_SOURCE,       /* from another sender than the SDP's: the ring's filter let an octet of it pass */
    REFUSALS,
};
/* Names of the reasons, as the metric's label shows them. */
extern const char *const refusal_reasons[REFUSALS];

/* Whether the UDP checksum has still to be looked at. */
enum checksum { CHECKSUM_UNKNOWN, CHECKSUM_SETTLED };

struct ip_datagram {
    const uint8_t *payload;
    size_t length;
};

/* Reads `length` octets that begin with an IPv4 or IPv6 header; octets after the packet's own end (Ethernet's padding) are left out.
 * REFUSED_NOT: the payload lies within them. Sources: RFC 791 3.1, RFC 768, RFC 8200 3 (no extension headers) and 8.1 (no zero checksum). */
enum refusal ip_datagram_read(const uint8_t *packet, size_t length, enum checksum checksum, struct ip_datagram *result);

#endif
