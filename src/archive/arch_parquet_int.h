/*
 * arch_parquet_int.h - a Parquet file that is being written: columns of the rows that wait, and
 * where what is written lies.
 */
#ifndef VARVE_ARCHIVE_ARCH_PARQUET_INT_H
#define VARVE_ARCHIVE_ARCH_PARQUET_INT_H

#include "archive/arch_int.h"

/* Columns that every file has, in this order. */
typedef enum pq_fixed {
    PQ_OFFSET,
    PQ_RECEIVE_TIME,
    PQ_EVENT_TIME,
    PQ_KEY,
    PQ_VALUE,
    PQ_CONTENT_TYPE,
    PQ_SOURCE,
    PQ_OTHERS,
    PQ_FIXED,
} pq_fixed;

#define PQ_ATTRIBUTES_MAX 256u /* that get a column of their own */
#define PQ_COLUMNS_MAX (PQ_FIXED + PQ_ATTRIBUTES_MAX)
#define PQ_GROUP_BYTES (8u * 1024 * 1024) /* of a row group, before compression */
#define PQ_GROUP_ROWS 65536u
/* A message is 12 MiB at most; as JSON, of control bytes alone, six times that. */
#define PQ_PAGE_MAX (192u * 1024 * 1024)
#define PQ_NAME_MAX (VV_STREAM_ATTRIBUTE_NAME_MAX + 32u)

/* What values of a column are, in our words; bool is bits, string and bytes have lengths. */
typedef enum pq_kind {
    PQ_BOOL,
    PQ_I64,
    PQ_F64,
    PQ_TIME,
    PQ_STRING,
    PQ_BYTES,
} pq_kind;

/* A column's values in one row group, as the footer tells of them. */
typedef struct pq_chunk {
    uint64_t at;     /* of its page's header */
    uint32_t stored; /* bytes, header included */
    uint32_t raw;    /* likewise, before compression */
    uint32_t rows;
    uint32_t nulls;
    bool is_packed; /* with zstd */
    int64_t min;    /* of kinds i64 and time */
    int64_t max;
} pq_chunk;

typedef struct pq_column {
    pq_kind kind;
    bool is_optional;
    uint16_t name_len;
    char name[PQ_NAME_MAX];
    uint8_t attribute_len; /* as messages have it; 0: a fixed column */
    uint8_t attribute[VV_STREAM_ATTRIBUTE_NAME_MAX];
    /* of the row group that is being filled */
    vv_buf values;
    vv_buf levels;  /* runs of nulls and of values */
    uint32_t run;   /* rows in the last run */
    bool run_level; /* they have a value */
    uint32_t rows;  /* in levels, the last run included */
    uint32_t nulls; /* among them */
    unsigned bits;  /* of a bool column's last byte that are used */
    int64_t min;
    int64_t max;
    /* of those that are written */
    pq_chunk *chunk;
    uint32_t chunk_count;
    uint32_t chunk_cap;
} pq_column;

struct arch_parquet {
    arch_sink sink;
    arch_identity who;
    arch_pack *pack;
    uint64_t at; /* bytes written */
    uint64_t rows;
    uint64_t first; /* offset */
    pq_column *column[PQ_COLUMNS_MAX];
    uint32_t column_count;
    uint16_t slot[1024]; /* attributes by hash: the column's number; 0: free */
    uint32_t group_rows; /* of the row group that is being filled */
    size_t group_bytes;
    uint32_t *group; /* rows of each group that is written */
    uint32_t group_count;
    uint32_t group_cap;
    vv_buf page;
    vv_buf packed;
    vv_buf head;
    vv_buf others; /* JSON of attributes without a column */
};

/** Write the rows that wait as a row group. */
VV_MUST_CHECK vv_status pq_group_write(arch_parquet *p, vv_error *err);
/** Chunks of nulls for columns that came after a group was written; then the footer. */
VV_MUST_CHECK vv_status pq_footer_write(arch_parquet *p, vv_error *err);
VV_MUST_CHECK vv_status pq_put(arch_parquet *p, vv_slice bytes, vv_error *err);
/** Rows of the group that the column does not have yet are null; its levels are whole then. */
void pq_pad(pq_column *c, uint32_t rows);

#endif
