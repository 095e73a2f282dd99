#include "gcm.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)
#define WITH_IPSEC_MB 1
#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#endif

#define CACHE_LINE 64u
#define SAMPLE_BYTES 1000u

/* Fetched once: OpenSSL 3's implicit fetch costs more than encrypting a small packet. It lives as long as the process. */
static EVP_CIPHER *cipher;
static int there[GCM_ROUTES]; /* and gives OpenSSL's octets */
static enum gcm_route fastest;
static pthread_once_t looked_for = PTHREAD_ONCE_INIT;

static int open_openssl(struct gcm *gcm, const uint8_t *key)
{
    gcm->key.context = EVP_CIPHER_CTX_new();
    if (gcm->key.context && cipher && EVP_EncryptInit_ex2(gcm->key.context, cipher, key, NULL, NULL) == 1)
        return 0;
    gcm_close(gcm);
    return -1;
}

static int seal_openssl(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source,
                        size_t bytes, uint8_t *target)
{
    OSSL_PARAM tag[] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, target + bytes, GCM_TAG_BYTES),
                        OSSL_PARAM_construct_end()};
    int written;
    return EVP_EncryptInit_ex2(gcm->key.context, NULL, NULL, iv, NULL) == 1 &&
                   EVP_EncryptUpdate(gcm->key.context, NULL, &written, header, (int)header_bytes) == 1 &&
                   EVP_EncryptUpdate(gcm->key.context, target, &written, source, (int)bytes) == 1 &&
                   EVP_EncryptFinal_ex(gcm->key.context, target + bytes, &written) == 1 &&
                   EVP_CIPHER_CTX_get_params(gcm->key.context, tag) == 1
               ? 0
               : -1;
}

#if WITH_IPSEC_MB

#define LIBRARY "libIPSec_MB.so.1"

static IMB_MGR *library; /* lives as long as the process */

/* The library's functions, if it is the version whose structures were compiled in and the processor has the instructions. */
static IMB_MGR *load_library(void)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return NULL;
    /* POSIX lets dlsym's result become a function by way of memory only. */
    unsigned (*version)(void);
    IMB_MGR *(*allocate)(uint64_t);
    void (*start)(IMB_MGR *, IMB_ARCH *);
    *(void **)&version = dlsym(handle, "imb_get_version");
    *(void **)&allocate = dlsym(handle, "alloc_mb_mgr");
    *(void **)&start = dlsym(handle, "init_mb_mgr_auto");
    IMB_MGR *loaded = version && allocate && start && version() == IMB_VERSION_NUM ? allocate(0) : NULL;
    if (!loaded)
        return NULL;
    start(loaded, NULL);
    const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
    return (loaded->features & needed) == needed && loaded->gcm128_pre && loaded->gcm128_enc ? loaded : NULL;
}

/* Whether it encrypts four blocks with one instruction. */
static int library_is_wide(void)
{
    const uint64_t needed = IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;
    return library && (library->features & needed) == needed;
}

static int open_ipsec_mb(struct gcm *gcm, const uint8_t *key)
{
    size_t bytes = (sizeof(struct gcm_key_data) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    if (!library || !(gcm->key.ipsec_mb = aligned_alloc(CACHE_LINE, bytes)))
        return -1;
    IMB_AES128_GCM_PRE(library, key, gcm->key.ipsec_mb);
    return 0;
}

static void close_ipsec_mb(struct gcm *gcm)
{
    if (gcm->key.ipsec_mb)
        OPENSSL_cleanse(gcm->key.ipsec_mb, sizeof(struct gcm_key_data));
    free(gcm->key.ipsec_mb);
}

static void seal_ipsec_mb(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source,
                          size_t bytes, uint8_t *target)
{
    struct gcm_context_data state;
    IMB_AES128_GCM_ENC(library, gcm->key.ipsec_mb, &state, target, source, bytes, iv, header, header_bytes, target + bytes, GCM_TAG_BYTES);
}

#else

static void *library;
static void *load_library(void) { return NULL; }
static int library_is_wide(void) { return 0; }
static int open_ipsec_mb(struct gcm *gcm, const uint8_t *key) { return (void)gcm, (void)key, -1; }
static void close_ipsec_mb(struct gcm *gcm) { (void)gcm; }
static void seal_ipsec_mb(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source,
                          size_t bytes, uint8_t *target)
{
    (void)gcm, (void)iv, (void)header, (void)header_bytes, (void)source, (void)bytes, (void)target;
}

#endif

static int open_vaes(struct gcm *gcm, const uint8_t *key)
{
    if (!gcm_vaes_is_there())
        return -1;
    gcm_vaes_expand(&gcm->key.vaes, key);
    return 0;
}

static int open_route(struct gcm *gcm, enum gcm_route route, const uint8_t *key)
{
    *gcm = (struct gcm){.route = route};
    switch (route) {
    case GCM_OPENSSL: return open_openssl(gcm, key);
    case GCM_IPSEC_MB: return open_ipsec_mb(gcm, key);
    case GCM_VAES: return open_vaes(gcm, key);
    case GCM_ROUTES: break;
    }
    return -1;
}

/* Whether a route gives OpenSSL's octets, for a sample of odd length. */
static int agrees_with_openssl(enum gcm_route route)
{
    uint8_t key[GCM_KEY_BYTES], iv[GCM_IV_BYTES], source[SAMPLE_BYTES - 1], sealed[2][SAMPLE_BYTES - 1 + GCM_TAG_BYTES];
    struct gcm both[2] = {{0}, {0}};
    memset(key, 0x4b, sizeof key);
    memset(iv, 0x17, sizeof iv);
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)(i * 7);
    int agree = !open_route(&both[0], GCM_OPENSSL, key) && !open_route(&both[1], route, key) &&
                !gcm_seal(&both[0], iv, source, 28, source, sizeof source, sealed[0]) &&
                !gcm_seal(&both[1], iv, source, 28, source, sizeof source, sealed[1]) && !memcmp(sealed[0], sealed[1], sizeof sealed[0]);
    gcm_close(&both[0]);
    gcm_close(&both[1]);
    return agree;
}

static void look_for_routes(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    library = load_library();
    for (enum gcm_route route = GCM_OPENSSL; route < GCM_ROUTES; route++)
        there[route] = agrees_with_openssl(route);
    /* Measured: 187 ns a packet of 1,052 octets by gcm_vaes.c, 284 by ipsec-mb 1.3, which has nothing between AVX and AVX-512, 541 by
     * OpenSSL 3.0 (EPYC 7003, 2026-11-28). */
    fastest = there[GCM_IPSEC_MB] && (library_is_wide() || !there[GCM_VAES]) ? GCM_IPSEC_MB : there[GCM_VAES] ? GCM_VAES : GCM_OPENSSL;
}

enum gcm_route gcm_route(void)
{
    pthread_once(&looked_for, look_for_routes);
    return fastest;
}

int gcm_has(enum gcm_route route)
{
    pthread_once(&looked_for, look_for_routes);
    return route < GCM_ROUTES && there[route];
}

int gcm_open(struct gcm *gcm, enum gcm_route route, const uint8_t *key)
{
    *gcm = (struct gcm){0};
    return gcm_has(route) ? open_route(gcm, route, key) : -1;
}

void gcm_close(struct gcm *gcm)
{
    switch (gcm->route) {
    case GCM_OPENSSL: EVP_CIPHER_CTX_free(gcm->key.context); break; /* clears the key schedule */
    case GCM_IPSEC_MB: close_ipsec_mb(gcm); break;
    case GCM_VAES: case GCM_ROUTES: break;
    }
    OPENSSL_cleanse(gcm, sizeof *gcm);
}

int gcm_seal(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source, size_t bytes,
             uint8_t *target)
{
    switch (gcm->route) {
    case GCM_VAES: gcm_vaes_seal(&gcm->key.vaes, iv, header, header_bytes, source, bytes, target); return 0;
    case GCM_IPSEC_MB: seal_ipsec_mb(gcm, iv, header, header_bytes, source, bytes, target); return 0;
    case GCM_OPENSSL: return seal_openssl(gcm, iv, header, header_bytes, source, bytes, target);
    case GCM_ROUTES: break;
    }
    return -1;
}
