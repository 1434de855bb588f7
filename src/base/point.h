/*
 * point.h - failpoints and planted bugs: the places where a test takes hold of the code.
 *
 * VV_POINT("wal.after_sync") marks where durable state changes; a test's handler may crash, delay
 * or yield there. VV_BUG(n) is true only in the test build and only when the environment says
 * VV_BUG=n: it switches on a known mistake, to prove that the tests would catch it. The list of
 * numbers stands in tests/bugs/README.md. In release builds both compile to nothing.
 *
 * VV_POINT_END=NAME, or NAME:N, in the environment ends the process where it comes to that point
 * for the N-th time, without a word to anybody, as SIGKILL does: that is how whole servers are
 * tested.
 */
#ifndef VARVE_BASE_POINT_H
#define VARVE_BASE_POINT_H

#include <stdbool.h>

#ifdef VV_TEST_HOOKS
/** The exit status of a process that ended at its point. */
#define VV_POINT_EXIT 86
/** Called at every point with its name; NULL switches it off. */
void vv_point_set(void (*handler)(void *ctx, const char *name), void *ctx);
void vv_point_reach(const char *name);
/** True when bug n is the planted one. */
bool vv_bug_is_on(int n);
/** Plant bug n (0: none) from inside a test, over the environment. */
void vv_bug_plant(int n);
#define VV_POINT(name) vv_point_reach(name)
#define VV_BUG(n) vv_bug_is_on(n)
#else
#define VV_POINT(name) ((void)0)
#define VV_BUG(n) false
/* So that tests compile without the hooks; they skip what they cannot do then. */
static inline void vv_point_set(void (*handler)(void *ctx, const char *name), void *ctx)
{
    (void)handler;
    (void)ctx;
}
static inline void vv_bug_plant(int n)
{
    (void)n;
}
#endif

#endif
