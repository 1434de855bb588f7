/*
 * operand.h - merge operators: writes that say how a value changes without knowing it.
 *
 *   steps     in the log: one or more of  u8 operator | varint length | operand
 *   operand   an ENGINE_MERGE item of a memtable or run:  i64 commit time | steps
 *
 * add and max take an int64, little-endian; a value that has not eight bytes counts as absent for
 * them. add wraps around. append takes bytes; what would pass ENGINE_VALUE_MAX is cut off. samples
 * takes a set of samples of a series (series/set.h) and joins it with the set there is; a value
 * that is no such set counts as absent. Absent and add is the operand, and so on. So every operator
 * is total, and a chain of them can be joined from any side: flush and compaction do, before the
 * value beneath is known.
 *
 * What a set of samples comes to has many forms of bytes: a reader gets one that is cheap to make,
 * a file one that is small (engine_fold.is_compact). The samples are the same.
 *
 * A merge is a write like a put: its own expiry replaces the one before. A value that had expired
 * when the merge was committed is absent to it; that is what the commit time is for, which replay
 * repeats exactly.
 */
#ifndef VARVE_ENGINE_OPERAND_H
#define VARVE_ENGINE_OPERAND_H

#include "base/buf.h"
#include "engine/source.h"
#include "series/fold.h"

/* Frozen: on disk in the log and in runs. */
typedef enum engine_operator {
    ENGINE_ADD = 1,
    ENGINE_MAX = 2,
    ENGINE_APPEND = 3,
    ENGINE_SAMPLES = 4,
} engine_operator;

#define ENGINE_OPERAND_TIME 8u
/* The longest steps of one operation: an append of a whole value. */
#define ENGINE_STEPS_MAX (ENGINE_VALUE_MAX + 6u)

typedef struct engine_step {
    engine_operator op;
    vv_slice operand; /* eight bytes for add and max */
} engine_step;

/** Take the first step off *steps. False at the end and on bytes that are no step: then steps->len
 * is 0 only at the end. */
bool engine_step_next(vv_slice *steps, engine_step *out);
/** At least one step and nothing else. */
bool engine_steps_are_valid(vv_slice steps);
/** Bytes of one step in front of its operand. */
size_t engine_step_head(engine_operator op, size_t operand_len, uint8_t out[6]);

/* A chain of merges of one key, taken from the newest to the oldest. */
typedef struct engine_fold {
    int64_t version;    /* of the newest: what the result has */
    int64_t expires_ns; /* likewise */
    int64_t time_ns;    /* commit time of the oldest so far */
    vv_buf steps;       /* fold_step, the newest first; neighbours of one operator are joined */
    vv_buf bytes;       /* of appends, backwards: what is older comes behind; of samples, u32 length
                           and set, the newest first */
    vv_buf base;        /* the value beneath */
    series_fold *samples; /* made when it is first needed */
    bool has_base;
    bool is_done;    /* nothing older matters */
    bool is_compact; /* set by who writes files: samples are made small */
} engine_fold;

void engine_fold_init(engine_fold *f);
void engine_fold_fini(engine_fold *f);

/** Begin with the newest of a chain, an ENGINE_MERGE. VV_CORRUPT, VV_NO_MEMORY. */
VV_MUST_CHECK vv_status engine_fold_begin(engine_fold *f, const engine_item *item, vv_error *err);
/** The next older version of the key that no range deletion hides; not once is_done. */
VV_MUST_CHECK vv_status engine_fold_push(engine_fold *f, const engine_item *item, vv_error *err);
/** The chain as one operand again, for an ENGINE_MERGE item; appended to out. Not once is_done. */
VV_MUST_CHECK vv_status engine_fold_operand(engine_fold *f, vv_buf *out, vv_error *err);
/** The value it comes to, with nothing beneath it unless that was pushed; appended to out. */
VV_MUST_CHECK vv_status engine_fold_value(engine_fold *f, vv_buf *out, vv_error *err);
/** Bytes of the operand, about. */
size_t engine_fold_size(const engine_fold *f);

/** The commit time of an ENGINE_MERGE item; 0 where it is malformed. */
static inline int64_t engine_operand_time(vv_slice operand)
{
    return operand.len < ENGINE_OPERAND_TIME ? 0 : (int64_t)vv_get_le64(operand.data);
}

#endif
