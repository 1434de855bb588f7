/*
 * db_tier_memory.c - what the archiver's jobs hold of memory_limit.
 *
 *   a job takes bytes --there is room--> counted, as 'work'
 *                     --there is none--> VV_BUSY: the partition is tried again after a pause
 *                        --a few times in a row, or by hand--> taken all the same, by one job at a
 *                          time
 *
 * Why one goes over the limit in the end: who uses it up may be appends that wait for room at the
 * store, which only the archiver makes. One at a time passes it by what one object needs while it
 * is made: a few MiB, and some copies of its largest message.
 */
#include "base/error.h"
#include "db/db_tier_job.h"

#define WAITS 3u /* times that a partition is told VV_BUSY */

/* Is it this job's turn to pass the limit? By hand it waits for who does. */
static bool may_pass(db_tier_job *j)
{
    db_tier *t = j->t;
    if (!j->forced && j->part->failures < WAITS)
        return false;
    vv_mutex_lock(&t->lock);
    while (j->forced && t->passing != NULL && t->passing != j)
        vv_cond_wait(&t->done, &t->lock);
    if (t->passing == NULL)
        t->passing = j;
    bool is_mine = t->passing == j;
    vv_mutex_unlock(&t->lock);
    return is_mine;
}

vv_status db_tier_memory_take(db_tier_job *j, uint64_t bytes, const char *what, vv_error *err)
{
    vv_budget *budget = &j->t->db->budget;
    if (!vv_budget_reserve(budget, VV_BUDGET_WORK, bytes)) {
        j->store_failed = false;
        if (!may_pass(j))
            return vv_fail(err, VV_BUSY,
                           "memory_limit leaves no %llu bytes to %s: it is tried again",
                           (unsigned long long)bytes, what);
        vv_budget_take(budget, VV_BUDGET_WORK, bytes);
    }
    j->held += bytes;
    return VV_OK;
}

void db_tier_memory_count(db_tier_job *j, uint64_t bytes)
{
    vv_budget_take(&j->t->db->budget, VV_BUDGET_WORK, bytes);
    j->held += bytes;
}

void db_tier_memory_give(db_tier_job *j, uint64_t bytes)
{
    assert(bytes <= j->held);
    vv_budget_release(&j->t->db->budget, VV_BUDGET_WORK, bytes);
    j->held -= bytes;
}

void db_tier_memory_end(db_tier_job *j)
{
    db_tier *t = j->t;
    assert(j->held == 0);
    vv_mutex_lock(&t->lock);
    if (t->passing == j) {
        t->passing = NULL;
        vv_cond_broadcast(&t->done);
    }
    vv_mutex_unlock(&t->lock);
}
