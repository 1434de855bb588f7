/*
 * lsm_multi.c - many point reads at once, with the blocks they lack read together.
 *
 *               +--- the block is in the cache: look, next part of the view ---+
 *               v                                                              |
 *   ready --> walk --(a block is missing)--> wanted --> fetching --(answered)--+
 *               |                                          one fetch, many keys
 *               +--(found, or nothing older can know it)--> answered
 *
 * Each key walks the view on its own, from the newest part to the oldest, as lsm_get does; where
 * that one waits for the disk, this one goes on with the next key. Keys are walked in order, so
 * those of one block ask for it one after the other and share its fetch. While answers are unpacked
 * and searched the disk works on the rest: as many fetches are under way as the queue holds.
 *
 * The view is held by a reference, because the call waits for the disk between sections.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_walk.h"

typedef struct multi_key {
    lsm_walk walk;
    uint32_t index; /* in the caller's arrays */
    struct multi_key *next;
} multi_key;

/* Fetches whose blocks are being unpacked, beside those that keep the queue full. */
#define FETCHES (VIO_QUEUE_DEPTH + VIO_QUEUE_DEPTH / 2)
#define FETCH_BUCKETS 256u /* a power of two */

typedef struct multi multi;

typedef struct fetch {
    lsm_fetch base;
    multi *m;
    multi_key *keys;    /* that wait for it */
    struct fetch *next; /* of its bucket while under way, else of the free ones */
} fetch;

/* What a call needs once a block is missing. */
typedef struct fetch_set {
    fetch *bucket[FETCH_BUCKETS]; /* under way, by run and block */
    fetch *free;
    uint32_t made; /* of fetch */
    fetch fetch[FETCHES];
} fetch_set;

struct multi {
    lsm_engine *e;
    lsm_walker at;
    vio_queue *queue;
    multi_key *keys;
    size_t count;
    engine_value *out;
    vv_status *status;
    uint64_t misses;
    multi_key *wanted; /* first in, first out */
    multi_key *wanted_end;
    fetch_set *set; /* made with the first miss */
    fetch *answered[FETCHES];
    unsigned answered_count;
    unsigned busy_count;
    size_t unresolved; /* merges and references among the answers */
    uint32_t failed;   /* index of the first failed key; UINT32_MAX: none */
    vv_error error;    /* its */
};

/* ---- answers ---- */

static const vv_error in_file = {.status = VV_BUSY, .msg = "a block must be read from its file"};

static void answer_failed(multi *m, const multi_key *k, vv_status st, const vv_error *why)
{
    m->status[k->index] = st;
    if (k->index < m->failed) {
        m->failed = k->index;
        m->error = *why;
        m->error.status = st;
    }
}

static void want(multi *m, multi_key *k)
{
    k->next = NULL;
    if (m->wanted == NULL)
        m->wanted = k;
    else
        m->wanted_end->next = k;
    m->wanted_end = k;
}

/* The walk of a key stopped. */
static void take_end(multi *m, multi_key *k, lsm_walk_end end)
{
    switch (end) {
    case LSM_WALK_FOUND:
        m->status[k->index] = VV_OK;
        m->unresolved += k->walk.kind != ENGINE_PUT;
        break;
    case LSM_WALK_ABSENT:
        m->status[k->index] = VV_NOT_FOUND;
        break;
    case LSM_WALK_MISSES:
        if (m->at.read->from_memory)
            answer_failed(m, k, VV_BUSY, &in_file);
        else
            want(m, k);
        break;
    }
}

/* ---- fetching ---- */

static void note_answer(vio_req *req)
{
    fetch *f = VV_CONTAINER_OF(VV_CONTAINER_OF(req, lsm_fetch, req), fetch, base);
    f->m->answered[f->m->answered_count++] = f;
}

static fetch **bucket_of(const multi *m, const lsm_run *run, uint32_t block)
{
    uint64_t h = (((uintptr_t)run >> 6) + block) * UINT64_C(0x9e3779b97f4a7c15);
    return &m->set->bucket[h >> 32 & (FETCH_BUCKETS - 1)];
}

/* The fetch of this block that is under way, or NULL. */
static fetch *find_fetch(const multi *m, const multi_key *k)
{
    fetch *f = *bucket_of(m, k->walk.run, k->walk.block);
    while (f != NULL && (f->base.run != k->walk.run || f->base.block != k->walk.block))
        f = f->next;
    return f;
}

static fetch *take_fetch(const multi *m)
{
    fetch *f = m->set->free;
    if (f == NULL)
        return &m->set->fetch[m->set->made++]; /* busy_count is below FETCHES */
    m->set->free = f->next;
    return f;
}

static void give_fetch(const multi *m, fetch *f)
{
    f->next = m->set->free;
    m->set->free = f;
}

static void unlink_fetch(const multi *m, fetch *f)
{
    fetch **at = bucket_of(m, f->base.run, f->base.block);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
}

static vv_status begin_fetch(multi *m, multi_key *k, vv_error *err)
{
    fetch *f = take_fetch(m);
    vv_status st = lsm_fetch_prepare(&f->base, k->walk.run, k->walk.block, m->queue, err);
    if (st == VV_OK) {
        f->m = m;
        f->base.req.done = note_answer;
        vio_req *req = &f->base.req;
        st = vio_submit(m->queue, &req, 1, err);
        if (st != VV_OK)
            lsm_fetch_drop(&f->base);
    }
    if (st != VV_OK) {
        give_fetch(m, f);
        return st;
    }
    m->misses++;
    m->busy_count++;
    fetch **bucket = bucket_of(m, k->walk.run, k->walk.block);
    f->next = *bucket;
    *bucket = f;
    f->keys = k;
    k->next = NULL;
    return VV_OK;
}

/* Another key or thread brought the block meanwhile: walk on. */
static bool walk_if_cached(multi *m, multi_key *k)
{
    vv_epoch_enter();
    bool is_here = lsm_walk_has_block(&k->walk);
    if (is_here)
        take_end(m, k, lsm_walk_on(&m->at, &k->walk, &m->out[k->index]));
    vv_epoch_exit();
    return is_here;
}

/* Wanted blocks get a fetch, or share one, as long as there is room. Returns how many were begun.
 */
static unsigned begin_fetches(multi *m)
{
    unsigned begun = 0;
    assert(m->queue != NULL);
    while (m->wanted != NULL) {
        multi_key *k = m->wanted;
        fetch *f = find_fetch(m, k);
        if (f == NULL && (vio_queue_room(m->queue) == 0 || m->busy_count == FETCHES))
            break;
        m->wanted = k->next;
        if (f != NULL) {
            k->next = f->keys;
            f->keys = k;
        } else if (!walk_if_cached(m, k)) {
            vv_error why;
            vv_status st = begin_fetch(m, k, &why);
            begun += st == VV_OK;
            if (st != VV_OK)
                answer_failed(m, k, st, &why);
        }
    }
    return begun;
}

/* The block is here: show it to the cache and to the keys that wait for it. Those it does not know
 * walk on. */
static void end_fetch(multi *m, fetch *f)
{
    vv_error why;
    pgc_frame *frame = NULL;
    unlink_fetch(m, f);
    vv_status st = lsm_fetch_finish(&f->base, &frame, &why);
    if (st == VV_OK)
        pgc_publish(f->base.run->pages, f->base.block, frame);
    multi_key *after;
    vv_epoch_enter();
    for (multi_key *k = f->keys; k != NULL; k = after) {
        after = k->next;
        if (st != VV_OK)
            answer_failed(m, k, st, &why);
        else
            take_end(m, k, lsm_walk_with(&m->at, &k->walk, frame, &m->out[k->index]));
    }
    vv_epoch_exit();
    if (frame != NULL)
        pgc_unpin(frame);
    give_fetch(m, f);
    m->busy_count--;
}

static vv_status prepare_to_fetch(multi *m, vv_error *err)
{
    vv_status st = vio_queue_of_thread(m->e->store.env->io, &m->queue, err);
    if (st != VV_OK)
        return st;
    m->set = vv_alloc(sizeof *m->set);
    if (m->set == NULL)
        return vv_fail(err, VV_NO_MEMORY, "multi get: no memory");
    memset(m->set->bucket, 0, sizeof m->set->bucket);
    m->set->free = NULL;
    m->set->made = 0; /* a fetch is filled when it is taken */
    return VV_OK;
}

/* Unpack what is answered. The room it left in the queue is used first, so that the disk has work
 * meanwhile. */
static void end_answered(multi *m)
{
    fetch *ready[FETCHES];
    unsigned count = m->answered_count;
    for (unsigned i = 0; i < count; i++)
        ready[i] = m->answered[i];
    m->answered_count = 0;
    if (begin_fetches(m) > 0)
        (void)vio_poll(m->queue, 0);
    for (unsigned i = 0; i < count; i++)
        end_fetch(m, ready[i]);
}

static void fetch_all(multi *m)
{
    vv_error why;
    vv_status st = prepare_to_fetch(m, &why);
    if (st != VV_OK) {
        for (multi_key *k = m->wanted; k != NULL; k = k->next)
            answer_failed(m, k, st, &why);
        return;
    }
    assert(m->queue != NULL && m->set != NULL);
    while (m->wanted != NULL || m->busy_count > 0) {
        (void)begin_fetches(m);
        if (m->answered_count == 0)
            (void)vio_poll(m->queue, 1);
        end_answered(m);
    }
    vv_free(m->set);
}

/* ---- merges and values apart ---- */

static void resolve_all(multi *m)
{
    for (size_t i = 0; m->unresolved > 0 && i < m->count; i++) {
        multi_key *k = &m->keys[i];
        if (k->walk.kind == ENGINE_PUT)
            continue;
        vv_error why = in_file;
        const lsm_found found = {.kind = k->walk.kind,
                                 .key = k->walk.key,
                                 .reference = vv_slice_of(k->walk.ref, LSM_VALUE_REF)};
        vv_status st =
            lsm_give_resolved(m->e, m->at.view, &found, m->at.read, &m->out[k->index], &why);
        if (st != VV_OK)
            answer_failed(m, k, st, &why);
        m->unresolved--;
    }
}

/* ---- the call ---- */

static int by_key(const void *a, const void *b)
{
    return vv_slice_cmp(((const multi_key *)a)->walk.key, ((const multi_key *)b)->walk.key);
}

static void count_hits(const multi *m)
{
    pgc_counter *c = pgc_my_counter(pgc_cache_counters(m->e->store.cache));
    atomic_fetch_add_explicit(&c->hits, m->at.hits, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->misses, m->misses, memory_order_relaxed);
}

static void walk_all(multi *m)
{
    vv_epoch_enter();
    for (size_t i = 0; i < m->count; i++) {
        multi_key *k = &m->keys[i];
        take_end(m, k, lsm_walk_start(&m->at, &k->walk, &m->out[k->index]));
    }
    vv_epoch_exit();
}

vv_status lsm_multi_get(engine *base, const vv_slice *keys, size_t count, const engine_read *read,
                        engine_value *out, vv_status *status, vv_error *err)
{
    multi m = {.e = lsm_engine_of(base),
               .count = count,
               .out = out,
               .status = status,
               .failed = UINT32_MAX};
    assert(count < UINT32_MAX);
    m.keys = vv_alloc(count * sizeof *m.keys);
    if (m.keys == NULL) {
        for (size_t i = 0; i < count; i++)
            status[i] = VV_NO_MEMORY;
        return vv_fail(err, VV_NO_MEMORY, "multi get: no memory for %zu keys", count);
    }
    for (size_t i = 0; i < count; i++)
        m.keys[i] = (multi_key){.walk = lsm_walk_of(keys[i]), .index = (uint32_t)i};
    qsort(m.keys, count, sizeof *m.keys, by_key);
    m.at = (lsm_walker){.read = read, .view = lsm_view_acquire(m.e)};
    walk_all(&m);
    if (m.wanted != NULL)
        fetch_all(&m);
    resolve_all(&m);
    lsm_view_release(m.e, m.at.view);
    count_hits(&m);
    vv_free(m.keys);
    if (m.failed == UINT32_MAX)
        return VV_OK;
    if (err != NULL)
        *err = m.error;
    return m.error.status;
}
