/*
 * db_series_listing.c - series by their labels alone, in the order of labels.
 *
 * A million of them are a question like any other: what is kept of each is some bytes more than its
 * labels, counted as memory of queries, and what is read does not push the series that are written
 * to out of the cache. Labels are kept with a byte 0 behind each name and value, which none of them
 * holds: so the order of labels is that of bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_series_match.h"

/* From the cache, else from the table. */
static bool recall_labels(db_series *s, uint64_t id, vv_buf *canonical, db_listed *out)
{
    vv_mutex_lock(&s->lock);
    const db_series_entry *e = db_series_find_id(s, id);
    if (e != NULL) {
        *out = (db_listed){.id = id, .created_ns = e->created_ns, .type = e->type};
        vv_buf_append_slice(canonical, db_series_labels(e));
    }
    vv_mutex_unlock(&s->lock);
    return e != NULL;
}

vv_status db_series_read_labels(db_series *s, vv_table *table, uint64_t id, vv_buf *canonical,
                                db_listed *out, vv_error *err)
{
    uint8_t key[9];
    vv_value value = {0};
    vv_slice labels;
    vv_buf_reset(canonical);
    if (!recall_labels(s, id, canonical, out)) {
        vv_table part = db_series_part_at(table, id);
        (void)db_series_id_key(DB_SERIES_RECORD, id, key);
        vv_status st = vv_get(&part, NULL, vv_slice_of(key, sizeof key), &value, err);
        if (st != VV_OK)
            return st;
        *out = (db_listed){.id = id};
        st = db_series_parse_record(id, value.data, &out->type, &out->created_ns, &labels, err);
        if (st == VV_OK)
            vv_buf_append_slice(canonical, labels);
        vv_value_release(&value);
        if (st != VV_OK)
            return st;
    }
    return canonical->status == VV_OK ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for labels");
}

/* ---- the list ---- */

void db_listing_init(db_listing *list, const vv_table *table)
{
    *list = (db_listing){.budget = &table->db->budget};
    vv_arena_init(&list->texts, SIZE_MAX);
}

void db_listing_fini(db_listing *list)
{
    vv_arena_fini(&list->texts);
    vv_free(list->series);
    vv_budget_release(list->budget, VV_BUDGET_QUERY, list->bytes);
    list->series = NULL;
    list->count = 0;
    list->bytes = 0;
}

static vv_status count_memory(db_listing *list, uint64_t bytes, vv_error *err)
{
    uint64_t more = bytes > list->bytes ? bytes - list->bytes : 0;
    if (!vv_budget_reserve(list->budget, VV_BUDGET_QUERY, more))
        return vv_fail(err, VV_BUSY,
                       "the labels of the series that fit pass memory_limit: narrow it, or ask "
                       "again when less is under way");
    list->bytes += more;
    return VV_OK;
}

static vv_status grow(db_listing *list, vv_error *err)
{
    if (list->count < list->cap)
        return VV_OK;
    size_t cap = list->cap == 0 ? 64 : list->cap + list->cap / 2;
    vv_status st = count_memory(list, list->texts.used + cap * sizeof *list->series, err);
    if (st != VV_OK)
        return st;
    db_listed *more = vv_realloc(list->series, cap * sizeof *more);
    if (more == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a list of series");
    list->series = more;
    list->cap = cap;
    return VV_OK;
}

/* Add a series; its labels become what sorts as they do. */
static vv_status add(db_listing *list, db_listed one, vv_slice canonical, vv_error *err)
{
    vv_label l;
    vv_status st = grow(list, err);
    if (st != VV_OK)
        return st;
    uint8_t *text = vv_arena_alloc(&list->texts, canonical.len + 1); /* a byte a word: as there */
    if (text == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a list of series");
    one.text = text;
    while (db_series_label_next(&canonical, &l)) {
        memcpy(text, l.name.data, l.name.len);
        text[l.name.len] = 0;
        text += l.name.len + 1;
        memcpy(text, l.value.data, l.value.len);
        text[l.value.len] = 0;
        text += l.value.len + 1;
    }
    one.len = (uint32_t)(text - one.text);
    list->series[list->count++] = one;
    return count_memory(list, list->texts.used + list->cap * sizeof *list->series, err);
}

static int by_labels(const void *a, const void *b)
{
    const db_listed *x = a;
    const db_listed *y = b;
    return vv_slice_cmp(vv_slice_of(x->text, x->len), vv_slice_of(y->text, y->len));
}

static vv_status fill(db_listing *list, db_selection *sel, db_series *s, uint64_t max,
                      vv_buf *canonical, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint64_t id = 0; st == VV_OK && db_ids_next(&sel->ids, &id);) {
        db_listed one;
        bool is_fit = false;
        st = db_series_read_labels(s, sel->table, id, canonical, &one, err);
        if (st == VV_OK)
            st = db_selection_fits(sel, vv_buf_slice(canonical), &is_fit, err);
        if (st == VV_NOT_FOUND) { /* dropped since */
            st = VV_OK;
            continue;
        }
        if (st == VV_OK && is_fit && list->count == max)
            return vv_fail(err, VV_BUSY,
                           "more than %llu series fit: narrow it, or raise series_max",
                           (unsigned long long)max);
        if (st == VV_OK && is_fit)
            st = add(list, one, vv_buf_slice(canonical), err);
    }
    return st;
}

vv_status db_listing_make(db_listing *list, db_series *s, db_selection *sel, uint64_t max,
                          vv_error *err)
{
    vv_buf canonical;
    db_listing_init(list, sel->table);
    vv_buf_init(&canonical, 2 * VV_LABELS_BYTES_MAX);
    vv_status st = fill(list, sel, s, max, &canonical, err);
    if (st == VV_OK && list->count > 1)
        qsort(list->series, list->count, sizeof *list->series, by_labels);
    vv_buf_fini(&canonical);
    return st;
}

void db_listed_info(const db_listed *one, vv_label out[VV_LABELS_MAX], vv_series_info *info)
{
    const uint8_t *at = one->text;
    const uint8_t *end = at + one->len;
    size_t n = 0;
    for (; n < VV_LABELS_MAX && at < end; n++) {
        const char *name = (const char *)at;
        out[n].name = vv_slice_str(name);
        at += out[n].name.len + 1;
        out[n].value = vv_slice_str((const char *)at);
        at += out[n].value.len + 1;
    }
    *info = (vv_series_info){.id = one->id,
                             .type = one->type,
                             .labels = out,
                             .label_count = n,
                             .created_ns = one->created_ns};
}
