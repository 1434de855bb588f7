/*
 * svc_message.h - the one way of messages into stream tables: whatever protocol brought them
 * (varve.v1.Stream, HTTP, StorageEngine, OTLP), they are appended here.
 *
 *   a protocol: decoded --> svc_message_append --> gate, table --> append ... commit thread: done
 *
 * They go through the node's queues of messages (ingest_message.h): those of a sender in their
 * order, on workers, as many bytes of them at once as are allowed.
 *
 * One way, so that what is promised of an append holds for all of them: who may write, when a
 * missing table is made, that done tells of messages that are as durable as was asked, and that a
 * full disk is noted.
 */
#ifndef VARVE_SERVER_SVC_MESSAGE_H
#define VARVE_SERVER_SVC_MESSAGE_H

#include "ingest/ingest_message.h"
#include "server/node.h"
#include "server/svc_kv_request.h"
#include "varve/stream.h"

#define SVC_MESSAGE_TABLE "messages" /* of a request that names none */

/* What is appended: all of it or nothing. Borrowed until done ran, or the call failed. */
typedef struct svc_messages {
    svc_table_ref table; /* empty names: the defaults */
    const vv_message *messages;
    size_t count;
    vv_stream_append_options options;
} svc_messages;

/** How an append ended; any thread, also before svc_message_append returns. err is NULL with VV_OK,
 * as is result otherwise. */
typedef void svc_message_done(void *ctx, vv_status st, const vv_stream_append_result *result,
                              const vv_error *err);

/**
 * Append messages in the name of a call, which is referenced meanwhile. A missing table is made
 * where the gate lets it: this may wait, so it is called on the pool. Appends of one thread to one
 * partition get their offsets in the order of the calls.
 *
 * @return VV_OK: done runs exactly once. Anything else: it does not run, and nothing was written.
 */
VV_MUST_CHECK vv_status svc_message_append(srv_call *call, const svc_messages *what,
                                           svc_message_done *done, void *ctx, vv_error *err);

/** The bytes that a message of the table may have; of a table that is not there, those of a new
 * one.
 */
VV_MUST_CHECK vv_status svc_message_limit(srv_call *call, const svc_table_ref *ref, uint64_t *out,
                                          vv_error *err);

/** Whether a call may do this with that table; says nothing of whether it is there. */
VV_MUST_CHECK vv_status svc_message_authorize(srv_call *call, const svc_table_ref *ref,
                                              gate_kind kind, vv_error *err);

/** The same by a worker of the node's queues of messages, which runs what it is called in: in the
 * place that the request has there. VV_BUSY: run it again after a pause; who gives up then says so
 * by svc_message_note_refused. */
VV_MUST_CHECK vv_status svc_message_append_now(srv_call *call, const svc_messages *what,
                                               svc_message_done *done, void *ctx, vv_error *err);

void svc_message_note_refused(srv_call *call, const svc_messages *what, vv_status st,
                              const vv_error *err);

/** Whose requests are appended in their order: the producer's to a table, or those of the
 * connection to it. In that in
 * which they were submitted to the queues: on the loop, as they came, by Stream.Append and its form
 * over HTTP; by a thread of the pool each, of two in flight at once in either order, by
 * ProcessMessage and OTLP, whose clients wait for an answer where the order matters to them. */
uint64_t svc_message_order(const srv_call *call, const svc_table_ref *table, vv_slice producer);

/** The stream table of a request out of the gate, to read it or to change positions. Made when it
 * is missing and creates is set. May wait. Gives *out: vv_table_close. */
VV_MUST_CHECK vv_status svc_message_open(srv_call *call, const svc_table_ref *ref, gate_kind kind,
                                         bool creates, vv_table **out, vv_error *err);

#endif
