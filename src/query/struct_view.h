/*
 * struct_view.h - a look into serialized google.protobuf.Struct, Value and ListValue bytes, without
 * unpacking them.
 *
 * A struct_value borrows the bytes it was found in. Where a map repeats a key, or a message a
 * singular field, the last one wins, as in protobuf. Nothing here allocates, and nothing recurses
 * deeper than STRUCT_DEPTH_MAX. Numbers of fields: google/protobuf/struct.proto.
 */
#ifndef VARVE_QUERY_STRUCT_VIEW_H
#define VARVE_QUERY_STRUCT_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/protowire.h"
#include "varve/slice.h"
#include "varve/status.h"

#define STRUCT_DEPTH_MAX 64u /* levels of nesting followed; deeper is VV_INVALID */

enum {
    STRUCT_FIELDS = 1, /* Struct: repeated entry */
    STRUCT_ENTRY_KEY = 1,
    STRUCT_ENTRY_VALUE = 2,
    VALUE_NULL = 1, /* Value: one of */
    VALUE_NUMBER = 2,
    VALUE_STRING = 3,
    VALUE_BOOL = 4,
    VALUE_STRUCT = 5,
    VALUE_LIST = 6,
    LIST_VALUES = 1, /* ListValue: repeated Value */
};

/* In the order that order_by sorts them. */
typedef enum struct_type {
    STRUCT_NUMBER,
    STRUCT_TIME, /* never in a Struct: the record's own timestamp */
    STRUCT_STRING,
    STRUCT_BOOL,
    STRUCT_LIST,
    STRUCT_STRUCT,
    STRUCT_NULL, /* also a Value in which nothing is set */
} struct_type;

typedef struct struct_value {
    struct_type type;
    union {
        double number;
        int64_t time_ns;
        bool boolean;
        vv_slice bytes; /* string: its text; list, struct: the serialized message */
    };
} struct_value;

/** Read a serialized Value. VV_CORRUPT when its bytes are malformed; *out is then untouched. */
VV_MUST_CHECK vv_status struct_value_parse(vv_slice value, struct_value *out);

/**
 * Find the value at path[0..depth) below a serialized Struct: path[0] is a key of the struct
 * itself.
 *
 * @return VV_NOT_FOUND when a step is missing or is not a struct; VV_CORRUPT when bytes on the way
 *         are malformed; VV_INVALID when depth is 0 or over STRUCT_DEPTH_MAX. O(bytes), allocates
 *         nothing.
 */
VV_MUST_CHECK vv_status struct_find(vv_slice structure, const vv_slice *path, size_t depth,
                                    struct_value *out);

/** Walk the entries of a Struct, repeats included: *r starts as wire_reader_of(structure).
 * 1: an entry, whose value (a serialized Value) is borrowed. 0: the end. -1: malformed. */
int struct_next_entry(wire_reader *r, vv_slice *key, vv_slice *value);

/** Walk the elements of a ListValue, likewise. */
int struct_next_element(wire_reader *r, vv_slice *value);

/** True when both are null, numbers, strings, bools or times of the same worth. Lists and structs
 * equal nothing. */
bool struct_value_equal(const struct_value *a, const struct_value *b);

/** A total order: by type as in struct_type, then by worth; NaN above all numbers; lists and
 * structs equal their like. */
int struct_value_compare(const struct_value *a, const struct_value *b);

/** Append value as a serialized Value in field number (0: the bare Value). STRUCT_TIME is written
 * as an RFC 3339 string. */
void struct_value_put(vv_buf *out, uint32_t number, const struct_value *value);

/* What struct_project keeps: a tree of keys. */
typedef struct struct_keep {
    vv_slice key;
    bool whole;                /* all of the value; otherwise only its children */
    struct struct_keep *child; /* first of the next level */
    struct struct_keep *sibling;
} struct_keep;

/** Append to out a Struct that holds only the entries keep names; copies bytes, unpacks nothing.
 * VV_CORRUPT when structure is malformed. out latches its own failures. */
VV_MUST_CHECK vv_status struct_project(vv_slice structure, const struct_keep *keep, vv_buf *out);

#endif
