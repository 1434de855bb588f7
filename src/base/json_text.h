/*
 * json_text.h - strings, numbers and bytes as JSON has them: one form for every answer and file.
 */
#ifndef VARVE_BASE_JSON_TEXT_H
#define VARVE_BASE_JSON_TEXT_H

#include <stdbool.h>

#include "base/buf.h"

/** Append a JSON string literal with its quotes. Bytes that are not UTF-8 come out as U+FFFD. */
void json_put_string(vv_buf *out, vv_slice text);

/** Append a number: whole ones up to 2^53 as integers, others in the fewest digits that read
 * back the same; "NaN", "Infinity" and "-Infinity" as strings. */
void json_put_number(vv_buf *out, double number);

/** Append bytes as a string of base64 (base64.h). */
void json_put_base64(vv_buf *out, vv_slice bytes);

/** An integer literal beyond 2^53 either way, which no double is sure to hold. */
bool json_is_big_integer(vv_slice text);

#endif
