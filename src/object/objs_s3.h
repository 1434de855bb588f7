/*
 * objs_s3.h - the S3 protocol: what its files share.
 *
 * One code for Amazon's, for other servers of it, and for the XML interface of Google, which
 * differs in the words of its headers (objs_dialect).
 */
#ifndef VARVE_OBJECT_OBJS_S3_H
#define VARVE_OBJECT_OBJS_S3_H

#include "object/objs_cred.h"
#include "object/objs_http.h"
#include "object/objs_sign.h"

#define S3_LIST_ANSWER_MAX (8u * 1024 * 1024)

typedef struct s3 {
    const vv_object_options *opt; /* the store's */
    const objs_dialect *dialect;
    objs_http *http;
    vv_clock *clock;
    bool tls;
    bool virtual_host; /* bucket.host/key, else host/bucket/key */
    bool amazon;       /* no endpoint was named: the host follows the region */
    char host[256];    /* with ":port"; of the endpoint */

    vv_mutex lock; /* rank VV_RANK_LEAF: guards the rest */
    char region[64];
    objs_cred cred;
    int64_t skew_ns; /* the server's clock less ours */
} s3;

/* One request to the bucket, or an object in it. */
typedef struct s3_request {
    const char *method;
    const char *name; /* NULL: the bucket */
    objs_pair query[6];
    size_t query_count;
    objs_pair header[6]; /* beside those of every request */
    size_t header_count;
    bool has_body;
    const vv_slice *body;
    size_t body_count;
    void *out;
    size_t out_len;
    size_t answer_max;
} s3_request;

/* What an answer that is no success says of itself. */
typedef struct s3_failure {
    char code[64];
    char message[160];
    char region[64];
    char endpoint[128];
} s3_failure;

void s3_query(s3_request *r, const char *name, const char *value);
void s3_header(s3_request *r, const char *name, const char *value);
/** A header of the dialect: "x-amz-" + name, in out[size]. */
const char *s3_word(const s3 *s, const char *name, char *out, size_t size);

/** Sign, send, read. VV_OK: the answer is a 2xx. Otherwise the outcome and the sentence are full.
 */
vv_status s3_send(s3 *s, const s3_request *r, objs_http_answer *a, vv_object_outcome *oc,
                  vv_error *err);
/** What the failure of an answer means; learns region, clock and credentials from it. sent_key,
 * sent_region and sent_skew: what the request was signed with. */
vv_status s3_failed(s3 *s, const objs_http_answer *a, const s3_request *r, const objs_cred *sent,
                    const char *sent_region, int64_t sent_skew, vv_object_outcome *oc,
                    vv_error *err);
void s3_info_of(const s3 *s, const objs_http_answer *a, vv_object_info *info);
/** The failure that a body describes; false: it is none. */
bool s3_read_failure(vv_slice body, s3_failure *out);

vv_status s3_list(void *self, const char *prefix, const char *start_after, uint32_t limit,
                  vv_object_each each, void *ctx, bool *more, vv_object_outcome *oc, vv_error *err);
/** A page of a list, each() called when all of it is well formed. VV_CORRUPT: it is not. */
vv_status s3_read_list(vv_slice body, vv_object_each each, void *ctx, bool *more, vv_error *err);

vv_status s3_upload_begin(void *self, const char *name, bool create,
                          char id[VV_OBJECT_UPLOAD_ID_MAX], void **state, vv_object_outcome *oc,
                          vv_error *err);
vv_status s3_upload_part(void *self, const char *name, const char *id, void *state, uint32_t number,
                         const vv_slice *piece, size_t count, char tag[80], vv_object_outcome *oc,
                         vv_error *err);
vv_status s3_upload_complete(void *self, const char *name, const char *id, void *state,
                             const char (*tag)[80], uint32_t count, uint32_t crc, bool create,
                             vv_object_info *info, vv_object_outcome *oc, vv_error *err);
vv_status s3_upload_abort(void *self, const char *name, const char *id, void *state,
                          vv_object_outcome *oc, vv_error *err);
vv_status s3_head(void *self, const char *name, vv_object_info *info, vv_object_outcome *oc,
                  vv_error *err);
/** The headers of a put and of the begin of an upload: encryption. */
void s3_add_encryption(const s3 *s, s3_request *r);
/** The condition that the name is free. */
void s3_add_create(const s3 *s, s3_request *r);

#endif
