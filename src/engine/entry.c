/*
 * entry.c - write and read the payload of a log entry.
 *
 * One value has one encoding: lengths are minimal varints, the operation count is always five
 * bytes, and flags stand only where they mean something. So what decodes encodes back to the same
 * bytes, and two replicas that hold equal operations hold equal payloads.
 *
 * Why the count has a fixed width: the writer learns it last and patches it in place.
 */
#include "engine/entry.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "engine/operand.h"

#define FORMAT 1u
#define COUNT_LEN 5u
#define HEAD_LEN (1u + COUNT_LEN)
#define OP_LEN_MIN (1u + 1u + 1u + ENGINE_TABLE_PREFIX)
#define FLAG_EXPIRES 1u /* an i64 follows the lengths */
#define EXPIRES_LEN 8u

size_t engine_entry_begin(vv_buf *buf)
{
    size_t begin = buf->len;
    uint8_t *p = vv_buf_reserve(buf, HEAD_LEN);
    if (p != NULL) {
        memset(p, 0, HEAD_LEN);
        p[0] = FORMAT;
        vv_buf_advance(buf, HEAD_LEN);
    }
    return begin;
}

/* Lengths, flags and expiry; the key and the value follow. NULL when the buffer has latched. */
static uint8_t *put_op_head(vv_buf *buf, engine_kind kind, size_t key_len, size_t value_len,
                            int64_t expires_ns)
{
    bool expires = (kind == ENGINE_PUT || kind == ENGINE_MERGE) && expires_ns != 0;
    size_t len = 1 + vv_varint_len(key_len) + vv_varint_len(value_len) +
                 (expires ? EXPIRES_LEN : 0) + key_len + value_len;
    uint8_t *p = vv_buf_reserve(buf, len);
    if (p == NULL)
        return NULL;
    vv_buf_advance(buf, len);
    *p++ = (uint8_t)((unsigned)kind | (expires ? FLAG_EXPIRES << 4 : 0));
    p += vv_varint_put(p, key_len);
    p += vv_varint_put(p, value_len);
    if (expires) {
        vv_put_le64(p, (uint64_t)expires_ns);
        p += EXPIRES_LEN;
    }
    return p;
}

static uint8_t *put_bytes(uint8_t *p, vv_slice s)
{
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    return p + s.len;
}

void engine_entry_add(vv_buf *buf, const engine_op *op)
{
    assert(op->kind != ENGINE_DELETE || op->value.len == 0);
    uint8_t *p = put_op_head(buf, op->kind, op->key.len, op->value.len, op->expires_ns);
    if (p != NULL)
        (void)put_bytes(put_bytes(p, op->key), op->value);
}

uint8_t *engine_entry_add_place(vv_buf *buf, engine_kind kind, uint32_t table_id, vv_slice user_key,
                                size_t value_len, int64_t expires_ns)
{
    assert(kind != ENGINE_DELETE || value_len == 0);
    uint8_t *p = put_op_head(buf, kind, ENGINE_TABLE_PREFIX + user_key.len, value_len, expires_ns);
    if (p == NULL)
        return NULL;
    vv_put_be32(p, table_id);
    return put_bytes(p + ENGINE_TABLE_PREFIX, user_key);
}

void engine_entry_add_key(vv_buf *buf, engine_kind kind, uint32_t table_id, vv_slice user_key,
                          vv_slice value, int64_t expires_ns)
{
    uint8_t *p = engine_entry_add_place(buf, kind, table_id, user_key, value.len, expires_ns);
    if (p != NULL)
        (void)put_bytes(p, value);
}

void engine_entry_finish(vv_buf *buf, size_t begin, uint32_t op_count)
{
    if (buf->status != VV_OK)
        return;
    assert(begin + HEAD_LEN <= buf->len && buf->data[begin] == FORMAT);
    uint8_t *p = buf->data + begin + 1;
    for (unsigned i = 0; i + 1 < COUNT_LEN; i++)
        p[i] = (uint8_t)(op_count >> (7 * i) | 0x80);
    p[COUNT_LEN - 1] = (uint8_t)(op_count >> (7 * (COUNT_LEN - 1)));
}

vv_status engine_entry_open(vv_slice payload, engine_entry_iter *it, vv_error *err)
{
    if (payload.len < HEAD_LEN)
        return vv_fail(err, VV_CORRUPT, "entry: %zu bytes are no head", payload.len);
    if (payload.data[0] != FORMAT)
        return vv_fail(err, VV_CORRUPT, "entry: format %u is unknown", payload.data[0]);
    const uint8_t *p = payload.data + 1;
    for (unsigned i = 0; i + 1 < COUNT_LEN; i++)
        if (p[i] < 0x80)
            return vv_fail(err, VV_CORRUPT, "entry: the operation count is not five bytes wide");
    uint64_t count;
    if (vv_varint_get(p, p + COUNT_LEN, &count) == NULL || count > UINT32_MAX ||
        count > (payload.len - HEAD_LEN) / OP_LEN_MIN)
        return vv_fail(err, VV_CORRUPT, "entry: the operation count does not fit %zu bytes",
                       payload.len);
    it->next = payload.data + HEAD_LEN;
    it->end = payload.data + payload.len;
    it->left = (uint32_t)count;
    return VV_OK;
}

/* A varint in its shortest form, or NULL. */
static const uint8_t *get_length(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    const uint8_t *next = vv_varint_get(p, end, out);
    return next != NULL && (size_t)(next - p) == vv_varint_len(*out) ? next : NULL;
}

static vv_status check_lengths(unsigned kind, uint64_t key_len, uint64_t value_len, vv_error *err)
{
    if (key_len < ENGINE_TABLE_PREFIX || key_len > ENGINE_KEY_MAX)
        return vv_fail(err, VV_CORRUPT, "entry: key of %" PRIu64 " bytes", key_len);
    uint64_t max = kind == ENGINE_PUT      ? ENGINE_VALUE_MAX
                   : kind == ENGINE_MERGE  ? ENGINE_STEPS_MAX
                   : kind == ENGINE_DELETE ? 0
                                           : ENGINE_KEY_MAX + 1; /* key + NUL ends at key itself */
    if (value_len > max)
        return vv_fail(err, VV_CORRUPT, "entry: value of %" PRIu64 " bytes for operation kind %u",
                       value_len, kind);
    return VV_OK;
}

vv_status engine_entry_next(engine_entry_iter *it, engine_op *op, vv_error *err)
{
    const uint8_t *p = it->next;
    if (it->left == 0) {
        if (p != it->end)
            return vv_fail(err, VV_CORRUPT, "entry: %zu bytes behind the last operation",
                           (size_t)(it->end - p));
        return VV_NOT_FOUND;
    }
    if (p == it->end)
        return vv_fail(err, VV_CORRUPT, "entry: ends with %u operations missing", it->left);
    unsigned kind = *p & 0x0f;
    unsigned flags = *p++ >> 4;
    if (kind > ENGINE_RANGE_DELETE)
        return vv_fail(err, VV_CORRUPT, "entry: operation kind %u is unknown", kind);
    if (flags > (kind == ENGINE_PUT || kind == ENGINE_MERGE ? FLAG_EXPIRES : 0))
        return vv_fail(err, VV_CORRUPT, "entry: flags %#x of operation kind %u are unknown", flags,
                       kind);
    uint64_t key_len = 0;
    uint64_t value_len = 0;
    p = get_length(p, it->end, &key_len);
    if (p != NULL)
        p = get_length(p, it->end, &value_len);
    if (p == NULL)
        return vv_fail(err, VV_CORRUPT, "entry: a length is cut off or not in its shortest form");
    vv_status st = check_lengths(kind, key_len, value_len, err);
    if (st != VV_OK)
        return st;
    size_t expires_len = flags == 0 ? 0 : EXPIRES_LEN;
    if (key_len + value_len + expires_len > (size_t)(it->end - p))
        return vv_fail(err, VV_CORRUPT, "entry: an operation reaches past the end");
    int64_t expires_ns = expires_len == 0 ? 0 : (int64_t)vv_get_le64(p);
    if (expires_len != 0 && expires_ns == 0)
        return vv_fail(err, VV_CORRUPT, "entry: an expiry of 0 is written");
    p += expires_len;
    *op = (engine_op){
        .kind = (engine_kind)kind,
        .key = vv_slice_of(p, key_len),
        .value = vv_slice_of(p + key_len, value_len),
        .expires_ns = expires_ns,
    };
    if (kind == ENGINE_MERGE && !engine_steps_are_valid(op->value))
        return vv_fail(err, VV_CORRUPT, "entry: the steps of a merge are malformed");
    it->next = p + key_len + value_len;
    it->left--;
    return VV_OK;
}
