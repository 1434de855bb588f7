/*
 * otlp_records.c - spans and log records as messages.
 *
 *   TracesData { ResourceSpans { resource, schema_url, ScopeSpans { scope, schema_url, Span } } }
 *                \------ group head -------/          \---- scope head ----/
 *
 * A value is put together of bytes that came: the fields of the group and of the scope besides the
 * records, and the record. So nothing is lost that a later version of the protocol adds.
 */
#include "base/error.h"
#include "base/point.h"
#include "otlp/otlp_int.h"
#include "stream/stream.h"

#define TRACE_ID_LEN 16u
#define SPAN_ID_LEN 8u
#define IDS_TEXT (2 * (TRACE_ID_LEN + SPAN_ID_LEN + SPAN_ID_LEN))
#define BODY_TEXT_MAX OTLP_ATTRIBUTE_BYTES

static const char *const content_types[] = {
    [OTLP_TRACES] = "application/x-protobuf; messageType=opentelemetry.proto.trace.v1.TracesData",
    [OTLP_LOGS] = "application/x-protobuf; messageType=opentelemetry.proto.logs.v1.LogsData"};

/* ---- the walk ---- */

void otlp_walk_begin(otlp_walk *w, otlp_signal signal, vv_slice request, uint64_t message_max)
{
    *w = (otlp_walk){
        .signal = signal, .message_max = message_max, .groups = wire_reader_of(request)};
}

/* The next field `number`, as bytes. */
static bool next_field(wire_reader *r, uint32_t number, vv_slice *out)
{
    wire_field f = {0};
    while (wire_next(r, &f) > 0)
        if (f.number == number && f.type == WIRE_BYTES) {
            *out = f.bytes;
            return true;
        }
    return false;
}

/* Every field of a message but those with number 2, one behind the other, in arena. */
static bool copy_head(vv_slice message, vv_arena *arena, vv_slice *out)
{
    size_t len = 0;
    wire_field f = {0};
    *out = (vv_slice){0};
    wire_reader r = wire_reader_of(message);
    for (const uint8_t *at = r.next; wire_next(&r, &f) > 0; at = r.next)
        len += f.number == 2 ? 0 : (size_t)(r.next - at);
    if (len == 0)
        return true;
    uint8_t *to = vv_arena_alloc(arena, len);
    if (to == NULL)
        return false;
    *out = vv_slice_of(to, len);
    r = wire_reader_of(message);
    for (const uint8_t *at = r.next; wire_next(&r, &f) > 0; at = r.next) {
        if (f.number == 2)
            continue;
        memcpy(to, at, (size_t)(r.next - at));
        to += r.next - at;
    }
    return true;
}

static vv_slice find_service(vv_slice resource)
{
    wire_reader r = wire_reader_of(resource);
    vv_slice one;
    while (next_field(&r, 1, &one)) {
        vv_slice key;
        otlp_value v = otlp_attribute_read(one, &key);
        if (v.kind == OTLP_STRING && vv_slice_eq(key, vv_slice_str("service.name")))
            return v.bytes;
    }
    return (vv_slice){0};
}

static bool enter_group(otlp_walk *w, vv_slice group, vv_arena *arena)
{
    wire_reader r = wire_reader_of(group);
    w->group = group;
    w->scopes = r;
    w->resource = (vv_slice){0};
    while (next_field(&r, 1, &w->resource))
        ;
    w->service = find_service(w->resource);
    return copy_head(group, arena, &w->group_head);
}

static bool enter_scope(otlp_walk *w, vv_slice scope, vv_arena *arena)
{
    w->scope = scope;
    w->records = wire_reader_of(scope);
    return copy_head(scope, arena, &w->scope_head);
}

/* *out: the next record; NULL data at the end. False: no memory. */
static bool next_record(otlp_walk *w, vv_arena *arena, vv_slice *out)
{
    static const uint8_t none[1];
    vv_slice inner;
    if (w->pending.data != NULL) {
        *out = w->pending;
        w->pending = (vv_slice){0};
        return true;
    }
    while (!next_field(&w->records, 2, out)) {
        while (!next_field(&w->scopes, 2, &inner)) {
            if (!next_field(&w->groups, 1, &inner)) {
                *out = (vv_slice){0};
                return true;
            }
            if (!enter_group(w, inner, arena))
                return false;
        }
        if (!enter_scope(w, inner, arena))
            return false;
    }
    if (out->data == NULL)
        out->data = none;
    return true;
}

/* ---- records ---- */

/* What a record says of itself. */
typedef struct record {
    vv_slice raw;
    vv_slice trace_id;
    vv_slice span_id;
    vv_slice parent_id;
    vv_slice name; /* of a span; event_name of a log record */
    vv_slice severity;
    vv_slice status_message;
    vv_slice body; /* AnyValue */
    uint64_t kind; /* or severity_number */
    uint64_t status;
    uint64_t time;
    uint64_t end; /* or when it was observed */
} record;

static void read_status(vv_slice bytes, record *out)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        if (f.number == 2)
            out->status_message = f.bytes;
        else if (f.number == 3)
            out->status = f.value;
    }
}

static void read_span(vv_slice raw, record *out)
{
    wire_reader r = wire_reader_of(raw);
    wire_field f = {0};
    *out = (record){.raw = raw};
    while (wire_next(&r, &f) > 0) {
        switch (f.number) {
        case 1:
            out->trace_id = f.bytes;
            break;
        case 2:
            out->span_id = f.bytes;
            break;
        case 4:
            out->parent_id = f.bytes;
            break;
        case 5:
            out->name = f.bytes;
            break;
        case 6:
            out->kind = f.value;
            break;
        case 7:
            out->time = f.value;
            break;
        case 8:
            out->end = f.value;
            break;
        case 15:
            read_status(f.bytes, out);
            break;
        default:
            break;
        }
    }
}

static void read_log(vv_slice raw, record *out)
{
    wire_reader r = wire_reader_of(raw);
    wire_field f = {0};
    *out = (record){.raw = raw};
    while (wire_next(&r, &f) > 0) {
        switch (f.number) {
        case 1:
            out->time = f.value;
            break;
        case 2:
            out->kind = f.value;
            break;
        case 3:
            out->severity = f.bytes;
            break;
        case 5:
            out->body = f.bytes;
            break;
        case 9:
            out->trace_id = f.bytes;
            break;
        case 10:
            out->span_id = f.bytes;
            break;
        case 11:
            out->end = f.value;
            break;
        case 12:
            out->name = f.bytes;
            break;
        default:
            break;
        }
    }
    if (out->time == 0)
        out->time = out->end;
}

static bool is_id(vv_slice id, size_t len)
{
    uint8_t any = 0;
    for (size_t i = 0; i < id.len; i++)
        any |= id.data[i];
    return id.len == len && any != 0;
}

/* What is wrong with a record; NULL: nothing. */
static const char *fault_of(const otlp_walk *w, const record *r, uint64_t value_len)
{
    const bool is_span = w->signal == OTLP_TRACES;
    if ((is_span || r->trace_id.len > 0) && !is_id(r->trace_id, TRACE_ID_LEN))
        return "trace_id is not 16 bytes with one that is not 0";
    if ((is_span || r->span_id.len > 0) && !is_id(r->span_id, SPAN_ID_LEN))
        return "span_id is not 8 bytes with one that is not 0";
    if (r->parent_id.len > 0 && r->parent_id.len != SPAN_ID_LEN)
        return "parent_span_id is not 8 bytes";
    if (r->time > INT64_MAX || r->end > INT64_MAX)
        return "a time lies past the year 2262";
    if (value_len > OTLP_VALUE_MAX)
        return "it is larger than a message may be, with its resource and scope";
    return NULL;
}

/* ---- attributes ---- */

static vv_slice put_hex(uint8_t **to, vv_slice id)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *from = *to;
    for (size_t i = 0; i < id.len; i++) {
        *(*to)++ = (uint8_t)digits[id.data[i] >> 4];
        *(*to)++ = (uint8_t)digits[id.data[i] & 15];
    }
    return vv_slice_of(from, 2 * id.len);
}

static const char *kind_name(uint64_t kind)
{
    static const char *const names[] = {"unspecified", "internal", "server",
                                        "client",      "producer", "consumer"};
    return kind < ARRAY_LEN(names) ? names[kind] : "unknown";
}

static const char *status_name(uint64_t status)
{
    static const char *const names[] = {"unset", "ok", "error"};
    return status < ARRAY_LEN(names) ? names[status] : "unknown";
}

static vv_slice severity_text(const record *r)
{
    static const char *const names[] = {
        "",       "TRACE",  "TRACE2", "TRACE3", "TRACE4", "DEBUG",  "DEBUG2", "DEBUG3", "DEBUG4",
        "INFO",   "INFO2",  "INFO3",  "INFO4",  "WARN",   "WARN2",  "WARN3",  "WARN4",  "ERROR",
        "ERROR2", "ERROR3", "ERROR4", "FATAL",  "FATAL2", "FATAL3", "FATAL4"};
    if (r->severity.len > 0 || r->kind >= ARRAY_LEN(names))
        return r->severity;
    return vv_slice_str(names[r->kind]);
}

/* A span that has not ended, or did before it began, has no duration. */
static bool has_duration(const record *r)
{
    return r->time != 0 && r->end >= r->time && r->end - r->time <= INT64_MAX;
}

static void put_span(otlp_attributes *a, const record *r)
{
    otlp_attributes_text(a, "name", r->name);
    otlp_attributes_text(a, "kind", vv_slice_str(kind_name(r->kind)));
    otlp_attributes_text(a, "status", vv_slice_str(status_name(r->status)));
    otlp_attributes_text(a, "status_message", r->status_message);
    if (has_duration(r))
        otlp_attributes_int(a, "duration_ns", (int64_t)(r->end - r->time));
}

static void put_log(otlp_attributes *a, const record *r)
{
    otlp_value body = otlp_value_read(r->body);
    otlp_attributes_text(a, "event_name", r->name);
    otlp_attributes_text(a, "severity", severity_text(r));
    if (r->kind != 0)
        otlp_attributes_int(a, "severity_number", (int64_t)r->kind);
    if (body.kind == OTLP_STRING)
        otlp_attributes_text(a, "body", body.bytes);
    if (r->end != 0 && r->end != r->time)
        otlp_attributes_add(a, &(vv_attribute){.name = vv_slice_str("observed_time"),
                                               .type = VV_ATTRIBUTE_TIME,
                                               .i64 = (int64_t)r->end});
}

/* ids: room for the three of them. The record's own come first, so that they are always there. */
static void put_attributes(otlp_walk *w, const record *r, uint8_t *ids)
{
    otlp_attributes *a = &w->attributes;
    a->count = 0;
    a->bytes = 0;
    a->seen = 0;
    otlp_attributes_text(a, "trace_id", put_hex(&ids, r->trace_id));
    otlp_attributes_text(a, "span_id", put_hex(&ids, r->span_id));
    otlp_attributes_text(a, "parent_span_id", put_hex(&ids, r->parent_id));
    otlp_attributes_text(a, "service.name", w->service);
    if (w->signal == OTLP_TRACES)
        put_span(a, r);
    else
        put_log(a, r);
    otlp_attributes_from(a, r->raw, w->signal == OTLP_TRACES ? 9 : 6);
    otlp_attributes_from(a, w->resource, 1);
}

/* ---- messages ---- */

/* The lengths of a value's three messages, outermost last. */
typedef struct value_size {
    size_t scope;
    size_t group;
    size_t all;
} value_size;

static size_t field_size(size_t len)
{
    return 1 + vv_varint_len(len) + len;
}

static value_size size_of(const otlp_walk *w, vv_slice raw)
{
    value_size s = {0};
    s.scope = w->scope_head.len + field_size(raw.len);
    s.group = w->group_head.len + field_size(s.scope);
    s.all = field_size(s.group);
    return s;
}

static uint8_t *put_field(uint8_t *to, uint32_t number, size_t len, vv_slice head)
{
    *to++ = (uint8_t)(number << 3 | WIRE_BYTES);
    to += vv_varint_put(to, len);
    if (head.len > 0)
        memcpy(to, head.data, head.len);
    return to + head.len;
}

static bool put_message(otlp_walk *w, const record *r, const value_size *size, vv_arena *arena,
                        vv_message *out)
{
    uint8_t *value = vv_arena_alloc(arena, size->all + IDS_TEXT);
    if (value == NULL)
        return false;
    uint8_t *to = put_field(value, 1, size->group, w->group_head);
    to = put_field(to, 2, size->scope, w->scope_head);
    to = put_field(to, 2, r->raw.len, r->raw);
    put_attributes(w, r, to);
    const size_t bytes = w->attributes.count * sizeof w->attributes.item[0];
    vv_attribute *items = vv_arena_alloc(arena, bytes + 1);
    if (items == NULL)
        return false;
    memcpy(items, w->attributes.item, bytes);
    *out = (vv_message){.value = vv_slice_of(value, size->all),
                        .content_type = vv_slice_str(content_types[w->signal]),
                        .attributes = items,
                        .attribute_count = w->attributes.count,
                        .event_time_ns = (int64_t)r->time};
    if (w->service.len <= VV_STREAM_TEXT_MAX)
        out->source = w->service;
    return true;
}

/* A message of a record that is not refused. *fits: false when it would pass the bound, and is
 * kept for the next ones. */
static bool take_record(otlp_walk *w, vv_slice raw, vv_arena *arena, size_t room, bool *fits,
                        vv_message *out, feed_result *result)
{
    static const char *const names[] = {[OTLP_TRACES] = "span", [OTLP_LOGS] = "log record"};
    record r;
    const value_size size = size_of(w, raw);
    if (w->signal == OTLP_TRACES)
        read_span(raw, &r);
    else
        read_log(raw, &r);
    const char *fault = fault_of(w, &r, size.all);
    *out = (vv_message){0};
    *fits = true;
    if (fault != NULL) {
        if (!VV_BUG(150)) /* the bug: who sent it is not told */
            feed_refuse(result, 1, "%s '%.*s': %s", names[w->signal],
                        (int)vv_min_u64(r.name.len, 64), (const char *)r.name.data, fault);
        return true;
    }
    *fits = size.all <= room;
    if (!*fits) {
        w->pending = raw;
        return true;
    }
    if (!put_message(w, &r, &size, arena, out))
        return false;
    if (stream_message_size(out) <= w->message_max) {
        result->samples++;
        return true;
    }
    feed_refuse(result, 1, "%s '%.*s': it takes %llu bytes as a message, the table allows %llu",
                names[w->signal], (int)vv_min_u64(r.name.len, 64), (const char *)r.name.data,
                (unsigned long long)stream_message_size(out), (unsigned long long)w->message_max);
    *out = (vv_message){0};
    return true;
}

vv_status otlp_walk_next(otlp_walk *w, vv_arena *arena, size_t count_max, size_t bytes_max,
                         vv_message **out, size_t *count, feed_result *result, vv_error *err)
{
    size_t bytes = 0;
    bool fits = true;
    vv_slice raw = {0};
    vv_message *messages = vv_arena_alloc(arena, count_max * sizeof *messages);
    bool ok = messages != NULL && copy_head(w->group, arena, &w->group_head) &&
              copy_head(w->scope, arena, &w->scope_head);
    *count = 0;
    while (ok && fits && *count < count_max) {
        vv_message *m = &messages[*count];
        ok = next_record(w, arena, &raw);
        if (!ok || raw.data == NULL)
            break;
        const size_t room = *count == 0 ? SIZE_MAX : bytes_max - vv_min_u64(bytes, bytes_max);
        ok = take_record(w, raw, arena, room, &fits, m, result);
        if (ok && m->value.len > 0) {
            bytes += m->value.len;
            *count += 1;
        }
    }
    *out = messages;
    return ok ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for messages");
}
