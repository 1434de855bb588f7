/*
 * btree_page.c - encoding and decoding of data, index and overflow pages.
 *
 *     entry of a data page   varint shared | varint unshared | varint (length << 4 | flags) |
 *                            key suffix | value | [varint expiry] | varint timestamp delta
 *     entry of an index      varint shared | varint unshared | key suffix | varint child delta
 *
 * Every 16th entry is a restart: it shares nothing, and its delta counts from 0. A delta is
 * magnitude << 1 with the sign in the lowest bit: +1 is 2, -1 is 3.
 */
#include "btree/btree_page.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "base/varint.h"

#define DATA_HEAD 19u
#define INDEX_HEAD 15u
#define OVERFLOW_HEAD 11u

/* ---- sums ---- */

uint64_t btree_page_sum(const uint8_t *page, size_t size)
{
    return vv_hash64(page + 8, size - 8);
}

vv_status btree_page_verify(const uint8_t *page, size_t size, vv_error *err)
{
    uint64_t sum = btree_page_sum(page, size);
    if (sum != btree_page_stored_sum(page))
        return vv_fail(err, VV_CORRUPT, "its sum is %016llx, not %016llx", (unsigned long long)sum,
                       (unsigned long long)btree_page_stored_sum(page));
    return VV_OK;
}

void btree_page_seal(uint8_t *page, size_t size)
{
    vv_put_le64(page, btree_page_sum(page, size));
}

/* ---- deltas ---- */

static uint64_t encode_delta(uint64_t base, uint64_t value)
{
    return value >= base ? (value - base) << 1 : (base - value) << 1 | 1;
}

static uint64_t decode_delta(uint64_t base, uint64_t delta)
{
    return (delta & 1) != 0 ? base - (delta >> 1) : base + (delta >> 1);
}

/* ---- building ---- */

void btree_builder_begin(btree_builder *b, btree_page_type type, uint8_t *page, uint32_t size,
                         uint32_t interval)
{
    assert(size <= BTREE_PAGE_SIZE_MAX && interval > 0);
    b->page = page;
    b->size = size;
    b->interval = interval;
    b->head = type == BTREE_DATA ? DATA_HEAD : INDEX_HEAD;
    b->at = b->head;
    b->count = 0;
    b->restarts = 0;
    b->since = 0;
    b->base = 0;
    b->key_len = 0;
    memset(page, 0, b->head);
    page[8] = (uint8_t)type;
    memset(page + 11, 0xff, b->head - 11); /* no neighbours, no child */
}

uint32_t btree_builder_content(const btree_builder *b)
{
    return b->at + 2 * b->restarts + 2;
}

static size_t shared_with_last(const btree_builder *b, vv_slice key)
{
    size_t max = key.len < b->key_len ? key.len : b->key_len;
    size_t n = 0;
    while (n < max && key.data[n] == b->key[n])
        n++;
    return n;
}

/* Is the next entry a restart? */
static bool is_restart(const btree_builder *b)
{
    return b->count == 0 || b->since >= b->interval;
}

static bool has_room(const btree_builder *b, size_t entry, bool restart)
{
    return btree_builder_content(b) + (restart ? 2 : 0) + entry <= b->size;
}

/* The entry that begins at b->at is going to be written: note the restart and the key. */
static void note_entry(btree_builder *b, bool restart, vv_slice key, size_t shared)
{
    if (restart) {
        b->restarts++;
        vv_put_le16(b->page + b->size - 2 * b->restarts, (uint16_t)b->at);
        b->since = 0;
    }
    b->since++;
    b->count++;
    memcpy(b->key + shared, key.data + shared, key.len - shared);
    b->key_len = key.len;
}

bool btree_builder_add(btree_builder *b, const btree_entry *e)
{
    assert(e->key.len > 0 && e->key.len <= BTREE_KEY_MAX);
    bool restart = is_restart(b);
    size_t shared = restart ? 0 : shared_with_last(b, e->key);
    size_t unshared = e->key.len - shared;
    uint64_t field = (uint64_t)e->value.len << 4 | e->flags;
    uint64_t delta = encode_delta(restart ? 0 : b->base, e->timestamp);
    bool expires = (e->flags & BTREE_HAS_EXPIRY) != 0;
    size_t need = vv_varint_len(shared) + vv_varint_len(unshared) + vv_varint_len(field) +
                  unshared + e->value.len + vv_varint_len(delta) +
                  (expires ? vv_varint_len(e->expires) : 0);
    if (!has_room(b, need, restart))
        return false;
    uint8_t *p = b->page + b->at;
    p += vv_varint_put(p, shared);
    p += vv_varint_put(p, unshared);
    p += vv_varint_put(p, field);
    memcpy(p, e->key.data + shared, unshared);
    p += unshared;
    if (e->value.len > 0)
        memcpy(p, e->value.data, e->value.len);
    p += e->value.len;
    if (expires)
        p += vv_varint_put(p, e->expires);
    p += vv_varint_put(p, delta);
    note_entry(b, restart, e->key, shared);
    b->base = e->timestamp;
    b->at = (uint32_t)(p - b->page);
    return true;
}

bool btree_builder_add_child(btree_builder *b, vv_slice key, uint32_t child)
{
    assert(key.len > 0 && key.len <= BTREE_KEY_MAX);
    bool restart = is_restart(b);
    size_t shared = restart ? 0 : shared_with_last(b, key);
    size_t unshared = key.len - shared;
    uint64_t delta = encode_delta(restart ? 0 : b->base, child);
    size_t need = vv_varint_len(shared) + vv_varint_len(unshared) + unshared + vv_varint_len(delta);
    if (!has_room(b, need, restart))
        return false;
    uint8_t *p = b->page + b->at;
    p += vv_varint_put(p, shared);
    p += vv_varint_put(p, unshared);
    memcpy(p, key.data + shared, unshared);
    p += unshared;
    p += vv_varint_put(p, delta);
    note_entry(b, restart, key, shared);
    b->base = child;
    b->at = (uint32_t)(p - b->page);
    return true;
}

void btree_builder_set_links(btree_builder *b, uint32_t prev, uint32_t next)
{
    assert(b->head == DATA_HEAD);
    btree_data_set_links(b->page, prev, next);
}

void btree_builder_set_leftmost(btree_builder *b, uint32_t child)
{
    assert(b->head == INDEX_HEAD);
    vv_put_le32(b->page + 11, child);
}

void btree_builder_finish(btree_builder *b)
{
    uint32_t n = b->restarts;
    uint8_t *tail = b->page + b->size;
    /* The offsets lie backwards at the page's end: turn them round, then move them down. */
    for (uint32_t i = 0; i < n / 2; i++) {
        uint16_t low = vv_get_le16(tail - 2 * (i + 1));
        uint16_t high = vv_get_le16(tail - 2 * (n - i));
        vv_put_le16(tail - 2 * (i + 1), high);
        vv_put_le16(tail - 2 * (n - i), low);
    }
    memmove(b->page + b->at, tail - 2 * n, 2 * n);
    uint32_t end = b->at + 2 * n;
    vv_put_le16(b->page + end, (uint16_t)n);
    end += 2;
    assert(end <= b->size);
    memset(b->page + end, 0, b->size - end);
    vv_put_le16(b->page + 9, (uint16_t)end);
    btree_page_seal(b->page, b->size);
}

/* ---- reading ---- */

vv_status btree_iter_open(btree_iter *it, const uint8_t *page, uint32_t size, vv_error *err)
{
    btree_page_type type = btree_page_type_of(page);
    if (type != BTREE_DATA && type != BTREE_INDEX && type != BTREE_LEAF_INDEX)
        return vv_fail(err, VV_CORRUPT, "page type %u where entries are expected", (unsigned)type);
    uint32_t head = type == BTREE_DATA ? DATA_HEAD : INDEX_HEAD;
    uint32_t content = vv_get_le16(page + 9);
    if (content < head + 2 || content > size)
        return vv_fail(err, VV_CORRUPT, "content length %u", content);
    uint32_t restarts = vv_get_le16(page + content - 2);
    if (2 * restarts > content - head - 2)
        return vv_fail(err, VV_CORRUPT, "%u restarts in %u bytes", restarts, content);
    it->page = page;
    it->at = head;
    it->end = content - 2 - 2 * restarts;
    it->restarts = restarts;
    it->next_restart = 0;
    it->base = 0;
    it->is_data = type == BTREE_DATA;
    it->started = false;
    it->key_len = 0;
    return VV_OK;
}

static vv_status broken(const btree_iter *it, const char *what, vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "the entry at offset %u: %s", it->at, what);
}

/* Is it->at a restart, and does the array agree? */
static vv_status look_at_restart(btree_iter *it, bool *restart, vv_error *err)
{
    uint32_t offset = it->next_restart < it->restarts
                          ? vv_get_le16(it->page + it->end + 2 * it->next_restart)
                          : it->end;
    *restart = offset == it->at;
    if (offset < it->at || (!*restart && !it->started))
        return broken(it, "it is no restart as the array has it", err);
    it->next_restart += *restart;
    return VV_OK;
}

/* Replace the key by its first `shared` bytes and `unshared` bytes at p. */
static vv_status take_key(btree_iter *it, uint64_t shared, uint64_t unshared, const uint8_t *p,
                          vv_error *err)
{
    if (shared > it->key_len || unshared > BTREE_KEY_MAX - shared || shared + unshared == 0)
        return broken(it, "its key has an impossible length", err);
    size_t rest = it->key_len - (size_t)shared;
    size_t min = rest < unshared ? rest : (size_t)unshared;
    int c = min == 0 ? 0 : memcmp(p, it->key + shared, min);
    if (it->started && (c < 0 || (c == 0 && unshared <= rest)))
        return broken(it, "its key is not above the one before", err);
    memcpy(it->key + shared, p, unshared);
    it->key_len = (size_t)(shared + unshared);
    it->started = true;
    return VV_OK;
}

vv_status btree_iter_next(btree_iter *it, btree_entry *out, vv_error *err)
{
    assert(it->is_data);
    if (it->at == it->end)
        return VV_NOT_FOUND;
    bool restart;
    vv_status st = look_at_restart(it, &restart, err);
    if (st != VV_OK)
        return st;
    const uint8_t *end = it->page + it->end;
    uint64_t shared = 0;
    uint64_t unshared = 0;
    uint64_t field = 0;
    uint64_t delta = 0;
    const uint8_t *p = vv_varint_get(it->page + it->at, end, &shared);
    p = p == NULL ? NULL : vv_varint_get(p, end, &unshared);
    p = p == NULL ? NULL : vv_varint_get(p, end, &field);
    if (p == NULL || unshared > (uint64_t)(end - p) || field >> 4 > (uint64_t)(end - p) - unshared)
        return broken(it, "its lengths pass the end", err);
    if (restart && shared != 0)
        return broken(it, "a restart shares bytes", err);
    const uint8_t *suffix = p;
    p += unshared;
    *out = (btree_entry){.value = vv_slice_of(p, (size_t)(field >> 4)),
                         .flags = (uint8_t)(field & 15)};
    p += out->value.len;
    if ((out->flags & BTREE_HAS_EXPIRY) != 0)
        p = vv_varint_get(p, end, &out->expires);
    p = p == NULL ? NULL : vv_varint_get(p, end, &delta);
    if (p == NULL)
        return broken(it, "its times pass the end", err);
    st = take_key(it, shared, unshared, suffix, err);
    if (st != VV_OK)
        return st;
    it->base = decode_delta(restart ? 0 : it->base, delta);
    it->at = (uint32_t)(p - it->page);
    out->timestamp = it->base;
    out->key = vv_slice_of(it->key, it->key_len);
    return VV_OK;
}

vv_status btree_iter_next_child(btree_iter *it, vv_slice *key, uint32_t *child, vv_error *err)
{
    assert(!it->is_data);
    if (it->at == it->end)
        return VV_NOT_FOUND;
    bool restart;
    vv_status st = look_at_restart(it, &restart, err);
    if (st != VV_OK)
        return st;
    const uint8_t *end = it->page + it->end;
    uint64_t shared = 0;
    uint64_t unshared = 0;
    uint64_t delta = 0;
    const uint8_t *p = vv_varint_get(it->page + it->at, end, &shared);
    p = p == NULL ? NULL : vv_varint_get(p, end, &unshared);
    if (p == NULL || unshared > (uint64_t)(end - p))
        return broken(it, "its lengths pass the end", err);
    if (restart && shared != 0)
        return broken(it, "a restart shares bytes", err);
    const uint8_t *suffix = p;
    p = vv_varint_get(p + unshared, end, &delta);
    if (p == NULL)
        return broken(it, "its child passes the end", err);
    st = take_key(it, shared, unshared, suffix, err);
    if (st != VV_OK)
        return st;
    it->base = decode_delta(restart ? 0 : it->base, delta);
    if (it->base >= BTREE_NO_PAGE)
        return broken(it, "it names no page", err);
    it->at = (uint32_t)(p - it->page);
    *key = vv_slice_of(it->key, it->key_len);
    *child = (uint32_t)it->base;
    return VV_OK;
}

/* ---- overflow ---- */

void btree_overflow_encode(uint8_t *page, uint32_t size, vv_slice part, const uint32_t *next,
                           uint32_t next_count)
{
    uint32_t tail = 1 + 4 * next_count;
    assert(next_count <= BTREE_POINTERS_MAX && part.len <= size - OVERFLOW_HEAD - tail);
    page[8] = BTREE_OVERFLOW;
    vv_put_le16(page + 9, (uint16_t)part.len);
    memcpy(page + OVERFLOW_HEAD, part.data, part.len);
    size_t end = OVERFLOW_HEAD + part.len;
    memset(page + end, 0, size - end);
    for (uint32_t i = 0; i < next_count; i++)
        vv_put_le32(page + size - tail + 4 * (size_t)i, next[i]);
    page[size - 1] = (uint8_t)next_count;
    btree_page_seal(page, size);
}

vv_status btree_overflow_decode(const uint8_t *page, uint32_t size, vv_slice *part,
                                const uint8_t **next, uint32_t *next_count, vv_error *err)
{
    if (btree_page_type_of(page) != BTREE_OVERFLOW)
        return vv_fail(err, VV_CORRUPT, "page type %u where a value is expected", page[8]);
    uint32_t count = page[size - 1];
    uint32_t len = vv_get_le16(page + 9);
    if (count > BTREE_POINTERS_MAX || OVERFLOW_HEAD + len + 1 + 4 * count > size || len == 0)
        return vv_fail(err, VV_CORRUPT, "%u bytes and %u pointers in an overflow page", len, count);
    *part = vv_slice_of(page + OVERFLOW_HEAD, len);
    *next = page + size - 1 - 4 * (size_t)count;
    *next_count = count;
    return VV_OK;
}
