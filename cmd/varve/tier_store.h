/*
 * tier_store.h - the object store that a command was told of by its options.
 */
#ifndef VARVE_CMD_VARVE_TIER_STORE_H
#define VARVE_CMD_VARVE_TIER_STORE_H

#include "cmd.h"
#include "varve/object.h"

typedef struct tier_args {
    const char *backend; /* NULL: none */
    const char *bucket;
    const char *prefix;
    const char *endpoint;
    const char *region;
    bool archives;    /* by the rules of the tables; else nothing is, meanwhile. Set by a command */
    int64_t local_ns; /* with archives: of the rule for tables without one */
} tier_args;

/* Its options, in the options of a command whose arguments have a tier_args called field. */
#define TIER_OPTS(type, field)                                                                     \
    {"backend", 0,                                                                                 \
     CMD_TEXT,  offsetof(type, field.backend),                                                     \
     "NAME",    "the object store: file, s3, gcs or PATH.so; default none"},                       \
        {"bucket", 0,                                                                              \
         CMD_TEXT, offsetof(type, field.bucket),                                                   \
         "NAME",   "its bucket; of file its directory"},                                           \
        {"prefix", 0,                                                                              \
         CMD_TEXT, offsetof(type, field.prefix),                                                   \
         "NAME",   "in front of its objects; default messages, as varved's; '' is none"},          \
        {"endpoint", 0,                                                                            \
         CMD_TEXT,   offsetof(type, field.endpoint),                                               \
         "URL",      "of s3 and gcs; default Amazon's and Google's"},                              \
    {                                                                                              \
        "region", 0, CMD_TEXT, offsetof(type, field.region), "NAME", "of s3"                       \
    }

/** The command opens --data with this object store. CMD_USAGE, and it was told: a server has one of
 * its own. */
static inline int tier_args_take(cmd_ctx *ctx, const tier_args *a)
{
    if (ctx->common.data == NULL && a->backend != NULL)
        return cmd_usage(ctx, "--backend is of --data: a server has its own");
    ctx->common.tier = a;
    return CMD_OK;
}

/** Credentials come from the environment, as object.h says. *out NULL where no backend is named.
 * Gives *out: vv_object_store_close. */
VV_MUST_CHECK vv_status tier_store_open(const tier_args *a, vv_object_store **out, vv_error *err);

#endif
