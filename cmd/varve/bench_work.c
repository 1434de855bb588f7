/*
 * bench_work.c - the loads of `varve bench`: their requests, and the loops that send them.
 *
 * Closed loop: a client has a fixed number of calls in flight and starts the next when one is
 * answered, so the load never runs ahead of the server and the latency is that of the server.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "bench.h"
#include "codec/protowire.h"
#include "io/env.h"
#include "store.h"

#define CALL_TIMEOUT_NS (30 * VV_NS_PER_S)
#define STEP_NS (100 * VV_NS_PER_MS)
#define FILL_BATCH 1000u

/* ---- requests ---- */

static vv_slice key_of(const bench_client *c, uint64_t n, char text[32])
{
    (void)snprintf(text, 32, "bench-%012" PRIu64, n % c->bench->keys);
    return vv_slice_str(text);
}

static void put_ref(const bench_client *c, vv_buf *out, uint32_t number)
{
    size_t begin = wire_begin(out, number);
    wire_put_string(out, 1, vv_slice_str(c->bench->common->tenant));
    wire_put_string(out, 2, vv_slice_str(c->bench->table));
    wire_end(out, begin);
}

static vv_slice filler(const bench_client *c, size_t len)
{
    return vv_slice_of(c->filler.data, len < c->filler.len ? len : c->filler.len);
}

static uint64_t put_request(bench_client *c, vv_buf *out)
{
    char key[32];
    put_ref(c, out, 1);
    wire_put_string(out, 2, key_of(c, c->index + c->next++ * c->bench->clients, key));
    wire_put_string(out, 3, filler(c, c->filler.len));
    wire_put_uint(out, 5, (uint64_t)c->bench->durability);
    return 1;
}

static uint64_t get_request(bench_client *c, vv_buf *out)
{
    char key[32];
    put_ref(c, out, 1);
    wire_put_string(out, 2, key_of(c, vv_rng_next(&c->rng), key));
    return 1;
}

static uint64_t scan_request(bench_client *c, vv_buf *out)
{
    char key[32];
    put_ref(c, out, 1);
    wire_put_string(out, 2, key_of(c, vv_rng_next(&c->rng), key));
    wire_put_uint(out, 6, c->bench->batch);
    return 0; /* counted in the answers */
}

static uint64_t scan_answer(vv_slice message)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    uint64_t n = 0;
    while (wire_next(&r, &f) > 0)
        n += f.number == 1;
    return n;
}

/* A DataRecord of value_size bytes in all, or as few as it takes: a number and a text. */
static void put_record(const bench_client *c, vv_buf *out, uint64_t n)
{
    char id[32];
    vv_buf body;
    int64_t base_ns = INT64_C(1750000000000000000);
    store_record r = {.id = key_of(c, n, id),
                      .has_time = true,
                      .time_ns = base_ns + (int64_t)(n % c->bench->keys) * VV_NS_PER_MS};
    vv_buf_init(&body, c->filler.len + 128);
    const struct_value number = {.type = STRUCT_NUMBER, .number = (double)(n % 1000) / 10};
    size_t entry = wire_begin(&body, STRUCT_FIELDS);
    wire_put_bytes(&body, STRUCT_ENTRY_KEY, vv_slice_str("v"));
    struct_value_put(&body, STRUCT_ENTRY_VALUE, &number);
    wire_end(&body, entry);
    size_t fixed =
        body.len + r.id.len + strlen(c->bench->common->tenant) + strlen(c->bench->table) + 50;
    if (c->filler.len > fixed) {
        const struct_value text = {.type = STRUCT_STRING,
                                   .bytes = filler(c, c->filler.len - fixed)};
        entry = wire_begin(&body, STRUCT_FIELDS);
        wire_put_bytes(&body, STRUCT_ENTRY_KEY, vv_slice_str("p"));
        struct_value_put(&body, STRUCT_ENTRY_VALUE, &text);
        wire_end(&body, entry);
    }
    r.body = vv_buf_slice(&body);
    record_put(out, vv_slice_str(c->bench->common->tenant), vv_slice_str(c->bench->table), &r);
    vv_buf_fini(&body);
}

static void put_option(vv_buf *out, uint32_t number, const char *key, const char *value)
{
    size_t begin = wire_begin(out, number);
    wire_put_string(out, 1, vv_slice_str(key));
    wire_put_string(out, 2, vv_slice_str(value));
    wire_end(out, begin);
}

static const char *durability_name(const bench_client *c)
{
    static const char *const names[] = {"sync", "sync", "os", "none"};
    return names[c->bench->durability];
}

static uint64_t batch_request(bench_client *c, vv_buf *out)
{
    for (uint64_t i = 0; i < c->bench->batch; i++) {
        size_t begin = wire_begin(out, 1);
        put_record(c, out, c->index + c->next++ * c->bench->clients);
        wire_end(out, begin);
    }
    put_option(out, 2, "durability", durability_name(c));
    return c->bench->batch;
}

static uint64_t stream_request(bench_client *c, vv_buf *out)
{
    size_t begin = wire_begin(out, 2);
    put_record(c, out, c->index + c->next++ * c->bench->clients);
    wire_end(out, begin);
    return 1;
}

static uint64_t get_record_request(bench_client *c, vv_buf *out)
{
    char key[32];
    size_t begin = wire_begin(out, 1);
    size_t id = wire_begin(out, 1);
    wire_put_string(out, 1, vv_slice_str(c->bench->common->tenant));
    wire_end(out, id);
    id = wire_begin(out, 2);
    wire_put_string(out, 1, key_of(c, vv_rng_next(&c->rng), key));
    wire_end(out, id);
    wire_end(out, begin);
    return 1;
}

/* A time range that holds `batch` records. */
static uint64_t query_request(bench_client *c, vv_buf *out)
{
    const bench *b = c->bench;
    uint64_t span = b->keys > b->batch ? b->keys - b->batch : 1;
    int64_t start =
        INT64_C(1750000000000000000) + (int64_t)vv_rng_below(&c->rng, span) * VV_NS_PER_MS;
    const query_ask ask = {.tenant = vv_slice_str(b->common->tenant),
                           .table = vv_slice_str(b->table),
                           .limit = (int64_t)b->batch,
                           .has_start = true,
                           .start_ns = start,
                           .has_end = true,
                           .end_ns = start + (int64_t)b->batch * VV_NS_PER_MS};
    query_request_put(out, &ask);
    return 0;
}

static uint64_t query_answer(vv_slice message)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    uint64_t n = 0;
    while (wire_next(&r, &f) > 0)
        n += f.number == 2;
    return n;
}

const bench_work bench_works[] = {
    {"put", "Kv.Put, one key a call", "/varve.v1.Kv/Put", false, false, false, 64, put_request,
     NULL},
    {"get", "Kv.Get of random keys", "/varve.v1.Kv/Get", false, true, false, 64, get_request, NULL},
    {"scan", "Kv.Scan of --batch keys from a random place", "/varve.v1.Kv/Scan", false, true, false,
     4, scan_request, scan_answer},
    {"ingest-batch", "IngestBatch of --batch records", "/storage.IngestionService/IngestBatch",
     false, false, false, 4, batch_request, NULL},
    {"ingest-stream", "one IngestStream a client, acknowledged in batches",
     "/storage.IngestionService/IngestStream", true, false, false, 20000, stream_request, NULL},
    {"get-record", "GetRecord of random records", "/storage.QueryService/GetRecord", false, false,
     true, 16, get_record_request, NULL},
    {"query", "Query of a time range with --batch records", "/storage.QueryService/Query", false,
     false, true, 2, query_request, query_answer},
};
const size_t bench_work_count = ARRAY_LEN(bench_works);

/* ---- calls ---- */

static void take_failure(bench *b, vv_status st, const char *message)
{
    atomic_fetch_add(&b->errors, 1);
    if (atomic_exchange(&b->failure_taken, 1) == 0) {
        (void)vv_fail(&b->failure, st, "%s", message);
        b->failed = st;
    }
}

static bool is_measured(const bench *b, int64_t now)
{
    return now >= b->start_ns && now < b->end_ns;
}

/* One call in flight. */
typedef struct slot {
    bench_client *client;
    int64_t begin_ns;
    uint64_t items;
    bool busy;
    bool failed; /* wait a little before the next */
} slot;

static void on_message(void *ctx, cli_call *call, vv_slice message)
{
    slot *s = ctx;
    (void)call;
    if (s->client->bench->work->answer != NULL)
        s->items += s->client->bench->work->answer(message);
}

static void on_closed(void *ctx, cli_call *call, const cli_result *result)
{
    slot *s = ctx;
    bench *b = s->client->bench;
    int64_t now = vv_clock_mono(b->clock);
    (void)call;
    s->busy = false;
    s->failed = result->code != 0;
    if (s->failed && (now < b->end_ns || result->code != -1)) {
        take_failure(b, result->status, result->message);
    } else if (is_measured(b, now)) {
        vv_hist_add(&b->latency_ns, (uint64_t)(now - s->begin_ns));
        atomic_fetch_add_explicit(&b->calls, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&b->items, s->items, memory_order_relaxed);
    }
}

static vv_status start_call(bench_client *c, slot *s, vv_error *err)
{
    cli_call *call;
    const cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = s};
    vv_buf_reset(&c->request);
    s->items = c->bench->work->request(c, &c->request);
    s->begin_ns = vv_clock_mono(c->bench->clock);
    s->busy = true;
    vv_status st =
        cli_call_start(c->conn, c->bench->work->method, CALL_TIMEOUT_NS, &handler, &call, err);
    if (st == VV_OK)
        st = cli_call_send(call, vv_buf_slice(&c->request), err);
    if (st == VV_OK)
        cli_call_half_close(call);
    return st;
}

static vv_status run_calls(bench_client *c, vv_error *err)
{
    bench *b = c->bench;
    slot *slots = vv_calloc(b->in_flight, sizeof *slots);
    if (slots == NULL)
        return vv_fail(err, VV_NO_MEMORY, "%" PRIu64 " calls in flight", b->in_flight);
    vv_status st = VV_OK;
    while (st == VV_OK && vv_clock_mono(b->clock) < b->end_ns && atomic_load(&b->stop) == 0) {
        for (uint64_t i = 0; i < b->in_flight && st == VV_OK; i++) {
            slots[i].client = c;
            if (slots[i].failed)
                vv_clock_sleep(b->clock, VV_NS_PER_MS);
            if (!slots[i].busy)
                st = start_call(c, &slots[i], err);
        }
        if (st == VV_OK && (st = cli_step(c->conn, STEP_NS, err)) == VV_TIMEOUT)
            st = VV_OK;
    }
    cli_close(c->conn); /* without callbacks: what is in flight is not counted */
    c->conn = NULL;
    vv_free(slots);
    return st;
}

/* ---- one stream ---- */

/* When each record in flight was sent. */
typedef struct flight {
    bench_client *client;
    int64_t *sent_ns;
    uint64_t sent;
    uint64_t acked;
} flight;

static vv_status send_init(bench_client *c, cli_stream *stream, vv_error *err)
{
    vv_buf_reset(&c->request);
    size_t init = wire_begin(&c->request, 1);
    size_t begin = wire_begin(&c->request, 1);
    wire_put_string(&c->request, 1, vv_slice_str(c->bench->common->tenant));
    wire_end(&c->request, begin);
    put_option(&c->request, 3, "ack", "batch");
    put_option(&c->request, 3, "durability", durability_name(c));
    wire_end(&c->request, init);
    return cli_stream_send(stream, vv_buf_slice(&c->request), err);
}

static uint64_t inner_varint(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    uint64_t v = 0;
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_VARINT)
            v = f.value;
    return v;
}

static void take_answer(flight *f, vv_slice message)
{
    bench *b = f->client->bench;
    int64_t now = vv_clock_mono(b->clock);
    wire_reader r = wire_reader_of(message);
    wire_field g = {0};
    while (wire_next(&r, &g) > 0) {
        if (g.number == 2)
            take_failure(b, VV_INVALID, "a record was refused");
        if (g.type != WIRE_BYTES || g.number > 2)
            continue;
        uint64_t upto = inner_varint(g.bytes, g.number == 1 ? 3 : 2);
        for (; f->acked < upto && f->acked < f->sent; f->acked++) {
            if (!is_measured(b, now))
                continue;
            vv_hist_add(&b->latency_ns, (uint64_t)(now - f->sent_ns[f->acked % b->in_flight]));
            atomic_fetch_add_explicit(&b->items, 1, memory_order_relaxed);
        }
    }
}

static vv_status run_stream(bench_client *c, vv_error *err)
{
    bench *b = c->bench;
    cli_stream *stream = NULL;
    flight f = {.client = c, .sent_ns = vv_calloc(b->in_flight, sizeof(int64_t))};
    vv_buf reply;
    vv_buf_init(&reply, 1 << 20);
    vv_status st = f.sent_ns == NULL
                       ? vv_fail(err, VV_NO_MEMORY, "%" PRIu64 " records in flight", b->in_flight)
                       : cli_stream_open(c->conn, b->work->method, 0, &stream, err);
    if (st == VV_OK)
        st = send_init(c, stream, err);
    while (st == VV_OK && vv_clock_mono(b->clock) < b->end_ns && atomic_load(&b->stop) == 0) {
        for (int i = 0; i < 256 && f.sent - f.acked < b->in_flight && st == VV_OK; i++) {
            vv_buf_reset(&c->request);
            (void)b->work->request(c, &c->request);
            f.sent_ns[f.sent++ % b->in_flight] = vv_clock_mono(b->clock);
            st = cli_stream_send(stream, vv_buf_slice(&c->request), err);
        }
        bool full = f.sent - f.acked >= b->in_flight;
        while (st == VV_OK && (st = cli_stream_receive(stream, full, &reply, err)) == VV_OK) {
            take_answer(&f, vv_buf_slice(&reply));
            full = false;
        }
        if (st == VV_TIMEOUT)
            st = VV_OK;
        else if (st == VV_NOT_FOUND)
            st = vv_fail(err, VV_CLOSED, "the server ended the stream");
    }
    cli_stream_close(stream);
    vv_buf_fini(&reply);
    vv_free(f.sent_ns);
    return st;
}

/* ---- a client ---- */

static vv_status client_init(bench_client *c, vv_error *err)
{
    bench *b = c->bench;
    vv_buf_init(&c->request, 128u << 20);
    vv_buf_init(&c->filler, (size_t)b->value_size + 1);
    vv_rng_init(&c->rng, c->index + 1);
    uint8_t *at = vv_buf_reserve(&c->filler, (size_t)b->value_size + 1);
    if (at == NULL)
        return vv_fail(err, VV_NO_MEMORY, "a value of %" PRIu64 " bytes", b->value_size);
    for (uint64_t i = 0; i < b->value_size; i++) /* letters that compress a little, as data does */
        at[i] = (uint8_t)('a' + vv_rng_below(&c->rng, 16));
    vv_buf_advance(&c->filler, (size_t)b->value_size);
    return cli_open(b->common->server, NULL, &c->conn, err);
}

static void client_fini(bench_client *c)
{
    cli_close(c->conn);
    vv_buf_fini(&c->request);
    vv_buf_fini(&c->filler);
}

void bench_client_run(void *client)
{
    bench_client *c = client;
    vv_error err = {0};
    vv_status st = client_init(c, &err);
    if (st == VV_OK)
        st = c->bench->work->streams ? run_stream(c, &err) : run_calls(c, &err);
    client_fini(c);
    if (st != VV_OK) {
        take_failure(c->bench, st, err.msg);
        atomic_store(&c->bench->stop, 1);
    }
}

static void fill_request(bench_client *c, uint64_t from, uint64_t to)
{
    char key[32];
    vv_buf *out = &c->request;
    for (uint64_t n = from; n < to; n++) {
        size_t begin = wire_begin(out, 1);
        if (c->bench->work->needs_records) {
            put_record(c, out, n);
        } else {
            size_t put = wire_begin(out, 1); /* Operation.put */
            put_ref(c, out, 1);
            wire_put_string(out, 2, key_of(c, n, key));
            wire_put_string(out, 3, filler(c, c->filler.len));
            wire_end(out, put);
        }
        wire_end(out, begin);
    }
}

vv_status bench_fill(bench *b, vv_error *err)
{
    bench_client c = {.bench = b};
    vv_buf reply;
    vv_buf_init(&reply, 64u << 20);
    uint64_t step = FILL_BATCH;
    if (b->value_size > 8000)
        step = 1 + 8000000 / b->value_size; /* a batch stays under the limit of an entry */
    vv_status st = client_init(&c, err);
    for (uint64_t n = 0; st == VV_OK && n < b->keys; n += step) {
        vv_buf_reset(&c.request);
        fill_request(&c, n, vv_min_u64(n + step, b->keys));
        if (b->work->needs_keys)
            wire_put_uint(&c.request, 2, VV_DURABLE_OS);
        st = cli_unary(c.conn,
                       b->work->needs_records ? "/storage.IngestionService/IngestBatch"
                                              : "/varve.v1.Kv/Batch",
                       vv_buf_slice(&c.request), CALL_TIMEOUT_NS, &reply, NULL, err);
    }
    client_fini(&c);
    vv_buf_fini(&reply);
    return st;
}
