/*
 * svc_json_scan.h - JSON text as it lies: values with their kind and their bytes, for forms whose
 * values may be any JSON and keep their digits.
 *
 *     svc_scan s = svc_scan_of(text);
 *     while (svc_scan_next(&s, &value, err) == VV_OK)     one value behind the other
 *         while (svc_scan_member(&value, &name, &inner))  of an object; svc_scan_item of an array
 *
 * svc_scan_next checks a value whole, by the grammar of RFC 8259; what walks into it cannot fail.
 */
#ifndef VARVE_SERVER_SVC_JSON_SCAN_H
#define VARVE_SERVER_SVC_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "varve/slice.h"
#include "varve/status.h"

#define SVC_SCAN_DEPTH_MAX 64u

typedef enum svc_scan_kind {
    SVC_SCAN_NULL,
    SVC_SCAN_FALSE,
    SVC_SCAN_TRUE,
    SVC_SCAN_INTEGER, /* a number without fraction and exponent */
    SVC_SCAN_NUMBER,
    SVC_SCAN_STRING,
    SVC_SCAN_ARRAY,
    SVC_SCAN_OBJECT,
} svc_scan_kind;

typedef struct svc_scan_value {
    svc_scan_kind kind;
    vv_slice text; /* all of it, quotes and brackets included */
    size_t at;     /* of an array or object: how far it was walked */
} svc_scan_value;

typedef struct svc_scan {
    const uint8_t *begin;
    const uint8_t *next;
    const uint8_t *end;
} svc_scan;

svc_scan svc_scan_of(vv_slice text);
/** The next value. VV_NOT_FOUND: nothing but white space is left. VV_INVALID names the byte. */
VV_MUST_CHECK vv_status svc_scan_next(svc_scan *s, svc_scan_value *out, vv_error *err);
/** The next member of an object; *name has its quotes and escapes still. False at the end. */
bool svc_scan_member(svc_scan_value *object, svc_scan_value *name, svc_scan_value *value);
/** The next of an array. */
bool svc_scan_item(svc_scan_value *array, svc_scan_value *item);
/** The text of a string, without its escapes: borrowed from the JSON where it has none, else in
 * arena. NULL data: no memory. */
vv_slice svc_scan_text(const svc_scan_value *string, vv_arena *arena);

#endif
