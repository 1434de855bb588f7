/*
 * objs_http.h - one HTTP request and its answer, by libcurl, with connections that are kept.
 *
 * libcurl is loaded when the first store over HTTP is opened: a program that keeps its objects
 * elsewhere does not carry it. The proxy settings of the environment are honoured as curl does.
 */
#ifndef VARVE_OBJECT_OBJS_HTTP_H
#define VARVE_OBJECT_OBJS_HTTP_H

#include "base/buf.h"
#include "object/object_int.h"

#define OBJS_HTTP_HEADERS_MAX (32u * 1024) /* of an answer, together */
#define OBJS_HTTP_ERROR_MAX (64u * 1024)   /* body of an answer that is no success */

typedef struct objs_http_request {
    const char *method;
    const char *url;           /* as it is sent: encoded */
    const char *const *header; /* "Name: value" */
    size_t header_count;
    bool has_body;
    const vv_slice *body;
    size_t body_count;
    /* Where the body of a success goes: into out, or into the answer, up to answer_max bytes. */
    void *out;
    size_t out_len;
    size_t answer_max;
} objs_http_request;

typedef struct objs_http_answer {
    int status;
    size_t got;     /* bytes in out */
    bool truncated; /* there was more than out_len */
    vv_buf headers; /* lines with CRLF */
    vv_buf body;
} objs_http_answer;

vv_status objs_http_create(const objs_options *options, objs_http **out, vv_error *err);

/** VV_OK: there is an answer, whatever its status. Otherwise outcome says what came between, and
 * whether the request may have reached the server. Init answer by zero; objs_http_answer_fini. */
vv_status objs_http_run(objs_http *http, const objs_http_request *request, objs_http_answer *answer,
                        vv_object_outcome *outcome, vv_error *err);
void objs_http_answer_fini(objs_http_answer *answer);
/** The value of a header, without spaces around, in out; false when there is none or it is cut. */
bool objs_http_header(const objs_http_answer *answer, const char *name, char *out, size_t size);
/** Wall time of an HTTP date; 0: it is none. */
int64_t objs_http_date(const char *text);

#endif
