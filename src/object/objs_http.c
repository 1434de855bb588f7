/*
 * objs_http.c - libcurl's easy interface: a pool of handles, each with its connection.
 *
 * Loaded by name at run time, with the few functions that are used. A handle belongs to one
 * request at a time; idle ones wait in a stack, the warmest on top. A try that makes no progress
 * for request_timeout_ms is given up: libcurl calls back at least once a second.
 */
#include "object/objs_http.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#undef curl_easy_setopt
#undef curl_easy_getinfo

/* What is used of libcurl. */
typedef struct curl_api {
    CURLcode (*global_init)(long flags);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *curl, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *curl, CURLINFO info, ...);
    CURLcode (*easy_perform)(CURL *curl);
    void (*easy_reset)(CURL *curl);
    void (*easy_cleanup)(CURL *curl);
    const char *(*easy_strerror)(CURLcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
} curl_api;

struct objs_http {
    vv_clock *clock;
    char *ca_file;
    bool insecure;
    uint32_t connect_timeout_ms;
    uint32_t request_timeout_ms;
    uint32_t budget_ms;
    _Atomic bool cancelled;
    vv_mutex lock; /* rank VV_RANK_LEAF: guards the rest */
    uint32_t idle_count;
    CURL *idle[64];
};

/* Loaded once for the process and never given back: libcurl's threads and OpenSSL's state stay. */
static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static curl_api api;
static char load_error[160];

static void load_libcurl(void)
{
    static const struct {
        const char *name;
        void *to;
    } wanted[] = {
        {"curl_global_init", &api.global_init},   {"curl_easy_init", &api.easy_init},
        {"curl_easy_setopt", &api.easy_setopt},   {"curl_easy_getinfo", &api.easy_getinfo},
        {"curl_easy_perform", &api.easy_perform}, {"curl_easy_reset", &api.easy_reset},
        {"curl_easy_cleanup", &api.easy_cleanup}, {"curl_easy_strerror", &api.easy_strerror},
        {"curl_slist_append", &api.slist_append}, {"curl_slist_free_all", &api.slist_free_all}};
    void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        (void)snprintf(load_error, sizeof load_error, "%s: install libcurl4", dlerror());
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        void *symbol = dlsym(lib, wanted[i].name);
        if (symbol == NULL) {
            (void)snprintf(load_error, sizeof load_error, "libcurl.so.4 has no %s", wanted[i].name);
            return;
        }
        memcpy(wanted[i].to, &symbol, sizeof symbol);
    }
    CURLcode code = api.global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK)
        (void)snprintf(load_error, sizeof load_error, "libcurl: %s", api.easy_strerror(code));
}

vv_status objs_http_create(const objs_options *o, objs_http **out, vv_error *err)
{
    (void)pthread_once(&loaded, load_libcurl);
    if (load_error[0] != '\0')
        return vv_fail(err, VV_UNSUPPORTED, "%s", load_error);
    objs_http *h = vv_calloc(1, sizeof *h);
    if (h == NULL)
        return vv_fail(err, VV_NO_MEMORY, "HTTP connections");
    vv_mutex_init(&h->lock, VV_RANK_LEAF);
    h->clock = o->env.clock;
    h->insecure = o->opt.tls_insecure;
    h->connect_timeout_ms = o->opt.connect_timeout_ms;
    h->request_timeout_ms = o->opt.request_timeout_ms;
    h->budget_ms = o->opt.budget_ms;
    if (o->opt.ca_file != NULL) {
        h->ca_file = vv_strdup(o->opt.ca_file);
        if (h->ca_file == NULL) {
            objs_http_destroy(h);
            return vv_fail(err, VV_NO_MEMORY, "HTTP connections");
        }
    }
    *out = h;
    return VV_OK;
}

void objs_http_destroy(objs_http *h)
{
    if (h == NULL)
        return;
    for (uint32_t i = 0; i < h->idle_count; i++)
        api.easy_cleanup(h->idle[i]);
    vv_free(h->ca_file);
    vv_mutex_fini(&h->lock);
    vv_free(h);
}

void objs_http_cancel(objs_http *h)
{
    atomic_store(&h->cancelled, true);
}

static CURL *take_handle(objs_http *h)
{
    CURL *curl = NULL;
    vv_mutex_lock(&h->lock);
    if (h->idle_count > 0)
        curl = h->idle[--h->idle_count];
    vv_mutex_unlock(&h->lock);
    return curl != NULL ? curl : api.easy_init();
}

static void give_handle(objs_http *h, CURL *curl, bool keep)
{
    if (keep)
        api.easy_reset(curl); /* options; the connection stays */
    vv_mutex_lock(&h->lock);
    if (keep && h->idle_count < ARRAY_LEN(h->idle)) {
        h->idle[h->idle_count++] = curl;
        curl = NULL;
    }
    vv_mutex_unlock(&h->lock);
    if (curl != NULL)
        api.easy_cleanup(curl);
}

/* ---- one transfer -------------------------------------------------------------------------- */

typedef struct transfer {
    objs_http *http;
    const objs_http_request *request;
    objs_http_answer *answer;
    CURL *curl;
    size_t piece; /* of the body, and how far in it */
    size_t offset;
    uint64_t sent;
    int64_t moved_at; /* when a byte last went or came */
    curl_off_t moved;
    bool over; /* the answer is over its bound */
    bool stalled;
    unsigned asked; /* times the request was sent */
    bool again;     /* it would have been sent once more */
} transfer;

static size_t read_body(char *to, size_t size, size_t count, void *ctx)
{
    transfer *t = ctx;
    size_t room = size * count;
    size_t done = 0;
    while (done < room && t->piece < t->request->body_count) {
        vv_slice s = t->request->body[t->piece];
        size_t n = (size_t)vv_min_u64(room - done, s.len - t->offset);
        if (n != 0)
            memcpy(to + done, s.data + t->offset, n);
        done += n;
        t->offset += n;
        if (t->offset == s.len) {
            t->piece++;
            t->offset = 0;
        }
    }
    t->sent += done;
    return done;
}

/*
 * Called each time the request is about to go out. libcurl sends it again by itself when a kept
 * connection ends before a byte of the answer: for a create-once put that did its work unheard,
 * the second answer is "it exists", and nobody would know that it was us. So only what changes
 * nothing is sent twice; the rest fails here, of unknown outcome.
 */
static int before_request(void *ctx, char *remote, char *local, int remote_port, int local_port)
{
    transfer *t = ctx;
    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    bool harmless =
        strcmp(t->request->method, "GET") == 0 || strcmp(t->request->method, "HEAD") == 0;
    t->again = t->asked++ > 0 && !harmless;
    return t->again ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static int seek_body(void *ctx, curl_off_t offset, int origin)
{
    transfer *t = ctx;
    if (origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_FAIL;
    t->piece = 0;
    t->offset = 0;
    return CURL_SEEKFUNC_OK;
}

static size_t take_header(char *data, size_t size, size_t count, void *ctx)
{
    transfer *t = ctx;
    size_t n = size * count;
    if (n >= 5 && memcmp(data, "HTTP/", 5) == 0)
        vv_buf_reset(&t->answer->headers); /* behind a 100 Continue: those of the answer itself */
    vv_buf_append(&t->answer->headers, data, n);
    t->over = t->over || t->answer->headers.status == VV_BUSY;
    return t->answer->headers.status == VV_OK ? n : 0;
}

static size_t take_body(char *data, size_t size, size_t count, void *ctx)
{
    transfer *t = ctx;
    size_t n = size * count;
    long status = 0;
    (void)api.easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    bool success = status >= 200 && status < 300;
    if (success && t->request->out != NULL) {
        if (n > t->request->out_len - t->answer->got) {
            t->over = true;
            t->answer->truncated = true;
            return 0;
        }
        memcpy((uint8_t *)t->request->out + t->answer->got, data, n);
        t->answer->got += n;
        return n;
    }
    size_t max = success ? t->request->answer_max : OBJS_HTTP_ERROR_MAX;
    if (t->answer->body.len + n > max) {
        t->over = true;
        return 0;
    }
    vv_buf_append(&t->answer->body, data, n);
    return t->answer->body.status == VV_OK ? n : 0;
}

static int watch(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                 curl_off_t up)
{
    transfer *t = ctx;
    (void)down_total;
    (void)up_total;
    int64_t now = vv_clock_mono(t->http->clock);
    if (down + up != t->moved) {
        t->moved = down + up;
        t->moved_at = now;
    }
    t->stalled = now - t->moved_at > (int64_t)t->http->request_timeout_ms * VV_NS_PER_MS;
    return t->stalled || atomic_load(&t->http->cancelled);
}

static uint64_t body_size(const objs_http_request *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->body_count; i++)
        n += r->body[i].len;
    return n;
}

/* Every setopt that can fail does so for lack of memory, or because libcurl lacks the feature. */
static CURLcode set_up(transfer *t, struct curl_slist *headers)
{
    objs_http *h = t->http;
    const objs_http_request *r = t->request;
    CURL *c = t->curl;
    CURLcode code = CURLE_OK;
    uint64_t size = body_size(r);
#define SET(option, value)                                                                         \
    if (code == CURLE_OK)                                                                          \
    code = api.easy_setopt(c, option, value)
    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* a connection a handle anyway */
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_USERAGENT, "varve");
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)h->connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)(h->budget_ms + (size + r->out_len) / 256));
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, watch);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_PREREQFUNCTION, before_request);
    SET(CURLOPT_PREREQDATA, t);
    SET(CURLOPT_BUFFERSIZE, 256L * 1024);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    if (h->ca_file != NULL) {
        SET(CURLOPT_CAINFO, h->ca_file);
    }
    if (h->insecure) {
        SET(CURLOPT_SSL_VERIFYPEER, 0L);
        SET(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (r->has_body) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_READFUNCTION, read_body);
        SET(CURLOPT_READDATA, t);
        SET(CURLOPT_SEEKFUNCTION, seek_body);
        SET(CURLOPT_SEEKDATA, t);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024);
    }
    if (strcmp(r->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    } else {
        SET(CURLOPT_CUSTOMREQUEST, r->method);
    }
#undef SET
    return code;
}

/* A try that brought no answer. */
static vv_status no_answer(transfer *t, CURLcode code, vv_object_outcome *oc, vv_error *err)
{
    long request_size = 0;
    (void)api.easy_getinfo(t->curl, CURLINFO_REQUEST_SIZE, &request_size);
    oc->unknown = request_size > 0 || t->asked > 0;
    const char *text = api.easy_strerror(code);
    if (atomic_load(&t->http->cancelled))
        return objs_fault(oc, VV_OBJECT_FAULT_LOCAL, false,
                          vv_fail(err, VV_CLOSED, "the store was cancelled"));
    if (t->again)
        return objs_fault(oc, VV_OBJECT_FAULT_NETWORK, true,
                          vv_fail(err, VV_IO, "the connection ended before the answer"));
    if (t->over)
        return objs_fault(oc, VV_OBJECT_FAULT_ANSWER, false,
                          vv_fail(err, VV_IO, "the answer is longer than what was asked for"));
    if (t->stalled)
        return objs_fault(oc, VV_OBJECT_FAULT_TIMEOUT, true,
                          vv_fail(err, VV_TIMEOUT, "no byte came or went in %" PRIu32 " ms",
                                  t->http->request_timeout_ms));
    if (code == CURLE_UNSUPPORTED_PROTOCOL && request_size > 0)
        return objs_fault(oc, VV_OBJECT_FAULT_NETWORK, true,
                          vv_fail(err, VV_IO, "what answers does not speak HTTP"));
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return objs_fault(oc, VV_OBJECT_FAULT_TIMEOUT, true, vv_fail(err, VV_TIMEOUT, "%s", text));
    case CURLE_OUT_OF_MEMORY:
    case CURLE_WRITE_ERROR: /* our callbacks: memory was short */
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "HTTP request: %s", text));
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return objs_fault(oc, VV_OBJECT_FAULT_NETWORK, false,
                          vv_fail(err, VV_IO,
                                  "the server's certificate is not trusted (%s): set ca_file to "
                                  "the authority that signed it",
                                  text));
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return objs_fault(oc, VV_OBJECT_FAULT_REQUEST, false,
                          vv_fail(err, VV_INVALID, "storage.endpoint: %s", text));
    case CURLE_COULDNT_RESOLVE_HOST:
        return objs_fault(
            oc, VV_OBJECT_FAULT_NETWORK, true,
            vv_fail(err, VV_IO, "%s: look at the host of the endpoint and the name service", text));
    case CURLE_COULDNT_CONNECT:
        return objs_fault(oc, VV_OBJECT_FAULT_NETWORK, true,
                          vv_fail(err, VV_IO, "%s: nothing answers at the endpoint", text));
    default:
        return objs_fault(oc, VV_OBJECT_FAULT_NETWORK, true,
                          vv_fail(err, VV_IO, "%s (libcurl %d)", text, (int)code));
    }
}

static vv_status make_headers(const objs_http_request *r, struct curl_slist **out, vv_error *err)
{
    /* Expect: waits a second with servers that do not know it; curl's content type is a form's. */
    static const char *const always[] = {"Expect:", "Accept:"};
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < ARRAY_LEN(always) + r->header_count; i++) {
        const char *line = i < ARRAY_LEN(always) ? always[i] : r->header[i - ARRAY_LEN(always)];
        struct curl_slist *more = api.slist_append(list, line);
        if (more == NULL) {
            api.slist_free_all(list);
            return vv_fail(err, VV_NO_MEMORY, "headers of a request");
        }
        list = more;
    }
    *out = list;
    return VV_OK;
}

vv_status objs_http_run(objs_http *h, const objs_http_request *r, objs_http_answer *a,
                        vv_object_outcome *oc, vv_error *err)
{
    struct curl_slist *headers = NULL;
    transfer t = {.http = h, .request = r, .answer = a, .moved_at = vv_clock_mono(h->clock)};
    vv_buf_init(&a->headers, OBJS_HTTP_HEADERS_MAX);
    vv_buf_init(&a->body, SIZE_MAX);
    vv_status st = make_headers(r, &headers, err);
    if (st != VV_OK)
        return objs_fault_local(oc, st);
    t.curl = take_handle(h);
    if (t.curl == NULL) {
        api.slist_free_all(headers);
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "HTTP request"));
    }
    CURLcode code = set_up(&t, headers);
    if (code == CURLE_OK)
        code = api.easy_perform(t.curl);
    long status = 0;
    (void)api.easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &status);
    a->status = (int)status;
    oc->http = a->status;
    if (code != CURLE_OK)
        st = no_answer(&t, code, oc, err);
    give_handle(h, t.curl, code == CURLE_OK);
    api.slist_free_all(headers);
    return st;
}

void objs_http_answer_fini(objs_http_answer *a)
{
    vv_buf_fini(&a->headers);
    vv_buf_fini(&a->body);
}

/* ---- headers ------------------------------------------------------------------------------- */

bool objs_http_header(const objs_http_answer *a, const char *name, char *out, size_t size)
{
    size_t name_len = strlen(name);
    if (a->headers.len == 0)
        return false;
    const char *p = (const char *)a->headers.data;
    const char *end = p + a->headers.len;
    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *stop = eol == NULL ? end : eol;
        if ((size_t)(stop - p) > name_len && p[name_len] == ':' &&
            strncasecmp(p, name, name_len) == 0) {
            const char *from = p + name_len + 1;
            while (from < stop && (*from == ' ' || *from == '\t'))
                from++;
            while (stop > from && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
                stop--;
            size_t n = (size_t)(stop - from);
            if (n >= size)
                return false;
            memcpy(out, from, n);
            out[n] = '\0';
            return true;
        }
        if (eol == NULL)
            break;
        p = eol + 1;
    }
    return false;
}

int64_t objs_http_date(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (rest == NULL) {
        tm = (struct tm){0};
        rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm); /* of lists */
    }
    int64_t seconds = rest == NULL ? 0 : (int64_t)timegm(&tm);
    return seconds < 0 || seconds > INT64_MAX / VV_NS_PER_S ? 0 : seconds * VV_NS_PER_S;
}
