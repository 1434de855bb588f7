/*
 * rocks_files.c - the files of one moment, for checkpoints and backups.
 *
 *   list_files   RocksDB links its sorted files into copy-N/ and writes the manifest that goes with
 *                them beside (its checkpoint): that directory is listed, as what the store's own
 *                directory is to hold
 *   release      the last one removes copy-N/
 *
 * Why not the files where they are: RocksDB's C interface names those that are live, but not the
 * manifest, and that is written on in place. The checkpoint that IDENTITY of the copy tells is
 * asked for first: RocksDB may have more by then, and never less.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "rocks/rocks_int.h"

void rocks_hold_files(engine *base)
{
    rocks_engine *e = rocks_engine_of(base);
    vv_mutex_lock(&e->copy_lock);
    e->holds++;
    vv_mutex_unlock(&e->copy_lock);
}

/* ---- the directory ---- */

static void name_copy(const rocks_engine *e, uint64_t n, char out[VIO_PATH_MAX])
{
    const char *dir = e->store.dir;
    (void)snprintf(out, VIO_PATH_MAX, "%s%s" ROCKS_COPY_PREFIX "%" PRIu64, dir,
                   dir[0] == '\0' ? "" : "/", n);
}

typedef struct removal {
    vio *io;
    const char *dir;
} removal;

static void remove_one(void *ctx, const char *name)
{
    const removal *r = ctx;
    char path[VIO_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", r->dir, name);
    if (n > 0 && (size_t)n < sizeof path)
        (void)!vio_remove(r->io, path, NULL);
}

void rocks_remove_copy(vio *io, const char *dir)
{
    removal r = {io, dir};
    (void)!vio_list(io, dir, remove_one, &r, NULL);
    (void)!vio_remove(io, dir, NULL);
}

void rocks_release_files(engine *base)
{
    rocks_engine *e = rocks_engine_of(base);
    char dir[VIO_PATH_MAX];
    vv_mutex_lock(&e->copy_lock);
    assert(e->holds > 0);
    bool is_last = --e->holds == 0;
    uint64_t first = e->copy_first;
    uint64_t last = e->copy_last;
    if (is_last)
        e->copy_first = last + 1;
    vv_mutex_unlock(&e->copy_lock);
    for (uint64_t n = first; is_last && n <= last; n++) {
        name_copy(e, n, dir);
        rocks_remove_copy(e->store.env->io, dir);
    }
}

/* As RocksDB names it: from the root of the file system. */
static vv_status make_copy(rocks_engine *e, uint64_t n, vv_error *err)
{
    size_t size = strlen(e->store.path) + sizeof ROCKS_COPY_PREFIX + 24;
    char *message = NULL;
    char *path = vv_alloc(size);
    if (path == NULL)
        return vv_fail(err, VV_NO_MEMORY, "backup: no memory");
    (void)snprintf(path, size, "%s/" ROCKS_COPY_PREFIX "%" PRIu64, e->store.path, n);
    rocksdb_checkpoint_t *maker = rocksdb_checkpoint_object_create(e->store.db, &message);
    if (message == NULL)
        rocksdb_checkpoint_create(maker, path, 0, &message);
    if (maker != NULL)
        rocksdb_checkpoint_object_destroy(maker);
    vv_free(path);
    return rocks_fail(message, "backup", err);
}

/* ---- the list ---- */

typedef struct listing {
    const rocks_engine *e;
    const char *copy;
    vv_status (*each)(void *ctx, const engine_file *file, vv_error *err);
    void *ctx;
    vv_status st;
    vv_error *err;
} listing;

static void list_one(void *ctx, const char *name)
{
    listing *l = ctx;
    const char *dir = l->e->store.dir;
    char path[VIO_PATH_MAX];
    char source[VIO_PATH_MAX];
    if (l->st != VV_OK)
        return;
    int a = snprintf(path, sizeof path, "%s%srocksdb/%s", dir, dir[0] == '\0' ? "" : "/", name);
    int b = snprintf(source, sizeof source, "%s/%s", l->copy, name);
    if (a < 0 || b < 0 || (size_t)a >= sizeof path || (size_t)b >= sizeof source) {
        l->st = vv_fail(l->err, VV_INVALID, "'%.80s...': the path is too long", path);
        return;
    }
    const engine_file file = {.path = path, .source = source};
    l->st = l->each(l->ctx, &file, l->err);
}

static vv_status list_bytes(const listing *l, const char *name, vv_slice content)
{
    const char *dir = l->e->store.dir;
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s%s%s", dir, dir[0] == '\0' ? "" : "/", name);
    const engine_file file = {.path = path, .content = content};
    return l->each(l->ctx, &file, l->err);
}

vv_status rocks_list_files(engine *base,
                           vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                           void *ctx, int64_t *checkpoint, vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    char copy[VIO_PATH_MAX];
    uint8_t identity[ROCKS_IDENTITY_SIZE];
    char current[ROCKS_CURRENT_MAX];
    int64_t reached = atomic_load_explicit(&e->checkpoint, memory_order_acquire);
    vv_mutex_lock(&e->copy_lock);
    assert(e->holds > 0);
    uint64_t n = ++e->copy_last;
    vv_mutex_unlock(&e->copy_lock);
    name_copy(e, n, copy);
    vv_status st = make_copy(e, n, err);
    if (st != VV_OK)
        return st;
    listing l = {.e = e, .copy = copy, .each = each, .ctx = ctx, .err = err};
    st = vio_list(e->store.env->io, copy, list_one, &l, err);
    if (st == VV_OK)
        st = l.st;
    rocks_store_identity(&e->store, reached, identity);
    if (st == VV_OK)
        st = list_bytes(&l, "IDENTITY", vv_slice_of(identity, sizeof identity));
    if (st == VV_OK)
        st = list_bytes(&l, "CURRENT", vv_slice_of(current, rocks_store_current(current)));
    if (st == VV_OK)
        *checkpoint = reached;
    return st;
}
