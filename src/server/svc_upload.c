/*
 * svc_upload.c - see svc_upload.h.
 */
#include "server/svc_upload.h"

#include <inttypes.h>
#include <stdio.h>

#include "query/struct_json.h"
#include "server/svc_figures.h"
#include "varve/tier.h"

bool svc_upload_is_ready(node *n, char *why, size_t why_len)
{
    vv_tier_stats s = {.size = sizeof s};
    why[0] = '\0';
    vv_tier_stats_read(n->db, &s);
    if (!s.has_store || s.healthy)
        return true;
    (void)snprintf(why, why_len,
                   "%" PRIu32 " uploads to the object store failed in a row, messages wait in the "
                   "local log: %s",
                   s.consecutive_failures, s.last_error);
    return false;
}

static double age(const node *n, int64_t since_ns)
{
    int64_t now = vv_clock_wall(n->env.clock);
    return since_ns == 0 || since_ns > now ? 0 : (double)(now - since_ns) / 1e9;
}

static void batches(vv_buf *out, const node *n, const vv_tier_stats *s)
{
    fig_gauge(out, "varve_tier_waiting_messages", "Messages that are not in the object store.",
              (double)s->waiting_messages);
    fig_gauge(out, "varve_tier_waiting_bytes", "Their bytes.", (double)s->waiting_bytes);
    fig_gauge(out, "varve_tier_lag_seconds", "Age of the oldest of them.",
              age(n, s->oldest_waiting_ns));
    fig_counter(out, "varve_tier_batches_total", "Batches that were cut.", (double)s->intents);
    fig_gauge(out, "varve_tier_batch_age_p99_seconds",
              "Age of the oldest message when its batch was stored, of 99 in 100 batches.",
              fig_seconds(s->batch_age_p99_ns));
}

static void uploads(vv_buf *out, const vv_tier_stats *s)
{
    fig_gauge(out, "varve_tier_uploading", "Objects on their way now.", s->uploading);
    fig_counter(out, "varve_tier_objects_total", "Objects stored.", (double)s->stored);
    fig_counter(out, "varve_tier_messages_total", "Messages in them.", (double)s->stored_messages);
    fig_counter(out, "varve_tier_stored_bytes_total", "Bytes of them, as stored.",
                (double)s->stored_bytes);
    fig_counter(out, "varve_tier_raw_bytes_total", "Bytes of the messages in them.",
                (double)s->raw_bytes);
    fig_counter(out, "varve_tier_failures_total", "Uploads that failed.", (double)s->failed);
    fig_counter(out, "varve_tier_work_failures_total",
                "Work on archived messages that failed for another cause than an upload.",
                (double)s->work_failed);
    fig_counter(out, "varve_tier_conflicts_total",
                "Names that something else had: the batch got another one.", (double)s->conflicts);
    fig_counter(out, "varve_tier_settled_total",
                "Objects that were there already, and were proved to be ours.", (double)s->settled);
    fig_gauge(out, "varve_tier_consecutive_failures", "Of them, those since the last success.",
              s->consecutive_failures);
    fig_gauge(out, "varve_tier_healthy",
              "0 after processing.failures_max uploads failed in a row: /ready says no.",
              s->healthy ? 1 : 0);
    fig_gauge(out, "varve_tier_last_success_timestamp_seconds", "Since 1970; 0: never.",
              (double)s->last_success_ns / 1e9);
    fig_head(out, "varve_tier_upload_seconds", "summary", "Time of an upload with its retries.");
    vv_buf_printf(out,
                  "varve_tier_upload_seconds{quantile=\"0.5\"} %.9g\n"
                  "varve_tier_upload_seconds{quantile=\"0.99\"} %.9g\n"
                  "varve_tier_upload_seconds_count %" PRIu64 "\n",
                  fig_seconds(s->upload_p50_ns), fig_seconds(s->upload_p99_ns), s->stored);
}

static void upkeep(vv_buf *out, const vv_tier_stats *s)
{
    fig_counter(out, "varve_tier_merged_total", "Objects that became part of a larger one.",
                (double)s->merged);
    fig_counter(out, "varve_tier_removed_total", "Objects removed.", (double)s->removed);
    fig_counter(out, "varve_tier_removals_failed_total",
                "Tries to remove an object that nothing refers to any more, and failed.",
                (double)s->removals_failed);
    fig_counter(out, "varve_tier_cache_hits_total", "Blocks of objects found on the disk.",
                (double)s->cache_hits);
    fig_counter(out, "varve_tier_cache_misses_total", "Blocks read from the object store.",
                (double)s->cache_misses);
    fig_gauge(out, "varve_tier_cache_size_bytes", "Bytes of the disk they take.",
              (double)s->cache_bytes);
    fig_gauge(out, "varve_tier_runs", "Runs in the object store.", (double)s->remote_runs);
    fig_gauge(out, "varve_tier_run_size_bytes", "Their bytes.", (double)s->remote_run_bytes);
}

void svc_upload_figures(node *n, vv_buf *out)
{
    vv_tier_stats s = {.size = sizeof s};
    vv_tier_stats_read(n->db, &s);
    if (!s.has_store)
        return;
    batches(out, n, &s);
    uploads(out, &s);
    upkeep(out, &s);
}

static void put_upload(const node *n, const vv_tier_stats *s, vv_buf *json)
{
    vv_buf_printf(
        json,
        ",{\"name\":\"upload\",\"healthy\":%s,\"uploading\":%" PRIu32 ",\"objects\":%" PRIu64
        ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"rawBytes\":%" PRIu64
        ",\"failed\":%" PRIu64 ",\"consecutiveFailures\":%" PRIu32
        ",\"p50Seconds\":%.6f,\"p99Seconds\":%.6f,\"merged\":%" PRIu64 ",\"removed\":%" PRIu64
        ",\"lastSuccessAgeSeconds\":%.3f,\"workFailed\":%" PRIu64 ",\"lastError\":",
        s->healthy ? "true" : "false", s->uploading, s->stored, s->stored_messages, s->stored_bytes,
        s->raw_bytes, s->failed, s->consecutive_failures, fig_seconds(s->upload_p50_ns),
        fig_seconds(s->upload_p99_ns), s->merged, s->removed, age(n, s->last_success_ns),
        s->work_failed);
    json_put_string(json, vv_slice_str(s->last_error));
    vv_buf_append_str(json, ",\"lastWorkError\":");
    json_put_string(json, vv_slice_str(s->last_work_error));
    vv_buf_append_u8(json, '}');
}

void svc_upload_put_stages(node *n, vv_buf *json)
{
    vv_tier_stats s = {.size = sizeof s};
    vv_tier_stats_read(n->db, &s);
    if (!s.has_store)
        return;
    vv_buf_printf(json,
                  ",{\"name\":\"batch\",\"waitingMessages\":%" PRIu64 ",\"waitingBytes\":%" PRIu64
                  ",\"lagSeconds\":%.3f,\"batches\":%" PRIu64 ",\"ageP99Seconds\":%.6f}",
                  s.waiting_messages, s.waiting_bytes, age(n, s.oldest_waiting_ns), s.intents,
                  fig_seconds(s.batch_age_p99_ns));
    put_upload(n, &s, json);
}
