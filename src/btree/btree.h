/*
 * btree.h - the copy-on-write tree in EloqStore's page format. The door of btree/.
 *
 * Everything a store does goes through btree_ops (engine.h says what each call promises). Beside it
 * stand archives, and the tools for stores that are closed.
 */
#ifndef VARVE_BTREE_BTREE_H
#define VARVE_BTREE_BTREE_H

#include "engine/engine.h"

extern const engine_ops btree_ops;

/**
 * Verify every byte of a closed store: manifest, mapping, index, leaves, links, values, order.
 * finding() gets a sentence for each fault, also for what keeps the store from being opened at all.
 * Writes nothing.
 * @return VV_OK, VV_CORRUPT when there was a finding, VV_IO or VV_NO_MEMORY.
 */
VV_MUST_CHECK vv_status btree_check_dir(vv_env *env, const char *dir, uint32_t shard,
                                        void (*finding)(void *ctx, const char *text), void *ctx,
                                        vv_error *err);

/** A manifest or archive file as lines of text, record by record. */
VV_MUST_CHECK vv_status btree_dump_manifest(vv_env *env, const char *path,
                                            void (*line)(void *ctx, const char *text), void *ctx,
                                            vv_error *err);

#endif
