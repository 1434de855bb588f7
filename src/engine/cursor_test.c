#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "engine/cursor.h"

/* A source over a sorted array that fails at the n-th call. */
typedef struct array_source {
    engine_source base;
    const engine_item *items;
    size_t count;
    size_t at;
    int *calls_left; /* shared by all sources of a test; < 0: never fails */
    int *closed;
} array_source;

static vv_status stand(engine_source *src, size_t at, vv_error *err)
{
    array_source *s = VV_CONTAINER_OF(src, array_source, base);
    if (*s->calls_left >= 0 && (*s->calls_left)-- == 0) {
        src->valid = false;
        return vv_fail(err, VV_IO, "the source fails");
    }
    s->at = at;
    src->valid = at < s->count;
    if (src->valid)
        src->item = s->items[at];
    return VV_OK;
}

static vv_status array_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    array_source *s = VV_CONTAINER_OF(src, array_source, base);
    size_t at = 0;
    while (at < s->count) {
        int c = vv_slice_cmp(s->items[at].key, key);
        if (c > 0 || (c == 0 && s->items[at].version <= version))
            break;
        at++;
    }
    return stand(src, at, err);
}

static vv_status array_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    array_source *s = VV_CONTAINER_OF(src, array_source, base);
    size_t at = s->count;
    while (at > 0 && key.data != NULL && vv_slice_cmp(s->items[at - 1].key, key) >= 0)
        at--;
    return stand(src, at - 1, err);
}

static vv_status array_next(engine_source *src, vv_error *err)
{
    return stand(src, VV_CONTAINER_OF(src, array_source, base)->at + 1, err);
}

static vv_status array_prev(engine_source *src, vv_error *err)
{
    return stand(src, VV_CONTAINER_OF(src, array_source, base)->at - 1, err);
}

static void array_close(engine_source *src)
{
    array_source *s = VV_CONTAINER_OF(src, array_source, base);
    (*s->closed)++;
    free(s);
}

static engine_source *array_open(const engine_item *items, size_t count, int *calls_left,
                                 int *closed)
{
    static const engine_source_ops ops = {.seek = array_seek,
                                          .seek_below = array_seek_below,
                                          .next = array_next,
                                          .prev = array_prev,
                                          .close = array_close};
    array_source *s = malloc(sizeof *s);
    assert_non_null(s);
    *s = (array_source){.base = {.ops = &ops},
                        .items = items,
                        .count = count,
                        .calls_left = calls_left,
                        .closed = closed};
    return &s->base;
}

#define ITEM(k, v, ver, kd)                                                                        \
    {                                                                                              \
        .key = {(const uint8_t *)(k), 1}, .value = {(const uint8_t *)(v), 1}, .version = (ver),    \
        .kind = (kd)                                                                               \
    }

static const engine_item newer[] = {
    ITEM("a", "3", 3, ENGINE_PUT),   ITEM("a", "2", 2, ENGINE_PUT), ITEM("b", "4", 4, ENGINE_PUT),
    ITEM("c", "", 5, ENGINE_DELETE), ITEM("e", "6", 6, ENGINE_PUT),
};
static const engine_item older[] = {
    ITEM("a", "1", 1, ENGINE_PUT),
    ITEM("c", "1", 1, ENGINE_PUT),
    ITEM("d", "1", 1, ENGINE_PUT),
    ITEM("e", "1", 1, ENGINE_PUT),
};

static void count_release(void *ctx)
{
    (*(int *)ctx)++;
}

static vv_status open_two(int64_t version, int *calls_left, int *closed, int *released,
                          engine_cursor **out)
{
    engine_source *sources[] = {
        array_open(newer, ARRAY_LEN(newer), calls_left, closed),
        array_open(older, ARRAY_LEN(older), calls_left, closed),
    };
    engine_cursor_options opt = {
        .read = {.version = version}, .lower = vv_slice_str("a"), .upper = vv_slice_str("z")};
    vv_error err;
    return engine_cursor_create(sources, 2, &opt, count_release, released, out, &err);
}

/* Keys and values in order, "a3b4d1e6". Stops at the first error. */
static vv_status walk(engine_cursor *c, bool reverse, char *text)
{
    vv_error err;
    vv_slice none = vv_slice_of(NULL, 0);
    vv_status st =
        reverse ? engine_cursor_seek_below(c, none, &err) : engine_cursor_seek(c, none, &err);
    while (st == VV_OK && engine_cursor_valid(c)) {
        *text++ = (char)engine_cursor_item(c)->key.data[0];
        *text++ = (char)engine_cursor_item(c)->value.data[0];
        st = reverse ? engine_cursor_prev(c, &err) : engine_cursor_next(c, &err);
    }
    *text = '\0';
    assert_true(st == VV_OK || !engine_cursor_valid(c));
    return st;
}

static void versions_merge(void **state)
{
    (void)state;
    const struct {
        int64_t version;
        const char *forward;
        const char *backward;
    } cases[] = {
        {0, "", ""},
        {1, "a1c1d1e1", "e1d1c1a1"},
        {2, "a2c1d1e1", "e1d1c1a2"},
        {4, "a3b4c1d1e1", "e1d1c1b4a3"},
        {5, "a3b4d1e1", "e1d1b4a3"},
        {9, "a3b4d1e6", "e6d1b4a3"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int calls_left = -1;
        int closed = 0;
        int released = 0;
        char text[32];
        engine_cursor *c;
        assert_status(VV_OK, open_two(cases[i].version, &calls_left, &closed, &released, &c));
        assert_status(VV_OK, walk(c, false, text));
        assert_string_equal(text, cases[i].forward);
        assert_status(VV_OK, walk(c, true, text));
        assert_string_equal(text, cases[i].backward);
        assert_int_equal(released, 0);
        engine_cursor_close(c);
        assert_int_equal(closed, 2);
        assert_int_equal(released, 1);
    }
}

static void a_source_may_fail_at_every_call(void **state)
{
    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        vv_status st = VV_IO;
        int n = 0;
        for (; st != VV_OK; n++) {
            int calls_left = n;
            int closed = 0;
            int released = 0;
            char text[32];
            engine_cursor *c;
            assert_status(VV_OK, open_two(9, &calls_left, &closed, &released, &c));
            st = walk(c, reverse != 0, text);
            assert_true(st == VV_OK || st == VV_IO);
            calls_left = -1; /* it works again: so does the cursor */
            assert_status(VV_OK, walk(c, false, text));
            assert_string_equal(text, "a3b4d1e6");
            engine_cursor_close(c);
        }
        assert_true(n > 5);
    }
}

static void a_failed_create_closes_its_sources(void **state)
{
    (void)state;
    if (vv_alloc_count() == 0) {
        void *probe = vv_alloc(1);
        vv_free(probe);
        if (vv_alloc_count() == 0)
            return; /* a build without test hooks */
    }
    int calls_left = -1;
    int closed = 0;
    int released = 0;
    engine_cursor *c = NULL;
    vv_alloc_fail_after(0, 0);
    vv_status st = open_two(9, &calls_left, &closed, &released, &c);
    vv_alloc_fail_after(-1, 0);
    assert_int_equal(st, VV_NO_MEMORY);
    assert_int_equal(closed, 2);
    assert_int_equal(released, 0);
    engine_cursor_close(NULL);
}

static void a_cursor_over_nothing_is_at_its_end(void **state)
{
    (void)state;
    engine_cursor_options opt = {.lower = vv_slice_str("a"), .upper = vv_slice_str("z")};
    engine_cursor *c;
    vv_error err;
    char text[8];
    assert_ok(engine_cursor_create(NULL, 0, &opt, NULL, NULL, &c, &err), err);
    assert_false(engine_cursor_valid(c));
    assert_status(VV_OK, walk(c, false, text));
    assert_status(VV_OK, walk(c, true, text));
    engine_cursor_close(c);
}

static void items_are_live_or_not(void **state)
{
    (void)state;
    const struct {
        const char *name;
        engine_item item;
        int64_t cover;
        bool want;
    } cases[] = {
        {"a put", {.kind = ENGINE_PUT, .version = 5}, -1, true},
        {"a deletion", {.kind = ENGINE_DELETE, .version = 5}, -1, false},
        {"a range below it", {.kind = ENGINE_PUT, .version = 5}, 4, true},
        {"a range of its own entry", {.kind = ENGINE_PUT, .version = 5}, 5, true},
        {"a range above it", {.kind = ENGINE_PUT, .version = 5}, 6, false},
        {"not yet expired", {.kind = ENGINE_PUT, .version = 5, .expires_ns = 101}, -1, true},
        {"expires now", {.kind = ENGINE_PUT, .version = 5, .expires_ns = 100}, -1, false},
        {"expired before 1970", {.kind = ENGINE_PUT, .version = 5, .expires_ns = -1}, -1, false},
    };
    engine_read read = {.version = 10, .now_ns = 100};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (engine_item_is_live(&cases[i].item, cases[i].cover, &read) != cases[i].want)
            fail_msg("%s", cases[i].name);
}

/* A version is needed if some reader, at a pin or from the floor on, sees it. */
static void prop_needed_is_what_some_reader_sees(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(8));
    for (int i = 0; i < 50000; i++) {
        int64_t pins[4];
        size_t pin_count = vv_rng_below(&rng, 5);
        int64_t last = 0;
        for (size_t p = 0; p < pin_count; p++)
            pins[p] = last += (int64_t)vv_rng_below(&rng, 8);
        int64_t floor = (int64_t)vv_rng_below(&rng, 20);
        int64_t version = (int64_t)vv_rng_below(&rng, 20);
        int64_t above = vv_rng_one_in(&rng, 4) ? -1 : version + 1 + (int64_t)vv_rng_below(&rng, 9);
        bool want = false;
        for (int64_t reader = 0; reader < 60; reader++) {
            bool exists = reader >= floor;
            for (size_t p = 0; p < pin_count; p++)
                exists |= pins[p] == reader;
            want |= exists && version <= reader && (above < 0 || reader < above);
        }
        assert_int_equal(engine_version_is_needed(version, above, pins, pin_count, floor), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_merge),
        cmocka_unit_test(a_source_may_fail_at_every_call),
        cmocka_unit_test(a_failed_create_closes_its_sources),
        cmocka_unit_test(a_cursor_over_nothing_is_at_its_end),
        cmocka_unit_test(items_are_live_or_not),
        cmocka_unit_test(prop_needed_is_what_some_reader_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
