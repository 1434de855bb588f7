/*
 * lsm_job_int.h - the state of one flush or compaction, shared by lsm_job.c (its phases),
 * lsm_job_flush.c (how a flush begins) and lsm_job_merge.c (what is kept, and where files are cut).
 */
#ifndef VARVE_LSM_LSM_JOB_INT_H
#define VARVE_LSM_LSM_JOB_INT_H

#include "engine/operand.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_pack.h"
#include "lsm/lsm_value.h"

typedef enum lsm_phase {
    LSM_MERGE,
    LSM_OPEN,
    LSM_DURABLE,
    LSM_COMMIT,
    LSM_INSTALL,
    LSM_DONE,
} lsm_phase;

/* What one table, or a part of its keys, has in the memtables of a flush. */
typedef struct lsm_table_size {
    uint32_t table;
    uint32_t level; /* its runs go to */
    uint64_t bytes;
    vv_slice first; /* keys; borrow the memtables */
    vv_slice last;
} lsm_table_size;

/* A merge that may still take in what is older: lsm_job_fold.c. */
typedef struct lsm_waiting {
    bool is_there;
    bool is_first; /* version of its key that is written */
    int64_t cover; /* the range deletion that ends its chain, or -1 */
    engine_fold fold;
    vv_buf key;
    vv_buf out;
} lsm_waiting;

struct lsm_job {
    lsm_engine *e;
    lsm_phase phase;
    bool commit_tried;
    lsm_view *view;      /* as it was at the start */
    uint32_t output;     /* level; of a flush 0, and what lsm_table_size says */
    bool has_compaction; /* a flush that writes below level 0: no compaction runs beside it */
    uint64_t group;

    uint32_t mem_count;  /* flush: memtables at the end of the view's list */
    int64_t version_max; /* flush: of the memtables */
    int64_t begin_ns;    /* monotonic */
    lsm_run **inputs;    /* compaction: borrowed from view */
    uint32_t input_count;
    lsm_level **levels; /* of the inputs, newest first */
    uint32_t level_count;
    bool is_move;
    bool is_bulk; /* fed by lsm_bulk.c: neither inputs nor a view */

    engine_merge merge;
    bool merging;
    engine_readers readers;
    engine_rangedels *cover; /* all range deletions of the inputs */
    engine_range *ranges;    /* what is left of them to write, by start */
    size_t range_count;
    size_t range_from; /* those before it end before the current file */

    uint8_t key[ENGINE_KEY_MAX]; /* the last one seen */
    size_t key_len;
    bool has_key;
    int64_t newer; /* the version seen before of the same key, or -1 */
    uint64_t read_bytes;
    lsm_waiting waiting;
    bool is_merged_above; /* a merge of the same key was written and builds on what follows */
    int64_t merge_time;   /* the earliest commit time of a merge in the view; INT64_MAX: none */

    lsm_trainer trainer;      /* outlives the writers */
    lsm_value_writer *values; /* where large values go, or NULL */
    uint64_t *value_ids;      /* of all value files written */
    uint32_t value_count;
    uint32_t value_cap;
    vv_buf value;  /* one on its way from file to file */
    lsm_form form; /* of `table` */
    lsm_writer *writer;
    uint64_t writer_id;
    uint32_t table;              /* of the last item written */
    uint8_t cut[ENGINE_KEY_MAX]; /* where the current file's part of the key space begins */
    size_t cut_len;
    lsm_table_size *sizes; /* flush: by table and key, ascending */
    uint32_t part;         /* that of the last key written */
    uint32_t size_count;
    uint32_t size_cap;

    lsm_meta *metas;       /* finished files */
    lsm_run **runs;        /* opened: the first `opened` */
    lsm_prefill *prefills; /* of the files */
    uint32_t file_count;
    uint32_t file_cap;
    uint32_t opened;
    uint64_t written_bytes;
};

#define LSM_LARGE_TABLE (1 * VV_MIB) /* a table with more in a flush gets runs of its own */

/** A job that has nothing to do yet, with a reference on view; NULL with VV_NO_MEMORY. */
lsm_job *lsm_job_new(lsm_engine *e, lsm_view *view, uint32_t output, vv_error *err);
/** A flush lets compactions run again. */
void lsm_job_let_compact(lsm_job *job);
/** Position the inputs and decide what is left of the range deletions. */
VV_MUST_CHECK vv_status lsm_job_begin_merge(lsm_job *job, engine_source **sources, uint32_t count,
                                            vv_error *err);
/** The next version for the output. is_first: of its key, so that a file may end before it. */
VV_MUST_CHECK vv_status lsm_job_write(lsm_job *job, const engine_item *item, bool is_first,
                                      vv_error *err);
/** True when no older version of key lies beneath the output. */
bool lsm_job_is_key_bottom(const lsm_job *job, vv_slice key);
/** Merge about a MiB; *end when nothing is left and the last file is finished. */
VV_MUST_CHECK vv_status lsm_job_merge_piece(lsm_job *job, bool *end, vv_error *err);

/** End the current file before key `end` (NULL: the end of all) and begin the next part there. */
VV_MUST_CHECK vv_status lsm_job_finish_file(lsm_job *job, const vv_slice *end, vv_error *err);

/* ---- lsm_job.c, for a job that lsm_bulk.c drives ---- */

/** A job without inputs whose files have the form of level output. */
VV_MUST_CHECK vv_status lsm_job_bulk(lsm_engine *e, uint32_t output, lsm_job **out, vv_error *err);
/** Nothing is in flight behind the call, whose status so far is st. */
VV_MUST_CHECK vv_status lsm_job_settle(lsm_job *job, vv_status st, vv_error *err);
/** Sync the directory and open the finished files, from where the last try ended. */
VV_MUST_CHECK vv_status lsm_job_open_runs(lsm_job *job, vv_error *err);

/* ---- lsm_job_value.c ---- */

/** Put a large value apart, bring a small one in, move one out of a file that is mostly garbage:
 * the item as it is to be written. ref is memory for a reference. */
VV_MUST_CHECK vv_status lsm_job_place_value(lsm_job *job, engine_item *item,
                                            uint8_t ref[LSM_VALUE_REF], vv_error *err);
/** The value files are complete and durable. */
VV_MUST_CHECK vv_status lsm_job_finish_values(lsm_job *job, vv_error *err);
/** Close them; discard: those that no run holds are removed. */
void lsm_job_close_values(lsm_job *job, bool discard);

/* ---- lsm_job_fold.c ---- */

/** Look at the readers of a table, and at the merges above it. */
VV_MUST_CHECK vv_status lsm_job_enter_table(lsm_job *job, uint32_t table, vv_error *err);
/** A merge that is needed: it waits for what is older. */
VV_MUST_CHECK vv_status lsm_job_fold_begin(lsm_job *job, const engine_item *item, bool is_first,
                                           vv_error *err);
/** The next older version of the key, while a merge waits. *taken: it has gone into that. */
VV_MUST_CHECK vv_status lsm_job_fold_older(lsm_job *job, const engine_item *item, bool needed,
                                           bool *taken, vv_error *err);
/** The key has no more versions. */
VV_MUST_CHECK vv_status lsm_job_fold_end(lsm_job *job, vv_error *err);

#endif
