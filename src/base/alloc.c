#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"

#define HUGE_PAGE (2 * VV_MIB)

#ifdef VV_TEST_HOOKS
static _Atomic int64_t fail_countdown = -1; /* <0: off */
static _Atomic int fail_sticky;
static _Atomic uint64_t alloc_count;

static bool must_fail(void)
{
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0)
        return false;
    int64_t left = atomic_fetch_sub(&fail_countdown, 1);
    if (left > 0)
        return false;
    if (left == 0 && atomic_load(&fail_sticky))
        atomic_store(&fail_countdown, 0);
    return left == 0;
}

void vv_alloc_fail_after(int64_t n, int sticky)
{
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_countdown, n);
}

uint64_t vv_alloc_count(void)
{
    return atomic_load(&alloc_count);
}
#else
static inline bool must_fail(void)
{
    return false;
}

void vv_alloc_fail_after(int64_t n, int sticky)
{
    (void)n;
    (void)sticky;
}

uint64_t vv_alloc_count(void)
{
    return 0;
}
#endif

void *vv_alloc(size_t size)
{
    return must_fail() ? NULL : malloc(size == 0 ? 1 : size);
}

void *vv_calloc(size_t count, size_t size)
{
    return must_fail() ? NULL : calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
}

void *vv_realloc(void *ptr, size_t size)
{
    return must_fail() ? NULL : realloc(ptr, size == 0 ? 1 : size);
}

void *vv_alloc_aligned(size_t align, size_t size)
{
    size = vv_align_up(size == 0 ? 1 : size, align);
    void *ptr = must_fail() ? NULL : aligned_alloc(align, size);
    if (ptr != NULL && align >= HUGE_PAGE)
        (void)madvise(ptr, size,
                      MADV_HUGEPAGE); /* only a hint: small pages are slower, not wrong */
    return ptr;
}

void vv_free(void *ptr)
{
    free(ptr);
}

char *vv_slice_strdup(vv_slice text)
{
    char *copy = vv_alloc(text.len + 1);
    if (copy == NULL)
        return NULL;
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}

char *vv_strdup(const char *text)
{
    return vv_slice_strdup(vv_slice_str(text));
}
