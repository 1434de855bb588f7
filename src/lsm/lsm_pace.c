/*
 * lsm_pace.c - how much writers are slowed, and how fast compaction goes.
 *
 *     writers --> memtables --> flush --> level 0 --> compaction --> levels below
 *                    m                       s                          d
 *
 * A writer stalls where there is no room for another memtable. Long before that it is slowed to a
 * part of the speed of whatever makes the room, so that it comes to rest where both are as fast:
 * many short pauses instead of a long one. Two ways lead to the stall:
 *
 *   - flushes are slower than writers: m, the frozen memtables and the used share of the active
 *     one, goes from 1 to memtable_count;
 *   - compaction is slower than flushes: s + m goes from what is usual to SLOW_TO * level0_runs_max
 *     sets, where flushing waits, and the memtables after them; or the debt d of the levels grows.
 *
 * m and s + m grow with each byte written and jump neither when a memtable is frozen nor when it is
 * flushed, so the delay does not either. It is
 *
 *     delay a byte = flush time a byte * curve(x of m) + compaction time a byte * curve(x of s + m,
 * d) curve(x)     = 0 for x <= 0,  2 x^2 / (1 - x) above, at most 64
 *
 * with x the share of the way from where slowing begins to the stall. The times are measured: of
 * the last flushes and compactions, waits for CPU and disk included. curve is 1 at x = 1/2: there a
 * writer without costs of its own comes to rest. It is reached later when the measured time was too
 * short, up to 64 times; a compaction that takes longer than those before counts while it runs.
 *
 * Compaction takes what the debt needs and no more: while somebody writes, it works a part of the
 * time that grows to all of it where writers would be slowed; and never more bytes a second than
 * compaction_budget. So it gathers a little more before it merges, which costs less in all.
 */
#include "lsm/lsm_pace.h"

#include "base/util.h"
#include "lsm/lsm_int.h"

#define MEMTABLES_FROM 0.375 /* of the way from one memtable to all: a burst fits */
#define SLOW_FROM 2.0        /* times level0_runs_max, and a memtable */
#define DEBT_FROM 8.0        /* targets of level 1 */
#define DEBT_TO 64.0
#define UNKNOWN_PS 10000.0 /* a byte, before the first flush and compaction: 100 MB/s */
#define LONGEST_PS 1e6     /* a byte: 1 MB/s. A measured time beyond it was no work */
#define WAIT_NS (10 * VV_NS_PER_MS)
#define CREDIT_NS (200 * VV_NS_PER_MS) /* of its budget that compaction may use later */

/* ---- pure ---- */

/* Where x stands between from and to: 0 to 1. */
static double between(double x, double from, double to)
{
    double share = (x - from) / (to - from);
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

double lsm_pace_curve(double x)
{
    if (x <= 0)
        return 0;
    if (x >= 1)
        return LSM_PACE_STEEPEST;
    double y = 2 * x * x / (1 - x);
    return y < LSM_PACE_STEEPEST ? y : LSM_PACE_STEEPEST;
}

static double memtable_share(const lsm_pace_at *at)
{
    double from = 1 + MEMTABLES_FROM * (at->memtables_max - 1);
    return between(at->memtables, from, at->memtables_max);
}

static double level_share(const lsm_pace_at *at)
{
    double sets = between(at->sets + at->memtables, SLOW_FROM * at->sets_max + 1,
                          LSM_SETS_MAX * at->sets_max + at->memtables_max);
    double debt = between(at->debt, DEBT_FROM, DEBT_TO);
    return sets > debt ? sets : debt;
}

double lsm_pace_delay(const lsm_pace_at *at)
{
    return at->flush_ps * lsm_pace_curve(memtable_share(at)) +
           at->compact_ps * lsm_pace_curve(level_share(at));
}

double lsm_pace_duty(const lsm_pace_at *at)
{
    double sets = between(at->sets, at->sets_max, SLOW_FROM * at->sets_max);
    double debt = between(at->debt, 1, DEBT_FROM);
    double need = sets > debt ? sets : debt;
    return LSM_PACE_DUTY_MIN + (1 - LSM_PACE_DUTY_MIN) * need;
}

/* ---- of a store ---- */

static uint64_t load(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static double time_of(const _Atomic uint64_t *at)
{
    uint64_t ps = load(at);
    return ps == 0 ? UNKNOWN_PS : (double)ps;
}

/* As the last ones went, the one that is under way or the budget: whatever is slowest. */
static double compact_time(const lsm_engine *e)
{
    double ps = time_of(&e->pace.compact_ps);
    double running = (double)load(&e->pace.running_ps);
    double least = e->opt.compaction_budget == 0 ? 0 : 1e12 / (double)e->opt.compaction_budget;
    ps = ps > running ? ps : running;
    return ps > least ? ps : least;
}

static lsm_pace_at stand_of(const lsm_engine *e)
{
    const lsm_pace *p = &e->pace;
    double used = (double)load(&p->active_bytes) / (double)e->opt.memtable_size;
    double frozen = (double)atomic_load_explicit(&p->frozen, memory_order_relaxed);
    return (lsm_pace_at){
        .memtables = frozen + (used < 1 ? used : 1),
        .memtables_max = e->opt.memtable_count,
        .sets = (double)atomic_load_explicit(&p->sets, memory_order_relaxed),
        .sets_max = e->opt.level0_runs_max,
        .debt = (double)load(&p->debt) / (double)lsm_level_target(e, 1),
        .flush_ps = time_of(&p->flush_ps),
        .compact_ps = compact_time(e),
    };
}

/* Bytes that compaction has still to move to bring every level to its target. */
static uint64_t debt_of(const lsm_engine *e, const lsm_view *view)
{
    uint64_t debt = 0;
    for (uint32_t i = 0; i < view->level_count; i++) {
        const lsm_level *level = view->level[i];
        uint64_t target = level->number == 0 ? 0 : lsm_level_target(e, level->number);
        if (level->number + 1 < LSM_LEVELS && level->bytes > target)
            debt += level->bytes - target;
    }
    return debt;
}

void lsm_pace_note_view(lsm_engine *e, const lsm_view *view)
{
    lsm_pace *p = &e->pace;
    uint32_t frozen = view->mem_count > 0 ? view->mem_count - 1 : 0;
    uint64_t debt = debt_of(e, view);
    uint64_t active = view->mem_count > 0 ? engine_memtable_bytes(view->mem[0]) : 0;
    atomic_store_explicit(&p->active_bytes, active, memory_order_relaxed);
    atomic_store_explicit(&p->frozen, frozen, memory_order_relaxed);
    atomic_store_explicit(&p->sets, view->level0_count, memory_order_relaxed);
    atomic_store_explicit(&p->debt, debt, memory_order_relaxed);
    bool near = frozen > 0 ||
                view->level0_count + 1.0 > SLOW_FROM * (double)e->opt.level0_runs_max ||
                (double)debt > DEBT_FROM * (double)lsm_level_target(e, 1);
    atomic_store_explicit(&p->is_near, near, memory_order_relaxed);
}

/* One more measurement: newer ones weigh more. */
static void note_time(_Atomic uint64_t *at, uint64_t bytes, uint64_t took_ns)
{
    double ps = (double)took_ns * 1000 / (double)bytes;
    ps = ps > LONGEST_PS ? LONGEST_PS : ps < 1 ? 1 : ps;
    uint64_t before = load(at);
    if (before > 0)
        ps = (3 * (double)before + ps) / 4;
    atomic_store_explicit(at, (uint64_t)ps, memory_order_relaxed);
}

void lsm_pace_note_flush(lsm_engine *e, uint64_t bytes, int64_t took_ns)
{
    if (bytes > 0 && took_ns >= 0)
        note_time(&e->pace.flush_ps, bytes, (uint64_t)took_ns);
}

void lsm_pace_note_compaction(lsm_engine *e, uint64_t level0_bytes, int64_t took_ns)
{
    lsm_pace *p = &e->pace;
    atomic_store_explicit(&p->running_ps, 0, memory_order_relaxed);
    p->spent_ns += took_ns > 0 ? (uint64_t)took_ns : 0;
    if (level0_bytes == 0)
        return; /* the way of bytes that left level 0 before */
    note_time(&p->compact_ps, level0_bytes, p->spent_ns);
    p->spent_ns = 0;
}

/* One that takes longer than those before counts before it has ended. */
static void note_running(lsm_engine *e, const lsm_progress *job, int64_t now)
{
    double bytes = job == NULL ? 0 : (double)job->merged * job->level0_share;
    double ps = 0;
    if (job != NULL && bytes > (double)e->opt.memtable_size / 8)
        ps = (double)(now - job->begin_ns) * 1000 / bytes;
    ps = ps > LONGEST_PS ? LONGEST_PS : ps;
    atomic_store_explicit(&e->pace.running_ps, (uint64_t)ps, memory_order_relaxed);
}

void lsm_pace_note_piece(lsm_engine *e, const lsm_progress *job, uint64_t bytes, int64_t begin_ns,
                         bool may_rest)
{
    lsm_pace *p = &e->pace;
    int64_t now = vv_clock_mono(e->opt.env->clock);
    int64_t took_ns = now - begin_ns;
    int64_t visible = atomic_load_explicit(&e->visible, memory_order_relaxed);
    int64_t next = p->next_ns > now - CREDIT_NS ? p->next_ns : now - CREDIT_NS;
    next += e->opt.compaction_budget == 0
                ? 0
                : (int64_t)((double)bytes * 1e9 / (double)e->opt.compaction_budget);
    if (may_rest && visible != p->visible_seen && took_ns > 0) {
        lsm_pace_at at = stand_of(e);
        int64_t due = now + (int64_t)((double)took_ns * (1 / lsm_pace_duty(&at) - 1));
        next = due > next ? due : next;
    }
    note_running(e, job, now);
    p->visible_seen = visible;
    p->next_ns = next;
}

bool lsm_pace_may_compact(lsm_engine *e)
{
    vv_clock *clock = e->opt.env->clock;
    int64_t left = e->pace.next_ns - vv_clock_mono(clock);
    if (left > 0)
        vv_clock_sleep(clock, left < WAIT_NS ? left : WAIT_NS);
    return left <= WAIT_NS;
}

double lsm_pace_delay_now(const lsm_engine *e)
{
    if (VV_LIKELY(!atomic_load_explicit(&e->pace.is_near, memory_order_relaxed)))
        return 0;
    lsm_pace_at at = stand_of(e);
    return lsm_pace_delay(&at);
}

int64_t lsm_throttle_ns(engine *base, size_t bytes)
{
    return (int64_t)((double)bytes * lsm_pace_delay_now(lsm_engine_of(base)) / 1000);
}
