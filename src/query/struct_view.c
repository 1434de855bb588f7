/*
 * struct_view.c - see struct_view.h. Why by hand: a filter on one column of a million records must
 * not build a million trees. Skipping an entry costs its two length prefixes.
 *
 *     Struct { repeated entry = 1 }   entry { key = 1; Value = 2 }   Value { one of 1..6 }
 *
 * Why the whole level is walked even after a hit: the last entry of a key wins.
 */
#include "query/struct_view.h"

#include "base/time_text.h"

/* True when a known field of Value comes with the wire type it must have. */
static bool read_kind(const wire_field *f, struct_value *out)
{
    switch (f->number) {
    case VALUE_NULL:
        out->type = STRUCT_NULL;
        return f->type == WIRE_VARINT;
    case VALUE_NUMBER:
        out->type = STRUCT_NUMBER;
        out->number = wire_double(f->value);
        return f->type == WIRE_FIXED64;
    case VALUE_BOOL:
        out->type = STRUCT_BOOL;
        out->boolean = f->value != 0;
        return f->type == WIRE_VARINT;
    case VALUE_STRING:
    case VALUE_STRUCT:
    case VALUE_LIST:
        out->type = f->number == VALUE_STRING   ? STRUCT_STRING
                    : f->number == VALUE_STRUCT ? STRUCT_STRUCT
                                                : STRUCT_LIST;
        out->bytes = f->bytes;
        return f->type == WIRE_BYTES;
    default:
        return true; /* unknown: skipped */
    }
}

vv_status struct_value_parse(vv_slice value, struct_value *out)
{
    wire_reader r = wire_reader_of(value);
    struct_value v = {.type = STRUCT_NULL};
    wire_field f = {0};
    int more;
    while ((more = wire_next(&r, &f)) > 0) {
        if (!read_kind(&f, &v))
            return VV_CORRUPT;
    }
    if (more < 0)
        return VV_CORRUPT;
    *out = v;
    return VV_OK;
}

static int read_entry(vv_slice entry, vv_slice *key, vv_slice *value)
{
    wire_reader r = wire_reader_of(entry);
    wire_field f = {0};
    int more;
    *key = (vv_slice){0};
    *value = (vv_slice){0};
    while ((more = wire_next(&r, &f)) > 0) {
        if (f.number != STRUCT_ENTRY_KEY && f.number != STRUCT_ENTRY_VALUE)
            continue;
        if (f.type != WIRE_BYTES)
            return -1;
        if (f.number == STRUCT_ENTRY_KEY)
            *key = f.bytes;
        else
            *value = f.bytes;
    }
    return more < 0 ? -1 : 1;
}

/* The next bytes field `number` of a message, whatever else it holds. */
static int next_of(wire_reader *r, uint32_t number, vv_slice *out)
{
    wire_field f = {0};
    int more;
    while ((more = wire_next(r, &f)) > 0) {
        if (f.number != number)
            continue;
        if (f.type != WIRE_BYTES)
            return -1;
        *out = f.bytes;
        return 1;
    }
    return more;
}

int struct_next_entry(wire_reader *r, vv_slice *key, vv_slice *value)
{
    vv_slice entry;
    int more = next_of(r, STRUCT_FIELDS, &entry);
    return more <= 0 ? more : read_entry(entry, key, value);
}

int struct_next_element(wire_reader *r, vv_slice *value)
{
    return next_of(r, LIST_VALUES, value);
}

/* The serialized Value of one key of one level. */
static vv_status find_here(vv_slice structure, vv_slice key, vv_slice *out)
{
    wire_reader r = wire_reader_of(structure);
    bool found = false;
    vv_slice name;
    vv_slice value;
    int more;
    while ((more = struct_next_entry(&r, &name, &value)) > 0) {
        if (name.len == key.len && (key.len == 0 || memcmp(name.data, key.data, key.len) == 0)) {
            *out = value;
            found = true;
        }
    }
    if (more < 0)
        return VV_CORRUPT;
    return found ? VV_OK : VV_NOT_FOUND;
}

vv_status struct_find(vv_slice structure, const vv_slice *path, size_t depth, struct_value *out)
{
    if (depth == 0 || depth > STRUCT_DEPTH_MAX)
        return VV_INVALID;
    struct_value v = {.type = STRUCT_STRUCT, .bytes = structure};
    for (size_t i = 0; i < depth; i++) {
        vv_slice value;
        if (v.type != STRUCT_STRUCT)
            return VV_NOT_FOUND;
        vv_status st = find_here(v.bytes, path[i], &value);
        if (st == VV_OK)
            st = struct_value_parse(value, &v);
        if (st != VV_OK)
            return st;
    }
    *out = v;
    return VV_OK;
}

bool struct_value_equal(const struct_value *a, const struct_value *b)
{
    if (a->type != b->type || a->type == STRUCT_LIST || a->type == STRUCT_STRUCT)
        return false;
    if (a->type == STRUCT_NUMBER)
        return a->number == b->number; /* NaN equals nothing */
    return struct_value_compare(a, b) == 0;
}

static int compare_numbers(double a, double b)
{
    if (a == b)
        return 0;
    if (a != a || b != b) /* NaN */
        return (a != a) - (b != b);
    return a < b ? -1 : 1;
}

int struct_value_compare(const struct_value *a, const struct_value *b)
{
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    switch (a->type) {
    case STRUCT_NUMBER:
        return compare_numbers(a->number, b->number);
    case STRUCT_TIME:
        return (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
    case STRUCT_STRING:
        return vv_slice_cmp(a->bytes, b->bytes);
    case STRUCT_BOOL:
        return (int)a->boolean - (int)b->boolean;
    default:
        return 0;
    }
}

static void put_kind(vv_buf *out, const struct_value *value)
{
    char text[TIME_TEXT_MAX];
    switch (value->type) {
    case STRUCT_NUMBER:
        wire_put_double_always(out, VALUE_NUMBER, value->number);
        return;
    case STRUCT_TIME:
        time_text_format(value->time_ns, text);
        wire_put_bytes(out, VALUE_STRING, vv_slice_str(text));
        return;
    case STRUCT_STRING: /* a key or a metadata value, too, which may be any bytes */
        if (utf8_is_valid(value->bytes))
            wire_put_bytes(out, VALUE_STRING, value->bytes);
        else
            wire_put_text(out, VALUE_STRING, value->bytes);
        return;
    case STRUCT_STRUCT:
        wire_put_bytes(out, VALUE_STRUCT, value->bytes);
        return;
    case STRUCT_LIST:
        wire_put_bytes(out, VALUE_LIST, value->bytes);
        return;
    case STRUCT_BOOL:
        wire_put_tag(out, VALUE_BOOL, WIRE_VARINT);
        vv_buf_append_u8(out, value->boolean ? 1 : 0);
        return;
    case STRUCT_NULL:
        wire_put_tag(out, VALUE_NULL, WIRE_VARINT);
        vv_buf_append_u8(out, 0);
        return;
    }
}

void struct_value_put(vv_buf *out, uint32_t number, const struct_value *value)
{
    if (number == 0) {
        put_kind(out, value);
        return;
    }
    size_t begin = wire_begin(out, number);
    put_kind(out, value);
    wire_end(out, begin);
}

static const struct_keep *keep_find(const struct_keep *keep, vv_slice key)
{
    for (; keep != NULL; keep = keep->sibling)
        if (vv_slice_eq(keep->key, key))
            return keep;
    return NULL;
}

/* Every entry of a key that is kept whole: its repeats too, so that the last still wins. */
static vv_status copy_whole(vv_slice structure, const struct_keep *keep, vv_buf *out)
{
    wire_reader r = wire_reader_of(structure);
    vv_slice key;
    vv_slice value;
    int more;
    while ((more = struct_next_entry(&r, &key, &value)) > 0) {
        const struct_keep *k = keep_find(keep, key);
        if (k == NULL || !k->whole)
            continue;
        size_t entry = wire_begin(out, STRUCT_FIELDS);
        wire_put_bytes(out, STRUCT_ENTRY_KEY, key);
        wire_put_bytes(out, STRUCT_ENTRY_VALUE, value);
        wire_end(out, entry);
    }
    return more < 0 ? VV_CORRUPT : VV_OK;
}

static vv_status project_level(vv_slice structure, const struct_keep *keep, unsigned depth,
                               vv_buf *out)
{
    vv_status st = copy_whole(structure, keep, out);
    for (const struct_keep *k = keep; k != NULL && st == VV_OK; k = k->sibling) {
        struct_value v;
        if (k->whole || depth == 0)
            continue;
        st = struct_find(structure, &k->key, 1, &v);
        if (st == VV_NOT_FOUND || (st == VV_OK && v.type != STRUCT_STRUCT)) {
            st = VV_OK; /* a.b of an `a` that has no fields: nothing to keep */
            continue;
        }
        if (st != VV_OK)
            break;
        size_t entry = wire_begin(out, STRUCT_FIELDS);
        wire_put_bytes(out, STRUCT_ENTRY_KEY, k->key);
        size_t outer = wire_begin(out, STRUCT_ENTRY_VALUE);
        size_t inner = wire_begin(out, VALUE_STRUCT);
        st = project_level(v.bytes, k->child, depth - 1, out);
        wire_end(out, inner);
        wire_end(out, outer);
        wire_end(out, entry);
    }
    return st;
}

vv_status struct_project(vv_slice structure, const struct_keep *keep, vv_buf *out)
{
    return project_level(structure, keep, STRUCT_DEPTH_MAX, out);
}
