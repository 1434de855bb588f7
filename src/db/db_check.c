/*
 * db_check.c - verify every byte of a closed store.
 *
 *   identity --> log, byte by byte --> runs of each shard, byte by byte --> contents of bulk loads
 *     that wait for a backup --> the store as a whole,
 *   opened without writing: does the log continue the runs, do OPEN records match the catalog, is
 *   each record found through its index, do the keys of series lead where they say, has each
 *   partition of a stream no gap
 *
 * Each part is looked at even when an earlier one has findings, so that one report shows all.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_series_int.h"
#include "db/db_stream_int.h"
#include "varve/tier.h"

typedef struct checker {
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    uint64_t count;
    const engine_tier *tier; /* where remote runs are */
} checker;

static void note(void *ctx, const char *text)
{
    checker *chk = ctx;
    chk->count++;
    if (chk->finding != NULL)
        chk->finding(chk->ctx, text);
}

static void VV_PRINTF(2, 3) find(checker *chk, const char *fmt, ...)
{
    char text[320];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    note(chk, text);
}

/* Damage is a finding; what keeps the check itself from going on is its answer. */
static vv_status settle(checker *chk, vv_status st, uint64_t before, const vv_error *why,
                        vv_error *err)
{
    if (st == VV_CORRUPT || st == VV_UNSUPPORTED || st == VV_NOT_FOUND) {
        if (chk->count == before)
            note(chk, why->msg);
        return VV_OK;
    }
    if (st != VV_OK && err != NULL)
        *err = *why;
    return st;
}

static vv_status check_log(vv_env *env, checker *chk, uint64_t *log_bytes, vv_error *err)
{
    vv_error why = {0};
    wal_recovery recovery = {0};
    /* The log tells harmless things too (an unfinished tail): only its status says damage. */
    checker quiet = {chk->finding, chk->ctx, 0, NULL};
    vv_status st = wal_check(env, DB_LOG_DIR, note, &quiet, &recovery, &why);
    *log_bytes = recovery.bytes;
    if (st == VV_CORRUPT)
        chk->count += quiet.count == 0 ? 1 : quiet.count;
    if (st == VV_CORRUPT && quiet.count == 0 && chk->finding != NULL)
        chk->finding(chk->ctx, why.msg);
    return st == VV_CORRUPT ? VV_OK : settle(chk, st, chk->count, &why, err);
}

/* ---- the store as a whole ---- */

static vv_status check_record_index(vv_table *table, vv_slice key, int64_t timestamp_ns,
                                    const engine_read *read, bool *found, vv_error *err)
{
    uint8_t bytes[ENGINE_KEY_MAX];
    vv_put_be32(bytes, table->cat->index_id);
    db_time_encode(timestamp_ns, bytes + ENGINE_TABLE_PREFIX);
    memcpy(bytes + ENGINE_TABLE_PREFIX + DB_INDEX_TIME_SIZE, key.data, key.len);
    engine_value value;
    vv_status st = table->db->ops->get(
        table->shard->eng, vv_slice_of(bytes, ENGINE_TABLE_PREFIX + DB_INDEX_TIME_SIZE + key.len),
        read, &value, err);
    *found = st == VV_OK;
    if (st == VV_OK)
        engine_value_release(&value);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status check_records(checker *chk, vv_table *table, vv_error *err)
{
    vv_cursor *c = NULL;
    vv_status st = vv_cursor_open(table, NULL, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        vv_record record;
        vv_error why;
        vv_slice key = vv_cursor_key(c);
        bool found = false;
        if (vv_record_parse(vv_cursor_value(c), &record, &why) != VV_OK) {
            find(chk, "table '%s': a record at version %lld: %s", table->cat->name,
                 (long long)vv_cursor_version(c), why.msg);
        } else {
            st = check_record_index(table, key, record.timestamp_ns, &c->read, &found, err);
            if (st == VV_OK && !found)
                find(chk, "table '%s': the record at version %lld is not in the time index",
                     table->cat->name, (long long)vv_cursor_version(c));
        }
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

static vv_status check_tables(vv_db *db, checker *chk, vv_error *err)
{
    cat_table **tables = NULL;
    size_t count = 0;
    vv_status st = cat_list(db->cat, NULL, &tables, &count, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        vv_table table = db_table_of(db, tables[i]);
        for (uint32_t p = 0; tables[i]->kind == VV_TABLE_STREAM && p < table.partition_count; p++)
            st = st == VV_OK ? db_stream_check(&table, p, note, chk, err) : st;
        if (tables[i]->kind != VV_TABLE_RECORD && tables[i]->kind != VV_TABLE_SERIES)
            continue;
        for (uint32_t p = 0; st == VV_OK && p < table.partition_count; p++) {
            vv_table part = db_part_at(&table, p);
            st = tables[i]->kind == VV_TABLE_RECORD ? check_records(chk, &part, err)
                                                    : db_series_check(&part, note, chk, err);
        }
    }
    if (tables != NULL)
        cat_list_free(tables, count);
    return st;
}

static vv_status check_shards(vv_db *db, checker *chk, vv_error *err)
{
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++) {
        vv_error why = {0};
        uint64_t before = chk->count;
        st = db->ops->check(db->shards[i].eng, note, chk, &why);
        st = settle(chk, st, before, &why, err);
        if (st != VV_OK)
            break;
        before = chk->count;
        st = cat_check(db->cat, i, db->shards[i].eng, note, chk, &why);
        st = settle(chk, st, before, &why, err);
    }
    return st;
}

static vv_status check_opened(vv_env *env, uint64_t log_bytes, checker *chk, vv_error *err)
{
    vv_db *db = NULL;
    vv_error why = {0};
    vv_options opt = VV_OPTIONS_INIT;
    opt.read_only = true;
    opt.memory_limit = UINT64_MAX / 4; /* all of the log has to fit: nothing can be flushed */
    /* Few memtables for a long log, no large ones for a short log. */
    opt.memtable_size = vv_max_u64(VV_MIB, vv_min_u64(log_bytes, 64 * VV_MIB));
    opt.cache_size = 32 * VV_MIB;
    vv_tier_options tier = {.size = sizeof tier, .objects = chk->tier->objects};
    opt.tier = &tier;
    vv_status st = db_open_env(env, &opt, &db, &why);
    if (st != VV_OK)
        return settle(chk, st, chk->count, &why, err);
    uint64_t before = chk->count;
    st = check_shards(db, chk, &why);
    if (st == VV_OK)
        st = check_tables(db, chk, &why);
    st = settle(chk, st, before, &why, err);
    (void)db_close(db, NULL);
    return st;
}

static vv_status check_parts(vv_env *env, uint32_t shard_count, checker *chk, uint64_t *log_bytes,
                             vv_error *err)
{
    vv_error why = {0};
    vv_status st = check_log(env, chk, log_bytes, err);
    for (uint32_t i = 0; st == VV_OK && i < shard_count; i++) {
        char dir[DB_SHARD_DIR_SIZE];
        db_shard_dir(i, dir);
        uint64_t before = chk->count;
        st = db_engine_check_dir(env, dir, i, chk->tier, note, chk, &why);
        st = settle(chk, st, before, &why, err);
        if (st == VV_OK && chk->finding != NULL)
            st = db_engine_list_leftovers(env, dir, i, chk->finding, chk->ctx, err);
    }
    return st == VV_OK ? db_load_check_dir(env->io, note, chk, err) : st;
}

vv_status db_check_env_tier(vv_env *env, vv_object_store *objects, bool whole,
                            void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    const engine_tier tier = {.objects = objects, .check_whole = whole};
    checker chk = {finding, ctx, 0, &tier};
    vio_file *lock = NULL;
    db_identity id;
    vv_status st = db_identity_read(env->io, &id, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_NOT_FOUND, "check: the directory holds no store");
    st = vio_lock(env->io, DB_LOCK_FILE, &lock, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "check");
    vv_error why = {0};
    st = db_identity_read(env->io, &id, &why);
    bool is_known = st == VV_OK;
    uint64_t log_bytes = 0;
    st = is_known ? check_parts(env, id.shard_count, &chk, &log_bytes, err)
                  : settle(&chk, st, 0, &why, err);
    vio_close(lock); /* the store takes it itself */
    if (st == VV_OK && is_known)
        st = check_opened(env, log_bytes, &chk, err);
    if (st == VV_BUSY && chk.count > 0) /* it needs a load that is among the findings */
        st = VV_OK;
    if (st != VV_OK)
        return vv_wrap(err, st, "check");
    if (chk.count > 0)
        return vv_fail(err, VV_CORRUPT, "check: %llu problems", (unsigned long long)chk.count);
    return VV_OK;
}

vv_status db_check_env(vv_env *env, void (*finding)(void *ctx, const char *text), void *ctx,
                       vv_error *err)
{
    return db_check_env_tier(env, NULL, false, finding, ctx, err);
}

vv_status vv_check(const char *dir, void (*finding)(void *ctx, const char *text), void *ctx,
                   vv_error *err)
{
    return vv_check_tier(dir, NULL, false, finding, ctx, err);
}

vv_status vv_check_tier(const char *dir, vv_object_store *objects, bool whole,
                        void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    db_world *world = NULL;
    vv_status st = db_world_create(dir, NULL, &world, err);
    if (st == VV_OK)
        st = db_check_env_tier(db_world_env(world), objects, whole, finding, ctx, err);
    db_world_destroy(world);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "'%s'", dir);
}
