/*
 * svc_series.h - what the files of varve.v1.Series share.
 */
#ifndef VARVE_SERVER_SVC_SERIES_H
#define VARVE_SERVER_SVC_SERIES_H

#include "server/node.h"

/* The callbacks of IngestSamples and IngestSamplesStream: svc_series_ingest.c. */
void svc_series_ingest_message(srv_call *call, srv_message msg);
void svc_series_stream_start(srv_call *call);
void svc_series_stream_message(srv_call *call, srv_message msg);
void svc_series_stream_half_close(srv_call *call);
void svc_series_stream_closed(srv_call *call);

#endif
