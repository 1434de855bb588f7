/*
 * fuzz_append.c - requests of varve.v1.Stream/Append, with protobuf-c as the oracle, and the trace
 * that a request names.
 *
 * Laws: a request that both accept has the same messages for both; a message that was read and is
 * written as a page has it is read as the same; a traceparent that is accepted has its two ids.
 */
#include "fuzz_proto.h"
#include "server/svc_event.h"
#include "server/svc_stream.h"
#include "varve/v1/stream.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static vv_status read(vv_slice in, vv_arena *arena, svc_table_ref *ref, vv_message **m,
                      size_t *count, vv_stream_append_options *opt)
{
    vv_error err = {0};
    *opt = (vv_stream_append_options)VV_STREAM_APPEND_OPTIONS_INIT;
    *ref = (svc_table_ref){0};
    vv_status st = svc_stream_read_append(in, arena, ref, m, count, opt, &err);
    MUST(st == VV_OK || err.msg[0] != '\0');
    return st;
}

static void same_attribute(const Varve__V1__StreamAttribute *m, const vv_attribute *a)
{
    MUST(same_text(m->name, a->name));
    switch (m->value_case) {
    case VARVE__V1__STREAM_ATTRIBUTE__VALUE_TEXT:
        MUST(a->type == VV_ATTRIBUTE_STRING && same_text(m->text, a->bytes));
        break;
    case VARVE__V1__STREAM_ATTRIBUTE__VALUE_RAW:
        MUST(a->type == VV_ATTRIBUTE_BYTES && same_bytes(m->raw, a->bytes));
        break;
    case VARVE__V1__STREAM_ATTRIBUTE__VALUE_I64:
        MUST(a->type == VV_ATTRIBUTE_I64 && m->i64 == a->i64);
        break;
    case VARVE__V1__STREAM_ATTRIBUTE__VALUE_F64:
        MUST(a->type == VV_ATTRIBUTE_F64 && memcmp(&m->f64, &a->f64, sizeof m->f64) == 0);
        break;
    case VARVE__V1__STREAM_ATTRIBUTE__VALUE_BOOLEAN:
        MUST(a->type == VV_ATTRIBUTE_BOOL && (m->boolean != 0) == (a->i64 != 0));
        break;
    case VARVE__V1__STREAM_ATTRIBUTE__VALUE_TIME_NS:
        MUST(a->type == VV_ATTRIBUTE_TIME && m->time_ns == a->i64);
        break;
    default:
        break;
    }
}

static void same_message(const Varve__V1__StreamMessage *m, const vv_message *a)
{
    MUST(same_bytes(m->key, a->key) && same_bytes(m->value, a->value));
    MUST(same_text(m->content_type, a->content_type) && same_text(m->source, a->source));
    MUST(m->event_time_ns == a->event_time_ns && m->n_attributes == a->attribute_count);
    for (size_t i = 0; i < m->n_attributes; i++)
        same_attribute(m->attributes[i], &a->attributes[i]);
}

/* As a page has them: field 1, where a request has field 2. */
static void write_again(const vv_message *m, size_t count, vv_arena *arena)
{
    vv_buf page;
    vv_buf request;
    svc_table_ref ref;
    vv_stream_append_options opt;
    vv_message *again = NULL;
    size_t n = 0;
    vv_buf_init(&page, 64u << 20);
    vv_buf_init(&request, 64u << 20);
    for (size_t i = 0; i < count; i++)
        svc_stream_put_message(&page, &m[i]);
    wire_reader r = wire_reader_of(vv_buf_slice(&page));
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        wire_put_bytes(&request, 2, f.bytes);
    MUST(read(vv_buf_slice(&request), arena, &ref, &again, &n, &opt) == VV_OK && n == count);
    for (size_t i = 0; i < n; i++) {
        MUST(vv_slice_eq(m[i].key, again[i].key) && vv_slice_eq(m[i].value, again[i].value));
        MUST(m[i].source.len == again[i].source.len); /* what is not UTF-8 is '?' there */
        MUST(m[i].attribute_count == again[i].attribute_count);
        MUST(m[i].event_time_ns == again[i].event_time_ns);
    }
    vv_buf_fini(&page);
    vv_buf_fini(&request);
}

static void try_append(vv_slice in)
{
    vv_arena arena;
    svc_table_ref ref;
    vv_stream_append_options opt;
    vv_message *m = NULL;
    size_t count = 0;
    bool pieces = false;
    vv_arena_init(&arena, 64u << 20);
    vv_status st = read(in, &arena, &ref, &m, &count, &opt);
    Varve__V1__AppendRequest *oracle = varve__v1__append_request__unpack(NULL, in.len, in.data);
    (void)is_strict(&varve__v1__append_request__descriptor, in, &pieces);
    if (st == VV_OK && oracle != NULL && !pieces) {
        MUST(same_table(oracle->table, &ref) && oracle->n_messages == count);
        MUST(same_bytes(oracle->producer, opt.producer) && oracle->sequence == opt.sequence);
        for (size_t i = 0; i < count; i++)
            same_message(oracle->messages[i], &m[i]);
    }
    if (st == VV_OK)
        write_again(m, count, &arena);
    if (oracle != NULL)
        varve__v1__append_request__free_unpacked(oracle, NULL);
    vv_arena_fini(&arena);
}

static void try_trace(vv_slice in)
{
    svc_trace t;
    bool is_one = svc_trace_parse(in, &t);
    MUST(strlen(t.trace_id) == (is_one ? 32u : 0u) && strlen(t.span_id) == (is_one ? 16u : 0u));
    if (is_one)
        MUST(memcmp(t.trace_id, in.data + 3, 32) == 0 && memcmp(t.span_id, in.data + 36, 16) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 't')
        try_trace(vv_slice_of(data + 1, size - 1));
    else
        try_append(vv_slice_of(data + 1, size - 1));
    return 0;
}
