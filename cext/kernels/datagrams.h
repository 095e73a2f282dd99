/* A run of equal datagrams (the last may be shorter) to one address: one sendmsg with UDP_SEGMENT, else sendmmsg, else sendto.
 *
 * Called per viewer and access unit by the fan-out. Never waits. Which way a destination takes is found out by errno, once.
 */
#ifndef APPLIANCE_DATAGRAMS_H
#define APPLIANCE_DATAGRAMS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define DATAGRAMS_PER_SEND_MAX 64u    /* UDP_MAX_SEGMENTS of Linux before 6.9; newer kernels allow 128 */
#define OCTETS_PER_SEND_MAX 65507u    /* largest UDP payload over IPv4 */

enum send_way { SEND_SEGMENTED = 0, SEND_BATCHED = 1, SEND_SINGLY = 2 };

struct destination {
    int fd;
    enum send_way way;
    uint32_t pacing_octets_per_s; /* 0: none */
    socklen_t address_bytes; /* 0: the socket is connected */
    struct sockaddr_storage address;
};

/* Duplicates `fd` and reads a numeric address of its family (IPv4 becomes mapped on an IPv6 socket); without a host, `fd` must be
 * connected. 0, or -errno. */
int destination_open(struct destination *destination, int fd, const char *host, uint16_t port, enum send_way way);
/* Lets an fq queueing discipline, where there is one, space the socket's packets at this rate. Only for a socket of one viewer's own. */
void destination_pace(struct destination *destination, uint32_t octets_per_s);
void destination_close(struct destination *destination);

struct send_result {
    uint32_t datagrams; /* how many the kernel took */
    uint32_t calls;
    uint32_t fallbacks; /* times that the destination moved to a humbler way */
    int error;          /* errno of the first datagram that was not taken, or 0 */
};

/* Sends `bytes` octets as datagrams of `datagram_bytes` (the last one: what remains). */
struct send_result datagrams_send(struct destination *destination, const uint8_t *octets, size_t bytes, size_t datagram_bytes);

#endif
