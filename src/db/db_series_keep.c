/*
 * db_series_keep.c - how long the samples of a series are kept: by the first rule of its table that
 * fits its labels, else as the table says.
 *
 * Labels and rules never change, so what is worked out of them does not either: an entry in memory
 * has it (db_series_entry.retention_ns), and so has what gathers samples of the series. Samples
 * expire bucket by bucket, at times that are written with them, so what is kept for long costs
 * nothing of what is not.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/re.h"
#include "db/db_series_int.h"

struct db_series_keep {
    vv_mutex lock; /* rank VV_RANK_LEAF: an expression matches for one at a time */
    const cat_keep *rules;
    vv_regex *regex[VV_KEEP_RULES_MAX]; /* NULL where the rule has none; under lock */
};

void db_series_keep_close(db_series_keep *k)
{
    if (k == NULL)
        return;
    for (uint32_t i = 0; i < k->rules->count; i++)
        vv_regex_destroy(k->regex[i]);
    vv_mutex_fini(&k->lock);
    vv_free(k);
}

vv_status db_series_keep_open(const cat_table *cat, db_series_keep **out, vv_error *err)
{
    *out = NULL;
    if (cat->keep == NULL)
        return VV_OK;
    db_series_keep *k = vv_calloc(1, sizeof *k);
    if (k == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the rules of a table");
    k->rules = cat->keep;
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

int64_t db_series_keep_of(db_series_keep *k, const cat_table *cat, vv_slice canonical)
{
    for (uint32_t i = 0; k != NULL && i < k->rules->count; i++)
        if (rule_fits(k, i, canonical))
            return k->rules->rule[i].retention_ns;
    return cat->retention_ns;
}

int64_t db_series_oldest(int64_t retention_ns, int64_t now_ns)
{
    int64_t at;
    if (retention_ns == 0 || __builtin_sub_overflow(now_ns, retention_ns, &at))
        return INT64_MIN;
    return at;
}
