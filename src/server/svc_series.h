/*
 * svc_series.h - the callbacks of varve.v1.Series that lie in several files.
 */
#ifndef VARVE_SERVER_SVC_SERIES_H
#define VARVE_SERVER_SVC_SERIES_H

#include "server/node.h"

/* svc_series_ingest.c */
void svc_series_ingest_message(srv_call *call, srv_message msg);
void svc_series_stream_start(srv_call *call);
void svc_series_stream_message(srv_call *call, srv_message msg);
void svc_series_stream_half_close(srv_call *call);
void svc_series_stream_closed(srv_call *call);

/* svc_series_query.c; what follows the message is svc_series_ask_... */
void svc_series_query_message(srv_call *call, srv_message msg);
void svc_series_latest_message(srv_call *call, srv_message msg);
void svc_series_list_message(srv_call *call, srv_message msg);
void svc_series_values_message(srv_call *call, srv_message msg);
void svc_series_delete_message(srv_call *call, srv_message msg);

#endif
