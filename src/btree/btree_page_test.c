/*
 * btree_page_test.c - the bytes of pages, derived by hand from the format's description, and what
 * is refused.
 */
#include "vv_test.h"

#include "base/rng.h"
#include "btree/btree_page.h"

#define SIZE 512u

static btree_entry entry(const char *key, const char *value, uint64_t timestamp)
{
    return (btree_entry){
        .key = vv_slice_str(key), .value = vv_slice_str(value), .timestamp = timestamp};
}

/* All of a page but its sum; what is not given is zero. */
static void expect_bytes(const uint8_t *page, size_t size, const uint8_t *want, size_t want_len)
{
    for (size_t i = 8; i < size; i++) {
        uint8_t w = i - 8 < want_len ? want[i - 8] : 0;
        if (page[i] != w)
            fail_msg("byte %zu is %02x, not %02x", i, page[i], w);
    }
}

static void a_data_page_has_these_bytes(void **state)
{
    (void)state;
    uint8_t page[SIZE];
    btree_builder b;
    btree_builder_begin(&b, BTREE_DATA, page, SIZE, 2);
    btree_builder_set_links(&b, 7, 0x01020304);
    btree_entry e = entry("apple", "red", 100);
    assert_true(btree_builder_add(&b, &e));
    e = entry("apricot", "", 99); /* shares "ap"; delta -1 */
    e.flags = BTREE_HAS_EXPIRY;
    e.expires = 300;
    assert_true(btree_builder_add(&b, &e));
    e = entry("banana", "\x05\x00\x00\x00", 1); /* a restart: its delta counts from 0 */
    e.value.len = 4;
    e.flags = BTREE_IS_OVERFLOW;
    assert_true(btree_builder_add(&b, &e));
    btree_builder_finish(&b);
    const uint8_t want[] = {
        2,                                              /* type */
        63,   0,                                        /* content length, through the count */
        7,    0,    0,    0,                            /* previous leaf */
        4,    3,    2,    1,                            /* next leaf */
        0,    5,    0x30, 'a', 'p', 'p', 'l', 'e',      /* offset 19: 3 << 4 */
        'r',  'e',  'd',  200, 1,                       /* +100: 200 as a varint */
        2,    5,    0x02, 'r', 'i', 'c', 'o', 't',      /* offset 32: no value, expiry */
        0xac, 0x02, 3,                                  /* 300; -1 */
        0,    6,    0x41, 'b', 'a', 'n', 'a', 'n', 'a', /* offset 43: 4 << 4 | overflow */
        5,    0,    0,    0,   2,                       /* page 5; +1 */
        19,   0,    43,   0,   2,   0,                  /* restarts and their count */
    };
    /* Offsets: 19 + 13 = 32, 32 + 11 = 43, 43 + 14 = 57, then 2 x 2 + 2: 63. */
    expect_bytes(page, SIZE, want, sizeof want);
    vv_error err;
    assert_ok(btree_page_verify(page, SIZE, &err), err);
}

static void an_index_page_has_these_bytes(void **state)
{
    (void)state;
    uint8_t page[SIZE];
    btree_builder b;
    btree_builder_begin(&b, BTREE_LEAF_INDEX, page, SIZE, 16);
    btree_builder_set_leftmost(&b, 9);
    assert_true(btree_builder_add_child(&b, vv_slice_str("fig"), 70));
    assert_true(btree_builder_add_child(&b, vv_slice_str("figs"), 69));
    btree_builder_finish(&b);
    const uint8_t want[] = {
        1,                            /* a leaf index */
        30, 0,                        /* 15 + 7 + 4 + 2 + 2 */
        9,  0, 0,   0,                /* left-most child */
        0,  3, 'f', 'i', 'g', 140, 1, /* +70 */
        3,  1, 's', 3,                /* -1 */
        15, 0, 1,   0,                /* one restart */
    };
    expect_bytes(page, SIZE, want, sizeof want);
    /* With the left-most child alone there is no restart. */
    btree_builder_begin(&b, BTREE_INDEX, page, SIZE, 16);
    btree_builder_set_leftmost(&b, 3);
    btree_builder_finish(&b);
    const uint8_t alone[] = {0, 17, 0, 3, 0, 0, 0, 0, 0};
    expect_bytes(page, SIZE, alone, sizeof alone);
}

static void an_overflow_page_has_these_bytes(void **state)
{
    (void)state;
    uint8_t page[SIZE];
    const uint32_t next[] = {1, 0x0a0b0c0d};
    btree_overflow_encode(page, SIZE, vv_slice_str("value"), next, 2);
    uint8_t want[SIZE - 8] = {3, 5, 0, 'v', 'a', 'l', 'u', 'e'};
    const uint8_t tail[] = {1, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a, 2};
    memcpy(want + sizeof want - sizeof tail, tail, sizeof tail);
    expect_bytes(page, SIZE, want, sizeof want);
    assert_int_equal(btree_overflow_capacity(4096, 16, false), 4084);
    assert_int_equal(btree_overflow_capacity(4096, 16, true), 4020);
}

/* XXH3-64 of 4088 bytes i * 7 & 255 as the reference program xxhsum prints it. */
static void the_sum_is_xxh3(void **state)
{
    (void)state;
    uint8_t page[4096];
    for (size_t i = 0; i < 4088; i++)
        page[8 + i] = (uint8_t)(i * 7);
    btree_page_seal(page, sizeof page);
    assert_true(btree_page_stored_sum(page) == UINT64_C(0xe72280eb00e567db));
    /* Little-endian in the first eight bytes. */
    assert_int_equal(page[0], (uint8_t)UINT64_C(0xe72280eb00e567db));
}

/* ---- laws ---- */

typedef struct made {
    char key[40];
    uint8_t value[60];
    btree_entry e;
} made;

static int by_key(const void *a, const void *b)
{
    return vv_slice_cmp(((const made *)a)->e.key, ((const made *)b)->e.key);
}

static size_t make_entries(vv_rng *rng, made *out, size_t max)
{
    size_t n = 1 + vv_rng_below(rng, max);
    uint64_t width = 1 + vv_rng_below(rng, 30);
    for (size_t i = 0; i < n; i++) {
        made *m = &out[i];
        size_t len = 1 + vv_rng_below(rng, width);
        for (size_t j = 0; j < len; j++)
            m->key[j] = "ab\xff"[vv_rng_below(rng, 3)];
        for (size_t j = 0; j < sizeof m->value; j++)
            m->value[j] = (uint8_t)vv_rng_next(rng);
        m->e = (btree_entry){.value = vv_slice_of(m->value, vv_rng_below(rng, 60)),
                             .timestamp = vv_rng_next(rng) >> (1 + vv_rng_below(rng, 63)),
                             .flags = (uint8_t)vv_rng_below(rng, 16)};
        if ((m->e.flags & BTREE_HAS_EXPIRY) != 0)
            m->e.expires = vv_rng_next(rng) >> vv_rng_below(rng, 64);
        m->e.key.len = len;
    }
    for (size_t i = 0; i < n; i++)
        out[i].e.key.data = (uint8_t *)out[i].key;
    for (size_t i = 1; i < n; i++) /* insertion sort: made holds its own bytes */
        for (size_t j = i; j > 0 && by_key(&out[j - 1], &out[j]) > 0; j--) {
            made t = out[j];
            out[j] = out[j - 1];
            out[j - 1] = t;
            out[j].e.key.data = (uint8_t *)out[j].key;
            out[j].e.value.data = out[j].value;
            out[j - 1].e.key.data = (uint8_t *)out[j - 1].key;
            out[j - 1].e.value.data = out[j - 1].value;
        }
    for (size_t i = 0; i < n; i++)
        out[i].e.value.data = out[i].value;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_key(&out[i - 1], &out[i]) != 0)
            kept++;
        else
            return kept; /* up to the first repeat */
    return kept;
}

static void prop_what_is_built_is_read(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    static made all[60];
    uint8_t page[2048];
    for (int round = 0; round < 3000; round++) {
        size_t n = make_entries(&rng, all, ARRAY_LEN(all));
        btree_builder b;
        btree_builder_begin(&b, BTREE_DATA, page, sizeof page, 1 + (uint32_t)(round % 20));
        btree_builder_set_links(&b, (uint32_t)round, BTREE_NO_PAGE);
        size_t count = 0;
        while (count < n && btree_builder_add(&b, &all[count].e))
            count++;
        assert_true(count > 0);
        uint32_t content = btree_builder_content(&b);
        btree_builder_finish(&b);
        assert_int_equal(content, vv_get_le16(page + 9));
        assert_int_equal(btree_data_prev(page), round);
        btree_iter it;
        vv_error err;
        assert_ok(btree_iter_open(&it, page, sizeof page, &err), err);
        for (size_t i = 0; i < count; i++) {
            btree_entry e;
            assert_ok(btree_iter_next(&it, &e, &err), err);
            assert_true(vv_slice_eq(e.key, all[i].e.key) && vv_slice_eq(e.value, all[i].e.value));
            assert_true(e.timestamp == all[i].e.timestamp && e.flags == all[i].e.flags);
            assert_true(e.expires == all[i].e.expires);
        }
        btree_entry e;
        assert_status(VV_NOT_FOUND, btree_iter_next(&it, &e, &err));
    }
}

static void prop_one_flipped_bit_is_never_accepted(void **state)
{
    (void)state;
    uint8_t page[SIZE];
    btree_builder b;
    btree_builder_begin(&b, BTREE_DATA, page, SIZE, 16);
    btree_entry e = entry("key", "value", 5);
    assert_true(btree_builder_add(&b, &e));
    btree_builder_finish(&b);
    for (size_t bit = 0; bit < 8 * SIZE; bit++) {
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_status(VV_CORRUPT, btree_page_verify(page, SIZE, NULL));
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void bad_pages_are_refused(void **state)
{
    (void)state;
    /* Bytes from offset 8 on; the sum plays no part. */
    const struct {
        const char *name;
        vv_slice bytes;
        vv_status open;
        vv_status next;
    } cases[] = {
        {"overflow page", BYTES(3, 30, 0), VV_CORRUPT, VV_OK},
        {"deleted page", BYTES(255, 30, 0), VV_CORRUPT, VV_OK},
        {"content shorter than the head", BYTES(2, 20, 0), VV_CORRUPT, VV_OK},
        {"content longer than the page", BYTES(2, 1, 2), VV_CORRUPT, VV_OK},
        {"more restarts than bytes", BYTES(2, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0), VV_CORRUPT,
         VV_OK},
        {"entry without a restart", BYTES(2, 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'k', 0, 0, 0),
         VV_OK, VV_CORRUPT},
        {"first restart elsewhere",
         BYTES(2, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'k', 0, 20, 0, 1, 0), VV_OK, VV_CORRUPT},
        {"value past the end",
         BYTES(2, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x40, 'k', 0, 19, 0, 1, 0), VV_OK,
         VV_CORRUPT},
        {"key past the end", BYTES(2, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 'k', 0, 19, 0, 1, 0),
         VV_OK, VV_CORRUPT},
        {"empty key", BYTES(2, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 19, 0, 1, 0), VV_OK,
         VV_CORRUPT},
        {"restart that shares",
         BYTES(2, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 'k', 0, 19, 0, 1, 0), VV_OK, VV_CORRUPT},
        {"no bytes for the time",
         BYTES(2, 27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'k', 19, 0, 1, 0), VV_OK, VV_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t page[SIZE] = {0};
        memcpy(page + 8, cases[i].bytes.data, cases[i].bytes.len);
        btree_iter it;
        btree_entry e;
        vv_status st = btree_iter_open(&it, page, SIZE, NULL);
        if (st != cases[i].open)
            fail_msg("%s: open says %s", cases[i].name, vv_status_name(st));
        if (st == VV_OK && (st = btree_iter_next(&it, &e, NULL)) != cases[i].next)
            fail_msg("%s: next says %s", cases[i].name, vv_status_name(st));
    }
}

static void overflow_pages_are_checked(void **state)
{
    (void)state;
    uint8_t page[SIZE];
    vv_slice part;
    const uint8_t *next;
    uint32_t count;
    const uint32_t ids[] = {4, 5, 6};
    btree_overflow_encode(page, SIZE, vv_slice_str("abc"), ids, 3);
    vv_error err;
    assert_ok(btree_overflow_decode(page, SIZE, &part, &next, &count, &err), err);
    assert_true(vv_slice_eq(part, vv_slice_str("abc")) && count == 3);
    assert_int_equal(vv_get_le32(next + 4), 5);
    page[SIZE - 1] = 129;
    assert_status(VV_CORRUPT, btree_overflow_decode(page, SIZE, &part, &next, &count, &err));
    page[SIZE - 1] = 3;
    vv_put_le16(page + 9, SIZE - 11 - 12);
    assert_status(VV_CORRUPT, btree_overflow_decode(page, SIZE, &part, &next, &count, &err));
    vv_put_le16(page + 9, 0);
    assert_status(VV_CORRUPT, btree_overflow_decode(page, SIZE, &part, &next, &count, &err));
    page[8] = BTREE_DATA;
    assert_status(VV_CORRUPT, btree_overflow_decode(page, SIZE, &part, &next, &count, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_data_page_has_these_bytes),
        cmocka_unit_test(an_index_page_has_these_bytes),
        cmocka_unit_test(an_overflow_page_has_these_bytes),
        cmocka_unit_test(the_sum_is_xxh3),
        cmocka_unit_test(prop_what_is_built_is_read),
        cmocka_unit_test(prop_one_flipped_bit_is_never_accepted),
        cmocka_unit_test(bad_pages_are_refused),
        cmocka_unit_test(overflow_pages_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
