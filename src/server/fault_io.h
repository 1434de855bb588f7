/*
 * fault_io.h - real files one of whose calls fails: the n-th since fault_io_set, whatever it
 * does and whichever thread makes it. The simulated disk has one thread, a node has many.
 */
#ifndef VARVE_SERVER_FAULT_IO_H
#define VARVE_SERVER_FAULT_IO_H

#include "io/env.h"

typedef enum fault_io_kind {
    FAULT_IO_ONCE,  /* VV_IO from that one */
    FAULT_IO_STAYS, /* and from all behind it */
    FAULT_IO_FULL,  /* VV_NO_SPACE from every call behind it that makes something larger */
    FAULT_IO_KINDS,
} fault_io_kind;

/** Put it in front of env->io, one at a time. The vio's queues run as blocking calls. */
void fault_io_begin(vv_env *env);
/** Fail the n-th call from here, from 1; 0: none, and the disk is whole again. */
void fault_io_set(fault_io_kind kind, uint64_t n);
/** Calls since then that the kind can hit. */
uint64_t fault_io_count(void);

#endif
