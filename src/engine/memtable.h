/*
 * memtable.h - the mutable, sorted, in-memory part of a shard: a hash index for point reads and a
 * B+tree for order, over the same records in one arena; one chain of versions a key.
 *
 * One writer at a time (the commit lock); any number of readers, without locks: a point read is
 * wait-free, a tree read validates a sequence lock node by node. Records never move and live as
 * long as the memtable, which is reference counted. A reader finds the memtable inside an epoch
 * section and takes a reference if it wants to keep it (engine_memtable_ref).
 *
 * Visibility is by version: what is applied above the reader's snapshot does not exist for it, so a
 * half-applied batch cannot be seen before its version is published.
 */
#ifndef VARVE_ENGINE_MEMTABLE_H
#define VARVE_ENGINE_MEMTABLE_H

#include "base/budget.h"
#include "engine/rangedel.h"
#include "engine/source.h"
#include "engine/touch.h"

typedef struct engine_memtable engine_memtable;
typedef struct engine_memtable_pool engine_memtable_pool;

/**
 * What dead memtables leave to new ones: up to keep_max populated arenas, counted in the budget,
 * while that is not short, and how many keys to expect. The seed goes into the hash, against chosen
 * keys. An engine has one; each memtable in it holds a reference. Any thread.
 */
VV_MUST_CHECK vv_status engine_memtable_pool_create(vv_budget *budget, uint64_t seed,
                                                    uint32_t keep_max, engine_memtable_pool **out,
                                                    vv_error *err);
/** Accepts NULL. */
void engine_memtable_pool_unref(engine_memtable_pool *pool);

/**
 * Have a populated arena for a memtable of size bytes in the pool, unless it keeps one. Touching
 * fresh memory costs a writer more than its inserts; here a background thread pays, for some ten
 * milliseconds. A failure is no harm. Any thread.
 */
VV_MUST_CHECK vv_status engine_memtable_pool_warm(engine_memtable_pool *pool, uint64_t size,
                                                  vv_error *err);

/** Give back what the pool keeps. False when that is nothing. Any thread. */
bool engine_memtable_pool_trim(engine_memtable_pool *pool);

/** As engine_memtable_create, with the pool's budget and its memory when it has some of the size.
 */
VV_MUST_CHECK vv_status engine_memtable_create_in(engine_memtable_pool *pool, uint64_t size,
                                                  engine_memtable **out, vv_error *err);

/** An empty memtable of about size bytes (its arena grows past it by at most one entry's need).
 * The budget counts its bytes under VV_BUDGET_MEMTABLE; the first 64 KiB are never refused. */
VV_MUST_CHECK vv_status engine_memtable_create(uint64_t size, vv_budget *budget,
                                               engine_memtable **out, vv_error *err);
void engine_memtable_ref(engine_memtable *mt);
/** Frees with the last reference. Accepts NULL. */
void engine_memtable_unref(engine_memtable *mt);

/**
 * Make sure that an entry of payload_len bytes and op_count operations can be applied without a
 * failure: memory is taken now. VV_BUSY when the budget refuses it, VV_NO_MEMORY when the machine
 * does; nothing has changed then.
 */
VV_MUST_CHECK vv_status engine_memtable_prepare(engine_memtable *mt, size_t payload_len,
                                                uint32_t op_count, vv_error *err);

/**
 * Apply one entry. version is above all applied before. Keys and values are copied. Cannot fail on
 * a well-formed payload after engine_memtable_prepare, except with VV_NO_MEMORY (of the machine,
 * the budget is not asked) and nothing applied when the entry is the first to write to more than 64
 * tables; VV_CORRUPT on a malformed one,
 * before any operation of it is applied.
 *
 * A range deletion deletes versions below its own. Within an entry, where all share one version,
 * order decides: an operation that a later range deletion of the entry covers is left out.
 */
VV_MUST_CHECK vv_status engine_memtable_apply_at(engine_memtable *mt, int64_t version,
                                                 int64_t commit_time_ns, vv_slice payload,
                                                 vv_error *err);
/** For payloads without merges, which are what the commit time is for. */
static inline VV_MUST_CHECK vv_status engine_memtable_apply(engine_memtable *mt, int64_t version,
                                                            vv_slice payload, vv_error *err)
{
    return engine_memtable_apply_at(mt, version, 0, payload, err);
}

/** Nothing more will be applied: what was prepared for that and not used, ten times the size of the
 * last entry, is given back. Writer only; readers do not notice. */
void engine_memtable_seal(engine_memtable *mt);

/** Newest version <= snapshot of key, range deletions not considered; VV_NOT_FOUND when there is
 * none here. item borrows the memtable. Any thread. */
VV_MUST_CHECK vv_status engine_memtable_get(const engine_memtable *mt, vv_slice key,
                                            int64_t snapshot, engine_item *item);

/** The newest version of anything that touched key here, unpublished and range deletions included;
 * -1 when nothing did. The resolver's question. Writer only. */
int64_t engine_memtable_last_version(const engine_memtable *mt, vv_slice key);

/** Whether anything in [lower, upper) was touched above since, as engine_ops.touched asks: VV_OK
 * with *out, or VV_NOT_FOUND. The caller holds the memtable. Any thread. */
VV_MUST_CHECK vv_status engine_memtable_touched(engine_memtable *mt, vv_slice lower, vv_slice upper,
                                                int64_t since, engine_touch *out, vv_error *err);

/** The range deletions with a reference for the caller, who holds the memtable (or is in the epoch
 * section that found it); NULL when there are none. Any thread. */
engine_rangedels *engine_memtable_rangedels(const engine_memtable *mt);

/** An ordered source over it. Takes a reference of its own. Give an item count bound for nobody:
 * it sees what is applied later, at higher versions. */
VV_MUST_CHECK vv_status engine_memtable_source(engine_memtable *mt, engine_source **out,
                                               vv_error *err);

/** Last version applied; 0 when empty. */
int64_t engine_memtable_max_version(const engine_memtable *mt);
/** The earliest commit time of a merge here; INT64_MAX without one. Any thread. */
int64_t engine_memtable_merge_time(const engine_memtable *mt);
uint64_t engine_memtable_bytes(const engine_memtable *mt); /* arena in use */
uint64_t engine_memtable_items(const engine_memtable *mt);
/** Bytes of keys and values applied to the tables from one id to before another. A look at each
 * table's counter, none at what it holds. Any thread that holds the memtable. */
uint64_t engine_memtable_table_bytes(const engine_memtable *mt, uint32_t from, uint64_t to);
/** True from `size` bytes on, or when there are so many range deletions that reads suffer. */
bool engine_memtable_is_full(const engine_memtable *mt);

#endif
