/* SRTP protection of RTP packets (RFC 3711, RFC 7714) with keys kept expanded: per packet only the IV changes.
 *
 * One session = one direction of one viewer with one SSRC. SRTCP has other derived keys and its own index (RFC 3711 4.3) and is not
 * made here. The caller sees to it that an index is never used for different octets.
 */
#ifndef APPLIANCE_SRTP_H
#define APPLIANCE_SRTP_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "gcm.h"

/* DTLS-SRTP's numbers of the protection profiles (RFC 5764 4.1.2, RFC 7714 14.2). */
enum srtp_profile { SRTP_AES128_CM_SHA1_80 = 0x0001, SRTP_AEAD_AES_128_GCM = 0x0007 };

#define SRTP_KEY_BYTES 16u
#define SRTP_SALT_BYTES_MAX 14u
#define SRTP_AUTHENTICATION_KEY_BYTES 20u
#define SRTP_INDEX_MAX ((1ull << 48) - 1) /* RFC 3711 9.2: a master key protects at most 2^48 packets */

struct srtp_session {
    enum srtp_profile profile;
    struct gcm gcm;              /* AES-GCM profile */
    EVP_CIPHER_CTX *cipher;      /* AES-CM profile */
    EVP_MAC_CTX *authentication; /* AES-CM profile */
    uint8_t salt[SRTP_SALT_BYTES_MAX];
    size_t tag_bytes;
};

/* Session key, salt and authentication key of RTP (RFC 3711 4.3.1 with key derivation rate 0; RFC 7714 11). `salt` has
 * srtp_salt_bytes() octets; what is derived has as many. 0, or -1 if OpenSSL refused. */
int srtp_derive(enum srtp_profile profile, const uint8_t *master_key, const uint8_t *master_salt, uint8_t *key, uint8_t *salt,
                uint8_t *authentication_key);
/* Octets of salt: 14 or 12; 0 for a profile that is not served. */
size_t srtp_salt_bytes(enum srtp_profile profile);

/* Opens a session from DTLS's master key and salt: 0, or -1 (profile not served, OpenSSL refused) with nothing left open. */
int srtp_open(struct srtp_session *session, enum srtp_profile profile, const uint8_t *master_key, const uint8_t *master_salt);
/* The same from session keys, with AES-GCM by this route. */
int srtp_open_derived(struct srtp_session *session, enum srtp_profile profile, enum gcm_route route, const uint8_t *key,
                      const uint8_t *salt, const uint8_t *authentication_key);
/* Frees the contexts and zeroes the session; it may be closed twice. */
void srtp_close(struct srtp_session *session);

/* Encrypts `payload` behind the `header_bytes` of RTP header (with extension) that already stand in `packet`, and appends the tag.
 * `packet` needs room for header, payload and session->tag_bytes and does not overlap `payload`. `index` = ROC << 16 | SEQ.
 * Returns the packet's octets, 0 if OpenSSL failed. */
size_t srtp_protect_packet(struct srtp_session *session, uint64_t index, uint8_t *packet, size_t header_bytes, const uint8_t *payload,
                           size_t payload_bytes);

#endif
