/*
 * epoch.c - three-epoch reclamation over a list of per-thread slots.
 *
 * A slot holds 0 outside a section and the global epoch it saw inside. An item retired in epoch e
 * may be freed when every slot is 0 or above e: a reader that entered later began after the item
 * was unpublished. The store on entry is an exchange: the reads of the section must not pass it.
 */
#include "base/epoch.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/lock.h"
#include "base/util.h"

#define COLLECT_EVERY 64u

typedef struct slot {
    _Alignas(64) _Atomic uint64_t epoch; /* 0: outside; written by its thread */
    _Atomic int taken;                   /* claimed by a living thread */
    unsigned depth;                      /* its thread only */
    struct slot *next;                   /* fixed before it is published */
} slot;

typedef struct item {
    struct item *next;
    uint64_t epoch;
    void *ptr;
    void (*fn)(void *ptr);
} item;

static _Atomic uint64_t global_epoch = 1;
static _Atomic(slot *) slots; /* only grows */
static _Thread_local slot *my_slot;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static vv_mutex limbo_lock; /* rank leaf */
static item *limbo_head;    /* oldest first, under limbo_lock */
static item **limbo_tail = &limbo_head;
static size_t limbo_count;

static void thread_exit(void *arg)
{
    slot *s = arg;
    atomic_store_explicit(&s->epoch, 0, memory_order_release);
    atomic_store_explicit(&s->taken, 0, memory_order_release);
    my_slot = NULL;
}

static void init_once(void)
{
    vv_mutex_init(&limbo_lock, VV_RANK_LEAF);
    if (pthread_key_create(&exit_key, thread_exit) != 0)
        abort();
}

static slot *claim_slot(void)
{
    (void)pthread_once(&once, init_once);
    slot *s;
    for (s = atomic_load_explicit(&slots, memory_order_acquire); s != NULL; s = s->next) {
        int free_mark = 0;
        if (atomic_compare_exchange_strong(&s->taken, &free_mark, 1))
            goto claimed;
    }
    /* Not vv_alloc: a reader cannot report a failure, and slots live as long as the process. */
    s = aligned_alloc(64, sizeof *s);
    if (s == NULL)
        abort();
    *s = (slot){.taken = 1};
    s->next = atomic_load(&slots);
    while (!atomic_compare_exchange_weak(&slots, &s->next, s))
        continue;
claimed:
    s->depth = 0;
    my_slot = s;
    (void)pthread_setspecific(exit_key, s);
    return s;
}

void vv_epoch_enter(void)
{
    slot *s = my_slot;
    if (VV_UNLIKELY(s == NULL))
        s = claim_slot();
    if (s->depth++ == 0)
        (void)atomic_exchange(&s->epoch, atomic_load_explicit(&global_epoch, memory_order_relaxed));
}

void vv_epoch_exit(void)
{
    slot *s = my_slot;
    assert(s != NULL && s->depth > 0);
    if (--s->depth == 0)
        atomic_store_explicit(&s->epoch, 0, memory_order_release);
}

/* The oldest epoch a reader is in, or the current one when there is none. */
static uint64_t oldest_epoch(void)
{
    uint64_t oldest = atomic_load(&global_epoch);
    for (slot *s = atomic_load_explicit(&slots, memory_order_acquire); s != NULL; s = s->next) {
        uint64_t e = atomic_load(&s->epoch);
        if (e != 0 && e < oldest)
            oldest = e;
    }
    return oldest;
}

static item *take_ripe(uint64_t oldest)
{
    item *ripe = NULL;
    item **tail = &ripe;
    vv_mutex_lock(&limbo_lock);
    while (limbo_head != NULL && limbo_head->epoch < oldest) {
        *tail = limbo_head;
        tail = &limbo_head->next;
        limbo_head = limbo_head->next;
        limbo_count--;
    }
    if (limbo_head == NULL)
        limbo_tail = &limbo_head;
    *tail = NULL;
    vv_mutex_unlock(&limbo_lock);
    return ripe;
}

size_t vv_epoch_collect(void)
{
    (void)pthread_once(&once, init_once);
    atomic_fetch_add(&global_epoch, 1);
    item *ripe = take_ripe(oldest_epoch());
    while (ripe != NULL) {
        item *next = ripe->next;
        ripe->fn(ripe->ptr);
        vv_free(ripe);
        ripe = next;
    }
    vv_mutex_lock(&limbo_lock);
    size_t waiting = limbo_count;
    vv_mutex_unlock(&limbo_lock);
    return waiting;
}

void vv_epoch_drain(void)
{
    assert(my_slot == NULL || my_slot->depth == 0);
    while (vv_epoch_collect() > 0)
        (void)sched_yield();
}

void vv_epoch_retire(void *ptr, void (*fn)(void *ptr))
{
    (void)pthread_once(&once, init_once);
    item *it = vv_alloc(sizeof *it);
    if (it == NULL) {
        assert(my_slot == NULL || my_slot->depth == 0);
        uint64_t now = atomic_fetch_add(&global_epoch, 1);
        while (oldest_epoch() <= now)
            (void)sched_yield();
        fn(ptr);
        return;
    }
    *it = (item){.ptr = ptr, .fn = fn};
    vv_mutex_lock(&limbo_lock);
    it->epoch = atomic_load(&global_epoch);
    *limbo_tail = it;
    limbo_tail = &it->next;
    bool due = ++limbo_count % COLLECT_EVERY == 0;
    vv_mutex_unlock(&limbo_lock);
    if (due)
        (void)vv_epoch_collect();
}
