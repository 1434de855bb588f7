/*
 * db_series_list.c - what the public interface tells about series: lists, newest samples.
 */
#include <string.h>

#include "base/error.h"
#include "db/db_series_match.h"

vv_status vv_series_list(vv_table *table, const vv_matcher *matchers, size_t count,
                         uint64_t series_max, int (*each)(void *ctx, const vv_series_info *info),
                         void *ctx, vv_error *err)
{
    db_series *s = NULL;
    db_selection sel;
    db_listing list;
    vv_label labels[VV_LABELS_MAX];
    vv_status st = db_series_of(table, &s, err);
    if (st != VV_OK)
        return st;
    db_listing_init(&list, table);
    st = db_selection_init(&sel, table, NULL, matchers, count, err);
    if (st == VV_OK)
        st = db_selection_find(&sel, err);
    if (st == VV_OK)
        st =
            db_listing_make(&list, s, &sel, series_max == 0 ? DB_SERIES_LIST_MAX : series_max, err);
    db_selection_fini(&sel);
    for (size_t i = 0; st == VV_OK && i < list.count; i++) {
        vv_series_info info;
        db_listed_info(&list.series[i], labels, &info);
        if (each(ctx, &info) != 0)
            break;
    }
    db_listing_fini(&list);
    return st;
}

/* ---- the newest samples ---- */

void db_series_latest_wrote(db_series_entry *e, int64_t version, int64_t time_ns, uint64_t value,
                            uint32_t quality)
{
    db_series_latest *l = &e->latest;
    l->touched = version > l->touched ? version : l->touched;
    l->is_known &= e->type != VV_STRING;
    if (!l->is_known || version <= l->version)
        return;
    if (!l->is_empty &&
        (time_ns < l->time_ns || (time_ns == l->time_ns && version <= l->sample_version)))
        return;
    l->is_empty = false;
    l->sample_version = version;
    l->time_ns = time_ns;
    l->value = value;
    l->quality = quality;
}

void db_series_latest_forget(db_series_entry *e, int64_t version)
{
    e->latest.is_known = false;
    e->latest.touched = version > e->latest.touched ? version : e->latest.touched;
}

typedef struct seeker {
    vv_table *table;
    db_series *series;
    vv_snapshot *snapshot; /* NULL: nothing had to be read yet */
    db_series_reader reader;
    series_columns columns;
    int (*each)(void *ctx, const vv_series_info *series, const vv_sample *sample);
    void *ctx;
    int64_t now_ns;
    bool is_over; /* each() wants no more */
} seeker;

static void sample_of(const db_series_entry *e, int64_t time_ns, uint64_t bits, uint32_t quality,
                      vv_sample *out)
{
    *out = (vv_sample){.time_ns = time_ns, .quality = quality, .type = e->type};
    if (e->type == VV_F64)
        memcpy(&out->f64, &bits, sizeof bits);
    else
        out->i64 = (int64_t)bits;
}

/* What memory knows; false when it does not. */
static bool recall(seeker *k, db_series_entry *e, vv_sample *out, bool *is_empty)
{
    vv_mutex_lock(&k->series->lock);
    db_series_latest l = e->latest;
    vv_mutex_unlock(&k->series->lock);
    *is_empty = l.is_empty;
    if (l.is_known && !l.is_empty)
        sample_of(e, l.time_ns, l.value, l.quality, out);
    return l.is_known;
}

static vv_status begin_reading(seeker *k, vv_error *err)
{
    if (k->snapshot != NULL)
        return VV_OK;
    vv_status st = vv_snapshot_create(k->table->db, &k->snapshot, err);
    return st == VV_OK ? db_series_reader_open(&k->reader, k->table, k->snapshot, err) : st;
}

static uint64_t bits_of(const series_columns *c)
{
    uint64_t bits = 0;
    if (c->type == SERIES_BOOL)
        return *(const uint8_t *)c->value;
    if (c->type != SERIES_STRING)
        memcpy(&bits, c->value, sizeof bits);
    return bits;
}

/* Remember what was read at a version, unless something came since. */
static void install(seeker *k, db_series_entry *e, bool is_empty)
{
    const series_columns *c = &k->columns;
    vv_table part = db_series_part_at(k->table, e->id);
    int64_t version = vv_snapshot_version(k->snapshot, &part);
    vv_mutex_lock(&k->series->lock);
    if (e->type != VV_STRING && e->latest.touched <= version) {
        e->latest.is_known = true;
        e->latest.is_empty = is_empty;
        e->latest.version = version;
        e->latest.sample_version = version;
        e->latest.time_ns = is_empty ? 0 : c->time[0];
        e->latest.value = is_empty ? 0 : bits_of(c);
        e->latest.quality = !is_empty && c->has_quality ? c->quality[0] : 0;
    }
    vv_mutex_unlock(&k->series->lock);
}

static vv_status read_latest(seeker *k, db_series_entry *e, vv_sample *out, bool *is_empty,
                             vv_error *err)
{
    vv_status st = begin_reading(k, err);
    series_columns_clear(&k->columns);
    if (st == VV_OK)
        st = db_series_reader_last(&k->reader, e, INT64_MIN, INT64_MAX, &k->columns, err);
    *is_empty = st == VV_NOT_FOUND;
    if (st != VV_OK && st != VV_NOT_FOUND)
        return st;
    install(k, e, *is_empty);
    if (*is_empty)
        return VV_OK;
    const series_columns *c = &k->columns;
    sample_of(e, c->time[0], bits_of(c), c->has_quality ? c->quality[0] : 0, out);
    if (e->type == VV_STRING)
        out->string = *(const vv_slice *)c->value;
    return VV_OK;
}

static void info_of(const db_series_entry *e, vv_label out[VV_LABELS_MAX], vv_series_info *info)
{
    vv_slice rest = db_series_labels(e);
    size_t n = 0;
    while (n < VV_LABELS_MAX && db_series_label_next(&rest, &out[n]))
        n++;
    *info = (vv_series_info){
        .id = e->id, .type = e->type, .labels = out, .label_count = n, .created_ns = e->created_ns};
}

/* The newest sample of one series that fits, if it has one. */
static vv_status tell_latest(seeker *k, db_series_entry *e, vv_error *err)
{
    vv_label labels[VV_LABELS_MAX];
    vv_series_info info;
    vv_sample sample = {0};
    bool is_empty = false;
    vv_status st = VV_OK;
    if (!recall(k, e, &sample, &is_empty))
        st = read_latest(k, e, &sample, &is_empty, err);
    if (st != VV_OK || is_empty || sample.time_ns < db_series_oldest(e->retention_ns, k->now_ns))
        return st;
    info_of(e, labels, &info);
    k->is_over = k->each(k->ctx, &info, &sample) != 0;
    return st;
}

/* Of one series, if it is there still and fits. */
static vv_status tell_one(seeker *k, db_selection *sel, uint64_t id, vv_error *err)
{
    db_series_entry *e = NULL;
    bool is_fit = false;
    vv_status st = db_series_load(k->series, k->table, NULL, id, &e, err);
    if (st == VV_OK)
        st = db_selection_fits(sel, db_series_labels(e), &is_fit, err);
    if (st == VV_OK && is_fit)
        st = tell_latest(k, e, err);
    db_series_unref(k->series, e);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* In the order of labels; many, one after the other as they come: none but one is held. */
static vv_status tell_all(seeker *k, db_selection *sel, vv_error *err)
{
    db_listing list;
    vv_status st = VV_OK;
    db_listing_init(&list, k->table);
    bool is_sorted = sel->ids.count <= VV_SERIES_LATEST_SORTED_MAX;
    if (is_sorted)
        st = db_listing_make(&list, k->series, sel, VV_SERIES_LATEST_SORTED_MAX, err);
    for (size_t i = 0; st == VV_OK && !k->is_over && i < list.count; i++)
        st = tell_one(k, sel, list.series[i].id, err);
    for (uint64_t id = 0; st == VV_OK && !k->is_over && !is_sorted && db_ids_next(&sel->ids, &id);)
        st = tell_one(k, sel, id, err);
    db_listing_fini(&list);
    return st;
}

vv_status vv_series_latest(vv_table *table, const vv_matcher *matchers, size_t count,
                           int (*each)(void *ctx, const vv_series_info *series,
                                       const vv_sample *sample),
                           void *ctx, vv_error *err)
{
    seeker k = {.table = table, .each = each, .ctx = ctx};
    db_selection sel;
    vv_status st = db_series_of(table, &k.series, err);
    if (st != VV_OK)
        return st;
    st = db_selection_init(&sel, table, NULL, matchers, count, err);
    if (st == VV_OK)
        st = db_selection_find(&sel, err);
    series_columns_init(&k.columns);
    k.now_ns = vv_clock_wall(table->db->env->clock);
    if (st == VV_OK)
        st = tell_all(&k, &sel, err);
    db_series_reader_close(&k.reader);
    vv_snapshot_release(k.snapshot);
    series_columns_fini(&k.columns);
    db_selection_fini(&sel);
    return st;
}
