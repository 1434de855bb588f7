/*
 * txn.h - transactions: read at one snapshot, write, and commit all or nothing.
 *
 *     vv_txn_begin --> get, scan, put, delete, savepoints --> vv_txn_commit or vv_txn_abort
 *
 * A transaction reads the state of the moment it began, and its own writes on top. Its writes wait
 * in memory until the commit, which puts them into the log as one batch: after any crash they are
 * wholly there or wholly gone.
 *
 * Isolation. With VV_ISOLATION_SNAPSHOT the commit is refused with VV_CONFLICT when anybody has
 * written to a key or range that this transaction writes, since it began: the first committer wins.
 * No dirty, fuzzy or lost read, no lost update, no read skew; two transactions that each read what
 * the other writes can both commit (write skew). With VV_ISOLATION_SERIALIZABLE the keys and ranges
 * it has read are checked too, phantoms included, and the outcome is that of running it alone at
 * the moment of its commit. Plain batches, compare-and-swap and range deletions count as writers
 * like any other, also before they are acknowledged. The method: Adya, "Weak Consistency", MIT 1999
 * (the anomalies); Kung and Robinson, "On Optimistic Methods for Concurrency Control", TODS 1981
 * (the check at commit).
 *
 * Threads: one at a time for each transaction and for the cursors of it; transactions do not wait
 * for each other.
 */
#ifndef VARVE_TXN_H
#define VARVE_TXN_H

#include "varve/db.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vv_txn vv_txn;

typedef enum vv_isolation {
    VV_ISOLATION_SNAPSHOT = 0, /* first committer wins */
    VV_ISOLATION_SERIALIZABLE, /* what was read is checked too */
} vv_isolation;

typedef struct vv_txn_options {
    size_t size; /* sizeof(vv_txn_options): set by VV_TXN_OPTIONS_INIT */
    vv_isolation isolation;
    bool read_only;           /* refuses writes, never conflicts, may read tables of every shard */
    vv_durability durability; /* of the commit; VV_DURABLE_DEFAULT: the store's */
    uint64_t memory_max;      /* bytes of its writes and of what it must remember to have read;
                                 0: an eighth of memory_limit, between 1 and 64 MiB */
} vv_txn_options;

#ifndef __cplusplus
#define VV_TXN_OPTIONS_INIT                                                                        \
    {                                                                                              \
        .size = sizeof(vv_txn_options)                                                             \
    }
#else
#define VV_TXN_OPTIONS_INIT vv_txn_options_init()
static inline vv_txn_options vv_txn_options_init()
{
    vv_txn_options o = {};
    o.size = sizeof o;
    return o;
}
#endif

/**
 * Begin a transaction at the newest visible version.
 *
 * @param opt  NULL for the defaults.
 * @return VV_INVALID for options we cannot have; VV_NO_MEMORY.
 *
 * Gives *out, which vv_txn_commit or vv_txn_abort ends. It holds old versions on disk and counts in
 * memory_limit until then, so end it soon. The first table it uses decides its shard.
 */
VV_API VV_MUST_CHECK vv_status vv_txn_begin(vv_db *db, const vv_txn_options *opt, vv_txn **out,
                                            vv_error *err);

/**
 * The value of a key: what this transaction wrote last, or what its snapshot holds.
 *
 * @return VV_NOT_FOUND when it is absent, deleted or expired at the snapshot's time, or the table
 * was dropped; VV_UNSUPPORTED when the table lies on another shard than the first one used; VV_BUSY
 * when a serializable transaction has read more than its memory can remember.
 *
 * Fills *out, valid until vv_value_release and no longer than the transaction when it is a write of
 * its own; such a value has version 0.
 */
VV_API VV_MUST_CHECK vv_status vv_txn_get(vv_txn *txn, vv_table *table, vv_slice key, vv_value *out,
                                          vv_error *err);

/**
 * Write. Copies key and value; nothing leaves the transaction before it commits.
 *
 * @param expires_ns  wall time in nanoseconds since 1970 from which the key is gone; 0: never.
 * @return VV_INVALID for a key, value or table that vv_batch_put refuses, or a read-only
 * transaction; VV_UNSUPPORTED when the table lies on another shard than the first one used; VV_BUSY
 * when the transaction would pass its memory, VV_BATCH_MAX or the store's memory_limit, by name.
 *         The transaction is unchanged and usable after a failure.
 */
VV_API VV_MUST_CHECK vv_status vv_txn_put(vv_txn *txn, vv_table *table, vv_slice key,
                                          vv_slice value, int64_t expires_ns, vv_error *err);
VV_API VV_MUST_CHECK vv_status vv_txn_delete(vv_txn *txn, vv_table *table, vv_slice key,
                                             vv_error *err);
/** Delete every key in [begin, end); an empty end means to the end of the table. Any write into the
 * range by another, also of a key that was absent, conflicts. */
VV_API VV_MUST_CHECK vv_status vv_txn_delete_range(vv_txn *txn, vv_table *table, vv_slice begin,
                                                   vv_slice end, vv_error *err);

/**
 * A cursor over a table as the transaction sees it, in either direction; each step sees the writes
 * made before it.
 *
 * @param opt  bounds or prefix; snapshot and version must not be set. NULL: all keys.
 *
 * Gives *out: vv_cursor_close. The end of the transaction ends it too: it is invalid from then on
 * and answers VV_CLOSED, but must still be closed. vv_cursor_version of a write of one's own is 0.
 */
VV_API VV_MUST_CHECK vv_status vv_txn_scan(vv_txn *txn, vv_table *table,
                                           const vv_cursor_options *opt, vv_cursor **out,
                                           vv_error *err);

/** Remember this point. Gives *out a number that lasts until it is released, rolled back over, or
 * the transaction ends. Savepoints nest. VV_NO_MEMORY. */
VV_API VV_MUST_CHECK vv_status vv_txn_savepoint(vv_txn *txn, uint64_t *out, vv_error *err);
/** Undo every write since the savepoint, which stays; those set after it are gone. Their memory
 * stays counted until the end. What was read since stays checked. VV_NOT_FOUND: no such savepoint.
 */
VV_API VV_MUST_CHECK vv_status vv_txn_rollback_to(vv_txn *txn, uint64_t savepoint, vv_error *err);
/** Forget a savepoint and those set after it; the writes stay. VV_NOT_FOUND: no such savepoint. */
VV_API VV_MUST_CHECK vv_status vv_txn_release(vv_txn *txn, uint64_t savepoint, vv_error *err);

/** The version a transaction reads of a table's shard. */
VV_API int64_t vv_txn_version(const vv_txn *txn, const vv_table *table);
/** Bytes it holds, of memory_max; and operations it would write. */
VV_API uint64_t vv_txn_memory(const vv_txn *txn);
VV_API uint64_t vv_txn_count(const vv_txn *txn);

/**
 * Commit, and end the transaction whatever the answer.
 *
 * @param result  may be NULL. A transaction that wrote nothing has version 0, and is never refused.
 * @return VV_CONFLICT: somebody was faster, the sentence names the key; or the snapshot is older
 * than what can still be checked. Begin a new transaction and do it again. Otherwise as vv_write:
 *         VV_BUSY, VV_NO_SPACE and VV_NOT_FOUND wrote nothing; after VV_IO it is unknown whether it
 *         is there until the store is opened again.
 *
 * Takes txn. Accepts NULL: VV_OK.
 */
VV_API VV_MUST_CHECK vv_status vv_txn_commit(vv_txn *txn, vv_write_result *result, vv_error *err);

/** End the transaction and forget its writes. Takes txn. Accepts NULL. */
VV_API void vv_txn_abort(vv_txn *txn);

#ifdef __cplusplus
}
#endif

#endif
