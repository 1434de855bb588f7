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
#include "server/svc_figures.h"
#include "server/svc_nats.h"
#include "server/svc_pipeline.h"
#include "server/svc_push.h"
#include "server/svc_series_write.h"
#include "server/svc_upload.h"
#include "server/svc_util.h"

#define LEVELS ARRAY_LEN(((vv_stats *)NULL)->level_files)

static void by_level(vv_buf *out, const char *name, const char *type, const char *help,
                     const uint64_t values[LEVELS])
{
    fig_family(out, name, type, help, &(fig_labels){.label = "level"}, values, LEVELS);
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
    fig_gauge(out, "varve_memory_limit_bytes", "storage.memory_limit.", (double)s->memory_limit);
    fig_gauge(out, "varve_memory_used_bytes", "Bytes accounted against storage.memory_limit.",
              (double)s->memory_used);
    const char *parts[VV_BUDGET_PARTS];
    for (int i = 0; i < VV_BUDGET_PARTS; i++)
        parts[i] = vv_budget_part_name((vv_budget_part)i);
    fig_family(out, "varve_memory_part_bytes", "gauge", "The same, by part.",
               &(fig_labels){.label = "part", .names = parts}, s->memory_part, VV_BUDGET_PARTS);
}

static void writes(vv_buf *out, const vv_stats *s)
{
    fig_counter(out, "varve_commits_total", "Batches committed.", (double)s->entries_committed);
    fig_counter(out, "varve_operations_total", "Operations committed.", (double)s->operations);
    fig_counter(out, "varve_user_bytes_total", "Key and value bytes committed.",
                (double)s->user_bytes);
    fig_counter(out, "varve_txn_commits_total", "Transactions committed.", (double)s->txn_commits);
    fig_counter(out, "varve_txn_failures_total", "Commits of transactions refused.",
                (double)s->txn_failures);
    fig_counter(out, "varve_conflicts_total", "Writes refused by a condition.",
                (double)s->conflicts);
    fig_counter(out, "varve_duplicates_total", "Retries of producers that changed nothing.",
                (double)s->duplicates);
    fig_counter(out, "varve_throttled_seconds_total", "Time writers were slowed.",
                fig_seconds(s->throttled_ns));
    fig_gauge(out, "varve_write_delay_seconds_per_byte",
              "From one byte written to the next, as writers are held to now; 0: not at all.",
              (double)s->write_delay_ps / 1e12);
    fig_gauge(out, "varve_compaction_debt_bytes",
              "Bytes to move down until every level has its size.", (double)s->compaction_debt);
    fig_counter(out, "varve_stalled_seconds_total", "Time writers waited for room in memtables.",
                fig_seconds(s->stalled_ns));
    fig_counter(out, "varve_groups_apart_total", "Groups of writes applied by several threads.",
                (double)s->groups_apart);
    fig_counter(out, "varve_rollups_total", "Days of series rolled up into minutes and hours.",
                (double)s->rollup_days);
    fig_counter(out, "varve_rollup_repairs_total", "Days rolled up anew because they had changed.",
                (double)s->rollup_repairs);
    fig_counter(out, "varve_rollup_failures_total", "Rollups that failed and are tried again.",
                (double)s->rollup_failures);
    fig_gauge(out, "varve_rollup_dirty_windows",
              "Days of series known to have changed since they were rolled up.",
              (double)s->rollup_dirty);
    fig_gauge(out, "varve_rollup_lag_seconds", "How long the first of them has waited.",
              fig_seconds(s->rollup_lag_ns));
}

static void reads_of_series(vv_buf *out, const vv_stats *s)
{
    fig_counter(out, "varve_series_queries_total", "Queries of series, inner ones included.",
                (double)s->series_queries);
    fig_counter(out, "varve_series_chunks_decoded_total", "Chunks of samples they decoded.",
                (double)s->chunks_decoded);
    fig_counter(out, "varve_series_chunks_summed_total",
                "Chunks that answered by the summary in front of them.", (double)s->chunks_summed);
    fig_counter(out, "varve_rollup_reads_total", "Days of series that were taken from rollups.",
                (double)s->rollup_reads);
    fig_counter(out, "varve_samples_repeated_total",
                "Late samples that were there as they were, and not written again.",
                (double)s->samples_repeated);
}

static void log_and_memtables(vv_buf *out, const vv_stats *s)
{
    fig_counter(out, "varve_log_appended_bytes_total", "Bytes appended to the commit log.",
                (double)s->log_appended_bytes);
    fig_counter(out, "varve_log_written_bytes_total",
                "Bytes written to log segments, with padding.", (double)s->log_written_bytes);
    fig_counter(out, "varve_log_syncs_total", "Durable log writes.", (double)s->log_syncs);
    fig_gauge(out, "varve_log_retained_bytes", "Log that a restart would read.",
              (double)s->log_retained_bytes);
    fig_gauge(out, "varve_log_segments", "Log segments in use.", (double)s->log_segments);
    fig_gauge(out, "varve_memtable_size_bytes", "Bytes in memtables.", (double)s->memtable_bytes);
    fig_gauge(out, "varve_memtables", "Memtables, active and frozen.", (double)s->memtable_count);
}

static void files(vv_buf *out, const vv_stats *s)
{
    fig_gauge(out, "varve_disk_size_bytes", "Bytes of the store's files, the log included.",
              (double)s->disk_bytes);
    fig_counter(out, "varve_flushes_total", "Memtables written out.", (double)s->flushes);
    fig_counter(out, "varve_flush_bytes_total", "Bytes written by flushes.",
                (double)s->flush_bytes);
    fig_counter(out, "varve_compactions_total", "Compactions.", (double)s->compactions);
    fig_counter(out, "varve_compaction_read_bytes_total", "Bytes read by compactions.",
                (double)s->compaction_read_bytes);
    fig_counter(out, "varve_compaction_written_bytes_total", "Bytes written by compactions.",
                (double)s->compaction_write_bytes);
    fig_counter(out, "varve_cache_hits_total", "Blocks found in the cache.", (double)s->cache_hits);
    fig_counter(out, "varve_cache_misses_total", "Blocks read from disk.", (double)s->cache_misses);
    fig_counter(out, "varve_filter_skips_total", "Runs a filter spared a read.",
                (double)s->filter_skips);
    fig_counter(out, "varve_filter_fails_total", "Runs read in vain past their filter.",
                (double)s->filter_fails);
    fig_gauge(out, "varve_index_size_bytes", "Indexes and filters of runs in memory.",
              (double)s->index_bytes);
    fig_gauge(out, "varve_range_deletes", "Range deletions in memtables and runs.",
              (double)s->range_deletes);
    fig_gauge(out, "varve_value_files", "Files of large values.", (double)s->value_files);
    fig_gauge(out, "varve_value_size_bytes", "Their bytes.", (double)s->value_bytes);
    fig_gauge(out, "varve_value_garbage_bytes", "Of them those that nothing refers to.",
              (double)s->value_garbage_bytes);
    fig_counter(out, "varve_bulk_loads_total", "Bulk loads finished.", (double)s->bulk_loads);
    fig_counter(out, "varve_bulk_bytes_total", "Bytes of files they wrote.", (double)s->bulk_bytes);
}

static void by_rank(vv_buf *out, const char *name, const char *help, const uint64_t values[4])
{
    static const char *const ranks[] = {"log", "read", "flush", "compaction"};
    fig_family(out, name, "counter", help, &(fig_labels){.label = "rank", .names = ranks}, values,
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
    fig_gauge(out, "varve_write_amplification_ratio",
              "Bytes written to log and files for each byte of keys and values, since the open.",
              s->write_amplification);
    fig_gauge(out, "varve_tables", "Tables.", (double)s->tables);
    fig_gauge(out, "varve_shards", "Shards.", (double)s->shards);
    fig_gauge(out, "varve_recovery_seconds", "Time the last open took to replay the log.",
              fig_seconds(s->recovery_ns));
    fig_gauge(out, "varve_recovery_entries", "Entries the last open replayed.",
              (double)s->recovery_entries);
    fig_gauge(out, "varve_recovery_cut_bytes", "Unfinished log tail the last open dropped.",
              (double)s->recovery_cut_bytes);
    fig_gauge(out, "varve_failed", "1 when the store latched an error and must be reopened.",
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
    fig_counter(out, "varve_ingest_records_total", "Records acknowledged.", (double)s.records);
    fig_counter(out, "varve_ingest_bytes_total", "Bytes of the messages they came in.",
                (double)s.bytes);
    fig_counter(out, "varve_ingest_failed_total", "Records refused.", (double)s.failed);
    fig_counter(out, "varve_ingest_messages_total", "Messages received.", (double)s.messages);
    fig_counter(out, "varve_ingest_batches_total", "Batches written to the store.",
                (double)s.batches);
    fig_gauge(out, "varve_ingest_records_per_second", "Acknowledged, over the last ten seconds.",
              s.records_per_s);
    fig_gauge(out, "varve_ingest_pending_records", "Received and not yet acknowledged.",
              (double)s.pending);
    fig_gauge(out, "varve_ingest_queue_size_bytes", "Messages inside the pipeline.",
              (double)s.queue_bytes);
    fig_gauge(out, "varve_ingest_queue_limit_bytes", "ingest.queue_size.", (double)s.queue_limit);
    fig_gauge(out, "varve_ingest_waiting_bytes", "Messages held outside the pipeline's bound.",
              (double)s.waiting_bytes);
    fig_gauge(out, "varve_ingest_streams", "Open ingest streams.", (double)s.streams);
    fig_histogram(out, "varve_ingest_seconds", "From receiving a message to its acknowledgement.",
                  ingest_latency(n->pipeline));
}

static void feed(vv_buf *out, const node *n)
{
    feed_stats s;
    if (!svc_nats_stats(n, &s))
        return;
    fig_gauge(out, "varve_nats_connected", "1 while the stream is open.", s.is_connected ? 1 : 0);
    fig_gauge(out, "varve_nats_lag_messages", "Messages of the stream that were not fetched yet.",
              (double)s.waiting);
    fig_gauge(out, "varve_nats_messages_per_second",
              "Messages taken in, over the last ten seconds.", s.per_second);
    fig_gauge(out, "varve_nats_sequence", "Sequence up to which the stream is taken in.",
              (double)s.sequence);
    fig_counter(out, "varve_nats_messages_total", "Messages taken in, dead letters included.",
                (double)s.messages);
    fig_counter(out, "varve_nats_bytes_total", "Bytes of their payloads.", (double)s.bytes);
    fig_counter(out, "varve_nats_samples_total", "Samples written.", (double)s.accepted);
    fig_counter(out, "varve_nats_batches_total", "Entries they were written in.",
                (double)s.batches);
    fig_counter(out, "varve_nats_refused_total", "Samples outside of the table's bounds.",
                (double)s.refused);
    fig_counter(out, "varve_nats_redelivered_total", "Messages that came again and were skipped.",
                (double)s.redelivered);
    fig_counter(out, "varve_nats_poison_total", "Messages put among the dead letters.",
                (double)s.poison);
    fig_counter(out, "varve_nats_expired_total",
                "Messages the stream let go before they were read.", (double)s.expired);
    fig_counter(out, "varve_nats_dropped_total", "Messages a core subscription was too slow for.",
                (double)s.dropped);
    fig_counter(out, "varve_nats_sessions_total", "Times the stream was opened.",
                (double)s.sessions);
    fig_counter(out, "varve_nats_failures_total", "Sessions that ended, writes done again.",
                (double)s.failures);
    fig_counter(out, "varve_nats_resyncs_total",
                "Deliveries that were missing and asked for again.", (double)s.resyncs);
}

static void transport(vv_buf *out, node *n)
{
    srv_stats s;
    srv_stats_read(n->server, &s);
    fig_gauge(out, "varve_connections", "Open connections.", (double)s.connections);
    fig_counter(out, "varve_connections_total", "Connections accepted.",
                (double)s.connections_total);
    fig_counter(out, "varve_connections_refused_total", "Connections over server.max_connections.",
                (double)s.connections_refused);
    fig_gauge(out, "varve_calls", "Open calls.", (double)s.calls);
    fig_counter(out, "varve_calls_total", "Calls received.", (double)s.calls_total);
    fig_counter(out, "varve_network_received_bytes_total", "Bytes received.", (double)s.bytes_in);
    fig_counter(out, "varve_network_sent_bytes_total", "Bytes sent.", (double)s.bytes_out);
    fig_counter(out, "varve_calls_cancelled_total", "Calls reset by the client.", (double)s.resets);
    fig_counter(out, "varve_protocol_errors_total", "Connections ended for breaking the protocol.",
                (double)s.protocol_errors);
    fig_counter(out, "varve_deadline_exceeded_total", "Calls whose deadline passed.",
                (double)s.deadline_exceeded);
    fig_family(out, "varve_grpc_finished_total", "counter", "gRPC calls finished, by status code.",
               &(fig_labels){.label = "code"}, s.status, ARRAY_LEN(s.status));
    fig_family(out, "varve_http_finished_total", "counter", "HTTP calls finished, by status class.",
               &(fig_labels){.label = "class", .first = 1, .suffix = "xx"}, s.http_status,
               ARRAY_LEN(s.http_status));
}

static void process(vv_buf *out, node *n)
{
    env_process_stats s;
    env_process_stats_read(&s);
    fig_gauge(out, "process_resident_memory_bytes", "Resident memory.", (double)s.rss_bytes);
    fig_counter(out, "process_cpu_seconds_total", "User and system CPU time.",
                fig_seconds(s.cpu_ns));
    fig_gauge(out, "process_huge_page_bytes", "Of it, in huge pages.", (double)s.huge_bytes);
    fig_gauge(out, "process_open_fds", "Open file descriptors.", (double)s.open_fds);
    fig_gauge(out, "process_max_fds", "Limit of file descriptors.", (double)s.max_fds);
    fig_gauge(out, "process_threads", "Threads.", (double)s.threads);
    fig_gauge(out, "process_start_time_seconds", "Start of the process since 1970.",
              (double)s.start_wall_ns / 1e9);
    fig_head(out, "varve_build_info", "gauge", "1, labelled with the version.");
    vv_buf_printf(out, "varve_build_info{version=\"%s\"} 1\n", vv_version());
    char why[NODE_WHY_MAX];
    fig_gauge(out, "varve_ready", "1 when /ready answers 200.",
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
    fig_counter(out, "varve_series_requests_total", "Requests with samples.", (double)f.requests);
    fig_counter(out, "varve_samples_total", "Samples acknowledged.", (double)f.accepted);
    fig_counter(out, "varve_samples_refused_total",
                "Samples, or lines of them, that were left out of what was stored.",
                (double)f.refused);
    fig_counter(out, "varve_samples_late_total", "Samples behind the out-of-order window.",
                (double)f.late);
    fig_counter(out, "varve_series_created_total", "Series that requests brought into being.",
                (double)f.created);
    fig_head(out, "varve_series", "gauge", "Series of a tenant.");
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
    svc_pipeline_figures(n, out);
    svc_stream_figures(n, out);
    svc_upload_figures(n, out);
    svc_tier_figures(n, out);
    svc_log_figures(n, out);
    svc_push_figures(n, out);
    transport(out, n);
    fig_counter(out, "varve_queries_total", "Queries answered.",
                (double)atomic_load_explicit(&n->queries_total, memory_order_relaxed));
    fig_counter(out, "varve_corruption_total", "Answers that met damage in the store.",
                (double)atomic_load_explicit(&n->corrupt_total, memory_order_relaxed));
    fig_gauge(out, "varve_writes_stalled", "1 while a full disk refuses writes.",
              node_is_stalled(n));
    fig_histogram(out, "varve_get_seconds", "GetRecord and Kv.Get.", &n->get_ns);
    fig_histogram(out, "varve_put_seconds", "Kv.Put, to its acknowledgement.", &n->put_ns);
    fig_histogram(out, "varve_query_seconds", "Query and QueryStream.", &n->query_ns);
}

static void answer(void *call)
{
    svc_page_answer(call, svc_metrics_text, "text/plain; version=0.0.4; charset=utf-8", NULL);
}

static void metrics(srv_call *call, srv_message msg)
{
    svc_page_submit(call, msg, answer);
}

size_t svc_metrics_methods(node *n, srv_method *out, size_t max)
{
    assert(max >= 1);
    (void)max;
    out[0] = (srv_method){
        .kind = SRV_HTTP, .verb = "GET", .path = "/metrics", .ctx = n, .message = metrics};
    return 1;
}
