#include "dtls.h"

/* SSL_get_error (OpenSSL's ssl.h; part of its stable interface). The header is not used: it is another libssl's. */
enum { ERROR_WANT_READ = 2, ERROR_WANT_WRITE = 3, ERROR_ZERO_RETURN = 6 };

enum dtls_outcome dtls_flush(struct dtls_link *link)
{
    uint8_t record[DTLS_DATAGRAM_BYTES_MAX];
    int bytes = link->library.bio_read(link->outgoing, record, sizeof record);
    if (bytes <= 0)
        return DTLS_DONE;
    if (!link->has_path)
        return DTLS_NOT_TAKEN;
    return datagrams_send(&link->destination, record, (size_t)bytes, (size_t)bytes).datagrams ? DTLS_DONE : DTLS_NOT_TAKEN;
}

enum dtls_outcome dtls_send(struct dtls_link *link, const uint8_t *octets, size_t bytes)
{
    link->library.clear_errors(); /* SSL_get_error looks at the thread's queue, which any other use of the library may have filled */
    if (link->library.write(link->ssl, octets, (int)bytes) <= 0)
        return DTLS_BROKEN;
    return dtls_flush(link);
}

void dtls_take(struct dtls_link *link, const uint8_t *datagram, size_t bytes)
{
    link->library.bio_write(link->incoming, datagram, (int)bytes);
}

int dtls_next(struct dtls_link *link, uint8_t *buffer)
{
    link->library.clear_errors();
    int bytes = link->library.read(link->ssl, buffer, DTLS_DATAGRAM_BYTES_MAX);
    if (bytes > 0)
        return bytes;
    switch (link->library.get_error(link->ssl, bytes)) {
    case ERROR_WANT_READ:
    case ERROR_WANT_WRITE:
        return DTLS_DONE;
    case ERROR_ZERO_RETURN:
        return DTLS_CLOSED;
    default:
        return DTLS_BROKEN;
    }
}
