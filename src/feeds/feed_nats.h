/*
 * feed_nats.h - NATS as the broker of a feed_pump, by libnats.
 *
 * JetStream: the stream is made if it is missing (file storage, a year, two minutes of duplicate
 * window, as the first historian had it). The consumer is durable, pulled by us alone, and is made
 * anew for each session behind the position of the table: what a consumer remembers of deliveries
 * that got lost would otherwise come back late and out of order. Its acknowledgements are for those
 * who watch the stream, and for streams that drop what is done with; a stream that keeps messages
 * only while somebody is interested is refused, because it would drop some in that moment.
 *
 * Core: a plain subscription. It has no past and no numbers: what is published while nobody listens
 * is lost.
 */
#ifndef VARVE_FEEDS_FEED_NATS_H
#define VARVE_FEEDS_FEED_NATS_H

#include "feeds/feed_pump.h"

#define FEED_NATS_URL_DEFAULT "nats://127.0.0.1:4222"
#define FEED_NATS_STREAM_DEFAULT "EVENTS"
#define FEED_NATS_SUBJECT_DEFAULT "enterprise.>"
#define FEED_NATS_DURABLE_DEFAULT "varve"
#define FEED_NATS_BATCH_DEFAULT 2048u
#define FEED_NATS_BATCH_MAX 16384u
#define FEED_NATS_SERVERS_MAX 16u

/* Strings are copied, and files read for each session; NULL or "" leaves out what has no default.
 */
typedef struct feed_nats_options {
    const char *url; /* servers, separated by commas */
    const char *stream;
    const char *subject;
    const char *durable;
    bool is_core;            /* else JetStream */
    uint32_t batch;          /* messages of one fetch; 0: the default */
    const char *credentials; /* file of a JWT and its seed */
    const char *nkey;        /* public key of a user, and the file of its seed */
    const char *nkey_seed;
    const char *user;
    const char *password;
    const char *token;
    const char *tls_ca; /* files; any of them, or tls:// in the url, asks for TLS */
    const char *tls_cert;
    const char *tls_key;
} feed_nats_options;

/** VV_INVALID names what libnats would not take. Connects to nothing yet. Gives *out:
 * feed_nats_destroy. */
VV_MUST_CHECK vv_status feed_nats_create(const feed_nats_options *options, feed_broker **out,
                                         vv_error *err);
/** After the pump that uses it. Accepts NULL. */
void feed_nats_destroy(feed_broker *broker);

/* What JetStream says of a message, in the subject for its reply. */
typedef struct feed_nats_meta {
    uint64_t sequence; /* in the stream */
    uint64_t delivery; /* to the consumer */
    int64_t published_ns;
    uint64_t waiting;
} feed_nats_meta;

/** $JS.ACK.[domain.account.]stream.consumer.times.sequence.delivery.time.waiting[.token]. False
 * when reply is none. */
bool feed_nats_read_meta(vv_slice reply, feed_nats_meta *out);

/** Whether a subject is one of a pattern's: '*' stands for one token, a last '>' for all that
 * follow, at least one. */
bool feed_nats_is_match(const char *pattern, const char *subject);

#endif
