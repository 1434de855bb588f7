/*
 * Restoring into a directory: past the coming of a second engine, and beside another restore.
 */
#include "backup/backup_test_util.h"

static const engine_ops *const engines[] = {&lsm_ops, &btree_ops};

#define PUTS 6u

/* A store whose second table is of another engine, and came behind the first backup. */
typedef struct scene {
    shop s;
    place repo;
    backup_info before, after;
    uint32_t shard;        /* of the second table */
    int64_t version[PUTS]; /* of it behind each put */
    int64_t time_ns[PUTS];
    uint64_t want[PUTS];
    uint64_t one_alone; /* content of the first table at the first backup */
} scene;

static void scene_make(scene *sc, const engine_ops *ops)
{
    vv_error err = {0};
    vv_table_info about;
    backup_create_options archive = {.archive_log = true};
    *sc = (scene){0};
    shop *s = &sc->s;
    s->archives = true;
    place_on(&s->at, &calm);
    assert_ok(shop_try(s, ops, true, &err), err);
    s->one = make_table(s->db, "t", "one", VV_TABLE_KV);
    fill(s->one, 0, 60);
    sc->one_alone = content_of(s->one);
    backup(&sc->repo, s->db, &archive, &sc->before);
    vv_table_close(s->one);
    shop_tables(s);
    assert_ok(vv_table_describe(s->two, &about, &err), err);
    sc->shard = about.shard;
    for (unsigned i = 0; i < PUTS; i++) {
        fill(s->two, i, 1);
        fill(s->one, i, 1);
        sc->want[i] = content_of_both(s);
        sc->version[i] = vv_table_version(s->two);
        sc->time_ns[i] = vv_clock_wall(s->at.env.clock);
        vio_sim_advance(s->at.disk, VV_NS_PER_S);
        if (i == 2)
            work_off(s->db);
    }
    backup(&sc->repo, s->db, &archive, &sc->after);
}

static void scene_end(scene *sc)
{
    shop_close(&sc->s);
    place_end(&sc->s.at);
    place_end(&sc->repo);
}

static void count_whole(void *ctx, const backup_info *info, vv_status st, const char *why)
{
    (void)info;
    if (st != VV_OK)
        fail_msg("%s", why);
    ++*(unsigned *)ctx;
}

static void a_second_engine_is_backed_up_and_restored(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        vv_error err = {0};
        backup_repo *repo = NULL;
        unsigned count = 0;
        scene_make(&sc, engines[e]);
        make_repo(&sc.repo, &repo, false);
        assert_ok(backup_list(repo, count_whole, &count, &err), err);
        assert_int_equal(2, count);
        assert_ok(backup_verify(repo, 0, NULL, no_finding, NULL, &err), err);
        backup_repo_close(repo);
        place_off(&sc.repo);
        assert_true(restored(&sc.repo, &(backup_restore_options){0}, engines[e]) ==
                    sc.want[PUTS - 1]);
        for (unsigned i = 0; i < PUTS; i++) {
            backup_restore_options at = {
                .goal = BACKUP_AT_TIME, .id = sc.before.id, .time_ns = sc.time_ns[i]};
            if (i + 1 < PUTS)
                assert_true(restored(&sc.repo, &at, engines[e]) == sc.want[i]);
        }
        scene_end(&sc);
    }
}

/* Also in the middle of the making of the table, which is one entry on each of two shards. */
static void prop_each_version_of_each_shard_can_be_opened(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        scene_make(&sc, engines[e]);
        unsigned opened = 0;
        for (uint32_t shard = 0; shard < 2; shard++) {
            int64_t first = sc.before.shard[shard].version;
            for (int64_t v = first; v <= sc.after.shard[shard].version; v++) {
                backup_restore_options at = {
                    .goal = BACKUP_AT_VERSION, .id = sc.before.id, .shard = shard, .version = v};
                uint64_t got = restored(&sc.repo, &at, engines[e]);
                if (v == first)
                    assert_true(got == sc.one_alone * 31);
                opened++;
            }
        }
        assert_true(opened > 2 * PUTS);
        scene_end(&sc);
    }
}

static vv_status try_restore(scene *sc, place *to, vv_error *err)
{
    backup_restore_options at = {.goal = BACKUP_AT_VERSION,
                                 .id = sc->before.id,
                                 .shard = sc->shard,
                                 .version = sc->version[1]};
    backup_repo *repo = NULL;
    vv_status st = backup_repo_open(&sc->repo.env, false, &repo, err);
    if (st == VV_OK)
        st = backup_restore(repo, &at, &to->env, NULL, err);
    backup_repo_close(repo);
    return st;
}

static void is_whole_or_no_store(place *to, const engine_ops *ops, bool must)
{
    vv_error err = {0};
    shop s = {.at = *to};
    vv_status st = shop_try(&s, ops, false, &err);
    if (st == VV_NOT_FOUND && !must)
        return;
    assert_ok(st, err);
    shop_tables(&s);
    assert_true(content_of(s.two) != 0);
    vv_table_close(s.one);
    vv_table_close(s.two);
    assert_ok(vv_db_close(s.db, &err), err);
    assert_ok(db_check_env(&to->env, no_finding, NULL, &err), err);
}

static void prop_adding_an_engine_is_all_or_nothing(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        scene_make(&sc, engines[e]);
        place_on(&sc.repo, &calm);
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            vv_error err = {0};
            place to = {0};
            place_on(&to, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true});
            vv_status st = try_restore(&sc, &to, &err);
            failed = vio_sim_is_off(to.disk);
            assert_true(failed || st == VV_OK);
            place_off(&to);
            if (failed)
                vio_sim_disk_settle(to.disk);
            place_on(&to, &calm);
            is_whole_or_no_store(&to, engines[e], st == VV_OK);
            place_end(&to);
            place_on(&to, &(vio_sim_options){.seed = n, .fault = VIO_SIM_ENOSPC, .fault_at = n});
            st = try_restore(&sc, &to, &err);
            assert_true(st == VV_OK || st == VV_NO_SPACE);
            failed |= st != VV_OK;
            vio_sim_heal(to.disk);
            if (st != VV_OK)
                assert_ok(try_restore(&sc, &to, &err), err);
            is_whole_or_no_store(&to, engines[e], true);
            place_end(&to);
        }
        scene_end(&sc);
    }
}

static void prop_each_allocation_may_fail(void **state)
{
    (void)state;
    scene sc;
    scene_make(&sc, &lsm_ops);
    place_on(&sc.repo, &calm);
    bool failed = true;
    for (int64_t n = 0; failed; n++) {
        vv_error err = {0};
        place to = {0};
        place_on(&to, &calm);
        vv_alloc_fail_after(n, 0);
        vv_status st = try_restore(&sc, &to, &err);
        vv_alloc_fail_after(-1, 0);
        failed = st != VV_OK;
        /* A log that could not write says so with VV_IO. */
        if (failed && st != VV_NO_MEMORY && strstr(err.msg, "no memory") == NULL)
            fail_msg("allocation %lld: %s: %s", (long long)n, vv_status_name(st), err.msg);
        is_whole_or_no_store(&to, &lsm_ops, !failed);
        place_end(&to);
    }
    scene_end(&sc);
}

/* Another restore, begun while the first has made no more than its lock. */
static void two_restores_into_one_place_are_kept_apart(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    place to = {0};
    vio_file *lock = NULL;
    scene_make(&sc, &lsm_ops);
    place_on(&sc.repo, &calm);
    place_on(&to, &calm);
    assert_ok(vio_lock(to.env.io, "LOCK", &lock, &err), err);
    assert_status(VV_BUSY, try_restore(&sc, &to, &err));
    assert_non_null(strstr(err.msg, "another process"));
    assert_ok(vio_write_file_atomic(to.env.io, "theirs", vv_slice_str("x"), &err), err);
    assert_status(VV_INVALID, try_restore(&sc, &to, &err));
    uint8_t *text = NULL;
    size_t len = 0;
    assert_ok(vio_read_file(to.env.io, "theirs", 16, &text, &len, &err), err);
    vv_free(text);
    assert_ok(vio_remove(to.env.io, "theirs", &err), err);
    vio_close(lock);
    assert_ok(try_restore(&sc, &to, &err), err);
    is_whole_or_no_store(&to, &lsm_ops, true);
    place_end(&to);
    scene_end(&sc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_engine_is_backed_up_and_restored),
        cmocka_unit_test(prop_each_version_of_each_shard_can_be_opened),
        cmocka_unit_test(prop_adding_an_engine_is_all_or_nothing),
        cmocka_unit_test(prop_each_allocation_may_fail),
        cmocka_unit_test(two_restores_into_one_place_are_kept_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
