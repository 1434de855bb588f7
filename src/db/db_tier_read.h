/*
 * db_tier_read.h - the part of a stream that lies in objects alone, read in place.
 *
 *   db_stream_load of an offset below the partition's own blocks
 *     -> the entry 'A' that holds it             a seek in the table
 *     -> the object's index                      cache, or one range GET
 *     -> the block                               what was read ahead, cache, or one range GET
 *
 * A scan reads ahead: each further block in a row doubles what one GET fetches, to AHEAD_MAX. What
 * came is kept in the cache only when it checked. A damaged piece is fetched once more, since what
 * was flipped on the way is whole at the second try; then it is VV_CORRUPT.
 *
 * Objects are immutable, and a message keeps its offset for ever. So a reader at an old snapshot,
 * whose object was merged into another and removed, goes on with the entry that holds the offset
 * now.
 *
 * What the store answers reaches the reader as a sentence that names the object. An object that is
 * missing is VV_CORRUPT, and a timeout VV_IO: VV_NOT_FOUND and VV_TIMEOUT mean the end to those who
 * read streams.
 */
#ifndef VARVE_DB_DB_TIER_READ_H
#define VARVE_DB_DB_TIER_READ_H

#include "db/db_stream_int.h"

/* ---- db_tier_cache.c: stored bytes of objects, on the disk or in memory ------------------------
 */

#define DB_TIER_CACHE_DIR DB_TIER_DIR "/cache"
#define DB_TIER_PIECE_MAX (ARCH_INDEX_MAX)

/* A piece of an object. */
typedef struct db_tier_piece {
    uint64_t object; /* db_tier_view_id */
    uint64_t at;
    uint32_t len;
} db_tier_piece;

typedef struct db_tier_cache db_tier_cache;

typedef struct db_tier_cache_figures {
    uint64_t hits;
    uint64_t misses;
    uint64_t bytes; /* held now */
    uint64_t damaged;
} db_tier_cache_figures;

/** At most max bytes, in files beneath DB_TIER_CACHE_DIR of env's root: what an earlier process
 * left there is there. in_memory: no file is touched. Gives *out: db_tier_cache_close. */
VV_MUST_CHECK vv_status db_tier_cache_open(const vv_env *env, vv_budget *budget, uint64_t max,
                                           bool in_memory, db_tier_cache **out, vv_error *err);
void db_tier_cache_close(db_tier_cache *cache); /* accepts NULL */
/** True: out [piece->len] has it. A damaged file is a miss. NULL has nothing. */
bool db_tier_cache_get(db_tier_cache *cache, const db_tier_piece *piece, void *out);
/** Keep it, if there is room. once: of a scan; it goes before what was asked for by itself. */
void db_tier_cache_put(db_tier_cache *cache, const db_tier_piece *piece, const void *bytes,
                       bool once);
void db_tier_cache_drop(db_tier_cache *cache, const db_tier_piece *piece);
void db_tier_cache_read(db_tier_cache *cache, db_tier_cache_figures *out);

/* ---- db_tier_view.c: one object ---------------------------------------------------------------
 */

typedef struct db_tier_view db_tier_view;

/* What an object is called in the cache. */
uint64_t db_tier_view_id(const char *name, uint64_t intent);
/* The store of a db. VV_UNSUPPORTED: it has none. */
VV_MUST_CHECK vv_status db_tier_store(const vv_db *db, vv_object_store **out, vv_error *err);
/* Exactly len bytes of an object, by one GET. VV_NOT_FOUND: there is no such object. */
VV_MUST_CHECK vv_status db_tier_get(vv_object_store *store, const char *name, uint64_t offset,
                                    void *out, size_t len, vv_error *err);
/** Its index is read. VV_NOT_FOUND: it is missing. VV_BUSY: no memory in the budget. */
VV_MUST_CHECK vv_status db_tier_view_open(vv_db *db, const arch_entry *entry, db_tier_view **out,
                                          vv_error *err);
void db_tier_view_close(db_tier_view *o); /* accepts NULL */
const arch_entry *db_tier_view_entry(const db_tier_view *o);
arch_reader *db_tier_view_reader(const db_tier_view *o);
/* How many blocks were read in a row: for the object that follows. */
uint32_t db_tier_view_run(const db_tier_view *o);
void db_tier_view_set_run(db_tier_view *o, uint32_t run);
VV_MUST_CHECK vv_status db_tier_view_load(db_tier_view *o, uint32_t block, vv_error *err);

/* Is an open object what the entry says? VV_CORRUPT. */
VV_MUST_CHECK vv_status db_tier_check_identity(const arch_reader *reader, const arch_entry *entry,
                                               vv_error *err);
/* Memory to read the object with. */
uint64_t db_tier_memory(const arch_entry *entry);

/* ---- db_tier_read.c: places and messages --------------------------------------------------------
 *
 * As those of db_stream_int.h, of offsets below local.
 */

VV_MUST_CHECK vv_status db_tier_load(db_stream_reader *r, uint64_t offset, vv_error *err);
VV_MUST_CHECK vv_status db_tier_next(db_stream_reader *r, vv_message *out, uint64_t *size,
                                     vv_error *err);
VV_MUST_CHECK vv_status db_tier_skip_to(db_stream_reader *r, uint64_t offset, vv_error *err);
/* `local`: there is none below. */
VV_MUST_CHECK vv_status db_tier_search_received(db_stream_reader *r, int64_t time_ns, uint64_t *out,
                                                vv_error *err);
VV_MUST_CHECK vv_status db_tier_search_event(db_stream_reader *r, int64_t time_ns, uint64_t *out,
                                             vv_error *err);
/* When the first message was received; of a partition that begins within an object, about. */
VV_MUST_CHECK vv_status db_tier_first_received(db_stream_reader *r, int64_t *out, vv_error *err);

/* ---- db_tier_restore.c --------------------------------------------------------------------------
 */

/* Let restored messages leave whose time as local ones is over, or that lie before the partition's
 * first: one range of them. VV_NOT_FOUND: there is none. The reader is at the newest moment, and is
 * closed when something is written. */
VV_MUST_CHECK vv_status db_tier_restored_leave(db_stream_reader *r, int64_t local_ns,
                                               int64_t now_ns, vv_error *err);

#endif
