/*
 * db_partition_test_bed.h - tests of tables that lie on one shard or on several: a store with a
 * shard for each partition as *state, and main over each engine.
 */
#ifndef VARVE_DB_DB_PARTITION_TEST_BED_H
#define VARVE_DB_DB_PARTITION_TEST_BED_H

#include "db/db_test_bed.h"

#define SEC INT64_C(1000000000)
#define S(text) vv_slice_str(text)

static uint32_t test_partitions = 1; /* of the tables made here */

static inline int setup_partitions(void **state)
{
    sim_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->ops = engine_under_test;
    w->opt = (vv_options)SIM_TINY_OPTIONS;
    w->opt.shard_count = test_partitions;
    sim_start(w);
    *state = w;
    return 0;
}

/* A test of a store with a shard for each of test_partitions. */
#define TP(f) cmocka_unit_test_setup_teardown(f, setup_partitions, teardown)

static inline void flush_all(vv_db *db)
{
    vv_error err = {0};
    assert_ok(vv_checkpoint(db, &err), err);
}

/* On lsm, on lsm with three partitions, on the tree: main's answer. */
static inline int run_on_each(const struct CMUnitTest *tests, size_t count)
{
    engine_under_test = &lsm_ops;
    int failed = _cmocka_run_group_tests("lsm", tests, count, NULL, NULL);
    test_partitions = 3;
    failed += _cmocka_run_group_tests("lsm, 3 partitions", tests, count, NULL, NULL);
    test_partitions = 1;
    engine_under_test = &btree_ops;
    failed += _cmocka_run_group_tests("btree", tests, count, NULL, NULL);
    return failed;
}

#endif
