/*
 * nats_feed.c - the parts of nats_test.py that are C: a publisher that does not lose its own
 * messages, a store with a feed in it, and the look at what came in.
 *
 *     nats_feed publish URL STREAM FROM COUNT [POISON_EVERY [POISON_SIZE]]
 *     nats_feed feed DIR URL [core]        until a line or the end comes on stdin; "stats" asks
 *     nats_feed check DIR COUNT [POISON_EVERY]     messages 1..COUNT, each once, and its letters
 *     nats_feed stream URL STREAM delete           as an operator would
 *     nats_feed consumer URL STREAM DURABLE        what the server knows of it
 *     nats_feed pace URL STREAM RATE SECONDS       so many a second, into a stream of 4 GiB at most
 *
 * A publisher has a certificate from NATS_CA, NATS_CERT and NATS_KEY, and an identity from
 * NATS_CREDS. Message n is the sample n ms after BASE of sensor s<n % SENSORS>, with the value n.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nats/nats.h>

#include "base/buf.h"
#include "codec/protowire.h"
#include "feeds/feed_nats.h"
#include "feeds/feed_store.h"
#include "io/env.h"
#include "varve/varve.h"

#define BASE_MS INT64_C(1700000000000)
#define SENSORS 100u
#define BATCH 500u
#define MESSAGE_MAX (1u << 20)

static uint64_t poison_size; /* bytes, at least */

static void must(vv_status st, const vv_error *err, const char *what)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "nats_feed: %s: %s\n", what, err->msg);
    exit(1);
}

/* ---- publish ---- */

static void encode(vv_buf *b, uint64_t n, uint64_t poison_every)
{
    char id[24];
    vv_buf_reset(b);
    if (poison_every > 0 && n % poison_every == 0) {
        vv_buf_printf(b, "poison %" PRIu64, n);
        while (b->status == VV_OK && b->len < poison_size)
            vv_buf_append_str(b, " and so on, and so on, and so on, and so on, and so on");
        return;
    }
    (void)snprintf(id, sizeof id, "s%" PRIu64, n % SENSORS);
    wire_put_string(b, 1, vv_slice_str(id));
    wire_put_double_always(b, 2, (double)n);
    wire_put_int(b, 3, BASE_MS + (int64_t)n);
    wire_put_int(b, 4, 1);
}

static natsStatus publish_one(jsCtx *js, vv_buf *b, uint64_t n, uint64_t poison_every)
{
    char subject[64], id[32];
    jsPubOptions options;
    natsStatus s = jsPubOptions_Init(&options);
    encode(b, n, poison_every);
    (void)snprintf(subject, sizeof subject, "enterprise.a.b.c.d.s%" PRIu64, n % SENSORS);
    (void)snprintf(id, sizeof id, "m%" PRIu64, n);
    options.MsgId = id; /* what is published again after a failure is in the stream once */
    if (s == NATS_OK)
        s = js_PublishAsync(js, subject, b->data, (int)b->len, &options);
    return s;
}

/* The server refused one, or nobody answered. */
static _Atomic unsigned refused;

static void count_refused(jsCtx *js, jsPubAckErr *error, void *closure)
{
    (void)js, (void)error, (void)closure;
    atomic_fetch_add(&refused, 1);
}

/* All of a batch acknowledged, or not known. */
static natsStatus publish_batch(natsConnection *nc, vv_buf *b, uint64_t from, uint64_t to,
                                uint64_t poison_every)
{
    jsCtx *js = NULL;
    jsOptions options;
    jsPubOptions wait;
    natsMsgList left = {0};
    natsStatus s = jsOptions_Init(&options);
    atomic_store(&refused, 0);
    options.PublishAsync.MaxPending = BATCH;
    options.PublishAsync.ErrHandler = count_refused;
    if (s == NATS_OK)
        s = natsConnection_JetStream(&js, nc, &options);
    for (uint64_t n = from; s == NATS_OK && n < to; n++)
        s = publish_one(js, b, n, poison_every);
    if (s == NATS_OK)
        s = jsPubOptions_Init(&wait);
    wait.MaxWait = 1000; /* longer than a server that is there takes */
    if (s == NATS_OK)
        s = js_PublishAsyncComplete(js, &wait);
    if (s == NATS_OK && js_PublishAsyncGetPendingList(&left, js) == NATS_OK && left.Count > 0)
        s = NATS_ERR;
    if (s == NATS_OK && atomic_load(&refused) > 0)
        s = NATS_ERR; /* published again with the rest */
    natsMsgList_Destroy(&left);
    jsCtx_Destroy(js);
    return s;
}

/* What a server may ask for, from the environment. */
static natsStatus set_identity(natsOptions *options)
{
    const char *ca = getenv("NATS_CA"), *cert = getenv("NATS_CERT"), *creds = getenv("NATS_CREDS");
    natsStatus s = ca == NULL ? NATS_OK : natsOptions_LoadCATrustedCertificates(options, ca);
    if (s == NATS_OK && ca != NULL)
        s = natsOptions_SetSecure(options, true);
    if (s == NATS_OK && cert != NULL)
        s = natsOptions_LoadCertificatesChain(options, cert, getenv("NATS_KEY"));
    if (s == NATS_OK && creds != NULL)
        s = natsOptions_SetUserCredentialsFromFiles(options, creds, NULL);
    return s;
}

/* A lost connection is told at once, instead of being waited for. */
static natsStatus connect_once(natsConnection **nc, const char *url)
{
    natsOptions *options = NULL;
    natsStatus s = natsOptions_Create(&options);
    if (s == NATS_OK)
        s = natsOptions_SetURL(options, url);
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(options, false);
    if (s == NATS_OK)
        s = set_identity(options);
    if (s == NATS_OK)
        s = natsConnection_Connect(nc, options);
    natsOptions_Destroy(options);
    return s;
}

static int run_publish(const char *url, uint64_t from, uint64_t count, uint64_t poison_every)
{
    vv_buf b;
    vv_buf_init(&b, MESSAGE_MAX);
    uint64_t n = from;
    unsigned failures = 0;
    natsConnection *nc = NULL;
    while (n < from + count && failures < 600) {
        uint64_t to = vv_min_u64(n + BATCH, from + count);
        natsStatus s = nc == NULL ? connect_once(&nc, url) : NATS_OK;
        if (s == NATS_OK)
            s = publish_batch(nc, &b, n, to, poison_every);
        if (s == NATS_OK) {
            n = to;
            continue;
        }
        failures++;
        natsConnection_Destroy(nc);
        nc = NULL;
        nats_Sleep(100);
    }
    natsConnection_Destroy(nc);
    vv_buf_fini(&b);
    (void)printf("published %" PRIu64 " failures %u\n", n - from, failures);
    return n == from + count ? 0 : 1;
}

/* The stream, bounded so that a long run does not fill the disk. */
static natsStatus make_bounded(jsCtx *js, const char *stream)
{
    jsStreamConfig config;
    const char *subjects[] = {FEED_NATS_SUBJECT_DEFAULT};
    natsStatus s = jsStreamConfig_Init(&config);
    config.Name = stream;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.MaxBytes = INT64_C(4) << 30;
    return s == NATS_OK ? js_AddStream(NULL, js, &config, NULL, NULL) : s;
}

static natsStatus pace(jsCtx *js, vv_buf *b, uint64_t rate, uint64_t seconds)
{
    natsStatus s = NATS_OK;
    int64_t begin = vv_clock_mono(vv_clock_real());
    for (uint64_t n = 0; s == NATS_OK && n < rate * seconds;) {
        int64_t gone = vv_clock_mono(vv_clock_real()) - begin;
        uint64_t due = vv_min_u64((uint64_t)((double)gone / 1e9 * (double)rate), rate * seconds);
        while (s == NATS_OK && n < due) {
            char subject[64];
            encode(b, ++n, 0);
            (void)snprintf(subject, sizeof subject, "enterprise.a.b.c.d.s%" PRIu64, n % SENSORS);
            s = js_PublishAsync(js, subject, b->data, (int)b->len, NULL);
        }
        nats_Sleep(5);
    }
    return s == NATS_OK ? js_PublishAsyncComplete(js, NULL) : s;
}

static int run_pace(const char *url, const char *stream, uint64_t rate, uint64_t seconds)
{
    vv_buf b;
    natsConnection *nc = NULL;
    jsCtx *js = NULL;
    jsOptions options;
    natsStatus s = jsOptions_Init(&options);
    options.PublishAsync.MaxPending = 50000;
    options.PublishAsync.StallWait = 30000; /* as long as the server takes */
    options.PublishAsync.ErrHandler = count_refused;
    vv_buf_init(&b, MESSAGE_MAX);
    if (s == NATS_OK)
        s = natsConnection_ConnectTo(&nc, url);
    if (s == NATS_OK)
        s = natsConnection_JetStream(&js, nc, &options);
    if (s == NATS_OK)
        s = make_bounded(js, stream);
    if (s == NATS_OK)
        s = pace(js, &b, rate, seconds);
    (void)printf("published %" PRIu64 " refused %u: %s\n", rate * seconds, atomic_load(&refused),
                 natsStatus_GetText(s));
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    vv_buf_fini(&b);
    return s == NATS_OK && atomic_load(&refused) == 0 ? 0 : 1;
}

static int run_delete(const char *url, const char *stream)
{
    natsConnection *nc = NULL;
    jsCtx *js = NULL;
    natsStatus s = natsConnection_ConnectTo(&nc, url);
    if (s == NATS_OK)
        s = natsConnection_JetStream(&js, nc, NULL);
    if (s == NATS_OK)
        s = js_DeleteStream(js, stream, NULL, NULL);
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    return s == NATS_OK ? 0 : 1;
}

static int run_consumer(const char *url, const char *stream, const char *durable)
{
    natsConnection *nc = NULL;
    jsCtx *js = NULL;
    jsConsumerInfo *info = NULL;
    natsStatus s = natsConnection_ConnectTo(&nc, url);
    if (s == NATS_OK)
        s = natsConnection_JetStream(&js, nc, NULL);
    if (s == NATS_OK)
        s = js_GetConsumerInfo(&info, js, stream, durable, NULL, NULL);
    if (s == NATS_OK)
        (void)printf("{\"floor\": %" PRIu64 ", \"delivered\": %" PRIu64
                     ", \"unacknowledged\": %" PRId64 "}\n",
                     info->AckFloor.Stream, info->Delivered.Stream, (int64_t)info->NumAckPending);
    jsConsumerInfo_Destroy(info);
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    return s == NATS_OK ? 0 : 1;
}

/* ---- feed ---- */

static vv_db *open_store(const char *dir)
{
    vv_options options = VV_OPTIONS_INIT;
    vv_error err = {0};
    vv_db *db = NULL;
    options.create_if_missing = true;
    must(vv_db_open(dir, &options, &db, &err), &err, "open");
    return db;
}

static void write_log(void *ctx, const char *line, size_t len)
{
    (void)ctx;
    (void)fwrite(line, 1, len, stderr);
}

static void print_stats(feed_pump *pump)
{
    feed_stats s;
    feed_pump_stats(pump, &s);
    (void)printf("{\"messages\": %" PRIu64 ", \"accepted\": %" PRIu64 ", \"poison\": %" PRIu64
                 ", \"redelivered\": %" PRIu64 ", \"sessions\": %" PRIu64 ", \"failures\": %" PRIu64
                 ", \"sequence\": %" PRIu64 ", \"waiting\": %" PRIu64 ", \"batches\": %" PRIu64
                 ", \"connected\": %d}\n",
                 s.messages, s.accepted, s.poison, s.redelivered, s.sessions, s.failures,
                 s.sequence, s.waiting, s.batches, s.is_connected);
    (void)fflush(stdout);
}

static int run_feed(const char *dir, const char *url, bool is_core)
{
    vv_error err = {0};
    vv_log log;
    char line[64];
    feed_broker *broker = NULL;
    feed_target *target = NULL;
    vv_db *db = open_store(dir);
    vv_log_init(&log, VV_LOG_INFO, VV_LOG_LOGFMT, vv_clock_real(), write_log, NULL);
    must(feed_nats_create(&(feed_nats_options){.url = url, .is_core = is_core}, &broker, &err),
         &err, "nats");
    must(feed_store_create(&(feed_store_options){.db = db,
                                                 .tenant = "default",
                                                 .table = "sensors",
                                                 .source = "nats/EVENTS/varve",
                                                 .stream = "EVENTS"},
                           &target, &err),
         &err, "target");
    feed_pump *pump = feed_pump_create(&(feed_pump_options){.broker = broker,
                                                            .target = target,
                                                            .clock = vv_clock_real(),
                                                            .log = &log,
                                                            .name = "EVENTS",
                                                            .seed = 1,
                                                            FEED_PUMP_OPTIONS_DEFAULT});
    must(feed_pump_start(pump, vv_threads_real(), &err), &err, "start");
    (void)printf("ready\n");
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL && strcmp(line, "stats\n") == 0)
        print_stats(pump);
    feed_pump_destroy(pump);
    feed_store_destroy(target);
    feed_nats_destroy(broker);
    must(vv_db_close(db, &err), &err, "close");
    vv_log_fini(&log);
    return 0;
}

/* ---- check ---- */

static uint64_t check_block(const vv_series_block *b, uint8_t *seen, uint64_t count)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < b->count; i++) {
        uint64_t n = (uint64_t)(b->time_ns[i] / 1000000 - BASE_MS);
        bool is_right = n >= 1 && n <= count && b->f64[i] == (double)n;
        wrong += !is_right || seen[n] != 0;
        if (is_right)
            seen[n] = 1;
    }
    return wrong;
}

static uint64_t count_letters(vv_db *db)
{
    vv_error err = {0};
    vv_table *dead = NULL;
    vv_cursor *c = NULL;
    uint64_t letters = 0;
    must(vv_table_open(db, "default", "sensors-dead", &dead, &err), &err, "letters");
    must(vv_cursor_open(dead, NULL, &c, &err), &err, "letters");
    vv_status st = vv_cursor_seek(c, vv_slice_of(NULL, 0), &err);
    for (; st == VV_OK && vv_cursor_valid(c); st = vv_cursor_next(c, &err))
        letters++;
    must(st, &err, "letters");
    vv_cursor_close(c);
    vv_table_close(dead);
    return letters;
}

static int run_check(const char *dir, uint64_t count, uint64_t poison_every)
{
    vv_error err = {0};
    vv_table *table = NULL;
    vv_series_cursor *c = NULL;
    vv_series_block b;
    uint64_t wrong = 0, missing = 0, series = 0;
    uint8_t *seen = calloc(count + 1, 1);
    vv_db *db = open_store(dir);
    vv_matcher name = {VV_MATCH_EQ, vv_slice_str("__name__"), vv_slice_str("sensor")};
    vv_series_query q = VV_SERIES_QUERY_INIT;
    q.matchers = &name;
    q.matcher_count = 1;
    q.start_ns = INT64_MIN;
    q.end_ns = INT64_MAX;
    if (seen == NULL)
        return 1;
    must(vv_table_open(db, "default", "sensors", &table, &err), &err, "table");
    must(vv_series_query_open(table, &q, &c, &err), &err, "query");
    vv_status st = vv_series_query_next(c, &b, &err);
    for (; st == VV_OK; st = vv_series_query_next(c, &b, &err)) {
        wrong += check_block(&b, seen, count);
        series += b.is_last_of_series;
    }
    must(st == VV_NOT_FOUND ? VV_OK : st, &err, "query");
    for (uint64_t n = 1; n <= count; n++)
        missing += seen[n] == (poison_every > 0 && n % poison_every == 0);
    vv_series_query_close(c);
    vv_table_close(table);
    uint64_t letters = count_letters(db);
    must(vv_db_close(db, &err), &err, "close");
    free(seen);
    (void)printf("{\"series\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"missing\": %" PRIu64
                 ", \"letters\": %" PRIu64 "}\n",
                 series, wrong, missing, letters);
    return 0;
}

static uint64_t number(int argc, char **argv, int at)
{
    return at < argc ? strtoull(argv[at], NULL, 10) : 0;
}

int main(int argc, char **argv)
{
    int code = 2;
    poison_size = number(argc, argv, 7);
    if (argc >= 6 && strcmp(argv[1], "publish") == 0)
        code = run_publish(argv[2], number(argc, argv, 4), number(argc, argv, 5),
                           number(argc, argv, 6));
    else if (argc >= 4 && strcmp(argv[1], "feed") == 0)
        code = run_feed(argv[2], argv[3], argc > 4 && strcmp(argv[4], "core") == 0);
    else if (argc >= 4 && strcmp(argv[1], "check") == 0)
        code = run_check(argv[2], number(argc, argv, 3), number(argc, argv, 4));
    else if (argc == 6 && strcmp(argv[1], "pace") == 0)
        code = run_pace(argv[2], argv[3], number(argc, argv, 4), number(argc, argv, 5));
    else if (argc == 5 && strcmp(argv[1], "stream") == 0)
        code = run_delete(argv[2], argv[3]);
    else if (argc == 5 && strcmp(argv[1], "consumer") == 0)
        code = run_consumer(argv[2], argv[3], argv[4]);
    else
        (void)fprintf(
            stderr, "nats_feed: publish, pace, feed, check, stream or consumer: see nats_feed.c\n");
    nats_Close();
    return code;
}
