/*
 * arch_column.c - of each attribute, by name and type, the lowest and the highest value in each
 * block: so that whoever looks for a value leaves blocks out without fetching them.
 *
 *   u32 blocks covered | u8 every attribute has a column | u8 0 | u16 columns
 *   column: u8 type | u8, name | varint length of what follows | ranges of the blocks that have it
 *   range:  varint blocks left out before it | varint messages | u8 flags | lowest | highest
 *
 * Bounded: messages come from anywhere, with as many names as they like. The first 128 names get a
 * column, all of them together 4 MiB, a text 24 bytes of each end; what lies beyond is not skipped.
 */
#include "archive/arch_int.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/point.h"
#include "base/util.h"
#include "base/varint.h"

#define SECTION_HEAD 8u
#define SLOTS 512u /* of the table of names: a power of two, four times the columns */
#define RANGE_MAX (2 * VV_VARINT_MAX + 1 + 2 * (1 + ARCH_BOUND_MAX))

enum {
    FLAG_CUT = 1,       /* the highest value begins with the bytes that are kept */
    FLAG_UNBOUNDED = 2, /* there is a NaN: no bounds */
    FLAGS_ALL = 3,
};

/* An end of a range. */
typedef struct bound {
    uint8_t text[ARCH_BOUND_MAX];
    uint8_t len;
    int64_t i64;
    double f64;
} bound;

typedef struct column {
    vv_attribute_type type;
    uint8_t name_len;
    uint8_t name[VV_STREAM_ATTRIBUTE_NAME_MAX];
    vv_buf ranges;
    uint32_t next; /* block behind the last one with a range */
    /* of the block that is being written */
    uint32_t count; /* 0: not in it yet */
    unsigned flags;
    bound low;
    bound high;
} column;

struct arch_columns {
    column *column[ARCH_COLUMNS_MAX];
    uint32_t count;
    uint16_t slot[SLOTS];                   /* a column's number and 1; 0: free */
    uint8_t hint[VV_STREAM_ATTRIBUTES_MAX]; /* the column of the attribute at this place before */
    uint8_t touched[ARCH_COLUMNS_MAX];
    uint32_t touched_count;
    size_t bytes; /* of the section, but its head */
    uint32_t blocks;
    uint32_t complete; /* blocks covered, once it is full */
    bool is_full;
    bool is_all;
    vv_status status; /* VV_NO_MEMORY latches */
};

static_assert(ARCH_COLUMNS_MAX <= 256, "numbers of columns fit a byte");

static bool has_text(vv_attribute_type type)
{
    return type == VV_ATTRIBUTE_STRING || type == VV_ATTRIBUTE_BYTES;
}

vv_status arch_columns_create(arch_columns **out, vv_error *err)
{
    assert(out != NULL);
    arch_columns *c = vv_calloc(1, sizeof *c);
    if (c == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the ranges of attributes");
    c->is_all = true;
    *out = c;
    return VV_OK;
}

void arch_columns_destroy(arch_columns *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->count; i++) {
        vv_buf_fini(&c->column[i]->ranges);
        vv_free(c->column[i]);
    }
    vv_free(c);
}

/* ---- writing ---- */

/* NULL: there are too many already, or no memory. */
static column *make_column(arch_columns *c, const vv_attribute *a, uint32_t slot)
{
    if (c->count == ARCH_COLUMNS_MAX) {
        c->is_all = false;
        return NULL;
    }
    column *col = vv_calloc(1, sizeof *col);
    if (col == NULL) {
        c->status = VV_NO_MEMORY;
        return NULL;
    }
    col->type = a->type;
    col->name_len = (uint8_t)a->name.len;
    memcpy(col->name, a->name.data, a->name.len);
    vv_buf_init(&col->ranges, ARCH_COLUMN_BYTES_MAX);
    c->column[c->count++] = col;
    c->slot[slot] = (uint16_t)c->count;
    c->bytes += 2 + a->name.len + 1; /* the length of no ranges takes a byte */
    return col;
}

static bool is_of(const column *col, const vv_attribute *a)
{
    return col->type == a->type && vv_slice_eq(vv_slice_of(col->name, col->name_len), a->name);
}

/* Messages of a table mostly have the same attributes in the same order: *hint is where the one at
 * this place was found last. */
static column *find_column(arch_columns *c, const vv_attribute *a, uint8_t *hint)
{
    if (*hint < c->count && is_of(c->column[*hint], a))
        return c->column[*hint];
    uint64_t hash = vv_hash64_seed(a->name.data, a->name.len, (uint64_t)a->type);
    for (uint32_t slot = (uint32_t)hash % SLOTS;; slot = (slot + 1) % SLOTS) {
        if (c->slot[slot] == 0)
            return make_column(c, a, slot);
        if (is_of(c->column[c->slot[slot] - 1], a)) {
            *hint = (uint8_t)(c->slot[slot] - 1);
            return c->column[*hint];
        }
    }
}

/* Of a bool, only whether it is 0 is stored. */
static int64_t number_of(const vv_attribute *a)
{
    return a->type == VV_ATTRIBUTE_BOOL ? a->i64 != 0 : a->i64;
}

static void set_bound(bound *b, const vv_attribute *a)
{
    b->i64 = number_of(a);
    b->f64 = a->f64;
    b->len = (uint8_t)vv_min_u64(a->bytes.len, ARCH_BOUND_MAX);
    if (has_text(a->type) && b->len > 0)
        memcpy(b->text, a->bytes.data, b->len);
}

/* The part of a value that a range keeps, against an end of it. */
static int compare(const vv_attribute *a, const bound *b)
{
    if (has_text(a->type))
        return vv_slice_cmp(vv_slice_of(a->bytes.data, vv_min_u64(a->bytes.len, ARCH_BOUND_MAX)),
                            vv_slice_of(b->text, b->len));
    if (a->type == VV_ATTRIBUTE_F64)
        return (a->f64 > b->f64) - (a->f64 < b->f64);
    int64_t number = number_of(a);
    return (number > b->i64) - (number < b->i64);
}

static bool is_nan(const vv_attribute *a)
{
    return a->type == VV_ATTRIBUTE_F64 && a->f64 != a->f64;
}

static void widen(column *col, const vv_attribute *a)
{
    bool is_cut = has_text(a->type) && a->bytes.len > ARCH_BOUND_MAX;
    bool is_first = col->count++ == 0;
    if (is_nan(a)) {
        col->flags |= FLAG_UNBOUNDED;
        return;
    }
    if (is_first || (compare(a, &col->low) < 0 && !VV_BUG(121)))
        set_bound(&col->low, a);
    int c = is_first ? 1 : compare(a, &col->high);
    if (c > 0) {
        set_bound(&col->high, a);
        col->flags &= ~(unsigned)FLAG_CUT;
    }
    if (c >= 0 && is_cut)
        col->flags |= FLAG_CUT;
}

void arch_columns_add(arch_columns *c, const vv_message *m)
{
    if (c->is_full || c->status != VV_OK)
        return;
    for (size_t i = 0; i < m->attribute_count; i++) {
        column *col = find_column(c, &m->attributes[i], &c->hint[i % VV_STREAM_ATTRIBUTES_MAX]);
        if (col == NULL)
            continue;
        if (col->count == 0) {
            for (uint32_t k = 0; k < c->count; k++)
                if (c->column[k] == col)
                    c->touched[c->touched_count++] = (uint8_t)k;
            col->flags = 0;
        }
        widen(col, &m->attributes[i]);
    }
}

static void put_bound(vv_buf *out, vv_attribute_type type, const bound *b)
{
    uint64_t bits;
    switch (type) {
    case VV_ATTRIBUTE_STRING:
    case VV_ATTRIBUTE_BYTES:
        vv_buf_append_u8(out, b->len);
        vv_buf_append(out, b->text, b->len);
        break;
    case VV_ATTRIBUTE_BOOL:
        vv_buf_append_u8(out, (uint8_t)b->i64);
        break;
    case VV_ATTRIBUTE_F64:
        memcpy(&bits, &b->f64, 8);
        vv_buf_append_le64(out, bits);
        break;
    case VV_ATTRIBUTE_I64:
    case VV_ATTRIBUTE_TIME:
        vv_buf_append_le64(out, (uint64_t)b->i64);
        break;
    }
}

static void put_range(arch_columns *c, column *col, uint32_t block)
{
    vv_buf *out = &col->ranges;
    size_t before = out->len;
    size_t head = vv_varint_len(before);
    vv_buf_append_varint(out, block - col->next);
    vv_buf_append_varint(out, col->count);
    vv_buf_append_u8(out, (uint8_t)col->flags);
    if ((col->flags & FLAG_UNBOUNDED) == 0) {
        put_bound(out, col->type, &col->low);
        put_bound(out, col->type, &col->high);
    }
    if (out->status != VV_OK)
        c->status = VV_NO_MEMORY;
    c->bytes += out->len - before + vv_varint_len(out->len) - head;
    col->next = block + 1;
    col->count = 0;
}

vv_status arch_columns_block(arch_columns *c, uint32_t block, vv_error *err)
{
    assert(c != NULL && block == c->blocks);
    c->blocks++;
    if (!c->is_full && c->bytes + (size_t)c->touched_count * RANGE_MAX > ARCH_COLUMN_BYTES_MAX) {
        c->is_full = true;
        c->complete = block;
    }
    for (uint32_t i = 0; i < c->touched_count && !c->is_full; i++)
        put_range(c, c->column[c->touched[i]], block);
    c->touched_count = 0;
    if (c->status != VV_OK)
        return vv_fail(err, c->status, "no memory for the ranges of attributes");
    return VV_OK;
}

size_t arch_columns_size(const arch_columns *c)
{
    return SECTION_HEAD + c->bytes;
}

void arch_columns_encode(const arch_columns *c, vv_buf *out)
{
    uint8_t head[SECTION_HEAD] = {0};
    VV_UNUSED size_t before = out->len;
    vv_put_le32(head, c->is_full ? c->complete : c->blocks);
    head[4] = c->is_all;
    vv_put_le16(head + 6, (uint16_t)c->count);
    vv_buf_append(out, head, sizeof head);
    for (uint32_t i = 0; i < c->count; i++) {
        const column *col = c->column[i];
        vv_buf_append_u8(out, (uint8_t)col->type);
        vv_buf_append_u8(out, col->name_len);
        vv_buf_append(out, col->name, col->name_len);
        vv_buf_append_varint(out, col->ranges.len);
        vv_buf_append_slice(out, vv_buf_slice(&col->ranges));
    }
    assert(out->status != VV_OK || out->len - before == arch_columns_size(c));
}

/* ---- reading: each takes NULL for what failed before ---- */

typedef struct range {
    uint64_t gap;
    uint64_t count;
    unsigned flags;
    vv_attribute low;
    vv_attribute high;
} range;

static const uint8_t *get_bound(const uint8_t *p, const uint8_t *end, vv_attribute_type type,
                                vv_attribute *out)
{
    *out = (vv_attribute){.type = type};
    size_t left = p == NULL ? 0 : (size_t)(end - p);
    if (has_text(type)) {
        if (left < 1 || *p > ARCH_BOUND_MAX || *p > left - 1)
            return NULL;
        out->bytes = vv_slice_of(p + 1, *p);
        return p + 1 + *p;
    }
    if (type == VV_ATTRIBUTE_BOOL) {
        if (left < 1 || *p > 1)
            return NULL;
        out->i64 = *p;
        return p + 1;
    }
    if (left < 8)
        return NULL;
    out->i64 = (int64_t)vv_get_le64(p);
    if (type == VV_ATTRIBUTE_F64) {
        memcpy(&out->f64, p, 8);
        out->i64 = 0;
        if (is_nan(out))
            return NULL;
    }
    return p + 8;
}

/* low against high, of one type. */
static int compare_values(const vv_attribute *a, const vv_attribute *b)
{
    if (has_text(a->type))
        return vv_slice_cmp(a->bytes, b->bytes);
    if (a->type == VV_ATTRIBUTE_F64)
        return (a->f64 > b->f64) - (a->f64 < b->f64);
    return (a->i64 > b->i64) - (a->i64 < b->i64);
}

static const uint8_t *get_range(const uint8_t *p, const uint8_t *end, vv_attribute_type type,
                                range *out)
{
    p = vv_varint_get_short(p, end, &out->gap);
    p = vv_varint_get_short(p, end, &out->count);
    if (p == NULL || p == end || out->count == 0 || (*p & ~FLAGS_ALL) != 0)
        return NULL;
    out->flags = *p++;
    if ((out->flags & FLAG_UNBOUNDED) != 0)
        return type == VV_ATTRIBUTE_F64 && out->flags == FLAG_UNBOUNDED ? p : NULL;
    p = get_bound(p, end, type, &out->low);
    p = get_bound(p, end, type, &out->high);
    if (p == NULL || compare_values(&out->low, &out->high) > 0)
        return NULL;
    if ((out->flags & FLAG_CUT) != 0 && (!has_text(type) || out->high.bytes.len != ARCH_BOUND_MAX))
        return NULL;
    return p;
}

/* Whether the ranges of a column are whole and in the order of their blocks. */
static bool are_ranges(const arch_column *col, uint32_t blocks)
{
    const uint8_t *p = col->ranges.data;
    const uint8_t *end = p + col->ranges.len;
    uint64_t block = 0;
    while (p != end) {
        range r;
        p = get_range(p, end, col->type, &r);
        if (p == NULL || r.gap >= blocks || block + r.gap >= blocks)
            return false;
        block += r.gap + 1;
    }
    return true;
}

static const uint8_t *get_column(const uint8_t *p, const uint8_t *end, arch_column *out)
{
    if (p == NULL || end - p < 2)
        return NULL;
    out->type = (vv_attribute_type)p[0];
    size_t name_len = p[1];
    p += 2;
    if (out->type < VV_ATTRIBUTE_STRING || out->type > VV_ATTRIBUTE_TIME || name_len == 0 ||
        name_len > (size_t)(end - p))
        return NULL;
    out->name = vv_slice_of(p, name_len);
    uint64_t len = 0;
    p = vv_varint_get_short(p + name_len, end, &len);
    if (p == NULL || len > (size_t)(end - p))
        return NULL;
    out->ranges = vv_slice_of(p, (size_t)len);
    return p + len;
}

static const arch_column *column_of(const arch_column_set *s, uint32_t count, vv_slice name,
                                    vv_attribute_type type)
{
    for (uint32_t i = 0; i < count; i++)
        if (s->column[i].type == type && vv_slice_eq(s->column[i].name, name))
            return &s->column[i];
    return NULL;
}

static bool read_columns(const uint8_t *p, const uint8_t *end, arch_column_set *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        arch_column *col = &s->column[i];
        p = get_column(p, end, col);
        if (p == NULL || column_of(s, i, col->name, col->type) != NULL ||
            !are_ranges(col, s->complete))
            return false;
    }
    return p == end;
}

vv_status arch_columns_decode(vv_slice bytes, uint32_t block_count, arch_column_set *out,
                              vv_error *err)
{
    assert(out != NULL);
    const uint8_t *p = bytes.data;
    if (bytes.len < SECTION_HEAD)
        return vv_fail(err, VV_CORRUPT, "columns: %zu bytes are none", bytes.len);
    arch_column_set s = {
        .count = vv_get_le16(p + 6), .complete = vv_get_le32(p), .is_all = p[4] == 1};
    if (p[4] > 1 || p[5] != 0 || s.count > ARCH_COLUMNS_MAX || s.complete > block_count)
        return vv_fail(err, VV_CORRUPT, "columns: their head is malformed");
    s.column = vv_calloc(s.count + 1, sizeof *s.column);
    if (s.column == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u columns", s.count);
    if (!read_columns(p + SECTION_HEAD, p + bytes.len, &s)) {
        vv_free(s.column);
        return vv_fail(err, VV_CORRUPT, "columns: the ranges of attributes are malformed");
    }
    *out = s;
    return VV_OK;
}

/* Whether a value may lie behind the highest one that is kept. */
static bool is_above(const vv_attribute *a, const range *r)
{
    if ((r->flags & FLAG_CUT) == 0)
        return compare_values(a, &r->high) > 0;
    vv_slice begin = vv_slice_of(a->bytes.data, vv_min_u64(a->bytes.len, ARCH_BOUND_MAX));
    return vv_slice_cmp(begin, r->high.bytes) > 0;
}

bool arch_columns_may_hold(const arch_column_set *s, uint32_t block, vv_slice name,
                           vv_attribute_type type, const vv_attribute *low,
                           const vv_attribute *high)
{
    if (block >= s->complete)
        return true;
    const arch_column *col = column_of(s, s->count, name, type);
    if (col == NULL)
        return !s->is_all;
    const uint8_t *p = col->ranges.data;
    const uint8_t *end = p + col->ranges.len;
    uint64_t at = 0;
    while (p != end) {
        range r;
        p = get_range(p, end, type, &r);
        if (p == NULL) /* it was checked */
            return true;
        at += r.gap;
        if (at > block)
            return false;
        if (at == block)
            return (r.flags & FLAG_UNBOUNDED) != 0 ||
                   !((low != NULL && is_above(low, &r)) ||
                     (high != NULL && compare_values(high, &r.low) < 0));
        at++;
    }
    return false;
}
