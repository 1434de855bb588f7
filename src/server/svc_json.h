/*
 * svc_json.h - the protobuf JSON mapping, both ways between JSON text and wire bytes, driven by the
 * descriptors of the generated messages.
 *
 * Names are read as snake_case and lowerCamelCase and written as lowerCamelCase. 64-bit integers
 * are written as strings and read as either; bytes are base64; Timestamp is RFC 3339; Struct, Value
 * and ListValue are plain JSON. An unknown name is refused. Nothing is built in between, so a text
 * needs no more memory than the wire bytes it becomes, integers keep all their digits, and nesting
 * is bounded by STRUCT_DEPTH_MAX.
 */
#ifndef VARVE_SERVER_SVC_JSON_H
#define VARVE_SERVER_SVC_JSON_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "varve/slice.h"
#include "varve/status.h"

/** Append the wire bytes of the message that text, one JSON object, describes. VV_INVALID names the
 * offset and the field; VV_BUSY or VV_NO_MEMORY when out has no room. */
VV_MUST_CHECK vv_status svc_json_to_wire(const ProtobufCMessageDescriptor *desc, vv_slice text,
                                         vv_buf *out, vv_error *err);

/** The same as OTLP/HTTP has it: trace_id, span_id and parent_span_id are hexadecimal, and an
 * unknown name is skipped. https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding */
VV_MUST_CHECK vv_status svc_json_to_wire_otlp(const ProtobufCMessageDescriptor *desc, vv_slice text,
                                              vv_buf *out, vv_error *err);

/** Append the message as JSON. Fields that are not on the wire are left out. VV_INVALID when bytes
 * are no such message or nest too deep; otherwise as above. */
VV_MUST_CHECK vv_status svc_json_from_wire(const ProtobufCMessageDescriptor *desc, vv_slice bytes,
                                           vv_buf *out, vv_error *err);

/* ---- pieces, for texts put together by hand -------------------------------------------------- */

#define SVC_TIME_TEXT_MAX 40
/** RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction; years 1 to 9999. False when out of range.
 */
bool svc_time_format(int64_t seconds, int32_t nanos, char out[SVC_TIME_TEXT_MAX]);
/** The reverse; offsets and fractions of up to nine digits are read. */
bool svc_time_parse(vv_slice text, int64_t *seconds, int32_t *nanos);

#endif
