/*
 * db_range_delete_test.c - what the deletion of a range costs, in operations and not in time: the
 * same for ten keys and for ten thousand, and little for those who read beside many.
 */
#include "db/db_test_bed.h"

#include <string.h>

enum { KEYS = 20000 };

static vv_slice key_of(uint64_t i, char out[16])
{
    return vv_slice_of(out, (size_t)snprintf(out, 16, "k%08llu", (unsigned long long)i));
}

static void delete_range(vv_db *db, vv_table *t, uint64_t from, uint64_t to)
{
    vv_error err = {0};
    char begin[16];
    char end[16];
    vv_batch *b = new_batch(db);
    assert_ok(vv_batch_delete_range(b, t, key_of(from, begin), key_of(to, end), &err), err);
    assert_ok(vv_write(db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(b);
}

static void fill(vv_db *db, vv_table *t)
{
    vv_error err = {0};
    char key[16];
    vv_batch *b = new_batch(db);
    for (uint64_t i = 0; i < KEYS; i++) {
        assert_ok(vv_batch_put(b, t, key_of(i, key), vv_slice_str("v"), 0, &err), err);
        if (i % 1000 < 999)
            continue;
        assert_ok(vv_write(db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
        vv_batch_clear(b);
    }
    vv_batch_destroy(b);
}

/* Everything a write could have done more of for more keys. */
typedef struct cost {
    uint64_t calls;  /* to the disk that change something */
    uint64_t log;    /* bytes */
    uint64_t blocks; /* looked at */
    uint64_t items;  /* in memtables */
    uint64_t points; /* passed in the code */
    uint64_t memory; /* bytes of memtables */
} cost;

static void count_point(void *ctx, const char *name)
{
    (void)name;
    ++*(uint64_t *)ctx;
}

static cost cost_of_delete(sim_world *w, vv_table *t, uint64_t from, uint64_t to)
{
    cost c = {0};
    vv_stats s[2] = {{.size = sizeof s[0]}, {.size = sizeof s[0]}};
    engine *eng = w->db->shards[0].eng;
    engine_stats e[2];
    vv_stats_read(w->db, &s[0]);
    eng->ops->stats(eng, &e[0]);
    uint64_t calls = vio_sim_write_count(w->disk);
    vv_point_set(count_point, &c.points);
    delete_range(w->db, t, from, to);
    vv_point_set(NULL, NULL);
    vv_stats_read(w->db, &s[1]);
    eng->ops->stats(eng, &e[1]);
    c.calls = vio_sim_write_count(w->disk) - calls;
    c.log = s[1].log_appended_bytes - s[0].log_appended_bytes;
    c.blocks = s[1].cache_hits + s[1].cache_misses - s[0].cache_hits - s[0].cache_misses;
    c.items = e[1].memtable_items - e[0].memtable_items;
    c.memory = e[1].memtable_bytes - e[0].memtable_bytes;
    return c;
}

static void a_deletion_costs_the_same_for_any_range(void **state)
{
    static const uint64_t spans[] = {1, 10, 1000, KEYS - 1};
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    fill(w->db, t);
    assert_ok(vv_checkpoint(w->db, &err), err);
    for (uint64_t i = 0; i < 8; i++) /* what the first ones find in the way */
        delete_range(w->db, t, i, i + 1);
    cost first = cost_of_delete(w, t, 5, 5 + spans[0]);
    assert_true(first.calls > 0 && first.log > 0 && first.memory > 0);
    assert_int_equal(first.blocks, 0);
    for (size_t i = 1; i < ARRAY_LEN(spans); i++) {
        cost more = cost_of_delete(w, t, 0, spans[i]);
        assert_int_equal(more.calls, first.calls);
        assert_int_equal(more.log, first.log);
        assert_int_equal(more.blocks, 0);
        assert_int_equal(more.items, first.items);
        assert_in_range(more.memory, 1, 2 * first.memory);
        assert_true(more.points <= first.points + 8); /* the few recent ones it is sorted into */
    }
    expect(t, NULL, "k00000007", NULL);
    expect(t, NULL, "k00019998", NULL);
    expect(t, NULL, "k00019999", "v");
    vv_table_close(t);
}

static void count_looks(void *ctx, const char *name)
{
    *(uint64_t *)ctx += strcmp(name, "engine.rangedel.look") == 0;
}

enum { READS = 500 };

/* Ranges looked at by a read, on average, of keys between the deleted ones and of deleted ones. */
static double looks_a_read(vv_table *t, uint64_t ranges)
{
    uint64_t looks = 0;
    vv_point_set(count_looks, &looks);
    for (uint64_t i = 0; i < READS; i++) {
        char key[16];
        vv_value got;
        vv_error err = {0};
        uint64_t at = i * 7919 % (ranges * 4);
        vv_status st = vv_get(t, NULL, key_of(at, key), &got, &err);
        assert_status(at % 4 < 2 ? VV_NOT_FOUND : VV_OK, st); /* two of four are deleted */
        if (st == VV_OK)
            vv_value_release(&got);
    }
    vv_point_set(NULL, NULL);
    return (double)looks / READS;
}

/* 64 times the ranges, and not 64 times the looks: their logarithm, with room for the recent ones
 * that a memtable keeps aside. */
static void reads_beside_many_deletions_cost_little_more(void **state)
{
    enum { FEW = 64, MANY = 4096 };
    sim_world *w = *state;
#ifndef VV_TEST_HOOKS
    skip(); /* nothing counts */
#endif
    vv_error err = {0};
    sim_close(w);
    w->opt.memory_limit = 256u << 20;
    w->opt.memtable_size = 16u << 20;
    w->opt.log_limit = 64u << 20;
    sim_start(w);
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    fill(w->db, t);
    assert_ok(vv_checkpoint(w->db, &err), err);
    uint64_t made = 0;
    for (; made < FEW; made++)
        delete_range(w->db, t, made * 4, made * 4 + 2);
    double few = looks_a_read(t, FEW);
    for (; made < MANY; made++)
        delete_range(w->db, t, made * 4, made * 4 + 2);
    double many = looks_a_read(t, MANY);
    assert_true(few > 0);
    if (many > few + 64)
        fail_msg("%.1f looks a read beside %d ranges, %.1f beside %d", many, MANY, few, FEW);
    assert_ok(vv_checkpoint(w->db, &err), err); /* and in a run there are no recent ones */
    double flushed = looks_a_read(t, MANY);
    if (flushed > 32)
        fail_msg("%.1f looks a read beside %d ranges in runs", flushed, MANY);
    vv_table_close(t);
}

int main(void)
{
    engine_under_test = &lsm_ops;
    const struct CMUnitTest tests[] = {
        T(a_deletion_costs_the_same_for_any_range),
        T(reads_beside_many_deletions_cost_little_more),
    };
    return cmocka_run_group_tests_name("range delete", tests, NULL, NULL);
}
