/*
 * objs_file_list.c - the objects of a directory in the order of their names; what a crash left.
 *
 * Names sort as whole strings, so a directory "a" stands where "a/" does: behind an object "a-b".
 * The tree of sum files tells the two apart by their '#'. Only directories that may hold a name of
 * the prefix, behind start_after, are looked into; the names of one directory a level are in
 * memory.
 */
#include "object/objs_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define SUM_DIR ".varve/sum"
/* What another process may be about to store, and its uploads, are left alone for so long. */
#define LEFTOVER_NS (24 * 3600 * VV_NS_PER_S)
#define LEFTOVER_PARTS_NS (7 * LEFTOVER_NS)

/* One directory: each entry "name" of an object or "name/" of a directory. */
typedef struct entries {
    char **key;
    size_t count;
    size_t cap;
    bool failed;
} entries;

static void entries_free(entries *e)
{
    for (size_t i = 0; i < e->count; i++)
        vv_free(e->key[i]);
    vv_free(e->key);
}

static void add_entry(void *ctx, const char *name)
{
    entries *e = ctx;
    size_t len = strlen(name);
    if (e->failed || len == 0)
        return;
    char *key = vv_alloc(len + 2);
    if (key == NULL) {
        e->failed = true;
        return;
    }
    memcpy(key, name, len + 1);
    if (key[len - 1] == '#')
        key[len - 1] = '\0';
    else
        memcpy(key + len, "/", 2);
    if (e->count == e->cap) {
        size_t cap = e->cap == 0 ? 32 : e->cap * 2;
        char **more = vv_realloc(e->key, cap * sizeof *more);
        if (more == NULL) {
            vv_free(key);
            e->failed = true;
            return;
        }
        e->key = more;
        e->cap = cap;
    }
    e->key[e->count++] = key;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct walk {
    file_store *f;
    const char *prefix;
    const char *after;
    uint32_t left;
    vv_object_each each;
    void *ctx;
    bool more;
    bool stop;
    char path[FILE_PATH_MAX]; /* below SUM_DIR, as far as we are */
} walk;

static vv_status give(walk *w, vv_error *err)
{
    char path[FILE_PATH_MAX];
    file_sum sum;
    vv_object_info info;
    if (strcmp(w->path, w->after) <= 0 || strncmp(w->path, w->prefix, strlen(w->prefix)) != 0)
        return VV_OK;
    if (w->left == 0) {
        w->more = true;
        w->stop = true;
        return VV_OK;
    }
    file_sum_path(w->path, path);
    vv_status st = file_sum_read(w->f->io, path, w->path, &sum, NULL, err);
    if (st == VV_NOT_FOUND)
        return VV_OK; /* removed just now */
    if (st != VV_OK)
        return st;
    file_info_of(&sum, &info);
    w->left--;
    w->stop = !w->each(w->ctx, w->path, &info);
    return VV_OK;
}

/* Whether names that begin with dir ("a/b/") can be asked for. */
static bool may_hold(const walk *w, const char *dir)
{
    size_t dir_len = strlen(dir);
    size_t prefix_len = strlen(w->prefix);
    if (strncmp(dir, w->prefix, (size_t)vv_min_u64(dir_len, prefix_len)) != 0)
        return false;
    return strncmp(dir, w->after, dir_len) >= 0;
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as a name has parts, which is bounded by its length
static vv_status walk_dir(walk *w, size_t len, vv_error *err)
{
    char dir[FILE_PATH_MAX + sizeof SUM_DIR];
    entries e = {0};
    (void)snprintf(dir, sizeof dir, "%s%s%.*s", SUM_DIR, len == 0 ? "" : "/",
                   (int)(len == 0 ? 0 : len - 1), w->path);
    vv_status st = vio_list(w->f->io, dir, add_entry, &e, err);
    if (st == VV_OK && e.failed)
        st = vv_fail(err, VV_NO_MEMORY, "the names of %s", dir);
    if (st == VV_OK && e.count > 0)
        qsort(e.key, e.count, sizeof *e.key, by_name);
    for (size_t i = 0; st == VV_OK && !w->stop && i < e.count; i++) {
        size_t n = strlen(e.key[i]);
        if (n == 0 || len + n > OBJS_FULL_NAME_MAX)
            continue; /* no name of ours */
        memcpy(w->path + len, e.key[i], n + 1);
        if (e.key[i][n - 1] != '/')
            st = give(w, err);
        else if (may_hold(w, w->path))
            st = walk_dir(w, len + n, err);
    }
    w->path[len] = '\0';
    entries_free(&e);
    return st;
}

vv_status file_list(void *self, const char *prefix, const char *start_after, uint32_t limit,
                    vv_object_each each, void *ctx, bool *more, vv_object_outcome *oc,
                    vv_error *err)
{
    file_store *f = self;
    walk w = {
        .f = f, .prefix = prefix, .after = start_after, .left = limit, .each = each, .ctx = ctx};
    if (atomic_load(&f->cancelled))
        return objs_fault(oc, VV_OBJECT_FAULT_LOCAL, false,
                          vv_fail(err, VV_CLOSED, "the store was cancelled"));
    vv_status st = walk_dir(&w, 0, err);
    *more = w.more;
    return st == VV_OK ? VV_OK : file_fault(oc, st, false);
}

/* ---- what a crash left ---------------------------------------------------------------------- */

/* How long ago the id was made that a name in hexadecimal begins with; 0: it is no id. */
static int64_t age_of(file_store *f, const char *name)
{
    char hex[17];
    char *end = NULL;
    (void)snprintf(hex, sizeof hex, "%.16s", name);
    uint64_t made = strtoull(hex, &end, 16);
    return end == hex + 16 ? vv_clock_wall(f->clock) - (int64_t)made : 0;
}

/* tmp/ID# is of an object whose bytes were not renamed yet, or of a put that never was. */
static vv_status finish(file_store *f, const char *key, vv_error *err)
{
    char tmp_sum[FILE_PATH_MAX];
    char data[FILE_PATH_MAX];
    char path[FILE_PATH_MAX];
    file_sum mine;
    file_sum now;
    (void)snprintf(tmp_sum, sizeof tmp_sum, ".varve/tmp/%s#", key);
    vv_status st = file_sum_read(f->io, tmp_sum, NULL, &mine, NULL, err);
    if (st != VV_OK) /* not whole: it was never linked, or damage took it: then its bytes stay */
        return st == VV_CORRUPT || st == VV_UNSUPPORTED || st == VV_NOT_FOUND ? VV_OK : st;
    file_tmp_path(mine.id, false, data);
    file_sum_path(mine.name, path);
    st = file_sum_read(f->io, path, mine.name, &now, NULL, err);
    if (st == VV_OK && memcmp(now.id, mine.id, sizeof now.id) == 0) {
        /* It shows, and may be durable or not: it must be, before the bytes of the one before go.
         */
        st = file_sync_dir_of(f, path, err);
        if (st != VV_OK)
            return st;
        st = vio_rename(f->io, data, mine.name, err);
        if (st == VV_OK)
            st = file_sync_dir_of(f, mine.name, err);
        if (st == VV_OK || st == VV_NOT_FOUND)
            file_drop(f->io, tmp_sum);
    } else if ((st == VV_OK || st == VV_NOT_FOUND) && age_of(f, key) > LEFTOVER_NS) {
        file_drop(f->io, data);
        file_drop(f->io, tmp_sum);
    }
    return st == VV_NOT_FOUND || st == VV_CORRUPT ? VV_OK : st;
}

/* First what has sums; then bytes that have none. */
static vv_status sweep_tmp(file_store *f, entries *e, vv_error *err)
{
    vv_status st = VV_OK;
    if (e->count > 0)
        qsort(e->key, e->count, sizeof *e->key, by_name);
    for (size_t i = 0; st == VV_OK && i < e->count; i++)
        if (strchr(e->key[i], '/') == NULL)
            st = finish(f, e->key[i], err);
    for (size_t i = 0; st == VV_OK && i < e->count; i++) {
        char path[FILE_PATH_MAX];
        size_t n = strcspn(e->key[i], "/");
        bool has_sums = i > 0 && strlen(e->key[i - 1]) == n &&
                        memcmp(e->key[i - 1], e->key[i], n) == 0; /* "ID" sorts before "ID/" */
        (void)snprintf(path, sizeof path, ".varve/tmp/%.*s", (int)n, e->key[i]);
        if (e->key[i][n] == '/' && !has_sums && age_of(f, e->key[i]) > LEFTOVER_NS)
            file_drop(f->io, path);
    }
    return st;
}

/* Uploads that nobody completed. */
static void sweep_parts(file_store *f, const entries *e)
{
    for (size_t i = 0; i < e->count; i++) {
        char id[40];
        (void)snprintf(id, sizeof id, "%.32s", e->key[i]);
        if (age_of(f, id) > LEFTOVER_PARTS_NS)
            file_drop_parts(f, id);
    }
}

vv_status file_recover(file_store *f, vv_error *err)
{
    entries tmp = {0};
    entries parts = {0};
    vio_file *held = NULL;
    vv_status st = file_lock(f, &held, err);
    if (st == VV_OK)
        st = vio_list(f->io, ".varve/tmp", add_entry, &tmp, err);
    if (st == VV_OK)
        st = vio_list(f->io, ".varve/parts", add_entry, &parts, err);
    if (st == VV_OK && (tmp.failed || parts.failed))
        st = vv_fail(err, VV_NO_MEMORY, "the names of .varve/tmp");
    if (st == VV_OK)
        st = sweep_tmp(f, &tmp, err);
    if (st == VV_OK)
        sweep_parts(f, &parts);
    file_unlock(f, held);
    entries_free(&tmp);
    entries_free(&parts);
    return st == VV_BUSY ? VV_OK : st; /* somebody stores here: it is nobody's leftover */
}
