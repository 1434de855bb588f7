/*
 * memtable_source.c - a memtable as an ordered source: tables in order of their ids, in each the
 * leaves of its tree, in each leaf the keys, for each key its chain of versions.
 *
 * It stands on a record in a copy of a leaf. What is applied after the copy has a higher version
 * than any reader's snapshot, so the copy need not know it.
 */
#include "engine/memtable_int.h"

#include "base/alloc.h"
#include "base/error.h"

#define PREFETCH_AHEAD 8u

typedef struct mt_source {
    engine_source base;
    engine_memtable *mt;
    const mt_table *table; /* the leaf's */
    uint32_t index;        /* of the key in the leaf */
    mt_record *first;      /* its first record */
    mt_record *at;         /* the version */
    mt_leaf_copy leaf;
} mt_source;

static inline mt_source *source_of(engine_source *src)
{
    return VV_CONTAINER_OF(src, mt_source, base);
}

static inline void stand_on(mt_source *s, mt_record *r)
{
    s->at = r;
    s->base.valid = true;
    mt_record_item(r, &s->base.item);
}

static VV_ALWAYS_INLINE void prefetch(const mt_source *s, uint32_t index)
{
    if (index >= s->leaf.count)
        return;
    const char *p = (const char *)s->leaf.record[index];
    __builtin_prefetch(p);
    __builtin_prefetch(p + 64);
}

/* The key at index and those behind it. */
static inline void pick(mt_source *s, uint32_t index)
{
    s->index = index;
    s->first = s->leaf.record[index];
}

static inline mt_record *newest_of(const mt_source *s)
{
    return mt_load(&s->first->link);
}

static VV_ALWAYS_INLINE void prefetch_from(const mt_source *s, uint32_t index, int step)
{
    for (unsigned i = 0; i < PREFETCH_AHEAD; i++, index += (uint32_t)step)
        prefetch(s, index);
}

/* -- tables -- */

static uint32_t padded_id(vv_slice key)
{
    uint8_t id[ENGINE_TABLE_PREFIX] = {0};
    if (key.len > 0)
        memcpy(id, key.data, key.len < sizeof id ? key.len : sizeof id);
    return vv_get_be32(id);
}

/* The first table with an id >= id, in leaf order; NULL behind the last. */
static const mt_table *table_from(const engine_memtable *mt, uint32_t id)
{
    uint8_t key[ENGINE_TABLE_PREFIX];
    vv_put_be32(key, id);
    mt_leaf_copy copy;
    uint32_t at;
    if (!mt_tree_seek(&mt->directory, vv_slice_of(key, sizeof key), &copy, &at))
        return NULL;
    if (at == copy.count) {
        if (!mt_tree_next_leaf(&copy))
            return NULL;
        at = 0;
    }
    return mt_table_of(copy.record[at]);
}

/* The last table with an id < id, or the last of all; NULL in front of the first. */
static const mt_table *table_below(const engine_memtable *mt, uint32_t id, bool of_all)
{
    uint8_t key[ENGINE_TABLE_PREFIX];
    vv_put_be32(key, id);
    mt_leaf_copy copy;
    uint32_t at;
    if (of_all) {
        if (!mt_tree_last(&mt->directory, &copy))
            return NULL;
        at = copy.count;
    } else if (!mt_tree_seek(&mt->directory, vv_slice_of(key, sizeof key), &copy, &at)) {
        return NULL;
    }
    if (at == 0) {
        if (!mt_tree_prev_leaf(&copy))
            return NULL;
        at = copy.count;
    }
    return mt_table_of(copy.record[at - 1]);
}

static inline uint32_t id_of(const mt_table *table)
{
    return vv_get_be32(table->id);
}

uint64_t engine_memtable_table_bytes(const engine_memtable *mt, uint32_t from, uint64_t to)
{
    uint64_t bytes = 0;
    const mt_table *table = from < to ? table_from(mt, from) : NULL;
    while (table != NULL && id_of(table) < to) {
        bytes += atomic_load_explicit(&table->bytes, memory_order_relaxed);
        table = id_of(table) == UINT32_MAX ? NULL : table_from(mt, id_of(table) + 1);
    }
    return bytes;
}

/* -- keys -- */

/* To the first key of table or, when it has none yet, of those behind it. */
static bool enter_front(mt_source *s, const mt_table *table)
{
    uint32_t index;
    while (table != NULL && !mt_tree_seek(&table->tree, vv_slice_of(NULL, 0), &s->leaf, &index))
        table = id_of(table) == UINT32_MAX ? NULL : table_from(s->mt, id_of(table) + 1);
    s->table = table;
    if (table == NULL)
        return false;
    pick(s, 0);
    prefetch_from(s, 0, 1);
    return true;
}

static bool enter_back(mt_source *s, const mt_table *table)
{
    while (table != NULL && !mt_tree_last(&table->tree, &s->leaf))
        table = table_below(s->mt, id_of(table), false);
    s->table = table;
    if (table == NULL)
        return false;
    pick(s, s->leaf.count - 1);
    prefetch_from(s, s->index, -1);
    return true;
}

/* To the next key; false behind the last. */
static inline bool advance(mt_source *s)
{
    uint32_t index = s->index + 1;
    if (VV_LIKELY(index < s->leaf.count)) {
        prefetch(s, index + PREFETCH_AHEAD - 1);
        pick(s, index);
        return true;
    }
    if (mt_tree_next_leaf(&s->leaf)) {
        if (s->leaf.next != NULL)
            __builtin_prefetch(s->leaf.next);
        prefetch_from(s, 0, 1);
        pick(s, 0);
        return true;
    }
    uint32_t id = id_of(s->table);
    return id != UINT32_MAX && enter_front(s, table_from(s->mt, id + 1));
}

static inline bool retreat(mt_source *s)
{
    if (VV_LIKELY(s->index > 0)) {
        prefetch(s, s->index - PREFETCH_AHEAD);
        pick(s, s->index - 1);
        return true;
    }
    if (mt_tree_prev_leaf(&s->leaf)) {
        pick(s, s->leaf.count - 1);
        prefetch_from(s, s->index, -1);
        return true;
    }
    return enter_back(s, table_below(s->mt, id_of(s->table), false));
}

/* Stand on the first key >= key; false when there is none. */
static bool find(mt_source *s, vv_slice key)
{
    uint32_t id = padded_id(key);
    const mt_table *table = s->table;
    if (table == NULL || id_of(table) != id)
        table = table_from(s->mt, id);
    if (table == NULL || id_of(table) != id)
        return enter_front(s, table);
    uint32_t index;
    if (!mt_tree_seek(&table->tree, key, &s->leaf, &index))
        return enter_front(s, table);
    s->table = table;
    if (index == s->leaf.count) {
        s->index = index - 1;
        return advance(s);
    }
    pick(s, index);
    prefetch_from(s, index, 1);
    return true;
}

/* Stand on the last key < key, or the last of all without data. */
static bool find_below(mt_source *s, vv_slice key)
{
    if (key.data == NULL)
        return enter_back(s, table_below(s->mt, 0, true));
    uint32_t id = padded_id(key);
    const mt_table *table = s->table;
    if (table == NULL || id_of(table) != id)
        table = table_from(s->mt, id);
    uint32_t index;
    if (table == NULL || id_of(table) != id || !mt_tree_seek(&table->tree, key, &s->leaf, &index))
        return enter_back(s, table_below(s->mt, id, false));
    s->table = table;
    s->index = index;
    if (!retreat(s))
        return false;
    prefetch_from(s, s->index, -1);
    return true;
}

/* -- the ops -- */

static mt_record *oldest_of(const mt_source *s)
{
    mt_record *r = newest_of(s);
    for (mt_record *older; (older = mt_load(&r->older)) != NULL;)
        r = older;
    return r;
}

/* Newest version <= version of the key in hand or of the first one after (before) it. */
static inline vv_status settle(mt_source *s, bool found, int64_t version, bool forward)
{
    while (found) {
        mt_record *r = mt_version_at(newest_of(s), version);
        if (VV_LIKELY(r != NULL)) {
            stand_on(s, r);
            return VV_OK;
        }
        found = forward ? advance(s) : retreat(s);
    }
    s->base.valid = false;
    return VV_OK;
}

static vv_status source_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    (void)err;
    mt_source *s = source_of(src);
    bool found = find(s, key);
    if (found && vv_slice_eq(mt_key(s->first), key)) {
        mt_record *r = mt_version_at(newest_of(s), version);
        if (r != NULL) {
            stand_on(s, r);
            return VV_OK;
        }
        found = advance(s);
    }
    return settle(s, found, INT64_MAX, true);
}

static vv_status source_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    (void)err;
    mt_source *s = source_of(src);
    s->base.valid = false;
    if (find_below(s, key))
        stand_on(s, oldest_of(s));
    return VV_OK;
}

static vv_status source_next(engine_source *src, vv_error *err)
{
    (void)err;
    mt_source *s = source_of(src);
    mt_record *older = mt_load(&s->at->older);
    if (older != NULL) {
        stand_on(s, older);
        return VV_OK;
    }
    return settle(s, advance(s), INT64_MAX, true);
}

static vv_status source_prev(engine_source *src, vv_error *err)
{
    (void)err;
    mt_source *s = source_of(src);
    mt_record *newer = NULL; /* the oldest of those above */
    for (mt_record *r = newest_of(s); r != NULL && r != s->at && r->version >= s->at->version;
         r = mt_load(&r->older))
        newer = r;
    if (newer != NULL) {
        stand_on(s, newer);
        return VV_OK;
    }
    src->valid = false;
    if (retreat(s))
        stand_on(s, oldest_of(s));
    return VV_OK;
}

static vv_status source_next_key(engine_source *src, int64_t version, vv_error *err)
{
    (void)err;
    mt_source *s = source_of(src);
    return settle(s, advance(s), version, true);
}

static vv_status source_prev_key(engine_source *src, int64_t version, vv_error *err)
{
    (void)err;
    mt_source *s = source_of(src);
    return settle(s, retreat(s), version, false);
}

static vv_status source_seek_below_at(engine_source *src, vv_slice key, int64_t version,
                                      vv_error *err)
{
    (void)err;
    mt_source *s = source_of(src);
    return settle(s, find_below(s, key), version, false);
}

static void source_close(engine_source *src)
{
    mt_source *s = source_of(src);
    engine_rangedels_unref((engine_rangedels *)(uintptr_t)src->rangedels);
    engine_memtable_unref(s->mt);
    vv_free(s);
}

vv_status engine_memtable_source(engine_memtable *mt, engine_source **out, vv_error *err)
{
    static const engine_source_ops ops = {
        .seek = source_seek,
        .seek_below = source_seek_below,
        .next = source_next,
        .prev = source_prev,
        .close = source_close,
        .next_key = source_next_key,
        .prev_key = source_prev_key,
        .seek_below_at = source_seek_below_at,
    };
    mt_source *s = vv_alloc(sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memtable: no memory for a source");
    s->base = (engine_source){.ops = &ops, .rangedels = engine_memtable_rangedels(mt)};
    s->mt = mt;
    s->table = NULL;
    engine_memtable_ref(mt);
    *out = &s->base;
    return VV_OK;
}
