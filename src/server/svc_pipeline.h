/*
 * svc_pipeline.h - the state of the way of a message, for those who watch it.
 */
#ifndef VARVE_SERVER_SVC_PIPELINE_H
#define VARVE_SERVER_SVC_PIPELINE_H

#include "server/node.h"

/** What GET /health tells who asks for JSON: {"is_healthy": true}, and with figures last_write
 * (seconds since 1970; 0: none yet), queue_size, total_processed, failed_writes and the reason. */
void svc_pipeline_put_health(node *n, bool with_figures, vv_buf *json);

/** Figures of requests with messages, for /metrics. */
void svc_pipeline_figures(node *n, vv_buf *out);

#endif
