/*
 * svc_query.h - what the files of QueryService share: one asked question and its answer in bytes.
 */
#ifndef VARVE_SERVER_SVC_QUERY_H
#define VARVE_SERVER_SVC_QUERY_H

#include "query/query.h"
#include "server/node.h"
#include "server/svc_turn.h"
#include "server/svc_util.h"

/* A request that was parsed and authorized, with everything it borrows from. Heap; counted
 * references: the call has one until closed(), the thread that works on it another. */
typedef struct svc_ask {
    node *node;
    srv_call *call; /* referenced */
    srv_message msg;
    bool has_msg;
    int64_t begin_ns;
    vv_arena arena; /* the lists of ask */
    vv_buf wire;    /* HTTP: the request as wire bytes */
    query_ask ask;
    gate_op op;
    gate_grant grant;
    vv_slice tenant; /* never empty */
    vv_slice table;  /* never empty */
    vv_table *handle;
    query *query; /* QueryStream: between turns */
    _Atomic int refs;
    svc_turn turn; /* QueryStream */
} svc_ask;

typedef vv_status (*svc_ask_parser)(vv_slice bytes, vv_arena *arena, query_ask *out, vv_error *err);

/** Parse and authorize what a call asks. bytes is msg's data or a->wire. Loop thread. Takes msg in
 * every case; msg may be NULL when wire is not. Gives *out: svc_ask_unref. */
VV_MUST_CHECK vv_status svc_ask_create(srv_call *call, srv_message *msg, vv_buf *wire,
                                       svc_ask_parser parser, svc_ask **out, vv_error *err);
void svc_ask_ref(svc_ask *a);
void svc_ask_unref(svc_ask *a); /* accepts NULL */
/** Open the table and fill what a query needs to know of the node. */
VV_MUST_CHECK vv_status svc_ask_open(svc_ask *a, query_env *out, vv_error *err);
/** Count the call in the node's figures: before its end, so that who has the answer finds it there.
 */
void svc_ask_count(const svc_ask *a);

/** Run the question and append a storage.QueryResponse. Blocks. */
VV_MUST_CHECK vv_status svc_query_answer(svc_ask *a, vv_buf *out, vv_error *err);
/** The same for storage.AggregateResponse and storage.QueryPlanResponse. */
VV_MUST_CHECK vv_status svc_aggregate_answer(svc_ask *a, vv_buf *out, vv_error *err);
VV_MUST_CHECK vv_status svc_explain_answer(svc_ask *a, vv_buf *out, vv_error *err);

/** The callbacks of QueryStream. */
void svc_stream_message(srv_call *call, srv_message msg);
void svc_stream_half_close(srv_call *call);
void svc_stream_drained(srv_call *call);
void svc_stream_closed(srv_call *call);

#define SVC_ANSWER_MAX (80u * 1024 * 1024) /* bytes of one answer: a page and one large record */

#endif
