/*
 * stream_test.c - messages, blocks and records as bytes: what is encoded comes back, and nothing
 * else is taken.
 */
#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/rng.h"
#include "stream/stream.h"

#define S(text) vv_slice_str(text)

static const vv_attribute all_types[] = {
    {.name = {(const uint8_t *)"text", 4}, .type = VV_ATTRIBUTE_STRING, .bytes = {NULL, 0}},
    {.name = {(const uint8_t *)"raw", 3},
     .type = VV_ATTRIBUTE_BYTES,
     .bytes = {(const uint8_t *)"\0\xff", 2}},
    {.name = {(const uint8_t *)"n", 1}, .type = VV_ATTRIBUTE_I64, .i64 = INT64_MIN},
    {.name = {(const uint8_t *)"x", 1}, .type = VV_ATTRIBUTE_F64, .f64 = -0.0},
    {.name = {(const uint8_t *)"yes", 3}, .type = VV_ATTRIBUTE_BOOL, .i64 = 1},
    {.name = {(const uint8_t *)"when", 4}, .type = VV_ATTRIBUTE_TIME, .i64 = 1},
};

static void assert_same(const vv_message *a, const vv_message *b)
{
    assert_true(vv_slice_eq(a->key, b->key));
    assert_true(vv_slice_eq(a->value, b->value));
    assert_true(vv_slice_eq(a->content_type, b->content_type));
    assert_true(vv_slice_eq(a->source, b->source));
    assert_true(a->event_time_ns == b->event_time_ns);
    assert_int_equal(a->attribute_count, b->attribute_count);
    for (size_t i = 0; i < a->attribute_count; i++) {
        const vv_attribute *x = &a->attributes[i];
        const vv_attribute *y = &b->attributes[i];
        assert_true(vv_slice_eq(x->name, y->name));
        assert_int_equal(x->type, y->type);
        assert_true(vv_slice_eq(x->bytes, y->bytes));
        assert_true(x->i64 == y->i64);
        assert_memory_equal(&x->f64, &y->f64, sizeof x->f64);
    }
}

/* Any of the parts by the bits of what. */
static vv_message message_of(unsigned what)
{
    vv_message m = {.attribute_count = 0};
    if ((what & 1) != 0)
        m.key = S("the key");
    if ((what & 2) != 0)
        m.value = S("a value");
    if ((what & 4) != 0)
        m.content_type = S("text/plain");
    if ((what & 8) != 0)
        m.source = S("plant/7");
    if ((what & 16) != 0)
        m.event_time_ns = -5;
    if ((what & 32) != 0) {
        m.attributes = all_types;
        m.attribute_count = ARRAY_LEN(all_types);
    }
    return m;
}

static void prop_a_block_gives_back_its_messages(void **state)
{
    (void)state;
    vv_error err = {0};
    vv_buf b;
    stream_writer w;
    stream_block r;
    stream_scratch scratch = {0};
    vv_buf_init(&b, 1u << 20);
    for (unsigned with = 0; with < 2; with++) {
        vv_slice producer = with == 0 ? S("") : S("p-1");
        vv_buf_reset(&b);
        stream_block_begin(&w, &b, producer, 70);
        for (unsigned what = 0; what < 64; what++) {
            vv_message m = message_of(what);
            size_t before = b.len;
            assert_ok(stream_message_check(&m, VV_STREAM_MESSAGE_MAX, &err), err);
            stream_block_add(&w, &m);
            assert_true(b.len - before > stream_message_size(&m));
        }
        stream_block_end(&w);
        stream_place place = {123, 9, 456, with == 0 ? STREAM_NO_OFFSET : 3};
        stream_block_place(b.data + STREAM_PLACE_AT, &place);
        assert_ok(stream_block_open(vv_buf_slice(&b), &r, &err), err);
        assert_int_equal(r.count, 64);
        assert_memory_equal(&r.place, &place, sizeof place);
        assert_true(vv_slice_eq(r.producer, producer));
        assert_true(r.sequence == (with == 0 ? 0 : 70));
        assert_true(r.event_max == -5 && r.has_untimed && stream_block_newest(&r) == 123);
        for (unsigned what = 0; what < 64; what++) {
            vv_slice bytes;
            vv_message got;
            vv_message want = message_of(what);
            assert_ok(stream_block_next(&r, &bytes, &err), err);
            assert_ok(stream_message_decode(bytes, &scratch, &got, &err), err);
            assert_same(&got, &want);
        }
        vv_slice none;
        assert_status(VV_NOT_FOUND, stream_block_next(&r, &none, &err));
    }
    stream_scratch_fini(&scratch);
    vv_buf_fini(&b);
}

/* Every prefix is refused or is another message; every flipped bit is decoded or refused, and what
 * is decoded encodes to the very bytes. */
static void prop_a_message_has_one_encoding(void **state)
{
    (void)state;
    vv_message m = message_of(63);
    vv_buf b;
    vv_buf again;
    stream_scratch scratch = {0};
    vv_buf_init(&b, 1u << 20);
    vv_buf_init(&again, 1u << 20);
    stream_message_encode(&m, &b);
    size_t begin = 1; /* its length takes one byte or two */
    while (b.data[begin - 1] >= 0x80)
        begin++;
    size_t len = b.len - begin;
    uint8_t *copy = malloc(len);
    assert_non_null(copy);
    unsigned taken = 0;
    for (size_t bit = 0; bit < len * 8; bit++) {
        vv_message got;
        memcpy(copy, b.data + begin, len);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (stream_message_decode(vv_slice_of(copy, len), &scratch, &got, NULL) != VV_OK)
            continue;
        taken++;
        vv_buf_reset(&again);
        stream_message_encode(&got, &again);
        assert_int_equal(again.len, b.len);
        assert_memory_equal(again.data + begin, copy, len);
    }
    assert_true(taken > 0);
    for (size_t cut = 0; cut < len; cut++) {
        vv_message got;
        memcpy(copy, b.data + begin, cut);
        uint8_t *exact = malloc(cut + 1); /* so that a sanitizer sees a read behind it */
        memcpy(exact, copy, cut);
        vv_status st = stream_message_decode(vv_slice_of(exact, cut), &scratch, &got, NULL);
        assert_true(st == VV_OK || st == VV_CORRUPT);
        free(exact);
    }
    free(copy);
    stream_scratch_fini(&scratch);
    vv_buf_fini(&again);
    vv_buf_fini(&b);
}

static void limits_are_named(void **state)
{
    (void)state;
    vv_error err = {0};
    static const uint8_t bytes[VV_STREAM_KEY_MAX + 1];
    vv_attribute twice[2] = {all_types[0], all_types[0]};
    vv_attribute nameless = {.type = VV_ATTRIBUTE_BOOL};
    vv_attribute typeless = {.name = S("a")};
    const struct {
        const char *name;
        vv_message m;
        const char *says;
    } cases[] = {
        {"key", {.key = {bytes, VV_STREAM_KEY_MAX + 1}}, "key has 65537 bytes"},
        {"content type", {.content_type = {bytes, 256}}, "content type has 256 bytes"},
        {"source", {.source = {bytes, 256}}, "source has 256 bytes"},
        {"twice", {.attributes = twice, .attribute_count = 2}, "'text' is there twice"},
        {"no name", {.attributes = &nameless, .attribute_count = 1}, "name of attribute 0 has 0"},
        {"no type", {.attributes = &typeless, .attribute_count = 1}, "type 0, which is none"},
        {"attributes", {.attributes = twice, .attribute_count = 257}, "257 attributes"},
        {"size", {.value = {bytes, 1001}}, "takes 1002 bytes, the table allows at most 1000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (stream_message_check(&cases[i].m, 1000, &err) != VV_INVALID ||
            strstr(err.msg, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].name, err.msg);
}

static void heads_that_lie_are_refused(void **state)
{
    (void)state;
    vv_buf b;
    stream_writer w;
    stream_block r;
    vv_message m = message_of(2);
    vv_buf_init(&b, 1u << 20);
    stream_block_begin(&w, &b, S("p"), 1);
    stream_block_add(&w, &m);
    stream_block_end(&w);
    stream_block_place(b.data + STREAM_PLACE_AT, &(stream_place){5, 0, 5, STREAM_NO_OFFSET});
    assert_status(VV_OK, stream_block_open(vv_buf_slice(&b), &r, NULL));
    const struct {
        const char *name;
        size_t at;
        uint8_t byte;
        vv_status want;
    } cases[] = {
        {"a later format", 0, 2, VV_UNSUPPORTED},
        {"an unknown flag", 1, 7, VV_UNSUPPORTED},
        {"no format", 0, 0, VV_CORRUPT},
        {"reserved", 2, 1, VV_CORRUPT},
        {"no messages", 4, 0, VV_CORRUPT},
        {"more messages than bytes", 4, 9, VV_CORRUPT},
        {"a time beyond the sum", 16, 6, VV_CORRUPT},
        {"a producer without a name", 56, 0, VV_CORRUPT},
        {"a producer beyond the end", 56, 100, VV_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t was = b.data[cases[i].at];
        b.data[cases[i].at] = cases[i].byte;
        if (stream_block_open(vv_buf_slice(&b), &r, NULL) != cases[i].want)
            fail_msg("%s", cases[i].name);
        b.data[cases[i].at] = was;
    }
    for (size_t cut = 0; cut < b.len; cut++) {
        vv_status st = stream_block_open(vv_slice_of(b.data, cut), &r, NULL);
        vv_slice bytes;
        if (st == VV_OK)
            st = stream_block_next(&r, &bytes, NULL);
        assert_int_equal(st, VV_CORRUPT);
    }
    vv_buf_append_u8(&b, 0);
    vv_slice bytes;
    assert_status(VV_OK, stream_block_open(vv_buf_slice(&b), &r, NULL));
    assert_status(VV_OK, stream_block_next(&r, &bytes, NULL));
    assert_status(VV_CORRUPT, stream_block_next(&r, &bytes, NULL));
    vv_buf_fini(&b);
}

static void records_come_back(void **state)
{
    (void)state;
    vv_error err = {0};
    uint8_t head[STREAM_HEAD_SIZE];
    uint8_t producer[STREAM_PRODUCER_SIZE];
    uint8_t position[STREAM_POSITION_SIZE];
    stream_head h = {1, 2, -3, STREAM_NO_TIME};
    stream_producer p = {UINT64_MAX, 7, -8};
    stream_position c = {9, 10};
    stream_head h2;
    stream_producer p2;
    stream_position c2;
    stream_head_encode(&h, head);
    stream_producer_encode(&p, producer);
    stream_position_encode(&c, position);
    assert_ok(stream_head_decode(vv_slice_of(head, sizeof head), &h2, &err), err);
    assert_ok(stream_producer_decode(vv_slice_of(producer, sizeof producer), &p2, &err), err);
    assert_ok(stream_position_decode(vv_slice_of(position, sizeof position), &c2, &err), err);
    assert_memory_equal(&h, &h2, sizeof h);
    assert_memory_equal(&p, &p2, sizeof p);
    assert_memory_equal(&c, &c2, sizeof c);
    for (size_t cut = 0; cut < sizeof head; cut++)
        assert_status(VV_CORRUPT, stream_head_decode(vv_slice_of(head, cut), &h2, NULL));
    position[0] = 2;
    assert_status(VV_UNSUPPORTED,
                  stream_position_decode(vv_slice_of(position, sizeof position), &c2, NULL));
    assert_status(VV_OK, stream_position_check(S("group/a.b:c-d_1"), NULL));
    assert_status(VV_INVALID, stream_position_check(S("a b"), NULL));
    assert_status(VV_INVALID, stream_position_check(vv_slice_of("a\0b", 3), NULL));
    assert_status(VV_INVALID, stream_position_check(S(""), NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_block_gives_back_its_messages),
        cmocka_unit_test(prop_a_message_has_one_encoding),
        cmocka_unit_test(limits_are_named),
        cmocka_unit_test(heads_that_lie_are_refused),
        cmocka_unit_test(records_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
