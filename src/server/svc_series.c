/*
 * svc_series.c - varve.v1.Series: its rows, and the methods that have one answer.
 */
#include "server/svc_series.h"

#include "base/util.h"
#include "server/svc_util.h"

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
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
