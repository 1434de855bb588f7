/*
 * extract_schema.c - names of protobuf fields into numbers, by a FileDescriptorSet
 * (google/protobuf/descriptor.proto). Read where it lies, once for each rule: nothing is indexed.
 */
#include "base/error.h"
#include "codec/protowire.h"
#include "extract/extract_int.h"

/* Fields of descriptor.proto. */
enum {
    SET_FILE = 1,
    FILE_PACKAGE = 2,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    MESSAGE_NAME = 1,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    FIELD_NAME = 1,
    FIELD_NUMBER = 3,
    FIELD_LABEL = 4,
    FIELD_TYPE = 5,
    FIELD_TYPE_NAME = 6,
    ENUM_VALUE = 2,
    VALUE_NAME = 1,
    VALUE_NUMBER = 2,
    LABEL_REPEATED = 3,
};

/* The last bytes field of a number; empty: there is none. */
static vv_slice text_of(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    vv_slice found = {NULL, 0};
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_BYTES)
            found = f.bytes;
    return found;
}

static uint64_t number_of(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    uint64_t found = 0;
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_VARINT)
            found = f.value;
    return found;
}

/* The message in field `number` of parent whose own field 1 is name. */
static bool find_named(vv_slice parent, uint32_t number, vv_slice name, vv_slice *out)
{
    wire_reader r = wire_reader_of(parent);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_BYTES &&
            vv_slice_eq(text_of(f.bytes, MESSAGE_NAME), name)) {
            *out = f.bytes;
            return true;
        }
    return false;
}

/* Up to the next dot; *rest is behind it. */
static vv_slice first_part(vv_slice name, vv_slice *rest)
{
    const uint8_t *dot = name.len == 0 ? NULL : memchr(name.data, '.', name.len);
    size_t len = dot == NULL ? name.len : (size_t)(dot - name.data);
    *rest = dot == NULL ? vv_slice_of(NULL, 0) : vv_slice_of(dot + 1, name.len - len - 1);
    return vv_slice_of(name.data, len);
}

/* A type by its name inside a file's package: "Order.Item". */
static bool find_in_file(vv_slice file, vv_slice name, bool is_enum, vv_slice *out)
{
    vv_slice at = file;
    bool is_top = true;
    while (name.len > 0) {
        vv_slice rest;
        vv_slice part = first_part(name, &rest);
        bool is_last = rest.len == 0;
        uint32_t messages = is_top ? FILE_MESSAGE : MESSAGE_NESTED;
        uint32_t enums = is_top ? FILE_ENUM : MESSAGE_ENUM;
        if (!find_named(at, is_last && is_enum ? enums : messages, part, &at))
            return false;
        is_top = false;
        name = rest;
    }
    *out = at;
    return !is_top;
}

/* A type by its full name, "acme.Order.Item", with or without a dot in front. */
static bool find_type(vv_slice set, vv_slice name, bool is_enum, vv_slice *out)
{
    wire_reader r = wire_reader_of(set);
    wire_field f = {0};
    if (name.len > 0 && name.data[0] == '.')
        name = vv_slice_of(name.data + 1, name.len - 1);
    while (wire_next(&r, &f) > 0) {
        if (f.number != SET_FILE || f.type != WIRE_BYTES)
            continue;
        vv_slice package = text_of(f.bytes, FILE_PACKAGE);
        vv_slice inside = name;
        if (package.len > 0) {
            if (!vv_slice_has_prefix(name, package) || name.len < package.len + 2 ||
                name.data[package.len] != '.')
                continue;
            inside = vv_slice_of(name.data + package.len + 1, name.len - package.len - 1);
        }
        if (find_in_file(f.bytes, inside, is_enum, out))
            return true;
    }
    return false;
}

vv_slice extract_enum_name(vv_slice enum_type, int64_t number)
{
    wire_reader r = wire_reader_of(enum_type);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == ENUM_VALUE && f.type == WIRE_BYTES &&
            (int32_t)number_of(f.bytes, VALUE_NUMBER) == number)
            return text_of(f.bytes, VALUE_NAME);
    return vv_slice_of(NULL, 0);
}

/* ---- a path ---- */

/* "items[2]" taken apart: name is left, *index what the bracket says. */
static bool take_index(vv_slice *name, bool *has_index, uint32_t *index)
{
    const uint8_t *open = name->len == 0 ? NULL : memchr(name->data, '[', name->len);
    uint64_t v = 0;
    *has_index = open != NULL;
    if (open == NULL)
        return true;
    const uint8_t *p = open + 1, *end = name->data + name->len;
    if (p == end || *p == ']')
        return false;
    for (; p < end && *p >= '0' && *p <= '9' && v <= UINT32_MAX; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    if (end - p != 1 || *p != ']' || v > UINT32_MAX)
        return false;
    *index = (uint32_t)v;
    name->len = (size_t)(open - name->data);
    return true;
}

#define SHOW(s) (int)vv_min_u64((s).len, 60), (const char *)(s).data

static vv_status resolve_step(vv_slice message, vv_slice part, extract_step *step, vv_slice *field,
                              vv_error *err)
{
    bool has_index;
    vv_slice name = part;
    *step = (extract_step){.number = 0};
    if (!take_index(&name, &has_index, &step->index) || name.len == 0)
        return vv_fail(err, VV_INVALID, "'%.*s' is no field: a name, or one with an index, a[0]",
                       SHOW(part));
    if (!find_named(message, MESSAGE_FIELD, name, field))
        return vv_fail(err, VV_INVALID, "message %.*s has no field '%.*s'",
                       SHOW(text_of(message, MESSAGE_NAME)), SHOW(name));
    step->number = (uint32_t)number_of(*field, FIELD_NUMBER);
    step->is_repeated = number_of(*field, FIELD_LABEL) == LABEL_REPEATED;
    if (step->is_repeated && !has_index)
        return vv_fail(err, VV_INVALID, "field '%.*s' is repeated: say which, as %.*s[0]",
                       SHOW(name), SHOW(name));
    if (!step->is_repeated && has_index)
        return vv_fail(err, VV_INVALID, "field '%.*s' is not repeated: it takes no index",
                       SHOW(name));
    return VV_OK;
}

/* The last field says what the rule reads. */
static vv_status resolve_leaf(extract_program *p, extract_rule *rule, vv_slice set, vv_slice field,
                              vv_error *err)
{
    vv_slice type_name = text_of(field, FIELD_TYPE_NAME);
    rule->leaf = (extract_leaf)number_of(field, FIELD_TYPE);
    if (rule->leaf == EXTRACT_LEAF_MESSAGE &&
        vv_slice_eq(type_name, vv_slice_str(".google.protobuf.Timestamp"))) {
        if (rule->type == EXTRACT_AUTO)
            rule->type = EXTRACT_TIME;
        return rule->type == EXTRACT_TIME ? VV_OK
                                          : vv_fail(err, VV_INVALID, "a Timestamp is of type time");
    }
    if (rule->leaf == EXTRACT_LEAF_MESSAGE || rule->leaf == EXTRACT_LEAF_GROUP ||
        rule->leaf < EXTRACT_LEAF_DOUBLE || rule->leaf > EXTRACT_LEAF_SINT64)
        return vv_fail(err, VV_INVALID, "field '%.*s' is a message: name a field of it",
                       SHOW(text_of(field, FIELD_NAME)));
    if (rule->leaf == EXTRACT_LEAF_ENUM && find_type(set, type_name, true, &rule->enum_type)) {
        rule->enum_type = vv_arena_dup(&p->arena, rule->enum_type);
        if (rule->enum_type.data == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for an enum");
    }
    return VV_OK;
}

vv_status extract_schema_resolve(extract_program *p, extract_rule *rule, vv_slice descriptors,
                                 vv_slice message, vv_slice path, vv_error *err)
{
    vv_slice at = {NULL, 0}, field = {NULL, 0};
    if (descriptors.len == 0)
        return vv_fail(err, VV_INVALID,
                       "rules of protobuf need descriptors: give those that protoc "
                       "--descriptor_set_out --include_imports writes");
    if (!find_type(descriptors, message, false, &at))
        return vv_fail(err, VV_INVALID, "the descriptors have no message %.*s", SHOW(message));
    while (path.len > 0) {
        vv_slice rest;
        vv_slice part = first_part(path, &rest);
        if (rule->step_count == EXTRACT_STEPS_DEEP)
            return vv_fail(err, VV_INVALID, "the path has more than %u fields", EXTRACT_STEPS_DEEP);
        extract_step *step = &rule->step[rule->step_count++];
        vv_status st = resolve_step(at, part, step, &field, err);
        if (st != VV_OK)
            return st;
        if (rest.len > 0 && (number_of(field, FIELD_TYPE) != EXTRACT_LEAF_MESSAGE ||
                             !find_type(descriptors, text_of(field, FIELD_TYPE_NAME), false, &at)))
            return vv_fail(err, VV_INVALID, "field '%.*s' is no message of these descriptors",
                           SHOW(part));
        path = rest;
    }
    return resolve_leaf(p, rule, descriptors, field, err);
}
