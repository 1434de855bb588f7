/*
 * svc_suite_http.h - HTTP/1.1 as text over a socket, for the tests of services.
 */
#ifndef VARVE_SERVER_SVC_SUITE_HTTP_H
#define VARVE_SERVER_SVC_SUITE_HTTP_H

#include "server/svc_suite.h"

typedef struct svc_suite_answer {
    int status;
    char head[1024]; /* with the status line */
    vv_buf all;
    vv_slice body; /* a NUL stands behind it */
} svc_suite_answer;

/** A connection to the server; what is read from it waits 30 s. */
int svc_suite_dial(const svc_suite *s);
void svc_suite_send(int fd, vv_slice bytes);
/** One request on a connection of its own; a body whose data is NULL is none. path may be followed
 * by header lines. Free with svc_suite_done. */
void svc_suite_ask(svc_suite *s, const char *verb, const char *path, vv_slice body,
                   svc_suite_answer *out);
void svc_suite_done(svc_suite_answer *a);
/** Ask, and fail the test unless the status is this and words (may be NULL) are in the answer. */
void svc_suite_expect_http(svc_suite *s, const char *verb, const char *path, vv_slice body,
                           int status, const char *words);

#endif
