/*
 * svc_http_feed.c - samples over HTTP as other programs send them: InfluxDB line protocol (/write,
 * /api/v2/write) and Prometheus remote write, version 1 (/api/v1/write).
 * https://docs.influxdata.com/influxdb/v1/tools/api/#write-http-endpoint
 * https://prometheus.io/docs/specs/prw/remote_write_spec/
 *
 * Answers are those that the senders know: 204 when all is stored; 400 when a part was refused, so
 * that it is not sent again; 503 when it should be. All of it is synced before the answer, unless
 * the parameter `durability` asks for less.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "feeds/feed_remote.h"
#include "ingest/ingest.h"
#include "query/struct_json.h"
#include "server/grpc_inflate.h"
#include "server/svc_series_write.h"

#define BODY_MAX (32u * 1024 * 1024)
#define TEXT_MAX 4096u
#define SNAPPY_GROWTH 22u /* a block that declares more is none */
#define ERROR_MAX 8192u
#define JSON_TYPE "application/json"

/* ---- parameters ---- */

/* A parameter, decoded into w->text, which has its room from the first on. NULL data: absent. */
static vv_status take_param(svc_series_write *w, const char *name, vv_slice *out, vv_error *err)
{
    vv_slice raw = svc_query_value(srv_call_query(w->call), name);
    *out = (vv_slice){0};
    if (raw.data == NULL)
        return VV_OK;
    if (w->text.cap == 0 && vv_buf_reserve(&w->text, TEXT_MAX) == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for parameters");
    if (raw.len > TEXT_MAX - w->text.len)
        return vv_fail(err, VV_INVALID, "the parameters are too long");
    size_t from = w->text.len;
    if (!svc_percent_decode(raw, &w->text))
        return vv_fail(err, VV_INVALID, "parameter %s: '%%' lacks its two digits", name);
    *out = vv_slice_of(w->text.data + from, w->text.len - from);
    return VV_OK;
}

static vv_status take_durability(svc_series_write *w, vv_error *err)
{
    vv_slice text;
    vv_status st = take_param(w, "durability", &text, err);
    w->durability = VV_DURABLE_SYNC;
    return st == VV_OK && text.len > 0 ? ingest_durability_parse(text, &w->durability, err) : st;
}

static bool is_gzip(const srv_call *call)
{
    return vv_slice_eq(srv_call_header(call, "content-encoding"), vv_slice_str("gzip"));
}

/* Memory for a body that grows up to so many times when it is unpacked. */
static vv_status reserve_plain(svc_series_write *w, unsigned growth, vv_error *err)
{
    uint64_t most = vv_min_u64(BODY_MAX, 4096 + growth * (uint64_t)w->msg.data.len);
    w->plain.max = (size_t)most;
    return svc_series_write_charge(w, most, err);
}

static void return_rest(svc_series_write *w)
{
    if (w->charge > w->plain.cap) {
        vv_budget_release(w->n->budget, VV_BUDGET_NETWORK, w->charge - w->plain.cap);
        w->charge = w->plain.cap;
    }
}

/* The body without what the sender wrapped it in. */
static vv_status unwrap(svc_series_write *w, vv_slice *out, vv_error *err)
{
    *out = w->msg.data;
    if (!is_gzip(w->call))
        return VV_OK;
    vv_status st = reserve_plain(w, 64, err);
    if (st == VV_OK)
        st = grpc_inflate(GRPC_GZIP, *out, &w->plain, err);
    return_rest(w);
    *out = vv_buf_slice(&w->plain);
    return st == VV_BUSY && w->charge > 0 ? VV_INVALID : st; /* too large: not better later */
}

/* ---- line protocol ---- */

static bool is_v2(const srv_call *call)
{
    return vv_slice_has_prefix(srv_call_path(call), vv_slice_str("/api/v2/"));
}

/* What clients of InfluxDB send that means nothing here is taken: users, policies, organisations.
 */
static vv_status check_lines(srv_call *call, vv_error *err)
{
    static const char *const v1[] = {"db", "precision", "tenant",      "durability", "rp",
                                     "u",  "p",         "consistency", NULL};
    static const char *const v2[] = {"bucket", "precision", "tenant", "durability",
                                     "org",    "orgID",     NULL};
    return svc_check_query(srv_call_query(call), true, is_v2(call) ? v2 : v1, err);
}

static vv_status open_lines(svc_series_write *w, vv_error *err)
{
    const bool v2 = is_v2(w->call);
    vv_slice precision;
    vv_status st = check_lines(w->call, err);
    if (st == VV_OK)
        st = take_param(w, v2 ? "bucket" : "db", &w->table, err);
    if (st == VV_OK && w->table.len == 0)
        return vv_fail(err, VV_INVALID,
                       v2 ? "bucket is required: bucket=TABLE"
                          : "database is required: db=TABLE names the table");
    const uint8_t *slash = st == VV_OK && v2 ? memchr(w->table.data, '/', w->table.len) : NULL;
    if (slash !=
        NULL) /* "db/policy", as version 2 names what version 1 had: there are no policies */
        w->table.len = (size_t)(slash - w->table.data);
    if (st == VV_OK)
        st = take_param(w, "tenant", &w->tenant, err);
    if (st == VV_OK)
        svc_series_names(w->n, &w->tenant, &w->table);
    if (st == VV_OK)
        st = take_durability(w, err);
    if (st == VV_OK)
        st = take_param(w, "precision", &precision, err);
    if (st == VV_OK && !feed_line_precision(precision, &w->unit_ns))
        st = vv_fail(err, VV_INVALID, "invalid precision '%.*s': it is n, u, ms, s, m or h",
                     (int)vv_min_u64(precision.len, 40), (const char *)precision.data);
    return st;
}

static vv_status decode_lines(svc_series_write *w, feed_sink *sink, vv_error *err)
{
    vv_slice body;
    feed_line *lines = svc_series_write_lines(w);
    const feed_line_options opt = {.unit_ns = w->unit_ns, .now_ns = vv_clock_wall(w->n->env.clock)};
    vv_status st = unwrap(w, &body, err);
    if (st == VV_OK && lines == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "no memory for line protocol");
    return st == VV_OK ? feed_line_decode(lines, body, &opt, sink, &w->read, err) : st;
}

static const char *v2_code(int http)
{
    switch (http) {
    case 400:
        return "invalid";
    case 404:
        return "not found";
    case 413:
        return "request too large";
    case 429:
        return "too many requests";
    case 403:
        return "forbidden";
    case 503:
        return "unavailable";
    default:
        return "internal error";
    }
}

static int http_of(vv_status st)
{
    int http = vv_status_http(st);
    return http == 429 || http == 507 ? 503 : http; /* what senders try again */
}

static void reply_lines(svc_series_write *w, int http, const char *message)
{
    vv_buf out;
    vv_buf_init(&out, ERROR_MAX);
    if (w->status == VV_CORRUPT)
        node_note_corrupt(w->n, message);
    if (is_v2(w->call)) {
        vv_buf_printf(&out, "{\"code\":\"%s\",\"message\":", v2_code(http));
        json_put_string(&out, vv_slice_str(message));
    } else {
        vv_buf_append_str(&out, "{\"error\":");
        json_put_string(&out, vv_slice_str(message));
    }
    vv_buf_append_str(&out, "}\n");
    srv_call_reply(w->call, http, JSON_TYPE, &out, "X-Influxdb-Version: 1.8.10");
    vv_buf_fini(&out);
}

/* Nothing, whose length is told to those who wait for it. */
static void reply_empty(svc_series_write *w, int http)
{
    vv_buf none;
    vv_buf_init(&none, 0);
    srv_call_reply(w->call, http, NULL, &none, NULL);
}

/* True when samples were refused and the others are stored: text says so. */
static bool is_partial(const svc_series_write *w, char *text, size_t size)
{
    const char *first = "";
    const uint64_t refused = svc_series_refused(w, &first);
    if (refused == 0 || (w->status != VV_OK && w->status != VV_BUSY))
        return false;
    (void)snprintf(text, size, "partial write: %s dropped=%llu",
                   first[0] != '\0' ? first : w->err.msg, (unsigned long long)refused);
    return true;
}

static void lines_settled(svc_series_write *w)
{
    char text[sizeof w->err.msg + 64];
    if (is_partial(w, text, sizeof text))
        reply_lines(w, 400, text);
    else if (w->status == VV_OK)
        reply_empty(w, 204);
    else
        reply_lines(w, http_of(w->status), w->err.msg);
    svc_series_write_destroy(w);
}

/* ---- remote write ---- */

static bool has_text(vv_slice header, const char *text)
{
    return header.len > 0 && memmem(header.data, header.len, text, strlen(text)) != NULL;
}

static bool is_remote_2(const srv_call *call)
{
    return has_text(srv_call_header(call, "content-type"), "io.prometheus.write.v2");
}

static vv_status open_remote(svc_series_write *w, vv_error *err)
{
    static const char *const names[] = {"table", "tenant", "durability", NULL};
    vv_slice encoding = srv_call_header(w->call, "content-encoding");
    vv_status st = svc_check_query(srv_call_query(w->call), true, names, err);
    if (st == VV_OK)
        st = take_param(w, "table", &w->table, err);
    if (st == VV_OK)
        st = take_param(w, "tenant", &w->tenant, err);
    if (st == VV_OK)
        st = take_durability(w, err);
    if (st != VV_OK)
        return st;
    svc_series_names(w->n, &w->tenant, &w->table);
    if (encoding.len > 0 && !vv_slice_eq(encoding, vv_slice_str("snappy")))
        return vv_fail(err, VV_INVALID, "content-encoding: remote write is sent with snappy");
    if (is_remote_2(w->call))
        return vv_fail(err, VV_UNSUPPORTED,
                       "remote write 2.0 is not served: send prometheus.WriteRequest");
    return VV_OK;
}

static vv_status decode_remote(svc_series_write *w, feed_sink *sink, vv_error *err)
{
    vv_status st = reserve_plain(w, SNAPPY_GROWTH, err);
    if (st != VV_OK)
        return st;
    st = feed_snappy_decode(w->msg.data, w->plain.max, &w->plain, err);
    return_rest(w);
    if (st == VV_BUSY)
        st = VV_INVALID; /* too large: not better later */
    if (st == VV_OK)
        st = feed_remote_decode(vv_buf_slice(&w->plain), sink, &w->read, err);
    return st;
}

static void reply_remote(svc_series_write *w, int http, const char *message)
{
    vv_buf out;
    vv_buf_init(&out, ERROR_MAX);
    if (w->status == VV_CORRUPT)
        node_note_corrupt(w->n, message);
    vv_buf_append_str(&out, message);
    vv_buf_append_u8(&out, '\n');
    srv_call_reply(w->call, http, "text/plain; charset=utf-8", &out, NULL);
    vv_buf_fini(&out);
}

static void remote_settled(svc_series_write *w)
{
    char text[sizeof w->err.msg + 64];
    if (is_partial(w, text, sizeof text))
        reply_remote(w, 400, text);
    else if (w->status == VV_OK)
        reply_empty(w, 204);
    else
        reply_remote(w, is_remote_2(w->call) ? 415 : http_of(w->status), w->err.msg);
    svc_series_write_destroy(w);
}

/* ---- the calls ---- */

static void begin(srv_call *call, srv_message msg, const svc_series_write_ops *ops)
{
    svc_series_write *w = svc_series_write_create(call, msg, ops);
    if (w == NULL)
        svc_reply_error(call, VV_NO_MEMORY, "no memory for a write");
    else
        svc_series_write_begin(w);
}

static void lines_message(srv_call *call, srv_message msg)
{
    static const svc_series_write_ops ops = {open_lines, decode_lines, lines_settled};
    begin(call, msg, &ops);
}

static void remote_message(srv_call *call, srv_message msg)
{
    static const svc_series_write_ops ops = {open_remote, decode_remote, remote_settled};
    begin(call, msg, &ops);
}

/* Clients of InfluxDB look whether it is there. */
static void ping_message(srv_call *call, srv_message msg)
{
    vv_buf none;
    srv_message_release(&msg);
    vv_buf_init(&none, 0);
    srv_call_reply(call, 204, NULL, &none, "X-Influxdb-Version: 1.8.10");
}

#define FEED(where, on_message)                                                                    \
    {                                                                                              \
        .kind = SRV_HTTP, .verb = "POST", .path = (where), .message_max = BODY_MAX, .copies = 1,   \
        .message = (on_message)                                                                    \
    }

size_t svc_http_feed_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        FEED("/write", lines_message),
        FEED("/api/v2/write", lines_message),
        FEED("/api/v1/write", remote_message),
        FEED("/prometheus/api/v1/write", remote_message),
        {.kind = SRV_HTTP, .verb = "GET", .path = "/ping", .message = ping_message},
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
