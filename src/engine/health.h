/*
 * health.h - what failed background work means for an engine's writes.
 *
 *   GOOD --a full disk--> FULL --a piece succeeds, or nothing is left to do--> GOOD
 *     |                     |
 *     +--anything else------+--> LATCHED: the disk or the data is not what it should be, and a
 *                                reopen has to look at it
 *
 * Short memory and a busy engine are neither: the piece is begun again.
 */
#ifndef VARVE_ENGINE_HEALTH_H
#define VARVE_ENGINE_HEALTH_H

#include <stdatomic.h>

#include "base/lock.h"
#include "varve/status.h"

typedef struct engine_health {
    _Atomic int32_t status; /* vv_status: VV_OK, VV_NO_SPACE or what latched */
    vv_mutex lock;          /* VV_RANK_LEAF */
    vv_error first;         /* why; under lock */
} engine_health;

void engine_health_init(engine_health *h);
void engine_health_fini(engine_health *h);
/** Any thread; one load. */
static inline bool engine_health_is_good(const engine_health *h)
{
    return atomic_load_explicit(&h->status, memory_order_acquire) == VV_OK;
}
/** What a write is told that comes while it is not good: VV_NO_SPACE or VV_IO. */
vv_status engine_health_refuse(engine_health *h, vv_error *err);
/** What latched, for who would work on; VV_OK while a full disk may be tried again. */
VV_MUST_CHECK vv_status engine_health_latched(engine_health *h, vv_error *err);
/** A piece of work ended with st. is_idle: it was VV_NOT_FOUND, and nobody else has any: what had
 * no room is not wanted any more. One caller at a time. */
void engine_health_note(engine_health *h, vv_status st, bool is_idle, const vv_error *err);

#endif
