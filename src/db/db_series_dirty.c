/*
 * db_series_dirty.c - days that wait for their repair: a hash table, probed place by place.
 */
#include "db/db_series_dirty.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/point.h"

#define CAP_MIN 64u

void db_series_dirty_init(db_series_dirty *d, vv_budget *budget)
{
    *d = (db_series_dirty){.max = DB_SERIES_DIRTY_MAX,
                           .quiet_ns = DB_SERIES_DIRTY_QUIET_NS,
                           .age_ns = DB_SERIES_DIRTY_AGE_NS,
                           .look_ns = INT64_MAX,
                           .budget = budget};
}

void db_series_dirty_fini(db_series_dirty *d)
{
    if (d->cap > 0)
        vv_budget_release(d->budget, VV_BUDGET_INDEX, d->cap * sizeof *d->place);
    vv_free(d->place);
    *d = (db_series_dirty){.place = NULL};
}

static size_t home(const db_series_dirty *d, uint64_t id, int64_t day)
{
    uint64_t h = (id * UINT64_C(0x9e3779b97f4a7c15)) ^ (uint64_t)day;
    h *= UINT64_C(0xff51afd7ed558ccd);
    return (size_t)(h >> 32) & (d->cap - 1);
}

/* Where the day is, or would be. */
static size_t find(const db_series_dirty *d, uint64_t id, int64_t day)
{
    size_t i = home(d, id, day);
    while (d->place[i].id != 0 && (d->place[i].id != id || d->place[i].day != day))
        i = (i + 1) & (d->cap - 1);
    return i;
}

/* Half of the places are free, so that a probe is short. */
static bool grow(db_series_dirty *d)
{
    db_series_dirty old = *d;
    size_t cap = old.cap == 0 ? CAP_MIN : 2 * old.cap;
    db_series_dirty_day *place = vv_calloc(cap, sizeof *place);
    if (place == NULL)
        return false;
    vv_budget_take(d->budget, VV_BUDGET_INDEX, (cap - old.cap) * sizeof *place);
    d->place = place;
    d->cap = cap;
    d->hand = 0;
    for (size_t i = 0; i < old.cap; i++)
        if (old.place[i].id != 0)
            place[find(d, old.place[i].id, old.place[i].day)] = old.place[i];
    vv_free(old.place);
    return true;
}

static void look_from(db_series_dirty *d, int64_t ns)
{
    d->look_ns = ns < d->look_ns ? ns : d->look_ns;
}

static bool take(db_series_dirty *d, uint64_t id, int64_t day, int64_t now_ns, bool is_new_mark)
{
    assert(id != 0);
    db_series_dirty_day *w = d->cap == 0 ? NULL : &d->place[find(d, id, day)];
    if (w != NULL && w->id != 0) {
        w->last_ns = is_new_mark ? now_ns : w->last_ns;
        w->notes += is_new_mark;
        return true;
    }
    if (d->count >= d->max || (2 * d->count >= d->cap && !grow(d)))
        return false;
    assert(d->place != NULL);
    d->place[find(d, id, day)] = (db_series_dirty_day){
        .id = id, .day = day, .first_ns = now_ns, .last_ns = now_ns, .notes = 1};
    bool were_many = db_series_dirty_is_many(d);
    d->count++;
    look_from(d, were_many != db_series_dirty_is_many(d) ? now_ns : now_ns + d->quiet_ns);
    return true;
}

bool db_series_dirty_note(db_series_dirty *d, uint64_t id, int64_t day, int64_t now_ns)
{
    return take(d, id, day, now_ns, true);
}

bool db_series_dirty_found(db_series_dirty *d, uint64_t id, int64_t day, int64_t now_ns)
{
    return take(d, id, day, now_ns, false);
}

bool db_series_dirty_has(const db_series_dirty *d, uint64_t id, int64_t day)
{
    return d->cap > 0 && d->place[find(d, id, day)].id != 0;
}

bool db_series_dirty_next(db_series_dirty *d, int64_t now_ns, db_series_dirty_day *out)
{
    int64_t soonest = INT64_MAX;
    int64_t age = db_series_dirty_is_many(d) ? d->quiet_ns : d->age_ns;
    if (d->count == 0 || now_ns < d->look_ns)
        return false;
    for (size_t i = 0; i < d->cap; i++) {
        const db_series_dirty_day *w = &d->place[(d->hand + i) & (d->cap - 1)];
        if (w->id == 0)
            continue;
        int64_t quiet = w->last_ns + d->quiet_ns;
        int64_t old = w->first_ns + age;
        int64_t due = quiet < old ? quiet : old;
        if (due <= now_ns) {
            *out = *w;
            d->hand = (d->hand + i + 1) & (d->cap - 1);
            return true;
        }
        soonest = due < soonest ? due : soonest;
    }
    d->look_ns = soonest;
    return false;
}

/* Those that were probed past the place move up, so that they are found without it. */
static void free_place(db_series_dirty *d, size_t hole)
{
    size_t mask = d->cap - 1;
    for (size_t i = (hole + 1) & mask; d->place[i].id != 0; i = (i + 1) & mask) {
        size_t from = home(d, d->place[i].id, d->place[i].day);
        if (((i - from) & mask) < ((i - hole) & mask))
            continue;
        d->place[hole] = d->place[i];
        hole = i;
    }
    d->place[hole] = (db_series_dirty_day){.id = 0};
}

void db_series_dirty_done(db_series_dirty *d, const db_series_dirty_day *day)
{
    size_t i = d->cap == 0 ? 0 : find(d, day->id, day->day);
    if (d->cap == 0 || d->place[i].id == 0)
        return;
    if (d->place[i].notes != day->notes &&
        !VV_BUG(95)) { /* as if it were marked for the first time */
        d->place[i].first_ns = d->place[i].last_ns;
        return;
    }
    free_place(d, i);
    d->count--;
}

int64_t db_series_dirty_since(const db_series_dirty *d, int64_t now_ns)
{
    int64_t since = now_ns;
    for (size_t i = 0; i < d->cap; i++)
        if (d->place[i].id != 0 && d->place[i].first_ns < since)
            since = d->place[i].first_ns;
    return since;
}
