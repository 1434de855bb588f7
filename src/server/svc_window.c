/*
 * svc_window.c - see svc_window.h: a ring of entries, and chains of them by hash.
 */
#include "server/svc_window.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/lock.h"

#define BUCKETS (2 * SVC_WINDOW_IDS)
#define NONE UINT32_MAX

typedef struct entry {
    svc_window_id id;
    uint64_t content;
    uint64_t offset;
    uint32_t next; /* of its chain */
    bool is_used;
    bool is_pending;
} entry;

struct svc_window {
    vv_mutex lock; /* rank VV_RANK_LEAF: what follows */
    uint32_t hand; /* the entry that is taken next: the oldest */
    uint32_t table_hand;
    uint32_t table_count;
    uint32_t tables[SVC_WINDOW_TABLES];
    uint32_t bucket[BUCKETS];
    entry entries[SVC_WINDOW_IDS];
};

svc_window *svc_window_create(void)
{
    svc_window *w = vv_calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    for (uint32_t i = 0; i < BUCKETS; i++)
        w->bucket[i] = NONE;
    vv_mutex_init(&w->lock, VV_RANK_LEAF);
    return w;
}

void svc_window_destroy(svc_window *w)
{
    if (w == NULL)
        return;
    vv_mutex_fini(&w->lock);
    vv_free(w);
}

svc_window_id svc_window_id_of(uint32_t table, vv_slice id)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(id.data, id.len, table);
    return (svc_window_id){h.high64, h.low64};
}

static uint32_t *chain_of(svc_window *w, svc_window_id id)
{
    return &w->bucket[id.low % BUCKETS];
}

static entry *find_locked(svc_window *w, svc_window_id id) VV_REQUIRES(w->lock)
{
    for (uint32_t i = *chain_of(w, id); i != NONE; i = w->entries[i].next)
        if (w->entries[i].id.low == id.low && w->entries[i].id.high == id.high)
            return &w->entries[i];
    return NULL;
}

/* The entry stays in its place of the ring, unused, until the hand comes by. */
static void unlink_locked(svc_window *w, entry *e) VV_REQUIRES(w->lock)
{
    uint32_t *at = chain_of(w, e->id);
    const uint32_t index = (uint32_t)(e - w->entries);
    while (*at != index)
        at = &w->entries[*at].next;
    *at = e->next;
    e->is_used = false;
}

static entry *add_locked(svc_window *w, svc_window_id id, uint64_t content) VV_REQUIRES(w->lock)
{
    const uint32_t index = w->hand;
    entry *e = &w->entries[index];
    w->hand = (w->hand + 1) % SVC_WINDOW_IDS;
    if (e->is_used)
        unlink_locked(w, e);
    uint32_t *chain = chain_of(w, id);
    *e = (entry){.id = id, .content = content, .next = *chain, .is_used = true};
    *chain = index;
    return e;
}

svc_window_state svc_window_begin(svc_window *w, svc_window_id id, uint64_t content,
                                  uint64_t *offset)
{
    svc_window_state state = SVC_WINDOW_NEW;
    vv_mutex_lock(&w->lock);
    const entry *e = find_locked(w, id);
    if (e == NULL) {
        add_locked(w, id, content)->is_pending = true;
    } else {
        *offset = e->offset;
        state = e->content != content ? SVC_WINDOW_OTHER
                : e->is_pending       ? SVC_WINDOW_PENDING
                                      : SVC_WINDOW_STORED;
    }
    vv_mutex_unlock(&w->lock);
    return state;
}

void svc_window_end(svc_window *w, svc_window_id id, bool is_stored, uint64_t offset)
{
    vv_mutex_lock(&w->lock);
    entry *e = find_locked(w, id); /* NULL: so many came since that it left */
    if (e != NULL && is_stored) {
        e->offset = offset;
        e->is_pending = false;
    } else if (e != NULL) {
        unlink_locked(w, e);
    }
    vv_mutex_unlock(&w->lock);
}

bool svc_window_has_table(svc_window *w, uint32_t table)
{
    bool found = false;
    vv_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < w->table_count && !found; i++)
        found = w->tables[i] == table;
    vv_mutex_unlock(&w->lock);
    return found;
}

void svc_window_learn(svc_window *w, svc_window_id id, uint64_t content, uint64_t offset)
{
    vv_mutex_lock(&w->lock);
    if (find_locked(w, id) == NULL)
        add_locked(w, id, content)->offset = offset;
    vv_mutex_unlock(&w->lock);
}

void svc_window_add_table(svc_window *w, uint32_t table)
{
    vv_mutex_lock(&w->lock);
    w->tables[w->table_hand] = table;
    w->table_hand = (w->table_hand + 1) % SVC_WINDOW_TABLES;
    if (w->table_count < SVC_WINDOW_TABLES)
        w->table_count++;
    vv_mutex_unlock(&w->lock);
}
