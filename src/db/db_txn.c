/*
 * db_txn.c - a transaction: its snapshot, its memory, its reads and writes, its savepoints.
 *
 *   begin: pin the newest visible version of each shard
 *   get:   own write? -- no --> covered by a range deletion of its own? -- no --> engine, as of
 * then end:   unpin, forget
 *
 * The pin does two things: reads find their version, and the resolver finds every write since, for
 * nothing that is newer than a pin is forgotten.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/options.h"
#include "db/db_txn_int.h"

#define MEMORY_SHARE 8u /* of memory_limit, for one transaction */
#define MEMORY_MIN VV_MIB
#define MEMORY_MAX (64 * VV_MIB)
#define ROOM_TIMEOUT_NS VV_NS_PER_S

/* ---- memory ---- */

/* Over memory_limit: what waits for a flush may go first. */
static vv_status wait_for_memory(vv_txn *txn, uint64_t more, vv_error *err)
{
    vv_db *db = txn->db;
    db_shard *shard = txn->shard != NULL ? txn->shard : &db->shards[0];
    int64_t deadline = vv_clock_mono(db->env->clock) + ROOM_TIMEOUT_NS;
    for (;;) {
        uint64_t room = db_background_room(db);
        if (vv_budget_reserve(&db->budget, VV_BUDGET_TXN, more))
            return VV_OK;
        if (db->opt.read_only || db_background_make_room(db, shard, room, deadline, NULL) != VV_OK)
            return vv_fail(err, VV_BUSY, "memory_limit of %llu bytes is reached",
                           (unsigned long long)db->opt.memory_limit);
    }
}

/* Count what the arena took since. Refused, it stays counted: it is there. What the commit itself
 * needs, some words for each key, is not refused: it would strand a full transaction. */
static vv_status count_memory(vv_txn *txn, vv_error *err)
{
    uint64_t more = txn->arena.used - txn->counted;
    if (VV_LIKELY(more == 0))
        return VV_OK;
    txn->counted = txn->arena.used;
    if (vv_budget_reserve(&txn->db->budget, VV_BUDGET_TXN, more))
        return VV_OK;
    vv_status st = txn->is_ending ? VV_BUSY : wait_for_memory(txn, more, err);
    if (st != VV_OK)
        vv_budget_take(&txn->db->budget, VV_BUDGET_TXN, more);
    return txn->is_ending ? VV_OK : st;
}

void *txn_alloc(vv_txn *txn, size_t size, vv_status *st, vv_error *err)
{
    vv_arena *a = &txn->arena;
    void *p = vv_arena_alloc(a, size);
    if (VV_LIKELY(p != NULL))
        *st = count_memory(txn, err);
    else if (size + VV_BLOCK > a->max - a->used)
        *st =
            vv_fail(err, VV_BUSY,
                    "the transaction holds %zu bytes, its memory_max is %llu: commit it and begin "
                    "another",
                    a->used, (unsigned long long)txn->opt.memory_max);
    else
        *st = vv_fail(err, VV_NO_MEMORY, "no memory for the transaction");
    return *st == VV_OK ? p : NULL;
}

vv_status txn_grow(vv_txn *txn, void **array, size_t *cap, size_t count, size_t size, vv_error *err)
{
    if (count < *cap)
        return VV_OK;
    vv_status st;
    size_t more = *cap == 0 ? 4 : *cap * 2;
    void *bigger = txn_alloc(txn, more * size, &st, err);
    if (bigger == NULL)
        return st;
    if (count > 0)
        memcpy(bigger, *array, count * size);
    *array = bigger;
    *cap = more;
    return VV_OK;
}

/* ---- begin and end ---- */

/* The newest visible version, pinned so that no flush was told that it is not read. */
static vv_status pin_newest(vv_txn *txn, db_shard *shard, vv_error *err)
{
    vv_db *db = txn->db;
    for (;;) {
        int64_t version = db->ops->visible(shard->eng);
        vv_status st = db->ops->pin(shard->eng, version, txn->time_ns, err);
        if (st != VV_OK)
            return st;
        if (atomic_load_explicit(&shard->floor_given, memory_order_acquire) <= version) {
            txn->version[shard->id] = version;
            txn->pinned |= UINT64_C(1) << shard->id;
            return VV_OK;
        }
        db->ops->unpin(shard->eng, version, txn->time_ns);
    }
}

static void unpin_all(vv_txn *txn)
{
    vv_db *db = txn->db;
    for (; txn->pinned != 0; txn->pinned &= txn->pinned - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(txn->pinned);
        db->ops->unpin(db->shards[s].eng, txn->version[s], txn->time_ns);
    }
}

/* All shards at one position of the log: for reads that may go anywhere. */
static vv_status pin_together(vv_txn *txn, vv_error *err)
{
    vv_db *db = txn->db;
    vv_status st = VV_OK;
    vv_mutex_lock(&db->commit_lock);
    vv_mutex_lock(&db->publish_lock);
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++) {
        txn->version[i] = db->ops->visible(db->shards[i].eng);
        st = db->ops->pin(db->shards[i].eng, txn->version[i], txn->time_ns, err);
        if (st == VV_OK)
            txn->pinned |= UINT64_C(1) << i;
    }
    vv_mutex_unlock(&db->publish_lock);
    vv_mutex_unlock(&db->commit_lock);
    return st;
}

static vv_status pin_snapshot(vv_txn *txn, vv_error *err)
{
    vv_db *db = txn->db;
    if (txn->opt.read_only && db->shard_count > 1)
        return pin_together(txn, err);
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < db->shard_count; i++)
        st = pin_newest(txn, &db->shards[i], err);
    return st;
}

static vv_status check_options(const vv_txn_options *opt, vv_error *err)
{
    if ((unsigned)opt->isolation > VV_ISOLATION_SERIALIZABLE)
        return vv_fail(err, VV_INVALID,
                       "isolation %d is none: 0 (snapshot) or 1 (serializable) are allowed",
                       (int)opt->isolation);
    if ((unsigned)opt->durability > VV_DURABLE_NONE)
        return vv_fail(
            err, VV_INVALID,
            "durability %d is none: 0 (the store's), 1 (sync), 2 (os) and 3 (none) are allowed",
            (int)opt->durability);
    return VV_OK;
}

static uint64_t default_memory(const vv_db *db)
{
    uint64_t share = db->opt.memory_limit / MEMORY_SHARE;
    return vv_max_u64(MEMORY_MIN, vv_min_u64(share, MEMORY_MAX));
}

vv_status vv_txn_begin(vv_db *db, const vv_txn_options *opt, vv_txn **out, vv_error *err)
{
    static const vv_txn_options defaults = VV_TXN_OPTIONS_INIT;
    static _Atomic uint64_t begun;
    vv_txn_options full = VV_TXN_OPTIONS_INIT;
    vv_status st = vv_options_take(&full, sizeof full, opt == NULL ? &defaults : opt,
                                   offsetof(vv_txn_options, memory_max), "vv_txn_options", err);
    if (st == VV_OK)
        st = check_options(&full, err);
    if (st != VV_OK)
        return st;
    size_t size = sizeof(vv_txn) + db->shard_count * sizeof(int64_t);
    vv_txn *txn = vv_alloc(size);
    if (txn == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a transaction");
    memset(txn, 0, size);
    txn->db = db;
    txn->opt = full;
    if (txn->opt.memory_max == 0)
        txn->opt.memory_max = default_memory(db);
    txn->time_ns = db_read_time(db);
    txn->next_savepoint = 1;
    vv_arena_init(&txn->arena, txn->opt.memory_max);
    vv_rng_init(&txn->buffer.rng,
                db->env->seed + atomic_fetch_add_explicit(&begun, 1, memory_order_relaxed));
    db_batch_init(&txn->batch, db, NULL, 0);
    atomic_fetch_add_explicit(&db->counters.txns_open, 1, memory_order_relaxed);
    st = pin_snapshot(txn, err);
    if (st != VV_OK) {
        txn_end(txn);
        return vv_wrap(err, st, "begin a transaction");
    }
    *out = txn;
    return VV_OK;
}

void txn_end(vv_txn *txn)
{
    while (txn->cursors != NULL)
        db_txn_cursor_orphan(txn->cursors);
    unpin_all(txn);
    db_batch_fini(&txn->batch);
    vv_arena_fini(&txn->arena);
    vv_budget_release(&txn->db->budget, VV_BUDGET_TXN, txn->counted);
    atomic_fetch_sub_explicit(&txn->db->counters.txns_open, 1, memory_order_relaxed);
    vv_free(txn);
}

void vv_txn_abort(vv_txn *txn)
{
    if (txn != NULL)
        txn_end(txn);
}

/* ---- tables ---- */

vv_status txn_use(vv_txn *txn, vv_table *table, vv_error *err)
{
    assert(table->db == txn->db);
    vv_status st = db_check_table(table, err);
    if (st != VV_OK)
        return st;
    if (txn->opt.read_only)
        return VV_OK;
    if (table->partition_count > 1)
        return vv_fail(err, VV_UNSUPPORTED,
                       "table '%s' lies on %u shards, and a transaction that writes is atomic "
                       "within one: use single keys of it, or a read-only transaction",
                       table->cat->name, table->partition_count);
    if (txn->shard == NULL) {
        txn->shard = table->shard;
        uint64_t others = txn->pinned & ~(UINT64_C(1) << table->shard->id);
        txn->pinned = others;
        unpin_all(txn);
        txn->pinned = UINT64_C(1) << table->shard->id;
    }
    if (txn->shard != table->shard)
        return vv_fail(err, VV_UNSUPPORTED,
                       "%s '%s' lies on shard %u, the transaction on shard %u: a transaction is "
                       "atomic within a shard",
                       table->cat->partition_count > 1 ? "the key of table" : "table",
                       table->cat->name, table->shard->id, txn->shard->id);
    return db_batch_bind(&txn->batch, table, err);
}

static vv_slice full_key(const vv_table *table, vv_slice key, uint8_t out[ENGINE_KEY_MAX])
{
    vv_put_be32(out, table->cat->id);
    if (key.len > 0)
        memcpy(out + ENGINE_TABLE_PREFIX, key.data, key.len);
    return vv_slice_of(out, ENGINE_TABLE_PREFIX + key.len);
}

/* ---- reads ---- */

vv_status txn_note_read(vv_txn *txn, vv_slice key, vv_error *err)
{
    txn_node *node = NULL;
    if (!txn_checks_reads(txn))
        return VV_OK;
    vv_status st = txn_buffer_add_node(txn, key, &node, err);
    if (st == VV_OK)
        node->was_read = true;
    return st;
}

static vv_status answer_own(const vv_txn *txn, const txn_op *op, vv_value *out)
{
    bool is_live = op->kind == ENGINE_PUT && (op->expires_ns == 0 || op->expires_ns > txn->time_ns);
    if (!is_live)
        return VV_NOT_FOUND;
    *out = (vv_value){.data = op->value, .expires_ns = op->expires_ns};
    return VV_OK;
}

static vv_status get_beneath(vv_txn *txn, const vv_table *table, vv_slice key, vv_value *out,
                             vv_error *err)
{
    engine_value found = {0};
    const db_shard *shard = table->shard;
    engine_read read = {.version = txn->version[shard->id], .now_ns = txn->time_ns};
    if (VV_BUG(56))
        read.version = txn->db->ops->visible(shard->eng);
    vv_status st = txn_note_read(txn, key, err);
    if (st == VV_OK)
        st = txn->db->ops->get(shard->eng, key, &read, &found, err);
    if (st == VV_OK)
        db_hand_out(&found, out);
    return st;
}

vv_status vv_txn_get(vv_txn *txn, vv_table *table, vv_slice key, vv_value *out, vv_error *err)
{
    static const vv_error absent = {.status = VV_NOT_FOUND, .msg = "the key is not in the table"};
    uint8_t bytes[ENGINE_KEY_MAX];
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = db_check_key(key, VV_KEY_MAX, err);
    if (st == VV_OK)
        st = txn_use(txn, table, err);
    if (st != VV_OK)
        return st;
    key = full_key(table, key, bytes);
    const txn_node *own = txn_buffer_find(&txn->buffer, key);
    if (own != NULL && own->newest != NULL)
        st = answer_own(txn, own->newest, out);
    else if (txn_buffer_covers(&txn->buffer, key))
        st = VV_NOT_FOUND;
    else
        st = get_beneath(txn, table, key, out, err);
    if (st == VV_NOT_FOUND && err != NULL)
        *err = absent;
    return st;
}

/* ---- writes ---- */

static vv_status check_writable(const vv_txn *txn, vv_error *err)
{
    if (!txn->opt.read_only)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "the transaction is read-only");
}

vv_status vv_txn_put(vv_txn *txn, vv_table *table, vv_slice key, vv_slice value, int64_t expires_ns,
                     vv_error *err)
{
    uint8_t bytes[ENGINE_KEY_MAX];
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = check_writable(txn, err);
    if (st == VV_OK)
        st = db_check_put(table, key, value, expires_ns, err);
    if (st == VV_OK)
        st = txn_use(txn, table, err);
    if (st != VV_OK)
        return st;
    return txn_buffer_write(txn, ENGINE_PUT, full_key(table, key, bytes), value, expires_ns, err);
}

vv_status vv_txn_delete(vv_txn *txn, vv_table *table, vv_slice key, vv_error *err)
{
    uint8_t bytes[ENGINE_KEY_MAX];
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = check_writable(txn, err);
    if (st == VV_OK)
        st = db_check_key(key, VV_KEY_MAX, err);
    if (st == VV_OK)
        st = db_check_no_series(table, err);
    if (st == VV_OK)
        st = txn_use(txn, table, err);
    if (st != VV_OK)
        return st;
    return txn_buffer_write(txn, ENGINE_DELETE, full_key(table, key, bytes), vv_slice_of(NULL, 0),
                            0, err);
}

vv_status vv_txn_delete_range(vv_txn *txn, vv_table *table, vv_slice begin, vv_slice end,
                              vv_error *err)
{
    db_bounds b;
    vv_cursor_options range = VV_CURSOR_OPTIONS_INIT;
    range.lower = begin;
    range.upper = end;
    vv_status st = check_writable(txn, err);
    if (st == VV_OK)
        st = db_bounds_make(table, &range, &b, err);
    if (st == VV_OK)
        st = db_check_no_series(table, err);
    if (st == VV_OK)
        st = txn_use(txn, table, err);
    if (st != VV_OK || (end.len > 0 && vv_slice_cmp(begin, end) >= 0))
        return st; /* an empty range: nothing to delete */
    return txn_buffer_wipe(txn, vv_slice_of(b.lower, b.lower_len),
                           vv_slice_of(b.upper, b.upper_len), err);
}

/* ---- savepoints ---- */

vv_status vv_txn_savepoint(vv_txn *txn, uint64_t *out, vv_error *err)
{
    vv_status st = txn_grow(txn, (void **)&txn->savepoints, &txn->savepoint_cap,
                            txn->savepoint_count, sizeof *txn->savepoints, err);
    if (st != VV_OK)
        return st;
    txn->savepoints[txn->savepoint_count++] =
        (txn_savepoint){.id = txn->next_savepoint, .seq = txn->buffer.seq};
    *out = txn->next_savepoint++;
    return VV_OK;
}

static vv_status find_savepoint(const vv_txn *txn, uint64_t id, size_t *out, vv_error *err)
{
    for (size_t i = txn->savepoint_count; i-- > 0;) {
        *out = i;
        if (txn->savepoints[i].id == id)
            return VV_OK;
    }
    return vv_fail(err, VV_NOT_FOUND, "the transaction has no savepoint %llu",
                   (unsigned long long)id);
}

vv_status vv_txn_rollback_to(vv_txn *txn, uint64_t savepoint, vv_error *err)
{
    size_t i = 0;
    vv_status st = find_savepoint(txn, savepoint, &i, err);
    if (st != VV_OK)
        return st;
    txn_buffer_rollback(txn, txn->savepoints[i].seq);
    txn->savepoint_count = i + 1;
    return VV_OK;
}

vv_status vv_txn_release(vv_txn *txn, uint64_t savepoint, vv_error *err)
{
    size_t i = 0;
    vv_status st = find_savepoint(txn, savepoint, &i, err);
    if (st == VV_OK)
        txn->savepoint_count = i;
    return st;
}

/* ---- figures ---- */

int64_t vv_txn_version(const vv_txn *txn, const vv_table *table)
{
    return txn->version[table->shard->id];
}

uint64_t vv_txn_memory(const vv_txn *txn)
{
    return txn->arena.used;
}

uint64_t vv_txn_count(const vv_txn *txn)
{
    return txn->buffer.live_count + txn->buffer.wipe_count;
}
