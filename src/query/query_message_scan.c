/*
 * query_message_scan.c - which messages can be among the answers, and the walk over them.
 *
 * Conditions on partition, offset, _id, the receive time and the event time say where in the
 * partitions to begin and to end, before a block of messages is read: of what lies in an object
 * store only the blocks in between are fetched. They are asked of each message all the same, but
 * for those on the receive time, which never falls along a partition.
 *
 *   partition 0  [first ......... end)   partition 1  [first ......... end)
 *                 max(offset, receive time, event time found)
 *
 * Messages come by partition and offset, backwards never: another order is sorted.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/util.h"
#include "db/db.h"
#include "query/query_int.h"

/* ---- the range ---- */

static uint64_t whole_of(double x)
{
    return x <= 0 ? 0 : x >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)x;
}

/* [*first, *end) of whole numbers that a condition leaves. */
static void bound_number(const filter *f, uint64_t *first, uint64_t *end)
{
    double low = 0;
    double high = INFINITY;
    const struct_value *v = &f->value;
    bool is_number = v->type == STRUCT_NUMBER && !isnan(v->number);
    if (f->op == OP_IN) {
        size_t n = 0;
        while (n < f->set_count && f->set[n].type == STRUCT_NUMBER)
            n++;
        low = n == 0 ? INFINITY : ceil(f->set[0].number);
        high = n == 0 ? 0 : floor(f->set[n - 1].number) + 1;
    } else if (f->op == OP_NE || f->op == OP_CONTAINS) {
        return;
    } else if (!is_number) {
        high = 0;
    } else {
        if (f->op == OP_GE || f->op == OP_EQ)
            low = ceil(v->number);
        if (f->op == OP_GT)
            low = floor(v->number) + 1;
        if (f->op == OP_LT)
            high = ceil(v->number);
        if (f->op == OP_LE || f->op == OP_EQ)
            high = floor(v->number) + 1;
    }
    *first = vv_max_u64(*first, whole_of(low));
    *end = vv_min_u64(*end, whole_of(high));
}

/* _id = "3/17" */
static void bound_id(const filter *f, message_range *m)
{
    uint32_t partition = 0;
    uint64_t offset = 0;
    if (f->op != OP_EQ)
        return;
    if (f->value.type != STRUCT_STRING || !message_id_parse(f->value.bytes, &partition, &offset) ||
        offset == UINT64_MAX) {
        m->partition_end = 0;
        return;
    }
    m->partition = partition > m->partition ? partition : m->partition;
    m->partition_end = (uint32_t)vv_min_u64(m->partition_end, (uint64_t)partition + 1);
    m->first = vv_max_u64(m->first, offset);
    m->end = vv_min_u64(m->end, offset + 1);
}

static void bound_event(const filter *f, message_range *m)
{
    if (f->op == OP_EQ || f->op == OP_GE || f->op == OP_GT)
        m->event_ns = f->value.time_ns > m->event_ns ? f->value.time_ns : m->event_ns;
}

static void bound(plan *p, const plan_source *source)
{
    message_range *m = &p->path.messages;
    uint64_t first = 0;
    uint64_t end = source->partitions;
    *m = (message_range){
        .partition_end = source->partitions, .end = UINT64_MAX, .event_ns = INT64_MIN};
    for (size_t i = 0; i < p->filter_count; i++) {
        const filter *f = &p->filters[i];
        if (f->column.kind == COLUMN_ID)
            bound_id(f, m);
        else if (f->column.kind == COLUMN_OFFSET)
            bound_number(f, &m->first, &m->end);
        else if (f->column.kind == COLUMN_PARTITION)
            bound_number(f, &first, &end);
        else if (f->column.kind == COLUMN_EVENT)
            bound_event(f, m);
    }
    m->partition_end = (uint32_t)vv_min_u64(m->partition_end, end);
    m->partition = (uint32_t)vv_min_u64(vv_max_u64(m->partition, first), UINT32_MAX);
}

/* ---- the order ---- */

static bool is_along(column_kind kind)
{
    return kind == COLUMN_OFFSET || kind == COLUMN_TIMESTAMP;
}

/* Is it what the walk gives? */
static bool is_in_order(const plan *p)
{
    const message_range *m = &p->path.messages;
    size_t i = 0;
    if (p->order_count > 0 && p->order[0].kind == COLUMN_PARTITION && !p->descending[0])
        i = 1;
    else if (p->order_count > 0 && m->partition_end - m->partition > 1)
        return false;
    if (i < p->order_count && is_along(p->order[i].kind) && !p->descending[i])
        i = p->order[i].kind == COLUMN_OFFSET ? p->order_count : i + 1;
    return i == p->order_count;
}

static void add_order(plan *p, column_kind kind, const char *name)
{
    const bool descending = p->order_count > 0 && p->descending[p->order_count - 1];
    p->descending[p->order_count] = descending;
    p->order[p->order_count++] = (column){.kind = kind, .text = vv_slice_str(name)};
}

void message_path_choose(plan *p, const plan_source *source)
{
    path *w = &p->path;
    bound(p, source);
    const message_range *m = &w->messages;
    w->kind = PATH_MESSAGES;
    w->narrowed = m->partition > 0 || m->partition_end < source->partitions || m->first > 0 ||
                  m->end < UINT64_MAX || m->event_ns != INT64_MIN || w->start_ns != INT64_MIN ||
                  w->end_ns != INT64_MAX;
    if (m->partition >= m->partition_end || m->first >= m->end || w->start_ns >= w->end_ns)
        w->kind = PATH_EMPTY;
    w->ordered = w->kind == PATH_EMPTY || is_in_order(p);
    if (w->ordered)
        return;
    add_order(p, COLUMN_PARTITION, "partition");
    add_order(p, COLUMN_OFFSET, "offset");
}

/* ---- the walk ---- */

vv_status message_scan_open(scan *s, vv_error *err)
{
    if (s->plan->version != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "version %lld: messages never change; bound their offset or the time they "
                       "were received",
                       (long long)s->plan->version);
    message_view_init(&s->message, s->env.budget);
    s->partition = s->plan->path.messages.partition;
    return s->env.snapshot != NULL ? VV_OK
                                   : vv_snapshot_create(db_of_table(s->env.table), &s->own, err);
}

void message_scan_close(scan *s)
{
    vv_stream_cursor_close(s->message_cursor);
    s->message_cursor = NULL;
    vv_snapshot_release(s->own);
    s->own = NULL;
    message_view_fini(&s->message);
}

static const vv_snapshot *snapshot_of(const scan *s)
{
    return s->env.snapshot != NULL ? s->env.snapshot : s->own;
}

/* Raise *first to where a time begins. */
static vv_status find_time(const scan *s, vv_stream_from from, int64_t time_ns, uint64_t *first,
                           vv_error *err)
{
    const vv_stream_start start = {.from = from, .time_ns = time_ns};
    uint64_t offset = 0;
    if (time_ns == INT64_MIN)
        return VV_OK;
    vv_status st = vv_stream_find(s->env.table, s->partition, &start, snapshot_of(s), &offset, err);
    *first = vv_max_u64(*first, offset);
    return st;
}

/* Where the range begins in the partition at hand. VV_NOT_FOUND: nowhere. */
static vv_status open_partition(scan *s, vv_error *err)
{
    const path *w = &s->plan->path;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = s->partition;
    opt.snapshot = snapshot_of(s);
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = w->messages.first};
    vv_status st = find_time(s, VV_STREAM_RECEIVED, w->start_ns, &opt.start.offset, err);
    if (st == VV_OK)
        st = find_time(s, VV_STREAM_EVENT, w->messages.event_ns, &opt.start.offset, err);
    if (st == VV_OK && opt.start.offset >= w->messages.end)
        return VV_NOT_FOUND;
    return st == VV_OK ? vv_stream_cursor_open(s->env.table, &opt, &s->message_cursor, err) : st;
}

/* The next message of the partition at hand. VV_NOT_FOUND: there is none in the range. */
static vv_status next_of_partition(scan *s, vv_error *err)
{
    const path *w = &s->plan->path;
    vv_message *m = &s->message.m;
    vv_status st = s->message_cursor == NULL ? open_partition(s, err) : VV_OK;
    /* A cursor beyond the range is asked for nothing: it would fetch. */
    if (st == VV_OK && vv_stream_cursor_offset(s->message_cursor) >= w->messages.end)
        st = VV_NOT_FOUND;
    if (st == VV_OK)
        st = vv_stream_cursor_next(s->message_cursor, m, err);
    if (st == VV_OK && w->end_ns != INT64_MAX && m->receive_time_ns >= w->end_ns)
        st = VV_NOT_FOUND;
    return st;
}

static size_t size_of(const vv_message *m)
{
    size_t size = m->key.len + m->value.len;
    for (size_t i = 0; i < m->attribute_count; i++)
        size += m->attributes[i].name.len + m->attributes[i].bytes.len + sizeof(int64_t);
    return size;
}

vv_status message_scan_step(scan *s, row_view *out, size_t *size, vv_error *err)
{
    message_view *view = &s->message;
    vv_status st = VV_NOT_FOUND;
    if (view->body.status != VV_OK) /* of the one before */
        return message_body_fail(view, err);
    message_body_drop(view);
    while (s->partition < s->plan->path.messages.partition_end &&
           (st = next_of_partition(s, err)) == VV_NOT_FOUND) {
        vv_stream_cursor_close(s->message_cursor);
        s->message_cursor = NULL;
        s->partition++;
    }
    if (st != VV_OK)
        return st;
    int len = snprintf(view->id, sizeof view->id, "%" PRIu32 "/%" PRIu64, view->m.partition,
                       view->m.offset);
    *out = (row_view){.key = vv_slice_of(view->id, (size_t)len),
                      .record = {.timestamp_ns = view->m.receive_time_ns},
                      .message = view};
    *size = size_of(&view->m);
    return VV_OK;
}
