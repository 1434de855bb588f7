/*
 * bench_rpc.c - closed-loop load on a running varved over gRPC, one connection, one thread.
 *
 *     bench_rpc MODE INGEST QUERY [SECONDS] [IN_FLIGHT] [FIRST_ID]
 *
 *     batch    IngestBatch, 1,000 records of 100 bytes a message
 *     stream   IngestStream with batch acks, one record of 100 bytes a message
 *     put      Kv.Put, 16-byte keys and 100-byte values
 *     put1k    the same with values of 1 KiB, until SECONDS bytes of values are written
 *     get      GetRecord of random ids that `batch` wrote from FIRST_ID 0 on (IN_FLIGHT is their
 *              count in thousands)
 *     range    Query of a random range of 1,000 timestamps among them
 *
 * Every answer is checked: status, and the count of records it vouches for. Prints one JSON line.
 * Claims: the ingest and latency rows of docs/PERFORMANCE.md. Durability is the server's default,
 * sync, and every id is new, so nothing is overwritten.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/hist.h"
#include "base/rng.h"
#include "base/util.h"
#include "base/varint.h"
#include "client/client.h"

#define RECORD_LEN 100u
#define BATCH 1000u
#define FIRST_SECOND 1700000000u
#define CALL_TIMEOUT_NS (60 * VV_NS_PER_S)

typedef struct load {
    cli_conn *ingest;
    cli_conn *query;
    int64_t end_ns;
    uint64_t next_id;
    uint64_t id_count; /* get, range: ids there are */
    uint64_t done;     /* records, puts, reads */
    uint64_t done_max; /* put1k: puts to do; otherwise without bound */
    size_t value_len;
    uint64_t failed;
    unsigned open;
    vv_rng rng;
    vv_hist latency;
    vv_buf message;
    char why[400];
} load;

static load the;

static int64_t now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * VV_NS_PER_S + ts.tv_nsec;
}

/* ---- messages ---- */

/* A DataRecord of exactly 100 bytes; id and second are patched at fixed places. */
static const uint8_t record_template[RECORD_LEN] = "\x0a\x1d\x0a\x07\x0a\x05"
                                                   "bench"
                                                   "\x12\x12\x0a\x10"
                                                   "0000000000000000"
                                                   "\x12\x3b\x0a\x0e\x0a\x01v\x12\x09\x11"
                                                   "\0\0\0\0\0\0\x34\x40"
                                                   "\x0a\x29\x0a\x01s\x12\x24\x1a\x22"
                                                   "the quick brown fox jumps over 34b"
                                                   "\x22\x06\x08";
#define ID_AT 15u
#define SECOND_AT 95u

static void put_digits(uint8_t *at, uint64_t n)
{
    for (int i = 15; i >= 0; i--, n /= 10)
        at[i] = (uint8_t)('0' + n % 10);
}

/* Ids are scattered over the key space, so that inserts are not in key order. */
static uint64_t scatter(uint64_t n)
{
    return n * UINT64_C(0x9e3779b97f4a7c15) % UINT64_C(10000000000000000);
}

static void put_record(uint8_t *at, uint64_t n)
{
    memcpy(at, record_template, RECORD_LEN);
    put_digits(at + ID_AT, scatter(n));
    uint64_t second = FIRST_SECOND + n;
    for (int i = 0; i < 5; i++, second >>= 7) /* a varint of exactly five bytes */
        at[SECOND_AT + (unsigned)i] = (uint8_t)((second & 0x7f) | (i < 4 ? 0x80 : 0));
}

static vv_slice batch_message(void)
{
    vv_buf_reset(&the.message);
    for (unsigned i = 0; i < BATCH; i++) {
        uint8_t *at = vv_buf_reserve(&the.message, 2 + RECORD_LEN);
        at[0] = 0x0a;
        at[1] = RECORD_LEN;
        put_record(at + 2, the.next_id++);
        vv_buf_advance(&the.message, 2 + RECORD_LEN);
    }
    return vv_buf_slice(&the.message);
}

static void put_field(vv_buf *b, uint8_t tag, const void *data, size_t len)
{
    vv_buf_append_u8(b, tag);
    vv_buf_append_varint(b, len);
    vv_buf_append(b, data, len);
}

static vv_slice put_message(void)
{
    static const char table[] = "\x0a\x05"
                                "bench"
                                "\x12\x02kv";
    uint8_t key[16];
    uint8_t value[1024];
    put_digits(key, scatter(the.next_id++));
    memset(value, 'v', the.value_len);
    vv_buf_reset(&the.message);
    put_field(&the.message, 0x0a, table, sizeof table - 1);
    put_field(&the.message, 0x12, key, sizeof key);
    put_field(&the.message, 0x1a, value, the.value_len);
    return vv_buf_slice(&the.message);
}

static vv_slice get_message(void)
{
    uint8_t id[29];
    memcpy(id, record_template + 2, sizeof id);
    put_digits(id + ID_AT - 2, scatter(vv_rng_below(&the.rng, the.id_count)));
    vv_buf_reset(&the.message);
    put_field(&the.message, 0x0a, id, sizeof id);
    return vv_buf_slice(&the.message);
}

static void put_timestamp(vv_buf *b, uint8_t tag, uint64_t second)
{
    uint8_t varint[VV_VARINT_MAX];
    size_t len = vv_varint_put(varint, second);
    vv_buf_append_u8(b, tag);
    vv_buf_append_varint(b, len + 1);
    vv_buf_append_u8(b, 0x08);
    vv_buf_append(b, varint, len);
}

static vv_slice range_message(void)
{
    uint64_t first = FIRST_SECOND + vv_rng_below(&the.rng, the.id_count - BATCH);
    uint8_t bytes[32];
    vv_buf range = {.data = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    put_timestamp(&range, 0x0a, first);
    put_timestamp(&range, 0x12, first + BATCH);
    vv_buf_reset(&the.message);
    put_field(&the.message, 0x0a,
              "\x0a\x05"
              "bench",
              7);
    put_field(&the.message, 0x12, "\x12\x07records", 9);
    put_field(&the.message, 0x42, range.data, range.len);
    return vv_buf_slice(&the.message);
}

/* ---- checking answers ---- */

/* Walk the top level: the last varint of field `number`, and how often field `counted` stands. */
static bool walk(vv_slice m, unsigned number, uint64_t *value, unsigned counted, uint64_t *count)
{
    const uint8_t *p = m.data;
    const uint8_t *end = m.data + m.len;
    *value = 0;
    *count = 0;
    while (p < end) {
        uint64_t tag;
        uint64_t v;
        p = vv_varint_get(p, end, &tag);
        if (p == NULL)
            return false;
        if ((tag & 7) == 1) {
            p += 8;
            continue;
        }
        p = vv_varint_get(p, end, &v);
        if (p == NULL)
            return false;
        *count += tag >> 3 == counted;
        if ((tag & 7) == 2)
            p += v;
        else if (tag >> 3 == number)
            *value = v;
    }
    return p == end;
}

typedef struct kind {
    const char *name;
    const char *method;
    bool on_query;
    vv_slice (*make)(void);
    uint64_t weight; /* records a good answer stands for */
    unsigned number; /* field whose varint must equal want (0: not looked at) */
    uint64_t want;
    unsigned counted; /* field that must stand want_count times (0: not looked at) */
    uint64_t want_count;
} kind;

static const kind kinds[] = {
    {"batch", "/storage.IngestionService/IngestBatch", false, batch_message, BATCH, 2, BATCH, 4,
     BATCH},
    {"put", "/varve.v1.Kv/Put", false, put_message, 1, 0, 0, 1, 1},
    {"put1k", "/varve.v1.Kv/Put", false, put_message, 1, 0, 0, 1, 1},
    {"get", "/storage.QueryService/GetRecord", true, get_message, 1, 3, 1, 2, 1},
    {"range", "/storage.QueryService/Query", true, range_message, 1, 0, 0, 2, BATCH},
};

typedef struct flight {
    const kind *kind;
    int64_t begin_ns;
    bool good;
} flight;

static void refuse(const char *why)
{
    the.failed++;
    (void)snprintf(the.why, sizeof the.why, "%s", why);
}

static void on_message(void *ctx, cli_call *call, vv_slice m)
{
    flight *f = ctx;
    (void)call;
    uint64_t value;
    uint64_t count;
    f->good = walk(m, f->kind->number, &value, f->kind->counted, &count) &&
              (f->kind->number == 0 || value == f->kind->want) &&
              (f->kind->counted == 0 || count == f->kind->want_count);
}

static void start(flight *f);

static void on_closed(void *ctx, cli_call *call, const cli_result *result)
{
    flight *f = ctx;
    (void)call;
    the.open--;
    int64_t now = now_ns();
    if (result->status != VV_OK || !f->good) {
        refuse(result->status != VV_OK ? result->message : "the answer vouches for too little");
        return;
    }
    the.done += f->kind->weight;
    vv_hist_add(&the.latency, (uint64_t)(now - f->begin_ns));
    if (now < the.end_ns && the.done + the.open < the.done_max)
        start(f);
}

static void start(flight *f)
{
    cli_conn *conn = f->kind->on_query ? the.query : the.ingest;
    cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = f};
    cli_call *call;
    vv_error err = {0};
    f->begin_ns = now_ns();
    f->good = false;
    if (cli_call_start(conn, f->kind->method, CALL_TIMEOUT_NS, &handler, &call, &err) != VV_OK ||
        cli_call_send(call, f->kind->make(), &err) != VV_OK) {
        refuse(err.msg);
        return;
    }
    cli_call_half_close(call);
    the.open++;
}

static void run_calls(const kind *k, unsigned in_flight)
{
    flight *flights = calloc(in_flight, sizeof *flights);
    if (flights == NULL)
        return;
    for (unsigned i = 0; i < in_flight; i++) {
        flights[i].kind = k;
        start(&flights[i]);
    }
    vv_error err = {0};
    while (the.open > 0) {
        vv_status st = cli_step(k->on_query ? the.query : the.ingest, VV_NS_PER_S, &err);
        if (st != VV_OK && st != VV_TIMEOUT)
            break;
    }
    free(flights);
}

/* ---- the stream ---- */

static void send_init(cli_stream *s, vv_error *err)
{
    static const char init[] = "\x0a\x0e\x1a\x0c\x0a\x03"
                               "ack"
                               "\x12\x05"
                               "batch";
    if (cli_stream_send(s, vv_slice_of(init, sizeof init - 1), err) != VV_OK)
        refuse(err->msg);
}

/* Take what acknowledgements there are: field 1 is the ack, its field 3 the last sequence number.
 */
static vv_status take_acks(cli_stream *s, bool wait, vv_buf *reply, vv_error *err)
{
    vv_status st;
    while ((st = cli_stream_receive(s, wait, reply, err)) == VV_OK) {
        if (reply->len < 2 || reply->data[0] != 0x0a)
            continue; /* statistics */
        const uint8_t *end = reply->data + reply->len;
        uint64_t len;
        const uint8_t *p = vv_varint_get(reply->data + 1, end, &len);
        uint64_t sequence;
        uint64_t none;
        if (p != NULL && walk(vv_slice_of(p, (size_t)(end - p)), 3, &sequence, 0, &none))
            the.done = sequence;
    }
    return st;
}

static void run_stream(void)
{
    vv_error err = {0};
    cli_stream *s;
    vv_buf reply;
    vv_buf_init(&reply, VV_MIB);
    if (cli_stream_open(the.ingest, "/storage.IngestionService/IngestStream", 10 * CALL_TIMEOUT_NS,
                        &s, &err) != VV_OK) {
        refuse(err.msg);
        return;
    }
    send_init(s, &err);
    uint64_t sent = 0;
    while (now_ns() < the.end_ns && the.failed == 0) {
        for (unsigned i = 0; i < 256; i++, sent++) {
            uint8_t m[2 + RECORD_LEN] = {0x12, RECORD_LEN};
            put_record(m + 2, the.next_id++);
            if (cli_stream_send(s, vv_slice_of(m, sizeof m), &err) != VV_OK)
                refuse(err.msg);
        }
        vv_status st = take_acks(s, false, &reply, &err);
        if (st != VV_TIMEOUT)
            refuse(err.msg);
    }
    cli_stream_half_close(s);
    if (take_acks(s, true, &reply, &err) != VV_NOT_FOUND)
        refuse(err.msg);
    if (the.done != sent)
        refuse("not every record was acknowledged");
    cli_stream_close(s);
    vv_buf_fini(&reply);
}

static double ms(double fraction)
{
    return (double)vv_hist_percentile(&the.latency, fraction) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        (void)fprintf(stderr,
                      "usage: bench_rpc batch|stream|put|put1k|get|range INGEST QUERY [SECONDS] "
                      "[IN_FLIGHT] [FIRST_ID]\n");
        return 2;
    }
    double seconds = argc > 4 ? atof(argv[4]) : 5;
    unsigned in_flight = argc > 5 ? (unsigned)atoi(argv[5]) : 4;
    the.next_id = argc > 6 ? strtoull(argv[6], NULL, 10) : 0;
    vv_error err = {0};
    vv_rng_init(&the.rng, 1);
    vv_buf_init(&the.message, VV_MIB);
    if (cli_open(argv[2], NULL, &the.ingest, &err) != VV_OK ||
        cli_open(argv[3], NULL, &the.query, &err) != VV_OK) {
        (void)fprintf(stderr, "bench_rpc: %s\n", err.msg);
        return 1;
    }
    int64_t begin = now_ns();
    the.end_ns = begin + (int64_t)(seconds * 1e9);
    the.done_max = UINT64_MAX;
    the.value_len = 100;
    if (strcmp(argv[1], "put1k") == 0) {
        the.value_len = 1024;
        the.done_max = (uint64_t)seconds / 1024;
        the.end_ns = INT64_MAX;
    }
    const kind *k = NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].name, argv[1]) == 0)
            k = &kinds[i];
    if (k != NULL && k->on_query) {
        the.id_count = in_flight * UINT64_C(1000);
        in_flight = 1;
    }
    if (k != NULL)
        run_calls(k, in_flight);
    else
        run_stream();
    double took = (double)(now_ns() - begin) / 1e9;
    (void)printf("{\"bench\":\"rpc\",\"mode\":\"%s\",\"seconds\":%.2f,\"in_flight\":%u,"
                 "\"done\":%" PRIu64 ",\"per_s\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
                 "\"p999_ms\":%.3f,\"failed\":%" PRIu64 ",\"next_id\":%" PRIu64 "}\n",
                 argv[1], took, in_flight, the.done, (double)the.done / took, ms(0.5), ms(0.99),
                 ms(0.999), the.failed, the.next_id);
    if (the.failed > 0)
        (void)fprintf(stderr, "bench_rpc: %s\n", the.why);
    vv_buf_fini(&the.message);
    cli_close(the.ingest);
    cli_close(the.query);
    return the.failed > 0;
}
