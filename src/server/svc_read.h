/*
 * svc_read.h - a point read of a service: tried on the loop, from memory alone; done again on the
 * pool when it needs a file, so that no device ever holds up a loop.
 *
 *   loop: answer, from memory --- answered --> over (nearly always: the cache has it)
 *                 |
 *            would wait --submit--> pool: answer, which may wait --> over
 */
#ifndef VARVE_SERVER_SVC_READ_H
#define VARVE_SERVER_SVC_READ_H

#include "server/node.h"

typedef struct svc_read_ops {
    /* Read, svc_read_count and settle the call. False, with the call untouched: the answer would
     * have to wait; only without may_wait. The message lives until it returns. */
    bool (*answer)(srv_call *call, vv_slice message, bool may_wait, int64_t begin_ns);
    void (*refuse)(srv_call *call, vv_status status, const char *message);
} svc_read_ops;

/** Answer a call, whose context is the node. Takes msg. Loop thread. */
void svc_read_begin(srv_call *call, srv_message msg, const svc_read_ops *ops);
/** The same without the try on the loop, for requests of many reads. */
void svc_read_on_pool(srv_call *call, srv_message msg, const svc_read_ops *ops);

/** Count a read in node.get_ns: before it is settled, so that who has the answer finds it there. */
void svc_read_count(const srv_call *call, int64_t begin_ns);

/** vv_get, or vv_get_at when version is not 0. Without may_wait from memory alone: VV_BUSY and
 * *would_wait when that is not enough; *would_wait is written in no other case. */
VV_MUST_CHECK vv_status svc_read_value(vv_table *table, int64_t version, vv_slice key,
                                       bool may_wait, vv_value *out, bool *would_wait,
                                       vv_error *err);

#endif
