/*
 * db_test_bed.h - the start and the end of a test that runs on each engine: a fresh store on the
 * simulated disk as *state.
 */
#ifndef VARVE_DB_DB_TEST_BED_H
#define VARVE_DB_DB_TEST_BED_H

#include "db/db_test_util.h"

#include "db/db_int.h"

static const engine_ops *engine_under_test;

static inline int setup(void **state)
{
    sim_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->ops = engine_under_test;
    w->opt = (vv_options)SIM_TINY_OPTIONS;
    sim_start(w);
    *state = w;
    return 0;
}

static inline int teardown(void **state)
{
    sim_world *w = *state;
    sim_end(w);
    free(w);
    return 0;
}

static inline vv_batch *new_batch(vv_db *db)
{
    vv_batch *b = vv_batch_create(db);
    assert_non_null(b);
    return b;
}

/* What a queued batch was answered. */
typedef struct done_log {
    int count;
    vv_status status[8];
    vv_write_result result[8];
} done_log;

static inline void note_done(void *ctx, vv_status status, const vv_write_result *result,
                             const vv_error *err)
{
    done_log *log = ctx;
    (void)err;
    log->status[log->count] = status;
    if (result != NULL)
        log->result[log->count] = *result;
    log->count++;
}

/* Every test as an entry of a table of cmocka. */
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Close, and open on a disk whose n-th write after the opening fails, and all that follow, until
 * vio_sim_heal. */
static inline void sim_reopen_failing(sim_world *w, uint64_t n)
{
    vv_error err = {0};
    sim_reopen(w);
    uint64_t sites = vio_sim_fault_sites(w->disk, VIO_SIM_EIO_STICKY);
    sim_close(w);
    vio_sim_options sim = {.seed = 1, .fault = VIO_SIM_EIO_STICKY, .fault_at = sites + n};
    assert_ok(sim_on(w, &sim, &err), err);
    assert_ok(sim_open_db(w, &err), err);
}

#endif
