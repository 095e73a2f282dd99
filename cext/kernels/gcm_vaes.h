/* AES-128-GCM encryption by VAES and VPCLMULQDQ on 256 bits: for processors that have both but not AVX-512.
 *
 * Used by gcm.c, which has proven it against OpenSSL on this machine first. No table is looked up and nothing branches on a key or an
 * octet, so that time tells neither. Encrypts only.
 */
#ifndef APPLIANCE_GCM_VAES_H
#define APPLIANCE_GCM_VAES_H

#include <stddef.h>
#include <stdint.h>

#define GCM_VAES_ROUND_KEYS 11u
#define GCM_VAES_POWERS 17u /* sixteen blocks at once, and the block of lengths */

/* 464 octets, where a class's keys share the cache with everything else of its viewers. */
struct gcm_vaes_key {
    uint8_t round_keys[GCM_VAES_ROUND_KEYS][16];
    uint8_t powers[GCM_VAES_POWERS][16]; /* of the hash key, highest first, times x: reflected products need no shift then */
    uint8_t spare[16]; /* read beside the last power, for a block that is zero */
};

/* Whether the processor and the system know the instructions. */
int gcm_vaes_is_there(void);
void gcm_vaes_expand(struct gcm_vaes_key *key, const uint8_t *octets);
/* As gcm_seal(); the header has at most 256 octets. */
void gcm_vaes_seal(const struct gcm_vaes_key *key, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source,
                   size_t bytes, uint8_t *target);

#endif
