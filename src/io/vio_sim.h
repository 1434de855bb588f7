/*
 * vio_sim.h - the simulated disk: a durable image, pending writes, and every fault from a seed.
 *
 * One thread. The disk outlives its vio: a test runs a store on vio_sim_open(disk), cuts the power,
 * and opens the disk again. Order of a cut: the store stops getting answers first (every call of
 * the old vio fails with VV_IO "power is off"), then vio_sim_disk_settle decides what survived.
 *
 * At a cut each pending 512-byte sector keeps the old bytes, those of any write since, or a torn
 * prefix of the last; each pending name or length change is kept or lost on its own (a growing
 * write lengthens the file page by page); each 4 KiB page of a map is of any age. vio_sim_disk_kill
 * models SIGKILL instead: all written bytes and maps survive whole.
 */
#ifndef VARVE_IO_VIO_SIM_H
#define VARVE_IO_VIO_SIM_H

#include "base/clock.h"
#include "io/vio.h"

typedef struct vio_sim_disk vio_sim_disk;

typedef enum vio_sim_fault {
    VIO_SIM_NONE,
    VIO_SIM_EIO,        /* the n-th matching call fails, once */
    VIO_SIM_EIO_STICKY, /* it and all later ones */
    VIO_SIM_ENOSPC,     /* the n-th allocating call and later ones fail until cleared */
    VIO_SIM_SHORT,      /* a transfer stops in the middle; the rest arrives by the retry inside */
    VIO_SIM_SYNC_LIES,  /* a sync fails once, the data is gone, later syncs say yes */
    VIO_SIM_FLIP,       /* a read gives one flipped bit (the image too: it is damage) */
    VIO_SIM_STALE,      /* a read gives the sector before its last write */
    VIO_SIM_MISDIRECT,  /* a write lands at another block of the same file */
} vio_sim_fault;

typedef struct vio_sim_options {
    uint64_t seed;
    uint64_t cut_after_writes; /* power fails at the n-th state-changing call (write, sync, rename,
                                  remove, create, truncate, map publication); 0: never */
    bool tear;                 /* sectors may tear; otherwise whole sectors are old or new */
    vio_sim_fault fault;
    uint64_t fault_at; /* the n-th call the fault can hit, from 1; 0: none */
    uint64_t capacity; /* bytes; 0 is without bound */
    const char *root;  /* the directory this vio works beneath; NULL: the root of the disk, which is
                          where the absolute paths of every vio begin. Borrowed for the call */
} vio_sim_options;

/** An empty disk. NULL when memory is short. */
vio_sim_disk *vio_sim_disk_create(void);
void vio_sim_disk_destroy(vio_sim_disk *disk);

/** Switch the power on with new options. Gives a vio: vio_destroy. */
VV_MUST_CHECK vv_status vio_sim_open(vio_sim_disk *disk, const vio_sim_options *opt, vio **out,
                                     vv_error *err);

/** True once the cut came: every call fails from then on. */
bool vio_sim_is_off(const vio_sim_disk *disk);
/** Cut now. */
void vio_sim_cut(vio_sim_disk *disk);
/** Count a publication into a map as a state-changing call, and cut there if it is the one: for a
 * VV_POINT handler, since a store into memory passes no vio call. */
void vio_sim_publish(vio_sim_disk *disk);
/** After the store was closed: decide by the seed what survived the cut. Cuts first if the power is
 * on. vio_sim_open does it when the test did not. */
void vio_sim_disk_settle(vio_sim_disk *disk);
/** The same with another seed from here on. */
void vio_sim_reseed(vio_sim_disk *disk, uint64_t seed);
/** After the store was abandoned: everything written survives, as after SIGKILL, and is as little
 * synced as before: a later cut may still take it. */
void vio_sim_disk_kill(vio_sim_disk *disk);

/** State-changing calls and fault-eligible calls since the power came on, to walk the sites of a
 * workload: fault_at = 1, 2, ... until a run ends with fewer sites. VIO_SIM_STALE counts its sites
 * only while it is the fault of the options (with fault_at 0 it counts and does nothing). */
uint64_t vio_sim_write_count(const vio_sim_disk *disk);
uint64_t vio_sim_fault_sites(const vio_sim_disk *disk, vio_sim_fault fault);
/** Clear the fault in force (space returned, disk healed). */
void vio_sim_heal(vio_sim_disk *disk);

/** Damage on purpose, durable at once: flip one bit, zero a range, end the file at a size, swap two
 * 4 KiB blocks. Paths are from the root of the disk. VV_NOT_FOUND without such a file, VV_INVALID
 * past its end. */
VV_MUST_CHECK vv_status vio_sim_flip_bit(vio_sim_disk *disk, const char *path, uint64_t bit);
VV_MUST_CHECK vv_status vio_sim_zero(vio_sim_disk *disk, const char *path, uint64_t offset,
                                     uint64_t len);
VV_MUST_CHECK vv_status vio_sim_shorten(vio_sim_disk *disk, const char *path, uint64_t size);
VV_MUST_CHECK vv_status vio_sim_swap_blocks(vio_sim_disk *disk, const char *path, uint64_t a,
                                            uint64_t b);
/** Copy a disk whole: the durable image, what is pending and the generator, but no open file and no
 * lock. The copy is switched off, and settled if the original was not waiting for it; content is
 * shared until it changes. To damage one copy in many ways, or to settle one cut many times (with
 * vio_sim_reseed). NULL when memory is short. */
vio_sim_disk *vio_sim_disk_clone(const vio_sim_disk *disk);
/** Call each(ctx, path, size) for every file of the newest view, sorted within each directory. */
void vio_sim_each_file(const vio_sim_disk *disk,
                       void (*each)(void *ctx, const char *path, uint64_t size), void *ctx);
/** What was cut, torn and injected since the power was switched on: text for a failure report. */
const char *vio_sim_trace(const vio_sim_disk *disk);
/** A hash of every call and answer: the same seed must give the same. */
uint64_t vio_sim_event_hash(const vio_sim_disk *disk);

/** A clock that moves by itself a little at every reading and by vv_clock_sleep. */
vv_clock *vio_sim_clock(vio_sim_disk *disk);
/** Move the simulated clock forward. */
void vio_sim_advance(vio_sim_disk *disk, int64_t ns);

#endif
