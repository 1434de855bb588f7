/*
 * svc_tier_figures.c - the figures of the object store: what was asked of it, how long it took, and
 * what went wrong by its cause.
 */
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_figures.h"
#include "server/svc_tier.h"

static void per_op(vv_buf *out, const char *name, const char *type, const char *help,
                   const vv_object_stats *s, size_t field)
{
    fig_head(out, name, type, help);
    for (int op = 0; op < VV_OBJECT_OP_COUNT; op++) {
        uint64_t value;
        memcpy(&value, (const char *)&s->op[op] + field, sizeof value);
        vv_buf_printf(out, "%s{op=\"%s\"} %" PRIu64 "\n", name, vv_object_op_name((vv_object_op)op),
                      value);
    }
}

#define OP_FIELD(f) offsetof(vv_object_op_stats, f)

static void times(vv_buf *out, const vv_object_stats *s)
{
    static const char name[] = "varve_object_request_seconds";
    fig_head(out, name, "summary", "Time of a try at the object store.");
    for (int op = 0; op < VV_OBJECT_OP_COUNT; op++) {
        const vv_object_op_stats *o = &s->op[op];
        const char *text = vv_object_op_name((vv_object_op)op);
        vv_buf_printf(out,
                      "%s{op=\"%s\",quantile=\"0.5\"} %.9g\n%s{op=\"%s\",quantile=\"0.99\"} %.9g\n"
                      "%s_sum{op=\"%s\"} %.9g\n%s_count{op=\"%s\"} %" PRIu64 "\n",
                      name, text, fig_seconds(o->p50_ns), name, text, fig_seconds(o->p99_ns), name,
                      text, fig_seconds(o->sum_ns), name, text, o->requests);
    }
}

static void calls(vv_buf *out, const vv_object_stats *s)
{
    const char *faults[VV_OBJECT_FAULT_COUNT];
    for (int i = 0; i < VV_OBJECT_FAULT_COUNT; i++)
        faults[i] = vv_object_fault_name((vv_object_fault)i);
    per_op(out, "varve_object_calls_total", "counter", "Calls to the object store, with retries.",
           s, OP_FIELD(calls));
    per_op(out, "varve_object_failures_total", "counter", "Of them, those that failed.", s,
           OP_FIELD(failures));
    per_op(out, "varve_object_requests_total", "counter", "Tries at the object store.", s,
           OP_FIELD(requests));
    per_op(out, "varve_object_transferred_bytes_total", "counter", "Bytes of content moved.", s,
           OP_FIELD(bytes));
    times(out, s);
    fig_family(out, "varve_object_faults_total", "counter", "Failed tries, by their cause.",
               &(fig_labels){.label = "fault", .names = faults, .first = 1}, s->faults,
               VV_OBJECT_FAULT_COUNT);
    fig_counter(out, "varve_object_retries_total", "Tries after the first.", (double)s->retries);
    fig_counter(out, "varve_object_hedges_total", "Reads that were asked twice.",
                (double)s->hedges);
}

void svc_tier_figures(node *n, vv_buf *out)
{
    svc_tier_state state;
    vv_object_stats s = {.size = sizeof s};
    if (!svc_tier_state_read(n, &state))
        return;
    vv_object_store_stats(svc_tier_store(n), &s);
    calls(out, &s);
    fig_gauge(out, "varve_object_reachable",
              "1 when the object store answered since the start, and its last call did not fail.",
              state.has_answered && s.consecutive_failures == 0);
    fig_gauge(out, "varve_object_consecutive_failures", "Calls failed since the last success.",
              s.consecutive_failures);
    fig_gauge(out, "varve_object_last_success_timestamp_seconds", "Since 1970; 0: never.",
              (double)s.last_success_ns / 1e9);
    fig_gauge(out, "varve_object_in_flight", "Calls at the object store now.", s.in_flight);
    fig_gauge(out, "varve_object_waiting", "Calls that wait for storage.concurrency.", s.waiting);
    fig_gauge(out, "varve_object_breaker_state",
              "Circuit breaker: 0 closed, 1 open, 2 one call is trying.", s.breaker_state);
    fig_counter(out, "varve_object_breaker_opens_total", "Times it opened.",
                (double)s.breaker_opens);
    fig_counter(out, "varve_object_breaker_refused_total", "Calls it answered.",
                (double)s.breaker_refused);
}

static void put_ops(vv_buf *json, const vv_object_stats *s)
{
    bool is_first = true;
    vv_buf_append_str(json, ",\"operations\":{");
    for (int op = 0; op < VV_OBJECT_OP_COUNT; op++) {
        const vv_object_op_stats *o = &s->op[op];
        if (o->requests == 0)
            continue;
        vv_buf_printf(json,
                      "%s\"%s\":{\"calls\":%" PRIu64 ",\"failures\":%" PRIu64
                      ",\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64
                      ",\"p50Seconds\":%.6f,\"p99Seconds\":%.6f,\"maxSeconds\":%.6f}",
                      is_first ? "" : ",", vv_object_op_name((vv_object_op)op), o->calls,
                      o->failures, o->requests, o->bytes, fig_seconds(o->p50_ns),
                      fig_seconds(o->p99_ns), fig_seconds(o->max_ns));
        is_first = false;
    }
    vv_buf_append_str(json, "},\"faults\":{");
    is_first = true;
    for (int i = 1; i < VV_OBJECT_FAULT_COUNT; i++) {
        if (s->faults[i] == 0)
            continue;
        vv_buf_printf(json, "%s\"%s\":%" PRIu64, is_first ? "" : ",",
                      vv_object_fault_name((vv_object_fault)i), s->faults[i]);
        is_first = false;
    }
    vv_buf_append_u8(json, '}');
}

void svc_tier_put_state(node *n, vv_buf *json)
{
    static const char *const breaker[] = {"closed", "open", "trying"};
    svc_tier_state state;
    vv_object_stats s = {.size = sizeof s};
    if (!svc_tier_state_read(n, &state)) {
        vv_buf_append_str(json, "\"objectStore\":null");
        return;
    }
    vv_object_store_stats(svc_tier_store(n), &s);
    vv_buf_append_str(json, "\"objectStore\":{\"name\":");
    json_put_string(json, vv_slice_str(state.name));
    vv_buf_printf(json, ",\"hasAnswered\":%s,\"error\":", state.has_answered ? "true" : "false");
    json_put_string(json, vv_slice_str(state.why));
    vv_buf_printf(json,
                  ",\"consecutiveFailures\":%" PRIu32 ",\"retries\":%" PRIu64
                  ",\"inFlight\":%" PRIu32 ",\"waiting\":%" PRIu32 ",\"breaker\":\"%s\"",
                  s.consecutive_failures, s.retries, s.in_flight, s.waiting,
                  s.breaker_state < ARRAY_LEN(breaker) ? breaker[s.breaker_state] : "unknown");
    put_ops(json, &s);
    vv_buf_append_u8(json, '}');
}
