/*
 * svc_txn_test.c - transactions of clients, over gRPC and HTTP, against a whole node.
 */
#include "server/svc_suite_http.h"

#include <string.h>

#include "db/db.h"

#define SHORT_IDLE_NS (150 * VV_NS_PER_MS)

static void start(svc_suite *s, const svc_txn_limits *limits)
{
    svc_suite_options opt = {0};
    if (limits != NULL)
        opt.txns = *limits;
    svc_suite_start(s, &opt);
}

typedef char txn_name[64];

static vv_status begin_as(svc_suite *s, int isolation, bool read_only, txn_name out)
{
    Varve__V1__TxnBeginRequest req = VARVE__V1__TXN_BEGIN_REQUEST__INIT;
    req.isolation = (Varve__V1__TxnIsolation)isolation;
    req.read_only = read_only;
    vv_status st = svc_suite_call(s, "Txn/Begin", &req);
    if (st != VV_OK)
        return st;
    Varve__V1__TxnBeginResponse *r = svc_suite_reply(s, &varve__v1__txn_begin_response__descriptor);
    assert_int_equal(strlen(r->txn), 32);
    assert_true(r->idle_timeout_ms > 0);
    (void)snprintf(out, sizeof(txn_name), "%s", r->txn);
    protobuf_c_message_free_unpacked(&r->base, NULL);
    return VV_OK;
}

static void begin(svc_suite *s, txn_name out)
{
    assert_ok(begin_as(s, 0, false, out), s->err);
}

static vv_status tput(svc_suite *s, char *txn, const char *tenant, const char *key,
                      const char *value)
{
    SUITE_REF(ref, tenant, "tab");
    Varve__V1__TxnPutRequest req = VARVE__V1__TXN_PUT_REQUEST__INIT;
    req.txn = txn;
    req.table = &ref;
    req.key = svc_suite_bytes(vv_slice_str(key));
    req.value = svc_suite_bytes(vv_slice_str(value));
    return svc_suite_call(s, "Txn/Put", &req);
}

/* value NULL: absent. */
static void tsees(svc_suite *s, char *txn, const char *key, const char *value)
{
    SUITE_REF(ref, "ten", "tab");
    Varve__V1__TxnGetRequest req = VARVE__V1__TXN_GET_REQUEST__INIT;
    req.txn = txn;
    req.table = &ref;
    req.key = svc_suite_bytes(vv_slice_str(key));
    assert_ok(svc_suite_call(s, "Txn/Get", &req), s->err);
    Varve__V1__GetResponse *r = svc_suite_reply(s, &varve__v1__get_response__descriptor);
    assert_int_equal(r->found, value != NULL);
    if (value != NULL)
        assert_true(vv_slice_eq(vv_slice_of(r->value.data, r->value.len), vv_slice_str(value)));
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

static vv_status commit(svc_suite *s, char *txn)
{
    Varve__V1__TxnCommitRequest req = VARVE__V1__TXN_COMMIT_REQUEST__INIT;
    req.txn = txn;
    return svc_suite_call(s, "Txn/Commit", &req);
}

static vv_status end(svc_suite *s, char *txn)
{
    Varve__V1__TxnAbortRequest req = VARVE__V1__TXN_ABORT_REQUEST__INIT;
    req.txn = txn;
    return svc_suite_call(s, "Txn/Abort", &req);
}

static vv_status tdelete(svc_suite *s, char *txn, const char *key, const char *range_end, bool last)
{
    SUITE_REF(ref, "ten", "tab");
    Varve__V1__TxnDeleteRequest req = VARVE__V1__TXN_DELETE_REQUEST__INIT;
    req.txn = txn;
    req.table = &ref;
    req.key = svc_suite_bytes(vv_slice_str(key));
    req.range_end = svc_suite_bytes(vv_slice_str(range_end));
    req.to_last = last;
    return svc_suite_call(s, "Txn/Delete", &req);
}

/* All pages of a scan as "a b c". */
static const char *scan_all(svc_suite *s, char *txn, bool reverse, uint64_t limit)
{
    static char text[512];
    size_t len = 0;
    char from[64] = "";
    text[0] = '\0';
    SUITE_REF(ref, "ten", "tab");
    for (bool more = true; more;) {
        Varve__V1__TxnScanRequest req = VARVE__V1__TXN_SCAN_REQUEST__INIT;
        req.txn = txn;
        req.table = &ref;
        req.reverse = reverse;
        req.limit = limit;
        if (reverse)
            req.end = svc_suite_bytes(vv_slice_str(from));
        else
            req.begin = svc_suite_bytes(vv_slice_str(from));
        assert_ok(svc_suite_call(s, "Txn/Scan", &req), s->err);
        Varve__V1__TxnScanResponse *r =
            svc_suite_reply(s, &varve__v1__txn_scan_response__descriptor);
        for (size_t i = 0; i < r->n_entries; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s", len > 0 ? " " : "",
                                    (int)r->entries[i]->key.len,
                                    (const char *)r->entries[i]->key.data);
        more = r->more;
        ProtobufCBinaryData next = reverse ? r->next_end : r->next_begin;
        (void)snprintf(from, sizeof from, "%.*s", (int)next.len, (const char *)next.data);
        protobuf_c_message_free_unpacked(&r->base, NULL);
    }
    return text;
}

static void it_reads_its_own_writes_and_commits(void **state)
{
    (void)state;
    svc_suite s;
    txn_name t;
    start(&s, NULL);
    assert_ok(svc_suite_put(&s, "ten", "tab", vv_slice_str("a"), vv_slice_str("0"), NULL), s.err);
    begin(&s, t);
    assert_ok(tput(&s, t, "ten", "b", "1"), s.err);
    assert_ok(tput(&s, t, "ten", "c", "1"), s.err);
    tsees(&s, t, "a", "0");
    tsees(&s, t, "b", "1");
    svc_suite_expect(&s, "ten", "tab", "b", NULL);
    assert_string_equal(scan_all(&s, t, false, 0), "a b c");
    assert_string_equal(scan_all(&s, t, false, 1), "a b c");
    assert_string_equal(scan_all(&s, t, true, 2), "c b a");
    Varve__V1__TxnSavepointRequest sp = VARVE__V1__TXN_SAVEPOINT_REQUEST__INIT;
    sp.txn = t;
    assert_ok(svc_suite_call(&s, "Txn/Savepoint", &sp), s.err);
    Varve__V1__TxnSavepointResponse *r =
        svc_suite_reply(&s, &varve__v1__txn_savepoint_response__descriptor);
    sp.savepoint = r->savepoint;
    protobuf_c_message_free_unpacked(&r->base, NULL);
    assert_ok(tdelete(&s, t, "a", "", true), s.err);
    assert_string_equal(scan_all(&s, t, false, 0), "");
    sp.action = VARVE__V1__TXN_SAVEPOINT_REQUEST__ACTION__ROLL_BACK_TO;
    assert_ok(svc_suite_call(&s, "Txn/Savepoint", &sp), s.err);
    sp.action = VARVE__V1__TXN_SAVEPOINT_REQUEST__ACTION__RELEASE;
    assert_ok(svc_suite_call(&s, "Txn/Savepoint", &sp), s.err);
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Txn/Savepoint", &sp));
    sp.action = (Varve__V1__TxnSavepointRequest__Action)9;
    assert_status(VV_INVALID, svc_suite_call(&s, "Txn/Savepoint", &sp));
    assert_non_null(strstr(s.result.message, "2 (release)"));
    assert_ok(tdelete(&s, t, "c", "", false), s.err);
    assert_ok(commit(&s, t), s.err);
    assert_string_equal(svc_suite_trailer(&s, "varve-durability"), "sync");
    svc_suite_expect(&s, "ten", "tab", "a", "0");
    svc_suite_expect(&s, "ten", "tab", "b", "1");
    svc_suite_expect(&s, "ten", "tab", "c", NULL);
    assert_status(VV_NOT_FOUND, commit(&s, t));
    assert_status(VV_NOT_FOUND, tput(&s, t, "ten", "b", "2"));
    assert_ok(end(&s, t), s.err); /* over: nothing to do */
    svc_suite_stop(&s);
}

static void the_first_committer_wins(void **state)
{
    (void)state;
    svc_suite s;
    txn_name one;
    txn_name two;
    start(&s, NULL);
    begin(&s, one);
    begin(&s, two);
    assert_ok(tput(&s, one, "ten", "k", "one"), s.err);
    assert_ok(tput(&s, two, "ten", "k", "two"), s.err);
    assert_ok(commit(&s, two), s.err);
    assert_status(VV_CONFLICT, commit(&s, one));
    assert_non_null(strstr(s.err.msg, "'k'"));
    svc_suite_expect(&s, "ten", "tab", "k", "two");
    assert_ok(begin_as(&s, 1, false, one), s.err); /* serializable */
    tsees(&s, one, "absent", NULL);
    assert_ok(tput(&s, one, "ten", "x", "1"), s.err);
    assert_ok(svc_suite_put(&s, "ten", "tab", vv_slice_str("absent"), vv_slice_str("0"), NULL),
              s.err);
    assert_status(VV_CONFLICT, commit(&s, one));
    assert_ok(begin_as(&s, 0, true, one), s.err);
    assert_status(VV_INVALID, tput(&s, one, "ten", "x", "1"));
    assert_ok(commit(&s, one), s.err);
    svc_suite_stop(&s);
}

static void the_abandoned_are_ended(void **state)
{
    (void)state;
    svc_suite s;
    txn_name t;
    start(&s, &(svc_txn_limits){.idle_ns = SHORT_IDLE_NS});
    begin(&s, t);
    assert_ok(tput(&s, t, "ten", "k", "1"), s.err);
    assert_int_equal(svc_txn_open_count(&s.n), 1);
    for (int i = 0; i < 2000 && svc_txn_open_count(&s.n) > 0; i++)
        vv_clock_sleep(s.n.env.clock, 10 * VV_NS_PER_MS);
    assert_int_equal(svc_txn_open_count(&s.n), 0);
    vv_stats stats = {.size = sizeof stats};
    vv_stats_read(s.n.db, &stats);
    assert_int_equal(stats.txns_open, 0);
    assert_status(VV_NOT_FOUND, commit(&s, t));
    assert_non_null(strstr(s.err.msg, "idle_timeout"));
    svc_suite_expect(&s, "ten", "tab", "k", NULL);
    begin(&s, t); /* one that is open when the node stops */
    assert_ok(tput(&s, t, "ten", "k", "1"), s.err);
    svc_suite_stop(&s);
}

static void open_ones_are_bounded(void **state)
{
    (void)state;
    svc_suite s;
    txn_name t[4];
    start(&s, &(svc_txn_limits){.open_max = 3, .connection_max = 2});
    begin(&s, t[0]);
    begin(&s, t[1]);
    assert_status(VV_BUSY, begin_as(&s, 0, false, t[2]));
    assert_non_null(strstr(s.err.msg, "max_per_connection"));
    cli_conn *first = s.conn;
    assert_ok(cli_open(s.address, NULL, &s.conn, &s.err), s.err);
    begin(&s, t[2]);
    assert_status(VV_BUSY, begin_as(&s, 0, false, t[3]));
    assert_non_null(strstr(s.err.msg, "max_open"));
    assert_ok(tput(&s, t[0], "ten", "k", "1"), s.err); /* from any connection */
    assert_ok(commit(&s, t[0]), s.err);
    begin(&s, t[3]);
    cli_close(s.conn);
    s.conn = first;
    svc_suite_stop(&s);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    svc_suite s;
    txn_name t;
    start(&s, NULL);
    begin(&s, t);
    assert_ok(tput(&s, t, "ten", "k", "1"), s.err);
    assert_status(VV_INVALID, tput(&s, t, "other", "k", "1"));
    assert_non_null(strstr(s.err.msg, "tenant"));
    assert_status(VV_INVALID, tput(&s, t, "ten", "", "1"));
    assert_status(VV_INVALID, tput(&s, t, "bad name", "k", "1"));
    char wrong[] = "00000000ffffffffffffffffffffffff";
    assert_status(VV_NOT_FOUND, tput(&s, wrong, "ten", "k", "1"));
    char odd[] = "not a name";
    assert_status(VV_NOT_FOUND, commit(&s, odd));
    assert_status(VV_NOT_FOUND, commit(&s, (char[]){""}));
    static const char *const methods[] = {"Begin",     "Get",    "Put",   "Delete", "Scan",
                                          "Savepoint", "Commit", "Abort", "Run"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "Txn/%s", methods[i]);
        assert_status(VV_INVALID, svc_suite_call_raw(&s, path, vv_slice_str("\x0a\xff\xff")));
    }
    Varve__V1__TxnBeginRequest req = VARVE__V1__TXN_BEGIN_REQUEST__INIT;
    req.isolation = (Varve__V1__TxnIsolation)7;
    assert_status(VV_INVALID, svc_suite_call(&s, "Txn/Begin", &req));
    req.isolation = 0;
    req.durability = (Varve__V1__Durability)7;
    assert_status(VV_INVALID, svc_suite_call(&s, "Txn/Begin", &req));
    assert_int_equal(svc_txn_open_count(&s.n), 1);
    assert_ok(commit(&s, t), s.err); /* unharmed by all of it */
    svc_suite_expect(&s, "ten", "tab", "k", "1");
    svc_suite_stop(&s);
}

/* Messages inside messages; a message that contains itself has no depth. */
static unsigned depth_of(const ProtobufCMessageDescriptor *desc, unsigned above)
{
    unsigned deepest = above;
    if (above > 8)
        fail_msg("%s nests without a bound", desc->name);
    for (unsigned i = 0; i < desc->n_fields; i++)
        if (desc->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            unsigned d = depth_of(desc->fields[i].descriptor, above + 1);
            deepest = d > deepest ? d : deepest;
        }
    return deepest;
}

static void requests_are_bounded_before_they_are_unpacked(void **state)
{
    (void)state;
    svc_suite s;
    static const ProtobufCMessageDescriptor *const requests[] = {
        &varve__v1__txn_begin_request__descriptor,  &varve__v1__txn_get_request__descriptor,
        &varve__v1__txn_put_request__descriptor,    &varve__v1__txn_delete_request__descriptor,
        &varve__v1__txn_scan_request__descriptor,   &varve__v1__txn_savepoint_request__descriptor,
        &varve__v1__txn_commit_request__descriptor, &varve__v1__txn_abort_request__descriptor,
        &varve__v1__txn_run_request__descriptor};
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        assert_true(depth_of(requests[i], 0) <= 4);
    start(&s, NULL);
    /* Two bytes an operation on the wire, some hundred unpacked. */
    size_t len = 8u << 20;
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i += 2) {
        bytes[i] = 0x12;
        bytes[i + 1] = 0;
    }
    assert_status(VV_BUSY, svc_suite_call_raw(&s, "Txn/Run", vv_slice_of(bytes, len)));
    assert_status(VV_INVALID, svc_suite_call_raw(&s, "Txn/Run", vv_slice_of(bytes, 40000)));
    free(bytes);
    svc_suite_stop(&s);
}

/* ---- Run ---- */

/* If k's value is `expected` (NULL: it is absent) put `value`, else read it. */
static vv_status swap(svc_suite *s, const char *expected, const char *value, bool *succeeded)
{
    SUITE_REF(ref, "ten", "run");
    Varve__V1__TxnCompare compare = VARVE__V1__TXN_COMPARE__INIT;
    compare.table = &ref;
    compare.key = svc_suite_bytes(vv_slice_str("k"));
    compare.target_case = expected == NULL ? VARVE__V1__TXN_COMPARE__TARGET_EXISTS
                                           : VARVE__V1__TXN_COMPARE__TARGET_VALUE;
    if (expected != NULL)
        compare.value = svc_suite_bytes(vv_slice_str(expected));
    Varve__V1__TxnPutRequest put = VARVE__V1__TXN_PUT_REQUEST__INIT;
    put.table = &ref;
    put.key = compare.key;
    put.value = svc_suite_bytes(vv_slice_str(value));
    Varve__V1__TxnGetRequest get = VARVE__V1__TXN_GET_REQUEST__INIT;
    get.table = &ref;
    get.key = compare.key;
    Varve__V1__TxnOperation ops[2] = {VARVE__V1__TXN_OPERATION__INIT,
                                      VARVE__V1__TXN_OPERATION__INIT};
    ops[0].operation_case = VARVE__V1__TXN_OPERATION__OPERATION_PUT;
    ops[0].put = &put;
    ops[1].operation_case = VARVE__V1__TXN_OPERATION__OPERATION_GET;
    ops[1].get = &get;
    Varve__V1__TxnCompare *compares[] = {&compare};
    Varve__V1__TxnOperation *then[] = {&ops[0], &ops[1]};
    Varve__V1__TxnOperation *otherwise[] = {&ops[1]};
    Varve__V1__TxnRunRequest req = VARVE__V1__TXN_RUN_REQUEST__INIT;
    req.n_compare = 1;
    req.compare = compares;
    req.n_then = 2;
    req.then = then;
    req.n_otherwise = 1;
    req.otherwise = otherwise;
    vv_status st = svc_suite_call(s, "Txn/Run", &req);
    if (st != VV_OK)
        return st;
    Varve__V1__TxnRunResponse *r = svc_suite_reply(s, &varve__v1__txn_run_response__descriptor);
    *succeeded = r->succeeded;
    assert_int_equal(r->n_results, r->succeeded ? 2 : 1);
    assert_int_equal(r->version != 0, r->succeeded);
    const Varve__V1__TxnOperationResult *got = r->results[r->n_results - 1];
    assert_int_equal(got->result_case, VARVE__V1__TXN_OPERATION_RESULT__RESULT_GET);
    if (r->succeeded) /* it reads what it has just put */
        assert_true(vv_slice_eq(vv_slice_of(got->get->value.data, got->get->value.len),
                                vv_slice_str(value)));
    protobuf_c_message_free_unpacked(&r->base, NULL);
    return VV_OK;
}

static void run_compares_and_does_one_list(void **state)
{
    (void)state;
    svc_suite s;
    bool yes = false;
    start(&s, NULL);
    assert_ok(swap(&s, NULL, "1", &yes), s.err); /* the table comes into being */
    assert_true(yes);
    assert_ok(swap(&s, NULL, "2", &yes), s.err);
    assert_false(yes);
    assert_ok(swap(&s, "0", "2", &yes), s.err);
    assert_false(yes);
    assert_ok(swap(&s, "1", "2", &yes), s.err);
    assert_true(yes);
    svc_suite_expect(&s, "ten", "run", "k", "2");
    Varve__V1__TxnRunRequest req = VARVE__V1__TXN_RUN_REQUEST__INIT;
    assert_ok(svc_suite_call(&s, "Txn/Run", &req), s.err); /* nothing to compare, nothing to do */
    Varve__V1__TxnCompare compare = VARVE__V1__TXN_COMPARE__INIT;
    Varve__V1__TxnCompare *compares[] = {&compare};
    req.n_compare = 1;
    req.compare = compares;
    assert_status(VV_INVALID, svc_suite_call(&s, "Txn/Run", &req));
    Varve__V1__TxnOperation op = VARVE__V1__TXN_OPERATION__INIT;
    Varve__V1__TxnOperation *ops[] = {&op};
    req.n_compare = 0;
    req.n_then = 1;
    req.then = ops;
    assert_status(VV_INVALID, svc_suite_call(&s, "Txn/Run", &req));
    assert_non_null(strstr(s.err.msg, "operation 0"));
    svc_suite_stop(&s);
}

#define RUNNERS 4u
#define RUNS 60

typedef struct runner {
    svc_suite *suite;
    vv_thread *thread;
} runner;

/* Append one byte to the value, however often others are faster. */
static void runner_main(void *arg)
{
    runner *r = arg;
    svc_suite mine = {0}; /* of the suite only its address: the node is in use */
    vv_error err = {0};
    memcpy(mine.address, r->suite->address, sizeof mine.address);
    vv_buf_init(&mine.reply, 1u << 20);
    vv_buf value;
    vv_buf_init(&value, 4096);
    if (cli_open(mine.address, NULL, &mine.conn, &err) != VV_OK)
        abort();
    for (int i = 0; i < RUNS;) {
        bool found = false;
        bool yes = false;
        char old[1024];
        char new[1024];
        if (svc_suite_get(&mine, "ten", "run", vv_slice_str("k"), &found, &value, NULL) != VV_OK)
            abort();
        (void)snprintf(old, sizeof old, "%.*s", (int)value.len, (const char *)value.data);
        (void)snprintf(new, sizeof new, "%sx", old);
        vv_status st = swap(&mine, old, new, &yes);
        if (st != VV_OK && st != VV_CONFLICT)
            abort();
        i += st == VV_OK && yes;
    }
    cli_close(mine.conn);
    vv_buf_fini(&mine.reply);
    vv_buf_fini(&value);
}

static void runs_from_many_connections_lose_nothing(void **state)
{
    (void)state;
    svc_suite s;
    runner runners[RUNNERS];
    vv_buf value;
    bool found = false;
    start(&s, NULL);
    vv_buf_init(&value, 4096);
    assert_ok(svc_suite_put(&s, "ten", "run", vv_slice_str("k"), vv_slice_str(""), NULL), s.err);
    for (uint32_t i = 0; i < RUNNERS; i++) {
        runners[i] = (runner){.suite = &s};
        assert_ok(s.n.env.threads->create("runner", VV_THREAD_NORMAL, runner_main, &runners[i],
                                          &runners[i].thread, &s.err),
                  s.err);
    }
    for (uint32_t i = 0; i < RUNNERS; i++)
        s.n.env.threads->join(runners[i].thread);
    assert_ok(svc_suite_get(&s, "ten", "run", vv_slice_str("k"), &found, &value, NULL), s.err);
    assert_int_equal(value.len, RUNNERS * RUNS);
    vv_buf_fini(&value);
    svc_suite_stop(&s);
}

/* ---- HTTP ---- */

/* One request on a connection of its own; the body of the answer, until the next. */
static const char *post(svc_suite *s, const char *method, const char *json, int want)
{
    static char text[8192];
    char path[64];
    svc_suite_answer a;
    (void)snprintf(path, sizeof path, "/api/v1/txn/%s", method);
    svc_suite_ask(s, "POST", path, vv_slice_str(json), &a);
    (void)snprintf(text, sizeof text, "%.*s", (int)a.body.len, (const char *)a.body.data);
    if (a.status != want)
        fail_msg("%s: %d, %s", method, a.status, text);
    svc_suite_done(&a);
    return text;
}

static void http_does_the_same(void **state)
{
    (void)state;
    svc_suite s;
    char name[64];
    char json[512];
    start(&s, NULL);
    const char *text = post(&s, "begin", "{\"isolation\":\"TXN_ISOLATION_SERIALIZABLE\"}", 200);
    const char *at = strstr(text, "\"txn\":\"");
    assert_non_null(at);
    (void)snprintf(name, sizeof name, "%.32s", at + strlen("\"txn\":\""));
    (void)snprintf(json, sizeof json,
                   "{\"txn\":\"%s\",\"table\":{\"tenant\":\"ten\",\"table\":\"tab\"},"
                   "\"key\":\"aw==\",\"value\":\"djE=\"}",
                   name);
    text = post(&s, "put", json, 200);
    assert_non_null(strstr(text, "\"operations\":\"1\""));
    (void)snprintf(json, sizeof json,
                   "{\"txn\":\"%s\",\"table\":{\"tenant\":\"ten\",\"table\":\"tab\"},"
                   "\"key\":\"aw==\"}",
                   name);
    text = post(&s, "get", json, 200);
    assert_non_null(strstr(text, "\"value\":\"djE=\""));
    (void)snprintf(json, sizeof json, "{\"txn\":\"%s\"}", name);
    text = post(&s, "commit", json, 200);
    assert_non_null(strstr(text, "\"version\":"));
    svc_suite_expect(&s, "ten", "tab", "k", "v1");
    text = post(&s, "commit", json, 404);
    assert_non_null(strstr(text, "\"status\":\"NOT_FOUND\""));
    (void)post(&s, "begin", "{\"no_such_field\":1}", 400);
    (void)post(&s, "begin", "not json", 400);
    text = post(&s, "run",
                "{\"compare\":[{\"table\":{\"tenant\":\"ten\",\"table\":\"tab\"},"
                "\"key\":\"aw==\",\"value\":\"djE=\"}],"
                "\"then\":[{\"put\":{\"table\":{\"tenant\":\"ten\",\"table\":\"tab\"},"
                "\"key\":\"aw==\",\"value\":\"djI=\"}}]}",
                200);
    assert_non_null(strstr(text, "\"succeeded\":true"));
    svc_suite_expect(&s, "ten", "tab", "k", "v2");
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reads_its_own_writes_and_commits),
        cmocka_unit_test(the_first_committer_wins),
        cmocka_unit_test(the_abandoned_are_ended),
        cmocka_unit_test(open_ones_are_bounded),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(requests_are_bounded_before_they_are_unpacked),
        cmocka_unit_test(run_compares_and_does_one_list),
        cmocka_unit_test(runs_from_many_connections_lose_nothing),
        cmocka_unit_test(http_does_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
