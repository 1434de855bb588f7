/*
 * db_dump.c - a file of a store as text; which kind it is, its first bytes tell.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "db/db_stream_int.h"

typedef void line_fn(void *ctx, const char *text);

/* ---- the identity file and the catalog ---- */

static vv_status dump_identity(vio *io, const char *name, line_fn *line, void *ctx, vv_error *err)
{
    db_identity id;
    uint8_t *bytes = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(io, name, VV_BLOCK, &bytes, &len, err);
    if (st == VV_OK)
        st = db_identity_decode(bytes, len, &id, err);
    vv_free(bytes);
    if (st != VV_OK)
        return st;
    char text[128];
    int n = snprintf(text, sizeof text, "store: %u shards, uuid ", id.shard_count);
    for (size_t i = 0; i < sizeof id.uuid; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%02x", id.uuid[i]);
    line(ctx, text);
    return VV_OK;
}

#define TEXT_FILE_MAX 256u /* CURRENT and LOCK are one short line */

typedef struct lines {
    line_fn *line;
    void *ctx;
    vv_db *db;
    vv_error *err;
    vv_status status; /* of the first table that could not be told */
} lines;

static vv_status dump_stream(const lines *l, const vv_table_info *t)
{
    vv_table *table = NULL;
    vv_status st = vv_table_open(l->db, t->tenant, t->name, &table, l->err);
    if (st == VV_OK)
        st = db_stream_dump(table, l->line, l->ctx, l->err);
    vv_table_close(table);
    return st;
}

static int dump_table(void *ctx, const vv_table_info *t)
{
    lines *l = ctx;
    char text[512];
    char over[32] = "";
    if (t->partitions > 1)
        (void)snprintf(over, sizeof over, ", partitions %u", t->partitions);
    (void)snprintf(text, sizeof text,
                   "table %s/%s: id %u, kind %s, engine %s, shard %u, version_retention_ns %" PRId64
                   ", created_ns %" PRId64 "%s",
                   t->tenant, t->name, t->id,
                   t->kind == VV_TABLE_RECORD   ? "record"
                   : t->kind == VV_TABLE_SERIES ? "series"
                   : t->kind == VV_TABLE_STREAM ? "stream"
                                                : "kv",
                   t->engine, t->shard, t->version_retention_ns, t->created_ns, over);
    l->line(l->ctx, text);
    if (t->kind == VV_TABLE_STREAM)
        l->status = dump_stream(l, t);
    return l->status != VV_OK;
}

/* A store's directory: what it is and the tables in its catalog. */
static vv_status dump_store(vv_env *env, line_fn *line, void *ctx, vv_error *err)
{
    vv_db *db = NULL;
    vv_options opt = VV_OPTIONS_INIT;
    opt.read_only = true;
    opt.memory_limit = UINT64_MAX / 4;
    opt.cache_size = VV_MIB;
    vv_status st = dump_identity(env->io, DB_IDENTITY_FILE, line, ctx, err);
    if (st == VV_OK)
        st = db_open_env(env, &opt, &db, err);
    if (st != VV_OK)
        return st;
    lines l = {.line = line, .ctx = ctx, .db = db, .err = err};
    st = vv_table_list_names(db, NULL, dump_table, &l, err);
    if (st == VV_OK)
        st = l.status;
    (void)db_close(db, NULL);
    return st;
}

/* ---- files ---- */

/* A file of one line of text. */
static vv_status dump_text(vio *io, const char *name, const char *what, line_fn *line, void *ctx,
                           vv_error *err)
{
    char out[TEXT_FILE_MAX + 80];
    uint8_t *text = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(io, name, TEXT_FILE_MAX, &text, &len, err);
    if (st != VV_OK)
        return st;
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            text[i] = i + 1 == len ? '\0' : '?';
    (void)snprintf(out, sizeof out, "%s: %s", what, len == 0 ? "empty" : (const char *)text);
    line(ctx, out);
    vv_free(text);
    return VV_OK;
}

/* IDENTITY of a shard in RocksDB: read here, since a build without that engine tells it too. */
static vv_status dump_rocks(vv_env *env, const char *path, line_fn *line, void *ctx, vv_error *err)
{
    static const size_t size = 28;
    uint8_t *p = NULL;
    size_t len = 0;
    char text[128];
    vv_status st = vio_read_file(env->io, path, size, &p, &len, err);
    if (st != VV_OK)
        return st;
    if (len != size || vv_get_le32(p + 24) != vv_crc32c(0, p, 24)) {
        vv_free(p);
        return vv_fail(err, VV_CORRUPT, "it fails its checksum");
    }
    (void)snprintf(text, sizeof text, "identity of RocksDB's shard %u format %u checkpoint %lld",
                   vv_get_le32(p + 12), vv_get_le32(p + 8), (long long)vv_get_le64(p + 16));
    vv_free(p);
    line(ctx, text);
    return VV_OK;
}

/* A run begins with its data: what it is stands in its last block. */
static bool has_run_footer(vio *io, const char *name)
{
    uint8_t foot[8] = {0};
    uint64_t size = 0;
    vio_file *file = NULL;
    vv_status st = vio_open(io, name, VIO_READ, &file, NULL);
    if (st == VV_OK)
        st = vio_size(file, &size, NULL);
    if (st == VV_OK && size >= VV_BLOCK)
        st = vio_pread_full(file, size - VV_BLOCK, foot, sizeof foot, NULL);
    vio_close(file);
    return st == VV_OK && memcmp(foot, "VARVERUN", sizeof foot) == 0;
}

static vv_status dump_file(vv_env *env, const char *name, line_fn *line, void *ctx, vv_error *err)
{
    static const struct {
        const char *magic;
        vv_status (*dump)(vv_env *env, const char *path, line_fn *line, void *ctx, vv_error *err);
    } kinds[] = {
        {"VARVEWAL", wal_dump_file},       {"VARVERNG", wal_dump_file},
        {"VARVEMAN", lsm_dump_manifest},   {"VARVEVAL", lsm_dump_values},
        {"VARVETRE", btree_dump_manifest}, {"VARVEENG", engine_route_dump},
        {"VARVEROC", dump_rocks},
    };
    uint8_t head[8] = {0};
    size_t got = 0;
    vio_file *file = NULL;
    vv_status st = vio_open(env->io, name, VIO_READ, &file, err);
    if (st == VV_OK)
        st = vio_pread(file, 0, head, sizeof head, &got, err);
    vio_close(file);
    if (st != VV_OK)
        return st;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (memcmp(head, kinds[i].magic, sizeof head) == 0)
            return kinds[i].dump(env, name, line, ctx, err);
    if (memcmp(head, "VARVEDB\n", sizeof head) == 0)
        return dump_identity(env->io, name, line, ctx, err);
    if (strncmp(name, "run-", 4) == 0)
        return lsm_dump_run(env, name, line, ctx, err);
    if (has_run_footer(env->io, name))
        return vv_fail(err, VV_INVALID,
                       "it is a run under another name, and its sums hold its number: give it the "
                       "name run- and twelve digits that it had");
    if (strncmp(name, "data-", 5) == 0 && name[5] >= '0' && name[5] <= '9') /* nor has it one */
        return btree_dump_data(env, name, line, ctx, err);
    const char *dot = strrchr(name, '.');
    if (head[0] == 0 && dot != NULL && strcmp(dot, ".seg") == 0) {
        line(ctx, "a log segment made ahead, not yet begun");
        return VV_OK;
    }
    if (strcmp(name, "CURRENT") == 0)
        return dump_text(env->io, name, "the manifest in force and the sum of its name", line, ctx,
                         err);
    if (strcmp(name, "LOCK") == 0)
        return dump_text(env->io, name, "the process that has or had the store open", line, ctx,
                         err);
    return vv_fail(err, VV_INVALID, "it is no file of a varve store");
}

/* The directory part of path, "." when it has none. Gives *out: vv_free. */
static vv_status split(const char *path, char **out, const char **name, vv_error *err)
{
    const char *slash = strrchr(path, '/');
    vv_slice dir = slash == NULL   ? vv_slice_str(".")
                   : slash == path ? vv_slice_str("/")
                                   : vv_slice_of(path, (size_t)(slash - path));
    *name = slash == NULL ? path : slash + 1;
    *out = vv_slice_strdup(dir);
    return *out != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory");
}

static vv_status dump_in_parent(const char *path, line_fn *line, void *ctx, vv_error *err)
{
    char *dir = NULL;
    const char *name = NULL;
    db_world *world = NULL;
    vv_status st = split(path, &dir, &name, err);
    if (st == VV_OK && name[0] == '\0')
        st = vv_fail(err, VV_INVALID, "it names no file");
    if (st == VV_OK)
        st = db_world_create(dir, NULL, &world, err);
    if (st == VV_OK)
        st = dump_file(db_world_env(world), name, line, ctx, err);
    db_world_destroy(world);
    vv_free(dir);
    return st;
}

static bool is_store(vio *io)
{
    db_identity id;
    vv_status st = db_identity_read(io, &id, NULL);
    return st == VV_OK || st == VV_CORRUPT || st == VV_UNSUPPORTED;
}

vv_status vv_dump(const char *path, void (*line)(void *ctx, const char *text), void *ctx,
                  vv_error *err)
{
    db_world *world = NULL;
    vv_status st = db_world_create(path, NULL, &world, err);
    if (st == VV_OK && is_store(db_world_env(world)->io))
        st = dump_store(db_world_env(world), line, ctx, err);
    else if (st == VV_OK)
        st = dump_in_parent(path, line, ctx, err);
    db_world_destroy(world);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "dump '%s'", path);
}
