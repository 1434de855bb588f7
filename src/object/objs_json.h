/*
 * objs_json.h - the JSON of Google's answers and keys, pulled value by value (RFC 8259).
 *
 * Nothing is allocated; depth, keys and texts are bounded, and what is over a bound is refused.
 */
#ifndef VARVE_OBJECT_OBJS_JSON_H
#define VARVE_OBJECT_OBJS_JSON_H

#include <stdbool.h>

#include "varve/slice.h"

#define OBJS_JSON_DEPTH 12u
#define OBJS_JSON_KEY 64u
#define OBJS_JSON_TEXT 8192u

typedef enum objs_json_kind {
    OBJS_JSON_OPEN,  /* an object or array begins */
    OBJS_JSON_CLOSE, /* it ends */
    OBJS_JSON_VALUE, /* a string, unescaped, or a number or word as it stands: text */
    OBJS_JSON_END,
    OBJS_JSON_BAD,
} objs_json_kind;

typedef struct objs_json {
    const uint8_t *p;
    const uint8_t *end;
    unsigned depth; /* open objects and arrays */
    bool in_array[OBJS_JSON_DEPTH + 1];
    bool some[OBJS_JSON_DEPTH + 1];               /* it has a member by now */
    char key[OBJS_JSON_DEPTH + 1][OBJS_JSON_KEY]; /* of the member at each depth; "" in arrays */
    bool done;
    bool is_null;
    char text[OBJS_JSON_TEXT];
    size_t text_len;
} objs_json;

void objs_json_init(objs_json *j, vv_slice document);
objs_json_kind objs_json_next(objs_json *j);
/** The key of the value, or of what opened or closed. */
const char *objs_json_key(const objs_json *j, objs_json_kind kind);
/** The text of a member of the object at the root; false when there is none, or it is too long. */
bool objs_json_find(vv_slice document, const char *key, char *out, size_t size);

#endif
