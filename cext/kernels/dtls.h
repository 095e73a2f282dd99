/* A DTLS connection that another library made, used by pointer: data out to a socket and datagrams in, without Python between.
 *
 * The SSL object belongs to pyOpenSSL and to the thread of its event loop; only that thread may call this. Shaking hands is aiortc's.
 */
#ifndef APPLIANCE_DTLS_H
#define APPLIANCE_DTLS_H

#include <stddef.h>
#include <stdint.h>

#include "datagrams.h"

#define DTLS_DATAGRAM_BYTES_MAX 2048u
#define DTLS_RECORDS_MAX 32u /* in a datagram of that size that hold a packet of SCTP each */

/* The functions of the very libssl that made the connection. */
struct dtls_library {
    int (*write)(void *ssl, const void *octets, int bytes);
    int (*read)(void *ssl, void *octets, int bytes);
    int (*get_error)(const void *ssl, int result);
    void (*clear_errors)(void);
    int (*bio_write)(void *bio, const void *octets, int bytes);
    int (*bio_read)(void *bio, void *octets, int bytes);
};

struct dtls_link {
    struct dtls_library library;
    void *ssl, *incoming, *outgoing; /* the connection and its memory BIOs */
    struct destination destination;
    int has_path;
};

enum dtls_outcome { DTLS_DONE = 0, DTLS_NOT_TAKEN = -1, DTLS_BROKEN = -2, DTLS_CLOSED = -3 };

/* Encrypts and sends one message: DONE, NOT_TAKEN (the socket is full, or there is no path) or BROKEN. */
enum dtls_outcome dtls_send(struct dtls_link *link, const uint8_t *octets, size_t bytes);

/* Takes a datagram; then dtls_next gives what was in it. */
void dtls_take(struct dtls_link *link, const uint8_t *datagram, size_t bytes);

/* Octets of the next message in `buffer` (DTLS_DATAGRAM_BYTES_MAX), DONE if there is none, BROKEN, or CLOSED by the other side. */
int dtls_next(struct dtls_link *link, uint8_t *buffer);

/* Sends what the library itself has to say: alerts, and its part of a handshake that is repeated. */
enum dtls_outcome dtls_flush(struct dtls_link *link);

#endif
