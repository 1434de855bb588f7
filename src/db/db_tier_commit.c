/*
 * db_tier_commit.c - what the archiver writes to a partition's log: INTENT, DONE, an intent that is
 * given up, entries that die. Each is one entry, synced before the next step.
 *
 * Each says what it goes from, as a condition: the records that it takes away are as they were
 * read. So whatever else moved the partition on (a trim, another node that took it over) makes it
 * VV_CONFLICT and nothing is written; the job looks again.
 */
#include "base/error.h"
#include "db/db_tier_job.h"

#define VALUE_MAX 1024u

typedef struct change {
    vv_batch batch;
    vv_table part;
    vv_buf value;
} change;

static vv_status begin(change *c, const db_tier_job *j, vv_error *err)
{
    c->part = db_part_at(j->table, j->partition);
    db_batch_init(&c->batch, j->t->db, NULL, 0);
    c->batch.is_internal = true;
    vv_buf_init(&c->value, VALUE_MAX);
    return db_batch_bind(&c->batch, &c->part, err);
}

static vv_status end(change *c, const db_tier_job *j, vv_status st, vv_error *err)
{
    if (st == VV_OK)
        st = vv_write(j->t->db, &c->batch, VV_BUG(100) ? VV_DURABLE_NONE : VV_DURABLE_SYNC, NULL,
                      err);
    db_batch_fini(&c->batch);
    vv_buf_fini(&c->value);
    if (st == VV_CONFLICT) /* what it lost to may not be seen yet, and a new look goes by that */
        db_await_visible(j->t->db);
    return st;
}

static vv_status check_value(const change *c, vv_error *err)
{
    return c->value.status == VV_OK ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for a record");
}

static vv_status put_value(change *c, char kind, uint64_t number, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    arch_key(kind, number, key);
    vv_status st = check_value(c, err);
    if (st == VV_OK)
        st = db_batch_add(&c->batch, ENGINE_PUT, c->part.cat->id, vv_slice_of(key, sizeof key),
                          vv_buf_slice(&c->value), 0, err);
    return st;
}

/* Take a record away that has to be as it is in c->value. */
static vv_status take_value(change *c, char kind, uint64_t number, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    txn_condition *cond = NULL;
    uint32_t id = c->part.cat->id;
    arch_key(kind, number, key);
    vv_status st = check_value(c, err);
    if (st == VV_OK)
        st = db_batch_add_condition(&c->batch, TXN_VALUE, id, vv_slice_of(key, sizeof key),
                                    vv_buf_slice(&c->value), &cond, err);
    if (st == VV_OK && cond != NULL)
        cond->present = true;
    if (st == VV_OK)
        st = db_batch_add(&c->batch, ENGINE_DELETE, id, vv_slice_of(key, sizeof key),
                          vv_slice_of(NULL, 0), 0, err);
    return st;
}

static vv_status take_intent(change *c, const arch_intent *in, vv_error *err)
{
    vv_buf_reset(&c->value);
    arch_intent_encode(in, &c->value);
    return take_value(c, ARCH_KEY_INTENT, in->intent, err);
}

static vv_status put_dying(const db_tier_job *j, change *c, const char *name, vv_tier_form also,
                           uint64_t intent, vv_error *err)
{
    arch_dying d = {.also = also};
    const cat_table *cat = c->part.cat;
    /* Reads of the past find their entry for so long. */
    if (__builtin_add_overflow(j->now_ns, j->t->opt.grace_ns, &d.after_ns) ||
        __builtin_add_overflow(d.after_ns, cat->version_retention_ns, &d.after_ns))
        d.after_ns = INT64_MAX;
    if (VV_BUG(142)) /* without its grace */
        d.after_ns = j->now_ns;
    memcpy(d.name, name, sizeof d.name);
    vv_buf_reset(&c->value);
    arch_dying_encode(&d, &c->value);
    return put_value(c, ARCH_KEY_DYING, intent, err);
}

static vv_status bury_entries(const db_tier_job *j, change *c, const arch_entry *old, size_t count,
                              vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        vv_buf_reset(&c->value);
        arch_entry_encode(&old[i], &c->value);
        if (!VV_BUG(149) || i == 0) /* the bug: entries stay beside the one that replaces them */
            st = take_value(c, ARCH_KEY_ENTRY, old[i].holds.first, err);
        if (st == VV_OK)
            st = put_dying(j, c, old[i].name, old[i].also, old[i].intent, err);
    }
    return st;
}

vv_status db_tier_commit_intent(db_tier_job *j, const arch_intent *in, vv_error *err)
{
    change c;
    vv_status st = begin(&c, j, err);
    arch_intent_encode(in, &c.value);
    if (st == VV_OK)
        st = put_value(&c, ARCH_KEY_INTENT, in->intent, err);
    st = end(&c, j, st, err);
    if (st == VV_OK)
        atomic_fetch_add_explicit(&j->t->counters.intents, 1, memory_order_relaxed);
    VV_POINT("tier.after_intent");
    return st;
}

vv_status db_tier_commit_done(db_tier_job *j, const arch_intent *in, const arch_entry *entry,
                              const arch_entry *old, size_t old_count, vv_error *err)
{
    change c;
    vv_status st = begin(&c, j, err);
    if (st == VV_OK)
        st = take_intent(&c, in, err);
    if (st == VV_OK)
        st = bury_entries(j, &c, old, old_count, err);
    vv_buf_reset(&c.value);
    arch_entry_encode(entry, &c.value);
    if (st == VV_OK)
        st = put_value(&c, ARCH_KEY_ENTRY, entry->holds.first, err);
    VV_POINT("tier.before_done");
    st = end(&c, j, st, err);
    VV_POINT("tier.after_done");
    return st;
}

vv_status db_tier_commit_give_up(db_tier_job *j, const arch_intent *in, bool dies, vv_error *err)
{
    change c;
    vv_status st = begin(&c, j, err);
    if (st == VV_OK)
        st = take_intent(&c, in, err);
    if (st == VV_OK && dies)
        st = put_dying(j, &c, in->name, in->also, in->intent, err);
    return end(&c, j, st, err);
}

vv_status db_tier_commit_dying(db_tier_job *j, const arch_entry *old, size_t old_count,
                               vv_error *err)
{
    change c;
    vv_status st = begin(&c, j, err);
    if (st == VV_OK)
        st = bury_entries(j, &c, old, old_count, err);
    st = end(&c, j, st, err);
    VV_POINT("tier.after_bury");
    return st;
}
