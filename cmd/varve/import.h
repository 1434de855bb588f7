/*
 * import.h - the pieces of `varve import`: lines out of files, fields out of lines, records out of
 * fields.
 */
#ifndef VARVE_CMD_VARVE_IMPORT_H
#define VARVE_CMD_VARVE_IMPORT_H

#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "cmd.h"
#include "store.h"

#define IMPORT_COLUMNS_MAX 1024u
#define IMPORT_LINE_MAX (32u * 1024 * 1024)

/* ---- import_csv.c: lines and fields ---- */

typedef struct import_input {
    const char *path; /* as it was given; "-" is standard input */
    const char *name; /* its last part, for messages and {_file} */
    char full[4096];  /* the whole path; empty for what is no regular file */
    FILE *file;
    vv_buf buf;
    size_t at;      /* the next byte not yet handed out */
    bool ended;     /* the file has no more */
    uint64_t line;  /* of the record handed out last; from 1 */
    uint64_t lines; /* newlines passed */
    uint64_t bytes_read;
    uint64_t size; /* 0: not known */
} import_input;

VV_MUST_CHECK vv_status import_input_open(import_input *in, const char *path, vv_error *err);
void import_input_close(import_input *in);

/** The next line without its end; with quotes, a record that may hold newlines inside "...".
 * VV_NOT_FOUND at the end; VV_INVALID names file and line. Borrowed, writable, until the next call.
 * Empty lines are left out. */
VV_MUST_CHECK vv_status import_next_line(import_input *in, bool quotes, uint8_t **line, size_t *len,
                                         vv_error *err);

/** Split a CSV record in place. VV_INVALID names file and line. */
VV_MUST_CHECK vv_status import_split(const import_input *in, uint8_t *line, size_t len,
                                     char delimiter, vv_slice *fields, size_t *count,
                                     vv_error *err);

/* ---- import_map.c: fields to a record ---- */

typedef struct import_options {
    const char *id;        /* a column, or text with {column}; NULL: chosen from the header */
    const char *timestamp; /* a column; NULL: chosen from the header */
    const char *unit;      /* rfc3339, s, ms, us, ns; NULL: told from the value */
    cmd_list set;          /* NAME=VALUE */
    cmd_list meta;         /* columns that become metadata */
    cmd_list text;         /* columns that stay text */
    bool no_timestamp;     /* the time of arrival, whatever the columns are called */
    bool keep;             /* the id and timestamp columns become fields too */
} import_options;

typedef enum import_role { ROLE_FIELD, ROLE_TEXT, ROLE_META, ROLE_NONE } import_role;

/* Literal text, or the value of a column, or the file's name or path or the line number. */
typedef enum part_kind { PART_TEXT, PART_COLUMN, PART_FILE, PART_PATH, PART_LINE } part_kind;
typedef struct id_part {
    part_kind kind;
    vv_slice text; /* PART_TEXT; PART_COLUMN: its name */
    size_t column;
} id_part;

#define IMPORT_PARTS_MAX 32

typedef struct import_map {
    const import_options *opt;
    vv_arena arena;
    vv_slice *columns; /* CSV: names */
    import_role *roles;
    size_t column_count;
    id_part parts[IMPORT_PARTS_MAX];
    size_t part_count;
    vv_slice time_name; /* empty: the time of arrival */
    size_t time_column;
    int64_t unit_ns;  /* 0: a date; -1: told from the value */
    uint64_t untimed; /* records that get the time of arrival for want of a column */
    uint64_t big;     /* integers beyond 2^53 that were kept as text */
    vv_buf fixed;     /* the fields of --set, as Struct bytes */
    vv_buf body;
    vv_buf id;
    vv_slice meta[2 * CMD_LIST_MAX];
} import_map;

/** Prepare for CSV with these columns, or for JSON lines (columns NULL). VV_INVALID names what is
 * wrong. */
VV_MUST_CHECK vv_status import_map_init(import_map *m, const import_options *opt,
                                        const import_input *in, const vv_slice *columns,
                                        size_t count, vv_error *err);
void import_map_fini(import_map *m);

/** A CSV record's fields as a record. Borrows the fields and the map. VV_INVALID says why, without
 * file and line. */
VV_MUST_CHECK vv_status import_map_csv(import_map *m, const import_input *in,
                                       const vv_slice *fields, store_record *out, vv_error *err);
/** A JSON line as a record. */
VV_MUST_CHECK vv_status import_map_json(import_map *m, const import_input *in, vv_slice line,
                                        store_record *out, vv_error *err);

/* ---- import_time.c: times ---- */

/** How usual a name is for the time of a record, 0 the most; SIZE_MAX when it is none. */
size_t import_time_rank(vv_slice name);
/** --timestamp-unit as import_map.unit_ns. */
int64_t import_time_unit(const char *unit);
/** The time of a record. VV_INVALID says which text in which column is none. */
VV_MUST_CHECK vv_status import_time_read(const import_map *m, vv_slice text, int64_t *out,
                                         vv_error *err);

#endif
