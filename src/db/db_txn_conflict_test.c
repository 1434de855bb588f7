/*
 * db_txn_conflict_test.c - who conflicts with whom, in every state of the engine.
 */
#include "db/db_txn_test_util.h"

/* ---- conflicts ---- */

static void the_first_committer_wins(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    put(table, "k", "0");
    vv_txn *first = begin(w->db);
    vv_txn *second = begin(w->db);
    vv_txn *third = begin(w->db);
    tput(first, table, "k", "first");
    tput(second, table, "k", "second");
    tput(third, table, "other", "third");
    commits(first);
    conflicts(second, "key 'k' of table 'a'");
    commits(third);
    expect(table, NULL, "k", "first");
    expect(table, NULL, "other", "third");
    vv_stats s = {.size = sizeof s};
    vv_stats_read(w->db, &s);
    assert_int_equal(s.conflicts, 1);
    assert_int_equal(s.txn_commits, 2);
    assert_int_equal(s.txn_failures, 1);
    vv_table_close(table);
}

/* Whoever else writes: put, delete, range delete, compare-and-swap, another transaction's range. */
static void every_writer_counts(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    for (int way = 0; way < 6; way++) {
        for (int flushed = 0; flushed < 2; flushed++) {
            put(table, "k\x01", "0");
            vv_txn *t = begin(w->db);
            tput(t, table, "k\x01", "mine");
            vv_batch *b = vv_batch_create(w->db);
            vv_txn *other = begin(w->db);
            if (way == 0)
                put(table, "k\x01", "1");
            else if (way == 1)
                assert_ok(vv_delete(table, S("k\x01"), &err), err);
            else if (way == 2)
                assert_ok(vv_batch_delete_range(b, table, S("a"), S("z"), &err), err);
            else if (way == 3)
                assert_ok(vv_compare_and_swap(table, S("k\x01"), true, S("0"), S("1"), 0,
                                              VV_DURABLE_SYNC, NULL, &err),
                          err);
            else if (way == 4)
                twipe(other, table, "k", "");
            else
                tdel(other, table, "k\x01");
            assert_ok(vv_write(w->db, b, VV_DURABLE_SYNC, NULL, &err), err);
            vv_batch_destroy(b);
            commits(other);
            if (flushed)
                flush(w->db);
            conflicts(t, "'k\\x01'");
        }
    }
    vv_table_close(table);
}

/* Absent, put, deleted: the same state, but somebody wrote; also when all of it was merged away. */
static void a_write_that_was_undone_counts_too(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    put(table, "else", "0");
    vv_txn *t = begin(w->db);
    tput(t, table, "k", "mine");
    put(table, "k", "1");
    assert_ok(vv_delete(table, S("k"), &err), err);
    flush(w->db);
    assert_ok(vv_compact(table, S(""), S(""), &err), err);
    conflicts(t, "'k'");
    vv_table_close(table);
}

/* The floor of the memtables stands right behind the write, or right before it. */
static void the_floor_is_exact(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    put(table, "k", "0");
    vv_txn *t = begin(w->db);
    vv_txn *idle = begin(w->db);
    tput(t, table, "k", "mine");
    tput(idle, table, "quiet", "mine");
    put(table, "k", "1"); /* one version behind the snapshot, and then the memtable is empty */
    flush(w->db);
    conflicts(t, "'k'");
    commits(idle);
    t = begin(w->db); /* the newest write is below its snapshot */
    tput(t, table, "k", "2");
    flush(w->db);
    commits(t);
    expect(table, NULL, "k", "2");
    vv_table_close(table);
}

static void deleted_ranges_conflict_both_ways(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    for (int flushed = 0; flushed < 2; flushed++) {
        put(table, "b", "0");
        vv_txn *t = begin(w->db);
        vv_txn *beside = begin(w->db);
        twipe(t, table, "b", "d");
        twipe(t, table, "d", "e");
        twipe(beside, table, "d", "e");
        put(table, "cc", "new"); /* was absent: a phantom of the deletion */
        if (flushed)
            flush(w->db);
        conflicts(t, "'cc'");
        commits(beside);
        expect(table, NULL, "cc", "new");
        assert_ok(vv_delete(table, S("cc"), &err), err);
    }
    vv_table_close(table);
}

static void serializable_checks_what_was_read(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    for (int flushed = 0; flushed < 2; flushed++) {
        put(table, "x", "0");
        put(table, "y", "0");
        /* Write skew: each reads what the other writes. */
        for (int level = VV_ISOLATION_SNAPSHOT; level <= VV_ISOLATION_SERIALIZABLE; level++) {
            vv_txn *t1 = begin_as(w->db, level);
            vv_txn *t2 = begin_as(w->db, level);
            tsees(t1, table, "y", "0");
            tsees(t2, table, "x", "0");
            tput(t1, table, "x", "0");
            tput(t2, table, "y", "0");
            commits(t1);
            if (flushed)
                flush(w->db);
            if (level == VV_ISOLATION_SNAPSHOT)
                commits(t2);
            else
                conflicts(t2, "'x'");
        }
        /* An absent key counts as read. */
        vv_txn *t = begin_as(w->db, VV_ISOLATION_SERIALIZABLE);
        tsees(t, table, "absent", NULL);
        tput(t, table, "z", "1");
        put(table, "absent", "now there");
        conflicts(t, "'absent'");
        assert_ok(vv_delete(table, S("absent"), &err), err);
    }
    vv_table_close(table);
}

/* What a scan has passed over is checked to its ends, and nothing beyond. */
static void serializable_scans_stop_phantoms(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    static const struct {
        const char *lower, *upper;
        int steps; /* -1: to the end */
        bool forward;
        const char *written;
        bool conflict;
    } cases[] = {
        {"", "", -1, true, "zz", true},   /* behind the last key */
        {"", "", -1, true, "a", true},    /* before the first */
        {"c", "g", -1, true, "cc", true}, /* in a gap */
        {"c", "g", -1, true, "fz", true}, /* in the gap at the end */
        {"c", "g", -1, true, "g", false},  {"c", "g", -1, true, "b", false},
        {"c", "g", 0, true, "d", true}, /* stands on d and has looked at nothing more */
        {"c", "g", 0, true, "dd", false},  {"c", "g", 1, true, "dd", true},
        {"c", "g", 1, true, "fz", false},  {"c", "g", -1, false, "c", true},
        {"c", "g", -1, false, "fz", true}, {"c", "g", 0, false, "f", true},
        {"c", "g", 0, false, "e", false},  {"c", "g", 0, false, "fz", true},
        {"c", "g", 1, false, "e", true},   {"c", "g", 1, false, "cc", false},
    };
    for (int flushed = 0; flushed < 2; flushed++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            vv_batch *b = vv_batch_create(w->db);
            assert_ok(vv_batch_delete_range(b, table, S(""), S(""), &err), err);
            assert_ok(vv_write(w->db, b, VV_DURABLE_SYNC, NULL, &err), err);
            vv_batch_destroy(b);
            for (const char *k = "bdfh"; *k != '\0'; k++)
                put(table, (char[]){*k, '\0'}, "0");
            vv_txn *t = begin_as(w->db, VV_ISOLATION_SERIALIZABLE);
            vv_cursor *c = NULL;
            vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
            opt.lower = S(cases[i].lower);
            opt.upper = S(cases[i].upper);
            bool up = cases[i].forward;
            assert_ok(vv_txn_scan(t, table, &opt, &c, &err), err);
            assert_ok(up ? vv_cursor_seek(c, S(""), &err) : vv_cursor_seek_below(c, S(""), &err),
                      err);
            for (int n = cases[i].steps; n != 0 && vv_cursor_valid(c); n--)
                assert_ok(up ? vv_cursor_next(c, &err) : vv_cursor_prev(c, &err), err);
            tput(t, table, "x-mine", "1");
            put(table, cases[i].written, "another's");
            if (flushed)
                flush(w->db);
            vv_status st = vv_txn_commit(t, NULL, &err);
            vv_cursor_close(c);
            if (st != (cases[i].conflict ? VV_CONFLICT : VV_OK))
                fail_msg("case %zu: %s", i, vv_status_name(st));
        }
    }
    vv_table_close(table);
}

static void read_only_never_conflicts(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    put(table, "k", "0");
    vv_txn *t = NULL;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.isolation = VV_ISOLATION_SERIALIZABLE;
    opt.read_only = true;
    assert_ok(vv_txn_begin(w->db, &opt, &t, &err), err);
    tsees(t, table, "k", "0");
    put(table, "k", "1");
    tscans(t, table, "k=0", "k=0");
    assert_status(VV_INVALID, vv_txn_put(t, table, S("k"), S("2"), 0, &err));
    assert_status(VV_INVALID, vv_txn_delete(t, table, S("k"), &err));
    assert_status(VV_INVALID, vv_txn_delete_range(t, table, S("k"), S(""), &err));
    vv_write_result r;
    assert_ok(vv_txn_commit(t, &r, &err), err);
    assert_int_equal(r.version, 0);
    t = begin_as(w->db, VV_ISOLATION_SERIALIZABLE); /* one that happens to write nothing */
    tsees(t, table, "k", "1");
    put(table, "k", "2");
    commits(t);
    vv_table_close(table);
}

/* ---- between the look and the append ---- */

static struct {
    vv_table *table;
    const char *key;
    int count;
    bool busy;
} meanwhile;

static void write_meanwhile(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "txn.judged") != 0 || meanwhile.busy)
        return;
    meanwhile.busy = true;
    for (int i = 0; i < meanwhile.count; i++)
        put(meanwhile.table, meanwhile.key, "meanwhile");
    meanwhile.busy = false;
}

static void writes_while_it_is_judged_are_seen(void **state)
{
    sim_world *w = *state;
    vv_point_set(write_meanwhile, NULL);
#ifndef VV_TEST_HOOKS
    skip();
#endif
    meanwhile.table = make_table(w->db, "t", "a", VV_TABLE_KV);
    static const struct {
        const char *key;
        int count;
        bool conflict;
    } cases[] = {{"b", 1, true},
                 {"c", 1, false},
                 {"k", 1, true},
                 {"z", 1, false},
                 {"z", 20000, false}}; /* more than is remembered: it judges again */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_txn *t = begin(w->db);
        twipe(t, meanwhile.table, "a", "c");
        tput(t, meanwhile.table, "k", "1");
        meanwhile.key = cases[i].key;
        meanwhile.count = cases[i].count;
        vv_status st = vv_txn_commit(t, NULL, &err);
        if (st != (cases[i].conflict ? VV_CONFLICT : VV_OK))
            fail_msg("case %zu: %s %s", i, vv_status_name(st), err.msg);
    }
    vv_point_set(NULL, NULL);
    vv_table_close(meanwhile.table);
}

/* A write in the log that is not durable yet, and so not visible, is a write. */
static void what_is_not_acknowledged_yet_counts(void **state)
{
    sim_world *w = *state;
    vv_table *table = make_table(w->db, "t", "a", VV_TABLE_KV);
    put(table, "k", "0");
    vv_txn *t = begin(w->db);
    tput(t, table, "k", "mine");
    vv_batch *b = vv_batch_create(w->db);
    assert_ok(vv_batch_put(b, table, S("k"), S("1"), 0, &err), err);
    db_commit_begin(w->db, b, VV_DURABLE_SYNC);
    vv_mutex_lock(&w->db->commit_lock);
    assert_ok(db_append(w->db, &b, 1, &err), err);
    vv_mutex_unlock(&w->db->commit_lock);
    expect(table, NULL, "k", "0"); /* logged, not durable, not visible */
    vv_txn *late = begin(w->db);   /* reads what is visible, and conflicts all the same */
    tsees(late, table, "k", "0");
    tput(late, table, "k", "late");
    conflicts(t, "'k'");
    conflicts(late, "'k'");
    assert_ok(db_await(w->db, b->need, &err), err);
    expect(table, NULL, "k", "1");
    vv_batch_destroy(b);
    vv_table_close(table);
}

#define T(name) cmocka_unit_test_setup_teardown(name, txn_setup, txn_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_first_committer_wins),           T(every_writer_counts),
        T(a_write_that_was_undone_counts_too), T(the_floor_is_exact),
        T(deleted_ranges_conflict_both_ways),  T(serializable_checks_what_was_read),
        T(serializable_scans_stop_phantoms),   T(read_only_never_conflicts),
        T(writes_while_it_is_judged_are_seen), T(what_is_not_acknowledged_yet_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
