/*
 * objs_call_test.c - tries, waits, the breaker, the limit and hedges, on a simulated clock where
 * time matters and with threads where they do.
 */
#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/lock.h"
#include "base/rng.h"
#include "io/vio_sim.h"
#include "object/object_int.h"

static vv_error err;
static vv_object_outcome oc;

typedef struct bed {
    vio_sim_disk *disk;
    vv_env env;
    objs_bucket *bucket;
    vv_object_options opt;
    vv_object_store *store;
} bed;

static void start(bed *b)
{
    const vv_object_options defaults = VV_OBJECT_OPTIONS_INIT;
    *b = (bed){.disk = vio_sim_disk_create(), .bucket = objs_bucket_create(), .opt = defaults};
    b->env = (vv_env){.clock = vio_sim_clock(b->disk), .seed = vv_test_seed(0xca11)};
}

static void open_bed(bed *b)
{
    assert_ok(objs_open_bucket(&b->env, b->bucket, &b->opt, &b->store, &err), err);
}

static void stop(bed *b)
{
    vv_object_store_close(b->store);
    objs_bucket_destroy(b->bucket);
    vio_sim_disk_destroy(b->disk);
}

static void fault_at(bed *b, objs_memory_fault fault, uint64_t n)
{
    objs_bucket_set(b->bucket, &(objs_memory_options){.seed = 1, .fault = fault, .fault_at = n});
}

static vv_status put(bed *b, const char *name, const char *text, unsigned flags)
{
    vv_slice piece = vv_slice_str(text);
    return vv_object_put(b->store, name, &piece, 1, flags, NULL, &oc, &err);
}

static void expect(bed *b, const char *name, const char *text)
{
    char buf[64];
    size_t got = 0;
    assert_ok(vv_object_get(b->store, name, 0, buf, sizeof buf, &got, NULL, &oc, &err), err);
    assert_int_equal(got, strlen(text));
    assert_memory_equal(buf, text, got);
}

static int64_t now(bed *b)
{
    return vv_clock_mono(b->env.clock);
}

/* ---- tries and waits ------------------------------------------------------------------------ */

static void an_outage_uses_up_the_tries(void **state)
{
    (void)state;
    bed b;
    start(&b);
    open_bed(&b);
    objs_bucket_set(b.bucket, &(objs_memory_options){.outage = true});
    int64_t began = now(&b);
    assert_status(VV_IO, put(&b, "x", "y", VV_OBJECT_CREATE));
    assert_int_equal(oc.attempts, 4);
    assert_int_equal(oc.fault, VV_OBJECT_FAULT_SERVER);
    assert_true(oc.retryable);
    assert_false(oc.unknown);
    assert_int_equal(oc.http, 503);
    assert_int_equal(objs_bucket_requests(b.bucket), 4);
    assert_non_null(strstr(err.msg, "put 'x': try 4"));
    assert_non_null(strstr(err.msg, "ServiceUnavailable"));
    int64_t took = now(&b) - began; /* at most 100 + 200 + 400 ms of waits */
    assert_true(took <= 720 * VV_NS_PER_MS);
    stop(&b);
}

static void prop_waits_grow_within_their_bounds(void **state)
{
    (void)state;
    int64_t longest = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        bed b;
        start(&b);
        b.env.seed = seed;
        b.opt.max_retries = 9;
        b.opt.initial_backoff_ms = 10;
        b.opt.max_backoff_ms = 160;
        open_bed(&b);
        objs_bucket_set(b.bucket, &(objs_memory_options){.outage = true});
        int64_t began = now(&b);
        assert_status(VV_IO, put(&b, "x", "y", 0));
        int64_t took = now(&b) - began;
        /* 10 20 40 80 160 160 160 160 160 */
        assert_true(took <= 960 * VV_NS_PER_MS);
        longest = took > longest ? took : longest;
        stop(&b);
    }
    assert_true(longest > 400 * VV_NS_PER_MS); /* a mean of 475: waits there are */
}

static void a_budget_ends_the_tries(void **state)
{
    (void)state;
    bed b;
    start(&b);
    b.opt.max_retries = 1000;
    b.opt.budget_ms = 2000;
    open_bed(&b);
    objs_bucket_set(b.bucket, &(objs_memory_options){.outage = true});
    int64_t began = now(&b);
    assert_status(VV_IO, put(&b, "x", "y", 0));
    assert_true(now(&b) - began <= 2001 * VV_NS_PER_MS);
    assert_true(oc.attempts > 2);
    stop(&b);
}

static void what_is_final_is_tried_once(void **state)
{
    (void)state;
    bed b;
    start(&b);
    open_bed(&b);
    objs_bucket_set(b.bucket, &(objs_memory_options){.capacity = 3});
    assert_status(VV_NO_SPACE, put(&b, "x", "four", 0));
    assert_int_equal(oc.fault, VV_OBJECT_FAULT_FULL);
    assert_int_equal(oc.attempts, 1);
    assert_status(VV_NOT_FOUND, vv_object_head(b.store, "x", NULL, &oc, &err));
    assert_int_equal(oc.attempts, 1);
    stop(&b);
}

/* ---- what is not known ---------------------------------------------------------------------- */

static void a_lost_answer_is_not_another_winner(void **state)
{
    (void)state;
    static const objs_memory_fault lost[] = {OBJS_MEMORY_TIMEOUT_AFTER, OBJS_MEMORY_ERROR_AFTER};
    for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
        bed b;
        start(&b);
        open_bed(&b);
        fault_at(&b, lost[i], 1);
        assert_ok(put(&b, "x", "mine", VV_OBJECT_CREATE), err);
        assert_true(oc.settled);
        assert_false(oc.unknown);
        assert_int_equal(oc.attempts, 2);
        expect(&b, "x", "mine");
        assert_int_equal(objs_bucket_objects(b.bucket), 1);
        stop(&b);
    }
}

static void another_winner_is_told(void **state)
{
    (void)state;
    bed b;
    start(&b);
    open_bed(&b);
    assert_ok(put(&b, "x", "theirs", VV_OBJECT_CREATE), err);
    fault_at(&b, OBJS_MEMORY_TIMEOUT, 1); /* ours did nothing, and we cannot know */
    assert_status(VV_CONFLICT, put(&b, "x", "mine", VV_OBJECT_CREATE));
    assert_int_equal(oc.fault, VV_OBJECT_FAULT_EXISTS);
    assert_false(oc.unknown);
    expect(&b, "x", "theirs");
    stop(&b);
}

static void a_doubt_that_stays_is_told(void **state)
{
    (void)state;
    bed b;
    start(&b);
    b.opt.max_retries = 0;
    open_bed(&b);
    fault_at(&b, OBJS_MEMORY_TIMEOUT_AFTER, 1);
    assert_status(VV_TIMEOUT, put(&b, "x", "mine", VV_OBJECT_CREATE));
    assert_true(oc.unknown);
    assert_true(oc.retryable);
    expect(&b, "x", "mine");
    /* The look after a lost answer fails for good: still unknown. */
    stop(&b);
    start(&b);
    b.opt.max_retries = 1;
    open_bed(&b);
    objs_memory_options o = {.seed = 3};
    o.per_mille[OBJS_MEMORY_TIMEOUT_AFTER] = 1000;
    objs_bucket_set(b.bucket, &o);
    assert_status(VV_TIMEOUT, put(&b, "y", "mine", VV_OBJECT_CREATE));
    assert_true(oc.unknown);
    stop(&b);
}

static void a_lost_answer_to_complete(void **state)
{
    (void)state;
    static const unsigned flags[] = {VV_OBJECT_REPLACE, VV_OBJECT_CREATE};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        bed b;
        vv_object_upload *u = NULL;
        vv_slice piece = vv_slice_str("part");
        start(&b);
        open_bed(&b);
        assert_ok(vv_object_upload_begin(b.store, "u", flags[i], &u, &oc, &err), err);
        assert_ok(vv_object_upload_part(u, 1, &piece, 1, &oc, &err), err);
        assert_ok(vv_object_upload_part(u, 2, &piece, 1, &oc, &err), err);
        fault_at(&b, OBJS_MEMORY_TIMEOUT_AFTER, 1);
        assert_ok(vv_object_upload_complete(u, NULL, &oc, &err), err);
        assert_true(oc.settled);
        expect(&b, "u", "partpart");
        assert_int_equal(objs_bucket_uploads(b.bucket), 0);
        stop(&b);
    }
}

/* Where nothing at the store proves that it was ours, the doubt stays. */
static void a_doubt_about_complete_stays(void **state)
{
    (void)state;
    bed b;
    vv_object_upload *u = NULL;
    vv_slice piece = vv_slice_str("part");
    start(&b);
    b.opt.max_retries = 0;
    open_bed(&b);
    assert_ok(vv_object_upload_begin(b.store, "u", 0, &u, &oc, &err), err);
    assert_ok(vv_object_upload_part(u, 1, &piece, 1, &oc, &err), err);
    fault_at(&b, OBJS_MEMORY_TIMEOUT_AFTER, 1);
    assert_status(VV_TIMEOUT, vv_object_upload_complete(u, NULL, &oc, &err));
    assert_true(oc.unknown);
    assert_ok(put(&b, "u", "another", 0), err); /* somebody was faster than the next try */
    assert_status(VV_NOT_FOUND, vv_object_upload_complete(u, NULL, &oc, &err));
    assert_true(oc.unknown);
    (void)vv_object_upload_abort(u, &oc, &err);
    stop(&b);
}

static void a_part_that_got_lost_is_found_out(void **state)
{
    (void)state;
    static const objs_memory_fault bad[] = {OBJS_MEMORY_PARTIAL, OBJS_MEMORY_WRONG_ETAG};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        bed b;
        vv_object_upload *u = NULL;
        vv_slice piece = vv_slice_str("part");
        start(&b);
        open_bed(&b);
        assert_ok(vv_object_upload_begin(b.store, "u", 0, &u, &oc, &err), err);
        fault_at(&b, bad[i], 1);
        assert_ok(vv_object_upload_part(u, 1, &piece, 1, &oc, &err), err);
        assert_status(VV_IO, vv_object_upload_complete(u, NULL, &oc, &err));
        assert_int_equal(oc.fault, VV_OBJECT_FAULT_REQUEST);
        assert_ok(vv_object_upload_part(u, 1, &piece, 1, &oc, &err), err);
        assert_ok(vv_object_upload_complete(u, NULL, &oc, &err), err);
        expect(&b, "u", "part");
        stop(&b);
    }
}

/* ---- damage --------------------------------------------------------------------------------- */

static void a_flipped_bit_is_never_given(void **state)
{
    (void)state;
    bed b;
    char buf[64];
    size_t got;
    start(&b);
    open_bed(&b);
    assert_ok(put(&b, "x", "precious", 0), err);
    fault_at(&b, OBJS_MEMORY_FLIP, 1); /* on the way: read again */
    expect(&b, "x", "precious");
    assert_int_equal(oc.attempts, 2);
    assert_ok(objs_bucket_flip(b.bucket, "x", 9), err); /* at the store */
    assert_status(VV_CORRUPT,
                  vv_object_get(b.store, "x", 0, buf, sizeof buf, &got, NULL, &oc, &err));
    assert_int_equal(oc.fault, VV_OBJECT_FAULT_CORRUPT);
    assert_non_null(strstr(err.msg, "crc32c"));
    fault_at(&b, OBJS_MEMORY_PARTIAL, 1); /* breaks off half way */
    assert_ok(put(&b, "z", "whole", 0), err);
    fault_at(&b, OBJS_MEMORY_PARTIAL, 1);
    expect(&b, "z", "whole");
    stop(&b);
}

static bool count_name(void *ctx, const char *name, const vv_object_info *info)
{
    (void)name;
    (void)info;
    ++*(unsigned *)ctx;
    return true;
}

static void a_list_may_lag(void **state)
{
    (void)state;
    bed b;
    unsigned count = 0;
    bool more;
    start(&b);
    open_bed(&b);
    objs_bucket_set(b.bucket, &(objs_memory_options){.lag = 2});
    assert_ok(put(&b, "a", "1", 0), err);
    assert_ok(put(&b, "b", "1", 0), err);
    assert_ok(put(&b, "c", "1", 0), err);
    assert_ok(vv_object_list(b.store, "", "", 10, count_name, &count, &more, &oc, &err), err);
    assert_int_equal(count, 1);
    assert_ok(vv_object_head(b.store, "c", NULL, &oc, &err), err); /* and yet it is there */
    assert_ok(vv_object_remove(b.store, "a", &oc, &err), err);
    count = 0;
    assert_ok(vv_object_list(b.store, "", "", 10, count_name, &count, &more, &oc, &err), err);
    assert_int_equal(count, 2); /* a still, b now, not yet c */
    stop(&b);
}

/* ---- the breaker ---------------------------------------------------------------------------- */

static void the_breaker_opens_and_closes(void **state)
{
    (void)state;
    bed b;
    vv_object_stats stats = {.size = sizeof stats};
    start(&b);
    b.opt.max_retries = 0;
    b.opt.breaker_failures = 3;
    b.opt.breaker_open_ms = 1000;
    open_bed(&b);
    objs_bucket_set(b.bucket, &(objs_memory_options){.outage = true});
    for (int i = 0; i < 3; i++)
        assert_status(VV_IO, put(&b, "x", "y", 0));
    assert_status(VV_BUSY, put(&b, "x", "y", 0));
    assert_non_null(strstr(err.msg, "circuit breaker"));
    assert_true(oc.retryable);
    assert_int_equal(oc.attempts, 0);
    assert_int_equal(objs_bucket_requests(b.bucket), 3);
    vio_sim_advance(b.disk, 1001 * VV_NS_PER_MS);
    assert_status(VV_IO, put(&b, "x", "y", 0)); /* the one that tries */
    assert_status(VV_BUSY, put(&b, "x", "y", 0));
    vv_object_store_stats(b.store, &stats);
    assert_int_equal(stats.breaker_state, 1);
    assert_int_equal(stats.breaker_refused, 2);
    assert_int_equal(stats.breaker_opens, 1);
    assert_int_equal(stats.consecutive_failures, 4);
    objs_bucket_set(b.bucket, &(objs_memory_options){0});
    vio_sim_advance(b.disk, 1001 * VV_NS_PER_MS);
    assert_ok(put(&b, "x", "y", 0), err);
    assert_ok(put(&b, "x", "y", 0), err);
    vv_object_store_stats(b.store, &stats);
    assert_int_equal(stats.breaker_state, 0);
    assert_int_equal(stats.consecutive_failures, 0);
    /* What the store answers, a "no" too, is no reason to open. */
    for (int i = 0; i < 5; i++)
        assert_status(VV_NOT_FOUND, vv_object_head(b.store, "none", NULL, &oc, &err));
    assert_ok(put(&b, "x", "y", 0), err);
    stop(&b);
}

static void figures_name_the_faults(void **state)
{
    (void)state;
    bed b;
    vv_object_stats stats = {.size = sizeof stats};
    start(&b);
    open_bed(&b);
    fault_at(&b, OBJS_MEMORY_THROTTLE, 1);
    assert_ok(put(&b, "x", "y", 0), err);
    fault_at(&b, OBJS_MEMORY_TIMEOUT, 1);
    assert_ok(put(&b, "x", "y", 0), err);
    vv_object_store_stats(b.store, &stats);
    vv_object_stats older; /* of a program that knew no more than the operations */
    memset(&older, 0x5a, sizeof older);
    older.size = offsetof(vv_object_stats, faults);
    vv_object_store_stats(b.store, &older);
    assert_int_equal(older.op[VV_OBJECT_OP_PUT].calls, 2);
    assert_int_equal(older.faults[0], UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(stats.faults[VV_OBJECT_FAULT_THROTTLED], 1);
    assert_int_equal(stats.faults[VV_OBJECT_FAULT_TIMEOUT], 1);
    assert_int_equal(stats.retries, 2);
    assert_int_equal(stats.op[VV_OBJECT_OP_PUT].calls, 2);
    assert_int_equal(stats.op[VV_OBJECT_OP_PUT].requests, 4);
    assert_int_equal(stats.op[VV_OBJECT_OP_PUT].failures, 0);
    stop(&b);
}

/* ---- threads -------------------------------------------------------------------------------- */

/* A table over the memory backend whose gets wait at a gate: the n-th is let go when told. */
static struct gate {
    vv_mutex lock;
    vv_cond cond;
    _Atomic unsigned arrived;
    unsigned inside;
    unsigned inside_most;
    unsigned pass; /* gets below it may go */
    bool first_waits;
} gate;

static vv_status gated_get(void *self, const char *name, uint64_t offset, void *out, size_t len,
                           size_t *got, vv_object_info *info, vv_object_outcome *o, vv_error *e)
{
    vv_mutex_lock(&gate.lock);
    unsigned me = gate.arrived++;
    gate.inside++;
    gate.inside_most = gate.inside > gate.inside_most ? gate.inside : gate.inside_most;
    vv_cond_broadcast(&gate.cond);
    while (me >= gate.pass && (me == 0 || !gate.first_waits))
        vv_cond_wait(&gate.cond, &gate.lock);
    gate.inside--;
    vv_mutex_unlock(&gate.lock);
    return objs_memory_ops.get(self, name, offset, out, len, got, info, o, e);
}

static vv_object_ops gated_ops(void)
{
    vv_object_ops ops = objs_memory_ops;
    ops.get = gated_get;
    gate.arrived = gate.inside = gate.inside_most = gate.pass = 0;
    gate.first_waits = false;
    return ops;
}

static void let_pass(unsigned n)
{
    vv_mutex_lock(&gate.lock);
    gate.pass = n;
    vv_cond_broadcast(&gate.cond);
    vv_mutex_unlock(&gate.lock);
}

static void wait_for_inside(unsigned n)
{
    vv_mutex_lock(&gate.lock);
    while (gate.inside < n)
        vv_cond_wait(&gate.cond, &gate.lock);
    vv_mutex_unlock(&gate.lock);
}

static const vv_env threaded = {.clock = NULL};
static vv_env thread_env(void)
{
    vv_env env = threaded;
    env.clock = vv_clock_real();
    env.threads = vv_threads_real();
    env.seed = 7;
    return env;
}

/* A thread is at the gate when its creation returns: the first one is the first to arrive. */
static vv_status create_and_arrive(const char *name, vv_thread_class cls, void (*fn)(void *arg),
                                   void *arg, vv_thread **out, vv_error *e)
{
    unsigned turns = 0;
    unsigned before = atomic_load(&gate.arrived);
    vv_status st = vv_threads_real()->create(name, cls, fn, arg, out, e);
    while (st == VV_OK && atomic_load(&gate.arrived) == before)
        vv_spin_wait(&turns);
    return st;
}

static void get_one(void *arg)
{
    char buf[8];
    size_t got;
    vv_object_outcome o;
    VV_CHECK(vv_object_get(arg, "x", 0, buf, sizeof buf, &got, NULL, &o, NULL) == VV_OK);
}

static void no_more_at_once_than_said(void **state)
{
    (void)state;
    vv_object_ops ops = gated_ops();
    vv_env env = thread_env();
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    vv_object_store *s = NULL;
    vv_object_stats stats = {.size = sizeof stats};
    vv_thread *thread[6];
    vv_slice piece = vv_slice_str("y");
    opt.concurrency = 2;
    assert_ok(objs_open_ops(&env, &ops, &opt, &s, &err), err);
    assert_ok(vv_object_put(s, "x", &piece, 1, 0, NULL, &oc, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(thread); i++)
        assert_ok(env.threads->create("get", VV_THREAD_NORMAL, get_one, s, &thread[i], &err), err);
    wait_for_inside(2);
    do
        vv_object_store_stats(s, &stats);
    while (stats.waiting < 4);
    assert_int_equal(stats.in_flight, 2);
    let_pass(100);
    for (size_t i = 0; i < ARRAY_LEN(thread); i++)
        env.threads->join(thread[i]);
    assert_int_equal(gate.inside_most, 2);
    assert_int_equal(vv_check_failures(), 0);
    vv_object_store_close(s);
}

static void the_second_answer_wins(void **state)
{
    (void)state;
    vv_object_ops ops = gated_ops();
    vv_env env = thread_env();
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    vv_object_store *s = NULL;
    vv_object_stats stats = {.size = sizeof stats};
    vv_slice piece = vv_slice_str("y");
    char buf[8];
    size_t got = 0;
    const vv_threads in_order = {create_and_arrive, vv_threads_real()->join};
    env.threads = &in_order;
    gate.first_waits = true;
    opt.hedge_after_ms = 1;
    assert_ok(objs_open_ops(&env, &ops, &opt, &s, &err), err);
    assert_ok(vv_object_put(s, "x", &piece, 1, 0, NULL, &oc, &err), err);
    assert_ok(vv_object_get(s, "x", 0, buf, sizeof buf, &got, NULL, &oc, &err), err);
    assert_int_equal(got, 1);
    assert_int_equal(buf[0], 'y');
    vv_object_store_stats(s, &stats);
    assert_int_equal(stats.hedges, 1);
    assert_int_equal(stats.hedges_won, 1);
    let_pass(100);
    assert_status(VV_NOT_FOUND,
                  vv_object_get(s, "none", 0, buf, sizeof buf, &got, NULL, &oc, &err));
    assert_non_null(strstr(err.msg, "NoSuchKey"));
    vv_object_store_close(s);
}

/* The second request takes a place of its own, and where there is none it is not asked. */
static void a_second_request_takes_a_place(void **state)
{
    (void)state;
    vv_object_ops ops = gated_ops();
    vv_env env = thread_env();
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    vv_object_store *s = NULL;
    vv_object_stats stats = {.size = sizeof stats};
    vv_thread *thread;
    vv_slice piece = vv_slice_str("y");
    gate.first_waits = true;
    opt.hedge_after_ms = 1;
    opt.concurrency = 1;
    assert_ok(objs_open_ops(&env, &ops, &opt, &s, &err), err);
    assert_ok(vv_object_put(s, "x", &piece, 1, 0, NULL, &oc, &err), err);
    assert_ok(env.threads->create("get", VV_THREAD_NORMAL, get_one, s, &thread, &err), err);
    wait_for_inside(1);
    vv_clock_sleep(env.clock, 20 * VV_NS_PER_MS); /* it would have been asked by then */
    let_pass(100);
    env.threads->join(thread);
    vv_object_store_stats(s, &stats);
    assert_int_equal(stats.hedges, 0);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(gate.inside_most, 1);
    assert_int_equal(vv_check_failures(), 0);
    vv_object_store_close(s);
}

static void cancel_soon(void *arg)
{
    vv_object_stats stats = {.size = sizeof stats};
    do
        vv_object_store_stats(arg, &stats);
    while (stats.faults[VV_OBJECT_FAULT_SERVER] == 0);
    vv_object_store_cancel(arg);
}

static void a_wait_can_be_cancelled(void **state)
{
    (void)state;
    vv_env env = thread_env();
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    objs_bucket *bucket = objs_bucket_create();
    vv_object_store *s = NULL;
    vv_thread *thread;
    vv_slice piece = vv_slice_str("y");
    objs_bucket_set(bucket, &(objs_memory_options){.outage = true});
    opt.initial_backoff_ms = 3600 * 1000;
    opt.max_backoff_ms = 3600 * 1000;
    opt.budget_ms = UINT32_MAX;
    assert_ok(objs_open_bucket(&env, bucket, &opt, &s, &err), err);
    assert_ok(env.threads->create("cancel", VV_THREAD_NORMAL, cancel_soon, s, &thread, &err), err);
    assert_status(VV_CLOSED, vv_object_put(s, "x", &piece, 1, 0, NULL, &oc, &err));
    env.threads->join(thread);
    assert_status(VV_CLOSED, vv_object_head(s, "x", NULL, &oc, &err));
    vv_object_store_close(s);
    objs_bucket_destroy(bucket);
}

/* ---- walks ---------------------------------------------------------------------------------- */

/* A small life of a store. Calls that fail are given up; what must hold is checked by the caller.
 */
static void live(vv_object_store *s, bool flips)
{
    char buf[16];
    size_t got;
    bool more;
    unsigned count = 0;
    vv_slice piece = vv_slice_str("content");
    vv_object_upload *u = NULL;
    vv_status st = vv_object_put(s, "a/1", &piece, 1, VV_OBJECT_CREATE, NULL, &oc, &err);
    if (st == VV_OK)
        st = vv_object_put(s, "a/1", &piece, 1, VV_OBJECT_REPLACE, NULL, &oc, &err);
    st = vv_object_get(s, "a/1", 1, buf, 4, &got, NULL, &oc, &err);
    if (st == VV_OK && !flips) /* a part of an object in memory has no sum */
        assert_memory_equal(buf, "onte", 4);
    st = vv_object_list(s, "a", "", 10, count_name, &count, &more, &oc, &err);
    st = vv_object_upload_begin(s, "a/2", VV_OBJECT_CREATE, &u, &oc, &err);
    if (st == VV_OK) {
        st = vv_object_upload_part(u, 1, &piece, 1, &oc, &err);
        if (st == VV_OK)
            st = vv_object_upload_part(u, 2, &piece, 1, &oc, &err);
        if (st == VV_OK)
            st = vv_object_upload_complete(u, NULL, &oc, &err);
        if (st != VV_OK)
            st = vv_object_upload_abort(u, &oc, &err);
    }
    st = vv_object_remove(s, "a/1", &oc, &err);
    (void)st;
}

static void every_fault_at_every_request(void **state)
{
    (void)state;
    for (int f = 1; f < OBJS_MEMORY_FAULT_COUNT; f++) {
        uint64_t sites = 1;
        for (uint64_t n = 1; n <= sites; n++) {
            bed b;
            start(&b);
            open_bed(&b);
            fault_at(&b, (objs_memory_fault)f, n);
            live(b.store, f == OBJS_MEMORY_FLIP);
            sites = objs_bucket_requests(b.bucket);
            bool lost_part = f == OBJS_MEMORY_PARTIAL || f == OBJS_MEMORY_WRONG_ETAG;
            assert_true(lost_part || objs_bucket_objects(b.bucket) == 1);
            if (objs_bucket_objects(b.bucket) == 1)
                expect(&b, "a/2", "contentcontent");
            /* A begin whose answer was lost leaves an upload at the store: the rule of the bucket
             * removes it. No other fault leaves any. */
            assert_true(objs_bucket_uploads(b.bucket) <=
                        (f == OBJS_MEMORY_TIMEOUT_AFTER || f == OBJS_MEMORY_ERROR_AFTER));
            stop(&b);
        }
        assert_true(sites >= 8);
    }
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    static const char *const backends[] = {"memory", "file"};
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        int64_t n = 0;
        for (bool failed = true; failed && n < 3000; n++) {
            vio_sim_disk *disk = vio_sim_disk_create();
            vio_sim_options sim = {.seed = 1};
            vv_env env = {.clock = vio_sim_clock(disk), .seed = 1};
            vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
            vv_object_store *s = NULL;
            opt.backend = backends[i];
            opt.bucket = "b";
            assert_ok(vio_sim_open(disk, &sim, &env.io, &err), err);
            uint64_t before = vv_alloc_count();
            vv_alloc_fail_after(n, 0);
            if (objs_open(&env, &opt, &s, &err) == VV_OK)
                live(s, false);
            vv_object_store_close(s);
            failed = (int64_t)(vv_alloc_count() - before) > n;
            vv_alloc_fail_after(-1, 0);
            vio_destroy(env.io);
            vio_sim_disk_destroy(disk);
        }
        assert_true(n > 20 && n < 3000);
    }
}

static int set_up(void **state)
{
    (void)state;
    vv_mutex_init(&gate.lock, VV_RANK_LEAF);
    vv_cond_init(&gate.cond);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outage_uses_up_the_tries),
        cmocka_unit_test(prop_waits_grow_within_their_bounds),
        cmocka_unit_test(a_budget_ends_the_tries),
        cmocka_unit_test(what_is_final_is_tried_once),
        cmocka_unit_test(a_lost_answer_is_not_another_winner),
        cmocka_unit_test(another_winner_is_told),
        cmocka_unit_test(a_doubt_that_stays_is_told),
        cmocka_unit_test(a_lost_answer_to_complete),
        cmocka_unit_test(a_doubt_about_complete_stays),
        cmocka_unit_test(a_part_that_got_lost_is_found_out),
        cmocka_unit_test(a_flipped_bit_is_never_given),
        cmocka_unit_test(a_list_may_lag),
        cmocka_unit_test(the_breaker_opens_and_closes),
        cmocka_unit_test(figures_name_the_faults),
        cmocka_unit_test(no_more_at_once_than_said),
        cmocka_unit_test(the_second_answer_wins),
        cmocka_unit_test(a_second_request_takes_a_place),
        cmocka_unit_test(a_wait_can_be_cancelled),
        cmocka_unit_test(every_fault_at_every_request),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
