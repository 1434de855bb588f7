/*
 * svc_turn.h - who runs a streamed answer: its turns on the pool, or nobody while the client is
 * slower than we are.
 *
 *   RUNNING --svc_turn_park: output queue high--> PARKED --svc_turn_wake: drained()--> RUNNING
 *      |                                             |
 *   svc_turn_end                             the call closes: nobody runs, the last
 *   -> OVER                                  reference goes with it
 *
 * Only the thread that moved the state to RUNNING touches what the turns share.
 */
#ifndef VARVE_SERVER_SVC_TURN_H
#define VARVE_SERVER_SVC_TURN_H

#include <stdatomic.h>

#include "server/srv.h"

enum { SVC_TURN_RUNNING, SVC_TURN_PARKED, SVC_TURN_OVER };

typedef _Atomic int svc_turn;

/** True when the turn ends here and drained() begins the next. */
static inline bool svc_turn_park(svc_turn *t, srv_call *call)
{
    if (srv_call_queued(call) < SRV_OUTPUT_HIGH || !srv_call_is_open(call))
        return false;
    atomic_store(t, SVC_TURN_PARKED);
    /* It may have drained before the state was seen; then nobody else will wake us. */
    if (srv_call_queued(call) >= SRV_OUTPUT_HIGH / 2)
        return true;
    int parked = SVC_TURN_PARKED;
    return !atomic_compare_exchange_strong(t, &parked, SVC_TURN_RUNNING);
}

/** In drained(): true when the caller is the one to begin the next turn. */
static inline bool svc_turn_wake(svc_turn *t)
{
    int parked = SVC_TURN_PARKED;
    return atomic_compare_exchange_strong(t, &parked, SVC_TURN_RUNNING);
}

static inline void svc_turn_end(svc_turn *t)
{
    atomic_store(t, SVC_TURN_OVER);
}

#endif
