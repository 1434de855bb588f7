/*
 * Backups when something goes wrong: power cuts, full disks, short memory, damage.
 */
#include "backup/backup_test_util.h"

static const engine_ops *const engines[] = {&lsm_ops, &btree_ops};

typedef struct scene {
    shop s;
    place repo;
    uint64_t want;
} scene;

/* A store with one backup, and more behind it. */
static void scene_make(scene *sc, const engine_ops *ops)
{
    vv_error err = {0};
    backup_repo *repo = NULL;
    *sc = (scene){0};
    shop_open(&sc->s, ops, &calm);
    fill(sc->s.one, 0, 300);
    work_off(sc->s.db);
    place_on(&sc->repo, &calm);
    assert_ok(backup_repo_open(&sc->repo.env, true, &repo, &err), err);
    assert_ok(backup_create(repo, sc->s.db, &(backup_create_options){0}, NULL, &err), err);
    backup_repo_close(repo);
    place_off(&sc->repo);
    fill(sc->s.one, 500, 200);
    fill(sc->s.two, 500, 100);
    work_off(sc->s.db);
    sc->want = content_of_both(&sc->s);
}

static void scene_end(scene *sc)
{
    if (sc->s.db != NULL)
        shop_close(&sc->s);
    place_end(&sc->s.at);
    place_end(&sc->repo);
}

static void count_backups(void *ctx, const backup_info *info, vv_status st, const char *why)
{
    unsigned *count = ctx;
    (void)info;
    if (st != VV_OK)
        fail_msg("%s", why);
    ++*count;
}

/* Every backup that is listed is whole, and there are so many. */
static unsigned check_repo(place *p)
{
    vv_error err = {0};
    unsigned count = 0;
    backup_repo *repo = NULL;
    assert_ok(backup_repo_open(&p->env, false, &repo, &err), err);
    assert_ok(backup_list(repo, count_backups, &count, &err), err);
    assert_ok(backup_verify(repo, 0, NULL, no_finding, NULL, &err), err);
    backup_repo_close(repo);
    return count;
}

static vv_status try_create(place *p, vv_db *db, vv_error *err)
{
    backup_repo *repo = NULL;
    vv_status st = backup_repo_open(&p->env, true, &repo, err);
    if (st == VV_OK)
        st = backup_create(repo, db, &(backup_create_options){.archive_log = true}, NULL, err);
    backup_repo_close(repo);
    return st;
}

/* Another disk with the same content. */
static place copy_of(const place *p)
{
    place copy = {.disk = vio_sim_disk_clone(p->disk)};
    assert_non_null(copy.disk);
    return copy;
}

static void prop_a_cut_in_create_leaves_whole_backups(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        scene_make(&sc, engines[e]);
        bool cut = true;
        uint64_t n = 1;
        for (; cut; n += vv_test_count("VV_CRASH_STEP", 1)) {
            vv_error err = {0};
            place p = copy_of(&sc.repo);
            place_on(&p, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true});
            vv_status st = try_create(&p, sc.s.db, &err);
            cut = vio_sim_is_off(p.disk);
            assert_true(cut || st == VV_OK);
            place_off(&p);
            if (cut)
                vio_sim_disk_settle(p.disk);
            place_on(&p, &calm);
            unsigned count = check_repo(&p);
            assert_true(count == 2 || (cut && count == 1));
            assert_ok(try_create(&p, sc.s.db, &err), err); /* and it goes on */
            assert_true(check_repo(&p) == count + 1);
            place_end(&p);
        }
        assert_true(n > 15);
        assert_true(content_of_both(&sc.s) == sc.want);
        scene_end(&sc);
    }
}

static vv_status try_restore(place *from, place *to, vv_error *err)
{
    backup_repo *repo = NULL;
    vv_status st = backup_repo_open(&from->env, false, &repo, err);
    if (st == VV_OK)
        st = backup_restore(repo, &(backup_restore_options){0}, &to->env, NULL, err);
    backup_repo_close(repo);
    return st;
}

static void is_whole_or_no_store(place *to, const engine_ops *ops, uint64_t want, bool must)
{
    vv_error err = {0};
    shop s = {.at = *to};
    vv_status st = shop_try(&s, ops, false, &err);
    if (st == VV_NOT_FOUND && !must)
        return;
    assert_ok(st, err);
    shop_tables(&s);
    assert_true(content_of_both(&s) == want);
    vv_table_close(s.one);
    vv_table_close(s.two);
    assert_ok(vv_db_close(s.db, &err), err);
    assert_ok(db_check_env(&to->env, no_finding, NULL, &err), err);
}

/* A half-made store is not even taken for an empty place. */
static void is_refused_as_new(place *to, const engine_ops *ops)
{
    vv_error err = {0};
    shop s = {.at = *to};
    if (db_check_env(&to->env, NULL, NULL, &err) == VV_OK)
        return;
    vio_file *file = NULL;
    if (vio_open(to->env.io, "shard-000", VIO_READ, &file, NULL) == VV_NOT_FOUND)
        return; /* nothing came that far */
    vio_close(file);
    if (vio_open(to->env.io, "shard-000/CURRENT", VIO_READ, &file, NULL) == VV_NOT_FOUND)
        return;
    vio_close(file);
    if (shop_try(&s, ops, true, &err) == VV_OK)
        fail_msg("a half-made store was opened as a new one");
}

static void prop_a_cut_in_restore_leaves_all_or_nothing(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        scene_make(&sc, engines[e]);
        vv_error err = {0};
        place_on(&sc.repo, &calm);
        assert_ok(try_create(&sc.repo, sc.s.db, &err), err);
        bool cut = true;
        uint64_t n = 1;
        for (; cut; n += vv_test_count("VV_CRASH_STEP", 1)) {
            place to = {0};
            place_on(&to, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true});
            vv_status st = try_restore(&sc.repo, &to, &err);
            cut = vio_sim_is_off(to.disk);
            assert_true(cut || st == VV_OK);
            place_off(&to);
            if (cut)
                vio_sim_disk_settle(to.disk);
            place_on(&to, &calm);
            is_refused_as_new(&to, engines[e]);
            is_whole_or_no_store(&to, engines[e], sc.want, st == VV_OK);
            place_end(&to);
        }
        assert_true(n > 30);
        scene_end(&sc);
    }
}

static void ignore_name(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

static void prop_a_cut_in_a_checkpoint_leaves_all_or_nothing(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        bool cut = true;
        for (uint64_t n = 1; cut; n += vv_test_count("VV_CRASH_STEP", 1)) {
            shop s = {0};
            vv_error err = {0};
            vio_sim_options here = {.seed = 1, .root = "store"};
            shop_open(&s, engines[e], &here);
            fill(s.one, 0, 60);
            assert_ok(vv_checkpoint(s.db, &err), err);
            fill(s.two, 0, 5);
            uint64_t want = content_of_both(&s);
            shop_close(&s);
            vio_sim_options cutting = {.seed = n, .root = "store"};
            shop_open(&s, engines[e], &cutting);
            uint64_t before = vio_sim_write_count(s.at.disk);
            shop_close(&s);
            cutting.cut_after_writes = before + n;
            cutting.tear = true;
            shop_open(&s, engines[e], &cutting);
            vv_status st = db_checkpoint_at(s.db, "/copy", &err);
            cut = vio_sim_is_off(s.at.disk);
            assert_true(cut || st == VV_OK);
            shop_abandon(&s);
            if (cut)
                vio_sim_disk_settle(s.at.disk);
            place_on(&s.at, &(vio_sim_options){.seed = 1, .root = "copy"});
            is_whole_or_no_store(&s.at, engines[e], want, st == VV_OK);
            place_off(&s.at);
            shop_open(&s, engines[e], &here);
            assert_true(content_of_both(&s) == want);
            if (st != VV_OK &&
                vio_list(s.at.env.io, "/copy", ignore_name, NULL, NULL) == VV_NOT_FOUND)
                assert_ok(db_checkpoint_at(s.db, "/copy", &err), err); /* past what it left */
            shop_close(&s);
            place_end(&s.at);
        }
    }
}

static void a_full_disk_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        scene_make(&sc, engines[e]);
        bool failed = true;
        for (uint64_t n = 1; failed; n += vv_test_count("VV_CRASH_STEP", 1)) {
            vv_error err = {0};
            place p = copy_of(&sc.repo);
            place_on(&p, &(vio_sim_options){
                             .seed = n, .fault = VIO_SIM_ENOSPC, .fault_at = n, .tear = true});
            vv_status st = try_create(&p, sc.s.db, &err);
            failed = st != VV_OK;
            if (failed && st != VV_NO_SPACE)
                fail_msg("%s: %s", vv_status_name(st), err.msg);
            vio_sim_heal(p.disk);
            assert_true(check_repo(&p) == (failed ? 1 : 2));
            place_end(&p);
            place to = {0};
            place_on(&sc.repo, &calm);
            place_on(&to, &(vio_sim_options){.seed = n, .fault = VIO_SIM_ENOSPC, .fault_at = n});
            st = try_restore(&sc.repo, &to, &err);
            assert_true(st == VV_OK || st == VV_NO_SPACE);
            failed |= st != VV_OK;
            vio_sim_heal(to.disk);
            if (st != VV_OK) /* what was written is gone: the place can be used again */
                assert_ok(try_restore(&sc.repo, &to, &err), err);
            place_end(&to);
            place_off(&sc.repo);
        }
        assert_true(content_of_both(&sc.s) == sc.want);
        fill(sc.s.one, 0, 50); /* the store is unharmed */
        scene_end(&sc);
    }
}

static void a_full_disk_in_a_checkpoint_leaves_nothing(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        shop s = {0};
        vv_error err = {0};
        vio_sim_options here = {.seed = 1, .root = "store"};
        shop_open(&s, engines[e], &here);
        fill(s.one, 0, 60);
        assert_ok(vv_checkpoint(s.db, &err), err);
        fill(s.two, 0, 5);
        uint64_t want = content_of_both(&s);
        shop_close(&s);
        place whole = copy_of(&s.at);
        shop_open(&s, engines[e], &here);
        uint64_t before = vio_sim_fault_sites(s.at.disk, VIO_SIM_ENOSPC); /* of an open */
        shop_close(&s);
        place_end(&s.at);
        bool failed = true;
        unsigned refused = 0;
        for (uint64_t n = 1; failed; n += vv_test_count("VV_CRASH_STEP", 1)) {
            s = (shop){.at = copy_of(&whole)};
            vio_sim_options full = {
                .seed = n, .root = "store", .fault = VIO_SIM_ENOSPC, .fault_at = before + n};
            shop_open(&s, engines[e], &full);
            vv_status st = db_checkpoint_at(s.db, "/copy", &err);
            failed = vio_sim_fault_sites(s.at.disk, VIO_SIM_ENOSPC) >= before + n;
            if (st != VV_OK && st != VV_NO_SPACE)
                fail_msg("%s: %s", vv_status_name(st), err.msg);
            refused += st != VV_OK;
            vio_sim_heal(s.at.disk);
            if (st != VV_OK) {
                assert_status(VV_NOT_FOUND,
                              vio_list(s.at.env.io, "/copy", ignore_name, NULL, NULL));
                assert_ok(db_checkpoint_at(s.db, "/copy", &err), err);
            }
            assert_true(content_of_both(&s) == want);
            fill(s.one, 0, 5); /* the store is unharmed */
            shop_close(&s);
            place_on(&s.at, &(vio_sim_options){.seed = 1, .root = "copy"});
            is_whole_or_no_store(&s.at, engines[e], want, true);
            place_off(&s.at);
            place_end(&s.at);
        }
        assert_true(refused > 0);
        place_end(&whole);
    }
}

static void prop_each_allocation_may_fail(void **state)
{
    (void)state;
    scene sc;
    scene_make(&sc, &lsm_ops);
    bool failed = true;
    for (int64_t n = 0; failed; n += (int64_t)vv_test_count("VV_ALLOC_STEP", 1)) {
        vv_error err = {0};
        place p = copy_of(&sc.repo);
        place to = {0};
        place_on(&p, &calm);
        place_on(&to, &calm);
        vv_alloc_fail_after(n, 0);
        vv_status st = try_create(&p, sc.s.db, &err);
        failed = st != VV_OK;
        if (st == VV_OK)
            st = try_restore(&p, &to, &err);
        vv_alloc_fail_after(-1, 0);
        failed |= st != VV_OK;
        if (st != VV_OK && st != VV_NO_MEMORY)
            fail_msg("allocation %lld: %s: %s", (long long)n, vv_status_name(st), err.msg);
        unsigned count = check_repo(&p);
        assert_true(count == 1 || count == 2);
        is_whole_or_no_store(&to, &lsm_ops, sc.want, st == VV_OK);
        place_end(&p);
        place_end(&to);
    }
    assert_true(content_of_both(&sc.s) == sc.want);
    scene_end(&sc);
}

/* ---- damage ---------------------------------------------------------------------------------- */

typedef struct file_list {
    char path[64][VIO_PATH_MAX];
    uint64_t size[64];
    unsigned count;
} file_list;

static void note_file(void *ctx, const char *path, uint64_t size)
{
    file_list *l = ctx;
    bool is_content = strncmp(path, "files/", 6) == 0 || strncmp(path, "/files/", 7) == 0;
    if (l->count < ARRAY_LEN(l->path) && is_content) {
        (void)snprintf(l->path[l->count], VIO_PATH_MAX, "%s", path);
        l->size[l->count++] = size;
    }
}

static void prop_each_byte_of_a_manifest_matters(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    scene_make(&sc, &lsm_ops);
    place_on(&sc.repo, &calm);
    assert_ok(vio_read_file(sc.repo.env.io, "backup-0000000001", 1u << 20, &bytes, &len, &err),
              err);
    for (size_t i = 0; i < len; i++) {
        backup_manifest m;
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] = (uint8_t)(bytes[i] ^ (1u << bit));
            vv_status st = backup_manifest_decode(vv_slice_of(bytes, len), &m, &err);
            assert_true(st == VV_CORRUPT || (st == VV_UNSUPPORTED && i >= 8 && i < 16));
            backup_manifest_fini(&m);
            bytes[i] = (uint8_t)(bytes[i] ^ (1u << bit));
        }
        assert_status(VV_CORRUPT, backup_manifest_decode(vv_slice_of(bytes, i), &m, &err));
        backup_manifest_fini(&m);
    }
    backup_manifest m;
    vv_buf again;
    assert_ok(backup_manifest_decode(vv_slice_of(bytes, len), &m, &err), err);
    vv_buf_init(&again, 1u << 20);
    backup_manifest_encode(&m, &again);
    assert_true(vv_slice_eq(vv_buf_slice(&again), vv_slice_of(bytes, len)));
    vv_buf_fini(&again);
    backup_manifest_fini(&m);
    vv_free(bytes);
    place_off(&sc.repo);
    scene_end(&sc);
}

static void note_text(void *ctx, const char *text)
{
    (void)snprintf(ctx, 400, "%s", text);
}

static void expect_named(place *p, const char *path)
{
    vv_error err = {0};
    backup_repo *repo = NULL;
    char text[400] = "";
    place to = {0};
    const char *name = path[0] == '/' ? path + 1 : path;
    place_on(p, &calm);
    assert_ok(backup_repo_open(&p->env, false, &repo, &err), err);
    assert_status(VV_CORRUPT, backup_verify(repo, 0, NULL, note_text, text, &err));
    if (strstr(text, name) == NULL)
        fail_msg("'%s' does not name '%s'", text, name);
    place_on(&to, &calm);
    assert_status(VV_CORRUPT,
                  backup_restore(repo, &(backup_restore_options){0}, &to.env, NULL, &err));
    if (strstr(err.msg, name) == NULL)
        fail_msg("'%s' does not name '%s'", err.msg, name);
    is_whole_or_no_store(&to, &lsm_ops, 0, false);
    place_end(&to);
    backup_repo_close(repo);
    place_off(p);
}

static void damage_is_named_and_refused(void **state)
{
    (void)state;
    scene sc;
    static file_list files;
    files.count = 0;
    scene_make(&sc, &lsm_ops);
    vio_sim_each_file(sc.repo.disk, note_file, &files);
    assert_true(files.count >= 3);
    for (unsigned i = 0; i < files.count; i++) {
        place p = copy_of(&sc.repo);
        uint64_t bit = files.size[i] * 8 / 2;
        assert_int_equal(VV_OK, vio_sim_flip_bit(p.disk, files.path[i], bit));
        expect_named(&p, files.path[i]);
        place_end(&p);
        p = copy_of(&sc.repo);
        assert_int_equal(VV_OK, vio_sim_shorten(p.disk, files.path[i], files.size[i] - 1));
        expect_named(&p, files.path[i]);
        place_end(&p);
        p = copy_of(&sc.repo);
        vv_error err = {0};
        const char *name = files.path[i][0] == '/' ? files.path[i] + 1 : files.path[i];
        place_on(&p, &calm);
        assert_ok(vio_remove(p.env.io, name, &err), err);
        place_off(&p);
        expect_named(&p, files.path[i]);
        place_end(&p);
    }
    scene_end(&sc);
}

/* No byte of any stored file can be another one: content, log, manifest, what the directory is. */
static void prop_each_byte_of_a_repository_matters(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        static file_list files;
        uint64_t step = vv_test_count("VV_FLIP_STEP", 2);
        uint64_t flips = 0;
        files.count = 0;
        scene_make(&sc, engines[e]);
        vio_sim_each_file(sc.repo.disk, note_file, &files);
        for (unsigned i = 0; i < files.count; i++)
            for (uint64_t at = i % step; at < files.size[i]; at += step, flips++) {
                vv_error err = {0};
                char text[400] = "";
                backup_repo *repo = NULL;
                place p = copy_of(&sc.repo);
                assert_int_equal(VV_OK,
                                 vio_sim_flip_bit(p.disk, files.path[i], at * 8 + (at / step) % 8));
                place_on(&p, &calm);
                assert_ok(backup_repo_open(&p.env, false, &repo, &err), err);
                vv_status st = backup_verify(repo, 0, NULL, note_text, text, &err);
                const char *name = files.path[i][0] == '/' ? files.path[i] + 1 : files.path[i];
                if (st != VV_CORRUPT || strstr(text, name) == NULL)
                    fail_msg("%s byte %llu: %s: %s", name, (unsigned long long)at,
                             vv_status_name(st), text);
                backup_repo_close(repo);
                place_off(&p);
                place_end(&p);
            }
        print_message("  %llu bytes of %u files\n", (unsigned long long)flips, files.count);
        scene_end(&sc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_cut_in_create_leaves_whole_backups),
        cmocka_unit_test(prop_a_cut_in_restore_leaves_all_or_nothing),
        cmocka_unit_test(prop_a_cut_in_a_checkpoint_leaves_all_or_nothing),
        cmocka_unit_test(a_full_disk_is_told_and_leaves_nothing),
        cmocka_unit_test(a_full_disk_in_a_checkpoint_leaves_nothing),
        cmocka_unit_test(prop_each_byte_of_a_repository_matters),
        cmocka_unit_test(prop_each_allocation_may_fail),
        cmocka_unit_test(prop_each_byte_of_a_manifest_matters),
        cmocka_unit_test(damage_is_named_and_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
