/*
 * db_tier_view.c - one object, read by ranges through the cache.
 *
 * Its pieces are the index with the footer, and the stored blocks. A piece from the cache or the
 * store is believed when arch_reader has checked it, and only then kept.
 *
 * Memory is taken from the budget of queries: the index as it is stored and unpacked, the largest
 * block that was met, and what is read ahead.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_tier_read.h"

#define NO_BLOCK UINT32_MAX
#define AHEAD_MAX (1024u * 1024) /* bytes of one GET, unless a block has more */
#define RUN_MAX 64u
#define INDEX_COST UINT64_C(2) /* memory of an index by its stored bytes */

struct db_tier_view {
    vv_db *db;
    vv_object_store *store;
    db_tier_cache *cache; /* NULL: none */
    arch_entry entry;
    uint64_t id;
    arch_reader *reader;
    uint64_t held; /* of the budget */
    uint32_t last; /* block that was loaded */
    uint32_t run;  /* blocks in a row before it, up to RUN_MAX */

    /* Stored bytes of blocks [begin, end), the first at `at`. */
    uint8_t *bytes;
    size_t cap;
    uint64_t at;
    uint32_t begin;
    uint32_t end;

    /* While the index is read. */
    bool uses_cache;
    bool was_cached;
    uint8_t *index;
    size_t index_len;
    uint64_t index_at;
};

uint64_t db_tier_view_id(const char *name, uint64_t intent)
{
    return vv_hash64_seed(name, strlen(name), intent);
}

const arch_entry *db_tier_view_entry(const db_tier_view *o)
{
    return &o->entry;
}

arch_reader *db_tier_view_reader(const db_tier_view *o)
{
    return o->reader;
}

uint32_t db_tier_view_run(const db_tier_view *o)
{
    return o->run;
}

void db_tier_view_set_run(db_tier_view *o, uint32_t run)
{
    o->run = run;
}

vv_status db_tier_store(const vv_db *db, vv_object_store **out, vv_error *err)
{
    *out = db->tier == NULL ? NULL : db->tier->objects;
    if (*out != NULL)
        return VV_OK;
    return vv_fail(
        err, VV_UNSUPPORTED,
        "opened without an object store: name it (varve: --backend and --bucket, varved: "
        "storage.backend, C: vv_options.tier)");
}

vv_status db_tier_get(vv_object_store *store, const char *name, uint64_t offset, void *out,
                      size_t len, vv_error *err)
{
    vv_object_outcome outcome = {.attempts = 0};
    size_t got = 0;
    vv_status st = vv_object_get(store, name, offset, out, len, &got, NULL, &outcome, err);
    if (st == VV_OK && got != len)
        st = vv_fail(err, VV_CORRUPT,
                     "%s: '%s' ends at %" PRIu64 ", and %zu bytes from %" PRIu64 " on are wanted",
                     vv_object_store_name(store), name, offset + got, len, offset);
    return st;
}

/* ---- memory ---- */

static vv_status hold(db_tier_view *o, uint64_t bytes, vv_error *err)
{
    if (!vv_budget_reserve(&o->db->budget, VV_BUDGET_QUERY, bytes))
        return vv_fail(err, VV_BUSY,
                       "memory_limit leaves no %llu bytes to read an object with: end other reads, "
                       "or raise it",
                       (unsigned long long)bytes);
    o->held += bytes;
    return VV_OK;
}

uint64_t db_tier_memory(const arch_entry *entry)
{
    return INDEX_COST * entry->holds.index_len + ARCH_BLOCK_TARGET;
}

/* Room for stored bytes in o->bytes, and as much again for the block unpacked. */
static vv_status make_room(db_tier_view *o, size_t len, vv_error *err)
{
    if (len <= o->cap)
        return VV_OK;
    vv_status st = hold(o, len - o->cap, err);
    if (st != VV_OK)
        return st;
    o->begin = o->end = 0;
    uint8_t *more = vv_realloc(o->bytes, len);
    if (more == NULL) {
        vv_budget_release(&o->db->budget, VV_BUDGET_QUERY, len - o->cap);
        o->held -= len - o->cap;
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu bytes of an object", len);
    }
    o->bytes = more;
    o->cap = len;
    return VV_OK;
}

/* ---- the index ---- */

static vv_status read_index(void *ctx, uint64_t offset, void *out, size_t len, vv_error *err)
{
    db_tier_view *o = ctx;
    db_tier_piece piece = {o->id, offset, (uint32_t)len};
    o->was_cached = o->uses_cache && db_tier_cache_get(o->cache, &piece, out);
    if (o->was_cached)
        return VV_OK;
    vv_status st = db_tier_get(o->store, o->entry.name, offset, out, len, err);
    if (st != VV_OK)
        return st;
    vv_free(o->index);
    o->index = vv_alloc(len); /* without it, it is not kept */
    if (o->index != NULL)
        memcpy(o->index, out, len);
    o->index_len = len;
    o->index_at = offset;
    return VV_OK;
}

vv_status db_tier_check_identity(const arch_reader *reader, const arch_entry *entry, vv_error *err)
{
    const arch_summary *is = arch_reader_summary(reader);
    const arch_summary *want = &entry->holds;
    if (is->size == want->size && is->first == want->first && is->next == want->next &&
        is->crc32c == want->crc32c && arch_reader_who(reader)->intent == entry->intent)
        return VV_OK;
    return vv_fail(err, VV_CORRUPT,
                   "another object lies under this name: of %llu bytes with offsets %llu to %llu, "
                   "and the table knows of %llu bytes with %llu to %llu",
                   (unsigned long long)is->size, (unsigned long long)is->first,
                   (unsigned long long)is->next, (unsigned long long)want->size,
                   (unsigned long long)want->first, (unsigned long long)want->next);
}

/* Three tries: of the cache, of the store, and once more where what came was damaged. */
static vv_status open_index(db_tier_view *o, vv_error *err)
{
    const arch_summary *holds = &o->entry.holds;
    vv_status st = VV_CORRUPT;
    arch_source source = {.read = read_index, .ctx = o, .size = holds->size};
    o->uses_cache = true;
    for (int gets = 0; st == VV_CORRUPT && gets < 2; o->uses_cache = false) {
        arch_reader_close(o->reader);
        o->reader = NULL;
        st = arch_reader_open(source, holds->index_at, holds->index_len, &o->reader, err);
        if (st == VV_OK)
            st = db_tier_check_identity(o->reader, &o->entry, err);
        if (st == VV_CORRUPT && o->was_cached) {
            db_tier_piece piece = {o->id, holds->index_at, holds->index_len};
            db_tier_cache_drop(o->cache, &piece);
        }
        gets += o->was_cached ? 0 : 1;
    }
    if (st == VV_OK && o->index != NULL) {
        db_tier_piece piece = {o->id, o->index_at, (uint32_t)o->index_len};
        db_tier_cache_put(o->cache, &piece, o->index, false);
    }
    vv_free(o->index);
    o->index = NULL;
    return st;
}

/* ---- life ---- */

vv_status db_tier_view_open(vv_db *db, const arch_entry *entry, db_tier_view **out, vv_error *err)
{
    vv_object_store *store = NULL;
    vv_status st = db_tier_store(db, &store, err);
    if (st != VV_OK)
        return st;
    db_tier_view *o = vv_calloc(1, sizeof *o);
    if (o == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an object");
    o->db = db;
    o->store = store;
    o->cache = db->tier->cache;
    o->entry = *entry;
    o->id = db_tier_view_id(entry->name, entry->intent);
    o->last = NO_BLOCK;
    if (entry->holds.index_len > ARCH_INDEX_MAX)
        st = vv_fail(err, VV_CORRUPT, "an index of %u bytes", entry->holds.index_len);
    if (st == VV_OK)
        st = hold(o, db_tier_memory(entry), err);
    if (st == VV_OK)
        st = open_index(o, err);
    if (st != VV_OK) {
        db_tier_view_close(o);
        return st;
    }
    *out = o;
    return VV_OK;
}

void db_tier_view_close(db_tier_view *o)
{
    if (o == NULL)
        return;
    arch_reader_close(o->reader);
    vv_budget_release(&o->db->budget, VV_BUDGET_QUERY, o->held);
    vv_free(o->index);
    vv_free(o->bytes);
    vv_free(o);
}

/* ---- blocks ---- */

static db_tier_piece piece_of(const db_tier_view *o, const arch_block_info *info)
{
    return (db_tier_piece){o->id, info->at, info->len};
}

/* From what was read ahead. VV_NOT_FOUND: it is not there. */
static vv_status load_ahead(db_tier_view *o, uint32_t block, const arch_block_info *info,
                            vv_error *err)
{
    if (block < o->begin || block >= o->end)
        return VV_NOT_FOUND;
    vv_status st = arch_reader_unpack(o->reader, block, o->bytes + (info->at - o->at), err);
    if (st != VV_OK)
        return st;
    db_tier_piece piece = piece_of(o, info);
    db_tier_cache_put(o->cache, &piece, o->bytes + (info->at - o->at), o->run > 0);
    return VV_OK;
}

static vv_status load_cached(db_tier_view *o, uint32_t block, const arch_block_info *info,
                             vv_error *err)
{
    db_tier_piece piece = piece_of(o, info);
    vv_status st = make_room(o, info->len, err);
    if (st != VV_OK)
        return st;
    if (!db_tier_cache_get(o->cache, &piece, o->bytes))
        return VV_NOT_FOUND;
    o->begin = block;
    o->end = block + 1;
    o->at = info->at;
    st = arch_reader_unpack(o->reader, block, o->bytes, err);
    if (st == VV_CORRUPT)
        db_tier_cache_drop(o->cache, &piece);
    return st;
}

/* The block behind those that one GET is to fetch from `block` on. */
static uint32_t find_end(const db_tier_view *o, uint32_t block, const arch_block_info *info,
                         size_t *len)
{
    uint32_t count = arch_reader_block_count(o->reader);
    uint32_t end = block + 1;
    *len = info->len;
    for (uint32_t want = o->run; want > 0 && end < count; want--, end++) {
        arch_block_info next;
        arch_reader_block(o->reader, end, &next);
        if (next.at != info->at + *len || *len + next.len > AHEAD_MAX)
            break;
        *len += next.len;
    }
    return end;
}

static vv_status fetch(db_tier_view *o, uint32_t block, uint32_t end, const arch_block_info *info,
                       size_t len, vv_error *err)
{
    vv_status st = make_room(o, len, err);
    o->begin = o->end = 0;
    if (st == VV_OK)
        st = db_tier_get(o->store, o->entry.name, info->at, o->bytes, len, err);
    if (st != VV_OK)
        return st;
    o->begin = block;
    o->end = end;
    o->at = info->at;
    return load_ahead(o, block, info, err);
}

vv_status db_tier_view_load(db_tier_view *o, uint32_t block, vv_error *err)
{
    arch_block_info info;
    size_t len = 0;
    arch_reader_block(o->reader, block, &info);
    if (o->last != NO_BLOCK)
        o->run = block == o->last + 1 ? (uint32_t)vv_min_u64(o->run * 2 + 1, RUN_MAX) : 0;
    o->last = NO_BLOCK; /* until it is loaded */
    if (info.raw_len > ARCH_BLOCK_TARGET && info.raw_len > o->held) {
        vv_status st = hold(o, info.raw_len, err);
        if (st != VV_OK)
            return st;
    }
    vv_status st = load_ahead(o, block, &info, err);
    if (st == VV_NOT_FOUND || st == VV_CORRUPT)
        st = load_cached(o, block, &info, err);
    if (st == VV_NOT_FOUND || st == VV_CORRUPT) {
        uint32_t end = find_end(o, block, &info, &len);
        st = fetch(o, block, end, &info, len, err);
        if (st == VV_CORRUPT) /* on the way, perhaps */
            st = fetch(o, block, block + 1, &info, info.len, err);
    }
    if (st == VV_OK)
        o->last = block;
    return st;
}
