/*
 * arrow.h - tables as an Arrow IPC stream: a schema, record batches, an end mark.
 *
 * https://arrow.apache.org/docs/format/Columnar.html (streaming format, metadata version V5),
 * little endian, no dictionaries, no compression. What readers of Arrow take without a library of
 * ours.
 */
#ifndef VARVE_QUERY_ARROW_H
#define VARVE_QUERY_ARROW_H

#include <stdbool.h>

#include "base/buf.h"

typedef enum arrow_type {
    ARROW_TIMESTAMP, /* int64, nanoseconds since 1970, UTC */
    ARROW_F64,       /* double */
    ARROW_I64,       /* int64_t */
    ARROW_U32,       /* uint32_t */
    ARROW_BOOL,      /* uint8_t, 0 or 1 */
    ARROW_UTF8,      /* vv_slice; must be UTF-8 */
} arrow_type;

typedef struct arrow_field {
    const char *name;
    arrow_type type;
} arrow_field;

typedef struct arrow_column {
    const void *values;     /* [rows] of the field's type */
    const uint8_t *is_null; /* [rows] 0 or 1; NULL: no value is missing */
} arrow_column;

/** The schema, first of all; every field may have nulls. A full out latches. */
void arrow_append_schema(vv_buf *out, const arrow_field *fields, uint32_t count);
/** One record batch of the schema's fields. columns: [count]. The texts of a column together must
 * be shorter than 2 GiB. */
void arrow_append_batch(vv_buf *out, const arrow_field *fields, const arrow_column *columns,
                        uint32_t count, uint32_t rows);
/** The mark that ends a stream. */
void arrow_append_end(vv_buf *out);

#endif
