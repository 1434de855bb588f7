/*
 * db_checkpoint.c - a second store beside the first: its files are links, its log is written anew.
 *
 *   <dir>.checkpoint.tmp   links, manifests, log, identity   ->   rename to <dir>
 *
 * A link costs no space until compaction lets the original's name go. Where links are not possible
 * (another file system) vio_link copies. The directory carries its name only when it is whole.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_capture.h"
#include "db/db_int.h"

static void note_name(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

typedef struct copying {
    vio *io;
    db_build *build;
} copying;

#define FETCH_SIZE (1 * VV_MIB)

/* The content of a load that is still in the log goes with its entry. */
static vv_status add_entry(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    copying *c = ctx;
    db_load load;
    char from[DB_LOAD_PATH_SIZE];
    char to[VIO_PATH_MAX];
    vv_status st = VV_OK;
    (void)position;
    if (db_load_of(rec, &load) && load.size > 0) {
        db_load_path(&load, from);
        st = db_build_path(c->build, from, to, err);
        if (st == VV_OK)
            st = vio_link(c->io, from, to, err);
        if (st == VV_NOT_FOUND)
            st = vv_fail(err, VV_CORRUPT, "the content of a bulk load, '%s', is missing", from);
    }
    return st == VV_OK ? db_build_entry(c->build, rec, err) : st;
}

/* What lies in the object store is fetched: a copy stands alone. */
static vv_status fetch_file(const db_capture *c, const db_captured_file *file, const char *to,
                            vv_error *err)
{
    vio_file *in = NULL;
    vio_file *out = NULL;
    uint64_t size = 0;
    uint8_t *piece = vv_alloc(FETCH_SIZE);
    if (piece == NULL)
        return vv_fail(err, VV_NO_MEMORY, "'%s': no memory to fetch it", file->path);
    vv_status st = db_capture_open(c, file, &in, err);
    if (st == VV_OK)
        st = vio_size(in, &size, err);
    if (st == VV_OK)
        st =
            vio_open(c->db->env->io, to, VIO_WRITE | VIO_CREATE | VIO_EXCL | VIO_BEHIND, &out, err);
    for (uint64_t at = 0; st == VV_OK && at < size;) {
        size_t len = (size_t)vv_min_u64(FETCH_SIZE, size - at);
        st = vio_pread_full(in, at, piece, len, err);
        if (st == VV_OK)
            st = vio_pwrite(out, at, piece, len, err);
        at += len;
    }
    if (st == VV_OK)
        st = vio_sync(out, err);
    vio_close(in);
    vio_close(out);
    vv_free(piece);
    return st;
}

static vv_status add_file(const db_capture *c, const db_captured_file *file, db_build *b,
                          vv_error *err)
{
    if (file->content != NULL)
        return db_build_file(b, file->path, vv_slice_of(file->content, file->content_len), err);
    char to[VIO_PATH_MAX];
    vv_status st = db_build_path(b, file->path, to, err);
    if (st == VV_OK && file->remote != NULL)
        return fetch_file(c, file, to, err);
    const char *from = file->source != NULL ? file->source : file->path;
    return st == VV_OK ? vio_link(c->db->env->io, from, to, err) : st;
}

static vv_status build(db_capture *c, const char *tmp, vv_error *err)
{
    db_build *b = NULL;
    vv_status st = db_build_begin(c->db->env, tmp, c->shard_count, &b, err);
    if (st != VV_OK)
        return st;
    for (size_t i = 0; st == VV_OK && i < c->count; i++)
        st = add_file(c, &c->files[i], b, err);
    if (st == VV_OK)
        st = db_capture_entries(c, NULL, add_entry, &(copying){c->db->env->io, b}, err);
    if (st == VV_OK)
        return db_build_finish(b, err);
    db_build_abort(b);
    return st;
}

static vv_status place(vio *io, const char *tmp, const char *dir, vv_error *err)
{
    char parent[VIO_PATH_MAX];
    (void)snprintf(parent, sizeof parent, "%s", dir);
    char *slash = strrchr(parent, '/');
    assert(slash != NULL);
    slash[slash == parent ? 1 : 0] = '\0';
    vv_status st = vio_sync_dir(io, parent, err);
    if (st == VV_OK)
        st = vio_rename(io, tmp, dir, err);
    return st == VV_OK ? vio_sync_dir(io, parent, err) : st;
}

vv_status db_checkpoint_at(vv_db *db, const char *dir, vv_error *err)
{
    assert(db != NULL && dir != NULL);
    vio *io = db->env->io;
    char tmp[VIO_PATH_MAX];
    int n = snprintf(tmp, sizeof tmp, "%s.checkpoint.tmp", dir);
    if (dir[0] != '/' || dir[1] == '\0' || n < 0 || (size_t)n > sizeof tmp - 80)
        return vv_fail(err, VV_INVALID,
                       "checkpoint: '%.80s' is no usable path: name a new directory", dir);
    vv_status st = vio_list(io, dir, note_name, NULL, NULL);
    if (st != VV_NOT_FOUND)
        return vv_fail(err, VV_CONFLICT,
                       "checkpoint '%.80s': it is there already: name a new directory", dir);
    db_build_discard(io, tmp); /* of one that did not end */
    db_capture *c = NULL;
    st = db_capture_begin(db, &c, err);
    if (st == VV_OK)
        st = build(c, tmp, err);
    if (st == VV_OK)
        st = place(io, tmp, dir, err);
    if (st != VV_OK)
        db_build_discard(io, tmp);
    db_capture_end(c);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "checkpoint '%.80s'", dir);
}

vv_status vv_checkpoint_to(vv_db *db, const char *dir, vv_error *err)
{
    char path[VIO_PATH_MAX];
    if (dir == NULL || dir[0] == '\0')
        return vv_fail(err, VV_INVALID, "checkpoint: the directory's name is empty");
    vv_status st = env_absolute_path(dir, path, err);
    return st == VV_OK ? db_checkpoint_at(db, path, err) : st;
}
