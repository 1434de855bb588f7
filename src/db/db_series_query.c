/*
 * db_series_query.c - a query from its beginning to its blocks.
 *
 * It reads one snapshot: the caller's, or one of its own that goes with the cursor. Samples are
 * streamed: a block's worth of chunks is decoded, given, and forgotten. Points of windows are kept
 * for one series or group at a time.
 */
#include "db/db_series_query.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/options.h"
#include "base/point.h"

#define SERIES_DEFAULT_MAX 100000u
#define SAMPLES_DEFAULT_MAX 100000000u
#define POINT_BYTES 17u               /* time, value, is_null */
#define TEXT_BLOCK_MAX (1024u * 1024) /* bytes of the strings of a block that has several */

/* ---- open ---- */

static vv_status check(const vv_series_query *q, vv_error *err)
{
    if ((unsigned)q->aggregate > VV_AGG_PERCENT_GOOD || (unsigned)q->across > VV_AGG_PERCENT_GOOD ||
        (unsigned)q->fill > VV_FILL_VALUE || (unsigned)q->reduce > VV_REDUCE_MIN_MAX)
        return vv_fail(err, VV_INVALID, "the aggregate, fill or reduction is not known");
    return db_series_window_check(q, err);
}

/* Where the range begins of series whose samples are kept for so long. */
static void clip(vv_series_cursor *c, int64_t keep_ns)
{
    int64_t oldest = db_series_oldest(keep_ns, c->now_ns);
    c->raw_first = oldest;
    if (c->has_tier) {
        int64_t rows_ns = cat_rollup_retention_of(c->table.cat, c->tier, keep_ns);
        c->tier_first = db_series_oldest(rows_ns, c->now_ns);
        oldest = c->tier_first < oldest ? c->tier_first : oldest;
    }
    c->first = c->q.start_ns > oldest ? c->q.start_ns : oldest;
}

void db_series_query_enter(vv_series_cursor *c, const db_series_entry *e)
{
    c->entry = e;
    clip(c, e->retention_ns);
}

/* The range with both ends inside it, within the longest retention. */
static void set_range(vv_series_cursor *c, vv_table *table)
{
    c->now_ns =
        c->q.snapshot != NULL ? c->q.snapshot->time_ns : vv_clock_wall(table->db->env->clock);
    db_series_tier_choose(c);
    clip(c, cat_keep_longest(table->cat));
    c->range_first = c->first;
    c->is_empty = c->q.end_ns <= c->first;
    c->last = c->is_empty ? c->first : c->q.end_ns - 1;
    if (VV_BUG(83) && !c->is_empty) /* the end of a range is in it */
        c->last = c->q.end_ns;
}

static vv_status copy_group(vv_series_cursor *c, const vv_series_query *from, vv_error *err)
{
    vv_arena_init(&c->names, VV_MIB);
    if (from->group_count > VV_LABELS_MAX)
        return vv_fail(err, VV_INVALID, "grouped by %zu labels: %u are allowed", from->group_count,
                       VV_LABELS_MAX);
    vv_slice *names = vv_arena_alloc(&c->names, (from->group_count + 1) * sizeof *names);
    for (size_t i = 0; names != NULL && i < from->group_count; i++) {
        names[i] = vv_arena_dup(&c->names, from->group_by[i]);
        if (names[i].data == NULL)
            names = NULL;
    }
    c->q.group_by = names;
    return names != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for a query");
}

static vv_status begin(vv_series_cursor *c, vv_table *table, vv_error *err)
{
    vv_status st = VV_OK;
    c->at = c->q.snapshot;
    if (c->at == NULL) {
        st = vv_snapshot_create(table->db, &c->own, err);
        c->at = c->own;
    }
    if (st == VV_OK && !c->is_empty)
        st = db_series_select(c->series, table, c->at, c->q.matchers, c->q.matcher_count,
                              c->q.series_max, &c->set, err);
    if (st == VV_OK)
        st = db_series_reader_open(&c->reader, &c->table, c->at, err);
    if (st == VV_OK && c->q.is_grouped)
        db_series_group_sort(c);
    c->q.matchers = NULL; /* borrowed for this call */
    return st;
}

vv_status vv_series_query_open(vv_table *table, const vv_series_query *query,
                               vv_series_cursor **out, vv_error *err)
{
    db_series *s = NULL;
    vv_series_query q = VV_SERIES_QUERY_INIT;
    vv_status st = db_series_of(table, &s, err);
    if (st == VV_OK)
        st = vv_options_take(&q, sizeof q, query, offsetof(vv_series_query, samples_max),
                             "vv_series_query", err);
    if (st == VV_OK)
        st = check(&q, err);
    if (st != VV_OK)
        return st;
    q.series_max = q.series_max == 0 ? SERIES_DEFAULT_MAX : q.series_max;
    q.samples_max = q.samples_max == 0 ? SAMPLES_DEFAULT_MAX : q.samples_max;
    vv_series_cursor *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a query");
    c->table = *table;
    cat_table_ref(c->table.cat);
    c->series = s;
    c->q = q;
    c->samples_left = q.samples_max;
    series_columns_init(&c->columns);
    series_columns_init(&c->decoded);
    series_points_init(&c->points);
    series_points_init(&c->single);
    set_range(c, table);
    st = copy_group(c, query, err);
    if (st == VV_OK)
        st = begin(c, table, err);
    if (st != VV_OK) {
        vv_series_query_close(c);
        return vv_wrap(err, st, "query of table '%s'", table->cat->name);
    }
    *out = c;
    return VV_OK;
}

static void count_query(const vv_series_cursor *c)
{
    db_counters *k = &c->table.db->counters;
    atomic_fetch_add_explicit(&k->series_queries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&k->chunks_decoded, c->chunks_decoded, memory_order_relaxed);
    atomic_fetch_add_explicit(&k->chunks_summed, c->chunks_summed, memory_order_relaxed);
    atomic_fetch_add_explicit(&k->rollup_reads, c->days_read, memory_order_relaxed);
}

void vv_series_query_close(vv_series_cursor *c)
{
    if (c == NULL)
        return;
    count_query(c);
    db_series_reader_close(&c->reader);
    db_series_tier_close(c);
    db_series_set_fini(c->series, &c->set);
    vv_snapshot_release(c->own);
    series_columns_fini(&c->columns);
    series_columns_fini(&c->decoded);
    series_points_fini(&c->points);
    vv_free(c->quality);
    series_points_fini(&c->single);
    vv_arena_fini(&c->names);
    vv_budget_release(&c->table.db->budget, VV_BUDGET_QUERY, c->memory + c->held);
    vv_free(c->wide);
    cat_table_unref(c->table.cat);
    vv_free(c);
}

/* ---- memory ---- */

vv_status db_series_query_go_on(const vv_series_cursor *c, vv_error *err)
{
    if (c->q.cancelled != NULL && c->q.cancelled(c->q.cancelled_ctx))
        return vv_fail(err, VV_CLOSED, "the query was cancelled");
    return VV_OK;
}

/* What an array has when a chunk more is in it. */
static uint64_t grown(uint32_t count, uint32_t cap)
{
    uint64_t need = (uint64_t)count + SERIES_CHUNK_MAX;
    return need > cap ? 2 * need : cap;
}

vv_status db_series_query_hold(vv_series_cursor *c, const series_window *w, vv_error *err)
{
    const series_points *out = w == NULL ? &c->points : w->out;
    uint64_t points = (uint64_t)c->points.cap + c->single.cap - out->cap;
    points += grown(out->count, out->cap);
    uint64_t need = points * POINT_BYTES + c->columns.text.used +
                    (uint64_t)c->quality_cap * sizeof *c->quality +
                    (uint64_t)c->columns.cap * SERIES_SAMPLE_WEIGHT + c->reader.joined.text.used +
                    (uint64_t)c->reader.joined.cap * SERIES_SAMPLE_WEIGHT;
    if (w != NULL)
        need += grown(w->value_count, w->value_cap) * sizeof *w->value;
    if (need <= c->held)
        return VV_OK;
    if (!vv_budget_reserve(&c->table.db->budget, VV_BUDGET_QUERY, need - c->held))
        return vv_fail(err, VV_BUSY,
                       "memory_limit is used up, %llu bytes of it by this query: ask for a shorter "
                       "range or fewer points, or retry after a pause",
                       (unsigned long long)c->held);
    c->held = need;
    return VV_OK;
}

/* ---- samples ---- */

void db_series_query_labels(vv_series_cursor *c, vv_slice canonical)
{
    c->label_count = 0;
    while (c->label_count < VV_LABELS_MAX &&
           db_series_label_next(&canonical, &c->labels[c->label_count]))
        c->label_count++;
}

void db_series_keep_good(series_columns *c, uint32_t from)
{
    size_t size = series_value_size(c->type);
    uint8_t *value = c->value;
    uint32_t n = from;
    if (!c->has_quality)
        return;
    for (uint32_t i = from; i < c->count; i++) {
        if (!vv_quality_is_good(c->quality[i]))
            continue;
        c->time[n] = c->time[i];
        c->quality[n] = c->quality[i];
        if (n != i)
            memcpy(value + n * size, value + i * size, size);
        n++;
    }
    c->count = n;
}

/* Find the next chunk of the series being read. *ended: there is none. */
static vv_status find_piece(vv_series_cursor *c, bool *ended, vv_error *err)
{
    *ended = false;
    if (c->has_piece)
        return VV_OK;
    vv_status st = db_series_query_go_on(c, err);
    if (st != VV_OK)
        return st;
    st = db_series_reader_next(&c->reader, &c->piece, err);
    *ended = st == VV_NOT_FOUND;
    c->has_piece = st == VV_OK;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Fill the columns with as many chunks of the series as a block has room for. */
static vv_status fill_block(vv_series_cursor *c, vv_error *err)
{
    uint64_t text = 0;
    series_columns_clear(&c->columns);
    c->shown = 0;
    for (;;) {
        vv_status st = find_piece(c, &c->has_ended, err);
        if (st != VV_OK || c->has_ended || text >= TEXT_BLOCK_MAX ||
            c->columns.count + c->piece.head.count > VV_SERIES_BLOCK_MAX)
            return st;
        uint32_t from = c->columns.count;
        text += c->piece.head.text_len;
        st = db_series_reader_take(&c->reader, &c->piece, &c->columns, err);
        if (st == VV_OK)
            st = db_series_query_hold(c, NULL, err);
        if (st != VV_OK)
            return st;
        c->has_piece = false;
        c->chunks_decoded++;
        if (!c->q.all_quality)
            db_series_keep_good(&c->columns, from);
    }
}

/* Bools are given as numbers. */
static vv_status widen(vv_series_cursor *c, vv_error *err)
{
    if (c->wide == NULL)
        c->wide = vv_alloc(VV_SERIES_BLOCK_MAX * sizeof *c->wide);
    if (c->wide == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a query");
    const uint8_t *b = c->columns.value;
    for (uint32_t i = 0; i < c->columns.count; i++)
        c->wide[i] = b[i];
    return VV_OK;
}

/* How many of them make a block: all, but texts only as many as are not too long together. */
static uint32_t count_of_block(const series_samples *left)
{
    size_t text = 0;
    uint32_t n = 0;
    if (left->type != SERIES_STRING)
        return left->count;
    while (n < left->count && (n == 0 || text + left->value.string[n].len <= TEXT_BLOCK_MAX))
        text += left->value.string[n++].len;
    return n;
}

/* The next block of what the columns hold. */
static vv_status give_samples(vv_series_cursor *c, vv_series_block *out, vv_error *err)
{
    const series_columns *k = &c->columns;
    if (k->count > 0 && k->type != (series_type)c->entry->type)
        return vv_fail(err, VV_CORRUPT, "series %llu has samples of another type",
                       (unsigned long long)c->entry->id);
    series_samples all = series_columns_view(k);
    series_samples v = series_samples_part(&all, c->shown, k->count - c->shown);
    v = series_samples_part(&v, 0, count_of_block(&v));
    c->shown += v.count;
    *out = (vv_series_block){.labels = c->labels,
                             .label_count = c->label_count,
                             .series_id = c->entry->id,
                             .type = c->entry->type,
                             .count = v.count,
                             .time_ns = v.time,
                             .quality = v.quality,
                             .is_last_of_series = c->has_ended && c->shown == k->count};
    switch (c->entry->type) {
    case VV_F64:
        out->f64 = v.value.f64;
        return VV_OK;
    case VV_I64:
        out->i64 = v.value.i64;
        return VV_OK;
    case VV_BOOL: {
        vv_status st = widen(c, err);
        out->i64 = c->wide;
        return st;
    }
    case VV_STRING:
        out->string = v.value.string;
        return VV_OK;
    }
    return VV_OK;
}

static vv_status count_down(vv_series_cursor *c, size_t n, vv_error *err)
{
    if (n > c->samples_left)
        return vv_fail(err, VV_BUSY,
                       "the answer has more than samples_max, %llu: ask for a shorter range or "
                       "fewer series",
                       (unsigned long long)c->q.samples_max);
    c->samples_left -= n;
    return VV_OK;
}

static void begin_series(vv_series_cursor *c)
{
    db_series_query_enter(c, c->set.entry[c->next++]);
    db_series_query_labels(c, db_series_labels(c->entry));
    db_series_reader_begin(&c->reader, c->entry, c->first, c->last);
    c->has_piece = false;
    c->has_given = false;
    c->shown = 0;
    series_columns_clear(&c->columns);
}

static vv_status next_samples(vv_series_cursor *c, vv_series_block *out, vv_error *err)
{
    for (;;) {
        if (c->entry == NULL && c->next == c->set.count)
            return VV_NOT_FOUND;
        if (c->entry == NULL)
            begin_series(c);
        vv_status st = VV_OK;
        if (c->shown == c->columns.count) {
            st = fill_block(c, err);
            if (st == VV_OK)
                st = count_down(c, c->columns.count, err);
        }
        bool is_nothing = st == VV_OK && c->columns.count == 0 && (!c->has_given || !c->has_ended);
        if (st == VV_OK && !is_nothing)
            st = give_samples(c, out, err);
        c->has_given |= !is_nothing;
        if (c->has_ended && c->shown == c->columns.count)
            c->entry = NULL;
        if (st != VV_OK || !is_nothing)
            return st;
    }
}

/* ---- points ---- */

static vv_status next_points(vv_series_cursor *c, vv_series_block *out, vv_error *err)
{
    if (!c->has_points) {
        vv_status st = db_series_window_next(c, err);
        if (st == VV_OK)
            st = count_down(c, c->points.count, err);
        if (st != VV_OK)
            return st;
        c->has_points = true;
        c->given = 0;
    }
    size_t left = c->points.count - c->given;
    size_t n = left < VV_SERIES_BLOCK_MAX ? left : VV_SERIES_BLOCK_MAX;
    *out = (vv_series_block){
        .labels = c->labels,
        .label_count = c->label_count,
        .series_id = c->q.is_grouped || c->entry == NULL ? 0 : c->entry->id,
        .type = VV_F64,
        .count = n,
        .time_ns = c->points.time + c->given,
        .f64 = c->points.value + c->given,
        .quality = c->has_quality ? c->quality + c->given : NULL,
        .is_null = c->has_null ? c->points.is_null + c->given : NULL,
        .is_last_of_series = n == left,
    };
    c->given += n;
    c->has_points = n < left;
    return VV_OK;
}

vv_status vv_series_query_next(vv_series_cursor *c, vv_series_block *out, vv_error *err)
{
    bool is_raw = c->q.aggregate == VV_AGG_NONE && c->q.reduce == VV_REDUCE_NONE;
    vv_status st = db_check_table(&c->table, err);
    if (st != VV_OK)
        return st;
    return is_raw ? next_samples(c, out, err) : next_points(c, out, err);
}
