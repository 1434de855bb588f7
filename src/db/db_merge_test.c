/*
 * db_merge_test.c - merges through the public interface: what they come to in memtables, in files,
 * over a restart, in batches, at snapshots and under expiry.
 */
#include "db/db_test_util.h"

#include "base/bytes.h"
#include "btree/btree.h"
#include "db/db_int.h"

static const engine_ops *engine_under_test;

static int setup(void **state)
{
    sim_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->ops = engine_under_test;
    w->opt = (vv_options)SIM_TINY_OPTIONS;
    w->opt.memory_limit = 256u << 20; /* for a value at the limit, some times over */
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

static vv_slice number(int64_t v)
{
    static uint8_t bytes[4][8];
    static unsigned next;
    uint8_t *p = bytes[next++ % 4];
    vv_put_le64(p, (uint64_t)v);
    return vv_slice_of(p, 8);
}

static void merge(vv_table *t, const char *key, vv_operator op, vv_slice operand)
{
    vv_error err = {0};
    assert_ok(vv_merge(t, vv_slice_str(key), op, operand, &err), err);
}

static void expect_bytes(vv_table *t, const vv_snapshot *snap, const char *key, vv_slice want)
{
    vv_error err = {0};
    vv_value got;
    assert_ok(vv_get(t, snap, vv_slice_str(key), &got, &err), err);
    if (!vv_slice_eq(got.data, want))
        fail_msg("'%s' has %zu bytes, not what was merged", key, got.data.len);
    vv_value_release(&got);
}

/* The same through a cursor, both ways. */
static void expect_in_order(vv_table *t, const char *const *keys, const vv_slice *want, size_t n)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    assert_ok(vv_cursor_open(t, NULL, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_str(""), &err), err);
    for (size_t i = 0; i < n; i++) {
        assert_true(vv_cursor_valid(c));
        assert_true(vv_slice_eq(vv_cursor_key(c), vv_slice_str(keys[i])));
        assert_true(vv_slice_eq(vv_cursor_value(c), want[i]));
        assert_ok(vv_cursor_next(c, &err), err);
    }
    assert_false(vv_cursor_valid(c));
    assert_ok(vv_cursor_seek_below(c, vv_slice_str(""), &err), err);
    for (size_t i = n; i-- > 0;) {
        assert_true(vv_slice_eq(vv_cursor_value(c), want[i]));
        assert_ok(vv_cursor_prev(c, &err), err);
    }
    vv_cursor_close(c);
}

static void operators_change_what_they_do_not_read(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "t", VV_TABLE_KV);
    vv_snapshot *early = NULL;
    int64_t sum = 0;
    char list[256] = "";
    for (int64_t i = 1; i <= 60; i++) {
        merge(t, "a-sum", VV_ADD, number(i * i - 500));
        merge(t, "b-max", VV_MAX, number(i % 17 - 30));
        merge(t, "c-list", VV_APPEND, vv_slice_str(i % 2 == 0 ? "x," : "yz,"));
        sum += i * i - 500;
        (void)strcat(list, i % 2 == 0 ? "x," : "yz,");
        if (i == 20)
            assert_ok(vv_snapshot_create(w->db, &early, &err), err);
        if (i % 13 == 0)
            assert_ok(vv_checkpoint(w->db, &err), err);
        if (i % 29 == 0)
            assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
        if (i == 45) {
            vv_snapshot_release(early);
            early = NULL;
        } else if (early != NULL) {
            int64_t then = 0;
            for (int64_t j = 1; j <= 20; j++)
                then += j * j - 500;
            expect_bytes(t, early, "a-sum", number(then));
            expect_bytes(t, early, "b-max", number(-14));
        }
        expect_bytes(t, NULL, "a-sum", number(sum));
        expect_bytes(t, NULL, "c-list", vv_slice_str(list));
    }
    const char *const keys[] = {"a-sum", "b-max", "c-list"};
    vv_slice want[] = {number(sum), number(-14), vv_slice_str(list)};
    expect_in_order(t, keys, want, 3);
    vv_table_close(t);
    sim_reopen(w);
    assert_ok(vv_table_open(w->db, "plant", "t", &t, &err), err);
    expect_in_order(t, keys, want, 3);
    assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
    expect_in_order(t, keys, want, 3);
    vv_table_close(t);
}

static void a_batch_merges_in_order(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "t", VV_TABLE_KV);
    put(t, "k", "old");
    vv_batch *b = vv_batch_create(w->db);
    vv_slice k = vv_slice_str("k");
    assert_ok(vv_batch_merge(b, t, k, VV_APPEND, vv_slice_str("-1"), 0, &err), err);
    assert_ok(vv_batch_merge(b, t, k, VV_APPEND, vv_slice_str("-2"), 0, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    expect(t, NULL, "k", "old-1-2");
    vv_batch_clear(b);
    assert_ok(vv_batch_merge(b, t, k, VV_APPEND, vv_slice_str("-3"), 0, &err), err);
    assert_ok(vv_batch_put(b, t, k, vv_slice_str("new"), 0, &err), err);
    assert_ok(vv_batch_merge(b, t, k, VV_APPEND, vv_slice_str("-4"), 0, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    expect(t, NULL, "k", "new-4");
    vv_batch_clear(b);
    assert_ok(vv_batch_delete(b, t, k, &err), err);
    assert_ok(vv_batch_merge(b, t, k, VV_APPEND, vv_slice_str("5"), 0, &err), err);
    assert_ok(vv_batch_delete_range(b, t, vv_slice_str("j"), vv_slice_str("l"), &err), err);
    assert_ok(vv_batch_merge(b, t, k, VV_APPEND, vv_slice_str("6"), 0, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    expect(t, NULL, "k", "6");
    vv_batch_destroy(b);
    vv_table_close(t);
    sim_reopen(w);
    assert_ok(vv_table_open(w->db, "plant", "t", &t, &err), err);
    expect(t, NULL, "k", "6");
    assert_ok(vv_checkpoint(w->db, &err), err);
    expect(t, NULL, "k", "6");
    /* Conditions see the value that it comes to. */
    merge(t, "k", VV_APPEND, vv_slice_str("7"));
    assert_status(VV_CONFLICT, vv_compare_and_swap(t, k, true, vv_slice_str("6"), k, 0,
                                                   VV_DURABLE_DEFAULT, NULL, &err));
    assert_ok(vv_compare_and_swap(t, k, true, vv_slice_str("67"), vv_slice_str("done"), 0,
                                  VV_DURABLE_DEFAULT, NULL, &err),
              err);
    expect(t, NULL, "k", "done");
    vv_table_close(t);
}

static void merges_and_expiry(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "t", VV_TABLE_KV);
    vv_batch *b = vv_batch_create(w->db);
    vv_slice k = vv_slice_str("k");
    int64_t now = vv_clock_wall(w->env.clock);
    assert_ok(vv_batch_put(b, t, k, vv_slice_str("a"), now + 10 * VV_NS_PER_S, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    merge(t, "k", VV_APPEND, vv_slice_str("b")); /* while it lives: and now without an expiry */
    vio_sim_advance(w->disk, 60 * VV_NS_PER_S);
    expect(t, NULL, "k", "ab");
    assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
    expect(t, NULL, "k", "ab");
    now = vv_clock_wall(w->env.clock);
    vv_batch_clear(b);
    assert_ok(vv_batch_merge(b, t, k, VV_APPEND, vv_slice_str("c"), now + VV_NS_PER_S, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    expect(t, NULL, "k", "abc");
    vio_sim_advance(w->disk, 60 * VV_NS_PER_S);
    expect(t, NULL, "k", NULL);
    merge(t, "k", VV_APPEND, vv_slice_str("d")); /* on nothing */
    expect(t, NULL, "k", "d");
    assert_ok(vv_checkpoint(w->db, &err), err);
    expect(t, NULL, "k", "d");
    vv_batch_destroy(b);
    vv_table_close(t);
}

static void bad_operands_are_named(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "t", VV_TABLE_KV);
    vv_slice k = vv_slice_str("k");
    assert_status(VV_INVALID, vv_merge(t, k, VV_ADD, vv_slice_str("1"), &err));
    assert_non_null(strstr(err.msg, "an int64 has 8"));
    assert_status(VV_INVALID, vv_merge(t, k, (vv_operator)7, number(1), &err));
    assert_non_null(strstr(err.msg, "operator 7"));
    assert_status(VV_INVALID, vv_merge(t, vv_slice_str(""), VV_ADD, number(1), &err));
    uint8_t *big = calloc(1, VV_VALUE_MAX + 1u);
    assert_non_null(big);
    assert_status(VV_INVALID, vv_merge(t, k, VV_APPEND, vv_slice_of(big, VV_VALUE_MAX + 1u), &err));
    assert_ok(vv_merge(t, k, VV_APPEND, vv_slice_of(big, VV_VALUE_MAX), &err), err);
    merge(t, "k", VV_APPEND, vv_slice_str("cut off"));
    expect_bytes(t, NULL, "k", vv_slice_of(big, VV_VALUE_MAX));
    free(big);
    vv_table *records = make_table(w->db, "plant", "r", VV_TABLE_RECORD);
    assert_status(VV_INVALID, vv_merge(records, k, VV_ADD, number(1), &err));
    vv_table_close(records);
    vv_table_close(t);
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(operators_change_what_they_do_not_read),
        T(a_batch_merges_in_order),
        T(merges_and_expiry),
        T(bad_operands_are_named),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&engine_memory_ops) + run(&lsm_ops) + run(&btree_ops);
}
