/*
 * iso_int.h - shared by the reading of a history and the search for cycles.
 */
#ifndef VARVE_TESTS_ISOLATION_ISO_INT_H
#define VARVE_TESTS_ISOLATION_ISO_INT_H

#include "isolation/iso_check.h"

typedef struct iso_op {
    bool is_read;
    uint32_t key;
    uint32_t value; /* of an append */
    uint32_t *list; /* of a read */
    uint32_t count;
} iso_op;

typedef struct iso_one {
    iso_end end;
    uint32_t first; /* of its operations */
    uint32_t count;
} iso_one;

typedef enum iso_kind { ISO_WW = 1, ISO_WR = 2, ISO_RW = 4 } iso_kind;

typedef struct iso_edge {
    uint32_t from;
    uint32_t to;
    iso_kind kind;
} iso_edge;

struct iso_history {
    iso_one *txns;
    uint32_t txn_count, txn_cap;
    iso_op *ops;
    uint32_t op_count, op_cap;
    iso_edge *edges;
    uint32_t edge_count, edge_cap;
    uint32_t found;
    char *why;
    size_t why_len;
};

/* Note an anomaly; the first of its kind is told. */
void iso_say(iso_history *h, iso_anomaly what, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void iso_add_edge(iso_history *h, uint32_t from, uint32_t to, iso_kind kind);
/* iso_cycle.c: from the edges to the cycles. */
void iso_find_cycles(iso_history *h);

#endif
