/*
 * db_tier_crash_test.c - after a power cut at each write of a small life, and while each read,
 * write and allocation fails, every acknowledged message is there exactly once, in order, in
 * objects or in blocks, and no object is left that the table does not know.
 */
#include "db/db_tier_test_util.h"

#include <string.h>

#define ROUNDS 8u
#define OF_ROUND 12u

/* Messages up to here were acknowledged; the one behind may be there too. */
static uint64_t acked;
static uint64_t trimmed; /* of partition 0; the trim behind it may have taken place */
static uint64_t trimming;
static uint64_t position; /* acknowledged; the commit behind it may have taken place */
static uint64_t committing;

static vv_status append_round(vv_table *t, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint64_t i = 0; st == VV_OK && i < OF_ROUND * test_partitions; i++) {
        st = tier_append(t, acked, err);
        acked += st == VV_OK;
    }
    return st;
}

static vv_status trim_some(vv_table *t, vv_error *err)
{
    uint64_t removed = 0;
    trimming = trimmed + OF_ROUND;
    vv_status st = vv_stream_trim(t, 0, trimming, &removed, err);
    if (st == VV_OK)
        trimmed = trimming;
    return st;
}

/* Appends, cuts, merges, trims, removals, a position: from append to the commit of what was read.
 */
static vv_status live(tier_world *tw, vv_error *err)
{
    vv_table *t = NULL;
    vv_db *db = tw->w.db;
    vv_table_options opt = stream_options();
    const vv_archive_rule rule = {.local_ns = -1, .also = VV_TIER_ALONE};
    opt.archive = &rule;
    vv_status st = vv_table_create(db, "plant", "events", &opt, &t, err);
    for (unsigned n = 0; st == VV_OK && n < ROUNDS; n++) {
        st = append_round(t, err);
        if (st == VV_OK)
            st = vv_tier_run(db, t, err);
        if (st == VV_OK && n % 4 == 2)
            st = trim_some(t, err);
        if (st == VV_OK && n % 3 == 1) {
            pass_time(tw, 2 * HOUR_NS);
            st = vv_tier_run(db, NULL, err);
        }
        if (st == VV_OK) {
            committing = (uint64_t)(n + 1) * OF_ROUND;
            st = vv_stream_commit(t, 0, vv_slice_str("reader"), committing, VV_DURABLE_SYNC, err);
        }
        if (st == VV_OK)
            position = committing;
        if (st == VV_OK && n % 5 == 4)
            st = vv_checkpoint(db, err);
    }
    vv_table_close(t);
    return st;
}

static void check_part(tier_world *tw, vv_table *t, uint32_t p)
{
    vv_error err = {0};
    db_stream_reader r;
    assert_ok(db_stream_reader_open(&r, t, p, NULL, NULL, &err), err);
    uint64_t first = r.first;
    uint64_t next = r.next;
    db_stream_reader_close(&r);
    if (p == 0 ? first != trimmed && first != trimming : first != 0)
        fail_msg("partition %u begins at %llu", p, (unsigned long long)first);
    uint64_t want = acked / test_partitions + (acked % test_partitions > p);
    if (next < want || next > want + 1)
        fail_msg("partition %u ends at %llu, %llu were acknowledged", p, (unsigned long long)next,
                 (unsigned long long)want);
    assert_true(expect_all(tw, t, p, first) == next);
}

/* It stands where it was acknowledged to, or where a commit without an answer put it. */
static void check_position(vv_table *t)
{
    vv_error err = {0};
    vv_stream_position p = {.offset = 0};
    vv_status st = vv_stream_position_get(t, 0, vv_slice_str("reader"), &p, &err);
    if (st != VV_NOT_FOUND)
        assert_ok(st, err);
    if (p.offset != position && p.offset != committing)
        fail_msg("the position is %llu, %llu was acknowledged", (unsigned long long)p.offset,
                 (unsigned long long)position);
}

static void check_after(tier_world *tw)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_status st = vv_table_open(tw->w.db, "plant", "events", &t, &err);
    if (st == VV_NOT_FOUND && acked == 0)
        return;
    assert_ok(st, err);
    check_position(t);
    for (int round = 0; round < 2; round++) {
        for (uint32_t p = 0; p < test_partitions; p++)
            check_part(tw, t, p);
        assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
        pass_time(tw, 2 * HOUR_NS);
        assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
    }
    tier_census c = census_of(t);
    assert_true(c.intents == 0 && c.dying == 0);
    expect_no_orphans(tw, t);
    vv_table_close(t);
    tier_check_and_reopen(tw);
}

static void begin_life(tier_world *tw, const vio_sim_options *sim)
{
    vv_error err = {0};
    acked = 0;
    trimmed = 0;
    trimming = 0;
    position = 0;
    committing = 0;
    vv_object_store_close(tw->objects);
    objs_bucket_destroy(tw->bucket);
    tw->w.disk = vio_sim_disk_create();
    tw->bucket = objs_bucket_create();
    assert_non_null(tw->bucket);
    tier_open_objects(tw, vio_sim_clock(tw->w.disk));
    tw->tier.objects = tw->objects;
    assert_ok(sim_on(&tw->w, sim, &err), err);
}

static void cut_everywhere(tier_world *tw, const objs_memory_options *bucket, uint64_t step)
{
    uint64_t seed = vv_test_seed(77);
    bool cut = true;
    for (uint64_t at = 1; cut; at += step) {
        vv_error err = {0};
        begin_life(tw, &(vio_sim_options){.seed = seed + at, .cut_after_writes = at, .tear = true});
        objs_bucket_set(tw->bucket, bucket);
        vv_status st = sim_open_db(&tw->w, &err);
        if (st == VV_OK)
            st = live(tw, &err);
        cut = vio_sim_is_off(tw->w.disk);
        if (!cut && bucket->seed == 0)
            assert_ok(st, err);
        db_abandon(tw->w.db);
        sim_off(&tw->w);
        objs_bucket_set(tw->bucket,
                        &(objs_memory_options){.no_conditional_put = bucket->no_conditional_put});
        assert_ok(sim_on(&tw->w, &(vio_sim_options){.seed = seed}, &err), err);
        assert_ok(sim_open_db(&tw->w, &err), err);
        check_after(tw);
        sim_end(&tw->w);
    }
}

static void prop_a_power_cut_leaves_each_message_once(void **state)
{
    tier_world *tw = *state;
    sim_end(&tw->w);
    cut_everywhere(tw, &(objs_memory_options){.seed = 0}, vv_test_count("VV_CRASH_STEP", 2));
}

static void prop_a_power_cut_on_a_bad_day(void **state)
{
    tier_world *tw = *state;
    sim_end(&tw->w);
    objs_memory_options bad = {.seed = 5, .lag = 4};
    bad.per_mille[OBJS_MEMORY_TIMEOUT_AFTER] = 60;
    bad.per_mille[OBJS_MEMORY_ERROR_AFTER] = 60;
    bad.per_mille[OBJS_MEMORY_THROTTLE] = 40;
    cut_everywhere(tw, &bad, vv_test_count("VV_CRASH_STEP", 7));
}

static void prop_a_power_cut_without_conditional_put(void **state)
{
    tier_world *tw = *state;
    sim_end(&tw->w);
    cut_everywhere(tw, &(objs_memory_options){.no_conditional_put = true},
                   vv_test_count("VV_CRASH_STEP", 7));
}

static void walk_every_io_may_fail(void **state)
{
    tier_world *tw = *state;
    sim_end(&tw->w);
    bool failed = true;
    for (uint64_t n = 1; failed; n += vv_test_count("VV_FAULT_STEP", 5)) {
        vv_error err = {0};
        begin_life(tw, &(vio_sim_options){.seed = 1, .fault = VIO_SIM_EIO, .fault_at = n});
        vv_status st = sim_open_db(&tw->w, &err);
        if (st == VV_OK)
            st = live(tw, &err);
        failed = vio_sim_fault_sites(tw->w.disk, VIO_SIM_EIO) >= n;
        if (!failed)
            assert_ok(st, err);
        vio_sim_heal(tw->w.disk);
        db_abandon(tw->w.db);
        sim_off(&tw->w);
        sim_start(&tw->w);
        check_after(tw);
        sim_end(&tw->w);
    }
}

static void walk_every_allocation_may_fail(void **state)
{
    tier_world *tw = *state;
    sim_end(&tw->w);
    uint64_t step = vv_test_count("VV_ALLOC_STEP", 17);
    unsigned failures = 0;
    begin_life(tw, &(vio_sim_options){.seed = 1});
    vv_error err = {0};
    assert_ok(sim_open_db(&tw->w, &err), err);
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    for (uint64_t n = 0; n < 1200; n += step) {
        while (append_round(t, &err) != VV_OK)
            pass_time(tw, SEC);
        vv_alloc_fail_after((int64_t)n, 0);
        vv_status st = vv_tier_run(tw->w.db, NULL, &err);
        vv_alloc_fail_after(-1, 0);
        failures += st == VV_NO_MEMORY;
        if (st == VV_IO) { /* the disk's own memory, in a write of the log: that is final */
            vv_table_close(t);
            db_abandon(tw->w.db);
            sim_off(&tw->w);
            sim_start(&tw->w);
            t = archived_table(tw->w.db, NULL);
        } else if (st != VV_OK && st != VV_NO_MEMORY && st != VV_BUSY) {
            fail_msg("allocation %d: %s: %s", (int)n, vv_status_name(st), err.msg);
        }
        assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
        assert_true(expect_all(tw, t, 0, 0) == acked / test_partitions);
    }
    assert_true(failures > 0);
    vv_table_close(t);
    check_after(tw);
    sim_end(&tw->w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TA(prop_a_power_cut_leaves_each_message_once),
        TA(prop_a_power_cut_on_a_bad_day),
        TA(prop_a_power_cut_without_conditional_put),
        TA(walk_every_io_may_fail),
        TA(walk_every_allocation_may_fail),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
