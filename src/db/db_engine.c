/*
 * db_engine.c - the engines of a store: its home, which the magic of a shard's manifest tells and
 * which never changes, and the others that tables may ask for, each with a slot of its own among
 * the table ids (route.h). A table of the home's kind lies in slot 0.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

#ifdef VV_HAS_ROCKSDB
static const engine_ops *const rocksdb_ops = &rocks_ops;
#else
static const engine_ops no_rocksdb_ops = {.name = "rocksdb"}; /* a name, and nothing behind it */
static const engine_ops *const rocksdb_ops = &no_rocksdb_ops;
#endif

static vv_status refuse_unbuilt(const engine_ops *ops, vv_error *err)
{
    if (ops->open != NULL)
        return VV_OK;
    return vv_fail(err, VV_UNSUPPORTED,
                   "this build has no engine %s: build with -D%s=enabled (make build-%s does)",
                   ops->name, ops->name, ops->name);
}

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

static const engine_ops *engine_of_magic(const char magic[8])
{
    return memcmp(magic, "VARVETRE", 8) == 0   ? &btree_ops
           : memcmp(magic, "VARVEMAN", 8) == 0 ? &lsm_ops
           : memcmp(magic, "VARVEROC", 8) == 0 ? rocksdb_ops
                                               : NULL;
}

/* The engine of a shard's directory; what cannot be told is the default's to explain. */
static const engine_ops *engine_of_dir(vio *io, const char *dir)
{
    char magic[8] = "";
    return read_magic(io, dir, magic, NULL) == VV_OK ? engine_of_magic(magic) : NULL;
}

/* By kind, which is the slot too. Frozen: on disk. */
static const engine_ops *const engines[] = {
    [VV_ENGINE_LSM] = &lsm_ops,
    [VV_ENGINE_BTREE] = &btree_ops,
#ifdef VV_HAS_ROCKSDB
    [VV_ENGINE_ROCKSDB] = &rocks_ops,
#endif
};
static_assert(ARRAY_LEN(engines) <= ENGINE_ROUTE_SLOTS, "each has a slot");

vv_status db_engine_check_kind(vv_engine_kind kind, vv_error *err)
{
    if (kind == VV_ENGINE_DEFAULT || ((unsigned)kind < ARRAY_LEN(engines) && engines[kind] != NULL))
        return VV_OK;
    if (kind == VV_ENGINE_ROCKSDB)
        return refuse_unbuilt(rocksdb_ops, err);
    return vv_fail(err, VV_INVALID, "engine is %d: it is lsm, btree or rocksdb", (int)kind);
}

vv_status db_engine_check_form(const vv_db *db, vv_engine_kind kind, const vv_table_options *opt,
                               vv_error *err)
{
    const engine_ops *ops = kind == VV_ENGINE_DEFAULT ? db->home : engines[kind];
    bool is_known =
        (unsigned)opt->compression <= VV_COMPRESSION_ZSTD; /* else the catalog refuses */
    bool has_forms = ops != &btree_ops && ops != rocksdb_ops;
    if (has_forms || !is_known)
        return VV_OK;
    const char *what = opt->compression != VV_COMPRESSION_AUTO ? "compression"
                       : opt->value_threshold != 0             ? "value_threshold"
                                                               : NULL;
    if (what == NULL)
        return VV_OK;
    return vv_fail(err, VV_UNSUPPORTED,
                   "a table of the engine '%s' has no %s of its own: leave it at its default, or "
                   "take the engine 'lsm'",
                   ops->name, what);
}

vv_status db_engine_choose(vv_env *env, const vv_options *opt, const engine_ops **out,
                           vv_error *err)
{
    vv_engine_kind kind = VV_ENGINE_DEFAULT;
    if (opt != NULL && opt->size >= offsetof(vv_options, engine) + sizeof opt->engine)
        kind = opt->engine;
    vv_status st = db_engine_check_kind(kind, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "options");
    assert((unsigned)kind < ARRAY_LEN(engines));
    char dir[DB_SHARD_DIR_SIZE];
    db_shard_dir(0, dir);
    const engine_ops *has = engine_of_dir(env->io, dir);
    *out = has != NULL ? has : engines[kind == VV_ENGINE_DEFAULT ? VV_ENGINE_LSM : kind];
    return refuse_unbuilt(*out, err);
}

void db_engine_route(const engine_ops *home, engine_route_options *out)
{
    *out = (engine_route_options){.kind = {home}, .shift = ENGINE_ROUTE_SHIFT};
    for (uint32_t kind = 1; kind < ARRAY_LEN(engines); kind++)
        out->kind[kind] = engines[kind] == home ? NULL : engines[kind];
}

uint32_t db_engine_slot(const vv_db *db, vv_engine_kind kind)
{
    return kind == VV_ENGINE_DEFAULT || engines[kind] == db->home ? 0 : (uint32_t)kind;
}

vv_status db_door_engine(void *ctx, uint32_t shard, uint32_t slot, vv_error *err)
{
    vv_db *db = ctx;
    return engine_route_add(db->shards[shard].eng, slot, err);
}

vv_status db_engine_check_tables(vv_db *db, vv_error *err)
{
    cat_table **tables = NULL;
    size_t count = 0;
    vv_status st = cat_list(db->cat, NULL, &tables, &count, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        const cat_table *t = tables[i];
        for (uint32_t p = 0; st == VV_OK && p < t->partition_count; p++) {
            uint32_t shard = cat_partition_shard(t, p);
            if (engine_route_member(db->shards[shard].eng, cat_slot(t->id)) == NULL)
                st = vv_fail(err, VV_CORRUPT,
                             "shard %u has no engine '%s' for table '%s': file 'ENGINES' is "
                             "missing, restore it from a backup",
                             shard, t->engine, t->name);
        }
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    return st;
}

/* ---- a directory that nobody has open ---- */

static void note_listed(void *ctx, const char *name)
{
    uint32_t *slots = ctx;
    for (uint32_t kind = 1; kind < ARRAY_LEN(engines); kind++)
        if (engines[kind] != NULL && strcmp(engines[kind]->name, name) == 0)
            *slots |= UINT32_C(1) << kind;
}

static vv_status add_engines(const engine_ops *home, const engine_options *opt, uint32_t slots,
                             vv_error *err)
{
    engine_route_options route;
    engine *eng = NULL;
    db_engine_route(home, &route);
    vv_status st = engine_route_open(&route, opt, &eng, err);
    for (; st == VV_OK && slots != 0; slots &= slots - 1)
        st = engine_route_add(eng, (uint32_t)__builtin_ctz(slots), err);
    if (eng != NULL)
        eng->ops->close(eng);
    return st;
}

vv_status db_engine_add_to_dir(vv_env *env, const char *dir, uint32_t shard, uint32_t slots,
                               vv_error *err)
{
    uint32_t listed = ENGINE_ROUTE_HOME;
    char magic[8] = "";
    vv_status st = engine_route_list(env->io, dir, note_listed, &listed, err);
    if (st != VV_OK || (slots & ~listed) == 0)
        return st;
    st = read_magic(env->io, dir, magic, err);
    if (st != VV_OK)
        return st;
    const engine_ops *home = engine_of_magic(magic);
    if (home == NULL)
        return vv_fail(err, VV_CORRUPT, "directory '%s': which engine it is of cannot be told",
                       dir);
    st = refuse_unbuilt(home, err);
    if (st != VV_OK)
        return st;
    vv_budget budget;
    vv_budget_init(&budget, 0);
    engine_options opt = {.env = env,
                          .dir = dir,
                          .shard = shard,
                          .memtable_size = VV_MIB,
                          .cache_size = VV_MIB,
                          .budget = &budget};
    return add_engines(home, &opt, slots & ~listed, err);
}

typedef struct dir_check {
    vv_env *env;
    const char *dir;
    uint32_t shard;
    const engine_tier *tier;
    vv_status (*look)(vv_env *env, const char *dir, uint32_t shard, const engine_tier *tier,
                      void (*each)(void *ctx, const char *text), void *ctx, vv_error *err);
    void (*each)(void *ctx, const char *text);
    void *ctx;
    vv_status status;
    vv_error *err;
} dir_check;

static vv_status check_engine(vv_env *env, const char *dir, uint32_t shard, const engine_tier *tier,
                              void (*finding)(void *ctx, const char *text), void *ctx,
                              vv_error *err)
{
    const engine_ops *ops = engine_of_dir(env->io, dir);
    if (ops == &btree_ops)
        return btree_check_dir(env, dir, shard, finding, ctx, err);
#ifdef VV_HAS_ROCKSDB
    if (ops == rocksdb_ops)
        return rocks_check_dir(env, dir, shard, finding, ctx, err);
#else
    if (ops == rocksdb_ops)
        return refuse_unbuilt(ops, err);
#endif
    return lsm_check_dir(env, dir, shard, tier, finding, ctx, err);
}

static void look_at_member(void *ctx, const char *name)
{
    dir_check *c = ctx;
    char dir[VIO_PATH_MAX];
    (void)snprintf(dir, sizeof dir, "%s/%s", c->dir, name);
    if (c->status == VV_OK || c->status == VV_CORRUPT) {
        vv_status st = c->look(c->env, dir, c->shard, c->tier, c->each, c->ctx, c->err);
        c->status = st == VV_OK ? c->status : st;
    }
}

static vv_status look_at_all(dir_check *c)
{
    c->status = c->look(c->env, c->dir, c->shard, c->tier, c->each, c->ctx, c->err);
    vv_status st = engine_route_list(c->env->io, c->dir, look_at_member, c,
                                     c->status == VV_OK ? c->err : NULL);
    return c->status == VV_OK ? st : c->status;
}

vv_status db_engine_check_dir(vv_env *env, const char *dir, uint32_t shard, const engine_tier *tier,
                              void (*finding)(void *ctx, const char *text), void *ctx,
                              vv_error *err)
{
    dir_check c = {env, dir, shard, tier, check_engine, finding, ctx, VV_OK, err};
    return look_at_all(&c);
}

static vv_status list_leftovers(vv_env *env, const char *dir, uint32_t shard,
                                const engine_tier *tier, void (*each)(void *ctx, const char *text),
                                void *ctx, vv_error *err)
{
    (void)tier;
    return lsm_list_leftovers(env, dir, shard, each, ctx, err);
}

vv_status db_engine_list_leftovers(vv_env *env, const char *dir, uint32_t shard,
                                   void (*each)(void *ctx, const char *text), void *ctx,
                                   vv_error *err)
{
    dir_check c = {env, dir, shard, NULL, list_leftovers, each, ctx, VV_OK, err};
    vv_status st = look_at_all(&c);
    return st == VV_CORRUPT || st == VV_UNSUPPORTED ? VV_OK : st; /* the check says that */
}
