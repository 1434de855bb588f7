/*
 * svc_ingestion_test.c - IngestionService and its HTTP forms on a real loopback server and a real
 * store: answers, refusals, streams whose client reads late or goes away.
 */
#include "vv_test.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/lock.h"
#include "codec/protowire.h"
#include "db/db.h"
#include "ingest/ingest.h"
#include "io/env.h"
#include "server/node.h"
#include "server/srv_client.h"
#include "storage/ingestion.pb-c.h"

#define SERVICE "/storage.IngestionService/"

static struct {
    char dir[32];
    node n;
    vv_log log;
    srv_method methods[32];
    cli *c;
    uint16_t port;
} world;

static void no_line(void *ctx, const char *line, size_t len)
{
    (void)ctx;
    (void)line;
    (void)len;
}

static int start(vv_durability durability)
{
    vv_error err;
    node *n = &world.n;
    memset(&world, 0, sizeof world);
    (void)snprintf(world.dir, sizeof world.dir, "/tmp/svc_ingest.XXXXXX");
    assert_non_null(mkdtemp(world.dir));
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 128u << 20;
    opt.durability = durability;
    assert_ok(vv_db_open(world.dir, &opt, &n->db, &err), err);
    n->env = (vv_env){.clock = vv_clock_real(), .threads = vv_threads_real()};
    vv_log_init(&world.log, VV_LOG_ERROR, VV_LOG_LOGFMT, n->env.clock, no_line, NULL);
    n->log = &world.log;
    n->budget = db_budget(n->db);
    n->started_mono_ns = vv_clock_mono(n->env.clock);
    assert_ok(gate_create(&(gate_options){.db = n->db, .auto_create = true}, &n->gate, &err), err);
    ingest_options io = {.db = n->db,
                         .clock = n->env.clock,
                         .threads = n->env.threads,
                         .budget = n->budget,
                         .queue_bytes = 4u << 20};
    assert_ok(ingest_create(&io, &n->pipeline, &err), err);
    assert_ok(srv_pool_create(n->env.threads, 1, 64, &n->pool, &err), err);
    size_t count = svc_ingestion_methods(n, world.methods, ARRAY_LEN(world.methods));
    count += svc_http_ingest_methods(n, world.methods + count, ARRAY_LEN(world.methods) - count);
    srv_port port = {.host = "127.0.0.1"};
    srv_options so = {.threads = n->env.threads,
                      .clock = n->env.clock,
                      .log = n->log,
                      .budget = n->budget,
                      .ports = &port,
                      .port_count = 1,
                      .methods = world.methods,
                      .method_count = count,
                      .loop_count = 1,
                      .drain_timeout_ns = VV_NS_PER_S};
    assert_ok(srv_start(&so, &n->server, &err), err);
    world.port = srv_port_bound(n->server, 0);
    world.c = cli_open(world.port, 0);
    assert_non_null(world.c);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return start(VV_DURABLE_DEFAULT);
}

static int setup_none(void **state)
{
    (void)state;
    return start(VV_DURABLE_NONE);
}

static int teardown(void **state)
{
    (void)state;
    vv_error err = {0};
    char command[64];
    node *n = &world.n;
    cli_close(world.c);
    srv_stop(n->server);
    ingest_stats s;
    ingest_stats_read(n->pipeline, vv_slice_of(NULL, 0), &s);
    assert_int_equal(s.streams, 0); /* every stream was closed with its connection */
    srv_pool_destroy(n->pool);
    ingest_destroy(n->pipeline);
    gate_destroy(n->gate);
    assert_ok(vv_db_close(n->db, &err), err);
    vv_log_fini(&world.log);
    (void)snprintf(command, sizeof command, "rm -rf %s", world.dir);
    return system(command);
}

/* ---- messages ---- */

static void put_record(vv_buf *b, const char *entity, const char *schema)
{
    size_t id = wire_begin(b, 1);
    if (entity != NULL) {
        size_t mark = wire_begin(b, 2);
        wire_put_bytes(b, 1, vv_slice_str(entity));
        wire_end(b, mark);
    }
    wire_end(b, id);
    size_t data = wire_begin(b, 2);
    size_t field = wire_begin(b, 1);
    wire_put_bytes(b, 1, vv_slice_str("v"));
    size_t value = wire_begin(b, 2);
    wire_put_double_always(b, 2, 1.5);
    wire_end(b, value);
    wire_end(b, field);
    wire_end(b, data);
    if (schema != NULL) {
        size_t mark = wire_begin(b, 3);
        wire_put_bytes(b, 2, vv_slice_str(schema));
        wire_end(b, mark);
    }
}

static void put_record_field(vv_buf *b, uint32_t number, const char *entity, const char *schema)
{
    size_t mark = wire_begin(b, number);
    put_record(b, entity, schema);
    wire_end(b, mark);
}

static void put_option(vv_buf *b, uint32_t number, const char *key, const char *value)
{
    size_t mark = wire_begin(b, number);
    wire_put_bytes(b, 1, vv_slice_str(key));
    wire_put_bytes(b, 2, vv_slice_str(value));
    wire_end(b, mark);
}

static vv_buf new_buf(void)
{
    vv_buf b;
    vv_buf_init(&b, 64u << 20);
    return b;
}

/* Calls, expects the gRPC status; the first answer in *out (its bytes belong to the stream). */
static cli_stream *unary(const char *method, vv_buf *request, int want, vv_slice *out)
{
    cli_stream *s = cli_unary(world.c, method, vv_buf_slice(request), NULL);
    vv_buf_fini(request);
    if (s->grpc_status != want)
        fail_msg("%s: status %d instead of %d: %s", method, s->grpc_status, want, s->message);
    *out = vv_slice_of(NULL, 0);
    if (s->in.len >= 5) {
        assert_int_equal(vv_get_be32(s->in.data + 1), s->in.len - 5);
        *out = vv_slice_of(s->in.data + 5, s->in.len - 5);
    }
    return s;
}

static void ingest_record_is_answered(void **state)
{
    (void)state;
    vv_slice out;
    vv_buf b = new_buf();
    put_record_field(&b, 1, "pump", "sensors");
    unary(SERVICE "IngestRecord", &b, 0, &out);
    Storage__IngestRecordResponse *r =
        storage__ingest_record_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->status->code, 0);
    assert_string_equal(r->record_id, "pump");
    assert_true(r->version > 0);
    assert_true(r->timestamp->seconds > 1700000000);
    storage__ingest_record_response__free_unpacked(r, NULL);
}

static void a_bad_record_is_its_own_fault(void **state)
{
    (void)state;
    vv_slice out;
    vv_buf b = new_buf();
    put_record_field(&b, 1, NULL, NULL);
    unary(SERVICE "IngestRecord", &b, 0, &out);
    Storage__IngestRecordResponse *r =
        storage__ingest_record_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->status->code, 3);
    assert_non_null(strstr(r->status->message, "entity_id"));
    storage__ingest_record_response__free_unpacked(r, NULL);
}

/* Texts of an answer; its numbers may have any byte. */
static void expect_ascii(const char *id, const char *message)
{
    for (const char *text = id; *text != '\0'; text++)
        assert_true(*text > 0);
    for (const char *text = message; *text != '\0'; text++)
        assert_true(*text > 0);
}

/* A reader of proto3 refuses a message with one string that is not UTF-8: the ids come back. */
static void an_id_that_is_not_utf8_spoils_no_answer(void **state)
{
    (void)state;
    vv_slice out;
    for (int i = 0; i < 2; i++) {
        vv_buf b = new_buf();
        put_record_field(&b, 1, "\xff\xfe", i == 0 ? NULL : "bad\xfftable");
        unary(SERVICE "IngestRecord", &b, 0, &out);
        Storage__IngestRecordResponse *one =
            storage__ingest_record_response__unpack(NULL, out.len, out.data);
        assert_non_null(one);
        expect_ascii(one->record_id, one->status->message);
        assert_non_null(strstr(one->status->message, "UTF-8"));
        storage__ingest_record_response__free_unpacked(one, NULL);
        b = new_buf();
        put_record_field(&b, 1, "good", NULL);
        put_record_field(&b, 1, i == 0 ? "\xff\xfe" : "e", i == 0 ? NULL : "bad\xfftable");
        put_record_field(&b, 1, "also good", NULL);
        unary(SERVICE "IngestBatch", &b, 0, &out);
        Storage__IngestBatchResponse *r =
            storage__ingest_batch_response__unpack(NULL, out.len, out.data);
        assert_non_null(r);
        assert_int_equal(r->successful_count, 2);
        for (size_t j = 0; j < r->n_results; j++) {
            expect_ascii(r->results[j]->record_id, r->results[j]->status->message);
            expect_ascii("", r->results[j]->error_message);
        }
        assert_int_equal(r->results[1]->status->code, 3);
        assert_non_null(strstr(r->results[1]->status->message, "UTF-8"));
        storage__ingest_batch_response__free_unpacked(r, NULL);
    }
}

static void a_value_nested_without_end(void **state)
{
    (void)state;
    /* Lists in lists, from the inside: 100,000 levels. */
    const size_t depth = 100000;
    vv_slice out;
    vv_buf b = new_buf();
    uint8_t *text = malloc(depth * 16);
    assert_non_null(text);
    size_t at = depth * 16;
    for (size_t i = 0; i < depth * 2; i++) {
        uint8_t head[11];
        size_t n = 0;
        head[n++] = i % 2 == 0 ? 0x0a : 0x32;
        for (size_t len = depth * 16 - at; n == 1 || len > 0; len >>= 7)
            head[n++] = (uint8_t)(len >= 0x80 ? len | 0x80 : len);
        memcpy(text + (at -= n), head, n);
    }
    size_t record = wire_begin(&b, 1);
    size_t id = wire_begin(&b, 1);
    size_t mark = wire_begin(&b, 2);
    wire_put_bytes(&b, 1, vv_slice_str("deep"));
    wire_end(&b, mark);
    wire_end(&b, id);
    size_t data = wire_begin(&b, 2);
    size_t field = wire_begin(&b, 1);
    wire_put_bytes(&b, 2, vv_slice_of(text + at, depth * 16 - at));
    wire_end(&b, field);
    wire_end(&b, data);
    wire_end(&b, record);
    unary(SERVICE "IngestRecord", &b, 0, &out);
    Storage__IngestRecordResponse *r =
        storage__ingest_record_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->status->code, 3);
    assert_non_null(strstr(r->status->message, "64"));
    storage__ingest_record_response__free_unpacked(r, NULL);
    free(text);
}

static void requests_that_are_refused_whole(void **state)
{
    (void)state;
    vv_slice out;
    vv_buf b = new_buf();
    vv_buf_append(&b, "\x0a\xff", 2);
    cli_stream *s = unary(SERVICE "IngestRecord", &b, 3, &out);
    assert_int_equal(out.len, 0);
    b = new_buf();
    vv_buf_append(&b, "\x08\x01", 2);
    unary(SERVICE "IngestBatch", &b, 3, &out);
    b = new_buf();
    put_record_field(&b, 1, "e", NULL);
    put_option(&b, 2, "durability", "paper");
    s = unary(SERVICE "IngestRecord", &b, 3, &out);
    assert_non_null(strstr(s->message, "sync, os or none"));
    b = new_buf();
    put_record_field(&b, 1, "good", NULL);
    put_record_field(&b, 1, NULL, NULL);
    wire_put_varint(&b, 3, 1);
    s = unary(SERVICE "IngestBatch", &b, 3, &out);
    assert_non_null(strstr(s->message, "record 1"));
    b = new_buf();
    for (unsigned i = 0; i < 3; i++) { /* over one log entry together */
        size_t record = wire_begin(&b, 1);
        put_record(&b, "big", NULL);
        for (unsigned k = 0; k < 6; k++) {
            char key[8];
            (void)snprintf(key, sizeof key, "k%u", k);
            size_t pair = wire_begin(&b, 6);
            wire_put_bytes(&b, 1, vv_slice_str(key));
            wire_put_head(&b, 2, 1u << 20);
            uint8_t *to = vv_buf_reserve(&b, 1u << 20);
            assert_non_null(to);
            memset(to, 'm', 1u << 20);
            vv_buf_advance(&b, 1u << 20);
            wire_end(&b, pair);
        }
        wire_end(&b, record);
    }
    wire_put_varint(&b, 3, 1);
    s = unary(SERVICE "IngestBatch", &b, 8, &out);
    assert_non_null(strstr(s->message, "16777216"));
}

static void a_batch_says_what_became_of_each(void **state)
{
    (void)state;
    vv_slice out;
    vv_buf b = new_buf();
    put_record_field(&b, 1, "a", NULL);
    put_record_field(&b, 1, NULL, NULL);
    put_record_field(&b, 1, "c", "other");
    unary(SERVICE "IngestBatch", &b, 0, &out);
    Storage__IngestBatchResponse *r =
        storage__ingest_batch_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->successful_count, 2);
    assert_int_equal(r->failed_count, 1);
    assert_int_equal(r->n_results, 3);
    assert_int_equal(r->status->code, 3);
    assert_int_equal(r->results[0]->status->code, 0);
    assert_string_equal(r->results[0]->record_id, "a");
    assert_true(r->results[2]->version > 0);
    assert_int_equal(r->results[1]->status->code, 3);
    assert_non_null(strstr(r->results[1]->error_message, "entity_id"));
    storage__ingest_batch_response__free_unpacked(r, NULL);
    b = new_buf(); /* nothing at all */
    unary(SERVICE "IngestBatch", &b, 0, &out);
    r = storage__ingest_batch_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->n_results, 0);
    storage__ingest_batch_response__free_unpacked(r, NULL);
}

static void state_and_health(void **state)
{
    (void)state;
    vv_slice out;
    vv_buf b = new_buf();
    put_record_field(&b, 1, "a", NULL);
    unary(SERVICE "IngestRecord", &b, 0, &out);
    b = new_buf();
    unary(SERVICE "GetIngestionStatus", &b, 0, &out);
    Storage__IngestionStatusResponse *r =
        storage__ingestion_status_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->metrics->total_records_ingested, 1);
    assert_true(r->metrics->p99_latency_ms > 0 && r->metrics->wal_size_bytes > 0);
    storage__ingestion_status_response__free_unpacked(r, NULL);
    b = new_buf(); /* of a tenant that has nothing */
    size_t mark = wire_begin(&b, 1);
    wire_put_bytes(&b, 1, vv_slice_str("nobody"));
    wire_end(&b, mark);
    unary(SERVICE "GetIngestionStatus", &b, 0, &out);
    r = storage__ingestion_status_response__unpack(NULL, out.len, out.data);
    assert_non_null(r);
    assert_int_equal(r->metrics->total_records_ingested, 0);
    storage__ingestion_status_response__free_unpacked(r, NULL);
    static const struct {
        const char *service;
        int want;
    } cases[] = {{"", 1}, {"storage.IngestionService", 1}, {"other", 3}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        b = new_buf();
        wire_put_bytes(&b, 1, vv_slice_str(cases[i].service));
        unary(SERVICE "HealthCheck", &b, 0, &out);
        Storage__HealthCheckResponse *h =
            storage__health_check_response__unpack(NULL, out.len, out.data);
        assert_non_null(h);
        assert_int_equal(h->status, cases[i].want);
        storage__health_check_response__free_unpacked(h, NULL);
    }
}

/* ---- streams ---- */

static void send_record(cli_stream *s, const char *entity)
{
    vv_buf b = new_buf();
    put_record_field(&b, 2, entity, NULL);
    cli_message(world.c, s, vv_buf_slice(&b), false);
    vv_buf_fini(&b);
}

static void send_control(cli_stream *s, uint32_t number, const char *ack)
{
    vv_buf b = new_buf();
    size_t mark = wire_begin(&b, number);
    if (ack != NULL)
        put_option(&b, 3, "ack", ack);
    wire_end(&b, mark);
    cli_message(world.c, s, vv_buf_slice(&b), false);
    vv_buf_fini(&b);
}

/* Whole answers that have come, as text: "ack a 1|error 3 2|". Statistics are left out. */
static void read_answers(const cli_stream *s, char *out, size_t out_len)
{
    size_t at = 0, len = 0;
    out[0] = '\0';
    while (at + 5 <= s->in.len) {
        size_t n = vv_get_be32(s->in.data + at + 1);
        if (at + 5 + n > s->in.len)
            break;
        Storage__IngestStreamResponse *r =
            storage__ingest_stream_response__unpack(NULL, n, s->in.data + at + 5);
        assert_non_null(r);
        int used = 0;
        if (r->response_case == STORAGE__INGEST_STREAM_RESPONSE__RESPONSE_ACK)
            used = snprintf(out + len, out_len - len, "ack %s %d|", r->ack->record_id,
                            (int)r->ack->sequence_number);
        else if (r->response_case == STORAGE__INGEST_STREAM_RESPONSE__RESPONSE_ERROR)
            used = snprintf(out + len, out_len - len, "error %d %d|", r->error->status->code,
                            (int)r->error->sequence_number);
        len = vv_min_u64(len + (size_t)used, out_len - 1);
        storage__ingest_stream_response__free_unpacked(r, NULL);
        at += 5 + n;
    }
}

static void wait_for(cli_stream *s, const char *what)
{
    char text[4096] = "";
    int64_t until = cli_now_ms() + 5000;
    while (strstr(text, what) == NULL) {
        if (cli_now_ms() > until)
            fail_msg("\"%s\" did not come: %s", what, text);
        (void)cli_pump(world.c, 20);
        read_answers(s, text, sizeof text);
    }
}

static void each_record_of_a_stream_is_acknowledged(void **state)
{
    (void)state;
    char text[4096];
    cli_stream *s = cli_call(world.c, SERVICE "IngestStream", NULL);
    send_record(s, "a");
    send_record(s, NULL);
    send_record(s, "b");
    wait_for(s, "ack b 3|");
    send_record(s, "c");
    cli_send(world.c, s, vv_slice_of(NULL, 0), true);
    assert_true(cli_wait(world.c, s, 5000));
    assert_int_equal(s->grpc_status, 0);
    read_answers(s, text, sizeof text);
    assert_string_equal(text, "ack a 1|error 3 2|ack b 3|ack c 4|");
}

static void a_group_of_a_stream_is_acknowledged_once(void **state)
{
    (void)state;
    char text[65536];
    cli_stream *s = cli_call(world.c, SERVICE "IngestStream", NULL);
    send_control(s, 1, "batch");
    for (unsigned i = 0; i < 500; i++)
        send_record(s, "r");
    send_control(s, 3, NULL);
    wait_for(s, "ack r 500|");
    send_control(s, 3, NULL); /* nothing new: the commit is answered all the same */
    send_record(s, "last");
    cli_send(world.c, s, vv_slice_of(NULL, 0), true);
    assert_true(cli_wait(world.c, s, 5000));
    assert_int_equal(s->grpc_status, 0);
    read_answers(s, text, sizeof text);
    size_t acks = 0;
    for (const char *at = text; (at = strstr(at, "ack ")) != NULL; at++)
        acks++;
    assert_true(acks >= 3 && acks < 250);
    assert_non_null(strstr(text, "ack last 501|"));
}

/* A stream or a batch without a record is told what its records would have been given. */
static void what_wrote_nothing_has_the_default(void **state)
{
    (void)state;
    vv_slice out;
    cli_stream *s = cli_call(world.c, SERVICE "IngestStream", NULL);
    cli_send(world.c, s, vv_slice_of(NULL, 0), true);
    assert_true(cli_wait(world.c, s, 5000));
    assert_string_equal(s->durability, "none");
    vv_buf b = new_buf();
    wire_put_varint(&b, 3, 1);
    assert_string_equal(unary(SERVICE "IngestBatch", &b, 0, &out)->durability, "none");
    b = new_buf();
    put_option(&b, 2, "durability", "os");
    assert_string_equal(unary(SERVICE "IngestBatch", &b, 0, &out)->durability, "os");
}

static void statistics_come_every_second(void **state)
{
    (void)state;
    cli_stream *s = cli_call(world.c, SERVICE "IngestStream", NULL);
    send_record(s, "a");
    int64_t until = cli_now_ms() + 5000;
    bool seen = false;
    while (!seen && cli_now_ms() < until) {
        (void)cli_pump(world.c, 50);
        for (size_t at = 0; at + 5 <= s->in.len;) {
            size_t n = vv_get_be32(s->in.data + at + 1);
            if (at + 5 + n > s->in.len)
                break;
            Storage__IngestStreamResponse *r =
                storage__ingest_stream_response__unpack(NULL, n, s->in.data + at + 5);
            assert_non_null(r);
            if (r->response_case == STORAGE__INGEST_STREAM_RESPONSE__RESPONSE_STATS) {
                seen = true;
                assert_int_equal(r->stats->records_received, 1);
                assert_int_equal(r->stats->records_processed, 1);
                assert_true(r->stats->bytes_received > 10);
            }
            storage__ingest_stream_response__free_unpacked(r, NULL);
            at += 5 + n;
        }
    }
    assert_true(seen);
}

static void a_malformed_message_ends_a_stream(void **state)
{
    (void)state;
    char text[4096];
    cli_stream *s = cli_call(world.c, SERVICE "IngestStream", NULL);
    send_record(s, "a");
    cli_message(world.c, s, vv_slice_of("\x12\x7f", 2), false);
    send_record(s, "b");
    assert_true(cli_wait(world.c, s, 5000));
    assert_int_equal(s->grpc_status, 3);
    read_answers(s, text, sizeof text);
    assert_string_equal(text, "ack a 1|");
}

static void a_client_that_does_not_read_is_stopped(void **state)
{
    (void)state;
    cli *slow = cli_open(world.port, 1024);
    assert_non_null(slow);
    slow->no_consume = true; /* the first window of answers, and no more */
    cli_stream *s = cli_call(slow, SERVICE "IngestStream", NULL);
    vv_buf b = new_buf();
    char id[900];
    memset(id, 'i', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    put_record_field(&b, 2, id, NULL);
    const unsigned count = 12000; /* over 10 MB of acknowledgements */
    for (unsigned i = 0; i < count; i++)
        cli_message(slow, s, vv_buf_slice(&b), false);
    size_t most = 0;
    for (unsigned i = 0; i < 40; i++) {
        (void)cli_pump(slow, 25);
        uint64_t used = vv_budget_part_used(world.n.budget, VV_BUDGET_NETWORK);
        most = used > most ? (size_t)used : most;
    }
    ingest_stats stats;
    ingest_stats_read(world.n.pipeline, vv_slice_of(NULL, 0), &stats);
    assert_true(stats.records < count); /* the rest waits with the client */
    assert_true(most < 32u << 20);
    cli_close(slow);
    vv_buf_fini(&b);
    for (unsigned i = 0; i < 100 && stats.streams > 0; i++) {
        vv_clock_sleep(world.n.env.clock, 20 * VV_NS_PER_MS);
        ingest_stats_read(world.n.pipeline, vv_slice_of(NULL, 0), &stats);
    }
    assert_int_equal(stats.streams, 0);
}

static void a_client_that_leaves(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        cli_stream *s = cli_call(world.c, SERVICE "IngestStream", NULL);
        for (unsigned k = 0; k < 50; k++)
            send_record(s, "gone");
        (void)cli_pump(world.c, (int)(i % 3));
        cli_reset(world.c, s);
    }
    (void)cli_pump(world.c, 50);
    vv_slice out;
    vv_buf b = new_buf();
    put_record_field(&b, 1, "after", NULL);
    unary(SERVICE "IngestRecord", &b, 0, &out);
}

/* ---- HTTP ---- */

/* POST or GET over HTTP/1.1; the whole answer in out. */
static void http(const char *verb, const char *path, const char *body, vv_buf *out)
{
    char head[256];
    int fd = raw_connect(world.port);
    assert_true(fd >= 0);
    int len = snprintf(head, sizeof head,
                       "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n"
                       "\r\n",
                       verb, path, strlen(body));
    assert_true(raw_write(fd, head, (size_t)len));
    assert_true(raw_write(fd, body, strlen(body)));
    vv_buf_reset(out);
    assert_true(raw_read_all(fd, out, 5000));
    vv_buf_append_u8(out, 0);
}

static void json_in_and_out(void **state)
{
    (void)state;
    const struct {
        const char *name, *verb, *path, *body, *status, *says;
    } cases[] = {
        {"record", "POST", "/api/v1/ingest/record",
         "{\"record\":{\"id\":{\"entityId\":{\"id\":\"w\"}},\"data\":{\"a\":[1,null]},"
         "\"timestamp\":\"2026-01-02T03:04:05Z\"}}",
         "200", "\"recordId\":\"w\""},
        {"durability", "POST", "/api/v1/ingest/record",
         "{\"record\":{\"id\":{\"entity_id\":{\"id\":\"w\"}}},\"options\":{\"durability\":\"os\"}}",
         "200", "Varve-Durability: "},
        {"batch", "POST", "/api/v1/ingest/batch",
         "{\"records\":[{\"id\":{\"entityId\":{\"id\":\"x\"}}},{}]}", "200", "\"failedCount\":1"},
        {"transaction", "POST", "/api/v1/ingest/batch",
         "{\"records\":[{\"id\":{\"entityId\":{\"id\":\"x\"}}},{}],\"transactional\":true}", "400",
         "record 1"},
        {"no id", "POST", "/api/v1/ingest/record", "{\"record\":{}}", "400", "\"INVALID\""},
        {"not JSON", "POST", "/api/v1/ingest/record", "{", "400", "JSON at byte"},
        {"unknown field", "POST", "/api/v1/ingest/batch", "{\"nope\":1}", "400", "nope"},
        {"status", "GET", "/api/v1/status", "", "200", "\"totalRecordsIngested\""},
    };
    vv_buf out = new_buf();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        http(cases[i].verb, cases[i].path, cases[i].body, &out);
        const char *text = (const char *)out.data;
        if (strncmp(text + 9, cases[i].status, 3) != 0 || strstr(text, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].name, text);
    }
    vv_buf_fini(&out);
}

typedef struct blocker {
    vv_mutex lock;
    vv_cond moved;
    bool open;
} blocker;

static void stand_in_the_way(void *arg)
{
    blocker *b = arg;
    vv_mutex_lock(&b->lock);
    while (!b->open)
        vv_cond_wait(&b->moved, &b->lock);
    vv_mutex_unlock(&b->lock);
}

static uint64_t network_bytes(void)
{
    return vv_budget_part_used(world.n.budget, VV_BUDGET_NETWORK);
}

/* A long body waits for a thread of the pool; the loop goes on, and all of it is counted. */
static void a_long_body_is_not_parsed_on_the_loop(void **state)
{
    (void)state;
    blocker b = {.open = false};
    vv_mutex_init(&b.lock, VV_RANK_LEAF);
    vv_cond_init(&b.moved);
    assert_int_equal(srv_pool_submit(world.n.pool, stand_in_the_way, &b), VV_OK);
    vv_buf body = new_buf();
    vv_buf_append_str(&body, "{\"records\":[");
    for (int i = 0; i < 20000; i++)
        vv_buf_printf(&body, "%s{\"id\":{\"entityId\":{\"id\":\"p%d\"}},\"data\":{\"v\":[1,2]}}",
                      i == 0 ? "" : ",", i);
    vv_buf_append_str(&body, "]}");
    char head[160];
    int len = snprintf(head, sizeof head,
                       "POST /api/v1/ingest/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       body.len);
    int fd = raw_connect(world.port);
    assert_true(raw_write(fd, head, (size_t)len) && raw_write(fd, body.data, body.len));
    for (int i = 0; i < 5000 && network_bytes() < 2 * body.len; i++)
        vv_clock_sleep(world.n.env.clock, VV_NS_PER_MS);
    assert_true(network_bytes() >= 2 * body.len);
    vv_buf out = new_buf();
    http("GET", "/api/v1/status", "", &out); /* of the same loop */
    assert_non_null(strstr((const char *)out.data, " 200 "));
    assert_non_null(strstr((const char *)out.data, "\"totalRecordsIngested\":\"0\""));
    vv_mutex_lock(&b.lock);
    b.open = true;
    vv_cond_signal(&b.moved);
    vv_mutex_unlock(&b.lock);
    vv_buf_reset(&out);
    assert_true(raw_read_all(fd, &out, 20000));
    vv_buf_append_u8(&out, 0);
    assert_non_null(strstr((const char *)out.data, "\"successfulCount\":20000"));
    (void)close(fd);
    for (int i = 0; i < 5000 && network_bytes() > 100000; i++)
        vv_clock_sleep(world.n.env.clock, VV_NS_PER_MS);
    assert_true(network_bytes() <= 100000);
    vv_buf_fini(&body);
    vv_buf_fini(&out);
    vv_cond_fini(&b.moved);
    vv_mutex_fini(&b.lock);
}

/* The table of docs/STATUS.md: clients rely on each number. */
static void statuses_are_those_of_the_page(void **state)
{
    (void)state;
    static const struct {
        vv_status status;
        int grpc, http;
    } rows[] = {
        {VV_OK, 0, 200},        {VV_NOT_FOUND, 5, 404}, {VV_INVALID, 3, 400},
        {VV_CONFLICT, 10, 409}, {VV_BUSY, 8, 429},      {VV_NO_MEMORY, 8, 507},
        {VV_NO_SPACE, 8, 507},  {VV_TIMEOUT, 4, 504},   {VV_UNSUPPORTED, 12, 501},
        {VV_CLOSED, 14, 503},   {VV_IO, 13, 500},       {VV_CORRUPT, 15, 500},
    };
    assert_int_equal(ARRAY_LEN(rows), VV_STATUS_COUNT);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(vv_status_grpc(rows[i].status), rows[i].grpc);
        assert_int_equal(vv_status_http(rows[i].status), rows[i].http);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ingest_record_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_record_is_its_own_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(an_id_that_is_not_utf8_spoils_no_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_nested_without_end, setup, teardown),
        cmocka_unit_test_setup_teardown(what_wrote_nothing_has_the_default, setup_none, teardown),
        cmocka_unit_test_setup_teardown(requests_that_are_refused_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_says_what_became_of_each, setup, teardown),
        cmocka_unit_test_setup_teardown(state_and_health, setup, teardown),
        cmocka_unit_test_setup_teardown(each_record_of_a_stream_is_acknowledged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_group_of_a_stream_is_acknowledged_once, setup, teardown),
        cmocka_unit_test_setup_teardown(statistics_come_every_second, setup, teardown),
        cmocka_unit_test_setup_teardown(a_malformed_message_ends_a_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_does_not_read_is_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(json_in_and_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_body_is_not_parsed_on_the_loop, setup, teardown),
        cmocka_unit_test(statuses_are_those_of_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
