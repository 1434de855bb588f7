/*
 * out.h - rows on standard output: as an aligned table, as JSON (one object a line), as CSV.
 */
#ifndef VARVE_CMD_VARVE_OUT_H
#define VARVE_CMD_VARVE_OUT_H

#include "base/arena.h"
#include "base/buf.h"
#include "cmd.h"

typedef enum out_type {
    OUT_NULL,
    OUT_TEXT,
    OUT_BYTES, /* text when it is UTF-8, otherwise escaped (table, csv) or base64 (json) */
    OUT_INT,
    OUT_UINT,
    OUT_DOUBLE,
    OUT_BOOL,
    OUT_JSON, /* text that is JSON already */
} out_type;

typedef struct out_cell {
    out_type type;
    union {
        vv_slice bytes;
        int64_t i;
        uint64_t u;
        double d;
        bool b;
    };
} out_cell;

static inline out_cell out_text(const char *text)
{
    return (out_cell){.type = OUT_TEXT, .bytes = vv_slice_str(text)};
}

static inline out_cell out_bytes(vv_slice bytes)
{
    return (out_cell){.type = OUT_BYTES, .bytes = bytes};
}

static inline out_cell out_json(vv_slice text)
{
    return (out_cell){.type = OUT_JSON, .bytes = text};
}

static inline out_cell out_int(int64_t i)
{
    return (out_cell){.type = OUT_INT, .i = i};
}

static inline out_cell out_uint(uint64_t u)
{
    return (out_cell){.type = OUT_UINT, .u = u};
}

static inline out_cell out_double(double d)
{
    return (out_cell){.type = OUT_DOUBLE, .d = d};
}

static inline out_cell out_bool(bool b)
{
    return (out_cell){.type = OUT_BOOL, .b = b};
}

#define OUT_COLUMNS_MAX 200
#define OUT_LOOK_ROWS 1000 /* rows a table looks at before it fixes its widths */

typedef struct out_writer {
    cmd_format format;
    size_t column_count;
    vv_slice column[OUT_COLUMNS_MAX];
    size_t width[OUT_COLUMNS_MAX];
    bool number[OUT_COLUMNS_MAX]; /* aligned to the right */
    vv_arena arena;               /* names, and the rows that wait for their widths */
    vv_arena scratch;             /* the row at hand, once nothing waits */
    vv_slice *waiting;            /* rendered cells, row after row */
    size_t waiting_rows;
    bool started;
    vv_buf line;
    uint64_t rows;
} out_writer;

/** Columns are copied. */
void out_init(out_writer *o, cmd_format format, const vv_slice *columns, size_t count);
/** The same with C strings. */
void out_init_names(out_writer *o, cmd_format format, const char *const *columns, size_t count);
void out_row(out_writer *o, const out_cell *cells);
/** Print what waits. A table without rows prints nothing but its header. */
void out_end(out_writer *o);

/** One sentence on a line of its own, whole; on a terminal it is wrapped between words. */
void out_sentence(const char *text);
/** Printable text of bytes: control bytes, backslashes and what is no UTF-8 as \xNN. */
void out_escape(vv_buf *to, vv_slice bytes);
/** Base64 with padding. */
void out_base64(vv_buf *to, vv_slice bytes);
bool out_is_utf8(vv_slice bytes);
/** A byte count as people read it: "3.2 MiB". */
void out_size_text(uint64_t bytes, char *text, size_t len);

#endif
