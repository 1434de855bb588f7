/*
 * db_throttle_test.c - the gap that an engine asks for after each byte, kept by writers on a clock
 * that moves by their sleep.
 */
#include "db/db_test_util.h"

#include "db/db_int.h"

#define VALUE 1000u

static int64_t gap_a_byte;

static int64_t asked(engine *e, size_t bytes)
{
    (void)e;
    return (int64_t)bytes * gap_a_byte;
}

typedef struct bed {
    sim_world w;
    const engine_ops *real;
    engine_ops ops;
    vv_table *table;
} bed;

static void bed_start(bed *b)
{
    *b = (bed){.w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS}};
    sim_start(&b->w);
    b->table = make_table(b->w.db, "plant", "kv", VV_TABLE_KV);
    b->real = b->w.db->ops;
    b->ops = *b->real;
    b->ops.throttle_ns = asked;
    b->w.db->ops = &b->ops;
}

static void bed_end(bed *b)
{
    b->w.db->ops = b->real;
    vv_table_close(b->table);
    sim_end(&b->w);
}

static int64_t now_of(bed *b)
{
    return vv_clock_mono(b->w.env.clock);
}

static uint64_t throttled(bed *b)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(b->w.db, &s);
    return s.throttled_ns;
}

static void write_once(bed *b, uint32_t len)
{
    uint8_t *value = calloc(1, len);
    vv_error err = {0};
    assert_non_null(value);
    assert_ok(vv_put(b->table, vv_slice_str("key"), vv_slice_of(value, len), &err), err);
    free(value);
}

/* However small the writes, in the long run a byte takes the time it was given. */
static void writers_keep_the_pace(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {10, 300, VALUE, 4000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        bed b;
        bed_start(&b);
        gap_a_byte = 1000; /* 1 MB/s */
        unsigned count = 400000 / (sizes[i] + 40);
        int64_t begin = now_of(&b);
        for (unsigned n = 0; n < count; n++)
            write_once(&b, sizes[i]);
        double seconds = (double)(now_of(&b) - begin) / 1e9;
        double bytes = (double)count * sizes[i];
        assert_true(seconds * 1e6 > 0.9 * bytes);
        assert_true(throttled(&b) > 0 && (double)throttled(&b) <= seconds * 1e9);
        bed_end(&b);
    }
}

static void a_writer_that_is_slow_enough_never_waits(void **state)
{
    (void)state;
    bed b;
    bed_start(&b);
    gap_a_byte = 1000;
    for (unsigned n = 0; n < 50; n++) {
        write_once(&b, VALUE);
        vv_clock_sleep(b.w.env.clock, 2 * VV_NS_PER_MS);
    }
    assert_int_equal(throttled(&b), 0);
    gap_a_byte = 0;
    int64_t begin = now_of(&b);
    for (unsigned n = 0; n < 50; n++)
        write_once(&b, VALUE);
    assert_true(now_of(&b) - begin < 100 * VV_NS_PER_MS);
    assert_int_equal(throttled(&b), 0);
    bed_end(&b);
}

/* One write never waits long, whatever is asked; and what was asked is forgotten in a while. */
static void no_write_waits_long(void **state)
{
    (void)state;
    bed b;
    bed_start(&b);
    gap_a_byte = VV_NS_PER_S;
    for (unsigned n = 0; n < 20; n++) {
        uint64_t before = throttled(&b);
        write_once(&b, VALUE);
        assert_true(throttled(&b) - before <= (uint64_t)(100 * VV_NS_PER_MS));
    }
    gap_a_byte = 1;
    vv_clock_sleep(b.w.env.clock, VV_NS_PER_S);
    uint64_t before = throttled(&b);
    write_once(&b, VALUE);
    assert_int_equal(throttled(&b), before);
    bed_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writers_keep_the_pace),
        cmocka_unit_test(a_writer_that_is_slow_enough_never_waits),
        cmocka_unit_test(no_write_waits_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
