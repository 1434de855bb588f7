/*
 * db_tier_runs_test.c - tables whose runs lie in an object store: kv and series, through snapshots,
 * reopens, a read-only opening, a copy, a drop, and the thread that moves them.
 */
#include "db/db_series_test_util.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "db/db_capture.h"
#include "db/db_int.h"
#include "object/object.h"
#include "varve/tier.h"

typedef struct world {
    sim_world w;
    objs_bucket *bucket;
    vv_tier_options tier;
} world;

static vv_object_store *connect(const vv_env *env, objs_bucket *bucket)
{
    vv_error err = {0};
    vv_object_store *objects = NULL;
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    assert_ok(objs_open_bucket(env, bucket, &opt, &objects, &err), err);
    return objects;
}

static void open_db(world *t)
{
    vv_error err = {0};
    t->w.opt.tier = &t->tier;
    assert_ok(sim_open_db(&t->w, &err), err);
}

static void start(world *t, const char *root)
{
    vv_error err = {0};
    *t = (world){.w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS}};
    t->w.opt.memtable_size = 128u << 10; /* runs of a size whose footers do not matter */
    t->w.disk = vio_sim_disk_create();
    assert_non_null(t->w.disk);
    assert_ok(sim_on(&t->w, &(vio_sim_options){.seed = 1, .root = root}, &err), err);
    t->bucket = objs_bucket_create();
    t->tier = (vv_tier_options){.size = sizeof t->tier, .run_age_ns = 1};
    vv_env env = {.clock = t->w.env.clock, .seed = 3};
    t->tier.objects = connect(&env, t->bucket);
    open_db(t);
}

static void reopen(world *t, const char *root)
{
    vv_error err = {0};
    assert_ok(vv_db_close(t->w.db, &err), err);
    sim_off(&t->w);
    assert_ok(sim_on(&t->w, &(vio_sim_options){.seed = 1, .root = root}, &err), err);
    open_db(t);
}

static void end(world *t)
{
    vv_error err = {0};
    assert_ok(vv_db_close(t->w.db, &err), err);
    sim_off(&t->w);
    vv_object_store_close(t->tier.objects);
    objs_bucket_destroy(t->bucket);
    vio_sim_disk_destroy(t->w.disk);
}

static void work_off(vv_db *db)
{
    for (unsigned i = 0; i < 5000; i++)
        if (db_step(db, NULL) != VV_OK)
            break;
}

static void fill(vv_table *t, unsigned from, unsigned count)
{
    vv_error err = {0};
    for (unsigned i = from; i < from + count; i++) {
        char key[16];
        char value[200];
        (void)snprintf(key, sizeof key, "k%05u", i);
        int n = snprintf(value, sizeof value, "%u:%0*u", i, (int)(i * 37 % 150), i);
        assert_ok(vv_put(t, vv_slice_str(key), vv_slice_of(value, (size_t)n), &err), err);
    }
}

static void expect_filled(vv_table *t, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        char key[16];
        char value[200];
        (void)snprintf(key, sizeof key, "k%05u", i);
        (void)snprintf(value, sizeof value, "%u:%0*u", i, (int)(i * 37 % 150), i);
        expect(t, NULL, key, value);
    }
}

/* Everything of a table in level 1 and deeper, then in the object store. */
static uint64_t sink(world *t, vv_table *table)
{
    vv_error err = {0};
    uint64_t files = 0;
    uint64_t bytes = 0;
    assert_ok(vv_checkpoint(t->w.db, &err), err);
    vv_slice all = {0};
    assert_ok(vv_compact_begin(table, all, all, &err), err);
    work_off(t->w.db);
    vio_sim_advance(t->w.disk, VV_NS_PER_S);
    assert_ok(vv_tier_run(t->w.db, NULL, &err), err);
    work_off(t->w.db);
    db_tier_runs_count(t->w.db, &files, &bytes);
    assert_true(files == 0 || bytes > 0);
    return files;
}

static void a_table_is_read_where_it_lies(void **state)
{
    (void)state;
    world t;
    start(&t, NULL);
    vv_error err = {0};
    vv_table *kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    fill(kv, 0, 2000);
    vv_snapshot *snap = NULL;
    assert_ok(vv_snapshot_create(t.w.db, &snap, &err), err);
    put(kv, "k00000", "new");
    assert_true(sink(&t, kv) > 0);
    expect(kv, snap, "k00000", "0:0");
    expect(kv, NULL, "k00000", "new");
    vv_snapshot_release(snap);
    expect_filled(kv, 1, 1999);
    expect(kv, NULL, "k02000", NULL);
    fill(kv, 1000, 1500); /* over what is remote */
    assert_true(sink(&t, kv) > 0);
    vv_table_close(kv);
    reopen(&t, NULL);
    kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    expect_filled(kv, 1, 2499);
    vv_table_close(kv);
    t.w.opt.read_only = true;
    reopen(&t, NULL);
    kv = NULL;
    assert_ok(vv_table_open(t.w.db, "plant", "kv", &kv, &err), err);
    expect_filled(kv, 1, 2499);
    vv_table_close(kv);
    end(&t);
}

static void samples_lie_there_too(void **state)
{
    (void)state;
    world t;
    start(&t, NULL);
    static answer a;
    vv_table *s = any_time_table(t.w.db);
    for (int i = 0; i < 3000; i++)
        append_one(s, i % 2 == 0 ? "a" : "b", i * SEC, i * 0.5);
    assert_true(sink(&t, s) > 0);
    for (int round = 0; round < 2; round++) {
        ask_raw(s, NULL, "a", 0, 3000 * SEC, &a);
        assert_int_equal(a.count, 1500);
        for (size_t i = 0; i < a.count; i++)
            assert_true(a.time[i] == (int64_t)(2 * i) * SEC && a.value[i] == (double)i);
        vv_table_close(s);
        reopen(&t, NULL);
        s = any_time_table(t.w.db);
    }
    append_one(s, "a", 1 * SEC, 7.0); /* late: joins a bucket that is remote */
    assert_true(sink(&t, s) > 0);
    ask_raw(s, NULL, "a", 0, 3 * SEC, &a);
    assert_int_equal(a.count, 3);
    assert_true(a.value[1] == 7.0);
    vv_table_close(s);
    end(&t);
}

typedef struct disk_files {
    unsigned runs;  /* of lsm, with their values */
    unsigned trees; /* of btree */
} disk_files;

static void count_file(void *ctx, const char *path, uint64_t size)
{
    disk_files *f = ctx;
    const char *name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;
    f->runs += size > 0 && (strncmp(name, "run-", 4) == 0 || strncmp(name, "val-", 4) == 0);
    f->trees += size > 0 && strncmp(name, "data-", 5) == 0;
}

static disk_files files_of(const world *t)
{
    disk_files f = {0};
    vio_sim_each_file(t->w.disk, count_file, &f);
    return f;
}

/* kv and series tables beyond so many local bytes go, oldest first, and their files with them; a
 * table of btree beside them stays, and needs no object store. */
static void by_size_runs_go_and_trees_stay(void **state)
{
    (void)state;
    static answer a;
    world t;
    start(&t, NULL);
    vv_error err = {0};
    t.tier.run_age_ns = 0; /* no rule: nothing goes */
    reopen(&t, NULL);
    vv_table *kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    vv_table *tree = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.if_not_exists = true;
    opt.engine = VV_ENGINE_BTREE;
    assert_ok(vv_table_create(t.w.db, "plant", "tree", &opt, &tree, &err), err);
    vv_table *s = any_time_table(t.w.db);
    fill(kv, 0, 2000);
    fill(tree, 0, 1000);
    for (int i = 0; i < 2000; i++)
        append_one(s, "a", i * SEC, i * 0.5);
    assert_int_equal(sink(&t, kv), 0);
    disk_files before = files_of(&t);
    assert_true(before.runs > 2 && before.trees > 0);
    vv_table_close(kv);
    vv_table_close(tree);
    vv_table_close(s);
    t.tier.run_local_bytes = 1;
    reopen(&t, NULL);
    kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    s = any_time_table(t.w.db);
    assert_true(sink(&t, s) > 1);
    disk_files after = files_of(&t);
    assert_true(after.runs <= 2); /* of the catalog */
    assert_int_equal(after.trees, before.trees);
    expect_filled(kv, 0, 2000);
    ask_raw(s, NULL, "a", 0, 2000 * SEC, &a);
    assert_int_equal(a.count, 2000);
    vv_table_close(kv);
    vv_table_close(s);
    vv_object_store *objects = t.tier.objects;
    t.tier.objects = NULL;
    reopen(&t, NULL);
    assert_ok(vv_table_open(t.w.db, "plant", "tree", &tree, &err), err);
    expect_filled(tree, 0, 1000);
    vv_table_close(tree);
    t.tier.objects = objects;
    end(&t);
}

static void a_dropped_table_leaves_no_object(void **state)
{
    (void)state;
    world t;
    start(&t, NULL);
    vv_error err = {0};
    vv_table *kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    vv_table *other = make_table(t.w.db, "plant", "other", VV_TABLE_KV);
    fill(kv, 0, 3000);
    fill(other, 0, 20);
    uint64_t before = sink(&t, kv);
    assert_true(before > 1);
    vv_table_close(kv);
    assert_ok(vv_table_drop(t.w.db, "plant", "kv", &err), err);
    for (int i = 0; i < 3; i++) {
        (void)sink(&t, other);
        vio_sim_advance(t.w.disk, 2 * 3600 * VV_NS_PER_S);
    }
    assert_ok(db_tier_runs(t.w.db, &err), err);
    uint64_t files = 0;
    uint64_t bytes = 0;
    db_tier_runs_count(t.w.db, &files, &bytes);
    assert_true(files < before);
    assert_int_equal(objs_bucket_objects(t.bucket), files);
    expect_filled(other, 0, 20);
    vv_table_close(other);
    end(&t);
}

static void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("finding: %s\n", text);
}

static void a_copy_stands_alone(void **state)
{
    (void)state;
    world t;
    start(&t, "store");
    vv_error err = {0};
    vv_table *kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    fill(kv, 0, 2000);
    assert_true(sink(&t, kv) > 0);
    fill(kv, 2000, 50);
    assert_ok(db_checkpoint_at(t.w.db, "/copy", &err), err);
    vv_table_close(kv);
    assert_ok(vv_db_close(t.w.db, &err), err);
    t.w.db = NULL;
    assert_ok(db_check_env_tier(&t.w.env, t.tier.objects, false, print_finding, NULL, &err), err);
    assert_ok(db_check_env_tier(&t.w.env, t.tier.objects, true, print_finding, NULL, &err), err);
    sim_off(&t.w);
    /* The copy has neither the objects nor a store that had them. */
    vv_object_store *objects = t.tier.objects;
    t.tier.objects = NULL;
    assert_ok(sim_on(&t.w, &(vio_sim_options){.seed = 1, .root = "copy"}, &err), err);
    assert_ok(db_check_env(&t.w.env, print_finding, NULL, &err), err);
    open_db(&t);
    kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    expect_filled(kv, 0, 2050);
    uint64_t files = 0;
    uint64_t bytes = 0;
    db_tier_runs_count(t.w.db, &files, &bytes);
    assert_int_equal(files, 0);
    vv_table_close(kv);
    /* The store itself, without its objects: what is new is read, what is old says what to set. */
    reopen(&t, "store");
    kv = make_table(t.w.db, "plant", "kv", VV_TABLE_KV);
    expect_filled(kv, 2000, 50);
    vv_value value = {0};
    assert_status(VV_IO, vv_get(kv, NULL, vv_slice_str("k00100"), &value, &err));
    assert_non_null(strstr(err.msg, "storage.backend"));
    put(kv, "k00100", "again");
    expect(kv, NULL, "k00100", "again");
    vv_table_close(kv);
    t.tier.objects = objects;
    end(&t);
}

/* With threads it happens by itself. */
static void a_thread_moves_them(void **state)
{
    (void)state;
    vv_error err = {0};
    char root[64] = "/tmp/varve-runs-XXXXXX";
    assert_non_null(mkdtemp(root));
    vv_env env = {.clock = vv_clock_real(), .threads = vv_threads_real(), .seed = 5};
    objs_bucket *bucket = objs_bucket_create();
    vv_tier_options tier = {.size = sizeof tier, .run_age_ns = 1, .grace_ns = 1};
    tier.objects = connect(&env, bucket);
    vv_options opt = SIM_TINY_OPTIONS;
    opt.tier = &tier;
    vv_db *db = NULL;
    assert_ok(vv_db_open(root, &opt, &db, &err), err);
    vv_table *kv = make_table(db, "plant", "kv", VV_TABLE_KV);
    unsigned next = 0;
    while (objs_bucket_objects(bucket) < 5) {
        fill(kv, next, 500);
        next += 500;
        expect_filled(kv, next / 2, 20);
    }
    expect_filled(kv, 0, next);
    vv_table_close(kv);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_db_open(root, &opt, &db, &err), err);
    kv = make_table(db, "plant", "kv", VV_TABLE_KV);
    expect_filled(kv, 0, next);
    vv_table_close(kv);
    assert_ok(vv_db_close(db, &err), err);
    vv_object_store_close(tier.objects);
    objs_bucket_destroy(bucket);
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_read_where_it_lies),
        cmocka_unit_test(samples_lie_there_too),
        cmocka_unit_test(by_size_runs_go_and_trees_stay),
        cmocka_unit_test(a_dropped_table_leaves_no_object),
        cmocka_unit_test(a_copy_stands_alone),
        cmocka_unit_test(a_thread_moves_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
