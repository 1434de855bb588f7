/*
 * btree_job_int.h - the state of one piece of background work, shared by btree_job.c (its phases),
 * btree_flush.c (what a flush keeps), btree_fold.c (what merges come to), btree_touch.c
 * (flushed range deletions) and btree_move.c (thin data files).
 */
#ifndef VARVE_BTREE_BTREE_JOB_INT_H
#define VARVE_BTREE_BTREE_JOB_INT_H

#include "base/arena.h"
#include "base/util.h"
#include "btree/btree_int.h"
#include "engine/operand.h"

typedef enum btree_phase {
    BTREE_MERGE,   /* memtables and leaves -> new leaves      (many pieces) */
    BTREE_AGE,     /* what was superseded -> the history      (many pieces) */
    BTREE_MOVE,    /* live pages of thin files -> active file (many pieces) */
    BTREE_SYNC,    /* pages durable; the new tree made */
    BTREE_DURABLE, /* the log holds everything the tree holds (flush) */
    BTREE_COMMIT,
    BTREE_INSTALL,
    BTREE_DONE,
} btree_phase;

/* Keys that have to be looked at although no memtable has an entry there. */
typedef struct btree_span {
    vv_slice start;
    vv_slice end; /* exclusive */
} btree_span;

/* A version of the key being resolved, newest first. */
typedef struct btree_candidate {
    engine_item item; /* of the leaf: value as stored. ENGINE_MERGE: until btree_fold_key */
    uint8_t flags;    /* of the leaf */
    bool in_tree;
    bool dead; /* a deletion, or expired for everyone */
} btree_candidate;

struct btree_job {
    btree_engine *e;
    btree_phase phase;
    bool commit_tried;
    btree_view *view;   /* as it was at the start */
    uint32_t mem_count; /* memtables at the end of the view's list */
    int64_t version_max;
    btree_request request; /* a range to rewrite; then the history is swept as well */
    bool moves;

    btree_writer writer;
    btree_update main;
    btree_update history;
    bool main_open;
    btree_inode *new_main; /* once the update is finished */
    btree_inode *new_history;
    bool has_main; /* new_main is what it is to be, NULL included */
    bool has_history;
    btree_tree *tree; /* made for INSTALL */
    btree_cuts cuts;  /* likewise */
    bool has_cuts;

    engine_merge merge;
    bool merging;
    engine_readers readers;
    engine_rangedels *cover; /* all range deletions of the memtables */
    btree_span *spans;       /* disjoint, ascending */
    size_t span_count;
    size_t span_from;
    uint8_t pos[ENGINE_KEY_MAX + 1]; /* everything below it is done */
    size_t pos_len;
    bool at_end;
    btree_candidate *candidates;
    uint32_t candidate_count;
    uint32_t candidate_cap;
    bool has_merges;    /* among the candidates */
    int64_t merge_time; /* no merge that is to come, or not in the tree yet, is committed before */
    engine_fold fold;
    vv_buf folded;        /* what the last chain came to */
    vv_arena fold_values; /* of candidates that were merges */
    uint64_t read_bytes;

    vv_buf packed;    /* the last compressed value */
    vv_buf aged;      /* entries for the history, in order: see btree_flush.c */
    size_t aged_last; /* where the newest entry begins */
    size_t aged_from;
    uint64_t aged_leaves; /* of the history, once it is made */
    bool ages;            /* something goes into the history, or it is swept */
    bool sweeps;
    bool age_begun;
    uint8_t age_pos[BTREE_KEY_MAX + 1];
    size_t age_pos_len;
    /* The last entry of the history that a sweep saw. */
    uint8_t seen_key[ENGINE_KEY_MAX];
    size_t seen_len;
    int64_t seen_version;
    bool has_seen;

    uint32_t *moved; /* page ids to move */
    uint32_t move_count;
    uint32_t move_cap;
    uint32_t move_from;
};

/** Position the memtables and work out the spans, those of the request included. */
VV_MUST_CHECK vv_status btree_flush_begin(btree_job *job, vv_error *err);
/** Merge about a MiB; *end when the tree is done. */
VV_MUST_CHECK vv_status btree_flush_piece(btree_job *job, bool *end, vv_error *err);
/** The same for the history. */
VV_MUST_CHECK vv_status btree_age_piece(btree_job *job, bool *end, vv_error *err);
/** Does a reader see this version, not hidden by a range deletion? newer: of the same key, or -1.
 */
bool btree_job_is_needed(const btree_job *job, vv_slice key, int64_t v, int64_t newer);

/** Look at one table's readers, and at the merges that its expired values may still be needed for.
 * Cheap when it is the table looked at already. */
VV_MUST_CHECK vv_status btree_job_enter_table(btree_job *job, uint32_t table, vv_error *err);
/** Among the candidates, merges that a reader sees become the puts they come to; what they share
 * their version with goes. */
VV_MUST_CHECK vv_status btree_fold_key(btree_job *job, vv_error *err);

/** Fill job->cuts: those of the view, and what the job flushes. */
VV_MUST_CHECK vv_status btree_cuts_make(btree_job *job, vv_error *err);

/** Train a dictionary if it is time; the job's state has it from then on. */
VV_MUST_CHECK vv_status btree_compress_begin(btree_job *job, vv_error *err);
/** Replace a value by its compressed form, if that is worth it, and say so in flags. It lies in the
 * job until the next call. */
VV_MUST_CHECK vv_status btree_compress_value(btree_job *job, vv_slice *value, uint8_t *flags,
                                             vv_error *err);

/** Choose data files and list the pages to move; none: move_count 0. */
VV_MUST_CHECK vv_status btree_move_begin(btree_job *job, bool tighten, vv_error *err);
VV_MUST_CHECK vv_status btree_move_piece(btree_job *job, bool *end, vv_error *err);

static inline uint64_t btree_job_piece(const btree_job *job)
{
    /* Small memtables mean small steps everywhere: writes come in between in tests too. */
    return vv_min_u64(VV_MIB, job->e->opt.memtable_size / 4);
}

#endif
