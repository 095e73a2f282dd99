"""What cext/messages.pyx calls of the kernels: checksum, socket, DTLS, SCTP and the recipients of a feed."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "crc32c.h" nogil:
    uint32_t crc32c_c "crc32c"(const uint8_t *octets, size_t bytes)
    uint32_t crc32c_table_c "crc32c_table"(const uint8_t *octets, size_t bytes)

cdef extern from "datagrams.h" nogil:
    enum: SEND_SINGLY
    struct destination_c "destination":
        pass
    int destination_open(destination_c *target, int fd, const char *host, uint16_t port, int way)
    void destination_close(destination_c *target)

cdef extern from "dtls.h" nogil:
    enum: DTLS_DATAGRAM_BYTES_MAX, DTLS_RECORDS_MAX, DTLS_DONE, DTLS_NOT_TAKEN, DTLS_BROKEN, DTLS_CLOSED
    struct dtls_library:
        void *write
        void *read
        void *get_error
        void *clear_errors
        void *bio_write
        void *bio_read
    struct dtls_link:
        dtls_library library
        void *ssl
        void *incoming
        void *outgoing
        destination_c destination
        int has_path
    int dtls_send(dtls_link *link, const uint8_t *octets, size_t bytes)
    void dtls_take(dtls_link *link, const uint8_t *datagram, size_t bytes)
    int dtls_next(dtls_link *link, uint8_t *buffer)
    int dtls_flush(dtls_link *link)

cdef extern from "sctp.h" nogil:
    enum: SCTP_PAYLOAD_BYTES_MAX, SCTP_RESENDS_UNLIMITED
    enum sctp_outcome: SCTP_SENT, SCTP_SKIPPED, SCTP_BROKEN, SCTP_MALFORMED, SCTP_FOREIGN
    ctypedef sctp_outcome (*sctp_output)(void *carrier, const uint8_t *packet, size_t bytes) noexcept
    struct sctp_message:
        pass
    struct sctp_manner:
        uint16_t stream
        uint8_t ordered
        uint32_t protocol, resends_max
    struct sctp_sender:
        uint8_t watched, broken
        uint32_t acked, next, held_bytes, flight_bytes
        uint64_t messages_lost, due_ns
    sctp_message *sctp_message_create(const uint8_t *octets, uint32_t bytes)
    void sctp_message_release(sctp_message *message)
    void sctp_create(sctp_sender *s, uint32_t first_tsn, uint32_t held_bytes_max, sctp_output output, void *carrier)
    void sctp_destroy(sctp_sender *s)
    void sctp_open(sctp_sender *s, uint16_t local_port, uint16_t remote_port, uint32_t local_tag, uint32_t remote_tag, uint32_t window_bytes,
                   uint32_t message_bytes_max)
    void sctp_close(sctp_sender *s)
    sctp_outcome sctp_send(sctp_sender *s, sctp_message *message, const sctp_manner *manner, uint64_t now_ns)
    sctp_outcome sctp_receive(sctp_sender *s, const uint8_t *packet, size_t bytes, uint64_t now_ns)
    sctp_outcome sctp_acknowledge(sctp_sender *s, uint32_t cumulative, uint32_t window_bytes, const uint8_t *gaps, uint32_t gap_count, uint64_t now_ns)
    sctp_outcome sctp_expire(sctp_sender *s, uint64_t now_ns)
    void sctp_reset_stream(sctp_sender *s, uint16_t stream)

cdef extern from "recipients.h" nogil:
    struct recipient_c "recipient":
        sctp_sender *sender
        sctp_manner manner
        uint8_t identifying_allowed, needs_attention
        uint64_t sent, skipped, refused
    uint32_t recipients_send(recipient_c **recipients, uint32_t count, uint32_t first, sctp_message *message, int identifying, int identifying_allowed,
                             uint64_t now_ns)
