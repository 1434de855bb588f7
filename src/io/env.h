/*
 * env.h - the world a store runs in: files, time, randomness, threads.
 *
 * env_posix_init gives the real one. A test fills its own from vio_sim.h; without threads the store
 * runs no background thread and is stepped by its caller.
 */
#ifndef VARVE_IO_ENV_H
#define VARVE_IO_ENV_H

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "io/vio_posix.h"

typedef struct vv_env {
    vio *io;                   /* owned by whoever made the env */
    vv_clock *clock;           /* never NULL */
    const vv_threads *threads; /* NULL: single-threaded, stepped */
    uint64_t seed;             /* root of the pseudo-random generators */
    vv_log *log;               /* may be NULL */
} vv_env;

/** The process's real clock: CLOCK_MONOTONIC and CLOCK_REALTIME. */
vv_clock *vv_clock_real(void);

/** The real threads. */
const vv_threads *vv_threads_real(void);

/** Cryptographic randomness (getrandom); VV_IO when the kernel refuses. */
VV_MUST_CHECK vv_status vv_random_bytes(void *out, size_t len, vv_error *err);

/** A posix env rooted at dir, seed from vv_random_bytes. Gives env->io: vio_destroy. */
VV_MUST_CHECK vv_status env_posix_init(vv_env *env, const char *dir, vv_log *log, vv_error *err);
/** The same with a choice of backend; the log is io->log. */
VV_MUST_CHECK vv_status env_posix_open(vv_env *env, const char *dir, const vio_posix_options *io,
                                       vv_error *err);

/** path itself when it begins with '/', else beneath the process's working directory. out has
 * VIO_PATH_MAX bytes. */
VV_MUST_CHECK vv_status env_absolute_path(const char *path, char *out, vv_error *err);

/** Processors that this process may run on: 1 or more. */
unsigned env_cores(void);

/** Whether the system gives huge pages to who asks for them (vv_alloc_aligned does). */
bool env_huge_pages(void);

/** Bound what malloc keeps of what was freed (docs/memory.md). For programs, once, at the start: a
 * library leaves its host's malloc alone. */
void env_malloc_settle(void);

/** Figures of this process for metrics: resident bytes, CPU nanoseconds, open descriptors, start.
 */
typedef struct env_process_stats {
    uint64_t rss_bytes;
    uint64_t huge_bytes; /* of them in huge pages */
    uint64_t cpu_ns;
    uint64_t open_fds;
    uint64_t max_fds;
    uint64_t threads;
    int64_t start_wall_ns;
} env_process_stats;
void env_process_stats_read(env_process_stats *out);

#endif
