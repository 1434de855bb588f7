/*
 * txn.h - the resolver: may this batch be written, given everything that is logged before it?
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

#define TXN_POSITION_SIZE 8u

/** The value stored for a producer. */
void txn_position_encode(uint64_t sequence, uint8_t out[TXN_POSITION_SIZE]);
VV_MUST_CHECK vv_status txn_position_decode(vv_slice bytes, uint64_t *out, vv_error *err);

#endif
