/*
 * fault_request.h - one request of each kind to the services of series, for tests in which memory
 * or a disk fails: what is asked, how the answer is judged, and what was acknowledged on the way.
 */
#ifndef VARVE_SERVER_FAULT_REQUEST_H
#define VARVE_SERVER_FAULT_REQUEST_H

#include "server/svc_suite_http.h"
#include "varve/series.h"

#define FAULT_T0 INT64_C(1700000000) /* seconds */
#define FAULT_WRITES_MAX 20000u

typedef struct fault_request {
    const char *name;
    const char *verb; /* of HTTP; NULL: gRPC */
    const char *path;
    /* Into the table "grow", one sample; else a question, whose answer is always the same. */
    bool writes;
    bool is_stream;                            /* gRPC: answers are many messages */
    void (*body)(vv_buf *out, int64_t time_s); /* NULL: none */
    const char *series;                        /* of a write: its name */
    bool is_any;                               /* the answer holds what no two have alike */
} fault_request;

extern const fault_request fault_requests[];
extern const size_t fault_request_count;

typedef struct fault_answer {
    char bytes[1 << 19]; /* HTTP: with its head; gRPC: messages, or the sentence of a failure */
    size_t len;
    size_t body_at;
    bool is_whole;   /* it says that all went well, and nothing is missing */
    bool is_refused; /* it says that something did not */
    bool blames_request;
} fault_answer;

typedef struct fault_node {
    svc_suite s;
    vv_buf body;
    const fault_request *last;
    int64_t time_s; /* of the sample written last */
    struct {
        const char *series;
        int64_t time_s;
    } acked[FAULT_WRITES_MAX];
    size_t acked_count;
} fault_node;

/** A node with samples to ask for. opt may be NULL. */
void fault_start(fault_node *f, const svc_suite_options *opt);
void fault_stop(fault_node *f);

/** Make the body of the next request, with a time of its own. */
void fault_prepare(fault_node *f, const fault_request *r);
/** Send it and take the answer. Fails the test when none comes. */
void fault_send(fault_node *f, const fault_request *r, fault_answer *out);
/** Both. */
void fault_ask(fault_node *f, const fault_request *r, fault_answer *out);
bool fault_same(const fault_answer *a, const fault_answer *b);

/** The sample sent last is to be there from now on. */
void fault_note_acked(fault_node *f);
/** Fails the test unless all of them are in the store. */
void fault_expect_acked(fault_node *f, vv_db *db);

#endif
