/*
 * ingest_walk_test.c - the walker on messages that protobuf-c packed, on cut ones, and on nesting.
 */
#include "ingest/ingest_walk.h"

#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/rng.h"
#include "storage/ingestion.pb-c.h"
#include "vv_test.h"

static void test_faults_of_a_record(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        ingest_fault fault, content;
    } cases[] = {
        {"empty", {NULL, 0}, INGEST_GOOD, INGEST_GOOD},
        {"unknown fields of every wire type",
         BYTES(0x78, 1, 0xfa, 1, 1, 'x', 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7d, 1, 2, 3, 4),
         INGEST_GOOD, INGEST_GOOD},
        {"length past the end", BYTES(0x12, 5, 1), INGEST_MALFORMED, INGEST_GOOD},
        {"length of six bytes", BYTES(0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0), INGEST_MALFORMED,
         INGEST_GOOD},
        {"unfinished tag", BYTES(0xfa), INGEST_MALFORMED, INGEST_GOOD},
        {"unfinished varint", BYTES(0x28, 0xff), INGEST_MALFORMED, INGEST_GOOD},
        {"varint of eleven bytes",
         BYTES(0x28, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1),
         INGEST_MALFORMED, INGEST_GOOD},
        {"field number zero", BYTES(0x02, 0), INGEST_STRICT, INGEST_GOOD},
        {"group", BYTES(0x0b, 0x0c), INGEST_MALFORMED, INGEST_GOOD},
        {"number where a message belongs", BYTES(0x10, 1), INGEST_MALFORMED, INGEST_GOOD},
        {"malformed inside data", BYTES(0x12, 2, 0x0a, 9), INGEST_MALFORMED, INGEST_GOOD},
        {"entity id is not UTF-8", BYTES(0x0a, 5, 0x12, 3, 0x0a, 1, 0xff), INGEST_GOOD,
         INGEST_NOT_UTF8},
        {"metadata key is not UTF-8", BYTES(0x32, 3, 0x0a, 1, 0xc0), INGEST_GOOD, INGEST_NOT_UTF8},
        {"string in data is not UTF-8", BYTES(0x12, 9, 0x0a, 7, 0x0a, 0, 0x12, 3, 0x1a, 1, 0xfe),
         INGEST_GOOD, INGEST_NOT_UTF8},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ingest_view v;
        if (ingest_walk_record(cases[i].in, &v) != cases[i].fault)
            fail_msg("%s: fault", cases[i].name);
        if (cases[i].fault == INGEST_GOOD && v.content != cases[i].content)
            fail_msg("%s: content", cases[i].name);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        bool good;
    } cases[] = {
        {"ascii", BYTES('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'), true},
        {"two bytes", BYTES(0xc3, 0xa9), true},
        {"three bytes across a word", BYTES('1', '2', '3', '4', '5', '6', '7', 0xe2, 0x82, 0xac),
         true},
        {"four bytes", BYTES(0xf0, 0x9f, 0x98, 0x80), true},
        {"NUL", BYTES(0), true},
        {"continuation alone", BYTES(0x80), false},
        {"cut", BYTES(0xe2, 0x82), false},
        {"overlong", BYTES(0xc0, 0xaf), false},
        {"overlong of three", BYTES(0xe0, 0x80, 0xaf), false},
        {"surrogate", BYTES(0xed, 0xa0, 0x80), false},
        {"past the last", BYTES(0xf4, 0x90, 0x80, 0x80), false},
        {"bad after a clean word", BYTES('1', '2', '3', '4', '5', '6', '7', '8', 0xff), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (ingest_is_utf8(cases[i].in) != cases[i].good)
            fail_msg("%s", cases[i].name);
}

/* A Struct whose one field nests depth Values of lists. */
static void nested(vv_buf *out, size_t depth)
{
    uint8_t *text = malloc(depth * 12 + 64);
    assert_non_null(text);
    size_t at = depth * 12 + 64, end = at;
    for (size_t i = 0; i < depth; i++) { /* from the inside: values, then the list, backwards */
        uint8_t head[12];
        size_t len = end - at, n = 0;
        if (i > 0) {
            head[n++] = 0x0a; /* ListValue.values */
            for (; len >= 0x80; len >>= 7)
                head[n++] = (uint8_t)(len | 0x80);
            head[n++] = (uint8_t)len;
            memcpy(text + (at -= n), head, n);
            len = end - at;
            n = 0;
            head[n++] = 0x32; /* Value.list_value */
            for (; len >= 0x80; len >>= 7)
                head[n++] = (uint8_t)(len | 0x80);
            head[n++] = (uint8_t)len;
            memcpy(text + (at -= n), head, n);
        }
    }
    vv_buf entry;
    vv_buf_init(&entry, 1 << 24);
    vv_buf_append_u8(&entry, 0x12);
    vv_buf_append_varint(&entry, end - at);
    vv_buf_append(&entry, text + at, end - at);
    vv_buf_append_u8(out, 0x0a);
    vv_buf_append_varint(out, entry.len);
    vv_buf_append_slice(out, vv_buf_slice(&entry));
    vv_buf_fini(&entry);
    free(text);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    const struct {
        size_t depth;
        ingest_fault want;
    } cases[] = {{1, INGEST_GOOD},
                 {INGEST_DEPTH_MAX, INGEST_GOOD},
                 {INGEST_DEPTH_MAX + 1, INGEST_DEEP},
                 {100000, INGEST_DEEP}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_buf body;
        vv_buf_init(&body, 1 << 24);
        nested(&body, cases[i].depth);
        if (ingest_check_struct(vv_buf_slice(&body)) != cases[i].want)
            fail_msg("depth %zu", cases[i].depth);
        vv_buf_fini(&body);
    }
}

/* ---- against protobuf-c ---- */

typedef struct made {
    char entity[24], tenant[24], schema[24], keys[4][8], values[4][24];
    Storage__TenantID tenant_id;
    Storage__EntityID entity_id;
    Storage__RecordID id;
    Storage__SchemaID schema_id;
    Google__Protobuf__Timestamp timestamp;
    Google__Protobuf__Value value[3];
    Google__Protobuf__Struct__FieldsEntry entry[3], *entries[3];
    Google__Protobuf__Struct data;
    Storage__DataRecord__MetadataEntry pair[4], *pairs[4];
    Storage__DataRecord record;
} made;

static void random_text(vv_rng *rng, char *out, size_t cap)
{
    size_t len = vv_rng_below(rng, cap);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + vv_rng_below(rng, 26));
    out[len] = '\0';
}

static void make_record(vv_rng *rng, made *m)
{
    memset(m, 0, sizeof *m);
    storage__data_record__init(&m->record);
    random_text(rng, m->entity, sizeof m->entity);
    random_text(rng, m->tenant, sizeof m->tenant);
    random_text(rng, m->schema, sizeof m->schema);
    storage__record_id__init(&m->id);
    storage__tenant_id__init(&m->tenant_id);
    storage__entity_id__init(&m->entity_id);
    m->tenant_id.id = m->tenant;
    m->entity_id.id = m->entity;
    m->id.tenant_id = vv_rng_one_in(rng, 2) ? &m->tenant_id : NULL;
    m->id.entity_id = &m->entity_id;
    m->record.id = vv_rng_one_in(rng, 8) ? NULL : &m->id;
    storage__schema_id__init(&m->schema_id);
    m->schema_id.name = m->schema;
    m->schema_id.version = (int32_t)vv_rng_next(rng);
    m->record.schema = vv_rng_one_in(rng, 2) ? &m->schema_id : NULL;
    google__protobuf__timestamp__init(&m->timestamp);
    m->timestamp.seconds = (int64_t)vv_rng_next(rng);
    m->timestamp.nanos = (int32_t)vv_rng_below(rng, 1000000000);
    m->record.timestamp = vv_rng_one_in(rng, 2) ? &m->timestamp : NULL;
    google__protobuf__struct__init(&m->data);
    for (size_t i = 0; i < ARRAY_LEN(m->value); i++) {
        google__protobuf__value__init(&m->value[i]);
        m->value[i].kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
        m->value[i].number_value = (double)vv_rng_below(rng, 1000);
        google__protobuf__struct__fields_entry__init(&m->entry[i]);
        m->entry[i].key = m->entity;
        m->entry[i].value = &m->value[i];
        m->entries[i] = &m->entry[i];
    }
    m->data.fields = m->entries;
    m->data.n_fields = vv_rng_below(rng, ARRAY_LEN(m->value) + 1);
    m->record.data = vv_rng_one_in(rng, 5) ? NULL : &m->data;
    m->record.n_metadata = vv_rng_below(rng, ARRAY_LEN(m->pair) + 1);
    for (size_t i = 0; i < ARRAY_LEN(m->pair); i++) {
        random_text(rng, m->keys[i], sizeof m->keys[i]);
        random_text(rng, m->values[i], sizeof m->values[i]);
        storage__data_record__metadata_entry__init(&m->pair[i]);
        m->pair[i].key = m->keys[i];
        m->pair[i].value = m->values[i];
        m->pairs[i] = &m->pair[i];
    }
    m->record.metadata = m->pairs;
}

static bool is_text(vv_slice s, const char *text)
{
    return vv_slice_eq(s, vv_slice_str(text));
}

static void check_record(const made *m, vv_slice raw)
{
    const Storage__DataRecord *r = &m->record;
    ingest_view v;
    assert_int_equal(ingest_walk_record(raw, &v), INGEST_GOOD);
    assert_int_equal(v.content, INGEST_GOOD);
    assert_true(is_text(v.entity, r->id == NULL ? "" : m->entity));
    assert_true(is_text(v.tenant, r->id == NULL || r->id->tenant_id == NULL ? "" : m->tenant));
    assert_true(is_text(v.schema.name, r->schema == NULL ? "" : m->schema));
    assert_int_equal(v.schema.version, r->schema == NULL ? 0 : r->schema->version);
    assert_int_equal(v.has_timestamp, r->timestamp != NULL);
    if (r->timestamp != NULL) {
        assert_int_equal(v.seconds, r->timestamp->seconds);
        assert_int_equal(v.nanos, r->timestamp->nanos);
    }
    assert_int_equal(v.body_pieces, r->data != NULL);
    if (r->data != NULL)
        assert_int_equal(v.body.len, google__protobuf__struct__get_packed_size(r->data));
    assert_int_equal(v.metadata_count, r->n_metadata);
    vv_slice rest = v.raw, key, value;
    for (size_t i = 0; i < r->n_metadata; i++) {
        assert_true(ingest_walk_metadata(&rest, &key, &value));
        assert_true(is_text(key, m->keys[i]) && is_text(value, m->values[i]));
    }
    assert_false(ingest_walk_metadata(&rest, &key, &value));
}

#define RECORDS 5

static void prop_a_packed_batch_reads_back(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0x1267);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    static made m[RECORDS];
    for (unsigned round = 0; round < 3000; round++) {
        Storage__DataRecord *records[RECORDS];
        Storage__IngestBatchRequest batch = STORAGE__INGEST_BATCH_REQUEST__INIT;
        batch.n_records = vv_rng_below(&rng, RECORDS + 1);
        batch.records = records;
        batch.transactional = vv_rng_one_in(&rng, 2);
        for (size_t i = 0; i < RECORDS; i++) {
            make_record(&rng, &m[i]);
            records[i] = &m[i].record;
        }
        size_t len = storage__ingest_batch_request__get_packed_size(&batch);
        uint8_t *bytes = malloc(len + 1); /* exact for the address sanitizer */
        assert_non_null(bytes);
        assert_int_equal(storage__ingest_batch_request__pack(&batch, bytes), len);
        ingest_request r;
        assert_int_equal(ingest_walk_batch_request(vv_slice_of(bytes, len), &r), INGEST_GOOD);
        assert_int_equal(r.record_count, batch.n_records);
        assert_int_equal(r.transactional, batch.transactional != 0);
        vv_slice rest = r.raw, record;
        for (size_t i = 0; i < batch.n_records; i++) {
            assert_true(ingest_walk_next_record(&rest, &record));
            check_record(&m[i], record);
        }
        assert_false(ingest_walk_next_record(&rest, &record));
        free(bytes);
    }
}

/* Cut anywhere, a message is malformed or a shorter good one; nothing is read past its end. */
static void prop_cuts_are_never_read_past(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0xc07));
    made *m = malloc(sizeof *m);
    assert_non_null(m);
    for (unsigned round = 0; round < 50; round++) {
        make_record(&rng, m);
        Storage__IngestStreamRequest request = STORAGE__INGEST_STREAM_REQUEST__INIT;
        request.request_case = STORAGE__INGEST_STREAM_REQUEST__REQUEST_RECORD;
        request.record = &m->record;
        size_t len = storage__ingest_stream_request__get_packed_size(&request);
        uint8_t *whole = malloc(len);
        assert_non_null(whole);
        (void)storage__ingest_stream_request__pack(&request, whole);
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *part = malloc(cut == 0 ? 1 : cut);
            assert_non_null(part);
            memcpy(part, whole, cut);
            ingest_stream_request r;
            ingest_fault fault = ingest_walk_stream_request(vv_slice_of(part, cut), &r);
            assert_int_equal(fault, cut == 0 ? INGEST_GOOD : INGEST_MALFORMED);
            free(part);
        }
        free(whole);
    }
    free(m);
}

static void test_stream_members_and_options(void **state)
{
    (void)state;
    ingest_stream_request r;
    /* init{options{key:"ack" value:"batch"}} */
    vv_slice init =
        BYTES(0x0a, 14, 0x1a, 12, 0x0a, 3, 'a', 'c', 'k', 0x12, 5, 'b', 'a', 't', 'c', 'h');
    assert_int_equal(ingest_walk_stream_request(init, &r), INGEST_GOOD);
    assert_int_equal(r.kind, INGEST_STREAM_INIT);
    assert_true(is_text(r.asked.ack, "batch"));
    assert_int_equal(ingest_walk_stream_request(BYTES(0x1a, 2, 0x08, 1), &r), INGEST_GOOD);
    assert_int_equal(r.kind, INGEST_STREAM_COMMIT);
    assert_true(r.force_flush);
    /* The last member of the oneof is the one that counts, and none of the first remains. */
    assert_int_equal(ingest_walk_stream_request(BYTES(0x12, 4, 0x1a, 2, 0x18, 7, 0x0a, 0), &r),
                     INGEST_GOOD);
    assert_int_equal(r.kind, INGEST_STREAM_INIT);
    assert_int_equal(r.view.schema.version, 0);
    assert_int_equal(ingest_walk_stream_request(vv_slice_of(NULL, 0), &r), INGEST_GOOD);
    assert_int_equal(r.kind, INGEST_STREAM_NOTHING);
}

static void test_pieces_are_joined(void **state)
{
    (void)state;
    vv_arena arena;
    vv_arena_init(&arena, 1 << 16);
    ingest_request r;
    ingest_view v;
    vv_slice body;
    /* Two records in one request: the first brings the entity id, the second the version, and each
     * one field of data. */
    vv_slice in = BYTES(0x0a, 14, 0x0a, 5, 0x12, 3, 0x0a, 1, 'e', 0x12, 5, 0x0a, 3, 0x0a, 1, 'a',
                        0x0a, 11, 0x1a, 2, 0x18, 3, 0x12, 5, 0x0a, 3, 0x0a, 1, 'b');
    assert_int_equal(ingest_walk_record_request(in, &arena, &r), INGEST_GOOD);
    assert_int_equal(ingest_walk_record(r.record, &v), INGEST_GOOD);
    assert_true(is_text(v.entity, "e"));
    assert_int_equal(v.schema.version, 3);
    assert_int_equal(v.body_pieces, 2);
    assert_int_equal(ingest_walk_body(&v, &arena, &body), INGEST_GOOD);
    assert_true(vv_slice_eq(body, BYTES(0x0a, 3, 0x0a, 1, 'a', 0x0a, 3, 0x0a, 1, 'b')));
    vv_alloc_fail_after(0, 1);
    vv_arena_fini(&arena);
    ingest_fault fault = ingest_walk_record_request(in, &arena, &r);
    vv_alloc_fail_after(-1, 0);
    assert_int_equal(fault, INGEST_NO_ROOM);
    vv_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults_of_a_record),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(prop_a_packed_batch_reads_back),
        cmocka_unit_test(prop_cuts_are_never_read_past),
        cmocka_unit_test(test_stream_members_and_options),
        cmocka_unit_test(test_pieces_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
