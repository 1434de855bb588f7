/*
 * async.h - gets for a thread that must not wait: an event loop hands keys over, goes on, and takes
 * the answers when a descriptor says that there are some.
 *
 *     loop thread                        vv_async                              device
 *     vv_get_async ------------> looks into memory at once
 *                                  answered | needs a block: waits
 *     vv_async_poll(a, 0) -----> starts as many reads as fit ---------------->  in flight
 *     epoll_wait(vv_async_fd) <------------------------------ readable <------  answered
 *     vv_async_poll(a, 0) -----> unpacks, starts the next, runs done()
 *
 * One vv_async keeps a device's queue full where blocking gets keep one read in flight, and where
 * vv_multi_get runs the queue empty at the end of each call (docs/PERFORMANCE.md).
 *
 * Threads: a vv_async belongs to the thread that opened it; every call below and every done() is on
 * that thread. Open one for each loop. Tables and snapshots may be shared as ever.
 */
#ifndef VARVE_ASYNC_H
#define VARVE_ASYNC_H

#include "varve/db.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vv_async vv_async;

#define VV_ASYNC_MAX 65536u /* gets one vv_async may hold */

/**
 * The answer of one get.
 *
 * @param status VV_OK; VV_NOT_FOUND; VV_CLOSED when the vv_async was closed first; VV_IO,
 *               VV_CORRUPT, VV_NO_MEMORY: this get failed, others may not.
 * @param value  with VV_OK the value, in place and pinned as that of vv_get: now the caller's, who
 *               copies the struct and gives it to vv_value_release, at any time and on any thread.
 *               NULL otherwise.
 * @param err    the sentence, during the call; NULL with VV_OK.
 *
 * May call vv_get_async and vv_async_cancel; not vv_async_poll or vv_async_close.
 */
typedef void (*vv_get_done)(void *ctx, vv_status status, vv_value *value, const vv_error *err);

/**
 * A place for gets of one thread. limit: how many it holds at most, 1 to VV_ASYNC_MAX; each that
 * waits for the disk takes about 1 KiB and the key. The device sees up to 128 reads of it at once.
 *
 * @return VV_OK; VV_INVALID; VV_NO_MEMORY. Gives *out: vv_async_close, before vv_db_close.
 */
VV_API VV_MUST_CHECK vv_status vv_async_open(vv_db *db, unsigned limit, vv_async **out,
                                             vv_error *err);

/**
 * Hand over a get: the value of key at a snapshot, or now (NULL: the newest version at this call).
 * done runs once, in a later vv_async_poll or vv_async_close, also when memory had the answer;
 * never in this call. Answers come in any order.
 *
 * Borrows key for the call; table and snapshot until done, or until the get is cancelled.
 *
 * @return VV_OK; else done will not run: VV_INVALID for a key that is empty or over VV_KEY_MAX,
 *         VV_NOT_FOUND when the table was dropped, VV_BUSY when limit gets are held (poll first),
 *         VV_NO_MEMORY, VV_CLOSED inside vv_async_close.
 */
VV_API VV_MUST_CHECK vv_status vv_get_async(vv_async *async, vv_table *table,
                                            const vv_snapshot *snapshot, vv_slice key,
                                            vv_get_done done, void *ctx, vv_error *err);

/**
 * Start reads, take what is answered, run done(). Blocks until at least wait_count gets are
 * answered or all that are held; with 0 it does not wait for its reads. Returns how many done() it
 * ran.
 *
 * With 0, call it again while it answers more than 0: when it answers 0, the descriptor says when
 * there is more to do. A merge, and with engine btree a compressed or large value or an older
 * version, is put together by blocking reads; with io_backend posix all reads block in here. Engine
 * rocksdb reads in vv_get_async itself.
 */
VV_API unsigned vv_async_poll(vv_async *async, unsigned wait_count);

/** Gets that are held: handed over, and not yet answered or cancelled. */
VV_API unsigned vv_async_held(const vv_async *async);

/**
 * A descriptor for poll, epoll and the like: readable when a read has ended. Level-triggered, the
 * vv_async's own: never read, write or close it. -1 where there is none: with io_backend posix,
 * which leaves nothing in flight, and when the process has no descriptor left (poll with wait_count
 * 1).
 */
VV_API int vv_async_fd(vv_async *async);

/** Forget every get handed over with this ctx: its done will not run, and what was already found
 * for it is released. Reads in flight end by themselves. Returns how many. O(gets held). */
VV_API unsigned vv_async_cancel(vv_async *async, const void *ctx);

/** Answer what is still held (VV_CLOSED where there is no answer yet), wait for the reads in
 * flight, free. Accepts NULL. Values that were handed out stay. */
VV_API void vv_async_close(vv_async *async);

#ifdef __cplusplus
}
#endif

#endif
