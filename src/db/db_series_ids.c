/*
 * db_series_ids.c - pages of a set of ids, as arrays and as bits.
 */
#include "db/db_series_ids.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define LOW_MIN 8u
#define LOW_MAX 4096u /* as many weigh what the bits do */
#define WORDS 1024u
#define BITS_SIZE (WORDS * sizeof(uint64_t))

void db_ids_init(db_ids *ids, vv_budget *budget)
{
    *ids = (db_ids){.budget = budget};
}

static size_t page_bytes(const db_ids_page *p)
{
    return p->cap == 0 ? BITS_SIZE : p->cap * sizeof(uint16_t);
}

void db_ids_fini(db_ids *ids)
{
    for (size_t i = 0; i < ids->page_count; i++)
        vv_free(ids->page[i].in.low);
    vv_free(ids->page);
    vv_budget_release(ids->budget, VV_BUDGET_QUERY, ids->bytes);
    db_ids_init(ids, ids->budget);
}

/* size bytes for the block in place of the `had` there are. On failure it is as before. */
static vv_status resize(db_ids *ids, void **block, size_t had, size_t size, vv_error *err)
{
    if (!vv_budget_reserve(ids->budget, VV_BUDGET_QUERY, size - had))
        return vv_fail(err, VV_BUSY,
                       "the series that come into question pass memory_limit: narrow it, or ask "
                       "again when less is under way");
    void *more = vv_realloc(*block, size);
    if (more == NULL) {
        vv_budget_release(ids->budget, VV_BUDGET_QUERY, size - had);
        return vv_fail(err, VV_NO_MEMORY, "no memory for a selection of series");
    }
    ids->bytes += size - had;
    *block = more;
    return VV_OK;
}

/* The first page whose number is not below. */
static size_t find_page(const db_ids *ids, uint64_t number)
{
    size_t low = 0;
    size_t high = ids->page_count;
    if (ids->last < high && ids->page[ids->last].number == number)
        return ids->last;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ids->page[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The page of that number; NULL: there is none. */
static db_ids_page *page_of(db_ids *ids, uint64_t number)
{
    size_t at = find_page(ids, number);
    if (at == ids->page_count || ids->page[at].number != number)
        return NULL;
    ids->last = at;
    return &ids->page[at];
}

static vv_status grow_pages(db_ids *ids, vv_error *err)
{
    void *block = ids->page;
    size_t had = ids->page_cap * sizeof *ids->page;
    if (ids->page_count < ids->page_cap)
        return VV_OK;
    vv_status st = resize(ids, &block, had, had == 0 ? 4 * sizeof *ids->page : had * 2, err);
    ids->page = block;
    ids->page_cap = st != VV_OK ? ids->page_cap : had == 0 ? 4 : ids->page_cap * 2;
    return st;
}

static vv_status insert_page(db_ids *ids, uint64_t number, db_ids_page **out, vv_error *err)
{
    void *low = NULL;
    size_t at = find_page(ids, number);
    vv_status st = grow_pages(ids, err);
    if (st == VV_OK)
        st = resize(ids, &low, 0, LOW_MIN * sizeof(uint16_t), err);
    if (st != VV_OK)
        return st;
    memmove(&ids->page[at + 1], &ids->page[at], (ids->page_count - at) * sizeof *ids->page);
    ids->page[at] = (db_ids_page){.number = number, .cap = LOW_MIN, .in = {.low = low}};
    ids->page_count++;
    ids->last = at;
    *out = &ids->page[at];
    return VV_OK;
}

/* The first place of an array that is not below. */
static uint32_t find_low(const db_ids_page *p, uint16_t low)
{
    uint32_t from = 0;
    uint32_t to = p->count;
    if (to > 0 && p->in.low[to - 1] < low)
        return to; /* they mostly come in order */
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        if (p->in.low[mid] < low)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static bool has_bit(const uint64_t *bits, uint16_t low)
{
    return (bits[low >> 6] >> (low & 63) & 1) != 0;
}

static bool page_has(const db_ids_page *p, uint16_t low)
{
    if (p->cap == 0)
        return has_bit(p->in.bits, low);
    uint32_t at = find_low(p, low);
    return at < p->count && p->in.low[at] == low;
}

/* A full array becomes bits. */
static vv_status widen(db_ids *ids, db_ids_page *p, vv_error *err)
{
    void *block = NULL;
    size_t had = page_bytes(p);
    vv_status st = resize(ids, &block, 0, BITS_SIZE, err);
    if (st != VV_OK)
        return st;
    assert(block != NULL);
    uint64_t *bits = block;
    memset(bits, 0, BITS_SIZE);
    for (uint32_t i = 0; i < p->count; i++)
        bits[p->in.low[i] >> 6] |= UINT64_C(1) << (p->in.low[i] & 63);
    vv_free(p->in.low);
    vv_budget_release(ids->budget, VV_BUDGET_QUERY, had);
    ids->bytes -= had;
    p->in.bits = bits;
    p->cap = 0;
    return VV_OK;
}

/* Room for one more in the array, or bits. */
static vv_status grow(db_ids *ids, db_ids_page *p, vv_error *err)
{
    void *block = p->in.low;
    if (p->count < p->cap)
        return VV_OK;
    if (p->cap == LOW_MAX)
        return widen(ids, p, err);
    vv_status st = resize(ids, &block, page_bytes(p), page_bytes(p) * 2, err);
    p->in.low = block;
    p->cap *= st == VV_OK ? 2 : 1;
    return st;
}

vv_status db_ids_add(db_ids *ids, uint64_t id, vv_error *err)
{
    db_ids_page *p = page_of(ids, id >> 16);
    uint16_t low = (uint16_t)id;
    vv_status st = p == NULL ? insert_page(ids, id >> 16, &p, err) : VV_OK;
    if (st != VV_OK || page_has(p, low))
        return st;
    if (p->cap > 0)
        st = grow(ids, p, err);
    if (st != VV_OK)
        return st;
    if (p->cap == 0) {
        p->in.bits[low >> 6] |= UINT64_C(1) << (low & 63);
    } else {
        uint32_t at = find_low(p, low);
        memmove(&p->in.low[at + 1], &p->in.low[at], (p->count - at) * sizeof *p->in.low);
        p->in.low[at] = low;
    }
    p->count++;
    ids->count++;
    return VV_OK;
}

void db_ids_remove(db_ids *ids, uint64_t id)
{
    db_ids_page *p = page_of(ids, id >> 16);
    uint16_t low = (uint16_t)id;
    if (p == NULL || !page_has(p, low))
        return;
    if (p->cap == 0) {
        p->in.bits[low >> 6] &= ~(UINT64_C(1) << (low & 63));
    } else {
        uint32_t at = find_low(p, low);
        memmove(&p->in.low[at], &p->in.low[at + 1], (p->count - at - 1) * sizeof *p->in.low);
    }
    p->count--;
    ids->count--;
}

bool db_ids_has(db_ids *ids, uint64_t id)
{
    const db_ids_page *p = page_of(ids, id >> 16);
    return p != NULL && page_has(p, (uint16_t)id);
}

/* The lowest of a page from `low` on. */
static bool next_of_page(const db_ids_page *p, uint16_t low, uint16_t *out)
{
    if (p->cap > 0) {
        uint32_t at = find_low(p, low);
        if (at < p->count)
            *out = p->in.low[at];
        return at < p->count;
    }
    for (uint32_t w = low >> 6; w < WORDS; w++) {
        uint64_t bits = p->in.bits[w] & (w == low >> 6 ? UINT64_MAX << (low & 63) : UINT64_MAX);
        if (bits == 0)
            continue;
        *out = (uint16_t)(w * 64 + (unsigned)__builtin_ctzll(bits));
        return true;
    }
    return false;
}

bool db_ids_next(const db_ids *ids, uint64_t *id)
{
    if (*id == UINT64_MAX)
        return false;
    uint64_t from = *id + 1;
    for (size_t i = find_page(ids, from >> 16); i < ids->page_count; i++) {
        const db_ids_page *p = &ids->page[i];
        uint16_t low = 0;
        if (!next_of_page(p, p->number == from >> 16 ? (uint16_t)from : 0, &low))
            continue;
        *id = p->number << 16 | low;
        return true;
    }
    return false;
}
