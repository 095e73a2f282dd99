/* The sending half of one SCTP association (RFC 9260) with partial reliability (RFC 3758), sans I/O: octets and times in, packets out.
 *
 * Owned and called by one thread, through cext/messages.pyx. Setting up, closing and receiving are aiortc's. Nothing is allocated for an
 * association after sctp_open; a message is one allocation, shared by all associations that it is sent on.
 */
#ifndef APPLIANCE_SCTP_H
#define APPLIANCE_SCTP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SCTP_PACKET_BYTES_MAX 1188u /* fits the least IPv6 MTU under DTLS and UDP, as libwebrtc and aiortc have it */
#define SCTP_PAYLOAD_BYTES_MAX (SCTP_PACKET_BYTES_MAX - 28u)
#define SCTP_CHUNKS_MAX 256u   /* sent and not acknowledged, or waiting; a power of two, so that numbers may wrap */
#define SCTP_CHUNKS_CONTROL 16u /* of these, kept for messages that must arrive: replies of the data channel protocol */
#define SCTP_STREAMS_MAX 16u   /* streams with ordered messages */
#define SCTP_RESENDS_UNLIMITED 0xFFFFFFFFu

/* What became of a message or an acknowledgement. */
enum sctp_outcome {
    SCTP_SENT = 0,
    SCTP_SKIPPED = 1,   /* the receiver has too much unread, or the socket took nothing */
    SCTP_BROKEN = 2,    /* the connection under the association has ended */
    SCTP_MALFORMED = 3, /* acknowledges what was never sent */
    SCTP_FOREIGN = 4,   /* not a plain acknowledgement; nothing was done */
};

/* Sends one packet: SCTP_SENT, SCTP_SKIPPED (not taken now; counts as lost on the way) or SCTP_BROKEN. */
typedef enum sctp_outcome (*sctp_output)(void *carrier, const uint8_t *packet, size_t bytes);

struct sctp_message {
    atomic_uint references;
    uint32_t bytes;
    uint8_t octets[];
};

struct sctp_message *sctp_message_create(const uint8_t *octets, uint32_t bytes); /* with one reference, or NULL */
void sctp_message_release(struct sctp_message *message);

/* How a message is sent (RFC 8831 section 6.6). */
struct sctp_manner {
    uint16_t stream;
    uint8_t ordered;
    uint32_t protocol;    /* payload protocol identifier */
    uint32_t resends_max; /* or SCTP_RESENDS_UNLIMITED */
};

enum sctp_chunk_state { CHUNK_FREE = 0, CHUNK_WAITING, CHUNK_IN_FLIGHT, CHUNK_LOST, CHUNK_ARRIVED, CHUNK_ABANDONED };

struct sctp_chunk {
    struct sctp_message *message; /* NULL as soon as its octets will not be sent again */
    uint64_t sent_ns;
    uint32_t offset, protocol, resends_max, sends;
    uint16_t bytes, stream, sequence;
    uint8_t flags, state, misses;
};

struct sctp_sender {
    sctp_output output;
    void *carrier;
    uint8_t open, recovering, forward_due;
    uint8_t broken;  /* the carrier ended: nothing is sent any more, and the owner ends the association */
    uint8_t watched; /* the owner's timer runs and will call sctp_expire */
    uint16_t local_port, remote_port;
    uint32_t local_tag, remote_tag;
    /* Chunk t lies at chunks[t % SCTP_CHUNKS_MAX]. acked < forwarded + 1 <= unsent <= next in serial numbers; acked: all up to it have arrived or
     * were passed over; forwarded: all up to it are acked or abandoned (Advanced.Peer.Ack.Point); unsent: first that was never sent. */
    uint32_t acked, forwarded, unsent, next;
    uint32_t held_bytes_max, message_bytes_max;
    uint32_t held_bytes, flight_bytes, window_bytes;
    uint32_t congestion_bytes, threshold_bytes, partial_bytes, recovery_end;
    uint64_t smooth_ns, variation_ns, timeout_ns; /* round trip, its variation, retransmission timeout */
    uint64_t messages_lost;                       /* given up without word of their arrival */
    uint64_t due_ns;                              /* when the retransmission timer expires; 0: it does not run */
    struct { uint16_t stream, next; uint8_t used; } orders[SCTP_STREAMS_MAX];
    struct sctp_chunk chunks[SCTP_CHUNKS_MAX];
};

void sctp_create(struct sctp_sender *s, uint32_t first_tsn, uint32_t held_bytes_max, sctp_output output, void *carrier);
void sctp_destroy(struct sctp_sender *s);

/* The association is established. Once more only renews ports and tags. message_bytes_max 0: no limit. */
void sctp_open(struct sctp_sender *s, uint16_t local_port, uint16_t remote_port, uint32_t local_tag, uint32_t remote_tag, uint32_t window_bytes,
               uint32_t message_bytes_max);
void sctp_close(struct sctp_sender *s);

/* SENT: in flight or waiting for its turn; SKIPPED: not sent, or the socket took nothing of it. */
enum sctp_outcome sctp_send(struct sctp_sender *s, struct sctp_message *message, const struct sctp_manner *manner, uint64_t now_ns);

/* A packet came. FOREIGN if it is anything but one whole SACK of this association with a right checksum. */
enum sctp_outcome sctp_receive(struct sctp_sender *s, const uint8_t *packet, size_t bytes, uint64_t now_ns);

/* A SACK (RFC 9260 section 3.3.4); `gaps`: pairs of start and end, 16 bits each in network order. */
enum sctp_outcome sctp_acknowledge(struct sctp_sender *s, uint32_t cumulative, uint32_t window_bytes, const uint8_t *gaps, uint32_t gap_count,
                                   uint64_t now_ns);

/* The time is now_ns; does what the retransmission timer does if that is due. */
enum sctp_outcome sctp_expire(struct sctp_sender *s, uint64_t now_ns);

/* The stream was reset (RFC 6525): its sequence numbers begin anew. */
void sctp_reset_stream(struct sctp_sender *s, uint16_t stream);

#endif
