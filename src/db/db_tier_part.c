/*
 * db_tier_part.c - an object while it is made: a file beneath the store's directory, written in
 * pieces, so that its size is not memory.
 *
 * Nothing of it has to survive: an intent that was announced is built again from the messages. So
 * it is never synced, and what an earlier process left is removed at the open.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "db/db_tier_job.h"

#define PIECE (64u * 1024)
#define PREFIX "part-"

static vv_status write_out(db_tier_file *f, const void *bytes, size_t len, vv_error *err)
{
    if (len == 0)
        return VV_OK;
    vv_status st = vio_pwrite(f->file, f->at, bytes, len, err);
    if (st == VV_OK)
        f->at += len;
    return st;
}

vv_status db_tier_file_flush(db_tier_file *f, vv_error *err)
{
    vv_status st = write_out(f, f->buf.data, f->buf.len, err);
    vv_buf_reset(&f->buf);
    return st;
}

static vv_status sink_write(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    db_tier_file *f = ctx;
    vv_status st = VV_OK;
    if (f->buf.len + len > PIECE)
        st = db_tier_file_flush(f, err);
    if (st != VV_OK)
        return st;
    if (len >= PIECE)
        return write_out(f, bytes, len, err);
    vv_buf_append(&f->buf, bytes, len);
    return f->buf.status == VV_OK ? VV_OK
                                  : vv_fail(err, VV_NO_MEMORY, "no memory for a part of an object");
}

arch_sink db_tier_file_sink(db_tier_file *f)
{
    return (arch_sink){.write = sink_write, .ctx = f};
}

vv_status db_tier_file_open(db_tier *t, uint64_t intent, char kind, db_tier_file *out,
                            vv_error *err)
{
    vio *io = t->db->env->io;
    *out = (db_tier_file){.t = t};
    vv_buf_init(&out->buf, PIECE);
    vv_status st = vio_mkdir(io, DB_TIER_DIR, err);
    if (st != VV_OK)
        return st;
    (void)snprintf(out->path, sizeof out->path, DB_TIER_DIR "/" PREFIX "%016" PRIx64 "%c", intent,
                   kind);
    st = vio_open(io, out->path, VIO_READ | VIO_WRITE | VIO_CREATE | VIO_BEHIND, &out->file, err);
    if (st != VV_OK)
        out->path[0] = '\0';
    else
        st = vio_truncate(out->file, 0, err); /* a try before this one may have left it */
    return st;
}

void db_tier_file_close(db_tier_file *f)
{
    vio_close(f->file);
    if (f->path[0] != '\0') /* what stays behind is removed by the next open */
        (void)!vio_remove(f->t->db->env->io, f->path, NULL);
    vv_buf_fini(&f->buf);
    *f = (db_tier_file){.at = 0};
}

/* ---- at the open ----
 */

#define LEFT_MAX 64u

typedef struct leftovers {
    char name[LEFT_MAX][DB_TIER_PATH_SIZE];
    size_t count;
} leftovers;

static void note(void *ctx, const char *name)
{
    leftovers *l = ctx;
    if (l->count == LEFT_MAX || strncmp(name, PREFIX, sizeof PREFIX - 1) != 0 ||
        strlen(name) + sizeof DB_TIER_DIR >= DB_TIER_PATH_SIZE)
        return;
    (void)snprintf(l->name[l->count++], DB_TIER_PATH_SIZE, DB_TIER_DIR "/%s", name);
}

static void note_dir(void *ctx, const char *name)
{
    bool *is_there = ctx;
    *is_there |= strcmp(name, DB_TIER_DIR) == 0;
}

vv_status db_tier_files_sweep(db_tier *t, vv_error *err)
{
    vio *io = t->db->env->io;
    bool is_there = false;
    leftovers left = {.count = 0};
    vv_status st = vio_list(io, "", note_dir, &is_there, err);
    if (st == VV_OK && is_there)
        st = vio_list(io, DB_TIER_DIR, note, &left, err);
    for (size_t i = 0; st == VV_OK && i < left.count; i++) {
        st = vio_remove(io, left.name[i], err);
        st = st == VV_NOT_FOUND ? VV_OK : st;
    }
    return st;
}
