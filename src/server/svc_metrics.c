/*
 * svc_metrics.c - /metrics in the Prometheus text format 0.0.4: base units, one HELP and TYPE a
 * family, counters end in _total. Checked by `promtool check metrics` in the tests.
 *
 * The figures are read without locks of their own: a scrape gives a recent state, not a snapshot.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "ingest/ingest.h"
#include "server/node.h"
#include "server/svc_nats.h"
#include "server/svc_series_write.h"
#include "server/svc_util.h"

#define METRICS_MAX (256u * 1024)

static void head(vv_buf *out, const char *name, const char *type, const char *help)
{
    vv_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void figure(vv_buf *out, const char *name, const char *type, const char *help, double value)
{
    head(out, name, type, help);
    vv_buf_printf(out, "%s %.17g\n", name, value);
}

static void gauge(vv_buf *out, const char *name, const char *help, double value)
{
    figure(out, name, "gauge", help, value);
}

static void counter(vv_buf *out, const char *name, const char *help, double value)
{
    figure(out, name, "counter", help, value);
}

/* What a family of figures has in braces, and how its values are called: by their place when there
 * are no names. */
typedef struct family {
    const char *label;
    const char *const *names;
    size_t first;       /* values before it are left out */
    const char *suffix; /* of a place; NULL: none */
} family;

static void figures(vv_buf *out, const char *name, const char *type, const char *help,
                    const family *by, const uint64_t *values, size_t count)
{
    head(out, name, type, help);
    for (size_t i = by->first; i < count; i++) {
        vv_buf_printf(out, "%s{%s=\"", name, by->label);
        if (by->names != NULL)
            vv_buf_append_str(out, by->names[i]);
        else
            vv_buf_printf(out, "%zu%s", i, by->suffix == NULL ? "" : by->suffix);
        vv_buf_printf(out, "\"} %" PRIu64 "\n", values[i]);
    }
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* Cumulative buckets at fixed bounds, so that series of several nodes can be added. */
static void histogram(vv_buf *out, const char *name, const char *help, const vv_hist *h)
{
    static const double bounds[] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                    0.005,   0.01,   0.025,   0.05,   0.1,   0.25,
                                    0.5,     1,      2.5,     5,      10};
    head(out, name, "histogram", help);
    /* Writers go on meanwhile: the total is read first, and no bucket may pass it. */
    uint64_t count = vv_hist_count(h);
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        uint64_t below = vv_hist_count_below(h, (uint64_t)(bounds[i] * 1e9));
        vv_buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds[i],
                      vv_min_u64(below, count));
    }
    vv_buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    vv_buf_printf(out, "%s_sum %.9g\n%s_count %" PRIu64 "\n", name, seconds(vv_hist_sum(h)), name,
                  count);
}

#define LEVELS ARRAY_LEN(((vv_stats *)NULL)->level_files)

static void by_level(vv_buf *out, const char *name, const char *type, const char *help,
                     const uint64_t values[LEVELS])
{
    figures(out, name, type, help, &(family){.label = "level"}, values, LEVELS);
}

static void levels(vv_buf *out, const vv_stats *s)
{
    by_level(out, "varve_level_files", "gauge", "Runs in a level.", s->level_files);
    by_level(out, "varve_level_size_bytes", "gauge", "Bytes of the runs in a level.",
             s->level_bytes);
    by_level(out, "varve_level_reads_total", "counter", "Runs of a level that point reads opened.",
             s->level_reads);
    by_level(out, "varve_level_compaction_read_bytes_total", "counter",
             "Bytes compactions read from a level.", s->level_compaction_read_bytes);
    by_level(out, "varve_level_compaction_written_bytes_total", "counter",
             "Bytes compactions wrote to a level.", s->level_compaction_write_bytes);
}

static void memory(vv_buf *out, const vv_stats *s)
{
    gauge(out, "varve_memory_limit_bytes", "storage.memory_limit.", (double)s->memory_limit);
    gauge(out, "varve_memory_used_bytes", "Bytes accounted against storage.memory_limit.",
          (double)s->memory_used);
    const char *parts[VV_BUDGET_PARTS];
    for (int i = 0; i < VV_BUDGET_PARTS; i++)
        parts[i] = vv_budget_part_name((vv_budget_part)i);
    figures(out, "varve_memory_part_bytes", "gauge", "The same, by part.",
            &(family){.label = "part", .names = parts}, s->memory_part, VV_BUDGET_PARTS);
}

static void writes(vv_buf *out, const vv_stats *s)
{
    counter(out, "varve_commits_total", "Batches committed.", (double)s->entries_committed);
    counter(out, "varve_operations_total", "Operations committed.", (double)s->operations);
    counter(out, "varve_user_bytes_total", "Key and value bytes committed.", (double)s->user_bytes);
    counter(out, "varve_txn_commits_total", "Transactions committed.", (double)s->txn_commits);
    counter(out, "varve_txn_failures_total", "Commits of transactions refused.",
            (double)s->txn_failures);
    counter(out, "varve_conflicts_total", "Writes refused by a condition.", (double)s->conflicts);
    counter(out, "varve_duplicates_total", "Retries of producers that changed nothing.",
            (double)s->duplicates);
    counter(out, "varve_throttled_seconds_total", "Time writers were slowed.",
            seconds(s->throttled_ns));
    gauge(out, "varve_write_delay_seconds_per_byte",
          "From one byte written to the next, as writers are held to now; 0: not at all.",
          (double)s->write_delay_ps / 1e12);
    gauge(out, "varve_compaction_debt_bytes", "Bytes to move down until every level has its size.",
          (double)s->compaction_debt);
    counter(out, "varve_stalled_seconds_total", "Time writers waited for room in memtables.",
            seconds(s->stalled_ns));
    counter(out, "varve_groups_apart_total", "Groups of writes applied by several threads.",
            (double)s->groups_apart);
    counter(out, "varve_rollups_total", "Days of series rolled up into minutes and hours.",
            (double)s->rollup_days);
    counter(out, "varve_rollup_repairs_total", "Days rolled up anew because they had changed.",
            (double)s->rollup_repairs);
    counter(out, "varve_rollup_failures_total", "Rollups that failed and are tried again.",
            (double)s->rollup_failures);
    gauge(out, "varve_rollup_dirty_windows",
          "Days of series known to have changed since they were rolled up.",
          (double)s->rollup_dirty);
    gauge(out, "varve_rollup_lag_seconds", "How long the first of them has waited.",
          seconds(s->rollup_lag_ns));
}

static void reads_of_series(vv_buf *out, const vv_stats *s)
{
    counter(out, "varve_series_queries_total", "Queries of series, inner ones included.",
            (double)s->series_queries);
    counter(out, "varve_series_chunks_decoded_total", "Chunks of samples they decoded.",
            (double)s->chunks_decoded);
    counter(out, "varve_series_chunks_summed_total",
            "Chunks that answered by the summary in front of them.", (double)s->chunks_summed);
    counter(out, "varve_rollup_reads_total", "Days of series that were taken from rollups.",
            (double)s->rollup_reads);
    counter(out, "varve_samples_repeated_total",
            "Late samples that were there as they were, and not written again.",
            (double)s->samples_repeated);
}

static void log_and_memtables(vv_buf *out, const vv_stats *s)
{
    counter(out, "varve_log_appended_bytes_total", "Bytes appended to the commit log.",
            (double)s->log_appended_bytes);
    counter(out, "varve_log_written_bytes_total", "Bytes written to log segments, with padding.",
            (double)s->log_written_bytes);
    counter(out, "varve_log_syncs_total", "Durable log writes.", (double)s->log_syncs);
    gauge(out, "varve_log_retained_bytes", "Log that a restart would read.",
          (double)s->log_retained_bytes);
    gauge(out, "varve_log_segments", "Log segments in use.", (double)s->log_segments);
    gauge(out, "varve_memtable_size_bytes", "Bytes in memtables.", (double)s->memtable_bytes);
    gauge(out, "varve_memtables", "Memtables, active and frozen.", (double)s->memtable_count);
}

static void files(vv_buf *out, const vv_stats *s)
{
    gauge(out, "varve_disk_size_bytes", "Bytes of the store's files, the log included.",
          (double)s->disk_bytes);
    counter(out, "varve_flushes_total", "Memtables written out.", (double)s->flushes);
    counter(out, "varve_flush_bytes_total", "Bytes written by flushes.", (double)s->flush_bytes);
    counter(out, "varve_compactions_total", "Compactions.", (double)s->compactions);
    counter(out, "varve_compaction_read_bytes_total", "Bytes read by compactions.",
            (double)s->compaction_read_bytes);
    counter(out, "varve_compaction_written_bytes_total", "Bytes written by compactions.",
            (double)s->compaction_write_bytes);
    counter(out, "varve_cache_hits_total", "Blocks found in the cache.", (double)s->cache_hits);
    counter(out, "varve_cache_misses_total", "Blocks read from disk.", (double)s->cache_misses);
    counter(out, "varve_filter_skips_total", "Runs a filter spared a read.",
            (double)s->filter_skips);
    counter(out, "varve_filter_fails_total", "Runs read in vain past their filter.",
            (double)s->filter_fails);
    gauge(out, "varve_index_size_bytes", "Indexes and filters of runs in memory.",
          (double)s->index_bytes);
    gauge(out, "varve_range_deletes", "Range deletions in memtables and runs.",
          (double)s->range_deletes);
    gauge(out, "varve_value_files", "Files of large values.", (double)s->value_files);
    gauge(out, "varve_value_size_bytes", "Their bytes.", (double)s->value_bytes);
    gauge(out, "varve_value_garbage_bytes", "Of them those that nothing refers to.",
          (double)s->value_garbage_bytes);
    counter(out, "varve_bulk_loads_total", "Bulk loads finished.", (double)s->bulk_loads);
    counter(out, "varve_bulk_bytes_total", "Bytes of files they wrote.", (double)s->bulk_bytes);
}

static void by_rank(vv_buf *out, const char *name, const char *help, const uint64_t values[4])
{
    static const char *const ranks[] = {"log", "read", "flush", "compaction"};
    figures(out, name, "counter", help, &(family){.label = "rank", .names = ranks}, values,
            ARRAY_LEN(ranks));
}

static void transfers(vv_buf *out, const vv_stats *s)
{
    by_rank(out, "varve_io_transfers_total", "Reads, writes and syncs of files, by their rank.",
            s->io_started);
    by_rank(out, "varve_io_held_back_total", "Of them, those that waited for higher ranks.",
            s->io_held_back);
}

static void whole_store(vv_buf *out, const vv_stats *s)
{
    gauge(out, "varve_write_amplification_ratio",
          "Bytes written to log and files for each byte of keys and values, since the open.",
          s->write_amplification);
    gauge(out, "varve_tables", "Tables.", (double)s->tables);
    gauge(out, "varve_shards", "Shards.", (double)s->shards);
    gauge(out, "varve_recovery_seconds", "Time the last open took to replay the log.",
          seconds(s->recovery_ns));
    gauge(out, "varve_recovery_entries", "Entries the last open replayed.",
          (double)s->recovery_entries);
    gauge(out, "varve_recovery_cut_bytes", "Unfinished log tail the last open dropped.",
          (double)s->recovery_cut_bytes);
    gauge(out, "varve_failed", "1 when the store latched an error and must be reopened.",
          s->failed ? 1 : 0);
}

static void store(vv_buf *out, node *n)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(n->db, &s);
    writes(out, &s);
    reads_of_series(out, &s);
    log_and_memtables(out, &s);
    files(out, &s);
    transfers(out, &s);
    whole_store(out, &s);
    memory(out, &s);
    levels(out, &s);
}

static void pipeline(vv_buf *out, node *n)
{
    ingest_stats s;
    ingest_stats_read(n->pipeline, vv_slice_of(NULL, 0), &s);
    counter(out, "varve_ingest_records_total", "Records acknowledged.", (double)s.records);
    counter(out, "varve_ingest_bytes_total", "Bytes of the messages they came in.",
            (double)s.bytes);
    counter(out, "varve_ingest_failed_total", "Records refused.", (double)s.failed);
    counter(out, "varve_ingest_messages_total", "Messages received.", (double)s.messages);
    counter(out, "varve_ingest_batches_total", "Batches written to the store.", (double)s.batches);
    gauge(out, "varve_ingest_records_per_second", "Acknowledged, over the last ten seconds.",
          s.records_per_s);
    gauge(out, "varve_ingest_pending_records", "Received and not yet acknowledged.",
          (double)s.pending);
    gauge(out, "varve_ingest_queue_size_bytes", "Messages inside the pipeline.",
          (double)s.queue_bytes);
    gauge(out, "varve_ingest_queue_limit_bytes", "ingest.queue_size.", (double)s.queue_limit);
    gauge(out, "varve_ingest_waiting_bytes", "Messages held outside the pipeline's bound.",
          (double)s.waiting_bytes);
    gauge(out, "varve_ingest_streams", "Open ingest streams.", (double)s.streams);
    histogram(out, "varve_ingest_seconds", "From receiving a message to its acknowledgement.",
              ingest_latency(n->pipeline));
}

static void feed(vv_buf *out, const node *n)
{
    feed_stats s;
    if (!svc_nats_stats(n, &s))
        return;
    gauge(out, "varve_nats_connected", "1 while the stream is open.", s.is_connected ? 1 : 0);
    gauge(out, "varve_nats_lag_messages", "Messages of the stream that were not fetched yet.",
          (double)s.waiting);
    gauge(out, "varve_nats_messages_per_second", "Messages taken in, over the last ten seconds.",
          s.per_second);
    gauge(out, "varve_nats_sequence", "Sequence up to which the stream is taken in.",
          (double)s.sequence);
    counter(out, "varve_nats_messages_total", "Messages taken in, dead letters included.",
            (double)s.messages);
    counter(out, "varve_nats_bytes_total", "Bytes of their payloads.", (double)s.bytes);
    counter(out, "varve_nats_samples_total", "Samples written.", (double)s.accepted);
    counter(out, "varve_nats_batches_total", "Entries they were written in.", (double)s.batches);
    counter(out, "varve_nats_refused_total", "Samples outside of the table's bounds.",
            (double)s.refused);
    counter(out, "varve_nats_redelivered_total", "Messages that came again and were skipped.",
            (double)s.redelivered);
    counter(out, "varve_nats_poison_total", "Messages put among the dead letters.",
            (double)s.poison);
    counter(out, "varve_nats_expired_total", "Messages the stream let go before they were read.",
            (double)s.expired);
    counter(out, "varve_nats_dropped_total", "Messages a core subscription was too slow for.",
            (double)s.dropped);
    counter(out, "varve_nats_sessions_total", "Times the stream was opened.", (double)s.sessions);
    counter(out, "varve_nats_failures_total", "Sessions that ended, writes done again.",
            (double)s.failures);
    counter(out, "varve_nats_resyncs_total", "Deliveries that were missing and asked for again.",
            (double)s.resyncs);
}

static void transport(vv_buf *out, node *n)
{
    srv_stats s;
    srv_stats_read(n->server, &s);
    gauge(out, "varve_connections", "Open connections.", (double)s.connections);
    counter(out, "varve_connections_total", "Connections accepted.", (double)s.connections_total);
    counter(out, "varve_connections_refused_total", "Connections over server.max_connections.",
            (double)s.connections_refused);
    gauge(out, "varve_calls", "Open calls.", (double)s.calls);
    counter(out, "varve_calls_total", "Calls received.", (double)s.calls_total);
    counter(out, "varve_network_received_bytes_total", "Bytes received.", (double)s.bytes_in);
    counter(out, "varve_network_sent_bytes_total", "Bytes sent.", (double)s.bytes_out);
    counter(out, "varve_calls_cancelled_total", "Calls reset by the client.", (double)s.resets);
    counter(out, "varve_protocol_errors_total", "Connections ended for breaking the protocol.",
            (double)s.protocol_errors);
    counter(out, "varve_deadline_exceeded_total", "Calls whose deadline passed.",
            (double)s.deadline_exceeded);
    figures(out, "varve_grpc_finished_total", "counter", "gRPC calls finished, by status code.",
            &(family){.label = "code"}, s.status, ARRAY_LEN(s.status));
    figures(out, "varve_http_finished_total", "counter", "HTTP calls finished, by status class.",
            &(family){.label = "class", .first = 1, .suffix = "xx"}, s.http_status,
            ARRAY_LEN(s.http_status));
}

static void process(vv_buf *out, node *n)
{
    env_process_stats s;
    env_process_stats_read(&s);
    gauge(out, "process_resident_memory_bytes", "Resident memory.", (double)s.rss_bytes);
    counter(out, "process_cpu_seconds_total", "User and system CPU time.", seconds(s.cpu_ns));
    gauge(out, "process_huge_page_bytes", "Of it, in huge pages.", (double)s.huge_bytes);
    gauge(out, "process_open_fds", "Open file descriptors.", (double)s.open_fds);
    gauge(out, "process_max_fds", "Limit of file descriptors.", (double)s.max_fds);
    gauge(out, "process_threads", "Threads.", (double)s.threads);
    gauge(out, "process_start_time_seconds", "Start of the process since 1970.",
          (double)s.start_wall_ns / 1e9);
    head(out, "varve_build_info", "gauge", "1, labelled with the version.");
    vv_buf_printf(out, "varve_build_info{version=\"%s\"} 1\n", vv_version());
    char why[160];
    gauge(out, "varve_ready", "1 when /ready answers 200.",
          node_is_ready(n, why, sizeof why) ? 1 : 0);
}

/* The tenants of series tables are seen one after the other. */
typedef struct tenants {
    node *n;
    vv_buf *out;
    char last[VV_NAME_MAX + 1];
} tenants;

static int put_tenant(void *ctx, const vv_table_info *info)
{
    tenants *t = ctx;
    vv_table *table = NULL;
    uint64_t in_table = 0;
    uint64_t of_tenant = 0;
    if (info->kind != VV_TABLE_SERIES || strcmp(info->tenant, t->last) == 0)
        return 0;
    const gate_identity node_itself = {.loopback = true}; /* the scrape is authorized already */
    vv_status st = svc_find_series(t->n, &node_itself, GATE_READ, vv_slice_str(info->tenant),
                                   vv_slice_str(info->name), &table, NULL);
    if (st == VV_OK)
        st = vv_series_count(table, &in_table, &of_tenant, NULL);
    vv_table_close(table);
    if (st != VV_OK)
        return 0;
    (void)snprintf(t->last, sizeof t->last, "%s", info->tenant);
    vv_buf_printf(t->out, "varve_series{tenant=\"%s\"} %" PRIu64 "\n", info->tenant, of_tenant);
    return 0;
}

static void series(vv_buf *out, node *n)
{
    svc_series_figures f;
    tenants t = {.n = n, .out = out};
    svc_series_figures_read(n, &f);
    counter(out, "varve_series_requests_total", "Requests with samples.", (double)f.requests);
    counter(out, "varve_samples_total", "Samples acknowledged.", (double)f.accepted);
    counter(out, "varve_samples_refused_total",
            "Samples, or lines of them, that were left out of what was stored.", (double)f.refused);
    counter(out, "varve_samples_late_total", "Samples behind the out-of-order window.",
            (double)f.late);
    counter(out, "varve_series_created_total", "Series that requests brought into being.",
            (double)f.created);
    head(out, "varve_series", "gauge", "Series of a tenant.");
    vv_status st = vv_table_list_names(n->db, NULL, put_tenant, &t, NULL);
    (void)st; /* what could be counted is there */
}

void svc_metrics_text(node *n, vv_buf *out)
{
    process(out, n);
    store(out, n);
    pipeline(out, n);
    series(out, n);
    feed(out, n);
    transport(out, n);
    counter(out, "varve_queries_total", "Queries answered.",
            (double)atomic_load_explicit(&n->queries_total, memory_order_relaxed));
    counter(out, "varve_corruption_total", "Answers that met damage in the store.",
            (double)atomic_load_explicit(&n->corrupt_total, memory_order_relaxed));
    gauge(out, "varve_writes_stalled", "1 while a full disk refuses writes.", node_is_stalled(n));
    histogram(out, "varve_get_seconds", "GetRecord and Kv.Get.", &n->get_ns);
    histogram(out, "varve_put_seconds", "Kv.Put, to its acknowledgement.", &n->put_ns);
    histogram(out, "varve_query_seconds", "Query and QueryStream.", &n->query_ns);
}

static void metrics(srv_call *call, srv_message msg)
{
    node *n = srv_call_ctx(call);
    const gate_identity who = svc_identity(call);
    const gate_op op = {.kind = GATE_STATUS};
    gate_grant grant;
    vv_error err = {0};
    vv_buf out;
    srv_message_release(&msg);
    vv_buf_init(&out, METRICS_MAX);
    vv_status st = gate_authorize(n->gate, &who, &op, 1, &grant, &err);
    if (st == VV_OK)
        svc_metrics_text(n, &out);
    if (st == VV_OK && out.status != VV_OK)
        st = vv_fail(&err, out.status, "no memory for the figures");
    if (st == VV_OK)
        srv_call_reply(call, 200, "text/plain; version=0.0.4; charset=utf-8", &out, NULL);
    else
        svc_reply_error(call, st, err.msg);
    vv_buf_fini(&out);
}

size_t svc_metrics_methods(node *n, srv_method *out, size_t max)
{
    assert(max >= 1);
    (void)max;
    out[0] = (srv_method){
        .kind = SRV_HTTP, .verb = "GET", .path = "/metrics", .ctx = n, .message = metrics};
    return 1;
}
