/*
 * vio_aside.h - requests on files that are none of their vio: what vio_queue.c asks of vio_aside.c.
 * All but vio_aside_destroy run in the queue's thread.
 */
#ifndef VARVE_IO_VIO_ASIDE_H
#define VARVE_IO_VIO_ASIDE_H

#include "io/vio_queue.h"

/** Begin a request. Where the queue has no descriptor that could tell of its answer, or threads
 * cannot be had, it is answered at once. */
void vio_aside_start(vio_queue *q, vio_req *req);
/** Before the backend is asked for its answers: the descriptor has told what it had to. */
void vio_aside_hush(vio_queue *q);
/** Answer what is finished; block until one is when wait is true and something was begun. */
void vio_aside_reap(vio_queue *q, bool wait);
/** Write to fd when something is finished. */
void vio_aside_tell_by(vio_queue *q, int fd);
/** Nothing is begun. */
void vio_aside_close(vio_queue *q);
/** All queues are closed: end the threads. */
void vio_aside_destroy(vio *io);

#endif
