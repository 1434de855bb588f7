/*
 * db_record.c - typed records: their bytes, and the time index beside them.
 *
 * The index of a record table is a hidden table of its own id. Its key is the timestamp, eight
 * bytes big-endian with the sign flipped so that byte order is time order, then the record's key;
 * the value is empty. A put writes both in one entry. What an overwrite or a delete leaves behind
 * in the index is told by looking at the record: see db_time_cursor.c.
 */
#include <string.h>

#include "base/error.h"
#include "base/varint.h"
#include "db/db_int.h"

#define RECORD_FORMAT 1u

/* A record's key and a timestamp make an index key. */
static_assert(ENGINE_TABLE_PREFIX + DB_INDEX_TIME_SIZE + VV_KEY_MAX <= ENGINE_KEY_MAX,
              "an index key fits");

void db_time_encode(int64_t timestamp_ns, uint8_t out[DB_INDEX_TIME_SIZE])
{
    vv_put_be64(out, (uint64_t)timestamp_ns ^ (UINT64_C(1) << 63));
}

int64_t db_time_decode(const uint8_t *bytes)
{
    return (int64_t)(vv_get_be64(bytes) ^ (UINT64_C(1) << 63));
}

bool vv_record_metadata_add(uint8_t *out, size_t cap, size_t *len, vv_slice key, vv_slice value)
{
    assert(*len <= cap);
    size_t need = vv_varint_len(key.len) + key.len + vv_varint_len(value.len) + value.len;
    if (key.len > cap || value.len > cap || need > cap - *len)
        return false;
    uint8_t *p = out + *len;
    p += vv_varint_put(p, key.len);
    if (key.len > 0)
        memcpy(p, key.data, key.len);
    p += key.len;
    p += vv_varint_put(p, value.len);
    if (value.len > 0)
        memcpy(p, value.data, value.len);
    *len += need;
    return true;
}

static bool take_bytes(vv_slice *rest, vv_slice *out)
{
    uint64_t len = 0;
    if (rest->len == 0) /* perhaps NULL, to which nothing may be added */
        return false;
    const uint8_t *end = rest->data + rest->len;
    const uint8_t *p = vv_varint_get(rest->data, end, &len);
    if (p == NULL || len > (size_t)(end - p))
        return false;
    *out = vv_slice_of(p, (size_t)len);
    *rest = vv_slice_of(p + len, (size_t)(end - p) - (size_t)len);
    return true;
}

bool vv_record_metadata_next(vv_slice *rest, vv_slice *key, vv_slice *value)
{
    vv_slice at = *rest;
    if (!take_bytes(&at, key) || !take_bytes(&at, value))
        return false;
    *rest = at;
    return true;
}

static vv_status check_metadata(const vv_record *record, vv_error *err)
{
    vv_slice rest = record->metadata;
    vv_slice key;
    vv_slice value;
    uint32_t count = 0;
    while (vv_record_metadata_next(&rest, &key, &value))
        count++;
    if (rest.len != 0 || count != record->metadata_count)
        return vv_fail(err, VV_INVALID, "the metadata is not %u encoded pairs",
                       record->metadata_count);
    return VV_OK;
}

void db_record_encode(vv_buf *out, const vv_record *record)
{
    vv_buf_append_u8(out, RECORD_FORMAT);
    vv_buf_append_u8(out, record->body_format);
    vv_buf_append_varint(out, record->schema_id);
    vv_buf_append_varint(out, record->schema_version);
    vv_buf_append_le64(out, (uint64_t)record->timestamp_ns);
    vv_buf_append_varint(out, record->metadata_count);
    vv_buf_append_slice(out, record->metadata);
    vv_buf_append_slice(out, record->body);
}

static vv_status encode(vv_batch *batch, const vv_record *record, vv_error *err)
{
    vv_buf *b = &batch->scratch;
    vv_buf_reset(b);
    db_record_encode(b, record);
    if (b->status == VV_BUSY)
        return vv_fail(err, VV_INVALID, "the record has over %u bytes", VV_VALUE_MAX);
    if (b->status != VV_OK)
        return vv_fail(err, b->status, "no memory for the record");
    return VV_OK;
}

static vv_status add_both(vv_batch *batch, vv_table *table, vv_slice key, const vv_record *record,
                          vv_error *err)
{
    size_t len = batch->payload.len;
    uint8_t index_key[DB_INDEX_TIME_SIZE + VV_KEY_MAX];
    db_time_encode(record->timestamp_ns, index_key);
    memcpy(index_key + DB_INDEX_TIME_SIZE, key.data, key.len);
    vv_status st =
        db_batch_add(batch, ENGINE_PUT, table->cat->id, key, vv_buf_slice(&batch->scratch), 0, err);
    if (st != VV_OK)
        return st;
    st = db_batch_add(batch, ENGINE_PUT, table->cat->index_id,
                      vv_slice_of(index_key, DB_INDEX_TIME_SIZE + key.len), vv_slice_of(NULL, 0), 0,
                      err);
    if (st != VV_OK) { /* both or neither */
        batch->payload.len = len;
        batch->op_count--;
    }
    return st;
}

vv_status vv_batch_put_record(vv_batch *batch, vv_table *table, vv_slice key,
                              const vv_record *record, vv_error *err)
{
    if (table->cat->kind != VV_TABLE_RECORD)
        return vv_fail(err, VV_INVALID, "table '%s' is not of kind record", table->cat->name);
    vv_table part;
    table = db_part_of(table, key, &part);
    vv_status st = db_check_key(key, VV_KEY_MAX, err);
    if (st == VV_OK)
        st = check_metadata(record, err);
    if (st == VV_OK)
        st = encode(batch, record, err);
    if (st == VV_OK)
        st = db_batch_bind(batch, table, err);
    if (st == VV_OK)
        st = add_both(batch, table, key, record, err);
    if (st == VV_OK)
        batch->user_bytes += key.len + batch->scratch.len;
    return st;
}

static const uint8_t *get_u32(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    uint64_t v = 0;
    const uint8_t *next = p == NULL ? NULL : vv_varint_get(p, end, &v);
    if (next == NULL || v > UINT32_MAX || (size_t)(next - p) != vv_varint_len(v))
        return NULL;
    *out = (uint32_t)v;
    return next;
}

vv_status vv_record_parse(vv_slice stored, vv_record *out, vv_error *err)
{
    if (stored.len < 2)
        return vv_fail(err, VV_CORRUPT, "record of %zu bytes: too short", stored.len);
    const uint8_t *p = stored.data;
    const uint8_t *end = p + stored.len;
    if (p[0] > RECORD_FORMAT)
        return vv_fail(err, VV_UNSUPPORTED, "record format %u: a newer varve wrote it", p[0]);
    vv_record r = {.body_format = p[1]};
    bool is_format = p[0] == RECORD_FORMAT;
    p = get_u32(p + 2, end, &r.schema_id);
    p = get_u32(p, end, &r.schema_version);
    if (p != NULL && end - p >= 8) {
        r.timestamp_ns = (int64_t)vv_get_le64(p);
        p = get_u32(p + 8, end, &r.metadata_count);
    } else {
        p = NULL;
    }
    if (p == NULL || !is_format)
        return vv_fail(err, VV_CORRUPT, "record of %zu bytes has a malformed head", stored.len);
    vv_slice rest = vv_slice_of(p, (size_t)(end - p));
    vv_slice key;
    vv_slice value;
    for (uint32_t i = 0; i < r.metadata_count; i++)
        if (!vv_record_metadata_next(&rest, &key, &value))
            return vv_fail(err, VV_CORRUPT, "record of %zu bytes ends in its metadata", stored.len);
    r.metadata = vv_slice_of(p, (size_t)(rest.data - p));
    r.body = rest;
    *out = r;
    return VV_OK;
}
