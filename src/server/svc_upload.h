/*
 * svc_upload.h - how far the messages of streams are on their way to the object store, as the
 * store's tier tells it (vv_tier_stats).
 */
#ifndef VARVE_SERVER_SVC_UPLOAD_H
#define VARVE_SERVER_SVC_UPLOAD_H

#include "server/node.h"

/** False, and why: too many uploads failed in a row. */
bool svc_upload_is_ready(node *n, char *why, size_t why_len);
/** For /metrics. */
void svc_upload_figures(node *n, vv_buf *out);
/** The stages "batch" and "upload" of /api/v1/pipeline, with a comma before each. */
void svc_upload_put_stages(node *n, vv_buf *json);

#endif
