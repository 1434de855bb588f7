/*
 * db_test_util.h - a store on the simulated disk, for the tests of db/ and the whole-database
 * tests. Some of these take real files instead: VV_IO names the backend.
 */
#ifndef VARVE_DB_DB_TEST_UTIL_H
#define VARVE_DB_DB_TEST_UTIL_H

#include "vv_test.h"

#include <string.h>

#include "db/db.h"
#include "io/vio_posix.h"
#include "io/vio_sim.h"

typedef struct sim_world {
    vio_sim_disk *disk;
    vv_env env;
    vv_db *db;
    const engine_ops *ops;
    vv_options opt;
    char root[64]; /* of real files, with the simulated clock; "": the simulated disk */
    vio_backend backend;
} sim_world;

/* Small everything: many flushes, many segments. */
#define SIM_TINY_OPTIONS                                                                           \
    {                                                                                              \
        .size = sizeof(vv_options), .create_if_missing = true, .compress = true,                   \
        .memory_limit = 16u << 20, .memtable_size = 16u << 10, .cache_size = 256u << 10,           \
        .log_segment_size = 64u << 10, .log_ring_size = 64u << 10, .log_limit = 256u << 10         \
    }

/* Power on, with a fault or a cut to come. */
static inline vv_status sim_on(sim_world *w, const vio_sim_options *sim, vv_error *err)
{
    vio_posix_options real = {.backend = w->backend};
    vv_status st = w->root[0] == '\0' ? vio_sim_open(w->disk, sim, &w->env.io, err)
                                      : vio_posix_open(w->root, &real, &w->env.io, err);
    w->env.clock = vio_sim_clock(w->disk);
    w->env.seed = sim->seed;
    w->db = NULL;
    return st;
}

/* With VV_IO (posix, threads, io_uring) in the environment: a directory of real files, in memory
 * where there is one, whose tests sync some thousand times. False: this machine refuses the
 * backend, which was said. */
static inline bool sim_choose_files(sim_world *w)
{
    const char *name = getenv("VV_IO");
    vv_error err = {0};
    if (name == NULL)
        return true;
    w->backend = VIO_BACKEND_POSIX;
    while (w->backend <= VIO_BACKEND_RING && strcmp(name, vio_backend_name(w->backend)) != 0)
        w->backend++;
    assert(w->backend <= VIO_BACKEND_RING && "VV_IO names no I/O backend");
    (void)snprintf(w->root, sizeof w->root, "/dev/shm/varve-test-XXXXXX");
    if (mkdtemp(w->root) == NULL) {
        (void)snprintf(w->root, sizeof w->root, "/tmp/varve-test-XXXXXX");
        if (mkdtemp(w->root) == NULL)
            abort();
    }
    vio *io = NULL;
    if (vio_posix_open(w->root, &(vio_posix_options){.backend = w->backend}, &io, &err) != VV_OK)
        abort();
    bool is_there = vio_posix_backend(io) == w->backend;
    vio_destroy(io);
    if (!is_there)
        print_message("SKIPPED: no %s here\n", name);
    return is_there;
}

static inline void sim_remove_files(const sim_world *w)
{
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", w->root);
    if (w->root[0] != '\0' && system(command) != 0)
        abort();
}

static inline vv_status sim_open_db(sim_world *w, vv_error *err)
{
    return db_open_engine(&w->env, &w->opt, w->ops, &w->db, err);
}

/* Power off without a cut: the store is gone, what it wrote stays. */
static inline void sim_off(sim_world *w)
{
    vio_destroy(w->env.io);
    w->env.io = NULL;
}

static inline void sim_start(sim_world *w)
{
    vv_error err = {0};
    if (w->disk == NULL)
        w->disk = vio_sim_disk_create();
    assert_non_null(w->disk);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(sim_open_db(w, &err), err);
}

static inline void sim_close(sim_world *w)
{
    vv_error err = {0};
    assert_ok(vv_db_close(w->db, &err), err);
    w->db = NULL;
    sim_off(w);
}

static inline void sim_reopen(sim_world *w)
{
    sim_close(w);
    sim_start(w);
}

static inline void sim_end(sim_world *w)
{
    if (w->db != NULL)
        sim_close(w);
    vio_sim_disk_destroy(w->disk);
    w->disk = NULL;
}

static inline vv_table *make_table_of(vv_db *db, const char *tenant, const char *name,
                                      vv_table_kind kind, vv_engine_kind of)
{
    vv_error err = {0};
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = kind;
    opt.engine = of;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(db, tenant, name, &opt, &table, &err), err);
    return table;
}

static inline vv_table *make_table(vv_db *db, const char *tenant, const char *name,
                                   vv_table_kind kind)
{
    return make_table_of(db, tenant, name, kind, VV_ENGINE_DEFAULT);
}

static inline void put(vv_table *table, const char *key, const char *value)
{
    vv_error err = {0};
    assert_ok(vv_put(table, vv_slice_str(key), vv_slice_str(value), &err), err);
}

/* value NULL: expect the key to be absent. */
static inline void expect(vv_table *table, const vv_snapshot *snapshot, const char *key,
                          const char *value)
{
    vv_error err = {0};
    vv_value got = {0};
    vv_status st = vv_get(table, snapshot, vv_slice_str(key), &got, &err);
    if (value == NULL) {
        if (st != VV_NOT_FOUND)
            fail_msg("'%s' is there: %s", key, vv_status_name(st));
        return;
    }
    if (st != VV_OK)
        fail_msg("'%s': %s: %s", key, vv_status_name(st), err.msg);
    if (!vv_slice_eq(got.data, vv_slice_str(value)))
        fail_msg("'%s' is '%.*s' instead of '%s'", key, (int)got.data.len,
                 (const char *)got.data.data, value);
    vv_value_release(&got);
}

#endif
