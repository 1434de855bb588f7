/*
 * alloc.h - every heap allocation goes through here, so that a test can fail the n-th.
 */
#ifndef VARVE_BASE_ALLOC_H
#define VARVE_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"

/** size bytes, uninitialised; NULL when memory is short or a test says so. size 0 gives a unique
 * pointer. Free with vv_free. Any thread. */
void *vv_alloc(size_t size) __attribute__((malloc, warn_unused_result));

/** count * size zeroed bytes; NULL also when the product overflows. */
void *vv_calloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/** As realloc: on NULL the old block is untouched and still the caller's. */
void *vv_realloc(void *ptr, size_t size) __attribute__((warn_unused_result));

/** size bytes at a multiple of align (a power of two). Free with vv_free. An align of 2 MiB or more
 * asks the kernel for huge pages, where it has them. */
void *vv_alloc_aligned(size_t align, size_t size) __attribute__((malloc, warn_unused_result));

/** Accepts NULL. */
void vv_free(void *ptr);

/** A NUL-terminated copy; NULL when memory is short. */
char *vv_strdup(const char *text) __attribute__((warn_unused_result));
char *vv_slice_strdup(vv_slice text) __attribute__((warn_unused_result));

/**
 * Test door: let the next n allocations of the process succeed and fail the one after them (and,
 * when sticky, all later ones). n < 0 switches it off. Not for concurrent use with other settings.
 */
void vv_alloc_fail_after(int64_t n, int sticky);

/** Allocations asked for since the process began; a test walks its sites with it. */
uint64_t vv_alloc_count(void);

#endif
