/*
 * lsm_remote.h - files of a shard that lie in an object store, read as if they were local.
 *
 *     run-<id>   | blocks ......................... | index .. filter | footer |
 *     object     the same bytes
 *     side-<id>  head 64 B | ------ a copy of -----> | index .. filter | footer |
 *
 * Who opens a file of the shard asks lsm_store_open_file: it gives a file of the disk, or one whose
 * reads are range reads of the object. What every read needs of a run (index, filter) comes from
 * the side file, so that a run is opened without a request and a filter answers without one. Blocks
 * go through the page cache as those of local runs; a reader that goes on where it ended is given
 * a piece more. Bytes: docs/format/side.md.
 */
#ifndef VARVE_LSM_LSM_REMOTE_H
#define VARVE_LSM_LSM_REMOTE_H

#include "lsm/lsm_manifest.h"
#include "varve/object.h"

struct engine_tier;

/** Make the store know where its remote files lie. tier, which lives as long as the store, may be
 * NULL, and so may its objects: then reads of them fail. */
VV_MUST_CHECK vv_status lsm_remote_init(lsm_store *s, const struct engine_tier *tier,
                                        bool read_only, const lsm_state *state, vv_error *err);
/** No remote file is open. Accepts what was never initialised. */
void lsm_remote_fini(lsm_store *s);
/** From now on the file of this id is opened from its object. */
VV_MUST_CHECK vv_status lsm_remote_add(lsm_store *s, const lsm_object *object, vv_error *err);
/** The object is gone. */
void lsm_remote_drop(lsm_store *s, uint64_t id);
/** True when the file of this id is opened from its object, which is copied to out (may be NULL).
 */
bool lsm_remote_find(lsm_store *s, uint64_t id, lsm_object *out);
/** Files of this id that are open. */
uint32_t lsm_remote_users(lsm_store *s, uint64_t id);
/** The object store; NULL: none is given. */
vv_object_store *lsm_remote_objects(const lsm_store *s);
/** Reads that the object store has failed so far, for whoever must tell its faults from the
 * disk's. */
uint64_t lsm_remote_failures(const lsm_store *s);
uint64_t lsm_remote_reads(const lsm_store *s);
/** A check reads every byte of every object. */
bool lsm_remote_checks_whole(const lsm_store *s);

/** Open a run, or a value file, wherever it lies; flags as of vio_open. A missing local file is
 * VV_NOT_FOUND. Gives *out: vio_close. */
VV_MUST_CHECK vv_status lsm_store_open_file(lsm_store *s, bool is_values, uint64_t id,
                                            unsigned flags, vio_file **out, vv_error *err);
/** True of a file that lsm_store_open_file opened from an object. */
bool lsm_file_is_remote(const vio_file *file);
/** The object of such a file. */
const lsm_object *lsm_file_object(const vio_file *file);

/** "<dir>/side-<id>". */
void lsm_side_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id);
/** Write the side file of a run, durable, from the run's bytes. */
VV_MUST_CHECK vv_status lsm_side_write(lsm_store *s, const lsm_object *object, vio_file *run,
                                       vv_error *err);

/* ---- storing (lsm_upload.c) ---- */

/** CRC-32C of the first size bytes of a file. */
VV_MUST_CHECK vv_status lsm_upload_sum(lsm_store *s, vio_file *file, uint64_t size, uint32_t *crc,
                                       vv_error *err);
/** Store a file under the object's name, and know that it is there: size, sum, last bytes. An
 * object of that name with other bytes is replaced: the name is this store's alone. is_begun: an
 * earlier try may have stored it. */
VV_MUST_CHECK vv_status lsm_upload(lsm_store *s, vio_file *file, const lsm_object *object,
                                   const struct engine_tier *tier, bool is_begun, vv_error *err);
/** VV_CORRUPT when the object is missing or of another size or sum; whole: every byte is read. */
VV_MUST_CHECK vv_status lsm_upload_verify(lsm_store *s, const lsm_object *object, bool whole,
                                          vv_error *err);

#endif
