/*
 * db_archive.c - states of a store's trees that are kept under a name: made, listed, read, dropped,
 * and brought back.
 *
 * An archive is the whole tree of a shard, at a version that all of it had been flushed to; so it
 * has every table of the engine btree there, and no other. Making one flushes each shard first.
 *
 * Restoring walks the archive and the table side by side and writes the differences, in batches: it
 * can be broken off and begun again, and changes nothing where nothing differs. A key of the
 * archive that has expired since is as absent as one that was never there. A record comes with its
 * index entry in one batch; entries of what is no more go with the walks that meet them.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "db/db_int.h"
#include "varve/record.h"

#define BUSY_TIMEOUT_NS (60 * VV_NS_PER_S)
#define BUSY_PAUSE_NS (1 * VV_NS_PER_MS)
#define RESTORE_BATCH_BYTES (256 * VV_KIB)

/* The tree of a shard, or NULL. */
static engine *tree_of(const vv_db *db, const db_shard *shard)
{
    return engine_route_member(shard->eng, db->home == &btree_ops ? 0 : VV_ENGINE_BTREE);
}

static vv_status check_name(const char *name, vv_error *err)
{
    size_t len = name == NULL ? 0 : strlen(name);
    if (len == 0 || len >= sizeof((vv_archive_info *)NULL)->name)
        return vv_fail(err, VV_INVALID, "an archive's name has 1 to %zu bytes",
                       sizeof((vv_archive_info *)NULL)->name - 1);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x21 || (unsigned char)name[i] > 0x7e)
            return vv_fail(err, VV_INVALID,
                           "an archive's name has byte 0x%02x at %zu: letters, digits and signs "
                           "are allowed",
                           (unsigned char)name[i], i);
    return VV_OK;
}

/* ---- listing ---- */

typedef struct lister {
    uint32_t shard;
    int (*each)(void *ctx, const vv_archive_info *info);
    void *ctx;
    bool end;
} lister;

static void list_one(void *ctx, const btree_archive_info *from)
{
    lister *l = ctx;
    vv_archive_info info = {.shard = l->shard,
                            .version = from->version,
                            .time_ns = from->time_ns,
                            .periodic = from->periodic};
    static_assert(sizeof info.name == sizeof from->name, "names fit");
    memcpy(info.name, from->name, sizeof info.name);
    if (!l->end)
        l->end = l->each(l->ctx, &info) != 0;
}

vv_status vv_archive_list(vv_db *db, int (*each)(void *ctx, const vv_archive_info *info), void *ctx,
                          vv_error *err)
{
    (void)err;
    lister l = {.each = each, .ctx = ctx};
    for (uint32_t i = 0; i < db->shard_count && !l.end; i++) {
        engine *tree = tree_of(db, &db->shards[i]);
        l.shard = i;
        if (tree != NULL)
            btree_archive_list(tree, list_one, &l);
    }
    return VV_OK;
}

typedef struct finder {
    const char *name;
    vv_archive_info found;
    bool is_there;
} finder;

static int find_one(void *ctx, const vv_archive_info *info)
{
    finder *f = ctx;
    if (strcmp(info->name, f->name) != 0)
        return 0;
    f->found = *info;
    f->is_there = true;
    return 1;
}

/* ---- making and dropping ---- */

/* One job at a time changes a tree: ours comes when the one that is under way has ended. */
static vv_status patiently(vv_db *db, engine *tree,
                           vv_status (*change)(engine *tree, const char *name, vv_error *err),
                           const char *name, vv_error *err)
{
    int64_t deadline = vv_clock_mono(db->env->clock) + BUSY_TIMEOUT_NS;
    for (;;) {
        vv_status st = change(tree, name, err);
        if (st != VV_BUSY || vv_clock_mono(db->env->clock) >= deadline)
            return st;
        vv_error why = {0};
        vv_status worked = tree->ops->work(tree, &why);
        if (worked == VV_NOT_FOUND && db->env->threads == NULL)
            return st;
        if (worked == VV_NOT_FOUND)
            vv_clock_sleep(db->env->clock, BUSY_PAUSE_NS);
        else if (worked != VV_OK && worked != VV_NO_MEMORY && worked != VV_BUSY)
            return vv_fail(err, worked, "%s", why.msg);
    }
}

static vv_status create_on(vv_db *db, db_shard *shard, const char *name, vv_error *err)
{
    vv_status st = db_flush_shard(db, shard, err);
    VV_POINT("archive.before_shard");
    return st == VV_OK ? patiently(db, tree_of(db, shard), btree_archive_create, name, err) : st;
}

vv_status vv_archive_create(vv_db *db, const char *name, vv_error *err)
{
    uint32_t made = 0;
    uint32_t i = 0;
    finder f = {.name = name};
    vv_status st = check_name(name, err);
    if (st == VV_OK)
        st = db_check_writable(db, err);
    if (st == VV_OK)
        st = vv_archive_list(db, find_one, &f, err);
    if (st == VV_OK && f.is_there)
        st = vv_fail(err, VV_CONFLICT, "archive '%s' exists", name);
    if (st == VV_OK)
        st = db_await(db, wal_end_position(db->log), err);
    for (; st == VV_OK && i < db->shard_count; i++) {
        if (tree_of(db, &db->shards[i]) == NULL)
            continue;
        st = create_on(db, &db->shards[i], name, err);
        made += st == VV_OK;
    }
    while (st != VV_OK && i > 0) { /* what it has made; what cannot go is in the list */
        engine *tree = tree_of(db, &db->shards[--i]);
        if (made > 0 && tree != NULL)
            (void)!patiently(db, tree, btree_archive_drop, name, NULL);
    }
    if (st == VV_OK && made == 0)
        st = vv_fail(err, VV_UNSUPPORTED,
                     "archives are of tables of the engine 'btree', and there is none: make a "
                     "table with that engine first");
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "create archive");
}

vv_status vv_archive_drop(vv_db *db, const char *name, vv_error *err)
{
    bool dropped = false;
    vv_status st = check_name(name, err);
    if (st == VV_OK)
        st = db_check_writable(db, err);
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++) {
        engine *tree = tree_of(db, &db->shards[i]);
        if (tree == NULL)
            continue;
        st = patiently(db, tree, btree_archive_drop, name, err);
        dropped |= st == VV_OK;
        st = st == VV_NOT_FOUND ? VV_OK : st;
        VV_POINT("archive.after_drop");
    }
    if (st == VV_OK && !dropped)
        st = vv_fail(err, VV_NOT_FOUND, "there is no archive '%s'", name);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "drop archive");
}

/* ---- reading ---- */

/* The archive of a table's shard, if it can know the table. */
static vv_status find_of_table(const vv_table *table, const char *name, engine **tree,
                               vv_archive_info *out, vv_error *err)
{
    finder f = {.name = name};
    vv_status st = check_name(name, err);
    if (st != VV_OK)
        return st;
    *tree = engine_route_of(table->shard->eng, table->cat->id);
    if ((*tree)->ops != &btree_ops)
        return vv_fail(err, VV_UNSUPPORTED,
                       "table '%s' is of the engine '%s': archives are of tables of 'btree'",
                       table->cat->name, table->cat->engine);
    lister l = {.shard = table->shard->id, .each = find_one, .ctx = &f};
    btree_archive_list(*tree, list_one, &l);
    if (!f.is_there)
        return vv_fail(err, VV_NOT_FOUND, "there is no archive '%s'", name);
    if (table->cat->created_ns > f.found.time_ns)
        return vv_fail(err, VV_NOT_FOUND, "archive '%s' is older than table '%s'", name,
                       table->cat->name);
    *out = f.found;
    return VV_OK;
}

vv_status db_archive_cursor(vv_table *table, const char *name, vv_slice lower, vv_slice upper,
                            engine_read *read, engine_cursor **out, vv_error *err)
{
    vv_archive_info info = {.version = 0};
    engine *tree = NULL;
    vv_status st = find_of_table(table, name, &tree, &info, err);
    if (st != VV_OK)
        return st;
    *read = (engine_read){.version = info.version, .now_ns = info.time_ns};
    engine_cursor_options opt = {.read = *read, .lower = lower, .upper = upper};
    return btree_archive_cursor(tree, name, &opt, out, err);
}

/* ---- restoring ---- */

typedef struct restorer {
    vv_table *table;
    const char *name;
    vv_batch batch;
    bool is_open; /* batch is */
    int64_t now_ns;
    uint64_t changed;
} restorer;

static vv_status commit_part(restorer *r, vv_error *err)
{
    if (!r->is_open)
        return VV_OK;
    vv_status st = db_commit(r->table->db, &r->batch, VV_DURABLE_SYNC, err);
    db_batch_fini(&r->batch);
    r->is_open = false;
    VV_POINT("archive.part_restored");
    return st;
}

/* The entry of a record in the index by time. */
static vv_status put_index(restorer *r, vv_slice key, vv_slice stored, vv_error *err)
{
    vv_record record;
    uint8_t bytes[DB_INDEX_TIME_SIZE + VV_KEY_MAX];
    vv_status st = vv_record_parse(stored, &record, err);
    if (st == VV_OK && key.len > VV_KEY_MAX)
        st = vv_fail(err, VV_CORRUPT, "a key of %zu bytes", key.len);
    if (st != VV_OK)
        return st;
    db_time_encode(record.timestamp_ns, bytes);
    memcpy(bytes + DB_INDEX_TIME_SIZE, key.data, key.len);
    return db_batch_add(&r->batch, ENGINE_PUT, r->table->cat->index_id,
                        vv_slice_of(bytes, DB_INDEX_TIME_SIZE + key.len), vv_slice_of(NULL, 0), 0,
                        err);
}

static vv_status change(restorer *r, engine_kind kind, const engine_item *item, vv_error *err)
{
    vv_status st = VV_OK;
    vv_slice key =
        vv_slice_of(item->key.data + ENGINE_TABLE_PREFIX, item->key.len - ENGINE_TABLE_PREFIX);
    vv_slice value = kind == ENGINE_PUT ? item->value : vv_slice_of(NULL, 0);
    if (r->is_open && r->batch.payload.len + key.len + value.len > RESTORE_BATCH_BYTES)
        st = commit_part(r, err);
    if (st == VV_OK && !r->is_open) {
        db_batch_init(&r->batch, r->table->db, NULL, 0);
        r->is_open = true;
        st = db_batch_bind(&r->batch, r->table, err);
    }
    if (st == VV_OK)
        st = db_batch_add(&r->batch, kind, r->table->cat->id, key, value,
                          kind == ENGINE_PUT ? item->expires_ns : 0, err);
    if (st == VV_OK && kind == ENGINE_PUT && r->table->cat->index_id != 0)
        st = put_index(r, key, value, err);
    r->changed += st == VV_OK;
    return st;
}

/* To a key that is alive now: what expired since the archive was made is as absent from it. */
static vv_status skip_expired(const restorer *r, engine_cursor *then, vv_error *err)
{
    vv_status st = VV_OK;
    while (st == VV_OK && engine_cursor_valid(then)) {
        const engine_item *item = engine_cursor_item(then);
        if (item->expires_ns == 0 || item->expires_ns > r->now_ns)
            break;
        st = engine_cursor_next(then, err);
    }
    return st;
}

/* One step of the walk over both, which are ordered alike. */
static vv_status compare(restorer *r, engine_cursor *then, engine_cursor *now, vv_error *err)
{
    const engine_item *a = engine_cursor_valid(then) ? engine_cursor_item(then) : NULL;
    const engine_item *b = engine_cursor_valid(now) ? engine_cursor_item(now) : NULL;
    int order = a == NULL ? 1 : b == NULL ? -1 : vv_slice_cmp(a->key, b->key);
    vv_status st = VV_OK;
    if (a != NULL &&
        (order < 0 || (b != NULL && order == 0 &&
                       (!vv_slice_eq(a->value, b->value) || a->expires_ns != b->expires_ns))))
        st = change(r, ENGINE_PUT, a, err);
    else if (b != NULL && order > 0)
        st = change(r, ENGINE_DELETE, b, err);
    if (st == VV_OK && order <= 0)
        st = engine_cursor_next(then, err);
    if (st == VV_OK)
        st = skip_expired(r, then, err);
    if (st == VV_OK && order >= 0)
        st = engine_cursor_next(now, err);
    return st;
}

static vv_status restore_keys(restorer *r, vv_error *err)
{
    static const vv_cursor_options defaults = VV_CURSOR_OPTIONS_INIT;
    uint8_t low[ENGINE_TABLE_PREFIX];
    uint8_t high[ENGINE_TABLE_PREFIX];
    vv_put_be32(low, r->table->cat->id);
    vv_put_be32(high, r->table->cat->id + 1);
    vv_slice lower = vv_slice_of(low, sizeof low);
    vv_slice upper = vv_slice_of(high, sizeof high);
    engine_cursor *then = NULL;
    engine_cursor *now = NULL;
    engine_read read;
    bool pinned = false;
    vv_status st =
        db_cursor_begin(r->table, &defaults, lower, upper, false, &pinned, &read, &now, err);
    if (st == VV_OK)
        r->now_ns = read.now_ns;
    if (st == VV_OK)
        st = db_archive_cursor(r->table, r->name, lower, upper, &read, &then, err);
    if (st == VV_OK)
        st = engine_cursor_seek(now, vv_slice_of(NULL, 0), err);
    if (st == VV_OK)
        st = engine_cursor_seek(then, vv_slice_of(NULL, 0), err);
    if (st == VV_OK)
        st = skip_expired(r, then, err);
    while (st == VV_OK && (engine_cursor_valid(then) || engine_cursor_valid(now)))
        st = compare(r, then, now, err);
    engine_cursor_close(then);
    engine_cursor_close(now);
    return st == VV_OK ? commit_part(r, err) : st;
}

static vv_status restore_part(vv_table *table, const char *name, uint64_t *changed, vv_error *err)
{
    restorer r = {.table = table, .name = name};
    vv_status st = restore_keys(&r, err);
    if (r.is_open)
        db_batch_fini(&r.batch);
    *changed += r.changed;
    return st;
}

vv_status vv_archive_restore(vv_table *table, const char *name, uint64_t *changed, vv_error *err)
{
    uint64_t all = 0;
    vv_status st = db_check_table(table, err);
    if (st == VV_OK)
        st = db_check_writable(table->db, err);
    if (st == VV_OK && table->cat->kind == VV_TABLE_STREAM)
        st = vv_fail(err, VV_UNSUPPORTED,
                     "messages are not taken back: read them from the archive (%s)",
                     "vv_stream_read_options.archive");
    if (st == VV_OK && table->cat->kind == VV_TABLE_SERIES) /* writers know its series by heart */
        st = vv_fail(err, VV_UNSUPPORTED,
                     "it holds series: they come back from a backup of the store");
    for (uint32_t p = 0; st == VV_OK && p < table->partition_count; p++) {
        vv_table part = db_part_at(table, p);
        st = restore_part(&part, name, &all, err);
    }
    if (st != VV_OK)
        return vv_wrap(err, st, "restore table '%s'", table->cat->name);
    if (changed != NULL)
        *changed = all;
    return VV_OK;
}
