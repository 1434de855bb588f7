/*
 * db_tier_fault_test.c - the archiver on a bad day of its store: answers that are lost, refused,
 * late or wrong at every request; names that are taken; a store without conditional put; one that
 * is away for hours.
 */
#include "db/db_tier_test_util.h"

#include <string.h>

/* ---- every fault at every request -------------------------------------------------------------
 */

static const objs_memory_fault faults[] = {
    OBJS_MEMORY_ERROR,         OBJS_MEMORY_THROTTLE,    OBJS_MEMORY_TIMEOUT,
    OBJS_MEMORY_TIMEOUT_AFTER, OBJS_MEMORY_ERROR_AFTER, OBJS_MEMORY_PARTIAL,
    OBJS_MEMORY_WRONG_ETAG,    OBJS_MEMORY_FLIP,        OBJS_MEMORY_SLOW};

/* Archive, merge, let go: until it works, with time passing. */
static void archive_patiently(tier_world *tw, vv_table *t)
{
    vv_error err = {0};
    for (int i = 0; i < 50; i++) {
        vv_status st = vv_tier_run(tw->w.db, t, &err);
        if (st == VV_OK)
            return;
        pass_time(tw, MIN_NS);
    }
    fail_msg("it never works: %s", err.msg);
}

/* Batches, a merge of them, and a trim, with the n-th request of the store faulty. */
static void live(tier_world *tw, vv_table *t)
{
    vv_error err = {0};
    uint64_t removed = 0;
    for (uint64_t n = 0; n < 9; n++) {
        tier_append_some(t, n * 8 * test_partitions, 8ull * test_partitions);
        archive_patiently(tw, t);
    }
    assert_ok(vv_stream_trim(t, 0, 5, &removed, &err), err);
    pass_time(tw, 2 * HOUR_NS);
    archive_patiently(tw, t);
}

static void walk(tier_world *tw, objs_memory_fault fault, bool no_condition, uint64_t step)
{
    uint64_t sites = 1;
    for (uint64_t at = 1; at <= sites; at += step) {
        size_t open = objs_bucket_uploads(tw->bucket);
        objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = at,
                                                           .fault_at = at,
                                                           .fault = fault,
                                                           .slow_ms = 40000,
                                                           .lag = 3,
                                                           .no_conditional_put = no_condition});
        vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
        live(tw, t);
        sites = objs_bucket_requests(tw->bucket);
        objs_bucket_set(tw->bucket, &(objs_memory_options){.no_conditional_put = no_condition});
        for (uint32_t p = 0; p < test_partitions; p++)
            assert_true(expect_all(tw, t, p, p == 0 ? 5 : 0) == 72);
        pass_time(tw, 2 * HOUR_NS);
        archive_patiently(tw, t);
        expect_no_orphans(tw, t);
        if (objs_bucket_uploads(tw->bucket) > open && fault != OBJS_MEMORY_TIMEOUT &&
            fault != OBJS_MEMORY_ERROR && fault != OBJS_MEMORY_THROTTLE &&
            fault != OBJS_MEMORY_TIMEOUT_AFTER && fault != OBJS_MEMORY_ERROR_AFTER)
            fail_msg("an upload was left open");
        vv_table_close(t);
        vv_error err = {0};
        assert_ok(vv_table_drop(tw->w.db, "plant", "events", &err), err);
        pass_time(tw, 2 * HOUR_NS);
        assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
        assert_int_equal(objs_bucket_objects(tw->bucket), 0);
    }
    assert_true(sites > 10);
}

static void walk_every_fault_of_every_request(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        walk(*state, faults[i], false, vv_test_count("VV_FAULT_STEP", 5));
}

static void walk_the_same_without_conditional_put(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        walk(*state, faults[i], true, vv_test_count("VV_FAULT_STEP", 11));
}

/* Objects in many parts. */
static void walk_the_same_in_parts(void **state)
{
    tier_world *tw = *state;
    tw->w.db->tier->buffer = 500;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        walk(*state, faults[i], false, vv_test_count("VV_FAULT_STEP", 17));
}

/* A day on which each request may fail, in any way. */
static void prop_a_bad_day_loses_nothing(void **state)
{
    tier_world *tw = *state;
    uint64_t seed = vv_test_seed(17);
    objs_memory_options bad = {.seed = seed, .lag = 5, .slow_ms = 100};
    for (int f = 1; f < OBJS_MEMORY_FAULT_COUNT; f++)
        bad.per_mille[f] = 40;
    objs_bucket_set(tw->bucket, &bad);
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    for (uint64_t n = 0; n < 60; n++) {
        tier_append_some(t, n * 10 * test_partitions, 10ull * test_partitions);
        pass_time(tw, 5 * MIN_NS);
        work_now(tw->w.db);
        if (n % 20 == 19) {
            vv_table_close(t);
            sim_reopen(&tw->w);
            t = archived_table(tw->w.db, NULL);
        }
    }
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = seed});
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_true(expect_all(tw, t, p, 0) == 600);
    archive_patiently(tw, t);
    pass_time(tw, 2 * HOUR_NS);
    archive_patiently(tw, t);
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_true(expect_all(tw, t, p, 0) == 600);
    assert_int_equal(census_of(t).dying, 0);
    expect_no_orphans(tw, t);
    vv_table_close(t);
}

/* ---- names that are taken ---------------------------------------------------------------------
 */

/* The first upload fails, so that its intent lies open. Its name. */
static void leave_an_intent(tier_world *tw, vv_table *t, char name[VV_OBJECT_NAME_MAX + 1])
{
    vv_error err = {0};
    tier_append_some(t, 0, 10ull * test_partitions);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.outage = true});
    assert_true(vv_tier_run(tw->w.db, t, &err) != VV_OK);
    assert_non_null(strstr(err.msg, "memory"));
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    tier_census c = census_of(t);
    assert_true(c.intents > 0 && c.stored == 0);
    memcpy(name, c.name, sizeof c.name);
}

static void put_there(tier_world *tw, const char *name, vv_slice bytes)
{
    vv_error err = {0};
    vv_object_outcome oc;
    assert_ok(vv_object_put(tw->objects, name, &bytes, 1, VV_OBJECT_REPLACE, NULL, &oc, &err), err);
}

static void check_taken(tier_world *tw, vv_slice bytes, bool no_condition)
{
    vv_error err = {0};
    char name[VV_OBJECT_NAME_MAX + 1];
    uint8_t got[300];
    size_t len = 0;
    vv_object_outcome oc;
    vv_table *t = archived_table(tw->w.db, NULL);
    leave_an_intent(tw, t, name);
    put_there(tw, name, bytes);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.no_conditional_put = no_condition});
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_true(tier_stats(tw->w.db).conflicts == 1);
    tier_census c = census_of(t);
    assert_true(c.stored == test_partitions && c.intents == 0);
    assert_ok(vv_object_get(tw->objects, name, 0, got, sizeof got, &len, NULL, &oc, &err), err);
    assert_true(vv_slice_eq(vv_slice_of(got, len),
                            vv_slice_of(bytes.data, vv_min_u64(bytes.len, sizeof got))));
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_true(expect_all(tw, t, p, 0) == 10);
    vv_table_close(t);
}

static void test_a_name_with_junk_under_it(void **state)
{
    check_taken(*state,
                vv_slice_str("not an object of ours, and long enough to have a footer or "
                             "something like it at its end: ......................."
                             "........................................"),
                false);
}

static void test_the_same_without_conditional_put(void **state)
{
    check_taken(*state, vv_slice_str("x"), true);
}

/* Another batch's object lies there: whole, of this store, and still not this intent's. */
static void test_a_name_with_another_object_under_it(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    static uint8_t bytes[1u << 20];
    size_t len = 0;
    vv_object_outcome oc;
    vv_table *other = NULL;
    vv_table_options opt = stream_options();
    assert_ok(vv_table_create(tw->w.db, "plant", "other", &opt, &other, &err), err);
    tier_append_some(other, 0, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, other, &err), err);
    tier_census c = census_of(other);
    assert_ok(vv_object_get(tw->objects, c.name, 0, bytes, sizeof bytes, &len, NULL, &oc, &err),
              err);
    vv_table_close(other);
    check_taken(tw, vv_slice_of(bytes, len), false);
}

/* The put took effect and its answer was lost, and then the process died: the next one finds it. */
static void test_an_object_of_before_the_crash_is_accepted(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, NULL);
    tier_append_some(t, 0, 10ull * test_partitions);
    objs_bucket_set(tw->bucket,
                    &(objs_memory_options){.fault_at = 1, .fault = OBJS_MEMORY_TIMEOUT_AFTER});
    /* what follows the lost answer fails too */
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_true(tier_stats(tw->w.db).settled == 1);
    assert_int_equal(objs_bucket_objects(tw->bucket), test_partitions);
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_true(expect_all(tw, t, p, 0) == 10);
    vv_table_close(t);
}

/* ---- a store that is away ---------------------------------------------------------------------
 */

/* Appends until they are refused; how many were taken. */
static uint64_t append_until_refused(tier_world *tw, vv_table *t, uint64_t first, vv_error *err)
{
    for (uint64_t n = first; n < first + 100000; n++) {
        vv_status st = tier_append(t, n, err);
        if (st != VV_OK) {
            assert_status(VV_BUSY, st);
            return n - first;
        }
        if (n % 50 == 0) {
            pass_time(tw, 5 * MIN_NS);
            work_now(tw->w.db);
        }
    }
    fail_msg("it is never too much");
    return 0;
}

static void prop_ten_hours_without_the_store(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    sim_close(&tw->w);
    tw->tier.waiting_max = 400u << 10;
    tw->tier.failures_max = 3;
    sim_start(&tw->w);
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    tier_append_some(t, 0, 100ull * test_partitions);
    work_now(tw->w.db);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.outage = true});
    uint64_t next = 100ull * test_partitions;
    next += append_until_refused(tw, t, next, &err);
    assert_non_null(strstr(err.msg, "wait for the object store"));
    assert_non_null(strstr(err.msg, vv_object_store_name(tw->objects)));
    for (int hour = 0; hour < 10; hour++) { /* nothing is taken, and what was taken stays */
        pass_time(tw, HOUR_NS);
        work_now(tw->w.db);
        assert_status(VV_BUSY, tier_append(t, next, &err));
        assert_true(tier_stats(tw->w.db).waiting_bytes < 500u << 10);
    }
    assert_non_null(strstr(err.msg, "has failed for"));
    assert_false(tier_stats(tw->w.db).healthy);
    assert_true(tier_stats(tw->w.db).consecutive_failures > 10);
    assert_true(objs_bucket_requests(tw->bucket) < 10000); /* it is asked seldom */
    vv_table_close(t);
    sim_reopen(&tw->w);
    t = archived_table(tw->w.db, NULL);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    for (int i = 0; i < 20; i++) {
        pass_time(tw, 2 * MIN_NS);
        work_now(tw->w.db);
    }
    assert_true(tier_stats(tw->w.db).healthy);
    tier_append_some(t, next, test_partitions); /* taken again */
    pass_time(tw, HOUR_NS);
    work_now(tw->w.db);
    assert_true(tier_stats(tw->w.db).waiting_messages == 0);
    uint64_t count = 0;
    for (uint32_t p = 0; p < test_partitions; p++)
        count += expect_all(tw, t, p, 0);
    assert_true(count == next + test_partitions);
    vv_table_close(t);
    tier_check_and_reopen(tw);
}

static void test_a_close_does_not_wait_for_tries(void **state)
{
    tier_world *tw = *state;
    vv_table *t = archived_table(tw->w.db, NULL);
    tier_append_some(t, 0, 10ull * test_partitions);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.outage = true});
    pass_time(tw, HOUR_NS);
    work_now(tw->w.db);
    vv_table_close(t);
    tier_check_and_reopen(tw);
    t = archived_table(tw->w.db, NULL);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    archive_patiently(tw, t);
    assert_int_equal(census_of(t).stored, test_partitions);
    assert_int_equal(census_of(t).intents, 0);
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TA(walk_every_fault_of_every_request),
        TA(walk_the_same_without_conditional_put),
        TA(walk_the_same_in_parts),
        TA(prop_a_bad_day_loses_nothing),
        TA(test_a_name_with_junk_under_it),
        TA(test_the_same_without_conditional_put),
        TA(test_a_name_with_another_object_under_it),
        TA(test_an_object_of_before_the_crash_is_accepted),
        TA(prop_ten_hours_without_the_store),
        TA(test_a_close_does_not_wait_for_tries),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
