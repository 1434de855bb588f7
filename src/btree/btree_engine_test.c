/*
 * btree_engine_test.c - what only this engine does: pages that are given back, values in pages of
 * their own, the history that comes and goes, damage of each file.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "btree/btree_int.h"
#include "btree/btree_test_world.h"
#include "lsm/lsm.h"

static btree_tree *tree_of(world *w)
{
    return atomic_load(&btree_engine_of(w->e)->view)->tree;
}

/* ---- values in pages of their own ---- */

static void values_of_every_length_come_back(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    const size_t group = 15 * 4084 + 4020;
    const size_t sizes[] = {0,     1,         1900,      2100,          4083,
                            4084,  4085,      8168,      8169,          group - 1,
                            group, group + 1, 2 * group, 2 * group + 1, 1000000};
    uint8_t *value = vv_alloc(1000000);
    assert_non_null(value);
    for (int round = 0; round < 2; round++) {
        char key[16];
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            for (size_t j = 0; j < sizes[i]; j++)
                value[j] = (uint8_t)(j * 31 + i + (size_t)round + (j >> 8));
            (void)snprintf(key, sizeof key, "k%02zu", i);
            put(&w, key, vv_slice_of(value, sizes[i]));
        }
        flush(&w);
        reopen(&w);
        w.version = 15 * (round + 1);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            for (size_t j = 0; j < sizes[i]; j++)
                value[j] = (uint8_t)(j * 31 + i + (size_t)round + (j >> 8));
            (void)snprintf(key, sizeof key, "k%02zu", i);
            expect(&w, key, vv_slice_of(value, sizes[i]));
        }
        expect_clean(&w);
    }
    /* Overwritten and deleted ones leave no page behind: the check counts them. */
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%02zu", i);
        write_op(&w, ENGINE_DELETE, key, (vv_slice){0});
    }
    compact(&w);
    expect_clean(&w);
    assert_int_equal(tree_of(&w)->state.map.count, 0);
    vv_free(value);
    stop(&w);
}

/* ---- values compressed ---- */

static vv_slice json_of(unsigned i, char out[300])
{
    int n = snprintf(out, 300,
                     "{\"sensor\":\"hall-%u.line-%u.temperature\",\"unit\":\"celsius\",\"value\":"
                     "%u.%02u,\"quality\":\"good\",\"operator\":\"night shift\",\"serial\":%u}",
                     i % 9, i * 7 % 99, i * 13 % 200, i * 31 % 100, i * 2654435761u);
    return vv_slice_of(out, (size_t)n);
}

static void values_are_compressed_with_a_learned_dictionary(void **state)
{
    (void)state;
    world w;
    start(&w, 4 << 20, 4096);
    btree_ops.close(w.e);
    w.opt.value_compression = true;
    vv_error err;
    assert_ok(btree_ops.open(&w.opt, &w.e, &err), err);
    char key[16];
    char json[300];
    uint64_t raw = 0;
    const unsigned count = 5000;
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "%06u", i);
        vv_slice value = json_of(i, json);
        put(&w, key, value);
        raw += value.len;
    }
    /* One that is long and regular, one that is noise, one too short. */
    static uint8_t long_one[200000];
    static uint8_t noise[3000];
    for (size_t i = 0; i < sizeof long_one; i++)
        long_one[i] = (uint8_t)(i / 100);
    vv_rng rng;
    vv_rng_init(&rng, 9);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)vv_rng_next(&rng);
    put(&w, "long", vv_slice_of(long_one, sizeof long_one));
    put(&w, "noise", vv_slice_of(noise, sizeof noise));
    put(&w, "short",
        vv_slice_str("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    flush(&w);
    assert_non_null(tree_of(&w)->state.dict);
    engine_stats s;
    btree_ops.stats(w.e, &s);
    print_message("  %llu bytes of values in %llu of pages\n", (unsigned long long)raw,
                  (unsigned long long)s.level_bytes[0]);
    assert_true(s.level_bytes[0] < raw / 2);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < count; i += 7) {
            (void)snprintf(key, sizeof key, "%06u", i);
            expect(&w, key, json_of(i, json));
        }
        expect(&w, "long", vv_slice_of(long_one, sizeof long_one));
        expect(&w, "noise", vv_slice_of(noise, sizeof noise));
        engine_cursor *c = NULL;
        engine_cursor_options opt = {.read = {.version = w.version},
                                     .lower = vv_slice_of("\0\0\0\1", 4),
                                     .upper = vv_slice_of("\0\0\0\2", 4)};
        assert_ok(btree_ops.cursor(w.e, &opt, &c, &err), err);
        assert_ok(engine_cursor_seek(c, (vv_slice){0}, &err), err);
        for (unsigned i = 0; i < count; i++) {
            assert_true(vv_slice_eq(engine_cursor_item(c)->value, json_of(i, json)));
            assert_ok(engine_cursor_next(c, &err), err);
        }
        engine_cursor_close(c);
        expect_clean(&w);
        int64_t version = w.version;
        w.opt.value_compression = false; /* what is compressed is read all the same */
        reopen(&w);
        w.version = version;
    }
    stop(&w);
}

/* ---- pages that are given back ---- */

/* Overwrites under a factor; returns how far the files came, in percent of the live pages. */
static uint64_t overwrite_under(uint32_t factor)
{
    world w;
    start(&w, 32 << 10, 512);
    w.opt.file_amplify_factor = factor;
    reopen(&w);
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(5));
    uint8_t value[60];
    uint64_t worst = 0;
    for (int i = 0; i < 20000; i++) {
        char key[16];
        /* Half of the writes go to a few keys: files become thin unevenly. */
        uint64_t k = vv_rng_one_in(&rng, 2) ? vv_rng_below(&rng, 50) : vv_rng_below(&rng, 3000);
        (void)snprintf(key, sizeof key, "%05u", (unsigned)k);
        memset(value, (int)i, sizeof value);
        put(&w, key, vv_slice_of(value, sizeof value));
        if (i % 500 == 499) {
            flush(&w);
            engine_stats s;
            btree_ops.stats(w.e, &s);
            uint64_t live = s.level_bytes[0];
            if (i > 5000 && s.disk_bytes > (factor == 0 ? 2 : factor) * live + 16 * 512)
                fail_msg("%llu bytes of files for %llu of pages", (unsigned long long)s.disk_bytes,
                         (unsigned long long)live);
            worst = vv_max_u64(worst, s.disk_bytes * 100 / live);
        }
    }
    expect_clean(&w);
    print_message("  factor %u: at most %llu %% of the live pages\n", factor,
                  (unsigned long long)worst);
    compact(&w);
    engine_stats s;
    btree_ops.stats(w.e, &s);
    assert_true(s.disk_bytes <= s.level_bytes[0] * 5 / 4 + 8 * 512);
    expect_clean(&w);
    stop(&w);
    return worst;
}

static void files_stay_within_the_amplification_factor(void **state)
{
    (void)state;
    uint64_t tight = overwrite_under(1);
    uint64_t usual = overwrite_under(0); /* 2 */
    uint64_t wide = overwrite_under(5);
    assert_true(usual > 110); /* the test reaches what it is about */
    assert_true(tight < usual && wide > 200);
}

static void a_cursor_keeps_its_files_and_then_they_go(void **state)
{
    (void)state;
    world w;
    start(&w, 32 << 10, 512);
    char key[16];
    for (int i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof key, "%05d", i);
        put(&w, key, vv_slice_str("before"));
    }
    flush(&w);
    vv_error err;
    engine_cursor *c = NULL;
    engine_cursor_options opt = {.read = {.version = w.version},
                                 .lower = vv_slice_of("\0\0\0\1", 4),
                                 .upper = vv_slice_of("\0\0\0\2", 4)};
    assert_ok(btree_ops.pin(w.e, w.version, 0, &err), err);
    int64_t pinned = w.version;
    assert_ok(btree_ops.cursor(w.e, &opt, &c, &err), err);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 500; i++) {
            (void)snprintf(key, sizeof key, "%05d", i);
            put(&w, key, vv_slice_str("after"));
        }
        flush(&w);
    }
    unsigned count = 0;
    assert_ok(engine_cursor_seek(c, (vv_slice){0}, &err), err);
    for (; engine_cursor_valid(c); count++) {
        assert_true(vv_slice_eq(engine_cursor_item(c)->value, vv_slice_str("before")));
        assert_ok(engine_cursor_next(c, &err), err);
    }
    assert_int_equal(count, 500);
    vv_slice before = vv_slice_str("before");
    expect_at(&w, pinned, "00123", &before);
    assert_non_null(tree_of(&w)->history);
    engine_cursor_close(c);
    btree_ops.unpin(w.e, pinned, 0);
    compact(&w);
    /* The history has gone with its reader, and its pages with it. */
    assert_null(tree_of(&w)->history);
    expect_clean(&w);
    stop(&w);
}

typedef struct file_list {
    char path[40][64];
    uint64_t size[40];
    unsigned count;
} file_list;

static void note_file(void *ctx, const char *path, uint64_t size)
{
    file_list *l = ctx;
    if (l->count < ARRAY_LEN(l->path)) {
        (void)snprintf(l->path[l->count], sizeof l->path[0], "%s", path);
        l->size[l->count++] = size;
    }
}

/* ---- archives ---- */

static unsigned count_archive(world *w, const char *name, const char *value)
{
    vv_error err;
    engine_cursor *c = NULL;
    engine_cursor_options opt = {.lower = vv_slice_of("\0\0\0\1", 4),
                                 .upper = vv_slice_of("\0\0\0\2", 4)};
    assert_ok(btree_archive_cursor(w->e, name, &opt, &c, &err), err);
    assert_ok(engine_cursor_seek(c, (vv_slice){0}, &err), err);
    unsigned count = 0;
    for (; engine_cursor_valid(c); count++) {
        assert_true(vv_slice_eq(engine_cursor_item(c)->value, vv_slice_str(value)));
        assert_ok(engine_cursor_next(c, &err), err);
    }
    engine_cursor_close(c);
    return count;
}

static void put_all(world *w, const char *value)
{
    char key[16];
    for (int i = 0; i < 400; i++) {
        (void)snprintf(key, sizeof key, "%05d", i);
        put(w, key, vv_slice_str(value));
    }
    flush(w);
}

static void count_listed(void *ctx, const btree_archive_info *info)
{
    assert_true(info->version > 0 && info->name[0] != '\0');
    ++*(unsigned *)ctx;
}

static void archives_show_what_was_there(void **state)
{
    (void)state;
    world w;
    vv_error err;
    start(&w, 64 << 10, 512);
    put_all(&w, "first");
    assert_ok(btree_archive_create(w.e, "one", &err), err);
    assert_status(VV_CONFLICT, btree_archive_create(w.e, "one", &err));
    assert_status(VV_INVALID, btree_archive_create(w.e, "", &err));
    put_all(&w, "second");
    assert_ok(btree_archive_create(w.e, "two", &err), err);
    for (int i = 0; i < 20; i++)
        put_all(&w, "third");
    compact(&w);
    for (int round = 0; round < 3; round++) {
        unsigned listed = 0;
        btree_archive_list(w.e, count_listed, &listed);
        assert_int_equal(listed, 2);
        assert_int_equal(count_archive(&w, "one", "first"), 400);
        assert_int_equal(count_archive(&w, "two", "second"), 400);
        expect(&w, "00007", vv_slice_str("third"));
        expect_clean(&w);
        int64_t version = w.version;
        reopen(&w);
        w.version = version;
    }
    file_list before = {0};
    file_list after = {0};
    vio_sim_each_file(w.disk, note_file, &before);
    assert_ok(btree_archive_drop(w.e, "one", &err), err);
    assert_status(VV_NOT_FOUND, btree_archive_drop(w.e, "one", &err));
    assert_ok(btree_archive_drop(w.e, "two", &err), err);
    work(&w);
    engine_cursor *c = NULL;
    engine_cursor_options opt = {.lower = vv_slice_str("a"), .upper = vv_slice_str("b")};
    assert_status(VV_NOT_FOUND, btree_archive_cursor(w.e, "one", &opt, &c, &err));
    vio_sim_each_file(w.disk, note_file, &after);
    assert_true(after.count + 2 < before.count); /* their data files have gone as well */
    int64_t version = w.version;
    reopen(&w);
    w.version = version;
    expect(&w, "00007", vv_slice_str("third"));
    expect_clean(&w);
    stop(&w);
}

static void periodic_archives_come_and_go(void **state)
{
    (void)state;
    world w;
    vv_error err;
    start(&w, 64 << 10, 512);
    btree_ops.close(w.e);
    w.opt.archive_interval_ns = 60 * VV_NS_PER_S;
    w.opt.archives_max = 3;
    assert_ok(btree_ops.open(&w.opt, &w.e, &err), err);
    put_all(&w, "value");
    assert_ok(btree_archive_create(w.e, "named", &err), err);
    for (int i = 0; i < 8; i++) {
        vio_sim_advance(w.disk, 61 * VV_NS_PER_S);
        put(&w, "one more", vv_slice_str("value"));
        flush(&w);
        unsigned listed = 0;
        btree_archive_list(w.e, count_listed, &listed);
        assert_true(listed >= 2 && listed <= 4); /* three of them, and the named one */
    }
    assert_int_equal(count_archive(&w, "named", "value"), 400);
    stop(&w);
}

/* As many as the manifest can name: a periodic one then makes room for the next, or none comes. */
static void archives_end_at_the_limit(void **state)
{
    (void)state;
    for (unsigned named = BTREE_ARCHIVES_MAX - 1; named <= BTREE_ARCHIVES_MAX; named++) {
        world w;
        vv_error err;
        start(&w, 64 << 10, 4096);
        put(&w, "k", vv_slice_str("v"));
        flush(&w);
        for (unsigned i = 0; i < named; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "a%u", i);
            assert_ok(btree_archive_create(w.e, name, &err), err);
        }
        w.opt.archive_interval_ns = VV_NS_PER_S;
        reopen(&w);
        for (int i = 0; i < 4; i++) {
            vio_sim_advance(w.disk, 2 * VV_NS_PER_S);
            work(&w);
        }
        unsigned listed = 0;
        btree_archive_list(w.e, count_listed, &listed);
        assert_int_equal(listed, BTREE_ARCHIVES_MAX);
        reopen(&w);
        assert_status(VV_INVALID, btree_archive_create(w.e, "one more", &err));
        expect_clean(&w);
        stop(&w);
    }
}

/* The power fails at each write of making and dropping an archive. */
static void prop_a_cut_leaves_an_archive_whole_or_absent(void **state)
{
    (void)state;
    bool cut = true;
    for (uint64_t n = 1; cut; n++) {
        world w;
        vv_error err;
        start(&w, 64 << 10, 512);
        put_all(&w, "first");
        btree_ops.close(w.e);
        w.e = NULL;
        vio_destroy(w.env.io);
        vio_sim_disk_settle(w.disk);
        vio_sim_options sim = {.seed = n, .cut_after_writes = n, .tear = true};
        assert_ok(vio_sim_open(w.disk, &sim, &w.env.io, &err), err);
        bool made = false;
        bool dropped = false;
        if (btree_ops.open(&w.opt, &w.e, &err) == VV_OK) {
            made = btree_archive_create(w.e, "kept", &err) == VV_OK;
            dropped = made && btree_archive_drop(w.e, "kept", &err) == VV_OK;
        }
        cut = vio_sim_is_off(w.disk);
        btree_ops.close(w.e);
        vio_destroy(w.env.io);
        vio_sim_disk_settle(w.disk);
        assert_ok(vio_sim_open(w.disk, &(vio_sim_options){.seed = n}, &w.env.io, &err), err);
        assert_ok(btree_ops.open(&w.opt, &w.e, &err), err);
        unsigned listed = 0;
        btree_archive_list(w.e, count_listed, &listed);
        assert_true(listed <= 1 && !(dropped && listed == 1));
        if (listed == 1)
            assert_int_equal(count_archive(&w, "kept", "first"), 400);
        w.version = 400;
        expect(&w, "00007", vv_slice_str("first"));
        expect_clean(&w);
        stop(&w);
    }
}

/* ---- the shape of the tree ---- */

static void a_small_change_writes_few_pages(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 512);
    char key[16];
    for (int i = 0; i < 4000; i++) {
        (void)snprintf(key, sizeof key, "%06d", i * 7);
        put(&w, key, vv_slice_str("some value of a usual length"));
    }
    flush(&w);
    assert_true(tree_of(&w)->main->level >= 2);
    engine_stats a;
    engine_stats b;
    btree_ops.stats(w.e, &a);
    put(&w, "007000", vv_slice_str("another"));
    flush(&w);
    btree_ops.stats(w.e, &b);
    assert_int_equal(b.flush_bytes - a.flush_bytes, 512); /* one leaf, and no index page */
    expect(&w, "007000", vv_slice_str("another"));
    expect_clean(&w);
    stop(&w);
}

static void prop_random_trees_are_clean(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(7));
    for (int round = 0; round < 6; round++) {
        world w;
        start(&w, 64 << 10, 512u << round % 2);
        uint64_t span = 1 + vv_rng_below(&rng, 3000);
        for (int i = 0; i < 6000; i++) {
            char key[32];
            uint64_t k = vv_rng_below(&rng, span);
            (void)snprintf(key, sizeof key, "%0*u", (int)(3 + k % 9), (unsigned)k);
            uint64_t dice = vv_rng_below(&rng, 100);
            if (dice < 25) {
                write_op(&w, ENGINE_DELETE, key, (vv_slice){0});
            } else if (dice < 26) {
                char end[40];
                (void)snprintf(end, sizeof end, "%s~", key);
                uint8_t full[44];
                vv_put_be32(full, 1);
                memcpy(full + 4, end, strlen(end));
                key[1 + vv_rng_below(&rng, 3)] = '\0';
                write_op(&w, ENGINE_RANGE_DELETE, key, vv_slice_of(full, 4 + strlen(end)));
            } else {
                uint8_t value[1200];
                memset(value, 'v', sizeof value);
                size_t len = dice > 97 ? 1200 : vv_rng_below(&rng, 40);
                put(&w, key, vv_slice_of(value, len));
            }
            if (vv_rng_one_in(&rng, 300)) {
                flush(&w);
                expect_clean(&w);
            }
            if (vv_rng_one_in(&rng, 1500)) {
                int64_t version = w.version;
                flush(&w);
                reopen(&w);
                w.version = version;
            }
        }
        compact(&w);
        expect_clean(&w);
        stop(&w);
    }
}

/* ---- what is not there, or not ours, or not what it was ---- */

static void a_directory_of_another_engine_is_refused(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    btree_ops.close(w.e);
    w.e = NULL;
    vv_error err;
    engine *other = NULL;
    assert_true(lsm_ops.open(&w.opt, &other, &err) != VV_OK);
    w.opt.dir = "other";
    assert_ok(lsm_ops.open(&w.opt, &other, &err), err);
    lsm_ops.close(other);
    assert_status(VV_UNSUPPORTED, btree_ops.open(&w.opt, &w.e, &err));
    assert_non_null(strstr(err.msg, "lsm"));
    w.e = NULL;
    stop(&w);
}

static void a_page_size_that_cannot_be_is_refused(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    btree_ops.close(w.e);
    w.e = NULL;
    vv_error err;
    const uint32_t sizes[] = {1, 100, 5000, 65536};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        w.opt.block_size = sizes[i];
        w.opt.dir = "new";
        assert_status(VV_INVALID, btree_ops.open(&w.opt, &w.e, &err));
    }
    /* An existing store keeps its own. */
    w.opt.dir = "shard-0";
    w.opt.block_size = 8192;
    assert_ok(btree_ops.open(&w.opt, &w.e, &err), err);
    assert_int_equal(btree_engine_of(w.e)->store.page_size, 4096);
    stop(&w);
}

static void count_finding(void *ctx, const char *text)
{
    assert_true(strlen(text) > 10);
    ++*(unsigned *)ctx;
}

/* Open a damaged copy and read all: a right answer or none. */
static void expect_no_wrong_answer(vio_sim_disk *copy, const engine_options *opt, const char *what)
{
    vv_env env = {.clock = vio_sim_clock(copy)};
    vv_error err;
    assert_ok(vio_sim_open(copy, &(vio_sim_options){.seed = 1}, &env.io, &err), err);
    engine_options o = *opt;
    o.env = &env;
    o.hooks = (engine_hooks){0};
    engine *e = NULL;
    vv_status st = btree_ops.open(&o, &e, &err);
    if (st != VV_OK && st != VV_CORRUPT && st != VV_UNSUPPORTED)
        fail_msg("%s: %s", what, err.msg);
    for (int i = 0; st == VV_OK && i < 300; i++) {
        uint8_t key[16];
        vv_put_be32(key, 1);
        (void)snprintf((char *)key + 4, 12, "%05d", i);
        engine_value got;
        engine_read read = {.version = 300};
        vv_status gst = btree_ops.get(e, vv_slice_of(key, 9), &read, &got, &err);
        if (gst == VV_OK) {
            bool big = i % 100 == 0;
            bool right = got.data.len == (big ? 3000u : 40u) && got.version == i + 1;
            for (size_t j = 0; right && j < got.data.len; j++)
                right = got.data.data[j] == (uint8_t)i;
            engine_value_release(&got);
            if (!right)
                fail_msg("%s: a wrong answer", what);
        } else if (gst != VV_CORRUPT) {
            fail_msg("%s: key %d: %s", what, i, vv_status_name(gst));
        }
    }
    btree_ops.close(e);
    vio_destroy(env.io);
    vio_sim_disk_destroy(copy);
}

static bool is_found(vio_sim_disk *copy, unsigned *findings)
{
    vv_env env = {.clock = vio_sim_clock(copy)};
    vv_error err;
    assert_ok(vio_sim_open(copy, &(vio_sim_options){.seed = 1}, &env.io, &err), err);
    vv_status st = btree_check_dir(&env, "shard-0", 0, count_finding, findings, &err);
    assert_true(st == VV_OK || st == VV_CORRUPT);
    vio_destroy(env.io);
    vio_sim_disk_destroy(copy);
    return st == VV_CORRUPT;
}

static void make_small_store(world *w)
{
    start(w, 1 << 20, 512);
    for (int i = 0; i < 300; i++) {
        char key[16];
        uint8_t value[3000];
        memset(value, i, sizeof value);
        (void)snprintf(key, sizeof key, "%05d", i);
        put(w, key, vv_slice_of(value, i % 100 == 0 ? 3000 : 40));
    }
    flush(w);
    btree_ops.close(w->e);
    w->e = NULL;
    vio_destroy(w->env.io);
    w->env.io = NULL;
    vio_sim_disk_settle(w->disk);
}

static void prop_a_flipped_byte_anywhere_gives_no_wrong_answer(void **state)
{
    (void)state;
    world w;
    make_small_store(&w);
    unsigned findings = 0;
    assert_false(is_found(vio_sim_disk_clone(w.disk), &findings));
    assert_int_equal(findings, 0);
    file_list files = {0};
    vio_sim_each_file(w.disk, note_file, &files);
    assert_true(files.count >= 3);
    uint64_t flips = vv_test_count("VV_FLIPS", 400);
    for (unsigned f = 0; f < files.count; f++) {
        bool is_data = strstr(files.path[f], "data-") != NULL;
        unsigned found = 0;
        unsigned tried = 0;
        uint64_t bits = files.size[f] * 8;
        for (uint64_t bit = f % 8; bit < bits; bit += bits / flips + 1) {
            char what[96];
            (void)snprintf(what, sizeof what, "%s bit %llu", files.path[f],
                           (unsigned long long)bit);
            vio_sim_disk *copy = vio_sim_disk_clone(w.disk);
            assert_int_equal(vio_sim_flip_bit(copy, files.path[f], bit), VV_OK);
            found += is_found(vio_sim_disk_clone(copy), &findings);
            expect_no_wrong_answer(copy, &w.opt, what);
            tried++;
        }
        /* Every page of the data file is live here; of a manifest the last seal and paddings are
         * not needed. */
        if (is_data ? found < tried : found < tried / 3)
            fail_msg("%s: only %u of %u flips found", files.path[f], found, tried);
    }
    stop(&w);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    world w;
    make_small_store(&w);
    file_list files = {0};
    vio_sim_each_file(w.disk, note_file, &files);
    for (unsigned f = 0; f < files.count; f++) {
        vio_sim_disk *copy = vio_sim_disk_clone(w.disk);
        vv_env env = {.clock = vio_sim_clock(copy)};
        vv_error err;
        assert_ok(vio_sim_open(copy, &(vio_sim_options){.seed = 1}, &env.io, &err), err);
        assert_ok(vio_remove(env.io, files.path[f], &err), err);
        engine_options o = w.opt;
        o.env = &env;
        engine *e = NULL;
        assert_status(VV_CORRUPT, btree_ops.open(&o, &e, &err));
        const char *name = strrchr(files.path[f], '/') + 1;
        if (strcmp(name, "CURRENT") == 0)
            assert_non_null(strstr(err.msg, "CURRENT"));
        else
            assert_non_null(strstr(err.msg, name));
        vio_destroy(env.io);
        vio_sim_disk_destroy(copy);
    }
    stop(&w);
}

static void pages_that_changed_places_are_found(void **state)
{
    (void)state;
    world w;
    make_small_store(&w);
    file_list files = {0};
    vio_sim_each_file(w.disk, note_file, &files);
    for (unsigned f = 0; f < files.count; f++) {
        if (strstr(files.path[f], "data-") == NULL)
            continue;
        vv_error err;
        assert_ok(vio_sim_open(w.disk, &(vio_sim_options){.seed = 1}, &w.env.io, &err), err);
        vio_file *file = NULL;
        uint8_t a[512];
        uint8_t b[512];
        assert_ok(vio_open(w.env.io, files.path[f], VIO_READ | VIO_WRITE, &file, &err), err);
        assert_ok(vio_pread_full(file, 20 * 512, a, 512, &err), err);
        assert_ok(vio_pread_full(file, 24 * 512, b, 512, &err), err);
        assert_ok(vio_pwrite(file, 20 * 512, b, 512, &err), err); /* both have right sums */
        assert_ok(vio_pwrite(file, 24 * 512, a, 512, &err), err);
        assert_ok(vio_sync(file, &err), err);
        vio_close(file);
        vio_destroy(w.env.io);
        w.env.io = NULL;
        vio_sim_disk_settle(w.disk);
        unsigned findings = 0;
        assert_true(is_found(vio_sim_disk_clone(w.disk), &findings));
        expect_no_wrong_answer(vio_sim_disk_clone(w.disk), &w.opt, "swapped pages");
        break;
    }
    stop(&w);
}

static void a_read_only_engine_writes_nothing(void **state)
{
    (void)state;
    world w;
    make_small_store(&w);
    vv_error err;
    assert_ok(vio_sim_open(w.disk, &(vio_sim_options){.seed = 1}, &w.env.io, &err), err);
    w.opt.read_only = true;
    assert_ok(btree_ops.open(&w.opt, &w.e, &err), err);
    w.version = 300;
    uint8_t value[40];
    memset(value, 7, sizeof value);
    expect(&w, "00007", vv_slice_of(value, sizeof value));
    assert_status(VV_NOT_FOUND, btree_ops.work(w.e, &err));
    btree_ops.close(w.e);
    w.e = NULL;
    file_list files = {0};
    vio_sim_each_file(w.disk, note_file, &files);
    assert_int_equal(files.count, 3); /* CURRENT, a manifest, a data file */
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_length_come_back),
        cmocka_unit_test(values_are_compressed_with_a_learned_dictionary),
        cmocka_unit_test(files_stay_within_the_amplification_factor),
        cmocka_unit_test(a_cursor_keeps_its_files_and_then_they_go),
        cmocka_unit_test(archives_show_what_was_there),
        cmocka_unit_test(periodic_archives_come_and_go),
        cmocka_unit_test(archives_end_at_the_limit),
        cmocka_unit_test(prop_a_cut_leaves_an_archive_whole_or_absent),
        cmocka_unit_test(a_small_change_writes_few_pages),
        cmocka_unit_test(prop_random_trees_are_clean),
        cmocka_unit_test(a_directory_of_another_engine_is_refused),
        cmocka_unit_test(a_page_size_that_cannot_be_is_refused),
        cmocka_unit_test(prop_a_flipped_byte_anywhere_gives_no_wrong_answer),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(pages_that_changed_places_are_found),
        cmocka_unit_test(a_read_only_engine_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
