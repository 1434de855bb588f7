/*
 * svc_nats.c - see svc_nats.h.
 *
 * The feed writes as whoever configured it does: as a connection from this machine. Its tables come
 * out of the gate like anybody's, so that ingest.auto_create and the kinds of tables hold for it.
 */
#include "server/svc_nats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "feeds/feed_nats.h"
#include "feeds/feed_store.h"
#include "query/struct_json.h"

struct svc_nats {
    node *n;
    const config *c;
    char tenant[VV_NAME_MAX + 1];
    char table[VV_NAME_MAX + 1];
    feed_broker *broker;
    feed_target *target;
    feed_pump *pump;
};

static vv_status make_broker(const config *c, feed_broker **out, vv_error *err)
{
    const feed_nats_options options = {
        .url = c->nats_url,
        .stream = c->nats_stream,
        .subject = c->nats_subject,
        .durable = c->nats_durable,
        .is_core = c->nats_mode == CONFIG_NATS_CORE,
        .batch = (uint32_t)c->nats_batch,
        .credentials = c->nats_credentials,
        .nkey = c->nats_nkey,
        .nkey_seed = c->nats_nkey_seed,
        .tls_ca = c->nats_tls_ca,
        .tls_cert = c->nats_tls_cert,
        .tls_key = c->nats_tls_key,
    };
    return feed_nats_create(&options, out, err);
}

vv_status svc_nats_check(const config *c, vv_error *err)
{
    feed_broker *broker = NULL;
    if (!c->nats_enabled)
        return VV_OK;
    vv_status st = make_broker(c, &broker, err);
    if (st == VV_OK)
        feed_nats_destroy(broker);
    return st;
}

static vv_status open_table(void *ctx, const char *name, vv_table_kind kind, vv_table **out,
                            vv_error *err)
{
    const struct svc_nats *f = ctx;
    const gate_identity who = {.loopback = true};
    const gate_op op = {
        .kind = GATE_WRITE, .tenant = vv_slice_str(f->tenant), .table = vv_slice_str(name)};
    gate_grant grant;
    vv_status st = gate_authorize(f->n->gate, &who, &op, 1, &grant, err);
    return st == VV_OK ? gate_open_table(&grant, 0, kind, out, err) : st;
}

static void note_write(void *ctx, vv_status st)
{
    const struct svc_nats *f = ctx;
    node_note_write(f->n, st);
}

static vv_status make_target(struct svc_nats *f, vv_error *err)
{
    char source[2 * CONFIG_TEXT_MAX];
    (void)snprintf(source, sizeof source, "nats/%s/%s", f->c->nats_stream, f->c->nats_durable);
    const feed_store_options options = {.db = f->n->db,
                                        .tenant = f->tenant,
                                        .table = f->table,
                                        .source = source,
                                        .stream = f->c->nats_stream,
                                        .open = open_table,
                                        .note = note_write,
                                        .ctx = f};
    return feed_store_create(&options, &f->target, err);
}

vv_status svc_nats_start(node *n, const config *c, vv_error *err)
{
    if (!c->nats_enabled)
        return VV_OK;
    struct svc_nats *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "nats");
    n->nats = f;
    f->n = n;
    f->c = c;
    vv_status st = config_nats_table(c, f->tenant, f->table, err);
    if (st == VV_OK)
        st = make_broker(c, &f->broker, err);
    if (st == VV_OK)
        st = make_target(f, err);
    if (st != VV_OK)
        return st;
    f->pump = feed_pump_create(&(feed_pump_options){
        .broker = f->broker,
        .target = f->target,
        .clock = n->env.clock,
        .log = n->log,
        .name = c->nats_mode == CONFIG_NATS_CORE ? c->nats_subject : c->nats_stream,
        .seed = (uint64_t)vv_clock_wall(n->env.clock),
        FEED_PUMP_OPTIONS_DEFAULT});
    if (f->pump == NULL)
        return vv_fail(err, VV_NO_MEMORY, "nats");
    return feed_pump_start(f->pump, n->env.threads, err);
}

void svc_nats_stop(node *n)
{
    struct svc_nats *f = n->nats;
    if (f == NULL)
        return;
    feed_pump_destroy(f->pump);
    feed_store_destroy(f->target);
    feed_nats_destroy(f->broker);
    n->nats = NULL;
    vv_free(f);
}

bool svc_nats_stats(const node *n, feed_stats *out)
{
    if (n->nats == NULL)
        return false;
    feed_pump_stats(n->nats->pump, out);
    return true;
}

void svc_nats_put_status(const node *n, vv_buf *json)
{
    feed_stats s;
    if (!svc_nats_stats(n, &s)) {
        vv_buf_append_str(json, ",\"nats\":{\"state\":\"off\"}");
        return;
    }
    const struct svc_nats *f = n->nats;
    vv_buf_printf(json, ",\"nats\":{\"state\":\"%s\",\"stream\":",
                  s.is_connected ? "connected" : "connecting");
    json_put_string(json, vv_slice_str(f->c->nats_stream));
    vv_buf_printf(json, ",\"table\":\"%s/%s\",\"lastFailure\":", f->tenant, f->table);
    json_put_string(json, vv_slice_str(s.why));
    vv_buf_printf(json,
                  ",\"sequence\":%" PRIu64 ",\"lag\":%" PRIu64
                  ",\"messagesPerSecond\":%.1f,\"messages\":%" PRIu64 ",\"samples\":%" PRIu64
                  ",\"refused\":%" PRIu64 ",\"redelivered\":%" PRIu64 ",\"poison\":%" PRIu64
                  ",\"expired\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"sessions\":%" PRIu64
                  ",\"failures\":%" PRIu64 "}",
                  s.sequence, s.waiting, s.per_second, s.messages, s.accepted, s.refused,
                  s.redelivered, s.poison, s.expired, s.dropped, s.sessions, s.failures);
}
