/*
 * engine_get.h - a get that never waits for the disk: it stops where a file must be read, and its
 * caller goes on with others.
 *
 *                       +-- ENGINE_WAITS: step again with a queue that has room
 *                       v                       |
 *     engine_get_step --+--> ENGINE_READS: submit g->req; step again when it has its answer
 *                       +--> ENGINE_ANSWERED
 *
 * Where it stopped, a get holds what it was looking at, so that all of it is of one moment.
 */
#ifndef VARVE_ENGINE_ENGINE_GET_H
#define VARVE_ENGINE_ENGINE_GET_H

#include "engine/engine.h"
#include "io/vio_queue.h"

typedef enum engine_step {
    ENGINE_ANSWERED, /* status and, with VV_OK, value; err when it is a failure */
    ENGINE_WAITS,
    ENGINE_READS,
} engine_step;

/* One get. The caller fills the first two; the key stays until the answer. */
struct engine_get {
    vv_slice key;
    engine_read read;
    vio_req *req;       /* with ENGINE_READS: the caller sets done and ctx and submits it */
    vv_status status;   /* VV_OK, VV_NOT_FOUND, or why not */
    engine_value value; /* engine_value_release */
    vv_error err;
    void *state; /* the engine's own; NULL at first, and again with the answer */
};

/**
 * Go on with a get. q: a queue of this thread with room, whose buffers may be used; NULL: look into
 * memory alone. An engine without ops->get_step answers at once, and may wait for the disk to do
 * so.
 */
engine_step engine_get_step(engine *e, engine_get *g, vio_queue *q);

/** Give up a get that is not answered; no read of it is in flight. */
void engine_get_drop(engine *e, engine_get *g);

/** ops->multi_get of an engine that has steps: what is missing is read through the calling thread's
 * queue of io, as many at once as it holds. */
VV_MUST_CHECK vv_status engine_multi_get_by_steps(engine *e, vio *io, const vv_slice *keys,
                                                  size_t count, const engine_read *read,
                                                  engine_value *out, vv_status *status,
                                                  vv_error *err);

#endif
