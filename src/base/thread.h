/*
 * thread.h - threads, through one door. io/ holds the real table; the simulator has none and runs
 * every step on its one thread, so code that is given no table must work by being stepped.
 */
#ifndef VARVE_BASE_THREAD_H
#define VARVE_BASE_THREAD_H

#include "varve/status.h"

typedef struct vv_thread vv_thread;

typedef enum vv_thread_class {
    VV_THREAD_NORMAL,
    VV_THREAD_BACKGROUND, /* flush, compaction: runs when nothing else wants the CPU (SCHED_BATCH,
                             nice) */
} vv_thread_class;

typedef struct vv_threads {
    /* Run fn(arg) on a new thread; name is at most 15 bytes and shows in ps. */
    vv_status (*create)(const char *name, vv_thread_class cls, void (*fn)(void *arg), void *arg,
                        vv_thread **out, vv_error *err);
    /* Wait for its end and free it. */
    void (*join)(vv_thread *thread);
} vv_threads;

#endif
