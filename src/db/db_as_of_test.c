/*
 * db_as_of_test.c - reads of the past: never newer than asked, never much older, refused outside.
 */
#include "db/db_test_util.h"

#include <string.h>

#include "base/rng.h"
#include "lsm/lsm.h"
#include "varve/record.h"

#define RETENTION (10 * VV_NS_PER_S)
#define SLACK (RETENTION / 2048 + 2 * VV_NS_PER_MS)
#define WRITES 3000

static vv_error err;

static vv_table *open_kept(sim_world *w, const char *name, int64_t retention_ns)
{
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.version_retention_ns = retention_ns;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(w->db, "t", name, &opt, &t, &err), err);
    return t;
}

/* The number a read at a time gives; -1: refused as outside. */
static int64_t read_at(vv_table *t, int64_t time_ns)
{
    vv_value v;
    vv_read_options opt = VV_READ_OPTIONS_INIT;
    opt.as_of_time_ns = time_ns;
    vv_status st = vv_get_with(t, &opt, vv_slice_str("k"), &v, &err);
    if (st == VV_UNSUPPORTED)
        return -1;
    assert_ok(st, err);
    int64_t n = vv_get_le64(v.data.data);
    vv_value_release(&v);
    return n;
}

static void prop_a_time_shows_what_was_committed_by_then(void **state)
{
    (void)state;
    static int64_t written[WRITES]; /* when write n was acknowledged */
    vv_rng rng;
    sim_world w = {.opt = SIM_TINY_OPTIONS, .ops = &lsm_ops};
    uint64_t answered = 0;
    uint64_t refused = 0;
    vv_rng_init(&rng, vv_test_seed(0xa50f));
    sim_start(&w);
    vv_table *t = open_kept(&w, "kept", RETENTION);
    for (int64_t n = 0; n < WRITES; n++) {
        uint8_t bytes[8];
        vio_sim_advance(w.disk, (int64_t)vv_rng_below(&rng, 30 * VV_NS_PER_MS));
        vv_put_le64(bytes, (uint64_t)n);
        assert_ok(vv_put(t, vv_slice_str("k"), vv_slice_of(bytes, 8), &err), err);
        written[n] = vv_clock_wall(w.env.clock);
        if (n % 300 == 299) {
            assert_ok(vv_checkpoint(w.db, &err), err);
            assert_ok(vv_compact(t, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
        }
        if (n % 1000 == 999) {
            vv_table_close(t);
            sim_reopen(&w);
            t = open_kept(&w, "kept", RETENTION);
        }
        int64_t now = vv_clock_wall(w.env.clock);
        int64_t back = (int64_t)vv_rng_below(&rng, 2 * RETENTION);
        int64_t at = now - back;
        int64_t got = read_at(t, at);
        if (got < 0) {
            refused++;
            /* Inside the retention it answers, once it has been kept that long. */
            if (back < RETENTION - SLACK && at > written[0] + SLACK)
                fail_msg("%lld ms back: %s", (long long)(back / VV_NS_PER_MS), err.msg);
            continue;
        }
        answered++;
        if (got < n && written[got + 1] < at - SLACK - 30 * VV_NS_PER_MS)
            fail_msg("%lld ms back: write %lld, though the next was there %lld ms before",
                     (long long)(back / VV_NS_PER_MS), (long long)got,
                     (long long)((at - written[got + 1]) / VV_NS_PER_MS));
        /* It was committed at or before `at`: the write before it was acknowledged by then. */
        if (got > 0 && written[got - 1] > at)
            fail_msg("write %lld is newer than what was asked for", (long long)got);
        if (back > RETENTION + 2 * SLACK + 60 * VV_NS_PER_MS)
            fail_msg("%lld ms back is still answered", (long long)(back / VV_NS_PER_MS));
    }
    assert_true(answered > WRITES / 4 && refused > WRITES / 4);
    vv_table_close(t);
    sim_end(&w);
}

static void what_cannot_be_answered_is_refused(void **state)
{
    (void)state;
    sim_world w = {.opt = SIM_TINY_OPTIONS, .ops = &lsm_ops};
    sim_start(&w);
    vv_table *plain = make_table(w.db, "t", "plain", VV_TABLE_KV);
    vv_value v;
    int64_t version = 0;
    put(plain, "k", "12345678");
    vio_sim_advance(w.disk, VV_NS_PER_S);
    int64_t between = vv_clock_wall(w.env.clock);
    assert_ok(vv_version_as_of(plain, between, &version, &err),
              err); /* nothing was written since */
    assert_int_equal(version, vv_table_version(plain));
    vio_sim_advance(w.disk, VV_NS_PER_S);
    put(plain, "k", "abcdefgh");
    assert_status(VV_UNSUPPORTED, vv_version_as_of(plain, between, &version, &err));
    assert_non_null(strstr(err.msg, "plain"));
    assert_status(VV_INVALID, vv_version_as_of(plain, between + 100 * VV_NS_PER_S, &version, &err));
    vv_snapshot *snap = NULL;
    assert_ok(vv_snapshot_create(w.db, &snap, &err), err);
    vv_read_options opt = VV_READ_OPTIONS_INIT;
    opt.snapshot = snap;
    assert_ok(vv_get_with(plain, &opt, vv_slice_str("k"), &v, &err), err);
    vv_value_release(&v);
    opt.as_of_version = 1;
    assert_status(VV_INVALID, vv_get_with(plain, &opt, vv_slice_str("k"), &v, &err));
    opt.snapshot = NULL;
    opt.as_of_time_ns = 1;
    assert_status(VV_INVALID, vv_get_with(plain, &opt, vv_slice_str("k"), &v, &err));
    opt.as_of_time_ns = 0;
    opt.as_of_version = vv_table_version(plain);
    assert_ok(vv_get_with(plain, &opt, vv_slice_str("k"), &v, &err), err);
    vv_value_release(&v);
    opt.size = 3;
    assert_status(VV_INVALID, vv_get_with(plain, &opt, vv_slice_str("k"), &v, &err));
    assert_ok(vv_get_with(plain, NULL, vv_slice_str("k"), &v, &err), err);
    vv_value_release(&v);
    vv_snapshot_release(snap);
    vv_table_close(plain);
    sim_end(&w);
}

/* A program built against an older header says so with the size: the rest has its defaults. */
static void shorter_options_are_the_defaults_in_the_rest(void **state)
{
    (void)state;
    sim_world w = {.opt = SIM_TINY_OPTIONS, .ops = &lsm_ops};
    sim_start(&w);
    vv_value v;
    vv_cursor *c = NULL;
    vv_txn *txn = NULL;
    vv_table *t = NULL;
    vv_table_options table = VV_TABLE_OPTIONS_INIT;
    table.kind = VV_TABLE_RECORD;
    table.size = offsetof(vv_table_options, value_threshold);
    table.compression = (vv_compression)99; /* beyond what is said to be there */
    assert_ok(vv_table_create(w.db, "t", "old", &table, &t, &err), err);
    vv_cursor_options cursor = VV_CURSOR_OPTIONS_INIT;
    cursor.size = offsetof(vv_cursor_options, prefix);
    cursor.prefix = vv_slice_str("no such key");
    vv_batch *batch = vv_batch_create(w.db);
    assert_non_null(batch);
    assert_ok(
        vv_batch_put_record(batch, t, vv_slice_str("k"), &(vv_record){.timestamp_ns = 5}, &err),
        err);
    assert_ok(vv_write(w.db, batch, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(batch);
    assert_ok(vv_cursor_open(t, &cursor, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
    assert_true(vv_cursor_valid(c));
    vv_cursor_close(c);
    assert_ok(vv_cursor_open_by_time(t, &cursor, 0, 10, &c, &err), err);
    vv_cursor_close(c);
    vv_txn_options begin = VV_TXN_OPTIONS_INIT;
    begin.size = offsetof(vv_txn_options, memory_max);
    begin.memory_max = 1; /* would be too little */
    assert_ok(vv_txn_begin(w.db, &begin, &txn, &err), err);
    assert_ok(vv_txn_scan(txn, t, &cursor, &c, &err), err);
    vv_cursor_close(c);
    vv_txn_abort(txn);
    vv_read_options read = VV_READ_OPTIONS_INIT;
    read.size = offsetof(vv_read_options, as_of_time_ns);
    read.as_of_version = vv_table_version(t);
    read.as_of_time_ns = 1;
    assert_ok(vv_get_with(t, &read, vv_slice_str("k"), &v, &err), err);
    vv_value_release(&v);
    /* Nothing at all was set, not even the size. */
    table.size = cursor.size = begin.size = 0;
    assert_status(VV_INVALID, vv_table_create(w.db, "t", "new", &table, &t, &err));
    assert_status(VV_INVALID, vv_cursor_open(t, &cursor, &c, &err));
    assert_status(VV_INVALID, vv_cursor_open_by_time(t, &cursor, 0, 10, &c, &err));
    assert_status(VV_INVALID, vv_txn_begin(w.db, &begin, &txn, &err));
    vv_table_close(t);
    sim_end(&w);
}

static void a_version_below_zero_is_none(void **state)
{
    (void)state;
    sim_world w = {.opt = SIM_TINY_OPTIONS, .ops = &lsm_ops};
    sim_start(&w);
    vv_value v;
    vv_table *t = make_table(w.db, "t", "plain", VV_TABLE_KV);
    assert_status(VV_INVALID, vv_get_at(t, -1, vv_slice_str("k"), &v, &err));
    assert_non_null(strstr(err.msg, "version -1 is none"));
    vv_table_close(t);
    sim_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_time_shows_what_was_committed_by_then),
        cmocka_unit_test(what_cannot_be_answered_is_refused),
        cmocka_unit_test(shorter_options_are_the_defaults_in_the_rest),
        cmocka_unit_test(a_version_below_zero_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
