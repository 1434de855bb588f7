/*
 * db_build.c - a store made from parts: files as they were taken, and the entries behind them.
 *
 *   VARVE.part -> directories, files, log, all durable -> VARVE.part becomes VARVE
 *
 * VARVE.part is the identity under another name. While it is there an open refuses the directory as
 * one that holds something else, so a half-made store is never taken for a whole or for a new one;
 * the rename is the one step that makes it a store. The identity is new: the copy goes its own way
 * from here on, and its versions are not those of the original.
 *
 * The log may make tables of engines that came behind the files: those engines are added to their
 * shards at the end. Two builds in one directory are kept apart by the lock of the store, which
 * stays there when a build gives up, so that all who come contend for one file.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/rng.h"
#include "db/db_capture.h"
#include "db/db_int.h"

#define PART_FILE DB_IDENTITY_FILE ".part"
#define LOG_SEGMENT                                                                                \
    (4u << 20) /* segments and ring of the log as it is made: an open makes its own */
#define LOG_RING (1u << 20)

struct db_build {
    vv_env *env;
    char root[VIO_PATH_MAX];
    uint32_t shard_count;
    uint64_t log_id;
    wal *log;
    uint64_t log_end;
    vio_file *lock;
    uint32_t slots[WAL_SHARD_MAX]; /* of engines that tables in the log are of */
    vv_buf dirs;                   /* below those of shards, NUL behind each: of further engines */
};

static void build_free(db_build *b)
{
    vio_close(b->lock);
    vv_buf_fini(&b->dirs);
    vv_free(b);
}

/* The directories below that of a shard: of an engine beside its home, and of engines' own. And
 * that of contents of bulk loads, which not every store has. */
static vv_status make_deeper(db_build *b, const char *path, vv_error *err)
{
    char parent[VIO_PATH_MAX];
    char dir[VIO_PATH_MAX];
    const char *last = strrchr(path, '/');
    if (last == NULL)
        return VV_OK;
    size_t len = (size_t)(last - path);
    bool is_of_loads = len == strlen(DB_LOAD_DIR) && memcmp(path, DB_LOAD_DIR, len) == 0;
    if (memchr(path, '/', len) == NULL && !is_of_loads)
        return VV_OK;
    for (size_t at = 0; at < b->dirs.len; at += strlen((const char *)b->dirs.data + at) + 1) {
        const char *known = (const char *)b->dirs.data + at;
        if (strlen(known) == len && memcmp(known, path, len) == 0)
            return VV_OK;
    }
    (void)snprintf(parent, sizeof parent, "%.*s", (int)len, path);
    vv_status st = make_deeper(b, parent, err);
    if (st != VV_OK)
        return st;
    vv_buf_append(&b->dirs, path, len);
    vv_buf_append_u8(&b->dirs, 0);
    if (b->dirs.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory to make a store");
    int n = snprintf(dir, sizeof dir, "%s%s%.*s", b->root, b->root[0] == '\0' ? "" : "/", (int)len,
                     path);
    assert(n > 0 && (size_t)n < sizeof dir); /* shorter than path itself, which fits */
    (void)n;
    return vio_mkdir(b->env->io, dir, err);
}

vv_status db_build_path(db_build *b, const char *path, char out[VIO_PATH_MAX], vv_error *err)
{
    int n = snprintf(out, VIO_PATH_MAX, "%s%s%s", b->root, b->root[0] == '\0' ? "" : "/", path);
    if (n < 0 || n >= VIO_PATH_MAX - 40)
        return vv_fail(err, VV_INVALID, "'%.80s...': the path is too long", out);
    return make_deeper(b, path, err);
}

/* ---- emptying a directory -------------------------------------------------------------------- */

typedef struct removal {
    vio *io;
    const char *dir;
    unsigned depth;
    const char *kept; /* stays; NULL: nothing does */
} removal;

static void remove_below(vio *io, const char *dir, unsigned depth, const char *kept);

static void remove_one(void *ctx, const char *name)
{
    const removal *r = ctx;
    char path[VIO_PATH_MAX];
    if (r->kept != NULL && strcmp(name, r->kept) == 0)
        return;
    int n = snprintf(path, sizeof path, "%s%s%s", r->dir, r->dir[0] == '\0' ? "" : "/", name);
    if (n < 0 || (size_t)n >= sizeof path)
        return;
    if (vio_remove(r->io, path, NULL) == VV_OK || r->depth == 0)
        return;
    remove_below(r->io, path, r->depth - 1, NULL);
    (void)!vio_remove(r->io, path, NULL);
}

/* As far as it goes: what is left is in nobody's way but the next checkpoint's. */
static void remove_below(vio *io, const char *dir, unsigned depth, const char *kept)
{
    removal r = {io, dir, depth, kept};
    (void)!vio_list(io, dir, remove_one, &r, NULL);
}

void db_build_discard(vio *io, const char *root)
{
    remove_below(io, root, 3, NULL);
    (void)!vio_remove(io, root, NULL);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void note_any(void *ctx, const char *name)
{
    char *found = ctx;
    if (strcmp(name, DB_LOCK_FILE) != 0)
        (void)snprintf(found, 64, "%s", name);
}

static vv_status check_empty(const db_build *b, vv_error *err)
{
    char found[64] = "";
    vv_status st = vio_list(b->env->io, b->root, note_any, found, err);
    if (st == VV_OK && found[0] != '\0')
        st = vv_fail(err, VV_INVALID,
                     "the directory is not empty (it holds '%s'): name an empty or a new one",
                     found);
    return st;
}

/* Not before the directory is seen to be empty: nothing is left in one that is another's. And seen
 * again then, because who held the lock meanwhile may have made a store. */
static vv_status take_place(db_build *b, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vv_error why = {0};
    vv_status st = vio_mkdir(b->env->io, b->root, err);
    if (st == VV_OK)
        st = check_empty(b, err);
    if (st == VV_OK)
        st = db_build_path(b, DB_LOCK_FILE, path, err);
    if (st != VV_OK)
        return st;
    st = vio_lock(b->env->io, path, &b->lock, &why);
    if (st == VV_BUSY)
        return vv_fail(err, VV_BUSY,
                       "another process is making a store in the directory: name another one");
    if (st != VV_OK && err != NULL)
        *err = why;
    return st == VV_OK ? check_empty(b, err) : st;
}

static vv_status put_identity(db_build *b, vv_error *err)
{
    db_identity id = {.shard_count = b->shard_count};
    vv_rng rng;
    char path[VIO_PATH_MAX];
    vv_rng_init(&rng, b->env->seed ^ (uint64_t)vv_clock_wall(b->env->clock));
    vv_rng_bytes(&rng, id.uuid, sizeof id.uuid);
    b->log_id = db_identity_log_id(&id);
    vv_status st = db_build_path(b, PART_FILE, path, err);
    return st == VV_OK ? db_identity_write_at(b->env->io, path, &id, err) : st;
}

static vv_status make_dirs(db_build *b, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < b->shard_count; i++) {
        char dir[DB_SHARD_DIR_SIZE];
        db_shard_dir(i, dir);
        st = db_build_path(b, dir, path, err);
        if (st == VV_OK)
            st = vio_mkdir(b->env->io, path, err);
    }
    return st;
}

static vv_status open_log(db_build *b, vv_error *err)
{
    char path[VIO_PATH_MAX];
    wal_options opt = {.env = b->env,
                       .dir = path,
                       .log_id = b->log_id,
                       .segment_size = LOG_SEGMENT,
                       .ring_size = LOG_RING};
    vv_status st = db_build_path(b, DB_LOG_DIR, path, err);
    return st == VV_OK ? wal_open(&opt, &b->log, err) : st;
}

vv_status db_build_begin(vv_env *env, const char *root, uint32_t shard_count, db_build **out,
                         vv_error *err)
{
    assert(root != NULL && shard_count > 0 && shard_count <= WAL_SHARD_MAX);
    db_build *b = vv_calloc(1, sizeof *b);
    if (b == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to make a store");
    b->env = env;
    vv_buf_init(&b->dirs, 1u << 20);
    b->shard_count = shard_count;
    (void)snprintf(b->root, sizeof b->root, "%s", root);
    vv_status st = take_place(b, err);
    if (st != VV_OK) {
        build_free(b);
        return st;
    }
    st = put_identity(b, err);
    if (st == VV_OK)
        st = make_dirs(b, err);
    if (st == VV_OK)
        st = open_log(b, err);
    if (st != VV_OK) {
        db_build_abort(b);
        return st;
    }
    *out = b;
    return VV_OK;
}

/* ---- parts ----------------------------------------------------------------------------------- */

vv_status db_build_file(db_build *b, const char *path, vv_slice content, vv_error *err)
{
    char to[VIO_PATH_MAX];
    vio_file *file = NULL;
    vv_status st = db_build_path(b, path, to, err);
    if (st == VV_OK)
        st = vio_open(b->env->io, to, VIO_WRITE | VIO_CREATE | VIO_EXCL, &file, err);
    if (st == VV_OK)
        st = vio_pwrite(file, 0, content.data, content.len, err);
    if (st == VV_OK)
        st = vio_sync(file, err);
    vio_close(file);
    return st;
}

/* A table is made on shard 0, before anything else of it is in the log. */
static vv_status note_engines(db_build *b, vv_slice payload, vv_error *err)
{
    engine_entry_iter it;
    engine_op op;
    vv_status st = engine_entry_open(payload, &it, err);
    while (st == VV_OK && (st = engine_entry_next(&it, &op, err)) == VV_OK) {
        cat_placed at = {.shard = 0};
        st = cat_placement(&op, &at, err);
        for (uint32_t p = 0; st == VV_OK && at.shard < b->shard_count && p < at.count; p++)
            b->slots[(at.shard + p) % b->shard_count] |= UINT32_C(1) << at.slot;
        st = st == VV_NOT_FOUND ? VV_OK : st;
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

vv_status db_build_entry(db_build *b, const wal_record *rec, vv_error *err)
{
    if (rec->shard == 0) {
        vv_status st = note_engines(b, rec->payload, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "version %" PRIu64 " of shard 0", rec->index);
    }
    return wal_append(b->log, rec, 1, &b->log_end, err);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* The files are those of an older state than the log's end: an engine that came between is not
 * among them. It begins empty, and the replay fills it. */
static vv_status add_engines(db_build *b, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < b->shard_count; i++) {
        char dir[DB_SHARD_DIR_SIZE];
        if ((b->slots[i] & ~ENGINE_ROUTE_HOME) == 0)
            continue;
        db_shard_dir(i, dir);
        st = db_build_path(b, dir, path, err);
        if (st == VV_OK)
            st = db_engine_add_to_dir(b->env, path, i, b->slots[i], err);
    }
    return st;
}

static vv_status sync_dirs(db_build *b, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vv_status st = VV_OK;
    for (size_t at = 0; st == VV_OK && at < b->dirs.len;) {
        const char *dir = (const char *)b->dirs.data + at;
        st = db_build_path(b, dir, path, err);
        if (st == VV_OK)
            st = vio_sync_dir(b->env->io, path, err);
        at += strlen(dir) + 1;
    }
    for (uint32_t i = 0; st == VV_OK && i < b->shard_count; i++) {
        char dir[DB_SHARD_DIR_SIZE];
        db_shard_dir(i, dir);
        st = db_build_path(b, dir, path, err);
        if (st == VV_OK)
            st = vio_sync_dir(b->env->io, path, err);
    }
    return st == VV_OK ? vio_sync_dir(b->env->io, b->root, err) : st;
}

static vv_status become_store(db_build *b, vv_error *err)
{
    char from[VIO_PATH_MAX];
    char to[VIO_PATH_MAX];
    vv_status st = db_build_path(b, PART_FILE, from, err);
    if (st == VV_OK)
        st = db_build_path(b, DB_IDENTITY_FILE, to, err);
    if (st == VV_OK)
        st = vio_rename(b->env->io, from, to, err);
    return st == VV_OK ? vio_sync_dir(b->env->io, b->root, err) : st;
}

vv_status db_build_finish(db_build *b, vv_error *err)
{
    wal *log = b->log;
    vv_status st = wal_sync(log, b->log_end, err);
    b->log = NULL;
    if (st == VV_OK)
        st = wal_close(log, err);
    else
        wal_abandon(log);
    if (st == VV_OK)
        st = add_engines(b, err);
    if (st == VV_OK)
        st = sync_dirs(b, err);
    if (st == VV_OK)
        st = become_store(b, err);
    if (st != VV_OK) {
        db_build_abort(b);
        return st;
    }
    build_free(b);
    return VV_OK;
}

void db_build_abort(db_build *b)
{
    if (b == NULL)
        return;
    if (b->log != NULL)
        wal_abandon(b->log);
    remove_below(b->env->io, b->root, 3, DB_LOCK_FILE);
    (void)!vio_sync_dir(b->env->io, b->root, NULL);
    build_free(b);
}
