/*
 * store_none.c - --data in a build of the client alone.
 */
#include "archive_files.h"
#include "base/error.h"
#include "eloq.h"
#include "files.h"
#include "store.h"

vv_status store_open_local(const cmd_common *c, store_use use, store **out, vv_error *err)
{
    (void)use;
    (void)out;
    return vv_fail(err, VV_UNSUPPORTED,
                   "this varve was built without the engine and cannot open %s; use --server, or a "
                   "build without -Dclient_only=true",
                   c->data);
}

vv_status files_check(const char *dir, const tier_args *tier, bool whole,
                      void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    (void)tier;
    (void)whole;
    (void)finding;
    (void)ctx;
    return vv_fail(err, VV_UNSUPPORTED,
                   "this varve was built without the engine and cannot check %s", dir);
}

vv_status files_dump(const char *path, void (*line)(void *ctx, const char *text), void *ctx,
                     vv_error *err)
{
    (void)line;
    (void)ctx;
    return vv_fail(err, VV_UNSUPPORTED,
                   "this varve was built without the engine and cannot read %s", path);
}

vv_status eloq_load(const eloq_job *job, eloq_progress *out, vv_error *err)
{
    *out = (eloq_progress){0};
    return vv_fail(err, VV_UNSUPPORTED,
                   "this varve was built without the engine and cannot write %s", job->data);
}

static int run_backup(cmd_ctx *ctx, const void *args, int argc, char **argv)
{
    (void)args;
    (void)argc;
    (void)argv;
    vv_error err = {0};
    vv_status st = vv_fail(&err, VV_UNSUPPORTED,
                           "this varve was built without the engine and knows no backups");
    return cmd_fail(ctx, st, &err);
}

const cmd_command cmd_backup = {.name = "backup",
                                .summary = "backups; in a build with the engine",
                                .synopsis = "",
                                .run = run_backup};

vv_status archive_files_attach(const cmd_ctx *ctx, const tier_args *tier, vv_error *err)
{
    (void)tier;
    return vv_fail(err, VV_UNSUPPORTED,
                   "this varve was built without the engine and cannot make %s", ctx->common.data);
}

vv_status archive_files_parquet(store *s, const archive_files_range *range, const char *path,
                                vv_error *err)
{
    (void)s;
    (void)range;
    return vv_fail(err, VV_UNSUPPORTED,
                   "this varve was built without the engine and cannot write %s", path);
}
