/* archive_files.c - see archive_files.h. */
#include "archive_files.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"

/* ---- Parquet ---- */

#define ASIDE ".part"

static vv_status write_bytes(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    if (fwrite(bytes, 1, len, ctx) == len)
        return VV_OK;
    return vv_fail_sys(err, VV_IO, errno, "write the Parquet file");
}

typedef struct adder {
    vv_tier_writer *writer;
    vv_status st;
    vv_error *err;
} adder;

static int add_message(void *ctx, const vv_message *m)
{
    adder *a = ctx;
    a->st = vv_tier_writer_add(a->writer, m, a->err);
    return a->st != VV_OK;
}

static vv_status write_parquet(store *s, const archive_files_range *range, FILE *file,
                               vv_error *err)
{
    adder a = {.err = err};
    const vv_tier_origin of = {.tenant = s->tenant,
                               .table = s->table,
                               .partition = range->partition,
                               .partition_count = range->partitions};
    vv_status st = vv_tier_writer_open(VV_TIER_PARQUET, &of, write_bytes, file, &a.writer, err);
    if (st == VV_OK)
        st = archive_walk(s, range, add_message, &a, err);
    if (st == VV_OK)
        st = a.st;
    if (st == VV_OK)
        st = vv_tier_writer_finish(a.writer, NULL, err);
    vv_tier_writer_close(a.writer);
    return st;
}

/* A file that is there stays until the new one is whole. */
vv_status archive_files_parquet(store *s, const archive_files_range *range, const char *path,
                                vv_error *err)
{
    char aside[4096];
    int len = snprintf(aside, sizeof aside, "%s" ASIDE, path);
    if (len < 0 || (size_t)len >= sizeof aside)
        return vv_fail(err, VV_INVALID, "the name of the file is too long");
    FILE *file = fopen(aside, "wbe");
    if (file == NULL)
        return vv_fail_sys(err, vv_status_of_errno(errno), errno, "'%s'", aside);
    vv_status st = write_parquet(s, range, file, err);
    if (fclose(file) != 0 && st == VV_OK)
        st = vv_fail_sys(err, VV_IO, errno, "write '%s'", aside);
    if (st == VV_OK && rename(aside, path) != 0)
        st = vv_fail_sys(err, vv_status_of_errno(errno), errno, "rename to '%s'", path);
    if (st != VV_OK)
        (void)remove(aside);
    return st;
}

/* ---- attach ---- */

static void note_finding(void *ctx, const char *text)
{
    (void)ctx;
    (void)fprintf(stderr, "varve archive: %s\n", text);
}

/* What to read it with, to be copied. */
static void tell_options(const tier_args *tier, const char *store_name, const char *dir)
{
    const struct {
        const char *option;
        const char *value;
    } said[] = {{"--backend", tier->backend},
                {"--bucket", tier->bucket},
                {"--prefix", tier->prefix},
                {"--endpoint", tier->endpoint},
                {"--region", tier->region}};
    (void)printf("attached %s: read it with --data %s", store_name, dir);
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        if (said[i].value != NULL)
            (void)printf(" %s '%s'", said[i].option, said[i].value);
    (void)printf("\n");
}

vv_status archive_files_attach(const cmd_ctx *ctx, const tier_args *tier, vv_error *err)
{
    vv_object_store *objects = NULL;
    vv_status st = tier_store_open(tier, &objects, err);
    if (st == VV_OK)
        st = vv_tier_attach(ctx->common.data, objects, note_finding, NULL, err);
    if (st == VV_OK)
        tell_options(tier, vv_object_store_name(objects), ctx->common.data);
    vv_object_store_close(objects);
    return st;
}
