/*
 * db_tier_limits_test.c - the archiver where something is short or refused for good: memory_limit
 * under large messages and merges, objects that the store will not remove, tables that are dropped
 * while no object store is there.
 */
#include "db/db_tier_test_util.h"

#include "base/hash.h"

#include <string.h>

/* ---- memory -----------------------------------------------------------------------------------
 */

/* A store with so much, and log and memtables to match. */
static void start_with(tier_world *tw, uint64_t memory_limit)
{
    sim_close(&tw->w);
    tw->w.opt.memory_limit = memory_limit;
    tw->w.opt.memtable_size = memory_limit / 8;
    tw->w.opt.log_segment_size = 32u << 20;
    tw->w.opt.log_limit = 128u << 20;
    sim_start(&tw->w);
}

/* Somebody else has all that the archiver may have, but for so much. */
static uint64_t use_up(vv_db *db, uint64_t left)
{
    vv_budget *b = &db->budget;
    uint64_t others = vv_budget_used(b) + vv_budget_kept_from(b, VV_BUDGET_WORK) + left;
    assert_true(others < b->limit);
    vv_budget_take(b, VV_BUDGET_QUERY, b->limit - others);
    return b->limit - others;
}

static uint8_t *large_message(uint64_t n, size_t len)
{
    vv_rng rng;
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    vv_rng_init(&rng, n + 1);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)vv_rng_next(&rng);
    return bytes;
}

static void append_large(vv_table *t, uint64_t n, size_t len)
{
    vv_error err = {0};
    uint8_t *bytes = large_message(n, len);
    vv_message m = {.value = vv_slice_of(bytes, len)};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    assert_ok(vv_stream_append(t, &m, 1, &opt, NULL, &err), err);
    free(bytes);
}

static void expect_large(vv_table *t, uint64_t count, size_t len)
{
    vv_error err = {0};
    vv_stream_cursor *c = NULL;
    vv_message m;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = 0;
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    for (uint64_t n = 0; n < count; n++) {
        uint8_t *bytes = large_message(n, len);
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_true(vv_slice_eq(m.value, vv_slice_of(bytes, len)));
        free(bytes);
    }
    vv_stream_cursor_close(c);
}

/* The largest message there may be waits for memory, is archived all the same after some tries, and
 * nothing stays counted. */
static void test_a_large_message_is_in_the_budget(void **state)
{
    tier_world *tw = *state;
    const size_t len = VV_STREAM_MESSAGE_MAX - 1024;
    if (test_partitions > 1)
        return; /* it is of one */
    start_with(tw, 96u << 20);
    vv_table *t =
        archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1, .batch_bytes = 1 << 20});
    const vv_budget *budget = &tw->w.db->budget;
    append_large(t, 0, len);
    vv_error err = {0};
    assert_ok(vv_checkpoint(tw->w.db, &err), err);
    uint64_t before = vv_budget_part_used(budget, VV_BUDGET_WORK);
    uint64_t used = use_up(tw->w.db, 0);
    work_now(tw->w.db);
    assert_int_equal(census_of(t).stored, 0);
    assert_true(tier_stats(tw->w.db).failed == 0); /* no upload failed */
    int tries = 1;
    for (; tries < 30 && census_of(t).stored == 0; tries++) {
        pass_time(tw, 10 * SEC);
        work_now(tw->w.db);
    }
    assert_int_equal(census_of(t).stored, 1);
    assert_true(tries > 2 && tries < 10);
    vv_budget_release(&tw->w.db->budget, VV_BUDGET_QUERY, used);
    assert_int_equal(vv_budget_part_used(budget, VV_BUDGET_WORK), before);
    append_large(t, 1, len);
    work_now(tw->w.db); /* at once, now */
    assert_int_equal(census_of(t).stored, 2);
    assert_null(tw->w.db->tier->passing);
    expect_large(t, 2, len);
    vv_table_close(t);
}

/* By hand it does not wait. */
static void test_by_hand_memory_is_passed_at_once(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    const size_t len = 3u << 20;
    start_with(tw, 64u << 20);
    for (vv_tier_form form = VV_TIER_ALONE; form <= VV_TIER_PARQUET; form++) {
        char name[16];
        vv_table *t = NULL;
        vv_table_options opt = stream_options();
        opt.archive = &(vv_archive_rule){.local_ns = -1, .also = form};
        (void)snprintf(name, sizeof name, "form-%d", (int)form);
        assert_ok(vv_table_create(tw->w.db, "plant", name, &opt, &t, &err), err);
        append_large(t, 0, len);
        append_large(t, 1, len);
        uint64_t before = vv_budget_part_used(&tw->w.db->budget, VV_BUDGET_WORK);
        uint64_t used = use_up(tw->w.db, 0);
        assert_ok(vv_tier_run(tw->w.db, t, &err), err);
        vv_budget_release(&tw->w.db->budget, VV_BUDGET_QUERY, used);
        assert_int_equal(vv_budget_part_used(&tw->w.db->budget, VV_BUDGET_WORK), before);
        expect_large(t, 2, len);
        vv_table_close(t);
    }
}

/* Objects of large messages are read in the budget when they are merged; a merge waits, and goes
 * on. */
static void test_a_merge_is_in_the_budget(void **state)
{
    tier_world *tw = *state;
    const size_t len = 400u << 10;
    enum { COUNT = 24 };
    start_with(tw, 16u << 20);
    vv_table *t = archived_table(
        tw->w.db, &(vv_archive_rule){.local_ns = -1, .batch_bytes = 8u << 20, .batch_messages = 1});
    const vv_budget *budget = &tw->w.db->budget;
    uint64_t before = vv_budget_part_used(budget, VV_BUDGET_WORK);
    for (uint64_t n = 0; n < 7; n++) {
        append_large(t, n, len);
        work_now(tw->w.db);
    }
    assert_true(tier_stats(tw->w.db).merged == 0);
    append_large(t, 7, len);
    uint64_t used = use_up(tw->w.db, 3u << 20); /* to make one, and not to read beside it */
    work_now(tw->w.db);
    assert_true(tier_stats(tw->w.db).stored == 8 && tier_stats(tw->w.db).merged == 0);
    for (int i = 0; i < 10 && tier_stats(tw->w.db).merged == 0; i++) {
        pass_time(tw, 10 * SEC);
        work_now(tw->w.db);
    }
    assert_true(tier_stats(tw->w.db).merged == 8);
    vv_budget_release(&tw->w.db->budget, VV_BUDGET_QUERY, used);
    for (uint64_t n = 8; n < COUNT; n++) {
        append_large(t, n, len);
        work_now(tw->w.db);
    }
    assert_true(tier_stats(tw->w.db).merged > 16 && tier_stats(tw->w.db).failed == 0);
    assert_int_equal(vv_budget_part_used(budget, VV_BUDGET_WORK), before);
    expect_large(t, COUNT, len);
    vv_table_close(t);
}

/* ---- objects that stay ------------------------------------------------------------------------
 */

static void trim_all(tier_world *tw, vv_table *t)
{
    vv_error err = {0};
    uint64_t removed = 0;
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_ok(vv_stream_trim(t, p, UINT64_MAX, &removed, &err), err);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
}

static void keep_named(tier_world *tw, const char *name)
{
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1, .kept = name});
}

/* What the store will not remove does not hold up what is cut, merged or removed behind it. */
static void test_an_object_that_stays_holds_up_nothing(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t =
        archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1, .batch_age_ns = MIN_NS});
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    trim_all(tw, t);
    tier_census c = census_of(t);
    assert_int_equal(c.dying, test_partitions);
    keep_named(tw, c.name);
    pass_time(tw, 2 * HOUR_NS);
    for (uint64_t n = 2; n < 30; n++) {
        tier_append_some(t, n * 5 * test_partitions, 5ull * test_partitions);
        pass_time(tw, 2 * MIN_NS);
        work_now(tw->w.db);
    }
    vv_tier_stats s = tier_stats(tw->w.db);
    assert_true(s.merged >= 8ull * test_partitions);
    assert_true(s.removals_failed > 0 && s.removals_failed < 60);
    assert_true(s.healthy && s.failed == 0); /* of uploads */
    for (int i = 0; i < 30; i++) {
        pass_time(tw, 5 * MIN_NS);
        work_now(tw->w.db);
    }
    assert_int_equal(census_of(t).dying, 1); /* all others went */
    expect_no_orphans(tw, t);
    assert_status(VV_IO, vv_tier_run(tw->w.db, t, &err));
    assert_non_null(strstr(err.msg, "AccessDenied"));
    for (uint32_t p = 0; p < test_partitions; p++)
        (void)expect_all(tw, t, p, 10);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_int_equal(census_of(t).dying, 0);
    vv_table_close(t);
}

/* Hundreds of them: each is tried now and then, few at a time. */
static void test_many_that_stay_are_tried_seldom(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(
        tw->w.db, &(vv_archive_rule){.local_ns = -1, .batch_messages = 1, .batch_bytes = 4096});
    keep_named(tw, "");
    tier_append_some(t, 0, 40ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    trim_all(tw, t);
    size_t dying = census_of(t).dying;
    assert_true(dying >= 20);
    pass_time(tw, 2 * HOUR_NS);
    for (int i = 0; i < 60; i++) {
        pass_time(tw, MIN_NS);
        work_now(tw->w.db);
    }
    uint64_t failed = tier_stats(tw->w.db).removals_failed;
    assert_true(failed >= dying && failed <= 61ull * DB_TIER_REMOVALS_TRIED * test_partitions);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    for (int i = 0; i < 3; i++) {
        pass_time(tw, 2 * MIN_NS);
        work_now(tw->w.db);
    }
    assert_int_equal(census_of(t).dying, 0);
    expect_no_orphans(tw, t);
    vv_table_close(t);
}

/* ---- dropped tables ---------------------------------------------------------------------------
 */

static void make_and_drop(tier_world *tw, const char *name, char object[VV_OBJECT_NAME_MAX + 1])
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = stream_options();
    opt.archive = &(vv_archive_rule){.local_ns = -1};
    assert_ok(vv_table_create(tw->w.db, "plant", name, &opt, &t, &err), err);
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    tier_census c = census_of(t);
    memcpy(object, c.name, sizeof c.name);
    vv_table_close(t);
    assert_ok(vv_table_drop(tw->w.db, "plant", name, &err), err);
}

static void test_an_object_of_a_dropped_table_that_stays(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    char kept[VV_OBJECT_NAME_MAX + 1];
    char other[VV_OBJECT_NAME_MAX + 1];
    make_and_drop(tw, "one", kept);
    make_and_drop(tw, "two", other);
    make_and_drop(tw, "three", other);
    keep_named(tw, kept);
    assert_int_equal(objs_bucket_objects(tw->bucket), 3 * test_partitions);
    pass_time(tw, 2 * HOUR_NS);
    work_now(tw->w.db);
    assert_int_equal(objs_bucket_objects(tw->bucket), 1);
    assert_true(tier_stats(tw->w.db).healthy && tier_stats(tw->w.db).removals_failed > 0);
    assert_status(VV_IO, vv_tier_run(tw->w.db, NULL, &err));
    assert_non_null(strstr(err.msg, "AccessDenied"));
    tier_check_and_reopen(tw);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    pass_time(tw, 2 * MIN_NS);
    work_now(tw->w.db);
    assert_int_equal(objs_bucket_objects(tw->bucket), 0);
}

/* Nobody archives while it is dropped; who opens the store with its object store again removes
 * what it left there. */
static void test_a_drop_without_the_object_store(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    vv_table_close(t);
    sim_close(&tw->w);
    tw->w.opt.tier = NULL;
    sim_start(&tw->w);
    assert_ok(vv_table_drop(tw->w.db, "plant", "events", &err), err);
    pass_time(tw, 2 * HOUR_NS);
    assert_int_equal(objs_bucket_objects(tw->bucket), test_partitions);
    sim_close(&tw->w);
    tw->w.opt.tier = &tw->tier;
    sim_start(&tw->w);
    work_now(tw->w.db);
    pass_time(tw, 2 * MIN_NS);
    work_now(tw->w.db);
    assert_int_equal(objs_bucket_objects(tw->bucket), 0);
}

/* ---- what waits -------------------------------------------------------------------------------
 */

/* What waits in a table counts for waiting_max until it is archived, or the table goes, or is not
 * archived any more. */
static void test_what_waits_is_forgotten_with_its_table(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.batch_age_ns = 100 * HOUR_NS});
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_true(tier_stats(tw->w.db).waiting_bytes > 0);
    vv_table_close(t);
    assert_ok(vv_table_drop(tw->w.db, "plant", "events", &err), err);
    work_now(tw->w.db);
    assert_true(tier_stats(tw->w.db).waiting_bytes == 0);
    t = archived_table(tw->w.db, &(vv_archive_rule){.batch_age_ns = 100 * HOUR_NS});
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_true(tier_stats(tw->w.db).waiting_bytes > 0);
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.archive = &(vv_archive_rule){.off = true};
    assert_ok(vv_table_alter(tw->w.db, "plant", "events", &to, VV_CHANGE_ARCHIVE, &err), err);
    pass_time(tw, 2 * MIN_NS);
    work_now(tw->w.db);
    assert_true(tier_stats(tw->w.db).waiting_bytes == 0);
    assert_true(tier_stats(tw->w.db).waiting_messages == 0);
    vv_table_close(t);
}

/* A look that one thread comes to while another one is in a pass is not lost: the earliest counts.
 */
static void test_the_earliest_look_counts(void **state)
{
    tier_world *tw = *state;
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.batch_age_ns = 10 * MIN_NS});
    tier_append_some(t, 0, test_partitions);
    work_now(tw->w.db);
    int64_t soon = vv_clock_mono(tw->w.db->env->clock) + SEC;
    int64_t look = atomic_load(&tw->w.db->tier->look_ns);
    assert_true(look > soon);
    db_tier_look_at(tw->w.db->tier, soon);
    assert_true(atomic_load(&tw->w.db->tier->look_ns) == soon);
    db_tier_look_at(tw->w.db->tier, look); /* who comes later does not put it off */
    assert_true(atomic_load(&tw->w.db->tier->look_ns) == soon);
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TA(test_a_large_message_is_in_the_budget), TA(test_by_hand_memory_is_passed_at_once),
        TA(test_a_merge_is_in_the_budget),         TA(test_an_object_that_stays_holds_up_nothing),
        TA(test_many_that_stay_are_tried_seldom),  TA(test_an_object_of_a_dropped_table_that_stays),
        TA(test_a_drop_without_the_object_store),  TA(test_what_waits_is_forgotten_with_its_table),
        TA(test_the_earliest_look_counts),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
