/*
 * db_archive_test.c - archives: they show what was there, whatever comes after and wherever the
 * power fails; a table comes back from one; what is dropped gives its space back.
 */
#include "db/db_test_util.h"

#include "base/alloc.h"
#include "btree/btree.h"
#include "lsm/lsm.h"
#include "varve/record.h"

#define KEYS 300

static const engine_ops *engine_under_test; /* the home; the tables are trees in any case */

static int setup(void **state)
{
    static sim_world w;
    w = (sim_world){.ops = engine_under_test, .opt = SIM_TINY_OPTIONS};
    w.opt.shard_count = engine_under_test == &lsm_ops ? 2 : 1; /* one with a tree */
    sim_start(&w);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    sim_end(*state);
    return 0;
}

static vv_table *make_tree(sim_world *w, const char *tenant, vv_table_kind kind)
{
    return make_table_of(w->db, tenant, kind == VV_TABLE_KV ? "kv" : "rec", kind, VV_ENGINE_BTREE);
}

static void key_of(int i, char out[16])
{
    (void)snprintf(out, 16, "key-%05d", i);
}

static void put_some(vv_table *t, int from, int to, const char *value)
{
    for (int i = from; i < to; i++) {
        char key[16];
        key_of(i, key);
        put(t, key, value);
    }
}

/* How many keys have the value in an archive (NULL: now), of all there are; *others the rest. */
static int count(vv_table *t, const char *archive, const char *value, int *others)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    int same = 0;
    *others = 0;
    opt.archive = archive;
    assert_ok(vv_cursor_open(t, &opt, &c, &err), err);
    vv_status st = vv_cursor_seek(c, vv_slice_of(NULL, 0), &err);
    for (; st == VV_OK && vv_cursor_valid(c); st = vv_cursor_next(c, &err)) {
        if (vv_slice_eq(vv_cursor_value(c), vv_slice_str(value)))
            same++;
        else
            ++*others;
    }
    assert_ok(st, err);
    vv_cursor_close(c);
    return same;
}

static void expect_all(vv_table *t, const char *archive, const char *value, int want)
{
    int others = 0;
    int same = count(t, archive, value, &others);
    if (same != want || others != 0)
        fail_msg("%d keys are '%s' and %d are not, %d were expected", same, value, others, want);
}

static int count_one(void *ctx, const vv_archive_info *info)
{
    int *n = ctx;
    assert_true(info->time_ns > 0 && info->version > 0 && info->name[0] != '\0');
    n[0]++;
    n[1] += info->periodic;
    return 0;
}

static int listed(vv_db *db, int *periodic)
{
    int n[2] = {0, 0};
    vv_error err = {0};
    assert_ok(vv_archive_list(db, count_one, n, &err), err);
    if (periodic != NULL)
        *periodic = n[1];
    return n[0];
}

static void archives_show_what_was_there(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    put_some(t, 0, KEYS, "one");
    assert_ok(vv_archive_create(w->db, "first", &err), err);
    assert_status(VV_CONFLICT, vv_archive_create(w->db, "first", &err));
    put_some(t, 0, KEYS / 2, "two");
    assert_ok(vv_archive_create(w->db, "second", &err), err);
    put_some(t, 0, KEYS + 50, "three");
    assert_ok(vv_checkpoint(w->db, &err), err);
    for (int i = 0; i < 2; i++) {
        int others = 0;
        expect_all(t, "first", "one", KEYS);
        assert_int_equal(count(t, "second", "two", &others), KEYS / 2);
        assert_int_equal(others, KEYS - KEYS / 2);
        expect_all(t, NULL, "three", KEYS + 50);
        assert_int_equal(listed(w->db, NULL), 2);
        vv_table_close(t);
        sim_reopen(w);
        t = make_tree(w, "plant", VV_TABLE_KV);
    }
    assert_ok(vv_archive_drop(w->db, "first", &err), err);
    assert_status(VV_NOT_FOUND, vv_archive_drop(w->db, "first", &err));
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.archive = "first";
    assert_status(VV_NOT_FOUND, vv_cursor_open(t, &opt, &c, &err));
    opt.archive = "second";
    opt.version = 1;
    assert_status(VV_INVALID, vv_cursor_open(t, &opt, &c, &err));
    assert_status(VV_INVALID, vv_archive_create(w->db, "", &err));
    assert_status(VV_INVALID, vv_archive_create(w->db, "a\nb", &err));
    vv_table_close(t);
}

static void a_table_comes_back(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    uint64_t changed = 0;
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    put_some(t, 0, KEYS, "one");
    assert_ok(vv_archive_create(w->db, "a", &err), err);
    put_some(t, 0, 10, "two");
    put_some(t, KEYS, KEYS + 5, "new");
    assert_ok(vv_delete(t, vv_slice_str("key-00020"), &err), err);
    vv_table *young = make_tree(w, "young", VV_TABLE_KV);
    assert_ok(vv_archive_restore(t, "a", &changed, &err), err);
    assert_int_equal(changed, 16);
    expect_all(t, NULL, "one", KEYS);
    assert_ok(vv_archive_restore(t, "a", &changed, &err), err);
    assert_int_equal(changed, 0);
    assert_status(VV_NOT_FOUND, vv_archive_restore(t, "b", &changed, &err));
    assert_status(VV_NOT_FOUND, vv_archive_restore(young, "a", &changed, &err));
    vv_table *runs = make_table_of(w->db, "plant", "runs", VV_TABLE_KV, VV_ENGINE_LSM);
    assert_status(VV_UNSUPPORTED, vv_archive_restore(runs, "a", &changed, &err));
    vv_table_close(runs);
    vv_table_close(young);
    vv_table_close(t);
}

static void put_until(vv_db *db, vv_table *t, const char *key, int64_t expires_ns)
{
    vv_error err = {0};
    vv_batch *b = vv_batch_create(db);
    assert_non_null(b);
    assert_ok(vv_batch_put(b, t, vv_slice_str(key), vv_slice_str("one"), expires_ns, &err), err);
    assert_ok(vv_write(db, b, VV_DURABLE_SYNC, NULL, &err), err);
    vv_batch_destroy(b);
}

/* A time that passed is the same for the archive and the table: there is nothing to bring back. */
static void what_expired_stays_away(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    uint64_t changed = 0;
    int64_t now = vv_clock_wall(w->env.clock);
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    put_until(w->db, t, "a-first", now + 60 * VV_NS_PER_S);
    put_some(t, 0, 20, "one");
    put_until(w->db, t, "key-00005", now + 60 * VV_NS_PER_S);
    put_until(w->db, t, "key-00007", now + 3600 * VV_NS_PER_S);
    put_until(w->db, t, "z-last", now + 60 * VV_NS_PER_S);
    assert_ok(vv_archive_create(w->db, "a", &err), err);
    assert_ok(vv_archive_restore(t, "a", &changed, &err), err);
    assert_int_equal(changed, 0);
    vio_sim_advance(w->disk, 61 * VV_NS_PER_S);
    assert_ok(vv_archive_restore(t, "a", &changed, &err), err);
    assert_int_equal(changed, 0);
    expect_all(t, NULL, "one", 19);
    expect_all(t, "a", "one", 22); /* as it was then */
    put(t, "key-00005", "new");    /* as any other key that the archive has not */
    assert_ok(vv_delete(t, vv_slice_str("key-00007"), &err), err);
    assert_ok(vv_archive_restore(t, "a", &changed, &err), err);
    assert_int_equal(changed, 2);
    expect_all(t, NULL, "one", 19);
    vv_table_close(t);
}

static void put_record(vv_db *db, vv_table *t, int i, int64_t ts, const char *body)
{
    vv_error err = {0};
    char key[16];
    key_of(i, key);
    vv_batch *b = vv_batch_create(db);
    vv_record r = {.timestamp_ns = ts, .body = vv_slice_str(body)};
    assert_non_null(b);
    assert_ok(vv_batch_put_record(b, t, vv_slice_str(key), &r, &err), err);
    assert_ok(vv_write(db, b, VV_DURABLE_SYNC, NULL, &err), err);
    vv_batch_destroy(b);
}

static int count_by_time(vv_table *t, int64_t start, int64_t end)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    int n = 0;
    assert_ok(vv_cursor_open_by_time(t, NULL, start, end, &c, &err), err);
    vv_status st = vv_cursor_seek(c, vv_slice_of(NULL, 0), &err);
    for (; st == VV_OK && vv_cursor_valid(c); st = vv_cursor_next(c, &err))
        n++;
    assert_ok(st, err);
    vv_cursor_close(c);
    return n;
}

static void records_come_back_with_their_index(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_tree(w, "plant", VV_TABLE_RECORD);
    for (int i = 0; i < 50; i++)
        put_record(w->db, t, i, i, "then");
    assert_ok(vv_archive_create(w->db, "a", &err), err);
    for (int i = 0; i < 50; i += 2)
        put_record(w->db, t, i, 1000 + i, "now");
    for (int i = 50; i < 60; i++)
        put_record(w->db, t, i, i, "more");
    assert_ok(vv_delete(t, vv_slice_str("key-00001"), &err), err);
    (void)count_by_time(t, 0, 5000); /* drops what is stale in the index */
    assert_ok(vv_archive_restore(t, "a", NULL, &err), err);
    assert_int_equal(count_by_time(t, 0, 50), 50);
    assert_int_equal(count_by_time(t, 50, 5000), 0);
    vv_table_close(t);
    sim_close(w);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(db_check_env(&w->env, NULL, NULL, &err), err);
    assert_ok(sim_open_db(w, &err), err);
}

static void periodic_ones_come_and_go(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    int periodic = 0;
    sim_close(w);
    w->opt.archive_interval_ns = 60 * VV_NS_PER_S;
    w->opt.archives_max = 3;
    w->opt.shard_count = 0;
    sim_start(w);
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    put_some(t, 0, 20, "v");
    assert_ok(vv_archive_create(w->db, "named", &err), err);
    for (int i = 0; i < 10; i++) {
        put_some(t, 0, 20, "w");
        assert_ok(vv_checkpoint(w->db, &err), err);
        vio_sim_advance(w->disk, 61 * VV_NS_PER_S);
        while (db_step(w->db, &err) == VV_OK) {
        }
    }
    int all = listed(w->db, &periodic);
    assert_true(periodic >= 3 && periodic <= 6); /* three on each shard with a tree */
    assert_true(all > periodic);
    expect_all(t, "named", "v", 20);
    vv_table_close(t);
}

static void settle(sim_world *w)
{
    vv_error err = {0};
    assert_ok(vv_checkpoint(w->db, &err), err);
    while (db_step(w->db, &err) == VV_OK) {
    }
}

static void add_size(void *ctx, const char *path, uint64_t size)
{
    if (strstr(path, "data-") != NULL)
        *(uint64_t *)ctx += size;
}

static uint64_t data_files(sim_world *w)
{
    uint64_t bytes = 0;
    vio_sim_each_file(w->disk, add_size, &bytes);
    return bytes;
}

/* What an archive alone has, its files have and no other. */
static void dropping_gives_the_space_back(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    put_some(t, 0, 3 * KEYS, "a value that takes some space, so that there are many pages of it");
    settle(w);
    assert_ok(vv_archive_create(w->db, "a", &err), err);
    for (int i = 0; i < 3 * KEYS; i++) {
        char key[16];
        key_of(i, key);
        assert_ok(vv_delete(t, vv_slice_str(key), &err), err);
    }
    settle(w);
    uint64_t held = data_files(w);
    expect_all(t, "a", "a value that takes some space, so that there are many pages of it",
               3 * KEYS);
    assert_ok(vv_archive_drop(w->db, "a", &err), err);
    settle(w);
    if (data_files(w) >= held)
        fail_msg("%llu bytes with the archive, %llu without", (unsigned long long)held,
                 (unsigned long long)data_files(w));
    vv_table_close(t);
}

/* ---- cuts and failing memory ---- */

/* Make, restore and drop; how far it came, in steps. */
static int live(sim_world *w, vv_table *t)
{
    vv_error err = {0};
    char key[16];
    if (vv_archive_create(w->db, "a", &err) != VV_OK)
        return 0;
    for (int i = 0; i < 40; i++) {
        key_of(i * 3, key);
        if (vv_put(t, vv_slice_str(key), vv_slice_str("later"), &err) != VV_OK)
            return 1;
    }
    if (vv_archive_restore(t, "a", NULL, &err) != VV_OK)
        return 2;
    return vv_archive_drop(w->db, "a", &err) == VV_OK ? 4 : 3;
}

/* Whatever happened: the archive is whole or absent, and the table can be brought back to it. */
static void expect_law(sim_world *w, int step)
{
    vv_error err = {0};
    int others = 0;
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    int n = listed(w->db, NULL);
    if ((step >= 1 && step < 3 && n != 1) || (step == 4 && n != 0))
        fail_msg("after step %d: %d archives", step, n);
    int same = count(t, NULL, "one", &others);
    assert_int_equal(same + others, KEYS);
    if (step >= 3 || step == 0)
        assert_int_equal(others, 0);
    if (n > 0) {
        expect_all(t, "a", "one", KEYS);
        assert_ok(vv_archive_restore(t, "a", NULL, &err), err);
        expect_all(t, NULL, "one", KEYS);
        assert_ok(vv_archive_drop(w->db, "a", &err), err);
    }
    vv_table_close(t);
}

static void prop_a_cut_leaves_archives_whole(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    put_some(t, 0, KEYS, "one");
    vv_table_close(t);
    sim_close(w);
    vio_sim_disk_settle(w->disk);
    vio_sim_disk *whole = w->disk;
    bool off = true;
    for (uint64_t n = 1; off; n++) {
        w->disk = vio_sim_disk_clone(whole);
        assert_ok(
            sim_on(w, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true}, &err),
            err);
        int step = -1;
        if (sim_open_db(w, &err) == VV_OK &&
            vv_table_open(w->db, "plant", "kv", &t, &err) == VV_OK) {
            step = live(w, t);
            vv_table_close(t);
        }
        off = vio_sim_is_off(w->disk);
        db_abandon(w->db);
        w->db = NULL;
        sim_off(w);
        vio_sim_disk_settle(w->disk);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = n}, &err), err);
        assert_ok(db_check_env(&w->env, NULL, NULL, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        expect_law(w, step == -1 ? 0 : step);
        sim_close(w);
        vio_sim_disk_destroy(w->disk);
    }
    w->disk = whole;
}

static void prop_failing_memory_changes_nothing(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_tree(w, "plant", VV_TABLE_KV);
    put_some(t, 0, KEYS, "one");
    vv_table_close(t);
    sim_close(w);
    vio_sim_disk_settle(w->disk);
    vio_sim_disk *whole = w->disk;
    bool reached = true;
    for (int64_t n = 0; reached; n += 3) {
        w->disk = vio_sim_disk_clone(whole);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        assert_ok(vv_table_open(w->db, "plant", "kv", &t, &err), err);
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        int step = live(w, t);
        reached = vv_alloc_count() - before > (uint64_t)n;
        vv_alloc_fail_after(-1, 0);
        vv_table_close(t);
        if (vv_db_close(w->db, &err) != VV_OK)
            step = step == 4 ? 4 : -1;
        w->db = NULL;
        sim_off(w);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        if (step >= 1)
            expect_law(w, step);
        sim_close(w);
        vio_sim_disk_destroy(w->disk);
    }
    w->disk = whole;
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(archives_show_what_was_there),        T(a_table_comes_back),
        T(records_come_back_with_their_index),  T(periodic_ones_come_and_go),
        T(dropping_gives_the_space_back),       T(prop_a_cut_leaves_archives_whole),
        T(prop_failing_memory_changes_nothing), T(what_expired_stays_away),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&lsm_ops) + run(&btree_ops);
}
