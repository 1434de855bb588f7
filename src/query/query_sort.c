/*
 * query_sort.c - order_by: the first `keep` rows in order, within a memory limit.
 *
 * A binary heap with the last row of the order on top. While fewer than `keep` rows are held a new
 * one is added; after that it replaces the top or is dropped without being copied. sorter_finish
 * sorts the heap in place. The order is total (ties go by _id), so the answer is the same whatever
 * order the records came in.
 *
 * Held for a row, in one block: its sort keys, then the bytes they and the row point to.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "query/query_int.h"

#define BLOCK_COST 32u /* of the allocator, for each row */

typedef struct sorted_row {
    size_t cost; /* bytes counted for it */
    query_row row;
    struct_value value[];
} sorted_row;

struct sorter {
    const plan *plan;
    uint64_t memory_limit;
    vv_budget *budget;
    uint64_t keep;
    uint64_t held; /* bytes counted */
    uint64_t peak;
    sorted_row **heap;
    size_t count;
    size_t cap;
    size_t next;         /* of sorter_next */
    struct_value *probe; /* the sort keys of the row being added */
};

vv_status sorter_create(const plan *p, uint64_t memory_limit, vv_budget *budget, sorter **out,
                        vv_error *err)
{
    sorter *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "order_by");
    s->plan = p;
    s->memory_limit = memory_limit;
    s->budget = budget;
    s->keep = p->limit > UINT64_MAX - p->offset ? UINT64_MAX : p->limit + p->offset;
    s->probe = vv_calloc(p->order_count + 1, sizeof *s->probe);
    if (s->probe == NULL) {
        sorter_destroy(s);
        return vv_fail(err, VV_NO_MEMORY, "order_by");
    }
    *out = s;
    return VV_OK;
}

static void give_back(sorter *s, size_t bytes)
{
    s->held -= bytes;
    vv_budget_release(s->budget, VV_BUDGET_QUERY, bytes);
}

void sorter_destroy(sorter *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++)
        vv_free(s->heap[i]);
    give_back(s, s->held);
    vv_free(s->heap);
    vv_free(s->probe);
    vv_free(s);
}

static vv_status take(sorter *s, size_t bytes, vv_error *err)
{
    if (bytes > s->memory_limit - s->held)
        return vv_fail(err, VV_BUSY,
                       "order_by needs more than query.memory_limit (%llu bytes) after %zu "
                       "records; narrow the filters, set a limit or a projection, or raise it",
                       (unsigned long long)s->memory_limit, s->count);
    if (!vv_budget_reserve(s->budget, VV_BUDGET_QUERY, bytes))
        return vv_fail(err, VV_BUSY,
                       "order_by: memory_limit is reached after %zu records; retry after a pause, "
                       "or set a limit",
                       s->count);
    s->held += bytes;
    if (s->held > s->peak)
        s->peak = s->held;
    return VV_OK;
}

/* Nulls last in both directions; what has no order counts as null. */
static int compare_values(const struct_value *a, const struct_value *b, bool descending)
{
    bool a_null = a->type >= STRUCT_LIST;
    bool b_null = b->type >= STRUCT_LIST;
    if (a_null || b_null)
        return a_null - b_null;
    int c = struct_value_compare(a, b);
    return descending ? -c : c;
}

static int compare_rows(const plan *p, const struct_value *a, vv_slice a_key, const struct_value *b,
                        vv_slice b_key)
{
    for (size_t i = 0; i < p->order_count; i++) {
        int c = compare_values(&a[i], &b[i], p->descending[i]);
        if (c != 0)
            return c;
    }
    int c = vv_slice_cmp(a_key, b_key);
    return p->descending[p->order_count - 1] ? -c : c;
}

static bool is_after(const sorter *s, const sorted_row *a, const sorted_row *b)
{
    return compare_rows(s->plan, a->value, a->row.key, b->value, b->row.key) > 0;
}

static void sift_up(sorter *s, size_t i)
{
    while (i > 0 && is_after(s, s->heap[i], s->heap[(i - 1) / 2])) {
        sorted_row *t = s->heap[i];
        s->heap[i] = s->heap[(i - 1) / 2];
        s->heap[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

static void sift_down(sorter *s, size_t i, size_t count)
{
    for (;;) {
        size_t top = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
            if (is_after(s, s->heap[child], s->heap[top]))
                top = child;
        if (top == i)
            return;
        sorted_row *t = s->heap[i];
        s->heap[i] = s->heap[top];
        s->heap[top] = t;
        i = top;
    }
}

static vv_status grow(sorter *s, vv_error *err)
{
    size_t cap = s->cap == 0 ? 64 : s->cap * 2;
    vv_status st = take(s, (cap - s->cap) * sizeof(void *), err);
    if (st != VV_OK)
        return st;
    sorted_row **heap = vv_realloc(s->heap, cap * sizeof(void *));
    if (heap == NULL) {
        give_back(s, (cap - s->cap) * sizeof(void *));
        return vv_fail(err, VV_NO_MEMORY, "order_by: %zu records", s->count);
    }
    s->heap = heap;
    s->cap = cap;
    return VV_OK;
}

static vv_slice copy_bytes(uint8_t **at, vv_slice bytes)
{
    uint8_t *to = *at;
    if (bytes.len > 0)
        memcpy(to, bytes.data, bytes.len);
    *at += bytes.len;
    return vv_slice_of(to, bytes.len);
}

static vv_status copy_row(sorter *s, const query_row *row, sorted_row **out, vv_error *err)
{
    size_t n = s->plan->order_count;
    size_t size = sizeof(sorted_row) + n * sizeof(struct_value) + row->key.len + row->metadata.len +
                  row->body.len;
    for (size_t i = 0; i < n; i++)
        if (s->probe[i].type == STRUCT_STRING)
            size += s->probe[i].bytes.len;
    vv_status st = take(s, size + BLOCK_COST, err);
    if (st != VV_OK)
        return st;
    sorted_row *copy = vv_alloc(size);
    if (copy == NULL) {
        give_back(s, size + BLOCK_COST);
        return vv_fail(err, VV_NO_MEMORY, "order_by: a record of %zu bytes", size);
    }
    uint8_t *at = (uint8_t *)(copy->value + n);
    copy->cost = size + BLOCK_COST;
    copy->row = *row;
    copy->row.key = copy_bytes(&at, row->key);
    copy->row.metadata = copy_bytes(&at, row->metadata);
    copy->row.body = copy_bytes(&at, row->body);
    for (size_t i = 0; i < n; i++) {
        copy->value[i] = s->probe[i];
        if (s->probe[i].type == STRUCT_STRING)
            copy->value[i].bytes = copy_bytes(&at, s->probe[i].bytes);
        else if (s->probe[i].type >= STRUCT_LIST)
            copy->value[i] = (struct_value){.type = STRUCT_NULL};
    }
    *out = copy;
    return VV_OK;
}

vv_status sorter_add(sorter *s, const row_view *view, const query_row *row, vv_error *err)
{
    const plan *p = s->plan;
    for (size_t i = 0; i < p->order_count; i++)
        if (!column_read(&p->order[i], view, &s->probe[i]))
            s->probe[i] = (struct_value){.type = STRUCT_NULL};
    bool full = s->count > 0 && s->count >= s->keep;
    if (full && compare_rows(p, s->probe, row->key, s->heap[0]->value, s->heap[0]->row.key) >= 0)
        return VV_OK;
    sorted_row *copy = NULL;
    vv_status st = !full && (s->heap == NULL || s->count == s->cap) ? grow(s, err) : VV_OK;
    if (st == VV_OK)
        st = copy_row(s, row, &copy, err);
    if (st != VV_OK || copy == NULL || s->heap == NULL)
        return st;
    if (full) {
        give_back(s, s->heap[0]->cost);
        vv_free(s->heap[0]);
        s->heap[0] = copy;
        sift_down(s, 0, s->count);
    } else {
        s->heap[s->count++] = copy;
        sift_up(s, s->count - 1);
    }
    return VV_OK;
}

void sorter_finish(sorter *s)
{
    for (size_t left = s->count; left > 1; left--) {
        sorted_row *last = s->heap[0];
        s->heap[0] = s->heap[left - 1];
        s->heap[left - 1] = last;
        sift_down(s, 0, left - 1);
    }
}

bool sorter_next(sorter *s, query_row *out)
{
    if (s->next == s->count)
        return false;
    *out = s->heap[s->next++]->row;
    return true;
}

uint64_t sorter_memory_peak(const sorter *s)
{
    return s->peak;
}
