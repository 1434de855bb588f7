/*
 * srv.c - starting, stopping and counting: the server as its owner sees it.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "server/srv_int.h"

#define LOOPS_MAX 64u
#define HEADER_MAX_MIN 1024u
#define HEADER_MAX_MAX 60000u

static void fill_defaults(srv_options *o)
{
    if (o->loop_count == 0)
        o->loop_count = 2;
    if (o->loop_count > LOOPS_MAX)
        o->loop_count = LOOPS_MAX;
    if (o->connections_max == 0)
        o->connections_max = 1000;
    if (o->streams_max == 0)
        o->streams_max = 1000;
    if (o->message_max == 0)
        o->message_max = 64u * 1024u * 1024u;
    if (o->header_max == 0)
        o->header_max = 16u * 1024u;
    o->header_max = (uint32_t)vv_max_u64(HEADER_MAX_MIN, vv_min_u64(o->header_max, HEADER_MAX_MAX));
    if (o->idle_timeout_ns == 0)
        o->idle_timeout_ns = 300 * VV_NS_PER_S;
    if (o->handshake_timeout_ns == 0)
        o->handshake_timeout_ns =
            (int64_t)vv_min_u64(10 * VV_NS_PER_S, (uint64_t)o->idle_timeout_ns);
    if (o->body_timeout_ns == 0)
        o->body_timeout_ns = 30 * VV_NS_PER_S;
    if (o->drain_timeout_ns == 0)
        o->drain_timeout_ns = 10 * VV_NS_PER_S;
}

void srv_unref(srv *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; s->loops != NULL && i < s->opt.loop_count; i++)
        srv_loop_fini(&s->loops[i]);
    for (size_t i = 0; s->listeners != NULL && i < s->opt.port_count; i++)
        srv_listener_close(&s->listeners[i]);
    srv_routes_destroy(s->routes);
    srv_admission_fini(&s->admission);
    vv_free(s->loops);
    vv_free(s->listeners);
    vv_free(s);
}

/* What must be there before anything can fail in a way that srv_unref has to undo. */
static vv_status allocate(srv *s, vv_error *err)
{
    s->listeners = vv_calloc(s->opt.port_count, sizeof *s->listeners);
    s->loops = vv_calloc(s->opt.loop_count, sizeof *s->loops);
    if (s->listeners == NULL || s->loops == NULL)
        return vv_fail(err, VV_NO_MEMORY, "start the server");
    for (size_t i = 0; i < s->opt.port_count; i++)
        s->listeners[i] = (srv_listener){.server = s, .fd = -1, .index = (uint16_t)i};
    for (uint32_t i = 0; i < s->opt.loop_count; i++)
        s->loops[i].epoll_fd = s->loops[i].wake_fd = -1;
    return VV_OK;
}

static void join_loops(srv *s)
{
    for (uint32_t i = 0; i < s->opt.loop_count; i++)
        if (s->loops[i].thread != NULL)
            (void)srv_loop_post(&s->loops[i], &s->loops[i].stop_post);
    for (uint32_t i = 0; i < s->opt.loop_count; i++)
        if (s->loops[i].thread != NULL)
            s->opt.threads->join(s->loops[i].thread);
}

static vv_status start_loops(srv *s, vv_error *err)
{
    static const char *const names[] = {"vv-loop-0", "vv-loop-1", "vv-loop-2", "vv-loop-3"};
    for (uint32_t i = 0; i < s->opt.loop_count; i++) {
        const char *name = i < ARRAY_LEN(names) ? names[i] : "vv-loop";
        vv_status st = s->opt.threads->create(name, VV_THREAD_NORMAL, srv_loop_main, &s->loops[i],
                                              &s->loops[i].thread, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

vv_status srv_start(const srv_options *opt, srv **out, vv_error *err)
{
    if (opt->threads == NULL || opt->clock == NULL || opt->port_count == 0 ||
        opt->method_count == 0)
        return vv_fail(err, VV_INVALID, "a server needs threads, a clock, a port and a method");
    srv *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "start the server");
    s->opt = *opt;
    fill_defaults(&s->opt);
    atomic_init(&s->refs, 1);
    srv_admission_init(&s->admission);
    atomic_init(&s->next_conn_id, 1);
    uint64_t least = vv_min_u64(s->opt.idle_timeout_ns / 2, s->opt.body_timeout_ns);
    s->check_period_ns = (int64_t)vv_max_u64(least / 4, VV_NS_PER_MS);

    vv_status st = allocate(s, err);
    if (st == VV_OK)
        st = srv_routes_create(opt->methods, opt->method_count, &s->routes, err);
    for (size_t i = 0; st == VV_OK && i < s->opt.port_count; i++)
        st = srv_listener_open(&s->listeners[i], &opt->ports[i], err);
    for (uint32_t i = 0; st == VV_OK && i < s->opt.loop_count; i++)
        st = srv_loop_init(&s->loops[i], s, i, err);
    if (st == VV_OK)
        st = start_loops(s, err);
    if (st != VV_OK) {
        if (s->loops != NULL)
            join_loops(s);
        srv_unref(s);
        return st;
    }
    *out = s;
    return VV_OK;
}

uint16_t srv_port_bound(const srv *s, size_t port_index)
{
    return s->listeners[port_index].bound;
}

void srv_stop(srv *s)
{
    if (s == NULL)
        return;
    join_loops(s);
    srv_unref(s);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void srv_stats_read(const srv *s, srv_stats *out)
{
    *out = (srv_stats){.connections = atomic_load(&s->conn_count)};
    for (uint32_t i = 0; i < s->opt.loop_count; i++) {
        const srv_counters *c = &s->loops[i].counters;
        uint64_t closed = get(&c->calls_closed);
        out->connections_total += get(&c->connections_total);
        out->connections_refused += get(&c->connections_refused);
        out->calls_total += get(&c->calls_opened);
        out->calls += get(&c->calls_opened) - closed;
        out->bytes_in += get(&c->bytes_in);
        out->bytes_out += get(&c->bytes_out);
        out->resets += get(&c->resets);
        out->protocol_errors += get(&c->protocol_errors);
        out->deadline_exceeded += get(&c->deadline_exceeded);
        for (size_t k = 0; k < ARRAY_LEN(out->status); k++)
            out->status[k] += get(&c->status[k]);
        for (size_t k = 0; k < ARRAY_LEN(out->http_status); k++)
            out->http_status[k] += get(&c->http_status[k]);
    }
}
