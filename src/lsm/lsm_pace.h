/*
 * lsm_pace.h - how much writers are slowed, and how fast compaction goes: pure functions of where a
 * store stands, and the figures of a store that they are asked with.
 */
#ifndef VARVE_LSM_LSM_PACE_H
#define VARVE_LSM_LSM_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct lsm_engine;
struct lsm_progress;
struct lsm_view;

/* Where a store stands. */
typedef struct lsm_pace_at {
    double memtables; /* frozen ones, and the share of the active one that is used */
    double memtables_max;
    double sets;       /* of level 0 */
    double sets_max;   /* level0_runs_max */
    double debt;       /* that compaction has to move down, in targets of level 1 */
    double flush_ps;   /* picoseconds that flushes need for a byte */
    double compact_ps; /* the same of compaction, until the byte has left level 0 for good */
} lsm_pace_at;

/** The curve: how many times slower than what makes room writers go, at a share of the way to the
 * stall. 0 up to 0, 1 at a half, LSM_PACE_STEEPEST from shortly before 1 on; continuous, never
 * falling. */
double lsm_pace_curve(double x);
#define LSM_PACE_STEEPEST 64.0

/** Picoseconds from one byte written to the next. */
double lsm_pace_delay(const lsm_pace_at *at);

/** Share of its time that compaction works while there are writers: from LSM_PACE_DUTY_MIN where
 * the levels just ask for it to 1 where writers begin to be slowed by them. */
double lsm_pace_duty(const lsm_pace_at *at);
#define LSM_PACE_DUTY_MIN 0.25

/* What a store knows of its pace. Hints, relaxed, but for what the compaction's thread owns. */
typedef struct lsm_pace {
    _Atomic bool is_near; /* false: writers go free, the rest need not be looked at */
    _Atomic uint32_t frozen;
    _Atomic uint32_t sets;
    _Atomic uint64_t debt;         /* bytes */
    _Atomic uint64_t active_bytes; /* of the active memtable */
    _Atomic uint64_t flush_ps;     /* of the last flushes; 0: none yet */
    _Atomic uint64_t compact_ps;
    _Atomic uint64_t running_ps; /* of the compaction that is under way; 0: none, or too young */
    /* Of the thread that is in the compaction: */
    int64_t next_ns;      /* monotonic: when its next piece may begin */
    int64_t visible_seen; /* to tell whether anybody writes */
    uint64_t spent_ns;    /* by compactions that end on the way, since level 0 was last emptied */
} lsm_pace;

/** A view was published. */
void lsm_pace_note_view(struct lsm_engine *e, const struct lsm_view *view);
/** A flush of so many bytes took so long. */
void lsm_pace_note_flush(struct lsm_engine *e, uint64_t bytes, int64_t took_ns);
/** A compaction that took so many bytes off level 0 took so long. */
void lsm_pace_note_compaction(struct lsm_engine *e, uint64_t level0_bytes, int64_t took_ns);
/** A piece of a compaction (NULL: its last) merged so many bytes since begin_ns: when may the next
 * one begin? may_rest: the thread is for such work alone, so it need not be done at once. */
void lsm_pace_note_piece(struct lsm_engine *e, const struct lsm_progress *job, uint64_t bytes,
                         int64_t begin_ns, bool may_rest);
/** Wait for that, but not for long. False: not yet. */
bool lsm_pace_may_compact(struct lsm_engine *e);
/** What a writer is slowed by now. */
double lsm_pace_delay_now(const struct lsm_engine *e);
int64_t lsm_throttle_ns(struct engine *base, size_t bytes);

#endif
