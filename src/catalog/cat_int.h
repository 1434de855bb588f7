/*
 * cat_int.h - shared inside catalog/: the record of a table, the two hashes, the state.
 */
#ifndef VARVE_CATALOG_CAT_INT_H
#define VARVE_CATALOG_CAT_INT_H

#include "base/lock.h"
#include "catalog/catalog.h"
#include "varve/stream.h"

#define CAT_ARCHIVE_BYTES_MAX (54u + CAT_ARCHIVE_KEY_MAX)
#define CAT_EXTRACT_MAX (6u + VV_EXTRACT_TEXT_MAX + VV_EXTRACT_SCHEMA_MAX)
/* bytes of an encoded record at most; CAT_KEEP_MAX is in one of another kind of table */
#define CAT_RECORD_MAX (464u + CAT_ARCHIVE_BYTES_MAX + CAT_EXTRACT_MAX)
#define CAT_KEY_MAX (1u + VV_NAME_MAX + 1u + VV_NAME_MAX)

/* ---- cat_record.c: bytes -------------------------------------------------------------------- */

/* The record of table, for the catalog and as OPEN record. Returns the bytes written to out. */
size_t cat_record_encode(const cat_table *table, uint8_t out[CAT_RECORD_MAX]);
/* VV_CORRUPT on bytes that are no record; VV_UNSUPPORTED on a newer format. Fills the fixed fields;
 * keep_bytes, archive_bytes and extract_bytes of out lie in bytes. */
VV_MUST_CHECK vv_status cat_record_decode(vv_slice bytes, cat_table *out, vv_error *err);
/* The key of a table's record in the catalog table, without the table prefix. */
size_t cat_record_key(const char *tenant, const char *name, uint8_t out[CAT_KEY_MAX]);
/* VV_INVALID unless text is a legal tenant or table name. */
VV_MUST_CHECK vv_status cat_name_check(const char *what, const char *text, vv_error *err);

/* ---- cat_keep.c: rules of how long series are kept ------------------------------------------- */

/* VV_INVALID names the rule of a series table that cannot be, where late_ns is its out_of_order_ns.
 */
VV_MUST_CHECK vv_status cat_keep_check(const vv_table_options *opt, int64_t late_ns, vv_error *err);
/* Copies checked rules. Gives *out: vv_free; NULL where there are none. */
VV_MUST_CHECK vv_status cat_keep_make(const vv_keep_rule *rules, size_t count, cat_keep **out,
                                      vv_error *err);
/* Likewise what keep_bytes of a decoded record holds. */
VV_MUST_CHECK vv_status cat_keep_read(vv_slice bytes, cat_keep **out, vv_error *err);
/* Give a table its rules: takes keep. Those it had are retired. */
void cat_keep_set(cat_table *table, cat_keep *keep);
/* Are these the bytes of rules? */
bool cat_keep_is_well_formed(vv_slice bytes);
/* Of table->keep in memory, and of what it was before. */
size_t cat_keep_size(const cat_table *table);

/* ---- cat_table.c, for cat_alter.c --------------------------------------------------------------
 */

/* VV_INVALID for options that cannot be. */
VV_MUST_CHECK vv_status cat_check_options(const catalog *cat, const vv_table_options *opt,
                                          vv_error *err);
/* What the options say that can be changed later, defaults filled in; not the rules. */
void cat_take_options(cat_table *table, const vv_table_options *opt);
/* What stands in its record, in a state. */
cat_table cat_copy(const cat_table *table, cat_state state);
/* Log the record of a READY table as it is to be. */
VV_MUST_CHECK vv_status cat_log_record(catalog *cat, const cat_table *table, vv_error *err);

/* ---- cat_archive.c: how a stream table is archived ------------------------------------------- */

/* VV_INVALID names what cannot be. The template of names is the caller's to check. */
VV_MUST_CHECK vv_status cat_archive_check(const vv_table_options *opt, vv_error *err);
/* A copy. Gives *out: vv_free; NULL of NULL. */
VV_MUST_CHECK vv_status cat_archive_make(const vv_archive_rule *rule, cat_archive **out,
                                         vv_error *err);
/* Likewise of what archive_bytes of a decoded record holds. */
VV_MUST_CHECK vv_status cat_archive_read(vv_slice bytes, cat_archive **out, vv_error *err);
/* Behind the rule that begins at p; NULL: it is malformed. */
const uint8_t *cat_archive_get(const uint8_t *p, const uint8_t *end, vv_archive_rule *out,
                               vv_slice *key);
/* Give a table its rule: takes archive. The one it had is retired. */
void cat_archive_set(cat_table *table, cat_archive *archive);
/* Of table->archive in memory, and of what it was before. */
size_t cat_archive_size(const cat_table *table);

/* ---- cat_extract.c: rules that make attributes of messages ----------------------------------- */

/* VV_INVALID names what is too long. What rules say is the caller's to check. */
VV_MUST_CHECK vv_status cat_extract_check(const vv_table_options *opt, vv_error *err);
/* Copies. Gives *out: vv_free; NULL where there are none. */
VV_MUST_CHECK vv_status cat_extract_make(const vv_table_options *opt, cat_extract **out,
                                         vv_error *err);
/* Likewise what extract_bytes of a decoded record holds. */
VV_MUST_CHECK vv_status cat_extract_read(vv_slice bytes, cat_extract **out, vv_error *err);
/* Are these the bytes of rules? */
bool cat_extract_is_well_formed(vv_slice bytes);
size_t cat_extract_size_of(const cat_extract *extract); /* in memory */
/* Give a table its rules: takes extract. Those it had are retired. */
void cat_extract_set(cat_table *table, cat_extract *extract);
/* Of table->extract in memory, and of what it was before. */
size_t cat_extract_size(const cat_table *table);

/* ---- cat_map.c: what is in memory ----------------------------------------------------------- */

typedef struct cat_map {
    cat_table **by_name; /* bucket_count chains */
    cat_table **by_id;
    size_t bucket_count; /* a power of two */
    size_t count;
} cat_map;

VV_MUST_CHECK vv_status cat_map_init(cat_map *map, vv_error *err);
void cat_map_fini(cat_map *map); /* drops its references */
/* Make room for one more, so that cat_map_add cannot fail. */
VV_MUST_CHECK vv_status cat_map_reserve(cat_map *map, vv_error *err);
void cat_map_add(cat_map *map, cat_table *table);    /* takes the reference */
void cat_map_remove(cat_map *map, cat_table *table); /* gives the reference back */
cat_table *cat_map_find(const cat_map *map, const char *tenant, const char *name);
cat_table *cat_map_find_id(const cat_map *map, uint32_t id); /* also by the id of an index */

/* ---- cat_suggest.c -------------------------------------------------------------------------- */

/* VV_NOT_FOUND with the nearest tenant or table named. The map's lock is held. */
vv_status cat_fail_not_found(const cat_map *map, const char *tenant, const char *name,
                             vv_error *err);

struct catalog {
    cat_options opt;
    vv_mutex ddl_lock;  /* rank VV_RANK_CATALOG: one create or drop at a time */
    vv_mutex map_lock;  /* rank VV_RANK_LEAF */
    cat_map map;        /* under map_lock */
    uint32_t next_id;   /* under ddl_lock */
    uint64_t keep_size; /* of the rules of all tables; under map_lock */
};

/* What the rules of a table take, those of before among them. Under map_lock. */
static inline size_t cat_rules_size(const cat_table *table)
{
    return cat_keep_size(table) + cat_archive_size(table) + cat_extract_size(table);
}

/* The rules of a table that is added are memory of the catalog. Under map_lock. */
static inline void cat_count_keep(catalog *cat, const cat_table *table)
{
    uint64_t bytes = cat_rules_size(table);
    cat->keep_size += bytes;
    vv_budget_take(cat->opt.budget, VV_BUDGET_INDEX, bytes);
}

#endif
