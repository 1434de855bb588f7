/*
 * svc_push.h - the figures of /metrics, sent to a collector as OTLP/HTTP: metrics.push_endpoint.
 *
 * Counters, histograms and summaries are cumulative since the start of the process, so a push that
 * fails loses nothing but its own point in time: it is counted, and the next one is sent when it is
 * due.
 *
 * Threads: vv-push.
 */
#ifndef VARVE_SERVER_SVC_PUSH_H
#define VARVE_SERVER_SVC_PUSH_H

#include "server/config.h"
#include "server/node.h"

/** Nothing without metrics.push_endpoint. VV_UNSUPPORTED: this machine has no libcurl. Borrows c.
 */
VV_MUST_CHECK vv_status svc_push_start(node *n, const config *c, vv_error *err);
/** Ends a push that is under way; before the listeners, whose figures it sends. */
void svc_push_stop(node *n);
/** After the listeners and the pool, which ask for its own figures. */
void svc_push_close(node *n);
/** For /metrics. */
void svc_push_figures(const node *n, vv_buf *out);

/** An ExportMetricsServiceRequest out of the Prometheus text of this server: families whole, in one
 * piece each, the samples of one histogram or summary one after the other. VV_INVALID names the
 * line that is no such text. */
VV_MUST_CHECK vv_status svc_push_encode(vv_slice text, int64_t start_ns, int64_t now_ns,
                                        vv_buf *out, vv_error *err);

#endif
