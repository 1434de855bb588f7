/*
 * clock.h - time, through one door. base/ holds the table, io/ the real one and the simulator's.
 *
 * Monotonic time measures and times out; wall time stamps records. Wall time never decides order.
 */
#ifndef VARVE_BASE_CLOCK_H
#define VARVE_BASE_CLOCK_H

#include <stdint.h>

typedef struct vv_clock vv_clock;

typedef struct vv_clock_ops {
    int64_t (*mono_ns)(vv_clock *clock); /* never goes back within a process */
    int64_t (*wall_ns)(vv_clock *clock); /* since the Unix epoch, may jump */
    void (*sleep_ns)(vv_clock *clock, int64_t ns);
} vv_clock_ops;

struct vv_clock {
    const vv_clock_ops *ops;
};

static inline int64_t vv_clock_mono(vv_clock *clock)
{
    return clock->ops->mono_ns(clock);
}

static inline int64_t vv_clock_wall(vv_clock *clock)
{
    return clock->ops->wall_ns(clock);
}

static inline void vv_clock_sleep(vv_clock *clock, int64_t ns)
{
    clock->ops->sleep_ns(clock, ns);
}

#endif
