/*
 * iso_check.c - from the operations to the order of each list and the edges between transactions.
 */
#include "isolation/iso_int.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

static void *grow(void *array, uint32_t *cap, uint32_t count, size_t size)
{
    if (count < *cap)
        return array;
    *cap = *cap == 0 ? 256 : *cap * 2;
    array = realloc(array, *cap * size);
    assert(array != NULL);
    return array;
}

iso_history *iso_create(void)
{
    iso_history *h = calloc(1, sizeof *h);
    assert(h != NULL);
    return h;
}

void iso_destroy(iso_history *h)
{
    for (uint32_t i = 0; i < h->op_count; i++)
        free(h->ops[i].list);
    free(h->txns);
    free(h->ops);
    free(h->edges);
    free(h);
}

void iso_txn(iso_history *h, iso_end end)
{
    h->txns = grow(h->txns, &h->txn_cap, h->txn_count, sizeof *h->txns);
    h->txns[h->txn_count++] = (iso_one){.end = end, .first = h->op_count};
}

static iso_op *add_op(iso_history *h, uint32_t key)
{
    assert(h->txn_count > 0 && key < ISO_KEYS_MAX);
    h->ops = grow(h->ops, &h->op_cap, h->op_count, sizeof *h->ops);
    h->txns[h->txn_count - 1].count++;
    iso_op *op = &h->ops[h->op_count++];
    *op = (iso_op){.key = key};
    return op;
}

void iso_append(iso_history *h, uint32_t key, uint32_t value)
{
    add_op(h, key)->value = value;
}

void iso_read(iso_history *h, uint32_t key, const uint32_t *values, size_t count)
{
    iso_op *op = add_op(h, key);
    op->is_read = true;
    op->count = (uint32_t)count;
    op->list = malloc((count + 1) * sizeof *values);
    assert(op->list != NULL);
    memcpy(op->list, values, count * sizeof *values);
}

void iso_add_edge(iso_history *h, uint32_t from, uint32_t to, iso_kind kind)
{
    if (from == to || from == NOBODY || to == NOBODY)
        return;
    h->edges = grow(h->edges, &h->edge_cap, h->edge_count, sizeof *h->edges);
    h->edges[h->edge_count++] = (iso_edge){.from = from, .to = to, .kind = kind};
}

void iso_say(iso_history *h, iso_anomaly what, const char *fmt, ...)
{
    bool is_new = (h->found & (uint32_t)what) == 0;
    h->found |= (uint32_t)what;
    size_t used = strlen(h->why);
    if (!is_new || used + 2 > h->why_len)
        return;
    int n = snprintf(h->why + used, h->why_len - used, "%s: ", iso_names((uint32_t)what));
    used += (size_t)n;
    if (used >= h->why_len)
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(h->why + used, h->why_len - used, fmt, args);
    va_end(args);
    used = strlen(h->why);
    (void)snprintf(h->why + used, h->why_len - used, "\n");
}

const char *iso_names(uint32_t anomalies)
{
    static const char *const names[] = {"G0",          "G1a",       "G1b",       "G1c",
                                        "lost-update", "read-skew", "long-fork", "write-skew",
                                        "order",       "internal",  "garbage"};
    static _Thread_local char text[128];
    text[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((anomalies >> i & 1) == 0)
            continue;
        if (text[0] != '\0')
            (void)strncat(text, " ", sizeof text - strlen(text) - 1);
        (void)strncat(text, names[i], sizeof text - strlen(text) - 1);
    }
    return text;
}

/* ---- who wrote what ---- */

typedef struct writer {
    uint32_t value;
    uint32_t txn;
    uint32_t key;
    bool is_last; /* the transaction's last append to the key */
} writer;

typedef struct reading {
    iso_history *h;
    writer *writers; /* sorted by value */
    uint32_t writer_count;
    const iso_op *longest[ISO_KEYS_MAX]; /* the version order */
    uint32_t longest_by[ISO_KEYS_MAX];
    uint32_t longest_len[ISO_KEYS_MAX]; /* without the reader's own appends */
} reading;

static int by_value(const void *a, const void *b)
{
    uint32_t x = ((const writer *)a)->value;
    uint32_t y = ((const writer *)b)->value;
    return (x > y) - (x < y);
}

static const writer *writer_of(const reading *r, uint32_t value)
{
    writer key = {.value = value};
    return r->writer_count == 0 ? NULL
                                : bsearch(&key, r->writers, r->writer_count, sizeof key, by_value);
}

static bool appends_later(const iso_history *h, const iso_one *txn, uint32_t op)
{
    for (uint32_t i = op + 1; i < txn->first + txn->count; i++)
        if (!h->ops[i].is_read && h->ops[i].key == h->ops[op].key)
            return true;
    return false;
}

static void gather_writers(reading *r)
{
    iso_history *h = r->h;
    r->writers = calloc(h->op_count + 1, sizeof *r->writers);
    assert(r->writers != NULL);
    for (uint32_t t = 0; t < h->txn_count; t++) {
        const iso_one *txn = &h->txns[t];
        for (uint32_t i = txn->first; i < txn->first + txn->count; i++)
            if (!h->ops[i].is_read)
                r->writers[r->writer_count++] = (writer){.value = h->ops[i].value,
                                                         .txn = t,
                                                         .key = h->ops[i].key,
                                                         .is_last = !appends_later(h, txn, i)};
    }
    qsort(r->writers, r->writer_count, sizeof *r->writers, by_value);
    for (uint32_t i = 1; i < r->writer_count; i++)
        if (r->writers[i].value == r->writers[i - 1].value)
            iso_say(h, ISO_GARBAGE, "value %u was appended twice", r->writers[i].value);
}

/* ---- each read by itself ---- */

/* The part of a read that others wrote: its own appends so far must stand at the end. */
static uint32_t others_part(reading *r, uint32_t t, uint32_t op)
{
    iso_history *h = r->h;
    const iso_one *txn = &h->txns[t];
    const iso_op *read = &h->ops[op];
    uint32_t own = 0;
    for (uint32_t i = txn->first; i < op; i++)
        own += !h->ops[i].is_read && h->ops[i].key == read->key;
    if (own > read->count) {
        iso_say(h, ISO_INTERNAL, "T%u reads key %u without its own appends", t, read->key);
        return read->count;
    }
    uint32_t others = read->count - own;
    uint32_t at = others;
    for (uint32_t i = txn->first; i < op; i++)
        if (!h->ops[i].is_read && h->ops[i].key == read->key && read->list[at++] != h->ops[i].value)
            iso_say(h, ISO_INTERNAL, "T%u reads key %u without its own append %u", t, read->key,
                    h->ops[i].value);
    return others;
}

static void check_values(reading *r, uint32_t t, const iso_op *read, uint32_t others)
{
    iso_history *h = r->h;
    for (uint32_t i = 0; i < others; i++) {
        const writer *w = writer_of(r, read->list[i]);
        if (w == NULL || w->key != read->key) {
            iso_say(h, ISO_GARBAGE, "T%u reads %u, which nobody appended to key %u", t,
                    read->list[i], read->key);
            continue;
        }
        if (w->txn != t && h->txns[w->txn].end == ISO_ABORTED)
            iso_say(h, ISO_G1A, "T%u reads %u of key %u, which T%u appended and took back", t,
                    read->list[i], read->key, w->txn);
        for (uint32_t j = 0; j < i; j++)
            if (read->list[j] == read->list[i])
                iso_say(h, ISO_GARBAGE, "T%u reads %u twice in key %u", t, read->list[i],
                        read->key);
    }
    const writer *last = others == 0 ? NULL : writer_of(r, read->list[others - 1]);
    if (last != NULL && !last->is_last && last->txn != t)
        iso_say(h, ISO_G1B, "T%u reads key %u up to %u, between two appends of T%u", t, read->key,
                last->value, last->txn);
}

static void note_longest(reading *r, uint32_t t, const iso_op *read, uint32_t len)
{
    uint32_t k = read->key;
    if (r->longest[k] != NULL && r->longest_len[k] >= len)
        return;
    r->longest[k] = read;
    r->longest_by[k] = t;
    r->longest_len[k] = len;
}

/* A committed transaction's own appends are part of the order when it read the list behind them. */
static uint32_t trusted_len(const reading *r, uint32_t t, const iso_op *read, uint32_t others)
{
    return r->h->txns[t].end == ISO_COMMITTED ? read->count : others;
}

static void check_reads(reading *r)
{
    iso_history *h = r->h;
    for (uint32_t t = 0; t < h->txn_count; t++) {
        const iso_one *txn = &h->txns[t];
        for (uint32_t i = txn->first; i < txn->first + txn->count; i++) {
            if (!h->ops[i].is_read)
                continue;
            uint32_t others = others_part(r, t, i);
            check_values(r, t, &h->ops[i], others);
            note_longest(r, t, &h->ops[i], trusted_len(r, t, &h->ops[i], others));
        }
    }
}

/* ---- reads against each other ---- */

/* The first read of a key that no append of the same transaction went before. */
static bool is_external(const iso_history *h, const iso_one *txn, uint32_t op)
{
    for (uint32_t i = txn->first; i < op; i++)
        if (h->ops[i].key == h->ops[op].key)
            return false;
    return h->ops[op].is_read;
}

static void check_repeated(iso_history *h, uint32_t t, uint32_t op, uint32_t others)
{
    const iso_one *txn = &h->txns[t];
    for (uint32_t i = txn->first; i < op; i++) {
        if (!h->ops[i].is_read || h->ops[i].key != h->ops[op].key)
            continue;
        uint32_t n = h->ops[i].count < others ? h->ops[i].count : others;
        if (is_external(h, txn, i) &&
            (h->ops[i].count != others ||
             memcmp(h->ops[i].list, h->ops[op].list, n * sizeof(uint32_t)) != 0))
            iso_say(h, ISO_INTERNAL, "T%u reads key %u twice and unlike", t, h->ops[op].key);
    }
}

static void check_order(reading *r)
{
    iso_history *h = r->h;
    for (uint32_t t = 0; t < h->txn_count; t++) {
        const iso_one *txn = &h->txns[t];
        for (uint32_t i = txn->first; i < txn->first + txn->count; i++) {
            const iso_op *op = &h->ops[i];
            if (!op->is_read)
                continue;
            uint32_t others = others_part(r, t, i);
            check_repeated(h, t, i, others);
            uint32_t len = trusted_len(r, t, op, others);
            const iso_op *order = r->longest[op->key];
            if (memcmp(op->list, order->list, len * sizeof(uint32_t)) != 0)
                iso_say(h, ISO_ORDER, "T%u and T%u read key %u in two orders", t,
                        r->longest_by[op->key], op->key);
        }
    }
}

static bool is_seen(const reading *r, uint32_t key, uint32_t value)
{
    const iso_op *order = r->longest[key];
    for (uint32_t i = 0; order != NULL && i < r->longest_len[key]; i++)
        if (order->list[i] == value)
            return true;
    return false;
}

/* Updates of one version: what each committed transaction read first of a key it then appends to.
 */
typedef struct update {
    uint32_t key;
    uint32_t len;
    uint32_t last; /* the value it builds on */
    uint32_t txn;
} update;

static int by_version(const void *a, const void *b)
{
    const update *x = a;
    const update *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return (x->last > y->last) - (x->last < y->last);
}

static void check_updates(reading *r)
{
    iso_history *h = r->h;
    update *all = calloc(h->op_count + 1, sizeof *all);
    uint32_t count = 0;
    assert(all != NULL);
    for (uint32_t t = 0; t < h->txn_count; t++) {
        const iso_one *txn = &h->txns[t];
        for (uint32_t i = txn->first; txn->end == ISO_COMMITTED && i < txn->first + txn->count;
             i++) {
            const iso_op *op = &h->ops[i];
            if (!op->is_read && r->longest[op->key] != NULL && !is_seen(r, op->key, op->value))
                iso_say(h, ISO_LOST_UPDATE, "T%u appended %u to key %u, and it is gone", t,
                        op->value, op->key);
            if (is_external(h, txn, i) && appends_later(h, txn, i))
                all[count++] = (update){.key = op->key,
                                        .len = op->count,
                                        .last = op->count == 0 ? 0 : op->list[op->count - 1],
                                        .txn = t};
        }
    }
    qsort(all, count, sizeof *all, by_version);
    for (uint32_t i = 1; i < count; i++)
        if (by_version(&all[i - 1], &all[i]) == 0 && all[i - 1].txn != all[i].txn)
            iso_say(h, ISO_LOST_UPDATE, "T%u and T%u both replaced the version %u of key %u",
                    all[i - 1].txn, all[i].txn, all[i].last, all[i].key);
    free(all);
}

/* ---- edges ---- */

static uint32_t txn_of(const reading *r, uint32_t value)
{
    const writer *w = writer_of(r, value);
    return w == NULL ? NOBODY : w->txn;
}

/* Where a transaction's last append in a row stands, so that an edge leads to the next writer. */
static uint32_t next_writer(const reading *r, const iso_op *order, uint32_t len, uint32_t at,
                            uint32_t not_this)
{
    for (; at < len; at++) {
        uint32_t w = txn_of(r, order->list[at]);
        if (w != not_this)
            return w;
    }
    return NOBODY;
}

static void add_edges(reading *r)
{
    iso_history *h = r->h;
    for (uint32_t k = 0; k < ISO_KEYS_MAX; k++)
        for (uint32_t i = 1; r->longest[k] != NULL && i < r->longest_len[k]; i++)
            iso_add_edge(h, txn_of(r, r->longest[k]->list[i - 1]),
                         txn_of(r, r->longest[k]->list[i]), ISO_WW);
    for (uint32_t t = 0; t < h->txn_count; t++) {
        const iso_one *txn = &h->txns[t];
        for (uint32_t i = txn->first; i < txn->first + txn->count; i++) {
            const iso_op *op = &h->ops[i];
            if (!is_external(h, txn, i))
                continue;
            const iso_op *order = r->longest[op->key];
            if (op->count > 0)
                iso_add_edge(h, txn_of(r, op->list[op->count - 1]), t, ISO_WR);
            iso_add_edge(h, t, next_writer(r, order, r->longest_len[op->key], op->count, t),
                         ISO_RW);
        }
    }
}

uint32_t iso_check(iso_history *h, char *why, size_t why_len)
{
    reading r = {.h = h};
    h->why = why;
    h->why_len = why_len;
    why[0] = '\0';
    h->found = 0;
    h->edge_count = 0;
    gather_writers(&r);
    check_reads(&r);
    check_order(&r);
    check_updates(&r);
    if ((h->found & (ISO_ORDER | ISO_GARBAGE)) == 0) { /* else there is no order to build on */
        add_edges(&r);
        iso_find_cycles(h);
    }
    free(r.writers);
    return h->found;
}
