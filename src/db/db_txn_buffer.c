/*
 * db_txn_buffer.c - the writes of a transaction: a skip list of keys, a chain of writes for each,
 * and range deletions apart.
 *
 *   node key --> newest write --older--> ... --> NULL
 *                    |previous
 *                    v
 *                the write before it, of any key: the way back for a rollback
 *
 * A range deletion writes a deletion on every key of the list that it comes over, so the newest
 * write of a node always decides alone; for keys that are not in the list the union of all ranges
 * does. At the commit the ranges go first and then what counts of each key, which has the same
 * outcome as the order it was written in. Everything lives in the transaction's arena.
 *
 * Skip list: Pugh, "Skip Lists", CACM 1990; one node in four rises a level.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_txn_int.h"

#define OP_COST 32u /* of an operation in a batch, beside key and value, at most */

/* ---- looking ---- */

static txn_node *next_of(const txn_buffer *b, const txn_node *node, uint32_t level)
{
    return node == NULL ? b->head[level] : node->next[level];
}

/* The last node below key on each level (NULL: the head); returns the one of the lowest. */
static txn_node *search(const txn_buffer *b, vv_slice key, txn_node **path)
{
    txn_node *at = NULL;
    for (uint32_t level = b->height; level-- > 0;) {
        txn_node *next = next_of(b, at, level);
        while (next != NULL && vv_slice_cmp(next->key, key) < 0) {
            at = next;
            next = next->next[level];
        }
        if (path != NULL)
            path[level] = at;
    }
    return at;
}

txn_node *txn_buffer_below(const txn_buffer *b, vv_slice key)
{
    return search(b, key, NULL);
}

txn_node *txn_buffer_at(const txn_buffer *b, vv_slice key)
{
    return b->height == 0 ? NULL : next_of(b, search(b, key, NULL), 0);
}

txn_node *txn_buffer_find(const txn_buffer *b, vv_slice key)
{
    txn_node *node = txn_buffer_at(b, key);
    return node != NULL && vv_slice_eq(node->key, key) ? node : NULL;
}

/* The first span of the union that ends behind key. */
static size_t cover_index(const txn_buffer *b, vv_slice key)
{
    size_t lo = 0;
    size_t hi = b->cover_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (vv_slice_cmp(b->cover[mid].upper, key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const txn_span *txn_buffer_cover_of(const txn_buffer *b, vv_slice key)
{
    if (VV_LIKELY(b->cover_count == 0))
        return NULL;
    size_t i = cover_index(b, key);
    return i < b->cover_count && vv_slice_cmp(b->cover[i].lower, key) <= 0 ? &b->cover[i] : NULL;
}

bool txn_buffer_covers(const txn_buffer *b, vv_slice key)
{
    return txn_buffer_cover_of(b, key) != NULL;
}

/* ---- writing ---- */

static vv_slice copy(uint8_t **to, vv_slice s)
{
    uint8_t *at = *to;
    if (s.len > 0)
        memcpy(at, s.data, s.len);
    *to += s.len;
    return vv_slice_of(at, s.len);
}

vv_status txn_buffer_add_node(vv_txn *txn, vv_slice key, txn_node **out, vv_error *err)
{
    txn_buffer *b = &txn->buffer;
    txn_node *path[TXN_HEIGHT_MAX] = {NULL};
    txn_node *below = search(b, key, path);
    txn_node *found = b->height == 0 ? NULL : next_of(b, below, 0);
    if (found != NULL && vv_slice_eq(found->key, key)) {
        *out = found;
        return VV_OK;
    }
    uint32_t height = 1;
    for (uint64_t bits = vv_rng_next(&b->rng); height < TXN_HEIGHT_MAX && (bits & 3) == 0;
         bits >>= 2)
        height++;
    vv_status st;
    size_t links = height * sizeof(txn_node *);
    txn_node *node = txn_alloc(txn, sizeof *node + links + key.len, &st, err);
    if (node == NULL)
        return st;
    *node = (txn_node){.height = (uint8_t)height};
    uint8_t *bytes = (uint8_t *)(node->next + height);
    node->key = copy(&bytes, key);
    for (uint32_t level = 0; level < height; level++) {
        txn_node **slot = path[level] == NULL ? &b->head[level] : &path[level]->next[level];
        node->next[level] = *slot;
        *slot = node;
    }
    if (height > b->height)
        b->height = height;
    *out = node;
    return VV_OK;
}

/* What a write takes in the batch; what a range deletion covers takes nothing. */
static size_t cost(const txn_op *op)
{
    return op == NULL || op->by_range ? 0 : OP_COST + op->node->key.len + op->value.len;
}

static size_t wipe_cost(const txn_span *span)
{
    return OP_COST + span->lower.len + span->upper.len;
}

static bool is_own(const txn_op *op)
{
    return op != NULL && !op->by_range;
}

static void push(txn_buffer *b, txn_op *op)
{
    txn_node *node = op->node;
    op->seq = b->seq;
    op->older = node->newest;
    op->previous = b->last;
    b->encoded += cost(op) - cost(node->newest);
    b->live_count += (uint32_t)is_own(op) - (uint32_t)is_own(node->newest);
    node->newest = op;
    b->last = op;
}

static void pop(txn_buffer *b)
{
    txn_op *op = b->last;
    txn_node *node = op->node;
    b->encoded += cost(op->older) - cost(op);
    b->live_count += (uint32_t)is_own(op->older) - (uint32_t)is_own(op);
    node->newest = op->older;
    b->last = op->previous;
}

static vv_status check_size(const txn_buffer *b, size_t more, vv_error *err)
{
    if (b->encoded + more <= VV_BATCH_MAX - OP_COST)
        return VV_OK;
    return vv_fail(err, VV_BUSY,
                   "the transaction would pass %u bytes, what one batch may hold: commit it and "
                   "begin another",
                   VV_BATCH_MAX);
}

vv_status txn_buffer_write(vv_txn *txn, engine_kind kind, vv_slice key, vv_slice value,
                           int64_t expires_ns, vv_error *err)
{
    txn_node *node = NULL;
    vv_status st = check_size(&txn->buffer, OP_COST + key.len + value.len, err);
    if (st == VV_OK)
        st = txn_buffer_add_node(txn, key, &node, err);
    if (st != VV_OK)
        return st;
    assert(node != NULL);
    txn_op *op = txn_alloc(txn, sizeof *op + value.len, &st, err);
    if (op == NULL)
        return st;
    uint8_t *bytes = (uint8_t *)(op + 1);
    *op = (txn_op){.node = node, .kind = kind, .expires_ns = expires_ns};
    op->value = copy(&bytes, value);
    txn->buffer.seq++;
    push(&txn->buffer, op);
    return VV_OK;
}

/* Take span into the union. There is room for one more. */
static void merge_cover(txn_buffer *b, txn_span span)
{
    size_t from = 0;
    while (from < b->cover_count && vv_slice_cmp(b->cover[from].upper, span.lower) < 0)
        from++;
    size_t to = from;
    for (; to < b->cover_count && vv_slice_cmp(b->cover[to].lower, span.upper) <= 0; to++) {
        if (vv_slice_cmp(b->cover[to].lower, span.lower) < 0)
            span.lower = b->cover[to].lower;
        if (vv_slice_cmp(b->cover[to].upper, span.upper) > 0)
            span.upper = b->cover[to].upper;
    }
    memmove(b->cover + from + 1, b->cover + to, (b->cover_count - to) * sizeof *b->cover);
    b->cover_count += 1 - (to - from);
    b->cover[from] = span;
}

/* A deletion for every write in the span. Memory for all of them first: whole or not at all. */
static vv_status delete_own(vv_txn *txn, txn_span span, vv_error *err)
{
    txn_buffer *b = &txn->buffer;
    size_t count = 0;
    txn_node *first = txn_buffer_at(b, span.lower);
    for (txn_node *n = first; n != NULL && vv_slice_cmp(n->key, span.upper) < 0; n = n->next[0])
        count += n->newest != NULL;
    if (count == 0)
        return VV_OK;
    vv_status st;
    txn_op *ops = txn_alloc(txn, count * sizeof *ops, &st, err);
    if (ops == NULL)
        return st;
    for (txn_node *n = first; n != NULL && vv_slice_cmp(n->key, span.upper) < 0; n = n->next[0]) {
        if (n->newest == NULL)
            continue;
        *ops = (txn_op){.node = n, .kind = ENGINE_DELETE, .by_range = true};
        push(b, ops++);
    }
    return VV_OK;
}

vv_status txn_buffer_wipe(vv_txn *txn, vv_slice lower, vv_slice upper, vv_error *err)
{
    txn_buffer *b = &txn->buffer;
    vv_status st = check_size(b, OP_COST + lower.len + upper.len, err);
    if (st == VV_OK)
        st = txn_grow(txn, (void **)&b->wipes, &b->wipe_cap, b->wipe_count, sizeof *b->wipes, err);
    if (st == VV_OK) /* the union never has more parts than there were ranges */
        st = txn_grow(txn, (void **)&b->cover, &b->cover_cap, b->wipe_count, sizeof *b->cover, err);
    if (st != VV_OK)
        return st;
    uint8_t *bytes = txn_alloc(txn, lower.len + upper.len, &st, err);
    if (bytes == NULL)
        return st;
    txn_span span;
    span.lower = copy(&bytes, lower);
    span.upper = copy(&bytes, upper);
    b->seq++;
    st = delete_own(txn, span, err);
    if (st != VV_OK)
        return st;
    b->wipes[b->wipe_count++] = (txn_wipe){.span = span, .seq = b->seq};
    b->encoded += wipe_cost(&span);
    merge_cover(b, span);
    return VV_OK;
}

void txn_buffer_rollback(vv_txn *txn, uint64_t seq)
{
    txn_buffer *b = &txn->buffer;
    if (VV_BUG(54))
        return;
    while (b->last != NULL && b->last->seq > seq)
        pop(b);
    size_t kept = b->wipe_count;
    while (kept > 0 && b->wipes[kept - 1].seq > seq)
        b->encoded -= wipe_cost(&b->wipes[--kept].span);
    if (kept == b->wipe_count)
        return;
    b->wipe_count = kept;
    b->cover_count = 0;
    for (size_t i = 0; i < kept; i++)
        merge_cover(b, b->wipes[i].span);
}
