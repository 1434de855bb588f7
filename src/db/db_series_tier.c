/*
 * db_series_tier.c - windows of a series from the rows of a rollup where there are some.
 *
 *   first      lo                                                hi        last
 *     | samples | rows, day by day | samples of a marked day | rows | samples |
 *
 * The hours do when the windows are made of whole hours, else the minutes; a window over the whole
 * range is made of anything. lo and hi are the outermost ends of rows in the range, hi not behind
 * what is rolled up. Days without rows have no samples, unless they are marked. Of a marked day
 * whose samples have begun to expire, rows that begin before are still what there is to know.
 * Where lo to hi is too short to hold many samples, they are read in one go with what lies around.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_series_query.h"
#include "db/db_series_rollup.h"

static bool takes(vv_aggregate a)
{
    switch (a) {
    case VV_AGG_COUNT:
    case VV_AGG_SUM:
    case VV_AGG_AVG:
    case VV_AGG_MIN:
    case VV_AGG_MAX:
    case VV_AGG_FIRST:
    case VV_AGG_LAST:
    case VV_AGG_STDDEV:
    case VV_AGG_RANGE:
    case VV_AGG_PERCENT_GOOD:
        return true;
    case VV_AGG_NONE:
    case VV_AGG_RATE:
    case VV_AGG_INCREASE:
    case VV_AGG_TIME_AVG_STEP:
    case VV_AGG_TIME_AVG_LINEAR:
    case VV_AGG_PERCENTILE:
        return false;
    }
    return false;
}

void db_series_tier_choose(vv_series_cursor *c)
{
    const vv_series_query *q = &c->q;
    const cat_table *cat = c->table.cat;
    c->has_tier = false;
    if (!cat_has_rollups(cat) || !takes(q->aggregate) ||
        (q->all_quality && q->aggregate != VV_AGG_PERCENT_GOOD))
        return;
    for (unsigned tier = SERIES_TIERS; tier-- > 0 && !c->has_tier;) {
        int64_t span = series_tier_span[tier];
        c->has_tier = q->step_ns % span == 0 && (q->step_ns == 0 || q->offset_ns % span == 0);
        c->tier = tier;
    }
}

void db_series_tier_close(vv_series_cursor *c)
{
    for (uint32_t p = 0; c->tier_at != NULL && p < c->table.partition_count; p++) {
        vv_cursor_close(c->tier_at[p].rows);
        vv_cursor_close(c->tier_at[p].marks);
    }
    vv_free(c->tier_at);
    vv_free(c->rows);
}

static vv_status open_one(vv_series_cursor *c, uint32_t p, const uint8_t *prefix, size_t len,
                          vv_cursor **out, vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    vv_table part = db_part_at(&c->table, p);
    assert(out != NULL);
    opt.snapshot = c->at;
    opt.prefix = vv_slice_of(prefix, len);
    return *out != NULL ? VV_OK : vv_cursor_open(&part, &opt, out, err);
}

static vv_status make_room(vv_series_cursor *c, vv_error *err)
{
    size_t size = sizeof *c->rows + c->table.partition_count * sizeof *c->tier_at;
    if (c->rows != NULL)
        return VV_OK;
    c->rows = vv_alloc(sizeof *c->rows);
    c->tier_at = vv_calloc(c->table.partition_count, sizeof *c->tier_at);
    if (c->rows == NULL || c->tier_at == NULL) {
        db_series_tier_close(c);
        c->rows = NULL;
        c->tier_at = NULL;
        return vv_fail(err, VV_NO_MEMORY, "no memory for rows of a rollup");
    }
    vv_budget_take(&c->table.db->budget, VV_BUDGET_QUERY, size);
    c->memory += size;
    return VV_OK;
}

/* Made when the first series of a partition needs them. */
static vv_status open_tier(vv_series_cursor *c, vv_error *err)
{
    const uint8_t rows[2] = {DB_SERIES_ROWS, (uint8_t)c->tier};
    const uint8_t marks = DB_SERIES_DIRTY;
    uint32_t p = db_series_partition(&c->table, c->entry->id);
    vv_status st = make_room(c, err);
    if (st == VV_OK)
        st = open_one(c, p, rows, sizeof rows, &c->tier_at[p].rows, err);
    if (st == VV_OK)
        st = open_one(c, p, &marks, 1, &c->tier_at[p].marks, err);
    if (st == VV_OK) {
        c->rows_at = c->tier_at[p].rows;
        c->marks_at = c->tier_at[p].marks;
    }
    return st;
}

/* The day of the series that a cursor stands at; the highest there is behind its last. */
static int64_t day_at(const vv_cursor *at, size_t id_from, uint64_t id)
{
    if (!vv_cursor_valid(at))
        return INT64_MAX;
    vv_slice key = vv_cursor_key(at);
    if (key.len != id_from + 16 || vv_get_be64(key.data + id_from) != id)
        return INT64_MAX;
    return db_time_decode(key.data + id_from + 8);
}

static int64_t day_of_rows(const vv_series_cursor *c)
{
    return day_at(c->rows_at, 2, c->entry->id);
}

static int64_t day_of_mark(const vv_series_cursor *c)
{
    return day_at(c->marks_at, 1, c->entry->id);
}

static vv_status seek(vv_series_cursor *c, int64_t day, vv_error *err)
{
    uint8_t rows[DB_SERIES_ROWS_KEY];
    uint8_t mark[DB_SERIES_DIRTY_KEY];
    size_t len = db_series_rows_key(c->tier, c->entry->id, day, rows);
    vv_status st = vv_cursor_seek(c->rows_at, vv_slice_of(rows, len), err);
    len = db_series_dirty_key(c->entry->id, day, mark);
    return st == VV_OK ? vv_cursor_seek(c->marks_at, vv_slice_of(mark, len), err) : st;
}

/* Rows of windows from t on that begin before `to`. */
static vv_status give_rows(const vv_series_cursor *c, int64_t begin, int64_t t, int64_t to,
                           series_window *w, vv_error *err)
{
    vv_status st = VV_OK;
    int64_t span = series_tier_span[c->tier];
    for (uint32_t i = 0; st == VV_OK && i < c->rows->count; i++) {
        int64_t at = begin + c->rows->slot[i] * span;
        if (at < t)
            continue;
        if (at >= to)
            break;
        st = series_window_summary(w, &c->rows->row[i], err);
    }
    return st;
}

/* What is known of [t, stop), all of one day that has rows or a mark. */
static vv_status give_day(vv_series_cursor *c, int64_t day, int64_t t, int64_t stop,
                          series_window *w, vv_error *err)
{
    int64_t begin = db_series_bucket_begin(DB_SERIES_DAY_CLASS, day);
    bool is_marked = day_of_mark(c) == day;
    int64_t raw_from = is_marked ? t : stop;
    vv_status st = VV_OK;
    if (day_of_rows(c) == day) {
        st = series_rows_decode(vv_cursor_value(c->rows_at), c->tier, begin, c->rows, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "series %llu", (unsigned long long)c->entry->id);
        int64_t expired = db_series_round_up(c->raw_first, series_tier_span[c->tier]);
        if (c->rows->is_raw)
            raw_from = t;
        else if (is_marked && expired > t)
            raw_from = expired < stop ? expired : stop;
        c->days_read += t < raw_from;
        st = give_rows(c, begin, t, raw_from, w, err);
        if (st == VV_OK)
            st = vv_cursor_next(c->rows_at, err);
    }
    if (st == VV_OK && is_marked)
        st = vv_cursor_next(c->marks_at, err);
    return st == VV_OK && raw_from < stop ? db_series_read_raw(c, w, raw_from, stop - 1, err) : st;
}

static vv_status give_days(vv_series_cursor *c, int64_t lo, int64_t hi, series_window *w,
                           vv_error *err)
{
    vv_status st = open_tier(c, err);
    if (st == VV_OK)
        st = seek(c, db_series_day(lo), err);
    while (st == VV_OK) {
        int64_t rows = day_of_rows(c);
        int64_t mark = day_of_mark(c);
        int64_t day = rows < mark ? rows : mark;
        if (day > db_series_day(hi - 1))
            break;
        st = db_series_query_go_on(c, err);
        if (st != VV_OK)
            break;
        int64_t t = db_series_bucket_begin(DB_SERIES_DAY_CLASS, day);
        int64_t last = db_series_bucket_last(DB_SERIES_DAY_CLASS, day);
        st = give_day(c, day, t > lo ? t : lo, last < hi - 1 ? last + 1 : hi, w, err);
    }
    return st;
}

/* So few samples that looking for rows takes longer than reading them. */
static bool is_few(const vv_series_cursor *c, int64_t lo, int64_t hi)
{
    return lo >= c->raw_first && (uint64_t)hi - (uint64_t)lo <= db_series_span_of_few(c->entry, lo);
}

vv_status db_series_tier_read(vv_series_cursor *c, series_window *w, vv_error *err)
{
    int64_t span = series_tier_span[c->tier];
    int64_t rolled = INT64_MIN;
    int64_t lo = db_series_round_up(c->first > c->tier_first ? c->first : c->tier_first, span);
    int64_t hi = db_series_round_down(c->q.end_ns, span);
    lo = lo > DB_SERIES_ROLL_MIN ? lo : DB_SERIES_ROLL_MIN;
    vv_status st = VV_OK;
    vv_table part = db_series_part_at(&c->table, c->entry->id);
    int64_t claim = atomic_load_explicit(&c->entry->rolled, memory_order_relaxed);
    hi = hi < claim ? hi : claim; /* never below what is rolled up */
    if (lo < hi && is_few(c, lo, hi))
        return db_series_read_raw(c, w, c->first, c->last, err);
    if (lo < hi)
        st = db_series_rolled_get(&part, c->at, c->entry->id, &rolled, err);
    hi = hi < rolled ? hi : rolled;
    if (st == VV_OK && lo >= hi)
        return db_series_read_raw(c, w, c->first, c->last, err);
    if (st == VV_OK && lo > c->first)
        st = db_series_read_raw(c, w, c->first, lo - 1, err);
    if (st == VV_OK)
        st = give_days(c, lo, hi, w, err);
    return st == VV_OK && hi <= c->last ? db_series_read_raw(c, w, hi, c->last, err) : st;
}
