/* Those that a feed of messages goes to, and one message to all of them. Called by cext/messages.pyx on the event loop, without Python's lock. */
#ifndef APPLIANCE_RECIPIENTS_H
#define APPLIANCE_RECIPIENTS_H

#include "sctp.h"

struct recipient {
    struct sctp_sender *sender;
    struct sctp_manner manner;
    uint8_t identifying_allowed;
    uint8_t needs_attention; /* the last message left something to its owner: a timer to start, or an end */
    uint64_t sent, skipped, refused;
};

/* Sends to all, beginning with number `first`. What may identify a patient goes to nobody who may not have it. Returns how many need attention. */
uint32_t recipients_send(struct recipient **recipients, uint32_t count, uint32_t first, struct sctp_message *message, int identifying,
                         int identifying_allowed, uint64_t now_ns);

#endif
