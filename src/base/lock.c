#include "base/lock.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"

#ifndef NDEBUG
/* Ranks this thread holds, as a bit set over rank / 5: the highest bit must stay below a new one.
 */
static _Thread_local uint32_t held;
static _Thread_local uint64_t taken;

static uint32_t rank_bit(const vv_mutex *mutex)
{
    return UINT32_C(1) << (mutex->rank / 5);
}

static void note_lock(const vv_mutex *mutex)
{
    assert(held < rank_bit(mutex)); /* lock order: see docs/lock-order.md */
    held |= rank_bit(mutex);
    taken++;
}

static void note_unlock(const vv_mutex *mutex)
{
    assert(held & rank_bit(mutex));
    held &= ~rank_bit(mutex);
}
uint64_t vv_lock_count(void)
{
    return taken;
}
#else
uint64_t vv_lock_count(void)
{
    return 0;
}

static inline void note_lock(const vv_mutex *mutex)
{
    (void)mutex;
}

static inline void note_unlock(const vv_mutex *mutex)
{
    (void)mutex;
}
#endif

/* A pthread call that fails here means corrupted memory or our own mistake: stop. */
static void must(int rc)
{
    if (VV_UNLIKELY(rc != 0))
        abort();
}

void vv_mutex_init(vv_mutex *mutex, vv_lock_rank rank)
{
    must(pthread_mutex_init(&mutex->m, NULL));
    mutex->rank = rank;
}

void vv_mutex_fini(vv_mutex *mutex)
{
    must(pthread_mutex_destroy(&mutex->m));
}

void vv_mutex_lock(vv_mutex *mutex) VV_NO_TSA
{
    note_lock(mutex);
    must(pthread_mutex_lock(&mutex->m));
}

void vv_mutex_unlock(vv_mutex *mutex) VV_NO_TSA
{
    note_unlock(mutex);
    must(pthread_mutex_unlock(&mutex->m));
}

void vv_cond_init(vv_cond *cond)
{
    pthread_condattr_t attr;
    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&cond->c, &attr));
    must(pthread_condattr_destroy(&attr));
}

void vv_cond_fini(vv_cond *cond)
{
    must(pthread_cond_destroy(&cond->c));
}

void vv_cond_wait(vv_cond *cond, vv_mutex *mutex)
{
    note_unlock(mutex);
    must(pthread_cond_wait(&cond->c, &mutex->m));
    note_lock(mutex);
}

bool vv_cond_wait_for(vv_cond *cond, vv_mutex *mutex, int64_t timeout_ns)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + timeout_ns % VV_NS_PER_S;
    until.tv_sec += (time_t)(timeout_ns / VV_NS_PER_S + ns / VV_NS_PER_S);
    until.tv_nsec = (long)(ns % VV_NS_PER_S);
    note_unlock(mutex);
    int rc = pthread_cond_timedwait(&cond->c, &mutex->m, &until);
    note_lock(mutex);
    if (rc != ETIMEDOUT)
        must(rc);
    return rc == 0;
}

void vv_cond_signal(vv_cond *cond)
{
    must(pthread_cond_signal(&cond->c));
}

void vv_cond_broadcast(vv_cond *cond)
{
    must(pthread_cond_broadcast(&cond->c));
}

void vv_spin_wait(unsigned *turns)
{
    if (++*turns % 256 == 0) {
        (void)sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
