/*
 * db_tier_threads_test.c - the archiver's threads beside everybody else's. Run it under the thread
 * sanitizer too.
 *
 *   senders    append to a stream that is archived to a store with bad days
 *   hand       archives by hand, lists, reads figures
 *   trimmer    trims behind what is archived, with snapshots that hold objects
 *   dropper    makes a table, archives it, drops it, again and again
 *   uploads    three of the tier's own
 *   restorers  bring the same messages back at once
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

/* ---- restores of one partition at once ---- */

#define RESTORERS 4u
#define LARGE_COUNT 64u
#define LARGE_LEN (32u * 1024) /* a restore takes two entries of the log, the last ones differ */

static atomic_uint waiting_for;

static void restore_from_the_start(void *arg)
{
    uint32_t who = (uint32_t)(uintptr_t)arg;
    vv_error err = {0};
    uint64_t restored = 0;
    atomic_fetch_sub(&waiting_for, 1);
    while (atomic_load(&waiting_for) > 0)
        ;
    VV_CHECK(vv_tier_restore(table, 0, 0, LARGE_COUNT - 4 * who, &restored, &err) == VV_OK);
}

static void stay_local_for(int64_t ns)
{
    vv_error err = {0};
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    to.archive = &(vv_archive_rule){.local_ns = ns, .batch_age_ns = 100 * HOUR_NS};
    assert_ok(vv_table_alter(db, "plant", "events", &to, VV_CHANGE_ARCHIVE, &err), err);
}

/* Blocks of partition 0, and records of what was brought back. */
static size_t count_local(void)
{
    vv_error err = {0};
    size_t count = 0;
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    vv_table part = db_part_at(table, 0);
    assert_ok(vv_cursor_open(&part, &opt, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
    while (vv_cursor_valid(c)) {
        uint8_t kind = vv_cursor_key(c).data[0];
        count += kind == STREAM_KEY_BLOCK || kind == ARCH_KEY_RESTORED;
        assert_ok(vv_cursor_next(c, &err), err);
    }
    vv_cursor_close(c);
    return count;
}

static void archive_large(void)
{
    vv_error err = {0};
    static uint8_t bytes[LARGE_LEN];
    vv_rng rng;
    vv_rng_init(&rng, 1);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)vv_rng_next(&rng);
    for (unsigned n = 0; n < LARGE_COUNT; n++) {
        vv_message m = {.value = vv_slice_of(bytes, sizeof bytes)};
        vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
        opt.partition = 0;
        opt.durability = VV_DURABLE_OS;
        bytes[n] ^= 1;
        assert_ok(vv_stream_append(table, &m, 1, &opt, NULL, &err), err);
    }
    assert_ok(vv_tier_run(db, table, &err), err);
    assert_int_equal(count_local(), 0);
}

static void restores_at_once_leave_nothing_behind(void **state)
{
    char dir[] = "/tmp/varve-tier-XXXXXX";
    vv_error err = {0};
    tier_world *tw = *state;
    assert_non_null(mkdtemp(dir));
    tw->tier = (vv_tier_options){.size = sizeof tw->tier,
                                 .objects = tw->objects,
                                 .rule = {.batch_bytes = 1u << 20, .codec = VV_TIER_PLAIN}};
    open_store(tw, dir);
    archive_large();
    for (int round = 0; round < 6; round++) {
        vv_thread *thread[RESTORERS];
        stay_local_for(1000 * HOUR_NS);
        atomic_store(&waiting_for, RESTORERS);
        for (uint32_t i = 0; i < RESTORERS; i++)
            assert_ok(db->env->threads->create("test", VV_THREAD_NORMAL, restore_from_the_start,
                                               (void *)(uintptr_t)i, &thread[i], &err),
                      err);
        for (uint32_t i = 0; i < RESTORERS; i++)
            db->env->threads->join(thread[i]);
        assert_int_equal(vv_check_failures(), 0);
        assert_true(count_local() > LARGE_COUNT);
        stay_local_for(-1);
        assert_ok(vv_tier_run(db, table, &err), err);
        assert_int_equal(count_local(), 0);
    }
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
        cmocka_unit_test_setup_teardown(restores_at_once_leave_nothing_behind, begin, tier_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
