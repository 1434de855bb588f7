/*
 * db_series_index.c - from matchers to series.
 *
 * One matcher that a series without the label does not fit names the candidates: an equality by its
 * postings, else a prefix or an expression by a walk over the label's values. Without one all
 * series are candidates. Each candidate is then compared with every matcher by its labels, so the
 * index only narrows and never decides.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/re.h"
#include "db/db_series_int.h"

#define STEPS_MAX 100000000u /* of the regular expressions of one selection */
#define CANDIDATES_MAX 4000000u
#define NARROW_MIN 64u /* candidates from which another posting list is worth a look */

typedef struct id_list {
    uint64_t *id;
    size_t count;
    size_t cap;
} id_list;

typedef struct selection {
    vv_table *table;
    const vv_snapshot *at;
    const vv_matcher *matcher;
    vv_regex **regex; /* [count]; NULL where the matcher has none */
    size_t count;
    uint64_t steps;
    id_list ids;
} selection;

static vv_status add_id(id_list *ids, uint64_t id, vv_error *err)
{
    if (ids->count == ids->cap) {
        size_t cap = ids->cap == 0 ? 256 : ids->cap * 2;
        uint64_t *more =
            ids->cap >= CANDIDATES_MAX ? NULL : vv_realloc(ids->id, cap * sizeof *more);
        if (more == NULL)
            return ids->cap >= CANDIDATES_MAX
                       ? vv_fail(err, VV_BUSY, "over %u series come into question: narrow it",
                                 CANDIDATES_MAX)
                       : vv_fail(err, VV_NO_MEMORY, "no memory for a selection of series");
        ids->id = more;
        ids->cap = cap;
    }
    ids->id[ids->count++] = id;
    return VV_OK;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* ---- one matcher ---- */

static vv_status fits(vv_match op, vv_slice wanted, vv_regex *re, vv_slice value, uint64_t *steps,
                      bool *out, vv_error *err)
{
    vv_status st = VV_OK;
    switch (op) {
    case VV_MATCH_EQ:
    case VV_MATCH_NE:
        *out = (bool)vv_slice_eq(value, wanted) == (op == VV_MATCH_EQ);
        break;
    case VV_MATCH_PREFIX:
        *out = vv_slice_has_prefix(value, wanted) != 0;
        break;
    case VV_MATCH_RE:
    case VV_MATCH_NRE:
        st = vv_regex_match(re, value, steps, out, err);
        *out = *out == (op == VV_MATCH_RE);
        break;
    }
    return st;
}

static vv_status check_matcher(const vv_matcher *m, vv_error *err)
{
    if ((unsigned)m->op > VV_MATCH_PREFIX)
        return vv_fail(err, VV_INVALID, "matcher %d is not known", (int)m->op);
    if (m->name.len == 0)
        return vv_fail(err, VV_INVALID, "a matcher without the name of a label");
    return VV_OK;
}

static bool has_regex(const vv_matcher *m)
{
    return m->op == VV_MATCH_RE || m->op == VV_MATCH_NRE;
}

vv_status db_series_fits_empty(const vv_matcher *m, bool *out, vv_error *err)
{
    vv_regex *re = NULL;
    uint64_t steps = STEPS_MAX;
    vv_status st = check_matcher(m, err);
    if (st == VV_OK && has_regex(m))
        st = vv_regex_create(m->value, &re, err);
    if (st == VV_OK)
        st = fits(m->op, m->value, re, vv_slice_of(NULL, 0), &steps, out, err);
    vv_regex_destroy(re);
    return st;
}

static void selection_fini(selection *sel)
{
    for (size_t i = 0; sel->regex != NULL && i < sel->count; i++)
        vv_regex_destroy(sel->regex[i]);
    vv_free(sel->regex);
    vv_free(sel->ids.id);
}

static vv_status selection_init(selection *sel, vv_error *err)
{
    sel->steps = STEPS_MAX;
    sel->regex = vv_calloc(sel->count + 1, sizeof(vv_regex *));
    if (sel->regex == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for matchers");
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < sel->count; i++) {
        st = check_matcher(&sel->matcher[i], err);
        if (st == VV_OK && has_regex(&sel->matcher[i]))
            st = vv_regex_create(sel->matcher[i].value, &sel->regex[i], err);
        if (st != VV_OK)
            vv_wrap(err, st, "matcher of '%.*s'", (int)sel->matcher[i].name.len,
                    (const char *)sel->matcher[i].name.data);
    }
    return st;
}

static vv_status fits_all(selection *sel, vv_slice canonical, bool *out, vv_error *err)
{
    vv_status st = VV_OK;
    *out = true;
    for (size_t i = 0; st == VV_OK && *out && i < sel->count; i++)
        st = fits(sel->matcher[i].op, sel->matcher[i].value, sel->regex[i],
                  db_series_label_find(canonical, sel->matcher[i].name), &sel->steps, out, err);
    return st;
}

/* ---- candidates ---- */

static vv_status open_prefix(selection *sel, const uint8_t *prefix, size_t len, vv_cursor **out,
                             vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = sel->at;
    opt.prefix = vv_slice_of(prefix, len);
    vv_status st = vv_cursor_open(sel->table, &opt, out, err);
    return st == VV_OK ? vv_cursor_seek(*out, vv_slice_of(NULL, 0), err) : st;
}

static vv_status malformed(vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "a key in the index of series is malformed");
}

/* Postings of one value. */
static vv_status take_equal(selection *sel, const vv_matcher *m, id_list *out, vv_error *err)
{
    uint8_t prefix[DB_SERIES_KEY_MAX];
    vv_cursor *c = NULL;
    if (m->name.len + m->value.len > VV_LABEL_BYTES_MAX)
        return VV_OK; /* no series has such a label */
    size_t len = db_series_posting_prefix(m->name, &m->value, prefix);
    vv_status st = open_prefix(sel, prefix, len, &c, err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        vv_slice key = vv_cursor_key(c);
        st = key.len == len + 8 ? add_id(out, vv_get_be64(key.data + len), err) : malformed(err);
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

/* Postings of all values that fit. */
static vv_status take_values(selection *sel, size_t i, vv_error *err)
{
    const vv_matcher *m = &sel->matcher[i];
    uint8_t prefix[DB_SERIES_KEY_MAX];
    uint8_t seen[VV_LABEL_BYTES_MAX];
    size_t seen_len = SIZE_MAX;
    bool is_fit = false;
    vv_cursor *c = NULL;
    if (m->name.len > VV_LABEL_BYTES_MAX)
        return VV_OK;
    size_t len = db_series_posting_prefix(m->name, NULL, prefix);
    if (m->op == VV_MATCH_PREFIX && m->name.len + m->value.len > VV_LABEL_BYTES_MAX)
        return VV_OK;
    if (m->op == VV_MATCH_PREFIX) {
        memcpy(prefix + len, m->value.data, m->value.len);
        len += m->value.len;
    } else {
        len += vv_regex_prefix(sel->regex[i], prefix + len, VV_LABEL_BYTES_MAX - m->name.len);
    }
    vv_status st = open_prefix(sel, prefix, len, &c, err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        vv_slice value;
        uint64_t id;
        if (!db_series_posting_parse(vv_cursor_key(c), &value, &id) || value.len > sizeof seen)
            st = malformed(err);
        else if (value.len != seen_len || memcmp(value.data, seen, seen_len) != 0) {
            st = fits(m->op, m->value, sel->regex[i], value, &sel->steps, &is_fit, err);
            memcpy(seen, value.data, value.len);
            seen_len = value.len;
        }
        if (st == VV_OK && is_fit)
            st = add_id(&sel->ids, id, err);
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    if (st == VV_OK && sel->ids.count > 1)
        qsort(sel->ids.id, sel->ids.count, sizeof *sel->ids.id, by_id);
    return st;
}

static vv_status take_all(selection *sel, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_RECORD;
    vv_cursor *c = NULL;
    vv_status st = open_prefix(sel, &kind, 1, &c, err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        vv_slice key = vv_cursor_key(c);
        st = key.len == 9 ? add_id(&sel->ids, vv_get_be64(key.data + 1), err) : malformed(err);
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

/* What is in both; both are sorted. */
static void intersect(id_list *a, const id_list *b)
{
    size_t n = 0;
    size_t k = 0;
    for (size_t i = 0; i < a->count; i++) {
        while (k < b->count && b->id[k] < a->id[i])
            k++;
        if (k < b->count && b->id[k] == a->id[i])
            a->id[n++] = a->id[i];
    }
    a->count = n;
}

/* By the equalities, one list after the other while that is worth it. False: there is none. */
static vv_status narrow_by_equal(selection *sel, bool *found, vv_error *err)
{
    vv_status st = VV_OK;
    *found = false;
    for (size_t i = 0; st == VV_OK && i < sel->count; i++) {
        const vv_matcher *m = &sel->matcher[i];
        if (m->op != VV_MATCH_EQ || m->value.len == 0 || (*found && sel->ids.count < NARROW_MIN))
            continue;
        id_list more = {.id = NULL};
        st = take_equal(sel, m, &more, err);
        if (*found) {
            intersect(&sel->ids, &more);
            vv_free(more.id);
        } else {
            sel->ids = more;
        }
        *found = true;
    }
    return st;
}

static vv_status find_candidates(selection *sel, vv_error *err)
{
    bool found = false;
    vv_status st = narrow_by_equal(sel, &found, err);
    if (st != VV_OK || found)
        return st;
    for (size_t i = 0; i < sel->count; i++) {
        const vv_matcher *m = &sel->matcher[i];
        bool fits_empty = true;
        if (m->op != VV_MATCH_RE && m->op != VV_MATCH_PREFIX)
            continue;
        st = fits(m->op, m->value, sel->regex[i], vv_slice_of(NULL, 0), &sel->steps, &fits_empty,
                  err);
        if (st != VV_OK)
            return st;
        if (!fits_empty)
            return take_values(sel, i, err);
    }
    return take_all(sel, err);
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
    vv_mutex_unlock(&s->lock);
    vv_free(set->entry);
    *set = (db_series_set){.count = 0};
}

/* Load the candidates and keep those that fit. */
static vv_status keep_fitting(selection *sel, db_series *s, uint64_t max, db_series_set *set,
                              vv_error *err)
{
    size_t cap = sel->ids.count < max ? sel->ids.count : (size_t)max;
    set->entry = vv_alloc((cap + 1) * sizeof(db_series_entry *));
    if (set->entry == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a selection of series");
    for (size_t i = 0; i < sel->ids.count; i++) {
        db_series_entry *e = NULL;
        bool is_fit = false;
        vv_status st = db_series_load(s, sel->table, sel->at, sel->ids.id[i], &e, err);
        if (st == VV_NOT_FOUND) /* dropped since */
            continue;
        if (st == VV_OK)
            st = fits_all(sel, db_series_labels(e), &is_fit, err);
        if (st == VV_OK && is_fit && set->count == max)
            st = vv_fail(err, VV_BUSY,
                         "more than %llu series fit: narrow it, or raise series_max of the query",
                         (unsigned long long)max);
        if (st != VV_OK || !is_fit) {
            db_series_unref(s, e);
            if (st != VV_OK)
                return st;
            continue;
        }
        set->entry[set->count++] = e;
    }
    return VV_OK;
}

vv_status db_series_select(db_series *s, vv_table *table, const vv_snapshot *at,
                           const vv_matcher *matchers, size_t count, uint64_t max,
                           db_series_set *out, vv_error *err)
{
    selection sel = {.table = table, .at = at, .matcher = matchers, .count = count};
    *out = (db_series_set){.count = 0};
    vv_status st = selection_init(&sel, err);
    if (st == VV_OK)
        st = find_candidates(&sel, err);
    if (st == VV_OK)
        st = keep_fitting(&sel, s, max, out, err);
    if (st != VV_OK)
        db_series_set_fini(s, out);
    else if (out->count > 1)
        qsort(out->entry, out->count, sizeof(db_series_entry *), by_labels);
    selection_fini(&sel);
    return st;
}
