/*
 * objs_sign.h - requests signed with a secret: Amazon's Signature Version 4, and Google's form of
 * it.
 *
 * "Signature Version 4 signing process" and "Authenticating Requests (AWS Signature Version 4)" of
 * Amazon S3; "Signatures" of Google Cloud Storage, which differs in four words.
 */
#ifndef VARVE_OBJECT_OBJS_SIGN_H
#define VARVE_OBJECT_OBJS_SIGN_H

#include <stdbool.h>

#include "base/buf.h"

typedef struct objs_dialect {
    const char *algorithm;     /* "AWS4-HMAC-SHA256" */
    const char *key_prefix;    /* "AWS4" */
    const char *terminator;    /* "aws4_request" */
    const char *service;       /* "s3" */
    const char *header_prefix; /* "x-amz-" */
} objs_dialect;

extern const objs_dialect objs_dialect_aws;
extern const objs_dialect objs_dialect_goog;

/* A name of a query or a header with its value, neither encoded. */
typedef struct objs_pair {
    const char *name; /* of headers: in lower case */
    const char *value;
} objs_pair;

#define OBJS_SIGN_PAIRS_MAX 16u
#define OBJS_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

typedef struct objs_sign_request {
    const objs_dialect *dialect;
    const char *method;
    const char *path; /* with the '/' in front, not encoded */
    const objs_pair *query;
    size_t query_count;
    const objs_pair *header; /* host, <prefix>date and all that are to be signed */
    size_t header_count;
    const char *payload_hash; /* 64 hexadecimal digits, or OBJS_UNSIGNED_PAYLOAD */
    const char *date;         /* "20130524T000000Z" */
    const char *region;
    const char *access_key;
    const char *secret_key;
} objs_sign_request;

/** Percent-encode all but letters, digits and -_.~ (and '/', with keep_slash). */
void objs_uri_encode(vv_buf *out, const char *text, bool keep_slash);
/** The query as it is signed and sent: encoded, sorted by name, then value. */
void objs_query_encode(vv_buf *out, const objs_pair *query, size_t count);
/** The canonical request; for tests too. */
void objs_sign_canonical(const objs_sign_request *r, vv_buf *out);
/** The value of the Authorization header. VV_NO_MEMORY; VV_INVALID over OBJS_SIGN_PAIRS_MAX. */
vv_status objs_sign(const objs_sign_request *r, vv_buf *out, vv_error *err);
/** "20130524T000000Z" of a wall time. */
void objs_sign_date(int64_t wall_ns, char out[17]);
/** SHA-256 of pieces one after another, in hexadecimal. false: OpenSSL has no memory. */
bool objs_sha256_hex(const vv_slice *piece, size_t count, char out[65]);

#endif
