/*
 * svc_prom.h - shared by the files that answer as Prometheus does: parameters, where samples come
 * from, how values are written.
 */
#ifndef VARVE_SERVER_SVC_PROM_H
#define VARVE_SERVER_SVC_PROM_H

#include "base/arena.h"
#include "base/budget.h"
#include "base/buf.h"
#include "promql/promql.h"
#include "varve/series.h"

/* ---- svc_prom_param.c ---- */

/* A parameter of the query string or of a form, decoded. */
typedef struct prom_param {
    vv_slice name;
    vv_slice value;
} prom_param;

typedef struct prom_params {
    prom_param *items; /* in the arena */
    size_t count;
} prom_params;

#define PROM_PARAMS_MAX 256u

/** Add those of a text "a=1&b=c+d". VV_INVALID, VV_BUSY. */
VV_MUST_CHECK vv_status prom_params_add(prom_params *params, vv_slice text, vv_arena *arena,
                                        vv_error *err);
/** The first of a name; NULL data when there is none. */
vv_slice prom_param_get(const prom_params *params, const char *name);
/** VV_INVALID when one is none of names, which end with NULL, or comes twice, but for those whose
 * name ends with []. */
VV_MUST_CHECK vv_status prom_params_check(const prom_params *params, const char *const names[],
                                          vv_error *err);
/** A moment: seconds since 1970 with a fraction, or RFC 3339; to the millisecond, as in Prometheus,
 * whose answers have no more. VV_INVALID names the parameter; without it *out stays. */
VV_MUST_CHECK vv_status prom_param_time(const prom_params *params, const char *name, int64_t *out,
                                        vv_error *err);
/** The label in a path "HEADname/values", decoded, in the arena. VV_NOT_FOUND for any other path.
 */
VV_MUST_CHECK vv_status prom_label_of_path(vv_slice path, const char *head, vv_arena *arena,
                                           vv_slice *out, vv_error *err);
/** A duration above 0: seconds with a fraction, or 1h30m. Likewise. */
VV_MUST_CHECK vv_status prom_param_duration(const prom_params *params, const char *name,
                                            int64_t *out, vv_error *err);

/* ---- svc_prom_text.c ---- */

/** Seconds with milliseconds, as JSON number. */
void prom_put_time(vv_buf *out, int64_t time_ns);
/** The value in quotes: the fewest digits that read back the same, without an exponent between
 * 1e-6 and 1e21; NaN, +Inf, -Inf. */
void prom_put_value(vv_buf *out, double value);
/** {"name":"value",...} */
void prom_put_labels(vv_buf *out, const vv_label *labels, size_t count);
/** What a query came to: {"resultType":...,"result":...}. */
void prom_put_result(vv_buf *out, const promql_result *result, const promql_options *opt);
/** Bytes of that, at most. */
uint64_t prom_result_size(const promql_result *result);

/* ---- svc_prom_source.c ---- */

typedef struct prom_table {
    vv_table *table;
    vv_budget *budget; /* counts what is held beside the arena while samples are gathered */
    bool (*cancelled)(void *ctx); /* as in vv_series_query; NULL: nobody is asked */
    void *cancelled_ctx;
} prom_table;

/** Samples of good quality of a table, as numbers; series of strings are not seen. Borrows from. */
promql_source prom_source_of(prom_table *from);

#endif
