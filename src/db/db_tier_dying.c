/*
 * db_tier_dying.c - objects that go.
 *
 *   entry ends at or below the partition's first offset --bury--> 'D': nobody finds it from now on
 *   'D', the grace period is over, and nobody reads at a version before it --dig--> the object is
 *   removed at its store --> 'D' is removed
 *
 * What the store will not remove (its rules keep it, or the key may not) holds up nothing: it is
 * told and counted, what comes behind it is tried, and after a pause it is tried again.
 *
 * Those of a dropped table lie in the system table of its shard, under the table's id: its own keys
 * went with it. They are written before the drop, and count only when the table is gone.
 */
#include "base/error.h"
#include "db/db_tier_job.h"

#define PINNED_LOOK_NS (60 * VV_NS_PER_S) /* backups come seldom */

vv_status db_tier_bury(db_tier_job *j, db_stream_reader *r, vv_error *err)
{
    arch_entry old[8];
    size_t count = 0;
    uint8_t key[ARCH_KEY_SIZE];
    arch_key(ARCH_KEY_ENTRY, 0, key);
    vv_status st = vv_cursor_seek(r->at, vv_slice_of(key, sizeof key), err);
    while (st == VV_OK && count < ARRAY_LEN(old) && vv_cursor_valid(r->at) &&
           vv_cursor_key(r->at).data[0] == ARCH_KEY_ENTRY) {
        st = arch_entry_decode(vv_cursor_value(r->at), &old[count], err);
        if (st != VV_OK || old[count].holds.next > r->first)
            break;
        count++;
        st = vv_cursor_next(r->at, err);
    }
    if (st != VV_OK)
        return st;
    if (count == 0)
        return VV_NOT_FOUND;
    db_stream_reader_close(r);
    return db_tier_commit_dying(j, old, count, err);
}

/* ---- removal ----------------------------------------------------------------------------------
 */

static vv_status forget(db_tier *t, vv_table *part, uint32_t table_id, vv_slice key, vv_error *err)
{
    vv_batch batch;
    db_batch_init(&batch, t->db, NULL, 0);
    batch.is_internal = true;
    vv_status st = VV_OK;
    if (part != NULL)
        st = db_batch_bind(&batch, part, err);
    if (st == VV_OK)
        st = db_batch_add(&batch, ENGINE_DELETE, table_id, key, vv_slice_of(NULL, 0), 0, err);
    if (st == VV_OK)
        st = vv_write(t->db, &batch, VV_DURABLE_OS, NULL, err);
    db_batch_fini(&batch);
    return st;
}

/* One record at its time. VV_NOT_FOUND: it is not due. */
static vv_status remove_one(db_tier_job *j, const arch_dying *d, int64_t version, vv_error *err)
{
    const db_shard *shard = db_part_at(j->table, j->partition).shard;
    int64_t wait = d->after_ns - j->now_ns;
    if (wait > 0) {
        db_tier_look_in(j, wait);
        return VV_NOT_FOUND;
    }
    if (version > db_tier_held(j->t->db, shard, NULL) && !VV_BUG(99)) {
        db_tier_look_in(j, VV_NS_PER_S);
        return VV_NOT_FOUND;
    }
    j->store_failed = true;
    VV_POINT("tier.before_remove");
    vv_status st = db_tier_remove(j->t, d->name, d->also, err);
    j->store_failed = st != VV_OK;
    VV_POINT("tier.after_remove");
    if (st != VV_OK)
        return st;
    db_tier_note_success(j->t);
    atomic_fetch_add_explicit(&j->t->counters.removed, 1, memory_order_relaxed);
    return VV_OK;
}

/* The first record from *key on that is due. */
static vv_status find_due(db_tier_job *j, db_stream_reader *r, uint8_t key[ARCH_KEY_SIZE],
                          arch_dying *out, int64_t *version, vv_error *err)
{
    const db_shard *shard = r->part.shard;
    int64_t pinned = INT64_MAX;
    int64_t held = db_tier_held(j->t->db, shard, &pinned);
    vv_status st = vv_cursor_seek(r->at, vv_slice_of(key, ARCH_KEY_SIZE), err);
    for (; st == VV_OK; st = vv_cursor_next(r->at, err)) {
        if (!vv_cursor_valid(r->at) || vv_cursor_key(r->at).data[0] != ARCH_KEY_DYING ||
            vv_cursor_key(r->at).len != ARCH_KEY_SIZE)
            return VV_NOT_FOUND;
        st = arch_dying_decode(vv_cursor_value(r->at), out, err);
        if (st != VV_OK)
            return st;
        *version = vv_cursor_version(r->at);
        memcpy(key, vv_cursor_key(r->at).data, ARCH_KEY_SIZE);
        if (out->after_ns <= j->now_ns && (*version <= held || VV_BUG(99)))
            return VV_OK;
        db_tier_look_in(j, out->after_ns > j->now_ns ? out->after_ns - j->now_ns
                           : *version > pinned       ? PINNED_LOOK_NS
                                                     : VV_NS_PER_S);
    }
    return st;
}

void db_tier_note_unremoved(db_tier *t, const char *name, vv_status st, const vv_error *why)
{
    atomic_fetch_add_explicit(&t->counters.unremoved, 1, memory_order_relaxed);
    vv_log_to(t->db->env->log, VV_LOG_WARN, "tier",
              "an object that nothing refers to is not removed: it is tried again",
              VV_KV_S("object", name), VV_KV_S("status", vv_status_name(st)),
              VV_KV_S("error", why->msg));
}

/* All were tried, or too many in a row failed: then it goes on behind them after a pause. */
static void end_sweep(db_tier_job *j, bool is_over)
{
    db_tier_sweep *s = &j->part->sweep;
    if (is_over)
        s->from = 0;
    if (s->failed == 0) {
        s->pauses = 0;
        return;
    }
    int64_t pause = db_tier_pause(j->t, s->pauses++);
    s->failed = 0;
    s->retry_ns = vv_clock_mono(j->t->db->env->clock) + pause;
    db_tier_look_in(j, pause);
}

/* An object whose removal failed: others are next. */
static vv_status pass_by(db_tier_job *j, db_stream_reader *r, const arch_dying *d, uint64_t intent,
                         vv_status st, const vv_error *why, vv_error *err)
{
    db_tier_sweep *s = &j->part->sweep;
    s->from = intent + 1; /* none is UINT64_MAX, or it begins again */
    if (st != VV_NOT_FOUND) {
        s->failed++;
        j->unremoved = st;
        j->unremoved_why = *why;
        db_tier_note_unremoved(j->t, d->name, st, why);
    }
    return db_stream_reader_open(r, j->table, j->partition, NULL, NULL, err);
}

vv_status db_tier_dig(db_tier_job *j, db_stream_reader *r, vv_error *err)
{
    db_tier_sweep *s = &j->part->sweep;
    int64_t wait = s->retry_ns - vv_clock_mono(j->t->db->env->clock);
    if (wait > 0 && !j->forced) {
        db_tier_look_in(j, wait);
        return VV_NOT_FOUND;
    }
    for (uint32_t i = 0; i < DB_TIER_REMOVALS_TRIED; i++) {
        uint8_t key[ARCH_KEY_SIZE];
        arch_dying d;
        int64_t version = 0;
        vv_error why = {0};
        vv_table part = r->part;
        arch_key(ARCH_KEY_DYING, s->from, key);
        vv_status st = find_due(j, r, key, &d, &version, err);
        if (st == VV_NOT_FOUND)
            end_sweep(j, true);
        if (st != VV_OK)
            return st;
        db_stream_reader_close(r); /* it holds what it reads */
        st = remove_one(j, &d, version, &why);
        j->store_failed = false;
        if (st == VV_OK)
            return forget(j->t, &part, part.cat->id, vv_slice_of(key, sizeof key), err);
        if (st != VV_NOT_FOUND && VV_BUG(157))
            return st;
        st = pass_by(j, r, &d, vv_get_be64(key + 1), st, &why, err);
        if (st != VV_OK)
            return st;
    }
    end_sweep(j, false);
    return VV_NOT_FOUND;
}
