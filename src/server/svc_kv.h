/*
 * svc_kv.h - what the files of varve.v1.Kv and its HTTP form share: the parts of requests, and a
 * write from its request to its answer.
 */
#ifndef VARVE_SERVER_SVC_KV_H
#define VARVE_SERVER_SVC_KV_H

#include "server/node.h"
#include "server/svc_kv_request.h"
#include "server/svc_read.h"
#include "server/svc_util.h"

/* ---- parts of requests ---- */

/** The sentence for bytes that are no request of this name. */
vv_status svc_kv_fail_malformed(const char *request, vv_error *err);
/** The enum varve.v1.Durability. VV_INVALID for a value it has not. */
VV_MUST_CHECK vv_status svc_kv_durability(uint32_t value, vv_durability *out, vv_error *err);
/** When a key written now with this ttl expires; 0: never. VV_INVALID past the year 2262. */
VV_MUST_CHECK vv_status svc_kv_expiry(node *n, uint64_t ttl_ms, int64_t *out, vv_error *err);

/** vv_batch_merge, with the operator as a request has it. VV_INVALID for one it has not. */
VV_MUST_CHECK vv_status svc_kv_add_merge(vv_batch *batch, vv_table *table, vv_slice key,
                                         uint32_t op, vv_slice operand, int64_t expires_ns,
                                         vv_error *err);
/** The fields of a GetResponse for a value that is there, and their bytes at most. */
void svc_kv_put_value(vv_buf *out, const vv_value *value);
#define SVC_KV_VALUE_HEAD_MAX 64u
#define SVC_KV_MANY_REQUEST_MAX (1024u * 1024u) /* bytes of a GetManyRequest */

/* What a read sees: a version, an archive, the state at a time, or (none of them) what is there
 * now. */
typedef struct svc_kv_moment {
    int64_t version;  /* 0: none */
    vv_slice archive; /* empty: none */
    int64_t as_of_ns; /* 0: none */
} svc_kv_moment;

/** VV_INVALID for a negative number, and for two of the three. */
VV_MUST_CHECK vv_status svc_kv_check_moment(const svc_kv_moment *at, vv_error *err);
/** A moment as requests name it, checked. */
VV_MUST_CHECK vv_status svc_kv_moment_of(int64_t version, vv_slice archive, int64_t as_of_ms,
                                         svc_kv_moment *out, vv_error *err);
/** The version to read the table at: that of the moment, or the newest at its time, in a
 * partitioned table of the shard of key. Without a key one for all of the table: VV_UNSUPPORTED of
 * a partitioned one. 0: now, or an archive. Reads no file. */
VV_MUST_CHECK vv_status svc_kv_version_at(vv_table *table, const svc_kv_moment *at,
                                          const vv_slice *key, int64_t *out, vv_error *err);

#define SVC_KV_ARCHIVE_SIZE sizeof((vv_archive_info *)NULL)->name
/** An archive's name as the store takes it. VV_INVALID when it is too long or has a NUL; the store
 * looks at the rest. */
VV_MUST_CHECK vv_status svc_kv_archive_name(vv_slice from, char out[SVC_KV_ARCHIVE_SIZE],
                                            vv_error *err);
/** A cursor over a whole table of an archive. VV_NOT_FOUND: there is no such archive. Gives *out:
 * vv_cursor_close. */
VV_MUST_CHECK vv_status svc_kv_open_archive(vv_table *table, vv_slice archive, vv_cursor **out,
                                            vv_error *err);
/** The value under key, borrowed from the cursor until it moves. *found: the archive has it. */
VV_MUST_CHECK vv_status svc_kv_seek_archive(vv_cursor *cursor, vv_slice key, bool *found,
                                            vv_value *out, vv_error *err);

/* A value that a request asked for. */
typedef struct svc_kv_found {
    bool found;      /* the key is there: svc_kv_found_release */
    bool would_wait; /* it may be, in a file: with VV_BUSY */
    vv_value value;
    vv_cursor *cursor; /* that a value of an archive is borrowed from */
} svc_kv_found;

/** Authorize op, a GATE_READ of one key, and read it as of a moment; without may_wait as
 * svc_read_value has it. Fills *out, zeroed by the caller. VV_NOT_FOUND: the table or the archive
 * is not there. */
VV_MUST_CHECK vv_status svc_kv_read_value(srv_call *call, const gate_op *op,
                                          const svc_kv_moment *at, bool may_wait, svc_kv_found *out,
                                          vv_error *err);
void svc_kv_found_release(svc_kv_found *found);

/* ---- writes ---- */

typedef struct svc_kv_write svc_kv_write;

/*
 * A kind of write. None of them waits, but fill when may_wait is set.
 *
 *   loop: begin --> fill --> vv_write_async ... commit thread: answer or refuse --> recycled
 *                     |                              |
 *        a table to be created, a value in    a conflict, when there is a retry: fill again,
 *        a file, or a large request: fill     on the loop
 *        again on the pool
 */
typedef struct svc_kv_write_ops {
    /* Parse w->msg, authorize, add to w->batch (empty) and set w->durability. It may settle the
     * call without writing: true in w->is_settled. When it fails with w->would_wait it is called
     * again where it may wait. */
    vv_status (*fill)(svc_kv_write *w, bool may_wait, vv_error *err);
    void (*answer)(svc_kv_write *w, const vv_write_result *result); /* success; any thread */
    void (*refuse)(srv_call *call, vv_status status, const char *message);
    uint32_t retries;   /* how often a VV_CONFLICT begins anew; then it is the answer */
    bool keeps_message; /* answer or a retry needs w->msg; else it goes back when it was filled */
    bool is_put;        /* counts in node.put_ns */
} svc_kv_write_ops;

/* Recycled: its batch keeps its memory. */
struct svc_kv_write {
    node *n;
    srv_call *call; /* referenced */
    const svc_kv_write_ops *ops;
    vv_batch *batch;
    srv_message msg;
    bool has_msg;
    bool is_settled;
    bool would_wait; /* fill failed because it may not wait */
    vv_durability durability;
    int64_t begin_ns;
    size_t request_len; /* of the message and the path */
    uint32_t tries;
    uint32_t lane;
    svc_kv_write *next;
    vv_buf scratch; /* HTTP: the decoded path */
};

/** Begin a write for a call. Takes msg. Loop thread. */
void svc_kv_write_begin(srv_call *call, srv_message msg, const svc_kv_write_ops *ops);

/** Authorize one operation, a GATE_WRITE on a table of keys and values, and open its table,
 * creating it when `creates` and the gate allow. As fill has it otherwise. Gives *out. */
VV_MUST_CHECK vv_status svc_kv_write_open(svc_kv_write *w, const gate_op *op, bool creates,
                                          bool may_wait, vv_table **out, vv_error *err);

/** The trailer "varve-durability", the message and VV_OK. Takes out. */
void svc_kv_answer(srv_call *call, vv_durability durability, vv_buf *out);

/* ---- the methods of other files ---- */

void svc_kv_cas_message(srv_call *call, srv_message msg);
void svc_kv_batch_message(srv_call *call, srv_message msg);
void svc_kv_many_message(srv_call *call, srv_message msg);
void svc_kv_scan_message(srv_call *call, srv_message msg);
void svc_kv_scan_half_close(srv_call *call);
void svc_kv_scan_drained(srv_call *call);
void svc_kv_scan_closed(srv_call *call);

#endif
