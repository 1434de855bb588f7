/*
 * lsm_value.c - value files: the open ones, reading from them, and when one goes.
 *
 * A file is held by the runs that refer to it. It is removed when the last of them is gone, if that
 * one had left the manifest: then none in the manifest refers to it either, because those are all
 * open. What a crash leaves the next open removes (lsm_manifest.c).
 *
 * A file that has become an object is opened anew from there; the handle of the local one stays
 * until the reads that began with it have ended, and its name goes then.
 */
#include "lsm/lsm_value.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "base/util.h"
#include "base/varint.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_value_int.h"

struct lsm_value_file {
    struct lsm_value_file *next; /* in its bucket */
    uint64_t id;
    uint64_t size;
    uint64_t live; /* bytes that runs refer to; under value_lock, as refs */
    uint32_t refs;
    vio_file *file;
    uint32_t reads;     /* under way with file; under value_lock, as what follows */
    vio_file *old;      /* the local file of one that is an object now; NULL: no read uses it */
    uint32_t old_reads; /* under way with old */
};

void lsm_value_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id)
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%sval-%012" PRIu64, dir, dir[0] == '\0' ? "" : "/", id);
}

/* ---- uses ---- */

bool lsm_value_use_next(vv_slice *uses, lsm_value_use *out)
{
    if (uses->len == 0)
        return false;
    const uint8_t *end = uses->data + uses->len;
    const uint8_t *p = vv_varint_get(uses->data, end, &out->file);
    if (p != NULL)
        p = vv_varint_get(p, end, &out->bytes);
    if (p == NULL)
        return false;
    *uses = vv_slice_of(p, (size_t)(end - p));
    return true;
}

bool lsm_value_uses_are_valid(vv_slice uses)
{
    lsm_value_use use;
    uint64_t last = 0;
    while (lsm_value_use_next(&uses, &use)) {
        if (use.file <= last)
            return false;
        last = use.file;
    }
    return uses.len == 0;
}

/* ---- open files ---- */

static lsm_value_file **bucket_of(lsm_store *s, uint64_t id)
{
    return &s->value_files[id % LSM_VALUE_BUCKETS];
}

static lsm_value_file *find(lsm_store *s, uint64_t id) VV_REQUIRES(s->value_lock)
{
    lsm_value_file *f = *bucket_of(s, id);
    while (f != NULL && f->id != id)
        f = f->next;
    return f;
}

static void destroy(lsm_value_file *f)
{
    if (f == NULL)
        return;
    assert(f->old == NULL);
    vio_close(f->file);
    vv_free(f);
}

uint64_t lsm_value_header_sum(const uint8_t *p, uint64_t id)
{
    return vv_hash64_seed(p, VALUE_SUM_AT, ~id);
}

static vv_status check_header(const uint8_t *p, uint64_t id, vv_error *err)
{
    if (memcmp(p, LSM_VALUE_MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "no value file: it does not begin with '%s'",
                       LSM_VALUE_MAGIC);
    if (vv_get_le64(p + VALUE_SUM_AT) != lsm_value_header_sum(p, id))
        return vv_fail(err, VV_CORRUPT, "header: its sum does not match");
    if (vv_get_le32(p + 8) != LSM_VALUE_FORMAT || vv_get_le32(p + 12) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %u, feature bits %#x; this build reads version %u: use the "
                       "version of varve that wrote it",
                       vv_get_le32(p + 8), vv_get_le32(p + 12), LSM_VALUE_FORMAT);
    for (size_t i = 16; i < 48; i++)
        if (p[i] != 0)
            return vv_fail(err, VV_UNSUPPORTED, "encrypted, which this version cannot read");
    if (vv_get_le64(p + 48) != id)
        return vv_fail(err, VV_CORRUPT, "header: it belongs to file %" PRIu64, vv_get_le64(p + 48));
    return VV_OK;
}

static vv_status open_file(lsm_store *s, uint64_t id, lsm_value_file **out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    uint8_t header[LSM_VALUE_START];
    lsm_value_path(path, s->dir, id);
    lsm_value_file *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "'%s': no memory", path);
    f->id = id;
    vv_status st = lsm_store_open_file(s, true, id, VIO_READ | VIO_IDLE, &f->file, err);
    bool is_remote = st == VV_OK && lsm_file_is_remote(f->file);
    if (st == VV_NOT_FOUND)
        st = vv_fail(err, VV_CORRUPT, "a run refers to it, but the file is not there");
    if (st == VV_OK)
        st = vio_size(f->file, &f->size, err);
    if (st == VV_OK && f->size < LSM_VALUE_START)
        st = vv_fail(err, VV_CORRUPT, "%" PRIu64 " bytes are too short", f->size);
    /* An object's was looked at before it was stored, and the open sends no request. */
    if (st == VV_OK && !is_remote)
        st = vio_pread_full(f->file, 0, header, sizeof header, err);
    if (st == VV_OK && !is_remote)
        st = check_header(header, id, err);
    if (st != VV_OK) {
        destroy(f);
        return vv_wrap(err, st, "value file '%s'", path);
    }
    *out = f;
    return VV_OK;
}

/* Hold a file, opened if need be. */
static vv_status hold(lsm_store *s, const lsm_value_use *use, vv_error *err)
{
    lsm_value_file *mine = NULL;
    for (;;) {
        vv_mutex_lock(&s->value_lock);
        lsm_value_file *f = find(s, use->file);
        if (f == NULL && mine != NULL) {
            f = mine;
            f->next = *bucket_of(s, f->id);
            *bucket_of(s, f->id) = f;
            mine = NULL;
        }
        if (f != NULL) {
            f->refs++;
            f->live += use->bytes;
        }
        vv_mutex_unlock(&s->value_lock);
        if (f != NULL) {
            destroy(mine); /* another thread was first */
            return VV_OK;
        }
        vv_status st = open_file(s, use->file, &mine, err);
        if (st != VV_OK)
            return st;
    }
}

vv_status lsm_value_acquire(lsm_store *s, vv_slice uses, vv_error *err)
{
    vv_slice rest = uses;
    lsm_value_use use;
    for (vv_slice at = rest; lsm_value_use_next(&rest, &use); at = rest) {
        vv_status st = hold(s, &use, err);
        if (st != VV_OK) {
            lsm_value_release(s, vv_slice_of(uses.data, (size_t)(at.data - uses.data)), false);
            return st;
        }
    }
    return VV_OK;
}

/* Takes a reference away; gives the file when it was the last. */
static lsm_value_file *let_go(lsm_store *s, const lsm_value_use *use)
{
    vv_mutex_lock(&s->value_lock);
    lsm_value_file *f = find(s, use->file);
    assert(f != NULL && f->refs > 0);
    f->live -= use->bytes;
    if (--f->refs > 0 && !VV_BUG(64)) {
        f = NULL;
    } else {
        lsm_value_file **at = bucket_of(s, f->id);
        while (*at != f)
            at = &(*at)->next;
        *at = f->next;
    }
    vv_mutex_unlock(&s->value_lock);
    return f;
}

static void remove_file(lsm_store *s, uint64_t id)
{
    char path[VIO_PATH_MAX];
    lsm_value_path(path, s->dir, id);
    if (vio_remove(s->env->io, path, NULL) != VV_OK)
        vv_log_to(s->env->log, VV_LOG_WARN, "lsm", "could not remove an obsolete value file",
                  VV_KV_S("path", path));
    VV_POINT("lsm.value.removed");
}

void lsm_value_release(lsm_store *s, vv_slice uses, bool doomed)
{
    lsm_value_use use;
    while (lsm_value_use_next(&uses, &use)) {
        lsm_value_file *f = let_go(s, &use);
        if (f == NULL)
            continue;
        bool is_remote = lsm_file_is_remote(f->file);
        destroy(f);
        if (doomed && !s->is_closing && !is_remote)
            remove_file(s, use.file);
    }
}

void lsm_value_discard(lsm_store *s, uint64_t file)
{
    vv_mutex_lock(&s->value_lock);
    bool held = find(s, file) != NULL;
    vv_mutex_unlock(&s->value_lock);
    char path[VIO_PATH_MAX];
    lsm_value_path(path, s->dir, file);
    if (!held)
        (void)!vio_remove(s->env->io, path, NULL); /* else it goes with the runs that hold it */
}

bool lsm_value_is_garbage(lsm_store *s, uint64_t file)
{
    vv_mutex_lock(&s->value_lock);
    const lsm_value_file *f = find(s, file);
    /* A file ends with up to a block of zeros: a small one would seem garbage from the start. */
    bool garbage = f != NULL && f->live + VV_BLOCK < (f->size - LSM_VALUE_START) / 2;
    vv_mutex_unlock(&s->value_lock);
    return garbage;
}

void lsm_value_count(lsm_store *s, lsm_value_stats *out)
{
    *out = (lsm_value_stats){0};
    vv_mutex_lock(&s->value_lock);
    for (size_t i = 0; i < LSM_VALUE_BUCKETS; i++)
        for (const lsm_value_file *f = s->value_files[i]; f != NULL; f = f->next) {
            uint64_t bytes = f->size - LSM_VALUE_START;
            bool is_remote = lsm_file_is_remote(f->file);
            out->files++;
            out->bytes += f->size;
            out->remote_files += is_remote;
            out->remote_bytes += is_remote ? f->size : 0;
            out->garbage += bytes > f->live ? bytes - f->live : 0;
        }
    vv_mutex_unlock(&s->value_lock);
}

/* ---- from a local file to an object ---- */

/* A handle that nobody reads through any more, and the name of its file. */
static void end_local(lsm_store *s, uint64_t id, vio_file *old)
{
    if (old == NULL)
        return;
    vio_close(old);
    if (atomic_load(&s->holds) == 0) /* else the next open removes it */
        remove_file(s, id);
}

vv_status lsm_value_go_remote(lsm_store *s, uint64_t id, vv_error *err)
{
    vio_file *object = NULL;
    vv_status st = lsm_store_open_file(s, true, id, VIO_READ, &object, err);
    if (st != VV_OK)
        return st;
    assert(lsm_file_is_remote(object));
    vio_file *old = NULL;
    vv_mutex_lock(&s->value_lock);
    lsm_value_file *f = find(s, id);
    if (f != NULL && !lsm_file_is_remote(f->file)) {
        old = f->file;
        f->file = object;
        object = NULL;
        f->old_reads = f->reads;
        f->reads = 0;
        if (f->old_reads > 0) {
            f->old = old;
            old = NULL;
        }
    }
    vv_mutex_unlock(&s->value_lock);
    vio_close(object);
    end_local(s, id, old);
    return VV_OK;
}

bool lsm_value_is_local(lsm_store *s, uint64_t id)
{
    vv_mutex_lock(&s->value_lock);
    const lsm_value_file *f = find(s, id);
    bool is_local = f != NULL && !lsm_file_is_remote(f->file);
    vv_mutex_unlock(&s->value_lock);
    return is_local;
}

/* A read begins: the handle it uses stays until let_handle_go. */
static vio_file *take_handle(lsm_store *s, lsm_value_file *f)
{
    vv_mutex_lock(&s->value_lock);
    vio_file *file = f->file;
    f->reads++;
    vv_mutex_unlock(&s->value_lock);
    return file;
}

static void let_handle_go(lsm_store *s, uint64_t id, const vio_file *file)
{
    vio_file *old = NULL;
    vv_mutex_lock(&s->value_lock);
    lsm_value_file *f = find(s, id); /* there: the caller holds a run that refers to it */
    assert(f != NULL);
    if (f->old == NULL || file != f->old) {
        f->reads--;
    } else if (--f->old_reads == 0) {
        old = f->old;
        f->old = NULL;
    }
    vv_mutex_unlock(&s->value_lock);
    end_local(s, id, old);
}

/* ---- reading ---- */

uint64_t lsm_value_sum(const uint8_t *p, size_t len, uint64_t file, uint64_t offset)
{
    return vv_hash64_seed(p + 8, len - 8, file * UINT64_C(0x9e3779b97f4a7c15) + offset);
}

/* The file of a reference that lies inside of it. */
static vv_status find_checked(lsm_store *s, const lsm_value_ref *ref, lsm_value_file **out,
                              vv_error *err)
{
    vv_mutex_lock(&s->value_lock);
    lsm_value_file *f = find(s, ref->file); /* stays: the caller holds a run that refers to it */
    vv_mutex_unlock(&s->value_lock);
    if (f == NULL)
        return vv_fail(err, VV_CORRUPT, "the run does not name it");
    if (ref->len > ENGINE_VALUE_MAX || ref->offset < LSM_VALUE_START || ref->offset > f->size ||
        LSM_VALUE_HEAD + (uint64_t)ref->len > f->size - ref->offset)
        return vv_fail(err, VV_CORRUPT, "%u bytes at %" PRIu64 " lie outside of it", ref->len,
                       ref->offset);
    *out = f;
    return VV_OK;
}

static vv_status place_of(const lsm_store *s, const lsm_value_ref *ref, vv_status st, vv_error *err)
{
    char path[VIO_PATH_MAX];
    lsm_value_path(path, s->dir, ref->file);
    return vv_wrap(err, st, "value file '%s'", path);
}

vv_status lsm_value_begin(lsm_store *s, vv_slice bytes, vio_req *req, vv_error *err)
{
    lsm_value_ref ref = lsm_value_ref_of(bytes);
    size_t len = LSM_VALUE_HEAD + (size_t)ref.len;
    lsm_value_file *f = NULL;
    uint8_t *p = NULL;
    vv_status st = find_checked(s, &ref, &f, err);
    if (st == VV_OK && (p = vv_alloc(len)) == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "no memory for a value of %u bytes", ref.len);
    if (st != VV_OK)
        return place_of(s, &ref, st, err);
    assert(f != NULL);
    req->op = VIO_OP_READ;
    req->cls = VIO_CLASS_READ;
    req->file = take_handle(s, f);
    req->offset = ref.offset;
    req->buf = p;
    req->len = len;
    return VV_OK;
}

vv_status lsm_value_end(lsm_store *s, vv_slice bytes, vio_req *req, uint8_t **memory, vv_slice *out,
                        vv_error *err)
{
    lsm_value_ref ref = lsm_value_ref_of(bytes);
    uint8_t *p = req->buf;
    vv_status st = req->status;
    let_handle_go(s, ref.file, req->file);
    if (st != VV_OK && err != NULL)
        *err = req->err;
    if (st == VV_OK && req->got < req->len)
        st = vv_fail(err, VV_CORRUPT, "it ends inside of the value at offset %" PRIu64, ref.offset);
    if (st == VV_OK &&
        ((!VV_BUG(62) && lsm_value_sum(p, req->len, ref.file, ref.offset) != vv_get_le64(p)) ||
         vv_get_le32(p + 8) != ref.len))
        st = vv_fail(err, VV_CORRUPT, "the sum at offset %" PRIu64 " does not match", ref.offset);
    req->buf = NULL;
    if (st != VV_OK) {
        vv_free(p);
        return place_of(s, &ref, st, err);
    }
    *memory = p;
    *out = vv_slice_of(p + LSM_VALUE_HEAD, ref.len);
    return VV_OK;
}

void lsm_value_drop(lsm_store *s, vv_slice bytes, vio_req *req)
{
    let_handle_go(s, lsm_value_ref_of(bytes).file, req->file);
    vv_free(req->buf);
    req->buf = NULL;
}

vv_status lsm_value_read(lsm_store *s, vv_slice bytes, uint8_t **memory, vv_slice *out,
                         vv_error *err)
{
    vio_req req = {0};
    vv_status st = lsm_value_begin(s, bytes, &req, err);
    if (st != VV_OK)
        return st;
    assert(req.file != NULL);
    req.status = vio_pread(req.file, req.offset, req.buf, req.len, &req.got, &req.err);
    return lsm_value_end(s, bytes, &req, memory, out, err);
}

vv_status lsm_value_load(lsm_store *s, vv_slice bytes, vv_buf *out, vv_error *err)
{
    uint8_t *memory = NULL;
    vv_slice value = {0};
    vv_status st = lsm_value_read(s, bytes, &memory, &value, err);
    if (st != VV_OK)
        return st;
    vv_buf_append_slice(out, value);
    vv_free(memory);
    return out->status == VV_OK
               ? VV_OK
               : vv_fail(err, VV_NO_MEMORY, "no memory for a value of %zu bytes", value.len);
}
