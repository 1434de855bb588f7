/*
 * db_rocks_test.c - a store with tables of rocksdb through the public interface: merges, and copies
 * of it that are made while it is written to.
 */
#include "vv_test.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>
#include <varve/varve.h>

#include "base/bytes.h"

#define KEYS 200
#define COPIES 3

static char root[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/varve-rocks-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static const char *path_of(const char *name)
{
    static char path[2][128];
    static unsigned next;
    char *p = path[next++ % 2];
    (void)snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

/* Small memtables: flushes are everywhere. */
static vv_db *open_store(const char *dir, vv_engine_kind home)
{
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = VV_OPTIONS_INIT;
    opt.engine = home;
    opt.memtable_size = 64u << 10;
    opt.durability = VV_DURABLE_OS;
    opt.max_open_files = 64;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    return db;
}

static vv_table *table_of(vv_db *db, const char *name, vv_engine_kind engine)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options how = VV_TABLE_OPTIONS_INIT;
    how.if_not_exists = true;
    how.engine = engine;
    assert_ok(vv_table_create(db, "t", name, &how, &t, &err), err);
    return t;
}

/* A round adds i to sum i, and a letter to the text i; every so often the key begins anew. */
static void merge_round(vv_table *t, int round)
{
    vv_error err = {0};
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        uint8_t number[8];
        vv_put_le64(number, (uint64_t)i);
        (void)snprintf(key, sizeof key, "sum%03d", i);
        assert_ok(vv_merge(t, vv_slice_str(key), VV_ADD, vv_slice_of(number, 8), &err), err);
        const char letter[2] = {(char)('a' + round), '\0'};
        (void)snprintf(key, sizeof key, "txt%03d", i);
        if ((i + round) % 7 == 0)
            assert_ok(vv_delete(t, vv_slice_str(key), &err), err);
        assert_ok(vv_merge(t, vv_slice_str(key), VV_APPEND, vv_slice_str(letter), &err), err);
    }
}

static void expect_rounds(vv_table *t, const vv_snapshot *at, int rounds)
{
    vv_error err = {0};
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        char want[32] = "";
        vv_value v;
        (void)snprintf(key, sizeof key, "sum%03d", i);
        assert_ok(vv_get(t, at, vv_slice_str(key), &v, &err), err);
        assert_int_equal(v.data.len, 8);
        assert_int_equal(vv_get_le64(v.data.data), i * rounds);
        vv_value_release(&v);
        for (int round = 0; round < rounds; round++) {
            if ((i + round) % 7 == 0)
                want[0] = '\0';
            size_t len = strlen(want);
            want[len] = (char)('a' + round);
            want[len + 1] = '\0';
        }
        (void)snprintf(key, sizeof key, "txt%03d", i);
        assert_ok(vv_get(t, at, vv_slice_str(key), &v, &err), err);
        if (!vv_slice_eq(v.data, vv_slice_str(want)))
            fail_msg("%s is '%.*s', not '%s'", key, (int)v.data.len, (const char *)v.data.data,
                     want);
        vv_value_release(&v);
    }
}

static void merges_come_to_what_they_say(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_db *db = open_store(path_of("s"), VV_ENGINE_ROCKSDB);
    vv_table *t = table_of(db, "x", VV_ENGINE_DEFAULT);
    merge_round(t, 0);
    merge_round(t, 1);
    vv_snapshot *two = NULL;
    assert_ok(vv_snapshot_create(db, &two, &err), err);
    for (int round = 2; round < 6; round++) {
        merge_round(t, round);
        if (round % 2 == 0)
            assert_ok(vv_checkpoint(db, &err), err);
        expect_rounds(t, NULL, round + 1);
        expect_rounds(t, two, 2);
    }
    vv_cursor *c = NULL;
    uint64_t count = 0;
    assert_ok(vv_cursor_open(t, NULL, &c, &err), err);
    for (vv_status st = vv_cursor_seek(c, vv_slice_str(""), &err); vv_cursor_valid(c);
         st = vv_cursor_next(c, &err), count++)
        assert_ok(st, err);
    assert_int_equal(count, 2 * KEYS);
    vv_cursor_close(c);
    vv_snapshot_release(two);
    vv_table_close(t);
    assert_ok(vv_db_close(db, &err), err);
    db = open_store(path_of("s"), VV_ENGINE_DEFAULT); /* the log replays the rest */
    t = table_of(db, "x", VV_ENGINE_DEFAULT);
    expect_rounds(t, NULL, 6);
    assert_ok(vv_compact(t, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    expect_rounds(t, NULL, 6);
    vv_table_close(t);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(path_of("s"), NULL, NULL, &err), err);
}

/* Directories that a copy needs while it is made are gone behind it. */
static unsigned leftovers(const char *dir)
{
    unsigned found = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char deeper[512];
        (void)snprintf(deeper, sizeof deeper, "%s/%s", dir, e->d_name);
        found += strncmp(e->d_name, "copy-", 5) == 0;
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            found += leftovers(deeper);
    }
    (void)closedir(d);
    return found;
}

/* Whichever of the two engines is the store's own. */
static void copies_are_whole(vv_engine_kind home)
{
    vv_error err = {0};
    const char *dir = path_of("copied");
    vv_db *db = open_store(dir, home);
    vv_table *rocks = table_of(db, "rocks", VV_ENGINE_ROCKSDB);
    vv_table *lsm = table_of(db, "lsm", VV_ENGINE_LSM);
    char to[COPIES][128];
    for (int round = 0; round < COPIES; round++) {
        merge_round(rocks, round);
        merge_round(lsm, round);
        (void)snprintf(to[round], sizeof to[0], "%s/copy%d", root, round);
        assert_ok(vv_checkpoint_to(db, to[round], &err), err);
    }
    expect_rounds(rocks, NULL, COPIES);
    vv_table_close(rocks);
    vv_table_close(lsm);
    assert_ok(vv_db_close(db, &err), err);
    assert_int_equal(leftovers(dir), 0);
    assert_ok(vv_check(dir, NULL, NULL, &err), err);
    for (int round = 0; round < COPIES; round++) {
        assert_ok(vv_check(to[round], NULL, NULL, &err), err);
        db = open_store(to[round], VV_ENGINE_DEFAULT);
        rocks = table_of(db, "rocks", VV_ENGINE_ROCKSDB);
        lsm = table_of(db, "lsm", VV_ENGINE_LSM);
        expect_rounds(rocks, NULL, round + 1);
        expect_rounds(lsm, NULL, round + 1);
        merge_round(rocks, round + 1); /* it goes its own way */
        assert_ok(vv_checkpoint(db, &err), err);
        expect_rounds(rocks, NULL, round + 2);
        vv_table_close(rocks);
        vv_table_close(lsm);
        assert_ok(vv_db_close(db, &err), err);
    }
    db = open_store(dir, VV_ENGINE_DEFAULT); /* which no copy touched */
    rocks = table_of(db, "rocks", VV_ENGINE_ROCKSDB);
    expect_rounds(rocks, NULL, COPIES);
    vv_table_close(rocks);
    assert_ok(vv_db_close(db, &err), err);
}

static void copies_of_a_rocksdb_store_are_whole(void **state)
{
    (void)state;
    copies_are_whole(VV_ENGINE_ROCKSDB);
}

static void copies_of_a_store_with_a_rocksdb_table_are_whole(void **state)
{
    (void)state;
    copies_are_whole(VV_ENGINE_LSM);
}

/* A copy that a kill left behind goes with the next open. */
static void what_a_crash_left_is_removed(void **state)
{
    (void)state;
    vv_error err = {0};
    char command[256];
    const char *dir = path_of("left");
    vv_db *db = open_store(dir, VV_ENGINE_ROCKSDB);
    assert_ok(vv_db_close(db, &err), err);
    (void)snprintf(command, sizeof command,
                   "mkdir %s/shard-000/copy-7 && touch %s/shard-000/copy-7/000001.sst", dir, dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(leftovers(dir), 1);
    db = open_store(dir, VV_ENGINE_DEFAULT);
    assert_ok(vv_db_close(db, &err), err);
    assert_int_equal(leftovers(dir), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(merges_come_to_what_they_say),
        T(copies_of_a_rocksdb_store_are_whole),
        T(copies_of_a_store_with_a_rocksdb_table_are_whole),
        T(what_a_crash_left_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
