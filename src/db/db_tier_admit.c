/*
 * db_tier_admit.c - appends and the archiver: what waits for the store, and what happens when it is
 * too much.
 *
 * Messages that wait lie in the local files as all others do, so a store that is away for hours
 * costs disk alone. waiting_max bounds that: from seven eighths of it on appends that can wait are
 * slowed, at it all are refused, with a sentence that names the store. Nothing that was taken is
 * lost, and appends are taken again as soon as something was stored.
 *
 * The amounts are about: an append adds, each look of the archiver sets them right.
 */
#include <inttypes.h>

#include "base/error.h"
#include "base/util.h"
#include "db/db_stream_int.h"

#define SLEEP_MAX_NS (100 * VV_NS_PER_MS)

static vv_status refuse(db_tier *t, uint64_t waiting, vv_error *err)
{
    int64_t now = vv_clock_wall(t->db->env->clock);
    vv_mutex_lock(&t->lock);
    db_tier_health h = t->health;
    vv_mutex_unlock(&t->lock);
    const char *name = vv_object_store_name(t->objects);
    if (h.failures_in_row == 0 && h.work_failures_in_row > 0)
        return vv_fail(err, VV_BUSY,
                       "%" PRIu64
                       " MiB of messages wait for the object store %s: they are kept, and "
                       "cannot be made objects here (%.100s)",
                       waiting / VV_MIB, name, h.last_work_error);
    if (h.failures_in_row == 0)
        return vv_fail(err, VV_BUSY,
                       "%" PRIu64 " MiB of messages wait for the object store %s, and waiting_max "
                       "is %" PRIu64 " MiB: append less, or give the archiver more uploads",
                       waiting / VV_MIB, name, t->opt.waiting_max / VV_MIB);
    return vv_fail(err, VV_BUSY,
                   "%" PRIu64 " MiB of messages wait for the object store %s, which has failed for "
                   "%" PRId64 " s (%.100s): they are kept, and appends go on when it answers",
                   waiting / VV_MIB, name, (now - h.since_ns) / VV_NS_PER_S, h.last_error);
}

vv_status db_tier_admit(const vv_table *table, bool may_wait, vv_error *err)
{
    db_tier *t = table->db->tier;
    vv_archive_rule rule;
    if (VV_LIKELY(t == NULL || t->opt.waiting_max == 0))
        return VV_OK;
    uint64_t waiting = atomic_load_explicit(&t->waiting_bytes, memory_order_relaxed);
    uint64_t max = t->opt.waiting_max;
    uint64_t slow = max - max / 8;
    if (VV_UNLIKELY(waiting < max && atomic_load_explicit(&t->is_full, memory_order_relaxed)))
        atomic_store_explicit(&t->is_full, false, memory_order_relaxed);
    if (waiting < slow)
        return VV_OK;
    db_tier_rule(table->db, table->cat, &rule);
    if (rule.off)
        return VV_OK;
    if (waiting >= max && !VV_BUG(148)) { /* the bug: what waits for the store has no bound */
        if (!atomic_exchange_explicit(&t->is_full, true, memory_order_relaxed))
            db_tier_wake(table->db); /* once: however many are refused, it is the same work */
        return refuse(t, waiting, err);
    }
    if (may_wait) {
        double part = (double)(waiting - slow) / (double)(max - slow);
        vv_clock_sleep(table->db->env->clock, (int64_t)(part * (double)SLEEP_MAX_NS));
    }
    return VV_OK;
}

static void want(vv_db *db, db_tier_part *part)
{
    if (!atomic_exchange_explicit(&part->wanted, true, memory_order_relaxed))
        db_tier_wake(db);
}

void db_tier_note_append(vv_db *db, const cat_table *cat, db_tier_part *part, uint64_t bytes,
                         uint64_t count, int64_t receive_ns)
{
    vv_archive_rule rule;
    db_tier_rule(db, cat, &rule);
    if (rule.off)
        return;
    uint64_t waiting =
        bytes + atomic_fetch_add_explicit(&part->waiting, bytes, memory_order_relaxed);
    uint64_t messages =
        count + atomic_fetch_add_explicit(&part->waiting_messages, count, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->tier->waiting_bytes, bytes, memory_order_relaxed);
    int64_t none = 0;
    bool is_first = atomic_compare_exchange_strong_explicit(
        &part->oldest_ns, &none, receive_ns, memory_order_relaxed, memory_order_relaxed);
    uint64_t cut_at = atomic_load_explicit(&part->cut_at, memory_order_relaxed);
    if (is_first || waiting >= cut_at ||
        (rule.batch_messages != 0 && messages >= rule.batch_messages))
        want(db, part);
}

/* Take off as much as there is; how much that was. A look of the archiver may have set it since. */
static uint64_t take_off(_Atomic uint64_t *from, uint64_t amount)
{
    uint64_t was = atomic_load_explicit(from, memory_order_relaxed);
    uint64_t less = 0;
    do {
        less = vv_min_u64(was, amount);
    } while (!atomic_compare_exchange_weak_explicit(from, &was, was - less, memory_order_relaxed,
                                                    memory_order_relaxed));
    return less;
}

void db_tier_note_cancel(vv_db *db, db_tier_part *part, uint64_t bytes, uint64_t count)
{
    uint64_t less = take_off(&part->waiting, bytes);
    (void)take_off(&db->tier->waiting_bytes, less);
    (void)take_off(&part->waiting_messages, count);
}

void db_tier_forget_waiting(vv_db *db, db_tier_part *part)
{
    if (db->tier == NULL)
        return;
    uint64_t old = atomic_exchange_explicit(&part->waiting, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&db->tier->waiting_bytes, old, memory_order_relaxed);
    atomic_store_explicit(&part->waiting_messages, 0, memory_order_relaxed);
    atomic_store_explicit(&part->oldest_ns, 0, memory_order_relaxed);
}
