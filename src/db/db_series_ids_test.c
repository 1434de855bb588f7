/*
 * db_series_ids_test.c - a set of ids is what an array of flags is, however the ids lie; its memory
 * is counted and refused by name.
 */
#include "db/db_series_ids.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "vv_test.h"

#define SPACE 400000u

/* Ids far apart: page numbers that grow fast. */
static uint64_t id_of(uint32_t n, bool is_sparse)
{
    return is_sparse ? (uint64_t)n * 77777 + n % 3 : n;
}

static void check_same(db_ids *ids, const uint8_t *has, bool is_sparse)
{
    uint64_t id = 0;
    uint64_t count = 0;
    for (uint32_t n = 1; n < SPACE; n++) {
        if (db_ids_has(ids, id_of(n, is_sparse)) != (bool)has[n])
            fail_msg("id %u", n);
        if (!has[n])
            continue;
        count++;
        assert_true(db_ids_next(ids, &id));
        assert_int_equal(id, id_of(n, is_sparse));
    }
    assert_false(db_ids_next(ids, &id));
    assert_int_equal(ids->count, count);
}

static void prop_a_set_is_an_array_of_flags(void **state)
{
    vv_rng rng;
    vv_budget budget;
    uint8_t *has = calloc(1, SPACE);
    (void)state;
    vv_rng_init(&rng, vv_test_seed(11));
    vv_budget_init(&budget, 0);
    for (int round = 0; round < 6; round++) {
        db_ids ids;
        bool is_sparse = round % 2 == 1;
        uint32_t count = round < 2 ? 3000 : is_sparse ? 20000 : 300000;
        db_ids_init(&ids, &budget);
        memset(has, 0, SPACE);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t n = round == 2 ? i + 1 : 1 + (uint32_t)vv_rng_below(&rng, SPACE - 1);
            if (vv_rng_one_in(&rng, 4)) {
                db_ids_remove(&ids, id_of(n, is_sparse));
                has[n] = 0;
            } else {
                assert_int_equal(db_ids_add(&ids, id_of(n, is_sparse), NULL), VV_OK);
                has[n] = 1;
            }
        }
        check_same(&ids, has, is_sparse);
        assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_QUERY), ids.bytes);
        assert_true(is_sparse || ids.bytes <= 16 * (SPACE / 65536 + 2) * 1024);
        db_ids_fini(&ids);
        assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_QUERY), 0);
    }
    free(has);
}

static void the_highest_id_ends_a_walk(void **state)
{
    db_ids ids;
    uint64_t id = 0;
    (void)state;
    db_ids_init(&ids, NULL);
    assert_int_equal(db_ids_add(&ids, UINT64_MAX, NULL), VV_OK);
    assert_true(db_ids_next(&ids, &id));
    assert_true(id == UINT64_MAX);
    assert_false(db_ids_next(&ids, &id));
    db_ids_fini(&ids);
}

static void a_set_over_the_limit_is_refused(void **state)
{
    db_ids ids;
    vv_budget budget;
    vv_error err = {0};
    vv_status st = VV_OK;
    (void)state;
    vv_budget_init(&budget, 100000);
    db_ids_init(&ids, &budget);
    uint32_t n = 1;
    for (; st == VV_OK; n++)
        st = db_ids_add(&ids, (uint64_t)n << 16, &err);
    assert_int_equal(st, VV_BUSY);
    assert_non_null(strstr(err.msg, "memory_limit"));
    assert_int_equal(ids.count, n - 2); /* what was there stays */
    assert_true(db_ids_has(&ids, (uint64_t)(n - 2) << 16));
    db_ids_fini(&ids);
    assert_int_equal(vv_budget_used(&budget), 0);
}

static void walk_every_allocation_may_fail(void **state)
{
    (void)state;
    bool failed = true;
    for (int64_t at = 0; failed; at++) {
        db_ids ids;
        failed = false;
        db_ids_init(&ids, NULL);
        vv_alloc_fail_after(at, 0);
        for (uint32_t n = 1; n < 6000; n++) {
            vv_status st = db_ids_add(&ids, n + (uint64_t)(n % 5) * 100000, NULL);
            failed |= st != VV_OK;
            assert_true(st == VV_OK || st == VV_NO_MEMORY);
            assert_true(st == VV_OK ||
                        db_ids_add(&ids, n + (uint64_t)(n % 5) * 100000, NULL) == VV_OK);
        }
        vv_alloc_fail_after(-1, 0);
        assert_int_equal(ids.count, 5999);
        db_ids_fini(&ids);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_set_is_an_array_of_flags),
        cmocka_unit_test(the_highest_id_ends_a_walk),
        cmocka_unit_test(a_set_over_the_limit_is_refused),
        cmocka_unit_test(walk_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
