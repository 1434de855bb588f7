/*
 * db_tier_test.c - the archiver on a good day: when a batch is cut, what it becomes, what leaves
 * the blocks, what is merged, kept and removed; what a table says of it.
 */
#include "db/db_tier_test_util.h"

#include <string.h>

/* ---- cutting ----------------------------------------------------------------------------------
 */

static void test_objects_are_as_large_as_was_asked(void **state)
{
    tier_world *tw = *state;
    vv_table *t = archived_table(tw->w.db, NULL);
    for (uint64_t n = 0; n < 2000; n += 100) {
        tier_append_some(t, n * test_partitions, 100ull * test_partitions);
        work_now(tw->w.db);
    }
    tier_census c = census_of(t);
    assert_true(c.stored >= 3);
    uint64_t want = tw->tier.rule.batch_bytes;
    if (c.smallest < want - want / 20 || c.largest > want + want / 20)
        fail_msg("objects of %llu to %llu bytes, %llu were asked for",
                 (unsigned long long)c.smallest, (unsigned long long)c.largest,
                 (unsigned long long)want);
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_true(expect_all(tw, t, p, 0) == 2000);
    expect_no_orphans(tw, t);
    vv_tier_stats s = tier_stats(tw->w.db);
    assert_true(s.has_store && s.healthy && s.stored == c.stored && s.intents == c.stored);
    assert_true(s.failed == 0 && s.stored_bytes > 0 && s.raw_bytes > s.stored_bytes / 2);
    assert_true(s.waiting_messages < 2000ull * test_partitions && s.oldest_waiting_ns > 0);
    vv_table_close(t);
}

static void test_a_batch_is_cut_by_age(void **state)
{
    tier_world *tw = *state;
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.batch_age_ns = 10 * MIN_NS});
    tier_append_some(t, 0, test_partitions);
    work_now(tw->w.db);
    pass_time(tw, 9 * MIN_NS);
    work_now(tw->w.db);
    assert_int_equal(census_of(t).stored, 0);
    pass_time(tw, 2 * MIN_NS);
    work_now(tw->w.db);
    assert_int_equal(census_of(t).stored, test_partitions);
    pass_time(tw, HOUR_NS);
    work_now(tw->w.db);
    assert_int_equal(census_of(t).stored, test_partitions); /* nothing new */
    assert_true(tier_stats(tw->w.db).waiting_messages == 0);
    assert_true(tier_stats(tw->w.db).waiting_bytes == 0);
    vv_table_close(t);
}

/* The store's rule holds for what a table's own leaves to it, and `off` is a field of it. */
static void test_a_table_leaves_to_the_store_what_it_does_not_say(void **state)
{
    tier_world *tw = *state;
    static const struct {
        vv_archive_rule own;
        bool off;
        vv_tier_form also;
        uint64_t messages;
        uint64_t local;
    } cases[] = {
        {{.codec = VV_TIER_PLAIN}, true, VV_TIER_JSONL, 5, 7},
        {{.said = VV_ARCHIVE_SAYS_OFF}, false, VV_TIER_JSONL, 5, 7},
        {{.off = true, .said = VV_ARCHIVE_SAYS_ALSO}, true, VV_TIER_ALONE, 5, 7},
        {{.said = VV_ARCHIVE_SAYS_MESSAGES | VV_ARCHIVE_SAYS_LOCAL_BYTES},
         true,
         VV_TIER_JSONL,
         0,
         0},
        {{.batch_messages = 10, .local_bytes = 3}, true, VV_TIER_JSONL, 10, 3},
    };
    sim_close(&tw->w);
    tw->tier.rule = (vv_archive_rule){
        .off = true, .also = VV_TIER_JSONL, .batch_messages = 5, .local_bytes = 7};
    sim_start(&tw->w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        vv_archive_rule is;
        vv_table *t = archived_table(tw->w.db, &cases[i].own);
        db_tier_rule(tw->w.db, t->cat, &is);
        if (is.off != cases[i].off || is.also != cases[i].also ||
            is.batch_messages != cases[i].messages || is.local_bytes != cases[i].local)
            fail_msg("rule %zu", i);
        tier_append_some(t, 0, 20ull * test_partitions);
        pass_time(tw, HOUR_NS);
        work_now(tw->w.db);
        assert_int_equal(census_of(t).stored > 0, !cases[i].off);
        vv_table_close(t);
        assert_ok(vv_table_drop(tw->w.db, "plant", "events", &err), err);
    }
    vv_table_options opt = stream_options();
    vv_table *t = NULL;
    opt.archive = &(vv_archive_rule){.said = 16};
    assert_status(VV_INVALID, vv_table_create(tw->w.db, "plant", "events", &opt, &t, NULL));
}

/* Whatever the rules say: but what is called is done. */
static void test_a_stopped_archiver_does_what_it_is_called_for(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    sim_close(&tw->w);
    tw->tier.stopped = true;
    sim_start(&tw->w);
    vv_table *t = archived_table(
        tw->w.db, &(vv_archive_rule){.batch_messages = 10, .said = VV_ARCHIVE_SAYS_OFF});
    tier_append_some(t, 0, 25ull * test_partitions);
    pass_time(tw, HOUR_NS);
    work_now(tw->w.db);
    assert_int_equal(objs_bucket_objects(tw->bucket), 0);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_true(census_of(t).next[0] == 25);
    vv_table_close(t);
}

/* An object that a merge cannot read is no upload that failed. */
static void test_readiness_is_of_uploads(void **state)
{
    tier_world *tw = *state;
    sim_close(&tw->w);
    tw->tier.failures_max = 1;
    sim_start(&tw->w);
    vv_table *t =
        archived_table(tw->w.db, &(vv_archive_rule){.batch_messages = 10, .local_ns = -1});
    for (uint64_t n = 0; n < 7; n++) { /* one less than are merged */
        tier_append_some(t, n * 10 * test_partitions, 10ull * test_partitions);
        work_now(tw->w.db);
    }
    tier_census c = census_of(t);
    assert_int_equal(c.stored, 7 * test_partitions);
    assert_int_equal(objs_bucket_flip(tw->bucket, c.name, 8000), VV_OK);
    tier_append_some(t, 70ull * test_partitions, 10ull * test_partitions);
    for (int i = 0; i < 20; i++) {
        work_now(tw->w.db);
        pass_time(tw, 2 * MIN_NS);
    }
    vv_tier_stats s = tier_stats(tw->w.db);
    assert_true(s.work_failed > 0 && s.last_work_error_ns > 0);
    assert_non_null(strstr(s.last_work_error, c.name));
    assert_true(s.healthy && s.failed == 0 && s.last_error[0] == '\0');
    vv_table_close(t);
}

static void test_a_batch_is_cut_by_count(void **state)
{
    tier_world *tw = *state;
    vv_table *t =
        archived_table(tw->w.db, &(vv_archive_rule){.batch_messages = 10, .local_ns = -1});
    tier_append_some(t, 0, 25ull * test_partitions);
    work_now(tw->w.db);
    tier_census c = census_of(t);
    assert_int_equal(c.stored, 2 * test_partitions);
    assert_true(c.next[0] == 20);
    assert_true(expect_all(tw, t, 0, 0) == 25); /* what waits is in its blocks */
    vv_table_close(t);
}

static void test_a_batch_is_cut_by_hand(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, NULL);
    tier_append_some(t, 0, 7ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_int_equal(census_of(t).stored, test_partitions);
    assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
    assert_int_equal(census_of(t).stored, test_partitions);
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_true(expect_all(tw, t, p, 0) == 7);
    vv_table_close(t);
}

/* What compresses ten to one is looked at once in vain, and from then on at the right size. */
static void test_the_ratio_is_learnt(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    uint8_t same[4000];
    memset(same, 'x', sizeof same);
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.codec = VV_TIER_ZSTD});
    vv_message m = {.value = {same, sizeof same}};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    for (int i = 0; i < 100; i++) {
        assert_ok(vv_stream_append(t, &m, 1, &opt, NULL, &err), err);
        work_now(tw->w.db);
    }
    assert_int_equal(census_of(t).stored, 0);
    assert_true(tier_stats(tw->w.db).intents == 0);
    vv_table_close(t);
}

static void test_off_is_off(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.off = true});
    tier_append_some(t, 0, 500ull * test_partitions);
    pass_time(tw, HOUR_NS);
    work_now(tw->w.db);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_int_equal(census_of(t).stored, 0);
    assert_int_equal(objs_bucket_requests(tw->bucket), 0);
    vv_table_close(t);
}

static void test_without_a_store_nothing_is_archived(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    sim_close(&tw->w);
    tw->w.opt.tier = NULL;
    sim_start(&tw->w);
    vv_table *t = archived_table(tw->w.db, NULL);
    tier_append_some(t, 0, 10);
    work_now(tw->w.db);
    assert_status(VV_UNSUPPORTED, vv_tier_run(tw->w.db, t, &err));
    assert_non_null(strstr(err.msg, "object store"));
    assert_false(tier_stats(tw->w.db).has_store);
    assert_int_equal(census_of(t).stored, 0);
    vv_table_close(t);
}

/* ---- the rule of a table ----------------------------------------------------------------------
 */

static void test_the_rule_is_kept_in_the_catalog(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table_info info;
    const vv_archive_rule rule = {.codec = VV_TIER_LZ4,
                                  .also = VV_TIER_JSONL,
                                  .batch_bytes = 1u << 20,
                                  .batch_messages = 77,
                                  .batch_age_ns = 5,
                                  .local_ns = -1,
                                  .local_bytes = UINT64_MAX,
                                  .key = "x/{first}-{intent}"};
    vv_table_close(archived_table(tw->w.db, &rule));
    tier_check_and_reopen(tw);
    vv_table *t = NULL;
    assert_ok(vv_table_open(tw->w.db, "plant", "events", &t, &err), err);
    assert_ok(vv_table_identify(t, &info, &err), err);
    assert_non_null(info.archive);
    assert_true(info.archive->codec == rule.codec && info.archive->also == rule.also &&
                info.archive->batch_bytes == rule.batch_bytes &&
                info.archive->batch_messages == 77 && info.archive->batch_age_ns == 5 &&
                info.archive->local_ns == -1 && info.archive->local_bytes == UINT64_MAX &&
                !info.archive->off);
    assert_string_equal(info.archive->key, rule.key);
    vv_table_close(t);
}

static void test_rules_that_cannot_be_are_refused(void **state)
{
    tier_world *tw = *state;
    static const vv_archive_rule bad[] = {{.codec = (vv_tier_codec)9},
                                          {.also = (vv_tier_form)9},
                                          {.batch_age_ns = -1},
                                          {.local_ns = -2},
                                          {.key = ""},
                                          {.key = "no-place-of-its-own"},
                                          {.key = "../{first}-{intent}"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        vv_error err = {0};
        vv_table_options opt = stream_options();
        opt.archive = &bad[i];
        if (vv_table_create(tw->w.db, "plant", "bad", &opt, NULL, &err) != VV_INVALID)
            fail_msg("rule %zu was taken", i);
    }
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.archive = &(vv_archive_rule){.off = true};
    assert_status(VV_INVALID, vv_table_create(tw->w.db, "plant", "kv", &opt, NULL, &err));
}

/* ---- local copies -----------------------------------------------------------------------------
 */

static void test_blocks_leave_at_once(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    tier_append_some(t, 0, 50ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    db_stream_reader r;
    assert_ok(db_stream_reader_open(&r, t, 0, NULL, NULL, &err), err);
    assert_true(r.first == 0 && r.local == 50 && r.next == 50);
    db_stream_reader_close(&r);
    tier_append_some(t, 50ull * test_partitions, 10ull * test_partitions); /* the sums go on */
    assert_true(expect_all(tw, t, 0, 0) == 60);
    vv_table_close(t);
    tier_check_and_reopen(tw);
    t = archived_table(tw->w.db, NULL);
    assert_true(expect_all(tw, t, 0, 0) == 60);
    tier_append_some(t, 60ull * test_partitions, 1);
    assert_true(expect_all(tw, t, 0, 0) == 61);
    vv_table_close(t);
}

static void test_blocks_leave_after_their_time(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = HOUR_NS});
    tier_append_some(t, 0, 20ull * test_partitions);
    pass_time(tw, 30 * MIN_NS);
    tier_append_some(t, 20ull * test_partitions, 20ull * test_partitions);
    work_now(tw->w.db);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    db_stream_reader r;
    assert_ok(db_stream_reader_open(&r, t, 0, NULL, NULL, &err), err);
    assert_true(r.local == 0);
    db_stream_reader_close(&r);
    pass_time(tw, 45 * MIN_NS);
    work_now(tw->w.db);
    assert_ok(db_stream_reader_open(&r, t, 0, NULL, NULL, &err), err);
    assert_true(r.first == 0 && r.local == 20 && r.next == 40);
    db_stream_reader_close(&r);
    assert_true(expect_all(tw, t, 0, 0) == 40);
    vv_table_close(t);
}

static void test_blocks_beyond_local_bytes_leave(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(
        tw->w.db, &(vv_archive_rule){.local_ns = 1000 * HOUR_NS, .local_bytes = 4000});
    tier_append_some(t, 0, 100ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    db_stream_reader r;
    assert_ok(db_stream_reader_open(&r, t, 0, NULL, NULL, &err), err);
    uint64_t local_bytes = r.sums.bytes_before - r.local_head.bytes_before;
    assert_true(r.first == 0 && r.local > 50 && r.local < 100);
    assert_true(local_bytes <= 4000 && local_bytes > 3000);
    db_stream_reader_close(&r);
    assert_true(expect_all(tw, t, 0, 0) == 100);
    vv_table_close(t);
}

/* ---- merging ----------------------------------------------------------------------------------
 */

static void test_small_objects_become_one(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t =
        archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1, .batch_age_ns = MIN_NS});
    for (uint64_t n = 0; n < 40; n++) {
        tier_append_some(t, n * 5 * test_partitions, 5ull * test_partitions);
        pass_time(tw, 2 * MIN_NS);
        work_now(tw->w.db);
    }
    tier_census c = census_of(t);
    assert_true(c.stored < 20ull * test_partitions && c.dying > 0);
    assert_true(tier_stats(tw->w.db).merged > 20);
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_true(expect_all(tw, t, p, 0) == 200);
    pass_time(tw, 2 * HOUR_NS);
    assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
    c = census_of(t);
    assert_int_equal(c.dying, 0);
    expect_no_orphans(tw, t);
    assert_true(expect_all(tw, t, 0, 0) == 200);
    vv_table_close(t);
    tier_check_and_reopen(tw);
}

/* ---- retention, trims, drops ------------------------------------------------------------------
 */

static void test_retention_covers_what_is_archived(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    uint64_t removed = 0;
    vv_table_options opt = stream_options();
    opt.retention_ns = 10 * HOUR_NS;
    opt.archive = &(vv_archive_rule){.local_ns = -1, .batch_messages = 10, .batch_bytes = 1u << 20};
    vv_table *t = stream_table_with(tw->w.db, &opt);
    for (uint64_t n = 0; n < 6; n++) {
        tier_append_some(t, n * 10 * test_partitions, 10ull * test_partitions);
        work_now(tw->w.db);
        pass_time(tw, 3 * HOUR_NS);
    }
    assert_ok(vv_stream_retain(t, &removed, &err), err);
    assert_true(expect_all(tw, t, 0, 30) == 60); /* of 15 hours ago, 12, 9 .. */
    pass_time(tw, MIN_NS);
    assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
    tier_census c = census_of(t);
    assert_int_equal(c.stored, 3 * test_partitions);
    assert_true(c.dying >=
                test_partitions); /* those of 9 hours ago; the background let others go */
    expect_no_orphans(tw, t);     /* they are there until the grace period is over */
    pass_time(tw, HOUR_NS);
    assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
    assert_int_equal(objs_bucket_objects(tw->bucket), 3 * test_partitions);
    assert_true(tier_stats(tw->w.db).removed == 3ull * test_partitions);
    assert_true(expect_all(tw, t, 0, 30) == 60);
    vv_table_close(t);
    tier_check_and_reopen(tw);
}

static void test_retention_by_bytes_covers_what_is_archived(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    uint64_t removed = 0;
    vv_table_options opt = stream_options();
    opt.retention_bytes = 8000;
    opt.archive = &(vv_archive_rule){.local_ns = -1, .batch_messages = 20, .batch_bytes = 1u << 20};
    vv_table *t = stream_table_with(tw->w.db, &opt);
    tier_append_some(t, 0, 100ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_ok(vv_stream_retain(t, &removed, &err), err);
    assert_true(removed > 0);
    db_stream_reader r;
    assert_ok(db_stream_reader_open(&r, t, 0, NULL, NULL, &err), err);
    uint64_t first = r.first;
    assert_true(first % 20 == 0 && first > 0 && first < 100);
    assert_true(r.bytes >= 8000 && r.bytes < 8000 + 20 * 300);
    db_stream_reader_close(&r);
    (void)expect_all(tw, t, 0, first);
    vv_table_close(t);
}

static void test_a_trim_in_the_middle_of_an_object(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    tier_append_some(t, 0, 50ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    tier_append_some(t, 50ull * test_partitions, 10ull * test_partitions);
    uint64_t removed = 0;
    assert_ok(vv_stream_trim(t, 0, 7, &removed, &err), err);
    assert_true(removed == 7);
    assert_true(expect_all(tw, t, 0, 7) == 60);
    db_stream_reader r;
    assert_ok(db_stream_reader_open(&r, t, 0, NULL, NULL, &err), err);
    assert_true(r.first == 7 && r.local == 50 && r.next == 60);
    db_stream_reader_close(&r);
    assert_ok(vv_stream_trim(t, 0, 55, &removed, &err), err); /* past all that is archived */
    assert_ok(db_stream_reader_open(&r, t, 0, NULL, NULL, &err), err);
    assert_true(r.first == 55 && r.local == 55 && r.next == 60 && !r.has_local);
    db_stream_reader_close(&r);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_true(expect_all(tw, t, 0, 55) == 60);
    assert_ok(vv_stream_trim(t, 0, UINT64_MAX, &removed, &err), err);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    pass_time(tw, 2 * HOUR_NS);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_int_equal(objs_bucket_objects(tw->bucket), 2 * (test_partitions - 1));
    vv_table_close(t);
    tier_check_and_reopen(tw);
}

static void test_a_snapshot_keeps_what_it_reads(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_snapshot *snap = NULL;
    uint64_t removed = 0;
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    size_t objects = objs_bucket_objects(tw->bucket);
    assert_ok(vv_snapshot_create(tw->w.db, &snap, &err), err);
    assert_ok(vv_stream_trim(t, 0, UINT64_MAX, &removed, &err), err);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    pass_time(tw, 24 * HOUR_NS);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_int_equal(objs_bucket_objects(tw->bucket), objects);
    db_stream_reader r;
    arch_entry e;
    assert_ok(db_stream_reader_open(&r, t, 0, snap, NULL, &err), err);
    assert_ok(db_tier_entry_of(&r, 3, &e, &err), err);
    read_object(tw, &e, 0, test_partitions);
    db_stream_reader_close(&r);
    vv_snapshot_release(snap);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_int_equal(objs_bucket_objects(tw->bucket), objects - 1);
    vv_table_close(t);
}

/* A copy, restored from a backup, has the records of objects that its original made. */
static void test_a_copy_leaves_the_objects_of_its_original(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    uint64_t removed = 0;
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    tw->w.db->identity.uuid[3] ^= 1;
    tier_append_some(t, 10ull * test_partitions, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    for (uint32_t p = 0; p < test_partitions; p++)
        assert_ok(vv_stream_trim(t, p, UINT64_MAX, &removed, &err), err);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    pass_time(tw, 2 * HOUR_NS);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    assert_int_equal(census_of(t).dying, 0);
    assert_int_equal(objs_bucket_objects(tw->bucket), test_partitions);
    tw->w.db->identity.uuid[3] ^= 1;
    vv_table_close(t);
}

static void test_a_drop_removes_the_objects(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    vv_table *t = archived_table(tw->w.db, &(vv_archive_rule){.local_ns = -1});
    tier_append_some(t, 0, 10ull * test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    vv_table_close(t);
    assert_ok(vv_table_drop(tw->w.db, "plant", "events", &err), err);
    assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
    assert_int_equal(objs_bucket_objects(tw->bucket), test_partitions);
    tier_check_and_reopen(tw);
    t = archived_table(tw->w.db, NULL); /* a new one of that name has nothing to do with it */
    tier_append_some(t, 0, test_partitions);
    assert_ok(vv_tier_run(tw->w.db, t, &err), err);
    pass_time(tw, 2 * HOUR_NS);
    work_now(tw->w.db);
    assert_ok(vv_tier_run(tw->w.db, NULL, &err), err);
    assert_int_equal(objs_bucket_objects(tw->bucket), test_partitions);
    assert_true(expect_all(tw, t, 0, 0) == 1);
    vv_table_close(t);
}

/* ---- forms beside -----------------------------------------------------------------------------
 */

static void test_another_form_lies_beside(void **state)
{
    tier_world *tw = *state;
    vv_error err = {0};
    uint64_t removed = 0;
    sim_close(&tw->w);
    tw->w.opt.memory_limit = 64u << 20;
    sim_start(&tw->w);
    for (vv_tier_form form = VV_TIER_JSONL; form <= VV_TIER_PARQUET; form++) {
        char name[16];
        vv_table *t = NULL;
        vv_table_options opt = stream_options();
        opt.archive = &(vv_archive_rule){.also = form};
        (void)snprintf(name, sizeof name, "form-%d", (int)form);
        assert_ok(vv_table_create(tw->w.db, "plant", name, &opt, &t, &err), err);
        tier_append_some(t, 0, 10ull * test_partitions);
        assert_ok(vv_tier_run(tw->w.db, t, &err), err);
        assert_int_equal(objs_bucket_objects(tw->bucket), 2 * test_partitions);
        for (uint32_t p = 0; p < test_partitions; p++)
            assert_ok(vv_stream_trim(t, p, UINT64_MAX, &removed, &err), err);
        assert_ok(vv_tier_run(tw->w.db, t, &err), err);
        pass_time(tw, 2 * HOUR_NS);
        assert_ok(vv_tier_run(tw->w.db, t, &err), err);
        assert_int_equal(objs_bucket_objects(tw->bucket), 0);
        vv_table_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TA(test_objects_are_as_large_as_was_asked),
        TA(test_a_batch_is_cut_by_age),
        TA(test_a_table_leaves_to_the_store_what_it_does_not_say),
        TA(test_a_stopped_archiver_does_what_it_is_called_for),
        TA(test_readiness_is_of_uploads),
        TA(test_a_batch_is_cut_by_count),
        TA(test_a_batch_is_cut_by_hand),
        TA(test_the_ratio_is_learnt),
        TA(test_off_is_off),
        TA(test_without_a_store_nothing_is_archived),
        TA(test_the_rule_is_kept_in_the_catalog),
        TA(test_rules_that_cannot_be_are_refused),
        TA(test_blocks_leave_at_once),
        TA(test_blocks_leave_after_their_time),
        TA(test_blocks_beyond_local_bytes_leave),
        TA(test_small_objects_become_one),
        TA(test_retention_covers_what_is_archived),
        TA(test_retention_by_bytes_covers_what_is_archived),
        TA(test_a_trim_in_the_middle_of_an_object),
        TA(test_a_snapshot_keeps_what_it_reads),
        TA(test_a_copy_leaves_the_objects_of_its_original),
        TA(test_a_drop_removes_the_objects),
        TA(test_another_form_lies_beside),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
