/*
 * objs_s3_answer.c - what the answers of S3 servers say: failures, and what is known of an object.
 *
 * A failure's code decides; where there is none (HEAD has no body, proxies send pages) the HTTP
 * status does. Three failures teach something, and are worth another try once it was learned: the
 * region of the bucket, the server's clock, and that a session token was replaced in its file.
 */
#include "object/objs_s3.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "object/objs_xml.h"

typedef struct meaning {
    const char *code;
    vv_object_fault fault;
    vv_status st;
    bool retryable;
    const char *next; /* step */
} meaning;

static const meaning by_code[] = {
    {"NoSuchKey", VV_OBJECT_FAULT_MISSING, VV_NOT_FOUND, false, "no such object"},
    {"NoSuchUpload", VV_OBJECT_FAULT_MISSING, VV_NOT_FOUND, false, "the upload is gone"},
    {"NoSuchBucket", VV_OBJECT_FAULT_MISSING, VV_NOT_FOUND, false,
     "create the bucket, or correct storage.bucket"},
    {"PreconditionFailed", VV_OBJECT_FAULT_EXISTS, VV_CONFLICT, false, "the name is taken"},
    {"ConditionalRequestConflict", VV_OBJECT_FAULT_SERVER, VV_BUSY, true,
     "another request for the name is under way"},
    {"OperationAborted", VV_OBJECT_FAULT_SERVER, VV_BUSY, true,
     "another request for the name is under way"},
    {"NotImplemented", VV_OBJECT_FAULT_UNSUPPORTED, VV_UNSUPPORTED, false,
     "the store cannot do it"},
    {"SlowDown", VV_OBJECT_FAULT_THROTTLED, VV_BUSY, true, "the store is throttling"},
    {"Throttling", VV_OBJECT_FAULT_THROTTLED, VV_BUSY, true, "the store is throttling"},
    {"TooManyRequests", VV_OBJECT_FAULT_THROTTLED, VV_BUSY, true, "the store is throttling"},
    {"RequestLimitExceeded", VV_OBJECT_FAULT_THROTTLED, VV_BUSY, true, "the store is throttling"},
    {"RequestTimeout", VV_OBJECT_FAULT_TIMEOUT, VV_TIMEOUT, true, "the request came too slowly"},
    {"SignatureDoesNotMatch", VV_OBJECT_FAULT_DENIED, VV_IO, false, "correct the secret key"},
    {"InvalidAccessKeyId", VV_OBJECT_FAULT_DENIED, VV_IO, false, "correct the access key"},
    {"AccessDenied", VV_OBJECT_FAULT_DENIED, VV_IO, false, "let this key use the bucket"},
    {"ExpiredToken", VV_OBJECT_FAULT_EXPIRED, VV_IO, false, "renew the session token"},
    {"InvalidToken", VV_OBJECT_FAULT_EXPIRED, VV_IO, false, "renew the session token"},
    {"TokenRefreshRequired", VV_OBJECT_FAULT_EXPIRED, VV_IO, false, "renew the session token"},
    {"RequestTimeTooSkewed", VV_OBJECT_FAULT_CLOCK, VV_IO, false, "set this machine's clock"},
    {"RequestExpired", VV_OBJECT_FAULT_CLOCK, VV_IO, false, "set this machine's clock"},
    {"PermanentRedirect", VV_OBJECT_FAULT_REDIRECT, VV_IO, false, "correct storage.region"},
    {"TemporaryRedirect", VV_OBJECT_FAULT_REDIRECT, VV_IO, true, "correct storage.region"},
    {"AuthorizationHeaderMalformed", VV_OBJECT_FAULT_REDIRECT, VV_IO, false,
     "correct storage.region"},
    {"BadDigest", VV_OBJECT_FAULT_CORRUPT, VV_IO, true, "bytes changed on the way"},
    {"XAmzContentSHA256Mismatch", VV_OBJECT_FAULT_CORRUPT, VV_IO, true, "bytes changed on the way"},
    {"QuotaExceeded", VV_OBJECT_FAULT_FULL, VV_NO_SPACE, false, "raise the quota"},
    {"InsufficientStorage", VV_OBJECT_FAULT_FULL, VV_NO_SPACE, false, "make room at the store"},
    {"InternalError", VV_OBJECT_FAULT_SERVER, VV_IO, true, "the store failed"},
    {"ServiceUnavailable", VV_OBJECT_FAULT_SERVER, VV_IO, true, "the store does not serve now"},
    {"InvalidPart", VV_OBJECT_FAULT_REQUEST, VV_IO, false, "upload it again"},
    {"EntityTooSmall", VV_OBJECT_FAULT_REQUEST, VV_IO, false, "send larger parts"},
    {"EntityTooLarge", VV_OBJECT_FAULT_REQUEST, VV_IO, false, "upload it in parts"},
};

static const struct {
    int http;
    meaning m;
} by_http[] = {
    {301, {"", VV_OBJECT_FAULT_REDIRECT, VV_IO, false, "correct storage.region or endpoint"}},
    {302, {"", VV_OBJECT_FAULT_REDIRECT, VV_IO, false, "correct storage.endpoint"}},
    {307, {"", VV_OBJECT_FAULT_REDIRECT, VV_IO, false, "correct storage.region or endpoint"}},
    {308, {"", VV_OBJECT_FAULT_REDIRECT, VV_IO, false, "correct storage.endpoint"}},
    {401, {"", VV_OBJECT_FAULT_DENIED, VV_IO, false, "correct the credentials"}},
    {403, {"", VV_OBJECT_FAULT_DENIED, VV_IO, false, "correct the credentials"}},
    {404, {"", VV_OBJECT_FAULT_MISSING, VV_NOT_FOUND, false, "no such object"}},
    {408, {"", VV_OBJECT_FAULT_TIMEOUT, VV_TIMEOUT, true, "the request came too slowly"}},
    {409, {"", VV_OBJECT_FAULT_SERVER, VV_BUSY, true, "another request is under way"}},
    {412, {"", VV_OBJECT_FAULT_EXISTS, VV_CONFLICT, false, "the name is taken"}},
    {429, {"", VV_OBJECT_FAULT_THROTTLED, VV_BUSY, true, "the store is throttling"}},
    {501, {"", VV_OBJECT_FAULT_UNSUPPORTED, VV_UNSUPPORTED, false, "the store cannot do it"}},
    {507, {"", VV_OBJECT_FAULT_FULL, VV_NO_SPACE, false, "make room at the store"}},
};

static const meaning server_failed = {"", VV_OBJECT_FAULT_SERVER, VV_IO, true, "the store failed"};
static const meaning wrong_request = {"", VV_OBJECT_FAULT_REQUEST, VV_IO, false,
                                      "the store does not take this request"};

static const meaning *look_up(const char *code, int http)
{
    for (size_t i = 0; code[0] != '\0' && i < ARRAY_LEN(by_code); i++)
        if (strcmp(code, by_code[i].code) == 0)
            return &by_code[i];
    for (size_t i = 0; i < ARRAY_LEN(by_http); i++)
        if (http == by_http[i].http)
            return &by_http[i].m;
    return http >= 500 ? &server_failed : &wrong_request;
}

/* Printable bytes alone: it goes into sentences and logs. */
bool s3_read_failure(vv_slice body, s3_failure *out)
{
    objs_xml x;
    bool is_error = false;
    *out = (s3_failure){0};
    objs_xml_init(&x, body);
    for (;;) {
        objs_xml_kind kind = objs_xml_next(&x);
        if (kind == OBJS_XML_END || kind == OBJS_XML_BAD)
            return is_error && out->code[0] != '\0';
        const char *name = objs_xml_name(&x);
        if (kind == OBJS_XML_OPEN) {
            is_error = is_error || (x.depth == 1 && strcmp(name, "Error") == 0);
            continue;
        }
        if (!is_error || strcmp(objs_xml_parent(&x), "Error") != 0)
            continue;
        if (strcmp(name, "Code") == 0)
            objs_copy_clean(out->code, sizeof out->code, x.text);
        else if (strcmp(name, "Message") == 0)
            objs_copy_clean(out->message, sizeof out->message, x.text);
        else if (strcmp(name, "Region") == 0)
            objs_copy_clean(out->region, sizeof out->region, x.text);
        else if (strcmp(name, "Endpoint") == 0)
            objs_copy_clean(out->endpoint, sizeof out->endpoint, x.text);
    }
}

static bool is_region(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && text[n] == '\0' && n < 64;
}

/* The bucket is elsewhere. True: we know where by now, and did not ask there yet. */
static bool learn_region(s3 *s, const objs_http_answer *a, s3_failure *f, const char *sent)
{
    char word[32];
    if (f->region[0] == '\0')
        (void)objs_http_header(a, s3_word(s, "bucket-region", word, sizeof word), f->region,
                               sizeof f->region);
    if (!is_region(f->region) || strcmp(f->region, sent) == 0)
        return false;
    vv_mutex_lock(&s->lock);
    memcpy(s->region, f->region, sizeof s->region);
    vv_mutex_unlock(&s->lock);
    return true;
}

/* The clocks differ. True: the server said by how much, and we signed with another difference. */
static bool learn_clock(s3 *s, const objs_http_answer *a, int64_t sent_skew)
{
    char date[64];
    if (!objs_http_header(a, "date", date, sizeof date))
        return false;
    int64_t theirs = objs_http_date(date);
    if (theirs == 0)
        return false;
    int64_t skew = theirs - vv_clock_wall(s->clock);
    vv_mutex_lock(&s->lock);
    s->skew_ns = skew;
    vv_mutex_unlock(&s->lock);
    int64_t change = skew - sent_skew;
    return change > 60 * VV_NS_PER_S || change < -60 * VV_NS_PER_S;
}

/* The credentials are refused. True: their file has others now. */
static bool learn_credentials(s3 *s, const objs_cred *sent)
{
    objs_cred now;
    if (!sent->from_file || objs_cred_load(s->opt, &now, NULL) != VV_OK)
        return false;
    bool other = strcmp(now.access_key, sent->access_key) != 0 ||
                 strcmp(now.secret_key, sent->secret_key) != 0 ||
                 strcmp(now.token, sent->token) != 0;
    if (other) {
        vv_mutex_lock(&s->lock);
        s->cred = now;
        vv_mutex_unlock(&s->lock);
    }
    objs_cred_forget(&now);
    return other;
}

vv_status s3_failed(s3 *s, const objs_http_answer *a, const s3_request *r, const objs_cred *sent,
                    const char *sent_region, int64_t sent_skew, vv_object_outcome *oc,
                    vv_error *err)
{
    s3_failure f;
    char word[32];
    char text[24];
    (void)s3_read_failure(vv_buf_slice(&a->body), &f);
    memcpy(oc->code, f.code, sizeof oc->code);
    oc->http = a->status;
    if (objs_http_header(a, "retry-after", text, sizeof text)) {
        char *end = NULL;
        unsigned long seconds = strtoul(text, &end, 10);
        if (end != text && *end == '\0' && seconds <= 3600)
            oc->retry_after_ms = (int64_t)seconds * 1000;
    }
    if (!objs_http_header(a, s3_word(s, "request-id", word, sizeof word), oc->request_id,
                          sizeof oc->request_id) &&
        !objs_http_header(a, "x-amz-request-id", oc->request_id, sizeof oc->request_id) &&
        !objs_http_header(a, "x-guploader-uploadid", oc->request_id, sizeof oc->request_id))
        (void)objs_http_header(a, "x-trans-id", oc->request_id, sizeof oc->request_id);
    objs_copy_clean(oc->request_id, sizeof oc->request_id, oc->request_id);
    const meaning *m = look_up(f.code, a->status);
    bool retryable = m->retryable;
    if (m->fault == VV_OBJECT_FAULT_REDIRECT)
        retryable = learn_region(s, a, &f, sent_region) || retryable;
    else if (m->fault == VV_OBJECT_FAULT_CLOCK)
        retryable = learn_clock(s, a, sent_skew) || retryable;
    else if (m->fault == VV_OBJECT_FAULT_EXPIRED || m->fault == VV_OBJECT_FAULT_DENIED)
        retryable = learn_credentials(s, sent) || retryable;
    /* A gateway's timeout or a failure behind it says nothing of what was done. */
    oc->unknown = m->fault == VV_OBJECT_FAULT_SERVER && a->status != 503 && a->status != 409 &&
                  strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0;
    (void)vv_fail(
        err, m->st, "%s%s%s (HTTP %d, request %s)%s%s", m->next, f.code[0] == '\0' ? "" : ": ",
        f.code, a->status, oc->request_id[0] == '\0' ? "without id" : oc->request_id,
        m->fault == VV_OBJECT_FAULT_REDIRECT && f.region[0] != '\0' ? ": its region is "
        : f.message[0] != '\0'                                      ? ": "
                                                                    : "",
        m->fault == VV_OBJECT_FAULT_REDIRECT && f.region[0] != '\0' ? f.region : f.message);
    if (err != NULL)
        err->sys = a->status;
    return objs_fault(oc, m->fault, retryable, m->st);
}

/* ---- what is known of an object ------------------------------------------------------------ */

static uint64_t number_of(const char *text)
{
    char *end = NULL;
    unsigned long long n = strtoull(text, &end, 10);
    return end == text || n > INT64_MAX ? 0 : n;
}

void s3_info_of(const s3 *s, const objs_http_answer *a, vv_object_info *info)
{
    char text[96];
    char word[48];
    *info = (vv_object_info){0};
    if (objs_http_header(a, "etag", text, sizeof text)) {
        size_t n = strlen(text);
        bool quoted = n >= 2 && text[0] == '"' && text[n - 1] == '"';
        (void)snprintf(info->etag, sizeof info->etag, "%.*s", (int)(quoted ? n - 2 : n),
                       quoted ? text + 1 : text);
    }
    if (objs_http_header(a, "content-range", text, sizeof text)) {
        const char *slash = strchr(text, '/');
        info->size = slash == NULL ? 0 : number_of(slash + 1);
    } else if (objs_http_header(a, "content-length", text, sizeof text)) {
        info->size = number_of(text);
    }
    if (objs_http_header(a, "last-modified", text, sizeof text))
        info->mtime_ns = objs_http_date(text);
    (void)objs_http_header(a, s3_word(s, "version-id", word, sizeof word), info->version,
                           sizeof info->version);
    if (info->version[0] == '\0')
        (void)objs_http_header(a, s3_word(s, "generation", word, sizeof word), info->version,
                               sizeof info->version);
    if (objs_http_header(a, s3_word(s, "meta-varve-crc32c", word, sizeof word), text,
                         sizeof text) &&
        strlen(text) == 8 && strspn(text, "0123456789abcdef") == 8) {
        info->has_crc = true;
        info->crc32c = (uint32_t)strtoul(text, NULL, 16);
    }
}

/* ---- lists --------------------------------------------------------------------------------- */

typedef struct entry {
    char key[OBJS_XML_TEXT];
    vv_object_info info;
} entry;

static void take_field(entry *e, const char *name, const char *text)
{
    if (strcmp(name, "Key") == 0) {
        (void)snprintf(e->key, sizeof e->key, "%s", text);
    } else if (strcmp(name, "Size") == 0) {
        e->info.size = number_of(text);
    } else if (strcmp(name, "LastModified") == 0) {
        e->info.mtime_ns = objs_http_date(text);
    } else if (strcmp(name, "ETag") == 0) {
        size_t n = strlen(text);
        bool quoted = n >= 2 && text[0] == '"' && text[n - 1] == '"';
        (void)snprintf(e->info.etag, sizeof e->info.etag, "%.*s", (int)(quoted ? n - 2 : n),
                       quoted ? text + 1 : text);
    }
}

/* One walk over a page. each NULL: only to see that it is well formed. */
static bool walk_list(vv_slice body, vv_object_each each, void *ctx, bool *more)
{
    objs_xml x;
    entry e;
    bool is_list = false;
    *more = false;
    e.key[0] = '\0';
    objs_xml_init(&x, body);
    for (;;) {
        objs_xml_kind kind = objs_xml_next(&x);
        if (kind == OBJS_XML_BAD)
            return false;
        if (kind == OBJS_XML_END)
            return is_list;
        const char *name = objs_xml_name(&x);
        const char *parent = objs_xml_parent(&x);
        if (kind == OBJS_XML_OPEN) {
            is_list = is_list || (x.depth == 1 && strcmp(name, "ListBucketResult") == 0);
            if (strcmp(name, "Contents") == 0) {
                e.key[0] = '\0';
                e.info = (vv_object_info){0};
            }
        } else if (strcmp(parent, "Contents") == 0) {
            take_field(&e, name, x.text);
        } else if (strcmp(name, "Contents") == 0) {
            if (e.key[0] == '\0')
                return false;
            if (each != NULL && !each(ctx, e.key, &e.info))
                return true;
        } else if (strcmp(name, "IsTruncated") == 0 && strcmp(parent, "ListBucketResult") == 0) {
            *more = strcmp(x.text, "true") == 0;
        }
    }
}

vv_status s3_read_list(vv_slice body, vv_object_each each, void *ctx, bool *more, vv_error *err)
{
    if (!walk_list(body, NULL, NULL, more))
        return vv_fail(err, VV_CORRUPT, "the list is no well formed ListBucketResult");
    bool again;
    (void)walk_list(body, each, ctx, &again);
    return VV_OK;
}

vv_status s3_list(void *self, const char *prefix, const char *start_after, uint32_t limit,
                  vv_object_each each, void *ctx, bool *more, vv_object_outcome *oc, vv_error *err)
{
    s3 *s = self;
    char max[16];
    s3_request r = {.method = "GET", .answer_max = S3_LIST_ANSWER_MAX};
    objs_http_answer a = {0};
    (void)snprintf(max, sizeof max, "%" PRIu32, limit);
    s3_query(&r, "list-type", "2");
    s3_query(&r, "max-keys", max);
    if (prefix[0] != '\0')
        s3_query(&r, "prefix", prefix);
    if (start_after[0] != '\0')
        s3_query(&r, "start-after", start_after);
    vv_status st = s3_send(s, &r, &a, oc, err);
    if (st == VV_OK && s3_read_list(vv_buf_slice(&a.body), each, ctx, more, err) != VV_OK)
        st = objs_fault(oc, VV_OBJECT_FAULT_ANSWER, true, VV_IO);
    objs_http_answer_fini(&a);
    return st;
}
