/*
 * btree_map_test.c - the mapping against an array, its snapshots and differences, and short memory.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "btree/btree_map.h"

#define IDS 3000u

static uint32_t id_of(uint32_t i)
{
    return i % 3 == 0 ? i : i % 3 == 1 ? i * 70000u : UINT32_MAX - 1 - i;
}

static void expect_same(const btree_map *m, const uint64_t *want)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < IDS; i++) {
        btree_place p = btree_map_get(m, id_of(i));
        uint64_t at = want[i] == 0 ? BTREE_NOWHERE : want[i];
        if (p.at != at || (want[i] != 0 && p.sum != (uint32_t)(want[i] * 3)))
            fail_msg("id %u lies at %llu", id_of(i), (unsigned long long)p.at);
        count += want[i] != 0;
    }
    assert_int_equal(m->count, count);
}

typedef struct seen {
    const btree_map *old;
    const btree_map *now;
    btree_map built; /* old with the differences applied */
    uint64_t count;
    int64_t last;
} seen;

static vv_status note(void *ctx, uint32_t id, btree_place place)
{
    seen *s = ctx;
    assert_true((int64_t)id > s->last);
    s->last = id;
    s->count++;
    assert_true(btree_map_get(s->now, id).at == place.at);
    return btree_map_set(&s->built, id, place, NULL);
}

static void prop_snapshots_keep_what_they_saw(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    vv_budget budget;
    vv_budget_init(&budget, 0);
    btree_map m;
    btree_map snap[4];
    static uint64_t now[IDS];
    static uint64_t then[4][IDS];
    btree_map_init(&m, &budget);
    for (int s = 0; s < 4; s++)
        btree_map_init(&snap[s], &budget);
    for (int round = 0; round < 60; round++) {
        uint64_t changes = vv_rng_below(&rng, 400);
        for (uint64_t n = 0; n < changes; n++) {
            uint32_t i = (uint32_t)vv_rng_below(&rng, IDS);
            now[i] = vv_rng_one_in(&rng, 3) ? 0 : 1 + vv_rng_below(&rng, UINT64_C(1) << 40);
            btree_place p = {now[i] == 0 ? BTREE_NOWHERE : now[i], (uint32_t)(now[i] * 3)};
            assert_int_equal(btree_map_set(&m, id_of(i), p, NULL), VV_OK);
        }
        int s = (int)vv_rng_below(&rng, 4);
        expect_same(&snap[s], then[s]);
        seen d = {.old = &snap[s], .now = &m, .last = -1};
        btree_map_share(&snap[s], &d.built);
        assert_int_equal(btree_map_diff(&snap[s], &m, note, &d), VV_OK);
        expect_same(&d.built, now);
        btree_map_fini(&d.built);
        btree_map_fini(&snap[s]);
        btree_map_share(&m, &snap[s]);
        memcpy(then[s], now, sizeof now);
        expect_same(&m, now);
    }
    seen all = {.now = &m, .last = -1};
    btree_map_init(&all.built, NULL);
    assert_int_equal(btree_map_diff(NULL, &m, note, &all), VV_OK);
    assert_int_equal(all.count, m.count);
    btree_map_fini(&all.built);
    btree_map_fini(&m);
    for (int s = 0; s < 4; s++)
        btree_map_fini(&snap[s]);
    assert_int_equal(vv_budget_used(&budget), 0);
}

static void a_failed_allocation_changes_nothing(void **state)
{
    (void)state;
    btree_map m;
    btree_map snap;
    btree_map_init(&m, NULL);
    vv_error err;
    assert_ok(btree_map_set(&m, 5, (btree_place){7, 8}, &err), err);
    btree_map_share(&m, &snap);
    bool failed = true;
    for (int n = 0; failed; n++) {
        vv_alloc_fail_after(n, 0);
        failed = btree_map_set(&m, 1u << 30, (btree_place){9, 9}, &err) != VV_OK;
        vv_alloc_fail_after(-1, 0);
        assert_int_equal(btree_map_get(&m, 5).at, 7);
        assert_int_equal(m.count, failed ? 1 : 2);
        assert_true(btree_map_get(&snap, 1u << 30).at == BTREE_NOWHERE);
    }
    btree_map_fini(&m);
    assert_int_equal(btree_map_get(&snap, 5).at, 7);
    btree_map_fini(&snap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_snapshots_keep_what_they_saw),
        cmocka_unit_test(a_failed_allocation_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
