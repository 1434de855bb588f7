/*
 * srv_timer.h - the timers of one loop: a binary heap of intrusive entries.
 *
 * A heap and not a wheel because an idle server should sleep until the next real expiry: most
 * timers are minutes away and a wheel would wake for each of its slots.
 */
#ifndef VARVE_SERVER_SRV_TIMER_H
#define VARVE_SERVER_SRV_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct srv_timer srv_timer;
struct srv_timer {
    int64_t at_ns;
    size_t place; /* 1 + index in the heap; 0: not armed */
    void (*fn)(srv_timer *timer);
};

/* One thread only. A zero-filled srv_timers is empty. */
typedef struct srv_timers {
    srv_timer **heap;
    size_t count;
    size_t cap;
} srv_timers;

void srv_timers_fini(srv_timers *t);
/** Arm, or move when armed. False when memory is short; moving never fails. */
bool srv_timer_set(srv_timers *t, srv_timer *timer, int64_t at_ns);
/** Does nothing when it is not armed. */
void srv_timer_cancel(srv_timers *t, srv_timer *timer);
/** Disarm and call each timer that is due. fn may arm and cancel any timer. */
void srv_timers_run(srv_timers *t, int64_t now_ns);
/** When the next is due; INT64_MAX when there is none. */
int64_t srv_timers_next(const srv_timers *t);

#endif
