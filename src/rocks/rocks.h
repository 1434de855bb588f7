/*
 * rocks.h - tables kept in RocksDB, through its C interface. The door of rocks/.
 *
 * Built with -Drocksdb=enabled (librocksdb-dev). RocksDB does its own I/O and has its own threads:
 * the env's vio must be real files, and its faults cannot be simulated.
 */
#ifndef VARVE_ROCKS_ROCKS_H
#define VARVE_ROCKS_ROCKS_H

#include "engine/engine.h"

extern const engine_ops rocks_ops;

/** Verify a closed store: every block that RocksDB can reach, and the rules of rocks_int.h.
 * finding() gets a sentence each; VV_CORRUPT when there was one. Writes nothing. */
VV_MUST_CHECK vv_status rocks_check_dir(vv_env *env, const char *dir, uint32_t shard,
                                        void (*finding)(void *ctx, const char *text), void *ctx,
                                        vv_error *err);

#endif
