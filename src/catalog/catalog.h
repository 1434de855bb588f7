/*
 * catalog.h - which tables there are: tenants, tables, their shard and options.
 *
 * The truth is in records: each table has one in the catalog table of shard 0, and an OPEN record
 * in the system table of its own shard, logged before any data of it. Create and drop are steps,
 * each a logged entry, each idempotent; a table left half-way by a crash is finished at the next
 * open. Ids are never given twice. Everything known is kept in memory. Bytes:
 * docs/format/catalog.md.
 *
 *   create   none --CREATING on shard 0--> OPEN on each of its shards --READY on shard 0--> usable
 *   drop     usable --DROPPING on shard 0--> data and OPEN removed on each --removed on shard 0-->
 *   (a table that lives on shard 0 alone takes one entry for either)
 *
 * A table lies on the shard of its tenant. One with partitions lies on several, a key's shard told
 * by its hash: cat_table_shard. Its id is the same on all of them.
 *
 * An alter is one entry on shard 0: what the table keeps from then on. Memory follows it.
 *
 * Threads: any. One create, drop or alter at a time; look-ups wait for none of it.
 */
#ifndef VARVE_CATALOG_CATALOG_H
#define VARVE_CATALOG_CATALOG_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/budget.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "varve/series.h"
#include "varve/tier.h"

/* Table ids that no user's table gets. Frozen: on disk. */
#define CAT_TABLE_SYSTEM 1u        /* of every shard: OPEN records, producers, time marks */
#define CAT_TABLE_CATALOG 2u       /* of shard 0 */
#define CAT_TABLE_FIRST 16u        /* the first id given to a user's table */
#define CAT_TABLE_LAST 0x0ffffff0u /* in each slot */
#define CAT_ENGINE_NAME_MAX 15u
#define CAT_PARTITIONS_MAX 64u /* one a shard */
/* The upper bits of a table id say where its engine is among the shard's: route.h. */
#define CAT_SLOTS 16u
#define CAT_SLOT_SHIFT 28u
static inline uint32_t cat_slot(uint32_t table_id)
{
    return table_id >> CAT_SLOT_SHIFT;
}
static inline uint32_t cat_sequence(uint32_t table_id)
{
    return table_id & ((UINT32_C(1) << CAT_SLOT_SHIFT) - 1);
}

/* First key byte in the system table. Frozen. */
#define CAT_SYSTEM_OPEN 'O'
#define CAT_SYSTEM_PRODUCER 'P'
#define CAT_SYSTEM_TIME 'T'
#define CAT_SYSTEM_DYING 'D' /* an object of a dropped table, by db_tier_drop.c */
#define CAT_SYSTEM_PIN 'N'   /* what a repository of backups may lead to: db_tier_pin.c */
#define CAT_SYSTEM_BULK 'B'  /* only ever deleted: the entry of a bulk load */

/* Frozen: on disk. */
typedef enum cat_state {
    CAT_CREATING = 1,
    CAT_READY = 2,
    CAT_DROPPING = 3,
} cat_state;

/* Begins what the layer above attaches to a table, in its own way, once. Goes with the table. */
typedef struct cat_extra {
    void (*destroy)(struct cat_extra *extra);
} cat_extra;

#define CAT_KEEP_MAX 4096u /* bytes of the rules of a table */

/* Which series of a table are kept for how long: cat_keep.c. One block. */
typedef struct cat_keep {
    struct cat_keep *older; /* rules that the table had before: some may be read yet */
    uint32_t count;
    vv_keep_rule rule[VV_KEEP_RULES_MAX]; /* their texts lie in bytes */
    size_t len;
    uint8_t bytes[]; /* as in the record */
} cat_keep;

#define CAT_ARCHIVE_SAID 15u     /* every bit of vv_archive_rule.said */
#define CAT_ARCHIVE_KEY_MAX 255u /* bytes of a template of names */

/* How the messages of a stream table are archived, as it was made: cat_archive.c. One block. */
typedef struct cat_archive {
    struct cat_archive *older; /* as cat_keep.older */
    vv_archive_rule rule;      /* its key is NULL or the end of bytes */
    size_t len;
    uint8_t bytes[]; /* as in the record, and a NUL */
} cat_archive;

/* Rules by which a stream table makes attributes, as they were given. One block. */
typedef struct cat_extract {
    struct cat_extract *older; /* as cat_keep.older */
    const char *rules;         /* in bytes, like the next */
    vv_slice schema;
    size_t len;      /* of the record's part */
    uint8_t bytes[]; /* that, then the rules again, with a NUL */
} cat_extract;

#define CAT_OUT_OF_ORDER_DEFAULT_NS (INT64_C(3600) * 1000000000)
#define CAT_FUTURE_DEFAULT_NS (INT64_C(86400) * 1000000000)
#define CAT_MESSAGE_DEFAULT (12u * 1024 * 1024) /* VV_STREAM_MESSAGE_MAX */
#define CAT_PRODUCER_DEFAULT_NS (INT64_C(86400) * 1000000000)
#define CAT_PRODUCERS_DEFAULT 10000u
#define CAT_PRODUCERS_MAX 1000000u

/* One table. Everything but the atomics is fixed once it is READY; those without another word
 * change when it is altered, each on its own. */
typedef struct cat_table {
    _Atomic uint32_t refs;
    _Atomic bool is_dropping; /* writes end: set under the commit lock with the entry that removes
                                 the data, so that none follows it in the log */
    _Atomic bool is_dropped;  /* reads end: set when that entry is durable, not before, because a
                                 log that fails must not take away what a reopen brings back */
    cat_state state;          /* under the lock of create and drop */
    vv_table_kind kind;
    uint32_t id;
    uint32_t index_id;        /* the time index of a record table; 0: none */
    uint32_t shard;           /* of the tenant: the whole table's, or its first partition's */
    uint32_t partition_count; /* 1: placed by tenant; more: hashed by key over as many shards */
    uint32_t shard_count;     /* of the store; not in the record */
    _Atomic int64_t version_retention_ns;
    _Atomic int64_t kept_from_ns; /* wall time: what is older may be gone already, though it is to
                                     be kept for longer now; 0: nothing may */
    int64_t created_ns;
    vv_compression compression;
    uint64_t value_threshold;     /* 0: the default */
    _Atomic int64_t retention_ns; /* of a series or stream table; 0: none */
    int64_t out_of_order_ns;      /* of a series table, like the next three */
    _Atomic int64_t future_ns;
    bool no_rollups;
    _Atomic int64_t rollup_retention_ns[2]; /* as in the options */
    vv_slice
        keep_bytes; /* rules as in the record, under the lock of create and drop; of len 0: none */
    cat_keep *_Atomic keep;           /* the same, in the table's own memory; NULL: none */
    cat_keep *keep_retired;           /* those of before, by cat_keep.older; under the map's lock */
    vv_slice extract_bytes;           /* of a stream table: its rules of messages, likewise */
    cat_extract *_Atomic extract;     /* as keep */
    cat_extract *extract_retired;     /* as keep_retired */
    _Atomic uint64_t retention_bytes; /* of a stream table, like the next three; 0: none */
    _Atomic uint64_t message_size_max;
    _Atomic int64_t producer_retention_ns;
    _Atomic uint32_t producers_max;
    vv_slice archive_bytes; /* how it is archived, as in the record; of len 0: left to the store */
    cat_archive *_Atomic archive;    /* the same, in the table's own memory; NULL: none */
    cat_archive *archive_retired;    /* as keep_retired */
    struct cat_extra *_Atomic extra; /* what the layer above keeps with the table; see cat_extra */
    char engine[CAT_ENGINE_NAME_MAX + 1];
    char tenant[VV_NAME_MAX + 1];
    char name[VV_NAME_MAX + 1];
    struct cat_table *next_by_name; /* chains of the two hashes */
    struct cat_table *next_by_id;
} cat_table;

/* Where partition p of a table lies: each on a shard of its own, from the tenant's on. Frozen. */
static inline uint32_t cat_partition_shard(const cat_table *table, uint32_t partition)
{
    assert(partition < table->partition_count && table->partition_count <= table->shard_count);
    uint32_t shard = table->shard + partition;
    return shard < table->shard_count ? shard : shard - table->shard_count;
}

/* Where what has this hash lies (of a key: vv_hash64 of its bytes). Frozen: on disk. */
static inline uint32_t cat_table_shard(const cat_table *table, uint64_t hash)
{
    if (table->partition_count == 1)
        return table->shard;
    return cat_partition_shard(table, (uint32_t)(hash % table->partition_count));
}

static inline bool cat_table_is_on(const cat_table *table, uint32_t shard)
{
    uint32_t partition =
        shard >= table->shard ? shard - table->shard : shard + table->shard_count - table->shard;
    return partition < table->partition_count;
}

/* How long a series table keeps minutes (0) and hours (1) of a series whose samples it keeps for
 * samples_ns; 0: for ever. */
static inline int64_t cat_rollup_retention_of(const cat_table *table, unsigned tier,
                                              int64_t samples_ns)
{
    int64_t ns = table->rollup_retention_ns[tier];
    if (ns == 0)
        return samples_ns;
    return ns == INT64_MAX ? 0 : ns;
}

/* The same of series that no rule fits. */
static inline int64_t cat_rollup_retention(const cat_table *table, unsigned tier)
{
    return cat_rollup_retention_of(table, tier, table->retention_ns);
}

/* Of all series of the table, the longest that samples are kept; 0: for ever. */
int64_t cat_keep_longest(const cat_table *table);
/* Likewise the shortest; 0: all of them for ever. */
int64_t cat_keep_shortest(const cat_table *table);

/** Whether a series table keeps rollups. */
static inline bool cat_has_rollups(const cat_table *table)
{
    return !table->no_rollups;
}

typedef struct catalog catalog;

/* How the catalog writes: the commit path, as seen from below. */
typedef struct cat_door {
    void *ctx;
    /* Commit one entry on a shard, durable on return. When dropped is not NULL, set its
     * is_dropping in the moment the entry gets its place in the log, and its is_dropped at the end.
     */
    vv_status (*commit)(void *ctx, uint32_t shard, vv_slice payload, uint32_t op_count,
                        cat_table *dropped, vv_error *err);
    /* Have the engine of a slot on a shard from now on, durable on return. */
    vv_status (*engine)(void *ctx, uint32_t shard, uint32_t slot, vv_error *err);
} cat_door;

typedef struct cat_options {
    cat_door door;
    vv_clock *clock;
    vv_budget *budget;
    const char *engine[CAT_SLOTS]; /* names, by slot; [0] is there */
    uint32_t shard_count;
} cat_options;

/** An empty catalog. Gives *out: cat_close. */
VV_MUST_CHECK vv_status cat_open(const cat_options *opt, catalog **out, vv_error *err);
/** Accepts NULL. Tables still referenced live on. */
void cat_close(catalog *cat);

/** Read every table from shard 0 as of its newest version. Once, before anything else. */
VV_MUST_CHECK vv_status cat_load(catalog *cat, engine *shard0, vv_error *err);
/** Finish what a crash left half-way. Not on a read-only store. */
VV_MUST_CHECK vv_status cat_resume(catalog *cat, vv_error *err);

/** As vv_table_create, with a slot that has an engine in place of opt->engine; an existing table
 * must be in that slot where opt names an engine. Gives *out, a reference: cat_table_unref. */
VV_MUST_CHECK vv_status cat_table_create(catalog *cat, const char *tenant, const char *name,
                                         const vv_table_options *opt, uint32_t slot,
                                         cat_table **out, vv_error *err);
/** As vv_table_open. Gives *out, a reference. */
VV_MUST_CHECK vv_status cat_table_find(catalog *cat, const char *tenant, const char *name,
                                       cat_table **out, vv_error *err);
/* What vv_table_alter is asked for. */
typedef struct cat_change {
    const vv_table_options *to;
    uint64_t fields; /* of it: vv_table_change, together */
    /* What is to be is known, and from here on no less is kept: get ready for these rules (NULL:
     * none), so that nothing can fail later. *from_ns: a wall time that no write before has. Under
     * the lock of create and drop; NULL: nobody needs it. */
    vv_status (*ready)(void *ctx, cat_table *table, const cat_keep *keep, int64_t *from_ns,
                       vv_error *err);
    /* The table is as it is to be, durable and in memory. Under the same lock; may be NULL. */
    void (*done)(void *ctx, cat_table *table);
    void *ctx;
} cat_change;

/** As vv_table_alter. */
VV_MUST_CHECK vv_status cat_table_alter(catalog *cat, const char *tenant, const char *name,
                                        const cat_change *change, vv_error *err);
/** As vv_table_drop. */
VV_MUST_CHECK vv_status cat_table_drop(catalog *cat, const char *tenant, const char *name,
                                       vv_error *err);

void cat_table_ref(cat_table *table);
void cat_table_unref(cat_table *table); /* accepts NULL */

/** The usable tables of tenant (NULL: of all), sorted by tenant and name, each with a reference.
 * Gives *out, count pointers: cat_list_free. */
VV_MUST_CHECK vv_status cat_list(catalog *cat, const char *tenant, cat_table ***out, size_t *count,
                                 vv_error *err);
void cat_list_free(cat_table **tables, size_t count);

size_t cat_count(catalog *cat);

/** How long old versions of a table (or of its index) are kept; 0 for ids unknown or dropped. Takes
 * only a leaf lock. */
int64_t cat_retention(catalog *cat, uint32_t table_id);
/** cat_table.kept_from_ns; likewise. */
int64_t cat_kept_from(catalog *cat, uint32_t table_id);
/** The form of a table's files, its index's too; the default for ids unknown. Takes only a leaf
 * lock. */
engine_form cat_form(catalog *cat, uint32_t table_id);
/** The longest retention of any table of shard; 0 when none keeps old versions. A leaf lock. */
int64_t cat_retention_max(catalog *cat, uint32_t shard);

/**
 * Compare the OPEN records of a shard and the catalog, and decode every record of both, as of the
 * newest version. For vv_check. finding() gets a sentence each. VV_CORRUPT when there was one.
 */
VV_MUST_CHECK vv_status cat_check(catalog *cat, uint32_t shard, engine *eng,
                                  void (*finding)(void *ctx, const char *text), void *ctx,
                                  vv_error *err);

/* The shards of a table: `count` from `shard` on, the last of the store followed by its first. */
typedef struct cat_placed {
    uint32_t shard;
    uint32_t count;
    uint32_t slot;
} cat_placed;

/** Where the data of a table lies, told by an operation of the log. For those who read entries
 * without a catalog. VV_NOT_FOUND: the operation writes no record of a table. */
VV_MUST_CHECK vv_status cat_placement(const engine_op *op, cat_placed *out, vv_error *err);

#endif
