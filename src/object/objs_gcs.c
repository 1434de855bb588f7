/*
 * objs_gcs.c - objects in Google Cloud Storage through its JSON interface, as a service account.
 *
 * A put goes up in one request whose first part names the object and its CRC-32C, which the store
 * holds against what it got. ifGenerationMatch=0 is "only where the name is free". What a get
 * brings is held against the CRC-32C of x-goog-hash.
 */
#include "object/objs_gcs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "object/objs_cred.h"
#include "object/objs_json.h"

void gcs_query(gcs_request *r, const char *name, const char *value)
{
    assert(r->query_count < ARRAY_LEN(r->query));
    r->query[r->query_count++] = (objs_pair){name, value};
}

/* ---- CRC-32C in base64 --------------------------------------------------------------------- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void gcs_crc_text(uint32_t crc, char out[9])
{
    uint64_t v = (uint64_t)crc << 16; /* 48 bits: 8 digits, of which two are filling */
    for (int i = 0; i < 6; i++)
        out[i] = digits[v >> (42 - 6 * i) & 63];
    memcpy(out + 6, "==", 3);
}

bool gcs_crc_parse(const char *text, uint32_t *out)
{
    uint64_t v = 0;
    for (int i = 0; i < 6; i++) {
        const char *digit = text[i] == '\0' ? NULL : strchr(digits, text[i]);
        if (digit == NULL)
            return false;
        v = v << 6 | (uint64_t)(digit - digits);
    }
    *out = (uint32_t)(v >> 4);
    return text[6] == '=' && text[7] == '=' && (v & 15) == 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

static void make_url(const gcs *g, const gcs_request *r, vv_buf *out)
{
    if (r->url != NULL) {
        vv_buf_append_str(out, r->url);
    } else {
        vv_buf_printf(out, "%s%s/storage/v1/b/", g->endpoint, r->upload ? "/upload" : "");
        objs_uri_encode(out, g->opt->bucket, false);
        vv_buf_append_str(out, "/o");
        if (r->name != NULL) {
            vv_buf_append_u8(out, '/');
            objs_uri_encode(out, r->name, false);
        }
        if (r->query_count > 0)
            vv_buf_append_u8(out, '?');
        objs_query_encode(out, r->query, r->query_count);
    }
    vv_buf_append_u8(out, '\0');
}

static vv_status exchange_with(gcs *g, const gcs_request *r, const char *token, objs_http_answer *a,
                               vv_object_outcome *oc, vv_error *err)
{
    const char *lines[6];
    size_t count = 0;
    vv_buf url;
    vv_buf bearer;
    vv_buf_init(&url, 8192);
    vv_buf_init(&bearer, GCS_TOKEN_MAX + 64);
    make_url(g, r, &url);
    vv_buf_printf(&bearer, "Authorization: Bearer %s", token);
    vv_buf_append_u8(&bearer, '\0');
    vv_status st = url.status == VV_OK && bearer.status == VV_OK
                       ? VV_OK
                       : objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "a request"));
    for (size_t i = 0; i < r->header_count; i++)
        lines[count++] = r->header[i];
    if (!r->anonymous)
        lines[count++] = (const char *)bearer.data;
    objs_http_request h = {.method = r->method,
                           .url = (const char *)url.data,
                           .header = lines,
                           .header_count = count,
                           .has_body = r->has_body,
                           .body = r->body,
                           .body_count = r->body_count,
                           .out = r->out,
                           .out_len = r->out_len,
                           .answer_max = r->answer_max};
    if (st == VV_OK)
        st = objs_http_run(g->http, &h, a, oc, err);
    if (bearer.data != NULL)
        explicit_bzero(bearer.data, bearer.len);
    vv_buf_fini(&bearer);
    vv_buf_fini(&url);
    return st;
}

vv_status gcs_exchange(gcs *g, const gcs_request *r, objs_http_answer *a, vv_object_outcome *oc,
                       vv_error *err)
{
    char *token = vv_calloc(1, GCS_TOKEN_MAX);
    if (token == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "a request"));
    vv_status st = r->anonymous ? VV_OK : gcs_token(g, token, oc, err);
    if (st == VV_OK)
        st = exchange_with(g, r, token, a, oc, err);
    if (st == VV_OK && a->status == 401 && gcs_token_forget(g, token)) {
        /* Taken back before its time: once more with another, in the same try. */
        objs_http_answer_fini(a);
        *a = (objs_http_answer){0};
        st = gcs_token(g, token, oc, err);
        if (st == VV_OK)
            st = exchange_with(g, r, token, a, oc, err);
    }
    explicit_bzero(token, GCS_TOKEN_MAX);
    vv_free(token);
    return st;
}

vv_status gcs_send(gcs *g, const gcs_request *r, objs_http_answer *a, vv_object_outcome *oc,
                   vv_error *err)
{
    vv_status st = gcs_exchange(g, r, a, oc, err);
    if (st == VV_OK && (a->status < 200 || a->status > 299))
        st = gcs_failed(g, r, a, oc, err);
    return st;
}

/* ---- failures ------------------------------------------------------------------------------ */

/* {"error": {"code": 404, "message": "..", "errors": [{"reason": ".."}]}} */
static void read_failure(vv_slice body, char code[64], char message[160])
{
    objs_json j;
    objs_json_init(&j, body);
    for (;;) {
        objs_json_kind kind = objs_json_next(&j);
        if (kind == OBJS_JSON_END || kind == OBJS_JSON_BAD)
            return;
        if (kind != OBJS_JSON_VALUE || strcmp(j.key[1], "error") != 0)
            continue;
        const char *key = objs_json_key(&j, kind);
        if (j.depth == 2 && strcmp(key, "message") == 0)
            objs_copy_clean(message, 160, j.text);
        else if (strcmp(key, "reason") == 0 && code[0] == '\0')
            objs_copy_clean(code, 64, j.text);
    }
}

typedef struct meaning {
    int http;
    vv_object_fault fault;
    vv_status st;
    bool retryable;
    const char *next;
} meaning;

static const meaning meanings[] = {
    {400, VV_OBJECT_FAULT_REQUEST, VV_IO, false, "the store does not take this request"},
    {401, VV_OBJECT_FAULT_EXPIRED, VV_IO, false, "the token is refused: look at the account's key"},
    {403, VV_OBJECT_FAULT_DENIED, VV_IO, false, "let this account use the bucket"},
    {404, VV_OBJECT_FAULT_MISSING, VV_NOT_FOUND, false, "no such object"},
    {408, VV_OBJECT_FAULT_TIMEOUT, VV_TIMEOUT, true, "the request came too slowly"},
    {409, VV_OBJECT_FAULT_SERVER, VV_BUSY, true, "another request is under way"},
    {410, VV_OBJECT_FAULT_MISSING, VV_NOT_FOUND, false, "the upload is gone"},
    {412, VV_OBJECT_FAULT_EXISTS, VV_CONFLICT, false, "the name is taken"},
    {429, VV_OBJECT_FAULT_THROTTLED, VV_BUSY, true, "the store is throttling"},
    {501, VV_OBJECT_FAULT_UNSUPPORTED, VV_UNSUPPORTED, false, "the store cannot do it"},
};
static const meaning redirected = {0, VV_OBJECT_FAULT_REDIRECT, VV_IO, false,
                                   "correct storage.endpoint"};
static const meaning failed = {0, VV_OBJECT_FAULT_SERVER, VV_IO, true, "the store failed"};
static const meaning throttled = {0, VV_OBJECT_FAULT_THROTTLED, VV_BUSY, true,
                                  "the store is throttling"};
static const meaning wrong = {0, VV_OBJECT_FAULT_REQUEST, VV_IO, false,
                              "the store does not take this request"};

static const meaning *look_up(int http, const char *code)
{
    if (strcmp(code, "rateLimitExceeded") == 0 || strcmp(code, "userRateLimitExceeded") == 0)
        return &throttled;
    for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
        if (meanings[i].http == http)
            return &meanings[i];
    return http >= 500 ? &failed : http >= 300 && http < 400 ? &redirected : &wrong;
}

vv_status gcs_failed(gcs *g, const gcs_request *r, const objs_http_answer *a, vv_object_outcome *oc,
                     vv_error *err)
{
    char message[160] = "";
    char text[24];
    (void)g;
    oc->code[0] = '\0';
    read_failure(vv_buf_slice(&a->body), oc->code, message);
    if (objs_http_header(a, "x-guploader-uploadid", oc->request_id, sizeof oc->request_id))
        objs_copy_clean(oc->request_id, sizeof oc->request_id, oc->request_id);
    if (objs_http_header(a, "retry-after", text, sizeof text)) {
        char *end = NULL;
        unsigned long seconds = strtoul(text, &end, 10);
        if (end != text && *end == '\0' && seconds <= 3600)
            oc->retry_after_ms = (int64_t)seconds * 1000;
    }
    const meaning *m = look_up(a->status, oc->code);
    const char *next = m->next;
    if (a->status == 404 && strstr(message, "bucket") != NULL) {
        memcpy(oc->code, "NoSuchBucket", sizeof "NoSuchBucket");
        next = "create the bucket, or correct storage.bucket";
    }
    oc->unknown = m->fault == VV_OBJECT_FAULT_SERVER && a->status != 503 && a->status != 409 &&
                  strcmp(r->method, "GET") != 0;
    (void)vv_fail(err, m->st, "%s%s%s (HTTP %d, request %s)%s%s", next,
                  oc->code[0] == '\0' ? "" : ": ", oc->code, a->status,
                  oc->request_id[0] == '\0' ? "without id" : oc->request_id,
                  message[0] == '\0' ? "" : ": ", message);
    if (err != NULL)
        err->sys = a->status;
    return objs_fault(oc, m->fault, m->retryable, m->st);
}

/* ---- answers ------------------------------------------------------------------------------- */

static void take_member(vv_object_info *info, char *name, size_t name_size, const char *key,
                        const char *text)
{
    uint32_t crc;
    if (strcmp(key, "name") == 0) {
        (void)snprintf(name, name_size, "%s", text);
    } else if (strcmp(key, "size") == 0) {
        unsigned long long n = strtoull(text, NULL, 10);
        info->size = n > INT64_MAX ? 0 : n;
    } else if (strcmp(key, "updated") == 0) {
        info->mtime_ns = objs_http_date(text);
    } else if (strcmp(key, "etag") == 0) {
        (void)snprintf(info->etag, sizeof info->etag, "%s", text);
    } else if (strcmp(key, "generation") == 0) {
        (void)snprintf(info->version, sizeof info->version, "%s", text);
    } else if (strcmp(key, "crc32c") == 0 && strlen(text) == 8 && gcs_crc_parse(text, &crc)) {
        info->has_crc = true;
        info->crc32c = crc;
    }
}

vv_status gcs_read_object(vv_slice json, vv_object_info *info, vv_error *err)
{
    objs_json j;
    char name[1200] = "";
    *info = (vv_object_info){0};
    objs_json_init(&j, json);
    for (;;) {
        objs_json_kind kind = objs_json_next(&j);
        if (kind == OBJS_JSON_END && name[0] != '\0')
            return VV_OK;
        if (kind == OBJS_JSON_END || kind == OBJS_JSON_BAD)
            return vv_fail(err, VV_CORRUPT, "the answer is no object's resource");
        if (kind == OBJS_JSON_VALUE && j.depth == 1)
            take_member(info, name, sizeof name, objs_json_key(&j, kind), j.text);
    }
}

/* One walk over a page. each NULL: only to see that it is well formed. */
static bool walk_list(vv_slice json, const char *after, uint32_t limit, vv_object_each each,
                      void *ctx, bool *more)
{
    objs_json j;
    char name[1200] = "";
    vv_object_info info = {0};
    *more = false;
    objs_json_init(&j, json);
    for (;;) {
        objs_json_kind kind = objs_json_next(&j);
        if (kind == OBJS_JSON_BAD)
            return false;
        if (kind == OBJS_JSON_END)
            return true;
        bool in_items = j.depth >= 1 && strcmp(j.key[1], "items") == 0;
        if (kind == OBJS_JSON_VALUE && j.depth == 1 &&
            strcmp(objs_json_key(&j, kind), "nextPageToken") == 0)
            *more = true;
        if (!in_items)
            continue;
        if (kind == OBJS_JSON_OPEN && j.depth == 3) {
            name[0] = '\0';
            info = (vv_object_info){0};
        } else if (kind == OBJS_JSON_VALUE && j.depth == 3) {
            take_member(&info, name, sizeof name, objs_json_key(&j, kind), j.text);
        } else if (kind == OBJS_JSON_CLOSE && j.depth == 2) {
            if (name[0] == '\0')
                return false;
            if (each == NULL || strcmp(name, after) <= 0)
                continue;
            if (limit == 0) {
                *more = true;
                return true;
            }
            limit--;
            if (!each(ctx, name, &info))
                return true;
        }
    }
}

vv_status gcs_read_list(vv_slice json, const char *start_after, uint32_t limit, vv_object_each each,
                        void *ctx, bool *more, vv_error *err)
{
    if (json.len == 0 || json.data[0] != '{' || !walk_list(json, "", limit, NULL, NULL, more))
        return vv_fail(err, VV_CORRUPT, "the list is no well formed page of objects");
    (void)walk_list(json, start_after, limit, each, ctx, more);
    return VV_OK;
}

/* What the headers of a get say of the whole object. */
static void info_of(const objs_http_answer *a, vv_object_info *info)
{
    char text[96];
    *info = (vv_object_info){0};
    if (objs_http_header(a, "etag", text, sizeof text))
        (void)snprintf(info->etag, sizeof info->etag, "%.79s", text);
    if (objs_http_header(a, "content-range", text, sizeof text)) {
        const char *slash = strchr(text, '/');
        info->size = slash == NULL ? 0 : strtoull(slash + 1, NULL, 10);
    } else if (objs_http_header(a, "content-length", text, sizeof text)) {
        info->size = strtoull(text, NULL, 10);
    }
    if (objs_http_header(a, "last-modified", text, sizeof text))
        info->mtime_ns = objs_http_date(text);
    (void)objs_http_header(a, "x-goog-generation", info->version, sizeof info->version);
    /* "x-goog-hash: crc32c=n03x6A==", among others of that name. */
    const char *at =
        a->headers.len == 0 ? NULL : memmem(a->headers.data, a->headers.len, "crc32c=", 7);
    size_t left = at == NULL ? 0 : a->headers.len - (size_t)(at - (const char *)a->headers.data);
    if (left >= 7 + 8 + 1)
        info->has_crc = gcs_crc_parse(at + 7, &info->crc32c);
}

/* ---- operations ---------------------------------------------------------------------------- */

#define BOUNDARY "varve-6f1c9a54d0"

static vv_status gcs_put(void *self, const char *name, const vv_slice *piece, size_t count,
                         uint32_t crc, bool create, vv_object_info *info, vv_object_outcome *oc,
                         vv_error *err)
{
    gcs *g = self;
    char crc_text[9];
    gcs_request r = {.method = "POST", .upload = true, .has_body = true, .answer_max = 65536};
    objs_http_answer a = {0};
    vv_buf head;
    vv_slice *body = vv_alloc((count + 2) * sizeof *body);
    if (body == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "a request"));
    gcs_crc_text(crc, crc_text);
    vv_buf_init(&head, 4096);
    /* A name has no byte that JSON would escape. */
    vv_buf_printf(&head,
                  "--" BOUNDARY "\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
                  "{\"name\":\"%s\",\"crc32c\":\"%s\"}\r\n--" BOUNDARY
                  "\r\nContent-Type: application/octet-stream\r\n\r\n",
                  name, crc_text);
    body[0] = vv_buf_slice(&head);
    if (count > 0)
        memcpy(body + 1, piece, count * sizeof *piece);
    body[count + 1] = vv_slice_str("\r\n--" BOUNDARY "--\r\n");
    r.body = body;
    r.body_count = count + 2;
    r.header[r.header_count++] = "Content-Type: multipart/related; boundary=" BOUNDARY;
    gcs_query(&r, "uploadType", "multipart");
    if (create)
        gcs_query(&r, "ifGenerationMatch", "0");
    vv_status st = head.status == VV_OK
                       ? gcs_send(g, &r, &a, oc, err)
                       : objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "a request"));
    if (st == VV_OK && gcs_read_object(vv_buf_slice(&a.body), info, err) != VV_OK) {
        oc->unknown = true;
        st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true, VV_IO);
    }
    objs_http_answer_fini(&a);
    vv_buf_fini(&head);
    vv_free(body);
    return st;
}

static vv_status gcs_head(void *self, const char *name, vv_object_info *info, vv_object_outcome *oc,
                          vv_error *err)
{
    gcs_request r = {.method = "GET", .name = name, .answer_max = 65536};
    objs_http_answer a = {0};
    vv_status st = gcs_send(self, &r, &a, oc, err);
    if (st == VV_OK && gcs_read_object(vv_buf_slice(&a.body), info, err) != VV_OK)
        st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true, VV_IO);
    objs_http_answer_fini(&a);
    return st;
}

static vv_status gcs_get(void *self, const char *name, uint64_t offset, void *out, size_t len,
                         size_t *got, vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    char range[80];
    gcs_request r = {.method = "GET", .name = name, .out = out, .out_len = len};
    objs_http_answer a = {0};
    *got = 0;
    if (len == 0)
        return gcs_head(self, name, info, oc, err);
    gcs_query(&r, "alt", "media");
    (void)snprintf(range, sizeof range, "Range: bytes=%" PRIu64 "-%" PRIu64, offset,
                   offset + len - 1);
    r.header[r.header_count++] = range;
    vv_status st = gcs_exchange(self, &r, &a, oc, err);
    if (st == VV_OK && a.status == 416) { /* at the end of the object, or past it */
        *info = (vv_object_info){0};
    } else if (st == VV_OK && (a.status < 200 || a.status > 299)) {
        st = gcs_failed(self, &r, &a, oc, err);
    } else if (st == VV_OK && a.status == 200 && offset != 0) {
        st = objs_fault(oc, VV_OBJECT_FAULT_UNSUPPORTED, false,
                        vv_fail(err, VV_UNSUPPORTED, "the store does not give ranges"));
    } else if (st == VV_OK) {
        info_of(&a, info);
        *got = a.got;
    }
    objs_http_answer_fini(&a);
    return st;
}

static vv_status gcs_list(void *self, const char *prefix, const char *start_after, uint32_t limit,
                          vv_object_each each, void *ctx, bool *more, vv_object_outcome *oc,
                          vv_error *err)
{
    char max[16];
    gcs_request r = {.method = "GET", .answer_max = GCS_LIST_ANSWER_MAX};
    objs_http_answer a = {0};
    /* startOffset includes the name itself: one more is asked for. */
    (void)snprintf(max, sizeof max, "%" PRIu32, limit + 1);
    gcs_query(&r, "maxResults", max);
    gcs_query(&r, "fields", "nextPageToken,items(name,size,updated,etag,generation,crc32c)");
    if (prefix[0] != '\0')
        gcs_query(&r, "prefix", prefix);
    if (start_after[0] != '\0')
        gcs_query(&r, "startOffset", start_after);
    vv_status st = gcs_send(self, &r, &a, oc, err);
    if (st == VV_OK &&
        gcs_read_list(vv_buf_slice(&a.body), start_after, limit, each, ctx, more, err) != VV_OK)
        st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true, VV_IO);
    objs_http_answer_fini(&a);
    return st;
}

static vv_status gcs_remove(void *self, const char *name, vv_object_outcome *oc, vv_error *err)
{
    gcs_request r = {.method = "DELETE", .name = name, .answer_max = 65536};
    objs_http_answer a = {0};
    vv_status st = gcs_send(self, &r, &a, oc, err);
    objs_http_answer_fini(&a);
    return st;
}

/* ---- open and close ------------------------------------------------------------------------ */

static void gcs_close(void *self)
{
    gcs *g = self;
    objs_http_destroy(g->http);
    gcs_account_fini(&g->account);
    explicit_bzero(g->token, sizeof g->token);
    vv_mutex_fini(&g->lock);
    vv_free(g);
}

static vv_status read_options(gcs *g, vv_error *err)
{
    const vv_object_options *o = g->opt;
    const char *file = o->credentials_file != NULL ? o->credentials_file
                                                   : getenv("GOOGLE_APPLICATION_CREDENTIALS");
    const char *endpoint = o->endpoint == NULL || o->endpoint[0] == '\0'
                               ? "https://storage.googleapis.com"
                               : o->endpoint;
    char *text = NULL;
    size_t n = strlen(endpoint);
    if (o->bucket == NULL || strlen(o->bucket) < 3 || strlen(o->bucket) > 222 ||
        strchr(o->bucket, '/') != NULL)
        return vv_fail(err, VV_INVALID, "storage.bucket '%.80s': 3 to 222 letters, digits, ._-",
                       o->bucket == NULL ? "" : o->bucket);
    if (n > 0 && endpoint[n - 1] == '/')
        n--;
    if (n >= sizeof g->endpoint ||
        (strncmp(endpoint, "https://", 8) != 0 && strncmp(endpoint, "http://", 7) != 0))
        return vv_fail(err, VV_INVALID, "storage.endpoint '%.80s': begin with https:// or http://",
                       endpoint);
    memcpy(g->endpoint, endpoint, n);
    vv_status st = objs_read_text(file, &text, err);
    if (st == VV_OK)
        st = gcs_account_parse(vv_slice_str(text), &g->account, err);
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    vv_free(text);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "storage.credentials_file %s", file);
}

static vv_status gcs_open(const vv_object_options *options, void **self, vv_error *err)
{
    const objs_options *o = (const objs_options *)options;
    gcs *g = vv_calloc(1, sizeof *g);
    if (g == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store at Google");
    vv_mutex_init(&g->lock, VV_RANK_LEAF);
    g->opt = options;
    g->clock = o->env.clock;
    vv_status st = read_options(g, err);
    if (st == VV_OK)
        st = objs_http_create(o, &g->http, err);
    if (st != VV_OK) {
        gcs_close(g);
        return st;
    }
    *self = g;
    return VV_OK;
}

static void gcs_cancel(void *self)
{
    objs_http_cancel(((gcs *)self)->http);
}

static void gcs_limits(void *self, vv_object_limits *out)
{
    out->conditional_put = ((gcs *)self)->opt->conditional_put;
    out->parallel_parts = false; /* a resumable upload is one stream */
}

const vv_object_ops objs_gcs_json_ops = {
    .size = sizeof(vv_object_ops),
    .abi = VV_OBJECT_ABI,
    .name = "gcs",
    .open = gcs_open,
    .close = gcs_close,
    .cancel = gcs_cancel,
    .limits = gcs_limits,
    .put = gcs_put,
    .get = gcs_get,
    .head = gcs_head,
    .list = gcs_list,
    .remove = gcs_remove,
    .upload_begin = gcs_upload_begin,
    .upload_part = gcs_upload_part,
    .upload_complete = gcs_upload_complete,
    .upload_abort = gcs_upload_abort,
};
