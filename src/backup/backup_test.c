/*
 * Backups and checkpoints of lsm and btree on simulated disks: what is restored is what was there.
 */
#include "backup/backup_test_util.h"

#include "db/db_int.h"
#include "object/object.h"
#include "varve/bulk.h"
#include "varve/tier.h"

static const engine_ops *const engines[] = {&lsm_ops, &btree_ops};
static void a_checkpoint_is_a_store(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        vv_error err = {0};
        shop s = {0};
        vio_sim_options here = {.seed = 1, .root = "store"};
        shop_open(&s, engines[e], &here);
        fill(s.one, 0, 700);
        fill(s.two, 3, 300);
        work_off(s.db);
        fill(s.one, 900, 40);
        uint64_t want = content_of_both(&s);
        assert_ok(db_checkpoint_at(s.db, "/copy", &err), err);
        assert_status(VV_CONFLICT, db_checkpoint_at(s.db, "/copy", &err));
        /* The original goes on, and lets go what the copy still has. */
        fill(s.one, 2000, 900);
        fill(s.two, 2000, 900);
        assert_ok(vv_checkpoint(s.db, &err), err);
        work_off(s.db);
        uint64_t later = content_of_both(&s);
        assert_true(later != want);
        shop_close(&s);
        place_on(&s.at, &(vio_sim_options){.seed = 1, .root = "copy"});
        assert_true(content_at(&s.at, engines[e]) == want);
        place_off(&s.at);
        shop_open(&s, engines[e], &here);
        assert_true(content_of_both(&s) == later);
        shop_close(&s);
        place_end(&s.at);
    }
}

/* What of a store lies in an object store is in its backups, which need none. */
static void a_backup_has_what_is_remote(void **state)
{
    (void)state;
    vv_error err = {0};
    shop s = {0};
    place repo = {0};
    backup_info info[2];
    vv_object_options options = VV_OBJECT_OPTIONS_INIT;
    vv_tier_options tier = {.size = sizeof tier, .run_age_ns = 1};
    objs_bucket *bucket = objs_bucket_create();
    s.at.disk = vio_sim_disk_create();
    vv_env env = {.clock = vio_sim_clock(s.at.disk), .seed = 1};
    assert_ok(objs_open_bucket(&env, bucket, &options, &tier.objects, &err), err);
    s.tier = &tier;
    shop_open(&s, &lsm_ops, &calm);
    for (unsigned i = 0; i < 2; i++) {
        fill(s.one, i * 1000, 900);
        fill(s.two, i * 500, 200);
        assert_ok(vv_checkpoint(s.db, &err), err);
        assert_ok(vv_compact_begin(s.one, (vv_slice){0}, (vv_slice){0}, &err), err);
        work_off(s.db);
        vio_sim_advance(s.at.disk, VV_NS_PER_S);
        assert_ok(db_tier_runs(s.db, &err), err);
        assert_true(objs_bucket_objects(bucket) > 0);
        fill(s.two, 0, 20);
        backup(&repo, s.db, &(backup_create_options){0}, &info[i]);
    }
    uint64_t want = content_of_both(&s);
    shop_close(&s);
    vv_object_store_close(tier.objects);
    objs_bucket_destroy(bucket);
    assert_true(restored(&repo, &(backup_restore_options){0}, &lsm_ops) == want);
    place_end(&repo);
    place_end(&s.at);
}

/* ---- what lies in objects of streams is in no backup: the backup leads to it ---- */

#define DAY_NS (INT64_C(24) * 3600 * VV_NS_PER_S)
#define HOUR_NS (INT64_C(3600) * VV_NS_PER_S)

typedef struct tiered {
    shop s;
    place repo;
    objs_bucket *bucket;
    vv_tier_options tier;
    vv_table *events;
    uint64_t count; /* messages */
} tiered;

static vv_table *open_events(vv_db *db)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_STREAM;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(db, "t", "events", &opt, &t, &err), err);
    return t;
}

static void archive_begin(tiered *a, const engine_ops *ops)
{
    vv_error err = {0};
    vv_object_options options = VV_OBJECT_OPTIONS_INIT;
    *a = (tiered){.bucket = objs_bucket_create()};
    a->tier = (vv_tier_options){.size = sizeof a->tier,
                                .rule = {.local_ns = -1, .batch_bytes = 64u << 10},
                                .grace_ns = HOUR_NS,
                                .backup_keep_ns = 10 * DAY_NS};
    a->s.at.disk = vio_sim_disk_create();
    vv_env env = {.clock = vio_sim_clock(a->s.at.disk), .seed = 1};
    assert_ok(objs_open_bucket(&env, a->bucket, &options, &a->tier.objects, &err), err);
    a->s.tier = &a->tier;
    shop_open(&a->s, ops, &calm);
    a->events = open_events(a->s.db);
}

static void archive_reopen(tiered *a)
{
    vv_table_close(a->events);
    shop_close(&a->s);
    shop_open(&a->s, a->s.ops, &calm);
    a->events = open_events(a->s.db);
}

static void archive_end(tiered *a)
{
    vv_table_close(a->events);
    shop_close(&a->s);
    vv_object_store_close(a->tier.objects);
    objs_bucket_destroy(a->bucket);
    place_end(&a->repo);
    place_end(&a->s.at);
}

/* Batches of five; eight of them are merged. */
static void add_batches(tiered *a, unsigned batches)
{
    vv_error err = {0};
    for (unsigned i = 0; i < batches * 5; i++) {
        char text[32];
        int n = snprintf(text, sizeof text, "message %llu", (unsigned long long)a->count++);
        vv_message m = {.value = vv_slice_of(text, (size_t)n)};
        assert_ok(vv_stream_append(a->events, &m, 1, NULL, NULL, &err), err);
        if (i % 5 == 4)
            assert_ok(vv_tier_run(a->s.db, a->events, &err), err);
    }
}

/* The grace period passes, and what may go goes. */
static size_t let_go(tiered *a, int64_t ns)
{
    vv_error err = {0};
    vio_sim_advance(a->s.at.disk, ns);
    assert_ok(vv_tier_run(a->s.db, NULL, &err), err);
    return objs_bucket_objects(a->bucket);
}

/* The messages of a backup, read where they lie: so many. */
static uint64_t read_restored(tiered *a, uint64_t id, vv_status *st, vv_error *err)
{
    backup_repo *repo = NULL;
    shop s = {.tier = &a->tier};
    vv_stream_cursor *c = NULL;
    vv_message m;
    uint64_t count = 0;
    make_repo(&a->repo, &repo, false);
    place_on(&s.at, &calm);
    assert_ok(backup_restore(repo, &(backup_restore_options){.id = id}, &s.at.env, NULL, err),
              *err);
    backup_repo_close(repo);
    place_off(&a->repo);
    assert_ok(shop_try(&s, a->s.ops, false, err), *err);
    vv_table *t = open_events(s.db);
    assert_ok(vv_stream_cursor_open(t, NULL, &c, err), *err);
    while ((*st = vv_stream_cursor_next(c, &m, err)) == VV_OK) {
        char text[32];
        int n = snprintf(text, sizeof text, "message %llu", (unsigned long long)count++);
        assert_true(vv_slice_eq(m.value, vv_slice_of(text, (size_t)n)));
    }
    vv_stream_cursor_close(c);
    if (*st == VV_NOT_FOUND)
        assert_ok(vv_tier_verify(t, true, no_finding, NULL, err), *err);
    vv_table_close(t);
    assert_ok(vv_db_close(s.db, err), *err);
    place_end(&s.at);
    return count;
}

static void expect_restored(tiered *a, uint64_t id, uint64_t count)
{
    vv_error err = {0};
    vv_status st = VV_OK;
    uint64_t got = read_restored(a, id, &st, &err);
    if (st != VV_NOT_FOUND || got != count)
        fail_msg("backup %d: %d of %d messages, then %s: %s", (int)id, (int)got, (int)count,
                 vv_status_name(st), err.msg);
}

static void drop_backup(tiered *a, uint64_t id)
{
    vv_error err = {0};
    backup_repo *repo = NULL;
    make_repo(&a->repo, &repo, true);
    assert_ok(backup_drop(repo, id, &err), err);
    backup_repo_close(repo);
    place_off(&a->repo);
}

/* Merged, trimmed and dropped behind a backup's back, and long after the grace period: what it
 * leads to is there until it is dropped and another one was made, or no more are made. */
static void what_a_backup_leads_to_stays(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        tiered a;
        backup_info info;
        uint64_t removed = 0;
        vv_error err = {0};
        archive_begin(&a, engines[e]);
        add_batches(&a, 6);
        backup(&a.repo, a.s.db, &(backup_create_options){0}, &info);
        add_batches(&a, 4); /* they are merged */
        assert_true(let_go(&a, 3 * HOUR_NS) >= 7);
        expect_restored(&a, 1, 30);
        backup(&a.repo, a.s.db, &(backup_create_options){0}, &info);
        assert_ok(vv_stream_trim(a.events, 0, 48, &removed, &err), err);
        archive_reopen(&a);
        (void)let_go(&a, 3 * HOUR_NS);
        expect_restored(&a, 1, 30);
        expect_restored(&a, 2, 50);
        drop_backup(&a, 1);
        size_t before = let_go(&a, 3 * HOUR_NS);
        backup(&a.repo, a.s.db, &(backup_create_options){0}, &info);
        assert_true(let_go(&a, HOUR_NS) < before);
        expect_restored(&a, 2, 50);
        (void)let_go(&a, 9 * DAY_NS);
        expect_restored(&a, 2, 50);
        assert_true(let_go(&a, 2 * DAY_NS) <= 3); /* of what is there now alone */
        vv_status st = VV_OK;
        (void)read_restored(&a, 2, &st, &err);
        assert_status(VV_CORRUPT, st);
        assert_non_null(strstr(err.msg, "t/events/")); /* which one is missing */
        archive_end(&a);
    }
}

static void a_backup_is_restored_as_it_was(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        shop s = {0};
        place repo = {0};
        backup_info info[3];
        uint64_t want[3];
        shop_open(&s, engines[e], &calm);
        for (unsigned i = 0; i < 3; i++) {
            fill(s.one, i * 1000, 400);
            fill(s.two, i * 500, 200);
            work_off(s.db);
            fill(s.two, i * 500, 20);
            want[i] = content_of_both(&s);
            backup(&repo, s.db, &(backup_create_options){0}, &info[i]);
            assert_true(info[i].id == i + 1);
            assert_true(info[i].new_bytes <= info[i].bytes);
        }
        fill(s.one, 9000, 500);
        for (uint64_t i = 1; i <= 3; i++)
            assert_true(restored(&repo, &(backup_restore_options){.id = i}, engines[e]) ==
                        want[i - 1]);
        assert_true(restored(&repo, &(backup_restore_options){0}, engines[e]) == want[2]);
        shop_close(&s);
        place_end(&s.at);
        place_end(&repo);
    }
}

/* Between any two pieces of the copy the store is written to, flushed and compacted. */
typedef struct busy {
    backup_progress base;
    shop *s;
    unsigned steps;
} busy;

static void be_busy(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    busy *b = ctx;
    vv_error err = {0};
    (void)what;
    assert_true(done <= total + (1u << 20));
    fill(b->s->one, ++b->steps * 777, 150);
    fill(b->s->two, b->steps * 555, 50);
    assert_ok(vv_checkpoint(b->s->db, &err), err);
    assert_ok(vv_compact(b->s->one, vv_slice_str(""), vv_slice_str(""), &err), err);
    work_off(b->s->db);
}

static void a_backup_beside_writers_is_of_one_moment(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        shop s = {0};
        place repo = {0};
        shop_open(&s, engines[e], &calm);
        for (unsigned i = 0; i < 3; i++) {
            busy b = {.base = {be_busy, &b}, .s = &s};
            fill(s.one, i * 100, 400);
            work_off(s.db);
            fill(s.two, i * 100, 30);
            uint64_t want = content_of_both(&s);
            backup(&repo, s.db, &(backup_create_options){.progress = &b.base}, NULL);
            assert_true(b.steps > 2 && content_of_both(&s) != want);
            assert_true(restored(&repo, &(backup_restore_options){0}, engines[e]) == want);
        }
        shop_close(&s);
        place_end(&s.at);
        place_end(&repo);
    }
}

static void what_did_not_change_is_not_stored_again(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        shop s = {0};
        place repo = {0};
        backup_info first;
        backup_info second;
        shop_open(&s, engines[e], &calm);
        fill(s.one, 0, 900);
        vv_error err = {0};
        assert_ok(vv_checkpoint(s.db, &err), err);
        backup(&repo, s.db, &(backup_create_options){0}, &first);
        assert_true(first.new_bytes <= first.bytes && first.new_bytes > first.bytes / 2);
        backup(&repo, s.db, &(backup_create_options){0}, &second);
        assert_true(second.bytes == first.bytes);
        assert_true(second.new_bytes < first.bytes / 4);
        shop_close(&s);
        place_end(&s.at);
        place_end(&repo);
    }
}

/* ---- to a version and a time ----------------------------------------------------------------- */

static void every_version_of_the_archive_can_be_restored(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        shop s = {0};
        place repo = {0};
        backup_create_options archive = {.archive_log = true};
        enum { STEPS = 12 };
        uint64_t want[STEPS];
        int64_t version[STEPS];
        int64_t time_ns[STEPS];
        vv_table_info info;
        vv_error err = {0};
        shop_open(&s, engines[e], &calm);
        assert_ok(vv_table_describe(s.two, &info, &err), err);
        fill(s.one, 0, 300);
        for (unsigned i = 0; i < STEPS; i++) {
            fill(s.one, i * 100, 20);
            fill(s.two, i * 100, 10);
            want[i] = content_of_both(&s);
            version[i] = vv_table_version(s.two);
            time_ns[i] = vv_clock_wall(s.at.env.clock);
            vio_sim_advance(s.at.disk, VV_NS_PER_S);
            if (i % 4 == 1)
                backup(&repo, s.db, &archive, NULL);
            if (i % 4 == 3)
                backup(&repo, s.db, &(backup_create_options){.log_only = true}, NULL);
        }
        backup(&repo, s.db, &archive, NULL);
        for (unsigned i = 1; i < STEPS; i++) {
            backup_restore_options opt = {
                .goal = BACKUP_AT_VERSION, .shard = info.shard, .version = version[i]};
            if (restored(&repo, &opt, engines[e]) != want[i])
                fail_msg("%s: step %u by version", engines[e]->name, i);
            opt = (backup_restore_options){.goal = BACKUP_AT_TIME, .time_ns = time_ns[i]};
            if (restored(&repo, &opt, engines[e]) != want[i])
                fail_msg("%s: step %u by time", engines[e]->name, i);
        }
        shop_close(&s);
        place_end(&s.at);
        place_end(&repo);
    }
}

static void what_the_log_does_not_reach_is_refused_by_name(void **state)
{
    (void)state;
    shop s = {0};
    place p = {0};
    place to = {0};
    vv_error err = {0};
    backup_repo *repo = NULL;
    backup_info info;
    shop_open(&s, &lsm_ops, &calm);
    fill(s.one, 0, 100);
    backup(&p, s.db, &(backup_create_options){0}, &info);
    uint32_t shard = info.shard[0].version > info.shard[1].version ? 0 : 1;
    fill(s.one, 0, 100);
    assert_ok(vv_checkpoint(s.db, &err), err);
    backup(&p, s.db, &(backup_create_options){0}, NULL); /* its log begins behind the files */
    make_repo(&p, &repo, false);
    place_on(&to, &calm);
    backup_restore_options opt = {.goal = BACKUP_AT_VERSION, .shard = shard, .version = 1};
    assert_status(VV_NOT_FOUND, backup_restore(repo, &opt, &to.env, NULL, &err));
    assert_non_null(strstr(err.msg, "before the oldest backup, 1"));
    opt.version = info.shard[shard].version + 50;
    assert_status(VV_NOT_FOUND, backup_restore(repo, &opt, &to.env, NULL, &err));
    assert_non_null(strstr(err.msg, "the archived log reaches version"));
    opt = (backup_restore_options){.goal = BACKUP_AT_TIME, .time_ns = 1};
    assert_status(VV_NOT_FOUND, backup_restore(repo, &opt, &to.env, NULL, &err));
    opt.time_ns = INT64_MAX;
    assert_status(VV_NOT_FOUND, backup_restore(repo, &opt, &to.env, NULL, &err));
    opt = (backup_restore_options){.id = 17};
    assert_status(VV_NOT_FOUND, backup_restore(repo, &opt, &to.env, NULL, &err));
    assert_non_null(strstr(err.msg, "no backup 17"));
    backup_repo_close(repo);
    shop_close(&s);
    place_end(&s.at);
    place_end(&p);
    place_end(&to);
}

/* What a bulk load brought is in files alone: a backup has it, the archived log has not. */
static void a_bulk_load_is_in_backups_and_not_in_the_log(void **state)
{
    (void)state;
    shop s = {0};
    place p = {0};
    place to = {0};
    vv_error err = {0};
    backup_repo *repo = NULL;
    backup_info info;
    vv_bulk *load = NULL;
    backup_create_options archive = {.archive_log = true};
    shop_open(&s, &lsm_ops, &calm);
    fill(s.one, 0, 50);
    uint64_t first = content_of_both(&s);
    backup(&p, s.db, &archive, &info);
    vv_table_info about;
    assert_ok(vv_table_describe(s.one, &about, &err), err);
    int64_t before = vv_table_version(s.one);
    assert_ok(vv_bulk_begin(s.one, &load, &err), err);
    for (unsigned i = 0; i < 200; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "load-%04u", i);
        assert_ok(vv_bulk_put(load, vv_slice_str(key), vv_slice_str("loaded"), 0, &err), err);
    }
    assert_ok(vv_bulk_finish(load, NULL, &err), err);
    fill(s.one, 0, 50);
    uint64_t want = content_of_both(&s);
    int64_t last = vv_table_version(s.one);
    backup(&p, s.db, &archive, NULL);
    assert_true(restored(&p, &(backup_restore_options){0}, &lsm_ops) == want);
    backup_restore_options opt = {
        .goal = BACKUP_AT_VERSION, .shard = about.shard, .version = before};
    assert_true(restored(&p, &opt, &lsm_ops) == first);
    make_repo(&p, &repo, false);
    place_on(&to, &calm);
    opt.version = last - 10;
    assert_status(VV_NOT_FOUND, backup_restore(repo, &opt, &to.env, NULL, &err));
    assert_non_null(strstr(err.msg, "a bulk load"));
    backup_repo_close(repo);
    shop_close(&s);
    place_end(&s.at);
    place_end(&p);
    place_end(&to);
}

static void note_listed(void *ctx, const backup_info *info, vv_status st, const char *why)
{
    (void)why;
    if (st == VV_CORRUPT)
        *(uint64_t *)ctx = info->id;
}

static void note_text(void *ctx, const char *text)
{
    (void)snprintf(ctx, 400, "%s", text);
}

/* A store that keeps no log for backups has let go of some: the log alone would be a chain with a
 * hole in it, and is not made. */
static void a_log_that_was_let_go_is_no_backup(void **state)
{
    (void)state;
    shop s = {0};
    place p = {0};
    place to = {0};
    vv_error err = {0};
    backup_repo *repo = NULL;
    backup_info first;
    backup_info alone;
    backup_create_options log_only = {.log_only = true};
    vv_table_info about;
    shop_open(&s, &lsm_ops, &calm);
    assert_ok(vv_table_describe(s.one, &about, &err), err);
    fill(s.one, 0, 100);
    backup(&p, s.db, &(backup_create_options){0}, &first);
    for (unsigned i = 0; i < 6; i++) {
        fill(s.one, i * 1000, 700);
        fill(s.two, i * 1000, 100);
        assert_ok(vv_checkpoint(s.db, &err), err);
        work_off(s.db);
    }
    make_repo(&p, &repo, true);
    assert_status(VV_NOT_FOUND, backup_create(repo, s.db, &log_only, NULL, &err));
    assert_non_null(strstr(err.msg, "make a full backup"));
    backup_repo_close(repo);
    place_off(&p);
    backup(&p, s.db, &(backup_create_options){.archive_log = true}, &alone);
    for (uint32_t i = 0; i < 2; i++) /* no more than what follows its files */
        assert_true(alone.shard[i].log_first == 0 ||
                    alone.shard[i].log_first == alone.shard[i].checkpoint + 1);
    uint64_t want = content_of_both(&s);
    assert_true(restored(&p, &(backup_restore_options){0}, &lsm_ops) == want);
    make_repo(&p, &repo, true);
    place_on(&to, &calm);
    backup_restore_options between = {.goal = BACKUP_AT_VERSION,
                                      .shard = about.shard,
                                      .version = first.shard[about.shard].version + 10};
    assert_status(VV_NOT_FOUND, backup_restore(repo, &between, &to.env, NULL, &err));
    fill(s.one, 0, 20);
    assert_ok(backup_create(repo, s.db, &log_only, NULL, &err), err);
    uint64_t damaged = 0;
    char text[400] = "";
    assert_ok(backup_list(repo, note_listed, &damaged, &err), err);
    assert_true(damaged == 0);
    assert_ok(backup_verify(repo, 0, NULL, no_finding, NULL, &err), err);
    assert_ok(backup_drop(repo, alone.id, &err), err); /* and the log stands behind a gap */
    assert_ok(backup_list(repo, note_listed, &damaged, &err), err);
    assert_true(damaged == alone.id + 1);
    assert_status(VV_CORRUPT, backup_verify(repo, 0, NULL, note_text, text, &err));
    assert_non_null(strstr(text, "a gap is before it"));
    assert_ok(backup_drop(repo, first.id, &err), err);
    assert_status(VV_CORRUPT, backup_verify(repo, 0, NULL, note_text, text, &err));
    assert_non_null(strstr(text, "no backup of its store before it"));
    backup_repo_close(repo);
    shop_close(&s);
    place_end(&s.at);
    place_end(&p);
    place_end(&to);
}

static void flip_content(void *ctx, const char *path, uint64_t size)
{
    place *p = ctx;
    if (strstr(path, "files/") != NULL)
        assert_int_equal(VV_OK, vio_sim_flip_bit(p->disk, path, size * 8 / 2));
}

/* Content that was damaged in the repository is stored anew: a later backup names none of it. */
static void damaged_content_is_not_used_again(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        shop s = {0};
        place p = {0};
        vv_error err = {0};
        backup_repo *repo = NULL;
        backup_info second;
        shop_open(&s, engines[e], &calm);
        fill(s.one, 0, 500);
        assert_ok(vv_checkpoint(s.db, &err), err);
        work_off(s.db);
        uint64_t want = content_of_both(&s);
        backup(&p, s.db, &(backup_create_options){0}, NULL);
        vio_sim_each_file(p.disk, flip_content, &p);
        backup(&p, s.db, &(backup_create_options){0}, &second);
        assert_true(second.new_bytes > 0);
        make_repo(&p, &repo, false);
        assert_ok(backup_verify(repo, second.id, NULL, no_finding, NULL, &err), err);
        backup_repo_close(repo);
        place_off(&p);
        assert_true(restored(&p, &(backup_restore_options){0}, engines[e]) == want);
        shop_close(&s);
        place_end(&s.at);
        place_end(&p);
    }
}

/* ---- dropping -------------------------------------------------------------------------------- */

static void count_file(void *ctx, const char *path, uint64_t size)
{
    uint64_t *sum = ctx;
    (void)path;
    *sum += size;
}

static void dropping_takes_only_what_nobody_shares(void **state)
{
    (void)state;
    shop s = {0};
    place p = {0};
    vv_error err = {0};
    backup_repo *repo = NULL;
    backup_info info;
    uint64_t want = 0;
    shop_open(&s, &lsm_ops, &calm);
    for (unsigned i = 0; i < 4; i++) {
        fill(s.one, i * 1000, 300);
        work_off(s.db);
        want = content_of_both(&s);
        backup(&p, s.db, &(backup_create_options){0}, &info);
    }
    shop_close(&s);
    place_end(&s.at);
    make_repo(&p, &repo, true);
    uint32_t dropped = 0;
    uint64_t before = 0;
    uint64_t after = 0;
    vio_sim_each_file(p.disk, count_file, &before);
    assert_ok(backup_drop(repo, 2, &err), err);
    assert_status(VV_NOT_FOUND, backup_drop(repo, 2, &err));
    assert_ok(backup_verify(repo, 0, NULL, no_finding, NULL, &err), err);
    assert_ok(backup_prune(repo, 1, &dropped, &err), err);
    assert_int_equal(2, dropped);
    assert_status(VV_INVALID, backup_prune(repo, 0, &dropped, &err));
    assert_ok(backup_verify(repo, 0, NULL, no_finding, NULL, &err), err);
    vio_sim_each_file(p.disk, count_file, &after);
    assert_true(after < before && after >= info.bytes);
    backup_repo_close(repo);
    place_off(&p);
    assert_true(restored(&p, &(backup_restore_options){0}, &lsm_ops) == want);
    place_end(&p);
}

static void a_place_that_holds_something_is_refused(void **state)
{
    (void)state;
    shop s = {0};
    place p = {0};
    vv_error err = {0};
    backup_repo *repo = NULL;
    shop_open(&s, &lsm_ops, &calm);
    backup(&p, s.db, &(backup_create_options){0}, NULL);
    make_repo(&p, &repo, false);
    assert_status(VV_INVALID,
                  backup_restore(repo, &(backup_restore_options){0}, &s.at.env, NULL, &err));
    assert_non_null(strstr(err.msg, "not empty"));
    backup_repo *other = NULL;
    assert_status(VV_INVALID, backup_repo_open(&s.at.env, true, &other, &err));
    assert_status(VV_NOT_FOUND, backup_repo_open(&s.at.env, false, &other, &err));
    backup_repo_close(repo);
    shop_close(&s);
    place_end(&s.at);
    place_end(&p);
}

static void names_stay_below_the_store(void **state)
{
    (void)state;
    const struct {
        const char *name;
        bool good;
    } rows[] = {
        {"log", true},         {"shard-000/CURRENT", true},
        {"a/b/c/d.sst", true}, {"OPTIONS-000023", true},
        {"", false},           {"/a", false},
        {"a/", false},         {".", false},
        {"..", false},         {"../a", false},
        {"a/../b", false},     {"a/.b", false},
        {"a..b", false},       {"a/b/c/d/e", false},
        {"a b", false},        {"a\\b", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        backup_manifest m = {0};
        vv_status st = backup_manifest_add(&m, rows[i].name, 1, 2, NULL);
        if ((st == VV_OK) != rows[i].good || (st != VV_OK && st != VV_UNSUPPORTED))
            fail_msg("'%s': %d", rows[i].name, (int)st);
        backup_manifest_fini(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_stay_below_the_store),
        cmocka_unit_test(a_checkpoint_is_a_store),
        cmocka_unit_test(a_backup_has_what_is_remote),
        cmocka_unit_test(what_a_backup_leads_to_stays),
        cmocka_unit_test(a_backup_is_restored_as_it_was),
        cmocka_unit_test(a_backup_beside_writers_is_of_one_moment),
        cmocka_unit_test(what_did_not_change_is_not_stored_again),
        cmocka_unit_test(every_version_of_the_archive_can_be_restored),
        cmocka_unit_test(what_the_log_does_not_reach_is_refused_by_name),
        cmocka_unit_test(a_bulk_load_is_in_backups_and_not_in_the_log),
        cmocka_unit_test(a_log_that_was_let_go_is_no_backup),
        cmocka_unit_test(damaged_content_is_not_used_again),
        cmocka_unit_test(dropping_takes_only_what_nobody_shares),
        cmocka_unit_test(a_place_that_holds_something_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
