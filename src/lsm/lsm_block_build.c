/*
 * lsm_block_build.c - laying a block out. Reading one is in lsm_block.c.
 *
 * The columns stand in front of the entries and the prefix is known only with the last key, so
 * entries are collected first and laid out at the end. The size is kept exact on the way, because a
 * plain block must not pass the 4 KiB of its device read by a byte.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_block.h"

#define COUNT_MAX 65535u
#define STAGE_MAX ((size_t)LSM_BLOCK_RAW_MAX + LSM_BLOCK_PLAIN_MAX)

typedef struct lsm_block_entry {
    uint32_t key; /* offset in bytes; the value follows the key */
    uint32_t klen;
    uint32_t vlen;
    uint32_t kind;
    int64_t version;
    int64_t expires_ns;
} lsm_block_entry;

void lsm_block_builder_init(lsm_block_builder *b)
{
    *b = (lsm_block_builder){0};
    vv_buf_init(&b->bytes, STAGE_MAX);
}

void lsm_block_builder_fini(lsm_block_builder *b)
{
    vv_buf_fini(&b->bytes);
    vv_free(b->entries);
    b->entries = NULL;
}

void lsm_block_builder_reset(lsm_block_builder *b)
{
    vv_buf_reset(&b->bytes);
    b->count = 0;
    b->key_sum = 0;
    b->value_sum = 0;
    b->expiring = 0;
    b->special = false;
    b->multi = false;
}

static unsigned common_prefix(vv_slice a, vv_slice b, unsigned max)
{
    unsigned n = (unsigned)vv_min_u64(vv_min_u64(a.len, b.len), max);
    unsigned i = 0;
    while (i + 8 <= n) {
        uint64_t diff = vv_get_le64(a.data + i) ^ vv_get_le64(b.data + i);
        if (diff != 0)
            return i + (unsigned)__builtin_ctzll(diff) / 8;
        i += 8;
    }
    while (i < n && a.data[i] == b.data[i])
        i++;
    return i;
}

static unsigned width_code(uint64_t span)
{
    return span == 0 ? 0 : span <= UINT16_MAX ? 1 : span <= UINT32_MAX ? 2 : 3;
}

static vv_slice key_of(const lsm_block_builder *b, uint32_t i)
{
    return vv_slice_of(b->bytes.data + b->entries[i].key, b->entries[i].klen);
}

/* Sum of max(0, klen - plen - 4) over the entries and one more key. */
static uint64_t suffix_bytes(const lsm_block_builder *b, unsigned plen, unsigned klen)
{
    uint64_t skip = plen + 4;
    uint64_t sum = klen > skip ? klen - skip : 0;
    if (b->count == 0 || b->key_min >= skip)
        return sum + b->key_sum - b->count * skip;
    if (b->key_max <= skip) /* neighbours of equal length: ordered numbers, for one */
        return sum;
    for (uint32_t i = 0; i < b->count; i++)
        sum += b->entries[i].klen > skip ? b->entries[i].klen - skip : 0;
    return sum;
}

size_t lsm_block_builder_size_with(const lsm_block_builder *b, const engine_item *item)
{
    uint64_t n = b->count + 1;
    unsigned klen = (unsigned)item->key.len;
    unsigned plen = b->count == 0 ? klen : common_prefix(key_of(b, 0), item->key, b->plen);
    uint64_t span = 0;
    if (b->count > 0) {
        int64_t lo = b->version_min < item->version ? b->version_min : item->version;
        int64_t hi = b->version_max > item->version ? b->version_max : item->version;
        span = (uint64_t)hi - (uint64_t)lo;
    }
    uint64_t width = (uint64_t[]){0, 2, 4, 8}[width_code(span)];
    bool special = b->special || item->kind != ENGINE_PUT || item->expires_ns != 0;
    bool is_long = (b->count > 0 && b->key_max >= plen + 255) || klen >= plen + 255;
    return LSM_BLOCK_HEAD + n * 4 + (n + 1) * 2 + n * width + plen + n * (is_long ? 3 : 1) +
           (special ? n : 0) + 8 * (uint64_t)(b->expiring + (item->expires_ns != 0)) +
           suffix_bytes(b, plen, klen) + b->value_sum + item->value.len;
}

static vv_status grow(lsm_block_builder *b, vv_error *err)
{
    uint32_t cap = b->cap == 0 ? 64 : b->cap * 2;
    lsm_block_entry *entries = vv_realloc(b->entries, cap * sizeof *entries);
    if (entries == NULL)
        return vv_fail(err, VV_NO_MEMORY, "block: no memory for %u entries", cap);
    b->entries = entries;
    b->cap = cap;
    return VV_OK;
}

vv_status lsm_block_builder_add(lsm_block_builder *b, const engine_item *item, bool multi,
                                vv_error *err)
{
    assert(b->count < COUNT_MAX);
    assert(item->key.len <= ENGINE_KEY_MAX);
    if (b->count == b->cap) {
        vv_status st = grow(b, err);
        if (st != VV_OK)
            return st;
    }
    unsigned klen = (unsigned)item->key.len;
    if (b->count == 0) {
        b->plen = b->key_min = b->key_max = klen;
        b->version_min = b->version_max = item->version;
    } else {
        b->plen = common_prefix(key_of(b, 0), item->key, b->plen);
        b->key_min = klen < b->key_min ? klen : b->key_min;
        b->key_max = klen > b->key_max ? klen : b->key_max;
        b->version_min = item->version < b->version_min ? item->version : b->version_min;
        b->version_max = item->version > b->version_max ? item->version : b->version_max;
    }
    b->entries[b->count] = (lsm_block_entry){.key = (uint32_t)b->bytes.len,
                                             .klen = klen,
                                             .vlen = (uint32_t)item->value.len,
                                             .kind = (uint32_t)item->kind,
                                             .version = item->version,
                                             .expires_ns = item->expires_ns};
    (void)vv_buf_reserve(&b->bytes, 1); /* an empty key has an address too */
    vv_buf_append_slice(&b->bytes, item->key);
    vv_buf_append_slice(&b->bytes, item->value);
    if (b->bytes.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "block: no memory for an entry of %zu bytes",
                       item->key.len + item->value.len);
    b->count++;
    b->key_sum += klen;
    b->value_sum += item->value.len;
    b->expiring += item->expires_ns != 0;
    b->special |= item->kind != ENGINE_PUT || item->expires_ns != 0;
    b->multi |= multi;
    return VV_OK;
}

static uint32_t head_of(vv_slice key, unsigned plen)
{
    uint8_t padded[4] = {0};
    if (key.len > plen)
        memcpy(padded, key.data + plen, vv_min_u64(4, key.len - plen));
    return vv_get_be32(padded);
}

/* Write entry i at q; returns the byte behind it. base is the block's first byte. */
static uint8_t *put_entry(const lsm_block_builder *b, uint32_t i, bool wide, const uint8_t *base,
                          uint8_t *q)
{
    const lsm_block_entry *e = &b->entries[i];
    const uint8_t *key = b->bytes.data + e->key;
    unsigned slen = e->klen - b->plen;
    if (slen < 255) {
        *q++ = (uint8_t)slen;
    } else {
        *q++ = 255;
        vv_put_le16(q, (uint16_t)slen);
        q += 2;
    }
    if (b->special) {
        *q++ = (uint8_t)(e->kind | (e->expires_ns != 0 ? LSM_ENTRY_EXPIRES : 0));
        if (e->expires_ns != 0) {
            vv_put_le64(q, (uint64_t)e->expires_ns);
            q += 8;
        }
    }
    if (slen > 4) {
        memcpy(q, key + b->plen + 4, slen - 4);
        q += slen - 4;
    }
    if (wide)
        while ((q - base) % 8 != 0)
            *q++ = 0;
    if (e->vlen > 0)
        memcpy(q, key + e->klen, e->vlen);
    return q + e->vlen;
}

static void put_version(uint8_t *vers, unsigned code, uint32_t i, uint64_t above)
{
    if (code == 1)
        vv_put_le16(vers + 2 * i, (uint16_t)above);
    else if (code == 2)
        vv_put_le32(vers + 4 * i, (uint32_t)above);
    else if (code == 3)
        vv_put_le64(vers + 8 * i, above);
}

vv_status lsm_block_builder_finish(lsm_block_builder *b, bool wide, uint64_t run_id,
                                   uint32_t number, vv_buf *out, vv_error *err)
{
    assert(b->count > 0);
    assert(!wide || b->count == 1);
    uint32_t n = b->count;
    unsigned off_size = wide ? 4 : 2;
    uint64_t span = (uint64_t)b->version_max - (uint64_t)b->version_min;
    unsigned code = width_code(span);
    unsigned width = (unsigned[]){0, 2, 4, 8}[code];
    size_t ppos = LSM_BLOCK_HEAD + (size_t)n * 4 + (size_t)(n + 1) * off_size + (size_t)n * width;
    size_t most = ppos + b->plen + (size_t)n * 19 + b->key_sum + b->value_sum;
    uint8_t *p = vv_buf_reserve(out, most);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "block: no memory for %zu bytes", most);
    uint8_t *offs = p + LSM_BLOCK_HEAD + (size_t)n * 4;
    uint8_t *vers = offs + (size_t)(n + 1) * off_size;
    memcpy(p + ppos, b->bytes.data + b->entries[0].key, b->plen);
    uint8_t *q = p + ppos + b->plen;
    for (uint32_t i = 0; i <= n; i++) {
        if (wide)
            vv_put_le32(offs + 4 * (size_t)i, (uint32_t)(q - p));
        else
            vv_put_le16(offs + 2 * (size_t)i, (uint16_t)(q - p));
        if (i == n)
            break;
        vv_put_le32(p + LSM_BLOCK_HEAD + 4 * (size_t)i, head_of(key_of(b, i), b->plen));
        put_version(vers, code, i, (uint64_t)b->entries[i].version - (uint64_t)b->version_min);
        q = put_entry(b, i, wide, p, q);
    }
    uint32_t used = (uint32_t)(q - p);
    unsigned flags = code | (b->special ? LSM_BLOCK_SPECIAL : 0) |
                     (b->multi ? LSM_BLOCK_MULTI : 0) | (wide ? LSM_BLOCK_WIDE : 0);
    vv_put_le16(p + 8, (uint16_t)n);
    vv_put_le16(p + 10, (uint16_t)b->plen);
    vv_put_le16(p + 12, (uint16_t)flags);
    vv_put_le16(p + 14, (uint16_t)ppos);
    vv_put_le64(p + 16, (uint64_t)b->version_min);
    vv_put_le32(p + 24, span > UINT32_MAX ? UINT32_MAX : (uint32_t)span);
    vv_put_le32(p + 28, used);
    vv_put_le64(p, lsm_block_sum(p, used, run_id, number));
    vv_buf_advance(out, used);
    return VV_OK;
}
