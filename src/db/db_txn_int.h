/*
 * db_txn_int.h - the inside of a transaction: its writes in order, what it read, its cursors.
 *
 * A transaction is one thread's at a time; nothing here is shared or locked.
 */
#ifndef VARVE_DB_DB_TXN_INT_H
#define VARVE_DB_DB_TXN_INT_H

#include "base/rng.h"
#include "db/db_int.h"
#include "varve/txn.h"

/* ---- db_txn_buffer.c: writes that are not committed ---- */

#define TXN_HEIGHT_MAX 12u

typedef struct txn_node txn_node;
typedef struct txn_op txn_op;

/* One write of a key. The newest of its node counts. */
struct txn_op {
    txn_op *older;    /* of the same key */
    txn_op *previous; /* of the transaction */
    txn_node *node;
    uint64_t seq;
    int64_t expires_ns;
    vv_slice value;
    engine_kind kind; /* ENGINE_PUT or ENGINE_DELETE */
    bool by_range;    /* a range deletion of the transaction came over the key */
};

/* A key that was written or read. Nodes stay until the end: a rollback leaves them without a write.
 */
struct txn_node {
    vv_slice key;   /* with the table prefix */
    txn_op *newest; /* NULL: read only, or rolled back */
    bool was_read;
    uint8_t height;
    txn_node *next[];
};

typedef struct txn_wipe {
    txn_span span;
    uint64_t seq;
} txn_wipe;

typedef struct txn_buffer {
    txn_node *head[TXN_HEIGHT_MAX];
    txn_op *last; /* newest write of all */
    uint64_t seq; /* of it, or of the newest range deletion */
    uint32_t height;
    uint32_t live_count; /* nodes whose newest write is a key's own */
    txn_wipe *wipes;     /* range deletions, oldest first */
    size_t wipe_count;
    size_t wipe_cap;
    txn_span *cover; /* their union: ascending, disjoint */
    size_t cover_count;
    size_t cover_cap;
    size_t encoded; /* bytes all that counts takes in a batch, about */
    vv_rng rng;
} txn_buffer;

/* The node of key; NULL when there is none. */
txn_node *txn_buffer_find(const txn_buffer *b, vv_slice key);
/* The first node at or behind key; the last below it; NULL when there is none. */
txn_node *txn_buffer_at(const txn_buffer *b, vv_slice key);
txn_node *txn_buffer_below(const txn_buffer *b, vv_slice key);
/* Whether a range deletion covers key: what lies beneath the transaction is hidden there. */
bool txn_buffer_covers(const txn_buffer *b, vv_slice key);
/* The whole union interval that holds key; NULL when none does. */
const txn_span *txn_buffer_cover_of(const txn_buffer *b, vv_slice key);

/* ---- db_txn.c ---- */

/* A range that a cursor has seen; its bounds grow with it. */
typedef struct txn_seen {
    struct txn_seen *next;
    uint8_t *bound[2];
    size_t len[2];
    size_t cap[2];
} txn_seen;

typedef struct txn_savepoint {
    uint64_t id;
    uint64_t seq;
} txn_savepoint;

struct vv_txn {
    vv_db *db;
    vv_txn_options opt; /* with defaults filled in */
    db_shard *shard;    /* of the first table used; NULL: none yet */
    int64_t time_ns;    /* of its reads */
    uint64_t pinned;    /* bit set of shards */
    vv_arena arena;
    uint64_t counted; /* bytes of the arena that the budget knows */
    txn_buffer buffer;
    txn_seen *seen; /* newest first */
    size_t seen_count;
    txn_savepoint *savepoints;
    size_t savepoint_count;
    size_t savepoint_cap;
    uint64_t next_savepoint;
    bool is_ending;         /* the commit's own memory is not refused */
    db_txn_cursor *cursors; /* open ones */
    vv_batch batch;         /* tables used; filled by the commit */
    txn_footprint footprint;
    vv_write_done done; /* of an asynchronous commit */
    void *done_ctx;
    int64_t version[]; /* of each shard */
};

/* Memory of the transaction; NULL with VV_BUSY or VV_NO_MEMORY in *st and the sentence in err. */
void *txn_alloc(vv_txn *txn, size_t size, vv_status *st, vv_error *err);
/* Grow an array of the arena so that one more fits. */
VV_MUST_CHECK vv_status txn_grow(vv_txn *txn, void **array, size_t *cap, size_t count, size_t size,
                                 vv_error *err);
/* Use a table: it is not dropped and lies on the transaction's shard. */
VV_MUST_CHECK vv_status txn_use(vv_txn *txn, vv_table *table, vv_error *err);
/* Remember that key was looked at. */
VV_MUST_CHECK vv_status txn_note_read(vv_txn *txn, vv_slice key, vv_error *err);
static inline bool txn_checks_reads(const vv_txn *txn)
{
    return txn->opt.isolation == VV_ISOLATION_SERIALIZABLE && !txn->opt.read_only;
}
/* Let everything go but the log. */
void txn_end(vv_txn *txn);

/* Writes, in db_txn_buffer.c. key and bounds are with the table prefix. */
VV_MUST_CHECK vv_status txn_buffer_write(vv_txn *txn, engine_kind kind, vv_slice key,
                                         vv_slice value, int64_t expires_ns, vv_error *err);
VV_MUST_CHECK vv_status txn_buffer_wipe(vv_txn *txn, vv_slice lower, vv_slice upper, vv_error *err);
VV_MUST_CHECK vv_status txn_buffer_add_node(vv_txn *txn, vv_slice key, txn_node **out,
                                            vv_error *err);
void txn_buffer_rollback(vv_txn *txn, uint64_t seq);

/* ---- db_txn_cursor.c ---- */

void db_txn_cursor_orphan(db_txn_cursor *cursor); /* its transaction ends */

#endif
