/*
 * source.h - an ordered stream of stored versions: what a memtable and a run look like to a merge.
 *
 * Order: key ascending, then version descending. Where an entry merged a key that it had written
 * before, a memtable gives both, the later one first; else no (key, version) comes twice. A source
 * gives every version it holds, deletions included; the merge (cursor.h) decides what a snapshot
 * sees. Range deletions come apart, as a set (rangedel.h). Keys are at most ENGINE_KEY_MAX bytes
 * long. Item slices are valid until the source moves or closes; a key handed to seek must not be
 * one of them.
 */
#ifndef VARVE_ENGINE_SOURCE_H
#define VARVE_ENGINE_SOURCE_H

#include <stdbool.h>

#include "engine/entry.h"

typedef struct engine_item {
    vv_slice key;
    vv_slice value;
    int64_t version;
    int64_t expires_ns;
    engine_kind kind; /* ENGINE_PUT, ENGINE_DELETE, ENGINE_MERGE: value is an operand (operand.h),
                         or ENGINE_APART: value is a reference that the engine resolves */
} engine_item;

typedef struct engine_rangedels engine_rangedels;
typedef struct engine_source engine_source;

typedef struct engine_source_ops {
    /* First item at or after (key, version): the newest version <= version of key, or what follows.
     */
    vv_status (*seek)(engine_source *src, vv_slice key, int64_t version, vv_error *err);
    /* Last item whose key is below key; an empty key with len 0 and data NULL means the very last.
     */
    vv_status (*seek_below)(engine_source *src, vv_slice key, vv_error *err);
    vv_status (*next)(engine_source *src, vv_error *err); /* only when valid */
    vv_status (*prev)(engine_source *src, vv_error *err); /* only when valid */
    void (*close)(engine_source *src);                    /* frees it and its pins */
    /* Optional, all three or none (NULL): whole keys as a snapshot sees them, without the steps
     * over the versions between. Each ends at the newest version <= version of a key that has one:
     * of the next key after the item's, of the last before the item's, of the last below key (data
     * NULL: of all). The first two only when valid. */
    vv_status (*next_key)(engine_source *src, int64_t version, vv_error *err);
    vv_status (*prev_key)(engine_source *src, int64_t version, vv_error *err);
    vv_status (*seek_below_at)(engine_source *src, vv_slice key, int64_t version, vv_error *err);
} engine_source_ops;

struct engine_source {
    const engine_source_ops *ops;
    bool valid;                        /* item holds something */
    engine_item item;                  /* under valid */
    const engine_rangedels *rangedels; /* fixed; NULL: none; lives as long as the source */
};

static inline vv_status engine_source_seek(engine_source *s, vv_slice key, int64_t version,
                                           vv_error *err)
{
    return s->ops->seek(s, key, version, err);
}
static inline vv_status engine_source_seek_below(engine_source *s, vv_slice key, vv_error *err)
{
    return s->ops->seek_below(s, key, err);
}
static inline vv_status engine_source_next(engine_source *s, vv_error *err)
{
    return s->ops->next(s, err);
}
static inline vv_status engine_source_prev(engine_source *s, vv_error *err)
{
    return s->ops->prev(s, err);
}
static inline void engine_source_close(engine_source *s)
{
    if (s != NULL)
        s->ops->close(s);
}

#endif
