/*
 * db_series_match.c - from matchers to ids, by postings.
 *
 * A matcher that a series without the label does not fit keeps what is in the postings of the
 * values that fit; another one takes out what is in the postings of the values that do not. The
 * first of the former begins, equalities before others and of those the one with the fewest
 * postings; where there is none all series begin.
 *
 * To read the labels of the ids that are left costs some postings each. So once some are found, a
 * matcher with more postings than that is left to the labels, and `is_done` says which are not.
 */
#include "db/db_series_match.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define STEPS_MAX 100000000u /* of the regular expressions of one selection */
#define FEW 32u              /* so many are read without another look at postings */
#define LABELS_COST 8u       /* postings that can be walked while labels are read */
#define FIRST_LIMIT 1024u

static vv_status fits(const db_match *h, vv_slice value, uint64_t *steps, bool *out, vv_error *err)
{
    const vv_matcher *m = &h->m;
    vv_status st = VV_OK;
    switch (m->op) {
    case VV_MATCH_EQ:
    case VV_MATCH_NE:
        *out = (bool)vv_slice_eq(value, m->value) == (m->op == VV_MATCH_EQ);
        break;
    case VV_MATCH_PREFIX:
        *out = vv_slice_has_prefix(value, m->value) != 0;
        break;
    case VV_MATCH_RE:
    case VV_MATCH_NRE:
        st = vv_regex_match(h->regex, value, steps, out, err);
        *out = *out == (m->op == VV_MATCH_RE);
        break;
    }
    return st;
}

static vv_status match_init(db_match *h, uint64_t *steps, vv_error *err)
{
    const vv_matcher *m = &h->m;
    if ((unsigned)m->op > VV_MATCH_PREFIX)
        return vv_fail(err, VV_INVALID, "matcher %d is not known", (int)m->op);
    if (m->name.len == 0)
        return vv_fail(err, VV_INVALID, "a matcher without the name of a label");
    vv_status st = VV_OK;
    if (m->op == VV_MATCH_RE || m->op == VV_MATCH_NRE) {
        st = vv_regex_create(m->value, &h->regex, err);
        h->literals = st == VV_OK ? vv_alloc(m->value.len + 1) : NULL;
        if (h->literals != NULL)
            h->literal_count = db_match_literals(m->value, h->literals);
    }
    if (st == VV_OK)
        st = fits(h, vv_slice_of(NULL, 0), steps, &h->fits_empty, err);
    h->is_done = m->op == VV_MATCH_PREFIX && m->value.len == 0; /* everything fits */
    return st == VV_OK ? st
                       : vv_wrap(err, st, "matcher of '%.*s'", (int)m->name.len,
                                 (const char *)m->name.data);
}

vv_status db_selection_init(db_selection *sel, vv_table *table, const vv_snapshot *at,
                            const vv_matcher *matchers, size_t count, vv_error *err)
{
    *sel = (db_selection){.table = table, .at = at, .steps = STEPS_MAX};
    db_ids_init(&sel->ids, &table->db->budget);
    sel->match = vv_calloc(count + 1, sizeof *sel->match);
    if (sel->match == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for matchers");
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        sel->match[i].m = matchers[i];
        sel->count = i + 1;
        st = match_init(&sel->match[i], &sel->steps, err);
    }
    return st;
}

void db_selection_fini(db_selection *sel)
{
    for (size_t i = 0; i < sel->count; i++) {
        vv_regex_destroy(sel->match[i].regex);
        vv_free(sel->match[i].literals);
    }
    vv_free(sel->match);
    db_ids_fini(&sel->ids);
    sel->match = NULL;
    sel->count = 0;
}

bool db_selection_is_done(const db_selection *sel)
{
    bool all = true;
    for (size_t i = 0; i < sel->count; i++)
        all &= sel->match[i].is_done;
    return all;
}

vv_status db_selection_fits(db_selection *sel, vv_slice canonical, bool *out, vv_error *err)
{
    vv_status st = VV_OK;
    *out = true;
    for (size_t i = 0; st == VV_OK && *out && i < sel->count; i++)
        if (!sel->match[i].is_done)
            st = fits(&sel->match[i], db_series_label_find(canonical, sel->match[i].m.name),
                      &sel->steps, out, err);
    return st;
}

/* ---- one matcher ---- */

/* The values that may fit; of those that may not, all but an equality's own have to be looked at.
 */
static vv_status open_values(const db_selection *sel, const db_match *h, db_postings *p,
                             vv_error *err)
{
    const vv_matcher *m = &h->m;
    uint8_t prefix[VV_LABEL_BYTES_MAX];
    vv_slice begin = vv_slice_of(NULL, 0);
    bool is_whole = false;
    if (m->value.len > 0 && (m->op == VV_MATCH_EQ || m->op == VV_MATCH_NE)) {
        begin = m->value; /* the only one that fits, or that does not */
        is_whole = true;
    } else if (m->op == VV_MATCH_PREFIX) {
        begin = m->value;
    } else if (m->op == VV_MATCH_RE && !h->fits_empty) {
        begin = vv_slice_of(prefix, vv_regex_prefix(h->regex, prefix, sizeof prefix));
    }
    return db_postings_open(p, sel->table, sel->at, m->name, begin, is_whole, err);
}

typedef vv_status (*on_id)(db_selection *sel, db_ids *to, uint64_t id, vv_error *err);

/* Walk the values that decide, each id of which goes to take(). VV_TIMEOUT: there are more than
 * limit. */
static vv_status walk_values(db_selection *sel, const db_match *h, uint64_t limit, on_id take,
                             db_ids *to, vv_error *err)
{
    db_postings p;
    bool wants = false;
    vv_status st = open_values(sel, h, &p, err);
    while (st == VV_OK) {
        if (p.is_new) {
            st = fits(h, db_postings_value(&p), &sel->steps, &wants, err);
            wants ^= h->fits_empty;
        }
        if (st == VV_OK && limit-- == 0)
            st = VV_TIMEOUT;
        if (st == VV_OK && wants)
            st = take(sel, to, p.id, err);
        if (st == VV_OK)
            st = wants ? db_postings_next(&p, err) : db_postings_skip(&p, err);
    }
    db_postings_close(&p);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* Likewise of a choice of texts: they are what fits, or what does not. */
static vv_status walk_literals(db_selection *sel, const db_match *h, uint64_t limit, on_id take,
                               db_ids *to, vv_error *err)
{
    const char *text = (const char *)h->literals;
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < h->literal_count; i++, text += strlen(text) + 1) {
        db_postings p;
        st = db_postings_open(&p, sel->table, sel->at, h->m.name, vv_slice_str(text), true, err);
        while (st == VV_OK) {
            st = limit-- == 0 ? VV_TIMEOUT : take(sel, to, p.id, err);
            if (st == VV_OK)
                st = db_postings_next(&p, err);
        }
        db_postings_close(&p);
        st = st == VV_NOT_FOUND ? VV_OK : st;
    }
    return st;
}

static vv_status walk(db_selection *sel, const db_match *h, uint64_t limit, on_id take, db_ids *to,
                      vv_error *err)
{
    return h->literal_count > 0 ? walk_literals(sel, h, limit, take, to, err)
                                : walk_values(sel, h, limit, take, to, err);
}

static vv_status take_any(db_selection *sel, db_ids *to, uint64_t id, vv_error *err)
{
    (void)sel;
    return db_ids_add(to, id, err);
}

static vv_status take_both(db_selection *sel, db_ids *to, uint64_t id, vv_error *err)
{
    return db_ids_has(&sel->ids, id) ? db_ids_add(to, id, err) : VV_OK;
}

static vv_status take_out(db_selection *sel, db_ids *to, uint64_t id, vv_error *err)
{
    (void)to;
    (void)err;
    db_ids_remove(&sel->ids, id);
    return VV_OK;
}

/* Keep what a matcher that wants the label lets through. *found: something was kept before. */
static vv_status keep(db_selection *sel, db_match *h, uint64_t limit, bool *found, vv_error *err)
{
    db_ids kept;
    db_ids_init(&kept, sel->ids.budget);
    vv_status st = walk(sel, h, limit, *found ? take_both : take_any, &kept, err);
    if (st == VV_OK) {
        db_ids_fini(&sel->ids);
        sel->ids = kept;
        h->is_done = true;
        *found = true;
        return st;
    }
    db_ids_fini(&kept);
    return st == VV_TIMEOUT ? VV_OK : st;
}

/* ---- all of them ---- */

static bool is_equality(const db_match *h)
{
    return h->m.op == VV_MATCH_EQ && !h->fits_empty;
}

/* The equality with the fewest postings, about: all of them are tried with a limit that grows. */
static vv_status begin_by_equality(db_selection *sel, bool *found, vv_error *err)
{
    size_t count = 0;
    vv_status st = VV_OK;
    for (size_t i = 0; i < sel->count; i++)
        count += is_equality(&sel->match[i]);
    uint64_t limit = count == 1 ? UINT64_MAX : FIRST_LIMIT;
    while (st == VV_OK && count > 0 && !*found) {
        for (size_t i = 0; st == VV_OK && !*found && i < sel->count; i++)
            if (is_equality(&sel->match[i]))
                st = keep(sel, &sel->match[i], limit, found, err);
        limit *= 4;
    }
    return st;
}

static vv_status begin_by_values(db_selection *sel, bool *found, vv_error *err)
{
    vv_status st = VV_OK;
    for (int any = 0; any <= 1; any++) /* at first those that need no walk over values */
        for (size_t i = 0; st == VV_OK && !*found && i < sel->count; i++)
            if (!sel->match[i].fits_empty && (any != 0 || sel->match[i].literal_count > 0))
                st = keep(sel, &sel->match[i], UINT64_MAX, found, err);
    return st;
}

/* Every series, from the keys of their hashes: those are short. */
static vv_status begin_by_all(db_selection *sel, vv_error *err)
{
    static const uint8_t kind = DB_SERIES_HASH;
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = sel->at;
    opt.prefix = vv_slice_of(&kind, 1);
    vv_status st = vv_cursor_open(sel->table, &opt, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        vv_slice id = vv_cursor_value(c);
        st = id.len == 8 ? db_ids_add(&sel->ids, vv_get_be64(id.data), err)
                         : vv_fail(err, VV_CORRUPT, "a hash in the index of series is malformed");
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

static vv_status narrow(db_selection *sel, db_match *h, vv_error *err)
{
    bool found = true;
    uint64_t limit = sel->ids.count * LABELS_COST;
    if (!h->fits_empty)
        return keep(sel, h, limit, &found, err);
    vv_status st = walk(sel, h, limit, take_out, NULL, err);
    h->is_done = st == VV_OK;
    return st == VV_TIMEOUT ? VV_OK : st;
}

vv_status db_selection_find(db_selection *sel, vv_error *err)
{
    bool found = false;
    vv_status st = begin_by_equality(sel, &found, err);
    if (st == VV_OK && !found)
        st = begin_by_values(sel, &found, err);
    if (st == VV_OK && !found)
        st = begin_by_all(sel, err);
    for (int wants_label = 1; wants_label >= 0; wants_label--)
        for (size_t i = 0; st == VV_OK && sel->ids.count > FEW && i < sel->count; i++)
            if (!sel->match[i].is_done && sel->match[i].fits_empty == (wants_label == 0))
                st = narrow(sel, &sel->match[i], err);
    return st;
}
