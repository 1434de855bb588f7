#include "side_data.h"

#include <string.h>

#include "base/rng.h"

#define HEAD_SIZE 16u
#define POOL_SIZE (1u << 20)
#define COMPUTED_MAX 1024u /* longer values are cut from a pool of random bytes */

static uint64_t pool[(POOL_SIZE + SIDE_VALUE_MAX) / 8];

static inline uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ (x >> 32);
}

/* ---- permutations ---------------------------------------------------------------------------- */

void side_perm_init(side_perm *p, uint64_t n, uint64_t seed)
{
    *p = (side_perm){.n = n, .half_bits = 1, .is_identity = seed == 0};
    while ((UINT64_C(1) << (2 * p->half_bits)) < n)
        p->half_bits++;
    for (unsigned i = 0; i < 4 && seed != 0; i++)
        p->key[i] = mix(seed + i);
}

static inline uint64_t feistel(const side_perm *p, uint64_t x, bool inverse)
{
    uint64_t mask = (UINT64_C(1) << p->half_bits) - 1;
    uint64_t left = x >> p->half_bits;
    uint64_t right = x & mask;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t key = p->key[inverse ? 3 - i : i];
        uint64_t f = ((right ^ key) * UINT64_C(0x9e3779b97f4a7c15)) >> 33 & mask;
        uint64_t next = left ^ f;
        left = right;
        right = next;
    }
    return right << p->half_bits | left; /* halves swapped: the inverse has the same shape */
}

static uint64_t walk(const side_perm *p, uint64_t x, bool inverse)
{
    if (p->is_identity)
        return x;
    do
        x = feistel(p, x, inverse);
    while (x >= p->n);
    return x;
}

uint64_t side_perm_at(const side_perm *p, uint64_t index)
{
    return walk(p, index, false);
}

uint64_t side_perm_index_of(const side_perm *p, uint64_t value)
{
    return walk(p, value, true);
}

/* ---- keys ------------------------------------------------------------------------------------ */

vv_slice side_key(uint64_t n, bool absent, char out[SIDE_KEY])
{
    uint64_t x = 2 * n + absent;
    for (unsigned i = SIDE_KEY; i > 0; i--, x /= 10)
        out[i - 1] = (char)('0' + x % 10);
    return vv_slice_of(out, SIDE_KEY);
}

uint64_t side_key_number(vv_slice key)
{
    uint64_t x = 0;
    if (key.len != SIDE_KEY)
        return UINT64_MAX;
    for (unsigned i = 0; i < SIDE_KEY; i++) {
        if (key.data[i] < '0' || key.data[i] > '9')
            return UINT64_MAX;
        x = 10 * x + (key.data[i] - '0');
    }
    return x % 2 == 0 ? x / 2 : UINT64_MAX;
}

/* ---- passes ---------------------------------------------------------------------------------- */

void side_data_init(side_data *d, uint64_t keys, uint32_t value_size, uint64_t seed)
{
    vv_rng rng;
    d->seed = seed;
    d->keys = keys;
    d->value_size = value_size;
    atomic_store(&d->pass_count, 0);
    vv_rng_init(&rng, seed);
    vv_rng_bytes(&rng, pool, sizeof pool);
}

side_pass *side_pass_begin(side_data *d, side_pass_kind kind, uint64_t span, bool ordered)
{
    uint32_t index = atomic_load(&d->pass_count);
    if (index == SIDE_PASSES)
        return NULL;
    side_pass *pass = &d->pass[index];
    uint64_t n = d->keys / span > 0 ? d->keys / span : 1;
    side_perm_init(&pass->perm, n, ordered ? 0 : mix(d->seed + 1000 + index) | 1);
    pass->kind = kind;
    pass->span = span;
    atomic_store(&pass->started, 0);
    atomic_store(&pass->done, 0);
    atomic_store_explicit(&d->pass_count, index + 1, memory_order_release);
    return pass;
}

/* ---- values ---------------------------------------------------------------------------------- */

/*
 *     0      8      12     16              half            size
 *     +------+------+------+---------------+---------------+
 *     | tag  | pass | 0    | random bytes  | one word      |
 *     +------+------+------+---------------+ again, again  |
 *
 * Half of a value is random and half is a repeat, so a compressor can halve it.
 */
static inline uint64_t tag_of(const side_data *d, uint32_t pass, uint64_t n)
{
    return mix(d->seed ^ mix(n + ((uint64_t)pass << 48)));
}

static inline uint64_t random_word(uint64_t tag, uint32_t index)
{
    uint64_t x = (tag + index) * UINT64_C(0xd1342543de82ef95);
    return x ^ x >> 31;
}

static inline uint64_t repeat_word(uint64_t tag)
{
    return (tag & 0xff) * UINT64_C(0x0101010101010101);
}

static inline uint32_t half_of(uint32_t size)
{
    uint32_t half = size / 2 & ~7u;
    return half < HEAD_SIZE ? HEAD_SIZE : half;
}

static inline const uint8_t *pool_at(uint64_t tag)
{
    return (const uint8_t *)pool + (tag >> 20) % (POOL_SIZE / 8) * 8;
}

vv_slice side_value(const side_data *d, const side_pass *pass, uint64_t n, uint8_t *out)
{
    uint32_t index = (uint32_t)(pass - d->pass);
    uint64_t tag = tag_of(d, index, n);
    uint64_t repeat = repeat_word(tag);
    uint32_t half = half_of(d->value_size);
    memcpy(out, &tag, 8);
    memcpy(out + 8, &(uint64_t){index}, 8);
    if (d->value_size > COMPUTED_MAX) {
        memcpy(out + HEAD_SIZE, pool_at(tag), half - HEAD_SIZE);
        memset(out + half, (int)(tag & 0xff), d->value_size - half);
        return vv_slice_of(out, d->value_size);
    }
    for (uint32_t at = HEAD_SIZE; at < half; at += 8)
        memcpy(out + at, &(uint64_t){random_word(tag, at)}, 8);
    for (uint32_t at = half; at + 8 <= d->value_size; at += 8)
        memcpy(out + at, &repeat, 8);
    memset(out + (d->value_size & ~7u), (int)(tag & 0xff), d->value_size & 7);
    return vv_slice_of(out, d->value_size);
}

static bool same_bytes(const side_data *d, uint64_t tag, const uint8_t *value)
{
    uint32_t half = half_of(d->value_size);
    uint64_t wrong = 0;
    uint64_t word;
    if (d->value_size > COMPUTED_MAX) {
        wrong |= memcmp(value + HEAD_SIZE, pool_at(tag), half - HEAD_SIZE) != 0;
    } else {
        for (uint32_t at = HEAD_SIZE; at < half; at += 8) {
            memcpy(&word, value + at, 8);
            wrong |= word ^ random_word(tag, at);
        }
    }
    for (uint32_t at = half; at + 8 <= d->value_size; at += 8) {
        memcpy(&word, value + at, 8);
        wrong |= word ^ repeat_word(tag);
    }
    for (uint32_t at = d->value_size & ~7u; at < d->value_size; at++)
        wrong |= value[at] ^ (tag & 0xff);
    return wrong == 0;
}

/* ---- checking -------------------------------------------------------------------------------- */

void side_before_read(const side_data *d, side_before *out)
{
    out->pass_count = atomic_load_explicit(&d->pass_count, memory_order_acquire);
    for (uint32_t i = 0; i < out->pass_count; i++)
        out->done[i] = atomic_load_explicit(&d->pass[i].done, memory_order_acquire);
}

/* The pass whose value was read, or UINT32_MAX for none. */
static uint32_t pass_of(const vv_slice *value)
{
    uint64_t pass;
    if (value == NULL)
        return UINT32_MAX;
    memcpy(&pass, value->data + 8, 8);
    return pass < SIDE_PASSES ? (uint32_t)pass : SIDE_PASSES;
}

/* Whether an answer of pass `got` (UINT32_MAX: absent) may be given for key n: walk the passes from
 * the newest; those that may have written the key allow their answer, the first that must have
 * written it ends the walk. */
static bool is_allowed(const side_data *d, const side_before *before, uint64_t n, uint32_t got)
{
    uint32_t count = atomic_load_explicit(&d->pass_count, memory_order_acquire);
    for (uint32_t i = count; i > 0; i--) {
        const side_pass *p = &d->pass[i - 1];
        uint64_t done = i <= before->pass_count ? before->done[i - 1] : 0;
        bool all = done == p->perm.n && p->span == 1;
        uint64_t started = all ? done : atomic_load_explicit(&p->started, memory_order_acquire);
        if (started == 0 || n / p->span >= p->perm.n)
            continue;
        uint64_t index = all ? 0 : side_perm_index_of(&p->perm, n / p->span);
        if (index >= started)
            continue;
        if (got == (p->kind == SIDE_PASS_PUT ? i - 1 : UINT32_MAX))
            return true;
        if (index < done)
            return false;
    }
    return got == UINT32_MAX;
}

const char *side_check(const side_data *d, const side_before *before, uint64_t n,
                       const vv_slice *value, side_depth depth)
{
    if (value != NULL && value->len != d->value_size)
        return "a value of the wrong length";
    uint32_t pass = pass_of(value);
    if (!is_allowed(d, before, n, pass))
        return value == NULL ? "an acknowledged value is missing" : "an old or unwritten value";
    if (value == NULL)
        return NULL;
    uint64_t tag = tag_of(d, pass, n);
    if (memcmp(value->data, &tag, 8) != 0)
        return "the value of another key";
    if (depth == SIDE_WHOLE && !same_bytes(d, tag, value->data))
        return "a value with wrong bytes";
    if (value->data[value->len - 1] != (tag & 0xff))
        return "a value with a wrong end";
    return NULL;
}
