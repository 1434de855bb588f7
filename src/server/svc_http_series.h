/*
 * svc_http_series.h - what the files of series over HTTP share: parameters, and how samples are
 * written as text.
 */
#ifndef VARVE_SERVER_SVC_HTTP_SERIES_H
#define VARVE_SERVER_SVC_HTTP_SERIES_H

#include "query/arrow.h"
#include "server/svc_prom.h"
#include "server/svc_series_ask.h"

/* ---- svc_http_series_param.c ---- */

/** Parameters of the call, decoded, in the question's memory. */
VV_MUST_CHECK vv_status svc_series_params(svc_series_ask *a, prom_params *out, vv_error *err);
/** A moment: RFC 3339, a number with a unit (s, ms, us, ns), or a number alone, whose size tells
 * its unit. Without the parameter *out stays. */
VV_MUST_CHECK vv_status svc_series_time(const prom_params *params, const char *name, int64_t *out,
                                        vv_error *err);
VV_MUST_CHECK vv_status svc_series_uint(const prom_params *params, const char *name, uint64_t max,
                                        uint64_t *out, vv_error *err);
VV_MUST_CHECK vv_status svc_series_int(const prom_params *params, const char *name, int64_t *out,
                                       vv_error *err);
/** One of names[count], as its index. Likewise. */
VV_MUST_CHECK vv_status svc_series_choice(const prom_params *params, const char *name,
                                          const char *const *names, size_t count, unsigned *out,
                                          vv_error *err);
/** Seconds or 1h30m, 0 and below too. */
VV_MUST_CHECK vv_status svc_series_duration(const prom_params *params, const char *name,
                                            int64_t *out, vv_error *err);
/** One of vv_aggregate. */
VV_MUST_CHECK vv_status svc_series_aggregate(const prom_params *params, const char *name,
                                             vv_aggregate *out, vv_error *err);
/** Everything that /api/v1/series/query takes; the kinds of lists take a part of it. Of the node it
 * asks the time. */
VV_MUST_CHECK vv_status svc_series_take_params(svc_series_ask *a, svc_series_kind kind,
                                               const prom_params *params, vv_error *err);
/** The same out of the call. */
VV_MUST_CHECK vv_status svc_series_read_http(svc_series_ask *a, svc_series_kind kind,
                                             vv_error *err);

/* ---- svc_http_series_put.c ---- */

typedef enum svc_series_format {
    SVC_SERIES_JSON,
    SVC_SERIES_CSV,
    SVC_SERIES_JSONL,
    SVC_SERIES_ARROW,
    SVC_SERIES_FORMATS,
} svc_series_format;

extern const char *const svc_series_format_name[SVC_SERIES_FORMATS];
extern const char *const svc_series_format_type[SVC_SERIES_FORMATS];

/** Milliseconds since 1970 with as much fraction as there is. */
void svc_put_ms(vv_buf *out, int64_t time_ns);
/** The fewest digits that read back the same; without is_json NaN and infinities without quotes. */
void svc_put_f64(vv_buf *out, double value, bool is_json);
/** A point's value as JSON, or as a field of CSV. */
void svc_put_point(vv_buf *out, const vv_series_block *block, size_t i, bool is_json);
/** name{label="value",...}. */
void svc_put_series_text(vv_buf *out, const vv_label *labels, size_t count);

/** How blocks of many series are written in a format; has_quality: always, else where it is not
 * good. */
extern const svc_series_form svc_series_query_form[SVC_SERIES_FORMATS];
extern const svc_series_form svc_series_latest_form[SVC_SERIES_FORMATS];

/* ---- values of a block as a column of Arrow ---- */

/* Room for values that a block has in another form. */
typedef union svc_arrow_scratch {
    uint8_t boolean[VV_SERIES_BLOCK_MAX];
    double f64[VV_SERIES_BLOCK_MAX];
} svc_arrow_scratch;

arrow_type svc_arrow_type_of(vv_sample_type type);
/** The values of b in a column of type; numbers of any type go into one of doubles. VV_INVALID:
 * they do not go. *out borrows from b and m. */
VV_MUST_CHECK vv_status svc_arrow_values(vv_sample_type type, const vv_series_block *b,
                                         svc_arrow_scratch *m, arrow_column *out, vv_error *err);

#endif
