/*
 * svc_read_test.c - reads of what no cache holds: the loop never opens a file for them, a thread of
 * the pool does, and the loop goes on meanwhile. The store lies on real files whose reads by the
 * pool can be held, and are counted by the thread that makes them.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/lock.h"
#include "db/db.h"
#include "query/struct_json.h"
#include "server/svc_suite.h"
#include "storage/query.pb-c.h"

#define VALUE_LEN 40000u /* of each value, so that it has a block of its own */
#define KEYS 8
#define POOL_THREADS 1u

/* ---- files whose reads can be held ---- */

typedef struct held_files {
    vv_mutex lock;
    vv_cond moved;
    bool is_damaged;    /* the pool reads something else than was written */
    bool is_held;       /* under lock, as all below: a read of the pool waits */
    unsigned waiting;   /* reads that wait now */
    unsigned by_loop;   /* reads made by an event loop */
    unsigned by_pool;   /* and by a thread of the pool */
    vio_ops ops;        /* the real ones with two changed; fixed */
    const vio_ops *was; /* fixed */
} held_files;

static held_files files;

static vv_status held_open(vio *io, const char *path, unsigned flags, vio_file **out, vv_error *err)
{
    vv_status st = files.was->open(io, path, flags, out, err);
    if (st == VV_OK)
        (*out)->ops = &files.ops;
    return st;
}

static vv_status held_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                            vv_error *err)
{
    char name[32] = "";
    (void)pthread_getname_np(pthread_self(), name, sizeof name);
    vv_mutex_lock(&files.lock);
    files.by_loop += strncmp(name, "vv-loop", 7) == 0;
    if (strcmp(name, "vv-pool") == 0) {
        files.by_pool++;
        files.waiting++;
        vv_cond_broadcast(&files.moved);
        while (files.is_held)
            vv_cond_wait(&files.moved, &files.lock);
        files.waiting--;
    }
    bool is_damaged = files.is_damaged && strcmp(name, "vv-pool") == 0;
    vv_mutex_unlock(&files.lock);
    vv_status st = files.was->pread(file, offset, buf, len, got, err);
    if (st == VV_OK && is_damaged)
        ((uint8_t *)buf)[*got / 2] ^= 1;
    return st;
}

static void files_begin(vio *io)
{
    files = (held_files){.ops = *io->ops, .was = io->ops};
    files.ops.open = held_open;
    files.ops.pread = held_pread;
    vv_mutex_init(&files.lock, VV_RANK_LEAF);
    vv_cond_init(&files.moved);
    io->ops = &files.ops;
}

static void files_hold(bool on)
{
    vv_mutex_lock(&files.lock);
    files.is_held = on;
    vv_cond_broadcast(&files.moved);
    vv_mutex_unlock(&files.lock);
}

static unsigned reads_by(const unsigned *who)
{
    vv_mutex_lock(&files.lock);
    unsigned n = *who;
    vv_mutex_unlock(&files.lock);
    return n;
}

/* ---- a store with nothing in its cache ---- */

typedef struct cold {
    char dir[64];
    vv_env env;
    svc_suite s;
} cold;

/* Key i of table "kv", and record i of the tables "records" and "other": "k0".. */
static void fill_one(vv_batch *b, vv_table *const table[3], int i, vv_slice value)
{
    vv_error err;
    char key[16];
    vv_buf body;
    vv_buf_init(&body, 1 << 20);
    (void)snprintf(key, sizeof key, "k%d", i);
    assert_ok(vv_batch_put(b, table[0], vv_slice_str(key), value, 0, &err), err);
    vv_buf json;
    vv_buf_init(&json, 1 << 20);
    vv_buf_printf(&json, "{\"n\":%d,\"s\":\"%.*s\"}", i, (int)value.len, (const char *)value.data);
    assert_ok(json_read_struct(vv_buf_slice(&json), NULL, &body, &err), err);
    const vv_record r = {.timestamp_ns = i, .body = vv_buf_slice(&body)};
    assert_ok(vv_batch_put_record(b, table[1], vv_slice_str(key), &r, &err), err);
    key[0] = 'o';
    assert_ok(vv_batch_put_record(b, table[2], vv_slice_str(key), &r, &err), err);
    vv_buf_fini(&json);
    vv_buf_fini(&body);
}

static void fill(vv_db *db)
{
    static const char *const names[3] = {"kv", "records", "other"};
    vv_error err;
    vv_table *table[3];
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    topt.value_threshold = VV_VALUES_INLINE; /* in blocks, which the cache holds */
    static char value[VALUE_LEN];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 3; i++) {
        topt.kind = i == 0 ? VV_TABLE_KV : VV_TABLE_RECORD;
        assert_ok(vv_table_create(db, "t", names[i], &topt, &table[i], &err), err);
    }
    for (int i = 0; i < KEYS; i++) {
        vv_batch *b = vv_batch_create(db);
        assert_non_null(b);
        fill_one(b, table, i, vv_slice_of(value, sizeof value));
        assert_ok(vv_write(db, b, VV_DURABLE_OS, NULL, &err), err);
        vv_batch_destroy(b);
    }
    for (int i = 0; i < 3; i++)
        vv_table_close(table[i]);
    assert_ok(vv_checkpoint(db, &err), err);
}

static void cold_start(cold *c)
{
    vv_error err;
    vv_db *db = NULL;
    vv_options opt = VV_OPTIONS_INIT;
    *c = (cold){0};
    (void)snprintf(c->dir, sizeof c->dir, "/tmp/varve-cold-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    assert_ok(env_posix_init(&c->env, c->dir, NULL, &err), err);
    opt.log_segment_size = 1u << 20;
    assert_ok(db_open_env(&c->env, &opt, &db, &err), err);
    fill(db);
    assert_ok(vv_db_close(db, &err), err);
    files_begin(c->env.io);
    svc_suite_start(&c->s,
                    &(svc_suite_options){.env = &c->env, .loops = 1, .pool_threads = POOL_THREADS});
}

static void cold_stop(cold *c)
{
    files_hold(false);
    svc_suite_stop(&c->s);
    vio_destroy(c->env.io);
    svc_suite_remove(c->dir);
    vv_cond_fini(&files.moved);
    vv_mutex_fini(&files.lock);
}

/* ---- calls that are not waited for ---- */

typedef struct pending {
    bool is_over;
    cli_result result;
    vv_buf reply;
} pending;

static void on_message(void *ctx, cli_call *call, vv_slice message)
{
    (void)call;
    vv_buf_append_slice(&((pending *)ctx)->reply, message);
}

static void on_closed(void *ctx, cli_call *call, const cli_result *result)
{
    (void)call;
    ((pending *)ctx)->is_over = true;
    ((pending *)ctx)->result = *result;
}

static void step(cold *c)
{
    vv_status st = cli_step(c->s.conn, VV_NS_PER_MS, &c->s.err);
    assert_true(st == VV_OK || st == VV_TIMEOUT);
}

static void begin_call(cold *c, const char *path, const void *request, pending *out)
{
    uint8_t bytes[256];
    cli_call *call = NULL;
    *out = (pending){0};
    vv_buf_init(&out->reply, 1 << 20);
    const cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = out};
    assert_ok(cli_call_start(c->s.conn, path, SUITE_TIMEOUT_NS, &handler, &call, &c->s.err),
              c->s.err);
    assert_true(protobuf_c_message_get_packed_size(request) <= sizeof bytes);
    size_t len = protobuf_c_message_pack(request, bytes);
    assert_ok(cli_call_send(call, vv_slice_of(bytes, len), &c->s.err), c->s.err);
    cli_call_half_close(call);
}

static void end_call(cold *c, pending *p)
{
    while (!p->is_over)
        assert_ok(cli_step(c->s.conn, SUITE_TIMEOUT_NS, &c->s.err), c->s.err);
    if (p->result.status != VV_OK)
        fail_msg("%s", p->result.message);
}

static void wait_for_a_held_read(cold *c)
{
    while (reads_by(&files.waiting) == 0) {
        assert_int_equal(reads_by(&files.by_loop), 0);
        step(c);
    }
}

/* The same loop serves what memory can answer while a read waits for its device. */
static void expect_others_go_on(cold *c)
{
    wait_for_a_held_read(c);
    for (int i = 0; i < 3; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "value %d", i);
        assert_ok(svc_suite_put(&c->s, "t", "kv", vv_slice_str("warm"), vv_slice_str(value), NULL),
                  c->s.err);
        svc_suite_expect(&c->s, "t", "kv", "warm", value);
    }
}

/* ---- the reads ---- */

static void test_get(void **state)
{
    (void)state;
    cold c;
    pending p;
    cold_start(&c);
    SUITE_REF(ref, "t", "kv");
    Varve__V1__GetRequest req = VARVE__V1__GET_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(vv_slice_str("k3"));
    files_hold(true);
    begin_call(&c, "/varve.v1.Kv/Get", &req, &p);
    expect_others_go_on(&c);
    assert_false(p.is_over);
    files_hold(false);
    end_call(&c, &p);
    Varve__V1__GetResponse *r = varve__v1__get_response__unpack(NULL, p.reply.len, p.reply.data);
    assert_non_null(r);
    assert_true(r->found && r->value.len == VALUE_LEN);
    varve__v1__get_response__free_unpacked(r, NULL);
    vv_buf_fini(&p.reply);
    unsigned pool = reads_by(&files.by_pool);
    assert_true(pool > 0);
    assert_int_equal(reads_by(&files.by_loop), 0);
    /* Now it is in the cache, and no thread is asked. */
    files_hold(true);
    begin_call(&c, "/varve.v1.Kv/Get", &req, &p);
    end_call(&c, &p);
    vv_buf_fini(&p.reply);
    assert_int_equal(reads_by(&files.by_pool), pool);
    assert_int_equal(vv_hist_count(&c.s.n.get_ns), 5); /* each before its answer */
    cold_stop(&c);
}

static void test_compare_and_swap(void **state)
{
    (void)state;
    cold c;
    pending p;
    cold_start(&c);
    SUITE_REF(ref, "t", "kv");
    Varve__V1__CompareAndSwapRequest req = VARVE__V1__COMPARE_AND_SWAP_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(vv_slice_str("k5"));
    req.expectation_case = VARVE__V1__COMPARE_AND_SWAP_REQUEST__EXPECTATION_ABSENT;
    req.absent = true;
    req.value = svc_suite_bytes(vv_slice_str("new"));
    files_hold(true);
    begin_call(&c, "/varve.v1.Kv/CompareAndSwap", &req, &p);
    expect_others_go_on(&c);
    assert_false(p.is_over);
    files_hold(false);
    end_call(&c, &p);
    Varve__V1__CompareAndSwapResponse *r =
        varve__v1__compare_and_swap_response__unpack(NULL, p.reply.len, p.reply.data);
    assert_non_null(r);
    assert_false(r->swapped);
    assert_int_equal(r->current.len, VALUE_LEN);
    varve__v1__compare_and_swap_response__free_unpacked(r, NULL);
    vv_buf_fini(&p.reply);
    assert_int_equal(reads_by(&files.by_loop), 0);
    cold_stop(&c);
}

/* A record of "records", and one that is looked for in every table of the tenant. */
static void test_get_record(void **state)
{
    (void)state;
    cold c;
    cold_start(&c);
    static const char *const ids[] = {"k2", "o6", "nowhere"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        pending p;
        Storage__TenantID t = STORAGE__TENANT_ID__INIT;
        Storage__EntityID e = STORAGE__ENTITY_ID__INIT;
        Storage__RecordID rid = STORAGE__RECORD_ID__INIT;
        Storage__GetRecordRequest req = STORAGE__GET_RECORD_REQUEST__INIT;
        t.id = (char *)(uintptr_t) "t";
        e.id = (char *)(uintptr_t)ids[i];
        rid.tenant_id = &t;
        rid.entity_id = &e;
        req.record_id = &rid;
        bool is_there = i + 1 < ARRAY_LEN(ids);
        files_hold(is_there);
        begin_call(&c, "/storage.QueryService/GetRecord", &req, &p);
        if (is_there) {
            expect_others_go_on(&c);
            assert_false(p.is_over);
        }
        files_hold(false);
        end_call(&c, &p);
        Storage__GetRecordResponse *r =
            storage__get_record_response__unpack(NULL, p.reply.len, p.reply.data);
        assert_non_null(r);
        if ((r->found != 0) != is_there)
            fail_msg("%s: found %d", ids[i], r->found);
        if (is_there)
            assert_string_equal(r->record->id->entity_id->id, ids[i]);
        storage__get_record_response__free_unpacked(r, NULL);
        vv_buf_fini(&p.reply);
    }
    assert_int_equal(reads_by(&files.by_loop), 0);
    cold_stop(&c);
}

static void test_http_get(void **state)
{
    (void)state;
    cold c;
    cold_start(&c);
    static const char request[] =
        "GET /api/v1/kv/t/kv/k7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(c.s.port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    svc_suite_expect(&c.s, "t", "kv", "a", NULL); /* the client is connected */
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    files_hold(true);
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    expect_others_go_on(&c);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    files_hold(false);
    size_t total = 0;
    char head[13] = "";
    static char rest[65536];
    assert_int_equal(recv(fd, head, 12, MSG_WAITALL), 12);
    assert_string_equal(head, "HTTP/1.1 200");
    for (ssize_t n; (n = svc_suite_recv(fd, rest, sizeof rest)) > 0;)
        total += (size_t)n;
    assert_true(total > VALUE_LEN);
    (void)close(fd);
    assert_int_equal(reads_by(&files.by_loop), 0);
    cold_stop(&c);
}

/* A client that left before its turn came costs no read. */
static void test_nobody_waits_any_more(void **state)
{
    (void)state;
    cold c;
    pending p;
    pending gone;
    cold_start(&c);
    SUITE_REF(ref, "t", "kv");
    Varve__V1__GetRequest req = VARVE__V1__GET_REQUEST__INIT;
    req.table = &ref;
    req.key = svc_suite_bytes(vv_slice_str("k4")); /* k0 shares a block with the catalog */
    files_hold(true);
    begin_call(&c, "/varve.v1.Kv/Get", &req, &p); /* has the only thread */
    wait_for_a_held_read(&c);
    uint8_t bytes[64];
    cli_call *call = NULL;
    gone = (pending){0};
    vv_buf_init(&gone.reply, 1 << 20);
    const cli_handler handler = {.message = on_message, .closed = on_closed, .ctx = &gone};
    assert_ok(
        cli_call_start(c.s.conn, "/varve.v1.Kv/Get", SUITE_TIMEOUT_NS, &handler, &call, &c.s.err),
        c.s.err);
    req.key = svc_suite_bytes(vv_slice_str("k7"));
    size_t len = varve__v1__get_request__pack(&req, bytes);
    assert_ok(cli_call_send(call, vv_slice_of(bytes, len), &c.s.err), c.s.err);
    cli_call_half_close(call);
    expect_others_go_on(&c); /* the server has both by now */
    unsigned before = reads_by(&files.by_pool);
    cli_call_cancel(call);
    while (!gone.is_over)
        step(&c);
    expect_others_go_on(&c); /* and the reset */
    files_hold(false);
    end_call(&c, &p);
    req.key = svc_suite_bytes(vv_slice_str("k1")); /* behind it in the pool's queue */
    vv_buf_fini(&p.reply);
    begin_call(&c, "/varve.v1.Kv/Get", &req, &p);
    end_call(&c, &p);
    assert_int_equal(reads_by(&files.by_pool), before + 1);
    vv_buf_fini(&p.reply);
    vv_buf_fini(&gone.reply);
    cold_stop(&c);
}

/* ---- damage ---- */

/* Written under the lock of the log, before the answer that is told of. */
typedef struct lines {
    vv_buf text;
    int count;
} lines;

static void take_line(void *ctx, const char *line, size_t len)
{
    lines *l = ctx;
    vv_buf_append(&l->text, line, len);
    l->count++;
}

static void expect_corrupt(cold *c, const char *key)
{
    vv_buf value;
    bool found = false;
    vv_buf_init(&value, 1 << 20);
    assert_int_equal(svc_suite_get(&c->s, "t", "kv", vv_slice_str(key), &found, &value, NULL),
                     VV_CORRUPT);
    vv_buf_fini(&value);
}

/* The fault of a record is in its result, the call is VV_OK: each is counted. */
static void expect_corrupt_records(cold *c)
{
    pending p;
    Storage__TenantID t = STORAGE__TENANT_ID__INIT;
    Storage__EntityID e[2] = {STORAGE__ENTITY_ID__INIT, STORAGE__ENTITY_ID__INIT};
    Storage__RecordID rid[2] = {STORAGE__RECORD_ID__INIT, STORAGE__RECORD_ID__INIT};
    Storage__RecordID *ids[2] = {&rid[0], &rid[1]};
    Storage__GetRecordsRequest req = STORAGE__GET_RECORDS_REQUEST__INIT;
    t.id = (char *)(uintptr_t) "t";
    e[0].id = (char *)(uintptr_t) "k2";
    e[1].id = (char *)(uintptr_t) "k5";
    for (int i = 0; i < 2; i++) {
        rid[i].tenant_id = &t;
        rid[i].entity_id = &e[i];
    }
    req.record_ids = ids;
    req.n_record_ids = 2;
    begin_call(c, "/storage.QueryService/GetRecords", &req, &p);
    end_call(c, &p);
    vv_buf_fini(&p.reply);
}

/* The log has one line a period, with the file and the place, and the metrics count each. */
static void test_damage(void **state)
{
    (void)state;
    cold c;
    lines l = {0};
    vv_log log;
    vv_buf_init(&l.text, 1 << 16);
    vv_log_init(&log, VV_LOG_ERROR, VV_LOG_LOGFMT, NULL, take_line, &l);
    cold_start(&c);
    c.s.n.log = &log; /* before the first request */
    vv_mutex_lock(&files.lock);
    files.is_damaged = true;
    vv_mutex_unlock(&files.lock);
    expect_corrupt(&c, "k3");
    assert_int_equal(l.count, 1);
    vv_buf_append_u8(&l.text, 0);
    assert_non_null(strstr((const char *)l.text.data, "level=error"));
    assert_non_null(strstr((const char *)l.text.data, "run 'shard-000/run-"));
    assert_non_null(strstr((const char *)l.text.data, "offset "));
    expect_corrupt(&c, "k4");
    expect_corrupt_records(&c);
    assert_int_equal(l.count, 1);
    vv_buf text;
    vv_buf_init(&text, 1 << 18);
    svc_metrics_text(&c.s.n, &text);
    vv_buf_append_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "\nvarve_corruption_total 4\n"));
    vv_buf_fini(&text);
    /* The period is over. */
    (void)atomic_fetch_sub(&c.s.n.corrupt_logged_ns, NODE_CORRUPT_LOG_NS);
    expect_corrupt(&c, "k6");
    assert_int_equal(l.count, 2);
    vv_mutex_lock(&files.lock);
    files.is_damaged = false;
    vv_mutex_unlock(&files.lock);
    cold_stop(&c);
    vv_log_fini(&log);
    vv_buf_fini(&l.text);
}

/* ---- beside long work ------------------------------------------------------------------------ */

typedef struct blocker {
    vv_mutex lock;
    vv_cond moved;
    unsigned inside;
    bool open;
} blocker;

static void stand_in_the_way(void *arg)
{
    blocker *b = arg;
    vv_mutex_lock(&b->lock);
    b->inside++;
    vv_cond_broadcast(&b->moved);
    while (!b->open)
        vv_cond_wait(&b->moved, &b->lock);
    vv_mutex_unlock(&b->lock);
}

/* Every thread for queries is taken, and more wait: a point read that needs a file is answered. */
static void test_point_reads_pass_queries(void **state)
{
    (void)state;
    cold c;
    blocker b = {0};
    cold_start(&c);
    vv_mutex_init(&b.lock, VV_RANK_LEAF);
    vv_cond_init(&b.moved);
    for (int i = 0; i < 8; i++)
        assert_int_equal(srv_pool_submit(c.s.n.pool, stand_in_the_way, &b), VV_OK);
    vv_mutex_lock(&b.lock);
    while (b.inside < POOL_THREADS)
        vv_cond_wait(&b.moved, &b.lock);
    vv_mutex_unlock(&b.lock);
    vv_buf value;
    vv_buf_init(&value, 1 << 20);
    bool found = false;
    for (int i = 0; i < 4; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_ok(svc_suite_get(&c.s, "t", "kv", vv_slice_str(key), &found, &value, NULL), c.s.err);
        assert_true(found && value.len == VALUE_LEN);
    }
    assert_true(reads_by(&files.by_pool) > 0);
    vv_mutex_lock(&b.lock);
    assert_int_equal(b.inside, POOL_THREADS);
    b.open = true;
    vv_cond_broadcast(&b.moved);
    vv_mutex_unlock(&b.lock);
    vv_buf_fini(&value);
    cold_stop(&c);
    vv_cond_fini(&b.moved);
    vv_mutex_fini(&b.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_compare_and_swap),
        cmocka_unit_test(test_get_record),
        cmocka_unit_test(test_http_get),
        cmocka_unit_test(test_nobody_waits_any_more),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_point_reads_pass_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
