/*
 * db_stream_read.c - a partition of a stream at one moment: where it begins and ends, the block of
 * an offset, the offset of a time; and cursors over its messages.
 *
 * Receive times, event times so far and bytes so far only grow from block to block, so a time is
 * found by halving the offsets: some twenty seeks for a million blocks, and no index to keep. What
 * lies in objects alone is db_tier_read.c's.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/options.h"
#include "db/db_stream_int.h"
#include "db/db_tier_read.h"

/* ---- the reader ---- */

/* The offset of the block under the cursor; false: it stands on none. */
static bool stands_on_block(const vv_cursor *c, uint64_t *offset)
{
    if (!vv_cursor_valid(c))
        return false;
    vv_slice key = vv_cursor_key(c);
    if (key.len != STREAM_BLOCK_KEY || key.data[0] != STREAM_KEY_BLOCK)
        return false;
    *offset = vv_get_be64(key.data + 1);
    return true;
}

/* The block under the cursor. */
static vv_status take_block(db_stream_reader *r, uint64_t offset, vv_error *err)
{
    vv_slice value = vv_cursor_value(r->at);
    r->is_archived = false;
    r->is_at_block = true;
    r->block_len = value.len;
    r->begin = offset;
    vv_status st = stream_block_open(value, &r->block, err);
    if (st == VV_OK && offset > UINT64_MAX - 1 - r->block.count)
        st = vv_fail(err, VV_CORRUPT, "its offsets have no end");
    r->end = st == VV_OK ? offset + r->block.count : offset;
    return st == VV_OK ? VV_OK
                       : vv_wrap(err, st, "block at offset %llu", (unsigned long long)offset);
}

/* The partition's own block that begins at offset or next before it. *is_there: one does. */
static vv_status load_own(db_stream_reader *r, uint64_t offset, bool *is_there, vv_error *err)
{
    uint8_t key[STREAM_BLOCK_KEY];
    uint64_t begin = 0;
    stream_block_key(offset + 1, key);
    r->is_at_block = false;
    vv_status st = vv_cursor_seek_below(r->at, vv_slice_of(key, sizeof key), err);
    *is_there = st == VV_OK && stands_on_block(r->at, &begin);
    return *is_there ? take_block(r, begin, err) : st;
}

/* What comes next waits for the object store. */
static vv_status check_may_wait(const db_stream_reader *r, vv_error *err)
{
    return !r->stays_local ? VV_OK
                           : vv_fail(err, VV_BUSY,
                                     "messages below offset %llu lie in the object store alone, "
                                     "which is not waited for",
                                     (unsigned long long)r->local);
}

vv_status db_stream_load(db_stream_reader *r, uint64_t offset, vv_error *err)
{
    bool is_there = false;
    assert(offset < r->next);
    vv_status st = load_own(r, offset, &is_there, err);
    if (st != VV_OK || (is_there && offset < r->end))
        return st;
    if (offset < r->local) { /* else it was restored */
        st = check_may_wait(r, err);
        return st == VV_OK ? db_tier_load(r, offset, err) : st;
    }
    if (!is_there)
        return vv_fail(err, VV_CORRUPT, "no block holds offset %llu", (unsigned long long)offset);
    return vv_fail(err, VV_CORRUPT, "no block holds offset %llu: the one before ends at %llu",
                   (unsigned long long)offset, (unsigned long long)r->end);
}

vv_status db_stream_next(db_stream_reader *r, vv_message *out, uint64_t *size, vv_error *err)
{
    vv_slice bytes;
    if (r->is_archived)
        return db_tier_next(r, out, size, err);
    vv_status st = stream_block_next(&r->block, &bytes, err);
    if (st == VV_OK)
        st = stream_message_decode(bytes, &r->scratch, out, err);
    if (st != VV_OK)
        return st;
    out->offset = r->end - r->block.left - 1;
    out->receive_time_ns = r->block.place.receive_ns;
    *size = bytes.len;
    return VV_OK;
}

vv_status db_stream_skip_to(db_stream_reader *r, uint64_t offset, vv_error *err)
{
    vv_slice skipped;
    vv_status st = VV_OK;
    assert(offset >= r->begin && offset < r->end);
    if (r->is_archived)
        return db_tier_skip_to(r, offset, err);
    for (uint64_t at = r->begin; st == VV_OK && at < offset; at++)
        st = stream_block_next(&r->block, &skipped, err);
    return st;
}

static vv_status read_one_head(db_stream_reader *r, uint8_t kind, bool *is_there, stream_head *out,
                               vv_error *err)
{
    vv_slice key = vv_slice_of(&kind, 1);
    *out = (stream_head){.receive_ns = 0, .event_max = STREAM_NO_TIME};
    vv_status st = vv_cursor_seek(r->at, key, err);
    *is_there = st == VV_OK && vv_cursor_valid(r->at) && vv_slice_eq(vv_cursor_key(r->at), key);
    if (*is_there)
        st = stream_head_decode(vv_cursor_value(r->at), out, err);
    return st;
}

static vv_status read_head(db_stream_reader *r, vv_error *err)
{
    vv_status st = read_one_head(r, STREAM_KEY_HEAD, &r->has_head, &r->head, err);
    if (st == VV_OK)
        st = read_one_head(r, STREAM_KEY_LOCAL, &r->has_local, &r->stored_local, err);
    r->local_head =
        !r->has_local || r->stored_local.first < r->head.first ? r->head : r->stored_local;
    return st;
}

static vv_status read_end(db_stream_reader *r, vv_error *err)
{
    static const uint8_t behind = STREAM_KEY_BLOCK + 1;
    uint64_t begin = 0;
    r->next = r->local_head.first;
    r->sums = (stream_place){r->local_head.receive_ns, r->local_head.bytes_before,
                             r->local_head.event_max, STREAM_NO_OFFSET};
    vv_status st = vv_cursor_seek_below(r->at, vv_slice_of(&behind, 1), err);
    if (st != VV_OK || !stands_on_block(r->at, &begin))
        return st;
    st = take_block(r, begin, err);
    if (st != VV_OK)
        return st;
    if ((r->has_head || r->has_local) &&
        r->end <= r->local_head.first) /* it was restored; nothing else is local */
        return VV_OK;
    r->sums = r->block.place;
    r->sums.bytes_before += r->block_len;
    r->next = r->end;
    if (r->next < r->local_head.first || r->sums.bytes_before < r->local_head.bytes_before)
        return vv_fail(err, VV_CORRUPT, "it begins at offset %llu and ends at %llu",
                       (unsigned long long)r->local_head.first, (unsigned long long)r->next);
    return VV_OK;
}

vv_status db_stream_reader_open(db_stream_reader *r, const vv_table *table, uint32_t partition,
                                const vv_snapshot *snapshot, const char *archive, vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    *r = (db_stream_reader){.part = db_part_at(table, partition), .partition = partition};
    opt.snapshot = snapshot;
    opt.archive = archive;
    db_tier_hold_begin(table->db, &r->hold, r->part.shard);
    vv_status st = vv_cursor_open(&r->part, &opt, &r->at, err);
    if (st == VV_OK)
        st = read_head(r, err);
    if (st == VV_OK)
        st = read_end(r, err);
    r->first = r->head.first;
    r->local = r->local_head.first;
    r->bytes = r->sums.bytes_before - r->head.bytes_before;
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "partition %u", partition);
}

void db_stream_reader_close(db_stream_reader *r)
{
    vv_cursor_close(r->at);
    db_tier_view_close(r->view);
    stream_scratch_fini(&r->scratch);
    r->at = NULL;
    r->view = NULL;
    r->is_at_block = false;
    if (r->part.db != NULL)
        db_tier_hold_end(r->part.db, &r->hold);
}

/* ---- places ---- */

vv_status db_stream_search(db_stream_reader *r,
                           bool (*is_there)(const db_stream_reader *r, int64_t arg), int64_t arg,
                           uint64_t *out, vv_error *err)
{
    uint64_t low = r->local;
    uint64_t high = r->next;
    while (low < high) {
        vv_status st = db_stream_load(r, low + (high - low) / 2, err);
        if (st != VV_OK)
            return st;
        if (is_there(r, arg))
            high = r->begin > low ? r->begin : low;
        else
            low = r->end;
    }
    *out = low;
    return VV_OK;
}

static bool is_received(const db_stream_reader *r, int64_t time_ns)
{
    return r->block.place.receive_ns >= time_ns;
}

vv_status db_stream_search_received(db_stream_reader *r, int64_t time_ns, uint64_t *out,
                                    vv_error *err)
{
    return db_stream_search(r, is_received, time_ns, out, err);
}

/* The same, archived or not. */
static vv_status search_received(db_stream_reader *r, int64_t time_ns, uint64_t *out, vv_error *err)
{
    vv_status st = db_stream_search_received(r, time_ns, out, err);
    if (st != VV_OK || *out != r->local || r->first == r->local)
        return st;
    st = check_may_wait(r, err);
    return st == VV_OK ? db_tier_search_received(r, time_ns, out, err) : st;
}

static bool has_event(const db_stream_reader *r, int64_t time_ns)
{
    return r->block.place.event_max >= time_ns;
}

vv_status db_stream_search_block(db_stream_reader *r, uint64_t *offset, int64_t time_ns,
                                 vv_error *err)
{
    vv_message m = {.attribute_count = 0};
    uint64_t size = 0;
    vv_status st = VV_OK;
    while ((st = db_stream_next(r, &m, &size, err)) == VV_OK)
        if (m.offset >= *offset &&
            (m.event_time_ns == 0 ? m.receive_time_ns : m.event_time_ns) >= time_ns)
            break;
    *offset = st == VV_OK ? m.offset : r->end;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* What was trimmed may have had the time that the sums tell of, so the first block that has it is
 * perhaps a later one. */
static vv_status search_own_event(db_stream_reader *r, int64_t time_ns, uint64_t *out,
                                  vv_error *err)
{
    vv_status st = db_stream_search(r, has_event, time_ns, out, err);
    while (st == VV_OK && *out < r->next) {
        st = db_stream_load(r, *out, err);
        if (st != VV_OK)
            return st;
        uint64_t end = r->end;
        if (stream_block_newest(&r->block) < time_ns)
            *out = end;
        else
            st = db_stream_search_block(r, out, time_ns, err);
        if (st == VV_OK && *out < end)
            return VV_OK;
    }
    return st;
}

static vv_status search_event(db_stream_reader *r, int64_t time_ns, uint64_t *out, vv_error *err)
{
    *out = r->local;
    vv_status st = r->first < r->local ? check_may_wait(r, err) : VV_OK;
    if (st == VV_OK && r->first < r->local)
        st = db_tier_search_event(r, time_ns, out, err);
    return st == VV_OK && *out >= r->local ? search_own_event(r, time_ns, out, err) : st;
}

static vv_status resolve_position(db_stream_reader *r, vv_slice name, uint64_t *out, vv_error *err)
{
    stream_position at = {0};
    vv_status st = stream_position_check(name, err);
    if (st == VV_OK)
        st = db_stream_read_position(r, name, &at, err);
    *out = at.offset;
    return st;
}

vv_status db_stream_resolve(db_stream_reader *r, const vv_stream_start *start, uint64_t *out,
                            uint64_t *asked, vv_error *err)
{
    vv_status st = VV_OK;
    uint64_t at = r->first;
    switch (start->from) {
    case VV_STREAM_EARLIEST:
        break;
    case VV_STREAM_LATEST:
        at = r->next;
        break;
    case VV_STREAM_OFFSET:
        at = start->offset;
        break;
    case VV_STREAM_RECEIVED:
        st = search_received(r, start->time_ns, &at, err);
        break;
    case VV_STREAM_EVENT:
        st = search_event(r, start->time_ns, &at, err);
        break;
    case VV_STREAM_POSITION:
        st = resolve_position(r, start->position, &at, err);
        break;
    default:
        st = vv_fail(err, VV_INVALID, "a start of kind %d is not known", (int)start->from);
        break;
    }
    if (st != VV_OK)
        return st;
    *asked = at;
    *out = at < r->first ? r->first : at > r->next ? r->next : at;
    return VV_OK;
}

vv_status vv_stream_find(vv_table *table, uint32_t partition, const vv_stream_start *start,
                         const vv_snapshot *snapshot, uint64_t *offset, vv_error *err)
{
    db_stream_reader r = {.at = NULL};
    uint64_t asked = 0;
    vv_status st = db_stream_check_part(table, partition, err);
    if (st == VV_OK)
        st = db_stream_reader_open(&r, table, partition, snapshot, NULL, err);
    if (st == VV_OK)
        st = db_stream_resolve(&r, start, offset, &asked, err);
    db_stream_reader_close(&r);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "stream '%s'", table->cat->name);
}

#define CHAIN_MAX 1024u /* blocks back that a repeated append is looked for: a read each */

/* What of the sequences lies in the loaded block. */
static void take_overlap(const db_stream_reader *r, uint64_t sequence, size_t count,
                         db_stream_sent *out)
{
    const uint64_t end = sequence + count;
    const uint64_t block_end = r->block.sequence + r->block.count;
    const uint64_t from = sequence > r->block.sequence ? sequence : r->block.sequence;
    const uint64_t to = end < block_end ? end : block_end;
    if (from >= to)
        return;
    out->first_offset = r->begin + (from - r->block.sequence);
    out->count += to - from;
}

vv_status db_stream_find_sent(const vv_table *table, uint32_t partition, vv_slice producer,
                              uint64_t sequence, size_t count, uint64_t from, db_stream_sent *out,
                              vv_error *err)
{
    db_stream_reader r;
    vv_status st = db_stream_reader_open(&r, table, partition, NULL, NULL, err);
    *out = (db_stream_sent){.first_offset = VV_STREAM_OFFSET_GONE};
    for (uint32_t i = 0; st == VV_OK && !out->is_whole && i < CHAIN_MAX; i++) {
        if (from < r.local || from >= r.next) {                         /* objects keep no chain */
            out->is_whole = from == STREAM_NO_OFFSET && out->count > 0; /* one entry has them all */
            break;
        }
        st = db_stream_load(&r, from, err);
        if (st != VV_OK || r.begin != from || !vv_slice_eq(r.block.producer, producer))
            break;
        take_overlap(&r, sequence, count, out);
        out->is_whole = sequence >= r.block.sequence;
        if (r.block.place.previous >= from && r.block.place.previous != STREAM_NO_OFFSET)
            break;
        from = r.block.place.previous;
    }
    db_stream_reader_close(&r);
    return st;
}

/* ---- cursors ---- */

struct vv_stream_cursor {
    db_stream_reader r;
    uint32_t partition;
    bool has_block; /* r.block is read on */
    bool is_at_end;
    uint64_t offset; /* of the next message */
    uint64_t skipped;
    uint64_t messages_left; /* UINT64_MAX: no bound */
    uint64_t bytes_left;
    bool has_given;
};

vv_status db_stream_read_options_take(const vv_stream_read_options *opt,
                                      vv_stream_read_options *out, vv_error *err)
{
    *out = (vv_stream_read_options)VV_STREAM_READ_OPTIONS_INIT;
    if (opt == NULL)
        return VV_OK;
    return vv_options_take(out, sizeof *out, opt, sizeof *out, "vv_stream_read_options", err);
}

static vv_status begin(vv_stream_cursor *c, const vv_table *table,
                       const vv_stream_read_options *opt, vv_error *err)
{
    uint64_t asked = 0;
    vv_status st =
        db_stream_reader_open(&c->r, table, opt->partition, opt->snapshot, opt->archive, err);
    c->r.stays_local = opt->local;
    if (st == VV_OK)
        st = db_stream_resolve(&c->r, &opt->start, &c->offset, &asked, err);
    if (st != VV_OK)
        return st;
    c->partition = opt->partition;
    c->skipped = asked < c->offset ? c->offset - asked : 0;
    c->messages_left = opt->messages_max == 0 ? UINT64_MAX : opt->messages_max;
    c->bytes_left = opt->bytes_max == 0 ? UINT64_MAX : opt->bytes_max;
    return VV_OK;
}

vv_status vv_stream_cursor_open(vv_table *table, const vv_stream_read_options *opt,
                                vv_stream_cursor **out, vv_error *err)
{
    vv_stream_read_options full;
    vv_status st = db_stream_read_options_take(opt, &full, err);
    if (st == VV_OK)
        st = db_stream_check_part(table, full.partition, err);
    if (st != VV_OK)
        return st;
    vv_stream_cursor *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a cursor");
    st = begin(c, table, &full, err);
    if (st != VV_OK) {
        vv_stream_cursor_close(c);
        return vv_wrap(err, st, "read stream '%s'", table->cat->name);
    }
    *out = c;
    return VV_OK;
}

/* The block behind the loaded one, in the order of keys. */
static vv_status follow_block(db_stream_reader *r, uint64_t offset, vv_error *err)
{
    uint64_t begin_at = 0;
    vv_status st = vv_cursor_next(r->at, err);
    r->is_at_block = false;
    if (st == VV_OK && (!stands_on_block(r->at, &begin_at) || begin_at != offset))
        st = vv_fail(err, VV_CORRUPT, "no block begins at offset %llu", (unsigned long long)offset);
    return st == VV_OK ? take_block(r, begin_at, err) : st;
}

/* The block of the next offset, read up to it. */
static vv_status enter_block(vv_stream_cursor *c, vv_error *err)
{
    db_stream_reader *r = &c->r;
    bool follows = r->is_at_block && r->begin >= r->local && r->end == c->offset;
    vv_status st = follows ? follow_block(r, c->offset, err) : db_stream_load(r, c->offset, err);
    if (st == VV_OK)
        st = db_stream_skip_to(r, c->offset, err);
    c->has_block = st == VV_OK;
    return st;
}

/* The next message, to the bounds. VV_NOT_FOUND at the end. */
static vv_status step(vv_stream_cursor *c, vv_message *out, uint64_t *size, vv_error *err)
{
    vv_status st = VV_NOT_FOUND;
    if (c->offset >= c->r.next)
        return VV_NOT_FOUND;
    if (c->has_block)
        st = db_stream_next(&c->r, out, size, err);
    if (st == VV_NOT_FOUND) {
        st = enter_block(c, err);
        if (st == VV_OK)
            st = db_stream_next(&c->r, out, size, err);
        if (st == VV_NOT_FOUND)
            st = vv_fail(err, VV_CORRUPT, "the block at offset %llu ends too early",
                         (unsigned long long)c->r.begin);
    }
    if (st != VV_OK)
        c->has_block = false;
    return st;
}

vv_status vv_stream_cursor_next(vv_stream_cursor *c, vv_message *out, vv_error *err)
{
    static const vv_error end = {.status = VV_NOT_FOUND, .msg = "no more messages"};
    uint64_t size = 0;
    vv_status st = c->is_at_end || c->messages_left == 0 ? VV_NOT_FOUND : step(c, out, &size, err);
    if (st == VV_OK && size > c->bytes_left && c->has_given)
        st = VV_NOT_FOUND;
    if (st == VV_NOT_FOUND) {
        c->is_at_end = true;
        if (err != NULL)
            *err = end;
    }
    if (st != VV_OK) /* of another failure the next call tries again */
        return st;
    c->offset = out->offset + 1;
    out->partition = c->partition;
    c->has_given = true;
    if (c->messages_left != UINT64_MAX)
        c->messages_left--;
    if (c->bytes_left != UINT64_MAX)
        c->bytes_left -= size < c->bytes_left ? size : c->bytes_left;
    return VV_OK;
}

uint64_t vv_stream_cursor_offset(const vv_stream_cursor *cursor)
{
    return cursor->offset;
}

uint64_t vv_stream_cursor_skipped(const vv_stream_cursor *cursor)
{
    return cursor->skipped;
}

void vv_stream_cursor_close(vv_stream_cursor *cursor)
{
    if (cursor == NULL)
        return;
    db_stream_reader_close(&cursor->r);
    vv_free(cursor);
}

/* ---- figures ---- */

static uint64_t count_producers(vv_db *db, const db_stream *s, uint32_t partition)
{
    vv_mutex_lock(&db->commit_lock);
    uint64_t count = s->part[partition].producers.count;
    vv_mutex_unlock(&db->commit_lock);
    return count;
}

/* Waits for no object store. */
static vv_status read_first_received(db_stream_reader *r, int64_t *out, vv_error *err)
{
    if (r->first < r->local)
        return db_tier_first_received(r, out, err);
    vv_status st = db_stream_load(r, r->first, err);
    *out = r->block.place.receive_ns;
    return st;
}

vv_status vv_stream_stats_read(vv_table *table, uint32_t partition, const vv_snapshot *snapshot,
                               vv_stream_stats *out, vv_error *err)
{
    db_stream_reader r = {.at = NULL};
    int64_t first_ns = 0;
    db_stream *s = NULL;
    vv_stream_stats all = {.size = out->size};
    vv_status st = db_stream_check_part(table, partition, err);
    if (st == VV_OK && out->size < sizeof out->size)
        st = vv_fail(err, VV_INVALID, "vv_stream_stats.size is %zu: set it first", out->size);
    if (st == VV_OK)
        st = db_stream_of(table, &s, err);
    if (st == VV_OK)
        st = db_stream_reader_open(&r, table, partition, snapshot, NULL, err);
    if (st == VV_OK && r.first < r.next)
        st = read_first_received(&r, &first_ns, err);
    if (st == VV_OK) {
        all.first_offset = r.first;
        all.next_offset = r.next;
        all.local_offset = r.local > r.first ? r.local : r.first;
        all.messages = r.next - r.first;
        all.bytes = r.bytes;
        all.first_receive_ns = first_ns;
        all.last_receive_ns = r.first < r.next ? r.sums.receive_ns : 0;
        all.newest_event_ns = r.sums.event_max;
        all.producers = count_producers(table->db, s, partition);
        all.rule_errors = db_stream_rule_errors(s);
        all.dead_letters = db_stream_dead_letters(s);
        st = db_stream_count_positions(&r, &all.positions, err);
    }
    db_stream_reader_close(&r);
    if (st != VV_OK)
        return vv_wrap(err, st, "figures of stream '%s'", table->cat->name);
    memcpy(out, &all, out->size < sizeof all ? out->size : sizeof all);
    return VV_OK;
}
