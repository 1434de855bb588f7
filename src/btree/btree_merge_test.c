/*
 * btree_merge_test.c - merges where only a tree has them so: over values that lie apart from their
 * leaf, in leaves that are not in memory, in chains that end with a flush.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "btree/btree_test_world.h"
#include "engine/operand.h"

#define BIG_LEN 50000u

static void merge_at(world *w, const char *key, engine_operator op, vv_slice operand,
                     int64_t commit_time_ns)
{
    vv_buf steps;
    uint8_t head[6];
    vv_buf_init(&steps, 1 << 24);
    vv_buf_append(&steps, head, engine_step_head(op, operand.len, head));
    vv_buf_append_slice(&steps, operand);
    write_op_at(w, ENGINE_MERGE, key, vv_buf_slice(&steps), 0, commit_time_ns);
    vv_buf_fini(&steps);
}

static void merge(world *w, const char *key, engine_operator op, vv_slice operand)
{
    merge_at(w, key, op, operand, 0);
}

/* What was appended to, in each of its forms: in its leaf, compressed, in pages of its own. */
static void a_merge_builds_on_a_value_that_lies_apart(void **state)
{
    (void)state;
    for (int compressed = 0; compressed < 2; compressed++) {
        world w;
        vv_error err = {0};
        start(&w, 4 << 20, 4096);
        btree_ops.close(w.e);
        w.opt.value_compression = compressed != 0;
        assert_ok(btree_ops.open(&w.opt, &w.e, &err), err);
        static uint8_t big[BIG_LEN + 16];
        for (size_t i = 0; i < BIG_LEN; i++)
            big[i] = (uint8_t)(i / 100);
        put(&w, "big", vv_slice_of(big, BIG_LEN));
        put(&w, "mid", vv_slice_of(big, 1500));
        put(&w, "small", vv_slice_str("x"));
        flush(&w);
        int64_t before = w.version;
        assert_ok(btree_ops.pin(w.e, before, 0, &err), err);
        for (unsigned round = 0; round < 3; round++) {
            merge(&w, "big", ENGINE_APPEND, vv_slice_str("+"));
            merge(&w, "mid", ENGINE_APPEND, vv_slice_str("+"));
            merge(&w, "small", ENGINE_APPEND, vv_slice_str("+"));
            big[BIG_LEN + round] = '+';
            expect(&w, "big", vv_slice_of(big, BIG_LEN + round + 1));
            flush(&w);
            expect(&w, "big", vv_slice_of(big, BIG_LEN + round + 1));
            expect(&w, "small", vv_slice_of("x+++", round + 2));
            const vv_slice then = vv_slice_of(big, BIG_LEN);
            expect_at(&w, before, "big", &then);
        }
        uint8_t mid[1503];
        memcpy(mid, big, 1500);
        memcpy(mid + 1500, "+++", 3);
        expect(&w, "mid", vv_slice_of(mid, sizeof mid));
        const vv_slice mid_then = vv_slice_of(big, 1500);
        expect_at(&w, before, "mid", &mid_then);
        expect_clean(&w);
        btree_ops.unpin(w.e, before, 0);
        compact(&w);
        expect(&w, "big", vv_slice_of(big, BIG_LEN + 3));
        expect_clean(&w);
        stop(&w);
    }
}

/* Every version between is there for its reader, before and after the flush. */
static void readers_see_each_link_of_a_chain(void **state)
{
    (void)state;
    world w;
    vv_error err = {0};
    static const char text[] = "abcdefghijklmnopqrstuvwxyz";
    start(&w, 1 << 20, 4096);
    for (unsigned i = 0; i < 26; i++) {
        merge(&w, "k", ENGINE_APPEND, vv_slice_of(text + i, 1));
        if (i % 5 == 2)
            assert_ok(btree_ops.pin(w.e, w.version, 0, &err), err);
    }
    for (int flushed = 0; flushed < 3; flushed++) {
        expect(&w, "k", vv_slice_of(text, 26));
        for (unsigned i = 2; i < 26; i += 5) {
            const vv_slice then = vv_slice_of(text, i + 1);
            expect_at(&w, (int64_t)i + 1, "k", &then);
        }
        if (flushed == 0)
            flush(&w);
        else
            compact(&w);
    }
    expect_clean(&w);
    for (unsigned i = 2; i < 26; i += 5)
        btree_ops.unpin(w.e, (int64_t)i + 1, 0);
    stop(&w);
}

/* The value beneath is in a leaf that is not in the cache. */
static void a_get_that_must_not_wait_says_so(void **state)
{
    (void)state;
    world w;
    vv_error err = {0};
    start(&w, 1 << 20, 4096);
    put(&w, "k", vv_slice_str("a"));
    flush(&w);
    int64_t version = w.version;
    reopen(&w); /* the cache is empty */
    w.version = version;
    merge(&w, "k", ENGINE_APPEND, vv_slice_str("b"));
    merge(&w, "new", ENGINE_APPEND, vv_slice_str("n"));
    const vv_slice keys[] = {vv_slice_of("\0\0\0\1k", 5), vv_slice_of("\0\0\0\1new", 7)};
    const vv_slice want[] = {vv_slice_str("ab"), vv_slice_str("n")};
    engine_read read = {.version = w.version, .from_memory = true};
    engine_value got[2] = {0};
    vv_status status[2];
    assert_int_equal(btree_ops.get(w.e, keys[0], &read, &got[0], &err), VV_BUSY);
    assert_int_equal(engine_multi_get(w.e, keys, 2, &read, got, status, &err), VV_BUSY);
    read.from_memory = false;
    assert_ok(engine_multi_get(w.e, keys, 2, &read, got, status, &err), err);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(status[i], VV_OK);
        assert_true(vv_slice_eq(got[i].data, want[i]));
        engine_value_release(&got[i]);
    }
    read.from_memory = true; /* the leaf is there now */
    assert_ok(btree_ops.get(w.e, keys[0], &read, &got[0], &err), err);
    assert_true(vv_slice_eq(got[0].data, want[0]));
    engine_value_release(&got[0]);
    stop(&w);
}

/* A compaction meets a value that has expired, and a memtable has a merge from before. */
static void an_expired_value_waits_for_its_merges(void **state)
{
    (void)state;
    world w;
    vv_error err = {0};
    start(&w, 1 << 20, 4096);
    write_op_at(&w, ENGINE_PUT, "k", vv_slice_str("a"), 100, 10);
    write_op_at(&w, ENGINE_PUT, "late", vv_slice_str("a"), 100, 10);
    flush(&w);
    merge_at(&w, "k", ENGINE_APPEND, vv_slice_str("b"), 50);
    merge_at(&w, "late", ENGINE_APPEND, vv_slice_str("b"), 150);
    w.floor_time_ns = 200;
    assert_ok(btree_ops.compact_range(w.e, vv_slice_of("\0", 1), vv_slice_str("\xff"), &err), err);
    work(&w);
    for (int flushed = 0; flushed < 2; flushed++) {
        expect(&w, "k", vv_slice_str("ab"));
        expect(&w, "late", vv_slice_str("b"));
        flush(&w);
    }
    stop(&w);
}

/* More operands of one key than a chain in memory may have: the flush makes values on the way. */
static void a_chain_of_any_length_is_flushed(void **state)
{
    (void)state;
    enum { LINKS = 80, LINK_LEN = 1 << 20 };
    world w;
    start(&w, 128 << 20, 4096);
    uint8_t *bytes = vv_alloc(LINK_LEN);
    assert_non_null(bytes);
    memset(bytes, 'x', LINK_LEN);
    uint8_t one[8] = {1};
    for (unsigned i = 0; i < LINKS; i++) {
        merge(&w, "k", ENGINE_ADD, vv_slice_of(one, 8)); /* operators in turn do not join */
        merge(&w, "k", ENGINE_APPEND, vv_slice_of(bytes, LINK_LEN));
    }
    merge(&w, "k", ENGINE_ADD, vv_slice_of(one, 8));
    flush(&w);
    expect(&w, "k", vv_slice_of(one, 8));
    expect_clean(&w);
    vv_free(bytes);
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_merge_builds_on_a_value_that_lies_apart),
        cmocka_unit_test(readers_see_each_link_of_a_chain),
        cmocka_unit_test(a_get_that_must_not_wait_says_so),
        cmocka_unit_test(an_expired_value_waits_for_its_merges),
        cmocka_unit_test(a_chain_of_any_length_is_flushed),
    };
    return cmocka_run_group_tests_name("btree_merge", tests, NULL, NULL);
}
