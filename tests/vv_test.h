/*
 * vv_test.h - what every test includes, and the one place that includes cmocka.
 *
 * Random tests draw their seed from VV_SEED when it is set and print it when they fail, so that
 * each failure has a replay command.
 */
#ifndef VARVE_TESTS_VV_TEST_H
#define VARVE_TESTS_VV_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/util.h"
#include "varve/slice.h"
#include "varve/status.h"

/* The bytes of a table row: BYTES(1, 2, 3). */
#define BYTES(...)                                                                                 \
    vv_slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* What a test program exits with when this machine lacks what it is about; it says what that is. */
#define SKIPPED 77

/* Expect VV_OK and show the sentence otherwise. err is a vv_error. */
#define assert_ok(expr, err)                                                                       \
    do {                                                                                           \
        vv_status assert_ok_st_ = (expr);                                                          \
        if (assert_ok_st_ != VV_OK)                                                                \
            fail_msg("%s: %s: %s", #expr, vv_status_name(assert_ok_st_), (err).msg);               \
    } while (0)

#define assert_status(want, expr)                                                                  \
    do {                                                                                           \
        vv_status assert_st_ = (expr);                                                             \
        if (assert_st_ != (want))                                                                  \
            fail_msg("%s: %s instead of %s", #expr, vv_status_name(assert_st_),                    \
                     vv_status_name(want));                                                        \
    } while (0)

/* cmocka's checks belong to the main thread: others count and tell, and it asserts that
 * vv_check_failures is 0. */
static inline int *vv_check_count(void)
{
    static int count;
    return &count;
}

static inline int vv_check_failures(void)
{
    return __atomic_load_n(vv_check_count(), __ATOMIC_SEQ_CST);
}

#define VV_CHECK(cond)                                                                             \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            (void)__atomic_add_fetch(vv_check_count(), 1, __ATOMIC_SEQ_CST);                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                       \
        }                                                                                          \
    } while (0)

/* The seed of this run: VV_SEED, or a fixed one, so that a push is repeatable. */
static inline uint64_t vv_test_seed(uint64_t fixed)
{
    const char *text = getenv("VV_SEED");
    uint64_t seed = text == NULL ? fixed : strtoull(text, NULL, 0);
    return seed;
}

/* A count from the environment (a soak raises it), or the push size. */
static inline uint64_t vv_test_count(const char *name, uint64_t push)
{
    const char *text = getenv(name);
    return text == NULL ? push : strtoull(text, NULL, 0);
}

/* The same for a count of which a test that runs in several ways, on other engines and backends,
 * does VV_PUSH_PERCENT in a push. A soak's count is for each of them. */
static inline uint64_t vv_test_share(const char *name, uint64_t push)
{
    return vv_test_count(name, push * vv_test_count("VV_PUSH_PERCENT", 100) / 100);
}

#endif
