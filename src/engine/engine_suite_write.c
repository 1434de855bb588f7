/*
 * engine_suite_write.c - what a snapshot sees of puts, deletes, range deletes, expiry and batches.
 */
#include "engine/engine_suite_int.h"

/* -- versions -- */

static void versions_as_they_were(bed *b, void *ctx)
{
    (void)ctx;
    expect_get(b, "a", 0, NULL);
    expect_get(b, "a", 1, "one");
    expect_get(b, "a", 2, "two");
    expect_get(b, "a", 3, NULL);
    expect_get(b, "a", 4, "four");
    expect_get(b, "b", 4, NULL);
    expect_get(b, "b", 5, "");
    expect_scan(b, 0, "");
    expect_scan(b, 1, "a=one");
    expect_scan(b, 2, "a=two");
    expect_scan(b, 3, "");
    expect_scan(b, 5, "a=four b=");
    expect_scan(b, 1000, "a=four b=");
}

static void reads_at_each_version(bed *b)
{
    put_now(b, "a", "one");
    put_now(b, "a", "two");
    del(b, "a");
    commit(b);
    put_now(b, "a", "four");
    put_now(b, "b", "");
    in_each_state(b, versions_as_they_were, NULL);
}

static void versions_spread_over_states(bed *b)
{
    vv_error err;
    put_now(b, "a", "one");
    settle(b);
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    put_now(b, "a", "two");
    compact_all(b);
    del(b, "a");
    commit(b);
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    settle(b);
    put_now(b, "a", "four");
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    put_now(b, "b", "");
    in_each_state(b, versions_as_they_were, NULL);
}

static void tables_are_apart(bed *b)
{
    put_now(b, "k", "in 1");
    b->table = 2;
    put_now(b, "k", "in 2");
    b->table = 1;
    del_range(b, "", "~");
    commit(b);
    for (int i = 0; i < 2; i++) {
        b->table = 1;
        expect_scan(b, 3, "");
        expect_scan(b, 2, "k=in 1");
        b->table = 2;
        expect_scan(b, 3, "k=in 2");
        expect_scan(b, 1, "");
        b->table = 3;
        expect_scan(b, 3, "");
        compact_all(b);
    }
}

/* -- batches -- */

static void batch_left_this(bed *b, void *ctx)
{
    (void)ctx;
    expect_scan(b, 1, "a=old b=old c=old d=old");
    expect_scan(b, 2, "a=second c=after d=old e=back");
    expect_get(b, "b", 2, NULL);
    expect_get(b, "a", 2, "second");
}

static void operations_of_a_batch_apply_in_order(bed *b)
{
    put(b, "a", "old");
    put(b, "b", "old");
    put(b, "c", "old");
    put(b, "d", "old");
    commit(b);
    put(b, "a", "first");
    put(b, "a", "second"); /* the last write of a key wins */
    put(b, "b", "before");
    del_range(b, "b", "d"); /* hides what came before it in the batch */
    put(b, "c", "after");   /* and not what comes behind it */
    put(b, "e", "there");
    del(b, "e");
    put(b, "e", "back");
    commit(b);
    in_each_state(b, batch_left_this, NULL);
}

static void range_deletes_of_a_batch(bed *b, void *ctx)
{
    (void)ctx;
    expect_scan(b, 1, "a=1 b=1 c=1 d=1 e=1");
    expect_scan(b, 2, "a=1 c=3 e=1");
    expect_scan(b, 3, "a=1");
}

static void range_deletes_and_puts_alternate_in_a_batch(bed *b)
{
    put(b, "a", "1");
    put(b, "b", "1");
    put(b, "c", "1");
    put(b, "d", "1");
    put(b, "e", "1");
    commit(b);
    put(b, "b", "2");
    del_range(b, "b", "c");
    put(b, "c", "2");
    put(b, "d", "2");
    del_range(b, "c", "e");
    put(b, "c", "3");
    put(b, "d", "3");
    del(b, "d");
    del_range(b, "x", "x"); /* an empty range deletes nothing */
    commit(b);
    del_range(b, "b", "d");
    del_range(b, "c", "f");
    put(b, "f", "4");
    del(b, "f");
    commit(b);
    in_each_state(b, range_deletes_of_a_batch, NULL);
}

static void a_batch_is_invisible_before_it_is_published(bed *b)
{
    put_now(b, "a", "1");
    put(b, "a", "2");
    put(b, "b", "2");
    del_range(b, "c", "d");
    put(b, "e", "2");
    commit_unpublished(b);
    assert_int_equal(b->e->ops->visible(b->e), 1);
    expect_scan(b, 1, "a=1");
    expect_get(b, "a", 1, "1");
    expect_get(b, "b", 1, NULL);
    expect_get(b, "e", 1, NULL);
    expect_get(b, "a", 2, "2"); /* the resolver looks above */
    b->e->ops->publish(b->e, b->version);
    assert_int_equal(b->e->ops->visible(b->e), 2);
    expect_scan(b, 2, "a=2 b=2 e=2");
}

static void a_malformed_payload_changes_nothing(bed *b)
{
    static const uint8_t good_then_bad[] = {
        1,  0x82, 0x80, 0x80, 0x80, 0,              /* two operations */
        0,  5,    1,    0,    0,    0, 1, 'a', 'x', /* a put */
        15, 0,    0,    0,    0,    0, 0, 0,        /* of no kind */
    };
    vv_error err;
    put_now(b, "a", "1");
    vv_slice payload = vv_slice_of(good_then_bad, sizeof good_then_bad);
    assert_ok(b->e->ops->prepare(b->e, payload.len, 2, &err), err);
    assert_status(VV_CORRUPT, b->e->ops->apply(b->e, 2, 0, payload, &err));
    assert_status(VV_CORRUPT, b->e->ops->apply(b->e, 2, 0, vv_slice_of(NULL, 0), &err));
    expect_get(b, "a", 2, "1");
    expect_scan(b, 2, "a=1");
    put_now(b, "b", "2");
    expect_scan(b, 2, "a=1 b=2");
}

/* -- range deletes -- */

static void ranges_hide_older_only(bed *b, void *ctx)
{
    (void)ctx;
    expect_scan(b, 1, "a=1 b=1 c=1 d=1");
    expect_scan(b, 2, "a=1 d=1");
    expect_scan(b, 3, "a=1 c=3 d=1");
    expect_scan(b, 4, "a=1");
    expect_scan(b, 5, "a=1 b=5");
    expect_get(b, "c", 1, "1");
    expect_get(b, "c", 2, NULL);
    expect_get(b, "c", 3, "3");
    expect_get(b, "c", 4, NULL);
    expect_get(b, "b", 5, "5");
    expect_get(b, "a", 5, "1");
    expect_get(b, "d", 3, "1");
}

static void write_ranges(bed *b, void (*between)(bed *b))
{
    put(b, "a", "1");
    put(b, "b", "1");
    put(b, "c", "1");
    put(b, "d", "1");
    commit(b);
    between(b);
    del_range(b, "b", "d");
    commit(b);
    between(b);
    put_now(b, "c", "3");
    between(b);
    del_range(b, "aa", "zz"); /* over a newer put and an older range */
    commit(b);
    between(b);
    put_now(b, "b", "5");
}

static void nothing_between(bed *b)
{
    (void)b;
}

static void freeze_between(bed *b)
{
    vv_error err;
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    settle(b);
}

static void a_range_delete_hides_older_not_newer(bed *b)
{
    write_ranges(b, nothing_between);
    in_each_state(b, ranges_hide_older_only, NULL);
}

static void a_range_delete_reaches_into_older_runs(bed *b)
{
    write_ranges(b, freeze_between);
    in_each_state(b, ranges_hide_older_only, NULL);
}

static void a_range_delete_reaches_into_the_last_level(bed *b)
{
    write_ranges(b, compact_all);
    in_each_state(b, ranges_hide_older_only, NULL);
}

static void many_ranges(bed *b, void *ctx)
{
    int64_t last = *(int64_t *)ctx;
    char key[16];
    for (int i = 0; i < 300; i += 7) { /* key i is hidden from version 302 + i on */
        (void)snprintf(key, sizeof key, "%03d", i);
        expect_get(b, key, 301 + i, "v");
        expect_get(b, key, 302 + i, NULL);
        expect_get(b, key, last, NULL);
    }
}

static void many_range_deletes_that_nest(bed *b)
{
    char key[16];
    for (int i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof key, "%03d", i);
        put_now(b, key, "v");
    }
    put_now(b, "300", "stays"); /* version 301 */
    for (int i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof key, "%03d", i + 1);
        del_range(b, "", key); /* a queue that trims its head */
        commit(b);
        if (i % 90 == 89)
            freeze_between(b);
    }
    in_each_state(b, many_ranges, &b->version);
    expect_scan(b, b->version, "300=stays");
}

static void a_table_is_dropped_by_its_range(bed *b)
{
    for (b->table = 1; b->table <= 3; b->table++) {
        put(b, "", "empty key");
        put(b, "\xff\xff\xff\xff", "last");
        commit(b);
    }
    uint8_t from[4];
    uint8_t to[4];
    vv_put_be32(from, 2);
    vv_put_be32(to, 3);
    add_op(b, &(engine_op){.kind = ENGINE_RANGE_DELETE,
                           .key = vv_slice_of(from, 4),
                           .value = vv_slice_of(to, 4)});
    commit(b);
    for (int i = 0; i < 2; i++) {
        b->table = 1;
        expect_scan(b, 4, "=empty key \xff\xff\xff\xff=last");
        b->table = 2;
        expect_scan(b, 3, "=empty key \xff\xff\xff\xff=last");
        expect_scan(b, 4, "");
        b->table = 3;
        expect_scan(b, 4, "=empty key \xff\xff\xff\xff=last");
        compact_all(b);
    }
}

/* -- expiry -- */

static void expiry_by_read_time(bed *b, void *ctx)
{
    (void)ctx;
    const struct {
        int64_t now_ns;
        const char *all;
        const char *a;
    } cases[] = {
        {1000, "a=new b=1 c=1", "new"}, {1999, "a=new b=1 c=1", "new"},
        {2000, "b=1 c=1", NULL}, /* from its time on; what is beneath stays hidden */
        {2999, "b=1 c=1", NULL},        {3000, "b=1", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        b->now_ns = cases[i].now_ns;
        expect_scan(b, 2, cases[i].all);
        expect_get(b, "a", 2, cases[i].a);
        expect_get(b, "a", 1, "old");
    }
    b->now_ns = 1000;
}

static void an_expired_put_hides_what_is_beneath(bed *b)
{
    put(b, "a", "old");
    put(b, "b", "1");
    put_until(b, "c", "1", 3000);
    commit(b);
    put_until(b, "a", "new", 2000);
    commit(b);
    in_each_state(b, expiry_by_read_time, NULL);
}

static void an_expired_put_stays_dead_over_a_flush(bed *b)
{
    put_now(b, "a", "old");
    compact_all(b);
    put_until(b, "a", "new", 2000);
    commit(b);
    b->now_ns = 5000;
    b->floor = (engine_floor){.version = 2, .time_ns = 4000};
    expect_get(b, "a", 2, NULL);
    compact_all(b);
    expect_get(b, "a", 2, NULL);
    expect_scan(b, 2, "");
    put_now(b, "a", "again");
    expect_get(b, "a", 3, "again");
}

/* -- sizes -- */

static void extreme_sizes(bed *b)
{
    static uint8_t long_key[ENGINE_KEY_MAX];
    memset(long_key, 'k', sizeof long_key);
    vv_put_be32(long_key, b->table);
    size_t big_len = VV_MIB + 17;
    uint8_t *big = malloc(big_len);
    assert_non_null(big);
    vv_rng rng;
    vv_rng_init(&rng, 5);
    vv_rng_bytes(&rng, big, big_len);
    add_op(b, &(engine_op){.key = vv_slice_of(long_key, sizeof long_key),
                           .value = vv_slice_of(big, big_len)});
    add_op(b, &(engine_op){.key = vv_slice_of(long_key, sizeof long_key - 1)});
    add_op(b, &(engine_op){.key = vv_slice_of(long_key, 4)});
    commit(b);
    for (int state = 0; state < 3; state++) {
        vv_error err;
        engine_value got;
        engine_read read = {.version = b->version};
        vv_slice key = vv_slice_of(long_key, sizeof long_key);
        assert_ok(b->e->ops->get(b->e, key, &read, &got, &err), err);
        assert_true(vv_slice_eq(got.data, vv_slice_of(big, big_len)));
        engine_value_release(&got);
        engine_cursor *c = open_cursor(b, b->version, "", NULL);
        const size_t want[] = {4, sizeof long_key - 1, sizeof long_key};
        assert_ok(engine_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
        for (size_t i = 0; i < ARRAY_LEN(want); i++) {
            assert_true(engine_cursor_valid(c));
            assert_int_equal(engine_cursor_item(c)->key.len, want[i]);
            assert_ok(engine_cursor_next(c, &err), err);
        }
        assert_false(engine_cursor_valid(c));
        engine_cursor_close(c);
        compact_all(b);
    }
    free(big);
}

/* -- the resolver's question -- */

/* What the engine says, or, when it does not know, that the truth is below its floor. */
static void expect_last(bed *b, const char *key, int64_t want)
{
    uint8_t buf[64];
    int64_t floor = -1;
    int64_t got = b->e->ops->last_version(b->e, table_key(b->table, key, buf, sizeof buf), &floor);
    if (got == want)
        return;
    if (got != -1 || want > floor)
        fail_msg("last version of '%s' is %lld (floor %lld) instead of %lld", key, (long long)got,
                 (long long)floor, (long long)want);
}

static void last_versions(bed *b, void *ctx)
{
    (void)ctx;
    expect_last(b, "a", 3);
    expect_last(b, "b", 2);
    expect_last(b, "c", 4);
    expect_last(b, "cc", 4); /* never written, but its range was deleted */
    expect_last(b, "z", -1);
}

static void the_last_version_of_a_key_is_known(bed *b)
{
    put(b, "a", "1");
    put(b, "b", "1");
    commit(b);
    del(b, "b");
    commit(b);
    put_now(b, "a", "3");
    del_range(b, "c", "d");
    commit(b);
    in_each_state(b, last_versions, NULL);
    put(b, "a", "5");
    del_range(b, "x", "y");
    commit_unpublished(b); /* counts before it is visible */
    expect_last(b, "a", 5);
    expect_last(b, "xx", 5);
    b->e->ops->publish(b->e, b->version);
}

/* -- who touched a range since -- */

/* want NULL: nobody; otherwise the key that must be named. */
static void expect_touched(bed *b, const char *lower, const char *upper, int64_t since,
                           const char *want)
{
    vv_error err = {0};
    uint8_t lo[64];
    uint8_t hi[64];
    uint8_t key[64];
    engine_touch touch;
    vv_status st =
        b->e->ops->touched(b->e, table_key(b->table, lower, lo, sizeof lo),
                           table_key(b->table, upper, hi, sizeof hi), since, &touch, &err);
    if (st == VV_UNSUPPORTED && may_have_forgotten(b, since))
        return;
    if (st != (want == NULL ? VV_NOT_FOUND : VV_OK))
        fail_msg("[%s, %s) since %lld: %s %s", lower, upper, (long long)since, vv_status_name(st),
                 err.msg);
    if (want == NULL)
        return;
    assert_true(touch.version > since);
    assert_true(vv_slice_eq(vv_slice_of(touch.key, touch.key_len),
                            table_key(b->table, want, key, sizeof key)));
}

static void touched_since(bed *b, void *ctx)
{
    vv_error err = {0};
    (void)ctx;
    /* A reopen takes pins away; each state adds one, and none is taken back. */
    assert_ok(b->e->ops->pin(b->e, 1, b->now_ns, &err), err);
    expect_touched(b, "a", "b", 1, "a"); /* written anew */
    expect_touched(b, "a", "b", 2, NULL);
    expect_touched(b, "b", "bb", 1, "b"); /* written and deleted: absent before and after */
    expect_touched(b, "b", "bz", 3, NULL);
    expect_touched(b, "ba", "bz", 1, NULL);
    expect_touched(b, "c", "d", 3, "c"); /* the range deletion, which begins below */
    expect_touched(b, "cx", "cy", 3, "cx");
    expect_touched(b, "c", "d", 4, NULL);
    expect_touched(b, "e", "z", 1, NULL);
    expect_touched(b, "z", "zz", 0, "z");
}

static void what_was_touched_since_is_known(bed *b)
{
    put(b, "a", "1");
    put(b, "c", "1");
    put_now(b, "z", "1");
    assert_int_equal(b->version, 1);
    put(b, "b", "2");
    put_now(b, "a", "2");
    del(b, "b");
    commit(b);
    del_range(b, "bz", "d");
    commit(b);
    in_each_state(b, touched_since, NULL);
    put(b, "e", "5");
    commit_unpublished(b); /* counts before it is visible */
    expect_touched(b, "e", "f", 4, "e");
    b->e->ops->publish(b->e, b->version);
}

const suite_test suite_write_tests[] = {
    {"reads_at_each_version", reads_at_each_version},
    {"versions_spread_over_states", versions_spread_over_states},
    {"tables_are_apart", tables_are_apart},
    {"operations_of_a_batch_apply_in_order", operations_of_a_batch_apply_in_order},
    {"range_deletes_and_puts_alternate_in_a_batch", range_deletes_and_puts_alternate_in_a_batch},
    {"a_batch_is_invisible_before_it_is_published", a_batch_is_invisible_before_it_is_published},
    {"a_malformed_payload_changes_nothing", a_malformed_payload_changes_nothing},
    {"a_range_delete_hides_older_not_newer", a_range_delete_hides_older_not_newer},
    {"a_range_delete_reaches_into_older_runs", a_range_delete_reaches_into_older_runs},
    {"a_range_delete_reaches_into_the_last_level", a_range_delete_reaches_into_the_last_level},
    {"many_range_deletes_that_nest", many_range_deletes_that_nest},
    {"a_table_is_dropped_by_its_range", a_table_is_dropped_by_its_range},
    {"an_expired_put_hides_what_is_beneath", an_expired_put_hides_what_is_beneath},
    {"an_expired_put_stays_dead_over_a_flush", an_expired_put_stays_dead_over_a_flush},
    {"extreme_sizes", extreme_sizes},
    {"the_last_version_of_a_key_is_known", the_last_version_of_a_key_is_known},
    {"what_was_touched_since_is_known", what_was_touched_since_is_known},
    {NULL, NULL},
};
