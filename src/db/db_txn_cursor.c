/*
 * db_txn_cursor.c - a cursor of a transaction: its own writes merged over its snapshot.
 *
 *   beneath   the engine's cursor at the snapshot; `side` says where it stands: AHEAD at the first
 *             key at or behind the current one, BEHIND at the last key at or below it
 *   own       the transaction's buffer, searched anew at each step, so that writes made between two
 *             steps are seen
 *
 * Where both have a key the own write decides, and a range deletion of the transaction hides what
 * is beneath. A serializable transaction remembers the range that the cursor has passed over, the
 * gap behind the last key included: a key that another puts there is a phantom.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "db/db_txn_int.h"

typedef enum side { NOWHERE, AHEAD, BEHIND } side;

struct db_txn_cursor {
    vv_txn *txn;         /* NULL: it has ended */
    db_txn_cursor *next; /* of the transaction's open cursors */
    vv_cursor base;
    db_bounds bounds;
    txn_seen *seen; /* what this seek has passed over; NULL: nothing is remembered */
    side side;
    bool valid;
    bool is_own; /* item is of the buffer */
    engine_item item;
    size_t key_len;
    uint8_t key[ENGINE_KEY_MAX]; /* current */
};

static vv_slice lower_of(const db_txn_cursor *c)
{
    return vv_slice_of(c->bounds.lower, c->bounds.lower_len);
}

static vv_slice upper_of(const db_txn_cursor *c)
{
    return vv_slice_of(c->bounds.upper, c->bounds.upper_len);
}

static vv_slice current_key(const db_txn_cursor *c)
{
    return vv_slice_of(c->key, c->key_len);
}

/* ---- what was seen ---- */

/* Bound i becomes key, and a zero byte behind it when `past`. */
static vv_status set_bound(db_txn_cursor *c, int i, vv_slice key, bool past, vv_error *err)
{
    txn_seen *s = c->seen;
    size_t len = key.len + past;
    vv_status st;
    if (len > s->cap[i]) {
        size_t cap = vv_max_u64(2 * len, 64);
        uint8_t *bytes = txn_alloc(c->txn, cap, &st, err);
        if (bytes == NULL)
            return st;
        s->bound[i] = bytes;
        s->cap[i] = cap;
    }
    assert(s->bound[i] != NULL);
    memcpy(s->bound[i], key.data, key.len);
    if (past)
        s->bound[i][key.len] = 0;
    s->len[i] = len;
    return VV_OK;
}

/* A new range, empty at key. */
static vv_status begin_seen(db_txn_cursor *c, vv_slice key, vv_error *err)
{
    vv_txn *txn = c->txn;
    vv_status st;
    c->seen = NULL;
    if (!txn_checks_reads(txn))
        return VV_OK;
    txn_seen *s = txn_alloc(txn, sizeof *s, &st, err);
    if (s == NULL)
        return st;
    *s = (txn_seen){.next = txn->seen};
    c->seen = s;
    st = set_bound(c, 0, key, false, err);
    if (st == VV_OK)
        st = set_bound(c, 1, key, false, err);
    if (st != VV_OK)
        return st;
    txn->seen = s;
    txn->seen_count++;
    return VV_OK;
}

/* The range reaches up to and over key, or to the upper bound when the cursor ran out. */
static vv_status see_up(db_txn_cursor *c, vv_error *err)
{
    if (c->seen == NULL)
        return VV_OK;
    vv_slice key = c->valid ? current_key(c) : upper_of(c);
    if (!c->valid && VV_BUG(57))
        return VV_OK;
    vv_slice end = vv_slice_of(c->seen->bound[1], c->seen->len[1]);
    if (vv_slice_cmp(key, end) < 0)
        return VV_OK;
    return set_bound(c, 1, key, c->valid, err);
}

static vv_status see_down(db_txn_cursor *c, vv_error *err)
{
    if (c->seen == NULL)
        return VV_OK;
    vv_slice key = c->valid ? current_key(c) : lower_of(c);
    vv_slice begin = vv_slice_of(c->seen->bound[0], c->seen->len[0]);
    if (vv_slice_cmp(key, begin) >= 0)
        return VV_OK;
    return set_bound(c, 0, key, false, err);
}

/* ---- finding ---- */

static bool is_live(const vv_txn *txn, const txn_op *op)
{
    return op->kind == ENGINE_PUT && (op->expires_ns == 0 || op->expires_ns > txn->time_ns);
}

static void stand_on_own(db_txn_cursor *c, const txn_node *node)
{
    c->item = (engine_item){.key = node->key,
                            .value = node->newest->value,
                            .expires_ns = node->newest->expires_ns,
                            .kind = ENGINE_PUT};
    c->is_own = true;
}

static void stand_beneath(db_txn_cursor *c)
{
    c->item = *engine_cursor_item(c->base.at);
    c->is_own = false;
}

static void arrive(db_txn_cursor *c)
{
    c->valid = true;
    c->key_len = c->item.key.len;
    memcpy(c->key, c->item.key.data, c->key_len);
}

/* Nodes that have a write, from node on. */
static txn_node *written_at(txn_node *node)
{
    while (node != NULL && node->newest == NULL)
        node = node->next[0];
    return node;
}

static txn_node *written_below(const txn_buffer *b, vv_slice key)
{
    txn_node *node = txn_buffer_below(b, key);
    while (node != NULL && node->newest == NULL)
        node = txn_buffer_below(b, node->key);
    return node;
}

/* The first key at or behind `from`, where beneath stands AHEAD of it. */
static vv_status find_up(db_txn_cursor *c, txn_node *own, vv_error *err)
{
    vv_txn *txn = c->txn;
    engine_cursor *at = c->base.at;
    vv_slice upper = upper_of(c);
    vv_status st = VV_OK;
    c->valid = false;
    while (st == VV_OK) {
        own = written_at(own);
        if (own != NULL && vv_slice_cmp(own->key, upper) >= 0)
            own = NULL;
        bool below = engine_cursor_valid(at);
        if (own == NULL && !below)
            return VV_OK;
        int order = own == NULL ? -1
                    : !below    ? 1
                                : vv_slice_cmp(engine_cursor_item(at)->key, own->key);
        if (order < 0) {
            const txn_span *wiped = txn_buffer_cover_of(&txn->buffer, engine_cursor_item(at)->key);
            if (wiped == NULL) {
                stand_beneath(c);
                arrive(c);
                return VV_OK;
            }
            st = engine_cursor_seek(at, wiped->upper, err);
            continue;
        }
        if (is_live(txn, own->newest)) {
            stand_on_own(c, own);
            arrive(c);
            return VV_OK;
        }
        if (order == 0)
            st = engine_cursor_next(at, err);
        own = own->next[0];
    }
    return st;
}

/* The last key at or below what beneath and own stand on. */
static vv_status find_down(db_txn_cursor *c, txn_node *own, vv_error *err)
{
    vv_txn *txn = c->txn;
    engine_cursor *at = c->base.at;
    vv_slice lower = lower_of(c);
    vv_status st = VV_OK;
    c->valid = false;
    while (st == VV_OK) {
        if (own != NULL && vv_slice_cmp(own->key, lower) < 0)
            own = NULL;
        if (VV_BUG(58))
            own = NULL;
        bool below = engine_cursor_valid(at);
        if (own == NULL && !below)
            return VV_OK;
        int order = own == NULL ? 1
                    : !below    ? -1
                                : vv_slice_cmp(engine_cursor_item(at)->key, own->key);
        if (order > 0) {
            const txn_span *wiped = txn_buffer_cover_of(&txn->buffer, engine_cursor_item(at)->key);
            if (wiped == NULL) {
                stand_beneath(c);
                arrive(c);
                return VV_OK;
            }
            st = engine_cursor_seek_below(at, wiped->lower, err);
            continue;
        }
        if (is_live(txn, own->newest)) {
            stand_on_own(c, own);
            arrive(c);
            return VV_OK;
        }
        if (order == 0)
            st = engine_cursor_prev(at, err);
        own = written_below(&txn->buffer, own->key);
    }
    return st;
}

/* ---- the calls ---- */

static db_txn_cursor *cursor_of(vv_cursor *cursor)
{
    return cursor->by_txn;
}

static vv_status check_open(const db_txn_cursor *c, vv_error *err)
{
    if (VV_LIKELY(c->txn != NULL))
        return VV_OK;
    return vv_fail(err, VV_CLOSED, "the transaction of this cursor has ended");
}

/* key with the table prefix in buf; an empty one stays empty. */
static vv_status seek_key(const db_txn_cursor *c, vv_slice key, uint8_t buf[ENGINE_KEY_MAX],
                          vv_slice *out, vv_error *err)
{
    *out = key;
    if (key.len == 0)
        return VV_OK;
    if (key.len > VV_KEY_MAX)
        return vv_fail(err, VV_INVALID, "the key has %zu bytes, at most %u are allowed", key.len,
                       VV_KEY_MAX);
    memcpy(buf, c->bounds.lower, ENGINE_TABLE_PREFIX);
    memcpy(buf + ENGINE_TABLE_PREFIX, key.data, key.len);
    *out = vv_slice_of(buf, ENGINE_TABLE_PREFIX + key.len);
    return VV_OK;
}

/* A failed step leaves the cursor nowhere. */
static vv_status settle(db_txn_cursor *c, vv_status st, side where)
{
    c->side = where;
    if (st != VV_OK) {
        c->valid = false;
        c->side = NOWHERE;
    }
    return st;
}

vv_status db_txn_cursor_seek(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    db_txn_cursor *c = cursor_of(cursor);
    uint8_t buf[ENGINE_KEY_MAX];
    vv_slice from = {0};
    c->valid = false;
    vv_status st = check_open(c, err);
    if (st == VV_OK)
        st = seek_key(c, key, buf, &from, err);
    if (st != VV_OK)
        return st;
    if (from.len == 0 || vv_slice_cmp(from, lower_of(c)) < 0)
        from = lower_of(c);
    st = begin_seen(c, from, err);
    if (st == VV_OK)
        st = engine_cursor_seek(c->base.at, from, err);
    if (st == VV_OK)
        st = find_up(c, txn_buffer_at(&c->txn->buffer, from), err);
    if (st == VV_OK)
        st = see_up(c, err);
    return settle(c, st, AHEAD);
}

vv_status db_txn_cursor_seek_below(vv_cursor *cursor, vv_slice key, vv_error *err)
{
    db_txn_cursor *c = cursor_of(cursor);
    uint8_t buf[ENGINE_KEY_MAX];
    vv_slice to = {0};
    c->valid = false;
    vv_status st = check_open(c, err);
    if (st == VV_OK)
        st = seek_key(c, key, buf, &to, err);
    if (st != VV_OK)
        return st;
    if (to.len == 0 || vv_slice_cmp(to, upper_of(c)) > 0)
        to = upper_of(c);
    st = begin_seen(c, to, err);
    if (st == VV_OK)
        st = engine_cursor_seek_below(c->base.at, to, err);
    if (st == VV_OK)
        st = find_down(c, written_below(&c->txn->buffer, to), err);
    if (st == VV_OK)
        st = see_down(c, err);
    return settle(c, st, BEHIND);
}

/* Have beneath stand behind the current key. */
static vv_status pass_up(db_txn_cursor *c, vv_error *err)
{
    engine_cursor *at = c->base.at;
    vv_status st = VV_OK;
    if (c->side != AHEAD)
        st = engine_cursor_seek(at, current_key(c), err);
    if (st == VV_OK && engine_cursor_valid(at) &&
        vv_slice_eq(engine_cursor_item(at)->key, current_key(c)))
        st = engine_cursor_next(at, err);
    return st;
}

static vv_status pass_down(db_txn_cursor *c, vv_error *err)
{
    engine_cursor *at = c->base.at;
    if (c->side != BEHIND)
        return engine_cursor_seek_below(at, current_key(c), err);
    if (engine_cursor_valid(at) && vv_slice_eq(engine_cursor_item(at)->key, current_key(c)))
        return engine_cursor_prev(at, err);
    return VV_OK;
}

static txn_node *own_behind(const db_txn_cursor *c)
{
    txn_node *node = txn_buffer_at(&c->txn->buffer, current_key(c));
    return node != NULL && vv_slice_eq(node->key, current_key(c)) ? node->next[0] : node;
}

vv_status db_txn_cursor_step(vv_cursor *cursor, bool forward, vv_error *err)
{
    db_txn_cursor *c = cursor_of(cursor);
    vv_status st = check_open(c, err);
    if (st == VV_OK && !c->valid)
        st = vv_fail(err, VV_INVALID, "the cursor stands nowhere: seek first");
    if (st != VV_OK)
        return st;
    st = forward ? pass_up(c, err) : pass_down(c, err);
    if (st == VV_OK)
        st = forward ? find_up(c, own_behind(c), err)
                     : find_down(c, written_below(&c->txn->buffer, current_key(c)), err);
    if (st == VV_OK)
        st = forward ? see_up(c, err) : see_down(c, err);
    return settle(c, st, forward ? AHEAD : BEHIND);
}

bool db_txn_cursor_valid(const vv_cursor *cursor)
{
    return cursor->by_txn->valid;
}

const engine_item *db_txn_cursor_item(const vv_cursor *cursor)
{
    return &cursor->by_txn->item;
}

uint64_t db_txn_cursor_scanned(const vv_cursor *cursor)
{
    const db_txn_cursor *c = cursor->by_txn;
    return c->txn == NULL ? 0 : engine_cursor_scanned(c->base.at);
}

/* ---- life ---- */

static vv_status check_options(const vv_cursor_options *opt, vv_error *err)
{
    if (opt->snapshot != NULL || opt->version != 0 || opt->archive != NULL)
        return vv_fail(err, VV_INVALID, "a transaction reads at its own snapshot: set no other");
    return VV_OK;
}

static vv_status open_beneath(db_txn_cursor *c, vv_error *err)
{
    const vv_txn *txn = c->txn;
    const db_shard *shard = c->base.table.shard;
    engine_cursor_options opt = {
        .read = {.version = txn->version[shard->id], .now_ns = txn->time_ns},
        .lower = lower_of(c),
        .upper = upper_of(c)};
    c->base.read = opt.read;
    return txn->db->ops->cursor(shard->eng, &opt, &c->base.at, err);
}

vv_status vv_txn_scan(vv_txn *txn, vv_table *table, const vv_cursor_options *opt, vv_cursor **out,
                      vv_error *err)
{
    static const vv_cursor_options defaults = VV_CURSOR_OPTIONS_INIT;
    vv_cursor_options full;
    vv_status st = db_cursor_options_take(opt == NULL ? &defaults : opt, &full, err);
    if (st == VV_OK)
        st = check_options(&full, err);
    if (st == VV_OK)
        st = txn_use(txn, table, err);
    if (st != VV_OK)
        return st;
    if (table->partition_count > 1)
        return db_part_cursor_open_txn(txn, table, &full, out, err);
    db_txn_cursor *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a cursor");
    c->txn = txn;
    c->base.table = *table;
    c->base.by_txn = c;
    c->base.is_composed = true;
    st = db_bounds_make(table, &full, &c->bounds, err);
    if (st == VV_OK)
        st = open_beneath(c, err);
    if (st != VV_OK) {
        vv_free(c);
        return vv_wrap(err, st, "scan of table '%s'", table->cat->name);
    }
    cat_table_ref(table->cat);
    c->next = txn->cursors;
    txn->cursors = c;
    *out = &c->base;
    return VV_OK;
}

void db_txn_cursor_orphan(db_txn_cursor *c)
{
    db_txn_cursor **at = &c->txn->cursors;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    engine_cursor_close(c->base.at);
    c->base.at = NULL;
    c->txn = NULL;
    c->valid = false;
}

void db_txn_cursor_close(vv_cursor *cursor)
{
    db_txn_cursor *c = cursor_of(cursor);
    if (c->txn != NULL)
        db_txn_cursor_orphan(c);
    cat_table_unref(c->base.table.cat);
    vv_free(c);
}
