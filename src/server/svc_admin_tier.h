/*
 * svc_admin_tier.h - the part of varve.v1.Admin that is about messages in the object store.
 */
#ifndef VARVE_SERVER_SVC_ADMIN_TIER_H
#define VARVE_SERVER_SVC_ADMIN_TIER_H

#include "server/node.h"

/** Append a page of a ListTierObjectsResponse. May wait for the disk. */
VV_MUST_CHECK vv_status svc_admin_list_tier(const node *n, const gate_identity *who,
                                            vv_slice request, vv_buf *out, vv_error *err);

/** RunTier, VerifyTier and RestoreTier. */
size_t svc_admin_tier_methods(node *n, srv_method *out, size_t max);

#endif
