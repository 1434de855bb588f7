/*
 * svc_push.c - see svc_push.h.
 */
#include "server/svc_push.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "object/object.h"
#include "server/evlog.h"
#include "server/svc_figures.h"

#define TIMEOUT_MS 10000u
#define TEXT_MAX (1024u * 1024)
#define ANSWER_MAX 4096u

struct svc_push {
    node *n;
    const char *endpoint;
    int64_t interval_ns;
    int64_t start_ns; /* wall, of the process */
    objs_http *http;
    char header[EVLOG_HEADERS_MAX][EVLOG_HEADER_MAX];
    size_t header_count;
    vv_thread *thread;
    vv_buf text;
    vv_buf request;
    bool was_good; /* the last one: changes are logged */
    _Atomic uint64_t pushes;
    _Atomic uint64_t failures;

    vv_mutex lock; /* rank VV_RANK_SERVER: guards the rest */
    vv_cond wake;
    bool stopping;
};

static vv_status push(struct svc_push *p, vv_error *err)
{
    const char *header[EVLOG_HEADERS_MAX + 1] = {"Content-Type: application/x-protobuf"};
    bool again = false;
    for (size_t i = 0; i < p->header_count; i++)
        header[i + 1] = p->header[i];
    vv_buf_reset(&p->text);
    vv_buf_reset(&p->request);
    svc_metrics_text(p->n, &p->text);
    vv_status st = p->text.status == VV_OK ? VV_OK : vv_fail(err, VV_NO_MEMORY, "figures");
    if (st == VV_OK)
        st = svc_push_encode(vv_buf_slice(&p->text), p->start_ns, vv_clock_wall(p->n->env.clock),
                             &p->request, err);
    if (st == VV_OK)
        st = objs_post(p->http, p->endpoint, header, p->header_count + 1, vv_buf_slice(&p->request),
                       ANSWER_MAX, NULL, &again, err);
    return st;
}

static void note(struct svc_push *p, vv_status st, const vv_error *err)
{
    atomic_fetch_add_explicit(st == VV_OK ? &p->pushes : &p->failures, 1, memory_order_relaxed);
    if ((st == VV_OK) == p->was_good)
        return;
    p->was_good = st == VV_OK;
    if (st == VV_OK)
        vv_log_to(p->n->log, VV_LOG_INFO, "metrics", "figures are pushed",
                  VV_KV_S("endpoint", p->endpoint));
    else
        vv_log_to(p->n->log, VV_LOG_WARN, "metrics",
                  "figures could not be pushed: the next ones are tried when they are due",
                  VV_KV_S("endpoint", p->endpoint), VV_KV_S("error", err->msg));
}

static void push_for_ever(void *arg)
{
    struct svc_push *p = arg;
    vv_clock *clock = p->n->env.clock;
    int64_t due = vv_clock_mono(clock) + p->interval_ns;
    vv_mutex_lock(&p->lock);
    while (!p->stopping) {
        int64_t left = due - vv_clock_mono(clock);
        if (left > 0) {
            (void)vv_cond_wait_for(&p->wake, &p->lock, left);
            continue;
        }
        vv_mutex_unlock(&p->lock);
        vv_error err = {0};
        vv_status st = push(p, &err);
        vv_mutex_lock(&p->lock);
        bool stopping = p->stopping;
        vv_mutex_unlock(&p->lock);
        if (!stopping)
            note(p, st, &err);
        due = vv_clock_mono(clock) + p->interval_ns;
        vv_mutex_lock(&p->lock);
    }
    vv_mutex_unlock(&p->lock);
}

vv_status svc_push_start(node *n, const config *c, vv_error *err)
{
    const char *ca = c->log_otlp_ca_file;
    const objs_post_options post = {.ca_file = ca[0] == '\0' ? NULL : ca, .timeout_ms = TIMEOUT_MS};
    env_process_stats process;
    if (c->metrics_push_endpoint[0] == '\0')
        return VV_OK;
    struct svc_push *p = vv_calloc(1, sizeof *p);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "push of figures");
    env_process_stats_read(&process);
    n->push = p;
    p->n = n;
    p->endpoint = c->metrics_push_endpoint;
    p->interval_ns = (int64_t)c->metrics_push_interval_ms * VV_NS_PER_MS;
    p->start_ns = process.start_wall_ns;
    p->was_good = true;
    vv_buf_init(&p->text, TEXT_MAX);
    vv_buf_init(&p->request, 2 * TEXT_MAX);
    vv_mutex_init(&p->lock, VV_RANK_SERVER);
    vv_cond_init(&p->wake);
    vv_status st = evlog_headers_parse(c->log_otlp_headers, p->header, &p->header_count, err);
    if (st == VV_OK) {
        st = objs_post_open(&n->env, &post, &p->http, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "metrics.push_endpoint");
    }
    return st == VV_OK ? n->env.threads->create("vv-push", VV_THREAD_NORMAL, push_for_ever, p,
                                                &p->thread, err)
                       : st;
}

void svc_push_stop(node *n)
{
    struct svc_push *p = n->push;
    if (p == NULL)
        return;
    vv_mutex_lock(&p->lock);
    p->stopping = true;
    vv_cond_broadcast(&p->wake);
    vv_mutex_unlock(&p->lock);
    if (p->thread != NULL) {
        objs_http_cancel(p->http);
        n->env.threads->join(p->thread);
    }
    p->thread = NULL;
}

void svc_push_close(node *n)
{
    struct svc_push *p = n->push;
    if (p == NULL)
        return;
    n->push = NULL;
    objs_http_destroy(p->http);
    explicit_bzero(p->header, sizeof p->header);
    vv_buf_fini(&p->text);
    vv_buf_fini(&p->request);
    vv_cond_fini(&p->wake);
    vv_mutex_fini(&p->lock);
    vv_free(p);
}

void svc_push_figures(const node *n, vv_buf *out)
{
    const struct svc_push *p = n->push;
    if (p == NULL)
        return;
    fig_counter(out, "varve_metrics_pushes_total", "Pushes to metrics.push_endpoint.",
                (double)atomic_load_explicit(&p->pushes, memory_order_relaxed));
    fig_counter(out, "varve_metrics_push_failures_total", "Those that failed.",
                (double)atomic_load_explicit(&p->failures, memory_order_relaxed));
}
