/*
 * svc_query_test.c - QueryService over real sockets: answers unpacked by protobuf-c as the oracle,
 * a client that does not read, one that leaves, and what is refused.
 */
#include <ftw.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/lock.h"
#include "db/db.h"
#include "query/query.h"
#include "query/struct_json.h"
#include "server/node.h"
#include "server/srv_client.h"
#include "storage/query.pb-c.h"
#include "vv_test.h"

#define SERVICE "/storage.QueryService/"
#define WAIT_MS 20000

typedef struct fixture {
    char dir[64];
    node n;
    srv_method methods[32];
    uint16_t port;
    cli *client;
    int64_t version; /* of the last put */
} fixture;

static void fixture_start(fixture *f, uint32_t pool_threads, uint32_t pool_queue)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    const srv_port port = {.host = "127.0.0.1"};
    *f = (fixture){.n.env.clock = vv_clock_real(), .n.env.threads = vv_threads_real()};
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/varve-query-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    opt.durability = VV_DURABLE_NONE;
    opt.log_segment_size = 1u << 20;
    assert_ok(vv_db_open(f->dir, &opt, &f->n.db, &err), err);
    f->n.budget = db_budget(f->n.db);
    const gate_options gate_opt = {.db = f->n.db};
    assert_ok(gate_create(&gate_opt, &f->n.gate, &err), err);
    assert_ok(srv_pool_create(f->n.env.threads, pool_threads, pool_queue, &f->n.pool, &err), err);
    size_t count = svc_query_methods(&f->n, f->methods, ARRAY_LEN(f->methods));
    count += svc_http_query_methods(&f->n, f->methods + count, ARRAY_LEN(f->methods) - count);
    const srv_options srv_opt = {.threads = f->n.env.threads,
                                 .clock = f->n.env.clock,
                                 .budget = f->n.budget,
                                 .ports = &port,
                                 .port_count = 1,
                                 .methods = f->methods,
                                 .method_count = count,
                                 .drain_timeout_ns = 200 * VV_NS_PER_MS};
    assert_ok(srv_start(&srv_opt, &f->n.server, &err), err);
    f->port = srv_port_bound(f->n.server, 0);
    f->client = cli_open(f->port, 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void fixture_stop(fixture *f)
{
    vv_error err = {0};
    cli_close(f->client);
    srv_stop(f->n.server);
    srv_pool_destroy(f->n.pool);
    gate_destroy(f->n.gate);
    assert_ok(vv_db_close(f->n.db, &err), err); /* every cursor and table was given back */
    (void)nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(fixture *f, const char *table, const char *id, int64_t ts, const char *json)
{
    vv_error err = {0};
    vv_buf body;
    vv_table *t = NULL;
    vv_write_result result;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    topt.kind = VV_TABLE_RECORD;
    topt.if_not_exists = true;
    vv_buf_init(&body, 1 << 20);
    assert_ok(json_read_struct(vv_slice_str(json), NULL, &body, &err), err);
    assert_ok(vv_table_create(f->n.db, "t", table, &topt, &t, &err), err);
    vv_batch *b = vv_batch_create(f->n.db);
    const vv_record r = {.timestamp_ns = ts, .body = vv_buf_slice(&body)};
    assert_ok(vv_batch_put_record(b, t, vv_slice_str(id), &r, &err), err);
    assert_ok(vv_write(f->n.db, b, VV_DURABLE_DEFAULT, &result, &err), err);
    f->version = result.version;
    vv_batch_destroy(b);
    vv_table_close(t);
    vv_buf_fini(&body);
}

/* count records "k000000".. whose text has size bytes. */
static void put_many(fixture *f, int count, int size)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    topt.kind = VV_TABLE_RECORD;
    topt.if_not_exists = true;
    assert_ok(vv_table_create(f->n.db, "t", "records", &topt, &t, &err), err);
    vv_batch *b = vv_batch_create(f->n.db);
    char *text = malloc((size_t)size);
    memset(text, 'x', (size_t)size);
    for (int i = 0; i < count; i++) {
        char id[16];
        vv_buf body;
        vv_buf_init(&body, 1 << 20);
        snprintf(id, sizeof id, "k%06d", i);
        size_t entry = wire_begin(&body, STRUCT_FIELDS);
        wire_put_string(&body, STRUCT_ENTRY_KEY, vv_slice_str("p"));
        struct_value_put(
            &body, STRUCT_ENTRY_VALUE,
            &(struct_value){.type = STRUCT_STRING, .bytes = vv_slice_of(text, (size_t)size)});
        wire_end(&body, entry);
        const vv_record r = {.timestamp_ns = i, .body = vv_buf_slice(&body)};
        assert_ok(vv_batch_put_record(b, t, vv_slice_str(id), &r, &err), err);
        if (i % 1000 == 999 || i + 1 == count) {
            assert_ok(vv_write(f->n.db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
            vv_batch_clear(b);
        }
        vv_buf_fini(&body);
    }
    free(text);
    vv_batch_destroy(b);
    vv_table_close(t);
}

/* One call; the status must be code. The reply unpacked, NULL when desc is. */
static void *call(fixture *f, const char *method, const void *request, const char *schema, int code,
                  const ProtobufCMessageDescriptor *desc)
{
    uint8_t bytes[8192];
    char path[80];
    const char *const extra[] = {"varve-schema", schema, NULL};
    snprintf(path, sizeof path, SERVICE "%s", method);
    assert_true(protobuf_c_message_get_packed_size(request) <= sizeof bytes);
    size_t len = protobuf_c_message_pack(request, bytes);
    cli_stream *s =
        cli_unary(f->client, path, vv_slice_of(bytes, len), schema == NULL ? NULL : extra);
    if (s->grpc_status != code)
        fail_msg("%s: code %d instead of %d: %s", method, s->grpc_status, code, s->message);
    if (desc == NULL)
        return NULL;
    assert_true(s->in.len >= 5);
    void *reply = protobuf_c_message_unpack(desc, NULL, s->in.len - 5, s->in.data + 5);
    assert_non_null(reply);
    return reply;
}

/* ---- point reads ---- */

static Storage__GetRecordResponse *get(fixture *f, const char *tenant, const char *id,
                                       int64_t version, const char *schema, int code)
{
    Storage__TenantID t = STORAGE__TENANT_ID__INIT;
    Storage__EntityID e = STORAGE__ENTITY_ID__INIT;
    Storage__RecordID rid = STORAGE__RECORD_ID__INIT;
    Storage__GetRecordRequest req = STORAGE__GET_RECORD_REQUEST__INIT;
    t.id = (char *)(uintptr_t)tenant;
    e.id = (char *)(uintptr_t)id;
    rid.tenant_id = &t;
    rid.entity_id = &e;
    req.record_id = &rid;
    req.version = version;
    return call(f, "GetRecord", &req, schema, code,
                code == 0 ? &storage__get_record_response__descriptor : NULL);
}

static void test_get_record(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    put(&f, "records", "a", 1500000000, "{\"n\":1,\"s\":{\"x\":\"y\"}}");
    int64_t first = f.version;
    put(&f, "records", "a", 2000000000, "{\"n\":2}");
    put(&f, "sensors", "only-there", 0, "{\"n\":3}");
    const struct {
        const char *name, *tenant, *id, *schema;
        int64_t version;
        int code;
        bool found;
        double n;
    } cases[] = {
        {"newest", "t", "a", NULL, 0, 0, true, 2},
        {"as of the first", "t", "a", NULL, first, 0, true, 1},
        {"in another table of the tenant", "t", "only-there", NULL, 0, 0, true, 3},
        {"in the table named", "t", "only-there", "sensors", 0, 0, true, 3},
        {"not in the table named", "t", "a", "sensors", 0, 0, false, 0},
        {"the table named is not there", "t", "a", "sensor", 0, 5, false, 0},
        {"absent", "t", "b", NULL, 0, 0, false, 0},
        {"no such tenant", "u", "a", NULL, 0, 0, false, 0},
        {"an empty id", "t", "", NULL, 0, 3, false, 0},
        {"a version not yet written", "t", "a", NULL, 1 << 30, 3, false, 0},
        {"a negative version", "t", "a", NULL, -1, 3, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Storage__GetRecordResponse *r =
            get(&f, cases[i].tenant, cases[i].id, cases[i].version, cases[i].schema, cases[i].code);
        if (r == NULL)
            continue;
        if (r->found != cases[i].found)
            fail_msg("%s: found %d", cases[i].name, r->found);
        if (r->found) {
            assert_string_equal(r->record->id->entity_id->id, cases[i].id);
            assert_string_equal(r->record->id->tenant_id->id, "t");
            assert_true(r->record->version > 0 && r->record->id->version == r->record->version);
            if (r->record->data->fields[0]->value->number_value != cases[i].n)
                fail_msg("%s: another record", cases[i].name);
        }
        storage__get_record_response__free_unpacked(r, NULL);
    }
    Storage__GetRecordRequest nothing = STORAGE__GET_RECORD_REQUEST__INIT;
    (void)call(&f, "GetRecord", &nothing, NULL, 3, NULL);
    cli_stream *s = cli_unary(f.client, SERVICE "GetRecord", BYTES(0x0a, 0xff), NULL);
    assert_int_equal(s->grpc_status, 3);
    assert_true(vv_hist_count(&f.n.get_ns) > ARRAY_LEN(cases));
    fixture_stop(&f);
}

static void test_get_records(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    put(&f, "records", "a", 0, "{\"n\":1,\"m\":2}");
    const char *const ids[] = {"a", "nope", "", "no\xffid"};
    Storage__TenantID t = STORAGE__TENANT_ID__INIT;
    Storage__EntityID e[4];
    Storage__RecordID rid[4];
    Storage__RecordID *list[4];
    char *columns[] = {(char *)(uintptr_t) "m"};
    Storage__GetRecordsRequest req = STORAGE__GET_RECORDS_REQUEST__INIT;
    t.id = (char *)(uintptr_t) "t";
    for (size_t i = 0; i < 4; i++) {
        e[i] = (Storage__EntityID)STORAGE__ENTITY_ID__INIT;
        rid[i] = (Storage__RecordID)STORAGE__RECORD_ID__INIT;
        e[i].id = (char *)(uintptr_t)ids[i];
        rid[i].tenant_id = &t;
        rid[i].entity_id = &e[i];
        list[i] = &rid[i];
    }
    req.record_ids = list;
    req.n_record_ids = 4;
    req.projection = columns;
    req.n_projection = 1;
    Storage__GetRecordsResponse *r =
        call(&f, "GetRecords", &req, NULL, 0, &storage__get_records_response__descriptor);
    assert_int_equal(r->n_results, 4);
    assert_true(r->results[0]->found && !r->results[1]->found && !r->results[2]->found);
    assert_int_equal(r->results[0]->record->data->n_fields, 1);
    assert_string_equal(r->results[0]->record->data->fields[0]->key, "m");
    assert_int_equal(r->results[1]->status->code, 5);
    assert_int_equal(r->results[2]->status->code, 3);
    assert_string_equal(r->results[1]->record_id->entity_id->id, "nope");
    /* One string that is not UTF-8 would make the whole answer unreadable. */
    assert_int_equal(r->results[3]->status->code, 3);
    assert_non_null(strstr(r->results[3]->status->message, "entity id must be UTF-8"));
    assert_string_equal(r->results[3]->record_id->entity_id->id, "no?id");
    storage__get_records_response__free_unpacked(r, NULL);
    fixture_stop(&f);
}

/* ---- Query ---- */

static Storage__QueryResponse *ask(fixture *f, const query_ask *q, int code)
{
    vv_buf wire;
    vv_buf_init(&wire, 1 << 16);
    query_request_put(&wire, q);
    cli_stream *s = cli_unary(f->client, SERVICE "Query", vv_buf_slice(&wire), NULL);
    vv_buf_fini(&wire);
    if (s->grpc_status != code)
        fail_msg("code %d instead of %d: %s", s->grpc_status, code, s->message);
    if (code != 0)
        return NULL;
    Storage__QueryResponse *r =
        storage__query_response__unpack(NULL, s->in.len - 5, s->in.data + 5);
    assert_non_null(r);
    return r;
}

static void test_query_pages(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    put_many(&f, 2500, 100);
    const struct {
        int64_t limit, offset, page_bytes;
        size_t want;
        bool more;
    } cases[] = {
        {0, 0, 0, 1000, true},     {0, 1600, 0, 900, false}, {10, 0, 0, 10, true},
        {2500, 0, 0, 2500, false}, {0, 0, 3000, 0, true},    {0, 0, 1, 1, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const query_ask q = {.tenant = vv_slice_str("t"),
                             .limit = cases[i].limit,
                             .offset = cases[i].offset,
                             .page_bytes = cases[i].page_bytes};
        Storage__QueryResponse *r = ask(&f, &q, 0);
        if ((cases[i].want > 0 && r->n_records != cases[i].want) ||
            (r->has_more != 0) != cases[i].more)
            fail_msg("case %zu: %zu records, more %d", i, r->n_records, r->has_more);
        if (cases[i].page_bytes == 3000)
            assert_true(r->n_records > 5 && r->n_records < 30);
        assert_int_equal(r->query_stats->returned_rows, r->n_records);
        assert_true(r->total_count >= (int64_t)r->n_records + cases[i].offset);
        if (!r->has_more)
            assert_int_equal(r->total_count, 2500);
        storage__query_response__free_unpacked(r, NULL);
    }
    assert_int_equal(vv_budget_part_used(f.n.budget, VV_BUDGET_QUERY), 0);
    const query_ask bad[] = {
        {.tenant = vv_slice_str("t"), .table = vv_slice_str("nope")},
        {.tenant = vv_slice_str("t"), .limit = -1},
    };
    (void)ask(&f, &bad[0], 5);
    (void)ask(&f, &bad[1], 3);
    cli_stream *s = cli_unary(f.client, SERVICE "Query", BYTES(0x08, 0xff), NULL);
    assert_int_equal(s->grpc_status, 3);
    assert_true(atomic_load(&f.n.queries_total) >= ARRAY_LEN(cases));
    fixture_stop(&f);
}

/* ---- QueryStream ---- */

static cli_stream *start_stream_of(fixture *f, const query_ask *q)
{
    vv_buf wire;
    vv_buf_init(&wire, 1 << 16);
    query_request_put(&wire, q);
    cli_stream *s = cli_call(f->client, SERVICE "QueryStream", NULL);
    cli_message(f->client, s, vv_buf_slice(&wire), true);
    vv_buf_fini(&wire);
    return s;
}

static cli_stream *start_stream(fixture *f)
{
    const query_ask q = {.tenant = vv_slice_str("t")};
    return start_stream_of(f, &q);
}

/* A client that stops reading stops the query; when it reads again it gets the rest. */
static void test_a_stream_follows_its_reader(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    put_many(&f, 20000, 1000); /* 20 MB */
    f.client->no_consume = true;
    cli_stream *s = start_stream(&f);
    uint64_t highest = 0;
    for (int i = 0; i < 20; i++) {
        (void)cli_pump(f.client, 20);
        uint64_t used = vv_budget_part_used(f.n.budget, VV_BUDGET_NETWORK);
        highest = used > highest ? used : highest;
    }
    assert_false(s->closed);
    assert_true(highest > 0 && highest < 4 * VV_MIB);
    /* No thread waits with it: another query is answered by the one thread of the pool. */
    fixture other = f;
    other.client = cli_open(f.port, 0);
    const query_ask q = {.tenant = vv_slice_str("t"), .limit = 1};
    Storage__QueryResponse *r = ask(&other, &q, 0);
    assert_int_equal(r->n_records, 1);
    storage__query_response__free_unpacked(r, NULL);
    cli_close(other.client);

    cli_close(f.client); /* gone in the middle: its cursor is closed too */
    f.client = cli_open(f.port, 1 << 24);
    s = start_stream(&f);
    assert_true(cli_wait(f.client, s, WAIT_MS));
    assert_int_equal(s->grpc_status, 0);
    size_t records = 0;
    int64_t returned = -1;
    for (size_t at = 0; at + 5 <= s->in.len;) {
        size_t len = vv_get_be32(s->in.data + at + 1);
        Storage__QueryStreamResponse *m =
            storage__query_stream_response__unpack(NULL, len, s->in.data + at + 5);
        assert_non_null(m);
        records += m->response_case == STORAGE__QUERY_STREAM_RESPONSE__RESPONSE_RECORD;
        if (m->response_case == STORAGE__QUERY_STREAM_RESPONSE__RESPONSE_STATS)
            returned = m->stats->returned_rows;
        storage__query_stream_response__free_unpacked(m, NULL);
        at += 5 + len;
    }
    assert_int_equal(records, 20000);
    assert_int_equal(returned, 20000);
    fixture_stop(&f);
}

/* Holds the only thread of the pool until it is let go. */
typedef struct gatekeeper {
    vv_mutex lock;
    vv_cond moved;
    bool open;
} gatekeeper;

static void stand_in_the_way(void *arg)
{
    gatekeeper *k = arg;
    vv_mutex_lock(&k->lock);
    while (!k->open)
        vv_cond_wait(&k->moved, &k->lock);
    vv_mutex_unlock(&k->lock);
}

typedef struct mark {
    node *n;
    _Atomic uint64_t queries; /* answered when its turn came */
    _Atomic bool set;
} mark;

static void set_mark(void *arg)
{
    mark *m = arg;
    atomic_store(&m->queries, atomic_load(&m->n->queries_total));
    atomic_store(&m->set, true);
}

/* A long stream that sends nothing leaves the only thread to a question behind it. */
static void test_a_long_stream_takes_turns(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    put_many(&f, 10000, 1000); /* 10 MB, over two turns */
    vv_buf value;
    vv_buf_init(&value, 64);
    vv_error err = {0};
    assert_ok(json_read_value(vv_slice_str("\"none\""), NULL, &value, &err), err);
    const query_filter none = {vv_slice_str("p"), vv_slice_str("="), vv_buf_slice(&value)};
    const query_order by_p = {vv_slice_str("p"), true};
    const query_ask asks[] = {
        {.tenant = vv_slice_str("t"), .filters = &none, .filter_count = 1},
        {.tenant = vv_slice_str("t"), .order = &by_p, .order_count = 1, .limit = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        gatekeeper keeper = {.open = false};
        mark m = {.n = &f.n};
        vv_mutex_init(&keeper.lock, VV_RANK_LEAF);
        vv_cond_init(&keeper.moved);
        uint64_t before = atomic_load(&f.n.queries_total);
        assert_int_equal(srv_pool_submit(f.n.pool, stand_in_the_way, &keeper), VV_OK);
        cli_stream *long_one = start_stream_of(&f, &asks[i]);
        vv_buf wire;
        const query_ask one = {.tenant = vv_slice_str("t"), .limit = 1};
        vv_buf_init(&wire, 1 << 16);
        query_request_put(&wire, &one);
        cli_stream *brief = cli_call(f.client, SERVICE "Query", NULL);
        cli_message(f.client, brief, vv_buf_slice(&wire), true);
        vv_buf_fini(&wire);
        (void)cli_unary(f.client, SERVICE "HealthCheck", vv_slice_of(NULL, 0), NULL);
        /* The loop has answered what came behind the two, so both are in the pool's queue. */
        assert_int_equal(srv_pool_submit(f.n.pool, set_mark, &m), VV_OK);
        vv_mutex_lock(&keeper.lock);
        keeper.open = true;
        vv_cond_signal(&keeper.moved);
        vv_mutex_unlock(&keeper.lock);
        assert_true(cli_wait(f.client, brief, WAIT_MS) && cli_wait(f.client, long_one, WAIT_MS));
        assert_int_equal(brief->grpc_status, 0);
        assert_int_equal(long_one->grpc_status, 0);
        assert_true(atomic_load(&m.set));
        assert_int_equal(atomic_load(&m.queries) - before, 1); /* the brief one */
        vv_cond_fini(&keeper.moved);
        vv_mutex_fini(&keeper.lock);
    }
    vv_buf_fini(&value);
    fixture_stop(&f);
}

static void test_streams_that_end_early(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 2, 16);
    put_many(&f, 5000, 1000);
    for (int i = 0; i < 20; i++) { /* cancelled at some moment of their lives */
        cli_stream *s = start_stream(&f);
        (void)cli_wait_data(f.client, s, (size_t)i * 20000, 2000);
        cli_reset(f.client, s);
        (void)cli_pump(f.client, 5);
    }
    cli_stream *s = cli_call(f.client, SERVICE "QueryStream", NULL);
    cli_send(f.client, s, (vv_slice){0}, true); /* no request */
    assert_true(cli_wait(f.client, s, WAIT_MS));
    assert_int_equal(s->grpc_status, 3);
    s = cli_call(f.client, SERVICE "QueryStream", NULL);
    cli_message(f.client, s, BYTES(0x08, 1), true); /* no such request */
    assert_true(cli_wait(f.client, s, WAIT_MS));
    assert_int_equal(s->grpc_status, 3);
    s = cli_call(f.client, SERVICE "QueryStream", NULL);
    cli_message(f.client, s, BYTES(0x0a, 3, 0x0a, 1, 'u'), true); /* no such tenant */
    assert_true(cli_wait(f.client, s, WAIT_MS));
    assert_int_equal(s->grpc_status, 5);
    const char *const brief[] = {"grpc-timeout", "1n", NULL};
    s = cli_unary(f.client, SERVICE "Query", BYTES(0x0a, 3, 0x0a, 1, 't'), brief);
    assert_int_equal(s->grpc_status, 4);
    fixture_stop(&f);
}

/* ---- the others ---- */

static void test_aggregate_explain_health(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    put(&f, "records", "a", 0, "{\"g\":\"x\",\"n\":1}");
    put(&f, "records", "b", 0, "{\"g\":\"x\",\"n\":4}");
    put(&f, "records", "c", 0, "{\"g\":\"y\"}");
    vv_buf wire;
    vv_buf_init(&wire, 1 << 16);
    const query_aggregate aggs[] = {{vv_slice_str("sum"), vv_slice_str("n"), vv_slice_str("s")},
                                    {vv_slice_str("count"), {0}, {0}}};
    const vv_slice group = vv_slice_str("g");
    query_ask q = {.tenant = vv_slice_str("t"),
                   .aggregates = aggs,
                   .aggregate_count = 2,
                   .group_by = &group,
                   .group_count = 1};
    query_aggregate_put(&wire, &q);
    cli_stream *s = cli_unary(f.client, SERVICE "Aggregate", vv_buf_slice(&wire), NULL);
    assert_int_equal(s->grpc_status, 0);
    Storage__AggregateResponse *r =
        storage__aggregate_response__unpack(NULL, s->in.len - 5, s->in.data + 5);
    assert_int_equal(r->n_results, 2);
    assert_string_equal(r->results[0]->group_by_values[0]->key, "g");
    assert_string_equal(r->results[0]->group_by_values[0]->value->string_value, "x");
    assert_string_equal(r->results[0]->aggregate_values[0]->key, "s");
    assert_true(r->results[0]->aggregate_values[0]->value->number_value == 5);
    assert_string_equal(r->results[0]->aggregate_values[1]->key, "count(*)");
    assert_int_equal(r->results[1]->aggregate_values[0]->value->kind_case,
                     GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE);
    assert_int_equal(r->query_stats->scanned_rows, 3);
    storage__aggregate_response__free_unpacked(r, NULL);

    vv_buf_reset(&wire);
    q = (query_ask){.tenant = vv_slice_str("t"), .has_start = true, .limit = 7};
    query_request_put(&wire, &q);
    s = cli_unary(f.client, SERVICE "ExplainQuery", vv_buf_slice(&wire), NULL);
    assert_int_equal(s->grpc_status, 0);
    Storage__QueryPlanResponse *p =
        storage__query_plan_response__unpack(NULL, s->in.len - 5, s->in.data + 5);
    assert_non_null(strstr(p->plan->plan_text, "TimeIndexScan"));
    assert_string_equal(p->plan->nodes[0]->node_type, "Limit");
    assert_string_equal(p->plan->nodes[0]->children[0]->node_type, "TimeIndexScan");
    storage__query_plan_response__free_unpacked(p, NULL);
    vv_buf_fini(&wire);

    const struct {
        const char *service;
        int status;
    } health[] = {{"", 1}, {"storage.QueryService", 1}, {"other", 3}};
    for (size_t i = 0; i < ARRAY_LEN(health); i++) {
        Storage__HealthCheckRequest req = STORAGE__HEALTH_CHECK_REQUEST__INIT;
        req.service = (char *)(uintptr_t)health[i].service;
        Storage__HealthCheckResponse *h =
            call(&f, "HealthCheck", &req, NULL, 0, &storage__health_check_response__descriptor);
        assert_int_equal(h->status, health[i].status);
        storage__health_check_response__free_unpacked(h, NULL);
    }
    fixture_stop(&f);
}

static void http(fixture *f, const char *json, int status, const char *word)
{
    cli_stream *s = cli_request(f->client, "POST", "/api/v1/query", "application/json");
    cli_send(f->client, s, vv_slice_str(json), true);
    assert_true(cli_wait(f->client, s, WAIT_MS));
    vv_buf_append_u8(&s->in, 0);
    if (s->http_status != status || strstr((char *)s->in.data, word) == NULL)
        fail_msg("%s: %d %s", json, s->http_status, (char *)s->in.data);
}

static void test_http_query(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    put(&f, "records", "a", 1500000000, "{\"n\":1,\"deep\":{\"x\":[1,null]}}");
    http(&f, "{\"tenantId\":{\"id\":\"t\"}}", 200, "\"data\":{\"n\":1,\"deep\":{\"x\":[1,null]}}");
    http(&f,
         "{\"tenant_id\":{\"id\":\"t\"},\"filters\":[{\"column\":\"n\",\"operator\":\"in\","
         "\"value\":[1,2]}],\"timeRange\":{\"start\":\"1970-01-01T00:00:01Z\"}}",
         200, "\"indexUsed\":\"time\"");
    http(&f, "{\"tenantId\":{\"id\":\"t\"},\"schema\":{\"name\":\"nope\"}}", 404, "'nope'");
    http(&f, "{\"tenantId\":{\"id\":\"t\"},\"filters\":[{\"column\":\"n\",\"operator\":\"~\"}]}",
         400, "unknown operator");
    http(&f, "{\"tenantId\":7}", 400, "\"error\"");
    http(&f, "", 400, "\"error\"");
    fixture_stop(&f);
}

/* The worker gives back what it counted after its answer was handed over. */
static void await_no_query_bytes(const fixture *f)
{
    for (int ms = 0; vv_budget_part_used(f->n.budget, VV_BUDGET_QUERY) > 0; ms++) {
        assert_true(ms < WAIT_MS);
        vv_clock_sleep(vv_clock_real(), VV_NS_PER_MS);
    }
}

/* Text of control characters is six times as long in JSON: more than the first try has room for. */
static void test_http_answers_are_counted(void **state)
{
    (void)state;
    fixture f;
    fixture_start(&f, 1, 16);
    enum { ROWS = 30, TEXT = 20000 };
    static char json[6 * TEXT + 32];
    char *to = json + sprintf(json, "{\"x\":\"");
    for (size_t i = 0; i < TEXT; i++)
        to += sprintf(to, "\\u0001");
    (void)sprintf(to, "\"}");
    for (size_t i = 0; i < ROWS; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "r%zu", i);
        put(&f, "records", id, (int64_t)i, json);
    }
    const char *all = "{\"tenantId\":{\"id\":\"t\"}}";
    http(&f, all, 200, "\"r29\"");
    await_no_query_bytes(&f);
    /* All that is nobody's share is taken. */
    uint64_t room = 1;
    while (!vv_budget_is_short(f.n.budget, VV_BUDGET_QUEUE, 2 * room))
        room *= 2;
    uint64_t taken = 0;
    for (; room >= VV_KIB; room /= 2)
        while (vv_budget_reserve(f.n.budget, VV_BUDGET_QUEUE, room))
            taken += room;
    /* Now there is room for the records and not for the same as JSON. */
    vv_budget_release(f.n.budget, VV_BUDGET_QUEUE, 2 * VV_MIB);
    taken -= 2 * VV_MIB;
    http(&f, all, 429, "storage.memory_limit is used up");
    http(&f, "{\"tenantId\":{\"id\":\"t\"},\"limit\":1,\"projection\":[\"y\"]}", 200, "\"status\"");
    vv_budget_release(f.n.budget, VV_BUDGET_QUEUE, taken);
    http(&f, all, 200, "\"r29\"");
    await_no_query_bytes(&f);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_record),
        cmocka_unit_test(test_get_records),
        cmocka_unit_test(test_query_pages),
        cmocka_unit_test(test_a_stream_follows_its_reader),
        cmocka_unit_test(test_a_long_stream_takes_turns),
        cmocka_unit_test(test_streams_that_end_early),
        cmocka_unit_test(test_aggregate_explain_health),
        cmocka_unit_test(test_http_query),
        cmocka_unit_test(test_http_answers_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
