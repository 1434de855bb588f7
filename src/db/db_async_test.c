/*
 * db_async_test.c - vv_get_async: the answers of vv_get, each once, in polls alone, whatever is
 * cancelled, closed, refused or broken meanwhile; on each engine and the simulated disk, which
 * lets reads end in any order.
 */
#include "db/db_test_util.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "db/db_int.h"
#include "varve/async.h"

#define KEYS 400u

static const engine_ops *engine_under_test;

static int setup(void **state)
{
    sim_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->ops = engine_under_test;
    w->opt = (vv_options)SIM_TINY_OPTIONS;
    w->opt.cache_size = 64u << 10; /* most blocks are on the disk alone */
    w->opt.direct_io = true;
    sim_start(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    sim_world *w = *state;
    sim_end(w);
    free(w);
    return 0;
}

/* One get and what became of it. */
typedef struct ask {
    char key[16];
    unsigned number;
    unsigned answers;
    vv_status status;
    vv_value value;
    vv_error err;
} ask;

static ask asks[KEYS];

static void take(void *ctx, vv_status status, vv_value *value, const vv_error *err)
{
    ask *a = ctx;
    a->answers++;
    a->status = status;
    assert_true((status == VV_OK) == (value != NULL) && (status == VV_OK) == (err == NULL));
    if (value != NULL)
        a->value = *value;
    else
        a->err = *err;
}

static void name_asks(void)
{
    memset(asks, 0, sizeof asks);
    for (unsigned i = 0; i < KEYS; i++) {
        asks[i].number = i;
        (void)snprintf(asks[i].key, sizeof asks[i].key, "k%06u", i);
    }
}

/* Every fifth is never written. */
static void fill_value(char out[400], unsigned i, char mark)
{
    memset(out, mark, 399);
    out[399] = '\0';
    int n = snprintf(out, 16, "%c%u", mark, i);
    out[n] = '.';
}

static void write_keys(vv_table *t, char mark)
{
    char value[400];
    name_asks();
    for (unsigned i = 0; i < KEYS; i++) {
        fill_value(value, i, mark);
        if (i % 5 != 0)
            put(t, asks[i].key, value);
    }
}

static vv_async *open_async(sim_world *w, unsigned limit)
{
    vv_error err = {0};
    vv_async *a = NULL;
    assert_ok(vv_async_open(w->db, limit, &a, &err), err);
    return a;
}

static void hand_over(vv_async *a, vv_table *t, const vv_snapshot *snap, ask *which)
{
    vv_error err = {0};
    assert_ok(vv_get_async(a, t, snap, vv_slice_str(which->key), take, which, &err), err);
}

static void poll_all(vv_async *a)
{
    unsigned held = vv_async_held(a);
    unsigned count = 0;
    while (vv_async_held(a) > 0) {
        unsigned n = vv_async_poll(a, 1);
        assert_true(n > 0);
        count += n;
    }
    assert_int_equal(count, held);
}

static void expect_answer(ask *a, char mark)
{
    char want[400];
    fill_value(want, a->number, mark);
    assert_int_equal(a->answers, 1);
    assert_status(a->number % 5 != 0 ? VV_OK : VV_NOT_FOUND, a->status);
    if (a->status != VV_OK)
        return;
    assert_int_equal(a->value.data.len, 399);
    assert_memory_equal(a->value.data.data, want, 399);
    vv_value_release(&a->value);
}

/* What was written lies on the disk, and little of it in the cache. */
static vv_table *cold_table(sim_world *w)
{
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    write_keys(t, 'a');
    assert_ok(vv_checkpoint(w->db, &err), err);
    vv_table_close(t);
    sim_reopen(w);
    return make_table(w->db, "plant", "kv", VV_TABLE_KV);
}

static void answers_come_in_polls_alone(void **state)
{
    sim_world *w = *state;
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_async *a = open_async(w, 8);
    name_asks();
    put(t, asks[1].key, "in memory");
    assert_int_equal(vv_async_poll(a, 0), 0);
    assert_int_equal(vv_async_poll(a, 5), 0); /* nothing to wait for */
    hand_over(a, t, NULL, &asks[0]);
    hand_over(a, t, NULL, &asks[1]);
    assert_int_equal(asks[0].answers + asks[1].answers, 0);
    assert_int_equal(vv_async_held(a), 2);
    assert_int_equal(vv_async_poll(a, 0), 2);
    assert_status(VV_NOT_FOUND, asks[0].status);
    assert_non_null(strstr(asks[0].err.msg, "not in the table"));
    assert_status(VV_OK, asks[1].status);
    assert_true(vv_slice_eq(asks[1].value.data, vv_slice_str("in memory")));
    assert_int_equal(vv_async_fd(a), -1); /* a simulated disk has none */
    vv_async_close(a);
    assert_true(vv_slice_eq(asks[1].value.data, vv_slice_str("in memory"))); /* it stays */
    vv_value_release(&asks[1].value);
    vv_async_close(NULL);
    vv_table_close(t);
}

static void cold_keys_are_found_in_any_order(void **state)
{
    sim_world *w = *state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(5));
    vv_table *t = cold_table(w);
    for (unsigned round = 0; round < 10; round++) {
        vv_async *a = open_async(w, KEYS);
        name_asks();
        for (unsigned i = 0; i < KEYS; i++) {
            hand_over(a, t, NULL, &asks[i * 7 % KEYS]);
            if (vv_rng_below(&rng, 20) == 0)
                (void)vv_async_poll(a, (unsigned)vv_rng_below(&rng, 4));
        }
        poll_all(a);
        for (unsigned i = 0; i < KEYS; i++)
            expect_answer(&asks[i], 'a');
        vv_async_close(a);
    }
    vv_table_close(t);
}

/* Handing over reads nothing, and a poll has many reads under way before one is answered. */
static void handing_over_does_not_wait(void **state)
{
    sim_world *w = *state;
    if (w->ops == &engine_memory_ops)
        return; /* nothing of it is on the disk */
    vv_table *t = cold_table(w);
    vv_async *a = open_async(w, KEYS);
    name_asks();
    uint64_t reads = vio_sim_fault_sites(w->disk, VIO_SIM_EIO);
    for (unsigned i = 0; i < KEYS; i++)
        hand_over(a, t, NULL, &asks[i]);
    assert_true(vio_sim_fault_sites(w->disk, VIO_SIM_EIO) == reads);
    poll_all(a);
    assert_true(vio_sim_fault_sites(w->disk, VIO_SIM_EIO) > reads + 10);
    for (unsigned i = 0; i < KEYS; i++)
        expect_answer(&asks[i], 'a');
    vv_async_close(a);
    vv_table_close(t);
}

/* A get sees the moment at which it was handed over, or its snapshot. */
static void later_writes_are_not_seen(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_snapshot *snap = NULL;
    vv_table *t = cold_table(w);
    assert_ok(vv_snapshot_create(w->db, &snap, &err), err);
    vv_async *a = open_async(w, KEYS);
    for (unsigned i = 0; i < KEYS; i++)
        hand_over(a, t, NULL, &asks[i]);
    ask kept[KEYS];
    memcpy(kept, asks, sizeof kept);
    char value[400];
    for (unsigned i = 0; i < KEYS; i++) {
        fill_value(value, i, 'b');
        put(t, asks[i].key, value);
    }
    assert_ok(vv_checkpoint(w->db, &err), err);
    assert_ok(vv_compact(t, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    poll_all(a);
    for (unsigned i = 0; i < KEYS; i++)
        expect_answer(&asks[i], 'a');
    name_asks();
    for (unsigned i = 0; i < KEYS; i++)
        hand_over(a, t, snap, &asks[i]);
    poll_all(a);
    for (unsigned i = 0; i < KEYS; i++)
        expect_answer(&asks[i], 'a');
    name_asks();
    hand_over(a, t, NULL, &asks[1]);
    poll_all(a);
    expect_answer(&asks[1], 'b');
    vv_async_close(a);
    vv_snapshot_release(snap);
    vv_table_close(t);
}

static void the_limit_holds(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = cold_table(w);
    vv_async *a = NULL;
    assert_status(VV_INVALID, vv_async_open(w->db, 0, &a, &err));
    assert_status(VV_INVALID, vv_async_open(w->db, VV_ASYNC_MAX + 1, &a, &err));
    assert_null(a);
    a = open_async(w, 3);
    name_asks();
    for (unsigned i = 1; i < 4; i++)
        hand_over(a, t, NULL, &asks[i]);
    assert_status(VV_BUSY, vv_get_async(a, t, NULL, vv_slice_str("k000004"), take, &asks[4], &err));
    assert_non_null(strstr(err.msg, "limit"));
    assert_true(vv_async_poll(a, 1) > 0);
    hand_over(a, t, NULL, &asks[4]);
    poll_all(a);
    for (unsigned i = 1; i < 5; i++)
        expect_answer(&asks[i], 'a');
    vv_async_close(a);
    vv_table_close(t);
}

static void bad_keys_are_refused_at_once(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static uint8_t big[VV_KEY_MAX + 1];
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_async *a = open_async(w, 4);
    name_asks();
    assert_status(VV_INVALID, vv_get_async(a, t, NULL, vv_slice_of(NULL, 0), take, &asks[0], &err));
    assert_status(VV_INVALID,
                  vv_get_async(a, t, NULL, vv_slice_of(big, sizeof big), take, &asks[0], NULL));
    assert_ok(vv_get_async(a, t, NULL, vv_slice_of(big, VV_KEY_MAX), take, &asks[0], &err), err);
    poll_all(a);
    assert_status(VV_NOT_FOUND, asks[0].status);
    assert_ok(vv_table_drop(w->db, "plant", "kv", &err), err);
    assert_status(VV_NOT_FOUND, vv_get_async(a, t, NULL, vv_slice_str("a"), take, &asks[0], &err));
    assert_int_equal(vv_async_held(a), 0);
    vv_async_close(a);
    vv_table_close(t);
}

/* Each answer hands the next one over: as an embedder's requests do. */
typedef struct chain {
    vv_async *a;
    vv_table *t;
    unsigned next;
    unsigned wrong;
} chain;

static void take_and_go_on(void *ctx, vv_status status, vv_value *value, const vv_error *err)
{
    (void)err;
    chain *c = ctx;
    if (status == VV_OK)
        vv_value_release(value);
    else
        c->wrong++;
    char key[16];
    c->next++;
    if (c->next % 5 == 0)
        c->next++;
    (void)snprintf(key, sizeof key, "k%06u", c->next);
    if (c->next < KEYS &&
        vv_get_async(c->a, c->t, NULL, vv_slice_str(key), take_and_go_on, c, NULL) != VV_OK)
        c->wrong++;
}

static void an_answer_may_hand_over_the_next(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = cold_table(w);
    chain chains[4];
    vv_async *a = open_async(w, 4);
    for (unsigned i = 0; i < 4; i++) {
        chains[i] = (chain){a, t, 1 + i * 2, 0};
        if (chains[i].next == 5)
            chains[i].next = 6;
        char key[16];
        (void)snprintf(key, sizeof key, "k%06u", chains[i].next);
        assert_ok(vv_get_async(a, t, NULL, vv_slice_str(key), take_and_go_on, &chains[i], &err),
                  err);
    }
    while (vv_async_held(a) > 0)
        (void)vv_async_poll(a, 1);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(chains[i].wrong, 0);
        assert_true(chains[i].next >= KEYS);
    }
    vv_async_close(a);
    vv_table_close(t);
}

/* At any moment of their way: half of the gets are cancelled, then or later all is closed. */
static void prop_each_get_is_answered_once_or_cancelled(void **state)
{
    sim_world *w = *state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(11));
    vv_table *t = cold_table(w);
    for (unsigned round = 0; round < 60; round++) {
        bool cancelled[KEYS] = {0};
        name_asks();
        vv_async *a = open_async(w, KEYS);
        unsigned count = 1 + (unsigned)vv_rng_below(&rng, KEYS - 1);
        for (unsigned i = 0; i < count; i++)
            hand_over(a, t, NULL, &asks[i]);
        for (unsigned n = (unsigned)vv_rng_below(&rng, 6); n > 0; n--)
            (void)vv_async_poll(a, 0);
        for (unsigned i = 0; i < count; i += 2) {
            unsigned held = vv_async_held(a);
            unsigned n = vv_async_cancel(a, &asks[i]);
            assert_int_equal(n, asks[i].answers == 0);
            assert_int_equal(vv_async_held(a), held - n);
            cancelled[i] = n > 0;
        }
        for (unsigned n = (unsigned)vv_rng_below(&rng, 6); n > 0; n--)
            (void)vv_async_poll(a, 0);
        if (vv_rng_below(&rng, 2) == 0)
            poll_all(a);
        vv_async_close(a);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(asks[i].answers, cancelled[i] ? 0 : 1);
            if (!cancelled[i] && asks[i].status != VV_CLOSED)
                expect_answer(&asks[i], 'a');
        }
    }
    vv_table_close(t);
}

static void hand_over_too_late(void *ctx, vv_status status, vv_value *value, const vv_error *err)
{
    (void)err;
    chain *c = ctx;
    if (status == VV_OK)
        vv_value_release(value);
    c->wrong += vv_get_async(c->a, c->t, NULL, vv_slice_str("k000001"), hand_over_too_late, c,
                             NULL) != VV_CLOSED;
    c->next++;
}

static void a_close_takes_nothing_more(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = cold_table(w);
    vv_async *a = open_async(w, 100);
    chain c = {a, t, 0, 0};
    for (unsigned i = 0; i < 100; i++)
        assert_ok(vv_get_async(a, t, NULL, vv_slice_str(asks[i].key), hand_over_too_late, &c, &err),
                  err);
    vv_async_close(a);
    assert_int_equal(c.next, 100);
    assert_int_equal(c.wrong, 0);
    vv_table_close(t);
}

/* Values in files of their own, values larger than a buffer of the queue, merges. */
static void values_of_every_form_come(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static uint8_t big[300000];
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.value_threshold = w->ops == &lsm_ops ? 1000 : 0;
    assert_ok(vv_table_create(w->db, "plant", "large", &opt, &t, &err), err);
    for (unsigned i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 2654435761u >> 13);
    write_keys(t, 'a');
    for (unsigned i = 1; i < 20; i++)
        assert_ok(vv_put(t, vv_slice_str(asks[i * 10].key), vv_slice_of(big, 15000 * i), &err),
                  err);
    for (unsigned n = 0; n < 3; n++) {
        assert_ok(vv_merge(t, vv_slice_str("m"), VV_APPEND, vv_slice_str("ab"), &err), err);
        assert_ok(vv_checkpoint(w->db, &err), err);
    }
    assert_ok(vv_checkpoint(w->db, &err), err);
    vv_async *a = open_async(w, 100);
    name_asks();
    for (unsigned i = 1; i < 20; i++)
        hand_over(a, t, NULL, &asks[i * 10]);
    (void)snprintf(asks[7].key, sizeof asks[7].key, "m");
    hand_over(a, t, NULL, &asks[7]);
    poll_all(a);
    for (unsigned i = 1; i < 20; i++) {
        assert_status(VV_OK, asks[i * 10].status);
        assert_true(vv_slice_eq(asks[i * 10].value.data, vv_slice_of(big, 15000 * i)));
        vv_value_release(&asks[i * 10].value);
    }
    assert_status(VV_OK, asks[7].status);
    assert_true(vv_slice_eq(asks[7].value.data, vv_slice_str("ababab")));
    vv_value_release(&asks[7].value);
    asks[10].answers = 0;
    hand_over(a, t, NULL, &asks[10]); /* given up in the middle */
    (void)vv_async_poll(a, 0);
    (void)vv_async_cancel(a, &asks[10]);
    vv_async_close(a);
    if (asks[10].answers == 1 && asks[10].status == VV_OK)
        vv_value_release(&asks[10].value);
    vv_table_close(t);
}

#ifdef VV_TEST_HOOKS
/* Each allocation fails in turn: what is answered is right, the others say why. */
static void every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = cold_table(w);
    bool failed = true;
    for (int64_t n = 0; failed && n < 3000; n++) {
        name_asks();
        vv_alloc_fail_after(n, 0);
        vv_async *a = NULL;
        vv_status st = vv_async_open(w->db, KEYS, &a, &err);
        failed = st != VV_OK;
        for (unsigned i = 0; st == VV_OK && i < KEYS; i++) {
            vv_status one =
                vv_get_async(a, t, NULL, vv_slice_str(asks[i].key), take, &asks[i], &err);
            if (one != VV_OK)
                asks[i].status = one;
        }
        while (a != NULL && vv_async_held(a) > 0)
            (void)vv_async_poll(a, 1);
        vv_alloc_fail_after(-1, 0);
        vv_async_close(a);
        for (unsigned i = 0; st == VV_OK && i < KEYS; i++) {
            failed |= asks[i].status == VV_NO_MEMORY;
            if (asks[i].status != VV_NO_MEMORY)
                expect_answer(&asks[i], 'a');
        }
    }
    assert_false(failed);
    vv_table_close(t);
}
#endif

static vv_table *open_faulty(sim_world *w, uint64_t fault_at, uint64_t *sites)
{
    vv_error err = {0};
    vio_sim_options faulty = {.seed = 9, .fault = VIO_SIM_EIO, .fault_at = fault_at};
    assert_ok(sim_on(w, &faulty, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    *sites = vio_sim_fault_sites(w->disk, VIO_SIM_EIO);
    return t;
}

/* Each read fails once: its own gets say so, the others are right, and all are right again. */
static void a_failed_read_fails_its_own_gets(void **state)
{
    sim_world *w = *state;
    if (w->ops == &engine_memory_ops)
        return; /* nothing of it is on the disk */
    uint64_t sites = 0;
    uint64_t unused;
    vv_table_close(cold_table(w));
    sim_close(w);
    vv_table_close(open_faulty(w, 0, &sites));
    sim_close(w);
    unsigned failures = 0;
    for (uint64_t n = 1; n < 100; n += 9) {
        vv_table *t = open_faulty(w, sites + n, &unused);
        vv_async *a = open_async(w, KEYS);
        name_asks();
        for (unsigned i = 0; i < KEYS; i++)
            hand_over(a, t, NULL, &asks[i]);
        poll_all(a);
        for (unsigned i = 0; i < KEYS; i++) {
            failures += asks[i].status == VV_IO;
            if (asks[i].status == VV_IO)
                assert_non_null(strstr(asks[i].err.msg, "Input/output"));
            else
                expect_answer(&asks[i], 'a');
            asks[i].answers = 0;
            hand_over(a, t, NULL, &asks[i]);
        }
        poll_all(a);
        for (unsigned i = 0; i < KEYS; i++)
            expect_answer(&asks[i], 'a');
        vv_async_close(a);
        vv_table_close(t);
        sim_close(w);
    }
    assert_true(failures >= 4);
    sim_start(w);
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(answers_come_in_polls_alone),
        T(cold_keys_are_found_in_any_order),
        T(handing_over_does_not_wait),
        T(later_writes_are_not_seen),
        T(the_limit_holds),
        T(bad_keys_are_refused_at_once),
        T(an_answer_may_hand_over_the_next),
        T(prop_each_get_is_answered_once_or_cancelled),
        T(a_close_takes_nothing_more),
        T(values_of_every_form_come),
#ifdef VV_TEST_HOOKS
        T(every_allocation_may_fail),
#endif
        T(a_failed_read_fails_its_own_gets),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&engine_memory_ops) + run(&lsm_ops) + run(&btree_ops);
}
