/* AES-128-GCM under a key that stays expanded: by the fastest of Intel's ipsec-mb, gcm_vaes.c and OpenSSL that this machine has.
 *
 * Used by srtp.c for every packet of every viewer. Routes are looked for once, when the first key is opened, and must give OpenSSL's
 * octets for a sample. Each may be asked for by name, for tests. Checks no tags: it only encrypts.
 */
#ifndef APPLIANCE_GCM_H
#define APPLIANCE_GCM_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "gcm_vaes.h"

#define GCM_KEY_BYTES 16u
#define GCM_IV_BYTES 12u
#define GCM_TAG_BYTES 16u

enum gcm_route { GCM_OPENSSL, GCM_IPSEC_MB, GCM_VAES, GCM_ROUTES };

/* An expanded key is cleared by gcm_close() and must not be moved before. */
struct gcm {
    enum gcm_route route;
    union {
        EVP_CIPHER_CTX *context;
        struct gcm_vaes_key vaes;
        void *ipsec_mb;
    } key;
};

/* The fastest route of this machine. */
enum gcm_route gcm_route(void);
int gcm_has(enum gcm_route route);
/* 0, or -1 if there is no such route or no memory, with nothing left open. */
int gcm_open(struct gcm *gcm, enum gcm_route route, const uint8_t *key);
/* Clears the key. It may be closed twice. */
void gcm_close(struct gcm *gcm);
/* Encrypts `bytes` octets from `source` to `target` (apart from each other) and writes the tag of both and of `header` behind them.
 * 0, or -1 if OpenSSL failed. */
int gcm_seal(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source, size_t bytes,
             uint8_t *target);

#endif
