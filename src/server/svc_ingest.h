/*
 * svc_ingest.h - what the files of IngestionService share: a call that feeds the pipeline.
 */
#ifndef VARVE_SERVER_SVC_INGEST_H
#define VARVE_SERVER_SVC_INGEST_H

#include "base/buf.h"
#include "ingest/ingest.h"
#include "server/config.h"
#include "server/node.h"

#define SVC_INGEST_ANSWER_MAX (64u * 1024 * 1024)
#define SVC_BATCH_COPIES 1u /* of the message of an IngestBatch, in the batch that is written */
_Static_assert(1 + SVC_BATCH_COPIES == CONFIG_MESSAGE_COPIES, "the configuration knows of them");
#define SVC_INGEST_PORTS 1u /* bit 0: the ingest port */

/* Who asks, kept beyond the call: the pipeline resolves tables when the call may be gone. */
typedef struct svc_ingest_who {
    bool loopback;
    size_t token_len;
    uint8_t *token; /* owned */
} svc_ingest_who;

VV_MUST_CHECK vv_status svc_ingest_who_init(svc_ingest_who *who, const srv_call *call,
                                            vv_error *err);
void svc_ingest_who_fini(svc_ingest_who *who);
/** Begin a producer with the identity of who. */
VV_MUST_CHECK vv_status svc_ingest_open(node *n, const svc_ingest_who *who,
                                        const ingest_producer_ops *ops, void *ctx,
                                        ingest_producer **out, vv_error *err);
/** A record table out of the gate, created when it may be. For ingest_producer_ops.resolve. */
VV_MUST_CHECK vv_status svc_ingest_resolve(node *n, const svc_ingest_who *who, vv_slice tenant,
                                           vv_slice table, vv_table **out, vv_error *err);

/** A received message as the pipeline takes it. */
ingest_message svc_ingest_message(const srv_message *msg);

/** The name of what a message was given; for one that wrote nothing, what it would have got. */
const char *svc_ingest_given(const node *n, vv_durability given);
/** Tell the node how a settled write ended. */
void svc_ingest_note(node *n, const ingest_item *item, const ingest_outcome *o);

/* The answers in wire bytes. */
void svc_ingest_put_record_answer(vv_buf *out, const ingest_item *item, int64_t wall_ns);
void svc_ingest_put_batch_answer(vv_buf *out, const ingest_item *item, int64_t wall_ns);
void svc_ingest_put_status(vv_buf *out, uint32_t number, vv_status status, const char *message);
void svc_ingest_put_time(vv_buf *out, uint32_t number, int64_t wall_ns);
void svc_ingest_put_metrics(vv_buf *out, uint32_t number, node *n, vv_slice tenant);

/* The callbacks of IngestStream. */
void svc_ingest_stream_start(srv_call *call);
void svc_ingest_stream_message(srv_call *call, srv_message msg);
void svc_ingest_stream_half_close(srv_call *call);
void svc_ingest_stream_drained(srv_call *call);
void svc_ingest_stream_closed(srv_call *call);

#endif
