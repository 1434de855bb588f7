/*
 * svc_otlp_metrics.c - Export of metrics: data points as samples of the series table, the way of
 * all samples (svc_series_write.h).
 */
#include "base/error.h"
#include "server/svc_message.h"
#include "server/svc_otlp.h"
#include "server/svc_series_write.h"

static vv_status open_metrics(svc_series_write *w, vv_error *err)
{
    w->tenant = srv_call_header(w->call, SVC_OTLP_TENANT);
    svc_series_names(w->n, &w->tenant, &w->table);
    w->durability = VV_DURABLE_SYNC;
    const svc_table_ref ref = {w->tenant, w->table};
    return svc_message_authorize(w->call, &ref, GATE_WRITE, err);
}

/* Called again where the table had to be made: all that it needs comes from the message. */
static vv_status decode_metrics(svc_series_write *w, feed_sink *sink, vv_error *err)
{
    otlp_summary summary;
    vv_slice request = {0};
    vv_status st = svc_otlp_unwrap(w->call, w->msg.data, &w->plain, &w->charge, &request, err);
    if (st == VV_OK)
        st = otlp_check(OTLP_METRICS, request, &summary, err);
    return st == VV_OK ? otlp_metrics_decode(request, sink, &w->read, err) : st;
}

/* Refused samples are told as a partial success: exporters do not send them again. */
static void metrics_settled(svc_series_write *w)
{
    const char *first = "";
    const uint64_t refused = svc_series_refused(w, &first);
    if (w->status == VV_OK || (w->status == VV_BUSY && w->is_partial))
        svc_otlp_answer(w->call, refused, first);
    else
        svc_otlp_refuse(w->call, w->status, w->err.msg);
    svc_series_write_destroy(w);
}

void svc_otlp_metrics_message(srv_call *call, srv_message msg)
{
    static const svc_series_write_ops ops = {open_metrics, decode_metrics, metrics_settled};
    svc_series_write *w = svc_series_write_create(call, msg, &ops);
    if (w == NULL)
        svc_otlp_refuse(call, VV_NO_MEMORY, "no memory for a write");
    else
        svc_series_write_begin(w);
}
