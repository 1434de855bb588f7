/*
 * db_bulk_test.c - bulk loads: what they promise to readers, writers and transactions, and that all
 * of one is there or none, whatever fails and wherever the power goes.
 */
#include "db/db_test_bed.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "varve/bulk.h"
#include "varve/txn.h"

enum { KEYS = 400, VALUE = 90 };

static vv_table *kv_table(vv_db *db)
{
    return make_table(db, "plant", "kv", VV_TABLE_KV);
}

static vv_bulk *begin(vv_table *t)
{
    vv_error err = {0};
    vv_bulk *load = NULL;
    assert_ok(vv_bulk_begin(t, &load, &err), err);
    return load;
}

static vv_status load_put(vv_bulk *load, const char *key, const char *value, vv_error *err)
{
    return vv_bulk_put(load, vv_slice_str(key), vv_slice_str(value), 0, err);
}

static void finish(vv_bulk *load, vv_write_result *result)
{
    vv_error err = {0};
    assert_ok(vv_bulk_finish(load, result, &err), err);
}

static const char *key_of(int i)
{
    static char key[16];
    (void)snprintf(key, sizeof key, "k%06d", i);
    return key;
}

/* A value that names its writer, long enough for several files. */
static const char *value_of(char tag, int i)
{
    static char value[VALUE + 1];
    (void)snprintf(value, sizeof value, "%c%06d.%0*d", tag, i, VALUE - 8, i * 7919);
    return value;
}

static vv_status fill(vv_bulk *load, char tag, int from, int to, vv_error *err)
{
    vv_status st = VV_OK;
    for (int i = from; st == VV_OK && i < to; i++)
        st = load_put(load, key_of(i), value_of(tag, i), err);
    return st;
}

static void load_range(vv_table *t, char tag, int from, int to, vv_write_result *result)
{
    vv_error err = {0};
    vv_bulk *load = begin(t);
    assert_ok(fill(load, tag, from, to, &err), err);
    finish(load, result);
}

static void note_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("finding: %s\n", text);
}

static void check_store(sim_world *w)
{
    vv_error err = {0};
    for (uint32_t i = 0; i < w->db->shard_count; i++)
        assert_ok(w->db->ops->check(w->db->shards[i].eng, note_finding, NULL, &err), err);
}

static void a_load_is_there_at_one_version(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = kv_table(w->db);
    put(t, key_of(3), "before");
    vv_snapshot *old = NULL;
    assert_ok(vv_snapshot_create(w->db, &old, &err), err);
    vv_bulk *load = begin(t);
    assert_ok(fill(load, 'a', 0, KEYS, &err), err);
    assert_int_equal(vv_bulk_count(load), KEYS);
    assert_true(vv_bulk_bytes(load) > (uint64_t)KEYS * VALUE / 2);
    expect(t, NULL, key_of(3), "before"); /* nothing is to be seen yet */
    expect(t, NULL, key_of(4), NULL);
    int64_t before = vv_table_version(t);
    vv_write_result r = {0};
    finish(load, &r);
    assert_int_equal(r.version, before + 1);
    assert_int_equal(vv_table_version(t), r.version);
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < KEYS; i++) {
            vv_value got;
            assert_ok(vv_get(t, NULL, vv_slice_str(key_of(i)), &got, &err), err);
            assert_int_equal(got.version, r.version);
            assert_true(vv_slice_eq(got.data, vv_slice_str(value_of('a', i))));
            vv_value_release(&got);
        }
        vv_cursor *c = NULL;
        int n = 0;
        assert_ok(vv_cursor_open(t, NULL, &c, &err), err);
        vv_status st = vv_cursor_seek(c, vv_slice_str(""), &err);
        for (; st == VV_OK && vv_cursor_valid(c); st = vv_cursor_next(c, &err), n++)
            assert_int_equal(vv_cursor_version(c), r.version);
        assert_int_equal(n, KEYS);
        vv_cursor_close(c);
        check_store(w);
        if (again == 1)
            break;
        expect(t, old, key_of(3), "before");
        expect(t, old, key_of(4), NULL);
        vv_snapshot_release(old);
        put(t, key_of(5), "after");
        expect(t, NULL, key_of(5), "after");
        vv_bulk *more = begin(t); /* newer than that again, and over it */
        assert_ok(fill(more, 'a', 0, KEYS, &err), err);
        finish(more, &r);
        vv_table_close(t);
        sim_reopen(w);
        t = kv_table(w->db);
    }
    assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
    for (int i = 0; i < KEYS; i++)
        expect(t, NULL, key_of(i), value_of('a', i));
    check_store(w);
    vv_table_close(t);
}

static void what_is_out_of_order_is_named(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = kv_table(w->db);
    vv_bulk *load = begin(t);
    assert_ok(load_put(load, "b", "1", &err), err);
    assert_status(VV_INVALID, load_put(load, "a", "2", &err));
    assert_non_null(strstr(err.msg, "'a', is below the one before it, 'b'"));
    assert_status(VV_INVALID, load_put(load, "b", "2", &err));
    assert_non_null(strstr(err.msg, "stands twice"));
    assert_status(VV_INVALID, load_put(load, "", "2", &err));
    static uint8_t big[VV_VALUE_MAX + 1];
    memset(big, 'c', VV_KEY_MAX + 1);
    assert_status(VV_INVALID,
                  vv_bulk_put(load, vv_slice_of(big, VV_KEY_MAX + 1), vv_slice_str(""), 0, &err));
    assert_status(VV_INVALID, vv_bulk_put(load, vv_slice_str("d"),
                                          vv_slice_of(big, VV_VALUE_MAX + 1), 0, &err));
    assert_status(VV_INVALID, vv_bulk_put(load, vv_slice_str("d"), vv_slice_str(""), -1, &err));
    /* None of it hurt the load. */
    assert_ok(vv_bulk_put(load, vv_slice_of(big, VV_KEY_MAX), vv_slice_str(""), 0, &err), err);
    assert_ok(vv_bulk_put(load, vv_slice_str("d"), vv_slice_of(big, VV_VALUE_MAX), 0, &err), err);
    assert_ok(vv_bulk_put(load, vv_slice_str("e"), vv_slice_str("gone"), 1, &err), err);
    finish(load, NULL);
    expect(t, NULL, "b", "1");
    expect(t, NULL, "e", NULL); /* expired long ago */
    vv_value got;
    assert_ok(vv_get(t, NULL, vv_slice_of(big, VV_KEY_MAX), &got, &err), err);
    assert_int_equal(got.data.len, 0);
    vv_value_release(&got);
    assert_ok(vv_get(t, NULL, vv_slice_str("d"), &got, &err), err);
    assert_int_equal(got.data.len, VV_VALUE_MAX);
    vv_value_release(&got);
    vv_write_result r = {.version = 7};
    finish(begin(t), &r); /* nothing at all */
    assert_int_equal(r.version, 0);
    vv_table_close(t);
}

static void count_files(void *ctx, const char *path, uint64_t size)
{
    (void)size;
    *(int *)ctx += strstr(path, "/run-") != NULL || strstr(path, "/val-") != NULL;
}

static int file_count(sim_world *w)
{
    int n = 0;
    vio_sim_each_file(w->disk, count_files, &n);
    return n;
}

static void what_is_given_up_leaves_nothing(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = kv_table(w->db);
    assert_ok(vv_checkpoint(w->db, &err), err);
    int before = file_count(w);
    vv_bulk *load = begin(t);
    assert_ok(fill(load, 'a', 0, KEYS, &err), err);
    assert_true(file_count(w) > before);
    vv_bulk_abort(load);
    assert_int_equal(file_count(w), before);
    expect(t, NULL, key_of(1), NULL);
    load = begin(t);
    assert_ok(fill(load, 'a', 0, KEYS, &err), err);
    vv_table_close(t); /* the load has a reference of its own */
    assert_ok(vv_table_drop(w->db, "plant", "kv", &err), err);
    assert_status(VV_NOT_FOUND, vv_bulk_finish(load, NULL, &err));
    assert_non_null(strstr(err.msg, "dropped"));
    t = kv_table(w->db); /* another of that name */
    expect(t, NULL, key_of(1), NULL);
    assert_ok(vv_checkpoint(w->db, &err), err);
    while (db_step(w->db, &err) == VV_OK) {
    }
    check_store(w);
    vv_table_close(t);
}

static void others_are_told_that_they_take_none(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_bulk *load = NULL;
    vv_table *t = make_table(w->db, "plant", "rec", VV_TABLE_RECORD);
    assert_status(VV_UNSUPPORTED, vv_bulk_begin(t, &load, &err));
    assert_non_null(strstr(err.msg, "records"));
    vv_table_close(t);
    sim_close(w);
    vio_sim_disk_destroy(w->disk);
    w->disk = NULL;
    w->ops = &btree_ops;
    sim_start(w);
    t = kv_table(w->db);
    assert_status(VV_UNSUPPORTED, vv_bulk_begin(t, &load, &err));
    assert_non_null(strstr(err.msg, "btree"));
    vv_table_close(t);
}

/* The log's entry goes to the store's own engine, the load to that of its table. */
static void a_table_of_lsm_in_a_store_of_trees_takes_one(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    sim_close(w);
    vio_sim_disk_destroy(w->disk);
    w->disk = NULL;
    w->ops = &btree_ops;
    sim_start(w);
    vv_table *t = make_table_of(w->db, "plant", "kv", VV_TABLE_KV, VV_ENGINE_LSM);
    put(t, key_of(7), "before");
    vv_write_result r = {0};
    load_range(t, 'a', 0, KEYS, &r);
    put(t, key_of(8), "after");
    assert_status(VV_CONFLICT,
                  vv_compare_and_swap(t, vv_slice_str(key_of(9)), false, vv_slice_str(""),
                                      vv_slice_str("n"), 0, VV_DURABLE_DEFAULT, NULL, &err));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < KEYS; i++)
            expect(t, NULL, key_of(i), i == 8 ? "after" : value_of('a', i));
        if (round == 1)
            assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
        vv_table_close(t);
        sim_reopen(w);
        assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
    }
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    assert_true(s.level_files[1] > 0);
    assert_ok(vv_checkpoint(w->db, &err), err);
    check_store(w);
    vv_table_close(t);
}

/* Versions go by when they were committed, not by where they lie. */
static void writes_beside_it_keep_their_order(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = kv_table(w->db);
    vv_bulk *load = begin(t);
    for (int i = 0; i < KEYS; i++) {
        put(t, key_of(i), "during"); /* older than the load, in memtables and runs */
        assert_ok(load_put(load, key_of(i), value_of('b', i), &err), err);
    }
    finish(load, NULL);
    vv_batch *b = new_batch(w->db);
    assert_ok(vv_batch_delete_range(b, t, vv_slice_str(key_of(100)), vv_slice_str("k000200"), &err),
              err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(b);
    put(t, key_of(50), "later");
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < KEYS; i++)
            expect(t, NULL, key_of(i),
                   i == 50               ? "later"
                   : i >= 100 && i < 200 ? NULL
                                         : value_of('b', i));
        check_store(w);
        if (round == 0) {
            vv_table_close(t);
            sim_reopen(w);
            t = kv_table(w->db);
        } else {
            assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
        }
    }
    load_range(t, 'c', 90, 210, NULL); /* over a range deletion */
    for (int i = 90; i < 210; i++)
        expect(t, NULL, key_of(i), value_of('c', i));
    vv_table_close(t);
}

static void transactions_and_conditions_see_it(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = kv_table(w->db);
    vv_txn *txn = NULL;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.isolation = VV_ISOLATION_SERIALIZABLE;
    assert_ok(vv_txn_begin(w->db, &opt, &txn, &err), err);
    vv_value got;
    assert_status(VV_NOT_FOUND, vv_txn_get(txn, t, vv_slice_str(key_of(7)), &got, &err));
    assert_ok(vv_txn_put(txn, t, vv_slice_str("other"), vv_slice_str("x"), 0, &err), err);
    load_range(t, 'a', 0, KEYS, NULL);
    assert_status(VV_CONFLICT, vv_txn_commit(txn, NULL, &err));
    /* A key that the load wrote is there for a compare and swap, the memtable knows nothing. */
    assert_status(VV_CONFLICT,
                  vv_compare_and_swap(t, vv_slice_str(key_of(7)), false, vv_slice_str(""),
                                      vv_slice_str("n"), 0, VV_DURABLE_DEFAULT, NULL, &err));
    assert_ok(vv_compare_and_swap(t, vv_slice_str(key_of(7)), true, vv_slice_str(value_of('a', 7)),
                                  vv_slice_str("n"), 0, VV_DURABLE_DEFAULT, NULL, &err),
              err);
    expect(t, NULL, key_of(7), "n");
    vv_table_close(t);
}

static void the_figures_add_up(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = kv_table(w->db);
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < KEYS; i++)
            put(t, key_of(i), value_of((char)('a' + round), i));
    load_range(t, 'z', 0, KEYS, NULL);
    vv_batch *b = new_batch(w->db);
    assert_ok(vv_batch_delete_range(b, t, vv_slice_str("k000100"), vv_slice_str("k000101"), &err),
              err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(b);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    assert_int_equal(s.range_deletes, 1);
    assert_int_equal(s.bulk_loads, 1);
    assert_true(s.bulk_bytes > 0);
    assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
    for (int i = 0; i < KEYS; i++)
        expect(t, NULL, key_of(i), i == 100 ? NULL : value_of('z', i));
    vv_stats_read(w->db, &s);
    uint64_t read = 0;
    uint64_t wrote = 0;
    uint64_t reads = 0;
    for (size_t i = 0; i < ARRAY_LEN(s.level_reads); i++) {
        read += s.level_compaction_read_bytes[i];
        wrote += s.level_compaction_write_bytes[i];
        reads += s.level_reads[i];
        assert_true(s.level_reads[i] == 0 || s.level_files[i] > 0); /* where they lie now */
    }
    assert_int_equal(read, s.compaction_read_bytes);
    assert_int_equal(wrote, s.compaction_write_bytes);
    assert_true(read > 0 && wrote > 0);
    assert_int_equal(reads, KEYS - 1 + s.filter_fails);
    assert_true(s.write_amplification > 1);
    assert_true(s.index_bytes > 0);
    vv_table_close(t);
}

static void large_values_lie_apart(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.value_threshold = 64;
    assert_ok(vv_table_create(w->db, "plant", "apart", &opt, &t, &err), err);
    load_range(t, 'a', 0, KEYS, NULL);
    vv_table_close(t);
    sim_reopen(w);
    assert_ok(vv_table_open(w->db, "plant", "apart", &t, &err), err);
    for (int i = 0; i < KEYS; i++)
        expect(t, NULL, key_of(i), value_of('a', i));
    engine_stats s;
    w->db->ops->stats(w->db->shards[0].eng, &s);
    assert_true(s.value_files > 0);
    check_store(w);
    vv_table_close(t);
}

/* ---- a model: random writes, loads, compactions and reopens equal an array ---- */

static void prop_loads_equal_a_map(void **state)
{
    enum { SPACE = 300, STEPS = 400 };
    sim_world *w = *state;
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(11));
    vv_table *t = kv_table(w->db);
    char model[SPACE] = {0};
    for (int step = 0; step < STEPS; step++) {
        char tag = (char)('a' + step % 26);
        int from = (int)vv_rng_below(&rng, SPACE);
        int to = from + 1 + (int)vv_rng_below(&rng, (uint64_t)(SPACE - from));
        switch (vv_rng_below(&rng, 8)) {
        case 0:
        case 1:
            load_range(t, tag, from, to, NULL);
            memset(model + from, tag, (size_t)(to - from));
            break;
        case 2: {
            char end[16];
            vv_batch *b = new_batch(w->db);
            (void)snprintf(end, sizeof end, "%s", key_of(to));
            assert_ok(
                vv_batch_delete_range(b, t, vv_slice_str(key_of(from)), vv_slice_str(end), &err),
                err);
            assert_ok(vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
            vv_batch_destroy(b);
            memset(model + from, 0, (size_t)(to - from));
            break;
        }
        case 3:
            if (vv_rng_below(&rng, 8) == 0) {
                vv_table_close(t);
                sim_reopen(w);
                t = kv_table(w->db);
            }
            break;
        case 4:
            if (vv_rng_below(&rng, 4) == 0)
                assert_ok(vv_compact(t, vv_slice_str(key_of(from)), vv_slice_str(""), &err), err);
            break;
        default:
            for (int i = from; i < to && i < from + 20; i++) {
                put(t, key_of(i), value_of(tag, i));
                model[i] = tag;
            }
            break;
        }
        int i = (int)vv_rng_below(&rng, SPACE);
        expect(t, NULL, key_of(i), model[i] == 0 ? NULL : value_of(model[i], i));
    }
    for (int i = 0; i < SPACE; i++)
        expect(t, NULL, key_of(i), model[i] == 0 ? NULL : value_of(model[i], i));
    check_store(w);
    vv_table_close(t);
}

/* ---- faults ---------------------------------------------------------------------------------- */

enum { SMALL = 60 }; /* keys of a load in the walks: every site is visited */

/* Old values in runs and memtables, then a load over part of them: as far as it goes. */
static vv_status workload(sim_world *w, vv_error *err)
{
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.if_not_exists = true;
    vv_status st = vv_table_create(w->db, "plant", "kv", &opt, &t, err);
    for (int i = 0; st == VV_OK && i < 10; i++)
        st = vv_put(t, vv_slice_str(key_of(i)), vv_slice_str("old"), err);
    vv_bulk *load = NULL;
    if (st == VV_OK)
        st = vv_bulk_begin(t, &load, err);
    if (st == VV_OK)
        st = fill(load, 'a', 5, SMALL, err);
    if (st == VV_OK)
        st = vv_bulk_finish(load, NULL, err);
    else
        vv_bulk_abort(load);
    vv_table_close(t);
    return st;
}

/* Keys of the load that are there. */
static int count_loaded(vv_table *t)
{
    vv_error err = {0};
    int there = 0;
    for (int i = 5; i < SMALL; i++) {
        vv_value got;
        vv_status st = vv_get(t, NULL, vv_slice_str(key_of(i)), &got, &err);
        if (st == VV_NOT_FOUND)
            continue;
        assert_ok(st, err);
        there += vv_slice_eq(got.data, vv_slice_str(value_of('a', i)));
        vv_value_release(&got);
    }
    return there;
}

static void count_contents(void *ctx, const char *path, uint64_t size)
{
    (void)size;
    *(int *)ctx += strstr(path, "bulk/") != NULL;
}

/* With its content kept, the load is there when its entry is, and the file then alone. */
static void check_content(sim_world *w, bool is_loaded)
{
    int files = 0;
    vio_sim_each_file(w->disk, count_contents, &files);
    if (files != (is_loaded ? 1 : 0))
        fail_msg("%d contents of a load that is%s there", files, is_loaded ? "" : " not");
    assert_true((atomic_load(&w->db->kept.bytes) > 0) == is_loaded);
}

/* A store that goes on shows the load when the log says that it came to be. */
static void check_promised(sim_world *w)
{
    vv_error err = {0};
    vv_table *t = NULL;
    if (w->db == NULL || !w->opt.archive_log || atomic_load(&w->db->failed) ||
        vv_table_open(w->db, "plant", "kv", &t, &err) != VV_OK)
        return;
    assert_true((count_loaded(t) > 0) == (atomic_load(&w->db->kept.bytes) > 0));
    vv_table_close(t);
}

/* All of the load or none of it; acked: all. */
static void check_whole(sim_world *w, bool acked)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_status st = vv_table_open(w->db, "plant", "kv", &t, &err);
    if (st == VV_NOT_FOUND && !acked)
        return;
    assert_ok(st, err);
    int there = count_loaded(t);
    if (w->opt.archive_log)
        check_content(w, there > 0);
    if (there != 0 && there != SMALL - 5)
        fail_msg("%d of %d keys of a load are there", there, SMALL - 5);
    assert_true(there > 0 || !acked);
    if (acked)
        expect(t, NULL, key_of(4), "old");
    check_store(w);
    put(t, "more", "new"); /* and the store goes on */
    expect(t, NULL, "more", "new");
    assert_int_equal(count_loaded(t), there); /* its version was not given again */
    vv_table_close(t);
}

static void close_anyhow(sim_world *w)
{
    if (w->db != NULL)
        db_abandon(w->db);
    w->db = NULL;
    sim_off(w);
}

/* n: the write at which it goes off; 0: right behind the load. True when it went off on the way. */
static bool cut_once(sim_world *w, uint64_t seed, uint64_t n)
{
    vv_error err = {0};
    w->disk = vio_sim_disk_create();
    const vio_sim_options sim = {.seed = seed, .cut_after_writes = n, .tear = true};
    assert_ok(sim_on(w, &sim, &err), err);
    vv_status st = sim_open_db(w, &err);
    if (st == VV_OK)
        st = workload(w, &err);
    bool cut = vio_sim_is_off(w->disk);
    assert_true(cut || st == VV_OK);
    if (!cut)
        vio_sim_cut(w->disk);
    close_anyhow(w);
    sim_start(w);
    check_whole(w, st == VV_OK);
    sim_end(w);
    return cut;
}

static void cut_everywhere(sim_world *w)
{
    enum { SEEDS = 4, BEHIND = 32 };
    sim_end(w);
    uint64_t seed = vv_test_seed(3);
    for (uint64_t i = 0; i < SEEDS; i++) {
        uint64_t n = 1;
        while (cut_once(w, seed + i * 1000 + n, n))
            n++;
        assert_true(n > 50);
    }
    for (uint64_t i = 0; i < BEHIND; i++)
        assert_false(cut_once(w, seed + i, 0));
    sim_start(w);
}

static void the_power_fails_at_every_write(void **state)
{
    sim_world *w = *state;
    cut_everywhere(w);
    w->opt.archive_log = true;
    cut_everywhere(w);
}

static void fail_everywhere(sim_world *w)
{
    static const vio_sim_fault kinds[] = {VIO_SIM_EIO, VIO_SIM_EIO_STICKY, VIO_SIM_ENOSPC,
                                          VIO_SIM_SHORT};
    sim_end(w);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        bool hit = true;
        for (uint64_t n = 1; hit; n++) {
            vv_error err = {0};
            w->disk = vio_sim_disk_create();
            const vio_sim_options sim = {.seed = 7, .fault = kinds[k], .fault_at = n};
            assert_ok(sim_on(w, &sim, &err), err);
            vv_status st = sim_open_db(w, &err);
            if (st == VV_OK)
                st = workload(w, &err);
            hit = vio_sim_fault_sites(w->disk, kinds[k]) >= n;
            assert_true(st == VV_OK || hit);
            vio_sim_heal(w->disk);
            if (w->db != NULL && kinds[k] == VIO_SIM_ENOSPC && !atomic_load(&w->db->failed))
                check_whole(w, st == VV_OK); /* no reopen is needed */
            assert_true(kinds[k] != VIO_SIM_ENOSPC || w->opt.archive_log || w->db == NULL ||
                        !atomic_load(&w->db->failed));
            check_promised(w);
            close_anyhow(w);
            sim_start(w);
            check_whole(w, st == VV_OK);
            sim_end(w);
        }
    }
    sim_start(w);
}

static void every_call_to_the_disk_fails_once(void **state)
{
    sim_world *w = *state;
    fail_everywhere(w);
    w->opt.archive_log = true;
    fail_everywhere(w);
}

static void starve_everywhere(sim_world *w)
{
    sim_end(w);
    uint64_t step = vv_test_count("VV_ALLOC_STEP", 3);
    bool hit = true;
    for (uint64_t n = 0; hit; n += step) {
        vv_error err = {0};
        sim_start(w);
        uint64_t from = vv_alloc_count();
        vv_alloc_fail_after((int64_t)n, 0);
        vv_status st = workload(w, &err);
        vv_alloc_fail_after(-1, 0);
        hit = vv_alloc_count() - from > n;
        assert_true(st == VV_OK || st == VV_NO_MEMORY || st == VV_BUSY || st == VV_IO ||
                    st == VV_NO_SPACE);
        if ((st == VV_NO_MEMORY || st == VV_OK) && !atomic_load(&w->db->failed))
            check_whole(w, st == VV_OK);
        close_anyhow(w);
        sim_start(w);
        check_whole(w, st == VV_OK);
        sim_end(w);
    }
    sim_start(w);
}

static void every_allocation_fails_once(void **state)
{
    sim_world *w = *state;
    starve_everywhere(w);
    w->opt.archive_log = true;
    starve_everywhere(w);
}

int main(void)
{
    engine_under_test = &lsm_ops;
    const struct CMUnitTest tests[] = {
        T(a_load_is_there_at_one_version),
        T(what_is_out_of_order_is_named),
        T(what_is_given_up_leaves_nothing),
        T(others_are_told_that_they_take_none),
        T(a_table_of_lsm_in_a_store_of_trees_takes_one),
        T(writes_beside_it_keep_their_order),
        T(transactions_and_conditions_see_it),
        T(large_values_lie_apart),
        T(the_figures_add_up),
        T(prop_loads_equal_a_map),
        T(the_power_fails_at_every_write),
        T(every_call_to_the_disk_fails_once),
        T(every_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("bulk", tests, NULL, NULL);
}
