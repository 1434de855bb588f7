#include "vv_test.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "engine/memtable.h"
#include "engine/rangedel.h"

/* -- a universe of keys and random entries -- */

#define KEYS 400u
#define TABLES 5u

typedef struct universe {
    vv_rng rng;
    vv_slice keys[KEYS];
    uint8_t bytes[KEYS][80];
} universe;

/* Keys of many shapes: short, long shared prefixes, zeros, prefixes of one another. */
static void universe_init(universe *u, uint64_t seed)
{
    vv_rng_init(&u->rng, seed);
    for (size_t i = 0; i < KEYS; i++) {
        uint8_t *p = u->bytes[i];
        vv_put_be32(p, (uint32_t)vv_rng_below(&u->rng, TABLES) * 7);
        size_t len = 4;
        switch (vv_rng_below(&u->rng, 4)) {
        case 0:
            len += (size_t)snprintf((char *)p + 4, 40, "%08u", (unsigned)i);
            break;
        case 1:
            len += (size_t)snprintf((char *)p + 4, 70, "a/rather/long/prefix/that/many/share/%u",
                                    (unsigned)vv_rng_below(&u->rng, 300));
            break;
        case 2:
            for (size_t n = vv_rng_below(&u->rng, 6); n > 0; n--)
                p[len++] = vv_rng_one_in(&u->rng, 2) ? 0 : 0xff;
            break;
        default:
            for (size_t n = vv_rng_below(&u->rng, 30); n > 0; n--)
                p[len++] = (uint8_t)vv_rng_next(&u->rng);
        }
        u->keys[i] = vv_slice_of(p, len);
    }
}

static vv_slice any_key(universe *u)
{
    return u->keys[vv_rng_below(&u->rng, KEYS)];
}

static uint32_t add_random_ops(universe *u, vv_buf *buf, unsigned op_max)
{
    static uint8_t value[100];
    uint32_t count = 1 + (uint32_t)vv_rng_below(&u->rng, op_max);
    for (uint32_t i = 0; i < count; i++) {
        engine_op op = {.kind = ENGINE_PUT, .key = any_key(u)};
        if (vv_rng_one_in(&u->rng, 60)) {
            vv_slice a = any_key(u);
            vv_slice b = any_key(u);
            op.kind = ENGINE_RANGE_DELETE;
            op.key = vv_slice_cmp(a, b) < 0 ? a : b;
            op.value = vv_slice_cmp(a, b) < 0 ? b : a;
        } else if (vv_rng_one_in(&u->rng, 5)) {
            op.kind = ENGINE_DELETE;
        } else {
            vv_rng_bytes(&u->rng, value, 8);
            op.value = vv_slice_of(value, vv_rng_below(&u->rng, sizeof value));
            if (vv_rng_one_in(&u->rng, 6))
                op.expires_ns = 1 + (int64_t)vv_rng_below(&u->rng, 1000);
        }
        engine_entry_add(buf, &op);
    }
    return count;
}

static vv_slice random_entry(universe *u, vv_buf *buf, unsigned op_max, uint32_t *op_count)
{
    vv_buf_reset(buf);
    size_t begin = engine_entry_begin(buf);
    *op_count = add_random_ops(u, buf, op_max);
    engine_entry_finish(buf, begin, *op_count);
    assert_int_equal(buf->status, VV_OK);
    return vv_buf_slice(buf);
}

/* -- the memtable against the reference model -- */

static engine_cursor *cursor_on(engine_memtable *mt, const engine_read *read)
{
    static const uint8_t low[] = {0, 0, 0, 0};
    static const uint8_t high[] = {0xff, 0xff, 0xff, 0xff};
    vv_error err;
    engine_source *src;
    engine_cursor *c;
    assert_ok(engine_memtable_source(mt, &src, &err), err);
    engine_cursor_options opt = {*read, vv_slice_of(low, 4), vv_slice_of(high, 4)};
    assert_ok(engine_cursor_create(&src, 1, &opt, NULL, NULL, &c, &err), err);
    return c;
}

static engine_cursor *model_cursor(engine *model, const engine_read *read)
{
    static const uint8_t low[] = {0, 0, 0, 0};
    static const uint8_t high[] = {0xff, 0xff, 0xff, 0xff};
    vv_error err;
    engine_cursor *c;
    engine_cursor_options opt = {*read, vv_slice_of(low, 4), vv_slice_of(high, 4)};
    assert_ok(model->ops->cursor(model, &opt, &c, &err), err);
    return c;
}

static void expect_same_place(engine_cursor *a, engine_cursor *b, const char *what)
{
    if (engine_cursor_valid(a) != engine_cursor_valid(b))
        fail_msg("%s: one is at its end", what);
    if (!engine_cursor_valid(a))
        return;
    const engine_item *x = engine_cursor_item(a);
    const engine_item *y = engine_cursor_item(b);
    if (!vv_slice_eq(x->key, y->key) || !vv_slice_eq(x->value, y->value) ||
        x->version != y->version || x->expires_ns != y->expires_ns)
        fail_msg("%s: different items", what);
}

static void compare_scans(universe *u, engine_memtable *mt, engine *model, const engine_read *read)
{
    vv_error err;
    engine_cursor *a = cursor_on(mt, read);
    engine_cursor *b = model_cursor(model, read);
    vv_slice first = vv_slice_of(NULL, 0);
    assert_ok(engine_cursor_seek(a, first, &err), err);
    assert_ok(engine_cursor_seek(b, first, &err), err);
    for (;;) {
        expect_same_place(a, b, "forward");
        if (!engine_cursor_valid(a))
            break;
        assert_ok(engine_cursor_next(a, &err), err);
        assert_ok(engine_cursor_next(b, &err), err);
    }
    assert_ok(engine_cursor_seek_below(a, first, &err), err);
    assert_ok(engine_cursor_seek_below(b, first, &err), err);
    for (;;) {
        expect_same_place(a, b, "backward");
        if (!engine_cursor_valid(a))
            break;
        assert_ok(engine_cursor_prev(a, &err), err);
        assert_ok(engine_cursor_prev(b, &err), err);
    }
    for (int i = 0; i < 60; i++) { /* to and fro */
        if (!engine_cursor_valid(a) || vv_rng_one_in(&u->rng, 5)) {
            vv_slice key = any_key(u);
            bool below = vv_rng_one_in(&u->rng, 2);
            assert_ok(below ? engine_cursor_seek_below(a, key, &err)
                            : engine_cursor_seek(a, key, &err),
                      err);
            assert_ok(below ? engine_cursor_seek_below(b, key, &err)
                            : engine_cursor_seek(b, key, &err),
                      err);
        } else if (vv_rng_one_in(&u->rng, 2)) {
            assert_ok(engine_cursor_next(a, &err), err);
            assert_ok(engine_cursor_next(b, &err), err);
        } else {
            assert_ok(engine_cursor_prev(a, &err), err);
            assert_ok(engine_cursor_prev(b, &err), err);
        }
        expect_same_place(a, b, "walk");
    }
    engine_cursor_close(a);
    engine_cursor_close(b);
}

static void compare_gets(universe *u, engine_memtable *mt, engine *model, const engine_read *read)
{
    engine_rangedels *set = engine_memtable_rangedels(mt);
    for (int i = 0; i < 50; i++) {
        vv_slice key = any_key(u);
        engine_item item;
        engine_value value;
        vv_status want = model->ops->get(model, key, read, &value, NULL);
        vv_status got = engine_memtable_get(mt, key, read->version, &item);
        if (got == VV_OK) {
            assert_true(vv_slice_eq(item.key, key));
            if (!engine_item_is_live(&item, engine_rangedels_cover(set, key, read->version), read))
                got = VV_NOT_FOUND;
        }
        assert_int_equal(got, want);
        if (got == VV_OK) {
            assert_true(vv_slice_eq(item.value, value.data));
            assert_int_equal(item.version, value.version);
        }
        int64_t floor;
        assert_int_equal(engine_memtable_last_version(mt, key),
                         model->ops->last_version(model, key, &floor));
    }
    engine_rangedels_unref(set);
}

static void prop_agrees_with_the_model(void **state)
{
    (void)state;
    uint64_t rounds = vv_test_count("VV_MEMTABLE_ROUNDS", 20);
    uint64_t seed = vv_test_seed(11);
    for (uint64_t round = 0; round < rounds; round++) {
        static universe u;
        universe_init(&u, seed + round);
        vv_error err;
        engine *model;
        engine_memtable *mt;
        assert_ok(engine_memory_ops.open(&(engine_options){0}, &model, &err), err);
        assert_ok(engine_memtable_create(64 * VV_KIB, NULL, &mt, &err), err);
        vv_buf buf;
        vv_buf_init(&buf, VV_MIB);
        int64_t version = 0;
        for (int step = 0; step < 400; step++) {
            uint32_t ops;
            vv_slice payload = random_entry(&u, &buf, round % 2 == 0 ? 3 : 40, &ops);
            version += 1 + (int64_t)vv_rng_below(&u.rng, 3);
            assert_ok(engine_memtable_prepare(mt, payload.len, ops, &err), err);
            assert_ok(engine_memtable_apply(mt, version, payload, &err), err);
            assert_ok(model->ops->prepare(model, payload.len, ops, &err), err);
            assert_ok(model->ops->apply(model, version, 0, payload, &err), err);
            engine_read read = {.version = (int64_t)vv_rng_below(&u.rng, (uint64_t)version + 2),
                                .now_ns = (int64_t)vv_rng_below(&u.rng, 1200)};
            compare_gets(&u, mt, model, &read);
            if (step % 20 == 19)
                compare_scans(&u, mt, model, &read);
        }
        assert_int_equal(engine_memtable_max_version(mt), version);
        vv_buf_fini(&buf);
        engine_memtable_unref(mt);
        model->ops->close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_agrees_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
