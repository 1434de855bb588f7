/*
 * db_tier_read.c - the archived part of a partition under a stream's reader: where it begins, the
 * block of an offset, the offset of a time.
 *
 * Entries tell receive times and event times of their objects, so a time costs no request but for
 * the object that has it: its index, and the blocks that may hold the message.
 */
#include "db/db_tier_read.h"

#include <string.h>

#include "base/error.h"

/* ---- objects ---- */

/* What the object store said of the object, without its name. */
static const char *cause_of(const vv_error *why, const char *name)
{
    const char *at = strstr(why->msg, name);
    const size_t len = strlen(name);
    return at != NULL && strncmp(at + len, "': ", 3) == 0 ? at + len + 3 : why->msg;
}

/* What an object answers to who reads messages. The next step stands before the cause, which may be
 * cut. */
static vv_status tell(const vv_db *db, vv_status st, const arch_entry *entry, vv_error *err)
{
    vv_error why = {0};
    if (err != NULL)
        why = *err;
    const char *cause = cause_of(&why, entry->name);
    if (st == VV_NOT_FOUND) {
        (void)vv_fail(err, VV_CORRUPT, "put it back from a copy into %s: no such object%s",
                      vv_object_store_name(db->tier->objects),
                      strstr(cause, ".varve/sum") == NULL ? "" : ", its sum in .varve/sum is gone");
        st = VV_CORRUPT;
    } else if (st == VV_CORRUPT) {
        (void)vv_fail(err, st, "put it back from a copy: %s", cause);
    } else if (cause != why.msg) {
        (void)vv_fail(err, st, "%s: %s", vv_object_store_name(db->tier->objects), cause);
    }
    if (st == VV_TIMEOUT || st == VV_CONFLICT || st == VV_INVALID)
        st = VV_IO;
    return vv_wrap(err, st, "offsets %llu to %llu in object '%s'",
                   (unsigned long long)entry->holds.first, (unsigned long long)entry->holds.next,
                   entry->name);
}

static bool holds(const arch_entry *entry, uint64_t offset)
{
    return offset >= entry->holds.first && offset < entry->holds.next;
}

/* Have the entry's object open. VV_NOT_FOUND: it is missing. */
static vv_status use_entry(db_stream_reader *r, const arch_entry *entry, vv_error *err)
{
    uint32_t run = 0;
    if (r->view != NULL) {
        const arch_entry *has = db_tier_view_entry(r->view);
        if (has->intent == entry->intent && has->holds.first == entry->holds.first)
            return VV_OK;
        if (r->is_archived && r->end == has->holds.next && entry->holds.first == r->end)
            run = db_tier_view_run(r->view); /* it is read on */
    }
    db_tier_view_close(r->view);
    r->view = NULL;
    r->is_archived = false;
    vv_status st = db_tier_view_open(r->part.db, entry, &r->view, err);
    if (st == VV_OK)
        db_tier_view_set_run(r->view, run);
    return st;
}

/* The entry that holds the offset now, which is another one: objects are merged. VV_NOT_FOUND. */
static vv_status find_entry_now(const db_stream_reader *r, uint64_t offset, const arch_entry *old,
                                arch_entry *out)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    db_stream_reader now = {.part = r->part};
    vv_status st = vv_cursor_open(&now.part, &opt, &now.at, NULL);
    if (st == VV_OK)
        st = db_tier_entry_of(&now, offset, out, NULL);
    vv_cursor_close(now.at);
    return st == VV_OK && out->intent != old->intent ? VV_OK : VV_NOT_FOUND;
}

/* Have the object open that holds the offset, which the entry does. */
static vv_status use_object_of(db_stream_reader *r, uint64_t offset, const arch_entry *entry,
                               vv_error *err)
{
    arch_entry now;
    vv_status st = use_entry(r, entry, err);
    if (st != VV_NOT_FOUND)
        return st == VV_OK ? VV_OK : tell(r->part.db, st, entry, err);
    if (find_entry_now(r, offset, entry, &now) != VV_OK)
        return tell(r->part.db, st, entry, err);
    st = use_entry(r, &now, err);
    return st == VV_OK ? VV_OK : tell(r->part.db, st, &now, err);
}

static vv_status load_block(db_stream_reader *r, uint32_t block, vv_error *err)
{
    arch_block_info info;
    r->is_at_block = false;
    r->is_archived = false;
    vv_status st = db_tier_view_load(r->view, block, err);
    if (st != VV_OK)
        return st;
    arch_reader_block(db_tier_view_reader(r->view), block, &info);
    r->is_archived = true;
    r->begin = info.first;
    r->end = info.next;
    r->block_len = info.raw_len;
    return VV_OK;
}

static vv_status fail_hole(db_stream_reader *r, uint64_t offset, vv_error *err)
{
    arch_entry behind;
    uint64_t end = r->local;
    if (db_tier_entry_from(r, offset, &behind, NULL) == VV_OK)
        end = vv_min_u64(end, behind.holds.first);
    return vv_fail(err, VV_CORRUPT,
                   "messages from offset %llu on are in no object: put it back from a copy, or go "
                   "on at %llu",
                   (unsigned long long)offset, (unsigned long long)end);
}

/* The entry that holds the offset, at the reader's moment. */
static vv_status find_entry(db_stream_reader *r, uint64_t offset, arch_entry *out, vv_error *err)
{
    r->is_at_block = false;
    vv_status st = db_tier_entry_of(r, offset, out, err);
    return st == VV_NOT_FOUND ? fail_hole(r, offset, err) : st;
}

vv_status db_tier_load(db_stream_reader *r, uint64_t offset, vv_error *err)
{
    arch_entry entry;
    uint32_t block = 0;
    vv_status st = VV_OK;
    if (r->view != NULL && holds(db_tier_view_entry(r->view), offset)) {
        entry = *db_tier_view_entry(r->view);
    } else {
        st = find_entry(r, offset, &entry, err);
        if (st == VV_OK)
            st = use_object_of(r, offset, &entry, err);
        if (st != VV_OK)
            return st;
    }
    st = arch_reader_find(db_tier_view_reader(r->view), offset, &block, err);
    if (st == VV_OK)
        st = load_block(r, block, err);
    if (st == VV_OK)
        return VV_OK;
    arch_entry had = *db_tier_view_entry(r->view);
    db_tier_view_close(r->view); /* the next try looks for it anew */
    r->view = NULL;
    if (st != VV_NOT_FOUND || find_entry_now(r, offset, &had, &entry) != VV_OK)
        return tell(r->part.db, st, &had, err);
    st = use_entry(r, &entry, err);
    if (st == VV_OK)
        st = arch_reader_find(db_tier_view_reader(r->view), offset, &block, err);
    if (st == VV_OK)
        st = load_block(r, block, err);
    return st == VV_OK ? VV_OK : tell(r->part.db, st, &entry, err);
}

vv_status db_tier_next(db_stream_reader *r, vv_message *out, uint64_t *size, vv_error *err)
{
    vv_status st = arch_reader_next(db_tier_view_reader(r->view), out, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? st : tell(r->part.db, st, db_tier_view_entry(r->view), err);
    *size = stream_message_size(out);
    return VV_OK;
}

vv_status db_tier_skip_to(db_stream_reader *r, uint64_t offset, vv_error *err)
{
    vv_status st = arch_reader_seek(db_tier_view_reader(r->view), offset, err);
    if (st == VV_NOT_FOUND)
        st = vv_fail(err, VV_CORRUPT, "the block has no offset %llu", (unsigned long long)offset);
    return st == VV_OK ? VV_OK : tell(r->part.db, st, db_tier_view_entry(r->view), err);
}

/* ---- places ---- */

/* The first entry with messages received at time or later. VV_NOT_FOUND. */
static vv_status find_received(db_stream_reader *r, int64_t time_ns, arch_entry *out, vv_error *err)
{
    uint64_t low = r->first;
    uint64_t high = r->local;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        vv_status st = db_tier_entry_from(r, middle, out, err);
        if (st != VV_OK && st != VV_NOT_FOUND)
            return st;
        if (st == VV_OK && out->holds.receive_last_ns < time_ns)
            low = out->holds.next;
        else if (st == VV_OK && out->holds.first > low && out->holds.first < middle)
            high = out->holds.first;
        else
            high = st == VV_OK && out->holds.first <= low ? low : middle;
    }
    if (low >= r->local)
        return VV_NOT_FOUND;
    vv_status st = db_tier_entry_from(r, low, out, err);
    return st == VV_OK && out->holds.receive_last_ns < time_ns ? VV_NOT_FOUND : st;
}

/* The first message of the loaded block from offset on that was received at time or later. */
static vv_status search_received(db_stream_reader *r, int64_t time_ns, uint64_t *offset,
                                 vv_error *err)
{
    vv_message m = {.attribute_count = 0};
    uint64_t size = 0;
    vv_status st = VV_OK;
    while ((st = db_tier_next(r, &m, &size, err)) == VV_OK)
        if (m.receive_time_ns >= time_ns)
            break;
    *offset = st == VV_OK ? m.offset : r->end;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* The first block from the object's first on that what() says may have it. */
static uint32_t find_block(const db_stream_reader *r, uint32_t block, int64_t time_ns,
                           int64_t (*what)(const arch_block_info *info))
{
    const arch_reader *a = db_tier_view_reader(r->view);
    uint32_t count = arch_reader_block_count(a);
    for (; block < count; block++) {
        arch_block_info info;
        arch_reader_block(a, block, &info);
        if (info.next > r->first && what(&info) >= time_ns)
            break;
    }
    return block;
}

static int64_t last_received(const arch_block_info *info)
{
    return info->receive_last_ns;
}

static int64_t newest_event(const arch_block_info *info)
{
    return info->event_max_ns;
}

/* As db_tier_load, of a block of the open object. */
static vv_status enter_block(db_stream_reader *r, uint32_t block, vv_error *err)
{
    vv_status st = load_block(r, block, err);
    if (st == VV_OK)
        return VV_OK;
    st = tell(r->part.db, st, db_tier_view_entry(r->view), err);
    db_tier_view_close(r->view);
    r->view = NULL;
    return st;
}

vv_status db_tier_search_received(db_stream_reader *r, int64_t time_ns, uint64_t *out,
                                  vv_error *err)
{
    arch_entry entry;
    r->is_at_block = false;
    *out = r->local;
    vv_status st = find_received(r, time_ns, &entry, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    uint64_t begin = entry.holds.first > r->first ? entry.holds.first : r->first;
    *out = begin;
    if (entry.holds.receive_first_ns >= time_ns)
        return VV_OK;
    st = use_object_of(r, begin, &entry, err);
    if (st != VV_OK)
        return st;
    uint32_t block = find_block(r, 0, time_ns, last_received);
    if (block == arch_reader_block_count(db_tier_view_reader(r->view))) {
        *out = db_tier_view_entry(r->view)->holds.next;
        return VV_OK;
    }
    st = enter_block(r, block, err);
    if (st == VV_OK)
        st = search_received(r, time_ns, out, err);
    if (*out < begin)
        *out = begin;
    return st;
}

/* In the open object, from offset first on. *out: `none` when it has none. */
static vv_status search_object(db_stream_reader *r, int64_t time_ns, uint64_t first, uint64_t none,
                               uint64_t *out, vv_error *err)
{
    uint32_t count = arch_reader_block_count(db_tier_view_reader(r->view));
    for (uint32_t b = find_block(r, 0, time_ns, newest_event); b < count;
         b = find_block(r, b + 1, time_ns, newest_event)) {
        uint64_t at = first;
        vv_status st = enter_block(r, b, err);
        if (st == VV_OK)
            st = db_stream_search_block(r, &at, time_ns, err);
        if (st != VV_OK)
            return st;
        if (at < r->end) {
            *out = at;
            return VV_OK;
        }
    }
    *out = none;
    return VV_OK;
}

vv_status db_tier_search_event(db_stream_reader *r, int64_t time_ns, uint64_t *out, vv_error *err)
{
    arch_entry entry;
    uint64_t at = r->first;
    r->is_at_block = false;
    *out = r->local;
    while (at < r->local) {
        vv_status st = db_tier_entry_from(r, at, &entry, err);
        if (st != VV_OK)
            return st == VV_NOT_FOUND ? VV_OK : st;
        if (entry.holds.first > at)
            at = entry.holds.first;
        if (entry.holds.event_max_ns >= time_ns || entry.holds.receive_last_ns >= time_ns) {
            st = use_object_of(r, at, &entry, err);
            if (st == VV_OK)
                st = search_object(r, time_ns, at, r->local, out, err);
            if (st != VV_OK || *out < r->local)
                return st;
        }
        at = entry.holds.next;
    }
    return VV_OK;
}

vv_status db_tier_first_received(db_stream_reader *r, int64_t *out, vv_error *err)
{
    arch_entry entry;
    r->is_at_block = false;
    vv_status st = db_tier_entry_from(r, r->first, &entry, err);
    if (st == VV_OK)
        *out = entry.holds.receive_first_ns;
    return st == VV_NOT_FOUND ? VV_OK : st;
}
