/*
 * db_batch.c - a batch: the payload of a log entry being written, and what must hold for it.
 *
 * The payload is encoded as operations are added, on the caller's thread, and gets its checksum
 * before any lock is taken: the commit path only copies it. A batch of the one-operation calls
 * starts in a buffer of the caller's stack and moves to the heap when it does not fit.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "db/db_int.h"
#include "engine/operand.h"

#define COND_BYTES_MAX VV_BATCH_MAX

void db_batch_init(vv_batch *batch, vv_db *db, uint8_t *scratch, size_t scratch_len)
{
    *batch = (vv_batch){.db = db, .tables = batch->few, .table_cap = DB_BATCH_TABLES};
    vv_buf_init(&batch->payload, VV_BATCH_MAX);
    if (scratch != NULL) { /* its maximum is its size, so that the buffer never reallocates it */
        batch->payload.data = scratch;
        batch->payload.cap = scratch_len;
        batch->payload.max = scratch_len;
    }
    vv_buf_init(&batch->scratch, ENGINE_STEPS_MAX);
    vv_arena_init(&batch->cond_bytes, COND_BYTES_MAX);
}

static bool is_in_scratch(const vv_batch *batch)
{
    return batch->payload.max != VV_BATCH_MAX;
}

static void drop_tables(vv_batch *batch)
{
    for (uint32_t i = 0; i < batch->table_count; i++)
        cat_table_unref(batch->tables[i]);
    batch->table_count = 0;
}

void db_batch_fini(vv_batch *batch)
{
    drop_tables(batch);
    if (batch->tables != batch->few)
        vv_free(batch->tables);
    if (!is_in_scratch(batch))
        vv_buf_fini(&batch->payload);
    vv_buf_fini(&batch->scratch);
    vv_arena_fini(&batch->cond_bytes);
    vv_free(batch->conds);
}

vv_batch *vv_batch_create(vv_db *db)
{
    vv_batch *batch = vv_alloc(sizeof *batch);
    if (batch != NULL)
        db_batch_init(batch, db, NULL, 0);
    return batch;
}

void vv_batch_destroy(vv_batch *batch)
{
    if (batch == NULL)
        return;
    db_batch_fini(batch);
    vv_free(batch);
}

void vv_batch_clear(vv_batch *batch)
{
    drop_tables(batch);
    vv_buf_reset(&batch->payload);
    vv_arena_reset(&batch->cond_bytes);
    batch->op_count = 0;
    batch->cond_count = 0;
    batch->shard = NULL;
    batch->has_range_delete = false;
    batch->has_producer = false;
    batch->user_bytes = 0;
}

size_t vv_batch_count(const vv_batch *batch)
{
    return batch->op_count;
}

size_t vv_batch_bytes(const vv_batch *batch)
{
    return batch->payload.len;
}

/* From the stack to the heap. */
static vv_status leave_scratch(vv_batch *batch)
{
    vv_buf heap;
    vv_buf_init(&heap, VV_BATCH_MAX);
    if (vv_buf_reserve(&heap, batch->payload.len + 4096) == NULL)
        return heap.status;
    vv_buf_append_slice(&heap, vv_buf_slice(&batch->payload));
    batch->payload = heap;
    return VV_OK;
}

static vv_status fail_full(vv_status st, vv_error *err)
{
    if (st == VV_BUSY)
        return vv_fail(err, VV_BUSY, "the batch would pass %u bytes: write it and begin another",
                       VV_BATCH_MAX);
    return vv_fail(err, st, "no memory for the batch");
}

/* An operation is added whole or not at all: the encoder reserves all of it at once. */
static vv_status try_add(vv_batch *batch, engine_kind kind, uint32_t table_id, vv_slice key,
                         size_t value_len, int64_t expires_ns, uint8_t **value)
{
    vv_buf *b = &batch->payload;
    if (b->len == 0)
        batch->begin = engine_entry_begin(b);
    *value = engine_entry_add_place(b, kind, table_id, key, value_len, expires_ns);
    vv_status st = b->status;
    b->status = VV_OK;
    if (st != VV_OK && batch->op_count == 0)
        b->len = 0;
    return st;
}

vv_status db_batch_add_place(vv_batch *batch, engine_kind kind, uint32_t table_id, vv_slice key,
                             size_t value_len, int64_t expires_ns, uint8_t **value, vv_error *err)
{
    assert(value != NULL);
    vv_status st = try_add(batch, kind, table_id, key, value_len, expires_ns, value);
    if (st == VV_BUSY && is_in_scratch(batch)) {
        st = leave_scratch(batch);
        if (st == VV_OK)
            st = try_add(batch, kind, table_id, key, value_len, expires_ns, value);
    }
    if (st != VV_OK)
        return fail_full(st, err);
    batch->op_count++;
    batch->has_range_delete |= kind == ENGINE_RANGE_DELETE;
    return VV_OK;
}

vv_status db_batch_add(vv_batch *batch, engine_kind kind, uint32_t table_id, vv_slice key,
                       vv_slice value, int64_t expires_ns, vv_error *err)
{
    uint8_t *to = NULL;
    vv_status st = db_batch_add_place(batch, kind, table_id, key, value.len, expires_ns, &to, err);
    if (st == VV_OK && value.len > 0)
        memcpy(to, value.data, value.len);
    return st;
}

void db_batch_expect(vv_batch *batch, size_t bytes)
{
    vv_buf *b = &batch->payload;
    if (is_in_scratch(batch) && bytes <= b->cap)
        return;
    if (is_in_scratch(batch) && leave_scratch(batch) != VV_OK)
        return;
    (void)vv_buf_reserve(&batch->payload, bytes);
    batch->payload.status = VV_OK; /* what is added will tell */
}

static vv_status add_table(vv_batch *batch, cat_table *table)
{
    for (uint32_t i = batch->table_count; i-- > 0;)
        if (batch->tables[i] == table)
            return VV_OK;
    if (batch->table_count == batch->table_cap) {
        uint32_t cap = batch->table_cap * 2;
        cat_table **more = vv_alloc(cap * sizeof(cat_table *));
        if (more == NULL)
            return VV_NO_MEMORY;
        memcpy(more, batch->tables, batch->table_count * sizeof(cat_table *));
        if (batch->tables != batch->few)
            vv_free(batch->tables);
        batch->tables = more;
        batch->table_cap = cap;
    }
    cat_table_ref(table);
    batch->tables[batch->table_count++] = table;
    return VV_OK;
}

vv_status db_batch_bind(vv_batch *batch, vv_table *table, vv_error *err)
{
    assert(table->db == batch->db);
    if (batch->shard != table->shard) {
        if (batch->shard != NULL && batch->op_count + batch->cond_count > 0)
            return vv_fail(err, VV_UNSUPPORTED,
                           "%s '%s' lies on shard %u, the batch on shard %u: a batch is atomic "
                           "within a shard",
                           table->cat->partition_count > 1 ? "the key of table" : "table",
                           table->cat->name, table->shard->id, batch->shard->id);
        batch->shard = table->shard;
    }
    if (batch->table_count > 0 && batch->tables[batch->table_count - 1] == table->cat)
        return VV_OK;
    return add_table(batch, table->cat) == VV_OK ? VV_OK : fail_full(VV_NO_MEMORY, err);
}

vv_status db_check_key(vv_slice key, size_t max, vv_error *err)
{
    if (key.len == 0)
        return vv_fail(err, VV_INVALID, "the key is empty");
    if (key.len > max)
        return vv_fail(err, VV_INVALID, "the key has %zu bytes, at most %zu are allowed", key.len,
                       max);
    return VV_OK;
}

vv_status db_check_no_series(const vv_table *table, vv_error *err)
{
    if (table->cat->kind == VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID,
                       "table '%s' holds messages: write with vv_stream_append, delete with "
                       "vv_stream_trim",
                       table->cat->name);
    if (table->cat->kind != VV_TABLE_SERIES)
        return VV_OK;
    return vv_fail(err, VV_INVALID,
                   "table '%s' holds series: write with vv_series_append, delete with "
                   "vv_series_delete",
                   table->cat->name);
}

static vv_status check_kv(const vv_table *table, vv_error *err)
{
    if (table->cat->kind == VV_TABLE_KV)
        return VV_OK;
    if (table->cat->kind == VV_TABLE_SERIES || table->cat->kind == VV_TABLE_STREAM)
        return db_check_no_series(table, err);
    return vv_fail(err, VV_INVALID, "table '%s' holds records: put them with vv_batch_put_record",
                   table->cat->name);
}

vv_status db_check_put(const vv_table *table, vv_slice key, vv_slice value, int64_t expires_ns,
                       vv_error *err)
{
    vv_status st = db_check_key(key, VV_KEY_MAX, err);
    if (st == VV_OK)
        st = check_kv(table, err);
    if (st == VV_OK && value.len > VV_VALUE_MAX)
        st = vv_fail(err, VV_INVALID, "the value has %zu bytes, at most %u are allowed", value.len,
                     VV_VALUE_MAX);
    if (st == VV_OK && expires_ns < 0)
        st = vv_fail(err, VV_INVALID, "expires_ns is negative");
    return st;
}

vv_status vv_batch_put(vv_batch *batch, vv_table *table, vv_slice key, vv_slice value,
                       int64_t expires_ns, vv_error *err)
{
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = db_check_put(table, key, value, expires_ns, err);
    if (st == VV_OK)
        st = db_batch_bind(batch, table, err);
    if (st == VV_OK)
        st = db_batch_add(batch, ENGINE_PUT, table->cat->id, key, value, expires_ns, err);
    if (st == VV_OK)
        batch->user_bytes += key.len + value.len;
    return st;
}

static vv_status check_operand(vv_operator op, vv_slice operand, vv_error *err)
{
    if (op != VV_ADD && op != VV_MAX && op != VV_APPEND)
        return vv_fail(err, VV_INVALID, "operator %d is not known", (int)op);
    if (op != VV_APPEND && operand.len != 8)
        return vv_fail(err, VV_INVALID, "the operand has %zu bytes, an int64 has 8", operand.len);
    if (operand.len > VV_VALUE_MAX)
        return vv_fail(err, VV_INVALID, "the operand has %zu bytes, at most %u are allowed",
                       operand.len, VV_VALUE_MAX);
    return VV_OK;
}

vv_status vv_batch_merge(vv_batch *batch, vv_table *table, vv_slice key, vv_operator op,
                         vv_slice operand, int64_t expires_ns, vv_error *err)
{
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = db_check_key(key, VV_KEY_MAX, err);
    if (st == VV_OK)
        st = check_kv(table, err);
    if (st == VV_OK)
        st = check_operand(op, operand, err);
    if (st == VV_OK && expires_ns < 0)
        st = vv_fail(err, VV_INVALID, "expires_ns is negative");
    if (st == VV_OK)
        st = db_batch_bind(batch, table, err);
    if (st != VV_OK)
        return st;
    uint8_t head[6];
    vv_buf_reset(&batch->scratch);
    vv_buf_append(&batch->scratch, head, engine_step_head((engine_operator)op, operand.len, head));
    vv_buf_append_slice(&batch->scratch, operand);
    if (batch->scratch.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an operand of %zu bytes", operand.len);
    st = db_batch_add(batch, ENGINE_MERGE, table->cat->id, key, vv_buf_slice(&batch->scratch),
                      expires_ns, err);
    if (st == VV_OK)
        batch->user_bytes += key.len + operand.len;
    return st;
}

vv_status vv_batch_delete(vv_batch *batch, vv_table *table, vv_slice key, vv_error *err)
{
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = db_check_key(key, VV_KEY_MAX, err);
    if (st == VV_OK)
        st = db_check_no_series(table, err);
    if (st == VV_OK)
        st = db_batch_bind(batch, table, err);
    if (st == VV_OK)
        st = db_batch_add(batch, ENGINE_DELETE, table->cat->id, key, vv_slice_of(NULL, 0), 0, err);
    if (st == VV_OK)
        batch->user_bytes += key.len;
    return st;
}

vv_status vv_batch_delete_range(vv_batch *batch, vv_table *table, vv_slice begin, vv_slice end,
                                vv_error *err)
{
    if (begin.len > VV_KEY_MAX || end.len > VV_KEY_MAX)
        return vv_fail(err, VV_INVALID, "a bound has %zu bytes, at most %u are allowed",
                       begin.len > end.len ? begin.len : end.len, VV_KEY_MAX);
    if (table->partition_count > 1)
        return vv_fail(err, VV_UNSUPPORTED,
                       "table '%s' lies on %u shards, and a batch is atomic within one: "
                       "vv_delete_range takes an entry for each",
                       table->cat->name, table->partition_count);
    vv_status st = db_check_no_series(table, err);
    if (st == VV_OK)
        st = db_batch_bind(batch, table, err);
    if (st != VV_OK || (end.len > 0 && vv_slice_cmp(begin, end) >= 0))
        return st; /* an empty range: nothing to delete */
    uint8_t bound[ENGINE_KEY_MAX];
    size_t len = ENGINE_TABLE_PREFIX;
    vv_put_be32(bound, end.len == 0 ? table->cat->id + 1 : table->cat->id);
    if (end.len > 0)
        memcpy(bound + len, end.data, end.len);
    st = db_batch_add(batch, ENGINE_RANGE_DELETE, table->cat->id, begin,
                      vv_slice_of(bound, len + end.len), 0, err);
    if (st == VV_OK)
        batch->user_bytes += begin.len + end.len;
    return st;
}

vv_status db_batch_add_condition(vv_batch *batch, txn_kind kind, uint32_t table_id, vv_slice key,
                                 vv_slice value, txn_condition **out, vv_error *err)
{
    if (batch->cond_count == batch->cond_cap) {
        size_t cap = batch->cond_cap == 0 ? 4 : batch->cond_cap * 2;
        txn_condition *more = vv_realloc(batch->conds, cap * sizeof *more);
        if (more == NULL)
            return fail_full(VV_NO_MEMORY, err);
        batch->conds = more;
        batch->cond_cap = cap;
    }
    uint8_t *bytes = vv_arena_alloc(&batch->cond_bytes, ENGINE_TABLE_PREFIX + key.len + value.len);
    if (bytes == NULL)
        return fail_full(VV_NO_MEMORY, err);
    size_t key_len = ENGINE_TABLE_PREFIX + key.len;
    vv_put_be32(bytes, table_id);
    memcpy(bytes + ENGINE_TABLE_PREFIX, key.data, key.len);
    if (value.len > 0)
        memcpy(bytes + key_len, value.data, value.len);
    txn_condition *cond = &batch->conds[batch->cond_count++];
    *cond = (txn_condition){.kind = kind,
                            .key = vv_slice_of(bytes, key_len),
                            .value = vv_slice_of(bytes + key_len, value.len)};
    *out = cond;
    return VV_OK;
}

vv_status vv_batch_require(vv_batch *batch, vv_table *table, vv_slice key, int64_t version,
                           vv_error *err)
{
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = db_check_key(key, VV_KEY_MAX, err);
    if (st == VV_OK && version < 0)
        st = vv_fail(err, VV_INVALID, "the required version is negative");
    if (st == VV_OK)
        st = db_batch_bind(batch, table, err);
    if (st != VV_OK)
        return st;
    txn_condition *cond = NULL;
    st = db_batch_add_condition(batch, TXN_VERSION, table->cat->id, key, vv_slice_of(NULL, 0),
                                &cond, err);
    if (cond != NULL)
        cond->version = version;
    return st;
}

vv_status vv_batch_producer(vv_batch *batch, vv_slice producer, uint64_t sequence, vv_error *err)
{
    vv_status st = db_check_key(producer, VV_KEY_MAX, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "producer");
    if (batch->has_producer)
        return vv_fail(err, VV_INVALID, "the batch has a producer already");
    uint8_t key[1 + VV_KEY_MAX];
    uint8_t position[TXN_POSITION_SIZE];
    key[0] = CAT_SYSTEM_PRODUCER;
    memcpy(key + 1, producer.data, producer.len);
    txn_position_encode(sequence, position);
    vv_slice full = vv_slice_of(key, 1 + producer.len);
    txn_condition *cond = NULL;
    st = db_batch_add_condition(batch, TXN_PRODUCER, CAT_TABLE_SYSTEM, full, vv_slice_of(NULL, 0),
                                &cond, err);
    if (st != VV_OK || cond == NULL)
        return st;
    cond->sequence = sequence;
    st = db_batch_add(batch, ENGINE_PUT, CAT_TABLE_SYSTEM, full,
                      vv_slice_of(position, sizeof position), 0, err);
    if (st != VV_OK) {
        batch->cond_count--;
        return st;
    }
    batch->has_producer = true;
    return VV_OK;
}

void db_batch_seal(vv_batch *batch)
{
    if (batch->op_count == 0)
        return;
    engine_entry_finish(&batch->payload, batch->begin, batch->op_count);
    batch->crc = vv_crc32c(0, batch->payload.data, batch->payload.len);
}
