/*
 * bulk.h - load sorted keys past log and memtable, all or nothing.
 *
 *     vv_bulk *load;
 *     vv_bulk_begin(table, &load, &err);
 *     while (there is more)
 *         vv_bulk_put(load, key, value, 0, &err);    keys ascending
 *     vv_bulk_finish(load, &result, &err);           or vv_bulk_abort(load)
 *
 * What is put goes into files of the store at once, each byte written one time, and is nowhere to
 * be seen until vv_bulk_finish. Then all of it becomes visible at one version, newer than every
 * write before: a key that was there is overwritten, snapshots go on seeing what they saw. After a
 * power cut at any moment all of it is there or none.
 *
 * With options.archive_log what is put is also written to one file beside the log, so that an
 * archive of backups leads past the load: each byte two times, then, and the file stays until a
 * backup that archives the log has it (vv_options). Without, a load is in full backups alone: a
 * restore to a version behind it needs one made after it.
 *
 * For tables of the engine lsm and the kind kv.
 */
#ifndef VARVE_BULK_H
#define VARVE_BULK_H

#include "varve/db.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vv_bulk vv_bulk;

/**
 * Begin a load into a table. Any number may be under way, also into one table; writers, readers and
 * the background work go on beside them. What it takes of memory is bounded: a few MiB, beside the
 * index of the files, which counts in memory_limit when they are opened.
 *
 * @return VV_UNSUPPORTED for a table of an engine other than lsm, and for one of records, whose
 *         index by time a load would have to sort: write those in batches.
 *
 * Gives *out: vv_bulk_finish or vv_bulk_abort, before the store is closed. One thread at a time.
 */
VV_API VV_MUST_CHECK vv_status vv_bulk_begin(vv_table *table, vv_bulk **out, vv_error *err);

/**
 * Add the next key, which is above the one before, bytewise. Copies nothing for longer than the
 * call.
 * @param expires_ns  as vv_batch_put.
 * @return VV_INVALID when the key is not above the one before (both are named) or a limit of
 *         vv_batch_put is passed: the load is as it was and may go on. VV_NO_SPACE, VV_IO,
 *         VV_NO_MEMORY: it is over; every later call answers the same.
 */
VV_API VV_MUST_CHECK vv_status vv_bulk_put(vv_bulk *load, vv_slice key, vv_slice value,
                                           int64_t expires_ns, vv_error *err);

/** Keys put so far. */
VV_API uint64_t vv_bulk_count(const vv_bulk *load);
/** Bytes of their keys and values. */
VV_API uint64_t vv_bulk_bytes(const vv_bulk *load);

/**
 * Make everything that was put visible and durable (whatever the store's durability). Takes load,
 * also on failure: nothing of it is left then.
 *
 * @param result  may be NULL; as vv_write. A load of nothing has version 0.
 * @return VV_NOT_FOUND when the table was dropped meanwhile; VV_BUSY when the memtables found no
 *         room for 10 s; VV_NO_SPACE, VV_IO as vv_write. When the very last step fails with one of
 *         those two, writes are refused until it is known that nothing of the load is left; if the
 *         power fails before, it is either there after the restart or not, never a part. With
 *         archive_log the store refuses all writes then until it is opened anew, and the load is
 *         there: the log has it.
 *
 * Flushes what memtables hold in the range of the load. Writers of the store wait for two syncs;
 * for a small flush, too, where they keep writing into that range.
 */
VV_API VV_MUST_CHECK vv_status vv_bulk_finish(vv_bulk *load, vv_write_result *result,
                                              vv_error *err);

/** Give it up and remove its files. Accepts NULL. */
VV_API void vv_bulk_abort(vv_bulk *load);

#ifdef __cplusplus
}
#endif

#endif
