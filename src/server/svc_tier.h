/*
 * svc_tier.h - the object store of a varved: opened before the store, which borrows it, asked until
 * it answers, closed after the store.
 *
 * The server starts without it: messages are appended to the local log and wait there. Until the
 * object store answered once the node is not ready and says why; a wrong key or a missing bucket is
 * so seen at the start, and mended without a restart where it is mended at the store. Later
 * processing.failures_max failed uploads in a row make the node not ready, and the next success
 * makes it ready again.
 *
 * Threads: vv-tier, from the start to the first answer.
 */
#ifndef VARVE_SERVER_SVC_TIER_H
#define VARVE_SERVER_SVC_TIER_H

#include "server/config.h"
#include "server/node.h"

#define SVC_TIER_WHY_MAX 320u

/* What is known of the object store. */
typedef struct svc_tier_state {
    const char *name;           /* "s3://bucket/prefix" */
    bool has_answered;          /* once, since the start */
    uint64_t questions;         /* asked of it until then */
    char why[SVC_TIER_WHY_MAX]; /* what the last one came to; "" */
} svc_tier_state;

/** What svc_tier_open would refuse. */
VV_MUST_CHECK vv_status svc_tier_check(const config *c, vv_error *err);
/** Open it and set n->tier; nothing without storage.backend. Sends nothing. Borrows c. A failure
 * begins with a key. */
VV_MUST_CHECK vv_status svc_tier_open(node *n, const config *c, vv_error *err);
/** NULL: there is none. */
vv_object_store *svc_tier_store(const node *n);
/** Begin to ask, in the background. */
VV_MUST_CHECK vv_status svc_tier_start(node *n, vv_error *err);
/** Stop asking, and make all calls to it end soon; before the store is closed. */
void svc_tier_stop(node *n);
/** Close it; after the store. */
void svc_tier_close(node *n);

/** False: there is none. */
bool svc_tier_state_read(const node *n, svc_tier_state *out);
/** False, and why: messages do not get there. */
bool svc_tier_is_ready(node *n, char *why, size_t why_len);

#endif
