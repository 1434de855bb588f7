/*
 * vio_sched.c - the ranking of transfers.
 *
 * Why a gap beside a depth: one transfer of compaction after the other, each started when the one
 * before ends, is a depth of one and still a whole disk. The gap bounds the rate, and so both how
 * much a higher class is disturbed and how long a lower one can be held back.
 *
 * The lock is held for a few additions. A transfer takes tens of microseconds.
 */
#include "io/vio_sched.h"

#include "base/util.h"

typedef struct limits {
    uint32_t depth;
    uint32_t busy_depth;
    int64_t gap_ns; /* between two starts while a higher class is active */
} limits;

static const limits limits_of[VIO_CLASSES] = {
    [VIO_CLASS_LOG] = {64, 64, 0},
    [VIO_CLASS_READ] = {128, 32, 0},
    [VIO_CLASS_FLUSH] = {8, 2, 250 * VV_NS_PER_US},
    [VIO_CLASS_COMPACTION] = {4, 1, VV_NS_PER_MS},
};

void vio_sched_init(vio_sched *s, vv_clock *clock)
{
    *s = (vio_sched){.clock = clock};
    for (unsigned i = 0; i < VIO_CLASSES; i++)
        s->of[i].last_start = -limits_of[i].gap_ns;
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    vv_cond_init(&s->freed);
}

void vio_sched_fini(vio_sched *s)
{
    for (unsigned i = 0; i < VIO_CLASSES; i++)
        assert(s->of[i].active == 0 && s->of[i].waiting == 0);
    vv_cond_fini(&s->freed);
    vv_mutex_fini(&s->lock);
}

static bool is_outranked(const vio_sched *s, vio_class cls)
{
    for (unsigned i = 0; i < (unsigned)cls; i++)
        if (s->of[i].active > 0 || s->of[i].waiting > 0)
            return true;
    return false;
}

/* Count one in if it may start. *wait_ns: for how long it is refused for certain unless a transfer
 * ends; INT64_MAX: until one does. */
static bool admit(vio_sched *s, vio_class cls, int64_t *wait_ns) VV_REQUIRES(s->lock)
{
    vio_sched_class *c = &s->of[cls];
    const limits *l = &limits_of[cls];
    bool busy = is_outranked(s, cls);
    *wait_ns = INT64_MAX;
    if (c->active >= (busy ? l->busy_depth : l->depth))
        return false;
    if (l->gap_ns > 0) {
        int64_t now = vv_clock_mono(s->clock);
        if (busy && now - c->last_start < l->gap_ns) {
            *wait_ns = l->gap_ns - (now - c->last_start);
            return false;
        }
        c->last_start = now;
    }
    c->active++;
    c->entered++;
    return true;
}

bool vio_sched_try(vio_sched *s, vio_class cls)
{
    if (s == NULL)
        return true;
    int64_t wait_ns;
    vv_mutex_lock(&s->lock);
    bool ok = admit(s, cls, &wait_ns);
    vv_mutex_unlock(&s->lock);
    return ok;
}

void vio_sched_enter(vio_sched *s, vio_class cls)
{
    if (s == NULL)
        return;
    int64_t wait_ns;
    vv_mutex_lock(&s->lock);
    bool ok = admit(s, cls, &wait_ns);
    s->of[cls].held_back += !ok;
    while (!ok) {
        s->of[cls].waiting++;
        if (wait_ns == INT64_MAX)
            vv_cond_wait(&s->freed, &s->lock);
        else
            (void)vv_cond_wait_for(&s->freed, &s->lock, wait_ns);
        s->of[cls].waiting--;
        ok = admit(s, cls, &wait_ns);
    }
    vv_mutex_unlock(&s->lock);
}

void vio_sched_leave(vio_sched *s, vio_class cls)
{
    if (s == NULL)
        return;
    uint32_t waiting = 0;
    vv_mutex_lock(&s->lock);
    assert(s->of[cls].active > 0);
    s->of[cls].active--;
    for (unsigned i = 0; i < VIO_CLASSES; i++)
        waiting += s->of[i].waiting;
    if (waiting > 0)
        vv_cond_broadcast(&s->freed);
    vv_mutex_unlock(&s->lock);
}

void vio_sched_read_stats(vio_sched *s, vio_sched_stats *out)
{
    vv_mutex_lock(&s->lock);
    for (unsigned i = 0; i < VIO_CLASSES; i++) {
        out->entered[i] = s->of[i].entered;
        out->held_back[i] = s->of[i].held_back;
    }
    vv_mutex_unlock(&s->lock);
}
