#include "lsm/lsm.h"

#include "base/alloc.h"
#include "io/vio_sim.h"
#include "vv_test.h"

typedef struct world {
    vio_sim_disk *disk;
    vv_env env;
    engine_options opt;
    engine *e;
    int64_t version;
} world;

static void start(world *w, uint64_t memtable_size)
{
    vv_error err;
    *w = (world){.disk = vio_sim_disk_create()};
    assert_non_null(w->disk);
    assert_ok(vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->env.io, &err), err);
    w->env.clock = vio_sim_clock(w->disk);
    w->opt = (engine_options){.env = &w->env,
                              .dir = "shard-0",
                              .memtable_size = memtable_size,
                              .cache_size = 1 << 20,
                              .target_file_size = 64 << 10,
                              .compress = true};
    assert_ok(lsm_ops.open(&w->opt, &w->e, &err), err);
}

static void stop(world *w)
{
    lsm_ops.close(w->e);
    vio_destroy(w->env.io);
    vio_sim_disk_destroy(w->disk);
}

static void reopen(world *w)
{
    vv_error err;
    lsm_ops.close(w->e);
    w->e = NULL;
    assert_ok(lsm_ops.open(&w->opt, &w->e, &err), err);
}

static void work(world *w)
{
    vv_error err;
    vv_status st;
    while ((st = lsm_ops.work(w->e, &err)) == VV_OK)
        continue;
    if (st != VV_NOT_FOUND)
        fail_msg("work: %s", err.msg);
}

static void put(world *w, uint32_t table, const char *key, const char *value)
{
    vv_error err;
    vv_buf buf;
    vv_buf_init(&buf, 1 << 24);
    size_t at = engine_entry_begin(&buf);
    engine_entry_add_key(&buf, value == NULL ? ENGINE_DELETE : ENGINE_PUT, table, vv_slice_str(key),
                         vv_slice_str(value == NULL ? "" : value), 0);
    engine_entry_finish(&buf, at, 1);
    vv_status st;
    while ((st = lsm_ops.prepare(w->e, buf.len, 1, &err)) == VV_BUSY)
        work(w);
    assert_ok(st, err);
    assert_ok(lsm_ops.apply(w->e, ++w->version, 0, vv_buf_slice(&buf), &err), err);
    lsm_ops.publish(w->e, w->version);
    vv_buf_fini(&buf);
}

static void expect(world *w, uint32_t table, const char *key, const char *value)
{
    uint8_t full[100];
    vv_put_be32(full, table);
    memcpy(full + 4, key, strlen(key));
    vv_error err;
    engine_value got;
    engine_read read = {.version = w->version};
    vv_status st = lsm_ops.get(w->e, vv_slice_of(full, 4 + strlen(key)), &read, &got, &err);
    if (value == NULL) {
        assert_int_equal(st, VV_NOT_FOUND);
        return;
    }
    if (st != VV_OK)
        fail_msg("%s: %s", key, st == VV_NOT_FOUND ? "not found" : err.msg);
    assert_true(vv_slice_eq(got.data, vv_slice_str(value)));
    engine_value_release(&got);
}

static void what_is_flushed_is_read_and_survives_a_reopen(void **state)
{
    (void)state;
    world w;
    start(&w, 64 << 10);
    char key[32];
    char value[200];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "key-%07d", i * 7919 % 5000);
        (void)snprintf(value, sizeof value, "value of %s, and then some more to fill it up", key);
        put(&w, 1, key, value);
    }
    vv_error err;
    assert_ok(lsm_ops.freeze(w.e, &err), err);
    work(&w);
    assert_int_equal(lsm_ops.checkpoint(w.e), 5000);
    engine_stats stats;
    lsm_ops.stats(w.e, &stats);
    assert_int_equal(stats.memtable_items, 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5000; i++) {
            (void)snprintf(key, sizeof key, "key-%07d", i);
            (void)snprintf(value, sizeof value, "value of %s, and then some more to fill it up",
                           key);
            expect(&w, 1, key, value);
            expect(&w, 2, key, NULL);
        }
        assert_ok(lsm_ops.check(w.e, NULL, NULL, &err), err);
        reopen(&w);
    }
    stop(&w);
}

static void put_range_delete(world *w, uint32_t table)
{
    vv_error err;
    vv_buf buf;
    uint8_t lower[4];
    uint8_t upper[4];
    vv_put_be32(lower, table);
    vv_put_be32(upper, table + 1);
    vv_buf_init(&buf, 4096);
    size_t at = engine_entry_begin(&buf);
    engine_entry_add(&buf, &(engine_op){.kind = ENGINE_RANGE_DELETE,
                                        .key = vv_slice_of(lower, 4),
                                        .value = vv_slice_of(upper, 4)});
    engine_entry_finish(&buf, at, 1);
    assert_ok(lsm_ops.prepare(w->e, buf.len, 1, &err), err);
    assert_ok(lsm_ops.apply(w->e, ++w->version, 0, vv_buf_slice(&buf), &err), err);
    lsm_ops.publish(w->e, w->version);
    vv_buf_fini(&buf);
}

static void fill(world *w, uint32_t table, unsigned keys, size_t value_len)
{
    char *value = malloc(value_len + 1);
    memset(value, 'v', value_len);
    value[value_len] = '\0';
    for (unsigned i = 0; i < keys; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key-%07u", i);
        value[0] = (char)('a' + i % 26);
        put(w, table, key, value);
    }
    free(value);
}

static engine_stats stats_of(world *w)
{
    engine_stats stats;
    lsm_ops.stats(w->e, &stats);
    return stats;
}

static void flush(world *w)
{
    vv_error err;
    assert_ok(lsm_ops.freeze(w->e, &err), err);
    work(w);
}

static void a_large_table_has_runs_of_its_own(void **state)
{
    (void)state;
    world w;
    start(&w, 8 << 20);
    w.opt.target_file_size = 32 << 20;
    reopen(&w);
    fill(&w, 1, 10, 10);
    fill(&w, 2, 10, 10);
    fill(&w, 3, 300, 5000); /* 1.5 MB */
    fill(&w, 4, 10, 10);
    fill(&w, 5, 10, 10);
    flush(&w);
    engine_stats stats = stats_of(&w);
    assert_int_equal(stats.flushes, 1);
    assert_int_equal(stats.level_runs[0], 2); /* tables 1 and 2, tables 4 and 5 */
    assert_int_equal(stats.level_runs[1], 1); /* table 3 */
    expect(&w, 2, "key-0000003", "dvvvvvvvvv");
    expect(&w, 5, "key-0000009", "jvvvvvvvvv");
    stop(&w);
}

static void a_read_only_engine_writes_nothing(void **state)
{
    (void)state;
    world w;
    start(&w, 64 << 10);
    fill(&w, 1, 500, 100);
    flush(&w);
    int64_t version = w.version;
    fill(&w, 1, 100, 100); /* only in the log */
    w.opt.read_only = true;
    reopen(&w);
    uint64_t writes = vio_sim_write_count(w.disk);
    w.version = lsm_ops.checkpoint(w.e);
    assert_true(w.version >= version);
    fill(&w, 1, 2000, 100); /* replay goes into memtables without bound */
    vv_error err;
    assert_status(VV_NOT_FOUND, lsm_ops.work(w.e, &err));
    assert_ok(lsm_ops.check(w.e, NULL, NULL, &err), err);
    assert_true(stats_of(&w).memtable_count > 3);
    lsm_ops.close(w.e);
    w.e = NULL;
    assert_int_equal(vio_sim_write_count(w.disk), writes);
    w.opt.dir = "nothing";
    assert_true(lsm_ops.open(&w.opt, &w.e, &err) != VV_OK);
    stop(&w);
}

static void a_dropped_table_gives_its_space_back(void **state)
{
    (void)state;
    world w;
    start(&w, 64 << 10);
    fill(&w, 1, 5000, 100);
    fill(&w, 2, 500, 100);
    flush(&w);
    uint64_t before = stats_of(&w).disk_bytes;
    put_range_delete(&w, 1);
    flush(&w); /* nobody asked for a compaction */
    expect(&w, 1, "key-0000001", NULL);
    assert_true(stats_of(&w).disk_bytes < before / 3);
    put_range_delete(&w, 2);
    vv_error err;
    flush(&w);
    assert_ok(lsm_ops.compact_range(w.e, vv_slice_str("\x00"), vv_slice_str("\xff"), &err), err);
    work(&w);
    engine_stats stats = stats_of(&w);
    assert_int_equal(stats.disk_bytes, 0); /* the deletions went too */
    assert_int_equal(stats.range_deletes, 0);
    reopen(&w);
    expect(&w, 2, "key-0000001", NULL);
    stop(&w);
}

static void data_in_order_is_moved_and_not_rewritten(void **state)
{
    (void)state;
    world w;
    start(&w, 64 << 10);
    w.opt.compress = false;
    w.opt.target_file_size = 1 << 20;
    reopen(&w);
    fill(&w, 1, 30000, 100);
    flush(&w);
    engine_stats stats = stats_of(&w);
    assert_true(stats.compactions > 0 && stats.level_runs[1] + stats.level_runs[2] > 10);
    assert_int_equal(stats.compaction_write_bytes, 0);
    stop(&w);
}

static void no_finding(void *ctx, const char *text)
{
    (void)ctx;
    fail_msg("%s", text);
}

/* Ordered input in the form of level 1 at once; what overlaps it takes the way through level 0. */
static void flushes_beside_everything_skip_level_0(void **state)
{
    (void)state;
    world w;
    vv_error err;
    start(&w, 4 << 20);
    fill(&w, 1, 20, 10); /* others write a little meanwhile */
    fill(&w, 3, 20, 10);
    fill(&w, 2, 60000, 200);
    flush(&w);
    engine_stats stats = stats_of(&w);
    assert_true(stats.flushes > 2 && stats.level_runs[1] > 10);
    assert_true(stats.level_bytes[0] < 2 << 20); /* a last one too small to tell */
    assert_int_equal(stats.compaction_write_bytes, 0);
    uint64_t runs = stats.level_runs[0];
    fill(&w, 2, 10000, 200);
    put(&w, 2, "key-0059999", "last");
    flush(&w);
    stats = stats_of(&w);
    assert_true(stats.level_runs[0] > runs || stats.compaction_write_bytes > 0);
    put_range_delete(&w, 3);
    fill(&w, 5, 10000, 200);
    runs = stats.level_runs[0];
    uint64_t compacted = stats.compaction_write_bytes;
    flush(&w); /* with range deletions nothing skips */
    stats = stats_of(&w);
    assert_true(stats.level_runs[0] > runs || stats.compaction_write_bytes > compacted);
    assert_ok(lsm_ops.check(w.e, no_finding, NULL, &err), err);
    for (int round = 0; round < 2; round++) {
        expect(&w, 1, "key-0000003", "dvvvvvvvvv");
        expect(&w, 2, "key-0059999", "last");
        char value[201];
        memset(value, 'v', 200);
        value[200] = '\0';
        value[0] = (char)('a' + 30001 % 26);
        expect(&w, 2, "key-0030001", value);
        reopen(&w);
    }
    stop(&w);
}

/* A stream: ordered keys, and a few beside them that every flush has. They do not take the rest
 * through level 0. */
static void a_little_beside_ordered_keys_is_apart(void **state)
{
    (void)state;
    world w;
    vv_error err;
    char key[32];
    char value[201];
    memset(value, 'v', 200);
    value[200] = '\0';
    start(&w, 4 << 20);
    w.opt.compress = false;
    reopen(&w);
    for (unsigned i = 0; i < 60000; i++) {
        (void)snprintf(key, sizeof key, "block-%07u", i);
        put(&w, 2, key, value);
        if (i % 50 == 0) {
            (void)snprintf(key, sizeof key, "%s-%u", i % 100 == 0 ? "archived" : "producer",
                           i / 500);
            put(&w, 2, key, key);
        }
    }
    flush(&w);
    engine_stats stats = stats_of(&w);
    assert_true(stats.flushes > 2 && stats.level_runs[1] > 10);
    assert_true(stats.compaction_write_bytes < 1 << 20); /* of 12 MB */
    assert_ok(lsm_ops.check(w.e, no_finding, NULL, &err), err);
    for (int round = 0; round < 2; round++) {
        expect(&w, 2, "block-0000000", value);
        expect(&w, 2, "block-0059999", value);
        expect(&w, 2, "producer-119", "producer-119");
        expect(&w, 2, "archived-0", "archived-0");
        reopen(&w);
    }
    stop(&w);
}

/* Random input is compressed as it is flushed, a table that wants none is not. */
static engine_form form_plain(void *ctx, uint32_t table_id)
{
    (void)ctx;
    return (engine_form){.compression =
                             table_id == 2 ? ENGINE_COMPRESSION_NONE : ENGINE_COMPRESSION_AUTO};
}

static void level_0_is_compressed(void **state)
{
    (void)state;
    world w;
    vv_error err;
    start(&w, 4 << 20);
    w.opt.hooks.form = form_plain;
    reopen(&w);
    put(&w, 1, "a", "before and after the rest: it stays in level 0");
    put(&w, 1, "z", "z");
    put(&w, 2, "a", "likewise");
    put(&w, 2, "z", "z");
    assert_ok(lsm_ops.freeze(w.e, &err), err);
    work(&w);
    uint64_t bytes[3] = {0};
    for (uint32_t table = 1; table <= 2; table++) {
        uint64_t before = stats_of(&w).level_bytes[0];
        fill(&w, table, 8000, 200);
        assert_ok(lsm_ops.freeze(w.e, &err), err);
        work(&w);
        bytes[table] = stats_of(&w).level_bytes[0] - before;
    }
    assert_true(bytes[2] > 8000 * 200 && bytes[1] < bytes[2] / 3);
    expect(&w, 1, "a", "before and after the rest: it stays in level 0");
    stop(&w);
}

static void put_full(engine_bulk *b, uint32_t table, const char *key, const char *value)
{
    uint8_t full[64];
    vv_error err;
    vv_put_be32(full, table);
    memcpy(full + 4, key, strlen(key));
    assert_ok(
        lsm_ops.bulk->put(b, vv_slice_of(full, 4 + strlen(key)), vv_slice_str(value), 0, &err),
        err);
}

/* A bulk load between the keys of a flush that is writing past level 0: neither may lie on the
 * other's level. */
static void a_bulk_load_into_a_flush_past_level_0(void **state)
{
    (void)state;
    world w;
    vv_error err;
    start(&w, 4 << 20);
    fill(&w, 2, 10000, 200);
    put(&w, 2, "key-9000000", "last");
    assert_ok(lsm_ops.freeze(w.e, &err), err);
    assert_ok(lsm_ops.work(w.e, &err), err); /* begun, not done */
    assert_int_equal(stats_of(&w).flushes, 0);
    engine_bulk *load = NULL;
    assert_ok(lsm_ops.bulk->begin(w.e, &load, &err), err);
    put_full(load, 2, "key-5000000", "between");
    put_full(load, 2, "key-5000001", "them");
    assert_ok(lsm_ops.bulk->seal(load, &err), err);
    assert_true(lsm_ops.bulk->is_clear(load));
    assert_ok(lsm_ops.bulk->install(load, ++w.version, &err), err);
    lsm_ops.publish(w.e, w.version);
    lsm_ops.bulk->destroy(load);
    assert_int_equal(stats_of(&w).level_runs[0], 1);
    work(&w);
    assert_true(stats_of(&w).flushes == 1 && stats_of(&w).level_runs[1] > 0);
    for (int round = 0; round < 2; round++) {
        assert_ok(lsm_ops.check(w.e, no_finding, NULL, &err), err);
        expect(&w, 2, "key-5000000", "between");
        expect(&w, 2, "key-5000001", "them");
        expect(&w, 2, "key-9000000", "last");
        reopen(&w);
    }
    stop(&w);
}

static void writers_are_slowed_smoothly_and_freed_again(void **state)
{
    (void)state;
    world w;
    vv_error err;
    start(&w, 64 << 10);
    w.opt.level0_runs_max = 2;
    reopen(&w);
    int64_t last = 0;
    unsigned steps = 0;
    for (unsigned i = 0; i < 40; i++) { /* flushes only: one piece of work each */
        char key[16];
        (void)snprintf(key, sizeof key, "%u", i);
        put(&w, 1, "key", key);
        assert_ok(lsm_ops.freeze(w.e, &err), err);
        if (stats_of(&w).level_runs[0] >= 15)
            break;
        assert_ok(lsm_ops.work(w.e, &err), err);
        int64_t ns = lsm_ops.throttle_ns(w.e, 1000);
        assert_true(ns >= last && ns - last < 100000); /* no cliff: below 0.1 ms for a KB */
        steps += ns > last;
        last = ns;
    }
    assert_true(steps > 8);
    work(&w);
    assert_int_equal(lsm_ops.throttle_ns(w.e, 1000), 0);
    stop(&w);
}

/* Two sets of level 0 are fewer than a compaction waits for, but cursors pay for each of them. */
static void cursors_over_several_sets_have_them_merged(void **state)
{
    (void)state;
    world w;
    vv_error err;
    start(&w, 64 << 10);
    for (int set = 0; set < 2; set++) {
        put(&w, 1, "a", "1");
        put(&w, 1, set == 0 ? "b" : "c", "2");
        flush(&w);
        work(&w);
    }
    assert_int_equal(stats_of(&w).level_runs[0], 2);
    for (int i = 0; i < 2000; i++) {
        engine_cursor *c = NULL;
        engine_cursor_options opt = {.read = {.version = w.version},
                                     .lower = vv_slice_of("\0\0\0\1", 4),
                                     .upper = vv_slice_of("\0\0\0\2", 4)};
        assert_ok(lsm_ops.cursor(w.e, &opt, &c, &err), err);
        engine_cursor_close(c);
        if (i == 500) { /* too few to pay for anything */
            work(&w);
            assert_int_equal(stats_of(&w).level_runs[0], 2);
        }
    }
    work(&w);
    assert_int_equal(stats_of(&w).level_runs[0], 0);
    assert_int_equal(stats_of(&w).level_runs[1], 1);
    expect(&w, 1, "a", "1");
    expect(&w, 1, "b", "2");
    expect(&w, 1, "c", "2");
    stop(&w);
}

/* The first reads of a fresh run find its blocks in the cache while there is room. */
static void what_was_just_flushed_is_in_the_cache(void **state)
{
    (void)state;
    world w;
    start(&w, 256 << 10);
    fill(&w, 1, 1000, 100);
    flush(&w);
    for (unsigned i = 0; i < 1000; i++) {
        char key[32];
        uint8_t full[64];
        (void)snprintf(key, sizeof key, "key-%07u", i);
        vv_put_be32(full, 1);
        memcpy(full + 4, key, strlen(key));
        vv_error err;
        engine_value got;
        engine_read read = {.version = w.version};
        assert_ok(lsm_ops.get(w.e, vv_slice_of(full, 4 + strlen(key)), &read, &got, &err), err);
        engine_value_release(&got);
    }
    engine_stats stats = stats_of(&w);
    assert_int_equal(stats.cache_misses, 0);
    assert_int_equal(stats.cache_hits, 1000);
    stop(&w);
}

#define LARGE 8000u /* a block of its own each */
#define LARGE_KEYS 80u

static void large_value(unsigned i, unsigned pass, char value[LARGE + 1])
{
    memset(value, 'v', LARGE);
    (void)snprintf(value, LARGE, "value %u of pass %u", i, pass);
    value[LARGE] = '\0';
}

static void put_large(world *w, unsigned i, unsigned pass)
{
    char key[32];
    char value[LARGE + 1];
    (void)snprintf(key, sizeof key, "key-%07u", i);
    large_value(i, pass, value);
    value[strlen(value)] = ' ';
    put(w, 1, key, value);
}

static void expect_large(world *w, unsigned i, unsigned pass)
{
    char key[32];
    char value[LARGE + 1];
    (void)snprintf(key, sizeof key, "key-%07u", i);
    large_value(i, pass, value);
    value[strlen(value)] = ' ';
    expect(w, 1, key, value);
}

/* Four sets that one compaction takes together. More than half of the cache: with a second copy of
 * each value while it goes on, some would not be in memory behind it. */
static void large_values_stay_in_the_cache_over_a_compaction(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20);
    for (unsigned i = 0; i < LARGE_KEYS; i += 4)
        put_large(&w, i, 1); /* hidden by pass 2 */
    for (unsigned set = 0; set < 4; set++) {
        for (unsigned i = set; i < LARGE_KEYS; i += 4)
            put_large(&w, i, 2);
        flush(&w);
    }
    engine_stats stats = stats_of(&w);
    assert_int_equal(stats.level_runs[0], 0);
    assert_true(stats.compactions > 0);
    uint64_t misses = stats.cache_misses;
    for (unsigned i = 0; i < LARGE_KEYS; i++)
        expect_large(&w, i, 2);
    stats = stats_of(&w);
    assert_true(stats.cache_misses == misses);
    assert_true(stats.cache_bytes < LARGE_KEYS * (LARGE + 1000));
    reopen(&w); /* what is in the files is the same */
    for (unsigned i = 0; i < LARGE_KEYS; i++)
        expect_large(&w, i, 2);
    stop(&w);
}

static vv_status get_from(world *w, const char *key, bool from_memory, const char *want)
{
    uint8_t full[100];
    vv_put_be32(full, 1);
    memcpy(full + 4, key, strlen(key));
    engine_value got;
    const engine_read read = {.version = w->version, .from_memory = from_memory};
    vv_status st = lsm_ops.get(w->e, vv_slice_of(full, 4 + strlen(key)), &read, &got, NULL);
    if (st != VV_OK)
        return st;
    if (want == NULL || !vv_slice_eq(got.data, vv_slice_str(want)))
        fail_msg("%s has another value", key);
    engine_value_release(&got);
    return VV_OK;
}

/* A read from memory never opens a file: it answers what it can and says when it cannot. */
static void a_read_from_memory_reads_no_file(void **state)
{
    (void)state;
    world w;
    start(&w, 256 << 10);
    fill(&w, 1, 2000, 100);
    put(&w, 1, "key-0000007", "flushed");
    flush(&w);
    reopen(&w); /* nothing is in the cache */
    put(&w, 1, "key-0000003", "in the memtable");
    put(&w, 1, "key-0000004", NULL);
    const uint64_t reads = vio_sim_fault_sites(w.disk, VIO_SIM_FLIP);
    assert_int_equal(get_from(&w, "key-0000003", true, "in the memtable"), VV_OK);
    assert_int_equal(get_from(&w, "key-0000004", true, NULL), VV_NOT_FOUND);
    assert_int_equal(get_from(&w, "zzz", true, NULL), VV_NOT_FOUND); /* outside every run */
    assert_int_equal(get_from(&w, "key-0000007", true, NULL), VV_BUSY);
    assert_int_equal(get_from(&w, "key-0000007", true, NULL), VV_BUSY); /* nobody read it */
    assert_int_equal(vio_sim_fault_sites(w.disk, VIO_SIM_FLIP), reads);
    assert_int_equal(get_from(&w, "key-0000007", false, "flushed"), VV_OK);
    assert_true(vio_sim_fault_sites(w.disk, VIO_SIM_FLIP) > reads);
    assert_int_equal(get_from(&w, "key-0000007", true, "flushed"), VV_OK);
    assert_int_equal(get_from(&w, "key-0000003", true, "in the memtable"), VV_OK);
    stop(&w);
}

static void count_finding(void *ctx, const char *text)
{
    assert_true(strlen(text) > 10);
    ++*(unsigned *)ctx;
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

/* Check one damaged copy of a closed store. */
static bool is_found(vio_sim_disk *copy, unsigned *findings)
{
    vv_env env = {.clock = vio_sim_clock(copy)};
    vv_error err;
    assert_ok(vio_sim_open(copy, &(vio_sim_options){.seed = 1}, &env.io, &err), err);
    vv_status st = lsm_check_dir(&env, "shard-0", 0, NULL, count_finding, findings, &err);
    assert_true(st == VV_OK || st == VV_CORRUPT);
    vio_destroy(env.io);
    vio_sim_disk_destroy(copy);
    return st == VV_CORRUPT;
}

static void damage_of_each_file_is_found_by_check(void **state)
{
    (void)state;
    world w;
    start(&w, 64 << 10);
    fill(&w, 1, 1500, 60);
    put_range_delete(&w, 2);
    flush(&w);
    lsm_ops.close(w.e);
    w.e = NULL;
    vio_destroy(w.env.io);
    w.env.io = NULL;
    vio_sim_disk_settle(w.disk);
    unsigned findings = 0;
    assert_false(is_found(vio_sim_disk_clone(w.disk), &findings));
    assert_int_equal(findings, 0);
    file_list files = {0};
    vio_sim_each_file(w.disk, note_file, &files);
    assert_true(files.count >= 4);
    for (unsigned f = 0; f < files.count; f++) {
        unsigned found = 0;
        for (uint64_t bit = 11; bit < files.size[f] * 8; bit += files.size[f] * 8 / 60 + 1) {
            vio_sim_disk *copy = vio_sim_disk_clone(w.disk);
            assert_int_equal(vio_sim_flip_bit(copy, files.path[f], bit), VV_OK);
            found += is_found(copy, &findings);
        }
        if (found < 30)
            fail_msg("%s: only %u of 60 flips found", files.path[f], found);
    }
    assert_true(findings > 0);
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_flushed_is_read_and_survives_a_reopen),
        cmocka_unit_test(a_large_table_has_runs_of_its_own),
        cmocka_unit_test(a_read_only_engine_writes_nothing),
        cmocka_unit_test(a_dropped_table_gives_its_space_back),
        cmocka_unit_test(data_in_order_is_moved_and_not_rewritten),
        cmocka_unit_test(flushes_beside_everything_skip_level_0),
        cmocka_unit_test(a_little_beside_ordered_keys_is_apart),
        cmocka_unit_test(level_0_is_compressed),
        cmocka_unit_test(a_bulk_load_into_a_flush_past_level_0),
        cmocka_unit_test(writers_are_slowed_smoothly_and_freed_again),
        cmocka_unit_test(cursors_over_several_sets_have_them_merged),
        cmocka_unit_test(what_was_just_flushed_is_in_the_cache),
        cmocka_unit_test(large_values_stay_in_the_cache_over_a_compaction),
        cmocka_unit_test(a_read_from_memory_reads_no_file),
        cmocka_unit_test(damage_of_each_file_is_found_by_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
