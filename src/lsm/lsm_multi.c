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
#include "base/hash.h"
#include "base/util.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_value.h"

typedef struct multi_key {
    vv_slice key;
    uint64_t hash;
    int64_t cover;    /* newest range deletion at or below the snapshot over the key so far */
    uint32_t index;   /* in the caller's arrays */
    uint32_t level;   /* of the view: the next to ask, or the one whose block is missing */
    uint32_t block;   /* wanted: the missing block */
    engine_kind kind; /* of what was found: ENGINE_PUT until it is a merge or a reference */
    uint8_t ref[LSM_VALUE_REF];
    lsm_run *run; /* and its run */
    struct multi_key *next;
} multi_key;

/* Fetches whose blocks are being unpacked, beside those that keep the queue full. */
#define FETCHES (2 * VIO_QUEUE_DEPTH)

typedef struct multi multi;

typedef struct fetch {
    lsm_fetch base;
    multi *m;
    multi_key *keys; /* that wait for it */
    bool busy;
} fetch;

struct multi {
    lsm_engine *e;
    const engine_read *read;
    lsm_view *view;
    vio_queue *queue;
    multi_key *keys;
    size_t count;
    engine_value *out;
    vv_status *status;
    uint64_t hits;
    uint64_t misses;
    multi_key *wanted; /* first in, first out */
    multi_key *wanted_end;
    fetch *fetches; /* FETCHES of them, made with the first miss */
    fetch *answered[FETCHES];
    unsigned answered_count;
    unsigned busy_count;
    size_t unresolved; /* merges and references among the answers */
    uint32_t failed;   /* index of the first failed key; UINT32_MAX: none */
    vv_error error;    /* its */
};

/* ---- answers ---- */

static const vv_error in_file = {.status = VV_BUSY, .msg = "a block must be read from its file"};

static void answer_absent(multi *m, const multi_key *k)
{
    m->status[k->index] = VV_NOT_FOUND;
}

static void answer_failed(multi *m, const multi_key *k, vv_status st, const vv_error *why)
{
    m->status[k->index] = st;
    if (k->index < m->failed) {
        m->failed = k->index;
        m->error = *why;
        m->error.status = st;
    }
}

/* Takes a pin of the frame, or none of the memtable. */
static void answer_found(multi *m, multi_key *k, const engine_item *item, pgc_frame *frame,
                         engine_memtable *holder)
{
    if (!engine_item_is_live(item, k->cover, m->read)) {
        answer_absent(m, k);
        return;
    }
    engine_value *out = &m->out[k->index];
    *out = (engine_value){.version = item->version, .expires_ns = item->expires_ns};
    m->status[k->index] = VV_OK;
    if (VV_UNLIKELY(item->kind != ENGINE_PUT)) { /* resolved when nobody waits for a block */
        k->kind = item->kind;
        if (item->kind == ENGINE_APART)
            memcpy(k->ref, item->value.data, LSM_VALUE_REF);
        m->unresolved++;
        return;
    }
    if (holder != NULL) {
        lsm_value_of_memtable(item, holder, out);
    } else {
        pgc_pin(frame);
        out->data = item->value;
        out->pin = frame;
        out->unpin = pgc_unpin;
    }
}

/* ---- the walk of one key ---- */

static void note_cover(const multi *m, multi_key *k, const engine_rangedels *set)
{
    if (VV_LIKELY(set == NULL))
        return;
    int64_t v = engine_rangedels_cover(set, k->key, m->read->version);
    k->cover = v > k->cover ? v : k->cover;
}

/* True: the key has its answer. */
static bool walk_memtables(multi *m, multi_key *k)
{
    engine_item item;
    for (uint32_t i = 0; i < m->view->mem_count; i++) {
        engine_memtable *mem = m->view->mem[i];
        engine_rangedels *set = engine_memtable_rangedels(mem);
        note_cover(m, k, set);
        engine_rangedels_unref(set);
        if (engine_memtable_get(mem, k->key, m->read->version, &item) == VV_OK) {
            answer_found(m, k, &item, NULL, mem);
            return true;
        }
        if (k->cover >= 0) {
            answer_absent(m, k); /* everything older is hidden */
            return true;
        }
    }
    return false;
}

static void want(multi *m, multi_key *k, lsm_run *run, uint32_t block)
{
    k->run = run;
    k->block = block;
    k->next = NULL;
    if (m->wanted == NULL)
        m->wanted = k;
    else
        m->wanted_end->next = k;
    m->wanted_end = k;
}

/* The key's version in a block that is in memory. True: it has its answer. */
static bool look_in_block(multi *m, multi_key *k, pgc_frame *frame)
{
    engine_item item;
    if (!lsm_block_get(pgc_data(frame), k->key, m->read->version, &item))
        return false;
    answer_found(m, k, &item, frame, NULL);
    return true;
}

/* What a level knows of the key. True: it is answered or wants a block. */
static bool walk_level(multi *m, multi_key *k, const lsm_level *level)
{
    lsm_run *run = lsm_level_find(level, k->key);
    if (run == NULL)
        return false;
    note_cover(m, k, run->rangedels);
    if (run->filter != NULL &&
        lsm_filter_test(lsm_filter_line(run->filter, run->filter_lines, k->hash), k->hash)) {
        uint32_t block = lsm_fence_find(&run->fence, k->key, m->read->version);
        pgc_frame *frame = pgc_lookup(run->pages, block);
        if (frame == NULL) {
            if (m->read->from_memory)
                answer_failed(m, k, VV_BUSY, &in_file);
            else
                want(m, k, run, block);
            return true;
        }
        m->hits++;
        if (look_in_block(m, k, frame))
            return true;
    }
    if (k->cover < 0)
        return false;
    answer_absent(m, k);
    return true;
}

/* In a section. */
static void walk(multi *m, multi_key *k)
{
    for (; k->level < m->view->level_count; k->level++)
        if (walk_level(m, k, m->view->level[k->level]))
            return;
    answer_absent(m, k);
}

/* ---- fetching ---- */

static void note_answer(vio_req *req)
{
    fetch *f = VV_CONTAINER_OF(VV_CONTAINER_OF(req, lsm_fetch, req), fetch, base);
    f->m->answered[f->m->answered_count++] = f;
}

/* The fetch of this block that is under way, or NULL. */
static fetch *find_fetch(const multi *m, const multi_key *k)
{
    for (unsigned i = 0; m->busy_count > 0 && i < FETCHES; i++) {
        fetch *f = &m->fetches[i];
        if (f->busy && f->base.run == k->run && f->base.block == k->block)
            return f;
    }
    return NULL;
}

static fetch *free_fetch(const multi *m)
{
    for (unsigned i = 0; i < FETCHES; i++)
        if (!m->fetches[i].busy)
            return &m->fetches[i];
    return NULL;
}

static vv_status begin_fetch(multi *m, multi_key *k, vv_error *err)
{
    fetch *f = free_fetch(m);
    assert(f != NULL); /* the queue had room */
    vv_status st = lsm_fetch_prepare(&f->base, k->run, k->block, m->queue, err);
    if (st != VV_OK)
        return st;
    f->m = m;
    f->base.req.done = note_answer;
    vio_req *req = &f->base.req;
    st = vio_submit(m->queue, &req, 1, err);
    if (st != VV_OK) {
        lsm_fetch_drop(&f->base);
        return st;
    }
    m->misses++;
    m->busy_count++;
    f->busy = true;
    f->keys = k;
    k->next = NULL;
    return VV_OK;
}

/* Another key or thread brought the block meanwhile: walk on. */
static bool walk_if_cached(multi *m, multi_key *k)
{
    vv_epoch_enter();
    bool is_here = pgc_lookup(k->run->pages, k->block) != NULL;
    if (is_here)
        walk(m, k);
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
    vv_status st = lsm_fetch_finish(&f->base, &frame, &why);
    if (st == VV_OK)
        pgc_publish(f->base.run->pages, f->base.block, frame);
    multi_key *after;
    vv_epoch_enter();
    for (multi_key *k = f->keys; k != NULL; k = after) {
        after = k->next;
        if (st != VV_OK) {
            answer_failed(m, k, st, &why);
        } else if (!look_in_block(m, k, frame)) {
            if (k->cover >= 0) {
                answer_absent(m, k);
            } else {
                k->level++;
                walk(m, k);
            }
        }
    }
    vv_epoch_exit();
    if (frame != NULL)
        pgc_unpin(frame);
    f->busy = false;
    m->busy_count--;
}

static vv_status prepare_to_fetch(multi *m, vv_error *err)
{
    vv_status st = vio_queue_of_thread(m->e->store.env->io, &m->queue, err);
    if (st != VV_OK)
        return st;
    m->fetches = vv_calloc(FETCHES, sizeof *m->fetches);
    if (m->fetches == NULL)
        return vv_fail(err, VV_NO_MEMORY, "multi get: no memory");
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
    assert(m->queue != NULL && m->fetches != NULL);
    while (m->wanted != NULL || m->busy_count > 0) {
        (void)begin_fetches(m);
        if (m->answered_count == 0)
            (void)vio_poll(m->queue, 1);
        end_answered(m);
    }
    vv_free(m->fetches);
}

/* ---- merges and values apart ---- */

static void resolve_all(multi *m)
{
    for (size_t i = 0; m->unresolved > 0 && i < m->count; i++) {
        multi_key *k = &m->keys[i];
        if (k->kind == ENGINE_PUT)
            continue;
        vv_error why = in_file;
        const lsm_found found = {
            .kind = k->kind, .key = k->key, .reference = vv_slice_of(k->ref, LSM_VALUE_REF)};
        vv_status st = lsm_give_resolved(m->e, m->view, &found, m->read, &m->out[k->index], &why);
        if (st != VV_OK)
            answer_failed(m, k, st, &why);
        m->unresolved--;
    }
}

/* ---- the call ---- */

static int by_key(const void *a, const void *b)
{
    return vv_slice_cmp(((const multi_key *)a)->key, ((const multi_key *)b)->key);
}

static void count_hits(const multi *m)
{
    pgc_counter *c = pgc_my_counter(pgc_cache_counters(m->e->store.cache));
    atomic_fetch_add_explicit(&c->hits, m->hits, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->misses, m->misses, memory_order_relaxed);
}

static void walk_all(multi *m)
{
    vv_epoch_enter();
    for (size_t i = 0; i < m->count; i++) {
        multi_key *k = &m->keys[i];
        if (walk_memtables(m, k))
            continue;
        k->hash = vv_hash64(k->key.data, k->key.len);
        walk(m, k);
    }
    vv_epoch_exit();
}

vv_status lsm_multi_get(engine *base, const vv_slice *keys, size_t count, const engine_read *read,
                        engine_value *out, vv_status *status, vv_error *err)
{
    multi m = {.e = lsm_engine_of(base),
               .read = read,
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
        m.keys[i] = (multi_key){.key = keys[i], .cover = -1, .index = (uint32_t)i};
    qsort(m.keys, count, sizeof *m.keys, by_key);
    m.view = lsm_view_acquire(m.e);
    walk_all(&m);
    if (m.wanted != NULL)
        fetch_all(&m);
    resolve_all(&m);
    lsm_view_release(m.e, m.view);
    count_hits(&m);
    vv_free(m.keys);
    if (m.failed == UINT32_MAX)
        return VV_OK;
    if (err != NULL)
        *err = m.error;
    return m.error.status;
}
