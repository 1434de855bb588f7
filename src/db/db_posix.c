/*
 * db_posix.c - a store in the real world: its own environment on a directory, and the lines of its
 * log handed to the caller.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

/* What vv_db_open makes around a store; freed after it. */
struct db_world {
    vv_env env;
    vv_log log;
    bool has_log;
    vv_log *direct; /* the caller's, in place of it; NULL: none */
    void (*line)(void *ctx, int level, const char *line, size_t len);
    void *line_ctx;
};

/* The level is the first field of a line after its time. */
static int level_of(const char *line, size_t len)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    static const char mark[] = "level=";
    const char *at = memmem(line, len < 64 ? len : 64, mark, sizeof mark - 1);
    for (int i = 0; at != NULL && i < (int)ARRAY_LEN(names); i++)
        if (strncmp(at + sizeof mark - 1, names[i], strlen(names[i])) == 0)
            return i;
    return VV_LOG_INFO;
}

void db_log_direct(void *ctx, int level, const char *line, size_t len)
{
    (void)level;
    vv_log *log = ctx;
    if (log->write != NULL)
        log->write(log->ctx, line, len);
}

static void write_line(void *ctx, const char *line, size_t len)
{
    db_world *world = ctx;
    world->line(world->line_ctx, level_of(line, len), line, len);
}

/* A value that is none of them is refused with the other options. */
static vio_backend backend_of(vv_io_backend asked)
{
    switch (asked) {
    case VV_IO_POSIX:
        return VIO_BACKEND_POSIX;
    case VV_IO_THREADS:
        return VIO_BACKEND_THREADS;
    case VV_IO_URING:
        return VIO_BACKEND_RING;
    case VV_IO_AUTO:
        break;
    }
    return VIO_BACKEND_AUTO;
}

void db_world_destroy(db_world *world)
{
    if (world == NULL)
        return;
    vio_destroy(world->env.io);
    if (world->has_log)
        vv_log_fini(&world->log);
    vv_free(world);
}

vv_status db_world_create(const char *dir, const vv_options *opt, db_world **out, vv_error *err)
{
    db_world *world = vv_calloc(1, sizeof *world);
    if (world == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    /* A program built against an older header leaves the newer fields at their defaults. */
    vv_options all = VV_OPTIONS_INIT;
    if (opt != NULL)
        memcpy(&all, opt, opt->size < sizeof all ? opt->size : sizeof all);
    if (all.log == db_log_direct) {
        world->direct = all.log_ctx;
    } else if (all.log != NULL) {
        world->line = all.log;
        world->line_ctx = all.log_ctx;
        vv_log_init(&world->log, (vv_log_level)all.log_level,
                    all.log_json ? VV_LOG_JSON : VV_LOG_LOGFMT, vv_clock_real(), write_line, world);
        world->has_log = true;
    }
    vv_log *log = world->has_log ? &world->log : world->direct;
    vio_posix_options io = {
        .backend = backend_of(all.io_backend), .files_max = all.max_open_files, .log = log};
    vv_status st = env_posix_open(&world->env, dir, &io, err);
    if (st != VV_OK) {
        db_world_destroy(world);
        return st;
    }
    if (log != NULL && !env_huge_pages())
        vv_log_to(
            log, VV_LOG_INFO, "db",
            "no huge pages here: the block cache lies in small ones, reads cost some time more",
            VV_KV_S("setting", "/sys/kernel/mm/transparent_hugepage/enabled"),
            VV_KV_S("wanted", "madvise"));
    *out = world;
    return VV_OK;
}

vv_env *db_world_env(db_world *world)
{
    return &world->env;
}

vv_status vv_db_open(const char *dir, const vv_options *opt, vv_db **out, vv_error *err)
{
    db_world *world = NULL;
    if (dir == NULL || dir[0] == '\0')
        return vv_fail(err, VV_INVALID, "open: the directory's name is empty");
    vv_error why = {0}; /* also of what may be absent: an open that goes well says nothing */
    vv_status st = db_world_create(dir, opt, &world, &why);
    const engine_ops *ops = NULL;
    if (st == VV_OK)
        st = db_engine_choose(&world->env, opt, &ops, &why);
    if (st == VV_OK)
        st = db_open_engine(&world->env, opt, ops, out, &why);
    if (st != VV_OK) {
        db_world_destroy(world);
        if (err != NULL)
            *err = why;
        return vv_wrap(err, st, "open '%s'", dir);
    }
    (*out)->world = world;
    return VV_OK;
}

vv_status vv_db_close(vv_db *db, vv_error *err)
{
    if (db == NULL)
        return VV_OK;
    db_world *world = db->world;
    vv_status st = db_close(db, err);
    db_world_destroy(world);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "close");
}
