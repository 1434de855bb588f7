/*
 * feed_pump.h - a stream into a table, each message exactly once: between a broker (feed_nats.h)
 * and a target (feed_store.h), both behind tables, so that tests put their own on either side.
 *
 *     broker --fetch--> slot --decode--> batch --start, wait--> durable with its position --> ack
 *
 * Why nothing is lost and nothing doubled: the sequence up to which a stream has been taken in is
 * written in the same entry as the samples. A session begins by reading it and asks the broker for
 * what follows; what comes again all the same is skipped by its sequence. The acknowledgement, sent
 * after the entry is durable, only tells the broker where we are.
 *
 * Two slots: while one is on its way to the disk the next is fetched and decoded. Only one is ever
 * on its way, so that a later batch cannot become durable without the one before it.
 */
#ifndef VARVE_FEEDS_FEED_PUMP_H
#define VARVE_FEEDS_FEED_PUMP_H

#include "base/log.h"
#include "base/thread.h"
#include "feeds/feed_sink.h"

#define FEED_SLOTS 2u
#define FEED_INCARNATION_MAX 40u

/* ---- the broker's side ---- */

typedef struct feed_message {
    vv_slice subject;
    vv_slice payload;
    uint64_t sequence;    /* in the stream, ascending; 0: the broker numbers nothing */
    uint64_t delivery;    /* to this consumer: one more each time, whatever is delivered */
    uint64_t waiting;     /* messages behind it */
    int64_t published_ns; /* 0: unknown */
    bool is_foreign;      /* not of the subject that was asked for: passed over */
} feed_message;

/* A stream as it was found. */
typedef struct feed_stream {
    char incarnation[FEED_INCARNATION_MAX]; /* another one: the stream was made anew; "" of a broker
                                               that cannot go back */
    uint64_t first;                         /* sequences that are there; last may be first - 1 */
    uint64_t last;
} feed_stream;

typedef struct feed_broker feed_broker;

/* All calls come from the pump's thread. After a failure of any, close is next. */
typedef struct feed_broker_ops {
    /* Connect and find the stream, which is made if it is missing. */
    vv_status (*open)(feed_broker *broker, feed_stream *out, vv_error *err);
    /* Deliver from this sequence on, in order, numbering deliveries from 1. May be called again. */
    vv_status (*consume)(feed_broker *broker, uint64_t sequence, vv_error *err);
    /* The next messages, waiting at most wait_ns for the first. They stay until release(slot). */
    vv_status (*fetch)(feed_broker *broker, unsigned slot, int64_t wait_ns,
                       const feed_message **out, size_t *count, vv_error *err);
    /* The first count (> 0) messages of the slot, and all before them, are done with. */
    vv_status (*ack)(feed_broker *broker, unsigned slot, size_t count, vv_error *err);
    void (*release)(feed_broker *broker, unsigned slot);
    /* Whether the stream is still the one that was opened, and how many deliveries the broker
     * counts: the last may have been lost on the way. */
    vv_status (*check)(feed_broker *broker, uint64_t *deliveries, vv_error *err);
    /* Messages that were lost on the way because we were too slow; 0 where that cannot be. */
    uint64_t (*dropped)(feed_broker *broker);
    void (*close)(feed_broker *broker);
} feed_broker_ops;

struct feed_broker {
    const feed_broker_ops *ops;
};

/* ---- the target's side ---- */

typedef struct feed_position {
    char incarnation[FEED_INCARNATION_MAX];
    uint64_t sequence;
} feed_position;

/* A message that is no sample. All is borrowed. */
typedef struct feed_dead {
    const char *reason;
    const char *incarnation;
    const feed_message *message;
    int64_t now_ns; /* wall time */
} feed_dead;

/* What became of a batch. */
typedef struct feed_outcome {
    uint64_t accepted;
    uint64_t refused;
    char first_refusal[200];
} feed_outcome;

typedef struct feed_target feed_target;

/* All calls come from the pump's thread. A slot is begun, filled, started, waited for. When one
 * answers VV_NOT_FOUND, what was written to is gone: open is next. */
typedef struct feed_target_ops {
    /* Find, or make, what is written to. At the beginning of each session. */
    vv_status (*open)(feed_target *target, vv_error *err);
    /* How far the source was taken in; VV_NOT_FOUND: never. */
    vv_status (*position)(feed_target *target, feed_position *out, vv_error *err);
    /* An empty batch; what the slot held is forgotten. Its sink is valid until the next begin. */
    feed_sink *(*begin)(feed_target *target, unsigned slot);
    vv_status (*dead)(feed_target *target, unsigned slot, const feed_dead *dead, vv_error *err);
    /* Write it, with the position in the same entry unless that is NULL. */
    vv_status (*start)(feed_target *target, unsigned slot, const feed_position *position,
                       vv_error *err);
    /* Until it is durable. VV_INVALID: nothing was written, and one of its series is why. */
    vv_status (*wait)(feed_target *target, unsigned slot, feed_outcome *out, vv_error *err);
} feed_target_ops;

struct feed_target {
    const feed_target_ops *ops;
};

/* ---- the pump ---- */

typedef struct feed_pump_options {
    feed_broker *broker; /* borrowed until feed_pump_destroy */
    feed_target *target; /* likewise */
    vv_clock *clock;
    vv_log *log;          /* may be NULL */
    const char *name;     /* of the stream, for log lines; borrowed */
    uint64_t seed;        /* of the jitter */
    int64_t idle_ns;      /* a fetch waits so long for the first message */
    int64_t check_ns;     /* after so long without messages the stream is looked at */
    int64_t retry_min_ns; /* after a failure; doubles up to retry_max_ns, with jitter */
    int64_t retry_max_ns;
} feed_pump_options;

#define FEED_PUMP_OPTIONS_DEFAULT                                                                  \
    .idle_ns = 250 * VV_NS_PER_MS, .check_ns = 5 * VV_NS_PER_S,                                    \
    .retry_min_ns = 100 * VV_NS_PER_MS, .retry_max_ns = 15 * VV_NS_PER_S

/* Counters ascend from the start of the process. */
typedef struct feed_stats {
    uint64_t messages; /* taken in, poisonous ones included */
    uint64_t bytes;    /* of their payloads */
    uint64_t batches;
    uint64_t accepted;    /* samples */
    uint64_t refused;     /* samples that the table's bounds left out */
    uint64_t redelivered; /* messages that came again, skipped */
    uint64_t poison;      /* messages that went to the dead-letter table */
    uint64_t expired;     /* messages that the stream let go before they were taken in */
    uint64_t dropped;     /* lost by a core subscription that was too slow */
    uint64_t sessions;    /* times a stream was opened */
    uint64_t failures;    /* sessions that ended, and writes that had to be done again */
    uint64_t resyncs;     /* deliveries that were missed and asked for again */
    uint64_t waiting;     /* now: messages of the stream behind the last one fetched */
    uint64_t sequence;    /* now: taken in up to here */
    double per_second;    /* now: messages taken in, over the last ten seconds */
    bool is_connected;    /* now */
    char why[200];        /* the last failure, until things go on after it; "": none */
} feed_stats;

typedef struct feed_pump feed_pump;

/** NULL when memory is short. Gives it: feed_pump_destroy. */
feed_pump *feed_pump_create(const feed_pump_options *options);
/** Stops it first. Accepts NULL. */
void feed_pump_destroy(feed_pump *pump);

/** One turn: at most one fetch, one batch. Returns how long to wait before the next; 0: at once.
 * For a caller without threads; else feed_pump_start does it. */
int64_t feed_pump_step(feed_pump *pump);

VV_MUST_CHECK vv_status feed_pump_start(feed_pump *pump, const vv_threads *threads, vv_error *err);
/** Writes and acknowledges what was fetched, unless a write fails, and disconnects. */
void feed_pump_stop(feed_pump *pump);

/** Any thread. */
void feed_pump_stats(feed_pump *pump, feed_stats *out);

#endif
