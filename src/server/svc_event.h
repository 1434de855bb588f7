/*
 * svc_event.h - what the event log says of messages that a server takes: accepted, or failed, with
 * the trace that the client named.
 *
 * A line a request is for those who look for something: at level debug of the module "stream". A
 * failure that the writer could not have known is a warning.
 */
#ifndef VARVE_SERVER_SVC_EVENT_H
#define VARVE_SERVER_SVC_EVENT_H

#include "server/node.h"
#include "varve/stream.h"

/* Of W3C's trace context; empty texts when there is none. */
typedef struct svc_trace {
    char trace_id[33];
    char span_id[17];
} svc_trace;

/** Read a traceparent, "00-<32 hex>-<16 hex>-<2 hex>". False: it is none, and out is empty. */
bool svc_trace_parse(vv_slice text, svc_trace *out);
/** That of a call's headers, or of its metadata over gRPC. */
bool svc_trace_of(const srv_call *call, svc_trace *out);

/** The same, or else that of the first message that has an attribute "trace_id", as spans have. */
bool svc_trace_of_messages(const srv_call *call, const vv_message *messages, size_t count,
                           svc_trace *out);

/** How an append of messages ended; table is alive, or NULL. result is NULL unless st is VV_OK. */
void svc_event_appended(const node *n, const svc_trace *trace, vv_table *table, size_t count,
                        vv_status st, const vv_stream_append_result *result, const vv_error *err);

#endif
