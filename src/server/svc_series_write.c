/*
 * svc_series_write.c - see svc_series_write.h.
 *
 * vv_samples remembers the series it had, and its memory: so a few of them are kept, by table, with
 * the handle they were made of. They are destroyed before the store is closed, so svc_series_stop
 * waits for the writes that are under way.
 */
#include "server/svc_series_write.h"
#include "server/svc_util.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/util.h"

#define IDLE_MAX 8u                /* rooms kept */
#define ROOM_SERIES (1024u * 1024) /* bytes of series that are to have room besides */
#define TEXT_MAX 4096u             /* of decoded parameters */
#define PLAIN_MAX (64u * 1024 * 1024)

struct svc_series_room {
    svc_series_room *next;
    uint32_t table_id;
    vv_table *table;
    vv_samples *samples;
    feed_line *lines; /* NULL until it is needed */
};

struct svc_series_state {
    vv_mutex lock; /* rank VV_RANK_LEAF: idle, idle_count, busy */
    vv_cond idle_cond;
    svc_series_room *idle; /* the one used last is first */
    uint32_t idle_count;
    uint32_t busy; /* writes under way */
    _Atomic uint64_t requests;
    _Atomic uint64_t accepted;
    _Atomic uint64_t refused;
    _Atomic uint64_t late;
    _Atomic uint64_t created;
};

vv_status svc_series_start(node *n, vv_error *err)
{
    struct svc_series_state *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for writes of series");
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    vv_cond_init(&s->idle_cond);
    n->series = s;
    return VV_OK;
}

static void room_destroy(svc_series_room *room)
{
    if (room == NULL)
        return;
    vv_samples_destroy(room->samples);
    vv_table_close(room->table);
    feed_line_destroy(room->lines);
    vv_free(room);
}

static void rooms_destroy(svc_series_room *room)
{
    while (room != NULL) {
        svc_series_room *next = room->next;
        room_destroy(room);
        room = next;
    }
}

void svc_series_stop(node *n)
{
    struct svc_series_state *s = n->series;
    if (s == NULL)
        return;
    vv_mutex_lock(&s->lock);
    while (s->busy > 0)
        vv_cond_wait(&s->idle_cond, &s->lock);
    svc_series_room *room = s->idle;
    s->idle = NULL;
    vv_mutex_unlock(&s->lock);
    rooms_destroy(room);
    vv_cond_fini(&s->idle_cond);
    vv_mutex_fini(&s->lock);
    vv_free(s);
    n->series = NULL;
}

void svc_series_figures_read(node *n, svc_series_figures *out)
{
    const struct svc_series_state *s = n->series;
    *out = (svc_series_figures){0};
    if (s == NULL)
        return;
    out->requests = atomic_load_explicit(&s->requests, memory_order_relaxed);
    out->accepted = atomic_load_explicit(&s->accepted, memory_order_relaxed);
    out->refused = atomic_load_explicit(&s->refused, memory_order_relaxed);
    out->late = atomic_load_explicit(&s->late, memory_order_relaxed);
    out->created = atomic_load_explicit(&s->created, memory_order_relaxed);
}

/* ---- rooms ---- */

static svc_series_room *take_idle(struct svc_series_state *s, uint32_t table_id)
{
    svc_series_room *room = NULL;
    vv_mutex_lock(&s->lock);
    for (svc_series_room **at = &s->idle; *at != NULL; at = &(*at)->next)
        if ((*at)->table_id == table_id) {
            room = *at;
            *at = room->next;
            s->idle_count--;
            break;
        }
    vv_mutex_unlock(&s->lock);
    return room;
}

/* Takes table. */
static vv_status take_room(node *n, vv_table *table, svc_series_room **out, vv_error *err)
{
    vv_table_info info;
    vv_status st = vv_table_identify(table, &info, err);
    *out = st == VV_OK ? take_idle(n->series, info.id) : NULL;
    if (*out != NULL || st != VV_OK) {
        vv_table_close(table);
        return st;
    }
    svc_series_room *room = vv_calloc(1, sizeof *room);
    if (room == NULL) {
        vv_table_close(table);
        return vv_fail(err, VV_NO_MEMORY, "no memory for samples");
    }
    room->table_id = info.id;
    room->table = table;
    room->samples = vv_samples_create(table);
    if (room->samples == NULL) {
        room_destroy(room);
        return vv_fail(err, VV_NO_MEMORY, "no memory for samples");
    }
    vv_samples_leave_out(room->samples, true);
    *out = room;
    return VV_OK;
}

/* Rooms keep series from leaving memory: where that is short none is kept. */
static void give_room(node *n, svc_series_room *room)
{
    struct svc_series_state *s = n->series;
    uint32_t keep = vv_budget_is_short(n->budget, VV_BUDGET_INDEX, ROOM_SERIES) ? 0 : IDLE_MAX;
    vv_samples_clear(room->samples);
    vv_mutex_lock(&s->lock);
    room->next = s->idle;
    s->idle = room;
    s->idle_count++;
    svc_series_room **at = &s->idle;
    for (uint32_t i = 0; i < keep && *at != NULL; i++)
        at = &(*at)->next;
    svc_series_room *out = *at; /* those that lie longest go */
    *at = NULL;
    s->idle_count = s->idle_count < keep ? s->idle_count : keep;
    vv_mutex_unlock(&s->lock);
    rooms_destroy(out);
}

feed_line *svc_series_write_lines(svc_series_write *w)
{
    feed_line **at = w->room != NULL ? &w->room->lines : &w->lines;
    if (*at == NULL)
        *at = feed_line_create();
    return *at;
}

/* ---- a write ---- */

svc_series_write *svc_series_write_create(srv_call *call, srv_message msg,
                                          const svc_series_write_ops *ops)
{
    svc_series_write *w = vv_calloc(1, sizeof *w);
    if (w == NULL) {
        srv_message_release(&msg);
        return NULL;
    }
    srv_call_ref(call);
    w->n = srv_call_ctx(call);
    w->call = call;
    w->msg = msg;
    w->ops = ops;
    vv_buf_init(&w->text, TEXT_MAX);
    vv_buf_init(&w->plain, PLAIN_MAX);
    vv_mutex_lock(&w->n->series->lock);
    w->n->series->busy++;
    vv_mutex_unlock(&w->n->series->lock);
    return w;
}

void svc_series_write_destroy(svc_series_write *w)
{
    struct svc_series_state *s = w->n->series;
    if (w->room != NULL)
        give_room(w->n, w->room);
    srv_message_release(&w->msg);
    vv_budget_release(w->n->budget, VV_BUDGET_NETWORK, w->charge);
    vv_buf_fini(&w->text);
    vv_buf_fini(&w->plain);
    vv_free(w->columns);
    feed_line_destroy(w->lines);
    srv_call_unref(w->call);
    vv_free(w);
    vv_mutex_lock(&s->lock);
    if (--s->busy == 0)
        vv_cond_signal(&s->idle_cond);
    vv_mutex_unlock(&s->lock);
}

vv_status svc_series_write_charge(svc_series_write *w, uint64_t bytes, vv_error *err)
{
    if (!vv_budget_reserve(w->n->budget, VV_BUDGET_NETWORK, bytes))
        return vv_fail(err, VV_BUSY,
                       "storage.memory_limit is used up: retry after a pause, or send less at a "
                       "time");
    w->charge += bytes;
    return VV_OK;
}

uint64_t svc_series_refused(const svc_series_write *w, const char **first)
{
    *first = w->read.first_refusal[0] != '\0' ? w->read.first_refusal : w->total.first_refusal;
    return w->read.refused + w->total.refused;
}

static void count(svc_series_write *w)
{
    struct svc_series_state *s = w->n->series;
    atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->accepted, w->total.accepted, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->refused, w->read.refused + w->total.refused,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&s->late, w->total.late, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->created, w->total.series_created, memory_order_relaxed);
}

static void settle(svc_series_write *w, vv_status st)
{
    w->status = st;
    node_note_write(w->n, st);
    count(w);
    w->ops->settled(w);
}

/* On the commit thread, mostly. */
static void on_appended(void *ctx, vv_status st, const vv_append_result *r, const vv_error *err)
{
    svc_series_write *w = ctx;
    if (r != NULL && (st == VV_OK || (st == VV_BUSY && r->refused > 0))) {
        w->is_partial = st == VV_BUSY;
        vv_append_result *t = &w->total;
        t->write = r->write;
        t->accepted += r->accepted;
        t->refused += r->refused;
        t->late += r->late;
        t->series_created += r->series_created;
        if (t->first_refusal[0] == '\0')
            memcpy(t->first_refusal, r->first_refusal, sizeof t->first_refusal);
    }
    if (st != VV_OK && err != NULL)
        w->err = *err;
    settle(w, st);
}

/* ---- a table that is not there yet ----
 *
 * It is made when there is something to put into it: a body of nothing but faults makes none. */

typedef struct trial {
    feed_sink sink;
    uint64_t samples;
} trial;

static vv_status trial_series(feed_sink *sink, const feed_label *labels, size_t count,
                              feed_type type, vv_error *err)
{
    (void)sink, (void)labels, (void)count, (void)type, (void)err;
    return VV_OK;
}

static vv_status trial_samples(feed_sink *sink, const int64_t *time_ns, feed_values values,
                               const uint32_t *quality, size_t count, vv_error *err)
{
    (void)time_ns, (void)values, (void)quality, (void)err;
    VV_CONTAINER_OF(sink, trial, sink)->samples += count;
    return VV_OK;
}

/* Whether the body has samples. Where it has none, w->read says what was wrong with it; otherwise
 * the write is as if it had not been read. */
static vv_status look_for_samples(svc_series_write *w, bool *any, vv_error *err)
{
    static const feed_sink_ops ops = {trial_series, trial_samples};
    trial t = {.sink = {&ops}};
    vv_status st = w->ops->decode(w, &t.sink, err);
    *any = t.samples > 0;
    if (st != VV_OK)
        return st;
    *err = (vv_error){.status = VV_OK}; /* that there is no table is no fault */
    if (!*any)
        return VV_OK;
    w->read = (feed_result){0};
    vv_buf_fini(&w->plain);
    vv_buf_init(&w->plain, PLAIN_MAX);
    vv_budget_release(w->n->budget, VV_BUDGET_NETWORK, w->charge);
    w->charge = 0;
    return VV_OK;
}

static vv_status open_room(svc_series_write *w, vv_error *err)
{
    bool any = true;
    vv_table *table = NULL;
    gate_identity who = svc_identity(w->call);
    gate_op op = {.kind = GATE_WRITE, .tenant = w->tenant, .table = w->table, .to_last = true};
    gate_grant grant;
    vv_status st = gate_authorize(w->n->gate, &who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_SERIES, &table, err);
    if (st == VV_NOT_FOUND && gate_may_create(&grant, 0)) {
        st = look_for_samples(w, &any, err);
        if (st == VV_OK && any)
            st = gate_open_table(&grant, 0, VV_TABLE_SERIES, &table, err);
    }
    if (!any)
        return st;
    return st == VV_OK ? take_room(w->n, table, &w->room, err) : st;
}

/* All but the last entry of a large request is written, and waited for, while it is read. */
static vv_status read_samples(svc_series_write *w, vv_error *err)
{
    feed_writer_begin(&w->writer, w->room->samples, w->durability);
    vv_status st = w->ops->decode(w, &w->writer.sink, err);
    w->total = w->writer.total;
    if (st != VV_OK)
        vv_samples_clear(w->room->samples);
    return st;
}

void svc_series_write_run(svc_series_write *w)
{
    vv_error *err = &w->err;
    vv_status st = srv_call_is_open(w->call)
                       ? w->ops->open(w, err)
                       : vv_fail(err, VV_CLOSED, "the client is gone"); /* nothing is written */
    if (st == VV_OK)
        st = open_room(w, err);
    if (st == VV_OK && w->room != NULL)
        st = read_samples(w, err);
    if (st == VV_OK && w->room != NULL && vv_samples_count(w->room->samples) > 0) {
        st = vv_series_append_async(w->room->samples, w->durability, on_appended, w, err);
        if (st == VV_OK)
            return;
        if (st == VV_BUSY)
            (void)vv_wrap(err, st, "retry after a pause");
    }
    settle(w, st);
}

static void run_on_pool(void *arg)
{
    svc_series_write_run(arg);
}

void svc_series_write_begin(svc_series_write *w)
{
    vv_status st = srv_pool_submit_point(w->n->pool, run_on_pool, w);
    if (st == VV_OK)
        return;
    (void)vv_fail(&w->err, st, SVC_NO_THREAD);
    settle(w, st);
}
