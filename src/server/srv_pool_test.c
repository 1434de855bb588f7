/*
 * srv_pool_test.c - short work does not wait behind long work, neither behind what waits for an
 * object store, a full lane says so, and a stop runs what jobs submit to other lanes.
 */
#include <poll.h>

#include "base/lock.h"
#include "io/env.h"
#include "server/srv.h"
#include "vv_test.h"

#define LONG_THREADS 2u

typedef struct gate_job {
    vv_mutex lock;
    vv_cond changed;
    unsigned inside;
    unsigned points;
    bool open;
} gate_job;

static void wait_inside(void *arg)
{
    gate_job *g = arg;
    vv_mutex_lock(&g->lock);
    g->inside++;
    vv_cond_broadcast(&g->changed);
    while (!g->open)
        vv_cond_wait(&g->changed, &g->lock);
    vv_mutex_unlock(&g->lock);
}

static void be_short(void *arg)
{
    gate_job *g = arg;
    vv_mutex_lock(&g->lock);
    g->points++;
    vv_cond_broadcast(&g->changed);
    vv_mutex_unlock(&g->lock);
}

/* Every thread that may do long work does, and more waits: points are done meanwhile. */
static void test_points_pass_long_work(void **state)
{
    (void)state;
    vv_error err = {0};
    srv_pool *pool = NULL;
    gate_job g = {0};
    vv_mutex_init(&g.lock, VV_RANK_LEAF);
    vv_cond_init(&g.changed);
    assert_ok(srv_pool_create(vv_threads_real(), LONG_THREADS, 8, &pool, &err), err);
    for (unsigned i = 0; i < LONG_THREADS; i++)
        assert_int_equal(srv_pool_submit(pool, wait_inside, &g), VV_OK);
    vv_mutex_lock(&g.lock);
    while (g.inside < LONG_THREADS)
        vv_cond_wait(&g.changed, &g.lock);
    vv_mutex_unlock(&g.lock);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(srv_pool_submit(pool, wait_inside, &g), VV_OK);
    assert_int_equal(srv_pool_submit(pool, wait_inside, &g), VV_BUSY);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(srv_pool_submit_point(pool, be_short, &g), VV_OK);
    vv_mutex_lock(&g.lock);
    while (g.points < 5)
        vv_cond_wait(&g.changed, &g.lock);
    assert_int_equal(g.inside, LONG_THREADS);
    g.open = true;
    vv_cond_broadcast(&g.changed);
    vv_mutex_unlock(&g.lock);
    srv_pool_destroy(pool); /* runs what is queued */
    assert_int_equal(g.inside, LONG_THREADS + 8);
    vv_cond_fini(&g.changed);
    vv_mutex_fini(&g.lock);
}

/* However many wait for an object store: the rest goes on. */
static void test_what_is_far_holds_no_other_thread(void **state)
{
    (void)state;
    vv_error err = {0};
    srv_pool *pool = NULL;
    gate_job g = {0};
    vv_mutex_init(&g.lock, VV_RANK_LEAF);
    vv_cond_init(&g.changed);
    assert_ok(srv_pool_create(vv_threads_real(), LONG_THREADS, 64, &pool, &err), err);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(srv_pool_submit_far(pool, wait_inside, &g), VV_OK);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(srv_pool_submit(pool, be_short, &g), VV_OK);
        assert_int_equal(srv_pool_submit_point(pool, be_short, &g), VV_OK);
    }
    vv_mutex_lock(&g.lock);
    while (g.points < 10)
        vv_cond_wait(&g.changed, &g.lock);
    g.open = true;
    vv_cond_broadcast(&g.changed);
    vv_mutex_unlock(&g.lock);
    srv_pool_destroy(pool);
    assert_int_equal(g.inside, 64);
    vv_cond_fini(&g.changed);
    vv_mutex_fini(&g.lock);
}

typedef struct hops {
    srv_pool *pool;
    unsigned count;
} hops;

/* From lane to lane. The first takes so long that the threads of the others have nothing to do when
 * the pool stops. */
static void hop(void *arg)
{
    hops *h = arg;
    if (h->count == 0)
        (void)poll(NULL, 0, 20);
    h->count++;
    if (h->count < 9)
        assert_int_equal(h->count % 3 == 0   ? srv_pool_submit_point(h->pool, hop, h)
                         : h->count % 3 == 1 ? srv_pool_submit_far(h->pool, hop, h)
                                             : srv_pool_submit(h->pool, hop, h),
                         VV_OK);
}

static void test_a_stop_runs_what_jobs_submit(void **state)
{
    (void)state;
    vv_error err = {0};
    hops h = {.count = 0};
    assert_ok(srv_pool_create(vv_threads_real(), LONG_THREADS, 4, &h.pool, &err), err);
    assert_int_equal(srv_pool_submit_point(h.pool, hop, &h), VV_OK);
    srv_pool_destroy(h.pool);
    assert_int_equal(h.count, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_points_pass_long_work),
                                       cmocka_unit_test(test_what_is_far_holds_no_other_thread),
                                       cmocka_unit_test(test_a_stop_runs_what_jobs_submit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
