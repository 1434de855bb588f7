/*
 * util.h - the handful of things every file needs and C17 does not have.
 */
#ifndef VARVE_BASE_UTIL_H
#define VARVE_BASE_UTIL_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define VV_LIKELY(x) __builtin_expect(!!(x), 1)
#define VV_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define VV_UNUSED __attribute__((unused))
/* For functions that only prefetch: gcc takes them for pure and drops calls it has not inlined. */
#define VV_ALWAYS_INLINE inline __attribute__((always_inline))
#define VV_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define VV_KIB ((uint64_t)1024)
#define VV_MIB (VV_KIB * 1024)
#define VV_GIB (VV_MIB * 1024)

#define VV_NS_PER_US INT64_C(1000)
#define VV_NS_PER_MS INT64_C(1000000)
#define VV_NS_PER_S INT64_C(1000000000)

/* The unit of atomic durability we assume of a disk, and the alignment of direct I/O. */
#define VV_SECTOR 512u
#define VV_BLOCK 4096u

static inline uint64_t vv_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t vv_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Round up to a multiple of align, a power of two. */
static inline uint64_t vv_align_up(uint64_t x, uint64_t align)
{
    assert((align & (align - 1)) == 0);
    return (x + align - 1) & ~(align - 1);
}

#endif
