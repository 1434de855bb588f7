/*
 * db_multi_test.c - vv_multi_get: the same answers as one get after the other, at one version, on
 * each engine and the simulated disk.
 */
#include "db/db_test_util.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "db/db_int.h"

#define KEYS 600u

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

typedef struct batch_of_keys {
    char text[KEYS][16];
    vv_slice keys[KEYS];
    vv_value values[KEYS];
    vv_status status[KEYS];
} batch_of_keys;

static batch_of_keys many;

/* Key i, "k000123"; every fifth is never written. */
static void name_keys(void)
{
    for (unsigned i = 0; i < KEYS; i++) {
        (void)snprintf(many.text[i], sizeof many.text[i], "k%06u", i);
        many.keys[i] = vv_slice_str(many.text[i]);
    }
}

static void write_keys(vv_table *t, char mark)
{
    char value[400];
    memset(value, mark, sizeof value - 1);
    value[sizeof value - 1] = '\0';
    name_keys();
    for (unsigned i = 0; i < KEYS; i++) {
        (void)snprintf(value, 16, "%c%u", mark, i);
        value[strlen(value)] = '.';
        if (i % 5 != 0)
            put(t, many.text[i], value);
    }
}

static void expect_keys(const vv_slice *keys, size_t count, char mark)
{
    for (size_t i = 0; i < count; i++) {
        unsigned n = (unsigned)strtoul((const char *)keys[i].data + 1, NULL, 10);
        assert_status(n % 5 != 0 ? VV_OK : VV_NOT_FOUND, many.status[i]);
        if (many.status[i] != VV_OK)
            continue;
        char head[16];
        int len = snprintf(head, sizeof head, "%c%u.", mark, n);
        assert_memory_equal(many.values[i].data.data, head, (size_t)len);
        assert_int_equal(many.values[i].data.len, 399);
        vv_value_release(&many.values[i]);
    }
}

static void many_keys_are_found_in_any_order(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    write_keys(t, 'a');
    assert_ok(vv_checkpoint(w->db, &err), err);
    vv_table_close(t);
    sim_reopen(w); /* nothing is in the cache */
    t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(5));
    for (unsigned round = 0; round < 20; round++) {
        vv_slice keys[KEYS];
        size_t count = vv_rng_below(&rng, KEYS + 1);
        for (size_t i = 0; i < count; i++)
            keys[i] = many.keys[vv_rng_below(&rng, KEYS)];
        assert_ok(vv_multi_get(t, NULL, keys, count, many.values, many.status, &err), err);
        expect_keys(keys, count, 'a');
    }
    vv_table_close(t);
}

static void all_keys_are_read_at_one_version(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_snapshot *snap = NULL;
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    write_keys(t, 'a');
    assert_ok(vv_snapshot_create(w->db, &snap, &err), err);
    write_keys(t, 'b');
    assert_ok(vv_checkpoint(w->db, &err), err);
    assert_ok(vv_multi_get(t, snap, many.keys, KEYS, many.values, many.status, &err), err);
    expect_keys(many.keys, KEYS, 'a');
    assert_ok(vv_multi_get(t, NULL, many.keys, KEYS, many.values, many.status, &err), err);
    expect_keys(many.keys, KEYS, 'b');
    vv_snapshot_release(snap);
    vv_table_close(t);
}

static void tables_are_kept_apart(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_table *other = make_table(w->db, "plant", "other", VV_TABLE_KV);
    write_keys(t, 'a');
    put(other, "k000001", "mine");
    assert_ok(vv_multi_get(other, NULL, many.keys, 3, many.values, many.status, &err), err);
    assert_status(VV_NOT_FOUND, many.status[0]);
    assert_status(VV_OK, many.status[1]);
    assert_status(VV_NOT_FOUND, many.status[2]);
    assert_true(vv_slice_eq(many.values[1].data, vv_slice_str("mine")));
    vv_value_release(&many.values[1]);
    vv_table_close(other);
    vv_table_close(t);
}

static void bad_arguments_read_nothing(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static uint8_t big[VV_KEY_MAX + 1];
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    put(t, "a", "1");
    vv_slice keys[] = {vv_slice_str("a"), vv_slice_of(big, sizeof big), vv_slice_str("b")};
    vv_status status[3] = {VV_OK, VV_OK, VV_OK};
    vv_value values[3];
    assert_status(VV_INVALID, vv_multi_get(t, NULL, keys, 3, values, status, &err));
    assert_non_null(strstr(err.msg, "key 1"));
    for (unsigned i = 0; i < 3; i++)
        assert_status(VV_INVALID, status[i]);
    keys[1] = vv_slice_of(NULL, 0);
    assert_status(VV_INVALID, vv_multi_get(t, NULL, keys, 3, values, status, NULL));
    keys[1] = vv_slice_of(big, VV_KEY_MAX);
    assert_ok(vv_multi_get(t, NULL, keys, 3, values, status, &err), err);
    assert_status(VV_OK, status[0]);
    vv_value_release(&values[0]);
    assert_ok(vv_multi_get(t, NULL, NULL, 0, NULL, NULL, &err), err);

    size_t over = VV_MULTI_GET_MAX + 1;
    vv_slice *lots = calloc(over, sizeof *lots);
    vv_status *answers = calloc(over, sizeof *answers);
    vv_value *none = calloc(over, sizeof *none);
    for (size_t i = 0; i < over; i++)
        lots[i] = vv_slice_str("a");
    assert_status(VV_INVALID, vv_multi_get(t, NULL, lots, over, none, answers, &err));
    assert_non_null(strstr(err.msg, "65536"));
    assert_status(VV_INVALID, answers[over - 1]);
    assert_ok(vv_multi_get(t, NULL, lots, over - 1, none, answers, &err), err);
    for (size_t i = 0; i < over - 1; i++)
        vv_value_release(&none[i]);
    free(none);
    free(answers);
    free(lots);
    assert_ok(vv_table_drop(w->db, "plant", "kv", &err), err);
    assert_status(VV_NOT_FOUND, vv_multi_get(t, NULL, keys, 3, values, status, &err));
    assert_status(VV_NOT_FOUND, status[0]);
    vv_table_close(t);
}

/* Larger than the queue's buffers, beside small ones. */
static void large_values_come_too(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static uint8_t big[300000];
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    write_keys(t, 'a');
    for (unsigned i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_ok(vv_put(t, vv_slice_str("k000100"), vv_slice_of(big, sizeof big), &err), err);
    assert_ok(vv_checkpoint(w->db, &err), err);
    assert_ok(vv_multi_get(t, NULL, many.keys, KEYS, many.values, many.status, &err), err);
    assert_status(VV_OK, many.status[100]);
    assert_true(vv_slice_eq(many.values[100].data, vv_slice_of(big, sizeof big)));
    vv_value_release(&many.values[100]);
    many.status[100] = VV_NOT_FOUND;
    expect_keys(many.keys, KEYS, 'a');
    vv_table_close(t);
}

#ifdef VV_TEST_HOOKS
/* Each allocation fails in turn: the keys that could be read are right, the others say why. */
static void every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    write_keys(t, 'a');
    assert_ok(vv_checkpoint(w->db, &err), err);
    bool failed = true;
    for (int64_t n = 0; failed && n < 2000; n++) {
        vv_alloc_fail_after(n, 0);
        vv_status st = vv_multi_get(t, NULL, many.keys, KEYS, many.values, many.status, &err);
        vv_alloc_fail_after(-1, 0);
        failed = st != VV_OK;
        unsigned without = 0;
        for (unsigned i = 0; i < KEYS; i++) {
            without += many.status[i] == VV_NO_MEMORY;
            if (many.status[i] == VV_OK)
                vv_value_release(&many.values[i]);
            else if (many.status[i] == VV_NOT_FOUND)
                assert_int_equal(i % 5, 0);
            else
                assert_status(VV_NO_MEMORY, many.status[i]);
        }
        if (failed != (without > 0))
            fail_msg("allocation %lld: %u keys without memory, the call says %s", (long long)n,
                     without, vv_status_name(st));
        if (failed)
            assert_non_null(strstr(err.msg, "memory"));
    }
    assert_false(failed);
    assert_ok(vv_multi_get(t, NULL, many.keys, KEYS, many.values, many.status, &err), err);
    expect_keys(many.keys, KEYS, 'a');
    vv_table_close(t);
}
#endif

static void a_failed_read_fails_its_own_keys(void **state)
{
    sim_world *w = *state;
    if (w->ops == &engine_memory_ops)
        return; /* nothing of it is on the disk */
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    write_keys(t, 'a');
    assert_ok(vv_checkpoint(w->db, &err), err);
    vv_table_close(t);
    sim_close(w);
    vio_sim_options faulty = {.seed = 9, .fault = VIO_SIM_EIO};
    assert_ok(sim_on(w, &faulty, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    uint64_t sites = vio_sim_fault_sites(w->disk, VIO_SIM_EIO);
    vv_table_close(t);
    sim_close(w);
    /* The same opening again, and then the tenth read fails. */
    faulty.fault_at = sites + 10;
    assert_ok(sim_on(w, &faulty, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_status st = vv_multi_get(t, NULL, many.keys, KEYS, many.values, many.status, &err);
    assert_status(VV_IO, st);
    assert_non_null(strstr(err.msg, w->ops == &btree_ops ? "leaf" : "block"));
    unsigned failed = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        failed += many.status[i] == VV_IO;
        if (many.status[i] == VV_OK)
            vv_value_release(&many.values[i]);
    }
    assert_in_range(failed, 1, 60);
    assert_ok(vv_multi_get(t, NULL, many.keys, KEYS, many.values, many.status, &err), err);
    expect_keys(many.keys, KEYS, 'a');
    vv_table_close(t);
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(many_keys_are_found_in_any_order),
        T(all_keys_are_read_at_one_version),
        T(tables_are_kept_apart),
        T(bad_arguments_read_nothing),
        T(large_values_come_too),
#ifdef VV_TEST_HOOKS
        T(every_allocation_may_fail),
#endif
        T(a_failed_read_fails_its_own_keys),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&engine_memory_ops) + run(&lsm_ops) + run(&btree_ops);
}
