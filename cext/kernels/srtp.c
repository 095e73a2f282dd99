#include "srtp.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

#define GCM_SALT_BYTES 12u
#define CM_SALT_BYTES 14u
#define CM_TAG_BYTES 10u
#define SHA1_BYTES 20u
#define BLOCK_BYTES 16u
/* RFC 3711 4.3.1: labels of the RTP keys. */
enum label { LABEL_ENCRYPTION = 0, LABEL_AUTHENTICATION = 1, LABEL_SALT = 2 };

/* Fetched once: OpenSSL 3's implicit fetch costs more than encrypting a small packet. They live as long as the process. */
static EVP_CIPHER *counter_cipher;
static EVP_MAC *hmac;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch_algorithms(void)
{
    counter_cipher = EVP_CIPHER_fetch(NULL, "AES-128-CTR", NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

size_t srtp_salt_bytes(enum srtp_profile profile)
{
    switch (profile) {
    case SRTP_AEAD_AES_128_GCM: return GCM_SALT_BYTES;
    case SRTP_AES128_CM_SHA1_80: return CM_SALT_BYTES;
    }
    return 0;
}

/* RFC 3711 4.3.3: AES in counter mode over zeros; x = label * 2^48 xor master salt, IV = x * 2^16. */
static int derive_one(EVP_CIPHER_CTX *context, const uint8_t *master_key, const uint8_t *salt14, enum label label, uint8_t *derived,
                      size_t derived_bytes)
{
    static const uint8_t zeros[2 * BLOCK_BYTES];
    uint8_t iv[BLOCK_BYTES] = {0};
    int written = 0;
    memcpy(iv, salt14, CM_SALT_BYTES);
    iv[7] ^= (uint8_t)label;
    return EVP_EncryptInit_ex2(context, counter_cipher, master_key, iv, NULL) == 1 &&
                   EVP_EncryptUpdate(context, derived, &written, zeros, (int)derived_bytes) == 1
               ? 0
               : -1;
}

int srtp_derive(enum srtp_profile profile, const uint8_t *master_key, const uint8_t *master_salt, uint8_t *key, uint8_t *salt,
                uint8_t *authentication_key)
{
    /* RFC 7714 11: a 12-octet master salt is followed by zeros. */
    uint8_t salt14[CM_SALT_BYTES] = {0};
    pthread_once(&fetched, fetch_algorithms);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (!context || !counter_cipher || !srtp_salt_bytes(profile)) {
        EVP_CIPHER_CTX_free(context);
        return -1;
    }
    memcpy(salt14, master_salt, srtp_salt_bytes(profile));
    int failed = derive_one(context, master_key, salt14, LABEL_ENCRYPTION, key, SRTP_KEY_BYTES) |
                 derive_one(context, master_key, salt14, LABEL_SALT, salt, srtp_salt_bytes(profile)) |
                 derive_one(context, master_key, salt14, LABEL_AUTHENTICATION, authentication_key, SRTP_AUTHENTICATION_KEY_BYTES);
    EVP_CIPHER_CTX_free(context);
    OPENSSL_cleanse(salt14, sizeof salt14);
    return failed;
}

static int open_counter_mode(struct srtp_session *session, const uint8_t *key, const uint8_t *authentication_key)
{
    OSSL_PARAM digest[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA1", 0), OSSL_PARAM_construct_end()};
    session->tag_bytes = CM_TAG_BYTES;
    if (!counter_cipher || !hmac || !(session->cipher = EVP_CIPHER_CTX_new()) || !(session->authentication = EVP_MAC_CTX_new(hmac)))
        return -1;
    return EVP_EncryptInit_ex2(session->cipher, counter_cipher, key, NULL, NULL) == 1 &&
                   EVP_MAC_init(session->authentication, authentication_key, SRTP_AUTHENTICATION_KEY_BYTES, digest) == 1
               ? 0
               : -1;
}

static int open_gcm(struct srtp_session *session, enum gcm_route route, const uint8_t *key)
{
    session->tag_bytes = GCM_TAG_BYTES;
    return gcm_open(&session->gcm, route, key);
}

int srtp_open_derived(struct srtp_session *session, enum srtp_profile profile, enum gcm_route route, const uint8_t *key,
                      const uint8_t *salt, const uint8_t *authentication_key)
{
    pthread_once(&fetched, fetch_algorithms);
    memset(session, 0, sizeof *session);
    if (!srtp_salt_bytes(profile))
        return -1;
    session->profile = profile;
    memcpy(session->salt, salt, srtp_salt_bytes(profile));
    int failed = profile == SRTP_AEAD_AES_128_GCM ? open_gcm(session, route, key) : open_counter_mode(session, key, authentication_key);
    if (failed)
        srtp_close(session);
    return failed;
}

int srtp_open(struct srtp_session *session, enum srtp_profile profile, const uint8_t *master_key, const uint8_t *master_salt)
{
    uint8_t key[SRTP_KEY_BYTES], salt[SRTP_SALT_BYTES_MAX], authentication_key[SRTP_AUTHENTICATION_KEY_BYTES];
    memset(session, 0, sizeof *session);
    int failed = srtp_derive(profile, master_key, master_salt, key, salt, authentication_key);
    if (!failed)
        failed = srtp_open_derived(session, profile, gcm_route(), key, salt, authentication_key);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(salt, sizeof salt);
    OPENSSL_cleanse(authentication_key, sizeof authentication_key);
    return failed;
}

void srtp_close(struct srtp_session *session)
{
    /* All three clear the key schedules that they hold. */
    gcm_close(&session->gcm);
    EVP_CIPHER_CTX_free(session->cipher);
    EVP_MAC_CTX_free(session->authentication);
    OPENSSL_cleanse(session, sizeof *session);
}

static inline void xor_index(uint8_t *at, uint64_t index)
{
    for (int i = 0; i < 6; i++)
        at[i] ^= (uint8_t)(index >> (40 - 8 * i));
}

static size_t protect_gcm(struct srtp_session *session, uint64_t index, uint8_t *packet, size_t header_bytes, const uint8_t *payload,
                          size_t payload_bytes)
{
    /* RFC 7714 8.1: IV = (00 00 | SSRC | ROC | SEQ) xor salt. The SSRC stands in octets 8 to 11 of the header. */
    uint8_t iv[GCM_SALT_BYTES];
    memcpy(iv, session->salt, sizeof iv);
    for (int i = 0; i < 4; i++)
        iv[2 + i] ^= packet[8 + i];
    xor_index(iv + 6, index);
    return gcm_seal(&session->gcm, iv, packet, header_bytes, payload, payload_bytes, packet + header_bytes)
               ? 0
               : header_bytes + payload_bytes + GCM_TAG_BYTES;
}

static size_t protect_counter_mode(struct srtp_session *session, uint64_t index, uint8_t *packet, size_t header_bytes,
                                   const uint8_t *payload, size_t payload_bytes)
{
    /* RFC 3711 4.1.1: IV = salt * 2^16 xor SSRC * 2^64 xor index * 2^16. */
    uint8_t iv[BLOCK_BYTES] = {0};
    memcpy(iv, session->salt, CM_SALT_BYTES);
    for (int i = 0; i < 4; i++)
        iv[4 + i] ^= packet[8 + i];
    xor_index(iv + 8, index);
    uint8_t *target = packet + header_bytes;
    /* RFC 3711 4.2: HMAC-SHA1 over the encrypted packet and the ROC, cut to 80 bits. */
    uint8_t roc[4] = {(uint8_t)(index >> 40), (uint8_t)(index >> 32), (uint8_t)(index >> 24), (uint8_t)(index >> 16)};
    uint8_t digest[SHA1_BYTES] = {0};
    size_t digest_bytes;
    int written;
    int done = EVP_EncryptInit_ex2(session->cipher, NULL, NULL, iv, NULL) == 1 &&
               EVP_EncryptUpdate(session->cipher, target, &written, payload, (int)payload_bytes) == 1 &&
               EVP_MAC_init(session->authentication, NULL, 0, NULL) == 1 &&
               EVP_MAC_update(session->authentication, packet, header_bytes + payload_bytes) == 1 &&
               EVP_MAC_update(session->authentication, roc, sizeof roc) == 1 &&
               EVP_MAC_final(session->authentication, digest, &digest_bytes, sizeof digest) == 1;
    memcpy(target + payload_bytes, digest, CM_TAG_BYTES);
    return done ? header_bytes + payload_bytes + CM_TAG_BYTES : 0;
}

size_t srtp_protect_packet(struct srtp_session *session, uint64_t index, uint8_t *packet, size_t header_bytes, const uint8_t *payload,
                           size_t payload_bytes)
{
    if (index > SRTP_INDEX_MAX)
        return 0;
    return session->profile == SRTP_AEAD_AES_128_GCM
               ? protect_gcm(session, index, packet, header_bytes, payload, payload_bytes)
               : protect_counter_mode(session, index, packet, header_bytes, payload, payload_bytes);
}
