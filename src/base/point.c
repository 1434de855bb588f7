#include "base/point.h"

#ifdef VV_TEST_HOOKS
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static void (*point_handler)(void *ctx, const char *name);
static void *point_ctx;
static _Atomic int planted = -1; /* -1: the environment was not read yet */
static const char *end_name;     /* NULL: nowhere; set before main, like its length */
static size_t end_len;
static _Atomic long end_left; /* arrivals there, the last one ends the process */

/* Before there are threads: every point looks at what this leaves. */
__attribute__((constructor)) static void read_end(void)
{
    const char *text = getenv("VV_POINT_END");
    if (text == NULL || text[0] == '\0')
        return;
    end_len = strcspn(text, ":");
    atomic_store(&end_left, text[end_len] == ':' ? atol(text + end_len + 1) : 1);
    end_name = text;
}

void vv_point_set(void (*handler)(void *ctx, const char *name), void *ctx)
{
    point_handler = handler;
    point_ctx = ctx;
}

void vv_point_reach(const char *name)
{
    if (point_handler != NULL)
        point_handler(point_ctx, name);
    if (end_name != NULL && strlen(name) == end_len && memcmp(name, end_name, end_len) == 0 &&
        atomic_fetch_sub(&end_left, 1) == 1)
        _Exit(VV_POINT_EXIT);
}

void vv_bug_plant(int n)
{
    atomic_store(&planted, n);
}

bool vv_bug_is_on(int n)
{
    int bug = atomic_load_explicit(&planted, memory_order_relaxed);
    if (bug < 0) {
        const char *text = getenv("VV_BUG");
        bug = text == NULL ? 0 : atoi(text);
        atomic_store(&planted, bug);
    }
    return bug == n;
}
#else
/* An empty translation unit is not C. */
typedef int vv_point_unused;
#endif
