/*
 * engine_suite_cursor.c - cursors: bounds, directions, turning round, and staying what they are
 * while the engine changes beneath them.
 */
#include "engine/engine_suite_int.h"

static vv_slice k(const char *text)
{
    static uint8_t bufs[4][128];
    static unsigned turn;
    uint8_t *buf = bufs[turn++ % ARRAY_LEN(bufs)];
    return table_key(1, text, buf, sizeof bufs[0]);
}

static void at(engine_cursor *c, const char *key)
{
    if (engine_cursor_valid(c) != (key != NULL))
        fail_msg("the cursor is %s, expected %s",
                 engine_cursor_valid(c) ? "on a key" : "at its end", key == NULL ? "its end" : key);
    if (key != NULL && !vv_slice_eq(engine_cursor_item(c)->key, k(key)))
        fail_msg("the cursor is on '%.*s', expected '%s'", (int)engine_cursor_item(c)->key.len - 4,
                 (const char *)engine_cursor_item(c)->key.data + 4, key);
}

static void seek(engine_cursor *c, const char *to, const char *want)
{
    vv_error err;
    assert_ok(engine_cursor_seek(c, to == NULL ? vv_slice_of(NULL, 0) : k(to), &err), err);
    at(c, want);
}

static void seek_below(engine_cursor *c, const char *to, const char *want)
{
    vv_error err;
    assert_ok(engine_cursor_seek_below(c, to == NULL ? vv_slice_of(NULL, 0) : k(to), &err), err);
    at(c, want);
}

static void next(engine_cursor *c, const char *want)
{
    vv_error err;
    assert_ok(engine_cursor_next(c, &err), err);
    at(c, want);
}

static void prev(engine_cursor *c, const char *want)
{
    vv_error err;
    assert_ok(engine_cursor_prev(c, &err), err);
    at(c, want);
}

/* b d f h, with deleted keys between, older versions beneath and other tables around. */
static void write_letters(bed *b)
{
    b->table = 0;
    put_now(b, "zz", "other table");
    b->table = 2;
    put_now(b, "", "other table");
    b->table = 1;
    for (const char *key = "abcdefghi"; *key != '\0'; key++) {
        char text[2] = {*key, '\0'};
        put_now(b, text, "old");
    }
    for (const char *key = "acegi"; *key != '\0'; key++) {
        char text[2] = {*key, '\0'};
        del(b, text);
        commit(b);
    }
    put_now(b, "d", "new");
    put_now(b, "h", "new");
}

static void walk_letters(bed *b, void *ctx)
{
    (void)ctx;
    engine_cursor *c = open_cursor(b, b->version, "", NULL);
    seek(c, NULL, "b");
    next(c, "d");
    next(c, "f");
    prev(c, "d");
    prev(c, "b");
    next(c, "d");
    next(c, "f");
    next(c, "h");
    next(c, NULL);
    seek_below(c, NULL, "h");
    prev(c, "f");
    next(c, "h");
    prev(c, "f");
    prev(c, "d");
    prev(c, "b");
    prev(c, NULL);
    seek(c, "d", "d");
    seek(c, "d\x01", "f");
    seek(c, "c", "d");
    seek(c, "i", NULL);
    seek(c, "zzz", NULL);
    seek_below(c, "d", "b");
    seek_below(c, "d\x01", "d");
    seek_below(c, "b", NULL);
    seek_below(c, "zzz", "h");
    assert_true(engine_cursor_scanned(c) > 0);
    engine_cursor_close(c);
}

static void a_cursor_walks_both_ways(bed *b)
{
    write_letters(b);
    in_each_state(b, walk_letters, NULL);
}

static void walk_bounded(bed *b, void *ctx)
{
    (void)ctx;
    expect_scan_between(b, b->version, "b", "h", "b=old d=new f=old");
    expect_scan_between(b, b->version, "a", "d\x01", "b=old d=new");
    expect_scan_between(b, b->version, "d", "d", "");
    expect_scan_between(b, b->version, "h", "b", "");
    expect_scan_between(b, b->version, "e", "e\xff", "");
    engine_cursor *c = open_cursor(b, b->version, "c", "g");
    seek(c, "a", "d"); /* clamped */
    seek(c, "g", NULL);
    seek(c, "z", NULL);
    seek_below(c, "z", "f");
    seek_below(c, "c", NULL);
    seek_below(c, "a", NULL);
    seek(c, "f", "f");
    next(c, NULL);
    seek(c, "d", "d");
    prev(c, NULL);
    seek_below(c, NULL, "f");
    next(c, NULL);
    engine_cursor_close(c);
}

static void bounds_hold(bed *b)
{
    write_letters(b);
    in_each_state(b, walk_bounded, NULL);
}

static void walk_prefix(bed *b, void *ctx)
{
    (void)ctx;
    expect_scan_between(b, b->version, "user/", "user0", "user/=4 user/1=1 user/2=2");
    expect_scan_between(b, b->version, "\xff", NULL, "\xff=6 \xff\xff=7");
}

static void a_prefix_is_a_pair_of_bounds(bed *b)
{
    put(b, "user/1", "1");
    put(b, "user/2", "2");
    put(b, "use", "3");
    put(b, "user/", "4");
    put(b, "user0", "5");
    put(b, "\xff", "6");
    put(b, "\xff\xff", "7");
    commit(b);
    in_each_state(b, walk_prefix, NULL);
}

/* Keys of several sources interleave; each version of a hot key lies in another. */
static void cursors_merge_many_sources(bed *b)
{
    vv_error err;
    char key[16];
    char value[16];
    for (int round = 0; round < 6; round++) {
        for (int i = round; i < 60; i += 6) {
            (void)snprintf(key, sizeof key, "%02d", i);
            (void)snprintf(value, sizeof value, "%d", i);
            put(b, key, value);
        }
        (void)snprintf(value, sizeof value, "%d", round);
        put(b, "hot", value);
        commit(b);
        assert_ok(b->e->ops->freeze(b->e, &err), err);
        if (round % 2 == 0)
            settle(b);
    }
    engine_cursor *c = open_cursor(b, b->version, "", NULL);
    seek(c, NULL, "00");
    for (int i = 1; i < 60; i++) {
        (void)snprintf(key, sizeof key, "%02d", i);
        next(c, key);
        if (i % 7 == 3) { /* turn round twice */
            (void)snprintf(key, sizeof key, "%02d", i - 1);
            prev(c, key);
            (void)snprintf(key, sizeof key, "%02d", i);
            next(c, key);
        }
    }
    next(c, "hot");
    assert_true(vv_slice_eq(engine_cursor_item(c)->value, vv_slice_str("5")));
    prev(c, "59");
    engine_cursor_close(c);
    for (int round = 0; round < 6; round++) {
        (void)snprintf(value, sizeof value, "%d", round);
        expect_get(b, "hot", round + 1, value);
    }
}

static void a_cursor_sees_the_memtable_being_flushed(bed *b)
{
    vv_error err;
    put_now(b, "a", "1");
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    put_now(b, "b", "2");
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    put_now(b, "c", "3");
    expect_scan(b, 3, "a=1 b=2 c=3");
    settle(b);
    expect_scan(b, 3, "a=1 b=2 c=3");
}

static void a_cursor_keeps_its_snapshot(bed *b)
{
    char key[16];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof key, "%03d", i);
        put_now(b, key, "old");
    }
    compact_all(b);
    for (int i = 0; i < 200; i += 2) {
        (void)snprintf(key, sizeof key, "%03d", i);
        put_now(b, key, "newer");
    }
    int64_t version = b->version;
    vv_error err;
    assert_ok(b->e->ops->pin(b->e, version, b->now_ns, &err), err);
    engine_cursor *c = open_cursor(b, version, "", NULL);
    seek(c, NULL, "000");
    for (int i = 0; i < 199; i++) {
        assert_true(
            vv_slice_eq(engine_cursor_item(c)->value, vv_slice_str(i % 2 == 0 ? "newer" : "old")));
        /* All around it changes. */
        (void)snprintf(key, sizeof key, "%03d", (i * 37) % 200);
        if (i % 3 == 0)
            del(b, key);
        else
            put(b, key, "newest");
        (void)snprintf(key, sizeof key, "%03dx", i);
        put(b, key, "not seen");
        if (i % 50 == 20)
            del_range(b, "050", "150");
        commit(b);
        if (i % 40 == 30)
            compact_all(b);
        b->floor.version = b->version;
        (void)snprintf(key, sizeof key, "%03d", i + 1);
        next(c, key);
    }
    next(c, NULL);
    seek_below(c, NULL, "199");
    prev(c, "198");
    engine_cursor_close(c);
    b->e->ops->unpin(b->e, version, b->now_ns);
    compact_all(b);
}

static void a_value_stays_until_it_is_released(bed *b)
{
    vv_error err;
    for (int state = 0; state < 3; state++) {
        put_now(b, "a", "keep me");
        if (state == 1)
            settle(b);
        if (state == 2)
            compact_all(b);
        engine_value value;
        engine_read read = {.version = b->version, .now_ns = b->now_ns};
        assert_ok(b->e->ops->get(b->e, k("a"), &read, &value, &err), err);
        put_now(b, "a", "another");
        b->floor.version = b->version;
        compact_all(b);
        char key[16];
        for (int i = 0; i < 300; i++) {
            (void)snprintf(key, sizeof key, "%03d", i);
            put_now(b, key, "to use up the cache");
        }
        compact_all(b);
        assert_true(vv_slice_eq(value.data, vv_slice_str("keep me")));
        engine_value_release(&value);
    }
}

/* A scan must not look at each of many dead versions of one key more often than it has to. */
static void a_hot_key_is_passed(bed *b)
{
    put_now(b, "a", "1");
    for (int i = 0; i < 2000; i++) {
        put(b, "hot", "x");
        commit(b);
    }
    put_now(b, "z", "1");
    engine_cursor *c = open_cursor(b, b->version, "", NULL);
    seek(c, NULL, "a");
    next(c, "hot");
    next(c, "z");
    prev(c, "hot");
    prev(c, "a");
    engine_cursor_close(c);
    c = open_cursor(b, 2, "", NULL); /* 1,999 newer versions above */
    seek(c, NULL, "a");
    next(c, "hot");
    next(c, NULL);
    seek_below(c, NULL, "hot");
    prev(c, "a");
    engine_cursor_close(c);
}

const suite_test suite_cursor_tests[] = {
    {"a_cursor_walks_both_ways", a_cursor_walks_both_ways},
    {"bounds_hold", bounds_hold},
    {"a_prefix_is_a_pair_of_bounds", a_prefix_is_a_pair_of_bounds},
    {"cursors_merge_many_sources", cursors_merge_many_sources},
    {"a_cursor_sees_the_memtable_being_flushed", a_cursor_sees_the_memtable_being_flushed},
    {"a_cursor_keeps_its_snapshot", a_cursor_keeps_its_snapshot},
    {"a_value_stays_until_it_is_released", a_value_stays_until_it_is_released},
    {"a_hot_key_is_passed", a_hot_key_is_passed},
    {NULL, NULL},
};
