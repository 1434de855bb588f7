/*
 * db_series_index.c - from matchers to series that are read or changed.
 *
 * The postings tell which ids come into question (db_series_match.h); each of those series is then
 * loaded, and compared by its labels with the matchers that the postings have left open.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_series_match.h"

#define LOOK_AT_MEMORY 64u /* series loaded between two looks at what is left */

vv_status db_series_fits_empty(const vv_matcher *m, vv_table *table, bool *out, vv_error *err)
{
    db_selection sel;
    vv_status st = db_selection_init(&sel, table, NULL, m, 1, err);
    if (st == VV_OK)
        *out = sel.match[0].fits_empty;
    db_selection_fini(&sel);
    return st;
}

/* ---- the set ---- */

static int by_labels(const void *a, const void *b)
{
    return db_series_canonical_cmp(db_series_labels(*(db_series_entry *const *)a),
                                   db_series_labels(*(db_series_entry *const *)b));
}

void db_series_set_fini(db_series *s, db_series_set *set)
{
    vv_mutex_lock(&s->lock);
    for (size_t i = 0; i < set->count; i++)
        db_series_unref_locked(s, set->entry[i]);
    db_series_trim(s, 2 * set->count); /* the first look at an entry only notes that it is idle */
    vv_mutex_unlock(&s->lock);
    vv_free(set->entry);
    *set = (db_series_set){.count = 0};
}

/* What is in the set stays in memory, whatever it comes to: so there must be room for it. */
static vv_status check_memory(vv_table *table, const db_series_set *set, vv_error *err)
{
    uint64_t more = LOOK_AT_MEMORY * (uint64_t)sizeof(db_series_entry);
    if (set->count % LOOK_AT_MEMORY != 0 ||
        !vv_budget_is_short(&table->db->budget, VV_BUDGET_INDEX, more))
        return VV_OK;
    return vv_fail(err, VV_BUSY,
                   "%zu series and more fit: they pass memory_limit. Narrow it, or ask again when "
                   "less is under way",
                   set->count);
}

static vv_status add(db_series *s, db_series_set *set, size_t *cap, db_series_entry *e,
                     vv_error *err)
{
    if (set->count == *cap) {
        size_t more = *cap == 0 ? 64 : *cap * 2;
        db_series_entry **entry = vv_realloc(set->entry, more * sizeof(db_series_entry *));
        if (entry == NULL) {
            db_series_unref(s, e);
            return vv_fail(err, VV_NO_MEMORY, "no memory for a selection of series");
        }
        set->entry = entry;
        *cap = more;
    }
    set->entry[set->count++] = e;
    return VV_OK;
}

/* Load what comes into question and keep what fits. */
static vv_status keep_fitting(db_selection *sel, db_series *s, uint64_t max, db_series_set *set,
                              vv_error *err)
{
    size_t cap = 0;
    vv_status st = VV_OK;
    for (uint64_t id = 0; st == VV_OK && db_ids_next(&sel->ids, &id);) {
        db_series_entry *e = NULL;
        bool is_fit = false;
        st = check_memory(sel->table, set, err);
        if (st == VV_OK)
            st = db_series_load(s, sel->table, sel->at, id, &e, err);
        if (st == VV_OK)
            st = db_selection_fits(sel, db_series_labels(e), &is_fit, err);
        if (st == VV_OK && is_fit && set->count == max)
            st = vv_fail(err, VV_BUSY,
                         "more than %llu series fit: narrow it, or raise series_max of the query",
                         (unsigned long long)max);
        if (st == VV_OK && is_fit)
            st = add(s, set, &cap, e, err);
        else
            db_series_unref(s, e);
        st = st == VV_NOT_FOUND ? VV_OK : st; /* dropped since */
    }
    return st;
}

vv_status db_series_select(db_series *s, vv_table *table, const vv_snapshot *at,
                           const vv_matcher *matchers, size_t count, uint64_t max,
                           db_series_set *out, vv_error *err)
{
    db_selection sel;
    *out = (db_series_set){.count = 0};
    vv_status st = db_selection_init(&sel, table, at, matchers, count, err);
    if (st == VV_OK)
        st = db_selection_find(&sel, err);
    if (st == VV_OK)
        st = keep_fitting(&sel, s, max, out, err);
    if (st != VV_OK)
        db_series_set_fini(s, out);
    else if (out->count > 1)
        qsort(out->entry, out->count, sizeof(db_series_entry *), by_labels);
    db_selection_fini(&sel);
    return st;
}
