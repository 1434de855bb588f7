/*
 * objs_gcs.h - Google Cloud Storage's JSON interface: what its files share.
 */
#ifndef VARVE_OBJECT_OBJS_GCS_H
#define VARVE_OBJECT_OBJS_GCS_H

#include "object/objs_http.h"
#include "object/objs_sign.h"

#define GCS_TOKEN_MAX 4096u
#define GCS_LIST_ANSWER_MAX (16u * 1024 * 1024)
#define GCS_UPLOAD_UNIT (256u * 1024) /* chunks but the last are multiples of it */

/* The key of a service account, as its JSON file has it. */
typedef struct gcs_account {
    char email[256];
    char key_id[128];
    char token_uri[256];
    void *key; /* EVP_PKEY */
} gcs_account;

typedef struct gcs {
    const vv_object_options *opt;
    objs_http *http;
    vv_clock *clock;
    char endpoint[256]; /* without '/' at the end */
    gcs_account account;

    vv_mutex lock; /* rank VV_RANK_LEAF: guards the rest */
    char token[GCS_TOKEN_MAX];
    int64_t token_until; /* wall time */
} gcs;

typedef struct gcs_request {
    const char *method;
    const char *url;  /* whole; NULL: path and query below are put together */
    bool upload;      /* below /upload/storage/v1, else /storage/v1 */
    const char *name; /* NULL: the collection .../o */
    objs_pair query[6];
    size_t query_count;
    const char *header[4]; /* lines */
    size_t header_count;
    bool anonymous; /* the URL itself is the right: no token */
    bool has_body;
    const vv_slice *body;
    size_t body_count;
    void *out;
    size_t out_len;
    size_t answer_max;
} gcs_request;

/* ---- objs_gcs_token.c ---------------------------------------------------------------------- */

/** Read a service account's key. VV_INVALID says what it lacks. */
vv_status gcs_account_parse(vv_slice json, gcs_account *out, vv_error *err);
void gcs_account_fini(gcs_account *account);
/** The signed claim that is changed for a token: "header.claims.signature". */
vv_status gcs_assertion(const gcs_account *account, int64_t wall_ns, vv_buf *out, vv_error *err);
/** A token that holds for a minute and more, in out[GCS_TOKEN_MAX]. */
vv_status gcs_token(gcs *g, char *out, vv_object_outcome *oc, vv_error *err);
/** The server refused this one: true when another may be had. */
bool gcs_token_forget(gcs *g, const char *token);

/* ---- objs_gcs.c ---------------------------------------------------------------------------- */

/** Send with a token. VV_OK: there is an answer of whatever status. */
vv_status gcs_exchange(gcs *g, const gcs_request *r, objs_http_answer *a, vv_object_outcome *oc,
                       vv_error *err);
/** The same; VV_OK: a 2xx. */
vv_status gcs_send(gcs *g, const gcs_request *r, objs_http_answer *a, vv_object_outcome *oc,
                   vv_error *err);
/** What an answer that is no success means. */
vv_status gcs_failed(gcs *g, const gcs_request *r, const objs_http_answer *a, vv_object_outcome *oc,
                     vv_error *err);
/** An object's resource. VV_CORRUPT: it is none. */
vv_status gcs_read_object(vv_slice json, vv_object_info *info, vv_error *err);
/** A page of a list: as s3_read_list. Names up to start_after and beyond limit are left out. */
vv_status gcs_read_list(vv_slice json, const char *start_after, uint32_t limit, vv_object_each each,
                        void *ctx, bool *more, vv_error *err);
void gcs_query(gcs_request *r, const char *name, const char *value);
/** Base64 of 4 big-endian bytes, as Google writes a CRC-32C. */
void gcs_crc_text(uint32_t crc, char out[9]);
bool gcs_crc_parse(const char *text, uint32_t *out);

/* ---- objs_gcs_upload.c --------------------------------------------------------------------- */

vv_status gcs_upload_begin(void *self, const char *name, bool create,
                           char id[VV_OBJECT_UPLOAD_ID_MAX], void **state, vv_object_outcome *oc,
                           vv_error *err);
vv_status gcs_upload_part(void *self, const char *name, const char *id, void *state,
                          uint32_t number, const vv_slice *piece, size_t count, char tag[80],
                          vv_object_outcome *oc, vv_error *err);
vv_status gcs_upload_complete(void *self, const char *name, const char *id, void *state,
                              const char (*tag)[80], uint32_t count, uint32_t crc, bool create,
                              vv_object_info *info, vv_object_outcome *oc, vv_error *err);
vv_status gcs_upload_abort(void *self, const char *name, const char *id, void *state,
                           vv_object_outcome *oc, vv_error *err);

#endif
