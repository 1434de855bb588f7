/*
 * arch_parquet_file.c - the bytes of a Parquet file: pages, row groups, footer.
 *
 *   PAR1 | page of column 0, group 0 | page of column 1, group 0 | .. | pages of nulls | footer
 *   | u32 length of the footer | PAR1
 *
 * One page a column and row group: a group is bounded by bytes, so a page is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "archive/arch_parquet_int.h"
#include "archive/arch_thrift.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"

/* parquet.thrift */
enum {
    TYPE_BOOLEAN = 0,
    TYPE_INT64 = 2,
    TYPE_DOUBLE = 5,
    TYPE_BYTE_ARRAY = 6,
    ENCODING_PLAIN = 0,
    ENCODING_RLE = 3,
    CODEC_PLAIN = 0,
    CODEC_PACKED = 6, /* zstd */
    PAGE_DATA = 0,
    REQUIRED = 0,
    OPTIONAL = 1,
    CONVERTED_UTF8 = 0,
    LOGICAL_STRING = 1,
    LOGICAL_TIMESTAMP = 8,
    UNIT_NANOS = 3,
};

static int32_t type_of(pq_kind kind)
{
    static const uint8_t types[] = {TYPE_BOOLEAN, TYPE_INT64,      TYPE_DOUBLE,
                                    TYPE_INT64,   TYPE_BYTE_ARRAY, TYPE_BYTE_ARRAY};
    return types[kind];
}

vv_status pq_put(arch_parquet *p, vv_slice bytes, vv_error *err)
{
    vv_status st = p->sink.write(p->sink.ctx, bytes.data, bytes.len, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "Parquet file: offset %" PRIu64, p->at);
    p->at += bytes.len;
    return VV_OK;
}

/* ---- pages ---- */

static vv_status note_chunk(pq_column *c, const pq_chunk *chunk, vv_error *err)
{
    if (c->chunk_count == c->chunk_cap) {
        uint32_t cap = c->chunk_cap == 0 ? 4 : c->chunk_cap * 2;
        pq_chunk *more = vv_realloc(c->chunk, cap * sizeof *more);
        if (more == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu32 " row groups", cap);
        c->chunk = more;
        c->chunk_cap = cap;
    }
    c->chunk[c->chunk_count++] = *chunk;
    return VV_OK;
}

static void put_page_head(vv_buf *out, size_t raw, size_t stored, uint32_t rows)
{
    thrift_struct s = thrift_begin(out);
    thrift_i32(&s, 1, PAGE_DATA);
    thrift_i32(&s, 2, (int32_t)raw);
    thrift_i32(&s, 3, (int32_t)stored);
    thrift_field(&s, 5, THRIFT_STRUCT);
    thrift_struct data = thrift_begin(out);
    thrift_i32(&data, 1, (int32_t)rows);
    thrift_i32(&data, 2, ENCODING_PLAIN);
    thrift_i32(&data, 3, ENCODING_RLE);
    thrift_i32(&data, 4, ENCODING_RLE);
    thrift_end(&data);
    thrift_end(&s);
}

/* The page in p->page, of chunk->rows rows. */
static vv_status write_page(arch_parquet *p, pq_column *c, pq_chunk *chunk, vv_error *err)
{
    arch_stored stored = ARCH_STORED_PLAIN;
    if (p->page.status != VV_OK)
        return vv_fail(err, p->page.status, "no memory for a page of column '%.*s'",
                       (int)c->name_len, c->name);
    vv_slice raw = vv_buf_slice(&p->page);
    vv_status st = arch_pack_block(p->pack, raw, false, &p->packed, &stored, err);
    if (st != VV_OK)
        return st;
    vv_buf_reset(&p->head);
    put_page_head(&p->head, raw.len, p->packed.len, chunk->rows);
    if (p->head.status != VV_OK)
        return vv_fail(err, p->head.status, "no memory for the head of a page");
    chunk->at = p->at;
    chunk->stored = (uint32_t)(p->head.len + p->packed.len);
    chunk->raw = (uint32_t)(p->head.len + raw.len);
    chunk->is_packed = stored != ARCH_STORED_PLAIN;
    st = pq_put(p, vv_buf_slice(&p->head), err);
    if (st == VV_OK)
        st = pq_put(p, vv_buf_slice(&p->packed), err);
    return st == VV_OK ? note_chunk(c, chunk, err) : st;
}

/* What waits in a column, as its page; the column is empty then. */
static vv_status write_column(arch_parquet *p, pq_column *c, vv_error *err)
{
    pq_chunk chunk = {.rows = p->group_rows};
    pq_pad(c, p->group_rows);
    chunk.nulls = c->nulls;
    chunk.min = c->min;
    chunk.max = c->max;
    vv_status st = c->values.status != VV_OK ? c->values.status : c->levels.status;
    if (st != VV_OK)
        return vv_fail(err, st, "no memory for column '%.*s'", (int)c->name_len, c->name);
    vv_buf_reset(&p->page);
    if (c->is_optional) {
        vv_buf_append_le32(&p->page, (uint32_t)c->levels.len);
        vv_buf_append_slice(&p->page, vv_buf_slice(&c->levels));
    }
    vv_buf_append_slice(&p->page, vv_buf_slice(&c->values));
    st = write_page(p, c, &chunk, err);
    vv_buf_reset(&c->values);
    vv_buf_reset(&c->levels);
    c->rows = 0;
    c->nulls = 0;
    c->bits = 0;
    return st;
}

/* A chunk of nulls in a group that was written before the column was there. */
static vv_status write_nulls(arch_parquet *p, pq_column *c, uint32_t rows, vv_error *err)
{
    pq_chunk chunk = {.rows = rows, .nulls = rows};
    pq_column none = {.is_optional = true};
    vv_buf_init(&none.levels, 64);
    pq_pad(&none, rows);
    vv_buf_reset(&p->page);
    vv_buf_append_le32(&p->page, (uint32_t)none.levels.len);
    vv_buf_append_slice(&p->page, vv_buf_slice(&none.levels));
    vv_status st = none.levels.status;
    vv_buf_fini(&none.levels);
    if (st != VV_OK)
        return vv_fail(err, st, "no memory for a page of nulls");
    return write_page(p, c, &chunk, err);
}

/* A column has chunks of the first groups, of all, or, when it came late, of none of the first. So
 * that chunk i is that of group i, those are noted here in front. */
static vv_status fill_column(arch_parquet *p, pq_column *c, uint32_t groups, vv_error *err)
{
    uint32_t late = c->chunk_count;
    assert(late <= groups);
    for (uint32_t g = 0; g < groups - late; g++) {
        vv_status st = write_nulls(p, c, p->group[g], err);
        if (st != VV_OK)
            return st;
    }
    if (late == 0 || late == groups)
        return VV_OK;
    pq_chunk *turned = vv_alloc(groups * sizeof *turned); /* the late ones stand in front */
    if (turned == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu32 " row groups", groups);
    memcpy(turned, c->chunk + late, (groups - late) * sizeof *turned);
    memcpy(turned + (groups - late), c->chunk, late * sizeof *turned);
    vv_free(c->chunk);
    c->chunk = turned;
    c->chunk_cap = groups;
    return VV_OK;
}

static vv_status note_group(arch_parquet *p, vv_error *err)
{
    if (p->group_count == p->group_cap) {
        uint32_t cap = p->group_cap == 0 ? 16 : p->group_cap * 2;
        uint32_t *more = vv_realloc(p->group, cap * sizeof *more);
        if (more == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu32 " row groups", cap);
        p->group = more;
        p->group_cap = cap;
    }
    p->group[p->group_count++] = p->group_rows;
    return VV_OK;
}

/* What a message of many MiB took is not kept for those of some hundred bytes. */
static void give_back(vv_buf *b)
{
    if (b->cap > 2 * PQ_GROUP_BYTES)
        vv_buf_fini(b);
}

vv_status pq_group_write(arch_parquet *p, vv_error *err)
{
    vv_status st = note_group(p, err);
    for (uint32_t i = 0; i < p->column_count && st == VV_OK; i++)
        st = write_column(p, p->column[i], err);
    for (uint32_t i = 0; i < p->column_count && st == VV_OK; i++)
        give_back(&p->column[i]->values);
    give_back(&p->page);
    give_back(&p->packed);
    p->rows += p->group_rows;
    p->group_rows = 0;
    p->group_bytes = 0;
    return st;
}

/* ---- footer ---- */

static void put_empty(vv_buf *out)
{
    thrift_struct s = thrift_begin(out);
    thrift_end(&s);
}

/* LogicalType, a union: the struct has the one field that is set. */
static void put_logical(vv_buf *out, pq_kind kind)
{
    thrift_struct type = thrift_begin(out);
    if (kind == PQ_STRING) {
        thrift_field(&type, LOGICAL_STRING, THRIFT_STRUCT);
        put_empty(out);
    } else {
        thrift_field(&type, LOGICAL_TIMESTAMP, THRIFT_STRUCT);
        thrift_struct time = thrift_begin(out);
        thrift_bool(&time, 1, true); /* in UTC */
        thrift_field(&time, 2, THRIFT_STRUCT);
        thrift_struct unit = thrift_begin(out);
        thrift_field(&unit, UNIT_NANOS, THRIFT_STRUCT);
        put_empty(out);
        thrift_end(&unit);
        thrift_end(&time);
    }
    thrift_end(&type);
}

static void put_schema(vv_buf *out, const arch_parquet *p)
{
    thrift_struct root = thrift_begin(out);
    thrift_binary(&root, 4, vv_slice_str("message"));
    thrift_i32(&root, 5, (int32_t)p->column_count);
    thrift_end(&root);
    for (uint32_t i = 0; i < p->column_count; i++) {
        const pq_column *c = p->column[i];
        thrift_struct s = thrift_begin(out);
        thrift_i32(&s, 1, type_of(c->kind));
        thrift_i32(&s, 3, c->is_optional ? OPTIONAL : REQUIRED);
        thrift_binary(&s, 4, vv_slice_of(c->name, c->name_len));
        if (c->kind == PQ_STRING)
            thrift_i32(&s, 6, CONVERTED_UTF8);
        if (c->kind == PQ_STRING || c->kind == PQ_TIME) {
            thrift_field(&s, 10, THRIFT_STRUCT);
            put_logical(out, c->kind);
        }
        thrift_end(&s);
    }
}

static void put_statistics(thrift_struct *meta, const pq_column *c, const pq_chunk *k)
{
    uint8_t min[8];
    uint8_t max[8];
    thrift_field(meta, 12, THRIFT_STRUCT);
    thrift_struct s = thrift_begin(meta->out);
    thrift_i64(&s, 3, k->nulls);
    if ((c->kind == PQ_I64 || c->kind == PQ_TIME) && k->nulls < k->rows) {
        vv_put_le64(min, (uint64_t)k->min);
        vv_put_le64(max, (uint64_t)k->max);
        thrift_binary(&s, 5, vv_slice_of(max, 8));
        thrift_binary(&s, 6, vv_slice_of(min, 8));
    }
    thrift_end(&s);
}

static void put_chunk(vv_buf *out, const pq_column *c, const pq_chunk *k)
{
    thrift_struct s = thrift_begin(out);
    thrift_i64(&s, 2, (int64_t)k->at);
    thrift_field(&s, 3, THRIFT_STRUCT);
    thrift_struct meta = thrift_begin(out);
    thrift_i32(&meta, 1, type_of(c->kind));
    thrift_list(&meta, 2, THRIFT_I32, 2);
    vv_buf_append_varint(out, thrift_zigzag(ENCODING_PLAIN));
    vv_buf_append_varint(out, thrift_zigzag(ENCODING_RLE));
    thrift_list(&meta, 3, THRIFT_BINARY, 1);
    thrift_put_binary(out, vv_slice_of(c->name, c->name_len));
    thrift_i32(&meta, 4, k->is_packed ? CODEC_PACKED : CODEC_PLAIN);
    thrift_i64(&meta, 5, k->rows);
    thrift_i64(&meta, 6, k->raw);
    thrift_i64(&meta, 7, k->stored);
    thrift_i64(&meta, 9, (int64_t)k->at);
    put_statistics(&meta, c, k);
    thrift_end(&meta);
    thrift_end(&s);
}

static void put_group(vv_buf *out, const arch_parquet *p, uint32_t g)
{
    uint64_t raw = 0;
    thrift_struct s = thrift_begin(out);
    thrift_list(&s, 1, THRIFT_STRUCT, p->column_count);
    for (uint32_t i = 0; i < p->column_count; i++) {
        put_chunk(out, p->column[i], &p->column[i]->chunk[g]);
        raw += p->column[i]->chunk[g].raw;
    }
    thrift_i64(&s, 2, (int64_t)raw);
    thrift_i64(&s, 3, p->group[g]);
    thrift_end(&s);
}

static void put_pair(vv_buf *out, const char *key, const char *value)
{
    thrift_struct s = thrift_begin(out);
    thrift_binary(&s, 1, vv_slice_str(key));
    thrift_binary(&s, 2, vv_slice_str(value));
    thrift_end(&s);
}

/* Whose messages these are, for whoever finds the file alone. */
static void put_identity(thrift_struct *file, const arch_parquet *p)
{
    char partition[16];
    char partitions[16];
    char first[24];
    (void)snprintf(partition, sizeof partition, "%" PRIu32, p->who.partition);
    (void)snprintf(partitions, sizeof partitions, "%" PRIu32, p->who.partition_count);
    (void)snprintf(first, sizeof first, "%" PRIu64, p->first);
    thrift_list(file, 5, THRIFT_STRUCT, 5);
    put_pair(file->out, "varve.tenant", p->who.tenant);
    put_pair(file->out, "varve.table", p->who.table);
    put_pair(file->out, "varve.partition", partition);
    put_pair(file->out, "varve.partitions", partitions);
    put_pair(file->out, "varve.first_offset", first);
    thrift_binary(file, 6, vv_slice_str("varve"));
}

static void put_footer(vv_buf *out, const arch_parquet *p)
{
    thrift_struct file = thrift_begin(out);
    thrift_i32(&file, 1, 1);
    thrift_list(&file, 2, THRIFT_STRUCT, p->column_count + 1);
    put_schema(out, p);
    thrift_i64(&file, 3, (int64_t)p->rows);
    thrift_list(&file, 4, THRIFT_STRUCT, p->group_count);
    for (uint32_t g = 0; g < p->group_count; g++)
        put_group(out, p, g);
    put_identity(&file, p);
    thrift_list(&file, 7, THRIFT_STRUCT, p->column_count); /* orders of columns: as their type */
    for (uint32_t i = 0; i < p->column_count; i++) {
        thrift_struct order = thrift_begin(out);
        thrift_field(&order, 1, THRIFT_STRUCT);
        put_empty(out);
        thrift_end(&order);
    }
    thrift_end(&file);
}

vv_status pq_footer_write(arch_parquet *p, vv_error *err)
{
    for (uint32_t i = 0; i < p->column_count; i++) {
        vv_status st = fill_column(p, p->column[i], p->group_count, err);
        if (st != VV_OK)
            return st;
    }
    vv_buf_reset(&p->head);
    put_footer(&p->head, p);
    size_t len = p->head.len;
    vv_buf_append_le32(&p->head, (uint32_t)len);
    vv_buf_append_str(&p->head, "PAR1");
    if (p->head.status != VV_OK)
        return vv_fail(err, p->head.status, "no memory for the footer of a Parquet file");
    return pq_put(p, vv_buf_slice(&p->head), err);
}
