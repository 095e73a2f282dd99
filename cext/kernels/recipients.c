#include "recipients.h"

static void offer(struct recipient *recipient, struct sctp_message *message, int withheld, uint64_t now_ns)
{
    struct sctp_sender *sender = recipient->sender;
    recipient->needs_attention = 0;
    if (withheld) {
        recipient->refused++;
        return;
    }
    uint32_t first = sender->next;
    enum sctp_outcome outcome = sctp_send(sender, message, &recipient->manner, now_ns);
    /* What has got its numbers was sent, though the socket took nothing of it: then it is lost, and will be counted as that. */
    if (sender->next != first)
        recipient->sent++;
    else
        recipient->skipped++;
    recipient->needs_attention = outcome == SCTP_BROKEN || (sender->due_ns && !sender->watched);
}

uint32_t recipients_send(struct recipient **recipients, uint32_t count, uint32_t first, struct sctp_message *message, int identifying,
                         int identifying_allowed, uint64_t now_ns)
{
    uint32_t needing = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct recipient *recipient = recipients[(first + i) % count];
        offer(recipient, message, identifying && !(identifying_allowed && recipient->identifying_allowed), now_ns);
        needing += recipient->needs_attention;
    }
    return needing;
}
