/*
 * db_series_dirty.h - which days of a table are to be rolled up anew, and when: in memory, bounded.
 *
 *   marks of a day  x  x x    x  |<- quiet ->| repaired         a burst: once, when it is over
 *                   x x x x x x x x x x x x x | repaired        a stream: once in an age
 *                   |<--------- age --------->|
 *
 * A mark in the table ('U') says that a day's rows are not true; what is here says since when, so
 * that a day which changes again and again is not made again and again. Nothing depends on it but
 * when: marks that did not find room here are found by a walk over those of the table, when there
 * is room again. Where days are many, none waits for its age.
 */
#ifndef VARVE_DB_DB_SERIES_DIRTY_H
#define VARVE_DB_DB_SERIES_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"

#define DB_SERIES_DIRTY_QUIET_NS INT64_C(10000000000)
#define DB_SERIES_DIRTY_AGE_NS INT64_C(300000000000)
#define DB_SERIES_DIRTY_MAX 32768u

typedef struct db_series_dirty_day {
    uint64_t id; /* 0: this place is free */
    int64_t day;
    int64_t first_ns; /* monotonic: of its first mark since it was repaired, and of its last */
    int64_t last_ns;
    uint64_t notes; /* counts its marks */
} db_series_dirty_day;

/* Of one table, under its lock. */
typedef struct db_series_dirty {
    db_series_dirty_day *place; /* [cap] by hash, a power of two; a taken one is found by probing */
    size_t cap;
    size_t count;
    size_t max;
    int64_t quiet_ns;
    int64_t age_ns;
    size_t hand;     /* where the search for what is due goes on */
    int64_t look_ns; /* nothing is due before */
    vv_budget *budget;
} db_series_dirty;

/* Borrows the budget. */
void db_series_dirty_init(db_series_dirty *d, vv_budget *budget);
void db_series_dirty_fini(db_series_dirty *d);
/* A day was marked now. False: there is no room for it. */
bool db_series_dirty_note(db_series_dirty *d, uint64_t id, int64_t day, int64_t now_ns);
/* A mark was found: the same, but one that is known stays as it is. */
bool db_series_dirty_found(db_series_dirty *d, uint64_t id, int64_t day, int64_t now_ns);
bool db_series_dirty_has(const db_series_dirty *d, uint64_t id, int64_t day);
/* So many that none waits long. */
static inline bool db_series_dirty_is_many(const db_series_dirty *d)
{
    return d->count >= d->max / 2;
}
/* The next day to repair. False: none is due before look_ns. */
bool db_series_dirty_next(db_series_dirty *d, int64_t now_ns, db_series_dirty_day *out);
/* It was repaired as it was when db_series_dirty_next gave it: a mark since then keeps it. */
void db_series_dirty_done(db_series_dirty *d, const db_series_dirty_day *day);
/* When the first mark came of those that wait; now_ns: none waits. */
int64_t db_series_dirty_since(const db_series_dirty *d, int64_t now_ns);

#endif
