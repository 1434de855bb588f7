#include "base/point.h"

#ifdef VV_TEST_HOOKS
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

static void (*point_handler)(void *ctx, const char *name);
static void *point_ctx;
static _Atomic int planted = -1; /* -1: the environment was not read yet */

void vv_point_set(void (*handler)(void *ctx, const char *name), void *ctx)
{
    point_handler = handler;
    point_ctx = ctx;
}

void vv_point_reach(const char *name)
{
    if (point_handler != NULL)
        point_handler(point_ctx, name);
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
