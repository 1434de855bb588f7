/*
 * ingest.h - the ingestion pipeline: from received messages to durable records and their answers.
 *
 *   any thread      extract x n                  writer                        commit thread
 *   ingest_submit --> raw queue --> decode, --> processed --> batches --> vv_write_async
 *     (per worker,                  check,        queue       per shard         | one sync for many
 *      bounded bytes)               find table   (bounded)                      v
 *        ^                                                    settled(), <-- done()
 *        +---- room: the message is released, --------------- turn()
 *              so the sender gets its credit back
 *
 * A producer is one call or one stream. Its messages go through one worker and are settled in the
 * order they were submitted. A message is held until its records are durable as asked or refused:
 * over the bound of the queue it waits outside, unreleased, so that flow control slows the sender.
 * Nothing is dropped.
 *
 * The pipeline knows no network and no gate: messages, answers and tables come through callbacks.
 */
#ifndef VARVE_INGEST_INGEST_H
#define VARVE_INGEST_INGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/clock.h"
#include "base/hist.h"
#include "base/thread.h"
#include "varve/varve.h"

#define INGEST_TABLE_DEFAULT "records"
#define INGEST_TENANT_DEFAULT "default"
#define INGEST_BATCH_RECORDS_MAX 262144u /* records in one IngestBatchRequest */

typedef struct ingest_pipeline ingest_pipeline;
typedef struct ingest_producer ingest_producer;
typedef struct ingest_item ingest_item;

typedef vv_status (*ingest_write_fn)(void *ctx, vv_batch *batch, vv_durability durability,
                                     vv_write_done done, void *done_ctx, vv_error *err);

typedef struct ingest_options {
    vv_db *db;
    vv_clock *clock;
    const vv_threads *threads; /* NULL: nothing runs but in ingest_step */
    vv_budget *budget;         /* VV_BUDGET_QUEUE; may be NULL */
    uint32_t workers;          /* extract threads; 0: 2 */
    uint64_t queue_bytes;      /* messages inside the pipeline; 0: 64 MiB */
    uint32_t batch_bytes;      /* encoded bytes a gathered batch aims at; 0: 1 MiB */
    ingest_write_fn write;     /* instead of vv_write_async, for tests; may be NULL */
    void *write_ctx;
} ingest_options;

VV_MUST_CHECK vv_status ingest_create(const ingest_options *opt, ingest_pipeline **out,
                                      vv_error *err);
/** Settle everything submitted, stop the threads, free. No submit may come any more, and every
 * producer must be closed. Accepts NULL. */
void ingest_destroy(ingest_pipeline *p);

/** Without threads: one round of everything. True when something was done. */
bool ingest_step(ingest_pipeline *p);

/* ---- producers and messages ---- */

/* None of them is called with a lock held. settled, turn and tick come from the writer thread,
 * resolve from one worker; closed from wherever the last reference goes. */
typedef struct ingest_producer_ops {
    /* The table for records of this producer; creates it when it may. Gives *out. */
    vv_status (*resolve)(void *ctx, vv_slice tenant, vv_slice table, vv_table **out, vv_error *err);
    /* A message is settled, in order. The item and what it gives are valid for the call. */
    void (*settled)(void *ctx, const ingest_item *item);
    /* After the settled() calls of one group commit: answers that can go together go now. May be
     * NULL. */
    void (*turn)(void *ctx);
    /* Once a second from open to close. NULL: the producer is not a stream. */
    void (*tick)(void *ctx);
    /* The last call: closed, and every message settled. */
    void (*closed)(void *ctx);
} ingest_producer_ops;

/** identity: who it is, byte for byte; tables resolved for one identity serve its producers alone.
 * Copied. Gives *out: ingest_producer_close. */
VV_MUST_CHECK vv_status ingest_producer_open(ingest_pipeline *p, const ingest_producer_ops *ops,
                                             void *ctx, vv_slice identity, ingest_producer **out,
                                             vv_error *err);
/** No more messages will come. What was submitted is still settled. Accepts NULL. */
void ingest_producer_close(ingest_producer *producer);

typedef struct ingest_message {
    vv_slice data;
    bool counted; /* in the budget, by the caller, until it is released: itself, and for a batch the
                     copy of its records as well */
    void *owner[2];
    void (*release)(struct ingest_message *message); /* any thread; once; may be NULL */
} ingest_message;

typedef enum ingest_kind {
    INGEST_RECORD, /* IngestRecordRequest */
    INGEST_BATCH,  /* IngestBatchRequest */
    INGEST_STREAM, /* IngestStreamRequest */
    INGEST_END,    /* no message: settled when everything before it is */
} ingest_kind;

/** Takes message, also on failure (it is released). Never blocks. VV_NO_MEMORY, VV_CLOSED. */
VV_MUST_CHECK vv_status ingest_submit(ingest_producer *producer, ingest_kind kind,
                                      const ingest_message *message, vv_error *err);

/* ---- what settled() sees ---- */

typedef enum ingest_event {
    INGEST_EVENT_RECORDS, /* of INGEST_RECORD, INGEST_BATCH, and a record of a stream */
    INGEST_EVENT_INIT,    /* of a stream: ack_batch is known */
    INGEST_EVENT_COMMIT,
    INGEST_EVENT_END,
} ingest_event;

typedef struct ingest_outcome {
    ingest_event event;
    vv_status status;    /* of the whole request; not VV_OK: nothing of it was written */
    const char *message; /* its sentence; NULL when VV_OK */
    uint32_t count;      /* records */
    uint32_t failed;     /* of them */
    bool transactional;
    bool duplicate;           /* a producer's retry: it was written before */
    bool ack_batch;           /* INIT: options["ack"] is "batch" */
    vv_durability durability; /* given; of an INIT: asked for */
    uint64_t bytes;           /* of the message */
} ingest_outcome;

typedef struct ingest_result {
    vv_status status;
    int64_t version;
    vv_slice id;         /* the entity id; may be empty when that is the fault */
    const char *message; /* NULL when VV_OK, and when there was no memory for it */
} ingest_result;

void ingest_item_outcome(const ingest_item *item, ingest_outcome *out);
const ingest_result *ingest_item_result(const ingest_item *item, uint32_t index);

/** "sync", "os", "none". */
const char *ingest_durability_name(vv_durability durability);
/** The reverse; an empty text is the default. VV_INVALID names what is allowed. */
VV_MUST_CHECK vv_status ingest_durability_parse(vv_slice text, vv_durability *out, vv_error *err);

/* ---- figures ---- */

typedef struct ingest_stats {
    uint64_t records; /* acknowledged */
    uint64_t bytes;   /* of the messages they came in */
    uint64_t failed;  /* refused records */
    double records_per_s;
    double bytes_per_s;
    uint64_t pending;     /* records decoded and not yet settled, messages not yet decoded */
    uint64_t queue_bytes; /* messages inside */
    uint64_t queue_limit;
    uint64_t waiting_bytes; /* messages outside the bound */
    uint64_t streams;       /* open */
    uint64_t batches;       /* written */
    uint64_t messages;
} ingest_stats;

/** Of all tenants (empty), or the first five of one tenant and the rest of the node. */
void ingest_stats_read(ingest_pipeline *p, vv_slice tenant, ingest_stats *out);
/** From submit to settled, nanoseconds. */
const vv_hist *ingest_latency(const ingest_pipeline *p);

#endif
