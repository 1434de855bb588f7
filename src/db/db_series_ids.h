/*
 * db_series_ids.h - sets of series ids: what postings are joined with.
 *
 * Ids are given in order, so a set of many is dense: pages of 65,536 ids, each a sorted array of
 * their low halves while they are few and bits when they are many (S. Chambi, D. Lemire and others,
 * "Better bitmap performance with Roaring bitmaps", 2016). A million ids in a row take 128 KiB, ids
 * far apart two bytes each and a page. What a set takes is counted as memory of queries.
 */
#ifndef VARVE_DB_DB_SERIES_IDS_H
#define VARVE_DB_DB_SERIES_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "varve/status.h"

typedef struct db_ids_page {
    uint64_t number; /* of the page: id >> 16 */
    uint32_t count;
    uint32_t cap; /* of low; 0: bits */
    union {
        uint16_t *low; /* [count] ascending */
        uint64_t *bits;
    } in;
} db_ids_page;

typedef struct db_ids {
    vv_budget *budget;
    db_ids_page *page; /* [page_count] by number; some may be empty */
    size_t page_count;
    size_t page_cap;
    size_t last; /* page that was used last */
    uint64_t count;
    uint64_t bytes; /* counted */
} db_ids;

/** Allocates nothing. */
void db_ids_init(db_ids *ids, vv_budget *budget);
void db_ids_fini(db_ids *ids);
/** VV_BUSY names the limit; VV_NO_MEMORY. Then ids is as before. */
VV_MUST_CHECK vv_status db_ids_add(db_ids *ids, uint64_t id, vv_error *err);
void db_ids_remove(db_ids *ids, uint64_t id);
bool db_ids_has(db_ids *ids, uint64_t id);
/** The lowest id above *id, into *id; false: there is none. */
bool db_ids_next(const db_ids *ids, uint64_t *id);

#endif
