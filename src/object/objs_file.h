/*
 * objs_file.h - objects in a directory: what the files of this backend share.
 *
 *   NAME                   the object's bytes, as they are: any program may read them
 *   .varve/sum/NAME#       what is known of it: length, time, sums of its blocks, the id of its
 * bytes .varve/tmp/ID, ID#     bytes and sums on their way .varve/parts/ID/00001  parts of an
 * upload .varve/lock            held while a name changes hands
 *
 * An object exists when its sum file does: to link it (create) or to rename it (replace) is the
 * moment. The bytes, durable by then as .varve/tmp/ID, are renamed to NAME behind it. A crash
 * between the two leaves bytes that readers find by the id, and the next open renames.
 */
#ifndef VARVE_OBJECT_OBJS_FILE_H
#define VARVE_OBJECT_OBJS_FILE_H

#include "object/object_int.h"

#define FILE_BLOCK 65536u
#define FILE_SUM_HEADER 96u /* before the name */
#define FILE_SUM_NAME_MAX OBJS_FULL_NAME_MAX
#define FILE_BLOCKS_MAX (UINT32_C(1) << 27) /* 8 TiB */
#define FILE_DIRS_KNOWN 4096u

/* The head of a sum file: docs/format/object-file.md. */
typedef struct file_sum {
    uint64_t size;
    int64_t mtime_ns;
    uint8_t id[16];
    uint32_t crc; /* of the whole */
    uint32_t name_len;
    char name[FILE_SUM_NAME_MAX + 1];
} file_sum;

typedef struct file_store {
    vio *io;
    bool own_io;
    vv_clock *clock;
    _Atomic bool cancelled;
    vv_mutex publish; /* rank VV_RANK_WAL: a name changes hands; held over I/O */
    vv_mutex lock;    /* rank VV_RANK_LEAF: guards the rest */
    vv_rng rng;
    uint64_t dirs[FILE_DIRS_KNOWN]; /* hashes of directories known to be durable */
} file_store;

/* ---- sum files (objs_file_sum.c) ----------------------------------------------------------- */

uint32_t file_block_count(uint64_t size);
/** Where the sum of a block stands. */
uint64_t file_sum_offset(const file_sum *sum, uint32_t block);
/** The whole file: header, name, the sums of the blocks. */
void file_sum_encode(const file_sum *sum, const uint32_t *crc, vv_buf *out);
/** VV_CORRUPT with what is wrong. head: at least the header and the name. */
vv_status file_sum_decode(vv_slice head, file_sum *out, vv_error *err);
/** Read the head of the sum file at path; name: what it must be of, NULL: any. */
vv_status file_sum_read(vio *io, const char *path, const char *name, file_sum *out, vio_file **file,
                        vv_error *err);
void file_info_of(const file_sum *sum, vv_object_info *info);

/* ---- the directory (objs_file.c) ----------------------------------------------------------- */

#define FILE_PATH_MAX VIO_PATH_MAX
void file_sum_path(const char *name, char out[FILE_PATH_MAX]);
void file_tmp_path(const uint8_t id[16], bool sum, char out[FILE_PATH_MAX]);
void file_new_id(file_store *f, uint8_t id[16]);
/** VV_CLOSED: the store was cancelled. */
vv_status file_check_open(file_store *f, vv_object_outcome *oc, vv_error *err);
/** Make the directories of a path, durable. */
vv_status file_make_dirs(file_store *f, const char *path, vv_error *err);
vv_status file_sync_dir_of(file_store *f, const char *path, vv_error *err);

/* Remove what nobody needs any more: where that fails it stays, and a later open looks again. */
static inline void file_drop(vio *io, const char *path)
{
    vv_status ignored = vio_remove(io, path, NULL);
    (void)ignored;
}

/* Bytes on their way into an object: blocks are summed as they come. */
typedef struct file_writer {
    file_store *f;
    vio_file *file;
    file_sum sum;
    vv_buf crcs; /* le32 a whole block */
    uint32_t block_crc;
    uint32_t block_len;
} file_writer;

vv_status file_writer_open(file_store *f, const char *name, file_writer *w, vv_error *err);
vv_status file_writer_add(file_writer *w, vv_slice bytes, vv_error *err);
/** Make it an object. *unknown: it may be one after a failure. */
vv_status file_writer_publish(file_writer *w, bool create, vv_object_info *info, bool *unknown,
                              vv_error *err);
/** Removes what is left when it was not published. */
void file_writer_close(file_writer *w);

/** Take the place of who changes names, in this process and among others. */
vv_status file_lock(file_store *f, vio_file **held, vv_error *err) VV_ACQUIRE(f->publish);
void file_unlock(file_store *f, vio_file *held) VV_RELEASE(f->publish);

/** Finish what a crash left half done. */
vv_status file_recover(file_store *f, vv_error *err);

/* ---- uploads and lists ---------------------------------------------------------------------- */

vv_status file_list(void *self, const char *prefix, const char *start_after, uint32_t limit,
                    vv_object_each each, void *ctx, bool *more, vv_object_outcome *oc,
                    vv_error *err);
vv_status file_upload_begin(void *self, const char *name, bool create,
                            char id[VV_OBJECT_UPLOAD_ID_MAX], void **state, vv_object_outcome *oc,
                            vv_error *err);
vv_status file_upload_part(void *self, const char *name, const char *id, void *state,
                           uint32_t number, const vv_slice *piece, size_t count, char tag[80],
                           vv_object_outcome *oc, vv_error *err);
vv_status file_upload_complete(void *self, const char *name, const char *id, void *state,
                               const char (*tag)[80], uint32_t count, uint32_t crc, bool create,
                               vv_object_info *info, vv_object_outcome *oc, vv_error *err);
vv_status file_upload_abort(void *self, const char *name, const char *id, void *state,
                            vv_object_outcome *oc, vv_error *err);
/** Remove the parts of an upload. */
void file_drop_parts(file_store *f, const char *id);
/** The outcome of a failure of files. */
vv_status file_fault(vv_object_outcome *oc, vv_status st, bool unknown);

#endif
