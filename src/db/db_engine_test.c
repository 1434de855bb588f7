/*
 * db_engine_test.c - tables of different engines in one store: batches, snapshots and the log are
 * shared, a missing engine is noticed, and a store of one engine has nothing of all this.
 */
#include "db/db_test_util.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "btree/btree.h"
#include "engine/route.h"
#include "lsm/lsm.h"

static const engine_ops *engine_under_test;

static vv_engine_kind other_kind(void)
{
    return engine_under_test == &lsm_ops ? VV_ENGINE_BTREE : VV_ENGINE_LSM;
}

static const char *other_name(void)
{
    return engine_under_test == &lsm_ops ? "btree" : "lsm";
}

static int setup(void **state)
{
    static sim_world w;
    w = (sim_world){.ops = engine_under_test, .opt = SIM_TINY_OPTIONS};
    sim_start(&w);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    sim_end(*state);
    return 0;
}

typedef struct pair {
    vv_table *home;
    vv_table *other;
} pair;

static pair make_pair(sim_world *w)
{
    return (pair){make_table(w->db, "plant", "home", VV_TABLE_KV),
                  make_table_of(w->db, "plant", "other", VV_TABLE_KV, other_kind())};
}

static void drop_pair(pair p)
{
    vv_table_close(p.home);
    vv_table_close(p.other);
}

static void write_both(sim_world *w, pair p, const char *key, const char *value)
{
    vv_error err = {0};
    vv_batch *b = vv_batch_create(w->db);
    assert_non_null(b);
    assert_ok(vv_batch_put(b, p.home, vv_slice_str(key), vv_slice_str(value), 0, &err), err);
    assert_ok(vv_batch_put(b, p.other, vv_slice_str(key), vv_slice_str(value), 0, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_SYNC, NULL, &err), err);
    vv_batch_destroy(b);
}

static void a_batch_spans_engines(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    pair p = make_pair(w);
    vv_table_info info;
    assert_ok(vv_table_describe(p.other, &info, &err), err);
    assert_string_equal(info.engine, other_name());
    assert_int_equal(info.id >> ENGINE_ROUTE_SHIFT, other_kind());
    write_both(w, p, "k", "1");
    vv_snapshot *snap = NULL;
    assert_ok(vv_snapshot_create(w->db, &snap, &err), err);
    write_both(w, p, "k", "2");
    assert_ok(vv_checkpoint(w->db, &err), err);
    write_both(w, p, "k", "3");
    expect(p.home, snap, "k", "1");
    expect(p.other, snap, "k", "1");
    expect(p.home, NULL, "k", "3");
    expect(p.other, NULL, "k", "3");
    vv_snapshot_release(snap);
    drop_pair(p);
    sim_reopen(w);
    p = make_pair(w);
    expect(p.home, NULL, "k", "3");
    expect(p.other, NULL, "k", "3");
    drop_pair(p);
    assert_ok(vv_table_drop(w->db, "plant", "other", &err), err);
    p = make_pair(w); /* another id: nothing of the old one */
    expect(p.other, NULL, "k", NULL);
    drop_pair(p);
    sim_close(w);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(db_check_env(&w->env, NULL, NULL, &err), err);
    assert_ok(sim_open_db(w, &err), err);
}

static void the_store_may_choose_for_its_tables(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table_info info;
    vv_table *t = NULL;
    sim_close(w);
    w->opt.engine = other_kind();
    sim_start(w);
    t = make_table(w->db, "plant", "t", VV_TABLE_KV);
    assert_ok(vv_table_describe(t, &info, &err), err);
    assert_string_equal(info.engine, other_name());
    vv_table_close(t);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.if_not_exists = true;
    opt.engine = VV_ENGINE_LSM + VV_ENGINE_BTREE - other_kind();
    assert_status(VV_CONFLICT, vv_table_create(w->db, "plant", "t", &opt, &t, &err));
    assert_non_null(strstr(err.msg, other_name()));
    opt.engine = (vv_engine_kind)9;
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "u", &opt, &t, &err));
}

static void a_store_of_one_engine_has_no_list(void **state)
{
    sim_world *w = *state;
    vio_file *file = NULL;
    vv_error err = {0};
    vv_table_close(make_table(w->db, "plant", "a", VV_TABLE_KV));
    assert_status(VV_NOT_FOUND, vio_open(w->env.io, "shard-000/ENGINES", VIO_READ, &file, &err));
}

static uint64_t log_bytes(vv_db *db)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(db, &s);
    return s.log_retained_bytes;
}

/* Writes to one engine alone: the log goes all the same, by flushes that nobody asked for. */
static void who_is_idle_does_not_hold_the_log(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    w->opt.log_limit = 256u << 20; /* full memtables are flushed, nobody for the log's sake */
    w->opt.memtable_size = 32u << 10;
    sim_reopen(w);
    pair p = make_pair(w);
    write_both(w, p, "k", "v");
    for (int side = 0; side < 2; side++) {
        assert_ok(vv_checkpoint(w->db, &err), err);
        for (int i = 0; i < 3000; i++) {
            char key[32];
            (void)snprintf(key, sizeof key, "key-%06d", i);
            put(side == 0 ? p.home : p.other, key,
                "a value that is long enough to fill memtables and segments of the log soon, "
                "so that there are many flushes and the log has to be let go again and again");
            while (i % 50 == 0 && db_step(w->db, &err) == VV_OK) {
            }
        }
        /* Each synced entry takes a block of the log: 12 MB a side. */
        if (log_bytes(w->db) > 3 * 1024 * 1024)
            fail_msg("%llu bytes of log are kept", (unsigned long long)log_bytes(w->db));
    }
    expect(p.home, NULL, "k", "v");
    expect(p.other, NULL, "k", "v");
    drop_pair(p);
    sim_reopen(w);
    p = make_pair(w);
    expect(p.home, NULL, "key-002999",
           "a value that is long enough to fill memtables and segments of the log soon, "
           "so that there are many flushes and the log has to be let go again and again");
    expect(p.other, NULL, "k", "v");
    drop_pair(p);
}

static void remove_in_other(void *ctx, const char *name)
{
    sim_world *w = ctx;
    char path[VIO_PATH_MAX];
    vv_error err = {0};
    (void)snprintf(path, sizeof path, "shard-000/%s/%s", other_name(), name);
    assert_ok(vio_remove(w->env.io, path, &err), err);
}

static void a_missing_engine_is_refused(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char dir[64];
    pair p = make_pair(w);
    write_both(w, p, "k", "v");
    assert_ok(vv_checkpoint(w->db, &err), err);
    drop_pair(p);
    sim_close(w);
    vio_sim_disk_settle(w->disk);
    vio_sim_disk *whole = vio_sim_disk_clone(w->disk);
    (void)snprintf(dir, sizeof dir, "shard-000/%s", other_name());
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(vio_list(w->env.io, dir, remove_in_other, w, &err), err);
    assert_status(VV_CORRUPT, sim_open_db(w, &err));
    assert_non_null(strstr(err.msg, dir));
    sim_off(w);
    vio_sim_disk_destroy(w->disk);
    w->disk = whole;
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(vio_remove(w->env.io, "shard-000/ENGINES", &err), err);
    assert_status(VV_CORRUPT, sim_open_db(w, &err));
    assert_non_null(strstr(err.msg, "ENGINES"));
    sim_off(w);
}

static void prop_each_flipped_bit_of_the_list_is_refused(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    drop_pair(make_pair(w));
    sim_close(w);
    vio_sim_disk_settle(w->disk);
    vio_sim_disk *whole = w->disk;
    for (uint64_t bit = 0; bit < (16 + 32 + 4) * 8; bit++) {
        w->disk = vio_sim_disk_clone(whole);
        assert_int_equal(vio_sim_flip_bit(w->disk, "shard-000/ENGINES", bit), VV_OK);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
        vv_status st = sim_open_db(w, &err);
        if (st != VV_CORRUPT && st != VV_UNSUPPORTED)
            fail_msg("bit %llu: %s", (unsigned long long)bit, vv_status_name(st));
        sim_off(w);
        vio_sim_disk_destroy(w->disk);
    }
    w->disk = whole;
}

/* The same bytes since the first version: docs/format/store.md. */
static void golden_bytes_of_the_list(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    drop_pair(make_pair(w));
    assert_ok(vio_read_file(w->env.io, "shard-000/ENGINES", 4096, &bytes, &len, &err), err);
    assert_int_equal(len, 52);
    assert_memory_equal(bytes, "VARVEENG\1\0\0\0\1\0\0\0", 16);
    assert_int_equal(vv_get_le32(bytes + 16), other_kind());
    assert_int_equal(vv_get_le32(bytes + 20), 0);
    assert_int_equal(vv_get_le64(bytes + 24), 0); /* nothing was flushed yet */
    assert_string_equal((const char *)bytes + 32, other_name());
    vv_free(bytes);
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_batch_spans_engines),
        T(the_store_may_choose_for_its_tables),
        T(a_store_of_one_engine_has_no_list),
        T(who_is_idle_does_not_hold_the_log),
        T(a_missing_engine_is_refused),
        T(prop_each_flipped_bit_of_the_list_is_refused),
        T(golden_bytes_of_the_list),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&lsm_ops) + run(&btree_ops);
}
