/*
 * backup_test_util.h - a store, a repository and a place to restore to, each on a simulated disk of
 * its own.
 */
#ifndef VARVE_BACKUP_BACKUP_TEST_UTIL_H
#define VARVE_BACKUP_BACKUP_TEST_UTIL_H

#include "db/db_test_util.h"

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/hash.h"
#include "btree/btree.h"
#include "db/db_capture.h"
#include "lsm/lsm.h"

static const vio_sim_options calm = {.seed = 1};

typedef struct place {
    vio_sim_disk *disk;
    vv_env env;
} place;

static inline void place_on(place *p, const vio_sim_options *sim)
{
    vv_error err = {0};
    if (p->disk == NULL)
        p->disk = vio_sim_disk_create();
    assert_non_null(p->disk);
    assert_ok(vio_sim_open(p->disk, sim, &p->env.io, &err), err);
    p->env.clock = vio_sim_clock(p->disk);
    p->env.seed = 7;
}

static inline void place_off(place *p)
{
    vio_destroy(p->env.io);
    p->env.io = NULL;
}

static inline void place_end(place *p)
{
    if (p->env.io != NULL)
        place_off(p);
    vio_sim_disk_destroy(p->disk);
    *p = (place){0};
}

/* A store of two shards, tiny. */
typedef struct shop {
    place at;
    const engine_ops *ops;
    vv_db *db;
    vv_table *one, *two;                /* on different shards */
    bool archives;                      /* keeps its log for backups */
    const struct vv_tier_options *tier; /* of vv_options */
} shop;

static inline vv_options shop_options(bool create)
{
    vv_options opt = SIM_TINY_OPTIONS;
    opt.shard_count = 2;
    opt.create_if_missing = create;
    return opt;
}

static inline vv_status shop_try(shop *s, const engine_ops *ops, bool create, vv_error *err)
{
    vv_options opt = shop_options(create);
    opt.archive_log = s->archives;
    opt.tier = s->tier;
    s->ops = ops;
    return db_open_engine(&s->at.env, &opt, ops, &s->db, err);
}

static inline void shop_tables(shop *s)
{
    vv_error made = {0};
    s->one = make_table(s->db, "t", "one", VV_TABLE_KV);
    for (unsigned i = 0; s->two == NULL; i++) {
        char name[16];
        vv_table_info info[2];
        vv_error err = {0};
        (void)snprintf(name, sizeof name, "u%u", i); /* a tenant's tables are on one shard */
        vv_table_options opt = VV_TABLE_OPTIONS_INIT;
        opt.if_not_exists = true;
        opt.engine = s->ops == &lsm_ops ? VV_ENGINE_BTREE : VV_ENGINE_LSM; /* not the home's */
        assert_ok(vv_table_create(s->db, name, "two", &opt, &s->two, &made), made);
        assert_ok(vv_table_describe(s->one, &info[0], &err), err);
        assert_ok(vv_table_describe(s->two, &info[1], &err), err);
        if (info[0].shard == info[1].shard) {
            vv_table_close(s->two);
            s->two = NULL;
        }
    }
}

static inline void shop_open(shop *s, const engine_ops *ops, const vio_sim_options *sim)
{
    vv_error err = {0};
    place_on(&s->at, sim);
    assert_ok(shop_try(s, ops, true, &err), err);
    shop_tables(s);
}

static inline void shop_close(shop *s)
{
    vv_error err = {0};
    vv_table_close(s->one);
    vv_table_close(s->two);
    s->one = s->two = NULL;
    assert_ok(vv_db_close(s->db, &err), err);
    s->db = NULL;
    place_off(&s->at);
}

static inline void shop_abandon(shop *s)
{
    vv_table_close(s->one);
    vv_table_close(s->two);
    s->one = s->two = NULL;
    db_abandon(s->db);
    s->db = NULL;
    place_off(&s->at);
}

/* count puts of keys that repeat, with values that grow with `from`. */
static inline void fill(vv_table *t, unsigned from, unsigned count)
{
    vv_error err = {0};
    for (unsigned i = from; i < from + count; i++) {
        char key[16];
        char value[300];
        (void)snprintf(key, sizeof key, "key-%04u", i % 97);
        int n = snprintf(value, sizeof value, "value %u %0*u", i, (int)(i % 200), 0u);
        assert_ok(vv_put(t, vv_slice_str(key), vv_slice_of(value, (size_t)n), &err), err);
    }
}

static inline void work_off(vv_db *db)
{
    for (unsigned i = 0; i < 2000; i++)
        if (db_step(db, NULL) != VV_OK)
            break;
}

static inline void no_finding(void *ctx, const char *text)
{
    (void)ctx;
    fail_msg("%s", text);
}

/* A sum over everything a table shows. */
static inline uint64_t content_of(vv_table *t)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    uint64_t h = 0;
    assert_ok(vv_cursor_open(t, &opt, &c, &err), err);
    vv_status st = vv_cursor_seek(c, vv_slice_str(""), &err);
    for (; st == VV_OK && vv_cursor_valid(c); st = vv_cursor_next(c, &err)) {
        vv_slice k = vv_cursor_key(c);
        vv_slice v = vv_cursor_value(c);
        h = vv_hash64_seed(k.data, k.len, h);
        h = vv_hash64_seed(v.data, v.len, h);
        h = h * 31 + (uint64_t)vv_cursor_version(c);
    }
    assert_ok(st, err);
    vv_cursor_close(c);
    return h;
}

static inline uint64_t content_of_both(const shop *s)
{
    return content_of(s->one) * 31 + content_of(s->two);
}

static inline void make_repo(place *p, backup_repo **repo, bool write)
{
    vv_error err = {0};
    place_on(p, &calm);
    assert_ok(backup_repo_open(&p->env, write, repo, &err), err);
}

/* A store that was restored, opened: its content; checked and closed. */
static inline uint64_t content_at(place *p, const engine_ops *ops)
{
    vv_error err = {0};
    shop s = {.at = *p};
    assert_ok(db_check_env(&s.at.env, no_finding, NULL, &err), err);
    assert_ok(shop_try(&s, ops, false, &err), err);
    shop_tables(&s);
    uint64_t sum = content_of_both(&s);
    vv_table_close(s.one);
    vv_table_close(s.two);
    assert_ok(vv_db_close(s.db, &err), err);
    assert_ok(db_check_env(&s.at.env, no_finding, NULL, &err), err);
    return sum;
}

static inline uint64_t restored(place *repo_place, const backup_restore_options *opt,
                                const engine_ops *ops)
{
    vv_error err = {0};
    backup_repo *repo = NULL;
    place to = {0};
    make_repo(repo_place, &repo, false);
    place_on(&to, &calm);
    assert_ok(backup_restore(repo, opt, &to.env, NULL, &err), err);
    backup_repo_close(repo);
    place_off(repo_place);
    uint64_t sum = content_at(&to, ops);
    place_end(&to);
    return sum;
}

static inline void backup(place *repo_place, vv_db *db, const backup_create_options *opt,
                          backup_info *info)
{
    vv_error err = {0};
    backup_repo *repo = NULL;
    make_repo(repo_place, &repo, true);
    assert_ok(backup_create(repo, db, opt, info, &err), err);
    backup_repo_close(repo);
    place_off(repo_place);
}

#endif
