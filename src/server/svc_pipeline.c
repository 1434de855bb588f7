/*
 * svc_pipeline.c - GET /api/v1/pipeline: where messages are on their way, stage by stage, as JSON;
 * and the figures that GET /health has for who asks for JSON.
 *
 *     accept -> extract -> append -> batch -> upload
 */
#include "server/svc_pipeline.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ingest/ingest.h"
#include "ingest/ingest_message.h"
#include "query/struct_json.h"
#include "server/svc_figures.h"
#include "server/svc_upload.h"
#include "server/svc_util.h"

static void put_accept(node *n, vv_buf *json)
{
    ingest_stats s;
    ingest_stats_read(n->pipeline, vv_slice_of(NULL, 0), &s);
    vv_buf_printf(json,
                  "{\"name\":\"accept\",\"records\":%" PRIu64 ",\"failed\":%" PRIu64
                  ",\"pending\":%" PRIu64 ",\"queueBytes\":%" PRIu64 ",\"queueLimitBytes\":%" PRIu64
                  ",\"waitingBytes\":%" PRIu64 ",\"perSecond\":%.1f}",
                  (uint64_t)s.records, (uint64_t)s.failed, (uint64_t)s.pending,
                  (uint64_t)s.queue_bytes, (uint64_t)s.queue_limit, (uint64_t)s.waiting_bytes,
                  s.records_per_s);
}

/* Requests with messages of streams: decoded, and the rules of their table applied. */
static void put_extract(node *n, vv_buf *json)
{
    ingest_messages_stats s;
    if (n->messages == NULL)
        return;
    ingest_messages_stats_read(n->messages, &s);
    vv_buf_printf(json,
                  ",{\"name\":\"extract\",\"requests\":%" PRIu64 ",\"refused\":%" PRIu64
                  ",\"retried\":%" PRIu64 ",\"waiting\":%" PRIu64 ",\"waitingBytes\":%" PRIu64
                  ",\"oldestSeconds\":%.6f,\"inside\":%" PRIu64 ",\"insideBytes\":%" PRIu64
                  ",\"limitBytes\":%" PRIu64 "}",
                  s.taken, s.refused, s.retried, s.waiting, s.waiting_bytes,
                  (double)s.oldest_ns / 1e9, s.inside, s.inside_bytes, s.limit_bytes);
}

void svc_pipeline_figures(node *n, vv_buf *out)
{
    ingest_messages_stats s;
    if (n->messages == NULL)
        return;
    ingest_messages_stats_read(n->messages, &s);
    fig_counter(out, "varve_message_requests_total", "Requests with messages of streams.",
                (double)s.taken);
    fig_counter(out, "varve_message_refused_total", "Of them, those that were refused.",
                (double)s.refused);
    fig_counter(out, "varve_message_retried_total", "Runs that were done again.",
                (double)s.retried);
    fig_gauge(out, "varve_message_waiting", "Requests that no worker has yet.", (double)s.waiting);
    fig_gauge(out, "varve_message_queue_size_bytes", "Their bytes.", (double)s.waiting_bytes);
    fig_gauge(out, "varve_message_oldest_seconds", "How long the oldest of them waits.",
              (double)s.oldest_ns / 1e9);
    fig_gauge(out, "varve_message_inside_bytes", "Bytes with workers and on their way.",
              (double)s.inside_bytes);
    fig_gauge(out, "varve_message_inside_limit_bytes", "What may be inside.",
              (double)s.limit_bytes);
    fig_histogram(out, "varve_message_extract_seconds", "Decoding, and the rules of the table.",
                  ingest_messages_run_time(n->messages));
    fig_histogram(out, "varve_message_seconds", "From receiving a request to its end.",
                  ingest_messages_latency(n->messages));
}

static void put_append(node *n, vv_buf *json)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(n->db, &s);
    vv_buf_printf(json,
                  ",{\"name\":\"append\",\"batches\":%" PRIu64 ",\"operations\":%" PRIu64
                  ",\"bytes\":%" PRIu64 ",\"logRetainedBytes\":%" PRIu64
                  ",\"memtableBytes\":%" PRIu64 ",\"stalled\":%s,\"failed\":%s}",
                  (uint64_t)s.entries_committed, (uint64_t)s.operations, (uint64_t)s.user_bytes,
                  (uint64_t)s.log_retained_bytes, (uint64_t)s.memtable_bytes,
                  node_is_stalled(n) ? "true" : "false", s.failed ? "true" : "false");
}

static void put_pipeline(node *n, vv_buf *json)
{
    char why[NODE_WHY_MAX];
    bool ready = node_is_ready(n, why, sizeof why);
    vv_buf_printf(json, "{\"ready\":%s,\"reason\":", ready ? "true" : "false");
    json_put_string(json, vv_slice_str(why));
    vv_buf_append_str(json, ",\"stages\":[");
    put_accept(n, json);
    put_extract(n, json);
    put_append(n, json);
    svc_upload_put_stages(n, json);
    vv_buf_append_str(json, "],");
    svc_tier_put_state(n, json);
    vv_buf_append_u8(json, ',');
    svc_stream_put_state(n, json);
    vv_buf_append_u8(json, ',');
    svc_log_put_state(n, json);
    vv_buf_append_str(json, "}\n");
}

static void answer(void *call)
{
    svc_page_answer(call, put_pipeline, "application/json", "Cache-Control: no-store");
}

static void pipeline_message(srv_call *call, srv_message msg)
{
    svc_page_submit(call, msg, answer);
}

void svc_pipeline_put_health(node *n, bool with_figures, vv_buf *json)
{
    char why[NODE_WHY_MAX];
    bool healthy = node_is_ready(n, why, sizeof why);
    vv_buf_printf(json, "{\"is_healthy\":%s", healthy ? "true" : "false");
    if (with_figures) {
        ingest_stats s;
        vv_stats db = {.size = sizeof db};
        ingest_stats_read(n->pipeline, vv_slice_of(NULL, 0), &s);
        vv_stats_read(n->db, &db);
        vv_buf_printf(json,
                      ",\"last_write\":%.3f,\"queue_size\":%" PRIu64 ",\"total_processed\":%" PRIu64
                      ",\"failed_writes\":%" PRIu64 ",\"reason\":",
                      (double)node_last_write_ns(n) / 1e9, (uint64_t)s.pending,
                      (uint64_t)db.operations, (uint64_t)atomic_load(&n->writes_failed));
        json_put_string(json, vv_slice_str(why));
    }
    vv_buf_append_str(json, "}\n");
}

size_t svc_pipeline_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        {.kind = SRV_HTTP,
         .verb = "GET",
         .path = "/api/v1/pipeline",
         .message_max = 65536,
         .message = pipeline_message},
    };
    return svc_add_methods(methods, sizeof methods / sizeof methods[0], n, out, max);
}
