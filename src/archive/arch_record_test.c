/*
 * arch_record_test.c - the records of the archive as bytes: what is encoded comes back, and nothing
 * else is taken.
 */
#include "vv_test.h"

#include <string.h>

#include "archive/archive.h"
#include "base/bytes.h"
#include "base/rng.h"

static const arch_intent an_intent = {.kind = ARCH_CUT,
                                      .intent = 0x1122334455667788,
                                      .first = 7,
                                      .next = 4711,
                                      .codec = VV_TIER_LZ4,
                                      .also = VV_TIER_PARQUET,
                                      .made_ns = -5,
                                      .name = "plant/events/2026/0-7-1122"};

static const arch_entry an_entry = {.intent = UINT64_MAX,
                                    .codec = VV_TIER_ZSTD,
                                    .also = VV_TIER_JSONL,
                                    .made_ns = 1,
                                    .stored_ns = 2,
                                    .holds = {.size = 100000,
                                              .crc32c = 0xdeadbeef,
                                              .index_at = 99000,
                                              .index_len = 1000,
                                              .first = 0,
                                              .next = 12,
                                              .raw_bytes = 500000,
                                              .receive_first_ns = 3,
                                              .receive_last_ns = 4,
                                              .event_min_ns = STREAM_NO_TIME,
                                              .event_max_ns = STREAM_NO_TIME},
                                    .bytes_before = 1u << 20,
                                    .name = "a"};

static const arch_dying a_dying = {
    .also = VV_TIER_ALONE, .after_ns = INT64_MAX, .name = "plant/events/1=2,3"};

static const arch_restored a_restored = {.next = 4711, .restored_ns = -7};

typedef vv_status (*decode_fn)(vv_slice bytes, vv_buf *again);

static vv_status again_intent(vv_slice bytes, vv_buf *again)
{
    arch_intent a;
    vv_status st = arch_intent_decode(bytes, &a, NULL);
    if (st == VV_OK)
        arch_intent_encode(&a, again);
    return st;
}

static vv_status again_entry(vv_slice bytes, vv_buf *again)
{
    arch_entry a;
    vv_status st = arch_entry_decode(bytes, &a, NULL);
    if (st == VV_OK)
        arch_entry_encode(&a, again);
    return st;
}

static vv_status again_dying(vv_slice bytes, vv_buf *again)
{
    arch_dying a;
    vv_status st = arch_dying_decode(bytes, &a, NULL);
    if (st == VV_OK)
        arch_dying_encode(&a, again);
    return st;
}

static vv_status again_restored(vv_slice bytes, vv_buf *again)
{
    arch_restored a;
    vv_status st = arch_restored_decode(bytes, &a, NULL);
    if (st == VV_OK)
        arch_restored_encode(&a, again);
    return st;
}

#define RECORDS 4u

static const decode_fn again_of[RECORDS] = {again_intent, again_entry, again_dying, again_restored};

static void encode(unsigned what, vv_buf *out)
{
    vv_buf_init(out, 4096);
    if (what == 0)
        arch_intent_encode(&an_intent, out);
    else if (what == 1)
        arch_entry_encode(&an_entry, out);
    else if (what == 2)
        arch_dying_encode(&a_dying, out);
    else
        arch_restored_encode(&a_restored, out);
    assert_int_equal(out->status, VV_OK);
}

static void test_what_is_encoded_comes_back(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_buf b;
    arch_intent i;
    arch_entry e;
    arch_dying d;
    encode(0, &b);
    assert_ok(arch_intent_decode(vv_buf_slice(&b), &i, &err), err);
    assert_true(i.kind == an_intent.kind && i.intent == an_intent.intent && i.first == 7 &&
                i.next == 4711 && i.codec == VV_TIER_LZ4 && i.also == VV_TIER_PARQUET &&
                i.made_ns == -5);
    assert_string_equal(i.name, an_intent.name);
    vv_buf_fini(&b);
    encode(1, &b);
    assert_ok(arch_entry_decode(vv_buf_slice(&b), &e, &err), err);
    assert_true(e.intent == UINT64_MAX && e.codec == VV_TIER_ZSTD && e.also == VV_TIER_JSONL &&
                e.made_ns == 1 && e.stored_ns == 2 && e.bytes_before == 1u << 20);
    assert_true(e.holds.size == 100000 && e.holds.crc32c == 0xdeadbeef &&
                e.holds.index_at == 99000 && e.holds.index_len == 1000 && e.holds.first == 0 &&
                e.holds.next == 12 && e.holds.raw_bytes == 500000 &&
                e.holds.receive_first_ns == 3 && e.holds.receive_last_ns == 4 &&
                e.holds.event_min_ns == STREAM_NO_TIME && e.holds.event_max_ns == STREAM_NO_TIME);
    assert_string_equal(e.name, "a");
    vv_buf_fini(&b);
    encode(2, &b);
    assert_ok(arch_dying_decode(vv_buf_slice(&b), &d, &err), err);
    assert_true(d.also == VV_TIER_ALONE && d.after_ns == INT64_MAX);
    assert_string_equal(d.name, a_dying.name);
    vv_buf_fini(&b);
    arch_restored r;
    encode(3, &b);
    assert_ok(arch_restored_decode(vv_buf_slice(&b), &r, &err), err);
    assert_true(r.next == 4711 && r.restored_ns == -7);
    vv_buf_fini(&b);
}

/* Every record cut short, or with a byte more, is refused. */
static void prop_no_other_length_is_taken(void **state)
{
    (void)state;
    for (unsigned what = 0; what < RECORDS; what++) {
        vv_buf b;
        vv_buf again;
        vv_buf_init(&again, 4096);
        encode(what, &b);
        for (size_t len = 0; len < b.len; len++)
            assert_status(VV_CORRUPT, again_of[what](vv_slice_of(b.data, len), &again));
        vv_buf_append_u8(&b, 'x');
        assert_status(VV_CORRUPT, again_of[what](vv_buf_slice(&b), &again));
        vv_buf_fini(&b);
        vv_buf_fini(&again);
    }
}

/* Whatever is taken encodes to itself: no bit is looked past. */
static void prop_a_changed_bit_is_refused_or_seen(void **state)
{
    (void)state;
    for (unsigned what = 0; what < RECORDS; what++) {
        vv_buf b;
        vv_buf again;
        vv_buf_init(&again, 4096);
        encode(what, &b);
        for (size_t bit = 0; bit < 8 * b.len; bit++) {
            b.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            vv_buf_reset(&again);
            vv_status st = again_of[what](vv_buf_slice(&b), &again);
            assert_true(st == VV_OK || st == VV_CORRUPT || st == VV_UNSUPPORTED);
            if (st == VV_OK)
                assert_true(vv_slice_eq(vv_buf_slice(&b), vv_buf_slice(&again)));
            if (bit / 8 == 0 && b.data[0] > 1)
                assert_status(VV_UNSUPPORTED, st);
            b.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        vv_buf_fini(&b);
        vv_buf_fini(&again);
    }
}

static void test_names_that_leave_the_prefix_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"../x", "a//b", "/a", "a/", "a/../b", "a/.b", "a b", "a\nb"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        arch_dying d = a_dying;
        vv_buf b;
        vv_buf_init(&b, 4096);
        (void)snprintf(d.name, sizeof d.name, "%s", bad[i]);
        arch_dying_encode(&d, &b);
        if (arch_dying_decode(vv_buf_slice(&b), &d, NULL) != VV_CORRUPT)
            fail_msg("'%s' was taken", bad[i]);
        vv_buf_fini(&b);
    }
}

static void test_numbers_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    arch_entry bad[6];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        bad[i] = an_entry;
    bad[0].holds.next = bad[0].holds.first;
    bad[1].holds.index_at = bad[1].holds.size + 1;
    bad[2].holds.index_len = ARCH_FOOTER_SIZE - 1;
    bad[3].holds.receive_last_ns = 2;
    bad[4].intent = 0;
    bad[5].codec = (vv_tier_codec)9;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        arch_entry out;
        vv_buf b;
        vv_buf_init(&b, 4096);
        arch_entry_encode(&bad[i], &b);
        if (arch_entry_decode(vv_buf_slice(&b), &out, NULL) != VV_CORRUPT)
            fail_msg("entry %zu was taken", i);
        vv_buf_fini(&b);
    }
}

static void prop_random_bytes_are_no_records(void **state)
{
    (void)state;
    vv_rng rng;
    uint8_t bytes[200];
    uint64_t seed = vv_test_seed(5);
    vv_rng_init(&rng, seed);
    for (unsigned i = 0; i < 20000; i++) {
        vv_buf again;
        vv_buf_init(&again, 4096);
        size_t len = vv_rng_below(&rng, sizeof bytes);
        vv_rng_bytes(&rng, bytes, len);
        if (len > 0 && vv_rng_one_in(&rng, 2))
            bytes[0] = 1;
        for (unsigned what = 0; what < RECORDS; what++) {
            vv_buf_reset(&again);
            if (again_of[what](vv_slice_of(bytes, len), &again) == VV_OK)
                assert_true(vv_slice_eq(vv_slice_of(bytes, len), vv_buf_slice(&again)));
        }
        vv_buf_fini(&again);
    }
}

static void test_keys_sort_by_number(void **state)
{
    (void)state;
    uint8_t a[ARCH_KEY_SIZE];
    uint8_t b[ARCH_KEY_SIZE];
    arch_key(ARCH_KEY_ENTRY, 255, a);
    arch_key(ARCH_KEY_ENTRY, 256, b);
    assert_true(memcmp(a, b, sizeof a) < 0);
    assert_int_equal(a[0], 'A');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_encoded_comes_back),
        cmocka_unit_test(prop_no_other_length_is_taken),
        cmocka_unit_test(prop_a_changed_bit_is_refused_or_seen),
        cmocka_unit_test(test_names_that_leave_the_prefix_are_refused),
        cmocka_unit_test(test_numbers_that_contradict_each_other_are_refused),
        cmocka_unit_test(prop_random_bytes_are_no_records),
        cmocka_unit_test(test_keys_sort_by_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
