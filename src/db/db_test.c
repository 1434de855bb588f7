/*
 * db_test.c - the public interface, one promise a test, on each engine and the simulated disk.
 */
#include "db/db_test_bed.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

static void what_is_put_is_there_after_reopen(void **state)
{
    sim_world *w = *state;
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    put(t, "a", "1");
    put(t, "b", "2");
    put(t, "a", "3");
    vv_error err = {0};
    assert_ok(vv_delete(t, vv_slice_str("b"), &err), err);
    expect(t, NULL, "a", "3");
    expect(t, NULL, "b", NULL);
    vv_table_close(t);
    sim_reopen(w);
    assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
    expect(t, NULL, "a", "3");
    expect(t, NULL, "b", NULL);
    vv_table_close(t);
}

static void a_batch_is_one_version(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_table *u = make_table(w->db, "plant", "other", VV_TABLE_KV);
    vv_batch *b = new_batch(w->db);
    put(t, "x", "old");
    assert_ok(vv_batch_put(b, t, vv_slice_str("a"), vv_slice_str("1"), 0, &err), err);
    assert_ok(vv_batch_put(b, u, vv_slice_str("a"), vv_slice_str("2"), 0, &err), err);
    assert_ok(vv_batch_put(b, t, vv_slice_str("a"), vv_slice_str("3"), 0, &err), err);
    assert_ok(vv_batch_delete_range(b, t, vv_slice_str("w"), vv_slice_str("y"), &err), err);
    assert_int_equal(vv_batch_count(b), 4);
    vv_write_result r;
    assert_ok(vv_write(w->db, b, VV_DURABLE_OS, &r, &err), err);
    assert_int_equal(r.version, vv_table_version(t));
    assert_false(r.duplicate);
    expect(t, NULL, "a", "3");
    expect(u, NULL, "a", "2");
    expect(t, NULL, "x", NULL);
    vv_batch_clear(b);
    assert_int_equal(vv_batch_count(b), 0);
    assert_ok(vv_write(w->db, b, VV_DURABLE_SYNC, &r, &err), err);
    assert_int_equal(r.version, 0);
    vv_batch_destroy(b);
    vv_table_close(t);
    vv_table_close(u);
}

static void snapshots_see_one_moment(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    put(t, "a", "1");
    vv_snapshot *snap = NULL;
    assert_ok(vv_snapshot_create(w->db, &snap, &err), err);
    assert_int_equal(vv_snapshot_version(snap, t), vv_table_version(t));
    put(t, "a", "2");
    put(t, "b", "2");
    for (int i = 0; i < 3; i++) {
        expect(t, snap, "a", "1");
        expect(t, snap, "b", NULL);
        expect(t, NULL, "a", "2");
        assert_ok(vv_checkpoint(w->db, &err), err);
        assert_ok(vv_compact(t, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    }
    vv_snapshot_release(snap);
    vv_table_close(t);
}

static void cursors_walk_both_ways_within_bounds(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_table *before = make_table(w->db, "plant", "z0", VV_TABLE_KV);
    char key[16];
    put(before, "k5", "not mine");
    for (int i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        put(t, key, key);
    }
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.lower = vv_slice_str("k2");
    opt.upper = vv_slice_str("k5");
    assert_ok(vv_cursor_open(t, &opt, &c, &err), err);
    char seen[64] = "";
    assert_ok(vv_cursor_seek(c, vv_slice_str(""), &err), err);
    while (vv_cursor_valid(c)) {
        (void)strncat(seen, (const char *)vv_cursor_key(c).data, vv_cursor_key(c).len);
        assert_ok(vv_cursor_next(c, &err), err);
    }
    assert_string_equal(seen, "k2k3k4");
    assert_status(VV_INVALID, vv_cursor_next(c, &err));
    assert_ok(vv_cursor_seek_below(c, vv_slice_str("k4"), &err), err);
    assert_memory_equal(vv_cursor_value(c).data, "k3", 2);
    assert_true(vv_cursor_version(c) > 0);
    assert_int_equal(vv_cursor_expires_ns(c), 0);
    assert_ok(vv_cursor_prev(c, &err), err);
    assert_ok(vv_cursor_prev(c, &err), err);
    assert_false(vv_cursor_valid(c));
    vv_cursor_close(c);

    opt = (vv_cursor_options)VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_str("k7");
    assert_ok(vv_cursor_open(t, &opt, &c, &err), err);
    put(t, "k71", "later");
    assert_ok(vv_cursor_seek_below(c, vv_slice_str(""), &err), err);
    assert_memory_equal(vv_cursor_key(c).data, "k7", vv_cursor_key(c).len);
    assert_int_equal(vv_cursor_key(c).len, 2);
    vv_cursor_close(c);

    opt.lower = vv_slice_str("a");
    assert_status(VV_INVALID, vv_cursor_open(t, &opt, &c, &err));
    opt = (vv_cursor_options){0};
    assert_status(VV_INVALID, vv_cursor_open(t, &opt, &c, &err));
    vv_table_close(t);
    vv_table_close(before);
}

static void a_required_version_decides(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_write_result r;
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_batch *b = new_batch(w->db);
    assert_ok(vv_batch_require(b, t, vv_slice_str("a"), 0, &err), err);
    assert_ok(vv_batch_put(b, t, vv_slice_str("a"), vv_slice_str("1"), 0, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_SYNC, &r, &err), err);
    assert_status(VV_CONFLICT, vv_write(w->db, b, VV_DURABLE_SYNC, NULL, &err));
    vv_batch_clear(b);
    assert_ok(vv_batch_require(b, t, vv_slice_str("a"), r.version, &err), err);
    assert_ok(vv_batch_put(b, t, vv_slice_str("a"), vv_slice_str("2"), 0, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_OS, NULL, &err), err);
    assert_status(VV_CONFLICT, vv_write(w->db, b, VV_DURABLE_OS, NULL, &err));
    /* The same across a flush: the memtable no longer knows the key. */
    assert_ok(vv_checkpoint(w->db, &err), err);
    assert_status(VV_CONFLICT, vv_write(w->db, b, VV_DURABLE_OS, NULL, &err));
    assert_ok(vv_delete(t, vv_slice_str("a"), &err), err);
    vv_batch_clear(b);
    assert_ok(vv_batch_require(b, t, vv_slice_str("a"), 0, &err), err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_OS, &r, &err), err); /* a question alone */
    assert_int_equal(r.version, 0);
    vv_batch_destroy(b);
    vv_table_close(t);
}

static void compare_and_swap_compares(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_slice k = vv_slice_str("k");
    vv_slice none = vv_slice_of(NULL, 0);
    assert_status(VV_CONFLICT, vv_compare_and_swap(t, k, true, none, vv_slice_str("1"), 0,
                                                   VV_DURABLE_SYNC, NULL, &err));
    assert_ok(
        vv_compare_and_swap(t, k, false, none, vv_slice_str("1"), 0, VV_DURABLE_SYNC, NULL, &err),
        err);
    assert_status(VV_CONFLICT, vv_compare_and_swap(t, k, false, none, vv_slice_str("2"), 0,
                                                   VV_DURABLE_SYNC, NULL, &err));
    assert_ok(vv_compare_and_swap(t, k, true, vv_slice_str("1"), vv_slice_str("2"), 0,
                                  VV_DURABLE_OS, NULL, &err),
              err);
    assert_ok(vv_checkpoint(w->db, &err), err);
    assert_status(VV_CONFLICT, vv_compare_and_swap(t, k, true, vv_slice_str("1"), vv_slice_str("3"),
                                                   0, VV_DURABLE_OS, NULL, &err));
    expect(t, NULL, "k", "2");
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    assert_int_equal(s.conflicts, 3);
    vv_table_close(t);
}

/* Two writers: the second must see the first although it is not acknowledged yet. The async queue
 * of a store without threads commits at once, so the window is made with the parts themselves. */
static void conditions_see_unacknowledged_writes(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    put(t, "k", "1");
    vv_batch *first = new_batch(w->db);
    assert_ok(vv_batch_put(first, t, vv_slice_str("k"), vv_slice_str("2"), 0, &err), err);
    db_commit_begin(w->db, first, VV_DURABLE_SYNC);
    vv_mutex_lock(&w->db->commit_lock);
    assert_ok(db_append(w->db, &first, 1, &err), err);
    vv_mutex_unlock(&w->db->commit_lock);
    expect(t, NULL, "k", "1"); /* logged, not durable, not visible */
    assert_status(VV_CONFLICT,
                  vv_compare_and_swap(t, vv_slice_str("k"), true, vv_slice_str("1"),
                                      vv_slice_str("3"), 0, VV_DURABLE_SYNC, NULL, &err));
    assert_ok(db_await(w->db, first->need, &err), err);
    expect(t, NULL, "k", "2");
    vv_batch_destroy(first);
    vv_table_close(t);
}

static void an_os_write_waits_behind_a_sync_write(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_batch *sync = new_batch(w->db);
    vv_batch *os = new_batch(w->db);
    assert_ok(vv_batch_put(sync, t, vv_slice_str("a"), vv_slice_str("1"), 0, &err), err);
    assert_ok(vv_batch_put(os, t, vv_slice_str("b"), vv_slice_str("1"), 0, &err), err);
    db_commit_begin(w->db, sync, VV_DURABLE_SYNC);
    db_commit_begin(w->db, os, VV_DURABLE_OS);
    vv_mutex_lock(&w->db->commit_lock);
    assert_ok(db_append(w->db, &sync, 1, &err), err);
    assert_ok(db_append(w->db, &os, 1, &err), err);
    vv_mutex_unlock(&w->db->commit_lock);
    assert_true(os->need == sync->need && os->need > 0);
    expect(t, NULL, "b", NULL); /* visible would mean: a gap in the log's order */
    assert_ok(db_await(w->db, os->need, &err), err);
    expect(t, NULL, "a", "1");
    expect(t, NULL, "b", "1");
    vv_batch_clear(os);
    assert_ok(vv_batch_put(os, t, vv_slice_str("c"), vv_slice_str("1"), 0, &err), err);
    assert_ok(vv_write(w->db, os, VV_DURABLE_OS, NULL, &err), err);
    assert_true(os->need == 0); /* nothing before it waits: no sync */
    vv_batch_destroy(sync);
    vv_batch_destroy(os);
    vv_table_close(t);
}

static void producers_write_once(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_write_result r;
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_batch *b = new_batch(w->db);
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t sequence = 1; sequence <= 3; sequence++) {
            char value[8];
            (void)snprintf(value, sizeof value, "%d", (int)sequence);
            vv_batch_clear(b);
            assert_ok(vv_batch_producer(b, vv_slice_str("sensor-7"), sequence, &err), err);
            assert_ok(vv_batch_put(b, t, vv_slice_str("k"), vv_slice_str(value), 0, &err), err);
            assert_ok(vv_write(w->db, b, VV_DURABLE_SYNC, &r, &err), err);
            assert_int_equal(r.duplicate, round > 0);
            assert_true(r.version > 0);
        }
        expect(t, NULL, "k", "3");
        if (round == 1) {
            vv_batch_destroy(b);
            vv_table_close(t);
            assert_ok(vv_checkpoint(w->db, &err), err);
            sim_reopen(w);
            assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
            b = new_batch(w->db);
        }
    }
    assert_ok(vv_batch_producer(b, vv_slice_str("p"), 1, &err) == VV_INVALID ? VV_OK : VV_IO, err);
    vv_batch_destroy(b);
    vv_table_close(t);
}

static void async_writes_are_answered_once(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    done_log log = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_batch *b = new_batch(w->db);
    assert_ok(vv_batch_put(b, t, vv_slice_str("a"), vv_slice_str("1"), 0, &err), err);
    assert_ok(vv_write_async(w->db, b, VV_DURABLE_SYNC, note_done, &log, &err), err);
    assert_int_equal(log.count, 1);
    assert_int_equal(log.status[0], VV_OK);
    assert_int_equal(log.result[0].version, vv_table_version(t));
    assert_int_equal(log.result[0].durability, VV_DURABLE_SYNC);
    assert_ok(vv_batch_require(b, t, vv_slice_str("a"), 0, &err), err);
    assert_ok(vv_write_async(w->db, b, VV_DURABLE_OS, note_done, &log, &err), err);
    assert_int_equal(log.status[1], VV_CONFLICT);
    vv_batch_destroy(b);
    vv_table_close(t);
}

static void note_status(void *ctx, vv_status status, const vv_write_result *result,
                        const vv_error *err)
{
    (void)result;
    (void)err;
    *(vv_status *)ctx = status;
}

/* A turn of the commit thread, by hand: groups, loners and a refused one in between. */
static void a_chain_commits_in_order_with_one_sync(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    enum { COUNT = 40 };
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_batch *b[COUNT];
    vv_status got[COUNT];
    char key[16];
    w->db->queue.gathers = true;
    w->db->queue.chain_max = VV_MIB;
    vv_stats before = {.size = sizeof before};
    vv_stats after = {.size = sizeof after};
    for (int i = 0; i < COUNT; i++) {
        b[i] = new_batch(w->db);
        (void)snprintf(key, sizeof key, "k%02d", i);
        assert_ok(vv_batch_put(b[i], t, vv_slice_str(key), vv_slice_str(key), 0, &err), err);
        assert_ok(vv_batch_put(b[i], t, vv_slice_str("last"), vv_slice_str(key), 0, &err), err);
        if (i == 10)
            assert_ok(
                vv_batch_delete_range(b[i], t, vv_slice_str("k00"), vv_slice_str("k05"), &err),
                err);
        if (i == 20)
            assert_ok(vv_batch_require(b[i], t, vv_slice_str("k15"), 0, &err), err);
        vv_durability how = i % 3 == 0 ? VV_DURABLE_SYNC : VV_DURABLE_NONE;
        got[i] = VV_CLOSED;
        assert_ok(vv_write_async(w->db, b[i], how, note_status, &got[i], &err), err);
    }
    vv_stats_read(w->db, &before);
    db_queue_turn(w->db);
    vv_stats_read(w->db, &after);
    assert_int_equal(after.entries_committed - before.entries_committed, COUNT - 1);
    assert_int_equal(after.log_syncs - before.log_syncs, 1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(got[i], i == 20 ? VV_CONFLICT : VV_OK);
    for (int i = 1; i < COUNT; i++)
        if (i != 20 && i != 21)
            assert_true(b[i]->result.version == b[i - 1]->result.version + 1);
    expect(t, NULL, "last", "k39");
    expect(t, NULL, "k04", NULL);
    expect(t, NULL, "k05", "k05");
    expect(t, NULL, "k20", NULL);
    for (int i = 0; i < COUNT; i++)
        vv_batch_destroy(b[i]);
    vv_table_close(t);
}

static void bad_arguments_are_named(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static uint8_t big[VV_KEY_MAX + 1];
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_table *r = make_table(w->db, "plant", "rec", VV_TABLE_RECORD);
    vv_slice k = vv_slice_str("k");
    vv_slice long_key = vv_slice_of(big, sizeof big);
    assert_status(VV_INVALID, vv_put(t, vv_slice_of(NULL, 0), k, &err));
    assert_status(VV_INVALID, vv_put(t, long_key, k, &err));
    assert_non_null(strstr(err.msg, "1025"));
    assert_ok(vv_put(t, vv_slice_of(big, VV_KEY_MAX), k, &err), err);
    assert_status(VV_INVALID, vv_put(r, k, k, &err)); /* records have their own call */
    assert_status(VV_INVALID, vv_put(t, k, vv_slice_of(big, VV_VALUE_MAX + 1), &err));
    vv_value v;
    assert_status(VV_INVALID, vv_get(t, NULL, long_key, &v, &err));
    vv_batch *b = new_batch(w->db);
    assert_status(VV_INVALID, vv_batch_require(b, t, k, -1, &err));
    assert_status(VV_INVALID, vv_batch_producer(b, vv_slice_of(NULL, 0), 1, &err));
    assert_status(VV_INVALID, vv_batch_put(b, t, k, k, -5, &err));
    assert_int_equal(vv_batch_count(b), 0);
    assert_int_equal(vv_batch_bytes(b), 0);
    vv_batch_destroy(b);
    vv_table_close(t);
    vv_table_close(r);
}

static void a_batch_over_its_limit_is_refused_whole(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static uint8_t big[6 * 1024 * 1024];
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_batch *b = new_batch(w->db);
    assert_ok(vv_batch_put(b, t, vv_slice_str("a"), vv_slice_of(big, sizeof big), 0, &err), err);
    assert_ok(vv_batch_put(b, t, vv_slice_str("b"), vv_slice_of(big, sizeof big), 0, &err), err);
    size_t bytes = vv_batch_bytes(b);
    assert_status(VV_BUSY,
                  vv_batch_put(b, t, vv_slice_str("c"), vv_slice_of(big, sizeof big), 0, &err));
    assert_int_equal(vv_batch_bytes(b), bytes);
    assert_int_equal(vv_batch_count(b), 2);
    assert_ok(vv_batch_put(b, t, vv_slice_str("c"), vv_slice_str("small"), 0, &err), err);
    vv_batch_destroy(b);
    vv_table_close(t);
}

/* Larger than a memtable, a segment and the ring. */
static void a_large_value_goes_through(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static uint8_t big[5 * 1024 * 1024];
    memset(big, 'x', sizeof big);
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    for (int i = 0; i < 3; i++) {
        vv_value v;
        big[0] = (uint8_t)i;
        assert_ok(vv_put(t, vv_slice_str("big"), vv_slice_of(big, sizeof big), &err), err);
        put(t, "small", "v");
        assert_ok(vv_get(t, NULL, vv_slice_str("big"), &v, &err), err);
        assert_true(vv_slice_eq(v.data, vv_slice_of(big, sizeof big)));
        vv_value_release(&v);
        if (i == 1)
            assert_ok(vv_checkpoint(w->db, &err), err);
    }
    vv_table_close(t);
    sim_reopen(w);
    t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    vv_value v;
    assert_ok(vv_get(t, NULL, vv_slice_str("big"), &v, &err), err);
    assert_true(vv_slice_eq(v.data, vv_slice_of(big, sizeof big)));
    vv_value_release(&v);
    expect(t, NULL, "small", "v");
    vv_table_close(t);
}

static void expiry_hides_a_key(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    int64_t now = vv_clock_wall(w->env.clock);
    vv_batch *b = new_batch(w->db);
    put(t, "k", "old");
    assert_ok(vv_batch_put(b, t, vv_slice_str("k"), vv_slice_str("v"), now + VV_NS_PER_S, &err),
              err);
    assert_ok(vv_write(w->db, b, VV_DURABLE_SYNC, NULL, &err), err);
    vv_snapshot *snap = NULL;
    assert_ok(vv_snapshot_create(w->db, &snap, &err), err);
    expect(t, NULL, "k", "v");
    vio_sim_advance(w->disk, 2 * VV_NS_PER_S);
    expect(t, NULL, "k", NULL);
    expect(t, snap, "k", "v"); /* a snapshot reads at its own time */
    assert_ok(vv_checkpoint(w->db, &err), err);
    expect(t, NULL, "k", NULL);
    expect(t, snap, "k", "v");
    vv_snapshot_release(snap);
    /* An expired key is absent for conditions too. */
    assert_ok(vv_compare_and_swap(t, vv_slice_str("k"), false, vv_slice_of(NULL, 0),
                                  vv_slice_str("new"), 0, VV_DURABLE_SYNC, NULL, &err),
              err);
    vv_batch_destroy(b);
    vv_table_close(t);
}

static void old_versions_answer_within_retention(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.version_retention_ns = 10 * VV_NS_PER_S;
    vv_table *t = NULL;
    assert_ok(vv_table_create(w->db, "plant", "kept", &opt, &t, &err), err);
    vv_table *plain = make_table(w->db, "plant", "plain", VV_TABLE_KV);
    put(t, "k", "1");
    int64_t first = vv_table_version(t);
    put(t, "k", "2");
    put(plain, "k", "2");
    vv_value v;
    assert_ok(vv_get_at(t, first, vv_slice_str("k"), &v, &err), err);
    assert_memory_equal(v.data.data, "1", 1);
    assert_true(v.version == first);
    vv_value_release(&v);
    assert_status(VV_INVALID, vv_get_at(t, vv_table_version(t) + 1, vv_slice_str("k"), &v, &err));
    /* Flushed and reopened it still answers. */
    assert_ok(vv_checkpoint(w->db, &err), err);
    assert_ok(vv_compact(t, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    vv_table_close(t);
    vv_table_close(plain);
    sim_reopen(w);
    assert_ok(vv_table_open(w->db, "plant", "kept", &t, &err), err);
    assert_ok(vv_table_open(w->db, "plant", "plain", &plain, &err), err);
    assert_ok(vv_get_at(t, first, vv_slice_str("k"), &v, &err), err);
    assert_memory_equal(v.data.data, "1", 1);
    vv_value_release(&v);
    assert_status(VV_UNSUPPORTED, vv_get_at(plain, first, vv_slice_str("k"), &v, &err));
    vv_cursor *c = NULL;
    vv_cursor_options copt = VV_CURSOR_OPTIONS_INIT;
    copt.version = first;
    assert_ok(vv_cursor_open(t, &copt, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_str(""), &err), err);
    assert_memory_equal(vv_cursor_value(c).data, "1", 1);
    vv_cursor_close(c);
    /* With enough writes past the retention the old version is refused, never answered wrong. */
    vv_status st = VV_OK;
    for (int i = 0; i < 600 && st == VV_OK; i++) {
        vio_sim_advance(w->disk, VV_NS_PER_S / 10);
        put(t, "k", "3");
        if (i % 50 == 0)
            assert_ok(vv_checkpoint(w->db, &err), err);
        st = vv_get_at(t, first, vv_slice_str("k"), &v, &err);
        if (st == VV_OK) {
            assert_memory_equal(v.data.data, "1", 1);
            vv_value_release(&v);
        }
    }
    assert_int_equal(st, VV_UNSUPPORTED);
    vv_table_close(t);
    vv_table_close(plain);
}

static void statistics_add_up(void **state)
{
    sim_world *w = *state;
    vv_stats s = {.size = sizeof s};
    vv_table *t = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    for (int i = 0; i < 10; i++)
        put(t, "key", "value");
    vv_stats_read(w->db, &s);
    assert_int_equal(s.entries_committed, 10);
    assert_int_equal(s.operations, 10);
    assert_int_equal(s.user_bytes, 80);
    assert_int_equal(s.tables, 1);
    assert_int_equal(s.shards, 1);
    assert_true(s.log_syncs >= 10 && s.memory_used > 0 && s.memory_used < s.memory_limit);
    assert_true(s.commit_p99_ns >= s.commit_p50_ns && s.commit_p50_ns > 0);
    assert_false(s.failed);
    vv_stats old = {.size = 16, .user_bytes = 77};
    vv_stats_read(w->db, &old);
    assert_int_equal(old.entries_committed, 10);
    assert_int_equal(old.user_bytes, 77); /* behind the caller's size: untouched */
    vv_table_close(t);
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
    const struct CMUnitTest tests[] = {
        T(what_is_put_is_there_after_reopen),
        T(a_batch_is_one_version),
        T(snapshots_see_one_moment),
        T(cursors_walk_both_ways_within_bounds),
        T(a_required_version_decides),
        T(compare_and_swap_compares),
        T(conditions_see_unacknowledged_writes),
        T(an_os_write_waits_behind_a_sync_write),
        T(producers_write_once),
        T(async_writes_are_answered_once),
        T(a_chain_commits_in_order_with_one_sync),
        T(bad_arguments_are_named),
        T(a_batch_over_its_limit_is_refused_whole),
        T(a_large_value_goes_through),
        T(expiry_hides_a_key),
        T(old_versions_answer_within_retention),
        T(statistics_add_up),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&engine_memory_ops) + run(&lsm_ops) + run(&btree_ops);
}
