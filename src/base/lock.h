/*
 * lock.h - mutexes that know their rank, and condition variables.
 *
 * A thread may take a mutex only if its rank is higher than that of every mutex it holds; debug
 * builds assert it, so that every test checks the order of docs/lock-order.md. clang's
 * -Wthread-safety checks the annotations.
 */
#ifndef VARVE_BASE_LOCK_H
#define VARVE_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define VV_TSA(x) __attribute__((x))
#else
#define VV_TSA(x)
#endif
#define VV_CAPABILITY VV_TSA(capability("mutex"))
#define VV_REQUIRES(...) VV_TSA(requires_capability(__VA_ARGS__))
#define VV_ACQUIRE(...) VV_TSA(acquire_capability(__VA_ARGS__))
#define VV_RELEASE(...) VV_TSA(release_capability(__VA_ARGS__))
#define VV_NO_TSA VV_TSA(no_thread_safety_analysis)

/* Taken in rising order only. Equal ranks are never nested. */
typedef enum vv_lock_rank {
    VV_RANK_SERVER = 10, /* loops, connections, watch lists */
    VV_RANK_INGEST = 20, /* pipeline queues */
    VV_RANK_DB = 30,     /* none in the store: who calls it from under a mutex, as tests do */
    VV_RANK_CATALOG = 40,
    VV_RANK_SERIES = 45,  /* series that come and go */
    VV_RANK_TXN = 50,     /* the commit lock of a node */
    VV_RANK_PUBLISH = 55, /* the queue of what is logged and not yet visible */
    VV_RANK_ENGINE = 60,  /* a shard's view swap, memtable list */
    VV_RANK_LSM = 65,     /* manifest and level state */
    VV_RANK_CACHE = 70,
    VV_RANK_WAL = 80,
    VV_RANK_WATCH = 90,         /* who waits for messages of a shard */
    VV_RANK_SERIES_TABLES = 95, /* the tables of series that are in memory */
    VV_RANK_LEAF = 100,         /* files of a vio, log sink, counters: calls nothing while held */
} vv_lock_rank;

typedef struct VV_CAPABILITY vv_mutex {
    pthread_mutex_t m;
    vv_lock_rank rank;
} vv_mutex;

typedef struct vv_cond {
    pthread_cond_t c;
} vv_cond;

void vv_mutex_init(vv_mutex *mutex, vv_lock_rank rank);
void vv_mutex_fini(vv_mutex *mutex);
void vv_mutex_lock(vv_mutex *mutex) VV_ACQUIRE(*mutex);
void vv_mutex_unlock(vv_mutex *mutex) VV_RELEASE(*mutex);

/** Mutexes this thread has taken, so that a test can show a path without one. 0 in builds without
 * assertions. */
uint64_t vv_lock_count(void);

void vv_cond_init(vv_cond *cond); /* waits on the monotonic clock */
void vv_cond_fini(vv_cond *cond);
/** Release the mutex, sleep, take it again. Wakes also without reason: look again. */
void vv_cond_wait(vv_cond *cond, vv_mutex *mutex) VV_REQUIRES(*mutex);
/** As above for at most timeout_ns; false when it passed. */
bool vv_cond_wait_for(vv_cond *cond, vv_mutex *mutex, int64_t timeout_ns) VV_REQUIRES(*mutex);
void vv_cond_signal(vv_cond *cond);
void vv_cond_broadcast(vv_cond *cond);

/**
 * One turn of a loop that waits for another thread's few instructions (a sequence lock): pauses,
 * and after some hundred turns gives the CPU away, since the other thread may have lost its own.
 * *turns starts at 0 and counts.
 */
void vv_spin_wait(unsigned *turns);

#endif
