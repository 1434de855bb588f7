/*
 * txn.h - the resolver: may this batch be written, given everything that is logged before it?
 *
 * It answers for conditions (compare-and-swap, producers) and for transactions: what a transaction
 * depends on is its footprint, keys and spans of keys that nobody may have touched since its
 * snapshot.
 *
 * A condition is judged in two steps, so that no disk is read under the commit lock:
 *
 *   txn_judge       without a lock, against all that is applied up to version `as_of`, writes not
 *                   yet acknowledged included: reads what it needs
 *   txn_is_current  under the commit lock: has nothing touched the keys since as_of? Memory only.
 *                   When something has, or when the memtables no longer reach back to as_of, the
 *                   caller judges again.
 *
 * Logged entries are unconditional: what was judged here is never judged again by a replay. A
 * producer's position is an operation of the same entry, so it survives with the data it stands
 * for.
 */
#ifndef VARVE_TXN_TXN_H
#define VARVE_TXN_TXN_H

#include "engine/engine.h"

typedef enum txn_kind {
    TXN_VERSION,  /* the newest version of key is `version`; 0: the key is absent */
    TXN_VALUE,    /* the present value of key is `value`, or the key is absent */
    TXN_PRODUCER, /* `sequence` is above the one stored under key */
} txn_kind;

typedef struct txn_condition {
    txn_kind kind;
    bool present;      /* TXN_VALUE */
    int64_t version;   /* TXN_VERSION */
    uint64_t sequence; /* TXN_PRODUCER */
    vv_slice key;      /* with the table prefix */
    vv_slice value;    /* TXN_VALUE */
} txn_condition;

typedef struct txn_verdict {
    bool is_duplicate; /* a producer's sequence was written before: answer OK, write nothing */
    int64_t version;   /* of the producer's stored position then */
} txn_verdict;

/**
 * Judge count conditions as of as_of, with expiry at now_ns. VV_CONFLICT names the first that does
 * not hold. A duplicate comes before a conflict: a retry of a write that went through must not fail
 * because of its own effect. May read from disk.
 */
VV_MUST_CHECK vv_status txn_judge(engine *eng, const txn_condition *conds, size_t count,
                                  int64_t as_of, int64_t now_ns, txn_verdict *out, vv_error *err);

/** Under the commit lock: is what was judged as of as_of still so? Never blocks. */
bool txn_is_current(engine *eng, const txn_condition *conds, size_t count, int64_t as_of);

/* ---- transactions -------------------------------------------------------------------------------
 *
 *   txn_check_keys    under the commit lock, memory alone: the usual way of small transactions.
 * When it does not know (a memtable was flushed since, or there are spans): txn_recent_watch  under
 * the commit lock: from here on, remember what is appended txn_check_all     without a lock:
 * memtables and runs, up to the moment of the watch at least txn_recent_check  under the commit
 * lock again: what was appended meanwhile
 *
 * Between the last answer and the append the lock is held, so nothing comes between.
 */

typedef struct txn_span {
    vv_slice lower; /* with the table prefix */
    vv_slice upper; /* exclusive */
} txn_span;

typedef struct txn_footprint {
    int64_t since;        /* the snapshot, pinned until the transaction ends */
    const vv_slice *keys; /* ascending, with the table prefix */
    size_t key_count;
    const txn_span *spans; /* ascending and disjoint */
    size_t span_count;
} txn_footprint;

typedef enum txn_answer {
    TXN_CLEAR,   /* nothing in the footprint was touched */
    TXN_TOUCHED, /* it was: *out says by what */
    TXN_UNKNOWN, /* memory does not reach back far enough to tell */
} txn_answer;

/** The keys of a footprint without spans. Under the commit lock; never blocks. */
txn_answer txn_check_keys(engine *eng, const txn_footprint *fp, engine_touch *out);

/** The whole footprint; may read from disk. TXN_UNKNOWN: the snapshot is older than what the engine
 * remembers. A status other than VV_OK: a read failed. */
VV_MUST_CHECK vv_status txn_check_all(engine *eng, const txn_footprint *fp, txn_answer *answer,
                                      engine_touch *out, vv_error *err);

/* The keys and ranges of entries appended while somebody judges. Bounded: when it is full it
 * forgets, and who is judging begins again. Everything in it is under the commit lock. */
typedef struct txn_recent {
    uint8_t *bytes; /* of TXN_RECENT_SIZE, taken with the first watch; may be NULL */
    size_t len;
    uint32_t watchers;
    int64_t from; /* entries above it are remembered, while there are watchers */
} txn_recent;

#define TXN_RECENT_SIZE (256u * 1024u)

void txn_recent_fini(txn_recent *r);
/** Begin to watch behind the newest entry, `last`. */
void txn_recent_watch(txn_recent *r, int64_t last);
void txn_recent_unwatch(txn_recent *r);
/** What an append does when there are watchers. */
void txn_recent_add(txn_recent *r, int64_t version, vv_slice payload);
/** Something was written up to version that is not in a payload: who is judging begins again. */
void txn_recent_forget(txn_recent *r, int64_t version);
/** Did an entry above as_of touch the footprint? */
txn_answer txn_recent_check(const txn_recent *r, const txn_footprint *fp, int64_t as_of,
                            engine_touch *out);

#define TXN_POSITION_SIZE 8u

/** The value stored for a producer. */
void txn_position_encode(uint64_t sequence, uint8_t out[TXN_POSITION_SIZE]);
VV_MUST_CHECK vv_status txn_position_decode(vv_slice bytes, uint64_t *out, vv_error *err);

#endif
