# distutils: sources = cext/kernels/recipients.c cext/kernels/sctp.c cext/kernels/dtls.c cext/kernels/crc32c.c cext/kernels/datagrams.c
# cython: embedsignature=True
"""Data-channel messages to many viewers in one call: SCTP's sending half, DTLS and the socket in C, and the plain acknowledgements that come back.

Used by appliance/fanout on the event loop alone: none of these objects may be used by another thread. Setting up and all other packets are aiortc's.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

FRAGMENT_BYTES_MAX = SCTP_PAYLOAD_BYTES_MAX


def crc32c(const uint8_t[::1] octets not None, bint by_table=False):
    """The checksum of SCTP packets (RFC 9260 appendix A)."""
    cdef const uint8_t *first = &octets[0] if octets.shape[0] else NULL
    return crc32c_table_c(first, octets.shape[0]) if by_table else crc32c_c(first, octets.shape[0])


cdef sctp_outcome _to_link(void *carrier, const uint8_t *packet, size_t bytes) noexcept nogil:
    cdef int outcome = dtls_send(<dtls_link *>carrier, packet, bytes)
    return SCTP_SENT if outcome == DTLS_DONE else SCTP_SKIPPED if outcome == DTLS_NOT_TAKEN else SCTP_BROKEN


cdef sctp_outcome _to_python(void *carrier, const uint8_t *packet, size_t bytes) noexcept with gil:
    try:
        (<object>carrier)(packet[:bytes])
    except Exception:
        return SCTP_BROKEN
    return SCTP_SENT


cdef class Link:
    """The DTLS connection of one viewer after its handshake. `functions`: the addresses of SSL_write, SSL_read, SSL_get_error, ERR_clear_error,
    BIO_write and BIO_read; ssl, incoming, outgoing: the addresses of `connection`'s SSL and its memory BIOs."""

    cdef dtls_link link
    cdef object connection

    def __cinit__(self, functions, uintptr_t ssl, uintptr_t incoming, uintptr_t outgoing, connection):
        cdef uintptr_t write, read, get_error, clear_errors, bio_write, bio_read
        write, read, get_error, clear_errors, bio_write, bio_read = functions
        self.link.library = dtls_library(<void *>write, <void *>read, <void *>get_error, <void *>clear_errors, <void *>bio_write, <void *>bio_read)
        self.link.ssl, self.link.incoming, self.link.outgoing = <void *>ssl, <void *>incoming, <void *>outgoing
        self.connection = connection  # keeps what the pointers point to

    def __dealloc__(self):
        if self.link.has_path:
            destination_close(&self.link.destination)

    def redirect(self, int fd, remote):
        """Sends by this socket (duplicated) to this (host, port) from now on; OSError if it is none."""
        cdef destination_c target
        host, port = remote
        cdef int error = destination_open(&target, fd, host.encode(), port, SEND_SINGLY)
        if error:
            raise OSError(-error, "the viewer's path cannot be opened")
        if self.link.has_path:
            destination_close(&self.link.destination)
        self.link.destination, self.link.has_path = target, 1

    def send(self, const uint8_t[::1] message not None):
        """Sends one message; whether the socket took it. ConnectionError if DTLS has ended."""
        cdef int outcome
        with nogil:
            outcome = dtls_send(&self.link, &message[0], message.shape[0])
        if outcome == DTLS_BROKEN:
            raise ConnectionError("the DTLS connection has broken")
        return outcome == DTLS_DONE

    def receive(self, const uint8_t[::1] datagram not None, Sender sender, uint64_t now_ns):
        """Takes a datagram of DTLS: acknowledgements go to `sender` (or None), the other messages are returned as a list, or None.

        ConnectionResetError when the viewer closed, ConnectionAbortedError when DTLS broke."""
        cdef uint8_t buffer[DTLS_DATAGRAM_BYTES_MAX]
        cdef int count = 0
        cdef uint32_t records = 0
        cdef sctp_outcome outcome
        if not 0 < datagram.shape[0] <= DTLS_DATAGRAM_BYTES_MAX:
            return None
        dtls_take(&self.link, &datagram[0], datagram.shape[0])
        messages = None
        while records < DTLS_RECORDS_MAX:
            count = dtls_next(&self.link, buffer)
            if count <= 0:
                break
            records += 1
            outcome = SCTP_FOREIGN if sender is None else sctp_receive(&sender.sender, buffer, count, now_ns)
            if outcome == SCTP_FOREIGN or outcome == SCTP_MALFORMED:
                messages = messages or []
                messages.append(buffer[:count])
        dtls_flush(&self.link)
        if count == DTLS_CLOSED:
            raise ConnectionResetError("the viewer closed the DTLS connection")
        if count == DTLS_BROKEN:
            raise ConnectionAbortedError("the DTLS connection has broken")
        return messages


cdef class Sender:
    """The sending half of one association. Its packets go to `output`: a Link, or a callable that takes octets.

    Holds `held_bytes_max` octets at most that are not acknowledged, besides the last message. Times are any monotonic clock's, in ns."""

    cdef sctp_sender sender
    cdef readonly object output

    def __cinit__(self, uint32_t first_tsn, uint32_t held_bytes_max, output):
        self.output = output
        if isinstance(output, Link):
            sctp_create(&self.sender, first_tsn, held_bytes_max, _to_link, &(<Link>output).link)
        else:
            sctp_create(&self.sender, first_tsn, held_bytes_max, <sctp_output>_to_python, <void *>output)

    def __dealloc__(self):
        sctp_destroy(&self.sender)

    def open(self, uint16_t local_port, uint16_t remote_port, uint32_t local_tag, uint32_t remote_tag, uint32_t window_bytes, uint32_t message_bytes_max):
        """The association is established; before that, messages are skipped."""
        sctp_open(&self.sender, local_port, remote_port, local_tag, remote_tag, window_bytes, message_bytes_max)

    def close(self):
        """The association has ended: nothing is sent any more."""
        sctp_close(&self.sender)

    def send(self, message, stream, protocol, bint ordered, resends_max, uint64_t now_ns):
        """Sends a message; `resends_max` None: until it arrives. False if it was skipped, or DTLS has ended."""
        cdef sctp_manner manner = sctp_manner(stream, ordered, protocol, SCTP_RESENDS_UNLIMITED if resends_max is None else resends_max)
        cdef sctp_message *made = _message(message)
        cdef sctp_outcome outcome
        with nogil:
            outcome = sctp_send(&self.sender, made, &manner, now_ns)
            sctp_message_release(made)
        return outcome == SCTP_SENT

    def receive(self, const uint8_t[::1] packet not None, uint64_t now_ns):
        """Takes a packet of SCTP; False if it is not a plain acknowledgement."""
        return packet.shape[0] > 0 and sctp_receive(&self.sender, &packet[0], packet.shape[0], now_ns) not in (SCTP_FOREIGN, SCTP_MALFORMED)

    def acknowledge(self, uint32_t cumulative, uint32_t window_bytes, gaps, uint64_t now_ns):
        """Takes a SACK that came beside other chunks; `gaps`: (first, last) offsets. False if it acknowledges what was never sent."""
        cdef bytes octets = b"".join(first.to_bytes(2, "big") + last.to_bytes(2, "big") for first, last in gaps)
        return sctp_acknowledge(&self.sender, cumulative, window_bytes, octets, len(octets) // 4, now_ns) != SCTP_MALFORMED

    def expire(self, uint64_t now_ns):
        """Does what is due by the retransmission timer."""
        sctp_expire(&self.sender, now_ns)

    def reset_stream(self, uint16_t stream):
        """The stream begins anew (RFC 6525)."""
        sctp_reset_stream(&self.sender, stream)

    @property
    def watched(self):
        """Whether a timer of the owner will call expire()."""
        return bool(self.sender.watched)

    @watched.setter
    def watched(self, bint running):
        self.sender.watched = running

    @property
    def broken(self):
        """Whether DTLS has ended under the association."""
        return bool(self.sender.broken)

    @property
    def due_ns(self):
        """When expire() has something to do; 0: never."""
        return self.sender.due_ns

    @property
    def next_tsn(self):
        """Number of the next chunk."""
        return self.sender.next

    @property
    def messages_lost(self):
        """Messages given up without word of their arrival, since a recipient's counts were last taken."""
        return self.sender.messages_lost

    @property
    def chunks(self):
        """Chunks that the viewer has not acknowledged."""
        return <uint32_t>(self.sender.next - self.sender.acked - 1)

    @property
    def held_bytes(self):
        """Octets that are in flight, wait for their turn or to be sent again."""
        return self.sender.held_bytes

    @property
    def flight_bytes(self):
        """Octets in flight."""
        return self.sender.flight_bytes


cdef sctp_message *_message(message) except NULL:
    cdef const uint8_t[::1] octets = message
    cdef sctp_message *made = sctp_message_create(&octets[0] if octets.shape[0] else NULL, octets.shape[0])
    if made is NULL:
        raise MemoryError
    return made


cdef class Recipient:
    """One viewer's place among those that a feed sends to: how it takes messages, and whether it may have what identifies a patient. Counts until taken."""

    cdef recipient_c recipient
    cdef readonly Sender sender
    cdef readonly object owner

    def __cinit__(self, Sender sender not None, stream, protocol, bint ordered, resends_max, bint identifying_allowed, owner):
        self.sender, self.owner = sender, owner
        self.recipient.sender, self.recipient.identifying_allowed = &sender.sender, identifying_allowed
        self.recipient.manner = sctp_manner(stream, ordered, protocol, SCTP_RESENDS_UNLIMITED if resends_max is None else resends_max)

    def take_counts(self):
        """Messages (sent, skipped, refused, lost) since the last time. Of those sent, lost are those that the viewer never acknowledged."""
        counts = self.recipient.sent, self.recipient.skipped, self.recipient.refused, self.sender.sender.messages_lost
        self.recipient.sent = self.recipient.skipped = self.recipient.refused = self.sender.sender.messages_lost = 0
        return counts


cdef class Recipients:
    """Those that a feed sends to, at most `capacity`. `identifying_allowed` False keeps what may identify a patient from all, whatever each may have."""

    cdef recipient_c **members
    cdef uint32_t count, capacity, first
    cdef bint identifying_allowed
    cdef set held

    def __cinit__(self, bint identifying_allowed, uint32_t capacity):
        self.members = <recipient_c **>calloc(capacity, sizeof(recipient_c *))
        if self.members is NULL:
            raise MemoryError
        self.capacity, self.identifying_allowed, self.held = capacity, identifying_allowed, set()

    def __dealloc__(self):
        free(self.members)

    def __len__(self):
        return self.count

    def add(self, Recipient recipient not None):
        """Takes one in; ValueError if it is in, OverflowError if there is no room."""
        if recipient in self.held:
            raise ValueError("it is one of the recipients")
        if self.count == self.capacity:
            raise OverflowError(f"no more than {self.capacity} recipients")
        self.held.add(recipient)
        self.members[self.count] = &recipient.recipient
        self.count += 1

    def discard(self, Recipient recipient not None):
        """Takes one out, if it is in."""
        cdef uint32_t at = 0
        if recipient not in self.held:
            return
        while self.members[at] != &recipient.recipient:
            at += 1
        self.count -= 1
        self.members[at] = self.members[self.count]
        self.held.discard(recipient)

    def send(self, message, bint identifying, uint64_t now_ns):
        """Sends a message to all, beginning with another one each time; returns those that their owners must look after."""
        cdef uint32_t needing
        cdef sctp_message *made = _message(message)
        with nogil:
            needing = recipients_send(self.members, self.count, self.first, made, identifying, self.identifying_allowed, now_ns)
            sctp_message_release(made)
        self.first = (self.first + 1) % self.count if self.count else 0
        return [each for each in self.held if (<Recipient>each).recipient.needs_attention] if needing else []
