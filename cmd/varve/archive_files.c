/* archive_files.c - see archive_files.h. */
#include "archive_files.h"

#include <errno.h>
#include <string.h>

#include "archive/archive.h"
#include "base/error.h"
#include "db/db.h"
#include "io/env.h"

/* ---- Parquet ---- */

static vv_status write_bytes(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    if (fwrite(bytes, 1, len, ctx) == len)
        return VV_OK;
    return vv_fail_sys(err, VV_IO, errno, "write the Parquet file");
}

typedef struct adder {
    arch_form *form;
    vv_status st;
    vv_error *err;
} adder;

static int add_message(void *ctx, const vv_message *m)
{
    adder *a = ctx;
    a->st = arch_form_add(a->form, m, a->err);
    return a->st != VV_OK;
}

static vv_status write_parquet(store *s, const archive_files_range *range, FILE *file,
                               vv_error *err)
{
    adder a = {.err = err};
    uint64_t size = 0;
    arch_identity who = {.partition = range->partition, .partition_count = range->partitions};
    (void)snprintf(who.tenant, sizeof who.tenant, "%s", s->tenant);
    (void)snprintf(who.table, sizeof who.table, "%s", s->table);
    vv_status st = arch_form_open(VV_TIER_PARQUET, &who, 0,
                                  (arch_sink){.write = write_bytes, .ctx = file}, &a.form, err);
    if (st == VV_OK)
        st = archive_walk(s, range, add_message, &a, err);
    if (st == VV_OK)
        st = a.st;
    if (st == VV_OK)
        st = arch_form_finish(a.form, &size, err);
    arch_form_close(a.form);
    return st;
}

vv_status archive_files_parquet(store *s, const archive_files_range *range, const char *path,
                                vv_error *err)
{
    FILE *file = fopen(path, "wbe");
    if (file == NULL)
        return vv_fail_sys(err, vv_status_of_errno(errno), errno, "'%s'", path);
    vv_status st = write_parquet(s, range, file, err);
    if (fclose(file) != 0 && st == VV_OK)
        st = vv_fail_sys(err, VV_IO, errno, "write '%s'", path);
    if (st != VV_OK)
        (void)remove(path);
    return st;
}

/* ---- attach ---- */

static void note_finding(void *ctx, const char *text)
{
    (void)ctx;
    (void)fprintf(stderr, "varve archive: %s\n", text);
}

vv_status archive_files_attach(const cmd_ctx *ctx, const tier_args *tier, vv_error *err)
{
    vv_env env = {.seed = 0};
    vv_object_store *objects = NULL;
    vv_status st = tier_store_open(tier, &objects, err);
    if (st == VV_OK)
        st = env_posix_init(&env, ctx->common.data, NULL, err);
    if (st == VV_OK)
        st = db_tier_attach(&env, objects, note_finding, NULL, err);
    vio_destroy(env.io);
    if (st == VV_OK)
        (void)printf("attached %s: read it with --data %s and the same --backend\n",
                     vv_object_store_name(objects), ctx->common.data);
    vv_object_store_close(objects);
    return st;
}
