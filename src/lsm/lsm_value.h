/*
 * lsm_value.h - value files: large values, written once beside the runs that refer to them.
 *
 *     val-<id>   header 128 B | sum u64 | length u32 | 0 u32 | value | zeros to 8 | sum ...
 *
 * A run's entry of kind ENGINE_APART holds a reference: file, offset, length. Compaction copies
 * references, not values. The manifest says with each run which value files it refers to and with
 * how many bytes; what no run refers to is garbage, and a file without a reference goes. Bytes:
 * docs/format/value.md.
 */
#ifndef VARVE_LSM_LSM_VALUE_H
#define VARVE_LSM_LSM_VALUE_H

#include "io/vio_queue.h"
#include "lsm/lsm_run.h"

#define LSM_VALUE_FORMAT 1u
#define LSM_VALUE_START 128u /* bytes of the header */
#define LSM_VALUE_HEAD 16u   /* bytes before each value */
#define LSM_VALUE_REF 20u    /* bytes of a reference: file u64, offset u64, length u32 */
/* Without a choice of the table: a merge holds a block of each of its inputs, which the limit on
 * memory has no room for when single values of MiBs make blocks of their own. */
#define LSM_VALUE_THRESHOLD (256u * 1024)

typedef struct lsm_value_ref {
    uint64_t file;
    uint64_t offset;
    uint32_t len;
} lsm_value_ref;

static inline lsm_value_ref lsm_value_ref_of(vv_slice bytes)
{
    assert(bytes.len == LSM_VALUE_REF);
    return (lsm_value_ref){vv_get_le64(bytes.data), vv_get_le64(bytes.data + 8),
                           vv_get_le32(bytes.data + 16)};
}

/** Bytes of the file that a value takes. */
static inline uint64_t lsm_value_size(uint32_t len)
{
    return vv_align_up(LSM_VALUE_HEAD + (uint64_t)len, 8);
}

/** "<dir>/val-<id>". */
void lsm_value_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id);

/* ---- which files a run refers to: varint id, varint bytes, ..., ids ascending ---- */

typedef struct lsm_value_use {
    uint64_t file;
    uint64_t bytes;
} lsm_value_use;

/** The next one of an encoded list. False at the end and on malformed bytes: then uses->len is 0
 * only at the end. */
bool lsm_value_use_next(vv_slice *uses, lsm_value_use *out);
/** True when all of it reads and the ids ascend. */
bool lsm_value_uses_are_valid(vv_slice uses);

/* ---- files that are open: one object each, in the store ---- */

/** Open the files of a run; each is held until lsm_value_release. VV_CORRUPT when one is missing.
 */
VV_MUST_CHECK vv_status lsm_value_acquire(lsm_store *s, vv_slice uses, vv_error *err);
/** doomed: the run has left the manifest; a file that nobody refers to any more is removed. */
void lsm_value_release(lsm_store *s, vv_slice uses, bool doomed);
/** Read a value, appended to out. The caller holds a run that refers to its file. */
VV_MUST_CHECK vv_status lsm_value_load(lsm_store *s, vv_slice ref, vv_buf *out, vv_error *err);
/** The same in memory of its own, which the caller frees; *out lies in it. */
VV_MUST_CHECK vv_status lsm_value_read(lsm_store *s, vv_slice ref, uint8_t **memory, vv_slice *out,
                                       vv_error *err);
/** Its two halves, for who does not wait in between: fill req (but done and ctx) with a read into
 * memory of its own; then, when req has its answer, verify and give as lsm_value_read. Between
 * them lsm_value_drop gives it up. The caller holds its run from the first to the last. */
VV_MUST_CHECK vv_status lsm_value_begin(lsm_store *s, vv_slice ref, vio_req *req, vv_error *err);
VV_MUST_CHECK vv_status lsm_value_end(lsm_store *s, vv_slice ref, vio_req *req, uint8_t **memory,
                                      vv_slice *out, vv_error *err);
void lsm_value_drop(lsm_store *s, vv_slice ref, vio_req *req);
/** The file's object is what counts from now on: reads go there, and the local file goes when those
 * under way have ended. */
VV_MUST_CHECK vv_status lsm_value_go_remote(lsm_store *s, uint64_t file, vv_error *err);
/** True of an open file that is read locally. */
bool lsm_value_is_local(lsm_store *s, uint64_t file);
/** True when less than half of a file is still referred to. */
bool lsm_value_is_garbage(lsm_store *s, uint64_t file);
/** Remove a file that no run holds. */
void lsm_value_discard(lsm_store *s, uint64_t file);

typedef struct lsm_value_stats {
    uint64_t files;
    uint64_t bytes;
    uint64_t garbage;      /* of them nobody refers to */
    uint64_t remote_files; /* of them in the object store */
    uint64_t remote_bytes;
} lsm_value_stats;
void lsm_value_count(lsm_store *s, lsm_value_stats *out);

/* ---- writing one ---- */

typedef struct lsm_value_writer lsm_value_writer;

VV_MUST_CHECK vv_status lsm_value_writer_open(lsm_store *s, uint64_t id, vio_class cls,
                                              size_t buffer_size, lsm_value_writer **out,
                                              vv_error *err);
/** Append a value; its reference goes to ref. */
VV_MUST_CHECK vv_status lsm_value_writer_put(lsm_value_writer *w, vv_slice value,
                                             uint8_t ref[LSM_VALUE_REF], vv_error *err);
uint64_t lsm_value_writer_size(const lsm_value_writer *w);
/** Wait for what is in flight, in the thread that put it. */
VV_MUST_CHECK vv_status lsm_value_writer_settle(lsm_value_writer *w, vv_error *err);
/** Write what is left and sync. */
VV_MUST_CHECK vv_status lsm_value_writer_finish(lsm_value_writer *w, vv_error *err);
/** Closes the file, which stays. Accepts NULL. */
void lsm_value_writer_close(lsm_value_writer *w);

#endif
