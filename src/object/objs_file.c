/*
 * objs_file.c - objects in a directory: the operations, and how bytes become an object.
 *
 *   write .varve/tmp/ID, sync     write .varve/tmp/ID#, sync      sync .varve/tmp
 *   link ID# to .varve/sum/NAME#, over what is there or not, sync its directory  <- here it exists
 *   rename ID to NAME, sync its directory                         remove ID#
 *
 * A reader takes the sums first and then the bytes. When those under NAME are not the ones summed
 * (another put is between its two steps, or a crash was) it looks for the id in tmp, then reads the
 * sums again; bytes that are still others after that are damage.
 */
#include "object/objs_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "base/util.h"

vv_status file_fault(vv_object_outcome *oc, vv_status st, bool unknown)
{
    oc->unknown = unknown;
    if (st == VV_NOT_FOUND)
        return objs_fault(oc, VV_OBJECT_FAULT_MISSING, false, st);
    if (st == VV_CONFLICT)
        return objs_fault(oc, VV_OBJECT_FAULT_EXISTS, false, st);
    if (st == VV_BUSY)
        return objs_fault(oc, VV_OBJECT_FAULT_THROTTLED, true, st);
    return objs_fault_local(oc, st);
}

/* ---- paths --------------------------------------------------------------------------------- */

void file_sum_path(const char *name, char out[FILE_PATH_MAX])
{
    (void)snprintf(out, FILE_PATH_MAX, ".varve/sum/%s#", name);
}

void file_tmp_path(const uint8_t id[16], bool sum, char out[FILE_PATH_MAX])
{
    char hex[33];
    objs_hex(id, 16, hex);
    (void)snprintf(out, FILE_PATH_MAX, ".varve/tmp/%s%s", hex, sum ? "#" : "");
}

void file_new_id(file_store *f, uint8_t id[16])
{
    vv_put_be64(id, (uint64_t)vv_clock_wall(f->clock)); /* so that a leftover tells its age */
    vv_mutex_lock(&f->lock);
    vv_rng_bytes(&f->rng, id + 8, 8);
    vv_mutex_unlock(&f->lock);
}

static bool dir_is_known(file_store *f, uint64_t hash, bool remember)
{
    vv_mutex_lock(&f->lock);
    uint64_t *slot = &f->dirs[hash % FILE_DIRS_KNOWN];
    bool known = *slot == hash;
    if (remember)
        *slot = hash;
    vv_mutex_unlock(&f->lock);
    return known;
}

vv_status file_make_dirs(file_store *f, const char *path, vv_error *err)
{
    char dir[FILE_PATH_MAX];
    char parent[FILE_PATH_MAX] = "";
    vv_status st = VV_OK;
    for (const char *slash = strchr(path, '/'); st == VV_OK && slash != NULL;
         slash = strchr(slash + 1, '/')) {
        size_t len = (size_t)(slash - path);
        memcpy(dir, path, len);
        dir[len] = '\0';
        uint64_t hash = vv_hash64(dir, len);
        if (!dir_is_known(f, hash, false)) {
            st = vio_mkdir(f->io, dir, err);
            if (st == VV_OK)
                st = vio_sync_dir(f->io, parent, err);
            if (st == VV_OK)
                (void)dir_is_known(f, hash, true);
        }
        memcpy(parent, dir, len + 1);
    }
    return st;
}

vv_status file_sync_dir_of(file_store *f, const char *path, vv_error *err)
{
    char dir[FILE_PATH_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (slash != NULL) {
        memcpy(dir, path, (size_t)(slash - path));
        dir[slash - path] = '\0';
    }
    return vio_sync_dir(f->io, dir, err);
}

/* ---- writing ------------------------------------------------------------------------------- */

vv_status file_writer_open(file_store *f, const char *name, file_writer *w, vv_error *err)
{
    char path[FILE_PATH_MAX];
    *w = (file_writer){.f = f};
    w->sum.name_len = (uint32_t)strlen(name);
    memcpy(w->sum.name, name, w->sum.name_len + 1);
    file_new_id(f, w->sum.id);
    vv_buf_init(&w->crcs, (size_t)FILE_BLOCKS_MAX * 4);
    file_tmp_path(w->sum.id, false, path);
    return vio_open(f->io, path, VIO_WRITE | VIO_CREATE | VIO_EXCL, &w->file, err);
}

static void end_block(file_writer *w)
{
    vv_buf_append_le32(&w->crcs, w->block_crc);
    w->block_crc = 0;
    w->block_len = 0;
}

vv_status file_writer_add(file_writer *w, vv_slice bytes, vv_error *err)
{
    vv_status st =
        bytes.len == 0 ? VV_OK : vio_pwrite(w->file, w->sum.size, bytes.data, bytes.len, err);
    if (st != VV_OK)
        return st;
    w->sum.crc = vv_crc32c(w->sum.crc, bytes.data, bytes.len);
    w->sum.size += bytes.len;
    while (bytes.len > 0) {
        size_t n = (size_t)vv_min_u64(bytes.len, FILE_BLOCK - w->block_len);
        w->block_crc = vv_crc32c(w->block_crc, bytes.data, n);
        w->block_len += (uint32_t)n;
        bytes = vv_slice_of(bytes.data + n, bytes.len - n);
        if (w->block_len == FILE_BLOCK)
            end_block(w);
    }
    if (w->crcs.status != VV_OK)
        return vv_fail(err, w->crcs.status, "sums of an object of %" PRIu64 " bytes", w->sum.size);
    return VV_OK;
}

static vv_status write_sums(file_writer *w, const char *path, vv_error *err)
{
    vv_buf head;
    vio_file *file = NULL;
    vv_buf_init(&head, SIZE_MAX);
    file_sum_encode(&w->sum, (const uint32_t *)(const void *)w->crcs.data, &head);
    if (head.status != VV_OK) {
        vv_buf_fini(&head);
        return vv_fail(err, VV_NO_MEMORY, "%s", path);
    }
    vv_status st = vio_open(w->f->io, path, VIO_WRITE | VIO_CREATE | VIO_EXCL, &file, err);
    if (st == VV_OK)
        st = vio_pwrite(file, 0, head.data, head.len, err);
    if (st == VV_OK)
        st = vio_sync(file, err);
    vio_close(file);
    vv_buf_fini(&head);
    return st;
}

vv_status file_lock(file_store *f, vio_file **held, vv_error *err)
{
    vv_mutex_lock(&f->publish);
    *held = NULL;
    vv_status st = vio_lock(f->io, ".varve/lock", held, err);
    return st == VV_BUSY ? vv_wrap(err, st, "another process is storing here") : st;
}

void file_unlock(file_store *f, vio_file *held)
{
    vio_close(held);
    vv_mutex_unlock(&f->publish);
}

/* The two steps that make tmp/ID an object. */
static vv_status change_hands(file_writer *w, bool create, bool *unknown, vv_error *err)
{
    file_store *f = w->f;
    char data[FILE_PATH_MAX];
    char tmp_sum[FILE_PATH_MAX];
    char sum[FILE_PATH_MAX];
    file_tmp_path(w->sum.id, false, data);
    file_tmp_path(w->sum.id, true, tmp_sum);
    file_sum_path(w->sum.name, sum);
    vv_status st;
    VV_POINT("object.file.synced");
    if (create) {
        st = vio_link(f->io, tmp_sum, sum, err);
        if (st == VV_CONFLICT) { /* said only when it is so for good */
            vv_status synced = file_sync_dir_of(f, sum, err);
            return synced == VV_OK ? vv_fail(err, VV_CONFLICT, "the name is taken") : synced;
        }
    } else { /* the name in tmp stays: it says that the bytes are still to be renamed */
        char second[FILE_PATH_MAX];
        size_t len = strlen(tmp_sum) - 1;
        (void)snprintf(second, sizeof second, "%.*s+#", (int)len, tmp_sum);
        st = vio_link(f->io, tmp_sum, second, err);
        if (st == VV_OK)
            st = vio_rename(f->io, second, sum, err);
    }
    *unknown = true; /* a failed call may have done it, and from here on it shows */
    if (st == VV_OK)
        st = file_sync_dir_of(f, sum, err);
    VV_POINT("object.file.summed");
    if (st == VV_OK)
        st = vio_rename(f->io, data, w->sum.name, err);
    VV_POINT("object.file.named");
    if (st == VV_OK)
        st = file_sync_dir_of(f, w->sum.name, err);
    if (st == VV_OK)
        file_drop(f->io, tmp_sum); /* a second name of the sums: no harm */
    if (st == VV_OK)
        *unknown = false;
    return st;
}

vv_status file_writer_publish(file_writer *w, bool create, vv_object_info *info, bool *unknown,
                              vv_error *err)
{
    file_store *f = w->f;
    char path[FILE_PATH_MAX];
    vio_file *held = NULL;
    if (w->block_len > 0)
        end_block(w);
    if (w->crcs.status != VV_OK)
        return vv_fail(err, w->crcs.status, "sums of '%s'", w->sum.name);
    w->sum.mtime_ns = vv_clock_wall(f->clock);
    file_tmp_path(w->sum.id, true, path);
    vv_status st = vio_sync(w->file, err);
    if (st == VV_OK)
        st = write_sums(w, path, err);
    if (st == VV_OK)
        st = vio_sync_dir(f->io, ".varve/tmp", err);
    if (st == VV_OK)
        st = file_make_dirs(f, w->sum.name, err);
    file_sum_path(w->sum.name, path);
    if (st == VV_OK)
        st = file_make_dirs(f, path, err);
    if (st != VV_OK)
        return st;
    st = file_lock(f, &held, err);
    if (st == VV_OK)
        st = change_hands(w, create, unknown, err);
    file_unlock(f, held);
    if (st == VV_OK || *unknown) { /* what lies in tmp may be the object's: not ours to remove */
        vio_close(w->file);
        w->file = NULL;
    }
    if (st == VV_OK)
        file_info_of(&w->sum, info);
    return st;
}

void file_writer_close(file_writer *w)
{
    char path[FILE_PATH_MAX];
    if (w->file != NULL) {
        vio_close(w->file);
        file_tmp_path(w->sum.id, false, path);
        file_drop(w->f->io, path);
        file_tmp_path(w->sum.id, true, path);
        file_drop(w->f->io, path);
    }
    vv_buf_fini(&w->crcs);
}

vv_status file_check_open(file_store *f, vv_object_outcome *oc, vv_error *err)
{
    if (!atomic_load(&f->cancelled))
        return VV_OK;
    return objs_fault(oc, VV_OBJECT_FAULT_LOCAL, false,
                      vv_fail(err, VV_CLOSED, "the store was cancelled"));
}

static vv_status file_put(void *self, const char *name, const vv_slice *piece, size_t count,
                          uint32_t crc, bool create, vv_object_info *info, vv_object_outcome *oc,
                          vv_error *err)
{
    file_store *f = self;
    file_writer w;
    bool unknown = false;
    vv_status st = file_check_open(f, oc, err);
    if (st != VV_OK)
        return st;
    st = file_writer_open(f, name, &w, err);
    for (size_t i = 0; st == VV_OK && i < count; i++)
        st = file_writer_add(&w, piece[i], err);
    if (st == VV_OK && w.sum.crc != crc)
        st = vv_fail(err, VV_CORRUPT, "the bytes changed while they were written");
    if (st == VV_OK)
        st = file_writer_publish(&w, create, info, &unknown, err);
    file_writer_close(&w);
    return st == VV_OK ? VV_OK : file_fault(oc, st, unknown);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* Bytes of a block into out, checked with the sum of the whole block. */
static vv_status read_block(vio_file *data, const file_sum *sum, uint32_t block, uint32_t want,
                            uint64_t from, uint64_t to, uint8_t *out, uint8_t *scratch,
                            vv_error *err)
{
    uint64_t start = (uint64_t)block * FILE_BLOCK;
    size_t len = (size_t)vv_min_u64(FILE_BLOCK, sum->size - start);
    bool whole = from <= start && to >= start + len;
    uint8_t *to_buf = whole ? out + (start - from) : scratch;
    vv_status st = vio_pread_full(data, start, to_buf, len, err);
    if (st != VV_OK)
        return st;
    uint32_t crc = vv_crc32c(0, to_buf, len);
    if (crc != want)
        return vv_fail(err, VV_CORRUPT,
                       "block at %" PRIu64 ": crc32c is %08" PRIx32 ", stored with %08" PRIx32,
                       start, crc, want);
    if (!whole) {
        uint64_t first = vv_max_u64(from, start);
        uint64_t last = vv_min_u64(to, start + len);
        memcpy(out + (first - from), scratch + (first - start), (size_t)(last - first));
    }
    return VV_OK;
}

static vv_status read_range(vio_file *sums, const file_sum *sum, vio_file *data, uint64_t from,
                            uint64_t to, uint8_t *out, uint8_t *scratch, vv_error *err)
{
    uint8_t crcs[1024];
    uint64_t size = 0;
    vv_status st = vio_size(data, &size, err);
    if (st == VV_OK && size != sum->size)
        st = vv_fail(err, VV_CORRUPT, "%" PRIu64 " bytes, stored with %" PRIu64, size, sum->size);
    uint32_t first = (uint32_t)(from / FILE_BLOCK);
    uint32_t end = file_block_count(to);
    for (uint32_t block = first; st == VV_OK && from < to && block < end; block++) {
        uint32_t at = (block - first) % (sizeof crcs / 4);
        if (at == 0)
            st = vio_pread_full(sums, file_sum_offset(sum, block), crcs,
                                (size_t)vv_min_u64(sizeof crcs, (uint64_t)(end - block) * 4), err);
        if (st == VV_OK)
            st = read_block(data, sum, block, vv_get_le32(crcs + (size_t)at * 4), from, to, out,
                            scratch, err);
    }
    return st;
}

/* The bytes where they are, or where a crash or a put in between left them. */
static vv_status read_bytes(file_store *f, vio_file *sums, const file_sum *sum, uint64_t from,
                            uint64_t to, uint8_t *out, uint8_t *scratch, vv_error *err)
{
    char tmp[FILE_PATH_MAX];
    vio_file *data = NULL;
    vv_status st = vio_open(f->io, sum->name, VIO_READ, &data, err);
    if (st == VV_OK)
        st = read_range(sums, sum, data, from, to, out, scratch, err);
    vio_close(data);
    if (st != VV_NOT_FOUND && st != VV_CORRUPT)
        return st;
    data = NULL;
    file_tmp_path(sum->id, false, tmp);
    vv_status other = vio_open(f->io, tmp, VIO_READ, &data, NULL);
    if (other == VV_OK)
        st = read_range(sums, sum, data, from, to, out, scratch, err);
    vio_close(data);
    if (st == VV_NOT_FOUND)
        st = vv_fail(err, VV_CORRUPT, "the file of the object is not there, its sums are");
    return st;
}

/* Bytes without sums are no object: a copy may have left hidden files out. */
static vv_status fail_missing(file_store *f, const char *name, vv_error *err)
{
    vio_file *data = NULL;
    const bool is_there = vio_open(f->io, name, VIO_READ, &data, NULL) == VV_OK;
    vio_close(data);
    return vv_fail(err, VV_NOT_FOUND, "no such object%s",
                   is_there ? ": its file is there, its sum in .varve/sum is not: copy that too"
                            : "");
}

static vv_status file_get(void *self, const char *name, uint64_t offset, void *out, size_t len,
                          size_t *got, vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    file_store *f = self;
    char path[FILE_PATH_MAX];
    uint8_t last_id[16] = {0};
    vv_status st = file_check_open(f, oc, err);
    if (st != VV_OK)
        return st;
    uint8_t *scratch = vv_alloc(FILE_BLOCK);
    if (scratch == NULL)
        return file_fault(oc, vv_fail(err, VV_NO_MEMORY, "a block of an object"), false);
    file_sum_path(name, path);
    for (;;) {
        vio_file *sums = NULL;
        file_sum sum;
        st = file_sum_read(f->io, path, name, &sum, &sums, err);
        if (st != VV_OK)
            break;
        uint64_t from = vv_min_u64(offset, sum.size);
        uint64_t to = from + vv_min_u64(len, sum.size - from);
        st = read_bytes(f, sums, &sum, from, to, out, scratch, err);
        vio_close(sums);
        bool again = st == VV_CORRUPT && memcmp(last_id, sum.id, sizeof last_id) != 0;
        memcpy(last_id, sum.id, sizeof last_id);
        if (again)
            continue; /* it may have been replaced meanwhile: then the sums are others now */
        *got = (size_t)(to - from);
        file_info_of(&sum, info);
        break;
    }
    vv_free(scratch);
    if (st == VV_NOT_FOUND)
        st = fail_missing(f, name, err);
    return st == VV_OK ? VV_OK : file_fault(oc, st, false);
}

static vv_status file_head(void *self, const char *name, vv_object_info *info,
                           vv_object_outcome *oc, vv_error *err)
{
    file_store *f = self;
    char path[FILE_PATH_MAX];
    file_sum sum;
    vv_status st = file_check_open(f, oc, err);
    if (st != VV_OK)
        return st;
    file_sum_path(name, path);
    st = file_sum_read(f->io, path, name, &sum, NULL, err);
    if (st == VV_OK)
        file_info_of(&sum, info);
    if (st == VV_NOT_FOUND)
        st = fail_missing(f, name, err);
    return st == VV_OK ? VV_OK : file_fault(oc, st, false);
}

/* The sums go first: without them the bytes are nothing. */
static vv_status file_remove(void *self, const char *name, vv_object_outcome *oc, vv_error *err)
{
    file_store *f = self;
    char path[FILE_PATH_MAX];
    char tmp[FILE_PATH_MAX] = "";
    file_sum sum;
    vio_file *held = NULL;
    vv_status st = file_check_open(f, oc, err);
    if (st != VV_OK)
        return st;
    bool unknown = false;
    file_sum_path(name, path);
    st = file_lock(f, &held, err);
    if (st == VV_OK) {
        if (file_sum_read(f->io, path, NULL, &sum, NULL, NULL) == VV_OK)
            file_tmp_path(sum.id, false, tmp);
        st = vio_remove(f->io, path, err);
        unknown = st != VV_NOT_FOUND; /* a failed call may have done it */
        vv_status synced = st == VV_OK || st == VV_NOT_FOUND
                               ? file_sync_dir_of(f, path, st == VV_OK ? err : NULL)
                               : VV_OK; /* one that is gone is said to be so when it is for good */
        if (synced != VV_OK && synced != VV_NOT_FOUND)
            st = synced;
        VV_POINT("object.file.unsummed");
        if (st == VV_OK || st == VV_NOT_FOUND) /* or a removal before this one ended here */
            file_drop(f->io, name);
        if (st == VV_OK && tmp[0] != '\0')
            file_drop(f->io, tmp);
    }
    file_unlock(f, held);
    return st == VV_OK ? VV_OK : file_fault(oc, st, unknown);
}

/* ---- open ---------------------------------------------------------------------------------- */

static vv_status file_open(const vv_object_options *options, void **self, vv_error *err)
{
    const objs_options *o = (const objs_options *)options;
    file_store *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store in a directory");
    vv_mutex_init(&f->publish, VV_RANK_WAL);
    vv_mutex_init(&f->lock, VV_RANK_LEAF);
    vv_rng_init(&f->rng, o->env.seed ^ (uint64_t)vv_clock_wall(o->env.clock));
    f->clock = o->env.clock;
    f->io = o->env.io;
    vv_status st = VV_OK;
    if (f->io == NULL) {
        f->own_io = true;
        if (options->bucket == NULL || options->bucket[0] == '\0')
            st = vv_fail(err, VV_INVALID, "storage.bucket is missing: the directory for objects");
        else
            st = vio_posix_create(options->bucket, &f->io, err);
    }
    if (st == VV_OK)
        st = vio_mkdir(f->io, "", err);
    if (st == VV_OK)
        st = file_make_dirs(f, ".varve/tmp/", err);
    if (st == VV_OK)
        st = file_make_dirs(f, ".varve/sum/", err);
    if (st == VV_OK)
        st = file_make_dirs(f, ".varve/parts/", err);
    if (st == VV_OK)
        st = file_recover(f, err);
    if (st != VV_OK) {
        objs_file_ops.close(f);
        return st;
    }
    *self = f;
    return VV_OK;
}

static void file_close(void *self)
{
    file_store *f = self;
    if (f->own_io)
        vio_destroy(f->io);
    vv_mutex_fini(&f->lock);
    vv_mutex_fini(&f->publish);
    vv_free(f);
}

static void file_cancel(void *self)
{
    atomic_store(&((file_store *)self)->cancelled, true);
}

static void file_limits(void *self, vv_object_limits *out)
{
    (void)self;
    out->object_size_max = (uint64_t)FILE_BLOCKS_MAX * FILE_BLOCK;
}

const vv_object_ops objs_file_ops = {
    .size = sizeof(vv_object_ops),
    .abi = VV_OBJECT_ABI,
    .name = "file",
    .open = file_open,
    .close = file_close,
    .cancel = file_cancel,
    .limits = file_limits,
    .put = file_put,
    .get = file_get,
    .head = file_head,
    .list = file_list,
    .remove = file_remove,
    .upload_begin = file_upload_begin,
    .upload_part = file_upload_part,
    .upload_complete = file_upload_complete,
    .upload_abort = file_upload_abort,
};
