/*
 * objs_s3.c - objects in S3, and in what speaks its protocol: requests, objects, open and close.
 *
 * Every request is signed anew with the time it is sent at. Over TLS the payload is not hashed
 * (UNSIGNED-PAYLOAD: TLS sees to it); without, its SHA-256 is signed, and the server checks it. The
 * CRC-32C of an object goes along as metadata, so that who reads all of it can check all of the
 * way.
 */
#include "object/objs_s3.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

void s3_query(s3_request *r, const char *name, const char *value)
{
    assert(r->query_count < ARRAY_LEN(r->query));
    r->query[r->query_count++] = (objs_pair){name, value};
}

void s3_header(s3_request *r, const char *name, const char *value)
{
    assert(r->header_count < ARRAY_LEN(r->header));
    r->header[r->header_count++] = (objs_pair){name, value};
}

const char *s3_word(const s3 *s, const char *name, char *out, size_t size)
{
    (void)snprintf(out, size, "%s%s", s->dialect->header_prefix, name);
    return out;
}

/* ---- one request --------------------------------------------------------------------------- */

/* All that a request is made of; the parts of it point into each other. */
typedef struct sent {
    objs_cred cred;
    char region[64];
    int64_t skew_ns;
    char host[400];
    char date[17];
    char hash[65];
    char word[3][40]; /* names of our own headers */
    vv_buf path;      /* "/bucket/name" */
    vv_buf url;
    vv_buf lines; /* headers, each with its NUL */
    objs_pair header[OBJS_SIGN_PAIRS_MAX];
    size_t header_count;
} sent;

static void make_place(const s3 *s, const s3_request *r, sent *x)
{
    const char *bucket = s->opt->bucket;
    char host[256];
    if (s->amazon) /* follows the region */
        (void)snprintf(host, sizeof host, "s3.%s.amazonaws.com", x->region);
    else
        memcpy(host, s->host, sizeof host);
    if (s->virtual_host)
        (void)snprintf(x->host, sizeof x->host, "%s.%s", bucket, host);
    else
        (void)snprintf(x->host, sizeof x->host, "%s", host);
    vv_buf_append_u8(&x->path, '/');
    if (!s->virtual_host) {
        vv_buf_append_str(&x->path, bucket);
        if (r->name != NULL)
            vv_buf_append_u8(&x->path, '/');
    }
    if (r->name != NULL)
        vv_buf_append_str(&x->path, r->name);
    vv_buf_append_u8(&x->path, '\0');
    if (x->path.status != VV_OK)
        return;
    vv_buf_printf(&x->url, "%s://%s", s->tls ? "https" : "http", x->host);
    objs_uri_encode(&x->url, (const char *)x->path.data, true);
    if (r->query_count > 0)
        vv_buf_append_u8(&x->url, '?');
    objs_query_encode(&x->url, r->query, r->query_count);
    vv_buf_append_u8(&x->url, '\0');
}

static void add_header(sent *x, const char *name, const char *value)
{
    assert(x->header_count < ARRAY_LEN(x->header));
    x->header[x->header_count++] = (objs_pair){name, value};
}

static vv_status sign(s3 *s, const s3_request *r, sent *x, const char *lines[], size_t *count,
                      vv_error *err)
{
    size_t at[OBJS_SIGN_PAIRS_MAX + 2];
    size_t n = 0;
    objs_sign_request q = {.dialect = s->dialect,
                           .method = r->method,
                           .path = (const char *)x->path.data,
                           .query = r->query,
                           .query_count = r->query_count,
                           .header = x->header,
                           .header_count = x->header_count,
                           .payload_hash = x->hash,
                           .date = x->date,
                           .region = x->region,
                           .access_key = x->cred.access_key,
                           .secret_key = x->cred.secret_key};
    at[n++] = x->lines.len;
    vv_buf_append_str(&x->lines, "Authorization: ");
    vv_status st = objs_sign(&q, &x->lines, err);
    if (st != VV_OK)
        return st;
    vv_buf_append_u8(&x->lines, '\0');
    for (size_t i = 0; i < x->header_count; i++) {
        at[n++] = x->lines.len;
        vv_buf_printf(&x->lines, "%s: %s", x->header[i].name, x->header[i].value);
        vv_buf_append_u8(&x->lines, '\0');
    }
    if (r->has_body) { /* not signed: proxies change it */
        at[n++] = x->lines.len;
        vv_buf_append_str(&x->lines, "Content-Type: application/octet-stream");
        vv_buf_append_u8(&x->lines, '\0');
    }
    if (x->lines.status != VV_OK || x->url.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "a request");
    for (size_t i = 0; i < n; i++)
        lines[i] = (const char *)x->lines.data + at[i];
    *count = n;
    return VV_OK;
}

/* Everything but the Authorization header. */
static vv_status prepare(s3 *s, const s3_request *r, sent *x, vv_error *err)
{
    vv_mutex_lock(&s->lock);
    x->cred = s->cred;
    memcpy(x->region, s->region, sizeof x->region);
    x->skew_ns = s->skew_ns;
    vv_mutex_unlock(&s->lock);
    make_place(s, r, x);
    if (x->path.status != VV_OK || x->url.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "a request");
    objs_sign_date(vv_clock_wall(s->clock) + x->skew_ns, x->date);
    if (s->tls)
        memcpy(x->hash, OBJS_UNSIGNED_PAYLOAD, sizeof OBJS_UNSIGNED_PAYLOAD);
    else if (!objs_sha256_hex(r->body, r->body_count, x->hash))
        return vv_fail(err, VV_NO_MEMORY, "hash of a request");
    add_header(x, "host", x->host);
    add_header(x, s3_word(s, "date", x->word[0], sizeof x->word[0]), x->date);
    add_header(x, s3_word(s, "content-sha256", x->word[1], sizeof x->word[1]), x->hash);
    if (x->cred.token[0] != '\0')
        add_header(x, s3_word(s, "security-token", x->word[2], sizeof x->word[2]), x->cred.token);
    for (size_t i = 0; i < r->header_count; i++)
        add_header(x, r->header[i].name, r->header[i].value);
    return VV_OK;
}

static vv_status exchange(s3 *s, const s3_request *r, sent *x, objs_http_answer *a,
                          vv_object_outcome *oc, vv_error *err)
{
    const char *lines[OBJS_SIGN_PAIRS_MAX + 2];
    size_t count = 0;
    vv_status st = prepare(s, r, x, err);
    if (st == VV_OK)
        st = sign(s, r, x, lines, &count, err);
    if (st != VV_OK)
        return objs_fault_local(oc, st);
    objs_http_request h = {.method = r->method,
                           .url = (const char *)x->url.data,
                           .header = lines,
                           .header_count = count,
                           .has_body = r->has_body,
                           .body = r->body,
                           .body_count = r->body_count,
                           .out = r->out,
                           .out_len = r->out_len,
                           .answer_max = r->answer_max};
    st = objs_http_run(s->http, &h, a, oc, err);
    if (st != VV_OK)
        return st;
    if (a->status < 200 || a->status > 299)
        return s3_failed(s, a, r, &x->cred, x->region, x->skew_ns, oc, err);
    return VV_OK;
}

vv_status s3_send(s3 *s, const s3_request *r, objs_http_answer *a, vv_object_outcome *oc,
                  vv_error *err)
{
    sent *x = vv_calloc(1, sizeof *x);
    if (x == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "a request"));
    vv_buf_init(&x->path, 4096);
    vv_buf_init(&x->url, 16384);
    vv_buf_init(&x->lines, 32768);
    vv_status st = exchange(s, r, x, a, oc, err);
    vv_buf_fini(&x->path);
    vv_buf_fini(&x->url);
    vv_buf_fini(&x->lines);
    objs_cred_forget(&x->cred);
    vv_free(x);
    return st;
}

/* ---- objects ------------------------------------------------------------------------------- */

void s3_add_encryption(const s3 *s, s3_request *r)
{
    if (s->opt->sse == NULL || s->opt->sse[0] == '\0')
        return;
    s3_header(r, "x-amz-server-side-encryption", s->opt->sse);
    if (s->opt->sse_key_id != NULL && s->opt->sse_key_id[0] != '\0')
        s3_header(r, "x-amz-server-side-encryption-aws-kms-key-id", s->opt->sse_key_id);
}

void s3_add_create(const s3 *s, s3_request *r)
{
    if (s->dialect == &objs_dialect_goog)
        s3_header(r, "x-goog-if-generation-match", "0");
    else
        s3_header(r, "if-none-match", "*");
}

static vv_status s3_put(void *self, const char *name, const vv_slice *piece, size_t count,
                        uint32_t crc, bool create, vv_object_info *info, vv_object_outcome *oc,
                        vv_error *err)
{
    s3 *s = self;
    char sum[16];
    char word[40];
    s3_request r = {.method = "PUT",
                    .name = name,
                    .has_body = true,
                    .body = piece,
                    .body_count = count,
                    .answer_max = 65536};
    objs_http_answer a = {0};
    (void)snprintf(sum, sizeof sum, "%08" PRIx32, crc);
    s3_header(&r, s3_word(s, "meta-varve-crc32c", word, sizeof word), sum);
    s3_add_encryption(s, &r);
    if (create)
        s3_add_create(s, &r);
    vv_status st = s3_send(s, &r, &a, oc, err);
    if (st == VV_OK)
        s3_info_of(s, &a, info);
    objs_http_answer_fini(&a);
    return st;
}

static vv_status head_by(s3 *s, const s3_request *r, vv_object_info *info, vv_object_outcome *oc,
                         vv_error *err)
{
    objs_http_answer a = {0};
    vv_status st = s3_send(s, r, &a, oc, err);
    if (st == VV_OK)
        s3_info_of(s, &a, info);
    objs_http_answer_fini(&a);
    return st;
}

vv_status s3_head(void *self, const char *name, vv_object_info *info, vv_object_outcome *oc,
                  vv_error *err)
{
    s3_request r = {.method = "HEAD", .name = name, .answer_max = 65536};
    vv_status st = head_by(self, &r, info, oc, err);
    bool unclear = oc->http == 301 || oc->http == 307 || oc->http == 400 || oc->http == 403;
    if (st == VV_OK || !unclear)
        return st;
    /* Wrong key, old token, other region, wrong clock? The answer to a GET has a body that says. */
    oc->http = 0;
    r.method = "GET";
    s3_header(&r, "range", "bytes=0-0");
    return head_by(self, &r, info, oc, err);
}

static vv_status s3_get(void *self, const char *name, uint64_t offset, void *out, size_t len,
                        size_t *got, vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    s3 *s = self;
    char range[64];
    s3_request r = {.method = "GET", .name = name, .out = out, .out_len = len};
    objs_http_answer a = {0};
    *got = 0;
    if (len == 0) /* a range of no byte cannot be said */
        return s3_head(self, name, info, oc, err);
    (void)snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, offset, offset + len - 1);
    s3_header(&r, "range", range);
    vv_status st = s3_send(s, &r, &a, oc, err);
    if (st != VV_OK && a.status == 416) { /* at the end of the object, or past it */
        s3_info_of(s, &a, info);
        uint64_t size = info->size;
        *info = (vv_object_info){.size = size <= offset ? size : 0};
        st = VV_OK;
    } else if (st == VV_OK) {
        s3_info_of(s, &a, info);
        *got = a.got;
        if (a.status == 200 && offset != 0)
            st = objs_fault(oc, VV_OBJECT_FAULT_UNSUPPORTED, false,
                            vv_fail(err, VV_UNSUPPORTED, "the store does not give ranges"));
    }
    objs_http_answer_fini(&a);
    return st;
}

static vv_status s3_remove(void *self, const char *name, vv_object_outcome *oc, vv_error *err)
{
    s3 *s = self;
    s3_request r = {.method = "DELETE", .name = name, .answer_max = 65536};
    objs_http_answer a = {0};
    vv_status st = s3_send(s, &r, &a, oc, err);
    objs_http_answer_fini(&a);
    return st;
}

/* ---- open and close ------------------------------------------------------------------------ */

static bool is_bucket(const char *text)
{
    size_t n = text == NULL ? 0 : strlen(text);
    return n >= 3 && n <= 222 && text[0] != '.' && text[0] != '-' && text[n - 1] != '.' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n;
}

static vv_status read_endpoint(s3 *s, const char *endpoint, vv_error *err)
{
    s->tls = strncmp(endpoint, "https://", 8) == 0;
    if (!s->tls && strncmp(endpoint, "http://", 7) != 0)
        return vv_fail(err, VV_INVALID, "storage.endpoint '%.80s': begin with https:// or http://",
                       endpoint);
    const char *host = endpoint + (s->tls ? 8 : 7);
    size_t n = strlen(host);
    if (n > 0 && host[n - 1] == '/')
        n--;
    if (n == 0 || n >= sizeof s->host ||
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") < n)
        return vv_fail(err, VV_INVALID, "storage.endpoint '%.80s': is no host and port", endpoint);
    memcpy(s->host, host, n);
    s->host[n] = '\0';
    return VV_OK;
}

static vv_status read_options(s3 *s, vv_error *err)
{
    const vv_object_options *o = s->opt;
    bool google = s->dialect == &objs_dialect_goog;
    const char *region = o->region != NULL && o->region[0] != '\0' ? o->region
                         : google                                  ? "auto"
                                                                   : "us-east-1";
    const char *how = o->addressing == NULL ? "auto" : o->addressing;
    if (!is_bucket(o->bucket))
        return vv_fail(err, VV_INVALID,
                       "storage.bucket '%.80s': 3 or more of letters, digits, '.', '-' and '_'",
                       o->bucket == NULL ? "" : o->bucket);
    size_t n = strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    if (region[n] != '\0' || n >= sizeof s->region)
        return vv_fail(err, VV_INVALID, "storage.region '%.80s': is no region", region);
    memcpy(s->region, region, n + 1);
    s->tls = true;
    s->amazon = (o->endpoint == NULL || o->endpoint[0] == '\0') && !google;
    if (strcmp(how, "auto") != 0 && strcmp(how, "path") != 0 && strcmp(how, "virtual") != 0)
        return vv_fail(err, VV_INVALID, "storage.addressing '%.40s': auto, path or virtual", how);
    /* A dot in the bucket does not match Amazon's certificate. */
    s->virtual_host = strcmp(how, "virtual") == 0 ||
                      (strcmp(how, "auto") == 0 && s->amazon && strchr(o->bucket, '.') == NULL);
    if (s->amazon)
        return VV_OK;
    return read_endpoint(s,
                         o->endpoint == NULL || o->endpoint[0] == '\0'
                             ? "https://storage.googleapis.com"
                             : o->endpoint,
                         err);
}

static void s3_close(void *self)
{
    s3 *s = self;
    objs_http_destroy(s->http);
    objs_cred_forget(&s->cred);
    vv_mutex_fini(&s->lock);
    vv_free(s);
}

static vv_status open_with(const objs_dialect *dialect, const vv_object_options *options,
                           void **self, vv_error *err)
{
    const objs_options *o = (const objs_options *)options;
    s3 *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "S3 store");
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    s->opt = options;
    s->dialect = dialect;
    s->clock = o->env.clock;
    vv_status st = read_options(s, err);
    if (st == VV_OK)
        st = objs_cred_load(options, &s->cred, err);
    if (st == VV_OK)
        st = objs_http_create(o, &s->http, err);
    if (st != VV_OK) {
        s3_close(s);
        return st;
    }
    *self = s;
    return VV_OK;
}

static vv_status s3_open(const vv_object_options *options, void **self, vv_error *err)
{
    return open_with(&objs_dialect_aws, options, self, err);
}

static vv_status gcs_open(const vv_object_options *options, void **self, vv_error *err)
{
    return open_with(&objs_dialect_goog, options, self, err);
}

static void s3_cancel(void *self)
{
    objs_http_cancel(((s3 *)self)->http);
}

static void s3_limits(void *self, vv_object_limits *out)
{
    out->conditional_put = ((s3 *)self)->opt->conditional_put;
    out->part_size_min = UINT64_C(5) << 20;
}

#define S3_OPERATIONS                                                                              \
    .size = sizeof(vv_object_ops), .abi = VV_OBJECT_ABI, .close = s3_close, .cancel = s3_cancel,   \
    .limits = s3_limits, .put = s3_put, .get = s3_get, .head = s3_head, .list = s3_list,           \
    .remove = s3_remove, .upload_begin = s3_upload_begin, .upload_part = s3_upload_part,           \
    .upload_complete = s3_upload_complete, .upload_abort = s3_upload_abort

const vv_object_ops objs_s3_ops = {.name = "s3", .open = s3_open, S3_OPERATIONS};
const vv_object_ops objs_gcs_xml_ops = {.name = "gcs", .open = gcs_open, S3_OPERATIONS};
