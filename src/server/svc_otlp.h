/*
 * svc_otlp.h - what the files of OTLP share: from the body of an Export to its protobuf bytes, and
 * back from what became of it to an answer in the encoding that was asked in.
 *
 *   gRPC   Export of the three services
 *   HTTP   POST /v1/traces, /v1/logs, /v1/metrics: application/x-protobuf or application/json,
 *          gzip or not
 *
 * Exporters send again what may be better later: gRPC UNAVAILABLE with RetryInfo, HTTP 429 and 503
 * with Retry-After. They drop what is refused for what it is.
 */
#ifndef VARVE_SERVER_SVC_OTLP_H
#define VARVE_SERVER_SVC_OTLP_H

#include "otlp/otlp.h"
#include "server/node.h"

#define SVC_OTLP_BODY_MAX (32u * 1024 * 1024) /* also when it is unpacked */
#define SVC_OTLP_TENANT "x-tenant"            /* header; without it the default tenant */

/** The signal of a call, by its path. */
otlp_signal svc_otlp_signal_of(const srv_call *call);

/**
 * The protobuf bytes of a body: as they are, or unpacked and turned from JSON into plain, whose
 * memory is charged to the budget, and *charge. Pool thread.
 *
 * @return VV_INVALID: the encoding or the content is none that is known; VV_BUSY:
 *         storage.memory_limit is used up.
 */
VV_MUST_CHECK vv_status svc_otlp_unwrap(srv_call *call, vv_slice body, vv_buf *plain,
                                        uint64_t *charge, vv_slice *out, vv_error *err);

/** Answer an Export: all was taken, or all but `refused`, whose first has this sentence. */
void svc_otlp_answer(srv_call *call, uint64_t refused, const char *first);
/** Refuse it whole. */
void svc_otlp_refuse(srv_call *call, vv_status st, const char *message);

/** Samples of an Export of metrics. Takes msg. */
void svc_otlp_metrics_message(srv_call *call, srv_message msg);

#endif
