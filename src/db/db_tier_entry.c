/*
 * db_tier_entry.c - a partition's entries: which object holds an offset, at a reader's moment.
 *
 * An entry's key is the first offset of its object, so the one that holds an offset is the newest
 * at or below it, if it reaches that far.
 */
#include "base/error.h"
#include "db/db_stream_int.h"

/* The entry under the reader's cursor. VV_NOT_FOUND: it stands on none. */
static vv_status take(db_stream_reader *r, arch_entry *out, vv_error *err)
{
    static const vv_error none = {.status = VV_NOT_FOUND, .msg = "no object holds the offset"};
    if (!vv_cursor_valid(r->at) || vv_cursor_key(r->at).data[0] != ARCH_KEY_ENTRY) {
        if (err != NULL)
            *err = none;
        return VV_NOT_FOUND;
    }
    vv_slice key = vv_cursor_key(r->at);
    vv_status st = key.len == ARCH_KEY_SIZE
                       ? arch_entry_decode(vv_cursor_value(r->at), out, err)
                       : vv_fail(err, VV_CORRUPT, "the key of an entry has %zu bytes", key.len);
    if (st == VV_OK && out->holds.first != vv_get_be64(key.data + 1))
        st = vv_fail(err, VV_CORRUPT, "the entry of offset %llu tells of offset %llu",
                     (unsigned long long)vv_get_be64(key.data + 1),
                     (unsigned long long)out->holds.first);
    return st;
}

/* The newest entry whose object begins at or below offset. */
static vv_status at_or_below(db_stream_reader *r, uint64_t offset, arch_entry *out, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    arch_key(offset == UINT64_MAX ? ARCH_KEY_ENTRY + 1 : ARCH_KEY_ENTRY,
             offset == UINT64_MAX ? 0 : offset + 1, key);
    vv_status st = vv_cursor_seek_below(r->at, vv_slice_of(key, sizeof key), err);
    return st == VV_OK ? take(r, out, err) : st;
}

vv_status db_tier_entry_of(db_stream_reader *r, uint64_t offset, arch_entry *out, vv_error *err)
{
    vv_status st = at_or_below(r, offset, out, err);
    if (st == VV_OK && offset >= out->holds.next)
        st = vv_fail(err, VV_NOT_FOUND, "no object holds offset %llu", (unsigned long long)offset);
    return st;
}

vv_status db_tier_entry_from(db_stream_reader *r, uint64_t offset, arch_entry *out, vv_error *err)
{
    uint8_t key[ARCH_KEY_SIZE];
    vv_status st = db_tier_entry_of(r, offset, out, err);
    if (st != VV_NOT_FOUND)
        return st;
    arch_key(ARCH_KEY_ENTRY, offset, key);
    st = vv_cursor_seek(r->at, vv_slice_of(key, sizeof key), err);
    return st == VV_OK ? take(r, out, err) : st;
}

vv_status db_tier_entry_last(db_stream_reader *r, arch_entry *out, vv_error *err)
{
    return at_or_below(r, UINT64_MAX, out, err);
}
