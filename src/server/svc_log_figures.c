/*
 * svc_log_figures.c - what the sinks of the event log took, and what they did not.
 */
#include <inttypes.h>

#include "query/struct_json.h"
#include "server/evlog.h"
#include "server/svc_figures.h"

static void per_sink(vv_buf *out, const char *name, const char *type, const char *help,
                     const evlog_stats *s, uint64_t (*value)(const evlog_sink_stats *sink))
{
    fig_head(out, name, type, help);
    for (unsigned i = 0; i < EVLOG_KINDS; i++)
        if (s->sink[i].is_on)
            vv_buf_printf(out, "%s{sink=\"%s\"} %" PRIu64 "\n", name, evlog_kind_name(i),
                          value(&s->sink[i]));
}

static uint64_t lines(const evlog_sink_stats *s)
{
    return s->lines;
}

static uint64_t lost(const evlog_sink_stats *s)
{
    return s->lost;
}

static uint64_t queued(const evlog_sink_stats *s)
{
    return s->queued_bytes;
}

static uint64_t failing(const evlog_sink_stats *s)
{
    return s->is_failing;
}

void svc_log_figures(const node *n, vv_buf *out)
{
    evlog *e = evlog_of(n->log);
    evlog_stats s;
    if (e == NULL)
        return;
    evlog_stats_read(e, &s);
    per_sink(out, "varve_log_lines_total", "counter", "Lines that a sink of the event log took.",
             &s, lines);
    per_sink(out, "varve_log_lost_lines_total", "counter",
             "Lines left out because its queue was full, or because it would not take them.", &s,
             lost);
    per_sink(out, "varve_log_queue_size_bytes", "gauge", "Bytes of lines that wait for it.", &s,
             queued);
    per_sink(out, "varve_log_failing", "gauge", "1 while it fails.", &s, failing);
    fig_counter(out, "varve_log_repeats_total", "Lines over log.rate_limit.", (double)s.left_out);
}

void svc_log_put_state(const node *n, vv_buf *json)
{
    evlog *e = evlog_of(n->log);
    evlog_stats s = {0};
    bool is_first = true;
    if (e != NULL)
        evlog_stats_read(e, &s);
    vv_buf_printf(json, "\"log\":{\"repeatsLeftOut\":%" PRIu64 ",\"sinks\":[", s.left_out);
    for (unsigned i = 0; i < EVLOG_KINDS; i++) {
        const evlog_sink_stats *k = &s.sink[i];
        if (!k->is_on)
            continue;
        vv_buf_printf(json,
                      "%s{\"name\":\"%s\",\"lines\":%" PRIu64 ",\"lost\":%" PRIu64
                      ",\"queueBytes\":%" PRIu64 ",\"failing\":%s,\"error\":",
                      is_first ? "" : ",", evlog_kind_name(i), k->lines, k->lost, k->queued_bytes,
                      k->is_failing ? "true" : "false");
        json_put_string(json, vv_slice_str(k->error));
        vv_buf_append_u8(json, '}');
        is_first = false;
    }
    vv_buf_append_str(json, "]}");
}
