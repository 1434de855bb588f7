#include "lsm/lsm_block.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "page/pgc.h"
#include "vv_test.h"

#define ENTRIES 200u

typedef struct sample {
    uint8_t key[ENGINE_KEY_MAX];
    uint8_t value[64];
    engine_item item;
} sample;

typedef struct samples {
    sample *at;
    unsigned count;
} samples;

static int by_key_and_version(const void *a, const void *b)
{
    const sample *x = a;
    const sample *y = b;
    int c =
        vv_slice_cmp(vv_slice_of(x->key, x->item.key.len), vv_slice_of(y->key, y->item.key.len));
    return c != 0 ? c : (x->item.version < y->item.version) - (x->item.version > y->item.version);
}

/* Keys that share much, little or all of a prefix, some of them prefixes of others; versions near
 * each other or far apart. */
static samples make_samples(vv_rng *rng)
{
    samples s = {.at = calloc(ENTRIES, sizeof(sample))};
    unsigned want = 1 + (unsigned)vv_rng_below(rng, ENTRIES);
    uint64_t style = vv_rng_below(rng, 4);
    uint64_t spread = (uint64_t)1 << vv_rng_below(rng, 60);
    for (unsigned i = 0; i < want; i++) {
        sample *x = &s.at[i];
        size_t len = 0;
        size_t shared = style == 0 ? 0 : style == 3 ? 300 : 8;
        memset(x->key, 'p', shared);
        len = shared;
        size_t more = vv_rng_below(rng, style == 2 ? 3 : 12);
        for (size_t j = 0; j < more; j++)
            x->key[len++] = (uint8_t)(vv_rng_below(rng, 3) * 0x7f + vv_rng_below(rng, 2));
        x->item = (engine_item){.key = {.len = len},
                                .version = (int64_t)vv_rng_below(rng, spread),
                                .kind = vv_rng_one_in(rng, 5) ? ENGINE_DELETE : ENGINE_PUT};
        x->item.value.len = x->item.kind == ENGINE_DELETE ? 0 : vv_rng_below(rng, 40);
        vv_rng_bytes(rng, x->value, x->item.value.len);
        if (x->item.kind == ENGINE_PUT && vv_rng_one_in(rng, 6))
            x->item.expires_ns = (int64_t)vv_rng_next(rng) | 1;
    }
    qsort(s.at, want, sizeof(sample), by_key_and_version);
    for (unsigned i = 0; i < want; i++) { /* no key at one version twice */
        if (s.count > 0 && by_key_and_version(&s.at[s.count - 1], &s.at[i]) == 0)
            continue;
        s.at[s.count] = s.at[i];
        s.count++;
    }
    for (unsigned i = 0; i < s.count; i++) {
        s.at[i].item.key.data = s.at[i].key;
        s.at[i].item.value.data = s.at[i].value;
    }
    return s;
}

/* Lay samples out; the pad behind the block is there. */
static void build(const samples *s, vv_buf *out)
{
    vv_error err;
    lsm_block_builder b;
    lsm_block_builder_init(&b);
    vv_buf_init(out, 1 << 24);
    size_t predicted = 0;
    for (unsigned i = 0; i < s->count; i++) {
        bool multi = i > 0 && vv_slice_eq(s->at[i].item.key, s->at[i - 1].item.key);
        predicted = lsm_block_builder_size_with(&b, &s->at[i].item);
        assert_ok(lsm_block_builder_add(&b, &s->at[i].item, multi, &err), err);
    }
    assert_ok(lsm_block_builder_finish(&b, false, 7, 3, out, &err), err);
    assert_true(out->len <= predicted);
    assert_true(out->len + 600 > predicted); /* exact but for long keys */
    lsm_block_builder_fini(&b);
    assert_non_null(vv_buf_reserve(out, PGC_PAD));
}

static void expect_item(const engine_item *want, const engine_item *got)
{
    assert_true(vv_slice_eq(want->key, got->key));
    assert_true(vv_slice_eq(want->value, got->value));
    assert_true(want->version == got->version);
    assert_true(want->expires_ns == got->expires_ns);
    assert_int_equal(want->kind, got->kind);
}

/* What a search must find, by walking. */
static unsigned first_at_or_after(const samples *s, vv_slice key, int64_t version)
{
    unsigned i = 0;
    for (; i < s->count; i++) {
        int c = vv_slice_cmp(s->at[i].item.key, key);
        if (c > 0 || (c == 0 && s->at[i].item.version <= version))
            break;
    }
    return i;
}

static void search(const samples *s, const uint8_t *p, vv_slice key, int64_t version)
{
    unsigned want = first_at_or_after(s, key, version);
    assert_int_equal(want, lsm_block_seek(p, key, version));
    engine_item item;
    bool found = lsm_block_get(p, key, version, &item);
    bool there = want < s->count && vv_slice_eq(s->at[want].item.key, key);
    assert_int_equal(there, found);
    if (found)
        expect_item(&s->at[want].item, &item);
}

static void prop_a_block_gives_back_what_went_in(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    for (unsigned round = 0; round < 400; round++) {
        vv_error err;
        samples s = make_samples(&rng);
        vv_buf block;
        build(&s, &block);
        const uint8_t *p = block.data;
        assert_ok(lsm_block_check(p, block.len, &err), err);
        assert_int_equal(lsm_block_count(p), s.count);
        assert_int_equal(lsm_block_used(p), block.len);
        assert_true(vv_get_le64(p) == lsm_block_sum(p, lsm_block_used(p), 7, 3));
        assert_true(vv_get_le64(p) != lsm_block_sum(p, lsm_block_used(p), 7, 4));
        assert_true(vv_get_le64(p) != lsm_block_sum(p, lsm_block_used(p), 8, 3));
        uint8_t key[LSM_KEY_BUF];
        lsm_block_load_prefix(p, key);
        for (unsigned i = 0; i < s.count; i++) {
            engine_item item;
            lsm_block_item(p, i, key, &item);
            expect_item(&s.at[i].item, &item);
            search(&s, p, s.at[i].item.key, s.at[i].item.version);
            search(&s, p, s.at[i].item.key, INT64_MAX);
            search(&s, p, s.at[i].item.key, (int64_t)vv_rng_below(&rng, 1000));
        }
        samples other = make_samples(&rng); /* keys that are not there */
        for (unsigned i = 0; i < other.count; i++)
            search(&s, p, other.at[i].item.key, other.at[i].item.version);
        search(&s, p, vv_slice_of("", 0), INT64_MAX);
        free(other.at);
        free(s.at);
        vv_buf_fini(&block);
    }
}

/* Read everything of a block that passed its check. */
static void read_all(const uint8_t *p)
{
    uint8_t key[LSM_KEY_BUF];
    lsm_block_load_prefix(p, key);
    uint64_t sum = 0;
    for (unsigned i = 0; i < lsm_block_count(p); i++) {
        engine_item item;
        lsm_block_item(p, i, key, &item);
        for (size_t j = 0; j < item.value.len; j++)
            sum += item.value.data[j];
        assert_true(lsm_block_seek(p, item.key, item.version) <= lsm_block_count(p));
    }
    assert_true(sum != UINT64_MAX); /* the bytes were read */
}

static void prop_damage_is_refused_or_harmless(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(2));
    unsigned refused = 0;
    for (unsigned round = 0; round < 3000; round++) {
        samples s = make_samples(&rng);
        vv_buf block;
        build(&s, &block);
        size_t len = block.len;
        /* A heap copy of the exact size, so that a sanitizer sees each byte beyond. */
        uint8_t *p = malloc(len + PGC_PAD);
        memcpy(p, block.data, len);
        memset(p + len, 0, PGC_PAD);
        for (uint64_t n = 1 + vv_rng_below(&rng, 3); n > 0; n--) {
            size_t at = vv_rng_one_in(&rng, 2) ? vv_rng_below(&rng, vv_min_u64(len, 64))
                                               : vv_rng_below(&rng, len);
            p[at] ^= (uint8_t)(1u << vv_rng_below(&rng, 8));
        }
        vv_status st = lsm_block_check(p, len, NULL);
        refused += st != VV_OK;
        if (st == VV_OK)
            read_all(p);
        free(p);
        free(s.at);
        vv_buf_fini(&block);
    }
    assert_true(refused > 500);
}

static void prop_every_flipped_bit_changes_the_sum(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(3));
    samples s = make_samples(&rng);
    vv_buf block;
    build(&s, &block);
    uint64_t sum = vv_get_le64(block.data);
    uint32_t used = lsm_block_used(block.data);
    for (size_t bit = 64; bit < block.len * 8; bit++) {
        block.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(lsm_block_sum(block.data, used, 7, 3) != sum);
        block.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(s.at);
    vv_buf_fini(&block);
}

static void a_wide_block_holds_one_large_value_aligned(void **state)
{
    (void)state;
    vv_error err;
    lsm_block_builder b;
    lsm_block_builder_init(&b);
    size_t len = ENGINE_VALUE_MAX;
    uint8_t *value = malloc(len);
    memset(value, 0x5a, len);
    uint8_t key[ENGINE_KEY_MAX];
    memset(key, 'k', sizeof key);
    engine_item item = {.key = vv_slice_of(key, sizeof key),
                        .value = vv_slice_of(value, len),
                        .version = INT64_MAX - 1,
                        .expires_ns = 77};
    vv_buf out;
    vv_buf_init(&out, LSM_BLOCK_RAW_MAX + 100);
    assert_ok(lsm_block_builder_add(&b, &item, false, &err), err);
    assert_ok(lsm_block_builder_finish(&b, true, 1, 0, &out, &err), err);
    assert_ok(lsm_block_check(out.data, out.len, &err), err);
    engine_item got;
    assert_true(lsm_block_get(out.data, item.key, INT64_MAX, &got));
    expect_item(&item, &got);
    assert_int_equal((size_t)(got.value.data - out.data) % 8, 0);
    assert_false(lsm_block_get(out.data, item.key, INT64_MAX - 2, &got));
    lsm_block_builder_fini(&b);
    vv_buf_fini(&out);
    free(value);
}

static void newer_flags_and_kinds_are_unsupported(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, 5);
    samples s = make_samples(&rng);
    vv_buf block;
    build(&s, &block);
    block.data[12] |= 32;
    assert_status(VV_UNSUPPORTED, lsm_block_check(block.data, block.len, NULL));
    block.data[12] &= 0xdf;
    vv_error err;
    assert_ok(lsm_block_check(block.data, block.len, &err), err);
    assert_status(VV_CORRUPT, lsm_block_check(block.data, 31, NULL));
    assert_status(VV_CORRUPT, lsm_block_check(block.data, block.len - 1, NULL));
    free(s.at);
    vv_buf_fini(&block);
}

/* The bytes of a block are frozen: docs/format/run.md shows these. */
static void golden_bytes_of_a_block(void **state)
{
    (void)state;
    vv_error err;
    lsm_block_builder b;
    lsm_block_builder_init(&b);
    const engine_item items[] = {
        {vv_slice_str("table/ab"), vv_slice_str("one"), 12, 0, ENGINE_PUT},
        {vv_slice_str("table/abcdef"), vv_slice_str("two"), 11, 9, ENGINE_PUT},
        {vv_slice_str("table/abcdef"), {0}, 10, 0, ENGINE_DELETE},
    };
    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        assert_ok(lsm_block_builder_add(&b, &items[i], i == 2, &err), err);
    vv_buf out;
    vv_buf_init(&out, 4096);
    assert_ok(lsm_block_builder_finish(&b, false, 1, 0, &out, &err), err);
    static const uint8_t want[] =
        {
            3,   0,   8,   0,   13,  0,   58,  0,   10, 0, 0,   0,   0,   0,
            0,   0,   2,   0,   0,   0,   86,  0,   0,  0, 0,   0,   0,   0,
            'f', 'e', 'd', 'c', 'f', 'e', 'd', 'c', /* heads, as little-endian integers */
            66,  0,   71,  0,   84,  0,   86,  0,   /* offsets */
            2,   0,   1,   0,   0,   0,             /* versions above 10 */
            't', 'a', 'b', 'l', 'e', '/', 'a', 'b', /* prefix */
            0,   0,   'o', 'n', 'e',                /* slen, flag, value */
            4,   16,  9,   0,   0,   0,   0,   0,   0,  0, 't', 'w', 'o', /* slen, flag, expiry,
                                                                             value */
            4,   1,
        };
    assert_int_equal(out.len, 8 + sizeof want);
    assert_memory_equal(out.data + 8, want, sizeof want);
    lsm_block_builder_fini(&b);
    vv_buf_fini(&out);
}

static void a_builder_reports_short_memory(void **state)
{
    (void)state;
    engine_item item = {.key = vv_slice_str("key"), .value = vv_slice_str("value")};
    for (int64_t n = 0;; n++) {
        lsm_block_builder b;
        lsm_block_builder_init(&b);
        vv_buf out;
        vv_buf_init(&out, 4096);
        vv_alloc_fail_after(n, 0);
        vv_status st = lsm_block_builder_add(&b, &item, false, NULL);
        if (st == VV_OK)
            st = lsm_block_builder_finish(&b, false, 1, 0, &out, NULL);
        vv_alloc_fail_after(-1, 0);
        lsm_block_builder_fini(&b);
        vv_buf_fini(&out);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_block_gives_back_what_went_in),
        cmocka_unit_test(prop_damage_is_refused_or_harmless),
        cmocka_unit_test(prop_every_flipped_bit_changes_the_sum),
        cmocka_unit_test(a_wide_block_holds_one_large_value_aligned),
        cmocka_unit_test(newer_flags_and_kinds_are_unsupported),
        cmocka_unit_test(golden_bytes_of_a_block),
        cmocka_unit_test(a_builder_reports_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
