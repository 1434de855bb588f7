/*
 * db_tier_local.c - archived messages leave the partition's blocks: after the rule's local_ns, or
 * beyond its local_bytes, by whole blocks.
 *
 * One entry deletes the range of blocks and writes where they begin now ('L'), under the condition
 * that the partition began where it was read to. The first offset stays: what lies before 'L' is
 * read from objects. Nothing leaves that is in no entry.
 */
#include "base/error.h"
#include "base/point.h"
#include "db/db_tier_job.h"

/* Without the loaded block, would less be left than may stay? */
static bool is_kept(const db_stream_reader *r, int64_t keep)
{
    uint64_t left = r->sums.bytes_before - r->block.place.bytes_before;
    return left <= (uint64_t)keep;
}

static bool is_young(const db_stream_reader *r, int64_t time_ns)
{
    return r->block.place.receive_ns >= time_ns;
}

/* From where on messages stay in blocks, and when the next of them may leave. */
static vv_status find_stay(db_tier_job *j, db_stream_reader *r, uint64_t archived, uint64_t *out,
                           vv_error *err)
{
    const vv_archive_rule *rule = &j->rule;
    uint64_t at = 0;
    vv_status st = VV_OK;
    *out = r->local;
    if (rule->local_ns < 0) {
        *out = archived;
        return VV_OK;
    }
    st = db_stream_search(r, is_young, j->now_ns - rule->local_ns, &at, err);
    if (st == VV_OK)
        *out = vv_max_u64(*out, vv_min_u64(at, archived));
    if (st != VV_OK || rule->local_bytes == 0)
        return st;
    st = db_stream_search(r, is_kept, (int64_t)vv_min_u64(rule->local_bytes, INT64_MAX), &at, err);
    if (st == VV_OK)
        *out = vv_max_u64(*out, vv_min_u64(at, archived));
    return st;
}

/* The head that has the blocks begin at the one that holds offset. */
static vv_status make_head(db_stream_reader *r, uint64_t offset, stream_head *out, vv_error *err)
{
    *out = (stream_head){offset, r->sums.bytes_before, r->sums.receive_ns, r->sums.event_max};
    if (offset == r->next)
        return VV_OK;
    vv_status st = db_stream_load(r, offset, err);
    *out = (stream_head){r->begin, r->block.place.bytes_before, r->block.place.receive_ns,
                         r->block.place.event_max};
    return st;
}

static vv_status add_move(vv_batch *batch, db_stream_reader *r, uint64_t from,
                          const stream_head *head, vv_error *err)
{
    static const uint8_t kind = STREAM_KEY_LOCAL;
    uint8_t lower[STREAM_BLOCK_KEY];
    uint8_t upper[ENGINE_TABLE_PREFIX + STREAM_BLOCK_KEY];
    uint8_t value[STREAM_HEAD_SIZE];
    uint32_t id = r->part.cat->id;
    stream_block_key(from, lower);
    vv_put_be32(upper, id);
    stream_block_key(head->first, upper + ENGINE_TABLE_PREFIX);
    stream_head_encode(head, value);
    vv_status st = db_batch_bind(batch, &r->part, err);
    if (st == VV_OK)
        st = db_stream_add_condition(batch, id, STREAM_KEY_HEAD, r->has_head, &r->head, err);
    if (st == VV_OK)
        st = db_stream_add_condition(batch, id, kind, r->has_local, &r->stored_local, err);
    if (st == VV_OK)
        st = db_batch_add(batch, ENGINE_RANGE_DELETE, id, vv_slice_of(lower, sizeof lower),
                          vv_slice_of(upper, sizeof upper), 0, err);
    if (st == VV_OK)
        st = db_batch_add(batch, ENGINE_PUT, id, vv_slice_of(&kind, 1),
                          vv_slice_of(value, sizeof value), 0, err);
    return st;
}

static vv_status move(db_tier_job *j, db_stream_reader *r, uint64_t from, const stream_head *head,
                      vv_error *err)
{
    vv_batch batch;
    vv_db *db = j->t->db;
    db_batch_init(&batch, db, NULL, 0);
    batch.is_internal = true;
    vv_status st = add_move(&batch, r, from, head, err);
    db_stream_reader_close(r);
    VV_POINT("tier.before_local");
    if (st == VV_OK)
        st = vv_write(db, &batch, VV_DURABLE_SYNC, NULL, err);
    VV_POINT("tier.after_local");
    db_batch_fini(&batch);
    if (st == VV_CONFLICT)
        db_await_visible(db);
    return st;
}

vv_status db_tier_local(db_tier_job *j, db_stream_reader *r, vv_error *err)
{
    arch_entry last;
    stream_head head;
    uint64_t stay = 0;
    vv_status st = db_tier_entry_last(r, &last, err);
    if (st != VV_OK)
        return st;
    uint64_t archived = vv_min_u64(last.holds.next, r->next);
    if (archived <= r->local)
        return VV_NOT_FOUND;
    st = find_stay(j, r, VV_BUG(98) ? r->next : archived, &stay, err);
    if (st == VV_OK && stay < archived && j->rule.local_ns > 0)
        db_tier_look_in(j, j->rule.local_ns / 8);
    if (st != VV_OK || stay <= r->local)
        return st == VV_OK ? VV_NOT_FOUND : st;
    st = db_stream_load(r, r->local, err);
    uint64_t from = r->begin;
    if (st == VV_OK)
        st = make_head(r, stay, &head, err);
    if (st != VV_OK || head.first <= r->local)
        return st == VV_OK ? VV_NOT_FOUND : st;
    return move(j, r, from, &head, err);
}
