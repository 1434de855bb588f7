/*
 * db_series_keep.c - how long the samples of a series are kept: by the first rule of its table that
 * fits its labels, else as the table says.
 *
 * Labels never change and rules seldom, so what is worked out of them is remembered: an entry in
 * memory has it (db_series_entry.retention_ns), and so has what gathers samples of the series. With
 * it goes the turn it is of: an alter of the table begins another one and walks over the entries.
 * Who finds something of an older turn works it out anew. Samples expire bucket by bucket, at times
 * that are written with them, so what is kept for long costs nothing of what is not.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/re.h"
#include "db/db_series_int.h"

struct db_series_keep {
    db_series_keep *older; /* of turns before, which some may use yet; under db_series.lock */
    vv_mutex lock;         /* rank VV_RANK_LEAF: an expression matches for one at a time */
    const cat_keep *rules;
    vv_regex *regex[VV_KEEP_RULES_MAX]; /* NULL where the rule has none; under lock */
};

static void close_one(db_series_keep *k)
{
    for (uint32_t i = 0; i < VV_KEEP_RULES_MAX; i++) /* the rules may be gone */
        vv_regex_destroy(k->regex[i]);
    vv_mutex_fini(&k->lock);
    vv_free(k);
}

void db_series_keep_close(db_series_keep *k)
{
    while (k != NULL) {
        db_series_keep *older = k->older;
        close_one(k);
        k = older;
    }
}

vv_status db_series_keep_open(const cat_table *cat, const cat_keep *rules, db_series_keep **out,
                              vv_error *err)
{
    *out = NULL;
    if (rules == NULL)
        return VV_OK;
    db_series_keep *k = vv_calloc(1, sizeof *k);
    if (k == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the rules of a table");
    k->rules = rules;
    vv_mutex_init(&k->lock, VV_RANK_LEAF);
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < k->rules->count; i++) {
        const vv_matcher *m = &k->rules->rule[i].match;
        if (m->op == VV_MATCH_RE || m->op == VV_MATCH_NRE)
            st = vv_regex_create(m->value, &k->regex[i], err);
    }
    if (st == VV_OK) {
        *out = k;
        return st;
    }
    db_series_keep_close(k);
    return vv_wrap(err, st, "rules of table '%s'", cat->name);
}

/* The steps of an expression are those of one label, so they need no limit. */
static bool regex_fits(db_series_keep *k, uint32_t i, vv_slice value)
{
    uint64_t steps = UINT64_MAX;
    bool fits = false;
    vv_mutex_lock(&k->lock);
    vv_status st = vv_regex_match(k->regex[i], value, &steps, &fits, NULL);
    vv_mutex_unlock(&k->lock);
    return st == VV_OK && fits;
}

static bool rule_fits(db_series_keep *k, uint32_t i, vv_slice canonical)
{
    const vv_matcher *m = &k->rules->rule[i].match;
    vv_slice value = db_series_label_find(canonical, m->name);
    switch (m->op) {
    case VV_MATCH_EQ:
        return vv_slice_eq(value, m->value) != 0;
    case VV_MATCH_NE:
        return vv_slice_eq(value, m->value) == 0;
    case VV_MATCH_PREFIX:
        return vv_slice_has_prefix(value, m->value) != 0;
    case VV_MATCH_RE:
        return regex_fits(k, i, value);
    case VV_MATCH_NRE:
        return !regex_fits(k, i, value);
    }
    return false;
}

static int64_t keep_of(db_series_keep *k, const cat_table *cat, vv_slice canonical)
{
    for (uint32_t i = 0; k != NULL && i < k->rules->count; i++)
        if (rule_fits(k, i, canonical))
            return k->rules->rule[i].retention_ns;
    return cat->retention_ns;
}

int64_t db_series_keep_of(db_series *s, const cat_table *cat, vv_slice canonical, uint32_t *turn)
{
    *turn = atomic_load_explicit(&s->keep_turn, memory_order_acquire);
    return keep_of(atomic_load_explicit(&s->keep, memory_order_acquire), cat, canonical);
}

/* The next entry in the ring that is of an older turn, with a reference; NULL: all are of this one.
 */
static db_series_entry *next_stale(db_series *s, uint32_t turn) VV_REQUIRES(s->lock)
{
    db_series_entry *e = s->hand;
    for (size_t i = 0; i < s->cached; i++, e = e->newer) {
        if (e->keep_turn == turn)
            continue;
        s->hand = e->newer; /* so that the next look begins behind it */
        e->refs++;
        return e;
    }
    return NULL;
}

void db_series_keep_change(db_series *s, const cat_table *cat, db_series_keep *to)
{
    uint32_t turn;
    vv_mutex_lock(&s->lock);
    db_series_keep *before = atomic_load_explicit(&s->keep, memory_order_relaxed);
    if (before != to && before != NULL) {
        before->older = s->keep_retired;
        s->keep_retired = before;
    }
    atomic_store_explicit(&s->keep, to, memory_order_release);
    turn = atomic_load_explicit(&s->keep_turn, memory_order_relaxed) + 1;
    atomic_store_explicit(&s->keep_turn, turn, memory_order_release);
    db_series_entry *e = next_stale(s, turn);
    while (e != NULL) {
        uint32_t of = 0;
        vv_mutex_unlock(&s->lock);
        int64_t ns = db_series_keep_of(s, cat, db_series_labels(e), &of);
        vv_mutex_lock(&s->lock);
        e->retention_ns = ns;
        e->keep_turn = turn;
        db_series_unref_locked(s, e);
        e = next_stale(s, turn);
    }
    vv_mutex_unlock(&s->lock);
}

int64_t db_series_sure_from(const cat_table *cat, int64_t retention_ns, int64_t now_ns)
{
    int64_t oldest = db_series_oldest(retention_ns, now_ns);
    int64_t from = cat->kept_from_ns;
    return from != 0 && from > oldest ? from : oldest;
}

int64_t db_series_oldest(int64_t retention_ns, int64_t now_ns)
{
    int64_t at;
    if (retention_ns == 0 || __builtin_sub_overflow(now_ns, retention_ns, &at))
        return INT64_MIN;
    return at;
}
