/*
 * bench_pipeline.c - messages of 256 bytes into a stream of a running varved over gRPC.
 *
 *     bench_pipeline INGEST TABLE [SECONDS [PRODUCERS [BATCH [RATE]]]]
 *
 * Each producer has one Stream.Append of BATCH messages on its way and numbers them; what is
 * refused because the server is busy is sent again, as it was. RATE: messages a second at most, 0:
 * as many as are taken. A message says who sent it and which of its messages it is; the rest is
 * what devices say, different in every message of 64 MB and then again, so that no compressor sees
 * the repeat.
 *
 * Prints one JSON line; `next` has the number of messages acknowledged of each producer, for
 * `bench_tier check`. One connection, one thread.
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
#include "bench_message.h"
#include "client/client.h"

#define POOL_BYTES (64u << 20)
#define PRODUCERS_MAX 256u
#define BATCH_MAX 4000u
#define CALL_TIMEOUT_NS (60 * VV_NS_PER_S)
#define PAUSE_NS (5 * VV_NS_PER_MS) /* of a producer that was told to wait */
#define METHOD "/varve.v1.Stream/Append"
/* StreamMessage { value: 256 bytes } as field 2 of an AppendRequest. */
#define FIELD_HEAD 6u
#define FIELD_SIZE (FIELD_HEAD + BENCH_MESSAGE_SIZE)

static_assert(BENCH_MESSAGE_SIZE == 256, "the lengths in put_field are those of 256 bytes");

typedef struct producer {
    unsigned number;
    uint64_t next; /* acknowledged so far: sequence of the first message on its way */
    size_t slot;   /* in the pool, of the request on its way */
    bool is_open;
    bool is_good;
    int64_t begin_ns;
    int64_t not_before_ns;
} producer;

typedef struct load {
    cli_conn *conn;
    const char *table;
    uint8_t *pool; /* [slots][batch] fields */
    size_t slots;
    size_t next_slot;
    size_t batch;
    producer producer[PRODUCERS_MAX];
    unsigned count;
    unsigned open;
    uint64_t started; /* messages of first tries */
    uint64_t acknowledged;
    uint64_t duplicates;
    uint64_t busy; /* answers */
    uint64_t failed;
    double rate;
    int64_t begin_ns;
    int64_t end_ns;
    vv_hist latency;
    vv_buf request;
    char why[400];
} load;

static load the;

static int64_t now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * VV_NS_PER_S + ts.tv_nsec;
}

/* ---- what is sent ---- */

static void make_pool(void)
{
    static const uint8_t head[FIELD_HEAD] = {0x12, 0x83, 0x02, 0x12, 0x80, 0x02};
    vv_rng rng;
    the.slots = POOL_BYTES / (the.batch * FIELD_SIZE);
    the.pool = malloc(the.slots * the.batch * FIELD_SIZE);
    if (the.pool == NULL)
        exit(1);
    vv_rng_init(&rng, 1);
    for (size_t i = 0; i < the.slots * the.batch; i++) {
        memcpy(the.pool + i * FIELD_SIZE, head, sizeof head);
        bench_message_make(&rng, the.pool + i * FIELD_SIZE + FIELD_HEAD);
    }
}

static void put_text(vv_buf *b, uint8_t tag, const char *text)
{
    vv_buf_append_u8(b, tag);
    vv_buf_append_varint(b, strlen(text));
    vv_buf_append_str(b, text);
}

static vv_slice make_request(const producer *p)
{
    char name[16];
    uint8_t *fields = the.pool + p->slot * the.batch * FIELD_SIZE;
    for (size_t i = 0; i < the.batch; i++)
        bench_message_number(fields + i * FIELD_SIZE + FIELD_HEAD, p->number, p->next + i);
    (void)snprintf(name, sizeof name, "producer-%03u", p->number);
    vv_buf_reset(&the.request);
    vv_buf_append_u8(&the.request, 0x0a);
    vv_buf_append_varint(&the.request, 2 + strlen(the.table));
    put_text(&the.request, 0x12, the.table);
    vv_buf_append(&the.request, fields, the.batch * FIELD_SIZE);
    put_text(&the.request, 0x22, name);
    vv_buf_append_u8(&the.request, 0x28);
    vv_buf_append_varint(&the.request, p->next);
    return vv_buf_slice(&the.request);
}

/* ---- what is answered ---- */

/* An AppendResponse: field 3 is the count, field 5 says that it was written before. */
static void on_message(void *ctx, cli_call *call, vv_slice m)
{
    producer *p = ctx;
    const uint8_t *at = m.data;
    const uint8_t *end = m.data + m.len;
    (void)call;
    while (at != NULL && at < end) {
        uint64_t tag = 0;
        uint64_t value = 0;
        at = vv_varint_get(at, end, &tag);
        at = at == NULL ? NULL : vv_varint_get(at, end, &value);
        p->is_good |= at != NULL && tag == (3u << 3) && value == the.batch;
        the.duplicates += at != NULL && tag == (5u << 3) && value != 0;
    }
}

static void on_closed(void *ctx, cli_call *call, const cli_result *result)
{
    producer *p = ctx;
    int64_t now = now_ns();
    (void)call;
    p->is_open = false;
    the.open--;
    if (result->status == VV_BUSY) {
        the.busy++;
        p->not_before_ns = now + PAUSE_NS;
        return;
    }
    if (result->status != VV_OK || !p->is_good) {
        the.failed++;
        (void)snprintf(the.why, sizeof the.why, "%s",
                       result->status != VV_OK ? result->message : "not all of it was taken");
        return;
    }
    p->next += the.batch;
    p->slot = SIZE_MAX;
    the.acknowledged += the.batch;
    vv_hist_add(&the.latency, (uint64_t)(now - p->begin_ns));
}

/* ---- the load ---- */

static bool may_send(const producer *p, int64_t now)
{
    if (p->is_open || now < p->not_before_ns || the.failed > 0)
        return false;
    if (p->slot != SIZE_MAX) /* again what was refused, also past the end */
        return true;
    return now < the.end_ns &&
           (the.rate <= 0 ||
            (double)the.started < the.rate * (double)(now - the.begin_ns) / (double)VV_NS_PER_S);
}

static void send_one(producer *p, int64_t now)
{
    cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = p};
    cli_call *call = NULL;
    vv_error err = {0};
    if (p->slot == SIZE_MAX) {
        p->slot = the.next_slot++ % the.slots;
        p->begin_ns = now;
        the.started += the.batch;
    }
    p->is_good = false;
    vv_status st = cli_call_start(the.conn, METHOD, CALL_TIMEOUT_NS, &handler, &call, &err);
    if (st == VV_OK)
        st = cli_call_send(call, make_request(p), &err);
    if (st != VV_OK) {
        the.failed++;
        (void)snprintf(the.why, sizeof the.why, "%s", err.msg);
        return;
    }
    cli_call_half_close(call);
    p->is_open = true;
    the.open++;
}

/* Is somebody going to send once more? */
static bool goes_on(int64_t now)
{
    if (the.open > 0 || (now < the.end_ns && the.failed == 0))
        return true;
    for (unsigned i = 0; i < the.count && the.failed == 0; i++)
        if (the.producer[i].slot != SIZE_MAX)
            return true;
    return false;
}

static void run(void)
{
    vv_error err = {0};
    for (int64_t now = now_ns(); goes_on(now); now = now_ns()) {
        for (unsigned i = 0; i < the.count; i++)
            if (may_send(&the.producer[i], now))
                send_one(&the.producer[i], now);
        vv_status st = the.open > 0 ? cli_step(the.conn, 2 * VV_NS_PER_MS, &err) : VV_TIMEOUT;
        if (the.open == 0)
            (void)nanosleep(&(struct timespec){.tv_nsec = VV_NS_PER_MS}, NULL);
        if (st == VV_OK || st == VV_TIMEOUT)
            continue;
        the.failed++;
        (void)snprintf(the.why, sizeof the.why, "%s", err.msg);
        break;
    }
}

static double cpu_s(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double ms(double fraction)
{
    return (double)vv_hist_percentile(&the.latency, fraction) / 1e6;
}

static void print(double took, double cpu)
{
    printf("{\"bench\":\"pipeline load\",\"message\":%u,\"batch\":%zu,\"producers\":%u,"
           "\"seconds\":%.2f,\"acknowledged\":%" PRIu64 ",\"per_s\":%.0f,\"p50_ms\":%.2f,"
           "\"p99_ms\":%.2f,\"max_ms\":%.1f,\"busy\":%" PRIu64 ",\"duplicates\":%" PRIu64
           ",\"failed\":%" PRIu64 ",\"client_cpu_us\":%.3f,\"next\":[",
           BENCH_MESSAGE_SIZE, the.batch, the.count, took, the.acknowledged,
           (double)the.acknowledged / took, ms(0.5), ms(0.99),
           (double)vv_hist_max(&the.latency) / 1e6, the.busy, the.duplicates, the.failed,
           cpu * 1e6 / (double)vv_max_u64(the.acknowledged, 1));
    for (unsigned i = 0; i < the.count; i++)
        printf("%s%" PRIu64, i == 0 ? "" : ",", the.producer[i].next);
    printf("]}\n");
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench_pipeline INGEST TABLE [SECONDS [PRODUCERS [BATCH "
                              "[RATE]]]]\n");
        return 2;
    }
    vv_error err = {0};
    double seconds = argc > 3 ? atof(argv[3]) : 5;
    the.table = argv[2];
    the.count = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 16;
    the.batch = argc > 5 ? strtoul(argv[5], NULL, 10) : 500;
    the.rate = argc > 6 ? atof(argv[6]) : 0;
    if (the.count == 0 || the.count > PRODUCERS_MAX || the.batch == 0 || the.batch > BATCH_MAX) {
        (void)fprintf(stderr, "bench_pipeline: 1 to %u producers, 1 to %u messages a batch\n",
                      PRODUCERS_MAX, BATCH_MAX);
        return 2;
    }
    for (unsigned i = 0; i < the.count; i++)
        the.producer[i] = (producer){.number = i, .slot = SIZE_MAX};
    if (cli_open(argv[1], NULL, &the.conn, &err) != VV_OK) {
        (void)fprintf(stderr, "bench_pipeline: %s\n", err.msg);
        return 1;
    }
    vv_buf_init(&the.request, 16 * VV_MIB);
    make_pool();
    double cpu = cpu_s();
    the.begin_ns = now_ns();
    the.end_ns = the.begin_ns + (int64_t)(seconds * 1e9);
    run();
    print((double)(now_ns() - the.begin_ns) / 1e9, cpu_s() - cpu);
    if (the.failed > 0)
        (void)fprintf(stderr, "bench_pipeline: %s\n", the.why);
    cli_close(the.conn);
    vv_buf_fini(&the.request);
    free(the.pool);
    return the.failed > 0;
}
