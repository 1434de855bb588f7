/*
 * svc_tier.c - see svc_tier.h.
 */
#include "server/svc_tier.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define PAUSE_FIRST_NS VV_NS_PER_S
#define PAUSE_MAX_NS (30 * VV_NS_PER_S)

struct svc_tier {
    vv_object_store *objects;
    vv_clock *clock;
    vv_log *log;
    const vv_threads *threads;
    vv_thread *thread;

    vv_mutex lock; /* rank VV_RANK_SERVER: guards the rest */
    vv_cond wake;
    bool stopping;
    bool has_answered;
    uint64_t questions;
    vv_object_fault fault; /* of the last */
    char why[SVC_TIER_WHY_MAX];
};

static vv_status open_objects(const config *c, vv_object_store **out, vv_error *err)
{
    vv_object_options opt;
    config_object_options(c, &opt);
    vv_status st = vv_object_store_open(&opt, out, err);
    return st == VV_OK ? st : vv_wrap(err, st, "storage.backend");
}

vv_status svc_tier_check(const config *c, vv_error *err)
{
    vv_object_store *objects = NULL;
    if (!config_has_tier(c))
        return VV_OK;
    vv_status st = open_objects(c, &objects, err);
    vv_object_store_close(objects);
    return st;
}

vv_status svc_tier_open(node *n, const config *c, vv_error *err)
{
    if (!config_has_tier(c))
        return VV_OK;
    struct svc_tier *t = vv_calloc(1, sizeof *t);
    if (t == NULL)
        return vv_fail(err, VV_NO_MEMORY, "object store");
    t->clock = n->env.clock;
    t->log = n->log;
    t->threads = n->env.threads;
    vv_mutex_init(&t->lock, VV_RANK_SERVER);
    vv_cond_init(&t->wake);
    (void)snprintf(t->why, sizeof t->why, "it was not asked yet");
    n->tier = t;
    return open_objects(c, &t->objects, err);
}

vv_object_store *svc_tier_store(const node *n)
{
    return n->tier == NULL ? NULL : n->tier->objects;
}

/* ---- until it answers ---------------------------------------------------------------------- */

static bool see_one(void *ctx, const char *name, const vv_object_info *info)
{
    (void)ctx;
    (void)name;
    (void)info;
    return false;
}

static void note_answer(struct svc_tier *t, vv_status st, const vv_object_outcome *oc,
                        const vv_error *err)
{
    const char *name = vv_object_store_name(t->objects);
    vv_mutex_lock(&t->lock);
    bool is_new = t->questions++ == 0 || t->fault != oc->fault;
    t->fault = oc->fault;
    t->has_answered = st == VV_OK;
    (void)snprintf(t->why, sizeof t->why, "%s", st == VV_OK ? "" : err->msg);
    bool stopping = t->stopping;
    vv_mutex_unlock(&t->lock);
    if (st == VV_OK)
        vv_log_to(t->log, VV_LOG_INFO, "object", "the object store answers",
                  VV_KV_S("store", name));
    else if (is_new && !stopping)
        vv_log_to(
            t->log, VV_LOG_ERROR, "object",
            "the object store cannot be used: messages wait in the local log, and it is asked "
            "again",
            VV_KV_S("store", name), VV_KV_S("status", vv_status_name(st)),
            VV_KV_S("fault", vv_object_fault_name(oc->fault)), VV_KV_S("error", err->msg));
}

/* A list with one row: it needs the place, the bucket, the keys and the clock to be right. */
static vv_status ask(struct svc_tier *t)
{
    bool more = false;
    vv_object_outcome oc = {0};
    vv_error err = {0};
    vv_status st = vv_object_list(t->objects, "", NULL, 1, see_one, NULL, &more, &oc, &err);
    note_answer(t, st, &oc, &err);
    return st;
}

static void ask_until_it_answers(void *arg)
{
    struct svc_tier *t = arg;
    int64_t pause = PAUSE_FIRST_NS;
    bool stopping = false;
    while (!stopping && ask(t) != VV_OK) {
        vv_mutex_lock(&t->lock);
        int64_t until = vv_clock_mono(t->clock) + pause;
        for (int64_t left = pause; !t->stopping && left > 0; left = until - vv_clock_mono(t->clock))
            (void)vv_cond_wait_for(&t->wake, &t->lock, left);
        stopping = t->stopping;
        vv_mutex_unlock(&t->lock);
        pause = (int64_t)vv_min_u64((uint64_t)pause * 2, PAUSE_MAX_NS);
    }
}

vv_status svc_tier_start(node *n, vv_error *err)
{
    struct svc_tier *t = n->tier;
    if (t == NULL)
        return VV_OK;
    return t->threads->create("vv-tier", VV_THREAD_NORMAL, ask_until_it_answers, t, &t->thread,
                              err);
}

void svc_tier_stop(node *n)
{
    struct svc_tier *t = n->tier;
    if (t == NULL || t->objects == NULL)
        return;
    vv_mutex_lock(&t->lock);
    t->stopping = true;
    vv_cond_broadcast(&t->wake);
    vv_mutex_unlock(&t->lock);
    vv_object_store_cancel(t->objects);
    if (t->thread != NULL)
        t->threads->join(t->thread);
    t->thread = NULL;
}

void svc_tier_close(node *n)
{
    struct svc_tier *t = n->tier;
    if (t == NULL)
        return;
    vv_object_store_close(t->objects);
    vv_cond_fini(&t->wake);
    vv_mutex_fini(&t->lock);
    vv_free(t);
    n->tier = NULL;
}

bool svc_tier_state_read(const node *n, svc_tier_state *out)
{
    struct svc_tier *t = n->tier;
    if (t == NULL)
        return false;
    vv_mutex_lock(&t->lock);
    out->name = vv_object_store_name(t->objects);
    out->has_answered = t->has_answered;
    out->questions = t->questions;
    memcpy(out->why, t->why, sizeof out->why);
    vv_mutex_unlock(&t->lock);
    return true;
}

bool svc_tier_is_ready(node *n, char *why, size_t why_len)
{
    svc_tier_state s;
    why[0] = '\0';
    if (!svc_tier_state_read(n, &s) || s.has_answered)
        return true;
    (void)snprintf(why, why_len, "the object store was never reached: %s", s.why);
    return false;
}
