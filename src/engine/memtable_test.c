#include "vv_test.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "engine/memtable.h"
#include "engine/memtable_test_util.h"
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
    engine_cursor_options opt = {
        .read = *read, .lower = vv_slice_of(low, 4), .upper = vv_slice_of(high, 4)};
    assert_ok(engine_cursor_create(&src, 1, &opt, NULL, NULL, &c, &err), err);
    return c;
}

static engine_cursor *model_cursor(engine *model, const engine_read *read)
{
    static const uint8_t low[] = {0, 0, 0, 0};
    static const uint8_t high[] = {0xff, 0xff, 0xff, 0xff};
    vv_error err;
    engine_cursor *c;
    engine_cursor_options opt = {
        .read = *read, .lower = vv_slice_of(low, 4), .upper = vv_slice_of(high, 4)};
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

/* Every version once, in the order of a source, and as many as the memtable says. */
static void expect_whole_order(engine_memtable *mt)
{
    vv_error err;
    engine_source *src;
    assert_ok(engine_memtable_source(mt, &src, &err), err);
    uint8_t last[128];
    size_t last_len = 0;
    int64_t last_version = 0;
    uint64_t count = 0;
    assert_ok(engine_source_seek(src, vv_slice_str(""), INT64_MAX, &err), err);
    for (; src->valid; count++) {
        int c = vv_slice_cmp(vv_slice_of(last, last_len), src->item.key);
        if (count > 0 && (c > 0 || (c == 0 && last_version <= src->item.version)))
            fail_msg("item %llu is out of order", (unsigned long long)count);
        last_len = src->item.key.len;
        last_version = src->item.version;
        memcpy(last, src->item.key.data, last_len);
        assert_ok(engine_source_next(src, &err), err);
    }
    assert_int_equal(count + engine_rangedels_count(src->rangedels), engine_memtable_items(mt));
    uint64_t back = 0;
    assert_ok(engine_source_seek_below(src, vv_slice_of(NULL, 0), &err), err);
    for (; src->valid; back++)
        assert_ok(engine_source_prev(src, &err), err);
    assert_int_equal(back, count);
    engine_source_close(src);
}

/* The counters hold at least what is found; more is what an entry wrote and then overwrote. */
static void expect_table_bytes(engine_memtable *mt)
{
    vv_error err;
    engine_source *src;
    uint64_t found[TABLES] = {0};
    uint64_t sum = 0;
    assert_ok(engine_memtable_source(mt, &src, &err), err);
    assert_ok(engine_source_seek(src, vv_slice_str(""), INT64_MAX, &err), err);
    for (; src->valid; (void)!engine_source_next(src, &err))
        found[engine_key_table(src->item.key) / 7] += src->item.key.len + src->item.value.len;
    engine_source_close(src);
    for (uint32_t i = 0; i < TABLES; i++) {
        uint64_t counted = engine_memtable_table_bytes(mt, i * 7, i * 7 + 1);
        assert_true(counted >= found[i]);
        assert_true((counted == 0) == (found[i] == 0));
        sum += counted;
    }
    assert_int_equal(engine_memtable_table_bytes(mt, 0, UINT64_MAX), sum);
    assert_int_equal(engine_memtable_table_bytes(mt, 0, 7 * TABLES - 6), sum);
    assert_int_equal(engine_memtable_table_bytes(mt, 1, 7), 0);
    assert_int_equal(engine_memtable_table_bytes(mt, 7, 7), 0);
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
        expect_whole_order(mt);
        expect_table_bytes(mt);
        vv_buf_fini(&buf);
        engine_memtable_unref(mt);
        model->ops->close(model);
    }
}

/* -- memory -- */

/* After prepare every allocation fails, and apply does not mind: splits, segments that double, new
 * tables and range deletions included. */
static void prop_apply_takes_no_memory(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(12));
    for (int round = 0; round < 12; round++) {
        static universe u;
        universe_init(&u, vv_test_seed(12) + (uint64_t)round);
        vv_error err;
        vv_budget budget;
        vv_budget_init(&budget, 0);
        engine_memtable *mt;
        assert_ok(engine_memtable_create(VV_KIB << round, &budget, &mt, &err), err);
        vv_buf buf;
        vv_buf_init(&buf, 16 * VV_MIB);
        uint32_t next_table = 100;
        uint64_t number = 0;
        for (int64_t version = 1; version < 60; version++) {
            vv_buf_reset(&buf);
            size_t begin = engine_entry_begin(&buf);
            uint32_t count = 0;
            uint64_t size = vv_rng_one_in(&rng, 10) ? 3000 : vv_rng_one_in(&rng, 3) ? 300 : 3;
            for (uint64_t i = 1 + vv_rng_below(&rng, size); i > 0; i--, count++)
                put_numbered(&buf, 1, version % 2 == 0 ? number++ : vv_rng_next(&rng), 10);
            for (uint64_t i = vv_rng_below(&rng, 59); i > 0; i--, count++) /* and six more */
                put_numbered(&buf, next_table++, 1, 0);
            if (version % 3 == 0)
                count += add_random_ops(&u, &buf, 400);
            engine_entry_finish(&buf, begin, count);
            assert_ok(engine_memtable_prepare(mt, buf.len, count, &err), err);
            uint64_t counted = vv_budget_used(&budget);
            vv_alloc_fail_after(0, 1);
            vv_status st = engine_memtable_apply(mt, version, vv_buf_slice(&buf), &err);
            vv_alloc_fail_after(-1, 0);
            assert_ok(st, err);
            assert_int_equal(vv_budget_used(&budget), counted);
            assert_true(engine_memtable_bytes(mt) <= counted);
        }
        vv_buf_fini(&buf);
        engine_memtable_unref(mt);
        assert_int_equal(vv_budget_used(&budget), 0);
    }
}

static void prepare_refuses_and_changes_nothing(void **state)
{
    (void)state;
    vv_error err;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    engine_memtable *mt;
    assert_ok(engine_memtable_create(64 * VV_KIB, &budget, &mt, &err), err);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    size_t begin = engine_entry_begin(&buf);
    put_numbered(&buf, 1, 1, 100);
    engine_entry_finish(&buf, begin, 1);
    assert_ok(engine_memtable_apply(mt, 1, vv_buf_slice(&buf), &err), err);
    budget.limit = vv_budget_used(&budget);
    assert_status(VV_BUSY, engine_memtable_prepare(mt, 10 * VV_MIB, 1000, &err));
    assert_int_equal(vv_budget_used(&budget), budget.limit);
    budget.limit = 0;
    vv_alloc_fail_after(0, 0);
    vv_status st = engine_memtable_prepare(mt, 10 * VV_MIB, 1000, &err);
    vv_alloc_fail_after(-1, 0);
    if (vv_alloc_count() > 0)
        assert_int_equal(st, VV_NO_MEMORY);
    assert_ok(engine_memtable_prepare(mt, 10 * VV_MIB, 1000, &err), err);
    assert_int_equal(engine_memtable_items(mt), 1);
    vv_buf_fini(&buf);
    engine_memtable_unref(mt);
    engine_memtable_unref(NULL);
    assert_int_equal(vv_budget_used(&budget), 0);
}

/* -- size -- */

/* By its name and by names around it that are not there. */
static void expect_found(engine_source *src, vv_slice key, bool is_last)
{
    static const char *const behind[] = {"", "\x01", "5", "~", "\xff\xff\xff\xff\xff\xff\xff\xff"};
    vv_error err;
    uint8_t buf[64];
    memcpy(buf, key.data, key.len);
    assert_ok(engine_source_seek(src, key, INT64_MAX, &err), err);
    assert_true(src->valid && vv_slice_eq(src->item.key, key));
    for (size_t i = 0; i < ARRAY_LEN(behind); i++) {
        size_t len = strlen(behind[i]);
        memcpy(buf + key.len, behind[i], len);
        vv_slice name = vv_slice_of(buf, key.len + (i == 0 ? 1 : len));
        buf[key.len] = i == 0 ? 0 : buf[key.len];
        assert_ok(engine_source_seek_below(src, name, &err), err);
        assert_true(src->valid && vv_slice_eq(src->item.key, key));
        assert_ok(engine_source_seek(src, name, INT64_MAX, &err), err);
        assert_int_equal(src->valid, !is_last);
        if (src->valid)
            assert_true(vv_slice_cmp(src->item.key, key) > 0);
    }
}

/* Enough keys for three levels of nodes and segments that double many times. */
static void many_keys_in_every_order(void **state)
{
    (void)state;
    enum { COUNT = 70200 }; /* 64 keys * 32 * 32 leaves, and a bit */
    for (int order = 0; order < 5; order++) {
        vv_error err;
        engine_memtable *mt;
        assert_ok(engine_memtable_create(VV_MIB, NULL, &mt, &err), err);
        vv_buf buf;
        vv_buf_init(&buf, 64 * VV_MIB);
        for (uint64_t i = 0; i < COUNT;) {
            vv_buf_reset(&buf);
            size_t begin = engine_entry_begin(&buf);
            uint32_t count = 0;
            for (; i < COUNT && count < 997; i++, count++) {
                const uint64_t n[] = {
                    i,                                      /* up */
                    COUNT - 1 - i,                          /* down */
                    i * 7919 % COUNT,                       /* all over */
                    i % 2 == 0 ? i / 2 : COUNT - 1 - i / 2, /* from both ends */
                    i / 600 * 600 + i % 600 * 7919 % 600,   /* around a moving place */
                };
                put_numbered(&buf, 1, n[order], 8);
            }
            engine_entry_finish(&buf, begin, count);
            assert_ok(engine_memtable_prepare(mt, buf.len, count, &err), err);
            assert_ok(engine_memtable_apply(mt, (int64_t)i, vv_buf_slice(&buf), &err), err);
        }
        engine_read read = {.version = INT64_MAX};
        engine_cursor *c = cursor_on(mt, &read);
        engine_source *src;
        assert_ok(engine_memtable_source(mt, &src, &err), err);
        char key[24];
        assert_ok(engine_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
        for (uint64_t i = 0; i < COUNT; i++) {
            (void)snprintf(key, sizeof key, "%016llx", (unsigned long long)i);
            assert_true(engine_cursor_valid(c));
            vv_slice at = engine_cursor_item(c)->key;
            assert_int_equal(at.len, 20);
            assert_memory_equal(at.data + 4, key, 16);
            engine_item item;
            assert_status(VV_OK, engine_memtable_get(mt, at, INT64_MAX, &item));
            expect_found(src, at, i + 1 == COUNT);
            assert_ok(engine_cursor_next(c, &err), err);
        }
        assert_false(engine_cursor_valid(c));
        assert_ok(engine_cursor_seek_below(c, vv_slice_of(NULL, 0), &err), err);
        uint64_t back = 0;
        for (; engine_cursor_valid(c); back++)
            assert_ok(engine_cursor_prev(c, &err), err);
        assert_int_equal(back, COUNT);
        engine_source_close(src);
        engine_cursor_close(c);
        vv_buf_fini(&buf);
        engine_memtable_unref(mt);
    }
}

/* A key of some components, each from few words of different lengths: nodes share prefixes of every
 * length, and keys come that break them. */
static size_t clustered_key(vv_rng *rng, uint8_t *key, size_t max)
{
    static const char *const words[] = {"",       "a",     "ab",       "abc", "zone/", "sensor-",
                                        "000000", "00000", "99999999", "z",   "\xff",  "\xff\xff"};
    vv_put_be32(key, 1);
    size_t len = 4;
    for (uint64_t parts = 1 + vv_rng_below(rng, 9); parts > 0; parts--) {
        const char *word = words[vv_rng_below(rng, ARRAY_LEN(words))];
        size_t word_len = strlen(word);
        if (len + word_len + 1 > max)
            break;
        memcpy(key + len, word, word_len);
        len += word_len;
        if (vv_rng_one_in(rng, 4))
            key[len++] = (uint8_t)vv_rng_below(rng, 3);
    }
    return len;
}

static void prop_clustered_keys_stay_in_order(void **state)
{
    (void)state;
    vv_rng rng;
    for (int round = 0; round < 6; round++) {
        vv_rng_init(&rng, vv_test_seed(14) + (uint64_t)round);
        vv_error err;
        engine_memtable *mt;
        assert_ok(engine_memtable_create(VV_MIB, NULL, &mt, &err), err);
        vv_buf buf;
        vv_buf_init(&buf, VV_MIB);
        for (int64_t version = 1; version <= 15000; version++) {
            uint8_t key[96];
            vv_buf_reset(&buf);
            size_t begin = engine_entry_begin(&buf);
            engine_op op = {.key = vv_slice_of(key, clustered_key(&rng, key, sizeof key))};
            engine_entry_add(&buf, &op);
            engine_entry_finish(&buf, begin, 1);
            assert_ok(engine_memtable_prepare(mt, buf.len, 1, &err), err);
            assert_ok(engine_memtable_apply(mt, version, vv_buf_slice(&buf), &err), err);
        }
        expect_whole_order(mt);
        vv_rng_init(&rng, vv_test_seed(14) + (uint64_t)round); /* the same keys again */
        engine_source *src;
        assert_ok(engine_memtable_source(mt, &src, &err), err);
        for (int64_t version = 1; version <= 15000; version++) {
            uint8_t buf_key[96];
            vv_slice key = vv_slice_of(buf_key, clustered_key(&rng, buf_key, sizeof buf_key));
            assert_ok(engine_source_seek(src, key, version, &err), err);
            assert_true(src->valid && vv_slice_eq(src->item.key, key));
            assert_int_equal(src->item.version, version);
        }
        engine_source_close(src);
        vv_buf_fini(&buf);
        engine_memtable_unref(mt);
    }
}

static void many_tables(void **state)
{
    (void)state;
    enum { TABLE_COUNT = 3000 };
    vv_error err;
    engine_memtable *mt;
    assert_ok(engine_memtable_create(VV_MIB, NULL, &mt, &err), err);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    size_t begin = engine_entry_begin(&buf); /* all in one entry */
    for (uint32_t i = 0; i < TABLE_COUNT; i++) {
        uint32_t table = i * 77 % TABLE_COUNT * 1000003; /* over the whole range of ids */
        put_numbered(&buf, table, 2, 4);
        put_numbered(&buf, table, 1, 4);
    }
    engine_entry_finish(&buf, begin, 2 * TABLE_COUNT);
    assert_ok(engine_memtable_apply(mt, 1, vv_buf_slice(&buf), &err), err);
    uint64_t each = 2 * (ENGINE_TABLE_PREFIX + 16 + 4);
    for (uint32_t i = 0; i < TABLE_COUNT; i++)
        assert_int_equal(engine_memtable_table_bytes(mt, i * 1000003, (uint64_t)i * 1000003 + 1),
                         each);
    assert_int_equal(engine_memtable_table_bytes(mt, 0, UINT64_MAX), TABLE_COUNT * each);
    engine_source *src;
    assert_ok(engine_memtable_source(mt, &src, &err), err);
    for (int reverse = 0; reverse < 2; reverse++) {
        uint32_t seen = 0;
        uint32_t last = 0;
        assert_ok(reverse ? engine_source_seek_below(src, vv_slice_of(NULL, 0), &err)
                          : engine_source_seek(src, vv_slice_str(""), INT64_MAX, &err),
                  err);
        for (; src->valid; seen++) {
            uint32_t table = engine_key_table(src->item.key);
            if (seen > 0)
                assert_true(reverse ? table <= last : table >= last);
            last = table;
            assert_ok(reverse ? engine_source_prev(src, &err) : engine_source_next(src, &err), err);
        }
        assert_int_equal(seen, 2 * TABLE_COUNT);
    }
    engine_source_close(src);
    vv_buf_fini(&buf);
    engine_memtable_unref(mt);
}

static void range_deletions_fill_a_memtable(void **state)
{
    (void)state;
    vv_error err;
    engine_memtable *mt;
    assert_ok(engine_memtable_create(64 * VV_MIB, NULL, &mt, &err), err);
    assert_null(engine_memtable_rangedels(mt));
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    int64_t version = 0;
    while (!engine_memtable_is_full(mt) && version < 100000) {
        uint8_t key[8];
        uint8_t end[8];
        vv_put_be32(key, 1);
        vv_put_be32(end, 1);
        vv_put_be32(key + 4, (uint32_t)(version * 7919 % 10007));
        vv_put_be32(end + 4, (uint32_t)(version * 7919 % 10007) + 3);
        vv_buf_reset(&buf);
        size_t begin = engine_entry_begin(&buf);
        engine_entry_add(&buf, &(engine_op){.kind = ENGINE_RANGE_DELETE,
                                            .key = vv_slice_of(key, 8),
                                            .value = vv_slice_of(end, 8)});
        engine_entry_finish(&buf, begin, 1);
        assert_ok(engine_memtable_prepare(mt, buf.len, 1, &err), err);
        assert_ok(engine_memtable_apply(mt, ++version, vv_buf_slice(&buf), &err), err);
        assert_int_equal(engine_memtable_last_version(mt, vv_slice_of(key, 8)), version);
    }
    assert_true(version < 100000);
    engine_rangedels *set = engine_memtable_rangedels(mt);
    assert_int_equal(engine_rangedels_count(set), version);
    for (size_t i = 1; i < engine_rangedels_count(set); i++)
        assert_true(vv_slice_cmp(engine_rangedels_at(set, i - 1)->start,
                                 engine_rangedels_at(set, i)->start) <= 0);
    engine_memtable_unref(mt); /* the set holds it */
    uint8_t key[8] = {0, 0, 0, 1, 0, 0, 0, 1};
    assert_true(engine_rangedels_cover(set, vv_slice_of(key, 8), INT64_MAX) > 0);
    engine_rangedels_unref(set);
    vv_buf_fini(&buf);
}

static void a_malformed_payload_is_refused_whole(void **state)
{
    (void)state;
    static universe u;
    universe_init(&u, vv_test_seed(13));
    vv_error err;
    engine_memtable *mt;
    assert_ok(engine_memtable_create(VV_MIB, NULL, &mt, &err), err);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    uint32_t ops;
    vv_slice payload = random_entry(&u, &buf, 30, &ops);
    for (size_t len = 0; len < payload.len; len++)
        assert_status(VV_CORRUPT,
                      engine_memtable_apply(mt, 1, vv_slice_of(payload.data, len), &err));
    assert_int_equal(engine_memtable_items(mt), 0);
    assert_int_equal(engine_memtable_max_version(mt), 0);
    assert_null(engine_memtable_rangedels(mt));
    assert_ok(engine_memtable_apply(mt, 1, payload, &err), err);
    assert_int_equal(engine_memtable_max_version(mt), 1);
    vv_buf_fini(&buf);
    engine_memtable_unref(mt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_agrees_with_the_model),
        cmocka_unit_test(prop_apply_takes_no_memory),
        cmocka_unit_test(prepare_refuses_and_changes_nothing),
        cmocka_unit_test(many_keys_in_every_order),
        cmocka_unit_test(prop_clustered_keys_stay_in_order),
        cmocka_unit_test(many_tables),
        cmocka_unit_test(range_deletions_fill_a_memtable),
        cmocka_unit_test(a_malformed_payload_is_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
