/*
 * db_failure_test.c - stores that cannot be written, cannot be opened, or fail while they are open,
 * on each engine and the simulated disk.
 */
#include "db/db_test_bed.h"

#include <string.h>

#include "base/alloc.h"

static void a_read_only_store_writes_nothing(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    put(t, "k", "v");
    vv_table_close(t);
    sim_close(w);
    w->opt.read_only = true;
    sim_start(w);
    uint64_t writes = vio_sim_write_count(w->disk);
    assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
    expect(t, NULL, "k", "v");
    assert_status(VV_UNSUPPORTED, vv_put(t, vv_slice_str("k"), vv_slice_str("w"), &err));
    assert_status(VV_UNSUPPORTED, vv_table_create(w->db, "plant", "x", NULL, NULL, &err));
    assert_status(VV_UNSUPPORTED, vv_table_drop(w->db, "plant", "kv", &err));
    assert_status(VV_UNSUPPORTED, vv_checkpoint(w->db, &err));
    assert_status(VV_NOT_FOUND, db_step(w->db, &err));
    vv_table_close(t);
    sim_close(w);
    assert_int_equal(vio_sim_write_count(w->disk), writes);
    w->opt.read_only = false;
    sim_start(w);
}

/* A killed store whose log is longer than memory_limit. */
static void a_read_only_store_holds_all_of_the_log(void **state)
{
    enum { COUNT = 400, LEN = 60000 };
    static uint8_t value[LEN];
    sim_world *w = *state;
    vv_error err = {0};
    char key[16];
    sim_close(w);
    w->opt.memory_limit = 512u << 20;
    w->opt.memtable_size = 64u << 20;
    w->opt.log_limit = 1u << 30;
    sim_start(w);
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        assert_ok(vv_put(t, vv_slice_str(key), vv_slice_of(value, sizeof value), &err), err);
    }
    vv_table_close(t);
    db_abandon(w->db);
    sim_off(w);
    vio_sim_disk_kill(w->disk);
    w->opt.memory_limit = 16u << 20;
    w->opt.read_only = true;
    sim_start(w);
    assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
    for (int i = 0; i < COUNT; i++) {
        vv_value got;
        (void)snprintf(key, sizeof key, "%d", i);
        assert_ok(vv_get(t, NULL, vv_slice_str(key), &got, &err), err);
        assert_int_equal(got.data.len, LEN);
        vv_value_release(&got);
    }
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    assert_true(s.memory_used > COUNT * LEN && s.memory_limit > s.memory_used);
    assert_true(s.memory_limit - s.memory_used < 16u << 20); /* the rest is bounded still */
    vv_table_close(t);
    sim_close(w);
    w->opt.read_only = false; /* a writer flushes what does not fit */
    sim_start(w);
}

static void what_is_no_store_is_refused(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table_close(make_table(w->db, "plant", "kv", VV_TABLE_KV));
    sim_close(w);
    /* A newer version, then damage, then nothing at all. */
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    uint8_t *bytes = NULL;
    size_t len = 0;
    assert_ok(vio_read_file(w->env.io, "VARVE", 4096, &bytes, &len, &err), err);
    bytes[8] = 2;
    assert_ok(vio_write_file_atomic(w->env.io, "VARVE", vv_slice_of(bytes, len), &err), err);
    assert_status(VV_UNSUPPORTED, sim_open_db(w, &err));
    assert_non_null(strstr(err.msg, "version 2"));
    bytes[8] = 1;
    bytes[30] ^= 4;
    assert_ok(vio_write_file_atomic(w->env.io, "VARVE", vv_slice_of(bytes, len), &err), err);
    assert_status(VV_CORRUPT, sim_open_db(w, &err));
    assert_ok(vio_remove(w->env.io, "VARVE", &err), err);
    assert_status(VV_CORRUPT, sim_open_db(w, &err));
    assert_non_null(strstr(err.msg, "missing"));
    bytes[30] ^= 4;
    assert_ok(vio_write_file_atomic(w->env.io, "VARVE", vv_slice_of(bytes, len), &err), err);
    vv_free(bytes);
    w->opt.create_if_missing = false;
    assert_ok(sim_open_db(w, &err), err);
    assert_ok(vv_db_close(w->db, &err), err);
    sim_off(w);
    vio_sim_disk_destroy(w->disk);
    w->disk = vio_sim_disk_create();
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_status(VV_NOT_FOUND, sim_open_db(w, &err));
    w->opt.create_if_missing = true;
    w->opt.memtable_size = 5;
    assert_status(VV_INVALID, sim_open_db(w, &err));
    w->opt.memtable_size = 0;
    sim_off(w);
    sim_start(w);
}

static void a_failed_log_latches_and_reads_go_on(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    put(t, "k", "v");
    vv_table_close(t);
    sim_reopen_failing(w, 1);
    assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
    vv_status st = VV_OK;
    for (int i = 0; i < 10 && st == VV_OK; i++)
        st = vv_put(t, vv_slice_str("lost"), vv_slice_str("w"), &err);
    assert_int_equal(st, VV_IO);
    for (int i = 0; i < 3; i++) { /* the disk answers again, the log does not believe it */
        vio_sim_heal(w->disk);
        assert_status(VV_IO, vv_put(t, vv_slice_str("lost"), vv_slice_str("w"), &err));
        assert_non_null(strstr(err.msg, "reopen"));
        expect(t, NULL, "k", "v");
    }
    done_log log = {0};
    vv_batch *b = new_batch(w->db);
    assert_status(VV_IO, vv_write_async(w->db, b, VV_DURABLE_OS, note_done, &log, &err));
    vv_batch_destroy(b);
    assert_status(VV_IO, vv_table_create(w->db, "plant", "more", NULL, NULL, &err));
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    assert_true(s.failed);
    vv_table_close(t);
    assert_status(VV_IO, vv_db_close(w->db, &err));
    w->db = NULL;
    sim_off(w);
    sim_start(w);
    t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    expect(t, NULL, "k", "v");
    put(t, "k", "again");
    vv_table_close(t);
}

static vv_status no_memory(engine *e, int64_t version, int64_t commit_time_ns, vv_slice payload,
                           vv_error *err)
{
    (void)e;
    (void)version;
    (void)commit_time_ns;
    (void)payload;
    return vv_fail(err, VV_NO_MEMORY, "no memory");
}

/* It is in the log and comes back with a reopen: "not written" would be a lie. */
static void what_is_logged_and_not_applied_is_no_refusal(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    engine_ops failing = *w->db->ops;
    failing.apply = no_memory;
    w->db->ops = &failing;
    assert_status(VV_IO, vv_put(t, vv_slice_str("k"), vv_slice_str("v"), &err));
    assert_non_null(strstr(err.msg, "reopen"));
    w->db->ops = &engine_route_ops;
    assert_status(VV_IO, vv_put(t, vv_slice_str("k"), vv_slice_str("w"), &err));
    expect(t, NULL, "k", NULL);
    vv_table_close(t);
    assert_status(VV_IO, vv_db_close(w->db, &err));
    w->db = NULL;
    sim_off(w);
    sim_start(w);
    t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    expect(t, NULL, "k", "v");
    vv_table_close(t);
}

static void the_recovery_is_timed_whole(void **state)
{
    sim_world *w = *state;
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    put(t, "k", "v");
    vv_table_close(t);
    sim_reopen(w);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    int64_t log_ns = wal_recovery_stats(w->db->log)->duration_ns; /* the log's part of it */
    assert_true(log_ns > 0 && s.recovery_ns > (uint64_t)log_ns);
}

/* Each write of a drop fails in its turn: what is read stays what it was until the drop is sure. */
static void a_drop_that_fails_takes_nothing_away(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_status st = VV_IO;
    for (uint64_t n = 1; st != VV_OK; n++) {
        vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
        put(t, "k", "v");
        vv_table_close(t);
        sim_reopen_failing(w, n);
        assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
        st = vv_table_drop(w->db, "plant", "kv", &err);
        assert_true(st == VV_OK || st == VV_IO);
        vio_sim_heal(w->disk);
        expect(t, NULL, "k", st == VV_OK ? NULL : "v");
        if (st == VV_IO)
            assert_status(VV_IO, vv_put(t, vv_slice_str("k"), vv_slice_str("w"), &err));
        vv_table_close(t);
        assert_status(st, vv_db_close(w->db, &err));
        w->db = NULL;
        sim_off(w);
        sim_start(w); /* the drop is there or it is not */
    }
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
    const struct CMUnitTest tests[] = {
        T(a_read_only_store_writes_nothing),
        T(a_read_only_store_holds_all_of_the_log),
        T(what_is_no_store_is_refused),
        T(a_failed_log_latches_and_reads_go_on),
        T(what_is_logged_and_not_applied_is_no_refusal),
        T(the_recovery_is_timed_whole),
        T(a_drop_that_fails_takes_nothing_away),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&engine_memory_ops) + run(&lsm_ops);
}
