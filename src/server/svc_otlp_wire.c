/*
 * svc_otlp_wire.c - see svc_otlp.h.
 */
#include "server/svc_otlp.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.pb-c.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb-c.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"
#include "query/struct_json.h"
#include "server/grpc_inflate.h"
#include "server/svc_json.h"
#include "server/svc_util.h"

#define ANSWER_MAX 8192u
#define PROTOBUF_TYPE "application/x-protobuf"
#define JSON_TYPE "application/json"
#define RETRY_HEADER "Retry-After: 1"
#define GRPC_UNAVAILABLE 14
#define GROWTH 200u /* a body that grows more when it is unpacked is refused */

/* google.rpc.Status{code 14, details RetryInfo{retry_delay 1 s}}, without a message: gRPC has it
 * beside. */
#define RETRY_DETAILS "CA4aMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAQ=="

typedef enum encoding { GRPC, PROTOBUF, JSON, UNKNOWN } encoding;

otlp_signal svc_otlp_signal_of(const srv_call *call)
{
    vv_slice path = srv_call_path(call);
    if (memmem(path.data, path.len, "trace", 5) != NULL)
        return OTLP_TRACES;
    return memmem(path.data, path.len, "logs", 4) != NULL ? OTLP_LOGS : OTLP_METRICS;
}

/* A media type without its parameters. */
static bool is_type(vv_slice header, const char *type)
{
    const size_t len = strlen(type);
    return header.len >= len && strncasecmp((const char *)header.data, type, len) == 0 &&
           (header.len == len || header.data[len] == ';' || header.data[len] == ' ');
}

static encoding encoding_of(const srv_call *call)
{
    if (!vv_slice_has_prefix(srv_call_path(call), vv_slice_str("/v1/")))
        return GRPC;
    vv_slice type = srv_call_header(call, "content-type");
    if (is_type(type, PROTOBUF_TYPE))
        return PROTOBUF;
    return is_type(type, JSON_TYPE) ? JSON : UNKNOWN;
}

/* ---- bodies ---- */

static vv_status charge_bytes(srv_call *call, uint64_t bytes, uint64_t *charge, vv_error *err)
{
    node *n = srv_call_ctx(call);
    if (!vv_budget_reserve(n->budget, VV_BUDGET_NETWORK, bytes))
        return vv_fail(err, VV_BUSY,
                       "storage.memory_limit is used up: retry after a pause, or send less at a "
                       "time");
    *charge += bytes;
    return VV_OK;
}

static vv_status inflate(srv_call *call, vv_slice body, vv_buf *out, uint64_t *charge,
                         vv_error *err)
{
    const uint64_t most = vv_min_u64(SVC_OTLP_BODY_MAX, 4096 + GROWTH * (uint64_t)body.len);
    vv_buf_init(out, (size_t)most);
    vv_status st = charge_bytes(call, most, charge, err);
    if (st != VV_OK)
        return st;
    st = grpc_inflate(GRPC_GZIP, body, out, err);
    node *n = srv_call_ctx(call);
    if (most > out->cap) {
        vv_budget_release(n->budget, VV_BUDGET_NETWORK, most - out->cap);
        *charge -= most - out->cap;
    }
    return st == VV_BUSY ? VV_INVALID : st; /* too large: not better later */
}

static vv_status read_json(srv_call *call, vv_slice text, vv_buf *out, uint64_t *charge,
                           vv_error *err)
{
    static const ProtobufCMessageDescriptor *const requests[OTLP_SIGNALS] = {
        &opentelemetry__proto__collector__trace__v1__export_trace_service_request__descriptor,
        &opentelemetry__proto__collector__logs__v1__export_logs_service_request__descriptor,
        &opentelemetry__proto__collector__metrics__v1__export_metrics_service_request__descriptor};
    /* The wire bytes of a JSON text are fewer than its own, but for short names of empty objects
     * and numbers of one digit that have a fixed width. */
    const uint64_t most = 4096 + 4 * (uint64_t)text.len;
    vv_buf_init(out, (size_t)most);
    vv_status st = charge_bytes(call, most, charge, err);
    if (st == VV_OK)
        st = svc_json_to_wire_otlp(requests[svc_otlp_signal_of(call)], text, out, err);
    return st == VV_BUSY && out->status == VV_BUSY ? VV_INVALID : st;
}

vv_status svc_otlp_unwrap(srv_call *call, vv_slice body, vv_buf *plain, uint64_t *charge,
                          vv_slice *out, vv_error *err)
{
    const encoding as = encoding_of(call);
    vv_slice packed = srv_call_header(call, "content-encoding");
    vv_buf inflated;
    vv_status st = VV_OK;
    vv_buf_init(&inflated, 0);
    *out = body;
    if (as == GRPC)
        return VV_OK;
    if (as == UNKNOWN)
        return vv_fail(err, VV_INVALID,
                       "content-type: " PROTOBUF_TYPE " or " JSON_TYPE " is understood");
    if (vv_slice_eq(packed, vv_slice_str("gzip"))) {
        st = inflate(call, body, &inflated, charge, err);
        *out = vv_buf_slice(&inflated);
    } else if (packed.len > 0 && !vv_slice_eq(packed, vv_slice_str("identity"))) {
        st = vv_fail(err, VV_INVALID, "content-encoding: gzip or none is understood");
    }
    if (st == VV_OK && as == JSON) {
        st = read_json(call, *out, plain, charge, err);
        vv_buf_fini(&inflated);
        *out = vv_buf_slice(plain);
        return st;
    }
    *plain = inflated;
    return st;
}

/* ---- answers ---- */

static void put_partial(vv_buf *out, uint64_t refused, const char *first)
{
    size_t mark = wire_begin(out, 1);
    wire_put_uint(out, 1, refused);
    wire_put_text(out, 2, vv_slice_str(first));
    wire_end(out, mark);
}

static void put_partial_json(vv_buf *out, otlp_signal signal, uint64_t refused, const char *first)
{
    static const char *const names[OTLP_SIGNALS] = {"rejectedSpans", "rejectedLogRecords",
                                                    "rejectedDataPoints"};
    vv_buf_printf(out,
                  "{\"partialSuccess\":{\"%s\":\"%" PRIu64 "\",\"errorMessage\":", names[signal],
                  refused);
    json_put_string(out, vv_slice_str(first));
    vv_buf_append_str(out, "}}");
}

void svc_otlp_answer(srv_call *call, uint64_t refused, const char *first)
{
    vv_buf out;
    const encoding as = encoding_of(call);
    vv_buf_init(&out, ANSWER_MAX);
    if (as == JSON && refused > 0)
        put_partial_json(&out, svc_otlp_signal_of(call), refused, first);
    else if (as == JSON)
        vv_buf_append_str(&out, "{}");
    else if (refused > 0)
        put_partial(&out, refused, first);
    if (as == GRPC) {
        srv_call_send(call, &out);
        srv_call_finish(call, VV_OK, NULL);
    } else {
        srv_call_reply(call, 200, as == JSON ? JSON_TYPE : PROTOBUF_TYPE, &out, NULL);
    }
    vv_buf_fini(&out);
}

/* What exporters are to send again. */
static bool is_transient(vv_status st)
{
    return st == VV_BUSY || st == VV_NO_MEMORY || st == VV_NO_SPACE || st == VV_TIMEOUT ||
           st == VV_CLOSED;
}

static int http_of(vv_status st, encoding as)
{
    if (st == VV_BUSY)
        return 429;
    if (is_transient(st))
        return 503;
    return as == UNKNOWN && st == VV_INVALID ? 415 : vv_status_http(st);
}

static void refuse_http(srv_call *call, encoding as, vv_status st, const char *message)
{
    vv_buf out;
    const int code = is_transient(st) ? GRPC_UNAVAILABLE : vv_status_grpc(st);
    if (st == VV_CORRUPT)
        node_note_corrupt(srv_call_ctx(call), message);
    vv_buf_init(&out, ANSWER_MAX);
    if (as == PROTOBUF) {
        wire_put_int(&out, 1, code);
        wire_put_text(&out, 2, vv_slice_str(message));
    } else {
        vv_buf_printf(&out, "{\"code\":%d,\"message\":", code);
        json_put_string(&out, vv_slice_str(message));
        vv_buf_append_str(&out, "}\n");
    }
    srv_call_reply(call, http_of(st, as), as == PROTOBUF ? PROTOBUF_TYPE : JSON_TYPE, &out,
                   is_transient(st) ? RETRY_HEADER : NULL);
    vv_buf_fini(&out);
}

void svc_otlp_refuse(srv_call *call, vv_status st, const char *message)
{
    const encoding as = encoding_of(call);
    if (as != GRPC) {
        refuse_http(call, as, st, message);
    } else if (is_transient(st)) {
        srv_call_trailer(call, "grpc-status-details-bin", RETRY_DETAILS);
        srv_call_finish_grpc(call, GRPC_UNAVAILABLE, message);
    } else {
        srv_call_finish(call, st, message);
    }
}
