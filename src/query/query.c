/*
 * query.c - the pull iterator: scan, and between the scan and the caller either nothing or a sort.
 *
 *   open --> [ sorted path: scan ] ------------------> offset --> limit --> row
 *       \--> scan all -> project -> sorter -> finish -^
 *
 * A failure latches: every later call answers it again.
 */
#include "query/query.h"

#include "base/alloc.h"
#include "base/error.h"
#include "query/query_int.h"

#define PLAN_MEMORY_MAX (16u * 1024 * 1024)
#define SCRATCH_MAX (64u * 1024 * 1024)
#define MEMORY_LIMIT_DEFAULT (64u * 1024 * 1024)
#define HAS_MORE_LOOK 10000u /* records looked at for one more match */

struct query {
    vv_arena arena; /* what the plan points to */
    plan plan;
    scan scan;
    sorter *sorter; /* NULL: the path gives the order */
    bool sorted;
    vv_buf scratch; /* the projected parts of the present row */
    uint64_t skipped;
    uint64_t returned;
    int64_t planning_ns;
    int64_t execution_ns;
    vv_status failed;
    vv_error failure;
};

static vv_status query_fail(query *q, vv_status st, const vv_error *e, vv_error *err)
{
    q->failed = st;
    q->failure = *e;
    if (err != NULL)
        *err = *e;
    return st;
}

vv_status query_open(const query_ask *ask, const query_env *env, query **out, vv_error *err)
{
    int64_t begin = vv_clock_mono(env->clock);
    query *q = vv_calloc(1, sizeof *q);
    if (q == NULL)
        return vv_fail(err, VV_NO_MEMORY, "query");
    vv_arena_init(&q->arena, PLAN_MEMORY_MAX);
    vv_buf_init(&q->scratch, SCRATCH_MAX);
    plan_source source;
    vv_status st = plan_source_of(env->table, &source, err);
    if (st == VV_OK)
        st = plan_make(ask, &source, &q->arena, &q->plan, err);
    if (st == VV_OK)
        st = scan_open(&q->scan, &q->plan, env, err);
    if (st == VV_OK && !q->plan.path.ordered)
        st = sorter_create(&q->plan,
                           env->memory_limit == 0 ? MEMORY_LIMIT_DEFAULT : env->memory_limit,
                           env->budget, &q->sorter, err);
    if (st != VV_OK) {
        query_close(q);
        return vv_wrap(err, st, "query");
    }
    q->planning_ns = vv_clock_mono(env->clock) - begin;
    *out = q;
    return VV_OK;
}

void query_close(query *q)
{
    if (q == NULL)
        return;
    sorter_destroy(q->sorter);
    scan_close(&q->scan);
    vv_buf_fini(&q->scratch);
    vv_arena_fini(&q->arena);
    vv_free(q);
}

static vv_status sort_all(query *q, vv_error *err)
{
    vv_status st;
    row_view view;
    query_row row;
    while ((st = scan_next(&q->scan, &view, err)) == VV_OK) {
        st = projection_apply(&q->plan.projection, &view, &q->scratch, &row, err);
        if (st == VV_OK)
            st = sorter_add(q->sorter, &view, &row, err);
        if (st != VV_OK)
            return st;
    }
    if (st != VV_NOT_FOUND || !q->scan.ended)
        return st;
    sorter_finish(q->sorter);
    q->sorted = true;
    return VV_OK;
}

static vv_status next_sorted(query *q, query_row *out, vv_error *err)
{
    if (!q->sorted) {
        vv_status st = sort_all(q, err); /* goes on where it paused */
        if (st != VV_OK)
            return st;
    }
    for (; q->skipped < q->plan.offset; q->skipped++)
        if (!sorter_next(q->sorter, out))
            return VV_NOT_FOUND;
    return sorter_next(q->sorter, out) ? VV_OK : VV_NOT_FOUND;
}

static vv_status next_scanned(query *q, query_row *out, vv_error *err)
{
    row_view view;
    vv_status st;
    do {
        st = scan_next(&q->scan, &view, err);
        if (st != VV_OK)
            return st;
    } while (q->skipped < q->plan.offset && ++q->skipped > 0);
    return projection_apply(&q->plan.projection, &view, &q->scratch, out, err);
}

vv_status query_next(query *q, query_row *out, vv_error *err)
{
    vv_error e = {0};
    if (q->failed != VV_OK) {
        if (err != NULL)
            *err = q->failure;
        return q->failed;
    }
    if (q->returned >= q->plan.limit)
        return VV_NOT_FOUND;
    int64_t begin = vv_clock_mono(q->scan.env.clock);
    vv_status st = q->sorter != NULL ? next_sorted(q, out, &e) : next_scanned(q, out, &e);
    q->execution_ns += vv_clock_mono(q->scan.env.clock) - begin;
    if (st == VV_OK)
        q->returned++;
    else if (st != VV_NOT_FOUND)
        return query_fail(q, st, &e, err);
    return st;
}

void query_begin_turn(query *q, uint64_t bytes)
{
    if (__builtin_add_overflow(q->scan.work, bytes, &q->scan.pause_at))
        q->scan.pause_at = UINT64_MAX;
}

bool query_is_paused(const query *q)
{
    return !q->scan.ended && q->scan.work >= q->scan.pause_at && q->returned < q->plan.limit;
}

vv_status query_has_more(query *q, bool *out, vv_error *err)
{
    const query_stats *stats = &q->scan.stats;
    vv_error e = {0};
    *out = false;
    if (q->failed != VV_OK || q->returned < q->plan.limit)
        return q->failed;
    if (q->sorter != NULL) {
        *out = stats->matched_rows - q->returned > q->plan.offset;
        return VV_OK;
    }
    q->scan.pause_at = UINT64_MAX;
    uint64_t seen = q->returned + q->plan.offset;
    uint64_t stop = stats->scanned_rows + HAS_MORE_LOOK;
    while (stats->matched_rows <= seen && !q->scan.ended && stats->scanned_rows < stop) {
        row_view view;
        vv_status st = scan_next_bounded(&q->scan, stop, &view, &e);
        if (st != VV_OK && st != VV_NOT_FOUND)
            return query_fail(q, st, &e, err);
    }
    *out = !q->scan.ended || stats->matched_rows > seen;
    return VV_OK;
}

void query_stats_read(const query *q, query_stats *out)
{
    *out = q->scan.stats;
    out->returned_rows = q->returned;
    out->planning_ns = q->planning_ns;
    out->execution_ns = q->execution_ns;
    out->memory_peak = q->sorter == NULL ? 0 : sorter_memory_peak(q->sorter);
}

size_t query_explain(const query *q, query_plan_step out[QUERY_PLAN_STEPS_MAX])
{
    return plan_explain(&q->plan, out);
}
