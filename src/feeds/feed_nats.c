/*
 * feed_nats.c - see feed_nats.h.
 *
 * libnats does not reconnect here: a lost connection ends the session, and the pump, which alone
 * knows where to go on, opens the next. So there is one rule for pauses, and no message arrives
 * from a connection that the pump has not asked.
 */
#include "feeds/feed_nats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <nats/nats.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

#define CONNECT_MS 5000
#define REQUEST_MS 5000
#define FLUSH_MS 500
#define PULL_MS 5000                  /* a pull is open so long on the server */
#define PULL_BYTES (4u * 1024 * 1024) /* with subjects and headers */
#define PULL_GRACE_MS 2000
#define GATHER_MS 1 /* between the messages of a batch */
#define PING_MS 10000
#define PINGS_MAX 2
#define ACK_WAIT_NS (60 * VV_NS_PER_S)
#define YEAR_NS (365 * 24 * 3600 * VV_NS_PER_S)
#define DUPLICATES_NS (120 * VV_NS_PER_S)
#define CORE_PENDING_MESSAGES 1000000
#define CORE_PENDING_BYTES (64 * 1024 * 1024)

typedef struct nats_broker {
    feed_broker broker;
    char *stream;
    char *subject;
    char *durable;
    bool is_core;
    bool is_tls;
    uint32_t batch;
    feed_nats_options given; /* texts are ours: certificates are read anew by each session */
    natsOptions *options;
    natsConnection *connection;
    jsCtx *js;
    natsSubscription *subscription;
    int64_t created_ns; /* of the stream */
    bool is_whole;      /* all its messages have our subject */
    uint64_t dropped;
    char *inbox;                        /* where a pull is answered */
    uint32_t asked;                     /* messages of open pulls that have not come */
    int64_t asked_until_ms;             /* by nats_Now: then they are over, answered or not */
    bool has_come;                      /* a message, since the last pull */
    bool is_large;                      /* the next one has more bytes than a pull */
    natsMsgList lists[FEED_SLOTS];      /* Msgs is ours, [batch] */
    feed_message *messages[FEED_SLOTS]; /* [batch] */
} nats_broker;

static vv_status status_of(natsStatus s)
{
    switch (s) {
    case NATS_OK:
        return VV_OK;
    case NATS_NO_MEMORY:
        return VV_NO_MEMORY;
    case NATS_TIMEOUT:
        return VV_TIMEOUT;
    case NATS_NOT_FOUND:
        return VV_NOT_FOUND;
    case NATS_INVALID_ARG:
        return VV_INVALID;
    default:
        return VV_IO;
    }
}

/* The sentence of a failed call, with what libnats last said in this thread. */
static vv_status fail(vv_error *err, natsStatus s, const char *what, const char *name)
{
    natsStatus last = NATS_OK;
    const char *text = nats_GetLastError(&last);
    bool has_text = text != NULL && text[0] != '\0' && last == s;
    return vv_fail(err, status_of(s), "nats: %s '%s': %s", what, name,
                   has_text ? text : natsStatus_GetText(s));
}

/* TLS 1.3 tells of a certificate that the server will not have only behind the handshake, as an end
 * of the connection. */
static vv_status fail_connect(const nats_broker *b, natsStatus s, vv_error *err)
{
    vv_status st = fail(err, s, "connect for", b->is_core ? b->subject : b->stream);
    bool has_ended = s == NATS_PROTOCOL_ERROR || s == NATS_IO_ERROR || s == NATS_CONNECTION_CLOSED;
    if (!b->is_tls || !has_ended)
        return st;
    return vv_wrap(err, st, "the server ended it, perhaps for nats.tls_cert");
}

static nats_broker *broker_of(feed_broker *broker)
{
    return VV_CONTAINER_OF(broker, nats_broker, broker);
}

/* ---- the stream ---- */

static natsStatus add_stream(nats_broker *b, jsStreamInfo **info, jsErrCode *code)
{
    jsStreamConfig config;
    const char *subjects[] = {b->subject};
    natsStatus s = jsStreamConfig_Init(&config);
    if (s != NATS_OK)
        return s;
    config.Name = b->stream;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.MaxAge = YEAR_NS;
    config.Duplicates = DUPLICATES_NS;
    return js_AddStream(info, b->js, &config, NULL, code);
}

static vv_status find_stream(nats_broker *b, feed_stream *out, vv_error *err)
{
    jsStreamInfo *info = NULL;
    jsErrCode code = 0;
    natsStatus s = js_GetStreamInfo(&info, b->js, b->stream, NULL, &code);
    if (s == NATS_NOT_FOUND || code == JSStreamNotFoundErr)
        s = add_stream(b, &info, &code);
    if (s != NATS_OK)
        return fail(err, s, "stream", b->stream);
    bool is_kept = info->Config->Retention != js_InterestPolicy;
    b->is_whole =
        info->Config->SubjectsLen == 1 && strcmp(info->Config->Subjects[0], b->subject) == 0;
    b->created_ns = info->Created;
    *out = (feed_stream){.first = info->State.FirstSeq, .last = info->State.LastSeq};
    (void)snprintf(out->incarnation, sizeof out->incarnation, "%" PRId64, info->Created);
    if (out->first == 0) /* an empty stream that never had one */
        out->first = out->last + 1;
    jsStreamInfo_Destroy(info);
    if (!is_kept)
        return vv_fail(err, VV_UNSUPPORTED,
                       "nats: stream '%s' keeps messages by interest, and would drop some whenever "
                       "the feed begins again: use a stream with limits",
                       b->stream);
    return VV_OK;
}

/* ---- sessions ---- */

static void close_all(feed_broker *broker)
{
    nats_broker *b = broker_of(broker);
    if (b->connection != NULL && natsConnection_Status(b->connection) == NATS_CONN_STATUS_CONNECTED)
        (void)natsConnection_FlushTimeout(b->connection, FLUSH_MS); /* the last acknowledgement */
    natsSubscription_Destroy(b->subscription);
    natsInbox_Destroy(b->inbox);
    b->inbox = NULL;
    jsCtx_Destroy(b->js);
    natsConnection_Destroy(b->connection);
    b->subscription = NULL;
    b->js = NULL;
    b->connection = NULL;
}

static vv_status make_options(nats_broker *b, vv_error *err);

static vv_status open_stream(feed_broker *broker, feed_stream *out, vv_error *err)
{
    nats_broker *b = broker_of(broker);
    jsOptions options;
    vv_status st = make_options(b, err);
    if (st != VV_OK)
        return st;
    natsStatus s = natsConnection_Connect(&b->connection, b->options);
    if (s != NATS_OK)
        return fail_connect(b, s, err);
    if (b->is_core) {
        *out = (feed_stream){0};
        return VV_OK;
    }
    s = jsOptions_Init(&options);
    options.Wait = REQUEST_MS;
    if (s == NATS_OK)
        s = natsConnection_JetStream(&b->js, b->connection, &options);
    return s == NATS_OK ? find_stream(b, out, err) : fail(err, s, "JetStream of", b->stream);
}

static vv_status subscribe_core(nats_broker *b, vv_error *err)
{
    natsStatus s = natsConnection_SubscribeSync(&b->subscription, b->connection, b->subject);
    if (s == NATS_OK)
        s = natsSubscription_SetPendingLimits(b->subscription, CORE_PENDING_MESSAGES,
                                              CORE_PENDING_BYTES);
    if (s == NATS_OK)
        s = natsConnection_FlushTimeout(b->connection, REQUEST_MS);
    return s == NATS_OK ? VV_OK : fail(err, s, "subscribe to", b->subject);
}

/* A consumer that begins at sequence, in place of the one of before. */
static vv_status make_consumer(nats_broker *b, uint64_t sequence, vv_error *err)
{
    jsConsumerConfig config;
    jsErrCode code = 0;
    natsStatus s = js_DeleteConsumer(b->js, b->stream, b->durable, NULL, &code);
    if (s != NATS_OK && s != NATS_NOT_FOUND && code != JSConsumerNotFoundErr)
        return fail(err, s, "delete the old consumer", b->durable);
    s = jsConsumerConfig_Init(&config);
    if (s != NATS_OK)
        return fail(err, s, "consumer", b->durable);
    config.Durable = b->durable;
    /* A filter that leaves nothing out is not free: after a consumer was made anew nats-server may
     * count what matches it again for each message that it sends (seen in 2.9.10). */
    config.FilterSubject = b->is_whole ? NULL : b->subject;
    config.DeliverPolicy = js_DeliverByStartSequence;
    config.OptStartSeq = sequence;
    config.AckPolicy = js_AckAll;
    config.AckWait = ACK_WAIT_NS;
    config.MaxAckPending = (int64_t)b->batch * (FEED_SLOTS + 4);
    s = js_AddConsumer(NULL, b->js, b->stream, &config, NULL, NULL);
    return s == NATS_OK ? VV_OK : fail(err, s, "make the consumer", b->durable);
}

static vv_status consume(feed_broker *broker, uint64_t sequence, vv_error *err)
{
    nats_broker *b = broker_of(broker);
    natsSubscription_Destroy(b->subscription);
    b->subscription = NULL;
    if (b->is_core)
        return subscribe_core(b, err);
    vv_status st = make_consumer(b, sequence, err);
    if (st != VV_OK)
        return st;
    natsInbox_Destroy(b->inbox);
    b->inbox = NULL;
    b->asked = 0;
    natsStatus s = natsInbox_Create(&b->inbox);
    if (s == NATS_OK)
        s = natsConnection_SubscribeSync(&b->subscription, b->connection, b->inbox);
    if (s == NATS_OK)
        s = natsSubscription_SetPendingLimits(b->subscription, -1, -1); /* pulls bound it */
    return s == NATS_OK ? VV_OK : fail(err, s, "pull from the consumer", b->durable);
}

static uint64_t dropped(feed_broker *broker)
{
    nats_broker *b = broker_of(broker);
    int64_t n = 0;
    if (!b->is_core || b->subscription == NULL ||
        natsSubscription_GetDropped(b->subscription, &n) != NATS_OK)
        return 0;
    return (uint64_t)n;
}

/* ---- messages ---- */

static void release(feed_broker *broker, unsigned slot)
{
    nats_broker *b = broker_of(broker);
    natsMsgList *list = &b->lists[slot];
    for (int i = 0; i < list->Count; i++)
        natsMsg_Destroy(list->Msgs[i]);
    list->Count = 0;
}

static bool read_message(const nats_broker *b, natsMsg *m, feed_message *out)
{
    const char *reply = natsMsg_GetReply(m);
    feed_nats_meta meta = {0};
    *out = (feed_message){.subject = vv_slice_str(natsMsg_GetSubject(m)),
                          .payload =
                              vv_slice_of(natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m))};
    if (b->is_core)
        return true;
    if (!feed_nats_read_meta(vv_slice_str(reply), &meta))
        return false;
    out->sequence = meta.sequence;
    out->delivery = meta.delivery;
    out->published_ns = meta.published_ns;
    out->waiting = meta.waiting;
    out->is_foreign = b->is_whole && !feed_nats_is_match(b->subject, natsMsg_GetSubject(m));
    return true;
}

/* Ask for a batch, unless more than one is still coming: the server goes on sending while we write.
 * A pull is bounded in bytes, for messages may be large; one that is larger is asked for alone.
 * libnats has this too (natsSubscription_Fetch), but when an earlier pull is answered late it
 * writes past the end of its list (seen in 3.4.1). */
static natsStatus pull(nats_broker *b)
{
    char subject[512], request[96];
    int64_t now = nats_Now();
    if (now >= b->asked_until_ms)
        b->asked = 0;
    if (b->is_core || b->asked > b->batch)
        return NATS_OK;
    int n =
        snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", b->stream, b->durable);
    if (n < 0 || (size_t)n >= sizeof subject)
        return NATS_INVALID_ARG;
    uint32_t count = b->is_large ? 1 : b->batch;
    n = snprintf(request, sizeof request, "{\"batch\":%u,\"expires\":%lld", count,
                 (long long)(PULL_MS * VV_NS_PER_MS));
    (void)snprintf(request + n, sizeof request - (size_t)n,
                   b->is_large ? "}" : ",\"max_bytes\":%u}", PULL_BYTES);
    natsStatus s = natsConnection_PublishRequestString(b->connection, subject, b->inbox, request);
    b->asked += count;
    b->asked_until_ms = now + PULL_MS + PULL_GRACE_MS;
    b->has_come = b->is_large = false;
    return s;
}

/* The server's word on a pull, in place of a message: its end, or why there will be nothing. */
static natsStatus end_pull(nats_broker *b, natsMsg *m)
{
    const char *code = NULL, *text = NULL;
    natsStatus s = natsMsgHeader_Get(m, "Status", &code);
    b->asked = 0; /* of another one messages may come all the same */
    if (s != NATS_OK)
        return NATS_ERR;
    if (strcmp(code, "409") == 0 && natsMsgHeader_Get(m, "Description", &text) == NATS_OK &&
        strstr(text, "MaxBytes") != NULL) {
        b->is_large = !b->has_come;
        return NATS_TIMEOUT;
    }
    if (strcmp(code, "408") == 0 || strcmp(code, "404") == 0)
        return NATS_TIMEOUT;
    return strcmp(code, "100") == 0 ? NATS_OK : NATS_NOT_FOUND; /* 409: deleted; 503: nobody */
}

/* The next message into the list, or the end of what has come. */
static natsStatus gather_one(nats_broker *b, natsMsgList *list, int64_t wait_ms)
{
    natsMsg *m = NULL;
    natsStatus s = natsSubscription_NextMsg(&m, b->subscription, wait_ms);
    if (s != NATS_OK)
        return s;
    const char *reply = natsMsg_GetReply(m);
    if (!b->is_core && (reply == NULL || reply[0] == '\0')) {
        s = end_pull(b, m);
        natsMsg_Destroy(m);
        return s;
    }
    b->asked -= b->asked > 0;
    b->has_come = true;
    list->Msgs[list->Count++] = m;
    return NATS_OK;
}

/* What has arrived; the first is waited for. */
static natsStatus gather(nats_broker *b, natsMsgList *list, int64_t wait_ms)
{
    list->Count = 0;
    natsStatus s = pull(b);
    while (s == NATS_OK && list->Count < (int)b->batch) {
        bool is_more = list->Count > 0;
        s = gather_one(b, list, is_more ? GATHER_MS : wait_ms);
        if (s == NATS_OK && !b->is_core && b->asked == 0)
            break;
    }
    return list->Count > 0 ? NATS_OK : s;
}

static vv_status fetch(feed_broker *broker, unsigned slot, int64_t wait_ns,
                       const feed_message **out, size_t *count, vv_error *err)
{
    nats_broker *b = broker_of(broker);
    natsMsgList *list = &b->lists[slot];
    int64_t wait_ms = wait_ns / VV_NS_PER_MS;
    *count = 0;
    natsStatus s = gather(b, list, wait_ms < GATHER_MS ? GATHER_MS : wait_ms);
    if (s != NATS_OK)
        return s == NATS_TIMEOUT ? VV_OK : fail(err, s, "fetch from", b->subject);
    for (int i = 0; i < list->Count; i++) {
        if (read_message(b, list->Msgs[i], &b->messages[slot][i]))
            continue;
        vv_fail(err, VV_IO, "nats: a message of '%s' has no numbers in its reply '%s'", b->stream,
                natsMsg_GetReply(list->Msgs[i]));
        release(broker, slot);
        return VV_IO;
    }
    *out = b->messages[slot];
    *count = (size_t)list->Count;
    return VV_OK;
}

static vv_status ack(feed_broker *broker, unsigned slot, size_t count, vv_error *err)
{
    nats_broker *b = broker_of(broker);
    const char *reply = natsMsg_GetReply(b->lists[slot].Msgs[count - 1]);
    natsStatus s = natsConnection_PublishString(b->connection, reply, "+ACK");
    return s == NATS_OK ? VV_OK : fail(err, s, "acknowledge to", b->stream);
}

static vv_status check(feed_broker *broker, uint64_t *deliveries, vv_error *err)
{
    nats_broker *b = broker_of(broker);
    jsStreamInfo *stream = NULL;
    jsConsumerInfo *consumer = NULL;
    if (b->is_core) {
        natsStatus s = natsConnection_FlushTimeout(b->connection, REQUEST_MS);
        return s == NATS_OK ? VV_OK : fail(err, s, "look at", b->subject);
    }
    natsStatus s = js_GetStreamInfo(&stream, b->js, b->stream, NULL, NULL);
    bool is_same = s == NATS_OK && stream->Created == b->created_ns;
    jsStreamInfo_Destroy(stream);
    if (s != NATS_OK)
        return fail(err, s, "look at stream", b->stream);
    if (!is_same)
        return vv_fail(err, VV_NOT_FOUND, "nats: stream '%s' was made anew", b->stream);
    s = js_GetConsumerInfo(&consumer, b->js, b->stream, b->durable, NULL, NULL);
    if (s != NATS_OK)
        return fail(err, s, "look at the consumer", b->durable);
    *deliveries = consumer->Delivered.Consumer;
    jsConsumerInfo_Destroy(consumer);
    return VV_OK;
}

/* ---- options ---- */

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static char *text_or(const char *text, const char *fallback)
{
    return vv_strdup(is_set(text) ? text : fallback);
}

/* libnats writes to stderr where nobody handles its errors; ours come back from the calls. */
static void ignore_error(natsConnection *connection, natsSubscription *subscription,
                         natsStatus status, void *closure)
{
    (void)connection, (void)subscription, (void)status, (void)closure;
}

static natsStatus set_servers(natsOptions *options, const char *url)
{
    const char *servers[FEED_NATS_SERVERS_MAX];
    int count = 0;
    char *copy = text_or(url, FEED_NATS_URL_DEFAULT), *rest = NULL;
    if (copy == NULL)
        return NATS_NO_MEMORY;
    for (char *s = strtok_r(copy, ", ", &rest); s != NULL && count < (int)ARRAY_LEN(servers);
         s = strtok_r(NULL, ", ", &rest))
        servers[count++] = s;
    natsStatus s = count == 0 ? NATS_INVALID_ARG : natsOptions_SetServers(options, servers, count);
    vv_free(copy);
    return s;
}

/* Of these libnats knows one: the last that is set. */
static natsStatus set_keys(natsOptions *options, const feed_nats_options *o)
{
    if (is_set(o->nkey))
        return natsOptions_SetNKeyFromSeed(options, o->nkey, o->nkey_seed);
    if (is_set(o->credentials))
        return natsOptions_SetUserCredentialsFromFiles(options, o->credentials, NULL);
    return NATS_OK;
}

static natsStatus set_identity(natsOptions *options, const feed_nats_options *o)
{
    natsStatus s = set_keys(options, o);
    if (s == NATS_OK && is_set(o->user))
        s = natsOptions_SetUserInfo(options, o->user, is_set(o->password) ? o->password : "");
    if (s == NATS_OK && is_set(o->token))
        s = natsOptions_SetToken(options, o->token);
    return s;
}

static natsStatus set_tls(nats_broker *b, const feed_nats_options *o)
{
    natsOptions *options = b->options;
    b->is_tls = is_set(o->tls_ca) || is_set(o->tls_cert) ||
                (o->url != NULL && strstr(o->url, "tls://") != NULL);
    natsStatus s = b->is_tls ? natsOptions_SetSecure(options, true) : NATS_OK;
    if (s == NATS_OK && is_set(o->tls_ca))
        s = natsOptions_LoadCATrustedCertificates(options, o->tls_ca);
    if (s == NATS_OK && is_set(o->tls_cert))
        s = natsOptions_LoadCertificatesChain(options, o->tls_cert, o->tls_key);
    return s;
}

static vv_status fail_key(vv_error *err, natsStatus s, const char *key, const char *want)
{
    return vv_fail(err, s == NATS_NO_MEMORY ? VV_NO_MEMORY : VV_INVALID,
                   "%s: libnats wants it %s: %s", key, want, natsStatus_GetText(s));
}

/* In place of those of before: what is in the files may have been renewed. */
static vv_status make_options(nats_broker *b, vv_error *err)
{
    const feed_nats_options *o = &b->given;
    natsOptions_Destroy(b->options);
    b->options = NULL;
    natsStatus s = natsOptions_Create(&b->options);
    if (s == NATS_OK)
        s = natsOptions_SetName(b->options, "varve");
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(b->options, false);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(b->options, CONNECT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(b->options, PING_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxPingsOut(b->options, PINGS_MAX);
    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(b->options, ignore_error, NULL);
    if (s != NATS_OK)
        return fail(err, s, "options of", b->subject);
    s = set_servers(b->options, o->url);
    if (s != NATS_OK) /* without its text, which may hold a password */
        return fail_key(err, s, "nats.url", "of the form nats://host:port, separated by commas");
    s = set_identity(b->options, o);
    if (s != NATS_OK)
        return is_set(o->nkey)
                   ? fail_key(err, s, "nats.nkey", "a public key, with nats.nkey_seed")
                   : fail_key(err, s, "nats.credentials", "a file with a JWT and a seed");
    s = set_tls(b, o);
    return s == NATS_OK ? VV_OK : fail_key(err, s, "nats.tls", "files of certificates and a key");
}

/* What make_options reads. */
#define GIVEN_COUNT 10u
static void given_texts(feed_nats_options *g, const char **out[GIVEN_COUNT])
{
    const char **texts[GIVEN_COUNT] = {&g->url,      &g->credentials, &g->nkey,  &g->nkey_seed,
                                       &g->user,     &g->password,    &g->token, &g->tls_ca,
                                       &g->tls_cert, &g->tls_key};
    memcpy(out, texts, sizeof texts);
}

/* Copies that are ours, or NULL. */
static bool copy_given(nats_broker *b, const feed_nats_options *o)
{
    const char **texts[GIVEN_COUNT];
    bool has_all = true;
    b->given = *o;
    b->given.stream = b->given.subject = b->given.durable = NULL;
    given_texts(&b->given, texts);
    for (size_t i = 0; i < GIVEN_COUNT; i++) {
        const char *text = *texts[i];
        *texts[i] = text == NULL ? NULL : vv_strdup(text);
        has_all = has_all && (text == NULL || *texts[i] != NULL);
    }
    return has_all;
}

vv_status feed_nats_create(const feed_nats_options *options, feed_broker **out, vv_error *err)
{
    static const feed_broker_ops ops = {open_stream, consume, fetch,   ack,
                                        release,     check,   dropped, close_all};
    if (options->batch > FEED_NATS_BATCH_MAX)
        return vv_fail(err, VV_INVALID, "nats.batch is %u, at most %u", options->batch,
                       FEED_NATS_BATCH_MAX);
    nats_broker *b = vv_calloc(1, sizeof *b);
    if (b == NULL)
        return vv_fail(err, VV_NO_MEMORY, "nats");
    b->broker.ops = &ops;
    b->is_core = options->is_core;
    b->batch = options->batch == 0 ? FEED_NATS_BATCH_DEFAULT : options->batch;
    b->stream = text_or(options->stream, FEED_NATS_STREAM_DEFAULT);
    b->subject = text_or(options->subject, FEED_NATS_SUBJECT_DEFAULT);
    b->durable = text_or(options->durable, FEED_NATS_DURABLE_DEFAULT);
    bool has_all = copy_given(b, options);
    has_all = has_all && b->stream != NULL && b->subject != NULL && b->durable != NULL;
    for (unsigned i = 0; i < FEED_SLOTS; i++) {
        b->messages[i] = vv_calloc(b->batch, sizeof *b->messages[i]);
        has_all = has_all && b->messages[i] != NULL;
        b->lists[i].Msgs = vv_calloc(b->batch, sizeof(natsMsg *));
        has_all = has_all && b->lists[i].Msgs != NULL;
    }
    vv_status st = has_all ? make_options(b, err) : vv_fail(err, VV_NO_MEMORY, "nats");
    if (st != VV_OK) {
        feed_nats_destroy(&b->broker);
        return st;
    }
    *out = &b->broker;
    return VV_OK;
}

void feed_nats_destroy(feed_broker *broker)
{
    if (broker == NULL)
        return;
    const char **texts[GIVEN_COUNT];
    nats_broker *b = broker_of(broker);
    close_all(broker);
    natsOptions_Destroy(b->options);
    for (unsigned i = 0; i < FEED_SLOTS; i++) {
        release(broker, i);
        vv_free(b->lists[i].Msgs);
        vv_free(b->messages[i]);
    }
    given_texts(&b->given, texts);
    for (size_t i = 0; i < GIVEN_COUNT; i++)
        vv_free((void *)(uintptr_t)*texts[i]);
    vv_free(b->stream);
    vv_free(b->subject);
    vv_free(b->durable);
    vv_free(b);
}
