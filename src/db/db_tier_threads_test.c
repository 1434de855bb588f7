/*
 * db_tier_threads_test.c - the archiver's threads beside everybody else's. Run it under the thread
 * sanitizer too.
 *
 *   senders    append to a stream that is archived to a store with bad days
 *   hand       archives by hand, lists, reads figures
 *   trimmer    trims behind what is archived, with snapshots that hold objects
 *   dropper    makes a table, archives it, drops it, again and again
 *   uploads    three of the tier's own
 */
#include "db/db_tier_test_util.h"

#include <stdatomic.h>
#include <unistd.h>

#define SENDERS 3u
#define EACH 1500u
#define DROPS 12u

static vv_db *db;
static vv_table *table;
static atomic_uint sending;

static void send_all(void *arg)
{
    uint32_t partition = (uint32_t)(uintptr_t)arg;
    vv_error err = {0};
    for (uint64_t n = 0; n < EACH; n++)
        VV_CHECK(tier_append(table, n * SENDERS + partition, &err) == VV_OK);
    atomic_fetch_sub(&sending, 1);
}

static int look_at(void *ctx, const vv_tier_object *o)
{
    uint64_t *objects = ctx;
    VV_CHECK(o->name[0] != '\0' && o->partition < SENDERS);
    VV_CHECK(o->state == VV_TIER_DYING || o->first < o->next);
    (*objects)++;
    return 0;
}

static void by_hand(void *arg)
{
    (void)arg;
    while (atomic_load(&sending) > 0) {
        vv_error err = {0};
        uint64_t objects = 0;
        (void)!vv_tier_run(db, table, &err); /* a bad day */
        VV_CHECK(vv_tier_list(table, look_at, &objects, &err) == VV_OK);
        vv_tier_stats s = tier_stats(db);
        VV_CHECK(s.has_store && s.stored >= s.merged / DB_TIER_MERGE_MAX);
        (void)usleep(2000);
    }
}

static void trim_behind(void *arg)
{
    (void)arg;
    while (atomic_load(&sending) > 0) {
        vv_error err = {0};
        vv_snapshot *snap = NULL;
        uint64_t removed = 0;
        db_stream_reader r;
        arch_entry e;
        VV_CHECK(vv_snapshot_create(db, &snap, &err) == VV_OK);
        VV_CHECK(db_stream_reader_open(&r, table, 1, snap, NULL, &err) == VV_OK);
        uint64_t first = r.first;
        bool archived = db_tier_entry_of(&r, first, &e, &err) == VV_OK;
        db_stream_reader_close(&r);
        if (archived && e.holds.next < EACH / 2) {
            VV_CHECK(vv_stream_trim(table, 1, e.holds.next, &removed, &err) == VV_OK);
            (void)usleep(3000);
            vv_object_info info;
            vv_object_outcome oc;
            vv_status st = vv_object_head(db->tier->objects, e.name, &info, &oc, &err);
            VV_CHECK(st != VV_NOT_FOUND); /* the snapshot may read it */
        }
        vv_snapshot_release(snap);
    }
}

static void drop_again(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < DROPS; i++) {
        vv_error err = {0};
        vv_table *t = NULL;
        vv_table_options opt = VV_TABLE_OPTIONS_INIT;
        opt.kind = VV_TABLE_STREAM;
        VV_CHECK(vv_table_create(db, "plant", "short-lived", &opt, &t, &err) == VV_OK);
        for (uint64_t n = 0; n < 50; n++)
            VV_CHECK(tier_append(t, n, &err) == VV_OK);
        if (i % 2 == 0)
            (void)!vv_tier_run(db, t, &err);
        vv_table_close(t);
        VV_CHECK(vv_table_drop(db, "plant", "short-lived", &err) == VV_OK);
    }
}

static void open_store(tier_world *tw, const char *dir)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64 << 20;
    opt.memtable_size = 256 << 10;
    opt.shard_count = SENDERS;
    opt.tier = &tw->tier;
    assert_ok(vv_db_open(dir, &opt, &db, &err), err);
    table = archived_table(db, &(vv_archive_rule){.local_ns = -1});
}

static void threads_archive_each_message_once(void **state)
{
    char dir[] = "/tmp/varve-tier-XXXXXX";
    vv_error err = {0};
    tier_world *tw = *state;
    assert_non_null(mkdtemp(dir));
    tw->tier = (vv_tier_options){.size = sizeof tw->tier,
                                 .objects = tw->objects,
                                 .rule = {.batch_bytes = 8u << 10, .batch_age_ns = SEC / 50},
                                 .uploads = 3,
                                 .grace_ns = 1};
    objs_memory_options bad = {.seed = vv_test_seed(3)};
    for (int f = 1; f < OBJS_MEMORY_FAULT_COUNT; f++)
        bad.per_mille[f] = 15;
    objs_bucket_set(tw->bucket, &bad);
    open_store(tw, dir);
    const vv_threads *threads = db->env->threads;
    enum { COUNT = SENDERS + 3 };
    static void (*const others[])(void *arg) = {by_hand, trim_behind, drop_again};
    vv_thread *thread[COUNT];
    atomic_store(&sending, SENDERS);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_ok(threads->create("test", VV_THREAD_NORMAL,
                                  i < SENDERS ? send_all : others[i - SENDERS],
                                  (void *)(uintptr_t)i, &thread[i], &err),
                  err);
    for (int i = 0; i < COUNT; i++)
        threads->join(thread[i]);
    assert_int_equal(vv_check_failures(), 0);
    objs_bucket_set(tw->bucket, &(objs_memory_options){.seed = 1});
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    assert_ok(vv_check(dir, print_finding, NULL, &err), err);
    open_store(tw, dir);
    assert_ok(vv_tier_run(db, NULL, &err), err);
    (void)usleep(1000);
    assert_ok(vv_tier_run(db, NULL, &err), err);
    for (uint32_t p = 0; p < SENDERS; p++) {
        db_stream_reader r;
        assert_ok(db_stream_reader_open(&r, table, p, NULL, NULL, &err), err);
        uint64_t first = r.first;
        db_stream_reader_close(&r);
        assert_true(expect_all(tw, table, p, first) == EACH);
    }
    expect_no_orphans(tw, table);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* Work for the threads comes by event: nothing here waits for a timer of a minute. */
static void a_full_batch_is_stored_at_once(void **state)
{
    char dir[] = "/tmp/varve-tier-XXXXXX";
    vv_error err = {0};
    tier_world *tw = *state;
    assert_non_null(mkdtemp(dir));
    tw->tier = (vv_tier_options){
        .size = sizeof tw->tier, .objects = tw->objects, .rule = {.batch_messages = 100}};
    open_store(tw, dir);
    for (uint64_t n = 0; n < 100; n++)
        assert_ok(tier_append(table, n * SENDERS, &err), err);
    for (int i = 0; i < 20000 && census_of(table).stored == 0; i++)
        (void)usleep(1000);
    assert_int_equal(census_of(table).stored, 1);
    vv_table_close(table);
    assert_ok(vv_db_close(db, &err), err);
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static int begin(void **state)
{
    engine_under_test = &lsm_ops;
    test_partitions = SENDERS;
    int st = tier_begin(state);
    tier_world *tw = *state;
    vv_object_store_close(tw->objects);
    sim_end(&tw->w); /* files and clock of this test are real ones */
    tier_open_objects(tw, vv_clock_real());
    return st;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(threads_archive_each_message_once, begin, tier_end),
        cmocka_unit_test_setup_teardown(a_full_batch_is_stored_at_once, begin, tier_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
