/*
 * db_series_plan.c - how long the buckets of a series are.
 *
 * A bucket is one key, so it should hold enough samples to compress well and few enough to be read
 * and merged at once. The class is chosen from the samples that come first and changed when the
 * rate turns out to be another. A change holds from a time on that no sample has reached: each time
 * so belongs to one bucket for ever, and what is written twice meets itself.
 */
#include "db/db_series_int.h"

#define WANTED 2048u     /* samples of a bucket: so many that its last chunk weighs little */
#define FEW 2048u        /* samples that are read as fast as a row of a rollup is found */
#define TOO_FEW 64u      /* then the class changes */
#define TOO_MANY 32768u  /* likewise */
#define SEEN_MIN 512u    /* samples that tell a rate */
#define CLASS_UNKNOWN 4u /* 1 h: of a series with one sample */
#define CLASS_LAST 6u    /* 1 d: what a slow series may yet be given at a high rate mostly fits */

/* The smallest class whose bucket has WANTED samples at this rate. */
static unsigned class_of_rate(uint64_t count, int64_t first, int64_t last)
{
    uint64_t range = (uint64_t)last - (uint64_t)first;
    if (count < 2 || range == 0)
        return CLASS_UNKNOWN;
    double gap = (double)range / (double)(count - 1);
    for (unsigned c = 0; c < CLASS_LAST; c++)
        if ((double)db_series_span[c] >= gap * WANTED)
            return c;
    return CLASS_LAST;
}

static void add_part(db_series_entry *e, int64_t from, unsigned class)
{
    uint32_t n = atomic_load_explicit(&e->part_count, memory_order_relaxed);
    e->part[n] = (db_series_part){.from = from, .class = class};
    atomic_store_explicit(&e->part_count, n + 1, memory_order_release);
    e->seen = 0;
}

/* What is not newer than all before may be a repeat, which tells no rate. */
static void count_seen(db_series_entry *e, uint64_t count, int64_t first, int64_t last)
{
    if (e->newest != INT64_MIN && last <= e->newest)
        return;
    e->seen_first = e->seen == 0 || first < e->seen_first ? first : e->seen_first;
    e->seen_last = e->seen == 0 || last > e->seen_last ? last : e->seen_last;
    e->seen += count;
    if (last > e->newest)
        e->newest = last;
}

/* The rate is known by now: does the class fit it? */
static void judge(db_series_entry *e)
{
    uint32_t n = atomic_load_explicit(&e->part_count, memory_order_relaxed);
    unsigned class = e->part[n - 1].class;
    double range = (double)e->seen_last - (double)e->seen_first;
    double per_bucket =
        range <= 0 ? TOO_MANY + 1.0 : (double)e->seen * (double)db_series_span[class] / range;
    unsigned better = class_of_rate(e->seen, e->seen_first, e->seen_last);
    bool fits = (per_bucket >= TOO_FEW || class == CLASS_LAST) && per_bucket <= TOO_MANY;
    e->seen = 0;
    if (fits || better == class || n == DB_SERIES_PARTS_MAX)
        return;
    if (!e->newest_known)
        e->wants_newest = true;
    else if (e->newest < INT64_MAX)
        add_part(e, e->newest + 1, better);
}

void db_series_plan(db_series_entry *e, uint64_t count, int64_t first, int64_t last)
{
    if (atomic_load_explicit(&e->part_count, memory_order_relaxed) == 0)
        add_part(e, INT64_MIN, class_of_rate(count, first, last));
    count_seen(e, count, first, last);
    if (e->seen >= SEEN_MIN)
        judge(e);
}

uint32_t db_series_part_of(const db_series_entry *e, uint32_t part_count, int64_t t)
{
    uint32_t i = part_count;
    while (i > 1 && e->part[i - 1].from > t)
        i--;
    return i - 1;
}

int64_t db_series_part_last(const db_series_entry *e, uint32_t part_count, uint32_t part)
{
    return part + 1 < part_count ? e->part[part + 1].from - 1 : INT64_MAX;
}

uint64_t db_series_span_of_few(const db_series_entry *e, int64_t t)
{
    uint32_t n = atomic_load_explicit(&e->part_count, memory_order_acquire);
    if (n == 0 || atomic_load_explicit(&e->overflow, memory_order_relaxed) != 0)
        return 0;
    unsigned class = e->part[db_series_part_of(e, n, t)].class;
    /* A bucket has about so many; where the class is the last, as many or fewer. */
    return (uint64_t)db_series_span[class] / (2 * WANTED) * FEW;
}
