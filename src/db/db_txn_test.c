/*
 * db_txn_test.c - transactions one by one: what they see, undo and refuse.
 */
#include "db/db_txn_test_util.h"

/* ---- seeing ---- */

static void it_reads_its_snapshot_and_its_own_writes(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    put(table, "a", "1");
    put(table, "b", "1");
    vv_txn *t = begin(w->db);
    int64_t version = vv_txn_version(t, table);
    put(table, "a", "2");
    put(table, "c", "2");
    tsees(t, table, "a", "1");
    tsees(t, table, "c", NULL);
    tput(t, table, "b", "mine");
    tput(t, table, "d", "mine");
    tsees(t, table, "b", "mine");
    tsees(t, table, "d", "mine");
    tdel(t, table, "b");
    tsees(t, table, "b", NULL);
    expect(table, NULL, "b", "1"); /* nobody else sees it */
    expect(table, NULL, "d", NULL);
    flush(w->db);
    tsees(t, table, "a", "1");
    assert_int_equal(vv_txn_version(t, table), version);
    assert_int_equal(vv_txn_count(t), 2);
    vv_write_result r;
    assert_ok(vv_txn_commit(t, &r, &err), err);
    assert_true(r.version > version && r.durability == VV_DURABLE_SYNC);
    expect(table, NULL, "a", "2");
    expect(table, NULL, "b", NULL);
    expect(table, NULL, "d", "mine");
    vv_table_close(table);
}

static void aborted_writes_are_gone(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    vv_stats before = {.size = sizeof before};
    vv_stats after = {.size = sizeof after};
    vv_stats_read(w->db, &before);
    vv_txn *t = begin(w->db);
    tput(t, table, "a", "1");
    vv_stats_read(w->db, &after);
    assert_int_equal(after.txns_open, 1);
    assert_true(after.memory_part[VV_BUDGET_TXN] > 0);
    vv_txn_abort(t);
    vv_txn_abort(NULL);
    assert_ok(vv_txn_commit(NULL, NULL, &err), err);
    expect(table, NULL, "a", NULL);
    vv_stats_read(w->db, &after);
    assert_int_equal(after.txns_open, 0);
    assert_int_equal(after.memory_part[VV_BUDGET_TXN], 0);
    assert_int_equal(after.entries_committed, before.entries_committed);
    vv_table_close(table);
}

static void scans_merge_own_writes(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    vv_table *other = make_table(w->db, "t", "b", VV_TABLE_KV);
    for (const char *k = "bdfhj"; *k != '\0'; k++)
        put(table, (char[]){*k, '\0'}, "0");
    put(other, "x", "0");
    vv_txn *t = begin(w->db);
    tscans(t, table, "b=0 d=0 f=0 h=0 j=0", "j=0 h=0 f=0 d=0 b=0");
    tput(t, table, "a", "1");
    tput(t, table, "d", "1");
    tput(t, table, "e", "1");
    tdel(t, table, "f");
    tdel(t, table, "nothing");
    tput(t, table, "z", "1");
    tput(t, other, "y", "1");
    put(table, "c", "others");
    tscans(t, table, "a=1 b=0 d=1 e=1 h=0 j=0 z=1", "z=1 j=0 h=0 e=1 d=1 b=0 a=1");
    twipe(t, table, "d", "i");
    tscans(t, table, "a=1 b=0 j=0 z=1", "z=1 j=0 b=0 a=1");
    tput(t, table, "g", "2");
    tscans(t, table, "a=1 b=0 g=2 j=0 z=1", "z=1 j=0 g=2 b=0 a=1");
    tsees(t, table, "e", NULL);
    tsees(t, table, "h", NULL);
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.lower = S("b");
    opt.upper = S("j");
    assert_string_equal(scan_text(t, table, &opt, true), "b=0 g=2");
    assert_string_equal(scan_text(t, table, &opt, false), "g=2 b=0");
    opt = (vv_cursor_options)VV_CURSOR_OPTIONS_INIT;
    opt.prefix = S("g");
    assert_string_equal(scan_text(t, table, &opt, false), "g=2");
    tscans(t, other, "x=0 y=1", "y=1 x=0");
    commits(t); /* another's c lies before the range that was deleted */
    expect(table, NULL, "c", "others");
    expect(table, NULL, "h", NULL);
    expect(table, NULL, "g", "2");
    expect(other, NULL, "y", "1");
    vv_table_close(table);
    vv_table_close(other);
}

static void a_cursor_turns_round_and_sees_later_writes(void **state)
{
    sim_world *w = *state;
    vv_cursor *c = NULL;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    for (const char *k = "bdf"; *k != '\0'; k++)
        put(table, (char[]){*k, '\0'}, "0");
    vv_txn *t = begin(w->db);
    tput(t, table, "c", "1");
    assert_ok(vv_txn_scan(t, table, NULL, &c, &err), err);
    assert_status(VV_INVALID, vv_cursor_next(c, &err));
    static const struct {
        int step; /* 1 next, -1 prev, 0 seek to b */
        char at;
    } walk[] = {{0, 'b'}, {1, 'c'}, {1, 'd'}, {-1, 'c'}, {-1, 'b'}, {1, 'c'}, {-1, 'b'}, {-1, 0}};
    for (size_t i = 0; i < ARRAY_LEN(walk); i++) {
        assert_ok(walk[i].step == 0  ? vv_cursor_seek(c, S("b"), &err)
                  : walk[i].step > 0 ? vv_cursor_next(c, &err)
                                     : vv_cursor_prev(c, &err),
                  err);
        assert_int_equal(vv_cursor_valid(c), walk[i].at != 0);
        if (walk[i].at != 0)
            assert_int_equal(vv_cursor_key(c).data[0], walk[i].at);
    }
    assert_ok(vv_cursor_seek(c, S("d"), &err), err);
    tput(t, table, "e", "later");
    tdel(t, table, "f");
    tdel(t, table, "c");
    assert_ok(vv_cursor_next(c, &err), err);
    assert_true(vv_slice_eq(vv_cursor_value(c), S("later")));
    assert_int_equal(vv_cursor_version(c), 0);
    tdel(t, table, "e");
    assert_ok(vv_cursor_prev(c, &err), err);
    assert_int_equal(vv_cursor_key(c).data[0], 'd');
    assert_true(vv_cursor_version(c) > 0);
    assert_ok(vv_cursor_prev(c, &err), err);
    assert_int_equal(vv_cursor_key(c).data[0], 'b');
    commits(t);
    assert_false(vv_cursor_valid(c));
    assert_status(VV_CLOSED, vv_cursor_next(c, &err));
    assert_status(VV_CLOSED, vv_cursor_seek(c, S("a"), &err));
    assert_status(VV_CLOSED, vv_cursor_seek_below(c, S("a"), &err));
    vv_cursor_close(c);
    vv_table_close(table);
}

static void expiry_is_judged_at_the_snapshots_time(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    int64_t soon = vv_clock_wall(w->env.clock) + 10 * VV_NS_PER_S;
    vv_txn *t = begin(w->db);
    vv_value v = {0};
    assert_ok(vv_txn_put(t, table, S("past"), S("1"), 1, &err), err);
    assert_ok(vv_txn_put(t, table, S("soon"), S("1"), soon, &err), err);
    vio_sim_advance(w->disk, 20 * VV_NS_PER_S);
    tsees(t, table, "past", NULL);
    tscans(t, table, "soon=1", "soon=1");
    assert_ok(vv_txn_get(t, table, S("soon"), &v, &err), err);
    assert_true(v.expires_ns == soon && v.version == 0);
    vv_value_release(&v);
    commits(t);
    expect(table, NULL, "soon", NULL);
    vv_table_close(table);
}

/* ---- savepoints ---- */

static void savepoints_nest(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    uint64_t one;
    uint64_t two;
    uint64_t three;
    put(table, "a", "0");
    put(table, "b", "0");
    vv_txn *t = begin(w->db);
    tput(t, table, "a", "1");
    assert_ok(vv_txn_savepoint(t, &one, &err), err);
    tput(t, table, "a", "2");
    tput(t, table, "c", "2");
    twipe(t, table, "b", "d");
    assert_ok(vv_txn_savepoint(t, &two, &err), err);
    tput(t, table, "b", "3");
    tdel(t, table, "a");
    assert_ok(vv_txn_savepoint(t, &three, &err), err);
    twipe(t, table, "a", "z");
    tscans(t, table, "", "");
    assert_ok(vv_txn_rollback_to(t, three, &err), err);
    tscans(t, table, "b=3", "b=3");
    assert_ok(vv_txn_rollback_to(t, three, &err), err); /* it stays */
    assert_ok(vv_txn_rollback_to(t, two, &err), err);
    tscans(t, table, "a=2", "a=2");
    assert_status(VV_NOT_FOUND, vv_txn_rollback_to(t, three, &err)); /* set after it */
    assert_ok(vv_txn_release(t, two, &err), err);
    assert_status(VV_NOT_FOUND, vv_txn_release(t, two, &err));
    tput(t, table, "d", "4");
    assert_ok(vv_txn_rollback_to(t, one, &err), err);
    tscans(t, table, "a=1 b=0", "b=0 a=1");
    tsees(t, table, "c", NULL);
    assert_int_equal(vv_txn_count(t), 1);
    assert_ok(vv_txn_release(t, one, &err), err);
    commits(t);
    expect(table, NULL, "a", "1");
    expect(table, NULL, "b", "0");
    expect(table, NULL, "c", NULL);
    expect(table, NULL, "d", NULL);
    vv_table_close(table);
}

static void what_was_rolled_back_conflicts_with_nobody(void **state)
{
    sim_world *w = *state;
    uint64_t sp;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    vv_txn *t = begin(w->db);
    assert_ok(vv_txn_savepoint(t, &sp, &err), err);
    tput(t, table, "k", "1");
    twipe(t, table, "m", "n");
    assert_ok(vv_txn_rollback_to(t, sp, &err), err);
    tput(t, table, "x", "1");
    put(table, "k", "2");
    put(table, "mm", "2");
    commits(t);
    expect(table, NULL, "k", "2");
    vv_table_close(table);
}

/* ---- refusals ---- */

static void operations_across_shards_are_refused(void **state)
{
    sim_world *w = *state;
    sim_end(w);
    w->opt.shard_count = 4;
    sim_start(w);
    vv_table *home = make_table(w->db, "alpha", "a", VV_TABLE_KV);
    vv_table_info at = {0};
    vv_table_info info = {0};
    assert_ok(vv_table_describe(home, &at, &err), err);
    vv_table *away = NULL;
    for (char name[] = "a"; away == NULL && name[0] <= 'z'; name[0]++) {
        away = make_table(w->db, name, "a", VV_TABLE_KV);
        assert_ok(vv_table_describe(away, &info, &err), err);
        if (info.shard == at.shard) {
            vv_table_close(away);
            away = NULL;
        }
    }
    assert_non_null(away);
    put(away, "k", "away");
    vv_txn *t = begin(w->db);
    vv_value v;
    vv_cursor *c = NULL;
    tput(t, home, "k", "1");
    assert_status(VV_UNSUPPORTED, vv_txn_put(t, away, S("k"), S("1"), 0, &err));
    assert_non_null(strstr(err.msg, "shard"));
    assert_status(VV_UNSUPPORTED, vv_txn_get(t, away, S("k"), &v, &err));
    assert_status(VV_UNSUPPORTED, vv_txn_scan(t, away, NULL, &c, &err));
    commits(t); /* it is usable after a refusal */
    expect(home, NULL, "k", "1");
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.read_only = true;
    assert_ok(vv_txn_begin(w->db, &opt, &t, &err), err);
    put(away, "k", "later");
    put(home, "k", "later");
    tsees(t, home, "k", "1");
    tsees(t, away, "k", "away");
    commits(t);
    vv_table_close(home);
    vv_table_close(away);
}

static void bad_input_is_refused_by_name(void **state)
{
    sim_world *w = *state;
    static uint8_t big[VV_VALUE_MAX + 1];
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    vv_table *records = make_table(w->db, "t", "r", VV_TABLE_RECORD);
    vv_txn *t = NULL;
    vv_value v;
    vv_cursor *c = NULL;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.size = 1;
    assert_status(VV_INVALID, vv_txn_begin(w->db, &opt, &t, &err));
    opt = (vv_txn_options)VV_TXN_OPTIONS_INIT;
    opt.isolation = (vv_isolation)7;
    assert_status(VV_INVALID, vv_txn_begin(w->db, &opt, &t, &err));
    opt.isolation = VV_ISOLATION_SNAPSHOT;
    opt.durability = (vv_durability)9;
    assert_status(VV_INVALID, vv_txn_begin(w->db, &opt, &t, &err));
    t = begin(w->db);
    assert_status(VV_INVALID, vv_txn_put(t, table, S(""), S("1"), 0, &err));
    assert_status(VV_INVALID,
                  vv_txn_put(t, table, vv_slice_of(big, VV_KEY_MAX + 1), S(""), 0, &err));
    assert_status(VV_INVALID, vv_txn_put(t, table, S("k"), vv_slice_of(big, sizeof big), 0, &err));
    assert_status(VV_INVALID, vv_txn_put(t, table, S("k"), S("1"), -1, &err));
    assert_status(VV_INVALID, vv_txn_put(t, records, S("k"), S("1"), 0, &err));
    assert_status(VV_INVALID, vv_txn_get(t, table, S(""), &v, &err));
    assert_status(VV_INVALID, vv_txn_delete(t, table, S(""), &err));
    assert_status(VV_INVALID,
                  vv_txn_delete_range(t, table, vv_slice_of(big, VV_KEY_MAX + 1), S(""), &err));
    vv_cursor_options scan = VV_CURSOR_OPTIONS_INIT;
    scan.version = 1;
    assert_status(VV_INVALID, vv_txn_scan(t, table, &scan, &c, &err));
    scan.version = 0;
    scan.size = 1;
    assert_status(VV_INVALID, vv_txn_scan(t, table, &scan, &c, &err));
    assert_ok(vv_txn_delete_range(t, table, S("z"), S("a"), &err), err); /* empty: nothing */
    assert_int_equal(vv_txn_count(t), 0);
    assert_ok(vv_txn_put(t, table, vv_slice_of(big, VV_KEY_MAX), S(""), 0, &err), err);
    assert_ok(vv_txn_delete_range(t, table, S("a"), S(""), &err), err);
    assert_ok(vv_txn_scan(t, table, NULL, &c, &err), err);
    assert_status(VV_INVALID, vv_cursor_seek(c, vv_slice_of(big, VV_KEY_MAX + 1), &err));
    assert_status(VV_INVALID, vv_cursor_seek_below(c, vv_slice_of(big, VV_KEY_MAX + 1), &err));
    assert_ok(vv_cursor_seek(c, vv_slice_of(big, VV_KEY_MAX), &err), err);
    assert_int_equal(vv_cursor_key(c).len, VV_KEY_MAX);
    vv_cursor_close(c);
    commits(t);
    vv_table_close(table);
    vv_table_close(records);
}

static void a_dropped_table_ends_it(void **state)
{
    sim_world *w = *state;
    vv_value v;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    vv_table *other = make_table(w->db, "t", "b", VV_TABLE_KV);
    vv_txn *t = begin(w->db);
    vv_txn *beside = begin(w->db);
    tput(t, table, "k", "1");
    tput(beside, other, "k", "1");
    assert_ok(vv_table_drop(w->db, "t", "a", &err), err);
    assert_status(VV_NOT_FOUND, vv_txn_get(t, table, S("k"), &v, &err));
    assert_status(VV_NOT_FOUND, vv_txn_put(t, table, S("k"), S("2"), 0, &err));
    vv_status st = vv_txn_commit(t, NULL, &err);
    assert_true(st == VV_NOT_FOUND || st == VV_CONFLICT);
    commits(beside);
    vv_table_close(table);
    vv_table_close(other);
}

static void memory_is_bounded_by_name(void **state)
{
    sim_world *w = *state;
    static uint8_t big[64u << 10];
    char key[16];
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.memory_max = 1u << 20;
    vv_txn *t = NULL;
    assert_ok(vv_txn_begin(w->db, &opt, &t, &err), err);
    vv_status st = VV_OK;
    unsigned n = 0;
    for (; st == VV_OK; n += st == VV_OK) {
        (void)snprintf(key, sizeof key, "k%u", n);
        st = vv_txn_put(t, table, S(key), vv_slice_of(big, sizeof big), 0, &err);
    }
    assert_int_equal(st, VV_BUSY);
    assert_non_null(strstr(err.msg, "memory_max"));
    assert_true(n > 8 && n < 17 && vv_txn_memory(t) <= opt.memory_max);
    assert_int_equal(vv_txn_count(t), n);
    commits(t); /* what it holds can be committed */
    expect(table, NULL, key, NULL);
    /* The batch, and then the whole store. */
    opt.memory_max = 64u << 20;
    assert_ok(vv_txn_begin(w->db, &opt, &t, &err), err);
    for (st = VV_OK; st == VV_OK; n++) {
        (void)snprintf(key, sizeof key, "k%u", n);
        st = vv_txn_put(t, table, S(key), vv_slice_of(big, sizeof big), 0, &err);
    }
    assert_int_equal(st, VV_BUSY);
    assert_true(strstr(err.msg, "memory_limit") != NULL ||
                strstr(err.msg, "bytes, what one") != NULL);
    vv_txn_abort(t);
    opt.memory_max = 0; /* reads that are remembered count too */
    opt.isolation = VV_ISOLATION_SERIALIZABLE;
    assert_ok(vv_txn_begin(w->db, &opt, &t, &err), err);
    vv_value v;
    for (st = VV_NOT_FOUND, n = 0; st == VV_NOT_FOUND; n++) {
        (void)snprintf(key, sizeof key, "absent%u", n);
        st = vv_txn_get(t, table, S(key), &v, &err);
    }
    assert_int_equal(st, VV_BUSY);
    assert_true(n > 1000);
    vv_txn_abort(t);
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    assert_int_equal(s.memory_part[VV_BUDGET_TXN], 0);
    vv_table_close(table);
}

/* Each allocation of a transaction fails once: a clean answer, nothing lost, nothing leaked. */
static vv_status work_through(vv_db *db, vv_table *table, bool *committed)
{
    vv_txn *t = NULL;
    vv_cursor *c = NULL;
    vv_value v = {0};
    uint64_t sp;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.isolation = VV_ISOLATION_SERIALIZABLE;
    *committed = false;
    vv_status st = vv_txn_begin(db, &opt, &t, &err);
    if (st != VV_OK)
        return st;
    static char long_key[700];
    memset(long_key, 'x', sizeof long_key - 1);
    st = vv_txn_put(t, table, S(long_key), S("1"), 0, &err);
    if (st == VV_OK)
        st = vv_txn_savepoint(t, &sp, &err);
    for (int i = 0; st == VV_OK && i < 40; i++)
        st = vv_txn_put(t, table, S((char[]){'a', (char)('0' + i), '\0'}), S(long_key), 0, &err);
    if (st == VV_OK)
        st = vv_txn_delete_range(t, table, S("a3"), S("a5"), &err);
    if (st == VV_OK)
        st = vv_txn_get(t, table, S("nowhere"), &v, &err) == VV_NOT_FOUND ? VV_OK : err.status;
    if (st == VV_OK)
        st = vv_txn_scan(t, table, NULL, &c, &err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, S(""), &err);
    while (st == VV_OK && vv_cursor_valid(c))
        st = vv_cursor_next(c, &err);
    vv_cursor_close(c);
    if (st != VV_OK) {
        vv_txn_abort(t);
        return st;
    }
    st = vv_txn_commit(t, NULL, &err);
    *committed = st == VV_OK;
    return st;
}

static void every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    bool committed = false;
    put(table, "b", "0");
    for (uint64_t n = 1; !committed; n++) {
        vv_alloc_fail_after((int64_t)n - 1, 0);
        vv_status st = work_through(w->db, table, &committed);
        vv_alloc_fail_after(-1, 0);
        if (st != VV_OK && st != VV_NO_MEMORY && st != VV_BUSY)
            fail_msg("allocation %llu: %s %s", (unsigned long long)n, vv_status_name(st), err.msg);
        vv_value v = {0};
        st = vv_get(table, NULL, S("a1"), &v, &err);
        assert_int_equal(st, committed ? VV_OK : VV_NOT_FOUND);
        vv_value_release(&v);
    }
    vv_table_close(table);
}

#define T(name) cmocka_unit_test_setup_teardown(name, txn_setup, txn_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_reads_its_snapshot_and_its_own_writes),
        T(aborted_writes_are_gone),
        T(scans_merge_own_writes),
        T(a_cursor_turns_round_and_sees_later_writes),
        T(expiry_is_judged_at_the_snapshots_time),
        T(savepoints_nest),
        T(what_was_rolled_back_conflicts_with_nobody),
        T(operations_across_shards_are_refused),
        T(bad_input_is_refused_by_name),
        T(a_dropped_table_ends_it),
        T(memory_is_bounded_by_name),
        T(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
