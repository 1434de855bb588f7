/*
 * hash.h - XXH3-64, the hash of filters, tables and content (xxHash 0.8 specification).
 */
#ifndef VARVE_BASE_HASH_H
#define VARVE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t vv_hash64(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

static inline uint64_t vv_hash64_seed(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

#endif
