/*
 * lsm_fence.c - building and walking the separator tree.
 *
 * Traps: (1) a node's prefix must be compared, not only skipped: a key past the last separator of a
 * node need not share it. (2) Heads are zero padded, so equal heads say nothing about the rest;
 * ties are settled on whole separators by binary search, because text keys tie in long runs.
 */
#include "lsm/lsm_fence.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"

#define PREFIX_MAX 52u

struct lsm_fence_node {
    uint64_t head[LSM_FENCE_FANOUT]; /* bytes plen..plen+7 of each separator, zero padded */
    uint16_t n;
    uint16_t plen;
    uint8_t prefix[PREFIX_MAX];
    uint8_t pad[8];
};
_Static_assert(sizeof(struct lsm_fence_node) == 9 * 64, "whole cache lines");

void lsm_fence_builder_init(lsm_fence_builder *b)
{
    *b = (lsm_fence_builder){0};
    vv_buf_init(&b->bytes, UINT32_MAX);
    vv_buf_init(&b->offsets, UINT32_MAX);
    vv_buf_init(&b->versions, UINT32_MAX);
}

void lsm_fence_builder_fini(lsm_fence_builder *b)
{
    vv_buf_fini(&b->bytes);
    vv_buf_fini(&b->offsets);
    vv_buf_fini(&b->versions);
}

void lsm_fence_builder_add(lsm_fence_builder *b, vv_slice key, int64_t version)
{
    vv_buf_append_le32(&b->offsets, (uint32_t)b->bytes.len);
    vv_buf_append_slice(&b->bytes, key);
    vv_buf_append_le64(&b->versions, (uint64_t)version);
    b->has_versions |= version != INT64_MAX;
    b->count++;
}

size_t lsm_fence_shortest(vv_slice last, vv_slice first)
{
    size_t n = vv_min_u64(last.len, first.len);
    size_t i = 0;
    while (i < n && last.data[i] == first.data[i])
        i++;
    assert(i < first.len); /* last < first */
    return i + 1;
}

static uint64_t head_of(vv_slice key, unsigned plen)
{
    if (VV_LIKELY(key.len >= plen + 8))
        return vv_get_be64(key.data + plen);
    uint8_t padded[8] = {0};
    if (key.len > plen)
        memcpy(padded, key.data + plen, key.len - plen);
    return vv_get_be64(padded);
}

static void fill_node(const lsm_fence *f, lsm_fence_node *node, uint32_t first, uint32_t stride,
                      uint32_t n)
{
    vv_slice lo = lsm_fence_separator(f, first);
    vv_slice hi = lsm_fence_separator(f, first + (n - 1) * stride);
    unsigned max = (unsigned)vv_min_u64(vv_min_u64(lo.len, hi.len), PREFIX_MAX);
    unsigned plen = 0;
    while (plen < max && lo.data[plen] == hi.data[plen])
        plen++;
    node->n = (uint16_t)n;
    node->plen = (uint16_t)plen;
    if (plen > 0)
        memcpy(node->prefix, lo.data, plen);
    for (uint32_t j = 0; j < n; j++)
        node->head[j] = head_of(lsm_fence_separator(f, first + j * stride), plen);
    for (uint32_t j = n; j < LSM_FENCE_FANOUT; j++)
        node->head[j] = UINT64_MAX;
}

static vv_status build_levels(lsm_fence *f, vv_error *err)
{
    uint32_t stride = 1; /* separators between two heads of this level */
    uint32_t heads = f->count;
    do {
        uint32_t nodes = (heads + LSM_FENCE_FANOUT - 1) / LSM_FENCE_FANOUT;
        lsm_fence_node *level = vv_alloc_aligned(64, nodes * sizeof *level);
        if (level == NULL)
            return vv_fail(err, VV_NO_MEMORY, "index: no memory for %u nodes", nodes);
        f->memory += nodes * sizeof *level;
        f->level[f->level_count++] = level;
        memset(level, 0, nodes * sizeof *level);
        for (uint32_t i = 0; i < nodes; i++) {
            uint32_t from = i * LSM_FENCE_FANOUT;
            uint32_t n = (uint32_t)vv_min_u64(LSM_FENCE_FANOUT, heads - from);
            fill_node(f, &level[i], from * stride, stride, n);
        }
        heads = nodes;
        stride *= LSM_FENCE_FANOUT;
    } while (heads > 1);
    return VV_OK;
}

vv_status lsm_fence_build(const lsm_fence_builder *b, lsm_fence *out, vv_error *err)
{
    assert(b->count > 0);
    lsm_fence f = {.count = b->count};
    size_t offset_size = (b->count + (size_t)1) * sizeof *f.offset;
    size_t version_size = b->has_versions ? b->count * sizeof *f.version : 0;
    if (b->bytes.status == VV_OK && b->offsets.status == VV_OK && b->versions.status == VV_OK) {
        f.bytes = vv_alloc(b->bytes.len);
        f.offset = vv_alloc(offset_size);
        f.version = b->has_versions ? vv_alloc(version_size) : NULL;
    }
    if (f.bytes == NULL || f.offset == NULL || (b->has_versions && f.version == NULL)) {
        lsm_fence_fini(&f);
        return vv_fail(err, VV_NO_MEMORY, "index: no memory for %u separators", b->count);
    }
    if (b->bytes.len > 0)
        memcpy(f.bytes, b->bytes.data, b->bytes.len);
    memcpy(f.offset, b->offsets.data, b->offsets.len);
    f.offset[b->count] = (uint32_t)b->bytes.len;
    if (b->has_versions)
        memcpy(f.version, b->versions.data, version_size);
    f.memory = b->bytes.len + offset_size + version_size;
    vv_status st = build_levels(&f, err);
    if (st != VV_OK) {
        lsm_fence_fini(&f);
        return st;
    }
    *out = f;
    return VV_OK;
}

void lsm_fence_fini(lsm_fence *f)
{
    for (uint32_t i = 0; i < f->level_count; i++)
        vv_free(f->level[i]);
    vv_free(f->offset);
    vv_free(f->bytes);
    vv_free(f->version);
    *f = (lsm_fence){0};
}

/* True when separator i is after (key, version). */
static bool is_after(const lsm_fence *f, uint32_t i, vv_slice key, int64_t version)
{
    int c = vv_slice_cmp(lsm_fence_separator(f, i), key);
    if (c != 0)
        return c > 0;
    int64_t v = f->version == NULL ? INT64_MAX : f->version[i];
    return v < version;
}

/* Heads below x (or below and equal): branchless. */
static inline unsigned count_below(const uint64_t *head, unsigned n, uint64_t x)
{
    unsigned base = 0;
    while (n > 1) {
        unsigned half = n / 2;
        base += head[base + half - 1] < x ? half : 0;
        n -= half;
    }
    return base + (n == 1 && head[base] < x);
}

/* The last of a node's separators at or before (key, version); 0 when all are after it. first and
 * stride say which separators its heads stand for. */
static unsigned find_in_node(const lsm_fence *f, const lsm_fence_node *node, uint32_t first,
                             uint32_t stride, vv_slice key, int64_t version)
{
    unsigned plen = node->plen;
    if (plen > 0) {
        int c = memcmp(key.data, node->prefix, vv_min_u64(key.len, plen));
        if (c > 0)
            return node->n - 1u;
        if (c < 0 || key.len < plen)
            return 0;
    }
    uint64_t head = head_of(key, plen);
    unsigned lo = count_below(node->head, node->n, head);
    if (lo < node->n && node->head[lo] == head) {
        unsigned hi = head == UINT64_MAX ? node->n : count_below(node->head, node->n, head + 1);
        while (lo < hi) {
            unsigned mid = (lo + hi) / 2;
            if (is_after(f, first + mid * stride, key, version))
                hi = mid;
            else
                lo = mid + 1;
        }
    }
    return lo == 0 ? 0 : lo - 1;
}

uint32_t lsm_fence_find(const lsm_fence *f, vv_slice key, int64_t version)
{
    uint32_t at = 0; /* node number, then separator number, on the way down */
    uint32_t stride = 1;
    for (uint32_t i = 1; i < f->level_count; i++)
        stride *= LSM_FENCE_FANOUT;
    for (uint32_t level = f->level_count; level-- > 0; stride /= LSM_FENCE_FANOUT) {
        const lsm_fence_node *node = &f->level[level][at];
        uint32_t first = at * LSM_FENCE_FANOUT * stride;
        at = at * LSM_FENCE_FANOUT + find_in_node(f, node, first, stride, key, version);
    }
    return at;
}
