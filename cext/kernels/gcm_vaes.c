#include "gcm_vaes.h"

#include <string.h>

#if defined(__x86_64__)

#include <immintrin.h>

#define WITH_VAES __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq")))
#define BLOCK_BYTES 16u
#define PAIR_BYTES 32u
#define GROUP_PAIRS 8u /* what is encrypted, then hashed, at once */
#define GROUP_BYTES (GROUP_PAIRS * PAIR_BYTES)

typedef __m256i pair; /* two blocks, the first in the low half */

/* A sum of products of blocks before it is reduced: 128-bit halves, each of 255 bits' product with its own weight. */
struct products {
    pair low, middle, high;
};

int gcm_vaes_is_there(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq");
}

static inline WITH_VAES pair load_pair(const uint8_t *at) { return _mm256_loadu_si256((const pair *)at); }
static inline WITH_VAES __m128i load_block(const uint8_t *at) { return _mm_loadu_si128((const __m128i *)at); }

/* SP 800-38D writes a block's polynomial from its first bit on: octets are turned round, bits stay reflected. */
static inline WITH_VAES __m128i turned_block(__m128i block)
{
    return _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

static inline WITH_VAES pair turned(pair blocks)
{
    return _mm256_shuffle_epi8(blocks, _mm256_broadcastsi128_si256(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

static inline WITH_VAES void add_products(struct products *sum, pair blocks, pair powers)
{
    sum->low = _mm256_xor_si256(sum->low, _mm256_clmulepi64_epi128(blocks, powers, 0x00));
    sum->high = _mm256_xor_si256(sum->high, _mm256_clmulepi64_epi128(blocks, powers, 0x11));
    sum->middle = _mm256_xor_si256(sum->middle, _mm256_xor_si256(_mm256_clmulepi64_epi128(blocks, powers, 0x01),
                                                                 _mm256_clmulepi64_epi128(blocks, powers, 0x10)));
}

/* Modulo x^128 + x^7 + x^2 + x + 1, reflected: 64 bits at a time from the low end. */
static inline WITH_VAES __m128i reduced(const struct products *sum)
{
    const __m128i polynomial = _mm_set_epi64x((long long)0xc200000000000000ull, 1);
    __m128i low = _mm_xor_si128(_mm256_castsi256_si128(sum->low), _mm256_extracti128_si256(sum->low, 1));
    __m128i middle = _mm_xor_si128(_mm256_castsi256_si128(sum->middle), _mm256_extracti128_si256(sum->middle, 1));
    __m128i high = _mm_xor_si128(_mm256_castsi256_si128(sum->high), _mm256_extracti128_si256(sum->high, 1));
    middle = _mm_xor_si128(middle, _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, polynomial, 0x10)));
    return _mm_xor_si128(high, _mm_xor_si128(_mm_shuffle_epi32(middle, 0x4e), _mm_clmulepi64_si128(middle, polynomial, 0x10)));
}

static inline WITH_VAES __m128i multiplied(__m128i a, __m128i b)
{
    struct products sum = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    add_products(&sum, _mm256_zextsi128_si256(a), _mm256_zextsi128_si256(b));
    return reduced(&sum);
}

static inline WITH_VAES __m128i encrypted_block(const struct gcm_vaes_key *key, __m128i block)
{
    block = _mm_xor_si128(block, load_block(key->round_keys[0]));
    for (unsigned round = 1; round < GCM_VAES_ROUND_KEYS - 1; round++)
        block = _mm_aesenc_si128(block, load_block(key->round_keys[round]));
    return _mm_aesenclast_si128(block, load_block(key->round_keys[GCM_VAES_ROUND_KEYS - 1]));
}

/* Encrypts pairs in place. `count` is a constant where it is inlined, so that they stay in registers. */
static inline __attribute__((always_inline)) WITH_VAES void encrypt_pairs(const struct gcm_vaes_key *key, pair *pairs, unsigned count)
{
    pair round_key = _mm256_broadcastsi128_si256(load_block(key->round_keys[0]));
    for (unsigned i = 0; i < count; i++)
        pairs[i] = _mm256_xor_si256(pairs[i], round_key);
    for (unsigned round = 1; round < GCM_VAES_ROUND_KEYS - 1; round++) {
        round_key = _mm256_broadcastsi128_si256(load_block(key->round_keys[round]));
        for (unsigned i = 0; i < count; i++)
            pairs[i] = _mm256_aesenc_epi128(pairs[i], round_key);
    }
    round_key = _mm256_broadcastsi128_si256(load_block(key->round_keys[GCM_VAES_ROUND_KEYS - 1]));
    for (unsigned i = 0; i < count; i++)
        pairs[i] = _mm256_aesenclast_epi128(pairs[i], round_key);
}

/* FIPS 197 5.2: each word is the one before it, the first one substituted, and its own of the last key. `at` > 0. */
static inline WITH_VAES void expand(struct gcm_vaes_key *key, unsigned at, __m128i assisted)
{
    __m128i round_key = load_block(key->round_keys[at - 1]);
    round_key = _mm_xor_si128(round_key, _mm_slli_si128(round_key, 4));
    round_key = _mm_xor_si128(round_key, _mm_slli_si128(round_key, 8));
    round_key = _mm_xor_si128(round_key, _mm_shuffle_epi32(assisted, 0xff));
    _mm_storeu_si128((__m128i *)key->round_keys[at], round_key);
}

/* The round's constant is part of the instruction. */
#define EXPAND(at, constant) expand(key, at, _mm_aeskeygenassist_si128(load_block(key->round_keys[at - 1]), constant))

WITH_VAES void gcm_vaes_expand(struct gcm_vaes_key *key, const uint8_t *octets)
{
    memcpy(key->round_keys[0], octets, BLOCK_BYTES);
    EXPAND(1, 0x01), EXPAND(2, 0x02), EXPAND(3, 0x04), EXPAND(4, 0x08), EXPAND(5, 0x10);
    EXPAND(6, 0x20), EXPAND(7, 0x40), EXPAND(8, 0x80), EXPAND(9, 0x1b), EXPAND(10, 0x36);
    /* The hash key times x: shifted by one, and the bit that falls out comes back as the polynomial. */
    __m128i hash_key = turned_block(encrypted_block(key, _mm_setzero_si128()));
    __m128i fallen = _mm_shuffle_epi32(_mm_srai_epi32(hash_key, 31), 0xff);
    __m128i carries = _mm_slli_si128(_mm_srli_epi64(hash_key, 63), 8);
    hash_key = _mm_or_si128(_mm_slli_epi64(hash_key, 1), carries);
    hash_key = _mm_xor_si128(hash_key, _mm_and_si128(fallen, _mm_set_epi64x((long long)0xc200000000000000ull, 1)));
    __m128i power = hash_key;
    for (unsigned i = GCM_VAES_POWERS; i-- > 0; power = multiplied(power, hash_key))
        _mm_storeu_si128((__m128i *)key->powers[i], power);
}

static inline WITH_VAES void hash_pair(const struct gcm_vaes_key *key, struct products *sum, pair blocks, unsigned blocks_left)
{
    add_products(sum, blocks, load_pair(key->powers[GCM_VAES_POWERS - blocks_left]));
}

/* The first octets of two blocks, the others zero. */
static inline WITH_VAES pair first_octets(pair blocks, size_t octets)
{
    static const uint8_t ones_then_zeros[2 * PAIR_BYTES] = {[0 ... PAIR_BYTES - 1] = 0xff};
    return _mm256_and_si256(blocks, load_pair(ones_then_zeros + PAIR_BYTES - octets));
}

static inline WITH_VAES pair load_first(const uint8_t *source, size_t octets)
{
    _Alignas(PAIR_BYTES) uint8_t padded[PAIR_BYTES];
    memcpy(padded, source, octets);
    return first_octets(load_pair(padded), octets);
}

static inline WITH_VAES __m128i hashed_header(const struct gcm_vaes_key *key, const uint8_t *header, size_t header_bytes)
{
    struct products sum = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    unsigned blocks_left = (unsigned)((header_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
    for (; header_bytes > PAIR_BYTES; header += PAIR_BYTES, header_bytes -= PAIR_BYTES, blocks_left -= 2)
        hash_pair(key, &sum, turned(load_pair(header)), blocks_left);
    hash_pair(key, &sum, turned(load_first(header, header_bytes)), blocks_left);
    return reduced(&sum);
}

static inline WITH_VAES pair key_stream(const struct gcm_vaes_key *key, pair *counters)
{
    pair stream = turned(*counters);
    *counters = _mm256_add_epi32(*counters, _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2));
    encrypt_pairs(key, &stream, 1);
    return stream;
}

/* What is less than a group, and the block of lengths. Returns the hash of all. */
static inline WITH_VAES __m128i seal_rest(const struct gcm_vaes_key *key, pair counters, __m128i hash, __m128i lengths,
                                          const uint8_t *source, size_t bytes, uint8_t *target)
{
    struct products sum = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    pair sealed, carried = _mm256_zextsi128_si256(hash), ending = _mm256_zextsi128_si256(lengths);
    unsigned blocks_left = (unsigned)((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES) + 1;
    for (; bytes >= PAIR_BYTES; source += PAIR_BYTES, target += PAIR_BYTES, bytes -= PAIR_BYTES, blocks_left -= 2) {
        sealed = _mm256_xor_si256(key_stream(key, &counters), load_pair(source));
        _mm256_storeu_si256((pair *)target, sealed);
        hash_pair(key, &sum, _mm256_xor_si256(turned(sealed), carried), blocks_left);
        carried = _mm256_setzero_si256();
    }
    if (bytes) {
        _Alignas(PAIR_BYTES) uint8_t last[PAIR_BYTES];
        sealed = first_octets(_mm256_xor_si256(key_stream(key, &counters), load_first(source, bytes)), bytes);
        _mm256_store_si256((pair *)last, sealed);
        memcpy(target, last, bytes);
        sealed = _mm256_xor_si256(turned(sealed), carried);
        if (bytes <= BLOCK_BYTES) { /* the lengths are its second block */
            hash_pair(key, &sum, _mm256_inserti128_si256(sealed, lengths, 1), blocks_left);
            return reduced(&sum);
        }
        hash_pair(key, &sum, sealed, blocks_left);
        carried = _mm256_setzero_si256();
    }
    hash_pair(key, &sum, _mm256_xor_si256(ending, carried), 1);
    return reduced(&sum);
}

WITH_VAES void gcm_vaes_seal(const struct gcm_vaes_key *key, const uint8_t *iv, const uint8_t *header, size_t header_bytes,
                             const uint8_t *source, size_t bytes, uint8_t *target)
{
    uint32_t words[3];
    memcpy(words, iv, sizeof words);
    const __m128i first = _mm_set_epi32(0x01000000, (int)words[2], (int)words[1], (int)words[0]);
    const __m128i lengths = _mm_set_epi64x((long long)(header_bytes * 8), (long long)(bytes * 8));
    const pair two = _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2);
    /* Counter blocks are counted with their octets turned round, where the counter is the lowest word. */
    pair counters = _mm256_add_epi32(_mm256_broadcastsi128_si256(turned_block(first)), _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 1));
    __m128i hash = hashed_header(key, header, header_bytes);
    for (; bytes >= GROUP_BYTES; source += GROUP_BYTES, target += GROUP_BYTES, bytes -= GROUP_BYTES) {
        struct products sum = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
        pair blocks[GROUP_PAIRS];
        for (unsigned i = 0; i < GROUP_PAIRS; i++, counters = _mm256_add_epi32(counters, two))
            blocks[i] = turned(counters);
        encrypt_pairs(key, blocks, GROUP_PAIRS);
        for (unsigned i = 0; i < GROUP_PAIRS; i++) {
            blocks[i] = _mm256_xor_si256(blocks[i], load_pair(source + i * PAIR_BYTES));
            _mm256_storeu_si256((pair *)(target + i * PAIR_BYTES), blocks[i]);
        }
        for (unsigned i = 0; i < GROUP_PAIRS; i++) {
            pair hashed = i ? turned(blocks[i]) : _mm256_xor_si256(turned(blocks[i]), _mm256_zextsi128_si256(hash));
            hash_pair(key, &sum, hashed, 2 * (GROUP_PAIRS - i));
        }
        hash = reduced(&sum);
    }
    const __m128i mask = encrypted_block(key, first);
    hash = seal_rest(key, counters, hash, lengths, source, bytes, target);
    _mm_storeu_si128((__m128i *)(target + bytes), _mm_xor_si128(turned_block(hash), mask));
}

#else

int gcm_vaes_is_there(void) { return 0; }
void gcm_vaes_expand(struct gcm_vaes_key *key, const uint8_t *octets) { (void)key, (void)octets; }
void gcm_vaes_seal(const struct gcm_vaes_key *key, const uint8_t *iv, const uint8_t *header, size_t header_bytes, const uint8_t *source,
                   size_t bytes, uint8_t *target)
{
    (void)key, (void)iv, (void)header, (void)header_bytes, (void)source, (void)bytes, (void)target;
}

#endif
