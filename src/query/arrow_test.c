/*
 * arrow_test.c - Arrow streams taken apart again, by the rules of FlatBuffers and of Arrow's
 * columns. That other people's readers take them is shown in tests/interop.
 */
#include "query/arrow.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "vv_test.h"

typedef struct message {
    const uint8_t *metadata;
    uint32_t metadata_len;
    const uint8_t *body;
    uint64_t body_len;
    uint8_t kind;
    const uint8_t *header; /* its table */
} message;

/* Where field i of a table lies; NULL: it is absent. */
static const uint8_t *field_of(const uint8_t *table, unsigned i)
{
    const uint8_t *vtable = table - (int32_t)vv_get_le32(table);
    assert_true(vtable < table);
    assert_int_equal((uintptr_t)vtable % 2, 0);
    unsigned at = 4 + 2 * i;
    unsigned offset = at < vv_get_le16(vtable) ? vv_get_le16(vtable + at) : 0;
    assert_true(offset < vv_get_le16(vtable + 2) || offset == 0);
    return offset == 0 ? NULL : table + offset;
}

static const uint8_t *follow(const uint8_t *reference)
{
    assert_non_null(reference);
    assert_true(vv_get_le32(reference) > 0);
    return reference + vv_get_le32(reference);
}

/* The next message of a stream; false at its end. */
static bool next_message(vv_slice *stream, message *out)
{
    assert_true(stream->len >= 8);
    assert_int_equal(vv_get_le32(stream->data), 0xffffffff);
    out->metadata_len = vv_get_le32(stream->data + 4);
    if (out->metadata_len == 0) {
        assert_int_equal(stream->len, 8);
        return false;
    }
    assert_int_equal(out->metadata_len % 8, 0);
    assert_true(stream->len >= 8 + (size_t)out->metadata_len);
    out->metadata = stream->data + 8;
    const uint8_t *table = follow(out->metadata);
    assert_int_equal((table - out->metadata) % 8, 0);
    assert_int_equal(vv_get_le16(field_of(table, 0)), 4); /* V5 */
    out->kind = *field_of(table, 1);
    out->header = follow(field_of(table, 2));
    const uint8_t *length = field_of(table, 3);
    assert_int_equal((length - out->metadata) % 8, 0);
    out->body_len = vv_get_le64(length);
    assert_int_equal(out->body_len % 8, 0);
    out->body = out->metadata + out->metadata_len;
    size_t used = 8 + (size_t)out->metadata_len + (size_t)out->body_len;
    assert_true(used <= stream->len);
    *stream = vv_slice_of(stream->data + used, stream->len - used);
    return true;
}

static const arrow_field fields[] = {{"time", ARROW_TIMESTAMP}, {"value", ARROW_F64},
                                     {"count", ARROW_I64},      {"quality", ARROW_U32},
                                     {"on", ARROW_BOOL},        {"text", ARROW_UTF8}};
enum { FIELDS = 6 };

static void test_schema(void **state)
{
    (void)state;
    vv_buf out;
    vv_buf_init(&out, 1 << 16);
    arrow_append_schema(&out, fields, FIELDS);
    arrow_append_end(&out);
    vv_slice stream = vv_buf_slice(&out);
    message m;
    assert_true(next_message(&stream, &m));
    assert_int_equal(m.kind, 1);
    assert_int_equal(m.body_len, 0);
    assert_int_equal(vv_get_le16(field_of(m.header, 0)), 0); /* little-endian */
    const uint8_t *vector = follow(field_of(m.header, 1));
    assert_int_equal(vv_get_le32(vector), FIELDS);
    const uint8_t numbers[FIELDS] = {10, 3, 2, 2, 6, 5};
    for (unsigned i = 0; i < FIELDS; i++) {
        const uint8_t *field = follow(vector + 4 + 4 * (size_t)i);
        const uint8_t *name = follow(field_of(field, 0));
        assert_int_equal(vv_get_le32(name), strlen(fields[i].name));
        assert_string_equal((const char *)name + 4, fields[i].name);
        assert_int_equal(*field_of(field, 1), 1);
        assert_int_equal(*field_of(field, 2), numbers[i]);
        const uint8_t *type = follow(field_of(field, 3));
        assert_null(field_of(field, 4));
        assert_int_equal(vv_get_le32(follow(field_of(field, 5))), 0);
        if (fields[i].type == ARROW_U32 || fields[i].type == ARROW_I64) {
            assert_int_equal(vv_get_le32(field_of(type, 0)), fields[i].type == ARROW_I64 ? 64 : 32);
            assert_int_equal(*field_of(type, 1), fields[i].type == ARROW_I64);
        } else if (fields[i].type == ARROW_TIMESTAMP) {
            assert_int_equal(vv_get_le16(field_of(type, 0)), 3);
            assert_string_equal((const char *)follow(field_of(type, 1)) + 4, "UTC");
        } else if (fields[i].type == ARROW_F64) {
            assert_int_equal(vv_get_le16(field_of(type, 0)), 2);
        }
    }
    assert_false(next_message(&stream, &m));
    vv_buf_fini(&out);
}

/* The n-th buffer of a batch. */
static vv_slice buffer_of(const message *m, unsigned n)
{
    const uint8_t *vector = follow(field_of(m->header, 2));
    assert_true(n < vv_get_le32(vector));
    const uint8_t *at = vector + 4 + 16 * (size_t)n;
    assert_int_equal((at - m->metadata) % 8, 0);
    uint64_t offset = vv_get_le64(at);
    uint64_t len = vv_get_le64(at + 8);
    assert_int_equal(offset % 8, 0);
    assert_true(offset + len <= m->body_len);
    return vv_slice_of(m->body + offset, (size_t)len);
}

static void test_batch(void **state)
{
    (void)state;
    const int64_t time[] = {-5, 0, INT64_MAX};
    const double value[] = {1.5, -0.0, 3e300};
    const int64_t count[] = {INT64_MIN, 0, 7};
    const uint32_t quality[] = {0, 1, 0x80000000u};
    const uint8_t on[] = {1, 0, 1};
    const vv_slice text[] = {vv_slice_str("ab"), vv_slice_str("gone"), vv_slice_str("\xc3\xa4")};
    const uint8_t null[] = {0, 1, 0};
    const arrow_column columns[FIELDS] = {{time, NULL},    {value, null}, {count, NULL},
                                          {quality, NULL}, {on, NULL},    {text, null}};
    vv_buf out;
    vv_buf_init(&out, 1 << 16);
    arrow_append_batch(&out, fields, columns, FIELDS, 3);
    arrow_append_batch(&out, fields, columns, FIELDS, 0);
    arrow_append_end(&out);
    vv_slice stream = vv_buf_slice(&out);
    message m;
    assert_true(next_message(&stream, &m));
    assert_int_equal(m.kind, 3);
    assert_int_equal(vv_get_le64(field_of(m.header, 0)), 3);
    const uint8_t *nodes = follow(field_of(m.header, 1));
    assert_int_equal(vv_get_le32(nodes), FIELDS);
    assert_int_equal((nodes + 4 - m.metadata) % 8, 0);
    for (size_t i = 0; i < FIELDS; i++) {
        assert_int_equal(vv_get_le64(nodes + 4 + 16 * i), 3);
        assert_int_equal(vv_get_le64(nodes + 12 + 16 * i), i == 1 || i == 5);
    }
    assert_int_equal(vv_get_le32(follow(field_of(m.header, 2))), 13);
    assert_int_equal(buffer_of(&m, 0).len, 0); /* nothing is missing */
    assert_memory_equal(buffer_of(&m, 1).data, time, sizeof time);
    assert_int_equal(buffer_of(&m, 2).data[0], 0x5);
    assert_memory_equal(buffer_of(&m, 3).data, value, sizeof value);
    assert_memory_equal(buffer_of(&m, 5).data, count, sizeof count);
    assert_int_equal(buffer_of(&m, 7).len, sizeof quality);
    assert_memory_equal(buffer_of(&m, 7).data, quality, sizeof quality);
    assert_int_equal(buffer_of(&m, 9).len, 1);
    assert_int_equal(buffer_of(&m, 9).data[0], 0x5);
    vv_slice offsets = buffer_of(&m, 11);
    const uint32_t ends[] = {0, 2, 2, 4};
    assert_int_equal(offsets.len, sizeof ends);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        assert_int_equal(vv_get_le32(offsets.data + 4 * i), ends[i]);
    vv_slice bytes = buffer_of(&m, 12);
    assert_int_equal(bytes.len, 4);
    assert_memory_equal(bytes.data, "ab\xc3\xa4", 4);
    assert_true(next_message(&stream, &m));
    assert_int_equal(vv_get_le64(field_of(m.header, 0)), 0);
    assert_int_equal(vv_get_le32(buffer_of(&m, 11).data), 0);
    assert_false(next_message(&stream, &m));
    vv_buf_fini(&out);
}

/* Structs of int64 lie on multiples of eight, whatever stands before them. */
static void test_alignment(void **state)
{
    (void)state;
    const int64_t time[] = {1, 2};
    const arrow_column columns[FIELDS] = {{time, NULL}, {time, NULL}, {time, NULL}};
    for (uint32_t count = 1; count <= 3; count++) {
        vv_buf out;
        vv_buf_init(&out, 1 << 16);
        arrow_append_batch(&out, fields, columns, count, 2);
        vv_slice stream = vv_buf_slice(&out);
        message m;
        assert_true(next_message(&stream, &m));
        const uint8_t *nodes = follow(field_of(m.header, 1));
        assert_int_equal((nodes + 4 - m.metadata) % 8, 0);
        for (unsigned n = 0; n < 2 * count; n++)
            assert_int_equal(buffer_of(&m, n).len, n % 2 == 0 ? 0 : sizeof time);
        vv_buf_fini(&out);
    }
}

/* A buffer that is full stays within its bound and says so. */
static void test_full(void **state)
{
    (void)state;
    vv_buf whole;
    vv_buf_init(&whole, 1 << 16);
    arrow_append_schema(&whole, fields, FIELDS);
    assert_int_equal(whole.status, VV_OK);
    for (size_t max = 0; max < whole.len; max++) {
        vv_buf out;
        vv_buf_init(&out, max);
        arrow_append_schema(&out, fields, FIELDS);
        assert_int_equal(out.status, VV_BUSY);
        assert_true(out.len <= max);
        vv_buf_fini(&out);
    }
    vv_buf_fini(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
