/*
 * bench_nats.c - how fast a JetStream comes into a series table, beside what libnats alone can.
 *
 * It backs the figures of docs/PERFORMANCE.md, "NATS". bench/nats.py starts a nats-server for it.
 *
 *     bench_nats url directory [messages [rounds [batch]]]
 *
 * Once it fills the stream. Then, in turns: "client", the loop of pulls and acknowledgements with
 * libnats and nothing else, which looks at no message; and "feed", the whole: each message decoded,
 * its sample in a new store below directory, synced, the position with it, then acknowledged.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nats/nats.h>

#include "base/buf.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "feeds/feed_nats.h"
#include "feeds/feed_store.h"
#include "io/env.h"
#include "varve/varve.h"

#define STREAM "BENCH"
#define SUBJECT "enterprise.>"
#define DURABLE "bench"
#define SENSORS 1000u
#define BASE_MS INT64_C(1700000000000)
#define PENDING 4000

static const char *url;
static uint32_t batch = FEED_NATS_BATCH_DEFAULT;

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_nats: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static void must_nats(natsStatus s, const char *what)
{
    if (s == NATS_OK)
        return;
    (void)fprintf(stderr, "bench_nats: %s: %s\n", what, natsStatus_GetText(s));
    exit(1);
}

static void print(const char *way, uint64_t messages, int64_t ns)
{
    double s = (double)ns / 1e9;
    (void)printf("{\"bench\": \"nats\", \"way\": \"%s\", \"messages\": %" PRIu64
                 ", \"batch\": %u, \"seconds\": %.3f, \"per_second\": %.0f}\n",
                 way, messages, batch, s, (double)messages / s);
    (void)fflush(stdout);
}

/* ---- the stream ---- */

static void encode(vv_buf *b, uint64_t n)
{
    char id[64];
    uint64_t sensor = n % SENSORS;
    vv_buf_reset(b);
    (void)snprintf(id, sizeof id, "plant1.area%" PRIu64 ".line%" PRIu64 ".sensor-%04" PRIu64,
                   sensor % 4, sensor % 16, sensor);
    wire_put_string(b, 1, vv_slice_str(id));
    wire_put_double_always(b, 2, 20.0 + (double)(n * 7 % 1000) / 100);
    wire_put_int(b, 3, BASE_MS + (int64_t)(n / SENSORS) * 1000);
    wire_put_int(b, 4, 1);
}

static void fill(natsConnection *nc, uint64_t messages)
{
    jsCtx *js = NULL;
    jsOptions options;
    jsStreamConfig config;
    const char *subjects[] = {SUBJECT};
    vv_buf b;
    vv_buf_init(&b, 1024);
    must_nats(jsOptions_Init(&options), "options");
    options.PublishAsync.MaxPending = PENDING;
    options.PublishAsync.StallWait = 30000;
    must_nats(natsConnection_JetStream(&js, nc, &options), "JetStream");
    must_nats(jsStreamConfig_Init(&config), "stream");
    config.Name = STREAM;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    must_nats(js_AddStream(NULL, js, &config, NULL, NULL), "stream");
    for (uint64_t n = 0; n < messages; n++) {
        char subject[64];
        (void)snprintf(subject, sizeof subject, "enterprise.plant1.s%" PRIu64, n % SENSORS);
        encode(&b, n);
        must_nats(js_PublishAsync(js, subject, b.data, (int)b.len, NULL), "publish");
    }
    must_nats(js_PublishAsyncComplete(js, NULL), "publish");
    jsCtx_Destroy(js);
    vv_buf_fini(&b);
}

/* ---- libnats alone ---- */

static natsSubscription *make_consumer(natsConnection *nc, jsCtx *js, natsInbox *inbox)
{
    jsConsumerConfig config;
    natsSubscription *sub = NULL;
    (void)js_DeleteConsumer(js, STREAM, DURABLE, NULL, NULL);
    must_nats(jsConsumerConfig_Init(&config), "consumer");
    config.Durable = DURABLE;
    config.FilterSubject = SUBJECT;
    config.DeliverPolicy = js_DeliverAll;
    config.AckPolicy = js_AckAll;
    config.MaxAckPending = 8 * (int64_t)batch;
    must_nats(js_AddConsumer(NULL, js, STREAM, &config, NULL, NULL), "consumer");
    must_nats(natsConnection_SubscribeSync(&sub, nc, inbox), "subscribe");
    must_nats(natsSubscription_SetPendingLimits(sub, -1, -1), "limits");
    return sub;
}

static void pull(natsConnection *nc, const char *inbox)
{
    char request[64];
    (void)snprintf(request, sizeof request, "{\"batch\":%u,\"expires\":5000000000}", batch);
    must_nats(natsConnection_PublishRequestString(
                  nc, "$JS.API.CONSUMER.MSG.NEXT." STREAM "." DURABLE, inbox, request),
              "pull");
}

/* Two pulls are always open, as the feed has them; one acknowledgement a batch. */
static void run_client(natsConnection *nc, uint64_t messages)
{
    jsCtx *js = NULL;
    natsInbox *inbox = NULL;
    natsMsg *last = NULL;
    must_nats(natsConnection_JetStream(&js, nc, NULL), "JetStream");
    must_nats(natsInbox_Create(&inbox), "inbox");
    natsSubscription *sub = make_consumer(nc, js, inbox);
    int64_t begin = vv_clock_mono(vv_clock_real());
    pull(nc, inbox);
    for (uint64_t n = 0; n < messages; n++) {
        natsMsg *m = NULL;
        if (n % batch == 0)
            pull(nc, inbox);
        must_nats(natsSubscription_NextMsg(&m, sub, 10000), "message");
        natsMsg_Destroy(last);
        last = m;
        if (n % batch == batch - 1 || n == messages - 1)
            must_nats(natsConnection_PublishString(nc, natsMsg_GetReply(m), "+ACK"), "ack");
    }
    must_nats(natsConnection_Flush(nc), "flush");
    print("client", messages, vv_clock_mono(vv_clock_real()) - begin);
    natsMsg_Destroy(last);
    natsSubscription_Destroy(sub);
    natsInbox_Destroy(inbox);
    jsCtx_Destroy(js);
}

/* ---- the feed ---- */

static void run_feed(const char *dir, uint64_t messages)
{
    vv_error err = {0};
    vv_options options = VV_OPTIONS_INIT;
    vv_db *db = NULL;
    feed_broker *broker = NULL;
    feed_target *target = NULL;
    feed_stats s;
    const feed_nats_options nats = {
        .url = url, .stream = STREAM, .subject = SUBJECT, .durable = DURABLE, .batch = batch};
    const feed_store_options store = {.tenant = "default",
                                      .table = "sensors",
                                      .source = "nats/" STREAM "/" DURABLE,
                                      .stream = STREAM};
    must(vv_db_open(dir, &options, &db, &err), &err);
    feed_store_options with_db = store;
    with_db.db = db;
    must(feed_nats_create(&nats, &broker, &err), &err);
    must(feed_store_create(&with_db, &target, &err), &err);
    feed_pump *pump = feed_pump_create(&(feed_pump_options){.broker = broker,
                                                            .target = target,
                                                            .clock = vv_clock_real(),
                                                            .name = STREAM,
                                                            FEED_PUMP_OPTIONS_DEFAULT});
    int64_t begin = vv_clock_mono(vv_clock_real());
    must(feed_pump_start(pump, vv_threads_real(), &err), &err);
    do {
        nats_Sleep(2);
        feed_pump_stats(pump, &s);
    } while (s.messages < messages);
    print("feed", messages, vv_clock_mono(vv_clock_real()) - begin);
    if (s.accepted != messages || s.redelivered + s.poison + s.failures > 0)
        (void)fprintf(stderr, "bench_nats: %" PRIu64 " samples, %" PRIu64 " failures: %s\n",
                      s.accepted, s.failures, s.why);
    feed_pump_destroy(pump);
    feed_store_destroy(target);
    feed_nats_destroy(broker);
    must(vv_db_close(db, &err), &err);
}

int main(int argc, char **argv)
{
    natsConnection *nc = NULL;
    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench_nats url directory [messages [rounds [batch]]]\n");
        return 2;
    }
    url = argv[1];
    uint64_t messages = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000000;
    unsigned rounds = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 3;
    if (argc > 5)
        batch = (uint32_t)strtoul(argv[5], NULL, 10);
    must_nats(natsConnection_ConnectTo(&nc, url), "connect");
    int64_t begin = vv_clock_mono(vv_clock_real());
    fill(nc, messages);
    print("publish", messages, vv_clock_mono(vv_clock_real()) - begin);
    for (unsigned i = 0; i < rounds; i++) {
        char dir[512];
        run_client(nc, messages);
        (void)snprintf(dir, sizeof dir, "%s/db-%u", argv[2], i);
        run_feed(dir, messages);
    }
    natsConnection_Destroy(nc);
    nats_Close();
    return 0;
}
