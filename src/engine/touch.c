#include "engine/touch.h"

#include <string.h>

#include "base/util.h"

static void fill(engine_touch *out, vv_slice key, int64_t version, bool is_range)
{
    out->version = version;
    out->is_range = is_range;
    out->key_len = vv_min_u64(key.len, sizeof out->key);
    memcpy(out->key, key.data, out->key_len);
}

/* To the newest version of the next key. */
static vv_status next_key(engine_source *src, vv_error *err)
{
    if (src->ops->next_key != NULL)
        return src->ops->next_key(src, INT64_MAX, err);
    return engine_source_next(src, err); /* older versions of a key are looked at in vain */
}

vv_status engine_touch_source(engine_source *src, vv_slice lower, vv_slice upper, int64_t since,
                              engine_touch *out, vv_error *err)
{
    vv_status st = engine_source_seek(src, lower, INT64_MAX, err);
    while (st == VV_OK && src->valid && vv_slice_cmp(src->item.key, upper) < 0) {
        if (src->item.version > since) {
            fill(out, src->item.key, src->item.version, false);
            return VV_OK;
        }
        st = next_key(src, err);
    }
    return st == VV_OK ? VV_NOT_FOUND : st;
}

bool engine_touch_ranges(const engine_rangedels *set, vv_slice lower, vv_slice upper, int64_t since,
                         engine_touch *out)
{
    size_t count = set == NULL ? 0 : engine_rangedels_count(set);
    for (size_t i = 0; i < count; i++) {
        const engine_range *r = engine_rangedels_at(set, i);
        if (vv_slice_cmp(r->start, upper) >= 0)
            break; /* sorted by start */
        if (r->version <= since || vv_slice_cmp(r->end, lower) <= 0)
            continue;
        fill(out, vv_slice_cmp(r->start, lower) < 0 ? lower : r->start, r->version, true);
        return true;
    }
    return false;
}
