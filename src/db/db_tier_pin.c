/*
 * db_tier_pin.c - objects that backups lead to stay.
 *
 *   a backup:  pin of its repository := versions of the oldest backup in it --> state taken
 *   removal:   an object that died behind a pinned version stays, as for a reader of that version
 *
 * A backup has a table's records of objects and not the objects, and restored it finds them where
 * they lay. So the store remembers, for each repository it is backed up to, from which versions on
 * something in it may be restored. The next backup moves that on, when older ones were dropped; and
 * when none comes for vv_tier_options.backup_keep_ns the repository counts no longer.
 *
 * A pin is a key of the system table of shard 0 (docs/format/store.md) with the identity of the
 * store: a copy that was restored has a new one, and is not held by what its original was.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/point.h"
#include "db/db_capture.h"
#include "db/db_tier_int.h"

#define FORMAT 1u
#define KEY_SIZE (1u + DB_REPO_ID_SIZE)
#define HEAD_SIZE 32u /* format, zeros, count of shards, uuid, time */
#define VALUE_MAX (HEAD_SIZE + 8u * WAL_SHARD_MAX)

/* ---- bytes ------------------------------------------------------------------------------------
 */

static size_t encode(const vv_db *db, const db_tier_pin *p, uint8_t out[VALUE_MAX])
{
    memset(out, 0, HEAD_SIZE);
    out[0] = FORMAT;
    vv_put_le32(out + 4, db->shard_count);
    memcpy(out + 8, db->identity.uuid, 16);
    vv_put_le64(out + 24, (uint64_t)p->time_ns);
    for (uint32_t i = 0; i < db->shard_count; i++)
        vv_put_le64(out + HEAD_SIZE + 8 * (size_t)i, (uint64_t)p->version[i]);
    return HEAD_SIZE + 8 * (size_t)db->shard_count;
}

/* VV_NOT_FOUND: it is of another store. */
static vv_status decode(const vv_db *db, vv_slice key, vv_slice value, db_tier_pin *out,
                        vv_error *err)
{
    if (key.len != KEY_SIZE || value.len < HEAD_SIZE)
        return vv_fail(err, VV_CORRUPT, "the pin of a repository has %zu bytes", value.len);
    if (value.data[0] > FORMAT)
        return vv_fail(err, VV_UNSUPPORTED, "the pin of a repository is of format %u",
                       value.data[0]);
    if (memcmp(value.data + 8, db->identity.uuid, 16) != 0)
        return VV_NOT_FOUND;
    if (value.data[0] != FORMAT || vv_get_le32(value.data + 4) != db->shard_count ||
        value.len != HEAD_SIZE + 8 * (size_t)db->shard_count)
        return vv_fail(err, VV_CORRUPT, "the pin of a repository is malformed");
    *out = (db_tier_pin){.time_ns = (int64_t)vv_get_le64(value.data + 24)};
    memcpy(out->repo, key.data + 1, sizeof out->repo);
    for (uint32_t i = 0; i < db->shard_count; i++)
        out->version[i] = (int64_t)vv_get_le64(value.data + HEAD_SIZE + 8 * (size_t)i);
    return VV_OK;
}

/* ---- in memory --------------------------------------------------------------------------------
 */

/* More repositories than there is room for count as one, that of what any of them needs. */
static void join(db_tier_pin *into, const db_tier_pin *p)
{
    into->time_ns = into->time_ns > p->time_ns ? into->time_ns : p->time_ns;
    for (size_t i = 0; i < ARRAY_LEN(into->version); i++)
        into->version[i] = into->version[i] < p->version[i] ? into->version[i] : p->version[i];
}

static void set(db_tier *t, const db_tier_pin *p)
{
    uint32_t i = 0;
    vv_mutex_lock(&t->lock);
    while (i < t->pin_count && memcmp(t->pin[i].repo, p->repo, sizeof p->repo) != 0)
        i++;
    if (i == ARRAY_LEN(t->pin))
        join(&t->pin[i - 1], p);
    else
        t->pin[i] = *p;
    if (i == t->pin_count && i < ARRAY_LEN(t->pin))
        t->pin_count++;
    vv_mutex_unlock(&t->lock);
}

int64_t db_tier_pinned(db_tier *t, const db_shard *shard)
{
    int64_t lowest = INT64_MAX;
    int64_t now = vv_clock_wall(t->db->env->clock);
    for (uint32_t i = 0; i < t->pin_count; i++) {
        const db_tier_pin *p = &t->pin[i];
        if (now - p->time_ns < t->opt.backup_keep_ns && p->version[shard->id] < lowest)
            lowest = p->version[shard->id];
    }
    return lowest;
}

vv_status db_tier_pins_load(db_tier *t, vv_error *err)
{
    uint8_t lower[ENGINE_TABLE_PREFIX + 1];
    uint8_t upper[ENGINE_TABLE_PREFIX + 1];
    vv_db *db = t->db;
    engine *eng = db->shards[0].eng;
    engine_cursor *at = NULL;
    vv_put_be32(lower, CAT_TABLE_SYSTEM);
    vv_put_be32(upper, CAT_TABLE_SYSTEM);
    lower[ENGINE_TABLE_PREFIX] = CAT_SYSTEM_PIN;
    upper[ENGINE_TABLE_PREFIX] = CAT_SYSTEM_PIN + 1;
    engine_cursor_options opt = {.read = {.version = db->ops->visible(eng), .now_ns = 0},
                                 .lower = vv_slice_of(lower, sizeof lower),
                                 .upper = vv_slice_of(upper, sizeof upper)};
    vv_status st = db->ops->cursor(eng, &opt, &at, err);
    if (st == VV_OK)
        st = engine_cursor_seek(at, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && engine_cursor_valid(at)) {
        db_tier_pin pin;
        const engine_item *item = engine_cursor_item(at);
        vv_slice key =
            vv_slice_of(item->key.data + ENGINE_TABLE_PREFIX, item->key.len - ENGINE_TABLE_PREFIX);
        st = decode(db, key, item->value, &pin, err);
        if (st == VV_OK)
            set(t, &pin);
        if (st == VV_OK || st == VV_NOT_FOUND)
            st = engine_cursor_next(at, err);
    }
    engine_cursor_close(at);
    return st;
}

/* ---- of a backup ------------------------------------------------------------------------------
 */

static vv_status write_pin(vv_db *db, const db_tier_pin *p, vv_error *err)
{
    uint8_t key[KEY_SIZE];
    uint8_t value[VALUE_MAX];
    vv_batch batch;
    key[0] = CAT_SYSTEM_PIN;
    memcpy(key + 1, p->repo, sizeof p->repo);
    size_t len = encode(db, p, value);
    db_batch_init(&batch, db, NULL, 0);
    batch.shard = &db->shards[0];
    batch.is_internal = true;
    vv_status st = db_batch_add(&batch, ENGINE_PUT, CAT_TABLE_SYSTEM, vv_slice_of(key, sizeof key),
                                vv_slice_of(value, len), 0, err);
    if (st == VV_OK)
        st = vv_write(db, &batch, VV_DURABLE_SYNC, NULL, err);
    db_batch_fini(&batch);
    return st;
}

bool db_repo_needs_pin(vv_db *db)
{
    cat_table **tables = NULL;
    size_t count = 0;
    bool needs = cat_list(db->cat, NULL, &tables, &count, NULL) != VV_OK;
    for (size_t i = 0; i < count; i++)
        needs |= tables[i]->kind == VV_TABLE_STREAM;
    if (tables != NULL)
        cat_list_free(tables, count);
    return needs;
}

vv_status db_repo_pin(vv_db *db, const uint8_t repo[DB_REPO_ID_SIZE], const int64_t *versions,
                      vv_error *err)
{
    db_tier_pin pin = {.time_ns = vv_clock_wall(db->env->clock)};
    memcpy(pin.repo, repo, sizeof pin.repo);
    for (uint32_t i = 0; i < db->shard_count; i++)
        pin.version[i] = versions != NULL ? versions[i] : db->ops->visible(db->shards[i].eng);
    if (VV_BUG(156))
        return VV_OK;
    vv_status st = write_pin(db, &pin, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "note which objects backups lead to");
    if (db->tier != NULL)
        set(db->tier, &pin);
    return VV_OK;
}

const uint8_t *db_store_uuid(const vv_db *db)
{
    return db->identity.uuid;
}
