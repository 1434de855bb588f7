/*
 * db_tier_drop.c - the objects of a table that is dropped.
 *
 * A drop takes the table's keys, and with them what knows its objects. So before it their names are
 * written to the system table of the partition's shard, under the table's id; the archiver stays
 * away from the table from before that until the drop is over. Ids are never given twice: when no
 * table has the id any more the drop took place, and the objects go after the grace period. When
 * one has, it did not, and the records go. A crash at any point leaves one or the other.
 */
#include "base/error.h"
#include "db/db_tier_job.h"

#define KEY_SIZE 13u /* kind, table id, intent */
#define AT_ONCE 500u /* records of one entry */
#define LOOK_NS (60 * VV_NS_PER_S)

static void make_key(uint32_t table, uint64_t intent, uint8_t out[KEY_SIZE])
{
    out[0] = CAT_SYSTEM_DYING;
    vv_put_be32(out + 1, table);
    vv_put_be64(out + 5, intent);
}

/* ---- before the drop --------------------------------------------------------------------------
 */

typedef struct list {
    vv_db *db;
    db_shard *shard;
    uint32_t table;
    int64_t after_ns;
    vv_batch batch;
    vv_buf value;
} list;

static vv_status write_out(list *l, vv_error *err)
{
    vv_status st = VV_OK;
    if (vv_batch_count(&l->batch) > 0)
        st = vv_write(l->db, &l->batch, VV_DURABLE_SYNC, NULL, err);
    db_batch_fini(&l->batch);
    db_batch_init(&l->batch, l->db, NULL, 0);
    l->batch.shard = l->shard;
    l->batch.is_internal = true;
    return st;
}

static vv_status add(list *l, uint64_t intent, const arch_dying *d, vv_error *err)
{
    uint8_t key[KEY_SIZE];
    make_key(l->table, intent, key);
    vv_buf_reset(&l->value);
    arch_dying_encode(d, &l->value);
    if (l->value.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a record");
    vv_status st = db_batch_add(&l->batch, ENGINE_PUT, CAT_TABLE_SYSTEM,
                                vv_slice_of(key, sizeof key), vv_buf_slice(&l->value), 0, err);
    if (st == VV_OK && vv_batch_count(&l->batch) >= AT_ONCE)
        st = write_out(l, err);
    return st;
}

/* The record under the cursor, if it names an object. */
static vv_status add_record(list *l, const vv_cursor *at, vv_error *err)
{
    vv_slice value = vv_cursor_value(at);
    arch_entry entry;
    arch_intent intent;
    arch_dying d = {.after_ns = l->after_ns};
    uint64_t id = 0;
    vv_status st = VV_OK;
    switch (vv_cursor_key(at).data[0]) {
    case ARCH_KEY_ENTRY:
        st = arch_entry_decode(value, &entry, err);
        if (st == VV_OK) {
            d.also = entry.also;
            id = entry.intent;
            memcpy(d.name, entry.name, sizeof d.name);
        }
        break;
    case ARCH_KEY_INTENT:
        st = arch_intent_decode(value, &intent, err);
        if (st == VV_OK) {
            d.also = intent.also;
            id = intent.intent;
            memcpy(d.name, intent.name, sizeof d.name);
        }
        break;
    case ARCH_KEY_DYING:
        st = arch_dying_decode(value, &d, err);
        id = vv_cursor_key(at).len == ARCH_KEY_SIZE ? vv_get_be64(vv_cursor_key(at).data + 1) : 0;
        break;
    default:
        return VV_OK;
    }
    return st == VV_OK ? add(l, id, &d, err) : st;
}

static vv_status list_part(vv_db *db, const vv_table *table, uint32_t partition, int64_t after_ns,
                           vv_error *err)
{
    vv_cursor *at = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    static const uint8_t end = STREAM_KEY_LOCAL; /* all kinds lie before */
    vv_table part = db_part_at(table, partition);
    list l = {.db = db, .shard = part.shard, .table = part.cat->id, .after_ns = after_ns};
    vv_buf_init(&l.value, 1024);
    db_batch_init(&l.batch, db, NULL, 0);
    l.batch.shard = l.shard;
    l.batch.is_internal = true;
    opt.upper = vv_slice_of(&end, 1);
    vv_status st = vv_cursor_open(&part, &opt, &at, err);
    if (st == VV_OK)
        st = vv_cursor_seek(at, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(at)) {
        st = add_record(&l, at, err);
        if (st == VV_OK)
            st = vv_cursor_next(at, err);
    }
    vv_cursor_close(at);
    if (st == VV_OK)
        st = write_out(&l, err);
    db_batch_fini(&l.batch);
    vv_buf_fini(&l.value);
    return st;
}

vv_status db_tier_drop_begin(vv_db *db, const char *tenant, const char *name, uint32_t *id,
                             vv_error *err)
{
    cat_table *cat = NULL;
    *id = 0;
    if (cat_table_find(db->cat, tenant, name, &cat, NULL) != VV_OK)
        return VV_OK; /* what is wrong the drop says */
    vv_status st = VV_OK;
    if (cat->kind == VV_TABLE_STREAM) {
        int64_t after = 0;
        vv_table table = db_table_of(db, cat);
        int64_t grace = DB_TIER_GRACE_NS;
        if (db->tier != NULL) { /* else nobody archives, and a later open removes the objects */
            *id = cat->id;
            grace = db->tier->opt.grace_ns;
            db_tier_claim_wait(db->tier, cat->id, DB_TIER_WHOLE);
        }
        if (__builtin_add_overflow(vv_clock_wall(db->env->clock), grace, &after))
            after = INT64_MAX;
        for (uint32_t p = 0; st == VV_OK && p < cat->partition_count; p++)
            st = list_part(db, &table, p, after, err);
    }
    cat_table_unref(cat);
    if (st == VV_OK)
        return VV_OK;
    db_tier_drop_end(db, *id);
    return vv_wrap(err, st, "note the objects of table '%s'", name);
}

void db_tier_drop_end(vv_db *db, uint32_t id)
{
    if (id == 0)
        return;
    db_tier_unclaim(db->tier, id, DB_TIER_WHOLE);
    atomic_store_explicit(&db->tier->dropped_look_ns, 0, memory_order_relaxed);
    db_tier_wake(db);
}

/* ---- after it ---------------------------------------------------------------------------------
 */

typedef struct found {
    uint8_t key[KEY_SIZE];
    arch_dying dying;
    int64_t version;
} found;

static vv_status open_records(vv_db *db, db_shard *shard, engine_cursor **out, vv_error *err)
{
    uint8_t lower[ENGINE_TABLE_PREFIX + 1];
    uint8_t upper[ENGINE_TABLE_PREFIX + 1];
    vv_put_be32(lower, CAT_TABLE_SYSTEM);
    vv_put_be32(upper, CAT_TABLE_SYSTEM);
    lower[ENGINE_TABLE_PREFIX] = CAT_SYSTEM_DYING;
    upper[ENGINE_TABLE_PREFIX] = CAT_SYSTEM_DYING + 1;
    engine_cursor_options opt = {.read = {.version = db->ops->visible(shard->eng), .now_ns = 0},
                                 .lower = vv_slice_of(lower, sizeof lower),
                                 .upper = vv_slice_of(upper, sizeof upper)};
    return db->ops->cursor(shard->eng, &opt, out, err);
}

static bool table_lives(vv_db *db, uint32_t id)
{
    cat_table **tables = NULL;
    size_t count = 0;
    bool lives = cat_list(db->cat, NULL, &tables, &count, NULL) != VV_OK; /* not known: it does */
    for (size_t i = 0; i < count; i++)
        lives |= tables[i]->id == id;
    if (tables != NULL)
        cat_list_free(tables, count);
    return lives;
}

/* The first record that is due, from where the sweep is. *wait_ns: when another one may be. */
static vv_status find_due(db_tier *t, db_shard *shard, const db_tier_dropped *d, found *out,
                          int64_t *wait_ns, vv_error *err)
{
    engine_cursor *at = NULL;
    int64_t now = vv_clock_wall(t->db->env->clock);
    int64_t pinned = INT64_MAX;
    int64_t held = db_tier_held(t->db, shard, &pinned);
    vv_status st = open_records(t->db, shard, &at, err);
    if (st == VV_OK)
        st = engine_cursor_seek(at, vv_slice_of(d->from, d->from_len), err);
    for (; st == VV_OK; st = engine_cursor_next(at, err)) {
        if (!engine_cursor_valid(at)) {
            st = VV_NOT_FOUND;
            break;
        }
        const engine_item *item = engine_cursor_item(at);
        if (item->key.len != ENGINE_TABLE_PREFIX + KEY_SIZE)
            continue;
        st = arch_dying_decode(item->value, &out->dying, err);
        memcpy(out->key, item->key.data + ENGINE_TABLE_PREFIX, KEY_SIZE);
        out->version = item->version;
        if (st != VV_OK || (out->dying.after_ns <= now && item->version <= held))
            break;
        int64_t wait = out->dying.after_ns > now ? out->dying.after_ns - now
                       : item->version > pinned  ? LOOK_NS
                                                 : VV_NS_PER_S;
        *wait_ns = wait < *wait_ns ? wait : *wait_ns;
    }
    engine_cursor_close(at);
    return st;
}

static vv_status forget(db_tier *t, db_shard *shard, const found *f, vv_error *err)
{
    vv_batch batch;
    db_batch_init(&batch, t->db, NULL, 0);
    batch.shard = shard;
    batch.is_internal = true;
    vv_status st = db_batch_add(&batch, ENGINE_DELETE, CAT_TABLE_SYSTEM,
                                vv_slice_of(f->key, KEY_SIZE), vv_slice_of(NULL, 0), 0, err);
    if (st == VV_OK)
        st = vv_write(t->db, &batch, VV_DURABLE_OS, NULL, err);
    db_batch_fini(&batch);
    return st;
}

/* In so many nanoseconds something may be due. */
static void look_in(db_tier *t, int64_t ns)
{
    int64_t look = vv_clock_mono(t->db->env->clock) + ns;
    if (look < atomic_load_explicit(&t->dropped_look_ns, memory_order_relaxed))
        atomic_store_explicit(&t->dropped_look_ns, look, memory_order_relaxed);
}

/* Its table is there: the drop did not take place. VV_NOT_FOUND: the table is gone. VV_BUSY: it is
 * being dropped, or may be. */
static vv_status forget_living(db_tier *t, db_shard *shard, const found *f, vv_error *err)
{
    uint32_t id = vv_get_be32(f->key + 1);
    if (!db_tier_claim_try(t, id, DB_TIER_WHOLE))
        return VV_BUSY;
    vv_status st = table_lives(t->db, id) ? forget(t, shard, f, err) : VV_NOT_FOUND;
    db_tier_unclaim(t, id, DB_TIER_WHOLE);
    return st;
}

/* *unremoved: what the store answered when it did not remove the object, with err. */
static vv_status settle(db_tier *t, db_shard *shard, const found *f, vv_status *unremoved,
                        vv_error *err)
{
    vv_error why = {0};
    vv_status st = forget_living(t, shard, f, err);
    if (st != VV_NOT_FOUND)
        return st;
    *unremoved = db_tier_remove(t, f->dying.name, f->dying.also, &why);
    if (*unremoved == VV_OK) {
        atomic_fetch_add_explicit(&t->counters.removed, 1, memory_order_relaxed);
        return forget(t, shard, f, err);
    }
    db_tier_note_unremoved(t, f->dying.name, *unremoved, &why);
    if (err != NULL)
        *err = why;
    return VV_BUSY;
}

static void end_sweep(db_tier *t, db_tier_dropped *d, bool is_over)
{
    if (is_over)
        d->from_len = 0;
    if (d->failed == 0) {
        d->pauses = 0;
        return;
    }
    int64_t pause = db_tier_pause(t, d->pauses++);
    d->failed = 0;
    d->retry_ns = vv_clock_mono(t->db->env->clock) + pause;
    look_in(t, pause);
}

/* Behind a record. */
static void pass_by(db_tier_dropped *d, const found *f)
{
    static_assert(sizeof d->from >= ENGINE_TABLE_PREFIX + KEY_SIZE + 1, "a key, and a byte more");
    vv_put_be32(d->from, CAT_TABLE_SYSTEM);
    memcpy(d->from + ENGINE_TABLE_PREFIX, f->key, KEY_SIZE);
    d->from[ENGINE_TABLE_PREFIX + KEY_SIZE] = 0;
    d->from_len = ENGINE_TABLE_PREFIX + KEY_SIZE + 1;
}

vv_status db_tier_dig_dropped(db_tier *t, db_shard *shard, bool forced, vv_status *unremoved,
                              vv_error *err)
{
    db_tier_dropped *d = &t->dropped[shard->id];
    int64_t wait = d->retry_ns - vv_clock_mono(t->db->env->clock);
    if (wait > 0 && !forced) {
        look_in(t, wait);
        return VV_NOT_FOUND;
    }
    wait = LOOK_NS;
    for (uint32_t i = 0; i < DB_TIER_REMOVALS_TRIED; i++) {
        found f;
        vv_status failed = VV_OK;
        vv_status st = find_due(t, shard, d, &f, &wait, err);
        if (st == VV_NOT_FOUND) {
            end_sweep(t, d, true);
            look_in(t, wait);
            return st;
        }
        if (st == VV_OK)
            st = settle(t, shard, &f, &failed, err);
        if (failed != VV_OK)
            *unremoved = failed;
        d->failed += failed != VV_OK;
        if (st != VV_BUSY)
            return st;
        pass_by(d, &f);
    }
    end_sweep(t, d, false);
    return VV_NOT_FOUND;
}
