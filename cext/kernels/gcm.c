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
static enum gcm_route fastest = GCM_OPENSSL;
static pthread_once_t looked_for = PTHREAD_ONCE_INIT;

static int open_openssl(struct gcm *gcm, const uint8_t *key)
{
    gcm->context = EVP_CIPHER_CTX_new();
    if (gcm->context && cipher && EVP_EncryptInit_ex2(gcm->context, cipher, key, NULL, NULL) == 1)
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
    return EVP_EncryptInit_ex2(gcm->context, NULL, NULL, iv, NULL) == 1 &&
                   EVP_EncryptUpdate(gcm->context, NULL, &written, header, (int)header_bytes) == 1 &&
                   EVP_EncryptUpdate(gcm->context, target, &written, source, (int)bytes) == 1 &&
                   EVP_EncryptFinal_ex(gcm->context, target + bytes, &written) == 1 &&
                   EVP_CIPHER_CTX_get_params(gcm->context, tag) == 1
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

static int open_ipsec_mb(struct gcm *gcm, const uint8_t *key)
{
    size_t bytes = (sizeof(struct gcm_key_data) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    if (!library || !(gcm->expanded_key = aligned_alloc(CACHE_LINE, bytes)))
        return -1;
    IMB_AES128_GCM_PRE(library, key, gcm->expanded_key);
    return 0;
}

static void close_ipsec_mb(struct gcm *gcm)
{
    if (gcm->expanded_key)
        OPENSSL_cleanse(gcm->expanded_key, sizeof(struct gcm_key_data));
    free(gcm->expanded_key);
}

static void seal_ipsec_mb(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source,
                          size_t bytes, uint8_t *target)
{
    struct gcm_context_data state;
    IMB_AES128_GCM_ENC(library, gcm->expanded_key, &state, target, source, bytes, iv, header, header_bytes, target + bytes, GCM_TAG_BYTES);
}

/* Whether both routes give the same octets, for a sample of odd length. */
static int agrees_with_openssl(void)
{
    uint8_t key[GCM_KEY_BYTES], iv[GCM_IV_BYTES], source[SAMPLE_BYTES - 1], sealed[2][SAMPLE_BYTES - 1 + GCM_TAG_BYTES];
    struct gcm both[2] = {{0}, {0}};
    memset(key, 0x4b, sizeof key);
    memset(iv, 0x17, sizeof iv);
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)(i * 7);
    int agree = !open_openssl(&both[0], key) && !open_ipsec_mb(&both[1], key) &&
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
    fastest = library && agrees_with_openssl() ? GCM_IPSEC_MB : GCM_OPENSSL;
}

#else

static int open_ipsec_mb(struct gcm *gcm, const uint8_t *key) { return (void)gcm, (void)key, -1; }
static void close_ipsec_mb(struct gcm *gcm) { (void)gcm; }
static void seal_ipsec_mb(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source,
                          size_t bytes, uint8_t *target)
{
    (void)gcm, (void)iv, (void)header, (void)header_bytes, (void)source, (void)bytes, (void)target;
}
static void look_for_routes(void) { cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL); }

#endif

enum gcm_route gcm_route(void)
{
    pthread_once(&looked_for, look_for_routes);
    return fastest;
}

int gcm_open(struct gcm *gcm, enum gcm_route route, const uint8_t *key)
{
    *gcm = (struct gcm){0};
    if (route > gcm_route())
        return -1;
    return route == GCM_IPSEC_MB ? open_ipsec_mb(gcm, key) : open_openssl(gcm, key);
}

void gcm_close(struct gcm *gcm)
{
    EVP_CIPHER_CTX_free(gcm->context); /* clears the key schedule */
    close_ipsec_mb(gcm);
    *gcm = (struct gcm){0};
}

int gcm_seal(struct gcm *gcm, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source, size_t bytes,
             uint8_t *target)
{
    if (!gcm->expanded_key)
        return seal_openssl(gcm, iv, header, header_bytes, source, bytes, target);
    seal_ipsec_mb(gcm, iv, header, header_bytes, source, bytes, target);
    return 0;
}
