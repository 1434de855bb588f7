/*
 * svc_stream.h - what the files of varve.v1.Stream share: messages on the wire.
 */
#ifndef VARVE_SERVER_SVC_STREAM_H
#define VARVE_SERVER_SVC_STREAM_H

#include "base/arena.h"
#include "server/node.h"
#include "server/svc_kv.h"
#include "server/svc_message.h"
#include "varve/stream.h"

/** The messages of an AppendRequest, in arena; borrows the bytes. VV_INVALID; VV_NO_MEMORY. */
VV_MUST_CHECK vv_status svc_stream_read_append(vv_slice bytes, vv_arena *arena, svc_table_ref *ref,
                                               vv_message **messages, size_t *count,
                                               vv_stream_append_options *opt, vv_error *err);
/** A StreamStart. False: it is none. */
bool svc_stream_take_start(const wire_field *f, vv_stream_start *out);
/** Add field 1 of a page. */
void svc_stream_put_message(vv_buf *out, const vv_message *m);

/* ---- svc_commit.c ---- */

/* What is borrowed stays until done ran. */
typedef struct svc_commit {
    srv_call *call; /* its posts come back to its loop; referenced by the caller */
    vv_table *table;
    uint32_t partition;
    vv_slice name;
    uint64_t offset;
    vv_durability durability;
    void (*done)(void *ctx, vv_status st, const vv_error *err); /* once; any thread */
    void *ctx;
} svc_commit;

/** Commit a position, as vv_stream_commit does. On the pool: what is there is read. VV_OK: done
 * runs, perhaps before this returns. */
VV_MUST_CHECK vv_status svc_commit_begin(const svc_commit *what, vv_error *err);

/* ---- svc_stream_read.c ---- */

/* What a read asks for. */
typedef struct svc_stream_asked {
    svc_table_ref table;
    vv_stream_read_options opt;
    uint64_t left; /* messages; 0: no limit */
    bool follows;
    int64_t timeout_ns; /* of who follows; 0: as long as the call is open */
    void (*put)(vv_buf *out, const vv_message *m);
    const char *type; /* HTTP */
} svc_stream_asked;

/* A protocol. */
typedef struct svc_stream_form {
    bool is_http;
    /* Fill *out; what it borrows is of the call, the message or arena. Pool thread. */
    vv_status (*read)(srv_call *call, vv_slice message, vv_arena *arena, svc_stream_asked *out,
                      vv_error *err);
} svc_stream_form;

/** Begin to read for a call, whose rows have drained and closed below. Takes msg. */
void svc_stream_read_begin(srv_call *call, srv_message msg, const svc_stream_form *form);
void svc_stream_read_message(srv_call *call, srv_message msg);
void svc_stream_read_drained(srv_call *call);
void svc_stream_read_closed(srv_call *call);

#endif
