/*
 * btree_leaf.c - taking data pages apart, and searching what came of it.
 *
 * Trap: heads are zero padded, so "ab" and "ab\0" tie. slen tells them apart: with all common bytes
 * equal the shorter key is the smaller.
 */
#include "btree/btree_leaf.h"

#include "base/error.h"
#include "base/util.h"

#define EXPANSION_MAX 16u /* of a page's size: more is no page of ours and no fit for a cache */

/* ---- sizes ---- */

void btree_leaf_sizes_add(btree_leaf_sizes *s, vv_slice first, const btree_entry *e)
{
    if (s->n == 0) {
        s->plen = (uint32_t)e->key.len;
        s->version_min = s->version_max = e->timestamp;
    }
    uint32_t max = (uint32_t)(e->key.len < s->plen ? e->key.len : s->plen);
    uint32_t same = 0;
    while (same < max && first.data[same] == e->key.data[same])
        same++;
    s->plen = same;
    s->n++;
    s->special |= e->flags != 0;
    s->key_bytes += e->key.len;
    s->rest_bytes += e->value.len + ((e->flags & BTREE_HAS_EXPIRY) != 0 ? 8 : 0);
    s->version_min = vv_min_u64(s->version_min, e->timestamp);
    s->version_max = vv_max_u64(s->version_max, e->timestamp);
}

static uint32_t width_of(const btree_leaf_sizes *s)
{
    uint64_t span = s->version_max - s->version_min;
    return span == 0 ? 0 : span <= UINT32_MAX ? 4 : 8;
}

static size_t size_with(const btree_leaf_sizes *s, bool wide)
{
    /* Behind the head: at least 4 bytes of each key are in it, or the key is shorter. */
    uint64_t suffixes = s->key_bytes - (uint64_t)s->n * s->plen;
    return (size_t)(BTREE_LEAF_HEAD + 4ull * s->n + (wide ? 4ull : 2ull) * (s->n + 1ull) + s->plen +
                    s->n * (1ull + s->special + width_of(s)) + suffixes + s->rest_bytes);
}

/* Exact but for what heads take out of the suffixes and long keys add: see btree_leaf_size. */
size_t btree_leaf_size(const btree_leaf_sizes *s)
{
    size_t size = size_with(s, false);
    /* A suffix loses the up to four bytes that are in its head; most keys have four. */
    size_t average = s->n == 0 ? 0 : (size_t)(s->key_bytes / s->n) - s->plen;
    if (average >= 4)
        size -= (size_t)s->n * 4;
    return size;
}

/* ---- taking a page apart ---- */

typedef struct measure {
    btree_leaf_sizes sizes;
    uint64_t suffixes; /* exact: bytes behind the heads, and long lengths */
    uint8_t first[BTREE_KEY_MAX];
    size_t first_len;
} measure;

static vv_status check_flags(const btree_entry *e, vv_error *err)
{
    if ((e->flags & BTREE_CODEC_MASK) == BTREE_CODEC_SEGMENT)
        return vv_fail(err, VV_UNSUPPORTED, "a value in a segment file, which is not read here");
    if (e->timestamp > INT64_MAX || e->expires > INT64_MAX)
        return vv_fail(err, VV_CORRUPT, "a time above 63 bits");
    if ((e->flags & BTREE_IS_OVERFLOW) != 0 &&
        (e->value.len % 4 != 0 || e->value.len == 0 || e->value.len > 4 * BTREE_POINTERS_MAX))
        return vv_fail(err, VV_CORRUPT, "%zu bytes of page ids", e->value.len);
    return VV_OK;
}

/* First pass: sizes, the first key and the common prefix. */
static vv_status measure_page(const uint8_t *page, uint32_t size, measure *m, vv_error *err)
{
    btree_iter it;
    btree_entry e;
    vv_status st = btree_iter_open(&it, page, size, err);
    if (st == VV_OK && !it.is_data)
        st = vv_fail(err, VV_CORRUPT, "an index page where a leaf is expected");
    while (st == VV_OK && (st = btree_iter_next(&it, &e, err)) == VV_OK) {
        st = check_flags(&e, err);
        if (m->sizes.n == 0) {
            memcpy(m->first, e.key.data, e.key.len);
            m->first_len = e.key.len;
        }
        btree_leaf_sizes_add(&m->sizes, vv_slice_of(m->first, m->first_len), &e);
        if (m->sizes.n > UINT16_MAX)
            return vv_fail(err, VV_CORRUPT, "%u entries", m->sizes.n);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static uint32_t head_of_suffix(const uint8_t *suffix, size_t len)
{
    uint8_t padded[4] = {0};
    memcpy(padded, suffix, len < 4 ? len : 4);
    return vv_get_be32(padded);
}

static uint8_t *put_version(uint8_t *q, uint64_t above, uint32_t width)
{
    if (width == 4)
        vv_put_le32(q, (uint32_t)above);
    else if (width == 8)
        vv_put_le64(q, above);
    return q + width;
}

/* One entry at q; returns its end. */
static uint8_t *put_entry(uint8_t *q, const btree_entry *e, const btree_leaf_sizes *s,
                          uint32_t width)
{
    size_t slen = e->key.len - s->plen;
    if (slen < 255) {
        *q++ = (uint8_t)slen;
    } else {
        *q++ = 255;
        vv_put_le16(q, (uint16_t)slen);
        q += 2;
    }
    if (s->special)
        *q++ = e->flags;
    q = put_version(q, e->timestamp - s->version_min, width);
    if ((e->flags & BTREE_HAS_EXPIRY) != 0) {
        vv_put_le64(q, e->expires);
        q += 8;
    }
    if (slen > 4) {
        memcpy(q, e->key.data + s->plen + 4, slen - 4);
        q += slen - 4;
    }
    if (e->value.len > 0)
        memcpy(q, e->value.data, e->value.len);
    return q + e->value.len;
}

/* Second pass: fill the frame. */
static vv_status fill(const uint8_t *page, uint32_t size, const measure *m, bool wide, uint8_t *p,
                      vv_error *err)
{
    const btree_leaf_sizes *s = &m->sizes;
    uint32_t width = width_of(s);
    vv_put_le16(p, (uint16_t)s->n);
    vv_put_le16(p + 2, (uint16_t)s->plen);
    p[4] = (uint8_t)((wide ? BTREE_LEAF_WIDE : 0) | (s->special ? BTREE_LEAF_SPECIAL : 0));
    p[5] = (uint8_t)width;
    vv_put_le16(p + 6, 0);
    vv_put_le64(p + 8, s->version_min);
    uint32_t offs = BTREE_LEAF_HEAD + 4 * s->n;
    uint32_t prefix = offs + (wide ? 4 : 2) * (s->n + 1);
    vv_put_le32(p + 16, offs);
    vv_put_le32(p + 20, prefix);
    vv_put_le32(p + 24, btree_data_prev(page));
    vv_put_le32(p + 28, btree_data_next(page));
    if (s->plen > 0)
        memcpy(p + prefix, m->first, s->plen);
    uint8_t *q = p + prefix + s->plen;
    btree_iter it;
    btree_entry e;
    vv_status st = btree_iter_open(&it, page, size, err);
    for (uint32_t i = 0; st == VV_OK && i <= s->n; i++) {
        if (wide)
            vv_put_le32(p + offs + 4 * i, (uint32_t)(q - p));
        else
            vv_put_le16(p + offs + 2 * i, (uint16_t)(q - p));
        if (i == s->n)
            break;
        st = btree_iter_next(&it, &e, err);
        if (st != VV_OK)
            break;
        vv_put_le32(p + BTREE_LEAF_HEAD + 4 * i,
                    head_of_suffix(e.key.data + s->plen, e.key.len - s->plen));
        q = put_entry(q, &e, s, width);
    }
    return st;
}

/* The exact size: what size_with says, less the heads' bytes, plus two for each long key. */
static vv_status exact_size(const uint8_t *page, uint32_t size, const measure *m, size_t *out,
                            vv_error *err)
{
    btree_iter it;
    btree_entry e;
    int64_t adjust = 0;
    vv_status st = btree_iter_open(&it, page, size, err);
    while (st == VV_OK && (st = btree_iter_next(&it, &e, err)) == VV_OK) {
        size_t slen = e.key.len - m->sizes.plen;
        adjust += (slen >= 255 ? 2 : 0) - (int64_t)(slen < 4 ? slen : 4);
    }
    size_t narrow = (size_t)((int64_t)size_with(&m->sizes, false) + adjust);
    *out = narrow <= UINT16_MAX ? narrow : (size_t)((int64_t)size_with(&m->sizes, true) + adjust);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

vv_status btree_leaf_load(const uint8_t *page, uint32_t size, pgc_cache *cache, pgc_frame **out,
                          vv_error *err)
{
    measure m;
    memset(&m.sizes, 0, sizeof m.sizes);
    m.first_len = 0;
    vv_status st = measure_page(page, size, &m, err);
    size_t need = 0;
    if (st == VV_OK)
        st = exact_size(page, size, &m, &need, err);
    if (st == VV_OK && need > (size_t)EXPANSION_MAX * size)
        st = vv_fail(err, VV_UNSUPPORTED, "a page whose keys take %zu bytes", need);
    pgc_frame *frame = NULL;
    if (st == VV_OK)
        st = pgc_frame_create(cache, need, &frame, err);
    if (st != VV_OK)
        return st;
    st = fill(page, size, &m, need > UINT16_MAX, pgc_data(frame), err);
    if (st != VV_OK) {
        pgc_unpin(frame);
        return st;
    }
    *out = frame;
    return VV_OK;
}

/* ---- searching ---- */

static inline uint32_t head_at(const btree_leaf *l, uint32_t i)
{
    return vv_get_le32(l->p + BTREE_LEAF_HEAD + 4 * (size_t)i);
}

static inline uint32_t offset_at(const btree_leaf *l, uint32_t i)
{
    return VV_UNLIKELY(l->flags & BTREE_LEAF_WIDE) ? vv_get_le32(l->offs + 4 * (size_t)i)
                                                   : vv_get_le16(l->offs + 2 * (size_t)i);
}

typedef struct parts {
    size_t slen;
    const uint8_t *suffix; /* max(slen - 4, 0) bytes */
    btree_found found;
} parts;

static inline void parts_at(const btree_leaf *l, uint32_t i, parts *e)
{
    const uint8_t *q = l->p + offset_at(l, i);
    const uint8_t *end = l->p + offset_at(l, i + 1);
    e->slen = *q++;
    if (VV_UNLIKELY(e->slen == 255)) {
        e->slen = vv_get_le16(q);
        q += 2;
    }
    e->found.flags = 0;
    if (l->flags & BTREE_LEAF_SPECIAL)
        e->found.flags = *q++;
    uint64_t above = 0;
    if (l->width == 4)
        above = vv_get_le32(q);
    else if (l->width == 8)
        above = vv_get_le64(q);
    q += l->width;
    e->found.version = (int64_t)((uint64_t)l->base + above);
    e->found.expires_ns = 0;
    if (VV_UNLIKELY(e->found.flags & BTREE_HAS_EXPIRY)) {
        e->found.expires_ns = (int64_t)vv_get_le64(q);
        q += 8;
    }
    e->suffix = q;
    if (e->slen > 4)
        q += e->slen - 4;
    e->found.value = vv_slice_of(q, (size_t)(end - q));
}

/* Number of heads below x: branchless binary search. */
static inline uint32_t heads_below(const btree_leaf *l, uint32_t x)
{
    uint32_t base = 0;
    uint32_t n = l->n;
    while (n > 1) {
        uint32_t half = n / 2;
        base += head_at(l, base + half - 1) < x ? half : 0;
        n -= half;
    }
    return base + (n == 1 && head_at(l, base) < x);
}

static inline uint32_t head_of(vv_slice key, uint32_t plen)
{
    if (VV_LIKELY(key.len >= plen + 4))
        return vv_get_be32(key.data + plen);
    return head_of_suffix(key.data + plen, key.len - plen);
}

/* Where key stands to the prefix: <0 before all keys, >0 after all, 0: shares it. */
static inline int compare_prefix(const btree_leaf *l, vv_slice key)
{
    size_t min = key.len < l->plen ? key.len : l->plen;
    int c = min == 0 ? 0 : memcmp(key.data, l->prefix, min);
    return c != 0 ? c : key.len < l->plen ? -1 : 0;
}

/* Order of entry i and key beyond prefix and head, which are equal. */
static inline int compare_tail(const btree_leaf *l, uint32_t i, vv_slice key, parts *e)
{
    parts_at(l, i, e);
    size_t klen = key.len - l->plen;
    if (e->slen > 4 && klen > 4) {
        size_t common = (e->slen < klen ? e->slen : klen) - 4;
        int c = memcmp(e->suffix, key.data + l->plen + 4, common);
        if (c != 0)
            return c;
    }
    return (e->slen > klen) - (e->slen < klen);
}

/* The first entry at or after a key that shares the prefix. *equal: it is the key, in e. */
static inline uint32_t seek_in(const btree_leaf *l, vv_slice key, parts *e, bool *equal)
{
    uint32_t head = head_of(key, l->plen);
    uint32_t lo = heads_below(l, head);
    *equal = false;
    if (lo == l->n || head_at(l, lo) != head)
        return lo;
    int c = compare_tail(l, lo, key, e);
    if (c >= 0) {
        *equal = c == 0;
        return lo;
    }
    lo++;
    uint32_t hi = head == UINT32_MAX ? l->n : heads_below(l, head + 1);
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        c = compare_tail(l, mid, key, e);
        if (c == 0) {
            *equal = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

uint32_t btree_leaf_seek(const btree_leaf *l, vv_slice key)
{
    int c = compare_prefix(l, key);
    if (c != 0)
        return c < 0 ? 0 : l->n;
    parts e;
    bool equal;
    return seek_in(l, key, &e, &equal);
}

bool btree_leaf_get(const btree_leaf *l, vv_slice key, btree_found *out)
{
    if (compare_prefix(l, key) != 0)
        return false;
    parts e;
    bool equal;
    (void)seek_in(l, key, &e, &equal);
    if (equal)
        *out = e.found;
    return equal;
}

void btree_leaf_load_prefix(const btree_leaf *l, uint8_t key_buf[BTREE_KEY_BUF])
{
    memcpy(key_buf, l->prefix, l->plen);
}

vv_slice btree_leaf_at(const btree_leaf *l, uint32_t i, uint8_t key_buf[BTREE_KEY_BUF],
                       btree_found *out)
{
    parts e;
    parts_at(l, i, &e);
    vv_put_be32(key_buf + l->plen, head_at(l, i));
    uint8_t *to = key_buf + l->plen + 4;
    memcpy(to, e.suffix, 16); /* short keys in one move; the frame's pad makes it readable */
    if (VV_UNLIKELY(e.slen > 20))
        memcpy(to + 16, e.suffix + 16, e.slen - 20);
    *out = e.found;
    return vv_slice_of(key_buf, l->plen + e.slen);
}
