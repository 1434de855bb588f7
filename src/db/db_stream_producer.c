/*
 * db_stream_producer.c - the producers of a partition in memory: found by id, ordered by use, so
 * that the silent ones are at hand.
 */
#include <string.h>

#include "base/alloc.h"
#include "db/db_stream_int.h"

#define BUCKETS_MIN 16u

static uint64_t cost(size_t len)
{
    return sizeof(db_producer) + len + 2 * sizeof(void *);
}

void db_producers_fini(vv_db *db, db_producers *p)
{
    for (db_producer *one = p->newest; one != NULL;) {
        db_producer *older = one->older;
        vv_free(one);
        one = older;
    }
    vv_free(p->bucket);
    vv_budget_release(&db->budget, VV_BUDGET_INDEX, p->bytes);
    *p = (db_producers){0};
}

static db_producer **bucket_of(const db_producers *p, uint64_t hash)
{
    return &p->bucket[hash & (p->bucket_count - 1)];
}

db_producer *db_producers_find(const db_producers *p, vv_slice id, uint64_t hash)
{
    if (p->bucket == NULL)
        return NULL;
    db_producer *one = *bucket_of(p, hash);
    while (one != NULL && (one->hash != hash || !vv_slice_eq(vv_slice_of(one->id, one->len), id)))
        one = one->next;
    return one;
}

static bool grow(db_producers *p)
{
    size_t count = p->bucket_count == 0 ? BUCKETS_MIN : p->bucket_count * 2;
    db_producer **bucket = vv_calloc(count, sizeof(db_producer *));
    if (bucket == NULL)
        return false;
    vv_free(p->bucket);
    p->bucket = bucket;
    p->bucket_count = count;
    for (db_producer *one = p->newest; one != NULL; one = one->older) {
        db_producer **at = bucket_of(p, one->hash);
        one->next = *at;
        *at = one;
    }
    return true;
}

static void link_newest(db_producers *p, db_producer *one)
{
    one->newer = NULL;
    one->older = p->newest;
    if (p->newest != NULL)
        p->newest->newer = one;
    else
        p->oldest = one;
    p->newest = one;
}

static void unlink_use(db_producers *p, db_producer *one)
{
    if (one->newer != NULL)
        one->newer->older = one->older;
    else
        p->newest = one->older;
    if (one->older != NULL)
        one->older->newer = one->newer;
    else
        p->oldest = one->newer;
}

db_producer *db_producers_add(vv_db *db, db_producers *p, vv_slice id, uint64_t hash)
{
    assert(id.len > 0 && id.len <= VV_STREAM_PRODUCER_MAX);
    if (p->count >= p->bucket_count && !grow(p))
        return NULL;
    db_producer *one = vv_alloc(sizeof *one + id.len);
    if (one == NULL)
        return NULL;
    db_producer **at = bucket_of(p, hash);
    *one = (db_producer){.next = *at, .hash = hash, .len = (uint8_t)id.len};
    memcpy(one->id, id.data, id.len);
    *at = one;
    link_newest(p, one);
    p->count++;
    p->bytes += cost(id.len);
    vv_budget_take(&db->budget, VV_BUDGET_INDEX, cost(id.len));
    return one;
}

void db_producers_remove(vv_db *db, db_producers *p, db_producer *one)
{
    db_producer **at = bucket_of(p, one->hash);
    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    unlink_use(p, one);
    p->count--;
    p->bytes -= cost(one->len);
    vv_budget_release(&db->budget, VV_BUDGET_INDEX, cost(one->len));
    vv_free(one);
}

void db_producers_touch(db_producers *p, db_producer *one)
{
    if (p->newest == one)
        return;
    unlink_use(p, one);
    link_newest(p, one);
}

void db_producers_age(vv_db *db, db_producers *p, int64_t used_ns)
{
    while (p->oldest != NULL && p->oldest->at.used_ns <= used_ns)
        db_producers_remove(db, p, p->oldest);
}
