/*
 * db_series_samples.h - samples on their way in: what vv_samples is made of.
 *
 *   slots    the series these samples have, found by a hash of their labels
 *   columns  time, value, quality of all of them, as they came
 *   runs     which of them belong to a slot, in order: a chain for each
 */
#ifndef VARVE_DB_DB_SERIES_SAMPLES_H
#define VARVE_DB_DB_SERIES_SAMPLES_H

#include "db/db_series_rollup.h"

#define DB_SLOT_NONE UINT32_MAX

typedef struct db_series_run {
    uint32_t start;
    uint32_t count;
    uint32_t next; /* of the same slot */
} db_series_run;

struct db_series_slot {
    uint64_t hash;
    vv_slice canonical;     /* in vv_samples.labels */
    int64_t retention_ns;   /* of the series, of vv_samples.keep_turn; 0: for ever */
    db_series_entry *entry; /* a reference; NULL: not looked up yet */
    vv_sample_type type;
    uint32_t first_run; /* DB_SLOT_NONE: it has no samples */
    uint32_t last_run;
    uint32_t count;
    uint64_t text; /* bytes of its strings */
    uint32_t logs_overflow;
    uint32_t logs_parts; /* bits of parts this entry of the log writes */
    bool logs_record;
    bool is_in_flight;
    bool is_refused; /* one series too many */
    bool is_placed;  /* its bucket has room for all of it */
    bool wants_newest;
    bool has_quality;
    int64_t first; /* times of its samples */
    int64_t last;
    db_series_place place;
    int64_t rolled;     /* below it, what is written is marked */
    uint8_t turn;       /* of its entry when it was planned */
    bool has_marks;     /* this entry of the log writes some, */
    int64_t mark_first; /* of these days, and of others between them perhaps */
    int64_t mark_last;
    bool is_alone;    /* no other append of the series was in flight when it was planned */
    vv_sample newest; /* of what is written; string is not kept */
    bool has_newest;
    bool lost_newest; /* it was refused */
};

/* What goes to one partition. */
typedef struct db_series_share {
    vv_samples *samples;
    vv_table part; /* without a reference */
    vv_batch batch;
    uint64_t id_max; /* of series whose records are in it */
    vv_status status;
    vv_error error;
} db_series_share;

struct vv_samples {
    vv_table table; /* a reference of its own */
    db_series *series;
    db_series_share *share;   /* [table.partition_count] */
    db_series_share *to;      /* what is encoded goes there */
    _Atomic uint32_t pending; /* shares that are queued */
    vv_arena labels;
    db_series_slot *slot; /* [slot_count] */
    uint32_t slot_count;
    uint32_t slot_cap;
    uint32_t keep_turn;      /* that slots know how long samples are kept of */
    uint32_t stranger_count; /* slots that were cleared without having a series; counted again */
    uint32_t *index;         /* [index_cap] of slots by hash, a power of two */
    uint32_t index_cap;
    uint32_t *used; /* [used_count] slots that have samples */
    uint32_t used_count;
    uint32_t used_cap;
    size_t label_bytes; /* of the series that have samples */
    db_series_run *run;
    uint32_t run_count;
    uint32_t run_cap;
    uint32_t current; /* slot of the next samples */
    int64_t *time;    /* [count] */
    uint64_t *value;  /* [count] bits; of strings the place in text and the length << 32 */
    uint32_t *quality;
    uint32_t count;
    uint32_t cap;
    vv_buf text;
    vv_buf scratch; /* labels being looked up */
    vv_buf operand;
    series_columns columns;
    series_scratch work;
    vv_slice source; /* data NULL: no position */
    vv_slice incarnation;
    uint64_t sequence;
    bool leaves_out;   /* series of another type, instead of failing */
    bool wants_forget; /* what is remembered of series keeps others from memory */
    vv_arena source_bytes;
    vv_append_result result;
    uint64_t repeated; /* late samples that are in the store as they are */
    vv_error refusal;  /* of the whole: too many series */
    vv_append_done done;
    void *done_ctx;
};

/* Are these, ascending, in the store as they are? False where nobody knows. */
bool db_series_is_repeat(vv_samples *samples, const db_series_slot *slot, const series_samples *in);

/* Count samples that are left out, and keep the sentence of the first (db_series_refuse.c). */
void db_series_refuse(vv_samples *samples, uint64_t count, const char *why, vv_slice canonical);
void db_series_refuse_old(vv_samples *samples, uint64_t count, const db_series_slot *slot,
                          int64_t time);
void db_series_refuse_future(vv_samples *samples, uint64_t count, const db_series_slot *slot,
                             int64_t time);
/* Bring what slots know of how long samples are kept up to date. */
void db_samples_refresh(vv_samples *samples);
/* The samples of a slot in time order, each time once; valid until the next call. */
VV_MUST_CHECK vv_status db_samples_of(vv_samples *samples, const db_series_slot *slot,
                                      series_samples *out, vv_error *err);

#endif
