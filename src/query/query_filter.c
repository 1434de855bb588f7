/*
 * query_filter.c - one condition on one column: compiled once, asked for each record.
 *
 * A condition on a missing column is false, and so is one that compares different types; only
 * "!= null" asks for a type, any but null. What can never be meant is refused when it is compiled:
 * an unknown operator, `in` without a list, an order between lists, a time that is no time.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "query/query_int.h"

#define SET_MAX 65536u /* elements of one `in` list */

static const struct {
    const char *text;
    filter_op op;
} op_names[] = {
    {"=", OP_EQ},  {"==", OP_EQ}, {"eq", OP_EQ}, {"!=", OP_NE}, {"ne", OP_NE},
    {"<", OP_LT},  {"lt", OP_LT}, {"<=", OP_LE}, {"le", OP_LE}, {">", OP_GT},
    {"gt", OP_GT}, {">=", OP_GE}, {"ge", OP_GE}, {"in", OP_IN}, {"contains", OP_CONTAINS},
};

const char *filter_op_text(filter_op op)
{
    static const char *const text[] = {"=", "!=", "<", "<=", ">", ">=", "in", "contains"};
    return text[op];
}

static vv_status refuse(const query_filter *spec, vv_error *err, const char *why)
{
    return vv_fail(err, VV_INVALID, "filter on '%.*s': %s",
                   (int)(spec->column.len < 80 ? spec->column.len : 80),
                   (const char *)spec->column.data, why);
}

/* Words are taken in any case. */
static bool op_parse(vv_slice text, filter_op *out)
{
    for (size_t i = 0; i < ARRAY_LEN(op_names); i++) {
        size_t n = strlen(op_names[i].text);
        bool same = n == text.len;
        for (size_t j = 0; same && j < n; j++) {
            uint8_t c = text.data[j];
            same = (c >= 'A' && c <= 'Z' ? c + 32 : c) == op_names[i].text[j];
        }
        if (same) {
            *out = op_names[i].op;
            return true;
        }
    }
    return false;
}

/* A literal beside _timestamp: RFC 3339, or seconds. */
static vv_status time_literal(const query_filter *spec, struct_value *v, vv_error *err)
{
    int64_t ns;
    bool ok = v->type == STRUCT_STRING   ? time_text_parse(v->bytes, &ns)
              : v->type == STRUCT_NUMBER ? time_from_seconds(v->number, &ns)
                                         : false;
    if (!ok)
        return refuse(spec, err,
                      "the value is no time: use RFC 3339 (2026-07-01T12:00:00Z) or seconds");
    *v = (struct_value){.type = STRUCT_TIME, .time_ns = ns};
    return VV_OK;
}

static int compare_elements(const void *a, const void *b)
{
    return struct_value_compare(a, b);
}

static vv_status compile_set(const query_filter *spec, vv_arena *arena, filter *f, vv_error *err)
{
    size_t count = 0;
    vv_slice bytes;
    wire_reader r = wire_reader_of(f->value.bytes);
    if (f->value.type != STRUCT_LIST)
        return refuse(spec, err, "operator 'in' needs a list of values");
    while (struct_next_element(&r, &bytes) > 0)
        count++;
    if (count > SET_MAX)
        return refuse(spec, err, "operator 'in' takes at most 65536 values");
    struct_value *set = vv_arena_alloc(arena, (count + 1) * sizeof *set);
    if (set == NULL)
        return vv_fail(err, VV_NO_MEMORY, "filter: a list of %zu values", count);
    r = wire_reader_of(f->value.bytes);
    count = 0;
    int more;
    while ((more = struct_next_element(&r, &bytes)) > 0) {
        vv_status st = struct_value_parse(bytes, &set[count]);
        if (st != VV_OK)
            return refuse(spec, err, "the value is malformed");
        if (set[count].type == STRUCT_LIST || set[count].type == STRUCT_STRUCT)
            return refuse(spec, err, "operator 'in' compares no lists or structs");
        if (column_is_time(f->column.kind) && (st = time_literal(spec, &set[count], err)) != VV_OK)
            return st;
        if (set[count].type != STRUCT_NUMBER || !isnan(set[count].number))
            count++;
    }
    if (more < 0)
        return refuse(spec, err, "the value is malformed");
    qsort(set, count, sizeof *set, compare_elements);
    for (size_t i = 0; i < count; i++)
        if (f->set_count == 0 || struct_value_compare(&set[f->set_count - 1], &set[i]) != 0)
            set[f->set_count++] = set[i];
    f->set = set;
    return VV_OK;
}

static vv_status check_literal(const query_filter *spec, const filter *f, vv_error *err)
{
    struct_type t = f->value.type;
    if (t == STRUCT_LIST || t == STRUCT_STRUCT)
        return refuse(spec, err, "only operator 'in' takes a list, and none takes a struct");
    if (f->op == OP_CONTAINS && column_is_time(f->column.kind))
        return refuse(spec, err, "operator 'contains' is for strings and lists");
    if (f->op >= OP_LT && f->op <= OP_GE && (t == STRUCT_BOOL || t == STRUCT_NULL))
        return refuse(spec, err, "an order needs a number, a string or a time");
    return VV_OK;
}

/* Whether an attribute is a time is its own: the literal as one, where it can be. */
static void compile_time(const query_filter *spec, filter *f)
{
    f->time = f->value;
    f->has_time = (f->value.type == STRUCT_STRING || f->value.type == STRUCT_NUMBER) &&
                  time_literal(spec, &f->time, NULL) == VV_OK;
}

vv_status filter_compile(const query_filter *spec, row_kind rows, vv_arena *arena, filter *out,
                         vv_error *err)
{
    *out = (filter){0};
    vv_status st = column_parse(spec->column, rows, arena, &out->column, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "filter");
    if (out->column.kind == COLUMN_ALL || out->column.kind == COLUMN_METADATA_ALL)
        return refuse(spec, err, "no single column; use a field or _metadata.KEY");
    if (!op_parse(spec->op, &out->op))
        return vv_fail(err, VV_INVALID,
                       "filter on '%.*s': unknown operator '%.*s'; use one of = != < <= > >= in "
                       "contains (or eq ne lt le gt ge)",
                       (int)(spec->column.len < 60 ? spec->column.len : 60),
                       (const char *)spec->column.data,
                       (int)(spec->op.len < 20 ? spec->op.len : 20), (const char *)spec->op.data);
    if (spec->value.data == NULL)
        return refuse(spec, err, "no value is given");
    if (struct_value_parse(spec->value, &out->value) != VV_OK)
        return refuse(spec, err, "the value is malformed");
    if (out->op == OP_IN)
        return compile_set(spec, arena, out, err);
    st = check_literal(spec, out, err);
    if (st == VV_OK && column_is_time(out->column.kind))
        st = time_literal(spec, &out->value, err);
    if (out->column.kind == COLUMN_ATTRIBUTE)
        compile_time(spec, out);
    return st;
}

static bool in_set(const filter *f, const struct_value *value)
{
    size_t low = 0;
    size_t high = f->set_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = struct_value_compare(&f->set[mid], value);
        if (c == 0)
            return struct_value_equal(&f->set[mid], value);
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

static bool contains(const struct_value *whole, const struct_value *part)
{
    if (whole->type == STRUCT_STRING)
        return part->type == STRUCT_STRING &&
               (part->bytes.len == 0 ||
                (whole->bytes.len > 0 && memmem(whole->bytes.data, whole->bytes.len,
                                                part->bytes.data, part->bytes.len) != NULL));
    if (whole->type != STRUCT_LIST)
        return false;
    wire_reader r = wire_reader_of(whole->bytes);
    vv_slice bytes;
    while (struct_next_element(&r, &bytes) > 0) {
        struct_value v;
        if (struct_value_parse(bytes, &v) == VV_OK && struct_value_equal(&v, part))
            return true;
    }
    return false;
}

bool filter_holds(const filter *f, const struct_value *value)
{
    if (value == NULL)
        return false;
    if (f->op == OP_IN)
        return in_set(f, value);
    if (f->op == OP_CONTAINS)
        return contains(value, &f->value);
    if (f->op == OP_NE && f->value.type == STRUCT_NULL)
        return value->type != STRUCT_NULL;
    const struct_value *want = value->type == STRUCT_TIME && f->has_time ? &f->time : &f->value;
    if (value->type != want->type)
        return false;
    if (value->type == STRUCT_NUMBER && (isnan(value->number) || isnan(want->number)))
        return f->op == OP_NE;
    int c = struct_value_compare(value, want);
    switch (f->op) {
    case OP_EQ:
        return c == 0;
    case OP_NE:
        return c != 0;
    case OP_LT:
        return c < 0;
    case OP_LE:
        return c <= 0;
    case OP_GT:
        return c > 0;
    case OP_GE:
        return c >= 0;
    case OP_IN:
    case OP_CONTAINS:
        break;
    }
    return false;
}

void filter_value_text(const filter *f, char *out, size_t len)
{
    char text[TIME_TEXT_MAX];
    const struct_value *v = &f->value;
    if (f->op == OP_IN) {
        (void)snprintf(out, len, "[%zu values]", f->set_count);
        return;
    }
    switch (v->type) {
    case STRUCT_NUMBER:
        (void)snprintf(out, len, "%.15g", v->number);
        return;
    case STRUCT_TIME:
        time_text_format(v->time_ns, text);
        (void)snprintf(out, len, "%s", text);
        return;
    case STRUCT_STRING:
        (void)snprintf(out, len, "'%.*s'", (int)(v->bytes.len < 60 ? v->bytes.len : 60),
                       (const char *)v->bytes.data);
        return;
    case STRUCT_BOOL:
        (void)snprintf(out, len, "%s", v->boolean ? "true" : "false");
        return;
    default:
        (void)snprintf(out, len, "null");
        return;
    }
}
