/*
 * arch_parquet.c - a batch as a Parquet file: messages to columns.
 *
 * Fixed columns, then one for each attribute, by name and type, as they appear. A row group is
 * written when it has 8 MiB or 65,536 rows, so that is what waits in memory. An attribute that
 * appears later gets its column then: what the groups before it lack is written as pages of nulls
 * at the end (arch_parquet_file.c), since chunks may lie anywhere in a file.
 *
 * Messages come with as many names as they like: the first 256 get columns, the others, and texts
 * that are not UTF-8, are JSON in the column "other_attributes".
 *
 * Layout: parquet-format 2.9, github.com/apache/parquet-format; PLAIN values, RLE levels, version 1
 * pages.
 */
#include "archive/arch_parquet_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json_text.h"
#include "base/utf8.h"
#include "base/util.h"

#define SLOTS ARRAY_LEN(((arch_parquet *)NULL)->slot)

static const struct {
    const char *name;
    pq_kind kind;
    bool is_optional;
} fixed[PQ_FIXED] = {
    [PQ_OFFSET] = {"offset", PQ_I64, false},
    [PQ_RECEIVE_TIME] = {"receive_time", PQ_TIME, false},
    [PQ_EVENT_TIME] = {"event_time", PQ_TIME, true},
    [PQ_KEY] = {"key", PQ_BYTES, true},
    [PQ_VALUE] = {"value", PQ_BYTES, false},
    [PQ_CONTENT_TYPE] = {"content_type", PQ_STRING, true},
    [PQ_SOURCE] = {"source", PQ_STRING, true},
    [PQ_OTHERS] = {"other_attributes", PQ_STRING, true},
};

/* ---- opening and closing ---- */

static pq_column *make_column(arch_parquet *p, pq_kind kind, bool is_optional)
{
    assert(p->column_count < PQ_COLUMNS_MAX);
    pq_column *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->kind = kind;
    c->is_optional = is_optional;
    vv_buf_init(&c->values, PQ_PAGE_MAX);
    vv_buf_init(&c->levels, PQ_PAGE_MAX);
    p->column[p->column_count++] = c;
    return c;
}

void arch_parquet_close(arch_parquet *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->column_count; i++) {
        vv_buf_fini(&p->column[i]->values);
        vv_buf_fini(&p->column[i]->levels);
        vv_free(p->column[i]->chunk);
        vv_free(p->column[i]);
    }
    arch_pack_destroy(p->pack);
    vv_buf_fini(&p->page);
    vv_buf_fini(&p->packed);
    vv_buf_fini(&p->head);
    vv_buf_fini(&p->others);
    vv_free(p->group);
    vv_free(p);
}

static vv_status prepare(arch_parquet *p, int level, vv_error *err)
{
    vv_status st = arch_pack_create(level < 0 ? VV_TIER_PLAIN : VV_TIER_ZSTD, level < 0 ? 0 : level,
                                    &p->pack, err);
    for (unsigned i = 0; i < PQ_FIXED && st == VV_OK; i++) {
        pq_column *c = make_column(p, fixed[i].kind, fixed[i].is_optional);
        if (c == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for columns");
        c->name_len = (uint16_t)strlen(fixed[i].name);
        memcpy(c->name, fixed[i].name, c->name_len);
    }
    return st == VV_OK ? pq_put(p, vv_slice_str("PAR1"), err) : st;
}

vv_status arch_parquet_open(const arch_identity *who, int level, arch_sink sink, arch_parquet **out,
                            vv_error *err)
{
    assert(out != NULL);
    if (level < -1)
        return vv_fail(err, VV_INVALID, "level %d of zstd: 1 and up, -1: uncompressed", level);
    arch_parquet *p = vv_calloc(1, sizeof *p);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a Parquet file");
    p->sink = sink;
    p->who = *who;
    vv_buf_init(&p->page, PQ_PAGE_MAX);
    vv_buf_init(&p->packed, PQ_PAGE_MAX);
    vv_buf_init(&p->head, 4 * ARCH_INDEX_MAX);
    vv_buf_init(&p->others, PQ_PAGE_MAX / 2);
    vv_status st = prepare(p, level, err);
    if (st != VV_OK) {
        arch_parquet_close(p);
        return st;
    }
    *out = p;
    return VV_OK;
}

/* ---- columns of attributes ---- */

static pq_kind kind_of(vv_attribute_type type)
{
    switch (type) {
    case VV_ATTRIBUTE_STRING:
        return PQ_STRING;
    case VV_ATTRIBUTE_BYTES:
        return PQ_BYTES;
    case VV_ATTRIBUTE_I64:
        return PQ_I64;
    case VV_ATTRIBUTE_F64:
        return PQ_F64;
    case VV_ATTRIBUTE_BOOL:
        return PQ_BOOL;
    case VV_ATTRIBUTE_TIME:
        return PQ_TIME;
    }
    return PQ_BYTES;
}

static bool is_taken(const arch_parquet *p, const pq_column *c)
{
    for (uint32_t i = 0; i < p->column_count; i++)
        if (p->column[i] != c &&
            vv_slice_eq(vv_slice_of(p->column[i]->name, p->column[i]->name_len),
                        vv_slice_of(c->name, c->name_len)))
            return true;
    return false;
}

/* Its attribute's name; where a column has that one already, with the type behind, then a number.
 */
static void name_column(const arch_parquet *p, pq_column *c)
{
    static const char *const kinds[] = {"bool", "int64", "double", "time", "string", "bytes"};
    c->name_len = c->attribute_len;
    memcpy(c->name, c->attribute, c->attribute_len);
    for (unsigned n = 1; is_taken(p, c); n++) {
        size_t room = sizeof c->name - c->attribute_len;
        char *end = c->name + c->attribute_len;
        int more = n == 1 ? snprintf(end, room, "_%s", kinds[c->kind])
                          : snprintf(end, room, "_%s_%u", kinds[c->kind], n);
        c->name_len = (uint16_t)(c->attribute_len + (size_t)more);
    }
}

/* The column of an attribute, made where there is room: *out is NULL where there is none. */
static vv_status find_column(arch_parquet *p, const vv_attribute *a, pq_column **out, vv_error *err)
{
    pq_kind kind = kind_of(a->type);
    uint64_t hash = vv_hash64_seed(a->name.data, a->name.len, (uint64_t)kind);
    size_t slot = hash % SLOTS;
    *out = NULL;
    for (; p->slot[slot] != 0; slot = (slot + 1) % SLOTS) {
        pq_column *c = p->column[p->slot[slot]];
        if (c->kind == kind && vv_slice_eq(vv_slice_of(c->attribute, c->attribute_len), a->name)) {
            *out = c;
            return VV_OK;
        }
    }
    if (p->column_count == PQ_COLUMNS_MAX || !utf8_is_valid(a->name))
        return VV_OK;
    pq_column *c = make_column(p, kind, true);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a column");
    p->slot[slot] = (uint16_t)(p->column_count - 1);
    c->attribute_len = (uint8_t)a->name.len;
    memcpy(c->attribute, a->name.data, a->name.len);
    name_column(p, c);
    *out = c;
    return VV_OK;
}

/* ---- values ---- */

static void end_run(pq_column *c)
{
    if (c->run == 0)
        return;
    vv_buf_append_varint(&c->levels, (uint64_t)c->run << 1);
    vv_buf_append_u8(&c->levels, c->run_level);
    c->run = 0;
}

static void put_level(pq_column *c, bool has_value, uint32_t rows)
{
    if (rows == 0)
        return;
    if (c->run_level != has_value)
        end_run(c);
    c->run_level = has_value;
    c->run += rows;
    c->rows += rows;
    c->nulls += has_value ? 0 : rows;
}

void pq_pad(pq_column *c, uint32_t rows)
{
    put_level(c, false, rows - c->rows);
    end_run(c);
}

/* Rows before the one that is being added lack what has not come yet. */
static void begin_value(arch_parquet *p, pq_column *c)
{
    put_level(c, false, p->group_rows - c->rows);
    put_level(c, true, 1);
}

static void put_i64(arch_parquet *p, pq_column *c, int64_t v)
{
    bool is_first = c->values.len == 0;
    begin_value(p, c);
    vv_buf_append_le64(&c->values, (uint64_t)v);
    if (is_first || v < c->min)
        c->min = v;
    if (is_first || v > c->max)
        c->max = v;
}

static void put_bytes(arch_parquet *p, pq_column *c, vv_slice v)
{
    begin_value(p, c);
    vv_buf_append_le32(&c->values, (uint32_t)v.len);
    vv_buf_append_slice(&c->values, v);
}

/* Readers refuse a file over one malformed text: what is no UTF-8 becomes U+FFFD. */
static void put_text(arch_parquet *p, pq_column *c, vv_slice v)
{
    if (v.len == 0)
        return;
    if (utf8_is_valid(v)) {
        put_bytes(p, c, v);
        return;
    }
    vv_buf_reset(&p->others);
    for (size_t i = 0; i < v.len;) {
        size_t n = utf8_length(v.data + i, v.data + v.len);
        if (n == 0)
            vv_buf_append_str(&p->others, "\xef\xbf\xbd");
        else
            vv_buf_append(&p->others, v.data + i, n);
        i += n == 0 ? 1 : n;
    }
    put_bytes(p, c, vv_buf_slice(&p->others));
}

static void put_bool(arch_parquet *p, pq_column *c, bool v)
{
    begin_value(p, c);
    if (c->bits % 8 == 0)
        vv_buf_append_u8(&c->values, 0);
    if (v && c->values.status == VV_OK)
        c->values.data[c->values.len - 1] |= (uint8_t)(1u << c->bits % 8);
    c->bits = (c->bits + 1) % 8;
}

static void put_attribute(arch_parquet *p, pq_column *c, const vv_attribute *a)
{
    uint64_t bits;
    switch (a->type) {
    case VV_ATTRIBUTE_STRING:
    case VV_ATTRIBUTE_BYTES:
        put_bytes(p, c, a->bytes);
        break;
    case VV_ATTRIBUTE_I64:
    case VV_ATTRIBUTE_TIME:
        put_i64(p, c, a->i64);
        break;
    case VV_ATTRIBUTE_F64:
        memcpy(&bits, &a->f64, 8);
        begin_value(p, c);
        vv_buf_append_le64(&c->values, bits);
        break;
    case VV_ATTRIBUTE_BOOL:
        put_bool(p, c, a->i64 != 0);
        break;
    }
}

static vv_status put_attributes(arch_parquet *p, const vv_message *m, vv_error *err)
{
    bool has_others = false;
    vv_buf_reset(&p->others);
    for (size_t i = 0; i < m->attribute_count; i++) {
        const vv_attribute *a = &m->attributes[i];
        pq_column *c = NULL;
        if (a->type != VV_ATTRIBUTE_STRING || utf8_is_valid(a->bytes)) {
            vv_status st = find_column(p, a, &c, err);
            if (st != VV_OK)
                return st;
        }
        if (c != NULL) {
            put_attribute(p, c, a);
            continue;
        }
        vv_buf_append_u8(&p->others, has_others ? ',' : '{');
        json_put_string(&p->others, a->name);
        vv_buf_append_u8(&p->others, ':');
        arch_json_attribute(&p->others, a);
        has_others = true;
    }
    if (!has_others)
        return VV_OK;
    vv_buf_append_u8(&p->others, '}');
    if (p->others.status != VV_OK)
        return vv_fail(err, p->others.status, "no memory for the attributes of message %" PRIu64,
                       m->offset);
    put_bytes(p, p->column[PQ_OTHERS], vv_buf_slice(&p->others));
    p->group_bytes += p->others.len;
    return VV_OK;
}

vv_status arch_parquet_add(arch_parquet *p, const vv_message *m, vv_error *err)
{
    assert(p != NULL && m != NULL);
    size_t size = stream_message_size(m) + 64 + 8 * m->attribute_count;
    if (p->group_rows == PQ_GROUP_ROWS ||
        (p->group_rows > 0 && p->group_bytes + size > PQ_GROUP_BYTES)) {
        vv_status st = pq_group_write(p, err);
        if (st != VV_OK)
            return st;
    }
    if (p->rows == 0 && p->group_rows == 0)
        p->first = m->offset;
    put_text(p, p->column[PQ_CONTENT_TYPE], m->content_type);
    put_text(p, p->column[PQ_SOURCE], m->source);
    put_i64(p, p->column[PQ_OFFSET], (int64_t)m->offset);
    put_i64(p, p->column[PQ_RECEIVE_TIME], m->receive_time_ns);
    if (m->event_time_ns != 0)
        put_i64(p, p->column[PQ_EVENT_TIME], m->event_time_ns);
    if (m->key.len > 0)
        put_bytes(p, p->column[PQ_KEY], m->key);
    put_bytes(p, p->column[PQ_VALUE], m->value);
    vv_status st = put_attributes(p, m, err);
    if (st != VV_OK)
        return st;
    p->group_rows++;
    p->group_bytes += size;
    return VV_OK;
}

uint64_t arch_parquet_memory(const arch_parquet *p)
{
    uint64_t bytes = p->page.cap + p->packed.cap + p->head.cap + p->others.cap;
    for (uint32_t i = 0; i < p->column_count; i++) {
        const pq_column *c = p->column[i];
        bytes += sizeof *c + c->values.cap + c->levels.cap + c->chunk_cap * sizeof *c->chunk;
    }
    return bytes;
}

vv_status arch_parquet_finish(arch_parquet *p, vv_error *err)
{
    assert(p != NULL);
    vv_status st = p->group_rows > 0 ? pq_group_write(p, err) : VV_OK;
    return st == VV_OK ? pq_footer_write(p, err) : st;
}
