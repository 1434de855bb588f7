/*
 * svc_window.c - see svc_window.h: of each table a ring of entries, and chains of them by hash.
 */
#include "server/svc_window.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/lock.h"

#define NONE UINT32_MAX
#define CAP_FIRST 256u
#define TABLE_BUCKETS 1024u

typedef struct entry {
    svc_window_id id;
    uint64_t content;
    uint64_t offset;
    uint32_t next; /* of its chain */
    bool is_used;
    bool is_pending;
} entry;

typedef struct window {
    struct window *next; /* in its bucket */
    uint32_t table;
    uint32_t cap;     /* a power of two */
    uint32_t hand;    /* the entry that is taken next: behind the newest */
    uint32_t begun;   /* appends on their way */
    uint64_t used;    /* the count of uses when it was used last */
    entry *ring;      /* [cap] */
    uint32_t *bucket; /* [2 * cap] */
    bool is_learning;
    uint32_t waiting;
    svc_waiter *first;
    svc_waiter **last;
} window;

struct svc_windows {
    vv_budget *budget;
    uint64_t bytes_max;
    vv_mutex lock; /* rank VV_RANK_LEAF: what follows */
    uint64_t bytes;
    uint64_t uses;
    window *table[TABLE_BUCKETS];
};

svc_window_id svc_window_id_of(vv_slice id)
{
    XXH128_hash_t h = XXH3_128bits(id.data, id.len);
    return (svc_window_id){h.high64, h.low64};
}

static uint64_t bytes_of(uint32_t cap)
{
    return sizeof(window) + cap * (sizeof(entry) + 2 * sizeof(uint32_t));
}

svc_windows *svc_windows_create(vv_budget *budget, uint64_t bytes_max)
{
    svc_windows *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->budget = budget;
    w->bytes_max = bytes_max > bytes_of(SVC_WINDOW_IDS) ? bytes_max : bytes_of(SVC_WINDOW_IDS);
    vv_mutex_init(&w->lock, VV_RANK_LEAF);
    return w;
}

static void free_window(window *one)
{
    vv_free(one->ring);
    vv_free(one->bucket);
    vv_free(one);
}

void svc_windows_destroy(svc_windows *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < TABLE_BUCKETS; i++)
        while (w->table[i] != NULL) {
            window *one = w->table[i];
            assert(one->waiting == 0);
            w->table[i] = one->next;
            free_window(one);
        }
    vv_mutex_fini(&w->lock);
    vv_free(w);
}

/* ---- one window ---- */

static uint32_t *chain_of(const window *one, svc_window_id id)
{
    return &one->bucket[id.low & (2 * one->cap - 1)];
}

static entry *find(const window *one, svc_window_id id)
{
    for (uint32_t i = *chain_of(one, id); i != NONE; i = one->ring[i].next)
        if (one->ring[i].id.low == id.low && one->ring[i].id.high == id.high)
            return &one->ring[i];
    return NULL;
}

/* The entry stays in its place of the ring, unused, until the hand comes by. */
static void unlink_entry(window *one, entry *e)
{
    uint32_t *at = chain_of(one, e->id);
    const uint32_t index = (uint32_t)(e - one->ring);
    while (*at != index)
        at = &one->ring[*at].next;
    *at = e->next;
    e->is_used = false;
}

/* In the place of the oldest. */
static entry *add(window *one, const entry *as)
{
    const uint32_t index = one->hand;
    entry *e = &one->ring[index];
    one->hand = (one->hand + 1) & (one->cap - 1);
    if (e->is_used)
        unlink_entry(one, e);
    uint32_t *chain = chain_of(one, as->id);
    *e = *as;
    e->next = *chain;
    e->is_used = true;
    *chain = index;
    return e;
}

static bool make_ring(window *one, uint32_t cap)
{
    one->ring = vv_calloc(cap, sizeof *one->ring);
    one->bucket = vv_alloc(2 * cap * sizeof *one->bucket);
    if (one->ring == NULL || one->bucket == NULL) {
        vv_free(one->ring);
        vv_free(one->bucket);
        return false;
    }
    memset(one->bucket, 0xff, 2 * cap * sizeof *one->bucket); /* NONE */
    one->cap = cap;
    one->hand = 0;
    return true;
}

/* As many of the newest as the other capacity has room for. False: no memory, and all is as it
 * was. */
static bool resize(window *one, uint32_t cap)
{
    const window old = *one;
    if (!make_ring(one, cap)) {
        one->ring = old.ring;
        one->bucket = old.bucket;
        return false;
    }
    const uint32_t skip = old.cap > cap ? old.cap - cap : 0;
    for (uint32_t i = skip; i < old.cap; i++) {
        const entry *e = &old.ring[(old.hand + i) & (old.cap - 1)];
        if (e->is_used)
            add(one, e);
    }
    vv_free(old.ring);
    vv_free(old.bucket);
    return true;
}

/* ---- all of them ---- */

static window **place_of(svc_windows *w, uint32_t table)
{
    window **at = &w->table[table % TABLE_BUCKETS];
    while (*at != NULL && (*at)->table != table)
        at = &(*at)->next;
    return at;
}

static void count_locked(svc_windows *w, uint64_t from, uint64_t to) VV_REQUIRES(w->lock)
{
    w->bytes = w->bytes - from + to;
    if (to < from)
        vv_budget_release(w->budget, VV_BUDGET_INDEX, from - to);
}

static void remove_locked(svc_windows *w, window *one) VV_REQUIRES(w->lock)
{
    window **at = place_of(w, one->table);
    *at = one->next;
    count_locked(w, bytes_of(one->cap), 0);
    free_window(one);
}

/* Another than `but` that is as large as any. NULL: there is none. */
static window *largest_locked(svc_windows *w, const window *but) VV_REQUIRES(w->lock)
{
    window *found = NULL;
    for (uint32_t i = 0; i < TABLE_BUCKETS; i++)
        for (window *one = w->table[i]; one != NULL; one = one->next)
            if (one != but && (found == NULL || one->cap > found->cap))
                found = one;
    return found;
}

/* The one that was not used for longest, and that nobody needs now. NULL: there is none. */
static window *idlest_locked(svc_windows *w) VV_REQUIRES(w->lock)
{
    window *found = NULL;
    for (uint32_t i = 0; i < TABLE_BUCKETS; i++)
        for (window *one = w->table[i]; one != NULL; one = one->next)
            if (one->begun == 0 && !one->is_learning && (found == NULL || one->used < found->used))
                found = one;
    return found;
}

static bool reserve_locked(svc_windows *w, uint64_t bytes) VV_REQUIRES(w->lock)
{
    return w->bytes + bytes <= w->bytes_max && vv_budget_reserve(w->budget, VV_BUDGET_INDEX, bytes);
}

/* One that is full and not as large as it may be gets twice the room, if no other is as small. */
static void grow_locked(svc_windows *w, window *one) VV_REQUIRES(w->lock)
{
    const uint64_t more = bytes_of(2 * one->cap) - bytes_of(one->cap);
    while (!reserve_locked(w, more)) {
        window *largest = largest_locked(w, one);
        if (largest == NULL || largest->cap <= 2 * one->cap)
            return;
        const uint32_t cap = largest->cap;
        if (!resize(largest, cap / 2))
            return;
        count_locked(w, bytes_of(cap), bytes_of(cap / 2));
    }
    const uint32_t cap = one->cap;
    if (resize(one, 2 * cap))
        count_locked(w, bytes_of(cap), bytes_of(2 * cap));
    else
        vv_budget_release(w->budget, VV_BUDGET_INDEX, more);
}

static entry *put_locked(svc_windows *w, window *one, const entry *as) VV_REQUIRES(w->lock)
{
    if (one->ring[one->hand].is_used && one->cap < SVC_WINDOW_IDS)
        grow_locked(w, one);
    return add(one, as);
}

/* Room for one more table. */
static vv_status make_room_locked(svc_windows *w, vv_error *err) VV_REQUIRES(w->lock)
{
    while (!reserve_locked(w, bytes_of(CAP_FIRST))) {
        window *largest = largest_locked(w, NULL);
        window *idlest = idlest_locked(w);
        if (largest != NULL && largest->cap > SVC_WINDOW_IDS_MIN) {
            const uint32_t cap = largest->cap;
            if (!resize(largest, cap / 2))
                return vv_fail(err, VV_NO_MEMORY, "no memory for the ids of a table's messages");
            count_locked(w, bytes_of(cap), bytes_of(cap / 2));
        } else if (idlest != NULL) {
            remove_locked(w, idlest);
        } else {
            return vv_fail(err, VV_BUSY,
                           "memory_limit leaves no room for the ids of a table's messages: retry "
                           "after a pause");
        }
    }
    return VV_OK;
}

static vv_status create_locked(svc_windows *w, uint32_t table, window **out, vv_error *err)
    VV_REQUIRES(w->lock)
{
    vv_status st = make_room_locked(w, err);
    assert(out != NULL);
    if (st != VV_OK)
        return st;
    window *one = vv_calloc(1, sizeof *one);
    if (one == NULL || !make_ring(one, CAP_FIRST)) {
        vv_free(one);
        vv_budget_release(w->budget, VV_BUDGET_INDEX, bytes_of(CAP_FIRST));
        return vv_fail(err, VV_NO_MEMORY, "no memory for the ids of a table's messages");
    }
    one->table = table;
    one->is_learning = true;
    one->last = &one->first;
    one->next = w->table[table % TABLE_BUCKETS];
    w->table[table % TABLE_BUCKETS] = one;
    count_locked(w, 0, bytes_of(CAP_FIRST));
    *out = one;
    return VV_OK;
}

/* ---- requests ---- */

static vv_status wait_locked(window *one, svc_waiter *waiter, svc_window_state *state,
                             vv_error *err)
{
    if (one->waiting == SVC_WINDOW_WAITERS)
        return vv_fail(err, VV_BUSY,
                       "the ids of the table's newest messages are being read, and %u requests "
                       "wait: retry after a pause",
                       SVC_WINDOW_WAITERS);
    waiter->next = NULL;
    *one->last = waiter;
    one->last = &waiter->next;
    *state = one->waiting++ == 0 ? SVC_WINDOW_LEARN : SVC_WINDOW_WAITS;
    return VV_OK;
}

static void look_up_locked(svc_windows *w, window *one, svc_window_id id, uint64_t content,
                           svc_window_state *state, uint64_t *offset) VV_REQUIRES(w->lock)
{
    const entry *e = find(one, id);
    if (e == NULL) {
        const entry as = {.id = id, .content = content, .is_pending = true};
        (void)put_locked(w, one, &as);
        one->begun++;
        *state = SVC_WINDOW_NEW;
        return;
    }
    *offset = e->offset;
    *state = e->content != content ? SVC_WINDOW_OTHER
             : e->is_pending       ? SVC_WINDOW_PENDING
                                   : SVC_WINDOW_STORED;
}

vv_status svc_window_begin(svc_windows *w, uint32_t table, svc_window_id id, uint64_t content,
                           svc_waiter *waiter, svc_window_state *state, uint64_t *offset,
                           vv_error *err)
{
    vv_status st = VV_OK;
    vv_mutex_lock(&w->lock);
    window *one = *place_of(w, table);
    if (one == NULL)
        st = create_locked(w, table, &one, err);
    if (st == VV_OK) {
        assert(one != NULL);
        one->used = ++w->uses;
        if (one->is_learning)
            st = wait_locked(one, waiter, state, err);
        else
            look_up_locked(w, one, id, content, state, offset);
    }
    vv_mutex_unlock(&w->lock);
    return st;
}

void svc_window_end(svc_windows *w, uint32_t table, svc_window_id id, bool is_stored,
                    uint64_t offset)
{
    vv_mutex_lock(&w->lock);
    window *one = *place_of(w, table);
    assert(one != NULL && one->begun > 0); /* it does not go while something has begun */
    one->begun--;
    entry *e = find(one, id); /* NULL: so many came since that it left */
    if (e != NULL && is_stored) {
        e->offset = offset;
        e->is_pending = false;
    } else if (e != NULL) {
        unlink_entry(one, e);
    }
    vv_mutex_unlock(&w->lock);
}

/* ---- learning ---- */

void svc_window_learn(svc_windows *w, uint32_t table, svc_window_id id, uint64_t content,
                      uint64_t offset)
{
    const entry as = {.id = id, .content = content, .offset = offset};
    vv_mutex_lock(&w->lock);
    window *one = *place_of(w, table);
    assert(one != NULL && one->is_learning);
    entry *e = find(one, id);
    if (e != NULL)
        unlink_entry(one, e);
    (void)put_locked(w, one, &as);
    vv_mutex_unlock(&w->lock);
}

svc_waiter *svc_window_learned(svc_windows *w, uint32_t table, bool is_whole)
{
    vv_mutex_lock(&w->lock);
    window *one = *place_of(w, table);
    assert(one != NULL && one->is_learning);
    svc_waiter *first = one->first;
    one->first = NULL;
    one->last = &one->first;
    one->waiting = 0;
    one->is_learning = false;
    if (!is_whole)
        remove_locked(w, one);
    vv_mutex_unlock(&w->lock);
    return first;
}

uint32_t svc_window_capacity(svc_windows *w, uint32_t table)
{
    vv_mutex_lock(&w->lock);
    const window *one = *place_of(w, table);
    const uint32_t cap = one == NULL ? 0 : one->cap;
    vv_mutex_unlock(&w->lock);
    return cap;
}
