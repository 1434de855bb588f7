/*
 * objs_file_upload.c - uploads by parts in a directory: a file a part, copied into one at the end.
 *
 * The tag of a part is its length and sum. What is read back at the end must be what was sent, so a
 * part that a disk damaged, or another process touched, is found before it is part of an object.
 */
#include "object/objs_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"

#define COPY_SIZE (1024u * 1024)

static void part_path(const char *id, uint32_t number, char out[FILE_PATH_MAX])
{
    (void)snprintf(out, FILE_PATH_MAX, ".varve/parts/%.32s/%05" PRIu32, id, number);
}

vv_status file_upload_begin(void *self, const char *name, bool create,
                            char id[VV_OBJECT_UPLOAD_ID_MAX], void **state, vv_object_outcome *oc,
                            vv_error *err)
{
    file_store *f = self;
    char path[FILE_PATH_MAX];
    uint8_t bytes[16];
    (void)name;
    (void)create;
    *state = NULL;
    vv_status st = file_check_open(f, oc, err);
    if (st != VV_OK)
        return st;
    file_new_id(f, bytes);
    objs_hex(bytes, sizeof bytes, id);
    (void)snprintf(path, sizeof path, ".varve/parts/%.32s", id);
    st = vio_mkdir(f->io, path, err);
    return st == VV_OK ? VV_OK : file_fault(oc, st, false);
}

vv_status file_upload_part(void *self, const char *name, const char *id, void *state,
                           uint32_t number, const vv_slice *piece, size_t count, char tag[80],
                           vv_object_outcome *oc, vv_error *err)
{
    file_store *f = self;
    char path[FILE_PATH_MAX];
    vio_file *file = NULL;
    uint64_t size = 0;
    uint32_t crc = 0;
    (void)name;
    (void)state;
    vv_status st = file_check_open(f, oc, err);
    if (st != VV_OK)
        return st;
    part_path(id, number, path);
    st = vio_open(f->io, path, VIO_WRITE | VIO_CREATE, &file, err);
    if (st == VV_OK)
        st = vio_truncate(file, 0, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        if (piece[i].len != 0)
            st = vio_pwrite(file, size, piece[i].data, piece[i].len, err);
        crc = vv_crc32c(crc, piece[i].data, piece[i].len);
        size += piece[i].len;
    }
    vio_close(file);
    (void)snprintf(tag, 80, "%" PRIu64 "-%08" PRIx32, size, crc);
    return st == VV_OK ? VV_OK : file_fault(oc, st, false);
}

static vv_status copy_part(file_store *f, const char *id, uint32_t number, const char *tag,
                           file_writer *w, uint8_t *buf, vv_error *err)
{
    char path[FILE_PATH_MAX];
    char found[80];
    vio_file *file = NULL;
    uint64_t size = 0;
    uint32_t crc = 0;
    part_path(id, number, path);
    vv_status st = vio_open(f->io, path, VIO_READ, &file, err);
    for (size_t got = COPY_SIZE; st == VV_OK && got == COPY_SIZE; size += got) {
        got = 0;
        st = vio_pread(file, size, buf, COPY_SIZE, &got, err);
        if (st == VV_OK)
            st = file_writer_add(w, vv_slice_of(buf, got), err);
        crc = vv_crc32c(crc, buf, got);
    }
    vio_close(file);
    if (st != VV_OK)
        return st;
    (void)snprintf(found, sizeof found, "%" PRIu64 "-%08" PRIx32, size, crc);
    if (strcmp(found, tag) != 0)
        return vv_fail(err, VV_CORRUPT, "part %" PRIu32 " is %s now, and was %s: send it again",
                       number, found, tag);
    return VV_OK;
}

static void add_part(void *ctx, const char *name)
{
    uint32_t *most = ctx;
    uint32_t n = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        n = n * 10 + (uint32_t)(*name - '0');
    if (n > *most)
        *most = n;
}

void file_drop_parts(file_store *f, const char *id)
{
    char path[FILE_PATH_MAX];
    uint32_t most = 0;
    (void)snprintf(path, sizeof path, ".varve/parts/%.32s", id);
    if (vio_list(f->io, path, add_part, &most, NULL) != VV_OK)
        return;
    for (uint32_t i = 1; i <= most; i++) {
        part_path(id, i, path);
        file_drop(f->io, path);
    }
    (void)snprintf(path, sizeof path, ".varve/parts/%.32s", id);
    file_drop(f->io, path);
}

vv_status file_upload_complete(void *self, const char *name, const char *id, void *state,
                               const char (*tag)[80], uint32_t count, uint32_t crc, bool create,
                               vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    file_store *f = self;
    file_writer w;
    bool unknown = false;
    (void)state;
    vv_status st = file_check_open(f, oc, err);
    if (st != VV_OK)
        return st;
    uint8_t *buf = vv_alloc(COPY_SIZE);
    if (buf == NULL)
        return file_fault(oc, vv_fail(err, VV_NO_MEMORY, "copy of parts"), false);
    st = file_writer_open(f, name, &w, err);
    for (uint32_t i = 0; st == VV_OK && i < count; i++) {
        st = copy_part(f, id, i + 1, tag[i], &w, buf, err);
        if (st == VV_OK)
            st = file_check_open(f, oc, err);
    }
    if (st == VV_OK && w.sum.crc != crc)
        st = vv_fail(err, VV_CORRUPT, "the parts together have another sum");
    if (st == VV_OK)
        st = file_writer_publish(&w, create, info, &unknown, err);
    file_writer_close(&w);
    vv_free(buf);
    if (st == VV_OK)
        file_drop_parts(f, id);
    return st == VV_OK ? VV_OK : file_fault(oc, st, unknown);
}

vv_status file_upload_abort(void *self, const char *name, const char *id, void *state,
                            vv_object_outcome *oc, vv_error *err)
{
    (void)name;
    (void)state;
    (void)oc;
    (void)err;
    file_drop_parts(self, id);
    return VV_OK;
}
