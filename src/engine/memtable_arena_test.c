/*
 * Where the memory of memtables comes from and goes to: budgets, pools, what a sealed one keeps.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "engine/memtable_test_util.h"

static void creating_survives_failed_allocations(void **state)
{
    (void)state;
    vv_error err;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    engine_memtable_pool *pool = NULL;
    vv_status st = VV_NO_MEMORY;
    for (int n = 0; st != VV_OK; n++) {
        vv_alloc_fail_after(n, 0);
        engine_memtable *mt = NULL;
        engine_source *src = NULL;
        st = engine_memtable_pool_create(&budget, 1, 1, &pool, &err);
        if (st == VV_OK)
            st = engine_memtable_pool_warm(pool, VV_MIB, &err);
        if (st == VV_OK)
            st = engine_memtable_create_in(pool, VV_MIB, &mt, &err);
        if (st == VV_OK)
            st = engine_memtable_source(mt, &src, &err);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        engine_source_close(src);
        engine_memtable_unref(mt);
        engine_memtable_pool_unref(pool);
        pool = NULL;
        assert_int_equal(vv_budget_used(&budget), 0);
    }
}

static void a_new_memtable_is_never_refused_but_its_entries_are(void **state)
{
    (void)state;
    vv_error err;
    vv_budget budget;
    vv_budget_init(&budget, 10);
    engine_memtable_pool *pool = NULL;
    engine_memtable *mt = NULL;
    assert_ok(engine_memtable_pool_create(&budget, 9, 1, &pool, &err), err);
    assert_ok(engine_memtable_create_in(pool, VV_MIB, &mt, &err), err);
    uint64_t begin = vv_budget_used(&budget);
    assert_true(begin > 0 && begin <= 64 * VV_KIB);
    assert_status(VV_BUSY, engine_memtable_prepare(mt, 300 * VV_KIB, 10, &err));
    assert_int_equal(vv_budget_used(&budget), begin);
    /* What the pool keeps is given up for an entry. */
    budget.limit = 0;
    assert_ok(engine_memtable_pool_warm(pool, VV_MIB, &err), err);
    assert_true(vv_budget_used(&budget) > begin + VV_MIB);
    budget.limit = begin + VV_MIB;
    assert_ok(engine_memtable_prepare(mt, 300 * VV_KIB, 10, &err), err);
    assert_true(vv_budget_used(&budget) <= budget.limit);
    assert_false(engine_memtable_pool_trim(pool));
    /* What is logged is applied, also the tables that prepare did not count on. */
    budget.limit = vv_budget_used(&budget);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    size_t at = engine_entry_begin(&buf);
    for (uint32_t table = 1; table <= 2000; table++)
        engine_entry_add_key(&buf, ENGINE_PUT, table, vv_slice_str("k"), vv_slice_str("v"), 0);
    engine_entry_finish(&buf, at, 2000);
    assert_ok(engine_memtable_apply(mt, 1, vv_buf_slice(&buf), &err), err);
    assert_int_equal(engine_memtable_items(mt), 2000);
    assert_true(vv_budget_used(&budget) > budget.limit);
    vv_buf_fini(&buf);
    /* While the budget is short a dead memtable leaves nothing. */
    engine_memtable_unref(mt);
    assert_int_equal(vv_budget_used(&budget), 0);
    engine_memtable_pool_unref(pool);
}

/* What was prepared past the end of the arena is counted until the memtable is sealed, and the keys
 * that are there stay. */
static void a_sealed_memtable_gives_back_what_it_did_not_need(void **state)
{
    (void)state;
    vv_error err;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    engine_memtable *mt;
    assert_ok(engine_memtable_create(VV_MIB, &budget, &mt, &err), err);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    size_t at = engine_entry_begin(&buf);
    put_numbered(&buf, 1, 7, 10);
    engine_entry_finish(&buf, at, 1);
    assert_ok(engine_memtable_apply(mt, 1, vv_buf_slice(&buf), &err), err);
    vv_buf_fini(&buf);
    uint64_t before = vv_budget_used(&budget);
    assert_ok(engine_memtable_prepare(mt, 4 * VV_MIB, 1000, &err), err);
    assert_true(vv_budget_used(&budget) > before + 4 * VV_MIB);
    engine_memtable_seal(mt);
    uint64_t sealed = vv_budget_used(&budget);
    assert_true(sealed < before + 2 * VV_MIB); /* the rest of its own arena at most */
    engine_memtable_seal(mt);
    assert_int_equal(vv_budget_used(&budget), sealed);
    assert_int_equal(engine_memtable_items(mt), 1);
    engine_source *src = NULL;
    assert_ok(engine_memtable_source(mt, &src, &err), err);
    assert_ok(engine_source_seek(src, vv_slice_str(""), INT64_MAX, &err), err);
    assert_true(src->valid && src->item.value.len == 10);
    engine_source_close(src);
    engine_memtable_unref(mt);
    assert_int_equal(vv_budget_used(&budget), 0);
}

/* Of two dead memtables both arenas stay when their share covers them, else one. */
static void a_pool_keeps_more_inside_of_its_share(void **state)
{
    (void)state;
    for (uint64_t share = VV_MIB; share <= 8 * VV_MIB; share *= 8) {
        vv_error err;
        vv_budget budget;
        vv_budget_init(&budget, 16 * VV_MIB);
        vv_budget_keep(&budget, VV_BUDGET_MEMTABLE, share);
        engine_memtable_pool *pool;
        assert_ok(engine_memtable_pool_create(&budget, 9, 2, &pool, &err), err);
        engine_memtable *mt[3];
        for (size_t i = 0; i < ARRAY_LEN(mt); i++) {
            assert_ok(engine_memtable_pool_warm(pool, 2 * VV_MIB, &err), err);
            assert_ok(engine_memtable_create_in(pool, 2 * VV_MIB, &mt[i], &err), err);
        }
        uint64_t one = vv_budget_used(&budget) / ARRAY_LEN(mt);
        for (size_t i = 0; i < ARRAY_LEN(mt); i++)
            engine_memtable_unref(mt[i]);
        assert_int_equal(vv_budget_used(&budget), share > VV_MIB ? 2 * one : one);
        engine_memtable_pool_unref(pool);
        assert_int_equal(vv_budget_used(&budget), 0);
    }
}

static void a_pool_passes_memory_on(void **state)
{
    (void)state;
    vv_error err;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    engine_memtable_pool *pool;
    assert_ok(engine_memtable_pool_create(&budget, 9, 1, &pool, &err), err);
    for (int i = 0; i < 3; i++) /* no more than it keeps */
        assert_ok(engine_memtable_pool_warm(pool, 2 * VV_MIB, &err), err);
    uint64_t warm = vv_budget_used(&budget);
    assert_true(warm >= 2 * VV_MIB && warm < 3 * VV_MIB);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    engine_memtable *old[2] = {NULL, NULL};
    uint64_t filled = 0;
    for (int round = 0; round < 6; round++) {
        engine_memtable *mt;
        assert_ok(engine_memtable_create_in(pool, 2 * VV_MIB, &mt, &err), err);
        if (round == 0)
            assert_int_equal(vv_budget_used(&budget), warm);
        for (int64_t version = 1; !engine_memtable_is_full(mt); version++) {
            vv_buf_reset(&buf);
            size_t begin = engine_entry_begin(&buf);
            put_numbered(&buf, 1, (uint64_t)version * 7919, 100);
            engine_entry_finish(&buf, begin, 1);
            assert_ok(engine_memtable_prepare(mt, buf.len, 1, &err), err);
            assert_ok(engine_memtable_apply(mt, version, vv_buf_slice(&buf), &err), err);
        }
        assert_true(engine_memtable_bytes(mt) >= 2 * VV_MIB);
        /* What is in the recycled memory from before does not show. */
        assert_int_equal(engine_memtable_items(mt), (uint64_t)engine_memtable_max_version(mt));
        engine_item item;
        assert_status(VV_NOT_FOUND, engine_memtable_get(mt, vv_slice_str("none"), 1, &item));
        engine_memtable_unref(old[0]);
        old[0] = old[1];
        old[1] = mt;
        if (round == 2)
            filled = vv_budget_used(&budget);
        if (round > 2) /* two live, one kept: no more than that */
            assert_true(vv_budget_used(&budget) <= filled + 2 * VV_MIB);
    }
    engine_memtable_pool_unref(pool); /* the memtables hold it */
    engine_memtable_unref(old[0]);
    engine_memtable_unref(old[1]);
    vv_buf_fini(&buf);
    assert_int_equal(vv_budget_used(&budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(creating_survives_failed_allocations),
        cmocka_unit_test(a_new_memtable_is_never_refused_but_its_entries_are),
        cmocka_unit_test(a_sealed_memtable_gives_back_what_it_did_not_need),
        cmocka_unit_test(a_pool_keeps_more_inside_of_its_share),
        cmocka_unit_test(a_pool_passes_memory_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
