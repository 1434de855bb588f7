/*
 * svc_series.c - the methods of varve.v1.Series and of historian.v1.
 */
#include "server/svc_series.h"

#include "base/util.h"
#include "server/svc_historian.h"
#include "server/svc_series_ask.h"
#include "server/svc_util.h"

#define REQUEST_MAX (256u * 1024)

#define ASK(method, on_message)                                                                    \
    {                                                                                              \
        .kind = SRV_GRPC_STREAM, .path = (method), .message_max = REQUEST_MAX,                     \
        .message = (on_message), .half_close = svc_series_ask_half_close,                          \
        .drained = svc_series_ask_drained, .closed = svc_series_ask_closed                         \
    }

size_t svc_series_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        {.kind = SRV_GRPC_UNARY,
         .path = "/varve.v1.Series/IngestSamples",
         .copies = 1, /* as samples */
         .message = svc_series_ingest_message},
        {.kind = SRV_GRPC_STREAM,
         .path = "/varve.v1.Series/IngestSamplesStream",
         .copies = 1,
         .start = svc_series_stream_start,
         .message = svc_series_stream_message,
         .half_close = svc_series_stream_half_close,
         .closed = svc_series_stream_closed},
        ASK("/varve.v1.Series/QuerySeries", svc_series_query_message),
        ASK("/varve.v1.Series/Latest", svc_series_latest_message),
        ASK("/varve.v1.Series/ListSeries", svc_series_list_message),
        {.kind = SRV_GRPC_UNARY,
         .path = "/varve.v1.Series/LabelValues",
         .message_max = REQUEST_MAX,
         .message = svc_series_values_message,
         .closed = svc_series_ask_closed},
        {.kind = SRV_GRPC_UNARY,
         .path = "/varve.v1.Series/DeleteSamples",
         .message_max = REQUEST_MAX,
         .message = svc_series_delete_message,
         .closed = svc_series_ask_closed},
        ASK("/historian.v1.HistorianQuery/Query", svc_historian_message),
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
