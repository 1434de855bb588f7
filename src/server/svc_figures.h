/*
 * svc_figures.h - figures in the Prometheus text format 0.0.4, for those who have some: one HELP
 * and TYPE a family, base units, counters end in _total.
 */
#ifndef VARVE_SERVER_SVC_FIGURES_H
#define VARVE_SERVER_SVC_FIGURES_H

#include "base/buf.h"
#include "base/hist.h"
#include "server/node.h"

void fig_head(vv_buf *out, const char *name, const char *type, const char *help);
void fig_gauge(vv_buf *out, const char *name, const char *help, double value);
void fig_counter(vv_buf *out, const char *name, const char *help, double value);

/* What a family of figures has in braces, and how its values are called: by their place when there
 * are no names. */
typedef struct fig_labels {
    const char *label;
    const char *const *names;
    size_t first;       /* values before it are left out */
    const char *suffix; /* of a place; NULL: none */
} fig_labels;

void fig_family(vv_buf *out, const char *name, const char *type, const char *help,
                const fig_labels *by, const uint64_t *values, size_t count);
/** Cumulative buckets at fixed bounds, so that series of several nodes can be added. */
void fig_histogram(vv_buf *out, const char *name, const char *help, const vv_hist *h);
double fig_seconds(uint64_t ns);

/* ---- who has some: text for /metrics, and JSON for /api/v1/pipeline ------------------------ */

/* Tables of streams that are told apart, and positions of each; what is beyond is only counted. */
#define FIG_STREAMS_MAX 50u
#define FIG_POSITIONS_MAX 20u

/* svc_stream_figures.c; may wait for the disk */
void svc_stream_figures(node *n, vv_buf *out);
void svc_stream_put_state(node *n, vv_buf *json);
/* svc_log_figures.c */
void svc_log_figures(const node *n, vv_buf *out);
void svc_log_put_state(const node *n, vv_buf *json);
/* svc_tier_figures.c */
void svc_tier_figures(node *n, vv_buf *out);
void svc_tier_put_state(node *n, vv_buf *json);

#endif
