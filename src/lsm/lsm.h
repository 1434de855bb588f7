/*
 * lsm.h - the default engine: immutable sorted runs in levels behind memtables. The door of lsm/.
 *
 * Everything a store does goes through lsm_ops (engine.h says what each call promises). Beside it
 * stand the tools for stores that are closed: verify a directory, show a file as text.
 */
#ifndef VARVE_LSM_LSM_H
#define VARVE_LSM_LSM_H

#include "engine/engine.h"

extern const engine_ops lsm_ops;

/**
 * Verify every byte of a closed store: manifest, footers, sections, blocks, order, bounds, filters
 * and the order of the levels. finding() gets a sentence for each fault, also for what keeps the
 * store from being opened at all. Writes nothing. tier: where its remote runs are; NULL: they are
 * passed over.
 * @return VV_OK, VV_CORRUPT when there was a finding, VV_IO or VV_NO_MEMORY.
 */
VV_MUST_CHECK vv_status lsm_check_dir(vv_env *env, const char *dir, uint32_t shard,
                                      const engine_tier *tier,
                                      void (*finding)(void *ctx, const char *text), void *ctx,
                                      vv_error *err);

/** A sentence for each file of a closed store that its manifest does not name: what a flush or a
 * compaction left when a crash ended it, and what the next open for writing removes. Nothing is
 * damaged by them. Says nothing of a directory whose manifest cannot be read: lsm_check_dir does.
 */
VV_MUST_CHECK vv_status lsm_list_leftovers(vv_env *env, const char *dir, uint32_t shard,
                                           void (*each)(void *ctx, const char *text), void *ctx,
                                           vv_error *err);

/** A run file as lines of text: footer, sections, and each entry of each block. path is
 * "<dir>/run-<id>". What was printed before a fault stays printed. */
VV_MUST_CHECK vv_status lsm_dump_run(vv_env *env, const char *path,
                                     void (*line)(void *ctx, const char *text), void *ctx,
                                     vv_error *err);

/** A value file as lines of text: where each value lies. */
VV_MUST_CHECK vv_status lsm_dump_values(vv_env *env, const char *path,
                                        void (*line)(void *ctx, const char *text), void *ctx,
                                        vv_error *err);

/** A manifest file as lines of text, record by record. */
VV_MUST_CHECK vv_status lsm_dump_manifest(vv_env *env, const char *path,
                                          void (*line)(void *ctx, const char *text), void *ctx,
                                          vv_error *err);

#endif
