/*
 * svc_historian.h - the samples of one sensor: historian.v1.HistorianQuery, and the same question
 * over HTTP.
 */
#ifndef VARVE_SERVER_SVC_HISTORIAN_H
#define VARVE_SERVER_SVC_HISTORIAN_H

#include "server/svc_http_series.h"

void svc_historian_message(srv_call *call, srv_message msg);

/* GET /api/v1/query?sensor=, thinned out with max_points, and GET /api/v1/export?sensor=. */
extern const svc_series_form svc_sensor_query_form[SVC_SERIES_FORMATS];
extern const svc_series_form svc_sensor_export_form[SVC_SERIES_FORMATS];

#endif
