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

/* Whoever has the name may have the one of the other form, which is not to be written over; and
 * what was stored under neither leaves nothing. */
static void test_another_form_under_a_name_that_is_taken(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    char name[VV_OBJECT_NAME_MAX + 1];
    char beside[VV_OBJECT_NAME_MAX + 1];
    uint8_t got[100];
    size_t len = 0;
    vv_object_outcome oc;
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.also = VV_TIER_JSONL});
    leave_an_intent(tw, t, name);
    assert_ok(db_tier_also_name(name, VV_TIER_JSONL, beside, &err), err);
    assert_ok(vv_object_remove(tw->objects, beside, &oc, &err), err);
    put_there(tw, name, vv_slice_str("somebody's"));
    put_there(tw, beside, vv_slice_str("theirs, too"));
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_true(tier_stats(tw->w.db).conflicts == 1);
    assert_ok(vv_object_get(tw->objects, beside, 0, got, sizeof got, &len, NULL, &oc, &err), err);
    assert_true(vv_slice_eq(vv_slice_of(got, len), vv_slice_str("theirs, too")));
    tier_census c = census_of(t);
    assert_true(c.stored == test_partitions && c.intents == 0);
    assert_int_equal(objs_bucket_objects(tw->bucket), 2 * c.stored + 2);
    vv_table_close(t);
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

/* Producers that go on: each partition's has sent so many, and tries the next one again and again.
 */
typedef struct senders {
    tier_world *tw;
    vv_table *table;
    uint64_t next[4];  /* message of each partition, of its own count: acknowledged before it */
    uint64_t refused;  /* tries */
    vv_status refusal; /* of the last of them */
    vv_error why;
} senders;

static void connect(senders *s)
{
    s->table = archived_table(s->tw->w.db, &(vv_archive_rule){.local_ns = -1});
}

/* Each sends so many, or until it is refused. */
static void send_some(senders *s, unsigned most)
{
    for (uint32_t p = 0; p < test_partitions; p++)
        for (unsigned i = 0; i < most; i++) {
            vv_status st = tier_append(s->table, s->next[p] * test_partitions + p, &s->why);
            if (st != VV_OK) {
                if (st != VV_BUSY && st != VV_NO_SPACE)
                    fail_msg("%s: %s", vv_status_name(st), s->why.msg);
                s->refused++;
                s->refusal = st;
                break;
            }
            s->next[p]++;
        }
}

/* Exactly what was acknowledged is there, or one more that was not. */
static void expect_sent(senders *s, bool was_cut)
{
    for (uint32_t p = 0; p < test_partitions; p++) {
        uint64_t next = expect_all(s->tw, s->table, p, 0);
        if (next != s->next[p] && !(was_cut && next == s->next[p] + 1))
            fail_msg("partition %u: %llu were acknowledged, %llu are there", p,
                     (unsigned long long)s->next[p], (unsigned long long)next);
    }
}

static void add_size(void *ctx, const char *path, uint64_t size)
{
    uint64_t *sum = ctx;
    (void)path;
    *sum += size;
}

static uint64_t disk_of(tier_world *tw)
{
    uint64_t sum = 0;
    vio_sim_each_file(tw->w.disk, add_size, &sum);
    return sum;
}

static void lose_power(senders *s)
{
    vv_error err = {0};
    tier_world *tw = s->tw;
    vio_sim_cut(tw->w.disk);
    vv_table_close(s->table);
    db_abandon(tw->w.db);
    sim_off(&tw->w);
    assert_ok(sim_on(&tw->w, &(vio_sim_options){.seed = vv_test_seed(9), .tear = true}, &err), err);
    assert_ok(sim_open_db(&tw->w, &err), err);
    connect(s);
    expect_sent(s, true);
}

/* So many hours of simulated time, with producers that try twice a minute. Memory and disk are
 * no more at the end of an hour than they were at most after the first. */
static void wait_hours(senders *s, unsigned hours, uint64_t *memory, uint64_t *disk)
{
    for (unsigned hour = 0; hour < hours; hour++) {
        for (int i = 0; i < 120; i++) {
            pass_time(s->tw, 30 * SEC);
            send_some(s, 20);
            work_now(s->tw->w.db);
        }
        uint64_t memory_now = vv_budget_used(&s->tw->w.db->budget);
        uint64_t disk_now = disk_of(s->tw);
        if (*memory != 0 && (memory_now > *memory + (64u << 10) || disk_now > *disk + (256u << 10)))
            fail_msg("hour %u: %llu KiB of memory, %llu of disk; after the first %llu and %llu",
                     hour, (unsigned long long)memory_now >> 10, (unsigned long long)disk_now >> 10,
                     (unsigned long long)*memory >> 10, (unsigned long long)*disk >> 10);
        if (*memory == 0) {
            *memory = memory_now;
            *disk = disk_now;
        }
    }
}

static void drain(senders *s)
{
    for (int i = 0; i < 60; i++) {
        pass_time(s->tw, MIN_NS);
        send_some(s, 2);
        work_now(s->tw->w.db);
    }
    vv_tier_stats now = tier_stats(s->tw->w.db);
    assert_true(now.healthy && now.consecutive_failures == 0);
    pass_time(s->tw, HOUR_NS);
    work_now(s->tw->w.db);
    assert_true(tier_stats(s->tw->w.db).waiting_messages == 0);
    expect_sent(s, false);
}

/* What was taken fills its bound, then producers are held back; nothing is lost, memory and disk
 * stay as they are, the power fails in the middle of it; and it drains when the store answers. */
static void prop_ten_hours_without_the_store(void **state)
{
    tier_world *tw = *state;
    senders s = {.tw = tw};
    uint64_t memory = 0;
    uint64_t disk = 0;
    sim_close(&tw->w);
    tw->tier.waiting_max = 200u << 10;
    tw->tier.failures_max = 3;
    sim_start(&tw->w);
    connect(&s);
    send_some(&s, 100);
    work_now(tw->w.db);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.outage = true});
    wait_hours(&s, 5, &memory, &disk);
    uint64_t taken = s.next[0];
    assert_true(s.refused > 500 && s.refusal == VV_BUSY);
    assert_non_null(strstr(s.why.msg, "wait for the object store"));
    assert_non_null(strstr(s.why.msg, vv_object_store_name(tw->objects)));
    assert_non_null(strstr(s.why.msg, "has failed for"));
    assert_true(tier_stats(tw->w.db).waiting_bytes < 220u << 10);
    assert_false(tier_stats(tw->w.db).healthy);
    assert_true(tier_stats(tw->w.db).consecutive_failures > 10);
    const uint64_t wakes = tw->w.db->tier->requests;
    for (int i = 0; i < 50; i++)
        send_some(&s, 1);
    assert_true(tw->w.db->tier->requests <= wakes + 1); /* who is refused again wakes nobody */
    lose_power(&s);
    wait_hours(&s, 5, &memory, &disk);
    assert_true(s.next[0] <= taken + 100); /* the bound holds behind the restart, too */
    assert_true(objs_bucket_requests(tw->bucket) < 10000); /* the store is asked seldom */
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    drain(&s);
    assert_true(s.next[0] > taken);
    vv_table_close(s.table);
    tier_check_and_reopen(tw);
}

/* Without a bound of its own the disk is the bound: full, it refuses, and what was taken is there
 * and drains when the disk has room again. */
static void prop_an_outage_that_fills_the_disk(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    senders s = {.tw = tw};
    sim_close(&tw->w);
    assert_ok(sim_on(&tw->w, &(vio_sim_options){.seed = 1, .capacity = 3u << 20}, &err), err);
    assert_ok(sim_open_db(&tw->w, &err), err);
    connect(&s);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.outage = true});
    for (int i = 0; i < 3000 && s.refused < 200; i++) {
        pass_time(tw, 10 * SEC);
        send_some(&s, 20);
        (void)!db_step(tw->w.db, &err);
    }
    assert_true(s.refused >= 200);
    assert_true(tier_stats(tw->w.db).waiting_bytes < 4u << 20); /* refused ones do not wait */
    uint64_t taken = s.next[0];
    lose_power(&s); /* and back on a larger disk */
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    drain(&s);
    assert_true(s.next[0] > taken);
    vv_table_close(s.table);
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
        TA(test_another_form_under_a_name_that_is_taken),
        TA(test_an_object_of_before_the_crash_is_accepted),
        TA(prop_ten_hours_without_the_store),
        TA(prop_an_outage_that_fills_the_disk),
        TA(test_a_close_does_not_wait_for_tries),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
