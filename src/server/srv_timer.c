#include "server/srv_timer.h"

#include "base/alloc.h"
#include "base/util.h"

void srv_timers_fini(srv_timers *t)
{
    vv_free(t->heap);
    *t = (srv_timers){0};
}

static void place(srv_timers *t, size_t i, srv_timer *timer)
{
    t->heap[i] = timer;
    timer->place = i + 1;
}

static void sift_up(srv_timers *t, size_t i, srv_timer *timer)
{
    while (i > 0 && t->heap[(i - 1) / 2]->at_ns > timer->at_ns) {
        place(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(t, i, timer);
}

static void sift_down(srv_timers *t, size_t i, srv_timer *timer)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->heap[child + 1]->at_ns < t->heap[child]->at_ns)
            child++;
        if (t->heap[child]->at_ns >= timer->at_ns)
            break;
        place(t, i, t->heap[child]);
        i = child;
    }
    place(t, i, timer);
}

/* Put timer where it belongs, given that slot i is free for it. */
static void settle(srv_timers *t, size_t i, srv_timer *timer)
{
    if (i > 0 && t->heap[(i - 1) / 2]->at_ns > timer->at_ns)
        sift_up(t, i, timer);
    else
        sift_down(t, i, timer);
}

bool srv_timer_set(srv_timers *t, srv_timer *timer, int64_t at_ns)
{
    timer->at_ns = at_ns;
    if (timer->place > 0) {
        settle(t, timer->place - 1, timer);
        return true;
    }
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 16 : t->cap * 2;
        srv_timer **heap = vv_realloc(t->heap, cap * sizeof(srv_timer *));
        if (heap == NULL)
            return false;
        t->heap = heap;
        t->cap = cap;
    }
    t->count++;
    sift_up(t, t->count - 1, timer);
    return true;
}

void srv_timer_cancel(srv_timers *t, srv_timer *timer)
{
    if (timer->place == 0)
        return;
    size_t i = timer->place - 1;
    timer->place = 0;
    t->count--;
    if (i < t->count)
        settle(t, i, t->heap[t->count]);
}

void srv_timers_run(srv_timers *t, int64_t now_ns)
{
    while (t->count > 0 && t->heap[0]->at_ns <= now_ns) {
        srv_timer *timer = t->heap[0];
        srv_timer_cancel(t, timer);
        timer->fn(timer);
    }
}

int64_t srv_timers_next(const srv_timers *t)
{
    return t->count == 0 ? INT64_MAX : t->heap[0]->at_ns;
}
