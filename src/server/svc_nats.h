/*
 * svc_nats.h - the stream of a NATS server that a node takes into a series table: src/feeds with
 * the configuration, the gate's rules for its tables, and the log of the node.
 */
#ifndef VARVE_SERVER_SVC_NATS_H
#define VARVE_SERVER_SVC_NATS_H

#include "feeds/feed_pump.h"
#include "server/config.h"
#include "server/node.h"

/** What only libnats can tell of the nats keys: servers, certificates. The refusal begins with the
 * key. Connects to nothing. Starts threads of libnats: block signals first. */
VV_MUST_CHECK vv_status svc_nats_check(const config *c, vv_error *err);

/** Take in n->nats, which stays NULL unless nats.enabled says so. After the gate; the server may be
 * away, and its tables missing. Borrows c until svc_nats_stop. */
VV_MUST_CHECK vv_status svc_nats_start(node *n, const config *c, vv_error *err);

/** What was fetched is committed and acknowledged, if that goes without waiting for better times.
 * Before the gate and the store go. Does nothing when nothing was started. */
void svc_nats_stop(node *n);

/** False when there is no feed. */
bool svc_nats_stats(const node *n, feed_stats *out);

/** Append `,"nats":{...}` to the JSON of a status. */
void svc_nats_put_status(const node *n, vv_buf *json);

#endif
