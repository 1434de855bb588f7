/*
 * objs_hedge.c - a get that takes long is asked once more, and the first answer wins.
 *
 * Dean and Barroso, "The Tail at Scale", CACM 2013: with hedge_after_ms at the 95th percentile of
 * a get, the second request costs 5 % more requests. Off by default: who pays by the request
 * decides.
 *
 * The second one takes a place of options.concurrency, and is not asked where none is free: whoever
 * waits for one has waited longer. The place is given back with the last answer, as the caller's
 * own is with the first.
 *
 * Both requests run on threads of their own into memory of their own, because the one that lost
 * goes on until its answer comes; its race is freed by whoever leaves it last. Threads that ended
 * are joined by the next hedged get, and by the close.
 */
#include "object/object_int.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

typedef struct runner runner;

/* One get asked by one or two runners. Under the hedges' lock. */
typedef struct race {
    struct objs_hedges *hedges;
    char full[OBJS_FULL_NAME_MAX + 1];
    uint64_t offset;
    size_t len;
    unsigned users;  /* the caller and its runners */
    unsigned asked;  /* runners */
    unsigned failed; /* runners that ended badly */
    unsigned ended;
    bool has_place; /* of the second */
    runner *won;
    runner *last; /* the one that ended last, well or badly */
    vv_cond done;
} race;

struct runner {
    race *race;
    vv_thread *thread;
    bool second;
    bool ended;
    bool started; /* its thread is known */
    uint8_t *out;
    size_t got;
    vv_status st;
    vv_object_info info;
    vv_object_outcome oc;
    vv_error err;
    runner *next; /* of all that are not joined yet */
};

struct objs_hedges {
    vv_object_store *store;
    vv_mutex lock; /* rank VV_RANK_LEAF: guards races and runners */
    runner *runners;
};

vv_status objs_hedges_create(vv_object_store *store, struct objs_hedges **out, vv_error *err)
{
    struct objs_hedges *h = vv_calloc(1, sizeof *h);
    if (h == NULL)
        return vv_fail(err, VV_NO_MEMORY, "hedged requests");
    h->store = store;
    vv_mutex_init(&h->lock, VV_RANK_LEAF);
    *out = h;
    return VV_OK;
}

static void race_leave(struct objs_hedges *h, race *r) VV_REQUIRES(h->lock)
{
    assert(r->hedges == h && r->users > 0);
    (void)h;
    if (--r->users > 0)
        return;
    vv_cond_fini(&r->done);
    vv_free(r);
}

/* Join and free the threads that ended; all of them, waiting, with `all`. */
static void reap(struct objs_hedges *h, bool all)
{
    runner *done = NULL;
    vv_mutex_lock(&h->lock);
    for (runner **at = &h->runners; *at != NULL;) {
        runner *one = *at;
        if (!(one->ended && one->started) && !all) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        one->next = done;
        done = one;
    }
    vv_mutex_unlock(&h->lock);
    while (done != NULL) {
        runner *next = done->next;
        h->store->opt.env.threads->join(done->thread);
        vv_mutex_lock(&h->lock);
        race_leave(h, done->race);
        vv_mutex_unlock(&h->lock);
        vv_free(done->out);
        vv_free(done);
        done = next;
    }
}

void objs_hedges_destroy(struct objs_hedges *h)
{
    if (h == NULL)
        return;
    reap(h, true);
    vv_mutex_fini(&h->lock);
    vv_free(h);
}

static void run(void *arg)
{
    runner *one = arg;
    race *r = one->race;
    struct objs_hedges *h = r->hedges;
    vv_object_store *s = h->store;
    one->st = s->ops->get(s->self, r->full, r->offset, one->out, r->len, &one->got, &one->info,
                          &one->oc, &one->err);
    vv_mutex_lock(&h->lock);
    one->ended = true;
    r->last = one;
    if (one->st != VV_OK)
        r->failed++;
    else if (r->won == NULL)
        r->won = one;
    bool gives = ++r->ended == r->asked && r->has_place;
    r->has_place = r->has_place && !gives;
    vv_cond_broadcast(&r->done);
    vv_mutex_unlock(&h->lock);
    if (gives)
        objs_place_leave(s);
}

static void take_off(struct objs_hedges *h, runner *one) VV_REQUIRES(h->lock)
{
    runner **at = &h->runners;
    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
}

/* Ask, on a thread of its own; it is on the list before it can end. */
static vv_status ask(race *r, bool second, vv_error *err)
{
    struct objs_hedges *h = r->hedges;
    const vv_threads *threads = h->store->opt.env.threads;
    runner *one = vv_calloc(1, sizeof *one);
    uint8_t *out = vv_alloc(r->len + 1);
    if (one == NULL || out == NULL) {
        vv_free(one);
        vv_free(out);
        if (second)
            objs_place_leave(h->store);
        return vv_fail(err, VV_NO_MEMORY, "a hedged get of %zu bytes", r->len);
    }
    one->race = r;
    one->second = second;
    one->out = out;
    vv_mutex_lock(&h->lock);
    r->users++;
    r->asked++;
    r->has_place = second;
    one->next = h->runners;
    h->runners = one;
    vv_mutex_unlock(&h->lock);
    vv_thread *thread = NULL;
    vv_status st = threads->create("objs-get", VV_THREAD_NORMAL, run, one, &thread, err);
    vv_mutex_lock(&h->lock);
    one->thread = thread;
    one->started = st == VV_OK;
    if (st != VV_OK) {
        take_off(h, one);
        r->users--;
        r->asked--;
    }
    vv_mutex_unlock(&h->lock);
    if (st != VV_OK) {
        vv_free(one->out);
        vv_free(one);
    }
    return st;
}

/* Once more, where there is a place for it. */
static void ask_again(race *r)
{
    struct objs_hedges *h = r->hedges;
    vv_object_store *s = h->store;
    if (!objs_place_try(s))
        return;
    if (ask(r, true, NULL) == VV_OK) {
        atomic_fetch_add_explicit(&s->figures.hedges, 1, memory_order_relaxed);
        return;
    }
    vv_mutex_lock(&h->lock);
    bool gives = r->has_place; /* unless the first one ended meanwhile, and gave it */
    r->has_place = false;
    vv_mutex_unlock(&h->lock);
    if (gives)
        objs_place_leave(s);
}

/* Whether somebody won, or all lost. Waits until then, or until the time has come (0: for ever). */
static bool wait_for_end(struct objs_hedges *h, race *r, int64_t timeout_ns) VV_REQUIRES(h->lock)
{
    vv_clock *clock = h->store->opt.env.clock;
    int64_t until = vv_clock_mono(clock) + timeout_ns;
    while (r->won == NULL && r->failed < r->asked) {
        int64_t left = until - vv_clock_mono(clock);
        if (timeout_ns == 0)
            vv_cond_wait(&r->done, &h->lock);
        else if (left <= 0 || !vv_cond_wait_for(&r->done, &h->lock, left))
            break;
    }
    return r->won != NULL || r->failed == r->asked;
}

vv_status objs_hedged_get(objs_call *call, const char *full, uint64_t offset, void *out, size_t len,
                          size_t *got, vv_object_info *info, vv_error *err)
{
    vv_object_store *s = call->store;
    struct objs_hedges *h = s->hedges;
    reap(h, false);
    race *r = vv_calloc(1, sizeof *r);
    if (r == NULL)
        return objs_fault_local(&call->oc, vv_fail(err, VV_NO_MEMORY, "a hedged get"));
    *r = (race){.hedges = h, .offset = offset, .len = len, .users = 1};
    memcpy(r->full, full, strlen(full) + 1);
    vv_cond_init(&r->done);
    vv_status st = ask(r, false, err);
    if (st == VV_OK) {
        vv_mutex_lock(&h->lock);
        bool ended = wait_for_end(h, r, (int64_t)s->opt.opt.hedge_after_ms * VV_NS_PER_MS);
        vv_mutex_unlock(&h->lock);
        if (!ended)
            ask_again(r);
    }
    vv_mutex_lock(&h->lock);
    if (st == VV_OK) {
        (void)wait_for_end(h, r, 0);
        runner *best = r->won != NULL ? r->won : r->last;
        assert(best != NULL);
        uint32_t attempts = call->oc.attempts;
        call->oc = best->oc;
        call->oc.attempts = attempts;
        st = best->st;
        if (st == VV_OK) {
            memcpy(out, best->out, best->got <= len ? best->got : len);
            *got = best->got;
            *info = best->info;
            if (best->second)
                atomic_fetch_add_explicit(&s->figures.hedges_won, 1, memory_order_relaxed);
        } else if (err != NULL) {
            *err = best->err;
        }
    } else {
        (void)objs_fault_local(&call->oc, st);
    }
    race_leave(h, r);
    vv_mutex_unlock(&h->lock);
    return st;
}
