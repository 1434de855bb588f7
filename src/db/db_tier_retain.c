/*
 * db_tier_retain.c - what of the archived messages is kept: by whole objects.
 *
 * The entries tell it: when the last message of an object was received, and how many bytes lie
 * before the next one. So retention reads no object.
 */
#include "base/error.h"
#include "db/db_stream_int.h"

/* Is the object out of what the table keeps? after: bytes of blocks before the next one. */
static bool is_out(const cat_table *cat, const db_stream_reader *r, const arch_entry *e,
                   uint64_t after, int64_t now_ns)
{
    int64_t oldest = 0;
    if (cat->retention_ns != 0 && !__builtin_sub_overflow(now_ns, cat->retention_ns, &oldest) &&
        e->holds.receive_last_ns < oldest)
        return true;
    return cat->retention_bytes != 0 && r->sums.bytes_before - after >= cat->retention_bytes;
}

vv_status db_tier_find_kept(db_stream_reader *r, int64_t now_ns, uint64_t *out, bool *all,
                            vv_error *err)
{
    arch_entry e;
    arch_entry next;
    vv_status st = VV_OK;
    *out = r->first;
    *all = r->first >= r->local;
    if (*all)
        return VV_OK;
    st = db_tier_entry_of(r, r->first, &e, err);
    while (st == VV_OK && e.holds.next <= r->local) {
        uint64_t after = r->local_head.bytes_before;
        vv_status found = VV_NOT_FOUND;
        if (e.holds.next < r->local) {
            found = db_tier_entry_of(r, e.holds.next, &next, err);
            after = found == VV_OK ? next.bytes_before : after;
        }
        if (found != VV_OK && found != VV_NOT_FOUND)
            return found;
        if (!is_out(r->part.cat, r, &e, after, now_ns))
            return VV_OK;
        *out = e.holds.next;
        *all = e.holds.next >= r->local;
        if (*all)
            return VV_OK;
        if (found != VV_OK)
            return vv_fail(err, VV_CORRUPT, "no object holds offset %llu",
                           (unsigned long long)e.holds.next);
        e = next;
    }
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "no object holds offset %llu",
                       (unsigned long long)r->first);
    return st;
}
