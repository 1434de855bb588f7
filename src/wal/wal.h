/*
 * wal.h - the commit log: one log a node for all shards, also the Raft log.
 *
 *   appenders --wal_append--> ring (mapped file, the `os` copy) --leader or drain--> segments
 *                                                                 O_DIRECT|O_DSYNC, pre-written
 *
 * A position is a byte offset in the endless log; ring offset is position mod ring size. Records
 * travel in batches: header {crc, length, position, crc of the batch before, known-synced
 * position}, then the records. A write pads the log to VV_BLOCK, and a block that holds synced
 * bytes is never written again. Bytes: docs/format/wal.md.
 *
 * Threads: wal_append and wal_sync from any thread. The caller that finds no write in flight leads:
 * it writes everything appended so far with one pwrite and wakes those it covers, then the next
 * leader. There is no timer. After a failed write or sync the log is latched: every later append
 * and sync returns the first error; a reopen recovers what a fresh read finds.
 */
#ifndef VARVE_WAL_WAL_H
#define VARVE_WAL_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "io/env.h"
#include "varve/slice.h"
#include "varve/status.h"

#define WAL_PAYLOAD_MAX (16u * 1024 * 1024) /* of one record; larger is refused, never split */
#define WAL_BATCH_MAX (64u * 1024 * 1024)   /* of one batch with its headers */
#define WAL_SHARD_MAX 64u

/* Frozen: the values are on disk. An unknown kind is refused on reading. */
typedef enum wal_kind {
    WAL_ENTRY = 1,      /* shard, index, term, commit time, payload */
    WAL_TRUNCATE = 2,   /* shard, index: entries from index on are void (Raft) */
    WAL_HARDSTATE = 3,  /* shard, term, vote (in index) (Raft) */
    WAL_COMMIT = 4,     /* shard, index: entries up to it are committed (Raft) */
    WAL_CHECKPOINT = 5, /* shard, index: entries up to it are in runs */
} wal_kind;

typedef struct wal_record {
    wal_kind kind;
    uint32_t shard;
    uint64_t index;
    uint64_t term;
    int64_t commit_time_ns;
    vv_slice payload;
    uint32_t payload_crc; /* vv_crc32c(0, payload); the caller computes it outside every lock */
} wal_record;

typedef struct wal_options {
    vv_env *env;
    const char *dir;       /* relative to env->io; made if absent */
    uint32_t segment_size; /* multiple of VV_BLOCK; default 64 MiB when 0 */
    uint32_t ring_size;    /* multiple of VV_BLOCK; default 8 MiB when 0 */
    uint64_t log_limit;    /* retained bytes over which wal_pressure names shards; default 1 GiB */
    uint64_t log_id;       /* what a new log is called, and an old one must be; 0: any */
    bool must_exist;       /* VV_CORRUPT where there is none: it was there */
    uint32_t spare_segments; /* pre-written and recycled segments kept ready; default 1 */
    bool read_only;          /* for check and dump: writes nothing, wal_append is VV_UNSUPPORTED */
    vv_budget *budget;       /* counts the ring under VV_BUDGET_LOG */
    /* Called by the leader after each write, before it wakes anyone: everything below position is
     * durable. Holds no lock of the wal. The leader may be any caller of wal_append, too (a full
     * ring): it must not take a lock that is held around wal_append. May be NULL. */
    void (*on_durable)(void *ctx, uint64_t position);
    void *ctx;
} wal_options;

typedef struct wal wal;

typedef struct wal_recovery {
    uint64_t segments;
    uint64_t bytes;      /* of log read */
    uint64_t entries;    /* delivered: records of kind WAL_ENTRY */
    uint64_t end;        /* position after the last whole batch */
    uint64_t cut_bytes;  /* of an unfinished write dropped behind it; 0 at a clean end */
    uint64_t ring_bytes; /* recovered from the ring alone (`os` writes after SIGKILL) */
    int64_t duration_ns;
} wal_recovery;

/**
 * Open the log in dir and find its end; make it when there is none. VV_CONFLICT when it is another
 * log than the one named, VV_CORRUPT when a record below
 * the position known to be synced does not check: the message names segment, offset and next step.
 * An unfinished tail above it is dropped and reported. Checks the headers and the last segment;
 * wal_replay checks the others. Changes nothing of a log that is there. Gives *out: wal_close.
 */
VV_MUST_CHECK vv_status wal_open(const wal_options *opt, wal **out, vv_error *err);

/**
 * Deliver every retained record in log order, then make the recovered tail durable. Once, after
 * wal_open and before the first append (of a log just made it may be left out). Also those that
 * were released and lie in a segment with others: skip what the manifest covers. position is that
 * of the record's batch. Memory is bounded by one batch. each() may be NULL, or return a failure,
 * which ends the replay. Borrows the record for the call. VV_CORRUPT as wal_open; the disk is
 * changed only when everything was delivered.
 */
VV_MUST_CHECK vv_status wal_replay(wal *log,
                                   vv_status (*each)(void *ctx, const wal_record *rec,
                                                     uint64_t position, vv_error *err),
                                   void *ctx, vv_error *err);

/** What recovery found. Whole after wal_replay. */
const wal_recovery *wal_recovery_stats(const wal *log);

/**
 * Append count records as one batch (all or nothing after a crash). When it returns, the bytes are
 * in the ring: they survive SIGKILL (`os`). *end is the position to pass to wal_sync. Callers that
 * need an order call it under their own lock. May lead or wait for a write when the ring is full,
 * or make a segment when no spare is ready; a batch larger than a quarter of the ring is written
 * through with a sync. VV_INVALID for records or batches over their limits and for a payload in
 * anything but an entry. VV_NO_SPACE when no segment can be made: nothing was appended, the log is
 * not latched, and space or wal_release helps. A wrong payload_crc makes the log unreadable: debug
 * builds assert it. O(bytes), no allocation.
 */
VV_MUST_CHECK vv_status wal_append(wal *log, const wal_record *recs, size_t count, uint64_t *end,
                                   vv_error *err);

/** Return once everything below position is durable: lead a write, or wait for the leader. */
VV_MUST_CHECK vv_status wal_sync(wal *log, uint64_t position, vv_error *err);

/** Everything below is durable. Any thread, no lock. */
uint64_t wal_durable_position(const wal *log);
/** The end of what was appended. */
uint64_t wal_end_position(wal *log);

/** The beginning of the oldest segment that is there. */
uint64_t wal_begin_position(wal *log);

/** A shard exists from here on: its entries are retained until wal_release. Idempotent. Entries of
 * a shard nobody opened are retained, too. */
void wal_shard_open(wal *log, uint32_t shard);

/**
 * Entries of shard up to index are in runs and durable there: let segments go that no shard needs
 * (they are recycled, each with a directory sync), and append a CHECKPOINT record when the index is
 * news. Call after the manifest is durable. Only entries keep a segment: whoever relies on another
 * kind of record writes it anew before it releases.
 */
VV_MUST_CHECK vv_status wal_release(wal *log, uint32_t shard, uint64_t index, vv_error *err);

/** Let no segment go until wal_unhold, whatever is released. Calls nest; balance them before
 * wal_close. */
void wal_hold(wal *log);
void wal_unhold(wal *log);

/** Also keep what lies at or behind a position, whatever is released, while all that is kept is at
 * most bytes_max on the disk: for an archive that comes to fetch it. UINT64_MAX: nothing. */
void wal_keep(wal *log, uint64_t position, uint64_t bytes_max);

/**
 * Under a hold: deliver the entries of each shard whose index is above above[shard], in log order,
 * out of what is below the position `to`, which is durable. From any thread, beside writers; ends
 * with what each() fails with. Borrows the record for the call. VV_CORRUPT for damage.
 */
VV_MUST_CHECK vv_status wal_scan(wal *log, uint64_t to, const uint64_t above[WAL_SHARD_MAX],
                                 vv_status (*each)(void *ctx, const wal_record *rec,
                                                   uint64_t position, vv_error *err),
                                 void *ctx, vv_error *err);

/** A bit set of the shards that hold the oldest segment that any shard needs, when from there on
 * the log is over log_limit (of the segments' size on disk): flush them. Else 0. What is kept or
 * held and was released does not count. */
uint64_t wal_pressure(wal *log);

/**
 * One step of background work: drain the ring when a quarter of it waits, let a segment go that
 * nobody needs, pre-write 4 MiB of a spare one. VV_OK when it did something, VV_NOT_FOUND when
 * there was nothing to do. From one thread or many.
 */
VV_MUST_CHECK vv_status wal_work(wal *log, vv_error *err);

typedef struct wal_stats {
    uint64_t appended_bytes;
    uint64_t appended_records;
    uint64_t written_bytes; /* to segments, padding included */
    uint64_t syncs;         /* durable writes led */
    uint64_t retained_bytes;
    uint64_t segments;
    uint64_t spares; /* files ready or being made for segments to come */
    uint64_t end;
    uint64_t durable;
    bool failed; /* latched */
} wal_stats;
void wal_stats_read(wal *log, wal_stats *out);

/** Write and sync what is in the ring, then close. Accepts NULL. Returns the latched error if any.
 */
vv_status wal_close(wal *log, vv_error *err);

/** Close without writing anything, as a crash would leave it. For tests and failed opens. */
void wal_abandon(wal *log);

/** Read every byte of a closed log and check it; each() gets a line a finding (may be NULL). */
VV_MUST_CHECK vv_status wal_check(vv_env *env, const char *dir,
                                  void (*finding)(void *ctx, const char *text), void *ctx,
                                  wal_recovery *out, vv_error *err);

/** Print every batch and record of one segment or of the ring file as text, payload as a length. */
VV_MUST_CHECK vv_status wal_dump_file(vv_env *env, const char *path,
                                      void (*line)(void *ctx, const char *text), void *ctx,
                                      vv_error *err);

#endif
