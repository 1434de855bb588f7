/*
 * evlog.c - see evlog.h.
 */
#include "server/evlog.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log_limit.h"
#include "base/util.h"
#include "server/evlog_sink.h"

#define CLOSE_NS (2 * VV_NS_PER_S)

struct evlog {
    vv_log log;
    evlog_options opt;
    evlog_lane *lane[EVLOG_KINDS]; /* NULL: that sink is off; of stderr always */
    vv_thread *teller;
    vv_mutex write_lock; /* rank VV_RANK_LEAF: lines of stderr never mix */
    uint64_t written;    /* under write_lock */

    vv_mutex limit_lock; /* rank VV_RANK_LEAF: guards the rest */
    vv_cond limit_wake;
    bool stopping;
    vv_log_limit limit;
};

static const char *const kind_names[EVLOG_KINDS] = {"stderr", "file", "syslog", "journal", "otlp"};

const char *evlog_kind_name(unsigned kind)
{
    return kind < EVLOG_KINDS ? kind_names[kind] : "unknown";
}

static bool has(const evlog *e, evlog_kind kind)
{
    return (e->opt.sinks & 1u << kind) != 0;
}

/* ---- lines --------------------------------------------------------------------------------- */

static void write_stderr(void *ctx, const char *line, size_t len)
{
    (void)ctx;
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, line, len);
        if (n <= 0 && errno != EINTR)
            return; /* nowhere left to complain */
        if (n > 0) {
            line += n;
            len -= (size_t)n;
        }
    }
}

/* Also what sinks have to say of themselves, whether stderr is one of them or not. */
static void to_stderr(void *ctx, const vv_log_record *r)
{
    evlog *e = ctx;
    char text[VV_LOG_LINE_MAX];
    size_t len = vv_log_format(r, e->opt.form, text);
    vv_mutex_lock(&e->write_lock);
    e->written++;
    e->opt.write(e->opt.write_ctx, text, len);
    vv_mutex_unlock(&e->write_lock);
}

static void spread(evlog *e, const vv_log_record *r)
{
    if (has(e, EVLOG_STDERR))
        to_stderr(e, r);
    for (size_t i = 0; i < EVLOG_KINDS; i++)
        if (e->lane[i] != NULL)
            evlog_lane_push(e->lane[i], r);
}

static void spread_left_out(evlog *e, const vv_log_left_out *left)
{
    const vv_kv kvs[] = {VV_KV_S("message", left->msg), VV_KV_U("lines", left->count)};
    const vv_log_record r = {.wall_ns = vv_clock_wall(e->opt.clock),
                             .level = left->level,
                             .module = left->module,
                             .msg = "lines of one message were left out",
                             .kvs = kvs,
                             .count = ARRAY_LEN(kvs)};
    spread(e, &r);
}

static void on_record(void *ctx, const vv_log_record *r)
{
    evlog *e = ctx;
    vv_log_left_out left = {0};
    if (e->opt.limit_lines > 0) {
        int64_t now = vv_clock_mono(e->opt.clock);
        vv_mutex_lock(&e->limit_lock);
        bool passes = vv_log_limit_pass(&e->limit, r, now, &left);
        if (!passes && e->limit.untold == 1)
            vv_cond_signal(&e->limit_wake);
        vv_mutex_unlock(&e->limit_lock);
        if (left.count > 0)
            spread_left_out(e, &left);
        if (!passes)
            return;
    }
    spread(e, r);
}

/* ---- what repeats left out ----------------------------------------------------------------- */

/* Tell of every message whose while is over; all: of every one. True: there is more to tell. */
static bool tell_repeats(evlog *e, bool all)
{
    vv_log_left_out left;
    size_t at = 0;
    bool found = true;
    bool more = false;
    while (found) {
        int64_t now = vv_clock_mono(e->opt.clock);
        vv_mutex_lock(&e->limit_lock);
        found = vv_log_limit_sweep(&e->limit, now, all, &at, &left);
        more = e->limit.untold > 0;
        vv_mutex_unlock(&e->limit_lock);
        if (found)
            spread_left_out(e, &left);
    }
    return more;
}

static void tell_for_ever(void *arg)
{
    evlog *e = arg;
    vv_mutex_lock(&e->limit_lock);
    while (!e->stopping) {
        if (e->limit.untold == 0)
            vv_cond_wait(&e->limit_wake, &e->limit_lock);
        else
            (void)vv_cond_wait_for(&e->limit_wake, &e->limit_lock, e->opt.limit_span_ns);
        vv_mutex_unlock(&e->limit_lock);
        (void)tell_repeats(e, false);
        vv_mutex_lock(&e->limit_lock);
    }
    vv_mutex_unlock(&e->limit_lock);
}

/* ---- the beginning and the end ------------------------------------------------------------- */

static vv_status open_lane(evlog *e, evlog_kind kind, vv_error *err)
{
    static vv_status (*const create[EVLOG_KINDS])(const evlog_options *, evlog_sink **,
                                                  vv_error *) = {
        [EVLOG_FILE] = evlog_file_create,
        [EVLOG_SYSLOG] = evlog_syslog_create,
        [EVLOG_JOURNAL] = evlog_journal_create,
        [EVLOG_OTLP] = evlog_otlp_create,
    };
    evlog_sink *sink = NULL;
    if (create[kind] == NULL || !has(e, kind))
        return VV_OK;
    vv_status st = create[kind](&e->opt, &sink, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "log.sinks: %s", kind_names[kind]);
    const evlog_lane_options opt = {.name = kind_names[kind],
                                    .sink = sink,
                                    .queue_bytes = e->opt.queue_bytes,
                                    .clock = e->opt.clock,
                                    .threads = e->opt.threads,
                                    .tell = to_stderr,
                                    .tell_ctx = e};
    return evlog_lane_create(&opt, &e->lane[kind], err);
}

vv_status evlog_open(const evlog_options *opt, evlog **out, vv_error *err)
{
    assert(opt->clock != NULL && out != NULL && opt->queue_bytes >= 2 * EVLOG_PACKED_MAX);
    evlog *e = vv_calloc(1, sizeof *e);
    if (e == NULL)
        return vv_fail(err, VV_NO_MEMORY, "event log");
    e->opt = *opt;
    if (e->opt.write == NULL)
        e->opt.write = write_stderr;
    vv_mutex_init(&e->write_lock, VV_RANK_LEAF);
    vv_mutex_init(&e->limit_lock, VV_RANK_LEAF);
    vv_cond_init(&e->limit_wake);
    vv_log_limit_init(&e->limit, opt->limit_lines, opt->limit_span_ns);
    vv_log_init_records(&e->log, opt->level, &e->opt.rules, opt->clock, on_record, e);
    vv_status st = VV_OK;
    for (unsigned kind = 0; st == VV_OK && kind < EVLOG_KINDS; kind++)
        st = open_lane(e, (evlog_kind)kind, err);
    if (st == VV_OK && opt->threads != NULL && opt->limit_lines > 0)
        st = opt->threads->create("vv-log", VV_THREAD_NORMAL, tell_for_ever, e, &e->teller, err);
    if (st != VV_OK) {
        evlog_close(e);
        return st;
    }
    *out = e;
    return VV_OK;
}

vv_log *evlog_log(evlog *e)
{
    return &e->log;
}

evlog *evlog_of(vv_log *log)
{
    return log != NULL && log->record == on_record ? log->ctx : NULL;
}

int64_t evlog_step(evlog *e)
{
    int64_t wait = INT64_MAX;
    if (tell_repeats(e, false))
        wait = e->opt.limit_span_ns;
    for (size_t i = 0; i < EVLOG_KINDS; i++) {
        int64_t lane = e->lane[i] == NULL ? INT64_MAX : evlog_lane_step(e->lane[i]);
        wait = lane < wait ? lane : wait;
    }
    return wait;
}

void evlog_close(evlog *e)
{
    if (e == NULL)
        return;
    vv_mutex_lock(&e->limit_lock);
    e->stopping = true;
    vv_cond_broadcast(&e->limit_wake);
    vv_mutex_unlock(&e->limit_lock);
    if (e->teller != NULL)
        e->opt.threads->join(e->teller);
    (void)tell_repeats(e, true);
    int64_t deadline = vv_clock_mono(e->opt.clock) + CLOSE_NS;
    for (size_t i = 0; i < EVLOG_KINDS; i++)
        if (e->lane[i] != NULL)
            evlog_lane_stop(e->lane[i], deadline);
    for (size_t i = 0; i < EVLOG_KINDS; i++)
        evlog_lane_destroy(e->lane[i]);
    vv_log_fini(&e->log);
    vv_cond_fini(&e->limit_wake);
    vv_mutex_fini(&e->limit_lock);
    vv_mutex_fini(&e->write_lock);
    vv_free(e);
}

void evlog_stats_read(evlog *e, evlog_stats *out)
{
    memset(out, 0, sizeof *out);
    vv_mutex_lock(&e->write_lock);
    out->sink[EVLOG_STDERR] =
        (evlog_sink_stats){.is_on = has(e, EVLOG_STDERR), .lines = e->written};
    vv_mutex_unlock(&e->write_lock);
    for (size_t i = 0; i < EVLOG_KINDS; i++)
        if (e->lane[i] != NULL)
            evlog_lane_stats(e->lane[i], &out->sink[i]);
    vv_mutex_lock(&e->limit_lock);
    out->left_out = e->limit.left_out;
    vv_mutex_unlock(&e->limit_lock);
}
