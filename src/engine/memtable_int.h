/*
 * memtable_int.h - the parts of a memtable and how they hang together.
 *
 *   hash slot ------> newest record --older--> ... --older--> first record of the key
 *                        ^    |                                  |      ^
 *                        |    +------------- link ---------------|------+
 *                        +------------------ link ---------------+      |
 *   tree leaf ----------------------------------------------------------+
 *
 * A key's first record stands in the tree for good, its link names the newest one; the hash names
 * the newest directly. An overwrite therefore touches no tree.
 */
#ifndef VARVE_ENGINE_MEMTABLE_INT_H
#define VARVE_ENGINE_MEMTABLE_INT_H

#include <stdatomic.h>

#include "base/hash.h"
#include "base/util.h"
#include "engine/memtable.h"
#include "engine/memtable_arena.h"
#include "engine/memtable_tree_int.h"
#include "engine/rangedel_int.h"

/* -- the hash index: memtable_hash.c -- */

typedef struct mt_segment_note {
    uint32_t keys;
    bool due; /* waits to be doubled */
} mt_segment_note;

typedef struct mt_hash {
    /* A segment each: address of its slots, binary logarithm of their number << 48; 0: none yet. */
    _Atomic uint64_t *segments;
    unsigned shift;      /* fixed: hash >> shift is the segment */
    unsigned first_log2; /* fixed: slots of a new segment */
    uint64_t seed;       /* fixed */
    /* The writer's. */
    mt_segment_note *notes;
    uint32_t *due; /* segments to be doubled before the next entry */
    uint32_t due_count;
    uint32_t empty_count; /* segments without slots */
} mt_hash;

typedef _Atomic uint64_t mt_slot; /* 16 bits of the hash << 48 | address of the newest record */

/** Sized for about key_count keys in a memtable of size bytes. */
VV_MUST_CHECK vv_status mt_hash_init(mt_hash *h, uint64_t size, uint64_t key_count, uint64_t seed,
                                     vv_error *err);
void mt_hash_fini(mt_hash *h);

static inline uint64_t mt_hash_of(const mt_hash *h, vv_slice key)
{
    return vv_hash64_seed(key.data, key.len, h->seed);
}

/** The newest record of key or NULL. Any thread. */
mt_record *mt_hash_get(const mt_hash *h, uint64_t hash, vv_slice key);
/** Ask for the line that a look-up of hash reads first. */
void mt_hash_prefetch(const mt_hash *h, uint64_t hash);

/* Writer only, as all below. Bytes to reserve in the arena for key_count new keys, after
 * mt_hash_grow_due, and for that. */
size_t mt_hash_need(const mt_hash *h, size_t key_count);
size_t mt_hash_due_need(const mt_hash *h);
/** Double the segments that are due. */
void mt_hash_grow_due(mt_hash *h, mt_arena *a);
/** The slot of key with its newest record in *out, or the slot to use with NULL. */
mt_slot *mt_hash_probe(mt_hash *h, mt_arena *a, uint64_t hash, vv_slice key, mt_record **out);
void mt_hash_store(mt_slot *slot, uint64_t hash, mt_record *r);
/** Note that the key just stored is a new one. */
void mt_hash_added(mt_hash *h, uint64_t hash);

/* -- tables -- */

/* A table's tree, itself a record of the directory: a tree whose keys are table ids. */
typedef struct mt_table {
    mt_record record;
    uint8_t id[8]; /* 4 bytes, big-endian; the record's key */
    mt_tree tree;
    _Atomic uint64_t bytes; /* keys and values applied; relaxed */
} mt_table;
static_assert(offsetof(mt_table, id) == sizeof(mt_record), "the id is the record's key");

static inline const mt_table *mt_table_of(const mt_record *r)
{
    return VV_CONTAINER_OF(r, mt_table, record);
}

/* -- the memtable -- */

#define MT_RECENT_TABLES 64u

struct engine_memtable {
    _Atomic uint32_t refs;
    uint64_t size;  /* fixed */
    mt_arena arena; /* writer */
    mt_hash hash;
    mt_tree directory;
    _Atomic(engine_rangedels *) ranges; /* the newest set, in the arena; NULL: none */
    /* Published for any thread, relaxed. */
    _Atomic uint64_t bytes;
    _Atomic uint64_t items;
    _Atomic int64_t version_max;
    _Atomic bool is_full;
    _Atomic int64_t merge_time; /* of the first merge; INT64_MAX: none */
    /* The writer's. */
    mt_nodes nodes;
    mt_table *recent[MT_RECENT_TABLES]; /* by id, so that most operations find their tree at once */
    uint64_t key_count;
    bool keys_are_new; /* those of the last group were, for the most part */
};

#define MT_NEW_TABLES_MAX 64u /* in one entry, that prepare provides for */

/** Make sure of the memory for an entry of so many bytes and operations that brings so many tables.
 */
VV_MUST_CHECK vv_status mt_reserve(engine_memtable *mt, size_t payload_len, size_t op_count,
                                   size_t tables, vv_error *err);

/** The tree of a table, or NULL. Any thread. */
const mt_table *mt_find_table(const engine_memtable *mt, uint32_t id);

/* -- range deletions: memtable_ranges.c -- */

/* Range deletions of one entry, while it is applied. */
typedef struct mt_entry_ranges {
    rangedel_node *nodes; /* version: index of the operation; in the arena */
    size_t count;
    uint32_t last_op; /* index of the last one */
} mt_entry_ranges;

size_t mt_ranges_need(const engine_memtable *mt, size_t count);
/** Collect the range deletions of a checked payload; copies their keys. */
void mt_ranges_collect(engine_memtable *mt, vv_slice payload, size_t count, mt_entry_ranges *out);
/** Whether a range deletion behind operation op_index of the entry covers key. */
bool mt_ranges_kill(const mt_entry_ranges *ranges, uint32_t op_index, vv_slice key);
/** Publish them at version. */
void mt_ranges_publish(engine_memtable *mt, const mt_entry_ranges *ranges, int64_t version);

#endif
