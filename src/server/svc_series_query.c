/*
 * svc_series_query.c - the questions of varve.v1.Series: requests as they come over the wire,
 * answers a message each.
 */
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "server/svc_kv.h"
#include "server/svc_series.h"
#include "server/svc_series_ask.h"

#define MATCHERS_MAX 256u
#define GROUPS_MAX 128u

/* ---- requests ---- */

static bool take_double(const wire_field *f, double *out)
{
    if (f->type != WIRE_FIXED64)
        return false;
    *out = wire_double(f->value);
    return true;
}

bool svc_series_read_matcher(vv_slice bytes, vv_matcher *out)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    uint32_t op = 0;
    bool ok = true;
    *out = (vv_matcher){.op = VV_MATCH_EQ};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_bytes(&f, &out->name);
        else if (f.number == 2)
            ok = svc_kv_take_u32(&f, &op);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &out->value);
    }
    out->op = (vv_match)op; /* the store refuses what it does not know */
    return ok && r.fault == WIRE_GOOD;
}

/* A request that is well-formed and not taken all the same. False, as the takers answer. */
static bool refuse_over(svc_series_ask *a, unsigned max, const char *what)
{
    a->failed = vv_fail(&a->why, VV_INVALID, "over %u %s", max, what);
    return false;
}

static bool refuse_memory(svc_series_ask *a)
{
    a->failed = vv_fail(&a->why, VV_NO_MEMORY, "no memory for it: ask for less");
    return false;
}

/* Where the repeated field of matchers goes on. */
static bool take_matcher(svc_series_ask *a, const wire_field *f)
{
    if (f->type != WIRE_BYTES)
        return false;
    if (a->matcher_count == MATCHERS_MAX)
        return refuse_over(a, MATCHERS_MAX, "matchers");
    if (a->matchers == NULL)
        a->matchers = svc_series_alloc(a, MATCHERS_MAX * sizeof *a->matchers);
    if (a->matchers == NULL)
        return refuse_memory(a);
    return svc_series_read_matcher(f->bytes, &a->matchers[a->matcher_count++]);
}

static bool take_group(svc_series_ask *a, const wire_field *f)
{
    vv_slice *groups = (vv_slice *)(uintptr_t)a->query.group_by;
    if (f->type != WIRE_BYTES)
        return false;
    if (a->query.group_count == GROUPS_MAX)
        return refuse_over(a, GROUPS_MAX, "labels to group by");
    if (groups == NULL)
        groups = svc_series_alloc(a, GROUPS_MAX * sizeof *groups);
    if (groups == NULL)
        return refuse_memory(a);
    a->query.group_by = groups;
    a->query.is_grouped = true;
    groups[a->query.group_count++] = f->bytes;
    return true;
}

static bool take_query(svc_series_ask *a, const wire_field *f)
{
    vv_series_query *q = &a->query;
    uint32_t number = 0;
    bool ok = true;
    switch (f->number) {
    case 1:
        return svc_kv_take_table(f, &a->ref);
    case 2:
        return take_matcher(a, f);
    case 3:
        return svc_kv_take_int(f, &q->start_ns);
    case 4:
        return svc_kv_take_int(f, &q->end_ns);
    case 5:
        return svc_kv_take_int(f, &q->step_ns);
    case 6:
        return svc_kv_take_int(f, &q->offset_ns);
    case 7:
        ok = svc_kv_take_u32(f, &number);
        q->aggregate = (vv_aggregate)number;
        return ok;
    case 8:
        return take_double(f, &q->percentile);
    case 9:
        return take_group(a, f);
    case 10:
        ok = svc_kv_take_bool(f, &q->is_grouped);
        q->is_grouped |= q->group_count > 0;
        return ok;
    case 11:
        ok = svc_kv_take_u32(f, &number);
        q->across = (vv_aggregate)number;
        return ok;
    case 12:
        ok = svc_kv_take_u32(f, &number);
        q->fill = (vv_fill)number;
        return ok;
    case 13:
        return take_double(f, &q->fill_value);
    case 14:
        return svc_kv_take_int(f, &q->max_gap_ns);
    case 15:
        ok = svc_kv_take_u32(f, &number);
        q->reduce = (vv_reduce)number;
        return ok;
    case 16:
        return svc_kv_take_u32(f, &q->points);
    case 17:
        return svc_kv_take_bool(f, &q->all_quality);
    default:
        return true;
    }
}

/* LatestRequest, ListSeriesRequest. */
static bool take_list(svc_series_ask *a, const wire_field *f)
{
    if (f->number == 1)
        return svc_kv_take_table(f, &a->ref);
    if (f->number == 2)
        return take_matcher(a, f);
    return f->number != 3 || a->kind != SVC_SERIES_LIST || svc_kv_take_uint(f, &a->limit);
}

static bool take_values(svc_series_ask *a, const wire_field *f)
{
    if (f->number == 1)
        return svc_kv_take_table(f, &a->ref);
    if (f->number == 2)
        return svc_kv_take_bytes(f, &a->name);
    if (f->number == 3)
        return take_matcher(a, f);
    return f->number != 4 || svc_kv_take_uint(f, &a->limit);
}

static bool take_delete(svc_series_ask *a, const wire_field *f)
{
    if (f->number == 1)
        return svc_kv_take_table(f, &a->ref);
    if (f->number == 2)
        return take_matcher(a, f);
    if (f->number == 3)
        return svc_kv_take_int(f, &a->query.start_ns);
    if (f->number == 4)
        return svc_kv_take_int(f, &a->query.end_ns);
    return f->number != 5 || svc_kv_take_bool(f, &a->drops);
}

vv_status svc_series_read(svc_series_ask *a, svc_series_kind kind, vv_error *err)
{
    static const struct {
        const char *name;
        bool (*take)(svc_series_ask *a, const wire_field *f);
    } requests[] = {
        [SVC_SERIES_QUERY] = {"QuerySeriesRequest", take_query},
        [SVC_SERIES_LATEST] = {"LatestRequest", take_list},
        [SVC_SERIES_LIST] = {"ListSeriesRequest", take_list},
        [SVC_SERIES_NAMES] = {"LabelValuesRequest", take_values},
        [SVC_SERIES_VALUES] = {"LabelValuesRequest", take_values},
        [SVC_SERIES_DELETE] = {"DeleteSamplesRequest", take_delete},
    };
    wire_reader r = wire_reader_of(a->msg.data);
    wire_field f = {0};
    bool ok = true;
    a->kind = kind;
    while (ok && wire_next(&r, &f) > 0)
        ok = requests[kind].take(a, &f);
    if (a->failed != VV_OK)
        return vv_fail(err, a->failed, "%s: %s", requests[kind].name, a->why.msg);
    if (kind == SVC_SERIES_VALUES && a->name.len == 0)
        a->kind = SVC_SERIES_NAMES;
    return ok && r.fault == WIRE_GOOD ? VV_OK : svc_kv_fail_malformed(requests[kind].name, err);
}

static vv_status read_query(svc_series_ask *a, vv_error *err)
{
    return svc_series_read(a, SVC_SERIES_QUERY, err);
}

static vv_status read_latest(svc_series_ask *a, vv_error *err)
{
    return svc_series_read(a, SVC_SERIES_LATEST, err);
}

static vv_status read_list(svc_series_ask *a, vv_error *err)
{
    return svc_series_read(a, SVC_SERIES_LIST, err);
}

static vv_status read_values(svc_series_ask *a, vv_error *err)
{
    return svc_series_read(a, SVC_SERIES_VALUES, err);
}

static vv_status read_delete(svc_series_ask *a, vv_error *err)
{
    return svc_series_read(a, SVC_SERIES_DELETE, err);
}

/* ---- answers ---- */

static void put_labels(vv_buf *out, const vv_label *labels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t mark = wire_begin(out, 1);
        wire_put_text(out, 1, labels[i].name);
        wire_put_text(out, 2, labels[i].value);
        wire_end(out, mark);
    }
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static void put_times(vv_buf *out, const vv_series_block *b)
{
    size_t mark = wire_begin(out, 2);
    uint64_t last = 0;
    for (size_t i = 0; i < b->count; i++) {
        vv_buf_append_varint(out, zigzag((int64_t)((uint64_t)b->time_ns[i] - last)));
        last = (uint64_t)b->time_ns[i];
    }
    wire_end(out, mark);
}

static void put_values(vv_buf *out, const vv_series_block *b)
{
    size_t mark;
    switch (b->type) {
    case VV_F64:
        wire_put_head(out, 3, b->count * sizeof(double));
        for (size_t i = 0; i < b->count; i++)
            vv_buf_append_le64(out, wire_double_bits(b->f64[i]));
        break;
    case VV_I64:
        mark = wire_begin(out, 4);
        for (size_t i = 0; i < b->count; i++)
            vv_buf_append_varint(out, zigzag(b->i64[i]));
        wire_end(out, mark);
        break;
    case VV_BOOL:
        wire_put_head(out, 5, b->count);
        for (size_t i = 0; i < b->count; i++)
            vv_buf_append_u8(out, b->i64[i] != 0);
        break;
    case VV_STRING:
    default:
        for (size_t i = 0; i < b->count; i++) {
            if (b->string[i].len == 0) /* an element all the same */
                wire_put_bytes(out, 6, b->string[i]);
            else
                wire_put_text(out, 6, b->string[i]);
        }
        break;
    }
}

static vv_status put_block(svc_series_ask *a, const vv_series_block *b, vv_buf *out, vv_error *err)
{
    (void)a;
    (void)err;
    put_labels(out, b->labels, b->label_count);
    put_times(out, b);
    put_values(out, b);
    if (b->quality != NULL) {
        size_t mark = wire_begin(out, 7);
        for (size_t i = 0; i < b->count; i++)
            vv_buf_append_varint(out, b->quality[i]);
        wire_end(out, mark);
    }
    if (b->is_null != NULL) {
        size_t mark = wire_begin(out, 8);
        for (size_t i = 0; i < b->count; i++)
            if (b->is_null[i])
                vv_buf_append_varint(out, i);
        wire_end(out, mark);
    }
    if (b->is_last_of_series)
        wire_put_varint(out, 9, true);
    return VV_OK;
}

static void put_sample(svc_series_ask *a, const vv_series_info *series, const vv_sample *s,
                       vv_buf *out)
{
    (void)a;
    put_labels(out, series->labels, series->label_count);
    wire_put_int(out, 2, s->time_ns);
    switch (s->type) { /* members of a oneof: also a 0 is there */
    case VV_F64:
        wire_put_double_always(out, 3, s->f64);
        break;
    case VV_I64:
        wire_put_varint(out, 4, zigzag(s->i64));
        break;
    case VV_BOOL:
        wire_put_varint(out, 5, s->i64 != 0);
        break;
    case VV_STRING:
    default:
        if (s->string.len == 0)
            wire_put_bytes(out, 6, s->string);
        wire_put_text(out, 6, s->string);
        break;
    }
    wire_put_uint(out, 7, s->quality);
}

static void put_series(svc_series_ask *a, const vv_series_info *series, vv_buf *out)
{
    (void)a;
    put_labels(out, series->labels, series->label_count);
    wire_put_uint(out, 2, series->id);
    wire_put_uint(out, 3, (uint64_t)series->type);
}

static void put_text(svc_series_ask *a, vv_slice text, vv_buf *out)
{
    (void)a;
    wire_put_bytes(out, 1, text);
}

static void put_deleted(svc_series_ask *a, uint64_t series, vv_buf *out)
{
    wire_put_uint(out, 1, series);
    wire_put_int(out, 2, vv_table_version(a->table));
}

/* ---- methods ---- */

#define FORM_METHOD(method, ...)                                                                   \
    void svc_series_##method##_message(srv_call *call, srv_message msg)                            \
    {                                                                                              \
        static const svc_series_form form = {__VA_ARGS__};                                         \
        svc_series_ask_begin(call, msg, &form);                                                    \
    }

FORM_METHOD(query, .read = read_query, .block = put_block, .each_apart = true)
FORM_METHOD(latest, .read = read_latest, .sample = put_sample, .each_apart = true)
FORM_METHOD(list, .read = read_list, .series = put_series, .each_apart = true)
FORM_METHOD(values, .read = read_values, .text = put_text)
FORM_METHOD(delete, .read = read_delete, .deleted = put_deleted)
