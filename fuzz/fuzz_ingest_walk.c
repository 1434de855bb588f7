/*
 * fuzz_ingest_walk.c - the zero-copy walker of ingest messages against protobuf-c as the oracle.
 *
 * The first byte chooses the message. Laws: (1) what the walker accepts, protobuf-c accepts, and
 * both see the same values; (2) what protobuf-c accepts, the walker accepts, or it names one of its
 * own stricter rules. Numbers of a message that was sent in pieces are compared with nothing: there
 * protobuf-c loses what the first piece said.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "codec/protowire.h"
#include "ingest/ingest_walk.h"
#include "storage/ingestion.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* protobuf-c recurses: beyond this many bytes a message could nest deeper than our stack. */
#define ORACLE_BYTES_MAX 8192u

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static bool same_text(const char *text, vv_slice s)
{
    return (s.len == 0 || memcmp(text, s.data, s.len) == 0) && text[s.len] == '\0';
}

static bool same_id(const Storage__TenantID *id, vv_slice s)
{
    return id == NULL ? s.len == 0 : same_text(id->id, s);
}

static unsigned occurrences(vv_slice raw, uint32_t number)
{
    wire_reader c = wire_reader_of(raw);
    wire_field f;
    unsigned n = 0;
    while (wire_next(&c, &f) > 0)
        n += f.number == number;
    return n;
}

static void compare_packed(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t len = protobuf_c_message_get_packed_size(a);
    MUST(len == protobuf_c_message_get_packed_size(b));
    uint8_t *bytes_a = malloc(len + 1), *bytes_b = malloc(len + 1);
    MUST(bytes_a != NULL && bytes_b != NULL);
    (void)protobuf_c_message_pack(a, bytes_a);
    (void)protobuf_c_message_pack(b, bytes_b);
    MUST(memcmp(bytes_a, bytes_b, len) == 0);
    free(bytes_a);
    free(bytes_b);
}

/* The fields alone: merging, protobuf-c forgets the unknown fields of the first piece. */
static void compare_struct(const Google__Protobuf__Struct *whole, vv_slice body)
{
    static const uint8_t none[1];
    Google__Protobuf__Struct *ours =
        google__protobuf__struct__unpack(NULL, body.len, body.len == 0 ? none : body.data);
    MUST(ours != NULL);
    MUST(whole->n_fields == ours->n_fields);
    for (size_t i = 0; i < ours->n_fields; i++)
        compare_packed(&whole->fields[i]->base, &ours->fields[i]->base);
    google__protobuf__struct__free_unpacked(ours, NULL);
}

/* in_pieces: the DataRecord itself came in more than one. */
static void compare_record(const Storage__DataRecord *m, const ingest_view *v, bool in_pieces)
{
    vv_arena arena;
    const Storage__RecordID *id = m->id;
    MUST(same_id(id == NULL ? NULL : id->tenant_id, v->tenant));
    MUST(id == NULL || id->entity_id == NULL ? v->entity.len == 0
                                             : same_text(id->entity_id->id, v->entity));
    MUST(m->schema == NULL ? v->schema.name.len == 0 : same_text(m->schema->name, v->schema.name));
    MUST(same_id(m->schema == NULL ? NULL : m->schema->tenant_id, v->schema.tenant));
    if (!in_pieces && occurrences(v->raw, 3) <= 1)
        MUST((m->schema == NULL ? 0 : m->schema->version) == v->schema.version);
    MUST((m->timestamp != NULL) == v->has_timestamp);
    if (!in_pieces && m->timestamp != NULL && occurrences(v->raw, 4) <= 1) {
        MUST(m->timestamp->seconds == v->seconds);
        MUST(m->timestamp->nanos == v->nanos);
    }
    MUST(m->n_metadata == v->metadata_count);
    vv_slice rest = v->raw, key, value;
    for (size_t i = 0; i < m->n_metadata; i++) {
        MUST(ingest_walk_metadata(&rest, &key, &value));
        MUST(same_text(m->metadata[i]->key, key));
        MUST(same_text(m->metadata[i]->value, value));
    }
    MUST(!ingest_walk_metadata(&rest, &key, &value));
    MUST((m->data != NULL) == (v->body_pieces > 0));
    if (m->data != NULL) {
        vv_slice body;
        vv_arena_init(&arena, 1 << 20);
        MUST(ingest_walk_body(v, &arena, &body) == INGEST_GOOD);
        compare_struct(m->data, body);
        vv_arena_fini(&arena);
    }
}

static bool is_ours(ingest_fault fault)
{
    return fault == INGEST_STRICT || fault == INGEST_DEEP || fault == INGEST_NOT_UTF8;
}

/* False when there is nothing more to compare. */
static bool agree(ingest_fault fault, ingest_fault content, const void *message)
{
    if (fault == INGEST_GOOD && content == INGEST_GOOD)
        MUST(message != NULL);
    if (fault == INGEST_MALFORMED)
        MUST(message == NULL);
    MUST(fault == INGEST_GOOD || fault == INGEST_MALFORMED || is_ours(fault));
    return fault == INGEST_GOOD && content == INGEST_GOOD && message != NULL;
}

static void try_record(vv_slice in)
{
    ingest_view v;
    ingest_fault fault = ingest_walk_record(in, &v);
    if (in.len > ORACLE_BYTES_MAX)
        return;
    Storage__DataRecord *m = storage__data_record__unpack(NULL, in.len, in.data);
    if (agree(fault, v.content, m))
        compare_record(m, &v, false);
    storage__data_record__free_unpacked(m, NULL);
}

static void compare_options(size_t count, Storage__IngestBatchRequest__OptionsEntry **options,
                            const ingest_asked *asked)
{
    const char *durability = NULL, *ack = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i]->key, "durability") == 0)
            durability = options[i]->value;
        if (strcmp(options[i]->key, "ack") == 0)
            ack = options[i]->value;
    }
    /* A key with a NUL byte looks shorter to C than it is: only then may they differ. */
    if (asked->durability.data != NULL)
        MUST(durability != NULL);
    if (asked->ack.data != NULL)
        MUST(ack != NULL);
}

static void try_record_request(vv_slice in)
{
    vv_arena arena;
    ingest_request r;
    ingest_view v = {0};
    vv_arena_init(&arena, 1 << 20);
    ingest_fault fault = ingest_walk_record_request(in, &arena, &r);
    if (fault == INGEST_GOOD && r.record_count > 0)
        fault = ingest_walk_record(r.record, &v);
    if (in.len <= ORACLE_BYTES_MAX) {
        Storage__IngestRecordRequest *m =
            storage__ingest_record_request__unpack(NULL, in.len, in.data);
        if (agree(fault, v.content, m)) {
            MUST((m->record != NULL) == (r.record_count > 0));
            if (m->record != NULL)
                compare_record(m->record, &v, occurrences(in, 1) > 1);
        }
        storage__ingest_record_request__free_unpacked(m, NULL);
    }
    vv_arena_fini(&arena);
}

static void try_batch_request(vv_slice in)
{
    ingest_request r;
    ingest_view v;
    ingest_fault content = INGEST_GOOD;
    vv_slice rest = in, record;
    ingest_fault fault = ingest_walk_batch_request(in, &r);
    while (fault == INGEST_GOOD && ingest_walk_next_record(&rest, &record)) {
        fault = ingest_walk_record(record, &v);
        if (v.content != INGEST_GOOD)
            content = v.content;
    }
    if (in.len > ORACLE_BYTES_MAX)
        return;
    Storage__IngestBatchRequest *m = storage__ingest_batch_request__unpack(NULL, in.len, in.data);
    if (agree(fault, content, m)) {
        MUST(m->n_records == r.record_count);
        MUST((m->transactional != 0) == r.transactional);
        compare_options(m->n_options, m->options, &r.asked);
        rest = in;
        for (size_t i = 0; i < m->n_records; i++) {
            MUST(ingest_walk_next_record(&rest, &record));
            MUST(ingest_walk_record(record, &v) == INGEST_GOOD);
            compare_record(m->records[i], &v, false);
        }
        MUST(!ingest_walk_next_record(&rest, &record));
    }
    storage__ingest_batch_request__free_unpacked(m, NULL);
}

static void try_stream_request(vv_slice in)
{
    ingest_stream_request r;
    ingest_fault fault = ingest_walk_stream_request(in, &r);
    if (in.len > ORACLE_BYTES_MAX)
        return;
    Storage__IngestStreamRequest *m = storage__ingest_stream_request__unpack(NULL, in.len, in.data);
    if (agree(fault, r.view.content, m)) {
        MUST((unsigned)r.kind == (unsigned)m->request_case);
        if (r.kind == INGEST_STREAM_RECORD)
            compare_record(m->record, &r.view, false);
        if (r.kind == INGEST_STREAM_COMMIT)
            MUST((m->commit->force_flush != 0) == r.force_flush);
        if (r.kind == INGEST_STREAM_INIT) {
            MUST(same_id(m->init->tenant_id, r.tenant));
            MUST(m->init->schema == NULL ? r.schema.name.len == 0
                                         : same_text(m->init->schema->name, r.schema.name));
        }
    }
    storage__ingest_stream_request__free_unpacked(m, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    vv_slice in = vv_slice_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        try_record(in);
        break;
    case 1:
        try_record_request(in);
        break;
    case 2:
        try_batch_request(in);
        break;
    default:
        try_stream_request(in);
        break;
    }
    return 0;
}
