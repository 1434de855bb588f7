/*
 * wal_int.h - the log's own structures, shared inside the folder.
 *
 *   positions   ...  durable            target            end
 *   ------------------+------------------+-----------------+--------->
 *    in segments      | a write carries  | in the ring     |  free
 *                     | it there         | alone           |
 *
 * durable <= target <= end, and end - durable never passes the ring's size. durable and target are
 * batch boundaries; after recovery both are also block boundaries.
 */
#ifndef VARVE_WAL_INT_H
#define VARVE_WAL_INT_H

#include <stdatomic.h>

#include "base/lock.h"
#include "base/util.h"
#include "wal/wal.h"
#include "wal/wal_record.h"

#define WAL_PENDING_MAX 4u /* segments begun in the ring before one write reaches them */
#define WAL_SPARE_MAX 16u
#define WAL_SEGMENT_MIN (2u * VV_BLOCK)
#define WAL_RING_MIN (8u * VV_BLOCK)
/* Room kept behind every unaligned end, so that filler always fits. */
#define WAL_RESERVE (2u * VV_BLOCK)

/* One segment file: a header block, then `capacity` bytes of log from position `base` on. */
typedef struct wal_segment {
    uint64_t number;
    uint64_t base;  /* position of the byte behind the header block; a block boundary */
    uint64_t first; /* where its first batch begins, in [base, base + VV_BLOCK) */
    uint64_t capacity;
    uint32_t prev_crc; /* of the batch before first */
    uint64_t epoch;    /* of the log when it was begun */
    bool started;      /* the header is durable; touched by the writer alone */
    vio_file *file;    /* open for writing from spare until the writer leaves it, else NULL */
    uint64_t shards;   /* under lock: bit set of the shards with entries here */
    uint64_t last_index[WAL_SHARD_MAX]; /* under lock: of each of them, the highest entry */
} wal_segment;

typedef struct wal_ring {
    vio_file *file;
    uint8_t *map;  /* header block and data; NULL in a read-only log */
    uint8_t *data; /* size bytes; in a read-only log a heap copy */
    uint64_t size;
    bool counted; /* in the budget */
} wal_ring;

/* What one write does: at most one piece a segment. */
typedef struct wal_piece {
    wal_segment *seg;
    uint64_t from, to; /* positions */
} wal_piece;

typedef struct wal_plan {
    wal_piece piece[WAL_PENDING_MAX + 1];
    unsigned count;
} wal_plan;

typedef enum wal_state {
    WAL_OPENED, /* the end is known, nothing was changed */
    WAL_READY,  /* replayed, the recovered tail durable */
} wal_state;

/* A segment file that is not in use, as wal_open found it. */
typedef struct wal_reserve {
    uint64_t number;
    uint64_t size;
    bool damaged; /* neither a spare's header nor one of this segment */
} wal_reserve;

struct wal {
    vv_env *env;
    wal_options opt; /* with the defaults filled in; dir points to dir below */
    char dir[VIO_PATH_MAX];
    uint64_t log_id;
    uint32_t seed;
    uint64_t epoch; /* one higher after each opening; in all filler. Fixed once WAL_READY */
    wal_ring ring;  /* fixed after recovery; bytes in [durable, end) are not changed */
    uint8_t *block; /* VV_BLOCK aligned bytes for headers; the writer's */

    /* Set by recovery, fixed once WAL_READY. */
    wal_state state;
    bool fresh; /* made by this wal_open */
    bool replayed;
    wal_recovery recovery;
    wal_reserve *reserves;
    size_t reserve_count;
    uint64_t scan_end;   /* end of the whole batches in segments */
    uint32_t scan_chain; /* crc of the last of them */
    bool scan_repair;    /* damage below the known-synced position that the ring makes good */
    bool ring_lost;      /* there are segments and no ring file */

    vv_mutex lock; /* rank VV_RANK_WAL; everything below unless it says otherwise */
    uint64_t end;
    uint32_t chain;     /* crc of the last appended batch */
    uint64_t limit;     /* where the last segment of segs is full */
    wal_segment **segs; /* oldest first; the last takes what is appended */
    size_t seg_count, seg_cap;
    size_t write_index;                 /* the one that durable is in */
    wal_segment *spares[WAL_SPARE_MAX]; /* by number, the next to use first */
    unsigned spare_count;
    uint64_t next_number;          /* of the next spare */
    bool upkeep;                   /* someone makes, extends or recycles a segment file */
    bool has_build;                /* whether the last upkeep left a build */
    bool writing;                  /* a write is in flight */
    bool has_leader;               /* someone waits to lead the open group */
    bool exclusive;                /* a batch is written through: appenders wait */
    uint64_t target;               /* what the write in flight covers */
    unsigned flight_gen, open_gen; /* groups: the one in flight, the one that fills */
    vv_cond group[2];              /* waiters of a group, by the parity of its number */
    vv_cond leader;                /* the one that waits to lead */
    vv_cond idle;                  /* exclusive or upkeep ended */
    uint64_t released[WAL_SHARD_MAX];
    uint64_t released_shards; /* bit set: released[] holds something */
    uint64_t open_shards;
    uint64_t keep, keep_max; /* wal_keep */
    unsigned holds;          /* nothing is let go while there are any */
    vv_error first_error;    /* why the log is latched */
    wal_stats stats;
    wal_stats build_stats; /* when the newest spare was begun */
    bool build_prewrites;
    uint64_t write_count;

    vio_file *build; /* under upkeep: the spare being pre-written, or NULL */
    uint64_t build_done;

    _Atomic bool failed;      /* release store after first_error; never cleared */
    _Atomic uint64_t durable; /* release store by the writer under lock; any thread reads */
};

/* wal.c */
/** An object with its options checked and nothing read. Gives *out: wal_abandon. */
VV_MUST_CHECK vv_status wal_create(const wal_options *opt, wal **out, vv_error *err);
void wal_path(const wal *log, const char *name, char out[VIO_PATH_MAX]);
/** Remember the first failure; every later append and sync answers it. */
void wal_latch(wal *log, const vv_error *err) VV_REQUIRES(log->lock);
/** The status of the first failure; copies it to err. */
vv_status wal_latched(wal *log, vv_error *err);
/** Room for count segments in segs. */
VV_MUST_CHECK vv_status wal_segments_reserve(wal *log, size_t count, vv_error *err);

/* wal_segment.c */
typedef enum wal_header_kind {
    WAL_HEADER_ZERO,    /* never used */
    WAL_HEADER_STARTED, /* names this file */
    WAL_HEADER_OLD,     /* names an earlier file: recycled and not started */
    WAL_HEADER_DAMAGED,
} wal_header_kind;

typedef struct wal_file_header {
    uint64_t log_id;
    uint64_t number;   /* segment */
    uint64_t base;     /* segment */
    uint64_t first;    /* segment */
    uint64_t capacity; /* bytes behind the header block; of a ring its size */
    uint32_t prev_crc; /* segment */
    uint64_t epoch;    /* segment */
} wal_file_header;

#define WAL_MAGIC_SEGMENT "VARVEWAL"
#define WAL_MAGIC_RING "VARVERNG"

void wal_header_put(uint8_t out[VV_BLOCK], const char *magic, const wal_file_header *h);
/** VV_NOT_FOUND for zeros, VV_CORRUPT for bytes that do not check, VV_UNSUPPORTED for another
 * version or feature. */
VV_MUST_CHECK vv_status wal_header_get(const uint8_t in[VV_BLOCK], const char *magic,
                                       wal_file_header *out, vv_error *err);
void wal_segment_name(uint64_t number, char out[32]);
/** False when the name is no segment's. */
bool wal_segment_number(const char *name, uint64_t *out);
VV_MUST_CHECK vv_status wal_segment_open(wal *log, uint64_t number, unsigned flags, vio_file **out,
                                         vv_error *err);
/** Accepts NULL. */
void wal_segment_destroy(wal_segment *seg);
/** Write and sync the header: from here on the segment is part of the log. */
VV_MUST_CHECK vv_status wal_segment_start(wal *log, wal_segment *seg, vv_error *err);
/** Make the spare hold capacity bytes, pre-written. Under upkeep, without the lock. */
VV_MUST_CHECK vv_status wal_segment_extend(wal_segment *seg, uint64_t capacity, vv_error *err);
/** Work on the next spare for at most step bytes; *out is set when it is ready, else NULL. Under
 * upkeep, without the lock. A failed directory sync sets *fatal. */
VV_MUST_CHECK vv_status wal_spare_build(wal *log, uint64_t number, uint64_t step, wal_segment **out,
                                        bool *fatal, vv_error *err);
/** Forget a half-built spare. */
void wal_spare_drop_build(wal *log);
/** Open the spare file of this number. */
VV_MUST_CHECK vv_status wal_spare_adopt(wal *log, uint64_t number, wal_segment **out,
                                        vv_error *err);
/** Write zeros from offset to size behind an allocated file. Syncs nothing. */
VV_MUST_CHECK vv_status wal_prewrite(vio_file *file, uint64_t offset, uint64_t size, vv_error *err);

/* wal_ring.c */
VV_MUST_CHECK vv_status wal_ring_create(wal *log, uint64_t size, vv_error *err);
/** Read the header; VV_CORRUPT also when the file is shorter than the header says. */
VV_MUST_CHECK vv_status wal_ring_header(wal *log, vio_file *file, wal_file_header *h,
                                        vv_error *err);
/** VV_NOT_FOUND when there is no ring file. */
VV_MUST_CHECK vv_status wal_ring_open(wal *log, vv_error *err);
void wal_ring_close(wal *log);
/** Copy bytes to a position; they may wrap. */
void wal_ring_put(wal_ring *ring, uint64_t position, const void *data, size_t len);
void wal_ring_zero(wal_ring *ring, uint64_t position, size_t len);
void wal_ring_get(const wal_ring *ring, uint64_t position, void *out, size_t len);

/* wal_writer.c */
/** Filler to the block boundary. */
void wal_pad(wal *log) VV_REQUIRES(log->lock);
/** A whole block of filler at an aligned end: the mark of an opening. */
void wal_mark(wal *log) VV_REQUIRES(log->lock);
/** An entry lies in this segment: it is kept until the entry is released. */
void wal_note(wal *log, wal_segment *seg, const wal_record *rec) VV_REQUIRES(log->lock);
/** Begin the next segment at the end of the log with room for need bytes. May unlock; look again
 * after it: *done is false when something else has to happen first. */
VV_MUST_CHECK vv_status wal_switch(wal *log, uint64_t need, bool *done, vv_error *err)
    VV_REQUIRES(log->lock);
/** Write [durable, end) as it stands, without filler, and wait. For recovery. */
VV_MUST_CHECK vv_status wal_write_out(wal *log, vv_error *err) VV_REQUIRES(log->lock);
/** Lead one write of everything appended. Returns with the lock released. */
VV_MUST_CHECK vv_status wal_lead(wal *log, vv_error *err) VV_RELEASE(log->lock);

/* wal_retain.c */
/** One step towards the wanted number of spares; VV_NOT_FOUND when there is nothing to do. */
VV_MUST_CHECK vv_status wal_spare_step(wal *log, unsigned want, uint64_t step, vv_error *err)
    VV_REQUIRES(log->lock);

/* wal_load.c */
/** Read the directory and every segment header. *fresh: there is no log yet. */
VV_MUST_CHECK vv_status wal_load(wal *log, bool *fresh, vv_error *err);
/* wal_recover.c */
/** Find the end: last segment, ring, what is known to be synced. Changes nothing. */
VV_MUST_CHECK vv_status wal_find_end(wal *log, vv_error *err);
typedef vv_status (*wal_each)(void *ctx, const wal_record *rec, uint64_t position, vv_error *err);
/** Deliver the batches of segment i. VV_CORRUPT when they do not lead to the next one. */
VV_MUST_CHECK vv_status wal_scan_segment(wal *log, size_t i, wal_each each, void *ctx,
                                         vv_error *err);
/** The last segment and the ring's tail behind it. */
VV_MUST_CHECK vv_status wal_scan_end(wal *log, wal_each each, void *ctx, vv_error *err);
/** Make what recovery found durable and the log ready for appends. */
VV_MUST_CHECK vv_status wal_finish(wal *log, vv_error *err);

/* wal_read.c: whole, chained batches out of a segment or the ring. */
typedef struct wal_reader {
    const wal *log;
    vio_file *file; /* NULL: the ring */
    uint64_t base;  /* segment: position of file offset VV_BLOCK */
    uint64_t limit; /* nothing is read at or behind this position */
    uint8_t *buf;
    size_t cap;
    uint64_t start; /* position of buf[0] */
    size_t len;
} wal_reader;

void wal_reader_init(wal_reader *r, const wal *log, vio_file *file, uint64_t base, uint64_t limit);
void wal_reader_fini(wal_reader *r);
/** len bytes at a position, valid until the next call; VV_NOT_FOUND behind the limit. */
VV_MUST_CHECK vv_status wal_reader_view(wal_reader *r, uint64_t position, size_t len,
                                        const uint8_t **out, vv_error *err);
/** The batch at a position. VV_CORRUPT with the reason when there is none that checks and chains;
 * *torn is then the length its header claims, when it looks like one of this place, else 0. */
VV_MUST_CHECK vv_status wal_reader_batch(wal_reader *r, uint64_t position, uint32_t chain,
                                         wal_batch *batch, const uint8_t **out, uint64_t *torn,
                                         vv_error *err);
/** True when a batch header of this log stands at a position, whole or not behind its directory. */
VV_MUST_CHECK vv_status wal_reader_probe(wal_reader *r, uint64_t position, wal_batch *batch,
                                         bool *found, vv_error *err);

static inline uint64_t wal_file_offset(uint64_t base, uint64_t position)
{
    return VV_BLOCK + (position - base);
}

static inline uint64_t wal_floor(uint64_t position)
{
    return position & ~(uint64_t)(VV_BLOCK - 1);
}

/* Where a log whose last batch ends at `end` is aligned again. */
static inline uint64_t wal_padded(uint64_t end)
{
    return end + wal_filler(end);
}

#endif
