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

/* ---- archives: trees that are kept under a name ---- */

typedef struct btree_archive_info {
    char name[64];
    int64_t version; /* what it shows */
    int64_t time_ns; /* wall time of its making */
    bool periodic;   /* made by archive_interval: the oldest go when there are too many */
} btree_archive_info;

/**
 * Keep what the tree holds now, up to checkpoint(), under a name of 1 to 63 bytes. Durable on
 * return; costs the mapping's size. VV_CONFLICT: the name is taken. VV_BUSY: background work is
 * under way, call work() and try again. VV_INVALID; VV_NO_SPACE, VV_IO.
 */
VV_MUST_CHECK vv_status btree_archive_create(engine *e, const char *name, vv_error *err);
/** VV_NOT_FOUND, VV_BUSY as above. Its pages go when the last cursor over it is closed. */
VV_MUST_CHECK vv_status btree_archive_drop(engine *e, const char *name, vv_error *err);
/** Oldest first. */
void btree_archive_list(engine *e, void (*each)(void *ctx, const btree_archive_info *info),
                        void *ctx);
/** A cursor over an archive: opt->read.version is not looked at, its time decides what has
 * expired. VV_NOT_FOUND. To restore is to write what it shows. */
VV_MUST_CHECK vv_status btree_archive_cursor(engine *e, const char *name,
                                             const engine_cursor_options *opt, engine_cursor **out,
                                             vv_error *err);

/**
 * Verify every byte of a closed store: manifest, mapping, index, leaves, links, values, order.
 * finding() gets a sentence for each fault, also for what keeps the store from being opened at all.
 * Writes nothing.
 * @return VV_OK, VV_CORRUPT when there was a finding, VV_IO or VV_NO_MEMORY.
 */
VV_MUST_CHECK vv_status btree_check_dir(vv_env *env, const char *dir, uint32_t shard,
                                        void (*finding)(void *ctx, const char *text), void *ctx,
                                        vv_error *err);

/** The pages of a data file as lines of text. */
VV_MUST_CHECK vv_status btree_dump_data(vv_env *env, const char *path,
                                        void (*line)(void *ctx, const char *text), void *ctx,
                                        vv_error *err);

/** A manifest or archive file as lines of text, record by record. */
VV_MUST_CHECK vv_status btree_dump_manifest(vv_env *env, const char *path,
                                            void (*line)(void *ctx, const char *text), void *ctx,
                                            vv_error *err);

#endif
