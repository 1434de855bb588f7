/*
 * lsm_block.c - searching and reading a block. Building one is in lsm_block_build.c.
 *
 * Why heads: a search touches the header, the heads and the offsets, five adjacent lines that one
 * prefetch brings, and then the one entry it wants. Only equal heads make it look at more entries,
 * and then by binary search, because text keys tie often.
 *
 * Trap: heads are zero padded, so "ab" and "ab\0" tie. slen tells them apart: with all common bytes
 * equal the shorter key is the smaller.
 */
#include "lsm/lsm_block.h"
#include "lsm/lsm_value.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"

typedef lsm_block_layout layout;

static unsigned width_of(unsigned flags)
{
    return (unsigned[]){0, 2, 4, 8}[flags & 3];
}

static inline layout layout_of(const uint8_t *p)
{
    layout l = {.p = p,
                .n = vv_get_le16(p + 8),
                .plen = vv_get_le16(p + 10),
                .flags = vv_get_le16(p + 12),
                .version_min = (int64_t)vv_get_le64(p + 16)};
    l.width = (l.flags & 3) == 0 ? 0 : 1u << (l.flags & 3);
    l.offs = p + LSM_BLOCK_HEAD + 4 * l.n;
    l.vers = l.offs + (l.flags & LSM_BLOCK_WIDE ? 4 : 2) * (l.n + 1);
    return l;
}

static inline uint32_t head_at(const layout *l, unsigned i)
{
    return vv_get_le32(l->p + LSM_BLOCK_HEAD + 4 * i);
}

static inline uint32_t offset_at(const layout *l, unsigned i)
{
    return l->flags & LSM_BLOCK_WIDE ? vv_get_le32(l->offs + 4 * i) : vv_get_le16(l->offs + 2 * i);
}

static inline int64_t version_at(const layout *l, unsigned i)
{
    uint64_t above = 0;
    switch (l->width) {
    case 2:
        above = vv_get_le16(l->vers + 2 * i);
        break;
    case 4:
        above = vv_get_le32(l->vers + 4 * i);
        break;
    case 8:
        above = vv_get_le64(l->vers + 8 * i);
        break;
    default:
        break;
    }
    return (int64_t)((uint64_t)l->version_min + above);
}

/* The parts of one entry; the key's own bytes begin after plen and the head. */
typedef struct entry {
    unsigned slen; /* key length - plen */
    unsigned flag;
    int64_t expires_ns;
    const uint8_t *suffix; /* max(slen - 4, 0) bytes */
    const uint8_t *value;
    const uint8_t *end;
} entry;

static inline void entry_at(const layout *l, unsigned i, entry *e)
{
    const uint8_t *q = l->p + offset_at(l, i);
    e->end = l->p + offset_at(l, i + 1);
    e->slen = *q++;
    if (VV_UNLIKELY(e->slen == 255)) {
        e->slen = vv_get_le16(q);
        q += 2;
    }
    e->flag = 0;
    e->expires_ns = 0;
    if (l->flags & LSM_BLOCK_SPECIAL) {
        e->flag = *q++;
        if (e->flag & LSM_ENTRY_EXPIRES) {
            e->expires_ns = (int64_t)vv_get_le64(q);
            q += 8;
        }
    }
    e->suffix = q;
    if (e->slen > 4)
        q += e->slen - 4;
    if (VV_UNLIKELY(l->flags & LSM_BLOCK_WIDE))
        q = l->p + vv_align_up((uint64_t)(q - l->p), 8);
    e->value = q;
}

void lsm_block_lay_out(const uint8_t *p, lsm_block_layout *out)
{
    *out = layout_of(p);
}

uint64_t lsm_block_sum(const uint8_t *p, uint32_t used, uint64_t run_id, uint32_t number)
{
    return vv_hash64_seed(p + 8, used - 8, run_id * UINT64_C(0x9e3779b97f4a7c15) + number);
}

/* One entry of a block that is being checked: all its parts lie between from and to. */
static vv_status check_entry(const layout *l, unsigned i, uint32_t from, uint32_t to, vv_error *err)
{
    const uint8_t *q = l->p + from;
    const uint8_t *end = l->p + to;
    unsigned slen = 0;
    unsigned flag = 0;
    if (q >= end)
        goto bad;
    slen = *q++;
    if (slen == 255) {
        if (end - q < 2)
            goto bad;
        slen = vv_get_le16(q);
        q += 2;
        if (slen < 255)
            goto bad;
    }
    if (l->flags & LSM_BLOCK_SPECIAL) {
        if (q >= end)
            goto bad;
        flag = *q++;
        unsigned kind = flag & ~(unsigned)LSM_ENTRY_EXPIRES;
        if (kind > ENGINE_MERGE && kind != ENGINE_APART)
            return vv_fail(err, VV_UNSUPPORTED,
                           "entry %u: kind %u is not known here: written by a newer version?", i,
                           flag);
        if (flag & LSM_ENTRY_EXPIRES) {
            if (end - q < 8)
                goto bad;
            q += 8;
        }
    }
    if (l->plen + slen > ENGINE_KEY_MAX || (slen > 4 && end - q < (ptrdiff_t)(slen - 4)))
        goto bad;
    if (slen > 4)
        q += slen - 4;
    if ((flag & 15) == ENGINE_APART && end - q != LSM_VALUE_REF)
        goto bad;
    if ((l->flags & LSM_BLOCK_WIDE) && l->p + vv_align_up((uint64_t)(q - l->p), 8) > end)
        goto bad;
    return VV_OK;
bad:
    return vv_fail(err, VV_CORRUPT, "entry %u does not fit its %u bytes", i, to - from);
}

vv_status lsm_block_check(const uint8_t *p, size_t len, vv_error *err)
{
    if (len < LSM_BLOCK_HEAD)
        return vv_fail(err, VV_CORRUPT, "%zu bytes are no block", len);
    unsigned flags = vv_get_le16(p + 12);
    if (flags & ~(unsigned)LSM_BLOCK_FLAGS)
        return vv_fail(err, VV_UNSUPPORTED,
                       "block flags %#x are not known here: written by a newer version?", flags);
    uint64_t n = vv_get_le16(p + 8);
    uint64_t plen = vv_get_le16(p + 10);
    uint64_t ppos = vv_get_le16(p + 14);
    uint64_t used = vv_get_le32(p + 28);
    bool wide = (flags & LSM_BLOCK_WIDE) != 0;
    uint64_t columns =
        LSM_BLOCK_HEAD + n * 4 + (n + 1) * (wide ? 4 : 2) + n * (uint64_t)width_of(flags);
    if (used > len || used > (wide ? LSM_BLOCK_RAW_MAX : LSM_BLOCK_PLAIN_MAX) || n == 0 ||
        (wide && n != 1) || ppos != columns || plen > ENGINE_KEY_MAX || ppos + plen > used)
        return vv_fail(err, VV_CORRUPT,
                       "block head: %u entries, prefix %u at %u, %u of %zu bytes used", (unsigned)n,
                       (unsigned)plen, (unsigned)ppos, (unsigned)used, len);
    layout l = layout_of(p);
    uint32_t from = offset_at(&l, 0);
    if (from != ppos + plen)
        return vv_fail(err, VV_CORRUPT, "block: entries begin at %u", from);
    for (unsigned i = 0; i < n; i++) {
        uint32_t to = offset_at(&l, i + 1);
        if (to < from || to > used)
            return vv_fail(err, VV_CORRUPT, "entry %u: offsets %u to %u", i, from, to);
        vv_status st = check_entry(&l, i, from, to, err);
        if (st != VV_OK)
            return st;
        from = to;
    }
    if (from != used)
        return vv_fail(err, VV_CORRUPT, "block: the last entry ends at %u of %u", from,
                       (unsigned)used);
    return VV_OK;
}

/* Number of heads below x: branchless binary search. */
static inline unsigned heads_below(const layout *l, uint32_t x)
{
    unsigned base = 0;
    unsigned n = l->n;
    while (n > 1) {
        unsigned half = n / 2;
        base += head_at(l, base + half - 1) < x ? half : 0;
        n -= half;
    }
    return base + (n == 1 && head_at(l, base) < x);
}

/* The head of a key whose first plen bytes are skipped. */
static inline uint32_t head_of(vv_slice key, unsigned plen)
{
    if (VV_LIKELY(key.len >= plen + 4))
        return vv_get_be32(key.data + plen);
    uint8_t padded[4] = {0};
    memcpy(padded, key.data + plen, key.len - plen);
    return vv_get_be32(padded);
}

/* Order of entry i and key beyond prefix and head, which are equal. */
static inline int compare_tail(const entry *e, vv_slice key, unsigned plen)
{
    unsigned klen = (unsigned)key.len - plen;
    if (e->slen > 4 && klen > 4) {
        unsigned common = (e->slen < klen ? e->slen : klen) - 4;
        int c = memcmp(e->suffix, key.data + plen + 4, common);
        if (c != 0)
            return c;
    }
    return (e->slen > klen) - (e->slen < klen);
}

/* Where key stands to the block's prefix: <0 before all keys, >0 after all, 0: shares it. */
static inline int compare_prefix(const layout *l, vv_slice key)
{
    if (l->plen == 0)
        return 0;
    const uint8_t *prefix = l->vers + l->width * l->n;
    int c = memcmp(key.data, prefix, vv_min_u64(key.len, l->plen));
    return c != 0 ? c : key.len < l->plen ? -1 : 0;
}

/* True when entry i stands before (key, version); their heads are equal. */
static inline bool is_before(const layout *l, unsigned i, vv_slice key, int64_t version)
{
    entry e;
    entry_at(l, i, &e);
    int c = compare_tail(&e, key, l->plen);
    return c < 0 || (c == 0 && version_at(l, i) > version);
}

/* First entry at or after (key, version), for a key that shares the prefix. */
static inline unsigned seek_in(const layout *l, vv_slice key, int64_t version)
{
    uint32_t head = head_of(key, l->plen);
    unsigned lo = heads_below(l, head);
    if (lo == l->n || head_at(l, lo) != head || !is_before(l, lo, key, version))
        return lo;
    lo++;
    if (lo == l->n || head_at(l, lo) != head)
        return lo;
    unsigned hi = head == UINT32_MAX ? l->n : heads_below(l, head + 1);
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (is_before(l, mid, key, version))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

unsigned lsm_block_seek(const uint8_t *p, vv_slice key, int64_t version)
{
    layout l = layout_of(p);
    int c = compare_prefix(&l, key);
    if (c != 0)
        return c < 0 ? 0 : l.n;
    return seek_in(&l, key, version);
}

static inline void item_of(const layout *l, unsigned index, const entry *e, engine_item *item)
{
    item->value = vv_slice_of(e->value, (size_t)(e->end - e->value));
    item->version = version_at(l, index);
    item->expires_ns = e->expires_ns;
    item->kind = (engine_kind)(e->flag & 15);
}

bool lsm_block_get(const uint8_t *p, vv_slice key, int64_t version, engine_item *item)
{
    layout l = layout_of(p);
    if (compare_prefix(&l, key) != 0)
        return false;
    unsigned i = seek_in(&l, key, version);
    if (i == l.n || head_at(&l, i) != head_of(key, l.plen))
        return false;
    entry e;
    entry_at(&l, i, &e);
    if (compare_tail(&e, key, l.plen) != 0)
        return false;
    item->key = key;
    item_of(&l, i, &e, item);
    return true;
}

void lsm_block_load_prefix(const uint8_t *p, uint8_t key_buf[LSM_KEY_BUF])
{
    layout l = layout_of(p);
    memcpy(key_buf, l.vers + l.width * l.n, l.plen);
}

void lsm_block_item_at(const lsm_block_layout *l, unsigned index, uint8_t key_buf[LSM_KEY_BUF],
                       engine_item *item)
{
    entry e;
    entry_at(l, index, &e);
    vv_put_be32(key_buf + l->plen, head_at(l, index));
    uint8_t *to = key_buf + l->plen + 4;
    memcpy(to, e.suffix, 16); /* short keys in one move; the block's pad makes it readable */
    if (VV_UNLIKELY(e.slen > 20))
        memcpy(to + 16, e.suffix + 16, e.slen - 20);
    item->key = vv_slice_of(key_buf, l->plen + e.slen);
    item_of(l, index, &e, item);
}

void lsm_block_item(const uint8_t *p, unsigned index, uint8_t key_buf[LSM_KEY_BUF],
                    engine_item *item)
{
    layout l = layout_of(p);
    lsm_block_item_at(&l, index, key_buf, item);
}
