#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "base/varint.h"
#include "engine/entry.h"

#define HEAD 1, 0x81, 0x80, 0x80, 0x80, 0 /* format, one operation */
#define KEY 0, 0, 0, 7, 'k'

static vv_status read_all(vv_slice payload, unsigned *count)
{
    engine_entry_iter it;
    engine_op op;
    vv_error err;
    *count = 0;
    vv_status st = engine_entry_open(payload, &it, &err);
    while (st == VV_OK) {
        st = engine_entry_next(&it, &op, &err);
        *count += st == VV_OK;
    }
    return st;
}

static void malformed_payloads_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        vv_status want; /* VV_NOT_FOUND: the clean end */
    } cases[] = {
        {"nothing", vv_slice_of(NULL, 0), VV_CORRUPT},
        {"a cut head", BYTES(1, 0x80, 0x80, 0x80, 0x80), VV_CORRUPT},
        {"no operations", BYTES(1, 0x80, 0x80, 0x80, 0x80, 0), VV_NOT_FOUND},
        {"format 0", BYTES(0, 0x80, 0x80, 0x80, 0x80, 0), VV_CORRUPT},
        {"format 2", BYTES(2, 0x80, 0x80, 0x80, 0x80, 0), VV_CORRUPT},
        {"a short count", BYTES(1, 1, 0, 5, 0, 0, 0, 0, 7, 'k'), VV_CORRUPT},
        {"a count of six bytes", BYTES(1, 0x81, 0x80, 0x80, 0x80, 0x80, 0), VV_CORRUPT},
        {"a count over 32 bits", BYTES(1, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 5, 0, KEY), VV_CORRUPT},
        {"more operations than bytes", BYTES(1, 0xff, 0x80, 0x80, 0x80, 0, 0, 5, 0, KEY),
         VV_CORRUPT},
        {"an operation too few",
         BYTES(1, 0x82, 0x80, 0x80, 0x80, 0, 0, 12, 0, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8),
         VV_CORRUPT},
        {"a put", BYTES(HEAD, 0, 5, 2, KEY, 'v', 'w'), VV_NOT_FOUND},
        {"a put of nothing", BYTES(HEAD, 0, 4, 0, 0, 0, 0, 7), VV_NOT_FOUND},
        {"bytes behind the last", BYTES(HEAD, 0, 5, 0, KEY, 0), VV_CORRUPT},
        {"a value cut off", BYTES(HEAD, 0, 5, 3, KEY, 'v', 'w'), VV_CORRUPT},
        {"a key cut off", BYTES(HEAD, 0, 20, 0, KEY, 0, 0), VV_CORRUPT},
        {"a key without a table", BYTES(HEAD, 0, 3, 0, 0, 0, 7, 0, 0), VV_CORRUPT},
        {"a key too long", BYTES(HEAD, 0, 0xff, 0x7f, 0, KEY), VV_CORRUPT},
        {"a value too long", BYTES(HEAD, 0, 5, 0xff, 0xff, 0xff, 0x7f, KEY), VV_CORRUPT},
        {"a long length", BYTES(HEAD, 0, 0x85, 0, 0, KEY), VV_CORRUPT},
        {"an endless length", BYTES(HEAD, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), VV_CORRUPT},
        {"a length of 2^64 - 1",
         BYTES(HEAD, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, KEY),
         VV_CORRUPT},
        {"a delete", BYTES(HEAD, 1, 5, 0, KEY), VV_NOT_FOUND},
        {"a delete with a value", BYTES(HEAD, 1, 5, 1, KEY, 'v'), VV_CORRUPT},
        {"a merge", BYTES(HEAD, 2, 5, 3, KEY, 3, 1, 'v'), VV_NOT_FOUND},
        {"a merge that expires", BYTES(HEAD, 0x12, 5, 2, 1, 0, 0, 0, 0, 0, 0, 0, KEY, 3, 0),
         VV_NOT_FOUND},
        {"a merge without steps", BYTES(HEAD, 2, 5, 0, KEY), VV_CORRUPT},
        {"a merge of an unknown operator", BYTES(HEAD, 2, 5, 3, KEY, 4, 1, 'v'), VV_CORRUPT},
        {"a range delete", BYTES(HEAD, 3, 5, 4, KEY, 0, 0, 0, 8), VV_NOT_FOUND},
        {"a range delete without an end", BYTES(HEAD, 3, 5, 0, KEY), VV_NOT_FOUND},
        {"kind 4", BYTES(HEAD, 4, 5, 0, KEY), VV_CORRUPT},
        {"an expiry", BYTES(HEAD, 0x10, 5, 1, 1, 0, 0, 0, 0, 0, 0, 0, KEY, 'v'), VV_NOT_FOUND},
        {"an expiry cut off", BYTES(HEAD, 0x10, 5, 1, 1, 0, 0, 0, 0, 0, 0, 0, KEY), VV_CORRUPT},
        {"an expiry of never", BYTES(HEAD, 0x10, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, KEY, 'v'),
         VV_CORRUPT},
        {"a delete that expires", BYTES(HEAD, 0x11, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, KEY), VV_CORRUPT},
        {"an unknown flag", BYTES(HEAD, 0x20, 5, 0, KEY), VV_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned count;
        vv_status got = read_all(cases[i].in, &count);
        if (got != cases[i].want)
            fail_msg("%s: %s", cases[i].name, vv_status_name(got));
    }
}

static void bytes_are_as_documented(void **state)
{
    (void)state;
    static const uint8_t want[] = {0xee, /* what stood in the buffer before */
                                   1,    0x83, 0x80, 0x80, 0x80, 0,                    /* head */
                                   0x10, 5,    1,    0x39, 0x30, 0,   0, 0,   0, 0, 0, /* expires */
                                   0,    0,    0,    7,    'k',  'v',         /* key, value */
                                   1,    5,    0,    0,    0,    0,   7, 'k', /* delete */
                                   3,    5,    4,    0,    0,    0,   7, 'k', 0, 0, 0, 8};
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    vv_buf_append_u8(&buf, 0xee);
    size_t begin = engine_entry_begin(&buf);
    engine_entry_add_key(&buf, ENGINE_PUT, 7, vv_slice_str("k"), vv_slice_str("v"), 12345);
    engine_op op = {.kind = ENGINE_DELETE, .key = vv_slice_of("\0\0\0\7k", 5), .expires_ns = 99};
    engine_entry_add(&buf, &op);
    op = (engine_op){.kind = ENGINE_RANGE_DELETE,
                     .key = vv_slice_of("\0\0\0\7k", 5),
                     .value = vv_slice_of("\0\0\0\10", 4)};
    engine_entry_add(&buf, &op);
    engine_entry_finish(&buf, begin, 3);
    assert_int_equal(begin, 1);
    assert_int_equal(buf.len, sizeof want);
    assert_memory_equal(buf.data, want, sizeof want);
    assert_int_equal(engine_key_table(op.key), 7);
    assert_int_equal(engine_key_table(vv_slice_str("abc")), 0);
    vv_buf_fini(&buf);
}

/* The bytes of a merge, frozen: docs/format/entry.md shows them. */
static void golden_bytes_of_a_merge(void **state)
{
    (void)state;
    static const uint8_t want[] = {0x02, 0x05, 0x0a, 0,    0,    0,    7,    'k',  1,    8,
                                   0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x12, 0x05,
                                   0x04, 0x39, 0x30, 0,    0,    0,    0,    0,    0,    0,
                                   0,    0,    7,    'k',  3,    2,    'h',  'i'};
    vv_buf buf;
    vv_buf_init(&buf, 1000);
    size_t begin = engine_entry_begin(&buf);
    engine_op op = {.kind = ENGINE_MERGE,
                    .key = vv_slice_of("\0\0\0\7k", 5),
                    .value = BYTES(1, 8, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)};
    engine_entry_add(&buf, &op);
    op.value = BYTES(3, 2, 'h', 'i');
    op.expires_ns = 12345;
    engine_entry_add(&buf, &op);
    engine_entry_finish(&buf, begin, 2);
    assert_int_equal(buf.len, 6 + sizeof want);
    assert_memory_equal(buf.data + 6, want, sizeof want);
    vv_buf_fini(&buf);
}

static engine_op random_op(vv_rng *rng, uint8_t *key, uint8_t *value)
{
    static const engine_kind kinds[] = {ENGINE_PUT, ENGINE_PUT, ENGINE_DELETE, ENGINE_RANGE_DELETE};
    engine_op op = {.kind = kinds[vv_rng_below(rng, ARRAY_LEN(kinds))]};
    size_t key_max = vv_rng_one_in(rng, 20) ? ENGINE_KEY_MAX : 40;
    size_t value_max = vv_rng_one_in(rng, 20) ? 5000 : 200;
    op.key = vv_slice_of(key, 4 + vv_rng_below(rng, key_max - 3));
    if (op.kind == ENGINE_PUT) {
        op.value = vv_slice_of(value, vv_rng_below(rng, value_max));
        if (vv_rng_one_in(rng, 3))
            op.expires_ns = (int64_t)(vv_rng_next(rng) >> vv_rng_below(rng, 64)) | 1;
    } else if (op.kind == ENGINE_RANGE_DELETE) {
        op.value = vv_slice_of(value, vv_rng_below(rng, key_max + 2));
    }
    return op;
}

static void prop_what_is_written_is_read(void **state)
{
    (void)state;
    enum { OPS = 30 };
    static uint8_t keys[OPS][ENGINE_KEY_MAX];
    static uint8_t values[OPS][5000];
    engine_op ops[OPS];
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(4));
    vv_rng_bytes(&rng, keys, sizeof keys);
    vv_rng_bytes(&rng, values, sizeof values);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    for (int round = 0; round < 500; round++) {
        uint32_t count = (uint32_t)vv_rng_below(&rng, OPS + 1);
        vv_buf_reset(&buf);
        size_t begin = engine_entry_begin(&buf);
        for (uint32_t i = 0; i < count; i++) {
            ops[i] = random_op(&rng, keys[i], values[i]);
            if (i % 2 == 0)
                engine_entry_add(&buf, &ops[i]);
            else
                engine_entry_add_key(&buf, ops[i].kind, engine_key_table(ops[i].key),
                                     vv_slice_of(ops[i].key.data + 4, ops[i].key.len - 4),
                                     ops[i].value, ops[i].expires_ns);
        }
        engine_entry_finish(&buf, begin, count);
        assert_int_equal(buf.status, VV_OK);
        engine_entry_iter it;
        engine_op op;
        vv_error err;
        assert_ok(engine_entry_open(vv_buf_slice(&buf), &it, &err), err);
        assert_int_equal(it.left, count);
        for (uint32_t i = 0; i < count; i++) {
            assert_ok(engine_entry_next(&it, &op, &err), err);
            assert_int_equal(op.kind, ops[i].kind);
            assert_int_equal(op.expires_ns, ops[i].expires_ns);
            assert_true(vv_slice_eq(op.key, ops[i].key));
            assert_true(vv_slice_eq(op.value, ops[i].value));
        }
        assert_status(VV_NOT_FOUND, engine_entry_next(&it, &op, &err));
    }
    vv_buf_fini(&buf);
}

/* Cut anywhere, or with any byte changed, it is refused or means something, and is never read past
 * its end (the sanitizers watch that). */
static void prop_damage_is_survived(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(5));
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    size_t begin = engine_entry_begin(&buf);
    for (int i = 0; i < 6; i++)
        engine_entry_add_key(&buf, i % 3 == 1 ? ENGINE_DELETE : ENGINE_PUT, 3, vv_slice_str("key"),
                             i % 3 == 1 ? vv_slice_of(NULL, 0) : vv_slice_str("value"), i);
    engine_entry_finish(&buf, begin, 6);
    unsigned count;
    for (size_t len = 0; len < buf.len; len++) {
        uint8_t *cut = malloc(len == 0 ? 1 : len); /* its own block: the end is a real one */
        assert_non_null(cut);
        memcpy(cut, buf.data, len);
        assert_status(VV_CORRUPT, read_all(vv_slice_of(cut, len), &count));
        free(cut);
    }
    for (int i = 0; i < 5000; i++) {
        uint8_t *copy = malloc(buf.len);
        assert_non_null(copy);
        memcpy(copy, buf.data, buf.len);
        for (uint64_t n = 1 + vv_rng_below(&rng, 3); n > 0; n--)
            copy[vv_rng_below(&rng, buf.len)] = (uint8_t)vv_rng_next(&rng);
        vv_status st = read_all(vv_slice_of(copy, buf.len), &count);
        assert_true(st == VV_CORRUPT || st == VV_NOT_FOUND);
        free(copy);
    }
    vv_buf_fini(&buf);
}

static void a_full_buffer_latches(void **state)
{
    (void)state;
    vv_buf buf;
    vv_buf_init(&buf, 24);
    size_t begin = engine_entry_begin(&buf);
    for (uint32_t i = 1; i < 4; i++) {
        engine_entry_add_key(&buf, ENGINE_PUT, 1, vv_slice_str("k"), vv_slice_str("0123456789"), 0);
        engine_entry_finish(&buf, begin, i);
    }
    assert_int_equal(buf.status, VV_BUSY);
    vv_buf_fini(&buf);

    vv_buf_init(&buf, VV_MIB);
    vv_alloc_fail_after(0, 0);
    begin = engine_entry_begin(&buf);
    engine_entry_add_key(&buf, ENGINE_PUT, 1, vv_slice_str("k"), vv_slice_str("v"), 0);
    engine_entry_finish(&buf, begin, 1);
    vv_alloc_fail_after(-1, 0);
    if (vv_alloc_count() > 0)
        assert_int_equal(buf.status, VV_NO_MEMORY);
    vv_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_payloads_are_refused), cmocka_unit_test(bytes_are_as_documented),
        cmocka_unit_test(prop_what_is_written_is_read),   cmocka_unit_test(prop_damage_is_survived),
        cmocka_unit_test(golden_bytes_of_a_merge),        cmocka_unit_test(a_full_buffer_latches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
