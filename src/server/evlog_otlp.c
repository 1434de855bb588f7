/*
 * evlog_otlp.c - lines as OTLP/HTTP logs, protobuf, to a collector.
 *
 *     ExportLogsServiceRequest { resource_logs { resource, scope_logs { scope, log_records... } } }
 *
 * put packs a record; flush sends all that were packed as one request. An answer that may pass (no
 * answer, 429, 502, 503, 504) keeps them for the next try; any other refusal gives them up, and so
 * does the collector for those it rejects in a partial success.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "object/object.h"
#include "server/evlog_sink.h"
#include "varve/varve.h"

#define GROWTH 4u /* of a record out of the queue, at most */
#define ANSWER_MAX 4096u
#define TIMEOUT_MS 10000u

typedef struct otlp_sink {
    evlog_sink sink; /* first */
    objs_http *http;
    char *endpoint;
    char header[EVLOG_HEADERS_MAX][EVLOG_HEADER_MAX];
    size_t header_count;
    vv_buf resource;
    vv_buf records;
    uint64_t count; /* of them */
    vv_buf request;
} otlp_sink;

/* ---- a record ------------------------------------------------------------------------------ */

/* KeyValue { key = 1, AnyValue value = 2 { string = 1, int = 3, double = 4 } } as a field. */
void evlog_otlp_put_attribute(vv_buf *out, uint32_t number, const vv_kv *kv)
{
    size_t pair = wire_begin(out, number);
    wire_put_text(out, 1, vv_slice_str(kv->key));
    size_t value = wire_begin(out, 2);
    if (kv->type == VV_KV_STR) { /* the empty one too: an AnyValue without a field is none */
        const char *text = kv->v.str == NULL ? "" : kv->v.str;
        if (text[0] == '\0')
            wire_put_bytes(out, 1, vv_slice_of(NULL, 0));
        wire_put_text(out, 1, vv_slice_str(text));
    } else if (kv->type == VV_KV_FLOAT) {
        wire_put_double_always(out, 4, kv->v.f);
    } else {
        wire_put_varint(out, 3, kv->type == VV_KV_INT ? (uint64_t)kv->v.i : kv->v.u);
    }
    wire_end(out, value);
    wire_end(out, pair);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "trace_id" and "span_id" are fields of their own, as bytes. False: the value is no such id. */
static bool put_id(vv_buf *out, const vv_kv *kv, const char *key, uint32_t number, size_t len)
{
    uint8_t id[16];
    if (kv->type != VV_KV_STR || kv->v.str == NULL || strcmp(kv->key, key) != 0 ||
        strlen(kv->v.str) != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = digit(kv->v.str[2 * i]);
        int low = digit(kv->v.str[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        id[i] = (uint8_t)(high << 4 | low);
    }
    wire_put_bytes(out, number, vv_slice_of(id, len));
    return true;
}

void evlog_otlp_put_record(vv_buf *out, const vv_log_record *r)
{
    static const struct {
        uint64_t number;
        const char *text;
    } severities[] = {{17, "ERROR"}, {13, "WARN"}, {9, "INFO"}, {5, "DEBUG"}};
    size_t level = (size_t)r->level < ARRAY_LEN(severities) ? (size_t)r->level : 2;
    const vv_kv module = VV_KV_S("varve.module", r->module);
    size_t record = wire_begin(out, 2);
    wire_put_fixed64(out, 1, (uint64_t)r->wall_ns);
    wire_put_varint(out, 2, severities[level].number);
    wire_put_string(out, 3, vv_slice_str(severities[level].text));
    size_t body = wire_begin(out, 5);
    wire_put_text(out, 1, vv_slice_str(r->msg));
    wire_end(out, body);
    evlog_otlp_put_attribute(out, 6, &module);
    for (size_t i = 0; i < r->count; i++)
        if (!put_id(out, &r->kvs[i], "trace_id", 9, 16) &&
            !put_id(out, &r->kvs[i], "span_id", 10, 8))
            evlog_otlp_put_attribute(out, 6, &r->kvs[i]);
    wire_put_fixed64(out, 11, (uint64_t)r->wall_ns);
    wire_end(out, record);
}

/* ---- a request ----------------------------------------------------------------------------- */

static void pack_request(otlp_sink *o)
{
    vv_buf *out = &o->request;
    vv_buf_reset(out);
    size_t logs = wire_begin(out, 1);
    wire_put_bytes(out, 1, vv_buf_slice(&o->resource));
    size_t scope_logs = wire_begin(out, 2);
    size_t scope = wire_begin(out, 1);
    wire_put_string(out, 1, vv_slice_str("varve"));
    wire_put_string(out, 2, vv_slice_str(vv_version()));
    wire_end(out, scope);
    vv_buf_append_slice(out, vv_buf_slice(&o->records));
    wire_end(out, scope_logs);
    wire_end(out, logs);
}

/* partial_success = 1 { rejected_log_records = 1 } */
static uint64_t rejected(vv_slice answer)
{
    wire_reader r = wire_reader_of(answer);
    wire_field f = {0};
    uint64_t count = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        wire_reader inner = wire_reader_of(f.bytes);
        wire_field g = {0};
        while (wire_next(&inner, &g) > 0)
            if (g.number == 1 && g.type == WIRE_VARINT)
                count = g.value;
    }
    return count;
}

static vv_status send(otlp_sink *o, vv_buf *answer, bool *again, vv_error *err)
{
    const char *header[EVLOG_HEADERS_MAX + 1] = {"Content-Type: application/x-protobuf"};
    for (size_t i = 0; i < o->header_count; i++)
        header[i + 1] = o->header[i];
    *again = true;
    pack_request(o);
    if (o->request.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "a request with %" PRIu64 " lines", o->count);
    return objs_post(o->http, o->endpoint, header, o->header_count + 1, vv_buf_slice(&o->request),
                     ANSWER_MAX, answer, again, err);
}

static vv_status flush(evlog_sink *sink, uint64_t *lost, vv_error *err)
{
    otlp_sink *o = (otlp_sink *)sink;
    bool again = false;
    vv_buf answer;
    if (o->count == 0)
        return VV_OK;
    vv_buf_init(&answer, ANSWER_MAX);
    vv_status st = send(o, &answer, &again, err);
    if (st == VV_OK)
        *lost += vv_min_u64(rejected(vv_buf_slice(&answer)), o->count);
    vv_buf_fini(&answer);
    if (st != VV_OK) {
        (void)vv_wrap(err, st, "%.100s", o->endpoint);
        if (again)
            return st == VV_INVALID ? VV_IO : st;
        *lost += o->count;
        st = VV_INVALID;
    }
    vv_buf_reset(&o->records);
    o->count = 0;
    return st;
}

static vv_status put(evlog_sink *sink, const vv_log_record *r, vv_error *err)
{
    otlp_sink *o = (otlp_sink *)sink;
    size_t before = o->records.len;
    evlog_otlp_put_record(&o->records, r);
    if (o->records.status != VV_OK) {
        o->records.len = before; /* those that are in it stay */
        o->records.status = VV_OK;
        return vv_fail(err, VV_NO_MEMORY, "a line for the collector");
    }
    o->count++;
    return VV_OK;
}

/* ---- the beginning and the end ------------------------------------------------------------- */

static void cancel(evlog_sink *sink)
{
    objs_http_cancel(((otlp_sink *)sink)->http);
}

static void destroy(evlog_sink *sink)
{
    otlp_sink *o = (otlp_sink *)sink;
    objs_http_destroy(o->http);
    explicit_bzero(o->header, sizeof o->header);
    vv_free(o->endpoint);
    vv_buf_fini(&o->resource);
    vv_buf_fini(&o->records);
    vv_buf_fini(&o->request);
    vv_free(o);
}

static const evlog_sink_ops otlp_ops = {
    .put = put, .flush = flush, .cancel = cancel, .destroy = destroy};

void evlog_otlp_put_resource(vv_buf *out)
{
    evlog_origin from;
    char instance[300];
    evlog_origin_read(&from);
    (void)snprintf(instance, sizeof instance, "%s:%ld", from.host, from.pid);
    const vv_kv kvs[] = {VV_KV_S("service.name", from.app),
                         VV_KV_S("service.version", vv_version()),
                         VV_KV_S("service.instance.id", instance), VV_KV_S("host.name", from.host),
                         VV_KV_I("process.pid", from.pid)};
    for (size_t i = 0; i < ARRAY_LEN(kvs); i++)
        evlog_otlp_put_attribute(out, 1, &kvs[i]);
}

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f || strchr(":,;\"()<>@[]{}/\\?=", text[i]) != NULL)
            return false;
    return len > 0;
}

vv_status evlog_headers_parse(const char *text, char out[EVLOG_HEADERS_MAX][EVLOG_HEADER_MAX],
                              size_t *count, vv_error *err)
{
    *count = 0;
    for (const char *at = text; at != NULL && *at != '\0';) {
        size_t len = strcspn(at, ",");
        const char *eq = memchr(at, '=', len);
        size_t name = eq == NULL ? 0 : (size_t)(eq - at);
        size_t value = eq == NULL ? 0 : len - name - 1;
        if (*count == EVLOG_HEADERS_MAX)
            return vv_fail(err, VV_INVALID, "log.otlp_headers: over %u", EVLOG_HEADERS_MAX);
        if (!is_token(at, name) || name + value + 3 > EVLOG_HEADER_MAX ||
            memchr(at, '\r', len) != NULL || memchr(at, '\n', len) != NULL)
            return vv_fail(err, VV_INVALID,
                           "log.otlp_headers: number %zu is not Name=value of less than %u bytes",
                           *count + 1, EVLOG_HEADER_MAX);
        (void)snprintf(out[(*count)++], EVLOG_HEADER_MAX, "%.*s: %.*s", (int)name, at, (int)value,
                       eq + 1);
        at += len;
        at += *at == ',';
    }
    return VV_OK;
}

vv_status evlog_otlp_create(const evlog_options *opt, evlog_sink **out, vv_error *err)
{
    const vv_env env = {.clock = opt->clock};
    bool has_ca = opt->otlp_ca_file != NULL && opt->otlp_ca_file[0] != '\0';
    const objs_post_options post = {.ca_file = has_ca ? opt->otlp_ca_file : NULL,
                                    .timeout_ms = TIMEOUT_MS};
    otlp_sink *o = vv_calloc(1, sizeof *o);
    if (o == NULL)
        return vv_fail(err, VV_NO_MEMORY, "OTLP logs");
    o->sink.ops = &otlp_ops;
    vv_buf_init(&o->resource, 4096);
    vv_buf_init(&o->records, GROWTH * opt->queue_bytes);
    vv_buf_init(&o->request, GROWTH * opt->queue_bytes + 8192);
    evlog_otlp_put_resource(&o->resource);
    o->endpoint = vv_strdup(opt->otlp_endpoint);
    vv_status st = evlog_headers_parse(opt->otlp_headers, o->header, &o->header_count, err);
    if (st == VV_OK && (o->endpoint == NULL || o->resource.status != VV_OK))
        st = vv_fail(err, VV_NO_MEMORY, "OTLP logs");
    if (st == VV_OK)
        st = objs_post_open(&env, &post, &o->http, err);
    if (st != VV_OK) {
        destroy(&o->sink);
        return st;
    }
    *out = &o->sink;
    return VV_OK;
}
