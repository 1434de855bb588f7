/*
 * db_tier_store.c - one object of the tier at its store: read by ranges.
 */
#include "base/error.h"
#include "db/db_tier_int.h"

static vv_status read_range(void *ctx, uint64_t offset, void *out, size_t len, vv_error *err)
{
    const db_tier_source *s = ctx;
    vv_object_outcome oc;
    size_t got = 0;
    vv_status st = vv_object_get(s->objects, s->name, offset, out, len, &got, NULL, &oc, err);
    if (st == VV_OK && got < len)
        st = vv_fail(err, VV_CORRUPT, "object '%s' ends at %llu: %zu bytes at %llu were asked for",
                     s->name, (unsigned long long)(offset + got), len, (unsigned long long)offset);
    return st;
}

arch_source db_tier_source_of(db_tier_source *s, uint64_t size)
{
    return (arch_source){.read = read_range, .ctx = s, .size = size};
}
