/*
 * struct_json.h - JSON text to and from serialized google.protobuf.Struct, with no tree between.
 *
 * The mapping is proto3's: objects are Structs, numbers are doubles, NaN and the infinities are
 * written as strings. A double holds integers exactly to 2^53: an integer literal beyond that is
 * refused instead of rounded, and a double of that size is written with a fraction or an exponent.
 * Nesting is bounded by STRUCT_DEPTH_MAX both ways.
 */
#ifndef VARVE_QUERY_STRUCT_JSON_H
#define VARVE_QUERY_STRUCT_JSON_H

#include "base/buf.h"
#include "base/json_text.h"
#include "query/struct_view.h"

/** Append a serialized Struct as a JSON object; where a key repeats, the last. VV_CORRUPT when it
 * is malformed, VV_INVALID when it nests too deep; out then holds a part. */
VV_MUST_CHECK vv_status json_put_struct(vv_buf *out, vv_slice structure);

/** Append one value as JSON, as above. */
VV_MUST_CHECK vv_status json_put_value(vv_buf *out, const struct_value *value);

/**
 * Read one JSON object from text and append it to out as a serialized Struct (fields only, no tag).
 *
 * @param used  NULL: only white space may follow the object; otherwise the bytes that were read.
 * @return VV_INVALID names the cause and the column (from 1) of the first bad byte.
 */
VV_MUST_CHECK vv_status json_read_struct(vv_slice text, size_t *used, vv_buf *out, vv_error *err);

/** The same for the whole text, with integers beyond 2^53 as strings, counted in *big. */
VV_MUST_CHECK vv_status json_read_struct_big(vv_slice text, vv_buf *out, uint64_t *big,
                                             vv_error *err);

/** The same for any JSON value, appended as a serialized Value. */
VV_MUST_CHECK vv_status json_read_value(vv_slice text, size_t *used, vv_buf *out, vv_error *err);

/** The same for the whole text, with integers beyond 2^53 as strings, counted in *big. */
VV_MUST_CHECK vv_status json_read_value_big(vv_slice text, vv_buf *out, uint64_t *big,
                                            vv_error *err);

/** Read a JSON number, exactly rounded. False when text is none. */
bool json_read_number(vv_slice text, double *out);

#endif
