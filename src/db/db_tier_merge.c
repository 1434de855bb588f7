/*
 * db_tier_merge.c - small objects become one of the size that was asked for.
 *
 * Batches cut by age are as small as the traffic was. Objects in a row are merged when together
 * they make a whole one, or when there are eight of about one size: so a message is rewritten once
 * for each factor of eight between what is cut and what is wanted. The way is that of a batch: an
 * intent that names the range, the object, and one entry of the log that puts its entry in the
 * place of theirs, which die.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_tier_job.h"

#define MERGE_LEAST 8u /* of about one size, that do not make a whole one */
#define INDEX_COST 3u  /* memory of an index by its stored bytes */

/* Entries in a row. */
typedef struct group {
    arch_entry *entry; /* [DB_TIER_MERGE_MAX] */
    size_t count;
    uint64_t bytes;
    uint64_t largest;
} group;

static vv_status group_open(group *g, vv_error *err)
{
    *g = (group){.entry = vv_alloc(DB_TIER_MERGE_MAX * sizeof *g->entry)};
    return g->entry != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory to merge objects");
}

static void group_add(group *g, const arch_entry *e)
{
    g->entry[g->count++] = *e;
    g->bytes += e->holds.size;
    g->largest = vv_max_u64(g->largest, e->holds.size);
}

static void group_clear(group *g)
{
    g->count = 0;
    g->bytes = 0;
    g->largest = 0;
}

/* Would one more make it too large? */
static bool is_whole(const db_tier_job *j, const group *g, const arch_entry *next)
{
    return g->count == DB_TIER_MERGE_MAX || g->bytes + next->holds.size > j->rule.batch_bytes;
}

/* Is it worth a merge as it is? */
static bool pays(const db_tier_job *j, const group *g, bool whole)
{
    if (g->count < 2)
        return false;
    return (whole && g->largest <= j->rule.batch_bytes / 2) ||
           (g->count >= MERGE_LEAST && g->largest <= g->bytes / 4);
}

/* The first objects in a row that are to be one, from part->merged_to on. */
static vv_status find_group(db_tier_job *j, db_stream_reader *r, group *g, bool *found,
                            vv_error *err)
{
    arch_entry e;
    uint64_t at = vv_max_u64(j->part->merged_to, r->first);
    *found = false;
    vv_status st;
    while ((st = db_tier_entry_from(r, at, &e, err)) == VV_OK) {
        bool too_large = e.holds.size > j->rule.batch_bytes / 2;
        if (too_large || is_whole(j, g, &e) ||
            (g->count > 0 && e.holds.first != g->entry[g->count - 1].holds.next)) {
            *found = pays(j, g, true);
            if (*found)
                return VV_OK;
            group_clear(g);
            if (too_large)
                j->part->merged_to = e.holds.next;
        }
        if (!too_large)
            group_add(g, &e);
        at = e.holds.next;
    }
    *found = pays(j, g, false);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- building ---------------------------------------------------------------------------------
 */

/* An object that is read. */
typedef struct part {
    arch_reader *reader;
    uint64_t held; /* of the budget */
} part;

static vv_status hold_memory(db_tier_job *j, part *p, uint64_t bytes, vv_error *err)
{
    vv_status st = db_tier_memory_take(j, bytes, "read an object that is merged", err);
    if (st == VV_OK)
        p->held += bytes;
    return st;
}

/* Of its largest block, as it is stored and unpacked; a buffer may be twice as large as asked. */
static uint64_t block_memory(const arch_reader *r)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < arch_reader_block_count(r); i++) {
        arch_block_info info;
        arch_reader_block(r, i, &info);
        most = vv_max_u64(most, 2 * ((uint64_t)info.len + info.raw_len));
    }
    return most;
}

static vv_status open_part(db_tier_job *j, const arch_entry *e, const arch_source *source, part *p,
                           vv_error *err)
{
    vv_status st = hold_memory(j, p, INDEX_COST * e->holds.index_len, err);
    if (st != VV_OK)
        return st;
    j->store_failed = true;
    st = arch_reader_open(*source, e->holds.index_at, e->holds.index_len, &p->reader, err);
    if (st != VV_OK)
        return st;
    if (arch_reader_who(p->reader)->intent != e->intent ||
        arch_reader_summary(p->reader)->first != e->holds.first ||
        arch_reader_summary(p->reader)->next != e->holds.next)
        return vv_fail(err, VV_CORRUPT, "it is not the object that the table stored");
    return hold_memory(j, p, block_memory(p->reader), err);
}

static vv_status add_block(db_tier_job *j, arch_reader *r, uint32_t block, db_tier_build *b,
                           vv_error *err)
{
    vv_message m;
    j->store_failed = true;
    vv_status st = arch_reader_load(r, block, err);
    j->store_failed = st != VV_OK;
    while (st == VV_OK && (st = arch_reader_next(r, &m, err)) == VV_OK) {
        m.partition = j->partition;
        st = db_tier_build_add(j, b, &m, err);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status add_object(db_tier_job *j, const arch_entry *e, db_tier_build *b, vv_error *err)
{
    part p = {.reader = NULL};
    db_tier_source at = {j->t->objects, e->name};
    const arch_source source = db_tier_source_of(&at, e->holds.size);
    vv_status st = open_part(j, e, &source, &p, err);
    for (uint32_t i = 0; st == VV_OK && i < arch_reader_block_count(p.reader); i++)
        st = add_block(j, p.reader, i, b, err);
    arch_reader_close(p.reader);
    db_tier_memory_give(j, p.held);
    return st == VV_OK ? VV_OK
                       : vv_wrap(err, st == VV_NOT_FOUND ? VV_CORRUPT : st, "object '%s'", e->name);
}

static vv_status build(db_tier_job *j, const arch_intent *in, bool is_known, const group *g,
                       db_tier_build *b, vv_error *err)
{
    vv_status st = db_tier_build_open(j, in, is_known, b, err);
    b->bytes_before = g->entry[0].bytes_before;
    for (size_t i = 0; st == VV_OK && i < g->count; i++)
        st = add_object(j, &g->entry[i], b, err);
    if (st == VV_OK)
        st = db_tier_build_finish(b, err);
    if (st != VV_OK)
        db_tier_build_close(b);
    return st;
}

static vv_status merge(db_tier_job *j, const arch_intent *in, bool is_known, const group *g,
                       vv_error *err)
{
    db_tier_build b = {.job = NULL};
    vv_status st = build(j, in, is_known, g, &b, err);
    VV_POINT("tier.merge_built");
    if (st == VV_OK)
        st = db_tier_deliver(j, &b, g->entry, g->count, 0, err);
    db_tier_build_close(&b);
    if (st == VV_OK)
        atomic_fetch_add_explicit(&j->t->counters.merged, g->count, memory_order_relaxed);
    return st;
}

/* ---- pieces -----------------------------------------------------------------------------------
 */

vv_status db_tier_merge(db_tier_job *j, db_stream_reader *r, vv_error *err)
{
    group g;
    bool found = false;
    vv_status st = group_open(&g, err);
    if (st == VV_OK)
        st = find_group(j, r, &g, &found, err);
    if (st == VV_OK && found) {
        const arch_intent in = {.kind = ARCH_MERGE,
                                .first = g.entry[0].holds.first,
                                .codec = j->rule.codec,
                                .also = j->rule.also,
                                .made_ns = j->now_ns};
        db_stream_reader_close(r);
        st = merge(j, &in, false, &g, err);
        if (st == VV_CORRUPT) /* one of them is damaged: verify names it, and the rest goes on */
            j->part->merged_to = g.entry[g.count - 1].holds.next;
    } else if (st == VV_OK) {
        st = VV_NOT_FOUND;
    }
    vv_free(g.entry);
    return st;
}

/* The entries that an announced merge is of. *whole: they are its range, in a row. */
static vv_status read_group(db_stream_reader *r, const arch_intent *in, group *g, bool *whole,
                            vv_error *err)
{
    arch_entry e;
    uint64_t at = in->first;
    vv_status st = VV_OK;
    while (st == VV_OK && at < in->next && g->count < DB_TIER_MERGE_MAX) {
        st = db_tier_entry_of(r, at, &e, err);
        if (st != VV_OK || e.holds.first != at)
            break;
        group_add(g, &e);
        at = e.holds.next;
    }
    *whole = st == VV_OK && at == in->next && g->count > 1;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

vv_status db_tier_merge_resume(db_tier_job *j, db_stream_reader *r, const arch_intent *in,
                               vv_error *err)
{
    group g;
    bool whole = false;
    vv_status st = group_open(&g, err);
    if (st == VV_OK)
        st = read_group(r, in, &g, &whole, err);
    db_stream_reader_close(r);
    if (st == VV_OK && whole) {
        st = merge(j, in, true, &g, err);
        whole = st != VV_CORRUPT;
        st = whole ? st : VV_OK;
    }
    if (st == VV_OK && !whole)
        st = db_tier_commit_give_up(j, in, true, err);
    vv_free(g.entry);
    return st;
}
