/*
 * ingest_message.h - the way of messages for streams through a node: requests as they came, in
 * queues; workers that decode them, apply the rules of their table and hand them to the log.
 *
 *   loops, in the order                worker x n                         commit thread
 *   of arrival
 *   submit --> raw queue of a worker --> run(): decode, rules, append --> on its way --> leave
 *                by who sends it    \                                         |
 *                                    '-- no room: it waits, unreleased <--- bytes
 *
 * Tasks of one order (a producer's to a table, or a connection's where there is none) go through
 * one worker, so they are appended in the order in which they came, whatever their rules cost;
 * senders share the workers. A task that the store is too busy for is set aside with all that its
 * sender sent behind it, and the worker goes on with the others: a table whose object store does
 * not answer holds back those who write to it, and nobody else. At most queue_bytes of requests are
 * with workers and on their way at once. The others wait outside, as they came and unreleased:
 * their sender gets no credit for more, so that what waits is bounded by the windows of the
 * connections and the budget of the node. Nothing is dropped, and one request passes an empty
 * pipeline, however large it is.
 *
 * The pipeline knows no network, no gate and no table: what a request is its owner knows.
 */
#ifndef VARVE_INGEST_INGEST_MESSAGE_H
#define VARVE_INGEST_INGEST_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/hist.h"
#include "base/thread.h"
#include "varve/status.h"

#define INGEST_MESSAGE_WORKERS_MAX 32u

typedef struct ingest_messages ingest_messages;

/* A request, inside what its owner keeps of it. */
typedef struct ingest_task {
    struct ingest_task *next; /* the pipeline's, like all down to tries */
    int64_t arrival_ns;
    struct ingest_task *next_aside; /* of one that is set aside: in its bucket */
    struct ingest_task *behind;     /* likewise: newer ones of its order */
    struct ingest_task *behind_last;
    int64_t due_ns;
    uint32_t tries;
    uint64_t order; /* who sends: tasks of one order are run one after the other, as submitted */
    uint64_t bytes; /* of the request */
    /* Decode and append; on the worker. VV_OK: taken, and ingest_messages_leave is called for it
     * exactly once, perhaps by now. VV_BUSY: nothing was done, it is run again after a pause that
     * grows to a quarter of a second, before anything newer of its order, for up to 10 s. */
    vv_status (*run)(struct ingest_task *task, vv_error *err);
    /* run answered something else, or VV_BUSY for too long. The last that is heard of it. */
    void (*refuse)(struct ingest_task *task, vv_status st, const vv_error *err);
} ingest_task;

typedef struct ingest_messages_options {
    vv_clock *clock;
    const vv_threads *threads; /* NULL: nothing runs but in ingest_messages_step */
    uint32_t workers;          /* 0: 2 */
    uint64_t queue_bytes;      /* of requests with workers and on their way; 0: 64 MiB */
} ingest_messages_options;

VV_MUST_CHECK vv_status ingest_messages_create(const ingest_messages_options *opt,
                                               ingest_messages **out, vv_error *err);
/** Run all that was submitted (what the store is too busy for once more), wait until the last has
 * left, stop, free. No submit may come any more. Accepts NULL. */
void ingest_messages_destroy(ingest_messages *p);

/** Any thread; never blocks, never fails. The task is the pipeline's until refuse, or what run made
 * of it. */
void ingest_messages_submit(ingest_messages *p, ingest_task *task);
/** An accepted task is done: its bytes leave. Any thread, with any lock held. Before its memory
 * goes. */
void ingest_messages_leave(ingest_messages *p, const ingest_task *task);

/** Without threads: run the next task of each worker that is due and for which there is room. True:
 * one was. */
bool ingest_messages_step(ingest_messages *p);

typedef struct ingest_messages_stats {
    uint64_t waiting; /* requests that no worker has: yet, or again */
    uint64_t waiting_bytes;
    int64_t oldest_ns; /* how long the oldest of them waits; 0: none does */
    uint64_t inside;   /* with workers and on their way */
    uint64_t inside_bytes;
    uint64_t limit_bytes;
    uint64_t taken; /* since the start, like the next two */
    uint64_t refused;
    uint64_t retried; /* VV_BUSY, set aside */
} ingest_messages_stats;

void ingest_messages_stats_read(ingest_messages *p, ingest_messages_stats *out);
/** Nanoseconds that run() took: decoding and rules. */
const vv_hist *ingest_messages_run_time(const ingest_messages *p);
/** From submit to leave. */
const vv_hist *ingest_messages_latency(const ingest_messages *p);

#endif
