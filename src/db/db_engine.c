/*
 * db_engine.c - which engine a store has: an existing one keeps the one it was made with, which the
 * magic of its manifests tells.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

/* The magic of the manifest that a shard's CURRENT names. VV_NOT_FOUND in a new store. */
static vv_status read_magic(vio *io, const char *dir, char magic[8], vv_error *err)
{
    char path[VIO_PATH_MAX];
    uint8_t *text = NULL;
    size_t len = 0;
    (void)snprintf(path, sizeof path, "%s/CURRENT", dir);
    vv_status st = vio_read_file(io, path, 256, &text, &len, err);
    if (st != VV_OK)
        return st;
    size_t name = 0;
    while (name < len && text[name] > ' ' && text[name] != '/')
        name++;
    (void)snprintf(path, sizeof path, "%s/%.*s", dir, (int)name, (const char *)text);
    vv_free(text);
    vio_file *file = NULL;
    size_t got = 0;
    st = vio_open(io, path, VIO_READ, &file, err);
    if (st == VV_OK)
        st = vio_pread(file, 0, magic, 8, &got, err);
    vio_close(file);
    return st == VV_OK && got < 8 ? VV_NOT_FOUND : st;
}

/* The engine of a shard's directory; what cannot be told is the default's to explain. */
static const engine_ops *engine_of_dir(vio *io, const char *dir)
{
    char magic[8] = "";
    if (read_magic(io, dir, magic, NULL) != VV_OK)
        return NULL;
    return memcmp(magic, "VARVETRE", 8) == 0   ? &btree_ops
           : memcmp(magic, "VARVEMAN", 8) == 0 ? &lsm_ops
                                               : NULL;
}

static const engine_ops *engine_of_kind(vv_engine_kind kind)
{
    return kind == VV_ENGINE_BTREE ? &btree_ops : &lsm_ops;
}

vv_status db_engine_choose(vv_env *env, const vv_options *opt, const engine_ops **out,
                           vv_error *err)
{
    vv_engine_kind kind = VV_ENGINE_DEFAULT;
    if (opt != NULL && opt->size >= offsetof(vv_options, engine) + sizeof opt->engine)
        kind = opt->engine;
    if (kind != VV_ENGINE_DEFAULT && kind != VV_ENGINE_LSM && kind != VV_ENGINE_BTREE)
        return vv_fail(err, VV_INVALID, "options: engine is %d: it is lsm or btree", (int)kind);
    char dir[DB_SHARD_DIR_SIZE];
    db_shard_dir(0, dir);
    const engine_ops *has = engine_of_dir(env->io, dir);
    *out = has != NULL ? has : engine_of_kind(kind);
    if (has != NULL && kind != VV_ENGINE_DEFAULT && has != engine_of_kind(kind))
        return vv_fail(err, VV_INVALID,
                       "the store was made with the engine '%s' and keeps it: leave the engine out "
                       "or name that",
                       has->name);
    return VV_OK;
}

vv_status db_engine_check_dir(vv_env *env, const char *dir, uint32_t shard,
                              void (*finding)(void *ctx, const char *text), void *ctx,
                              vv_error *err)
{
    if (engine_of_dir(env->io, dir) == &btree_ops)
        return btree_check_dir(env, dir, shard, finding, ctx, err);
    return lsm_check_dir(env, dir, shard, finding, ctx, err);
}
