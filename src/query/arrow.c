/*
 * arrow.c - the Arrow IPC stream, its FlatBuffers metadata written front to back.
 *
 *     message   0xffffffff | i32 metadata length | metadata, padded to 8 | body
 *     table     vtable: u16 its bytes, u16 the table's, u16 where each field lies (0: absent)
 *               table: i32 back to its vtable | fields; what a field refers to lies behind it
 *     body      of each column: a bitmap of what is there (left out when all is), then its values;
 *               texts have n + 1 i32 offsets first. Each buffer is padded to 8.
 *
 * A reference is patched when its target is written, which the format allows as long as targets lie
 * behind: so nothing is built backwards, as the FlatBuffers library does.
 */
#include "query/arrow.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/util.h"

#define CONTINUATION 0xffffffffu
#define METADATA_V5 4
#define HEADER_SCHEMA 1
#define HEADER_BATCH 3
#define TYPE_INT 2
#define TYPE_FLOAT 3
#define TYPE_UTF8 5
#define TYPE_BOOL 6
#define TYPE_TIMESTAMP 10
#define PRECISION_DOUBLE 2
#define UNIT_NANOSECOND 3
#define BUFFERS_MAX 3u /* of a column */
#define FIELDS_MAX 7u  /* of a table used here */

/* Where the metadata of the message under way begins: FlatBuffers align to it. */
typedef struct metadata {
    vv_buf *out;
    size_t base;
} metadata;

static void pad_to(vv_buf *out, size_t base, size_t align)
{
    static const uint8_t zeros[8];
    size_t over = (out->len - base) % align;
    if (over != 0)
        vv_buf_append(out, zeros, align - over);
}

static void set16(const metadata *m, size_t at, uint16_t v)
{
    if (m->out->status == VV_OK)
        vv_put_le16(m->out->data + at, v);
}

static void set32(vv_buf *out, size_t at, uint32_t v)
{
    if (out->status == VV_OK)
        vv_put_le32(out->data + at, v);
}

static void set64(const metadata *m, size_t at, uint64_t v)
{
    if (m->out->status == VV_OK)
        vv_put_le64(m->out->data + at, v);
}

static void set8(const metadata *m, size_t at, uint8_t v)
{
    if (m->out->status == VV_OK)
        m->out->data[at] = v;
}

static void append_zeros(vv_buf *out, size_t len)
{
    uint8_t *p = vv_buf_reserve(out, len);
    if (p == NULL)
        return;
    memset(p, 0, len);
    vv_buf_advance(out, len);
}

/* A table whose i-th field has size[i] bytes (0: absent); at[i]: where it lies. The table's place.
 */
static size_t begin_table(const metadata *m, const uint8_t *size, uint32_t count,
                          size_t at[FIELDS_MAX])
{
    vv_buf *out = m->out;
    assert(count <= FIELDS_MAX);
    pad_to(out, m->base, 8);
    size_t vtable = out->len;
    append_zeros(out, 4 + 2 * (size_t)count);
    pad_to(out, m->base, 8);
    size_t table = out->len;
    size_t end = 4;
    for (uint32_t i = 0; i < count; i++) {
        at[i] = 0;
        if (size[i] == 0)
            continue;
        end = (end + size[i] - 1) / size[i] * size[i];
        at[i] = table + end;
        set16(m, vtable + 4 + 2 * (size_t)i, (uint16_t)end);
        end += size[i];
    }
    append_zeros(out, end);
    set16(m, vtable, (uint16_t)(4 + 2 * count));
    set16(m, vtable + 2, (uint16_t)end);
    set32(out, table, (uint32_t)(table - vtable));
    return table;
}

/* The field at `at` refers to what is written next. */
static void refer(const metadata *m, size_t at, size_t target)
{
    set32(m->out, at, (uint32_t)(target - at));
}

static void append_string(const metadata *m, size_t at, const char *text)
{
    size_t len = strlen(text);
    pad_to(m->out, m->base, 4);
    refer(m, at, m->out->len);
    vv_buf_append_le32(m->out, (uint32_t)len);
    vv_buf_append(m->out, text, len + 1);
}

/* A vector of count elements of size bytes, zeroed: where the first lies. */
static size_t append_vector(const metadata *m, size_t at, uint32_t count, size_t size)
{
    vv_buf *out = m->out;
    pad_to(out, m->base, 4);
    if (size == 16 && (out->len - m->base) % 8 == 0)
        append_zeros(out, 4); /* structs of int64 are aligned to 8, behind the count */
    refer(m, at, out->len);
    vv_buf_append_le32(out, count);
    size_t first = out->len;
    append_zeros(out, count * size);
    return first;
}

/* ---- messages ---- */

/* Begin a message with a header of this kind; *header: the reference to fill, *body: its length. */
static metadata begin_message(vv_buf *out, uint8_t kind, size_t *header, size_t *body)
{
    vv_buf_append_le32(out, CONTINUATION);
    vv_buf_append_le32(out, 0); /* the length: end_metadata */
    metadata m = {.out = out, .base = out->len};
    append_zeros(out, 4);                       /* the root */
    static const uint8_t size[] = {2, 1, 4, 8}; /* version, header type, header, body length */
    size_t at[FIELDS_MAX];
    size_t table = begin_table(&m, size, ARRAY_LEN(size), at);
    refer(&m, m.base, table);
    set16(&m, at[0], METADATA_V5);
    set8(&m, at[1], kind);
    *header = at[2];
    *body = at[3];
    return m;
}

static void end_metadata(const metadata *m)
{
    pad_to(m->out, m->base, 8);
    set32(m->out, m->base - 4, (uint32_t)(m->out->len - m->base));
}

static uint8_t type_number(arrow_type type)
{
    switch (type) {
    case ARROW_TIMESTAMP:
        return TYPE_TIMESTAMP;
    case ARROW_F64:
        return TYPE_FLOAT;
    case ARROW_I64:
    case ARROW_U32:
        return TYPE_INT;
    case ARROW_BOOL:
        return TYPE_BOOL;
    case ARROW_UTF8:
        break;
    }
    return TYPE_UTF8;
}

static void append_type(const metadata *m, size_t reference, arrow_type type)
{
    size_t at[FIELDS_MAX];
    static const uint8_t of_int[] = {4, 1};       /* bits, is signed */
    static const uint8_t of_float[] = {2};        /* precision */
    static const uint8_t of_timestamp[] = {2, 4}; /* unit, time zone */
    switch (type) {
    case ARROW_I64:
    case ARROW_U32:
        refer(m, reference, begin_table(m, of_int, ARRAY_LEN(of_int), at));
        set32(m->out, at[0], type == ARROW_I64 ? 64 : 32);
        set8(m, at[1], type == ARROW_I64);
        return;
    case ARROW_F64:
        refer(m, reference, begin_table(m, of_float, ARRAY_LEN(of_float), at));
        set16(m, at[0], PRECISION_DOUBLE);
        return;
    case ARROW_TIMESTAMP:
        refer(m, reference, begin_table(m, of_timestamp, ARRAY_LEN(of_timestamp), at));
        set16(m, at[0], UNIT_NANOSECOND);
        append_string(m, at[1], "UTC");
        return;
    case ARROW_BOOL:
    case ARROW_UTF8:
        break;
    }
    refer(m, reference, begin_table(m, NULL, 0, at));
}

static void append_field(const metadata *m, size_t reference, const arrow_field *field)
{
    /* name, nullable, type's number, type, dictionary, children */
    static const uint8_t size[] = {4, 1, 1, 4, 0, 4};
    size_t at[FIELDS_MAX];
    refer(m, reference, begin_table(m, size, ARRAY_LEN(size), at));
    set8(m, at[1], 1);
    set8(m, at[2], type_number(field->type));
    append_string(m, at[0], field->name);
    append_type(m, at[3], field->type);
    (void)append_vector(m, at[5], 0, 4);
}

void arrow_append_schema(vv_buf *out, const arrow_field *fields, uint32_t count)
{
    size_t header;
    size_t body;
    metadata m = begin_message(out, HEADER_SCHEMA, &header, &body);
    static const uint8_t size[] = {2, 4}; /* endianness, fields */
    size_t at[FIELDS_MAX];
    refer(&m, header, begin_table(&m, size, ARRAY_LEN(size), at));
    size_t first = append_vector(&m, at[1], count, 4);
    for (uint32_t i = 0; i < count; i++)
        append_field(&m, first + 4 * (size_t)i, &fields[i]);
    end_metadata(&m);
}

/* ---- bodies ---- */

static uint32_t count_nulls(const arrow_column *column, uint32_t rows)
{
    uint32_t nulls = 0;
    for (uint32_t i = 0; column->is_null != NULL && i < rows; i++)
        nulls += column->is_null[i] != 0;
    return nulls;
}

/* A bit for each row, the lowest first: set where value is 0 or 1 as wanted. */
static void append_bits(vv_buf *out, const uint8_t *value, uint8_t wanted, uint32_t rows)
{
    size_t len = ((size_t)rows + 7) / 8;
    uint8_t *p = vv_buf_reserve(out, len);
    if (p == NULL)
        return;
    memset(p, 0, len);
    for (uint32_t i = 0; i < rows; i++)
        p[i / 8] |= (uint8_t)(((value[i] != 0) == (wanted != 0)) << (i % 8));
    vv_buf_advance(out, len);
}

static void append_fixed(vv_buf *out, const arrow_column *column, uint32_t rows, size_t size)
{
    vv_buf_append(out, column->values, rows * size); /* little-endian, as this machine is */
}

static void append_offsets(vv_buf *out, const arrow_column *column, uint32_t rows)
{
    const vv_slice *text = column->values;
    uint32_t end = 0;
    vv_buf_append_le32(out, end);
    for (uint32_t i = 0; i < rows; i++) {
        if (column->is_null == NULL || !column->is_null[i])
            end += (uint32_t)text[i].len;
        vv_buf_append_le32(out, end);
    }
}

static void append_texts(vv_buf *out, const arrow_column *column, uint32_t rows)
{
    const vv_slice *text = column->values;
    for (uint32_t i = 0; i < rows; i++)
        if (column->is_null == NULL || !column->is_null[i])
            vv_buf_append_slice(out, text[i]);
}

/* One buffer of a column, the n-th. */
static void append_buffer(vv_buf *out, arrow_type type, const arrow_column *column, uint32_t n,
                          uint32_t rows)
{
    if (n == 0) {
        if (count_nulls(column, rows) > 0)
            append_bits(out, column->is_null, 0, rows);
        return;
    }
    switch (type) {
    case ARROW_TIMESTAMP:
    case ARROW_F64:
    case ARROW_I64:
        append_fixed(out, column, rows, 8);
        return;
    case ARROW_U32:
        append_fixed(out, column, rows, 4);
        return;
    case ARROW_BOOL:
        append_bits(out, column->values, 1, rows);
        return;
    case ARROW_UTF8:
        break;
    }
    if (n == 1)
        append_offsets(out, column, rows);
    else
        append_texts(out, column, rows);
}

static uint32_t buffers_of(arrow_type type)
{
    return type == ARROW_UTF8 ? BUFFERS_MAX : 2;
}

void arrow_append_batch(vv_buf *out, const arrow_field *fields, const arrow_column *columns,
                        uint32_t count, uint32_t rows)
{
    size_t header;
    size_t body_length;
    metadata m = begin_message(out, HEADER_BATCH, &header, &body_length);
    static const uint8_t size[] = {8, 4, 4}; /* rows, nodes, buffers */
    size_t at[FIELDS_MAX];
    refer(&m, header, begin_table(&m, size, ARRAY_LEN(size), at));
    set64(&m, at[0], rows);
    size_t node = append_vector(&m, at[1], count, 16);
    uint32_t buffer_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        set64(&m, node + 16 * (size_t)i, rows);
        set64(&m, node + 16 * (size_t)i + 8, count_nulls(&columns[i], rows));
        buffer_count += buffers_of(fields[i].type);
    }
    size_t buffer = append_vector(&m, at[2], buffer_count, 16);
    end_metadata(&m);
    size_t body = out->len;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t n = 0; n < buffers_of(fields[i].type); n++, buffer += 16) {
            size_t start = out->len;
            append_buffer(out, fields[i].type, &columns[i], n, rows);
            set64(&m, buffer, start - body);
            set64(&m, buffer + 8, out->len - start);
            pad_to(out, body, 8);
        }
    set64(&m, body_length, out->len - body);
}

void arrow_append_end(vv_buf *out)
{
    vv_buf_append_le32(out, CONTINUATION);
    vv_buf_append_le32(out, 0);
}
