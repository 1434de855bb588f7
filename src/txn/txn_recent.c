/*
 * txn_recent.c - what was appended while a transaction was judged without a lock.
 *
 *   op   u64 version | u32 key length | u32 end length (0: a single key) | key | end
 *
 * Nobody pays for it but while a transaction with ranges, or one whose memtable was flushed, is
 * being committed: then each append leaves its keys here. A large batch overflows it; the judge
 * begins again then, and after some tries judges under the lock.
 */
#include "txn/txn.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/point.h"
#include "base/util.h"

#define HEAD 16u

void txn_recent_fini(txn_recent *r)
{
    vv_free(r->bytes);
    *r = (txn_recent){0};
}

void txn_recent_watch(txn_recent *r, int64_t last)
{
    if (r->bytes == NULL)
        r->bytes = vv_alloc(TXN_RECENT_SIZE); /* without it nothing is remembered */
    if (r->watchers++ == 0) {
        r->len = 0;
        r->from = last;
    }
}

void txn_recent_unwatch(txn_recent *r)
{
    assert(r->watchers > 0);
    r->watchers--;
}

static bool add_op(txn_recent *r, int64_t version, const engine_op *op)
{
    bool is_range = op->kind == ENGINE_RANGE_DELETE;
    size_t end_len = is_range ? op->value.len : 0;
    size_t need = HEAD + op->key.len + end_len;
    if (is_range && vv_slice_cmp(op->key, op->value) >= 0)
        return true; /* empty: touches nothing */
    if (r->bytes == NULL || need > TXN_RECENT_SIZE - r->len)
        return false;
    uint8_t *p = r->bytes + r->len;
    vv_put_le64(p, (uint64_t)version);
    vv_put_le32(p + 8, (uint32_t)op->key.len);
    vv_put_le32(p + 12, (uint32_t)end_len);
    memcpy(p + HEAD, op->key.data, op->key.len);
    if (end_len > 0)
        memcpy(p + HEAD + op->key.len, op->value.data, end_len);
    r->len += need;
    return true;
}

void txn_recent_add(txn_recent *r, int64_t version, vv_slice payload)
{
    engine_entry_iter it;
    engine_op op;
    vv_status st = engine_entry_open(payload, &it, NULL);
    while (st == VV_OK && (st = engine_entry_next(&it, &op, NULL)) == VV_OK) {
        if (!add_op(r, version, &op)) {
            r->len = 0;
            r->from = version; /* forgotten, this entry included */
            return;
        }
    }
}

void txn_recent_forget(txn_recent *r, int64_t version)
{
    r->len = 0;
    r->from = version;
}

/* The first key at or behind what is asked. */
static size_t first_key(const txn_footprint *fp, vv_slice key)
{
    size_t lo = 0;
    size_t hi = fp->key_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (vv_slice_cmp(fp->keys[mid], key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The first span that ends behind key. */
static size_t first_span(const txn_footprint *fp, vv_slice key)
{
    size_t lo = 0;
    size_t hi = fp->span_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (vv_slice_cmp(fp->spans[mid].upper, key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* end: exclusive, or empty for the one key. */
static bool touches(const txn_footprint *fp, vv_slice key, vv_slice end)
{
    size_t k = first_key(fp, key);
    size_t s = first_span(fp, key);
    if (end.len == 0)
        return (k < fp->key_count && vv_slice_eq(fp->keys[k], key)) ||
               (s < fp->span_count && vv_slice_cmp(fp->spans[s].lower, key) <= 0);
    return (k < fp->key_count && vv_slice_cmp(fp->keys[k], end) < 0) ||
           (s < fp->span_count && vv_slice_cmp(fp->spans[s].lower, end) < 0);
}

txn_answer txn_recent_check(const txn_recent *r, const txn_footprint *fp, int64_t as_of,
                            engine_touch *out)
{
    if (VV_BUG(55))
        return TXN_CLEAR;
    if (r->from > as_of)
        return TXN_UNKNOWN;
    for (size_t at = 0; at < r->len;) {
        const uint8_t *p = r->bytes + at;
        vv_slice key = vv_slice_of(p + HEAD, vv_get_le32(p + 8));
        vv_slice end = vv_slice_of(p + HEAD + key.len, vv_get_le32(p + 12));
        int64_t version = (int64_t)vv_get_le64(p);
        at += HEAD + key.len + end.len;
        if (version <= as_of || !touches(fp, key, end))
            continue;
        *out = (engine_touch){.version = version, .is_range = end.len > 0, .key_len = key.len};
        memcpy(out->key, key.data, key.len);
        return TXN_TOUCHED;
    }
    return TXN_CLEAR;
}
