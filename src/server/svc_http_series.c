/*
 * svc_http_series.c - /api/v1/series/...: samples, newest samples, which series and labels there
 * are, and deletions. docs/series.md has the parameters.
 */
#include "server/svc_http_series.h"

#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_historian.h"

#define BODY_MAX (256u * 1024)
#define LABELS "/api/v1/series/labels"
#define JSON_TYPE "application/json"

/* The form of the parameter `format`; NULL, and the call is answered, for one that is none. */
static const svc_series_form *form_of(srv_call *call, const svc_series_form *forms)
{
    vv_error err;
    vv_slice name = svc_query_value(srv_call_query(call), "format");
    if (name.data == NULL)
        return &forms[SVC_SERIES_JSON];
    for (size_t i = 0; i < SVC_SERIES_FORMATS; i++)
        if (vv_slice_eq(name, vv_slice_str(svc_series_format_name[i])))
            return &forms[i];
    svc_reply_error(call,
                    vv_fail(&err, VV_INVALID, "parameter format: it is json, csv, jsonl or arrow"),
                    err.msg);
    return NULL;
}

static void begin(srv_call *call, srv_message msg, const svc_series_form *forms)
{
    const svc_series_form *form = form_of(call, forms);
    if (form != NULL)
        svc_series_ask_begin(call, msg, form);
    else
        srv_message_release(&msg);
}

static void query_message(srv_call *call, srv_message msg)
{
    begin(call, msg, svc_series_query_form);
}

static void latest_message(srv_call *call, srv_message msg)
{
    begin(call, msg, svc_series_latest_form);
}

static void sensor_query_message(srv_call *call, srv_message msg)
{
    begin(call, msg, svc_sensor_query_form);
}

static void sensor_export_message(srv_call *call, srv_message msg)
{
    begin(call, msg, svc_sensor_export_form);
}

/* ---- series and labels ---- */

static vv_status read_list(svc_series_ask *a, vv_error *err)
{
    return svc_series_read_http(a, SVC_SERIES_LIST, err);
}

/* LABELS, or LABELS/NAME/values. */
static vv_status read_labels(svc_series_ask *a, vv_error *err)
{
    const vv_slice path = srv_call_path(a->call);
    if (path.len == strlen(LABELS))
        return svc_series_read_http(a, SVC_SERIES_NAMES, err);
    vv_status st = prom_label_of_path(path, LABELS "/", &a->arena, &a->name, err);
    return st == VV_OK ? svc_series_read_http(a, SVC_SERIES_VALUES, err) : st;
}

static void list_head(svc_series_ask *a, vv_buf *out)
{
    vv_buf_append_str(out, a->kind == SVC_SERIES_LIST    ? "{\"series\":["
                           : a->kind == SVC_SERIES_NAMES ? "{\"labels\":["
                                                         : "{\"values\":[");
}

static void list_series(svc_series_ask *a, const vv_series_info *series, vv_buf *out)
{
    static const char *const types[] = {"", "f64", "i64", "bool", "string"};
    vv_buf_printf(out, "%s{\"id\":%llu,\"type\":\"%s\",\"labels\":", a->written++ > 0 ? "," : "",
                  (unsigned long long)series->id, types[series->type]);
    prom_put_labels(out, series->labels, series->label_count);
    vv_buf_append_u8(out, '}');
}

static void list_text(svc_series_ask *a, vv_slice text, vv_buf *out)
{
    if (a->written++ > 0)
        vv_buf_append_u8(out, ',');
    json_put_string(out, text);
}

static void list_tail(svc_series_ask *a, vv_buf *out)
{
    (void)a;
    vv_buf_append_str(out, "]}\n");
}

static void list_message(srv_call *call, srv_message msg)
{
    static const svc_series_form form = {.is_http = true,
                                         .type = JSON_TYPE,
                                         .read = read_list,
                                         .head = list_head,
                                         .series = list_series,
                                         .tail = list_tail};
    svc_series_ask_begin(call, msg, &form);
}

static void labels_message(srv_call *call, srv_message msg)
{
    static const svc_series_form form = {.is_http = true,
                                         .type = JSON_TYPE,
                                         .read = read_labels,
                                         .head = list_head,
                                         .text = list_text,
                                         .tail = list_tail};
    svc_series_ask_begin(call, msg, &form);
}

/* ---- deletions ---- */

static vv_status read_delete(svc_series_ask *a, vv_error *err)
{
    return svc_series_read_http(a, SVC_SERIES_DELETE, err);
}

static void put_deleted(svc_series_ask *a, uint64_t series, vv_buf *out)
{
    (void)a;
    vv_buf_printf(out, "{\"series\":%llu}\n", (unsigned long long)series);
}

static void delete_message(srv_call *call, srv_message msg)
{
    static const svc_series_form form = {
        .is_http = true, .type = JSON_TYPE, .read = read_delete, .deleted = put_deleted};
    svc_series_ask_begin(call, msg, &form);
}

#define ASK(method, where, on_message)                                                             \
    {                                                                                              \
        .kind = SRV_HTTP, .verb = (method), .path = (where), .message_max = BODY_MAX,              \
        .message = (on_message), .drained = svc_series_ask_drained,                                \
        .closed = svc_series_ask_closed                                                            \
    }

size_t svc_http_series_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        ASK("GET", "/api/v1/series/query", query_message),
        ASK("POST", "/api/v1/series/query", query_message),
        ASK("GET", "/api/v1/series/latest", latest_message),
        ASK("GET", "/api/v1/series/list", list_message),
        ASK("GET", LABELS, labels_message),
        ASK("GET", LABELS "/*", labels_message),
        ASK("DELETE", "/api/v1/series", delete_message),
        ASK("GET", "/api/v1/query", sensor_query_message),
        ASK("GET", "/api/v1/export", sensor_export_message),
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
