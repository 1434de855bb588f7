/*
 * db_series_window.c - points instead of samples: windows of one series, and groups of series.
 *
 * A chunk that lies in the range goes to the windows as it is, so that its summary may do; what
 * comes from outside the range is one sample on either side, where the aggregate leans on it.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_series_query.h"

#define WINDOWS_MAX 1000000u /* that a fill makes of one series */

static_assert((int)VV_FILL_VALUE == (int)SERIES_FILL_VALUE, "one order of fills");
static_assert((int)VV_AGG_PERCENT_GOOD == (int)SERIES_AGG_PERCENT_GOOD, "one order of aggregates");

/* Does it need the sample before the range? */
static bool leans_back(const vv_series_query *q)
{
    return q->aggregate == VV_AGG_RATE || q->aggregate == VV_AGG_INCREASE ||
           q->aggregate == VV_AGG_TIME_AVG_STEP || q->aggregate == VV_AGG_TIME_AVG_LINEAR;
}

/* Where windows begin: for the series of a group at one time, so that their points meet. */
static int64_t windows_start(const vv_series_cursor *c)
{
    return c->q.is_grouped ? c->range_first : c->first;
}

static series_window_options window_options(const vv_series_cursor *c)
{
    const vv_series_query *q = &c->q;
    return (series_window_options){.aggregate = (series_aggregate)q->aggregate,
                                   .percentile = q->percentile,
                                   .start = windows_start(c),
                                   .end = q->end_ns,
                                   .step = q->step_ns,
                                   .offset = q->offset_ns,
                                   .all_quality = q->all_quality};
}

vv_status db_series_window_check(const vv_series_query *q, vv_error *err)
{
    if (q->is_grouped &&
        (!series_across_takes((series_aggregate)q->across) || q->aggregate == VV_AGG_NONE))
        return vv_fail(err, VV_INVALID,
                       "a group needs an aggregate of windows, and one of count, sum, avg, min and "
                       "max across its series");
    if (!q->is_grouped && q->across != VV_AGG_NONE)
        return vv_fail(err, VV_INVALID, "an aggregate across series needs groups");
    if (q->fill != VV_FILL_NONE && (q->aggregate == VV_AGG_NONE || q->step_ns == 0))
        return vv_fail(err, VV_INVALID, "only windows with a step are filled");
    if (q->reduce != VV_REDUCE_NONE && q->points == 0)
        return vv_fail(err, VV_INVALID, "points is 0: a reduction leaves 1 or more");
    if (q->step_ns < 0 || q->max_gap_ns < 0)
        return vv_fail(err, VV_INVALID, "a step, and the longest gap to fill, are 0 or more");
    if (q->aggregate == VV_AGG_NONE)
        return VV_OK;
    series_window_options opt = {.aggregate = (series_aggregate)q->aggregate,
                                 .percentile = q->percentile,
                                 .start = q->start_ns,
                                 .end = q->end_ns < q->start_ns ? q->start_ns : q->end_ns,
                                 .step = q->step_ns,
                                 .offset = q->offset_ns};
    vv_status st = series_window_check(&opt, err);
    return st;
}

/* ---- one series ---- */

static vv_status check_type(const vv_series_cursor *c, vv_error *err)
{
    if (series_aggregate_takes((series_aggregate)c->q.aggregate, (series_type)c->entry->type) &&
        (c->q.reduce == VV_REDUCE_NONE || c->entry->type != VV_STRING))
        return VV_OK;
    char text[160];
    db_series_canonical_text(db_series_labels(c->entry), text, sizeof text);
    return vv_fail(err, VV_INVALID,
                   "series %s is of strings: they can be counted and asked for raw", text);
}

/* The last sample before the range that counts, within the retention: in c->columns, alone. */
static vv_status read_before(vv_series_cursor *c, vv_error *err)
{
    series_columns_clear(&c->columns);
    int64_t last = c->first;
    int64_t oldest = db_series_oldest(c->entry->retention_ns, c->at->time_ns);
    while (last > oldest) {
        uint32_t from = c->columns.count;
        vv_status st = db_series_query_go_on(c, err);
        if (st != VV_OK)
            return st;
        st = db_series_reader_last(&c->reader, c->entry, oldest, last - 1, &c->columns, err);
        if (st != VV_OK)
            return st == VV_NOT_FOUND ? VV_OK : st;
        last = c->columns.time[from];
        if (!c->q.all_quality)
            db_series_keep_good(&c->columns, from);
        if (c->columns.count > 0)
            return VV_OK;
    }
    return VV_OK;
}

/* The first sample behind the range that counts, which straight lines lead to: in c->columns,
 * first. */
static vv_status read_behind(vv_series_cursor *c, vv_error *err)
{
    db_series_reader_begin(&c->reader, c->entry, c->last + 1, INT64_MAX);
    series_columns_clear(&c->columns);
    vv_status st = VV_OK;
    while (st == VV_OK && c->columns.count == 0) {
        db_series_piece piece;
        st = db_series_query_go_on(c, err);
        if (st == VV_OK)
            st = db_series_reader_next(&c->reader, &piece, err);
        if (st == VV_OK)
            st = db_series_reader_take(&c->reader, &piece, &c->columns, err);
        if (st == VV_OK && !c->q.all_quality)
            db_series_keep_good(&c->columns, 0);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* The sample that was read to the windows. */
static vv_status add_edge(vv_series_cursor *c, series_window *w, vv_error *err)
{
    series_samples v = series_columns_view(&c->columns);
    if (v.count == 0)
        return VV_OK;
    v = series_samples_part(&v, 0, 1);
    return series_window_add(w, &v, err);
}

static vv_status add_piece(vv_series_cursor *c, const db_series_piece *piece, series_window *w,
                           vv_error *err)
{
    if (piece->is_whole)
        return series_window_chunk(w, piece->chunk, err);
    series_columns_clear(&c->columns);
    c->chunks_decoded++;
    vv_status st = db_series_reader_take(&c->reader, piece, &c->columns, err);
    series_samples v = series_columns_view(&c->columns);
    return st == VV_OK && v.count > 0 ? series_window_add(w, &v, err) : st;
}

vv_status db_series_read_raw(vv_series_cursor *c, series_window *w, int64_t first, int64_t last,
                             vv_error *err)
{
    vv_status st = VV_OK;
    db_series_reader_begin(&c->reader, c->entry, first > c->raw_first ? first : c->raw_first, last);
    while (st == VV_OK) {
        db_series_piece piece;
        st = db_series_query_go_on(c, err);
        if (st == VV_OK)
            st = db_series_reader_next(&c->reader, &piece, err);
        if (st == VV_OK)
            st = db_series_query_hold(c, w, err);
        if (st == VV_OK)
            st = add_piece(c, &piece, w, err);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status read_windows(vv_series_cursor *c, series_window *w, vv_error *err)
{
    vv_status st = VV_OK;
    if (leans_back(&c->q)) {
        st = read_before(c, err);
        if (st == VV_OK)
            st = add_edge(c, w, err);
    }
    if (st == VV_OK)
        st = c->has_tier ? db_series_tier_read(c, w, err)
                         : db_series_read_raw(c, w, c->first, c->last, err);
    if (st == VV_OK && c->q.aggregate == VV_AGG_TIME_AVG_LINEAR)
        st = read_behind(c, err);
    if (st == VV_OK && c->q.aggregate == VV_AGG_TIME_AVG_LINEAR)
        st = add_edge(c, w, err);
    return st == VV_OK ? series_window_finish(w, err) : st;
}

/* The windows of c->entry, appended to out. */
static vv_status make_windows(vv_series_cursor *c, series_points *out, vv_error *err)
{
    series_window w;
    series_window_options opt = window_options(c);
    vv_status st = check_type(c, err);
    if (st != VV_OK || c->first > c->last) /* all of the range has expired */
        return st;
    series_window_init(&w, &opt, out);
    w.columns = c->decoded; /* the memory of the series before */
    st = read_windows(c, &w, err);
    c->chunks_decoded += w.stats.chunks_decoded;
    c->chunks_summed += w.stats.chunks_summed;
    if (st == VV_OK)
        st = db_series_query_hold(c, &w, err);
    c->decoded = w.columns;
    series_columns_init(&w.columns);
    series_window_fini(&w);
    return st;
}

static vv_status check_count(const vv_series_cursor *c, size_t count, vv_error *err)
{
    if (count <= c->samples_left)
        return VV_OK;
    return vv_fail(err, VV_BUSY, "a series has more than the %llu samples of samples_max",
                   (unsigned long long)c->q.samples_max);
}

static vv_status keep_quality(vv_series_cursor *c, uint32_t at, uint32_t quality, vv_error *err)
{
    if (at == c->quality_cap) {
        uint32_t cap = at == 0 ? 1024 : 2 * at;
        uint32_t *more = vv_realloc(c->quality, cap * sizeof *more);
        if (more == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for a reduction");
        c->quality = more;
        c->quality_cap = cap;
    }
    c->quality[at] = quality;
    c->has_quality |= quality != VV_QUALITY_GOOD;
    return VV_OK;
}

/* Its samples as points, for a reduction. */
static vv_status make_points(vv_series_cursor *c, series_points *out, vv_error *err)
{
    vv_status st = check_type(c, err);
    db_series_reader_begin(&c->reader, c->entry, c->first, c->last);
    while (st == VV_OK) {
        db_series_piece piece;
        series_columns_clear(&c->columns);
        st = db_series_query_go_on(c, err);
        if (st == VV_OK)
            st = db_series_reader_next(&c->reader, &piece, err);
        if (st == VV_OK)
            st = db_series_query_hold(c, NULL, err);
        if (st == VV_OK)
            st = db_series_reader_take(&c->reader, &piece, &c->columns, err);
        if (st != VV_OK)
            break;
        c->chunks_decoded++;
        if (!c->q.all_quality)
            db_series_keep_good(&c->columns, 0);
        series_samples v = series_columns_view(&c->columns);
        for (uint32_t i = 0; st == VV_OK && i < v.count; i++) {
            st = keep_quality(c, out->count, v.quality == NULL ? VV_QUALITY_GOOD : v.quality[i],
                              err);
            if (st == VV_OK)
                st = series_points_add(out, v.time[i], series_samples_number(&v, i), false, err);
        }
        if (st == VV_OK)
            st = check_count(c, out->count, err);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- what is done with points ---- */

/* The sample that was read as what a fill leans on. */
static series_edge edge_of(const vv_series_cursor *c)
{
    series_samples v = series_columns_view(&c->columns);
    if (v.count == 0)
        return (series_edge){.is_there = false};
    return (series_edge){true, v.time[0], series_samples_number(&v, 0)};
}

/* A fill leans on the samples next to the range, too; of a group there is no one sample. */
static vv_status find_edges(vv_series_cursor *c, series_fill_options *opt, vv_error *err)
{
    vv_status st = VV_OK;
    if (c->q.is_grouped || c->entry->type == VV_STRING)
        return VV_OK;
    if (c->q.fill == VV_FILL_PREVIOUS || c->q.fill == VV_FILL_LINEAR) {
        st = read_before(c, err);
        opt->before = edge_of(c);
    }
    if (st == VV_OK && c->q.fill == VV_FILL_LINEAR) {
        st = read_behind(c, err);
        opt->behind = edge_of(c);
    }
    return st;
}

/* Points for the windows without one. */
static vv_status fill(vv_series_cursor *c, vv_error *err)
{
    const vv_series_query *q = &c->q;
    series_fill_options opt = {.fill = (series_fill)q->fill,
                               .value = q->fill_value,
                               .max_gap = q->max_gap_ns,
                               .start = windows_start(c),
                               .end = q->end_ns,
                               .step = q->step_ns,
                               .offset = q->offset_ns,
                               .points_max = WINDOWS_MAX};
    vv_status st = find_edges(c, &opt, err);
    series_points_clear(&c->single);
    if (st == VV_OK)
        st = series_fill_points(&c->points, &opt, &c->single, err);
    if (st == VV_OK)
        st = db_series_query_hold(c, NULL, err);
    series_points swap = c->points;
    c->points = c->single;
    c->single = swap;
    return st;
}

static vv_status reduce(vv_series_cursor *c, vv_error *err)
{
    series_points *p = &c->points;
    if (p->count <= c->q.points)
        return VV_OK;
    uint32_t *pick = vv_alloc(c->q.points * sizeof *pick);
    if (pick == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a reduction");
    uint32_t n = c->q.reduce == VV_REDUCE_LTTB
                     ? series_pick_lttb(p->time, p->value, p->count, c->q.points, pick)
                     : series_pick_min_max(p->time, p->value, p->count, c->q.points, pick);
    for (uint32_t i = 0; i < n; i++) { /* ascending, so nothing is overwritten before it is read */
        p->time[i] = p->time[pick[i]];
        p->value[i] = p->value[pick[i]];
        p->is_null[i] = p->is_null[pick[i]];
        if (c->has_quality)
            c->quality[i] = c->quality[pick[i]];
    }
    p->count = n;
    vv_free(pick);
    return VV_OK;
}

static vv_status shape(vv_series_cursor *c, vv_error *err)
{
    vv_status st = VV_OK;
    if (c->q.fill != VV_FILL_NONE)
        st = fill(c, err);
    if (st == VV_OK && c->q.reduce != VV_REDUCE_NONE)
        st = reduce(c, err);
    c->has_null = false;
    for (uint32_t i = 0; i < c->points.count; i++)
        c->has_null |= c->points.is_null[i] != 0;
    return st;
}

/* ---- groups ---- */

static int compare_groups(const vv_series_cursor *c, const db_series_entry *a,
                          const db_series_entry *b)
{
    int order = 0;
    for (size_t i = 0; order == 0 && i < c->q.group_count; i++)
        order = vv_slice_cmp(db_series_label_find(db_series_labels(a), c->q.group_by[i]),
                             db_series_label_find(db_series_labels(b), c->q.group_by[i]));
    return order;
}

static int by_group(const void *a, const void *b, void *ctx)
{
    const db_series_entry *x = *(db_series_entry *const *)a;
    const db_series_entry *y = *(db_series_entry *const *)b;
    int order = compare_groups(ctx, x, y);
    return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

void db_series_group_sort(vv_series_cursor *c)
{
    if (c->set.count > 1)
        qsort_r(c->set.entry, c->set.count, sizeof(db_series_entry *), by_group, c);
}

/* Labels of a group: those it is made by. */
static void group_labels(vv_series_cursor *c)
{
    c->label_count = 0;
    for (size_t i = 0; i < c->q.group_count; i++) {
        vv_slice value = db_series_label_find(db_series_labels(c->entry), c->q.group_by[i]);
        if (value.len > 0)
            c->labels[c->label_count++] = (vv_label){c->q.group_by[i], value};
    }
}

static vv_status next_group(vv_series_cursor *c, vv_error *err)
{
    series_across across;
    vv_status st = VV_OK;
    const db_series_entry *first = c->set.entry[c->next];
    series_across_init(&across, (series_aggregate)c->q.across);
    while (st == VV_OK && c->next < c->set.count &&
           compare_groups(c, first, c->set.entry[c->next]) == 0) {
        db_series_query_enter(c, c->set.entry[c->next++]);
        series_points_clear(&c->single);
        st = make_windows(c, &c->single, err);
        if (st == VV_OK)
            st = series_across_add(&across, &c->single, err);
    }
    c->entry = first;
    group_labels(c);
    if (st == VV_OK)
        st = series_across_finish(&across, &c->points, err);
    series_across_fini(&across);
    return st;
}

vv_status db_series_window_next(vv_series_cursor *c, vv_error *err)
{
    vv_status st = VV_OK;
    series_points_clear(&c->points);
    c->has_quality = false;
    while (st == VV_OK && c->points.count == 0) {
        if (c->next == c->set.count)
            return VV_NOT_FOUND;
        if (c->q.is_grouped) {
            st = next_group(c, err);
        } else {
            db_series_query_enter(c, c->set.entry[c->next++]);
            db_series_query_labels(c, db_series_labels(c->entry));
            st = c->q.aggregate == VV_AGG_NONE ? make_points(c, &c->points, err)
                                               : make_windows(c, &c->points, err);
        }
        if (st == VV_OK && c->points.count > 0)
            st = shape(c, err);
    }
    return st;
}
