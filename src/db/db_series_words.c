/*
 * db_series_words.c - names of labels, and values of one.
 *
 * Without matchers they are read off the postings, a seek each. With matchers there are two ways:
 * the labels of each series that fits; or its id in the postings of each word, up to the first that
 * has one. The latter is the cheaper one where many fit, for then a word has one soon; it is given
 * up when it costs more than the former would. The words of a few series are known before it
 * begins, and are passed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "db/db_series_match.h"

#define SAMPLED 16u    /* series whose words are looked at first */
#define LABELS_COST 8u /* postings that can be walked while labels of a series are read */

typedef int (*on_word)(void *ctx, vv_slice word);

/* ---- a set of words ---- */

typedef struct words {
    vv_budget *budget;
    vv_arena bytes;
    vv_slice *slot; /* [cap] a power of two, by hash; data NULL: free */
    size_t cap;
    size_t count;
    uint64_t counted;
} words;

static void words_init(words *w, vv_budget *budget)
{
    *w = (words){.budget = budget};
    vv_arena_init(&w->bytes, SIZE_MAX);
}

static void words_fini(words *w)
{
    vv_arena_fini(&w->bytes);
    vv_free(w->slot);
    vv_budget_release(w->budget, VV_BUDGET_QUERY, w->counted);
}

static vv_slice *find_slot(const words *w, vv_slice word)
{
    size_t at = vv_hash64(word.data, word.len) & (w->cap - 1);
    while (w->slot[at].data != NULL && !vv_slice_eq(w->slot[at], word))
        at = (at + 1) & (w->cap - 1);
    return &w->slot[at];
}

static bool words_has(const words *w, vv_slice word)
{
    return w->cap > 0 && find_slot(w, word)->data != NULL;
}

static vv_status count_memory(words *w, size_t cap, vv_error *err)
{
    uint64_t bytes = w->bytes.used + cap * sizeof *w->slot;
    uint64_t more = bytes > w->counted ? bytes - w->counted : 0;
    if (!vv_budget_reserve(w->budget, VV_BUDGET_QUERY, more))
        return vv_fail(err, VV_BUSY,
                       "the labels that fit pass memory_limit: narrow it, or ask again when less "
                       "is under way");
    w->counted += more;
    return VV_OK;
}

static vv_status grow(words *w, vv_error *err)
{
    if (w->count * 2 < w->cap)
        return VV_OK;
    words old = *w;
    size_t cap = w->cap == 0 ? 64 : w->cap * 2;
    vv_status st = count_memory(w, cap, err);
    vv_slice *more = st == VV_OK ? vv_calloc(cap, sizeof *more) : NULL;
    if (more == NULL)
        return st == VV_OK ? vv_fail(err, VV_NO_MEMORY, "no memory for labels") : st;
    w->slot = more;
    w->cap = cap;
    for (size_t i = 0; i < old.cap; i++)
        if (old.slot[i].data != NULL)
            *find_slot(w, old.slot[i]) = old.slot[i];
    vv_free(old.slot);
    return VV_OK;
}

static vv_status words_add(words *w, vv_slice word, vv_error *err)
{
    if (words_has(w, word))
        return VV_OK;
    vv_status st = grow(w, err);
    if (st != VV_OK)
        return st;
    vv_slice copy = vv_arena_dup(&w->bytes, word);
    if (copy.data == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for labels");
    *find_slot(w, word) = copy;
    w->count++;
    return count_memory(w, w->cap, err);
}

static int by_bytes(const void *a, const void *b)
{
    return vv_slice_cmp(*(const vv_slice *)a, *(const vv_slice *)b);
}

/* In order. The set is of no use afterwards. */
static void words_tell(words *w, on_word each, void *ctx)
{
    size_t n = 0;
    for (size_t i = 0; i < w->cap; i++)
        if (w->slot[i].data != NULL)
            w->slot[n++] = w->slot[i];
    if (n > 1)
        qsort(w->slot, n, sizeof *w->slot, by_bytes);
    for (size_t i = 0; i < n && each(ctx, w->slot[i]) == 0; i++)
        continue;
}

/* ---- two ways ---- */

typedef struct question {
    db_series *series;
    vv_table *table;
    const vv_slice *name; /* whose values; NULL: names */
    db_selection sel;
    words found;
    uint64_t steps; /* that the postings may take */
    vv_status status;
    vv_error *err;
} question;

static vv_status add_labels(question *q, vv_slice canonical, vv_error *err)
{
    vv_status st = VV_OK;
    vv_label l;
    while (st == VV_OK && db_series_label_next(&canonical, &l))
        if (q->name == NULL || vv_slice_eq(l.name, *q->name))
            st = words_add(&q->found, q->name == NULL ? l.name : l.value, err);
    return st;
}

/* The words of the first `max` series. */
static vv_status by_labels(question *q, uint64_t max, vv_error *err)
{
    vv_buf canonical;
    vv_status st = VV_OK;
    vv_buf_init(&canonical, 2 * VV_LABELS_BYTES_MAX);
    for (uint64_t id = 0; st == VV_OK && max > 0 && db_ids_next(&q->sel.ids, &id); max--) {
        db_listed one;
        bool is_fit = false;
        st = db_series_read_labels(q->series, q->table, id, &canonical, &one, err);
        if (st == VV_OK)
            st = db_selection_fits(&q->sel, vv_buf_slice(&canonical), &is_fit, err);
        if (st == VV_OK && is_fit)
            st = add_labels(q, vv_buf_slice(&canonical), err);
        if (st == VV_NOT_FOUND) /* dropped since */
            st = VV_OK;
    }
    vv_buf_fini(&canonical);
    return st;
}

/* VV_TIMEOUT: the steps are used up. */
static vv_status values_by_postings(question *q, vv_error *err)
{
    db_postings p;
    bool is_known = false;
    vv_status st = db_postings_open(&p, q->table, NULL, *q->name, vv_slice_of(NULL, 0), false, err);
    while (st == VV_OK) {
        if (q->steps-- == 0) {
            st = VV_TIMEOUT;
            break;
        }
        if (p.is_new)
            is_known = words_has(&q->found, db_postings_value(&p));
        if (!is_known && db_ids_has(&q->sel.ids, p.id)) {
            st = words_add(&q->found, db_postings_value(&p), err);
            is_known = true;
        }
        if (st == VV_OK)
            st = is_known ? db_postings_skip(&p, err) : db_postings_next(&p, err);
    }
    db_postings_close(&p);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Does a series that fits have the label? */
static int look_for_name(void *ctx, vv_slice name)
{
    question *q = ctx;
    db_postings p;
    if (words_has(&q->found, name))
        return 0;
    vv_status st = db_postings_open(&p, q->table, NULL, name, vv_slice_of(NULL, 0), false, q->err);
    while (st == VV_OK) {
        if (q->steps-- == 0) {
            st = VV_TIMEOUT;
            break;
        }
        if (db_ids_has(&q->sel.ids, p.id)) {
            st = words_add(&q->found, name, q->err);
            break;
        }
        st = db_postings_next(&p, q->err);
    }
    db_postings_close(&p);
    q->status = st == VV_NOT_FOUND ? VV_OK : st;
    return q->status != VV_OK;
}

static vv_status by_postings(question *q, vv_error *err)
{
    q->steps = q->sel.ids.count * LABELS_COST;
    if (q->name != NULL)
        return values_by_postings(q, err);
    q->status = VV_OK;
    q->err = err;
    vv_status st = db_postings_names(q->table, look_for_name, q, err);
    return st == VV_OK ? q->status : st;
}

static vv_status answer(question *q, vv_error *err)
{
    vv_status st = db_selection_find(&q->sel, err);
    if (st != VV_OK || q->sel.ids.count <= SAMPLED || !db_selection_is_done(&q->sel))
        return st == VV_OK ? by_labels(q, UINT64_MAX, err) : st;
    st = by_labels(q, SAMPLED, err);
    if (st == VV_OK)
        st = by_postings(q, err);
    return st == VV_TIMEOUT ? by_labels(q, UINT64_MAX, err) : st;
}

/* ---- of all series ---- */

static vv_status tell_all_values(vv_table *table, vv_slice name, on_word each, void *ctx,
                                 vv_error *err)
{
    db_postings p;
    vv_status st = db_postings_open(&p, table, NULL, name, vv_slice_of(NULL, 0), false, err);
    while (st == VV_OK) {
        if (p.is_new && each(ctx, db_postings_value(&p)) != 0)
            break;
        st = db_postings_skip(&p, err);
    }
    db_postings_close(&p);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status tell_words(vv_table *table, const vv_slice *name, const vv_matcher *matchers,
                            size_t count, on_word each, void *ctx, vv_error *err)
{
    question q = {.table = table, .name = name};
    vv_status st = db_series_of(table, &q.series, err);
    if (st != VV_OK)
        return st;
    st = db_selection_init(&q.sel, table, NULL, matchers, count, err);
    words_init(&q.found, &table->db->budget);
    if (st == VV_OK && db_selection_is_done(&q.sel)) { /* everything fits */
        st = name == NULL ? db_postings_names(table, each, ctx, err)
                          : tell_all_values(table, *name, each, ctx, err);
    } else if (st == VV_OK) {
        st = answer(&q, err);
        if (st == VV_OK)
            words_tell(&q.found, each, ctx);
    }
    words_fini(&q.found);
    db_selection_fini(&q.sel);
    return st;
}

vv_status vv_series_label_names(vv_table *table, const vv_matcher *matchers, size_t count,
                                int (*each)(void *ctx, vv_slice name), void *ctx, vv_error *err)
{
    return tell_words(table, NULL, matchers, count, each, ctx, err);
}

vv_status vv_series_label_values(vv_table *table, vv_slice name, const vv_matcher *matchers,
                                 size_t count, int (*each)(void *ctx, vv_slice value), void *ctx,
                                 vv_error *err)
{
    return tell_words(table, &name, matchers, count, each, ctx, err);
}
