/*
 * Bulk loads in the archive: a restore goes past them, whatever fails on the way.
 */
#include "backup/backup_test_util.h"

#include "base/rng.h"

static const engine_ops *const engines[] = {&lsm_ops, &btree_ops};

enum { STEPS = 40, LOAD_KEYS = 60 };

/* A store with loads into two tables of lsm, which are on two shards where the home is a tree: its
 * versions, and backups of all kinds on the way. */
typedef struct scene {
    shop s;
    place repo;
    vv_table *loaded; /* of lsm */
    uint32_t shard;   /* of it */
    backup_info first;
    unsigned count;
    int64_t version[STEPS];
    int64_t time_ns[STEPS];
    uint64_t want[STEPS];
} scene;

static const backup_create_options archive = {.archive_log = true};
static const backup_create_options log_only = {.log_only = true};

static vv_status try_load(vv_table *t, unsigned from, unsigned tag, vv_error *err)
{
    vv_bulk *load = NULL;
    vv_status st = vv_bulk_begin(t, &load, err);
    if (st != VV_OK)
        return st;
    for (unsigned i = from; st == VV_OK && i < from + LOAD_KEYS; i++) {
        char key[16];
        char value[400];
        (void)snprintf(key, sizeof key, "key-%04u", i);
        int n = snprintf(value, sizeof value, "load %u %u %0*u", tag, i, (int)(i * 7 % 300), 0u);
        st = vv_bulk_put(load, vv_slice_str(key), vv_slice_of(value, (size_t)n),
                         i % 11 == 0 ? INT64_MAX : 0, err);
    }
    if (st == VV_OK)
        return vv_bulk_finish(load, NULL, err);
    vv_bulk_abort(load);
    return st;
}

static void load(vv_table *t, unsigned from, unsigned tag)
{
    vv_error err = {0};
    assert_ok(try_load(t, from, tag, &err), err);
}

static void note(scene *sc)
{
    assert_true(sc->count < STEPS);
    sc->want[sc->count] = content_of_both(&sc->s);
    sc->version[sc->count] = vv_table_version(sc->loaded);
    sc->time_ns[sc->count++] = vv_clock_wall(sc->s.at.env.clock);
    vio_sim_advance(sc->s.at.disk, VV_NS_PER_S);
}

static void scene_open(scene *sc, const engine_ops *ops)
{
    vv_error err = {0};
    vv_table_info about;
    *sc = (scene){0};
    sc->s.archives = true;
    shop_open(&sc->s, ops, &calm);
    sc->loaded = ops == &lsm_ops ? sc->s.one : sc->s.two;
    assert_ok(vv_table_describe(sc->loaded, &about, &err), err);
    sc->shard = about.shard;
}

static void scene_make(scene *sc, const engine_ops *ops)
{
    vv_error err = {0};
    scene_open(sc, ops);
    fill(sc->s.one, 0, 60);
    fill(sc->s.two, 0, 60);
    backup(&sc->repo, sc->s.db, &archive, &sc->first);
    for (unsigned i = 0; i < 6; i++) {
        fill(sc->loaded, i * 10, 3);
        note(sc);
        load(sc->loaded, i * 9, i);
        note(sc);
        if (i == 1 || i == 4)
            backup(&sc->repo, sc->s.db, &log_only, NULL);
        fill(sc->loaded, i * 9 + 5, 3); /* over what was loaded */
        assert_ok(vv_delete(sc->loaded, vv_slice_str("key-0020"), &err), err);
        fill(sc->s.one, i, 2);
        fill(sc->s.two, i, 2);
        note(sc);
        if (i == 2)
            work_off(sc->s.db);
        if (i == 3)
            backup(&sc->repo, sc->s.db, &archive, NULL);
        if (i == 4)
            assert_ok(vv_checkpoint(sc->s.db, &err), err);
    }
    backup(&sc->repo, sc->s.db, &archive, NULL);
}

static void scene_end(scene *sc)
{
    if (sc->s.db != NULL)
        shop_close(&sc->s);
    place_end(&sc->s.at);
    place_end(&sc->repo);
}

static void count_contents(void *ctx, const char *path, uint64_t size)
{
    (void)size;
    *(unsigned *)ctx += strstr(path, "bulk/") != NULL;
}

static unsigned contents_at(const place *p)
{
    unsigned count = 0;
    vio_sim_each_file(p->disk, count_contents, &count);
    return count;
}

static vv_status try_restore(place *from, const backup_restore_options *opt, place *to,
                             vv_error *err)
{
    backup_repo *repo = NULL;
    vv_status st = backup_repo_open(&from->env, false, &repo, err);
    if (st == VV_OK)
        st = backup_restore(repo, opt, &to->env, NULL, err);
    backup_repo_close(repo);
    return st;
}

/* Open what was restored so many times: the first time loads are installed. */
static void is_whole_for(unsigned rounds, place *to, const engine_ops *ops, bool archives,
                         uint64_t want)
{
    vv_error err = {0};
    for (unsigned round = 0; round < rounds; round++) {
        shop s = {.at = *to, .archives = archives};
        assert_ok(shop_try(&s, ops, false, &err), err);
        shop_tables(&s);
        assert_true(content_of_both(&s) == want);
        if (round == 1)
            work_off(s.db);
        if (round == 2) {
            assert_ok(vv_compact(s.one, vv_slice_str(""), vv_slice_str(""), &err), err);
            assert_ok(vv_checkpoint(s.db, &err), err);
            assert_true(content_of_both(&s) == want);
            if (!archives)
                assert_int_equal(0, contents_at(to));
        }
        vv_table_close(s.one);
        vv_table_close(s.two);
        assert_ok(vv_db_close(s.db, &err), err);
        assert_ok(db_check_env(&to->env, no_finding, NULL, &err), err);
    }
}

static void is_whole(place *to, const engine_ops *ops, bool archives, uint64_t want)
{
    is_whole_for(3, to, ops, archives, want);
}

/* The same in walks, where there are many. */
static void is_there(place *to, const engine_ops *ops, bool archives, uint64_t want)
{
    is_whole_for(1, to, ops, archives, want);
}

static void restore_and_compare(scene *sc, const backup_restore_options *opt, uint64_t want)
{
    vv_error err = {0};
    place to = {0};
    place_on(&sc->repo, &calm);
    place_on(&to, &calm);
    assert_ok(try_restore(&sc->repo, opt, &to, &err), err);
    is_whole(&to, sc->s.ops, opt->version % 2 == 0, want);
    place_end(&to);
    place_off(&sc->repo);
}

static void prop_each_version_past_loads_can_be_restored(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        scene_make(&sc, engines[e]);
        for (unsigned i = 0; i < sc.count; i++) {
            restore_and_compare(&sc,
                                &(backup_restore_options){.goal = BACKUP_AT_TIME,
                                                          .id = sc.first.id,
                                                          .time_ns = sc.time_ns[i],
                                                          .version = i},
                                sc.want[i]);
            if (i % 3 < 2) /* what follows in the other shard is behind the version */
                restore_and_compare(&sc,
                                    &(backup_restore_options){.goal = BACKUP_AT_VERSION,
                                                              .shard = sc.shard,
                                                              .version = sc.version[i]},
                                    sc.want[i]);
        }
        restore_and_compare(&sc, &(backup_restore_options){0}, sc.want[sc.count - 1]);
        scene_end(&sc);
    }
}

/* Two restored copies of a store are stores: a backup of one, past its own loads. */
static void a_restored_store_goes_on_with_loads(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    scene_make(&sc, &lsm_ops);
    place to = {0};
    place_on(&sc.repo, &calm);
    place_on(&to, &calm);
    backup_restore_options at = {
        .goal = BACKUP_AT_TIME, .id = sc.first.id, .time_ns = sc.time_ns[4]};
    assert_ok(try_restore(&sc.repo, &at, &to, &err), err);
    place_off(&sc.repo);
    scene next = {.s = {.at = to, .archives = true}};
    assert_ok(shop_try(&next.s, &lsm_ops, false, &err), err);
    shop_tables(&next.s);
    next.loaded = next.s.one;
    next.shard = sc.shard;
    backup(&next.repo, next.s.db, &archive, &next.first);
    load(next.loaded, 30, 77);
    note(&next);
    fill(next.loaded, 0, 9);
    note(&next);
    backup(&next.repo, next.s.db, &log_only, NULL);
    for (unsigned i = 0; i < next.count; i++)
        restore_and_compare(&next,
                            &(backup_restore_options){.goal = BACKUP_AT_VERSION,
                                                      .shard = next.shard,
                                                      .version = next.version[i]},
                            next.want[i]);
    scene_end(&next);
    scene_end(&sc);
}

/* ---- keeping --------------------------------------------------------------------------------- */

static uint64_t disk_of(vv_db *db)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(db, &s);
    return s.disk_bytes;
}

static void contents_stay_until_a_backup_has_them(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    scene_open(&sc, &lsm_ops);
    backup(&sc.repo, sc.s.db, &archive, NULL);
    load(sc.loaded, 0, 1);
    load(sc.loaded, 5, 2);
    assert_int_equal(2, contents_at(&sc.s.at));
    assert_ok(vv_checkpoint(sc.s.db, &err), err);
    work_off(sc.s.db);
    assert_int_equal(2, contents_at(&sc.s.at));
    uint64_t before = disk_of(sc.s.db);
    backup(&sc.repo, sc.s.db, &(backup_create_options){0}, NULL); /* archives nothing */
    assert_int_equal(2, contents_at(&sc.s.at));
    shop_close(&sc.s);
    shop_open(&sc.s, &lsm_ops, &calm);
    sc.loaded = sc.s.one;
    work_off(sc.s.db);
    assert_int_equal(2, contents_at(&sc.s.at));
    backup(&sc.repo, sc.s.db, &archive, NULL);
    assert_int_equal(0, contents_at(&sc.s.at));
    assert_true(disk_of(sc.s.db) < before);
    load(sc.loaded, 9, 3); /* one that a replay may want stays, archived or not */
    backup(&sc.repo, sc.s.db, &archive, NULL);
    assert_int_equal(1, contents_at(&sc.s.at));
    assert_ok(vv_checkpoint(sc.s.db, &err), err);
    work_off(sc.s.db);
    assert_int_equal(0, contents_at(&sc.s.at));
    vv_bulk *given_up = NULL;
    assert_ok(vv_bulk_begin(sc.loaded, &given_up, &err), err);
    assert_ok(vv_bulk_put(given_up, vv_slice_str("a"), vv_slice_str("b"), 0, &err), err);
    assert_int_equal(1, contents_at(&sc.s.at));
    vv_bulk_abort(given_up);
    assert_int_equal(0, contents_at(&sc.s.at));
    scene_end(&sc);
}

/* More than the log may keep: the oldest goes, a full backup stands alone, the log alone is not
 * made. */
static void what_is_too_much_goes_and_is_told(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    backup_repo *repo = NULL;
    scene_open(&sc, &lsm_ops);
    backup(&sc.repo, sc.s.db, &archive, NULL);
    unsigned loads = 0;
    for (; loads < 400 && contents_at(&sc.s.at) == loads; loads++) {
        load(sc.loaded, loads % 20, loads);
        if (loads == 0)
            note(&sc);
        assert_ok(vv_checkpoint(sc.s.db, &err), err);
        work_off(sc.s.db);
    }
    assert_true(loads > 2 && contents_at(&sc.s.at) < loads);
    note(&sc);
    make_repo(&sc.repo, &repo, true);
    assert_status(VV_NOT_FOUND, backup_create(repo, sc.s.db, &log_only, NULL, &err));
    assert_non_null(strstr(err.msg, "make a full backup"));
    assert_ok(backup_create(repo, sc.s.db, &archive, NULL, &err), err);
    backup_repo_close(repo);
    place_off(&sc.repo);
    restore_and_compare(&sc, &(backup_restore_options){0}, sc.want[1]);
    place to = {0};
    place_on(&sc.repo, &calm);
    place_on(&to, &calm);
    backup_restore_options at = {
        .goal = BACKUP_AT_VERSION, .shard = sc.shard, .version = sc.version[0]};
    assert_status(VV_NOT_FOUND, try_restore(&sc.repo, &at, &to, &err));
    place_end(&to);
    scene_end(&sc);
}

/* A checkpoint has the contents that its log names. And a load whose table is gone again, whose
 * files compaction took, stands in a log that is replayed. */
static void a_load_of_a_dropped_table_hinders_no_opening(void **state)
{
    (void)state;
    vv_error err = {0};
    for (unsigned round = 0; round < 2; round++) {
        shop s = {.archives = true};
        vv_table *third = NULL;
        place repo = {0};
        vio_sim_options here = {.seed = 1, .root = "store"};
        shop_open(&s, &lsm_ops, &here);
        third = make_table(s.db, "t", "three", VV_TABLE_KV);
        load(third, 0, 3);
        vv_table_close(third);
        assert_ok(vv_table_drop(s.db, "t", "three", &err), err);
        assert_ok(vv_compact(s.one, vv_slice_str(""), vv_slice_str(""), &err), err);
        load(s.one, 0, 1);
        if (round == 1)
            backup(&repo, s.db, &archive, NULL);
        fill(s.one, 0, 4);
        uint64_t want = content_of_both(&s);
        assert_ok(db_checkpoint_at(s.db, "/copy", &err), err);
        shop_abandon(&s);
        shop_open(&s, &lsm_ops, &here);
        assert_true(content_of_both(&s) == want);
        shop_close(&s);
        place copy = {.disk = vio_sim_disk_clone(s.at.disk)};
        place_on(&copy, &(vio_sim_options){.seed = 1, .root = "copy"});
        is_whole(&copy, &lsm_ops, true, want);
        place_end(&copy);
        place_end(&s.at);
        place_end(&repo);
    }
}

/* ---- damage ---------------------------------------------------------------------------------- */

typedef struct file_list {
    char path[64][VIO_PATH_MAX];
    uint64_t size[64];
    unsigned count;
    const char *part; /* of a path */
} file_list;

static void note_file(void *ctx, const char *path, uint64_t size)
{
    file_list *l = ctx;
    if (l->count < ARRAY_LEN(l->path) && strstr(path, l->part) != NULL) {
        (void)snprintf(l->path[l->count], VIO_PATH_MAX, "%s", path[0] == '/' ? path + 1 : path);
        l->size[l->count++] = size;
    }
}

/* Past the first load, out of a log of one. */
static backup_restore_options past_first_load(const scene *sc)
{
    return (backup_restore_options){
        .goal = BACKUP_AT_TIME, .id = sc->first.id, .time_ns = sc->time_ns[2]};
}

static place copy_of(const place *p)
{
    place copy = {.disk = vio_sim_disk_clone(p->disk)};
    assert_non_null(copy.disk);
    return copy;
}

static void note_text(void *ctx, const char *text)
{
    (void)snprintf(ctx, 400, "%s", text);
}

static void expect_named(place *p, const char *name, const backup_restore_options *at)
{
    vv_error err = {0};
    backup_repo *repo = NULL;
    char text[400] = "";
    place to = {0};
    place_on(p, &calm);
    place_on(&to, &calm);
    assert_ok(backup_repo_open(&p->env, false, &repo, &err), err);
    assert_status(VV_CORRUPT, backup_verify(repo, 0, NULL, note_text, text, &err));
    assert_non_null(strstr(text, name));
    assert_status(VV_CORRUPT, backup_restore(repo, at, &to.env, NULL, &err));
    if (strstr(err.msg, name) == NULL)
        fail_msg("'%s' does not name '%s'", err.msg, name);
    shop s = {.at = to};
    assert_status(VV_NOT_FOUND, shop_try(&s, &lsm_ops, false, &err));
    backup_repo_close(repo);
    place_end(&to);
    place_off(p);
}

static void damage_in_the_repository_is_named(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    static file_list files;
    scene_make(&sc, &lsm_ops);
    char part[16]; /* files/<sum>-<size>-<shard>-<sum>, of loads */
    (void)snprintf(part, sizeof part, "-%03u-", sc.shard);
    files = (file_list){.part = part};
    backup_restore_options at = {
        .goal = BACKUP_AT_TIME, .id = sc.first.id, .time_ns = sc.time_ns[sc.count - 1]};
    vio_sim_each_file(sc.repo.disk, note_file, &files);
    assert_int_equal(6, files.count);
    for (unsigned i = 0; i < files.count; i++) {
        place p = copy_of(&sc.repo);
        assert_int_equal(VV_OK, vio_sim_flip_bit(p.disk, files.path[i], files.size[i] * 4));
        expect_named(&p, files.path[i], &at);
        place_end(&p);
        p = copy_of(&sc.repo);
        assert_int_equal(VV_OK, vio_sim_shorten(p.disk, files.path[i], files.size[i] - 1));
        expect_named(&p, files.path[i], &at);
        place_end(&p);
        p = copy_of(&sc.repo);
        place_on(&p, &calm);
        assert_ok(vio_remove(p.env.io, files.path[i], &err), err);
        place_off(&p);
        expect_named(&p, files.path[i], &at);
        place_end(&p);
    }
    scene_end(&sc);
}

static void expect_refused(place *p, vv_status want, bool read_only, const char *name)
{
    vv_error err = {0};
    vv_options opt = shop_options(false);
    vv_db *db = NULL;
    opt.read_only = read_only;
    place_on(p, &calm);
    if (want != VV_BUSY) { /* a check finds it too, and a good one says what is to be done */
        char text[400] = "";
        assert_status(VV_CORRUPT, db_check_env(&p->env, note_text, text, &err));
        assert_non_null(strstr(text, name));
    } else {
        assert_status(VV_BUSY, db_check_env(&p->env, no_finding, NULL, &err));
    }
    assert_status(want, db_open_engine(&p->env, &opt, &lsm_ops, &db, &err));
    if (strstr(err.msg, name) == NULL)
        fail_msg("'%s' does not name '%s'", err.msg, name);
    place_off(p);
}

static void damage_in_a_restored_store_is_named(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    place to = {0};
    static file_list files;
    files = (file_list){.part = "bulk/"};
    scene_make(&sc, &lsm_ops);
    backup_restore_options at = past_first_load(&sc);
    place_on(&sc.repo, &calm);
    place_on(&to, &calm);
    assert_ok(try_restore(&sc.repo, &at, &to, &err), err);
    place_off(&to);
    vio_sim_each_file(to.disk, note_file, &files);
    assert_int_equal(1, files.count);
    expect_refused(&to, VV_BUSY, true, files.path[0]);
    uint64_t step = vv_test_count("VV_FLIP_STEP", 397);
    for (uint64_t i = 0; i < files.size[0]; i += i < 64 ? 1 : step) {
        place p = copy_of(&to);
        assert_int_equal(VV_OK, vio_sim_flip_bit(p.disk, files.path[0], i * 8 + i % 8));
        bool is_version = i >= 8 && i < 16;
        expect_refused(&p, is_version ? VV_UNSUPPORTED : VV_CORRUPT, false, files.path[0]);
        place_end(&p);
    }
    for (uint64_t size = 0; size < files.size[0]; size += step) {
        place p = copy_of(&to);
        assert_int_equal(VV_OK, vio_sim_shorten(p.disk, files.path[0], size));
        expect_refused(&p, VV_CORRUPT, false, files.path[0]);
        place_end(&p);
    }
    place p = copy_of(&to);
    place_on(&p, &calm);
    assert_ok(vio_remove(p.env.io, files.path[0], &err), err);
    place_off(&p);
    expect_refused(&p, VV_CORRUPT, false, files.path[0]);
    place_end(&p);
    place_on(&to, &calm); /* none of it did harm */
    is_whole(&to, &lsm_ops, false, sc.want[2]);
    place_end(&to);
    scene_end(&sc);
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* Backup, restore past the load and first opening, as far as it goes. */
static vv_status try_create(place *p, vv_db *db, vv_error *err)
{
    backup_repo *repo = NULL;
    vv_status st = backup_repo_open(&p->env, true, &repo, err);
    if (st == VV_OK)
        st = backup_create(repo, db, &log_only, NULL, err);
    backup_repo_close(repo);
    return st;
}

/* A full backup, and a load behind it that no backup has. */
static void scene_half(scene *sc, const engine_ops *ops)
{
    scene_open(sc, ops);
    fill(sc->s.one, 0, 30);
    backup(&sc->repo, sc->s.db, &archive, &sc->first);
    fill(sc->loaded, 7, 3);
    load(sc->loaded, 3, 1);
    fill(sc->loaded, 8, 3);
    note(sc);
}

static backup_restore_options newest(const scene *sc)
{
    return (backup_restore_options){
        .goal = BACKUP_AT_VERSION, .shard = sc->shard, .version = sc->version[0]};
}

static bool is_settled(place *p, bool cut)
{
    place_off(p);
    if (cut)
        vio_sim_disk_settle(p->disk);
    place_on(p, &calm);
    return cut;
}

static void prop_a_cut_at_every_write_of_a_backup(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        vv_error err = {0};
        scene_half(&sc, engines[e]);
        backup_restore_options at = newest(&sc);
        bool cut = true;
        for (uint64_t n = 1; cut; n++) {
            place p = copy_of(&sc.repo);
            place to = {0};
            place_on(&p, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true});
            vv_status st = try_create(&p, sc.s.db, &err);
            cut = is_settled(&p, vio_sim_is_off(p.disk));
            assert_true(cut || st == VV_OK);
            assert_true(contents_at(&sc.s.at) == 1); /* a replay may want it */
            place_on(&to, &calm);
            vv_status there = try_restore(&p, &at, &to, &err);
            assert_true(there == VV_OK || (there == VV_NOT_FOUND && st != VV_OK));
            if (there == VV_OK)
                is_there(&to, engines[e], n % 2 == 0, sc.want[0]);
            place_end(&to);
            place_end(&p);
        }
        scene_end(&sc);
    }
}

static void prop_a_cut_at_every_write_of_restore_and_opening(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        scene sc;
        vv_error err = {0};
        unsigned opened = 0;
        scene_half(&sc, engines[e]);
        place_on(&sc.repo, &calm);
        assert_ok(try_create(&sc.repo, sc.s.db, &err), err);
        backup_restore_options at = newest(&sc);
        bool cut = true;
        for (uint64_t n = 1; cut; n++) {
            place to = {0};
            shop s = {.archives = n % 2 == 0};
            place_on(&to, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true});
            vv_status st = try_restore(&sc.repo, &at, &to, &err);
            s.at = to;
            if (st == VV_OK && shop_try(&s, engines[e], false, &err) == VV_OK) {
                work_off(s.db);
                db_abandon(s.db);
            }
            cut = is_settled(&to, vio_sim_is_off(to.disk));
            s = (shop){.at = to};
            vv_db *db = NULL;
            vv_options opt = shop_options(false);
            vv_status there = db_open_engine(&to.env, &opt, engines[e], &db, &err);
            assert_true(there == VV_OK || (there == VV_NOT_FOUND && st != VV_OK));
            if (there == VV_OK) {
                db_abandon(db);
                is_there(&to, engines[e], n % 3 == 0, sc.want[0]);
                opened++;
            }
            place_end(&to);
        }
        assert_true(opened > 20);
        scene_end(&sc);
    }
}

static void prop_the_disk_is_full_everywhere(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    scene_half(&sc, &lsm_ops);
    backup_restore_options at = newest(&sc);
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        place p = copy_of(&sc.repo);
        place to = {0};
        place_on(&p, &(vio_sim_options){
                         .seed = n, .fault = VIO_SIM_ENOSPC, .fault_at = n, .tear = true});
        vv_status st = try_create(&p, sc.s.db, &err);
        failed = st != VV_OK;
        assert_true(st == VV_OK || st == VV_NO_SPACE);
        vio_sim_heal(p.disk);
        if (st != VV_OK)
            assert_ok(try_create(&p, sc.s.db, &err), err);
        place_on(&to, &(vio_sim_options){.seed = n, .fault = VIO_SIM_ENOSPC, .fault_at = n});
        st = try_restore(&p, &at, &to, &err);
        if (st == VV_OK) {
            shop s = {.at = to};
            st = shop_try(&s, &lsm_ops, false, &err);
            if (st == VV_OK)
                db_abandon(s.db);
        } else {
            assert_status(VV_NO_SPACE, st);
            vio_sim_heal(to.disk);
            assert_ok(try_restore(&p, &at, &to, &err), err);
        }
        failed |= vio_sim_fault_sites(to.disk, VIO_SIM_ENOSPC) >= n;
        assert_true(st == VV_OK || st == VV_NO_SPACE);
        vio_sim_heal(to.disk);
        is_there(&to, &lsm_ops, false, sc.want[0]);
        place_end(&to);
        place_end(&p);
    }
    scene_end(&sc);
}

static void prop_each_read_may_fail(void **state)
{
    (void)state;
    scene sc;
    vv_error err = {0};
    place whole = {0};
    scene_half(&sc, &lsm_ops);
    place_on(&sc.repo, &calm);
    assert_ok(try_create(&sc.repo, sc.s.db, &err), err);
    backup_restore_options at = newest(&sc);
    place_on(&whole, &calm);
    assert_ok(try_restore(&sc.repo, &at, &whole, &err), err);
    place_off(&whole);
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        place to = copy_of(&whole);
        place_on(&to, &(vio_sim_options){.seed = n, .fault = VIO_SIM_EIO, .fault_at = n});
        shop s = {.at = to};
        vv_status st = shop_try(&s, &lsm_ops, false, &err);
        if (st == VV_OK)
            db_abandon(s.db);
        hit = vio_sim_fault_sites(to.disk, VIO_SIM_EIO) >= n;
        vio_sim_heal(to.disk);
        is_there(&to, &lsm_ops, false, sc.want[0]);
        place_end(&to);
    }
    place_end(&whole);
    scene_end(&sc);
}

static void prop_each_allocation_may_fail(void **state)
{
    (void)state;
    scene sc;
    scene_half(&sc, &lsm_ops);
    backup_restore_options at = newest(&sc);
    uint64_t step = vv_test_count("VV_ALLOC_STEP", 29);
    bool failed = true;
    for (uint64_t n = 0; failed; n += step) {
        vv_error err = {0};
        place p = copy_of(&sc.repo);
        place to = {0};
        shop s = {0};
        place_on(&p, &calm);
        place_on(&to, &calm);
        vv_alloc_fail_after((int64_t)n, 0);
        vv_status st = try_create(&p, sc.s.db, &err);
        if (st == VV_OK)
            st = try_restore(&p, &at, &to, &err);
        bool is_restored = st == VV_OK;
        s.at = to;
        if (st == VV_OK)
            st = shop_try(&s, &lsm_ops, false, &err);
        vv_alloc_fail_after(-1, 0);
        failed = st != VV_OK;
        if (st == VV_OK)
            db_abandon(s.db);
        else if (st != VV_NO_MEMORY && strstr(err.msg, "no memory") == NULL)
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, vv_status_name(st), err.msg);
        if (is_restored)
            is_there(&to, &lsm_ops, false, sc.want[0]);
        place_end(&p);
        place_end(&to);
    }
    scene_end(&sc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_each_version_past_loads_can_be_restored),
        cmocka_unit_test(a_restored_store_goes_on_with_loads),
        cmocka_unit_test(contents_stay_until_a_backup_has_them),
        cmocka_unit_test(what_is_too_much_goes_and_is_told),
        cmocka_unit_test(a_load_of_a_dropped_table_hinders_no_opening),
        cmocka_unit_test(damage_in_the_repository_is_named),
        cmocka_unit_test(damage_in_a_restored_store_is_named),
        cmocka_unit_test(prop_a_cut_at_every_write_of_a_backup),
        cmocka_unit_test(prop_a_cut_at_every_write_of_restore_and_opening),
        cmocka_unit_test(prop_the_disk_is_full_everywhere),
        cmocka_unit_test(prop_each_read_may_fail),
        cmocka_unit_test(prop_each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
