/*
 * srv_pool.c - threads for work that may block, behind one bounded queue.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/util.h"
#include "server/srv.h"

typedef struct job {
    void (*fn)(void *arg);
    void *arg;
} job;

struct srv_pool {
    const vv_threads *threads;
    vv_mutex lock; /* rank VV_RANK_LEAF: a submitter may hold anything */
    vv_cond work;
    job *ring;    /* under lock, as all below */
    uint32_t cap; /* fixed */
    uint32_t first;
    uint32_t count;
    bool stopping;
    uint32_t thread_count; /* started; fixed once created */
    vv_thread *thread[];
};

static bool next_job(srv_pool *pool, job *out)
{
    vv_mutex_lock(&pool->lock);
    while (pool->count == 0 && !pool->stopping)
        vv_cond_wait(&pool->work, &pool->lock);
    bool have = pool->count > 0;
    if (have) {
        *out = pool->ring[pool->first];
        pool->first = (pool->first + 1) % pool->cap;
        pool->count--;
    }
    vv_mutex_unlock(&pool->lock);
    return have;
}

static void pool_main(void *arg)
{
    job j;
    while (next_job(arg, &j))
        j.fn(j.arg);
}

vv_status srv_pool_create(const vv_threads *threads, uint32_t thread_count, uint32_t queue_max,
                          srv_pool **out, vv_error *err)
{
    if (thread_count == 0 || queue_max == 0)
        return vv_fail(err, VV_INVALID, "a pool needs a thread and a queue");
    srv_pool *pool = vv_calloc(1, sizeof *pool + thread_count * sizeof(vv_thread *));
    job *ring = vv_calloc(queue_max, sizeof *ring);
    if (pool == NULL || ring == NULL) {
        vv_free(pool);
        vv_free(ring);
        return vv_fail(err, VV_NO_MEMORY, "create a pool of %u threads", thread_count);
    }
    pool->threads = threads;
    pool->ring = ring;
    pool->cap = queue_max;
    vv_mutex_init(&pool->lock, VV_RANK_LEAF);
    vv_cond_init(&pool->work);
    for (uint32_t i = 0; i < thread_count; i++) {
        vv_status st =
            threads->create("vv-pool", VV_THREAD_NORMAL, pool_main, pool, &pool->thread[i], err);
        if (st != VV_OK) {
            srv_pool_destroy(pool);
            return st;
        }
        pool->thread_count++;
    }
    *out = pool;
    return VV_OK;
}

vv_status srv_pool_submit(srv_pool *pool, void (*fn)(void *arg), void *arg)
{
    vv_mutex_lock(&pool->lock);
    bool full = pool->count == pool->cap;
    if (!full) {
        pool->ring[(pool->first + pool->count) % pool->cap] = (job){fn, arg};
        pool->count++;
        vv_cond_signal(&pool->work);
    }
    vv_mutex_unlock(&pool->lock);
    return full ? VV_BUSY : VV_OK;
}

void srv_pool_destroy(srv_pool *pool)
{
    if (pool == NULL)
        return;
    vv_mutex_lock(&pool->lock);
    pool->stopping = true;
    vv_cond_broadcast(&pool->work);
    vv_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        pool->threads->join(pool->thread[i]);
    vv_cond_fini(&pool->work);
    vv_mutex_fini(&pool->lock);
    vv_free(pool->ring);
    vv_free(pool);
}
