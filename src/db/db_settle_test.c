/*
 * db_settle_test.c - a store that nobody writes to comes to rest: its memtable is flushed if it is
 * large, level 0 goes down where that is cheap, and nothing is done twice.
 */
#include "db/db_test_util.h"

#include "base/rng.h"
#include "db/db_int.h"

#define VALUE 1000u

typedef struct bed {
    sim_world w;
    vv_table *table;
    uint32_t next;
    vv_rng rng;
} bed;

static void bed_start(bed *b)
{
    *b = (bed){.w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS}};
    b->w.opt.memtable_size = 1u << 20;
    vv_rng_init(&b->rng, vv_test_seed(0x5e));
    sim_start(&b->w);
    b->table = make_table(b->w.db, "plant", "kv", VV_TABLE_KV);
}

static void bed_end(bed *b)
{
    vv_table_close(b->table);
    sim_end(&b->w);
}

static vv_stats stats_of(bed *b)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(b->w.db, &s);
    return s;
}

/* Keys that lie among those of every other call. */
static void write_some(bed *b, uint32_t count)
{
    vv_error err = {0};
    uint8_t value[VALUE];
    for (uint32_t i = 0; i < VALUE; i++) /* that no codec makes small */
        value[i] = (uint8_t)vv_rng_next(&b->rng);
    for (uint32_t i = 0; i < count; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%08u", b->next++ * 7919 % 100000);
        assert_ok(vv_put(b->table, vv_slice_str(key), vv_slice_of(value, sizeof value), &err), err);
    }
}

static void step_all(bed *b)
{
    while (db_step(b->w.db, NULL) == VV_OK)
        continue;
}

static void flush(bed *b)
{
    vv_error err = {0};
    assert_ok(db_freeze(b->w.db, &b->w.db->shards[0], &err), err);
    step_all(b);
}

/* A worker that finds nothing to do for so long, looking now and then. */
static void rest(bed *b, int64_t seconds)
{
    for (int64_t i = 0; i < 4 * seconds; i++) {
        db_settle(b->w.db);
        step_all(b);
        vv_clock_sleep(b->w.env.clock, VV_NS_PER_S / 4);
    }
}

static void level_0_goes_down(void **state)
{
    (void)state;
    bed b;
    bed_start(&b);
    for (unsigned i = 0; i < 3; i++) {
        write_some(&b, 20);
        flush(&b);
    }
    assert_true(stats_of(&b).level_files[0] >= 2); /* nothing asks for them to be merged */
    rest(&b, 3);
    assert_true(stats_of(&b).level_files[0] >= 2); /* nor so soon */
    rest(&b, 4);
    assert_int_equal(stats_of(&b).level_files[0], 0);
    uint64_t done = stats_of(&b).compactions;
    rest(&b, 20);
    assert_int_equal(stats_of(&b).compactions, done);
    bed_end(&b);
}

static void a_write_begins_the_wait_anew(void **state)
{
    (void)state;
    bed b;
    bed_start(&b);
    for (unsigned i = 0; i < 2; i++) {
        write_some(&b, 20);
        flush(&b);
    }
    for (unsigned i = 0; i < 8; i++) {
        rest(&b, 2);
        write_some(&b, 1);
    }
    assert_true(stats_of(&b).level_files[0] >= 2);
    bed_end(&b);
}

static void a_large_memtable_is_flushed_and_a_small_one_stays(void **state)
{
    (void)state;
    bed b;
    bed_start(&b);
    rest(&b, 10); /* what making a table left */
    uint64_t flushes = stats_of(&b).flushes;
    write_some(&b, 2);
    rest(&b, 10);
    assert_int_equal(stats_of(&b).flushes, flushes);
    write_some(&b, 100);
    rest(&b, 10);
    assert_int_equal(stats_of(&b).flushes, flushes + 1);
    assert_int_equal(stats_of(&b).level_files[0], 0);
    bed_end(&b);
}

/* What would be read and written again is many times what lies in level 0. */
static void a_large_level_1_is_left_alone(void **state)
{
    (void)state;
    bed b;
    bed_start(&b);
    for (unsigned i = 0; i < 3; i++) {
        write_some(&b, 200);
        flush(&b);
    }
    rest(&b, 10);
    assert_int_equal(stats_of(&b).level_files[0], 0);
    uint64_t done = stats_of(&b).compactions;
    write_some(&b, 1);
    flush(&b);
    rest(&b, 10);
    assert_int_equal(stats_of(&b).compactions, done);
    assert_true(stats_of(&b).level_files[0] > 0);
    bed_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_0_goes_down),
        cmocka_unit_test(a_write_begins_the_wait_anew),
        cmocka_unit_test(a_large_memtable_is_flushed_and_a_small_one_stays),
        cmocka_unit_test(a_large_level_1_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
