/*
 * protowire_test.c - the reader against good and bad bytes, and against the writers. protobuf-c as
 * a third opinion: the tests of server/ and ingest/, and fuzz_ingest_walk.
 */
#include "codec/protowire.h"

#include "vv_test.h"

#include "base/alloc.h"
#include "base/rng.h"

/* Read to the end: the fields and the fault. */
static unsigned walk(vv_slice message, int *fault)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    unsigned n = 0;
    int more;
    while ((more = wire_next(&r, &f)) > 0)
        n++;
    assert_int_equal(more, r.fault == WIRE_GOOD ? 0 : -1);
    assert_int_equal(wire_next(&r, &f), more); /* the end stays the end */
    *fault = r.fault;
    return n;
}

static void bad_bytes_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        int fault;
        unsigned fields;
    } cases[] = {
        {"nothing", {NULL, 0}, WIRE_GOOD, 0},
        {"every type", BYTES(0x08, 1, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 1, 'a', 0x25, 1, 2, 3, 4),
         WIRE_GOOD, 4},
        {"an empty length", BYTES(0x0a, 0), WIRE_GOOD, 1},
        {"more bytes than it needs", BYTES(0x88, 0x00, 0x81, 0x80, 0x00), WIRE_GOOD, 1},
        {"bits above the 64th are dropped",
         BYTES(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), WIRE_GOOD, 1},
        {"the highest number", BYTES(0xf8, 0xff, 0xff, 0xff, 0x0f, 1), WIRE_GOOD, 1},
        {"number zero", BYTES(0x00, 1), WIRE_STRICT, 0},
        {"a number over 29 bits", BYTES(0xf8, 0xff, 0xff, 0xff, 0x1f, 1), WIRE_STRICT, 0},
        {"an unfinished tag", BYTES(0x08, 1, 0xff), WIRE_MALFORMED, 1},
        {"a tag of six bytes", BYTES(0x88, 0x80, 0x80, 0x80, 0x80, 0x00, 1), WIRE_MALFORMED, 0},
        {"an unfinished varint", BYTES(0x08, 0xff, 0xff), WIRE_MALFORMED, 0},
        {"a varint of eleven bytes",
         BYTES(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
         WIRE_MALFORMED, 0},
        {"a tag without a value", BYTES(0x08), WIRE_MALFORMED, 0},
        {"a cut fixed64", BYTES(0x09, 1, 2, 3, 4, 5, 6, 7), WIRE_MALFORMED, 0},
        {"a cut fixed32", BYTES(0x0d, 1, 2, 3), WIRE_MALFORMED, 0},
        {"a length past the end", BYTES(0x0a, 2, 'a'), WIRE_MALFORMED, 0},
        {"a length of 4 GiB", BYTES(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a'), WIRE_MALFORMED, 0},
        {"a length of six bytes", BYTES(0x0a, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 'a'),
         WIRE_MALFORMED, 0},
        {"a group", BYTES(0x0b, 0x0c), WIRE_MALFORMED, 0},
        {"the end of a group", BYTES(0x0c), WIRE_MALFORMED, 0},
        {"type 6", BYTES(0x0e), WIRE_MALFORMED, 0},
        {"type 7", BYTES(0x0f), WIRE_MALFORMED, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fault;
        unsigned n = walk(cases[i].in, &fault);
        if (fault != cases[i].fault || n != cases[i].fields)
            fail_msg("%s: fault %d after %u fields", cases[i].name, fault, n);
    }
}

/* One field of a random kind, and what reading it must give. */
static wire_field put_random(vv_rng *rng, vv_buf *out, const uint8_t *bytes, size_t len_max)
{
    static const wire_type types[] = {WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32};
    wire_field f = {
        .number = 1 + (uint32_t)vv_rng_below(rng, vv_rng_one_in(rng, 4) ? (1u << 29) - 1 : 20),
        .type = types[vv_rng_below(rng, 4)],
        .value = vv_rng_next(rng) >> vv_rng_below(rng, 64)};
    switch (f.type) {
    case WIRE_VARINT:
        wire_put_varint(out, f.number, f.value);
        break;
    case WIRE_FIXED64:
        wire_put_fixed64(out, f.number, f.value);
        break;
    case WIRE_FIXED32:
        f.value &= UINT32_MAX;
        wire_put_fixed32(out, f.number, (uint32_t)f.value);
        break;
    case WIRE_BYTES:
        f.bytes = vv_slice_of(bytes, (size_t)vv_rng_below(rng, len_max));
        wire_put_bytes(out, f.number, f.bytes);
        break;
    }
    return f;
}

static void prop_what_is_written_is_read(void **state)
{
    (void)state;
    enum { FIELDS = 12 };
    static uint8_t bytes[400];
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x77697265));
    vv_rng_bytes(&rng, bytes, sizeof bytes);
    vv_buf buf;
    vv_buf_init(&buf, VV_MIB);
    for (int round = 0; round < 2000; round++) {
        wire_field want[FIELDS];
        vv_buf_reset(&buf);
        for (size_t i = 0; i < FIELDS; i++)
            want[i] = put_random(&rng, &buf, bytes, sizeof bytes);
        wire_reader r = wire_reader_of(vv_buf_slice(&buf));
        for (size_t i = 0; i < FIELDS; i++) {
            wire_field f = {0};
            assert_int_equal(wire_next(&r, &f), 1);
            assert_int_equal(f.number, want[i].number);
            assert_int_equal(f.type, want[i].type);
            if (f.type == WIRE_BYTES)
                assert_true(vv_slice_eq(f.bytes, want[i].bytes));
            else
                assert_true(f.value == want[i].value);
        }
        assert_int_equal(wire_next(&r, &want[0]), 0);
    }
    vv_buf_fini(&buf);
}

/* In memory of exactly its size, so that a sanitizer sees a read past it; and cut anywhere, a
 * message ends or is refused. */
static void prop_any_bytes_stay_in_bounds(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x626f756e64));
    for (uint64_t n = vv_test_count("VV_WIRE_ROUNDS", 20000); n > 0; n--) {
        size_t len = (size_t)vv_rng_below(&rng, 40);
        uint8_t *bytes = vv_alloc(len + (len == 0));
        assert_non_null(bytes);
        vv_rng_bytes(&rng, bytes, len);
        for (size_t i = 0; i < len; i++) /* mostly plausible tags */
            if (vv_rng_one_in(&rng, 2))
                bytes[i] &= 0x3f;
        wire_reader r = wire_reader_of(vv_slice_of(bytes, len));
        wire_field f = {0};
        while (wire_next(&r, &f) > 0) {
            assert_true(f.number >= 1 && f.number < 1u << 29);
            assert_true(r.next <= r.end);
            if (f.type == WIRE_BYTES)
                assert_true(f.bytes.data >= bytes && f.bytes.data + f.bytes.len == r.next);
        }
        vv_free(bytes);
    }
}

static void packed_elements(void **state)
{
    (void)state;
    uint64_t v = 0;
    wire_reader r = wire_reader_of(BYTES(0x96, 0x01, 7, 0x80));
    assert_true(wire_value(&r, WIRE_VARINT, &v) && v == 150);
    assert_true(wire_value(&r, WIRE_VARINT, &v) && v == 7);
    assert_false(wire_value(&r, WIRE_VARINT, &v)); /* unfinished */
    r = wire_reader_of(BYTES(1, 0, 0, 0, 2, 0, 0));
    assert_true(wire_value(&r, WIRE_FIXED32, &v) && v == 1);
    assert_false(wire_value(&r, WIRE_FIXED32, &v));
    r = wire_reader_of(BYTES(1, 0, 0, 0, 0, 0, 0, 0x80, 0));
    assert_true(wire_value(&r, WIRE_FIXED64, &v) && v == ((uint64_t)1 << 63 | 1));
    assert_false(wire_value(&r, WIRE_FIXED64, &v));
    assert_false(wire_value(&r, WIRE_BYTES, &v));
}

/* Lengths around each step of their own length, two messages deep. */
static void nested_messages_get_their_length(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 123, 124, 125, 126, 127, 128, 16380, 16383, 16384, 100000};
    static uint8_t filler[100000];
    memset(filler, 'x', sizeof filler);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        vv_buf buf;
        vv_buf_init(&buf, VV_MIB);
        size_t outer = wire_begin(&buf, 1);
        size_t inner = wire_begin(&buf, 2);
        wire_put_bytes(&buf, 3, vv_slice_of(filler, lens[i]));
        wire_end(&buf, inner);
        wire_end(&buf, outer);
        wire_put_varint(&buf, 5, 42);
        wire_field f = {0};
        wire_reader r = wire_reader_of(vv_buf_slice(&buf));
        assert_true(wire_next(&r, &f) == 1 && f.number == 1);
        wire_reader in = wire_reader_of(f.bytes);
        assert_true(wire_next(&in, &f) == 1 && f.number == 2);
        wire_reader innermost = wire_reader_of(f.bytes);
        assert_true(wire_next(&innermost, &f) == 1 && f.number == 3);
        assert_true(vv_slice_eq(f.bytes, vv_slice_of(filler, lens[i])));
        assert_true(wire_next(&innermost, &f) == 0 && wire_next(&in, &f) == 0);
        assert_true(wire_next(&r, &f) == 1 && f.value == 42 && wire_next(&r, &f) == 0);
        vv_buf_fini(&buf);
    }
    vv_buf small; /* a buffer that is full latches */
    vv_buf_init(&small, 130);
    size_t mark = wire_begin(&small, 1);
    wire_put_bytes(&small, 2, vv_slice_of(filler, 126));
    wire_end(&small, mark);
    assert_int_not_equal(small.status, VV_OK);
    vv_buf_fini(&small);
}

static void defaults_are_left_out(void **state)
{
    (void)state;
    vv_buf buf;
    vv_buf_init(&buf, 100);
    wire_put_string(&buf, 1, vv_slice_of(NULL, 0));
    wire_put_uint(&buf, 2, 0);
    wire_put_int(&buf, 3, 0);
    wire_put_double(&buf, 4, 0);
    assert_int_equal(buf.len, 0);
    wire_put_time(&buf, 1, -1); /* one nanosecond before 1970: -1 s and 999999999 ns */
    wire_reader r = wire_reader_of(vv_buf_slice(&buf));
    wire_field f = {0};
    assert_int_equal(wire_next(&r, &f), 1);
    r = wire_reader_of(f.bytes);
    assert_true(wire_next(&r, &f) == 1 && (int64_t)f.value == -1);
    assert_true(wire_next(&r, &f) == 1 && f.value == 999999999);
    vv_buf_fini(&buf);
}

/* A string of proto3 that is not UTF-8 makes its whole message unreadable for others. */
static void text_is_always_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } cases[] = {{"plain", "plain"},
                 {"\xc3\xa9\xe2\x82\xac", "\xc3\xa9\xe2\x82\xac"},
                 {"a\xff\xfe.", "a??."},
                 {"\xc3", "?"},
                 {"cut \xe2\x82", "cut ??"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf b;
        wire_field f = {0};
        vv_buf_init(&b, 64);
        wire_put_text(&b, 3, vv_slice_str(cases[i].in));
        wire_reader r = wire_reader_of(vv_buf_slice(&b));
        assert_int_equal(wire_next(&r, &f), 1);
        assert_true(f.number == 3 && vv_slice_eq(f.bytes, vv_slice_str(cases[i].want)));
        assert_true(utf8_is_valid(f.bytes));
        assert_true(utf8_is_valid(vv_slice_str(cases[i].in)) ==
                    (strcmp(cases[i].in, cases[i].want) == 0));
        vv_buf_reset(&b);
        wire_put_text(&b, 3, vv_slice_of(NULL, 0));
        assert_int_equal(b.len, 0);
        vv_buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_bytes_are_refused),
        cmocka_unit_test(prop_what_is_written_is_read),
        cmocka_unit_test(prop_any_bytes_stay_in_bounds),
        cmocka_unit_test(packed_elements),
        cmocka_unit_test(nested_messages_get_their_length),
        cmocka_unit_test(defaults_are_left_out),
        cmocka_unit_test(text_is_always_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
