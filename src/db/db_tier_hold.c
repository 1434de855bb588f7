/*
 * db_tier_hold.c - who may still read objects that nothing refers to any more.
 *
 * An object's record says 'dying' from one version of its shard on. Whoever reads at an earlier
 * version sees the entry that led to it; so it is removed only when nobody does. The version of who
 * begins is taken with the lock of those who look: it is seen, or sees the record. Backups read
 * late: db_tier_pin.c.
 */
#include "db/db_stream_int.h"

/* Into the ring. */
static void enter(db_tier *t, db_tier_hold *hold) VV_REQUIRES(t->lock)
{
    hold->next = &t->holds;
    hold->previous = t->holds.previous;
    t->holds.previous->next = hold;
    t->holds.previous = hold;
}

void db_tier_hold_begin(vv_db *db, db_tier_hold *hold, const db_shard *shard)
{
    db_tier *t = db->tier;
    *hold = (db_tier_hold){.shard = shard, .is_held = t != NULL};
    if (t == NULL)
        return;
    vv_mutex_lock(&t->lock);
    if (shard != NULL)
        hold->version = db->ops->visible(shard->eng);
    enter(t, hold);
    vv_mutex_unlock(&t->lock);
}

void db_tier_hold_at(vv_db *db, db_tier_hold *hold, const int64_t *versions)
{
    if (!hold->is_held)
        return;
    vv_mutex_lock(&db->tier->lock);
    hold->versions = versions;
    vv_mutex_unlock(&db->tier->lock);
}

void db_tier_hold_end(vv_db *db, db_tier_hold *hold)
{
    if (!hold->is_held)
        return;
    hold->is_held = false;
    vv_mutex_lock(&db->tier->lock);
    hold->next->previous = hold->previous;
    hold->previous->next = hold->next;
    vv_mutex_unlock(&db->tier->lock);
}

int64_t db_tier_held(vv_db *db, const db_shard *shard, int64_t *pinned)
{
    db_tier *t = db->tier;
    vv_mutex_lock(&t->lock);
    int64_t lowest = db->ops->visible(shard->eng);
    int64_t of_backups = db_tier_pinned(t, shard);
    lowest = of_backups < lowest ? of_backups : lowest;
    for (const db_tier_hold *h = t->holds.next; h != &t->holds; h = h->next) {
        int64_t version = lowest;
        if (h->shard == shard)
            version = h->version;
        else if (h->shard == NULL)
            version = h->versions == NULL ? 0 : h->versions[shard->id];
        lowest = version < lowest ? version : lowest;
    }
    vv_mutex_unlock(&t->lock);
    if (pinned != NULL)
        *pinned = of_backups;
    return lowest;
}
