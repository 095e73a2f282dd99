#include "datagrams.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#define INTERRUPTIONS_MAX 8
/* Room for two keyframes with the kernel's overhead; above net.core.wmem_max the kernel grants less, and a full socket is counted. */
#define SEND_QUEUE_BYTES (1 << 20)

static int read_address(struct destination *destination, int family, const char *host, uint16_t port)
{
    char service[sizeof "65535"];
    struct addrinfo *found;
    struct addrinfo wanted = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (family == AF_INET6 ? AI_V4MAPPED : 0), .ai_family = family,
                              .ai_socktype = SOCK_DGRAM};
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &wanted, &found))
        return -EINVAL;
    memcpy(&destination->address, found->ai_addr, found->ai_addrlen);
    destination->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int destination_open(struct destination *destination, int fd, const char *host, uint16_t port, enum send_way way)
{
    int family, error = 0;
    socklen_t family_bytes = sizeof family;
    struct sockaddr_storage peer;
    socklen_t peer_bytes = sizeof peer;
    memset(destination, 0, sizeof *destination);
    destination->way = way;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &family_bytes) < 0)
        return -errno;
    if (host)
        error = read_address(destination, family, host, port);
    else if (getpeername(fd, (struct sockaddr *)&peer, &peer_bytes) < 0)
        error = -errno;
    if (error)
        return error;
    destination->fd = fcntl(fd, F_DUPFD_CLOEXEC, fd);
    if (destination->fd < 0)
        return -errno;
    int queue = SEND_QUEUE_BYTES;
    setsockopt(destination->fd, SOL_SOCKET, SO_SNDBUF, &queue, sizeof queue);
    return 0;
}

static void *name(struct destination *destination) { return destination->address_bytes ? &destination->address : NULL; }

void destination_pace(struct destination *destination, uint32_t octets_per_s)
{
    destination->pacing_octets_per_s = octets_per_s;
    if (octets_per_s) /* Without fq the kernel takes it and does nothing, and a refusal would cost nothing either. */
        setsockopt(destination->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &octets_per_s, sizeof octets_per_s);
}

void destination_close(struct destination *destination) { close(destination->fd); }

/* What a kernel, driver or tunnel answers that cannot do a send in this way: no UDP_SEGMENT (old kernel, checksums off, IPsec), a
 * segment above the path's MTU, no sendmmsg under a system call filter. The next way sends the same octets. */
static int wants_humbler_way(int error)
{
    return error == EINVAL || error == EIO || error == EOPNOTSUPP || error == ENOPROTOOPT || error == EMSGSIZE || error == ENOSYS;
}

static ssize_t send_segmented(struct destination *destination, const uint8_t *octets, size_t bytes, size_t datagram_bytes)
{
    union {
        struct cmsghdr header; /* aligns */
        uint8_t octets[CMSG_SPACE(sizeof(uint16_t))];
    } control;
    struct iovec part = {.iov_base = (void *)octets, .iov_len = bytes};
    struct msghdr message = {.msg_name = name(destination), .msg_namelen = destination->address_bytes, .msg_iov = &part,
                             .msg_iovlen = 1};
    if (bytes > datagram_bytes) {
        uint16_t segment = (uint16_t)datagram_bytes;
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = sizeof control.octets;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_UDP;
        header->cmsg_type = UDP_SEGMENT;
        header->cmsg_len = CMSG_LEN(sizeof segment);
        memcpy(CMSG_DATA(header), &segment, sizeof segment);
    }
    return sendmsg(destination->fd, &message, SEND_FLAGS);
}

/* Number of datagrams that the kernel took, or -1 with errno if it refused the first. */
static int send_batched(struct destination *destination, const uint8_t *octets, size_t bytes, size_t datagram_bytes)
{
    struct mmsghdr messages[DATAGRAMS_PER_SEND_MAX];
    struct iovec parts[DATAGRAMS_PER_SEND_MAX];
    unsigned count = 0;
    memset(messages, 0, sizeof messages);
    for (size_t at = 0; at < bytes && count < DATAGRAMS_PER_SEND_MAX; at += datagram_bytes, count++) {
        parts[count].iov_base = (void *)(octets + at);
        parts[count].iov_len = bytes - at < datagram_bytes ? bytes - at : datagram_bytes;
        messages[count].msg_hdr = (struct msghdr){.msg_name = name(destination), .msg_namelen = destination->address_bytes,
                                                  .msg_iov = &parts[count], .msg_iovlen = 1};
    }
    return sendmmsg(destination->fd, messages, count, SEND_FLAGS);
}

static ssize_t send_one(struct destination *destination, const uint8_t *octets, size_t bytes, size_t datagram_bytes)
{
    return sendto(destination->fd, octets, bytes < datagram_bytes ? bytes : datagram_bytes, SEND_FLAGS,
                  name(destination), destination->address_bytes);
}

/* Datagrams taken by one system call, or -1 with errno. */
static int send_once(struct destination *destination, const uint8_t *octets, size_t bytes, size_t datagram_bytes)
{
    if (destination->way == SEND_BATCHED)
        return send_batched(destination, octets, bytes, datagram_bytes);
    if (destination->way == SEND_SINGLY)
        return send_one(destination, octets, bytes, datagram_bytes) < 0 ? -1 : 1;
    size_t whole = DATAGRAMS_PER_SEND_MAX < OCTETS_PER_SEND_MAX / datagram_bytes ? DATAGRAMS_PER_SEND_MAX
                                                                                : OCTETS_PER_SEND_MAX / datagram_bytes;
    size_t taken = bytes < whole * datagram_bytes ? bytes : whole * datagram_bytes;
    if (send_segmented(destination, octets, taken, datagram_bytes) < 0)
        return -1;
    return (int)((taken + datagram_bytes - 1) / datagram_bytes);
}

struct send_result datagrams_send(struct destination *destination, const uint8_t *octets, size_t bytes, size_t datagram_bytes)
{
    struct send_result result = {0};
    size_t at = 0;
    int interruptions = 0;
    while (at < bytes) {
        int taken = send_once(destination, octets + at, bytes - at, datagram_bytes);
        result.calls++;
        if (taken > 0) {
            result.datagrams += (uint32_t)taken;
            at += (size_t)taken * datagram_bytes;
        } else if (errno == EINTR && interruptions++ < INTERRUPTIONS_MAX) {
            continue;
        } else if (wants_humbler_way(errno) && destination->way < SEND_SINGLY) {
            destination->way++;
            result.fallbacks++;
        } else {
            result.error = errno;
            break;
        }
    }
    return result;
}
