/*
 * vio_sched.h - who may use the disk now: log over reads over flush over compaction.
 *
 * One schedule a vio. Each transfer enters under its class and leaves when it is answered. A class
 * has a depth, the transfers it may have in flight; while a higher class is in flight or waits, it
 * has the smaller busy depth and starts one transfer per gap. So the device's queue, which knows no
 * ranks, never fills with megabytes of compaction in front of a read, and yet every class goes on:
 * a gap is the longest that higher classes can hold a lower one back, apart from its own depth.
 *
 *     class        depth  busy depth  gap      with pieces of 256 KiB, at least
 *     log             64          64  none
 *     read           128          32  none
 *     flush            8           2  250 us   1 GB/s
 *     compaction       4           1  1 ms     256 MB/s
 */
#ifndef VARVE_IO_VIO_SCHED_H
#define VARVE_IO_VIO_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/lock.h"

typedef enum vio_class {
    VIO_CLASS_LOG,        /* somebody waits for a commit */
    VIO_CLASS_READ,       /* somebody waits for an answer */
    VIO_CLASS_FLUSH,      /* frees memory */
    VIO_CLASS_COMPACTION, /* everything that has time */
    VIO_CLASSES,
} vio_class;

typedef struct vio_sched_class {
    uint32_t active;    /* in flight */
    uint32_t waiting;   /* threads in vio_sched_enter */
    int64_t last_start; /* of the newest that entered; monotonic */
    uint64_t entered;   /* statistics */
    uint64_t held_back; /* of them, those that had to wait */
} vio_sched_class;

typedef struct vio_sched {
    vv_clock *clock; /* fixed */
    vv_mutex lock;   /* VV_RANK_LEAF */
    vv_cond freed;
    vio_sched_class of[VIO_CLASSES]; /* under lock */
} vio_sched;

typedef struct vio_sched_stats {
    uint64_t entered[VIO_CLASSES];
    uint64_t held_back[VIO_CLASSES];
} vio_sched_stats;

void vio_sched_init(vio_sched *s, vv_clock *clock);
void vio_sched_fini(vio_sched *s);

/** One more transfer of the class may start: it is counted. False: not now. Never blocks. A NULL
 * schedule admits everything. */
bool vio_sched_try(vio_sched *s, vio_class cls);
/** Block until it may. Not from a thread whose own transfers in flight are all that holds it back.
 */
void vio_sched_enter(vio_sched *s, vio_class cls);
/** A transfer that entered has its answer. */
void vio_sched_leave(vio_sched *s, vio_class cls);
void vio_sched_read_stats(vio_sched *s, vio_sched_stats *out);

#endif
