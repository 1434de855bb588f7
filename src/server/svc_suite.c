#include "server/svc_suite.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "db/db.h"
#include "ingest/ingest.h"
#include "ingest/ingest_message.h"

#define REPLY_MAX (64u * 1024 * 1024)

static void add_methods(svc_suite *s)
{
    static size_t (*const services[])(node * n, srv_method * out, size_t max) = {
        svc_kv_methods,          svc_admin_methods,       svc_http_kv_methods,
        svc_health_methods,      svc_reflection_methods,  svc_query_methods,
        svc_metrics_methods,     svc_http_query_methods,  svc_ingestion_methods,
        svc_http_ingest_methods, svc_txn_methods,         svc_prom_methods,
        svc_series_methods,      svc_stream_methods,      svc_http_feed_methods,
        svc_http_series_methods, svc_http_stream_methods, svc_engine_methods,
        svc_otlp_methods,        svc_pipeline_methods};
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        s->method_count +=
            services[i](&s->n, s->methods + s->method_count, SUITE_METHODS_MAX - s->method_count);
}

static void start_server(svc_suite *s, const svc_suite_options *o)
{
    const srv_port port = {.host = o->host == NULL ? "127.0.0.1" : o->host};
    add_methods(s);
    srv_options opt = {.threads = s->n.env.threads,
                       .clock = s->n.env.clock,
                       .budget = s->n.budget,
                       .ports = &port,
                       .port_count = 1,
                       .methods = s->methods,
                       .method_count = s->method_count,
                       .loop_count = o->loops,
                       .drain_timeout_ns = 200 * VV_NS_PER_MS,
                       .corrupt = node_note_corrupt,
                       .corrupt_ctx = &s->n};
    assert_ok(srv_start(&opt, &s->n.server, &s->err), s->err);
    s->port = srv_port_bound(s->n.server, 0);
    (void)snprintf(s->address, sizeof s->address, "%s:%u", port.host, s->port);
    assert_ok(cli_open(s->address, NULL, &s->conn, &s->err), s->err);
}

void svc_suite_start(svc_suite *s, const svc_suite_options *opt)
{
    static const svc_suite_options defaults;
    opt = opt == NULL ? &defaults : opt;
    *s = (svc_suite){.n.env.clock = vv_clock_real(), .n.env.threads = vv_threads_real()};
    s->may_fail = opt->may_fail;
    vv_buf_init(&s->reply, REPLY_MAX);
    vv_options db_opt = VV_OPTIONS_INIT;
    db_opt.shard_count = opt->shards;
    db_opt.durability = opt->durability;
    db_opt.memory_limit = 256u << 20;
    db_opt.log_segment_size = 1u << 20;
    db_opt.tier = opt->tier;
    if (opt->env != NULL) {
        assert_ok(db_open_env(opt->env, &db_opt, &s->n.db, &s->err), s->err);
    } else {
        (void)snprintf(s->dir, sizeof s->dir, "/tmp/varve-svc-XXXXXX");
        assert_non_null(mkdtemp(s->dir));
        assert_ok(vv_db_open(s->dir, &db_opt, &s->n.db, &s->err), s->err);
    }
    s->n.budget = db_budget(s->n.db);
    s->n.query_memory_limit = 16u << 20;
    s->n.series_tenant = GATE_NAME_DEFAULT;
    s->n.series_table = "metrics";
    s->n.historian_tenant = GATE_NAME_DEFAULT;
    s->n.historian_table = "sensors";
    s->n.started_mono_ns = vv_clock_mono(s->n.env.clock);
    if (!opt->no_recycling)
        assert_true(svc_kv_start(&s->n));
    assert_ok(svc_series_start(&s->n, &s->err), s->err);
    assert_ok(svc_engine_start(&s->n, &s->err), s->err);
    gate_options gate_opt = {.db = s->n.db, .auto_create = !opt->no_auto_create};
    assert_ok(gate_create(&gate_opt, &s->n.gate, &s->err), s->err);
    assert_ok(srv_pool_create(s->n.env.threads, opt->pool_threads == 0 ? 2 : opt->pool_threads, 64,
                              &s->n.pool, &s->err),
              s->err);
    assert_ok(svc_txn_start(&s->n, &opt->txns, &s->err), s->err);
    ingest_options ingest_opt = {
        .db = s->n.db, .clock = s->n.env.clock, .threads = s->n.env.threads};
    assert_ok(ingest_create(&ingest_opt, &s->n.pipeline, &s->err), s->err);
    ingest_messages_options messages_opt = {.clock = s->n.env.clock, .threads = s->n.env.threads};
    assert_ok(ingest_messages_create(&messages_opt, &s->n.messages, &s->err), s->err);
    start_server(s, opt);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void svc_suite_remove(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void svc_suite_stop(svc_suite *s)
{
    cli_close(s->conn);
    srv_stop(s->n.server);
    svc_txn_stop(&s->n);
    srv_pool_destroy(s->n.pool);
    svc_series_stop(&s->n);
    ingest_messages_destroy(s->n.messages);
    ingest_destroy(s->n.pipeline);
    gate_destroy(s->n.gate);
    vv_status st = vv_db_close(s->n.db, &s->err);
    if (!s->may_fail)
        assert_ok(st, s->err);
    svc_engine_stop(&s->n);
    svc_kv_stop(&s->n);
    vv_buf_fini(&s->reply);
    if (s->dir[0] != '\0')
        svc_suite_remove(s->dir);
}

vv_status svc_suite_call_raw(svc_suite *s, const char *method, vv_slice request)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/varve.v1.%s", method);
    s->err = (vv_error){0};
    return cli_unary(s->conn, path, request, SUITE_TIMEOUT_NS, &s->reply, &s->result, &s->err);
}

vv_status svc_suite_call(svc_suite *s, const char *method, const void *request)
{
    const ProtobufCMessage *message = request;
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    (void)protobuf_c_message_pack(message, bytes);
    vv_status st = svc_suite_call_raw(s, method, vv_slice_of(bytes, len));
    free(bytes);
    return st;
}

void *svc_suite_reply(svc_suite *s, const ProtobufCMessageDescriptor *desc)
{
    static const uint8_t none[1];
    ProtobufCMessage *message = protobuf_c_message_unpack(desc, NULL, s->reply.len,
                                                          s->reply.len == 0 ? none : s->reply.data);
    if (message == NULL)
        fail_msg("the reply is no %s", desc->name);
    return message;
}

const char *svc_suite_trailer(const svc_suite *s, const char *name)
{
    for (size_t i = 0; i < s->result.trailer_count; i++)
        if (strcmp(s->result.trailers[i].name, name) == 0)
            return s->result.trailers[i].value;
    return NULL;
}

ProtobufCBinaryData svc_suite_bytes(vv_slice s)
{
    return (ProtobufCBinaryData){.len = s.len, .data = (uint8_t *)(uintptr_t)s.data};
}

vv_status svc_suite_put(svc_suite *s, const char *tenant, const char *table, vv_slice key,
                        vv_slice value, int64_t *version)
{
    SUITE_REF(ref, tenant, table);
    Varve__V1__PutRequest req = VARVE__V1__PUT_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(key);
    req.value = svc_suite_bytes(value);
    vv_status st = svc_suite_call(s, "Kv/Put", &req);
    if (st == VV_OK && version != NULL) {
        Varve__V1__PutResponse *r = svc_suite_reply(s, &varve__v1__put_response__descriptor);
        *version = r->version;
        protobuf_c_message_free_unpacked(&r->base, NULL);
    }
    return st;
}

vv_status svc_suite_get(svc_suite *s, const char *tenant, const char *table, vv_slice key,
                        bool *found, vv_buf *out, int64_t *version)
{
    SUITE_REF(ref, tenant, table);
    Varve__V1__GetRequest req = VARVE__V1__GET_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(key);
    vv_status st = svc_suite_call(s, "Kv/Get", &req);
    vv_buf_reset(out);
    if (st != VV_OK)
        return st;
    Varve__V1__GetResponse *r = svc_suite_reply(s, &varve__v1__get_response__descriptor);
    *found = r->found;
    vv_buf_append(out, r->value.data, r->value.len);
    if (version != NULL)
        *version = r->version;
    protobuf_c_message_free_unpacked(&r->base, NULL);
    return VV_OK;
}

void svc_suite_expect(svc_suite *s, const char *tenant, const char *table, const char *key,
                      const char *value)
{
    bool found = false;
    vv_buf got;
    vv_buf_init(&got, VV_VALUE_MAX);
    assert_ok(svc_suite_get(s, tenant, table, vv_slice_str(key), &found, &got, NULL), s->err);
    if (found != (value != NULL))
        fail_msg("'%s' is %s", key, found ? "there" : "absent");
    if (found && !vv_slice_eq(vv_buf_slice(&got), vv_slice_str(value)))
        fail_msg("'%s' is '%.*s' instead of '%s'", key, (int)got.len, (const char *)got.data,
                 value);
    vv_buf_fini(&got);
}

ssize_t svc_suite_recv(int fd, void *to, size_t len)
{
    ssize_t n;
    do
        n = recv(fd, to, len, 0);
    while (n < 0 && errno == EINTR);
    return n;
}
