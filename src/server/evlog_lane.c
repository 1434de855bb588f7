/*
 * evlog_lane.c - the queue in front of one sink, and the thread that empties it.
 *
 *   push ---> bytes[fill] ==swap==> bytes[1 - fill] ---> put, put, ..., flush
 *
 * Two buffers: loggers fill one while the thread works on the other, so they hold the lock for one
 * copy. What fails stays where it is and is tried again; meanwhile the other buffer fills up, and
 * what does not fit in it is counted.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "server/evlog_sink.h"

#define PAUSE_FIRST_NS (VV_NS_PER_S / 4)
#define PAUSE_MAX_NS (30 * VV_NS_PER_S)

struct evlog_lane {
    evlog_lane_options opt;
    vv_thread *thread;
    uint8_t *bytes[2];
    size_t half; /* bytes of each */

    vv_mutex lock; /* rank VV_RANK_LEAF: guards what is to the blank line */
    vv_cond wake;  /* lines came, or stop */
    unsigned fill;
    size_t fill_len;
    bool stopping;
    bool has_ended;
    int64_t deadline_ns;
    uint64_t lost;
    uint64_t lines;
    bool failing;
    char why[160];

    /* The thread's own. */
    size_t at; /* in the buffer that is being emptied */
    size_t end;
    uint64_t taken;      /* since the flush before */
    bool unflushed;      /* taken by the sink, not out yet */
    uint64_t lost_here;  /* of lost, when the buffer was taken: they came behind its lines */
    uint64_t lost_told;  /* of those */
    int64_t pause_ns;    /* 0: nothing failed */
    int64_t retry_at_ns; /* with it */
};

void evlog_lane_push(evlog_lane *lane, const vv_log_record *r)
{
    vv_mutex_lock(&lane->lock);
    size_t n = lane->stopping ? 0
                              : evlog_pack(r, lane->bytes[lane->fill] + lane->fill_len,
                                           lane->half - lane->fill_len);
    if (n == 0 && !VV_BUG(153)) /* the bug: what did not fit is not counted */
        lane->lost++;
    if (n > 0 && lane->fill_len == 0)
        vv_cond_signal(&lane->wake);
    lane->fill_len += n;
    vv_mutex_unlock(&lane->lock);
}

/* ---- the thread's side --------------------------------------------------------------------- */

static void tell(evlog_lane *lane, vv_log_level level, const char *msg, const vv_kv *kvs,
                 size_t count)
{
    const vv_log_record r = {.wall_ns = vv_clock_wall(lane->opt.clock),
                             .level = level,
                             .module = "log",
                             .msg = msg,
                             .kvs = kvs,
                             .count = count};
    lane->opt.tell(lane->opt.tell_ctx, &r);
}

static void note_failure(evlog_lane *lane, const vv_error *why)
{
    bool is_new = lane->pause_ns == 0;
    lane->pause_ns = is_new ? PAUSE_FIRST_NS : lane->pause_ns * 2;
    if (lane->pause_ns > PAUSE_MAX_NS)
        lane->pause_ns = PAUSE_MAX_NS;
    lane->retry_at_ns = vv_clock_mono(lane->opt.clock) + lane->pause_ns;
    vv_mutex_lock(&lane->lock);
    lane->failing = true;
    (void)snprintf(lane->why, sizeof lane->why, "%s", why->msg);
    vv_mutex_unlock(&lane->lock);
    const vv_kv kvs[] = {VV_KV_S("sink", lane->opt.name), VV_KV_S("error", why->msg)};
    if (is_new)
        tell(lane, VV_LOG_ERROR, "a sink of the log fails: its lines wait, and are tried again",
             kvs, ARRAY_LEN(kvs));
}

static void note_success(evlog_lane *lane)
{
    bool was_failing = lane->pause_ns != 0;
    lane->pause_ns = 0;
    vv_mutex_lock(&lane->lock);
    lane->failing = false;
    lane->why[0] = '\0';
    vv_mutex_unlock(&lane->lock);
    const vv_kv kvs[] = {VV_KV_S("sink", lane->opt.name)};
    if (was_failing)
        tell(lane, VV_LOG_INFO, "a sink of the log works again", kvs, ARRAY_LEN(kvs));
}

static void count(evlog_lane *lane, uint64_t lines, uint64_t lost)
{
    vv_mutex_lock(&lane->lock);
    lane->lines += lines;
    lane->lost += lost;
    vv_mutex_unlock(&lane->lock);
}

/* Take what came meanwhile. False: nothing did. */
static bool refill(evlog_lane *lane)
{
    vv_mutex_lock(&lane->lock);
    lane->at = 0;
    lane->end = lane->fill_len;
    lane->lost_here = lane->lost;
    if (lane->end > 0) {
        lane->fill = 1 - lane->fill;
        lane->fill_len = 0;
    }
    vv_mutex_unlock(&lane->lock);
    return lane->end > 0;
}

/* A line in the sink itself about those that are missing from it. */
static vv_status put_lost(evlog_lane *lane, vv_error *err)
{
    uint64_t lost = lane->lost_here - lane->lost_told;
    if (lost == 0)
        return VV_OK;
    const vv_kv kvs[] = {VV_KV_U("lines", lost)};
    const vv_log_record r = {.wall_ns = vv_clock_wall(lane->opt.clock),
                             .level = VV_LOG_WARN,
                             .module = "log",
                             .msg = "lines are missing here: the sink was too slow, or would not "
                                    "take them",
                             .kvs = kvs,
                             .count = ARRAY_LEN(kvs)};
    vv_status st = lane->opt.sink->ops->put(lane->opt.sink, &r, err);
    if (st == VV_OK || st == VV_INVALID) {
        lane->lost_told = lane->lost_here;
        lane->unflushed = lane->unflushed || st == VV_OK;
        return VV_OK;
    }
    return st;
}

/* Hand over what lies in the buffer. */
static vv_status put_all(evlog_lane *lane, vv_error *err)
{
    const uint8_t *bytes = lane->bytes[1 - lane->fill];
    while (lane->at < lane->end) {
        evlog_unpacked u;
        size_t n = evlog_unpack(bytes + lane->at, &u);
        vv_status st = lane->opt.sink->ops->put(lane->opt.sink, &u.record, err);
        if (st == VV_INVALID)
            count(lane, 0, 1);
        else if (st != VV_OK)
            return st;
        else
            lane->taken++;
        lane->unflushed = lane->unflushed || st == VV_OK;
        lane->at += n;
    }
    return VV_OK;
}

static vv_status flush(evlog_lane *lane, vv_error *err)
{
    uint64_t lost = 0;
    vv_status st = VV_OK;
    if (lane->opt.sink->ops->flush != NULL && lane->unflushed)
        st = lane->opt.sink->ops->flush(lane->opt.sink, &lost, err);
    if (st != VV_OK && st != VV_INVALID)
        return st;
    count(lane, lane->taken - vv_min_u64(lost, lane->taken), lost);
    lane->taken = 0;
    lane->unflushed = false;
    return VV_OK;
}

int64_t evlog_lane_step(evlog_lane *lane)
{
    vv_error err = {0};
    vv_status st = VV_OK;
    if (lane->pause_ns != 0) {
        int64_t left = lane->retry_at_ns - vv_clock_mono(lane->opt.clock);
        if (left > 0)
            return left;
    }
    bool is_left = lane->at < lane->end || lane->unflushed || lane->lost_told < lane->lost_here;
    while (st == VV_OK && (is_left || refill(lane))) {
        is_left = false;
        st = flush(lane, &err); /* what an earlier step could not */
        if (st == VV_OK)
            st = put_all(lane, &err);
        if (st == VV_OK)
            st = put_lost(lane, &err);
        if (st == VV_OK)
            st = flush(lane, &err);
        if (st == VV_OK)
            note_success(lane);
    }
    if (st == VV_OK)
        return INT64_MAX;
    note_failure(lane, &err);
    return lane->pause_ns;
}

/* Wait until there is work, or time is up. False: it is over. */
static bool wait_for_work(evlog_lane *lane, int64_t wait_ns)
{
    vv_mutex_lock(&lane->lock);
    bool is_paused = wait_ns != INT64_MAX;
    if (!lane->stopping && (is_paused || lane->fill_len == 0)) {
        if (is_paused)
            (void)vv_cond_wait_for(&lane->wake, &lane->lock, wait_ns);
        else
            vv_cond_wait(&lane->wake, &lane->lock);
    }
    /* A sink that fails now is not waited for. */
    bool more = !lane->stopping || (!is_paused && lane->fill_len > 0 &&
                                    vv_clock_mono(lane->opt.clock) < lane->deadline_ns);
    vv_mutex_unlock(&lane->lock);
    return more;
}

static void run(void *arg)
{
    evlog_lane *lane = arg;
    while (wait_for_work(lane, evlog_lane_step(lane)))
        ;
    vv_mutex_lock(&lane->lock);
    lane->has_ended = true;
    vv_cond_broadcast(&lane->wake);
    vv_mutex_unlock(&lane->lock);
}

/* ---- the beginning and the end ------------------------------------------------------------- */

vv_status evlog_lane_create(const evlog_lane_options *opt, evlog_lane **out, vv_error *err)
{
    char name[16];
    evlog_lane *lane = vv_calloc(1, sizeof *lane);
    if (lane == NULL) {
        opt->sink->ops->destroy(opt->sink);
        return vv_fail(err, VV_NO_MEMORY, "log sink %s", opt->name);
    }
    lane->opt = *opt;
    lane->half = opt->queue_bytes / 2;
    vv_mutex_init(&lane->lock, VV_RANK_LEAF);
    vv_cond_init(&lane->wake);
    lane->bytes[0] = vv_alloc(lane->half);
    lane->bytes[1] = vv_alloc(lane->half);
    vv_status st = VV_OK;
    if (lane->bytes[0] == NULL || lane->bytes[1] == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "log sink %s: its queue", opt->name);
    (void)snprintf(name, sizeof name, "vv-log-%s", opt->name);
    if (st == VV_OK && opt->threads != NULL)
        st = opt->threads->create(name, VV_THREAD_NORMAL, run, lane, &lane->thread, err);
    if (st != VV_OK) {
        evlog_lane_destroy(lane);
        return st;
    }
    *out = lane;
    return VV_OK;
}

void evlog_lane_stop(evlog_lane *lane, int64_t deadline_ns)
{
    vv_mutex_lock(&lane->lock);
    lane->stopping = true;
    lane->deadline_ns = deadline_ns;
    vv_cond_broadcast(&lane->wake);
    vv_mutex_unlock(&lane->lock);
}

void evlog_lane_destroy(evlog_lane *lane)
{
    if (lane == NULL)
        return;
    if (lane->thread != NULL) {
        vv_mutex_lock(&lane->lock);
        int64_t left = lane->deadline_ns - vv_clock_mono(lane->opt.clock);
        while (!lane->has_ended && left > 0) {
            (void)vv_cond_wait_for(&lane->wake, &lane->lock, left);
            left = lane->deadline_ns - vv_clock_mono(lane->opt.clock);
        }
        vv_mutex_unlock(&lane->lock);
        if (lane->opt.sink->ops->cancel != NULL)
            lane->opt.sink->ops->cancel(lane->opt.sink);
        lane->opt.threads->join(lane->thread);
    }
    lane->opt.sink->ops->destroy(lane->opt.sink);
    vv_free(lane->bytes[0]);
    vv_free(lane->bytes[1]);
    vv_cond_fini(&lane->wake);
    vv_mutex_fini(&lane->lock);
    vv_free(lane);
}

void evlog_lane_stats(evlog_lane *lane, evlog_sink_stats *out)
{
    vv_mutex_lock(&lane->lock);
    out->is_on = true;
    out->is_failing = lane->failing;
    out->lines = lane->lines;
    out->lost = lane->lost;
    out->queued_bytes = lane->fill_len;
    memcpy(out->error, lane->why, sizeof out->error);
    vv_mutex_unlock(&lane->lock);
}
