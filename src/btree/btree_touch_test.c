/*
 * btree_touch_test.c - who touched a key range since a version, when that was flushed: the traces
 * that a tree keeps while somebody is older, and when they go.
 */
#include "vv_test.h"

#include "btree/btree_int.h"
#include "btree/btree_test_world.h"

static vv_status touched(world *w, const char *lower, const char *upper, int64_t since,
                         engine_touch *out)
{
    uint8_t lo[32] = {0, 0, 0, 1};
    uint8_t hi[32] = {0, 0, 0, 1};
    vv_error err = {0};
    memcpy(lo + 4, lower, strlen(lower));
    memcpy(hi + 4, upper, strlen(upper));
    return btree_ops.touched(w->e, vv_slice_of(lo, 4 + strlen(lower)),
                             vv_slice_of(hi, 4 + strlen(upper)), since, out, &err);
}

static void expect_touched(world *w, const char *lower, const char *upper, int64_t since,
                           vv_status want)
{
    engine_touch touch = {0};
    vv_status got = touched(w, lower, upper, since, &touch);
    if (got != want || (got == VV_OK && touch.version <= since))
        fail_msg("[%s, %s) since %lld: %s instead of %s", lower, upper, (long long)since,
                 vv_status_name(got), vv_status_name(want));
}

static void pin(world *w)
{
    vv_error err = {0};
    assert_ok(btree_ops.pin(w->e, w->version, 0, &err), err);
}

static void remove_range(world *w, const char *start, const char *end)
{
    uint8_t bound[32] = {0, 0, 0, 1};
    memcpy(bound + 4, end, strlen(end));
    write_op(w, ENGINE_RANGE_DELETE, start, vv_slice_of(bound, 4 + strlen(end)));
}

static bool has_history(world *w)
{
    return atomic_load(&btree_engine_of(w->e)->view)->tree->history != NULL;
}

/* Put and deleted in one memtable: nothing of it is in the tree, and no older version was. */
static void a_key_that_came_and_went_leaves_a_trace(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    put(&w, "a", vv_slice_str("1"));
    flush(&w);
    int64_t since = w.version;
    pin(&w);
    put(&w, "m", vv_slice_str("2"));
    write_op(&w, ENGINE_DELETE, "m", (vv_slice){0});
    write_op(&w, ENGINE_DELETE, "n", (vv_slice){0}); /* never there at all */
    flush(&w);
    for (int compacted = 0; compacted < 2; compacted++) {
        expect_touched(&w, "m", "m\x01", since, VV_OK);
        expect_touched(&w, "n", "o", since, VV_OK);
        expect_touched(&w, "b", "m", since, VV_NOT_FOUND);
        expect_touched(&w, "a", "b", since, VV_NOT_FOUND);
        expect_touched(&w, "m", "z", w.version, VV_NOT_FOUND);
        expect_at(&w, since, "m", NULL);
        compact(&w);
    }
    btree_ops.unpin(w.e, since, 0);
    compact(&w);
    assert_false(has_history(&w)); /* the traces go with who could ask for them */
    expect_clean(&w);
    stop(&w);
}

/* Without anybody who is older a deletion leaves nothing behind. */
static void nobody_older_no_trace(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    put(&w, "m", vv_slice_str("1"));
    write_op(&w, ENGINE_DELETE, "m", (vv_slice){0});
    remove_range(&w, "p", "q");
    pin(&w); /* as new as all of it */
    flush(&w);
    assert_false(has_history(&w));
    assert_null(atomic_load(&btree_engine_of(w.e)->view)->cuts.set);
    expect_touched(&w, "a", "z", w.version, VV_NOT_FOUND);
    btree_ops.unpin(w.e, w.version, 0);
    stop(&w);
}

/* A put that expired is dropped; that it was written is not. */
static void an_expired_put_leaves_a_trace(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    put(&w, "a", vv_slice_str("1"));
    flush(&w);
    int64_t since = w.version;
    vv_error err = {0};
    assert_ok(btree_ops.pin(w.e, since, 300, &err), err);
    write_op_at(&w, ENGINE_PUT, "m", vv_slice_str("2"), 100, 50);
    w.floor_time_ns = 200;
    flush(&w);
    compact(&w);
    expect_touched(&w, "m", "n", since, VV_OK);
    expect_touched(&w, "n", "z", since, VV_NOT_FOUND);
    btree_ops.unpin(w.e, since, 300);
    stop(&w);
}

/* A range deletion that met no key is known for as long as somebody is older. */
static void a_range_deletion_of_nothing_leaves_a_trace(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    put(&w, "a", vv_slice_str("1"));
    flush(&w);
    int64_t since = w.version;
    pin(&w);
    remove_range(&w, "f", "k");
    flush(&w);
    put(&w, "x", vv_slice_str("2"));
    flush(&w); /* a view later */
    compact(&w);
    expect_touched(&w, "g", "h", since, VV_OK);
    expect_touched(&w, "b", "f", since, VV_NOT_FOUND);
    expect_touched(&w, "k", "l", since, VV_NOT_FOUND);
    expect_touched(&w, "g", "h", since + 1, VV_NOT_FOUND);
    btree_ops.unpin(w.e, since, 0);
    compact(&w);
    assert_null(atomic_load(&btree_engine_of(w.e)->view)->cuts.set);
    expect_touched(&w, "g", "h", since, VV_UNSUPPORTED); /* it was not pinned meanwhile */
    expect_touched(&w, "g", "h", w.version, VV_NOT_FOUND);
    stop(&w);
}

/* A reopened store does not know what was forgotten before, and says so. */
static void before_a_reopen_it_does_not_know(void **state)
{
    (void)state;
    world w;
    start(&w, 1 << 20, 4096);
    put(&w, "a", vv_slice_str("1"));
    put(&w, "b", vv_slice_str("2"));
    flush(&w);
    int64_t version = w.version;
    reopen(&w);
    w.version = version;
    pin(&w);
    put(&w, "c", vv_slice_str("3"));
    flush(&w);
    expect_touched(&w, "b", "c", 1, VV_OK); /* what it does find is true */
    expect_touched(&w, "a", "b", 1, VV_UNSUPPORTED);
    expect_touched(&w, "a", "c", version, VV_NOT_FOUND);
    expect_touched(&w, "a", "d", version, VV_OK);
    btree_ops.unpin(w.e, version, 0);
    stop(&w);
}

/* More range deletions than are kept: who is older than them is told that nobody knows. */
static void too_many_range_deletions_are_forgotten_aloud(void **state)
{
    (void)state;
    enum { RANGES = 65537 };
    world w;
    char from[16];
    char to[16];
    start(&w, 64 << 20, 4096);
    put(&w, "a", vv_slice_str("1"));
    flush(&w);
    int64_t since = w.version;
    pin(&w);
    for (unsigned i = 0; i < RANGES; i++) {
        (void)snprintf(from, sizeof from, "r%06u", i);
        (void)snprintf(to, sizeof to, "r%06u!", i);
        remove_range(&w, from, to);
        if (i + 1 == RANGES)
            expect_touched(&w, "r000007", "r000008", since, VV_OK);
    }
    flush(&w);
    expect_touched(&w, "r000007", "r000008", since, VV_UNSUPPORTED);
    expect_touched(&w, "r000007", "r000008", w.version, VV_NOT_FOUND);
    btree_ops.unpin(w.e, since, 0);
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_that_came_and_went_leaves_a_trace),
        cmocka_unit_test(nobody_older_no_trace),
        cmocka_unit_test(an_expired_put_leaves_a_trace),
        cmocka_unit_test(a_range_deletion_of_nothing_leaves_a_trace),
        cmocka_unit_test(before_a_reopen_it_does_not_know),
        cmocka_unit_test(too_many_range_deletions_are_forgotten_aloud),
    };
    return cmocka_run_group_tests_name("btree_touch", tests, NULL, NULL);
}
