/*
 * db_series_int.h - shared by the files of series tables: keys, what is in memory of each series.
 *
 * Keys of a series table, behind its id; docs/format/series-table.md has the bytes:
 *
 *     'S' id               record: type, labels          'C' id from      span class from a time on
 *     'H' hash of labels   id                            'D' id class bucket   samples
 *     'C' id from class    samples overflowed to it      'F' id class bucket   that bucket is full
 *     'I' name 0 value 0 id   posting                    'P' source       position of a source
 *     'M'                  counters                  'W' id           rolled up below this time
 *     'N'                  number of series
 *     'R' tier id day      rows of a rollup          'U' id day       those rows are not true
 *
 * A series is made by the first entry that has samples of it: its keys are in each entry until one
 * of them is known to be logged. So there is no entry of samples whose series a crash can lose.
 */
#ifndef VARVE_DB_DB_SERIES_INT_H
#define VARVE_DB_DB_SERIES_INT_H

#include "db/db_int.h"
#include "db/db_series_dirty.h"
#include "series/fold.h"
#include "varve/series.h"

/* First key byte. Frozen. */
#define DB_SERIES_RECORD 'S'
#define DB_SERIES_HASH 'H'
#define DB_SERIES_POSTING 'I'
#define DB_SERIES_CLASS 'C'
#define DB_SERIES_DATA 'D'
#define DB_SERIES_FULL 'F'
#define DB_SERIES_POSITION 'P'
#define DB_SERIES_COUNTER 'M'
#define DB_SERIES_COUNT 'N'
#define DB_SERIES_ROWS 'R'
#define DB_SERIES_ROLLED 'W'
#define DB_SERIES_DIRTY 'U'

#define DB_SERIES_KEY_MAX (1u + VV_LABEL_BYTES_MAX + 2u + 8u)
#define DB_SERIES_DATA_KEY 18u
#define DB_SERIES_RECORD_HEAD 10u
#define DB_SERIES_PARTS_MAX 8u
#define DB_SERIES_NAME "__name__"

/* ---- db_series_key.c ---- */

/* Spans of time that a bucket may have, in nanoseconds. Frozen. */
#define DB_SERIES_CLASSES 11u
#define DB_SERIES_NO_CLASS DB_SERIES_CLASSES
extern const int64_t db_series_span[DB_SERIES_CLASSES];
/* Where samples go whose bucket of a class is full; DB_SERIES_NO_CLASS behind the last. Frozen. */
extern const uint8_t db_series_finer[DB_SERIES_CLASSES];

/* The labels as one string: by name, each varint length, name, varint length, value; those without
 * a value are left out. Appends to out. VV_INVALID. */
VV_MUST_CHECK vv_status db_series_canonical(const vv_label *labels, size_t count, vv_buf *out,
                                            vv_error *err);
/* Take the next label off *rest. False at the end, and where it is malformed: then rest->len is not
 * 0. */
bool db_series_label_next(vv_slice *rest, vv_label *out);
/* The value of a label; empty when there is none. */
vv_slice db_series_label_find(vv_slice canonical, vv_slice name);
/* In the order of names and values, label by label. */
int db_series_canonical_cmp(vv_slice a, vv_slice b);
/* "up{host=a, rack=2}", cut to fit. */
void db_series_canonical_text(vv_slice canonical, char *out, size_t size);

size_t db_series_id_key(uint8_t kind, uint64_t id, uint8_t out[9]);
size_t db_series_hash_key(vv_slice canonical, uint8_t out[17]);
/* Up to the id: what postings of a label begin with. A value NULL: of all values. */
size_t db_series_posting_prefix(vv_slice name, const vv_slice *value,
                                uint8_t out[DB_SERIES_KEY_MAX]);
/* The value and the id of a posting's key. False where it is malformed. */
bool db_series_posting_parse(vv_slice key, vv_slice *value, uint64_t *id);
size_t db_series_class_key(uint64_t id, int64_t from, uint8_t out[17]);
/* Samples of this part lie in buckets of that class, too. */
size_t db_series_overflow_key(uint64_t id, int64_t from, unsigned class, uint8_t out[18]);
/* kind: DB_SERIES_DATA, DB_SERIES_FULL. */
size_t db_series_bucket_key(uint8_t kind, uint64_t id, unsigned class, int64_t bucket,
                            uint8_t out[DB_SERIES_DATA_KEY]);
static inline size_t db_series_data_key(uint64_t id, unsigned class, int64_t bucket,
                                        uint8_t out[DB_SERIES_DATA_KEY])
{
    return db_series_bucket_key(DB_SERIES_DATA, id, class, bucket, out);
}
/* Number of the bucket that has t. */
int64_t db_series_bucket(unsigned class, int64_t t);
/* Its first time; the lowest there is where it lies below all. */
int64_t db_series_bucket_begin(unsigned class, int64_t bucket);
/* Its last time; the highest there is where it lies above all. */
int64_t db_series_bucket_last(unsigned class, int64_t bucket);
/* When a bucket's samples have all passed the retention; 0: never. */
int64_t db_series_expiry(unsigned class, int64_t bucket, int64_t retention_ns);

/* ---- db_series.c: what is in memory ---- */

/* From this time on, up to the next part, samples lie in buckets of this class. */
typedef struct db_series_part {
    int64_t from;
    uint32_t class;
} db_series_part;

/* How much one bucket holds. */
typedef struct db_series_fill {
    int64_t bucket;
    uint32_t class;
    uint32_t weight; /* or less */
    bool is_known;
    bool is_full; /* its samples go to finer buckets, for ever */
} db_series_fill;

#define DB_SERIES_FILLS 6u /* of a series that are remembered */

typedef struct db_series_latest {
    bool is_known;
    bool is_empty;          /* there is no sample */
    int64_t version;        /* everything up to it is in this */
    int64_t touched;        /* newest version that is known to have changed the series */
    int64_t sample_version; /* of the sample, or more */
    int64_t time_ns;
    uint64_t value; /* bits; strings are never known */
    uint32_t quality;
} db_series_latest;

/* One series. Labels and type are fixed; the rest is under db_series.lock, but that a part once
 * there does not change. */
typedef struct db_series_entry {
    uint64_t id;
    uint64_t hash;
    int64_t created_ns;
    _Atomic int64_t retention_ns; /* of its samples; 0: for ever. Changes with the table's */
    uint32_t keep_turn;           /* that it is of */
    vv_sample_type type;
    uint32_t canonical_len;
    uint32_t refs;      /* one of the cache while is_cached */
    uint32_t in_flight; /* appends that have its id and are not done */
    bool is_cached;
    bool is_logged;   /* an entry with its record is in the log */
    bool is_dropping; /* series_lock is held by who drops it */
    bool is_used;     /* since the clock hand passed */
    bool newest_known;
    bool wants_newest;     /* the class should change, but newest is not known */
    uint32_t logged_parts; /* bit set */
    _Atomic uint32_t part_count;
    db_series_part part[DB_SERIES_PARTS_MAX];
    _Atomic uint32_t overflow; /* classes that have samples of full buckets; bits */
    uint32_t logged_overflow;
    int64_t newest; /* of this process, in flight or written; with newest_known: of all */
    db_series_fill fill[DB_SERIES_FILLS]; /* the one used last in front */
    db_series_fill *closing;              /* [closing_count] full, which the log may not know yet */
    uint32_t closing_count;
    uint64_t flying; /* weight of the appends in flight */
    uint64_t places; /* given in buckets, counted */
    uint64_t seen;   /* samples since the class was chosen, and where they lie */
    int64_t seen_first;
    int64_t seen_last;
    db_series_latest latest;
    /* Of rollups: db_series_rollup.h. */
    _Atomic int64_t rolled; /* what is written below it is marked; grows under lock */
    int64_t roll_done;      /* below it nothing was left to roll up when last looked at */
    uint32_t planned[2];    /* appends in flight, by the turn they were planned in */
    uint8_t turn;           /* changes when rolled grows */
    bool is_queued;         /* in roll.queue */
    struct db_series_entry *next_by_hash;
    struct db_series_entry *next_by_id;
    struct db_series_entry *newer; /* ring of all that are cached */
    struct db_series_entry *older;
    uint8_t canonical[];
} db_series_entry;

/* The next finer class that may have samples of the times of this one. */
static inline unsigned db_series_finer_used(const db_series_entry *e, unsigned class)
{
    uint32_t overflow = atomic_load_explicit(&e->overflow, memory_order_acquire);
    do {
        class = db_series_finer[class];
    } while (class != DB_SERIES_NO_CLASS && (overflow >> class & 1) == 0);
    return class;
}

static inline vv_slice db_series_labels(const db_series_entry *e)
{
    return vv_slice_of(e->canonical, e->canonical_len);
}

#define DB_SERIES_QUEUE 1024u

/* What the rollups of a table are about to do: db_series_roll.c. All under db_series.lock. */
typedef struct db_series_roll {
    uint64_t queue[DB_SERIES_QUEUE]; /* ring of ids that have something to roll up */
    uint32_t head;
    uint32_t count;
    uint32_t erasing; /* deletions under way: no step begins */
    bool is_running;  /* a step: no deletion begins */
    bool wants_pass;  /* over all series */
    bool in_pass;
    bool wants_walk;       /* over all marks: some may not be in dirty */
    db_series_dirty dirty; /* days with marks */
    uint64_t claims;       /* counts how often `rolled` of an entry grew */
    /* The job's own. */
    uint64_t pass_next;
    int64_t pass_at_ns; /* monotonic: when the next pass is due */
    uint8_t mark_next[17];
    bool in_walk;
    uint32_t turn;
} db_series_roll;

/* How many series a partition has: db_series_count.c. */
typedef struct db_series_tally {
    uint64_t next_id;
    uint64_t count;   /* logged or to be logged */
    uint64_t below;   /* 'N' says: of the ids below this ... */
    uint64_t counted; /* ... so many are series */
} db_series_tally;

typedef struct db_series_keep db_series_keep;

/* Of one table. */
typedef struct db_series {
    cat_extra extra; /* first: the catalog destroys it */
    vv_db *db;
    db_series_keep *_Atomic keep; /* rules of retention; NULL: there are none */
    db_series_keep *keep_retired; /* those before; under lock */
    _Atomic uint32_t keep_turn;   /* counts changes of how long samples are kept; under lock too */
    vv_mutex lock;                /* rank VV_RANK_LEAF */
    vv_cond idle;                 /* an append of a series that is dropped was done */
    db_series_entry **by_hash;    /* bucket_count chains; under lock, like all below */
    db_series_entry **by_id;
    size_t bucket_count;
    size_t cached;
    db_series_entry *hand; /* of the clock that evicts */
    uint64_t cache_bytes;
    struct db_series *next_table; /* ring of all tables; under vv_db.series_tables_lock */
    struct db_series *last_table;
    uint64_t series_count; /* logged or to be logged; changes under series_lock too */
    uint64_t unlogged;     /* of those cached, records that may not be in the log */
    uint32_t fill_max;     /* weight from which a bucket is full */
    uint64_t drops;        /* counts them: what was read before one is not cached after it */
    db_series_roll roll;
    uint64_t uncounted;   /* series that 'N' does not count; under series_lock, like all below */
    uint64_t count_every; /* so many are counted anew */
    uint32_t partition_count;
    db_series_tally tally[]; /* [partition_count] */
} db_series;

/* A series lies whole in one partition: that of the hash of its labels, which is the remainder of
 * its id by their number, too. */
static inline uint32_t db_series_partition(const vv_table *table, uint64_t id_or_hash)
{
    assert(table->partition_count > 0);
    return (uint32_t)(id_or_hash % table->partition_count);
}
static inline vv_table db_series_part_at(const vv_table *table, uint64_t id_or_hash)
{
    return db_part_at(table, db_series_partition(table, id_or_hash));
}

/* NULL: nobody has asked for it. */
db_series *db_series_attached(const cat_table *cat);
/* The table's, read from the store at first. VV_INVALID when it is not a series table. */
VV_MUST_CHECK vv_status db_series_of(vv_table *table, db_series **out, vv_error *err);
/* Series of all tables of a tenant. Under series_lock. */
VV_MUST_CHECK vv_status db_series_tenant_count(vv_db *db, const char *tenant, uint64_t *out,
                                               vv_error *err) VV_REQUIRES(db->series_lock);

/* ---- db_series_keep.c: how long samples are kept ---- */

/* Rules of the table, borrowed. Gives *out: db_series_keep_close; NULL where there are none. */
VV_MUST_CHECK vv_status db_series_keep_open(const cat_table *cat, const cat_keep *rules,
                                            db_series_keep **out, vv_error *err);
void db_series_keep_close(db_series_keep *k); /* and those that are older; accepts NULL */
/* Of a series with these labels, and the turn that this is of; 0: for ever. No lock of rank
 * VV_RANK_LEAF is held. */
int64_t db_series_keep_of(db_series *s, const cat_table *cat, vv_slice canonical, uint32_t *turn);
/* The table keeps its series by other rules (takes `to`, which may be the same), or by another
 * retention: bring what is remembered of it up to date. One thread at a time. */
void db_series_keep_change(db_series *s, const cat_table *cat, db_series_keep *to);
/* From when on no sample of a series with this retention has expired. */
int64_t db_series_sure_from(const cat_table *cat, int64_t retention_ns, int64_t now_ns);
/* The first time within a retention; the lowest there is without one. */
int64_t db_series_oldest(int64_t retention_ns, int64_t now_ns);

/* ---- db_series_cache.c ---- */

VV_MUST_CHECK vv_status db_series_cache_init(db_series *s, vv_error *err);
void db_series_cache_fini(db_series *s); /* accepts one whose init failed */
/* Bring the entries of all tables back to their bound. Without db_series.lock. */
void db_series_cache_trim(vv_db *db);
bool db_series_cache_is_over(vv_db *db);
db_series_entry *db_series_entry_new(vv_db *db, vv_slice canonical, vv_sample_type type,
                                     uint64_t id, int64_t retention_ns);
/* From the cache, with a reference; NULL. */
db_series_entry *db_series_find(db_series *s, uint64_t hash, vv_slice canonical)
    VV_REQUIRES(s->lock);
/* The same by its id, without a reference. */
db_series_entry *db_series_find_id(db_series *s, uint64_t id) VV_REQUIRES(s->lock);
/* Put e into the cache, which takes a reference; what is there already under its id stays, and is
 * what is returned. db_series_cache_trim follows when the lock is released. */
db_series_entry *db_series_cache(db_series *s, db_series_entry *e) VV_REQUIRES(s->lock);
void db_series_uncache(db_series *s, db_series_entry *e) VV_REQUIRES(s->lock);
/* Let go of this table what is over the bound and nobody uses; after references were given back. */
void db_series_trim(db_series *s, size_t looks) VV_REQUIRES(s->lock);
/* An append of it is over, and the caller has a reference: forget it if none was logged, or may yet
 * be, and nobody else has it. */
void db_series_unwritten(db_series *s, db_series_entry *e) VV_REQUIRES(s->lock);
void db_series_unref_locked(db_series *s, db_series_entry *e) VV_REQUIRES(s->lock);
void db_series_unref(db_series *s, db_series_entry *e);   /* accepts NULL */
void db_series_entry_free(vv_db *db, db_series_entry *e); /* that nobody else ever saw */

/* ---- db_series.c ---- */

/* The series of an id at a snapshot, with a reference: from the cache, else read. VV_NOT_FOUND.
 * at: NULL for now. */
VV_MUST_CHECK vv_status db_series_load(db_series *s, vv_table *table, const vv_snapshot *at,
                                       uint64_t id, db_series_entry **out, vv_error *err);
/* What a series' record says; *labels lie in it. VV_CORRUPT, VV_UNSUPPORTED. */
VV_MUST_CHECK vv_status db_series_parse_record(uint64_t id, vv_slice value, vv_sample_type *type,
                                               int64_t *created_ns, vv_slice *labels,
                                               vv_error *err);
/* The series with these labels as the log has it, with a reference, cached. VV_NOT_FOUND. */
VV_MUST_CHECK vv_status db_series_look_up(db_series *s, vv_table *table, uint64_t hash,
                                          vv_slice canonical, db_series_entry **out, vv_error *err)
    VV_REQUIRES(table->db->series_lock);

/* ---- db_series_count.c ---- */

/* At first use. Under series_lock. */
VV_MUST_CHECK vv_status db_series_count_open(db_series *s, vv_table *table, vv_error *err);
/* What 'N' says, into y->below and y->counted. */
VV_MUST_CHECK vv_status db_series_count_parse(db_series_tally *y, vv_slice value, vv_error *err);
/* Series of a partition are dropped in this batch, `below` of them below what 'N' counts. Under
 * series_lock. */
VV_MUST_CHECK vv_status db_series_count_add_drop(const db_series *s, vv_batch *batch,
                                                 const cat_table *cat, uint32_t p, uint64_t below,
                                                 vv_error *err);
/* They are. Under series_lock and db_series.lock. */
void db_series_count_dropped(db_series *s, uint32_t p, uint64_t dropped, uint64_t below);

/* ---- db_series_index.c ---- */

typedef struct db_series_set {
    db_series_entry **entry; /* [count] references, in the order of their labels */
    size_t count;
} db_series_set;

/* The series that fit at a snapshot. VV_BUSY when they are more than max. Gives *out. */
VV_MUST_CHECK vv_status db_series_select(db_series *s, vv_table *table, const vv_snapshot *at,
                                         const vv_matcher *matchers, size_t count, uint64_t max,
                                         db_series_set *out, vv_error *err);
void db_series_set_fini(db_series *s, db_series_set *set);
/* Does a series without the label fit? */
VV_MUST_CHECK vv_status db_series_fits_empty(const vv_matcher *m, vv_table *table, bool *out,
                                             vv_error *err);

#define DB_SERIES_LIST_MAX 1000000u

/* ---- db_series_read.c, db_series_levels.c: samples of one series, in time order ---- */

#define DB_SERIES_LEVELS_MAX 6u

/* The buckets of one class, of a part that has several. */
typedef struct db_series_level {
    vv_cursor *at;
    unsigned class;
    bool is_there; /* at stands on the bucket of these times */
    int64_t begin;
    int64_t last;
} db_series_level;

typedef struct db_series_reader {
    vv_cursor *at; /* over 'D' of one partition */
    const vv_table *table;
    uint32_t partition;
    const vv_snapshot *snapshot;
    unsigned class;                              /* that at walks over */
    db_series_level level[DB_SERIES_LEVELS_MAX]; /* from the coarsest; cursors stay till the end */
    uint32_t level_count;                        /* 0: the part has one class */
    int64_t part_high;                           /* with levels: low and high are of a segment */
    series_columns joined;                       /* samples of a segment with several buckets */
    uint32_t joined_given;
    vv_buf chunk;
    const db_series_entry *entry;
    int64_t first; /* the range, both ends inside */
    int64_t last;
    int64_t low; /* what of it lies in the part */
    int64_t high;
    uint32_t part;
    uint32_t part_count;
    bool is_begun; /* at stands on a bucket of part */
    bool has_set;  /* of that bucket; borrows the cursor's value */
    bool is_done;
    series_set set;
} db_series_reader;

/* A piece of a series: one chunk. */
typedef struct db_series_piece {
    vv_slice chunk;
    series_head head;
    bool is_whole; /* it lies in the range */
} db_series_piece;

/* Borrows both. */
VV_MUST_CHECK vv_status db_series_reader_open(db_series_reader *r, vv_table *table,
                                              const vv_snapshot *at, vv_error *err);
void db_series_reader_close(db_series_reader *r);
/* Begin with the samples from first to last of a series, which must stay. */
void db_series_reader_begin(db_series_reader *r, const db_series_entry *e, int64_t first,
                            int64_t last);
/* The next chunk that touches the range; VV_NOT_FOUND at the end. Valid until the next call. */
VV_MUST_CHECK vv_status db_series_reader_next(db_series_reader *r, db_series_piece *out,
                                              vv_error *err);
/* The samples of a piece that lie in the range, appended to out. */
VV_MUST_CHECK vv_status db_series_reader_take(const db_series_reader *r,
                                              const db_series_piece *piece, series_columns *out,
                                              vv_error *err);
/* The newest sample from first to last: the only one in out, which is empty. VV_NOT_FOUND. */
VV_MUST_CHECK vv_status db_series_reader_last(db_series_reader *r, const db_series_entry *e,
                                              int64_t first, int64_t last, series_columns *out,
                                              vv_error *err);

/* Inside the reader: the levels of the part entered, if it has several. */
void db_series_levels_enter(db_series_reader *r);
/* The samples of a chunk from low to high, appended to out. */
VV_MUST_CHECK vv_status db_series_take_chunk(vv_slice chunk, int64_t low, int64_t high,
                                             series_columns *out, vv_error *err);
/* A cursor over the samples of the series' partition, if it is not open yet. */
VV_MUST_CHECK vv_status db_series_open_cursor(const db_series_reader *r, vv_cursor **at,
                                              vv_error *err);
VV_MUST_CHECK vv_status db_series_open_set(db_series_reader *r, const vv_cursor *at, vv_error *err);
/* The next piece of the part; VV_NOT_FOUND behind its last. */
VV_MUST_CHECK vv_status db_series_levels_next(db_series_reader *r, db_series_piece *out,
                                              vv_error *err);
/* The next chunk of r->set that touches low to high; VV_NOT_FOUND: none is left. */
VV_MUST_CHECK vv_status db_series_set_piece(db_series_reader *r, db_series_piece *out,
                                            vv_error *err);

/* ---- db_series_list.c: the newest samples ---- */

void db_series_latest_wrote(db_series_entry *e, int64_t version, int64_t time_ns, uint64_t value,
                            uint32_t quality);
void db_series_latest_forget(db_series_entry *e, int64_t version);

/* ---- db_series_room.c: whether a bucket has room ---- */

typedef struct db_series_place {
    uint64_t own;          /* weight of the series' samples in this append */
    int64_t newest_before; /* of the series when the append was planned */
    uint64_t places;       /* that were given by then, and to this append since */
    uint64_t placed;       /* weight of what was given a place in this append */
    int64_t placed_last;   /* the last time of it */
} db_series_place;

/* Samples of such a weight, the last of them at `last`, want to go to a bucket of a series that is
 * in flight. *is_full: they go to finer buckets. */
VV_MUST_CHECK vv_status db_series_find_room(db_series *s, vv_table *table, db_series_entry *e,
                                            db_series_place *place, unsigned class, int64_t bucket,
                                            int64_t last, uint64_t weight, bool *is_full,
                                            vv_error *err);
/* All samples of an append at once, without a look into the store: false when that is needed. */
bool db_series_find_room_fast(db_series *s, db_series_entry *e, const db_series_place *place,
                              int64_t first, int64_t last) VV_REQUIRES(s->lock);
/* Nothing of the series is in flight any more. Under db_series.lock. */
void db_series_closed(db_series_entry *e);

/* ---- db_series_check.c ---- */

/* Verify one partition; note is told of each finding. What keeps it from going on is its answer. */
VV_MUST_CHECK vv_status db_series_check(vv_table *part, void (*note)(void *ctx, const char *text),
                                        void *ctx, vv_error *err);

/* ---- db_series_plan.c: which bucket a sample goes to ---- */

/* Samples of [first, last] are about to be written: choose the class at first, and another one for
 * what is to come when it does not fit the series' rate. Under db_series.lock. */
void db_series_plan(db_series_entry *e, uint64_t count, int64_t first, int64_t last);
/* The part that t belongs to. */
uint32_t db_series_part_of(const db_series_entry *e, uint32_t part_count, int64_t t);
/* Its last time. */
int64_t db_series_part_last(const db_series_entry *e, uint32_t part_count, uint32_t part);
/* How many nanoseconds from t on hold few samples, by the rate that its buckets are made for; 0
 * where that is not known. */
uint64_t db_series_span_of_few(const db_series_entry *e, int64_t t);

#endif
