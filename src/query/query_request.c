/*
 * query_request.c - storage.QueryRequest and storage.AggregateRequest, between wire bytes and
 * query_ask.
 *
 * Read field by field: nothing is unpacked, so a deeply nested Value costs nothing but its bytes. A
 * first pass counts the lists, a second fills them.
 */
#include <stdio.h>

#include "base/error.h"
#include "base/time_text.h"
#include "query/query_int.h"

enum {
    REQUEST_TENANT = 1,
    REQUEST_SCHEMA = 2,
    REQUEST_FILTERS = 3,
    REQUEST_PROJECTION = 4, /* AggregateRequest: aggregates */
    REQUEST_ORDER = 5,      /* AggregateRequest: group_by */
    REQUEST_LIMIT = 6,      /* AggregateRequest: having */
    REQUEST_OFFSET = 7,     /* AggregateRequest: time_range */
    REQUEST_TIME = 8,       /* AggregateRequest: options */
    REQUEST_OPTIONS = 9,
};

static vv_status malformed(vv_error *err, const char *field)
{
    return vv_fail(err, VV_INVALID, "request: %s is malformed", field);
}

/* The string or bytes field `number` of a small message, the last one; false when malformed. */
static bool read_text(vv_slice message, uint32_t number, vv_slice *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    int more;
    while ((more = wire_next(&r, &f)) > 0) {
        if (f.number != number)
            continue;
        if (f.type != WIRE_BYTES)
            return false;
        *out = f.bytes;
    }
    return more == 0;
}

static bool read_schema(vv_slice message, query_ask *out)
{
    vv_slice tenant = {0};
    if (!read_text(message, 2, &out->table) || !read_text(message, 1, &tenant))
        return false;
    return tenant.len == 0 || out->tenant.len > 0 || read_text(tenant, 1, &out->tenant);
}

static bool read_filter(vv_slice message, query_filter *out)
{
    *out = (query_filter){0};
    return read_text(message, 1, &out->column) && read_text(message, 2, &out->op) &&
           read_text(message, 3, &out->value);
}

static bool read_order(vv_slice message, query_order *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    int more;
    *out = (query_order){0};
    while ((more = wire_next(&r, &f)) > 0) {
        if (f.number == 1 && f.type == WIRE_BYTES)
            out->column = f.bytes;
        else if (f.number == 2 && f.type == WIRE_VARINT)
            out->descending = f.value != 0;
        else if (f.number <= 2)
            return false;
    }
    return more == 0;
}

static bool read_aggregate(vv_slice message, query_aggregate *out)
{
    *out = (query_aggregate){0};
    return read_text(message, 1, &out->function) && read_text(message, 2, &out->column) &&
           read_text(message, 3, &out->alias);
}

static bool read_time(vv_slice message, int64_t *out_ns)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    int64_t part[2] = {0};
    int more;
    while ((more = wire_next(&r, &f)) > 0) {
        if (f.number != 1 && f.number != 2)
            continue;
        if (f.type != WIRE_VARINT)
            return false;
        part[f.number - 1] = (int64_t)f.value;
    }
    return more == 0 && time_from_parts(part[0], part[1], out_ns);
}

static vv_status read_range(vv_slice message, query_ask *out, vv_error *err)
{
    vv_slice bound[2] = {{0}};
    if (!read_text(message, 1, &bound[0]) || !read_text(message, 2, &bound[1]))
        return malformed(err, "time_range");
    out->has_start = bound[0].data != NULL;
    out->has_end = bound[1].data != NULL;
    if (out->has_start && !read_time(bound[0], &out->start_ns))
        return vv_fail(err, VV_INVALID, "time_range: start is no time between 1677 and 2262");
    if (out->has_end && !read_time(bound[1], &out->end_ns))
        return vv_fail(err, VV_INVALID, "time_range: end is no time between 1677 and 2262");
    return VV_OK;
}

static bool read_count(vv_slice text, int64_t max, int64_t *out)
{
    int64_t v;
    if (!time_text_parse_number(text, 1, &v) || v < 0 || v > max ||
        memchr(text.data, '.', text.len) != NULL)
        return false;
    *out = v;
    return true;
}

static vv_status read_option(vv_slice message, query_ask *out, vv_error *err)
{
    vv_slice key = {0};
    vv_slice value = {0};
    if (!read_text(message, 1, &key) || !read_text(message, 2, &value))
        return malformed(err, "options");
    if (vv_slice_eq(key, vv_slice_str("version"))) {
        if (!read_count(value, INT64_MAX, &out->version))
            return vv_fail(err, VV_INVALID, "options: version is no whole number");
    } else if (vv_slice_eq(key, vv_slice_str("page_bytes"))) {
        if (!read_count(value, 64 << 20, &out->page_bytes))
            return vv_fail(err, VV_INVALID, "options: page_bytes is not in 0..67108864");
    } else {
        return vv_fail(err, VV_INVALID,
                       "options: '%.*s' is unknown; there are version and page_bytes",
                       (int)(key.len < 60 ? key.len : 60), (const char *)key.data);
    }
    return VV_OK;
}

/* The lists of a request, by field number. */
typedef struct lists {
    size_t count[REQUEST_OPTIONS + 1];
    query_filter *filters;
    vv_slice *projection;
    query_order *order;
    query_aggregate *aggregates;
    vv_slice *group_by;
    query_filter *having;
} lists;

static vv_status count_fields(vv_slice bytes, lists *l, vv_error *err)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    int more;
    while ((more = wire_next(&r, &f)) > 0)
        if (f.number <= REQUEST_OPTIONS && f.type == WIRE_BYTES)
            l->count[f.number]++;
    return more < 0 ? vv_fail(err, VV_INVALID, "request: its bytes are no protobuf message")
                    : VV_OK;
}

static vv_status too_many(vv_error *err, const char *what, size_t count, size_t max)
{
    return vv_fail(err, VV_INVALID, "request: %zu %s, at most %zu are allowed", count, what, max);
}

/* The next place of a list; NULL when it is full, which the first pass has ruled out. */
static void *next_of(void *list, size_t size, size_t *used, size_t count)
{
    if (list == NULL || *used >= count)
        return NULL;
    return (char *)list + size * (*used)++;
}

/* What both requests begin with. */
static vv_status read_common(const wire_field *f, lists *l, query_ask *out, vv_error *err)
{
    if (f->type != WIRE_BYTES)
        return malformed(err, "a field");
    if (f->number == REQUEST_TENANT)
        return read_text(f->bytes, 1, &out->tenant) ? VV_OK : malformed(err, "tenant_id");
    if (f->number == REQUEST_SCHEMA)
        return read_schema(f->bytes, out) ? VV_OK : malformed(err, "schema");
    query_filter *next =
        next_of(l->filters, sizeof *next, &out->filter_count, l->count[REQUEST_FILTERS]);
    return next != NULL && read_filter(f->bytes, next) ? VV_OK : malformed(err, "filters");
}

static bool take_text(const wire_field *f, vv_slice *out)
{
    if (out != NULL)
        *out = f->bytes;
    return out != NULL;
}

static vv_status read_query_field(const wire_field *f, lists *l, query_ask *out, vv_error *err)
{
    bool varint = f->number == REQUEST_LIMIT || f->number == REQUEST_OFFSET;
    void *next;
    if (f->number > REQUEST_OPTIONS)
        return VV_OK; /* unknown */
    if (f->type != (varint ? WIRE_VARINT : WIRE_BYTES))
        return malformed(err, "a field");
    switch (f->number) {
    case REQUEST_PROJECTION:
        next =
            next_of(l->projection, sizeof(vv_slice), &out->projection_count, l->count[f->number]);
        return take_text(f, next) ? VV_OK : malformed(err, "projection");
    case REQUEST_ORDER:
        next = next_of(l->order, sizeof(query_order), &out->order_count, l->count[f->number]);
        return next != NULL && read_order(f->bytes, next) ? VV_OK : malformed(err, "order_by");
    case REQUEST_LIMIT:
        out->limit = (int32_t)f->value;
        return VV_OK;
    case REQUEST_OFFSET:
        out->offset = (int32_t)f->value;
        return VV_OK;
    case REQUEST_TIME:
        return read_range(f->bytes, out, err);
    case REQUEST_OPTIONS:
        return read_option(f->bytes, out, err);
    default:
        return read_common(f, l, out, err);
    }
}

static vv_status read_aggregate_field(const wire_field *f, lists *l, query_ask *out, vv_error *err)
{
    void *next;
    if (f->number >= REQUEST_OPTIONS)
        return VV_OK;
    if (f->type != WIRE_BYTES)
        return malformed(err, "a field");
    switch (f->number) {
    case REQUEST_PROJECTION:
        next = next_of(l->aggregates, sizeof(query_aggregate), &out->aggregate_count,
                       l->count[f->number]);
        return next != NULL && read_aggregate(f->bytes, next) ? VV_OK
                                                              : malformed(err, "aggregates");
    case REQUEST_ORDER:
        next = next_of(l->group_by, sizeof(vv_slice), &out->group_count, l->count[f->number]);
        return take_text(f, next) ? VV_OK : malformed(err, "group_by");
    case REQUEST_LIMIT:
        next = next_of(l->having, sizeof(query_filter), &out->having_count, l->count[f->number]);
        return next != NULL && read_filter(f->bytes, next) ? VV_OK : malformed(err, "having");
    case REQUEST_OFFSET:
        return read_range(f->bytes, out, err);
    case REQUEST_TIME:
        return read_option(f->bytes, out, err);
    default:
        return read_common(f, l, out, err);
    }
}

static vv_status make_lists(vv_arena *arena, lists *l, bool aggregate, vv_error *err)
{
    if (l->count[REQUEST_FILTERS] > QUERY_FILTERS_MAX)
        return too_many(err, "filters", l->count[REQUEST_FILTERS], QUERY_FILTERS_MAX);
    l->filters = vv_arena_alloc(arena, (l->count[REQUEST_FILTERS] + 1) * sizeof *l->filters);
    bool ok = l->filters != NULL;
    if (aggregate) {
        size_t *n = l->count;
        if (n[REQUEST_PROJECTION] > QUERY_AGGREGATES_MAX)
            return too_many(err, "aggregates", n[REQUEST_PROJECTION], QUERY_AGGREGATES_MAX);
        if (n[REQUEST_ORDER] > QUERY_GROUP_MAX)
            return too_many(err, "group_by columns", n[REQUEST_ORDER], QUERY_GROUP_MAX);
        if (n[REQUEST_LIMIT] > QUERY_FILTERS_MAX)
            return too_many(err, "having filters", n[REQUEST_LIMIT], QUERY_FILTERS_MAX);
        l->aggregates = vv_arena_alloc(arena, (n[REQUEST_PROJECTION] + 1) * sizeof *l->aggregates);
        l->group_by = vv_arena_alloc(arena, (n[REQUEST_ORDER] + 1) * sizeof *l->group_by);
        l->having = vv_arena_alloc(arena, (n[REQUEST_LIMIT] + 1) * sizeof *l->having);
        ok = ok && l->aggregates != NULL && l->group_by != NULL && l->having != NULL;
    } else {
        if (l->count[REQUEST_PROJECTION] > QUERY_PROJECTION_MAX)
            return too_many(err, "projection columns", l->count[REQUEST_PROJECTION],
                            QUERY_PROJECTION_MAX);
        if (l->count[REQUEST_ORDER] > QUERY_ORDER_MAX)
            return too_many(err, "order_by columns", l->count[REQUEST_ORDER], QUERY_ORDER_MAX);
        l->projection =
            vv_arena_alloc(arena, (l->count[REQUEST_PROJECTION] + 1) * sizeof *l->projection);
        l->order = vv_arena_alloc(arena, (l->count[REQUEST_ORDER] + 1) * sizeof *l->order);
        ok = ok && l->projection != NULL && l->order != NULL;
    }
    return ok ? VV_OK : vv_fail(err, VV_NO_MEMORY, "request: its lists");
}

static vv_status parse(vv_slice bytes, bool aggregate, vv_arena *arena, query_ask *out,
                       vv_error *err)
{
    lists l = {0};
    query_ask ask = {0};
    vv_status st = count_fields(bytes, &l, err);
    if (st == VV_OK)
        st = make_lists(arena, &l, aggregate, err);
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    while (st == VV_OK && wire_next(&r, &f) > 0)
        st = aggregate ? read_aggregate_field(&f, &l, &ask, err)
                       : read_query_field(&f, &l, &ask, err);
    if (st != VV_OK)
        return st;
    ask.filters = l.filters;
    ask.projection = l.projection;
    ask.order = l.order;
    ask.aggregates = l.aggregates;
    ask.group_by = l.group_by;
    ask.having = l.having;
    *out = ask;
    return VV_OK;
}

vv_status query_request_parse(vv_slice bytes, vv_arena *arena, query_ask *out, vv_error *err)
{
    return parse(bytes, false, arena, out, err);
}

vv_status query_aggregate_parse(vv_slice bytes, vv_arena *arena, query_ask *out, vv_error *err)
{
    return parse(bytes, true, arena, out, err);
}

static void put_option(vv_buf *out, uint32_t number, const char *key, int64_t value)
{
    char digits[24];
    if (value == 0)
        return;
    (void)snprintf(digits, sizeof digits, "%lld", (long long)value);
    size_t begin = wire_begin(out, number);
    wire_put_string(out, 1, vv_slice_str(key));
    wire_put_string(out, 2, vv_slice_str(digits));
    wire_end(out, begin);
}

static void put_filter(vv_buf *out, uint32_t number, const query_filter *asked)
{
    size_t begin = wire_begin(out, number);
    wire_put_string(out, 1, asked->column);
    wire_put_string(out, 2, asked->op);
    if (asked->value.data != NULL)
        wire_put_bytes(out, 3, asked->value);
    wire_end(out, begin);
}

/* What both requests begin with. */
static void put_common(vv_buf *out, const query_ask *ask)
{
    size_t begin = wire_begin(out, REQUEST_TENANT);
    wire_put_string(out, 1, ask->tenant);
    wire_end(out, begin);
    begin = wire_begin(out, REQUEST_SCHEMA);
    wire_put_string(out, 2, ask->table);
    wire_end(out, begin);
    for (size_t i = 0; i < ask->filter_count; i++)
        put_filter(out, REQUEST_FILTERS, &ask->filters[i]);
}

static void put_range(vv_buf *out, uint32_t number, const query_ask *ask)
{
    if (!ask->has_start && !ask->has_end)
        return;
    size_t begin = wire_begin(out, number);
    if (ask->has_start)
        wire_put_time(out, 1, ask->start_ns);
    if (ask->has_end)
        wire_put_time(out, 2, ask->end_ns);
    wire_end(out, begin);
}

void query_request_put(vv_buf *out, const query_ask *ask)
{
    put_common(out, ask);
    for (size_t i = 0; i < ask->projection_count; i++)
        wire_put_bytes(out, REQUEST_PROJECTION, ask->projection[i]);
    for (size_t i = 0; i < ask->order_count; i++) {
        size_t begin = wire_begin(out, REQUEST_ORDER);
        wire_put_string(out, 1, ask->order[i].column);
        wire_put_uint(out, 2, ask->order[i].descending);
        wire_end(out, begin);
    }
    if (ask->limit != QUERY_NO_LIMIT)
        wire_put_int(out, REQUEST_LIMIT, ask->limit);
    wire_put_int(out, REQUEST_OFFSET, ask->offset);
    put_range(out, REQUEST_TIME, ask);
    put_option(out, REQUEST_OPTIONS, "version", ask->version);
    put_option(out, REQUEST_OPTIONS, "page_bytes", ask->page_bytes);
}

void query_aggregate_put(vv_buf *out, const query_ask *ask)
{
    put_common(out, ask);
    for (size_t i = 0; i < ask->aggregate_count; i++) {
        size_t begin = wire_begin(out, REQUEST_PROJECTION);
        wire_put_string(out, 1, ask->aggregates[i].function);
        wire_put_string(out, 2, ask->aggregates[i].column);
        wire_put_string(out, 3, ask->aggregates[i].alias);
        wire_end(out, begin);
    }
    for (size_t i = 0; i < ask->group_count; i++)
        wire_put_bytes(out, REQUEST_ORDER, ask->group_by[i]);
    for (size_t i = 0; i < ask->having_count; i++)
        put_filter(out, REQUEST_LIMIT, &ask->having[i]);
    put_range(out, REQUEST_OFFSET, ask);
    put_option(out, REQUEST_TIME, "version", ask->version);
}
