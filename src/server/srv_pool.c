/*
 * srv_pool.c - threads for work that may block, behind three bounded queues.
 *
 *   submit_point --> point queue --> a thread of its own, and those of the long queue first of all
 *   submit --------> long queue ---> thread_count threads
 *   submit_far ----> far queue ----> FAR_THREADS threads
 *
 * Why the lanes: a read of one record takes a read of the device, a scan as long as its table is
 * large. In one queue, behind as many scans as there are threads, the former takes as long as the
 * latter. What waits for an object store may wait a minute for nothing, and does so beside both.
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

typedef enum lane { LANE_POINT, LANE_LONG, LANE_FAR, LANES } lane;

#define FAR_THREADS 4u

typedef struct queue {
    job *ring;
    uint32_t cap; /* fixed */
    uint32_t first;
    uint32_t count;
    vv_cond work; /* for who looks at this lane last */
} queue;

struct srv_pool {
    const vv_threads *threads;
    vv_mutex lock;      /* rank VV_RANK_LEAF: a submitter may hold anything */
    queue lanes[LANES]; /* under lock, as all below */
    bool point_idle;    /* the thread of the point lane waits for work */
    uint32_t running;   /* jobs: each may submit others, to any lane */
    bool stopping;
    uint32_t thread_count; /* started; fixed once created, as thread */
    vv_thread *thread[];   /* the first is the point lane's own */
};

static bool take_first(queue *q, job *out)
{
    if (q->count == 0)
        return false;
    *out = q->ring[q->first];
    q->first = (q->first + 1) % q->cap;
    q->count--;
    return true;
}

/* Nothing runs that could submit more, and nothing waits. */
static bool is_drained(const srv_pool *pool)
{
    return pool->running == 0 && pool->lanes[LANE_POINT].count == 0 &&
           pool->lanes[LANE_LONG].count == 0 && pool->lanes[LANE_FAR].count == 0;
}

static void wake_all(srv_pool *pool)
{
    for (uint32_t i = 0; i < LANES; i++)
        vv_cond_broadcast(&pool->lanes[i].work);
}

/* Of the lane last; of LANE_LONG points first. False when there will be none. */
static bool next_job(srv_pool *pool, lane last, job *out)
{
    bool have = false;
    vv_mutex_lock(&pool->lock);
    for (;;) {
        have = (last != LANE_FAR && take_first(&pool->lanes[LANE_POINT], out)) ||
               (last != LANE_POINT && take_first(&pool->lanes[last], out));
        if (have || (pool->stopping && is_drained(pool)))
            break;
        pool->point_idle |= last == LANE_POINT;
        vv_cond_wait(&pool->lanes[last].work, &pool->lock);
        pool->point_idle &= last != LANE_POINT;
    }
    pool->running += have;
    vv_mutex_unlock(&pool->lock);
    return have;
}

static void run_jobs(srv_pool *pool, lane last)
{
    job j;
    while (next_job(pool, last, &j)) {
        j.fn(j.arg);
        vv_mutex_lock(&pool->lock);
        pool->running--;
        if (pool->stopping && is_drained(pool))
            wake_all(pool);
        vv_mutex_unlock(&pool->lock);
    }
}

static void point_main(void *arg)
{
    run_jobs(arg, LANE_POINT);
}

static void long_main(void *arg)
{
    run_jobs(arg, LANE_LONG);
}

static void far_main(void *arg)
{
    run_jobs(arg, LANE_FAR);
}

vv_status srv_pool_create(const vv_threads *threads, uint32_t thread_count, uint32_t queue_max,
                          srv_pool **out, vv_error *err)
{
    if (thread_count == 0 || queue_max == 0)
        return vv_fail(err, VV_INVALID, "a pool needs a thread and a queue");
    const uint32_t all = 1 + thread_count + FAR_THREADS;
    srv_pool *pool = vv_calloc(1, sizeof *pool + all * sizeof(vv_thread *));
    job *ring = vv_calloc(queue_max, LANES * sizeof *ring);
    if (pool == NULL || ring == NULL) {
        vv_free(pool);
        vv_free(ring);
        return vv_fail(err, VV_NO_MEMORY, "create a pool of %u threads", thread_count);
    }
    pool->threads = threads;
    vv_mutex_init(&pool->lock, VV_RANK_LEAF);
    for (uint32_t i = 0; i < LANES; i++) {
        pool->lanes[i] = (queue){.ring = ring + (size_t)i * queue_max, .cap = queue_max};
        vv_cond_init(&pool->lanes[i].work);
    }
    for (uint32_t i = 0; i < all; i++) {
        vv_status st = threads->create("vv-pool", VV_THREAD_NORMAL,
                                       i == 0              ? point_main
                                       : i <= thread_count ? long_main
                                                           : far_main,
                                       pool, &pool->thread[i], err);
        if (st != VV_OK) {
            srv_pool_destroy(pool);
            return st;
        }
        pool->thread_count++;
    }
    *out = pool;
    return VV_OK;
}

static vv_status submit(srv_pool *pool, lane l, job j)
{
    queue *q = &pool->lanes[l];
    vv_mutex_lock(&pool->lock);
    bool full = q->count == q->cap;
    if (!full) {
        q->ring[(q->first + q->count) % q->cap] = j;
        q->count++;
        vv_cond_signal(&q->work);
        if (l == LANE_POINT && (q->count > 1 || !pool->point_idle)) /* any other will do */
            vv_cond_signal(&pool->lanes[LANE_LONG].work);
    }
    vv_mutex_unlock(&pool->lock);
    return full ? VV_BUSY : VV_OK;
}

vv_status srv_pool_submit(srv_pool *pool, void (*fn)(void *arg), void *arg)
{
    return submit(pool, LANE_LONG, (job){fn, arg});
}

vv_status srv_pool_submit_point(srv_pool *pool, void (*fn)(void *arg), void *arg)
{
    return submit(pool, LANE_POINT, (job){fn, arg});
}

vv_status srv_pool_submit_far(srv_pool *pool, void (*fn)(void *arg), void *arg)
{
    return submit(pool, LANE_FAR, (job){fn, arg});
}

void srv_pool_destroy(srv_pool *pool)
{
    if (pool == NULL)
        return;
    vv_mutex_lock(&pool->lock);
    pool->stopping = true;
    wake_all(pool);
    vv_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        pool->threads->join(pool->thread[i]);
    for (uint32_t i = 0; i < LANES; i++)
        vv_cond_fini(&pool->lanes[i].work);
    vv_mutex_fini(&pool->lock);
    vv_free(pool->lanes[0].ring);
    vv_free(pool);
}
