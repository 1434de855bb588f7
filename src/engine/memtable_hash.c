/*
 * memtable_hash.c - from a key to its newest record: one line and the record.
 *
 *     hash  |<- segment ->|  ...  |<- tag, 16 ->|  ...  |<- slot ->|
 *                 |
 *     segments [ addr|log2 ][ addr|log2 ][ 0 ] ...        fixed number, each grows on its own
 *                   |
 *                   slots [ tag|addr ][ 0 ][ tag|addr ] ...          linear probing
 *
 * Growth doubles one segment: new slots are filled aside and published by one store. A reader in
 * the old slots misses only what was applied later, above its snapshot. Old slots stay in the
 * arena.
 *
 * Doubling takes memory, and applying an entry must not fail. So a segment over 2/3 is noted and
 * doubled when the next entry is prepared; within an entry it may fill to 7/8 first, which bounds
 * the bytes an entry can need by its number of keys. With the seed unknown to users, chosen keys
 * cannot crowd one segment; if they did it would grow alone.
 */
#include "engine/memtable_int.h"

#include "base/alloc.h"
#include "base/error.h"

#define ADDRESS_MASK ((UINT64_C(1) << 48) - 1)
#define TAG_SHIFT 32                 /* the tag's place in the hash: bits 32 to 47 */
#define SEGMENT_BYTES (128 * VV_KIB) /* of memtable for one segment */
#define SEGMENT_BITS_MAX 12u
#define FIRST_LOG2_MIN 6u
#define FIRST_LOG2_MAX 16u
#define PREFETCH_AHEAD 8u
/* 16 bytes for each slot of a segment that grows, and at least 7/8 - 2/3 of them are new keys. */
#define GROWTH_PER_KEY 80u

static inline mt_slot *slots_of(uint64_t segment)
{
    return (mt_slot *)(uintptr_t)(segment & ADDRESS_MASK);
}

static inline uint64_t slot_count(uint64_t segment)
{
    return UINT64_C(1) << (segment >> 48);
}

static inline uint64_t tag_of(uint64_t hash)
{
    return hash >> TAG_SHIFT << 48;
}

static inline mt_record *record_of(uint64_t slot)
{
    return (mt_record *)(uintptr_t)(slot & ADDRESS_MASK);
}

static inline bool key_is(const mt_record *r, vv_slice key)
{
    return r->key_len == key.len && memcmp(mt_key_bytes(r), key.data, key.len) == 0;
}

static inline unsigned log2_up(uint64_t x)
{
    return x <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(x - 1);
}

vv_status mt_hash_init(mt_hash *h, uint64_t size, uint64_t key_count, uint64_t seed, vv_error *err)
{
    unsigned bits = log2_up(size / SEGMENT_BYTES);
    bits = bits < 1 ? 1 : bits > SEGMENT_BITS_MAX ? SEGMENT_BITS_MAX : bits;
    uint32_t total = UINT32_C(1) << bits;
    unsigned first = log2_up(key_count / total * 5 / 3);
    first = first < FIRST_LOG2_MIN   ? FIRST_LOG2_MIN
            : first > FIRST_LOG2_MAX ? FIRST_LOG2_MAX
                                     : first;
    *h = (mt_hash){.shift = 64 - bits, .first_log2 = first, .seed = seed, .empty_count = total};
    h->segments = vv_calloc(total, sizeof *h->segments);
    h->notes = vv_calloc(total, sizeof *h->notes);
    h->due = vv_alloc(total * sizeof *h->due);
    if (h->segments != NULL && h->notes != NULL && h->due != NULL)
        return VV_OK;
    mt_hash_fini(h);
    return vv_fail(err, VV_NO_MEMORY, "memtable: no memory for a hash of %u segments", total);
}

void mt_hash_fini(mt_hash *h)
{
    vv_free((void *)h->segments);
    vv_free(h->notes);
    vv_free(h->due);
    *h = (mt_hash){0};
}

mt_record *mt_hash_get(const mt_hash *h, uint64_t hash, vv_slice key)
{
    uint64_t segment = atomic_load_explicit(&h->segments[hash >> h->shift], memory_order_acquire);
    if (segment == 0)
        return NULL;
    const mt_slot *slots = slots_of(segment);
    uint64_t mask = slot_count(segment) - 1;
    uint64_t tag = tag_of(hash);
    for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
        uint64_t slot = atomic_load_explicit(&slots[at], memory_order_acquire);
        if (slot == 0)
            return NULL;
        if ((slot & ~ADDRESS_MASK) == tag && VV_LIKELY(key_is(record_of(slot), key)))
            return record_of(slot);
    }
}

void mt_hash_prefetch(const mt_hash *h, uint64_t hash)
{
    uint64_t segment = atomic_load_explicit(&h->segments[hash >> h->shift], memory_order_acquire);
    if (segment != 0)
        __builtin_prefetch((const void *)&slots_of(segment)[hash & (slot_count(segment) - 1)]);
}

size_t mt_hash_need(const mt_hash *h, size_t key_count)
{
    size_t fresh = vv_min_u64(key_count, h->empty_count) * (sizeof(mt_slot) << h->first_log2);
    return key_count * GROWTH_PER_KEY + fresh;
}

size_t mt_hash_due_need(const mt_hash *h)
{
    size_t need = 0;
    for (uint32_t i = 0; i < h->due_count; i++) {
        uint64_t segment = atomic_load_explicit(&h->segments[h->due[i]], memory_order_relaxed);
        need += 2 * slot_count(segment) * sizeof(mt_slot) + MT_NODE_ALIGN;
    }
    return need;
}

static mt_slot *slots_create(mt_arena *a, uint64_t count)
{
    mt_slot *slots = mt_arena_alloc(a, count * sizeof *slots, MT_NODE_ALIGN);
    memset((void *)slots, 0, count * sizeof *slots);
    return slots;
}

static inline void publish(mt_hash *h, uint32_t index, mt_slot *slots, uint64_t log2)
{
    atomic_store_explicit(&h->segments[index], (uint64_t)(uintptr_t)slots | log2 << 48,
                          memory_order_release);
}

static void double_segment(mt_hash *h, mt_arena *a, uint32_t index)
{
    uint64_t segment = atomic_load_explicit(&h->segments[index], memory_order_relaxed);
    const mt_slot *from = slots_of(segment);
    uint64_t count = slot_count(segment);
    uint64_t mask = 2 * count - 1;
    mt_slot *to = slots_create(a, 2 * count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t ahead =
            atomic_load_explicit(&from[(i + PREFETCH_AHEAD) & (count - 1)], memory_order_relaxed);
        __builtin_prefetch(record_of(ahead));
        uint64_t slot = atomic_load_explicit(&from[i], memory_order_relaxed);
        if (slot == 0)
            continue;
        uint64_t at = mt_hash_of(h, mt_key(record_of(slot))) & mask;
        while (atomic_load_explicit(&to[at], memory_order_relaxed) != 0)
            at = (at + 1) & mask;
        atomic_store_explicit(&to[at], slot, memory_order_relaxed);
    }
    publish(h, index, to, (segment >> 48) + 1);
}

static inline bool is_crowded(const mt_hash *h, uint32_t index)
{
    uint64_t segment = atomic_load_explicit(&h->segments[index], memory_order_relaxed);
    return h->notes[index].keys > slot_count(segment) / 3 * 2;
}

void mt_hash_grow_due(mt_hash *h, mt_arena *a)
{
    while (h->due_count > 0) {
        uint32_t index = h->due[--h->due_count];
        h->notes[index].due = false;
        if (is_crowded(h, index)) /* it may have grown since */
            double_segment(h, a, index);
    }
}

mt_slot *mt_hash_probe(mt_hash *h, mt_arena *a, uint64_t hash, vv_slice key, mt_record **out)
{
    uint32_t index = (uint32_t)(hash >> h->shift);
    uint64_t segment = atomic_load_explicit(&h->segments[index], memory_order_relaxed);
    if (VV_UNLIKELY(segment == 0)) {
        publish(h, index, slots_create(a, UINT64_C(1) << h->first_log2), h->first_log2);
        h->empty_count--;
        segment = atomic_load_explicit(&h->segments[index], memory_order_relaxed);
    } else if (VV_UNLIKELY(h->notes[index].keys > slot_count(segment) / 8 * 7)) {
        double_segment(h, a, index);
        segment = atomic_load_explicit(&h->segments[index], memory_order_relaxed);
    }
    mt_slot *slots = slots_of(segment);
    uint64_t mask = slot_count(segment) - 1;
    uint64_t tag = tag_of(hash);
    for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
        uint64_t slot = atomic_load_explicit(&slots[at], memory_order_relaxed);
        if (slot == 0) {
            *out = NULL;
            return &slots[at];
        }
        if ((slot & ~ADDRESS_MASK) == tag && VV_LIKELY(key_is(record_of(slot), key))) {
            *out = record_of(slot);
            return &slots[at];
        }
    }
}

void mt_hash_store(mt_slot *slot, uint64_t hash, mt_record *r)
{
    assert(((uintptr_t)r & ~ADDRESS_MASK) == 0); /* user space addresses have 47 bits */
    atomic_store_explicit(slot, tag_of(hash) | (uintptr_t)r, memory_order_release);
}

void mt_hash_added(mt_hash *h, uint64_t hash)
{
    uint32_t index = (uint32_t)(hash >> h->shift);
    mt_segment_note *note = &h->notes[index];
    note->keys++;
    if (!note->due && is_crowded(h, index)) {
        note->due = true;
        h->due[h->due_count++] = index;
    }
}
