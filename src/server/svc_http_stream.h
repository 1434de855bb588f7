/*
 * svc_http_stream.h - what the files of /api/v1/stream share: parameters, and messages as JSON.
 *
 *   GET    /api/v1/stream/read             messages as JSON lines, or events (text/event-stream)
 *   GET    /api/v1/stream/tail             the same, and what comes, until timeout
 *   POST   /api/v1/stream/append           JSON, JSON lines, or lines of text
 *   GET    /api/v1/stream/positions        all, or those with a name
 *   POST   /api/v1/stream/positions        commit
 *   POST   /api/v1/stream/positions/reset
 *   DELETE /api/v1/stream/positions
 *   GET    /api/v1/stream/status
 */
#ifndef VARVE_SERVER_SVC_HTTP_STREAM_H
#define VARVE_SERVER_SVC_HTTP_STREAM_H

#include "server/svc_stream.h"

#define SVC_HTTP_STREAM "/api/v1/stream/"

/* The parameters of a request; what is not given is zero. */
typedef struct svc_stream_query {
    svc_table_ref table;
    bool has_partition;
    uint32_t partition;
    vv_slice name;
    vv_slice after;
    bool has_offset;
    uint64_t offset;
    bool has_from;
    vv_stream_start from;
    uint64_t limit;
    int64_t timeout_ns;
    bool is_events; /* format=sse */
    vv_slice producer;
    uint64_t sequence;
    vv_durability durability;
} svc_stream_query;

/** Read the parameters; names, which end with NULL, are those that this request may have. What they
 * hold is in arena. VV_INVALID names the parameter. */
VV_MUST_CHECK vv_status svc_stream_query_read(srv_call *call, const char *const names[],
                                              vv_arena *arena, svc_stream_query *out,
                                              vv_error *err);

/** One message as a JSON object with a line's end. */
void svc_stream_put_json(vv_buf *out, const vv_message *m);
/** The same as an event whose id is the offset. */
void svc_stream_put_event(vv_buf *out, const vv_message *m);

/** The messages of a body: JSON values (a message, an array of them, or {"messages":[...]}), one or
 * many; with is_text each line is a value. They borrow from the body and arena. */
VV_MUST_CHECK vv_status svc_stream_read_body(vv_slice body, bool is_text, vv_arena *arena,
                                             vv_message **messages, size_t *count, vv_error *err);

/* svc_http_stream_append.c */
void svc_http_stream_append_message(srv_call *call, srv_message msg);

#endif
