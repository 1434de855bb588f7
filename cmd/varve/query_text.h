/*
 * query_text.h - conditions, orders, times and aggregates as they are written on the command line.
 */
#ifndef VARVE_CMD_VARVE_QUERY_TEXT_H
#define VARVE_CMD_VARVE_QUERY_TEXT_H

#include "base/arena.h"
#include "cmd.h"
#include "query/query.h"

/** "COLUMN OP VALUE": VALUE is JSON when it reads as such, otherwise text; for `in` also a,b,c.
 * Plain text with " and " or " or " in it is refused. */
VV_MUST_CHECK vv_status query_text_filter(const char *text, vv_arena *arena, query_filter *out,
                                          vv_error *err);

/** "col", "-col", "col:desc", "col:asc". */
query_order query_text_order(vv_slice text);

/** "avg(col)", "avg(col) as name", "count". */
VV_MUST_CHECK vv_status query_text_aggregate(const char *text, query_aggregate *out, vv_error *err);

/** RFC 3339, seconds since 1970, or a time span ("90m": so long ago). */
bool query_text_time(const char *text, int64_t now_ns, int64_t *out_ns);

/** Split at commas; a backslash keeps the next byte. Appends to list (max entries); false when
 * full. */
bool query_text_split(const char *text, vv_slice *list, size_t max, size_t *count);

/** The keys of a column path a.b, unescaped, in arena; count 0 when it is malformed. */
size_t query_text_path(vv_slice column, vv_arena *arena, vv_slice *steps, size_t max);

#endif
