/*
 * evlog_file.c - lines in a file, which is set aside when it is full:
 *
 *     varved.log.2 -> .3 (the last is removed), varved.log.1 -> .2, varved.log -> .1, a new one
 *
 * All I/O is vio's. What is in the file stays: a line is written behind its end, and one that a
 * crash left unfinished gets its newline first. Nothing is synced: a power cut may take the last
 * lines, the store's own log tells what was committed. When setting aside fails the lines go on
 * into the file at hand, and it is tried again a minute later.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "io/vio.h"
#include "server/evlog_sink.h"

#define AGAIN_NS (60 * VV_NS_PER_S)
#define BATCH_MAX (1024u * 1024) /* bytes collected for one write */

typedef struct file_sink {
    evlog_sink sink; /* first */
    vio *io;
    vio *own_io; /* to be destroyed; NULL: the caller's */
    vv_clock *clock;
    char name[VIO_PATH_MAX - 8]; /* beneath the root of io, with room for .COUNT */
    uint64_t size_max;
    uint32_t count;
    vv_log_form form;
    vio_file *file; /* NULL: not open now */
    uint64_t size;
    int64_t not_before_ns; /* monotonic, of setting aside */
    vv_buf batch;
} file_sink;

static void numbered(const file_sink *f, uint32_t n, char out[VIO_PATH_MAX])
{
    if (n == 0)
        (void)snprintf(out, VIO_PATH_MAX, "%s", f->name);
    else
        (void)snprintf(out, VIO_PATH_MAX, "%s.%u", f->name, n);
}

/* Begin behind what is there. */
static vv_status find_end(file_sink *f, vv_error *err)
{
    char last = '\n';
    size_t got = 0;
    vv_status st = vio_size(f->file, &f->size, err);
    if (st == VV_OK && f->size > 0)
        st = vio_pread(f->file, f->size - 1, &last, 1, &got, err);
    if (st == VV_OK && last != '\n') {
        st = vio_pwrite(f->file, f->size, "\n", 1, err);
        f->size++;
    }
    return st;
}

static vv_status open_file(file_sink *f, vv_error *err)
{
    if (f->file != NULL)
        return VV_OK;
    const unsigned flags = VIO_READ | VIO_WRITE | VIO_CREATE;
    vv_status st = vio_open(f->io, f->name, flags, &f->file, err);
    if (st == VV_NOT_FOUND) { /* the directory */
        st = vio_mkdir(f->io, "", err);
        if (st == VV_OK)
            st = vio_open(f->io, f->name, flags, &f->file, err);
    }
    if (st == VV_OK)
        st = find_end(f, err);
    if (st != VV_OK) {
        vio_close(f->file);
        f->file = NULL;
    }
    return st;
}

/* Each full file one number up. */
static vv_status set_aside(file_sink *f)
{
    char from[VIO_PATH_MAX];
    char to[VIO_PATH_MAX];
    numbered(f, f->count, to);
    vv_status st = vio_remove(f->io, to, NULL);
    for (uint32_t n = f->count; n > 0 && (st == VV_OK || st == VV_NOT_FOUND); n--) {
        numbered(f, n - 1, from);
        st = vio_rename(f->io, from, to, NULL);
        memcpy(to, from, sizeof to);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static void rotate(file_sink *f)
{
    int64_t now = vv_clock_mono(f->clock);
    if (f->size == 0 || now < f->not_before_ns)
        return;
    vio_close(f->file);
    f->file = NULL;
    if (set_aside(f) != VV_OK)
        f->not_before_ns = now + AGAIN_NS; /* the file at hand grows meanwhile */
}

/* After a write that failed: what is there of it goes, and the file, which may be latched, is
 * opened anew. Where that fails too, some lines may come twice. */
static void undo_write(file_sink *f)
{
    vio_close(f->file);
    f->file = NULL;
    if (vio_open(f->io, f->name, VIO_READ | VIO_WRITE, &f->file, NULL) == VV_OK &&
        vio_truncate(f->file, f->size, NULL) != VV_OK) {
        vio_close(f->file);
        f->file = NULL;
    }
}

/* Write what was collected. */
static vv_status flush(evlog_sink *sink, uint64_t *lost, vv_error *err)
{
    file_sink *f = (file_sink *)sink;
    (void)lost;
    if (f->batch.len == 0)
        return VV_OK;
    vv_status st = open_file(f, err);
    if (st == VV_OK && f->size + f->batch.len > f->size_max) {
        rotate(f);
        st = open_file(f, err);
    }
    if (st == VV_OK) {
        st = vio_pwrite(f->file, f->size, f->batch.data, f->batch.len, err);
        if (st != VV_OK)
            undo_write(f);
    }
    if (st != VV_OK)
        return st == VV_INVALID ? VV_IO : st; /* tried again, whatever it is */
    f->size += f->batch.len;
    vv_buf_reset(&f->batch);
    return VV_OK;
}

static vv_status put(evlog_sink *sink, const vv_log_record *r, vv_error *err)
{
    file_sink *f = (file_sink *)sink;
    uint64_t lost = 0;
    bool is_full = f->batch.len + VV_LOG_LINE_MAX > BATCH_MAX ||
                   f->size + f->batch.len + VV_LOG_LINE_MAX > f->size_max;
    if (is_full && f->batch.len > 0) {
        vv_status st = flush(sink, &lost, err);
        if (st != VV_OK)
            return st;
    }
    uint8_t *to = vv_buf_reserve(&f->batch, VV_LOG_LINE_MAX);
    if (to == NULL) {
        f->batch.status = VV_OK; /* the lines that are in it stay */
        return vv_fail(err, VV_NO_MEMORY, "%s: lines of the log", f->name);
    }
    vv_buf_advance(&f->batch, vv_log_format(r, f->form, (char *)to));
    return VV_OK;
}

static void destroy(evlog_sink *sink)
{
    file_sink *f = (file_sink *)sink;
    vio_close(f->file);
    vio_destroy(f->own_io);
    vv_buf_fini(&f->batch);
    vv_free(f);
}

static const evlog_sink_ops file_ops = {.put = put, .flush = flush, .destroy = destroy};

/* A world of its own around the directory of a path. */
static vv_status open_directory(file_sink *f, const char *path, vv_error *err)
{
    char dir[VIO_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    if (len >= sizeof dir)
        return vv_fail(err, VV_INVALID, "'%.100s..' is too long", path);
    (void)snprintf(dir, sizeof dir, "%.*s", (int)len, path);
    if (len == 0)
        (void)snprintf(dir, sizeof dir, "%s", slash == NULL ? "." : "/");
    vv_status st = vio_posix_create(dir, &f->own_io, err);
    f->io = f->own_io;
    return st;
}

vv_status evlog_file_create(const evlog_options *opt, evlog_sink **out, vv_error *err)
{
    assert(opt->file != NULL && opt->file_size > 0);
    const char *slash = strrchr(opt->file, '/');
    const char *name = opt->io != NULL || slash == NULL ? opt->file : slash + 1;
    if (name[0] == '\0' || strlen(name) >= sizeof((file_sink *)NULL)->name)
        return vv_fail(err, VV_INVALID, "'%.100s' is no name of a file", opt->file);
    file_sink *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "log file");
    f->sink.ops = &file_ops;
    f->io = opt->io;
    f->clock = opt->clock;
    f->size_max = opt->file_size;
    f->count = opt->file_count;
    f->form = opt->form;
    memcpy(f->name, name, strlen(name) + 1);
    vv_buf_init(&f->batch, BATCH_MAX + VV_LOG_LINE_MAX);
    vv_status st = opt->io != NULL ? VV_OK : open_directory(f, opt->file, err);
    if (st != VV_OK) {
        destroy(&f->sink);
        return st;
    }
    *out = &f->sink;
    return VV_OK;
}
